//! Where a meter measures.

use gridloom_core::MeterId;

use super::element::ElementId;

/// A meter at the terminal of a load or a plant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeterPoint {
    /// The meter.
    pub meter: MeterId,
    /// What it measures.
    pub element: ElementId,
}

/// What a meter sees in one phase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PhaseValues {
    /// Voltage across the phase, in volts.
    pub volts: f64,
    /// Current in the phase, in amperes.
    pub amperes: f64,
    /// Active power, in watts; positive is consumed.
    pub watts: f64,
    /// Reactive power, in vars; positive is inductive.
    pub vars: f64,
}
