//! Dates and times with open fields (IEC 62056-6-2, clause 4.1.6.1), as calendars, schedules and
//! windows use them: what they match, and when next or last.

use std::time::Duration;

use gridloom_core::{Day, UtcTime};
use gridloom_dlms::datetime::CosemDateTime;

/// Days searched for a match. A leap day that must also be a given weekday comes back within
/// forty years.
pub const SEARCH_DAYS_MAX: i32 = 15_000;

const OPEN: u8 = CosemDateTime::OPEN;
const LAST_DAY: u8 = 0xFE;
const SECOND_LAST_DAY: u8 = 0xFD;

/// A date whose fields may be left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatePattern {
    /// Year, or 0xFFFF.
    pub year: u16,
    /// Month 1–12, or 0xFF.
    pub month: u8,
    /// Day 1–31, 0xFE for the last and 0xFD for the last but one day of the month, or 0xFF.
    ///
    /// Together with a weekday, 0xFE and 0xFD mean the last and the last but one such weekday of
    /// the month.
    pub day: u8,
    /// Weekday 1–7 from Monday, or 0xFF.
    pub weekday: u8,
}

impl DatePattern {
    /// Every day.
    pub const ANY: Self = Self {
        year: CosemDateTime::YEAR_OPEN,
        month: OPEN,
        day: OPEN,
        weekday: OPEN,
    };

    /// Reads five bytes; `None` for a field that no date has.
    ///
    /// Months that mean the ends of daylight saving (0xFD, 0xFE) are refused: our meters run on
    /// one time all year.
    pub fn from_bytes(bytes: [u8; 5]) -> Option<Self> {
        let [y1, y0, month, day, weekday] = bytes;
        let pattern = Self {
            year: u16::from_be_bytes([y1, y0]),
            month,
            day,
            weekday,
        };
        pattern.is_valid().then_some(pattern)
    }

    /// The five bytes.
    pub const fn to_bytes(self) -> [u8; 5] {
        let [y1, y0] = self.year.to_be_bytes();
        [y1, y0, self.month, self.day, self.weekday]
    }

    /// Whether each field is in its range or open.
    pub const fn is_valid(self) -> bool {
        matches!(self.year, 1..=9_999 | CosemDateTime::YEAR_OPEN)
            && matches!(self.month, 1..=12 | OPEN)
            && matches!(self.day, 1..=31 | SECOND_LAST_DAY | LAST_DAY | OPEN)
            && matches!(self.weekday, 1..=7 | OPEN)
    }

    /// Whether a field is left open, so that it can match more than once.
    pub const fn is_open(self) -> bool {
        self.year == CosemDateTime::YEAR_OPEN || self.month == OPEN || self.day == OPEN
    }

    /// Whether `day` matches.
    pub fn matches(self, day: Day) -> bool {
        let (year, month, day_of_month) = day.ymd();
        let weekday = day.weekday() as u8 + 1;
        if self.year != CosemDateTime::YEAR_OPEN && i32::from(self.year) != year {
            return false;
        }
        if self.month != OPEN && self.month != month {
            return false;
        }
        if self.weekday != OPEN && self.weekday != weekday {
            return false;
        }
        let length = days_of_month(day);
        // How far from the end of the month a match with 0xFE may lie.
        let span = if self.weekday == OPEN { 1 } else { 7 };
        let from_end = length - day_of_month;
        match self.day {
            OPEN => true,
            LAST_DAY => from_end < span,
            SECOND_LAST_DAY => (span..2 * span).contains(&from_end),
            wanted => wanted == day_of_month,
        }
    }

    /// The first match on `day` or after, within [`SEARCH_DAYS_MAX`].
    pub fn next_from(self, day: Day) -> Option<Day> {
        let first = self.first_candidate(day)?;
        (0..SEARCH_DAYS_MAX)
            .map(|ahead| Day::from_epoch_days(first.epoch_days().saturating_add(ahead)))
            .take_while(|day| self.year_may_match(*day))
            .find(|day| self.matches(*day))
    }

    /// The last match on `day` or before, within [`SEARCH_DAYS_MAX`].
    pub fn last_until(self, day: Day) -> Option<Day> {
        let last = match self.year {
            CosemDateTime::YEAR_OPEN => day,
            year => day.min(Day::from_ymd(i32::from(year), 12, 31)?),
        };
        (0..SEARCH_DAYS_MAX)
            .map(|back| Day::from_epoch_days(last.epoch_days().saturating_sub(back)))
            .take_while(|day| self.year_may_match(*day))
            .find(|day| self.matches(*day))
    }

    fn first_candidate(self, day: Day) -> Option<Day> {
        match self.year {
            CosemDateTime::YEAR_OPEN => Some(day),
            year => Some(day.max(Day::from_ymd(i32::from(year), 1, 1)?)),
        }
    }

    fn year_may_match(self, day: Day) -> bool {
        self.year == CosemDateTime::YEAR_OPEN || i32::from(self.year) == day.ymd().0
    }
}

