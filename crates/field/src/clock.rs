//! The meter's own clock (class 8, IEC 62056-6-2): what it shows, how it drifts, how it is set.
//!
//! Energy is measured in true time; what the meter writes beside it is in its own. The two meet
//! only here.

use std::time::Duration;

use gridloom_core::bytes::{Reader, Truncated};
use gridloom_core::{Day, Period, UtcTime};
use gridloom_dlms::apdu::{ActionResult, DataAccessResult};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::datetime::{ClockStatus, CosemDateTime};

/// What a meter's clock is when the meter is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClockConfig {
    /// The clock is ahead of true time by so many milliseconds.
    pub offset_ms: i32,
    /// It gains so many nanoseconds per second; IEC 62054-21 allows 5,787 (half a second a day).
    pub drift_ppb: i32,
    /// Minutes from local standard time to UTC, −720 to 840; Central Europe is −60.
    pub time_zone: i16,
}

impl ClockConfig {
    /// No crystal is as bad.
    pub const DRIFT_PPB_MAX: i32 = 1_000_000;
    /// A day either way.
    pub const OFFSET_MS_MAX: i32 = 86_400_000;
}

/// A clock that was set, or adjusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockStep {
    /// What it showed.
    pub before: UtcTime,
    /// What it showed then.
    pub after: UtcTime,
}

impl ClockStep {
    /// A step of so much or less marks no interval and leaves no event: it is the correction of
    /// a drift, not a change of time (the limit of clock-time-shift, 1-0:0.9.11).
    pub const SHIFT_LIMIT: Duration = Duration::from_secs(10);

    /// The step in milliseconds; negative is back.
    pub fn millis(&self) -> i64 {
        self.after.as_millis() - self.before.as_millis()
    }

    /// Whether it is large enough to be marked.
    pub fn is_marked(&self) -> bool {
        u128::from(self.millis().unsigned_abs()) > Self::SHIFT_LIMIT.as_millis()
    }
}

/// The clock. Its time is its own UTC; local time exists only on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// When it was last set, in true time, and to what.
    set_at: UtcTime,
    set_to: UtcTime,
    drift_ppb: i32,
    time_zone: i16,
    saving_begin: [u8; CosemDateTime::LEN],
    saving_end: [u8; CosemDateTime::LEN],
    saving_minutes: i8,
    saving_enabled: bool,
    preset: Option<Preset>,
}

/// A time to be taken over by method 4, while its window is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Preset {
    time: UtcTime,
    from: UtcTime,
    until: UtcTime,
}

/// No daylight saving: every field of its begin and end is open.
const NEVER: [u8; CosemDateTime::LEN] = [0xFF; CosemDateTime::LEN];

/// Times a clock may be set to: the years 2000 to 2099.
const SETTABLE_MS: core::ops::Range<i64> = 946_684_800_000..4_102_444_800_000;

impl Clock {
    /// It is not set further back than this behind the start of the running interval: that
    /// interval goes on until its end comes again, and must still fit its registers.
    pub const BACK_MAX: Duration = Duration::from_secs(7 * 86_400);

    /// The clock of a meter that is installed at `truly`.
    pub fn new(config: ClockConfig, truly: UtcTime) -> Self {
        Self {
            set_at: truly,
            set_to: shifted(truly, i64::from(config.offset_ms)),
            drift_ppb: config.drift_ppb,
            time_zone: config.time_zone,
            saving_begin: NEVER,
            saving_end: NEVER,
            saving_minutes: 60,
            saving_enabled: false,
            preset: None,
        }
    }

    /// What it shows at `truly`, in its own UTC, to the millisecond below.
    pub fn time_at(&self, truly: UtcTime) -> UtcTime {
        let passed = i128::from(truly.as_millis()) - i128::from(self.set_at.as_millis());
        let gained = (passed * i128::from(self.drift_ppb)).div_euclid(1_000_000_000);
        let shown = i128::from(self.set_to.as_millis()) + passed + gained;
        UtcTime::from_millis(i64::try_from(shown).expect("times of this age of the world"))
    }

    /// The first true millisecond at which it shows `shown` or later.
    pub fn truly_at(&self, shown: UtcTime) -> UtcTime {
        let passed = i128::from(shown.as_millis()) - i128::from(self.set_to.as_millis());
        let rate = 1_000_000_000 + i128::from(self.drift_ppb);
        let truly = i128::from(self.set_at.as_millis()) + (passed * 1_000_000_000).div_euclid(rate);
        let mut truly =
            UtcTime::from_millis(i64::try_from(truly).expect("times of this age of the world"));
        // The division was cut: at most a millisecond or two are missing.
        while self.time_at(truly) < shown {
            truly = shifted(truly, 1);
        }
        truly
    }

