//! How long a reading is under way: T_e2e = T_m + T_g + T_e + T_u, measured by every hop on its
//! own clock, for a sample of the readings.
//!
//! - T_m, meter: from the end of the interval by the meter's clock to its arrival at the gateway
//!   by the gateway's. Two wall clocks: the difference between them is in it. What a meter holds
//!   back, repeats or cannot send is too.
//! - T_g, gateway: from there until it leaves, its time in the buffer included, and half a round
//!   trip to the edge.
//! - T_e, edge: the same, to the utility.
//! - T_u, utility: from its arrival until it is durable.
//!
//! All but T_m are differences of one monotonic clock each. A round trip is that of an
//! [`crate::envelope::Message::Echo`], which takes the way of every other message, queues
//! included.

use std::collections::BTreeMap;
use std::time::Duration;

use gridloom_core::{Instant, UtcTime};
use gridloom_headend::ReadingKey;

/// Of so many pushes, a gateway measures one, unless it is told otherwise.
pub const SAMPLE_ONE_IN: u32 = 10;

/// Samples that wait for their reading to become durable, at an edge or at the utility; beyond it
/// a further one is not measured.
pub const SAMPLES_WAITING_MAX: usize = 65_536;

/// How often a tier measures the round trip to the tier above.
pub const ECHO_EVERY: Duration = Duration::from_mins(1);

/// What gateway and edge measured of one reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// Which.
    pub key: ReadingKey,
    /// When the gateway had it, by its wall clock.
    pub received: UtcTime,
    /// T_g.
    pub gateway: Duration,
    /// T_e.
    pub edge: Duration,
}

/// Half a round trip to the tier above, measured again and again.
#[derive(Debug)]
pub(crate) struct Transit {
    due: Option<Instant>,
    asked: Option<(u64, Instant)>,
    last: u64,
    half: Duration,
}

impl Transit {
    /// After a connection stands, the first is measured so soon.
    const FIRST_AFTER: Duration = Duration::from_secs(1);

    pub(crate) const fn new() -> Self {
        Self {
            due: None,
            asked: None,
            last: 0,
            half: Duration::ZERO,
        }
    }

    pub(crate) fn up(&mut self, now: Instant) {
        self.asked = None;
        self.due = Some(now + Self::FIRST_AFTER);
    }

    pub(crate) fn down(&mut self) {
        self.asked = None;
        self.due = None;
    }

    /// The number to be echoed, if it is time.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Option<u64> {
        self.due.take_if(|at| *at <= now)?;
        self.due = Some(now + ECHO_EVERY);
        self.last += 1;
        self.asked = Some((self.last, now));
        Some(self.last)
    }

    pub(crate) fn echoed(&mut self, number: u64, now: Instant) {
        if let Some((_, at)) = self.asked.take_if(|(asked, _)| *asked == number) {
            self.half = now.since(at) / 2;
        }
    }

    /// By the last answer; zero before the first.
    pub(crate) const fn half(&self) -> Duration {
        self.half
    }

    pub(crate) fn wake(&self) -> Option<(Instant, &'static str)> {
        self.due.map(|at| (at, "measure the round trip"))
    }
}

/// Durations, counted by their size.
///
/// Eight steps for each doubling: a percentile is at most an eighth too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayHistogram {
    counts: Vec<u64>,
    count: u64,
    longest: Duration,
}

impl DelayHistogram {
    /// Steps: from a microsecond to 2⁴⁰ of them, twelve days. What is longer counts as that.
    pub const STEPS_MAX: usize = 8 * 38 + 8;

    /// Nothing counted.
    pub fn new() -> Self {
        Self {
            counts: vec![0; Self::STEPS_MAX],
            count: 0,
            longest: Duration::ZERO,
        }
    }

    /// Counts one.
    pub fn add(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.counts[step_of(micros).min(Self::STEPS_MAX - 1)] += 1;
        self.count += 1;
        self.longest = self.longest.max(duration);
    }

