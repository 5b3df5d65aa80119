//! The ledger: one journal, one head, and the order in which they reach the disk.

use core::ops::RangeInclusive;
use std::collections::VecDeque;

use gridloom_core::{Day, IntervalReading, MeterId, Period, UtcTime};

use crate::effect::{Checkpoint, CommitBatch, Effect, Operation, Outcome};
use crate::head::{Head, Offered, Openness, Scope, Window};
use crate::journal::{Segment, encode_header, encode_record};
use crate::record::{BillRow, Lsn, PricePoint, Record, StoredReading, place_of};
use crate::recover::{RecoverError, Recovered, Recovery, recover};

/// Encoded records that may wait for the write in flight; above it `append` refuses.
pub const PENDING_BYTES_MAX: usize = 8 << 20;

/// Bills that may wait for their commit; above it `queue_bill` refuses.
pub const BILLS_PENDING_MAX: usize = 1 << 20;

/// Contradicting readings that may wait for their commit, of them 16 for one interval; above either
/// `append` refuses.
pub const CONFLICTS_OPEN_MAX: usize = 10_000;

/// Journal writes after which a failed commit is tried again at the latest; the wait doubles up to
/// this.
pub const COMMIT_RETRY_WRITES_MAX: u64 = 1_024;

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
    /// About how many readings, and at most how many bills, go into one commit. It takes at least
    /// one meter-day.
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
        "journal: too many contradicting readings wait for their commit; seal days, then offer it again"
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
///
/// One write, one commit and one drop may be in flight at a time; whatever is appended during a
/// write goes out with the next one.
#[derive(Debug)]
pub struct Ledger {
    config: LedgerConfig,
    head: Head,
    window: Window,
    durable: Lsn,
    checkpoint: Checkpoint,
    segments: VecDeque<Segment>,
    pending: Pending,
    writing: Option<Writing>,
    truncation: Truncation,
    poisoned: Option<String>,
    bills: VecDeque<BillRow>,
    seal: Option<Scope>,
    committing: Option<Committing>,
    retry: Option<Retry>,
    drop: Drop,
    stats: LedgerStats,
}

/// Records that wait for the write in flight.
#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    count: u32,
}

#[derive(Debug)]
struct Writing {
    through: Lsn,
}

/// What a crash of the process left in the last segment may never have reached the disk, even where
/// it reads back whole. So its end is made durable before anything in it counts.
#[derive(Debug, Clone, Copy)]
enum Truncation {
    None,
    Wanted { segment: u64, length: u64 },
    InFlight,
}

/// A commit in flight, and how to undo what was prepared for it.
#[derive(Debug)]
struct Committing {
    scope: Scope,
    meter_days: Vec<(Day, MeterId, Period)>,
    lsns: Vec<Lsn>,
    bills: Vec<BillRow>,
    checkpoint: Checkpoint,
    /// Whether it ends the seal that was asked for.
    ends_seal: bool,
}

/// When a failed commit is tried again. Journal writes stand in for a clock.
#[derive(Debug, Clone, Copy)]
struct Retry {
    at_write: u64,
    wait: u64,
}

#[derive(Debug, Clone, Copy)]
enum Drop {
    None,
    Wanted { before: u64 },
    InFlight { before: u64 },
}

impl Ledger {
    /// An empty ledger with no journal.
    ///
    /// # Panics
    ///
    /// If a bound of the configuration is zero.
    pub fn new(config: LedgerConfig) -> Self {
        assert!(
            config.segment_bytes > 0
                && config.segments_max > 0
                && config.open_readings_max > 0
                && config.commit_readings_max > 0,
            "no bound of a ledger is zero: {config:?}"
        );
        Self {
            config,
            head: Head::default(),
            window: Window::new(Lsn::ZERO.next()),
            durable: Lsn::ZERO,
            checkpoint: Checkpoint::NONE,
            segments: VecDeque::from([Segment {
                number: 1,
                first: Lsn::ZERO.next(),
                bytes: 0,
            }]),
            pending: Pending::default(),
            writing: None,
            truncation: Truncation::None,
            poisoned: None,
            bills: VecDeque::new(),
            seal: None,
            committing: None,
            retry: None,
            drop: Drop::None,
            stats: LedgerStats::default(),
        }
    }

