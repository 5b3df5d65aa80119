//! How many alarms there are for one person: floods, chattering, and the figures of EEMUA 191.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use gridloom_core::Instant;

use super::definition::{AlarmId, Priority};

/// Activations in ten minutes that make a flood (ISA-18.2 §16).
pub const FLOOD_ACTIVATIONS: usize = 10;
/// A flood ends when ten minutes hold fewer.
pub const FLOOD_ENDS_BELOW: usize = 5;
/// Activations of one alarm in a minute that make it chatter.
pub const CHATTER_ACTIVATIONS: usize = 3;
/// Activations of the last ten minutes that are kept; beyond them the oldest are forgotten, and
/// the rate that is shown stays at this.
pub const ACTIVATIONS_MAX: usize = 10_000;

const TEN_MINUTES: Duration = Duration::from_secs(600);
const MINUTE: Duration = Duration::from_secs(60);
/// Ten minutes each: a day.
const BUCKETS: usize = 144;
/// Alarms that are named as the most frequent.
const FREQUENT: usize = 10;

/// How an alarm system does, over the last day.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kpis {
    /// Activations in the last ten minutes. Good: at most 1.
    pub in_ten_minutes: usize,
    /// Activations in the last hour, by whole buckets of ten minutes. Good: at most 5.
    pub in_an_hour: u64,
    /// Activations in a day.
    pub in_a_day: u64,
    /// The most activations in one bucket of ten minutes of the day. Good: below 10.
    pub peak: u32,
    /// Buckets of ten minutes, of 144, with 10 activations or more. Good: below 1 %.
    pub flooded: usize,
    /// Activations by priority, critical first. Good: 80 % low, 15 % medium, 5 % above.
    pub by_priority: [u64; 4],
    /// Alarms that stand now.
    pub standing: usize,
    /// Alarms that have stood for a day. Good: below 5.
    pub stale: usize,
    /// Alarms that chatter now. Good: none.
    pub chattering: Vec<AlarmId>,
    /// The ten most frequent of the day, with their numbers, the most frequent first.
    pub frequent: Vec<(AlarmId, u32)>,
    /// Whether there is a flood now.
    pub flood: bool,
}

#[derive(Debug, Clone, Default)]
struct Bucket {
    number: u64,
    activations: u32,
    by_priority: [u32; 4],
    by_alarm: BTreeMap<AlarmId, u32>,
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    FloodBegan,
    FloodEnded,
    ChatteringBegan(AlarmId),
    ChatteringEnded(AlarmId),
}

#[derive(Debug, Default)]
pub(super) struct Rates {
    recent: VecDeque<Instant>,
    flood: bool,
    /// The last activations of each alarm that had one in the last minute, oldest first.
    repeats: BTreeMap<AlarmId, VecDeque<Instant>>,
    pruned: Instant,
    chattering: BTreeMap<AlarmId, Instant>,
    /// The last day, oldest first; empty buckets are not kept.
    buckets: VecDeque<Bucket>,
}

impl Rates {
    pub(super) fn activated(
        &mut self,
        alarm: AlarmId,
        priority: Priority,
        now: Instant,
    ) -> impl Iterator<Item = Change> + use<> {
        self.forget(now);
        if self.recent.len() == ACTIVATIONS_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        let flood = !self.flood && self.recent.len() >= FLOOD_ACTIVATIONS;
        self.flood |= flood;

        let repeats = self.repeats.entry(alarm).or_default();
        repeats.push_back(now);
        while repeats.len() > CHATTER_ACTIVATIONS {
            repeats.pop_front();
        }
        let first = repeats.front().copied().unwrap_or(now);
        let often = repeats.len() == CHATTER_ACTIVATIONS && now.since(first) <= MINUTE;
        let known = self.chattering.contains_key(&alarm);
        if known || often {
            self.chattering.insert(alarm, now);
        }

        self.count(alarm, priority, now);
        let chatters = often && !known;
        [
            flood.then_some(Change::FloodBegan),
            chatters.then_some(Change::ChatteringBegan(alarm)),
        ]
        .into_iter()
        .flatten()
    }

    /// What ended by now.
    pub(super) fn passed(&mut self, now: Instant) -> Vec<Change> {
        self.forget(now);
        let mut changes = Vec::new();
        if self.flood && self.recent.len() < FLOOD_ENDS_BELOW {
            self.flood = false;
            changes.push(Change::FloodEnded);
        }
        self.chattering.retain(|alarm, last| {
            let chatters = now.since(*last) <= MINUTE;
            if !chatters {
                changes.push(Change::ChatteringEnded(*alarm));
            }
            chatters
        });
        changes
    }

    /// When [`Rates::passed`] has something to say next, at the earliest.
    pub(super) fn wake(&self) -> Option<Instant> {
        let flood = self.flood.then(|| self.recent.front()).flatten();
        let flood = flood.map(|first| *first + TEN_MINUTES);
        let quiet = self.chattering.values().min().map(|last| *last + MINUTE);
        // One nanosecond later the time has passed, not only come.
        flood
            .into_iter()
            .chain(quiet)
            .min()
            .map(|at| at + Duration::from_nanos(1))
    }

