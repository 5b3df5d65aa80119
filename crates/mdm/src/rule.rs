//! The rules by name, and what a reading that breaks one looks like.

use core::fmt;

use gridloom_core::{MeterId, MilliwattHours, Period, ReadingStatus, UtcTime};

use crate::interval::REGISTER_AGREED;

/// A rule of validation, in the order in which they are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Rule {
    /// The meter does not set status bits that are reserved.
    ReservedFlag,
    /// The meter reports no critical error.
    CriticalError,
    /// The meter says the data are valid.
    DataNotValid,
    /// The meter trusts its clock.
    ClockInvalid,
    /// The interval ends on the grid of its period.
    OffGrid,
    /// The interval is not older than any meter of this kind.
    TooOld,
    /// No energy and no register is negative.
    NegativeEnergy,
    /// The energy fits through the service fuse.
    FuseLimit,
    /// S² ≥ P² + Q².
    PowerTriangle,
    /// The interval has ended.
    InFuture,
    /// The register never runs backwards.
    RegisterRollback,
    /// The register advanced at least by the energy of the intervals.
    RegisterShort,
    /// The register advanced at most by the energy of the intervals, where none is missing.
    RegisterExcess,
    /// There is room to remember the meter's register.
    HistoryFull,
    /// A stored interval carries the mark of the register check.
    RegisterUnchecked,
}

impl Rule {
    /// Every rule, in order.
    pub const ALL: [Self; 15] = [
        Self::ReservedFlag,
        Self::CriticalError,
        Self::DataNotValid,
        Self::ClockInvalid,
        Self::OffGrid,
        Self::TooOld,
        Self::NegativeEnergy,
        Self::FuseLimit,
        Self::PowerTriangle,
        Self::InFuture,
        Self::RegisterRollback,
        Self::RegisterShort,
        Self::RegisterExcess,
        Self::HistoryFull,
        Self::RegisterUnchecked,
    ];

    /// The name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReservedFlag => "reserved-flag",
            Self::CriticalError => "critical-error",
            Self::DataNotValid => "data-not-valid",
            Self::ClockInvalid => "clock-invalid",
            Self::OffGrid => "off-grid",
            Self::TooOld => "too-old",
            Self::InFuture => "in-future",
            Self::NegativeEnergy => "negative-energy",
            Self::FuseLimit => "fuse-limit",
            Self::PowerTriangle => "power-triangle",
            Self::RegisterRollback => "register-rollback",
            Self::RegisterShort => "register-short",
            Self::RegisterExcess => "register-excess",
            Self::HistoryFull => "history-full",
            Self::RegisterUnchecked => "register-unchecked",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is wrong with an interval, with the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// See [`Rule::ReservedFlag`].
    #[error("status {status:#04x} has reserved bit 6 set", status = .0.0)]
    ReservedFlag(ReadingStatus),
    /// See [`Rule::CriticalError`].
    #[error("the meter reports a critical error (status {status:#04x})", status = .0.0)]
    CriticalError(ReadingStatus),
    /// See [`Rule::DataNotValid`].
    #[error("the meter says not to bill it (status {status:#04x})", status = .0.0)]
    DataNotValid(ReadingStatus),
    /// See [`Rule::ClockInvalid`].
    #[error("the meter does not trust its clock (status {status:#04x}); set it", status = .0.0)]
    ClockInvalid(ReadingStatus),
    /// See [`Rule::OffGrid`].
    #[error("the end is not a multiple of {} s", .0.as_secs())]
    OffGrid(Period),
    /// See [`Rule::TooOld`].
    #[error("the end is before {earliest}; set the meter's clock")]
    TooOld {
        /// The earliest end accepted.
        earliest: UtcTime,
    },
    /// See [`Rule::InFuture`].
    #[error("the end is after {latest}; set the meter's clock")]
    InFuture {
        /// The latest end accepted now.
        latest: UtcTime,
    },
    /// See [`Rule::NegativeEnergy`].
    #[error("{channel} is negative: {milli} milli-units")]
    NegativeEnergy {
        /// Which channel, in words.
        channel: &'static str,
        /// Its value in mWh, mvarh or mVAh.
        milli: i64,
    },
    /// See [`Rule::FuseLimit`].
    #[error("{channel} of {milli} milli-units is above the {max} that the fuse lets through")]
    FuseLimit {
        /// Which channels, in words.
        channel: &'static str,
        /// Their sum in mWh, mvarh or mVAh.
        milli: i128,
        /// The limit in the same unit.
        max: i64,
    },
    /// See [`Rule::PowerTriangle`].
    #[error("apparent energy {apparent} mVAh is below what {active} mWh and {reactive} mvarh need")]
    PowerTriangle {
        /// Apparent energy, mVAh.
        apparent: i64,
        /// Active energy imported, mWh.
        active: i64,
        /// Reactive energy of quadrants I and IV, mvarh.
        reactive: i128,
    },
    /// See [`Rule::RegisterRollback`].
    #[error("the register ran back from {} at {} to {} at {}", .0.earlier, .0.from, .0.later, .0.to)]
    RegisterRollback(RegisterEvidence),
    /// See [`Rule::RegisterShort`].
    #[error(
        "the register covers less than the intervals: {} at {}, {} at {} before this energy",
        .0.earlier, .0.from, .0.later, .0.to
    )]
    RegisterShort(RegisterEvidence),
    /// See [`Rule::RegisterExcess`].
    #[error(
        "the register advanced from {} at {} to {} at {}, more than the intervals explain",
        .0.earlier, .0.from, .0.later, .0.to
    )]
    RegisterExcess(RegisterEvidence),
    /// See [`Rule::HistoryFull`].
    #[error("the registers of {0} profiles are remembered already; forget retired meters")]
    HistoryFull(usize),
    /// See [`Rule::RegisterUnchecked`].
    #[error("stored without the mark of the register check (status {status:#04x})", status = .0.0)]
    RegisterUnchecked(ReadingStatus),
}

