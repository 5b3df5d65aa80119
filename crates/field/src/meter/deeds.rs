//! What a meter does on its own account: scripts of its schedules, and the change of firmware.

use gridloom_core::{Now, UtcTime};

use super::{Event, Meter, Output, Owed};
use crate::fittings::{BILLING_SCRIPTS, IMAGE_SCRIPTS, PUSH_SCRIPTS, Pushes};
use crate::memory::{FEATURES_CELL, FITTINGS_CELL, IMAGE_CELL, SEGMENT_CELLS};
use crate::objects::image_transfer::ImageEvent;
use crate::objects::script_table::ScriptName;
use gridloom_dlms::companion::IndianEvent;

impl Meter {
    /// The end of the month that is over by `shown`, unless a client has made a schedule.
    pub(super) fn month_over(&mut self, shown: UtcTime) -> Option<UtcTime> {
        let over = self.periods.passed(shown);
        over.filter(|_| self.fittings.bills_by_month())
    }

    /// A schedule's time has come, or a client has changed a fitting.
    pub(super) fn change_fittings(&mut self) {
        let shown = self.clock.time_at(self.metrology.cursor());
        for script in self.fittings.handle_time(shown) {
            self.run_script(script, self.seen);
        }
        self.run_pushes(self.seen);
        self.keeper.touch_cell(FITTINGS_CELL, self.seen);
    }

    /// Runs a script; one that nobody has does nothing.
    pub(super) fn run_script(&mut self, script: ScriptName, now: Now) {
        let shown = self.clock.time_at(self.metrology.cursor());
        match (script.table, script.selector) {
            (BILLING_SCRIPTS, 1) => self.end_billing(shown),
            (IMAGE_SCRIPTS, 1) => {
                // An image that does not verify says so in an event of its own.
                let _refused = self.upgrade.invoke(4, None, shown);
                self.keeper.touch_cell(IMAGE_CELL, now);
                self.carry_image(now);
            }
            (PUSH_SCRIPTS, 1) => self.ask_push(Pushes::Interval, now),
            (PUSH_SCRIPTS, 2) => self.ask_push(Pushes::Alert, now),
            _ => {
                let totals = self.metrology.totals();
                self.features.handle_script(script, shown, &totals);
                self.keeper.touch_cell(FEATURES_CELL, now);
            }
        }
    }

    /// Keeps what the image transfer changed, and says what became of it.
    pub(super) fn carry_image(&mut self, now: Now) {
        while let Some(event) = self.upgrade.poll_event() {
            match event {
                ImageEvent::StoreSegment(segment) => {
                    self.keeper.touch_cell(SEGMENT_CELLS[segment], now);
                    continue;
                }
                // Segments that stay do no harm: they say which transfer they belong to.
                ImageEvent::ForgetSegments => continue,
                ImageEvent::Verified { .. } | ImageEvent::VerificationFailed(_) => {}
                ImageEvent::Restart | ImageEvent::RolledBack { .. } => self.restarting = true,
                ImageEvent::Activated { .. } => self.note(IndianEvent::FirmwareActivated, now),
            }
            self.keeper.touch_cell(IMAGE_CELL, now);
            self.outbox.push_back(Output::Event(Event::Firmware(event)));
        }
    }

    /// The image that is to run starts once every client has its answer. Clients lose their
    /// connections; the link to the edge is another processor's and stands.
    pub(super) fn restart_if_due(&mut self, now: Now) {
        while self.restarting
            && !self
                .owed
                .iter()
                .any(|(_, owed)| matches!(owed, Owed::ClientAnswer { .. }))
        {
            self.restarting = false;
            for connection in self.connections.keys() {
                let connection = *connection;
                self.outbox.push_back(Output::Disconnect { connection });
            }
            self.drop_clients();
            self.boot_image(now);
        }
    }

    /// The meter starts. An image on trial counts it.
    pub(super) fn boot_image(&mut self, now: Now) {
        if self.upgrade.is_on_trial() {
            self.upgrade
                .handle_boot(self.clock.time_at(self.metrology.cursor()));
            self.keeper.touch_cell(IMAGE_CELL, now);
            self.carry_image(now);
        }
    }
}
