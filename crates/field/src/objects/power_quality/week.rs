//! Ten-minute means, and how many of a week lie where EN 50160 wants them.

use std::time::Duration;

use gridloom_core::UtcTime;

use super::PHASES;
use crate::objects::retained::{Keeper, Kept, RetainedError};

/// The time over which EN 50160 averages.
pub const TEN_MINUTES: Duration = Duration::from_secs(600);

const STEP_MS: i64 = 600_000;
const WEEK_MS: i64 = 7 * 86_400_000;
/// 1970-01-01 was a Thursday: the Monday before it.
const MONDAY_MS: i64 = -3 * 86_400_000;

/// The ten-minute means of one phase over one week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WeekStatistics {
    /// Means that count: those of ten whole minutes without an interruption.
    pub means: u32,
    /// Of these, within ±10 % of the declared voltage; EN 50160 wants 95 %.
    pub within_10: u32,
    /// Of these, within +10 % and −15 %; EN 50160 wants all.
    pub within_15: u32,
    /// The lowest mean in millivolts; 0 where there is none.
    pub lowest_mv: u32,
    /// The highest mean in millivolts; 0 where there is none.
    pub highest_mv: u32,
}

impl WeekStatistics {
    /// Whether the week is as EN 50160 wants it; a week without means is.
    pub fn complies(&self) -> bool {
        u64::from(self.within_10) * 100 >= u64::from(self.means) * 95
            && self.within_15 == self.means
    }

    fn count(&mut self, mean_mv: u32, nominal_mv: u32) {
        let share = u64::from(mean_mv) * 100;
        let nominal = u64::from(nominal_mv);
        let highest = nominal * 110;
        self.within_10 += u32::from((nominal * 90..=highest).contains(&share));
        self.within_15 += u32::from((nominal * 85..=highest).contains(&share));
        self.lowest_mv = if self.means == 0 {
            mean_mv
        } else {
            self.lowest_mv.min(mean_mv)
        };
        self.highest_mv = self.highest_mv.max(mean_mv);
        self.means += 1;
    }
}

/// What decides about a mean.
pub(super) struct Limits {
    pub(super) phases: usize,
    pub(super) nominal_mv: u32,
    pub(super) cut_mv: u32,
}

/// The running ten minutes, the running week, the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Accrual {
    cursor: UtcTime,
    /// Millivolts times milliseconds of the running ten minutes.
    sums: [u64; PHASES],
    /// Whether each has been there for all of the running ten minutes.
    whole: [bool; PHASES],
    week: [WeekStatistics; PHASES],
    last: Option<[WeekStatistics; PHASES]>,
}

impl Accrual {
    pub(super) fn new(at: UtcTime) -> Self {
        Self {
            cursor: at,
            sums: [0; PHASES],
            // The ten minutes have begun before us, unless we come right at their start.
            whole: [at.as_millis().rem_euclid(STEP_MS) == 0; PHASES],
            week: [WeekStatistics::default(); PHASES],
            last: None,
        }
    }

    pub(super) const fn last_week(&self) -> Option<&[WeekStatistics; PHASES]> {
        self.last.as_ref()
    }

    pub(super) fn week_end(&self) -> UtcTime {
        grid_after(self.cursor, WEEK_MS)
    }

    /// Goes on to `until` with `voltages`, and says when the last week ended on the way.
    pub(super) fn advance(
        &mut self,
        voltages: Option<[u32; PHASES]>,
        limits: &Limits,
        until: UtcTime,
    ) -> Option<UtcTime> {
        if until < self.cursor {
            // The clock was set back: these ten minutes are not whole.
            self.restart(until);
            return None;
        }
        let mut ended = None;
        if voltages.is_none() {
            // Without voltage there are no means: only the last week's end matters.
            while self.week_end() <= until {
                ended = Some(self.week_end());
                self.end_week();
                self.cursor = self.week_end();
            }
            if until > self.cursor {
                self.restart(until);
            }
            return ended;
        }
        while self.cursor < until {
            let step_end = grid_after(self.cursor, STEP_MS);
            let end = step_end.min(until);
            let week_end = self.week_end();
            let millis = u64::try_from(end.as_millis() - self.cursor.as_millis())
                .expect("the end is after the cursor");
            for (phase, volts) in voltages.into_iter().flatten().enumerate() {
                self.sums[phase] += u64::from(volts) * millis;
                self.whole[phase] &= volts >= limits.cut_mv;
            }
            self.cursor = end;
            if end == step_end {
                self.end_step(limits);
            }
            if end == week_end {
                self.end_week();
                ended = Some(end);
            }
        }
        ended
    }

    fn end_step(&mut self, limits: &Limits) {
        let step = STEP_MS.unsigned_abs();
        for phase in 0..limits.phases {
            if self.whole[phase] {
                let mean = u32::try_from(self.sums[phase] / step)
                    .expect("a mean is at most the highest of its values");
                self.week[phase].count(mean, limits.nominal_mv);
            }
        }
        self.sums = [0; PHASES];
        self.whole = [true; PHASES];
    }

    fn end_week(&mut self) {
        self.last = Some(core::mem::take(&mut self.week));
    }

    fn restart(&mut self, at: UtcTime) {
        self.cursor = at;
        self.sums = [0; PHASES];
        self.whole = [at.as_millis().rem_euclid(STEP_MS) == 0; PHASES];
    }

    pub(super) fn keep(&self, keeper: &mut Keeper<'_>) {
        keeper.time(self.cursor);
        for (sum, whole) in self.sums.into_iter().zip(self.whole) {
            keeper.put(sum.to_be_bytes());
            keeper.flag(whole);
        }
        keep_week(keeper, &self.week);
        keeper.option(self.last.as_ref(), keep_week);
    }

    pub(super) fn read(kept: &mut Kept<'_>) -> Result<Self, RetainedError> {
        let mut accrual = Self::new(kept.time()?);
        // The highest voltage of 32 bits over ten minutes.
        let most = u64::from(u32::MAX) * STEP_MS.unsigned_abs();
        for phase in 0..PHASES {
            accrual.sums[phase] = kept.u64()?;
            kept.require(accrual.sums[phase] <= most, "sum")?;
            accrual.whole[phase] = kept.flag("whole")?;
        }
        accrual.week = read_week(kept)?;
        accrual.last = kept.option("last week", read_week)?;
        Ok(accrual)
    }
}

fn keep_week(keeper: &mut Keeper<'_>, week: &[WeekStatistics; PHASES]) {
    for phase in week {
        for value in [
            phase.means,
            phase.within_10,
            phase.within_15,
            phase.lowest_mv,
            phase.highest_mv,
        ] {
            keeper.put(value.to_be_bytes());
        }
    }
}

fn read_week(kept: &mut Kept<'_>) -> Result<[WeekStatistics; PHASES], RetainedError> {
    let mut week = [WeekStatistics::default(); PHASES];
    for phase in &mut week {
        *phase = WeekStatistics {
            means: kept.u32()?,
            within_10: kept.u32()?,
            within_15: kept.u32()?,
            lowest_mv: kept.u32()?,
            highest_mv: kept.u32()?,
        };
        // A week has 1008 means.
        let plausible = phase.means <= 1_008
            && phase.within_10 <= phase.within_15
            && phase.within_15 <= phase.means;
        kept.require(plausible, "means")?;
    }
    Ok(week)
}

/// The first multiple of `length` since a Monday after `time`.
fn grid_after(time: UtcTime, length: i64) -> UtcTime {
    let since = time.as_millis() - MONDAY_MS;
    UtcTime::from_millis((since.div_euclid(length) + 1) * length + MONDAY_MS)
}
