//! Homes on a feeder: where each one hangs, and what the network makes of their loads, minute by
//! minute.
//!
//! A day of a street is a pure function of its homes, the day, the prices known for it and the
//! operations on the network: it can be computed again after a restart, or twice at once, and is
//! the same to the last bit. Therefore a day begins with controls that have settled for its first
//! minute; within the day they act in time.

mod day;
mod losses;
mod place;

use std::collections::BTreeMap;

use gridloom_core::{Day, UtcTime};

use crate::household::Household;
use crate::network::{
    Controls, ElementId, Kind, Law, Network, NetworkError, Options, Phasor, PowerFlow, Topology,
    VoltageLimits,
};
use crate::quasi_static::Operation;
use crate::response::{PriceSignal, Response};

pub use day::{FeedingValues, MINUTES_PER_DAY, Minute, StreetDay};
pub use losses::LossBound;
pub use place::{HomePoint, Placement};

/// A home's nominal voltage, phase to neutral, in volts. Where a feeder's loads stand at another
/// voltage, an ideal service transformer is thought between.
pub const HOME_VOLTS: f64 = 230.0;

/// What a home may draw so that the street can be built: the diversified demand that networks are
/// laid out for, in watts.
pub const DESIGN_WATTS: f64 = 2_000.0;

/// Below this share of the nominal voltage the design load makes a street too weak.
pub const DESIGN_PU_MIN: f64 = 0.85;

/// Below this share of nominal voltage a home is no constant power any more.
const CONSTANT_POWER_PU_MIN: f64 = 0.6;

/// Why homes cannot be placed on a feeder.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StreetError {
    /// No home, or too many.
    #[error("street: {got} homes; a feeder takes 1 to {max}")]
    Homes {
        /// How many.
        got: usize,
        /// The most.
        max: usize,
    },
    /// The feeder has no energised load where a home could be.
    #[error("street: the feeder has no energised load; homes are placed at its loads")]
    NoLoads,
    /// A load has no transformer between it and the source, so that nobody could balance it.
    #[error("street: {load} has no transformer above it; give the feeder its transformer")]
    NoTransformer {
        /// The load.
        load: String,
    },
    /// The network does not carry the homes.
    #[error(
        "street: {homes} homes of {DESIGN_WATTS} W pull {node} down to {volts_pu:.2} per unit; \
         place fewer homes, or take a stronger feeder"
    )]
    Weak {
        /// How many homes.
        homes: usize,
        /// Where the voltage is lowest.
        node: String,
        /// How low.
        volts_pu: f64,
    },
    /// The network cannot be solved.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

/// A transformer that feeds homes, with the meter at its secondary side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feeding {
    /// The transformer.
    pub transformer: ElementId,
    /// Its name, without its class.
    pub name: String,
    /// Transformers of other feedings right below it: their meter is not this one's, so what
    /// they take is taken off.
    pub inner: Vec<ElementId>,
    /// How many homes it is the nearest transformer of.
    pub homes: usize,
}

/// Homes placed on a feeder.
#[derive(Debug, Clone)]
pub struct Street {
    /// Vacant loads draw nothing, homes' loads nothing yet.
    network: Network,
    controls: Controls,
    homes: Vec<Household>,
    points: Vec<HomePoint>,
    feedings: Vec<Feeding>,
    /// By time, in whole minutes.
    operations: Vec<(UtcTime, Operation)>,
    /// For each home, when its supply changes and to what.
    supply: Vec<Vec<(UtcTime, bool)>>,
}

impl Street {
    /// Most homes on one feeder: what they draw together stays within what a meter measures.
    pub const HOMES_MAX: usize = 500;
    /// Most operations on one street; further ones are refused.
    pub const OPERATIONS_MAX: usize = 1_000;

