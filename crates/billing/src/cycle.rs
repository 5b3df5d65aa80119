//! The billing cycle: what each meter owes so far, and when a month can be closed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gridloom_core::{Charge, MeterId, MilliwattHours, Month, Period, Price, UtcTime};
use gridloom_mdm::{ServiceSpan, ValidatedInterval};

/// Unpriced intervals that one cycle holds; beyond it the oldest are dropped from the running
/// account and counted. Their bill is not touched: it is made from the store.
pub const UNPRICED_MAX: usize = 4_000_000;

/// How long after its end a month waits for readings that are still missing.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(24 * 3600);

/// What one meter owes for one month, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunningAccount {
    /// The exact charge of the priced intervals.
    pub charge: Charge,
    /// The energy of all intervals.
    pub energy: MilliwattHours,
    /// Intervals that are in.
    pub intervals: u32,
    /// Of those, intervals without a price yet.
    pub unpriced: u32,
}

/// The running accounts of all meters, and the month that is to be closed next.
///
/// It is soft state, made again from the store after a restart; bills come from the store alone.
#[derive(Debug)]
pub struct BillingCycle {
    period: Period,
    grace: Duration,
    spans: BTreeMap<MeterId, ServiceSpan>,
    accounts: BTreeMap<(Month, MeterId), RunningAccount>,
    /// Every interval that is in, so that a redelivery adds nothing.
    present: BTreeMap<(Month, MeterId), BTreeSet<UtcTime>>,
    waiting: BTreeMap<UtcTime, Vec<(MeterId, MilliwattHours)>>,
    waiting_count: usize,
    dropped: u64,
    next: Month,
}

impl BillingCycle {
    /// A cycle whose next month to close is `next`.
    pub const fn new(period: Period, next: Month, grace: Duration) -> Self {
        Self {
            period,
            grace,
            spans: BTreeMap::new(),
            accounts: BTreeMap::new(),
            present: BTreeMap::new(),
            waiting: BTreeMap::new(),
            waiting_count: 0,
            dropped: 0,
            next,
        }
    }

    /// Bills a meter for the intervals of `span`. Enrolling again replaces the span, which is how
    /// a meter is retired; what it measured before stays in its account.
    pub fn enrol(&mut self, meter: MeterId, span: ServiceSpan) {
        self.spans.insert(meter, span);
    }

    /// A meter's span of service.
    pub fn span(&self, meter: MeterId) -> Option<ServiceSpan> {
        self.spans.get(&meter).copied()
    }

    /// An interval is in, with its price if that is decided. One of a closed month, one outside
    /// its meter's service, or one that is in already, changes nothing.
    pub fn note(&mut self, interval: &ValidatedInterval, price: Option<Price>) {
        let month = self.month_of(interval.end());
        let span = self.spans.get(&interval.meter());
        let in_service = span.is_some_and(|span| span.covers(interval.end(), self.period));
        if month < self.next || !in_service {
            return;
        }
        let key = (month, interval.meter());
        if !self.present.entry(key).or_default().insert(interval.end()) {
            return;
        }
        let account = self.accounts.entry(key).or_default();
        account.intervals += 1;
        account.energy += interval.import();
        match price {
            Some(price) => account.charge += price.charge(interval.import()),
            None => {
                account.unpriced += 1;
                self.waiting
                    .entry(interval.end())
                    .or_default()
                    .push((interval.meter(), interval.import()));
                self.waiting_count += 1;
                self.bound_waiting();
            }
        }
    }

    /// The price of an interval is decided.
    pub fn priced(&mut self, end: UtcTime, price: Price) {
        let month = self.month_of(end);
        for (meter, energy) in self.waiting.remove(&end).unwrap_or_default() {
            self.waiting_count -= 1;
            if let Some(account) = self.accounts.get_mut(&(month, meter)) {
                account.charge += price.charge(energy);
                account.unpriced -= 1;
            }
        }
    }

    /// What a meter owes for a month so far.
    pub fn account(&self, month: Month, meter: MeterId) -> RunningAccount {
        self.accounts
            .get(&(month, meter))
            .copied()
            .unwrap_or_default()
    }

    /// The month that is closed next.
    pub const fn next_month(&self) -> Month {
        self.next
    }

    /// The month to close now, if it is time: it has ended, and every reading is in and priced,
    /// or the grace has passed. A price that is still open keeps its month open.
    pub fn due(&self, now: UtcTime) -> Option<Month> {
        let end = self.next.next().first_day().start();
        if now < end || self.has_unpriced(self.next) {
            return None;
        }
        (now >= end + self.grace || self.is_complete(self.next)).then_some(self.next)
    }

    /// When to ask [`Self::due`] again, if no reading comes before.
    pub fn deadline(&self, now: UtcTime) -> Option<UtcTime> {
        let end = self.next.next().first_day().start();
        [end, end + self.grace].into_iter().find(|at| *at > now)
    }

    /// A month is closed: its accounts are history.
    ///
    /// # Panics
    ///
    /// If it is not the next one: months close in order.
    pub fn closed(&mut self, month: Month) {
        assert_eq!(month, self.next, "months close in order");
        self.next = month.next();
        self.accounts = self.accounts.split_off(&(self.next, MeterId(0)));
        self.present = self.present.split_off(&(self.next, MeterId(0)));
    }

