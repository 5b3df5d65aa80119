//! A network in time: loads change step by step, each step is solved from the one before, and
//! regulators and capacitor banks act when their delays have passed. Taps, banks and switches
//! stay where they are until something moves them.
//!
//! Within a step everything is constant, so that powers times the step are its energies. A
//! control's delay ends at the first step that begins after it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::network::complex::{SQRT_3, magnitude};
use crate::network::control::Queue;
use crate::network::{
    CONTROL_STEPS_MAX, Controls, ElementId, Kind, Network, NetworkError, NodeId, Options, Phasor,
    PowerFlow, Regulator, Topology,
};
use crate::thermal::{ThermalData, Warmth};

/// What somebody does to the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Opens all phases of a terminal, from zero.
    Open {
        /// The switch, line, bank or transformer.
        element: ElementId,
        /// Its terminal.
        terminal: usize,
    },
    /// Closes all phases of a terminal, from zero.
    Close {
        /// The switch, line, bank or transformer.
        element: ElementId,
        /// Its terminal.
        terminal: usize,
    },
    /// Moves a regulator's tap to a position, steps from nominal; it is kept inside its range.
    Tap {
        /// The regulator's place in [`Network::regulators`].
        regulator: usize,
        /// The position.
        position: i32,
    },
    /// Blocks a regulator, which then keeps its tap.
    Block {
        /// The regulator's place in [`Network::regulators`].
        regulator: usize,
    },
    /// Lets a regulator act again.
    Release {
        /// The regulator's place in [`Network::regulators`].
        regulator: usize,
    },
}

impl Operation {
    /// Does it to a network that nobody is solving.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Control`] if there is no such terminal or regulator.
    pub fn apply(self, network: &mut Network) -> Result<(), NetworkError> {
        match self {
            Self::Open { element, terminal } => switch(network, element, terminal, false),
            Self::Close { element, terminal } => switch(network, element, terminal, true),
            Self::Tap {
                regulator,
                position,
            } => {
                let found = find_regulator(network, regulator)?;
                let (id, winding, tap) =
                    (found.transformer, found.tap_winding, found.tap(position));
                network.set_tap(id, winding, tap);
                Ok(())
            }
            Self::Block { regulator } => {
                find_regulator(network, regulator)?.active = false;
                Ok(())
            }
            Self::Release { regulator } => {
                find_regulator(network, regulator)?.active = true;
                Ok(())
            }
        }
    }
}

fn find_regulator(network: &mut Network, at: usize) -> Result<&mut Regulator, NetworkError> {
    let count = network.regulators.len();
    network
        .regulators
        .get_mut(at)
        .ok_or_else(|| NetworkError::Control {
            control: format!("an operation on regulator {at}"),
            what: format!("one of {count} regulators"),
        })
}

fn switch(
    network: &mut Network,
    id: ElementId,
    terminal: usize,
    closed: bool,
) -> Result<(), NetworkError> {
    let element = network.element(id);
    if terminal >= element.closed.len() {
        return Err(NetworkError::Control {
            control: format!("an operation on terminal {terminal}"),
            what: format!("{} of {} terminals", element.name, element.closed.len()),
        });
    }
    network.set_closed(id, terminal, closed);
    Ok(())
}

/// What one step has brought.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Step {
    /// Iterations of all its solutions.
    pub iterations: usize,
    /// Taps and banks that moved.
    pub moves: usize,
    /// Loads and plants that lost their source, in the order of the network.
    pub darkened: Vec<ElementId>,
    /// Loads and plants that got it back.
    pub lit: Vec<ElementId>,
}

/// A network in time.
#[derive(Debug, Clone)]
pub struct QuasiStatic {
    flow: PowerFlow,
    controls: Controls,
    queue: Queue,
    topology: Topology,
    switched: bool,
    energised: BTreeMap<ElementId, bool>,
    warmth: BTreeMap<ElementId, Warmth>,
    ambient: f64,
}

