use super::*;
use crate::objects::retained::assert_survives;

/// A Monday's start.
fn at(second: i64) -> UtcTime {
    UtcTime::parse("2026-11-16T00:00:00Z").unwrap() + Duration::from_secs(second.unsigned_abs())
}

fn quality(phases: u8) -> PowerQuality {
    let config = PowerQualityConfig {
        phases,
        ..PowerQualityConfig::EN_50160
    };
    PowerQuality::new(config, at(0))
}

fn events(quality: &mut PowerQuality) -> Vec<PowerQualityEvent> {
    std::iter::from_fn(|| quality.poll_event()).collect()
}

fn began(disturbance: Disturbance, second: i64) -> PowerQualityEvent {
    PowerQualityEvent::Began {
        disturbance,
        phase: 0,
        at: at(second),
    }
}

fn ended(disturbance: Disturbance, from: i64, to: i64, extreme: u32) -> PowerQualityEvent {
    PowerQualityEvent::Ended {
        disturbance,
        phase: 0,
        at: at(to),
        duration: Duration::from_secs(to.abs_diff(from)),
        extreme,
    }
}

#[test]
fn disturbances_have_depth_and_duration() {
    use Disturbance::{Cut, Sag, Swell};
    // Voltages of L1 by second, in millivolts, and what came of them.
    let cases: [(&[(i64, u32)], &[PowerQualityEvent]); 6] = [
        (&[(0, 207_000), (1, 253_000)], &[]),
        (
            &[
                (0, 230_000),
                (5, 206_999),
                (6, 150_000),
                (7, 180_000),
                (9, 230_000),
            ],
            &[began(Sag, 5), ended(Sag, 5, 9, 150_000)],
        ),
        // It ends on the good side of the hysteresis only.
        (
            &[(0, 200_000), (5, 211_000), (6, 206_000), (8, 211_600)],
            &[began(Sag, 0), ended(Sag, 0, 8, 200_000)],
        ),
        (
            &[(0, 253_001), (5, 270_000), (6, 249_000), (8, 248_400)],
            &[began(Swell, 0), ended(Swell, 0, 8, 270_000)],
        ),
        // A cut is no sag.
        (
            &[(0, 11_499), (5, 0), (10, 230_000)],
            &[began(Cut, 0), ended(Cut, 0, 10, 0)],
        ),
        (
            &[(0, 100_000), (5, 0), (10, 100_000), (15, 230_000)],
            &[
                began(Sag, 0),
                ended(Sag, 0, 5, 100_000),
                began(Cut, 5),
                began(Sag, 10),
                ended(Cut, 5, 10, 0),
                ended(Sag, 10, 15, 100_000),
            ],
        ),
    ];
    for (voltages, expected) in cases {
        let mut quality = quality(1);
        for (second, volts) in voltages {
            quality.handle_voltages([*volts, 0, 0], at(*second));
        }
        assert_eq!(events(&mut quality), expected, "{voltages:?}");
    }
}

#[test]
fn short_disturbances_do_not_count_where_they_must_last() {
    let mut config = PowerQualityConfig::EN_50160;
    config.persistence[Disturbance::Sag as usize].onset = Duration::from_secs(30);
    let mut quality = PowerQuality::new(config, at(0));
    quality.handle_voltages([200_000, 0, 0], at(0));
    assert_eq!(quality.wake(), Some((at(30), "power quality persistence")));
    quality.handle_voltages([230_000, 0, 0], at(29));
    assert_eq!(events(&mut quality), []);
    quality.handle_voltages([190_000, 0, 0], at(40));
    quality.handle_voltages([195_000, 0, 0], at(60));
    quality.handle_time(at(70));
    assert_eq!(events(&mut quality), [began(Disturbance::Sag, 40)]);
    quality.handle_voltages([230_000, 0, 0], at(80));
    assert_eq!(
        events(&mut quality),
        [ended(Disturbance::Sag, 40, 80, 190_000)]
    );
    assert_eq!(quality.count(Disturbance::Sag, 0), 1);
    assert_eq!(quality.count(Disturbance::Sag, 9), 0);
}

