//! The meter against a small head-end: delivery, acknowledgement, refusal, prices, bills.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

mod support;

use gridloom_core::{
    Charge, MilliwattHours, Period, Price, ReadingStatus, Seed, SystemTitle, UtcTime,
};
use gridloom_dlms::apdu::{
    Apdu, AttributeDescriptor, DataAccessResult, GetRequestNormal, InvokeId, LongInvokeId,
    SetRequestNormal,
};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::charge::UNIT_CHARGE_PASSIVE;
use gridloom_field::{
    ConstantLoad, Counters, Event, HouseholdLoad, Meter, Metrology, Power, Profile, SupplyState,
    TraceLoad,
};
use gridloom_grid::{Household, HouseholdOptions, LoadTrace};
use support::{Bench, EDGE, HeadEnd, Restless, config, ends, keys, time};

type Prices<'a> = &'a [(UtcTime, Price)];

const START: &str = "2013-01-01T00:00:00Z";
const QUARTER: Period = Period::QUARTER_HOUR;

fn bench() -> Bench {
    let mut bench = Bench::new(config(1, QUARTER), Box::new(Restless(Seed::new(1))), START);
    bench.settle();
    bench.link_up();
    bench
}

fn price(text: &str) -> Price {
    Price::parse(text).unwrap()
}

#[test]
fn every_interval_is_pushed_and_acknowledged() {
    let mut bench = bench();
    let mut head_end = HeadEnd::new();
    for quarter in 1..=96 {
        bench.run_until(time(START) + QUARTER.duration() * quarter);
        bench.serve(&mut head_end);
        let status = bench.meter.status(bench.now);
        assert_eq!((status.unacknowledged, status.in_flight), (0, 0));
    }
    let all = ends(time("2013-01-01T00:15:00Z"), QUARTER, 96);
    assert!(head_end.readings.keys().eq(&all));
    assert_eq!(head_end.pushes.len(), 96, "nothing was pushed twice");
    // The sum of the intervals is the register, and the register is the load's integral.
    let sum: MilliwattHours = head_end.readings.values().map(|r| r.values.import).sum();
    let last = head_end.readings.last_key_value().unwrap().1;
    assert_eq!(sum, last.import_register);
    let mut reference = Metrology::new(
        bench.meter.config().connection,
        bench.meter.config().supply,
        Seed::new(1).child("supply"),
        time(START),
    );
    reference.advance(&mut Restless(Seed::new(1)), time("2013-01-02T00:00:00Z"));
    assert_eq!(bench.meter.metrology().registers(), reference.registers());
    assert!(sum.get() > 0 && last.values.voltage.get() > 220_000);
}

#[test]
fn without_acknowledgement_the_same_interval_comes_again_under_a_new_counter() {
    let mut bench = bench();
    let mut head_end = HeadEnd::new();
    bench.run_until(time("2013-01-01T00:20:00Z"));
    let sent = bench.sent.len();
    assert!(sent > 2, "{sent}");
    while let Some(frame) = bench.sent.pop_front() {
        head_end.receive(&frame); // Checks that counters rise.
    }
    assert_eq!(head_end.readings.len(), 1);
    let id = head_end.pushes[0].invoke_id();
    bench.run_until(time("2013-01-01T00:29:00Z"));
    let ack = head_end.ack(id);
    bench.give(&ack);
    bench.sent.clear();
    bench.run_until(time("2013-01-01T00:29:59Z"));
    assert_eq!(bench.sent.len(), 0, "acknowledged is acknowledged");
}

