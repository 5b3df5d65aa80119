//! The head-end above a town: every interval arrives, orders are verified, keys change, and no
//! crash makes it repeat itself.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests may unwrap, and panic on whatever else comes"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use gridloom_core::{Currency, Day, MeterId, ObisCode, Period, Seed, UtcTime};
use gridloom_dlms::apdu::AttributeDescriptor;
use gridloom_edge::Reason;
use gridloom_grid::response::Response;
use gridloom_headend::AuditRecord;
use gridloom_headend::command::{End, Order as CommandOrder};
use gridloom_headend::session::{Selection, Step, StepValue};
use gridloom_nodes::headend::{Order, OrderId, OrderState, Part};
use gridloom_sim::hosted::Role;
use gridloom_sim::town::seeded_keys;
use gridloom_sim::world::{Fault, NodeIndex};
use gridloom_sim::{HeadEndPlan, Homes, Town, TownPlan, World, WorldPlan};
use gridloom_store::{KeyKind, KeyState, OperationsStore};

const METER: MeterId = MeterId(2);
const PERIOD: Period = Period::QUARTER_HOUR;

fn start() -> UtcTime {
    Day::from_ymd(2026, 4, 30).unwrap().start()
}

fn hours(count: u64) -> UtcTime {
    start() + Duration::from_hours(count)
}

fn world(seed: u64) -> World {
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
    let plan = WorldPlan {
        head_end: Some(HeadEndPlan::hourly()),
        ..WorldPlan::default()
    };
    World::new(seed, Arc::new(town), plan).unwrap()
}

fn run(world: &mut World, until: UtcTime) {
    world
        .run_until(until, |_, _| {})
        .unwrap_or_else(|error| panic!("{error}"));
}

fn head_end(world: &World) -> NodeIndex {
    let mut nodes = world.nodes();
    nodes.find(|(_, role)| *role == Role::HeadEnd).unwrap().0
}

fn submit(world: &mut World, order: Order) -> OrderId {
    let submitted = world.operate(|node, now| node.submit(order, "anna", now));
    submitted.unwrap().unwrap().unwrap()
}

fn command(world: &mut World, order: CommandOrder) -> OrderId {
    let expires = world.now().utc + Duration::from_hours(12);
    let id = submit(
        world,
        Order::Command {
            targets: vec![METER],
            order,
            reason: "a test".into(),
            expires,
        },
    );
    let confirmed = world.operate(|node, now| node.confirm(id, "bert", now));
    confirmed.unwrap().unwrap().unwrap();
    id
}

fn part(world: &World, id: OrderId) -> Part {
    world.head_end().unwrap().order(id).unwrap().parts[&METER].clone()
}

fn read(world: &mut World, step: Step) -> StepValue {
    let deadline = world.now().utc + Duration::from_hours(1);
    let id = submit(
        world,
        Order::Read {
            targets: vec![METER],
            steps: vec![step],
            deadline,
        },
    );
    let until = world.now().utc + Duration::from_mins(10);
    run(world, until);
    match part(world, id) {
        Part::Read { values, .. } => values.into_iter().next().unwrap().unwrap(),
        other => panic!("{other:?}: {:?}", world.head_end().unwrap().errors()),
    }
}

/// The ends of a meter's intervals that the utility has, sealed or open.
fn ends(world: &World) -> BTreeSet<UtcTime> {
    let disk = world.disk(Role::Utility).unwrap();
    let (first, last) = (start().day(), world.now().utc.day());
    let sealed = gridloom_store::Backend::readings(disk.database(), METER, PERIOD, first..=last);
    let ledger = disk.ledger(world.ledger_config()).unwrap();
    let open = ledger.open_readings(METER, PERIOD, first..=last);
    let all = open.chain(sealed.unwrap());
    all.map(|reading| reading.end).collect()
}

#[test]
fn every_interval_of_a_meter_whose_pushes_are_lost_arrives() {
    let mut world = world(1);
    run(&mut world, hours(1));
    world.withhold(METER);
    run(&mut world, hours(25));
    let held = ends(&world);
    let missing: Vec<_> = (1..=96)
        .map(|n| start() + PERIOD.duration() * n)
        .filter(|end| !held.contains(end))
        .collect();
    let node = world.head_end().unwrap();
    let status = node.status();
    assert_eq!(missing, [], "{status:?} {:?}", node.errors());
    assert!(node.collected_through(METER).unwrap() >= hours(24));
    assert_eq!((status.gaps, status.undelivered), (0, 0));
    assert_eq!(status.reads.missed, 0);
    assert_eq!(world.heard().repeated(), 0);
    let conflicts = world
        .utility()
        .unwrap()
        .status(world.now())
        .counters
        .conflicts;
    assert_eq!(conflicts, 0, "a profile says what the push said");
}

