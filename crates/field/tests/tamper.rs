//! Hands on the meter and supply that goes: what is logged, raised and told.

mod support;

use gridloom_core::UtcTime;
use gridloom_dlms::apdu::{Apdu, DataAccessResult};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::client::Response;
use gridloom_dlms::counter::{ReceiveCounter, TransmitCounter};
use gridloom_field::{Boot, Client as Role, Surroundings};
use support::session::{
    Counters, Session, attribute, bench, client_config, configured, load, moment, refused, rows,
};
use support::{Bench, time};

const COUNT: (u16, [u8; 6]) = (1, [0, 0, 94, 91, 0, 255]);
const STATUS: (u16, [u8; 6]) = (1, [0, 0, 94, 91, 18, 255]);
const DESCRIPTOR_1: (u16, [u8; 6]) = (1, [0, 0, 97, 98, 20, 255]);
const REGISTER_1: (u16, [u8; 6]) = (1, [0, 0, 97, 98, 0, 255]);
const FILTER_1: (u16, [u8; 6]) = (1, [0, 0, 97, 98, 10, 255]);
const ALERT_PUSH: (u16, [u8; 6]) = (40, [0, 4, 25, 9, 0, 255]);
const FRAUD: u32 = 1 << 13;

fn management(bench: &mut Bench, counter: u32) -> Session {
    let counters = Counters {
        transmit: TransmitCounter::resume(counter),
        receive: ReceiveCounter::new(),
    };
    Session::open(bench, client_config(Role::Management), counters).expect("a test knows its meter")
}

/// Descriptors 1 and 2 of each alert.
fn alerts(session: &mut Session) -> Vec<(u32, u32)> {
    let alerts = session.notified.drain(..).map(|apdu| {
        let Ok(Apdu::DataNotification(notification)) = Apdu::decode(&apdu) else {
            panic!("no notification");
        };
        let Data::Structure(values) = notification.data().expect("a test knows its meter") else {
            panic!("no structure");
        };
        assert_eq!(values.len(), 6);
        assert_eq!(values[0], Data::OctetString(ALERT_PUSH.1.to_vec()));
        let (Data::DoubleLongUnsigned(one), Data::DoubleLongUnsigned(two)) =
            (&values[3], &values[4])
        else {
            panic!("no descriptors");
        };
        (*one, *two)
    });
    alerts.collect()
}

fn logged(bench: &mut Bench, session: &mut Session, number: u8) -> Vec<(Data, UtcTime)> {
    let log = attribute((7, [0, 0, 99, 98, number, 255]), 2);
    let entries = rows(session.get(bench, log).expect("a test knows its meter")).into_iter();
    entries
        .map(|row| (row[1].clone(), moment(&row[0])))
        .collect()
}

#[test]
fn a_cover_is_opened_a_magnet_is_brought_and_both_are_told() {
    let mut bench = bench("2013-01-01T01:05:00Z");
    let mut session = management(&mut bench, 100);
    let open = Surroundings {
        cover_open: true,
        field_ut: 400_000,
        ..Surroundings::QUIET
    };
    bench.meter.handle_surroundings(open, bench.now);
    bench.settle();
    session.talk(&mut bench);
    assert_eq!(
        alerts(&mut session),
        [(FRAUD, 0)],
        "the cover counts at once"
    );
    let count = session.get(&mut bench, attribute(COUNT, 2));
    assert_eq!(count, Ok(Data::DoubleLongUnsigned(1)));
    bench.run_until(time("2013-01-01T01:09:59Z"));
    let count = session.get(&mut bench, attribute(COUNT, 2));
    assert_eq!(count, Ok(Data::DoubleLongUnsigned(1)));
    bench.run_until(time("2013-01-01T01:10:00Z"));
    let count = session.get(&mut bench, attribute(COUNT, 2));
    assert_eq!(
        count,
        Ok(Data::DoubleLongUnsigned(2)),
        "the magnet after 5 min"
    );
    assert_eq!(alerts(&mut session), [], "the alarm stands already");

    bench.restart(configured(), load(), Boot::Reset);
    bench.settle();
    let mut session = management(&mut bench, 5_000);
    let count = session.get(&mut bench, attribute(COUNT, 2));
    assert_eq!(count, Ok(Data::DoubleLongUnsigned(2)));
    let Ok(Data::BitString(word)) = session.get(&mut bench, attribute(STATUS, 2)) else {
        panic!("a word of bits");
    };
    // Magnet 81, cover 83.
    assert_eq!(word.bytes()[10], 0b0101_0000);
    let at = |text| time(text);
    assert_eq!(
        logged(&mut bench, &mut session, 5),
        [(Data::LongUnsigned(251), at("2013-01-01T01:05:00Z"))]
    );
    assert_eq!(
        logged(&mut bench, &mut session, 4),
        [(Data::LongUnsigned(201), at("2013-01-01T01:05:00Z"))]
    );

    // Quiet again: the register ends with the last of the two, the descriptor is written off.
    let quiet = Surroundings::QUIET;
    bench.meter.handle_surroundings(quiet, bench.now);
    bench.settle();
    let register = session.get(&mut bench, attribute(REGISTER_1, 2));
    assert_eq!(register, Ok(Data::DoubleLongUnsigned(FRAUD)), "the magnet");
    bench.run_until(time("2013-01-01T01:16:00Z"));
    let register = session.get(&mut bench, attribute(REGISTER_1, 2));
    assert_eq!(register, Ok(Data::DoubleLongUnsigned(0)));
    let descriptor = session.get(&mut bench, attribute(DESCRIPTOR_1, 2));
    assert_eq!(descriptor, Ok(Data::DoubleLongUnsigned(FRAUD)));
    let zero = Data::DoubleLongUnsigned(0);
    for object in [DESCRIPTOR_1, FILTER_1] {
        let answer = session.set(&mut bench, attribute(object, 2), zero.clone());
        assert_eq!(answer, Ok(Response::Written));
    }
    let set = session.set(
        &mut bench,
        attribute(DESCRIPTOR_1, 2),
        Data::DoubleLongUnsigned(1),
    );
    assert_eq!(refused(set), DataAccessResult::OtherReason);
    bench.meter.handle_surroundings(open, bench.now);
    bench.settle();
    session.talk(&mut bench);
    assert_eq!(alerts(&mut session), [], "the filter holds it back");
    let answer = session.invoke(&mut bench, ALERT_PUSH, 1, Data::Integer(0));
    assert_eq!(answer, Ok(Response::Invoked(None)));
    assert_eq!(alerts(&mut session), [(0, 0)], "asked for");
}

