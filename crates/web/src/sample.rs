//! One snapshot with every field filled, and one with everything unknown, for the tests.

pub(crate) mod security;

use gridloom_core::{Currency, Millivolts, Money, Month, Price, UtcTime};

use crate::desk::{
    HeadEndView, LaneCounts, MeterFault, MeterView, OrderKind, OrderState, OrderView, PartState,
    PartView, PushesView, ReadRateView,
};
use crate::model::{
    Appliance, ClosedBill, Counters, DemandResponse, DisplayItem, House, HouseDetail, HouseRow,
    HouseState, LayerNode, RunFigures, Snapshot, Station, Tariff, TrendPoint,
};
use crate::network::{BufferDropped, BufferGap, BufferView, DelayPart, DelayView, Network};
use crate::pair::{PairEdge, PairView};
use crate::topology::{
    FailoverView, NetworkNode, NetworkWay, NodeState, PathsView, Topology, WayState,
};

fn euro(minor: i64) -> Money {
    Money::from_minor(minor, Currency::new("EUR", 2).unwrap())
}

fn price(text: &str) -> Price {
    Price::parse(text).unwrap()
}

/// Every field is known, every state and list entry occurs.
pub(crate) fn full() -> Snapshot {
    let now = UtcTime::parse("2026-11-21T12:00:05Z").unwrap();
    let end = UtcTime::parse("2026-11-21T12:00:00Z").unwrap();
    let states = HouseState::ALL.into_iter().zip(["h1", "h2", "h4"]);
    let nodes = NodeState::ALL
        .into_iter()
        .zip(["gateway-1", "edge-1", "archive"]);
    let figures = RunFigures {
        peak_w: 9_000,
        energy_wh: 120_000,
        cost: euro(2_400),
        load_factor_permille: 555,
    };
    Snapshot {
        utility: "Test utility".to_owned(),
        currency: "EUR".to_owned(),
        minor_digits: 2,
        now,
        speed: 60,
        interval_s: 900,
        total_w: Some(4_321),
        price_per_kwh: Some(price("0.1875")),
        price_interval_end: Some(end),
        tariff: Tariff {
            p_min: price("0.1"),
            p_max: price("0.5"),
            x0_w: 5_000.0,
            k_per_w: 0.000_5,
        },
        stations: vec![Station {
            name: "S1".to_owned(),
            technology: "wind".to_owned(),
            year: 2021,
            capacity_w: 10_000,
            min_w: 500,
            cost_per_mwh: price("0.04235"),
            output_w: 4_321,
            on: true,
        }],
        houses: states
            .map(|(state, id)| House {
                row: HouseRow {
                    id: id.to_owned(),
                    name: format!("House {id}"),
                    phases: 1,
                    power_w: Some(1_234),
                    voltage_v: Some(Millivolts::new(230_400)),
                    state,
                    last_heard: Some(now),
                    energy_wh: Some(1_234_567),
                    bill_so_far: Some(euro(1_205)),
                    meter_bill: Some(euro(1_205)),
                    unpriced: 0,
                    day: vec![Some(200), None, Some(900)],
                },
                detail: HouseDetail {
                    appliances: vec![Appliance {
                        name: "Kettle".to_owned(),
                        watts: 2_000,
                        on: true,
                    }],
                    display: vec![DisplayItem {
                        code: "1.8.0".to_owned(),
                        label: "Units consumed".to_owned(),
                        value: "001234.567".to_owned(),
                        unit: "kWh".to_owned(),
                    }],
                },
            })
            .collect(),
        trend: vec![TrendPoint {
            end,
            total_w: Some(4_200),
            price_per_kwh: Some(price("0.1875")),
        }],
        counters: Counters {
            readings_stored: 96,
            duplicates: 2,
            conflicts: 1,
            replayed: 3,
            bad_tag: 4,
            unknown: 5,
            malformed: 6,
            gaps: 7,
        },
        layers: nodes
            .map(|(state, node)| LayerNode {
                layer: "edge".to_owned(),
                node: node.to_owned(),
                state,
                detail: "3 \"meters\"".to_owned(),
            })
            .collect(),
        bills: [(10, 1_000), (9, 999)]
            .map(|(month, minor)| ClosedBill {
                month: Month::new(2026, month).unwrap(),
                house: "h1".to_owned(),
                amount: euro(minor),
                meter_amount: Some(euro(minor)),
                agreed: true,
                gaps: 0,
            })
            .to_vec(),
        demand_response: Some(DemandResponse {
            baseline: figures.clone(),
            responding: figures,
        }),
        network: Network {
            buffers: vec![BufferView {
                node: "edge-1".to_owned(),
                entries: 12,
                in_flight: 3,
                bytes: 4_096,
                bytes_max: 1 << 28,
                oldest: Some(end),
                oldest_age_s: Some(90),
                taken: 40,
                acknowledged: 26,
                sent_again: 1,
                dropped: BufferDropped {
                    full: 0,
                    damaged: 2,
                    unanswered: 0,
                },
                disk_failures: 0,
                gaps_untaken: 1,
                gaps: vec![BufferGap {
                    lane: "readings".to_owned(),
                    cause: "damaged".to_owned(),
                    meter: Some("h1".to_owned()),
                    from: Some(end),
                    to: Some(end),
                    entries: 2,
                }],
            }],
            delay: Some(DelayView {
                parts: vec![DelayPart {
                    part: "T_e".to_owned(),
                    count: 40,
                    p50_us: Some(900),
                    p95_us: Some(1_050_000),
                    p99_us: Some(2_000_000),
                    max_us: 2_500_000,
                }],
                ahead: 1,
            }),
            topology: topology(),
            paths: vec![PathsView {
                node: "gateway-1".to_owned(),
                in_use: Some("backup"),
                switches: 1,
                homecomings: 0,
                silences: 1,
                heartbeat_ms: Some(500),
                silence_max_ms: Some(1_500),
                home_after_ms: 60_000,
            }],
            failovers: vec![FailoverView {
                at: now,
                node: "gateway-1".to_owned(),
                from: Some("edge-1".to_owned()),
                to: Some("edge-2".to_owned()),
                why: "silence",
                without_ms: Some(500),
            }],
        },
    }
}

