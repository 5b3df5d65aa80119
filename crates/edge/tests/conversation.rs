//! An edge between scripted meters, forgers and a disk that may fail.
//!
//! It is one file because all conversations are held with the same scripted meters and disk.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gridloom_core::{
    Instant, IntervalValues, MeterId, MillivarHours, MillivoltAmpereHours, Millivolts,
    MilliwattHours, Month, Now, Period, Price, ReadingStatus, SystemTitle, UtcTime, Watts,
};
use gridloom_dlms::apdu::{
    Apdu, DataAccessResult, DataNotificationConfirm, ExceptionResponse, GetResponseNormal,
    InvokeId, LongInvokeId, ServiceError, SetRequestNormal, SetResponseNormal, StateError,
};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::charge::{ChargeTable, UNIT_CHARGE_PASSIVE};
use gridloom_dlms::counter::BLOCK_LEN;
use gridloom_dlms::push::{BillingStatus, ClosedMonth, IntervalPush};
use gridloom_dlms::security::{
    CipherContext, CipheredApdu, Keys, Policy, Protection, SecurityControl,
};
use gridloom_edge::tariff::PriceDelivery;
use gridloom_edge::{
    AcceptedReading, Edge, EdgeConfig, EdgeMemory, Effect, HashKey, MeterAlarm, Path, Reason,
    ReasonCounters, Registration, Registry, RegistryError, ScreeningConfig, Site, Verdict,
};

const EDGE: SystemTitle = SystemTitle(*b"GLE\0\0\0\0\x01");
const PERIOD: Period = Period::HALF_HOUR;
const HOME: Path = Path {
    gateway: 1,
    down: 11,
};
const ELSEWHERE: Path = Path {
    gateway: 2,
    down: 22,
};
const FORGER: Path = Path {
    gateway: 3,
    down: 33,
};

/// The end of the interval with this number, counted from a start of the day.
fn end(slot: u32) -> UtcTime {
    UtcTime::from_secs(1_359_676_800) + PERIOD.duration() * slot
}

fn price() -> Price {
    Price::parse("0.1875").expect("a price")
}

/// A meter's side of the conversation.
struct Meter {
    id: MeterId,
    title: SystemTitle,
    context: CipherContext,
    counter: u32,
}

impl Meter {
    /// The `n`th meter; its serial number differs from the others' in two bits at least.
    fn new(n: u8) -> Self {
        Self {
            id: MeterId(u32::from(n)),
            title: Self::title(n),
            context: CipherContext::new(&Self::keys(n)),
            counter: 10,
        }
    }

    fn title(n: u8) -> SystemTitle {
        SystemTitle::new(*b"GLM", u64::from(n) * 3)
    }

    fn keys(n: u8) -> Keys {
        Keys::new([n; 16], [0x80 | n; 16])
    }

    fn registration(n: u8) -> Registration {
        Registration {
            meter: MeterId(u32::from(n)),
            title: Self::title(n),
            keys: Self::keys(n),
            period: PERIOD,
            site: Site::default(),
        }
    }

    fn seal_as(&self, protection: Protection, plain: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        self.context.protect(protection, plain, &mut frame);
        frame
    }

    /// A frame under the meter's next counter.
    fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        self.counter += 1;
        self.seal_as(Protection::full(self.title, self.counter), plain)
    }

    fn say(&mut self, apdu: &Apdu<'_>) -> Vec<u8> {
        let mut plain = Vec::new();
        apdu.encode(&mut plain);
        self.seal(&plain)
    }

    /// The push of an interval; the meter's bill lacks the price of `oldest_unpriced`.
    fn push(&mut self, slot: u32, oldest_unpriced: Option<u32>) -> Vec<u8> {
        let push = push(PERIOD, end(slot), oldest_unpriced);
        self.seal(&notification(&push))
    }

    fn answer(&mut self, set: &SetRequestNormal, result: DataAccessResult) -> Vec<u8> {
        self.say(&Apdu::SetResponseNormal(SetResponseNormal {
            invoke_id: set.invoke_id,
            result,
        }))
    }

    /// Opens a frame of the edge: its counter and its plain APDU.
    fn open(&self, frame: &[u8]) -> (u32, Vec<u8>) {
        let packet = CipheredApdu::decode(frame).expect("the edge sends ciphered APDUs");
        assert_eq!(packet.title, EDGE, "the edge signs with its own title");
        assert_eq!(packet.control, SecurityControl::AUTHENTICATED_ENCRYPTED);
        let mut plain = Vec::new();
        self.context
            .open(&packet, Policy::AuthenticatedEncryption, &mut plain)
            .expect("the edge seals with the meter's keys");
        (packet.counter, plain)
    }

    /// The SET in a frame, and the interval ends it prices.
    fn set(&self, frame: &[u8]) -> (SetRequestNormal, Vec<UtcTime>) {
        let (_, plain) = self.open(frame);
        let set = SetRequestNormal::decode(&plain).expect("a SET");
        let table = ChargeTable::from_set_request(&set).expect("a table of prices");
        assert!(table.entries.iter().all(|entry| entry.price == price()));
        (set, table.entries.iter().map(|entry| entry.end).collect())
    }

    fn confirmed(&self, frame: &[u8]) -> LongInvokeId {
        let (_, plain) = self.open(frame);
        let confirm = DataNotificationConfirm::decode(&plain);
        confirm.expect("a confirmation").invoke_id
    }
}

