//! The buffer of a profile as rows, with everything filled in that compression left out.

use std::time::Duration;

use gridloom_core::UtcTime;
use gridloom_dlms::axdr::Data;
use gridloom_dlms::datetime::ClockStatus;

use super::shape::{Nulls, ProfileError, ProfileShape, date_time_of, integer_of, time_of};

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileRow {
    /// When it was captured; `None` where the profile captures no clock.
    pub time: Option<UtcTime>,
    /// What the meter thought of its clock then.
    pub clock: ClockStatus,
    /// The profile status, where the profile captures one that is a number.
    pub status: Option<i64>,
    /// Every column, the clock and the status too, in the order of the shape.
    pub values: Vec<Data>,
}

/// How the rows of a meter are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowReading {
    /// What null-data means.
    pub nulls: Nulls,
    /// What a time without a deviation means: minutes from local time to UTC.
    pub deviation: i16,
}

/// Reads `buffer`, attribute 2 of a profile.
///
/// A null time stamp is the one before plus the period. Null values and differences are resolved
/// against the row before.
///
/// # Errors
///
/// The first row that does not fit `shape`.
pub fn rows_of(
    buffer: &Data,
    shape: &ProfileShape,
    reading: RowReading,
) -> Result<Vec<ProfileRow>, ProfileError> {
    let entries = match buffer {
        Data::Array(rows) => rows.as_slice(),
        Data::CompactArray(array) => array.elements(),
        _ => {
            return Err(ProfileError::Type {
                attribute: "buffer",
            });
        }
    };
    let mut rows: Vec<ProfileRow> = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let Data::Structure(values) = entry else {
            return Err(ProfileError::Type {
                attribute: "a row of the buffer",
            });
        };
        if values.len() != shape.columns.len() {
            return Err(ProfileError::Width {
                row: index,
                got: values.len(),
                wanted: shape.columns.len(),
            });
        }
        let row = row_of(index, values, rows.last(), shape, reading)?;
        rows.push(row);
    }
    Ok(rows)
}

fn row_of(
    index: usize,
    values: &[Data],
    before: Option<&ProfileRow>,
    shape: &ProfileShape,
    reading: RowReading,
) -> Result<ProfileRow, ProfileError> {
    let mut row = ProfileRow {
        time: None,
        clock: ClockStatus::GOOD,
        status: None,
        values: Vec::with_capacity(values.len()),
    };
    for (nth, (value, column)) in values.iter().zip(&shape.columns).enumerate() {
        let previous = before.map(|row| &row.values[nth]);
        if column.is_clock() {
            (row.time, row.clock) = capture_time(index, value, before, shape.period, reading)?;
            row.values.push(value.clone());
            continue;
        }
        let value = resolved(value, previous, reading.nulls).ok_or(ProfileError::Delta {
            row: index,
            column: nth,
        })?;
        if column.is_status() {
            row.status = integer_of(&value);
        }
        row.values.push(value);
    }
    Ok(row)
}

fn capture_time(
    index: usize,
    value: &Data,
    before: Option<&ProfileRow>,
    period: Option<Duration>,
    reading: RowReading,
) -> Result<(Option<UtcTime>, ClockStatus), ProfileError> {
    if *value == Data::Null {
        let missing = ProfileError::NoTime { row: index };
        let before = before.ok_or_else(|| missing.clone())?;
        let time = before.time.ok_or_else(|| missing.clone())?;
        let next = time + period.ok_or(missing)?;
        return Ok((Some(next), before.clock));
    }
    let date_time = date_time_of(value).ok_or(ProfileError::Type {
        attribute: "a capture time",
    })?;
    let time = time_of(date_time, reading.deviation)
        .map_err(|source| ProfileError::Time { row: index, source })?;
    Ok((Some(time), date_time.status))
}

/// A value with null-data and differences resolved; `None` for a difference to no number.
fn resolved(value: &Data, previous: Option<&Data>, nulls: Nulls) -> Option<Data> {
    let delta = match value {
        Data::Null => {
            return Some(match (nulls, previous) {
                (Nulls::RowBefore, Some(previous)) => previous.clone(),
                (Nulls::RowBefore | Nulls::Absent, _) => Data::Null,
            });
        }
        Data::DeltaInteger(delta) => i64::from(*delta),
        Data::DeltaLong(delta) => i64::from(*delta),
        Data::DeltaDoubleLong(delta) => i64::from(*delta),
        Data::DeltaUnsigned(delta) => i64::from(*delta),
        Data::DeltaLongUnsigned(delta) => i64::from(*delta),
        Data::DeltaDoubleLongUnsigned(delta) => i64::from(*delta),
        _ => return Some(value.clone()),
    };
    let sum = integer_of(previous?)?.checked_add(delta)?;
    Some(Data::Long64(sum))
}
