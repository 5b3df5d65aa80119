//! Generating stations and merit order: which stations run for a demand, at which output, what
//! that costs, and how many an area needs.
//!
//! All in whole watts and exact money. Dispatch is one instant's, without ramps, start-up costs or
//! network limits.

use core::cmp::Reverse;

use gridloom_core::{Charge, MilliwattHours, Price, Seed, Watts};

use crate::draw::Draw;

/// What a station burns or turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Technology {
    /// Run-of-river hydro.
    Hydro,
    /// Wind, as its firm share.
    Wind,
    /// Biomass steam.
    Biomass,
    /// Combined-cycle gas turbine.
    CombinedCycle,
    /// Coal steam.
    Coal,
    /// Open-cycle gas turbine.
    GasTurbine,
    /// Diesel engine.
    Diesel,
}

impl core::fmt::Display for Technology {
    /// In words.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Hydro => "hydro",
            Self::Wind => "wind",
            Self::Biomass => "biomass",
            Self::CombinedCycle => "combined cycle",
            Self::Coal => "coal",
            Self::GasTurbine => "gas turbine",
            Self::Diesel => "diesel",
        })
    }
}

/// One generating station.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Station {
    /// Its name, unique in its fleet.
    pub name: String,
    /// What it burns or turns.
    pub technology: Technology,
    /// The year it was commissioned.
    pub commissioned: i32,
    /// The most it delivers, above zero.
    pub capacity: Watts,
    /// The least it delivers while on, 0 to the capacity.
    pub minimum: Watts,
    /// What one more kilowatt-hour costs.
    pub marginal_cost: Price,
}

/// Why a fleet was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    /// A capacity of zero or less, or above the bound.
    #[error("station {name:?}: capacity {got}; expected 1 W to {max}", max = Fleet::CAPACITY_MAX)]
    Capacity {
        /// Which station.
        name: String,
        /// Its capacity.
        got: Watts,
    },
    /// A minimum below zero or above the capacity.
    #[error("station {name:?}: minimum {minimum}; expected 0 W to its capacity, {capacity}")]
    Minimum {
        /// Which station.
        name: String,
        /// Its minimum.
        minimum: Watts,
        /// Its capacity.
        capacity: Watts,
    },
    /// Two stations of one name.
    #[error("two stations are called {name:?}; rename one")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// More stations than a fleet may have.
    #[error("{got} stations; a fleet has at most {max}", max = Fleet::STATIONS_MAX)]
    TooMany {
        /// How many.
        got: usize,
    },
}

/// Stations in merit order: marginal cost first, then the newer one, then by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    stations: Vec<Station>,
}

/// What a fleet does for one demand. Per-station lists are in merit order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatch {
    /// Output of each station; zero where it is off.
    pub outputs: Vec<Watts>,
    /// Which stations are on.
    pub on: Vec<bool>,
    /// What the stations that are on could deliver in addition.
    pub spare: Watts,
    /// Demand that nobody can serve.
    pub shortfall: Watts,
    /// Output beyond the demand, because no set of stations gets down to it.
    pub surplus: Watts,
    /// The marginal cost of the dearest station that runs above its minimum; where all run at
    /// their minimum, of the cheapest that is on; `None` with all off.
    pub marginal_price: Option<Price>,
    /// What an hour of this costs, exactly.
    pub hourly_cost: Charge,
}

impl Fleet {
    /// The most stations; more are refused.
    pub const STATIONS_MAX: usize = 256;
    /// The largest station: 100 GW.
    pub const CAPACITY_MAX: Watts = Watts::new(100_000_000_000);

