//! What a spool asks of the disk, and what the disk answers.

use super::entry::Lane;

/// Something to carry out; requests of one spool are carried out in order, and their answers come
/// in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpoolEffect {
    /// Carry out all writes and make them durable. Answered by [`SpoolOutcome::Written`].
    Write(Vec<SegmentWrite>),
    /// Set the length of a segment's file, which is created if it is not there, and make that
    /// durable. Answered by [`SpoolOutcome::Truncated`].
    Truncate {
        /// Of which lane.
        lane: Lane,
        /// The number of its first entry.
        segment: u64,
        /// Its length in bytes.
        length: u64,
    },
    /// Read a whole segment. Answered by [`SpoolOutcome::Read`].
    Read {
        /// Of which lane.
        lane: Lane,
        /// The number of its first entry.
        segment: u64,
    },
    /// Remove a segment's file; one that is not there is fine. Answered by
    /// [`SpoolOutcome::Dropped`].
    Drop {
        /// Of which lane.
        lane: Lane,
        /// The number of its first entry.
        segment: u64,
    },
}

/// Bytes for one segment's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentWrite {
    /// Of which lane.
    pub lane: Lane,
    /// The number of its first entry; also the name of the file.
    pub segment: u64,
    /// Where in the file; at 0 it is created, and its directory made durable too.
    pub offset: u64,
    /// What to write.
    pub bytes: Vec<u8>,
}

/// How a [`SpoolEffect`] ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpoolOutcome {
    /// Everything written is durable.
    Written,
    /// The file has its length.
    Truncated,
    /// What the file holds.
    Read(Vec<u8>),
    /// The file is gone.
    Dropped,
    /// It did not succeed, in the system's words, which name the file.
    Failed(String),
}

/// A segment's file, found at a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFile {
    /// Of which lane.
    pub lane: Lane,
    /// The number of its first entry, which its name tells.
    pub segment: u64,
    /// Its length in bytes.
    pub length: u64,
    /// Its content; of each lane's last two segments only, so that a start reads little.
    pub bytes: Option<Vec<u8>>,
}
