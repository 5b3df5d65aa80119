//! Which home hangs where.

use std::fmt::Write as _;

use gridloom_core::Seed;

use super::{Street, StreetError};
use crate::draw::Draw;
use crate::network::complex::magnitude;
use crate::network::{ElementId, Kind, Network, Topology};

/// How homes are spread over a feeder's loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Which home gets which place is drawn from it.
    pub seed: Seed,
}

/// Where a home hangs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomePoint {
    /// The feeder's load that it stands at.
    pub element: ElementId,
    /// The load's phase that it is on, from zero.
    pub phase: usize,
    /// The bus.
    pub bus: String,
    /// The node numbers at that bus which its phase lies between, without earth: 1, 2 and 3 are
    /// the phases of the network.
    pub nodes: Vec<u8>,
    /// The nearest transformer towards the source.
    pub transformer: ElementId,
    /// Its place in [`Street::feedings`].
    pub feeding: usize,
}

impl HomePoint {
    /// The phase as people write it, such as `2` or `1-3`.
    pub fn phase_text(&self) -> String {
        let mut text = String::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let _ = write!(text, "{}{node}", if at == 0 { "" } else { "-" });
        }
        text
    }
}

/// One place for each home, by the loads' own powers where there are more homes than phases of
/// loads, and drawn from the seed.
pub(super) fn place(
    network: &Network,
    homes: usize,
    placement: Placement,
) -> Result<Vec<HomePoint>, StreetError> {
    if !(1..=Street::HOMES_MAX).contains(&homes) {
        return Err(StreetError::Homes {
            got: homes,
            max: Street::HOMES_MAX,
        });
    }
    let topology = Topology::of(network);
    let mut places: Vec<(HomePoint, f64)> = Vec::new();
    for (id, element) in network.elements() {
        let Kind::Load(load) = &element.kind else {
            continue;
        };
        let nodes = || element.conductors.iter().flatten();
        let lit = element.in_service && nodes().all(|node| topology.is_energised(*node));
        if !lit || nodes().next().is_none() {
            continue;
        }
        let found = topology.attachment(network, id);
        let Some((found, transformer)) =
            found.and_then(|found| found.transformer.map(|transformer| (found, transformer)))
        else {
            return Err(StreetError::NoTransformer {
                load: element.name.clone(),
            });
        };
        for (phase, power) in load.power.iter().enumerate() {
            let weight = magnitude(*power);
            if weight == 0.0 {
                continue;
            }
            let (from, to) = load.connection.ends(phase, load.phases());
            let point = HomePoint {
                element: id,
                phase,
                bus: network.buses.name(found.bus).to_owned(),
                nodes: [from, to]
                    .into_iter()
                    .filter_map(|at| element.conductors[at])
                    .map(|node| network.buses.place(node).number)
                    .collect(),
                transformer,
                feeding: 0,
            };
            places.push((point, weight));
        }
    }
    if places.is_empty() {
        return Err(StreetError::NoLoads);
    }
    let mut draw = Draw::new(placement.seed.child("places"));
    if homes <= places.len() {
        shuffle(&mut places, &mut draw);
        places.truncate(homes);
        return Ok(places.into_iter().map(|(point, _)| point).collect());
    }
    let mut all: Vec<HomePoint> = shares(&places, homes)
        .into_iter()
        .zip(places)
        .flat_map(|(count, (point, _))| vec![point; count])
        .collect();
    shuffle(&mut all, &mut draw);
    Ok(all)
}

/// So many homes for each place: one each, the others by weight, the largest remainders first.
fn shares(places: &[(HomePoint, f64)], homes: usize) -> Vec<usize> {
    let total: f64 = places.iter().map(|(_, weight)| weight).sum();
    let free = homes - places.len();
    let exact: Vec<f64> = places
        .iter()
        .map(|(_, weight)| weight / total * u32::try_from(free).map_or(0.0, f64::from))
        .collect();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of at most HOMES_MAX, floored"
    )]
    let mut counts: Vec<usize> = exact.iter().map(|share| *share as usize).collect();
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|a, b| {
        (exact[*b].fract())
            .total_cmp(&exact[*a].fract())
            .then(a.cmp(b))
    });
    let mut left = free.saturating_sub(counts.iter().sum());
    for at in order.into_iter().cycle() {
        if left == 0 {
            break;
        }
        counts[at] += 1;
        left -= 1;
    }
    counts.into_iter().map(|count| count + 1).collect()
}

fn shuffle<T>(list: &mut [T], draw: &mut Draw) {
    for last in (1..list.len()).rev() {
        let bound = u32::try_from(last + 1).unwrap_or(u32::MAX);
        let other = usize::try_from(draw.below(bound)).expect("an index fits");
        list.swap(last, other);
    }
}
