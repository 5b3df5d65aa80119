//! What meters push to the head-end itself: meters that we did not make, behind no edge of ours.
//!
//! Whose a frame is says its system title, then the counter and the tag prove it; only then it is
//! read, by its meter's template. Readings go the way of readings that were asked for, and a
//! confirmation leaves only once they are durable. Frames in the clear are taken from meters whose
//! template says that they are not ciphered, and whose address is registered.

mod book;
mod confirm;

use std::net::IpAddr;

use gridloom_core::{IntervalReading, MeterId, Now, Period, SystemTitle, UtcTime};
use gridloom_dlms::apdu::{DataNotification, EventNotification};
use gridloom_dlms::client::Layer;
use gridloom_dlms::security::{
    CipherContext, CipheredApdu, CipheredForm, KeyUse, Keys, Policy, SecuritySuite, SymmetricKey,
};
use gridloom_dlms::wrapper::{self, WPort};
use gridloom_headend::audit::{Action, AuditOutcome, AuditRecord, Target};
use gridloom_headend::backfill::Series;
use gridloom_headend::push::{PushContent, PushMeaning, PushedEvent, content_of};
use gridloom_headend::rotation::KeySelection;
use gridloom_headend::template::CipheringForm;
use gridloom_store::{Batch, DeviceState, KeyKind, KeyState};
use zeroize::Zeroizing;

use super::HeadEndNode;
use super::deliveries::Purpose;
use super::disk::Saved;
use crate::node::{LinkId, Output, Pusher};

pub use book::{PushAddresses, PushCounts, PushRefusal, RefusedPush};

pub(super) use book::Pushes;
pub(super) use confirm::{Confirm, Under};

/// How far ahead of our clock a pushed interval may end.
const AHEAD_MAX: core::time::Duration = core::time::Duration::from_mins(5);

/// A frame that is its meter's own word.
struct Believed {
    meter: MeterId,
    plain: Zeroizing<Vec<u8>>,
    counter: u32,
    under: Under,
}

impl HeadEndNode {
    pub(super) fn take_push(&mut self, link: LinkId, frame: &[u8], now: Now) {
        let Some(from) = self.pushes.pusher(link) else {
            return;
        };
        let mut claimed = None;
        match self.believe_push(link, from, frame, &mut claimed) {
            Ok((believed, source, destination)) => {
                self.pushes.bind(link, source, believed.meter);
                self.take_content(link, (source, destination), believed, now);
            }
            Err(refusal) => {
                let refused = RefusedPush {
                    at: now.utc,
                    from: from.address,
                    title: claimed,
                    refusal,
                };
                if self.pushes.refuse(link, refused) {
                    let reason = "it pushes what nobody believes";
                    self.outbox.push_back(Output::Close { link, reason });
                }
            }
        }
    }

