//! COSEM date-time (IEC 62056-6-2, clause 4.1.6.1): twelve bytes in which every field may be
//! left open, so that converting to [`UtcTime`] can fail and says which field is to blame.

use std::cmp::Ordering;
use std::time::Duration;

use gridloom_core::{Day, UtcTime};

/// The first and last seconds of the years 1–9999, since 1970: a deviation may not leave them,
/// or the time could not be written again.
const SECONDS_MIN: i64 = -62_135_596_800;
const SECONDS_MAX: i64 = 253_402_300_799;

/// Why a COSEM date-time is no point in time, or a time has no COSEM form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DateTimeError {
    /// A field is left open; the time recurs or is incomplete.
    #[error("date-time: {field} is not specified; set the meter's clock")]
    Wildcard {
        /// Which field.
        field: &'static str,
    },
    /// A field outside its range.
    #[error("date-time: {field} is {value}, out of range; check the meter's clock")]
    OutOfRange {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: i32,
    },
    /// A date that the calendar does not have.
    #[error("date-time: there is no {year:04}-{month:02}-{day:02}; check the meter's clock")]
    NoSuchDate {
        /// Year.
        year: u16,
        /// Month.
        month: u8,
        /// Day of month.
        day: u8,
    },
    /// Not twelve bytes.
    #[error("date-time: {bytes} bytes, 12 wanted")]
    WrongLength {
        /// How many there are.
        bytes: usize,
    },
    /// A time outside the years 1–9999 or between two hundredths of a second.
    #[error("date-time: {millis} ms since 1970 cannot be written exactly")]
    NotRepresentable {
        /// The time.
        millis: i64,
    },
}

/// The last byte of a date-time: what the meter thinks of its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClockStatus(pub u8);

impl ClockStatus {
    /// Nothing to report.
    pub const GOOD: Self = Self(0);
    /// The time could not be kept, for example after the backup ran empty.
    pub const INVALID: Self = Self(0x01);
    /// The time was recovered and may be off.
    pub const DOUBTFUL: Self = Self(0x02);
    /// The clock runs from another base than usual.
    pub const DIFFERENT_BASE: Self = Self(0x04);
    /// The status byte itself is not to be believed.
    pub const INVALID_STATUS: Self = Self(0x08);
    /// Daylight saving is active: the deviation contains it.
    pub const DAYLIGHT_SAVING: Self = Self(0x80);
    /// Every bit set: the meter states nothing.
    pub const NOT_SPECIFIED: Self = Self(0xFF);

    /// Whether the meter says that the time may be wrong. "Not specified" does not say so.
    pub const fn is_suspect(self) -> bool {
        self.0 != Self::NOT_SPECIFIED.0
            && self.0 & (Self::INVALID.0 | Self::DOUBTFUL.0 | Self::INVALID_STATUS.0) != 0
    }
}

/// A date-time as it stands on the wire. Fields are not checked before [`Self::to_utc`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CosemDateTime {
    /// Year, or [`Self::YEAR_OPEN`].
    pub year: u16,
    /// Month 1–12; 0xFD and 0xFE mean the end and start of daylight saving.
    pub month: u8,
    /// Day 1–31; 0xFD and 0xFE mean the last but one and the last day of the month.
    pub day: u8,
    /// Day of week, Monday is 1. Redundant, so [`Self::to_utc`] does not look at it.
    pub weekday: u8,
    /// Hour 0–23.
    pub hour: u8,
    /// Minute 0–59.
    pub minute: u8,
    /// Second 0–59.
    pub second: u8,
    /// Hundredths of a second 0–99; open means zero.
    pub hundredths: u8,
    /// Minutes from local time to UTC: UTC = local time + deviation; Central Europe is −60.
    pub deviation: i16,
    /// What the meter thinks of its clock.
    pub status: ClockStatus,
}

