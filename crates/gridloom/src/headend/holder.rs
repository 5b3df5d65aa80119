//! The master key behind an external program: a hook for a PKCS#11 token, a cloud key service or
//! anything else that wraps keys and never shows the one it wraps by.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gridloom_headend::vault::command::{ANSWER_BYTES_MAX, Question, read_bytes, read_newest};
use gridloom_headend::vault::{KeyWrapper, LocalMasterKeys, WrapForm};
use gridloom_headend::{Secret, VaultError};
use gridloom_host::LineProgram;
use zeroize::Zeroizing;

use super::master::VARIABLE;

/// Who holds the master key.
#[derive(Debug, Clone)]
pub(crate) enum MasterKeys {
    /// This process, from a file or the environment.
    Local(LocalMasterKeys),
    /// A program.
    Program(Holder),
}

impl KeyWrapper for MasterKeys {
    fn newest(&self) -> u32 {
        match self {
            Self::Local(keys) => keys.newest(),
            Self::Program(holder) => holder.newest,
        }
    }

    fn wrap(&mut self, version: u32, form: WrapForm, plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        match self {
            Self::Local(keys) => keys.wrap(version, form, plain),
            Self::Program(holder) => {
                let question = Question::Wrap {
                    version,
                    form,
                    plain,
                };
                let wrapped = holder.ask(question)?;
                Ok(wrapped.expose().to_vec())
            }
        }
    }

    fn unwrap(
        &mut self,
        version: u32,
        form: WrapForm,
        wrapped: &[u8],
    ) -> Result<Secret, VaultError> {
        match self {
            Self::Local(keys) => keys.unwrap(version, form, wrapped),
            Self::Program(holder) => holder.ask(Question::Unwrap {
                version,
                form,
                wrapped,
            }),
        }
    }
}

/// A program that holds the master key; its copies ask the same one.
#[derive(Debug, Clone)]
pub(crate) struct Holder {
    newest: u32,
    program: Arc<Mutex<LineProgram>>,
}

impl Holder {
    /// Starts the program and asks which version of the key is the newest.
    pub(crate) fn start(command: Vec<String>, within: Duration) -> Result<Self, VaultError> {
        // A key that is in our environment is not the program's business.
        let program = LineProgram::new(command, &[VARIABLE], within, ANSWER_BYTES_MAX);
        let mut program = program.map_err(|error| VaultError::Holder(error.to_string()))?;
        let newest = read_newest(&ask(&mut program, Question::Newest)?)?;
        Ok(Self {
            newest,
            program: Arc::new(Mutex::new(program)),
        })
    }

    fn ask(&self, question: Question<'_>) -> Result<Secret, VaultError> {
        let mut program = self.program.lock().unwrap_or_else(PoisonError::into_inner);
        read_bytes(&ask(&mut program, question)?)
    }
}

fn ask(program: &mut LineProgram, question: Question<'_>) -> Result<Zeroizing<String>, VaultError> {
    let answer = program
        .ask(&question.to_line())
        .map_err(|error| VaultError::Holder(error.to_string()))?;
    let text = core::str::from_utf8(&answer);
    let text = text.map_err(|_| VaultError::Answer("bytes that are no text".to_owned()))?;
    Ok(Zeroizing::new(text.to_owned()))
}
