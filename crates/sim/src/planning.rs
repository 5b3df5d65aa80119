//! How many stations an area needs, and what demand response is worth: the house model over many
//! seeds, without the network.

use std::collections::BTreeMap;
use std::fmt;

use gridloom_billing::{CompareError, DemandResponse};
use gridloom_core::{Currency, Day, Period, Seed};
use gridloom_grid::Response;
use serde::Serialize;

use crate::area::{Area, peak};
use crate::outcome::Comparison;
use crate::town::{Homes, Town, TownError, TownPlan, seeded_keys};

/// The most seeds of one study; more are refused.
pub const SEEDS_MAX: u32 = 100_000;

/// The most days of one study; more are refused.
pub const DAYS_MAX: u32 = 3_660;

/// What to study.
#[derive(Debug, Clone, Copy)]
pub struct Study {
    /// The first seed.
    pub first_seed: u64,
    /// Seeds, each with its own houses, 1 to [`SEEDS_MAX`].
    pub seeds: u32,
    /// Houses of each.
    pub houses: u32,
    /// The first day.
    pub first_day: Day,
    /// Days, 1 to [`DAYS_MAX`].
    pub days: u32,
    /// The capture period.
    pub period: Period,
    /// The currency of the costs.
    pub currency: Currency,
}

/// Why a study is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StudyError {
    /// Too few or too many seeds.
    #[error("planning: {0} seeds; give 1 to {SEEDS_MAX}")]
    Seeds(u32),
    /// Too few or too many days.
    #[error("planning: {0} days; give 1 to {DAYS_MAX}")]
    Days(u32),
    /// The town.
    #[error(transparent)]
    Town(#[from] TownError),
    /// Two runs that cannot be compared.
    #[error(transparent)]
    Compare(#[from] CompareError),
}

/// A sample's mean, percentiles by nearest rank and standard deviation, in whole units, the mean
/// and the deviation cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Distribution {
    /// The mean.
    pub mean: i64,
    /// The standard deviation of the sample (n − 1); 0 for a single value.
    pub deviation: i64,
    /// One in twenty lies below.
    pub p5: i64,
    /// The median.
    pub p50: i64,
    /// One in twenty lies above.
    pub p95: i64,
}

/// How many stations an area needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StationsForecast {
    /// Houses of the area.
    pub houses: u32,
    /// Days of each run.
    pub days: u32,
    /// Runs.
    pub seeds: u32,
    /// The reserve above the peak, in thousandths.
    pub reserve_permille: u16,
    /// Stations there are.
    pub stations: usize,
    /// The highest mean power of an interval in each run, in W.
    pub peak_w: Distribution,
    /// Stations needed, best first, in the runs that could be covered; `None` if none could.
    pub needed: Option<Distribution>,
    /// Runs by the number of stations they needed.
    pub runs_by_count: BTreeMap<usize, u32>,
    /// Runs that all stations together could not cover.
    pub uncovered: u32,
}

/// What demand response did in one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SeedComparison {
    /// The seed.
    pub seed: u64,
    /// Without and with.
    pub comparison: Comparison,
}

/// What demand response did over many seeds. Changes are in hundredths of a percent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResponseStudy {
    /// Houses of the area.
    pub houses: u32,
    /// Days of each run.
    pub days: u32,
    /// Each run.
    pub runs: Vec<SeedComparison>,
    /// Change of the peak.
    pub peak_change_bp: Distribution,
    /// Change of the energy.
    pub energy_change_bp: Distribution,
    /// Change of the cost.
    pub cost_change_bp: Distribution,
    /// Change of the load factor.
    pub load_factor_change_bp: Distribution,
}

impl Study {
    /// How many stations cover the area's peak with a reserve of `reserve_permille` thousandths.
    /// The stations are those of the first seed's town; the houses differ from run to run.
    ///
    /// # Errors
    ///
    /// [`StudyError`] names what the study has wrong.
    pub fn stations(&self, reserve_permille: u16) -> Result<StationsForecast, StudyError> {
        self.check()?;
        let fleet = self
            .town(self.first_seed, Response::Off)?
            .stations()
            .clone();
        let mut peaks = Vec::new();
        let mut counts = Vec::new();
        let mut runs_by_count = BTreeMap::new();
        let mut uncovered = 0;
        for seed in self.all_seeds() {
            let town = self.town(seed, Response::Off)?;
            let run = Area::new(&town, self.first_day).live(self.days);
            let peak = peak(&run, self.period);
            peaks.push(peak.get());
            match fleet.stations_needed(peak, reserve_permille) {
                Some(count) => {
                    *runs_by_count.entry(count).or_insert(0) += 1;
                    counts.push(i64::try_from(count).expect("a fleet is small"));
                }
                None => uncovered += 1,
            }
        }
        Ok(StationsForecast {
            houses: self.houses,
            days: self.days,
            seeds: self.seeds,
            reserve_permille,
            stations: fleet.stations().len(),
            peak_w: Distribution::of(peaks).expect("at least one seed was run"),
            needed: Distribution::of(counts),
            runs_by_count,
            uncovered,
        })
    }

