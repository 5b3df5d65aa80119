//! The disk's part in a head-end pair: the keeper's record, copies of everything, and putting one
//! in place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use gridloom_nodes::envelope::pair::PART_BYTES_MAX;

use super::directory::{DataDirectory, create_directory, sync_directory};
use super::{CellDisk, DiskError, DiskParts, LedgerDisk, OperationsDisk, file_error, words};

const RECORD: &str = "pair.state";
const COPY: &str = "pair-copy";
const INCOMING: &str = "pair-incoming";
const DATABASES: [&str; 2] = ["gridloom.db", "field.db"];
const JOURNAL: &str = "journal";
const FIRMWARE: &str = "firmware";

/// The keeper's record is this long at most.
const RECORD_BYTES_MAX: u64 = 1_024;

/// Files of one copy; more are refused.
const FILES_MAX: usize = 4_096;

/// What the keeper of a head-end pair needs of a data directory.
#[derive(Debug)]
pub struct KeeperDisk {
    data: PathBuf,
    /// Files of the copy that is coming in.
    incoming: Vec<String>,
}

impl KeeperDisk {
    /// The keeper's part of a directory that is locked.
    pub fn open(directory: &DataDirectory) -> Self {
        Self {
            data: directory.path().to_owned(),
            incoming: Vec::new(),
        }
    }

