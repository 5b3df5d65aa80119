//! The demo's feeder as the console shows it, and its connections as a file.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use gridloom_field::SharedStreet;
use gridloom_grid::network::complex::magnitude;
use gridloom_grid::network::{Network, balance};
use gridloom_grid::rtu::{self, Equipment};
use gridloom_grid::street::{Street, StreetDay};
use gridloom_sim::town::Town;
use gridloom_web::{
    FeederBranch, FeederMeter, FeederNode, FeederPicture, FeederSource, FeederTransformer,
};

use crate::founding::write_durably;

/// The file that says which transformer and phase each meter hangs at.
const CONNECTIONS: &str = "connections.csv";

/// The feeder of a town.
#[derive(Debug, Clone)]
pub(super) struct FeederView {
    street: SharedStreet,
    /// Of the homes, in their order.
    meters: Vec<u32>,
}

impl FeederView {
    pub(super) fn of(town: &Town) -> Option<Self> {
        let street = town.street()?.clone();
        let meters = town.houses().iter().map(|house| house.meter().0).collect();
        Some(Self { street, meters })
    }
}

/// Writes which transformer and phase each meter hangs at, if the town is on a feeder.
pub(super) fn write_connections(town: &Town, data: &Path) -> anyhow::Result<()> {
    match town.connections_csv() {
        Some(text) => write_durably(&data.join(CONNECTIONS), text.as_bytes()),
        None => Ok(()),
    }
}

impl FeederSource for FeederView {
    fn picture(&self) -> Option<FeederPicture> {
        let failure = self.street.failure();
        let failure = failure.map(|(day, error)| format!("{day}: {error}"));
        self.street
            .look_at_newest(|street, day| self.draw(street, day, failure))
            .flatten()
    }
}

impl FeederView {
    fn draw(
        &self,
        street: &Street,
        day: &StreetDay,
        failure: Option<String>,
    ) -> Option<FeederPicture> {
        let (number, minute) = day.newest()?;
        let sim = day.sim();
        let flow = sim.flow();
        let network = flow.network();
        let totals = balance::totals(flow);
        let mut metered = vec![0.0; street.feedings().len()];
        for (home, point) in street.points().iter().enumerate() {
            // A dark home draws nothing.
            if minute.volts_mv[home] > 0 {
                metered[point.feeding] += day.drawn_by(home, number).0 / 1_000.0;
            }
        }
        let transformers = street
            .feedings()
            .iter()
            .zip(&minute.feedings)
            .zip(metered)
            .map(|((feeding, values), metered)| FeederTransformer {
                name: feeding.name.clone(),
                houses: feeding.homes,
                delivered_w: to_tenths(values.total_watts()),
                metered_w: to_tenths(metered),
                losses_w: to_tenths(values.total_watts() - metered),
            })
            .collect();
        let meters = street
            .points()
            .iter()
            .zip(&self.meters)
            .zip(&minute.volts_mv)
            .map(|((point, meter), volts_mv)| FeederMeter {
                meter: *meter,
                transformer: street.feedings()[point.feeding].name.clone(),
                phase: point.phase_text(),
                bus: point.bus.clone(),
                volts: f64::from(*volts_mv) / 1_000.0,
            })
            .collect();
        Some(FeederPicture {
            at: day.day().start() + Duration::from_secs(u64::from(number) * 60),
            failure,
            supplied_w: to_tenths(totals.supplied.0),
            consumed_w: to_tenths(totals.consumed.0),
            losses_w: to_tenths(totals.losses_watts()),
            nodes: nodes(day, network),
            branches: rtu::read_all(sim)
                .filter(|values| values.terminals.len() > 1 || values.equipment == Equipment::Bank)
                .take(FeederPicture::BRANCHES_MAX)
                .map(branch)
                .collect(),
            transformers,
            meters,
        })
    }
}

