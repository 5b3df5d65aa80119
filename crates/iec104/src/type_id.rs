//! The types of ASDU that stations of ours speak (IEC 60870-5-101, 7.2.1), each with the shape of
//! its elements.

use crate::command::CommandKind;
use crate::value::ValueKind;

/// A type identification, named as in the standard: `MSpNa1` is M_SP_NA_1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TypeId {
    /// 1: single-point information.
    MSpNa1,
    /// 3: double-point information.
    MDpNa1,
    /// 5: step position information.
    MStNa1,
    /// 7: bit string of 32 bits.
    MBoNa1,
    /// 9: measured value, normalized.
    MMeNa1,
    /// 11: measured value, scaled.
    MMeNb1,
    /// 13: measured value, short floating point.
    MMeNc1,
    /// 15: integrated total.
    MItNa1,
    /// 30: single-point information with time.
    MSpTb1,
    /// 31: double-point information with time.
    MDpTb1,
    /// 32: step position information with time.
    MStTb1,
    /// 33: bit string of 32 bits with time.
    MBoTb1,
    /// 34: measured value, normalized, with time.
    MMeTd1,
    /// 35: measured value, scaled, with time.
    MMeTe1,
    /// 36: measured value, short floating point, with time.
    MMeTf1,
    /// 37: integrated total with time.
    MItTb1,
    /// 45: single command.
    CScNa1,
    /// 46: double command.
    CDcNa1,
    /// 47: regulating step command.
    CRcNa1,
    /// 48: set point, normalized.
    CSeNa1,
    /// 49: set point, scaled.
    CSeNb1,
    /// 50: set point, short floating point.
    CSeNc1,
    /// 51: bit string command.
    CBoNa1,
    /// 58: single command with time.
    CScTa1,
    /// 59: double command with time.
    CDcTa1,
    /// 60: regulating step command with time.
    CRcTa1,
    /// 61: set point, normalized, with time.
    CSeTa1,
    /// 62: set point, scaled, with time.
    CSeTb1,
    /// 63: set point, short floating point, with time.
    CSeTc1,
    /// 64: bit string command with time.
    CBoTa1,
    /// 70: end of initialisation.
    MEiNa1,
    /// 100: interrogation command.
    CIcNa1,
    /// 101: counter interrogation command.
    CCiNa1,
    /// 102: read command.
    CRdNa1,
    /// 103: clock synchronisation command.
    CCsNa1,
    /// 105: reset process command.
    CRpNa1,
    /// 107: test command with time.
    CTsTa1,
    /// 110: parameter of a measured value, normalized.
    PMeNa1,
    /// 111: parameter of a measured value, scaled.
    PMeNb1,
    /// 112: parameter of a measured value, short floating point.
    PMeNc1,
    /// 113: parameter activation.
    PAcNa1,
}

/// The number format of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParameterFormat {
    Normalized,
    Scaled,
    Float,
}

/// What one element of a type looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Point(ValueKind),
    Command(CommandKind),
    EndOfInitialization,
    Interrogation,
    CounterInterrogation,
    Read,
    Clock,
    Reset,
    Test,
    Parameter(ParameterFormat),
    ParameterActivation,
}

impl Shape {
    /// Octets of an element, without its time.
    pub(crate) const fn octets(self) -> usize {
        match self {
            Self::Point(kind) => kind.octets(),
            Self::Command(kind) => kind.octets(),
            Self::EndOfInitialization
            | Self::Interrogation
            | Self::CounterInterrogation
            | Self::Reset
            | Self::ParameterActivation => 1,
            Self::Read | Self::Clock => 0,
            Self::Test => 2,
            Self::Parameter(ParameterFormat::Normalized | ParameterFormat::Scaled) => 3,
            Self::Parameter(ParameterFormat::Float) => 5,
        }
    }
}

/// Whether an object ends in a time tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    None,
    Cp56,
}

