//! Pushes: over the link to the edge in the edge's own layouts, and to the destination that a
//! client has set in what objects it has set.
//!
//! What goes to the edge is delivered whatever else is set: the utility lives by it. Its push
//! setup says when it may leave and how it is repeated. A destination is served besides; what it
//! does not take within the setup's retries is given up, as nobody acknowledges it.

use gridloom_core::{Instant, Now, UtcTime};
use gridloom_dlms::apdu::{DataNotification, LongInvokeId};
use gridloom_dlms::association::Mechanism;
use gridloom_dlms::axdr::Data;
use gridloom_dlms::server::Caller;
use rand_core::Rng as _;

use super::serve::{Device, Done, device};
use super::{Meter, Output, Owed};
use crate::catalogue::{Client, ObjectTable};
use crate::delivery::Patience;
use crate::fittings::Pushes;
use crate::memory::SUPERVISION_CELL;
use crate::objects::push_setup::{PushEvent, PushOutcome, TRANSPORT_UDP};

/// How a push travels to its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushTransport {
    /// The wrapper over TCP, on a connection of its own.
    Tcp,
    /// The wrapper over UDP, in one datagram.
    Udp,
}

impl Meter {
    /// The longest payload of a push to a set destination, in bytes; of a longer one the last
    /// objects are null.
    pub const PUSH_BYTES_MAX: usize = 8_192;

    /// How an [`Output::Push`] came out.
    pub fn handle_push_outcome(&mut self, push: Pushes, outcome: PushOutcome, now: Now) {
        self.begin(now);
        let shown = self.clock.time_at(now.utc);
        let random = self.push_random(now);
        if let Some(setup) = self.fittings.push_mut(push) {
            setup.handle_outcome(outcome, random, shown);
        }
        self.run_pushes(now);
        self.settle(now);
    }

    /// A client, or a script, asks for a push.
    pub(super) fn ask_push(&mut self, push: Pushes, now: Now) {
        match push {
            Pushes::Interval => {
                if let Some(newest) = self.profile.newest() {
                    // Also one that was delivered: whoever asks wants to see a push.
                    self.schedule.add(newest.end());
                }
            }
            Pushes::Alert => {
                self.alert_due = true;
                self.raise_alert(now);
            }
        }
        self.push_to_destination(push, now);
    }

    /// An interval is durable.
    pub(super) fn push_interval(&mut self, end: UtcTime, now: Now) {
        let spread = self.fittings.push(Pushes::Interval).randomisation();
        self.schedule.add_within(end, spread, now.instant);
        self.push_to_destination(Pushes::Interval, now);
    }

    /// An alert, to the edge: it leaves once it is durable.
    pub(super) fn raise_alert(&mut self, now: Now) -> u32 {
        let name = self.device_name();
        let shown = self.clock.time_at(now.utc);
        let push = self.supervision.alert(name, shown);
        let number = self.supervision.raise(push);
        self.keeper.touch_cell(SUPERVISION_CELL, now);
        self.owe(Owed::Alert(number));
        number
    }

    /// The edge has passed an alert on.
    pub(super) fn confirmed_alert(&mut self, number: u32, now: Now) {
        let alerts = self.supervision.alerts_mut();
        if alerts.is_some_and(|alerts| alerts.confirm(number)) {
            self.counters.acknowledged += 1;
            self.keeper.touch_cell(SUPERVISION_CELL, now);
        } else {
            self.counters.acknowledged_again += 1;
        }
    }

    /// Sends to the edge what may leave now.
    pub(super) fn send_to_edge(&mut self, now: Now) {
        if self.may_leave(Pushes::Alert, now) && self.schedule.is_usable(now.instant) {
            let patience = self.patience(Pushes::Alert);
            while let Some(alerts) = self.supervision.alerts_mut()
                && let Some((number, push)) = alerts.next(now.instant, patience)
            {
                let mut apdu = Vec::with_capacity(96);
                push.encode_notification(number, &mut apdu)
                    .expect("an alert has a name and a time that fit");
                let Ok(frame) = self.link.seal(&apdu) else {
                    alerts.put_back(number);
                    break;
                };
                self.counters.alerts += 1;
                self.outbox.push_back(Output::Send { frame });
            }
        }
        if self.may_leave(Pushes::Interval, now) {
            while let Some(end) = self.schedule.next_push(now.instant) {
                let apdu = self.push_of(end);
                let Ok(frame) = self.link.seal(&apdu) else {
                    self.schedule.put_back(end);
                    break;
                };
                self.counters.pushes += 1;
                self.outbox.push_back(Output::Send { frame });
            }
        }
    }

