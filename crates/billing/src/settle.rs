//! Settling an interval: when its total is known well enough, its price is decided, once.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use gridloom_core::{Instant, MeterId, Now, Period, Price, UtcTime, Wake, Watts};
use gridloom_mdm::{ServiceSpan, ValidatedInterval};

use crate::rounding::half_away;
use crate::tariff::{Conditions, Tariff};

/// Intervals that wait for readings at once. One more makes the oldest decided at once, with
/// stand-ins for what is missing, as if its cutoff had passed ([`Cause::Bound`]).
pub const OPEN_INTERVALS_MAX: usize = 1_024;

/// Decided intervals remembered. Beyond, the oldest is forgotten, and an interval at or before it
/// is never opened again ([`Reported::TooOld`]), so it cannot be decided a second time.
pub const DECIDED_MAX: usize = 16_384;

/// Meters one settlement expects at most; one more is refused.
pub const METERS_MAX: usize = 4_000_000;

/// Why an order to the settlement is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// [`METERS_MAX`] is reached.
    #[error("settlement expects {METERS_MAX} meters already; retire some before enrolling {0}")]
    TooManyMeters(MeterId),
    /// Two prices for one interval: the journal and this settlement disagree.
    #[error("the interval ending {end} is decided at {kept}; {refused} is refused")]
    AlreadyDecided {
        /// Which interval.
        end: UtcTime,
        /// Its price, which stays.
        kept: Price,
        /// The other price.
        refused: Price,
    },
}

/// What became of a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// It is part of the total of its interval.
    Counted,
    /// Its interval was decided before; it is billed at this price.
    AlreadyDecided(Price),
    /// The meter reported this interval before; the first reading stays.
    Repeated,
    /// The meter is not enrolled, or was not in service in that interval.
    NotExpected,
    /// Its interval is older than what is remembered; its price, if any, is in the store.
    TooOld,
    /// It is of another capture period than the one that is priced.
    OtherPeriod,
}

/// What made the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Every expected meter reported.
    Complete,
    /// The cutoff passed.
    Cutoff,
    /// [`OPEN_INTERVALS_MAX`] was reached.
    Bound,
}

/// A decided interval: to be journalled, and then sent down to the meters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided {
    /// The interval's end.
    pub end: UtcTime,
    /// Its price, for good.
    pub price: Price,
    /// The mean net power of all expected meters, stand-ins included, rounded to whole watts,
    /// halves away from zero.
    pub total: Watts,
    /// Meters whose reading is in the total.
    pub reported: u32,
    /// Meters whose last known power (zero if none is known) stood in. Never billed.
    pub missing: u32,
    /// Why it was decided now.
    pub cause: Cause,
}

/// Collects the mean powers of one period's intervals and decides their prices.
///
/// An interval opens with its first reading; one that no meter reports is not decided. The cutoff
/// counts in monotonic time from that first reading, because it bounds the network's delay.
///
/// After a restart: [`Self::enrol`] the meters, [`Self::restore`] every decided price, then give
/// the readings of the intervals still open again.
#[derive(Debug)]
pub struct IntervalSettlement {
    period: Period,
    tariff: Tariff,
    cutoff: Duration,
    meters: BTreeMap<MeterId, Served>,
    open: BTreeMap<UtcTime, Open>,
    decided: BTreeMap<UtcTime, Price>,
    /// The end of the youngest interval that was forgotten.
    forgotten_through: Option<UtcTime>,
    outbox: VecDeque<Decided>,
}

#[derive(Debug)]
struct Served {
    span: ServiceSpan,
    /// End and mean milliwatts of the youngest interval reported.
    last: Option<(UtcTime, i64)>,
}

#[derive(Debug)]
struct Open {
    since: Instant,
    awaited: BTreeSet<MeterId>,
    milliwatts: i64,
    reported: u32,
}

impl IntervalSettlement {
    /// A settlement that expects no meter yet.
    pub const fn new(period: Period, tariff: Tariff, cutoff: Duration) -> Self {
        Self {
            period,
            tariff,
            cutoff,
            meters: BTreeMap::new(),
            open: BTreeMap::new(),
            decided: BTreeMap::new(),
            forgotten_through: None,
            outbox: VecDeque::new(),
        }
    }

    /// Expects a meter in every interval that lies in `span`, those open now included. Enrolling
    /// again replaces the span, which is how a meter is retired; that may complete intervals.
    ///
    /// # Errors
    ///
    /// [`SettleError::TooManyMeters`].
    pub fn enrol(&mut self, meter: MeterId, span: ServiceSpan) -> Result<(), SettleError> {
        self.assert_drained();
        let room = self.meters.len() < METERS_MAX;
        let before = match self.meters.entry(meter) {
            Entry::Occupied(mut served) => {
                Some(std::mem::replace(&mut served.get_mut().span, span))
            }
            Entry::Vacant(_) if !room => return Err(SettleError::TooManyMeters(meter)),
            Entry::Vacant(vacant) => {
                vacant.insert(Served { span, last: None });
                None
            }
        };
        let period = self.period;
        for (&end, open) in &mut self.open {
            let was = before.is_some_and(|before| before.covers(end, period));
            match (was, span.covers(end, period)) {
                (false, true) => {
                    open.awaited.insert(meter);
                }
                (true, false) => {
                    open.awaited.remove(&meter);
                }
                (true, true) | (false, false) => {}
            }
        }
        let complete: Vec<UtcTime> = self
            .open
            .iter()
            .filter(|(_, open)| open.awaited.is_empty())
            .map(|(&end, _)| end)
            .collect();
        for end in complete {
            self.decide(end, Cause::Complete);
        }
        Ok(())
    }

