//! The meter-day block: one day of one meter, compressed, exact for every value.
//!
//! A block is a version byte, a mask of the columns that are not all zero (and whether every slot
//! is present), the presence bitmap if one is not, the columns as one bit stream, and a CRC-32 over
//! the block's key and all that. The key itself is not stored: the row has it, and a block in the
//! wrong row fails its checksum.
//!
//! A column is divided by the greatest common divisor of its values, predicted from what was read
//! before it (see `column`), and its residuals are Rice-coded with a parameter that follows their
//! size. General compressors lose to this: a day is too short for their tables.

mod bits;
mod column;

use gridloom_core::bytes::{Reader, Truncated};
use gridloom_core::{
    Day, IntervalReading, IntervalValues, MeterId, MilliwattHours, Period, ReadingStatus,
};

use crate::record::{end_of, place_of};
use bits::{BitReader, BitWriter};
use column::Table;

/// The channels, the import register and the status.
const COLUMNS: usize = IntervalValues::CHANNELS + 2;
const REGISTER: usize = IntervalValues::CHANNELS;
const STATUS: usize = IntervalValues::CHANNELS + 1;

const VERSION: u8 = 1;
/// In the mask: every slot of the day is present, so there is no bitmap.
const WHOLE_DAY: u16 = 0x8000;

/// Which meter-day a block is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockKey {
    /// The meter.
    pub meter: MeterId,
    /// The capture period.
    pub period: Period,
    /// The day.
    pub day: Day,
}

/// Why bytes are not the block of a meter-day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// The block ends early.
    #[error("{0}")]
    Truncated(#[from] Truncated),
    /// Another format.
    #[error("format version {0}, this gridloom knows {VERSION}")]
    Version(u8),
    /// The checksum does not fit.
    #[error("the checksum does not fit this meter, period and day")]
    Checksum,
    /// A field has a value that no encoder writes.
    #[error("{field} is {got}")]
    Field {
        /// Which field.
        field: &'static str,
        /// Its value.
        got: u64,
    },
    /// The bit stream ends within a column.
    #[error("column {column} ends early")]
    ShortColumn {
        /// Its index: the eight channels, the register, the status.
        column: usize,
    },
    /// A value of a column is out of its range.
    #[error("column {column} leaves its range")]
    Range {
        /// Its index: the eight channels, the register, the status.
        column: usize,
    },
    /// Bytes follow the last column.
    #[error("{0} bytes follow the last column")]
    Trailing(usize),
}

/// Encodes the readings of one meter-day.
///
/// # Panics
///
/// If there is no reading, one is not of this meter-day, or their ends do not increase.
pub fn encode(key: BlockKey, readings: &[IntervalReading]) -> Vec<u8> {
    assert!(!readings.is_empty(), "a block holds a reading");
    let slots: Vec<u32> = readings
        .iter()
        .map(|reading| slot_in(key, reading))
        .collect();
    assert!(
        slots.windows(2).all(|pair| pair[0] < pair[1]),
        "readings of a block are in the order of their ends"
    );
    let table = Table::new(readings);
    let whole = slots.len() == key.period.per_day() as usize;
    let mask = (0..COLUMNS).fold(if whole { WHOLE_DAY } else { 0 }, |mask, column| {
        mask | u16::from(!table.is_zero(column)) << column
    });
    let mut block = vec![VERSION];
    block.extend(mask.to_be_bytes());
    if !whole {
        let mut bitmap = vec![0_u8; bitmap_bytes(key.period)];
        for slot in slots {
            bitmap[slot as usize / 8] |= 0x80 >> (slot % 8);
        }
        block.extend(bitmap);
    }
    let mut bits = BitWriter::default();
    for column in 0..COLUMNS {
        if mask & 1 << column != 0 {
            table.encode(column, &mut bits);
        }
    }
    block.extend(bits.finish());
    block.extend(checksum(key, &block).to_be_bytes());
    block
}

/// Decodes a block.
///
/// # Errors
///
/// If the bytes are not an encoding for `key`. Work and memory are bounded by the slots of a day.
pub fn decode(key: BlockKey, bytes: &[u8]) -> Result<Vec<IntervalReading>, BlockError> {
    let Some((block, sum)) = bytes.split_last_chunk::<4>() else {
        return Err(BlockError::Checksum);
    };
    if checksum(key, block) != u32::from_be_bytes(*sum) {
        return Err(BlockError::Checksum);
    }
    decode_checked(key, block)
}

