//! Which values have to be kept so that no sample is further from the archive than the error.
//!
//! Lines: from the last kept value, each sample allows the slopes that pass it within a part of
//! the error. While some slope is allowed by all, nothing is kept. When none is left, a line with
//! an allowed slope ends at the sample before, and the next begins there. The rest of the error is
//! for rounding the kept value to the quantum and the line to a millionth.

use super::class::{Class, Method};
use crate::fixed::divide_rounded;

/// What of the error goes to rounding the line and its end, in millionths.
const ROUNDING: i64 = 2;

/// How one class thins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) method: Method,
    pub(super) error: i64,
    /// Kept values are multiples of it.
    pub(super) quantum: i64,
    /// What of the error is left for the samples of a line.
    slack: i64,
}

impl Rule {
    pub(super) fn new(class: &Class) -> Self {
        let error = class.error.millionths();
        let quantum = (error / 4).max(1);
        let slack = error - quantum / 2 - ROUNDING;
        // So small an error leaves nothing for lines: keep everything.
        let method = if slack < 1 {
            Method::Exact
        } else {
            class.method
        };
        Self {
            method,
            error,
            quantum: if method == Method::Exact { 1 } else { quantum },
            slack,
        }
    }

    /// The nearest value that may be kept, in quanta.
    pub(super) fn quanta(self, value: i64) -> i64 {
        let half = self.quantum / 2;
        let shifted = if value < 0 {
            value.saturating_sub(half)
        } else {
            value.saturating_add(half)
        };
        shifted / self.quantum
    }
}

/// The state of one line.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Door {
    /// The last kept value.
    pub(super) time: i64,
    pub(super) value: i64,
    /// The last sample.
    pub(super) last_time: i64,
    pub(super) last: i64,
    /// The lowest and the highest slope that every sample since allows, as rise over run; no
    /// bound before the first.
    low: (i64, i64),
    high: (i64, i64),
    bounded: bool,
}

impl Door {
    /// A line that begins at a kept value.
    pub(super) const fn new(time: i64, value: i64, sample: i64) -> Self {
        Self {
            time,
            value,
            last_time: time,
            last: sample,
            low: (0, 1),
            high: (0, 1),
            bounded: false,
        }
    }

    /// Takes a later sample, for lines at most 2^62 from the last kept value. When a value before it has to be kept, gives that, as time and quanta;
    /// the line then begins there.
    pub(super) fn take(&mut self, time: i64, sample: i64, rule: Rule) -> Option<(i64, i64)> {
        match rule.method {
            Method::Lines => {
                let kept = if self.allow(time, sample, rule) {
                    None
                } else {
                    let kept = self.close(rule);
                    // From a fresh start one sample always fits.
                    let fits = self.allow(time, sample, rule);
                    debug_assert!(fits, "one sample bounds no line away");
                    Some(kept)
                };
                (self.last_time, self.last) = (time, sample);
                kept
            }
            Method::Exact | Method::Deadband => {
                let near = if rule.method == Method::Exact {
                    sample == self.value
                } else {
                    sample.abs_diff(self.value) <= rule.slack.unsigned_abs()
                };
                (self.last_time, self.last) = (time, sample);
                if near {
                    return None;
                }
                let quanta = rule.quanta(sample);
                (self.time, self.value) = (time, quanta.saturating_mul(rule.quantum));
                Some((time, quanta))
            }
        }
    }

    /// Ends the line at its last sample: what to keep there, as time and quanta.
    pub(super) fn close(&mut self, rule: Rule) -> (i64, i64) {
        if rule.method != Method::Lines || !self.bounded {
            return (self.last_time, rule.quanta(self.value));
        }
        let run = i128::from(self.last_time - self.time);
        let end = |(rise, over): (i64, i64)| {
            let rise = divide_rounded(i128::from(rise) * run, i128::from(over));
            i128::from(self.value) + rise.unwrap_or(0)
        };
        let (low, high) = (end(self.low), end(self.high));
        let best = i128::from(self.last).clamp(low.min(high), high.max(low));
        let best = i64::try_from(best).unwrap_or(self.last);
        let quanta = rule.quanta(best);
        let value = quanta.saturating_mul(rule.quantum);
        *self = Self::new(self.last_time, value, self.last);
        (self.time, quanta)
    }

    /// Narrows the slopes by a sample; `false`, and nothing is narrowed, if none would be left.
    fn allow(&mut self, time: i64, sample: i64, rule: Rule) -> bool {
        let run = time - self.time;
        let rise = sample - self.value;
        let low = (rise.saturating_sub(rule.slack), run);
        let high = (rise.saturating_add(rule.slack), run);
        if !self.bounded {
            (self.low, self.high, self.bounded) = (low, high, true);
            return true;
        }
        let (new_low, new_high) = (steeper(low, self.low), steeper(self.high, high));
        // `steeper` gives the first where it rises more: the lower bound grows, the upper falls.
        let low = if new_low { low } else { self.low };
        let high = if new_high { high } else { self.high };
        if steeper(low, high) {
            return false;
        }
        (self.low, self.high) = (low, high);
        true
    }
}

/// Whether the first slope is steeper than the second. Runs are above zero.
fn steeper(a: (i64, i64), b: (i64, i64)) -> bool {
    // Most numbers are small, and 64-bit products cost a third.
    match (a.0.checked_mul(b.1), b.0.checked_mul(a.1)) {
        (Some(left), Some(right)) => left > right,
        _ => i128::from(a.0) * i128::from(b.1) > i128::from(b.0) * i128::from(a.1),
    }
}
