//! Which share of a gateway's meters is missing when an interval is over: a gateway that withholds
//! frames stands out against the others and against its own past.
//!
//! A meter repeats what is not confirmed, so nothing is lost; it only comes later, and that is what
//! is counted. Where every meter waits a random time before it pushes, all gateways miss as much,
//! and none stands out.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use gridloom_core::{Instant, Period, UtcTime};

use crate::registry::GatewayId;

/// An interval in which a gateway's missing meters, with those of intervals before, stood out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// The gateway at which the meters are at home.
    pub gateway: GatewayId,
    /// The interval's length.
    pub period: Period,
    /// The interval's end.
    pub end: UtcTime,
    /// Meters that were due: at home there, and heard since the edge's start.
    pub due: u32,
    /// Those of them that were heard in time, by whatever gateway.
    pub heard: u32,
    /// The share that is usually missing, here or at the other gateways, in thousandths.
    pub usual_milli: u32,
}

/// A window: one interval's end of one length.
type Window = (Period, UtcTime);

/// What is known of one gateway.
#[derive(Debug, Clone, Copy, Default)]
struct Habit {
    /// Closed intervals from which it was learnt, up to [`Silences::SHARE`].
    closed: u32,
    /// The share that is usually missing, in millionths.
    missing_micro: i64,
    /// Page's sum of missing meters above what is usual and half the shift, in thousandths of one.
    sum: i64,
}

/// Watches the gateways that have a number.
#[derive(Debug, Default)]
pub(crate) struct Silences {
    /// Meters at home at a gateway that were heard, by their period.
    members: BTreeMap<(GatewayId, Period), u32>,
    /// Meters heard in the windows that are open.
    open: BTreeMap<Window, BTreeMap<GatewayId, u32>>,
    closings: VecDeque<(Instant, Window)>,
    /// The newest end of each period whose window is closed: what is late opens it no more.
    closed: BTreeMap<Period, UtcTime>,
    habits: BTreeMap<GatewayId, Habit>,
}

impl Silences {
    /// What was not heard so long after the first of its interval is missing: less than a meter
    /// waits before it repeats itself.
    pub(crate) const IN_TIME: Duration = Duration::from_secs(8);

    /// Windows open at once; the meters of a further one are not watched in it.
    pub(crate) const OPEN_MAX: usize = 256;

    /// Intervals from which a gateway's habit is learnt before it is judged.
    const LEARNT_AFTER: u32 = 4;

    /// The habit is the mean of so many intervals; then it follows by this part of the distance.
    const SHARE: u32 = 256;

    /// A share below this is never unusual, in thousandths.
    const FLOOR_MILLI: i64 = 20;

    /// Half the shift that is looked for, in thousandths: three meters in ten.
    const HALF_SHIFT_MILLI: i64 = 150;

    /// A device of this period was heard for the first time; this gateway is its home.
    pub(crate) fn join(&mut self, home: GatewayId, period: Period) {
        *self.members.entry((home, period)).or_default() += 1;
    }

    /// A device reported an interval that it had not reported before.
    pub(crate) fn heard(&mut self, home: GatewayId, window: Window, utc: UtcTime, now: Instant) {
        let (period, end) = window;
        // What a meter sends again after an outage says nothing about this moment.
        let is_closed = self.closed.get(&period).is_some_and(|last| end <= *last);
        if is_closed || utc.since(end) >= period.duration() {
            return;
        }
        if !self.open.contains_key(&window) {
            if self.closings.len() >= Self::OPEN_MAX {
                return;
            }
            self.closings.push_back((now + Self::IN_TIME, window));
        }
        let heard = self.open.entry(window).or_default();
        *heard.entry(home).or_default() += 1;
    }

