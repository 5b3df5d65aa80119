//! What went wrong with a file, and what to do about it, in words.

use std::io::{self, ErrorKind};
use std::path::Path;

use gridloom_store::StoreError;

const FULL: &str = "free space on this disk, or move the data directory to a larger one";
const READ_ONLY: &str = "remount the file system writable, or choose another data directory";
const DENIED: &str = "give this user the right to write there, or choose another data directory";

/// The system's words, with the remedy where we know one.
pub(super) fn of_system(error: &io::Error) -> String {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "ErrorKind is non-exhaustive and has forty kinds"
    )]
    let remedy = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => FULL,
        ErrorKind::ReadOnlyFilesystem => READ_ONLY,
        ErrorKind::PermissionDenied => DENIED,
        _ => return error.to_string(),
    };
    format!("{error}: {remedy}")
}

/// What could not be done to which file, and why.
pub(super) fn of_file(doing: &str, path: &Path, error: &io::Error) -> String {
    format!("{doing} {}: {}", path.display(), of_system(error))
}

/// Why a database refused, with its file and the remedy where we know one.
///
/// SQLite tells these apart in its message only by the time it reaches us.
pub(super) fn of_database(path: &Path, error: &StoreError) -> String {
    let text = error.to_string();
    let remedy = [
        ("disk is full", FULL),
        ("readonly database", READ_ONLY),
        ("unable to open database", DENIED),
    ]
    .into_iter()
    .find(|(sign, _)| text.contains(sign))
    .map(|(_, remedy)| format!(": {remedy}"));
    format!("{}: {text}{}", path.display(), remedy.unwrap_or_default())
}
