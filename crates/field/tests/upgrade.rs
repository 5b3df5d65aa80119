//! New firmware and schedules: a client transfers, activates, proves; the meter falls back.

mod support;

use std::sync::Arc;

use gridloom_dlms::apdu::DataAccessResult;
use gridloom_dlms::axdr::Data;
use gridloom_dlms::client::Response;
use gridloom_dlms::counter::{ReceiveCounter, TransmitCounter};
use gridloom_dlms::security::{Curve, PrivateKey};
use gridloom_field::objects::firmware::{MakersKey, sign_image};
use gridloom_field::{Boot, Client as Role, Line, MeterConfig, Reach};
use support::session::{
    BILLING, Counters, LINE, Session, attribute, client_config, configured, load, moment, refused,
    rows,
};
use support::{Bench, time};

const IMAGE: (u16, [u8; 6]) = (18, [0, 0, 44, 0, 0, 255]);
const VERSION: (u16, [u8; 6]) = (1, [1, 0, 0, 2, 0, 255]);
const IMAGE_SCHEDULE: (u16, [u8; 6]) = (22, [0, 0, 15, 0, 2, 255]);
const BILLING_SCHEDULE: (u16, [u8; 6]) = (22, [0, 0, 15, 0, 0, 255]);
const PUSH_SCHEDULE: (u16, [u8; 6]) = (22, [0, 0, 15, 0, 4, 255]);
const MODEL: [u8; 8] = *b"GL-1P-01";
const NEW: u32 = 2 << 24 | 3 << 16 | 4;

fn maker() -> PrivateKey {
    PrivateKey::from_bytes(Curve::P256, &[7; 32]).expect("a test knows its meter")
}

fn upgradable() -> MeterConfig {
    MeterConfig {
        firmware: Arc::new(MakersKey::new(maker().public_key(), MODEL)),
        ..configured()
    }
}

fn bench() -> Bench {
    let mut bench = Bench::new(upgradable(), load(), "2013-01-01T00:00:00Z");
    bench.settle();
    bench.run_until(time("2013-01-01T01:00:00Z"));
    bench
}

fn management(bench: &mut Bench, counter: u32) -> Session {
    let counters = Counters {
        transmit: TransmitCounter::resume(counter),
        receive: ReceiveCounter::new(),
    };
    Session::open(bench, client_config(Role::Management), counters).expect("a test knows its meter")
}

fn transfer(bench: &mut Bench, session: &mut Session, image: &[u8], from: usize, to: usize) {
    for (number, block) in image.chunks(256).enumerate().take(to).skip(from) {
        let block = Data::Structure(vec![
            Data::DoubleLongUnsigned(u32::try_from(number).expect("a test knows its meter")),
            Data::OctetString(block.to_vec()),
        ]);
        let answer = session.invoke(bench, IMAGE, 2, block);
        assert_eq!(answer, Ok(Response::Invoked(None)), "block {number}");
    }
}

fn begin(bench: &mut Bench, session: &mut Session, image: &[u8]) {
    let answer = session.set(bench, attribute(IMAGE, 5), Data::Boolean(true));
    assert_eq!(answer, Ok(Response::Written));
    let announced = Data::Structure(vec![
        Data::OctetString(b"new".to_vec()),
        Data::DoubleLongUnsigned(u32::try_from(image.len()).expect("a test knows its meter")),
    ]);
    let answer = session.invoke(bench, IMAGE, 1, announced);
    assert_eq!(answer, Ok(Response::Invoked(None)));
}

fn version(bench: &mut Bench) -> Data {
    let mut reader = Session::role(bench, Role::Reader);
    let version = reader
        .get(bench, attribute(VERSION, 2))
        .expect("a test knows its meter");
    reader.release(bench);
    bench.meter.handle_client_disconnected(LINE, bench.now);
    bench.settle();
    version
}

fn text(version: &str) -> Data {
    Data::OctetString(version.as_bytes().to_vec())
}