    /// Puts stations into merit order.
    ///
    /// # Errors
    ///
    /// [`FleetError`], naming the station.
    pub fn new(mut stations: Vec<Station>) -> Result<Self, FleetError> {
        if stations.len() > Self::STATIONS_MAX {
            return Err(FleetError::TooMany {
                got: stations.len(),
            });
        }
        for station in &stations {
            if station.capacity <= Watts::ZERO || station.capacity > Self::CAPACITY_MAX {
                return Err(FleetError::Capacity {
                    name: station.name.clone(),
                    got: station.capacity,
                });
            }
            if station.minimum < Watts::ZERO || station.minimum > station.capacity {
                return Err(FleetError::Minimum {
                    name: station.name.clone(),
                    minimum: station.minimum,
                    capacity: station.capacity,
                });
            }
        }
        stations.sort_by(|a, b| merit(a).cmp(&merit(b)));
        let mut names: Vec<&str> = stations.iter().map(|s| s.name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(FleetError::Duplicate {
                name: pair[0].to_owned(),
            });
        }
        Ok(Self { stations })
    }

    /// A fleet for an area with a peak of `peak`, drawn from `seed`: fourteen stations with about
    /// 1.4 times the peak. Newer stations are more efficient and therefore cheaper.
    ///
    /// The shares, minimum outputs and costs are typical values, in an unnamed currency; a peak
    /// outside 1 kW to [`Self::CAPACITY_MAX`] is clamped.
    pub fn for_area(seed: Seed, peak: Watts) -> Self {
        let peak = peak.get().clamp(1_000, Self::CAPACITY_MAX.get());
        let mut stations = Vec::new();
        for kind in &KINDS {
            let mut draw = Draw::new(seed.child("stations").child(kind.name));
            for number in 1..=kind.units {
                let commissioned = draw.between(kind.years.0, kind.years.1);
                let size_permille = draw.between(800, 1_200);
                let capacity = (i128::from(peak)
                    * i128::from(kind.share_permille)
                    * i128::from(size_permille)
                    / (1_000_000 * i128::from(kind.units)))
                .max(1);
                let capacity = i64::try_from(capacity).expect("a share of a clamped peak fits i64");
                // One per cent more fuel for each year of age.
                let age = i64::from(YEAR_NEWEST - commissioned);
                let cost = kind.cost_micro_per_kwh + kind.cost_micro_per_kwh * age / 100;
                stations.push(Station {
                    name: format!("{} {number}", kind.name),
                    technology: kind.technology,
                    commissioned: i32::try_from(commissioned).expect("a year fits i32"),
                    capacity: Watts::new(capacity),
                    minimum: Watts::new(capacity * kind.minimum_permille / 1_000),
                    marginal_cost: Price::from_micro_per_kwh(cost)
                        .expect("a typical cost is a valid price"),
                });
            }
        }
        Self::new(stations).expect("the table makes valid stations with different names")
    }

    /// The stations, in merit order.
    pub fn stations(&self) -> &[Station] {
        &self.stations
    }

    /// The sum of all capacities.
    pub fn capacity(&self) -> Watts {
        self.stations.iter().map(|s| s.capacity).sum()
    }

    /// Serves `demand`: commits stations in merit order until their capacity suffices, runs each
    /// at least at its minimum, and gives what remains to the cheapest first.
    ///
    /// Minimum outputs come before merit: a station whose minimum no longer fits under the demand
    /// is passed over. Where that leaves demand unserved, supply comes first: a passed-over
    /// station comes in, and the dearest that can be spared go off until the minimums fit. Where
    /// they never do, the set that overshoots least runs at its minimums, and the difference is
    /// the `surplus`. So a demand below every minimum is served by one station at its minimum.
    ///
    /// There is a shortfall only if all stations together are too small. A demand of zero or less
    /// turns everything off. This is a heuristic: fast and explainable, not the cheapest of all
    /// 2ⁿ sets.
    pub fn dispatch(&self, demand: Watts) -> Dispatch {
        let demand = demand.max(Watts::ZERO);
        let on = self.commit(demand);
        let mut outputs: Vec<Watts> = self
            .stations
            .iter()
            .zip(&on)
            .map(|(station, on)| if *on { station.minimum } else { Watts::ZERO })
            .collect();
        let floor: Watts = outputs.iter().copied().sum();
        let mut left = (demand - floor).max(Watts::ZERO);
        let surplus = (floor - demand).max(Watts::ZERO);
        let mut spare = Watts::ZERO;
        let mut above_minimum = None;
        let mut cheapest_on = None;
        for ((station, on), output) in self.stations.iter().zip(&on).zip(&mut outputs) {
            if !on {
                continue;
            }
            cheapest_on = cheapest_on.or(Some(station.marginal_cost));
            let raise = left.min(station.capacity - station.minimum);
            if raise > Watts::ZERO {
                above_minimum = Some(station.marginal_cost);
            }
            *output += raise;
            left = left - raise;
            spare += station.capacity - *output;
        }
        let hourly_cost = self
            .stations
            .iter()
            .zip(&outputs)
            .map(|(station, output)| station.marginal_cost.charge(hour_of(*output)))
            .sum();
        Dispatch {
            outputs,
            on,
            spare,
            shortfall: left,
            surplus,
            marginal_price: above_minimum.or(cheapest_on),
            hourly_cost,
        }
    }