/// Reads anything as a block and returns how many readings it holds; for fuzzing. The first twelve
/// bytes are the key, and no checksum is asked for, so that mutations reach the decoder behind it.
pub fn probe(bytes: &[u8]) -> usize {
    let mut reader = Reader::new(bytes);
    let (Ok(meter), Ok(seconds), Ok(day)) = (reader.u32(), reader.u32(), reader.u32()) else {
        return 0;
    };
    let Some(period) = Period::from_secs(seconds) else {
        return 0;
    };
    let key = BlockKey {
        meter: MeterId(meter),
        period,
        day: Day::from_epoch_days(i32::from_be_bytes(day.to_be_bytes()) / 1_000),
    };
    decode_checked(key, reader.rest()).map_or(0, |readings| readings.len())
}

fn decode_checked(key: BlockKey, block: &[u8]) -> Result<Vec<IntervalReading>, BlockError> {
    let mut reader = Reader::new(block);
    let version = reader.u8()?;
    if version != VERSION {
        return Err(BlockError::Version(version));
    }
    let mask = reader.u16()?;
    if mask & !WHOLE_DAY >= 1 << COLUMNS {
        return Err(BlockError::Field {
            field: "mask",
            got: u64::from(mask),
        });
    }
    let slots = if mask & WHOLE_DAY == 0 {
        slots_of(key.period, reader.take(bitmap_bytes(key.period))?)?
    } else {
        (0..key.period.per_day()).collect()
    };
    let mut table = Table::zeroed(slots.len());
    let mut bits = BitReader::new(reader.rest());
    for column in 0..COLUMNS {
        if mask & 1 << column != 0 {
            table.decode(column, &mut bits)?;
        }
    }
    match bits.left_over() {
        0 => {}
        bytes => return Err(BlockError::Trailing(bytes)),
    }
    slots
        .into_iter()
        .enumerate()
        .map(|(row, slot)| {
            let mut channels = [0; IntervalValues::CHANNELS];
            for (column, channel) in channels.iter_mut().enumerate() {
                *channel = table.value(column, row);
            }
            let status = u8::try_from(table.value(STATUS, row))
                .map_err(|_| BlockError::Range { column: STATUS })?;
            Ok(IntervalReading {
                meter: key.meter,
                period: key.period,
                end: end_of(key.period, key.day, slot),
                status: ReadingStatus(status),
                values: IntervalValues::from_array(channels),
                import_register: MilliwattHours::new(table.value(REGISTER, row)),
            })
        })
        .collect()
}

fn slot_in(key: BlockKey, reading: &IntervalReading) -> u32 {
    let place = place_of(reading.period, reading.end);
    let (day, slot) = place.expect("an interval's end was checked when it was appended");
    assert!(
        reading.meter == key.meter && reading.period == key.period && day == key.day,
        "{reading:?} belongs into another block than {key:?}"
    );
    slot
}

const fn bitmap_bytes(period: Period) -> usize {
    (period.per_day() as usize).div_ceil(8)
}

fn slots_of(period: Period, bitmap: &[u8]) -> Result<Vec<u32>, BlockError> {
    let slots: Vec<u32> = (0..)
        .zip(bitmap)
        .flat_map(|(byte, bits)| (0..8).map(move |bit| (8 * byte + bit, bits & 0x80 >> bit)))
        .filter(|(_, bit)| *bit != 0)
        .map(|(slot, _)| slot)
        .collect();
    match slots.last() {
        Some(&last) if last < period.per_day() => Ok(slots),
        last => Err(BlockError::Field {
            field: "last slot of the bitmap",
            got: last.map_or(u64::MAX, |&last| u64::from(last)),
        }),
    }
}

fn checksum(key: BlockKey, block: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&key.meter.0.to_be_bytes());
    hasher.update(&key.period.as_secs().to_be_bytes());
    hasher.update(&key.day.epoch_days().to_be_bytes());
    hasher.update(block);
    hasher.finalize()
}