    /// The same towns without and with `response`, each priced by its own totals.
    ///
    /// # Errors
    ///
    /// [`StudyError`] names what the study has wrong.
    pub fn demand_response(&self, response: Response) -> Result<ResponseStudy, StudyError> {
        self.check()?;
        let mut runs = Vec::new();
        for seed in self.all_seeds() {
            let [without, with] = [Response::Off, response].map(|response| {
                let town = self.town(seed, response)?;
                Ok::<_, StudyError>(Area::new(&town, self.first_day).live(self.days))
            });
            let compared = DemandResponse::compare(&without?, &with?, self.period, self.currency)?;
            runs.push(SeedComparison {
                seed,
                comparison: Comparison::new(&compared),
            });
        }
        let change = |of: fn(&Comparison) -> Option<i64>| {
            let changes = runs
                .iter()
                .map(|run| of(&run.comparison).unwrap_or(0))
                .collect();
            Distribution::of(changes).expect("at least one seed was run")
        };
        Ok(ResponseStudy {
            houses: self.houses,
            days: self.days,
            peak_change_bp: change(|run| run.peak_change_bp),
            energy_change_bp: change(|run| run.energy_change_bp),
            cost_change_bp: change(|run| run.cost_change_bp),
            load_factor_change_bp: change(|run| run.load_factor_change_bp),
            runs,
        })
    }

    fn check(&self) -> Result<(), StudyError> {
        if !(1..=SEEDS_MAX).contains(&self.seeds) {
            return Err(StudyError::Seeds(self.seeds));
        }
        if !(1..=DAYS_MAX).contains(&self.days) {
            return Err(StudyError::Days(self.days));
        }
        Ok(())
    }

    fn all_seeds(&self) -> impl Iterator<Item = u64> + use<> {
        let first = self.first_seed;
        (0..u64::from(self.seeds)).map(move |number| first.wrapping_add(number))
    }

    fn town(&self, seed: u64, response: Response) -> Result<Town, TownError> {
        let seed = Seed::new(seed);
        Town::new(
            TownPlan {
                seed,
                period: self.period,
                start: self.first_day.start(),
                currency: self.currency,
                homes: Homes::Households {
                    count: self.houses,
                    response,
                },
            },
            seeded_keys(seed),
        )
    }
}

impl Distribution {
    /// Of a sample; `None` if it is empty.
    pub fn of(mut sample: Vec<i64>) -> Option<Self> {
        sample.sort_unstable();
        let count = sample.len();
        let sum: i128 = sample.iter().map(|value| i128::from(*value)).sum();
        let wide_count = i128::try_from(count).ok().filter(|count| *count > 0)?;
        // n·Σx² − (Σx)² = n·(n − 1)·s², exact until the root.
        let squares: i128 = sample.iter().map(|v| i128::from(*v) * i128::from(*v)).sum();
        let scaled = wide_count * squares - sum * sum;
        let variance = scaled / (wide_count * (wide_count - 1).max(1));
        // The nearest rank: the smallest value that at least so many percent do not exceed.
        let at = |percent: usize| sample[(count * percent).div_ceil(100).max(1) - 1];
        Some(Self {
            mean: i64::try_from(sum / wide_count).ok()?,
            deviation: i64::try_from(variance.isqrt()).ok()?,
            p5: at(5),
            p50: at(50),
            p95: at(95),
        })
    }
}

impl fmt::Display for StationsForecast {
    /// A line on the peak, then how many stations are needed how often.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            houses,
            days,
            seeds,
            ..
        } = self;
        writeln!(f, "{houses} houses, {days} days, {seeds} runs")?;
        let peak = &self.peak_w;
        writeln!(
            f,
            "peak W    mean {}  p5 {}  p50 {}  p95 {}",
            peak.mean, peak.p5, peak.p50, peak.p95
        )?;
        if let Some(needed) = &self.needed {
            writeln!(
                f,
                "stations  mean {}  p5 {}  p50 {}  p95 {}  of {}, reserve {}",
                needed.mean,
                needed.p5,
                needed.p50,
                needed.p95,
                self.stations,
                percent(i64::from(self.reserve_permille) * 10),
            )?;
        }
        for (count, runs) in &self.runs_by_count {
            let share = i64::from(*runs) * 10_000 / i64::from(self.seeds);
            writeln!(f, "{count:8}  {:>9}", percent(share))?;
        }
        if self.uncovered > 0 {
            let share = i64::from(self.uncovered) * 10_000 / i64::from(self.seeds);
            writeln!(f, "too few   {:>9}", percent(share))?;
        }
        Ok(())
    }
}

