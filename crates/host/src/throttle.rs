//! Keeps a peer from filling our log.

use std::sync::Mutex;
use std::time::Duration;

use gridloom_core::Instant;

/// At most one line per kind of event in this time; the line tells how many were left out.
pub const LOG_GAP: Duration = Duration::from_secs(10);

/// Admits one log line per [`LOG_GAP`] and counts the others.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    left_out: u64,
}

impl LogThrottle {
    /// Whether to write a line at `now`, and how many were left out since the last.
    pub(crate) fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self
            .state
            .lock()
            .expect("nothing panics while it holds this lock");
        if state.last.is_some_and(|last| now.since(last) < LOG_GAP) {
            state.left_out += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_gap_and_a_count_of_the_rest() {
        let throttle = LogThrottle::default();
        let at = |secs: u64| Instant::from_nanos(secs * 1_000_000_000);
        let cases = [
            (0, Some(0)),
            (1, None),
            (9, None),
            (10, Some(2)),
            (11, None),
            (40, Some(1)),
        ];
        for (secs, expected) in cases {
            assert_eq!(throttle.admit(at(secs)), expected, "{secs}");
        }
    }
}
