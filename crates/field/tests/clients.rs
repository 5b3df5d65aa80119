//! Clients read and manage a meter: the real protocol on both sides.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use gridloom_core::{ObisCode, Period, Seed, SystemTitle, UtcTime};
use gridloom_dlms::apdu::{
    AttributeDescriptor, DataAccessResult, MethodDescriptor, SelectiveAccess,
};
use gridloom_dlms::association::{Conformance, Secret};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::client::{
    Authentication, Ciphering, Client, ClientConfig, ClientError, ClientOutput, ReleaseForm,
    Request, Response, ServiceForm,
};
use gridloom_dlms::counter::{ReceiveCounter, TransmitCounter};
use gridloom_dlms::datetime::CosemDateTime;
use gridloom_dlms::security::{KeyEncryptionKey, Keys, Policy, SecurityControl, SecuritySuite};
use gridloom_dlms::selection::{CaptureObject, EntryDescriptor, RangeDescriptor};
use gridloom_field::Client as Role;
use gridloom_field::meter::ConnectionId;
use gridloom_field::{Boot, ClientAccess, ClockConfig, Connection, Event, Meter, MeterConfig};
use support::{Bench, METER, Restless, config, keys, time};

const PERIOD: Period = Period::QUARTER_HOUR;
const HEAD_END: SystemTitle = SystemTitle(*b"GLMhead1");
const PASSWORD: &[u8] = b"a-reader";
const LINE: ConnectionId = ConnectionId(7);

const CLOCK: (u16, [u8; 6]) = (8, [0, 0, 1, 0, 0, 255]);
const COUNTER: (u16, [u8; 6]) = (1, [0, 0, 43, 1, 0, 255]);
const NAME: (u16, [u8; 6]) = (1, [0, 0, 42, 0, 0, 255]);
const ASSOCIATION: (u16, [u8; 6]) = (15, [0, 0, 40, 0, 0, 255]);
const IMPORT: (u16, [u8; 6]) = (3, [1, 0, 1, 8, 0, 255]);
const BLOCK: (u16, [u8; 6]) = (7, [1, 0, 99, 1, 0, 255]);
const DAILY: (u16, [u8; 6]) = (7, [1, 0, 99, 2, 0, 255]);
const BILLING: (u16, [u8; 6]) = (7, [1, 0, 98, 1, 0, 255]);
const SWITCH: (u16, [u8; 6]) = (70, [0, 0, 96, 3, 10, 255]);
const SWITCH_SCRIPTS: (u16, [u8; 6]) = (9, [0, 0, 10, 0, 106, 255]);
const LIMITER: (u16, [u8; 6]) = (71, [0, 0, 17, 0, 0, 255]);
const CALENDAR: (u16, [u8; 6]) = (20, [0, 0, 13, 0, 0, 255]);
const SECURITY: (u16, [u8; 6]) = (64, [0, 0, 43, 0, 0, 255]);

fn configured() -> MeterConfig {
    MeterConfig {
        access: ClientAccess {
            master: Some(KeyEncryptionKey::new([0x77; 16])),
            ..ClientAccess::default()
        }
        .with_password(Role::Reader, PASSWORD),
        ..config(1, PERIOD)
    }
}

fn load() -> Box<Restless> {
    Box::new(Restless(Seed::new(1)))
}

/// A meter that has run from New Year to `until`.
fn bench(until: &str) -> Bench {
    let mut bench = Bench::new(configured(), load(), "2013-01-01T00:00:00Z");
    bench.settle();
    bench.run_until(time(until));
    bench
}

fn attribute((class_id, name): (u16, [u8; 6]), attribute: i8) -> AttributeDescriptor {
    AttributeDescriptor {
        class_id,
        instance: ObisCode(name),
        attribute,
    }
}

/// A client's counters, which outlive its sessions.
struct Counters {
    transmit: TransmitCounter,
    receive: ReceiveCounter,
}

impl Counters {
    fn new() -> Self {
        Self {
            transmit: TransmitCounter::new(),
            receive: ReceiveCounter::new(),
        }
    }
}

fn client_config(role: Role) -> ClientConfig {
    client_config_with(role, keys())
}

fn client_config_with(role: Role, keys: Keys) -> ClientConfig {
    ClientConfig {
        client: role.sap(),
        server: 1,
        authentication: match role {
            Role::Public => Authentication::None,
            Role::Reader => Authentication::Lls(Secret::new(PASSWORD)),
            Role::Management => Authentication::Gmac,
        },
        ciphering: (role == Role::Management).then(|| Ciphering {
            suite: SecuritySuite::Suite0,
            keys,
            title: HEAD_END,
            server_title: Some(METER),
            dedicated_key: None,
            form: ServiceForm::Service,
            control: SecurityControl::AUTHENTICATED_ENCRYPTED,
            policy: Policy::AuthenticatedEncryption,
        }),
        max_pdu: 512,
        conformance: Conformance::STANDARD,
        release: ReleaseForm::Full,
        answer_timeout: Duration::from_secs(10),
        attempts: 1,
    }
}

/// One client on one connection to a bench's meter.
struct Session {
    client: Client,
    sap: u16,
    /// APDUs the client sent.
    sent: usize,
    ended: Vec<ClientOutput>,
}

impl Session {
    fn new(config: ClientConfig, counters: Counters) -> Self {
        Self {
            sap: config.client,
            client: Client::new(config, counters.transmit, counters.receive),
            sent: 0,
            ended: Vec::new(),
        }
    }

