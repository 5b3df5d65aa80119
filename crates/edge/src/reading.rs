//! A reading that passed the screening.

use gridloom_core::{IntervalReading, SystemTitle, Watts};
use gridloom_dlms::push::BillingStatus;

use crate::identity::Path;
use crate::quality::LinkQuality;
use crate::reason::Reasons;
use crate::score::Scores;

/// A reading that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedReading {
    /// Who signed it.
    pub title: SystemTitle,
    /// Its invocation counter.
    pub counter: u32,
    /// What was measured.
    pub reading: IntervalReading,
    /// Active power at the moment of the push, import positive.
    pub power: Watts,
    /// The meter's own account of what its customer owes.
    pub billing: BillingStatus,
}

/// A reading that passed, with what the edge thinks of it: this is what goes up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScreenedReading {
    /// The reading.
    pub accepted: AcceptedReading,
    /// P_t of its packet, and its parts.
    pub scores: Scores,
    /// What was odd about it all the same.
    pub reasons: Reasons,
    /// By which path it came; the numbers are those of the edge's run in which it came.
    pub path: Path,
    /// What the link knew about it.
    pub link: LinkQuality,
}
