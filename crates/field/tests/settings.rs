//! What management sets in a meter, and what the meter then does.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use gridloom_core::{Period, UtcTime};
use gridloom_dlms::alert::AlertPush;
use gridloom_dlms::apdu::{Apdu, DataAccessResult};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::client::Response;
use gridloom_dlms::companion::AlarmBit;
use gridloom_dlms::counter::{ReceiveCounter, TransmitCounter};
use gridloom_dlms::security::{CipherContext, CipheredApdu, Policy};
use gridloom_field::objects::push_setup::PushOutcome;
use gridloom_field::{Boot, Client as Role, MeterConfig, PushReach, Pushes, Reach, Surroundings};
use support::session::{
    BLOCK, Counters, Session, attribute, bench, capture, client_config, configured, date_time,
    load, moment, refused, rows,
};
use support::{Bench, HeadEnd, keys, time};

const CAPTURE_PERIOD: (u16, [u8; 6]) = (1, [1, 0, 0, 8, 4, 255]);
const DEMAND_PERIOD: (u16, [u8; 6]) = (1, [1, 0, 0, 8, 0, 255]);
const INTERVAL_PUSH: (u16, [u8; 6]) = (40, [0, 0, 25, 9, 0, 255]);
const ALERT_PUSH: (u16, [u8; 6]) = (40, [0, 4, 25, 9, 0, 255]);

/// Ordinary counters of a client's `number`-th session.
fn session(bench: &mut Bench, role: Role, number: u32) -> Session {
    let counters = Counters {
        transmit: TransmitCounter::resume(number * 1_000),
        receive: ReceiveCounter::new(),
    };
    Session::open(bench, client_config(role), counters).expect("a test knows its meter")
}

fn set(session: &mut Session, bench: &mut Bench, what: (u16, [u8; 6]), number: i8, value: Data) {
    let answer = session.set(bench, attribute(what, number), value);
    assert_eq!(answer, Ok(Response::Written), "{what:?} {number}");
}

fn number(data: &Data) -> u32 {
    let Data::DoubleLongUnsigned(value) = data else {
        panic!("no number: {data:?}");
    };
    *value
}

/// Ends, statuses, imports of the interval and totals of the block load profile.
fn block(session: &mut Session, bench: &mut Bench) -> Vec<(UtcTime, Data, u32, u32)> {
    let buffer = session.get(bench, attribute(BLOCK, 2)).unwrap();
    rows(buffer)
        .iter()
        .map(|row| {
            let [clock, status, import, .., total] = row.as_slice() else {
                panic!("a row has columns");
            };
            (moment(clock), status.clone(), number(import), number(total))
        })
        .collect()
}

fn ends(rows: &[(UtcTime, Data, u32, u32)]) -> Vec<UtcTime> {
    rows.iter().map(|row| row.0).collect()
}

fn times(texts: &[&str]) -> Vec<UtcTime> {
    let day = "2013-01-01T";
    texts
        .iter()
        .map(|text| time(&format!("{day}{text}:00Z")))
        .collect()
}

