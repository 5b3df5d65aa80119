use super::*;
use crate::objects::retained::assert_survives;

fn at(second: i64) -> UtcTime {
    UtcTime::from_secs(1_700_000_000 + second)
}

fn events(watch: &mut TamperWatch) -> Vec<TamperEvent> {
    std::iter::from_fn(|| watch.poll_event()).collect()
}

#[test]
fn each_condition_is_seen_and_not_taken_for_another() {
    let one = Terminals::quiet(1);
    let three = Terminals::quiet(3);
    let loaded = Terminals {
        current_ma: [10_000; 3],
        active_mw: [2_300_000; 3],
        ..three
    };
    let cases: [(Terminals, &[Tamper]); 20] = [
        (one, &[]),
        (three, &[]),
        (loaded, &[]),
        (
            Terminals {
                cover_open: true,
                ..one
            },
            &[Tamper::CoverOpen],
        ),
        (
            Terminals {
                terminal_cover_open: true,
                ..one
            },
            &[Tamper::TerminalCoverOpen],
        ),
        (
            Terminals {
                field_ut: 200_000,
                ..one
            },
            &[],
        ),
        (
            Terminals {
                field_ut: 200_001,
                ..one
            },
            &[Tamper::Magnet],
        ),
        (
            Terminals {
                active_mw: [-1, 0, 0],
                current_ma: [500, 0, 0],
                ..one
            },
            &[],
        ),
        (
            Terminals {
                active_mw: [-1, 0, 0],
                current_ma: [501, 0, 0],
                ..one
            },
            &[Tamper::CurrentReverseL1],
        ),
        (
            Terminals {
                active_mw: [2_300_000, -2_300_000, 2_300_000],
                ..loaded
            },
            &[Tamper::CurrentReverseL2],
        ),
        (
            Terminals {
                neutral_connected: false,
                ..one
            },
            &[Tamper::NeutralMissing],
        ),
        (
            Terminals {
                neutral_disturbance_mv: 35_001,
                ..one
            },
            &[Tamper::NeutralDisturbance],
        ),
        // A third of the current comes back past the meter.
        (
            Terminals {
                current_ma: [1_000, 0, 0],
                neutral_ma: Some(700),
                ..one
            },
            &[],
        ),
        (
            Terminals {
                current_ma: [1_000, 0, 0],
                neutral_ma: Some(699),
                ..one
            },
            &[Tamper::CurrentBypass],
        ),
        (
            Terminals {
                current_ma: [100, 0, 0],
                neutral_ma: Some(1_000),
                ..one
            },
            &[Tamper::CurrentBypass],
        ),
        (
            Terminals {
                voltage_mv: [230_000, 114_999, 230_000],
                ..three
            },
            &[Tamper::MissingPotentialL2],
        ),
        // An outage is no tampering.
        (
            Terminals {
                voltage_mv: [0; 3],
                ..three
            },
            &[],
        ),
        (
            Terminals {
                current_ma: [72_001; 3],
                ..loaded
            },
            &[Tamper::OverCurrent],
        ),
        (
            Terminals {
                power_factor_milli: 499,
                ..loaded
            },
            &[Tamper::LowPowerFactor],
        ),
        (
            Terminals {
                current_ma: [10_000, 10_000, 6_999],
                ..loaded
            },
            &[Tamper::CurrentUnbalance],
        ),
    ];
    let config = TamperConfig {
        electrical: TamperConfig::INDIAN.covers,
        ..TamperConfig::INDIAN
    };
    for (seen, expected) in cases {
        let mut watch = TamperWatch::new(Arc::new(config));
        watch.handle_terminals(&seen, at(0));
        let began: Vec<Tamper> = events(&mut watch)
            .into_iter()
            .map(|event| match event {
                TamperEvent::Began { tamper, .. } | TamperEvent::Ended { tamper, .. } => tamper,
            })
            .collect();
        assert_eq!(began, expected, "{seen:?}");
    }
    let feeding = TamperConfig {
        feeding: Feeding::Allowed,
        ..config
    };
    let mut watch = TamperWatch::new(Arc::new(feeding));
    let export = Terminals {
        active_mw: [-2_300_000; 3],
        ..loaded
    };
    watch.handle_terminals(&export, at(0));
    assert_eq!(events(&mut watch), []);
}

#[test]
fn a_condition_counts_after_it_has_lasted_and_is_timed() {
    let mut watch = TamperWatch::new(Arc::new(TamperConfig::INDIAN));
    let quiet = Terminals::quiet(1);
    let magnet = Terminals {
        field_ut: 300_000,
        ..quiet
    };
    watch.handle_terminals(&magnet, at(0));
    assert_eq!(watch.wake(), Some((at(300), "tamper persistence")));
    watch.handle_terminals(&quiet, at(299));
    assert_eq!((watch.wake(), events(&mut watch)), (None, vec![]));
    watch.handle_terminals(&magnet, at(1_000));
    // Nobody looks until it is long gone.
    watch.handle_terminals(&quiet, at(2_000));
    watch.handle_time(at(9_000));
    let tamper = Tamper::Magnet;
    assert_eq!(
        events(&mut watch),
        [
            TamperEvent::Began {
                tamper,
                at: at(1_000)
            },
            TamperEvent::Ended {
                tamper,
                at: at(2_000),
                duration: Duration::from_secs(1_000)
            }
        ]
    );
    let record = watch.record(tamper);
    assert_eq!((record.count, record.seconds), (1, 1_000));
    assert_eq!((record.since(), watch.count()), (None, 1));
    for (place, tamper) in Tamper::ALL.into_iter().enumerate() {
        assert_eq!(tamper as usize, place);
    }
}

#[test]
fn it_survives_and_goes_on_waiting() {
    let mut watch = TamperWatch::new(Arc::new(TamperConfig::INDIAN));
    let open = Terminals {
        cover_open: true,
        field_ut: 300_000,
        ..Terminals::quiet(1)
    };
    watch.handle_terminals(&open, at(0));
    events(&mut watch);
    let decode = |bytes: &[u8]| TamperWatch::decode(Arc::new(TamperConfig::INDIAN), bytes);
    assert_survives(&watch, TamperWatch::encode, decode);
    let mut bytes = Vec::new();
    watch.encode(&mut bytes);
    let mut restarted = decode(&bytes).unwrap();
    restarted.handle_terminals(&open, at(400));
    assert_eq!(
        events(&mut restarted),
        [TamperEvent::Began {
            tamper: Tamper::Magnet,
            at: at(0)
        }]
    );
}