#[test]
fn frames_that_must_not_be_believed() {
    let mut bench = bench();
    let mut head_end = HeadEnd::new();
    bench.run_until(time("2013-01-01T00:15:00Z"));
    let frame = bench.sent.pop_front().unwrap();
    let push = head_end.receive(&frame).unwrap();
    let before = bench.meter.status(bench.now).counters;
    let good = head_end.ack(push.invoke_id());
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    // A forger's high counter must not lock the edge out.
    let mut high = good.clone();
    let counter = high.len() - 12 - 6 - 4;
    high[counter..counter + 4].copy_from_slice(&[0xFF; 4]);
    let mut stranger = HeadEnd::new();
    let plain_ack = [0x10, 0x40, 0, 0, 1, 0];
    let strange = stranger.seal_plain(SystemTitle(*b"GLMedge2"), &plain_ack);
    let reflected = frame.clone();
    let mut authentic_only = good.clone();
    authentic_only[11] = 0x10;
    let unacked = |bench: &mut Bench| bench.meter.status(bench.now).unacknowledged;

    for bad in [&forged, &high, &strange, &reflected, &authentic_only] {
        bench.give(bad);
        assert_eq!(unacked(&mut bench), 1, "{bad:02X?}");
    }
    bench.give(&plain_ack);
    bench.give(&[]);
    bench.give(&[0xDB, 0xFF]);
    assert_eq!(unacked(&mut bench), 1);

    bench.give(&good);
    assert_eq!(unacked(&mut bench), 0, "the true one is still believed");
    bench.give(&good);
    let again = head_end.ack(push.invoke_id());
    bench.give(&again);
    let unknown = head_end.ack(LongInvokeId::confirmed(12_345));
    bench.give(&unknown);
    let after = bench.meter.status(bench.now).counters;
    assert_eq!(
        after,
        Counters {
            acknowledged: before.acknowledged + 1,
            acknowledged_again: 2,
            wrong_title: 2,
            bad_tag: 2,
            replayed: 1,
            malformed: 4,
            ..before
        }
    );
    let answers: Vec<Vec<u8>> = bench.sent.drain(..).collect();
    let expected: [&[u8]; 5] = [
        &[0xD8, 2, 5],             // Forged.
        &[0xD8, 2, 5],             // Forged, high counter.
        &[0xD8, 2, 5],             // Less protection than demanded.
        &[0xD8, 1, 5],             // Plaintext.
        &[0xD8, 2, 6, 0, 0, 0, 2], // Replayed.
    ];
    assert_eq!(answers, expected, "strangers and garbage get nothing");
    let refused = bench
        .events
        .iter()
        .filter(|event| matches!(event, Event::FrameRefused(_)));
    assert_eq!(refused.count(), 9);
}