    /// Opens the association, or says why it did not stand.
    fn open(
        bench: &mut Bench,
        config: ClientConfig,
        counters: Counters,
    ) -> Result<Self, ClientError> {
        let mut session = Self::new(config, counters);
        session.client.open(&[0x5A; 16], bench.now.instant);
        session.talk(bench);
        match session.ended.pop() {
            Some(ClientOutput::Opened { .. }) => Ok(session),
            Some(ClientOutput::Failed(error)) => Err(error),
            other => panic!("neither open nor failed: {other:?}"),
        }
    }

    fn role(bench: &mut Bench, role: Role) -> Self {
        Self::open(bench, client_config(role), Counters::new()).unwrap()
    }

    /// Carries APDUs to and fro until nothing moves.
    fn talk(&mut self, bench: &mut Bench) {
        loop {
            let Some(output) = self.client.poll_output() else {
                let Some((connection, client, apdu)) = bench.answers.pop_front() else {
                    return;
                };
                assert_eq!((connection, client), (LINE, self.sap));
                self.client.handle_apdu(&apdu, bench.now.instant);
                continue;
            };
            match output {
                ClientOutput::Send(apdu) => {
                    self.sent += 1;
                    bench
                        .meter
                        .handle_client_apdu(LINE, self.sap, &apdu, bench.now);
                    bench.settle();
                }
                ClientOutput::Reserve(upper) => self.client.handle_reserved(upper),
                ClientOutput::Progress { .. } => {}
                other @ (ClientOutput::Opened { .. }
                | ClientOutput::Answered(_)
                | ClientOutput::Notified(_)
                | ClientOutput::Released
                | ClientOutput::Failed(_)) => self.ended.push(other),
            }
        }
    }

    fn ask(&mut self, bench: &mut Bench, request: Request) -> Result<Response, ClientError> {
        self.client.request(request, bench.now.instant);
        self.talk(bench);
        match self.ended.pop() {
            Some(ClientOutput::Answered(answer)) => answer,
            other => panic!("no answer but {other:?}"),
        }
    }

    fn get(&mut self, bench: &mut Bench, asked: AttributeDescriptor) -> Result<Data, ClientError> {
        self.get_part(bench, asked, None)
    }

    fn get_part(
        &mut self,
        bench: &mut Bench,
        asked: AttributeDescriptor,
        access: Option<SelectiveAccess>,
    ) -> Result<Data, ClientError> {
        let request = Request::Get {
            attribute: asked,
            access,
        };
        match self.ask(bench, request)? {
            Response::Value(value) => Ok(value),
            other => panic!("no value but {other:?}"),
        }
    }

    fn set(
        &mut self,
        bench: &mut Bench,
        asked: AttributeDescriptor,
        value: Data,
    ) -> Result<Response, ClientError> {
        let request = Request::Set {
            attribute: asked,
            access: None,
            value,
        };
        self.ask(bench, request)
    }

    fn invoke(
        &mut self,
        bench: &mut Bench,
        (class_id, name): (u16, [u8; 6]),
        method: i8,
        parameters: Data,
    ) -> Result<Response, ClientError> {
        let method = MethodDescriptor {
            class_id,
            instance: ObisCode(name),
            method,
        };
        let parameters = Some(parameters);
        self.ask(bench, Request::Invoke { method, parameters })
    }

    fn release(mut self, bench: &mut Bench) -> Counters {
        self.client.release(bench.now.instant);
        self.talk(bench);
        assert!(
            matches!(self.ended.pop(), Some(ClientOutput::Released)),
            "released"
        );
        let (transmit, receive) = self.client.counters();
        Counters {
            transmit: transmit.clone(),
            receive: *receive,
        }
    }
}

fn rows(data: Data) -> Vec<Vec<Data>> {
    let Data::Array(rows) = data else {
        panic!("no array: {data:?}");
    };
    rows.into_iter()
        .map(|row| match row {
            Data::Structure(values) => values,
            other => panic!("no row: {other:?}"),
        })
        .collect()
}

fn moment(value: &Data) -> UtcTime {
    let Data::OctetString(bytes) = value else {
        panic!("no time: {value:?}");
    };
    CosemDateTime::decode(bytes).unwrap().to_utc().unwrap()
}

fn date_time(text: &str) -> Data {
    let written = CosemDateTime::from_utc(time(text)).unwrap();
    Data::OctetString(written.to_bytes().to_vec())
}

fn by_time(from: &str, to: &str, selected: Vec<CaptureObject>) -> SelectiveAccess {
    RangeDescriptor {
        restricting: capture(CLOCK, 2),
        from: date_time(from),
        to: date_time(to),
        selected,
    }
    .to_access()
}

fn capture((class_id, name): (u16, [u8; 6]), attribute: i8) -> CaptureObject {
    CaptureObject {
        class_id,
        instance: ObisCode(name),
        attribute,
        data_index: 0,
    }
}

