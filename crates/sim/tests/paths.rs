//! Alternate paths: what the loss of a gateway or of an edge costs in time, that nothing flaps,
//! and that no meter which takes another way is taken for a clone.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use gridloom_core::{Currency, Day, Period, Seed, UtcTime};
use gridloom_edge::Reason;
use gridloom_grid::Response;
use gridloom_headend::session::Step;
use gridloom_nodes::Rank;
use gridloom_nodes::headend::{Order, Part};
use gridloom_sim::hosted::Role;
use gridloom_sim::town::seeded_keys;
use gridloom_sim::world::{CableIndex, Fault, NodeIndex, Way};
use gridloom_sim::{Alternates, HeadEndPlan, Homes, StoreView, Town, TownPlan, World, WorldPlan};

const HOUSES: u32 = 24;
const GATEWAYS: usize = 4;
const STEP: Duration = Duration::from_millis(50);

fn period() -> Period {
    Period::from_secs(300).unwrap()
}

fn start() -> UtcTime {
    Day::from_ymd(2026, 4, 30).unwrap().start()
}

fn world(seed: u64) -> World {
    world_with(seed, None)
}

fn world_with(seed: u64, head_end: Option<HeadEndPlan>) -> World {
    let seed = Seed::new(seed);
    let plan = TownPlan {
        seed,
        period: period(),
        start: start(),
        currency: Currency::new("EUR", 2).unwrap(),
        homes: Homes::Households {
            count: HOUSES,
            response: Response::Off,
        },
    };
    let town = Town::new(plan, seeded_keys(seed)).unwrap();
    let plan = WorldPlan {
        meters_per_gateway: HOUSES as usize / GATEWAYS,
        alternates: Some(Alternates::default()),
        head_end,
        ..WorldPlan::default()
    };
    World::new(seed, Arc::new(town), plan).unwrap()
}

fn run(world: &mut World, until: UtcTime) {
    world
        .run_until(until, |_, _| {})
        .unwrap_or_else(|error| panic!("{error}"));
}

fn node(world: &World, role: Role) -> NodeIndex {
    world.nodes().find(|(_, it)| *it == role).unwrap().0
}

/// The end of an interval that comes after everybody is connected.
fn end() -> UtcTime {
    start() + period().duration() * 2
}

/// Meters whose reading of this interval, and all before it, are acknowledged.
fn served(world: &World, end: UtcTime) -> usize {
    let until = end + Duration::from_millis(1);
    world
        .meters()
        .filter(|(_, node)| node.meter().owes_before(until) == 0)
        .count()
}

/// The time from the fault until nine readings in ten of the interval are acknowledged.
fn t_90(world: &mut World, fault_at: UtcTime, faults: &[Fault]) -> Duration {
    for fault in faults {
        world.schedule(fault_at, *fault);
    }
    run(world, fault_at.max(end()));
    while served(world, end()) * 10 < HOUSES as usize * 9 {
        let next = world.now().utc + STEP;
        assert!(
            next < end() + Duration::from_mins(4),
            "served {}",
            served(world, end())
        );
        run(world, next);
    }
    world.now().utc.since(fault_at)
}

/// Everything is mended: all that is due is stored, each once, nobody is cloned or held, and
/// everybody is at home again.
fn settle(world: &mut World, what: &str) {
    world.heal().unwrap();
    let until = world.now().utc + Duration::from_mins(8);
    run(world, until);
    let due = until - Duration::from_mins(1);
    let disk = world.disk(Role::Utility).unwrap();
    let view = StoreView::read(disk, world.ledger_config(), period()).unwrap();
    for meter in world.town().meters() {
        let readings = view.open(meter, start().day(), until.day());
        let ends: Vec<UtcTime> = readings
            .iter()
            .map(|it| it.end)
            .filter(|it| *it <= due)
            .collect();
        let once: BTreeSet<UtcTime> = ends.iter().copied().collect();
        let expected = due.since(start()).as_secs() / u64::from(period().as_secs());
        assert_eq!(once.len(), ends.len(), "{what}: {meter} twice");
        assert_eq!(once.len() as u64, expected, "{what}: {meter}");
        let day = (start().day(), until.day());
        assert_eq!(
            view.contradictions(meter, day.0, day.1).unwrap(),
            0,
            "{what}"
        );
    }
    for edge in [world.edge().unwrap(), world.backup_edge().unwrap()] {
        let status = edge.status();
        assert_eq!(status.reasons.get(Reason::Cloned), 0, "{what}");
        assert_eq!(status.verdicts.quarantined, 0, "{what}");
    }
    for gateway in world.gateways() {
        assert_eq!(gateway.paths().in_use, Some(Rank::Primary), "{what}");
    }
    for (_, meter) in world.meters() {
        assert_eq!(meter.paths().in_use, Some(Rank::Primary), "{what}");
    }
}

/// Every cable whose lower and upper ends are these.
fn between(world: &World, lower: impl Fn(Role) -> bool, upper: Role) -> Vec<CableIndex> {
    let upper = node(world, upper);
    world
        .cables()
        .filter(|(cable, role)| lower(*role) && world.upper_end(*cable) == upper)
        .map(|(cable, _)| cable)
        .collect()
}

fn is_gateway(role: Role) -> bool {
    matches!(role, Role::Gateway(_))
}

fn is_meter(role: Role) -> bool {
    matches!(role, Role::Meter(_))
}

