//! The ledger.

use core::ops::RangeInclusive;

use gridloom_core::{Day, IntervalReading, MeterId, Period, UtcTime};

use crate::backend::BillRow;
use crate::effect::{Checkpoint, Effect, Outcome};
use crate::record::{Lsn, PayloadError, PricePoint, Record, StoredReading};

/// Encoded records that may wait for the write in flight; above it `append` refuses.
pub const PENDING_BYTES_MAX: usize = 8 << 20;

/// Bills that may wait for their commit; above it `queue_bill` refuses.
pub const BILLS_PENDING_MAX: usize = 1 << 20;

/// Contradicting readings that may wait for their commit; above it `append` refuses.
pub const CONFLICTS_OPEN_MAX: usize = 10_000;

/// How a ledger bounds itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerConfig {
    /// A segment that has grown to this many bytes is followed by a new one.
    pub segment_bytes: u64,
    /// Above this many segments, the records of the oldest are committed although their day is
    /// still open, so that it can be dropped.
    pub segments_max: usize,
    /// Above this many open readings the older half is committed although its day is still open;
    /// at twice this many, `append` refuses.
    pub open_readings_max: usize,
    /// About how many readings go into one commit; at least one meter-day does.
    pub commit_readings_max: usize,
}

impl Default for LedgerConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            segments_max: 64,
            open_readings_max: 8_000_000,
            commit_readings_max: 200_000,
        }
    }
}

/// Why a record was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// An earlier write failed.
    #[error("journal: an earlier write failed ({error}); restart to recover from disk")]
    Poisoned {
        /// How.
        error: String,
    },
    /// Too much is waiting for the disk.
    #[error("journal: {PENDING_BYTES_MAX} bytes wait for the disk; offer it again later")]
    PendingFull,
    /// Too many readings are open.
    #[error("journal: {open} readings wait for their commit; seal days, then offer it again")]
    HeadFull {
        /// How many.
        open: usize,
    },
    /// Too many contradicting readings are open.
    #[error(
        "journal: {CONFLICTS_OPEN_MAX} contradicting readings wait for their commit; seal days, then offer it again"
    )]
    ConflictsFull,
    /// The interval's end is not on the grid of its period.
    #[error("journal: {end} is no interval end of a {period_secs} s period", period_secs = .period.as_secs())]
    OffGrid {
        /// The end.
        end: UtcTime,
        /// The period.
        period: Period,
    },
    /// The interval has a different price already.
    #[error("journal: the interval ending at {} has its price, {}", .decided.end, .decided.price)]
    PriceDecided {
        /// The price that stays.
        decided: PricePoint,
    },
    /// Too many bills wait.
    #[error("ledger: {BILLS_PENDING_MAX} bills wait for their commit; offer it again later")]
    BillsFull,
}

impl AppendError {
    /// Whether offering the record again later may succeed without an operator.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::PendingFull | Self::HeadFull { .. } | Self::ConflictsFull | Self::BillsFull => {
                true
            }
            Self::Poisoned { .. } | Self::OffGrid { .. } | Self::PriceDecided { .. } => false,
        }
    }
}

/// Why a journal cannot be recovered without an operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// A record whose checksum holds is not one.
    #[error("journal segment {segment}, byte {offset}: {error}")]
    Payload {
        /// In which segment.
        segment: u64,
        /// Where.
        offset: u64,
        /// What is wrong.
        error: PayloadError,
    },
}

/// The unfinished end of the last segment, left by a crash while it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TornTail {
    /// In which segment.
    pub segment: u64,
    /// Where the last whole record ends.
    pub offset: u64,
    /// Bytes after that. None of them was ever acknowledged.
    pub bytes: u64,
}

/// What recovery found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Records that are open again.
    pub records: u64,
    /// Records that the database already had.
    pub covered: u64,
    /// The unfinished last write, if there was one. The ledger truncates it by its first effect.
    pub torn: Option<TornTail>,
}

/// Counters since the ledger was made, and what is open now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LedgerStats {
    /// Records appended to the journal.
    pub appended: u64,
    /// Records that were already open, and the same.
    pub duplicates: u64,
    /// Readings that contradicted an open one.
    pub conflicts: u64,
    /// Readings that are open.
    pub open_readings: usize,
    /// Prices that are open.
    pub open_prices: usize,
    /// Encoded bytes that wait for the write in flight.
    pub pending_bytes: usize,
    /// Journal writes that were carried out.
    pub writes: u64,
    /// Commits that were carried out.
    pub commits: u64,
    /// Commits and drops that failed.
    pub failures: u64,
}

/// The durable memory of readings and prices.
#[derive(Debug)]
pub struct Ledger {
    config: LedgerConfig,
}

impl Ledger {
    /// An empty ledger with no journal.
    pub fn new(config: LedgerConfig) -> Self {
        Self { config }
    }

    /// The ledger as its journal left it. `segments` are `(number, content)` of every segment file.
    ///
    /// # Errors
    ///
    /// If the journal is damaged other than by an unfinished last write.
    pub fn recover(
        config: LedgerConfig,
        checkpoint: Checkpoint,
        segments: Vec<(u64, Vec<u8>)>,
    ) -> Result<(Self, Recovery), RecoverError> {
        let _ = (checkpoint, segments);
        Ok((Self::new(config), Recovery::default()))
    }

    /// Takes a record. It is durable once [`Self::durable_through`] reaches the returned number.
    /// A record that is already open gets its first number again and is not written twice.
    ///
    /// # Errors
    ///
    /// See [`AppendError`]; nothing was taken then.
    pub fn append(&mut self, record: Record) -> Result<Lsn, AppendError> {
        let _ = (record, self.config);
        Ok(Lsn::ZERO)
    }

    /// Takes a bill into the next commit.
    ///
    /// # Errors
    ///
    /// See [`AppendError`]; nothing was taken then.
    pub fn queue_bill(&mut self, bill: BillRow) -> Result<(), AppendError> {
        let _ = bill;
        Ok(())
    }

    /// Commits every record appended so far whose interval lies in a day before `day`.
    /// Later records of those days wait for the next call.
    pub fn seal_before(&mut self, day: Day) {
        let _ = day;
    }

    /// The next effect to carry out, until `None`.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        None
    }

    /// Takes the outcome of an effect.
    pub fn handle(&mut self, outcome: Outcome) {
        drop(outcome);
    }

    /// Every record up to here is durable.
    pub fn durable_through(&self) -> Lsn {
        Lsn::ZERO
    }

    /// Why the ledger refuses writes, if it does.
    pub fn poisoned(&self) -> Option<&str> {
        None
    }

    /// Open readings of a meter for intervals of `days`, in the order of their ends.
    pub fn open_readings(
        &self,
        meter: MeterId,
        period: Period,
        days: RangeInclusive<Day>,
    ) -> impl Iterator<Item = IntervalReading> {
        let _ = (meter, period, days);
        core::iter::empty()
    }

    /// Days that have open readings, in order.
    pub fn open_days(&self) -> impl Iterator<Item = Day> {
        core::iter::empty()
    }

    /// Open prices of a period, in the order of their intervals.
    pub fn open_prices(&self, period: Period) -> impl Iterator<Item = PricePoint> {
        let _ = period;
        core::iter::empty()
    }

    /// Open readings that contradict an earlier one.
    pub fn open_conflicts(&self) -> impl Iterator<Item = StoredReading> {
        core::iter::empty()
    }

    /// Counters.
    pub fn stats(&self) -> LedgerStats {
        LedgerStats::default()
    }
}
