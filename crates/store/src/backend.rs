//! What a database under gridloom can do, and the rows it keeps.

use core::fmt;
use core::ops::RangeInclusive;

use gridloom_core::{Day, IntervalReading, MeterId, Month, Period, SystemTitle};

use crate::block::BlockError;
use crate::effect::{Checkpoint, CommitBatch, CommitReport};
use crate::record::{BillRow, Lsn, PayloadError, PricePoint, StoredReading};

/// Days that one query may span; a longer range is refused.
pub const READ_DAYS_MAX: u32 = 400;

/// Bytes of a name in the registry; a longer one is refused.
pub const NAME_BYTES_MAX: usize = 200;

/// Bytes of a wrapped key (RFC 3394 wraps 32 bytes into 40); a longer one is refused.
pub const WRAPPED_KEY_BYTES_MAX: usize = 64;

/// A database. Every method either succeeds as a whole or changes nothing.
pub trait Backend: fmt::Debug + Send {
    /// Carries out one transaction; durable when it returns. The same batch again changes
    /// nothing: everything in it is a duplicate then.
    ///
    /// # Errors
    ///
    /// If the database fails or a block that has to be merged is damaged.
    fn commit(&mut self, batch: CommitBatch) -> Result<CommitReport, StoreError>;

    /// Sealed readings of a meter, in the order of their ends.
    ///
    /// # Errors
    ///
    /// If the range exceeds [`READ_DAYS_MAX`], the database fails or a block is damaged.
    fn readings(
        &self,
        meter: MeterId,
        period: Period,
        days: RangeInclusive<Day>,
    ) -> Result<Vec<IntervalReading>, StoreError>;

    /// Committed prices of intervals that belong to `days`, in the order of their ends.
    ///
    /// # Errors
    ///
    /// If the range exceeds [`READ_DAYS_MAX`] or the database fails.
    fn prices(
        &self,
        period: Period,
        days: RangeInclusive<Day>,
    ) -> Result<Vec<PricePoint>, StoreError>;

    /// Bills of a month, by meter and version.
    ///
    /// # Errors
    ///
    /// If the database fails.
    fn bills(&self, month: Month) -> Result<Vec<BillRow>, StoreError>;

    /// The registry, by meter.
    ///
    /// # Errors
    ///
    /// If the database fails.
    fn meters(&self) -> Result<Vec<MeterRow>, StoreError>;

    /// Writes a meter into the registry, replacing its row if there is one.
    ///
    /// # Errors
    ///
    /// If the title belongs to another meter, a field is out of bounds or the database fails.
    fn enrol(&mut self, row: MeterRow) -> Result<(), StoreError>;

    /// Readings that contradicted an earlier one, for intervals of `days`.
    ///
    /// # Errors
    ///
    /// If the range exceeds [`READ_DAYS_MAX`] or the database fails.
    fn conflicts(
        &self,
        meter: MeterId,
        days: RangeInclusive<Day>,
    ) -> Result<Vec<StoredReading>, StoreError>;

    /// Changes to the sealed days of a meter, oldest first.
    ///
    /// # Errors
    ///
    /// If the database fails.
    fn audit(&self, meter: MeterId) -> Result<Vec<AuditRow>, StoreError>;

    /// What of the journal is in the database: what [`crate::Ledger::recover`] starts from.
    ///
    /// # Errors
    ///
    /// If the database fails.
    fn checkpoint(&self) -> Result<Checkpoint, StoreError>;

    /// How much there is.
    ///
    /// # Errors
    ///
    /// If the database fails.
    fn summary(&self) -> Result<Summary, StoreError>;
}

/// A meter in the registry. Its keys are wrapped by the utility's key-encryption key.
#[derive(Clone, PartialEq, Eq)]
pub struct MeterRow {
    /// Its number.
    pub meter: MeterId,
    /// Its system title; no two meters share one.
    pub title: SystemTitle,
    /// What operators call it.
    pub name: String,
    /// Measured phases, 1 to 3.
    pub phases: u8,
    /// The wrapped encryption key.
    pub wrapped_ek: Vec<u8>,
    /// The wrapped authentication key.
    pub wrapped_ak: Vec<u8>,
    /// The service point that it measures.
    pub service_point: String,
}

impl fmt::Debug for MeterRow {
    /// Without keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeterRow")
            .field("meter", &self.meter)
            .field("title", &self.title)
            .field("phases", &self.phases)
            .finish_non_exhaustive()
    }
}

/// A change to a sealed day: late readings made a new version of its block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// The meter.
    pub meter: MeterId,
    /// The capture period.
    pub period: Period,
    /// The day.
    pub day: Day,
    /// The version that the change made; the first seal is version 1 and leaves no row here.
    pub version: u32,
    /// The slots that were added, from 0, in order.
    pub added: Vec<u32>,
}

/// How much a database holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Sealed readings.
    pub readings: u64,
    /// Meter-day blocks.
    pub blocks: u64,
    /// Bytes of those blocks.
    pub block_bytes: u64,
    /// Prices.
    pub prices: u64,
    /// Bills.
    pub bills: u64,
    /// Meters in the registry.
    pub meters: u64,
    /// Contradicting readings kept as evidence.
    pub conflicts: u64,
}

/// Why the database did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database itself failed.
    #[error("database: {doing}: {error}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// Its error.
        error: String,
    },
    /// The database was written by a newer version.
    #[error("database: schema version {found} is newer than {known}; run the newer gridloom")]
    NewerSchema {
        /// In the database.
        found: u32,
        /// The newest that this version knows.
        known: u32,
    },
    /// A block does not decode.
    #[error("block of {meter}, {day}, {period_secs} s: {error}; restore this row from a backup")]
    DamagedBlock {
        /// The meter.
        meter: MeterId,
        /// The day.
        day: Day,
        /// The period.
        period_secs: u32,
        /// What is wrong.
        error: BlockError,
    },
    /// A row of a table does not mean anything.
    #[error("table {table}: {what}; restore this row from a backup")]
    DamagedRow {
        /// The table.
        table: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// Kept evidence does not decode.
    #[error("table conflict: {0}; restore this row from a backup")]
    DamagedEvidence(#[from] PayloadError),
    /// The commit comes from a journal that knows less than the database.
    #[error(
        "database: a commit through record {offered} follows one through {held}; \
         another journal writes into this database"
    )]
    CheckpointBackwards {
        /// The last record that the database knows of.
        held: Lsn,
        /// The last record that the commit knows of.
        offered: Lsn,
    },
    /// The title is another meter's.
    #[error("registry: system title {title} belongs to {by}; retire that meter first")]
    TitleTaken {
        /// The title.
        title: SystemTitle,
        /// Its owner.
        by: MeterId,
    },
    /// A field is out of bounds.
    #[error("{field} of {got} is out of bounds, at most {max}")]
    FieldOutOfBounds {
        /// Which field.
        field: &'static str,
        /// Its size or value.
        got: usize,
        /// The bound.
        max: usize,
    },
    /// The query is too wide.
    #[error("query: {days} days asked for, at most {READ_DAYS_MAX}; ask in parts")]
    RangeTooLong {
        /// Days asked for.
        days: u64,
    },
}

impl StoreError {
    /// Whether the same call may succeed later without an operator.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Database { .. })
    }
}
