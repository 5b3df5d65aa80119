//! The journal's bytes: segments of records, each with its length, checksum and number.
//!
//! A segment starts with a header of [`HEADER_BYTES`]: magic, format version, segment number,
//! number of its first record, CRC-32 of all that. A record is
//!
//! | Bytes | Field |
//! |---|---|
//! | 4 | length of the payload |
//! | 4 | CRC-32 of everything else in the record |
//! | 8 | LSN |
//! | 4 | records before this one in the same write |
//! | 1 | kind |
//! | … | payload |
//!
//! all big-endian. The place within the write is what tells a torn write from bit rot: one write
//! is in flight at a time, so a whole record of a *later* write proves that the bytes before it
//! were durable once.

use gridloom_core::bytes::Reader;

use crate::frame::{self, Frame, Misframed, checksum};
use crate::record::{Lsn, PayloadError, Record};

/// Bytes of a segment's header.
pub const HEADER_BYTES: usize = 26;

/// Bytes of a record's payload; a longer one is damage.
pub const PAYLOAD_BYTES_MAX: u32 = 1_024;

const MAGIC: [u8; 4] = *b"GLJN";
const VERSION: u16 = 1;

/// What is wrong at a place in a segment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// The bytes end within a header or a record.
    #[error("the file ends early")]
    Short,
    /// A header or a record is not what was written.
    #[error("the checksum does not fit")]
    Checksum,
    /// A length that no record has.
    #[error("a payload of {0} bytes, at most {PAYLOAD_BYTES_MAX}")]
    Length(u32),
    /// The header is of another format.
    #[error("format version {found}, this gridloom knows {VERSION}")]
    Version {
        /// In the header.
        found: u16,
    },
    /// The header is another segment's.
    #[error("the header is of segment {found}")]
    Segment {
        /// In the header.
        found: u64,
    },
    /// A record is missing.
    #[error("record {expected} expected, {found} found")]
    Order {
        /// The record after the one before.
        expected: Lsn,
        /// What is there.
        found: Lsn,
    },
    /// A record whose checksum holds does not decode.
    #[error(transparent)]
    Payload(#[from] PayloadError),
}

impl Flaw {
    /// Whether an unfinished write looks like this. The others carry a checksum that holds.
    const fn may_be_torn(&self) -> bool {
        match self {
            Self::Short | Self::Checksum | Self::Length(_) => true,
            Self::Version { .. } | Self::Segment { .. } | Self::Order { .. } | Self::Payload(_) => {
                false
            }
        }
    }
}

impl From<Misframed> for Flaw {
    fn from(misframed: Misframed) -> Self {
        match misframed {
            Misframed::Short => Self::Short,
            Misframed::Checksum => Self::Checksum,
            Misframed::Length(bytes) => Self::Length(bytes),
        }
    }
}

/// A flaw and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Byte of the segment where the header or the record starts.
    pub offset: usize,
    /// What is wrong.
    pub flaw: Flaw,
    /// Whether an unfinished last write explains it.
    pub torn: bool,
}

/// A segment's header.
pub(crate) fn encode_header(segment: u64, first: Lsn) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend(MAGIC);
    header.extend(VERSION.to_be_bytes());
    header.extend(segment.to_be_bytes());
    header.extend(first.0.to_be_bytes());
    header.extend(crc32fast::hash(&header).to_be_bytes());
    header
}

/// Reads the number of a segment's first record.
pub(crate) fn decode_header(segment: u64, bytes: &[u8]) -> Result<Lsn, Flaw> {
    let Some((covered, sum)) = bytes
        .get(..HEADER_BYTES)
        .and_then(|header| header.split_last_chunk::<4>())
    else {
        return Err(Flaw::Short);
    };
    if crc32fast::hash(covered) != u32::from_be_bytes(*sum) || !covered.starts_with(&MAGIC) {
        return Err(Flaw::Checksum);
    }
    let mut reader = Reader::new(&covered[MAGIC.len()..]);
    let fields = (|| Ok((reader.u16()?, reader.u64()?, reader.u64()?)))();
    let (version, found, first) =
        fields.map_err(|_: gridloom_core::bytes::Truncated| Flaw::Short)?;
    if version != VERSION {
        return Err(Flaw::Version { found: version });
    }
    if found != segment {
        return Err(Flaw::Segment { found });
    }
    Ok(Lsn(first))
}