impl CosemDateTime {
    /// Length on the wire in bytes.
    pub const LEN: usize = 12;
    /// A field of one byte that is left open.
    pub const OPEN: u8 = 0xFF;
    /// A year that is left open.
    pub const YEAR_OPEN: u16 = 0xFFFF;
    /// A deviation that is not specified (0x8000).
    pub const DEVIATION_OPEN: i16 = i16::MIN;
    /// The widest deviation in minutes, either way.
    pub const DEVIATION_MAX: i16 = 840;

    /// `time` with deviation 0 and a good clock status.
    ///
    /// # Errors
    ///
    /// [`DateTimeError::NotRepresentable`] outside the years 1–9999 and between hundredths.
    pub fn from_utc(time: UtcTime) -> Result<Self, DateTimeError> {
        let millis = time.as_millis();
        let unrepresentable = DateTimeError::NotRepresentable { millis };
        let centis_of_second = millis.rem_euclid(1_000);
        let (year, month, day) = time.day().ymd();
        let year = u16::try_from(year).map_err(|_| unrepresentable)?;
        if !(1..=9_999).contains(&year) || centis_of_second % 10 != 0 {
            return Err(unrepresentable);
        }
        let second = time.second_of_day();
        let byte = |value: u32| u8::try_from(value).expect("a field of a day's time fits a byte");
        Ok(Self {
            year,
            month,
            day,
            weekday: time.day().weekday() as u8 + 1,
            hour: byte(second / 3_600),
            minute: byte(second / 60 % 60),
            second: byte(second % 60),
            hundredths: u8::try_from(centis_of_second / 10).expect("99 hundredths fit a byte"),
            deviation: 0,
            status: ClockStatus::GOOD,
        })
    }

    /// The point in time.
    ///
    /// A deviation that is not specified is taken as UTC: our meters run on UTC, and a range
    /// read fails when the two sides disagree on it. Where the other side's meter has a time
    /// zone, use [`Self::to_utc_at`]. Open hundredths are taken as zero. The clock status is
    /// the caller's to judge.
    ///
    /// # Errors
    ///
    /// An open field, a field out of range, or a date that does not exist.
    pub fn to_utc(&self) -> Result<UtcTime, DateTimeError> {
        self.to_utc_at(0)
    }

    /// Which of two times is earlier, as points in time.
    ///
    /// A deviation that is not specified is `default_deviation`, on either side; one that is
    /// specified holds. So a range bound without a deviation compares with a captured time
    /// that has one. Day of week and clock status do not count: the derived order of the
    /// fields is not the order of time.
    ///
    /// # Errors
    ///
    /// As [`Self::to_utc`], of either time.
    ///
    /// # Panics
    ///
    /// As [`Self::to_utc_at`].
    pub fn cmp_at(&self, other: &Self, default_deviation: i16) -> Result<Ordering, DateTimeError> {
        let this = self.to_utc_at(default_deviation)?;
        Ok(this.cmp(&other.to_utc_at(default_deviation)?))
    }

