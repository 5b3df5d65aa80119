//! Waiting twice as long after each failure, up to a limit.

use std::time::Duration;

/// A doubling wait. One modem has one driver, so the waits need no jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backoff {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
}

impl Backoff {
    /// The wait after `failures` failures in a row, counted from 1.
    pub(crate) fn after(self, failures: u32) -> Duration {
        let factor = 1_u32
            .checked_shl(failures.saturating_sub(1))
            .unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let backoff = Backoff {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
        };
        for (failures, seconds) in [(0, 1), (1, 1), (2, 2), (6, 32), (7, 60), (33, 60), (90, 60)] {
            assert_eq!(backoff.after(failures).as_secs(), seconds, "{failures}");
        }
    }
}