#[test]
fn a_head_end_that_was_away_reads_the_gap() {
    let mut world = world(2);
    run(&mut world, hours(2));
    world.withhold(METER);
    let node = head_end(&world);
    world.schedule(hours(3), Fault::Crash(node));
    // Away for longer than one read reaches: the rest becomes a gap.
    world.schedule(hours(33), Fault::Boot(node));
    run(&mut world, hours(36));
    let held = ends(&world);
    let missing = (1..=35 * 4)
        .map(|n| start() + PERIOD.duration() * n)
        .filter(|end| !held.contains(end))
        .count();
    let node = world.head_end().unwrap();
    assert_eq!(missing, 0, "{:?} {:?}", node.status(), node.errors());
}

#[test]
fn an_operator_reads_and_switches() {
    let mut world = world(3);
    run(&mut world, hours(1));
    let register = Step::Get {
        attribute: AttributeDescriptor {
            class_id: 3,
            instance: ObisCode([1, 0, 1, 8, 0, 255]),
            attribute: 2,
        },
        access: None,
    };
    assert!(matches!(read(&mut world, register), StepValue::Data(_)));
    for (order, output) in [
        (CommandOrder::Disconnect, false),
        (CommandOrder::Connect, true),
    ] {
        let id = command(&mut world, order);
        let until = world.now().utc + Duration::from_mins(10);
        run(&mut world, until);
        assert_eq!(part(&world, id), Part::Ended(End::Verified));
        let report = world.head_end().unwrap().order(id).unwrap();
        assert_eq!(report.state, OrderState::Over);
        let StepValue::Supply(supply) = read(&mut world, Step::ReadSupply) else {
            panic!("another value");
        };
        assert_eq!(supply.output, output);
    }
    let operations = world.disk(Role::HeadEnd).unwrap().operations();
    let open = operations.work(
        gridloom_store::WorkKind::Command,
        gridloom_store::WhichWork::Unfinished,
    );
    assert_eq!(open.unwrap(), [], "what is over is history");
}

/// The current keys of the meter, by kind.
fn current(world: &World) -> Vec<(KeyKind, u64)> {
    let operations = world.disk(Role::HeadEnd).unwrap().operations();
    let keys = operations.keys(Some(METER)).unwrap();
    keys.iter()
        .filter(|row| row.state == KeyState::Current)
        .map(|row| (row.kind, row.key.0))
        .collect()
}

#[test]
fn keys_change_though_the_head_end_crashes_in_the_middle() {
    for seed in 0..8 {
        let mut world = world(100 + seed);
        run(&mut world, hours(1));
        let before = current(&world);
        let node = head_end(&world);
        submit(
            &mut world,
            Order::ChangeKeys {
                meter: METER,
                kinds: BTreeSet::from([KeyKind::UnicastEncryption, KeyKind::Authentication]),
            },
        );
        // Once at a time of its own, and once when it writes next after the restart.
        let crash = world.now().utc + Duration::from_millis(40 + 350 * seed);
        world.schedule(crash, Fault::Crash(node));
        world.schedule(crash + Duration::from_secs(60), Fault::Boot(node));
        world.schedule(crash + Duration::from_secs(64), Fault::CrashWriting(node));
        world.schedule(crash + Duration::from_secs(120), Fault::Boot(node));
        run(&mut world, hours(4));
        let after = current(&world);
        let errors = world.head_end().unwrap().errors().clone();
        assert_eq!(after.len(), before.len());
        // A crash before the pending keys were durable leaves the old ones.
        let changed = after.iter().filter(|key| !before.contains(key)).count();
        assert!(
            changed == 2 || (changed == 0 && seed == 0),
            "seed {seed}: {after:?}"
        );
        assert_eq!(
            errors.get(&METER),
            None,
            "seed {seed}: it is read under them: {:?}",
            world.head_end().unwrap().alarms().collect::<Vec<_>>()
        );
        let register = Step::ReadSupply;
        assert!(matches!(read(&mut world, register), StepValue::Supply(_)));
    }
}

/// Packets that did not verify at the edge since it started.
fn refused(world: &World) -> u64 {
    let reasons = world.edge().unwrap().status().reasons;
    let by_step = reasons.by_step();
    let mut all = by_step.iter().flat_map(|(_, counts)| counts);
    all.find(|(reason, _)| *reason == Reason::BadTag)
        .map_or(0, |(_, count)| *count)
}

