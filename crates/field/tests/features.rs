//! What a meter does for its clients beyond measuring: switch, limiter, tariffs, logs, profiles.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use gridloom_dlms::apdu::DataAccessResult;
use gridloom_dlms::axdr::Data;
use gridloom_dlms::client::{Request, Response};
use gridloom_dlms::counter::{ReceiveCounter, TransmitCounter};
use gridloom_field::{Boot, Client as Role, Connection, Event, MeterConfig};
use support::session::{
    BILLING, BLOCK, CALENDAR, CLOCK, Counters, DAILY, LIMITER, SWITCH, SWITCH_SCRIPTS, Session,
    attribute, bench, by_time, client_config, configured, date_time, load, moment, rows,
};
use support::{Bench, time};
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
    // Away over a change of tariff in the middle of an interval.
    bench.run_until(time("2013-01-02T06:05:00Z"));
    bench.pass_to(time("2013-01-02T07:00:10Z"));
    bench.restart(configured(), steady(3_600), Boot::Reset);
    bench.settle();
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
fn demand_registers_show_the_running_and_the_last_mean() {
    let start = "2013-01-01T00:00:00Z";
    let mut bench = Bench::new(configured(), steady(1_200), start);
    bench.settle();
    bench.run_until(time("2013-01-01T01:05:00Z"));
    let mut reader = Session::role(&mut bench, Role::Reader);
    for (object, unit) in [([1, 0, 1, 4, 0, 255], 27), ([1, 0, 9, 4, 0, 255], 28)] {
        let mut get = |number| reader.get(&mut bench, attribute((5, object), number));
        assert_eq!(get(2), Ok(Data::DoubleLongUnsigned(400)), "100 Wh so far");
        assert_eq!(get(3), Ok(Data::DoubleLongUnsigned(1_200)));
        let scaler = Data::Structure(vec![Data::Integer(0), Data::Enum(unit)]);
        assert_eq!(get(4), Ok(scaler));
        assert_eq!(get(5), Ok(Data::Unsigned(0)));
        assert_eq!(get(6), Ok(date_time("2013-01-01T01:00:00Z")));
        assert_eq!(get(7), Ok(date_time("2013-01-01T01:00:00Z")));
        assert_eq!(get(8), Ok(Data::DoubleLongUnsigned(900)));
        assert_eq!(get(9), Ok(Data::LongUnsigned(1)));
    }
}
