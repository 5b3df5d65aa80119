//! Exact money: a price in millionths per kilowatt-hour, a charge that never rounds,
//! and an amount in minor units that rounds once, by a named rule.

use core::fmt;
use core::iter::Sum;
use core::ops::{Add, AddAssign, Sub};

use crate::quantity::MilliwattHours;

/// Picounits of currency in one unit: the product of a [`Price`] step (10⁻⁶ per kWh)
/// and a milliwatt-hour (10⁻⁶ kWh).
const PICO_PER_UNIT: i128 = 1_000_000_000_000;

/// An ISO 4217 currency with its number of minor-unit digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency {
    code: [u8; 3],
    minor_digits: u8,
}

impl Currency {
    /// Minor-unit digits above this are refused.
    pub const MINOR_DIGITS_MAX: u8 = 4;

    /// A currency by its three-letter code; `None` unless three upper-case letters
    /// and at most [`Self::MINOR_DIGITS_MAX`] digits.
    pub fn new(code: &str, minor_digits: u8) -> Option<Self> {
        let code: [u8; 3] = code.as_bytes().try_into().ok()?;
        (code.iter().all(u8::is_ascii_uppercase) && minor_digits <= Self::MINOR_DIGITS_MAX)
            .then_some(Self { code, minor_digits })
    }

    /// The ISO 4217 code.
    pub fn code(&self) -> &str {
        core::str::from_utf8(&self.code).expect("a code was checked to be ASCII")
    }

    /// Digits after the decimal point.
    pub const fn minor_digits(self) -> u8 {
        self.minor_digits
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A price of active energy, in millionths of the currency unit per kilowatt-hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price(i64);

impl Price {
    /// The highest price that is accepted anywhere: 1 000 units per kWh.
    ///
    /// With it a month of any registrable energy stays inside [`Charge`].
    pub const MICRO_PER_KWH_MAX: i64 = 1_000_000_000;

    /// A price; `None` beyond ±[`Self::MICRO_PER_KWH_MAX`]. Negative prices occur in markets.
    pub fn from_micro_per_kwh(micro: i64) -> Option<Self> {
        (-Self::MICRO_PER_KWH_MAX..=Self::MICRO_PER_KWH_MAX)
            .contains(&micro)
            .then_some(Self(micro))
    }

    /// Millionths of the currency unit per kilowatt-hour.
    pub const fn micro_per_kwh(self) -> i64 {
        self.0
    }

    /// Reads a decimal such as `0.1875` with at most six decimals.
    pub fn parse(text: &str) -> Option<Self> {
        Self::from_micro_per_kwh(i64::try_from(parse_decimal(text, 6)?).ok()?)
    }

    /// The exact charge for `energy`.
    pub fn charge(self, energy: MilliwattHours) -> Charge {
        Charge(i128::from(self.0) * i128::from(energy.get()))
    }
}

impl fmt::Display for Price {
    /// Six decimals, without the unit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, i128::from(self.0), 6)
    }
}

/// An amount that has not been rounded: price × energy, in 10⁻¹² of the currency unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Charge(i128);

impl Charge {
    /// Nothing to pay.
    pub const ZERO: Self = Self(0);

    /// A charge of `pico` picounits of currency.
    pub const fn from_pico(pico: i128) -> Self {
        Self(pico)
    }

    /// Picounits of currency.
    pub const fn pico(self) -> i128 {
        self.0
    }

    /// Rounds to the currency's minor unit, halves away from zero (commercial rounding).
    ///
    /// A bill is rounded here once, on its total; intervals are never rounded.
    pub fn round_half_away(self, currency: Currency) -> Money {
        let step = PICO_PER_UNIT / 10_i128.pow(u32::from(currency.minor_digits));
        let half = if self.0 < 0 { -step / 2 } else { step / 2 };
        Money {
            minor: i64::try_from((self.0 + half) / step)
                .expect("a charge within the price and energy bounds fits i64 minor units"),
            currency,
        }
    }
}

impl Add for Charge {
    type Output = Self;