    /// The cost of an hour at `steps` + 1 demands, evenly from zero to the whole capacity, each
    /// rounded down to a watt.
    pub fn cost_curve(&self, steps: u16) -> Vec<(Watts, Charge)> {
        let capacity = i128::from(self.capacity().get());
        let steps = i128::from(steps.max(1));
        (0..=steps)
            .map(|step| {
                let demand =
                    i64::try_from(capacity * step / steps).expect("at most the fleet's capacity");
                let demand = Watts::new(demand);
                (demand, self.dispatch(demand).hourly_cost)
            })
            .collect()
    }

    /// How many stations, best first, cover `peak` with a reserve of `reserve_permille`
    /// thousandths of it, rounded up to a watt. `None` where all together do not.
    pub fn stations_needed(&self, peak: Watts, reserve_permille: u16) -> Option<usize> {
        let peak = i128::from(peak.get().max(0));
        let needed = (peak * (1_000 + i128::from(reserve_permille)) + 999) / 1_000;
        let mut covered = 0;
        for (count, station) in self.stations.iter().enumerate() {
            if covered >= needed {
                return Some(count);
            }
            covered += i128::from(station.capacity.get());
        }
        (covered >= needed).then_some(self.stations.len())
    }

    /// Which stations are on for `demand`.
    fn commit(&self, demand: Watts) -> Vec<bool> {
        let mut on = vec![false; self.stations.len()];
        if demand == Watts::ZERO {
            return on;
        }
        let mut sum = Committed::default();
        for (station, on) in self.stations.iter().zip(&mut on) {
            if sum.capacity < demand && sum.minimum + station.minimum <= demand {
                sum = sum.with(station);
                *on = true;
            }
        }
        // With every station on, more demand is a shortfall and nothing is left to try.
        if sum.capacity >= demand || on.iter().all(|on| *on) {
            return on;
        }
        let passed_over = (0..on.len()).filter(|index| !on[*index]);
        passed_over
            .map(|extra| self.exchange(&on, extra, demand))
            // The first among equals is the cheapest extra.
            .min_by_key(|(overshoot, _)| *overshoot)
            .map_or(on, |(_, exchanged)| exchanged)
    }

    /// `on` with `extra`, and with further stations in merit order until they suffice; then
    /// without the dearest that can go, until the minimums fit under `demand`. With it, by how
    /// much the minimums still overshoot.
    fn exchange(&self, on: &[bool], extra: usize, demand: Watts) -> (Watts, Vec<bool>) {
        let mut tried = on.to_vec();
        tried[extra] = true;
        let mut sum = self
            .stations
            .iter()
            .zip(&tried)
            .filter(|(_, on)| **on)
            .fold(Committed::default(), |sum, (station, _)| sum.with(station));
        for (station, on) in self.stations.iter().zip(&mut tried) {
            if sum.capacity < demand && !*on {
                *on = true;
                sum = sum.with(station);
            }
        }
        for (index, station) in self.stations.iter().enumerate().rev() {
            if sum.minimum <= demand {
                break;
            }
            let rest = sum.without(station);
            if tried[index] && index != extra && rest.capacity >= demand {
                tried[index] = false;
                sum = rest;
            }
        }
        ((sum.minimum - demand).max(Watts::ZERO), tried)
    }
}

