//! The master key behind an external program: the lines that go to it and come back.
//!
//! The host starts the program once, writes one request line to its standard input and reads one
//! answer line from its standard output, with a time limit. A program of this kind may ask a
//! hardware token, a cloud key service, or a person.
//!
//! ```text
//! newest                      ok 3
//! wrap 3 key 00112233…        ok 1FA68B0A…
//! unwrap 3 key 1FA68B0A…      ok 00112233…
//! unwrap 3 padded 9FC1…       mismatch
//! wrap 4 key …                error no such key
//! ```

use zeroize::Zeroizing;

use super::secret::{SECRET_BYTES_MAX, Secret, VaultError, WrapForm};

/// Bytes of an answer line; the host gives up on a longer one.
pub const ANSWER_BYTES_MAX: usize = 400;

/// A question to the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question<'a> {
    /// Which version wraps new keys?
    Newest,
    /// Wrap this.
    Wrap {
        /// By which version.
        version: u32,
        /// How.
        form: WrapForm,
        /// The secret.
        plain: &'a [u8],
    },
    /// Unwrap this.
    Unwrap {
        /// By which version.
        version: u32,
        /// How.
        form: WrapForm,
        /// What was wrapped.
        wrapped: &'a [u8],
    },
}

impl Question<'_> {
    /// The line, with its end. It may hold a secret: it is wiped when dropped.
    pub fn to_line(self) -> Zeroizing<String> {
        let form = |form| match form {
            WrapForm::Key => "key",
            WrapForm::Padded => "padded",
        };
        // Room for the whole line: growing would leave copies behind.
        let mut line = Zeroizing::new(String::with_capacity(4 * SECRET_BYTES_MAX + 64));
        let (verb, version, how, bytes) = match self {
            Self::Newest => {
                line.push_str("newest\n");
                return line;
            }
            Self::Wrap {
                version,
                form: how,
                plain,
            } => ("wrap", version, form(how), plain),
            Self::Unwrap {
                version,
                form: how,
                wrapped,
            } => ("unwrap", version, form(how), wrapped),
        };
        line.push_str(&format!("{verb} {version} {how} "));
        for byte in bytes {
            for digit in [byte >> 4, byte & 15] {
                line.extend(char::from_digit(digit.into(), 16));
            }
        }
        line.push('\n');
        line
    }
}

/// Reads the answer to [`Question::Newest`].
///
/// # Errors
///
/// What the program said, or that it said nothing of sense.
pub fn read_newest(line: &str) -> Result<u32, VaultError> {
    let text = read_ok(line)?;
    let version = text.parse().ok().filter(|version| *version > 0);
    version.ok_or_else(|| VaultError::Answer("no version to `newest`".into()))
}

/// Reads the answer to [`Question::Wrap`] or [`Question::Unwrap`].
///
/// # Errors
///
/// [`VaultError::DoesNotUnwrap`] for `mismatch`, what the program said for `error`, or that it
/// said nothing of sense. The answer itself is never repeated: it may be a secret.
pub fn read_bytes(line: &str) -> Result<Secret, VaultError> {
    let secret = Secret::parse_hex(read_ok(line)?);
    let secret = secret.filter(|secret| !secret.expose().is_empty());
    secret.ok_or_else(|| VaultError::Answer("`ok` without hexadecimal digits".into()))
}

fn read_ok(line: &str) -> Result<&str, VaultError> {
    let line = line.trim_end();
    if line.len() > ANSWER_BYTES_MAX {
        return Err(VaultError::Answer(format!("{} bytes", line.len())));
    }
    if line == "mismatch" {
        return Err(VaultError::DoesNotUnwrap);
    }
    if let Some(reason) = line.strip_prefix("error ") {
        return Err(VaultError::Holder(reason.to_owned()));
    }
    line.strip_prefix("ok ")
        .ok_or_else(|| VaultError::Answer("neither `ok`, `mismatch` nor `error`".into()))
}
