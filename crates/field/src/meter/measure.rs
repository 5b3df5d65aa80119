//! Measuring: days, intervals, months.

use gridloom_core::{Day, Money, Month, Now, UtcTime, Watts};

use super::{Event, Meter, Output, Owed};
use crate::keeper::Urgency;
use crate::load::DayPrices;
use crate::memory::PRICE_DAYS;
use crate::profile::{Delivery, Entry};
use crate::status::MonthBill;

impl Meter {
    pub(super) fn measure(&mut self, now: Now) {
        for _ in 0..Self::CAPTURES_MAX {
            let due = self.off_since.is_none() && now.utc >= self.interval_end;
            if !due || self.keeper.is_behind() {
                return;
            }
            self.capture_next(now);
        }
    }

    /// Integrates within the running interval, which never passes midnight.
    pub(super) fn integrate_to(&mut self, until: UtcTime) {
        if until > self.metrology.cursor() {
            self.begin_day();
            self.metrology.advance(&mut *self.load, until);
        }
    }

    /// Tells the house the prices of the day that the cursor is in, once.
    pub(super) fn begin_day(&mut self) {
        let day = self.metrology.cursor().day();
        if self.begun == Some(day) {
            return;
        }
        if self.begun.is_none()
            && let Some(prices) = self.told.get(&day.previous())
        {
            self.load.begin_day(day.previous(), prices);
        }
        if !self.told.contains_key(&day) {
            let prices = self.known_prices(day);
            self.told.insert(day, prices);
            while self.told.len() > PRICE_DAYS {
                self.told.pop_first();
            }
            self.keeper.touch_prices();
        }
        self.load.begin_day(day, &self.told[&day]);
        self.begun = Some(day);
    }

    /// What each interval of the day cost the day before, or two days before.
    pub(super) fn known_prices(&self, day: Day) -> DayPrices {
        let period = self.config.period;
        let mut prices = DayPrices::unknown(period);
        for (slot, price) in (0_u16..).zip(&mut prices.by_slot) {
            *price = [day.previous(), day.previous().previous()]
                .into_iter()
                .find_map(|day| self.profile.get(period.end_of_slot(day, slot))?.price());
        }
        prices
    }

    /// Closes the running interval.
    pub(super) fn capture_next(&mut self, now: Now) {
        let end = self.interval_end;
        self.integrate_to(end);
        self.interval_end = end + self.config.period.duration();
        if self.metrology.has_measured() {
            let last = UtcTime::from_millis(end.as_millis() - 1);
            let power_mw = self
                .metrology
                .instantaneous(&mut *self.load, last)
                .active_mw;
            let captured = self.metrology.capture();
            self.last_means = Some(captured.means);
            let entry = Entry::new(
                end,
                captured.status,
                &captured.values,
                captured.import_register,
                Watts::new(power_mw / 1_000),
            );
            if let Some(dropped) = self.profile.push(entry) {
                self.dropped(&dropped, now);
            }
            self.captured += 1;
            self.unpriced.insert(end);
            let month = self.config.period.day_of(end).month();
            self.bill.captured(month, captured.values.import);
            self.keeper.touch_entry(end, Urgency::Now, now);
            self.owe(Owed::Push(end));
            if let Some(price) = self.ahead.get(&end).copied() {
                self.apply_price(end, price, now);
            }
        } else {
            self.metrology.discard_interval();
            self.keeper.touch(Urgency::Soon, now);
        }
        self.ahead.retain(|waiting, _| *waiting > end);
        self.close_months();
    }

    /// An entry fell out of a full profile.
    pub(super) fn dropped(&mut self, entry: &Entry, now: Now) {
        let end = entry.end;
        self.keeper.touch_entry(end, Urgency::Soon, now);
        if self.unpriced.remove(&end) {
            let month = self.config.period.day_of(end).month();
            self.bill.dropped_unpriced(month);
        }
        if entry.delivery == Delivery::Unacknowledged {
            self.schedule.remove(end);
            self.lost += 1;
            self.outbox
                .push_back(Output::Event(Event::LostAtSource { end }));
        }
    }

    pub(super) fn resume_after_outage(&mut self, now: Now) {
        self.metrology.skip_to(now.utc);
        if self.metrology.cursor() >= self.interval_end {
            self.metrology.restart_means();
        }
        self.interval_end = self
            .interval_end
            .max(self.config.period.next_end(self.metrology.cursor()));
        let end = self.interval_end;
        let start =
            UtcTime::from_millis(end.as_millis() - i64::from(self.config.period.as_secs()) * 1_000);
        self.ahead.retain(|waiting, _| *waiting > start);
        self.close_months();
        self.keeper.touch(Urgency::Now, now);
    }

    pub(super) fn close_months(&mut self) {
        let before = self.bill.last_closed().map(|account| account.month);
        self.bill
            .close_months(self.interval_end - self.config.period.duration());
        let newly: Vec<MonthBill> = self
            .bill
            .closed()
            .filter(|account| before.is_none_or(|before| account.month > before))
            .map(|account| MonthBill {
                month: account.month,
                amount: account.amount(self.config.currency),
            })
            .collect();
        for bill in newly {
            self.outbox
                .push_back(Output::Event(Event::MonthClosed(bill)));
        }
    }

    pub(super) fn bill_so_far(&self, month: Month) -> Money {
        self.bill
            .month(month)
            .map_or(Money::from_minor(0, self.config.currency), |account| {
                account.amount(self.config.currency)
            })
    }

    pub(super) fn last_bill(&self) -> Option<MonthBill> {
        self.bill.last_closed().map(|account| MonthBill {
            month: account.month,
            amount: account.amount(self.config.currency),
        })
    }
}
