//! Loads from the electrical model: a household that people live in, and a measured trace.

use gridloom_core::{Day, Price, UtcTime};
use gridloom_grid::{DayLoad, DayPlan, Household, LoadTrace, MS_PER_DAY, PriceSignal, Segment};

use crate::load::{ApplianceState, DayPrices, Load, Power, Stretch, Switch};

/// A household of the model, planned day by day.
#[derive(Debug, Clone)]
pub struct HouseholdLoad {
    household: Household,
    today: Option<(DayPlan, DayLoad)>,
}

impl HouseholdLoad {
    /// The load of a household.
    pub fn new(household: Household) -> Self {
        Self {
            household,
            today: None,
        }
    }

    /// The household.
    pub fn household(&self) -> &Household {
        &self.household
    }

    fn segment_at(&self, at: UtcTime) -> (&DayLoad, &Segment) {
        let (_, load) = self
            .today
            .as_ref()
            .expect("a day begins before it is measured");
        assert!(load.day() == at.day(), "days are measured in order");
        (load, load.at(ms_of_day(at)))
    }
}

impl Load for HouseholdLoad {
    fn power_at(&mut self, at: UtcTime) -> Stretch {
        let (load, segment) = self.segment_at(at);
        Stretch {
            until: time_of(load.day(), segment.to_ms),
            power: Some(power_of(segment)),
        }
    }

    fn appliances_at(&mut self, at: UtcTime) -> Vec<ApplianceState> {
        let (load, segment) = self.segment_at(at);
        self.household
            .appliances()
            .iter()
            .filter_map(|id| {
                let rating = self.household.rating(id)?;
                Some(ApplianceState {
                    name: self.household.label(id).to_owned(),
                    milliwatts: load.active_mw_of(rating, ms_of_day(at)),
                    switch: if segment.on.contains(id) {
                        Switch::On
                    } else {
                        Switch::Off
                    },
                })
            })
            .collect()
    }

    fn begin_day(&mut self, day: Day, prices: &DayPrices) {
        let plan = self.household.plan_day(day, &signal(prices));
        let yesterday = match self.today.take() {
            Some((before, _)) if before.day() == day.previous() => before,
            // The first day, or the meter was off for a while: the house went on unwatched.
            Some(_) | None => self
                .household
                .plan_day(day.previous(), &PriceSignal::unknown()),
        };
        let load = self.household.load(&yesterday, &plan);
        self.today = Some((plan, load));
    }
}

/// A measured home. Where the trace has a gap, the meter has no supply: nothing is invented.
#[derive(Debug, Clone)]
pub struct TraceLoad {
    trace: LoadTrace,
    today: Option<(Day, Vec<Segment>)>,
}

impl TraceLoad {
    /// The load of a trace, at the times at which it was measured.
    pub fn new(trace: LoadTrace) -> Self {
        Self { trace, today: None }
    }
}

impl Load for TraceLoad {
    fn power_at(&mut self, at: UtcTime) -> Stretch {
        let day = at.day();
        let (_, segments) = match self.today.take() {
            Some(today) if today.0 == day => self.today.insert(today),
            Some(_) | None => self.today.insert((day, self.trace.segments(day).collect())),
        };
        let ms = ms_of_day(at);
        let next = segments.partition_point(|segment| segment.to_ms <= ms);
        match segments.get(next) {
            Some(segment) if segment.from_ms <= ms => Stretch {
                until: time_of(day, segment.to_ms),
                power: Some(power_of(segment)),
            },
            gap => Stretch {
                until: time_of(day, gap.map_or(MS_PER_DAY, |segment| segment.from_ms)),
                power: None,
            },
        }
    }

    fn appliances_at(&mut self, _: UtcTime) -> Vec<ApplianceState> {
        Vec::new()
    }

    fn begin_day(&mut self, _: Day, _: &DayPrices) {}
}

/// Intervals without a price are expected to cost what the one before costs; the first ones, what
/// the first known one costs.
pub(crate) fn signal(prices: &DayPrices) -> PriceSignal {
    let Some(first) = prices.by_slot.iter().flatten().next() else {
        return PriceSignal::unknown();
    };
    let filled: Vec<Price> = prices
        .by_slot
        .iter()
        .scan(*first, |last, price| {
            *last = price.unwrap_or(*last);
            Some(*last)
        })
        .collect();
    PriceSignal::new(prices.period, filled).expect("a day's prices are one for each interval")
}

fn power_of(segment: &Segment) -> Power {
    Power {
        active_mw: segment.active_mw,
        reactive_mvar: segment.reactive_mvar,
    }
}

fn ms_of_day(at: UtcTime) -> u32 {
    u32::try_from(at.as_millis() - at.day().start().as_millis()).expect("a day's time fits u32")
}

fn time_of(day: Day, ms: u32) -> UtcTime {
    UtcTime::from_millis(day.start().as_millis() + i64::from(ms))
}