impl QuasiStatic {
    /// Ambient temperature until [`Self::set_ambient`] says another one, in °C: the yearly mean
    /// for which IEC 60076-7 rates.
    pub const AMBIENT: f64 = 20.0;

    /// A network at rest: its controls have settled for the loads that it has now, and its
    /// transformers have carried them for long.
    ///
    /// # Errors
    ///
    /// [`NetworkError`] if it has no source, no solution, or a control that does not settle.
    pub fn new(network: Network, options: Options) -> Result<Self, NetworkError> {
        let controls = options.controls;
        let mut flow = PowerFlow::new(network, options)?;
        flow.solve()?;
        // From here on controls act in time.
        flow.options_mut().controls = Controls::Held;
        let topology = Topology::of(flow.network());
        let mut new = Self {
            flow,
            controls,
            queue: Queue::default(),
            topology,
            switched: false,
            energised: BTreeMap::new(),
            warmth: BTreeMap::new(),
            ambient: Self::AMBIENT,
        };
        new.energised = new.look_at_loads();
        let transformers: Vec<_> = new.transformers().collect();
        for (id, kva) in transformers {
            let load = new.transformer_load(id);
            let warmth = Warmth::settled(ThermalData::of_rating(kva), load, new.ambient);
            new.warmth.insert(id, warmth);
        }
        Ok(new)
    }

    /// The network with its present solution.
    pub fn flow(&self) -> &PowerFlow {
        &self.flow
    }

    /// What feeds what, as of the last step.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// How warm a transformer is; `None` for what is no transformer, and for regulators.
    pub fn warmth(&self, transformer: ElementId) -> Option<&Warmth> {
        self.warmth.get(&transformer)
    }

    /// Sets the temperature outside, in °C.
    pub fn set_ambient(&mut self, ambient: f64) {
        self.ambient = ambient;
    }

    /// Sets the power of a load or a plant from the next step on, phase by phase, in VA;
    /// positive is consumed.
    ///
    /// # Panics
    ///
    /// If there is not one power for each phase.
    pub fn set_power(&mut self, id: ElementId, power: &[Phasor]) {
        self.flow.set_power(id, power);
    }

    /// Does something to the network; the next step shows it.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Control`] if there is no such terminal or regulator.
    pub fn operate(&mut self, operation: Operation) -> Result<(), NetworkError> {
        operation.apply(self.flow.network_mut())?;
        match operation {
            Operation::Open { .. } | Operation::Close { .. } => self.switched = true,
            Operation::Tap { .. } | Operation::Block { .. } | Operation::Release { .. } => {}
        }
        Ok(())
    }

    /// One step of time: controls whose delay has passed act, the loads as they were set are
    /// solved, and oil warms or cools.
    ///
    /// # Errors
    ///
    /// [`NetworkError`]; the network then stands as the last solution left it, and a further
    /// step may succeed.
    pub fn step(&mut self, time: Duration) -> Result<Step, NetworkError> {
        let mut step = Step {
            iterations: self.flow.solve()?.iterations,
            ..Step::default()
        };
        if self.controls == Controls::Active {
            for round in 1.. {
                self.queue.look(&self.flow)?;
                let moved = self.queue.act_due(&mut self.flow);
                if moved == 0 {
                    break;
                }
                if round > CONTROL_STEPS_MAX {
                    return Err(NetworkError::Restless {
                        control: self.queue.next_name(&self.flow),
                        steps: round,
                    });
                }
                step.moves += moved;
                step.iterations += self.flow.solve()?.iterations;
            }
            self.queue.pass(time.as_secs_f64());
            // A bank that was closed may be one of several ways to a node.
            self.switched |= step.moves > 0;
        }
        if core::mem::take(&mut self.switched) {
            self.topology = Topology::of(self.flow.network());
            let now = self.look_at_loads();
            for (id, energised) in &now {
                if self.energised.get(id) != Some(energised) {
                    let list = if *energised {
                        &mut step.lit
                    } else {
                        &mut step.darkened
                    };
                    list.push(*id);
                }
            }
            self.energised = now;
        }
        let loads: Vec<(ElementId, f64)> = self
            .warmth
            .keys()
            .map(|id| (*id, self.transformer_load(*id)))
            .collect();
        for (id, load) in loads {
            if let Some(warmth) = self.warmth.get_mut(&id) {
                warmth.pass(time, load, self.ambient);
            }
        }
        Ok(step)
    }

