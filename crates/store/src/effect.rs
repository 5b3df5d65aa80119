//! What the ledger asks of the disk and of the database, and what they answer.

use gridloom_core::{Day, MeterId, Period};

use crate::record::{BillRow, Lsn, PricePoint, StoredReading};

/// Something to carry out. Its outcome goes back through [`crate::Ledger::handle`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Settle the last segment after a restart: set its file's length, which cuts off a torn end,
    /// and fsync the file and its directory, also where the length is right already.
    /// Answered by [`Outcome::Truncated`].
    TruncateSegment {
        /// Which segment.
        segment: u64,
        /// Its new length in bytes; 0 leaves an empty file.
        length: u64,
    },
    /// Write at `offset` of a segment's file and fsync it; where `offset` is 0, create the file
    /// if it is not there and fsync its directory too. Answered by [`Outcome::Written`].
    WriteJournal {
        /// Which segment.
        segment: u64,
        /// Where in its file, in bytes.
        offset: u64,
        /// What to write.
        bytes: Vec<u8>,
        /// The last record in `bytes`.
        through: Lsn,
    },
    /// Give the batch to [`crate::Backend::commit`]. Answered by [`Outcome::Committed`].
    Commit(CommitBatch),
    /// Remove every segment whose number is below `before`. A segment that is not there is
    /// fine. Answered by [`Outcome::Dropped`].
    DropSegments {
        /// The first segment to keep.
        before: u64,
    },
}

/// How an [`Effect`] ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The segment has its length, durably.
    Truncated,
    /// The bytes are durable.
    Written {
        /// As in the effect.
        through: Lsn,
    },
    /// The transaction is durable.
    Committed(CommitReport),
    /// The segments are gone.
    Dropped,
    /// It did not succeed. A failed write leaves the ledger refusing writes until it is recovered
    /// from disk, because nobody knows what the disk kept; a failed commit or drop is tried again.
    Failed {
        /// Which effect.
        what: Operation,
        /// The system's error in words, naming the file.
        error: String,
    },
}

/// The kinds of [`Effect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// [`Effect::TruncateSegment`].
    TruncateSegment,
    /// [`Effect::WriteJournal`].
    WriteJournal,
    /// [`Effect::Commit`].
    Commit,
    /// [`Effect::DropSegments`].
    DropSegments,
}

impl Effect {
    /// Its kind, for [`Outcome::Failed`].
    pub const fn operation(&self) -> Operation {
        match self {
            Self::TruncateSegment { .. } => Operation::TruncateSegment,
            Self::WriteJournal { .. } => Operation::WriteJournal,
            Self::Commit(_) => Operation::Commit,
            Self::DropSegments { .. } => Operation::DropSegments,
        }
    }
}

/// Which journal records are in the database: every one up to `through`, and of those up to
/// `sealed_through` every one whose interval lies in a day before `sealed_before`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// Every record up to here is in the database.
    pub through: Lsn,
    /// Days before this one were sealed...
    pub sealed_before: Day,
    /// ...with every record up to here.
    pub sealed_through: Lsn,
}

impl Checkpoint {
    /// Nothing is in the database.
    pub const NONE: Self = Self {
        through: Lsn::ZERO,
        sealed_before: Day::from_epoch_days(i32::MIN),
        sealed_through: Lsn::ZERO,
    };

    /// The last record that the database knows of.
    pub fn known(&self) -> Lsn {
        self.through.max(self.sealed_through)
    }

    /// Whether the record at `lsn`, about an interval of `day`, is in the database.
    pub fn covers(&self, lsn: Lsn, day: Day) -> bool {
        lsn <= self.through || (lsn <= self.sealed_through && day < self.sealed_before)
    }
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self::NONE
    }
}

/// One transaction: all of it becomes durable, or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommitBatch {
    /// Readings to seal, by meter-day.
    pub meter_days: Vec<MeterDay>,
    /// Readings that contradict an earlier one: evidence to keep.
    pub conflicts: Vec<StoredReading>,
    /// Prices to keep.
    pub prices: Vec<PricePoint>,
    /// Bills to keep.
    pub bills: Vec<BillRow>,
    /// What the database holds once this is durable.
    pub checkpoint: Checkpoint,
}

/// Readings of one meter and day, in the order of their ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterDay {
    /// The meter.
    pub meter: MeterId,
    /// The capture period.
    pub period: Period,
    /// The day.
    pub day: Day,
    /// The readings; all of this meter, period and day.
    pub readings: Vec<StoredReading>,
}

/// What a commit found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommitReport {
    /// Readings that are new in the database.
    pub sealed: u64,
    /// Meter-day blocks that were written.
    pub blocks: u64,
    /// Of those, blocks that replace an earlier version.
    pub reopened: u64,
    /// Readings that were already there, and the same.
    pub duplicates: u64,
    /// Readings that contradict one in the database, which stays. The evidence is kept.
    pub conflicts: Vec<StoredReading>,
    /// Prices that are new in the database.
    pub prices: u64,
    /// Prices that contradict one in the database, which stays.
    pub price_conflicts: Vec<PricePoint>,
    /// Bills that are new in the database.
    pub bills: u64,
    /// Bills that contradict one of the same meter, month and version, which stays.
    pub bills_refused: Vec<BillRow>,
}