    /// The month that the interval ending at `end` is billed in.
    pub fn month_of(&self, end: UtcTime) -> Month {
        self.period.day_of(end).month()
    }

    /// Intervals of `month` that a meter in `span` should have.
    pub fn due_intervals(&self, month: Month, span: ServiceSpan) -> u32 {
        span.intervals_in(month, self.period)
    }

    /// Unpriced intervals dropped from running accounts at [`UNPRICED_MAX`].
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn has_unpriced(&self, month: Month) -> bool {
        self.waiting.keys().any(|end| self.month_of(*end) == month)
    }

    fn is_complete(&self, month: Month) -> bool {
        self.spans.iter().all(|(meter, span)| {
            self.account(month, *meter).intervals >= self.due_intervals(month, *span)
        })
    }

    fn bound_waiting(&mut self) {
        while self.waiting_count > UNPRICED_MAX {
            let Some((_, dropped)) = self.waiting.pop_first() else {
                return;
            };
            self.waiting_count -= dropped.len();
            self.dropped += u64::try_from(dropped.len()).unwrap_or(u64::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{self, at};

    const PERIOD: Period = Period::HALF_HOUR;
    const METER: MeterId = MeterId(1);

    fn interval(end: UtcTime, watt_hours: i64) -> ValidatedInterval {
        samples::interval(METER.0, PERIOD, end, watt_hours * 1_000)
    }

    fn cycle() -> BillingCycle {
        let next = Month::parse("2026-02").unwrap();
        let mut cycle = BillingCycle::new(PERIOD, next, GRACE_DEFAULT);
        cycle.enrol(METER, ServiceSpan::since(at("2026-02-28T00:00:00Z")));
        cycle
    }

    fn price() -> Price {
        samples::price("0.2")
    }

    #[test]
    fn due_intervals_lie_wholly_in_month_and_span() {
        let span = |from, until| ServiceSpan::between(at(from), at(until)).unwrap();
        let cases = [
            ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z", 28 * 48),
            ("2026-02-28T23:10:00Z", "2027-01-01T00:00:00Z", 1),
            ("2026-02-28T23:31:00Z", "2027-01-01T00:00:00Z", 0),
            ("2026-01-01T00:00:00Z", "2026-02-01T00:59:00Z", 1),
            ("2026-03-01T00:00:00Z", "2027-01-01T00:00:00Z", 0),
        ];
        let cycle = cycle();
        for (from, until, expected) in cases {
            let got = cycle.due_intervals(cycle.next_month(), span(from, until));
            assert_eq!(got, expected, "{from} to {until}");
        }
    }

    #[test]
    fn an_account_grows_by_readings_and_by_prices_in_any_order() {
        let mut cycle = cycle();
        let month = cycle.next_month();
        let first = interval(at("2026-02-28T00:30:00Z"), 500);
        let second = interval(at("2026-02-28T01:00:00Z"), 250);
        cycle.note(&first, Some(price()));
        cycle.note(&second, None);
        cycle.note(&second, None); // A redelivery.
        assert_eq!(cycle.account(month, METER).unpriced, 1);
        cycle.priced(second.end(), price());
        let account = cycle.account(month, METER);
        assert_eq!(account.charge, price().charge(MilliwattHours::new(750_000)));
        assert_eq!((account.intervals, account.unpriced), (2, 0));
    }

    #[test]
    fn a_retired_meter_owes_until_its_last_interval() {
        let mut cycle = cycle();
        let month = cycle.next_month();
        let (from, until) = (at("2026-02-28T00:00:00Z"), at("2026-02-28T01:10:00Z"));
        cycle.enrol(METER, ServiceSpan::between(from, until).unwrap());
        for slot in 1..4 {
            cycle.note(&interval(from + PERIOD.duration() * slot, 10), None);
        }
        // The third interval ended after the meter was gone: it holds up no month.
        assert_eq!(cycle.account(month, METER).intervals, 2);
        cycle.priced(from + PERIOD.duration(), price());
        cycle.priced(from + PERIOD.duration() * 2, price());
        assert_eq!(cycle.due(at("2026-03-01T00:00:00Z")), Some(month));
    }

    #[test]
    fn a_month_closes_when_all_is_in_or_its_grace_is_over() {
        let mut cycle = cycle();
        let month = cycle.next_month();
        let end = at("2026-03-01T00:00:00Z");
        assert_eq!(cycle.due_intervals(month, cycle.span(METER).unwrap()), 48);
        for slot in 1..48 {
            let end = at("2026-02-28T00:00:00Z") + PERIOD.duration() * slot;
            cycle.note(&interval(end, 10), Some(price()));
        }
        assert_eq!(cycle.due(end), None, "one interval is missing");
        assert_eq!(cycle.due(end + GRACE_DEFAULT), Some(month));
        let last = interval(end, 10);
        cycle.note(&last, None);
        assert_eq!(
            cycle.due(end + GRACE_DEFAULT),
            None,
            "one interval has no price"
        );
        cycle.priced(last.end(), price());
        assert_eq!(cycle.due(end), Some(month));
        assert_eq!(cycle.due(end - Duration::from_millis(1)), None);
        cycle.closed(month);
        assert_eq!(cycle.due(end + GRACE_DEFAULT), None);
        assert_eq!(cycle.account(month, METER), RunningAccount::default());
        cycle.note(&last, None); // Too late for this cycle.
        assert_eq!(cycle.account(month, METER), RunningAccount::default());
    }
}
