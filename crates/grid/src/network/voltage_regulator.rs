//! Plants that hold the voltage of their nodes with reactive power, as far as they have some.

use std::collections::BTreeMap;

use super::complex::{Phasor, ZERO, magnitude};
use super::element::ElementId;
use super::error::NetworkError;
use super::power_flow::{Convergence, PowerFlow};

/// Most corrections of the reactive powers in one solution; more means that no reactive power
/// holds the voltage, which is [`NetworkError::Restless`].
pub const CORRECTIONS_MAX: usize = 60;

/// A regulator of one plant's or load's reactive power, each phase by itself. Those at the same
/// node work together.
#[derive(Debug, Clone, PartialEq)]
pub struct VoltageRegulator {
    /// Its name.
    pub name: String,
    /// The plant or load.
    pub element: ElementId,
    /// The voltage to hold in each phase, to earth, in volts.
    pub target_volts: f64,
    /// Least and most reactive power fed in, of all phases together, in vars; infinite where
    /// nobody said. Each phase has its part.
    pub vars: (f64, f64),
    /// Whether it acts.
    pub active: bool,
}

/// Regulators of one node.
struct Group {
    /// Regulator and its phase, with its limits in that phase.
    members: Vec<Member>,
    target: f64,
    low: f64,
    high: f64,
    /// Reactive power fed in, by all members.
    vars: f64,
    row: usize,
}

#[derive(Clone, Copy)]
struct Member {
    regulator: usize,
    phase: usize,
    low: f64,
    high: f64,
}

/// Corrects reactive powers until every node has its voltage or its regulators are at a limit.
pub(crate) fn hold(flow: &mut PowerFlow, done: &mut Convergence) -> Result<(), NetworkError> {
    let mut groups = groups(flow);
    if groups.is_empty() {
        return Ok(());
    }
    for group in &mut groups {
        group.vars = group.vars.min(group.high).max(group.low);
        share(flow, group);
    }
    for _ in 0..CORRECTIONS_MAX {
        let next = flow.iterate()?;
        done.iterations += next.iterations;
        done.change_pu = next.change_pu;
        done.worst = next.worst;
        let errors: Vec<f64> = groups.iter().map(|group| error(flow, group)).collect();
        let free: Vec<usize> = (0..groups.len())
            .filter(|at| {
                let (group, error) = (&groups[*at], errors[*at]);
                !(error > 0.0 && group.vars >= group.high || error < 0.0 && group.vars <= group.low)
            })
            .collect();
        let settled = free
            .iter()
            .all(|at| errors[*at].abs() <= groups[*at].target * flow.tolerance_pu().max(1e-9));
        if settled {
            return Ok(());
        }
        let sensitivity = sensitivity(flow, &groups, &free);
        let wanted: Vec<f64> = free.iter().map(|at| errors[*at]).collect();
        let Some(steps) = solved(sensitivity, wanted) else {
            break;
        };
        for (at, step) in free.iter().zip(steps) {
            let group = &mut groups[*at];
            group.vars = (group.vars + step).min(group.high).max(group.low);
            share(flow, group);
        }
    }
    let worst = groups
        .iter()
        .flat_map(|group| &group.members)
        .next()
        .map_or_else(String::new, |member| {
            flow.network().voltage_regulators[member.regulator]
                .name
                .clone()
        });
    Err(NetworkError::Restless {
        control: worst,
        steps: CORRECTIONS_MAX,
    })
}

