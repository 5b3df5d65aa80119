//! The fields of an envelope: numbers in big-endian, lists with their lengths, and the types that
//! several kinds share.

use std::sync::Arc;

use gridloom_core::bytes::Reader;
use gridloom_core::{
    IntervalReading, IntervalValues, MeterId, MilliwattHours, Month, Period, Price, ReadingStatus,
    SystemTitle, UtcTime, Watts,
};
use gridloom_dlms::push::{BillingStatus, ClosedMonth};
use gridloom_dlms::wrapper::{self, WPort};
use gridloom_edge::AcceptedReading;
use gridloom_headend::ReadingKey;
use gridloom_store::PricePoint;

use super::{EnvelopeError, LIST_MAX};

pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.0.extend(value.to_be_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.0.extend(value.to_be_bytes());
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.0.extend(value.to_be_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend(value.to_be_bytes());
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.0.extend(value.to_be_bytes());
    }

    pub(super) fn time(&mut self, time: UtcTime) {
        self.i64(time.as_millis());
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.u32(u32::try_from(bytes.len()).expect("an envelope is far below 4 GiB"));
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn list<T>(&mut self, items: &[T], write: impl Fn(&mut Self, &T)) {
        assert!(items.len() <= LIST_MAX, "a list is split before it is sent");
        self.u16(u16::try_from(items.len()).expect("LIST_MAX fits u16"));
        for item in items {
            write(self, item);
        }
    }

    pub(super) fn elements(mut self, elements: &[Arc<[u8]>]) -> Vec<u8> {
        assert!(
            elements.len() <= LIST_MAX,
            "a list is split before it is sent"
        );
        self.u16(u16::try_from(elements.len()).expect("LIST_MAX fits u16"));
        for element in elements {
            self.0.extend_from_slice(element);
        }
        self.0
    }

    pub(super) fn key(&mut self, key: &ReadingKey) {
        self.u32(key.meter.0);
        self.u32(key.period.as_secs());
        self.time(key.end);
    }

    pub(super) fn reading(&mut self, accepted: &AcceptedReading) {
        let reading = &accepted.reading;
        self.0.extend(accepted.title.0);
        self.u32(accepted.counter);
        self.key(&ReadingKey {
            meter: reading.meter,
            period: reading.period,
            end: reading.end,
        });
        self.u8(reading.status.0);
        for channel in reading.values.to_array() {
            self.i64(channel);
        }
        self.i64(reading.import_register.get());
        self.i64(accepted.power.get());
        let billing = &accepted.billing;
        self.i32(billing.running_minor);
        self.u16(billing.unpriced);
        match billing.oldest_unpriced {
            Some(end) => {
                self.u8(1);
                self.time(end);
            }
            None => self.u8(0),
        }
        match billing.closed {
            Some(ClosedMonth { month, minor }) => {
                self.u8(1);
                self.u16(u16::try_from(month.year()).expect("a year is at most 9999"));
                self.u8(month.number());
                self.i32(minor);
            }
            None => self.u8(0),
        }
    }

    pub(super) fn price(&mut self, point: &PricePoint) {
        self.time(point.end);
        self.u32(point.period.as_secs());
        self.i64(point.price.micro_per_kwh());
        self.i64(point.total.get());
        self.u16(point.stations_on);
        self.u32(point.missing);
    }
}

pub(super) struct Source<'a>(pub(super) Reader<'a>);