fn refused(answer: Result<impl std::fmt::Debug, ClientError>) -> DataAccessResult {
    match answer {
        Err(ClientError::Object(result, _)) => result,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn the_public_client_reads_the_clock_and_the_counter_and_nothing_else() {
    let mut bench = bench("2013-01-01T10:07:03Z");
    let mut public = Session::role(&mut bench, Role::Public);
    let clock = public.get(&mut bench, attribute(CLOCK, 2)).unwrap();
    assert_eq!(moment(&clock), bench.now.utc);
    let counter = public.get(&mut bench, attribute(COUNTER, 2));
    assert_eq!(counter, Ok(Data::DoubleLongUnsigned(0)));
    let name = public.get(&mut bench, attribute(NAME, 2));
    assert_eq!(name, Ok(Data::OctetString(b"GLM0469853565489".to_vec())));
    let Data::Array(list) = public.get(&mut bench, attribute(ASSOCIATION, 2)).unwrap() else {
        panic!("a list");
    };
    assert_eq!(list.len(), 6);
    for asked in [attribute(IMPORT, 2), attribute(BLOCK, 2)] {
        let refused = refused(public.get(&mut bench, asked));
        assert_eq!(refused, DataAccessResult::ReadWriteDenied);
    }
    public.release(&mut bench);
    assert!(bench.answers.is_empty());

    // Management has spoken meanwhile: its counter is what the public client sees.
    let mut management = Session::role(&mut bench, Role::Management);
    for _ in 0..3 {
        management.get(&mut bench, attribute(CLOCK, 2)).unwrap();
    }
    let counters = management.release(&mut bench);
    let mut public = Session::role(&mut bench, Role::Public);
    let Ok(Data::DoubleLongUnsigned(last)) = public.get(&mut bench, attribute(COUNTER, 2)) else {
        panic!("a counter");
    };
    let mut transmit = counters.transmit;
    assert_eq!(transmit.next(), Ok(last + 1));
}

#[test]
fn a_reader_reads_registers_and_profiles_and_writes_nothing() {
    let mut bench = bench("2013-01-02T00:05:00Z");
    let wrong = ClientConfig {
        authentication: Authentication::Lls(Secret::new(&b"a-wrong1"[..])),
        ..client_config(Role::Reader)
    };
    let error = Session::open(&mut bench, wrong, Counters::new()).err();
    assert!(
        matches!(error, Some(ClientError::Association { .. })),
        "{error:?}"
    );

    let mut reader = Session::role(&mut bench, Role::Reader);
    let import = reader.get(&mut bench, attribute(IMPORT, 2)).unwrap();
    let register = bench.meter.metrology().registers().import.get() / 1_000;
    assert_eq!(
        import,
        Data::DoubleLongUnsigned(register.try_into().unwrap())
    );
    let unit = reader.get(&mut bench, attribute(IMPORT, 3)).unwrap();
    assert_eq!(
        unit,
        Data::Structure(vec![Data::Integer(0), Data::Enum(30)])
    );

    // A day in blocks: ninety-six rows of eleven columns are far above 512 bytes.
    let sent = reader.sent;
    let whole = rows(reader.get(&mut bench, attribute(BLOCK, 2)).unwrap());
    assert!(reader.sent - sent > 10, "by blocks: {}", reader.sent - sent);
    assert_eq!(whole.len(), 96);
    let profile: Vec<_> = bench.meter.profile().iter().copied().collect();
    for (row, entry) in whole.iter().zip(&profile) {
        assert_eq!(row.len(), 11);
        assert_eq!(moment(&row[0]), entry.end());
        assert_eq!(row[1], Data::Unsigned(entry.status().0));
        let [energies @ .., voltage] = entry.values().to_array();
        for (value, milli) in row[2..9].iter().zip(energies) {
            let units = u32::try_from(milli / 1_000).unwrap();
            assert_eq!(*value, Data::DoubleLongUnsigned(units));
        }
        assert_eq!(
            row[9],
            Data::LongUnsigned((voltage / 100).try_into().unwrap())
        );
        let register = entry.import_register().get() / 1_000;
        assert_eq!(
            row[10],
            Data::DoubleLongUnsigned(register.try_into().unwrap())
        );
    }
    let in_use = reader.get(&mut bench, attribute(BLOCK, 7));
    assert_eq!(in_use, Ok(Data::DoubleLongUnsigned(96)));

    // By range: both ends are in it; columns in the order asked for.
    let selected = vec![capture(IMPORT, 2), capture(CLOCK, 2)];
    let (from, to) = ("2013-01-01T06:00:00Z", "2013-01-01T07:00:00Z");
    let part = |selected| Some(by_time(from, to, selected));
    let all = reader.get_part(&mut bench, attribute(BLOCK, 2), part(vec![]));
    assert_eq!(rows(all.unwrap()), whole[23..28]);
    let two = rows(
        reader
            .get_part(&mut bench, attribute(BLOCK, 2), part(selected))
            .unwrap(),
    );
    for (row, whole) in two.iter().zip(&whole[23..28]) {
        assert_eq!(*row, [whole[10].clone(), whole[0].clone()]);
    }
    // By entry, from 1; zero is the last one.
    let entries = |from, to, from_column, to_column| {
        Some(
            EntryDescriptor {
                from,
                to,
                from_column,
                to_column,
            }
            .to_access(),
        )
    };
    let some = reader.get_part(&mut bench, attribute(BLOCK, 2), entries(95, 0, 1, 0));
    assert_eq!(rows(some.unwrap()), whole[94..]);
    let some = reader.get_part(&mut bench, attribute(BLOCK, 2), entries(1, 2, 3, 4));
    assert_eq!(rows(some.unwrap()), [&whole[0][2..4], &whole[1][2..4]]);
    let none = reader.get_part(&mut bench, attribute(BLOCK, 2), entries(97, 200, 1, 0));
    assert_eq!(none, Ok(Data::Array(vec![])));
    let strange = Some(by_time(from, to, vec![capture(CLOCK, 3)]));
    for (part, expected) in [
        (entries(0, 1, 1, 0), DataAccessResult::ScopeOfAccessViolated),
        (
            entries(1, 2, 12, 0),
            DataAccessResult::ScopeOfAccessViolated,
        ),
        (strange, DataAccessResult::ScopeOfAccessViolated),
    ] {
        let answer = reader.get_part(&mut bench, attribute(BLOCK, 2), part.clone());
        assert_eq!(refused(answer), expected, "{part:?}");
    }

    let to_clock = date_time("2013-06-01T00:00:00Z");
    let answer = reader.set(&mut bench, attribute(CLOCK, 2), to_clock);
    assert!(answer.is_err(), "{answer:?}");
    let answer = reader.invoke(&mut bench, BLOCK, 1, Data::Integer(0));
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(bench.meter.clock().time_at(bench.now.utc), bench.now.utc);
}

#[test]
fn management_sets_the_clock_and_the_profile_says_so() {
    let mut bench = bench("2013-01-01T10:07:00Z");
    let mut management = Session::role(&mut bench, Role::Management);
    let answer = management.set(
        &mut bench,
        attribute(CLOCK, 2),
        date_time("2013-01-01T10:09:00Z"),
    );
    assert_eq!(answer, Ok(Response::Written));
    let shown = management.get(&mut bench, attribute(CLOCK, 2)).unwrap();
    assert_eq!(moment(&shown), time("2013-01-01T10:09:00Z"));
    assert!(
        bench
            .events
            .iter()
            .any(|event| matches!(event, Event::ClockSet(step) if step.millis() == 120_000)),
        "{:?}",
        bench.events
    );
    // Over the end of the running interval, and back into it.
    let answer = management.set(
        &mut bench,
        attribute(CLOCK, 2),
        date_time("2013-01-01T11:01:00Z"),
    );
    assert_eq!(answer, Ok(Response::Written));
    let answer = management.set(
        &mut bench,
        attribute(CLOCK, 2),
        date_time("2013-01-01T10:00:00Z"),
    );
    assert_eq!(answer, Ok(Response::Written));
    // A small correction marks nothing.
    bench.run_until(bench.now.utc + Duration::from_secs(7_200));
    let answer = management.invoke(&mut bench, CLOCK, 6, Data::Long(5));
    assert_eq!(answer, Ok(Response::Invoked(None)));
    bench.run_until(bench.now.utc + Duration::from_secs(7_200));

    let adjusted = gridloom_core::ReadingStatus::CLOCK_ADJUSTED;
    let profile = bench.meter.profile();
    let marked: Vec<String> = profile
        .iter()
        .filter(|entry| entry.status().contains(adjusted))
        .map(|entry| entry.end().to_string())
        .collect();
    // The first was closed by the step over its end; the second began with that step and went
    // on through the step back, for an hour and a quarter.
    let expected = ["2013-01-01T10:15:00Z", "2013-01-01T11:15:00Z"];
    assert_eq!(marked, expected.map(|end| time(end).to_string()));
    assert!(
        profile
            .iter()
            .map(|entry| entry.end())
            .is_sorted_by(|a, b| a < b),
        "no interval is named twice"
    );
    // No energy is lost: the intervals sum up to the register.
    let sum: i64 = profile
        .iter()
        .map(|entry| entry.values().import.get())
        .sum();
    let register = profile.newest().unwrap().import_register().get();
    assert_eq!(sum, register);

    for (value, expected) in [
        (Data::Null, DataAccessResult::TypeUnmatched),
        (
            date_time("2012-12-01T00:00:00Z"),
            DataAccessResult::OtherReason,
        ),
    ] {
        let answer = management.set(&mut bench, attribute(CLOCK, 2), value);
        assert_eq!(refused(answer), expected);
    }
    // What was set is there after a restart, by its own memory.
    let shown = bench.meter.clock().time_at(bench.now.utc);
    assert_ne!(shown, bench.now.utc);
    bench.restart(configured(), load(), Boot::Reset);
    assert_eq!(bench.meter.clock().time_at(bench.now.utc), shown);
    let again = bench.meter.profile().iter().count();
    assert!(again > 40);
}

#[test]
fn a_crash_between_any_two_effects_never_answers_what_is_not_durable() {
    let set = time("2013-01-01T03:20:00Z");
    let mut answered = 0;
    for crash_after in 0..14 {
        let mut bench = bench("2013-01-01T03:07:00Z");
        let mut management = Session::role(&mut bench, Role::Management);
        let request = Request::Set {
            attribute: attribute(CLOCK, 2),
            access: None,
            value: date_time("2013-01-01T03:20:00Z"),
        };
        management.client.request(request, bench.now.instant);
        let mut effects = 0;
        // One effect at a time: an APDU, a write, an answer.
        let answer = 'run: loop {
            loop {
                if effects == crash_after {
                    break 'run None;
                }
                effects += 1;
                if let Some((_, _, apdu)) = bench.answers.pop_front() {
                    break 'run Some(apdu);
                }
                match management.client.poll_output() {
                    Some(ClientOutput::Send(apdu)) => {
                        bench
                            .meter
                            .handle_client_apdu(LINE, management.sap, &apdu, bench.now);
                        bench.drain();
                        assert!(bench.answers.is_empty(), "before anything is durable");
                        continue;
                    }
                    Some(ClientOutput::Reserve(upper)) => {
                        management.client.handle_reserved(upper);
                        continue;
                    }
                    Some(other) => panic!("{other:?}"),
                    None => {}
                }
                if !bench.write_one() {
                    break 'run None;
                }
                bench.drain();
            }
        };
        bench.restart(configured(), load(), Boot::Reset);
        bench.settle();
        let shown = bench.meter.clock().time_at(bench.now.utc);
        if answer.is_some() {
            answered += 1;
            assert_eq!(shown, set, "answered after {effects} effects");
        } else {
            assert!(shown == set || shown == bench.now.utc);
        }
    }
    assert!(answered > 5, "{answered}");
}

#[test]
fn keys_are_transferred_and_outlive_a_restart() {
    let mut bench = bench("2013-01-01T01:07:00Z");
    let master = KeyEncryptionKey::new([0x77; 16]);
    let (encryption, authentication) = ([0xE1; 16], [0xA1; 16]);
    let mut management = Session::role(&mut bench, Role::Management);
    let transfer = |keys: &[(u8, [u8; 16])]| {
        let keys = keys.iter().map(|(id, key)| {
            let wrapped = master.wrap(key).to_vec();
            Data::Structure(vec![Data::Enum(*id), Data::OctetString(wrapped)])
        });
        Data::Array(keys.collect())
    };
    let broken = Data::Array(vec![Data::Structure(vec![
        Data::Enum(0),
        Data::OctetString(vec![1; 24]),
    ])]);
    let answer = management.invoke(&mut bench, SECURITY, 2, broken);
    assert!(matches!(answer, Err(ClientError::Method(..))), "{answer:?}");
    let both = transfer(&[(0, encryption), (2, authentication)]);
    let answer = management.invoke(&mut bench, SECURITY, 2, both);
    assert_eq!(answer, Ok(Response::Invoked(None)));

    for restarted in [false, true] {
        if restarted {
            bench.restart(configured(), load(), Boot::Reset);
            bench.settle();
        }
        let old = Session::open(&mut bench, client_config(Role::Management), Counters::new());
        let error = old.err().expect("the old keys are no longer believed");
        assert!(!error.to_string().is_empty());
        bench.meter.handle_client_disconnected(LINE, bench.now);
        bench.settle();
        let config = client_config_with(Role::Management, Keys::new(encryption, authentication));
        let mut transmit = TransmitCounter::resume(if restarted { 5_000 } else { 0 });
        let upper = transmit.reservation_due().unwrap();
        transmit.reserved(upper);
        let counters = Counters {
            transmit,
            receive: ReceiveCounter::new(),
        };
        let mut new = Session::open(&mut bench, config, counters).unwrap();
        new.get(&mut bench, attribute(CLOCK, 2)).unwrap();
        new.release(&mut bench);
        bench.meter.handle_client_disconnected(LINE, bench.now);
        bench.settle();
    }
}

#[test]
fn events_are_logged_and_read_and_pushes_come_when_asked_for() {
    let mut bench = bench("2013-01-01T03:07:00Z");
    bench.meter.handle_power_off(bench.now);
    bench.settle();
    bench.pass_to(time("2013-01-01T03:20:00Z"));
    bench.meter.handle_power_on(bench.now);
    bench.settle();
    bench.run_until(time("2013-01-01T04:00:00Z"));
    let mut management = Session::role(&mut bench, Role::Management);
    let answer = management.set(
        &mut bench,
        attribute(CLOCK, 2),
        date_time("2013-01-01T04:05:00Z"),
    );
    assert_eq!(answer, Ok(Response::Written));
    let answer = management.invoke(&mut bench, SWITCH, 1, Data::Integer(0));
    assert_eq!(answer, Ok(Response::Invoked(None)));
    bench.restart(configured(), load(), Boot::Reset);
    bench.settle();
    bench.link_up();

    let mut reader = Session::role(&mut bench, Role::Reader);
    let log = |number| attribute((7, [0, 0, 99, 98, number, 255]), 2);
    let expected: [(u8, &[(u16, &str)]); 4] = [
        (
            2,
            &[(101, "2013-01-01T03:07:00Z"), (102, "2013-01-01T03:20:00Z")],
        ),
        (3, &[(151, "2013-01-01T04:05:00Z")]),
        (5, &[]),
        (6, &[(301, "2013-01-01T04:05:00Z")]),
    ];
    for (number, expected) in expected {
        let entries: Vec<_> = rows(reader.get(&mut bench, log(number)).unwrap())
            .into_iter()
            .map(|row| (row[1].clone(), moment(&row[0])))
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(code, at)| (Data::LongUnsigned(*code), time(at)))
            .collect();
        assert_eq!(entries, expected, "log {number}");
    }
    let late = by_time("2013-01-01T03:10:00Z", "2013-01-01T03:30:00Z", vec![]);
    let some = reader.get_part(&mut bench, log(2), Some(late));
    assert_eq!(rows(some.unwrap()).len(), 1);
    let code = reader.get(&mut bench, attribute((1, [0, 0, 96, 11, 6, 255]), 2));
    assert_eq!(code, Ok(Data::LongUnsigned(301)));
    let outages = reader.get(&mut bench, attribute((1, [0, 0, 96, 7, 0, 255]), 2));
    assert_eq!(outages, Ok(Data::DoubleLongUnsigned(1)));
    let minutes = reader.get(&mut bench, attribute((1, [0, 0, 94, 91, 8, 255]), 2));
    assert_eq!(minutes, Ok(Data::DoubleLongUnsigned(13)));
    reader.release(&mut bench);
    bench.run_until(bench.now.utc + Duration::from_secs(10));

    // Every push is confirmed; then one is asked for.
    let mut head_end = support::HeadEnd::new();
    let deliver = |bench: &mut Bench, head_end: &mut support::HeadEnd| {
        let mut pushes = 0;
        while let Some(frame) = bench.sent.pop_front() {
            if let Some(push) = head_end.receive(&frame) {
                pushes += 1;
                let ack = head_end.ack(push.invoke_id());
                bench.give(&ack);
            }
        }
        pushes
    };
    assert!(deliver(&mut bench, &mut head_end) > 10);
    assert_eq!(bench.meter.profile().unacknowledged(), 0);
    let counters = Counters {
        transmit: TransmitCounter::resume(5_000),
        receive: ReceiveCounter::new(),
    };
    let config = client_config(Role::Management);
    let mut management = Session::open(&mut bench, config, counters).unwrap();
    let push = (40, [0, 0, 25, 9, 0, 255]);
    let answer = management.invoke(&mut bench, push, 1, Data::Integer(0));
    assert_eq!(answer, Ok(Response::Invoked(None)));
    assert_eq!(deliver(&mut bench, &mut head_end), 1, "at once, and once");
    bench.run_until(bench.now.utc + Duration::from_secs(300));
    assert_eq!(deliver(&mut bench, &mut head_end), 0, "it was confirmed");
}