#[test]
fn keys_change_under_pushes_and_no_reading_is_lost_refused_or_doubled() {
    for seed in 0..6 {
        let mut world = world(200 + seed);
        run(&mut world, hours(1));
        let head = head_end(&world);
        let edge = world
            .nodes()
            .find(|(_, role)| *role == Role::Edge)
            .unwrap()
            .0;
        for round in 1..=3 {
            let before = current(&world);
            let id = submit(
                &mut world,
                Order::ChangeKeys {
                    meter: METER,
                    kinds: BTreeSet::from([
                        KeyKind::UnicastEncryption,
                        KeyKind::Authentication,
                        KeyKind::BroadcastEncryption,
                        KeyKind::KeyEncryption,
                    ]),
                },
            );
            // In the first round nobody stops; then the edge does, or the head-end, or both.
            let stop = world.now().utc + Duration::from_millis(60 + 500 * seed);
            for (node, is_stopped) in [(edge, round >= 2), (head, round == 3)] {
                if is_stopped {
                    world.schedule(stop, Fault::Crash(node));
                    world.schedule(stop + Duration::from_secs(90), Fault::Boot(node));
                }
            }
            let until = world.now().utc + Duration::from_hours(2);
            run(&mut world, until);
            let after = current(&world);
            let changed = after.iter().filter(|key| !before.contains(key)).count();
            // A crash before the change was durable is as if it had not been ordered.
            assert!(
                changed == 4 || (changed == 0 && round == 3),
                "seed {seed}, round {round}: {after:?} {:?}",
                world.head_end().unwrap().order(id)
            );
            let open = world.disk(Role::HeadEnd).unwrap().operations().work(
                gridloom_store::WorkKind::KeyNews,
                gridloom_store::WhichWork::Unfinished,
            );
            assert_eq!(
                open.unwrap(),
                [],
                "seed {seed}, round {round}: the edge knows them: {changed} {:?}",
                world.head_end().unwrap().alarms().collect::<Vec<_>>()
            );
        }
        assert_eq!(refused(&world), 0, "seed {seed}");
        // The change-over ends, and a start finds the keys in the edge's own memory.
        world.schedule(world.now().utc, Fault::Crash(edge));
        let boot = world.now().utc + Duration::from_secs(5);
        world.schedule(boot, Fault::Boot(edge));
        let until = world.now().utc + Duration::from_hours(1);
        run(&mut world, until);
        assert_eq!(refused(&world), 0, "seed {seed}: after a start");
        let last = world.now().utc - Duration::from_mins(10);
        let held = ends(&world);
        let missing: Vec<_> = (1..)
            .map(|n| start() + PERIOD.duration() * n)
            .take_while(|end| *end < last)
            .filter(|end| !held.contains(end))
            .collect();
        assert_eq!(missing, [], "seed {seed}");
        let counters = world.utility().unwrap().status(world.now()).counters;
        assert_eq!(counters.conflicts, 0, "seed {seed}");
    }
}

#[test]
fn no_crash_makes_the_head_end_repeat_itself() {
    let mut confirmed = 0;
    for seed in 0..50_u64 {
        let mut world = world(1_000 + seed);
        run(&mut world, hours(1));
        let node = head_end(&world);
        let disk = world.disk_mut(Role::HeadEnd).unwrap();
        disk.slow_down(Duration::from_secs(3));
        let ordered = world.heard().orders(METER);
        let id = command(&mut world, CommandOrder::Disconnect);
        let mut at = world.now().utc;
        for crash in 0..10 {
            // While the command is journaled, and later right after a boot or at some time.
            let longest = if crash == 0 { 5_000 } else { 15_000 };
            let pause = Seed::new(seed).child("crash").nth(crash).get() % longest;
            at = at + Duration::from_millis(pause);
            let fault = match crash % 2 {
                0 => Fault::Crash(node),
                _ => Fault::CrashWriting(node),
            };
            world.schedule(at, fault);
            at = at + Duration::from_secs(25);
            world.schedule(at, Fault::Boot(node));
        }
        run(&mut world, hours(4));
        assert_eq!(world.heard().repeated(), 0, "seed {seed}: a counter twice");
        assert!(world.heard().used(METER) > 0);
        let disk = world.disk(Role::HeadEnd).unwrap();
        let lines: Vec<String> = disk
            .operations()
            .audit_log(0, 1_000)
            .unwrap()
            .iter()
            .map(|entry| AuditRecord::decode(&entry.record).unwrap())
            .filter(|record| record.before == format!("command {}", id.0))
            .map(|record| record.after)
            .collect();
        let count = |what: &str| lines.iter().filter(|line| line.starts_with(what)).count();
        let orders = usize::try_from(world.heard().orders(METER) - ordered).unwrap();
        if count("confirmed") == 0 {
            // The crash came before the confirmation was durable.
            assert_eq!(orders, 0, "seed {seed}: nobody will know of it");
            continue;
        }
        // Each further sending needs a look that showed the one before without effect.
        let again = count("not carried out");
        assert!(count("being sent") <= 1 + again, "{lines:?}");
        assert!(
            orders <= 1 + again,
            "seed {seed}: {orders} orders, {lines:?}"
        );
        confirmed += 1;
        assert_eq!(count("ended: Verified"), 1, "seed {seed}: {lines:?}");
        assert_eq!(count("closed"), 1, "seed {seed}: {lines:?}");
        let log = Step::ReadEvents {
            log: ObisCode([0, 0, 99, 98, 6, 255]),
            selection: Selection::All,
        };
        let StepValue::Events(events) = read(&mut world, log) else {
            panic!("another value");
        };
        assert_eq!(events.len(), 1, "seed {seed}: switched once: {events:?}");
    }
    assert!(
        confirmed > 25,
        "most crashes hit what was ordered: {confirmed}"
    );
}
