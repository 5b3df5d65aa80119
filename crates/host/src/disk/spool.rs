//! Spools on disk: one directory for each node that has one, one file for each segment.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use gridloom_store::spool::{Lane, SegmentFile, SegmentWrite, SpoolEffect, SpoolOutcome};

use super::directory::{DataDirectory, create_directory, sync_directory};
use super::{DiskError, file_error, words};

/// Bytes of one segment that are read; a longer file is not ours, and counts as damaged behind
/// them.
pub const SPOOL_SEGMENT_BYTES_MAX: u64 = 16 * 1024 * 1024;

const SUFFIX: &str = ".spool";

/// A lane's segments whose content a start needs.
const LOADED: usize = 2;

/// Segments under the data directory's `spool/NODE`.
#[derive(Debug)]
pub struct SpoolDisk {
    folder: PathBuf,
    /// The segment written last, kept open.
    current: Option<Segment>,
}

#[derive(Debug)]
struct Segment {
    lane: Lane,
    number: u64,
    file: File,
    /// Its length, as we left it.
    length: u64,
}

impl SpoolDisk {
    /// Opens the spool of `node`, a name of letters, digits, `-` and `_`, and lists what it holds:
    /// the argument of `Spool::recover`.
    ///
    /// # Errors
    ///
    /// A [`DiskError`] that names the file.
    pub fn open(
        directory: &DataDirectory,
        node: &str,
    ) -> Result<(Self, Vec<SegmentFile>), DiskError> {
        let folder = directory.path().join("spool").join(folder_of(node));
        create_directory(&folder)?;
        let files = load(&folder)?;
        let disk = Self {
            folder,
            current: None,
        };
        Ok((disk, files))
    }

    pub(super) fn carry_out(&mut self, effect: SpoolEffect) -> SpoolOutcome {
        let result = match effect {
            SpoolEffect::Write(writes) => self.write_all(&writes).map(|()| SpoolOutcome::Written),
            SpoolEffect::Truncate {
                lane,
                segment,
                length,
            } => self
                .truncate(lane, segment, length)
                .map(|()| SpoolOutcome::Truncated)
                .map_err(|error| self.words("truncating", lane, segment, &error)),
            SpoolEffect::Read { lane, segment } => self
                .read(lane, segment)
                .map(SpoolOutcome::Read)
                .map_err(|error| self.words("reading", lane, segment, &error)),
            SpoolEffect::Drop { lane, segment } => self
                .remove(lane, segment)
                .map(|()| SpoolOutcome::Dropped)
                .map_err(|error| self.words("removing", lane, segment, &error)),
        };
        result.unwrap_or_else(SpoolOutcome::Failed)
    }

    fn write_all(&mut self, writes: &[SegmentWrite]) -> Result<(), String> {
        for write in writes {
            if let Err(error) = self.write(write) {
                // Nobody knows what the file holds now; its length is set before the next write.
                self.current = None;
                return Err(self.words("writing", write.lane, write.segment, &error));
            }
        }
        Ok(())
    }

    fn write(&mut self, write: &SegmentWrite) -> io::Result<()> {
        let (lane, number) = (write.lane, write.segment);
        let is_current = self
            .current
            .as_ref()
            .is_some_and(|it| (it.lane, it.number) == (lane, number));
        if !is_current {
            self.current = Some(self.open_segment(lane, number, write.offset == 0)?);
        }
        let segment = self.current.as_mut().expect("it was just opened");
        if segment.length != write.offset {
            return Err(io::Error::other(format!(
                "it has {} bytes where the spool goes on at {}: another program changed it",
                segment.length, write.offset
            )));
        }
        segment.file.seek(SeekFrom::Start(write.offset))?;
        segment.file.write_all(&write.bytes)?;
        segment.file.sync_data()?;
        segment.length += write.bytes.len() as u64;
        if write.offset == 0 {
            sync_directory(&self.folder)?;
        }
        Ok(())
    }

    fn truncate(&mut self, lane: Lane, number: u64, length: u64) -> io::Result<()> {
        self.current = None;
        let segment = self.open_segment(lane, number, true)?;
        if segment.length < length {
            return Err(io::Error::other(format!(
                "it has {} bytes, fewer than the {length} that stand: another program changed it",
                segment.length
            )));
        }
        segment.file.set_len(length)?;
        segment.file.sync_all()?;
        sync_directory(&self.folder)
    }

    fn read(&self, lane: Lane, number: u64) -> io::Result<Vec<u8>> {
        match read_segment(&self.path(lane, number)) {
            // The spool names what is missing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other,
        }
    }

    fn remove(&mut self, lane: Lane, number: u64) -> io::Result<()> {
        self.current = None;
        match fs::remove_file(self.path(lane, number)) {
            Ok(()) => sync_directory(&self.folder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn open_segment(&self, lane: Lane, number: u64, create: bool) -> io::Result<Segment> {
        let file = OpenOptions::new()
            .write(true)
            .create(create)
            .truncate(false)
            .open(self.path(lane, number))?;
        let length = file.metadata()?.len();
        Ok(Segment {
            lane,
            number,
            file,
            length,
        })
    }

    fn path(&self, lane: Lane, number: u64) -> PathBuf {
        self.folder
            .join(format!("{}-{number:020}{SUFFIX}", lane.name()))
    }

    fn words(&self, doing: &str, lane: Lane, number: u64, error: &io::Error) -> String {
        words::of_file(doing, &self.path(lane, number), error)
    }
}

/// A node's name as a folder's: what is no letter, digit, `-` or `_` is written as its code.
fn folder_of(node: &str) -> String {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    node.bytes()
        .map(|byte| match safe(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02x}"),
        })
        .collect()
}

fn load(folder: &Path) -> Result<Vec<SegmentFile>, DiskError> {
    let refused = |error: io::Error| file_error("listing", folder, &error);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(refused)? {
        let entry = entry.map_err(refused)?;
        let name = entry.file_name();
        let Some((lane, segment)) = name.to_str().and_then(parse) else {
            tracing::warn!(?name, "a foreign file lies in the spool's directory");
            continue;
        };
        files.push(SegmentFile {
            lane,
            segment,
            length: entry.metadata().map_err(refused)?.len(),
            bytes: None,
        });
    }
    files.sort_by_key(|file| (file.lane, file.segment));
    for lane in Lane::ALL {
        let of_lane = files.iter_mut().filter(|file| file.lane == lane);
        for file in of_lane.rev().take(LOADED) {
            let path = folder.join(format!("{}-{:020}{SUFFIX}", lane.name(), file.segment));
            let bytes = read_segment(&path).map_err(|error| file_error("reading", &path, &error));
            file.bytes = Some(bytes?);
        }
    }
    Ok(files)
}

fn read_segment(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(SPOOL_SEGMENT_BYTES_MAX)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn parse(name: &str) -> Option<(Lane, u64)> {
    let (lane, number) = name.strip_suffix(SUFFIX)?.rsplit_once('-')?;
    let lane = Lane::ALL.into_iter().find(|known| known.name() == lane)?;
    Some((lane, number.parse().ok()?))
}