impl fmt::Display for ResponseStudy {
    /// One line for each figure: mean, deviation and percentiles of its change.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = self.runs.len();
        writeln!(f, "{} houses, {} days, {runs} runs", self.houses, self.days)?;
        writeln!(
            f,
            "{:12} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "change of", "mean", "deviation", "p5", "p50", "p95"
        )?;
        let lines = [
            ("peak", &self.peak_change_bp),
            ("energy", &self.energy_change_bp),
            ("cost", &self.cost_change_bp),
            ("load factor", &self.load_factor_change_bp),
        ];
        for (what, change) in lines {
            let [mean, deviation, p5, p50, p95] = [
                change.mean,
                change.deviation,
                change.p5,
                change.p50,
                change.p95,
            ]
            .map(percent);
            writeln!(
                f,
                "{what:12} {mean:>10} {deviation:>10} {p5:>10} {p50:>10} {p95:>10}"
            )?;
        }
        Ok(())
    }
}

/// Hundredths of a percent as people read them.
fn percent(points: i64) -> String {
    let sign = if points < 0 { "-" } else { "" };
    let points = points.unsigned_abs();
    format!("{sign}{}.{:02} %", points / 100, points % 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{ThreeHouses, three_houses};
    use crate::town::standard_response;

    fn study() -> Study {
        Study {
            first_seed: 1,
            seeds: 4,
            houses: 3,
            first_day: Day::parse("2026-04-01").unwrap(),
            days: 3,
            period: Period::HALF_HOUR,
            currency: Currency::new("EUR", 2).unwrap(),
        }
    }

    #[test]
    fn distributions_by_hand() {
        let cases = [
            (vec![], None),
            (vec![7], Some((7, 0, 7, 7, 7))),
            // Mean 2.5, variance 5/3: both cut.
            (vec![4, 1, 3, 2], Some((2, 1, 1, 2, 4))),
            ((1..=100).collect(), Some((50, 29, 5, 50, 95))),
            (vec![-3, -5], Some((-4, 1, -5, -5, -3))),
        ];
        for (sample, expected) in cases {
            let got = Distribution::of(sample).map(|d| (d.mean, d.deviation, d.p5, d.p50, d.p95));
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn the_model_without_network_says_what_the_world_says() {
        let response = standard_response();
        let plan = ThreeHouses {
            days: 3,
            response,
            ..ThreeHouses::default()
        };
        let outcome = three_houses(&plan).unwrap();
        let study = Study {
            seeds: 1,
            ..study()
        };
        let town = study.town(1, response).unwrap();
        let run = Area::new(&town, study.first_day).live(3);
        assert_eq!(outcome.intervals.len(), run.len());
        for (seen, reckoned) in outcome.intervals.iter().zip(&run) {
            assert_eq!(seen.end, reckoned.end.to_string());
            let watts = reckoned.energy.get() * 2 / 1_000;
            assert_eq!(seen.total_w, watts, "{}", seen.end);
            let price = crate::outcome::decimal_price(reckoned.price);
            assert_eq!(
                seen.price_per_kwh.as_deref(),
                Some(price.as_str()),
                "{}",
                seen.end
            );
        }
        let compared = study.demand_response(response).unwrap();
        assert_eq!(
            outcome.demand_response.as_ref(),
            Some(&compared.runs[0].comparison)
        );
    }

    #[test]
    fn forecasts_add_up_and_print() {
        let forecast = study().stations(150).unwrap();
        let runs: u32 = forecast.runs_by_count.values().sum();
        assert_eq!(runs + forecast.uncovered, 4);
        assert!(forecast.peak_w.p5 <= forecast.peak_w.p50);
        let text = forecast.to_string();
        assert!(
            text.starts_with("3 houses, 3 days, 4 runs\npeak W    mean "),
            "{text}"
        );
        let study = study().demand_response(standard_response()).unwrap();
        assert_eq!(study.runs.len(), 4);
        assert_eq!(study.to_string().lines().count(), 6);
        println!("{text}{study}");
    }

    #[test]
    fn impossible_studies_are_refused_by_name() {
        let cases = [
            (
                Study {
                    seeds: 0,
                    ..study()
                },
                "planning: 0 seeds",
            ),
            (Study { days: 0, ..study() }, "planning: 0 days"),
            (
                Study {
                    houses: 0,
                    ..study()
                },
                "town: 0 houses",
            ),
        ];
        for (study, words) in cases {
            let error = study.stations(0).unwrap_err().to_string();
            assert!(error.starts_with(words), "{error}");
        }
    }
}
