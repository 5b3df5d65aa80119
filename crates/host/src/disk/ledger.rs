//! The utility's ledger on disk: journal segments as files, and the database beside them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use gridloom_core::{Day, IntervalReading, Period};
use gridloom_nodes::node::{Answer, Query};
use gridloom_store::sqlite::SqliteBackend;
use gridloom_store::{Backend, Checkpoint, Effect, Outcome, StoreError};

use super::directory::{DataDirectory, create_directory, sync_directory};
use super::{DiskError, file_error, words};

/// Bytes of journal that a start loads; more is refused, because it means that sealing has
/// stopped long ago.
pub const JOURNAL_BYTES_MAX: u64 = 8 << 30;

const SUFFIX: &str = ".journal";

const DATABASE: &str = "gridloom.db";

/// What the ledger starts from: the arguments of `Ledger::recover`.
#[derive(Debug)]
pub struct LedgerStart {
    /// What of the journal is in the database.
    pub checkpoint: Checkpoint,
    /// Number and content of every journal segment, in order.
    pub segments: Vec<(u64, Vec<u8>)>,
}

/// Journal segments under the data directory's `journal`, and the database `gridloom.db`.
#[derive(Debug)]
pub struct LedgerDisk {
    journal: PathBuf,
    /// The segment written last, kept open.
    current: Option<Segment>,
    database: PathBuf,
    backend: Box<dyn Backend>,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    file: File,
    /// Its length, as we left it.
    length: u64,
}

impl LedgerDisk {
    /// Opens journal and database, and loads what the ledger starts from.
    ///
    /// # Errors
    ///
    /// A [`DiskError`] that names the file.
    pub fn open(directory: &DataDirectory) -> Result<(Self, LedgerStart), DiskError> {
        Self::open_at(directory.path())
    }

    /// Opens journal and database of a data directory that this process has locked.
    pub(super) fn open_at(data: &Path) -> Result<(Self, LedgerStart), DiskError> {
        let journal = data.join("journal");
        create_directory(&journal)?;
        let database = database_path(data);
        let backend = open_backend(&database)?;
        let checkpoint = backend
            .checkpoint()
            .map_err(|error| database_error(&database, &error))?;
        let segments = load_segments(&journal)?;
        let disk = Self {
            journal,
            current: None,
            database,
            backend,
        };
        let start = LedgerStart {
            checkpoint,
            segments,
        };
        Ok((disk, start))
    }

    /// A second connection to the database, for queries while the disk works.
    ///
    /// # Errors
    ///
    /// [`DiskError::Database`] if it cannot be opened.
    pub fn open_queries(directory: &DataDirectory) -> Result<Box<dyn Backend>, DiskError> {
        open_backend(&database_path(directory.path()))
    }

    /// The database of a data directory, for reading it whether or not somebody works there.
    ///
    /// # Errors
    ///
    /// [`DiskError::Database`] if there is none, or it cannot be opened.
    pub fn open_database(data: &Path) -> Result<Box<dyn Backend>, DiskError> {
        open_backend(&existing_database(data)?)
    }

    /// The database, before the disk is started: for enrolling meters.
    pub fn backend_mut(&mut self) -> &mut dyn Backend {
        &mut *self.backend
    }

    pub(super) fn carry_out(&mut self, effect: Effect) -> Outcome {
        let what = effect.operation();
        let result = match effect {
            Effect::TruncateSegment { segment, length } => self
                .truncate(segment, length)
                .map(|()| Outcome::Truncated)
                .map_err(|error| self.segment_words("truncating", segment, &error)),
            Effect::WriteJournal {
                segment,
                offset,
                bytes,
                through,
            } => self
                .write(segment, offset, &bytes)
                .map(|()| Outcome::Written { through })
                .map_err(|error| self.segment_words("writing", segment, &error)),
            Effect::Commit(batch) => self
                .backend
                .commit(batch)
                .map(Outcome::Committed)
                .map_err(|error| words::of_database(&self.database, &error)),
            Effect::DropSegments { before } => self.drop_segments(before),
        };
        result.unwrap_or_else(|error| Outcome::Failed { what, error })
    }

    pub(super) fn query(&self, query: Query) -> Result<Answer, String> {
        let found = match query {
            Query::Readings {
                meter,
                period,
                first,
                last,
            } => {
                let readings = self.backend.readings(meter, period, first..=last);
                readings.map(Answer::Readings)
            }
            Query::Day { period, day } => self.day(period, day).map(Answer::Readings),
            Query::Prices {
                period,
                first,
                last,
            } => self
                .backend
                .prices(period, first..=last)
                .map(Answer::Prices),
            Query::Bills { month } => self.backend.bills(month).map(Answer::Bills),
        };
        found.map_err(|error| words::of_database(&self.database, &error))
    }

