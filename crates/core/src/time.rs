//! Time as machines see it: monotonic instants for protocol timers, UTC for what is measured,
//! and the proleptic Gregorian calendar for days and billing months.

use core::fmt;
use std::time::Duration;

const MILLIS_PER_SECOND: i64 = 1_000;
const MILLIS_PER_DAY: i64 = 86_400_000;

/// A point on the host's monotonic clock, in nanoseconds since the node started.
///
/// Protocol timers count in this time. It never jumps, and in an accelerated demo it runs at
/// wall speed while [`UtcTime`] runs ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The node's start.
    pub const ZERO: Self = Self(0);

    /// An instant `nanos` nanoseconds after the node's start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the node's start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`, or zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl core::ops::Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at the end of the clock (584 years after start).
    fn add(self, rhs: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// UTC wall time in milliseconds since 1970-01-01T00:00:00Z, leap seconds smeared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UtcTime(i64);

impl UtcTime {
    /// The time `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// The time `seconds` seconds after the epoch.
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds * MILLIS_PER_SECOND)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded towards the past.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(MILLIS_PER_SECOND)
    }

    /// Reads `YYYY-MM-DDTHH:MM:SSZ` or `YYYY-MM-DD HH:MM:SS` (both UTC); `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if !text.is_ascii() || bytes.len() < 19 || !matches!(bytes[10], b'T' | b' ') {
            return None;
        }
        if !matches!(&bytes[19..], b"" | b"Z") || bytes[13] != b':' || bytes[16] != b':' {
            return None;
        }
        let two = |from: usize| parse_digits(&text[from..from + 2]);
        let (hour, minute, second) = (two(11)?, two(14)?, two(17)?);
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let day = Day::parse(&text[..10])?;
        Some(Self::from_secs(
            day.start().as_secs() + i64::from(hour * 3600 + minute * 60 + second),
        ))
    }

    /// The UTC day that contains this time.
    pub fn day(self) -> Day {
        Day(i32::try_from(self.0.div_euclid(MILLIS_PER_DAY)).unwrap_or(i32::MAX))
    }

    /// Seconds since the start of the UTC day, 0–86 399.
    pub fn second_of_day(self) -> u32 {
        u32::try_from(self.0.rem_euclid(MILLIS_PER_DAY) / MILLIS_PER_SECOND)
            .expect("a remainder of a day fits u32")
    }

    /// The time from `earlier` to `self`, or zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl core::ops::Add<Duration> for UtcTime {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(rhs.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

impl core::ops::Sub<Duration> for UtcTime {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(rhs.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

impl fmt::Display for UtcTime {
    /// `YYYY-MM-DDTHH:MM:SSZ`; milliseconds are cut off.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let second = self.second_of_day();
        write!(
            f,
            "{}T{:02}:{:02}:{:02}Z",
            self.day(),
            second / 3600,
            second / 60 % 60,
            second % 60
        )
    }
}

/// A UTC calendar day, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Day(i32);

/// Day of the week, ISO 8601 order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Weekday {
    /// Whether this is Saturday or Sunday.
    pub const fn is_weekend(self) -> bool {
        matches!(self, Self::Saturday | Self::Sunday)
    }
}

impl Day {
    /// The day `days` days after 1970-01-01.
    pub const fn from_epoch_days(days: i32) -> Self {
        Self(days)
    }

    /// Days since 1970-01-01.
    pub const fn epoch_days(self) -> i32 {
        self.0
    }

    /// The day of a calendar date; `None` if there is no such date or the year is outside 1–9999.
    pub fn from_ymd(year: i32, month: u8, day: u8) -> Option<Self> {
        if !(1..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 {
            return None;
        }
        if day > days_in_month(year, month) {
            return None;
        }
        // Count years from March, so that the leap day is the last of its year.
        let shifted_year = i64::from(if month <= 2 { year - 1 } else { year });
        let era = shifted_year.div_euclid(400);
        let year_of_era = shifted_year.rem_euclid(400);
        let shifted_month = (i64::from(month) + 9) % 12;
        let day_of_year = (153 * shifted_month + 2) / 5 + i64::from(day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        i32::try_from(era * 146_097 + day_of_era - 719_468)
            .ok()
            .map(Self)
    }

    /// Year, month (1–12) and day of month (1–31).
    pub fn ymd(self) -> (i32, u8, u8) {
        let shifted = i64::from(self.0) + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = (shifted_month + 2) % 12 + 1;
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        (
            i32::try_from(year).expect("an i32 day lies in an i32 year"),
            u8::try_from(month).expect("a month is at most 12"),
            u8::try_from(day).expect("a day of month is at most 31"),
        )
    }

    /// Reads `YYYY-MM-DD`.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if !text.is_ascii() || bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
            return None;
        }
        let part = |from: usize, to: usize| parse_digits(&text[from..to]);
        Self::from_ymd(
            i32::try_from(part(0, 4)?).ok()?,
            u8::try_from(part(5, 7)?).ok()?,
            u8::try_from(part(8, 10)?).ok()?,
        )
    }