    /// Sets it to `time` at `truly`.
    pub fn set_time(&mut self, time: UtcTime, truly: UtcTime) -> ClockStep {
        let before = self.time_at(truly);
        self.set_at = truly;
        self.set_to = time;
        ClockStep {
            before,
            after: time,
        }
    }

    /// `time` of its own as it writes it: local, with deviation and status.
    pub fn local(&self, time: UtcTime) -> CosemDateTime {
        let saving = self.is_saving(time);
        let deviation = self.deviation(saving);
        let local = shifted(
            UtcTime::from_millis(time.as_millis().div_euclid(10) * 10),
            -i64::from(deviation) * 60_000,
        );
        let mut written = CosemDateTime::from_utc(local).expect("a clock shows years 1 to 9999");
        written.deviation = deviation;
        written.status = if saving {
            ClockStatus::DAYLIGHT_SAVING
        } else {
            ClockStatus::GOOD
        };
        written
    }

    /// The moment that a client names; without a deviation it means this clock's local time.
    /// `None` where it names none.
    pub fn moment(&self, named: &CosemDateTime) -> Option<UtcTime> {
        if named.deviation != CosemDateTime::DEVIATION_OPEN {
            return named.to_utc().ok();
        }
        let mut named = *named;
        named.deviation = self.deviation(true);
        let summer = named.to_utc().ok()?;
        if self.is_saving(summer) {
            return Some(summer);
        }
        named.deviation = self.deviation(false);
        named.to_utc().ok()
    }

    /// An attribute, 2 to 9, at `truly`.
    ///
    /// # Errors
    ///
    /// The class has no such attribute.
    pub fn get(&self, attribute: i8, truly: UtcTime) -> Result<Data, DataAccessResult> {
        let shown = self.time_at(truly);
        Ok(match attribute {
            2 => Data::OctetString(self.local(shown).to_bytes().to_vec()),
            3 => Data::Long(self.time_zone),
            4 => Data::Unsigned(self.local(shown).status.0),
            5 => Data::OctetString(self.saving_begin.to_vec()),
            6 => Data::OctetString(self.saving_end.to_vec()),
            7 => Data::Integer(self.saving_minutes),
            8 => Data::Boolean(self.saving_enabled),
            // Its own crystal.
            9 => Data::Enum(1),
            _ => return Err(DataAccessResult::ObjectUndefined),
        })
    }

    /// Writes an attribute at `truly`; says how the clock stepped if it did.
    ///
    /// # Errors
    ///
    /// Another type, a value out of range, an attribute that nobody writes.
    pub fn set(
        &mut self,
        attribute: i8,
        value: &Data,
        truly: UtcTime,
    ) -> Result<Option<ClockStep>, DataAccessResult> {
        const UNMATCHED: DataAccessResult = DataAccessResult::TypeUnmatched;
        const OTHER: DataAccessResult = DataAccessResult::OtherReason;
        match (attribute, value) {
            (2, value) => {
                let named = CosemDateTime::from_bytes(twelve(value).ok_or(UNMATCHED)?);
                let time = self.moment(&named).ok_or(OTHER)?;
                if !SETTABLE_MS.contains(&time.as_millis()) {
                    return Err(OTHER);
                }
                return Ok(Some(self.set_time(time, truly)));
            }
            (3, Data::Long(minutes)) if (-720..=840).contains(minutes) => {
                self.time_zone = *minutes;
            }
            (5, value) => self.saving_begin = change_over(value)?,
            (6, value) => self.saving_end = change_over(value)?,
            (7, Data::Integer(minutes)) if (-120..=120).contains(minutes) => {
                self.saving_minutes = *minutes;
            }
            (8, Data::Boolean(enabled)) => self.saving_enabled = *enabled,
            (3, Data::Long(_)) | (7, Data::Integer(_)) => return Err(OTHER),
            (3 | 7 | 8, _) => return Err(UNMATCHED),
            (4 | 9, _) => return Err(DataAccessResult::ReadWriteDenied),
            _ => return Err(DataAccessResult::ObjectUndefined),
        }
        Ok(None)
    }

