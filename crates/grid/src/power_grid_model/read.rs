//! From components to a network.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::batch::components;
use super::transformer::{self, Tap};
use super::value::{Component, GridError};
use crate::network::complex::{SQRT_3, inverse, polar};
use crate::network::{
    BusId, Connection, ElementId, Generator, Kind, Law, Line, Load, Matrix, Network, Phasor, Plant,
    SequenceBranch, Source, VoltageLimits,
};

/// Most components of a grid.
pub const COMPONENTS_MAX: usize = 400_000;

/// System frequency, in hertz.
const FREQUENCY_HZ: f64 = 50.0;

/// How a grid is to be calculated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calculation {
    /// One phase stands for all.
    Symmetric,
    /// All three phases.
    Asymmetric,
}

/// A grid as read.
#[derive(Debug, Clone)]
pub struct Grid {
    /// The network.
    pub network: Network,
    /// Buses by the file's node ids.
    pub nodes: BTreeMap<i64, BusId>,
    /// Elements by the file's component ids.
    pub elements: BTreeMap<i64, ElementId>,
}

/// Nodes and statuses of a branch's terminals.
const BRANCH: [(&str, &str); 2] = [("from_node", "from_status"), ("to_node", "to_status")];
const BRANCH_OF_THREE: [(&str, &str); 3] = [
    ("node_1", "status_1"),
    ("node_2", "status_2"),
    ("node_3", "status_3"),
];

pub(super) struct Builder<'a> {
    pub(super) grid: Grid,
    calculation: Calculation,
    /// Transformers by id, for the regulators of their taps.
    pub(super) transformers: BTreeMap<i64, Component<'a>>,
    /// Nominal voltage between phases by node, in volts.
    nominal: BTreeMap<i64, f64>,
}

impl Grid {
    /// Reads a grid.
    ///
    /// # Errors
    ///
    /// [`GridError`] names the component and attribute.
    pub fn read(text: &str, calculation: Calculation) -> Result<Self, GridError> {
        Self::of(&components(text)?, calculation)
    }

    pub(super) fn of(
        data: &Map<String, Value>,
        calculation: Calculation,
    ) -> Result<Self, GridError> {
        let mut builder = Builder {
            grid: Self {
                network: Network::new(),
                nodes: BTreeMap::new(),
                elements: BTreeMap::new(),
            },
            calculation,
            nominal: BTreeMap::new(),
            transformers: BTreeMap::new(),
        };
        let mut count = 0;
        // Nodes come first and regulators last, whatever their place in the file.
        for stage in 0..3 {
            for (kind, list) in data.iter().filter(|(kind, _)| stage_of(kind) == stage) {
                let list = list.as_array().ok_or_else(|| GridError::Shape {
                    reason: format!("{kind} is no list"),
                })?;
                count += list.len();
                if count > COMPONENTS_MAX {
                    return Err(GridError::TooLarge {
                        max: COMPONENTS_MAX,
                    });
                }
                for value in list {
                    builder.component(&Component::of(kind, value)?)?;
                }
            }
        }
        Ok(builder.grid)
    }
}

fn stage_of(kind: &str) -> usize {
    match kind {
        "node" => 0,
        "transformer_tap_regulator" | "voltage_regulator" => 2,
        _ => 1,
    }
}

impl<'a> Builder<'a> {
    fn component(&mut self, of: &Component<'a>) -> Result<(), GridError> {
        match of.kind {
            "node" => {
                let volts = of.positive("u_rated")?;
                let bus = self.grid.network.buses.bus(&of.id.to_string());
                self.grid.network.buses.set_base_volts(bus, volts / SQRT_3);
                let numbers: &[u8] = if self.is_symmetric() {
                    &[1]
                } else {
                    &[1, 2, 3]
                };
                for number in numbers {
                    self.grid.network.buses.node(bus, *number);
                }
                self.grid.nodes.insert(of.id, bus);
                self.nominal.insert(of.id, volts);
                Ok(())
            }
            "source" => self.source(of),
            "line" => self.line(of),
            "asym_line" => self.asym_line(of),
            "link" => self.link(of),
            "generic_branch" => self.generic_branch(of),
            "transformer_tap_regulator" => self.tap_regulator(of),
            "voltage_regulator" => self.voltage_regulator(of),
            "transformer" => {
                self.transformers.insert(of.id, *of);
                let tap = Tap::of(of)?;
                let (positive, zero) = transformer::two_windings(of, &tap, tap.position)?;
                let kind = Kind::Sequence(self.sequence_branch(positive, zero));
                self.branch(of, kind, &BRANCH)
            }
            "three_winding_transformer" => {
                self.transformers.insert(of.id, *of);
                let tap = Tap::of(of)?;
                let (positive, zero) = transformer::three_windings(of, &tap, tap.position)?;
                let kind = Kind::Sequence(self.sequence_branch(positive, zero));
                self.branch(of, kind, &BRANCH_OF_THREE)
            }
            "shunt" => self.shunt(of),
            "sym_load" | "asym_load" | "sym_gen" | "asym_gen" => self.load(of),
            "sym_voltage_sensor"
            | "asym_voltage_sensor"
            | "sym_power_sensor"
            | "asym_power_sensor"
            | "sym_current_sensor"
            | "asym_current_sensor"
            | "fault" => Ok(()),
            kind => Err(GridError::Kind {
                kind: kind.to_owned(),
            }),
        }
    }