/// Appends a record that follows `back` others in its write.
pub(crate) fn encode_record(lsn: Lsn, back: u32, record: &Record, into: &mut Vec<u8>) {
    let head = (lsn, back, record.kind());
    frame::encode(head, PAYLOAD_BYTES_MAX, into, |into| record.encode(into));
}

/// Reads the records of one segment after its header, in order.
#[derive(Debug, Clone)]
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    offset: usize,
    expected: Lsn,
}

impl<'a> Scanner<'a> {
    /// A scanner behind the header of a segment whose first record is `first`.
    pub(crate) const fn new(bytes: &'a [u8], first: Lsn) -> Self {
        Self {
            bytes,
            offset: HEADER_BYTES,
            expected: first,
        }
    }

    /// Where the next record starts.
    pub(crate) const fn offset(&self) -> usize {
        self.offset
    }

    /// The number of the next record.
    pub(crate) const fn expected(&self) -> Lsn {
        self.expected
    }

    /// The next record; `None` at the end.
    pub(crate) fn next_record(&mut self) -> Option<Result<(Lsn, Record), Damage>> {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        if rest.is_empty() {
            return None;
        }
        let read = Frame::read(rest, PAYLOAD_BYTES_MAX).map_err(Flaw::from);
        let read = read.and_then(|frame| {
            if frame.lsn != self.expected {
                return Err(Flaw::Order {
                    expected: self.expected,
                    found: frame.lsn,
                });
            }
            Ok((frame, Record::decode(frame.kind, frame.payload)?))
        });
        Some(match read {
            Ok((frame, record)) => {
                self.offset += frame.len();
                self.expected = self.expected.next();
                Ok((frame.lsn, record))
            }
            Err(flaw) => Err(self.damage(flaw)),
        })
    }

    fn damage(&self, flaw: Flaw) -> Damage {
        Damage {
            offset: self.offset,
            torn: flaw.may_be_torn()
                && !later_write_follows(self.bytes, self.offset, self.expected),
            flaw,
        }
    }
}

/// Whether a whole record of a write that began after `expected` follows `offset`: then what is at
/// `offset` was durable once.
pub(crate) fn later_write_follows(bytes: &[u8], offset: usize, expected: Lsn) -> bool {
    frame::later_write_follows(bytes, offset, expected, PAYLOAD_BYTES_MAX)
}

fn peek(bytes: &[u8]) -> Option<Frame<'_>> {
    Frame::peek(bytes, PAYLOAD_BYTES_MAX)
}

/// Reads anything as a segment and returns how many records it holds; for fuzzing. Checksums are
/// mended first, so that mutations reach the decoders behind them.
pub fn probe(bytes: &[u8]) -> usize {
    let mut mended = bytes.to_vec();
    let mut offset = HEADER_BYTES;
    let mut first = None;
    while let Some(frame) = mended.get(offset..).and_then(peek) {
        first.get_or_insert(frame.lsn);
        let end = offset + frame.len();
        let sum = checksum(&mended[offset..end]);
        mended[offset + 4..offset + 8].copy_from_slice(&sum.to_be_bytes());
        offset = end;
    }
    let mut count = 0;
    for bytes in [bytes, &mended] {
        let first = decode_header(0, bytes).ok().or(first).unwrap_or_default();
        let mut scanner = Scanner::new(bytes, first);
        while let Some(Ok(_)) = scanner.next_record() {
            count += 1;
        }
    }
    count
}

/// A segment file with at least one durable record, or the one that is written next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) first: Lsn,
    pub(crate) bytes: u64,
}