#[test]
fn a_capture_period_holds_from_its_next_boundary_and_pushes_go_on() {
    let mut bench = bench("2013-01-01T03:07:00Z");
    bench.link_up();
    let mut head_end = HeadEnd::new();
    bench.serve(&mut head_end);
    let mut management = session(&mut bench, Role::Management, 1);
    let period = attribute(CAPTURE_PERIOD, 2);
    for seconds in [0, 60, 301, 1_200, 7_200] {
        let answer = management.set(&mut bench, period, Data::LongUnsigned(seconds));
        assert_eq!(refused(answer), DataAccessResult::OtherReason, "{seconds}");
    }
    let answer = management.set(&mut bench, period, Data::DoubleLongUnsigned(300));
    assert_eq!(refused(answer), DataAccessResult::TypeUnmatched);
    set(
        &mut management,
        &mut bench,
        CAPTURE_PERIOD,
        2,
        Data::LongUnsigned(300),
    );
    assert_eq!(
        block(&mut management, &mut bench),
        [],
        "the rows were of another length"
    );
    for (object, number, value) in [
        (CAPTURE_PERIOD, 2, Data::LongUnsigned(300)),
        (BLOCK, 4, Data::DoubleLongUnsigned(300)),
        (BLOCK, 7, Data::DoubleLongUnsigned(0)),
        (BLOCK, 8, Data::DoubleLongUnsigned(35 * 288)),
        (DEMAND_PERIOD, 2, Data::LongUnsigned(900)),
    ] {
        let read = management.get(&mut bench, attribute(object, number));
        assert_eq!(read, Ok(value), "{object:?} {number}");
    }
    bench.run_until(time("2013-01-01T03:31:00Z"));
    let mut management = session(&mut bench, Role::Management, 2);
    let seen = block(&mut management, &mut bench);
    assert_eq!(ends(&seen), times(&["03:15", "03:20", "03:25", "03:30"]));
    for pair in seen.windows(2) {
        assert_eq!(
            pair[1].3 - pair[0].3,
            pair[1].2,
            "differences of the register"
        );
        assert_eq!(pair[1].1, Data::Unsigned(0), "nothing to remark");
    }
    // The utility's intervals have the maker's period still.
    bench.serve(&mut head_end);
    let newest = head_end.readings.last_key_value().unwrap();
    assert_eq!(*newest.0, time("2013-01-01T03:30:00Z"));
    assert!(
        head_end
            .readings
            .values()
            .all(|push| push.period == Period::QUARTER_HOUR)
    );
    assert_eq!(head_end.readings.len(), 14);
    let of_a_quarter: u32 = seen[1..].iter().map(|row| row.2).sum();
    let pushed = newest.1.values.import.get() / 1_000;
    assert_eq!(
        i64::from(of_a_quarter),
        pushed,
        "three rows are one interval"
    );
    // One log entry says so.
    let log = management.get(&mut bench, attribute((1, [0, 0, 96, 11, 3, 255]), 2));
    assert_eq!(log, Ok(Data::LongUnsigned(153)));

    // Back to the maker's: its rows from now on.
    set(
        &mut management,
        &mut bench,
        CAPTURE_PERIOD,
        2,
        Data::LongUnsigned(900),
    );
    assert_eq!(block(&mut management, &mut bench), []);
    bench.run_until(time("2013-01-01T04:01:00Z"));
    let mut management = session(&mut bench, Role::Management, 3);
    let seen = block(&mut management, &mut bench);
    assert_eq!(ends(&seen), times(&["03:45", "04:00"]));
}

#[test]
fn rows_of_a_set_period_survive_a_crash_at_every_write() {
    let mut bench = bench("2013-01-01T03:07:00Z");
    let mut management = session(&mut bench, Role::Management, 1);
    set(
        &mut management,
        &mut bench,
        CAPTURE_PERIOD,
        2,
        Data::LongUnsigned(300),
    );
    set(
        &mut management,
        &mut bench,
        DEMAND_PERIOD,
        2,
        Data::LongUnsigned(1_800),
    );
    bench.run_until(time("2013-01-01T03:19:00Z"));
    let saved = bench.disk.cells.clone();
    let mut crashes = 0;
    for writes in 0.. {
        bench.disk.cells.clone_from(&saved);
        bench.now.utc = time("2013-01-01T03:19:00Z");
        bench.restart(configured(), load(), Boot::Reset);
        bench.settle();
        bench.pass_to(time("2013-01-01T03:20:00Z"));
        bench.meter.handle_timeout(bench.now);
        bench.drain();
        let mut more = true;
        for _ in 0..writes {
            more = bench.write_one();
            bench.drain();
        }
        crashes += 1;
        bench.restart(configured(), load(), Boot::Reset);
        bench.settle();
        bench.run_until(time("2013-01-01T03:31:00Z"));
        let mut management = session(&mut bench, Role::Management, 2 + crashes);
        let seen = block(&mut management, &mut bench);
        let last = seen.last().unwrap();
        assert_eq!(
            last.0,
            time("2013-01-01T03:30:00Z"),
            "after {writes} writes"
        );
        let first = &seen[0];
        let energy: u32 = seen[1..].iter().map(|row| row.2).sum();
        assert_eq!(
            last.3 - first.3,
            energy,
            "no energy is lost after {writes} writes"
        );
        let whole = ends(&seen) == times(&["03:15", "03:20", "03:25", "03:30"]);
        let doubt = seen.iter().any(|row| row.1 != Data::Unsigned(0));
        assert!(
            whole || doubt,
            "a gap shows after {writes} writes: {seen:?}"
        );
        if !more {
            break;
        }
    }
    assert!(crashes > 3, "{crashes} crashes");
}