    /// Invokes a method, 1 to 6, at `truly`; says how the clock stepped if it did.
    ///
    /// # Errors
    ///
    /// Parameters of another type or out of range, no preset time, no such method.
    pub fn invoke(
        &mut self,
        method: i8,
        parameters: Option<&Data>,
        period: Period,
        truly: UtcTime,
    ) -> Result<Option<ClockStep>, ActionResult> {
        let shown = self.time_at(truly);
        let time = match method {
            1 => nearest(shown, 900_000),
            2 => nearest(shown, i64::from(period.as_secs()) * 1_000),
            3 => nearest(shown, 60_000),
            4 => {
                let preset = self.preset.take().ok_or(ActionResult::OtherReason)?;
                if !(preset.from..=preset.until).contains(&shown) {
                    return Err(ActionResult::OtherReason);
                }
                preset.time
            }
            5 => {
                self.preset = Some(self.preset_of(parameters)?);
                return Ok(None);
            }
            6 => match parameters {
                Some(Data::Long(seconds)) if (-900..=900).contains(seconds) => {
                    shifted(shown, i64::from(*seconds) * 1_000)
                }
                Some(Data::Long(_)) => return Err(ActionResult::OtherReason),
                _ => return Err(ActionResult::TypeUnmatched),
            },
            _ => return Err(ActionResult::ObjectUndefined),
        };
        Ok(Some(self.set_time(time, truly)))
    }

    fn preset_of(&self, parameters: Option<&Data>) -> Result<Preset, ActionResult> {
        let Some(Data::Structure(members)) = parameters else {
            return Err(ActionResult::TypeUnmatched);
        };
        let [time, from, until] = members.as_slice() else {
            return Err(ActionResult::TypeUnmatched);
        };
        let moment = |value| {
            let named =
                CosemDateTime::from_bytes(twelve(value).ok_or(ActionResult::TypeUnmatched)?);
            self.moment(&named)
                .filter(|time| SETTABLE_MS.contains(&time.as_millis()))
                .ok_or(ActionResult::OtherReason)
        };
        let preset = Preset {
            time: moment(time)?,
            from: moment(from)?,
            until: moment(until)?,
        };
        if preset.from > preset.until {
            return Err(ActionResult::OtherReason);
        }
        Ok(preset)
    }

    fn deviation(&self, saving: bool) -> i16 {
        let shift = if saving {
            i16::from(self.saving_minutes)
        } else {
            0
        };
        self.time_zone - shift
    }

    /// Whether daylight saving is active at `time` of its own.
    fn is_saving(&self, time: UtcTime) -> bool {
        if !self.saving_enabled {
            return false;
        }
        let standard = shifted(time, -i64::from(self.time_zone) * 60_000);
        let (year, _, _) = standard.day().ymd();
        let begin = change_in(&self.saving_begin, year, self.deviation(false));
        let end = change_in(&self.saving_end, year, self.deviation(true));
        match (begin, end) {
            (Some(begin), Some(end)) if begin <= end => (begin..end).contains(&time),
            // South of the equator the summer holds the turn of the year.
            (Some(begin), Some(end)) => time >= begin || time < end,
            (None, _) | (_, None) => false,
        }
    }

    /// Appends the clock to a memory cell.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.set_at.as_millis().to_be_bytes());
        out.extend(self.set_to.as_millis().to_be_bytes());
        out.extend(self.drift_ppb.to_be_bytes());
        out.extend(self.time_zone.to_be_bytes());
        out.extend(self.saving_begin);
        out.extend(self.saving_end);
        out.extend(self.saving_minutes.to_be_bytes());
        out.push(u8::from(self.saving_enabled));
        out.push(u8::from(self.preset.is_some()));
        if let Some(preset) = &self.preset {
            for time in [preset.time, preset.from, preset.until] {
                out.extend(time.as_millis().to_be_bytes());
            }
        }
    }

    /// What [`Self::encode`] wrote; `Ok(None)` for values that no clock has.
    ///
    /// # Errors
    ///
    /// The bytes end too early.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Option<Self>, Truncated> {
        /// The years 1970 to 9999.
        const TIMES: core::ops::RangeInclusive<i64> = 0..=253_402_300_799_999;
        let set_at = reader.i64()?;
        let set_to = reader.i64()?;
        let drift_ppb = reader.array().map(i32::from_be_bytes)?;
        let time_zone = reader.array().map(i16::from_be_bytes)?;
        let saving_begin = reader.array()?;
        let saving_end = reader.array()?;
        let saving_minutes = reader.array().map(i8::from_be_bytes)?;
        let (enabled, preset) = (reader.u8()?, reader.u8()?);
        let mut holds = TIMES.contains(&set_at)
            && TIMES.contains(&set_to)
            && drift_ppb.unsigned_abs() <= ClockConfig::DRIFT_PPB_MAX.unsigned_abs()
            && (-720..=840).contains(&time_zone)
            && (-120..=120).contains(&saving_minutes)
            && enabled <= 1
            && preset <= 1;
        let preset = if preset == 1 {
            let [time, from, until] = [reader.i64()?, reader.i64()?, reader.i64()?];
            holds &= [time, from, until].iter().all(|time| TIMES.contains(time));
            Some(Preset {
                time: UtcTime::from_millis(time),
                from: UtcTime::from_millis(from),
                until: UtcTime::from_millis(until),
            })
        } else {
            None
        };
        Ok(holds.then_some(Self {
            set_at: UtcTime::from_millis(set_at),
            set_to: UtcTime::from_millis(set_to),
            drift_ppb,
            time_zone,
            saving_begin,
            saving_end,
            saving_minutes,
            saving_enabled: enabled == 1,
            preset,
        }))
    }
}

