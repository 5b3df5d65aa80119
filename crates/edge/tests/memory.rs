//! What an edge knows after its power failed, with thousands of meters and with two.

use std::collections::BTreeMap;
use std::time::Duration;

use gridloom_core::{
    Instant, IntervalValues, MeterId, MillivarHours, MillivoltAmpereHours, Millivolts,
    MilliwattHours, Now, Period, ReadingStatus, SystemTitle, UtcTime, Watts,
};
use gridloom_dlms::alert::AlertPush;
use gridloom_dlms::apdu::{
    AttributeDescriptor, DataNotificationConfirm, EventNotification, LongInvokeId,
};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::push::{BillingStatus, IntervalPush};
use gridloom_dlms::security::{CipherContext, CipheredApdu, Keys, Policy, Protection};
use gridloom_edge::{
    AlarmBody, AlarmNumber, Edge, EdgeConfig, EdgeMemory, Effect, GatewayId, HashKey, Incident,
    IncidentKind, MeterAlarm, Path, Reason, Registration, Registry, Score, Screening,
    ScreeningConfig, Site, Subject, TrustPage, Verdict,
};

const PERIOD: Period = Period::QUARTER_HOUR;

fn end(slot: u32) -> UtcTime {
    UtcTime::from_secs(1_359_676_800) + PERIOD.duration() * slot
}

fn home(meter: u32) -> Path {
    Path {
        gateway: 1,
        down: meter.into(),
    }
}

const ELSEWHERE: Path = Path {
    gateway: 2,
    down: 5,
};

fn title(meter: u32) -> SystemTitle {
    SystemTitle::new(*b"GLM", meter.into())
}

fn keys(meter: u32) -> Keys {
    let mut key = [0x5A; 16];
    key[..4].copy_from_slice(&meter.to_be_bytes());
    Keys::new(key, [0xA5; 16])
}

fn seal(meter: u32, counter: u32, plain: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let protection = Protection::full(title(meter), counter);
    CipherContext::new(&keys(meter)).protect(protection, plain, &mut frame);
    frame
}

fn reading(slot: u32, register_wh: i64) -> Vec<u8> {
    let push = IntervalPush {
        period: PERIOD,
        end: end(slot),
        status: ReadingStatus::GOOD,
        values: IntervalValues {
            import: MilliwattHours::new(300_000),
            export: MilliwattHours::ZERO,
            reactive: [40_000, 0, 0, 0].map(MillivarHours::new),
            apparent: MillivoltAmpereHours::new(310_000),
            voltage: Millivolts::new(231_000),
        },
        import_register: MilliwattHours::new(register_wh * 1_000),
        power: Watts::new(1_200),
        billing: BillingStatus::default(),
    };
    let mut plain = Vec::new();
    push.encode_notification(&mut plain).expect("whole units");
    plain
}

/// The truth about an interval.
fn truth(slot: u32) -> Vec<u8> {
    reading(slot, 5_000 + 300 * i64::from(slot))
}

fn last_gasp(number: u32, time: UtcTime) -> Vec<u8> {
    let mut plain = Vec::new();
    AlertPush {
        device_name: b"GLM0000000000001".to_vec(),
        time,
        descriptors: [0, 1],
        status_word: gridloom_dlms::companion::StatusBit::LastGasp.mask(),
    }
    .encode_notification(number, &mut plain)
    .expect("a short name");
    plain
}

struct Station {
    edge: Edge,
    now: Now,
    cells: BTreeMap<&'static str, Vec<u8>>,
    writing: Vec<(u64, &'static str, Vec<u8>)>,
    accepted: usize,
    alarms: Vec<MeterAlarm>,
    down: Vec<(Path, Vec<u8>)>,
    alerts: Vec<Incident>,
}

impl Station {
    fn new(meters: u32) -> Self {
        Self::start(meters, BTreeMap::new())
    }