#[test]
fn the_demand_follows_its_own_period() {
    let steady = Box::new(gridloom_field::ConstantLoad {
        power: gridloom_field::Power {
            active_mw: [1_200_000, 0, 0],
            reactive_mvar: [0; 3],
        },
    });
    let mut bench = Bench::new(configured(), steady, "2013-01-01T00:00:00Z");
    bench.settle();
    bench.run_until(time("2013-01-01T00:50:00Z"));
    let mut management = session(&mut bench, Role::Management, 1);
    set(
        &mut management,
        &mut bench,
        DEMAND_PERIOD,
        2,
        Data::LongUnsigned(1_800),
    );
    let one = |number| attribute((5, [1, 0, 1, 4, 0, 255]), number);
    assert_eq!(
        management.get(&mut bench, one(8)),
        Ok(Data::DoubleLongUnsigned(1_800))
    );
    assert_eq!(
        management.get(&mut bench, one(6)),
        Ok(Data::Null),
        "none has ended"
    );
    bench.run_until(time("2013-01-01T01:10:00Z"));
    let mut reader = session(&mut bench, Role::Reader, 2);
    let mut get = |number| reader.get(&mut bench, one(number));
    assert_eq!(
        get(2),
        Ok(Data::DoubleLongUnsigned(400)),
        "200 Wh of half an hour"
    );
    assert_eq!(get(7), Ok(date_time("2013-01-01T01:00:00Z")));
    assert_eq!(get(6), Ok(Data::Null), "the first half hour began at one");
    bench.run_until(time("2013-01-01T01:40:00Z"));
    let mut reader = session(&mut bench, Role::Reader, 3);
    let mut get = |number| reader.get(&mut bench, one(number));
    assert_eq!(get(3), Ok(Data::DoubleLongUnsigned(1_200)));
    assert_eq!(get(6), Ok(date_time("2013-01-01T01:30:00Z")));

    // The maximum of the billing period is of that length from now on.
    bench.restart(configured(), heavy(), Boot::Reset);
    bench.settle();
    bench.run_until(time("2013-01-01T02:20:00Z"));
    let mut reader = session(&mut bench, Role::Reader, 4);
    let peak = |number| attribute((4, [1, 0, 1, 6, 0, 255]), number);
    let before = reader.get(&mut bench, peak(5)).unwrap();
    assert_eq!(
        before,
        date_time("2013-01-01T02:00:00Z"),
        "the first with more"
    );
    let value = number(&reader.get(&mut bench, peak(2)).unwrap());
    // What the state cell has not seen is measured again, with the load as it is.
    assert_eq!(value, 6_000);
}

fn heavy() -> Box<gridloom_field::ConstantLoad> {
    Box::new(gridloom_field::ConstantLoad {
        power: gridloom_field::Power {
            active_mw: [6_000_000, 0, 0],
            reactive_mvar: [0; 3],
        },
    })
}

fn own_connection(pushes: PushReach) -> MeterConfig {
    MeterConfig {
        reach: Reach {
            port: Some(4_321),
            pushes,
            ..Reach::default()
        },
        ..configured()
    }
}

fn destination(transport: u8, address: &str) -> Data {
    Data::Structure(vec![
        Data::Enum(transport),
        Data::OctetString(address.as_bytes().to_vec()),
        Data::Enum(0),
    ])
}

/// What a push to a destination says.
fn said(apdu: &[u8]) -> Vec<Data> {
    let apdu = CipheredApdu::decode(apdu).expect("a meter ciphers its pushes");
    let mut plain = Vec::new();
    CipherContext::new(&keys())
        .open(&apdu, Policy::AuthenticatedEncryption, &mut plain)
        .expect("the tag is right");
    let Ok(Apdu::DataNotification(notification)) = Apdu::decode(&plain) else {
        panic!("no notification");
    };
    let Ok(Data::Structure(values)) = notification.data() else {
        panic!("no structure");
    };
    values
}

