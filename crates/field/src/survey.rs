//! Periods that clients have set: the capture period of the block load profile and the
//! integration period of the maximum demand, where they differ from the maker's.
//!
//! The intervals that the meter pushes, and that are priced and billed, keep the maker's period:
//! the utility settles by them. A period that is set gives the block load profile rows of its
//! own. They begin at the next boundary of the new period, none is shorter than its period, and
//! the rows of the former period are no longer shown: rows of one buffer have one length.

use gridloom_core::{Period, UtcTime};
use gridloom_dlms::apdu::DataAccessResult;

use crate::metrology::CHANNELS;
use crate::objects::retained::{Keeper, Kept, RetainedError};
use crate::profile::{Entry, Profile};

/// The periods that may be set, in seconds, besides the maker's own.
pub const PERIODS_S: [u32; 4] = [300, 900, 1_800, 3_600];

const VERSION: u8 = 1;
const OBJECT: &str = "survey";

/// Which period is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Span {
    /// Of the block load profile (1.0.0.8.4).
    Capture,
    /// Of the maximum demand (1.0.0.8.0).
    Demand,
}

/// A period that a client may set.
///
/// # Errors
///
/// [`DataAccessResult::OtherReason`] for any that is neither in [`PERIODS_S`] nor the maker's.
pub(crate) fn settable(seconds: u32, made: Period) -> Result<Period, DataAccessResult> {
    let known = PERIODS_S.contains(&seconds) || seconds == made.as_secs();
    Period::from_secs(seconds)
        .filter(|_| known)
        .ok_or(DataAccessResult::OtherReason)
}

/// Intervals of one period, one after the other. All times are the meter's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    period: Period,
    /// The registers when the running interval began; `None` before the first boundary.
    start: Option<[u64; CHANNELS]>,
    end: UtcTime,
    /// The clock was stepped in the running interval, or it was measured in parts.
    doubtful: bool,
}

/// An interval that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) end: UtcTime,
    pub(crate) energies: [u64; CHANNELS],
    pub(crate) doubtful: bool,
}

/// What a moment is to an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Boundary<T> {
    /// Nothing: it runs on.
    Within,
    /// The first boundary: the first whole interval begins.
    First,
    /// The end of this one; the next one begins.
    End(T),
}

impl Run {
    fn new(period: Period, shown: UtcTime) -> Self {
        Self {
            period,
            start: None,
            end: period.next_end(shown - core::time::Duration::from_millis(1)),
            doubtful: false,
        }
    }

    /// What `shown` is to the running interval, with these registers.
    fn close(&mut self, shown: UtcTime, totals: &[u64; CHANNELS]) -> Boundary<Closed> {
        if shown < self.end {
            return Boundary::Within;
        }
        let closed = self.start.map(|start| {
            let mut energies = *totals;
            for (energy, start) in energies.iter_mut().zip(start) {
                *energy = energy.saturating_sub(start);
            }
            Closed {
                end: self.end,
                energies,
                doubtful: self.doubtful,
            }
        });
        self.start = Some(*totals);
        self.end = self.period.next_end(shown);
        self.doubtful = false;
        closed.map_or(Boundary::First, Boundary::End)
    }

    /// What the running interval has measured of a channel.
    fn running(&self, channel: usize, totals: &[u64; CHANNELS]) -> u64 {
        let start = self.start.map_or(totals[channel], |start| start[channel]);
        totals[channel].saturating_sub(start)
    }

    fn encode(&self, keeper: &mut Keeper<'_>) {
        keeper.put(self.period.as_secs().to_be_bytes());
        keeper.time(self.end);
        keeper.flag(self.doubtful);
        keeper.option(self.start, |keeper, start| {
            for total in start {
                keeper.put(total.to_be_bytes());
            }
        });
    }

    fn decode(kept: &mut Kept<'_>) -> Result<Self, RetainedError> {
        let period = Period::from_secs(kept.u32()?).filter(|period| period.as_secs() >= 60);
        let period = period.ok_or_else(|| kept.impossible("period"))?;
        let end = kept.time()?;
        kept.require(period.end_of_interval_at(end) == end, "interval end")?;
        Ok(Self {
            period,
            end,
            doubtful: kept.flag("doubt")?,
            start: kept.option("start", |kept| {
                let mut totals = [0; CHANNELS];
                for total in &mut totals {
                    *total = kept.u64()?;
                }
                Ok(totals)
            })?,
        })
    }
}

