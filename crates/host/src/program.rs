//! A program that answers questions, line by line: the way to whatever holds a secret for us.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use zeroize::Zeroizing;

/// A program that is started when it is first asked, and again after it failed.
///
/// What goes in and out may be secret: neither is logged, what the program writes to standard
/// error is thrown away, and the lines are wiped.
#[derive(Debug)]
pub struct LineProgram {
    command: Vec<String>,
    without: &'static [&'static str],
    timeout: Duration,
    answer_bytes_max: usize,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    stdin: ChildStdin,
    answers: Receiver<Zeroizing<Vec<u8>>>,
}

/// Why a program gave no answer. Says nothing of what was asked or answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// There is no command.
    #[error("no program is named; give its path, and its arguments after it")]
    NoCommand,
    /// It cannot be started.
    #[error("{program} cannot be started: {error}")]
    Start {
        /// Its path.
        program: String,
        /// Why.
        error: io::Error,
    },
    /// It ended, or closed its output.
    #[error("{program} ended without an answer; run it by hand and look what it says")]
    Ended {
        /// Its path.
        program: String,
    },
    /// It did not answer in time, and was ended.
    #[error("{program} gave no answer within {timeout:?} and was ended")]
    Slow {
        /// Its path.
        program: String,
        /// How long it had.
        timeout: Duration,
    },
    /// It answered with too long a line.
    #[error("{program} answered with more than {max} bytes")]
    Long {
        /// Its path.
        program: String,
        /// The bound.
        max: usize,
    },
}

impl LineProgram {
    /// A program and its arguments, without a shell between. It does not see the environment's
    /// variables `without`.
    ///
    /// # Errors
    ///
    /// If `command` is empty.
    pub fn new(
        command: Vec<String>,
        without: &'static [&'static str],
        timeout: Duration,
        answer_bytes_max: usize,
    ) -> Result<Self, ProgramError> {
        if command.first().is_none_or(String::is_empty) {
            return Err(ProgramError::NoCommand);
        }
        Ok(Self {
            command,
            without,
            timeout,
            answer_bytes_max,
            running: None,
        })
    }

    /// Asks a line, which ends with a line feed, and waits for the line that answers it. A program
    /// that has ended since the last question is started once more.
    ///
    /// # Errors
    ///
    /// If it cannot be started, ends, or is too slow. It is ended then, so that a late answer is
    /// never taken for that of another question.
    pub fn ask(&mut self, line: &str) -> Result<Zeroizing<Vec<u8>>, ProgramError> {
        assert!(line.ends_with('\n'), "a question is a line");
        let is_old = self.running.is_some();
        match self.ask_once(line) {
            Err(ProgramError::Ended { .. }) if is_old => self.ask_once(line),
            other => other,
        }
    }

    fn ask_once(&mut self, line: &str) -> Result<Zeroizing<Vec<u8>>, ProgramError> {
        let program = self.command[0].clone();
        let mut running = match self.running.take() {
            Some(running) => running,
            None => self.start()?,
        };
        let written = running
            .stdin
            .write_all(line.as_bytes())
            .and_then(|()| running.stdin.flush());
        if written.is_err() {
            return Err(ProgramError::Ended { program });
        }
        let answer = match running.answers.recv_timeout(self.timeout) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => {
                return Err(ProgramError::Slow {
                    program,
                    timeout: self.timeout,
                });
            }
            Err(RecvTimeoutError::Disconnected) => return Err(ProgramError::Ended { program }),
        };
        if answer.len() > self.answer_bytes_max {
            let max = self.answer_bytes_max;
            return Err(ProgramError::Long { program, max });
        }
        // Only a program that answered is asked again.
        self.running = Some(running);
        Ok(answer)
    }

    fn start(&self) -> Result<Running, ProgramError> {
        let program = &self.command[0];
        let failed = |error| ProgramError::Start {
            program: program.clone(),
            error,
        };
        let mut command = Command::new(program);
        command
            .args(&self.command[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        for name in self.without {
            command.env_remove(name);
        }
        let mut child = command.spawn().map_err(failed)?;
        let stdin = child.stdin.take().expect("it is piped");
        let stdout = child.stdout.take().expect("it is piped");
        let (send, answers) = sync_channel(1);
        let max = u64::try_from(self.answer_bytes_max).unwrap_or(u64::MAX);
        let reader = thread::Builder::new()
            .name("line program".to_owned())
            .spawn(move || {
                let mut stdout = BufReader::new(stdout);
                loop {
                    let mut line = Zeroizing::new(Vec::with_capacity(1_024));
                    // One byte and the line feed above the bound show that it is too long.
                    let read = stdout
                        .by_ref()
                        .take(max.saturating_add(2))
                        .read_until(b'\n', &mut line);
                    match read {
                        Ok(1..) => {}
                        Ok(0) | Err(_) => return,
                    }
                    if line.last() == Some(&b'\n') {
                        line.pop();
                    }
                    if send.send(line).is_err() {
                        return;
                    }
                }
            });
        if let Err(error) = reader {
            let _ended = child.kill();
            let _reaped = child.wait();
            return Err(failed(error));
        }
        Ok(Running {
            child,
            stdin,
            answers,
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already cannot be ended again, and is reaped all the same.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, timeout: Duration) -> LineProgram {
        let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        LineProgram::new(command, &["GRIDLOOM_TEST_SECRET"], timeout, 20).unwrap()
    }

    #[test]
    fn questions_are_answered_line_by_line() {
        let mut echo = shell(
            "while read a; do echo \"ok $a\"; done",
            Duration::from_secs(20),
        );
        for question in ["one", "two"] {
            let answer = echo.ask(&format!("{question}\n")).unwrap();
            assert_eq!(*answer, format!("ok {question}").into_bytes());
        }
    }

    #[test]
    fn a_program_that_ended_is_started_again_and_one_that_fails_is_named() {
        // It answers one question and ends; the next one starts it anew.
        let mut once = shell("read a; echo \"ok $a\"", Duration::from_secs(20));
        assert_eq!(*once.ask("1\n").unwrap(), b"ok 1");
        assert_eq!(*once.ask("2\n").unwrap(), b"ok 2");
        let cases = [
            ("exit 0", "ended without an answer"),
            ("read a; exec sleep 600", "no answer within"),
            ("read a; echo 123456789012345678901", "more than 20 bytes"),
        ];
        for (script, words) in cases {
            let mut program = shell(script, Duration::from_millis(500));
            let said = program.ask("secret\n").unwrap_err().to_string();
            assert!(said.contains(words) && !said.contains("secret"), "{said}");
            assert!(program.running.is_none(), "{script}: it is not asked again");
        }
        let absent = vec!["/nowhere/holder".to_owned()];
        let mut absent = LineProgram::new(absent, &[], Duration::from_secs(1), 20).unwrap();
        let said = absent.ask("x\n").unwrap_err().to_string();
        assert!(said.contains("/nowhere/holder cannot be started"), "{said}");
        assert!(LineProgram::new(Vec::new(), &[], Duration::from_secs(1), 20).is_err());
    }
}
