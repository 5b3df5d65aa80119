//! What stands between buses.

use super::bus::Terminal;
use super::capacitor::{Capacitor, branches};
use super::complex::{Phasor, ZERO, magnitude};
use super::line::Line;
use super::load::{Generator, Load};
use super::matrix::Matrix;
use super::sequence_branch::SequenceBranch;
use super::source::Source;
use super::transformer::Transformer;

/// An element's number, given in the order of their adding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ElementId(pub(crate) usize);

/// What an element is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A supply.
    Source(Source),
    /// A line, a cable, a switch or a series reactor.
    Line(Line),
    /// A transformer or a regulator's autotransformer.
    Transformer(Transformer),
    /// A branch given by its sequence admittances.
    Sequence(SequenceBranch),
    /// A capacitor bank.
    Capacitor(Capacitor),
    /// A constant shunt admittance of its conductors, in siemens.
    Shunt(Matrix),
    /// A load.
    Load(Load),
    /// Generation, storage, a charging point.
    Generator(Generator),
}

impl Kind {
    /// The load's side of it, for loads and generation.
    pub fn load(&self) -> Option<&Load> {
        match self {
            Self::Load(load) | Self::Generator(Generator { load, .. }) => Some(load),
            Self::Source(_)
            | Self::Line(_)
            | Self::Transformer(_)
            | Self::Sequence(_)
            | Self::Capacitor(_)
            | Self::Shunt(_) => None,
        }
    }

    pub(crate) fn load_mut(&mut self) -> Option<&mut Load> {
        match self {
            Self::Load(load) | Self::Generator(Generator { load, .. }) => Some(load),
            Self::Source(_)
            | Self::Line(_)
            | Self::Transformer(_)
            | Self::Sequence(_)
            | Self::Capacitor(_)
            | Self::Shunt(_) => None,
        }
    }

    /// How many conductors each terminal has, and how many terminals.
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Self::Source(source) => (source.emf.len(), 1),
            Self::Line(line) => (line.impedance.order(), 2),
            Self::Transformer(transformer) => {
                (transformer.conductors(), transformer.windings.len())
            }
            Self::Sequence(branch) => (branch.phases(), branch.terminals()),
            Self::Capacitor(bank) => (bank.connection.conductors(bank.phases), 1),
            Self::Shunt(matrix) => (matrix.order(), 1),
            Self::Load(load) | Self::Generator(Generator { load, .. }) => {
                (load.connection.conductors(load.phases()), 1)
            }
        }
    }

    /// The nodal admittance of all conductors; for loads what stands for them in the matrix.
    /// `None` if an impedance has no inverse.
    pub(crate) fn admittance(&self) -> Option<Matrix> {
        match self {
            Self::Source(source) => source.impedance.inverse(),
            Self::Line(line) => line.admittance(),
            Self::Transformer(transformer) => transformer.admittance(),
            Self::Sequence(branch) => Some(branch.admittance()),
            Self::Capacitor(bank) => Some(bank.admittance()),
            Self::Shunt(matrix) => Some(matrix.clone()),
            Self::Load(load) | Self::Generator(Generator { load, .. }) => {
                let volts = load.phase_volts();
                let phases = load.phases();
                let mut whole = branches(load.connection, phases, ZERO);
                for (phase, power) in load.power.iter().enumerate() {
                    let each = stand_in(*power, volts);
                    let (one, other) = load.connection.ends(phase, phases);
                    *whole.at(one, one) += each;
                    *whole.at(other, other) += each;
                    *whole.at(one, other) -= each;
                    *whole.at(other, one) -= each;
                }
                Some(whole)
            }
        }
    }
}

/// The admittance that stands for a power in the matrix. Only consumption does: the impedance
/// of what feeds in would be negative, and could make the matrix singular.
pub(crate) fn stand_in(power: Phasor, volts: f64) -> Phasor {
    if power.re < 0.0 || !power.re.is_finite() {
        ZERO
    } else {
        power.conj() / (volts * volts)
    }
}

/// One element in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Element {
    /// Class and name, such as `line.650632`; unique in the network.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Where each conductor ends, terminal by terminal.
    pub conductors: Vec<Terminal>,
    /// Which terminals are closed.
    pub closed: Vec<bool>,
    /// Out of service: as if it were not there.
    pub in_service: bool,
}

impl Element {
    /// The conductors of one terminal.
    pub fn terminal(&self, terminal: usize) -> &[Terminal] {
        let (width, _) = self.kind.shape();
        &self.conductors[terminal * width..(terminal + 1) * width]
    }

    /// The admittance of its closed conductors, and which those are; what is open at one end
    /// still draws its charging current at the other.
    pub(crate) fn primitive(&self) -> Option<(Vec<Terminal>, Matrix)> {
        let whole = self.kind.admittance()?;
        if self.closed.iter().all(|closed| *closed) {
            return Some((self.conductors.clone(), whole));
        }
        let (width, _) = self.kind.shape();
        let is_closed = |conductor: &usize| self.closed[conductor / width];
        let mut order: Vec<usize> = (0..self.conductors.len()).filter(is_closed).collect();
        let keep = order.len();
        order.extend((0..self.conductors.len()).filter(|at| !is_closed(at)));
        let mut reduced = whole.selected(&order).reduced(keep);
        // What is left of a series branch is rounding; it must not pass for a connection.
        let largest = (0..keep)
            .map(|at| magnitude(whole.get(order[at], order[at])))
            .fold(0.0, f64::max);
        for row in 0..keep {
            for column in 0..keep {
                if magnitude(reduced.get(row, column)) < largest * 1e-13 {
                    *reduced.at(row, column) = ZERO;
                }
            }
        }
        order.truncate(keep);
        let conductors = order.iter().map(|&at| self.conductors[at]).collect();
        Some((conductors, reduced))
    }
}
