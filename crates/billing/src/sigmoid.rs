//! The sigmoid tariff: the price rises with the total power of all houses.
//!
//! p(x) = p_min + (p_max − p_min) / (1 + e^{−k(x − x₀)}), rounded half-even to the quantum.

use core::fmt;

use gridloom_core::{Price, Watts};

/// Decimals of a [`Price`].
const PRICE_DIGITS: u8 = 6;

/// What shapes a sigmoid tariff.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SigmoidParameters {
    /// The price towards no load.
    pub p_min: Price,
    /// The price towards infinite load.
    pub p_max: Price,
    /// The total power at which the price is midway.
    pub x0: Watts,
    /// How sharply the price rises around `x0`, per watt.
    pub k_per_watt: f64,
    /// The quantum of the price is 10⁻ⁿ of the currency unit per kWh, n = 0 to 6.
    pub price_decimals: u8,
}

impl SigmoidParameters {
    /// The usual quantum: 0.0001 of the currency unit per kWh.
    pub const PRICE_DECIMALS_DEFAULT: u8 = 4;
}

/// Why parameters make no tariff.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SigmoidError {
    /// Too many decimals.
    #[error("tariff: price_decimals = {0}; give 0 to {PRICE_DIGITS}")]
    Decimals(u8),
    /// A negative price.
    #[error("tariff: p_min = {0}; give a price that is not negative")]
    Negative(Price),
    /// The band is empty.
    #[error("tariff: p_min = {p_min} is not below p_max = {p_max}")]
    EmptyBand {
        /// The lower price.
        p_min: Price,
        /// The upper price.
        p_max: Price,
    },
    /// A price between quanta.
    #[error("tariff: {name} = {price} is no multiple of the quantum 10^-{decimals}")]
    OffQuantum {
        /// Which parameter.
        name: &'static str,
        /// Its value.
        price: Price,
        /// The decimals of the quantum.
        decimals: u8,
    },
    /// A price that does not travel: the Charge object carries it as COSEM `long` (int16).
    #[error(
        "tariff: p_max = {p_max} is above {max} quanta of 10^-{decimals}; give fewer price_decimals",
        max = i16::MAX
    )]
    TooHigh {
        /// The upper price.
        p_max: Price,
        /// The decimals of the quantum.
        decimals: u8,
    },
    /// The midpoint is not above zero.
    #[error("tariff: x0 = {0}; give a power above zero")]
    Midpoint(Watts),
    /// The steepness is not a positive number.
    #[error("tariff: k = {0} per watt; give a finite number above zero")]
    Steepness(f64),
}

/// A checked sigmoid tariff.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SigmoidTariff {
    parameters: SigmoidParameters,
    quantum_micro: i64,
    min_quanta: i16,
    max_quanta: i16,
}

impl SigmoidTariff {
    /// Checks the parameters.
    ///
    /// # Errors
    ///
    /// [`SigmoidError`] names the first parameter that is wrong, and what would be right.
    pub fn new(parameters: SigmoidParameters) -> Result<Self, SigmoidError> {
        let SigmoidParameters {
            p_min,
            p_max,
            x0,
            k_per_watt,
            price_decimals: decimals,
        } = parameters;
        let zeros = PRICE_DIGITS
            .checked_sub(decimals)
            .ok_or(SigmoidError::Decimals(decimals))?;
        let quantum_micro = 10_i64.pow(u32::from(zeros));
        if p_min.micro_per_kwh() < 0 {
            return Err(SigmoidError::Negative(p_min));
        }
        if p_min >= p_max {
            return Err(SigmoidError::EmptyBand { p_min, p_max });
        }
        for (name, price) in [("p_min", p_min), ("p_max", p_max)] {
            if price.micro_per_kwh() % quantum_micro != 0 {
                return Err(SigmoidError::OffQuantum {
                    name,
                    price,
                    decimals,
                });
            }
        }
        let quanta = |price: Price| i16::try_from(price.micro_per_kwh() / quantum_micro);
        let (Ok(min_quanta), Ok(max_quanta)) = (quanta(p_min), quanta(p_max)) else {
            return Err(SigmoidError::TooHigh { p_max, decimals });
        };
        if x0 <= Watts::ZERO {
            return Err(SigmoidError::Midpoint(x0));
        }
        if !(k_per_watt.is_finite() && k_per_watt > 0.0) {
            return Err(SigmoidError::Steepness(k_per_watt));
        }
        Ok(Self {
            parameters,
            quantum_micro,
            min_quanta,
            max_quanta,
        })
    }

