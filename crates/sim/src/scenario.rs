//! The seed simulation: a few houses, their meters and their utility for some days, in virtual
//! time, and what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gridloom_billing::{DemandResponse, GRACE_DEFAULT, RunInterval};
use gridloom_core::{
    Charge, Currency, Day, MeterId, MilliwattHours, Money, Month, Period, Price, Seed, UtcTime,
};
use gridloom_grid::{LoadTrace, Response};
use gridloom_store::PricePoint;

use crate::disk::DiskError;
use crate::hosted::Role;
use crate::outcome::{
    Comparison, GapOutcome, HouseOutcome, IntervalOutcome, Outcome, decimal_price,
};
use crate::store_view::StoreView;
use crate::town::{Homes, Town, TownError, TownPlan, seeded_keys};
use crate::world::{Counters, World, WorldError, WorldPlan};

/// The most days of one run; more are refused.
pub const DAYS_MAX: u32 = 366;

/// What to simulate.
#[derive(Debug, Clone)]
pub struct ThreeHouses {
    /// Houses of the model; of a trace, its first homes by name, as many as it has.
    pub houses: u32,
    /// Days, 1 to [`DAYS_MAX`].
    pub days: u32,
    /// The seed of everything.
    pub seed: u64,
    /// The capture period.
    pub period: Period,
    /// The start of the first day, or of any interval.
    pub start: UtcTime,
    /// How households answer prices; a measured home does not.
    pub response: Response,
    /// Where the load comes from.
    pub load: LoadSource,
}

/// Where the load comes from.
#[derive(Debug, Clone)]
pub enum LoadSource {
    /// Households of the model.
    Households,
    /// Measured homes, by name.
    Traces(BTreeMap<String, LoadTrace>),
}

impl Default for ThreeHouses {
    /// Three households for thirty days from 1 April 2026, which is one month and one bill.
    fn default() -> Self {
        Self {
            houses: 3,
            days: 30,
            seed: 1,
            period: Period::HALF_HOUR,
            start: Day::from_ymd(2026, 4, 1).expect("a date").start(),
            response: Response::Off,
            load: LoadSource::Households,
        }
    }
}

impl ThreeHouses {
    /// The shipped trace: three homes of Low Carbon London, January 2013.
    pub fn low_carbon_london(seed: u64) -> Self {
        Self {
            days: 31,
            seed,
            start: Day::from_ymd(2013, 1, 1).expect("a date").start(),
            load: LoadSource::Traces(LoadTrace::sample()),
            ..Self::default()
        }
    }

    fn end(&self) -> UtcTime {
        self.start + Duration::from_secs(u64::from(self.days) * 86_400)
    }

    fn town(&self, response: Response) -> Result<Town, TownError> {
        let seed = Seed::new(self.seed);
        let homes = match &self.load {
            LoadSource::Households => Homes::Households {
                count: self.houses,
                response,
            },
            LoadSource::Traces(traces) => {
                let first = usize::try_from(self.houses).unwrap_or(usize::MAX);
                let homes = traces.iter().take(first);
                Homes::Traces(homes.map(|(name, t)| (name.clone(), t.clone())).collect())
            }
        };
        Town::new(
            TownPlan {
                seed,
                period: self.period,
                start: self.start,
                currency: Currency::new("EUR", 2).expect("a currency"),
                homes,
            },
            seeded_keys(seed),
        )
    }
}