    /// Every registered meter's readings of a day.
    fn day(&self, period: Period, day: Day) -> Result<Vec<IntervalReading>, StoreError> {
        let mut readings = Vec::new();
        for row in self.backend.meters()? {
            readings.extend(self.backend.readings(row.meter, period, day..=day)?);
        }
        Ok(readings)
    }

    fn write(&mut self, number: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let result = self.try_write(number, offset, bytes);
        if result.is_err() {
            // Nobody knows what the file holds now; the next start reads it.
            self.current = None;
        }
        result
    }

    fn try_write(&mut self, number: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let is_current = self.current.as_ref().is_some_and(|s| s.number == number);
        if !is_current {
            self.current = Some(self.open_segment(number, offset == 0)?);
        }
        let segment = self.current.as_mut().expect("it was just opened");
        if segment.length != offset {
            return Err(io::Error::other(format!(
                "it has {} bytes where the journal goes on at {offset}: another program changed it",
                segment.length
            )));
        }
        segment.file.seek(SeekFrom::Start(offset))?;
        segment.file.write_all(bytes)?;
        segment.file.sync_data()?;
        segment.length += bytes.len() as u64;
        if offset == 0 {
            sync_directory(&self.journal)?;
        }
        Ok(())
    }

    fn truncate(&mut self, number: u64, length: u64) -> io::Result<()> {
        self.current = None;
        let segment = self.open_segment(number, false)?;
        if segment.length < length {
            return Err(io::Error::other(format!(
                "it has {} bytes, fewer than the {length} that stand: another program changed it",
                segment.length
            )));
        }
        segment.file.set_len(length)?;
        segment.file.sync_all()
    }

    fn open_segment(&self, number: u64, create: bool) -> io::Result<Segment> {
        let file = OpenOptions::new()
            .write(true)
            .create(create)
            .truncate(false)
            .open(segment_path(&self.journal, number))?;
        let length = file.metadata()?.len();
        Ok(Segment {
            number,
            file,
            length,
        })
    }

    fn drop_segments(&mut self, before: u64) -> Result<Outcome, String> {
        if self.current.as_ref().is_some_and(|s| s.number < before) {
            self.current = None;
        }
        let numbers = list_segments(&self.journal).map_err(|error| error.to_string())?;
        for number in numbers.into_iter().filter(|number| *number < before) {
            match fs::remove_file(segment_path(&self.journal, number)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(self.segment_words("removing", number, &error)),
            }
        }
        sync_directory(&self.journal)
            .map_err(|error| words::of_file("syncing", &self.journal, &error))?;
        Ok(Outcome::Dropped)
    }

    fn segment_words(&self, doing: &str, number: u64, error: &io::Error) -> String {
        words::of_file(doing, &segment_path(&self.journal, number), error)
    }
}

pub(super) fn database_path(data: &Path) -> PathBuf {
    data.join(DATABASE)
}

/// The database of a data directory that was used before.
pub(super) fn existing_database(data: &Path) -> Result<PathBuf, DiskError> {
    let path = data.join(DATABASE);
    if !path.is_file() {
        return Err(DiskError::Database {
            path,
            cause: "there is no such file: name the directory of a utility".to_owned(),
        });
    }
    Ok(path)
}

fn open_backend(path: &Path) -> Result<Box<dyn Backend>, DiskError> {
    let connection = super::cells::open_connection(path)?;
    let backend = SqliteBackend::new(connection).map_err(|error| database_error(path, &error))?;
    Ok(Box::new(backend))
}

pub(super) fn database_error(path: &Path, error: &StoreError) -> DiskError {
    DiskError::Database {
        path: path.to_owned(),
        cause: words::of_database(path, error),
    }
}

fn segment_path(journal: &Path, number: u64) -> PathBuf {
    journal.join(format!("{number:010}{SUFFIX}"))
}

/// The numbers of all segments, in order. Other files in the directory are left alone.
fn list_segments(journal: &Path) -> Result<Vec<u64>, DiskError> {
    let refused = |error: io::Error| file_error("listing", journal, &error);
    let mut numbers = Vec::new();
    for entry in fs::read_dir(journal).map_err(refused)? {
        let name = entry.map_err(refused)?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_suffix(SUFFIX))
            .and_then(|number| number.parse().ok());
        match number {
            Some(number) => numbers.push(number),
            None => tracing::warn!(?name, "a foreign file lies in the journal's directory"),
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn load_segments(journal: &Path) -> Result<Vec<(u64, Vec<u8>)>, DiskError> {
    let mut left = JOURNAL_BYTES_MAX;
    let mut segments = Vec::new();
    for number in list_segments(journal)? {
        let path = segment_path(journal, number);
        let refused = |error: io::Error| file_error("reading", &path, &error);
        let length = fs::metadata(&path).map_err(refused)?.len();
        left = left
            .checked_sub(length)
            .ok_or_else(|| DiskError::JournalTooLarge {
                path: journal.to_owned(),
            })?;
        segments.push((number, fs::read(&path).map_err(refused)?));
    }
    Ok(segments)
}