    /// Takes over a price that was decided earlier, from the journal or from the active peer.
    ///
    /// # Errors
    ///
    /// [`SettleError::AlreadyDecided`] if it was decided otherwise here; the first price stays.
    pub fn restore(&mut self, end: UtcTime, price: Price) -> Result<(), SettleError> {
        self.assert_drained();
        match self.decided.get(&end) {
            Some(&kept) if kept == price => {}
            Some(&kept) => {
                return Err(SettleError::AlreadyDecided {
                    end,
                    kept,
                    refused: price,
                });
            }
            None => {
                self.open.remove(&end);
                self.remember(end, price);
            }
        }
        Ok(())
    }

    /// Takes a validated reading. Its net mean power (import − export) enters the total.
    pub fn handle_reading(&mut self, interval: &ValidatedInterval, now: Now) -> Reported {
        self.assert_drained();
        if interval.period() != self.period {
            return Reported::OtherPeriod;
        }
        let (meter, end, period) = (interval.meter(), interval.end(), self.period);
        let Some(served) = self.meters.get_mut(&meter) else {
            return Reported::NotExpected;
        };
        if !served.span.covers(end, period) {
            return Reported::NotExpected;
        }
        // Exact: the period divides the hour, and validation bounds the energies by a fuse.
        let net = interval.values().import - interval.values().export;
        let milliwatts = net.get() * i64::from(period.per_hour());
        if served.last.is_none_or(|(last_end, _)| last_end <= end) {
            served.last = Some((end, milliwatts));
        }
        if let Some(&price) = self.decided.get(&end) {
            return Reported::AlreadyDecided(price);
        }
        if self.forgotten_through.is_some_and(|through| end <= through) {
            return Reported::TooOld;
        }
        let meters = &self.meters;
        let open = self.open.entry(end).or_insert_with(|| Open {
            since: now.instant,
            awaited: meters
                .iter()
                .filter(|(_, served)| served.span.covers(end, period))
                .map(|(&meter, _)| meter)
                .collect(),
            milliwatts: 0,
            reported: 0,
        });
        if !open.awaited.remove(&meter) {
            return Reported::Repeated;
        }
        open.milliwatts += milliwatts;
        open.reported += 1;
        if open.awaited.is_empty() {
            self.decide(end, Cause::Complete);
        }
        while self.open.len() > OPEN_INTERVALS_MAX
            && let Some((&oldest, _)) = self.open.first_key_value()
        {
            self.decide(oldest, Cause::Bound);
        }
        Reported::Counted
    }

    /// Decides, oldest first, every interval whose cutoff has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        self.assert_drained();
        let due: Vec<UtcTime> = self
            .open
            .iter()
            .filter(|(_, open)| open.since + self.cutoff <= now.instant)
            .map(|(&end, _)| end)
            .collect();
        for end in due {
            self.decide(end, Cause::Cutoff);
        }
    }

    /// The next decision, until `None`.
    pub fn poll_output(&mut self) -> Option<Decided> {
        self.outbox.pop_front()
    }

    /// When the next cutoff passes.
    pub fn wake(&self) -> Wake {
        let next = self.open.values().map(|open| open.since).min();
        Wake {
            instant: next.map(|since| (since + self.cutoff, "settlement cutoff")),
            utc: None,
        }
    }

    /// The decided price of an interval, while it is remembered.
    pub fn price_of(&self, end: UtcTime) -> Option<Price> {
        self.decided.get(&end).copied()
    }

    /// Intervals that wait for readings.
    pub fn open_intervals(&self) -> usize {
        self.open.len()
    }

    fn decide(&mut self, end: UtcTime, cause: Cause) {
        let open = self
            .open
            .remove(&end)
            .expect("only open intervals are decided");
        let stand_in: i64 = open
            .awaited
            .iter()
            .filter_map(|meter| self.meters.get(meter)?.last)
            .map(|(_, milliwatts)| milliwatts)
            .sum();
        let total = half_away(i128::from(open.milliwatts + stand_in), 1_000);
        let total = Watts::new(i64::try_from(total).expect("a thousandth of an i64 fits"));
        let price = self.tariff.price(Conditions { end, total });
        self.remember(end, price);
        self.outbox.push_back(Decided {
            end,
            price,
            total,
            reported: open.reported,
            missing: u32::try_from(open.awaited.len()).expect("METERS_MAX fits u32"),
            cause,
        });
    }

    fn remember(&mut self, end: UtcTime, price: Price) {
        self.decided.insert(end, price);
        while self.decided.len() > DECIDED_MAX
            && let Some((oldest, _)) = self.decided.pop_first()
        {
            self.forgotten_through = self.forgotten_through.max(Some(oldest));
        }
    }

    fn assert_drained(&self) {
        assert!(
            self.outbox.is_empty(),
            "host must drain outputs between inputs"
        );
    }
}