    pub(super) fn is_symmetric(&self) -> bool {
        self.calculation == Calculation::Symmetric
    }

    pub(super) fn sequence_branch(&self, positive: Matrix, zero: Matrix) -> SequenceBranch {
        if self.is_symmetric() {
            SequenceBranch::single_line(positive)
        } else {
            SequenceBranch::three_phase(positive, zero)
        }
    }

    fn volts(&self, of: &Component<'_>, attribute: &str) -> Result<(i64, f64), GridError> {
        let node = of.whole(attribute)?;
        self.nominal
            .get(&node)
            .map(|volts| (node, *volts))
            .ok_or_else(|| of.wrong(attribute, "the id of a node"))
    }

    /// The conductors at a node.
    fn conductors(&mut self, node: i64) -> Vec<crate::network::Terminal> {
        let numbers: &[u8] = if self.is_symmetric() {
            &[1]
        } else {
            &[1, 2, 3]
        };
        self.grid.network.terminal(&node.to_string(), numbers)
    }

    fn add(
        &mut self,
        of: &Component<'_>,
        kind: Kind,
        conductors: Vec<crate::network::Terminal>,
    ) -> Result<ElementId, GridError> {
        let name = format!("{}.{}", of.kind, of.id);
        let id = self
            .grid
            .network
            .add(&name, kind, conductors)
            .map_err(|error| of.network(error))?;
        self.grid.elements.insert(of.id, id);
        Ok(id)
    }

    fn branch(
        &mut self,
        of: &Component<'_>,
        kind: Kind,
        terminals: &[(&str, &str)],
    ) -> Result<(), GridError> {
        let mut conductors = Vec::new();
        for (node, _) in terminals {
            let (node, _) = self.volts(of, node)?;
            conductors.extend(self.conductors(node));
        }
        let id = self.add(of, kind, conductors)?;
        for (terminal, (_, attribute)) in terminals.iter().enumerate() {
            let closed = of.status(attribute)?;
            self.grid.network.set_closed(id, terminal, closed);
        }
        Ok(())
    }

    fn source(&mut self, of: &Component<'_>) -> Result<(), GridError> {
        let (node, volts) = self.volts(of, "node")?;
        let angle = of.number_or("u_ref_angle", 0.0)?.to_degrees();
        let rx = of.number_or("rx_ratio", 0.1)?;
        let whole = volts * volts / of.number_or("sk", 1e10)?;
        let x = whole / (1.0 + rx * rx).sqrt();
        let positive = Phasor::new(x * rx, x);
        let zero = positive * of.number_or("z01_ratio", 1.0)?;
        let phases = if self.is_symmetric() { 1 } else { 3 };
        let emf = of.positive("u_ref")? * volts / SQRT_3;
        let source = Source::symmetrical(phases, emf, angle, positive, zero);
        let conductors = self.conductors(node);
        let id = self.add(of, Kind::Source(source), conductors)?;
        self.grid.network.set_in_service(id, of.status("status")?);
        Ok(())
    }

    fn line(&mut self, of: &Component<'_>) -> Result<(), GridError> {
        let omega = core::f64::consts::TAU * FREQUENCY_HZ;
        let sequence = |r: f64, x: f64, c: f64, tan: f64| {
            let shunt = Phasor::new(tan, 1.0) * (omega * c);
            SequenceBranch::pi(inverse(Phasor::new(r, x)), shunt, Phasor::new(1.0, 0.0))
        };
        let (r1, x1) = (of.number("r1")?, of.number("x1")?);
        if r1 == 0.0 && x1 == 0.0 {
            return Err(of.wrong("x1", "an impedance above zero"));
        }
        let positive = sequence(r1, x1, of.number("c1")?, of.number("tan1")?);
        let zero = if self.is_symmetric() {
            positive.clone()
        } else {
            sequence(
                of.number("r0")?,
                of.number("x0")?,
                of.number("c0")?,
                of.number("tan0")?,
            )
        };
        self.branch(
            of,
            Kind::Sequence(self.sequence_branch(positive, zero)),
            &BRANCH,
        )
    }

