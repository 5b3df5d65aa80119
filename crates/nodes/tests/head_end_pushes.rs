//! Meters that push to the head-end itself: believed by title, counter and tag, confirmed once
//! durable, and everything else refused by its name.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests may unwrap, and panic on whatever else comes"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use gridloom_core::{Day, Instant, MeterId, Now, ObisCode, SystemTitle, UtcTime};
use gridloom_dlms::apdu::{
    AttributeDescriptor, DataNotification, DataNotificationConfirm, EventNotification,
    GetRequestNormal, InvokeId, LongInvokeId,
};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::datetime::CosemDateTime;
use gridloom_dlms::security::{
    CipherContext, CipheredApdu, Keys, Policy, Protection, SecurityControl,
};
use gridloom_dlms::wrapper::{self, WPort};
use gridloom_headend::schedule::Recurrence;
use gridloom_headend::template::{CipheringForm, PushList, PushObject, ScalerSource};
use gridloom_headend::vault::{LocalMasterKeys, MasterKey, NewKey};
use gridloom_headend::{MeterTemplate, Secret, Vault};
use gridloom_nodes::envelope::{Message, Role};
use gridloom_nodes::headend::{PushAddresses, PushCounts, PushRefusal};
use gridloom_nodes::{
    Arrival, DiskReply, DiskRequest, HeadEndConfig, HeadEndMemory, HeadEndNode, Input, LinkId,
    Node, Output, Port, Pusher,
};
use gridloom_store::{
    Batch, Change, ClientRole, DeviceLink, DeviceRow, DeviceState, KeyId, KeyKind, KeyState,
    MemoryOperations, OperationsStore, Transport,
};

const UTILITY: LinkId = LinkId(1);
const PUSHES: LinkId = LinkId(2);
const METER: MeterId = MeterId(1);
const TITLE: SystemTitle = SystemTitle(*b"FOR00001");
const OWN: SystemTitle = SystemTitle(*b"GLH00001");
const HOME: &str = "10.0.0.7";
const MASTER: [u8; 32] = [9; 32];

fn start() -> UtcTime {
    Day::from_ymd(2026, 3, 2).unwrap().start()
}

fn cipher() -> CipherContext {
    CipherContext::new(&Keys::new([1; 16], [2; 16]))
}

fn row(meter: MeterId, title: SystemTitle, template: &str, address: &str) -> DeviceRow {
    DeviceRow {
        meter,
        title,
        serial: format!("S{}", meter.0),
        name: format!("Meter {}", meter.0),
        state: DeviceState::Enrolled,
        link: DeviceLink {
            transport: Transport::Tcp,
            address: address.to_owned(),
            server: 1,
            physical: 0,
        },
        roles: vec![ClientRole {
            client: 1,
            mechanism: 5,
            suite: Some(0),
        }],
        template: template.to_owned(),
        groups: BTreeSet::new(),
        service_point: "somewhere".to_owned(),
        phases: 1,
        fuse_a: 100,
        voltage_v: 230,
        retired_at: None,
    }
}

fn template(name: &str) -> MeterTemplate {
    let mut template = MeterTemplate::standard(name);
    template.scaler_source = ScalerSource::Unity;
    let objects = [
        "8 0-0:1.0.0.255 2",
        "3 1-0:1.29.0.255 2",
        "3 1-0:2.29.0.255 2",
        "3 1-0:1.8.0.255 2",
        "1 0-0:96.10.1.255 2",
    ];
    let objects = objects.map(|it| PushObject::parse(it).unwrap());
    template.pushes = vec![PushList(objects.to_vec())];
    template
}

struct Bench {
    node: HeadEndNode,
    store: MemoryOperations,
    now: Duration,
    /// Readings that the utility got.
    readings: Vec<gridloom_core::IntervalReading>,
    /// Whether the utility says at once that they are durable.
    acknowledges: bool,
    unacknowledged: Vec<gridloom_headend::ReadingKey>,
    /// What the meter was sent.
    sent: Vec<Vec<u8>>,
    closed: Vec<LinkId>,
    dials: usize,
}

