//! Values and their shapes.

use core::fmt;

use crate::fixed::Fixed;
use crate::unit::Unit;

/// The position of a two-bit status (IEC 60870-5-101 §7.2.6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Position {
    /// Under way, or undetermined (0).
    Intermediate,
    /// Off (1).
    Open,
    /// On (2).
    Closed,
    /// Both contacts say yes (3).
    Faulty,
}

impl Position {
    /// Every position, in the order of its code, with its word.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Intermediate, "intermediate"),
        (Self::Open, "open"),
        (Self::Closed, "closed"),
        (Self::Faulty, "faulty"),
    ];

    const fn code(self) -> i64 {
        match self {
            Self::Intermediate => 0,
            Self::Open => 1,
            Self::Closed => 2,
            Self::Faulty => 3,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Self::ALL.iter().find(|(position, _)| position == self);
        f.write_str(found.map_or("", |(_, word)| word))
    }
}

/// What a point holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// A number in a unit.
    Number(Unit),
    /// A step of a tap changer.
    Step,
    /// One bit.
    Single,
    /// Two bits.
    Double,
}

impl Shape {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Number(_) => "number",
            Self::Step => "step",
            Self::Single => "single",
            Self::Double => "double",
        }
    }

    /// The value that a column holds as `raw`.
    pub(crate) fn value(self, raw: i64) -> Value {
        match self {
            Self::Number(_) => Value::Number(Fixed::from_millionths(raw)),
            Self::Step => Value::Step(i8::try_from(raw).expect("a step column holds steps")),
            Self::Single => Value::Single(raw != 0),
            Self::Double => Value::Double(
                Position::ALL
                    .into_iter()
                    .find(|(position, _)| position.code() == raw)
                    .map_or(Position::Faulty, |(position, _)| position),
            ),
        }
    }

    /// Whether a value has this shape.
    pub(crate) const fn fits(self, value: Value) -> bool {
        matches!(
            (self, value),
            (Self::Number(_), Value::Number(_))
                | (Self::Step, Value::Step(_))
                | (Self::Single, Value::Single(_))
                | (Self::Double, Value::Double(_))
        )
    }
}

/// A value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Value {
    /// A number, in the unit of its point.
    Number(Fixed),
    /// A step, −128 to 127.
    Step(i8),
    /// One bit.
    Single(bool),
    /// Two bits.
    Double(Position),
}

impl Value {
    /// What a column holds: millionths, steps, or the code of a state.
    pub(crate) const fn raw(self) -> i64 {
        match self {
            Self::Number(number) => number.millionths(),
            Self::Step(step) => step as i64,
            Self::Single(bit) => bit as i64,
            Self::Double(position) => position.code(),
        }
    }

    /// The name of its shape.
    pub const fn shape_name(self) -> &'static str {
        match self {
            Self::Number(_) => "number",
            Self::Step(_) => "step",
            Self::Single(_) => "single",
            Self::Double(_) => "double",
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Step(step) => step.fmt(f),
            Self::Single(bit) => f.write_str(if *bit { "on" } else { "off" }),
            Self::Double(position) => position.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_their_columns() {
        let volt = Shape::Number(Unit::parse("V").unwrap());
        let mut cases = vec![
            (volt, Value::Number(Fixed::from_millionths(-7))),
            (Shape::Step, Value::Step(-128)),
            (Shape::Single, Value::Single(true)),
            (Shape::Single, Value::Single(false)),
        ];
        cases.extend(Position::ALL.map(|(position, _)| (Shape::Double, Value::Double(position))));
        for (shape, value) in cases {
            assert_eq!(shape.value(value.raw()), value);
            assert!(shape.fits(value));
            assert_eq!(shape.name(), value.shape_name());
        }
        assert!(!Shape::Single.fits(Value::Step(1)));
    }
}
