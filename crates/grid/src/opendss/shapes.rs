//! Load shapes: how the loads and plants of a circuit go through a day or a year.

use std::collections::BTreeMap;

use super::error::CircuitError;
use super::field::Field;
use super::script::{Object, Script};
use crate::network::{ElementId, Network, Phasor, PowerFlow};

/// Most points of a shape: two years of minutes.
pub const POINTS_MAX: usize = 1_100_000;

/// Which of its shapes an element follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// The shape of a day.
    Daily,
    /// The shape of a year; where there is none, that of a day.
    Yearly,
    /// The shape of a duty cycle; where there is none, that of a day.
    Duty,
}

/// A shape as read.
#[derive(Debug, Clone, PartialEq)]
struct Shape {
    /// Between its points.
    seconds: f64,
    active: Vec<f64>,
    /// Where the reactive power goes by itself.
    reactive: Option<Vec<f64>>,
    /// Points are kW and kvar, not shares of the nominal power.
    actual: bool,
}

impl Shape {
    /// The point that holds at a time after the beginning; after the last comes the first.
    fn at(&self, seconds: f64) -> Option<usize> {
        let count = self.active.len();
        let points = (seconds / self.seconds).round();
        // The first point holds for the first interval, so the one before it is the last.
        match whole(points)?.checked_rem(count)? {
            0 => Some(count - 1),
            at => Some(at - 1),
        }
    }

    fn power(&self, nominal: Phasor, whole: Phasor, seconds: f64) -> Option<Phasor> {
        let at = self.at(seconds)?;
        let active = self.active[at];
        if !self.actual {
            let reactive = self.reactive.as_ref().map_or(active, |of| of[at]);
            return Some(Phasor::new(nominal.re * active, nominal.im * reactive));
        }
        // What is given for all phases is shared as the nominal power is, at its power factor.
        let share = if whole.re == 0.0 {
            0.0
        } else {
            nominal.re / whole.re
        };
        let sign = if whole.re < 0.0 { -1.0 } else { 1.0 };
        let watts = sign * active * 1_000.0 * share;
        let vars = match &self.reactive {
            Some(of) => sign * of[at] * 1_000.0 * share,
            None if nominal.re == 0.0 => 0.0,
            None => nominal.im / nominal.re * watts,
        };
        Some(Phasor::new(watts, vars))
    }
}

/// The shapes of a circuit, and what follows them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shapes {
    shapes: Vec<Shape>,
    followers: Vec<Follower>,
}

#[derive(Debug, Clone, PartialEq)]
struct Follower {
    element: ElementId,
    nominal: Vec<Phasor>,
    by_mode: BTreeMap<Mode, usize>,
}

impl Follower {
    fn shape(&self, mode: Mode) -> Option<usize> {
        self.by_mode
            .get(&mode)
            .or_else(|| self.by_mode.get(&Mode::Daily))
            .copied()
    }
}

impl Shapes {
    /// What a script's loads and plants follow.
    pub(super) fn of(script: &Script, network: &Network) -> Result<Self, CircuitError> {
        let mut shapes = vec![Shape {
            seconds: 3_600.0,
            active: DEFAULT.to_vec(),
            reactive: None,
            actual: false,
        }];
        let mut places = BTreeMap::from([("loadshape.default".to_owned(), 0)]);
        let mut followers = Vec::new();
        for object in &script.objects {
            if !matches!(
                object.class.name,
                "load" | "generator" | "pvsystem" | "storage"
            ) {
                continue;
            }
            let Some(element) = network.find(&object.label) else {
                continue;
            };
            // The last that is said counts.
            let mut named = BTreeMap::new();
            let mut fixed = false;
            for field in Field::all(object) {
                let mode = match field.property() {
                    "daily" => Mode::Daily,
                    "yearly" => Mode::Yearly,
                    "duty" => Mode::Duty,
                    "status" if object.class.name == "load" => {
                        fixed = field.text().starts_with('f');
                        continue;
                    }
                    _ => continue,
                };
                named.insert(mode, field);
            }
            let mut by_mode = BTreeMap::new();
            for (mode, field) in named {
                let name = field.text();
                if name == "none" {
                    continue;
                }
                let label = format!("loadshape.{name}");
                let place = match places.get(&label) {
                    Some(place) => *place,
                    None => {
                        let found = script
                            .find(&label)
                            .ok_or_else(|| field.missing(format!("load shape {name}")))?;
                        shapes.push(shape(found)?);
                        places.insert(label, shapes.len() - 1);
                        shapes.len() - 1
                    }
                };
                by_mode.insert(mode, place);
            }
            if let Some(load) = network.element(element).kind.load()
                && !by_mode.is_empty()
                && !fixed
            {
                followers.push(Follower {
                    element,
                    nominal: load.power.clone(),
                    by_mode,
                });
            }
        }
        Ok(Self { shapes, followers })
    }

