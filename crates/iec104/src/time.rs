//! CP56Time2a, the seven-octet time tag (IEC 60870-5-4, 6.8; IEC 60870-5-101, 7.2.6.18).

use gridloom_core::{Day, UtcTime};

use std::time::Duration;

const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;

/// A binary time of seven octets, kept as it stood on the wire.
///
/// The standard wants all stations of a system on one time; here it is UTC. A peer that sends
/// summer time sets SU, and is then one hour ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cp56Time2a {
    /// Milliseconds of the minute, 0–59 999; 0–65 535 on the wire.
    pub milliseconds: u16,
    /// Minutes, 0–59; 0–63 on the wire.
    pub minutes: u8,
    /// IV: the station's clock was not trustworthy.
    pub invalid: bool,
    /// Hours, 0–23; 0–31 on the wire.
    pub hours: u8,
    /// SU: the hours are summer time.
    pub summer: bool,
    /// Day of the month, 1–31.
    pub day: u8,
    /// Day of the week, 1 (Monday) to 7, or 0 where it is not used.
    pub weekday: u8,
    /// Month, 1–12; 0–15 on the wire.
    pub month: u8,
    /// Year of the century 2000, 0–99; 0–127 on the wire.
    pub year: u8,
}

impl Cp56Time2a {
    /// Octets of the tag.
    pub const OCTETS: usize = 7;

    /// The tag of `time`, valid, with its day of the week. Years outside 2000–2099 set IV, since the
    /// tag cannot say them.
    pub fn from_utc(time: UtcTime) -> Self {
        let millis = time.as_millis();
        let (year, month, day) = time.day().ymd();
        let part = |value: i64| u8::try_from(value).expect("a part of a day fits an octet");
        let weekday = time.day().epoch_days() + 3;
        Self {
            milliseconds: u16::try_from(millis.rem_euclid(MINUTE_MS)).expect("below 60 000"),
            minutes: part(millis.div_euclid(MINUTE_MS).rem_euclid(60)),
            invalid: !(2000..2100).contains(&year),
            hours: part(millis.div_euclid(HOUR_MS).rem_euclid(24)),
            summer: false,
            day,
            weekday: part(i64::from(weekday.rem_euclid(7)) + 1),
            month,
            year: part(i64::from(year.rem_euclid(100))),
        }
    }

    /// The moment in UTC; `None` where no such date or time exists. IV is left to the caller.
    pub fn to_utc(self) -> Option<UtcTime> {
        if self.milliseconds > 59_999 || self.minutes > 59 || self.hours > 23 || self.year > 99 {
            return None;
        }
        let day = Day::from_ymd(2000 + i32::from(self.year), self.month, self.day)?;
        let standard = day.start()
            + Duration::from_millis(
                u64::from(self.hours) * 3_600_000
                    + u64::from(self.minutes) * 60_000
                    + u64::from(self.milliseconds),
            );
        Some(if self.summer {
            standard - Duration::from_secs(3_600)
        } else {
            standard
        })
    }

    /// The seven octets; what does not fit its bits is cut off.
    pub fn encode(self) -> [u8; Self::OCTETS] {
        let [low, high] = self.milliseconds.to_le_bytes();
        [
            low,
            high,
            self.minutes & 0x3F | u8::from(self.invalid) << 7,
            self.hours & 0x1F | u8::from(self.summer) << 7,
            self.day & 0x1F | self.weekday << 5,
            self.month & 0x0F,
            self.year & 0x7F,
        ]
    }

    /// Reads seven octets; reserved bits are ignored.
    pub fn decode(octets: [u8; Self::OCTETS]) -> Self {
        let [low, high, minutes, hours, day, month, year] = octets;
        Self {
            milliseconds: u16::from_le_bytes([low, high]),
            minutes: minutes & 0x3F,
            invalid: minutes & 0x80 != 0,
            hours: hours & 0x1F,
            summer: hours & 0x80 != 0,
            day: day & 0x1F,
            weekday: day >> 5,
            month: month & 0x0F,
            year: year & 0x7F,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_by_hand() {
        // Saturday 2026-11-21 21:15:42.123 UTC; 42 123 ms = A48Bh.
        let time = UtcTime::parse("2026-11-21T21:15:42Z").unwrap() + Duration::from_millis(123);
        let octets = [0x8B, 0xA4, 0x0F, 0x15, 0xD5, 0x0B, 0x1A];
        let tag = Cp56Time2a::from_utc(time);
        assert_eq!(tag.encode(), octets);
        assert_eq!(Cp56Time2a::decode(octets), tag);
        assert_eq!(tag.to_utc(), Some(time));
        assert_eq!((tag.weekday, tag.day), (6, 21));
    }

    #[test]
    fn summer_time_is_an_hour_ahead_and_iv_is_kept() {
        let octets = [0, 0, 0x80 | 30, 0x80 | 14, 1, 7, 26];
        let tag = Cp56Time2a::decode(octets);
        assert!(tag.invalid && tag.summer);
        assert_eq!(tag.to_utc(), UtcTime::parse("2026-07-01T13:30:00Z"));
        assert_eq!(tag.encode(), octets);
    }

    #[test]
    fn times_that_do_not_exist() {
        let good = Cp56Time2a::from_utc(UtcTime::parse("2024-02-29T00:00:00Z").unwrap());
        assert!(good.to_utc().is_some());
        for bad in [
            Cp56Time2a { year: 23, ..good },
            Cp56Time2a { year: 100, ..good },
            Cp56Time2a { month: 0, ..good },
            Cp56Time2a { month: 13, ..good },
            Cp56Time2a { day: 0, ..good },
            Cp56Time2a { hours: 24, ..good },
            Cp56Time2a {
                minutes: 60,
                ..good
            },
            Cp56Time2a {
                milliseconds: 60_000,
                ..good
            },
        ] {
            assert_eq!(bad.to_utc(), None, "{bad:?}");
        }
        for (text, invalid) in [
            ("1999-12-31T23:59:59Z", true),
            ("2000-01-01T00:00:00Z", false),
            ("2099-12-31T23:59:59Z", false),
            ("2100-01-01T00:00:00Z", true),
        ] {
            let tag = Cp56Time2a::from_utc(UtcTime::parse(text).unwrap());
            assert_eq!(tag.invalid, invalid, "{text}");
        }
    }

    #[test]
    fn all_times_of_the_century_come_back() {
        for step in 0..20_000 {
            let time = UtcTime::from_millis(946_684_800_000 + step * 157_788_017);
            let tag = Cp56Time2a::from_utc(time);
            assert_eq!(Cp56Time2a::decode(tag.encode()).to_utc(), Some(time));
        }
    }
}
