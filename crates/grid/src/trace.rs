//! Replay of a measured load: half-hourly energy of one home, as published by Low Carbon London.

use std::collections::BTreeMap;

use gridloom_core::{Day, MilliwattHours, Period, UtcTime};

use crate::load::Segment;

/// Milliwatts that spend one watt-hour in half an hour.
///
/// 1 Wh = 3 600 000 mJ over 1 800 s is 2 000 mW: replaying whole watt-hours needs whole
/// milliwatts only, so a meter that integrates them finds the published energy again, exactly.
const MW_PER_WH: i64 = 2_000;

const MS_PER_DAY: u32 = 86_400_000;
const MS_PER_SLOT: u32 = 1_800_000;

/// Which end of the half-hour a timestamp names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamp {
    /// The start.
    Start,
    /// The end.
    End,
}

/// Our reading of Low Carbon London's `tstp`: the start of the half-hour, in GMT.
///
/// The publisher does not say. The data do: homes with night-tariff heating (MAC000034,
/// MAC000003) draw their full load in the rows 00:00 to 06:30 of winter days and none at 07:00,
/// which is the Economy 7 night of 00:00 to 07:00 only if the rows name the start.
pub const LCL_STAMP: Stamp = Stamp::Start;

/// The measured energy of one home per half-hour. A half-hour without a row is a gap and stays one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoadTrace {
    watt_hours: BTreeMap<UtcTime, u32>,
}

/// Why a trace was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The first line is not the expected header.
    #[error("load trace: the header is {got:?}; expected `LCLid,tstp,kwh` or `id,tstp,kwh`")]
    Header {
        /// What stands there.
        got: String,
    },
    /// A line has not three fields.
    #[error("load trace line {line}: {got} fields, expected id,tstp,kwh")]
    Fields {
        /// Line number, from 1.
        line: usize,
        /// How many there are.
        got: usize,
    },
    /// An empty or oversized home identifier.
    #[error("load trace line {line}: home id {got:?}; expected 1 to 32 letters or digits")]
    Home {
        /// Line number, from 1.
        line: usize,
        /// What stands there.
        got: String,
    },
    /// A timestamp that is none, or not on the half-hour.
    #[error("load trace line {line}: tstp {got:?}; expected YYYY-MM-DD HH:MM:SS on a half-hour")]
    Time {
        /// Line number, from 1.
        line: usize,
        /// What stands there.
        got: String,
    },
    /// An energy that is none, too large, or not a whole number of watt-hours.
    #[error(
        "load trace line {line}: kwh {got:?}; expected at most {max} with whole watt-hours",
        max = LoadTrace::KWH_MAX
    )]
    Energy {
        /// Line number, from 1.
        line: usize,
        /// What stands there.
        got: String,
    },
    /// The same half-hour of the same home twice.
    #[error("load trace line {line}: {home} has {end} already; remove one of the rows")]
    Duplicate {
        /// Line number of the second.
        line: usize,
        /// Whose.
        home: String,
        /// The interval's end.
        end: UtcTime,
    },
    /// More rows than a trace may hold.
    #[error("load trace line {line}: {home} has more than {max} rows", max = LoadTrace::ROWS_MAX)]
    TooMany {
        /// Line number of the first too many.
        line: usize,
        /// Whose.
        home: String,
    },
}

impl LoadTrace {
    /// The period of every row.
    pub const PERIOD: Period = Period::HALF_HOUR;
    /// The most rows of one home: five years. More are refused.
    pub const ROWS_MAX: usize = 5 * 366 * 48;
    /// The highest energy of a half-hour, in kWh: 30 kW. More is refused.
    pub const KWH_MAX: u32 = 15;

