//! One day of a street, solved minute by minute as it is asked for.

use std::sync::Arc;
use std::time::Duration;

use gridloom_core::{Day, UtcTime};

use super::{HOME_VOLTS, HomePoint, Street};
use crate::load::DayLoad;
use crate::network::complex::{ZERO, magnitude};
use crate::network::{ElementId, Kind, NetworkError, Phasor};
use crate::quasi_static::{Operation, QuasiStatic};
use crate::response::PriceSignal;

/// Minutes of a day.
pub const MINUTES_PER_DAY: u32 = 1_440;

const MINUTE_MS: u32 = 60_000;

/// Nominal voltages to neutral at which a transformer's secondary side is that of homes, in volts.
const LOW_VOLTAGE: core::ops::RangeInclusive<f64> = 200.0..=260.0;

/// What the meters and transformers of a street see in one minute.
#[derive(Debug, Clone, PartialEq)]
pub struct Minute {
    /// Each home's voltage in millivolts; zero without supply.
    pub volts_mv: Vec<u32>,
    /// Each feeding's secondary side.
    pub feedings: Vec<FeedingValues>,
    /// Whether the network had no solution in this minute, and the values are those before it.
    pub is_stale: bool,
}

/// What the meter at a transformer's secondary side sees, on phases 1 to 3. What inner feedings
/// take is taken off.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FeedingValues {
    /// Active power, in watts.
    pub watts: [f64; 3],
    /// Reactive power, in vars.
    pub vars: [f64; 3],
    /// Voltage to neutral in volts; of a secondary side at another level than homes', in volts of
    /// a home's nominal voltage.
    pub volts: [f64; 3],
}

impl FeedingValues {
    /// Active power of all phases, in watts.
    pub fn total_watts(&self) -> f64 {
        self.watts.iter().sum()
    }
}

/// One day of a street.
#[derive(Debug, Clone)]
pub struct StreetDay {
    day: Day,
    sim: QuasiStatic,
    homes: Vec<DayLoad>,
    points: Vec<HomePoint>,
    feedings: Vec<super::Feeding>,
    /// Loads that homes hang at, with their number of phases.
    loads: Vec<(ElementId, usize)>,
    operations: Vec<(UtcTime, Operation)>,
    minutes: Vec<Minute>,
    failure: Option<Arc<NetworkError>>,
}

impl StreetDay {
    pub(super) fn new(
        street: &Street,
        day: Day,
        known_yesterday: &PriceSignal,
        known: &PriceSignal,
    ) -> Result<Self, NetworkError> {
        let homes = street
            .homes
            .iter()
            .map(|home| home.load_on(day, known_yesterday, known))
            .collect();
        Self::of_loads(street, day, homes)
    }

    /// A day with given loads, one for each home.
    pub(super) fn of_loads(
        street: &Street,
        day: Day,
        homes: Vec<DayLoad>,
    ) -> Result<Self, NetworkError> {
        let mut network = street.network_at(day.start());
        let mut loads: Vec<(ElementId, usize)> = Vec::new();
        for point in &street.points {
            if loads.iter().all(|(id, _)| *id != point.element) {
                let phases = network.element(point.element).kind.load();
                loads.push((point.element, phases.map_or(0, |load| load.phases())));
            }
        }
        let everything: Vec<ElementId> = network
            .elements()
            .filter(|(_, element)| matches!(element.kind, Kind::Load(_)))
            .map(|(id, _)| id)
            .collect();
        let drawn = drawn(&homes, &street.points, &loads, 0);
        for id in everything {
            let count = network
                .element(id)
                .kind
                .load()
                .map_or(0, |load| load.phases());
            network.set_power(id, &vec![ZERO; count]);
        }
        for ((id, _), power) in loads.iter().zip(&drawn) {
            network.set_power(*id, power);
        }
        Ok(Self {
            day,
            sim: QuasiStatic::new(network, street.options())?,
            homes,
            points: street.points.clone(),
            feedings: street.feedings.clone(),
            loads,
            operations: street
                .operations
                .iter()
                .filter(|(at, _)| *at > day.start() && at.day() == day)
                .copied()
                .collect(),
            minutes: Vec::new(),
            failure: None,
        })
    }

