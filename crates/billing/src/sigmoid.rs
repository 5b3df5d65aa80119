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
