//! A spool's segment: a header, then records in the journal's frames.
//!
//! The header is magic, version, lane, number of the first record, the number up to which all was
//! acknowledged when the segment was begun, and the CRC-32 of all that.

use std::sync::Arc;

use gridloom_core::bytes::Reader;
use gridloom_core::{MeterId, SystemTitle, UtcTime};

use super::entry::{About, Lane, Whose};
use crate::frame::{self, Frame};
use crate::record::Lsn;

/// Bytes of an entry; a longer one is refused.
pub const ENTRY_BYTES_MAX: usize = 66 * 1024;

/// Bytes of a segment's header.
pub(super) const HEADER_BYTES: usize = 4 + 2 + 1 + 8 + 8 + 4;

const MAGIC: [u8; 4] = *b"GLSP";
const VERSION: u16 = 1;
/// Of which kind its owner is, the owner in eight bytes, the time.
const ABOUT_BYTES: usize = 1 + 8 + 8;
const UNKNOWN: u8 = 0;
const METER: u8 = 1;
const TITLE: u8 = 2;
#[expect(clippy::cast_possible_truncation, reason = "far below 4 GiB")]
const PAYLOAD_BYTES_MAX: u32 = (ABOUT_BYTES + ENTRY_BYTES_MAX) as u32;
const ENTRY: u8 = 1;
const MARK: u8 = 2;

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) number: u64,
    /// How many entries its spool had taken, itself included; nothing of that is written.
    pub(super) order: u64,
    pub(super) content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    Entry {
        about: About,
        bytes: Arc<[u8]>,
    },
    /// Every record up to this number was acknowledged.
    Mark(u64),
}

/// Bytes that an entry of so many takes on disk.
pub(super) const fn record_bytes(entry: usize) -> u64 {
    (frame::FRAME_BYTES + ABOUT_BYTES + entry) as u64
}

impl Item {
    pub(super) fn disk_bytes(&self) -> u64 {
        match &self.content {
            Content::Entry { bytes, .. } => record_bytes(bytes.len()),
            Content::Mark(_) => (frame::FRAME_BYTES + 8) as u64,
        }
    }

    pub(super) fn encode(&self, back: u32, into: &mut Vec<u8>) {
        let kind = match &self.content {
            Content::Entry { .. } => ENTRY,
            Content::Mark(_) => MARK,
        };
        let head = (Lsn(self.number), back, kind);
        frame::encode(head, PAYLOAD_BYTES_MAX, into, |into| match &self.content {
            Content::Entry { about, bytes } => {
                let (kind, owner) = match about.whose {
                    Whose::Unknown => (UNKNOWN, [0; 8]),
                    Whose::Meter(meter) => (METER, u64::from(meter.0).to_be_bytes()),
                    Whose::Title(title) => (TITLE, title.0),
                };
                into.push(kind);
                into.extend(owner);
                into.extend(about.time.as_millis().to_be_bytes());
                into.extend_from_slice(bytes);
            }
            Content::Mark(acknowledged) => into.extend(acknowledged.to_be_bytes()),
        });
    }

    fn decode(frame: &Frame<'_>) -> Option<Self> {
        let mut from = Reader::new(frame.payload);
        let content = match frame.kind {
            ENTRY => {
                let kind = from.u8().ok()?;
                let owner: [u8; 8] = from.array().ok()?;
                let whose = match kind {
                    UNKNOWN => Whose::Unknown,
                    METER => Whose::Meter(MeterId(u32::try_from(u64::from_be_bytes(owner)).ok()?)),
                    TITLE => Whose::Title(SystemTitle(owner)),
                    _ => return None,
                };
                let time = UtcTime::from_millis(from.i64().ok()?);
                Content::Entry {
                    about: About { whose, time },
                    bytes: from.rest().into(),
                }
            }
            MARK => Content::Mark(from.u64().ok()?),
            _ => return None,
        };
        Some(Self {
            number: frame.lsn.0,
            order: 0,
            content,
        })
    }
}

pub(super) fn encode_header(lane: Lane, first: u64, acknowledged: u64) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend(MAGIC);
    header.extend(VERSION.to_be_bytes());
    header.push(lane.number());
    header.extend(first.to_be_bytes());
    header.extend(acknowledged.to_be_bytes());
    header.extend(crc32fast::hash(&header).to_be_bytes());
    header
}

/// What was acknowledged when the segment was begun; `None` if this is not its header.
fn decode_header(lane: Lane, first: u64, bytes: &[u8]) -> Option<u64> {
    let header = bytes.get(..HEADER_BYTES)?;
    let acknowledged = u64::from_be_bytes(*header.get(15..)?.first_chunk()?);
    (header == encode_header(lane, first, acknowledged)).then_some(acknowledged)
}

/// What a segment holds.
#[derive(Debug)]
pub(super) struct Scan {
    /// Records that are whole, in order; between two of them numbers may be missing.
    pub(super) items: Vec<Item>,
    /// The highest number up to which all was acknowledged, as far as is told here.
    pub(super) acknowledged: u64,
    /// Places where something else stands than what was written.
    pub(super) flaws: u64,
    /// Where an unfinished last write begins.
    pub(super) torn: Option<usize>,
}

/// What the end of a segment may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// A crash may have cut its last write short.
    MayBeTorn,
    /// Everything in it was durable once.
    Durable,
}

/// Reads the segment that begins with number `first`. Damage costs only the records that it hit.
pub(super) fn scan(lane: Lane, first: u64, bytes: &[u8], ending: Ending) -> Scan {
    let mut scan = Scan {
        items: Vec::new(),
        acknowledged: 0,
        flaws: 0,
        torn: None,
    };
    let (mut offset, mut expected) = (HEADER_BYTES, first);
    match decode_header(lane, first, bytes) {
        Some(acknowledged) => scan.acknowledged = acknowledged,
        None if may_be_torn(bytes, 0, expected, ending) => {
            scan.torn = Some(0);
            return scan;
        }
        None => scan.flaws += 1,
    }
    while offset < bytes.len() {
        let frame = Frame::read(&bytes[offset..], PAYLOAD_BYTES_MAX).ok();
        let whole = frame.filter(|frame| frame.lsn.0 >= expected);
        if let Some((frame, item)) = whole.and_then(|frame| Some((frame, Item::decode(&frame)?))) {
            offset += frame.len();
            expected = item.number + 1;
            if let Content::Mark(acknowledged) = item.content {
                scan.acknowledged = scan.acknowledged.max(acknowledged);
            }
            scan.items.push(item);
            continue;
        }
        if may_be_torn(bytes, offset, expected, ending) {
            scan.torn = Some(offset);
            return scan;
        }
        scan.flaws += 1;
        let plausible = |frame: &Frame<'_>, ahead_max| {
            frame.lsn.0 >= expected && frame.lsn.0 - expected <= ahead_max
        };
        match frame::next_whole(bytes, offset, PAYLOAD_BYTES_MAX, plausible) {
            Some(next) => offset = next,
            None => break,
        }
    }
    scan
}

fn may_be_torn(bytes: &[u8], offset: usize, expected: u64, ending: Ending) -> bool {
    ending == Ending::MayBeTorn
        && !frame::later_write_follows(bytes, offset, Lsn(expected), PAYLOAD_BYTES_MAX)
}
