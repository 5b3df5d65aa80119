//! The frame around every record on disk, of the journal and of spools: length, checksum, number.

use gridloom_core::bytes::Reader;

use crate::record::Lsn;

/// Length, checksum, number, place in its write, kind.
pub(crate) const FRAME_BYTES: usize = 4 + 4 + 8 + 4 + 1;

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misframed {
    Short,
    Checksum,
    Length(u32),
}

/// A record's fields, before the payload is understood.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) lsn: Lsn,
    /// Records before this one in the same write.
    pub(crate) back: u32,
    pub(crate) kind: u8,
    sum: u32,
    pub(crate) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads a frame whose checksum holds, and whose payload has at most `payload_max` bytes.
    pub(crate) fn read(bytes: &'a [u8], payload_max: u32) -> Result<Self, Misframed> {
        let Some(frame) = Self::peek(bytes, payload_max) else {
            let length = bytes
                .first_chunk::<4>()
                .map_or(0, |b| u32::from_be_bytes(*b));
            return Err(if length > payload_max {
                Misframed::Length(length)
            } else {
                Misframed::Short
            });
        };
        if checksum(&bytes[..frame.len()]) != frame.sum {
            return Err(Misframed::Checksum);
        }
        Ok(frame)
    }

    /// Reads a frame without its checksum; `None` if it is too short or too long.
    pub(crate) fn peek(bytes: &'a [u8], payload_max: u32) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let length = reader.u32().ok().filter(|&l| l <= payload_max)?;
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

    /// Bytes of the whole record.
    pub(crate) const fn len(&self) -> usize {
        FRAME_BYTES + self.payload.len()
    }
}

/// Appends a record that follows `back` others in its write. `write` appends its payload, which is
/// bounded.
pub(crate) fn encode(
    (lsn, back, kind): (Lsn, u32, u8),
    payload_max: u32,
    into: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>),
) {
    let start = into.len();
    into.extend([0; 8]);
    into.extend(lsn.0.to_be_bytes());
    into.extend(back.to_be_bytes());
    into.push(kind);
    write(into);
    let length = u32::try_from(into.len() - start - FRAME_BYTES)
        .expect("a record's payload has a few fields");
    assert!(length <= payload_max, "a record's payload is bounded");
    into[start..start + 4].copy_from_slice(&length.to_be_bytes());
    let sum = checksum(&into[start..]);
    into[start + 4..start + 8].copy_from_slice(&sum.to_be_bytes());
}

/// The checksum of a record: everything but the checksum's own field.
pub(crate) fn checksum(record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&record[..4]);
    hasher.update(&record[8..]);
    hasher.finalize()
}

/// Whether a whole record of a write that began after `expected` follows `offset`: then what is at
/// `offset` was durable once.
pub(crate) fn later_write_follows(
    bytes: &[u8],
    offset: usize,
    expected: Lsn,
    payload_max: u32,
) -> bool {
    next_whole(bytes, offset, payload_max, |frame, ahead_max| {
        let write_first = frame.lsn.0.saturating_sub(u64::from(frame.back));
        write_first > expected.0 && frame.lsn.0 - expected.0 <= ahead_max
    })
    .is_some()
}

/// Where the next whole record behind `offset` starts that is `plausible`. That is asked first,
/// because a checksum costs more; it gets how many records fit between at most.
pub(crate) fn next_whole(
    bytes: &[u8],
    offset: usize,
    payload_max: u32,
    plausible: impl Fn(&Frame<'_>, u64) -> bool,
) -> Option<usize> {
    let rest = bytes.get(offset..).unwrap_or_default();
    // No record is shorter than its frame, so no number is further ahead than this.
    let ahead_max = (rest.len() / FRAME_BYTES) as u64;
    let skip = (1..rest.len()).find(|skip| {
        let candidate = &rest[*skip..];
        Frame::peek(candidate, payload_max).is_some_and(|frame| {
            plausible(&frame, ahead_max) && Frame::read(candidate, payload_max).is_ok()
        })
    })?;
    Some(offset + skip)
}
