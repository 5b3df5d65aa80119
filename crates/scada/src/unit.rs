//! Units of process values: a symbol, what it measures, and how many base units it is.

use core::fmt;

/// What a number measures, as exponents of volt, ampere, second, degree Celsius, metre, pascal
/// and degree of angle.
///
/// Watt, volt-ampere and var are all volt × ampere: the power triangle adds their squares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Dimension([i8; 7]);

impl Dimension {
    /// A pure number.
    pub const NONE: Self = Self([0; 7]);

    /// The dimension of a product; `None` if an exponent leaves ±127.
    pub fn times(self, other: Self) -> Option<Self> {
        self.merge(other, i8::checked_add)
    }

    /// The dimension of a quotient; `None` if an exponent leaves ±127.
    pub fn over(self, other: Self) -> Option<Self> {
        self.merge(other, i8::checked_sub)
    }

    /// The dimension of a square root; `None` if an exponent is odd.
    pub fn root(self) -> Option<Self> {
        let even = self.0.iter().all(|exponent| exponent % 2 == 0);
        even.then(|| Self(self.0.map(|exponent| exponent / 2)))
    }

    fn merge(self, other: Self, with: fn(i8, i8) -> Option<i8>) -> Option<Self> {
        let mut merged = [0; 7];
        for (place, (a, b)) in self.0.into_iter().zip(other.0).enumerate() {
            merged[place] = with(a, b)?;
        }
        Some(Self(merged))
    }

    /// A unit of this dimension to name in a remedy.
    pub fn example(self) -> Option<&'static str> {
        BASES
            .iter()
            .find(|base| base.dimension == self)
            .map(|base| base.symbol)
    }
}

impl fmt::Display for Dimension {
    /// `V·A·s^-1`, or the unit that has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(symbol) = self.example() {
            return f.write_str(if symbol == "1" { "no unit" } else { symbol });
        }
        let names = ["V", "A", "s", "degC", "m", "Pa", "deg"];
        let mut first = true;
        for (name, exponent) in names.into_iter().zip(self.0) {
            if exponent == 0 {
                continue;
            }
            if !first {
                f.write_str("·")?;
            }
            first = false;
            f.write_str(name)?;
            if exponent != 1 {
                write!(f, "^{exponent}")?;
            }
        }
        Ok(())
    }
}

struct Base {
    symbol: &'static str,
    dimension: Dimension,
    numerator: i128,
    denominator: i128,
    /// Whether `k`, `M`, `G`, `m` and `u` may stand before it.
    prefixes: bool,
}

const fn base(
    symbol: &'static str,
    dimension: [i8; 7],
    numerator: i128,
    denominator: i128,
    prefixes: bool,
) -> Base {
    Base {
        symbol,
        dimension: Dimension(dimension),
        numerator,
        denominator,
        prefixes,
    }
}

/// The first of a dimension is its name.
const BASES: [Base; 26] = [
    base("1", [0; 7], 1, 1, false),
    base("%", [0; 7], 1, 100, false),
    base("ppm", [0; 7], 1, 1_000_000, false),
    base("pu", [0; 7], 1, 1, false),
    base("V", [1, 0, 0, 0, 0, 0, 0], 1, 1, true),
    base("A", [0, 1, 0, 0, 0, 0, 0], 1, 1, true),
    base("W", [1, 1, 0, 0, 0, 0, 0], 1, 1, true),
    base("VA", [1, 1, 0, 0, 0, 0, 0], 1, 1, true),
    base("var", [1, 1, 0, 0, 0, 0, 0], 1, 1, true),
    base("Wh", [1, 1, 1, 0, 0, 0, 0], 3_600, 1, true),
    base("VAh", [1, 1, 1, 0, 0, 0, 0], 3_600, 1, true),
    base("varh", [1, 1, 1, 0, 0, 0, 0], 3_600, 1, true),
    base("Ah", [0, 1, 1, 0, 0, 0, 0], 3_600, 1, true),
    base("Ohm", [1, -1, 0, 0, 0, 0, 0], 1, 1, true),
    base("S", [-1, 1, 0, 0, 0, 0, 0], 1, 1, true),
    base("Hz", [0, 0, -1, 0, 0, 0, 0], 1, 1, true),
    base("s", [0, 0, 1, 0, 0, 0, 0], 1, 1, true),
    base("min", [0, 0, 1, 0, 0, 0, 0], 60, 1, false),
    base("h", [0, 0, 1, 0, 0, 0, 0], 3_600, 1, false),
    base("degC", [0, 0, 0, 1, 0, 0, 0], 1, 1, false),
    base("m", [0, 0, 0, 0, 1, 0, 0], 1, 1, true),
    base("m/s", [0, 0, -1, 0, 1, 0, 0], 1, 1, false),
    base("W/m2", [1, 1, 0, 0, -2, 0, 0], 1, 1, false),
    base("Pa", [0, 0, 0, 0, 0, 1, 0], 1, 1, true),
    base("bar", [0, 0, 0, 0, 0, 1, 0], 100_000, 1, false),
    base("deg", [0, 0, 0, 0, 0, 0, 1], 1, 1, false),
];

