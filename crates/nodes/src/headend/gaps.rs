//! Gaps that buffers below name: read from the meters' profiles, and answered once that stands in
//! the database.

use std::time::Duration;

use gridloom_core::{MeterId, Now, UtcTime};
use gridloom_headend::backfill::{Order, Series};
use gridloom_store::Transport;
use gridloom_store::spool::{Gap, Lane, Whose};

use super::HeadEndNode;
use super::collect::floor;
use super::rows::Collected;
use crate::envelope::{LIST_MAX, Message};

/// A named gap is read back so far; what is older is left to the periodic read and to the meter.
const REACH_MAX: Duration = Duration::from_hours(24 * 92);

/// Named gaps on their way into the database.
#[derive(Debug, Default)]
pub(super) struct NamedGaps {
    /// Seen to in memory, and not written yet.
    new: Vec<Gap>,
    /// Since the start.
    pub(super) counted: u64,
}

impl NamedGaps {
    pub(super) fn has_new(&self) -> bool {
        !self.new.is_empty()
    }

    /// They go into the write that begins now.
    pub(super) fn write(&mut self) -> Vec<Gap> {
        std::mem::take(&mut self.new)
    }
}

impl HeadEndNode {
    /// Buffers below had to give something up.
    pub(super) fn take_gaps(&mut self, gaps: Vec<Gap>, now: Now) {
        for gap in gaps {
            let is_seen_to = match gap.lane {
                Lane::Readings => self.see_to(&gap, now),
                Lane::Alarms | Lane::Commands | Lane::Prices | Lane::Firmware => {
                    let words = format!(
                        "a buffer lost {} entries of its lane {} ({}); what its meters still hold \
                         they send again",
                        gap.entries,
                        gap.lane.name(),
                        gap.cause.name(),
                    );
                    let meter = match gap.whose {
                        Whose::Meter(meter) => Some(meter),
                        Whose::Unknown | Whose::Title(_) => None,
                    };
                    self.alarm(meter, words, now);
                    true
                }
            };
            // Otherwise the edge tells it again.
            if is_seen_to {
                self.named_gaps.counted += 1;
                self.named_gaps.new.push(gap);
            }
        }
    }

    fn see_to(&mut self, gap: &Gap, now: Now) -> bool {
        let meters: Vec<MeterId> = match gap.whose {
            Whose::Meter(meter) => vec![meter],
            Whose::Title(title) => {
                let mut meters = self.registry.meters();
                let found = meters.find(|row| row.title == title);
                found.map(|row| row.meter).into_iter().collect()
            }
            // It may be any that comes through tiers of ours.
            Whose::Unknown => self
                .registry
                .meters()
                .filter(|row| row.link.transport == Transport::Gateway)
                .map(|row| row.meter)
                .collect(),
        };
        meters
            .into_iter()
            .all(|meter| self.read_gap(meter, gap.from.zip(gap.to), now))
    }

    /// Has a stretch of a meter's profile read; without times what a first read would reach.
    /// `false` if that has to wait.
    fn read_gap(&mut self, meter: MeterId, times: Option<(UtcTime, UtcTime)>, now: Now) -> bool {
        // A meter that is not read has nobody who could fill it.
        let Some(period) = self.period_of_read(meter) else {
            return true;
        };
        let newest = floor(period, now.utc);
        let (from, to) = times.unwrap_or((now.utc - self.config.history, now.utc));
        // The time is an interval's end, or when it came: the interval before is meant.
        let from = floor(period, from.max(now.utc - REACH_MAX) - period.duration());
        let to = floor(period, to + period.duration()).min(newest);
        if from >= to {
            return true;
        }
        let series = Series { meter, period };
        let read = self.collected.entry(meter).or_insert(Collected {
            period,
            through: from,
            gaps: Vec::new(),
        });
        let through = read.through;
        if from < through {
            let order = Order::OldestFirst;
            let taken = self
                .backfill
                .handle_gap(series, from, to.min(through), order, now.utc);
            self.drain_backfill();
            if let Err(error) = taken {
                tracing::warn!(%error, %meter, "a named gap has to wait");
                return false;
            }
        }
        if to > through {
            self.read_soon(meter, now.utc, now);
        }
        self.uncollected.insert(meter);
        true
    }

    /// Named gaps stand in the database.
    pub(super) fn gaps_saved(&mut self, gaps: Vec<Gap>) {
        for some in gaps.chunks(LIST_MAX) {
            self.ways.tell_utility(&Message::GapsTaken(some.to_vec()));
        }
    }
}
