//! What waits in a spool, and what a spool names when it has to give something up.

use std::sync::Arc;

use gridloom_core::{MeterId, UtcTime};

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

/// What an entry is about, for naming it once it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// Whose it is; a gateway, which holds no keys, does not know.
    pub meter: Option<MeterId>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GapCause {
    /// There was no room.
    Full,
    /// The disk did not give back what was written.
    Damaged,
    /// The neighbour above got it [`super::TRIES_MAX`] times and never answered.
    Unanswered,
}

/// Entries that are gone though nobody acknowledged them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Of which lane.
    pub lane: Lane,
    /// Why.
    pub cause: GapCause,
    /// Whose they were, if that is known.
    pub meter: Option<MeterId>,
    /// The earliest time they can be about; `None` if nothing tells.
    pub from: Option<UtcTime>,
    /// The latest time they can be about; `None` if nothing tells.
    pub to: Option<UtcTime>,
    /// How many.
    pub entries: u64,
}