    /// The ledger as its journal left it: `checkpoint` from [`crate::Backend::checkpoint`],
    /// `segments` the `(number, content)` of every segment file there is.
    ///
    /// # Errors
    ///
    /// If the journal is damaged other than by an unfinished last write, or does not go with the
    /// database.
    ///
    /// # Panics
    ///
    /// If two segments have the same number.
    pub fn recover(
        config: LedgerConfig,
        checkpoint: Checkpoint,
        segments: Vec<(u64, Vec<u8>)>,
    ) -> Result<(Self, Recovery), RecoverError> {
        let mut ledger = Self::new(config);
        let Recovered {
            head,
            window,
            segments,
            recovery,
        } = recover(checkpoint, segments)?;
        ledger.head = head;
        ledger.window = window;
        ledger.checkpoint = checkpoint;
        if let (Some(oldest), Some(last)) = (segments.front(), segments.back()) {
            ledger.durable = Lsn(last.first.0 - 1).max(checkpoint.known());
            ledger.truncation = Truncation::Wanted {
                segment: last.number,
                length: last.bytes,
            };
            if recovery.segments_covered > 0 {
                ledger.drop = Drop::Wanted {
                    before: oldest.number,
                };
            }
            ledger.segments = segments;
        }
        Ok((ledger, recovery))
    }

    /// Takes a record. It is durable once [`Self::durable_through`] reaches the returned number.
    ///
    /// A record that is already open gets its first number again and is not written twice. A
    /// reading that contradicts an open one gets a number of its own, as evidence; the first
    /// stays.
    ///
    /// # Errors
    ///
    /// See [`AppendError`]; nothing was taken then.
    pub fn append(&mut self, record: Record) -> Result<Lsn, AppendError> {
        self.refuse_if_poisoned()?;
        let (period, end) = (record.period(), record.end());
        if place_of(period, end).is_none() {
            return Err(AppendError::OffGrid { end, period });
        }
        if self.pending.bytes.len() >= PENDING_BYTES_MAX {
            return Err(AppendError::PendingFull);
        }
        if self.head.len() >= self.config.open_readings_max.saturating_mul(2) {
            return Err(AppendError::HeadFull {
                open: self.head.len(),
            });
        }
        let lsn = self.window.next();
        match self.head.offer(lsn, &record, CONFLICTS_OPEN_MAX) {
            Offered::New => {}
            Offered::Conflict => self.stats.conflicts += 1,
            Offered::Same(since) => {
                self.stats.duplicates += 1;
                return Ok(since);
            }
            Offered::PriceDecided(decided) => return Err(AppendError::PriceDecided { decided }),
            Offered::ConflictsFull => return Err(AppendError::ConflictsFull),
        }
        self.window.push(Openness::Open);
        let Pending { bytes, count } = &mut self.pending;
        encode_record(lsn, *count, &record, bytes);
        *count += 1;
        self.stats.appended += 1;
        Ok(lsn)
    }

    /// Takes a bill into the next commit. It is not journalled: a bill that a crash loses is
    /// computed again from its intervals.
    ///
    /// # Errors
    ///
    /// See [`AppendError`]; nothing was taken then.
    pub fn queue_bill(&mut self, bill: BillRow) -> Result<(), AppendError> {
        self.refuse_if_poisoned()?;
        if self.bills.len() >= BILLS_PENDING_MAX {
            return Err(AppendError::BillsFull);
        }
        self.bills.push_back(bill);
        Ok(())
    }

    /// Commits every record appended so far whose interval lies in a day before `day`, as soon as
    /// it is durable. Later records of those days wait for the next call; they make a new version
    /// of their block then. Also tries a failed commit again.
    pub fn seal_before(&mut self, day: Day) {
        let sealed = self.checkpoint.sealed_before;
        let asked = self.seal.map_or(sealed, |scope| scope.before);
        self.seal = Some(Scope {
            before: day.max(asked).max(sealed),
            through: Lsn(self.window.next().0 - 1),
        });
        self.retry = None;
    }