    /// The point in time, as [`Self::to_utc`], but a deviation that is not specified is
    /// `default_deviation`, in minutes as in [`Self::deviation`].
    ///
    /// # Errors
    ///
    /// As [`Self::to_utc`].
    ///
    /// # Panics
    ///
    /// If `default_deviation` is wider than [`Self::DEVIATION_MAX`] either way.
    pub fn to_utc_at(&self, default_deviation: i16) -> Result<UtcTime, DateTimeError> {
        assert!(
            default_deviation.unsigned_abs() <= Self::DEVIATION_MAX.unsigned_abs(),
            "a default deviation of {default_deviation} minutes is out of range"
        );
        if self.year == Self::YEAR_OPEN {
            return Err(DateTimeError::Wildcard { field: "year" });
        }
        for (field, value) in [("month", self.month), ("day of month", self.day)] {
            if value >= 0xFD {
                return Err(DateTimeError::Wildcard { field });
            }
        }
        let limits = [
            ("hour", self.hour, 23),
            ("minute", self.minute, 59),
            ("second", self.second, 59),
        ];
        for (field, value, max) in limits {
            if value == Self::OPEN {
                return Err(DateTimeError::Wildcard { field });
            }
            if value > max {
                return Err(DateTimeError::OutOfRange {
                    field,
                    value: value.into(),
                });
            }
        }
        let hundredths = match self.hundredths {
            Self::OPEN => 0,
            value @ 0..=99 => value,
            value => {
                return Err(DateTimeError::OutOfRange {
                    field: "hundredths",
                    value: value.into(),
                });
            }
        };
        let deviation = match self.deviation {
            Self::DEVIATION_OPEN => default_deviation,
            value if value.unsigned_abs() <= Self::DEVIATION_MAX.unsigned_abs() => value,
            value => {
                return Err(DateTimeError::OutOfRange {
                    field: "deviation",
                    value: value.into(),
                });
            }
        };
        let day = Day::from_ymd(i32::from(self.year), self.month, self.day).ok_or(
            DateTimeError::NoSuchDate {
                year: self.year,
                month: self.month,
                day: self.day,
            },
        )?;
        let minutes = i64::from(self.hour) * 60 + i64::from(self.minute) + i64::from(deviation);
        let seconds = day.start().as_secs() + minutes * 60 + i64::from(self.second);
        if !(SECONDS_MIN..=SECONDS_MAX).contains(&seconds) {
            return Err(DateTimeError::OutOfRange {
                field: "year with deviation",
                value: self.year.into(),
            });
        }
        Ok(UtcTime::from_secs(seconds) + Duration::from_millis(u64::from(hundredths) * 10))
    }

    /// The twelve bytes.
    pub const fn to_bytes(self) -> [u8; Self::LEN] {
        let [y1, y0] = self.year.to_be_bytes();
        let [d1, d0] = self.deviation.to_be_bytes();
        [
            y1,
            y0,
            self.month,
            self.day,
            self.weekday,
            self.hour,
            self.minute,
            self.second,
            self.hundredths,
            d1,
            d0,
            self.status.0,
        ]
    }