/// Two register values that contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegisterEvidence {
    /// When the earlier value held.
    pub from: UtcTime,
    /// The earlier value.
    pub earlier: MilliwattHours,
    /// When the later value held.
    pub to: UtcTime,
    /// The later value.
    pub later: MilliwattHours,
}

impl Fault {
    /// The rule that was broken.
    pub const fn rule(&self) -> Rule {
        match self {
            Self::ReservedFlag(_) => Rule::ReservedFlag,
            Self::CriticalError(_) => Rule::CriticalError,
            Self::DataNotValid(_) => Rule::DataNotValid,
            Self::ClockInvalid(_) => Rule::ClockInvalid,
            Self::OffGrid(_) => Rule::OffGrid,
            Self::TooOld { .. } => Rule::TooOld,
            Self::InFuture { .. } => Rule::InFuture,
            Self::NegativeEnergy { .. } => Rule::NegativeEnergy,
            Self::FuseLimit { .. } => Rule::FuseLimit,
            Self::PowerTriangle { .. } => Rule::PowerTriangle,
            Self::RegisterRollback(_) => Rule::RegisterRollback,
            Self::RegisterShort(_) => Rule::RegisterShort,
            Self::RegisterExcess(_) => Rule::RegisterExcess,
            Self::HistoryFull(_) => Rule::HistoryFull,
            Self::RegisterUnchecked(_) => Rule::RegisterUnchecked,
        }
    }
}

/// An interval that was refused: kept as it came, never billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{meter}, interval ending {end}: {}: {fault}", .fault.rule())]
pub struct Exception {
    /// Whose interval.
    pub meter: MeterId,
    /// Its end, as the meter gave it.
    pub end: UtcTime,
    /// The meter's flags, as it gave them.
    pub status: ReadingStatus,
    /// What is wrong.
    pub fault: Fault,
}

impl Exception {
    /// The rule that was broken.
    pub const fn rule(&self) -> Rule {
        self.fault.rule()
    }

    /// The status byte to store with the refused reading: never with [`REGISTER_AGREED`].
    pub const fn stored_status(&self) -> ReadingStatus {
        ReadingStatus(self.status.0 & !REGISTER_AGREED.0)
    }
}
