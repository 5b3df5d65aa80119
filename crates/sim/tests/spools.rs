//! What buffers had to give up is named, read from the meters, and there in the end.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use gridloom_core::{Currency, Day, MeterId, Period, Seed, UtcTime};
use gridloom_grid::response::Response;
use gridloom_headend::schedule::Recurrence;
use gridloom_sim::hosted::Role;
use gridloom_sim::town::seeded_keys;
use gridloom_sim::world::{Fault, NodeIndex};
use gridloom_sim::{HeadEndPlan, Homes, Town, TownPlan, World, WorldPlan};
use gridloom_store::SpoolConfig;

/// Its pushes never reach the utility; only its tunnel does.
const METER: MeterId = MeterId(2);
const PERIOD: Period = Period::QUARTER_HOUR;

fn start() -> UtcTime {
    Day::from_ymd(2026, 4, 30).unwrap().start()
}

fn hours(count: u64) -> UtcTime {
    start() + Duration::from_hours(count)
}

/// A head-end that reads nobody by itself for a month.
fn world(seed: u64, spool: SpoolConfig) -> World {
    let seed = Seed::new(seed);
    let plan = TownPlan {
        seed,
        period: PERIOD,
        start: start(),
        currency: Currency::new("EUR", 2).unwrap(),
        homes: Homes::Households {
            count: 3,
            response: Response::Off,
        },
    };
    let town = Town::new(plan, seeded_keys(seed)).unwrap();
    let hours = Duration::from_hours;
    let reading = Recurrence::new(hours(24 * 30), hours(1), hours(2), hours(1)).unwrap();
    let plan = WorldPlan {
        spool,
        head_end: Some(HeadEndPlan { reading }),
        ..WorldPlan::default()
    };
    World::new(seed, Arc::new(town), plan).unwrap()
}

fn run(world: &mut World, until: UtcTime) {
    world
        .run_until(until, |_, _| {})
        .unwrap_or_else(|error| panic!("{error}"));
}

fn edge(world: &World) -> NodeIndex {
    let mut nodes = world.nodes();
    nodes.find(|(_, role)| *role == Role::Edge).unwrap().0
}

/// The meter's intervals of the first `count` that the utility has not.
fn missing(world: &World, count: u32) -> Vec<UtcTime> {
    let disk = world.disk(Role::Utility).unwrap();
    let (first, last) = (start().day(), world.now().utc.day());
    let sealed = gridloom_store::Backend::readings(disk.database(), METER, PERIOD, first..=last);
    let ledger = disk.ledger(world.ledger_config()).unwrap();
    let open = ledger.open_readings(METER, PERIOD, first..=last);
    let held: BTreeSet<UtcTime> = open
        .chain(sealed.unwrap())
        .map(|reading| reading.end)
        .collect();
    (1..=count)
        .map(|n| start() + PERIOD.duration() * n)
        .filter(|end| !held.contains(end))
        .collect()
}

/// Every gap that was named is read and closed by itself.
fn assert_closed(world: &World) {
    let status = world.head_end().unwrap().status();
    let (untaken, named) = world.edge().unwrap().gaps();
    assert!(status.gaps_named > 0 && !named.is_empty(), "{status:?}");
    assert_eq!((status.gaps, status.undelivered, untaken), (0, 0, 0));
}

#[test]
fn what_the_utility_never_answered_for_is_read_from_the_meter() {
    let mut world = world(3, SpoolConfig::default());
    run(&mut world, hours(1));
    world.withhold(METER);
    run(&mut world, hours(6));
    // The edge gives a reading up half an hour after it came, and the meter is read at once.
    assert_eq!(missing(&world, 20), []);
    assert!(!missing(&world, 24).is_empty(), "its pushes do arrive");
    world.release(METER);
    run(&mut world, hours(8));
    assert_closed(&world);
}