    /// What the keeper kept; nothing at its first start.
    ///
    /// # Errors
    ///
    /// [`DiskError::File`] if the file cannot be read.
    pub fn record(&self) -> Result<Option<Vec<u8>>, DiskError> {
        let path = self.data.join(RECORD);
        let read = || {
            let mut bytes = Vec::new();
            File::open(&path)?
                .take(RECORD_BYTES_MAX)
                .read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if io::Error::kind(&error) == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file_error("reading", &path, &error)),
        }
    }

    pub(super) fn keep(&self, bytes: &[u8]) -> Result<(), String> {
        let path = self.data.join(RECORD);
        let fresh = self.data.join("pair.state.new");
        let keep = || {
            let mut file = File::create(&fresh)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            sync_directory(&self.data)
        };
        keep().map_err(|error| words::of_file("writing", &path, &error))
    }

    /// A copy of everything as it is now: nobody writes meanwhile, because the disk's thread is
    /// here.
    pub(super) fn copy(&self) -> Result<Vec<(String, u64)>, String> {
        let folder = self.data.join(COPY);
        let failed = |error: io::Error| words::of_file("copying to", &folder, &error);
        clear(&folder).map_err(failed)?;
        create_directory(&folder).map_err(|error| error.to_string())?;
        let mut files = Vec::new();
        for name in DATABASES {
            let to = folder.join(name);
            let connection = super::cells::open_connection(&self.data.join(name))
                .map_err(|error| error.to_string())?;
            connection
                .execute("VACUUM INTO ?1", [to.to_string_lossy()])
                .map_err(|error| format!("{}: {error}", to.display()))?;
            files.push((name.to_owned(), to.metadata().map_err(failed)?.len()));
        }
        for folder_name in [JOURNAL, FIRMWARE] {
            let from = self.data.join(folder_name);
            if !from.is_dir() {
                continue;
            }
            create_directory(&folder.join(folder_name)).map_err(|error| error.to_string())?;
            let mut names = Vec::new();
            for entry in fs::read_dir(&from).map_err(failed)? {
                names.extend(
                    entry
                        .map_err(failed)?
                        .file_name()
                        .to_str()
                        .map(str::to_owned),
                );
            }
            names.sort_unstable();
            for name in names {
                let name = format!("{folder_name}/{name}");
                if is_known(&name) {
                    let length =
                        fs::copy(self.data.join(&name), folder.join(&name)).map_err(failed)?;
                    files.push((name, length));
                }
            }
        }
        Ok(files)
    }

    pub(super) fn read_copy(&self, file: &str, offset: u64) -> Result<Vec<u8>, String> {
        let path = self.data.join(COPY).join(file);
        let read = || {
            let mut from = File::open(&path)?;
            from.seek(SeekFrom::Start(offset))?;
            let mut bytes = Vec::new();
            from.take(PART_BYTES_MAX as u64).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|error: io::Error| words::of_file("reading", &path, &error))
    }

    /// Keeps a piece of the other member's copy. A copy begins with the database.
    pub(super) fn take(&mut self, file: &str, offset: u64, bytes: &[u8]) -> Result<(), String> {
        if !is_known(file) {
            return Err(format!("{file:?} is no file of a copy"));
        }
        let folder = self.data.join(INCOMING);
        let path = folder.join(file);
        let failed = |error: io::Error| words::of_file("writing", &path, &error);
        if offset == 0 {
            if file == DATABASES[0] {
                clear(&folder).map_err(failed)?;
                self.incoming.clear();
            }
            if self.incoming.len() >= FILES_MAX {
                return Err(format!("a copy has more than {FILES_MAX} files"));
            }
            let parent = path.parent().unwrap_or(&folder);
            create_directory(parent).map_err(|error| error.to_string())?;
            self.incoming.push(file.to_owned());
        } else if self.incoming.last().is_none_or(|last| last != file) {
            return Err(format!("a piece of {file} came without its beginning"));
        }
        let write = || {
            let mut into = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(offset == 0)
                .open(&path)?;
            if into.metadata()?.len() != offset {
                return Err(io::Error::other("a piece before it is missing"));
            }
            into.seek(SeekFrom::Start(offset))?;
            into.write_all(bytes)
        };
        write().map_err(failed)
    }

    /// Puts the copy in the place of what is here. The keeper has told everybody that nothing is
    /// known of this member's data until it is done.
    pub(super) fn install(&mut self) -> Result<(), String> {
        let folder = self.data.join(INCOMING);
        let failed = |error: io::Error| words::of_file("putting in place", &folder, &error);
        if DATABASES
            .iter()
            .any(|name| !self.incoming.iter().any(|file| file == name))
        {
            return Err("the copy has no database".to_owned());
        }
        for file in &self.incoming {
            let whole = File::open(folder.join(file)).and_then(|file| file.sync_all());
            whole.map_err(failed)?;
        }
        for name in DATABASES {
            for suffix in ["", "-wal", "-shm"] {
                remove(&self.data.join(format!("{name}{suffix}"))).map_err(failed)?;
            }
        }
        for name in [JOURNAL, FIRMWARE] {
            clear(&self.data.join(name)).map_err(failed)?;
            create_directory(&self.data.join(name)).map_err(|error| error.to_string())?;
        }
        for file in std::mem::take(&mut self.incoming) {
            fs::rename(folder.join(&file), self.data.join(&file)).map_err(failed)?;
        }
        for place in [self.data.join(JOURNAL), self.data.clone()] {
            sync_directory(&place).map_err(failed)?;
        }
        clear(&folder).map_err(failed)
    }

    /// The parts that a copy replaces, opened anew.
    pub(super) fn reopen(&self, parts: &mut DiskParts) -> Result<(), DiskError> {
        parts.cells = Some(CellDisk::open_at(&self.data)?);
        parts.operations = Some(OperationsDisk::open_in(&self.data)?);
        parts.ledger = Some(LedgerDisk::open_at(&self.data)?.0);
        Ok(())
    }
}

/// Whether a copy may have a file of this name; no other one is ever written.
fn is_known(file: &str) -> bool {
    let is_plain = |name: &str, suffix: &str| {
        let stem = name.strip_suffix(suffix);
        stem.is_some_and(|stem| {
            !stem.is_empty() && stem.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    };
    match file.split_once('/') {
        None => DATABASES.contains(&file),
        Some((JOURNAL, name)) => is_plain(name, ".journal"),
        Some((FIRMWARE, name)) => is_plain(name, ".img"),
        Some(_) => false,
    }
}

fn clear(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_a_copy_are_written() {
        let cases = [
            ("gridloom.db", true),
            ("field.db", true),
            ("journal/0000000001.journal", true),
            ("firmware/00ff.img", true),
            ("master.key", false),
            ("gridloom.db-wal", false),
            ("journal/../master.key", false),
            ("journal/..journal", false),
            ("/etc/passwd", false),
            ("firmware/a/b.img", false),
            ("", false),
        ];
        for (file, expected) in cases {
            assert_eq!(is_known(file), expected, "{file:?}");
        }
    }
}