fn steady(watts: i64) -> Box<gridloom_field::ConstantLoad> {
    Box::new(gridloom_field::ConstantLoad {
        power: gridloom_field::Power {
            active_mw: [watts * 1_000, 0, 0],
            reactive_mvar: [0; 3],
        },
    })
}

/// Wh since installation.
fn imported(bench: &mut Bench) -> i64 {
    bench.meter.status(bench.now).registers.import.get() / 1_000
}

#[test]
fn management_disconnects_the_load_and_it_stays_so() {
    let start = "2013-01-01T00:00:00Z";
    let mut bench = Bench::new(configured(), steady(1_200), start);
    bench.settle();
    bench.run_until(time("2013-01-01T01:07:00Z"));
    assert_eq!(imported(&mut bench), 1_340);
    let mut management = Session::role(&mut bench, Role::Management);
    let answer = management.invoke(&mut bench, SWITCH, 1, Data::Integer(0));
    assert_eq!(answer, Ok(Response::Invoked(None)));
    let state = management.get(&mut bench, attribute(SWITCH, 3));
    assert_eq!(state, Ok(Data::Enum(0)));
    bench.run_until(time("2013-01-01T02:07:00Z"));
    assert_eq!(imported(&mut bench), 1_340, "nothing flows");
    bench.restart(configured(), steady(1_200), Boot::Reset);
    bench.settle();
    bench.run_until(time("2013-01-01T03:07:00Z"));
    assert_eq!(imported(&mut bench), 1_340, "nor after a restart");

    let counters = Counters {
        transmit: TransmitCounter::resume(5_000),
        receive: ReceiveCounter::new(),
    };
    let config = client_config(Role::Management);
    let mut management = Session::open(&mut bench, config, counters).unwrap();
    let output = management.get(&mut bench, attribute(SWITCH, 2));
    assert_eq!(output, Ok(Data::Boolean(false)));
    // By its script this time.
    let answer = management.invoke(&mut bench, SWITCH_SCRIPTS, 1, Data::LongUnsigned(2));
    assert_eq!(answer, Ok(Response::Invoked(None)));
    let output = management.get(&mut bench, attribute(SWITCH, 2));
    assert_eq!(output, Ok(Data::Boolean(true)));
    bench.run_until(time("2013-01-01T04:07:00Z"));
    assert_eq!(imported(&mut bench), 2_540);
    let power = gridloom_field::features::FeatureEvent::Switched {
        from: gridloom_field::objects::disconnect_control::ControlState::Disconnected,
        to: gridloom_field::objects::disconnect_control::ControlState::Connected,
        cause: gridloom_field::objects::disconnect_control::Cause::Remote,
    };
    assert!(
        bench.events.contains(&Event::Feature(power)),
        "{:?}",
        bench.events
    );
}