#[test]
fn prices_come_before_or_after_and_once() {
    let mut bench = bench();
    let mut head_end = HeadEnd::new();
    let first = time("2013-01-01T00:15:00Z");
    let second = time("2013-01-01T00:30:00Z");
    let third = time("2013-01-01T00:45:00Z");
    bench.run_until(time("2013-01-01T00:31:00Z"));
    use DataAccessResult::{OtherReason, ReadWriteDenied, Success};
    let cases: [(Prices<'_>, DataAccessResult, u32); 8] = [
        (&[(first, price("0.1"))], Success, 1),
        (&[(first, price("0.1"))], Success, 1), // Again.
        (
            &[(first, price("0.2")), (second, price("0.1"))],
            ReadWriteDenied,
            1,
        ), // All or nothing.
        (&[(third, price("0.3"))], Success, 1), // Ahead of its interval.
        (&[(third, price("0.4"))], ReadWriteDenied, 1),
        (&[(second, price("0.2")), (third, price("0.3"))], Success, 0),
        (&[(time("2012-12-31T00:15:00Z"), price("0.2"))], Success, 0), // Before its time.
        (
            &[(time("2013-01-01T00:16:00Z"), price("0.2"))],
            OtherReason,
            0,
        ),
    ];
    for (prices, expected, unpriced) in cases {
        let frame = head_end.prices(prices);
        bench.give(&frame);
        while let Some(frame) = bench.sent.pop_front() {
            head_end.receive(&frame);
        }
        assert_eq!(head_end.set_results.pop(), Some(expected), "{prices:?}");
        assert_eq!(
            bench.meter.status(bench.now).unpriced,
            unpriced,
            "{prices:?}"
        );
    }
    bench.run_until(third);
    bench.serve(&mut head_end);
    let expected: Charge = [(first, "0.1"), (second, "0.2"), (third, "0.3")]
        .into_iter()
        .map(|(end, text)| price(text).charge(head_end.readings[&end].values.import))
        .sum();
    let account = *bench.meter.bill().open().next().unwrap();
    assert_eq!(
        (account.charge, account.priced, account.unpriced),
        (expected, 3, 0)
    );
    assert_eq!(bench.meter.status(bench.now).price, Some(price("0.3")));
}

#[test]
fn requests_the_meter_does_not_serve() {
    let mut bench = bench();
    let mut head_end = HeadEnd::new();
    let set = |attribute: AttributeDescriptor, value: Data| {
        Apdu::SetRequestNormal(SetRequestNormal {
            invoke_id: InvokeId::confirmed(1),
            attribute,
            access: None,
            value,
        })
    };
    let charge = UNIT_CHARGE_PASSIVE;
    let clock = AttributeDescriptor {
        class_id: 8,
        instance: gridloom_core::ObisCode([0, 0, 1, 0, 0, 255]),
        attribute: 2,
    };
    let cases = [
        (set(clock, Data::Null), DataAccessResult::ObjectUndefined),
        (
            set(
                AttributeDescriptor {
                    class_id: 3,
                    ..charge
                },
                Data::Null,
            ),
            DataAccessResult::ObjectClassInconsistent,
        ),
        (
            set(
                AttributeDescriptor {
                    attribute: 5,
                    ..charge
                },
                Data::Null,
            ),
            DataAccessResult::ReadWriteDenied,
        ),
        (set(charge, Data::Long(1)), DataAccessResult::TypeUnmatched),
    ];
    for (request, expected) in cases {
        let frame = head_end.seal(&request);
        bench.give(&frame);
        let answer = bench.sent.pop_front().unwrap();
        head_end.receive(&answer);
        assert_eq!(head_end.set_results.pop(), Some(expected), "{request:?}");
    }
    let get = Apdu::GetRequestNormal(GetRequestNormal {
        invoke_id: InvokeId::confirmed(1),
        attribute: clock,
        access: None,
    });
    let get = head_end.seal(&get);
    let unknown = head_end.seal_plain(EDGE, &[0x60, 1, 2, 3]);
    let cut = head_end.seal_plain(EDGE, &[0xC1, 1]);
    for (frame, service) in [(get, 2), (unknown, 2), (cut, 3)] {
        bench.give(&frame);
        let answer = bench.sent.pop_front().unwrap();
        assert_eq!(answer[0], 0xDB, "a believed peer is answered in ciphertext");
        head_end.receive(&answer);
        assert_eq!(head_end.exceptions.pop().unwrap()[2], service);
    }
}

#[test]
fn nothing_leaves_before_it_is_durable() {
    let mut bench = bench();
    let mut head_end = HeadEnd::new();
    bench.pass_to(time("2013-01-01T00:15:00Z"));
    bench.meter.handle_timeout(bench.now);
    bench.drain();
    assert_eq!(bench.sent.len(), 0, "the capture is not durable");
    while bench.write_one() {
        bench.drain();
    }
    assert_eq!(bench.sent.len(), 1);
    let frame = bench.sent.pop_front().unwrap();
    head_end.receive(&frame);
    let set = head_end.prices(&[(time("2013-01-01T00:15:00Z"), price("0.1"))]);
    bench.meter.handle_frame(&set, bench.now);
    bench.drain();
    assert_eq!(bench.sent.len(), 0, "the price is not durable");
    bench.settle();
    assert_eq!(bench.sent.len(), 1);
}

#[test]
fn a_failing_disk_delays_and_loses_nothing() {
    let mut bench = bench();
    let mut head_end = HeadEnd::new();
    bench.pass_to(time("2013-01-01T00:15:00Z"));
    bench.meter.handle_timeout(bench.now);
    bench.drain();
    for _ in 0..3 {
        let waiting: Vec<_> = bench.disk.waiting.drain(..).collect();
        assert!(!waiting.is_empty());
        for (ticket, ..) in waiting {
            let full = Err("field.db: no space left".to_owned());
            bench.meter.handle_remembered(ticket, full, bench.now);
            bench.drain();
        }
        assert_eq!(bench.sent.len(), 0);
        assert_eq!(bench.disk.waiting.len(), 0, "not at once");
        let (again, _) = bench.meter.wake().instant.unwrap();
        bench.pass_to(bench.now.utc + again.since(bench.now.instant));
        bench.meter.handle_timeout(bench.now);
        bench.drain();
    }
    let status = bench.meter.status(bench.now);
    assert!(status.memory_failures >= 3);
    assert_eq!(
        status.memory_failure.as_deref(),
        Some("field.db: no space left")
    );
    bench.settle();
    bench.serve(&mut head_end);
    assert_eq!(head_end.readings.len(), 1);
    assert_eq!(bench.meter.status(bench.now).memory_failure, None);
}

#[test]
fn a_month_is_billed_to_the_cent() {
    let household = Household::new(Seed::new(5), 3, HouseholdOptions::default());
    let mut bench = Bench::new(
        config(5, Period::HALF_HOUR),
        Box::new(HouseholdLoad::new(household)),
        START,
    );
    bench.settle();
    bench.link_up();
    let mut head_end = HeadEnd::new();
    let end_of_month = time("2013-02-01T00:00:00Z");
    let mut due = Charge::ZERO;
    let mut end = time(START);
    while end < end_of_month {
        end = end + Period::HALF_HOUR.duration();
        bench.run_until(end);
        bench.serve(&mut head_end);
        assert_eq!(bench.meter.bill().last_closed(), None, "{end}");
        // Prices come late, in bunches.
        if end.second_of_day().is_multiple_of(21_600) {
            let bunch: Vec<(UtcTime, Price)> = (0..12)
                .map(|i| {
                    let end = end - Period::HALF_HOUR.duration() * (11 - i);
                    let ten_thousandths = end.as_secs() / 1_800 * 37 % 3_000 - 200;
                    let price = Price::from_micro_per_kwh(ten_thousandths * 100).unwrap();
                    (end, price)
                })
                .collect();
            for (end, price) in &bunch {
                due += price.charge(head_end.readings[end].values.import);
            }
            let frame = head_end.prices(&bunch);
            bench.give(&frame);
            bench.serve(&mut head_end);
            assert_eq!(head_end.set_results.pop(), Some(DataAccessResult::Success));
        }
    }
    let closed = *bench.meter.bill().last_closed().unwrap();
    assert_eq!(
        (closed.charge, closed.priced, closed.unpriceable),
        (due, 31 * 48, 0)
    );
    let amount = due.round_half_away(bench.meter.config().currency);
    assert!(amount.minor() > 500, "{amount}");
    assert!(bench.events.iter().any(|event| matches!(
        event,
        Event::MonthClosed(bill) if bill.amount == amount && bill.month.to_string() == "2013-01"
    )));
    // The next push tells the utility.
    bench.run_until(time("2013-02-01T00:30:00Z"));
    bench.serve(&mut head_end);
    let told = head_end.pushes.last().unwrap().billing.closed.unwrap();
    assert_eq!(
        (i64::from(told.minor), told.month),
        (amount.minor(), closed.month)
    );
    let status = bench.meter.status(bench.now);
    assert_eq!(status.last_bill.unwrap().amount, amount);
    assert!(status.appliances.len() > 5, "{:?}", status.appliances);
    let sum: i64 = status.appliances.iter().map(|a| a.milliwatts).sum();
    assert_eq!(sum, status.instantaneous.active_mw);
    // Small writes: most carry the state and a few entries only.
    let mean = bench.disk.bytes / bench.disk.writes;
    assert!(
        mean < 2_500,
        "{mean} bytes in each of {} writes",
        bench.disk.writes
    );
}

#[test]
fn an_outage_invents_nothing() {
    let load = ConstantLoad {
        power: Power {
            active_mw: [1_000_000, 0, 0],
            reactive_mvar: [0; 3],
        },
    };
    let mut bench = Bench::new(config(1, QUARTER), Box::new(load), START);
    bench.settle();
    bench.link_up();
    let mut head_end = HeadEnd::new();
    bench.run_until(time("2013-01-01T00:24:00Z"));
    bench.serve(&mut head_end);
    bench.meter.handle_power_off(bench.now);
    bench.settle();
    bench.pass_to(time("2013-01-01T02:33:00Z"));
    assert!(matches!(
        bench.meter.status(bench.now).supply,
        SupplyState::Off { .. }
    ));
    assert_eq!(bench.meter.wake().utc, None, "it is dark");
    // The program may restart in the dark, too.
    bench.restart(
        config(1, QUARTER),
        Box::new(load),
        gridloom_field::Boot::Reset,
    );
    bench.settle();
    bench.link_up();
    bench.run_until(time("2013-01-01T03:00:00Z"));
    bench.serve(&mut head_end);
    let got: Vec<(String, i64, ReadingStatus)> = head_end
        .readings
        .values()
        .map(|push| (push.end.to_string(), push.values.import.get(), push.status))
        .collect();
    let good = ReadingStatus::GOOD;
    assert_eq!(
        got,
        [
            ("2013-01-01T00:15:00Z".to_owned(), 250_000, good),
            // 9 minutes before the failure and 12 after it.
            (
                "2013-01-01T02:45:00Z".to_owned(),
                350_000,
                ReadingStatus::POWER_DOWN
            ),
            ("2013-01-01T03:00:00Z".to_owned(), 250_000, good),
        ]
    );
    assert_eq!(
        head_end.readings[&time("2013-01-01T03:00:00Z")].power.get(),
        1_000
    );
    assert_eq!(bench.meter.status(bench.now).supply, SupplyState::On);
}

#[test]
fn a_trace_keeps_its_gaps() {
    let (_, trace) = LoadTrace::sample()
        .into_iter()
        .find(|(_, trace)| trace.len() < 31 * 48)
        .expect("one home of the sample has a gap");
    let mut bench = Bench::new(
        config(1, Period::HALF_HOUR),
        Box::new(TraceLoad::new(trace.clone())),
        START,
    );
    bench.settle();
    bench.link_up();
    let mut head_end = HeadEnd::new();
    for half_hour in 1..=31 * 48 {
        bench.run_until(time(START) + Period::HALF_HOUR.duration() * half_hour);
        bench.serve(&mut head_end);
    }
    let got: Vec<(UtcTime, MilliwattHours)> = head_end
        .readings
        .iter()
        .map(|(end, push)| (*end, push.values.import))
        .collect();
    let month = time("2013-02-01T00:00:00Z");
    let expected: Vec<_> = trace
        .iter()
        .filter(|(end, _)| *end > time(START) && *end <= month)
        .collect();
    assert!(expected.len() < 31 * 48, "there is a gap");
    assert_eq!(got, expected);
}

#[test]
fn a_full_profile_names_what_it_loses() {
    let mut bench = Bench::new(
        config(1, Period::HOUR),
        Box::new(Restless(Seed::new(1))),
        START,
    );
    bench.settle();
    let capacity = u32::from(Profile::DAYS_MIN) * 24;
    bench.run_until(time(START) + Period::HOUR.duration() * (capacity + 2));
    let lost: Vec<&Event> = bench.events.iter().collect();
    assert_eq!(
        lost,
        [
            &Event::LostAtSource {
                end: time("2013-01-01T01:00:00Z")
            },
            &Event::LostAtSource {
                end: time("2013-01-01T02:00:00Z")
            },
        ]
    );
    let status = bench.meter.status(bench.now);
    assert_eq!(status.lost, 2);
    assert_eq!(status.captured, status.unacknowledged as u64 + status.lost);
    let january = bench.meter.bill().open().next().unwrap();
    assert_eq!(january.unpriceable, 2);
    // The backlog drains once there is a link, and the oldest comes first.
    bench.link_up();
    let mut head_end = HeadEnd::new();
    for _ in 0..capacity {
        bench.serve(&mut head_end);
    }
    assert_eq!(head_end.readings.len(), capacity as usize);
    assert_eq!(head_end.pushes[0].end, time("2013-01-01T03:00:00Z"));
}

#[test]
fn keys_are_never_printed() {
    let text = format!("{:?} {:?}", keys(), config(1, QUARTER));
    assert!(
        !text.contains("7, 7") && text.contains("redacted"),
        "{text}"
    );
    let _: fn(&Meter) -> &Metrology = Meter::metrology;
}