#[test]
fn what_a_full_edge_gave_up_is_read_from_the_meter() {
    let small = SpoolConfig {
        bytes_max: 16 * 1_024,
        segment_bytes: 2_048,
        ..SpoolConfig::default()
    };
    let mut world = world(4, small);
    run(&mut world, hours(1));
    let cable = world.cable_above(edge(&world)).unwrap();
    let now = world.now().utc;
    world.schedule(now, Fault::Cut(cable));
    world.schedule(hours(21), Fault::Mend(cable));
    world.withhold(METER);
    run(&mut world, hours(21));
    let full = world.edge().unwrap().spool();
    assert!(full.bytes <= small.bytes_max, "{full:?}");
    assert!(full.counters.lost_full > 50, "{full:?}");
    run(&mut world, hours(24));
    assert_eq!(missing(&world, 92), []);
    world.release(METER);
    run(&mut world, hours(26));
    assert_closed(&world);
}

/// A gateway holds no keys: it names whom frames claim to be from, and the edge says who that is.
#[test]
fn what_a_full_gateway_gave_up_is_read_from_the_meters() {
    let small = SpoolConfig {
        bytes_max: 16 * 1_024,
        segment_bytes: 2_048,
        ..SpoolConfig::default()
    };
    let mut world = world(5, small);
    run(&mut world, hours(1));
    let mut nodes = world.nodes();
    let gateway = nodes
        .find(|(_, role)| matches!(role, Role::Gateway(_)))
        .unwrap();
    let gateway = gateway.0;
    drop(nodes);
    let cable = world.cable_above(gateway).unwrap();
    let now = world.now().utc;
    world.schedule(now, Fault::Cut(cable));
    world.schedule(hours(13), Fault::Mend(cable));
    world.withhold(METER);
    run(&mut world, hours(13));
    let full = world.gateways().next().unwrap().spool();
    assert!(full.counters.lost_full > 20, "{full:?}");
    run(&mut world, hours(16));
    assert_eq!(missing(&world, 60), []);
    world.release(METER);
    run(&mut world, hours(18));
    let (untaken, named) = world.gateways().next().unwrap().gaps();
    assert!(untaken == 0 && !named.is_empty(), "{untaken} of {named:?}");
    let status = world.head_end().unwrap().status();
    assert!(status.gaps_named > 0, "{status:?}");
    assert_eq!((status.gaps, status.undelivered), (0, 0));
}

/// Bits flip in the buffer of an edge that has no utility. What they cost is named as damage, and
/// nothing is missing in the end.
#[test]
fn a_rotten_buffer_names_what_it_lost() {
    let mut damaged = 0;
    for seed in 0..6 {
        let mut world = world(seed, SpoolConfig::default());
        run(&mut world, hours(1));
        let edge = edge(&world);
        let cable = world.cable_above(edge).unwrap();
        let now = world.now().utc;
        world.schedule(now, Fault::Cut(cable));
        world.schedule(hours(8), Fault::Rot(edge));
        world.schedule(hours(9), Fault::Mend(cable));
        run(&mut world, hours(12));
        assert!(world.counters().bits_flipped > 0);
        damaged += world.edge().unwrap().spool().counters.lost_damaged;
        assert_eq!(missing(&world, 44), [], "seed {seed}");
    }
    assert!(damaged > 0, "no flipped bit cost anything");
}

/// A week of 1,000 meters at quarter hours, by the records that gateway and edge really write.
#[test]
fn a_week_of_a_thousand_meters_fits_by_the_real_records() {
    for role in [Role::Edge, Role::Gateway(1)] {
        let mut world = world(6, SpoolConfig::default());
        run(&mut world, hours(1));
        let node = world.node(role).unwrap();
        let cable = world.cable_above(node).unwrap();
        let now = world.now().utc;
        world.schedule(now, Fault::Cut(cable));
        run(&mut world, hours(2));
        let status = if role == Role::Edge {
            world.edge().unwrap().spool()
        } else {
            world.gateways().next().unwrap().spool()
        };
        assert!(status.waiting >= 12, "{role:?}: {status:?}");
        let record = status.bytes.div_ceil(status.waiting);
        let week = record * 1_000 * 96 * 7;
        assert!(
            week < SpoolConfig::default().bytes_max,
            "{role:?}: {record} bytes a record, {week} a week"
        );
        eprintln!("{role:?}: {record} bytes a record, {week} bytes a week of 1,000 meters");
    }
}