/// Why there is no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// Too few or too many days.
    #[error("scenario: {0} days; give 1 to {DAYS_MAX}")]
    Days(u32),
    /// The town.
    #[error(transparent)]
    Town(#[from] TownError),
    /// The world.
    #[error(transparent)]
    World(#[from] WorldError),
    /// The utility's store.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A month that was over did not get its bills.
    #[error("scenario: {month} has {bills} of {meters} bills at {at}")]
    NotBilled {
        /// The month.
        month: Month,
        /// Bills it has.
        bills: usize,
        /// Meters there are.
        meters: usize,
        /// When this was found.
        at: UtcTime,
    },
    /// An interval that was measured has no price.
    #[error("scenario: {meter} has no price for the interval ending {end}")]
    NotPriced {
        /// Whose.
        meter: MeterId,
        /// Its end.
        end: UtcTime,
    },
    /// The bill that the utility issued is not the sum of the intervals in its store.
    #[error("scenario: {meter} was billed {billed} for {month}, its intervals come to {computed}")]
    Bill {
        /// Whose.
        meter: MeterId,
        /// Of which month.
        month: Month,
        /// What was issued.
        billed: Money,
        /// What it should be.
        computed: Money,
    },
}

/// Runs the scenario on a network without faults. Where households respond to prices, runs it once
/// more without, and compares.
///
/// # Errors
///
/// [`ScenarioError`]: an impossible plan, or a defect that the run found.
pub fn three_houses(plan: &ThreeHouses) -> Result<Outcome, ScenarioError> {
    if !(1..=DAYS_MAX).contains(&plan.days) {
        return Err(ScenarioError::Days(plan.days));
    }
    let run = Run::new(plan, plan.response)?;
    let comparison = match (plan.response, &plan.load) {
        (Response::On(_), LoadSource::Households) => {
            let without = Run::new(plan, Response::Off)?;
            let (without, with) = (without.totals(), run.totals());
            DemandResponse::compare(&without, &with, plan.period, run.currency)
                .ok()
                .map(|compared| Comparison::new(&compared))
        }
        (Response::On(_) | Response::Off, _) => None,
    };
    Ok(run.outcome(comparison))
}

/// What the store holds after a run.
struct Run {
    period: Period,
    currency: Currency,
    ends: Vec<UtcTime>,
    prices: BTreeMap<UtcTime, PricePoint>,
    houses: Vec<Measured>,
    counters: Counters,
}

struct Measured {
    meter: MeterId,
    name: String,
    intervals: BTreeMap<UtcTime, MilliwattHours>,
    bill: Money,
    meter_bill: Money,
}

impl Run {
    fn new(plan: &ThreeHouses, response: Response) -> Result<Self, ScenarioError> {
        let town = Arc::new(plan.town(response)?);
        let currency = town.plan().currency;
        let mut world = World::new(
            Seed::new(plan.seed),
            Arc::clone(&town),
            WorldPlan::default(),
        )?;
        let (period, end) = (plan.period, plan.end());
        // Before the next interval ends, so that meters know no more than the run.
        world.run_until(end + period.duration() / 2, |_, _| {})?;
        let months = months_of(period, plan.start, end);
        let own = own_bills(&world, &months, currency);
        for month in months.iter().filter(|month| ends_by(**month, end)) {
            await_bills(&mut world, *month)?;
        }
        let view = view(&world, period)?;
        let (first, last) = (
            period.day_of(plan.start + period.duration()),
            period.day_of(end),
        );
        let prices = view.prices(first, last)?;
        let mut houses = Vec::new();
        for (house, own) in town.houses().iter().zip(own) {
            let meter = house.meter();
            let sealed = view.sealed(meter, first, last)?;
            let readings = sealed.into_iter().chain(view.open(meter, first, last));
            let intervals: BTreeMap<UtcTime, MilliwattHours> = readings
                .filter(|reading| reading.end > plan.start && reading.end <= end)
                .map(|reading| (reading.end, reading.values.import))
                .collect();
            let charges = charges_by_month(period, meter, &intervals, &prices)?;
            let mut bill = 0;
            for (month, charge) in charges {
                let computed = charge.round_half_away(currency);
                if ends_by(month, end)
                    && let Some(row) = view.bills(month)?.get(&meter)
                    && row.amount() != computed
                {
                    return Err(ScenarioError::Bill {
                        meter,
                        month,
                        billed: row.amount(),
                        computed,
                    });
                }
                bill += computed.minor();
            }
            houses.push(Measured {
                meter,
                name: house.name().to_owned(),
                intervals,
                bill: Money::from_minor(bill, currency),
                meter_bill: own,
            });
        }
        Ok(Self {
            period,
            currency,
            ends: ends_between(period, plan.start, end),
            prices,
            houses,
            counters: world.counters(),
        })
    }

    /// The energy of all houses in one interval.
    fn total(&self, end: UtcTime) -> MilliwattHours {
        let of_house = self
            .houses
            .iter()
            .filter_map(|house| house.intervals.get(&end));
        of_house.copied().sum()
    }

    fn totals(&self) -> Vec<RunInterval> {
        let priced = self.ends.iter().filter_map(|end| {
            let point = self.prices.get(end)?;
            Some(RunInterval {
                end: *end,
                energy: self.total(*end),
                price: point.price,
            })
        });
        priced.collect()
    }

    fn outcome(&self, demand_response: Option<Comparison>) -> Outcome {
        let per_hour = i64::from(self.period.per_hour());
        let intervals = self.ends.iter().map(|end| {
            let point = self.prices.get(end);
            IntervalOutcome {
                end: end.to_string(),
                total_w: watt_hours(self.total(*end)) * per_hour,
                price_per_kwh: point.map(|point| decimal_price(point.price)),
                stations_on: point.map_or(0, |point| point.stations_on),
            }
        });
        let houses = self.houses.iter().map(|house| HouseOutcome {
            id: house.meter.0,
            name: house.name.clone(),
            energy_wh: watt_hours(house.intervals.values().copied().sum()),
            bill: house.bill.decimal(),
            meter_bill: house.meter_bill.decimal(),
            interval_wh: self
                .ends
                .iter()
                .map(|end| house.intervals.get(end).copied().map(watt_hours))
                .collect(),
        });
        Outcome {
            currency: self.currency.code().to_owned(),
            period_secs: self.period.as_secs(),
            houses: houses.collect(),
            intervals: intervals.collect(),
            gaps: self
                .houses
                .iter()
                .flat_map(|house| self.gaps(house))
                .collect(),
            demand_response,
            counters: self.counters,
        }
    }

    fn gaps(&self, house: &Measured) -> Vec<GapOutcome> {
        let mut gaps: Vec<GapOutcome> = Vec::new();
        let mut before_was_missing = false;
        for end in &self.ends {
            let missing = !house.intervals.contains_key(end);
            if missing {
                match gaps.last_mut().filter(|_| before_was_missing) {
                    Some(gap) => {
                        gap.to = end.to_string();
                        gap.intervals += 1;
                    }
                    None => gaps.push(GapOutcome {
                        house: house.meter.0,
                        from: (*end - self.period.duration()).to_string(),
                        to: end.to_string(),
                        intervals: 1,
                    }),
                }
            }
            before_was_missing = missing;
        }
        gaps
    }
}

fn view(world: &World, period: Period) -> Result<StoreView<'_>, DiskError> {
    let disk = world
        .disk(Role::Utility)
        .expect("every world has a utility");
    StoreView::read(disk, world.ledger_config(), period)
}