    /// Closes the windows that are due and says who stood out. `is_judged` tells whether a gateway
    /// was reachable all the time.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        is_judged: impl Fn(GatewayId) -> bool,
    ) -> Vec<Silence> {
        let mut found = Vec::new();
        while let Some((_, window)) = self.closings.pop_front_if(|(at, _)| *at <= now) {
            let heard = self.open.remove(&window).unwrap_or_default();
            let last = self.closed.entry(window.0).or_insert(window.1);
            *last = window.1.max(*last);
            let of_window: Vec<(GatewayId, i64, i64)> = self
                .members
                .iter()
                .filter(|((gateway, period), _)| *period == window.0 && is_judged(*gateway))
                .map(|((gateway, _), due)| {
                    let heard = heard.get(gateway).copied().unwrap_or(0).min(*due);
                    (*gateway, i64::from(*due), i64::from(*due - heard))
                })
                .collect();
            let (all_due, all_missing) = of_window.iter().fold((0, 0), |sum, (_, due, missing)| {
                (sum.0 + due, sum.1 + missing)
            });
            for (gateway, due, missing) in of_window {
                let (others, missing_there) = (all_due - due, all_missing - missing);
                let there_milli = if others == 0 {
                    0
                } else {
                    missing_there * 1_000 / others
                };
                let habit = self.habits.entry(gateway).or_default();
                let Some(usual_milli) = habit.judge(due, missing, there_milli) else {
                    continue;
                };
                let count = |count: i64| u32::try_from(count).expect("meters fit 32 bits");
                found.push(Silence {
                    gateway,
                    period: window.0,
                    end: window.1,
                    due: count(due),
                    heard: count(due - missing),
                    usual_milli: count(usual_milli),
                });
            }
        }
        found
    }

    pub(crate) fn wake(&self) -> Option<Instant> {
        self.closings.front().map(|(at, _)| *at)
    }
}