#[test]
fn a_limit_disconnects_after_its_time_to_the_second() {
    let mut bench = Bench::new(configured(), steady(3_600), "2013-01-01T00:00:00Z");
    bench.settle();
    bench.run_until(time("2013-01-01T00:05:00Z"));
    let mut management = Session::role(&mut bench, Role::Management);
    for (number, value) in [(6, 90), (4, 3_000)] {
        let value = Data::DoubleLongUnsigned(value);
        let answer = management.set(&mut bench, attribute(LIMITER, number), value);
        assert_eq!(answer, Ok(Response::Written));
    }
    bench.run_until(time("2013-01-01T00:06:29Z"));
    assert_eq!(imported(&mut bench), 389);
    bench.run_until(time("2013-01-01T00:30:00Z"));
    assert_eq!(
        imported(&mut bench),
        390,
        "one Wh per second until 00:06:30"
    );
    let state = management.get(&mut bench, attribute(SWITCH, 3));
    assert_ne!(state, Ok(Data::Enum(1)));
}

#[test]
fn each_tariff_gets_its_energy_to_the_second() {
    let mut bench = Bench::new(configured(), steady(3_600), "2013-01-01T00:00:00Z");
    bench.settle();
    bench.run_until(time("2013-01-01T05:00:00Z"));
    let mut management = Session::role(&mut bench, Role::Management);
    let new_year = vec![0xFF, 0xFF, 1, 1, 0xFF, 0, 0, 0, 0, 0x80, 0, 0];
    let season = Data::Structure(vec![
        Data::OctetString(vec![1]),
        Data::OctetString(new_year),
        Data::OctetString(vec![1]),
    ]);
    let mut week = vec![Data::OctetString(vec![1])];
    week.extend(vec![Data::Unsigned(1); 7]);
    let at = |hour, minute, tariff| {
        Data::Structure(vec![
            Data::OctetString(vec![hour, minute, 0, 0]),
            Data::OctetString(vec![0, 0, 10, 0, 100, 255]),
            Data::LongUnsigned(tariff),
        ])
    };
    let day = Data::Structure(vec![
        Data::Unsigned(1),
        Data::Array(vec![at(0, 0, 1), at(6, 20, 2), at(22, 0, 1)]),
    ]);
    for (number, value) in [
        (6, Data::OctetString(b"plan".to_vec())),
        (7, Data::Array(vec![season])),
        (8, Data::Array(vec![Data::Structure(week)])),
        (9, Data::Array(vec![day])),
    ] {
        let answer = management.set(&mut bench, attribute(CALENDAR, number), value);
        assert_eq!(answer, Ok(Response::Written), "{number}");
    }
    let answer = management.invoke(&mut bench, CALENDAR, 1, Data::Integer(0));
    assert_eq!(answer, Ok(Response::Invoked(None)));
    bench.run_until(time("2013-01-01T12:00:00Z"));
    bench.restart(configured(), steady(3_600), Boot::Reset);
    bench.settle();
    bench.run_until(time("2013-01-02T07:00:10Z"));
    let mut reader = Session::role(&mut bench, Role::Reader);
    // One Wh per second; the second tariff from 6:20 to 22:00.
    let second = 56_400 + 2_410;
    let total = 31 * 3_600 + 10;
    for (tariff, expected) in [(0, total), (1, total - second), (2, second), (3, 0)] {
        let register = attribute((3, [1, 0, 1, 8, tariff, 255]), 2);
        let value = reader.get(&mut bench, register);
        assert_eq!(value, Ok(Data::DoubleLongUnsigned(expected)), "{tariff}");
    }
    let active = reader.get(&mut bench, attribute((1, [0, 0, 96, 14, 0, 255]), 2));
    assert_eq!(active, Ok(Data::Unsigned(2)));
}

