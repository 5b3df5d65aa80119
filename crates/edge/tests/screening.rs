//! The edge under attack, between meters that tell the truth, meters that lie, strangers, an
//! analyst and a disk.

use std::collections::BTreeMap;
use std::time::Duration;

use gridloom_core::{
    Instant, IntervalValues, MeterId, MillivarHours, MillivoltAmpereHours, Millivolts,
    MilliwattHours, Now, Period, ReadingStatus, SystemTitle, UtcTime, Watts,
};
use gridloom_dlms::apdu::{DataNotificationConfirm, LongInvokeId};
use gridloom_dlms::push::{BillingStatus, IntervalPush};
use gridloom_dlms::security::{CipherContext, CipheredApdu, Keys, Policy, Protection};
use gridloom_edge::{
    AcceptedReading, AuditRecord, ClosedLine, Decision, Edge, EdgeConfig, EdgeMemory, Effect,
    Evidence, Features, GatewayId, HashKey, HeldState, Imbalance, ImbalanceKind, Incident,
    IncidentKind, LineFault, MeterAlarm, Model, PacketId, Path, Placement, Quarantine,
    QuarantineError, Reason, Registration, Registry, Score, Screening, ScreeningConfig,
    ScreeningSettings, Site, Subject, TransformerId, Verdict,
};

const PERIOD: Period = Period::QUARTER_HOUR;
const ENERGY_WH: i64 = 300;

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

fn registration(meter: u32) -> Registration {
    Registration {
        meter: MeterId(meter),
        title: title(meter),
        keys: keys(meter),
        period: PERIOD,
        site: Site::default(),
    }
}

/// The truth about an interval.
fn truth(slot: u32) -> IntervalPush {
    IntervalPush {
        period: PERIOD,
        end: end(slot),
        status: ReadingStatus::GOOD,
        values: IntervalValues {
            import: MilliwattHours::new(ENERGY_WH * 1_000),
            export: MilliwattHours::ZERO,
            reactive: [40_000, 0, 0, 0].map(MillivarHours::new),
            apparent: MillivoltAmpereHours::new(310_000),
            voltage: Millivolts::new(231_000),
        },
        import_register: MilliwattHours::new((5_000 + ENERGY_WH * i64::from(slot)) * 1_000),
        power: Watts::new(1_200),
        billing: BillingStatus::default(),
    }
}

/// A reading whose register runs backwards.
fn rollback(slot: u32) -> IntervalPush {
    let mut push = truth(slot);
    push.import_register = MilliwattHours::new(1_000_000);
    push
}

struct Meter {
    number: u32,
    counter: u32,
}

impl Meter {
    fn new(number: u32) -> Self {
        Self { number, counter: 0 }
    }

    fn push(&mut self, push: &IntervalPush) -> Vec<u8> {
        self.counter += 1;
        let (mut plain, mut frame) = (Vec::new(), Vec::new());
        push.encode_notification(&mut plain).expect("whole units");
        let protection = Protection::full(title(self.number), self.counter);
        CipherContext::new(&keys(self.number)).protect(protection, &plain, &mut frame);
        frame
    }
}

/// A frame under a title whose keys the forger does not have.
fn forged(victim: u32, counter: u32) -> Vec<u8> {
    let mut frame = Meter {
        number: 4_000_000,
        counter,
    }
    .push(&truth(1));
    frame[2..10].copy_from_slice(&title(victim).0);
    frame
}

struct Station {
    edge: Edge,
    now: Now,
    cells: BTreeMap<&'static str, Vec<u8>>,
    writing: Vec<(u64, &'static str, Vec<u8>)>,
    accepted: Vec<AcceptedReading>,
    alarms: Vec<MeterAlarm>,
    down: Vec<(Path, Vec<u8>)>,
    alerts: Vec<Incident>,
    audit: Vec<AuditRecord>,
}

impl Station {
    fn new(meters: u32) -> Self {
        Self::of((1..=meters).map(registration))
    }

    fn of(meters: impl IntoIterator<Item = Registration>) -> Self {
        let mut station = Self::start(meters, BTreeMap::new());
        station.write(true);
        station
    }

