//! The delay of readings is measured by the nodes, and is what the links and the outage made it.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

use std::sync::Arc;
use std::time::Duration;

use gridloom_core::{Currency, Day, Period, Seed, UtcTime};
use gridloom_grid::response::Response;
use gridloom_nodes::delay::DelayReport;
use gridloom_sim::hosted::Role;
use gridloom_sim::town::seeded_keys;
use gridloom_sim::world::Fault;
use gridloom_sim::{Homes, LinkModel, Town, TownPlan, World, WorldPlan};

fn start() -> UtcTime {
    Day::from_ymd(2026, 4, 30).unwrap().start()
}

fn minutes(count: u64) -> UtcTime {
    start() + Duration::from_mins(count)
}

/// Links behind the gateway that take 200 ms, give or take what a lognormal does.
fn world() -> World {
    let seed = Seed::new(11);
    let plan = TownPlan {
        seed,
        period: Period::QUARTER_HOUR,
        start: start(),
        currency: Currency::new("EUR", 2).unwrap(),
        homes: Homes::Households {
            count: 4,
            response: Response::Off,
        },
    };
    let town = Town::new(plan, seeded_keys(seed)).unwrap();
    let millis = Duration::from_millis;
    let plan = WorldPlan {
        wide_area: LinkModel::WIDE_AREA
            .with_mean(millis(200), millis(210))
            .unwrap(),
        ..WorldPlan::default()
    };
    World::new(seed, Arc::new(town), plan).unwrap()
}

fn run(world: &mut World, until: UtcTime) {
    world
        .run_until(until, |_, _| {})
        .unwrap_or_else(|error| panic!("{error}"));
}

fn medians(report: &DelayReport) -> Vec<u64> {
    let parts = report.parts();
    let median = parts.iter().map(|(_, part)| part.permille(500).unwrap());
    median
        .map(|time| time.as_millis().try_into().unwrap())
        .collect()
}

#[test]
fn each_hop_measures_its_own_share() {
    let mut world = world();
    run(&mut world, minutes(24 * 60));
    let report = world.delays();
    let [meter, gateway, edge, utility, tiers, whole] = medians(&report)[..] else {
        panic!("six parts");
    };
    // Half a round trip over a link of 200 ms, an eighth more at most by the histogram's steps.
    assert!((150..=260).contains(&gateway), "{report:?}");
    assert!((150..=260).contains(&edge), "{report:?}");
    assert!((300..=600).contains(&tiers), "{report:?}");
    assert!((1..5_000).contains(&meter), "{report:?}");
    assert!(utility < 100, "{report:?}");
    assert!(whole >= meter + gateway.min(edge), "{report:?}");
    let counts = report.parts().map(|(_, part)| part.count());
    assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
    // Four meters, 96 intervals, and nearly all of them arrived at their first push.
    assert!(counts[0] > 360 && counts[0] <= 384, "{counts:?}");
    assert_eq!(report.ahead, 0);
}

#[test]
fn an_outage_of_the_utility_is_time_at_the_edge() {
    let mut world = world();
    run(&mut world, minutes(61));
    let edge = world
        .nodes()
        .find(|(_, role)| *role == Role::Edge)
        .unwrap()
        .0;
    let cable = world.cable_above(edge).unwrap();
    let now = world.now().utc;
    let before = world.delays();
    world.schedule(now, Fault::Cut(cable));
    world.schedule(minutes(91), Fault::Mend(cable));
    run(&mut world, minutes(100));
    let after = world.delays();
    assert!(before.edge.longest() < Duration::from_secs(5), "{before:?}");
    // The first reading of the outage came at the end of its first quarter of an hour.
    let longest = after.edge.longest();
    assert!(longest > Duration::from_mins(14), "{longest:?}");
    assert!(longest < Duration::from_mins(17), "{longest:?}");
    assert!(after.gateway.longest() < Duration::from_secs(5));
}
