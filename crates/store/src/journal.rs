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

use crate::record::{Lsn, PayloadError, Record};

/// Bytes of a segment's header.
pub const HEADER_BYTES: usize = 26;

/// Bytes of a record's payload; a longer one is damage.
pub const PAYLOAD_BYTES_MAX: u32 = 1_024;

const MAGIC: [u8; 4] = *b"GLJN";
const VERSION: u16 = 1;
/// Length, checksum, LSN, place in its write, kind.
const FRAME_BYTES: usize = 4 + 4 + 8 + 4 + 1;

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
    let start = into.len();
    into.extend([0; 8]);
    into.extend(lsn.0.to_be_bytes());
    into.extend(back.to_be_bytes());
    into.push(record.kind());
    record.encode(into);
    let length = u32::try_from(into.len() - start - FRAME_BYTES)
        .expect("a record's payload has a few fields");
    assert!(length <= PAYLOAD_BYTES_MAX, "a record's payload is bounded");
    into[start..start + 4].copy_from_slice(&length.to_be_bytes());
    let sum = checksum(&into[start..]);
    into[start + 4..start + 8].copy_from_slice(&sum.to_be_bytes());
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
        let read = Frame::read(rest).and_then(|frame| {
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
                self.offset += FRAME_BYTES + frame.payload.len();
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
    let rest = bytes.get(offset..).unwrap_or_default();
    // No record is shorter than its frame, so no LSN is further ahead than this.
    let ahead_max = (rest.len() / FRAME_BYTES) as u64;
    (1..rest.len()).any(|skip| {
        let candidate = &rest[skip..];
        // The cheap test first: the checksum is only computed where the numbers are plausible.
        Frame::peek(candidate).is_some_and(|frame| {
            let write_first = frame.lsn.0.saturating_sub(u64::from(frame.back));
            write_first > expected.0
                && frame.lsn.0 - expected.0 <= ahead_max
                && Frame::read(candidate).is_ok()
        })
    })
}

/// A record's fields, before the payload is understood.
#[derive(Debug, Clone, Copy)]
struct Frame<'a> {
    lsn: Lsn,
    back: u32,
    kind: u8,
    sum: u32,
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads a frame whose checksum holds.
    fn read(bytes: &'a [u8]) -> Result<Self, Flaw> {
        let Some(frame) = Self::peek(bytes) else {
            let length = bytes
                .first_chunk::<4>()
                .map_or(0, |b| u32::from_be_bytes(*b));
            return Err(if length > PAYLOAD_BYTES_MAX {
                Flaw::Length(length)
            } else {
                Flaw::Short
            });
        };
        if checksum(&bytes[..FRAME_BYTES + frame.payload.len()]) != frame.sum {
            return Err(Flaw::Checksum);
        }
        Ok(frame)
    }

    /// Reads a frame without its checksum; `None` if it is too short or too long.
    fn peek(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let length = reader.u32().ok().filter(|&l| l <= PAYLOAD_BYTES_MAX)?;
        let sum = reader.u32().ok()?;
        let lsn = Lsn(reader.u64().ok()?);
        let back = reader.u32().ok()?;
        let kind = reader.u8().ok()?;
        let payload = reader.take(usize::try_from(length).ok()?).ok()?;
        Some(Self {
            lsn,
            back,
            kind,
            sum,
            payload,
        })
    }
}

/// The checksum of a record: everything but the checksum's own field.
fn checksum(record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&record[..4]);
    hasher.update(&record[8..]);
    hasher.finalize()
}

/// Reads anything as a segment and returns how many records it holds; for fuzzing. Checksums are
/// mended first, so that mutations reach the decoders behind them.
pub fn probe(bytes: &[u8]) -> usize {
    let mut mended = bytes.to_vec();
    let mut offset = HEADER_BYTES;
    let mut first = None;
    while let Some(frame) = mended.get(offset..).and_then(Frame::peek) {
        first.get_or_insert(frame.lsn);
        let end = offset + FRAME_BYTES + frame.payload.len();
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
