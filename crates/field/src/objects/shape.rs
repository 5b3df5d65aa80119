//! Reads the shape of values that clients write, so that each object only names what it wants.

use gridloom_core::ObisCode;
use gridloom_dlms::apdu::{ActionResult, DataAccessResult};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::datetime::CosemDateTime;

/// Why a written value does not fit an attribute or a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It has another type or number of members.
    Type,
    /// Its type is right, its value is not.
    Range,
}

impl From<Unfit> for DataAccessResult {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Type => Self::TypeUnmatched,
            Unfit::Range => Self::OtherReason,
        }
    }
}

impl From<Unfit> for ActionResult {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Type => Self::TypeUnmatched,
            Unfit::Range => Self::OtherReason,
        }
    }
}

/// The members of a structure of exactly `N`.
pub(crate) fn structure<const N: usize>(value: &Data) -> Result<&[Data; N], Unfit> {
    if let Data::Structure(members) = value {
        members.as_slice().try_into().map_err(|_| Unfit::Type)
    } else {
        Err(Unfit::Type)
    }
}

/// The elements of an array of at most `most`.
pub(crate) fn array(value: &Data, most: usize) -> Result<&[Data], Unfit> {
    let Data::Array(elements) = value else {
        return Err(Unfit::Type);
    };
    if elements.len() > most {
        return Err(Unfit::Range);
    }
    Ok(elements)
}

/// Reads every element of an array of at most `most`.
pub(crate) fn list<T>(
    value: &Data,
    most: usize,
    read: impl FnMut(&Data) -> Result<T, Unfit>,
) -> Result<Vec<T>, Unfit> {
    array(value, most)?.iter().map(read).collect()
}

/// An octet string of at most `most` bytes.
pub(crate) fn octets(value: &Data, most: usize) -> Result<&[u8], Unfit> {
    let Data::OctetString(bytes) = value else {
        return Err(Unfit::Type);
    };
    if bytes.len() > most {
        return Err(Unfit::Range);
    }
    Ok(bytes)
}

/// An octet string of exactly `N` bytes.
pub(crate) fn octet_array<const N: usize>(value: &Data) -> Result<[u8; N], Unfit> {
    octets(value, N)?.try_into().map_err(|_| Unfit::Range)
}

/// A logical name.
pub(crate) fn logical_name(value: &Data) -> Result<ObisCode, Unfit> {
    octet_array(value).map(ObisCode)
}

/// A date-time, as an octet string or under its own tag.
pub(crate) fn date_time(value: &Data) -> Result<CosemDateTime, Unfit> {
    if let Data::DateTime(bytes) = value {
        return Ok(CosemDateTime::from_bytes(*bytes));
    }
    octet_array(value).map(CosemDateTime::from_bytes)
}

macro_rules! simple {
    ($($name:ident: $variant:ident -> $type:ty,)*) => {
        $(
            /// A value of the type that the name says.
            pub(crate) fn $name(value: &Data) -> Result<$type, Unfit> {
                if let Data::$variant(value) = value {
                    Ok(*value)
                } else {
                    Err(Unfit::Type)
                }
            }
        )*
    };
}

simple! {
    boolean: Boolean -> bool,
    enumeration: Enum -> u8,
    integer: Integer -> i8,
    unsigned: Unsigned -> u8,
    long_unsigned: LongUnsigned -> u16,
    double_long_unsigned: DoubleLongUnsigned -> u32,
}

/// The parameter of a method that means nothing: `integer(0)`. Left out, it is forgiven.
pub(crate) fn nothing(parameters: Option<&Data>) -> Result<(), Unfit> {
    match parameters {
        None | Some(Data::Null | Data::Integer(_)) => Ok(()),
        Some(_) => Err(Unfit::Type),
    }
}

/// The parameter of a method that cannot do without.
pub(crate) fn required(parameters: Option<&Data>) -> Result<&Data, Unfit> {
    parameters.ok_or(Unfit::Type)
}

/// A logical name as a value.
pub(crate) fn name_value(name: ObisCode) -> Data {
    Data::OctetString(name.0.to_vec())
}

/// A date-time as a value: COSEM attributes carry it as an octet string.
pub(crate) fn date_time_value(time: CosemDateTime) -> Data {
    Data::OctetString(time.to_bytes().to_vec())
}

/// An array of values.
pub(crate) fn array_value<T>(items: &[T], value: impl FnMut(&T) -> Data) -> Data {
    Data::Array(items.iter().map(value).collect())
}
