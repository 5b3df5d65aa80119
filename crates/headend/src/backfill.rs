//! Missing intervals become range reads of bounded length, until they are filled or known to be
//! lost for good.
//!
//! An answer that lacks an interval is not at once believed to be final: a range read also comes
//! back empty when meter and head-end treat the deviation differently. Final is what the meter
//! has overwritten by its own account, or what several reads in a row did not bring.

mod span;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use gridloom_core::{MeterId, Period, UtcTime, Wake};

pub use span::Span;

use span::Spans;

/// A profile of a meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    /// Whose.
    pub meter: MeterId,
    /// Of which capture period.
    pub period: Period,
}

/// Which end of a gap is read first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// What was measured last: forecast and detection wait for it.
    NewestFirst,
    /// What was measured first: a bill waits for it, and the meter overwrites it soonest.
    OldestFirst,
}

/// How gaps are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackfillConfig {
    /// Intervals in one read.
    pub intervals_max: u32,
    /// Meters that are read at once.
    pub reads_max: usize,
    /// The wait after a read that failed or brought nothing; it doubles each time.
    pub wait_first: Duration,
    /// The longest wait; gaps of a meter that stays away are tried this often for ever.
    pub wait_max: Duration,
}

/// One read, to be answered by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// How a read went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The meter answered: these interval ends were in it.
    Rows {
        /// The ends, in any order.
        ends: Vec<UtcTime>,
        /// The end of the oldest interval that the meter still holds, if it is known.
        oldest_held: Option<UtcTime>,
    },
    /// No believable answer.
    Failed,
}

/// Why an interval will never come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FinalReason {
    /// It is older than everything that the meter holds.
    Overwritten {
        /// The oldest interval that the meter holds.
        oldest_held: UtcTime,
    },
    /// The meter answered so often without it.
    NotRecorded {
        /// How often.
        reads: u8,
    },
}

/// What backfill wants done or known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Read the intervals of `span`.
    Read {
        /// The number to answer with.
        id: ReadId,
        /// Whose, and of which profile.
        series: Series,
        /// Which intervals.
        span: Span,
    },
    /// The intervals of `span` will never come.
    Final {
        /// Whose, and of which profile.
        series: Series,
        /// Which intervals.
        span: Span,
        /// Why.
        reason: FinalReason,
    },
}

/// Why a gap is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackfillError {
    /// The ends are not on the period's grid, or not in order.
    #[error("gap: {from} to {to} are no interval boundaries in order; name whole intervals")]
    NoGap {
        /// The start.
        from: UtcTime,
        /// The end.
        to: UtcTime,
    },
    /// [`Backfill::SPANS_MAX`] gaps of this meter are open; the next scan finds it again.
    #[error("gap: meter {meter} has too many open gaps; they are read first")]
    MeterFull {
        /// The meter.
        meter: MeterId,
    },
    /// [`Backfill::SERIES_MAX`] profiles have gaps; the next scan finds it again.
    #[error("gap: too many meters have open gaps; they are read first")]
    Full,
}

/// Reads what is missing.
#[derive(Debug)]
pub struct Backfill {
    config: BackfillConfig,
    next_read: u64,
    series: BTreeMap<Series, Gaps>,
    reads: BTreeMap<ReadId, (Series, Span)>,
    /// Who may be read now, and since when.
    ready: BTreeSet<(UtcTime, Series)>,
    /// Who may be read when.
    waiting: BTreeSet<(UtcTime, Series)>,
    outbox: VecDeque<Output>,
}

/// The gaps of one profile.
#[derive(Debug)]
struct Gaps {
    spans: Spans,
    order: Order,
    /// Failed or fruitless reads in a row.
    fruitless: u32,
    /// Reads in a row that were answered without anything that was missing, all of them of
    /// `empty_of`.
    empty: u8,
    empty_of: Option<Span>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Ready(UtcTime),
    Waiting(UtcTime),
    Reading,
}

impl Backfill {
    /// Open gaps of one profile; one more is refused with [`BackfillError::MeterFull`]. A read
    /// that would tear more holes into them leaves them whole: it is only read again.
    pub const SPANS_MAX: usize = 256;
    /// Profiles with open gaps; one more is refused with [`BackfillError::Full`].
    pub const SERIES_MAX: usize = 262_144;
    /// Answers in a row without a missing interval after which it is final.
    pub const ABSENT_READS: u8 = 3;

    /// Nothing is missing yet.
    ///
    /// # Panics
    ///
    /// If a read has no interval, or none may run.
    pub const fn new(config: BackfillConfig) -> Self {
        assert!(
            config.intervals_max > 0 && config.reads_max > 0,
            "backfill reads at least one interval at a time"
        );
        Self {
            config,
            next_read: 1,
            series: BTreeMap::new(),
            reads: BTreeMap::new(),
            ready: BTreeSet::new(),
            waiting: BTreeSet::new(),
            outbox: VecDeque::new(),
        }
    }

    /// The intervals between `from` and `to` are missing: `from` is the start of the first one,
    /// `to` the end of the last. What was named before is not named twice.
    ///
    /// # Errors
    ///
    /// No gap, or too many; see [`BackfillError`].
    pub fn handle_gap(
        &mut self,
        series: Series,
        from: UtcTime,
        to: UtcTime,
        order: Order,
        now: UtcTime,
    ) -> Result<(), BackfillError> {
        self.expect_drained();
        let span = Span::new(series.period, from, to).ok_or(BackfillError::NoGap { from, to })?;
        if !self.series.contains_key(&series) && self.series.len() >= Self::SERIES_MAX {
            return Err(BackfillError::Full);
        }
        let gaps = self.series.entry(series).or_insert_with(|| {
            self.ready.insert((now, series));
            Gaps {
                spans: Spans::default(),
                order,
                fruitless: 0,
                empty: 0,
                empty_of: None,
                stage: Stage::Ready(now),
            }
        });
        gaps.order = order;
        if !gaps.spans.add(span) {
            return Err(BackfillError::MeterFull {
                meter: series.meter,
            });
        }
        self.read_what_can();
        Ok(())
    }

