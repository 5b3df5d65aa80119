//! What a remote terminal unit in a substation or at a pole shows of the network: measured values,
//! states and positions, typed.

use crate::network::complex::{ZERO, degrees, magnitude};
use crate::network::{ElementId, Kind, NodeId, Phasor};
use crate::quasi_static::QuasiStatic;

/// What one conductor shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConductorValues {
    /// The node's number at its bus: 1, 2 and 3 are phases.
    pub number: u8,
    /// Voltage to earth, in volts; zero where there is no source.
    pub volts: f64,
    /// Its angle, in degrees.
    pub degrees: f64,
    /// Current into the element, in amperes.
    pub amperes: f64,
    /// Active power into the element, in watts.
    pub watts: f64,
    /// Reactive power into the element, in vars.
    pub vars: f64,
}

/// What one terminal of an element shows.
#[derive(Debug, Clone, PartialEq)]
pub struct TerminalValues {
    /// Closed, or open.
    pub is_closed: bool,
    /// Conductors that are not earthed, in the order of the element.
    pub conductors: Vec<ConductorValues>,
}

impl TerminalValues {
    /// Active power of all conductors into the element, in watts.
    pub fn watts(&self) -> f64 {
        self.conductors.iter().map(|one| one.watts).sum()
    }

    /// Reactive power of all conductors into the element, in vars.
    pub fn vars(&self) -> f64 {
        self.conductors.iter().map(|one| one.vars).sum()
    }
}

/// What is peculiar to a kind of equipment.
#[derive(Debug, Clone, PartialEq)]
pub enum Equipment {
    /// A source: what the feeder takes.
    Source,
    /// A line, a switch or a breaker.
    Branch {
        /// Its largest current as a share of its rating, if it has one.
        loading: Option<f64>,
    },
    /// A transformer.
    Transformer {
        /// Its largest current as a share of the rated one.
        loading: f64,
        /// Top oil in °C, if it is watched.
        oil: Option<f64>,
        /// Hot spot in °C, if it is watched.
        hot_spot: Option<f64>,
        /// The regulator that moves its tap, by its place in the network, and the tap's position
        /// in steps from nominal.
        tap: Option<(usize, i32)>,
    },
    /// A capacitor bank; its state is that of its terminal.
    Bank,
}

/// All values of one element, as an RTU reads them at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct RtuValues {
    /// The element.
    pub element: ElementId,
    /// Class and name.
    pub name: String,
    /// Whether every conductor has a source.
    pub is_energised: bool,
    /// Terminal by terminal.
    pub terminals: Vec<TerminalValues>,
    /// What its kind shows besides.
    pub equipment: Equipment,
}

/// Reads an element; `None` for what no RTU watches: loads, plants and shunts.
pub fn read(sim: &QuasiStatic, id: ElementId) -> Option<RtuValues> {
    let flow = sim.flow();
    let element = flow.network().element(id);
    let equipment = match &element.kind {
        Kind::Source(_) => Equipment::Source,
        Kind::Line(line) => {
            let largest = flow
                .currents(id)
                .into_iter()
                .map(magnitude)
                .fold(0.0, f64::max);
            let rating = line.rating_amperes.filter(|rating| *rating > 0.0);
            Equipment::Branch {
                loading: rating.map(|rating| largest / rating),
            }
        }
        Kind::Sequence(_) => Equipment::Branch { loading: None },
        Kind::Transformer(_) => {
            let warmth = sim.warmth(id);
            Equipment::Transformer {
                loading: sim.transformer_load(id),
                oil: warmth.map(crate::thermal::Warmth::oil),
                hot_spot: warmth.map(crate::thermal::Warmth::hot_spot),
                tap: tap_of(sim, id),
            }
        }
        Kind::Capacitor(_) => Equipment::Bank,
        Kind::Shunt(_) | Kind::Load(_) | Kind::Generator(_) => return None,
    };
    let currents = flow.currents(id);
    let (width, terminals) = element.kind.shape();
    let conductor = |at: usize, node: NodeId, current: Phasor| {
        let volts = if flow.is_energised(node) {
            flow.voltage(node)
        } else {
            ZERO
        };
        let power = volts * current.conj();
        ConductorValues {
            number: flow.network().buses.place(node).number,
            volts: magnitude(volts),
            degrees: degrees(volts),
            amperes: magnitude(currents[at]),
            watts: power.re,
            vars: power.im,
        }
    };
    Some(RtuValues {
        element: id,
        name: element.name.clone(),
        is_energised: sim.is_energised(id),
        terminals: (0..terminals)
            .map(|terminal| TerminalValues {
                is_closed: element.closed[terminal] && element.in_service,
                conductors: (terminal * width..(terminal + 1) * width)
                    .filter_map(|at| Some(conductor(at, element.conductors[at]?, currents[at])))
                    .collect(),
            })
            .collect(),
        equipment,
    })
}