    /// Midnight UTC at the start of the day.
    pub const fn start(self) -> UtcTime {
        UtcTime(self.0 as i64 * MILLIS_PER_DAY)
    }

    /// The day after.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The day before.
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The billing month that contains the day.
    pub fn month(self) -> Month {
        let (year, month, _) = self.ymd();
        Month { year, month }
    }

    /// Day of the week.
    pub const fn weekday(self) -> Weekday {
        // 1970-01-01 was a Thursday.
        match (self.0 as i64 + 3).rem_euclid(7) {
            0 => Weekday::Monday,
            1 => Weekday::Tuesday,
            2 => Weekday::Wednesday,
            3 => Weekday::Thursday,
            4 => Weekday::Friday,
            5 => Weekday::Saturday,
            _ => Weekday::Sunday,
        }
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.ymd();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

/// A calendar month in UTC, the default billing period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month {
    year: i32,
    month: u8,
}

impl Month {
    /// The month of a year; `None` if `month` is not 1–12 or the year is outside 1–9999.
    pub fn new(year: i32, month: u8) -> Option<Self> {
        ((1..=12).contains(&month) && (1..=9999).contains(&year)).then_some(Self { year, month })
    }

    /// Reads `YYYY-MM`.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if !text.is_ascii() || bytes.len() != 7 || bytes[4] != b'-' {
            return None;
        }
        Self::new(
            i32::try_from(parse_digits(&text[..4])?).ok()?,
            u8::try_from(parse_digits(&text[5..])?).ok()?,
        )
    }

    /// The year.
    pub const fn year(self) -> i32 {
        self.year
    }

    /// The month of the year, 1–12.
    pub const fn number(self) -> u8 {
        self.month
    }

    /// The first day.
    pub fn first_day(self) -> Day {
        Day::from_ymd(self.year, self.month, 1).expect("a month was checked when it was made")
    }

    /// The month after.
    pub const fn next(self) -> Self {
        match self.month {
            12 => Self {
                year: self.year + 1,
                month: 1,
            },
            month => Self {
                year: self.year,
                month: month + 1,
            },
        }
    }

    /// Every day of the month, in order.
    pub fn days(self) -> impl Iterator<Item = Day> {
        let first = self.first_day().epoch_days();
        let count = i32::from(days_in_month(self.year, self.month));
        (first..first + count).map(Day)
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

/// The capture period of an interval profile; divides the day into equal intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(u32);

impl Period {
    /// Fifteen minutes.
    pub const QUARTER_HOUR: Self = Self(900);
    /// Thirty minutes.
    pub const HALF_HOUR: Self = Self(1_800);
    /// Sixty minutes.
    pub const HOUR: Self = Self(3_600);

    /// A period of `seconds`; `None` unless it divides an hour.
    ///
    /// The mean power of an interval is then an exact multiple of its energy.
    pub fn from_secs(seconds: u32) -> Option<Self> {
        (seconds > 0 && 3_600_u32.is_multiple_of(seconds)).then_some(Self(seconds))
    }

    /// Length in seconds.
    pub const fn as_secs(self) -> u32 {
        self.0
    }

    /// Length as a duration.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0 as u64)
    }

    /// Intervals per hour: the factor from watt-hours of an interval to mean watts.
    pub const fn per_hour(self) -> u32 {
        3_600 / self.0
    }

    /// Intervals per day.
    pub const fn per_day(self) -> u32 {
        86_400 / self.0
    }

    /// The end of the interval that contains `time`; an interval owns its end, not its start.
    pub fn end_of_interval_at(self, time: UtcTime) -> UtcTime {
        let length = i64::from(self.0) * MILLIS_PER_SECOND;
        let whole = time.0.div_euclid(length);
        UtcTime(if time.0.rem_euclid(length) == 0 {
            time.0
        } else {
            (whole + 1) * length
        })
    }

    /// The first interval end strictly after `time`.
    pub fn next_end(self, time: UtcTime) -> UtcTime {
        let length = i64::from(self.0) * MILLIS_PER_SECOND;
        UtcTime((time.0.div_euclid(length) + 1) * length)
    }

    /// The day whose consumption an interval ending at `end` belongs to.
    ///
    /// The interval that ends at midnight belongs to the day that ends there.
    pub fn day_of(self, end: UtcTime) -> Day {
        (end - Duration::from_millis(1)).day()
    }

    /// The place of an interval in its day, from 0; `None` if `end` is not on the grid.
    pub fn slot_of(self, end: UtcTime) -> Option<u16> {
        let offset = end.0 - self.day_of(end).start().0;
        let length = i64::from(self.0) * MILLIS_PER_SECOND;
        (offset % length == 0)
            .then(|| u16::try_from(offset / length - 1).ok())
            .flatten()
    }

    /// The end of the interval at `slot` of `day`.
    pub fn end_of_slot(self, day: Day, slot: u16) -> UtcTime {
        day.start() + self.duration() * (u32::from(slot) + 1)
    }
}