    /// Whether all phases of an element have a source.
    pub fn is_energised(&self, id: ElementId) -> bool {
        let element = self.flow.network().element(id);
        element.in_service
            && element
                .conductors
                .iter()
                .flatten()
                .all(|node: &NodeId| self.flow.is_energised(*node))
    }

    /// The largest current of a transformer's first winding as a share of the rated one.
    pub fn transformer_load(&self, id: ElementId) -> f64 {
        let Kind::Transformer(transformer) = &self.flow.network().element(id).kind else {
            return 0.0;
        };
        let first = &transformer.windings[0];
        let phases = u32::try_from(transformer.phases).map_or(1.0, f64::from);
        // Of the conductors, which a delta's windings share.
        let to_neutral = if transformer.phases == 1 {
            first.kv
        } else {
            first.kv / SQRT_3
        };
        let rated = first.kva / phases / to_neutral;
        let largest = self
            .flow
            .currents(id)
            .into_iter()
            .take(transformer.phases)
            .map(magnitude)
            .fold(0.0, f64::max);
        if rated > 0.0 { largest / rated } else { 0.0 }
    }

    /// Transformers that are no regulators, and their rated power in kVA.
    fn transformers(&self) -> impl Iterator<Item = (ElementId, f64)> {
        self.flow
            .network()
            .elements()
            .filter_map(|(id, element)| match &element.kind {
                Kind::Transformer(transformer) if !self.topology.is_regulator(id) => {
                    Some((id, transformer.windings[0].kva))
                }
                Kind::Transformer(_)
                | Kind::Source(_)
                | Kind::Line(_)
                | Kind::Sequence(_)
                | Kind::Capacitor(_)
                | Kind::Shunt(_)
                | Kind::Load(_)
                | Kind::Generator(_) => None,
            })
    }

