//! The billing periods of a meter: what its registers stood at when each month ended, or when
//! management ended one by hand.

use std::collections::VecDeque;

use gridloom_core::bytes::{Reader, Truncated};
use gridloom_core::{Month, UtcTime};

use crate::features::TARIFFS;
use crate::metrology::CHANNELS;
use crate::objects::maximum_demand::Peak;

/// A billing period that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BillingPeriod {
    /// When it ended, by the meter's clock.
    pub(crate) end: UtcTime,
    /// The registers then, in whole units: import, export, QI–QIV, apparent.
    pub(crate) registers: [u64; CHANNELS],
    /// Import by tariff, in Wh.
    pub(crate) tariffs: [u64; TARIFFS],
    /// The highest mean of active (W) and of apparent import (VA).
    pub(crate) peaks: [Peak; 2],
}

impl BillingPeriod {
    /// When it ended, by the meter's clock.
    pub fn end(&self) -> UtcTime {
        self.end
    }

    /// Import in each tariff, in Wh, as of then.
    pub fn tariffs(&self) -> [u64; TARIFFS] {
        self.tariffs
    }

    /// The highest mean of active (W) and of apparent import (VA) in it.
    pub fn peaks(&self) -> [Peak; 2] {
        self.peaks
    }

    /// The registers then, in whole Wh, varh and VAh: import, export, QI–QIV, apparent.
    pub fn registers(&self) -> [u64; CHANNELS] {
        self.registers
    }
}

/// The latest billing periods, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BillingPeriods {
    periods: VecDeque<BillingPeriod>,
    /// The month that runs; `None` until an interval has ended.
    month: Option<Month>,
    /// Ended so far, those that fell out included.
    ended: u32,
}

impl BillingPeriods {
    /// Periods kept; the oldest falls out for a new one.
    pub const KEPT_MAX: usize = 13;