#[test]
fn a_destination_is_taken_where_the_meter_can_reach_it() {
    let cases = [
        (PushReach::Edge, 0, "127.0.0.1:4059", false),
        (PushReach::Loopback, 0, "127.0.0.1:4059", true),
        (PushReach::Loopback, 1, "[::1]:4059", true),
        (PushReach::Loopback, 0, "192.0.2.1:4059", false),
        (PushReach::Loopback, 4, "127.0.0.1:4059", false),
        (PushReach::Anywhere, 0, "192.0.2.1:4059", true),
        (PushReach::Anywhere, 0, "a.name:4059", false),
        (PushReach::Edge, 0, "", true),
    ];
    for (pushes, transport, address, fits) in cases {
        let start = "2013-01-01T00:00:00Z";
        let mut bench = Bench::new(own_connection(pushes), load(), start);
        bench.settle();
        let mut management = session(&mut bench, Role::Management, 1);
        let value = destination(transport, address);
        let answer = management.set(&mut bench, attribute(INTERVAL_PUSH, 3), value);
        if fits {
            assert_eq!(answer, Ok(Response::Written), "{pushes:?} {address}");
        } else {
            let refused = refused(answer);
            assert_eq!(
                refused,
                DataAccessResult::OtherReason,
                "{pushes:?} {address}"
            );
        }
    }
}

#[test]
fn a_destination_gets_the_objects_that_were_set_and_the_edge_its_own() {
    let config = own_connection(PushReach::Loopback);
    let mut bench = Bench::new(config.clone(), load(), "2013-01-01T00:00:00Z");
    bench.settle();
    bench.link_up();
    let mut management = session(&mut bench, Role::Management, 1);
    let objects = Data::Array(
        [
            capture((1, [0, 0, 42, 0, 0, 255]), 2),
            capture((3, [1, 0, 1, 8, 0, 255]), 2),
            capture((3, [1, 0, 1, 8, 0, 255]), 3),
            capture(BLOCK, 2),
            capture((1, [9, 9, 9, 9, 9, 9]), 2),
        ]
        .iter()
        .map(|object| object.to_data())
        .collect(),
    );
    // The edge reads one list only.
    let list = attribute(INTERVAL_PUSH, 2);
    let answer = management.set(&mut bench, list, objects.clone());
    assert_eq!(refused(answer), DataAccessResult::OtherReason);
    let there = destination(0, "127.0.0.1:4059");
    for (number, value) in [
        (3, there),
        (2, objects),
        (6, Data::Unsigned(2)),
        (7, Data::LongUnsigned(30)),
    ] {
        set(&mut management, &mut bench, INTERVAL_PUSH, number, value);
    }
    bench.restart(config, load(), Boot::Reset);
    bench.settle();
    bench.link_up();
    bench.run_until(time("2013-01-01T00:15:01Z"));
    let (push, to, apdu) = bench.pushed.pop().expect("one push");
    assert_eq!(push, Pushes::Interval);
    assert_eq!(to, SocketAddr::from(([127, 0, 0, 1], 4_059)));
    let values = said(&apdu);
    assert_eq!(values.len(), 5);
    assert!(matches!(&values[0], Data::OctetString(name) if name.starts_with(b"GLM")));
    assert!(number(&values[1]) > 0);
    let unit = Data::Structure(vec![Data::Integer(0), Data::Enum(30)]);
    assert_eq!(values[2], unit);
    let Data::Structure(row) = &values[3] else {
        panic!("a push has the newest row");
    };
    assert_eq!(moment(&row[0]), time("2013-01-01T00:15:00Z"));
    assert_eq!(values[4], Data::Null, "there is no such object");

    // Nobody there: twice more, half a minute apart, then given up.
    let mut tries = vec![bench.now.utc];
    for _ in 0..3 {
        let now = bench.now;
        let failed = PushOutcome::Failed;
        bench
            .meter
            .handle_push_outcome(Pushes::Interval, failed, now);
        bench.settle();
        bench.run_until(bench.now.utc + Duration::from_secs(30));
        if bench.pushed.pop().is_some() {
            tries.push(bench.now.utc);
        }
    }
    assert_eq!(tries.len(), 3, "{tries:?}");
    let status = bench.meter.status(bench.now);
    assert_eq!(status.counters.pushes_given_up, 1);
    // The edge got its interval in its own layout.
    let mut head_end = HeadEnd::new();
    bench.serve(&mut head_end);
    assert!(
        head_end
            .readings
            .contains_key(&time("2013-01-01T00:15:00Z"))
    );
}