    /// What it was made from.
    pub const fn parameters(&self) -> &SigmoidParameters {
        &self.parameters
    }

    /// The price at a total power: a whole number of quanta within [p_min, p_max], rounded
    /// half-even. Never falls when the power rises. Negative totals (net export) are allowed.
    pub fn price(&self, total: Watts) -> Price {
        let above = total.get().saturating_sub(self.parameters.x0.get());
        let exponent = -self.parameters.k_per_watt * above as f64;
        // `libm` and not the platform's exp: every machine must decide the same price.
        let share = 1.0 / (1.0 + libm::exp(exponent));
        let (min, max) = (f64::from(self.min_quanta), f64::from(self.max_quanta));
        let quanta = libm::roundeven(min + (max - min) * share).clamp(min, max);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a whole number between two i16 values"
        )]
        let quanta = quanta as i64;
        Price::from_micro_per_kwh(quanta * self.quantum_micro)
            .expect("a price between two prices is a price")
    }

    /// The steepest rise, at x₀: k(p_max − p_min)/4, in currency units per kWh and watt.
    pub fn slope_at_x0(&self) -> f64 {
        self.parameters.k_per_watt * self.band() / 4.0
    }

    /// Whether prices and customers settle when each interval's price answers the last one's power
    /// and customers of constant price `elasticity` answer the price at once.
    ///
    /// Near x₀ the loop gain is |ε|·x₀·p′(x₀)/p(x₀) = |ε|·x₀·kΔ/(4p(x₀)), Δ = p_max − p_min; the
    /// loop settles if it is below 1. Beyond, damp the response.
    pub fn loop_stability(&self, elasticity: f64) -> LoopStability {
        let p_x0 = unit(self.parameters.p_min) + self.band() / 2.0;
        let x0 = self.parameters.x0.get() as f64;
        LoopStability {
            gain: elasticity.abs() * x0 * self.slope_at_x0() / p_x0,
        }
    }

    fn band(&self) -> f64 {
        unit(self.parameters.p_max) - unit(self.parameters.p_min)
    }
}

/// A price as a float of the currency unit per kWh, for the shape of the loop only.
fn unit(price: Price) -> f64 {
    price.micro_per_kwh() as f64 / 1e6
}

/// The gain of the loop from price to demand and back to price.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoopStability {
    gain: f64,
}

impl LoopStability {
    /// What one loop multiplies a small deviation with.
    pub const fn gain(self) -> f64 {
        self.gain
    }

    /// Whether a small deviation dies out. A gain that is no number is not stable.
    pub fn is_stable(self) -> bool {
        self.gain < 1.0
    }

    /// By how much the gain misses 1, or `None` if the loop is stable.
    pub fn missed_by(self) -> Option<f64> {
        (!self.is_stable()).then_some(self.gain - 1.0)
    }
}

