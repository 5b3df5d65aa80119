//! Tamper: conditions at the terminals and covers that point to somebody's hand, each believed
//! only after it has lasted, with counts and durations.

use std::collections::VecDeque;
use std::time::Duration;

use gridloom_core::UtcTime;

use super::debounce::{Debounce, Edge, Persistence};
use super::retained::{Keeper, Kept, RetainedError};
use super::terminals::Terminals;

const VERSION: u8 = 1;
const OBJECT: &str = "tamper";

/// A condition that points to tampering or to a broken installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Tamper {
    /// The meter's cover is open.
    CoverOpen = 0,
    /// The terminals' cover is open.
    TerminalCoverOpen = 1,
    /// A strong magnetic field acts on the meter.
    Magnet = 2,
    /// Power of L1 flows backwards though nothing may feed in.
    CurrentReverseL1 = 3,
    /// The same of L2.
    CurrentReverseL2 = 4,
    /// The same of L3.
    CurrentReverseL3 = 5,
    /// The neutral conductor is missing: a single wire feeds the load.
    NeutralMissing = 6,
    /// A voltage that does not belong there acts on the neutral.
    NeutralDisturbance = 7,
    /// Current returns past the meter: phase and neutral currents differ.
    CurrentBypass = 8,
    /// One phase of several carries no voltage.
    MissingPotentialL1 = 9,
    /// The same of L2.
    MissingPotentialL2 = 10,
    /// The same of L3.
    MissingPotentialL3 = 11,
    /// A current above what the meter may carry.
    OverCurrent = 12,
    /// A load of very low power factor.
    LowPowerFactor = 13,
    /// The currents of the phases are unequal.
    CurrentUnbalance = 14,
}

impl Tamper {
    /// Every condition, in the order of its number.
    pub const ALL: [Self; 15] = [
        Self::CoverOpen,
        Self::TerminalCoverOpen,
        Self::Magnet,
        Self::CurrentReverseL1,
        Self::CurrentReverseL2,
        Self::CurrentReverseL3,
        Self::NeutralMissing,
        Self::NeutralDisturbance,
        Self::CurrentBypass,
        Self::MissingPotentialL1,
        Self::MissingPotentialL2,
        Self::MissingPotentialL3,
        Self::OverCurrent,
        Self::LowPowerFactor,
        Self::CurrentUnbalance,
    ];

    /// Whether somebody must have put a hand on the meter; the others may be faults.
    pub const fn is_fraud(self) -> bool {
        match self {
            Self::CoverOpen | Self::TerminalCoverOpen | Self::Magnet | Self::CurrentBypass => true,
            Self::CurrentReverseL1
            | Self::CurrentReverseL2
            | Self::CurrentReverseL3
            | Self::NeutralMissing
            | Self::NeutralDisturbance
            | Self::MissingPotentialL1
            | Self::MissingPotentialL2
            | Self::MissingPotentialL3
            | Self::OverCurrent
            | Self::LowPowerFactor
            | Self::CurrentUnbalance => false,
        }
    }
}

/// Whether power may flow back into the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feeding {
    /// The customer generates: flow both ways is normal.
    Allowed,
    /// Flow back is a reversed connection.
    Forbidden,
}

/// What is believed when; shared by all meters of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TamperConfig {
    /// Of the covers.
    pub covers: Persistence,
    /// Of everything else.
    pub electrical: Persistence,
    /// Above this, a field is a magnet's, in microtesla.
    pub field_max_ut: u32,
    /// Below this, a phase carries no voltage, in millivolts.
    pub potential_min_mv: u32,
    /// Above this, a voltage on the neutral is foreign, in millivolts.
    pub neutral_max_mv: u32,
    /// Currents up to this say nothing, in milliamperes.
    pub current_min_ma: u32,
    /// Above this, current is too high, in milliamperes.
    pub current_max_ma: u32,
    /// A difference between phase and neutral, or between phases, above this share of the larger
    /// current is one, in thousandths.
    pub difference_max_milli: u32,
    /// Below this, the power factor is very low, in thousandths.
    pub power_factor_min_milli: u32,
    /// Whether power may flow back.
    pub feeding: Feeding,
}

