//! Power quality after EN 50160: sags, swells and cuts with depth and duration, distortion,
//! unbalance, and the ten-minute means of a week.

mod week;

use std::collections::VecDeque;
use std::time::Duration;

use gridloom_core::UtcTime;

use super::debounce::{Debounce, Edge, Persistence};
use super::retained::{Keeper, Kept, RetainedError};
use week::Accrual;

pub use week::{TEN_MINUTES, WeekStatistics};

/// The highest harmonic that is looked at; higher ones are left out.
pub const HARMONIC_MAX: usize = 40;

const VERSION: u8 = 1;
const OBJECT: &str = "power-quality";
const PHASES: usize = 3;

/// What can be wrong with a voltage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Disturbance {
    /// Below the sag limit, above the cut limit.
    Sag = 0,
    /// Above the swell limit.
    Swell = 1,
    /// Below the cut limit: an interruption.
    Cut = 2,
    /// Distorted: total harmonic distortion above its limit.
    Distortion = 3,
    /// The phases differ; told of L1.
    Unbalance = 4,
}

impl Disturbance {
    /// Every disturbance, in the order of its number.
    pub const ALL: [Self; 5] = [
        Self::Sag,
        Self::Swell,
        Self::Cut,
        Self::Distortion,
        Self::Unbalance,
    ];
}

/// Limits; shared by all meters of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PowerQualityConfig {
    /// 1 or 3.
    pub phases: u8,
    /// The declared voltage in millivolts.
    pub nominal_mv: u32,
    /// A voltage below is a sag, in thousandths of the declared one (1.0.12.31.0.255).
    pub sag_milli: u32,
    /// A voltage above is a swell (1.0.12.35.0.255).
    pub swell_milli: u32,
    /// A voltage below is a cut (1.0.12.39.0.255).
    pub cut_milli: u32,
    /// A disturbance ends this far on the good side of its limit, in thousandths.
    pub hysteresis_milli: u32,
    /// Total harmonic distortion above is distortion, in thousandths.
    pub distortion_max_milli: u32,
    /// The largest difference of a phase from the mean of all, in thousandths of the mean.
    pub unbalance_max_milli: u32,
    /// How long each lasts before it counts (1.0.12.43–45.0.255), in [`Disturbance::ALL`]'s order.
    pub persistence: [Persistence; 5],
}

impl PowerQualityConfig {
    /// The limits of EN 50160 at 230 V.
    pub const EN_50160: Self = Self {
        phases: 1,
        nominal_mv: 230_000,
        sag_milli: 900,
        swell_milli: 1_100,
        cut_milli: 50,
        hysteresis_milli: 20,
        distortion_max_milli: 80,
        unbalance_max_milli: 20,
        persistence: [
            Persistence::AT_ONCE,
            Persistence::AT_ONCE,
            Persistence::AT_ONCE,
            Persistence::TEN_MINUTES,
            Persistence::TEN_MINUTES,
        ],
    };

    /// A share of the declared voltage, in millivolts, cut.
    fn share(&self, milli: u32) -> u32 {
        let share = u64::from(self.nominal_mv) * u64::from(milli) / 1_000;
        u32::try_from(share).unwrap_or(u32::MAX)
    }
}

impl Persistence {
    /// It counts as soon as it is seen.
    pub const AT_ONCE: Self = Self {
        onset: Duration::ZERO,
        clearance: Duration::ZERO,
    };
    /// It counts after ten minutes and is over after ten without it.
    pub const TEN_MINUTES: Self = Self {
        onset: Duration::from_secs(600),
        clearance: Duration::from_secs(600),
    };
}

/// What the meter must log and report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerQualityEvent {
    /// A disturbance counts.
    Began {
        /// Which.
        disturbance: Disturbance,
        /// On L1 to L3, from 0.
        phase: u8,
        /// When it began.
        at: UtcTime,
    },
    /// A disturbance is over.
    Ended {
        /// Which.
        disturbance: Disturbance,
        /// On L1 to L3, from 0.
        phase: u8,
        /// When it ended.
        at: UtcTime,
        /// How long it lasted.
        duration: Duration,
        /// The worst value: millivolts of a voltage, thousandths of distortion and unbalance.
        extreme: u32,
    },
    /// A week of ten-minute means is complete: read it with [`PowerQuality::last_week`].
    WeekEnded {
        /// When.
        at: UtcTime,
    },
}

/// One disturbance of one phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Watch {
    condition: Debounce,
    extreme: Option<u32>,
    count: u32,
}

/// The power quality of one meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PowerQuality {
    config: PowerQualityConfig,
    watches: [[Watch; Disturbance::ALL.len()]; PHASES],
    /// The voltages since the last input; `None` where nobody measures.
    voltages: Option<[u32; PHASES]>,
    distortion_milli: [u32; PHASES],
    accrual: Accrual,
    /// At most three for each disturbance, phase and input.
    events: VecDeque<PowerQualityEvent>,
}