/// The block load profile of a period that a client has set.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Block {
    run: Run,
    /// Rows that end up to here are of a former period.
    since: UtcTime,
    profile: Profile,
}

/// The demand of a period that a client has set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Demand {
    run: Run,
    last: Option<LastDemand>,
}

/// The last period of demand that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastDemand {
    pub(crate) end: UtcTime,
    /// Mean import in W and VA.
    pub(crate) means: [u32; 2],
    pub(crate) is_complete: bool,
}

/// What clients have set; nothing as the meter was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    block: Option<Box<Block>>,
    demand: Option<Box<Demand>>,
    /// The maker's capture period was set again: of its rows these are no longer shown.
    hidden: Option<UtcTime>,
}

impl Survey {
    /// The period in force, where the meter was made with `made`.
    pub(crate) fn period(&self, span: Span, made: Period) -> Period {
        let run = match span {
            Span::Capture => self.block.as_ref().map(|block| block.run),
            Span::Demand => self.demand.as_ref().map(|demand| demand.run),
        };
        run.map_or(made, |run| run.period)
    }

    /// A client sets a period at `shown`; one that is in force changes nothing.
    /// `newest` is the end of the newest interval of the maker's period.
    pub(crate) fn set(
        &mut self,
        span: Span,
        (period, made): (Period, Period),
        days: u16,
        shown: UtcTime,
        newest: Option<UtcTime>,
    ) {
        if self.period(span, made) == period {
            return;
        }
        let run = (period != made).then(|| Run::new(period, shown));
        match span {
            Span::Capture => {
                self.hidden = newest;
                self.block = run.map(|run| {
                    Box::new(Block {
                        // Its first row ends a period after its first boundary.
                        since: run.end,
                        profile: Profile::new(period, days),
                        run,
                    })
                });
            }
            Span::Demand => {
                self.demand = run.map(|run| Box::new(Demand { run, last: None }));
            }
        }
    }

