//! Mistakes on the command line that only a look at several options, or into a file, can show.

use std::fmt;

/// The command was given wrongly; nothing was done. The program ends with code 2, as for an
/// unknown option.
#[derive(Debug)]
pub(crate) struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// Whatever went wrong is how the command was given.
pub(crate) fn usage<T>(result: anyhow::Result<T>) -> anyhow::Result<T> {
    result.map_err(|error| UsageError(format!("{error:#}")).into())
}