impl TamperConfig {
    /// Limits as Indian meters have them; five minutes until an electrical condition counts.
    pub const INDIAN: Self = Self {
        covers: Persistence {
            onset: Duration::ZERO,
            clearance: Duration::ZERO,
        },
        electrical: Persistence {
            onset: Duration::from_secs(300),
            clearance: Duration::from_secs(300),
        },
        field_max_ut: 200_000,
        potential_min_mv: 115_000,
        neutral_max_mv: 35_000,
        current_min_ma: 500,
        current_max_ma: 72_000,
        difference_max_milli: 300,
        power_factor_min_milli: 500,
        feeding: Feeding::Forbidden,
    };

    fn persistence(&self, tamper: Tamper) -> Persistence {
        if matches!(tamper, Tamper::CoverOpen | Tamper::TerminalCoverOpen) {
            self.covers
        } else {
            self.electrical
        }
    }

    fn holds(&self, tamper: Tamper, seen: &Terminals) -> bool {
        let reverse = |phase: usize| {
            self.feeding == Feeding::Forbidden
                && seen.phases().contains(&phase)
                && seen.active_mw[phase] < 0
                && seen.current_ma[phase] > self.current_min_ma
        };
        let currents = &seen.current_ma[seen.phases()];
        let highest = currents.iter().copied().max().unwrap_or(0);
        let lowest = currents.iter().copied().min().unwrap_or(0);
        let powered = seen
            .phases()
            .any(|phase| seen.voltage_mv[phase] >= self.potential_min_mv);
        let missing = |phase: usize| {
            // A phase alone that is away is an outage.
            seen.phases > 1 && powered && seen.voltage_mv[phase] < self.potential_min_mv
        };
        match tamper {
            Tamper::CoverOpen => seen.cover_open,
            Tamper::TerminalCoverOpen => seen.terminal_cover_open,
            Tamper::Magnet => seen.field_ut > self.field_max_ut,
            Tamper::CurrentReverseL1 => reverse(0),
            Tamper::CurrentReverseL2 => reverse(1),
            Tamper::CurrentReverseL3 => reverse(2),
            Tamper::NeutralMissing => powered && !seen.neutral_connected,
            Tamper::NeutralDisturbance => seen.neutral_disturbance_mv > self.neutral_max_mv,
            // With one phase, what goes out comes back; with three, the neutral may carry less.
            Tamper::CurrentBypass => {
                seen.phases == 1
                    && seen
                        .neutral_ma
                        .is_some_and(|neutral| self.differ(currents[0], neutral))
            }
            Tamper::MissingPotentialL1 => missing(0),
            Tamper::MissingPotentialL2 => missing(1),
            Tamper::MissingPotentialL3 => missing(2),
            Tamper::OverCurrent => highest > self.current_max_ma,
            Tamper::LowPowerFactor => {
                highest > self.current_min_ma
                    && seen.power_factor_milli < self.power_factor_min_milli
            }
            Tamper::CurrentUnbalance => seen.phases > 1 && self.differ(highest, lowest),
        }
    }

    fn differ(&self, one: u32, other: u32) -> bool {
        let larger = one.max(other);
        let difference = u64::from(one.abs_diff(other));
        larger > self.current_min_ma
            && difference * 1_000 > u64::from(larger) * u64::from(self.difference_max_milli)
    }
}

/// A condition has come to count or is over: log it, alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TamperEvent {
    /// It counts.
    Began {
        /// Which.
        tamper: Tamper,
        /// When it began.
        at: UtcTime,
    },
    /// It is over.
    Ended {
        /// Which.
        tamper: Tamper,
        /// When it ended.
        at: UtcTime,
        /// How long it lasted.
        duration: Duration,
    },
}

/// What is known of one condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TamperRecord {
    /// How often it counted.
    pub count: u32,
    /// How long it lasted altogether, in whole seconds, without the time that still runs.
    pub seconds: u64,
    condition: Debounce,
}

impl TamperRecord {
    /// Since when it holds.
    pub const fn since(&self) -> Option<UtcTime> {
        self.condition.since()
    }
}

/// The tamper supervision of one meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TamperWatch {
    config: TamperConfig,
    records: [TamperRecord; Tamper::ALL.len()],
    /// At most two for each condition and input.
    events: VecDeque<TamperEvent>,
}