impl Bench {
    fn new(addresses: PushAddresses) -> Self {
        let now = Now {
            instant: Instant::ZERO,
            utc: start(),
        };
        let master = || Box::new(LocalMasterKeys::single(MasterKey::Aes256(MASTER)));
        let (mut vault, mut changes) = Vault::open(master(), &[], &[], now.utc).unwrap();
        changes.push(Change::Device(row(
            METER,
            TITLE,
            "foreign",
            "10.0.0.7:4059",
        )));
        let second = SystemTitle(*b"FOR00002");
        changes.push(Change::Device(row(
            MeterId(2),
            second,
            "plain",
            "10.0.0.8:4059",
        )));
        for (key, kind, byte) in [
            (1, KeyKind::UnicastEncryption, 1),
            (2, KeyKind::Authentication, 2),
        ] {
            let new = NewKey {
                key: KeyId(key),
                meter: METER,
                kind,
                client: 0,
                state: KeyState::Current,
                made_at: now.utc,
            };
            let secret = Secret::new(&[byte; 16]);
            changes.push(Change::Key(vault.seal(new, &secret).unwrap()));
        }
        let mut store = MemoryOperations::new();
        store.commit(&[Batch::new(changes)]).unwrap()[0]
            .clone()
            .unwrap();
        let mut plain = template("plain");
        plain.ciphering = CipheringForm::None;
        let templates = BTreeMap::from([
            ("foreign".to_owned(), template("foreign")),
            ("plain".to_owned(), plain),
        ]);
        let daily = Duration::from_hours(24);
        let reading = Recurrence::new(daily, Duration::from_hours(23), daily / 2, Duration::ZERO);
        let mut config = HeadEndConfig::new("head-end", OWN, templates, reading.unwrap());
        config.push_addresses = addresses;
        let memory = HeadEndMemory::read(&store).unwrap();
        let node = HeadEndNode::new(config, memory, master(), [3; 32], now).unwrap();
        let mut bench = Self {
            node,
            store,
            now: Duration::ZERO,
            readings: Vec::new(),
            acknowledges: true,
            unacknowledged: Vec::new(),
            sent: Vec::new(),
            closed: Vec::new(),
            dials: 0,
        };
        bench.give(Input::LinkUp {
            link: UTILITY,
            port: Port::Up,
        });
        bench.connect(PUSHES, HOME, Arrival::InOrder);
        bench
    }

    fn connect(&mut self, link: LinkId, from: &str, arrival: Arrival) {
        let address: IpAddr = from.parse().unwrap();
        let port = Port::Push(Pusher { address, arrival });
        self.give(Input::LinkUp { link, port });
    }