fn nodes(day: &StreetDay, network: &Network) -> Vec<FeederNode> {
    let flow = day.sim().flow();
    let mut nodes: Vec<FeederNode> = network
        .buses
        .ids()
        .take(FeederPicture::BUSES_MAX)
        .map(|bus| FeederNode {
            name: network.buses.name(bus).to_owned(),
            phases: Vec::new(),
            volts_pu: Vec::new(),
            energised: true,
        })
        .collect();
    let at: BTreeMap<_, _> = network.buses.ids().zip(0..).collect();
    for (id, place) in network.buses.nodes() {
        if let Some(node) = at.get(&place.bus).and_then(|at| nodes.get_mut(*at)) {
            node.phases.push(place.number);
            let unit = if flow.is_energised(id) {
                flow.per_unit(id)
            } else {
                0.0
            };
            node.volts_pu.push((unit * 1e5).round() / 1e5);
            node.energised &= flow.is_energised(id) && magnitude(flow.voltage(id)) > 0.0;
        }
    }
    nodes
}

fn branch(values: rtu::RtuValues) -> FeederBranch {
    let conductors = || values.terminals.iter().flat_map(|one| &one.conductors);
    let (loading, tap, oil) = match &values.equipment {
        Equipment::Source | Equipment::Bank => (None, None, None),
        Equipment::Branch { loading } => (*loading, None, None),
        Equipment::Transformer {
            loading, oil, tap, ..
        } => (Some(*loading), tap.map(|(_, position)| position), *oil),
    };
    FeederBranch {
        closed: values.terminals.iter().all(|one| one.is_closed),
        amperes: to_tenths(conductors().map(|one| one.amperes).fold(0.0, f64::max)),
        watts: to_tenths(values.terminals[0].watts()),
        loading: loading.map(|share| (share * 1e4).round() / 1e4),
        losses_w: to_tenths(conductors().map(|one| one.watts).sum()),
        tap,
        oil_c: oil.map(to_tenths),
        name: values.name,
    }
}

fn to_tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use gridloom_core::{Currency, Day, Period, Seed};
    use gridloom_field::DayPrices;
    use gridloom_grid::Response;
    use gridloom_sim::town::{Homes, TownPlan, seeded_keys, shipped};

    use super::*;

    #[test]
    fn the_picture_is_the_minute_that_was_measured_last() {
        let seed = Seed::new(2);
        let day = Day::from_ymd(2026, 4, 1).unwrap();
        let plan = TownPlan {
            seed,
            period: Period::HALF_HOUR,
            start: day.start(),
            currency: Currency::new("EUR", 2).unwrap(),
            homes: Homes::Households {
                count: 12,
                response: Response::Off,
            },
        };
        let town = Town::new(plan, seeded_keys(seed)).unwrap();
        let town = town
            .on_feeder(shipped("ieee13").unwrap(), seeded_keys(seed))
            .unwrap();
        let view = FeederView::of(&town).unwrap();
        assert_eq!(view.picture(), None);
        let mut load = town.houses()[3].load();
        load.begin_day(day, &DayPrices::unknown(Period::HALF_HOUR));
        let at = day.start() + Duration::from_secs(5 * 60 + 7);
        let measured = load.voltage_mv(at).unwrap()[0];
        let picture = view.picture().unwrap();
        assert_eq!(picture.at, day.start() + Duration::from_secs(300));
        assert_eq!((picture.failure, picture.meters.len()), (None, 12));
        let shown = (picture.meters[3].volts * 1_000.0).round();
        assert!((shown - measured as f64).abs() < 1.0, "{shown} {measured}");
        let rest = picture.supplied_w - picture.consumed_w - picture.losses_w;
        assert!(rest.abs() < 1.0, "{rest}");
        let metered: f64 = picture.transformers.iter().map(|one| one.metered_w).sum();
        assert!((metered - picture.consumed_w).abs() < 1.0, "{metered}");
        assert!(picture.nodes.iter().all(|node| node.energised));
        let taps = picture.branches.iter().filter(|one| one.tap.is_some());
        assert_eq!(taps.count(), 3);
    }
}
