//! What a buffer had to give up: named upwards, and repeated until whoever sees to it has it
//! durable.
//!
//! Named gaps lie in the same spool as what they speak of, in a lane of more importance.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use gridloom_core::{Instant, UtcTime};
use gridloom_store::Spool;
use gridloom_store::spool::{About, Delivery, Gap, Lane, Whose};

use crate::envelope::carried::{decode_gap, encode_gap};
use crate::envelope::{LIST_MAX, Message};

/// Gaps that wait to be answered. Beyond it those of further owners are added to one that speaks
/// for any meter.
pub(crate) const GAPS_WAITING_MAX: usize = 16_384;

/// Gaps kept for an operator to look at; the oldest fall out.
pub const GAPS_SHOWN_MAX: usize = 32;

/// Named gaps of one node.
#[derive(Debug, Default)]
pub(crate) struct GapBook {
    /// By owner and lane, then by number in the spool: a start may find several.
    waiting: BTreeMap<(Whose, Lane, u64), Gap>,
    shown: VecDeque<Gap>,
}

impl GapBook {
    /// Names what `spool` gave up since the last call. What it gave up of the lane of named gaps
    /// itself is only counted: naming it would displace more of the same.
    pub(crate) fn take_from(&mut self, spool: &mut Spool, now: (Instant, UtcTime)) -> bool {
        let gaps = spool.take_gaps();
        let (named, own): (Vec<Gap>, Vec<Gap>) = gaps
            .iter()
            .copied()
            .partition(|gap| gap.lane != Lane::Commands);
        for gap in own {
            tracing::warn!(entries = gap.entries, "named gaps are given up themselves");
        }
        for gap in named {
            tracing::warn!(?gap, "given up before the tier above had it");
            self.show(gap);
            self.name(spool, gap, now);
        }
        !gaps.is_empty()
    }

    /// A gap goes up until it is answered; one of the same owner that waits already is made wider.
    pub(crate) fn name(&mut self, spool: &mut Spool, mut gap: Gap, now: (Instant, UtcTime)) {
        let is_known = self.of(gap.whose, gap.lane).next().is_some();
        if self.waiting.len() >= GAPS_WAITING_MAX && !is_known {
            gap.whose = Whose::Unknown;
        }
        let before: Vec<(u64, Gap)> = self.of(gap.whose, gap.lane).collect();
        let wider = before.iter().fold(gap, |gap, (_, known)| gap.and(*known));
        let about = About {
            whose: gap.whose,
            time: now.1,
        };
        match spool.append(Lane::Commands, about, &encode_gap(&wider)) {
            Ok(number) => {
                self.waiting.insert((gap.whose, gap.lane, number), wider);
                for (number, _) in before {
                    self.waiting.remove(&(gap.whose, gap.lane, number));
                    spool.acknowledge(Lane::Commands, number, now.0);
                }
            }
            Err(error) => tracing::warn!(%error, ?gap, "a named gap is given up"),
        }
    }

    fn of(&self, whose: Whose, lane: Lane) -> impl Iterator<Item = (u64, Gap)> {
        self.waiting
            .range((whose, lane, 0)..=(whose, lane, u64::MAX))
            .map(|((.., number), gap)| (*number, *gap))
    }

    fn show(&mut self, gap: Gap) {
        if self.shown.len() >= GAPS_SHOWN_MAX {
            self.shown.pop_front();
        }
        self.shown.push_back(gap);
    }

