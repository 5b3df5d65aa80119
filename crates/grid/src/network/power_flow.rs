//! The unbalanced power flow: fixed-point iteration of the loads' currents over a factorised
//! admittance matrix. One factorisation serves until a tap or a switch moves, so that a solution
//! from the one before costs a few substitutions.

use super::bus::{BusId, NodeId};
use super::complex::{Phasor, SQRT_3, ZERO, magnitude};
use super::element::{ElementId, Kind};
use super::error::NetworkError;
use super::model::Network;
use super::plan::{Loading, Plan};

/// Most iterations that may be asked for.
pub const ITERATIONS_MAX: usize = 10_000;

/// Whether regulators and capacitor controls act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controls {
    /// They act until all are content.
    Active,
    /// Taps and banks stay as they are.
    Held,
}

/// How a network is solved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// The largest change of a node's voltage in the last iteration, per unit of nominal.
    pub tolerance_pu: f64,
    /// Iterations per solution, at most [`ITERATIONS_MAX`].
    pub iterations_max: usize,
    /// Whether controls act.
    pub controls: Controls,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tolerance_pu: 1e-7,
            iterations_max: 200,
            controls: Controls::Active,
        }
    }
}

/// How a solution was reached.
#[derive(Debug, Clone, PartialEq)]
pub struct Convergence {
    /// Iterations, of all control steps together.
    pub iterations: usize,
    /// Times that taps or banks moved.
    pub control_steps: usize,
    /// Change of the last iteration, per unit.
    pub change_pu: f64,
    /// The node that changed most in it.
    pub worst: NodeId,
}

/// A network with its present solution.
#[derive(Debug, Clone)]
pub struct PowerFlow {
    network: Network,
    options: Options,
    pub(crate) plan: Plan,
    /// By row, and zero for earth.
    pub(crate) voltages: Vec<Phasor>,
    /// Nominal voltage squared by row.
    nominal: Vec<f64>,
    side: Vec<Phasor>,
    stale: bool,
    fresh: bool,
}

impl PowerFlow {
    /// Prepares a network. Buses without a nominal voltage get the one they have without loads.
    ///
    /// # Errors
    ///
    /// [`NetworkError`] if it has no source, or its matrix no inverse.
    pub fn new(mut network: Network, options: Options) -> Result<Self, NetworkError> {
        if network
            .buses
            .ids()
            .any(|bus| network.buses.base_volts(bus).is_none())
        {
            for (bus, volts) in unloaded_volts(&network)? {
                if network.buses.base_volts(bus).is_none() {
                    network.buses.set_base_volts(bus, volts);
                }
            }
        }
        let plan = Plan::of(&network, Loading::Full)?;
        let mut flow = Self {
            network,
            options,
            voltages: Vec::new(),
            nominal: Vec::new(),
            side: Vec::new(),
            plan,
            stale: false,
            fresh: true,
        };
        flow.reset();
        Ok(flow)
    }

    /// The network as it stands now, with the taps and banks its controls have set.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Options, to be changed between solutions.
    pub fn options_mut(&mut self) -> &mut Options {
        &mut self.options
    }

    /// The network, to be changed: the next solution factorises anew.
    pub fn network_mut(&mut self) -> &mut Network {
        self.stale = true;
        &mut self.network
    }

    /// Sets the power of a load or a plant, phase by phase, in VA; positive is consumed. Nothing
    /// is factorised anew.
    ///
    /// # Panics
    ///
    /// If there is not one power for each phase.
    pub fn set_power(&mut self, id: ElementId, power: &[Phasor]) {
        self.network.set_power(id, power);
        if let Some(first) = self.plan.branch_of[id.0] {
            for (branch, power) in self.plan.branches[first..].iter_mut().zip(power) {
                branch.power = *power;
            }
        }
    }

    /// Solves from the present voltages.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Diverged`] names the node that moves most; [`NetworkError::Restless`] a
    /// control that does not settle. The voltages are then those of the last iteration.
    pub fn solve(&mut self) -> Result<Convergence, NetworkError> {
        let acts = self.options.controls == Controls::Active;
        let mut search = super::tap_changer::Search::default();
        if acts {
            search = super::tap_changer::Search::begin(self);
        }
        if self.stale {
            self.prepare()?;
        }
        let mut done = self.iterate()?;
        super::voltage_regulator::hold(self, &mut done)?;
        if !acts {
            return Ok(done);
        }
        let mut queue = super::control::Queue::default();
        loop {
            if !queue.step(self)? {
                if !search.step(self)? {
                    return Ok(done);
                }
                done.control_steps += 1;
                self.prepare()?;
                self.again(&mut done)?;
                continue;
            }
            done.control_steps += 1;
            if done.control_steps > super::regulator::CONTROL_STEPS_MAX {
                return Err(NetworkError::Restless {
                    control: queue.next_name(self),
                    steps: done.control_steps,
                });
            }
            self.prepare()?;
            self.again(&mut done)?;
        }
    }

