//! The standard utility: houses with their meters and keys, and a tariff and stations that fit
//! them. The simulator and the demo run the same town.

mod feeder;

use std::collections::BTreeMap;
use std::time::Duration;

use gridloom_billing::{GRACE_DEFAULT, SigmoidParameters, SigmoidTariff};
use gridloom_core::{
    Currency, MeterId, Millivolts, MilliwattHours, Period, Price, Seed, SystemTitle, UtcTime, Watts,
};
use gridloom_dlms::security::Keys;
use gridloom_edge::{
    EdgeConfig, HashKey, LossLimit, Placement, Registration, Registry, ScreeningConfig, Site,
    TransformerId,
};
use gridloom_field::{
    HouseholdLoad, Load, MeterConfig, SharedStreet, StreetHome, StreetTransformer, TotalLoad,
    TraceLoad,
};
use gridloom_grid::household::HouseholdOptions;
use gridloom_grid::{Catalogue, Elasticity, Fleet, Household, LoadTrace, Response};
use gridloom_mdm::{MeterLimits, Phases, PowerTriangle, ServiceSpan};
use gridloom_nodes::{Purpose, ServedMeter, UtilityConfig};
use rand_core::Rng as _;

pub use feeder::{interrupt, shipped};

/// The most houses of one town; more are refused.
pub const HOUSES_MAX: u32 = 100_000;

/// The lowest price of the standard tariff, in millionths per kWh.
const P_MIN_MICRO: i64 = 80_000;

/// The highest price of the standard tariff, in millionths per kWh.
const P_MAX_MICRO: i64 = 420_000;

/// A main fuse that carries every household of the model and of the shipped trace.
const FUSE_AMPS: u32 = 100;

/// Prices travel in ten-thousandths of the currency unit per kWh.
const PRICE_SCALE: i8 = -4;

/// What is decided before a town is built.
#[derive(Debug, Clone)]
pub struct TownPlan {
    /// Of everything that is drawn: houses, stations, jitter.
    pub seed: Seed,
    /// The capture period of every meter.
    pub period: Period,
    /// When service begins: the start of an interval.
    pub start: UtcTime,
    /// The currency of prices and bills.
    pub currency: Currency,
    /// Who lives there.
    pub homes: Homes,
}

/// Where the load comes from.
#[derive(Debug, Clone)]
pub enum Homes {
    /// Single-phase households of the model.
    Households {
        /// How many, 1 to [`HOUSES_MAX`].
        count: u32,
        /// How they answer prices.
        response: Response,
    },
    /// Measured homes, by name.
    Traces(BTreeMap<String, LoadTrace>),
}

/// Why a town cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TownError {
    /// No house, or too many.
    #[error("town: {0} houses; give 1 to {HOUSES_MAX}")]
    Houses(usize),
    /// Service begins within an interval.
    #[error("town: start {start} is not the start of a {} s interval", period.as_secs())]
    Start {
        /// The start.
        start: UtcTime,
        /// The period.
        period: Period,
    },
    /// Measured homes, or homes that have a transformer already.
    #[error(
        "town: {house} cannot be placed on a feeder; only households without a transformer can"
    )]
    Placed {
        /// The first of them.
        house: String,
    },
    /// The feeder does not take the homes.
    #[error("town: {cause}")]
    Feeder {
        /// In the feeder's words.
        cause: String,
    },
}

/// The expected total of all houses, as mean power of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedTotal {
    /// One interval in twenty lies below.
    pub low: Watts,
    /// The mean.
    pub mean: Watts,
    /// One interval in twenty lies above.
    pub high: Watts,
    /// What the stations are built for.
    pub peak: Watts,
}

/// A house and its meter.
#[derive(Debug, Clone)]
pub struct House {
    name: String,
    config: MeterConfig,
    home: Home,
    placement: Option<Placement>,
    fuse_amps: u32,
    purpose: Purpose,
}

#[derive(Debug, Clone)]
enum Home {
    Household(Box<Household>),
    Trace(LoadTrace),
    /// A transformer's own meter, with the homes below it.
    Total(Vec<Home>),
    /// A household on a feeder, with its number there.
    Placed(Box<Household>, SharedStreet, usize),
    /// The meter of a feeder's transformer, with its number there.
    Feeding(SharedStreet, usize),
}