#[test]
fn daily_and_billing_profiles_follow_from_the_registers() {
    let mut bench = Bench::new(configured(), load(), "2013-01-30T00:00:00Z");
    bench.settle();
    let mut midnights = BTreeMap::new();
    for day in ["2013-01-31", "2013-02-01", "2013-02-02", "2013-02-03"] {
        let midnight = time(&format!("{day}T00:00:00Z"));
        bench.run_until(midnight);
        midnights.insert(midnight, bench.meter.metrology().registers());
    }
    bench.run_until(time("2013-02-03T05:03:00Z"));
    let mut reader = Session::role(&mut bench, Role::Reader);
    let units = |milli: i64| Data::DoubleLongUnsigned(u32::try_from(milli / 1_000).unwrap());
    let days = rows(reader.get(&mut bench, attribute(DAILY, 2)).unwrap());
    assert_eq!(days.len(), midnights.len());
    for (row, (midnight, registers)) in days.iter().zip(&midnights) {
        assert_eq!(moment(&row[0]), *midnight);
        assert_eq!(row[1], units(registers.import.get()), "{midnight}");
        assert_eq!(row[2], units(registers.export.get()), "{midnight}");
        assert_eq!(row[7], units(registers.apparent.get()), "{midnight}");
    }
    let billing = rows(reader.get(&mut bench, attribute(BILLING, 2)).unwrap());
    assert_eq!(billing.len(), 1, "January has ended");
    assert_eq!(billing[0][..2], days[1][..2]);
    assert_eq!(billing[0][2], days[1][1], "all of it in the first tariff");
    assert_eq!(billing[0][10], days[1][2], "export");
    let highest = bench
        .meter
        .profile()
        .iter()
        .filter(|entry| entry.end() <= time("2013-02-01T00:00:00Z"));
    let highest = highest
        .map(|entry| entry.values().import.get())
        .max()
        .unwrap();
    assert_eq!(billing[0][16], units(highest * 4), "the highest mean");
    let (from, to) = ("2013-02-02T00:00:00Z", "2013-02-02T23:00:00Z");
    let one = reader.get_part(
        &mut bench,
        attribute(DAILY, 2),
        Some(by_time(from, to, vec![])),
    );
    assert_eq!(rows(one.unwrap()), days[2..3]);
    reader.release(&mut bench);

    // Management ends a period by hand, and takes the profile away from clients.
    let mut management = Session::role(&mut bench, Role::Management);
    let answer = management.invoke(&mut bench, BILLING, 2, Data::Integer(0));
    assert_eq!(answer, Ok(Response::Invoked(None)));
    let billing = rows(management.get(&mut bench, attribute(BILLING, 2)).unwrap());
    assert_eq!(billing.len(), 2);
    assert_eq!(moment(&billing[1][0]), bench.now.utc);
    let answer = management.invoke(&mut bench, BLOCK, 1, Data::Integer(0));
    assert_eq!(answer, Ok(Response::Invoked(None)));
    let empty = management.get(&mut bench, attribute(BLOCK, 2));
    assert_eq!(empty, Ok(Data::Array(vec![])));
    assert!(
        bench.meter.profile().unacknowledged() > 400,
        "still to be delivered"
    );
    bench.restart(configured(), load(), Boot::Reset);
    bench.settle();
    bench.run_until(time("2013-02-03T05:33:00Z"));
    let mut reader = Session::role(&mut bench, Role::Reader);
    let rows_now = rows(reader.get(&mut bench, attribute(BLOCK, 2)).unwrap());
    assert_eq!(rows_now.len(), 2, "what was captured since");
}