impl fmt::Display for LoopStability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.missed_by() {
            None => write!(f, "stable, loop gain {:.3} < 1", self.gain),
            Some(by) => write!(
                f,
                "not stable, loop gain {:.3} misses 1 by {by:.3}",
                self.gain
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::price;

    fn usual() -> SigmoidParameters {
        SigmoidParameters {
            p_min: price("0.1"),
            p_max: price("0.5"),
            x0: Watts::new(10_000),
            k_per_watt: 0.0005,
            price_decimals: SigmoidParameters::PRICE_DECIMALS_DEFAULT,
        }
    }

    fn tariff(change: impl FnOnce(&mut SigmoidParameters)) -> Result<SigmoidTariff, SigmoidError> {
        let mut parameters = usual();
        change(&mut parameters);
        SigmoidTariff::new(parameters)
    }

    #[test]
    fn prices_follow_the_curve() {
        let tariff = tariff(|_| {}).unwrap();
        let cases = [
            (10_000, "0.3"),     // The midpoint.
            (12_000, "0.3924"),  // 0.1 + 0.4 / (1 + e⁻¹) = 0.392423…
            (8_000, "0.2076"),   // Its mirror image, 0.207576…
            (0, "0.1027"),       // 0.1 + 0.4 / (1 + e⁵) = 0.102677…
            (20_000, "0.4973"),  // 0.497322…
            (-1_000_000, "0.1"), // Net export, far below.
            (1_000_000, "0.5"),  // Far above.
            (i64::MIN, "0.1"),
            (i64::MAX, "0.5"),
        ];
        for (watts, expected) in cases {
            assert_eq!(
                tariff.price(Watts::new(watts)),
                price(expected),
                "{watts} W"
            );
        }
    }

    #[test]
    fn a_half_quantum_rounds_to_even() {
        // At the midpoint the share is exactly one half, so the price is a half quantum exactly.
        for (p_min, p_max, expected) in [
            ("0.1", "0.1001", "0.1"),       // 1000.5 quanta.
            ("0.1001", "0.1002", "0.1002"), // 1001.5 quanta.
            ("0", "0.0003", "0.0002"),      // 1.5 quanta.
        ] {
            let tariff = tariff(|p| {
                p.p_min = price(p_min);
                p.p_max = price(p_max);
            })
            .unwrap();
            assert_eq!(
                tariff.price(Watts::new(10_000)),
                price(expected),
                "{p_min}..{p_max}"
            );
        }
    }

    #[test]
    fn the_price_never_falls_and_stays_in_its_band() {
        for (k, decimals) in [(0.0005, 4), (0.000_01, 6), (3.0, 4), (1e-12, 1), (1e300, 4)] {
            let tariff = tariff(|p| {
                p.k_per_watt = k;
                p.price_decimals = decimals;
                if decimals == 6 {
                    p.p_min = price("0.000001");
                    p.p_max = price("0.032767");
                }
            })
            .unwrap();
            let SigmoidParameters { p_min, p_max, .. } = *tariff.parameters();
            let quantum = 10_i64.pow(u32::from(6 - decimals));
            let mut previous = p_min;
            for watts in (-30_000..60_000).step_by(3) {
                let now = tariff.price(Watts::new(watts));
                assert!(
                    now >= previous,
                    "k = {k}: {now} after {previous} at {watts} W"
                );
                assert!((p_min..=p_max).contains(&now), "k = {k} at {watts} W");
                assert_eq!(now.micro_per_kwh() % quantum, 0, "k = {k} at {watts} W");
                previous = now;
            }
        }
    }

    #[test]
    fn every_machine_decides_the_same_prices() {
        // FNV-1a over a sweep: a different exp, or a fused multiply-add, would change it.
        let tariff = tariff(|p| {
            p.p_max = price("3.2767");
            p.k_per_watt = 0.000_123;
        })
        .unwrap();
        let hash = (0..100_000)
            .step_by(7)
            .fold(0xCBF2_9CE4_8422_2325_u64, |hash, watts| {
                tariff
                    .price(Watts::new(watts))
                    .micro_per_kwh()
                    .to_be_bytes()
                    .iter()
                    .fold(hash, |hash, &byte| {
                        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
                    })
            });
        // The value was computed apart from this crate, with another exp.
        assert_eq!(hash, 0xe640_56d0_8204_a30c, "{hash:#018x}");
    }

    #[test]
    fn wrong_parameters_are_named_with_their_remedy() {
        type Change = fn(&mut SigmoidParameters);
        let cases: [(Change, &str); 11] = [
            (
                |p| p.price_decimals = 7,
                "tariff: price_decimals = 7; give 0 to 6",
            ),
            (
                |p| p.p_min = price("-0.1"),
                "tariff: p_min = -0.100000; give a price that is not negative",
            ),
            (
                |p| p.p_max = price("0.1"),
                "tariff: p_min = 0.100000 is not below p_max = 0.100000",
            ),
            (
                |p| p.p_min = price("0.10005"),
                "tariff: p_min = 0.100050 is no multiple of the quantum 10^-4",
            ),
            (
                |p| p.p_max = price("0.500001"),
                "tariff: p_max = 0.500001 is no multiple of the quantum 10^-4",
            ),
            (
                |p| p.p_max = price("3.2768"),
                "tariff: p_max = 3.276800 is above 32767 quanta of 10^-4; give fewer price_decimals",
            ),
            (
                |p| p.x0 = Watts::ZERO,
                "tariff: x0 = 0\u{a0}W; give a power above zero",
            ),
            (
                |p| p.k_per_watt = 0.0,
                "tariff: k = 0 per watt; give a finite number above zero",
            ),
            (
                |p| p.k_per_watt = -1.0,
                "tariff: k = -1 per watt; give a finite number above zero",
            ),
            (
                |p| p.k_per_watt = f64::NAN,
                "tariff: k = NaN per watt; give a finite number above zero",
            ),
            (
                |p| p.k_per_watt = f64::INFINITY,
                "tariff: k = inf per watt; give a finite number above zero",
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(tariff(change).unwrap_err().to_string(), expected);
        }
        assert!(tariff(|p| p.p_max = price("3.2767")).is_ok());
    }

    #[test]
    fn the_loop_says_whether_it_settles() {
        let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
        let tariff = tariff(|_| {}).unwrap();
        assert!(near(tariff.slope_at_x0(), 0.0005 * 0.4 / 4.0));
        // |ε|·10 000·0.0005·0.4 / (4·0.3) = |ε|·5/3.
        let cases = [
            (-0.1, 1.0 / 6.0, true, "stable, loop gain 0.167 < 1"),
            (0.2, 1.0 / 3.0, true, "stable, loop gain 0.333 < 1"),
            (
                -0.9,
                1.5,
                false,
                "not stable, loop gain 1.500 misses 1 by 0.500",
            ),
        ];
        for (elasticity, gain, stable, text) in cases {
            let stability = tariff.loop_stability(elasticity);
            assert!(near(stability.gain(), gain), "{elasticity}");
            assert_eq!(stability.is_stable(), stable, "{elasticity}");
            assert_eq!(stability.missed_by().is_none(), stable, "{elasticity}");
            assert_eq!(stability.to_string(), text);
        }
        assert!(!tariff.loop_stability(f64::NAN).is_stable());
    }

    #[test]
    fn the_loop_condition_predicts_the_loop() {
        // Customers of constant elasticity use x₀·(p/p(x₀))^ε; iterate from a small deviation.
        let settles = |elasticity: f64| {
            let exact = |x: f64| 0.1 + 0.4 / (1.0 + libm::exp(-0.0005 * (x - 10_000.0)));
            let mut x = 10_001.0;
            for _ in 0..200 {
                x = 10_000.0 * libm::pow(exact(x) / 0.3, elasticity);
            }
            (x - 10_000.0).abs() < 1.0
        };
        let tariff = tariff(|_| {}).unwrap();
        for elasticity in [-0.03, -0.2, -0.55, -0.65, -0.9] {
            assert_eq!(
                tariff.loop_stability(elasticity).is_stable(),
                settles(elasticity),
                "{elasticity}"
            );
        }
    }
}
