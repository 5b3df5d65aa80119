//! The clock: the system's, or an accelerated one for demonstrations.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gridloom_core::{Instant, Now, UtcTime, Wake};

const NANOS_PER_MILLI: i128 = 1_000_000;
const THOUSAND: u32 = 1_000;

/// A clock cannot be set up as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClockError {
    /// The speed is no number, or out of range.
    #[error("speed {text:?} is not a decimal from 1 to {max} with at most three decimals", max = Speed::MAX)]
    Speed {
        /// What was given.
        text: String,
    },
}

/// How many times faster than the wall an accelerated UTC runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Speed {
    thousandths: u32,
}

impl Speed {
    /// Wall speed.
    pub const REAL: Self = Self {
        thousandths: THOUSAND,
    };

    /// The highest speed: a half-hour interval every 18 ms. Beyond it timers of one millisecond
    /// no longer tell intervals apart.
    pub const MAX: u32 = 100_000;

    /// A whole speed.
    ///
    /// # Errors
    ///
    /// [`ClockError::Speed`] unless 1 ≤ `times` ≤ [`Self::MAX`].
    pub fn new(times: u32) -> Result<Self, ClockError> {
        if (1..=Self::MAX).contains(&times) {
            Ok(Self {
                thousandths: times * THOUSAND,
            })
        } else {
            Err(ClockError::Speed {
                text: times.to_string(),
            })
        }
    }
}

impl Speed {
    /// The nearest whole number, for display.
    pub const fn rounded(self) -> u32 {
        (self.thousandths + THOUSAND / 2) / THOUSAND
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.thousandths / THOUSAND, self.thousandths % THOUSAND);
        if fraction == 0 {
            write!(f, "{whole}")
        } else {
            write!(f, "{whole}.{fraction:03}")
        }
    }
}

impl FromStr for Speed {
    type Err = ClockError;