    /// Solves once more after a control has acted.
    fn again(&mut self, done: &mut Convergence) -> Result<(), NetworkError> {
        let next = self.iterate()?;
        done.iterations += next.iterations;
        done.change_pu = next.change_pu;
        done.worst = next.worst;
        super::voltage_regulator::hold(self, done)
    }

    pub(crate) fn tolerance_pu(&self) -> f64 {
        self.options.tolerance_pu
    }

    /// Voltage of a node to earth, in volts; zero where nothing feeds it.
    pub fn voltage(&self, node: NodeId) -> Phasor {
        self.voltages[self.plan.row_of[node.0]]
    }

    /// Magnitude of a node's voltage per unit of its bus's nominal one.
    pub fn per_unit(&self, node: NodeId) -> f64 {
        let bus = self.network.buses.place(node).bus;
        let base = self.network.buses.base_volts(bus).unwrap_or(1.0);
        magnitude(self.voltage(node)) / base
    }

    /// Whether a node has a source.
    pub fn is_energised(&self, node: NodeId) -> bool {
        self.plan.row_of[node.0] < self.plan.rows()
    }

    fn prepare(&mut self) -> Result<(), NetworkError> {
        let plan = Plan::of(&self.network, Loading::Full)?;
        let mut voltages = vec![ZERO; plan.rows() + 1];
        let mut fresh = self.fresh;
        for (row, node) in plan.node_of.iter().enumerate() {
            voltages[row] = self
                .plan
                .row_of
                .get(node.0)
                .map_or(ZERO, |old| self.voltages[*old]);
            // What was dead until now has no voltage to start from.
            fresh |= voltages[row] == ZERO;
        }
        self.plan = plan;
        if fresh {
            self.reset();
        } else {
            self.voltages = voltages;
            self.set_nominal();
        }
        self.stale = false;
        Ok(())
    }

    /// Starts from all loads as impedances.
    fn reset(&mut self) {
        let mut start = self.plan.injection.clone();
        let rows = self.plan.rows();
        self.plan.factors.solve(&mut start[..rows]);
        self.voltages = start;
        self.set_nominal();
        self.fresh = true;
    }

    fn set_nominal(&mut self) {
        let buses = &self.network.buses;
        self.nominal = self
            .plan
            .node_of
            .iter()
            .map(|node| {
                let volts = buses.base_volts(buses.place(*node).bus).unwrap_or(1.0);
                if volts > 0.0 { volts * volts } else { 1.0 }
            })
            .collect();
        self.side = vec![ZERO; self.plan.rows() + 1];
    }

    pub(crate) fn iterate(&mut self) -> Result<Convergence, NetworkError> {
        let rows = self.plan.rows();
        let limit = self.options.iterations_max.clamp(1, ITERATIONS_MAX);
        let tolerance = self.options.tolerance_pu * self.options.tolerance_pu;
        let mut share = 1.0;
        let mut before = f64::INFINITY;
        for iteration in 1..=limit {
            self.side.copy_from_slice(&self.plan.injection);
            for branch in &self.plan.branches {
                let volts = self.voltages[branch.from] - self.voltages[branch.to];
                let extra = branch.admittance * volts - branch.current(volts);
                self.side[branch.from] += extra;
                self.side[branch.to] -= extra;
            }
            self.plan.factors.solve(&mut self.side[..rows]);
            let mut largest = 0.0_f64;
            let mut worst = 0;
            for row in 0..rows {
                let step = self.side[row] - self.voltages[row];
                let size = (step.re * step.re + step.im * step.im) / self.nominal[row];
                // A value that is no number must not pass for a small one.
                if size > largest || size.is_nan() {
                    largest = if size.is_nan() { f64::INFINITY } else { size };
                    worst = row;
                }
                self.voltages[row] += step * share;
            }
            let node = self.plan.node_of[worst];
            if largest <= tolerance {
                self.fresh = false;
                return Ok(Convergence {
                    iterations: iteration,
                    control_steps: 0,
                    change_pu: largest.sqrt(),
                    worst: node,
                });
            }
            if iteration == limit || !largest.is_finite() {
                let volts_pu = self.per_unit(node);
                self.fresh = true;
                self.reset();
                return Err(NetworkError::Diverged {
                    node: self.network.buses.label(node),
                    iterations: iteration,
                    change_pu: largest.sqrt(),
                    volts_pu,
                    tolerance_pu: self.options.tolerance_pu,
                });
            }
            // Steps that grow are an oscillation around the solution: smaller ones damp it.
            if iteration > 4 && largest > before {
                share = f64::max(share * 0.7, 0.05);
            }
            before = largest;
        }
        unreachable!("the last iteration returns")
    }
}