    /// The day.
    pub fn day(&self) -> Day {
        self.day
    }

    /// The network as of the last minute that was solved.
    pub fn sim(&self) -> &QuasiStatic {
        &self.sim
    }

    /// Why the last minute that had no solution had none.
    pub fn failure(&self) -> Option<&NetworkError> {
        self.failure.as_deref()
    }

    /// The last minute that was solved, and its number; `None` before the first.
    pub fn newest(&self) -> Option<(u32, &Minute)> {
        let minute = self.minutes.last()?;
        let number = u32::try_from(self.minutes.len() - 1).expect("a day's minutes fit");
        Some((number, minute))
    }

    /// What one minute of the day shows, from zero; the last one for a minute beyond it. Minutes
    /// before it that were not asked for yet are solved as well.
    pub fn minute(&mut self, minute: u32) -> &Minute {
        let at = usize::try_from(minute.min(MINUTES_PER_DAY - 1)).expect("a minute fits");
        while self.minutes.len() <= at {
            self.solve_next();
        }
        &self.minutes[at]
    }

    /// Mean power of each home in a minute, in milliwatts and millivars of all phases.
    pub fn drawn_by(&self, home: usize, minute: u32) -> (f64, f64) {
        mean(&self.homes[home], minute)
    }

    /// One minute alone, solved from whatever was solved before it; nothing is kept.
    pub(super) fn only(&mut self, minute: u32) -> Result<Minute, NetworkError> {
        let drawn = drawn(&self.homes, &self.points, &self.loads, minute);
        for ((id, _), power) in self.loads.iter().zip(&drawn) {
            self.sim.set_power(*id, power);
        }
        self.sim.step(Duration::from_secs(60))?;
        Ok(self.look())
    }

    /// The network without any home.
    pub(super) fn unloaded(mut self) -> Result<Minute, NetworkError> {
        for (id, phases) in &self.loads {
            self.sim.set_power(*id, &vec![ZERO; *phases]);
        }
        self.sim.step(Duration::from_secs(60))?;
        Ok(self.look())
    }

    fn solve_next(&mut self) {
        let number = u32::try_from(self.minutes.len()).expect("a day's minutes fit");
        let start = self.day.start() + Duration::from_secs(u64::from(number) * 60);
        for (_, operation) in self.operations.iter().filter(|(at, _)| *at == start) {
            let done = self.sim.operate(*operation);
            debug_assert!(done.is_ok(), "an operation was tried before it was kept");
        }
        let drawn = drawn(&self.homes, &self.points, &self.loads, number);
        for ((id, _), power) in self.loads.iter().zip(&drawn) {
            self.sim.set_power(*id, power);
        }
        let minute = match self.sim.step(Duration::from_secs(60)) {
            Ok(_) => self.look(),
            Err(error) => {
                self.failure = Some(Arc::new(error));
                match self.minutes.last() {
                    Some(before) => Minute {
                        is_stale: true,
                        ..before.clone()
                    },
                    None => Minute {
                        is_stale: true,
                        ..self.look()
                    },
                }
            }
        };
        self.minutes.push(minute);
    }