#[test]
fn an_image_is_transferred_over_a_crash_activated_and_confirmed() {
    let mut bench = bench();
    let factory = version(&mut bench);
    assert_eq!(factory, text(env!("CARGO_PKG_VERSION")));
    let image = sign_image(MODEL, NEW, &[0xAB; 10_000], &maker());
    let mut session = management(&mut bench, 100);
    begin(&mut bench, &mut session, &image);
    transfer(&mut bench, &mut session, &image, 0, 35);
    bench.restart(upgradable(), load(), Boot::Reset);
    bench.settle();

    let mut session = management(&mut bench, 5_000);
    let missing = session.get(&mut bench, attribute(IMAGE, 4));
    assert_eq!(
        missing,
        Ok(Data::DoubleLongUnsigned(35)),
        "all answered blocks"
    );
    let early = session.invoke(&mut bench, IMAGE, 3, Data::Integer(0));
    assert!(early.is_err(), "blocks are missing");
    transfer(&mut bench, &mut session, &image, 35, usize::MAX);
    let answer = session.invoke(&mut bench, IMAGE, 3, Data::Integer(0));
    assert_eq!(answer, Ok(Response::Invoked(None)));
    let status = session.get(&mut bench, attribute(IMAGE, 6));
    assert_eq!(status, Ok(Data::Enum(3)));
    bench.disconnected.clear();
    let answer = session.invoke(&mut bench, IMAGE, 4, Data::Integer(0));
    assert_eq!(answer, Ok(Response::Invoked(None)), "before the restart");
    assert_eq!(bench.disconnected, [LINE]);
    assert_eq!(version(&mut bench), text("2.3.4"));

    // Who only reads proves nothing.
    bench.restart(upgradable(), load(), Boot::Reset);
    bench.settle();
    assert_eq!(version(&mut bench), text("2.3.4"));
    let mut session = management(&mut bench, 10_000);
    let _met = session.get(&mut bench, attribute(IMAGE, 6));
    let status = session.get(&mut bench, attribute(IMAGE, 6));
    assert_eq!(status, Ok(Data::Enum(6)));
    let code = session.get(&mut bench, attribute((1, [0, 0, 96, 11, 3, 255]), 2));
    assert_eq!(code, Ok(Data::LongUnsigned(157)), "new firmware activated");
    bench.run_until(time("2013-01-03T00:00:00Z"));
    bench.restart(upgradable(), load(), Boot::Reset);
    bench.settle();
    assert_eq!(version(&mut bench), text("2.3.4"));
}

#[test]
fn an_image_that_nobody_confirms_makes_way_for_the_old_one() {
    let factory = text(env!("CARGO_PKG_VERSION"));
    for restarts in [0, 4] {
        let mut bench = bench();
        let image = sign_image(MODEL, NEW, &[0xAB; 700], &maker());
        let mut session = management(&mut bench, 100);
        begin(&mut bench, &mut session, &image);
        transfer(&mut bench, &mut session, &image, 0, usize::MAX);
        // By schedule, at a quarter past.
        let at = Data::Array(vec![Data::Structure(vec![
            Data::OctetString(vec![1, 17, 30, 0]),
            Data::OctetString(vec![0x07, 0xDD, 1, 1, 0xFF]),
        ])]);
        let answer = session.set(&mut bench, attribute(IMAGE_SCHEDULE, 4), at);
        assert_eq!(answer, Ok(Response::Written));
        bench.run_until(time("2013-01-01T01:17:29Z"));
        assert_eq!(version(&mut bench), factory);
        bench.run_until(time("2013-01-01T01:17:31Z"));
        assert_eq!(version(&mut bench), text("2.3.4"));
        for _ in 0..restarts {
            bench.restart(upgradable(), load(), Boot::Reset);
            bench.settle();
        }
        let until = if restarts == 0 {
            assert_eq!(version(&mut bench), text("2.3.4"));
            "2013-01-02T01:17:31Z"
        } else {
            "2013-01-01T01:20:00Z"
        };
        bench.run_until(time(until));
        assert_eq!(version(&mut bench), factory, "{restarts} restarts");
        let mut session = management(&mut bench, 9_000);
        let status = session.get(&mut bench, attribute(IMAGE, 6));
        assert_eq!(status, Ok(Data::Enum(7)));
    }
}

#[test]
fn an_image_that_the_maker_did_not_sign_is_not_taken() {
    let stranger = PrivateKey::from_bytes(Curve::P256, &[8; 32]).expect("a test knows its meter");
    let cases = [
        (upgradable(), sign_image(MODEL, NEW, &[1; 300], &stranger)),
        (
            upgradable(),
            sign_image(*b"GL-3P-01", NEW, &[1; 300], &maker()),
        ),
        (upgradable(), sign_image(MODEL, 1, &[1; 300], &maker())),
        (configured(), sign_image(MODEL, NEW, &[1; 300], &maker())),
    ];
    for (config, image) in cases {
        let mut bench = Bench::new(config, load(), "2013-01-01T00:00:00Z");
        bench.settle();
        let mut session = management(&mut bench, 100);
        begin(&mut bench, &mut session, &image);
        transfer(&mut bench, &mut session, &image, 0, usize::MAX);
        for method in [3, 4] {
            let answer = session.invoke(&mut bench, IMAGE, method, Data::Integer(0));
            assert!(answer.is_err());
        }
        let status = session.get(&mut bench, attribute(IMAGE, 6));
        assert_eq!(status, Ok(Data::Enum(4)));
        assert!(bench.disconnected.is_empty());
    }
}

