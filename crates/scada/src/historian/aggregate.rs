//! Aggregates by bucket, of every sample that came in, before anything was thinned.

use gridloom_core::UtcTime;
use gridloom_core::bytes::Reader;

use super::block::{BlockError, checked, get_varint, put_varint};
use crate::fixed::divide_rounded;
use crate::point::PointId;

/// What one bucket of one point says. Numbers in millionths; states and steps as they are.
///
/// Samples that are bad are not in it, and the time for which the value was bad is not covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aggregate {
    /// When the bucket begins.
    pub start: UtcTime,
    /// How many samples.
    pub count: u64,
    /// The smallest sample; where there is none, the value that held.
    pub min: i64,
    /// The largest sample; where there is none, the value that held.
    pub max: i64,
    /// The sum of the samples.
    pub sum: i128,
    /// Milliseconds for which a value held.
    pub covered_ms: u64,
    /// The sum of each value times the milliseconds for which it held.
    pub weighted: i128,
}

impl Aggregate {
    /// An empty bucket.
    pub(super) const fn new(start: i64) -> Self {
        Self {
            start: UtcTime::from_millis(start),
            count: 0,
            min: i64::MAX,
            max: i64::MIN,
            sum: 0,
            covered_ms: 0,
            weighted: 0,
        }
    }

    pub(super) fn sample(&mut self, value: i64) {
        if self.count == 0 {
            (self.min, self.max) = (value, value);
        }
        self.count += 1;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.sum += i128::from(value);
    }

    pub(super) fn hold(&mut self, value: i64, millis: i64) {
        if self.count == 0 && self.covered_ms == 0 {
            (self.min, self.max) = (value, value);
        }
        self.covered_ms += millis.unsigned_abs();
        self.weighted += i128::from(value) * i128::from(millis);
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0 && self.covered_ms == 0
    }

    /// The mean of the samples, rounded to the nearest, halves away from zero.
    pub fn mean(&self) -> Option<i64> {
        let mean = divide_rounded(self.sum, i128::from(self.count))?;
        i64::try_from(mean).ok()
    }

    /// The mean over time, rounded to the nearest, halves away from zero.
    pub fn time_weighted_mean(&self) -> Option<i64> {
        let mean = divide_rounded(self.weighted, i128::from(self.covered_ms))?;
        i64::try_from(mean).ok()
    }

    /// Takes another bucket in. Nothing is lost: all parts add up.
    pub fn merge(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        // A value that only held is no sample: it counts where neither has one.
        if self.is_empty() || (self.count == 0 && other.count > 0) {
            (self.min, self.max) = (other.min, other.max);
        } else if other.count > 0 || self.count == 0 {
            self.min = self.min.min(other.min);
            self.max = self.max.max(other.max);
        }
        self.start = self.start.min(other.start);
        self.count += other.count;
        self.sum += other.sum;
        self.covered_ms += other.covered_ms;
        self.weighted += other.weighted;
    }
}

/// Rows of longer buckets from rows of shorter ones, in the order of time.
pub fn roll_up(rows: &[Aggregate], bucket_ms: i64) -> Vec<Aggregate> {
    assert!(bucket_ms > 0, "a bucket has a length");
    let mut rolled: Vec<Aggregate> = Vec::new();
    for row in rows {
        let start = row.start.as_millis();
        let start = UtcTime::from_millis(start - start.rem_euclid(bucket_ms));
        match rolled.last_mut() {
            Some(last) if last.start == start => last.merge(&Aggregate { start, ..*row }),
            _ => rolled.push(Aggregate { start, ..*row }),
        }
    }
    rolled
}

/// Rows of one point, collected for a block.
#[derive(Debug, Clone, Default)]
pub(super) struct Rows {
    bytes: Vec<u8>,
    pub(super) count: u32,
    pub(super) first: i64,
    pub(super) last: i64,
    min: i64,
}

const VERSION: u8 = 0x41;