    fn start(
        meters: impl IntoIterator<Item = Registration>,
        cells: BTreeMap<&'static str, Vec<u8>>,
    ) -> Self {
        let memory = EdgeMemory::read(|name| cells.get(name).map(Vec::as_slice))
            .expect("cells the edge wrote");
        let config = EdgeConfig {
            title: SystemTitle(*b"GLE\0\0\0\0\x01"),
            price_scale: -4,
            screening: ScreeningConfig::default(),
            hash_key: HashKey::new([3, 4]),
        };
        let mut station = Self {
            edge: Edge::new(
                config,
                Registry::new(meters).expect("each meter once"),
                &memory,
            ),
            now: Now {
                instant: Instant::ZERO,
                utc: end(50),
            },
            cells,
            writing: Vec::new(),
            accepted: Vec::new(),
            alarms: Vec::new(),
            down: Vec::new(),
            alerts: Vec::new(),
            audit: Vec::new(),
        };
        station.drain();
        station
    }

    /// Power fails: what was not durable is gone.
    fn restart(self, meters: u32) -> Self {
        Self::start((1..=meters).map(registration), self.cells)
    }

    fn drain(&mut self) {
        while let Some(effect) = self.edge.poll_output() {
            match effect {
                Effect::Down { path, frame } => self.down.push((path, frame)),
                Effect::Accept(reading) => self.accepted.push(reading.accepted),
                Effect::Alarm(alarm) => self.alarms.push(*alarm),
                Effect::Remember {
                    ticket,
                    cell,
                    bytes,
                } => self.writing.push((ticket, cell, bytes)),
                Effect::Alert(incident) => self.alerts.push(*incident),
                Effect::Audit(record) => self.audit.push(*record),
            }
        }
    }

    fn write(&mut self, stored: bool) {
        for (ticket, cell, bytes) in std::mem::take(&mut self.writing) {
            if stored {
                self.cells.insert(cell, bytes);
            }
            self.edge.handle_remembered(ticket, stored, self.now);
            self.drain();
        }
    }

    fn packet(&mut self, path: Path, frame: &[u8]) -> Screening {
        let screening = self.edge.handle_packet(path, frame, self.now);
        self.drain();
        screening
    }

    /// Time passes on both clocks.
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

    /// Lets everything that changed become durable.
    fn settle(&mut self) {
        while !self.writing.is_empty() || self.edge.wake().instant.is_some() {
            self.pass(Edge::REMEMBER_EVERY);
            if self.writing.is_empty() {
                return;
            }
            self.write(true);
        }
    }

    fn stored(&mut self, meter: u32, slot: u32) {
        let now = self.now.instant;
        self.edge
            .handle_stored(MeterId(meter), PERIOD, end(slot), now);
        self.drain();
    }

    /// Which intervals the meter was told to forget, and by which way.
    fn confirmed(&mut self, meter: u32) -> Vec<(Path, LongInvokeId)> {
        let context = CipherContext::new(&keys(meter));
        std::mem::take(&mut self.down)
            .iter()
            .map(|(path, frame)| {
                let mut plain = Vec::new();
                let packet = CipheredApdu::decode(frame).expect("a ciphered APDU");
                let policy = Policy::AuthenticatedEncryption;
                let plain = context
                    .open(&packet, policy, &mut plain)
                    .expect("the meter's keys");
                let confirm = DataNotificationConfirm::decode(plain).expect("a confirmation");
                (*path, confirm.invoke_id)
            })
            .collect()
    }