type Loss = (&'static str, fn(&World) -> Vec<Fault>);

/// What is lost. A gateway has a quarter of the meters, an edge half of them.
const LOSSES: [Loss; 9] = [
    ("a gateway stops", |world| {
        vec![Fault::Crash(node(world, Role::Gateway(2)))]
    }),
    ("an edge stops", |world| {
        vec![Fault::Crash(node(world, Role::Edge))]
    }),
    ("the other edge stops", |world| {
        vec![Fault::Crash(node(world, Role::BackupEdge))]
    }),
    ("an edge hears nothing", |world| {
        let cables = between(world, is_gateway, Role::Edge);
        cables
            .into_iter()
            .map(|it| Fault::Mute(it, Way::Up))
            .collect()
    }),
    ("an edge is not heard", |world| {
        let cables = between(world, is_gateway, Role::Edge);
        cables
            .into_iter()
            .map(|it| Fault::Mute(it, Way::Down))
            .collect()
    }),
    ("an edge is cut off from its gateways", |world| {
        let cables = between(world, is_gateway, Role::Edge);
        cables.into_iter().map(Fault::Cut).collect()
    }),
    ("a gateway hears nothing", |world| {
        let cables = between(world, is_meter, Role::Gateway(1));
        cables
            .into_iter()
            .map(|it| Fault::Mute(it, Way::Up))
            .collect()
    }),
    ("a gateway is not heard", |world| {
        let cables = between(world, is_meter, Role::Gateway(1));
        cables
            .into_iter()
            .map(|it| Fault::Mute(it, Way::Down))
            .collect()
    }),
    ("a gateway loses both edges", |world| {
        let is_first = |role| role == Role::Gateway(1);
        let both = [Role::Edge, Role::BackupEdge];
        let cables = both
            .into_iter()
            .flat_map(|edge| between(world, is_first, edge));
        cables.map(Fault::Cut).collect()
    }),
];

/// Just before the readings come, while they are on their way, and when most have arrived.
const OFFSETS_MS: [i64; 5] = [-400, 0, 60, 120, 250];

/// Of the issue: nine readings in ten come again within five seconds.
fn within_five_seconds(losses: std::ops::Range<usize>) {
    for (name, faults) in &LOSSES[losses] {
        let mut worst = Duration::ZERO;
        for (seed, offset) in (0..).zip(OFFSETS_MS) {
            let mut world = world(seed);
            let before = end() - Duration::from_secs(2);
            run(&mut world, before);
            let fault_at = UtcTime::from_millis(end().as_millis() + offset);
            let faults = faults(&world);
            let took = t_90(&mut world, fault_at, &faults);
            worst = worst.max(took);
            assert!(
                took < Duration::from_secs(5),
                "{name}, {offset} ms: {took:?}"
            );
            settle(&mut world, name);
        }
        eprintln!("{name}: T_90 at most {worst:?}");
    }
}

#[test]
fn nine_in_ten_are_back_within_five_seconds_0() {
    within_five_seconds(0..3);
}

#[test]
fn nine_in_ten_are_back_within_five_seconds_1() {
    within_five_seconds(3..6);
}

#[test]
fn nine_in_ten_are_back_within_five_seconds_2() {
    within_five_seconds(6..LOSSES.len());
}

/// The next edge knows whose lines it has: an order goes through before the meter speaks again.
#[test]
fn an_order_finds_its_meter_at_the_other_edge_at_once() {
    for lost in [Role::Edge, Role::BackupEdge] {
        let mut world = world_with(3, Some(HeadEndPlan::hourly()));
        let spoken = end() + Duration::from_secs(30);
        run(&mut world, spoken);
        let fault = Fault::Crash(node(&world, lost));
        world.schedule(spoken, fault);
        let ordered = spoken + Duration::from_secs(5);
        run(&mut world, ordered);
        let order = Order::Read {
            targets: world.town().meters(),
            steps: vec![Step::ReadSupply],
            deadline: ordered + Duration::from_hours(1),
        };
        let submitted = world.operate(|node, now| node.submit(order, "anna", now));
        let id = submitted.unwrap().unwrap().unwrap();
        // Half an interval after the last one, and well before the next.
        run(&mut world, ordered + Duration::from_mins(3));
        let report = world.head_end().unwrap().order(id).unwrap();
        for (meter, part) in &report.parts {
            assert!(
                matches!(part, Part::Read { .. }),
                "{lost:?}, {meter}: {part:?}"
            );
        }
    }
}

/// A link that comes and goes does not take the meters with it: a way that is lost is left, and
/// taken up again a bounded number of times.
#[test]
fn a_flapping_link_is_left_alone() {
    // The seconds that it stands, and that it does not.
    for (up_s, down_s) in [(20, 10), (75, 10), (200, 5)] {
        let mut world = world(7);
        let begin = start() + Duration::from_mins(10);
        run(&mut world, begin);
        let cable = world.cable_above(node(&world, Role::Gateway(1))).unwrap();
        let (mut at, until) = (begin, begin + Duration::from_hours(1));
        while at < until {
            world.schedule(at, Fault::Cut(cable));
            world.schedule(at + Duration::from_secs(down_s), Fault::Mend(cable));
            at = at + Duration::from_secs(down_s + up_s);
        }
        run(&mut world, until);
        let status = world.gateways().next().unwrap().paths();
        assert!(status.homecomings <= 4, "{up_s}/{down_s}: {status:?}");
        assert!(status.switches <= 1 + 2 * status.homecomings, "{status:?}");
        assert_eq!(
            status.homecomings == 0,
            up_s < 60,
            "{up_s}/{down_s}: {status:?}"
        );
        eprintln!("{up_s} s up, {down_s} s down: {status:?}");
    }
}