    /// The fields of twelve bytes, unchecked.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let [
            y1,
            y0,
            month,
            day,
            weekday,
            hour,
            minute,
            second,
            hundredths,
            d1,
            d0,
            status,
        ] = bytes;
        Self {
            year: u16::from_be_bytes([y1, y0]),
            month,
            day,
            weekday,
            hour,
            minute,
            second,
            hundredths,
            deviation: i16::from_be_bytes([d1, d0]),
            status: ClockStatus(status),
        }
    }

    /// The fields of an octet string.
    ///
    /// # Errors
    ///
    /// [`DateTimeError::WrongLength`] unless there are twelve bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DateTimeError> {
        bytes
            .try_into()
            .map(Self::from_bytes)
            .map_err(|_| DateTimeError::WrongLength { bytes: bytes.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> CosemDateTime {
        CosemDateTime::decode(&crate::hex::bytes(text)).unwrap()
    }

    #[test]
    fn utc_survives_the_round_trip() {
        let cases = [
            ("2013-01-31T23:30:00Z", "07DD011F04171E0000000000"),
            ("2024-02-29T00:00:01Z", "07E8021D0400000100000000"),
            ("2026-11-22T12:00:00Z", "07EA0B16070C000000000000"),
        ];
        for (text, wire) in cases {
            let time = UtcTime::parse(text).unwrap();
            let cosem = CosemDateTime::from_utc(time).unwrap();
            assert_eq!(cosem, bytes(wire), "{text}");
            assert_eq!(cosem.to_utc(), Ok(time), "{text}");
            assert_eq!(CosemDateTime::from_bytes(cosem.to_bytes()), cosem);
        }
        let hundredth = UtcTime::from_millis(1_010);
        assert_eq!(
            CosemDateTime::from_utc(hundredth).unwrap().to_utc(),
            Ok(hundredth)
        );
        assert_eq!(
            CosemDateTime::from_utc(UtcTime::from_millis(1_011)),
            Err(DateTimeError::NotRepresentable { millis: 1_011 })
        );
        assert!(CosemDateTime::from_utc(UtcTime::from_millis(i64::MAX)).is_err());
        assert!(CosemDateTime::from_utc(UtcTime::from_millis(i64::MIN)).is_err());
    }

    #[test]
    fn deviations_and_open_fields() {
        let at = |text| Ok(UtcTime::parse(text).unwrap());
        let wildcard = |field| Err(DateTimeError::Wildcard { field });
        let range = |field, value| Err(DateTimeError::OutOfRange { field, value });
        let cases = [
            // Central European winter and summer time, and an open deviation.
            ("07DD011F040C000000FFC400", at("2013-01-31T11:00:00Z")),
            ("07DD071F030C000000FF8880", at("2013-07-31T10:00:00Z")),
            ("07DD011F040C0000FF8000FF", at("2013-01-31T12:00:00Z")),
            ("07DD010104003B3BFF000F00", at("2013-01-01T01:14:59Z")),
            ("FFFF011F040C0000008000FF", wildcard("year")),
            ("07DDFF1F040C0000008000FF", wildcard("month")),
            ("07DDFE1F040C0000008000FF", wildcard("month")),
            ("07DD01FE040C0000008000FF", wildcard("day of month")),
            ("07DD011F04FF0000008000FF", wildcard("hour")),
            ("07DD011F040CFF00008000FF", wildcard("minute")),
            ("07DD011F040C00FF008000FF", wildcard("second")),
            ("07DD011F04180000008000FF", range("hour", 24)),
            ("07DD011F040C3C00008000FF", range("minute", 60)),
            ("07DD011F040C003C008000FF", range("second", 60)),
            ("07DD011F040C0000648000FF", range("hundredths", 100)),
            ("07DD011F040C000000034900", range("deviation", 841)),
            (
                "270F0C1F05173B3B00000100",
                range("year with deviation", 9_999),
            ),
            ("000101010100000000FFFF00", range("year with deviation", 1)),
            (
                "07DD021E040C0000008000FF",
                Err(DateTimeError::NoSuchDate {
                    year: 2013,
                    month: 2,
                    day: 30,
                }),
            ),
        ];
        for (wire, expected) in cases {
            assert_eq!(bytes(wire).to_utc(), expected, "{wire}");
        }
        assert_eq!(
            CosemDateTime::decode(&[0; 11]),
            Err(DateTimeError::WrongLength { bytes: 11 })
        );
    }

    #[test]
    fn an_open_deviation_compares_as_the_default() {
        use Ordering::{Equal, Greater, Less};
        // Noon in local time: open, Central European, Indian; and 11:00 UTC.
        let open = "07DD011F040C0000008000FF";
        let europe = "07DD011F040C000000FFC400";
        let india = "07DD011F040C000000FEB600";
        let utc = "07DD011F040B000000000000";
        let cases = [
            (open, europe, 0, Greater),
            (open, europe, -60, Equal),
            (open, europe, -330, Less),
            (open, india, -330, Equal),
            (open, open, 0, Equal),
            (open, open, -60, Equal),
            (europe, utc, -330, Equal),
            (india, europe, 0, Less),
            // Another day of week and clock status is no other time.
            (utc, "07DD011FFF0B0000FF000001", 0, Equal),
        ];
        for (a, b, deviation, expected) in cases {
            let compared = bytes(a).cmp_at(&bytes(b), deviation);
            assert_eq!(compared, Ok(expected), "{a} {b} at {deviation}");
            let turned = bytes(b).cmp_at(&bytes(a), deviation);
            assert_eq!(turned, Ok(expected.reverse()), "{b} {a} at {deviation}");
        }
        let wild = bytes("FFFF011F040C0000008000FF");
        let error = Err(DateTimeError::Wildcard { field: "year" });
        assert_eq!(wild.cmp_at(&bytes(utc), 0), error);
        assert_eq!(bytes(utc).cmp_at(&wild, 0), error);
    }

    #[test]
    fn only_stated_doubts_count() {
        let cases = [
            (0, false),
            (0x80, false),
            (1, true),
            (2, true),
            (0xFF, false),
        ];
        for (status, suspect) in cases {
            assert_eq!(ClockStatus(status).is_suspect(), suspect, "{status:#x}");
        }
    }
}
