//! What is connected with what: energised parts, traces, the transformer and phase of a meter.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gridloom_core::MeterId;

use super::bus::{BusId, NodeId, Terminal};
use super::complex::ZERO;
use super::element::{ElementId, Kind};
use super::matrix::Matrix;
use super::model::Network;

/// Nodes that are joined, by union of sets.
pub(crate) struct Joined {
    parent: Vec<usize>,
}

impl Joined {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            parent: (0..count).collect(),
        }
    }

    pub(crate) fn find(&mut self, mut at: usize) -> usize {
        while self.parent[at] != at {
            self.parent[at] = self.parent[self.parent[at]];
            at = self.parent[at];
        }
        at
    }

    pub(crate) fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.find(one), self.find(other));
        self.parent[one.max(other)] = one.min(other);
    }

    /// Joins what an admittance joins.
    pub(crate) fn join_through(&mut self, conductors: &[Terminal], admittance: &Matrix) {
        for (row, one) in conductors.iter().enumerate() {
            for (column, other) in conductors.iter().enumerate().skip(row + 1) {
                if let (Some(one), Some(other)) = (one, other)
                    && admittance.get(row, column) != ZERO
                {
                    self.join(one.0, other.0);
                }
            }
        }
    }
}

/// One step of a path: the element that is crossed and the bus it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What is crossed.
    pub element: ElementId,
    /// Where it leads.
    pub bus: BusId,
}

/// Where a meter, or any load, hangs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The bus.
    pub bus: BusId,
    /// The nearest transformer towards the source, without the regulators; `None` if there is
    /// none on the path.
    pub transformer: Option<ElementId>,
    /// Nodes its phases lie at, such as 1, 2, 3.
    pub phases: Vec<u8>,
    /// Phases that supply it: behind a transformer of one phase those of its primary side, which
    /// its own nodes do not show; else the same as `phases`.
    pub supply_phases: Vec<u8>,
}

/// The energised part of a network as a tree from its sources.
#[derive(Debug, Clone)]
pub struct Topology {
    /// For each energised bus: distance in steps, and the step towards the source.
    towards: BTreeMap<BusId, (usize, Option<Step>)>,
    energised: Vec<bool>,
    regulated: BTreeSet<ElementId>,
}

impl Topology {
    /// Traces a network. In a mesh the path with the fewest elements counts.
    pub fn of(network: &Network) -> Self {
        let mut beside: BTreeMap<BusId, Vec<Step>> = BTreeMap::new();
        let mut joined = Joined::new(network.buses.node_count());
        let mut queue = VecDeque::new();
        let mut towards = BTreeMap::new();
        let mut fed = Vec::new();
        for (id, element) in network.elements().filter(|(_, element)| element.in_service) {
            let Some((conductors, admittance)) = element.primitive() else {
                continue;
            };
            joined.join_through(&conductors, &admittance);
            if let Kind::Source(_) = element.kind {
                for node in conductors.iter().flatten() {
                    fed.push(*node);
                    let bus = network.buses.place(*node).bus;
                    if towards.insert(bus, (0, None)).is_none() {
                        queue.push_back(bus);
                    }
                }
            }
            let buses: BTreeSet<BusId> = conductors
                .iter()
                .flatten()
                .map(|node| network.buses.place(*node).bus)
                .collect();
            for from in &buses {
                for to in buses.iter().filter(|to| *to != from) {
                    beside.entry(*from).or_default().push(Step {
                        element: id,
                        bus: *to,
                    });
                }
            }
        }
        while let Some(bus) = queue.pop_front() {
            let (distance, _) = towards[&bus];
            for step in beside.get(&bus).into_iter().flatten() {
                if let Entry::Vacant(place) = towards.entry(step.bus) {
                    let back = Step {
                        element: step.element,
                        bus,
                    };
                    place.insert((distance + 1, Some(back)));
                    queue.push_back(step.bus);
                }
            }
        }
        let roots: BTreeSet<usize> = fed.iter().map(|node| joined.find(node.0)).collect();
        let energised = (0..network.buses.node_count())
            .map(|node| roots.contains(&joined.find(node)))
            .collect();
        Self {
            towards,
            energised,
            regulated: network
                .regulators
                .iter()
                .map(|regulator| regulator.transformer)
                .collect(),
        }
    }

    /// Whether a node has a source.
    pub fn is_energised(&self, node: NodeId) -> bool {
        self.energised[node.0]
    }

    /// Whether an element is a regulator's transformer.
    pub fn is_regulator(&self, id: ElementId) -> bool {
        self.regulated.contains(&id)
    }

    /// The way from a bus to its source, nearest step first; `None` for a bus without one.
    pub fn path_to_source(&self, bus: BusId) -> Option<Vec<Step>> {
        let mut path = Vec::new();
        let (_, mut next) = *self.towards.get(&bus)?;
        while let Some(step) = next {
            path.push(step);
            next = self.towards[&step.bus].1;
        }
        Some(path)
    }

    /// All buses that are fed through a bus, itself first, then by distance.
    pub fn downstream(&self, bus: BusId) -> Vec<BusId> {
        let mut inside = BTreeSet::from([bus]);
        let mut by_distance: Vec<_> = self
            .towards
            .iter()
            .filter_map(|(bus, (distance, step))| step.map(|step| (*distance, *bus, step.bus)))
            .collect();
        by_distance.sort_unstable();
        let mut found = vec![bus];
        for (_, at, back) in by_distance {
            if inside.contains(&back) && inside.insert(at) {
                found.push(at);
            }
        }
        found
    }

    /// Where an element hangs; `None` if it is not connected to a bus at all.
    pub fn attachment(&self, network: &Network, element: ElementId) -> Option<Attachment> {
        let element = network.element(element);
        let first = element.conductors.iter().flatten().next()?;
        let bus = network.buses.place(*first).bus;
        let transformer = self.path_to_source(bus).and_then(|path| {
            path.iter()
                .map(|step| step.element)
                .find(|id| self.is_distribution_transformer(network, *id))
        });
        let numbers = |conductors: &[Terminal]| -> Vec<u8> {
            conductors
                .iter()
                .flatten()
                .map(|node| network.buses.place(*node).number)
                .collect()
        };
        let phases = numbers(&element.conductors);
        let single = transformer.map(|id| network.element(id)).filter(|element| {
            matches!(&element.kind, Kind::Transformer(transformer) if transformer.phases == 1)
        });
        Some(Attachment {
            bus,
            transformer,
            supply_phases: single.map_or_else(|| phases.clone(), |of| numbers(of.terminal(0))),
            phases,
        })
    }

    /// Meters that have a transformer as their nearest one towards the source, by their numbers.
    pub fn meters_of(&self, network: &Network, transformer: ElementId) -> Vec<MeterId> {
        network
            .meter_points()
            .filter(|point| {
                self.attachment(network, point.element)
                    .is_some_and(|found| found.transformer == Some(transformer))
            })
            .map(|point| point.meter)
            .collect()
    }

    fn is_distribution_transformer(&self, network: &Network, id: ElementId) -> bool {
        let transforms = match &network.element(id).kind {
            Kind::Transformer(_) => true,
            Kind::Sequence(_) => network.element(id).name.contains("transformer"),
            Kind::Source(_)
            | Kind::Line(_)
            | Kind::Capacitor(_)
            | Kind::Shunt(_)
            | Kind::Load(_)
            | Kind::Generator(_) => false,
        };
        transforms && !self.regulated.contains(&id)
    }
}
