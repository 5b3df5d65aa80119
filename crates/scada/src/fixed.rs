//! Numbers of the process: exact decimals with six digits behind the point.

use core::fmt;

/// Millionths in one.
pub const MILLIONTHS: i64 = 1_000_000;

/// A decimal number with six digits behind the point, ±9 223 372 036 854.775807.
///
/// Limits, deadbands and archived values are of this type, so that a limit of 0.1 is a limit of
/// 0.1 and the archive's error bound is exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fixed(i64);

impl Fixed {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The number of `millionths` millionths.
    pub const fn from_millionths(millionths: i64) -> Self {
        Self(millionths)
    }

    /// How many millionths it is.
    pub const fn millionths(self) -> i64 {
        self.0
    }

    /// A whole number.
    pub const fn whole(number: i32) -> Self {
        // An i32 times a million fits an i64.
        Self(number as i64 * MILLIONTHS)
    }

    /// The nearest number to what a protocol carried as a binary fraction, halves away from zero;
    /// `None` if it is not finite or out of range.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the range is checked before"
    )]
    pub fn from_f64(number: f64) -> Option<Self> {
        let scaled = (number * 1e6).round();
        // The largest i64 is not a binary fraction; its next one is 2^63.
        (scaled.is_finite() && scaled.abs() < 9_223_372_036_854_775_808.0)
            .then_some(Self(scaled as i64))
    }

    /// For a protocol or a drawing; may round to the nearest binary fraction.
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Reads `-12.5`: a sign, digits, at most six behind a point; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !plain(whole) || !plain(fraction) || fraction.len() > 6 {
            return None;
        }
        let fraction_unit = 10_i64.pow(6 - u32::try_from(fraction.len()).ok()?);
        let fraction = fraction.parse::<i64>().ok()? * fraction_unit;
        let size = whole
            .parse::<i64>()
            .ok()?
            .checked_mul(MILLIONTHS)?
            .checked_add(fraction)?;
        Some(Self(if negative { -size } else { size }))
    }

    /// The sum; `None` out of range.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference; `None` out of range.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }
}

impl fmt::Display for Fixed {
    /// Without zeros at the end: `-12.5`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.unsigned_abs();
        let unit = MILLIONTHS.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        let fraction = format!("{:06}", size % unit);
        match fraction.trim_end_matches('0') {
            "" => write!(f, "{sign}{}", size / unit),
            digits => write!(f, "{sign}{}.{digits}", size / unit),
        }
    }
}

/// The quotient of two integers, halves away from zero; `None` if it does not fit or `by` is 0.
pub(crate) fn divide_rounded(number: i128, by: i128) -> Option<i128> {
    let quotient = number.checked_div(by)?;
    let rest = number % by;
    let up = rest.unsigned_abs() >= by.unsigned_abs() - rest.unsigned_abs();
    let away = if (number < 0) == (by < 0) { 1 } else { -1 };
    if rest != 0 && up {
        quotient.checked_add(away)
    } else {
        Some(quotient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_and_printed() {
        let cases = [
            ("0", Some(0), "0"),
            ("12.5", Some(12_500_000), "12.5"),
            ("-0.000001", Some(-1), "-0.000001"),
            ("230.10", Some(230_100_000), "230.1"),
            (
                "9223372036854.775807",
                Some(i64::MAX),
                "9223372036854.775807",
            ),
            ("9223372036854.775808", None, ""),
            ("1.0000001", None, ""),
            ("", None, ""),
            (".5", None, ""),
            ("5.", None, ""),
            ("--1", None, ""),
            ("1e3", None, ""),
        ];
        for (text, millionths, printed) in cases {
            let number = Fixed::parse(text);
            assert_eq!(number.map(Fixed::millionths), millionths, "{text}");
            if let Some(number) = number {
                assert_eq!(number.to_string(), printed);
            }
        }
    }

    #[test]
    fn binary_fractions_round_to_the_nearest_and_what_is_no_number_is_refused() {
        let cases = [
            (0.1, Some(100_000)),
            (-2.5e-6, Some(-3)),
            (f64::NAN, None),
            (f64::INFINITY, None),
            (9.3e12, None),
            (-9.2e12, Some(-9_200_000_000_000_000_000)),
        ];
        for (number, millionths) in cases {
            let got = Fixed::from_f64(number).map(Fixed::millionths);
            assert_eq!(got, millionths, "{number}");
        }
    }

    #[test]
    fn quotients_round_halves_away_from_zero() {
        let cases = [
            (7, 2, Some(4)),
            (-7, 2, Some(-4)),
            (7, -2, Some(-4)),
            (-7, -2, Some(4)),
            (4, 3, Some(1)),
            (5, 3, Some(2)),
            (6, 3, Some(2)),
            (1, 0, None),
            (i128::MIN, -1, None),
        ];
        for (number, by, quotient) in cases {
            assert_eq!(divide_rounded(number, by), quotient, "{number}/{by}");
        }
    }
}