    fn look_at_loads(&self) -> BTreeMap<ElementId, bool> {
        self.flow
            .network()
            .elements()
            .filter(|(_, element)| element.kind.load().is_some())
            .map(|(id, _)| (id, self.is_energised(id)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::balance;
    use crate::opendss::{Circuit, Shipped};

    const MINUTE: Duration = Duration::from_secs(60);

    fn feeder(name: &str, controls: Controls) -> QuasiStatic {
        let circuit = Circuit::read(&mut Shipped, Shipped::path(name).unwrap()).unwrap();
        let options = Options {
            controls,
            ..Options::default()
        };
        QuasiStatic::new(circuit.network, options).unwrap()
    }

    fn positions(sim: &QuasiStatic) -> Vec<i32> {
        let network = sim.flow().network();
        network
            .regulators
            .iter()
            .map(|regulator| {
                let tap = network.tap(regulator.transformer, regulator.tap_winding);
                regulator.position(tap.unwrap())
            })
            .collect()
    }

    fn scale(sim: &mut QuasiStatic, factor: f64) {
        let loads: Vec<_> = sim
            .flow()
            .network()
            .elements()
            .filter_map(|(id, element)| Some((id, element.kind.load()?.power.clone())))
            .collect();
        for (id, power) in loads {
            let power: Vec<Phasor> = power.iter().map(|power| power * factor).collect();
            sim.set_power(id, &power);
        }
    }

    #[test]
    fn regulators_wait_for_their_delay_and_keep_their_taps() {
        let mut sim = feeder("ieee13", Controls::Active);
        let rest = positions(&sim);
        assert_eq!(sim.step(MINUTE).unwrap().moves, 0);
        scale(&mut sim, 0.3);
        let second = Duration::from_secs(1);
        // Its delay is 15 s: what wants to move at second 0 moves at second 15.
        for at in 0..15 {
            assert_eq!(sim.step(second).unwrap().moves, 0, "{at}");
            assert_eq!(positions(&sim), rest, "{at}");
        }
        assert!(sim.step(second).unwrap().moves > 0);
        for _ in 0..10 {
            sim.step(MINUTE).unwrap();
        }
        let light = positions(&sim);
        assert!(light.iter().zip(&rest).all(|(now, then)| now < then));
        // Settled inside the band, they stay; a load that is a little larger does not move them.
        scale(&mut sim, 1.02);
        assert_eq!(sim.step(MINUTE).unwrap().moves, 0);
        assert_eq!(positions(&sim), light);
    }

    #[test]
    fn a_blocked_regulator_keeps_its_tap_until_it_is_moved_by_hand() {
        let mut sim = feeder("ieee13", Controls::Active);
        for regulator in 0..3 {
            sim.operate(Operation::Block { regulator }).unwrap();
        }
        let rest = positions(&sim);
        scale(&mut sim, 0.3);
        for _ in 0..3 {
            assert_eq!(sim.step(MINUTE).unwrap().moves, 0);
        }
        assert_eq!(positions(&sim), rest);
        let by_hand = Operation::Tap {
            regulator: 1,
            position: -40,
        };
        sim.operate(by_hand).unwrap();
        sim.step(MINUTE).unwrap();
        assert_eq!(positions(&sim), [rest[0], -16, rest[2]]);
        let beyond = Operation::Release { regulator: 3 };
        let error = sim.operate(beyond).unwrap_err();
        assert!(matches!(error, NetworkError::Control { .. }), "{error}");
    }

    #[test]
    fn an_open_switch_darkens_what_the_trace_names_until_it_closes() {
        let mut sim = feeder("ieee13", Controls::Active);
        sim.step(MINUTE).unwrap();
        let network = sim.flow().network();
        let element = network.find("line.671692").unwrap();
        let behind = sim
            .topology()
            .downstream(network.buses.find("692").unwrap());
        let traced: Vec<ElementId> = network
            .elements()
            .filter(|(_, element)| element.kind.load().is_some())
            .filter(|(_, element)| {
                let node = element.conductors.iter().flatten().next().unwrap();
                behind.contains(&network.buses.place(*node).bus)
            })
            .map(|(id, _)| id)
            .collect();
        assert!(!traced.is_empty());
        let open = Operation::Open {
            element,
            terminal: 0,
        };
        sim.operate(open).unwrap();
        let step = sim.step(MINUTE).unwrap();
        assert_eq!((step.darkened, step.lit), (traced.clone(), vec![]));
        for id in &traced {
            let dark = balance::phase_values(sim.flow(), *id);
            assert!(
                dark.iter()
                    .all(|phase| (phase.volts, phase.amperes) == (0.0, 0.0))
            );
        }
        let close = Operation::Close {
            element,
            terminal: 0,
        };
        sim.operate(close).unwrap();
        assert_eq!(sim.step(MINUTE).unwrap().lit, traced);
    }

    #[test]
    fn a_loaded_transformer_warms_and_a_held_network_has_no_moves() {
        let mut sim = feeder("eulv", Controls::Held);
        let id = sim.flow().network().find("transformer.tr1").unwrap();
        let cold = sim.warmth(id).unwrap().oil();
        scale(&mut sim, 6.0);
        for _ in 0..60 {
            assert_eq!(sim.step(MINUTE).unwrap().moves, 0);
        }
        let load = sim.transformer_load(id);
        assert!((0.35..0.65).contains(&load), "{load}");
        let warm = sim.warmth(id).unwrap();
        assert!(warm.oil() > cold + 1.0 && warm.hot_spot() > warm.oil());
    }
}
