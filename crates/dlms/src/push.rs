//! The payload of a gridloom meter's push: one interval with the meter's own running bill.
//!
//! A structure of fifteen values, each in the unit of its COSEM object, so that nothing rounds:
//! what is not a whole number of that unit is an error of ours, never cut off.

use gridloom_core::{
    IntervalReading, IntervalValues, MeterId, MillivarHours, MillivoltAmpereHours, Millivolts,
    MilliwattHours, Month, ObisCode, Period, ReadingStatus, UtcTime, Watts,
};

use crate::apdu::{DataNotification, LongInvokeId};
use crate::axdr::{AxdrError, Decoder, Encoder};
use crate::datetime::{CosemDateTime, DateTimeError};

/// The push setup object that the payload names first.
pub const PUSH_SETUP: ObisCode = ObisCode([0, 0, 25, 9, 0, 255]);

const MEMBERS: usize = 15;
const BILLING_MEMBERS: usize = 5;

/// One captured interval, as a meter pushes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntervalPush {
    /// The capture period.
    pub period: Period,
    /// The interval's end by the meter's clock, on the grid of its period.
    pub end: UtcTime,
    /// The meter's flags on the interval. Reading adds [`ReadingStatus::CLOCK_INVALID`] when the
    /// date-time's own clock status raises doubt.
    pub status: ReadingStatus,
    /// What was measured: energies in whole Wh, varh and VAh (0–2³² − 1), voltage in whole
    /// tenths of a volt (0–6 553.5 V).
    pub values: IntervalValues,
    /// The active import register (1-0:1.8.0) at the end, whole Wh, 0–2³² − 1.
    pub import_register: MilliwattHours,
    /// Active power at the end; negative is export. Fits 32 bits.
    pub power: Watts,
    /// The meter's own bill.
    pub billing: BillingStatus,
}

/// What the meter's own bill stands at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BillingStatus {
    /// The bill of the current month so far, in the currency's minor units.
    pub running_minor: i32,
    /// Intervals for which no price has come yet.
    pub unpriced: u16,
    /// The end of the oldest of them; the utility sends prices from here.
    pub oldest_unpriced: Option<UtcTime>,
    /// The last month whose every interval is priced.
    pub closed: Option<ClosedMonth>,
}

/// A month that the meter has billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClosedMonth {
    /// Which, of the years 1–5 460.
    pub month: Month,
    /// Its bill, rounded once, in the currency's minor units.
    pub minor: i32,
}

/// Why a payload is no [`IntervalPush`], or one cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The payload has another shape.
    #[error("push: {0}")]
    Axdr(#[from] AxdrError),
    /// A date-time is no point in time.
    #[error("push: {field}: {source}")]
    Time {
        /// Which field.
        field: &'static str,
        /// Why.
        source: DateTimeError,
    },
    /// The payload belongs to another push setup object.
    #[error("push: object {0} is not {PUSH_SETUP}; give the meter gridloom's push object list")]
    Object(ObisCode),
    /// The capture period does not divide an hour.
    #[error("push: capture period {seconds} s does not divide an hour; set 900, 1800 or 3600")]
    Period {
        /// The period sent.
        seconds: u32,
    },
    /// The interval does not end on the grid of its period.
    #[error("push: {end} is not the end of a {seconds} s interval; set the meter's clock")]
    OffGrid {
        /// The end sent.
        end: UtcTime,
        /// The period.
        seconds: u32,
    },
    /// A value that its COSEM type cannot hold.
    #[error("push: {field} is {value}, outside its register's range")]
    OutOfRange {
        /// Which field.
        field: &'static str,
        /// The value in the unit of our type.
        value: i64,
    },
    /// A value that would have to be rounded.
    #[error("push: {field} is {value}, not a multiple of {unit}; capture whole register units")]
    Fraction {
        /// Which field.
        field: &'static str,
        /// The value in the unit of our type.
        value: i64,
        /// The register's unit in the unit of our type.
        unit: i64,
    },
    /// Unpriced intervals without the oldest one, or the reverse.
    #[error("push: {unpriced} intervals unpriced, but the oldest of them is {oldest:?}")]
    Unpriced {
        /// How many.
        unpriced: u16,
        /// The oldest.
        oldest: Option<UtcTime>,
    },
    /// A closed month that is no month.
    #[error("push: closed month {code} is none; 0 or year * 12 + month - 1 wanted")]
    Month {
        /// The code sent.
        code: u16,
    },
}