/// What the meters reckon for these months, each rounded once.
fn own_bills(world: &World, months: &[Month], currency: Currency) -> Vec<Money> {
    let bill = |(_, node): (usize, &gridloom_nodes::MeterNode)| {
        let accounts = months
            .iter()
            .filter_map(|month| node.meter().bill().month(*month));
        let minor = accounts
            .map(|account| account.amount(currency).minor())
            .sum();
        Money::from_minor(minor, currency)
    };
    world.meters().map(bill).collect()
}

/// A month that is over has its bills within minutes, or after its grace where readings miss.
fn await_bills(world: &mut World, month: Month) -> Result<(), ScenarioError> {
    let meters = world.town().houses().len();
    let over = month.next().first_day().start();
    let latest = over + GRACE_DEFAULT + Duration::from_secs(3_600);
    loop {
        let disk = world
            .disk(Role::Utility)
            .expect("every world has a utility");
        let bills = gridloom_store::Backend::bills(disk.database(), month)
            .map_err(DiskError::from)?
            .len();
        if bills >= meters {
            return Ok(());
        }
        let at = world.now().utc;
        if at >= latest {
            return Err(ScenarioError::NotBilled {
                month,
                bills,
                meters,
                at,
            });
        }
        world.run_until(at + Duration::from_secs(600), |_, _| {})?;
    }
}

fn charges_by_month(
    period: Period,
    meter: MeterId,
    intervals: &BTreeMap<UtcTime, MilliwattHours>,
    prices: &BTreeMap<UtcTime, PricePoint>,
) -> Result<BTreeMap<Month, Charge>, ScenarioError> {
    let mut charges = BTreeMap::new();
    for (end, energy) in intervals {
        let price: Price = prices
            .get(end)
            .ok_or(ScenarioError::NotPriced { meter, end: *end })?
            .price;
        let month = period.day_of(*end).month();
        *charges.entry(month).or_insert(Charge::ZERO) += price.charge(*energy);
    }
    Ok(charges)
}

fn months_of(period: Period, start: UtcTime, end: UtcTime) -> Vec<Month> {
    let last = period.day_of(end).month();
    let first = period.day_of(start + period.duration()).month();
    std::iter::successors(Some(first), |month| Some(month.next()))
        .take_while(|month| *month <= last)
        .collect()
}

fn ends_by(month: Month, end: UtcTime) -> bool {
    month.next().first_day().start() <= end
}

fn ends_between(period: Period, start: UtcTime, end: UtcTime) -> Vec<UtcTime> {
    std::iter::successors(Some(period.next_end(start)), |at| {
        Some(period.next_end(*at))
    })
    .take_while(|at| *at <= end)
    .collect()
}

