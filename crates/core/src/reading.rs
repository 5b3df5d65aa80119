//! One metered interval as it travels from the edge to the bill.

use crate::id::MeterId;
use crate::quantity::{MillivarHours, MillivoltAmpereHours, Millivolts, MilliwattHours};
use crate::time::{Period, UtcTime};

/// What a meter measured in one interval. The energies are of the interval, not register readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IntervalValues {
    /// Active energy imported (1-0:1.29.0).
    pub import: MilliwattHours,
    /// Active energy exported (1-0:2.29.0).
    pub export: MilliwattHours,
    /// Reactive energy of quadrants I to IV (1-0:5.29.0 to 1-0:8.29.0).
    pub reactive: [MillivarHours; 4],
    /// Apparent energy imported (1-0:9.29.0).
    pub apparent: MillivoltAmpereHours,
    /// Mean voltage of phase L1 (1-0:32.27.0).
    pub voltage: Millivolts,
}

impl IntervalValues {
    /// Number of stored channels.
    pub const CHANNELS: usize = 8;

    /// The channels in their stored order.
    pub fn to_array(self) -> [i64; Self::CHANNELS] {
        let [q1, q2, q3, q4] = self.reactive.map(MillivarHours::get);
        [
            self.import.get(),
            self.export.get(),
            q1,
            q2,
            q3,
            q4,
            self.apparent.get(),
            self.voltage.get(),
        ]
    }

    /// The values from channels in their stored order.
    pub fn from_array(channels: [i64; Self::CHANNELS]) -> Self {
        let [import, export, q1, q2, q3, q4, apparent, voltage] = channels;
        Self {
            import: MilliwattHours::new(import),
            export: MilliwattHours::new(export),
            reactive: [q1, q2, q3, q4].map(MillivarHours::new),
            apparent: MillivoltAmpereHours::new(apparent),
            voltage: Millivolts::new(voltage),
        }
    }
}

/// The meter's own flags on an interval, as in a load profile's AMR status byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ReadingStatus(pub u8);

impl ReadingStatus {
    /// Nothing to report.
    pub const GOOD: Self = Self(0);
    /// The meter detected an internal error.
    pub const CRITICAL_ERROR: Self = Self(0x01);
    /// The clock may be wrong.
    pub const CLOCK_INVALID: Self = Self(0x02);
    /// The values may not be used for billing.
    pub const DATA_NOT_VALID: Self = Self(0x04);
    /// The clock was set within the interval.
    pub const CLOCK_ADJUSTED: Self = Self(0x20);
    /// Supply failed within the interval.
    pub const POWER_DOWN: Self = Self(0x80);

    /// Whether every flag of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets of flags.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One interval of one meter. `(meter, period, end)` is its identity: a second one with the same
/// identity is a redelivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntervalReading {
    /// Whose reading it is.
    pub meter: MeterId,
    /// The capture period of its profile.
    pub period: Period,
    /// The end of the interval, by the meter's clock.
    pub end: UtcTime,
    /// The meter's flags.
    pub status: ReadingStatus,
    /// What was measured.
    pub values: IntervalValues,
    /// The active import register (1-0:1.8.0) at the interval's end, for the sum check.
    pub import_register: MilliwattHours,
}
