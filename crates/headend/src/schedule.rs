//! Who is read when: recurring and single jobs, by lane, within the limits of every link.
//!
//! All times are UTC, because windows are: a due time names an occurrence for ever, also across
//! a restart, and the jitter of an occurrence is drawn from its name alone. What the schedule
//! must remember over a restart is only the due time of the last success of each recurrence
//! ([`Schedule::plan`]); single jobs are submitted again by whoever owns them.
//!
//! Every input costs O(log n) in the number of jobs, times the four lanes.

mod job;
mod queue;
mod recurrence;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gridloom_core::{MeterId, Seed, UtcTime, Wake};

pub use job::{
    Failure, JobId, Lane, LinkId, Outcome, Output, RetryPolicy, ScheduleConfig, ScheduleError,
    Start, TaskId, Work,
};
pub use recurrence::{Recurrence, RecurrenceError, RecurrenceId};

use job::{Job, Stage};
use queue::Queue;
use recurrence::Series;

/// Decides which meter is talked to next.
#[derive(Debug)]
pub struct Schedule {
    config: ScheduleConfig,
    seed: Seed,
    next_job: u64,
    jobs: BTreeMap<JobId, Job>,
    series: BTreeMap<(MeterId, RecurrenceId), Series>,
    queue: Queue,
    timers: BTreeSet<(UtcTime, Timer)>,
    outbox: VecDeque<Output>,
}

/// What happens at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A job may start.
    Release(JobId),
    /// A job is too late, unless it runs.
    Deadline(JobId),
    /// The next occurrence is due.
    Occurrence(MeterId, RecurrenceId),
}

impl Schedule {
    /// Jobs that may wait or run; one more is refused with [`ScheduleError::Full`], and a
    /// recurring one is named as missed.
    pub const JOBS_MAX: usize = 1_048_576;
    /// Single jobs of one meter; one more is refused with [`ScheduleError::MeterFull`].
    pub const JOBS_PER_METER_MAX: usize = 64;
    /// Recurrences of one meter; one more is refused.
    pub const RECURRENCES_PER_METER_MAX: usize = 16;
    /// After so many starts in a row that overtook a lower lane, one of the overtaken has a turn.
    pub const OVERTAKES_MAX: u32 = queue::OVERTAKES_MAX;

    /// An empty schedule; `seed` is the node's own for this machine.
    pub fn new(config: ScheduleConfig, seed: Seed) -> Self {
        Self {
            queue: Queue::new(config.sessions_max, config.sessions_per_link_max),
            config,
            seed,
            next_job: 1,
            jobs: BTreeMap::new(),
            series: BTreeMap::new(),
            timers: BTreeSet::new(),
            outbox: VecDeque::new(),
        }
    }

    /// A meter is reached over `link`; again, when it moves to another one.
    pub fn handle_meter(&mut self, meter: MeterId, link: LinkId) {
        self.expect_drained();
        self.queue.place_meter(meter, link);
        self.start_what_can();
    }

    /// A meter left the registry: its jobs are cancelled, a running session may still finish.
    pub fn handle_meter_gone(&mut self, meter: MeterId) {
        self.expect_drained();
        let gone: Vec<JobId> = self.queue.jobs_of(meter).collect();
        for id in gone {
            self.cancel_job(id);
        }
        let series: Vec<RecurrenceId> = self.recurrences_of(meter).collect();
        for id in series {
            self.drop_series(meter, id);
        }
        self.queue.remove_meter(meter);
        self.start_what_can();
    }

    /// At most so many sessions at once fit on a link: 1 on a line that everybody shares. More
    /// than the configured number are never started.
    ///
    /// # Panics
    ///
    /// If none fits.
    pub fn limit_link(&mut self, link: LinkId, most: u32) {
        assert!(most > 0, "a link that carries no session reads no meter");
        self.expect_drained();
        self.queue.limit_link(link, most);
        self.start_what_can();
    }

    /// A link (a gateway, an address) went down: nothing starts there until it is up again.
    pub fn handle_link_down(&mut self, link: LinkId) {
        self.expect_drained();
        self.queue.set_link(link, queue::LinkState::Down);
    }

    /// A link is up again, or for the first time; links are up unless said otherwise.
    pub fn handle_link_up(&mut self, link: LinkId) {
        self.expect_drained();
        self.queue.set_link(link, queue::LinkState::Up);
        self.start_what_can();
    }

