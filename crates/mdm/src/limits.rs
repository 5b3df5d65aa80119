//! What one meter can physically have measured.

use gridloom_core::{Millivolts, MilliwattHours, Period};

/// How many phase conductors the meter measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phases {
    /// L1 and neutral.
    One,
    /// L1, L2, L3 and neutral.
    Three,
}

impl Phases {
    /// The number of phase conductors.
    pub const fn count(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Three => 3,
        }
    }
}

/// Whether the meter captures reactive and apparent energy beside active energy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PowerTriangle {
    /// All channels are captured: S² ≥ P² + Q² must hold.
    Captured,
    /// Only active energy is; the other channels are zero and say nothing.
    NotCaptured,
}

/// Why limits cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitsError {
    /// The service fuse is out of range.
    #[error("meter limits: fuse of {0} A; give 1 to {max} A", max = MeterLimits::FUSE_AMPS_MAX)]
    Fuse(u32),
    /// The nominal voltage is out of range.
    #[error(
        "meter limits: nominal voltage of {0}; give {min} to {max}",
        min = MeterLimits::NOMINAL_MIN,
        max = MeterLimits::NOMINAL_MAX
    )]
    Nominal(Millivolts),
}

/// A meter's connection: what its readings are held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeterLimits {
    fuse_amps: u32,
    phases: Phases,
    nominal: Millivolts,
    triangle: PowerTriangle,
}

impl MeterLimits {
    /// The largest service fuse, in amperes: current-transformer metering included.
    pub const FUSE_AMPS_MAX: u32 = 6_000;
    /// The lowest nominal phase voltage.
    pub const NOMINAL_MIN: Millivolts = Millivolts::new(50_000);
    /// The highest nominal phase voltage: the low-voltage limit of IEC 60038.
    pub const NOMINAL_MAX: Millivolts = Millivolts::new(1_000_000);

    /// Limits of a connection with a service fuse of `fuse_amps` per phase and a nominal
    /// phase-to-neutral voltage.
    ///
    /// # Errors
    ///
    /// [`LimitsError`] names the value that is out of range.
    pub fn new(
        fuse_amps: u32,
        phases: Phases,
        nominal: Millivolts,
        triangle: PowerTriangle,
    ) -> Result<Self, LimitsError> {
        if !(1..=Self::FUSE_AMPS_MAX).contains(&fuse_amps) {
            return Err(LimitsError::Fuse(fuse_amps));
        }
        if !(Self::NOMINAL_MIN..=Self::NOMINAL_MAX).contains(&nominal) {
            return Err(LimitsError::Nominal(nominal));
        }
        Ok(Self {
            fuse_amps,
            phases,
            nominal,
            triangle,
        })
    }

    /// The most energy one interval can carry through the fuse, rounded up.
    ///
    /// Reckoned at the upper end of the voltage band, because a fuse limits current, not power.
    /// The same number bounds mWh, mvarh and mVAh.
    pub fn energy_max(&self, period: Period) -> MilliwattHours {
        let milliwatts = i64::from(self.fuse_amps)
            * i64::from(self.phases.count())
            * self.voltage_band().1.get();
        let per_hour = i64::from(period.per_hour());
        MilliwattHours::new((milliwatts + per_hour - 1) / per_hour)
    }

    /// The lowest and highest voltage that raise no warning: nominal ± 10 % (EN 50160 §4.2.2),
    /// bounds included.
    pub const fn voltage_band(&self) -> (Millivolts, Millivolts) {
        let nominal = self.nominal.get();
        (
            Millivolts::new(nominal - nominal / 10),
            Millivolts::new(nominal + nominal / 10),
        )
    }

    /// Whether the power triangle can be checked.
    pub const fn triangle(&self) -> PowerTriangle {
        self.triangle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fuse_bounds_the_energy_of_an_interval() {
        let nominal = Millivolts::new(230_000);
        let cases = [
            // 63 A × 253 V = 15 939 W.
            (63, Phases::One, Period::HOUR, 15_939_000),
            (63, Phases::One, Period::QUARTER_HOUR, 3_984_750),
            (63, Phases::Three, Period::HOUR, 47_817_000),
            // 253 W over a second is 70 277.77… µWh: rounded up, never down.
            (1, Phases::One, Period::from_secs(1).unwrap(), 71),
        ];
        for (amps, phases, period, expected) in cases {
            let limits = MeterLimits::new(amps, phases, nominal, PowerTriangle::Captured).unwrap();
            assert_eq!(
                limits.energy_max(period).get(),
                expected,
                "{amps} A {phases:?} {period:?}"
            );
        }
    }

    #[test]
    fn limits_out_of_range_are_refused_by_name() {
        let cases = [
            (
                0,
                230_000,
                Err("meter limits: fuse of 0 A; give 1 to 6000 A"),
            ),
            (
                6_001,
                230_000,
                Err("meter limits: fuse of 6001 A; give 1 to 6000 A"),
            ),
            (6_000, 1_000_000, Ok(())),
            (
                63,
                230,
                Err(
                    "meter limits: nominal voltage of 230\u{a0}mV; give 50000\u{a0}mV to 1000000\u{a0}mV",
                ),
            ),
        ];
        for (amps, nominal, expected) in cases {
            let made = MeterLimits::new(
                amps,
                Phases::One,
                Millivolts::new(nominal),
                PowerTriangle::Captured,
            );
            assert_eq!(
                made.map(|_| ()).map_err(|error| error.to_string()),
                expected.map_err(str::to_owned)
            );
        }
    }
}
