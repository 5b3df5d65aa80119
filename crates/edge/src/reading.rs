//! A reading that passed the screening.

use gridloom_core::{IntervalReading, SystemTitle, Watts};
use gridloom_dlms::push::BillingStatus;

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