/// Every tier, and a way in every state.
fn topology() -> Topology {
    let node = |tier: &'static str, name: &str, state, meters| NetworkNode {
        name: name.to_owned(),
        tier,
        is_here: tier != "edge",
        state,
        meters,
    };
    let states = NodeState::ALL.map(Some);
    let tiers = ["gateway", "edge", "utility"].into_iter().zip(states);
    let mut nodes: Vec<_> = tiers
        .map(|(tier, state)| node(tier, &format!("{tier}-1"), state, Some(3)))
        .collect();
    nodes.push(node("edge", "edge-2", None, None));
    let ranks = ["primary", "backup", "only"].into_iter();
    let ways = WayState::ALL.into_iter().zip(ranks);
    Topology {
        nodes,
        ways: ways
            .map(|(state, rank)| NetworkWay {
                from: "gateway-1".to_owned(),
                to: "edge-1".to_owned(),
                rank,
                state,
            })
            .collect(),
        left_off: 0,
    }
}

/// What a network can be: everything known, nothing there, and nodes of which little is known.
pub(crate) fn networks() -> [Network; 3] {
    let mut dim = full().network;
    for buffer in &mut dim.buffers {
        (buffer.oldest, buffer.oldest_age_s) = (None, None);
        for gap in &mut buffer.gaps {
            (gap.meter, gap.from, gap.to) = (None, None, None);
        }
    }
    for part in dim.delay.iter_mut().flat_map(|delay| &mut delay.parts) {
        (part.p50_us, part.p95_us, part.p99_us) = (None, None, None);
    }
    for paths in &mut dim.paths {
        (paths.in_use, paths.heartbeat_ms, paths.silence_max_ms) = (None, None, None);
    }
    for change in &mut dim.failovers {
        (change.from, change.to, change.without_ms) = (None, None, None);
    }
    [full().network, Network::default(), dim]
}

