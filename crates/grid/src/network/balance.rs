//! What flows and what is lost: per meter, per transformer, and in the whole network.

use std::collections::BTreeMap;

use super::complex::{ZERO, magnitude};
use super::element::{ElementId, Kind};
use super::meter_point::PhaseValues;
use super::power_flow::PowerFlow;
use super::topology::Topology;

/// The whole network's power, in watts and vars.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Totals {
    /// From the sources.
    pub supplied: (f64, f64),
    /// Into loads.
    pub consumed: (f64, f64),
    /// From plants.
    pub generated: (f64, f64),
    /// In lines.
    pub line_losses_watts: f64,
    /// In transformers.
    pub transformer_losses_watts: f64,
}

impl Totals {
    /// What the network loses, in watts.
    pub fn losses_watts(&self) -> f64 {
        self.line_losses_watts + self.transformer_losses_watts
    }
}

/// Power of the whole network.
pub fn totals(flow: &PowerFlow) -> Totals {
    let mut totals = Totals::default();
    for (id, element) in flow
        .network()
        .elements()
        .filter(|(_, element)| element.in_service)
    {
        let power: super::complex::Phasor = flow.powers(id).iter().sum();
        let add = |sum: &mut (f64, f64), sign: f64| {
            sum.0 += sign * power.re;
            sum.1 += sign * power.im;
        };
        match &element.kind {
            Kind::Source(_) => add(&mut totals.supplied, -1.0),
            Kind::Load(_) => add(&mut totals.consumed, 1.0),
            Kind::Generator(_) => add(&mut totals.generated, -1.0),
            Kind::Transformer(_) => totals.transformer_losses_watts += power.re,
            Kind::Sequence(_) if element.name.contains("transformer") => {
                totals.transformer_losses_watts += power.re;
            }
            Kind::Line(_) | Kind::Sequence(_) | Kind::Capacitor(_) | Kind::Shunt(_) => {
                totals.line_losses_watts += power.re;
            }
        }
    }
    totals
}

/// How much of its rating an element carries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loading {
    /// The element.
    pub element: ElementId,
    /// The largest current of a conductor, in amperes.
    pub amperes: f64,
    /// Share of the rating, 1 being all of it.
    pub share: f64,
}

/// Lines by rated current and transformers by rated power, heaviest first.
pub fn loadings(flow: &PowerFlow) -> Vec<Loading> {
    let mut found: Vec<Loading> = flow
        .network()
        .elements()
        .filter(|(_, element)| element.in_service)
        .filter_map(|(id, element)| {
            let amperes = || {
                flow.currents(id)
                    .into_iter()
                    .map(magnitude)
                    .fold(0.0, f64::max)
            };
            match &element.kind {
                Kind::Line(line) => {
                    let rating = line.rating_amperes.filter(|rating| *rating > 0.0)?;
                    let amperes = amperes();
                    Some(Loading {
                        element: id,
                        amperes,
                        share: amperes / rating,
                    })
                }
                Kind::Transformer(transformer) => {
                    let power = magnitude(*flow.powers(id).first()?) / 1_000.0;
                    let share = power / transformer.windings[0].kva;
                    Some(Loading {
                        element: id,
                        amperes: amperes(),
                        share,
                    })
                }
                Kind::Source(_)
                | Kind::Sequence(_)
                | Kind::Capacitor(_)
                | Kind::Shunt(_)
                | Kind::Load(_)
                | Kind::Generator(_) => None,
            }
        })
        .collect();
    found.sort_by(|a, b| b.share.total_cmp(&a.share));
    found
}

/// What a transformer passes and what arrives at the loads behind it, in watts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TransformerBalance {
    /// Into its first winding.
    pub delivered_watts: f64,
    /// Of loads behind it that have it as their nearest transformer, less their plants.
    pub consumed_watts: f64,
    /// In itself and in the lines between it and those loads: what arrives short of what is
    /// delivered, as far as physics explains it.
    pub technical_losses_watts: f64,
}

impl TransformerBalance {
    /// What neither consumption nor losses explain: nothing in a model of its own, the theft in
    /// a comparison of metered with delivered energy.
    pub fn unexplained_watts(&self) -> f64 {
        self.delivered_watts - self.consumed_watts - self.technical_losses_watts
    }
}

