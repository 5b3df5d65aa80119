//! Work that comes again: due times on a fixed grid, each with a window.

use std::time::Duration;

use gridloom_core::{Seed, UtcTime};

use super::job::{Lane, draw};

/// One of a meter's recurrences; the registry gives the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecurrenceId(pub u16);

/// Why times make no recurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecurrenceError {
    /// The period is outside one second to [`Recurrence::PERIOD_MAX`], or no whole seconds.
    #[error("recurrence: a period of {period:?}; use whole seconds, 1 s to 366 days")]
    Period {
        /// The period.
        period: Duration,
    },
    /// The window is empty or longer than the period.
    #[error("recurrence: a window of {window:?}; use more than nothing and at most {period:?}")]
    Window {
        /// The window.
        window: Duration,
        /// The period.
        period: Duration,
    },
    /// The jitter does not leave any of the window.
    #[error("recurrence: a jitter of {jitter:?}; use less than the window of {window:?}")]
    Jitter {
        /// The longest delay.
        jitter: Duration,
        /// The window.
        window: Duration,
    },
    /// The offset is not below the period.
    #[error("recurrence: an offset of {offset:?}; use less than the period of {period:?}")]
    Offset {
        /// The offset.
        offset: Duration,
        /// The period.
        period: Duration,
    },
}

/// Due times at `offset` into every `period` since 1970, each one open for `window`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recurrence {
    period_ms: i64,
    offset_ms: i64,
    window: Duration,
    jitter: Duration,
    lane: Lane,
}

impl Recurrence {
    /// The longest period.
    pub const PERIOD_MAX: Duration = Duration::from_secs(366 * 86_400);

    /// A periodic reading. The start of each occurrence is drawn from up to `jitter` after its
    /// due time; one that has not succeeded `window` after its due time is missed.
    ///
    /// # Errors
    ///
    /// Times that contradict each other; see [`RecurrenceError`].
    pub fn new(
        period: Duration,
        offset: Duration,
        window: Duration,
        jitter: Duration,
    ) -> Result<Self, RecurrenceError> {
        if period.is_zero() || period.subsec_nanos() != 0 || period > Self::PERIOD_MAX {
            return Err(RecurrenceError::Period { period });
        }
        if offset >= period {
            return Err(RecurrenceError::Offset { offset, period });
        }
        if window.as_millis() == 0 || window > period {
            return Err(RecurrenceError::Window { window, period });
        }
        if jitter >= window {
            return Err(RecurrenceError::Jitter { jitter, window });
        }
        let millis =
            |time: Duration| i64::try_from(time.as_millis()).expect("at most a year was checked");
        Ok(Self {
            period_ms: millis(period),
            offset_ms: millis(offset),
            window,
            jitter,
            lane: Lane::Periodic,
        })
    }

    /// The same times in another lane.
    #[must_use]
    pub const fn in_lane(mut self, lane: Lane) -> Self {
        self.lane = lane;
        self
    }

    /// The lane of its jobs.
    pub const fn lane(&self) -> Lane {
        self.lane
    }

    /// The last due time at or before `time`.
    pub fn due_at_or_before(&self, time: UtcTime) -> UtcTime {
        self.due(self.number(time))
    }

    /// The first due time at or after `time`.
    pub fn due_at_or_after(&self, time: UtcTime) -> UtcTime {
        let before = self.due_at_or_before(time);
        if before == time {
            before
        } else {
            self.due_after(before)
        }
    }

    /// The first due time after `time`.
    pub fn due_after(&self, time: UtcTime) -> UtcTime {
        self.due(self.number(time).saturating_add(1))
    }

    /// The last due time before the due time `due`.
    pub(super) fn due_before(&self, due: UtcTime) -> UtcTime {
        self.due(self.number(due).saturating_sub(1))
    }

    /// When the occurrence due at `due` is missed.
    pub fn deadline(&self, due: UtcTime) -> UtcTime {
        due + self.window
    }

    /// How many occurrences are due from `first` to `last`, both included.
    pub(super) fn count(&self, first: UtcTime, last: UtcTime) -> u64 {
        u64::try_from(self.number(last) - self.number(first) + 1).unwrap_or(0)
    }

    /// The delay of the occurrence due at `due`; the same one after a restart.
    pub(super) fn jitter(&self, seed: Seed, due: UtcTime) -> Duration {
        draw(self.jitter, seed.nth(self.number(due).unsigned_abs()))
    }

    fn number(&self, time: UtcTime) -> i64 {
        time.as_millis()
            .saturating_sub(self.offset_ms)
            .div_euclid(self.period_ms)
    }

    fn due(&self, number: i64) -> UtcTime {
        UtcTime::from_millis(
            number
                .saturating_mul(self.period_ms)
                .saturating_add(self.offset_ms),
        )
    }
}

/// A recurrence of a meter, and its next due time.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) recurrence: Recurrence,
    pub(super) next_due: UtcTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_times_lie_on_the_grid() {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        let hourly = Recurrence::new(minutes(60), minutes(5), minutes(50), minutes(10)).unwrap();
        let at = |n: i64| UtcTime::from_secs(n * 60);
        for (time, before, after_or_at, after) in [
            (5, 5, 5, 65),
            (6, 5, 65, 65),
            (4, -55, 5, 5),
            (-60, -115, -55, -55),
        ] {
            let time = at(time);
            assert_eq!(hourly.due_at_or_before(time), at(before));
            assert_eq!(hourly.due_at_or_after(time), at(after_or_at));
            assert_eq!(hourly.due_after(time), at(after));
        }
        assert_eq!(hourly.deadline(at(5)), at(55));
        assert_eq!(hourly.count(at(5), at(125)), 3);
        let jitters: Vec<_> = (0..50)
            .map(|k| hourly.jitter(Seed::new(1), at(5 + 60 * k)))
            .collect();
        assert!(jitters.iter().all(|jitter| *jitter <= minutes(10)));
        assert!(jitters.iter().any(|jitter| *jitter > minutes(5)));
        assert!(jitters.iter().any(|jitter| *jitter < minutes(5)));
    }

    #[test]
    fn times_that_contradict_each_other_are_refused() {
        let s = Duration::from_secs;
        for (period, offset, window, jitter, good) in [
            (s(900), s(0), s(900), s(0), true),
            (s(0), s(0), s(0), s(0), false),
            (Duration::from_millis(1_500), s(0), s(1), s(0), false),
            (s(900), s(900), s(900), s(0), false),
            (s(900), s(0), s(901), s(0), false),
            (s(900), s(0), s(0), s(0), false),
            (s(900), s(0), s(600), s(600), false),
            (s(400 * 86_400), s(0), s(600), s(0), false),
        ] {
            let got = Recurrence::new(period, offset, window, jitter);
            assert_eq!(
                got.is_ok(),
                good,
                "{period:?} {offset:?} {window:?} {jitter:?}"
            );
        }
    }
}
