//! Sessions with a real server on the other side of the link, and faults at every step.

mod bench;

use std::collections::BTreeMap;
use std::time::Duration;

use gridloom_core::ObisCode;
use gridloom_dlms::apdu::{AttributeDescriptor, DataAccessResult, MethodDescriptor};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::client::{ClientError, Layer};
use gridloom_dlms::counter::{BLOCK_LEN, ReceiveCounter, TransmitCounter};
use gridloom_dlms::selection::CaptureObject;

use super::PUBLIC_CLIENT;
use super::plan::*;
use crate::healing::{COUNTER_JUMP_MAX, CounterFinding, CounterState, Verdict};
use crate::profile::integer_of;
use crate::schedule::Outcome;
use crate::template::{CipheringForm, DeviationRule, MeterTemplate, ScalerSource, Support};
use bench::{Bench, EVENTS, Fault, PROFILE, REGISTER, SCALERS, START, end};

const SERIAL: AttributeDescriptor = AttributeDescriptor {
    class_id: 1,
    instance: ObisCode([0, 0, 96, 1, 0, 255]),
    attribute: 2,
};
const NOWHERE: AttributeDescriptor = AttributeDescriptor {
    class_id: 1,
    instance: ObisCode([9, 9, 9, 9, 9, 255]),
    attribute: 2,
};

fn register() -> AttributeDescriptor {
    AttributeDescriptor {
        class_id: 3,
        instance: REGISTER,
        attribute: 2,
    }
}

fn get(attribute: AttributeDescriptor) -> Step {
    Step::Get {
        attribute,
        access: None,
    }
}

fn range(from: i64, to: i64) -> Step {
    Step::ReadProfile {
        profile: PROFILE,
        selection: Selection::Range {
            from: end(from),
            to: end(to),
        },
        columns: Vec::new(),
    }
}

fn sync() -> Step {
    Step::SyncClock {
        tolerance: Duration::from_secs(5),
        max_step: Duration::from_secs(600),
    }
}

/// Slot numbers of the rows of a profile.
fn slots(result: &Result<StepValue, StepError>) -> Vec<i64> {
    match result {
        Ok(StepValue::Profile(read)) => read
            .rows
            .iter()
            .map(|row| (row.time.unwrap().as_secs() - START) / 900)
            .collect(),
        other => panic!("a profile was expected, not {other:?}"),
    }
}