impl Habit {
    /// Takes a closed interval; what is usual, if so many missing ones stand out.
    ///
    /// S ← S + missing − due · (usual + δ/2), alarm at S ≥ h. The threshold h grows with what is
    /// usual, from 5.1 meters to 13.5: e^(θ·h), with θ the root of E e^(θ·(X − usual − δ/2)) = 1, is
    /// then above a million meter intervals between two false alarms. One interval counts for half
    /// of h at most, so that no moment alone makes an alarm.
    fn judge(&mut self, due: i64, missing: i64, there_milli: i64) -> Option<i64> {
        let share_micro = missing * 1_000_000 / due.max(1);
        let is_learnt = self.closed >= Silences::LEARNT_AFTER;
        let before = self.missing_micro;
        // What follows upon something odd may be odd itself, and teaches nothing.
        if self.sum == 0 {
            self.closed = (self.closed + 1).min(Silences::SHARE);
            self.missing_micro += (share_micro - before) / i64::from(self.closed);
        }
        if !is_learnt {
            return None;
        }
        let usual_milli = (before / 1_000).max(there_milli).max(Silences::FLOOR_MILLI);
        let threshold = 4_500 + (32 * usual_milli).min(9_000);
        let rise = missing * 1_000 - due * (usual_milli + Silences::HALF_SHIFT_MILLI);
        self.sum = (self.sum + rise.min(threshold / 2)).clamp(0, threshold);
        (missing > 0 && self.sum >= threshold).then_some(usual_milli)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridloom_core::Seed;
    use rand_core::Rng as _;

    const PERIOD: Period = Period::QUARTER_HOUR;

    /// Gateways with so many meters each, of which so many thousandths are late in an interval of
    /// this number.
    fn alarms(
        seed: u64,
        meters: &[u32],
        intervals: u32,
        late_milli: impl Fn(u32, usize) -> u32,
    ) -> Vec<(u32, u16)> {
        let mut rng = Seed::new(seed).child("late").rng();
        let mut silences = Silences::default();
        let id = |at: usize| GatewayId(u16::try_from(at).unwrap());
        for (at, count) in meters.iter().enumerate() {
            (0..*count).for_each(|_| silences.join(id(at), PERIOD));
        }
        let mut found = Vec::new();
        for number in 1..=intervals {
            let end = UtcTime::from_secs(i64::from(number) * 900);
            let now = Instant::ZERO + PERIOD.duration() * number;
            // Somebody is always heard, or no window opens.
            silences.heard(GatewayId(u16::MAX), (PERIOD, end), end, now);
            for (at, count) in meters.iter().enumerate() {
                for _ in 0..*count {
                    if rng.next_u32() % 1_000 >= late_milli(number, at) {
                        silences.heard(id(at), (PERIOD, end), end, now);
                    }
                }
            }
            assert_eq!(silences.wake(), Some(now + Silences::IN_TIME));
            assert_eq!(silences.handle_timeout(now, |_| true), []);
            let closed = silences.handle_timeout(now + Silences::IN_TIME, |_| true);
            found.extend(closed.iter().map(|it| (number, it.gateway.0)));
            assert_eq!(silences.wake(), None);
        }
        found
    }

    #[test]
    fn a_gateway_that_withholds_stands_out() {
        // From interval 21 on the second gateway drops half.
        for (meters, latest) in [([2, 2], 60), ([20, 20], 24), ([200, 2_000], 23)] {
            for seed in 0..20 {
                let late = |number, at| if number > 20 && at == 1 { 500 } else { 5 };
                let found = alarms(seed, &meters, 80, late);
                assert!(found.iter().all(|(_, at)| *at == 1), "{seed}: {found:?}");
                let first = found.first().unwrap().0;
                assert!(
                    (22..=latest).contains(&first),
                    "{seed}, {meters:?}: {first}"
                );
            }
        }
    }

    #[test]
    fn losses_that_all_have_or_always_had_are_no_alarm() {
        type Late = fn(u32, usize) -> u32;
        let cases: [(&str, &[u32], Late); 6] = [
            ("good links", &[1, 3, 50], |_, _| 5),
            ("bad links", &[2, 20, 200], |_, _| 100),
            ("one bad link from the start", &[100, 200], |_, at| {
                300 * u32::from(at == 0)
            }),
            ("all push later from now on", &[50, 60, 70], |number, _| {
                800 * u32::from(number > 50)
            }),
            ("one bad interval", &[40, 50], |number, at| {
                1_000 * u32::from(number == 60 && at == 0)
            }),
            ("nobody else", &[30], |_, _| 50),
        ];
        for (name, meters, late) in cases {
            for seed in 0..20 {
                assert_eq!(alarms(seed, meters, 500, late), [], "{name}, seed {seed}");
            }
        }
    }

    #[test]
    fn unreachable_gateways_and_late_deliveries_are_not_judged_and_windows_are_bounded() {
        let mut silences = Silences::default();
        (0..10).for_each(|_| silences.join(GatewayId(1), PERIOD));
        let end = |number: u32| UtcTime::from_secs(i64::from(number) * 900);
        for number in 0..100 {
            let now = Instant::ZERO + PERIOD.duration() * number;
            silences.heard(GatewayId(2), (PERIOD, end(number)), end(number), now);
            let later = now + Silences::IN_TIME;
            assert_eq!(silences.handle_timeout(later, |gateway| gateway.0 == 2), []);
        }
        silences.heard(GatewayId(2), (PERIOD, end(99)), end(99), Instant::ZERO);
        assert_eq!(silences.wake(), None, "its window is closed");
        silences.heard(GatewayId(2), (PERIOD, end(107)), end(108), Instant::ZERO);
        assert_eq!(silences.wake(), None, "it is an interval old");
        for number in 200..200 + u32::try_from(Silences::OPEN_MAX).unwrap() + 9 {
            silences.heard(
                GatewayId(2),
                (PERIOD, end(number)),
                end(number),
                Instant::ZERO,
            );
        }
        assert_eq!(silences.open.len(), Silences::OPEN_MAX);
        assert_eq!(silences.closings.len(), Silences::OPEN_MAX);
    }
}