    fn asym_line(&mut self, of: &Component<'_>) -> Result<(), GridError> {
        let names = ["a", "b", "c", "n"];
        let order = if of.has("r_nn") { 4 } else { 3 };
        let mut impedance = Matrix::zeros(order);
        for row in 0..order {
            for column in 0..=row {
                let pair = format!("{}{}", names[row], names[column]);
                let value = Phasor::new(
                    of.number(&format!("r_{pair}"))?,
                    of.number(&format!("x_{pair}"))?,
                );
                *impedance.at(row, column) = value;
                *impedance.at(column, row) = value;
            }
        }
        let impedance = impedance.reduced(3);
        let omega = core::f64::consts::TAU * FREQUENCY_HZ;
        let capacitance = if of.has("c0") {
            let of = |name: &str| of.number(name).map(|c| Phasor::new(0.0, omega * c));
            Matrix::from_sequence(3, of("c1")?, of("c0")?)
        } else {
            let mut matrix = Matrix::zeros(3);
            for row in 0..3 {
                for column in 0..=row {
                    let pair = format!("c_{}{}", names[row], names[column]);
                    let value = Phasor::new(0.0, omega * of.number(&pair)?);
                    *matrix.at(row, column) = value;
                    *matrix.at(column, row) = value;
                }
            }
            matrix
        };
        let (impedance, shunt) = if self.is_symmetric() {
            (positive_part(&impedance), positive_part(&capacitance))
        } else {
            (impedance, capacitance)
        };
        let line = Line {
            impedance,
            shunt,
            rating_amperes: Some(of.number_or("i_n", 0.0)?),
        };
        self.branch(of, Kind::Line(line), &BRANCH)
    }

    /// A link has no impedance worth speaking of: a million per unit at one MVA.
    fn link(&mut self, of: &Component<'_>) -> Result<(), GridError> {
        let (_, volts) = self.volts(of, "from_node")?;
        let series = Phasor::new(1.0, 1.0) * (1e6 * 1e6 / (volts * volts));
        let matrix = SequenceBranch::pi(series, Phasor::new(0.0, 0.0), Phasor::new(1.0, 0.0));
        self.branch(
            of,
            Kind::Sequence(self.sequence_branch(matrix.clone(), matrix)),
            &BRANCH,
        )
    }

    fn generic_branch(&mut self, of: &Component<'_>) -> Result<(), GridError> {
        let (_, from) = self.volts(of, "from_node")?;
        let (_, to) = self.volts(of, "to_node")?;
        if !self.is_symmetric() {
            return Err(of.wrong("id", "a symmetric calculation"));
        }
        let series = inverse(Phasor::new(of.number("r1")?, of.number("x1")?));
        let shunt = Phasor::new(of.number("g1")?, of.number("b1")?);
        let angle = of.number_or("theta", 0.0)?.to_degrees();
        let ratio = polar(of.number_or("k", 1.0)? * from / to, angle);
        let matrix = SequenceBranch::pi(series, shunt, ratio);
        self.branch(
            of,
            Kind::Sequence(self.sequence_branch(matrix.clone(), matrix)),
            &BRANCH,
        )
    }

    fn shunt(&mut self, of: &Component<'_>) -> Result<(), GridError> {
        let (node, _) = self.volts(of, "node")?;
        let positive = Phasor::new(of.number("g1")?, of.number("b1")?);
        let matrix = if self.is_symmetric() {
            Matrix::balanced(1, positive, positive)
        } else {
            let zero = Phasor::new(of.number("g0")?, of.number("b0")?);
            Matrix::from_sequence(3, positive, zero)
        };
        let conductors = self.conductors(node);
        let id = self.add(of, Kind::Shunt(matrix), conductors)?;
        self.grid.network.set_in_service(id, of.status("status")?);
        Ok(())
    }

    fn load(&mut self, of: &Component<'_>) -> Result<(), GridError> {
        let (node, volts) = self.volts(of, "node")?;
        let each: [Phasor; 3] = if of.kind.starts_with("sym") {
            [Phasor::new(of.number("p_specified")?, of.number("q_specified")?) / 3.0; 3]
        } else {
            let (p, q) = (of.phases("p_specified")?, of.phases("q_specified")?);
            core::array::from_fn(|phase| Phasor::new(p[phase], q[phase]))
        };
        let generates = of.kind.ends_with("gen");
        let sign = if generates { -1.0 } else { 1.0 };
        let power: Vec<Phasor> = if self.is_symmetric() {
            vec![(each[0] + each[1] + each[2]) * (sign / 3.0)]
        } else {
            each.iter().map(|power| power * sign).collect()
        };
        let law = match of.whole("type")? {
            0 => Law::Power,
            1 => Law::Impedance,
            2 => Law::Current,
            _ => return Err(of.wrong("type", "0, 1 or 2")),
        };
        let kv = if self.is_symmetric() {
            volts / SQRT_3
        } else {
            volts
        } / 1_000.0;
        let connection = Connection::Wye;
        let load = Load {
            power,
            kv,
            connection,
            law,
            limits: VoltageLimits::NONE,
        };
        let kind = if generates {
            Kind::Generator(Generator {
                plant: Plant::Machine,
                load,
            })
        } else {
            Kind::Load(load)
        };
        let mut conductors = self.conductors(node);
        conductors.push(None);
        let id = self.add(of, kind, conductors)?;
        self.grid.network.set_in_service(id, of.status("status")?);
        Ok(())
    }
}

/// What the positive sequence sees of three phases.
fn positive_part(matrix: &Matrix) -> Matrix {
    let own = (matrix.get(0, 0) + matrix.get(1, 1) + matrix.get(2, 2)) / 3.0;
    let mutual = (matrix.get(0, 1) + matrix.get(1, 2) + matrix.get(0, 2)) / 3.0;
    Matrix::balanced(1, own - mutual, Phasor::new(0.0, 0.0))
}