#[test]
fn a_plan_is_gone_through_over_the_real_protocol() {
    let mut bench = Bench::standard();
    bench.device.clock_offset_ms = 90_000;
    let method = MethodDescriptor {
        class_id: 9,
        instance: ObisCode([0, 0, 10, 0, 1, 255]),
        method: 1,
    };
    let set = |value| Step::Set {
        attribute: SERIAL,
        access: None,
        value,
    };
    let results = bench.run(vec![
        get(SERIAL),
        Step::GetList(vec![SERIAL, NOWHERE, register()]),
        range(3, 6),
        Step::ReadEvents {
            log: EVENTS,
            selection: Selection::All,
        },
        set(Data::VisibleString(b"new".to_vec())),
        Step::Invoke {
            method,
            parameters: Some(Data::LongUnsigned(1)),
        },
        Step::Browse,
        sync(),
        Step::Disconnect,
        Step::ReadSupply,
        Step::Connect,
        get(NOWHERE),
        get(SERIAL),
    ]);
    assert_eq!(
        results[0],
        Ok(StepValue::Data(Data::VisibleString(b"GL0001".to_vec())))
    );
    let undefined = DataAccessResult::ObjectUndefined;
    assert_eq!(
        results[1],
        Ok(StepValue::List(vec![
            Ok(Data::VisibleString(b"GL0001".to_vec())),
            Err(undefined),
            Ok(Data::DoubleLongUnsigned(5_000))
        ]))
    );
    assert_eq!(slots(&results[2]), [3, 4, 5, 6]);
    let Ok(StepValue::Events(events)) = &results[3] else {
        panic!("{:?}", results[3]);
    };
    let codes: Vec<_> = events
        .iter()
        .map(|event| (event.time, event.code))
        .collect();
    assert_eq!(codes, [(Some(end(1)), Some(7)), (Some(end(2)), Some(8))]);
    assert_eq!(results[4], Ok(StepValue::Written));
    assert_eq!(results[5], Ok(StepValue::Invoked(None)));
    let Ok(StepValue::Objects(objects)) = &results[6] else {
        panic!("{:?}", results[6]);
    };
    assert_eq!(objects.len(), 2);
    assert_eq!(objects[1].attributes, [(1, 1), (2, 1), (3, 1)]);
    let Ok(StepValue::Clock(clock)) = &results[7] else {
        panic!("{:?}", results[7]);
    };
    assert!((89_000..=91_000).contains(&clock.offset_ms), "{clock:?}");
    assert!(clock.after_ms.is_some_and(|after| after.abs() <= 2_000));
    assert!(bench.device.clock_offset_ms.abs() <= 2_000);
    let supply = |output, control| Ok(StepValue::Supply(Supply { output, control }));
    assert_eq!(results[8], supply(false, ControlState::Disconnected));
    assert_eq!(results[9], supply(false, ControlState::Disconnected));
    assert_eq!(results[10], supply(true, ControlState::Connected));
    assert_eq!(
        results[11],
        Err(StepError::Client(ClientError::Object(undefined, NOWHERE)))
    );
    assert_eq!(
        results[12],
        Ok(StepValue::Data(Data::VisibleString(b"new".to_vec())))
    );
    let report = bench.report();
    assert_eq!(report.result, Ok(()));
    assert_eq!((report.succeeded, report.failed), (12, 1));
    assert_eq!(report.outcome(), Outcome::Failed, "an object is missing");
    assert!(bench.released(), "the association is released");
    assert!(report.counters.proven > Some(10));
    assert!(report.counters.receive.last().is_some());
}

#[test]
fn quirks_of_meters_change_the_questions_and_not_the_answers() {
    let all = MeterTemplate::standard("x").supports;
    let none = Support::default();
    let registers = ScalerSource::Registers;
    let cases = [
        (all, DeviationRule::Unspecified, 0, registers),
        (all, DeviationRule::Unspecified, -330, registers),
        (all, DeviationRule::MetersOwn, -330, registers),
        (all, DeviationRule::Utc, 0, ScalerSource::Profile(SCALERS)),
        (
            none,
            DeviationRule::MetersOwn,
            60,
            ScalerSource::Profile(SCALERS),
        ),
        (none, DeviationRule::Unspecified, -60, registers),
        (
            Support {
                lists: true,
                ..none
            },
            DeviationRule::MetersOwn,
            0,
            registers,
        ),
    ];
    for (supports, rule, deviation, scaler_source) in cases {
        let case = format!("{supports:?} {rule:?} {deviation} {scaler_source:?}");
        let mut bench = Bench::standard();
        bench.template.supports = supports;
        bench.template.deviation = rule;
        bench.template.scaler_source = scaler_source;
        bench.device.deviation = deviation;
        bench.device.states_deviation = rule != DeviationRule::Unspecified;
        bench.device.can_select = supports.range_access;
        let time = CaptureObject::CLOCK;
        let energy = CaptureObject {
            class_id: 3,
            instance: REGISTER,
            attribute: 2,
            data_index: 0,
        };
        let entries = Step::ReadProfile {
            profile: PROFILE,
            selection: Selection::Entries { from: 2, to: 3 },
            columns: vec![energy, time],
        };
        let results = bench.run(vec![
            range(3, 6),
            entries,
            Step::GetList(vec![SERIAL, register()]),
        ]);
        assert_eq!(slots(&results[0]), [3, 4, 5, 6], "{case}");
        assert_eq!(slots(&results[1]), [2, 3], "{case}");
        let Ok(StepValue::Profile(read)) = &results[1] else {
            panic!("{case}");
        };
        let scaler = read.shape.columns[0].scaler.unwrap();
        assert_eq!((scaler.scaler, scaler.unit.0), (1, 30), "{case}");
        assert_eq!(read.shape.columns[1].object, time, "{case}");
        let energies: Vec<_> = read
            .rows
            .iter()
            .map(|row| integer_of(&row.values[0]))
            .collect();
        assert_eq!(energies, [Some(1_002), Some(1_003)], "{case}");
        assert!(
            matches!(&results[2], Ok(StepValue::List(list)) if list.len() == 2),
            "{case}"
        );
        assert_eq!(bench.report().outcome(), Outcome::Done, "{case}");
    }
}