    fn give(&mut self, input: Input) {
        let now = Now {
            instant: Instant::ZERO + self.now,
            utc: start() + self.now,
        };
        self.node.handle(input, now);
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Disk(DiskRequest::Operations { ticket, batch }) => {
                    let result = Ok(self.store.commit(&[batch]).unwrap().remove(0));
                    self.give(Input::Disk(DiskReply::Operations { ticket, result }));
                }
                Output::Send {
                    link: UTILITY,
                    frame,
                } => match Message::decode(&frame).unwrap() {
                    Message::Hello { role, .. } => assert_eq!(role, Role::HeadEnd),
                    Message::Readings(list) => {
                        for accepted in list {
                            let reading = accepted.reading;
                            self.unacknowledged.push(gridloom_headend::ReadingKey {
                                meter: reading.meter,
                                period: reading.period,
                                end: reading.end,
                            });
                            self.readings.push(reading);
                        }
                        if self.acknowledges {
                            self.acknowledge();
                        }
                    }
                    other => panic!("{other:?}"),
                },
                Output::Send { frame, .. } => self.sent.push(frame),
                Output::Close { link, .. } => self.closed.push(link),
                Output::Dial { .. } => self.dials += 1,
                other => panic!("{other:?}"),
            }
        }
    }

    fn acknowledge(&mut self) {
        let keys = std::mem::take(&mut self.unacknowledged);
        let frame = Message::Stored(keys).encode();
        self.give(Input::Frame {
            link: UTILITY,
            frame,
        });
    }

    fn wrapped(&mut self, link: LinkId, source: u16, apdu: &[u8]) {
        let frame = wrapper::Frame {
            source: WPort(source),
            destination: WPort(103),
            apdu,
        };
        let frame = frame.to_bytes();
        self.give(Input::Frame { link, frame });
    }

    /// Pushes an APDU under the meter's keys.
    fn push(&mut self, counter: u32, plain: &[u8]) {
        self.wrapped(PUSHES, 1, &sealed(TITLE, counter, plain));
    }

    fn counts(&self) -> PushCounts {
        self.node.status().pushes
    }

    fn last_refusal(&self) -> PushRefusal {
        self.node.refused_pushes().last().unwrap().refusal
    }

    fn confirmations(&mut self) -> Vec<(u32, LongInvokeId)> {
        let frames = std::mem::take(&mut self.sent);
        let opened = frames.iter().map(|frame| {
            let frame = wrapper::Frame::decode(frame).unwrap();
            assert_eq!((frame.source, frame.destination), (WPort(103), WPort(1)));
            let apdu = CipheredApdu::decode(frame.apdu).unwrap();
            assert_eq!(apdu.title, OWN);
            let mut plain = Vec::new();
            let policy = Policy::AuthenticatedEncryption;
            let plain = cipher().open(&apdu, policy, &mut plain).unwrap();
            let confirm = DataNotificationConfirm::decode(plain).unwrap();
            (apdu.counter, confirm.invoke_id)
        });
        opened.collect()
    }
}

fn sealed(title: SystemTitle, counter: u32, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    cipher().protect(Protection::full(title, counter), plain, &mut out);
    out
}

/// One interval, the `nth` quarter of an hour from midnight.
fn interval(id: u32, nth: i64) -> Vec<u8> {
    let end = UtcTime::from_secs(start().as_secs() + nth * 900);
    let body = Data::Structure(vec![
        Data::OctetString(CosemDateTime::from_utc(end).unwrap().to_bytes().to_vec()),
        Data::DoubleLongUnsigned(100),
        Data::DoubleLongUnsigned(0),
        Data::DoubleLongUnsigned(5_000),
        Data::Unsigned(0),
    ]);
    let body = body.encode();
    let mut out = Vec::new();
    DataNotification {
        invoke_id: LongInvokeId(id),
        time: None,
        body: &body,
    }
    .encode(&mut out);
    out
}

fn event(value: u8) -> Vec<u8> {
    let mut out = Vec::new();
    EventNotification {
        time: None,
        attribute: AttributeDescriptor {
            class_id: 1,
            instance: ObisCode([0, 0, 96, 11, 4, 255]),
            attribute: 2,
        },
        value: Data::Unsigned(value),
    }
    .encode(&mut out);
    out
}

const CONFIRMED: u32 = 0x4000_0000;

#[test]
fn a_push_is_confirmed_once_it_is_durable_and_never_before() {
    let mut bench = Bench::new(PushAddresses::Registered);
    bench.acknowledges = false;
    bench.push(10, &interval(CONFIRMED | 5, 0));
    assert_eq!(bench.readings.len(), 1);
    assert_eq!(bench.readings[0].meter, METER);
    assert!(bench.sent.is_empty(), "nothing is durable yet");
    bench.acknowledge();
    assert_eq!(bench.confirmations(), [(1, LongInvokeId(CONFIRMED | 5))]);
    // Every answer has a counter of its own; an unconfirmed push has no answer.
    bench.acknowledges = true;
    bench.push(11, &interval(CONFIRMED | 6, 0));
    bench.push(12, &interval(7, 0));
    assert_eq!(bench.confirmations(), [(2, LongInvokeId(CONFIRMED | 6))]);
    let counts = bench.counts();
    assert_eq!(
        (counts.accepted, counts.readings, counts.confirmed),
        (3, 3, 2)
    );
    // The counter is durable: a head-end that starts again refuses it.
    let rows = bench.store.counters(None).unwrap();
    let believed = rows.iter().find(|row| row.title == TITLE).unwrap();
    assert_eq!(believed.value, 12);
}

