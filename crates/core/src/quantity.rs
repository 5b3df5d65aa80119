//! Exact physical quantities as integers with the unit in the type.

use core::fmt;
use core::iter::Sum;
use core::ops::{Add, AddAssign, Sub};

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $unit:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(i64);

        impl $name {
            /// Nothing.
            pub const ZERO: Self = Self(0);

            /// A quantity of `raw` units of this type.
            pub const fn new(raw: i64) -> Self {
                Self(raw)
            }

            /// The number of units of this type.
            pub const fn get(self) -> i64 {
                self.0
            }

            /// The sum, or `None` where it would overflow.
            pub fn checked_add(self, rhs: Self) -> Option<Self> {
                self.0.checked_add(rhs.0).map(Self)
            }
        }

        impl Add for $name {
            type Output = Self;

            fn add(self, rhs: Self) -> Self {
                Self(self.0 + rhs.0)
            }
        }

        impl AddAssign for $name {
            fn add_assign(&mut self, rhs: Self) {
                self.0 += rhs.0;
            }
        }

        impl Sub for $name {
            type Output = Self;

            fn sub(self, rhs: Self) -> Self {
                Self(self.0 - rhs.0)
            }
        }

        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
                iter.fold(Self::ZERO, Add::add)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}\u{a0}{}", self.0, $unit)
            }
        }
    };
}

quantity!(
    /// Active energy, exact, in milliwatt-hours.
    MilliwattHours,
    "mWh"
);
quantity!(
    /// Reactive energy, exact, in millivar-hours.
    MillivarHours,
    "mvarh"
);
quantity!(
    /// Apparent energy, exact, in millivolt-ampere-hours.
    MillivoltAmpereHours,
    "mVAh"
);
quantity!(
    /// Active power in whole watts, as a mean over an interval.
    Watts,
    "W"
);
quantity!(
    /// Voltage in millivolts.
    Millivolts,
    "mV"
);

impl MilliwattHours {
    /// Reads a COSEM register; `None` if the scaler would round or overflow.
    pub fn from_register(raw: i64, scaler: i8) -> Option<Self> {
        scale_to_milli(raw, scaler).map(Self)
    }

    /// Whole watt-hours; `None` where a fraction would be lost.
    pub const fn exact_watt_hours(self) -> Option<i64> {
        if self.0 % 1_000 == 0 {
            Some(self.0 / 1_000)
        } else {
            None
        }
    }
}

impl MillivarHours {
    /// Reads a COSEM register; `None` if the scaler would round or overflow.
    pub fn from_register(raw: i64, scaler: i8) -> Option<Self> {
        scale_to_milli(raw, scaler).map(Self)
    }
}

impl MillivoltAmpereHours {
    /// Reads a COSEM register; `None` if the scaler would round or overflow.
    pub fn from_register(raw: i64, scaler: i8) -> Option<Self> {
        scale_to_milli(raw, scaler).map(Self)
    }
}

fn scale_to_milli(raw: i64, scaler: i8) -> Option<i64> {
    let exponent = u32::try_from(i32::from(scaler) + 3).ok()?;
    raw.checked_mul(10_i64.checked_pow(exponent)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_scale_exactly_or_not_at_all() {
        let cases = [
            (5, 0, Some(5_000)),
            (5, -3, Some(5)),
            (5, -4, None),
            (5, 3, Some(5_000_000)),
            (i64::MAX, 0, None),
            (1, 17, None),
        ];
        for (raw, scaler, expected) in cases {
            assert_eq!(
                MilliwattHours::from_register(raw, scaler).map(MilliwattHours::get),
                expected,
                "{raw} * 10^{scaler}"
            );
        }
    }

    #[test]
    fn whole_watt_hours_never_round() {
        assert_eq!(MilliwattHours::new(2_000).exact_watt_hours(), Some(2));
        assert_eq!(MilliwattHours::new(2_001).exact_watt_hours(), None);
    }
}