    fn start(meters: u32, cells: BTreeMap<&'static str, Vec<u8>>) -> Self {
        let memory = EdgeMemory::read(|name| cells.get(name).map(Vec::as_slice))
            .expect("cells the edge wrote");
        let config = EdgeConfig {
            title: SystemTitle(*b"GLE\0\0\0\0\x01"),
            price_scale: -4,
            screening: ScreeningConfig::default(),
            hash_key: HashKey::new([3, 4]),
        };
        let registrations = (1..=meters).map(|meter| Registration {
            meter: MeterId(meter),
            title: title(meter),
            keys: keys(meter),
            period: PERIOD,
            site: Site::default(),
        });
        let registry = Registry::new(registrations).expect("each meter once");
        let mut station = Self {
            edge: Edge::new(config, registry, &memory),
            now: Now {
                instant: Instant::ZERO,
                utc: end(50),
            },
            cells,
            writing: Vec::new(),
            accepted: 0,
            alarms: Vec::new(),
            down: Vec::new(),
            alerts: Vec::new(),
        };
        station.drain();
        station.write();
        station
    }

    /// Power fails: what was not durable is gone.
    fn restart(self, meters: u32) -> Self {
        Self::start(meters, self.cells)
    }

    fn drain(&mut self) {
        while let Some(effect) = self.edge.poll_output() {
            match effect {
                Effect::Down { path, frame } => self.down.push((path, frame)),
                Effect::Accept(_) => self.accepted += 1,
                Effect::Alarm(alarm) => self.alarms.push(*alarm),
                Effect::Remember {
                    ticket,
                    cell,
                    bytes,
                } => self.writing.push((ticket, cell, bytes)),
                Effect::Alert(incident) => self.alerts.push(*incident),
                Effect::Audit(_) => {}
            }
        }
    }

    fn write(&mut self) {
        for (ticket, cell, bytes) in std::mem::take(&mut self.writing) {
            self.cells.insert(cell, bytes);
            self.edge.handle_remembered(ticket, true, self.now);
            self.drain();
        }
    }

    /// The disk breaks.
    fn lose(&mut self) {
        for (ticket, _, _) in std::mem::take(&mut self.writing) {
            self.edge.handle_remembered(ticket, false, self.now);
            self.drain();
        }
    }

    fn packet(&mut self, path: Path, frame: &[u8]) -> Screening {
        let screening = self.edge.handle_packet(path, frame, self.now);
        self.drain();
        screening
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now.instant + time;
        while let Some((at, _)) = self.edge.wake().instant.filter(|(at, _)| *at <= until) {
            self.now.instant = self.now.instant.max(at);
            self.edge.handle_timeout(self.now);
            self.drain();
        }
        self.now.instant = until;
        self.now.utc = self.now.utc + time;
    }