    /// How many loads and plants follow a shape in a mode.
    pub fn followers(&self, mode: Mode) -> usize {
        self.followers
            .iter()
            .filter(|follower| follower.shape(mode).is_some())
            .count()
    }

    /// The shortest interval of the shapes that are followed, in seconds, and how many of them
    /// the longest shape lasts; `None` if nothing follows a shape in this mode.
    pub fn extent(&self, mode: Mode) -> Option<(f64, usize)> {
        let used: Vec<&Shape> = self
            .followers
            .iter()
            .filter_map(|follower| Some(&self.shapes[follower.shape(mode)?]))
            .collect();
        let seconds = used
            .iter()
            .map(|shape| shape.seconds)
            .min_by(f64::total_cmp)?;
        let steps = used
            .iter()
            .map(|shape| {
                let count = u32::try_from(shape.active.len()).map_or(0.0, f64::from);
                whole((count * shape.seconds / seconds).round()).unwrap_or(POINTS_MAX)
            })
            .max()?;
        Some((seconds, steps))
    }

    /// Sets every follower's power to that of a time after the beginning, in seconds; the first
    /// point of a shape holds until its first interval is over. Its nominal power is the one of
    /// the circuit's files.
    pub fn apply(&self, flow: &mut PowerFlow, mode: Mode, seconds: f64) {
        for follower in &self.followers {
            let Some(shape) = follower.shape(mode) else {
                continue;
            };
            let whole: Phasor = follower.nominal.iter().sum();
            let power: Option<Vec<Phasor>> = follower
                .nominal
                .iter()
                .map(|nominal| self.shapes[shape].power(*nominal, whole, seconds))
                .collect();
            if let Some(power) = power {
                flow.set_power(follower.element, &power);
            }
        }
    }
}

/// A whole number that is not negative.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to lie in the range"
)]
fn whole(value: f64) -> Option<usize> {
    (0.0..1e15).contains(&value).then_some(value as usize)
}

/// The shape that the language knows without a definition, hour by hour.
const DEFAULT: [f64; 24] = [
    0.677, 0.6256, 0.6087, 0.5833, 0.58028, 0.6025, 0.657, 0.7477, 0.832, 0.88, 0.94, 0.989, 0.985,
    0.98, 0.9898, 0.999, 1.0, 0.958, 0.936, 0.913, 0.876, 0.876, 0.828, 0.756,
];

fn shape(object: &Object) -> Result<Shape, CircuitError> {
    let missing = |what: &str| CircuitError::Missing {
        origin: object.origin.clone(),
        object: object.label.clone(),
        what: what.to_owned(),
    };
    let mut points = None;
    let mut shape = Shape {
        seconds: 3_600.0,
        active: Vec::new(),
        reactive: None,
        actual: false,
    };
    let mut normalised = false;
    for field in Field::all(object) {
        match field.property() {
            "npts" => points = Some(field.count(POINTS_MAX)?),
            "interval" => shape.seconds = field.positive()? * 3_600.0,
            "minterval" => shape.seconds = field.positive()? * 60.0,
            "sinterval" => shape.seconds = field.positive()?,
            "mult" | "pmult" | "csvfile" => shape.active = field.numbers()?,
            "qmult" => shape.reactive = Some(field.numbers()?),
            "useactual" => shape.actual = field.flag()?,
            "action" => {
                if !field.text().starts_with('n') {
                    return Err(field.refused());
                }
                normalised = true;
            }
            _ => return Err(field.refused()),
        }
    }
    let count = points.unwrap_or(shape.active.len()).min(shape.active.len());
    if count == 0 {
        return Err(missing("mult, the points of it"));
    }
    shape.active.truncate(count);
    if let Some(reactive) = &mut shape.reactive {
        if reactive.len() < count {
            return Err(missing("qmult for each of its points"));
        }
        reactive.truncate(count);
    }
    if normalised {
        for values in [Some(&mut shape.active), shape.reactive.as_mut()]
            .into_iter()
            .flatten()
        {
            let most = values
                .iter()
                .fold(0.0, |most: f64, value| most.max(value.abs()));
            if most > 0.0 {
                values.iter_mut().for_each(|value| *value /= most);
            }
        }
    }
    Ok(shape)
}
