//! Which states of devices changed since they were written: learnt homes, smoothed trust and
//! revocations. They are written seldom, and a revocation at once.

use std::collections::VecDeque;
use std::time::Duration;

use gridloom_core::Instant;

/// How soon a change is to be durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// With the next write.
    Now,
    /// With the next snapshot.
    Snapshot,
}

/// The parts of the states that wait to be written.
#[derive(Debug)]
pub(crate) struct Snapshots {
    changed: Vec<bool>,
    due: VecDeque<usize>,
    /// When what changed becomes due; `None` while nothing has.
    at: Option<Instant>,
    /// Gateways and the edge's own trust.
    gateways: bool,
}

impl Snapshots {
    /// What changed is written after this long: a crash forgets homes that were learnt since, and
    /// trust goes on from where it stood.
    pub(crate) const EVERY: Duration = Duration::from_secs(300);

    /// Parts that are written at once: 90 KB of a million meters.
    pub(crate) const AT_ONCE: usize = 4;

    pub(crate) fn new(shards: usize) -> Self {
        Self {
            changed: vec![false; shards],
            due: VecDeque::new(),
            at: None,
            gateways: false,
        }
    }

    pub(crate) fn mark(&mut self, shard: usize, urgency: Urgency, now: Instant) {
        match urgency {
            Urgency::Now => {
                self.changed[shard] = false;
                if !self.due.contains(&shard) {
                    self.due.push_front(shard);
                }
            }
            Urgency::Snapshot => {
                self.changed[shard] = true;
                self.at = self.at.or(Some(now + Self::EVERY));
            }
        }
    }

    /// A gateway got its number: what is learnt from now on refers to it.
    pub(crate) fn mark_gateways(&mut self) {
        self.gateways = true;
    }

    /// Makes due what changed long enough ago.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.at.take_if(|at| *at <= now).is_none() {
            return;
        }
        self.gateways = true;
        for (shard, changed) in self.changed.iter_mut().enumerate() {
            if std::mem::take(changed) && !self.due.contains(&shard) {
                self.due.push_back(shard);
            }
        }
    }

    /// Whether the gateways are to be written now; before any part, because parts name them.
    pub(crate) fn take_gateways(&mut self) -> bool {
        std::mem::take(&mut self.gateways)
    }

    pub(crate) fn next_write(&mut self) -> Option<usize> {
        self.due.pop_front()
    }

    pub(crate) fn is_due(&self) -> bool {
        self.gateways || !self.due.is_empty()
    }

    pub(crate) fn wake(&self) -> Option<Instant> {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_goes_at_once_and_trust_when_its_time_has_come() {
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        let mut snapshots = Snapshots::new(5);
        snapshots.mark(3, Urgency::Snapshot, at(10));
        snapshots.mark(1, Urgency::Snapshot, at(200));
        assert!(!snapshots.is_due());
        snapshots.mark(4, Urgency::Now, at(201));
        snapshots.mark(4, Urgency::Now, at(201));
        assert!(snapshots.is_due());
        assert_eq!(snapshots.next_write(), Some(4));
        assert_eq!(snapshots.next_write(), None);
        snapshots.handle_timeout(at(309));
        assert!(!snapshots.is_due());
        assert_eq!(snapshots.wake(), Some(at(310)));
        snapshots.handle_timeout(at(310));
        assert!(snapshots.take_gateways() && !snapshots.take_gateways());
        assert_eq!(snapshots.next_write(), Some(1));
        assert_eq!(snapshots.next_write(), Some(3));
        assert_eq!((snapshots.next_write(), snapshots.wake()), (None, None));
    }
}