    fn look(&self) -> Minute {
        let flow = self.sim.flow();
        let network = flow.network();
        let volts_mv = self
            .points
            .iter()
            .map(|point| {
                let element = network.element(point.element);
                let Some(load) = element.kind.load() else {
                    return 0;
                };
                let (from, to) = load.connection.ends(point.phase, load.phases());
                let at = |conductor: usize| {
                    element.conductors[conductor].map_or(ZERO, |node| flow.voltage(node))
                };
                let unit = magnitude(at(from) - at(to)) / load.phase_volts();
                to_millivolts(unit * HOME_VOLTS)
            })
            .collect();
        let feedings = self
            .feedings
            .iter()
            .map(|feeding| {
                let mut values = FeedingValues::default();
                let element = network.element(feeding.transformer);
                for (at, current, node) in self.terminal(feeding.transformer, 1) {
                    let volts = flow.voltage(node);
                    // What flows out of the winding.
                    let power = -(volts * current.conj());
                    values.watts[at] += power.re;
                    values.vars[at] += power.im;
                    if let Kind::Transformer(transformer) = &element.kind {
                        let nominal = transformer.windings[1].kv * 1_000.0;
                        let nominal = if transformer.phases == 1 {
                            nominal
                        } else {
                            nominal / crate::network::complex::SQRT_3
                        };
                        // A home's own level is measured as it is.
                        let scale = if LOW_VOLTAGE.contains(&nominal) {
                            1.0
                        } else {
                            HOME_VOLTS / nominal
                        };
                        values.volts[at] = magnitude(volts) * scale;
                    }
                }
                for inner in &feeding.inner {
                    for (at, current, node) in self.terminal(*inner, 0) {
                        let power = flow.voltage(node) * current.conj();
                        values.watts[at] -= power.re;
                        values.vars[at] -= power.im;
                    }
                }
                values
            })
            .collect();
        Minute {
            volts_mv,
            feedings,
            is_stale: false,
        }
    }

    /// Phase from zero, current and node of each conductor of a terminal that is not earthed.
    fn terminal(
        &self,
        id: ElementId,
        terminal: usize,
    ) -> Vec<(usize, Phasor, crate::network::NodeId)> {
        let flow = self.sim.flow();
        let element = flow.network().element(id);
        let (width, _) = element.kind.shape();
        let currents = flow.currents(id);
        (0..width)
            .filter_map(|at| {
                let node = element.conductors[terminal * width + at]?;
                let number = usize::from(flow.network().buses.place(node).number);
                // A neutral that floats, or a secondary's second leg, counts with its phase.
                let phase = (number.max(1) - 1) % 3;
                Some((phase, currents[terminal * width + at], node))
            })
            .collect()
    }
}

/// What homes draw at each load, phase by phase, in VA.
fn drawn(
    homes: &[DayLoad],
    points: &[HomePoint],
    loads: &[(ElementId, usize)],
    minute: u32,
) -> Vec<Vec<Phasor>> {
    let mut powers: Vec<Vec<Phasor>> = loads
        .iter()
        .map(|(_, phases)| vec![ZERO; *phases])
        .collect();
    for (home, point) in homes.iter().zip(points) {
        let at = loads
            .iter()
            .position(|(id, _)| *id == point.element)
            .expect("each home's load is listed");
        let (active, reactive) = mean(home, minute);
        powers[at][point.phase] += Phasor::new(active, reactive) / 1_000.0;
    }
    powers
}

/// Mean power of a minute, of all of a home's phases, in milliwatts and millivars.
pub(super) fn mean(home: &DayLoad, minute: u32) -> (f64, f64) {
    let (from, to) = (minute * MINUTE_MS, (minute + 1) * MINUTE_MS);
    let (mut active, mut reactive) = (0_i64, 0_i64);
    let mut at = from;
    while at < to {
        let segment = home.at(at);
        let end = segment.to_ms.min(to);
        let millis = i64::from(end - at);
        active += segment.active_mw.iter().sum::<i64>() * millis;
        reactive += segment.reactive_mvar.iter().sum::<i64>() * millis;
        at = end;
    }
    let mean = |sum: i64| sum as f64 / f64::from(MINUTE_MS);
    (mean(active), mean(reactive))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a voltage of a home is positive and far below 2^32 mV; a cast saturates"
)]
fn to_millivolts(volts: f64) -> u32 {
    (volts * 1_000.0).round() as u32
}