#[test]
fn schedules_end_billing_periods_and_push() {
    let mut bench = bench();
    let mut session = management(&mut bench, 100);
    let times = |times: &[[u8; 4]]| {
        let every_day = vec![0xFF; 5];
        let time = |time: &[u8; 4]| {
            Data::Structure(vec![
                Data::OctetString(time.to_vec()),
                Data::OctetString(every_day.clone()),
            ])
        };
        Data::Array(times.iter().map(time).collect())
    };
    let made = session.get(&mut bench, attribute(BILLING_SCHEDULE, 4));
    assert_eq!(
        rows(made.expect("a test knows its meter")).len(),
        1,
        "the first of the month"
    );
    for schedule in [BILLING_SCHEDULE, PUSH_SCHEDULE] {
        let answer = session.set(&mut bench, attribute(schedule, 4), times(&[[2, 10, 0, 0]]));
        assert_eq!(answer, Ok(Response::Written));
    }
    bench.link_up();
    let mut head_end = support::HeadEnd::new();
    bench.run_until(time("2013-01-01T02:09:00Z"));
    bench.serve(&mut head_end);
    let pushes = head_end.pushes.len();
    bench.run_until(time("2013-01-01T02:09:20Z"));
    bench.restart(upgradable(), load(), Boot::Reset);
    bench.settle();
    bench.link_up();
    bench.run_until(time("2013-01-01T02:10:10Z"));
    bench.serve(&mut head_end);
    assert_eq!(head_end.pushes.len(), pushes + 1, "the newest again");
    bench.meter.handle_link_down(bench.now);
    bench.settle();
    // The month passes without an end: the schedule is the client's now.
    bench.run_until(time("2013-02-01T00:20:00Z"));
    let mut reader = Session::role(&mut bench, Role::Reader);
    let ends: Vec<_> = rows(
        reader
            .get(&mut bench, attribute(BILLING, 2))
            .expect("a test knows its meter"),
    )
    .iter()
    .map(|row| moment(&row[0]))
    .collect();
    assert_eq!(ends.last(), Some(&time("2013-01-31T02:10:00Z")));
    assert_eq!(ends.len(), 13);
}

#[test]
fn setups_are_read_written_and_remembered() {
    let tcp = (41, [0, 0, 25, 0, 0, 255]);
    let ipv4 = (42, [0, 0, 25, 1, 0, 255]);
    let hdlc = (23, [0, 0, 22, 0, 0, 255]);
    let setups = [
        (tcp, 5, Data::Unsigned(4), Data::Unsigned(2)),
        (tcp, 6, Data::LongUnsigned(600), Data::LongUnsigned(60)),
        (hdlc, 5, Data::LongUnsigned(2_030), Data::LongUnsigned(512)),
    ];
    let alone = || MeterConfig {
        reach: Reach {
            port: Some(4_059),
            line: Line::Hdlc,
            ..Reach::default()
        },
        ..upgradable()
    };
    let mut bench = Bench::new(alone(), load(), "2013-01-01T00:00:00Z");
    bench.settle();
    let mut session = management(&mut bench, 100);
    for (object, number, made, new) in setups.clone() {
        let at = attribute(object, number);
        assert_eq!(session.get(&mut bench, at), Ok(made.clone()));
        assert!(session.set(&mut bench, at, Data::Boolean(true)).is_err());
        assert_eq!(session.get(&mut bench, at), Ok(made));
        assert_eq!(session.set(&mut bench, at, new), Ok(Response::Written));
    }
    // What a virtual meter cannot do it does not pretend to.
    for (object, number, new) in [
        (tcp, 2, Data::LongUnsigned(4_060)),
        (ipv4, 3, Data::DoubleLongUnsigned(0x0A00_0001)),
        (hdlc, 2, Data::Enum(9)),
    ] {
        let answer = session.set(&mut bench, attribute(object, number), new);
        assert_eq!(refused(answer), DataAccessResult::ReadWriteDenied);
    }
    let answer = session.set(&mut bench, attribute(tcp, 5), Data::Unsigned(200));
    assert_eq!(
        refused(answer),
        DataAccessResult::OtherReason,
        "more than it serves"
    );
    bench.restart(alone(), load(), Boot::Reset);
    bench.settle();
    let mut session = management(&mut bench, 5_000);
    for (object, number, _, new) in setups {
        let at = attribute(object, number);
        assert_eq!(session.get(&mut bench, at), Ok(new));
    }
    // Behind a gateway there is nothing to apply them to.
    let mut bench = self::bench();
    let mut session = management(&mut bench, 100);
    for (object, number, value) in [
        (tcp, 6, Data::LongUnsigned(60)),
        (hdlc, 5, Data::LongUnsigned(512)),
    ] {
        let answer = session.set(&mut bench, attribute(object, number), value);
        assert_eq!(refused(answer), DataAccessResult::OtherReason);
    }
    session.release(&mut bench);
    let mut reader = Session::role(&mut bench, Role::Reader);
    let port = attribute((41, [0, 0, 25, 0, 0, 255]), 2);
    assert!(reader.get(&mut bench, port).is_err());
}