    /// Every period kept, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &BillingPeriod> {
        self.periods.iter()
    }

    /// Periods kept.
    pub fn len(&self) -> usize {
        self.periods.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.periods.is_empty()
    }

    /// Periods ended since installation.
    pub fn ended(&self) -> u32 {
        self.ended
    }

    /// The meter's clock has come to `shown`, where an interval ended or supply returned.
    /// Returns the end of the month that is over, if one is: [`Self::end_at`] comes next.
    pub(crate) fn passed(&mut self, shown: UtcTime) -> Option<UtcTime> {
        let running = shown.day().month();
        let month = self.month.replace(running)?;
        if running > month {
            return Some(running.first_day().start());
        }
        // A clock that was set back does not end a month twice.
        self.month = Some(month);
        None
    }

    /// A period ends.
    pub(crate) fn end(&mut self, period: BillingPeriod) {
        if self.periods.len() == Self::KEPT_MAX {
            self.periods.pop_front();
        }
        self.ended = self.ended.saturating_add(1);
        self.periods.push_back(period);
    }

    /// Forgets the periods kept; the month runs on.
    pub(crate) fn clear(&mut self) {
        self.periods.clear();
    }

    /// Appends them to a memory cell.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let (year, month) = self.month.map_or((0, 0), |month| {
            let year = u16::try_from(month.year()).expect("a month's year is 1 to 9999");
            (year, month.number())
        });
        out.extend(year.to_be_bytes());
        out.push(month);
        out.extend(self.ended.to_be_bytes());
        out.push(u8::try_from(self.periods.len()).expect("a dozen or so"));
        for period in &self.periods {
            out.extend(period.end.as_millis().to_be_bytes());
            for register in period.registers.iter().chain(&period.tariffs) {
                out.extend(register.to_be_bytes());
            }
            for peak in period.peaks {
                out.extend(peak.value.to_be_bytes());
                let at = peak.at.map_or(i64::MIN, UtcTime::as_millis);
                out.extend(at.to_be_bytes());
                out.push(u8::from(peak.interrupted));
            }
        }
    }

    /// What [`Self::encode`] wrote; `Ok(None)` for values that no meter has.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Option<Self>, Truncated> {
        /// The years 1970 to 9999.
        const TIMES: core::ops::RangeInclusive<i64> = 0..=253_402_300_799_999;
        let (year, number) = (reader.u16()?, reader.u8()?);
        let month = Month::new(year.into(), number).filter(|month| month.year() < 9_999);
        let mut holds = month.is_some() || (year, number) == (0, 0);
        let ended = reader.u32()?;
        let count = usize::from(reader.u8()?);
        holds &= count <= Self::KEPT_MAX;
        let mut periods = VecDeque::new();
        for _ in 0..count.min(Self::KEPT_MAX) {
            let end = reader.i64()?;
            holds &= TIMES.contains(&end);
            let mut registers = [0; CHANNELS];
            let mut tariffs = [0; TARIFFS];
            for register in registers.iter_mut().chain(&mut tariffs) {
                *register = reader.u64()?;
            }
            let mut peaks = [Peak::default(); 2];
            for peak in &mut peaks {
                peak.value = reader.u32()?;
                let at = reader.i64()?;
                peak.at = (at != i64::MIN).then(|| UtcTime::from_millis(at));
                let interrupted = reader.u8()?;
                peak.interrupted = interrupted == 1;
                holds &= interrupted <= 1 && (at == i64::MIN || TIMES.contains(&at));
            }
            periods.push_back(BillingPeriod {
                end: UtcTime::from_millis(end),
                registers,
                tariffs,
                peaks,
            });
        }
        Ok(holds.then_some(Self {
            periods,
            month,
            ended,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> UtcTime {
        UtcTime::parse(text).unwrap()
    }

    fn period(end: UtcTime, watt_hours: u64) -> BillingPeriod {
        let mut registers = [0; CHANNELS];
        registers[0] = watt_hours;
        let peak = Peak {
            value: 4_200,
            at: Some(end),
            interrupted: true,
        };
        BillingPeriod {
            end,
            registers,
            tariffs: [watt_hours; TARIFFS],
            peaks: [peak, Peak::default()],
        }
    }

    #[test]
    fn each_month_ends_once_and_the_oldest_falls_out() {
        // The end of an interval, and how many periods have ended by then.
        let cases = [
            ("2026-01-31T23:45:00Z", 0),
            ("2026-02-01T00:00:00Z", 1),
            ("2026-02-01T00:15:00Z", 1),
            // Set back, and over the same midnight again.
            ("2026-01-31T22:00:00Z", 1),
            ("2026-02-01T00:00:00Z", 1),
            // Dark from March to May.
            ("2026-05-02T00:00:00Z", 2),
            ("2026-06-01T00:00:00Z", 3),
        ];
        let mut periods = BillingPeriods::default();
        for (wh, (end, ended)) in (0..).zip(cases) {
            if let Some(over) = periods.passed(time(end)) {
                periods.end(period(over, wh));
            }
            assert_eq!(periods.ended(), ended, "{end}");
        }
        let ends: Vec<String> = periods
            .iter()
            .map(|period| period.end.to_string())
            .collect();
        let midnights = ["2026-02-01", "2026-05-01", "2026-06-01"];
        let expected = midnights.map(|day| time(&format!("{day}T00:00:00Z")).to_string());
        assert_eq!(ends, expected);
        let registers: Vec<u64> = periods.iter().map(|period| period.registers[0]).collect();
        assert_eq!(registers, [1, 5, 6]);

        for number in 0..20 {
            periods.end(period(time("2026-06-02T00:00:00Z"), 100 + number));
        }
        assert_eq!(
            (periods.len(), periods.ended()),
            (BillingPeriods::KEPT_MAX, 23)
        );
        assert_eq!(periods.iter().next().unwrap().registers[0], 107);

        let mut bytes = Vec::new();
        periods.encode(&mut bytes);
        assert_eq!(
            BillingPeriods::decode(&mut Reader::new(&bytes)),
            Ok(Some(periods.clone()))
        );
        for cut in 0..bytes.len() {
            assert!(BillingPeriods::decode(&mut Reader::new(&bytes[..cut])).is_err());
        }
        bytes[2] = 13;
        assert_eq!(BillingPeriods::decode(&mut Reader::new(&bytes)), Ok(None));
        periods.clear();
        assert!(periods.is_empty());
    }
}
