//! What is kept: the journal's records, bills, and where an interval has its place.

use core::fmt;

use gridloom_core::bytes::{Reader, Truncated};
use gridloom_core::{
    Charge, Currency, Day, IntervalReading, IntervalValues, MeterId, MilliwattHours, Money, Month,
    Period, Price, ReadingStatus, SystemTitle, UtcTime, Watts,
};

/// A record's place in the journal, counted from 1 without holes; 0 is before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Before the first record.
    pub const ZERO: Self = Self(0);

    /// The place after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One entry of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// A verified reading.
    Reading(StoredReading),
    /// A price that was decided.
    Price(PricePoint),
}

/// A reading and the frame that brought it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredReading {
    /// The interval. Its identity is `(meter, period, end)`.
    pub reading: IntervalReading,
    /// Who signed the frame.
    pub title: SystemTitle,
    /// The frame's invocation counter.
    pub counter: u32,
}

/// The price of one interval, decided once. Its identity is `(period, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PricePoint {
    /// The end of the interval that it prices.
    pub end: UtcTime,
    /// The capture period of that interval.
    pub period: Period,
    /// The price.
    pub price: Price,
    /// Total mean power that it was decided on.
    pub total: Watts,
    /// Generating stations that were running.
    pub stations_on: u16,
    /// Meters whose reading was missing when it was decided.
    pub missing: u32,
}

/// A bill. Its identity is `(meter, month, version)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BillRow {
    /// Whose consumption.
    pub meter: MeterId,
    /// Of which month.
    pub month: Month,
    /// 0 for the first bill of the month; a correction has the next number.
    pub version: u32,
    /// In which currency.
    pub currency: Currency,
    /// The amount, in minor units of the currency.
    pub amount_minor: i64,
    /// The billed energy.
    pub energy: MilliwattHours,
    /// Intervals that were billed.
    pub intervals: u32,
    /// Intervals of the month that were missing.
    pub gaps: u32,
    /// The exact sum that was rounded to the amount.
    pub charge: Charge,
    /// When it was issued.
    pub issued_at: UtcTime,
}

impl BillRow {
    /// The amount to pay.
    pub const fn amount(&self) -> Money {
        Money::from_minor(self.amount_minor, self.currency)
    }
}

/// The slot of an interval in its day, from 0, and the day; `None` if `end` is not on the
/// period's grid or outside the years 1 to 9999.
///
/// Wider than [`Period::slot_of`]: a day has up to 86 400 slots.
pub fn place_of(period: Period, end: UtcTime) -> Option<(Day, u32)> {
    if !(END_MIN..=END_MAX).contains(&end) {
        return None;
    }
    let day = period.day_of(end);
    let offset_millis = end.as_millis() - day.start().as_millis();
    let length_millis = i64::from(period.as_secs()) * 1_000;
    (offset_millis % length_millis == 0)
        .then(|| u32::try_from(offset_millis / length_millis - 1).ok())
        .flatten()
        .map(|slot| (day, slot))
}

/// The end of the interval at `slot` of `day`.
pub(crate) fn end_of(period: Period, day: Day, slot: u32) -> UtcTime {
    day.start() + period.duration() * (slot + 1)
}

/// The start of the year 1.
const END_MIN: UtcTime = UtcTime::from_secs(-62_135_596_800);
/// The end of the year 9999.
const END_MAX: UtcTime = UtcTime::from_secs(253_402_300_800);

/// Why a record's payload is not a record. Its checksum held, so this version of gridloom did not
/// write it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// The payload ends early.
    #[error("journal payload: {0}")]
    Truncated(#[from] Truncated),
    /// The payload goes on after its last field.
    #[error("journal payload: {0} bytes follow the last field")]
    Trailing(usize),
    /// A kind that this version does not know.
    #[error("journal payload: kind {0} is unknown; a newer version wrote it")]
    UnknownKind(u8),
    /// A period that does not divide the hour.
    #[error("journal payload: a period of {0} s does not divide the hour")]
    Period(u32),
    /// A price beyond the accepted bounds.
    #[error("journal payload: a price of {0} millionths per kWh is out of bounds")]
    Price(i64),
    /// An end that is not on the grid of its period.
    #[error("journal payload: {end_millis} ms is no interval end of a {period_secs} s period")]
    OffGrid {
        /// The period.
        period_secs: u32,
        /// The end, in milliseconds since 1970.
        end_millis: i64,
    },
}

const KIND_READING: u8 = 1;
const KIND_PRICE: u8 = 2;

impl Record {
    /// The journal's number for prices.
    pub(crate) const PRICE_KIND: u8 = KIND_PRICE;