#[test]
fn a_window_and_a_bound_of_retries_hold_for_the_edge_too() {
    let mut bench = bench("2013-01-01T00:00:00Z");
    let mut management = session(&mut bench, Role::Management, 1);
    let clock = |hour: u8| {
        Data::OctetString(vec![
            0xFF, 0xFF, 0xFF, 0xFF, 0xFF, hour, 0, 0, 0, 0x80, 0, 0,
        ])
    };
    let night = Data::Array(vec![Data::Structure(vec![clock(2), clock(4)])]);
    set(&mut management, &mut bench, INTERVAL_PUSH, 4, night);
    set(
        &mut management,
        &mut bench,
        INTERVAL_PUSH,
        6,
        Data::Unsigned(1),
    );
    set(
        &mut management,
        &mut bench,
        INTERVAL_PUSH,
        7,
        Data::LongUnsigned(60),
    );
    bench.link_up();
    bench.run_until(time("2013-01-01T01:59:59Z"));
    assert_eq!(bench.sent.len(), 0, "the window is closed");
    bench.run_until(time("2013-01-01T02:00:01Z"));
    assert_eq!(bench.sent.len(), 8, "what waited leaves when it opens");
    bench.run_until(time("2013-01-01T02:14:00Z"));
    // Nobody answers: each twice.
    assert_eq!(bench.sent.len(), 16);
    bench.run_until(time("2013-01-01T02:15:01Z"));
    assert!(bench.sent.len() > 16, "a new interval wakes the others");
    let mut head_end = HeadEnd::new();
    bench.serve(&mut head_end);
    bench.run_until(time("2013-01-01T02:29:00Z"));
    bench.serve(&mut head_end);
    assert_eq!(bench.meter.profile().unacknowledged(), 0);
}

#[test]
fn an_alert_reaches_the_edge_until_it_is_confirmed() {
    let mut bench = bench("2013-01-01T00:00:00Z");
    bench.link_up();
    let opened = Surroundings {
        cover_open: true,
        ..Surroundings::QUIET
    };
    bench.meter.handle_surroundings(opened, bench.now);
    bench.drain();
    assert_eq!(bench.sent.len(), 0, "it is not durable");
    bench.settle();
    bench.run_until(time("2013-01-01T00:05:00Z"));
    let mut head_end = HeadEnd::new();
    while let Some(frame) = bench.sent.pop_front() {
        head_end.receive(&frame);
    }
    assert!(head_end.alerts.len() > 2, "again and again");
    let (id, alert) = head_end.alerts[0].clone();
    assert!(
        head_end
            .alerts
            .iter()
            .all(|other| *other == (id, alert.clone()))
    );
    let alarms: Vec<AlarmBit> = alert.alarms().collect();
    assert_eq!(alarms, [AlarmBit::Fraud]);
    assert!(AlertPush::is_alert(id));

    // A crash loses none of it.
    bench.restart(configured(), load(), Boot::Reset);
    bench.settle();
    bench.link_up();
    head_end.alerts.clear();
    head_end.unheard.clear();
    bench.run_until(bench.now.utc + Duration::from_secs(5));
    bench.serve(&mut head_end);
    assert_eq!(head_end.alerts, [(id, alert)]);
    assert_eq!(bench.meter.status(bench.now).alerts_waiting, 0);
    bench.run_until(time("2013-01-01T00:14:00Z"));
    bench.serve(&mut head_end);
    assert_eq!(head_end.alerts.len(), 1, "it was heard");
}