    /// Places homes at a feeder's loads. Loads without a home draw nothing: all that is drawn
    /// below a transformer is metered. Plants feed in what their file says.
    ///
    /// # Errors
    ///
    /// [`StreetError`], when the feeder does not take the homes.
    pub fn new(
        mut network: Network,
        controls: Controls,
        homes: Vec<Household>,
        placement: Placement,
    ) -> Result<Self, StreetError> {
        let mut points = place::place(&network, homes.len(), placement)?;
        let loads: Vec<(ElementId, usize)> = network
            .elements()
            .filter_map(|(id, element)| match &element.kind {
                Kind::Load(load) => Some((id, load.phases())),
                Kind::Source(_)
                | Kind::Line(_)
                | Kind::Transformer(_)
                | Kind::Sequence(_)
                | Kind::Capacitor(_)
                | Kind::Shunt(_)
                | Kind::Generator(_) => None,
            })
            .collect();
        let limits = VoltageLimits {
            low: CONSTANT_POWER_PU_MIN / 2.0,
            min: CONSTANT_POWER_PU_MIN,
            max: f64::INFINITY,
        };
        let each = Phasor::new(DESIGN_WATTS, DESIGN_WATTS * 0.3);
        for (id, phases) in loads {
            network.set_law(id, Law::Power, limits);
            let design: Vec<Phasor> = (0..phases)
                .map(|phase| {
                    let here = points
                        .iter()
                        .filter(|point| (point.element, point.phase) == (id, phase));
                    each * u32::try_from(here.count()).map_or(0.0, f64::from)
                })
                .collect();
            network.set_power(id, &design);
        }
        check_strength(&network, controls, &points)?;
        let topology = Topology::of(&network);
        let mut feedings: BTreeMap<ElementId, Feeding> = BTreeMap::new();
        for point in &points {
            let feeding = feedings
                .entry(point.transformer)
                .or_insert_with(|| Feeding {
                    transformer: point.transformer,
                    name: short_name(&network, point.transformer),
                    inner: Vec::new(),
                    homes: 0,
                });
            feeding.homes += 1;
        }
        let all: Vec<ElementId> = feedings.keys().copied().collect();
        for id in &all {
            if let Some(outer) = outer_feeding(&network, &topology, *id, &all)
                && let Some(feeding) = feedings.get_mut(&outer)
            {
                feeding.inner.push(*id);
            }
        }
        let feedings: Vec<Feeding> = feedings.into_values().collect();
        for point in &mut points {
            point.feeding = feedings
                .iter()
                .position(|feeding| feeding.transformer == point.transformer)
                .expect("each home's transformer is a feeding");
        }
        let supply = vec![Vec::new(); homes.len()];
        Ok(Self {
            network,
            controls,
            homes,
            points,
            feedings,
            operations: Vec::new(),
            supply,
        })
    }

    /// Does something to the network at a time, rounded up to a whole minute, and not before
    /// what was done already. A street remembers all of it.
    ///
    /// # Errors
    ///
    /// [`NetworkError`] if there is no such terminal or regulator, or too much was done.
    pub fn operate(&mut self, at: UtcTime, operation: Operation) -> Result<(), NetworkError> {
        if self.operations.len() >= Self::OPERATIONS_MAX {
            return Err(NetworkError::TooLarge {
                what: "operations",
                count: self.operations.len() + 1,
                max: Self::OPERATIONS_MAX,
            });
        }
        let minute = at.as_secs().div_euclid(60) + i64::from(at.as_millis().rem_euclid(60_000) > 0);
        let at = UtcTime::from_secs(minute * 60);
        let at = self.operations.last().map_or(at, |(last, _)| at.max(*last));
        let mut network = self.network_at(at);
        operation.apply(&mut network)?;
        self.operations.push((at, operation));
        let topology = Topology::of(&network);
        for (point, changes) in self.points.iter().zip(&mut self.supply) {
            let lit = network
                .element(point.element)
                .conductors
                .iter()
                .flatten()
                .all(|node| topology.is_energised(*node));
            // Of what is done in one minute only the last counts.
            if changes.last().is_some_and(|(then, _)| *then == at) {
                changes.pop();
            }
            if changes.last().is_none_or(|(_, before)| *before) != lit {
                changes.push((at, lit));
            }
        }
        Ok(())
    }

