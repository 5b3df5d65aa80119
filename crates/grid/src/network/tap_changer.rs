//! Transformers whose tap changer keeps one terminal inside a band: planning programs describe
//! them by a target alone, and name how the tap is chosen where several would do.

use std::collections::{BTreeMap, VecDeque};

use super::bus::BusId;
use super::complex::{Phasor, ZERO, magnitude};
use super::element::{ElementId, Kind};
use super::error::NetworkError;
use super::power_flow::PowerFlow;
use super::sequence_branch::SequenceBranch;

/// Most positions of a tap changer; readers refuse more.
pub const POSITIONS_MAX: usize = 1_000;

/// How often a tap changer may turn round before the network counts as restless: a band that is
/// narrower than one step is never reached.
pub const TURNS_MAX: usize = 6;

/// Which tap is wanted where several keep the voltage inside the band.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TapStrategy {
    /// The first one that is met from the present one.
    #[default]
    First,
    /// Found by halving the range, which asks for fewer solutions.
    Halving,
    /// The one with the lowest voltage.
    Lowest,
    /// The one with the highest voltage.
    Highest,
}

/// A tap changer with all it can be.
#[derive(Debug, Clone, PartialEq)]
pub struct TapChanger {
    /// Its name.
    pub name: String,
    /// The transformer, a branch by sequences.
    pub element: ElementId,
    /// The terminal whose voltage is kept, from zero.
    pub terminal: usize,
    /// Target, phase to earth, in volts; the mean of all phases counts.
    pub target_volts: f64,
    /// Width of the band around the target, in volts.
    pub band_volts: f64,
    /// Impedance behind which the target lies, in ohms.
    pub compensation: Phasor,
    /// The branch at each position, by rising voltage at the terminal.
    pub positions: Vec<SequenceBranch>,
    /// What each position is called: consecutive numbers, up or down.
    pub labels: Vec<i64>,
    /// The present position, an index into both lists.
    pub at: usize,
    /// Whether it acts.
    pub active: bool,
}

/// What is remembered from step to step of one solution.
#[derive(Debug, Default)]
pub(crate) struct Search {
    ranks: Vec<usize>,
    /// The way each went last, and how often it has turned round.
    last: Vec<(i8, usize)>,
    /// What is left of the range of each.
    range: Vec<(usize, usize)>,
    /// Tap changers that try one position further, and where they stood.
    trial: Vec<(usize, usize)>,
    /// Those that have tried in vain.
    tried: Vec<bool>,
}

impl Search {
    /// Before the first solution: to the end of the range from which the wanted tap is met first.
    pub(crate) fn begin(flow: &mut PowerFlow) -> Self {
        let count = flow.network().tap_changers.len();
        if count == 0 {
            return Self::default();
        }
        for at in 0..count {
            let changer = &flow.network().tap_changers[at];
            let wanted = match flow.network().tap_strategy {
                TapStrategy::First | TapStrategy::Halving => changer.at,
                TapStrategy::Lowest => 0,
                TapStrategy::Highest => changer.positions.len() - 1,
            };
            if changer.active && changer.at != wanted {
                flow.network_mut().set_tap_position(at, wanted);
            }
        }
        Self {
            ranks: ranks(flow),
            last: vec![(0, 0); count],
            trial: Vec::new(),
            tried: vec![false; count],
            range: flow
                .network()
                .tap_changers
                .iter()
                .map(|changer| (0, changer.positions.len() - 1))
                .collect(),
        }
    }

    /// Moves the tap changers nearest to the source that are out of their band; whether any moved.
    pub(crate) fn step(&mut self, flow: &mut PowerFlow) -> Result<bool, NetworkError> {
        let trial = core::mem::take(&mut self.trial);
        if !trial.is_empty() {
            let vain: Vec<_> = trial
                .iter()
                .filter(|(at, _)| wish(flow, *at).is_some())
                .collect();
            if vain.len() < trial.len() {
                // What the others had tried may be possible now.
                for (tried, (_, turns)) in self.tried.iter_mut().zip(&self.last) {
                    *tried = *turns >= 2;
                }
            }
            for (at, before) in &vain {
                flow.network_mut().set_tap_position(*at, *before);
                self.tried[*at] = true;
            }
            if !vain.is_empty() {
                return Ok(true);
            }
        }
        let deepest = self.ranks.iter().copied().max().unwrap_or(0);
        for rank in 0..=deepest {
            let mut moved = false;
            for at in 0..self.ranks.len() {
                if self.ranks[at] != rank {
                    continue;
                }
                let Some(way) = wish(flow, at) else { continue };
                let Some(next) = self.next(flow, at, way) else {
                    continue;
                };
                let (before, turns) = self.last[at];
                let turns = turns + usize::from(before == -way);
                if turns > TURNS_MAX {
                    return Err(NetworkError::Restless {
                        control: flow.network().tap_changers[at].name.clone(),
                        steps: turns,
                    });
                }
                self.last[at] = (way, turns);
                flow.network_mut().set_tap_position(at, next);
                moved = true;
            }
            if moved {
                return Ok(true);
            }
        }
        Ok(self.try_further(flow, deepest))
    }