    /// Reads a decimal such as `2880` or `1.5`.
    fn from_str(text: &str) -> Result<Self, ClockError> {
        let refused = || ClockError::Speed {
            text: text.to_owned(),
        };
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || fraction.len() > 3 {
            return Err(refused());
        }
        let whole: u32 = whole.parse().map_err(|_| refused())?;
        let fraction: u32 = format!("{fraction:0<3}").parse().map_err(|_| refused())?;
        let thousandths = whole
            .checked_mul(THOUSAND)
            .and_then(|w| w.checked_add(fraction));
        match thousandths {
            Some(thousandths) if (THOUSAND..=Self::MAX * THOUSAND).contains(&thousandths) => {
                Ok(Self { thousandths })
            }
            Some(_) | None => Err(refused()),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Pace {
    /// UTC is the system's.
    System,
    /// UTC starts at `base` and runs `speed` times as fast as the monotonic clock.
    Accelerated { base: UtcTime, speed: Speed },
}

#[derive(Debug)]
struct Shared {
    origin: std::time::Instant,
    pace: Pace,
    /// The latest UTC given out, in milliseconds.
    latest: AtomicI64,
}

/// Tells the time to every machine of a process. Clones share one clock.
///
/// Neither of its times ever runs backwards: when the system's clock is set back, UTC stands
/// still until the system catches up.
#[derive(Debug, Clone)]
pub struct Clock {
    shared: Arc<Shared>,
}

impl Clock {
    /// A clock that follows the system's.
    pub fn realtime() -> Self {
        Self::new(Pace::System)
    }

    /// A clock whose UTC starts at `base` now and runs `speed` times as fast as the wall.
    pub fn accelerated(base: UtcTime, speed: Speed) -> Self {
        Self::new(Pace::Accelerated { base, speed })
    }

    fn new(pace: Pace) -> Self {
        let (origin, _) = read_system_clocks();
        Self {
            shared: Arc::new(Shared {
                origin,
                pace,
                latest: AtomicI64::new(i64::MIN),
            }),
        }
    }

    /// The time, on both clocks.
    pub fn now(&self) -> Now {
        let (instant, system) = read_system_clocks();
        let elapsed = instant.saturating_duration_since(self.shared.origin);
        self.at(elapsed, system)
    }

    /// The system's time, also on an accelerated clock: certificates count in it.
    pub fn wall(&self) -> UtcTime {
        let (_, system) = read_system_clocks();
        UtcTime::from_millis(millis_of(system))
    }

    /// The monotonic instant at which UTC reaches `utc`; the present or the past if it has.
    ///
    /// On the realtime clock this is a forecast: setting the system's clock changes it
    /// (see [`Self::drift`]).
    pub fn instant_at(&self, utc: UtcTime) -> Instant {
        match self.shared.pace {
            Pace::System => {
                let now = self.now();
                now.instant + utc.since(now.utc)
            }
            Pace::Accelerated { base, speed } => {
                let ahead = i128::from(utc.as_millis()) - i128::from(base.as_millis());
                let scaled = ahead.max(0) * NANOS_PER_MILLI * i128::from(THOUSAND);
                let speed = i128::from(speed.thousandths);
                // Rounded up: one nanosecond early would be a wake-up for nothing.
                let nanos = (scaled + speed - 1) / speed;
                Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
            }
        }
    }

    /// The earlier of both deadlines on the monotonic clock.
    pub fn deadline(&self, wake: Wake) -> Option<Instant> {
        let protocol = wake.instant.map(|(at, _)| at);
        let wall = wake.utc.map(|(at, _)| self.instant_at(at));
        protocol.into_iter().chain(wall).min()
    }

    /// How far UTC is ahead of the monotonic clock, in milliseconds, where that can change:
    /// whoever has mapped deadlines maps them again when it does. `None` on an accelerated clock.
    pub fn drift(&self) -> Option<i64> {
        match self.shared.pace {
            Pace::System => {
                let now = self.now();
                let uptime = i64::try_from(now.instant.as_nanos() / 1_000_000).unwrap_or(i64::MAX);
                Some(now.utc.as_millis().saturating_sub(uptime))
            }
            Pace::Accelerated { .. } => None,
        }
    }

    /// `at` as tokio counts time; an instant beyond what it can count is a day from now.
    pub(crate) fn tokio_instant(&self, at: Instant) -> tokio::time::Instant {
        const FAR: Duration = Duration::from_hours(24);
        let at = at.min(self.now().instant + FAR);
        let since_origin = Duration::from_nanos(at.as_nanos());
        tokio::time::Instant::from_std(self.shared.origin + since_origin)
    }

    fn at(&self, elapsed: Duration, system: SystemTime) -> Now {
        let instant = Instant::ZERO + elapsed;
        let millis = match self.shared.pace {
            Pace::System => millis_of(system),
            Pace::Accelerated { base, speed } => {
                let nanos = i128::from(instant.as_nanos()) * i128::from(speed.thousandths);
                let ahead = nanos / (NANOS_PER_MILLI * i128::from(THOUSAND));
                base.as_millis()
                    .saturating_add(i64::try_from(ahead).unwrap_or(i64::MAX))
            }
        };
        let latest = self.shared.latest.fetch_max(millis, Ordering::Relaxed);
        Now {
            instant,
            utc: UtcTime::from_millis(latest.max(millis)),
        }
    }
}

fn millis_of(system: SystemTime) -> i64 {
    match system.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |m| -m),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads a clock; everything else is given the time"
)]
fn read_system_clocks() -> (std::time::Instant, SystemTime) {
    (std::time::Instant::now(), SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_parse() {
        let cases = [
            ("1", Some(1_000)),
            ("2880", Some(2_880_000)),
            ("1.5", Some(1_500)),
            ("1.005", Some(1_005)),
            ("100000", Some(100_000_000)),
            ("100000.001", None),
            ("0.999", None),
            ("0", None),
            ("-5", None),
            ("+5", None),
            ("1.0001", None),
            ("1.", None),
            (".5", None),
            ("1e3", None),
            ("", None),
            ("99999999999", None),
        ];
        for (text, thousandths) in cases {
            let speed = text.parse::<Speed>();
            assert_eq!(speed.ok().map(|s| s.thousandths), thousandths, "{text}");
        }
        assert_eq!(Speed::new(0).ok(), None);
        assert_eq!(Speed::new(1).ok(), Some(Speed::REAL));
    }

    #[test]
    fn accelerated_time_is_exact_and_its_deadlines_are_never_early() {
        let base = UtcTime::parse("2013-01-01T00:00:00Z").unwrap();
        for (speed, elapsed_ms, utc) in [
            ("1", 1_800_000, "2013-01-01T00:30:00Z"),
            ("2880", 30_000, "2013-01-02T00:00:00Z"),
            ("10000", 267_840, "2013-02-01T00:00:00Z"),
            ("1.5", 2_000, "2013-01-01T00:00:03Z"),
        ] {
            let clock = Clock::accelerated(base, speed.parse().unwrap());
            let utc = UtcTime::parse(utc).unwrap();
            let at = clock.instant_at(utc);
            assert_eq!(at, Instant::from_nanos(elapsed_ms * 1_000_000), "{speed}");
            assert_eq!(
                clock.at(Duration::from_millis(elapsed_ms), UNIX_EPOCH).utc,
                utc
            );
        }
        let clock = Clock::accelerated(base, "7.777".parse().unwrap());
        for millis in 0..10_000 {
            let utc = base + Duration::from_millis(millis);
            let at = clock.instant_at(utc);
            let there = Clock::accelerated(base, "7.777".parse().unwrap())
                .at(Duration::from_nanos(at.as_nanos()), UNIX_EPOCH);
            assert_eq!(there.utc, utc, "{millis}");
        }
        assert_eq!(
            clock.instant_at(base - Duration::from_secs(9)),
            Instant::ZERO
        );
    }

    #[test]
    fn utc_stands_still_while_the_system_clock_is_behind() {
        let clock = Clock::realtime();
        let system = |secs| UNIX_EPOCH + Duration::from_secs(secs);
        for (elapsed, secs, expected) in [(0, 100, 100), (1, 50, 100), (2, 99, 100), (3, 103, 103)]
        {
            let now = clock.at(Duration::from_secs(elapsed), system(secs));
            assert_eq!(now.utc, UtcTime::from_secs(expected), "{elapsed}");
            assert_eq!(now.instant, Instant::from_nanos(elapsed * 1_000_000_000));
        }
    }

    #[test]
    fn the_earlier_deadline_counts() {
        let base = UtcTime::from_secs(0);
        let clock = Clock::accelerated(base, Speed::new(1_000).unwrap());
        let wake = |instant: Option<u64>, utc: Option<i64>| Wake {
            instant: instant.map(|nanos| (Instant::from_nanos(nanos), "retry")),
            utc: utc.map(|secs| (UtcTime::from_secs(secs), "interval")),
        };
        let cases = [
            (wake(None, None), None),
            (wake(Some(5), None), Some(5)),
            (wake(None, Some(3)), Some(3_000_000)),
            (wake(Some(5), Some(3)), Some(5)),
            (wake(Some(9_000_000), Some(3)), Some(3_000_000)),
        ];
        for (wake, nanos) in cases {
            assert_eq!(clock.deadline(wake), nanos.map(Instant::from_nanos));
        }
        assert_eq!(clock.drift(), None);
        assert!(Clock::realtime().drift().is_some());
    }
}