#[test]
fn the_last_words_leave_before_the_link() {
    let mut bench = bench("2013-01-01T00:00:00Z");
    bench.link_up();
    bench.run_until(time("2013-01-01T00:05:00Z"));
    bench.sent.clear();
    bench.meter.handle_power_off(bench.now);
    bench.drain();
    let mut head_end = HeadEnd::new();
    let last = bench.sent.pop_front().expect("the last words");
    head_end.receive(&last);
    assert_eq!(bench.sent.len(), 0, "nothing after them");
    let alarms: Vec<AlarmBit> = head_end.alerts[0].1.alarms().collect();
    assert_eq!(alarms, [AlarmBit::TotalPowerFailure]);
    bench.settle();
    bench.pass_to(time("2013-01-01T00:10:00Z"));
    bench.meter.handle_power_on(bench.now);
    bench.settle();
    bench.link_up();
    bench.run_until(time("2013-01-01T00:10:05Z"));
    bench.serve(&mut head_end);
    let both: Vec<Vec<AlarmBit>> = head_end
        .alerts
        .iter()
        .map(|(_, alert)| alert.alarms().collect())
        .collect();
    let gone = vec![AlarmBit::TotalPowerFailure];
    let back = vec![AlarmBit::TotalPowerFailure, AlarmBit::PowerResumed];
    assert_eq!(both, [gone.clone(), gone, back]);
    assert_eq!(
        head_end.alerts[0].0, head_end.alerts[1].0,
        "the same words again"
    );
}

#[test]
fn an_alert_push_that_is_asked_for_comes_by_method_and_by_script() {
    let mut bench = bench("2013-01-01T00:00:00Z");
    bench.link_up();
    bench.run_until(time("2013-01-01T00:01:00Z"));
    let mut head_end = HeadEnd::new();
    bench.serve(&mut head_end);
    let mut management = session(&mut bench, Role::Management, 1);
    let method = management.invoke(&mut bench, ALERT_PUSH, 1, Data::Integer(0));
    assert_eq!(method, Ok(Response::Invoked(None)));
    let scripts = (9, [0, 0, 10, 0, 108, 255]);
    let script = management.invoke(&mut bench, scripts, 1, Data::LongUnsigned(2));
    assert_eq!(script, Ok(Response::Invoked(None)));
    bench.serve(&mut head_end);
    assert_eq!(head_end.alerts.len(), 2);
}

#[test]
fn tariff_scripts_run_and_schedules_take_only_scripts_that_there_are() {
    let mut bench = bench("2013-01-01T00:00:00Z");
    let mut management = session(&mut bench, Role::Management, 1);
    let scripts = (9, [0, 0, 10, 0, 100, 255]);
    let run = management.invoke(&mut bench, scripts, 1, Data::LongUnsigned(3));
    assert_eq!(run, Ok(Response::Invoked(None)));
    let active = attribute((1, [0, 0, 96, 14, 0, 255]), 2);
    assert_eq!(management.get(&mut bench, active), Ok(Data::Unsigned(3)));
    let unknown = management.invoke(&mut bench, scripts, 1, Data::LongUnsigned(9));
    assert!(unknown.is_err(), "{unknown:?}");
    let Ok(Data::Array(table)) = management.get(&mut bench, attribute(scripts, 2)) else {
        panic!("a script table is an array");
    };
    assert_eq!(table.len(), 8);

    let schedule = (22, [0, 0, 15, 0, 0, 255]);
    let script = |table: [u8; 6], selector| {
        Data::Structure(vec![
            Data::OctetString(table.to_vec()),
            Data::LongUnsigned(selector),
        ])
    };
    for (table, selector) in [([0, 0, 10, 0, 100, 255], 9), ([0, 0, 10, 0, 7, 255], 1)] {
        let value = script(table, selector);
        let answer = management.set(&mut bench, attribute(schedule, 2), value);
        assert_eq!(refused(answer), DataAccessResult::OtherReason);
    }
    set(
        &mut management,
        &mut bench,
        schedule,
        2,
        script([0, 0, 10, 0, 100, 255], 5),
    );
    let at_one = Data::Array(vec![Data::Structure(vec![
        Data::OctetString(vec![1, 0, 0, 0]),
        Data::OctetString(vec![0x07, 0xDD, 1, 1, 0xFF]),
    ])]);
    set(&mut management, &mut bench, schedule, 4, at_one);
    bench.run_until(time("2013-01-01T01:00:01Z"));
    let mut management = session(&mut bench, Role::Management, 2);
    assert_eq!(management.get(&mut bench, active), Ok(Data::Unsigned(5)));
}