    /// The next effect to carry out, until `None`. A ledger that refuses writes has none.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        if self.poisoned.is_some() {
            return None;
        }
        match self.truncation {
            Truncation::None => {}
            Truncation::InFlight => return None,
            Truncation::Wanted { segment, length } => {
                self.truncation = Truncation::InFlight;
                return Some(Effect::TruncateSegment { segment, length });
            }
        }
        self.next_write()
            .or_else(|| self.next_commit())
            .or_else(|| self.next_drop())
    }

    /// Takes the outcome of an effect.
    ///
    /// # Panics
    ///
    /// If no such effect is in flight.
    pub fn handle(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Truncated => {
                assert!(
                    matches!(self.truncation, Truncation::InFlight),
                    "a truncation was in flight"
                );
                self.truncation = Truncation::None;
                self.durable = Lsn(self.first_pending().0 - 1);
            }
            Outcome::Written { through } => {
                let writing = self.writing.take().expect("a write was in flight");
                assert_eq!(writing.through, through, "the write in flight ends here");
                self.durable = through;
                self.stats.writes += 1;
            }
            Outcome::Committed(_) => self.committed(),
            Outcome::Dropped => {
                let Drop::InFlight { before } = self.drop else {
                    panic!("a drop was in flight");
                };
                self.segments.retain(|segment| segment.number >= before);
                self.drop = Drop::None;
            }
            Outcome::Failed { what, error } => self.failed(what, error),
        }
    }

    /// Every record up to here is durable.
    pub const fn durable_through(&self) -> Lsn {
        self.durable
    }

    /// What the database holds, by the last commit that succeeded.
    pub const fn checkpoint(&self) -> Checkpoint {
        self.checkpoint
    }

    /// Why the ledger refuses writes, if it does.
    pub fn poisoned(&self) -> Option<&str> {
        self.poisoned.as_deref()
    }

    /// Open readings of a meter for intervals of `days`, in the order of their ends. They are not
    /// in the database yet, and the last of them perhaps not durable.
    pub fn open_readings(
        &self,
        meter: MeterId,
        period: Period,
        days: RangeInclusive<Day>,
    ) -> impl Iterator<Item = IntervalReading> {
        self.head.open_readings(meter, period, days)
    }

    /// Days that have open readings, in order.
    pub fn open_days(&self) -> impl Iterator<Item = Day> {
        self.head.open_days()
    }

    /// Open prices of a period, in the order of their intervals.
    pub fn open_prices(&self, period: Period) -> impl Iterator<Item = PricePoint> {
        self.head.open_prices(period)
    }

    /// Open readings that contradict an earlier one.
    pub fn open_conflicts(&self) -> impl Iterator<Item = StoredReading> {
        self.head.open_conflicts()
    }

    /// Counters.
    pub fn stats(&self) -> LedgerStats {
        LedgerStats {
            open_readings: self.head.readings(),
            open_prices: self.head.prices(),
            pending_bytes: self.pending.bytes.len(),
            ..self.stats
        }
    }

    /// The first record that no write has taken.
    fn first_pending(&self) -> Lsn {
        Lsn(self.window.next().0 - u64::from(self.pending.count))
    }

    fn refuse_if_poisoned(&self) -> Result<(), AppendError> {
        match &self.poisoned {
            Some(error) => Err(AppendError::Poisoned {
                error: error.clone(),
            }),
            None => Ok(()),
        }
    }

    fn next_write(&mut self) -> Option<Effect> {
        if self.writing.is_some() || self.pending.count == 0 {
            return None;
        }
        let first = self.first_pending();
        let through = Lsn(self.window.next().0 - 1);
        let Pending { bytes, .. } = core::mem::take(&mut self.pending);
        let segment = self.segments.back_mut().expect("there is always a segment");
        let segment = if segment.bytes >= self.config.segment_bytes {
            let next = Segment {
                number: segment.number + 1,
                first,
                bytes: 0,
            };
            self.segments.push_back(next);
            self.segments.back_mut().expect("one was just pushed")
        } else {
            segment
        };
        let offset = segment.bytes;
        let bytes = if offset == 0 {
            let mut whole = encode_header(segment.number, first);
            whole.extend(bytes);
            whole
        } else {
            bytes
        };
        segment.bytes += bytes.len() as u64;
        self.writing = Some(Writing { through });
        Some(Effect::WriteJournal {
            segment: segment.number,
            offset,
            bytes,
            through,
        })
    }

    fn next_commit(&mut self) -> Option<Effect> {
        let waits = self
            .retry
            .is_some_and(|retry| self.stats.writes < retry.at_write);
        if self.committing.is_some() || waits {
            return None;
        }
        let seal = self.seal.filter(|scope| scope.through <= self.durable);
        let nothing = Scope {
            before: Day::from_epoch_days(i32::MIN),
            through: Lsn::ZERO,
        };
        let scope = match seal.or_else(|| self.relief()) {
            Some(scope) => scope,
            None if self.bills.is_empty() => return None,
            None => nothing,
        };
        let selection = self.head.select(scope, self.config.commit_readings_max);
        let ends_seal = seal.is_some() && selection.complete;
        let bills_count = self.bills.len().min(self.config.commit_readings_max);
        let bills: Vec<_> = self.bills.drain(..bills_count).collect();
        if selection.lsns.is_empty() && bills.is_empty() {
            // There is nothing to make durable: the seal is over.
            self.seal = None;
            return None;
        }
        self.window.mark(&selection.lsns, Openness::Closed);
        let checkpoint = Checkpoint {
            through: Lsn(self.window.first_open().0 - 1),
            ..if ends_seal {
                Checkpoint {
                    sealed_before: scope.before,
                    sealed_through: scope.through,
                    ..self.checkpoint
                }
            } else {
                self.checkpoint
            }
        };
        let batch = CommitBatch {
            meter_days: selection.meter_days,
            conflicts: selection.conflicts,
            prices: selection.prices,
            bills: bills.clone(),
            checkpoint,
        };
        self.committing = Some(Committing {
            scope,
            meter_days: (batch.meter_days.iter())
                .map(|sealed| (sealed.day, sealed.meter, sealed.period))
                .collect(),
            lsns: selection.lsns,
            bills,
            checkpoint,
            ends_seal,
        });
        Some(Effect::Commit(batch))
    }

    /// What has to be committed before its day ends because the journal or the head outgrows its
    /// bound.
    fn relief(&self) -> Option<Scope> {
        let through = if self.segments.len() > self.config.segments_max {
            Lsn(self.segments[1].first.0 - 1)
        } else if self.head.len() > self.config.open_readings_max {
            let oldest = self.window.first_open().0;
            Lsn(oldest + (self.durable.0.saturating_sub(oldest)) / 2)
        } else {
            return None;
        };
        let due = through <= self.durable && through >= self.window.first_open();
        due.then_some(Scope {
            before: Scope::DAY_END,
            through,
        })
    }

    fn next_drop(&mut self) -> Option<Effect> {
        let Drop::Wanted { before } = self.drop else {
            return None;
        };
        self.drop = Drop::InFlight { before };
        Some(Effect::DropSegments { before })
    }

    fn committed(&mut self) {
        let done = self.committing.take().expect("a commit was in flight");
        self.head.forget(done.scope, &done.meter_days);
        self.window.shrink();
        self.checkpoint = done.checkpoint;
        // A seal that was asked for meanwhile reaches further, and goes on.
        if done.ends_seal && self.seal == Some(done.scope) {
            self.seal = None;
        }
        self.retry = None;
        self.stats.commits += 1;
        if !matches!(self.drop, Drop::InFlight { .. }) {
            self.drop = self.droppable();
        }
    }

    /// Segments whose records are all in the database, but for the last one with a durable record.
    fn droppable(&self) -> Drop {
        let keep_from = self.checkpoint.through.next().min(self.durable);
        let keep = self
            .segments
            .iter()
            .rev()
            .find(|segment| segment.first <= keep_from);
        match (keep, self.segments.front()) {
            (Some(keep), Some(oldest)) if keep.number > oldest.number => Drop::Wanted {
                before: keep.number,
            },
            _ => Drop::None,
        }
    }

    fn failed(&mut self, what: Operation, error: String) {
        match what {
            Operation::TruncateSegment | Operation::WriteJournal => {
                self.poisoned = Some(error);
            }
            Operation::Commit => {
                let undone = self.committing.take().expect("a commit was in flight");
                self.window.mark(&undone.lsns, Openness::Open);
                for bill in undone.bills.into_iter().rev() {
                    self.bills.push_front(bill);
                }
                let wait = self.retry.map_or(1, |retry| retry.wait * 2);
                let wait = wait.min(COMMIT_RETRY_WRITES_MAX);
                self.retry = Some(Retry {
                    at_write: self.stats.writes + wait,
                    wait,
                });
                self.stats.failures += 1;
            }
            Operation::DropSegments => {
                assert!(
                    matches!(self.drop, Drop::InFlight { .. }),
                    "a drop was in flight"
                );
                // The next commit asks again.
                self.drop = Drop::None;
                self.stats.failures += 1;
            }
        }
    }
}
