//! What to do when a meter refuses our invocation counter.
//!
//! The value comes from the public client's invocation counter object, which nobody
//! authenticates. So it may move our counter forwards only, and only so far; whoever forges it
//! costs us counters, of which there are 2³², but can never make us repeat one.

use core::fmt;

use gridloom_dlms::counter::{CounterError, ReceiveCounter, TransmitCounter};

/// The widest jump forwards that needs no operator.
pub const COUNTER_JUMP_MAX: u32 = 1 << 20;

/// Both counters of one meter under one key, as the registry keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CounterState {
    /// Ours.
    pub transmit: TransmitCounter,
    /// The meter's.
    pub receive: ReceiveCounter,
    /// The highest one of ours that the meter has verifiably taken.
    pub proven: Option<u32>,
}

/// The counter that would be given next; `None` at the end of the range.
pub fn upcoming(transmit: &TransmitCounter) -> Option<u32> {
    match transmit.clone().next() {
        Ok(next) | Err(CounterError::NotReserved { next }) => Some(next),
        Err(_) => None,
    }
}

/// What the meter's claim about our counter comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Our counter is behind, as after a restored backup: go on above `to`.
    Forward {
        /// Our next counter so far.
        from: u32,
        /// The meter's last one.
        to: u32,
    },
    /// Our counter is behind by more than [`COUNTER_JUMP_MAX`]: an operator decides.
    TooFar {
        /// Our next counter so far.
        from: u32,
        /// What the meter claims.
        claimed: u32,
    },
    /// The meter claims less than it has verifiably taken before: it was replaced, reset or
    /// tampered with, or something answers in its place. The key should be changed.
    MeterFell {
        /// What it has taken.
        proven: u32,
        /// What it claims.
        claimed: u32,
    },
    /// The claim does not explain why the meter refuses: our next counter is above it already.
    Consistent {
        /// Our next counter.
        next: u32,
        /// What the meter claims.
        claimed: u32,
    },
    /// Every counter under the key is used.
    Exhausted,
}

/// Judges what the public client read.
pub fn judge(counters: &CounterState, claimed: u32) -> Verdict {
    let Some(next) = upcoming(&counters.transmit) else {
        return Verdict::Exhausted;
    };
    if let Some(proven) = counters.proven
        && claimed < proven
    {
        return Verdict::MeterFell { proven, claimed };
    }
    if claimed < next {
        return Verdict::Consistent { next, claimed };
    }
    if claimed - next >= COUNTER_JUMP_MAX {
        return Verdict::TooFar {
            from: next,
            claimed,
        };
    }
    Verdict::Forward {
        from: next,
        to: claimed,
    }
}

/// What a session found out about counters: an audit record, and where it is no healing an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CounterFinding {
    /// What the public client's reading came to.
    Claimed(Verdict),
    /// The meter's own counter is not above the last one believed: a replay, or the meter lost
    /// its counter.
    Replayed {
        /// The last one believed.
        last: u32,
        /// The one that came.
        got: u32,
    },
}

impl CounterFinding {
    /// Whether an operator must be told, beyond the audit trail.
    pub const fn is_alarm(&self) -> bool {
        match self {
            Self::Claimed(Verdict::Forward { .. } | Verdict::Consistent { .. }) => false,
            Self::Claimed(
                Verdict::TooFar { .. } | Verdict::MeterFell { .. } | Verdict::Exhausted,
            )
            | Self::Replayed { .. } => true,
        }
    }

    /// Whether the meter's key should be changed.
    pub const fn wants_new_key(&self) -> bool {
        match self {
            Self::Claimed(Verdict::MeterFell { .. } | Verdict::Exhausted)
            | Self::Replayed { .. } => true,
            Self::Claimed(
                Verdict::Forward { .. } | Verdict::Consistent { .. } | Verdict::TooFar { .. },
            ) => false,
        }
    }
}

impl fmt::Display for CounterFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claimed(Verdict::Forward { from, to }) => {
                write!(f, "our counter {from} was behind; it goes on above {to}")
            }
            Self::Claimed(Verdict::TooFar { from, claimed }) => write!(
                f,
                "the meter claims counter {claimed}, more than {COUNTER_JUMP_MAX} above our {from}; \
                 check the meter, then set our counter by hand"
            ),
            Self::Claimed(Verdict::MeterFell { proven, claimed }) => write!(
                f,
                "the meter took counter {proven} and now claims {claimed}; it was replaced, reset \
                 or tampered with: inspect it and change its key"
            ),
            Self::Claimed(Verdict::Consistent { next, claimed }) => write!(
                f,
                "the meter refuses our counter {next}, though it claims only {claimed}"
            ),
            Self::Claimed(Verdict::Exhausted) => {
                f.write_str("all our counters under this key are used; change the key")
            }
            Self::Replayed { last, got } => write!(
                f,
                "the meter sent counter {got}, not above {last}; a replay, or it lost its \
                 counter: inspect it and change its key"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_moves_us_forwards_and_only_so_far() {
        let forward = |from, to| Verdict::Forward { from, to };
        let too_far = |from, claimed| Verdict::TooFar { from, claimed };
        let fell = |proven, claimed| Verdict::MeterFell { proven, claimed };
        let consistent = |next, claimed| Verdict::Consistent { next, claimed };
        // The last reservation of ours, what the meter took, what it claims.
        let cases = [
            (100, None, 101, forward(101, 101)),
            (100, None, 5_000, forward(101, 5_000)),
            (100, Some(90), 5_000, forward(101, 5_000)),
            (
                100,
                None,
                100 + COUNTER_JUMP_MAX,
                forward(101, 100 + COUNTER_JUMP_MAX),
            ),
            (
                100,
                None,
                101 + COUNTER_JUMP_MAX,
                too_far(101, 101 + COUNTER_JUMP_MAX),
            ),
            (100, None, u32::MAX, too_far(101, u32::MAX)),
            (100, None, 100, consistent(101, 100)),
            (100, Some(90), 90, consistent(101, 90)),
            (100, Some(90), 89, fell(90, 89)),
            (100, Some(90), 0, fell(90, 0)),
            (u32::MAX, None, 7, Verdict::Exhausted),
        ];
        for (bound, proven, claimed, expected) in cases {
            let counters = CounterState {
                transmit: TransmitCounter::resume(bound),
                receive: ReceiveCounter::new(),
                proven,
            };
            let verdict = judge(&counters, claimed);
            assert_eq!(verdict, expected, "{bound} {proven:?} {claimed}");
            let finding = CounterFinding::Claimed(verdict);
            assert!(!finding.wants_new_key() || finding.is_alarm(), "{finding}");
        }
    }
}
