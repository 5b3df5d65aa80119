use super::*;
use crate::objects::retained::assert_survives;

const SCRIPTS: ObisCode = ObisCode([0, 0, 10, 0, 106, 255]);
const OPEN: ScriptName = ScriptName {
    table: SCRIPTS,
    selector: 1,
};
const CLOSE: ScriptName = ScriptName {
    table: SCRIPTS,
    selector: 2,
};

fn config() -> LimiterConfig {
    LimiterConfig {
        monitored: MonitoredValue {
            class_id: 3,
            instance: ObisCode([1, 0, 1, 7, 0, 255]),
            attribute: 2,
        },
        threshold_type: ThresholdType::DoubleLongUnsigned,
        threshold_normal: 5_000,
        threshold_emergency: 1_000,
        min_over_s: 60,
        min_under_s: 300,
        action_over: OPEN,
        action_under: CLOSE,
    }
}

fn at(second: i64) -> UtcTime {
    UtcTime::from_secs(1_700_000_000 + second)
}

fn events(limiter: &mut Limiter) -> Vec<LimiterEvent> {
    std::iter::from_fn(|| limiter.poll_event()).collect()
}

fn exceeded(second: i64) -> LimiterEvent {
    LimiterEvent::Exceeded {
        at: at(second),
        script: OPEN,
    }
}

fn ok(second: i64) -> LimiterEvent {
    LimiterEvent::Ok {
        at: at(second),
        script: CLOSE,
    }
}