fn shifted(time: UtcTime, millis: i64) -> UtcTime {
    UtcTime::from_millis(time.as_millis() + millis)
}

/// The nearest multiple of `step_ms`; half way is rounded up.
fn nearest(time: UtcTime, step_ms: i64) -> UtcTime {
    UtcTime::from_millis((time.as_millis() + step_ms / 2).div_euclid(step_ms) * step_ms)
}

/// The bytes of a date-time in either of its forms.
fn twelve(value: &Data) -> Option<[u8; CosemDateTime::LEN]> {
    if let Data::DateTime(bytes) = value {
        Some(*bytes)
    } else if let Data::OctetString(bytes) = value {
        bytes.as_slice().try_into().ok()
    } else {
        None
    }
}

/// The change of daylight saving that a client writes: open in every field, or one per year.
fn change_over(value: &Data) -> Result<[u8; CosemDateTime::LEN], DataAccessResult> {
    let bytes = twelve(value).ok_or(DataAccessResult::TypeUnmatched)?;
    let named = CosemDateTime::from_bytes(bytes).year;
    let year = if named == CosemDateTime::YEAR_OPEN {
        2_024
    } else {
        i32::from(named)
    };
    if bytes == NEVER || change_in(&bytes, year, 0).is_some() {
        Ok(bytes)
    } else {
        Err(DataAccessResult::OtherReason)
    }
}