    /// Whether a client has set anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.block.is_none() && self.demand.is_none()
    }

    /// Whether the rows of the block load profile are kept here.
    pub(crate) fn has_block(&self) -> bool {
        self.block.is_some()
    }

    /// The rows of the block load profile, if they are kept here.
    pub(crate) fn block(&self) -> Option<&Profile> {
        self.block.as_ref().map(|block| &block.profile)
    }

    /// Rows of the maker's period up to here are not shown.
    pub(crate) fn hidden(&self) -> Option<UtcTime> {
        self.hidden
    }

    /// A client resets the block load profile.
    pub(crate) fn reset_block(&mut self, days: u16) {
        if let Some(block) = &mut self.block {
            let period = block.run.period;
            let newest = block.profile.newest().map(Entry::end);
            block.since = newest.map_or(block.since, |newest| newest.max(block.since));
            block.profile = Profile::new(period, days);
        }
    }

    /// Whether the demand is measured here.
    pub(crate) fn has_demand(&self) -> bool {
        self.demand.is_some()
    }

    /// Of the demand that is measured here: what the running period has measured of a channel,
    /// when it began, and the last period.
    pub(crate) fn demand(
        &self,
        channel: usize,
        totals: &[u64; CHANNELS],
    ) -> Option<(u64, UtcTime, Option<LastDemand>)> {
        let demand = self.demand.as_ref()?;
        let began = demand.run.end - demand.run.period.duration();
        Some((demand.run.running(channel, totals), began, demand.last))
    }

    /// When [`Self::close_block`] or [`Self::close_demand`] has something to do.
    pub(crate) fn due(&self) -> Option<UtcTime> {
        let block = self.block.as_ref().map(|block| block.run.end);
        let demand = self.demand.as_ref().map(|demand| demand.run.end);
        [block, demand].into_iter().flatten().min()
    }

    /// What `shown` is to the running interval of the block load profile.
    pub(crate) fn close_block(
        &mut self,
        shown: UtcTime,
        totals: &[u64; CHANNELS],
    ) -> Boundary<Closed> {
        match &mut self.block {
            Some(block) => block.run.close(shown, totals),
            None => Boundary::Within,
        }
    }

    /// The row of that interval.
    pub(crate) fn push(&mut self, entry: Entry) {
        if let Some(block) = &mut self.block {
            block.profile.push(entry);
        }
    }

    /// What `shown` is to the running period of demand; `interrupted` if supply was away in it.
    pub(crate) fn close_demand(
        &mut self,
        shown: UtcTime,
        totals: &[u64; CHANNELS],
        interrupted: bool,
    ) -> Boundary<LastDemand> {
        let Some(demand) = &mut self.demand else {
            return Boundary::Within;
        };
        let closed = match demand.run.close(shown, totals) {
            Boundary::Within => return Boundary::Within,
            Boundary::First => return Boundary::First,
            Boundary::End(closed) => closed,
        };
        let per_hour = u64::from(demand.run.period.per_hour());
        let mean = |energy: u64| u32::try_from(energy * per_hour).unwrap_or(u32::MAX);
        let [import, _, _, _, _, _, apparent] = closed.energies;
        let last = LastDemand {
            end: closed.end,
            means: [mean(import), mean(apparent)],
            is_complete: !closed.doubtful && !interrupted,
        };
        demand.last = Some(last);
        Boundary::End(last)
    }

    /// The running intervals are no ordinary ones: the clock was stepped, or the supply away.
    pub(crate) fn mark(&mut self) {
        for run in self.runs() {
            run.doubtful = true;
        }
    }

    fn runs(&mut self) -> impl Iterator<Item = &mut Run> {
        let block = self.block.iter_mut().map(|block| &mut block.run);
        block.chain(self.demand.iter_mut().map(|demand| &mut demand.run))
    }

    /// The supply is back at `shown`: an interval that ended meanwhile gets no row, and its
    /// energy is in the one that runs now.
    pub(crate) fn resume(&mut self, shown: UtcTime) {
        for run in self.runs() {
            run.doubtful = true;
            if shown >= run.end {
                run.end = run.period.next_end(shown);
            }
        }
    }

    /// Appends what is kept, but for the rows: they have cells of their own.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut keeper = Keeper::new(VERSION, out);
        keeper.option(self.block.as_ref(), |keeper, block| {
            block.run.encode(keeper);
            keeper.time(block.since);
        });
        keeper.option(self.demand.as_ref(), |keeper, demand| {
            demand.run.encode(keeper);
            keeper.option(demand.last, |keeper, last| {
                keeper.time(last.end);
                for mean in last.means {
                    keeper.put(mean.to_be_bytes());
                }
                keeper.flag(last.is_complete);
            });
        });
        keeper.option(self.hidden, Keeper::time);
    }

    /// Takes over what was kept, for a profile of `days`; [`Self::restore`] comes next.
    ///
    /// # Errors
    ///
    /// Bytes that no survey wrote.
    pub(crate) fn decode(bytes: &[u8], days: u16) -> Result<Self, RetainedError> {
        let mut kept = Kept::open(OBJECT, VERSION, bytes)?;
        let survey = Self {
            block: kept.option("block", |kept| {
                let run = Run::decode(kept)?;
                Ok(Box::new(Block {
                    run,
                    since: kept.time()?,
                    profile: Profile::new(run.period, days),
                }))
            })?,
            demand: kept.option("demand", |kept| {
                Ok(Box::new(Demand {
                    run: Run::decode(kept)?,
                    last: kept.option("last demand", |kept| {
                        Ok(LastDemand {
                            end: kept.time()?,
                            means: [kept.u32()?, kept.u32()?],
                            is_complete: kept.flag("completeness")?,
                        })
                    })?,
                }))
            })?,
            hidden: kept.option("hidden rows", Kept::time)?,
        };
        kept.finish()?;
        Ok(survey)
    }

    /// Puts back rows that were remembered with their period, in any order; rows of a former
    /// period, and rows that were reset away, are left. A crash between the cells of a row and of
    /// the running interval is healed: the row says what its interval measured.
    pub(crate) fn restore(&mut self, mut rows: Vec<(Period, Entry)>) {
        let Some(block) = &mut self.block else {
            return;
        };
        rows.sort_by_key(|(_, entry)| entry.end);
        rows.dedup_by_key(|(_, entry)| entry.end);
        let period = block.run.period;
        for (_, entry) in rows
            .into_iter()
            .filter(|(of, entry)| *of == period && entry.end > block.since)
        {
            if entry.end >= block.run.end {
                if let Some(start) = &mut block.run.start {
                    for (total, energy) in start.iter_mut().zip(entry.energies) {
                        *total += u64::from(energy);
                    }
                }
                block.run.end = period.next_end(entry.end);
            }
            block.profile.push(entry);
        }
    }

    /// After a start at `shown`: what ended unseen by a crash is part of the running interval.
    pub(crate) fn catch_up(&mut self, shown: UtcTime) {
        for run in self.runs() {
            if shown > run.end {
                run.end = run.period.next_end(shown);
                run.doubtful = true;
            }
        }
    }
}
