//! Alerts: what the supervision finds is logged, raised and told.

use gridloom_core::{Now, UtcTime};
use gridloom_dlms::apdu::{DataNotification, LongInvokeId};

use super::{ConnectionId, Event, Meter, Output, Owed};
use crate::catalogue::Client;
use crate::catalogue::register;
use crate::fittings::Pushes;
use crate::load::Load as _;
use crate::memory::{LOGS_CELL, SUPERVISION_CELL};
use crate::metrology::Connection;
use crate::objects::alarm::{AlarmBit, Condition, StatusBit};
use crate::objects::tamper::TamperEvent;
use crate::supervision::Surroundings;
use crate::supply::Supply;

impl Meter {
    /// Hands do something to the meter; it is so until the next call. A meter without supply
    /// sees it when supply is back.
    pub fn handle_surroundings(&mut self, surroundings: Surroundings, now: Now) {
        self.begin(now);
        self.measure(now);
        self.supervision.surround(surroundings);
        if self.off_since.is_none() {
            let last = UtcTime::from_millis(self.boundary().as_millis() - 1);
            self.integrate_to(now.utc.min(last));
            self.watch_terminals(now);
        }
        self.settle(now);
    }

    /// Looks at the terminals, where somebody has been near them.
    pub(super) fn watch_terminals(&mut self, now: Now) {
        if self.supervision.is_watching() {
            let last = self.metrology.cursor();
            let seen = self.instantaneous(last);
            let phases = self.phases();
            self.supervision
                .handle_seen(&seen, phases, self.clock.time_at(last));
            self.supervision
                .handle_distortion(&self.config.quality(), self.clock.time_at(last));
            self.keeper.touch_cell(SUPERVISION_CELL, now);
            self.follow_supervision(now);
        }
    }

    /// Looks at the voltages since `from`, if they were out of bounds.
    pub(super) fn watch_voltages(&mut self, from: UtcTime) {
        let Some(range) = self.metrology.take_voltages() else {
            return;
        };
        let limits = self.config.quality();
        if !self.supervision.wants_voltages(range, &limits) {
            return;
        }
        let until = self.metrology.cursor();
        let mut at = from;
        while at < until {
            let seen = self.instantaneous(at);
            let shown = self.clock.time_at(at);
            // Without supply, there is nothing to look at.
            if seen.voltage_mv[0] > 0 {
                self.supervision
                    .handle_voltages(seen.voltage_mv, &limits, shown);
            }
            at = Supply::step_end(at).min(self.switched().power_at(at).until);
        }
        self.keeper.touch_cell(SUPERVISION_CELL, self.seen);
        self.follow_supervision(self.seen);
    }

    /// Logs what has come to count or is over.
    pub(super) fn follow_supervision(&mut self, now: Now) {
        while let Some((code, at, event)) = self.supervision.poll_quality() {
            if let Some(code) = code {
                let import = register::total(self.metrology.totals()[0]);
                self.logs.note(code, import, at);
                self.keeper.touch_cell(LOGS_CELL, now);
            }
            self.keeper.touch_cell(SUPERVISION_CELL, now);
            let event = Event::PowerQuality(event);
            self.outbox.push_back(Output::Event(event));
        }
        while let Some((code, event)) = self.supervision.poll_event() {
            let (TamperEvent::Began { at, .. } | TamperEvent::Ended { at, .. }) = event;
            if let Some(code) = code {
                let import = register::total(self.metrology.totals()[0]);
                self.logs.note(code, import, at);
                self.keeper.touch_cell(LOGS_CELL, now);
            }
            self.keeper.touch_cell(SUPERVISION_CELL, now);
            self.outbox.push_back(Output::Event(Event::Tamper(event)));
        }
    }

    /// Supply goes: the last words, to whoever listens. They need no memory: what they say is
    /// found out again when supply is back.
    pub(super) fn last_gasp(&mut self, now: Now) {
        let shown = self.clock.time_at(self.metrology.cursor());
        let supervision = &mut self.supervision;
        supervision.handle_power_down(shown);
        supervision.alarm(AlarmBit::PowerResumed, Condition::Gone);
        supervision.alarm(AlarmBit::TotalPowerFailure, Condition::Present);
        supervision.status(StatusBit::FirstBreath, Condition::Gone);
        supervision.status(StatusBit::LastGasp, Condition::Present);
        self.keeper.touch_cell(SUPERVISION_CELL, now);
        if self.supervision.take_alert() {
            // There is no time to wait for the memory.
            let number = self.raise_alert(now);
            self.supervision.release(number);
            self.send_to_edge(now);
            for connection in self.listeners() {
                if let Some(apdu) = self.alert(now) {
                    self.outbox.push_back(Output::Answer {
                        connection,
                        client: Client::Management.sap(),
                        apdu,
                    });
                }
            }
            self.push_to_destination(Pushes::Alert, now);
        }
    }

    /// Supply is back; the first client to come hears of it.
    pub(super) fn first_breath(&mut self, now: Now) {
        let supervision = &mut self.supervision;
        supervision.alarm(AlarmBit::TotalPowerFailure, Condition::Gone);
        supervision.alarm(AlarmBit::PowerResumed, Condition::Present);
        supervision.status(StatusBit::LastGasp, Condition::Gone);
        supervision.status(StatusBit::FirstBreath, Condition::Present);
        self.keeper.touch_cell(SUPERVISION_CELL, now);
    }

    /// Gives the alert that is due to the edge and to the destination, and, once it is durable,
    /// to every management client that has proved itself; for those it waits while there is none.
    pub(super) fn send_alert(&mut self, now: Now) {
        if self.supervision.take_alert() {
            self.alert_due = true;
            self.raise_alert(now);
            self.push_to_destination(Pushes::Alert, now);
        }
        if !self.alert_due || self.restarting {
            return;
        }
        let listeners = self.listeners();
        self.alert_due = listeners.is_empty();
        for connection in listeners {
            let room = self.waiting_answers() < Self::ANSWERS_MAX;
            match self.alert(now).filter(|_| room) {
                Some(apdu) => self.owe(Owed::ClientAnswer {
                    connection,
                    client: Client::Management.sap(),
                    apdu,
                }),
                None => self.counters.answers_dropped += 1,
            }
        }
    }

    fn listeners(&self) -> Vec<ConnectionId> {
        let management = Client::Management.sap();
        let proved = self
            .connections
            .iter()
            .filter(|(_, (server, _))| server.is_associated(management));
        proved.map(|(connection, _)| *connection).collect()
    }

    /// What the alert push setup (0.4.25.9.0) names, ciphered; `None` while no counter is
    /// reserved.
    fn alert(&mut self, now: Now) -> Option<Vec<u8>> {
        let body = self.objects_of(Pushes::Alert, now).encode();
        let mut plain = Vec::new();
        DataNotification {
            invoke_id: LongInvokeId(0),
            time: None,
            body: &body,
        }
        .encode(&mut plain);
        self.link.seal(&plain).ok()
    }

    const fn phases(&self) -> u8 {
        match self.config.connection {
            Connection::SinglePhase => 1,
            Connection::ThreePhase => 3,
        }
    }
}