/// When the change happens in `year`, with `deviation` before it. The day may be the last of its
/// month (0xFE), the last but one (0xFD) or a day from which the weekday is sought.
fn change_in(bytes: &[u8; CosemDateTime::LEN], year: i32, deviation: i16) -> Option<UtcTime> {
    let named = CosemDateTime::from_bytes(*bytes);
    if named.year != CosemDateTime::YEAR_OPEN && i32::from(named.year) != year {
        return None;
    }
    let first = Day::from_ymd(year, named.month, 1)?;
    let last = first.month().next().first_day().previous();
    let weekday = |day: Day| day.weekday() as u8 + 1;
    let back_to_weekday = |mut day: Day| {
        while named.weekday != CosemDateTime::OPEN && weekday(day) != named.weekday {
            day = day.previous();
        }
        day
    };
    if named.weekday != CosemDateTime::OPEN && !(1..=7).contains(&named.weekday) {
        return None;
    }
    let day = match named.day {
        0xFE => back_to_weekday(last),
        0xFD if named.weekday == CosemDateTime::OPEN => last.previous(),
        0xFD => back_to_weekday(back_to_weekday(last).previous()),
        number => {
            let mut day = Day::from_ymd(year, named.month, number)?;
            while named.weekday != CosemDateTime::OPEN && weekday(day) != named.weekday {
                day = day.next();
            }
            day
        }
    };
    let zero_if_open = |field: u8| {
        if field == CosemDateTime::OPEN {
            0
        } else {
            field
        }
    };
    let (hour, minute, second) = (
        zero_if_open(named.hour),
        zero_if_open(named.minute),
        zero_if_open(named.second),
    );
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = i64::from(hour) * 3_600 + (i64::from(minute) + i64::from(deviation)) * 60;
    Some(shifted(day.start(), (seconds + i64::from(second)) * 1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> UtcTime {
        UtcTime::parse(text).unwrap()
    }

    fn clock(config: ClockConfig) -> Clock {
        Clock::new(config, time("2026-01-01T00:00:00Z"))
    }

    /// The last Sunday of `month`, at `hour` local time.
    fn last_sunday(month: u8, hour: u8) -> Data {
        Data::OctetString(vec![
            0xFF, 0xFF, month, 0xFE, 7, hour, 0, 0, 0, 0x80, 0, 0xFF,
        ])
    }

    fn central_europe() -> Clock {
        let mut clock = clock(ClockConfig {
            time_zone: -60,
            ..ClockConfig::default()
        });
        let at = time("2026-01-01T00:00:00Z");
        clock.set(5, &last_sunday(3, 2), at).unwrap();
        clock.set(6, &last_sunday(10, 3), at).unwrap();
        clock.set(8, &Data::Boolean(true), at).unwrap();
        clock
    }

    #[test]
    fn a_drifting_clock_goes_wrong_steadily_and_is_found_again() {
        let start = time("2026-01-01T00:00:00Z");
        let day = Duration::from_secs(86_400);
        // Offset, drift, what a day later it shows beyond true time.
        let cases = [
            (0, 0, 0),
            (1_500, 0, 1_500),
            (0, 10_000, 864),
            (0, -10_000, -864),
        ];
        for (offset_ms, drift_ppb, expected) in cases {
            let mut clock = clock(ClockConfig {
                offset_ms,
                drift_ppb,
                time_zone: 0,
            });
            let truly = start + day;
            let shown = clock.time_at(truly);
            assert_eq!(shown.as_millis() - truly.as_millis(), expected);
            for shown in [start, shown, start + 30 * day] {
                let found = clock.truly_at(shown);
                assert!(clock.time_at(found) >= shown);
                let before = UtcTime::from_millis(found.as_millis() - 1);
                assert!(clock.time_at(before) < shown, "the first millisecond");
            }
            let step = clock.set_time(truly, truly);
            assert_eq!(step.millis(), -expected);
            assert_eq!(clock.time_at(truly), truly);
            let later = clock.time_at(truly + day).as_millis();
            let drift = later - (truly + day).as_millis();
            assert_eq!(drift, if offset_ms == 0 { expected } else { 0 });
        }
    }

    #[test]
    fn summer_begins_and_ends_on_the_last_sunday() {
        let clock = central_europe();
        let cases = [
            ("2026-03-29T00:59:59Z", "01:59:59", -60, 0),
            ("2026-03-29T01:00:00Z", "03:00:00", -120, 0x80),
            ("2026-10-25T00:59:59Z", "02:59:59", -120, 0x80),
            ("2026-10-25T01:00:00Z", "02:00:00", -60, 0),
            ("2026-12-31T23:30:00Z", "00:30:00", -60, 0),
        ];
        for (utc, local, deviation, status) in cases {
            let written = clock.local(time(utc));
            let shown = format!(
                "{:02}:{:02}:{:02}",
                written.hour, written.minute, written.second
            );
            assert_eq!(
                (shown.as_str(), written.deviation, written.status.0),
                (local, deviation, status),
                "{utc}"
            );
            assert_eq!(written.to_utc(), Ok(time(utc)));
            assert_eq!(clock.moment(&written), Some(time(utc)));
        }
        // Without a deviation local time is meant.
        let mut named = clock.local(time("2026-07-01T10:00:00Z"));
        assert_eq!(named.hour, 12);
        named.deviation = CosemDateTime::DEVIATION_OPEN;
        assert_eq!(clock.moment(&named), Some(time("2026-07-01T10:00:00Z")));
    }

    #[test]
    fn south_of_the_equator_summer_holds_new_year() {
        let mut clock = clock(ClockConfig {
            time_zone: -600,
            ..ClockConfig::default()
        });
        let at = time("2026-01-01T00:00:00Z");
        // The first Sunday of October and of April.
        for (attribute, month, hour) in [(5, 10, 2), (6, 4, 3)] {
            let bytes = vec![0xFF, 0xFF, month, 1, 7, hour, 0, 0, 0, 0x80, 0, 0xFF];
            clock.set(attribute, &Data::OctetString(bytes), at).unwrap();
        }
        clock.set(8, &Data::Boolean(true), at).unwrap();
        for (utc, saving) in [
            ("2026-01-01T00:00:00Z", true),
            ("2026-04-04T15:59:59Z", true),
            ("2026-04-04T16:00:00Z", false),
            ("2026-10-03T15:59:59Z", false),
            ("2026-10-03T16:00:00Z", true),
        ] {
            assert_eq!(clock.is_saving(time(utc)), saving, "{utc}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_without_effect() {
        let at = time("2026-01-01T00:00:00Z");
        let before = clock(ClockConfig::default());
        let cases = [
            (2, Data::Null, DataAccessResult::TypeUnmatched),
            (
                2,
                Data::OctetString(vec![0; 11]),
                DataAccessResult::TypeUnmatched,
            ),
            (
                2,
                Data::OctetString(vec![0xFF; 12]),
                DataAccessResult::OtherReason,
            ),
            (
                2,
                Data::DateTime([7, 0xBC, 1, 1, 5, 0, 0, 0, 0, 0, 0, 0]),
                DataAccessResult::OtherReason,
            ),
            (3, Data::Long(841), DataAccessResult::OtherReason),
            (3, Data::Integer(1), DataAccessResult::TypeUnmatched),
            (4, Data::Unsigned(0), DataAccessResult::ReadWriteDenied),
            (5, last_sunday(13, 2), DataAccessResult::OtherReason),
            (6, last_sunday(10, 24), DataAccessResult::OtherReason),
            (7, Data::Integer(121), DataAccessResult::OtherReason),
            (8, Data::Unsigned(1), DataAccessResult::TypeUnmatched),
            (10, Data::Null, DataAccessResult::ObjectUndefined),
        ];
        for (attribute, value, expected) in cases {
            let mut clock = before;
            assert_eq!(clock.set(attribute, &value, at), Err(expected), "{value:?}");
            assert_eq!(clock, before);
        }
    }

    #[test]
    fn methods_adjust() {
        let truly = time("2026-01-01T00:07:29Z");
        let window = |text: &str| {
            Data::OctetString(
                CosemDateTime::from_utc(time(text))
                    .unwrap()
                    .to_bytes()
                    .to_vec(),
            )
        };
        let preset = |until| {
            Data::Structure(vec![
                window("2026-01-01T06:00:00Z"),
                window("2026-01-01T00:00:00Z"),
                window(until),
            ])
        };
        let mut clock = clock(ClockConfig::default());
        let mut invoke = |method, parameters: Option<&Data>| {
            let mut used = clock;
            let result = used.invoke(method, parameters, Period::HALF_HOUR, truly);
            if method == 5 {
                clock = used;
            }
            result.map(|step| step.map(|step| step.after.to_string()))
        };
        let shows = |text: &str| Ok(Some(time(text).to_string()));
        assert_eq!(invoke(1, None), shows("2026-01-01T00:00:00Z"));
        assert_eq!(invoke(2, None), shows("2026-01-01T00:00:00Z"));
        assert_eq!(invoke(3, None), shows("2026-01-01T00:07:00Z"));
        assert_eq!(invoke(4, None), Err(ActionResult::OtherReason));
        let early = preset("2026-01-01T00:01:00Z");
        assert_eq!(invoke(5, Some(&early)), Ok(None));
        assert_eq!(invoke(4, None), Err(ActionResult::OtherReason), "too late");
        let open = preset("2026-01-01T01:00:00Z");
        assert_eq!(invoke(5, Some(&open)), Ok(None));
        assert_eq!(invoke(4, None), shows("2026-01-01T06:00:00Z"));
        assert_eq!(
            invoke(6, Some(&Data::Long(-9))),
            shows("2026-01-01T00:07:20Z")
        );
        assert_eq!(
            invoke(6, Some(&Data::Long(901))),
            Err(ActionResult::OtherReason)
        );
        assert_eq!(invoke(6, None), Err(ActionResult::TypeUnmatched));
        assert_eq!(invoke(7, None), Err(ActionResult::ObjectUndefined));
    }

    #[test]
    fn a_clock_is_remembered_whole() {
        let mut clock = central_europe();
        clock.preset = Some(Preset {
            time: time("2026-05-01T00:00:00Z"),
            from: time("2026-05-01T00:00:00Z"),
            until: time("2026-05-02T00:00:00Z"),
        });
        let mut bytes = Vec::new();
        clock.encode(&mut bytes);
        assert_eq!(Clock::decode(&mut Reader::new(&bytes)), Ok(Some(clock)));
        for cut in 0..bytes.len() {
            assert!(Clock::decode(&mut Reader::new(&bytes[..cut])).is_err());
        }
        bytes[0] = 0x80;
        assert_eq!(Clock::decode(&mut Reader::new(&bytes)), Ok(None));
    }
}
