//! What the columns of a profile are, and what their numbers mean.

use std::time::Duration;

use gridloom_core::{ObisCode, UtcTime};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::datetime::{CosemDateTime, DateTimeError};
use gridloom_dlms::selection::CaptureObject;

/// Columns of a profile; a meter that captures more is refused.
pub const COLUMNS_MAX: usize = 256;

/// The unit of a value (IEC 62056-6-2, table of the enumerated physical units).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unit(pub u8);

impl Unit {
    /// Active energy.
    pub const WATT_HOURS: Self = Self(30);
    /// Apparent energy.
    pub const VOLT_AMPERE_HOURS: Self = Self(31);
    /// Reactive energy.
    pub const VAR_HOURS: Self = Self(32);
    /// Voltage.
    pub const VOLTS: Self = Self(35);
}

/// The true value is the number times 10^scaler, in the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScalerUnit {
    /// The exponent of ten.
    pub scaler: i8,
    /// The unit.
    pub unit: Unit,
}

impl ScalerUnit {
    /// Reads `scaler_unit`, attribute 3 of a register; `None` for anything else.
    pub fn from_data(data: &Data) -> Option<Self> {
        match data {
            Data::Structure(members) => match members[..] {
                [Data::Integer(scaler), Data::Enum(unit)] => Some(Self {
                    scaler,
                    unit: Unit(unit),
                }),
                _ => None,
            },
            _ => None,
        }
    }
}

/// One captured attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// What is captured.
    pub object: CaptureObject,
    /// What its numbers mean, where that is known.
    pub scaler: Option<ScalerUnit>,
}

impl Column {
    /// Whether it holds the time of capture: the clock's attribute 2.
    pub fn is_clock(&self) -> bool {
        self.object.class_id == 8 && self.object.attribute == 2
    }

    /// Whether it holds the profile status, 0-b:96.10.e.
    pub fn is_status(&self) -> bool {
        let ObisCode([_, _, c, d, _, _]) = self.object.instance;
        self.object.class_id == 1 && (c, d) == (96, 10)
    }
}

/// What null-data in a row means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Nulls {
    /// The profile is compressed: the value of the row before.
    RowBefore,
    /// There is no value.
    Absent,
}

/// The columns of a profile, in the order of its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileShape {
    /// The columns.
    pub columns: Vec<Column>,
    /// The time from row to row; `None` where rows are captured by events.
    pub period: Option<Duration>,
}

/// Why a profile cannot be read as rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The capture objects are no list of capture objects.
    #[error("object: capture_objects entry {entry} is unreadable; check the class version")]
    CaptureObject {
        /// Which entry, from 0.
        entry: usize,
    },
    /// Too many columns.
    #[error("object: {got} capture objects, at most {COLUMNS_MAX} are taken")]
    TooManyColumns {
        /// How many there are.
        got: usize,
    },
    /// An attribute has another type than its class gives it.
    #[error("object: {attribute} has an unexpected type; check class and version of the object")]
    Type {
        /// Which attribute.
        attribute: &'static str,
    },
    /// A row has another number of values than there are columns.
    #[error("object: profile row {row} has {got} values, {wanted} columns are captured")]
    Width {
        /// Which row, from 0.
        row: usize,
        /// How many values.
        got: usize,
        /// How many columns.
        wanted: usize,
    },
    /// A row's time is no time.
    #[error("object: profile row {row}: {source}")]
    Time {
        /// Which row, from 0.
        row: usize,
        /// What is wrong.
        source: DateTimeError,
    },
    /// A row has no time, and none follows from the row before.
    #[error("object: profile row {row} has no time and no row before it; the first row must")]
    NoTime {
        /// Which row, from 0.
        row: usize,
    },
    /// A difference to a value that is no number, or out of range.
    #[error("object: profile row {row}, column {column}: a difference without a number before it")]
    Delta {
        /// Which row, from 0.
        row: usize,
        /// Which column, from 0.
        column: usize,
    },
}