#[test]
fn every_form_of_ciphering_is_spoken() {
    for form in [
        CipheringForm::ServiceGlobal,
        CipheringForm::ServiceDedicated,
        CipheringForm::GeneralGlobal,
        CipheringForm::GeneralDedicated,
    ] {
        let mut bench = Bench::standard();
        bench.template.ciphering = form;
        let results = bench.run(vec![get(SERIAL), range(1, 90)]);
        assert!(results[0].is_ok(), "{form:?} {:?}", results[0]);
        assert_eq!(slots(&results[1]), (1..=90).collect::<Vec<_>>(), "{form:?}");
    }
}

fn orders() -> Vec<Step> {
    vec![get(SERIAL), range(2, 3), Step::Disconnect, get(register())]
}

#[test]
fn a_fault_at_every_step_is_named_and_no_order_is_doubted_away() {
    let mut clean = Bench::standard();
    clean.run(orders());
    let exchanges = clean.sent;
    assert!(exchanges > 10);
    let mut doubtful = 0;
    for at in 1..=exchanges {
        for fault in [Fault::CutBefore(at), Fault::CutAfter(at), Fault::Silent(at)] {
            let mut bench = Bench::standard();
            bench.fault = fault;
            let results = bench.run(orders());
            let report = bench.report();
            assert_eq!(results.len(), 4, "{fault:?}: every step ends once");
            for result in &results {
                let layer = match result {
                    Ok(_) | Err(StepError::Skipped) => continue,
                    Err(StepError::Client(error) | StepError::OutcomeUnknown(error)) => {
                        error.layer()
                    }
                    Err(other) => panic!("{fault:?}: {other}"),
                };
                assert_eq!(layer, Layer::Link, "{fault:?}");
            }
            match &results[2] {
                Ok(_) => assert!(!bench.device.output, "{fault:?}"),
                Err(error) if error.may_have_acted() => doubtful += 1,
                Err(_) => assert!(
                    bench.device.output,
                    "{fault:?}: it is off, and nobody knows"
                ),
            }
            if results.iter().any(Result::is_err) {
                assert_eq!(report.outcome(), Outcome::TryAgain, "{fault:?}");
            }
            assert!(bench.session_is_over(), "{fault:?}");
        }
    }
    assert!(doubtful >= 3, "{doubtful}: the order itself was hit");
}

#[test]
fn a_link_that_never_comes_up_and_a_session_that_never_ends() {
    let mut bench = Bench::standard();
    bench.fault = Fault::NoLink;
    let results = bench.run(vec![get(SERIAL)]);
    assert_eq!(results, [Err(StepError::Skipped)]);
    let report = bench.report();
    assert!(matches!(report.result, Err(SessionError::NoLink { .. })));
    assert_eq!(report.outcome(), Outcome::TryAgain);

    let mut bench = Bench::standard();
    bench.answer_timeout = Duration::from_secs(500);
    bench.fault = Fault::Silent(3);
    let results = bench.run(vec![get(SERIAL)]);
    assert!(results[0].is_err());
    assert!(matches!(
        bench.report().result,
        Err(SessionError::TooLong { .. })
    ));
}

