//! The quantities of the triangle, each with its unit and the range it may have.

use core::f64::consts::PI;
use core::ops::{Add, Neg};

/// Why electrical quantities cannot be.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PowerError {
    /// Not a finite number.
    #[error("{quantity} is {got}; expected a finite number")]
    NotFinite {
        /// Which quantity.
        quantity: &'static str,
        /// Its value.
        got: f64,
    },
    /// A magnitude below zero.
    #[error("{quantity} is {got}; expected zero or more")]
    Negative {
        /// Which quantity.
        quantity: &'static str,
        /// Its value.
        got: f64,
    },
    /// A power factor outside −1…1.
    #[error("power factor is {got}; expected -1 to 1")]
    PowerFactor {
        /// Its value.
        got: f64,
    },
    /// A side of the triangle that is longer than the hypotenuse.
    #[error("apparent power {apparent} VA is less than {side} of {other}; check units and phase")]
    OpenTriangle {
        /// |S|, in VA.
        apparent: f64,
        /// `active power` or `reactive power`.
        side: &'static str,
        /// That side, in W or var.
        other: f64,
    },
    /// A ratio with a divisor of zero.
    #[error("{quantity} has no value without {divisor}")]
    Undefined {
        /// What was asked for.
        quantity: &'static str,
        /// What is zero.
        divisor: &'static str,
    },
}

fn finite(quantity: &'static str, got: f64) -> Result<f64, PowerError> {
    if got.is_finite() {
        Ok(got)
    } else {
        Err(PowerError::NotFinite { quantity, got })
    }
}

fn magnitude(quantity: &'static str, got: f64) -> Result<f64, PowerError> {
    let got = finite(quantity, got)?;
    if got < 0.0 {
        return Err(PowerError::Negative { quantity, got });
    }
    Ok(got)
}

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $check:ident, $what:literal, $of:ident, $get:ident, $kilo_of:ident, $kilo:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
        pub struct $name(pub(super) f64);

        impl $name {
            /// A value in the base unit.
            ///
            /// # Errors
            ///
            /// [`PowerError`] if it is not finite, or negative where the quantity is a magnitude.
            pub fn $of(value: f64) -> Result<Self, PowerError> {
                $check($what, value).map(Self)
            }

            /// A value in thousands of the base unit.
            ///
            /// # Errors
            ///
            /// As for the base unit.
            pub fn $kilo_of(value: f64) -> Result<Self, PowerError> {
                Self::$of(value * 1_000.0)
            }

            /// The value in the base unit.
            pub const fn $get(self) -> f64 {
                self.0
            }

            /// The value in thousands of the base unit.
            pub fn $kilo(self) -> f64 {
                self.0 / 1_000.0
            }
        }
    };
}

quantity!(
    /// RMS voltage between two conductors, zero or more.
    Voltage, magnitude, "voltage", from_volts, volts, from_kilovolts, kilovolts
);
quantity!(
    /// RMS current in a conductor, zero or more.
    Current, magnitude, "current", from_amperes, amperes, from_kiloamperes, kiloamperes
);
quantity!(
    /// Active power P; positive when consumed.
    ActivePower, finite, "active power", from_watts, watts, from_kilowatts, kilowatts
);
quantity!(
    /// Reactive power Q; positive lagging (inductive), negative leading (capacitive).
    ReactivePower, finite, "reactive power", from_vars, vars, from_kilovars, kilovars
);
quantity!(
    /// Apparent power S, a magnitude.
    ApparentPower, magnitude, "apparent power", from_volt_amperes, volt_amperes, from_kilovolt_amperes, kilovolt_amperes
);

impl ActivePower {
    /// Whole milliwatts, halves away from zero: what a meter integrates.
    pub fn to_milliwatts(self) -> i64 {
        round_to_i64(self.0 * 1_000.0)
    }

    /// Whole milliwatts as a power; exact below 2⁵³ mW (9 TW).
    pub fn from_milliwatts(milliwatts: i64) -> Self {
        Self(milliwatts as f64 / 1_000.0)
    }
}

impl ReactivePower {
    /// Whole millivars, halves away from zero.
    pub fn to_millivars(self) -> i64 {
        round_to_i64(self.0 * 1_000.0)
    }

    /// Whole millivars as a power; exact below 2⁵³ mvar.
    pub fn from_millivars(millivars: i64) -> Self {
        Self(millivars as f64 / 1_000.0)
    }
}

impl Add for ActivePower {
    type Output = Self;

    fn add(self, rhs: Self) -> Self {
        Self(self.0 + rhs.0)
    }
}

impl Neg for ActivePower {
    type Output = Self;

    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl Add for ReactivePower {
    type Output = Self;

    fn add(self, rhs: Self) -> Self {
        Self(self.0 + rhs.0)
    }
}

impl Neg for ReactivePower {
    type Output = Self;

    fn neg(self) -> Self {
        Self(-self.0)
    }
}

/// Which way the current is displaced against the voltage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Displacement {
    /// The current lags: inductive, Q > 0.
    Lagging,
    /// The current leads: capacitive, Q < 0.
    Leading,
}

impl Displacement {
    pub(super) const fn sign(self) -> f64 {
        match self {
            Self::Lagging => 1.0,
            Self::Leading => -1.0,
        }
    }
}

/// The phase angle φ of the current behind the voltage, −π…π; positive lagging.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct PhaseAngle(pub(super) f64);

impl PhaseAngle {
    /// An angle in radians, brought into −π…π.
    ///
    /// # Errors
    ///
    /// [`PowerError::NotFinite`].
    pub fn from_radians(radians: f64) -> Result<Self, PowerError> {
        let radians = finite("phase angle", radians)?;
        Ok(Self(libm::remainder(radians, 2.0 * PI)))
    }

    /// An angle in degrees, brought into −180…180.
    ///
    /// # Errors
    ///
    /// [`PowerError::NotFinite`].
    pub fn from_degrees(degrees: f64) -> Result<Self, PowerError> {
        Self::from_radians(finite("phase angle", degrees)? * PI / 180.0)
    }

    /// Radians.
    pub const fn radians(self) -> f64 {
        self.0
    }

    /// Degrees.
    pub fn degrees(self) -> f64 {
        self.0 * 180.0 / PI
    }

    /// cos φ.
    pub fn power_factor(self) -> PowerFactor {
        PowerFactor(libm::cos(self.0))
    }
}

/// Power factor P/S, −1…1; negative while power is fed back.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct PowerFactor(pub(super) f64);

impl PowerFactor {
    /// A power factor.
    ///
    /// # Errors
    ///
    /// [`PowerError::PowerFactor`] outside −1…1, [`PowerError::NotFinite`].
    pub fn new(value: f64) -> Result<Self, PowerError> {
        let value = finite("power factor", value)?;
        if value.abs() > 1.0 {
            return Err(PowerError::PowerFactor { got: value });
        }
        Ok(Self(value))
    }

    /// The ratio.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// φ = arccos PF, with the sign that the displacement gives it.
    pub fn angle(self, displacement: Displacement) -> PhaseAngle {
        PhaseAngle(displacement.sign() * libm::acos(self.0))
    }
}

/// Rounds to the nearest integer, halves away from zero. Saturates; NaN becomes 0.
pub(crate) fn round_to_i64(value: f64) -> i64 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounded before, saturation is documented"
    )]
    let rounded = libm::round(value) as i64;
    rounded
}
