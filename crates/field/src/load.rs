//! What a meter measures: the power its house draws, constant over stretches of time.

use gridloom_core::{Day, Period, Price, UtcTime};

/// Power per phase, signed as a meter counts: import and inductive are positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Power {
    /// Active power of L1 to L3, in milliwatts.
    pub active_mw: [i64; 3],
    /// Reactive power of L1 to L3, in millivars.
    pub reactive_mvar: [i64; 3],
}

impl Power {
    /// The most that one phase may draw or feed, in mW or mvar (1 MW). A load beyond it is a
    /// defect of the model, and the meter asserts so: the products of a day still fit 64 bits.
    pub const PHASE_MILLI_MAX: i64 = 1_000_000_000;

    /// Active power of all phases, in milliwatts.
    pub fn total_mw(&self) -> i64 {
        self.active_mw.iter().sum()
    }

    /// Reactive power of all phases, in millivars.
    pub fn total_mvar(&self) -> i64 {
        self.reactive_mvar.iter().sum()
    }

    /// Apparent power of one phase, √(P² + Q²), in millivolt-amperes, cut to a whole one.
    pub fn apparent_mva(&self, phase: usize) -> u64 {
        apparent(self.active_mw[phase], self.reactive_mvar[phase])
    }

    /// Apparent power of all phases, √((ΣP)² + (ΣQ)²) (the vector sum), in
    /// millivolt-amperes, cut to a whole one.
    pub fn total_mva(&self) -> u64 {
        apparent(self.total_mw(), self.total_mvar())
    }
}

fn apparent(active: i64, reactive: i64) -> u64 {
    let square = |x: i64| u128::from(x.unsigned_abs()) * u128::from(x.unsigned_abs());
    u64::try_from((square(active) + square(reactive)).isqrt())
        .expect("the root of two squares of 63 bits fits 64 bits")
}

/// Constant power from the asked time on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// The power may change here; later than the asked time.
    pub until: UtcTime,
    /// Until then; `None` where the house has no supply, or nobody knows what it drew.
    pub power: Option<Power>,
}

/// An appliance as the status page shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplianceState {
    /// Its name.
    pub name: String,
    /// What it draws now, in milliwatts; its standby when it is off.
    pub milliwatts: i64,
    /// Whether it runs.
    pub switch: Switch,
}

/// Whether an appliance runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Switch {
    On,
    Off,
}

/// The prices a house knows when a day begins: those of the same intervals of the day before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayPrices {
    /// The length of an interval.
    pub period: Period,
    /// By interval of the day, from 0; `None` where no price arrived. One for each interval.
    pub by_slot: Vec<Option<Price>>,
}

impl DayPrices {
    /// A day without any price.
    pub fn unknown(period: Period) -> Self {
        let intervals = usize::try_from(period.per_day()).expect("a day's intervals fit usize");
        Self {
            period,
            by_slot: vec![None; intervals],
        }
    }
}

/// A house, a factory or a scripted load.
///
/// Its power must be a pure function of time and of the prices given for that day and the day
/// before: the meter asks again for times that it had already seen when it restarts.
pub trait Load: Send {
    /// The constant power from `at` on.
    fn power_at(&mut self, at: UtcTime) -> Stretch;

    /// The voltage of L1 to L3 at `at`, phase to neutral in millivolts, where a network says it;
    /// it then holds to the end of the UTC minute. `None` leaves it to the meter's own
    /// [`Supply`](crate::Supply). Asked only where the power is known.
    fn voltage_mv(&mut self, _at: UtcTime) -> Option<[i64; 3]> {
        None
    }

    /// What runs at `at`; empty for a load without appliances.
    fn appliances_at(&mut self, at: UtcTime) -> Vec<ApplianceState>;

    /// A day begins, with the prices known by then. Days come in order, though not all of them;
    /// after a restart the current day and the one before are given again.
    fn begin_day(&mut self, day: Day, prices: &DayPrices);
}