    /// Counts everything that `other` did.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.count += other.count;
        self.longest = self.longest.max(other.longest);
    }

    /// How many were counted.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The longest one, exactly.
    pub const fn longest(&self) -> Duration {
        self.longest
    }

    /// At least so many thousandths of all were not longer; `None` if none was counted.
    ///
    /// # Panics
    ///
    /// If `permille` is above 1000.
    pub fn permille(&self, permille: u64) -> Option<Duration> {
        assert!(permille <= 1_000, "a share of the whole");
        let rank = (self.count * permille).div_ceil(1_000).max(1);
        let mut seen = 0;
        for (step, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(Duration::from_micros(longest_of(step)).min(self.longest));
            }
        }
        None
    }
}

impl Default for DelayHistogram {
    fn default() -> Self {
        Self::new()
    }
}

/// Below eight microseconds each has a step of its own; then the first four bits name it.
fn step_of(micros: u64) -> usize {
    let step = match micros {
        0..8 => micros,
        _ => {
            let doubling = micros.ilog2() - 3;
            let eighth = (micros >> doubling) - 8;
            8 + 8 * u64::from(doubling) + eighth
        }
    };
    usize::try_from(step).unwrap_or(usize::MAX)
}

/// The longest duration of a step, in microseconds.
const fn longest_of(step: usize) -> u64 {
    if step < 8 {
        return step as u64;
    }
    let (doubling, eighth) = ((step as u64 - 8) / 8, (step as u64 - 8) % 8);
    ((9 + eighth) << doubling) - 1
}

/// The parts of T_e2e, and the whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DelayReport {
    /// T_m, in the time of the wall clocks.
    pub meter: DelayHistogram,
    /// T_g.
    pub gateway: DelayHistogram,
    /// T_e.
    pub edge: DelayHistogram,
    /// T_u.
    pub utility: DelayHistogram,
    /// T_g + T_e + T_u: from the gateway to the disk, by monotonic clocks alone.
    pub tiers: DelayHistogram,
    /// Their sum for each reading.
    pub whole: DelayHistogram,
    /// Readings whose interval ended after the gateway had it, if one believes both clocks. Their
    /// other parts count, and T_m as nothing.
    pub ahead: u64,
}

impl DelayReport {
    fn add(&mut self, shares: &Shares, utility: Duration) {
        let millis = shares.received.as_millis() - shares.key.end.as_millis();
        self.ahead += u64::from(millis < 0);
        let meter = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
        let tiers = shares.gateway + shares.edge + utility;
        for (histogram, part) in [
            (&mut self.meter, meter),
            (&mut self.gateway, shares.gateway),
            (&mut self.edge, shares.edge),
            (&mut self.utility, utility),
            (&mut self.tiers, tiers),
            (&mut self.whole, meter + tiers),
        ] {
            histogram.add(part);
        }
    }

    /// Counts everything that `other` did.
    pub fn merge(&mut self, other: &Self) {
        for (histogram, more) in [
            (&mut self.meter, &other.meter),
            (&mut self.gateway, &other.gateway),
            (&mut self.edge, &other.edge),
            (&mut self.utility, &other.utility),
            (&mut self.tiers, &other.tiers),
            (&mut self.whole, &other.whole),
        ] {
            histogram.merge(more);
        }
        self.ahead += other.ahead;
    }

    /// Every part by its name, in the order of the way.
    pub fn parts(&self) -> [(&'static str, &DelayHistogram); 6] {
        [
            ("T_m", &self.meter),
            ("T_g", &self.gateway),
            ("T_e", &self.edge),
            ("T_u", &self.utility),
            ("tiers", &self.tiers),
            ("T_e2e", &self.whole),
        ]
    }
}

/// The utility's part: what lower tiers measured, until the readings are durable.
#[derive(Debug, Default)]
pub(crate) struct DelayBook {
    waiting: BTreeMap<ReadingKey, (Shares, Instant)>,
    /// Of the input that is being handled.
    now: Instant,
    report: DelayReport,
}

impl DelayBook {
    /// An input begins.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.now = now;
    }

    /// Readings with these shares come next.
    pub(crate) fn announced(&mut self, shares: Vec<Shares>) {
        for one in shares {
            if self.waiting.len() < SAMPLES_WAITING_MAX || self.waiting.contains_key(&one.key) {
                self.waiting.insert(one.key, (one, self.now));
            }
        }
    }