#[test]
fn the_last_words_and_the_first() {
    let mut bench = bench("2013-01-01T01:05:00Z");
    let mut session = management(&mut bench, 100);
    bench.meter.handle_power_off(bench.now);
    bench.settle();
    session.talk(&mut bench);
    assert_eq!(alerts(&mut session), [(0, 1)], "total power failure");
    bench.pass_to(time("2013-01-01T02:00:00Z"));
    bench.meter.handle_power_on(bench.now);
    bench.settle();
    let mut session = management(&mut bench, 5_000);
    let _any = session.get(&mut bench, attribute(COUNT, 2));
    session.talk(&mut bench);
    assert_eq!(alerts(&mut session), [(0, 0b11)], "power resumed");
}

#[test]
fn current_past_the_meter_is_found_while_it_is_looked_at() {
    let mut bench = Bench::new(
        configured(),
        Box::new(gridloom_field::ConstantLoad {
            power: gridloom_field::Power {
                active_mw: [1_200_000, 0, 0],
                reactive_mvar: [0; 3],
            },
        }),
        "2013-01-01T00:00:00Z",
    );
    bench.settle();
    let bypass = Surroundings {
        bypass_milli: 500,
        ..Surroundings::QUIET
    };
    bench.meter.handle_surroundings(bypass, bench.now);
    bench.settle();
    bench.run_until(time("2013-01-01T00:06:00Z"));
    let mut session = management(&mut bench, 100);
    let mut first = logged(&mut bench, &mut session, 1);
    assert_eq!(
        first.pop(),
        Some((Data::LongUnsigned(65), time("2013-01-01T00:00:00Z")))
    );
    assert!(first.is_empty());
}

#[test]
fn a_heavy_load_lets_the_voltage_sag_and_it_is_counted_when_it_was() {
    /// 25 kW from 00:03 to 00:05.
    struct Welder;

    impl gridloom_field::Load for Welder {
        fn power_at(&mut self, at: UtcTime) -> gridloom_field::Stretch {
            let (from, to) = (time("2013-01-01T00:03:00Z"), time("2013-01-01T00:05:00Z"));
            let far = time("2014-01-01T00:00:00Z");
            let (until, watts) = match at {
                at if at < from => (from, 0),
                at if at < to => (to, 25_000),
                _ => (far, 0),
            };
            gridloom_field::Stretch {
                until,
                power: Some(gridloom_field::Power {
                    active_mw: [watts * 1_000, 0, 0],
                    reactive_mvar: [0; 3],
                }),
            }
        }

        fn appliances_at(&mut self, _: UtcTime) -> Vec<gridloom_field::ApplianceState> {
            Vec::new()
        }

        fn begin_day(&mut self, _: gridloom_core::Day, _: &gridloom_field::DayPrices) {}
    }

    let mut bench = Bench::new(configured(), Box::new(Welder), "2013-01-01T00:00:00Z");
    bench.settle();
    bench.run_until(time("2013-01-01T01:00:00Z"));
    bench.restart(configured(), Box::new(Welder), Boot::Reset);
    bench.settle();
    let mut session = management(&mut bench, 100);
    assert_eq!(
        logged(&mut bench, &mut session, 0),
        [
            (Data::LongUnsigned(9), time("2013-01-01T00:03:00Z")),
            (Data::LongUnsigned(10), time("2013-01-01T00:05:00Z")),
        ]
    );
    let sags = session.get(&mut bench, attribute((1, [1, 0, 32, 32, 0, 255]), 2));
    assert_eq!(sags, Ok(Data::DoubleLongUnsigned(1)));
    let swells = session.get(&mut bench, attribute((1, [1, 0, 32, 36, 0, 255]), 2));
    assert_eq!(swells, Ok(Data::DoubleLongUnsigned(0)));

    let distorted = Surroundings {
        distortion_milli: 90,
        ..Surroundings::QUIET
    };
    bench.meter.handle_surroundings(distorted, bench.now);
    bench.settle();
    bench.run_until(time("2013-01-01T01:09:59Z"));
    session.talk(&mut bench);
    assert_eq!(alerts(&mut session), []);
    bench.run_until(time("2013-01-01T01:10:00Z"));
    session.talk(&mut bench);
    assert_eq!(alerts(&mut session), [(0, 1 << 14)], "bad voltage on L1");
}
