//! Decides which interval to push next, and when to push again what was not acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gridloom_core::{Instant, Seed, UtcTime, seed};
use rand_core::Rng as _;

/// How patiently a meter repeats itself. All times are protocol time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// An interval without acknowledgement for so long is no longer in flight.
    pub ack_timeout: Duration,
    /// The wait after the first failure; doubles with each further one.
    pub backoff: Duration,
    /// The longest wait.
    pub backoff_max: Duration,
    /// After a link comes up, the first push waits a random part of this, so that a street of
    /// meters does not return in one moment.
    pub reconnect_spread: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            ack_timeout: Duration::from_secs(10),
            backoff: Duration::from_secs(5),
            backoff_max: Duration::from_secs(300),
            reconnect_spread: Duration::from_secs(2),
        }
    }
}

/// A policy with what a client has set in a push setup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    pub(crate) ack_timeout: Duration,
    pub(crate) backoff: Duration,
    pub(crate) backoff_max: Duration,
    /// What has failed so often waits for a new link or a new push; `None` for no bound.
    pub(crate) tries_max: Option<u32>,
}

impl Patience {
    /// The policy's own, without a bound.
    pub(crate) const fn of(policy: RetryPolicy) -> Self {
        Self {
            ack_timeout: policy.ack_timeout,
            backoff: policy.backoff,
            backoff_max: policy.backoff_max,
            tries_max: None,
        }
    }

    /// With the retries and the delay of a push setup. [`RETRIES_UNBOUNDED`] retries are without
    /// a bound, a delay of zero leaves the policy's growing waits.
    pub(crate) const fn with(self, retries: u8, delay_s: u16) -> Self {
        let delay = Duration::from_secs(delay_s as u64);
        let (backoff, backoff_max) = if delay_s == 0 {
            (self.backoff, self.backoff_max)
        } else {
            (delay, delay)
        };
        Self {
            backoff,
            backoff_max,
            tries_max: if retries == RETRIES_UNBOUNDED {
                None
            } else {
                Some(retries as u32 + 1)
            },
            ..self
        }
    }

    /// The longest wait after so many earlier failures; `None` if that was the last try.
    pub(crate) fn rest(&self, failures: u32) -> Option<Duration> {
        let wait = self.backoff.saturating_mul(1 << failures.min(16));
        let last = self.tries_max.is_some_and(|most| failures + 1 >= most);
        (!last).then(|| wait.min(self.backoff_max))
    }

    /// Whether waits grow; then they are also spread.
    fn grows(&self) -> bool {
        self.backoff < self.backoff_max
    }
}

/// Retries of a push setup that mean: until it is heard.
pub const RETRIES_UNBOUNDED: u8 = u8::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// May be pushed.
    Ready,
    /// Pushed; the deadline gives it up.
    InFlight { until: Instant },
    /// Failed; the deadline makes it ready.
    Resting { until: Instant },
    /// All tries have failed; a new link or a newer interval makes it ready.
    Spent,
}

#[derive(Debug, Clone, Copy)]
struct Attempt {
    state: State,
    failures: u32,
}

/// The schedule of unacknowledged intervals. Oldest first; the newest keeps a place of its own,
/// so that a backlog never starves what was just measured.
#[derive(Debug)]
pub struct Schedule {
    patience: Patience,
    reconnect_spread: Duration,
    rng: seed::Rng,
    attempts: BTreeMap<UtcTime, Attempt>,
    ready: BTreeSet<UtcTime>,
    deadlines: BTreeSet<(Instant, UtcTime)>,
    in_flight: usize,
    /// The link is up, and pushing starts then.
    link: Option<Instant>,
}

impl Schedule {
    /// Pushes that wait for their acknowledgement at most; the others wait in the profile.
    pub const IN_FLIGHT_MAX: usize = 8;

    /// Nothing to deliver, no link.
    pub fn new(policy: RetryPolicy, seed: Seed) -> Self {
        Self {
            patience: Patience::of(policy),
            reconnect_spread: policy.reconnect_spread,
            rng: seed.rng(),
            attempts: BTreeMap::new(),
            ready: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            in_flight: 0,
            link: None,
        }
    }

    /// How patient to be from now on.
    pub(crate) fn set_patience(&mut self, patience: Patience) {
        self.patience = patience;
    }

    /// As [`Self::add`], but a new interval waits for a random part of `spread`, and what was
    /// given up is tried again with it.
    pub(crate) fn add_within(&mut self, end: UtcTime, spread: Duration, now: Instant) {
        let is_new = !self.attempts.contains_key(&end);
        self.add(end);
        if is_new && !spread.is_zero() {
            let until = now + self.random_part(spread);
            self.enter(end, State::Resting { until });
        }
        if self.patience.tries_max.is_some() {
            let spent = self.attempts.iter();
            let spent = spent.filter(|(_, attempt)| attempt.state == State::Spent);
            let spent: Vec<UtcTime> = spent.map(|(end, _)| *end).collect();
            for end in spent {
                self.enter(end, State::Ready);
            }
        }
    }

