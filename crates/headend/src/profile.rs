//! Profile generic (class 7, IEC 62056-6-2) as typed rows, and the rows of a load profile as
//! intervals for the ledger.
//!
//! Nothing rounds and nothing is dropped in silence: what is no interval is a named exception.

mod intervals;
mod rows;
mod shape;

pub use intervals::{
    Anchor, IntervalMeaning, Intervals, IntervalsError, RowException, RowFault, intervals_of,
};
pub use rows::{ProfileRow, RowReading, rows_of};
pub use shape::{
    COLUMNS_MAX, Column, Nulls, ProfileError, ProfileShape, ScalerUnit, Unit, capture_objects_of,
    date_time_of, integer_of, time_of,
};

#[cfg(test)]
mod tests;
