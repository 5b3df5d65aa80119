//! The words of the schedule: jobs, lanes, limits, and what comes out.

use core::fmt;
use std::time::Duration;

use gridloom_core::{MeterId, Seed, UtcTime};

use super::recurrence::RecurrenceId;

/// A job of one schedule; never given twice by it, and not kept over a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// What a single job is for; the number belongs to whoever submitted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u64);

/// A way to meters that bears only so many sessions at once: a gateway, a serial line, an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

/// Who goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Somebody waits in front of a screen.
    OnDemand,
    /// An order: disconnect, set, key change.
    Command,
    /// Readings that are missing.
    Backfill,
    /// Readings that are due.
    Periodic,
}

impl Lane {
    /// Every lane, the first one first.
    pub const ALL: [Self; 4] = [
        Self::OnDemand,
        Self::Command,
        Self::Backfill,
        Self::Periodic,
    ];

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OnDemand => "on-demand",
            Self::Command => "command",
            Self::Backfill => "backfill",
            Self::Periodic => "periodic",
        })
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Work {
    /// One occurrence of a recurrence; on success the registry keeps `due`.
    Recurring {
        /// Which recurrence.
        recurrence: RecurrenceId,
        /// When it was due.
        due: UtcTime,
    },
    /// A single job.
    Once(TaskId),
}

/// How sessions are repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The wait after the first failure; it doubles with each one.
    pub first: Duration,
    /// The longest wait.
    pub max: Duration,
    /// Sessions of one job; after the last one it is given up.
    pub attempts_max: u16,
}

impl RetryPolicy {
    /// The wait after `attempts` failures: between half and all of the doubled one, so that
    /// meters that failed together do not come back together.
    pub(super) fn backoff(&self, attempts: u16, seed: Seed) -> Duration {
        let doublings = u32::from(attempts.saturating_sub(1)).min(31);
        let full = self.first.saturating_mul(1 << doublings).min(self.max);
        let half = full / 2;
        let seed = seed.nth(u64::from(attempts));
        half + draw(half, seed)
    }
}

/// A duration between nothing and `most`, in whole milliseconds.
pub(super) fn draw(most: Duration, seed: Seed) -> Duration {
    let millis = u64::try_from(most.as_millis()).unwrap_or(u64::MAX - 1);
    Duration::from_millis(seed.get() % millis.saturating_add(1))
}

/// The limits of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduleConfig {
    /// Sessions at once, in total.
    pub sessions_max: u32,
    /// Sessions at once over one link.
    pub sessions_per_link_max: u32,
    /// How sessions are repeated.
    pub retry: RetryPolicy,
}

/// How a session ended, as far as the schedule is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The work is done.
    Done,
    /// It may be better next time.
    TryAgain,
    /// It will not be better without an operator.
    Failed,
}

/// Why a job ended without success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// Its window or deadline is over.
    WindowOver {
        /// Sessions that were tried.
        attempts: u16,
    },
    /// Every attempt was used.
    AttemptsUsed {
        /// Sessions that were tried.
        attempts: u16,
    },
    /// The session said that it would not be better next time.
    Permanent,
    /// Somebody took it back, or the meter is gone.
    Cancelled,
}

/// A session to start now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// The job, to be named to [`super::Schedule::handle_finished`].
    pub job: JobId,
    /// With whom.
    pub meter: MeterId,
    /// Its lane.
    pub lane: Lane,
    /// What for.
    pub work: Work,
    /// Which session of this job it is, from 1.
    pub attempt: u16,
    /// When nobody wants it any more.
    pub deadline: UtcTime,
}

/// What the schedule wants done or known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Start a session.
    Start(Start),
    /// Occurrences that did not succeed.
    Missed {
        /// Whose.
        meter: MeterId,
        /// Of which recurrence.
        recurrence: RecurrenceId,
        /// The first due time.
        first: UtcTime,
        /// The last due time.
        last: UtcTime,
        /// How many there are.
        count: u64,
        /// Why.
        failure: Failure,
    },
    /// A single job did not succeed.
    Failed {
        /// The job.
        job: JobId,
        /// With whom.
        meter: MeterId,
        /// What for.
        task: TaskId,
        /// Why.
        failure: Failure,
    },
}

/// Why a job is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// Nobody named this meter's link.
    #[error("schedule: meter {meter} has no link; register it first")]
    UnknownMeter {
        /// The meter.
        meter: MeterId,
    },
    /// Too many jobs or recurrences of one meter.
    #[error("schedule: meter {meter} has too many jobs waiting; wait or cancel some")]
    MeterFull {
        /// The meter.
        meter: MeterId,
    },
    /// [`super::Schedule::JOBS_MAX`] jobs wait.
    #[error("schedule: too many jobs wait; wait or cancel some")]
    Full,
    /// The deadline leaves no time.
    #[error("schedule: the job of meter {meter} would be over at {deadline} before it starts")]
    TooLate {
        /// The meter.
        meter: MeterId,
        /// The deadline.
        deadline: UtcTime,
    },
}

/// A job as the schedule keeps it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) meter: MeterId,
    pub(super) lane: Lane,
    pub(super) work: Work,
    pub(super) deadline: UtcTime,
    pub(super) attempts: u16,
    pub(super) cancelled: bool,
    pub(super) stage: Stage,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Waiting { until: UtcTime },
    Ready { since: UtcTime },
    Running,
}
