//! The running bill: price × energy of every interval, exact, by month.

use std::collections::VecDeque;

use gridloom_core::{Charge, Currency, MilliwattHours, Money, Month, UtcTime};

/// One month's account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MonthAccount {
    /// The month, by the day each interval belongs to (UTC).
    pub month: Month,
    /// Σ price × energy over the priced intervals, not rounded.
    pub charge: Charge,
    /// Energy imported in all intervals of the month, priced or not.
    pub energy: MilliwattHours,
    /// Intervals with a price.
    pub priced: u32,
    /// Intervals that wait for their price.
    pub unpriced: u32,
    /// Intervals that left the profile before their price came: this month cannot agree with the
    /// utility's bill unless it is zero.
    pub unpriceable: u32,
}

impl MonthAccount {
    const fn new(month: Month) -> Self {
        Self {
            month,
            charge: Charge::ZERO,
            energy: MilliwattHours::ZERO,
            priced: 0,
            unpriced: 0,
            unpriceable: 0,
        }
    }

    /// The amount due, rounded once, halves away from zero.
    pub fn amount(&self, currency: Currency) -> Money {
        self.charge.round_half_away(currency)
    }
}

/// The accounts of the running month, of months that still wait for prices, and of closed ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bill {
    /// Oldest first; the last one is the newest month with an interval.
    pub(crate) open: VecDeque<MonthAccount>,
    /// Oldest first.
    pub(crate) closed: VecDeque<MonthAccount>,
}

impl Bill {
    /// Closed months kept; older ones are forgotten.
    pub const CLOSED_MAX: usize = 13;

    /// Open months kept. Beyond it the oldest is closed as it stands and its unpriced intervals
    /// count as unpriceable. Only a meter that was off for months between captures gets there.
    pub const OPEN_MAX: usize = 16;

    /// An interval of `month` was captured.
    pub(crate) fn captured(&mut self, month: Month, energy: MilliwattHours) {
        if self.open.back().is_none_or(|last| last.month < month) {
            if self.open.len() == Self::OPEN_MAX
                && let Some(mut oldest) = self.open.pop_front()
            {
                oldest.unpriceable += oldest.unpriced;
                oldest.unpriced = 0;
                self.close(oldest);
            }
            self.open.push_back(MonthAccount::new(month));
        }
        let account = self.open.back_mut().expect("one was just made sure of");
        assert!(account.month == month, "intervals are captured in order");
        account.energy += energy;
        account.unpriced += 1;
    }

    /// A captured interval of `month` got its price.
    pub(crate) fn priced(&mut self, month: Month, charge: Charge) {
        // The month is gone only where `OPEN_MAX` closed it early.
        if let Some(account) = self.account(month) {
            account.charge += charge;
            account.priced += 1;
            account.unpriced -= 1;
        }
    }

    /// A captured interval of `month` left the profile without a price.
    pub(crate) fn dropped_unpriced(&mut self, month: Month) {
        if let Some(account) = self.account(month) {
            account.unpriced -= 1;
            account.unpriceable += 1;
        }
    }

    /// Closes every month that ended at or before `captured_until` and waits for no price.
    /// Months close in order: an earlier one that waits keeps later ones open.
    pub(crate) fn close_months(&mut self, captured_until: UtcTime) {
        while let Some(account) = self.open.pop_front_if(|account| {
            account.unpriced == 0 && account.month.next().first_day().start() <= captured_until
        }) {
            self.close(account);
        }
    }

    /// The account of `month` while it is open.
    fn account(&mut self, month: Month) -> Option<&mut MonthAccount> {
        self.open.iter_mut().find(|account| account.month == month)
    }

    fn close(&mut self, account: MonthAccount) {
        if self.closed.len() == Self::CLOSED_MAX {
            self.closed.pop_front();
        }
        self.closed.push_back(account);
    }

    /// The account of `month`, open or closed.
    pub fn month(&self, month: Month) -> Option<&MonthAccount> {
        self.open
            .iter()
            .chain(&self.closed)
            .find(|account| account.month == month)
    }

    /// The newest closed month.
    pub fn last_closed(&self) -> Option<&MonthAccount> {
        self.closed.back()
    }

    /// Closed months, oldest first.
    pub fn closed(&self) -> impl Iterator<Item = &MonthAccount> {
        self.closed.iter()
    }

    /// Open months, oldest first.
    pub fn open(&self) -> impl Iterator<Item = &MonthAccount> {
        self.open.iter()
    }

    /// Intervals that wait for their price, in all months.
    pub fn unpriced(&self) -> u32 {
        self.open.iter().map(|account| account.unpriced).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn month(text: &str) -> Month {
        Month::parse(text).unwrap()
    }

    fn wh(watt_hours: i64) -> MilliwattHours {
        MilliwattHours::new(watt_hours * 1_000)
    }

    #[test]
    fn a_month_closes_when_it_is_over_and_priced() {
        let (january, february) = (month("2013-01"), month("2013-02"));
        let over = february.first_day().start();
        let mut bill = Bill::default();
        bill.captured(january, wh(100));
        bill.captured(january, wh(50));
        bill.priced(january, Charge::from_pico(5_000_000_000));
        bill.close_months(over);
        assert_eq!(bill.last_closed(), None, "one interval waits");
        bill.captured(february, wh(7));
        bill.priced(february, Charge::from_pico(1));
        bill.close_months(month("2013-03").first_day().start());
        assert_eq!(bill.last_closed(), None, "months close in order");
        bill.priced(january, Charge::from_pico(-1));
        bill.close_months(UtcTime::from_millis(over.as_millis() - 1));
        assert_eq!(bill.last_closed(), None, "the month is not over");
        bill.close_months(over);
        let closed = *bill.last_closed().unwrap();
        assert_eq!(
            (
                closed.month,
                closed.energy,
                closed.priced,
                closed.charge.pico()
            ),
            (january, wh(150), 2, 4_999_999_999)
        );
        let euro = Currency::new("EUR", 2).unwrap();
        assert_eq!(closed.amount(euro).minor(), 0, "rounded once, on the total");
        assert_eq!(bill.unpriced(), 0);
        assert_eq!(bill.open().count(), 1);
    }

    #[test]
    fn what_cannot_be_priced_is_said() {
        let mut bill = Bill::default();
        bill.captured(month("2013-01"), wh(1));
        bill.dropped_unpriced(month("2013-01"));
        bill.close_months(month("2013-02").first_day().start());
        assert_eq!(bill.last_closed().unwrap().unpriceable, 1);
    }

    #[test]
    fn months_are_bounded() {
        let mut bill = Bill::default();
        let mut now = month("2010-01");
        for _ in 0..40 {
            bill.captured(now, wh(1));
            now = now.next();
        }
        assert_eq!(bill.open().count(), Bill::OPEN_MAX);
        assert_eq!(bill.closed().count(), Bill::CLOSED_MAX);
        assert!(bill.closed().all(|account| account.unpriceable == 1));
        bill.priced(month("2010-01"), Charge::from_pico(1)); // Gone: nothing to add to.
    }
}