/// Every type once: name, code, shape, tag.
const TYPES: [(TypeId, u8, Shape, Tag); 41] = [
    (
        TypeId::MSpNa1,
        1,
        Shape::Point(ValueKind::Single),
        Tag::None,
    ),
    (
        TypeId::MDpNa1,
        3,
        Shape::Point(ValueKind::Double),
        Tag::None,
    ),
    (TypeId::MStNa1, 5, Shape::Point(ValueKind::Step), Tag::None),
    (TypeId::MBoNa1, 7, Shape::Point(ValueKind::Bits), Tag::None),
    (
        TypeId::MMeNa1,
        9,
        Shape::Point(ValueKind::Normalized),
        Tag::None,
    ),
    (
        TypeId::MMeNb1,
        11,
        Shape::Point(ValueKind::Scaled),
        Tag::None,
    ),
    (
        TypeId::MMeNc1,
        13,
        Shape::Point(ValueKind::Float),
        Tag::None,
    ),
    (
        TypeId::MItNa1,
        15,
        Shape::Point(ValueKind::Counter),
        Tag::None,
    ),
    (
        TypeId::MSpTb1,
        30,
        Shape::Point(ValueKind::Single),
        Tag::Cp56,
    ),
    (
        TypeId::MDpTb1,
        31,
        Shape::Point(ValueKind::Double),
        Tag::Cp56,
    ),
    (TypeId::MStTb1, 32, Shape::Point(ValueKind::Step), Tag::Cp56),
    (TypeId::MBoTb1, 33, Shape::Point(ValueKind::Bits), Tag::Cp56),
    (
        TypeId::MMeTd1,
        34,
        Shape::Point(ValueKind::Normalized),
        Tag::Cp56,
    ),
    (
        TypeId::MMeTe1,
        35,
        Shape::Point(ValueKind::Scaled),
        Tag::Cp56,
    ),
    (
        TypeId::MMeTf1,
        36,
        Shape::Point(ValueKind::Float),
        Tag::Cp56,
    ),
    (
        TypeId::MItTb1,
        37,
        Shape::Point(ValueKind::Counter),
        Tag::Cp56,
    ),
    (
        TypeId::CScNa1,
        45,
        Shape::Command(CommandKind::Single),
        Tag::None,
    ),
    (
        TypeId::CDcNa1,
        46,
        Shape::Command(CommandKind::Double),
        Tag::None,
    ),
    (
        TypeId::CRcNa1,
        47,
        Shape::Command(CommandKind::Step),
        Tag::None,
    ),
    (
        TypeId::CSeNa1,
        48,
        Shape::Command(CommandKind::Normalized),
        Tag::None,
    ),
    (
        TypeId::CSeNb1,
        49,
        Shape::Command(CommandKind::Scaled),
        Tag::None,
    ),
    (
        TypeId::CSeNc1,
        50,
        Shape::Command(CommandKind::Float),
        Tag::None,
    ),
    (
        TypeId::CBoNa1,
        51,
        Shape::Command(CommandKind::Bits),
        Tag::None,
    ),
    (
        TypeId::CScTa1,
        58,
        Shape::Command(CommandKind::Single),
        Tag::Cp56,
    ),
    (
        TypeId::CDcTa1,
        59,
        Shape::Command(CommandKind::Double),
        Tag::Cp56,
    ),
    (
        TypeId::CRcTa1,
        60,
        Shape::Command(CommandKind::Step),
        Tag::Cp56,
    ),
    (
        TypeId::CSeTa1,
        61,
        Shape::Command(CommandKind::Normalized),
        Tag::Cp56,
    ),
    (
        TypeId::CSeTb1,
        62,
        Shape::Command(CommandKind::Scaled),
        Tag::Cp56,
    ),
    (
        TypeId::CSeTc1,
        63,
        Shape::Command(CommandKind::Float),
        Tag::Cp56,
    ),
    (
        TypeId::CBoTa1,
        64,
        Shape::Command(CommandKind::Bits),
        Tag::Cp56,
    ),
    (TypeId::MEiNa1, 70, Shape::EndOfInitialization, Tag::None),
    (TypeId::CIcNa1, 100, Shape::Interrogation, Tag::None),
    (TypeId::CCiNa1, 101, Shape::CounterInterrogation, Tag::None),
    (TypeId::CRdNa1, 102, Shape::Read, Tag::None),
    (TypeId::CCsNa1, 103, Shape::Clock, Tag::Cp56),
    (TypeId::CRpNa1, 105, Shape::Reset, Tag::None),
    (TypeId::CTsTa1, 107, Shape::Test, Tag::Cp56),
    (
        TypeId::PMeNa1,
        110,
        Shape::Parameter(ParameterFormat::Normalized),
        Tag::None,
    ),
    (
        TypeId::PMeNb1,
        111,
        Shape::Parameter(ParameterFormat::Scaled),
        Tag::None,
    ),
    (
        TypeId::PMeNc1,
        112,
        Shape::Parameter(ParameterFormat::Float),
        Tag::None,
    ),
    (TypeId::PAcNa1, 113, Shape::ParameterActivation, Tag::None),
];

impl TypeId {
    /// Every type that is known.
    pub fn all() -> impl Iterator<Item = Self> {
        TYPES.into_iter().map(|(id, ..)| id)
    }

    /// The type of a code; `None` for one that no station of ours speaks.
    pub fn from_code(code: u8) -> Option<Self> {
        let row = TYPES.into_iter().find(|(_, known, ..)| *known == code);
        row.map(|(id, ..)| id)
    }

    /// The octet on the wire.
    pub fn code(self) -> u8 {
        self.row().1
    }

    /// Whether objects of this type carry a time tag.
    pub fn has_time(self) -> bool {
        self.tag() == Tag::Cp56
    }

    pub(crate) fn shape(self) -> Shape {
        self.row().2
    }

    pub(crate) fn tag(self) -> Tag {
        self.row().3
    }

    /// The type with this shape and tag.
    pub(crate) fn of(shape: Shape, tag: Tag) -> Option<Self> {
        let row = TYPES.into_iter().find(|row| (row.2, row.3) == (shape, tag));
        row.map(|(id, ..)| id)
    }

    fn row(self) -> (Self, u8, Shape, Tag) {
        let row = TYPES.into_iter().find(|(id, ..)| *id == self);
        row.expect("every type stands in the table")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_types_of_the_profile() {
        let known: Vec<u8> = (0..=u8::MAX)
            .filter(|&code| TypeId::from_code(code).is_some())
            .collect();
        let mut expected = vec![1, 3, 5, 7, 9, 11, 13, 15];
        expected.extend(30..=37);
        expected.extend(45..=51);
        expected.extend(58..=64);
        expected.extend([70, 100, 101, 102, 103, 105, 107, 110, 111, 112, 113]);
        assert_eq!(known, expected);
        for id in TypeId::all() {
            assert_eq!(TypeId::from_code(id.code()), Some(id));
            assert_eq!(TypeId::of(id.shape(), id.tag()), Some(id), "{id:?}");
            let timed = matches!(id.code(), 30..=37 | 58..=64 | 103 | 107);
            assert_eq!(id.has_time(), timed, "{id:?}");
        }
    }
}