    /// Whether the link is up and may be used.
    pub(crate) fn is_usable(&self, now: Instant) -> bool {
        self.link.is_some_and(|at| at <= now)
    }

    /// When pushing starts on the link that is up.
    pub(crate) fn starts(&self) -> Option<Instant> {
        self.link
    }

    /// An interval is to be delivered. One that rests is tried at once; one that is in flight
    /// is on its way already.
    pub fn add(&mut self, end: UtcTime) {
        match self.attempts.get(&end).map(|attempt| attempt.state) {
            None => {
                let attempt = Attempt {
                    state: State::Ready,
                    failures: 0,
                };
                self.attempts.insert(end, attempt);
                self.ready.insert(end);
            }
            Some(State::Resting { .. } | State::Spent) => self.enter(end, State::Ready),
            Some(State::Ready | State::InFlight { .. }) => {}
        }
    }

    /// An interval is delivered, or lost.
    pub fn remove(&mut self, end: UtcTime) {
        if let Some(attempt) = self.attempts.remove(&end) {
            self.leave(end, attempt.state);
        }
    }

    /// The link is up: everything may be tried again, after a random wait.
    pub fn link_up(&mut self, now: Instant) {
        self.link_down();
        let spread = self.reconnect_spread;
        self.link = Some(now + self.random_part(spread));
        let all: Vec<UtcTime> = self.attempts.keys().copied().collect();
        for end in all {
            self.enter(end, State::Ready);
        }
    }

    /// The link is gone, and what was in flight with it.
    pub fn link_down(&mut self) {
        self.link = None;
        let flying: Vec<UtcTime> = self
            .attempts
            .iter()
            .filter(|(_, attempt)| matches!(attempt.state, State::InFlight { .. }))
            .map(|(end, _)| *end)
            .collect();
        for end in flying {
            self.enter(end, State::Ready);
        }
    }

    /// Whether the link is up.
    pub fn is_linked(&self) -> bool {
        self.link.is_some()
    }