#[test]
fn scripts_run_after_the_exact_duration() {
    // Values by second, then what came of them by the end of second 1000.
    type Values<'a> = &'a [(i64, i64)];
    let cases: [(Values<'_>, &[LimiterEvent]); 7] = [
        (&[(0, 5_000)], &[]),
        (&[(0, 5_001)], &[exceeded(60)]),
        // Back under one second early: nothing happened.
        (&[(0, 5_001), (59, 5_000)], &[]),
        // Back at the very end of the duration: it did last for a minute.
        (&[(0, 5_001), (60, 0)], &[exceeded(60), ok(360)]),
        // Above in two parts: each counts by itself.
        (&[(0, 6_000), (40, 0), (50, 6_000), (100, 0)], &[]),
        (
            &[(0, 6_000), (61, 0), (300, 6_000), (301, 0)],
            &[exceeded(60), ok(601)],
        ),
        // Nobody looks for a long time: the times are exact all the same.
        (
            &[(0, 6_000), (500, 0), (900, 6_000)],
            &[exceeded(60), ok(800), exceeded(960)],
        ),
    ];
    for (values, expected) in cases {
        let mut limiter = Limiter::new(&config());
        for (second, value) in values {
            limiter.handle_value(*value, at(*second));
        }
        limiter.handle_time(at(1_000));
        assert_eq!(events(&mut limiter), expected, "{values:?}");
    }
}

#[test]
fn it_names_its_next_deadline() {
    let mut limiter = Limiter::new(&config());
    assert_eq!(limiter.wake(), None);
    limiter.handle_value(9_000, at(10));
    assert_eq!(limiter.wake(), Some((at(70), "limiter duration")));
    limiter.handle_time(at(70));
    assert_eq!(limiter.wake(), None);
    limiter.handle_value(0, at(80));
    assert_eq!(limiter.wake(), Some((at(380), "limiter duration")));
    // The clock is set back: the wait does not grow.
    limiter.handle_time(at(-1_000));
    assert_eq!(limiter.wake(), Some((at(-700), "limiter duration")));
}

#[test]
fn an_emergency_lowers_the_threshold_for_its_group() {
    let profile = |id| {
        let activation = CosemDateTime::from_utc(at(100)).unwrap();
        Data::Structure(vec![
            Data::LongUnsigned(id),
            shape::date_time_value(activation),
            Data::DoubleLongUnsigned(200),
        ])
    };
    let mut limiter = Limiter::new(&config());
    limiter.handle_value(2_000, at(0));
    let groups = Data::Array(vec![Data::LongUnsigned(7)]);
    limiter.set(9, &groups, at(1)).unwrap();
    limiter.set(8, &profile(8), at(2)).unwrap();
    assert_eq!(limiter.wake(), None, "another group's emergency");
    limiter.set(8, &profile(7), at(3)).unwrap();
    assert_eq!(limiter.wake(), Some((at(100), "limiter emergency begins")));
    limiter.handle_time(at(150));
    assert_eq!(limiter.get(10, at(150)), Ok(Data::Boolean(true)));
    assert_eq!(limiter.get(3, at(150)), Ok(Data::DoubleLongUnsigned(1_000)));
    limiter.handle_time(at(1_000));
    let changed = |second, threshold| LimiterEvent::ThresholdChanged {
        at: at(second),
        threshold,
    };
    assert_eq!(
        events(&mut limiter),
        [
            changed(100, 1_000),
            exceeded(160),
            changed(300, 5_000),
            ok(600)
        ]
    );
    assert_eq!(limiter.wake(), None);
}

#[test]
fn a_duration_that_ends_with_its_threshold_counts() {
    let mut limiter = Limiter::new(&config());
    limiter.groups = vec![7];
    limiter.emergency = EmergencyProfile {
        id: 7,
        activation: CosemDateTime::from_utc(at(100)).unwrap(),
        duration_s: 200,
    };
    limiter.handle_value(0, at(0));
    limiter.handle_value(2_000, at(240));
    limiter.handle_time(at(1_000));
    let ran: Vec<_> = events(&mut limiter)
        .into_iter()
        .filter(|event| !matches!(event, LimiterEvent::ThresholdChanged { .. }))
        .collect();
    assert_eq!(ran, [exceeded(300), ok(600)]);
}

#[test]
fn a_written_threshold_holds_at_once() {
    let mut limiter = Limiter::new(&config());
    limiter.handle_value(4_000, at(0));
    let set = |limiter: &mut Limiter, raw| limiter.set(4, &Data::DoubleLongUnsigned(raw), at(10));
    assert_eq!(set(&mut limiter, 3_999), Ok(()));
    assert_eq!(limiter.wake(), Some((at(70), "limiter duration")));
    assert_eq!(set(&mut limiter, 4_000), Ok(()));
    assert_eq!(limiter.wake(), None);
    assert_eq!(events(&mut limiter).len(), 2);
    assert_eq!(
        limiter.set(4, &Data::LongUnsigned(1), at(10)),
        Err(DataAccessResult::TypeUnmatched)
    );
    assert_eq!(
        limiter.set(3, &Data::DoubleLongUnsigned(1), at(10)),
        Err(DataAccessResult::ReadWriteDenied)
    );
    let many = Data::Array(vec![Data::LongUnsigned(1); EMERGENCY_GROUPS_MAX + 1]);
    assert_eq!(
        limiter.set(9, &many, at(10)),
        Err(DataAccessResult::OtherReason)
    );
}

#[test]
fn every_attribute_reads_as_it_is_written() {
    let mut limiter = Limiter::new(&config());
    for attribute in [4, 5, 6, 7, 8, 9, 11] {
        let value = limiter.get(attribute, at(0)).unwrap();
        assert_eq!(limiter.set(attribute, &value, at(0)), Ok(()));
        assert_eq!(limiter.get(attribute, at(0)), Ok(value));
    }
    assert_eq!(
        limiter.get(12, at(0)),
        Err(DataAccessResult::ObjectUndefined)
    );
}

#[test]
fn it_survives_in_the_middle_of_a_crossing() {
    let mut limiter = Limiter::new(&config());
    limiter.handle_value(9_000, at(0));
    let decode = |bytes: &[u8]| Limiter::decode(ThresholdType::DoubleLongUnsigned, bytes);
    assert_survives(&limiter, Limiter::encode, decode);
    let mut bytes = Vec::new();
    limiter.encode(&mut bytes);
    let mut restarted = decode(&bytes).unwrap();
    restarted.handle_time(at(61));
    assert_eq!(events(&mut restarted), [exceeded(60)]);
    assert!(matches!(
        Limiter::decode(ThresholdType::LongUnsigned, &{
            let mut limiter = limiter.clone();
            limiter.threshold_normal = 70_000;
            let mut bytes = Vec::new();
            limiter.encode(&mut bytes);
            bytes
        }),
        Err(RetainedError::Value { .. })
    ));
}