    /// It is no first delivery, or was refused.
    pub(crate) fn forget(&mut self, key: &ReadingKey) {
        self.waiting.remove(key);
    }

    pub(crate) fn durable(&mut self, keys: &[ReadingKey]) {
        if self.waiting.is_empty() {
            return;
        }
        for key in keys {
            if let Some((shares, since)) = self.waiting.remove(key) {
                self.report.add(&shares, self.now.since(since));
            }
        }
    }

    pub(crate) const fn report(&self) -> &DelayReport {
        &self.report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridloom_core::{MeterId, Period};

    #[test]
    fn steps_grow_by_an_eighth_and_leave_nothing_out() {
        for micros in (0..5_000).chain([65_535, 65_536, 1 << 39, (1 << 40) - 1]) {
            let step = step_of(micros);
            assert!(step < DelayHistogram::STEPS_MAX, "{micros}");
            assert!(longest_of(step) >= micros, "{micros}");
            assert!(longest_of(step) * 8 <= micros * 9, "{micros}");
            assert!(step == 0 || longest_of(step - 1) < micros, "{micros}");
        }
    }

    #[test]
    fn percentiles_are_an_eighth_too_long_at_most() {
        let mut all = DelayHistogram::new();
        assert_eq!(all.permille(500), None);
        for millis in 1..=1_000 {
            all.add(Duration::from_millis(millis));
        }
        for (permille, exact) in [(500, 500), (950, 950), (990, 990), (1_000, 1_000)] {
            let found = all.permille(permille).unwrap();
            let exact = Duration::from_millis(exact);
            assert!(found >= exact && found <= exact * 9 / 8, "{found:?}");
        }
        let mut twice = all.clone();
        twice.merge(&all);
        assert_eq!(twice.permille(500), all.permille(500));
        assert_eq!((twice.count(), twice.longest()), (2_000, all.longest()));
        all.add(Duration::from_hours(24 * 400));
        assert_eq!(all.longest(), Duration::from_hours(24 * 400));
    }

    #[test]
    fn the_parts_of_a_reading_sum_up_once_it_is_durable() {
        let end = UtcTime::from_secs(900);
        let key = ReadingKey {
            meter: MeterId(1),
            period: Period::QUARTER_HOUR,
            end,
        };
        let millis = Duration::from_millis;
        let shares = Shares {
            key,
            received: end + millis(700),
            gateway: millis(20),
            edge: millis(30),
        };
        let at = |ms| Instant::ZERO + millis(ms);
        let mut book = DelayBook::default();
        book.begin(at(100));
        book.announced(vec![shares]);
        assert_eq!(book.report().whole.count(), 0);
        book.begin(at(105));
        book.durable(&[key]);
        book.begin(at(900));
        book.durable(&[key]);
        let report = book.report();
        let longest = report.parts().map(|(_, part)| part.longest());
        assert_eq!(longest, [700, 20, 30, 5, 55, 755].map(millis));
        assert!(report.parts().iter().all(|(_, part)| part.count() == 1));
        // A meter whose clock is ahead, and one that was refused.
        let ahead = Shares {
            received: end - millis(1),
            ..shares
        };
        book.announced(vec![ahead]);
        book.durable(&[key]);
        book.announced(vec![shares]);
        book.forget(&key);
        book.durable(&[key]);
        assert_eq!((book.report().ahead, book.report().whole.count()), (1, 2));
    }

    #[test]
    fn a_round_trip_counts_half_and_only_its_own_answer_ends_it() {
        let at = |secs| Instant::ZERO + Duration::from_secs(secs);
        let mut transit = Transit::new();
        assert_eq!(transit.handle_timeout(at(0)), None);
        transit.up(at(0));
        assert_eq!(transit.wake().unwrap().0, at(1));
        let first = transit.handle_timeout(at(1)).unwrap();
        let second = transit.handle_timeout(at(61)).unwrap();
        transit.echoed(first, at(62));
        assert_eq!(transit.half(), Duration::ZERO);
        transit.echoed(second, at(63));
        assert_eq!(transit.half(), Duration::from_secs(1));
        transit.echoed(second, at(90));
        assert_eq!(transit.half(), Duration::from_secs(1));
        transit.down();
        assert_eq!(transit.wake(), None);
    }
}
