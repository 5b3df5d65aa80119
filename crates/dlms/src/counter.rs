//! Invocation counters: never the same one twice under a key, on either side, across reboots.

/// From here on a counter raises an alarm: change the key before the counter ends at 2³² − 1.
pub const COUNTER_ALARM: u32 = 0xF000_0000;

/// Counters that one durable reservation covers.
pub const BLOCK_LEN: u32 = 1_024;

/// Why a counter is refused or cannot be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CounterError {
    /// The peer's counter is not strictly greater than the last one that was believed.
    #[error(
        "counter: received {got}, not above {last}; a replay, or the meter lost its counter: \
         change its key"
    )]
    Replayed {
        /// The last one that was believed.
        last: u32,
        /// The one received.
        got: u32,
    },
    /// The next counter is not covered by a durable reservation yet.
    #[error("counter: {next} is not reserved yet; persist the reservation that is due")]
    NotReserved {
        /// The counter that was wanted.
        next: u32,
    },
    /// Every counter under this key is used.
    #[error("counter: all 2^32 invocation counters are used; change the key")]
    Exhausted,
}

impl CounterError {
    /// Whether the same call can succeed later without an operator.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::NotReserved { .. } => true,
            Self::Replayed { .. } | Self::Exhausted => false,
        }
    }
}

/// A peer's counter that is fresh, but not believed before its tag is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "commit it once the tag is verified"]
pub struct FreshCounter(u32);

/// The last counter believed from one peer under one key.
///
/// The order is check, verify the tag, [`Self::commit`]: a forged frame with a high counter
/// must not lock out the true meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReceiveCounter {
    last: Option<u32>,
}

impl ReceiveCounter {
    /// Under a new key: any counter is fresh.
    pub const fn new() -> Self {
        Self { last: None }
    }

    /// Only counters above `last` are fresh.
    pub const fn after(last: u32) -> Self {
        Self { last: Some(last) }
    }

    /// The last counter that was believed.
    pub const fn last(&self) -> Option<u32> {
        self.last
    }

    /// Whether `got` is strictly greater than every counter believed so far.
    ///
    /// # Errors
    ///
    /// [`CounterError::Replayed`].
    pub fn check(&self, got: u32) -> Result<FreshCounter, CounterError> {
        match self.last {
            Some(last) if got <= last => Err(CounterError::Replayed { last, got }),
            Some(_) | None => Ok(FreshCounter(got)),
        }
    }

    /// Believes a counter. Call it after the tag verified, never before.
    ///
    /// # Panics
    ///
    /// If another counter was committed since the check: one frame at a time.
    pub fn commit(&mut self, fresh: FreshCounter) {
        assert!(
            self.last.is_none_or(|last| fresh.0 > last),
            "a counter is committed before the next one is checked"
        );
        self.last = Some(fresh.0);
    }

    /// Whether the peer's counter is so high that its key should be changed.
    pub fn is_near_end(&self) -> bool {
        self.last.is_some_and(|last| last >= COUNTER_ALARM)
    }
}

/// Our own counter under one key. Every counter given lies within a reservation that is durable,
/// so a reboot that forgets the counter itself can still never repeat one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransmitCounter {
    /// The next counter to give; `None` after 2³² − 1.
    next: Option<u32>,
    /// The highest counter covered by a durable reservation.
    durable: u32,
    /// The highest counter of a reservation that is being persisted.
    requested: Option<u32>,
}

impl TransmitCounter {
    /// Under a new key: the first counter will be 1.
    pub const fn new() -> Self {
        Self::resume(0)
    }

    /// Resumes above `bound`, the highest reservation that was ever persisted for this key:
    /// all counters up to it may have been used.
    pub const fn resume(bound: u32) -> Self {
        Self {
            next: bound.checked_add(1),
            durable: bound,
            requested: None,
        }
    }

    /// The upper bound (inclusive) to persist now, if it is time: less than half a block is left.
    /// Answers once per reservation; call [`Self::reserved`] when it is durable.
    pub fn reservation_due(&mut self) -> Option<u32> {
        let next = self.next?;
        // Counters left after the next one, so that the end of the range cannot overflow.
        let left = self.durable.saturating_sub(next);
        if self.requested.is_some() || self.durable == u32::MAX || left >= BLOCK_LEN / 2 {
            return None;
        }
        let upper = self.durable.saturating_add(BLOCK_LEN);
        self.requested = Some(upper);
        Some(upper)
    }

    /// The reservation up to `upper` is durable.
    ///
    /// # Panics
    ///
    /// If this bound was not asked for.
    pub fn reserved(&mut self, upper: u32) {
        assert_eq!(
            self.requested.take(),
            Some(upper),
            "only the bound that was due can become durable"
        );
        self.durable = upper;
    }

    /// Persisting failed: the same reservation is due again.
    pub const fn reservation_failed(&mut self) {
        self.requested = None;
    }

