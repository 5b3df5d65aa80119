//! How long one household day takes to plan and to turn into segments.

use divan::Bencher;
use gridloom_core::{Day, Period, Price, Seed};
use gridloom_grid::{Elasticity, Household, HouseholdOptions, PriceSignal, Response};

fn main() {
    divan::main();
}

fn curve() -> PriceSignal {
    let prices = (0..96)
        .map(|slot| Price::from_micro_per_kwh(100_000 + 1_000 * slot).expect("in range"))
        .collect();
    PriceSignal::new(Period::QUARTER_HOUR, prices).expect("one price per interval")
}

fn homes(response: Response) -> Vec<Household> {
    let options = HouseholdOptions {
        response,
        ..HouseholdOptions::default()
    };
    (0..100)
        .map(|index| Household::new(Seed::new(1), index, options))
        .collect()
}

/// One plan of one day, without and with a price response.
#[divan::bench(args = [false, true])]
fn plan_day(bencher: Bencher, responds: bool) {
    let response = if responds {
        let reference = Price::from_micro_per_kwh(150_000).expect("in range");
        Response::On(Elasticity::new(-100, reference).expect("in range"))
    } else {
        Response::Off
    };
    let (homes, signal) = (homes(response), curve());
    let mut turn = 0;
    bencher.bench_local(|| {
        turn += 1;
        let day = Day::from_epoch_days(15_706 + turn % 365);
        homes[turn.unsigned_abs() as usize % homes.len()].plan_day(day, &signal)
    });
}

/// The segments of one day out of two plans.
#[divan::bench]
fn load(bencher: Bencher) {
    let homes = homes(Response::Off);
    let plans: Vec<_> = homes
        .iter()
        .map(|home| {
            let day = Day::from_epoch_days(15_706);
            let unknown = PriceSignal::unknown();
            (
                home.plan_day(day.previous(), &unknown),
                home.plan_day(day, &unknown),
            )
        })
        .collect();
    let mut turn = 0;
    bencher.bench_local(|| {
        turn = (turn + 1) % homes.len();
        homes[turn].load(&plans[turn].0, &plans[turn].1)
    });
}
