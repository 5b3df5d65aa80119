//! Readings on their way to the utility, kept until it says that they are durable.

use std::collections::{BTreeMap, BTreeSet};

use gridloom_core::{Instant, IntervalReading, UtcTime};
use gridloom_edge::AcceptedReading;
use gridloom_headend::ReadingKey;
use gridloom_headend::backfill::{ReadId, Series, Span};

use super::push::Confirm;

/// What follows once every reading of a delivery is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The profile is read up to here, but for the gaps.
    Collected {
        series: Series,
        through: UtcTime,
        gaps: Vec<Span>,
    },
    /// The meter pushed them: from the start of the first interval to the end of the last. It is
    /// told when they are durable, if it wants to be.
    Pushed {
        series: Series,
        span: (UtcTime, UtcTime),
        confirm: Option<Confirm>,
    },
    /// A read of backfill brought these.
    Filled { read: ReadId, ends: Vec<UtcTime> },
}

#[derive(Debug)]
struct Delivery {
    purpose: Purpose,
    left: usize,
    until: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Deliveries {
    waiting: BTreeMap<ReadingKey, (AcceptedReading, Vec<u64>)>,
    open: BTreeMap<u64, Delivery>,
    deadlines: BTreeSet<(Instant, u64)>,
    last: u64,
}

/// A delivery that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Delivered {
    Durable(Purpose),
    /// No acknowledgement in time: the meter is read again.
    Lost(Purpose),
}

impl Deliveries {
    /// Readings that may wait; a delivery beyond it is given up at once, and read again.
    pub(super) const READINGS_MAX: usize = 262_144;

    /// Takes readings to be sent.
    pub(super) fn add(
        &mut self,
        purpose: Purpose,
        readings: &[AcceptedReading],
        until: Instant,
    ) -> Option<Delivered> {
        if readings.is_empty() {
            return Some(Delivered::Durable(purpose));
        }
        if self.waiting.len() + readings.len() > Self::READINGS_MAX {
            return Some(Delivered::Lost(purpose));
        }
        self.last += 1;
        let number = self.last;
        let mut left = 0;
        for accepted in readings {
            let (_, owed) = self
                .waiting
                .entry(key_of(&accepted.reading))
                .or_insert_with(|| (accepted.clone(), Vec::new()));
            if owed.last() != Some(&number) {
                owed.push(number);
                left += 1;
            }
        }
        self.deadlines.insert((until, number));
        let delivery = Delivery {
            purpose,
            left,
            until,
        };
        self.open.insert(number, delivery);
        None
    }

    /// The utility has made them durable.
    pub(super) fn handle_stored(&mut self, keys: &[ReadingKey]) -> Vec<Delivered> {
        let mut over = Vec::new();
        for key in keys {
            let Some((_, owed)) = self.waiting.remove(key) else {
                continue;
            };
            for number in owed {
                let Some(delivery) = self.open.get_mut(&number) else {
                    continue;
                };
                delivery.left -= 1;
                if delivery.left == 0
                    && let Some(delivery) = self.open.remove(&number)
                {
                    self.deadlines.remove(&(delivery.until, number));
                    over.push(Delivered::Durable(delivery.purpose));
                }
            }
        }
        over
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Vec<Delivered> {
        let mut over = Vec::new();
        while let Some(&(at, number)) = self.deadlines.first()
            && at <= now
        {
            self.deadlines.pop_first();
            if let Some(delivery) = self.open.remove(&number) {
                over.push(Delivered::Lost(delivery.purpose));
            }
            let open = &self.open;
            self.waiting.retain(|_, (_, owed)| {
                owed.retain(|number| open.contains_key(number));
                !owed.is_empty()
            });
        }
        over
    }

    /// Everything that waits, for a utility that came back.
    pub(super) fn waiting(&self) -> Vec<AcceptedReading> {
        let readings = self.waiting.values();
        readings.map(|(reading, _)| reading.clone()).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn wake(&self) -> Option<(Instant, &'static str)> {
        let (at, _) = self.deadlines.first()?;
        Some((*at, "readings not acknowledged"))
    }
}

pub(super) const fn key_of(reading: &IntervalReading) -> ReadingKey {
    ReadingKey {
        meter: reading.meter,
        period: reading.period,
        end: reading.end,
    }
}