/// The sums over committed stations.
#[derive(Debug, Clone, Copy, Default)]
struct Committed {
    capacity: Watts,
    minimum: Watts,
}

impl Committed {
    fn with(self, station: &Station) -> Self {
        Self {
            capacity: self.capacity + station.capacity,
            minimum: self.minimum + station.minimum,
        }
    }

    fn without(self, station: &Station) -> Self {
        Self {
            capacity: self.capacity - station.capacity,
            minimum: self.minimum - station.minimum,
        }
    }
}

/// "New and efficient first": an efficient station is one with low marginal cost; among equals the
/// newer goes first, and the name settles the rest.
fn merit(station: &Station) -> (Price, Reverse<i32>, &str) {
    (
        station.marginal_cost,
        Reverse(station.commissioned),
        &station.name,
    )
}

/// The energy of an hour at constant power, exactly.
fn hour_of(power: Watts) -> MilliwattHours {
    MilliwattHours::new(power.get() * 1_000)
}

struct Kind {
    name: &'static str,
    technology: Technology,
    units: u32,
    /// Of the area's peak, all units together.
    share_permille: u32,
    minimum_permille: i64,
    years: (u32, u32),
    /// Of a station commissioned in [`YEAR_NEWEST`].
    cost_micro_per_kwh: i64,
}

const YEAR_NEWEST: u32 = 2025;

const fn kind(
    name: &'static str,
    technology: Technology,
    (units, share_permille, minimum_permille): (u32, u32, i64),
    years: (u32, u32),
    cost_micro_per_kwh: i64,
) -> Kind {
    Kind {
        name,
        technology,
        units,
        share_permille,
        minimum_permille,
        years,
        cost_micro_per_kwh,
    }
}

