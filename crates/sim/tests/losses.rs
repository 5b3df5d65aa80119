//! What links lose by nature is nobody's fault: over a day on every technology no gateway is said
//! to withhold anything.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

use std::sync::Arc;
use std::time::Duration;

use gridloom_core::{Currency, Day, Period, Seed};
use gridloom_edge::IncidentKind;
use gridloom_grid::Response;
use gridloom_sim::Technology;
use gridloom_sim::town::{Homes, Town, TownPlan, seeded_keys};
use gridloom_sim::world::{World, WorldPlan};

/// A day of six meters at three gateways, and the technology's own losses.
fn no_gateway_is_blamed(links: [(Technology, u8); 5], first_seed: u64) {
    let start = Day::from_ymd(2026, 5, 4).unwrap().start();
    for ((technology, hops), number) in links.iter().cycle().zip(first_seed..first_seed + 50) {
        let seed = Seed::new(number);
        let town = TownPlan {
            seed,
            period: Period::QUARTER_HOUR,
            start,
            currency: Currency::new("EUR", 2).unwrap(),
            homes: Homes::Households {
                count: 6,
                response: Response::Off,
            },
        };
        let plan = WorldPlan {
            field: technology.link(*hops),
            meters_per_gateway: 2,
            ..WorldPlan::default()
        };
        let town = Arc::new(Town::new(town, seeded_keys(seed)).unwrap());
        let mut world = World::new(seed, town, plan).unwrap();
        let day = start + Duration::from_secs(86_400);
        world.run_until(day, |_, _| {}).unwrap();
        let edge = world.edge().unwrap();
        assert!(edge.status().verdicts.forwarded > 500, "it runs");
        let blamed: Vec<_> = edge
            .incidents()
            .filter(|it| matches!(it.kind, IncidentKind::Loss | IncidentKind::Silence))
            .collect();
        assert!(
            blamed.is_empty(),
            "{technology:?}, seed {number}: {blamed:?}"
        );
    }
}

#[test]
fn losses_of_meshes_and_power_lines_are_no_alarm() {
    no_gateway_is_blamed(
        [
            (Technology::WiSun, 1),
            (Technology::WiSun, 5),
            (Technology::PrimePlc, 2),
            (Technology::G3Plc, 2),
            (Technology::BadMesh, 1),
        ],
        0,
    );
}

#[test]
fn losses_of_radio_are_no_alarm() {
    no_gateway_is_blamed(
        [
            (Technology::NbIot, 1),
            (Technology::LteM, 1),
            (Technology::Dmr, 1),
            (Technology::WiSun, 3),
            (Technology::PrimePlc, 1),
        ],
        50,
    );
}