fn days_of_month(day: Day) -> u8 {
    let (_, _, last) = day.month().next().first_day().previous().ymd();
    last
}

/// A time of day whose fields may be left open. Hundredths are not looked at: they are zero or
/// open in every schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimePattern {
    /// Hour 0–23, or 0xFF.
    pub hour: u8,
    /// Minute 0–59, or 0xFF.
    pub minute: u8,
    /// Second 0–59, or 0xFF.
    pub second: u8,
}

impl TimePattern {
    /// Reads hour, minute and second; `None` for a field that no time has.
    pub fn from_fields(hour: u8, minute: u8, second: u8) -> Option<Self> {
        let fits = |value: u8, max: u8| value == OPEN || value <= max;
        (fits(hour, 23) && fits(minute, 59) && fits(second, 59)).then_some(Self {
            hour,
            minute,
            second,
        })
    }

    /// The four bytes; hundredths are zero.
    pub const fn to_bytes(self) -> [u8; 4] {
        [self.hour, self.minute, self.second, 0]
    }

    /// Whether a field is left open.
    pub const fn is_open(self) -> bool {
        self.hour == OPEN || self.minute == OPEN || self.second == OPEN
    }

    /// The second of the day, 0–86 399, of a time without open fields.
    pub fn second_of_day(self) -> Option<u32> {
        (!self.is_open()).then(|| {
            u32::from(self.hour) * 3_600 + u32::from(self.minute) * 60 + u32::from(self.second)
        })
    }

    /// The first match at `second` of the day or later.
    fn next_from(self, second: u32) -> Option<u32> {
        self.candidates(false).find(|found| *found >= second)
    }

    /// The last match at `second` of the day or earlier.
    fn last_until(self, second: u32) -> Option<u32> {
        self.candidates(true).find(|found| *found <= second)
    }

    /// Every matching second, in order or in reverse; a day has at most 86 400.
    fn candidates(self, reverse: bool) -> impl Iterator<Item = u32> {
        let choices = move |value: u8, count: u32| {
            let range = if value == OPEN {
                0..count
            } else {
                u32::from(value)..u32::from(value) + 1
            };
            let (start, end) = (range.start, range.end);
            range.map(move |at| if reverse { end - 1 - (at - start) } else { at })
        };
        choices(self.hour, 24).flat_map(move |hour| {
            choices(self.minute, 60).flat_map(move |minute| {
                choices(self.second, 60).map(move |second| hour * 3_600 + minute * 60 + second)
            })
        })
    }
}

/// A date and a time of day, both with open fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Recurrence {
    /// On which days.
    pub date: DatePattern,
    /// At which times of these days.
    pub time: TimePattern,
}

impl Recurrence {
    /// Reads a date-time with open fields; `None` for a field that no date-time has, and for one
    /// that leaves everything open (it then means "not set").
    pub fn from_date_time(time: CosemDateTime) -> Option<Self> {
        let date = DatePattern {
            year: time.year,
            month: time.month,
            day: time.day,
            weekday: time.weekday,
        };
        let time = TimePattern::from_fields(time.hour, time.minute, time.second)?;
        let is_set = date != DatePattern::ANY || time.to_bytes() != [OPEN, OPEN, OPEN, 0];
        (date.is_valid() && is_set).then_some(Self { date, time })
    }

    /// The first match at `time` or after.
    pub fn next_from(self, time: UtcTime) -> Option<UtcTime> {
        // A match is a whole second: the one that has begun is over.
        let begun = UtcTime::from_secs(time.as_secs());
        let time = if begun < time {
            begun + Duration::from_secs(1)
        } else {
            begun
        };
        let day = self.date.next_from(time.day())?;
        let from = if day == time.day() {
            time.second_of_day()
        } else {
            0
        };
        if let Some(second) = self.time.next_from(from) {
            return Some(moment(day, second));
        }
        let day = self.date.next_from(day.next())?;
        self.time.next_from(0).map(|second| moment(day, second))
    }

    /// The first match after `time`.
    pub fn next_after(self, time: UtcTime) -> Option<UtcTime> {
        self.next_from(time + Duration::from_millis(1))
    }

    /// The last match at `time` or before.
    pub fn last_until(self, time: UtcTime) -> Option<UtcTime> {
        let day = self.date.last_until(time.day())?;
        let until = if day == time.day() {
            time.second_of_day()
        } else {
            86_399
        };
        if let Some(second) = self.time.last_until(until) {
            return Some(moment(day, second));
        }
        let day = self.date.last_until(day.previous())?;
        self.time
            .last_until(86_399)
            .map(|second| moment(day, second))
    }
}