#[test]
fn a_clock_that_is_wrong_is_read_wrong_and_synchronised() {
    let config = MeterConfig {
        clock: ClockConfig {
            offset_ms: -90_000,
            drift_ppb: 50_000,
            time_zone: -330,
        },
        ..configured()
    };
    let mut bench = Bench::new(config, load(), "2013-01-01T00:00:00Z");
    bench.settle();
    bench.run_until(time("2013-01-02T00:00:00Z"));
    let mut management = Session::role(&mut bench, Role::Management);
    let shown = management.get(&mut bench, attribute(CLOCK, 2)).unwrap();
    // Ninety seconds behind, and 4.32 s gained in a day; India is five and a half hours ahead.
    let behind = moment(&shown).as_millis() - bench.now.utc.as_millis();
    assert_eq!(behind, -85_680);
    let Data::OctetString(bytes) = shown else {
        panic!("a time");
    };
    assert_eq!(bytes[5..8], [5, 28, 34]);
    assert_eq!(bytes[9..11], (-330_i16).to_be_bytes());
    let answer = management.set(
        &mut bench,
        attribute(CLOCK, 2),
        date_time("2013-01-02T00:00:00Z"),
    );
    assert_eq!(answer, Ok(Response::Written));
    assert_eq!(bench.meter.clock().time_at(bench.now.utc), bench.now.utc);
    // Its intervals end on its own quarter hours.
    let ends: Vec<i64> = bench
        .meter
        .profile()
        .iter()
        .map(|entry| entry.end().as_secs() % 900)
        .collect();
    assert!(ends.len() >= 95 && ends.iter().all(|rest| *rest == 0));
}