    /// Reads a meter again and again. `last_success` is the due time of the newest occurrence
    /// that succeeded, from the registry: occurrences after it whose window is over are named
    /// as missed, one that is still open is caught up. `None` starts with the next one.
    ///
    /// # Errors
    ///
    /// An unknown meter, or too many recurrences.
    pub fn plan(
        &mut self,
        meter: MeterId,
        id: RecurrenceId,
        recurrence: Recurrence,
        last_success: Option<UtcTime>,
        now: UtcTime,
    ) -> Result<(), ScheduleError> {
        self.expect_drained();
        if !self.queue.knows(meter) {
            return Err(ScheduleError::UnknownMeter { meter });
        }
        let replaces = self.series.contains_key(&(meter, id));
        if !replaces && self.recurrences_of(meter).count() >= Self::RECURRENCES_PER_METER_MAX {
            return Err(ScheduleError::MeterFull { meter });
        }
        self.drop_series(meter, id);
        let next_due = match last_success {
            Some(due) => recurrence.due_after(due),
            None => recurrence.due_at_or_after(now),
        };
        self.series.insert(
            (meter, id),
            Series {
                recurrence,
                next_due,
            },
        );
        self.timers.insert((next_due, Timer::Occurrence(meter, id)));
        self.run_timers(now);
        self.start_what_can();
        Ok(())
    }

    /// Ends a recurrence; its waiting occurrence is cancelled.
    pub fn unplan(&mut self, meter: MeterId, id: RecurrenceId) {
        self.expect_drained();
        self.drop_series(meter, id);
        self.start_what_can();
    }

    /// Adds a single job: it starts at `not_before` or later, and never after `deadline`.
    ///
    /// # Errors
    ///
    /// An unknown meter, a full schedule, a deadline that is over.
    pub fn submit(
        &mut self,
        meter: MeterId,
        lane: Lane,
        task: TaskId,
        not_before: UtcTime,
        deadline: UtcTime,
        now: UtcTime,
    ) -> Result<JobId, ScheduleError> {
        self.expect_drained();
        if !self.queue.knows(meter) {
            return Err(ScheduleError::UnknownMeter { meter });
        }
        if deadline <= now || deadline <= not_before {
            return Err(ScheduleError::TooLate { meter, deadline });
        }
        if self.queue.jobs_of(meter).count() >= Self::JOBS_PER_METER_MAX {
            return Err(ScheduleError::MeterFull { meter });
        }
        if self.jobs.len() >= Self::JOBS_MAX {
            return Err(ScheduleError::Full);
        }
        let id = self.add_job(meter, lane, Work::Once(task), not_before, deadline);
        self.run_timers(now);
        self.start_what_can();
        Ok(id)
    }

    /// Takes a job back. A running one finishes, and its outcome still counts.
    pub fn cancel(&mut self, id: JobId) {
        self.expect_drained();
        self.cancel_job(id);
    }

    /// The session of a job ended.
    ///
    /// # Panics
    ///
    /// If the job does not run.
    pub fn handle_finished(&mut self, id: JobId, outcome: Outcome, now: UtcTime) {
        self.expect_drained();
        let job = self.jobs.get_mut(&id).expect("only a known job finishes");
        assert_eq!(job.stage, Stage::Running, "only a running job finishes");
        let meter = job.meter;
        self.queue.finish(meter);
        match outcome {
            Outcome::Done => self.forget(id),
            Outcome::Failed => self.fail(id, Failure::Permanent),
            Outcome::TryAgain if job.cancelled => self.fail(id, Failure::Cancelled),
            Outcome::TryAgain if job.attempts >= self.config.retry.attempts_max => {
                let attempts = job.attempts;
                self.fail(id, Failure::AttemptsUsed { attempts });
            }
            Outcome::TryAgain => {
                let seed = self.seed.child("retry").nth(u64::from(meter.0)).nth(id.0);
                let wait = self.config.retry.backoff(job.attempts, seed);
                let at = now + wait;
                if at >= job.deadline {
                    let attempts = job.attempts;
                    self.fail(id, Failure::WindowOver { attempts });
                } else {
                    job.stage = Stage::Waiting { until: at };
                    self.timers.insert((at, Timer::Release(id)));
                }
            }
        }
        self.run_timers(now);
        self.start_what_can();
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: UtcTime) {
        self.expect_drained();
        self.run_timers(now);
        self.start_what_can();
    }