impl Home {
    fn load(&self) -> Box<dyn Load> {
        match self {
            Self::Household(household) => Box::new(HouseholdLoad::new((**household).clone())),
            Self::Trace(trace) => Box::new(TraceLoad::new(trace.clone())),
            Self::Total(homes) => Box::new(TotalLoad::new(homes.iter().map(Self::load).collect())),
            Self::Placed(_, street, home) => Box::new(StreetHome::new(street.clone(), *home)),
            Self::Feeding(street, feeding) => {
                Box::new(StreetTransformer::new(street.clone(), *feeding))
            }
        }
    }
}

impl House {
    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its meter's number.
    pub fn meter(&self) -> MeterId {
        self.config.id
    }

    /// Its meter's configuration.
    pub fn config(&self) -> &MeterConfig {
        &self.config
    }

    /// Its load, from the beginning; the same each time.
    pub fn load(&self) -> Box<dyn Load> {
        self.home.load()
    }

    /// Its transformer, if the town has any.
    pub fn placement(&self) -> Option<Placement> {
        self.placement
    }

    /// The household of the model; `None` for a measured home.
    pub fn household(&self) -> Option<&Household> {
        match &self.home {
            Home::Household(household) | Home::Placed(household, ..) => Some(household),
            Home::Trace(_) | Home::Total(_) | Home::Feeding(..) => None,
        }
    }

    /// What its meter measures for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }
}

/// A town: everything that its nodes are configured with.
#[derive(Debug, Clone)]
pub struct Town {
    plan: TownPlan,
    houses: Vec<House>,
    edge_title: SystemTitle,
    expected: ExpectedTotal,
    tariff: SigmoidTariff,
    stations: Fleet,
    street: Option<SharedStreet>,
    /// What the feeder says of its transformers' losses.
    losses: BTreeMap<TransformerId, LossLimit>,
}

impl Town {
    /// Builds a town. `keys` gives each meter the keys that it shares with the edge: the simulator
    /// takes [`seeded_keys`], anything that is deployed takes them from the system's entropy.
    ///
    /// # Errors
    ///
    /// [`TownError`] names what the plan has wrong.
    pub fn new(plan: TownPlan, mut keys: impl FnMut(MeterId) -> Keys) -> Result<Self, TownError> {
        let TownPlan { start, period, .. } = plan;
        if period.end_of_interval_at(start) != start {
            return Err(TownError::Start { start, period });
        }
        let homes = named_homes(&plan)?;
        let edge_title = SystemTitle::new(*b"GLE", 1);
        let houses: Vec<House> = (1..)
            .zip(homes)
            .map(|(number, (name, home))| {
                let meter = MeterId(number);
                let title = SystemTitle::new(*b"GLM", u64::from(number));
                let mut config = MeterConfig::new(
                    meter,
                    title,
                    edge_title,
                    keys(meter),
                    plan.currency,
                    plan.seed.child("meter").nth(u64::from(number)),
                );
                config.period = plan.period;
                House {
                    name,
                    config,
                    home,
                    placement: None,
                    fuse_amps: FUSE_AMPS,
                    purpose: Purpose::Customer,
                }
            })
            .collect();
        let expected = match &plan.homes {
            Homes::Households { count, .. } => expected_of_households(*count),
            Homes::Traces(traces) => expected_of_traces(traces),
        };
        Ok(Self {
            tariff: standard_tariff(expected),
            stations: Fleet::for_area(plan.seed, expected.peak),
            plan,
            houses,
            edge_title,
            expected,
            street: None,
            losses: BTreeMap::new(),
        })
    }

    /// Puts a transformer above each `houses_each` houses, with a meter of its own behind the
    /// houses' meters. The meters count as houses: they push, and are billed, like any other.
    ///
    /// # Panics
    ///
    /// If a transformer is to have no houses, or the town has transformers already.
    pub fn with_transformers(
        mut self,
        houses_each: usize,
        mut keys: impl FnMut(MeterId) -> Keys,
    ) -> Self {
        assert!(houses_each > 0, "a transformer supplies a house");
        let homes = self.houses.len();
        for (number, first) in (1..).zip((0..homes).step_by(houses_each)) {
            let transformer = TransformerId(number);
            let last = homes.min(first + houses_each);
            let mut below = Vec::new();
            for house in &mut self.houses[first..last] {
                assert!(house.placement.is_none(), "a house has one transformer");
                house.placement = Some(Placement::Below(transformer));
                below.push(house.home.clone());
            }
            let meter = MeterId(u32::try_from(self.houses.len() + 1).unwrap_or(u32::MAX));
            let title = SystemTitle::new(*b"GLM", u64::from(meter.0));
            let mut config = MeterConfig::new(
                meter,
                title,
                self.edge_title,
                keys(meter),
                self.plan.currency,
                self.plan.seed.child("meter").nth(u64::from(meter.0)),
            );
            config.period = self.plan.period;
            self.houses.push(House {
                name: format!("Transformer {number}"),
                config,
                fuse_amps: FUSE_AMPS * u32::try_from(below.len()).unwrap_or(u32::MAX),
                home: Home::Total(below),
                placement: Some(Placement::At(transformer)),
                purpose: Purpose::Customer,
            });
        }
        self
    }

