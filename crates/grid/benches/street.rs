//! How long a day of homes on a feeder takes, minute by minute, controls and homes' plans included.

use divan::Bencher;
use gridloom_core::{Day, Seed};
use gridloom_grid::household::HouseholdOptions;
use gridloom_grid::opendss::{Circuit, Shipped};
use gridloom_grid::street::{MINUTES_PER_DAY, Placement, Street};
use gridloom_grid::{Catalogue, Household, PriceSignal};

fn main() {
    divan::main();
}

/// 1 440 minutes of 55 homes on the European low-voltage feeder, or of 90 on the IEEE 13-node one.
#[divan::bench(args = [("eulv", 55), ("ieee13", 90)], sample_count = 3, sample_size = 1)]
fn a_day(bencher: Bencher, (feeder, count): (&str, u64)) {
    let path = Shipped::path(feeder).expect("a shipped feeder");
    let circuit = Circuit::read(&mut Shipped, path).expect("a shipped feeder is read");
    let catalogue = Catalogue::builtin();
    let homes = (1..=count)
        .map(|at| {
            let options = HouseholdOptions::default();
            Household::with_catalogue(Seed::new(7), at, options, &catalogue)
        })
        .collect();
    let placement = Placement { seed: Seed::new(7) };
    let street = Street::new(circuit.network, circuit.controls, homes, placement)
        .expect("the feeder takes its homes");
    let unknown = PriceSignal::unknown();
    let date = Day::from_ymd(2026, 1, 21).expect("a date");
    bencher.bench_local(|| {
        let mut day = street
            .day(date, &unknown, &unknown)
            .expect("the first minute has a solution");
        day.minute(MINUTES_PER_DAY - 1).volts_mv.len()
    });
}
