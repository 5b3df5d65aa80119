//! Turns what the nodes say into what the console shows.

use gridloom_core::{MeterId, Now, Watts};
use gridloom_edge::{EdgeStatus, Reason};
use gridloom_field::MeterStatus;
use gridloom_field::load::Switch;
use gridloom_headend::Presence;
use gridloom_nodes::GatewayCounters;
use gridloom_nodes::delay::DelayReport;
use gridloom_nodes::headend::HeadEndStatus;
use gridloom_nodes::utility::{MeterStanding, UtilityStatus};
use gridloom_web::{
    Appliance, ClosedBill, Counters, DisplayItem, House, HouseDetail, HouseRow, HouseState,
    LayerNode, Network, NodeState, Snapshot, Station, Tariff, TrendPoint,
};

use crate::buffer::{self, BufferStatus};
use crate::delay;
use crate::topology::{self, Neighbours};

/// What each node said; what does not run says nothing.
pub(crate) struct Sources {
    pub(crate) now: Now,
    pub(crate) speed: u32,
    pub(crate) utility: UtilityStatus,
    /// Whether the utility is of this process, or all of its status is blank.
    pub(crate) has_utility: bool,
    /// Meters of this process.
    pub(crate) meters: Vec<MeterStatus>,
    /// Counters, connected meters, whether its edge is reachable.
    pub(crate) gateway: Option<(GatewayCounters, usize, bool)>,
    /// Status, whether the utility is reachable.
    pub(crate) edge: Option<(EdgeStatus, bool)>,
    pub(crate) head_end: Option<HeadEndStatus>,
    /// Objects stored and failed.
    pub(crate) archive: Option<(u64, u64)>,
    /// The buffers of this process, by node.
    pub(crate) buffers: Vec<(String, BufferStatus)>,
    /// How long readings are under way.
    pub(crate) delays: Option<DelayReport>,
    /// Whom they talk to.
    pub(crate) neighbours: Neighbours,
}

/// The console's picture.
pub(crate) fn build(from: &Sources) -> Snapshot {
    let utility = &from.utility;
    let houses = utility
        .meters
        .iter()
        .map(|standing| {
            let meter = from.meters.iter().find(|meter| meter.id == standing.meter);
            house(standing, meter)
        })
        .collect();
    let parameters = utility.tariff.parameters();
    Snapshot {
        utility: utility.name.clone(),
        currency: utility.currency.code().to_owned(),
        minor_digits: utility.currency.minor_digits(),
        now: from.now.utc,
        speed: from.speed,
        interval_s: utility.period.as_secs(),
        total_w: utility.price.map(|point| point.total.get()),
        price_per_kwh: utility.price.map(|point| point.price),
        price_interval_end: utility.price.map(|point| point.end),
        tariff: Tariff {
            p_min: parameters.p_min,
            p_max: parameters.p_max,
            x0_w: parameters.x0.get() as f64,
            k_per_w: parameters.k_per_watt,
        },
        stations: stations(utility),
        houses,
        trend: utility
            .trend
            .iter()
            .map(|point| TrendPoint {
                end: point.end,
                total_w: Some(point.total.get()),
                price_per_kwh: Some(point.price),
            })
            .collect(),
        counters: counters(from),
        layers: layers(from),
        bills: bills(utility),
        demand_response: None,
        network: Network {
            buffers: from
                .buffers
                .iter()
                .map(|(node, status)| buffer::view(node, status, from.now))
                .collect(),
            delay: from
                .delays
                .as_ref()
                .map(|report| delay::view(report, from.speed)),
            topology: topology::draw(&from.neighbours),
            paths: topology::paths(&from.neighbours),
            failovers: Vec::new(),
        },
    }
}

fn house_id(meter: MeterId) -> String {
    format!("h{}", meter.0)
}

fn house(standing: &MeterStanding, meter: Option<&MeterStatus>) -> House {
    let (own_bill, lacking) = match &standing.own_bill {
        Some((bill, lacking)) => (Some(*bill), u32::from(*lacking)),
        None => (None, 0),
    };
    House {
        row: HouseRow {
            id: house_id(standing.meter),
            name: standing.name.clone(),
            phases: 1,
            power_w: standing.power.map(Watts::get),
            voltage_v: standing.voltage,
            state: match standing.presence {
                Presence::Online => HouseState::Online,
                Presence::Late => HouseState::Late,
                Presence::Silent => HouseState::Silent,
            },
            last_heard: standing.newest,
            energy_wh: standing
                .import_register
                .map(|register| register.get() / 1_000),
            bill_so_far: Some(standing.bill),
            meter_bill: own_bill,
            unpriced: standing.account.unpriced.max(lacking),
            day: standing.day.clone(),
        },
        detail: meter.map(detail).unwrap_or_default(),
    }
}