    /// Where the lowest or the highest voltage is wanted, those behind have changed what those
    /// before them could do: rank by rank all try their next position, together, because those
    /// in parallel hold the same voltage.
    fn try_further(&mut self, flow: &mut PowerFlow, deepest: usize) -> bool {
        let strategy = flow.network().tap_strategy;
        for rank in 0..=deepest {
            for at in 0..self.ranks.len() {
                let changer = &flow.network().tap_changers[at];
                let here = changer.at;
                let next = match strategy {
                    TapStrategy::First | TapStrategy::Halving => return false,
                    TapStrategy::Lowest => here.checked_sub(1),
                    TapStrategy::Highest => Some(here + 1),
                };
                let Some(next) = next.filter(|next| *next < changer.positions.len()) else {
                    continue;
                };
                let ready = changer.active && self.ranks[at] == rank && !self.tried[at];
                if ready && wish(flow, at).is_none() {
                    self.trial.push((at, here));
                    flow.network_mut().set_tap_position(at, next);
                }
            }
            if !self.trial.is_empty() {
                return true;
            }
        }
        false
    }

    /// Where a tap changer goes next, if it can go that way.
    fn next(&mut self, flow: &PowerFlow, at: usize, way: i8) -> Option<usize> {
        let changer = &flow.network().tap_changers[at];
        let end = changer.positions.len() - 1;
        if flow.network().tap_strategy != TapStrategy::Halving {
            return if way > 0 {
                (changer.at < end).then(|| changer.at + 1)
            } else {
                changer.at.checked_sub(1)
            };
        }
        let (low, high) = &mut self.range[at];
        if way > 0 {
            *low = changer.at + 1;
            *high = if *high < *low { end } else { *high };
        } else {
            *high = changer.at.checked_sub(1)?;
            *low = if *low > *high { 0 } else { *low };
        }
        // Of two middles the one with the higher voltage.
        (*low <= *high).then(|| (*low + *high).div_ceil(2))
    }
}

/// Up or down, or nothing where the voltage is inside the band or there is none.
fn wish(flow: &PowerFlow, at: usize) -> Option<i8> {
    let changer = &flow.network().tap_changers[at];
    let element = flow.network().element(changer.element);
    if !changer.active || !element.in_service || !element.closed[changer.terminal] {
        return None;
    }
    let (width, _) = element.kind.shape();
    let currents = flow.currents(changer.element);
    let mut sum = 0.0;
    for (phase, node) in element.terminal(changer.terminal).iter().enumerate() {
        let volts = node.map_or(ZERO, |node| flow.voltage(node));
        if volts == ZERO {
            return None;
        }
        // The current into the terminal is minus the load's.
        let drop = changer.compensation * currents[changer.terminal * width + phase];
        sum += magnitude(volts + drop);
    }
    let volts = sum / u32::try_from(width).map_or(1.0, f64::from);
    let half = changer.band_volts / 2.0;
    if volts < changer.target_volts - half {
        Some(1)
    } else if volts > changer.target_volts + half {
        Some(-1)
    } else {
        None
    }
}

/// How many tap changers lie between each one's terminal and a source, itself included: a change
/// nearer to the source moves all behind it.
fn ranks(flow: &PowerFlow) -> Vec<usize> {
    let network = flow.network();
    let changed: Vec<ElementId> = network
        .tap_changers
        .iter()
        .map(|changer| changer.element)
        .collect();
    let mut beside: BTreeMap<BusId, Vec<(usize, BusId)>> = BTreeMap::new();
    let mut queue = VecDeque::new();
    let mut distance: BTreeMap<BusId, usize> = BTreeMap::new();
    for (id, element) in network.elements().filter(|(_, element)| element.in_service) {
        let (width, terminals) = element.kind.shape();
        let buses: Vec<BusId> = (0..terminals)
            .filter(|terminal| element.closed[*terminal])
            .filter_map(|terminal| {
                let node = element.conductors[terminal * width..][..width]
                    .iter()
                    .flatten()
                    .next()?;
                Some(network.buses.place(*node).bus)
            })
            .collect();
        if let Kind::Source(_) = element.kind {
            for bus in &buses {
                distance.insert(*bus, 0);
                queue.push_back(*bus);
            }
        }
        let cost = usize::from(changed.contains(&id));
        for from in &buses {
            for to in buses.iter().filter(|to| *to != from) {
                beside.entry(*from).or_default().push((cost, *to));
            }
        }
    }
    while let Some(bus) = queue.pop_front() {
        let so_far = distance[&bus];
        for (cost, to) in beside.get(&bus).into_iter().flatten() {
            let known = distance.get(to).copied().unwrap_or(usize::MAX);
            if so_far + cost < known {
                distance.insert(*to, so_far + cost);
                if *cost == 0 {
                    queue.push_front(*to);
                } else {
                    queue.push_back(*to);
                }
            }
        }
    }
    network
        .tap_changers
        .iter()
        .map(|changer| {
            let element = network.element(changer.element);
            element
                .terminal(changer.terminal)
                .iter()
                .flatten()
                .next()
                .and_then(|node| distance.get(&network.buses.place(*node).bus).copied())
                .unwrap_or(0)
        })
        .collect()
}
