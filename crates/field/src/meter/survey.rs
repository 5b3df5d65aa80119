//! Periods that clients have set: rows and demand of their own length.

use gridloom_core::{Now, Period, ReadingStatus, UtcTime};
use gridloom_dlms::companion::IndianEvent;

use super::Meter;
use crate::memory::{FEATURES_CELL, SURVEY_CELL, rows_cell};
use crate::metrology::{CHANNELS, Tap};
use crate::profile::{Delivery, Entry};
use crate::survey::{Boundary, Closed, Span};

/// Of the metrology.
const BLOCK_TAP: usize = 0;
const DEMAND_TAP: usize = 1;

impl Meter {
    /// A client sets a period; it holds from its next boundary on.
    pub(super) fn set_period(&mut self, span: Span, period: Period, now: Now) {
        let made = self.config.period;
        if self.survey.period(span, made) == period {
            return;
        }
        let shown = self.clock.time_at(self.metrology.cursor());
        let newest = self.profile.newest().map(Entry::end);
        let days = self.config.profile_days;
        self.survey.set(span, (period, made), days, shown, newest);
        self.keeper.touch_cell(SURVEY_CELL, now);
        self.note(
            match span {
                Span::Capture => IndianEvent::CapturePeriodSet,
                Span::Demand => IndianEvent::DemandPeriodSet,
            },
            now,
        );
        self.run_survey();
    }

    /// Closes what is over at the cursor.
    pub(super) fn run_survey(&mut self) {
        let shown = self.clock.time_at(self.metrology.cursor());
        if self.survey.due().is_none_or(|due| due > shown) {
            return;
        }
        let totals = self.metrology.totals();
        match self.survey.close_block(shown, &totals) {
            Boundary::Within => {}
            Boundary::First => {
                self.metrology.take_tap(BLOCK_TAP);
            }
            Boundary::End(closed) => {
                let tap = self.metrology.take_tap(BLOCK_TAP);
                self.capture_row(&closed, tap, &totals);
            }
        }
        let interrupted = self.metrology.tap(DEMAND_TAP).interrupted;
        match self.survey.close_demand(shown, &totals, interrupted) {
            Boundary::Within => {}
            Boundary::First => {
                self.metrology.take_tap(DEMAND_TAP);
            }
            Boundary::End(last) => {
                self.metrology.take_tap(DEMAND_TAP);
                if self
                    .features
                    .handle_demand(last.end, last.means, last.is_complete)
                {
                    self.keeper.touch_cell(FEATURES_CELL, self.seen);
                }
            }
        }
        self.keeper.touch_cell(SURVEY_CELL, self.seen);
    }

    /// A row of the block load profile. An interval of which a restart has forgotten the voltage
    /// shows the one at its end.
    fn capture_row(&mut self, closed: &Closed, tap: Tap, totals: &[u64; CHANNELS]) {
        let mut status = ReadingStatus::GOOD;
        if tap.interrupted {
            status = status.with(ReadingStatus::POWER_DOWN);
        }
        if closed.doubtful {
            status = status.with(ReadingStatus::CLOCK_ADJUSTED);
        }
        let last = UtcTime::from_millis(self.metrology.cursor().as_millis() - 1);
        let seen = self.instantaneous(last);
        let voltage_dv = if tap.millis == 0 {
            u16::try_from(seen.voltage_mv[0] / 100).unwrap_or(u16::MAX)
        } else {
            tap.voltage_dv()
        };
        let entry = Entry {
            end: closed.end,
            energies: closed
                .energies
                .map(|energy| u32::try_from(energy).unwrap_or(u32::MAX)),
            voltage_dv,
            status,
            // Nobody acknowledges it: the oldest rows make room.
            delivery: Delivery::Acknowledged,
            register_wh: totals[0],
            power_w: i32::try_from(seen.active_mw / 1_000).unwrap_or(i32::MAX),
            price_micro: None,
        };
        let period = self.survey.period(Span::Capture, self.config.period);
        self.survey.push(entry);
        self.keeper
            .touch_cell(rows_cell(period, entry.end), self.seen);
    }
}
