//! What the quarantine holds: what an analyst decides, and what follows once that is durable.

use gridloom_core::{Instant, MeterId, Now, Period, UtcTime};
use gridloom_dlms::push::IntervalPush;

use super::{Edge, Effect};
use crate::incident::{Evidence, IncidentKind, Subject};
use crate::quarantine::{Decision, News, PacketId, QuarantineError, main_reason};
use crate::reading::AcceptedReading;

impl Edge {
    /// Incidents are not kept; those of held packets come back with them.
    pub(super) fn resume_incidents(&mut self) {
        let held: Vec<_> = self
            .quarantine
            .packets()
            .map(|held| {
                let kind = IncidentKind::Packets(held.main_reason());
                (held.said.title, kind, held.received, held.path)
            })
            .collect();
        for (title, kind, received, path) in held {
            let subject = Subject::Device(title);
            let evidence = || Evidence::Packet {
                path,
                bytes: Vec::new(),
            };
            self.incidents.note(subject, kind, received, evidence);
            self.incidents.held(subject, kind, true);
        }
    }

    /// A reading is durable: its meter may forget it.
    pub fn handle_stored(&mut self, meter: MeterId, period: Period, end: UtcTime, now: Instant) {
        let registry = self.screen.registry();
        let Some(device) = registry.find_meter(meter) else {
            return;
        };
        let title = registry.title(device);
        self.quarantine.handle_stored(title, |said| {
            said.reading.period == period && said.reading.end == end
        });
        self.take_news(now);
        self.confirm(device, None, period, end);
    }

    /// Whether a held packet is not durable yet.
    pub fn has_unwritten_quarantine(&self) -> bool {
        self.quarantine.is_unwritten()
    }

    /// Does what became due in the quarantine.
    pub(super) fn take_news(&mut self, now: Instant) {
        while let Some(news) = self.quarantine.poll_news() {
            match news {
                News::Kept { path, said } => {
                    let reading = &said.reading;
                    if let Some(device) = self.screen.registry().find_meter(reading.meter) {
                        self.confirm(device, Some(path), reading.period, reading.end);
                    }
                }
                News::Released { audit, reading } => {
                    self.follow_released(&reading.accepted);
                    self.status.accepted += 1;
                    self.outbox.push_back(Effect::Audit(Box::new(audit)));
                    self.outbox.push_back(Effect::Accept(*reading));
                    self.release_at = self.release_at.or(Some(now + Self::RELEASE_AGAIN_AFTER));
                }
                News::Rejected { audit } => {
                    self.outbox.push_back(Effect::Audit(Box::new(audit)));
                }
                News::Left { title, reasons } => {
                    let kind = IncidentKind::Packets(main_reason(reasons));
                    self.incidents.held(Subject::Device(title), kind, false);
                }
            }
        }
        if self.quarantine.is_dirty() {
            self.remember_soon(now);
        }
    }

    /// The device's next readings are measured by the released one.
    pub(super) fn follow_released(&mut self, said: &AcceptedReading) {
        let reading = &said.reading;
        if let Some(device) = self.screen.registry().find(said.title) {
            let push = IntervalPush {
                period: reading.period,
                end: reading.end,
                status: reading.status,
                values: reading.values,
                import_register: reading.import_register,
                power: said.power,
                billing: said.billing,
            };
            self.screen.follow(device, &push);
        }
    }

    /// An analyst lets a held reading continue as if it had been forwarded. It takes effect, with
    /// its line for the audit log, once it is durable.
    ///
    /// # Errors
    ///
    /// [`QuarantineError`]: no such packet, decided already, or nobody who decides.
    pub fn release(&mut self, id: PacketId, who: &str, now: Now) -> Result<(), QuarantineError> {
        self.decide(id, Decision::Release, who, now)
    }

    /// An analyst gives a held reading up; its interval is a gap. It takes effect, with its line
    /// for the audit log, once it is durable.
    ///
    /// # Errors
    ///
    /// As [`Self::release`].
    pub fn reject(&mut self, id: PacketId, who: &str, now: Now) -> Result<(), QuarantineError> {
        self.decide(id, Decision::Reject, who, now)
    }

    pub(super) fn decide(
        &mut self,
        id: PacketId,
        decision: Decision,
        who: &str,
        now: Now,
    ) -> Result<(), QuarantineError> {
        self.quarantine.decide(id, decision, who, now.utc)?;
        self.remember_soon(now.instant);
        Ok(())
    }

    pub(super) fn hand_up_again(&mut self, now: Instant) {
        let mut again: Vec<_> = self
            .quarantine
            .released()
            .map(|held| Effect::Accept(held.released()))
            .collect();
        if !again.is_empty() {
            self.release_at = Some(now + Self::RELEASE_AGAIN_AFTER);
        }
        self.outbox.extend(again.drain(..));
    }
}
