//! What comes up: each packet is screened, and its verdict carried out.

use gridloom_core::{Now, UtcTime};
use gridloom_dlms::push::IntervalPush;

use super::{Edge, Effect};
use crate::alarm::{AlarmKey, AlarmNumber, MeterAlarm, Taken};
use crate::balance::{Imbalance, ImbalanceKind, Report};
use crate::behaviour::net_wh;
use crate::frame;
use crate::identity::Path;
use crate::incident::{Evidence, Incident, IncidentKind, Subject};
use crate::integrity::Said;
use crate::line::ClosedLine;
use crate::quality::LinkQuality;
use crate::quarantine::{Arrival, Kept, main_reason};
use crate::reading::{AcceptedReading, ScreenedReading};
use crate::reason::Reason;
use crate::screen::{Believed, Surge};
use crate::snapshot::Urgency;
use crate::trust::{Screening, Verdict};

impl Edge {
    /// A gateway is asked about missing meters only if its link has stood for so many seconds.
    const STANDS_S: u32 = 60;

    /// Packets that [`Self::expect`] looks at; it leaves further ones alone. What they need is
    /// half of a first-level cache.
    pub const EXPECTED_MAX: usize = 64;

    /// These packets come next: has what is known of their devices fetched into the cache, all of
    /// it at once. With a million meters a packet that comes alone waits for memory half of its
    /// time, one thing after the other. It changes nothing, and nothing is believed.
    pub fn expect<'f>(&self, frames: impl Iterator<Item = &'f [u8]>) {
        let mut devices = [None; Self::EXPECTED_MAX];
        let registry = self.screen.registry();
        for (device, frame) in devices.iter_mut().zip(frames) {
            *device = frame::peek(frame)
                .ok()
                .and_then(|title| registry.guess(title));
        }
        let touched = devices.into_iter().flatten().fold(0, |sum, device| {
            sum ^ self.screen.touch(device) ^ self.deliveries[device.at()].touch()
        });
        std::hint::black_box(touched);
    }

    /// A packet came up, and the link knew nothing about it.
    pub fn handle_packet(&mut self, path: Path, frame: &[u8], now: Now) -> Screening {
        self.handle_packet_of(path, &LinkQuality::default(), frame, now)
    }

    /// A packet came up by a link that knows how it was carried.
    pub fn handle_packet_of(
        &mut self,
        path: Path,
        link: &LinkQuality,
        frame: &[u8],
        now: Now,
    ) -> Screening {
        let (mut screening, believed) = self.screen.screen(path, link, frame, now);
        self.tell_surge(path, frame, now);
        if let Some(believed) = &believed {
            self.note_gap(believed, now);
            if believed.is_first
                && let Some(home) = self.screen.home_of(believed.device)
            {
                let period = self.screen.registry().period(believed.device);
                self.silences.join(home, period);
            }
            self.believed.mark_device(believed.device.0);
            if believed.is_state_changed {
                let shard = self.believed.of_device(believed.device.at());
                self.states.mark(shard, Urgency::Snapshot, now.instant);
            }
            if self.believed.is_full() {
                self.remember_at = Some(now.instant);
            }
            self.remember_soon(now.instant);
        }
        match (screening.verdict, &believed) {
            (Verdict::Forward, Some(believed)) => {
                self.forward(path, link, believed, &screening, now)
            }
            (Verdict::Quarantine, Some(believed)) => {
                self.hold(path, frame, believed, &mut screening, now);
            }
            (Verdict::Drop, _) => {
                self.note_came_otherwise(path, screening.drop_reason());
                self.note_repeated(path);
                self.note_drop(path, frame, believed.as_ref(), &screening, now);
            }
            (Verdict::Forward | Verdict::Quarantine, None) => {
                unreachable!("only what is believed is judged")
            }
        }
        screening
    }

    pub(super) fn forward(
        &mut self,
        path: Path,
        link: &LinkQuality,
        believed: &Believed,
        screening: &Screening,
        now: Now,
    ) {
        let device = believed.device;
        self.heard(device, path);
        let delivery = &mut self.deliveries[device.at()];
        match self.screen.said() {
            Said::Push(push) => {
                delivery.prices.meter_lacks(push.billing.oldest_unpriced);
                self.status.accepted += 1;
                let accepted = self.accepted(believed, push);
                self.outbox.push_back(Effect::Accept(ScreenedReading {
                    accepted,
                    scores: screening.scores,
                    reasons: screening.reasons,
                    path,
                    link: *link,
                }));
                if believed.is_newest {
                    self.note_in_time(believed, now);
                    self.balance(believed, now);
                }
                self.offer_prices(device, now.instant);
            }
            Said::SetAnswer {
                invoke_id,
                accepted,
            } => {
                // A refused SET would be refused again: the meter's next push says what it lacks.
                if !*accepted {
                    self.status.sets_refused += 1;
                }
                delivery.prices.answered(invoke_id.number());
                self.offer_prices(device, now.instant);
            }
            Said::Alarm { number, time, .. } => {
                let (number, time) = (*number, *time);
                self.take_alarm(believed, number, time.unwrap_or(now.utc), screening, now);
            }
            Said::Nothing => {}
        }
    }

    /// An alarm goes up, once for all repetitions. What is durable already is confirmed again.
    fn take_alarm(
        &mut self,
        believed: &Believed,
        number: AlarmNumber,
        time: UtcTime,
        screening: &Screening,
        now: Now,
    ) {
        let key = AlarmKey {
            meter: self.screen.registry().meter(believed.device),
            number,
            time,
        };
        let alarm = MeterAlarm {
            key,
            title: believed.title,
            counter: believed.counter,
            received: now.utc,
            scores: screening.scores,
            reasons: screening.reasons,
            apdu: self.screen.plain().to_vec(),
        };
        match self.alarms.take(alarm.clone(), now.instant) {
            Taken::New => self.outbox.push_back(Effect::Alarm(Box::new(alarm))),
            Taken::Stored => self.confirm_alarm(key),
            Taken::Waits | Taken::Full => {}
        }
    }

    pub(super) fn accepted(&self, believed: &Believed, push: &IntervalPush) -> AcceptedReading {
        AcceptedReading {
            title: believed.title,
            counter: believed.counter,
            reading: push.reading(self.screen.registry().meter(believed.device)),
            power: push.power,
            billing: push.billing,
        }
    }

    /// A device told of an interval for the first time, believed or held: it is not missing.
    fn note_in_time(&mut self, believed: &Believed, now: Now) {
        if let (Some(home), Said::Push(push)) =
            (self.screen.home_of(believed.device), self.screen.said())
        {
            let window = (push.period, push.end);
            self.silences.heard(home, window, now.utc, now.instant);
        }
    }

    pub(super) fn close_silences(&mut self, now: Now) {
        let screen = &self.screen;
        let is_judged = |gateway| screen.stands_for_s(gateway, now.instant) >= Some(Self::STANDS_S);
        for silence in self.silences.handle_timeout(now.instant, is_judged) {
            if let Some(link) = self.screen.link_of(silence.gateway) {
                let subject = Subject::Gateway(link);
                self.note(subject, IncidentKind::Silence, now.utc, || {
                    Evidence::Silence(silence)
                });
            }
        }
    }

    /// A believed frame shows what was lost before it.
    fn note_gap(&mut self, believed: &Believed, now: Now) {
        let Some((gateway, gap)) = believed.gap else {
            return;
        };
        if let Some(loss) = self.losses.heard(gateway, believed.device, gap, now.utc)
            && let Some(link) = self.screen.link_of(gateway)
        {
            let subject = Subject::Gateway(link);
            self.note(subject, IncidentKind::Loss, now.utc, || {
                Evidence::Loss(loss)
            });
        }
    }

    /// A refused packet may be one that a meter numbered, unless it cannot have come by its line.
    fn note_came_otherwise(&mut self, path: Path, reason: Option<Reason>) {
        let is_strange = matches!(
            reason,
            Some(Reason::UnknownTitle | Reason::PathFlooded | Reason::GatewayFlooded)
        );
        if !is_strange && let Some(gateway) = self.screen.gateway_of(path.gateway) {
            self.losses.came_otherwise(gateway);
        }
    }

    /// A frame came up for another client than the edge, which alone can verify it. Its meter
    /// numbered it all the same.
    pub fn handle_foreign(&mut self, path: Path) {
        self.note_came_otherwise(path, None);
    }

    /// A gateway's host closed a line of this path: counted, and an incident of its address.
    pub fn handle_line_closed(&mut self, path: Path, line: ClosedLine, now: UtcTime) {
        self.status.lines_closed.count(line.fault);
        let subject = match line.address {
            Some(address) => Subject::Address {
                gateway: Some(path.gateway),
                address,
            },
            None => Subject::Gateway(path.gateway),
        };
        let path = Some(path);
        self.note(subject, IncidentKind::Line(line.fault), now, || {
            Evidence::Line { path, line }
        });
    }

    /// This edge's own host closed a line of somebody who connected as gateways do.
    pub fn handle_own_line_closed(&mut self, line: ClosedLine, now: UtcTime) {
        self.status.lines_closed.count(line.fault);
        let gateway = None;
        let subject = line
            .address
            .map_or(Subject::Edge, |address| Subject::Address {
                gateway,
                address,
            });
        self.note(subject, IncidentKind::Line(line.fault), now, || {
            Evidence::Line { path: None, line }
        });
    }

    pub(super) fn balance(&mut self, believed: &Believed, now: Now) {
        let registry = self.screen.registry();
        let placement = registry.site(believed.device).transformer;
        let (Some(placement), Said::Push(push)) = (placement, self.screen.said()) else {
            return;
        };
        let report = Report {
            meter: registry.meter(believed.device),
            period: push.period,
            end: push.end,
            net_wh: net_wh(push),
            deviation: believed.deviation,
        };
        if let Some(imbalance) = self.balances.report(placement, report, now.instant) {
            self.tell_imbalance(imbalance, now.utc);
        }
    }

    pub(super) fn tell_imbalance(&mut self, imbalance: Imbalance, now: UtcTime) {
        let subject = Subject::Transformer(imbalance.transformer);
        let kind: ImbalanceKind = imbalance.kind;
        self.note(subject, IncidentKind::Imbalance(kind), now, || {
            Evidence::Imbalance(imbalance)
        });
    }

    pub(super) fn note(
        &mut self,
        subject: Subject,
        kind: IncidentKind,
        now: UtcTime,
        evidence: impl FnOnce() -> Evidence,
    ) {
        if let Some(incident) = self.incidents.note(subject, kind, now, evidence) {
            if incident.gateway.is_none()
                && let Some(link) = incident.link()
            {
                incident.gateway = self.screen.gateway_name(link).map(str::to_owned);
            }
            let told = Box::new(incident.clone());
            self.outbox.push_back(Effect::Alert(told));
        }
    }

    pub(super) fn tell_surge(&mut self, path: Path, frame: &[u8], now: Now) {
        let subject = match self.screen.take_surge() {
            Surge::None => return,
            Surge::Gateway => Subject::Gateway(path.gateway),
            Surge::Edge => Subject::Edge,
        };
        self.note(subject, IncidentKind::Shift, now.utc, || {
            packet_evidence(path, frame)
        });
    }

    /// Puts a reading into the quarantine. Of anything else that is not trusted only the
    /// incident stays: there is nothing in it to release.
    pub(super) fn hold(
        &mut self,
        path: Path,
        frame: &[u8],
        believed: &Believed,
        screening: &mut Screening,
        now: Now,
    ) {
        let Said::Push(push) = self.screen.said() else {
            let kind = IncidentKind::Packets(main_reason(screening.reasons));
            let subject = Subject::Device(believed.title);
            self.note(subject, kind, now.utc, || packet_evidence(path, frame));
            return;
        };
        let said = self.accepted(believed, push);
        let kind = IncidentKind::Packets(main_reason(screening.reasons));
        let subject = Subject::Device(believed.title);
        self.note(subject, kind, now.utc, || packet_evidence(path, frame));
        let kept = self.quarantine.hold(Arrival {
            path,
            frame,
            plain: self.screen.plain(),
            said,
            received: now.utc,
            reasons: screening.reasons,
            scores: screening.scores,
        });
        match kept {
            Ok(Kept::New) => {
                self.incidents.held(subject, kind, true);
                self.note_in_time(believed, now);
            }
            Ok(Kept::Already) => self.take_news(now.instant),
            Err(_) => {
                screening.reasons.add(Reason::QuarantineFull);
                self.screen.no_room();
                let full = IncidentKind::Packets(Reason::QuarantineFull);
                self.note(Subject::Edge, full, now.utc, || {
                    packet_evidence(path, frame)
                });
            }
        }
    }

    /// What is dropped is noted under whoever answers for it: the device if the packet was its
    /// own, the path if nobody knows. What a flood's budget swallows is counted and no more: the
    /// packets that spent the budget have been noted.
    pub(super) fn note_drop(
        &mut self,
        path: Path,
        frame: &[u8],
        believed: Option<&Believed>,
        screening: &Screening,
        now: Now,
    ) {
        let Some(reason) = screening.drop_reason() else {
            return;
        };
        if screening.reasons.contains(Reason::Cloned) {
            // Two devices speak under the title: that is about the title, whoever carries it.
            let title = frame::peek(frame).expect("its tag has verified");
            let kind = IncidentKind::Packets(Reason::Cloned);
            return self.note(Subject::Device(title), kind, now.utc, || {
                packet_evidence(path, frame)
            });
        }
        let subject = match (reason, believed) {
            (_, Some(believed)) => Subject::Device(believed.title),
            (
                Reason::PathFlooded
                | Reason::GatewayFlooded
                | Reason::TitleFlooded
                | Reason::DeviceRate,
                None,
            ) => return,
            (Reason::UnknownTitle, None) => Subject::Gateway(path.gateway),
            (_, None) => Subject::Path(path),
        };
        self.note(subject, IncidentKind::Packets(reason), now.utc, || {
            packet_evidence(path, frame)
        });
    }

    /// Something came up that is no wrapped APDU at all.
    pub fn handle_unframed(&mut self, path: Path, frame: &[u8], now: Now) -> Screening {
        let screening = self.screen.screen_unframed(path, now);
        self.tell_surge(path, frame, now);
        self.note_drop(path, frame, None, &screening, now);
        screening
    }
}

fn packet_evidence(path: Path, frame: &[u8]) -> Evidence {
    let kept = frame.len().min(Incident::EVIDENCE_BYTES_MAX);
    Evidence::Packet {
        path,
        bytes: frame[..kept].to_vec(),
    }
}