impl Source<'_> {
    /// The number of an entry of a spool; they begin with 1 and leave room for what follows.
    pub(super) fn number(&mut self) -> Result<u64, EnvelopeError> {
        let number = self.0.u64()?;
        match number > 0 && number <= u64::MAX / 2 {
            true => Ok(number),
            false => Err(EnvelopeError::Field { field: "number" }),
        }
    }

    pub(super) fn time(&mut self) -> Result<UtcTime, EnvelopeError> {
        Ok(UtcTime::from_millis(self.0.i64()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32, EnvelopeError> {
        Ok(i32::from_be_bytes(self.0.array()?))
    }

    pub(super) fn optional<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, EnvelopeError>,
    ) -> Result<Option<T>, EnvelopeError> {
        match self.0.u8()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(EnvelopeError::Field { field }),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, EnvelopeError> {
        let length = self.0.u32()?;
        let length =
            usize::try_from(length).map_err(|_| EnvelopeError::Field { field: "length" })?;
        Ok(self.0.take(length)?.to_vec())
    }

    pub(super) fn text(&mut self, field: &'static str) -> Result<String, EnvelopeError> {
        String::from_utf8(self.bytes()?).map_err(|_| EnvelopeError::Field { field })
    }

    pub(super) fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, EnvelopeError>,
    ) -> Result<Vec<T>, EnvelopeError> {
        let count = usize::from(self.0.u16()?);
        if count > LIST_MAX {
            return Err(EnvelopeError::Field {
                field: "list length",
            });
        }
        // Grown as elements really come: a short frame cannot claim a long list's memory.
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(items)
    }

    /// An APDU that can travel in one wrapper frame.
    pub(super) fn tunnelled(&mut self) -> Result<(MeterId, WPort, Vec<u8>), EnvelopeError> {
        let (meter, client) = (MeterId(self.0.u32()?), WPort(self.0.u16()?));
        let apdu = self.bytes()?;
        if apdu.is_empty() || apdu.len() > usize::from(wrapper::APDU_MAX) {
            return Err(EnvelopeError::Field { field: "apdu" });
        }
        Ok((meter, client, apdu))
    }

    pub(super) fn period(&mut self) -> Result<Period, EnvelopeError> {
        Period::from_secs(self.0.u32()?).ok_or(EnvelopeError::Field { field: "period" })
    }

    pub(super) fn key(&mut self) -> Result<ReadingKey, EnvelopeError> {
        Ok(ReadingKey {
            meter: MeterId(self.0.u32()?),
            period: self.period()?,
            end: self.time()?,
        })
    }

    pub(super) fn reading(&mut self) -> Result<AcceptedReading, EnvelopeError> {
        let title = SystemTitle(self.0.array()?);
        let counter = self.0.u32()?;
        let key = self.key()?;
        let status = ReadingStatus(self.0.u8()?);
        let mut channels = [0; IntervalValues::CHANNELS];
        for channel in &mut channels {
            *channel = self.0.i64()?;
        }
        let import_register = MilliwattHours::new(self.0.i64()?);
        let power = Watts::new(self.0.i64()?);
        let running_minor = self.i32()?;
        let unpriced = self.0.u16()?;
        let oldest_unpriced = self.optional("oldest unpriced", Self::time)?;
        let closed = self.optional("closed", |from| {
            let (year, number) = (from.0.u16()?, from.0.u8()?);
            let month = Month::new(i32::from(year), number).ok_or(EnvelopeError::Field {
                field: "closed month",
            })?;
            Ok(ClosedMonth {
                month,
                minor: from.i32()?,
            })
        })?;
        Ok(AcceptedReading {
            title,
            counter,
            reading: IntervalReading {
                meter: key.meter,
                period: key.period,
                end: key.end,
                status,
                values: IntervalValues::from_array(channels),
                import_register,
            },
            power,
            billing: BillingStatus {
                running_minor,
                unpriced,
                oldest_unpriced,
                closed,
            },
        })
    }

    pub(super) fn price(&mut self) -> Result<PricePoint, EnvelopeError> {
        Ok(PricePoint {
            end: self.time()?,
            period: self.period()?,
            price: Price::from_micro_per_kwh(self.0.i64()?)
                .ok_or(EnvelopeError::Field { field: "price" })?,
            total: Watts::new(self.0.i64()?),
            stations_on: self.0.u16()?,
            missing: self.0.u32()?,
        })
    }
}
