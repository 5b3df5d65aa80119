//! A condition that must hold for a while before it counts, and be gone for a while before it is
//! over.

use std::time::Duration;

use gridloom_core::UtcTime;

use super::retained::{Keeper, Kept, RetainedError};

/// How long a condition must hold, and how long it must be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Persistence {
    /// Before it counts.
    pub onset: Duration,
    /// Before it is over.
    pub clearance: Duration,
}

/// A change that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    /// The condition holds; it began at this time.
    Began(UtcTime),
    /// The condition is over; it lasted from the first to the second time.
    Ended(UtcTime, UtcTime),
}

/// One condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Debounce {
    /// Since when the condition counts.
    active: Option<UtcTime>,
    /// Since when the input says the opposite.
    pending: Option<UtcTime>,
}

impl Debounce {
    pub(crate) const fn is_active(&self) -> bool {
        self.active.is_some()
    }

    /// Since when the condition counts.
    pub(crate) const fn since(&self) -> Option<UtcTime> {
        self.active
    }

    /// The input is `holds` from `at` on. Call [`Self::settle`] up to `at` first.
    pub(crate) fn input(&mut self, holds: bool, at: UtcTime) {
        if holds == self.active.is_some() {
            self.pending = None;
        } else {
            // A clock set back must not lengthen the wait.
            self.pending = Some(self.pending.map_or(at, |since| since.min(at)));
        }
    }

    /// When the pending change counts.
    pub(crate) fn due(&self, persistence: Persistence) -> Option<UtcTime> {
        let wait = if self.active.is_some() {
            persistence.clearance
        } else {
            persistence.onset
        };
        self.pending.map(|since| since + wait)
    }

    /// The change that counts by `at`, if any. It begins and ends when the input did so.
    pub(crate) fn settle(&mut self, persistence: Persistence, at: UtcTime) -> Option<Edge> {
        self.due(persistence).filter(|due| *due <= at)?;
        let since = self.pending.take()?;
        match self.active.take() {
            None => {
                self.active = Some(since);
                Some(Edge::Began(since))
            }
            Some(began) => Some(Edge::Ended(began, since)),
        }
    }

    pub(crate) fn keep(&self, keeper: &mut Keeper<'_>) {
        keeper.option(self.active, Keeper::time);
        keeper.option(self.pending, Keeper::time);
    }

    pub(crate) fn read(kept: &mut Kept<'_>) -> Result<Self, RetainedError> {
        Ok(Self {
            active: kept.option("condition", Kept::time)?,
            pending: kept.option("pending condition", Kept::time)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAITS: Persistence = Persistence {
        onset: Duration::from_secs(10),
        clearance: Duration::from_secs(5),
    };

    fn at(second: i64) -> UtcTime {
        UtcTime::from_secs(1_000 + second)
    }

    #[test]
    fn flicker_does_not_count() {
        let mut condition = Debounce::default();
        let mut edges = Vec::new();
        for (second, holds) in [
            (0, true),
            (9, false),
            (20, true),
            (31, false),
            (35, true),
            (40, false),
            (45, false),
        ] {
            edges.extend(condition.settle(WAITS, at(second)));
            condition.input(holds, at(second));
            edges.extend(condition.settle(WAITS, at(second)));
        }
        assert_eq!(edges, [Edge::Began(at(20)), Edge::Ended(at(20), at(40))]);
    }
}