    fn confirmed(&mut self, meter: u32) -> Vec<LongInvokeId> {
        let context = CipherContext::new(&keys(meter));
        let mut ids = Vec::new();
        for (_, frame) in std::mem::take(&mut self.down) {
            let mut plain = Vec::new();
            let packet = CipheredApdu::decode(&frame).expect("a ciphered APDU");
            let plain = context
                .open(&packet, Policy::AuthenticatedEncryption, &mut plain)
                .expect("the meter's keys");
            ids.push(
                DataNotificationConfirm::decode(plain)
                    .expect("one")
                    .invoke_id,
            );
        }
        ids
    }
}

#[test]
fn one_write_makes_the_counters_of_many_parts_durable() {
    // One meter of each of 60 parts, twice as many as one turn writes.
    let meters = 60 * 1_024;
    let mut station = Station::new(meters);
    let heard: Vec<u32> = (0..60).map(|part| part * 1_024 + 1).collect();
    for meter in &heard {
        let frame = seal(*meter, 9, &truth(1));
        assert_eq!(
            station.packet(home(*meter), &frame).verdict,
            Verdict::Forward
        );
    }
    station.pass(Edge::REMEMBER_EVERY);
    let cells: Vec<_> = station.writing.iter().map(|(_, cell, _)| *cell).collect();
    assert_eq!(cells[0], "recent-counters-0000");
    let parts = cells.iter().filter(|it| it.starts_with("receive-counters"));
    assert_eq!(parts.count(), 32, "{cells:?}");
    station.write();
    let mut station = station.restart(meters);
    for meter in &heard {
        let frame = seal(*meter, 9, &truth(1));
        let reason = station.packet(home(*meter), &frame).drop_reason();
        assert_eq!(reason, Some(Reason::Replayed), "{meter}");
    }
}

#[test]
fn a_disk_that_breaks_for_a_while_costs_no_counter() {
    let meters = 60 * 1_024;
    let mut station = Station::new(meters);
    let heard: Vec<u32> = (0..60).map(|part| part * 1_024 + 1).collect();
    for counter in 1..4 {
        for meter in &heard {
            let frame = seal(*meter, counter, &truth(counter));
            station.packet(home(*meter), &frame);
        }
        station.pass(Edge::REMEMBER_EVERY);
        if counter < 3 {
            station.lose();
        } else {
            station.write();
        }
    }
    while !station.writing.is_empty() || station.edge.wake().instant.is_some() {
        station.pass(Edge::REMEMBER_EVERY);
        if station.writing.is_empty() {
            break;
        }
        station.write();
    }
    let mut station = station.restart(meters);
    for meter in &heard {
        let frame = seal(*meter, 3, &truth(3));
        let reason = station.packet(home(*meter), &frame).drop_reason();
        assert_eq!(reason, Some(Reason::Replayed), "{meter}");
    }
}

#[test]
fn homes_trust_and_revocations_survive() {
    let mut station = Station::new(3);
    station.edge.handle_gateway_up(1, "north", Instant::ZERO);
    station.edge.handle_gateway_up(2, "south", Instant::ZERO);
    station.packet(home(1), &seal(1, 1, &truth(1)));
    station.packet(ELSEWHERE, &seal(2, 1, &truth(1)));
    // It lies, and its trust falls.
    let lied = station.packet(ELSEWHERE, &seal(2, 2, &reading(2, 1)));
    assert_eq!(lied.verdict, Verdict::Quarantine);
    let now = station.now.instant;
    station.edge.revoke(MeterId(3), true, now);
    station.pass(Edge::REMEMBER_EVERY);
    station.write();
    let trust = station.edge.trust_of(MeterId(2)).unwrap();
    assert!(trust.b < Score::FULL);

    // Before the snapshot: the revocation, the gateways, and what shares the part with it.
    let mut early = Station::start(3, station.cells.clone());
    let dropped = early.packet(home(3), &seal(3, 1, &truth(1)));
    assert_eq!(dropped.drop_reason(), Some(Reason::Revoked));

    station.packet(home(1), &seal(1, 2, &truth(2)));
    station.pass(Edge::SNAPSHOT_EVERY);
    station.pass(Edge::REMEMBER_EVERY);
    station.write();
    let (edge, gateways): (_, Vec<_>) = (
        station.edge.status().trust,
        station.edge.gateways().map(|it| it.trust).collect(),
    );
    assert!(edge.b < Score::FULL && gateways[1].b < Score::FULL);

    let mut station = station.restart(3);
    assert_eq!(station.edge.trust_of(MeterId(2)), Some(trust));
    assert_eq!(station.edge.status().trust, edge);
    // The links come up in another order, under other numbers.
    station.edge.handle_gateway_up(7, "south", Instant::ZERO);
    station.edge.handle_gateway_up(8, "north", Instant::ZERO);
    assert_eq!(station.edge.gateways().next().unwrap().trust, gateways[1]);
    let by = |gateway| Path { gateway, down: 1 };
    let neighbour = station.packet(by(7), &seal(1, 3, &truth(3)));
    assert_eq!(neighbour.verdict, Verdict::Forward);
    assert_eq!(neighbour.scores.i, Score::HALF, "its home is north");
    assert!(neighbour.reasons.contains(Reason::NeighbourPath));
    let at_home = station.packet(by(8), &seal(1, 4, &truth(4)));
    assert_eq!(at_home.scores.i, Score::FULL);

    let worst = station.edge.least_trusted(TrustPage { skip: 0, count: 1 });
    assert_eq!(worst[0].meter, MeterId(2));
    let page = station.edge.status_page(TrustPage { skip: 1, count: 9 });
    assert_eq!(page.devices.len(), 2);
    assert!(
        page.devices
            .iter()
            .any(|it| it.meter == MeterId(3) && it.is_revoked)
    );
    assert_eq!(page.gateways[0].name.as_deref(), Some("south"));
    assert_eq!(
        station.edge.least_trusted(TrustPage { skip: 3, count: 1 }),
        []
    );

    // The registry is told that one of the numbers is another gateway's: who is at home where
    // stays.
    let north = station.edge.home_of(MeterId(1)).unwrap();
    let names = BTreeMap::from([("west".to_owned(), north)]);
    station.edge.name_gateways(names);
    let renumbered = station.edge.home_of(MeterId(1)).unwrap();
    assert_ne!(renumbered, north);
    let at_home = station.packet(by(8), &seal(1, 5, &truth(5)));
    assert_eq!(at_home.scores.i, Score::FULL);
    assert_ne!(station.edge.home_of(MeterId(2)), Some(GatewayId(u16::MAX)));
}

#[test]
fn an_alarm_goes_up_before_anything_and_is_confirmed_when_it_is_durable() {
    let mut station = Station::new(2);
    let time = end(50);
    let gasp = |counter| seal(1, counter, &last_gasp(1, time));
    assert_eq!(station.packet(home(1), &gasp(1)).verdict, Verdict::Forward);
    assert_eq!(station.alarms.len(), 1);
    let alarm = station.alarms[0].clone();
    let id = AlertPush::invoke_id(1);
    assert_eq!((alarm.title, alarm.key.meter), (title(1), MeterId(1)));
    assert_eq!(
        (alarm.key.number, alarm.key.time),
        (AlarmNumber::Alert(id), time)
    );
    assert!(matches!(alarm.body(), Some(body @ AlarmBody::Alert(_)) if body.is_last_gasp()));
    // The meter repeats it, under other counters: one alarm.
    station.packet(home(1), &gasp(2));
    assert_eq!((station.alarms.len(), station.confirmed(1)), (1, vec![]));
    // Nobody has it durable: it goes up again, and when the utility is back at once.
    station.pass(Duration::from_secs(30));
    assert_eq!(station.alarms.len(), 2);
    station.edge.hand_up_alarms();
    station.drain();
    assert_eq!(station.alarms, vec![alarm.clone(); 3]);
    station.edge.handle_alarm_stored(alarm.key);
    station.drain();
    assert_eq!(station.confirmed(1), [id]);
    // The confirmation was lost.
    station.packet(home(1), &gasp(3));
    assert_eq!((station.alarms.len(), station.confirmed(1)), (3, vec![id]));
    // A replay is none.
    let reason = station.packet(home(1), &gasp(3)).drop_reason();
    assert_eq!(reason, Some(Reason::Replayed));
    let counters = station.edge.status().alarms;
    assert_eq!(
        (counters.received, counters.stored, counters.waiting),
        (1, 1, 0)
    );
}

#[test]
fn what_alarms_are_and_what_they_are_not() {
    let event = |value| {
        let mut plain = Vec::new();
        EventNotification {
            time: None,
            attribute: AttributeDescriptor {
                class_id: 1,
                instance: gridloom_core::ObisCode([0, 0, 96, 11, 0, 255]),
                attribute: 2,
            },
            value,
        }
        .encode(&mut plain);
        plain
    };
    let far = end(50) + Duration::from_secs(86_400);
    let cases: [(&str, Vec<u8>, Option<Reason>, bool); 4] = [
        ("an event", event(Data::LongUnsigned(101)), None, false),
        (
            "too long an event",
            event(Data::OctetString(vec![7; MeterAlarm::APDU_MAX])),
            Some(Reason::Malformed),
            false,
        ),
        (
            "an alert of a clock that is wrong",
            last_gasp(2, far),
            None,
            true,
        ),
        (
            "half an alert",
            last_gasp(3, end(50))[..40].to_vec(),
            Some(Reason::Malformed),
            false,
        ),
    ];
    for (name, plain, reason, is_ahead) in cases {
        let mut station = Station::new(1);
        let screening = station.packet(home(1), &seal(1, 7, &plain));
        assert_eq!(screening.drop_reason(), reason, "{name}");
        assert_eq!(
            screening.reasons.contains(Reason::ClockAhead),
            is_ahead,
            "{name}"
        );
        assert_eq!(
            station.alarms.len(),
            usize::from(reason.is_none()),
            "{name}"
        );
        for alarm in &station.alarms {
            assert_eq!(alarm.apdu, plain, "{name}: as the meter wrote it");
            assert_eq!(alarm.scores.i, Score::FULL);
        }
        if name == "an event" {
            assert_eq!(station.alarms[0].key.number, AlarmNumber::Event(7));
            station.edge.handle_alarm_stored(station.alarms[0].key);
            station.drain();
            assert_eq!(station.confirmed(1), [], "nobody confirms an event");
        }
    }
}

/// A meter, and a clone with its keys that counts by itself.
fn with_a_clone() -> Station {
    let mut station = Station::new(1);
    for slot in 50..=52 {
        station.packet(home(1), &seal(1, 51 + slot, &truth(slot)));
        station.pass(PERIOD.duration());
    }
    // The clone's counter is far ahead: it is believed once, and the meter is not any more.
    let injected = station.packet(ELSEWHERE, &seal(1, 90_000, &truth(53)));
    assert_eq!(injected.verdict, Verdict::Forward, "nothing tells yet");
    station.pass(PERIOD.duration());
    station
}

fn incidents(station: &Station) -> Vec<(Subject, IncidentKind)> {
    let cloned = station.edge.incidents().map(|it| (it.subject, it.kind));
    cloned
        .filter(|(_, kind)| *kind == IncidentKind::Packets(Reason::Cloned))
        .collect()
}

#[test]
fn two_devices_at_once_that_count_by_themselves_are_caught_by_the_first_that_lags() {
    let mut station = with_a_clone();
    let true_meter = station.packet(home(1), &seal(1, 104, &truth(54)));
    assert_eq!(true_meter.drop_reason(), Some(Reason::Replayed));
    assert!(
        true_meter.reasons.contains(Reason::Cloned),
        "{true_meter:?}"
    );
    let cloned = (
        Subject::Device(title(1)),
        IncidentKind::Packets(Reason::Cloned),
    );
    assert_eq!(incidents(&station), [cloned]);
    // From now on nobody knows who is who: what is believed is held.
    let later = station.packet(ELSEWHERE, &seal(1, 90_001, &truth(54)));
    assert_eq!(later.verdict, Verdict::Quarantine);
    assert_eq!(later.scores.i, Score::HALF);
}

#[test]
fn a_replay_from_another_path_and_a_forgery_make_nobody_look_cloned() {
    let frames: Vec<_> = (50..=53)
        .map(|slot| seal(1, 51 + slot, &truth(slot)))
        .collect();
    let mut station = Station::new(1);
    for frame in &frames {
        station.packet(home(1), frame);
        station.pass(PERIOD.duration());
    }
    let mut forged = seal(1, 50, &truth(54));
    *forged.last_mut().unwrap() ^= 1;
    let other_way = [frames.clone(), vec![forged]].concat();
    for frame in &other_way {
        let replayed = station.packet(ELSEWHERE, frame);
        assert_eq!(replayed.drop_reason(), Some(Reason::Replayed));
        assert!(!replayed.reasons.contains(Reason::Cloned));
    }
    // The meter roams and returns: half known there, and forwarded. It had sent its newest interval
    // by the old path before, and sends an older one first by the new.
    let newest = seal(1, 105, &truth(54));
    let roams = station.packet(ELSEWHERE, &seal(1, 106, &truth(53)));
    assert_eq!(roams.verdict, Verdict::Forward);
    station.pass(PERIOD.duration());
    for frame in frames.iter().chain([&newest]) {
        let late = station.packet(home(1), frame);
        assert!(
            !late.reasons.contains(Reason::Cloned),
            "late from the old path"
        );
    }
    let back = station.packet(home(1), &seal(1, 107, &truth(55)));
    assert_eq!(back.verdict, Verdict::Forward);
    assert_eq!(incidents(&station), []);

    // After a restart nothing was said yet that a packet could contradict.
    station.pass(Edge::REMEMBER_EVERY);
    station.write();
    let mut station = station.restart(1);
    for frame in &frames {
        let replayed = station.packet(ELSEWHERE, frame);
        assert_eq!(replayed.drop_reason(), Some(Reason::Replayed));
        assert!(!replayed.reasons.contains(Reason::Cloned));
    }
}