    /// When a communication window opens for what waits, by the meter's clock.
    pub(super) fn window_due(&self) -> Option<UtcTime> {
        let shown = self.clock.time_at(self.seen.utc);
        let waits = |push| match push {
            Pushes::Interval => self.profile.unacknowledged() > 0,
            Pushes::Alert => self.supervision.alerts().is_some_and(|a| a.len() > 0),
        };
        [Pushes::Interval, Pushes::Alert]
            .into_iter()
            .filter(|push| self.schedule.is_linked() && waits(*push))
            .map(|push| self.fittings.push(push).opening(shown))
            .filter(|open| *open > shown)
            .min()
    }

    /// When an alert must be sent, given up or tried again.
    pub(super) fn alert_due_at(&self) -> Option<(Instant, &'static str)> {
        let from = self.schedule.starts()?;
        self.supervision.alerts()?.wake(from, self.seen.instant)
    }

    fn may_leave(&self, push: Pushes, now: Now) -> bool {
        let shown = self.clock.time_at(now.utc);
        self.fittings.push(push).opening(shown) <= shown
    }

    pub(super) fn patience(&self, push: Pushes) -> Patience {
        let (retries, delay_s) = self.fittings.push(push).repetition();
        Patience::of(self.config.retry).with(retries, delay_s)
    }

    /// A push setup was changed, or read from memory.
    pub(super) fn follow_push_setups(&mut self) {
        let patience = self.patience(Pushes::Interval);
        self.schedule.set_patience(patience);
    }

    /// Starts a push to the destination, where one is set.
    pub(super) fn push_to_destination(&mut self, push: Pushes, now: Now) {
        let shown = self.clock.time_at(now.utc);
        let random = self.push_random(now);
        if let Some(setup) = self.fittings.push_mut(push)
            && !setup.destination().is_none()
        {
            setup.handle_push(random, shown);
            self.run_pushes(now);
        }
    }

    /// Sends to the destinations what is due.
    pub(super) fn run_pushes(&mut self, now: Now) {
        for push in [Pushes::Interval, Pushes::Alert] {
            while let Some(event) = self.fittings.push_mut(push).and_then(|s| s.poll_event()) {
                match event {
                    PushEvent::Send { .. } => self.send_to_destination(push, now),
                    PushEvent::GivenUp { .. } => self.counters.pushes_given_up += 1,
                }
            }
        }
    }

    fn send_to_destination(&mut self, push: Pushes, now: Now) {
        let destination = self.fittings.push(push).destination().clone();
        let body = self.objects_of(push, now).encode();
        let mut plain = Vec::new();
        DataNotification {
            // Nobody confirms it, and its counter says which it is.
            invoke_id: LongInvokeId(0),
            time: None,
            body: &body,
        }
        .encode(&mut plain);
        // Where none can leave, or nobody is there any more, that try has failed.
        let sealed = self.link.seal(&plain).ok();
        match (sealed, destination.socket()) {
            (Some(apdu), Some(to)) => {
                self.counters.pushes_to_destination += 1;
                self.outbox.push_back(Output::Push {
                    push,
                    to,
                    transport: if destination.transport == TRANSPORT_UDP {
                        PushTransport::Udp
                    } else {
                        PushTransport::Tcp
                    },
                    apdu,
                });
            }
            (None, _) | (_, None) => {
                let shown = self.clock.time_at(now.utc);
                if let Some(setup) = self.fittings.push_mut(push) {
                    setup.handle_outcome(PushOutcome::Failed, 0, shown);
                }
            }
        }
    }

    /// What the objects of a push setup show now.
    pub(super) fn objects_of(&mut self, push: Pushes, now: Now) -> Data {
        let objects = self.fittings.push(push).objects().to_vec();
        // A push is read as management reads, without an association.
        let caller = Caller {
            client: Client::Management.sap(),
            authentication: Mechanism::None,
            title: None,
            protection: None,
            signed: false,
        };
        let mut device = device!(self, now.utc);
        let mut left = Self::PUSH_BYTES_MAX;
        let values = objects.iter().map(|object| {
            let value = device.pushed(object, &caller);
            match left.checked_sub(value.encode().len()) {
                Some(rest) => {
                    left = rest;
                    value
                }
                None => Data::Null,
            }
        });
        Data::Structure(values.collect())
    }

    /// Differs from push to push and from meter to meter, and is the same in each replay.
    fn push_random(&self, now: Now) -> u32 {
        let seed = self.config.seed.child("push");
        seed.nth(now.utc.as_millis().unsigned_abs())
            .rng()
            .next_u32()
    }

    /// The logical device name.
    fn device_name(&mut self) -> Vec<u8> {
        let truly = self.seen.utc;
        device!(self, truly).device_name()
    }
}
