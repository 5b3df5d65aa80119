//! The voltage and frequency at the meter's terminals.

use std::time::Duration;

use gridloom_core::{Millivolts, Seed, UtcTime};

use crate::load::Power;

/// A stiff source behind one impedance per phase: U = U₀ + noise − (R·P + X·Q) / U₀.
///
/// The drop is the usual linear approximation for small angles; the noise is uniform and stays
/// constant for [`Self::STEP`]. Both are pure functions of time, so that a meter that restarts
/// measures the same again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Supply {
    /// Phase to neutral without load.
    pub nominal: Millivolts,
    /// R of the service cable and transformer, in milliohms.
    pub resistance_mohm: i64,
    /// X of the same, in milliohms.
    pub reactance_mohm: i64,
    /// The noise reaches this far to both sides.
    pub noise: Millivolts,
    /// Nominal frequency in millihertz.
    pub frequency_mhz: i64,
}

impl Supply {
    /// How long one draw of the noise lasts.
    pub const STEP: Duration = Duration::from_secs(60);

    /// The frequency wanders this far to both sides, in millihertz (EN 50160 allows 500).
    pub const FREQUENCY_NOISE_MHZ: i64 = 40;

    /// 230 V, 50 Hz, the reference impedance of IEC TR 60725 (0.24 + j0.15 Ω), noise of 1.5 V.
    pub const LOW_VOLTAGE_50_HZ: Self = Self {
        nominal: Millivolts::new(230_000),
        resistance_mohm: 240,
        reactance_mohm: 150,
        noise: Millivolts::new(1_500),
        frequency_mhz: 50_000,
    };

    /// The end of the step that contains `at`.
    pub(crate) fn step_end(at: UtcTime) -> UtcTime {
        UtcTime::from_millis((step_of(at) + 1) * STEP_MILLIS)
    }

    /// The voltage of `phase` under `power`, never below half the nominal one.
    pub(crate) fn voltage_mv(&self, seed: Seed, phase: usize, at: UtcTime, power: &Power) -> i64 {
        let nominal = self.nominal.get();
        // mΩ · mW = µV², and µV² / mV = mV.
        let drop = (self.resistance_mohm * power.active_mw[phase]
            + self.reactance_mohm * power.reactive_mvar[phase])
            / nominal;
        let noise = uniform(
            seed.nth(step_of(at).unsigned_abs()).nth(phase as u64),
            self.noise.get(),
        );
        (nominal + noise - drop).max(nominal / 2)
    }

    /// The frequency in millihertz.
    pub(crate) fn frequency_at(&self, seed: Seed, at: UtcTime) -> i64 {
        let draw = seed.nth(step_of(at).unsigned_abs()).nth(3);
        self.frequency_mhz + uniform(draw, Self::FREQUENCY_NOISE_MHZ)
    }
}

const STEP_MILLIS: i64 = 60_000;

fn step_of(at: UtcTime) -> i64 {
    at.as_millis().div_euclid(STEP_MILLIS)
}

/// A whole number from −`reach` to `reach`.
fn uniform(draw: Seed, reach: i64) -> i64 {
    let width = 2 * reach.unsigned_abs() + 1;
    i64::try_from(draw.get() % width).expect("a remainder of a small width is small") - reach.abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_lowers_the_voltage_and_feeding_raises_it() {
        let quiet = Supply {
            noise: Millivolts::ZERO,
            ..Supply::LOW_VOLTAGE_50_HZ
        };
        let cases = [
            (0, 0, 230_000),
            (2_300_000, 0, 227_600),              // 10 A · 0.24 Ω.
            (-2_300_000, 0, 232_400),             // Feeding in.
            (0, 2_300_000, 228_500),              // 10 A · 0.15 Ω.
            (Power::PHASE_MILLI_MAX, 0, 115_000), // Clamped.
        ];
        for (active, reactive, expected) in cases {
            let power = Power {
                active_mw: [active, 0, 0],
                reactive_mvar: [reactive, 0, 0],
            };
            let at = UtcTime::from_secs(0);
            assert_eq!(quiet.voltage_mv(Seed::new(1), 0, at, &power), expected);
        }
    }

    #[test]
    fn noise_is_bounded_and_a_function_of_time() {
        let supply = Supply::LOW_VOLTAGE_50_HZ;
        let (mut low, mut high) = (i64::MAX, i64::MIN);
        for minute in 0..2_000 {
            let at = UtcTime::from_secs(minute * 60 + 7);
            let voltage = supply.voltage_mv(Seed::new(1), 0, at, &Power::default());
            let same_step = UtcTime::from_secs(minute * 60 + 59);
            assert_eq!(
                voltage,
                supply.voltage_mv(Seed::new(1), 0, same_step, &Power::default())
            );
            (low, high) = (low.min(voltage), high.max(voltage));
            let frequency = supply.frequency_at(Seed::new(1), at);
            assert!((49_960..=50_040).contains(&frequency), "{frequency}");
        }
        assert!((228_500..228_600).contains(&low), "{low}");
        assert!((231_400..=231_500).contains(&high), "{high}");
        assert_eq!(
            Supply::step_end(UtcTime::from_secs(60)),
            UtcTime::from_secs(120)
        );
    }
}