/// What each bus has without loads: the highest of its nodes, phase to earth, in volts.
///
/// # Errors
///
/// [`NetworkError`] if the network has no source, or its matrix no inverse.
pub fn unloaded_volts(network: &Network) -> Result<Vec<(BusId, f64)>, NetworkError> {
    let mut plan = Plan::of(network, Loading::None)?;
    let rows = plan.rows();
    let mut voltages = plan.injection.clone();
    plan.factors.solve(&mut voltages[..rows]);
    let mut highest = vec![0.0_f64; network.buses.len()];
    for (row, node) in plan.node_of.iter().enumerate() {
        let bus = network.buses.place(*node).bus;
        highest[bus.0] = highest[bus.0].max(magnitude(voltages[row]));
    }
    Ok(network.buses.ids().zip(highest).collect())
}

/// Sets each bus's nominal voltage to the nearest of the given ones, in kV between phases.
///
/// # Errors
///
/// As [`unloaded_volts`].
pub fn assign_voltage_bases(network: &mut Network, bases_kv: &[f64]) -> Result<(), NetworkError> {
    for (bus, volts) in unloaded_volts(network)? {
        let nearest = bases_kv
            .iter()
            .map(|kv| kv * 1_000.0 / SQRT_3)
            .min_by(|a, b| (1.0 - volts / a).abs().total_cmp(&(1.0 - volts / b).abs()));
        match nearest {
            Some(base) if volts > 0.0 => network.buses.set_base_volts(bus, base),
            Some(_) | None => {}
        }
    }
    Ok(())
}

impl PowerFlow {
    /// Currents into each conductor of an element, in amperes; zero where it is open.
    pub fn currents(&self, id: ElementId) -> Vec<Phasor> {
        let element = self.network.element(id);
        let mut currents = vec![ZERO; element.conductors.len()];
        let Some(primitive) = self.plan.primitive(id) else {
            return currents;
        };
        let (width, _) = element.kind.shape();
        let closed = (0..currents.len()).filter(|at| element.closed[at / width]);
        if let (Some(load), Some(first)) = (element.kind.load(), self.plan.branch_of[id.0]) {
            for phase in 0..load.phases() {
                let branch = &self.plan.branches[first + phase];
                let volts = self.voltages[branch.from] - self.voltages[branch.to];
                let current = branch.current(volts);
                let (from, to) = load.connection.ends(phase, load.phases());
                currents[from] += current;
                currents[to] -= current;
            }
            return currents;
        }
        let mut volts: Vec<Phasor> = primitive
            .rows
            .iter()
            .map(|row| self.voltages[*row])
            .collect();
        if let Kind::Source(source) = &element.kind {
            for (volts, emf) in volts.iter_mut().zip(&source.emf) {
                *volts -= emf;
            }
        }
        for (at, current) in closed.zip(primitive.admittance.times(&volts)) {
            currents[at] = current;
        }
        currents
    }

    /// Current of one phase of a load or a plant, in amperes; `None` for other elements and for
    /// what is out of service.
    pub fn branch_current(&self, id: ElementId, phase: usize) -> Option<Phasor> {
        let branch = self.plan.branches.get(self.plan.branch_of[id.0]? + phase)?;
        Some(branch.current(self.voltages[branch.from] - self.voltages[branch.to]))
    }

    /// Power into each terminal of an element, in VA.
    pub fn powers(&self, id: ElementId) -> Vec<Phasor> {
        let element = self.network.element(id);
        let (width, terminals) = element.kind.shape();
        let mut powers = vec![ZERO; terminals];
        for (at, current) in self.currents(id).iter().enumerate() {
            if let Some(node) = element.conductors[at] {
                powers[at / width] += self.voltage(node) * current.conj();
            }
        }
        powers
    }
}
