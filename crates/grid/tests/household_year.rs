//! A year of households: totals, shape and price response look like real homes.

use gridloom_core::{Day, Month, Price, Seed};
use gridloom_grid::{
    Catalogue, Elasticity, Household, HouseholdOptions, MS_PER_DAY, PriceSignal, Response,
};

const SLOTS: usize = 48;
const MS_PER_SLOT: u32 = 1_800_000;
const UJ_PER_KWH: i64 = 3_600_000_000_000;

/// What homes used in a year.
struct Year {
    /// kWh of each home.
    homes: Vec<i64>,
    /// Mean watts of a home in each half-hour of the day.
    profile: [i64; SLOTS],
}

fn days_of_2013() -> Vec<Day> {
    (1..=12)
        .flat_map(|month| Month::new(2013, month).expect("a month").days())
        .collect()
}

/// Every eleventh day: 34 days that visit all weekdays and seasons alike.
const STEP: usize = 11;

fn year(homes: u64, signal: &PriceSignal, options: HouseholdOptions) -> Year {
    let catalogue = Catalogue::builtin();
    let days: Vec<Day> = days_of_2013().into_iter().step_by(STEP).collect();
    let mut profile_uj = [0_i128; SLOTS];
    let homes: Vec<i64> = (0..homes)
        .map(|index| {
            let home = Household::with_catalogue(Seed::new(2013), index, options, &catalogue);
            let mut total_uj = 0;
            for day in &days {
                let load = home.load_on(*day, signal, signal);
                total_uj += load.active_uj();
                for segment in load.segments() {
                    let power: i64 = segment.active_mw.iter().sum();
                    let mut from = segment.from_ms;
                    while from < segment.to_ms {
                        let slot = from / MS_PER_SLOT;
                        let to = segment.to_ms.min((slot + 1) * MS_PER_SLOT);
                        profile_uj[slot as usize] += i128::from(power * i64::from(to - from));
                        from = to;
                    }
                }
            }
            total_uj / days.len() as i64 * 365 / UJ_PER_KWH
        })
        .collect();
    let count = (homes.len() * days.len()) as i128;
    // µJ over 1 800 s are µW·1800; a watt is 10⁶ µW.
    let profile =
        profile_uj.map(|uj| i64::try_from(uj / count / 1_800_000_000).expect("watts of a home"));
    Year { homes, profile }
}

fn mean(values: &[i64]) -> i64 {
    values.iter().sum::<i64>() / values.len() as i64
}

#[test]
fn homes_use_what_homes_use() {
    let cases = [
        (1, 1_500..2_600),
        (2, 2_500..3_500),
        (3, 2_900..4_200),
        (4, 3_300..4_500),
        (5, 3_600..5_500),
    ];
    for (persons, expected) in cases {
        let options = HouseholdOptions {
            persons: Some(persons),
            ..HouseholdOptions::default()
        };
        let year = year(24, &PriceSignal::unknown(), options);
        let mut sorted = year.homes.clone();
        sorted.sort_unstable();
        // The median: one home in eight heats or drives electrically and uses far more.
        let got = sorted[sorted.len() / 2];
        eprintln!("{persons} persons: {got} kWh; {:?}", year.homes);
        assert!(expected.contains(&got), "{persons} persons: {got} kWh");
    }
}

#[test]
fn the_mean_day_has_an_evening_peak_and_a_quiet_night() {
    let year = year(60, &PriceSignal::unknown(), HouseholdOptions::default());
    eprintln!("{} kWh; {:?}", mean(&year.homes), year.profile);
    let (peak_slot, peak) = year
        .profile
        .iter()
        .enumerate()
        .max_by_key(|(_, w)| **w)
        .unwrap();
    let (night_slot, night) = year
        .profile
        .iter()
        .enumerate()
        .min_by_key(|(_, w)| **w)
        .unwrap();
    assert!(
        (34..=43).contains(&peak_slot),
        "peak at half-hour {peak_slot}"
    );
    assert!(
        (2..=11).contains(&night_slot),
        "trough at half-hour {night_slot}"
    );
    assert!(*peak > 2 * night, "{peak} W against {night} W");
    let morning = mean(&year.profile[13..18]);
    assert!(
        morning > 2 * night * 6 / 10 && morning < *peak,
        "morning {morning} W"
    );
}