    /// The feeder, if the houses are on one.
    pub fn street(&self) -> Option<&SharedStreet> {
        self.street.as_ref()
    }

    /// What it was built from.
    pub fn plan(&self) -> &TownPlan {
        &self.plan
    }

    /// The houses, in the order of their meters' numbers, which start at 1.
    pub fn houses(&self) -> &[House] {
        &self.houses
    }

    /// The total that tariff and stations were fitted to.
    pub fn expected(&self) -> ExpectedTotal {
        self.expected
    }

    /// The numbers of all meters, in order.
    pub fn meters(&self) -> Vec<MeterId> {
        self.houses.iter().map(House::meter).collect()
    }

    /// The meters as their edge knows them.
    pub fn registry(&self) -> Registry {
        Registry::new(self.houses.iter().map(|house| Registration {
            meter: house.config.id,
            title: house.config.title,
            keys: house.config.keys.clone(),
            period: house.config.period,
            site: Site {
                transformer: house.placement,
                ..match &house.home {
                    Home::Household(_) | Home::Trace(_) | Home::Placed(..) => Site::default(),
                    // At the upper end of the voltage band.
                    Home::Total(_) | Home::Feeding(..) => Site {
                        power_max: Watts::new(i64::from(house.fuse_amps) * 253),
                        ..Site::default()
                    },
                }
            },
        }))
        .expect("a town gives every meter its own number and title")
        .with_losses(self.losses.clone())
    }

    /// The meters as the utility serves them, from the town's start on.
    pub fn served(&self) -> Vec<ServedMeter> {
        let limits = |house: &House| {
            MeterLimits::new(
                house.fuse_amps,
                Phases::One,
                Millivolts::new(230_000),
                PowerTriangle::Captured,
            )
            .expect("the standard connection is a valid one")
        };
        self.houses
            .iter()
            .map(|house| ServedMeter {
                meter: house.config.id,
                title: house.config.title,
                name: house.name.clone(),
                limits: limits(house),
                span: ServiceSpan::since(self.plan.start),
                purpose: house.purpose,
            })
            .collect()
    }

    /// The edge.
    pub fn edge(&self) -> EdgeConfig {
        EdgeConfig {
            title: self.edge_title,
            price_scale: PRICE_SCALE,
            screening: ScreeningConfig::default(),
            hash_key: HashKey::default(),
        }
    }

    /// The other edge, where there is one: of the same meters, under its own title.
    pub fn backup_edge(&self) -> EdgeConfig {
        EdgeConfig {
            title: SystemTitle::new(*b"GLE", 2),
            ..self.edge()
        }
    }

    /// The utility, with standard times: it waits five minutes for the readings of an interval,
    /// two hours for those of a day, and a day for those of a month.
    pub fn utility(&self, name: &str) -> UtilityConfig {
        UtilityConfig {
            name: name.to_owned(),
            period: self.plan.period,
            currency: self.plan.currency,
            tariff: self.tariff,
            cutoff: Duration::from_secs(300),
            grace: GRACE_DEFAULT,
            seal_after: Duration::from_secs(2 * 3_600),
            stations: self.stations.clone(),
        }
    }

    /// How total power becomes a price.
    pub fn tariff(&self) -> &SigmoidTariff {
        &self.tariff
    }

    /// The generating stations.
    pub fn stations(&self) -> &Fleet {
        &self.stations
    }
}

/// Keys drawn from a seed: everybody who knows it can compute them. Only for a simulated town.
pub fn seeded_keys(seed: Seed) -> impl FnMut(MeterId) -> Keys {
    move |meter| {
        let mut rng = seed.child("keys").nth(u64::from(meter.0)).rng();
        let mut key = || {
            let mut bytes = [0; 16];
            rng.fill_bytes(&mut bytes);
            bytes
        };
        Keys::new(key(), key())
    }
}