fn moment(day: Day, second: u32) -> UtcTime {
    day.start() + Duration::from_secs(u64::from(second))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY_YEAR: u16 = CosemDateTime::YEAR_OPEN;

    fn date(year: u16, month: u8, day: u8, weekday: u8) -> DatePattern {
        let [y1, y0] = year.to_be_bytes();
        DatePattern::from_bytes([y1, y0, month, day, weekday]).unwrap()
    }

    #[test]
    fn dates_match_with_open_fields() {
        let day = |text| Day::parse(text).unwrap();
        // Pattern, a day, the first match from it on, the last match until it.
        let cases = [
            (
                DatePattern::ANY,
                "2026-11-21",
                Some("2026-11-21"),
                Some("2026-11-21"),
            ),
            (
                date(ANY_YEAR, 0xFF, 1, 0xFF),
                "2026-11-21",
                Some("2026-12-01"),
                Some("2026-11-01"),
            ),
            (
                date(ANY_YEAR, 2, 29, 0xFF),
                "2026-11-21",
                Some("2028-02-29"),
                Some("2024-02-29"),
            ),
            (
                date(ANY_YEAR, 2, LAST_DAY, 0xFF),
                "2026-11-21",
                Some("2027-02-28"),
                Some("2026-02-28"),
            ),
            (
                date(ANY_YEAR, 0xFF, SECOND_LAST_DAY, 0xFF),
                "2026-11-21",
                Some("2026-11-29"),
                Some("2026-10-30"),
            ),
            (
                date(ANY_YEAR, 10, LAST_DAY, 7),
                "2026-11-21",
                Some("2027-10-31"),
                Some("2026-10-25"),
            ),
            (
                date(ANY_YEAR, 10, SECOND_LAST_DAY, 7),
                "2026-10-01",
                Some("2026-10-18"),
                Some("2025-10-19"),
            ),
            (
                date(ANY_YEAR, 0xFF, 0xFF, 6),
                "2026-11-22",
                Some("2026-11-28"),
                Some("2026-11-21"),
            ),
            (
                date(2027, 0xFF, 0xFF, 0xFF),
                "2026-11-21",
                Some("2027-01-01"),
                None,
            ),
            (
                date(2025, 6, 1, 0xFF),
                "2026-11-21",
                None,
                Some("2025-06-01"),
            ),
            (date(2026, 2, 30, 0xFF), "2026-01-01", None, None),
        ];
        for (pattern, from, next, last) in cases {
            assert_eq!(pattern.next_from(day(from)), next.map(day), "{pattern:?}");
            assert_eq!(pattern.last_until(day(from)), last.map(day), "{pattern:?}");
            assert_eq!(DatePattern::from_bytes(pattern.to_bytes()), Some(pattern));
        }
        for bytes in [
            [0, 0, 1, 1, 1],
            [7, 0xEA, 13, 1, 1],
            [7, 0xEA, 0xFD, 1, 1],
            [7, 0xEA, 1, 32, 1],
            [7, 0xEA, 1, 1, 8],
        ] {
            assert_eq!(DatePattern::from_bytes(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn moments_recur() {
        let at = |text| UtcTime::parse(text).unwrap();
        let first = date(ANY_YEAR, 0xFF, 1, 0xFF);
        let every = DatePattern::ANY;
        let time = |hour, minute, second| TimePattern::from_fields(hour, minute, second).unwrap();
        let cases = [
            (
                first,
                time(0, 0, 0),
                "2026-11-01T00:00:00Z",
                "2026-11-01T00:00:00Z",
                "2026-11-01T00:00:00Z",
            ),
            (
                first,
                time(0, 0, 0),
                "2026-11-01T00:00:01Z",
                "2026-12-01T00:00:00Z",
                "2026-11-01T00:00:00Z",
            ),
            (
                first,
                time(6, 0, 0),
                "2026-11-01T05:00:00Z",
                "2026-11-01T06:00:00Z",
                "2026-10-01T06:00:00Z",
            ),
            (
                every,
                time(0xFF, 30, 0),
                "2026-11-01T23:40:00Z",
                "2026-11-02T00:30:00Z",
                "2026-11-01T23:30:00Z",
            ),
            (
                every,
                time(0xFF, 0xFF, 5),
                "2026-11-01T23:59:06Z",
                "2026-11-02T00:00:05Z",
                "2026-11-01T23:59:05Z",
            ),
        ];
        for (date, time, from, next, last) in cases {
            let recurrence = Recurrence { date, time };
            assert_eq!(recurrence.next_from(at(from)), Some(at(next)), "{from}");
            assert_eq!(recurrence.last_until(at(from)), Some(at(last)), "{from}");
            let fraction = at(next) + Duration::from_millis(1);
            assert!(recurrence.next_from(fraction) > Some(at(next)));
            assert_eq!(
                recurrence.next_after(at(next)),
                recurrence.next_from(fraction)
            );
        }
        assert_eq!(TimePattern::from_fields(24, 0, 0), None);
        let unset = CosemDateTime::from_bytes([0xFF; 12]);
        assert_eq!(Recurrence::from_date_time(unset), None);
    }
}