    /// Title, then counter, then tag.
    fn believe_push(
        &mut self,
        link: LinkId,
        from: Pusher,
        frame: &[u8],
        claimed: &mut Option<SystemTitle>,
    ) -> Result<(Believed, WPort, WPort), PushRefusal> {
        let frame = wrapper::Frame::decode(frame).map_err(|_| PushRefusal::Malformed)?;
        let (source, destination) = (frame.source, frame.destination);
        let tag = frame.apdu.first().copied().unwrap_or_default();
        if matches!(tag, DataNotification::TAG | EventNotification::TAG) {
            let meter = self.pushes.unciphered(from.address, source.0);
            let meter = meter.ok_or(PushRefusal::Plaintext)?;
            let believed = Believed {
                meter,
                plain: frame.apdu.to_vec().into(),
                counter: 0,
                under: Under::Nothing,
            };
            return Ok((believed, source, destination));
        }
        match CipheredForm::of_tag(tag) {
            Some(CipheredForm::GeneralGlobal) => {}
            // A dedicated key belongs to an association, and a service without a title to nobody.
            Some(
                CipheredForm::GeneralDedicated
                | CipheredForm::ServiceGlobal
                | CipheredForm::ServiceDedicated
                | CipheredForm::General,
            )
            | None => return Err(PushRefusal::Form(tag)),
        }
        let apdu = CipheredApdu::decode(frame.apdu).map_err(|_| PushRefusal::Malformed)?;
        *claimed = Some(apdu.title);
        let row = self.registry.by_title(apdu.title);
        let row = row.ok_or(PushRefusal::UnknownTitle)?;
        let meter = row.meter;
        match row.state {
            DeviceState::Enrolled | DeviceState::Commissioned => {}
            DeviceState::Suspended | DeviceState::Retired => return Err(PushRefusal::NotInService),
        }
        if apdu.key() != KeyUse::Unicast {
            return Err(PushRefusal::Form(tag));
        }
        if self
            .pushes
            .bound(link, source)
            .is_some_and(|it| it != meter)
        {
            return Err(PushRefusal::OtherTitle);
        }
        let registered = row.link.address.rsplit_once(':').map(|(host, _)| host);
        let registered = registered.and_then(|host| host.parse::<IpAddr>().ok());
        if self.config.push_addresses == PushAddresses::Registered
            && registered.is_some_and(|address| address != from.address)
        {
            return Err(PushRefusal::OtherAddress);
        }
        let suites = row.roles.iter().filter_map(|role| role.suite);
        let suite = suites.max().unwrap_or(0);
        let suite = SecuritySuite::from_code(suite).map_err(|_| PushRefusal::NoKey)?;
        let mut refusal = PushRefusal::NoKey;
        let mut plain = Zeroizing::new(Vec::new());
        for selection in self.push_keys(meter) {
            let key = selection.encryption;
            if self
                .counters
                .check(key, apdu.counter, from.arrival)
                .is_err()
            {
                refusal = PushRefusal::Replayed;
                continue;
            }
            let Some(context) = self.push_context(selection, suite) else {
                continue;
            };
            match context.open(&apdu, Policy::AuthenticatedEncryption, &mut plain) {
                Ok(_) => {
                    self.counters.believe(key, apdu.counter);
                    let believed = Believed {
                        meter,
                        plain,
                        counter: apdu.counter,
                        under: Under::Keys(selection),
                    };
                    return Ok((believed, source, destination));
                }
                // What another pair of keys said weighs less than a tag that is wrong.
                Err(_) => refusal = PushRefusal::BadTag,
            }
        }
        Err(refusal)
    }

    /// The pairs of keys that the meter may push under: those in use, and while a change is under
    /// way those that it may have taken already.
    fn push_keys(&self, meter: MeterId) -> Vec<KeySelection> {
        let rows = self.keys.of(meter);
        let of = |kind, state| {
            let mut rows = rows.iter();
            let found = rows.find(|row| (row.kind, row.state) == (kind, state));
            found.map(|row| row.key)
        };
        let pairs = [
            (KeyState::Current, KeyState::Current),
            (KeyState::Pending, KeyState::Pending),
            (KeyState::Pending, KeyState::Current),
            (KeyState::Current, KeyState::Pending),
        ];
        let pairs = pairs.into_iter().filter_map(|(encryption, proof)| {
            Some(KeySelection {
                encryption: of(KeyKind::UnicastEncryption, encryption)?,
                authentication: of(KeyKind::Authentication, proof)?,
            })
        });
        pairs.collect()
    }

    /// The keys, unwrapped for one frame.
    pub(super) fn push_context(
        &mut self,
        selection: KeySelection,
        suite: SecuritySuite,
    ) -> Option<CipherContext> {
        let mut open = |key| {
            let secret = self.vault.unseal(self.keys.row(key)?).ok()?;
            SymmetricKey::from_bytes(secret.expose()).ok()
        };
        let keys = Keys::pair(open(selection.encryption)?, open(selection.authentication)?).ok()?;
        CipherContext::with_suite(&keys, suite).ok()
    }