    pub(super) fn fill(&self, kpis: &mut Kpis, now: Instant) {
        let current = bucket_number(now);
        let recent = self
            .recent
            .iter()
            .filter(|at| now.since(**at) <= TEN_MINUTES);
        kpis.in_ten_minutes = recent.count();
        let mut by_alarm: BTreeMap<AlarmId, u32> = BTreeMap::new();
        for bucket in self
            .buckets
            .iter()
            .filter(|bucket| of_the_day(bucket, current))
        {
            let activations = u64::from(bucket.activations);
            kpis.in_a_day += activations;
            if bucket.number + 6 > current {
                kpis.in_an_hour += activations;
            }
            kpis.peak = kpis.peak.max(bucket.activations);
            kpis.flooded += usize::from(activations >= FLOOD_ACTIVATIONS as u64);
            for (sum, count) in kpis.by_priority.iter_mut().zip(bucket.by_priority) {
                *sum += u64::from(count);
            }
            for (alarm, count) in &bucket.by_alarm {
                *by_alarm.entry(*alarm).or_default() += count;
            }
        }
        kpis.frequent = by_alarm.into_iter().collect();
        kpis.frequent
            .sort_by_key(|(alarm, count)| (core::cmp::Reverse(*count), *alarm));
        kpis.frequent.truncate(FREQUENT);
        kpis.chattering = self.chattering.keys().copied().collect();
        kpis.flood = self.flood;
    }

    fn count(&mut self, alarm: AlarmId, priority: Priority, now: Instant) {
        let number = bucket_number(now);
        if self.buckets.back().is_none_or(|last| last.number != number) {
            self.buckets.push_back(Bucket {
                number,
                ..Bucket::default()
            });
        }
        while self
            .buckets
            .front()
            .is_some_and(|first| !of_the_day(first, number))
        {
            self.buckets.pop_front();
        }
        let bucket = self.buckets.back_mut().expect("one was pushed");
        bucket.activations += 1;
        bucket.by_priority[priority as usize] += 1;
        *bucket.by_alarm.entry(alarm).or_default() += 1;
    }

    fn forget(&mut self, now: Instant) {
        while self
            .recent
            .front()
            .is_some_and(|at| now.since(*at) > TEN_MINUTES)
        {
            self.recent.pop_front();
        }
        // Once a minute is enough: an entry is small, and there is one for an alarm at most.
        if now.since(self.pruned) > MINUTE {
            self.pruned = now;
            self.repeats
                .retain(|_, repeats| repeats.back().is_some_and(|at| now.since(*at) <= MINUTE));
        }
    }
}

fn bucket_number(now: Instant) -> u64 {
    now.since(Instant::ZERO).as_secs() / TEN_MINUTES.as_secs()
}

const fn of_the_day(bucket: &Bucket, current: u64) -> bool {
    bucket.number + BUCKETS as u64 > current
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn ten_in_ten_minutes_are_a_flood_until_fewer_than_five_are_left() {
        let mut rates = Rates::default();
        for number in 0..10 {
            let second = u64::from(number) * 60;
            let changes: Vec<_> = rates
                .activated(AlarmId(number), Priority::Low, at(second))
                .collect();
            let expected: &[_] = if number == 9 {
                &[Change::FloodBegan]
            } else {
                &[]
            };
            assert_eq!(changes, expected, "{number}");
        }
        // Activations were at 0, 60, … 540 s: at 900 s the five from 300 on are left.
        assert_eq!(rates.passed(at(900)), []);
        assert_eq!(rates.wake(), Some(at(900) + Duration::from_nanos(1)));
        assert_eq!(rates.passed(at(901)), [Change::FloodEnded]);
        assert_eq!(rates.wake(), None);
    }

    #[test]
    fn nine_in_ten_minutes_are_no_flood() {
        let mut rates = Rates::default();
        for number in 0..30 {
            let second = u64::from(number) * 67;
            assert_eq!(
                rates
                    .activated(AlarmId(number), Priority::Low, at(second))
                    .count(),
                0
            );
        }
    }

    #[test]
    fn three_in_a_minute_chatter() {
        let mut rates = Rates::default();
        let alarm = AlarmId(7);
        let began = [Change::ChatteringBegan(alarm)];
        for (second, expected) in [(0, &[][..]), (40, &[]), (61, &[]), (90, &began), (100, &[])] {
            let changes: Vec<_> = rates.activated(alarm, Priority::Low, at(second)).collect();
            assert_eq!(changes, expected, "{second}");
        }
        assert_eq!(rates.passed(at(160)), []);
        assert_eq!(rates.passed(at(161)), [Change::ChatteringEnded(alarm)]);
    }

    #[test]
    fn figures_of_a_day() {
        let mut rates = Rates::default();
        for (alarm, priority, seconds) in [
            (1, Priority::Low, 10),
            (2, Priority::High, 20),
            (1, Priority::Low, 700),
            (1, Priority::Low, 86_390),
        ] {
            let _ = rates.activated(AlarmId(alarm), priority, at(seconds));
        }
        let mut kpis = Kpis::default();
        rates.fill(&mut kpis, at(86_395));
        assert_eq!(
            (kpis.in_ten_minutes, kpis.in_an_hour, kpis.in_a_day),
            (1, 1, 4)
        );
        assert_eq!(kpis.by_priority, [0, 1, 0, 3]);
        assert_eq!((kpis.peak, kpis.flooded), (2, 0));
        assert_eq!(kpis.frequent, [(AlarmId(1), 3), (AlarmId(2), 1)]);
        let mut later = Kpis::default();
        rates.fill(&mut later, at(86_401));
        assert_eq!(later.in_a_day, 2, "the first bucket is older than a day");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut rates = Rates::default();
        for number in 0..ACTIVATIONS_MAX * 2 {
            let alarm = AlarmId(u32::try_from(number).unwrap());
            let _ = rates.activated(alarm, Priority::Low, at(0));
        }
        assert_eq!(rates.recent.len(), ACTIVATIONS_MAX);
    }
}