    fn held(&self) -> Vec<(u64, &'static str)> {
        let packets = self.edge.quarantine().packets();
        packets.map(|it| (it.id.0, it.state.word())).collect()
    }
}

#[test]
fn every_false_energy_under_a_true_register_is_held_and_the_truth_after_it_is_not() {
    let (mut station, mut meter) = (Station::new(1), Meter::new(1));
    let lie = |slot| {
        let mut push = truth(slot);
        push.values.import = MilliwattHours::new(push.values.import.get() / 2 / 1_000 * 1_000);
        push
    };
    // Intervals in the order in which they come, and whether they are lies.
    let pushes = [
        (1, false),
        (2, true),
        (3, true),
        (3, true), // Its confirmation was lost.
        (4, true),
        (3, true),
        (5, false),
        (6, true),
        (8, false), // Across a gap nobody can tell.
        (9, false),
    ];
    for (slot, is_lie) in pushes {
        let push = if is_lie { lie(slot) } else { truth(slot) };
        let frame = meter.push(&push);
        let screening = station.packet(home(1), &frame);
        let reasons = screening.reasons;
        assert_eq!(reasons.contains(Reason::RegisterMismatch), is_lie, "{slot}");
        assert_eq!(screening.verdict == Verdict::Quarantine, is_lie, "{slot}");
    }
    // What cannot be true as a register is no measure for the next one.
    let frame = meter.push(&rollback(10));
    let screening = station.packet(home(1), &frame);
    assert!(screening.reasons.contains(Reason::RegisterBackwards));
    let frame = meter.push(&truth(11));
    assert_eq!(station.packet(home(1), &frame).verdict, Verdict::Forward);
}

#[test]
fn what_is_no_frame_is_named_by_its_path_and_spends_its_budget() {
    let mut station = Station::new(1);
    let path = home(7);
    for _ in 0..1_000 {
        let screening = station.edge.handle_unframed(path, b"noise", station.now);
        assert_eq!(screening.verdict, Verdict::Drop);
    }
    let reasons = station.edge.status().reasons;
    let burst = ScreeningSettings::default().path_burst;
    assert_eq!(reasons.get(Reason::Malformed), burst.into());
    assert_eq!(reasons.get(Reason::PathFlooded), 1_000 - u64::from(burst));
    let incidents: Vec<_> = station.edge.incidents().cloned().collect();
    assert_eq!(incidents.len(), 1);
    let kind = IncidentKind::Packets(Reason::Malformed);
    let expected = (Subject::Path(path), kind, u64::from(burst));
    let found = &incidents[0];
    assert_eq!((found.subject, found.kind, found.count), expected);
    let frame = Meter::new(1).push(&truth(1));
    assert_eq!(station.packet(home(1), &frame).verdict, Verdict::Forward);
}

/// A meter said the truth about interval 1, and then that its register ran backwards.
fn with_a_liar() -> (Station, Meter) {
    let (mut station, mut meter) = (Station::new(2), Meter::new(1));
    let frame = meter.push(&truth(1));
    assert_eq!(station.packet(home(1), &frame).verdict, Verdict::Forward);
    station.stored(1, 1);
    station.confirmed(1);
    let frame = meter.push(&rollback(2));
    let screening = station.packet(home(1), &frame);
    assert_eq!(screening.verdict, Verdict::Quarantine);
    assert!(screening.reasons.contains(Reason::RegisterBackwards));
    assert_eq!(screening.scores.b, Score::NONE);
    assert_eq!(
        screening.scores.p.get(),
        8_000,
        "the threshold alone would forward it"
    );
    (station, meter)
}

#[test]
fn a_held_reading_is_confirmed_once_it_is_durable_and_released_once_that_is() {
    let (mut station, mut meter) = with_a_liar();
    assert_eq!(station.accepted.len(), 1, "it does not reach the utility");
    assert_eq!(
        station.confirmed(1),
        [],
        "nor is it confirmed before it is durable"
    );
    station.pass(Edge::REMEMBER_EVERY);
    station.write(false);
    assert_eq!(station.confirmed(1), [], "a write that failed");
    station.settle();
    let id = LongInvokeId::of_interval(PERIOD, end(2));
    assert_eq!(station.confirmed(1), [(home(1), id)]);

    // The confirmation was lost: the meter sends it again, and one is held.
    let again = meter.push(&rollback(2));
    station.packet(home(1), &again);
    assert_eq!(station.held(), [(1, "open")]);
    assert_eq!(station.confirmed(1), [(home(1), id)]);

    let mut station = station.restart(2);
    station.write(true);
    assert_eq!(station.held(), [(1, "open")], "it survives");
    let held = station
        .edge
        .quarantine()
        .packet(PacketId(1))
        .unwrap()
        .clone();
    let said = rollback(2);
    assert_eq!(held.said.reading, said.reading(MeterId(1)));
    assert_eq!((held.said.title, held.path), (title(1), home(1)));
    assert!(held.reasons.contains(Reason::RegisterBackwards));
    let incidents: Vec<_> = station
        .edge
        .incidents()
        .map(|it| (it.subject, it.held))
        .collect();
    assert_eq!(incidents, [(Subject::Device(title(1)), 1)]);

    station
        .edge
        .release(PacketId(1), "ada", station.now)
        .unwrap();
    station.drain();
    assert_eq!(
        (station.accepted.len(), station.audit.len()),
        (0, 0),
        "not durable"
    );
    station.settle();
    assert_eq!(station.accepted, std::slice::from_ref(&held.said));
    let [line] = &station.audit[..] else {
        panic!("{:?}", station.audit)
    };
    assert_eq!(
        (line.who.as_str(), line.decision),
        ("ada", Decision::Release)
    );
    assert_eq!(
        (line.packet, line.meter, line.end),
        (PacketId(1), MeterId(1), end(2))
    );

    // Until the utility has it, it is handed up again, after a crash too.
    station.pass(Edge::RELEASE_AGAIN_AFTER);
    assert_eq!(station.accepted.len(), 2);
    let mut station = station.restart(2);
    station.write(true);
    station.settle();
    assert_eq!(station.accepted, [held.said]);
    station.stored(1, 2);
    assert_eq!(station.held(), []);
    station.settle();
    let mut station = station.restart(2);
    assert_eq!(station.held(), [], "done for good");
    station.write(true);
    station.settle();
    assert_eq!(station.accepted, []);
}

#[test]
fn what_comes_while_a_page_is_written_waits_for_the_next_write() {
    let (mut station, mut meter) = with_a_liar();
    let id = |slot| LongInvokeId::of_interval(PERIOD, end(slot));
    station.pass(Edge::REMEMBER_EVERY);
    let frame = meter.push(&rollback(3));
    station.packet(home(1), &frame);
    station.write(true);
    assert_eq!(station.confirmed(1), [(home(1), id(2))], "not the third");
    station.settle();
    assert_eq!(station.confirmed(1), [(home(1), id(3))]);
    // The utility's word on another version of the interval does not empty the quarantine.
    station.stored(1, 2);
    assert_eq!(station.held(), [(1, "open"), (2, "open")]);
}

#[test]
fn a_rejected_reading_is_gone_with_a_line_in_the_audit_log() {
    let (mut station, _) = with_a_liar();
    station.settle();
    let cases = [
        (PacketId(9), "ada", QuarantineError::Unknown(PacketId(9))),
        (PacketId(1), "", QuarantineError::Who { bytes: 0, most: 64 }),
    ];
    for (id, who, error) in cases {
        assert_eq!(station.edge.reject(id, who, station.now), Err(error));
    }
    station
        .edge
        .reject(PacketId(1), "ada", station.now)
        .unwrap();
    let decided = QuarantineError::Decided {
        id: PacketId(1),
        state: "rejected",
    };
    assert_eq!(
        station.edge.release(PacketId(1), "bob", station.now),
        Err(decided)
    );
    let state = &station.edge.quarantine().packet(PacketId(1)).unwrap().state;
    assert!(matches!(state, HeldState::Rejected { who, .. } if who == "ada"));
    station.settle();
    assert_eq!(station.held(), []);
    assert_eq!(station.audit.len(), 1);
    assert_eq!(station.audit[0].decision, Decision::Reject);
    assert_eq!(station.accepted.len(), 1, "the truth alone");
    let mut station = station.restart(2);
    station.write(true);
    station.settle();
    assert_eq!((station.held(), station.audit.len()), (vec![], 0));

    // Numbers are not given again.
    let mut meter = Meter {
        number: 2,
        counter: 50,
    };
    for push in [truth(1), rollback(2)] {
        let frame = meter.push(&push);
        station.packet(home(2), &frame);
    }
    assert_eq!(station.held(), [(2, "open")]);
}

#[test]
fn the_lies_of_one_device_are_bounded_and_alarm_once() {
    let (mut station, mut meter) = with_a_liar();
    let most = u32::try_from(Quarantine::OF_ONE_DEVICE_MAX).unwrap();
    station.now.utc = end(500);
    for slot in 3..most + 12 {
        let frame = meter.push(&rollback(slot));
        let screening = station.packet(home(1), &frame);
        assert_eq!(screening.verdict, Verdict::Quarantine);
        let full = screening.reasons.contains(Reason::QuarantineFull);
        assert_eq!(full, slot > most + 1, "{slot}");
    }
    station.settle();
    assert_eq!(station.held().len(), Quarantine::OF_ONE_DEVICE_MAX);
    assert_eq!(station.confirmed(1).len(), Quarantine::OF_ONE_DEVICE_MAX);
    let status = station.edge.status();
    assert_eq!(status.quarantine.full_device, 10);
    assert_eq!(status.reasons.get(Reason::QuarantineFull), 10);
    let kinds: Vec<_> = station
        .alerts
        .iter()
        .map(|it| (it.subject, it.kind))
        .collect();
    let backwards = IncidentKind::Packets(Reason::RegisterBackwards);
    let full = IncidentKind::Packets(Reason::QuarantineFull);
    let device = Subject::Device(title(1));
    assert_eq!(
        kinds,
        [
            (device, backwards),
            (device, backwards),
            (Subject::Edge, full)
        ]
    );
    let trust = station.edge.trust_of(MeterId(1)).unwrap();
    assert!(
        trust.b.get() < 10,
        "the device's own trust has fallen: {trust:?}"
    );
    assert_eq!(station.edge.trust_of(MeterId(2)).unwrap().b, Score::FULL);

    // The other meter is not shut out.
    let mut other = Meter::new(2);
    for push in [truth(1), rollback(2)] {
        let frame = other.push(&push);
        station.packet(home(2), &frame);
    }
    assert_eq!(station.held().len(), Quarantine::OF_ONE_DEVICE_MAX + 1);
}

#[test]
fn a_full_page_goes_to_the_next_and_all_of_it_survives() {
    let mut station = Station::new(40);
    station.now.utc = end(500);
    for number in 1..=40 {
        let mut meter = Meter::new(number);
        for push in [truth(1), rollback(2), rollback(3), rollback(4)] {
            let frame = meter.push(&push);
            station.packet(home(number), &frame);
        }
    }
    station.settle();
    let before: Vec<_> = station.edge.quarantine().packets().cloned().collect();
    assert_eq!(before.len(), 120);
    let pages = station
        .cells
        .keys()
        .filter(|it| it.starts_with("quarantine"));
    assert_eq!(pages.count(), 2);
    let station = station.restart(40);
    let after: Vec<_> = station.edge.quarantine().packets().cloned().collect();
    assert_eq!(after, before);
}

#[test]
fn two_devices_under_one_title_are_quarantined_with_both_paths() {
    let (mut station, mut meter) = (Station::new(1), Meter::new(1));
    station.edge.handle_gateway_up(1, "north", Instant::ZERO);
    station.edge.handle_gateway_up(2, "south", Instant::ZERO);
    let mut verdicts = Vec::new();
    // The clone has the keys and the counter: only its path tells.
    for slot in 1..=6 {
        let path = if slot % 2 == 1 { home(1) } else { ELSEWHERE };
        let frame = meter.push(&truth(slot));
        let screening = station.packet(path, &frame);
        let roams = screening.reasons.contains(Reason::NeighbourPath);
        assert_eq!(roams, slot % 2 == 0, "{slot}");
        let identity = if roams { Score::HALF } else { Score::FULL };
        if !screening.reasons.contains(Reason::Cloned) {
            assert_eq!(screening.scores.i, identity, "{slot}");
        }
        verdicts.push(screening.verdict);
        station.pass(Duration::from_secs(60));
    }
    let (forward, held) = (Verdict::Forward, Verdict::Quarantine);
    assert_eq!(verdicts, [forward, forward, forward, held, held, held]);
    let cloned = |it: &&Incident| it.kind == IncidentKind::Packets(Reason::Cloned);
    let incident = station.edge.incidents().find(cloned).unwrap();
    assert_eq!(incident.subject, Subject::Device(title(1)));
    let paths: Vec<_> = incident
        .evidence
        .iter()
        .map(|it| match it {
            Evidence::Packet { path, .. } => *path,
            Evidence::Imbalance(_)
            | Evidence::Line { .. }
            | Evidence::Silence(_)
            | Evidence::Loss(_) => {
                panic!("{it:?}")
            }
        })
        .collect();
    assert_eq!(paths, [ELSEWHERE, home(1), ELSEWHERE]);
    assert_eq!(station.edge.home_of(MeterId(1)), Some(GatewayId(0)));
    // Answers go where the last trusted packet came from.
    assert_eq!(station.edge.path_to(MeterId(1)), Some(home(1)));
}

#[test]
fn forgeries_spend_their_own_path_and_never_the_true_meter() {
    let (mut station, mut meter) = (Station::new(2), Meter::new(1));
    let frame = meter.push(&truth(1));
    station.packet(home(1), &frame);
    let mut reasons = BTreeMap::new();
    for slot in 2..40 {
        // A thousand forgeries for each true packet, by one path and then by very many.
        for count in 0..1_000 {
            let path = Path {
                gateway: 9,
                down: if slot % 2 == 0 { 1 } else { count },
            };
            let screening = station.packet(path, &forged(1, 1_000 + slot));
            assert_eq!(screening.verdict, Verdict::Drop);
            *reasons.entry(screening.drop_reason().unwrap()).or_insert(0) += 1;
        }
        let frame = meter.push(&truth(slot));
        let screening = station.packet(home(1), &frame);
        assert_eq!(screening.verdict, Verdict::Forward, "{screening:?}");
        station.pass(Duration::from_secs(1));
    }
    let checked = reasons[&Reason::BadTag];
    assert!(
        (40..300).contains(&checked),
        "few tags were checked: {reasons:?}"
    );
    assert_eq!(reasons.values().sum::<u32>(), 38_000);
    assert_eq!(station.edge.trust_of(MeterId(1)).unwrap().p, Score::FULL);
    let alerts: Vec<_> = station.alerts.iter().map(|it| it.kind).collect();
    assert!(
        alerts.len() < 80,
        "per path and window, not per packet: {}",
        alerts.len()
    );

    // Whoever sits on the meter's own path is checked more often, and the meter still passes.
    let mut passed = 0;
    for slot in 40..48 {
        for _ in 0..60 {
            station.packet(home(1), &forged(1, 2_000 + slot));
        }
        let frame = meter.push(&truth(slot));
        passed += u32::from(station.packet(home(1), &frame).verdict == Verdict::Forward);
        station.pass(Duration::from_secs(1));
    }
    assert_eq!(passed, 8);
}

#[test]
fn a_flood_of_strangers_is_dropped_early_and_named() {
    let mut station = Station::new(1);
    let flooded = Path {
        gateway: 9,
        down: 9,
    };
    let mut reasons = BTreeMap::new();
    for count in 0..60_000_u32 {
        let screening = station.packet(flooded, &forged(1_000 + count % 100, 5));
        *reasons.entry(screening.drop_reason().unwrap()).or_insert(0) += 1;
    }
    let expected = [(Reason::UnknownTitle, 64), (Reason::PathFlooded, 59_936)];
    assert_eq!(reasons, expected.into());
    assert_eq!(station.edge.strangers().len(), 32);
    let told: Vec<_> = station
        .alerts
        .iter()
        .map(|it| (it.subject, it.kind))
        .collect();
    let unknown = IncidentKind::Packets(Reason::UnknownTitle);
    assert_eq!(
        told,
        [
            (Subject::Gateway(9), unknown),
            (Subject::Edge, IncidentKind::Shift)
        ]
    );
    // By another path of the same gateway an honest meter is heard.
    let neighbour = Path {
        gateway: 9,
        down: 10,
    };
    let frame = Meter::new(1).push(&truth(1));
    assert_eq!(station.packet(neighbour, &frame).verdict, Verdict::Forward);
}

#[test]
fn an_insider_who_floods_is_held_to_his_rate() {
    let (mut station, mut meter) = (Station::new(2), Meter::new(1));
    let mut verdicts = BTreeMap::new();
    for _ in 0..10_000 {
        let frame = meter.push(&truth(1));
        *verdicts
            .entry(station.packet(home(1), &frame).verdict)
            .or_insert(0) += 1;
    }
    assert_eq!(
        verdicts,
        [(Verdict::Forward, 8_192), (Verdict::Drop, 1_808)].into()
    );
    assert_eq!(station.edge.status().reasons.get(Reason::DeviceRate), 1_808);
    station.pass(Duration::from_secs(1));
    let frame = meter.push(&truth(2));
    assert_eq!(station.packet(home(1), &frame).verdict, Verdict::Forward);
}

#[test]
fn what_no_meter_reports_names_the_transformer_and_who_changed() {
    let transformer = TransformerId(7);
    let placed = |number: u32| {
        let mut meter = registration(number);
        meter.site.transformer = Some(if number == 9 {
            Placement::At(transformer)
        } else {
            Placement::Below(transformer)
        });
        meter
    };
    let mut station = Station::of((1..=9).map(placed));
    let mut meters: Vec<_> = (1..=9).map(Meter::new).collect();
    let mut registers = [0_i64; 9];
    for slot in 1..=24 {
        for (index, meter) in meters.iter_mut().enumerate() {
            // Meter 3 halves its energy from interval 21 on; its register agrees with it.
            let energy = match (meter.number, slot) {
                (9, _) => 8 * ENERGY_WH + 60,
                (3, 21..) => ENERGY_WH / 3,
                (_, _) => ENERGY_WH,
            };
            registers[index] += energy;
            let mut push = truth(slot);
            push.values.import = MilliwattHours::new(energy * 1_000);
            push.values.apparent = MillivoltAmpereHours::new((energy + 20) * 1_000);
            push.import_register = MilliwattHours::new(registers[index] * 1_000);
            let frame = meter.push(&push);
            let screening = station.packet(home(meter.number), &frame);
            assert_eq!(screening.verdict, Verdict::Forward, "{screening:?}");
        }
        station.pass(PERIOD.duration());
    }
    let status = station.edge.status();
    // 2 460 delivered, 2 400 reported: 60 are within 8 %. 260 are not.
    assert_eq!((status.balance.balanced, status.balance.broken), (20, 4));
    let kind = IncidentKind::Imbalance(ImbalanceKind::Missing);
    let incident = station.edge.incidents().find(|it| it.kind == kind).unwrap();
    assert_eq!(incident.subject, Subject::Transformer(transformer));
    assert_eq!(incident.count, 4);
    let Evidence::Imbalance(Imbalance {
        delivered_wh,
        reported_wh,
        end: broken,
        suspects,
        ..
    }) = &incident.evidence[0]
    else {
        panic!("{incident:?}")
    };
    assert_eq!(
        (*delivered_wh, *reported_wh, *broken),
        (2_460, 2_200, end(21))
    );
    let suspects: Vec<_> = suspects.iter().map(|it| it.meter.0).collect();
    assert_eq!(suspects, [3]);
    assert_eq!(station.edge.status().verdicts.quarantined, 0);
}

#[test]
fn a_learnt_model_lowers_b_and_never_raises_it() {
    #[derive(Debug)]
    struct Fixed(Score);
    impl Model for Fixed {
        fn version(&self) -> u32 {
            7
        }

        fn score(&self, features: &Features) -> Score {
            assert_eq!(features.energy_wh, ENERGY_WH);
            self.0
        }
    }
    let cases = [
        (Some(Score::FULL), truth(2), 10_000, Verdict::Forward),
        (Score::new(2_500), truth(2), 2_500, Verdict::Forward),
        (Score::new(2_499), truth(2), 2_499, Verdict::Quarantine),
        (Some(Score::FULL), rollback(2), 0, Verdict::Quarantine),
    ];
    for (score, push, b, verdict) in cases {
        let (mut station, mut meter) = (Station::new(1), Meter::new(1));
        let frame = meter.push(&truth(1));
        station.packet(home(1), &frame);
        let model = score.map(|score| Box::new(Fixed(score)) as Box<dyn Model>);
        station.edge.install_model(model);
        assert_eq!(station.edge.status().model, Some(7));
        let frame = meter.push(&push);
        let screening = station.packet(home(1), &frame);
        assert_eq!(
            (screening.scores.b.get(), screening.verdict),
            (b, verdict),
            "{score:?}"
        );
    }
}

#[test]
fn a_revoked_title_is_dropped_until_it_is_valid_again() {
    let (mut station, mut meter) = (Station::new(1), Meter::new(1));
    for (is_revoked, reason) in [(true, Some(Reason::Revoked)), (false, None)] {
        station
            .edge
            .revoke(MeterId(1), is_revoked, station.now.instant);
        let frame = meter.push(&truth(1));
        assert_eq!(station.packet(home(1), &frame).drop_reason(), reason);
    }
}

#[test]
fn a_packet_writes_its_part_of_the_counters_and_no_other() {
    let mut station = Station::new(5_000);
    let mut meters = [Meter::new(1), Meter::new(2), Meter::new(4_900)];
    for meter in &mut meters {
        let frame = meter.push(&truth(1));
        station.packet(home(meter.number), &frame);
    }
    station.pass(Edge::REMEMBER_EVERY);
    let cells: Vec<_> = station
        .writing
        .iter()
        .map(|(_, cell, bytes)| (*cell, bytes.len()))
        .collect();
    let expected = [
        ("receive-counters", 1 + 24),
        ("receive-counters-0004", 1 + 12),
    ];
    assert_eq!(cells, expected);
    station.write(true);
    let mut station = station.restart(5_000);
    for meter in &mut meters {
        meter.counter -= 1;
        let frame = meter.push(&truth(1));
        let screening = station.packet(ELSEWHERE, &frame);
        assert_eq!(
            screening.drop_reason(),
            Some(Reason::Replayed),
            "{}",
            meter.number
        );
    }
}

#[test]
fn lines_that_had_to_be_closed_are_counted_and_named_by_address_and_gateway() {
    let mut station = Station::new(1);
    let gateway = home(1).gateway;
    station
        .edge
        .handle_gateway_up(gateway, "gateway-a", station.now.instant);
    let line = |fault, last| ClosedLine {
        fault,
        address: Some([192, 0, 2, last].into()),
    };
    let slow = line(LineFault::PartialFrame, 7);
    for number in 100..164 {
        let path = Path {
            gateway,
            down: number,
        };
        station.edge.handle_line_closed(path, slow, station.now.utc);
    }
    let other = line(LineFault::NoFrame, 8);
    station.edge.handle_own_line_closed(other, station.now.utc);
    station.drain();
    let counters = station.edge.status().lines_closed;
    let counts = LineFault::ALL.map(|fault| counters.get(fault));
    assert_eq!(counts, [64, 1, 0]);
    let told: Vec<_> = station
        .alerts
        .iter()
        .map(|it| (it.subject, it.kind, it.gateway.as_deref()))
        .collect();
    let address = |gateway, line: ClosedLine| Subject::Address {
        gateway,
        address: line.address.unwrap(),
    };
    let expected = [
        (
            address(Some(gateway), slow),
            IncidentKind::Line(LineFault::PartialFrame),
            Some("gateway-a"),
        ),
        (
            address(None, other),
            IncidentKind::Line(LineFault::NoFrame),
            None,
        ),
    ];
    assert_eq!(told, expected, "one alarm for 64 lines of one address");
    let first = station.edge.incidents().next().unwrap();
    assert_eq!(first.count, 64);
}

#[test]
fn a_gateway_whose_meters_are_late_is_named() {
    const METERS: u32 = 12;
    let mut station = Station::new(METERS);
    let mut meters: Vec<Meter> = (1..=METERS).map(Meter::new).collect();
    // Odd meters are at home at one gateway, even ones at the other.
    let path = |number: u32| Path {
        gateway: u64::from(number % 2),
        down: number.into(),
    };
    for (gateway, name) in [(0, "even"), (1, "odd")] {
        station
            .edge
            .handle_gateway_up(gateway, name, station.now.instant);
    }
    station.pass(Duration::from_secs(3_600));
    for slot in 60..90 {
        let late = end(slot).since(station.now.utc);
        station.pass(late);
        let mut withheld = Vec::new();
        for meter in &mut meters {
            let frame = meter.push(&truth(slot));
            // From interval 80 on the odd gateway drops every second meter's first try.
            if slot >= 80 && meter.number % 4 == 1 {
                withheld.push((meter.number, frame));
            } else {
                station.packet(path(meter.number), &frame);
            }
        }
        station.pass(Duration::from_secs(10));
        for (number, frame) in withheld {
            let screening = station.packet(path(number), &frame);
            assert_eq!(screening.verdict, Verdict::Forward);
        }
    }
    let told: Vec<_> = station
        .alerts
        .iter()
        .map(|it| (it.subject, it.kind, it.gateway.as_deref(), it.first))
        .collect();
    let (subject, kind, name, first) = told[0];
    let expected = (Subject::Gateway(1), IncidentKind::Silence, Some("odd"));
    assert_eq!((subject, kind, name), expected);
    assert!(first >= end(81) && first < end(84), "{first:?}");
    assert!(
        told.iter().all(|it| it.0 == Subject::Gateway(1)),
        "{told:?}"
    );
    let evidence = &station.alerts[0].evidence[0];
    let Evidence::Silence(silence) = evidence else {
        panic!("{evidence:?}")
    };
    let seen = (silence.due, silence.heard, silence.usual_milli);
    assert_eq!(seen, (6, 3, 23));
}