/// The balance of every transformer that is the nearest of some load. What passes through it to
/// another transformer counts as consumed.
pub fn by_transformer(
    flow: &PowerFlow,
    topology: &Topology,
) -> BTreeMap<ElementId, TransformerBalance> {
    let network = flow.network();
    let mut balances: BTreeMap<ElementId, TransformerBalance> = BTreeMap::new();
    for (id, element) in network.elements().filter(|(_, element)| element.in_service) {
        let power: f64 = flow.powers(id).iter().map(|power| power.re).sum();
        let Some(feeder) = feeder_of(topology, flow, id) else {
            continue;
        };
        match &element.kind {
            Kind::Load(_) | Kind::Generator(_) => {
                balances.entry(feeder).or_default().consumed_watts += power;
            }
            Kind::Transformer(_) if feeder != id => {
                // Another transformer behind this one, or a regulator.
                let balance = balances.entry(feeder).or_default();
                if topology_feeds(topology, flow, id) {
                    balance.consumed_watts += flow.powers(id)[0].re;
                } else {
                    balance.technical_losses_watts += power;
                }
            }
            Kind::Transformer(_)
            | Kind::Line(_)
            | Kind::Sequence(_)
            | Kind::Capacitor(_)
            | Kind::Shunt(_) => {
                balances.entry(feeder).or_default().technical_losses_watts += power;
            }
            Kind::Source(_) => {}
        }
    }
    for (id, balance) in &mut balances {
        balance.delivered_watts = flow.powers(*id).first().map_or(0.0, |power| power.re);
        balance.technical_losses_watts +=
            flow.powers(*id).iter().map(|power| power.re).sum::<f64>();
    }
    balances.retain(|_, balance| balance.consumed_watts != 0.0);
    balances
}

/// Energy of a transformer over an interval, in watt-hours.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct EnergyBalance {
    /// Into its first winding.
    pub delivered_wh: f64,
    /// Of loads behind it, less their plants.
    pub consumed_wh: f64,
    /// In itself and its lines, as far as physics explains them.
    pub technical_losses_wh: f64,
}

impl EnergyBalance {
    /// What is left of the delivered energy when what meters say and the technical losses are
    /// taken off: theft, or a meter that is wrong.
    pub fn unexplained_wh(&self, metered_wh: f64) -> f64 {
        self.delivered_wh - self.technical_losses_wh - metered_wh
    }
}

/// The balances of an interval, one solution after the other.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct IntervalBalance {
    /// How long it is so far, in seconds.
    pub seconds: f64,
    /// Energies by transformer.
    pub by_transformer: BTreeMap<ElementId, EnergyBalance>,
}

impl IntervalBalance {
    /// Adds the present solution, which holds for so many seconds.
    pub fn add(&mut self, flow: &PowerFlow, topology: &Topology, seconds: f64) {
        self.seconds += seconds;
        let hours = seconds / 3_600.0;
        for (id, balance) in by_transformer(flow, topology) {
            let sum = self.by_transformer.entry(id).or_default();
            sum.delivered_wh += balance.delivered_watts * hours;
            sum.consumed_wh += balance.consumed_watts * hours;
            sum.technical_losses_wh += balance.technical_losses_watts * hours;
        }
    }
}

/// The transformer whose area an element lies in.
fn feeder_of(topology: &Topology, flow: &PowerFlow, id: ElementId) -> Option<ElementId> {
    topology.attachment(flow.network(), id)?.transformer
}

/// Whether a transformer is the beginning of an area of its own.
fn topology_feeds(topology: &Topology, flow: &PowerFlow, id: ElementId) -> bool {
    !topology.is_regulator(id) && flow.network().element(id).in_service
}

/// What a meter at a load sees, phase by phase.
pub fn phase_values(flow: &PowerFlow, id: ElementId) -> Vec<PhaseValues> {
    let element = flow.network().element(id);
    let Some(load) = element.kind.load() else {
        return Vec::new();
    };
    let currents = flow.currents(id);
    (0..load.phases())
        .map(|phase| {
            let (from, to) = load.connection.ends(phase, load.phases());
            let at = |conductor: usize| {
                element.conductors[conductor].map_or(ZERO, |node| flow.voltage(node))
            };
            let volts = at(from) - at(to);
            let current = flow.branch_current(id, phase).unwrap_or(currents[from]);
            let power = volts * current.conj();
            PhaseValues {
                volts: magnitude(volts),
                amperes: magnitude(current),
                watts: power.re,
                vars: power.im,
            }
        })
        .collect()
}