    fn add(self, rhs: Self) -> Self {
        Self(self.0 + rhs.0)
    }
}

impl Sub for Charge {
    type Output = Self;

    fn sub(self, rhs: Self) -> Self {
        Self(self.0 - rhs.0)
    }
}

impl AddAssign for Charge {
    fn add_assign(&mut self, rhs: Self) {
        self.0 += rhs.0;
    }
}

impl Sum for Charge {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Charge {
    /// All twelve decimals, without the currency.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, self.0, 12)
    }
}

/// An amount in whole minor units of a currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money {
    minor: i64,
    currency: Currency,
}

impl Money {
    /// An amount of `minor` minor units.
    pub const fn from_minor(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Minor units.
    pub const fn minor(self) -> i64 {
        self.minor
    }

    /// The currency.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// The amount as a plain decimal, such as `12.30`.
    pub fn decimal(self) -> String {
        Decimal(i128::from(self.minor), self.currency.minor_digits).to_string()
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\u{a0}{}", self.decimal(), self.currency)
    }
}

struct Decimal(i128, u8);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_decimal(f, self.0, self.1)
    }
}

fn write_decimal(f: &mut fmt::Formatter<'_>, value: i128, digits: u8) -> fmt::Result {
    let scale = 10_u128.pow(u32::from(digits));
    let sign = if value < 0 { "-" } else { "" };
    let magnitude = value.unsigned_abs();
    let whole = magnitude / scale;
    if digits == 0 {
        return write!(f, "{sign}{whole}");
    }
    let width = usize::from(digits);
    write!(f, "{sign}{whole}.{:0width$}", magnitude % scale)
}

/// Reads a plain decimal into units of 10^-`digits`; refuses what would need rounding.
fn parse_decimal(text: &str, digits: usize) -> Option<i128> {
    let (negative, magnitude) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = magnitude.split_once('.').unwrap_or((magnitude, "0"));
    let digits_only = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits_only(whole) || !digits_only(fraction) || fraction.len() > digits || whole.len() > 18
    {
        return None;
    }
    let value: i128 = format!("{whole}{fraction:0<digits$}").parse().ok()?;
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn euro() -> Currency {
        Currency::new("EUR", 2).unwrap()
    }

    #[test]
    fn a_bill_rounds_once_and_halves_go_away_from_zero() {
        let cases = [
            (4_999_999_999, "0.00"),
            (5_000_000_000, "0.01"),
            (-5_000_000_000, "-0.01"),
            (-4_999_999_999, "0.00"),
            (12_345_000_000_000, "12.35"),
            (12_344_999_999_999, "12.34"),
        ];
        for (pico, expected) in cases {
            assert_eq!(
                Charge::from_pico(pico).round_half_away(euro()).decimal(),
                expected,
                "{pico}"
            );
        }
    }

    #[test]
    fn price_times_energy_is_exact() {
        let price = Price::parse("0.187501").unwrap();
        let charge = price.charge(MilliwattHours::new(333_000));
        assert_eq!(charge.to_string(), "0.062437833000");
    }

    #[test]
    fn prices_parse_without_rounding() {
        let cases = [
            ("0.1875", Some(187_500)),
            ("-0.05", Some(-50_000)),
            ("12", Some(12_000_000)),
            ("0.1234567", None),
            ("1001", None),
            (".5", None),
            ("1.", None),
            ("+1", None),
            ("", None),
            ("-", None),
        ];
        for (text, expected) in cases {
            assert_eq!(
                Price::parse(text).map(Price::micro_per_kwh),
                expected,
                "{text}"
            );
        }
        assert_eq!(Price::parse("-0.05").unwrap().to_string(), "-0.050000");
        assert_eq!(Price::from_micro_per_kwh(i64::MIN), None);
    }

    #[test]
    fn currencies_have_their_own_digits() {
        let yen = Currency::new("JPY", 0).unwrap();
        assert_eq!(Money::from_minor(120, yen).to_string(), "120\u{a0}JPY");
        assert_eq!(Currency::new("eur", 2), None);
    }
}
