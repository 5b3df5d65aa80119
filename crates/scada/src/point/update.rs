//! What arrives from a station, whatever protocol it speaks.

use core::fmt;

use gridloom_core::UtcTime;

use super::quality::Quality;
use super::value::Value;

/// The number of a point: its place in the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PointId(pub(crate) u32);

impl PointId {
    /// The place in the catalogue, from 0.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for PointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "point {}", self.0)
    }
}

/// One value of one point, as a station reported it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update {
    /// Which point.
    pub point: PointId,
    /// Its value, in the unit of the point.
    pub value: Value,
    /// What the station says of it.
    pub quality: Quality,
    /// When it was measured or changed, by the station's clock; `None` where the protocol carries
    /// no time.
    pub source_time: Option<UtcTime>,
}