    fn take_content(
        &mut self,
        link: LinkId,
        (source, destination): (WPort, WPort),
        believed: Believed,
        now: Now,
    ) {
        let meter = believed.meter;
        let template = self.registry.meter(meter).map(|row| row.template.clone());
        let template = template.and_then(|name| self.templates.get(&name).cloned());
        let Some(template) = template else {
            return self.pushes.count_unreadable();
        };
        let shapes = self.shapes.get(&meter);
        let meaning = PushMeaning {
            meter,
            template: &template,
            shape: shapes.and_then(|shapes| shapes.get(&template.load_profile)),
        };
        let content = match content_of(&believed.plain, meaning) {
            Ok(content) => content,
            Err(fault) => {
                self.pushes.count_unreadable();
                return self.note_error(meter, Layer::Object, fault.to_string(), now);
            }
        };
        self.pushes.count_accepted();
        let confirm = content.confirm.map(|invoke_id| Confirm {
            link,
            client: destination,
            meter: source,
            under: believed.under,
            invoke_id,
        });
        let PushContent {
            readings,
            events,
            read_because,
            now: told,
            ..
        } = content;
        if let Some(why) = read_because {
            tracing::debug!(%meter, %why, "a push makes the meter be read");
            self.read_soon(meter, now.utc, now);
        }
        let readings = self.plausible(meter, template.capture_period, readings, now);
        let newest = readings.last().map(|reading| reading.end);
        // The answer waits for what is written last.
        let (for_events, for_readings) = match newest {
            None => (confirm, None),
            Some(_) => (None, confirm),
        };
        self.note_events(meter, events, for_events, now);
        let Some(newest) = newest else { return };
        self.pushes.count_readings(readings.len());
        let series = Series {
            meter,
            period: template.capture_period,
        };
        let purpose = Purpose::Pushed {
            series,
            span: (last_run(&readings, series.period), newest),
            confirm: for_readings,
        };
        self.deliver_pushed(purpose, readings, believed.counter, told, now);
    }

    /// Intervals of the registered period that are over.
    fn plausible(
        &mut self,
        meter: MeterId,
        period: Period,
        mut readings: Vec<IntervalReading>,
        now: Now,
    ) -> Vec<IntervalReading> {
        let latest = now.utc + AHEAD_MAX;
        let odd = readings
            .iter()
            .find(|reading| reading.period != period || reading.end > latest);
        if let Some(odd) = odd {
            let words = format!(
                "it pushes an interval of {} s that ends at {}; the template says {} s, and it \
                 is {}: correct the template or its clock",
                odd.period.as_secs(),
                odd.end,
                period.as_secs(),
                now.utc
            );
            self.note_error(meter, Layer::Object, words, now);
        }
        readings.retain(|reading| reading.period == period && reading.end <= latest);
        readings.sort_by_key(|reading| reading.end);
        readings
    }

    /// Each event is an alarm if it is raised, and a record of the audit log in any case; the
    /// answer leaves when that is durable.
    fn note_events(
        &mut self,
        meter: MeterId,
        events: Vec<PushedEvent>,
        confirm: Option<Confirm>,
        now: Now,
    ) {
        let mut changes = Vec::new();
        for event in events {
            if !self.pushes.count_event(meter, now.utc) {
                continue;
            }
            let when = event.at.map_or_else(String::new, |at| format!(" at {at}"));
            let words = format!("{} says {}{when}", event.object, event.value);
            let record = AuditRecord {
                at: now.utc,
                actor: self.config.name.clone(),
                action: Action::Event,
                target: Target::Meter(meter),
                before: String::new(),
                after: words.clone(),
                outcome: AuditOutcome::Done,
            };
            changes.push(record.to_change());
            if event.is_raised {
                self.alarm(Some(meter), words, now);
            }
        }
        if changes.is_empty() {
            self.pushes_confirmed(confirm);
        } else {
            self.save(Batch::new(changes), Saved::Pushed(confirm));
        }
    }

    /// Remembers by which address an unciphered meter is known, or forgets it.
    pub(super) fn place_unciphered(&mut self, meter: MeterId) {
        let row = self.registry.meter(meter);
        let place = row.and_then(|row| {
            let template = self.templates.get(&row.template)?;
            let is_served = matches!(row.state, DeviceState::Enrolled | DeviceState::Commissioned);
            let (host, _) = row.link.address.rsplit_once(':')?;
            let address = host.parse::<IpAddr>().ok()?;
            (is_served && template.ciphering == CipheringForm::None)
                .then_some((address, row.link.server))
        });
        self.pushes.place_unciphered(meter, place);
    }

    /// What was refused lately, oldest first.
    pub fn refused_pushes(&self) -> impl Iterator<Item = &RefusedPush> {
        self.pushes.refused()
    }
}

/// The start of the last intervals that follow each other without a gap.
fn last_run(readings: &[IntervalReading], period: Period) -> UtcTime {
    let mut run: Option<(UtcTime, UtcTime)> = None;
    for reading in readings {
        let begin = reading.end - period.duration();
        let start = match run {
            Some((start, end)) if end == begin => start,
            Some(_) | None => begin,
        };
        run = Some((start, reading.end));
    }
    run.map_or(UtcTime::from_secs(0), |(start, _)| start)
}
