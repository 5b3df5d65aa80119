//! What is being written, and what follows once it is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gridloom_core::{Instant, MeterId};
use gridloom_headend::Proposal;
use gridloom_store::Batch;

use crate::node::DiskRequest;

/// What follows once a batch is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Saved {
    Nothing,
    Counters,
    /// The command book's entries up to this number.
    Journal(Option<u64>),
    Rotation(u64),
    Campaign(u64),
    Collected,
    /// The registry's rows, and the meters to place anew.
    Registry(Box<Proposal>, Vec<MeterId>),
}

/// Batches on their way. One that the database failed to write is written again until it is
/// durable: it is whole or not there, so nobody else can tell the difference.
#[derive(Debug, Default)]
pub(super) struct Saving {
    last_ticket: u64,
    open: BTreeMap<u64, (Batch, Saved)>,
    retries: BTreeSet<(Instant, u64)>,
}

impl Saving {
    /// The pause before a batch is written again.
    pub(super) const RETRY: Duration = Duration::from_secs(1);

    pub(super) fn begin(&mut self, batch: Batch, saved: Saved) -> DiskRequest {
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        self.open.insert(ticket, (batch.clone(), saved));
        DiskRequest::Operations { ticket, batch }
    }

    pub(super) fn finish(&mut self, ticket: u64) -> Option<(Batch, Saved)> {
        self.open.remove(&ticket)
    }

    pub(super) fn fail(&mut self, ticket: u64, now: Instant) {
        if self.open.contains_key(&ticket) {
            self.retries.insert((now + Self::RETRY, ticket));
        }
    }

    pub(super) fn due(&mut self, now: Instant) -> Vec<DiskRequest> {
        let mut due = Vec::new();
        while let Some(&(at, ticket)) = self.retries.first()
            && at <= now
        {
            self.retries.pop_first();
            if let Some((batch, _)) = self.open.get(&ticket) {
                let batch = batch.clone();
                due.push(DiskRequest::Operations { ticket, batch });
            }
        }
        due
    }

    pub(super) fn wake(&self) -> Option<(Instant, &'static str)> {
        let (at, _) = self.retries.first()?;
        Some((*at, "write again"))
    }
}