fn days_in_month(year: i32, month: u8) -> u8 {
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 31,
    }
}

fn parse_digits(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_convert_both_ways() {
        let cases = [
            ("1970-01-01", Some(0), Weekday::Thursday),
            ("2000-02-29", Some(11_016), Weekday::Tuesday),
            ("2013-01-01", Some(15_706), Weekday::Tuesday),
            ("2026-11-21", Some(20_778), Weekday::Saturday),
            ("1900-02-29", None, Weekday::Monday),
            ("2013-13-01", None, Weekday::Monday),
            ("2013-1-01", None, Weekday::Monday),
            ("+013-01-01", None, Weekday::Monday),
        ];
        for (text, days, weekday) in cases {
            let day = Day::parse(text);
            assert_eq!(day.map(Day::epoch_days), days, "{text}");
            if let Some(day) = day {
                assert_eq!(day.to_string(), text);
                assert_eq!(day.weekday(), weekday, "{text}");
            }
        }
        for days in (-700_000..700_000).step_by(97) {
            let (year, month, day) = Day(days).ymd();
            assert_eq!(Day::from_ymd(year, month, day), Some(Day(days)));
        }
    }

    #[test]
    fn times_parse_and_print() {
        for text in ["2013-01-31T23:30:00Z", "2024-02-29T00:00:01Z"] {
            assert_eq!(UtcTime::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(
            UtcTime::parse("2013-01-01 00:30:00"),
            UtcTime::parse("2013-01-01T00:30:00Z")
        );
        for bad in [
            "2013-01-01T24:00:00Z",
            "2013-01-01",
            "2013-01-01T00:00:00+1",
            "ä013-01-01T00:00:0",
        ] {
            assert_eq!(UtcTime::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_interval_belongs_to_the_day_it_ends_in() {
        let period = Period::HALF_HOUR;
        let cases = [
            ("2013-01-01T00:30:00Z", "2013-01-01", Some(0)),
            ("2013-01-02T00:00:00Z", "2013-01-01", Some(47)),
            ("2013-01-02T00:10:00Z", "2013-01-02", None),
        ];
        for (end, day, slot) in cases {
            let end = UtcTime::parse(end).unwrap();
            assert_eq!(period.day_of(end), Day::parse(day).unwrap(), "{end}");
            assert_eq!(period.slot_of(end), slot, "{end}");
            if let Some(slot) = slot {
                assert_eq!(period.end_of_slot(period.day_of(end), slot), end);
                assert_eq!(period.end_of_interval_at(end), end);
                assert_eq!(period.next_end(end), end + period.duration());
            }
        }
    }

    #[test]
    fn periods_divide_the_hour() {
        for (seconds, valid) in [
            (900, true),
            (1_800, true),
            (7_200, false),
            (0, false),
            (700, false),
        ] {
            assert_eq!(Period::from_secs(seconds).is_some(), valid, "{seconds}");
        }
    }

    #[test]
    fn months_have_their_days() {
        for (text, days) in [("2013-02", 28), ("2024-02", 29), ("2013-12", 31)] {
            let month = Month::parse(text).unwrap();
            assert_eq!(month.days().count(), days, "{text}");
            assert_eq!(
                month.days().last().unwrap().next(),
                month.next().first_day()
            );
        }
    }
}
