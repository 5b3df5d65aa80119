//! How much of a transformer's energy may be lost between its secondary side and the homes'
//! meters: a bound from the feeder itself, not from what its meters say.

use gridloom_core::{Day, Seed};

use super::Street;
use super::day::{MINUTES_PER_DAY, StreetDay, mean};
use crate::appliance::Catalogue;
use crate::household::{Household, HouseholdOptions};
use crate::load::DayLoad;
use crate::network::NetworkError;
use crate::response::PriceSignal;

/// What a feeding's lines lose at most: `fixed_watts + nanos × W² / 10⁹` watts while its
/// transformer delivers W watts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LossBound {
    /// Losses without any home, in watts: what capacitor banks and cables drive through the lines.
    pub fixed_watts: u64,
    /// Nanowatts of losses per watt squared.
    pub nanos: u64,
}

impl LossBound {
    /// The most that is lost while so many watts are delivered on the mean, in watts.
    pub fn watts(self, delivered: u64) -> u64 {
        let square = u128::from(delivered) * u128::from(delivered);
        let rest = u64::try_from(square * u128::from(self.nanos) / 1_000_000_000);
        self.fixed_watts.saturating_add(rest.unwrap_or(u64::MAX))
    }
}

/// The reference homes are nobody's.
const REFERENCE: Seed = Seed::new(0x6C6F_7373_6573);

/// Minutes of each reference day that are solved.
const SOLVED_PER_DAY: usize = 16;

/// The longest usual interval: over it the power varies most.
const INTERVAL_MINUTES: usize = 60;

/// Voltage may be a tenth higher than in the solution (EN 50160), and losses without load grow with
/// its square.
const FIXED_MARGIN: f64 = 1.21;

/// A winter's and a summer's working day.
const DAYS: [(i32, u8, u8); 2] = [(2026, 1, 14), (2026, 7, 15)];

/// Other homes at the same places live through two reference days. Of the minutes in which they
/// draw at least half of the day's mean, those are solved in which few homes draw most of it,
/// because that is when the losses for one power are largest. The worst ratio of losses to the
/// square of the power is the bound of an instant; how much the power of an interval varies
/// makes it the bound of an interval.
pub(super) fn bounds(street: &Street) -> Result<Vec<LossBound>, NetworkError> {
    let catalogue = Catalogue::builtin();
    let homes: Vec<Household> = (0..street.homes.len() as u64)
        .map(|at| Household::with_catalogue(REFERENCE, at, HouseholdOptions::default(), &catalogue))
        .collect();
    let mut fixed = vec![0.0_f64; street.feedings.len()];
    let mut worst = vec![0.0_f64; street.feedings.len()];
    let mut variation = vec![1.0_f64; street.feedings.len()];
    let unknown = PriceSignal::unknown();
    for (year, month, day) in DAYS {
        let day = Day::from_ymd(year, month, day).expect("a date");
        let loads: Vec<DayLoad> = homes
            .iter()
            .map(|home| home.load_on(day, &unknown, &unknown))
            .collect();
        let empty = StreetDay::of_loads(street, day, loads.clone())?.unloaded()?;
        for (fixed, values) in fixed.iter_mut().zip(&empty.feedings) {
            *fixed = fixed.max(values.total_watts());
        }
        for feeding in 0..street.feedings.len() {
            let minutes = minutes_of(street, &loads, feeding);
            let mean =
                minutes.iter().map(|minute| minute.watts).sum::<f64>() / f64::from(MINUTES_PER_DAY);
            variation[feeding] = variation[feeding].max(form(&minutes, mean / 2.0));
            let mut order: Vec<(u32, f64)> = (0..)
                .zip(&minutes)
                .filter(|(_, minute)| minute.watts >= mean / 2.0)
                .map(|(number, minute)| (number, minute.concentration))
                .collect();
            order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            order.truncate(SOLVED_PER_DAY);
            // In the order of the day, so that each is solved from the one before.
            order.sort_by_key(|(number, _)| *number);
            let mut solved = StreetDay::of_loads(street, day, loads.clone())?;
            for (number, _) in order {
                let values = solved.only(number)?;
                let delivered = values.feedings[feeding].total_watts();
                let arrived = minutes[usize::try_from(number).expect("a minute fits")].watts;
                if delivered > 0.0 {
                    let lost = delivered - arrived - empty.feedings[feeding].total_watts();
                    let ratio = lost.max(0.0) / (delivered * delivered);
                    worst[feeding] = worst[feeding].max(ratio);
                }
            }
        }
    }
    Ok(worst
        .into_iter()
        .zip(variation)
        .zip(fixed)
        .map(|((worst, variation), fixed)| LossBound {
            fixed_watts: to_whole(fixed * FIXED_MARGIN),
            nanos: to_whole(worst * variation * 1e9),
        })
        .collect())
}

struct Drawn {
    watts: f64,
    /// Sum of the squares of the homes' shares: one over the number of homes that draw alike.
    concentration: f64,
}

fn minutes_of(street: &Street, loads: &[DayLoad], feeding: usize) -> Vec<Drawn> {
    (0..MINUTES_PER_DAY)
        .map(|minute| {
            let (mut sum, mut squares) = (0.0, 0.0);
            for (load, point) in loads.iter().zip(&street.points) {
                if point.feeding == feeding {
                    let (active, _) = mean(load, minute);
                    sum += active / 1_000.0;
                    squares += active * active / 1e6;
                }
            }
            Drawn {
                watts: sum,
                concentration: if sum > 0.0 {
                    squares / (sum * sum)
                } else {
                    0.0
                },
            }
        })
        .collect()
}

/// The largest mean square over squared mean of an interval that draws enough.
fn form(minutes: &[Drawn], least: f64) -> f64 {
    let mut largest = 1.0_f64;
    for interval in minutes.chunks(INTERVAL_MINUTES) {
        let count = u32::try_from(interval.len()).map_or(1.0, f64::from);
        let mean = interval.iter().map(|minute| minute.watts).sum::<f64>() / count;
        let square = interval
            .iter()
            .map(|minute| minute.watts * minute.watts)
            .sum::<f64>()
            / count;
        if mean >= least && mean > 0.0 {
            largest = largest.max(square / (mean * mean));
        }
    }
    largest
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative and far below 2^53; a cast saturates"
)]
fn to_whole(value: f64) -> u64 {
    value.ceil() as u64
}