    /// A counter that was never given before.
    ///
    /// # Errors
    ///
    /// [`CounterError::NotReserved`] until a reservation is durable, [`CounterError::Exhausted`]
    /// at the end.
    pub const fn next(&mut self) -> Result<u32, CounterError> {
        let Some(next) = self.next else {
            return Err(CounterError::Exhausted);
        };
        if next > self.durable {
            return Err(CounterError::NotReserved { next });
        }
        self.next = next.checked_add(1);
        Ok(next)
    }

    /// How many counters can be given before another reservation is durable.
    pub fn available(&self) -> u32 {
        self.next.map_or(0, |next| {
            (self.durable.saturating_sub(next)).saturating_add(u32::from(next <= self.durable))
        })
    }

    /// Whether the key should be changed because its counters run out.
    pub fn is_near_end(&self) -> bool {
        self.next.is_none_or(|next| next >= COUNTER_ALARM)
    }
}

impl Default for TransmitCounter {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_greater_counters_are_fresh() {
        let cases = [
            (ReceiveCounter::new(), 0, true),
            (ReceiveCounter::new(), u32::MAX, true),
            (ReceiveCounter::after(5), 4, false),
            (ReceiveCounter::after(5), 5, false),
            (ReceiveCounter::after(5), 6, true),
            (ReceiveCounter::after(u32::MAX), u32::MAX, false),
        ];
        for (counter, got, fresh) in cases {
            assert_eq!(counter.check(got).is_ok(), fresh, "{counter:?} {got}");
        }
    }

    #[test]
    fn a_forged_counter_that_is_never_committed_blocks_nobody() {
        let mut counter = ReceiveCounter::after(5);
        let _forged = counter.check(0xFFFF_FFFE).unwrap();
        let fresh = counter.check(6).unwrap();
        counter.commit(fresh);
        assert_eq!(counter.last(), Some(6));
        assert_eq!(
            counter.check(6),
            Err(CounterError::Replayed { last: 6, got: 6 })
        );
    }

    #[test]
    #[should_panic(expected = "committed before the next one is checked")]
    fn a_stale_check_cannot_be_committed() {
        let mut counter = ReceiveCounter::new();
        let first = counter.check(7).unwrap();
        let second = counter.check(7).unwrap();
        counter.commit(first);
        counter.commit(second);
    }

    #[test]
    fn no_counter_is_given_before_its_reservation_is_durable() {
        let mut counter = TransmitCounter::new();
        assert_eq!(counter.next(), Err(CounterError::NotReserved { next: 1 }));
        assert_eq!(counter.reservation_due(), Some(BLOCK_LEN));
        assert_eq!(counter.reservation_due(), None, "asked once");
        assert!(counter.next().is_err(), "asked is not durable");
        assert_eq!(counter.available(), 0, "asked is not durable");
        counter.reservation_failed();
        assert_eq!(counter.reservation_due(), Some(BLOCK_LEN), "asked again");
        counter.reserved(BLOCK_LEN);
        let mut persisted = BLOCK_LEN;
        assert_eq!(counter.available(), BLOCK_LEN);
        for expected in 1..=10 * BLOCK_LEN {
            let available = counter.available();
            assert_eq!(counter.next(), Ok(expected));
            assert_eq!(counter.available(), available - 1);
            if let Some(upper) = counter.reservation_due() {
                assert!(expected < persisted, "asked in time");
                counter.reserved(upper);
                persisted = upper;
            }
        }
    }

    #[test]
    fn a_reboot_never_repeats_a_counter() {
        let mut used = Vec::new();
        let mut bound = 0;
        for boots in 0..20 {
            let mut counter = TransmitCounter::resume(bound);
            bound = counter.reservation_due().unwrap();
            counter.reserved(bound);
            for _ in 0..boots * 7 {
                used.push(counter.next().unwrap());
            }
        }
        assert!(used.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn the_end_is_an_error_not_a_wrap() {
        let mut counter = TransmitCounter::resume(u32::MAX - 2);
        assert!(counter.is_near_end());
        assert_eq!(counter.reservation_due(), Some(u32::MAX));
        counter.reserved(u32::MAX);
        assert_eq!(
            counter.reservation_due(),
            None,
            "nothing is left to reserve"
        );
        assert_eq!(counter.next(), Ok(u32::MAX - 1));
        assert_eq!(counter.next(), Ok(u32::MAX));
        assert_eq!(counter.next(), Err(CounterError::Exhausted));
        assert_eq!(counter.reservation_due(), None);
        assert!(!TransmitCounter::resume(COUNTER_ALARM - 2).is_near_end());
        assert!(TransmitCounter::resume(COUNTER_ALARM - 1).is_near_end());
        assert!(TransmitCounter::resume(u32::MAX).is_near_end());
    }
}