impl IntervalPush {
    /// The long-invoke-id under which the interval is pushed and confirmed.
    pub fn invoke_id(&self) -> LongInvokeId {
        LongInvokeId::of_interval(self.period, self.end)
    }

    /// The reading, once the edge knows whose it is.
    pub const fn reading(&self, meter: MeterId) -> IntervalReading {
        IntervalReading {
            meter,
            period: self.period,
            end: self.end,
            status: self.status,
            values: self.values,
            import_register: self.import_register,
        }
    }

    /// Appends the whole `DataNotification` to `out`.
    ///
    /// # Errors
    ///
    /// As [`Self::encode`]; `out` is then as before.
    pub fn encode_notification(&self, out: &mut Vec<u8>) -> Result<(), PushError> {
        let start = out.len();
        DataNotification {
            invoke_id: self.invoke_id(),
            time: None,
            body: &[],
        }
        .encode(out);
        self.encode(out).inspect_err(|_| out.truncate(start))
    }

    /// Appends the payload to `out`.
    ///
    /// # Errors
    ///
    /// A value that does not fit its register exactly, or an end that is not on the grid;
    /// `out` is then as before.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), PushError> {
        let start = out.len();
        self.try_encode(out).inspect_err(|_| out.truncate(start))
    }

    fn try_encode(&self, out: &mut Vec<u8>) -> Result<(), PushError> {
        self.check_grid()?;
        let mut encoder = Encoder::new(out);
        encoder.structure(MEMBERS);
        encoder.octet_string(&PUSH_SETUP.0);
        encoder.octet_string(&date_time("end", self.end)?);
        encoder.unsigned(self.status.0);
        encoder.double_long_unsigned(self.period.as_secs());
        let values = &self.values;
        let [q1, q2, q3, q4] = values.reactive.map(MillivarHours::get);
        let energies = [
            ("import", values.import.get()),
            ("export", values.export.get()),
            ("reactive energy QI", q1),
            ("reactive energy QII", q2),
            ("reactive energy QIII", q3),
            ("reactive energy QIV", q4),
            ("apparent energy", values.apparent.get()),
        ];
        for (field, milli) in energies {
            encoder.double_long_unsigned(register(field, milli, 1_000)?);
        }
        encoder.long_unsigned(register("voltage", values.voltage.get(), 100)?);
        encoder.double_long_unsigned(register(
            "import register",
            self.import_register.get(),
            1_000,
        )?);
        encoder.double_long(register("power", self.power.get(), 1)?);
        self.billing.encode(&mut encoder)
    }

    /// Reads the payload of a notification.
    ///
    /// # Errors
    ///
    /// Another shape or object, an impossible time or month, an end that is not on the grid.
    pub fn decode(body: &[u8]) -> Result<Self, PushError> {
        let mut decoder = Decoder::new(body);
        decoder.structure(MEMBERS)?;
        let object = ObisCode(decoder.octet_array()?);
        if object != PUSH_SETUP {
            return Err(PushError::Object(object));
        }
        let clock = CosemDateTime::from_bytes(decoder.octet_array()?);
        let end = clock.to_utc().map_err(|source| PushError::Time {
            field: "end",
            source,
        })?;
        let mut status = ReadingStatus(decoder.unsigned()?);
        if clock.status.is_suspect() {
            status = status.with(ReadingStatus::CLOCK_INVALID);
        }
        let seconds = decoder.double_long_unsigned()?;
        let period = Period::from_secs(seconds).ok_or(PushError::Period { seconds })?;
        let mut energy = || {
            decoder
                .double_long_unsigned()
                .map(|whole| i64::from(whole) * 1_000)
        };
        let values = IntervalValues {
            import: MilliwattHours::new(energy()?),
            export: MilliwattHours::new(energy()?),
            reactive: [
                MillivarHours::new(energy()?),
                MillivarHours::new(energy()?),
                MillivarHours::new(energy()?),
                MillivarHours::new(energy()?),
            ],
            apparent: MillivoltAmpereHours::new(energy()?),
            voltage: Millivolts::new(i64::from(decoder.long_unsigned()?) * 100),
        };
        let import_register =
            MilliwattHours::new(i64::from(decoder.double_long_unsigned()?) * 1_000);
        let power = Watts::new(decoder.double_long()?.into());
        let billing = BillingStatus::decode(&mut decoder)?;
        decoder.finish()?;
        let push = Self {
            period,
            end,
            status,
            values,
            import_register,
            power,
            billing,
        };
        push.check_grid()?;
        Ok(push)
    }

    fn check_grid(&self) -> Result<(), PushError> {
        if self.period.end_of_interval_at(self.end) == self.end {
            Ok(())
        } else {
            Err(PushError::OffGrid {
                end: self.end,
                seconds: self.period.as_secs(),
            })
        }
    }
}