/// The same power forever.
#[derive(Debug, Clone, Copy)]
pub struct ConstantLoad {
    /// That power.
    pub power: Power,
}

impl Load for ConstantLoad {
    fn power_at(&mut self, _: UtcTime) -> Stretch {
        Stretch {
            until: UtcTime::from_millis(i64::MAX),
            power: Some(self.power),
        }
    }

    fn appliances_at(&mut self, _: UtcTime) -> Vec<ApplianceState> {
        Vec::new()
    }

    fn begin_day(&mut self, _: Day, _: &DayPrices) {}
}

/// Several loads on one cable: what a transformer's meter measures.
pub struct TotalLoad {
    parts: Vec<Box<dyn Load>>,
}

impl TotalLoad {
    /// The sum of these. Where one of them has no supply, it adds nothing.
    pub fn new(parts: Vec<Box<dyn Load>>) -> Self {
        Self { parts }
    }
}

impl std::fmt::Debug for TotalLoad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TotalLoad")
            .field("parts", &self.parts.len())
            .finish()
    }
}

impl Load for TotalLoad {
    fn power_at(&mut self, at: UtcTime) -> Stretch {
        let mut total = Stretch {
            until: UtcTime::from_millis(i64::MAX),
            power: Some(Power::default()),
        };
        for part in &mut self.parts {
            let Stretch { until, power } = part.power_at(at);
            total.until = total.until.min(until);
            if let (Some(sum), Some(power)) = (&mut total.power, power) {
                for phase in 0..3 {
                    sum.active_mw[phase] += power.active_mw[phase];
                    sum.reactive_mvar[phase] += power.reactive_mvar[phase];
                }
            }
        }
        total
    }

    fn appliances_at(&mut self, _: UtcTime) -> Vec<ApplianceState> {
        Vec::new()
    }

    fn begin_day(&mut self, day: Day, prices: &DayPrices) {
        for part in &mut self.parts {
            part.begin_day(day, prices);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_is_the_sum_until_the_first_part_changes() {
        struct Until(i64, Option<Power>);
        impl Load for Until {
            fn power_at(&mut self, _: UtcTime) -> Stretch {
                Stretch {
                    until: UtcTime::from_secs(self.0),
                    power: self.1,
                }
            }
            fn appliances_at(&mut self, _: UtcTime) -> Vec<ApplianceState> {
                Vec::new()
            }
            fn begin_day(&mut self, _: Day, _: &DayPrices) {}
        }
        let power = |active, reactive| Power {
            active_mw: [active, 1, 0],
            reactive_mvar: [reactive, 0, 2],
        };
        let mut total = TotalLoad::new(vec![
            Box::new(Until(9, Some(power(5, -1)))),
            Box::new(Until(4, Some(power(7, 3)))),
            Box::new(Until(6, None)),
        ]);
        let stretch = total.power_at(UtcTime::from_secs(1));
        assert_eq!(stretch.until, UtcTime::from_secs(4));
        let expected = Power {
            active_mw: [12, 2, 0],
            reactive_mvar: [2, 0, 4],
        };
        assert_eq!(stretch.power, Some(expected));
    }

    #[test]
    fn apparent_power_is_the_hypotenuse() {
        let cases = [
            ([3, 0, 0], [4, 0, 0], 5, 5),
            ([-3, 0, 0], [-4, 0, 0], 5, 5),
            ([1, 1, 0], [1, 1, 0], 1, 2), // √2 and √8, cut.
            ([0; 3], [0; 3], 0, 0),
            (
                [Power::PHASE_MILLI_MAX; 3],
                [0; 3],
                1_000_000_000,
                3_000_000_000,
            ),
        ];
        for (active_mw, reactive_mvar, first, total) in cases {
            let power = Power {
                active_mw,
                reactive_mvar,
            };
            assert_eq!(power.apparent_mva(0), first, "{power:?}");
            assert_eq!(power.total_mva(), total, "{power:?}");
        }
    }
}
