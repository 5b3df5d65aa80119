//! A block: the kept values of one point over a time, compressed.
//!
//! A head (see [`BlockHead`]), then for each kept value: whether its time is a multiple of the tick
//! behind the one before, that multiple or the milliseconds; whether its quality is new, and which;
//! the difference to the value before, in quanta. Multiples and differences are Rice codes that
//! adapt. At the end a CRC-32 of everything before.

use gridloom_core::UtcTime;
use gridloom_core::bytes::{Reader, Truncated};

use super::bits::{BitReader, BitWriter, Rice, get_full, put_full, unzigzag, zigzag};
use super::class::Method;
use super::door::Rule;
use crate::point::{PointId, Quality};

/// Bytes of kept values after which a block is sealed.
pub const BLOCK_BYTES_MAX: usize = 4_096;
/// Samples after which a block is sealed.
pub const SAMPLES_MAX: u32 = 65_536;

const VERSION: u8 = 1;
/// Where codes start to adapt: ticks, quanta.
const TICKS_MEAN: u64 = 1;
const QUANTA_MEAN: u64 = 8;

/// What a block says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockHead {
    /// Of which point.
    pub point: PointId,
    /// How its values were thinned: whether lines join them or they hold.
    pub method: Method,
    /// The largest distance of a sample from what the block gives for its time, in millionths.
    pub error: i64,
    /// Kept values are multiples of it, in millionths.
    pub quantum: i64,
    /// The usual distance of samples, in milliseconds.
    pub tick_ms: i64,
    /// How many samples it stands for.
    pub samples: u32,
    /// How many values are kept.
    pub vertices: u32,
    /// The first and the last sample.
    pub first: UtcTime,
    /// The last sample.
    pub last: UtcTime,
}

/// One kept value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vertex {
    /// When.
    pub at: UtcTime,
    /// In millionths for numbers; steps and states as they are.
    pub raw: i64,
    /// Its quality, until the next.
    pub quality: Quality,
    /// Whether no line leads here from the value before: a new quality, a gap.
    pub is_start: bool,
}

/// Why a block does not decode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// It ends early.
    #[error("archive block: {0}; it is damaged, restore it from a backup")]
    Truncated(#[from] Truncated),
    /// Its checksum is wrong.
    #[error("archive block: checksum {got:08x} instead of {wanted:08x}: restore it from a backup")]
    Checksum {
        /// What was computed.
        got: u32,
        /// What stands there.
        wanted: u32,
    },
    /// A field says something impossible.
    #[error("archive block: {field} {got} cannot be; a newer gridloom wrote it, or it is damaged")]
    Field {
        /// Which field.
        field: &'static str,
        /// Its value.
        got: i64,
    },
}

/// Writes kept values as they come.
#[derive(Debug, Clone)]
pub(super) struct BlockWriter {
    bits: BitWriter,
    ticks: Rice,
    quanta: Rice,
    time: i64,
    value: i64,
    quality: Quality,
    pub(super) first: i64,
    pub(super) vertices: u32,
}

impl BlockWriter {
    pub(super) fn new() -> Self {
        Self {
            bits: BitWriter::default(),
            ticks: Rice::new(TICKS_MEAN),
            quanta: Rice::new(QUANTA_MEAN),
            time: 0,
            value: 0,
            quality: Quality::GOOD,
            first: 0,
            vertices: 0,
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.vertices == 0
    }

    pub(super) const fn len(&self) -> usize {
        self.bits.len()
    }

    /// Appends a kept value, later than the one before or at its time.
    pub(super) fn put(&mut self, time: i64, quanta: i64, quality: Quality, start: bool, tick: i64) {
        if self.vertices == 0 {
            (self.first, self.time) = (time, time);
        }
        let gap = time - self.time;
        if gap % tick == 0 {
            self.bits.put(1, 1);
            self.ticks.put((gap / tick).unsigned_abs(), &mut self.bits);
        } else {
            self.bits.put(0, 1);
            put_full(gap.unsigned_abs(), &mut self.bits);
        }
        if start || quality != self.quality {
            let [a, b] = quality.to_bytes();
            self.bits.put(1, 1);
            self.bits.put(u64::from(u16::from_be_bytes([a, b])), 16);
        } else {
            self.bits.put(0, 1);
        }
        // Differences wrap, and wrap back when they are read.
        self.quanta
            .put(zigzag(quanta.wrapping_sub(self.value)), &mut self.bits);
        (self.time, self.value, self.quality) = (time, quanta, quality);
        self.vertices += 1;
    }

    /// The whole block; the writer is as new.
    pub(super) fn seal(
        &mut self,
        point: PointId,
        rule: Rule,
        tick: i64,
        samples: u32,
        last: i64,
    ) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bits.len() + 64);
        let method = match rule.method {
            Method::Exact => 0,
            Method::Deadband => 1,
            Method::Lines => 2,
        };
        out.extend([VERSION, method]);
        out.extend(point.0.to_be_bytes());
        for number in [
            rule.error,
            rule.quantum,
            tick,
            self.first,
            last - self.first,
        ] {
            put_varint(zigzag(number).into(), &mut out);
        }
        for count in [samples, self.vertices] {
            put_varint(count.into(), &mut out);
        }
        self.bits.finish_into(&mut out);
        out.extend(crc32fast::hash(&out).to_be_bytes());
        *self = Self::new();
        out
    }
}

