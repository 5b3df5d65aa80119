//! Measuring: days, intervals, months.

use gridloom_core::{Day, Money, Month, Now, ReadingStatus, UtcTime, Watts};

use super::{Event, Meter, Output, Owed};
use crate::billing_period::BillingPeriod;
use crate::catalogue::register;
use crate::clock::ClockStep;
use crate::features::Switched;
use crate::keeper::Urgency;
use crate::load::{DayPrices, Load as _};
use crate::memory::{FEATURES_CELL, LOGS_CELL, PRICE_DAYS, SURVEY_CELL};
use crate::metrology::Instantaneous;
use crate::profile::{Delivery, Entry};
use crate::status::MonthBill;
use gridloom_dlms::companion::IndianEvent;

const CAPTURE: &str = "capture";

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

    /// Integrates day by day, in true time: the house lives by it. It stops where a feature has
    /// something to do, so that a tariff gets its energy to the millisecond.
    pub(super) fn integrate_to(&mut self, until: UtcTime) {
        while until > self.metrology.cursor() {
            self.begin_day();
            let cursor = self.metrology.cursor();
            let mut stop = until.min(cursor.day().next().start());
            if self.features.is_limited() {
                let stretch = self.switched().power_at(cursor);
                let power = stretch.power.unwrap_or_default().total_mw();
                let (shown, totals) = (self.clock.time_at(cursor), self.metrology.totals());
                let watts = power.max(0) / 1_000;
                if self.features.handle_power(watts, shown, &totals) {
                    self.keeper.touch_cell(FEATURES_CELL, self.seen);
                }
                stop = stop.min(stretch.until);
            }
            if let Some(due) = self.features_due().filter(|due| *due > cursor) {
                stop = stop.min(due);
            }
            let is_closed = self.features.is_closed();
            let load = &mut *self.load;
            self.metrology
                .advance(&mut Switched { load, is_closed }, stop);
            self.watch_voltages(cursor);
            self.run_features();
        }
        self.load_changes = self.features.is_limited().then(|| {
            let cursor = self.metrology.cursor();
            self.switched().power_at(cursor).until
        });
    }

    /// When a feature has something to do, in true time.
    fn features_due(&self) -> Option<UtcTime> {
        let parts = [
            self.features.due(),
            self.fittings.due(),
            self.upgrade.due(),
            self.supervision.due(),
            self.survey.due(),
            self.window_due(),
        ];
        let due = parts.into_iter().flatten().min();
        due.map(|due| self.clock.truly_at(due))
    }

    /// Lets the features do what is due at the cursor.
    pub(super) fn run_features(&mut self) {
        let shown = self.clock.time_at(self.metrology.cursor());
        if self.features.due().is_some_and(|due| due <= shown) {
            self.change_features();
        }
        if self.fittings.due().is_some_and(|due| due <= shown) {
            self.change_fittings();
        }
        if self.supervision.due().is_some_and(|due| due <= shown) {
            self.supervision.handle_time(shown);
            self.follow_supervision(self.seen);
        }
        self.run_survey();
        if self.upgrade.due().is_some_and(|due| due <= shown) {
            self.upgrade.handle_time(shown);
            self.carry_image(self.seen);
        }
    }

    /// A feature's time has come, or a client has changed it.
    pub(super) fn change_features(&mut self) {
        let shown = self.clock.time_at(self.metrology.cursor());
        let totals = self.metrology.totals();
        self.features.handle_time(shown, &totals);
        self.keeper.touch_cell(FEATURES_CELL, self.seen);
    }

    /// Measures up to now where a feature must not wait for the end of the interval.
    pub(super) fn follow(&mut self, now: Now) {
        let (at, cause) = self.next_measurement();
        if self.off_since.is_none() && cause != CAPTURE && at <= now.utc {
            let last = UtcTime::from_millis(self.boundary().as_millis() - 1);
            self.integrate_to(now.utc.min(last));
            self.run_features();
        }
    }

    /// Notes an event in its log.
    pub(super) fn note(&mut self, event: IndianEvent, now: Now) {
        let import = register::total(self.metrology.totals()[0]);
        let shown = self.clock.time_at(now.utc);
        self.logs.note(event, import, shown);
        self.keeper.touch_cell(LOGS_CELL, now);
    }

    /// When the meter must measure next, in true time, and why.
    pub(super) fn next_measurement(&self) -> (UtcTime, &'static str) {
        let capture = (self.boundary(), CAPTURE);
        let cursor = self.metrology.cursor();
        let feature = [
            (self.features_due(), "feature"),
            (self.load_changes, "limiter"),
        ];
        let feature = feature
            .into_iter()
            .filter_map(|(at, cause)| Some((at?.max(cursor), cause)));
        feature.fold(
            capture,
            |first, next| if next.0 < first.0 { next } else { first },
        )
    }

    /// The house behind its switch.
    pub(super) fn switched(&mut self) -> Switched<'_> {
        Switched {
            is_closed: self.features.is_closed(),
            load: &mut *self.load,
        }
    }

    /// What the terminals see at `at`.
    pub(super) fn instantaneous(&mut self, at: UtcTime) -> Instantaneous {
        let is_closed = self.features.is_closed();
        let load = &mut *self.load;
        self.metrology
            .instantaneous(&mut Switched { load, is_closed }, at)
    }

    /// A billing period ends, by the month or by hand.
    pub(super) fn end_billing(&mut self, end: UtcTime) {
        let registers = self.metrology.totals();
        let period = BillingPeriod {
            end,
            registers,
            tariffs: self.features.imports(&registers),
            peaks: self.features.handle_billing(end),
        };
        self.periods.end(period);
        self.keeper.touch_cell(FEATURES_CELL, self.seen);
    }

    /// The clock was set at `now`, up to which everything is captured and measured. A step over
    /// the end of the running interval closes it here. One back makes it longer: no interval
    /// has the name of one before it, and no energy is without one.
    pub(super) fn stepped(&mut self, step: ClockStep, now: Now) {
        if step.is_marked() {
            self.stepped = true;
            self.survey.mark();
            self.outbox.push_back(Output::Event(Event::ClockSet(step)));
            self.note(IndianEvent::ClockSet, now);
        }
        if step.after >= self.interval_end {
            let marked = self.stepped;
            self.capture_next(now);
            self.interval_end = self.config.period.next_end(step.after);
            self.stepped = marked;
        }
        // Periods of their own and the calendar go by the clock.
        self.run_survey();
        self.change_features();
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
            let power_mw = self.instantaneous(last).active_mw;
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
            let per_hour = self.config.period.per_hour();
            let [import, _, _, _, _, _, apparent] = entry.energies;
            let means = [import, apparent].map(|energy| energy.saturating_mul(per_hour));
            if !self.survey.has_demand()
                && self
                    .features
                    .handle_demand(end, means, status == ReadingStatus::GOOD)
            {
                self.keeper.touch_cell(FEATURES_CELL, now);
            }
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
        if let Some(over) = self.month_over(end) {
            self.end_billing(over);
        }
        self.close_months();
        self.watch_terminals(now);
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
        let alive = self.clock.time_at(self.metrology.cursor());
        let import = register::total(self.metrology.totals()[0]);
        self.logs
            .was_dark(alive, self.clock.time_at(now.utc), &import);
        self.keeper.touch_cell(LOGS_CELL, now);
        self.first_breath(now);
        self.metrology.skip_to(now.utc);
        let shown = self.clock.time_at(self.metrology.cursor());
        if !self.survey.is_empty() {
            self.survey.resume(shown);
            self.keeper.touch_cell(SURVEY_CELL, now);
        }
        if shown >= self.interval_end {
            self.metrology.restart_means();
            if let Some(over) = self.month_over(shown) {
                self.end_billing(over);
            }
        }
        self.interval_end = self.interval_end.max(self.config.period.next_end(shown));
        self.run_features();
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