/// The import register at an interval's end: it grows by what every interval imports.
fn register(end: UtcTime) -> MilliwattHours {
    let intervals = (end.as_secs() - self::end(0).as_secs()) / i64::from(PERIOD.as_secs());
    MilliwattHours::new(123_456_000 + intervals * 333_000)
}

fn push(period: Period, end: UtcTime, oldest_unpriced: Option<u32>) -> IntervalPush {
    IntervalPush {
        period,
        end,
        status: ReadingStatus::POWER_DOWN,
        values: IntervalValues {
            import: MilliwattHours::new(333_000),
            export: MilliwattHours::new(1_000),
            reactive: [2_000, 3_000, 4_000, 5_000].map(MillivarHours::new),
            apparent: MillivoltAmpereHours::new(336_000),
            voltage: Millivolts::new(230_100),
        },
        import_register: register(end),
        power: Watts::new(-42),
        billing: BillingStatus {
            running_minor: -1_234,
            unpriced: u16::from(oldest_unpriced.is_some()),
            oldest_unpriced: oldest_unpriced.map(self::end),
            closed: Month::new(2013, 1).map(|month| ClosedMonth { month, minor: 99 }),
        },
    }
}

fn notification(push: &IntervalPush) -> Vec<u8> {
    let mut plain = Vec::new();
    push.encode_notification(&mut plain).expect("whole units");
    plain
}

/// An edge with a disk and a clock, and everything it wanted done.
struct Station {
    edge: Edge,
    now: Now,
    /// What is durable.
    cells: BTreeMap<&'static str, Vec<u8>>,
    writing: Vec<(u64, &'static str, Vec<u8>)>,
    accepted: Vec<AcceptedReading>,
    alarms: Vec<MeterAlarm>,
    down: Vec<(Path, Vec<u8>)>,
}

impl Station {
    /// An edge of two meters, its first reservation durable.
    fn new() -> Self {
        let mut station = Self::start(BTreeMap::new(), 2);
        station.write(true);
        station
    }

    fn start(cells: BTreeMap<&'static str, Vec<u8>>, meters: u8) -> Self {
        let cell = |name| cells.get(name).map(Vec::as_slice);
        let memory = EdgeMemory::read(cell);
        let registry =
            Registry::new((1..=meters).map(Meter::registration)).expect("each meter once");
        let config = EdgeConfig {
            title: EDGE,
            price_scale: -4,
            screening: ScreeningConfig::default(),
            hash_key: HashKey::new([1, 2]),
        };
        let mut station = Self {
            edge: Edge::new(config, registry, &memory.expect("cells the edge wrote")),
            now: Now {
                instant: Instant::ZERO,
                utc: end(40),
            },
            cells,
            writing: Vec::new(),
            accepted: Vec::new(),
            alarms: Vec::new(),
            down: Vec::new(),
        };
        station.drain();
        station
    }

    /// Power fails: what was not durable is gone.
    fn restart(self) -> Self {
        Self::start(self.cells, 2)
    }

    fn drain(&mut self) {
        while let Some(effect) = self.edge.poll_output() {
            match effect {
                Effect::Down { path, frame } => self.down.push((path, frame)),
                Effect::Accept(reading) => self.accepted.push(reading.accepted),
                Effect::Alarm(alarm) => self.alarms.push(*alarm),
                Effect::Alert(_) | Effect::Audit(_) => {}
                Effect::Remember {
                    ticket,
                    cell,
                    bytes,
                } => self.writing.push((ticket, cell, bytes)),
            }
        }
    }

    /// The disk answers everything that it was asked so far.
    fn write(&mut self, stored: bool) {
        for (ticket, cell, bytes) in std::mem::take(&mut self.writing) {
            if stored {
                self.cells.insert(cell, bytes);
            }
            self.edge.handle_remembered(ticket, stored, self.now);
            self.drain();
        }
    }

    fn packet(&mut self, path: Path, frame: &[u8]) -> Result<(), Reason> {
        let screening = self.edge.handle_packet(path, frame, self.now);
        self.drain();
        assert_ne!(screening.verdict, Verdict::Quarantine, "{screening:?}");
        screening.drop_reason().map_or(Ok(()), Err)
    }