impl BillingStatus {
    fn encode(&self, encoder: &mut Encoder<'_>) -> Result<(), PushError> {
        self.check_unpriced()?;
        encoder.structure(BILLING_MEMBERS);
        encoder.double_long(self.running_minor);
        encoder.long_unsigned(self.unpriced);
        match self.oldest_unpriced {
            None => encoder.octet_string(&[]),
            Some(end) => encoder.octet_string(&date_time("oldest unpriced end", end)?),
        }
        let (code, minor) = match self.closed {
            None => (0, 0),
            Some(closed) => (month_code(closed.month)?, closed.minor),
        };
        encoder.long_unsigned(code);
        encoder.double_long(minor);
        Ok(())
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, PushError> {
        decoder.structure(BILLING_MEMBERS)?;
        let running_minor = decoder.double_long()?;
        let unpriced = decoder.long_unsigned()?;
        let oldest_unpriced = match decoder.octet_string()? {
            [] => None,
            bytes => {
                let time = CosemDateTime::decode(bytes).and_then(|time| time.to_utc());
                Some(time.map_err(|source| PushError::Time {
                    field: "oldest unpriced end",
                    source,
                })?)
            }
        };
        let code = decoder.long_unsigned()?;
        let minor = decoder.double_long()?;
        let closed = match code {
            0 => None,
            code => Some(ClosedMonth {
                month: month_of_code(code).ok_or(PushError::Month { code })?,
                minor,
            }),
        };
        let status = Self {
            running_minor,
            unpriced,
            oldest_unpriced,
            closed,
        };
        status.check_unpriced()?;
        Ok(status)
    }

    fn check_unpriced(&self) -> Result<(), PushError> {
        if (self.unpriced == 0) == self.oldest_unpriced.is_none() {
            Ok(())
        } else {
            Err(PushError::Unpriced {
                unpriced: self.unpriced,
                oldest: self.oldest_unpriced,
            })
        }
    }
}

fn date_time(field: &'static str, time: UtcTime) -> Result<[u8; CosemDateTime::LEN], PushError> {
    CosemDateTime::from_utc(time)
        .map(CosemDateTime::to_bytes)
        .map_err(|source| PushError::Time { field, source })
}

/// The content of a register whose unit is `unit` of ours.
fn register<T: TryFrom<i64>>(field: &'static str, value: i64, unit: i64) -> Result<T, PushError> {
    if value % unit != 0 {
        return Err(PushError::Fraction { field, value, unit });
    }
    T::try_from(value / unit).map_err(|_| PushError::OutOfRange { field, value })
}

fn month_code(month: Month) -> Result<u16, PushError> {
    let code = i64::from(month.year()) * 12 + i64::from(month.number()) - 1;
    u16::try_from(code).map_err(|_| PushError::OutOfRange {
        field: "closed month",
        value: code,
    })
}

fn month_of_code(code: u16) -> Option<Month> {
    let number = u8::try_from(code % 12 + 1).expect("a month is at most 12");
    Month::new(i32::from(code / 12), number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datetime::ClockStatus;

    fn push() -> IntervalPush {
        IntervalPush {
            period: Period::HALF_HOUR,
            end: UtcTime::parse("2013-01-31T23:30:00Z").unwrap(),
            status: ReadingStatus::POWER_DOWN,
            values: IntervalValues {
                import: MilliwattHours::new(333_000),
                export: MilliwattHours::new(1_000),
                reactive: [1, 2, 3, 4].map(|varh| MillivarHours::new(varh * 1_000)),
                apparent: MillivoltAmpereHours::new(350_000),
                voltage: Millivolts::new(230_100),
            },
            import_register: MilliwattHours::new(i64::from(u32::MAX) * 1_000),
            power: Watts::new(-666),
            billing: BillingStatus {
                running_minor: 1_234,
                unpriced: 2,
                oldest_unpriced: Some(UtcTime::parse("2013-01-31T23:00:00Z").unwrap()),
                closed: Some(ClosedMonth {
                    month: Month::new(2012, 12).unwrap(),
                    minor: -5,
                }),
            },
        }
    }

    fn encoded(push: &IntervalPush) -> Vec<u8> {
        let mut out = Vec::new();
        push.encode(&mut out).unwrap();
        out
    }

    #[test]
    fn the_payload_is_fixed_for_all_time() {
        let golden = "020F 0906000019090 0FF 090C07DD011F04171E0000000000 1180 0600000708 \
                      060000014D 0600000001 0600000001 0600000002 0600000003 0600000004 \
                      060000015E 1208FD 06FFFFFFFF 05FFFFFD66 \
                      0205 05000004D2 120002 090C07DD011F0417000000000000 125E5B 05FFFFFFFB";
        assert_eq!(encoded(&push()), crate::hex::bytes(golden));
        assert_eq!(IntervalPush::decode(&encoded(&push())), Ok(push()));
    }

    #[test]
    fn a_notification_carries_the_interval_number() {
        let mut out = Vec::new();
        push().encode_notification(&mut out).unwrap();
        let notification = DataNotification::decode(&out).unwrap();
        // 1 359 675 000 s / 1 800 s.
        assert_eq!(notification.invoke_id, LongInvokeId(0x4000_0000 | 755_375));
        assert_eq!(IntervalPush::decode(notification.body), Ok(push()));
        let reading = push().reading(MeterId(7));
        assert_eq!((reading.meter, reading.end), (MeterId(7), push().end));
    }

    #[test]
    fn nothing_priced_and_nothing_closed_is_empty() {
        let fresh = IntervalPush {
            billing: BillingStatus::default(),
            ..push()
        };
        assert_eq!(IntervalPush::decode(&encoded(&fresh)), Ok(fresh));
    }

    #[test]
    fn what_a_register_cannot_hold_is_named() {
        let range = |field, value| PushError::OutOfRange { field, value };
        let fraction = |field, value, unit| PushError::Fraction { field, value, unit };
        type Change = fn(&mut IntervalPush);
        let cases: [(Change, PushError); 9] = [
            (
                |push| push.values.import = MilliwattHours::new(1),
                fraction("import", 1, 1_000),
            ),
            (
                |push| push.values.export = MilliwattHours::new(-1_000),
                range("export", -1_000),
            ),
            (
                |push| push.values.reactive[3] = MillivarHours::new(4_294_967_296_000),
                range("reactive energy QIV", 4_294_967_296_000),
            ),
            (
                |push| push.values.voltage = Millivolts::new(230_150),
                fraction("voltage", 230_150, 100),
            ),
            (
                |push| push.values.voltage = Millivolts::new(6_553_600),
                range("voltage", 6_553_600),
            ),
            (
                |push| push.power = Watts::new(1 << 31),
                range("power", 1 << 31),
            ),
            (
                |push| push.end = UtcTime::from_secs(1_001),
                PushError::OffGrid {
                    end: UtcTime::from_secs(1_001),
                    seconds: 1_800,
                },
            ),
            (
                |push| push.billing.oldest_unpriced = None,
                PushError::Unpriced {
                    unpriced: 2,
                    oldest: None,
                },
            ),
            (
                |push| {
                    push.billing.closed = Some(ClosedMonth {
                        month: Month::new(9_999, 1).unwrap(),
                        minor: 0,
                    });
                },
                range("closed month", 119_988),
            ),
        ];
        for (change, expected) in cases {
            let mut push = push();
            change(&mut push);
            let mut out = vec![0xAA];
            assert_eq!(push.encode_notification(&mut out), Err(expected));
            assert_eq!(out, [0xAA], "nothing half written: {expected}");
        }
    }

    #[test]
    fn another_payload_is_refused_by_name() {
        let good = encoded(&push());
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            IntervalPush::decode(&bytes)
        };
        assert_eq!(
            with(7, 8),
            Err(PushError::Object(ObisCode([0, 0, 25, 8, 0, 255]))),
            "another push setup object"
        );
        assert_eq!(with(30, 9), Err(PushError::Period { seconds: 1_801 }));
        assert!(matches!(
            with(18, 0xFF),
            Err(PushError::Time { field: "end", .. })
        ));
        assert!(matches!(with(18, 29), Err(PushError::OffGrid { .. })));
        assert!(matches!(with(1, 14), Err(PushError::Axdr(_))), "members");
        assert!(IntervalPush::decode(&good[..good.len() - 1]).is_err());
        let mut longer = good.clone();
        longer.push(0);
        assert!(IntervalPush::decode(&longer).is_err());
        let doubtful = with(23, ClockStatus::DOUBTFUL.0).unwrap();
        assert!(doubtful.status.contains(ReadingStatus::CLOCK_INVALID));
    }
}