impl PowerQuality {
    /// Measures from `at` on.
    ///
    /// # Panics
    ///
    /// If there are other than 1 or 3 phases, or the limits are out of order.
    pub fn new(config: PowerQualityConfig, at: UtcTime) -> Self {
        assert!(
            matches!(config.phases, 1 | 3)
                && config.cut_milli < config.sag_milli
                && config.sag_milli < config.swell_milli,
            "cut, sag and swell limits ascend, on 1 or 3 phases"
        );
        Self {
            config,
            watches: [[Watch::default(); Disturbance::ALL.len()]; PHASES],
            voltages: None,
            distortion_milli: [0; PHASES],
            accrual: Accrual::new(at),
            events: VecDeque::new(),
        }
    }

    /// The voltages of L1 to L3 are these from `at` on, in millivolts (root mean square).
    pub fn handle_voltages(&mut self, millivolts: [u32; PHASES], at: UtcTime) {
        self.handle_time(at);
        self.voltages = Some(millivolts);
        for phase in 0..self.phases() {
            let volts = millivolts[phase];
            for disturbance in [Disturbance::Sag, Disturbance::Swell, Disturbance::Cut] {
                let holds = self.voltage_is(disturbance, phase, volts);
                self.input(disturbance, phase, holds, volts, at);
            }
        }
        if self.phases() > 1 {
            let unbalance = unbalance_milli(millivolts);
            let holds = unbalance > self.config.unbalance_max_milli;
            self.input(Disturbance::Unbalance, 0, holds, unbalance, at);
        }
        self.settle(at);
    }

    /// The harmonics of a phase's voltage from the second on, in thousandths of the fundamental,
    /// are these from `at` on. Harmonics above [`HARMONIC_MAX`] are left out.
    ///
    /// # Panics
    ///
    /// If there is no such phase.
    pub fn handle_harmonics(&mut self, phase: u8, milli: &[u32], at: UtcTime) {
        let phase = usize::from(phase);
        assert!(phase < self.phases(), "a phase that the meter has");
        self.handle_time(at);
        let distortion = distortion_milli(milli);
        self.distortion_milli[phase] = distortion;
        let holds = distortion > self.config.distortion_max_milli;
        self.input(Disturbance::Distortion, phase, holds, distortion, at);
        self.settle(at);
    }

    /// Nobody measures from `at` on: supply has gone and the meter with it.
    pub fn handle_power_down(&mut self, at: UtcTime) {
        self.handle_time(at);
        self.voltages = None;
    }

    /// Brings means and waits up to `at`.
    pub fn handle_time(&mut self, at: UtcTime) {
        let limits = week::Limits {
            phases: self.phases(),
            nominal_mv: self.config.nominal_mv,
            cut_mv: self.config.share(self.config.cut_milli),
        };
        let weeks = self.accrual.advance(self.voltages, &limits, at);
        if let Some(at) = weeks {
            self.events.push_back(PowerQualityEvent::WeekEnded { at });
        }
        self.settle(at);
    }

    /// When [`Self::handle_time`] is due, and why.
    pub fn wake(&self) -> Option<(UtcTime, &'static str)> {
        let due = self
            .watches
            .iter()
            .flat_map(|phase| Disturbance::ALL.into_iter().zip(phase))
            .filter_map(|(disturbance, watch)| watch.condition.due(self.persistence(disturbance)))
            .map(|due| (due, "power quality persistence"));
        let week = (self.accrual.week_end(), "power quality week");
        due.chain([week]).min()
    }

    /// What the meter must log and report next.
    pub fn poll_event(&mut self) -> Option<PowerQualityEvent> {
        self.events.pop_front()
    }

    /// How often a disturbance counted on a phase, from 0 (sags 1.0.32.32.0.255, swells
    /// 1.0.32.36.0.255 and so on); 0 for a phase that there is not.
    pub fn count(&self, disturbance: Disturbance, phase: u8) -> u32 {
        let phase = self.watches.get(usize::from(phase));
        phase.map_or(0, |watches| watches[disturbance as usize].count)
    }

    /// The total harmonic distortion of L1 to L3, in thousandths.
    pub const fn distortion_milli(&self) -> [u32; PHASES] {
        self.distortion_milli
    }

    /// The means of the last whole week, L1 to L3; `None` before one has ended.
    pub const fn last_week(&self) -> Option<&[WeekStatistics; PHASES]> {
        self.accrual.last_week()
    }

    fn phases(&self) -> usize {
        usize::from(self.config.phases)
    }

    const fn persistence(&self, disturbance: Disturbance) -> Persistence {
        self.config.persistence[disturbance as usize]
    }