fn detail(meter: &MeterStatus) -> HouseDetail {
    HouseDetail {
        appliances: meter
            .appliances
            .iter()
            .map(|appliance| Appliance {
                name: appliance.name.clone(),
                watts: appliance.milliwatts / 1_000,
                on: appliance.switch == Switch::On,
            })
            .collect(),
        display: meter
            .display
            .iter()
            .map(|item| DisplayItem {
                code: item.code.to_owned(),
                label: item.label.to_owned(),
                value: item.value.clone(),
                unit: item.unit.clone(),
            })
            .collect(),
    }
}

fn stations(utility: &UtilityStatus) -> Vec<Station> {
    let output = |index: usize| {
        utility
            .dispatch
            .as_ref()
            .and_then(|dispatch| dispatch.outputs.get(index).map(|watts| watts.get()))
            .unwrap_or(0)
    };
    let is_on = |index: usize| {
        utility
            .dispatch
            .as_ref()
            .and_then(|dispatch| dispatch.on.get(index).copied())
            .unwrap_or(false)
    };
    utility
        .stations
        .iter()
        .enumerate()
        .map(|(index, station)| Station {
            name: station.name.clone(),
            technology: station.technology.to_string(),
            year: u16::try_from(station.commissioned).unwrap_or(0),
            capacity_w: station.capacity.get(),
            min_w: station.minimum.get(),
            cost_per_mwh: station.marginal_cost,
            output_w: output(index),
            on: is_on(index),
        })
        .collect()
}

fn counters(from: &Sources) -> Counters {
    let refused = from.edge.as_ref().map(|(edge, _)| edge.reasons);
    let refused = refused.unwrap_or_default();
    let utility = &from.utility;
    Counters {
        readings_stored: utility.stored,
        duplicates: utility.counters.duplicates,
        conflicts: utility.counters.conflicts,
        replayed: refused.get(Reason::Replayed),
        bad_tag: refused.get(Reason::BadTag),
        unknown: refused.get(Reason::UnknownTitle),
        malformed: refused.get(Reason::Malformed) + refused.get(Reason::Unexpected),
        gaps: utility.bills.iter().map(|bill| u64::from(bill.gaps)).sum(),
    }
}

fn layers(from: &Sources) -> Vec<LayerNode> {
    let node = |layer: &str, name: &str, state, detail: String| LayerNode {
        layer: layer.to_owned(),
        node: name.to_owned(),
        state,
        detail,
    };
    let up_if = |up: bool, otherwise| if up { NodeState::Up } else { otherwise };
    let utility = &from.utility;
    let mut layers = Vec::new();
    if !from.meters.is_empty() {
        let registered = from.meters.len();
        let linked = from.meters.iter().filter(|meter| meter.linked).count();
        layers.push(node(
            "field",
            "meters",
            up_if(linked == registered, NodeState::Degraded),
            format!("{linked} of {registered} linked"),
        ));
    }
    if let Some((gateway, connected, reaches_edge)) = &from.gateway {
        layers.push(node(
            "aggregation",
            "gateway-1",
            up_if(*reaches_edge, NodeState::Degraded),
            format!(
                "{connected} meters, {} frames up, {} down",
                gateway.carried_up, gateway.carried_down
            ),
        ));
    }
    if let Some((edge, reaches_utility)) = &from.edge {
        layers.push(node(
            "edge",
            "edge-1",
            up_if(*reaches_utility, NodeState::Degraded),
            format!("{} accepted, {} meters heard", edge.accepted, edge.heard),
        ));
    }
    if from.has_utility {
        layers.push(node(
            "utility",
            "utility",
            up_if(utility.poisoned.is_none(), NodeState::Down),
            utility.poisoned.clone().unwrap_or_else(|| {
                format!(
                    "{} acknowledged, {} open",
                    utility.counters.acknowledged, utility.open_readings
                )
            }),
        ));
    }
    if let Some(head_end) = &from.head_end {
        let running: usize = head_end.running.values().sum();
        layers.push(node(
            "utility",
            crate::headend::NODE,
            up_if(head_end.is_connected, NodeState::Degraded),
            format!(
                "{running} sessions, {} of {} read, {} gaps",
                head_end.last_reads.succeeded,
                head_end.last_reads.succeeded + head_end.last_reads.missed,
                head_end.gaps
            ),
        ));
    }
    if let Some((stored, failed)) = from.archive {
        layers.push(node(
            "cloud",
            "archive-1",
            up_if(utility.archive && failed == 0, NodeState::Degraded),
            format!(
                "days before {} archived, {stored} objects",
                utility.archived_before
            ),
        ));
    }
    layers
}

fn bills(utility: &UtilityStatus) -> Vec<ClosedBill> {
    utility
        .bills
        .iter()
        .map(|bill| ClosedBill {
            month: bill.month,
            house: house_id(bill.meter),
            amount: bill.amount,
            meter_amount: bill.meter_amount,
            agreed: bill.meter_amount == Some(bill.amount),
            gaps: bill.gaps,
        })
        .collect()
}