/// A pair in step, and one whose other member is being copied to.
pub(crate) fn pairs() -> [PairView; 2] {
    let full = PairView {
        place: 1,
        standing: "active",
        epoch: 3,
        lease_left_ms: 1_500,
        alone: false,
        peer: "in_step",
        copy: None,
        behind: 0,
        edges: vec![PairEdge {
            name: "edge-1".to_owned(),
            connected: true,
        }],
        entries: 7,
        copies: 1,
        advice: None,
    };
    let copying = PairView {
        copy: Some((1, 2)),
        advice: Some("wait".to_owned()),
        ..full.clone()
    };
    [full, copying]
}

/// The same utility before anything was heard.
pub(crate) fn unknown() -> Snapshot {
    let mut snapshot = full();
    snapshot.total_w = None;
    snapshot.price_per_kwh = None;
    snapshot.price_interval_end = None;
    snapshot.demand_response = None;
    snapshot.network = Network::default();
    for house in &mut snapshot.houses {
        house.row.power_w = None;
        house.row.voltage_v = None;
        house.row.last_heard = None;
        house.row.energy_wh = None;
        house.row.bill_so_far = None;
        house.row.meter_bill = None;
    }
    for point in &mut snapshot.trend {
        point.total_w = None;
        point.price_per_kwh = None;
    }
    for bill in &mut snapshot.bills {
        bill.meter_amount = None;
    }
    snapshot
}

/// A meter of which everything is known, and one that was never talked to.
pub(crate) fn meters() -> [MeterView; 2] {
    let fresh = MeterView {
        id: 2,
        title: "47524C0000000002".to_owned(),
        serial: "S2".to_owned(),
        name: "2 Mill Lane".to_owned(),
        address: "192.0.2.7:4059".to_owned(),
        transport: "tcp-wrapper".to_owned(),
        template: "gridloom".to_owned(),
        groups: vec!["lane".to_owned()],
        state: "active".to_owned(),
        collected_through: None,
        last_error: None,
    };
    let known = MeterView {
        id: 1,
        collected_through: Some("2026-11-21T12:00:00Z".to_owned()),
        last_error: Some(MeterFault {
            layer: "key".to_owned(),
            text: "the tag does not fit; check the meter's keys".to_owned(),
            at: "2026-11-21T11:45:10Z".to_owned(),
        }),
        ..fresh.clone()
    };
    [known, fresh]
}

/// An order of every kind; every state of an order and of a part occurs.
pub(crate) fn orders() -> Vec<OrderView> {
    let states = [OrderState::Selected, OrderState::Running, OrderState::Over];
    let parts = [
        PartState::Queued,
        PartState::Running,
        PartState::Done,
        PartState::Failed,
    ];
    (1..)
        .zip(OrderKind::ALL)
        .zip(states.into_iter().cycle())
        .map(|((id, kind), state)| OrderView {
            id,
            kind,
            by: "night shift".to_owned(),
            at: "2026-11-21T12:00:00Z".to_owned(),
            state,
            total: 4,
            queued: 1,
            running: 1,
            done: 1,
            failed: 1,
            parts: (1..)
                .zip(parts)
                .map(|(meter, state)| PartView {
                    meter,
                    state,
                    detail: "12 of 96 rows".to_owned(),
                })
                .collect(),
        })
        .collect()
}

/// A head-end after its first interval, and before.
pub(crate) fn headends() -> [HeadEndView; 2] {
    let before = HeadEndView {
        meters: 12,
        sessions: 3,
        queued_by_lane: LaneCounts {
            on_demand: 4,
            command: 5,
            backfill: 6,
            periodic: 7,
        },
        read_rate: None,
        alarms: 2,
        orders_open: 1,
        pushes: PushesView {
            accepted: 40,
            bad_tag: 3,
            ..PushesView::default()
        },
    };
    let after = HeadEndView {
        read_rate: Some(ReadRateView {
            due: "2026-11-21T12:00:00Z".to_owned(),
            succeeded: 11,
            missed: 1,
        }),
        ..before.clone()
    };
    [after, before]
}
