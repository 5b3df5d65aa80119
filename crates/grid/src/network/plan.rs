//! A network made ready for solving: rows of the energised nodes, the matrix and its factors,
//! and the loads phase by phase.

use super::bus::NodeId;
use super::complex::{Phasor, ZERO};
use super::element::{ElementId, Kind, stand_in};
use super::error::NetworkError;
use super::factor::{Entry, Factors, Order, Sparse};
use super::load::Branch;
use super::matrix::Matrix;
use super::model::Network;
use super::topology::Joined;

/// Whether loads and plants take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loading {
    Full,
    None,
}

/// An element's closed conductors and their admittance.
#[derive(Debug, Clone)]
pub(crate) struct Primitive {
    /// Conductor of the element → row; the last row of all is earth.
    pub(crate) rows: Vec<usize>,
    pub(crate) admittance: Matrix,
}

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Node → row; nodes without a source share the row of earth.
    pub(crate) row_of: Vec<usize>,
    /// Row → node.
    pub(crate) node_of: Vec<NodeId>,
    pub(crate) factors: Factors,
    pub(crate) branches: Vec<Branch>,
    /// First branch of each element that has some.
    pub(crate) branch_of: Vec<Option<usize>>,
    /// Current of the sources.
    pub(crate) injection: Vec<Phasor>,
    pub(crate) primitives: Vec<Option<Primitive>>,
}

impl Plan {
    pub(crate) fn of(network: &Network, loading: Loading) -> Result<Self, NetworkError> {
        let nodes = network.buses.node_count();
        let mut joined = Joined::new(nodes);
        let mut fed = Vec::new();
        let mut parts = Vec::new();
        for (id, element) in network.elements() {
            let idle =
                !element.in_service || (loading == Loading::None && element.kind.load().is_some());
            if idle {
                parts.push(None);
                continue;
            }
            let (conductors, admittance) =
                element.primitive().ok_or_else(|| NetworkError::Impedance {
                    name: element.name.clone(),
                })?;
            if element.kind.load().is_none() {
                joined.join_through(&conductors, &admittance);
            } else {
                // A load conducts even where it takes nothing now.
                let everywhere = Matrix::balanced(
                    conductors.len(),
                    Phasor::new(1.0, 0.0),
                    Phasor::new(1.0, 0.0),
                );
                joined.join_through(&conductors, &everywhere);
            }
            if let Kind::Source(_) = element.kind {
                fed.extend(conductors.iter().flatten().copied());
            }
            parts.push(Some((id, conductors, admittance)));
        }
        if fed.is_empty() {
            return Err(NetworkError::NoSource);
        }
        let mut live = vec![false; nodes];
        for node in &fed {
            live[joined.find(node.0)] = true;
        }
        let mut node_of = Vec::new();
        let mut row_of = vec![usize::MAX; nodes];
        for (node, row) in row_of.iter_mut().enumerate() {
            if live[joined.find(node)] {
                *row = node_of.len();
                node_of.push(NodeId(node));
            }
        }
        let earth = node_of.len();
        for row in row_of.iter_mut().filter(|row| **row == usize::MAX) {
            *row = earth;
        }
        let mut entries = Vec::new();
        let mut injection = vec![ZERO; earth + 1];
        let mut branches = Vec::new();
        let mut branch_of = Vec::with_capacity(parts.len());
        let mut primitives = Vec::with_capacity(parts.len());
        for part in parts {
            let Some((id, conductors, admittance)) = part else {
                branch_of.push(None);
                primitives.push(None);
                continue;
            };
            let rows: Vec<usize> = conductors
                .iter()
                .map(|node| node.map_or(earth, |node| row_of[node.0]))
                .collect();
            for (at, &row) in rows.iter().enumerate() {
                for (of, &column) in rows.iter().enumerate() {
                    let value = admittance.get(at, of);
                    if row < earth && column < earth && value != ZERO {
                        entries.push(Entry { row, column, value });
                    }
                }
            }
            let element = network.element(id);
            if let Kind::Source(source) = &element.kind {
                for (row, current) in rows.iter().zip(admittance.times(&source.emf)) {
                    injection[*row] += current;
                }
            }
            let load = element
                .kind
                .load()
                .filter(|_| rows.len() == element.conductors.len());
            branch_of.push(load.map(|_| branches.len()));
            if let Some(load) = load {
                let volts = load.phase_volts();
                for (phase, power) in load.power.iter().enumerate() {
                    let (from, to) = load.connection.ends(phase, load.phases());
                    branches.push(Branch {
                        from: rows[from],
                        to: rows[to],
                        power: *power,
                        volts,
                        admittance: stand_in(*power, volts),
                        law: load.law,
                        limits: load.limits,
                    });
                }
            }
            primitives.push(Some(Primitive { rows, admittance }));
        }
        injection[earth] = ZERO;
        let matrix = Sparse::from_entries(earth, &entries);
        let order = Order::of(&matrix).map_err(|reason| NetworkError::Factorisation { reason })?;
        let factors = Factors::of(&matrix, &order).map_err(|row| NetworkError::Singular {
            node: network.buses.label(node_of[row]),
        })?;
        Ok(Self {
            row_of,
            node_of,
            factors,
            branches,
            branch_of,
            injection,
            primitives,
        })
    }

    /// Rows of energised nodes; the row after the last is earth.
    pub(crate) fn rows(&self) -> usize {
        self.node_of.len()
    }

    pub(crate) fn primitive(&self, id: ElementId) -> Option<&Primitive> {
        self.primitives[id.0].as_ref()
    }
}