/// Every element that an RTU watches, in the order of the network.
pub fn read_all(sim: &QuasiStatic) -> impl Iterator<Item = RtuValues> {
    let ids = sim.flow().network().elements().map(|(id, _)| id);
    ids.filter_map(|id| read(sim, id))
}

fn tap_of(sim: &QuasiStatic, id: ElementId) -> Option<(usize, i32)> {
    let network = sim.flow().network();
    let (at, regulator) = network
        .regulators
        .iter()
        .enumerate()
        .find(|(_, regulator)| regulator.transformer == id)?;
    let tap = network.tap(id, regulator.tap_winding)?;
    Some((at, regulator.position(tap)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Controls, Options, balance};
    use crate::opendss::{Circuit, Shipped};
    use crate::quasi_static::Operation;
    use std::time::Duration;

    #[test]
    fn substation_values_are_those_of_the_solution() {
        let circuit = Circuit::read(&mut Shipped, Shipped::path("ieee13").unwrap()).unwrap();
        let options = Options {
            controls: Controls::Active,
            tolerance_pu: 1e-9,
            ..Options::default()
        };
        let mut sim = QuasiStatic::new(circuit.network, options).unwrap();
        sim.step(Duration::from_secs(60)).unwrap();
        let find = |sim: &QuasiStatic, name: &str| {
            let id = sim.flow().network().find(name).unwrap();
            read(sim, id).unwrap()
        };
        let source = find(&sim, "vsource.source");
        let totals = balance::totals(sim.flow());
        assert!((source.terminals[0].watts() + totals.supplied.0).abs() < 1.0);
        // Power into all terminals of a transformer is its loss.
        let transformer = find(&sim, "transformer.sub");
        let lost: f64 = transformer
            .terminals
            .iter()
            .map(TerminalValues::watts)
            .sum();
        assert!(lost > 0.0 && lost < 30_000.0, "{lost}");
        let Equipment::Transformer { loading, oil, .. } = transformer.equipment else {
            panic!("{transformer:?}")
        };
        assert!((0.5..1.2).contains(&loading) && oil.unwrap() > 20.0);
        let Equipment::Transformer { tap, oil, .. } = find(&sim, "transformer.reg1").equipment
        else {
            panic!()
        };
        assert!(tap.is_some_and(|(at, position)| at == 0 && position > 0));
        assert_eq!(oil, None, "a regulator has no thermal model");
        let bank = find(&sim, "capacitor.cap1");
        assert!(bank.terminals[0].is_closed && bank.terminals[0].vars() < -500_000.0);
        let breaker = sim.flow().network().find("line.671692").unwrap();
        let open = Operation::Open {
            element: breaker,
            terminal: 1,
        };
        sim.operate(open).unwrap();
        sim.step(Duration::from_secs(60)).unwrap();
        let breaker = find(&sim, "line.671692");
        let states = breaker.terminals.iter().map(|one| one.is_closed);
        assert_eq!(states.collect::<Vec<_>>(), [true, false]);
        let dark = &breaker.terminals[1].conductors;
        assert!(dark.iter().all(|one| one.volts == 0.0 && one.watts == 0.0));
        assert!(breaker.terminals[0].conductors[0].volts > 2_000.0);
    }
}