const PREFIXES: [(&str, i128, i128); 6] = [
    ("", 1, 1),
    ("k", 1_000, 1),
    ("M", 1_000_000, 1),
    ("G", 1_000_000_000, 1),
    ("m", 1, 1_000),
    ("u", 1, 1_000_000),
];

/// A unit that the program knows: `kV`, `Mvar`, `%`, `degC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Unit {
    prefix: u8,
    base: u8,
}

impl Unit {
    /// The unit of a pure number.
    pub const ONE: Self = Self { prefix: 0, base: 0 };

    /// The unit with this symbol; the empty symbol is that of a pure number.
    pub fn parse(symbol: &str) -> Option<Self> {
        let symbol = if symbol.is_empty() { "1" } else { symbol };
        // A unit without a prefix comes first: `min` is no milli-inch.
        PREFIXES
            .iter()
            .zip(0_u8..)
            .find_map(|((prefix, ..), number)| {
                let rest = symbol.strip_prefix(prefix)?;
                let fits = |base: &Base| base.symbol == rest && (number == 0 || base.prefixes);
                let (_, base) = BASES.iter().zip(0_u8..).find(|(base, _)| fits(base))?;
                Some(Self {
                    prefix: number,
                    base,
                })
            })
    }

    /// What it measures.
    pub const fn dimension(self) -> Dimension {
        BASES[self.base as usize].dimension
    }

    /// How many base units it is, as numerator and denominator.
    pub const fn factor(self) -> (i128, i128) {
        let base = &BASES[self.base as usize];
        let (_, numerator, denominator) = PREFIXES[self.prefix as usize];
        (base.numerator * numerator, base.denominator * denominator)
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (prefix, ..) = PREFIXES[usize::from(self.prefix)];
        write!(f, "{prefix}{}", BASES[usize::from(self.base)].symbol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols() {
        let cases = [
            ("kV", Some((1_000, 1))),
            ("Mvar", Some((1_000_000, 1))),
            ("mA", Some((1, 1_000))),
            ("m", Some((1, 1))),
            ("mm", Some((1, 1_000))),
            ("min", Some((60, 1))),
            ("MWh", Some((3_600_000_000, 1))),
            ("%", Some((1, 100))),
            ("", Some((1, 1))),
            ("k%", None),
            ("kdegC", None),
            ("kv", None),
            ("V ", None),
        ];
        for (symbol, factor) in cases {
            let unit = Unit::parse(symbol);
            assert_eq!(unit.map(Unit::factor), factor, "{symbol}");
            if let Some(unit) = unit.filter(|_| !symbol.is_empty()) {
                assert_eq!(unit.to_string(), symbol);
            }
        }
    }

    #[test]
    fn dimensions_multiply_and_divide() {
        let dimension = |symbol| Unit::parse(symbol).unwrap().dimension();
        assert_eq!(dimension("V").times(dimension("A")), Some(dimension("W")));
        assert_eq!(dimension("W").over(dimension("V")), Some(dimension("A")));
        let square = dimension("W").times(dimension("var")).unwrap();
        assert_eq!(square.root(), Some(dimension("VA")));
        assert_eq!(square.to_string(), "V^2·A^2");
        assert_eq!(dimension("V").root(), None);
        assert_eq!(Dimension::NONE.to_string(), "no unit");
    }
}
