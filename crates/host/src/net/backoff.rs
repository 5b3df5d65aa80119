//! When to dial again.

use std::time::Duration;

use gridloom_core::Seed;

/// Doubling pauses with jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first pause, at most.
    pub first: Duration,
    /// Every later pause, at most.
    pub max: Duration,
}

impl Default for Backoff {
    /// From 100 ms to 3 s: a neighbour that came back is found within the failover target of 5 s.
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            max: Duration::from_secs(3),
        }
    }
}

impl Backoff {
    /// The pause after failure number `attempt` (from 0): between half and all of
    /// `first × 2^attempt`, at most [`Self::max`]; `seed` chooses where, so that neighbours
    /// that failed together do not return together.
    pub fn pause(self, attempt: u32, seed: Seed) -> Duration {
        let doubled = self.first.saturating_mul(2_u32.saturating_pow(attempt));
        spread(doubled.min(self.max) / 2, attempt.into(), seed) + doubled.min(self.max) / 2
    }
}

/// A time below `span`, the same for the same seed and index.
pub(crate) fn spread(span: Duration, index: u64, seed: Seed) -> Duration {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(seed.nth(index).get().checked_rem(nanos).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_bound_and_differ_between_neighbours() {
        let backoff = Backoff::default();
        let cases = [
            (0, 100),
            (1, 200),
            (4, 1_600),
            (5, 3_000),
            (31, 3_000),
            (u32::MAX, 3_000),
        ];
        for (attempt, millis) in cases {
            let full = Duration::from_millis(millis);
            for meter in 0..50 {
                let pause = backoff.pause(attempt, Seed::new(7).nth(meter));
                assert!(pause >= full / 2 && pause <= full, "{attempt}: {pause:?}");
            }
        }
        let of = |meter| backoff.pause(5, Seed::new(7).nth(meter));
        assert_ne!(of(1), of(2));
        assert_eq!(of(1), of(1));
        assert_eq!(spread(Duration::ZERO, 1, Seed::new(1)), Duration::ZERO);
    }
}