/// Reads `capture_objects`, attribute 3 of a profile.
///
/// # Errors
///
/// Anything else, or more than [`COLUMNS_MAX`] columns.
pub fn capture_objects_of(data: &Data) -> Result<Vec<CaptureObject>, ProfileError> {
    let Data::Array(entries) = data else {
        return Err(ProfileError::Type {
            attribute: "capture_objects",
        });
    };
    if entries.len() > COLUMNS_MAX {
        return Err(ProfileError::TooManyColumns { got: entries.len() });
    }
    entries
        .iter()
        .enumerate()
        .map(|(entry, data)| capture_object_of(data).ok_or(ProfileError::CaptureObject { entry }))
        .collect()
}

fn capture_object_of(data: &Data) -> Option<CaptureObject> {
    let Data::Structure(members) = data else {
        return None;
    };
    // Newer versions of the class append a restriction.
    let [class_id, instance, attribute, data_index, ..] = &members[..] else {
        return None;
    };
    let Data::OctetString(instance) = instance else {
        return None;
    };
    Some(CaptureObject {
        class_id: integer_of(class_id)?.try_into().ok()?,
        instance: ObisCode(instance.as_slice().try_into().ok()?),
        attribute: integer_of(attribute)?.try_into().ok()?,
        data_index: integer_of(data_index)?.try_into().ok()?,
    })
}

/// The number in a value of any integer type; `None` for other types and beyond `i64`.
pub fn integer_of(data: &Data) -> Option<i64> {
    Some(match data {
        Data::Integer(value) => i64::from(*value),
        Data::Long(value) => i64::from(*value),
        Data::DoubleLong(value) => i64::from(*value),
        Data::Long64(value) => *value,
        Data::Unsigned(value) | Data::Enum(value) => i64::from(*value),
        Data::LongUnsigned(value) => i64::from(*value),
        Data::DoubleLongUnsigned(value) => i64::from(*value),
        Data::Long64Unsigned(value) => i64::try_from(*value).ok()?,
        Data::Null
        | Data::Array(_)
        | Data::Structure(_)
        | Data::CompactArray(_)
        | Data::Boolean(_)
        | Data::BitString(_)
        | Data::OctetString(_)
        | Data::VisibleString(_)
        | Data::Utf8String(_)
        | Data::Bcd(_)
        | Data::Float32(_)
        | Data::Float64(_)
        | Data::DateTime(_)
        | Data::Date(_)
        | Data::Time(_)
        | Data::DeltaInteger(_)
        | Data::DeltaLong(_)
        | Data::DeltaDoubleLong(_)
        | Data::DeltaUnsigned(_)
        | Data::DeltaLongUnsigned(_)
        | Data::DeltaDoubleLongUnsigned(_)
        | Data::DontCare => return None,
    })
}

/// The date-time in an octet-string of twelve bytes or a date-time; `None` for other types.
/// Any twelve bytes will do here; whether they are a time is [`time_of`]'s.
pub fn date_time_of(data: &Data) -> Option<CosemDateTime> {
    match data {
        Data::OctetString(bytes) => {
            Some(CosemDateTime::from_bytes(bytes.as_slice().try_into().ok()?))
        }
        Data::DateTime(bytes) => Some(CosemDateTime::from_bytes(*bytes)),
        _ => None,
    }
}

/// The point in time. A deviation that is not specified is taken as `deviation`, minutes from
/// local time to UTC: it is the meter's local time.
///
/// # Errors
///
/// A date-time that is no point in time.
pub fn time_of(date_time: CosemDateTime, deviation: i16) -> Result<UtcTime, DateTimeError> {
    let stated = match date_time.deviation {
        CosemDateTime::DEVIATION_OPEN => deviation,
        stated => stated,
    };
    CosemDateTime {
        deviation: stated,
        ..date_time
    }
    .to_utc()
}
