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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{at, interval, price};
    use crate::sigmoid::{SigmoidParameters, SigmoidTariff};
    use gridloom_core::Seed;

    const PERIOD: Period = Period::HALF_HOUR;
    const CUTOFF: Duration = Duration::from_secs(20);

    fn now(secs: u64) -> Now {
        Now {
            instant: Instant::ZERO + Duration::from_secs(secs),
            utc: at("2013-01-02T00:00:00Z"),
        }
    }

    fn tariff() -> Tariff {
        Tariff::Sigmoid(
            SigmoidTariff::new(SigmoidParameters {
                p_min: price("0.1"),
                p_max: price("0.5"),
                x0: Watts::new(3_000),
                k_per_watt: 0.001,
                price_decimals: 4,
            })
            .unwrap(),
        )
    }

    fn end(nth: u32) -> UtcTime {
        at("2013-01-01T00:00:00Z") + PERIOD.duration() * nth
    }

    fn settlement(meters: u32) -> IntervalSettlement {
        let mut settlement = IntervalSettlement::new(PERIOD, tariff(), CUTOFF);
        for meter in 1..=meters {
            settlement
                .enrol(
                    MeterId(meter),
                    ServiceSpan::since(at("2012-01-01T00:00:00Z")),
                )
                .unwrap();
        }
        settlement
    }

    /// Meter, interval, Wh.
    fn reading(meter: u32, nth: u32, wh: i64) -> ValidatedInterval {
        interval(meter, PERIOD, end(nth), wh * 1_000)
    }

    fn drain(settlement: &mut IntervalSettlement) -> Vec<Decided> {
        std::iter::from_fn(|| settlement.poll_output()).collect()
    }

    #[test]
    fn an_interval_is_decided_when_all_have_reported() {
        let mut s = settlement(3);
        assert_eq!(s.wake(), Wake::default());
        assert_eq!(
            s.handle_reading(&reading(1, 1, 500), now(1)),
            Reported::Counted
        );
        assert_eq!(
            s.handle_reading(&reading(2, 1, 700), now(2)),
            Reported::Counted
        );
        assert_eq!(s.poll_output(), None);
        assert_eq!(
            s.wake().instant,
            Some((now(21).instant, "settlement cutoff"))
        );
        // Export counts against the total: 2 × (500 + 700 − 200) W.
        assert_eq!(
            s.handle_reading(&reading(3, 1, -200), now(3)),
            Reported::Counted
        );
        assert_eq!(
            drain(&mut s),
            [Decided {
                end: end(1),
                price: price("0.2076"), // 0.1 + 0.4 / (1 + e¹) = 0.207576…
                total: Watts::new(2_000),
                reported: 3,
                missing: 0,
                cause: Cause::Complete,
            }]
        );
        assert_eq!(s.wake(), Wake::default());
    }

    #[test]
    fn the_cutoff_stands_in_the_last_known_power() {
        let mut s = settlement(3);
        for meter in 1..=2 {
            s.handle_reading(&reading(meter, 1, 500), now(0));
        }
        s.handle_timeout(now(19));
        assert_eq!(s.poll_output(), None);
        s.handle_timeout(now(20));
        let first = drain(&mut s);
        // Meter 3 never reported: it stands in with nothing.
        assert_eq!(
            (first[0].total, first[0].reported, first[0].missing),
            (Watts::new(2_000), 2, 1)
        );
        assert_eq!(first[0].cause, Cause::Cutoff);
        // Meter 3 reports the decided interval late, with 900 Wh; then goes silent again.
        assert_eq!(
            s.handle_reading(&reading(3, 1, 900), now(25)),
            Reported::AlreadyDecided(first[0].price)
        );
        s.handle_reading(&reading(1, 2, 100), now(30));
        s.handle_reading(&reading(2, 2, 100), now(31));
        s.handle_timeout(now(50));
        let second = drain(&mut s);
        // 2 × (100 + 100 + 900 standing in) W.
        assert_eq!((second[0].total, second[0].missing), (Watts::new(2_200), 1));
        assert_eq!(
            s.price_of(end(1)),
            Some(first[0].price),
            "a price never changes"
        );
    }

    #[test]
    fn the_youngest_interval_stands_in_whatever_arrives_last() {
        let mut s = settlement(2);
        for (nth, wh) in [(2, 900), (1, 100), (3, 700), (2, 400)] {
            s.handle_reading(&reading(2, nth, wh), now(0));
        }
        s.handle_reading(&reading(1, 4, 50), now(5));
        s.handle_timeout(now(25));
        let decided = drain(&mut s);
        // 2 × (50 + 700) W.
        assert_eq!(
            (decided[3].end, decided[3].total),
            (end(4), Watts::new(1_500))
        );
    }

    #[test]
    fn readings_that_do_not_belong_change_nothing() {
        let mut s = settlement(2);
        s.enrol(MeterId(7), ServiceSpan::since(end(5))).unwrap();
        s.handle_reading(&reading(1, 1, 500), now(0));
        let cases = [
            (reading(1, 1, 900), Reported::Repeated),
            (reading(9, 1, 900), Reported::NotExpected),
            (reading(7, 1, 900), Reported::NotExpected),
            (
                interval(2, Period::HOUR, end(2), 1_000),
                Reported::OtherPeriod,
            ),
        ];
        for (reading, expected) in cases {
            assert_eq!(s.handle_reading(&reading, now(1)), expected, "{reading:?}");
            assert_eq!(s.poll_output(), None);
        }
        assert_eq!(s.open_intervals(), 1);
        s.handle_reading(&reading(2, 1, 500), now(2));
        assert_eq!(drain(&mut s)[0].total, Watts::new(2_000));
    }

    #[test]
    fn enrolment_reaches_open_intervals() {
        let mut s = settlement(2);
        s.handle_reading(&reading(1, 1, 500), now(0));
        s.enrol(MeterId(3), ServiceSpan::since(end(0))).unwrap();
        s.handle_reading(&reading(2, 1, 500), now(0));
        assert_eq!(s.poll_output(), None, "meter 3 is awaited");
        // Retired before the interval began: nobody is awaited any more.
        s.enrol(
            MeterId(3),
            ServiceSpan::between(at("2012-01-01T00:00:00Z"), end(0)).unwrap(),
        )
        .unwrap();
        let decided = drain(&mut s);
        assert_eq!((decided[0].reported, decided[0].missing), (2, 0));
    }

    #[test]
    fn the_oldest_interval_gives_way_at_the_bound() {
        let mut s = settlement(2);
        let bound = u32::try_from(OPEN_INTERVALS_MAX).unwrap();
        for nth in 1..=bound {
            assert_eq!(
                s.handle_reading(&reading(1, nth, 500), now(0)),
                Reported::Counted
            );
            assert_eq!(s.poll_output(), None);
        }
        s.handle_reading(&reading(1, bound + 1, 500), now(0));
        let decided = drain(&mut s);
        assert_eq!(decided.len(), 1);
        assert_eq!((decided[0].end, decided[0].cause), (end(1), Cause::Bound));
        assert_eq!(s.open_intervals(), OPEN_INTERVALS_MAX);
    }

    #[test]
    fn what_is_forgotten_is_never_decided_again() {
        let mut s = settlement(1);
        let decided = u32::try_from(DECIDED_MAX).unwrap();
        for nth in 1..=decided + 2 {
            s.restore(end(nth), price("0.2")).unwrap();
        }
        let late = |s: &mut IntervalSettlement, nth| s.handle_reading(&reading(1, nth, 1), now(0));
        assert_eq!(late(&mut s, 2), Reported::TooOld);
        assert_eq!(late(&mut s, 3), Reported::AlreadyDecided(price("0.2")));
        assert_eq!(s.poll_output(), None);
    }

    #[test]
    fn a_restart_keeps_every_price() {
        let mut s = settlement(2);
        s.handle_reading(&reading(1, 1, 500), now(0));
        s.handle_reading(&reading(2, 1, 500), now(0));
        let before = drain(&mut s)[0];
        let mut s = settlement(2);
        s.restore(before.end, before.price).unwrap();
        s.restore(before.end, before.price).unwrap();
        assert_eq!(
            s.restore(before.end, price("0.5")).unwrap_err().to_string(),
            "the interval ending 2013-01-01T00:30:00Z is decided at 0.207600; 0.500000 is refused"
        );
        assert_eq!(
            s.handle_reading(&reading(1, 1, 9_000), now(1)),
            Reported::AlreadyDecided(before.price)
        );
        assert_eq!(s.poll_output(), None);
        // A peer's decision closes an interval that is open here.
        s.handle_reading(&reading(1, 2, 500), now(2));
        s.restore(end(2), price("0.3")).unwrap();
        s.handle_timeout(now(100));
        assert_eq!(s.poll_output(), None);
        assert_eq!(s.price_of(end(2)), Some(price("0.3")));
    }

    #[test]
    fn every_reported_interval_is_decided_exactly_once() {
        for seed in 0..200 {
            let seed = Seed::new(seed);
            let draw = |index: u64, below: u64| seed.nth(index).get() % below;
            let (meters, intervals) = (4, 12);
            let mut s = settlement(meters);
            let mut decided: Vec<Decided> = Vec::new();
            // Redelivered, reordered and lost readings, with the clock moving on.
            for step in 0..200_u64 {
                let meter = u32::try_from(draw(step * 4, u64::from(meters))).unwrap() + 1;
                let nth = u32::try_from(draw(step * 4 + 1, intervals)).unwrap() + 1;
                let wh = i64::try_from(draw(step * 4 + 2, 2_000)).unwrap();
                let time = now(step);
                if s.wake().is_due(time) {
                    s.handle_timeout(time);
                    decided.extend(drain(&mut s));
                }
                s.handle_reading(&reading(meter, nth, wh), time);
                decided.extend(drain(&mut s));
            }
            s.handle_timeout(now(1_000));
            decided.extend(drain(&mut s));
            assert_eq!(s.open_intervals(), 0, "{seed:?}");
            for each in &decided {
                assert_eq!(s.price_of(each.end), Some(each.price), "{seed:?}");
                assert_eq!(each.reported + each.missing, meters, "{seed:?}");
            }
            let mut ends: Vec<UtcTime> = decided.iter().map(|each| each.end).collect();
            ends.sort_unstable();
            let count = ends.len();
            ends.dedup();
            assert_eq!(ends.len(), count, "{seed:?}: decided twice");
        }
    }

    #[test]
    #[should_panic(expected = "host must drain outputs between inputs")]
    fn an_undrained_output_is_our_error() {
        let mut s = settlement(1);
        s.handle_reading(&reading(1, 1, 500), now(0));
        s.handle_timeout(now(1));
    }
}