#[test]
fn a_wrong_key_is_named_as_one_and_never_as_no_data() {
    type Change = fn(&mut Bench);
    let cases: [(&str, Change, &[Layer]); 4] = [
        (
            "encryption key",
            |b| b.encryption[0] ^= 1,
            &[Layer::Key, Layer::Tag],
        ),
        (
            "authentication key",
            |b| b.authentication[3] ^= 1,
            &[Layer::Key, Layer::Tag],
        ),
        (
            "both keys",
            |b| {
                b.encryption = [9; 16];
                b.authentication = [9; 16];
            },
            &[Layer::Key, Layer::Tag],
        ),
        (
            "another meter",
            |b| b.expected_title = gridloom_core::SystemTitle::new(*b"MMM", 7),
            &[Layer::Association, Layer::Tag, Layer::Frame],
        ),
    ];
    for (case, change, layers) in cases {
        let mut bench = Bench::standard();
        change(&mut bench);
        let results = bench.run(vec![get(SERIAL), range(1, 4)]);
        assert!(results.iter().all(Result::is_err), "{case}: {results:?}");
        let report = bench.report();
        let error = report.result.clone().unwrap_err();
        assert!(layers.contains(&error.layer()), "{case}: {error}");
        assert_eq!(report.outcome(), Outcome::Failed, "{case}: {error}");
    }
}

fn counters(bound: u32, proven: Option<u32>) -> CounterState {
    CounterState {
        transmit: TransmitCounter::resume(bound),
        receive: ReceiveCounter::new(),
        proven,
    }
}

#[test]
fn a_counter_that_is_behind_heals_forwards() {
    let mut bench = Bench::standard();
    bench.meter_heard(50_000);
    bench.counters = counters(7, Some(3));
    let results = bench.run(vec![get(SERIAL), Step::Disconnect]);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let findings = bench.findings();
    let [CounterFinding::Claimed(Verdict::Forward { from: 9, to })] = findings[..] else {
        panic!("{findings:?}");
    };
    assert_eq!(to, 50_000);
    assert!(!findings[0].is_alarm());
    let clients: Vec<u16> = bench.connects();
    assert_eq!(clients, [1, PUBLIC_CLIENT, 1]);
    assert!(bench.reserved().contains(&(50_000 + BLOCK_LEN)));
    let report = bench.report();
    assert!(report.counters.proven > Some(50_000));
    assert_eq!(report.outcome(), Outcome::Done);
}

#[test]
fn a_counter_refused_in_between_repeats_a_reading_and_never_an_order() {
    for (nth, step) in [(3, get(SERIAL)), (3, Step::Disconnect)] {
        let is_order = step.is_order();
        let mut bench = Bench::standard();
        bench.jump_at = Some(nth);
        let results = bench.run(vec![step, get(register())]);
        assert_eq!(bench.connects(), [1, PUBLIC_CLIENT, 1]);
        if is_order {
            assert!(matches!(results[0], Err(StepError::OutcomeUnknown(_))));
            assert!(bench.device.output, "refused once, and not repeated");
        } else {
            assert!(results[0].is_ok(), "{results:?}");
        }
        assert!(results[1].is_ok(), "{results:?}");
    }
}

#[test]
fn a_reservation_from_before_the_healing_comes_late() {
    let mut transmit = TransmitCounter::resume(7);
    let upper = transmit.reservation_due().unwrap();
    transmit.reserved(upper);
    for _ in 0..600 {
        transmit.next().unwrap();
    }
    let mut bench = Bench::standard();
    bench.meter_heard(50_000);
    bench.counters.transmit = transmit;
    bench.slow_disk = true;
    let results = bench.run(vec![get(SERIAL)]);
    assert!(results[0].is_ok(), "{results:?}");
    assert_eq!(
        bench.reserved(),
        [upper + BLOCK_LEN, 50_000 + BLOCK_LEN],
        "the first one became durable when nobody waited for it"
    );
}

