//! The contract between a state machine and whoever runs it.
//!
//! A machine owns no socket, file, task, clock or entropy. Its host
//!
//! 1. gives it one input through a `handle_*` method, with the time,
//! 2. drains `poll_output` until it is empty, and only then gives the next input,
//! 3. asks `wake` when to come back, and calls `handle_timeout` once that time has passed.

use crate::time::{Instant, UtcTime};

/// The time of an input, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time: what protocol timers count in.
    pub instant: Instant,
    /// Wall time: what intervals, prices and bills count in.
    pub utc: UtcTime,
}

/// When a machine wants to be woken next, and by which timer, on each clock.
///
/// The two stay apart because an accelerated demo runs the wall clock ahead of the monotonic one;
/// only a host knows how they relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wake {
    /// The earliest protocol deadline.
    pub instant: Option<(Instant, &'static str)>,
    /// The earliest wall-clock deadline.
    pub utc: Option<(UtcTime, &'static str)>,
}

impl Wake {
    /// The earlier of each pair of deadlines.
    pub fn earliest(self, other: Self) -> Self {
        Self {
            instant: earlier(self.instant, other.instant),
            utc: earlier(self.utc, other.utc),
        }
    }

    /// Whether a deadline has passed.
    pub fn is_due(self, now: Now) -> bool {
        self.instant.is_some_and(|(at, _)| at <= now.instant)
            || self.utc.is_some_and(|(at, _)| at <= now.utc)
    }
}

fn earlier<T: Ord + Copy>(
    a: Option<(T, &'static str)>,
    b: Option<(T, &'static str)>,
) -> Option<(T, &'static str)> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.0 < a.0 { b } else { a }),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earlier_deadline_wins_on_each_clock() {
        let a = Wake {
            instant: Some((Instant::from_nanos(5), "a")),
            utc: None,
        };
        let b = Wake {
            instant: Some((Instant::from_nanos(4), "b")),
            utc: Some((UtcTime::from_secs(9), "b")),
        };
        let both = a.earliest(b);
        assert_eq!(both, b);
        let at = |nanos, secs| Now {
            instant: Instant::from_nanos(nanos),
            utc: UtcTime::from_secs(secs),
        };
        assert!(!both.is_due(at(3, 8)));
        assert!(both.is_due(at(4, 8)));
        assert!(both.is_due(at(3, 9)));
    }
}
