//! Measuring: days, intervals, months.

use gridloom_core::{Day, Money, Month, Now, ReadingStatus, UtcTime, Watts};

use super::{Event, Meter, Output, Owed};
use crate::clock::ClockStep;
use crate::keeper::Urgency;
use crate::load::DayPrices;
use crate::memory::PRICE_DAYS;
use crate::profile::{Delivery, Entry};
use crate::status::MonthBill;

impl Meter {
    pub(super) fn measure(&mut self, now: Now) {
        for _ in 0..Self::CAPTURES_MAX {
            let due = self.off_since.is_none() && self.is_over(now);
            if !due || self.keeper.is_behind() {
                return;
            }
            self.capture_next(now);
        }
    }

    /// Whether the running interval is over by the meter's clock.
    pub(super) fn is_over(&self, now: Now) -> bool {
        self.clock.time_at(now.utc) >= self.interval_end
    }

    /// When the running interval ends in true time, as the clock goes now.
    pub(super) fn boundary(&self) -> UtcTime {
        self.clock.truly_at(self.interval_end)
    }

    /// Integrates day by day, in true time: the house lives by it.
    pub(super) fn integrate_to(&mut self, until: UtcTime) {
        while until > self.metrology.cursor() {
            self.begin_day();
            let midnight = self.metrology.cursor().day().next().start();
            self.metrology.advance(&mut *self.load, until.min(midnight));
        }
    }

    /// The clock was set at `now`, up to which everything is captured and measured. A step over
    /// the end of the running interval closes it here. One back makes it longer: no interval
    /// has the name of one before it, and no energy is without one.
    pub(super) fn stepped(&mut self, step: ClockStep, now: Now) {
        if step.is_marked() {
            self.stepped = true;
            self.outbox.push_back(Output::Event(Event::ClockSet(step)));
        }
        if step.after >= self.interval_end {
            let marked = self.stepped;
            self.capture_next(now);
            self.interval_end = self.config.period.next_end(step.after);
            self.stepped = marked;
        }
        self.keeper.touch(Urgency::Now, now);
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
        self.integrate_to(self.boundary().min(now.utc));
        self.interval_end = end + self.config.period.duration();
        let stepped = core::mem::take(&mut self.stepped);
        if self.metrology.has_measured() {
            let last = UtcTime::from_millis(self.metrology.cursor().as_millis() - 1);
            let power_mw = self
                .metrology
                .instantaneous(&mut *self.load, last)
                .active_mw;
            let captured = self.metrology.capture();
            self.last_means = Some(captured.means);
            let status = if stepped {
                captured.status.with(ReadingStatus::CLOCK_ADJUSTED)
            } else {
                captured.status
            };
            let entry = Entry::new(
                end,
                status,
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
        self.periods.interval_ended(end, &self.metrology);
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
        let shown = self.clock.time_at(self.metrology.cursor());
        if shown >= self.interval_end {
            self.metrology.restart_means();
            self.periods.passed(shown, &self.metrology);
        }
        self.interval_end = self.interval_end.max(self.config.period.next_end(shown));
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