    /// Reads rows of `id,tstp,kwh` into one trace per home, strictly.
    ///
    /// The published energies are whole watt-hours, but some carry the noise of single-precision
    /// floats (`1.0779999`). Up to three decimals are taken as they stand; with four to seven, the
    /// nearest watt-hour is taken if it is the only one within single precision
    /// (5 · 10⁻⁷ kWh below 16 kWh), else the row is refused. `0.0005` is refused.
    ///
    /// # Errors
    ///
    /// [`TraceError`], naming the line.
    pub fn parse_csv(text: &str, stamp: Stamp) -> Result<BTreeMap<String, Self>, TraceError> {
        let mut lines = text.lines();
        let header = lines.next().unwrap_or_default();
        if !matches!(header, "LCLid,tstp,kwh" | "id,tstp,kwh") {
            return Err(TraceError::Header {
                got: header.to_owned(),
            });
        }
        let mut homes: BTreeMap<String, Self> = BTreeMap::new();
        for (index, row) in lines.enumerate() {
            let line = index + 2;
            let fields: Vec<&str> = row.split(',').collect();
            let &[home, time, energy] = fields.as_slice() else {
                return Err(TraceError::Fields {
                    line,
                    got: fields.len(),
                });
            };
            let end = parse_end(time, stamp).ok_or_else(|| TraceError::Time {
                line,
                got: time.to_owned(),
            })?;
            let watt_hours = parse_watt_hours(energy).ok_or_else(|| TraceError::Energy {
                line,
                got: energy.to_owned(),
            })?;
            if home.len() > 32
                || home.is_empty()
                || !home.bytes().all(|b| b.is_ascii_alphanumeric())
            {
                return Err(TraceError::Home {
                    line,
                    got: home.to_owned(),
                });
            }
            let trace = homes.entry(home.to_owned()).or_default();
            if trace.watt_hours.len() == Self::ROWS_MAX {
                return Err(TraceError::TooMany {
                    line,
                    home: home.to_owned(),
                });
            }
            if trace.watt_hours.insert(end, watt_hours).is_some() {
                return Err(TraceError::Duplicate {
                    line,
                    home: home.to_owned(),
                    end,
                });
            }
        }
        Ok(homes)
    }

    /// The three homes of January 2013 that ship with the program, by their published names.
    ///
    /// # Panics
    ///
    /// If the shipped file is broken, which a test rules out.
    pub fn sample() -> BTreeMap<String, Self> {
        Self::parse_csv(include_str!("../data/lcl_sample.csv"), LCL_STAMP)
            .expect("the shipped sample is valid")
    }

    /// The energy of the half-hour that ends at `end`; `None` in a gap.
    pub fn energy(&self, end: UtcTime) -> Option<MilliwattHours> {
        self.watt_hours
            .get(&end)
            .map(|wh| MilliwattHours::new(i64::from(*wh) * 1_000))
    }

    /// The half-hours that were measured, by their ends.
    pub fn iter(&self) -> impl Iterator<Item = (UtcTime, MilliwattHours)> {
        self.watt_hours
            .iter()
            .map(|(end, wh)| (*end, MilliwattHours::new(i64::from(*wh) * 1_000)))
    }

    /// Number of measured half-hours.
    pub fn len(&self) -> usize {
        self.watt_hours.len()
    }

    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.watt_hours.is_empty()
    }

    /// The days on which something was measured: the first and the last.
    pub fn days(&self) -> Option<(Day, Day)> {
        let (first, _) = self.watt_hours.first_key_value()?;
        let (last, _) = self.watt_hours.last_key_value()?;
        Some((Self::PERIOD.day_of(*first), Self::PERIOD.day_of(*last)))
    }

    /// The half-hours of `day` as constant power on phase L1, in order. A gap has no segment:
    /// whoever replays it decides what an unmeasured half-hour is.
    ///
    /// Reactive power was not measured and is zero.
    pub fn segments(&self, day: Day) -> impl Iterator<Item = Segment> + '_ {
        (0..Self::PERIOD.per_day()).filter_map(move |slot| {
            let slot_16 = u16::try_from(slot).expect("48 slots fit u16");
            let wh = self
                .watt_hours
                .get(&Self::PERIOD.end_of_slot(day, slot_16))?;
            let from_ms = slot * MS_PER_SLOT;
            debug_assert!(from_ms < MS_PER_DAY);
            Some(Segment {
                from_ms,
                to_ms: from_ms + MS_PER_SLOT,
                active_mw: [i64::from(*wh) * MW_PER_WH, 0, 0],
                reactive_mvar: [0; 3],
                on: crate::appliance::ApplianceSet::EMPTY,
            })
        })
    }
}

fn parse_end(text: &str, stamp: Stamp) -> Option<UtcTime> {
    let time = UtcTime::parse(text)?;
    let on_grid = LoadTrace::PERIOD.end_of_interval_at(time) == time;
    on_grid.then(|| match stamp {
        Stamp::Start => time + LoadTrace::PERIOD.duration(),
        Stamp::End => time,
    })
}