    /// When to come back.
    pub fn wake(&self) -> Wake {
        let utc = self.timers.first().map(|(at, timer)| {
            let name = match timer {
                Timer::Release(_) => "a job's start",
                Timer::Deadline(_) => "a job's window",
                Timer::Occurrence(..) => "a due reading",
            };
            (*at, name)
        });
        Wake { instant: None, utc }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    /// Jobs that wait or run.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether nothing waits or runs.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Sessions that run.
    pub fn running(&self) -> u32 {
        self.queue.running()
    }

    fn expect_drained(&self) {
        assert!(
            self.outbox.is_empty(),
            "host must drain outputs between inputs"
        );
    }

    fn recurrences_of(&self, meter: MeterId) -> impl Iterator<Item = RecurrenceId> {
        self.series
            .range((meter, RecurrenceId(0))..=(meter, RecurrenceId(u16::MAX)))
            .map(|((_, id), _)| *id)
    }

    fn drop_series(&mut self, meter: MeterId, id: RecurrenceId) {
        let Some(series) = self.series.remove(&(meter, id)) else {
            return;
        };
        self.timers
            .remove(&(series.next_due, Timer::Occurrence(meter, id)));
        let occurrences: Vec<JobId> = self
            .queue
            .jobs_of(meter)
            .filter(|job| {
                matches!(self.jobs[job].work, Work::Recurring { recurrence, .. } if recurrence == id)
            })
            .collect();
        for job in occurrences {
            self.cancel_job(job);
        }
    }

    fn run_timers(&mut self, now: UtcTime) {
        while let Some(&(at, timer)) = self.timers.first()
            && at <= now
        {
            self.timers.remove(&(at, timer));
            match timer {
                Timer::Release(id) => {
                    let job = self.jobs.get_mut(&id).expect("timers die with their job");
                    job.stage = Stage::Ready { since: at };
                    self.queue.ready(job.meter, job.lane, at, id);
                }
                Timer::Deadline(id) => {
                    let job = &self.jobs[&id];
                    if job.stage != Stage::Running {
                        let attempts = job.attempts;
                        self.fail(id, Failure::WindowOver { attempts });
                    }
                }
                Timer::Occurrence(meter, id) => self.bring_due(meter, id, now),
            }
        }
    }

    /// Makes a job of the newest occurrence that is due, and names the older ones, whose windows
    /// are over: the schedule was not running, or its clock leapt.
    fn bring_due(&mut self, meter: MeterId, id: RecurrenceId, now: UtcTime) {
        let series = self
            .series
            .get_mut(&(meter, id))
            .expect("timers die with their series");
        let recurrence = series.recurrence;
        let first = series.next_due;
        let newest = recurrence.due_at_or_before(now).max(first);
        series.next_due = recurrence.due_after(newest);
        self.timers
            .insert((series.next_due, Timer::Occurrence(meter, id)));
        let open = now < recurrence.deadline(newest) && self.jobs.len() < Self::JOBS_MAX;
        let last_missed = if open {
            recurrence.due_before(newest)
        } else {
            newest
        };
        if last_missed >= first {
            self.outbox.push_back(Output::Missed {
                meter,
                recurrence: id,
                first,
                last: last_missed,
                count: recurrence.count(first, last_missed),
                failure: Failure::WindowOver { attempts: 0 },
            });
        }
        if open {
            let seed = self.seed.child("jitter").nth(u64::from(meter.0));
            let start = newest + recurrence.jitter(seed.nth(u64::from(id.0)), newest);
            let work = Work::Recurring {
                recurrence: id,
                due: newest,
            };
            self.add_job(
                meter,
                recurrence.lane(),
                work,
                start,
                recurrence.deadline(newest),
            );
        }
    }

    fn add_job(
        &mut self,
        meter: MeterId,
        lane: Lane,
        work: Work,
        start: UtcTime,
        deadline: UtcTime,
    ) -> JobId {
        let id = JobId(self.next_job);
        self.next_job += 1;
        self.jobs.insert(
            id,
            Job {
                meter,
                lane,
                work,
                deadline,
                attempts: 0,
                cancelled: false,
                stage: Stage::Waiting { until: start },
            },
        );
        self.queue.own(meter, id);
        self.timers.insert((start, Timer::Release(id)));
        self.timers.insert((deadline, Timer::Deadline(id)));
        id
    }

    fn cancel_job(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        match job.stage {
            Stage::Running => job.cancelled = true,
            Stage::Waiting { .. } | Stage::Ready { .. } => self.fail(id, Failure::Cancelled),
        }
    }

    /// Ends a job without success, by name.
    fn fail(&mut self, id: JobId, failure: Failure) {
        let (meter, work) = (self.jobs[&id].meter, self.jobs[&id].work);
        self.forget(id);
        self.outbox.push_back(match work {
            Work::Recurring { recurrence, due } => Output::Missed {
                meter,
                recurrence,
                first: due,
                last: due,
                count: 1,
                failure,
            },
            Work::Once(task) => Output::Failed {
                job: id,
                meter,
                task,
                failure,
            },
        });
    }

    fn forget(&mut self, id: JobId) {
        let job = self.jobs.remove(&id).expect("a job ends once");
        match job.stage {
            Stage::Waiting { until } => {
                self.timers.remove(&(until, Timer::Release(id)));
            }
            Stage::Ready { since } => self.queue.unready(job.meter, job.lane, since, id),
            Stage::Running => {}
        }
        self.timers.remove(&(job.deadline, Timer::Deadline(id)));
        self.queue.disown(job.meter, id);
    }

    fn start_what_can(&mut self) {
        while let Some((meter, id)) = self.queue.start_next() {
            let job = self.jobs.get_mut(&id).expect("only known jobs are ready");
            job.stage = Stage::Running;
            job.attempts += 1;
            self.outbox.push_back(Output::Start(Start {
                job: id,
                meter,
                lane: job.lane,
                work: job.work,
                attempt: job.attempts,
                deadline: job.deadline,
            }));
        }
    }
}
