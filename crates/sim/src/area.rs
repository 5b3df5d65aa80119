//! An area's houses without their network: what they draw together, and the price that answers it.
//!
//! The same model, prices and whole watt-hours as in the world, so that planning over many seeds
//! says what the world would have said.

use gridloom_billing::{RunInterval, SigmoidTariff};
use gridloom_core::{Day, MilliwattHours, Period, Watts};
use gridloom_grid::{DayPlan, Household, MS_PER_DAY, PriceSignal};

use crate::town::{House, Town};

/// Microjoules in one watt-hour.
const MICROJOULES_PER_WH: i64 = 3_600_000_000;

/// The houses of a town, day after day. Measured homes are left out: they do not answer prices.
pub(crate) struct Area<'a> {
    period: Period,
    tariff: &'a SigmoidTariff,
    homes: Vec<Home<'a>>,
    day: Day,
    known: PriceSignal,
}

struct Home<'a> {
    household: &'a Household,
    yesterday: DayPlan,
    /// What a register of whole watt-hours has not shown yet, in microjoules.
    rest_uj: i64,
}

impl<'a> Area<'a> {
    /// The houses as they begin `first`; nobody knows a price yet.
    pub(crate) fn new(town: &'a Town, first: Day) -> Self {
        let households = town.houses().iter().filter_map(House::household);
        let homes = households.map(|household| Home {
            household,
            yesterday: household.plan_day(first.previous(), &PriceSignal::unknown()),
            rest_uj: 0,
        });
        Self {
            period: town.plan().period,
            tariff: town.tariff(),
            homes: homes.collect(),
            day: first,
            known: PriceSignal::unknown(),
        }
    }

    /// Lives one day, with yesterday's prices for guidance, and prices each interval by its total.
    pub(crate) fn live_day(&mut self, run: &mut Vec<RunInterval>) {
        let slots = usize::try_from(self.period.per_day()).expect("a day's intervals fit usize");
        let mut watt_hours = vec![0_i64; slots];
        for home in &mut self.homes {
            let plan = home.household.plan_day(self.day, &self.known);
            let load = home.household.load(&home.yesterday, &plan);
            home.yesterday = plan;
            let mut energies = vec![0_i64; slots];
            let slot_ms = MS_PER_DAY / self.period.per_day();
            for segment in load.segments() {
                let milliwatts: i64 = segment.active_mw.iter().sum();
                let mut from = segment.from_ms;
                while from < segment.to_ms {
                    let slot = from / slot_ms;
                    let to = segment.to_ms.min((slot + 1) * slot_ms);
                    let slot = usize::try_from(slot).expect("a day's slots fit usize");
                    energies[slot] += milliwatts * i64::from(to - from);
                    from = to;
                }
            }
            for (total, energy) in watt_hours.iter_mut().zip(energies) {
                home.rest_uj += energy;
                *total += home.rest_uj / MICROJOULES_PER_WH;
                home.rest_uj %= MICROJOULES_PER_WH;
            }
        }
        let per_hour = i64::from(self.period.per_hour());
        let mut prices = Vec::with_capacity(slots);
        for (slot, watt_hours) in (0_u16..).zip(watt_hours) {
            let price = self.tariff.price(Watts::new(watt_hours * per_hour));
            prices.push(price);
            run.push(RunInterval {
                end: self.period.end_of_slot(self.day, slot),
                energy: MilliwattHours::new(watt_hours * 1_000),
                price,
            });
        }
        self.known = PriceSignal::new(self.period, prices).expect("each interval has its price");
        self.day = self.day.next();
    }

    /// Lives many days.
    pub(crate) fn live(mut self, days: u32) -> Vec<RunInterval> {
        let mut run = Vec::new();
        for _ in 0..days {
            self.live_day(&mut run);
        }
        run
    }
}

/// The highest mean power of an interval, in whole watts.
pub(crate) fn peak(run: &[RunInterval], period: Period) -> Watts {
    let highest = run.iter().map(|interval| interval.energy).max();
    let energy = highest.unwrap_or(MilliwattHours::ZERO);
    Watts::new(energy.get() * i64::from(period.per_hour()) / 1_000)
}