#[test]
fn distortion_is_the_root_of_the_squares() {
    let cases: [(&[u32], u32); 4] = [
        (&[], 0),
        (&[0, 30, 0, 40], 50),
        (&[1, 1], 1), // √2, cut.
        (&[u32::MAX; HARMONIC_MAX], u32::MAX),
    ];
    for (harmonics, expected) in cases {
        assert_eq!(distortion_milli(harmonics), expected);
    }
    let mut quality = quality(1);
    quality.handle_harmonics(0, &[0, 48, 0, 65], at(0));
    assert_eq!(quality.distortion_milli(), [80, 0, 0]);
    assert_eq!(quality.wake(), Some((at(7 * 86_400), "power quality week")));
    quality.handle_harmonics(0, &[0, 48, 0, 66], at(10));
    quality.handle_time(at(610));
    assert_eq!(events(&mut quality), [began(Disturbance::Distortion, 10)]);
}

#[test]
fn unbalance_is_against_the_mean() {
    let cases = [
        ([0; 3], 0),
        ([230_000; 3], 0),
        ([240_000, 230_000, 220_000], 43),
        ([230_000, 230_000, 0], 1_000),
    ];
    for (voltages, expected) in cases {
        assert_eq!(unbalance_milli(voltages), expected, "{voltages:?}");
    }
    let mut quality = quality(3);
    quality.handle_voltages([240_000, 230_000, 220_000], at(0));
    quality.handle_time(at(600));
    assert_eq!(events(&mut quality), [began(Disturbance::Unbalance, 0)]);
}

#[test]
fn a_week_of_means_is_judged() {
    let mut quality = quality(1);
    let day = 86_400;
    // 9 hours at −12 %, an interruption of one minute, 10 minutes at −16 %.
    for (second, volts) in [
        (0, 230_000),
        (day, 202_400),
        (day + 9 * 3_600, 230_000),
        (2 * day, 0),
        (2 * day + 60, 230_000),
        (3 * day, 193_200),
        (3 * day + 300, 230_000),
        (4 * day, 193_200),
        (4 * day + 600, 230_000),
    ] {
        quality.handle_voltages([volts, 0, 0], at(second));
    }
    assert_eq!(quality.last_week(), None);
    quality.handle_time(at(7 * day));
    let weeks: Vec<_> = events(&mut quality)
        .into_iter()
        .filter(|event| matches!(event, PowerQualityEvent::WeekEnded { .. }))
        .collect();
    assert_eq!(weeks, [PowerQualityEvent::WeekEnded { at: at(7 * day) }]);
    let [week, absent, _] = quality.last_week().unwrap();
    // 1008 ten minutes, one with an interruption; 54 + 1 of them low.
    let expected = WeekStatistics {
        means: 1_007,
        within_10: 1_007 - 55,
        within_15: 1_006,
        lowest_mv: 193_200,
        highest_mv: 230_000,
    };
    assert_eq!(*week, expected);
    assert!(!week.complies());
    assert_eq!(*absent, WeekStatistics::default());
    assert!(absent.complies());
}

#[test]
fn time_without_a_meter_has_no_means() {
    let mut quality = quality(1);
    quality.handle_voltages([230_000, 0, 0], at(0));
    quality.handle_power_down(at(905));
    // Three weeks later: two ends of a week have passed unseen but for the last.
    quality.handle_voltages([230_000, 0, 0], at(3 * 7 * 86_400 + 1));
    quality.handle_time(at(4 * 7 * 86_400));
    let [week, ..] = quality.last_week().unwrap();
    assert_eq!(week.means, 1_007, "the first ten minutes were not whole");
    events(&mut quality);
    assert_survives(&quality, PowerQuality::encode, |bytes| {
        PowerQuality::decode(PowerQualityConfig::EN_50160, bytes)
    });
}