    /// Whether a home has supply at a time, and until when at least.
    pub fn supply_at(&self, home: usize, at: UtcTime) -> (bool, UtcTime) {
        let changes = &self.supply[home];
        let next = changes.partition_point(|(from, _)| *from <= at);
        let lit = next.checked_sub(1).is_none_or(|last| changes[last].1);
        let until = changes
            .get(next)
            .map_or(UtcTime::from_millis(i64::MAX), |(from, _)| *from);
        (lit, until)
    }

    /// Times at which a home's supply changes, and whether it then has it.
    pub fn supply_changes(&self, home: usize) -> &[(UtcTime, bool)] {
        &self.supply[home]
    }

    /// The homes, in the order of their placing.
    pub fn homes(&self) -> &[Household] {
        &self.homes
    }

    /// Where each home hangs.
    pub fn points(&self) -> &[HomePoint] {
        &self.points
    }

    /// The transformers that feed homes.
    pub fn feedings(&self) -> &[Feeding] {
        &self.feedings
    }

    /// The network as it stood before any operation.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Whether prices change what the homes draw.
    pub fn answers_prices(&self) -> bool {
        self.homes
            .iter()
            .any(|home| home.response() != Response::Off)
    }

    /// A day, of which nothing is solved yet.
    ///
    /// # Errors
    ///
    /// [`NetworkError`] if the first minute has no solution.
    pub fn day(
        &self,
        day: Day,
        known_yesterday: &PriceSignal,
        known: &PriceSignal,
    ) -> Result<StreetDay, NetworkError> {
        StreetDay::new(self, day, known_yesterday, known)
    }

    /// How much of what each feeding's transformer delivers may be lost on the way to the homes,
    /// in the order of [`Self::feedings`].
    ///
    /// # Errors
    ///
    /// [`NetworkError`] if the reference load has no solution.
    pub fn loss_bounds(&self) -> Result<Vec<LossBound>, NetworkError> {
        losses::bounds(self)
    }

    fn network_at(&self, at: UtcTime) -> Network {
        let mut network = self.network.clone();
        for (_, operation) in self.operations.iter().filter(|(then, _)| *then <= at) {
            operation
                .apply(&mut network)
                .expect("an operation was tried before it was kept");
        }
        network
    }

    fn options(&self) -> Options {
        Options {
            // Energies of an interval add up to a millionth.
            tolerance_pu: 1e-9,
            controls: self.controls,
            ..Options::default()
        }
    }
}

fn check_strength(
    network: &Network,
    controls: Controls,
    points: &[HomePoint],
) -> Result<(), StreetError> {
    let options = Options {
        controls,
        ..Options::default()
    };
    let mut flow = PowerFlow::new(network.clone(), options)?;
    flow.solve()?;
    let lowest = points
        .iter()
        .flat_map(|point| &network.element(point.element).conductors)
        .flatten()
        .min_by(|a, b| flow.per_unit(**a).total_cmp(&flow.per_unit(**b)));
    match lowest {
        Some(node) if flow.per_unit(*node) < DESIGN_PU_MIN => Err(StreetError::Weak {
            homes: points.len(),
            node: network.buses.label(*node),
            volts_pu: flow.per_unit(*node),
        }),
        Some(_) | None => Ok(()),
    }
}

/// The feeding in whose area a transformer lies.
fn outer_feeding(
    network: &Network,
    topology: &Topology,
    id: ElementId,
    all: &[ElementId],
) -> Option<ElementId> {
    let first = network.element(id).terminal(0).iter().flatten().next()?;
    let bus = network.buses.place(*first).bus;
    let path = topology.path_to_source(bus)?;
    path.iter()
        .map(|step| step.element)
        .find(|element| *element != id && all.contains(element))
}

fn short_name(network: &Network, id: ElementId) -> String {
    let name = &network.element(id).name;
    name.split_once('.')
        .map_or(name.as_str(), |(_, name)| name)
        .to_owned()
}