/// Reads a block.
///
/// # Errors
///
/// [`BlockError`] names the field.
pub fn decode_block(bytes: &[u8]) -> Result<(BlockHead, Vec<Vertex>), BlockError> {
    let body = checked(bytes)?;
    let field = |field, got| BlockError::Field { field, got };
    let mut reader = Reader::new(body);
    match reader.u8()? {
        VERSION => {}
        other => return Err(field("version", other.into())),
    }
    let method = match reader.u8()? {
        0 => Method::Exact,
        1 => Method::Deadband,
        2 => Method::Lines,
        other => return Err(field("method", other.into())),
    };
    let point = PointId(reader.u32()?);
    let mut number = |name| -> Result<i64, BlockError> {
        let value = get_varint(&mut reader)?;
        let value = u64::try_from(value).map_err(|_| field(name, 0))?;
        Ok(unzigzag(value))
    };
    let (error, quantum, tick) = (number("error")?, number("quantum")?, number("tick")?);
    let (first, span) = (number("first")?, number("span")?);
    if quantum < 1 || tick < 1 || span < 0 {
        return Err(field("quantum, tick or span", quantum.min(tick).min(span)));
    }
    let mut count = |name| -> Result<u32, BlockError> {
        let value = get_varint(&mut reader)?;
        u32::try_from(value).map_err(|_| field(name, -1))
    };
    let (samples, vertices) = (count("samples")?, count("vertices")?);
    // A kept value takes three bits or more.
    if vertices as usize > reader.rest().len() * 3 {
        return Err(field("vertices", vertices.into()));
    }
    let last = first.checked_add(span).ok_or_else(|| field("span", span))?;
    let head = BlockHead {
        point,
        method,
        error,
        quantum,
        tick_ms: tick,
        samples,
        vertices,
        first: UtcTime::from_millis(first),
        last: UtcTime::from_millis(last),
    };
    let list =
        vertices_of(&head, reader.rest()).ok_or_else(|| field("vertices", vertices.into()))?;
    Ok((head, list?))
}

/// The kept values; `None` if they end early.
fn vertices_of(head: &BlockHead, bytes: &[u8]) -> Option<Result<Vec<Vertex>, BlockError>> {
    let mut bits = BitReader::new(bytes);
    let (mut ticks, mut quanta) = (Rice::new(TICKS_MEAN), Rice::new(QUANTA_MEAN));
    let mut time = head.first.as_millis();
    let (mut value, mut quality) = (0_i64, Quality::GOOD);
    let mut list = Vec::with_capacity(head.vertices as usize);
    for _ in 0..head.vertices {
        let gap = if bits.get(1).ok()? == 1 {
            let count = i64::try_from(ticks.get(&mut bits).ok()?).ok();
            count.and_then(|count| count.checked_mul(head.tick_ms))
        } else {
            i64::try_from(get_full(&mut bits).ok()?).ok()
        };
        let Some(next) = gap.and_then(|gap| time.checked_add(gap)) else {
            return Some(Err(BlockError::Field {
                field: "time",
                got: time,
            }));
        };
        time = next;
        let is_start = bits.get(1).ok()? == 1;
        if is_start {
            let code = u16::try_from(bits.get(16).ok()?).ok()?;
            let Some(known) = Quality::from_bytes(code.to_be_bytes()) else {
                return Some(Err(BlockError::Field {
                    field: "quality",
                    got: code.into(),
                }));
            };
            quality = known;
        }
        value = value.wrapping_add(unzigzag(quanta.get(&mut bits).ok()?));
        list.push(Vertex {
            at: UtcTime::from_millis(time),
            raw: value.saturating_mul(head.quantum),
            quality,
            is_start: is_start || list.is_empty(),
        });
    }
    Some(Ok(list))
}

/// What stands before the checksum.
pub(super) fn checked(bytes: &[u8]) -> Result<&[u8], BlockError> {
    let Some((body, checksum)) = bytes.split_last_chunk::<4>() else {
        return Err(BlockError::Truncated(Truncated {
            offset: 0,
            wanted: 4,
            left: bytes.len(),
        }));
    };
    let (got, wanted) = (crc32fast::hash(body), u32::from_be_bytes(*checksum));
    if got == wanted {
        Ok(body)
    } else {
        Err(BlockError::Checksum { got, wanted })
    }
}

/// Seven bits to a byte, the low ones first.
pub(super) fn put_varint(mut value: u128, out: &mut Vec<u8>) {
    loop {
        let [low, ..] = (value & 0x7F).to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

pub(super) fn get_varint(reader: &mut Reader<'_>) -> Result<u128, BlockError> {
    let mut value = 0_u128;
    for shift in (0..126).step_by(7) {
        let byte = reader.u8()?;
        value |= u128::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(BlockError::Field {
        field: "number",
        got: -1,
    })
}
