//! The data directory, and the lock that keeps a second process out of it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::{DiskError, file_error};

const LOCK_NAME: &str = "gridloom.lock";

/// The lock file holds a process number; what is longer is not read.
const LOCK_BYTES_MAX: u64 = 20;

/// A directory that belongs to this process as long as this value lives.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    /// The system gives the lock back when this file is closed, even after a crash.
    _lock: File,
}

impl DataDirectory {
    /// Creates the directory if it is not there, readable by its owner only, and locks it.
    /// `key` is the option or configuration key that errors name.
    ///
    /// # Errors
    ///
    /// [`DiskError::InUse`] if another process has it, [`DiskError::File`] if the system refuses.
    pub fn open(key: &str, path: &Path) -> Result<Self, DiskError> {
        create_directory(path)?;
        let lock_path = path.join(LOCK_NAME);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(|error| file_error("opening", &lock_path, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DiskError::InUse {
                    directory: path.to_owned(),
                    process: read_holder(&mut lock),
                    key: key.to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => {
                return Err(file_error("locking", &lock_path, &error));
            }
        }
        lock.set_len(0)
            .and_then(|()| lock.write_all(std::process::id().to_string().as_bytes()))
            .map_err(|error| file_error("writing", &lock_path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn read_holder(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.take(LOCK_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Creates a directory and its parents, durably, readable by its owner only.
pub(super) fn create_directory(path: &Path) -> Result<(), DiskError> {
    create_missing(path).map_err(|(path, error)| file_error("creating", &path, &error))
}

/// Creates missing directories from the top; names the one that failed.
pub(super) fn create_missing(path: &Path) -> Result<(), (PathBuf, io::Error)> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let named = |error| (path.to_owned(), error);
    let parent = path.parent().unwrap_or(Path::new(""));
    create_missing(parent)?;
    make_directory(path).map_err(named)?;
    sync_directory(parent).map_err(named)
}

#[cfg(unix)]
fn make_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).create(path)
}

#[cfg(not(unix))]
fn make_directory(path: &Path) -> io::Result<()> {
    fs::create_dir(path)
}

/// Makes the names in a directory durable.
#[cfg(unix)]
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    File::open(path)?.sync_all()
}

/// Other systems make names durable with the file.
#[cfg(not(unix))]
pub(super) fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}