fn groups(flow: &PowerFlow) -> Vec<Group> {
    let network = flow.network();
    let mut by_row: BTreeMap<usize, Group> = BTreeMap::new();
    for (at, regulator) in network.voltage_regulators.iter().enumerate() {
        let element = network.element(regulator.element);
        let closed = element.closed.iter().all(|closed| *closed);
        let Some(load) = element.kind.load() else {
            continue;
        };
        if !regulator.active || !element.in_service || !closed {
            continue;
        }
        let share = u32::try_from(load.phases()).map_or(1.0, f64::from);
        for (phase, power) in load.power.iter().enumerate() {
            let (end, _) = load.connection.ends(phase, load.phases());
            let Some(node) = element.conductors[end].filter(|node| flow.is_energised(*node)) else {
                continue;
            };
            let member = Member {
                regulator: at,
                phase,
                low: regulator.vars.0 / share,
                high: regulator.vars.1 / share,
            };
            let row = flow.plan.row_of[node.0];
            let group = by_row.entry(row).or_insert_with(|| Group {
                members: Vec::new(),
                target: regulator.target_volts,
                low: 0.0,
                high: 0.0,
                vars: 0.0,
                row,
            });
            group.members.push(member);
            group.low += member.low;
            group.high += member.high;
            group.vars -= power.im;
        }
    }
    by_row.into_values().collect()
}

/// What the node lacks, in volts.
fn error(flow: &PowerFlow, group: &Group) -> f64 {
    group.target - magnitude(flow.voltages[group.row])
}

/// Volts at each node for a var at each: a current across the voltage behind the network's
/// impedance.
fn sensitivity(flow: &mut PowerFlow, groups: &[Group], free: &[usize]) -> Vec<Vec<f64>> {
    let rows = flow.plan.rows();
    let mut columns = Vec::with_capacity(free.len());
    for at in free {
        let mut currents = vec![ZERO; rows];
        let row = groups[*at].row;
        currents[row] = Phasor::new(0.0, -1.0) / flow.voltages[row].conj();
        flow.plan.factors.solve(&mut currents);
        let column: Vec<f64> = free
            .iter()
            .map(|of| {
                let row = groups[*of].row;
                let volts = flow.voltages[row];
                (volts.conj() * currents[row]).re / magnitude(volts)
            })
            .collect();
        columns.push(column);
    }
    (0..free.len())
        .map(|row| columns.iter().map(|column| column[row]).collect())
        .collect()
}

/// A small dense system by elimination with row pivots.
fn solved(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Option<Vec<f64>> {
    let order = right.len();
    for step in 0..order {
        let pivot = (step..order)
            .max_by(|a, b| matrix[*a][step].abs().total_cmp(&matrix[*b][step].abs()))?;
        matrix.swap(step, pivot);
        right.swap(step, pivot);
        if matrix[step][step] == 0.0 || !matrix[step][step].is_finite() {
            return None;
        }
        for row in step + 1..order {
            let factor = matrix[row][step] / matrix[step][step];
            let above = matrix[step].clone();
            for (value, above) in matrix[row].iter_mut().zip(above).skip(step) {
                *value -= factor * above;
            }
            right[row] -= factor * right[step];
        }
    }
    for row in (0..order).rev() {
        let known: f64 = (row + 1..order).map(|at| matrix[row][at] * right[at]).sum();
        right[row] = (right[row] - known) / matrix[row][row];
    }
    Some(right)
}

/// Gives each member its part: equal parts, and what one cannot do the others do.
fn share(flow: &mut PowerFlow, group: &Group) {
    let mut left = group.vars;
    let mut open: Vec<Member> = group.members.clone();
    while let Some(first) = open.first().copied() {
        let part = left / u32::try_from(open.len()).map_or(1.0, f64::from);
        let bound = open.iter().position(|of| part < of.low || part > of.high);
        let (at, vars) = bound.map_or((0, part), |at| {
            (at, part.min(open[at].high).max(open[at].low))
        });
        let member = bound.map_or(first, |at| open[at]);
        open.remove(at);
        left -= vars;
        let id = flow.network().voltage_regulators[member.regulator].element;
        let Some(load) = flow.network().element(id).kind.load() else {
            continue;
        };
        let mut power = load.power.clone();
        power[member.phase].im = -vars;
        flow.set_power(id, &power);
    }
}
