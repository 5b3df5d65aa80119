//! What waits in a spool, and what a spool names when it has to give something up.

use std::sync::Arc;

use gridloom_core::{MeterId, SystemTitle, UtcTime};

/// A kind of entry, by importance: what is above goes out first and is given up last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Alarms and last gasps.
    Alarms,
    /// Orders and their answers, and named gaps.
    Commands,
    /// Decided prices.
    Prices,
    /// Readings.
    Readings,
    /// Blocks of firmware.
    Firmware,
}

impl Lane {
    /// Every lane, the most important first.
    pub const ALL: [Self; 5] = [
        Self::Alarms,
        Self::Commands,
        Self::Prices,
        Self::Readings,
        Self::Firmware,
    ];

    /// Its name in file names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alarms => "alarms",
            Self::Commands => "commands",
            Self::Prices => "prices",
            Self::Readings => "readings",
            Self::Firmware => "firmware",
        }
    }

    /// Its number in files and envelopes.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The lane with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// Whose an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Whose {
    /// Nothing tells.
    Unknown,
    /// A meter's, as an edge knows that has verified it.
    Meter(MeterId),
    /// Whoever bears this title, which a gateway reads off the frame and cannot verify.
    Title(SystemTitle),
}

/// What an entry is about, for naming it once it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// Whose it is.
    pub whose: Whose,
    /// The end of a reading's interval, or when anything else came.
    pub time: UtcTime,
}

/// An entry that goes to the neighbour above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its lane.
    pub lane: Lane,
    /// Its number within the lane; never used for another entry that was durable.
    pub number: u64,
    /// What was appended.
    pub bytes: Arc<[u8]>,
    /// Whether it came back from the disk: whoever appended it may have forgotten it.
    pub is_recovered: bool,
}

/// Why entries are gone that nobody acknowledged.
///
/// Its number in an envelope is its place here, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GapCause {
    /// There was no room.
    Full,
    /// The disk did not give back what was written.
    Damaged,
    /// The neighbour above got it [`super::TRIES_MAX`] times and never answered.
    Unanswered,
}

impl GapCause {
    /// Every cause.
    pub const ALL: [Self; 3] = [Self::Full, Self::Damaged, Self::Unanswered];

    /// Its name in figures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Damaged => "damaged",
            Self::Unanswered => "unanswered",
        }
    }

    /// Its number in envelopes.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The cause with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// Entries that are gone though nobody acknowledged them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gap {
    /// Of which lane.
    pub lane: Lane,
    /// Why.
    pub cause: GapCause,
    /// Whose they were.
    pub whose: Whose,
    /// The earliest time they can be about; `None` if nothing tells.
    pub from: Option<UtcTime>,
    /// The latest time they can be about; `None` if nothing tells.
    pub to: Option<UtcTime>,
    /// How many.
    pub entries: u64,
}

impl Gap {
    /// This gap and `other`, of the same owner, as one. A time that nothing tells stays untold.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            from: self.from.zip(other.from).map(|(a, b)| a.min(b)),
            to: self.to.zip(other.to).map(|(a, b)| a.max(b)),
            entries: self.entries.saturating_add(other.entries),
            ..self
        }
    }
}
