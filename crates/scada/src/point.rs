//! Points: their names, kinds, values and qualities, and the columns that hold them.

mod catalogue;
mod frame;
mod quality;
mod tag;
mod update;
mod value;

pub use catalogue::{Catalogue, Definition, Kind, POINTS_MAX, PointError, TEXT_BYTES_MAX};
pub use frame::Frame;
pub(crate) use frame::Row;
pub use quality::{Quality, Reason, Validity};
pub use tag::{TAG_BYTES_MAX, TAG_LEVELS_MAX, Tag, TagError};
pub use update::{PointId, Update};
pub use value::{Position, Shape, Value};