impl TamperWatch {
    /// Nothing has happened.
    pub fn new(config: TamperConfig) -> Self {
        Self {
            config,
            records: [TamperRecord::default(); Tamper::ALL.len()],
            events: VecDeque::new(),
        }
    }

    /// The terminals look so from `at` on.
    pub fn handle_terminals(&mut self, seen: &Terminals, at: UtcTime) {
        self.handle_time(at);
        for (tamper, record) in Tamper::ALL.into_iter().zip(&mut self.records) {
            record.condition.input(self.config.holds(tamper, seen), at);
        }
        self.handle_time(at);
    }

    /// What has lasted long enough by `at` counts.
    pub fn handle_time(&mut self, at: UtcTime) {
        for (tamper, record) in Tamper::ALL.into_iter().zip(&mut self.records) {
            let persistence = self.config.persistence(tamper);
            match record.condition.settle(persistence, at) {
                Some(Edge::Began(at)) => {
                    record.count = record.count.saturating_add(1);
                    self.events.push_back(TamperEvent::Began { tamper, at });
                }
                Some(Edge::Ended(began, at)) => {
                    let duration = at.since(began);
                    record.seconds = record.seconds.saturating_add(duration.as_secs());
                    self.events.push_back(TamperEvent::Ended {
                        tamper,
                        at,
                        duration,
                    });
                }
                None => {}
            }
        }
    }

    /// When [`Self::handle_time`] is due, and why.
    pub fn wake(&self) -> Option<(UtcTime, &'static str)> {
        Tamper::ALL
            .into_iter()
            .zip(&self.records)
            .filter_map(|(tamper, record)| record.condition.due(self.config.persistence(tamper)))
            .min()
            .map(|due| (due, "tamper persistence"))
    }

    /// What the meter must know or do next.
    pub fn poll_event(&mut self) -> Option<TamperEvent> {
        self.events.pop_front()
    }

    /// What is known of one condition.
    pub const fn record(&self, tamper: Tamper) -> &TamperRecord {
        &self.records[tamper as usize]
    }

    /// How often any condition counted (0.0.94.91.0.255).
    pub fn count(&self) -> u32 {
        self.records
            .iter()
            .fold(0, |sum, record| sum.saturating_add(record.count))
    }

    /// Appends what the supervision keeps.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut keeper = Keeper::new(VERSION, out);
        keeper.list(self.records.iter(), |keeper, record| {
            keeper.put(record.count.to_be_bytes());
            keeper.put(record.seconds.to_be_bytes());
            record.condition.keep(keeper);
        });
    }

    /// Takes over what a supervision kept.
    ///
    /// # Errors
    ///
    /// Bytes that no supervision wrote.
    pub fn decode(config: TamperConfig, bytes: &[u8]) -> Result<Self, RetainedError> {
        let mut kept = Kept::open(OBJECT, VERSION, bytes)?;
        let records = kept.list("records", Tamper::ALL.len(), |kept| {
            Ok(TamperRecord {
                count: kept.u32()?,
                seconds: kept.u64()?,
                condition: Debounce::read(kept)?,
            })
        })?;
        let records = records.try_into().map_err(|_| kept.impossible("records"))?;
        kept.finish()?;
        Ok(Self {
            config,
            records,
            events: VecDeque::new(),
        })
    }
}

#[cfg(test)]
mod tests {
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
            let mut watch = TamperWatch::new(config);
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
        let mut watch = TamperWatch::new(feeding);
        let export = Terminals {
            active_mw: [-2_300_000; 3],
            ..loaded
        };
        watch.handle_terminals(&export, at(0));
        assert_eq!(events(&mut watch), []);
    }

    #[test]
    fn a_condition_counts_after_it_has_lasted_and_is_timed() {
        let mut watch = TamperWatch::new(TamperConfig::INDIAN);
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
        let mut watch = TamperWatch::new(TamperConfig::INDIAN);
        let open = Terminals {
            cover_open: true,
            field_ut: 300_000,
            ..Terminals::quiet(1)
        };
        watch.handle_terminals(&open, at(0));
        events(&mut watch);
        let decode = |bytes: &[u8]| TamperWatch::decode(TamperConfig::INDIAN, bytes);
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
}
