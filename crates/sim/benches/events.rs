//! Events per second of a day of a hundred houses, from switching on to midnight.

use std::sync::Arc;
use std::time::Duration;

use divan::counter::ItemsCount;
use gridloom_core::{Currency, Day, Period, Seed};
use gridloom_grid::Response;
use gridloom_sim::town::seeded_keys;
use gridloom_sim::{Homes, Town, TownPlan, World, WorldPlan};

fn main() {
    divan::main();
}

fn world(houses: u32) -> World {
    let seed = Seed::new(1);
    let plan = TownPlan {
        seed,
        period: Period::QUARTER_HOUR,
        start: Day::from_ymd(2026, 4, 1).expect("a date").start(),
        currency: Currency::new("EUR", 2).expect("a currency"),
        homes: Homes::Households {
            count: houses,
            response: Response::Off,
        },
    };
    let town = Town::new(plan, seeded_keys(seed)).expect("a valid plan");
    World::new(seed, Arc::new(town), WorldPlan::default()).expect("nodes start from empty disks")
}

/// A day of quarter hours: what a world does for one house is in the counter's items.
#[divan::bench(sample_count = 5, args = [100])]
fn day(bencher: divan::Bencher<'_, '_>, houses: u32) {
    let run = |mut world: World| {
        let end = world.now().utc + Duration::from_secs(86_400);
        world
            .run_until(end, |_, _| {})
            .expect("a day without faults");
        world.counters().events
    };
    let events = run(world(houses));
    bencher
        .counter(ItemsCount::new(events))
        .with_inputs(|| world(houses))
        .bench_values(run);
}