    fn stored(&mut self, meter: &Meter, slot: u32) {
        let now = self.now.instant;
        self.edge.handle_stored(meter.id, PERIOD, end(slot), now);
        self.drain();
    }

    fn prices(&mut self, slots: std::ops::RangeInclusive<u32>) {
        for slot in slots {
            self.edge.handle_price(PERIOD, end(slot), price());
        }
        self.edge.offer_prices_to_all(self.now.instant);
        self.drain();
    }

    /// Time passes; the edge is woken whenever it wants to be.
    fn pass(&mut self, time: Duration) {
        let until = self.now.instant + time;
        while let Some((at, _)) = self.edge.wake().instant.filter(|(at, _)| *at <= until) {
            self.now.instant = self.now.instant.max(at);
            self.edge.handle_timeout(self.now);
            self.drain();
        }
        self.now.instant = until;
    }

    /// What went down since the last look, on which paths.
    fn sent(&mut self) -> Vec<(Path, Vec<u8>)> {
        std::mem::take(&mut self.down)
    }

    /// The only frame that went down since the last look.
    fn sent_one(&mut self) -> (Path, Vec<u8>) {
        let [only] = self.sent().try_into().expect("one frame");
        only
    }
}

#[test]
fn a_push_reaches_the_utility_with_its_values() {
    let (mut station, mut meter) = (Station::new(), Meter::new(1));
    let frame = meter.push(3, Some(2));
    assert_eq!(station.packet(HOME, &frame), Ok(()));
    let said = push(PERIOD, end(3), Some(2));
    let expected = AcceptedReading {
        title: meter.title,
        counter: 11,
        reading: said.reading(MeterId(1)),
        power: said.power,
        billing: said.billing,
    };
    assert_eq!(station.accepted, [expected]);
    assert_eq!(
        station.down,
        [],
        "nothing is confirmed before it is durable"
    );
    station.stored(&meter, 3);
    let (path, frame) = station.sent_one();
    assert_eq!(path, HOME);
    assert_eq!(meter.confirmed(&frame), said.invoke_id());
    let status = station.edge.status();
    assert_eq!(
        (status.registered, status.heard, status.accepted),
        (2, 1, 1)
    );
    assert_eq!(status.reasons, ReasonCounters::default());
}

#[test]
fn a_repeated_reading_is_accepted_and_confirmed_again() {
    let (mut station, mut meter) = (Station::new(), Meter::new(1));
    for round in 1..=3 {
        let frame = meter.push(3, None);
        station.packet(HOME, &frame).unwrap();
        station.stored(&meter, 3);
        assert_eq!(station.accepted.len(), round);
        let (_, frame) = station.sent_one();
        let id = LongInvokeId::of_interval(PERIOD, end(3));
        assert_eq!(meter.confirmed(&frame), id);
    }
}

/// A frame that must be refused, made after the meter's first push (counter 11) was believed.
type Bad = fn(&mut Meter, first: &[u8]) -> Vec<u8>;

/// What a frame looks like under another security control, with the true tag and payload.
fn with_control(meter: &mut Meter, control: SecurityControl) -> Vec<u8> {
    meter.counter += 1;
    let plain = notification(&push(PERIOD, end(4), None));
    let protection = Protection {
        title: meter.title,
        counter: meter.counter,
        control,
    };
    meter.seal_as(protection, &plain)
}

/// Where the security control stands in a push: after tag, title and a one-byte length.
const CONTROL_AT: usize = 11;

/// A true push that claims another protection than it has.
fn relabelled(meter: &mut Meter, control: u8) -> Vec<u8> {
    let mut frame = meter.push(4, None);
    assert_eq!(frame[CONTROL_AT], 0x30);
    frame[CONTROL_AT] = control;
    frame
}

#[test]
fn each_bad_packet_is_refused_with_its_reason_and_counted_once() {
    let cases: [(&str, Reason, Bad); 26] = [
        ("nothing", Reason::Malformed, |_, _| Vec::new()),
        ("a plain push", Reason::Malformed, |_, _| {
            notification(&push(PERIOD, end(4), None))
        }),
        (
            "a service-specific cipher",
            Reason::Malformed,
            |meter, _| {
                let mut frame = Vec::new();
                let protection = Protection::full(meter.title, 12);
                meter
                    .context
                    .protect_service(0xC8, protection, &[0], &mut frame);
                frame
            },
        ),
        ("a byte too many", Reason::Malformed, |meter, _| {
            let mut frame = meter.push(4, None);
            frame.push(0);
            frame
        }),
        ("an unknown title", Reason::UnknownTitle, |_, _| {
            Meter::new(9).push(4, None)
        }),
        (
            "an unknown title under a known meter's keys",
            Reason::UnknownTitle,
            |meter, _| meter.seal_as(Protection::full(Meter::title(9), 12), &[0x0F]),
        ),
        (
            "an answer of the edge, reflected",
            Reason::UnknownTitle,
            |meter, _| meter.seal_as(Protection::full(EDGE, 12), &[0x10]),
        ),
        ("a wrong tag", Reason::BadTag, |meter, _| {
            let mut frame = meter.push(4, None);
            *frame.last_mut().unwrap() ^= 1;
            frame
        }),
        ("a tag of zeros", Reason::BadTag, |meter, _| {
            let mut frame = meter.push(4, None);
            let tag = frame.len() - 12;
            frame[tag..].fill(0);
            frame
        }),
        ("no room for a tag", Reason::BadTag, |meter, _| {
            let mut frame = vec![0xDB, 8];
            frame.extend(meter.title.0);
            frame.extend([5, 0x30, 0, 0, 0, 99]);
            frame
        }),
        ("authenticated only", Reason::BadTag, |meter, _| {
            with_control(meter, SecurityControl::AUTHENTICATED)
        }),
        ("encrypted only", Reason::BadTag, |meter, _| {
            with_control(meter, SecurityControl::ENCRYPTED)
        }),
        ("a true push relabelled 0x10", Reason::BadTag, |meter, _| {
            relabelled(meter, 0x10)
        }),
        ("a true push relabelled 0x20", Reason::BadTag, |meter, _| {
            relabelled(meter, 0x20)
        }),
        (
            "a true push relabelled unprotected",
            Reason::BadTag,
            |meter, _| relabelled(meter, 0x00),
        ),
        ("a forged highest counter", Reason::BadTag, |meter, _| {
            let mut forger = Meter::new(2);
            forger.title = meter.title;
            forger.counter = 0xFFFF_FFFD;
            forger.push(4, None)
        }),
        (
            "another meter's frame under this title",
            Reason::BadTag,
            |meter, _| {
                let mut frame = Meter::new(2).push(4, None);
                frame[2..10].copy_from_slice(&meter.title.0);
                // Above the believed counter, or freshness speaks first.
                frame[CONTROL_AT + 4] = 12;
                frame
            },
        ),
        ("a replay", Reason::Replayed, |_, first| first.to_vec()),
        ("a lower counter", Reason::Replayed, |meter, _| {
            let plain = notification(&push(PERIOD, end(4), None));
            meter.seal_as(Protection::full(meter.title, 10), &plain)
        }),
        ("a clock ahead", Reason::ClockAhead, |meter, _| {
            meter.push(41, None)
        }),
        ("another period", Reason::WrongPeriod, |meter, _| {
            let plain = notification(&push(Period::QUARTER_HOUR, end(4), None));
            meter.seal(&plain)
        }),
        ("an exception", Reason::Unexpected, |meter, _| {
            meter.say(&Apdu::ExceptionResponse(ExceptionResponse {
                state: StateError::ServiceUnknown,
                service: ServiceError::DecipheringError,
            }))
        }),
        ("the answer to no GET", Reason::Unexpected, |meter, _| {
            meter.say(&Apdu::GetResponseNormal(GetResponseNormal {
                invoke_id: InvokeId::confirmed(1),
                result: Ok(Data::Unsigned(1)),
            }))
        }),
        (
            "a confirmation by a meter",
            Reason::Unexpected,
            |meter, _| {
                meter.say(&Apdu::DataNotificationConfirm(DataNotificationConfirm {
                    invoke_id: LongInvokeId::confirmed(1),
                    time: None,
                }))
            },
        ),
        ("a SET by a meter", Reason::Unexpected, |meter, _| {
            meter.say(&Apdu::SetRequestNormal(SetRequestNormal {
                invoke_id: InvokeId::confirmed(1),
                attribute: UNIT_CHARGE_PASSIVE,
                access: None,
                value: Data::Unsigned(1),
            }))
        }),
        (
            "verified, but no push of ours",
            Reason::Malformed,
            |meter, _| meter.seal(&[0x0F, 0x40, 0, 0, 1, 0, 0x12, 0, 1]),
        ),
    ];
    for (name, reason, bad) in cases {
        let (mut station, mut meter) = (Station::new(), Meter::new(1));
        let first = meter.push(3, None);
        station.packet(HOME, &first).unwrap();
        let frame = bad(&mut meter, &first);
        assert_eq!(station.packet(FORGER, &frame), Err(reason), "{name}");
        let mut expected = ReasonCounters::default();
        expected.count(reason);
        assert_eq!(station.edge.status().reasons, expected, "{name}");
        assert_eq!(station.accepted.len(), 1, "{name}");

        // Nobody is locked out, and nothing goes to where the refused packet came from.
        station.stored(&meter, 3);
        assert_eq!(station.sent_one().0, HOME, "{name}");
        let next = meter.push(5, None);
        assert_eq!(station.packet(HOME, &next), Ok(()), "{name}");
        assert_eq!(station.accepted.len(), 2, "{name}");
    }
}

#[test]
fn no_cut_and_no_flipped_bit_passes() {
    let (mut station, mut meter) = (Station::new(), Meter::new(1));
    meter.counter = 0;
    let frame = meter.push(3, None);
    assert_eq!(frame[CONTROL_AT], 0x30);
    let mut expected = ReasonCounters::default();
    for length in 0..frame.len() {
        station.now.instant = station.now.instant + Duration::from_secs(1);
        let verdict = station.packet(HOME, &frame[..length]);
        assert_eq!(verdict, Err(Reason::Malformed), "cut to {length}");
        expected.count(Reason::Malformed);
    }
    for bit in 0..frame.len() * 8 {
        let reason = match bit / 8 {
            0 | 1 => Reason::Malformed,
            2..=9 => Reason::UnknownTitle,
            10..CONTROL_AT => Reason::Malformed,
            _ => Reason::BadTag,
        };
        // Slowly: a flood is another matter.
        station.now.instant = station.now.instant + Duration::from_secs(1);
        let mut flipped = frame.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(station.packet(HOME, &flipped), Err(reason), "bit {bit}");
        expected.count(reason);
    }
    assert_eq!(station.edge.status().reasons, expected);
    assert_eq!(station.accepted, []);
    assert_eq!(
        station.packet(HOME, &frame),
        Ok(()),
        "the true one still is"
    );
}

#[test]
fn a_clock_may_be_five_minutes_ahead() {
    for (ahead, verdict) in [(300, Ok(())), (301, Err(Reason::ClockAhead))] {
        let (mut station, mut meter) = (Station::new(), Meter::new(1));
        station.now.utc = end(3) - Duration::from_secs(ahead);
        let frame = meter.push(3, None);
        assert_eq!(station.packet(HOME, &frame), verdict, "{ahead} s");
    }
}

#[test]
fn an_answer_goes_the_way_that_has_proved_itself() {
    let (mut station, mut meter) = (Station::new(), Meter::new(1));
    station.stored(&meter, 1);
    assert_eq!(station.sent(), [], "never heard: no way is known");
    let first = meter.push(1, None);
    let mut forged = first.clone();
    *forged.last_mut().unwrap() ^= 1;
    let (second, third) = (meter.push(2, None), meter.push(3, None));
    let steps: [(Path, &[u8], &[Path]); 6] = [
        (HOME, &first, &[HOME]),
        (FORGER, &forged, &[HOME]),
        (FORGER, &first, &[HOME]),
        (ELSEWHERE, &second, &[ELSEWHERE, HOME]),
        (FORGER, &second, &[ELSEWHERE, HOME]),
        (ELSEWHERE, &third, &[ELSEWHERE]),
    ];
    for (number, (from, frame, back)) in steps.into_iter().enumerate() {
        let verdict = station.packet(from, frame);
        assert_eq!(verdict.is_err(), from == FORGER, "step {number}");
        station.stored(&meter, 1);
        let sent = station.sent();
        let ways: Vec<Path> = sent.iter().map(|(path, _)| *path).collect();
        assert_eq!(ways, back, "step {number}");
        assert!(sent.iter().all(|(_, frame)| *frame == sent[0].1));
        let proved = *back.last().unwrap();
        assert_eq!(station.edge.path_to(meter.id), Some(proved));
        for path in [HOME, ELSEWHERE, FORGER] {
            let there = (path == proved).then_some(meter.id);
            assert_eq!(station.edge.meter_on(path), there, "step {number}");
        }
    }
}

#[test]
fn whoever_is_faster_than_a_meter_does_not_become_its_way() {
    let (mut station, mut meter) = (Station::new(), Meter::new(1));
    let first = meter.push(1, None);
    station.packet(HOME, &first).unwrap();
    for slot in 2..12 {
        let frame = meter.push(slot, None);
        station.packet(ELSEWHERE, &frame).unwrap();
        let original = station.packet(HOME, &frame);
        assert_eq!(original, Err(Reason::Replayed), "its own copy was faster");
        assert_eq!(
            station.edge.path_to(meter.id),
            Some(HOME),
            "interval {slot}"
        );
        assert_eq!(station.edge.meter_on(ELSEWHERE), None);
        station.stored(&meter, slot);
        let ways: Vec<Path> = station.sent().iter().map(|(path, _)| *path).collect();
        assert!(ways.contains(&HOME), "interval {slot}: {ways:?}");
    }
    let frame = meter.push(12, None);
    station.packet(HOME, &frame).unwrap();
    station.stored(&meter, 12);
    assert_eq!(station.sent_one().0, HOME);
}

#[test]
fn a_path_that_is_gone_gives_way_to_the_one_that_was_heard() {
    for gone in ["path", "gateway"] {
        let (mut station, mut meter) = (Station::new(), Meter::new(1));
        let frame = meter.push(1, None);
        station.packet(HOME, &frame).unwrap();
        let frame = meter.push(2, None);
        station.packet(ELSEWHERE, &frame).unwrap();
        assert_eq!(station.edge.path_to(meter.id), Some(HOME));
        let mut leave = |path: Path| match gone {
            "path" => station.edge.handle_path_gone(path),
            _ => station.edge.handle_gateway_gone(path.gateway),
        };
        leave(HOME);
        let there = |station: &Station| {
            (
                station.edge.path_to(MeterId(1)),
                station.edge.status().heard,
            )
        };
        assert_eq!(there(&station), (Some(ELSEWHERE), 1), "{gone}");
        let mut leave = |path: Path| station.edge.handle_path_gone(path);
        leave(HOME);
        leave(ELSEWHERE);
        assert_eq!(there(&station), (None, 0), "{gone}");
    }
}

#[test]
fn nothing_goes_by_a_gateway_that_is_gone() {
    let (mut station, mut meter) = (Station::new(), Meter::new(1));
    let mut neighbour = Meter::new(2);
    let frame = meter.push(1, Some(1));
    station.packet(HOME, &frame).unwrap();
    let frame = neighbour.push(1, None);
    station.packet(ELSEWHERE, &frame).unwrap();
    station.prices(1..=1);
    let (path, _) = station.sent_one();
    assert_eq!(path, HOME);

    station.edge.handle_gateway_gone(HOME.gateway);
    assert_eq!(station.edge.status().heard, 1);
    station.stored(&meter, 1);
    station.prices(2..=2);
    station.pass(Duration::from_secs(60));
    assert_eq!(station.sent(), []);
    station.stored(&neighbour, 1);
    assert_eq!(
        station.sent_one().0,
        ELSEWHERE,
        "the other gateway is there"
    );

    let frame = meter.push(2, Some(1));
    station.packet(ELSEWHERE, &frame).unwrap();
    let (path, frame) = station.sent_one();
    assert_eq!(
        (path, meter.set(&frame).1),
        (ELSEWHERE, vec![end(1), end(2)])
    );
}

#[test]
fn a_frame_that_waits_does_not_outlive_its_gateway() {
    let (mut station, mut meter) = (Station::start(BTreeMap::new(), 2), Meter::new(1));
    let frame = meter.push(1, None);
    station.packet(HOME, &frame).unwrap();
    station.stored(&meter, 1);
    station.edge.handle_gateway_gone(HOME.gateway);
    station.write(true);
    assert_eq!(station.sent(), []);
}

#[test]
fn a_set_is_repeated_until_it_is_answered() {
    let (mut station, mut meter) = (Station::new(), Meter::new(1));
    let frame = meter.push(2, Some(1));
    station.packet(HOME, &frame).unwrap();
    station.prices(1..=2);
    let (_, frame) = station.sent_one();
    let (first, ends) = meter.set(&frame);
    assert_eq!(ends, [end(1), end(2)]);

    let almost = PriceDelivery::ANSWER_TIMEOUT - Duration::from_nanos(1);
    station.pass(almost);
    assert_eq!(station.sent(), [], "an answer may still come");
    station.pass(Duration::from_nanos(1));
    let (_, frame) = station.sent_one();
    let (second, ends) = meter.set(&frame);
    assert_eq!(ends, [end(1), end(2)]);

    // The answer to the first comes late and does not count for the second.
    let late = meter.answer(&first, DataAccessResult::Success);
    station.packet(HOME, &late).unwrap();
    station.pass(PriceDelivery::ANSWER_TIMEOUT);
    assert_eq!(station.sent(), [], "the second one waits twice as long");
    station.pass(PriceDelivery::ANSWER_TIMEOUT);
    let (_, frame) = station.sent_one();
    let (third, _) = meter.set(&frame);
    assert_ne!(second.invoke_id, third.invoke_id);

    let answer = meter.answer(&third, DataAccessResult::Success);
    station.packet(HOME, &answer).unwrap();
    station.pass(Duration::from_secs(3_600));
    assert_eq!(station.sent(), [], "it is in the meter");
    assert_eq!(station.edge.status().sets_refused, 0);
}

#[test]
fn a_refused_set_is_counted_and_asked_for_by_the_next_push() {
    let (mut station, mut meter) = (Station::new(), Meter::new(1));
    let frame = meter.push(1, Some(1));
    station.packet(HOME, &frame).unwrap();
    station.prices(1..=1);
    let (_, frame) = station.sent_one();
    let (set, _) = meter.set(&frame);
    let answer = meter.answer(&set, DataAccessResult::TemporaryFailure);
    station.packet(HOME, &answer).unwrap();
    station.pass(Duration::from_secs(3_600));
    assert_eq!(station.sent(), []);
    assert_eq!(station.edge.status().sets_refused, 1);
    let frame = meter.push(2, Some(1));
    station.packet(HOME, &frame).unwrap();
    let (_, frame) = station.sent_one();
    assert_eq!(meter.set(&frame).1, [end(1)]);
}

#[test]
fn prices_resume_from_the_oldest_interval_the_meter_lacks() {
    let cases = [
        ("an answer was lost", 4, 4..=6),
        ("the meter forgot", 1, 1..=6),
        ("nothing changed", 3, 3..=6),
    ];
    for (name, oldest, wanted) in cases {
        let (mut station, mut meter) = (Station::new(), Meter::new(1));
        let frame = meter.push(2, Some(1));
        station.packet(HOME, &frame).unwrap();
        station.prices(1..=2);
        let (_, frame) = station.sent_one();
        let (set, _) = meter.set(&frame);
        let answer = meter.answer(&set, DataAccessResult::Success);
        station.packet(HOME, &answer).unwrap();
        station.prices(3..=6);
        station.sent_one(); // Never answered.
        station.now.instant = station.now.instant + PriceDelivery::ANSWER_TIMEOUT;
        let frame = meter.push(6, Some(oldest));
        station.packet(HOME, &frame).unwrap();
        let (_, frame) = station.sent_one();
        let wanted: Vec<_> = wanted.map(end).collect();
        assert_eq!(meter.set(&frame).1, wanted, "{name}");
    }
}

#[test]
fn a_long_catch_up_goes_in_parts() {
    let (mut station, mut meter) = (Station::new(), Meter::new(1));
    station.prices(1..=30);
    assert_eq!(station.sent(), [], "nobody was heard yet");
    let frame = meter.push(30, Some(1));
    station.packet(HOME, &frame).unwrap();
    let mut got = Vec::new();
    for count in [PriceDelivery::PRICES_PER_SET_MAX, 6] {
        let (_, frame) = station.sent_one();
        let (set, ends) = meter.set(&frame);
        assert_eq!(ends.len(), count);
        got.extend(ends);
        let answer = meter.answer(&set, DataAccessResult::Success);
        station.packet(HOME, &answer).unwrap();
    }
    assert_eq!(got, (1..=30).map(end).collect::<Vec<_>>());
    assert_eq!(station.sent(), []);
}

#[test]
fn a_price_the_meters_cannot_hold_is_counted() {
    let (mut station, mut meter) = (Station::new(), Meter::new(1));
    let frame = meter.push(1, Some(1));
    station.packet(HOME, &frame).unwrap();
    let fine = Price::parse("0.12345").unwrap();
    station.edge.handle_price(PERIOD, end(1), fine);
    station.edge.offer_prices_to_all(station.now.instant);
    station.drain();
    assert_eq!(station.sent(), []);
    assert_eq!(station.edge.status().prices_unsendable, 1);
}

#[test]
fn no_frame_leaves_before_its_counter_is_durably_reserved() {
    let (mut station, mut meter) = (Station::start(BTreeMap::new(), 2), Meter::new(1));
    let frame = meter.push(1, Some(1));
    station.packet(HOME, &frame).unwrap();
    station.stored(&meter, 1);
    station.prices(1..=1);
    for failure in 1..=3 {
        assert_eq!(station.sent(), [], "nothing is durable");
        station.write(false);
        assert_eq!(station.writing, [], "a failing disk gets a pause");
        assert_eq!(station.sent(), []);
        assert!(station.edge.status().memory_failures >= failure);
        station.pass(Edge::REMEMBER_EVERY);
        let again = |(_, cell, _): &(_, &str, _)| *cell == EdgeMemory::RESERVED;
        assert!(station.writing.iter().any(again), "it is written again");
    }
    station.write(true);
    let sent = station.sent();
    let counters: Vec<_> = sent.iter().map(|(_, frame)| meter.open(frame).0).collect();
    assert_eq!(counters, [1, 2], "both frames, in order");
    assert_eq!(
        meter.confirmed(&sent[0].1),
        LongInvokeId::of_interval(PERIOD, end(1))
    );
    assert_eq!(meter.set(&sent[1].1).1, [end(1)]);
}

#[test]
fn a_block_of_counters_runs_out_only_while_the_disk_is_silent() {
    let (mut station, mut meter) = (Station::new(), Meter::new(1));
    let frame = meter.push(1, None);
    station.packet(HOME, &frame).unwrap();
    for _ in 0..BLOCK_LEN + 5 {
        station.stored(&meter, 1);
    }
    assert_eq!(station.sent().len(), BLOCK_LEN as usize);
    station.write(true);
    assert_eq!(station.sent().len(), 5, "those that waited");
    for _ in 0..5 * BLOCK_LEN {
        station.stored(&meter, 1);
        station.write(true);
    }
    let sent = station.sent();
    assert_eq!(sent.len(), 5 * BLOCK_LEN as usize);
    let counters = sent.iter().map(|(_, frame)| meter.open(frame).0);
    assert!(counters.is_sorted_by(|a, b| a < b));
    assert_eq!(station.edge.status().down_dropped, 0);
}

#[test]
fn frames_beyond_the_waiting_room_are_given_up_and_counted() {
    let (mut station, mut meter) = (Station::start(BTreeMap::new(), 2), Meter::new(1));
    let frame = meter.push(1, None);
    station.packet(HOME, &frame).unwrap();
    for _ in 0..Edge::WAITING_MAX + 3 {
        station.stored(&meter, 1);
    }
    assert_eq!(station.edge.status().down_dropped, 3);
    let mut sent = 0;
    while !station.writing.is_empty() {
        station.write(true);
        sent += station.sent().len();
    }
    assert_eq!(sent, Edge::WAITING_MAX);
    assert_eq!(station.edge.status().down_dropped, 3);
}

#[test]
fn restarts_never_use_a_transmit_counter_twice() {
    // How many frames each run sends, and whether its later reservations become durable.
    let runs = [
        (3, true),
        (700, false),
        (0, true),
        (600, true),
        (1_024, false),
        (2, true),
    ];
    let mut used = BTreeSet::new();
    let mut meter = Meter::new(1);
    let mut station = Station::start(BTreeMap::new(), 2);
    for (frames, durable) in runs {
        station.write(true);
        let frame = meter.push(1, None);
        station.packet(HOME, &frame).unwrap();
        for _ in 0..frames {
            station.stored(&meter, 1);
        }
        if durable {
            station.write(true);
        }
        let sent = station.sent();
        assert_eq!(sent.len(), frames);
        for (_, frame) in sent {
            let (counter, _) = meter.open(&frame);
            assert!(used.insert(counter), "{counter} is used twice");
        }
        station = station.restart();
    }
}

#[test]
fn believed_counters_survive_a_restart() {
    let quarter = notification(&push(Period::QUARTER_HOUR, end(4), None));
    type Verified = Box<dyn Fn(&mut Meter) -> Vec<u8>>;
    let cases: [(&str, Verified, Result<(), Reason>); 4] = [
        ("a reading", Box::new(|meter| meter.push(3, None)), Ok(())),
        (
            "a clock ahead, which is right later",
            Box::new(|meter| meter.push(41, None)),
            Err(Reason::ClockAhead),
        ),
        (
            "another period",
            Box::new(move |meter| meter.seal(&quarter)),
            Err(Reason::WrongPeriod),
        ),
        (
            "what nobody reads",
            Box::new(|meter| meter.seal(&[0xFF])),
            Err(Reason::Malformed),
        ),
    ];
    for (name, verified, verdict) in cases {
        let (mut station, mut meter) = (Station::new(), Meter::new(1));
        let frame = verified(&mut meter);
        assert_eq!(station.packet(HOME, &frame), verdict, "{name}");
        station.pass(Edge::REMEMBER_EVERY);
        station.write(false);
        station.pass(Edge::REMEMBER_EVERY);
        station.write(true);
        station.pass(Duration::from_secs(60));
        assert_eq!(station.writing, [], "{name}: written once");
        let mut station = station.restart();
        station.now.utc = end(50);
        assert_eq!(
            station.packet(FORGER, &frame),
            Err(Reason::Replayed),
            "{name}"
        );
        let next = meter.push(4, None);
        assert_eq!(station.packet(HOME, &next), Ok(()), "{name}");
    }
}

#[test]
fn an_edge_without_news_writes_nothing() {
    let mut station = Station::new();
    let unknown = Meter::new(9).push(1, None);
    assert_eq!(station.packet(FORGER, &unknown), Err(Reason::UnknownTitle));
    let forged = Meter::new(1).seal_as(Protection::full(Meter::title(2), 5), &[0]);
    assert_eq!(station.packet(FORGER, &forged), Err(Reason::BadTag));
    assert_eq!(station.edge.wake().instant, None);
    assert_eq!(station.writing, []);
}

#[test]
fn a_registry_knows_each_meter_once() {
    let twin = |meter: u32, n: u8| Registration {
        meter: MeterId(meter),
        ..Meter::registration(n)
    };
    let cases = [
        (
            [twin(1, 1), twin(2, 1)],
            RegistryError::TitleTwice(Meter::title(1)),
        ),
        (
            [twin(1, 1), twin(1, 2)],
            RegistryError::MeterTwice(MeterId(1)),
        ),
    ];
    for (meters, error) in cases {
        assert_eq!(Registry::new(meters).unwrap_err(), error);
    }
}