#[test]
fn what_is_not_the_meters_word_is_refused_by_name() {
    let mut bench = Bench::new(PushAddresses::Registered);
    bench.push(10, &interval(1, 0));
    let good = sealed(TITLE, 11, &interval(1, 0));
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    let mut high = sealed(TITLE, u32::MAX - 1, &interval(1, 0));
    *high.last_mut().unwrap() ^= 1;
    let less = |control| {
        let protection = Protection {
            control,
            ..Protection::full(TITLE, 12)
        };
        let mut out = Vec::new();
        cipher().protect(protection, &interval(1, 0), &mut out);
        out
    };
    let stranger = sealed(SystemTitle(*b"STRANGER"), 1, &interval(1, 0));
    let mut dedicated = good.clone();
    dedicated[0] = 0xDC;
    for (apdu, refusal) in [
        (sealed(TITLE, 10, &interval(1, 0)), PushRefusal::Replayed),
        (sealed(TITLE, 9, &interval(1, 0)), PushRefusal::Replayed),
        (forged, PushRefusal::BadTag),
        (high, PushRefusal::BadTag),
        (less(SecurityControl(0x10)), PushRefusal::BadTag),
        (less(SecurityControl(0x20)), PushRefusal::BadTag),
        (stranger, PushRefusal::UnknownTitle),
        (interval(1, 0), PushRefusal::Plaintext),
        (event(1), PushRefusal::Plaintext),
        (dedicated, PushRefusal::Form(0xDC)),
        (good[..9].to_vec(), PushRefusal::Malformed),
        (vec![0xC0, 1, 0x81], PushRefusal::Form(0xC0)),
    ] {
        bench.wrapped(PUSHES, 1, &apdu);
        assert_eq!(bench.last_refusal(), refusal);
    }
    assert_eq!(bench.readings.len(), 1);
    assert!(bench.sent.is_empty());
    // A forged counter locks nobody out.
    bench.push(11, &interval(1, 0));
    assert_eq!(bench.readings.len(), 2);
    let counts = bench.counts();
    assert_eq!(
        (
            counts.replayed,
            counts.bad_tags,
            counts.unknown_titles,
            counts.plaintext
        ),
        (2, 4, 1, 2)
    );
    assert_eq!(counts.others, 3);
    assert!(bench.closed.is_empty());
    for _ in 0..16 {
        bench.wrapped(PUSHES, 1, &interval(1, 0));
    }
    assert_eq!(bench.closed, [PUSHES], "nobody may go on for ever");
}

#[test]
fn title_meter_address_and_connection_belong_together() {
    let elsewhere = LinkId(5);
    let mut bench = Bench::new(PushAddresses::Registered);
    bench.connect(elsewhere, "10.0.0.9", Arrival::InOrder);
    bench.wrapped(elsewhere, 1, &sealed(TITLE, 1, &interval(1, 0)));
    assert_eq!(bench.last_refusal(), PushRefusal::OtherAddress);
    let mut bench = Bench::new(PushAddresses::Any);
    bench.connect(elsewhere, "10.0.0.9", Arrival::InOrder);
    bench.wrapped(elsewhere, 1, &sealed(TITLE, 1, &interval(1, 0)));
    assert_eq!(bench.readings.len(), 1);
    // One port of a connection is one meter's.
    bench.wrapped(
        elsewhere,
        1,
        &sealed(SystemTitle(*b"FOR00002"), 1, &event(1)),
    );
    assert_eq!(bench.last_refusal(), PushRefusal::OtherTitle);
    // Known by its address alone, where its template says that it is not ciphered.
    let plain = LinkId(6);
    bench.connect(plain, "10.0.0.8", Arrival::InOrder);
    bench.wrapped(plain, 1, &interval(CONFIRMED | 1, 0));
    assert_eq!(bench.readings.last().unwrap().meter, MeterId(2));
    let frame = wrapper::Frame::decode(&bench.sent[0]).unwrap();
    assert!(DataNotificationConfirm::decode(frame.apdu).is_ok());
    bench.wrapped(plain, 2, &interval(1, 0));
    assert_eq!(bench.last_refusal(), PushRefusal::Plaintext, "another port");
}