const KINDS: [Kind; 7] = [
    kind("Hydro", Technology::Hydro, (2, 100, 0), (1960, 2010), 5_000),
    kind("Wind", Technology::Wind, (2, 150, 0), (2005, 2025), 3_000),
    kind(
        "Biomass",
        Technology::Biomass,
        (1, 80, 300),
        (2000, 2020),
        60_000,
    ),
    kind(
        "Combined cycle",
        Technology::CombinedCycle,
        (4, 500, 400),
        (1995, 2024),
        55_000,
    ),
    kind(
        "Coal",
        Technology::Coal,
        (2, 300, 450),
        (1970, 1995),
        50_000,
    ),
    kind(
        "Gas turbine",
        Technology::GasTurbine,
        (2, 200, 200),
        (1985, 2022),
        95_000,
    ),
    kind(
        "Diesel",
        Technology::Diesel,
        (1, 70, 100),
        (1980, 2015),
        180_000,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn station(name: &str, capacity: i64, minimum: i64, cost: i64, year: i32) -> Station {
        Station {
            name: name.to_owned(),
            technology: Technology::CombinedCycle,
            commissioned: year,
            capacity: Watts::new(capacity),
            minimum: Watts::new(minimum),
            marginal_cost: Price::from_micro_per_kwh(cost).unwrap(),
        }
    }

    fn fleet(stations: &[(&str, i64, i64, i64)]) -> Fleet {
        Fleet::new(
            stations
                .iter()
                .map(|(name, capacity, minimum, cost)| {
                    station(name, *capacity, *minimum, *cost, 2000)
                })
                .collect(),
        )
        .unwrap()
    }

    #[test]
    fn merit_is_cost_then_age_then_name() {
        let fleet = Fleet::new(vec![
            station("old", 1, 0, 50_000, 1990),
            station("dear", 1, 0, 90_000, 2024),
            station("b", 1, 0, 50_000, 2020),
            station("a", 1, 0, 50_000, 2020),
        ])
        .unwrap();
        let names: Vec<_> = fleet.stations().iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "old", "dear"]);
    }

    #[test]
    fn demand_is_served_within_minimums() {
        let plain: &[_] = &[("a", 100, 40, 10), ("b", 100, 40, 20), ("c", 50, 0, 30)];
        let lumpy: &[_] = &[("a", 100, 80, 10), ("b", 100, 90, 20), ("c", 60, 10, 30)];
        let pair: &[_] = &[("a", 100, 80, 10), ("b", 200, 100, 20)];
        let gap: &[_] = &[("a", 100, 80, 10), ("b", 200, 180, 20)];
        type Case<'a> = (
            &'a [(&'a str, i64, i64, i64)],
            i64,
            &'a [i64],
            i64,
            i64,
            i64,
            Option<i64>,
        );
        let cases: &[Case<'_>] = &[
            // Fleet, demand, outputs, spare, shortfall, surplus, marginal.
            (plain, 0, &[0, 0, 0], 0, 0, 0, None),
            (plain, -5, &[0, 0, 0], 0, 0, 0, None),
            (plain, 70, &[70, 0, 0], 30, 0, 0, Some(10)),
            (plain, 100, &[100, 0, 0], 0, 0, 0, Some(10)),
            // The second comes in at its minimum, the first backs down.
            (plain, 110, &[70, 40, 0], 90, 0, 0, Some(10)),
            (plain, 150, &[100, 50, 0], 50, 0, 0, Some(20)),
            (plain, 250, &[100, 100, 50], 0, 0, 0, Some(30)),
            (plain, 300, &[100, 100, 50], 0, 50, 0, Some(30)),
            // Below the minimum of the first: the next that fits.
            (plain, 30, &[0, 0, 30], 20, 0, 0, Some(30)),
            // The second does not fit under the demand: passed over for the third.
            (lumpy, 150, &[100, 0, 50], 10, 0, 0, Some(30)),
            // Below every minimum: the least overshoot.
            (lumpy, 5, &[0, 0, 10], 50, 0, 5, Some(30)),
            // The first gives way to the second.
            (pair, 150, &[0, 150], 50, 0, 0, Some(20)),
            // Nothing fits between 100 and 180: supply first.
            (gap, 150, &[0, 180], 20, 0, 30, Some(20)),
        ];
        for (stations, demand, outputs, spare, shortfall, surplus, marginal) in cases {
            let got = fleet(stations).dispatch(Watts::new(*demand));
            let what = format!("{stations:?} at {demand}: {got:?}");
            let got_outputs: Vec<_> = got.outputs.iter().map(|w| w.get()).collect();
            assert_eq!(got_outputs, *outputs, "{what}");
            assert_eq!(got.spare.get(), *spare, "{what}");
            assert_eq!(got.shortfall.get(), *shortfall, "{what}");
            assert_eq!(got.surplus.get(), *surplus, "{what}");
            let price = got.marginal_price.map(Price::micro_per_kwh);
            assert_eq!(price, *marginal, "{what}");
        }
    }

    #[test]
    fn dispatch_balances_for_every_demand_of_drawn_fleets() {
        for seed in 0..20 {
            let fleet = Fleet::for_area(Seed::new(seed), Watts::new(400_000));
            let total = fleet.capacity().get();
            for demand in (0..total + 50_000).step_by(1_777) {
                let got = fleet.dispatch(Watts::new(demand));
                let output: i64 = got.outputs.iter().map(|w| w.get()).sum();
                assert_eq!(output + got.shortfall.get() - got.surplus.get(), demand);
                assert_eq!(got.surplus, Watts::ZERO, "hydro and wind have no minimum");
                assert_eq!(got.shortfall.get(), (demand - total).max(0));
                for ((station, on), output) in
                    fleet.stations().iter().zip(&got.on).zip(&got.outputs)
                {
                    let range = if *on {
                        station.minimum..=station.capacity
                    } else {
                        Watts::ZERO..=Watts::ZERO
                    };
                    assert!(range.contains(output), "{station:?} at {output}");
                }
            }
        }
    }

    #[test]
    fn only_too_small_a_fleet_falls_short() {
        let mut draw = Draw::new(Seed::new(5));
        for round in 0..2_000 {
            let stations = (0..draw.between(1, 6))
                .map(|index| {
                    let capacity = i64::from(draw.between(1, 100));
                    let minimum = capacity * i64::from(draw.below(101)) / 100;
                    station(
                        &index.to_string(),
                        capacity,
                        minimum,
                        i64::from(draw.below(5)),
                        2000,
                    )
                })
                .collect();
            let fleet = Fleet::new(stations).unwrap();
            let total = fleet.capacity().get();
            let demand = i64::from(draw.between(0, 400));
            let got = fleet.dispatch(Watts::new(demand));
            let output: i64 = got.outputs.iter().map(|w| w.get()).sum();
            let what = format!("round {round}: {fleet:?} at {demand}: {got:?}");
            assert_eq!(got.shortfall.get(), (demand - total).max(0), "{what}");
            assert_eq!(
                output + got.shortfall.get() - got.surplus.get(),
                demand,
                "{what}"
            );
            for (station, (on, output)) in
                fleet.stations().iter().zip(got.on.iter().zip(&got.outputs))
            {
                assert!(
                    *output <= station.capacity && (*output >= station.minimum || !on),
                    "{what}"
                );
            }
        }
    }

    #[test]
    fn costs_are_exact() {
        let fleet = fleet(&[("a", 1_000, 0, 100_000), ("b", 1_000, 0, 200_000)]);
        // 1 kW for an hour at 0.10, and half a kilowatt at 0.20.
        let cost = fleet.dispatch(Watts::new(1_500)).hourly_cost;
        assert_eq!(cost.to_string(), "0.200000000000");
        let curve: Vec<_> = fleet
            .cost_curve(4)
            .into_iter()
            .map(|(w, c)| (w.get(), c.pico() / 1_000_000_000))
            .collect();
        assert_eq!(
            curve,
            [(0, 0), (500, 50), (1_000, 100), (1_500, 200), (2_000, 300)]
        );
    }

    #[test]
    fn an_area_needs_so_many_stations() {
        let fleet = fleet(&[("a", 100, 0, 1), ("b", 50, 0, 2), ("c", 50, 0, 3)]);
        let cases = [
            (0, 0, Some(0)),
            (100, 0, Some(1)),
            (100, 1, Some(2)),
            (130, 150, Some(2)),
            (131, 150, Some(3)),
            (200, 0, Some(3)),
            (200, 1, None),
        ];
        for (peak, reserve, expected) in cases {
            assert_eq!(
                fleet.stations_needed(Watts::new(peak), reserve),
                expected,
                "{peak} {reserve}"
            );
        }
        let area = Fleet::for_area(Seed::new(1), Watts::new(1_000_000));
        let needed = area.stations_needed(Watts::new(1_000_000), 100).unwrap();
        assert!((5..=14).contains(&needed), "{needed}");
        assert_eq!(area.stations().len(), 14);
    }

    #[test]
    fn impossible_stations_are_named() {
        let cases = [
            (vec![station("a", 0, 0, 1, 2000)], "capacity"),
            (vec![station("a", 10, 11, 1, 2000)], "minimum"),
            (vec![station("a", 10, -1, 1, 2000)], "minimum"),
            (
                vec![station("a", 1, 0, 1, 2000), station("a", 2, 0, 2, 2000)],
                "two stations",
            ),
            (
                (0..257)
                    .map(|i| station(&i.to_string(), 1, 0, 1, 2000))
                    .collect(),
                "at most 256",
            ),
        ];
        for (stations, words) in cases {
            let error = Fleet::new(stations).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