#[test]
fn what_does_not_heal_ends_in_an_alarm() {
    let far = 9 + 2 * COUNTER_JUMP_MAX;
    // What the meter heard last, what its object claims, our counters.
    let cases = [
        ("too far", far, None, counters(7, Some(3)), true, false),
        ("fell", 50_000, Some(2), counters(7, Some(3)), true, true),
        (
            "consistent",
            50_000,
            Some(5),
            counters(7, Some(3)),
            false,
            false,
        ),
    ];
    for (case, heard, claimed, counters, alarm, new_key) in cases {
        let mut bench = Bench::standard();
        bench.meter_heard(heard);
        bench.claimed = claimed;
        bench.counters = counters;
        let results = bench.run(vec![get(SERIAL)]);
        assert!(results[0].is_err(), "{case}");
        let findings = bench.findings();
        assert_eq!(findings.len(), 1, "{case}: {findings:?}");
        assert_eq!(findings[0].is_alarm(), alarm, "{case}");
        assert_eq!(findings[0].wants_new_key(), new_key, "{case}");
        let report = bench.report();
        let error = report.result.clone().unwrap_err();
        assert_eq!(error.layer(), Layer::Counter, "{case}: {error}");
        assert_eq!(report.outcome(), Outcome::Failed, "{case}");
        let next = crate::healing::upcoming(&report.counters.transmit);
        assert!(
            next < Some(100),
            "{case}: our counter did not move: {next:?}"
        );
    }
}

#[test]
fn a_meter_that_repeats_its_counter_is_an_alarm() {
    let mut bench = Bench::standard();
    bench.counters.receive = ReceiveCounter::after(4_000_000);
    let results = bench.run(vec![get(SERIAL)]);
    assert!(results[0].is_err());
    let findings = bench.findings();
    assert!(
        matches!(
            findings[..],
            [CounterFinding::Replayed {
                last: 4_000_000,
                ..
            }]
        ),
        "{findings:?}"
    );
    assert!(findings[0].is_alarm() && findings[0].wants_new_key());
    let report = bench.report();
    assert_eq!(report.result.clone().unwrap_err().layer(), Layer::Counter);
    assert_eq!(
        report.counters.receive.last(),
        Some(4_000_000),
        "never lowered"
    );
}

#[test]
fn a_clock_too_far_off_is_left_alone() {
    for (offset_ms, deviation) in [(700_000, 0), (-700_000, -330)] {
        let mut bench = Bench::standard();
        bench.device.clock_offset_ms = offset_ms;
        bench.device.deviation = deviation;
        let results = bench.run(vec![sync()]);
        assert!(
            matches!(results[0], Err(StepError::ClockStep { offset_ms: found, .. })
                if (found - offset_ms).abs() < 2_000),
            "{:?}",
            results[0]
        );
        assert_eq!(bench.device.clock_offset_ms, offset_ms);
        assert_eq!(bench.report().outcome(), Outcome::Failed);
    }
    let mut bench = Bench::standard();
    bench.device.clock_offset_ms = 3_000;
    let results = bench.run(vec![sync()]);
    assert!(
        matches!(&results[0], Ok(StepValue::Clock(clock)) if clock.after_ms.is_none()),
        "{:?}",
        results[0]
    );
}

#[test]
fn a_relay_that_does_not_move_is_not_believed() {
    let mut bench = Bench::standard();
    bench.device.relay_sticks = true;
    let results = bench.run(vec![Step::Disconnect]);
    let Err(error) = &results[0] else {
        panic!("{results:?}");
    };
    assert!(matches!(error, StepError::NotVerified(supply) if supply.output));
    assert!(error.may_have_acted());
}

#[test]
fn a_known_shape_is_not_asked_again() {
    let mut first = Bench::standard();
    first.run(vec![range(1, 2)]);
    let shapes: BTreeMap<_, _> = first.report().shapes.iter().cloned().collect();
    let mut second = Bench::standard();
    second.shapes = shapes;
    let results = second.run(vec![range(1, 2)]);
    assert_eq!(slots(&results[0]), [1, 2]);
    assert!(second.sent < first.sent);
}