#[test]
fn datagrams_may_overtake_each_other_and_streams_may_not() {
    let mut bench = Bench::new(PushAddresses::Registered);
    let datagrams = LinkId(5);
    bench.connect(datagrams, HOME, Arrival::Unordered);
    for (counter, stored) in [
        (20, 1),
        (23, 2),
        (22, 3),
        (22, 3),
        (21, 4),
        (19, 4),
        (20, 4),
    ] {
        bench.wrapped(datagrams, 1, &sealed(TITLE, counter, &interval(1, 0)));
        assert_eq!(bench.readings.len(), stored, "{counter}");
    }
    bench.push(30, &interval(1, 0));
    bench.push(29, &interval(1, 0));
    assert_eq!(bench.readings.len(), 5, "a stream keeps its order");
    assert_eq!(bench.last_refusal(), PushRefusal::Replayed);
    bench.wrapped(datagrams, 1, &sealed(TITLE, 29, &interval(1, 0)));
    assert_eq!(bench.readings.len(), 6);
}

#[test]
fn events_are_alarms_and_records_and_bounded() {
    let mut bench = Bench::new(PushAddresses::Registered);
    bench.push(1, &event(7));
    bench.push(2, &event(0));
    let alarms: Vec<_> = bench.node.alarms().collect();
    assert_eq!(alarms.len(), 1, "a zero tells that nothing is the matter");
    assert_eq!(alarms[0].meter, Some(METER));
    assert!(
        alarms[0].words.contains("0-0:96.11.4.255 says 7"),
        "{alarms:?}"
    );
    for counter in 3..200 {
        bench.push(counter, &event(9));
    }
    let counts = bench.counts();
    assert_eq!((counts.events, counts.events_left_out), (120, 79));
    bench.now += Duration::from_hours(1);
    bench.push(200, &event(9));
    assert_eq!(bench.counts().events, 121);
}

#[test]
fn what_cannot_be_read_is_named_and_what_is_missing_is_fetched() {
    let mut bench = Bench::new(PushAddresses::Registered);
    // No notification, though it is the meter's own word.
    let mut get = Vec::new();
    GetRequestNormal {
        invoke_id: InvokeId(0xC1),
        attribute: AttributeDescriptor {
            class_id: 1,
            instance: ObisCode([0, 0, 42, 0, 0, 255]),
            attribute: 2,
        },
        access: None,
    }
    .encode(&mut get);
    bench.push(1, &get);
    assert_eq!(bench.counts().unreadable, 1);
    assert!(bench.node.errors()[&METER].words.contains("unasked"));
    // An interval of tomorrow is the meter's clock's mistake.
    bench.push(2, &interval(CONFIRMED | 1, 96));
    assert!(bench.readings.is_empty());
    assert!(bench.node.errors()[&METER].words.contains("its clock"));
    // Rows of a profile that nobody knows: the meter is read instead.
    assert_eq!(bench.dials, 0);
    let mut out = Vec::new();
    EventNotification {
        time: None,
        attribute: AttributeDescriptor {
            class_id: 7,
            instance: ObisCode([1, 0, 99, 1, 0, 255]),
            attribute: 2,
        },
        value: Data::Array(Vec::new()),
    }
    .encode(&mut out);
    bench.push(3, &out);
    bench.push(4, &out);
    assert_eq!(bench.dials, 1);
}