    /// The capture period of the interval it is about.
    pub const fn period(&self) -> Period {
        match self {
            Self::Reading(stored) => stored.reading.period,
            Self::Price(point) => point.period,
        }
    }

    /// The end of the interval it is about.
    pub const fn end(&self) -> UtcTime {
        match self {
            Self::Reading(stored) => stored.reading.end,
            Self::Price(point) => point.end,
        }
    }

    /// The journal's number for this kind of record.
    pub(crate) const fn kind(&self) -> u8 {
        match self {
            Self::Reading(_) => KIND_READING,
            Self::Price(_) => KIND_PRICE,
        }
    }

    /// Appends the payload.
    pub(crate) fn encode(&self, into: &mut Vec<u8>) {
        match self {
            Self::Reading(stored) => stored.encode(into),
            Self::Price(point) => {
                into.extend(point.end.as_millis().to_be_bytes());
                into.extend(point.period.as_secs().to_be_bytes());
                into.extend(point.price.micro_per_kwh().to_be_bytes());
                into.extend(point.total.get().to_be_bytes());
                into.extend(point.stations_on.to_be_bytes());
                into.extend(point.missing.to_be_bytes());
            }
        }
    }

    /// Reads a payload back.
    pub(crate) fn decode(kind: u8, payload: &[u8]) -> Result<Self, PayloadError> {
        match kind {
            KIND_READING => StoredReading::decode(payload).map(Self::Reading),
            KIND_PRICE => decode_price(payload).map(Self::Price),
            unknown => Err(PayloadError::UnknownKind(unknown)),
        }
    }
}

impl StoredReading {
    /// Appends the payload; also what the table of conflicts keeps as evidence.
    pub(crate) fn encode(&self, into: &mut Vec<u8>) {
        let reading = &self.reading;
        into.extend(reading.meter.0.to_be_bytes());
        into.extend(reading.period.as_secs().to_be_bytes());
        into.extend(reading.end.as_millis().to_be_bytes());
        into.push(reading.status.0);
        for channel in reading.values.to_array() {
            into.extend(channel.to_be_bytes());
        }
        into.extend(reading.import_register.get().to_be_bytes());
        into.extend(self.title.0);
        into.extend(self.counter.to_be_bytes());
    }

    /// Reads a payload back.
    pub(crate) fn decode(payload: &[u8]) -> Result<Self, PayloadError> {
        let mut reader = Reader::new(payload);
        let meter = MeterId(reader.u32()?);
        let period = decode_period(&mut reader)?;
        let end = UtcTime::from_millis(reader.i64()?);
        let status = ReadingStatus(reader.u8()?);
        let mut channels = [0; IntervalValues::CHANNELS];
        for channel in &mut channels {
            *channel = reader.i64()?;
        }
        let import_register = MilliwattHours::new(reader.i64()?);
        let title = SystemTitle(reader.array()?);
        let counter = reader.u32()?;
        finish(&reader, period, end)?;
        Ok(Self {
            reading: IntervalReading {
                meter,
                period,
                end,
                status,
                values: IntervalValues::from_array(channels),
                import_register,
            },
            title,
            counter,
        })
    }
}

fn decode_price(payload: &[u8]) -> Result<PricePoint, PayloadError> {
    let mut reader = Reader::new(payload);
    let end = UtcTime::from_millis(reader.i64()?);
    let period = decode_period(&mut reader)?;
    let micro = reader.i64()?;
    // Not from_micro_per_kwh first: it takes the absolute value, which i64::MIN does not have.
    let price = (micro != i64::MIN)
        .then(|| Price::from_micro_per_kwh(micro))
        .flatten()
        .ok_or(PayloadError::Price(micro))?;
    let total = Watts::new(reader.i64()?);
    let stations_on = reader.u16()?;
    let missing = reader.u32()?;
    finish(&reader, period, end)?;
    Ok(PricePoint {
        end,
        period,
        price,
        total,
        stations_on,
        missing,
    })
}

fn decode_period(reader: &mut Reader<'_>) -> Result<Period, PayloadError> {
    let seconds = reader.u32()?;
    Period::from_secs(seconds).ok_or(PayloadError::Period(seconds))
}

fn finish(reader: &Reader<'_>, period: Period, end: UtcTime) -> Result<(), PayloadError> {
    if !reader.is_empty() {
        return Err(PayloadError::Trailing(reader.rest().len()));
    }
    if place_of(period, end).is_none() {
        return Err(PayloadError::OffGrid {
            period_secs: period.as_secs(),
            end_millis: end.as_millis(),
        });
    }
    Ok(())
}
