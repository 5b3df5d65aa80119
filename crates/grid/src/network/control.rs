//! The control loop: of all regulators and banks that want to act, those with the shortest
//! delay act; then the network is solved again.

use std::collections::BTreeMap;

use super::complex::{Phasor, ZERO, magnitude};
use super::error::NetworkError;
use super::power_flow::PowerFlow;
use super::regulator::{CapacitorLaw, Watched};

/// A control of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Control {
    Regulator(usize),
    Capacitor(usize),
}

/// What a control is about to do.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Action {
    Tap(i32),
    Close(bool),
}

/// Armed controls and when they act, in seconds of the loop's own time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Queue {
    now: f64,
    armed: BTreeMap<Control, (f64, Action)>,
}

impl Queue {
    /// Looks at every control and lets the next ones act; whether any did.
    pub(crate) fn step(&mut self, flow: &mut PowerFlow) -> Result<bool, NetworkError> {
        self.look(flow)?;
        let Some(next) = self
            .armed
            .values()
            .map(|(due, _)| *due)
            .min_by(f64::total_cmp)
        else {
            return Ok(false);
        };
        let now = std::mem::replace(&mut self.now, next);
        self.act_due(flow);
        // A snapshot is one moment: whoever is armed after this waits his delay and no more, so he
        // may act before others who were armed long ago with a longer one. OpenDSS does the same.
        self.now = now;
        Ok(true)
    }

    /// Arms each control that wants to act, and disarms those that are content.
    pub(crate) fn look(&mut self, flow: &PowerFlow) -> Result<(), NetworkError> {
        for at in 0..flow.network().regulators.len() {
            let wish = tap_wish(flow, at)?.map(Action::Tap);
            let delay = flow.network().regulators[at].delay_seconds;
            self.arm(Control::Regulator(at), delay, wish);
        }
        for at in 0..flow.network().capacitor_controls.len() {
            let wish = bank_wish(flow, at);
            let (on, off) = flow.network().capacitor_controls[at].delays_seconds;
            let delay = if wish == Some(false) { off } else { on };
            self.arm(Control::Capacitor(at), delay, wish.map(Action::Close));
        }
        Ok(())
    }

    /// Lets act what is due by now; how many those are.
    pub(crate) fn act_due(&mut self, flow: &mut PowerFlow) -> usize {
        let due: Vec<_> = self
            .armed
            .iter()
            .filter(|(_, (due, _))| *due <= self.now)
            .map(|(control, (_, action))| (*control, *action))
            .collect();
        for (control, action) in &due {
            self.armed.remove(control);
            act(flow, *control, *action);
        }
        due.len()
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, seconds: f64) {
        self.now += seconds;
    }

    /// The name of a control that is armed, for an error.
    pub(crate) fn next_name(&self, flow: &PowerFlow) -> String {
        let network = flow.network();
        match self.armed.keys().next() {
            Some(Control::Regulator(at)) => network.regulators[*at].name.clone(),
            Some(Control::Capacitor(at)) => network.capacitor_controls[*at].name.clone(),
            None => network
                .regulators
                .first()
                .map_or_else(String::new, |first| first.name.clone()),
        }
    }

    fn arm(&mut self, control: Control, delay: f64, wish: Option<Action>) {
        match wish {
            Some(action) => {
                let due = self.now + delay;
                // What is armed already keeps its time and takes the newer wish.
                self.armed.entry(control).or_insert((due, action)).1 = action;
            }
            None => {
                self.armed.remove(&control);
            }
        }
    }
}

/// Steps a regulator wants and may take.
fn tap_wish(flow: &PowerFlow, at: usize) -> Result<Option<i32>, NetworkError> {
    let regulator = &flow.network().regulators[at];
    if !regulator.active || !flow.network().element(regulator.transformer).in_service {
        return Ok(None);
    }
    let element = flow.network().element(regulator.transformer);
    let super::element::Kind::Transformer(transformer) = &element.kind else {
        return Err(NetworkError::Control {
            control: regulator.name.clone(),
            what: format!("{}, which has no taps", element.name),
        });
    };
    let phases = transformer.phases;
    let (width, _) = element.kind.shape();
    let currents = flow.currents(regulator.transformer);
    let relay = |phase: usize| {
        let first = regulator.winding * width;
        let (from, to) = if phases == 1 {
            (0, 1)
        } else {
            (phase, width - 1)
        };
        let node =
            |at: usize| element.conductors[first + at].map_or(ZERO, |node| flow.voltage(node));
        let volts = (node(from) - node(to)) / regulator.voltage_ratio;
        let (r, x) = regulator.compensation_volts;
        // The current into the winding is minus the load's.
        let drop = Phasor::new(r, x) * currents[first + from] / regulator.current_rating;
        magnitude(volts + drop)
    };
    let all = (0..phases).map(relay);
    let volts = match regulator.phase {
        Watched::Phase(phase) => relay(phase.min(phases - 1)),
        Watched::Highest => all.fold(0.0, f64::max),
        Watched::Lowest => all.fold(f64::INFINITY, f64::min),
    };
    if volts == 0.0 {
        return Ok(None);
    }
    let nominal = transformer.winding_volts(regulator.winding);
    let mut wanted = regulator.wanted(volts, nominal);
    if regulator.tap_winding != regulator.winding {
        wanted = -wanted;
    }
    let tap = transformer.windings[regulator.tap_winding].tap;
    let position = regulator.position(tap);
    let moves = regulator.position(regulator.tap(position + wanted)) - position;
    Ok((moves != 0).then_some(moves))
}

fn bank_wish(flow: &PowerFlow, at: usize) -> Option<bool> {
    let network = flow.network();
    let control = &network.capacitor_controls[at];
    let (element, terminal) = control.watched;
    let closed = network.element(control.capacitor).closed[0];
    let (width, _) = network.element(element).kind.shape();
    let first = network
        .element(element)
        .terminal(terminal)
        .first()
        .copied()
        .flatten()?;
    let relay = magnitude(flow.voltage(first)) / control.voltage_ratio;
    let measured = match control.law {
        CapacitorLaw::Voltage => relay,
        CapacitorLaw::Current => {
            magnitude(flow.currents(element)[terminal * width]) / control.current_ratio
        }
        CapacitorLaw::Reactive => flow.powers(element)[terminal].im / 1_000.0,
    };
    control.wanted(closed, measured, relay)
}

fn act(flow: &mut PowerFlow, control: Control, action: Action) {
    match (control, action) {
        (Control::Regulator(at), Action::Tap(steps)) => {
            let regulator = &flow.network().regulators[at];
            let (id, winding) = (regulator.transformer, regulator.tap_winding);
            let tap = flow.network().tap(id, winding).unwrap_or(1.0);
            let tap = regulator.tap(regulator.position(tap) + steps);
            flow.network_mut().set_tap(id, winding, tap);
        }
        (Control::Capacitor(at), Action::Close(closed)) => {
            let id = flow.network().capacitor_controls[at].capacitor;
            flow.network_mut().set_closed(id, 0, closed);
        }
        (Control::Regulator(_), Action::Close(_)) | (Control::Capacitor(_), Action::Tap(_)) => {
            unreachable!("an action is armed for its own kind of control")
        }
    }
}
