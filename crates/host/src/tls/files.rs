//! The files that a node needs, and what tells that they have changed.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::fault::TlsError;
use super::identity::NodeName;

/// Bytes of one file; a larger one is refused. A revocation list of a hundred thousand
/// certificates has 4 MB.
pub const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Where a node's certificate, its authority's, and the revocation list lie, all in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Whose they are.
    pub node: NodeName,
    /// The authority's certificate.
    pub authority: PathBuf,
    /// What the authority took back.
    pub revoked: PathBuf,
    /// The node's certificate with its private key.
    pub own: PathBuf,
}

impl TlsFiles {
    /// As `gridloom pki` lays them out in its directory.
    pub fn in_directory(directory: &Path, node: NodeName) -> Self {
        Self {
            authority: directory.join("authority.pem"),
            revoked: directory.join("revoked.pem"),
            own: directory
                .join("nodes")
                .join(format!("{}-{}.pem", node.role_word(), node.name())),
            node,
        }
    }

    /// Changes when a file is replaced or written.
    pub(super) fn mark(&self) -> Mark {
        Mark([&self.authority, &self.revoked, &self.own].map(|path| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
        }))
    }
}

/// What the system says of the three files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark([Option<(u64, u64, i64, i64)>; 3]);

/// A whole file, if it is not too long.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |error: std::io::Error| TlsError::File {
        path: path.to_owned(),
        cause: error.to_string(),
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > FILE_BYTES_MAX) {
        return Err(TlsError::Content {
            path: path.to_owned(),
            what: format!("it has more than {FILE_BYTES_MAX} bytes: name the right file"),
        });
    }
    Ok(bytes)
}