#[test]
fn a_three_phase_meter_shows_each_phase() {
    use gridloom_field::{ConstantLoad, Power};

    let load = ConstantLoad {
        power: Power {
            active_mw: [1_000_000, 2_000_000, -500_000],
            reactive_mvar: [0, 1_500_000, 0],
        },
    };
    let config = MeterConfig {
        connection: Connection::ThreePhase,
        ..configured()
    };
    let mut bench = Bench::new(config, Box::new(load), "2013-01-01T00:00:00Z");
    bench.settle();
    bench.run_until(time("2013-01-01T01:00:00Z"));
    let mut reader = Session::role(&mut bench, Role::Reader);
    let cases = [
        ([1, 0, 21, 7, 0, 255], Data::DoubleLongUnsigned(1_000)),
        ([1, 0, 41, 7, 0, 255], Data::DoubleLongUnsigned(2_000)),
        ([1, 0, 61, 7, 0, 255], Data::DoubleLongUnsigned(0)),
        ([1, 0, 62, 7, 0, 255], Data::DoubleLongUnsigned(500)),
        ([1, 0, 53, 7, 0, 255], Data::Long(800)),
        ([1, 0, 1, 7, 0, 255], Data::DoubleLongUnsigned(2_500)),
    ];
    for (name, expected) in cases {
        let value = reader.get(&mut bench, attribute((3, name), 2));
        assert_eq!(value, Ok(expected), "{name:?}");
    }
    let list = Request::GetList(
        [
            [1, 0, 32, 7, 0, 255],
            [1, 0, 52, 7, 0, 255],
            [1, 0, 11, 7, 0, 255],
        ]
        .map(|name| (attribute((3, name), 2), None))
        .to_vec(),
    );
    let Ok(Response::Values(values)) = reader.ask(&mut bench, list) else {
        panic!("values");
    };
    assert!(values[0].is_ok() && values[1].is_ok());
    // A code of meters on one phase.
    assert_eq!(values[2], Err(DataAccessResult::ObjectUndefined));
    let now = rows(
        reader
            .get(&mut bench, attribute((7, [1, 0, 94, 91, 0, 255]), 2))
            .unwrap(),
    );
    let scalers = rows(
        reader
            .get(&mut bench, attribute((7, [1, 0, 94, 91, 3, 255]), 2))
            .unwrap(),
    );
    assert_eq!(
        (now[0].len(), scalers[0].len()),
        (20, 19),
        "all but the clock"
    );
}

#[test]
fn connections_are_bounded_and_end_with_supply() {
    let mut bench = bench("2013-01-01T00:07:00Z");
    for number in 0..6 {
        bench
            .meter
            .handle_client_connected(ConnectionId(number), bench.now);
        bench.settle();
    }
    assert_eq!(bench.disconnected, [ConnectionId(4), ConnectionId(5)]);
    bench
        .meter
        .handle_client_disconnected(ConnectionId(0), bench.now);
    bench.settle();
    let mut public = Session::role(&mut bench, Role::Public);
    bench.meter.handle_power_off(bench.now);
    bench.settle();
    let before = bench.disconnected.len();
    public.client.request(
        Request::Get {
            attribute: attribute(CLOCK, 2),
            access: None,
        },
        bench.now.instant,
    );
    public.talk(&mut bench);
    assert_eq!(
        bench.disconnected.len(),
        before + 1,
        "dark meters serve nobody"
    );
}

/// What ten thousand meters cost before they have measured anything.
#[test]
fn a_meter_at_rest_is_small() {
    assert!(size_of::<Meter>() <= 3_400, "{}", size_of::<Meter>());
}