    /// The envelopes that are to go up now.
    pub(crate) fn sendings(&mut self, spool: &mut Spool, now: Instant) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        loop {
            let mut some: Vec<Arc<[u8]>> = Vec::new();
            while some.len() < LIST_MAX
                && let Some(delivery) = spool.next(Lane::Commands, now)
            {
                if delivery.is_recovered && !self.recognise(&delivery) {
                    // Its checksum held, so an older program wrote it: nobody above could read it.
                    tracing::error!(number = delivery.number, "a gap of another format");
                    spool.acknowledge(Lane::Commands, delivery.number, now);
                    continue;
                }
                some.push(delivery.bytes);
            }
            if some.is_empty() {
                return frames;
            }
            frames.push(Message::gaps_of(&some));
        }
    }

    fn recognise(&mut self, delivery: &Delivery) -> bool {
        let Ok(gap) = decode_gap(&delivery.bytes) else {
            return false;
        };
        self.waiting
            .insert((gap.whose, gap.lane, delivery.number), gap);
        true
    }

    /// The tier above sees to these. One that was made wider meanwhile goes on being told.
    pub(crate) fn taken(&mut self, spool: &mut Spool, gaps: &[Gap], now: Instant) {
        for gap in gaps {
            let same: Vec<u64> = self
                .of(gap.whose, gap.lane)
                .filter(|(_, known)| known == gap)
                .map(|(number, _)| number)
                .collect();
            for number in same {
                self.waiting.remove(&(gap.whose, gap.lane, number));
                spool.acknowledge(Lane::Commands, number, now);
            }
        }
    }

    /// Gaps that nobody above sees to yet.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The last gaps, oldest first.
    pub(crate) fn shown(&self) -> impl Iterator<Item = &Gap> {
        self.shown.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridloom_core::MeterId;
    use gridloom_store::spool::{GapCause, SpoolConfig};

    const NOW: (Instant, UtcTime) = (Instant::ZERO, UtcTime::from_secs(0));

    fn gap(meter: u32, from: i64, to: i64) -> Gap {
        Gap {
            lane: Lane::Readings,
            cause: GapCause::Full,
            whose: Whose::Meter(MeterId(meter)),
            from: Some(UtcTime::from_secs(from)),
            to: Some(UtcTime::from_secs(to)),
            entries: 1,
        }
    }

    fn told(book: &mut GapBook, spool: &mut Spool) -> Vec<Gap> {
        spool.rewind();
        let frames = book.sendings(spool, NOW.0);
        frames
            .iter()
            .flat_map(|frame| {
                let Ok(Message::Gaps(gaps)) = Message::decode(frame) else {
                    panic!("{frame:?}");
                };
                gaps
            })
            .collect()
    }

    #[test]
    fn gaps_of_one_meter_are_told_as_one_until_that_one_is_taken() {
        let mut spool = Spool::in_memory(SpoolConfig::default());
        let mut book = GapBook::default();
        book.name(&mut spool, gap(1, 10, 20), NOW);
        book.name(&mut spool, gap(2, 15, 15), NOW);
        let first = told(&mut book, &mut spool);
        assert_eq!(first, [gap(1, 10, 20), gap(2, 15, 15)]);
        // While the answer is under way, the first meter's gap grows: the answer is not for that.
        book.name(&mut spool, gap(1, 5, 12), NOW);
        book.taken(&mut spool, &first, NOW.0);
        let wider = Gap {
            entries: 2,
            ..gap(1, 5, 20)
        };
        assert_eq!(told(&mut book, &mut spool), [wider]);
        assert_eq!(book.len(), 1);
        book.taken(&mut spool, &[wider], NOW.0);
        assert_eq!(told(&mut book, &mut spool), []);
        assert_eq!((book.len(), spool.status().waiting), (0, 0));
    }

    #[test]
    fn what_a_full_spool_gives_up_is_named_and_named_gaps_are_not() {
        let mut spool = Spool::in_memory(SpoolConfig {
            bytes_max: 800,
            segment_bytes: 100,
            in_flight_max: 100,
        });
        let mut book = GapBook::default();
        for minute in 0..40_i64 {
            let about = About {
                whose: Whose::Meter(MeterId(1)),
                time: UtcTime::from_secs(minute * 60),
            };
            let _ = spool.append(Lane::Readings, about, &[0; 50]);
            book.take_from(&mut spool, NOW);
        }
        let named = told(&mut book, &mut spool);
        let lost = spool.status().counters.lost_full;
        assert!(lost > 10, "{lost}");
        assert_eq!(named.len(), 1, "{named:?}");
        // What the last name displaced is named with the next.
        assert!(named[0].entries + 1 >= lost, "{named:?} of {lost}");
        assert_eq!(named[0].from, Some(NOW.1));
        assert!(book.shown().count() <= GAPS_SHOWN_MAX);
    }
}
