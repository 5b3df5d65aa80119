//! The validated interval, and what storage keeps of one.

use core::fmt;

use gridloom_core::{
    IntervalReading, IntervalValues, MeterId, MilliwattHours, Period, ReadingStatus, UtcTime,
};

/// The mark in a stored status byte that the register sum check passed.
///
/// Bit 6 is reserved in the meters' own status byte, so a reading that arrives with it is refused
/// ([`crate::Rule::ReservedFlag`]); only [`ValidatedInterval::stored_status`] sets it. Forgetting
/// to store the mark makes an interval unusable, never unchecked.
pub const REGISTER_AGREED: ReadingStatus = ReadingStatus(0x40);

/// Something worth a look that does not stop a bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Warning {
    /// Supply failed within the interval; its energy is what flowed while there was any.
    PowerDown = 0x01,
    /// The clock was set within the interval; it may be shorter or longer than the period.
    ClockAdjusted = 0x02,
    /// The mean voltage is outside nominal ± 10 %.
    VoltageBand = 0x04,
}

impl Warning {
    /// Every warning, in order.
    pub const ALL: [Self; 3] = [Self::PowerDown, Self::ClockAdjusted, Self::VoltageBand];

    /// The name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PowerDown => "power-down",
            Self::ClockAdjusted => "clock-adjusted",
            Self::VoltageBand => "voltage-band",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The warnings of one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Warnings(u8);

impl Warnings {
    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `warning` is among them.
    pub const fn contains(self, warning: Warning) -> bool {
        self.0 & warning as u8 != 0
    }

    /// The warnings, in order.
    pub fn iter(self) -> impl Iterator<Item = Warning> {
        Warning::ALL
            .into_iter()
            .filter(move |&warning| self.contains(warning))
    }

    pub(crate) const fn with(self, warning: Warning) -> Self {
        Self(self.0 | warning as u8)
    }
}

/// An interval that passed every rule of validation: the only thing that may be billed.
///
/// There is no public constructor: [`crate::Validator`] makes it.
///
/// ```compile_fail,E0451
/// use gridloom_mdm::ValidatedInterval;
///
/// fn forge(meter: gridloom_core::MeterId, other: ValidatedInterval) -> ValidatedInterval {
///     ValidatedInterval { meter, ..other } // error[E0451]: the fields are private.
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValidatedInterval {
    meter: MeterId,
    period: Period,
    end: UtcTime,
    status: ReadingStatus,
    values: IntervalValues,
    warnings: Warnings,
}

impl ValidatedInterval {
    pub(crate) const fn new(interval: &StoredInterval, warnings: Warnings) -> Self {
        Self {
            meter: interval.meter,
            period: interval.period,
            end: interval.end,
            status: interval.status,
            values: interval.values,
            warnings,
        }
    }

    /// Whose interval it is.
    pub const fn meter(&self) -> MeterId {
        self.meter
    }

    /// The capture period.
    pub const fn period(&self) -> Period {
        self.period
    }

    /// The end of the interval, on the grid of its period.
    pub const fn end(&self) -> UtcTime {
        self.end
    }

    /// What was measured: non-negative energies within the fuse.
    pub const fn values(&self) -> IntervalValues {
        self.values
    }

    /// Active energy imported: what is billed.
    pub const fn import(&self) -> MilliwattHours {
        self.values.import
    }

    /// What deserves a look.
    pub const fn warnings(&self) -> Warnings {
        self.warnings
    }

    /// The meter's own flags.
    pub const fn status(&self) -> ReadingStatus {
        self.status
    }

    /// The status byte to store: the meter's flags and [`REGISTER_AGREED`].
    pub const fn stored_status(&self) -> ReadingStatus {
        self.status.with(REGISTER_AGREED)
    }
}

/// An interval as read back from storage, which keeps no register reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredInterval {
    /// Whose interval it is.
    pub meter: MeterId,
    /// The capture period.
    pub period: Period,
    /// The end of the interval.
    pub end: UtcTime,
    /// The stored status byte: the meter's flags, and [`REGISTER_AGREED`] or not.
    pub status: ReadingStatus,
    /// What was measured.
    pub values: IntervalValues,
}

impl From<&IntervalReading> for StoredInterval {
    /// Everything but the register, the status as the meter sent it.
    fn from(reading: &IntervalReading) -> Self {
        Self {
            meter: reading.meter,
            period: reading.period,
            end: reading.end,
            status: reading.status,
            values: reading.values,
        }
    }
}