impl Rows {
    pub(super) fn put(&mut self, row: &Aggregate, bucket: i64) {
        let start = row.start.as_millis();
        if self.count == 0 {
            (self.first, self.last) = (start, start);
        }
        let out = &mut self.bytes;
        put_varint(((start - self.last) / bucket).unsigned_abs().into(), out);
        put_varint(row.count.into(), out);
        put_varint(row.covered_ms.into(), out);
        put_varint(zigzag(i128::from(row.min) - i128::from(self.min)), out);
        put_varint(row.max.abs_diff(row.min).into(), out);
        // Near the smallest value times its weight: short where values are near each other.
        put_varint(
            zigzag(row.sum - i128::from(row.min) * i128::from(row.count)),
            out,
        );
        let least = i128::from(row.min) * i128::from(row.covered_ms);
        put_varint(zigzag(row.weighted - least), out);
        self.count += 1;
        (self.last, self.min) = (start, row.min);
    }

    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn seal(&mut self, point: PointId, bucket: i64) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend(point.0.to_be_bytes());
        put_varint(zigzag(bucket.into()), &mut out);
        put_varint(zigzag(self.first.into()), &mut out);
        put_varint(self.count.into(), &mut out);
        out.append(&mut self.bytes);
        out.extend(crc32fast::hash(&out).to_be_bytes());
        *self = Self::default();
        out
    }
}

/// Reads a block of aggregates.
///
/// # Errors
///
/// [`BlockError`] names the field.
pub fn decode_aggregates(bytes: &[u8]) -> Result<(PointId, Vec<Aggregate>), BlockError> {
    let field = |field, got| BlockError::Field { field, got };
    let mut reader = Reader::new(checked(bytes)?);
    match reader.u8()? {
        VERSION => {}
        other => return Err(field("version", other.into())),
    }
    let point = PointId(reader.u32()?);
    let short = |value: i128, name| i64::try_from(value).map_err(|_| field(name, -1));
    let bucket = short(unzigzag(get_varint(&mut reader)?), "bucket")?;
    let mut start = short(unzigzag(get_varint(&mut reader)?), "first")?;
    let count = get_varint(&mut reader)?;
    let mut rows = Vec::new();
    let mut min = 0_i64;
    for _ in 0..count {
        let long = |value: u128, name| u64::try_from(value).map_err(|_| field(name, -1));
        let gap = short(unzigzag(get_varint(&mut reader)? << 1), "gap")?;
        let next = gap
            .checked_mul(bucket)
            .and_then(|gap| start.checked_add(gap));
        start = next.ok_or_else(|| field("gap", gap))?;
        let count = long(get_varint(&mut reader)?, "count")?;
        let covered_ms = long(get_varint(&mut reader)?, "covered time")?;
        min = short(
            i128::from(min).saturating_add(unzigzag(get_varint(&mut reader)?)),
            "min",
        )?;
        let width = long(get_varint(&mut reader)?, "max")?;
        let max = min
            .checked_add_unsigned(width)
            .ok_or_else(|| field("max", min))?;
        let mut rest = |weight: u64, name| -> Result<i128, BlockError> {
            let least = i128::from(min) * i128::from(weight);
            let rest = unzigzag(get_varint(&mut reader)?);
            least.checked_add(rest).ok_or_else(|| field(name, -1))
        };
        let (sum, weighted) = (rest(count, "sum")?, rest(covered_ms, "weighted sum")?);
        rows.push(Aggregate {
            start: UtcTime::from_millis(start),
            count,
            min,
            max,
            sum,
            covered_ms,
            weighted,
        });
    }
    match reader.rest().len() {
        0 => Ok((point, rows)),
        more => Err(field("length", i64::try_from(more).unwrap_or(i64::MAX))),
    }
}

const fn zigzag(value: i128) -> u128 {
    ((value << 1) ^ (value >> 127)).cast_unsigned()
}

const fn unzigzag(value: u128) -> i128 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}