/// The standard answer to prices: the elasticity that field trials found, around the price in the
/// middle of the standard tariff.
pub fn standard_response() -> Response {
    let middle = Price::from_micro_per_kwh((P_MIN_MICRO + P_MAX_MICRO) / 2)
        .expect("a price between two prices is a price");
    let elasticity = Elasticity::new(Elasticity::DEFAULT_EPSILON_MILLI, middle)
        .expect("the default elasticity is valid");
    Response::On(elasticity)
}

fn named_homes(plan: &TownPlan) -> Result<Vec<(String, Home)>, TownError> {
    match &plan.homes {
        Homes::Households { count, response } => {
            if !(1..=HOUSES_MAX).contains(count) {
                return Err(TownError::Houses(
                    usize::try_from(*count).unwrap_or(usize::MAX),
                ));
            }
            let catalogue = Catalogue::builtin();
            let options = HouseholdOptions {
                response: *response,
                ..HouseholdOptions::default()
            };
            let home = |number: u32| {
                let index = u64::from(number);
                let household = Household::with_catalogue(plan.seed, index, options, &catalogue);
                (
                    format!("House {number}"),
                    Home::Household(Box::new(household)),
                )
            };
            Ok((1..=*count).map(home).collect())
        }
        Homes::Traces(traces) => {
            let count = traces.len();
            if !u32::try_from(count).is_ok_and(|count| (1..=HOUSES_MAX).contains(&count)) {
                return Err(TownError::Houses(count));
            }
            let home =
                |(name, trace): (&String, &LoadTrace)| (name.clone(), Home::Trace(trace.clone()));
            Ok(traces.iter().map(home).collect())
        }
    }
}

/// What the model's households draw together, in half-hours of the year: what is each home's own
/// evens out with the root of their number, what they have in common does not. Fitted to
/// 1, 3, 10, 30, 100 and 300 homes on 4 to 15 days of four seasons, within about 15 %.
fn expected_of_households(count: u32) -> ExpectedTotal {
    const MEAN_W: f64 = 370.0;
    let count = f64::from(count);
    let at = |common: f64, own: f64| {
        let watts = MEAN_W * (count * common + libm::sqrt(count) * own);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "100 000 houses draw less than a gigawatt"
        )]
        let watts = libm::round(watts) as i64;
        Watts::new(watts)
    };
    ExpectedTotal {
        low: at(0.32, -0.15),
        mean: at(1.0, 0.0),
        high: at(1.6, 1.9),
        peak: at(1.5, 15.0),
    }
}

/// What measured homes drew together: the distribution of their own totals.
fn expected_of_traces(traces: &BTreeMap<String, LoadTrace>) -> ExpectedTotal {
    let mut by_end: BTreeMap<UtcTime, MilliwattHours> = BTreeMap::new();
    for (end, energy) in traces.values().flat_map(LoadTrace::iter) {
        *by_end.entry(end).or_insert(MilliwattHours::ZERO) += energy;
    }
    let per_hour = i64::from(LoadTrace::PERIOD.per_hour());
    let mut totals: Vec<i64> = by_end
        .values()
        .map(|energy| energy.get() * per_hour / 1_000)
        .collect();
    totals.sort_unstable();
    let at = |percent: usize| {
        let watts = totals.get((totals.len() * percent / 100).min(totals.len().saturating_sub(1)));
        Watts::new(watts.copied().unwrap_or(1).max(1))
    };
    let count = i64::try_from(totals.len()).unwrap_or(i64::MAX).max(1);
    ExpectedTotal {
        low: at(5),
        mean: Watts::new((totals.iter().sum::<i64>() / count).max(1)),
        high: at(95),
        peak: at(100),
    }
}

/// A tariff whose S spans the expected totals: from the low to the high one are six e-folds, so
/// that nine intervals in ten use most of the band.
fn standard_tariff(expected: ExpectedTotal) -> SigmoidTariff {
    let price = |micro| Price::from_micro_per_kwh(micro).expect("a standard price is valid");
    let span = (expected.high.get() - expected.low.get()).max(1);
    SigmoidTariff::new(SigmoidParameters {
        p_min: price(P_MIN_MICRO),
        p_max: price(P_MAX_MICRO),
        x0: expected.mean,
        k_per_watt: 6.0 / span as f64,
        price_decimals: SigmoidParameters::PRICE_DECIMALS_DEFAULT,
    })
    .expect("the standard tariff is valid for every positive total")
}