    /// Pushes that wait for their acknowledgement.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Gives up and revives what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, end)) = self.deadlines.first().copied()
            && at <= now
        {
            let attempt = self.attempts[&end];
            let next = match attempt.state {
                State::InFlight { .. } => {
                    let rest = self.rest(attempt.failures);
                    self.attempts.entry(end).and_modify(|a| a.failures += 1);
                    rest.map_or(State::Spent, |rest| State::Resting { until: now + rest })
                }
                State::Resting { .. } => State::Ready,
                State::Ready | State::Spent => unreachable!("it has no deadline"),
            };
            self.enter(end, next);
        }
    }

    /// The interval to push now, which is then in flight.
    pub fn next_push(&mut self, now: Instant) -> Option<UtcTime> {
        let end = self.candidate().filter(|_| self.is_usable(now))?;
        self.enter(
            end,
            State::InFlight {
                until: now + self.patience.ack_timeout,
            },
        );
        Some(end)
    }

    /// The push could not leave: it is ready again, and nothing counts against it.
    pub fn put_back(&mut self, end: UtcTime) {
        self.enter(end, State::Ready);
    }

    /// When to come back: a deadline, or the end of the wait after a reconnection.
    pub fn wake(&self, now: Instant) -> Option<(Instant, &'static str)> {
        let start = self
            .link
            .filter(|at| *at > now && self.candidate().is_some());
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        match (self.link, start, deadline) {
            (None, ..) => None, // Without a link nothing can be done at a deadline.
            (Some(_), Some(start), Some(deadline)) => Some((start.min(deadline), "push")),
            (Some(_), start, deadline) => start.or(deadline).map(|at| (at, "push")),
        }
    }

    fn candidate(&self) -> Option<UtcTime> {
        let newest = *self.ready.last()?;
        if self.in_flight + 1 < Self::IN_FLIGHT_MAX {
            return self.ready.first().copied();
        }
        let fresh = self.attempts[&newest].failures == 0
            && self
                .attempts
                .last_key_value()
                .is_some_and(|(end, _)| *end == newest);
        (fresh && self.in_flight < Self::IN_FLIGHT_MAX).then_some(newest)
    }

    fn enter(&mut self, end: UtcTime, state: State) {
        let attempt = self
            .attempts
            .get_mut(&end)
            .expect("only known intervals move");
        let before = core::mem::replace(&mut attempt.state, state);
        self.leave(end, before);
        match state {
            State::Ready => {
                self.ready.insert(end);
            }
            State::InFlight { until } => {
                self.in_flight += 1;
                self.deadlines.insert((until, end));
            }
            State::Resting { until } => {
                self.deadlines.insert((until, end));
            }
            State::Spent => {}
        }
    }

    fn leave(&mut self, end: UtcTime, state: State) {
        match state {
            State::Ready => {
                self.ready.remove(&end);
            }
            State::InFlight { until } => {
                self.in_flight -= 1;
                self.deadlines.remove(&(until, end));
            }
            State::Resting { until } => {
                self.deadlines.remove(&(until, end));
            }
            State::Spent => {}
        }
    }

    /// Half of a growing wait for certain, the other half by chance. A wait that a client has
    /// set is kept to.
    fn rest(&mut self, failures: u32) -> Option<Duration> {
        let wait = self.patience.rest(failures)?;
        if self.patience.grows() {
            Some(wait / 2 + self.random_part(wait / 2))
        } else {
            Some(wait)
        }
    }

    fn random_part(&mut self, span: Duration) -> Duration {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(match nanos.checked_add(1) {
            Some(width) => self.rng.next_u64() % width,
            None => self.rng.next_u64(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * SECOND)
    }

    fn end(number: i64) -> UtcTime {
        UtcTime::from_secs(number * 900)
    }

    fn schedule(intervals: i64) -> Schedule {
        let policy = RetryPolicy {
            reconnect_spread: Duration::ZERO,
            ..RetryPolicy::default()
        };
        let mut schedule = Schedule::new(policy, Seed::new(1));
        for number in 0..intervals {
            schedule.add(end(number));
        }
        schedule.link_up(at(0));
        schedule
    }

    fn drain(schedule: &mut Schedule, now: Instant) -> Vec<UtcTime> {
        core::iter::from_fn(|| schedule.next_push(now)).collect()
    }

    #[test]
    fn oldest_first_with_a_place_for_the_newest() {
        let mut schedule = schedule(20);
        let mut expected: Vec<UtcTime> = (0..7).map(end).collect();
        expected.push(end(19));
        assert_eq!(drain(&mut schedule, at(0)), expected);
        assert_eq!(schedule.in_flight(), Schedule::IN_FLIGHT_MAX);
        schedule.add(end(20));
        assert_eq!(schedule.next_push(at(0)), None, "the bound holds");
        schedule.remove(end(3));
        assert_eq!(
            schedule.next_push(at(0)),
            Some(end(20)),
            "fresh before backlog"
        );
        schedule.remove(end(0));
        schedule.remove(end(1));
        assert_eq!(drain(&mut schedule, at(0)), [end(7)]);
    }

    #[test]
    fn an_interval_that_is_asked_for_again_flies_once() {
        let mut schedule = schedule(1);
        assert_eq!(schedule.next_push(at(0)), Some(end(0)));
        schedule.add(end(0));
        assert_eq!((schedule.next_push(at(1)), schedule.in_flight()), (None, 1));
        let (given_up, _) = schedule.wake(at(1)).unwrap();
        schedule.handle_timeout(given_up);
        assert_eq!(schedule.next_push(given_up), None, "it rests");
        schedule.add(end(0));
        assert_eq!(schedule.next_push(given_up), Some(end(0)), "at once");
        assert_eq!(schedule.in_flight(), 1);
    }

    #[test]
    fn no_acknowledgement_means_again_with_growing_waits() {
        let mut schedule = schedule(1);
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..9 {
            assert_eq!(schedule.next_push(now), Some(end(0)));
            let (given_up, _) = schedule.wake(now).unwrap();
            assert_eq!(given_up, now + Duration::from_secs(10));
            schedule.handle_timeout(given_up);
            assert_eq!(schedule.in_flight(), 0);
            assert_eq!(schedule.next_push(given_up), None, "it rests");
            let (again, _) = schedule.wake(given_up).unwrap();
            waits.push(again.since(given_up));
            schedule.handle_timeout(again);
            now = again;
        }
        for (wait, seconds) in waits.iter().zip([5, 10, 20, 40, 80, 160, 300, 300, 300]) {
            let whole = Duration::from_secs(seconds);
            assert!((whole / 2..=whole).contains(wait), "{wait:?} of {whole:?}");
        }
    }

    #[test]
    fn what_is_never_acknowledged_does_not_block_the_rest() {
        let mut schedule = schedule(30);
        let mut pushed = BTreeSet::new();
        let mut now = at(0);
        while pushed.len() < 30 {
            pushed.extend(drain(&mut schedule, now));
            let (next, _) = schedule.wake(now).unwrap();
            now = next;
            schedule.handle_timeout(now);
            assert!(now < at(300), "pushed only {pushed:?}");
        }
    }

    #[test]
    fn a_link_restarts_everything_after_a_random_wait() {
        let mut schedule = Schedule::new(RetryPolicy::default(), Seed::new(3));
        schedule.add(end(0));
        assert_eq!(schedule.next_push(at(0)), None);
        assert_eq!(schedule.wake(at(0)), None, "no link, no deadline");
        schedule.link_up(at(10));
        let (start, _) = schedule.wake(at(10)).unwrap();
        assert!(start > at(10) && start <= at(12), "{start:?}");
        assert_eq!(schedule.next_push(at(10)), None);
        assert_eq!(schedule.next_push(start), Some(end(0)));
        schedule.link_down();
        assert_eq!(schedule.in_flight(), 0);
        assert_eq!(schedule.next_push(at(20)), None);
        schedule.link_up(at(20));
        assert_eq!(schedule.next_push(at(22)), Some(end(0)));
    }
}