    fn voltage_is(&self, disturbance: Disturbance, phase: usize, millivolts: u32) -> bool {
        let watch = &self.watches[phase][disturbance as usize];
        // Once it counts, it must pass the limit by the hysteresis to end.
        let slack = if watch.condition.is_active() {
            self.config.hysteresis_milli
        } else {
            0
        };
        let cut = self.config.share(self.config.cut_milli);
        match disturbance {
            Disturbance::Sag => {
                let limit = self.config.share(self.config.sag_milli + slack);
                (cut..limit).contains(&millivolts)
            }
            Disturbance::Swell => {
                let limit = self.config.swell_milli.saturating_sub(slack);
                millivolts > self.config.share(limit)
            }
            Disturbance::Cut => millivolts < self.config.share(self.config.cut_milli + slack),
            Disturbance::Distortion | Disturbance::Unbalance => false,
        }
    }

    fn input(
        &mut self,
        disturbance: Disturbance,
        phase: usize,
        holds: bool,
        value: u32,
        at: UtcTime,
    ) {
        let watch = &mut self.watches[phase][disturbance as usize];
        watch.condition.input(holds, at);
        if holds {
            let worse = match disturbance {
                Disturbance::Sag | Disturbance::Cut => u32::min,
                Disturbance::Swell | Disturbance::Distortion | Disturbance::Unbalance => u32::max,
            };
            watch.extreme = Some(watch.extreme.map_or(value, |extreme| worse(extreme, value)));
        } else if !watch.condition.is_active() {
            watch.extreme = None;
        }
    }

    fn settle(&mut self, at: UtcTime) {
        let persistence = self.config.persistence;
        for (phase, watches) in (0_u8..).zip(&mut self.watches) {
            for (disturbance, watch) in Disturbance::ALL.into_iter().zip(watches) {
                let edge = watch
                    .condition
                    .settle(persistence[disturbance as usize], at);
                match edge {
                    Some(Edge::Began(at)) => {
                        watch.count = watch.count.saturating_add(1);
                        self.events.push_back(PowerQualityEvent::Began {
                            disturbance,
                            phase,
                            at,
                        });
                    }
                    Some(Edge::Ended(began, at)) => {
                        self.events.push_back(PowerQualityEvent::Ended {
                            disturbance,
                            phase,
                            at,
                            duration: at.since(began),
                            extreme: watch.extreme.take().unwrap_or(0),
                        });
                    }
                    None => {}
                }
            }
        }
    }

    /// Appends what power quality keeps.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut keeper = Keeper::new(VERSION, out);
        for watch in self.watches.iter().flatten() {
            watch.condition.keep(&mut keeper);
            keeper.option(watch.extreme, |keeper, extreme| {
                keeper.put(extreme.to_be_bytes());
            });
            keeper.put(watch.count.to_be_bytes());
        }
        keeper.option(self.voltages, |keeper, voltages| {
            for millivolts in voltages {
                keeper.put(millivolts.to_be_bytes());
            }
        });
        for milli in self.distortion_milli {
            keeper.put(milli.to_be_bytes());
        }
        self.accrual.keep(&mut keeper);
    }

    /// Takes over what power quality kept.
    ///
    /// # Errors
    ///
    /// Bytes that no power quality wrote.
    pub fn decode(config: PowerQualityConfig, bytes: &[u8]) -> Result<Self, RetainedError> {
        let mut kept = Kept::open(OBJECT, VERSION, bytes)?;
        let mut quality = Self::new(config, UtcTime::from_secs(0));
        for watch in quality.watches.iter_mut().flatten() {
            *watch = Watch {
                condition: Debounce::read(&mut kept)?,
                extreme: kept.option("extreme", Kept::u32)?,
                count: kept.u32()?,
            };
        }
        quality.voltages = kept.option("voltages", |kept| {
            Ok([kept.u32()?, kept.u32()?, kept.u32()?])
        })?;
        quality.distortion_milli = [kept.u32()?, kept.u32()?, kept.u32()?];
        quality.accrual = Accrual::read(&mut kept)?;
        kept.finish()?;
        Ok(quality)
    }
}

/// √Σh², cut, in thousandths of the fundamental.
fn distortion_milli(harmonics: &[u32]) -> u32 {
    let squares = harmonics
        .iter()
        .take(HARMONIC_MAX - 1)
        .map(|milli| u128::from(*milli).pow(2))
        .sum::<u128>();
    u32::try_from(squares.isqrt()).unwrap_or(u32::MAX)
}

/// The largest difference of a phase from the mean, in thousandths of the mean, cut.
fn unbalance_milli(millivolts: [u32; PHASES]) -> u32 {
    let sum: u64 = millivolts.iter().map(|volts| u64::from(*volts)).sum();
    if sum == 0 {
        return 0;
    }
    // Three times the phase against the sum keeps the mean exact.
    let furthest = millivolts
        .iter()
        .map(|volts| (u64::from(*volts) * 3).abs_diff(sum))
        .max();
    let milli = furthest.unwrap_or(0) * 1_000 / sum;
    u32::try_from(milli).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