fn watt_hours(energy: MilliwattHours) -> i64 {
    energy
        .exact_watt_hours()
        .expect("intervals are whole watt-hours")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_of_three_houses_is_billed_alike_on_both_sides() {
        let outcome = three_houses(&ThreeHouses::default()).unwrap();
        assert_eq!(outcome.intervals.len(), 30 * 48);
        assert!(outcome.gaps.is_empty());
        for house in &outcome.houses {
            assert_eq!(house.bill, house.meter_bill, "{}", house.name);
            let sum: i64 = house.interval_wh.iter().flatten().sum();
            assert_eq!(sum, house.energy_wh);
        }
        for (index, interval) in outcome.intervals.iter().enumerate() {
            let of_house = outcome.houses.iter().map(|house| house.interval_wh[index]);
            let sum: i64 = of_house.flatten().sum();
            assert_eq!(interval.total_w, sum * 2);
            assert!(interval.price_per_kwh.is_some());
        }
    }

    #[test]
    fn a_replayed_trace_bills_what_was_measured_and_names_its_gaps() {
        let outcome = three_houses(&ThreeHouses::low_carbon_london(1)).unwrap();
        let traces = LoadTrace::sample();
        let start = UtcTime::parse("2013-01-01T00:00:00Z").unwrap();
        for house in &outcome.houses {
            let trace = &traces[&house.name];
            let measured: i64 = trace.iter().map(|(_, energy)| energy.get()).sum();
            assert_eq!(house.energy_wh * 1_000, measured, "{}", house.name);
            let ends = ends_between(
                Period::HALF_HOUR,
                start,
                start + Duration::from_secs(31 * 86_400),
            );
            for (end, watt_hours) in ends.into_iter().zip(&house.interval_wh) {
                let published = trace.energy(end).map(|energy| energy.get() / 1_000);
                assert_eq!(*watt_hours, published, "{} {end}", house.name);
            }
            assert_eq!(house.bill, house.meter_bill, "{}", house.name);
            let gaps = outcome.gaps.iter().filter(|gap| gap.house == house.id);
            let missing: u32 = gaps.map(|gap| gap.intervals).sum();
            assert_eq!(usize::try_from(missing).unwrap(), 31 * 48 - trace.len());
        }
        assert!(!outcome.gaps.is_empty());
    }

    /// A short run in which everything is drawn: houses, answers to prices, delays.
    fn bytes_of(seed: u64) -> Vec<u8> {
        let plan = ThreeHouses {
            days: 2,
            seed,
            response: crate::town::standard_response(),
            ..ThreeHouses::default()
        };
        serde_json::to_vec(&three_houses(&plan).unwrap()).unwrap()
    }

    #[test]
    fn same_seed_same_bytes() {
        assert_eq!(bytes_of(7), bytes_of(7));
    }

    #[test]
    fn another_seed_differs() {
        assert_ne!(bytes_of(7), bytes_of(8));
    }

    #[test]
    fn a_run_may_begin_and_end_within_a_month() {
        let plan = ThreeHouses {
            houses: 2,
            days: 3,
            period: Period::QUARTER_HOUR,
            start: UtcTime::parse("2026-04-29T06:00:00Z").unwrap(),
            ..ThreeHouses::default()
        };
        let outcome = three_houses(&plan).unwrap();
        assert_eq!(outcome.intervals.len(), 3 * 96);
        assert_eq!(outcome.intervals[0].end, "2026-04-29T06:15:00Z");
        for house in &outcome.houses {
            assert_eq!(house.bill, house.meter_bill, "{}", house.name);
        }
    }

    #[test]
    fn impossible_plans_are_refused_by_name() {
        let plan = ThreeHouses::default();
        let at = |text| UtcTime::parse(text).unwrap();
        let cases = [
            (
                ThreeHouses {
                    days: 0,
                    ..plan.clone()
                },
                "scenario: 0 days",
            ),
            (
                ThreeHouses {
                    houses: 0,
                    ..plan.clone()
                },
                "town: 0 houses",
            ),
            (
                ThreeHouses {
                    start: at("2026-04-01T00:10:00Z"),
                    ..plan
                },
                "town: start 2026-04-01T00:10:00Z",
            ),
        ];
        for (plan, words) in cases {
            let error = three_houses(&plan).unwrap_err().to_string();
            assert!(error.starts_with(words), "{error}");
        }
    }
}
