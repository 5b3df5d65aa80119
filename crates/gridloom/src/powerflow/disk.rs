//! Circuit files on disk, whose names do not differ by case.

use std::path::{Path, PathBuf};

use gridloom_grid::opendss::{BYTES_MAX, Files};

/// Files on disk.
pub(crate) struct Disk;

impl Files for Disk {
    fn read(&mut self, path: &str) -> Result<Vec<u8>, String> {
        let found = locate(Path::new(path)).ok_or("there is no such file")?;
        let size = std::fs::metadata(&found)
            .map_err(|error| error.to_string())?
            .len();
        if usize::try_from(size).map_or(true, |size| size > BYTES_MAX) {
            return Err(format!("{size} bytes are more than {BYTES_MAX}"));
        }
        std::fs::read(&found).map_err(|error| error.to_string())
    }
}

/// The file of that name, or the only way to write it that differs by case alone.
fn locate(path: &Path) -> Option<PathBuf> {
    if path.is_file() {
        return Some(path.to_owned());
    }
    let mut found = PathBuf::new();
    for part in path.components() {
        let next = found.join(part);
        if next.exists() {
            found = next;
            continue;
        }
        let name = part.as_os_str().to_string_lossy();
        let folder = if found.as_os_str().is_empty() {
            Path::new(".")
        } else {
            &found
        };
        let mut alike: Vec<_> = std::fs::read_dir(folder)
            .ok()?
            .flatten()
            .map(|entry| entry.file_name())
            .filter(|other| other.to_string_lossy().eq_ignore_ascii_case(&name))
            .collect();
        alike.sort();
        found.push(alike.first()?);
    }
    found.is_file().then_some(found)
}
