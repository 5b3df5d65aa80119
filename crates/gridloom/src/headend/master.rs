//! Where the master key comes from: a file, or the environment.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use gridloom_headend::vault::LocalMasterKeys;
use gridloom_host::entropy;
use zeroize::Zeroizing;

use super::holder::{Holder, MasterKeys};
use crate::config::{ANSWER_WITHIN, VaultConfig};
use crate::founding::write_durably;
use crate::hex;

/// Holds the key instead of a file: what such a file would hold.
pub(super) const VARIABLE: &str = "GRIDLOOM_MASTER_KEY";

/// Beside the database, where no other place is named.
const FILE: &str = "master.key";

/// What `gridloom demo` made before there was a vault.
const DEMO_FILE: &str = "kek";

/// Bytes of a key file; a larger one is refused.
const FILE_BYTES_MAX: usize = 8_192;

/// The master key that wraps the meters' keys.
#[derive(clap::Args)]
pub(crate) struct MasterKeyOption {
    /// File of the master key, made on first use [default: GRIDLOOM_MASTER_KEY, or master.key in
    /// the data directory]
    #[arg(long, value_name = "FILE", conflicts_with = "vault_command")]
    master_key: Option<PathBuf>,
    /// Program that holds the master key, with its arguments, divided by spaces; see
    /// docs/howto/hold-the-master-key.md
    #[arg(long, value_name = "COMMAND", value_delimiter = ' ')]
    vault_command: Vec<String>,
    #[arg(skip = ANSWER_WITHIN)]
    answer_within: Duration,
}

impl MasterKeyOption {
    /// The key of the data directory, or of the environment.
    pub(crate) const fn of_directory() -> Self {
        Self {
            master_key: None,
            vault_command: Vec::new(),
            answer_within: ANSWER_WITHIN,
        }
    }

    /// What the configuration says of the vault, where no flag says otherwise.
    pub(crate) fn or_configured(&mut self, vault: &VaultConfig) {
        self.answer_within = vault.answer_within;
        if self.master_key.is_none() && self.vault_command.is_empty() {
            self.vault_command.clone_from(&vault.command);
        }
    }

    /// Reads the key; makes one in the file where there is none and `is_used` tells that no keys
    /// are wrapped yet.
    pub(crate) fn read(
        &self,
        data: &Path,
        is_used: bool,
        news: &mut Vec<String>,
    ) -> anyhow::Result<MasterKeys> {
        if !self.vault_command.is_empty() {
            let command = self.vault_command.clone();
            let holder = Holder::start(command, self.answer_within).context("[vault] command")?;
            return Ok(MasterKeys::Program(holder));
        }
        self.read_local(data, is_used, news).map(MasterKeys::Local)
    }

    fn read_local(
        &self,
        data: &Path,
        is_used: bool,
        news: &mut Vec<String>,
    ) -> anyhow::Result<LocalMasterKeys> {
        if self.master_key.is_none()
            && let Some(text) = std::env::var_os(VARIABLE)
        {
            let text = Zeroizing::new(text.into_encoded_bytes());
            return LocalMasterKeys::parse(&text).context(VARIABLE);
        }
        let path = self.master_key.clone().unwrap_or_else(|| {
            let of_demo = data.join(DEMO_FILE);
            if of_demo.is_file() {
                of_demo
            } else {
                data.join(FILE)
            }
        });
        match std::fs::read(&path) {
            Ok(bytes) => parse(&path, &Zeroizing::new(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                ensure!(
                    !is_used,
                    "master key: {} is missing, and without it the meters' keys cannot be \
                     unwrapped: restore it from a backup, or name its place with --master-key or \
                     {VARIABLE}",
                    path.display()
                );
                make(&path, news)
            }
            Err(error) => {
                Err(error).with_context(|| format!("master key: failed to read {}", path.display()))
            }
        }
    }
}

fn parse(path: &Path, bytes: &[u8]) -> anyhow::Result<LocalMasterKeys> {
    ensure!(
        bytes.len() <= FILE_BYTES_MAX,
        "master key: {} has {} bytes, at most {FILE_BYTES_MAX}; name the right file",
        path.display(),
        bytes.len()
    );
    let mode = std::fs::metadata(path).map(|found| found.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o077 != 0) {
        tracing::warn!(
            path = %path.display(),
            "others may read the master key; take it back with chmod 600"
        );
    }
    LocalMasterKeys::parse(bytes).with_context(|| path.display().to_string())
}

fn make(path: &Path, news: &mut Vec<String>) -> anyhow::Result<LocalMasterKeys> {
    let key = Zeroizing::new(entropy::bytes::<32>()?);
    let digits = Zeroizing::new(hex::text(&*key));
    let text = Zeroizing::new(format!(
        "# Master keys of gridloom, VERSION:KEY. Keep a copy apart from the database.\n1:{}\n",
        *digits
    ));
    write_durably(path, text.as_bytes())?;
    news.push(format!(
        "a master key was made in {} (only you can read it): keep a copy apart from the database",
        path.display()
    ));
    Ok(LocalMasterKeys::parse(text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let option = MasterKeyOption::of_directory();
        let mut news = Vec::new();
        option.read(data, false, &mut news).unwrap();
        assert_eq!(news.len(), 1);
        let path = data.join(FILE);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let made = std::fs::read_to_string(&path).unwrap();
        assert!(!news[0].contains(made.trim().rsplit(':').next().unwrap()));
        option.read(data, true, &mut news).unwrap();
        assert_eq!(
            (news.len(), std::fs::read_to_string(&path).unwrap()),
            (1, made)
        );
        std::fs::remove_file(&path).unwrap();
        let words = option.read(data, true, &mut news).unwrap_err().to_string();
        assert!(words.contains("restore it from a backup"), "{words}");
        // What the demo made is taken as it is.
        std::fs::write(data.join(DEMO_FILE), [7; 16]).unwrap();
        option.read(data, true, &mut news).unwrap();
        // What is no key is refused without being repeated.
        std::fs::write(data.join(DEMO_FILE), "not a key").unwrap();
        let words = format!("{:#}", option.read(data, true, &mut news).unwrap_err());
        assert!(
            words.contains("kek") && !words.contains("not a key"),
            "{words}"
        );
    }
}