/// Kilowatt-hours with up to seven decimals to whole watt-hours.
fn parse_watt_hours(text: &str) -> Option<u32> {
    /// Ten-millionths of a kWh in a watt-hour.
    const UNITS_PER_WH: u32 = 10_000;
    /// Half the spacing of single-precision floats from 8 to 16, in the same units, rounded up.
    const FLOAT_NOISE: u32 = 5;

    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str, max: usize| {
        (1..=max).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
    };
    if !digits(whole, 2) || !digits(fraction, 7) {
        return None;
    }
    let whole: u32 = whole.parse().ok()?;
    let fraction: u32 = format!("{fraction:0<7}").parse().ok()?;
    let units = whole * 10_000_000 + fraction;
    let watt_hours = (units + UNITS_PER_WH / 2) / UNITS_PER_WH;
    let off_by = units.abs_diff(watt_hours * UNITS_PER_WH);
    (off_by <= FLOAT_NOISE && watt_hours <= LoadTrace::KWH_MAX * 1_000).then_some(watt_hours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energies_are_whole_watt_hours() {
        let cases = [
            ("0.219", Some(219)),
            ("0", Some(0)),
            ("1.5", Some(1_500)),
            ("1.0779999", Some(1_078)),
            ("1.2410001", Some(1_241)),
            ("0.0005", None),
            ("0.2195", None),
            ("0.21900000", None),
            ("15", Some(15_000)),
            ("15.001", None),
            ("-1", None),
            ("+1", None),
            (".5", None),
            ("1.", None),
            ("Null", None),
            ("", None),
            ("1e3", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_watt_hours(text), expected, "{text}");
        }
    }

    #[test]
    fn stamps_name_the_start_or_the_end() {
        let cases = [
            (
                "2013-01-01 00:00:00",
                Stamp::Start,
                Some("2013-01-01T00:30:00Z"),
            ),
            (
                "2013-01-01 00:30:00",
                Stamp::End,
                Some("2013-01-01T00:30:00Z"),
            ),
            ("2013-01-01 00:15:00", Stamp::End, None),
            ("2013-01-01", Stamp::End, None),
        ];
        for (text, stamp, expected) in cases {
            assert_eq!(
                parse_end(text, stamp),
                expected.and_then(UtcTime::parse),
                "{text} {stamp:?}"
            );
        }
    }

    #[test]
    fn broken_files_are_named() {
        let good = "MAC1,2013-01-01 00:00:00,0.1\n";
        let cases = [
            ("id,time,kwh\n".to_owned(), "header"),
            (format!("id,tstp,kwh\n{good}{good}"), "line 3: MAC1 has"),
            (format!("id,tstp,kwh\n{good}\n"), "line 3: 1 fields"),
            (
                "id,tstp,kwh\nMAC1,2013-01-01 00:00:00,Null".to_owned(),
                "kwh",
            ),
            ("id,tstp,kwh\nMAC1,2013-01-01 00:00:01,0".to_owned(), "tstp"),
            ("id,tstp,kwh\n,2013-01-01 00:00:00,0".to_owned(), "home id"),
        ];
        for (text, words) in cases {
            let error = LoadTrace::parse_csv(&text, Stamp::Start).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn replay_spends_exactly_the_published_energy_and_keeps_gaps() {
        let homes = LoadTrace::sample();
        assert_eq!(homes.len(), 3);
        let mut gaps = 0;
        for (home, trace) in &homes {
            let (first, last) = trace.days().unwrap();
            assert_eq!(
                (first, last),
                (
                    Day::parse("2013-01-01").unwrap(),
                    Day::parse("2013-01-31").unwrap()
                )
            );
            gaps += 31 * 48 - trace.len();
            let published: i64 = trace.iter().map(|(_, energy)| energy.get()).sum();
            let microjoules: i64 = first
                .month()
                .days()
                .flat_map(|day| trace.segments(day).collect::<Vec<_>>())
                .map(|s| s.active_mw[0] * i64::from(s.to_ms - s.from_ms))
                .sum();
            // One milliwatt-hour is 3 600 000 µJ.
            assert_eq!(microjoules, published * 3_600_000, "{home}");
        }
        assert_eq!(gaps, 7);
        let hole = UtcTime::parse("2013-01-14T09:30:00Z").unwrap();
        assert_eq!(homes["MAC000042"].energy(hole), None);
    }
}
