//! The archive: one file per object.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::directory::{DataDirectory, create_directory, create_missing, sync_directory};
use super::{DiskError, file_error, words};

/// Bytes of an object; a larger one is refused.
pub const OBJECT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of an object's name; a longer one is refused.
pub const OBJECT_NAME_BYTES_MAX: usize = 200;

/// Parts of an object's name; a deeper one is refused.
const DEPTH_MAX: usize = 8;

/// No object can have this name: parts do not start with a dot.
const INCOMING: &str = ".incoming";

/// Objects under the data directory's `archive`.
#[derive(Debug)]
pub struct ArchiveDisk {
    root: PathBuf,
}

impl ArchiveDisk {
    /// Opens the archive, and clears what a crash left half written.
    ///
    /// # Errors
    ///
    /// [`DiskError::File`] if the system refuses.
    pub fn open(directory: &DataDirectory) -> Result<Self, DiskError> {
        let root = directory.path().join("archive");
        create_directory(&root)?;
        let incoming = root.join(INCOMING);
        match fs::remove_file(&incoming) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(file_error("removing", &incoming, &error)),
        }
        Ok(Self { root })
    }

    /// Puts an object into its place; durable when it returns. An object of the same name is
    /// replaced as a whole.
    pub(super) fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), String> {
        check_name(name)?;
        if bytes.len() > OBJECT_BYTES_MAX {
            return Err(format!(
                "archive object {name} of {} bytes is refused, at most {OBJECT_BYTES_MAX} are \
                 kept: split it",
                bytes.len()
            ));
        }
        let incoming = self.root.join(INCOMING);
        let place = self.root.join(name);
        let parent = place.parent().unwrap_or(&self.root);
        create_missing(parent)
            .map_err(|(path, error)| words::of_file("creating", &path, &error))?;
        write_whole(&incoming, bytes).map_err(|error| words::of_file("writing", &place, &error))?;
        fs::rename(&incoming, &place)
            .and_then(|()| sync_directory(parent))
            .map_err(|error| words::of_file("renaming into place", &place, &error))
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// An object's name is a relative path of parts that mean the same on every file system.
fn check_name(name: &str) -> Result<(), String> {
    let part_is_safe = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'='))
    };
    let safe = name.len() <= OBJECT_NAME_BYTES_MAX
        && name.split('/').count() <= DEPTH_MAX
        && name.split('/').all(part_is_safe);
    if safe {
        Ok(())
    } else {
        let shown: String = name.chars().take(OBJECT_NAME_BYTES_MAX).collect();
        Err(format!(
            "archive object name {shown:?} is refused: use at most {DEPTH_MAX} parts of letters, \
             digits, '-', '_', '=' and '.', none starting with '.', joined by '/', \
             {OBJECT_NAME_BYTES_MAX} bytes in all"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside_the_archive() {
        let cases = [
            ("2013/01/readings.bin", true),
            ("meter=7/day=2013-01-01.v1", true),
            ("a", true),
            ("", false),
            ("/etc/passwd", false),
            ("../secret", false),
            ("a/../b", false),
            ("a//b", false),
            ("a/", false),
            (".incoming", false),
            ("a/.hidden", false),
            ("a\\b", false),
            ("a b", false),
            ("a\0b", false),
            ("ä", false),
            ("1/2/3/4/5/6/7/8", true),
            ("1/2/3/4/5/6/7/8/9", false),
            (&"x".repeat(200), true),
            (&"x".repeat(201), false),
        ];
        for (name, valid) in cases {
            assert_eq!(check_name(name).is_ok(), valid, "{name:?}");
        }
    }
}