/// Against the mean watts of 60 London homes per half-hour, January to October 2013 (Low Carbon
/// London, UK Power Networks, CC BY 4.0).
#[test]
fn the_mean_day_follows_measured_homes() {
    let measured: [i64; SLOTS] = [
        508, 442, 390, 351, 334, 318, 305, 286, 278, 277, 284, 297, 315, 355, 346, 367, 378, 385,
        383, 392, 384, 388, 395, 412, 416, 415, 407, 393, 393, 399, 392, 403, 418, 445, 463, 508,
        530, 548, 565, 561, 557, 549, 542, 521, 477, 438, 382, 334,
    ];
    let year = year(60, &PriceSignal::unknown(), HouseholdOptions::default());
    let scale = |profile: &[i64; SLOTS]| {
        let total: i64 = profile.iter().sum();
        profile.map(|w| w as f64 / total as f64 * SLOTS as f64)
    };
    let (ours, theirs) = (scale(&year.profile), scale(&measured));
    let error = ours
        .iter()
        .zip(theirs)
        .map(|(a, b)| (a - b).abs())
        .sum::<f64>()
        / SLOTS as f64;
    eprintln!("mean absolute difference of the normalised day: {error:.3}");
    let side_by_side: Vec<_> = year.profile.iter().zip(measured).collect();
    eprintln!("ours and measured, W: {side_by_side:?}");
    assert!(error < 0.12, "{error}");
}

#[test]
fn dear_evenings_move_and_shrink_use() {
    let price = |micro| Price::from_micro_per_kwh(micro).unwrap();
    let reference = price(200_000);
    let prices = (0..48)
        .map(|slot| {
            price(if (34..42).contains(&slot) {
                400_000
            } else {
                200_000
            })
        })
        .collect();
    let dear = PriceSignal::new(gridloom_core::Period::HALF_HOUR, prices).unwrap();
    let elastic = |milli| HouseholdOptions {
        response: Response::On(Elasticity::new(milli, reference).unwrap()),
        ..HouseholdOptions::default()
    };
    let evening = |year: &Year| year.profile[34..42].iter().sum::<i64>();
    let off = year(30, &dear, HouseholdOptions::default());
    let on = year(30, &dear, elastic(-200));
    let cut = (evening(&off) - evening(&on)) * 1_000 / evening(&off);
    eprintln!(
        "evening cut {cut} permille; {} -> {} kWh",
        mean(&off.homes),
        mean(&on.homes)
    );
    assert!((30..250).contains(&cut), "{cut} permille");
    assert!(mean(&on.homes) <= mean(&off.homes));
    let flat = year(3, &PriceSignal::flat(reference), elastic(-200));
    let plain = year(
        3,
        &PriceSignal::flat(reference),
        HouseholdOptions::default(),
    );
    assert_eq!(
        flat.homes, plain.homes,
        "at the reference price nothing changes"
    );
}

#[test]
fn loads_cover_the_day_and_repeat() {
    let options = HouseholdOptions {
        supply: gridloom_grid::Supply::ThreePhase,
        ..HouseholdOptions::default()
    };
    for index in 0..20 {
        let home = Household::new(Seed::new(7), index, options);
        for day in days_of_2013().into_iter().step_by(17) {
            let load = home.load_on(day, &PriceSignal::unknown(), &PriceSignal::unknown());
            let mut at = 0;
            for segment in load.segments() {
                assert_eq!(segment.from_ms, at);
                assert!(segment.to_ms > at);
                assert!(
                    segment
                        .active_mw
                        .iter()
                        .all(|mw| (0..60_000_000).contains(mw))
                );
                at = segment.to_ms;
            }
            assert_eq!(at, MS_PER_DAY);
            let again = Household::new(Seed::new(7), index, options);
            assert_eq!(
                again.load_on(day, &PriceSignal::unknown(), &PriceSignal::unknown()),
                load
            );
        }
    }
}

/// The same bits on every machine and for all time: replaying a seed depends on it. A change of
/// the model changes these figures; say so in the commit.
#[test]
fn one_day_of_three_homes_is_pinned() {
    let day = Day::from_ymd(2013, 1, 15).unwrap();
    let reference = Price::from_micro_per_kwh(200_000).unwrap();
    let options = HouseholdOptions {
        response: Response::On(Elasticity::new(-100, reference).unwrap()),
        ..HouseholdOptions::default()
    };
    let prices = (0..48)
        .map(|slot| Price::from_micro_per_kwh(150_000 + 2_000 * slot).unwrap())
        .collect();
    let signal = PriceSignal::new(gridloom_core::Period::HALF_HOUR, prices).unwrap();
    let got = [0, 1, 2].map(|index| {
        let home = Household::new(Seed::new(1), index, options);
        let load = home.load_on(day, &signal, &signal);
        (load.active_uj(), load.segments().len())
    });
    assert_eq!(
        got,
        [
            (23_587_021_328_512, 147),
            (23_004_405_620_898, 175),
            (53_121_510_332_694, 233)
        ]
    );
}
