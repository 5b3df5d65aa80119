//! What the meter's non-volatile memory looks like: named cells, each with a version and a CRC.
//!
//! A cell is `"GLM"`, version, kind, content, CRC-32 (IEEE) over all of it; numbers are
//! big-endian. Decoding is bounded by the cell's length and checks every value that arithmetic
//! later relies on: a damaged cell is an error by name.

mod cell;
mod state;
mod survey;

pub(crate) use cell::{Cell, Writer, open};
pub(crate) use state::{
    AHEAD_MAX, Change, PRICE_DAYS, PROFILE_CELLS, SinceVersion2, State, decode_prices,
    decode_profile, encode_prices,
};
pub(crate) use state::{PRICES_CELL, STATE_CELL, encode_profile, profile_cell};

pub(crate) use state::{FEATURES_CELL, decode_features, encode_features};
pub(crate) use state::{FITTINGS_CELL, decode_fittings, encode_fittings};
pub(crate) use state::{IMAGE_CELL, SEGMENT_CELLS, encode_image, encode_segment, restore_image};
pub(crate) use state::{LOGS_CELL, decode_logs, encode_logs};
pub(crate) use state::{SECURITY_CELL, encode_security, restore_security};
pub(crate) use state::{SUPERVISION_CELL, decode_supervision, encode_supervision};
pub(crate) use survey::{
    SURVEY_CELL, SURVEY_CELLS, decode_rows, decode_survey, encode_rows, encode_survey,
    is_survey_cell, rows_cell,
};

use gridloom_core::bytes::Truncated;
use gridloom_core::{Period, SystemTitle};

use crate::objects::retained::RetainedError;

/// Why a meter's memory cannot be taken over. The meter then does not start: inventing registers
/// is worse. The remedy is the cell's backup, or an empty memory and a new key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// A cell that no meter writes.
    #[error("memory: cell {0:?} is unknown; it belongs to another program or version")]
    UnknownCell(String),
    /// Profile without the state that belongs to it.
    #[error("memory: cell {STATE_CELL:?} is missing, others are there; restore it")]
    NoState,
    /// A cell ends before its content does.
    #[error("memory: cell {cell:?} is cut short: {source}")]
    Truncated {
        /// Which.
        cell: &'static str,
        /// Where.
        source: Truncated,
    },
    /// A cell is longer than its content.
    #[error("memory: cell {cell:?} has {bytes} bytes too many")]
    Trailing {
        /// Which.
        cell: &'static str,
        /// How many.
        bytes: usize,
    },
    /// A cell of another kind or another program.
    #[error("memory: cell {cell:?} is not a meter's; its first bytes are {found:02X?}")]
    Foreign {
        /// Which.
        cell: &'static str,
        /// Its first bytes.
        found: [u8; 5],
    },
    /// A cell of a version that this program cannot read.
    #[error("memory: cell {cell:?} has version {version}; start the program that wrote it")]
    Version {
        /// Which.
        cell: &'static str,
        /// Its version.
        version: u8,
    },
    /// A cell is damaged.
    #[error("memory: cell {cell:?} is damaged: CRC {stored:08X}, computed {computed:08X}")]
    Crc {
        /// Which.
        cell: &'static str,
        /// What it says.
        stored: u32,
        /// What its content gives.
        computed: u32,
    },
    /// A value that no meter writes.
    #[error("memory: cell {cell:?}: {field} is impossible")]
    Value {
        /// Which.
        cell: &'static str,
        /// Which part.
        field: &'static str,
    },
    /// An object cannot be taken over.
    #[error(transparent)]
    Object(#[from] RetainedError),
    /// The memory is another meter's.
    #[error("memory: it belongs to meter {found}, not {wanted}; give each its own")]
    WrongMeter {
        /// Who wrote it.
        found: SystemTitle,
        /// Who reads it.
        wanted: SystemTitle,
    },
    /// The memory has intervals of another period.
    #[error(
        "memory: its capture period is {} s, configured are {} s; keep the former",
        found.as_secs(), wanted.as_secs()
    )]
    WrongPeriod {
        /// What it was written with.
        found: Period,
        /// What is configured.
        wanted: Period,
    },
}