    /// An interval arrived, by whatever way.
    pub fn handle_interval(&mut self, series: Series, end: UtcTime) {
        self.expect_drained();
        if let Some(gaps) = self.series.get_mut(&series) {
            gaps.spans.fill(series.period, end);
            if gaps.spans.is_empty() && gaps.stage != Stage::Reading {
                self.close(series);
            }
        }
    }

    /// A read ended.
    ///
    /// # Panics
    ///
    /// If it was not asked for.
    pub fn handle_answer(&mut self, id: ReadId, answer: Answer, now: UtcTime) {
        self.expect_drained();
        let (series, span) = self.reads.remove(&id).expect("only a running read ends");
        let gaps = self
            .series
            .get_mut(&series)
            .expect("gaps stay while they are read");
        match answer {
            Answer::Failed => gaps.fruitless += 1,
            Answer::Rows { ends, oldest_held } => {
                let before = gaps.spans.count(series.period, span);
                for end in ends {
                    gaps.spans.fill(series.period, end);
                }
                if let Some(oldest_held) = oldest_held {
                    let lost = gaps.spans.take_before(series.period, oldest_held);
                    for span in lost {
                        self.outbox.push_back(Output::Final {
                            series,
                            span,
                            reason: FinalReason::Overwritten { oldest_held },
                        });
                    }
                }
                if gaps.spans.count(series.period, span) < before {
                    gaps.empty = 0;
                    gaps.fruitless = 0;
                } else if before > 0 {
                    let again = gaps.empty_of.replace(span) == Some(span);
                    gaps.empty = if again { gaps.empty + 1 } else { 1 };
                    gaps.fruitless += 1;
                }
                if gaps.empty >= Self::ABSENT_READS {
                    let reads = std::mem::take(&mut gaps.empty);
                    gaps.fruitless = 0;
                    for span in gaps.spans.take_within(span) {
                        self.outbox.push_back(Output::Final {
                            series,
                            span,
                            reason: FinalReason::NotRecorded { reads },
                        });
                    }
                }
            }
        }
        if gaps.spans.is_empty() {
            self.series.remove(&series);
        } else if gaps.fruitless == 0 {
            gaps.stage = Stage::Ready(now);
            self.ready.insert((now, series));
        } else {
            let doublings = (gaps.fruitless - 1).min(31);
            let wait = self
                .config
                .wait_first
                .saturating_mul(1 << doublings)
                .min(self.config.wait_max);
            gaps.stage = Stage::Waiting(now + wait);
            self.waiting.insert((now + wait, series));
        }
        self.read_what_can();
    }

    /// A meter is heard again: what waits for it need not wait any longer.
    pub fn handle_meter_back(&mut self, series: Series, now: UtcTime) {
        self.expect_drained();
        if let Some(gaps) = self.series.get_mut(&series)
            && let Stage::Waiting(until) = gaps.stage
            && gaps.empty == 0
        {
            self.waiting.remove(&(until, series));
            gaps.stage = Stage::Ready(now);
            self.ready.insert((now, series));
            self.read_what_can();
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: UtcTime) {
        self.expect_drained();
        while let Some(&(at, series)) = self.waiting.first()
            && at <= now
        {
            self.waiting.remove(&(at, series));
            let gaps = self.series.get_mut(&series).expect("who waits has gaps");
            gaps.stage = Stage::Ready(at);
            self.ready.insert((at, series));
        }
        self.read_what_can();
    }

    /// When to come back.
    pub fn wake(&self) -> Wake {
        Wake {
            instant: None,
            utc: self.waiting.first().map(|(at, _)| (*at, "backfill")),
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    /// What is missing of a profile, oldest first.
    pub fn open(&self, series: Series) -> impl Iterator<Item = Span> {
        self.series
            .get(&series)
            .into_iter()
            .flat_map(|gaps| gaps.spans.iter())
    }

    /// Profiles with gaps.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether nothing is missing.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    fn expect_drained(&self) {
        assert!(
            self.outbox.is_empty(),
            "host must drain outputs between inputs"
        );
    }

    fn close(&mut self, series: Series) {
        if let Some(gaps) = self.series.remove(&series) {
            match gaps.stage {
                Stage::Ready(since) => self.ready.remove(&(since, series)),
                Stage::Waiting(until) => self.waiting.remove(&(until, series)),
                Stage::Reading => false,
            };
        }
    }

    fn read_what_can(&mut self) {
        while self.reads.len() < self.config.reads_max
            && let Some((_, series)) = self.ready.pop_first()
        {
            let gaps = self.series.get_mut(&series).expect("who is ready has gaps");
            let span = match gaps.order {
                Order::NewestFirst => gaps.spans.newest(series.period, self.config.intervals_max),
                Order::OldestFirst => gaps.spans.oldest(series.period, self.config.intervals_max),
            };
            let span = span.expect("who is ready has gaps");
            gaps.stage = Stage::Reading;
            let id = ReadId(self.next_read);
            self.next_read += 1;
            self.reads.insert(id, (series, span));
            self.outbox.push_back(Output::Read { id, series, span });
        }
    }
}
