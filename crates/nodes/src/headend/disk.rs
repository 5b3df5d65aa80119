//! What is being written, and what follows once it is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gridloom_core::{Instant, MeterId, Now};
use gridloom_edge::AlarmKey;
use gridloom_headend::Proposal;
use gridloom_store::spool::Gap;
use gridloom_store::{Batch, Change, CounterRow, KeyKind, Refused};

use super::HeadEndNode;
use super::changes::{ChangeId, ChangeState};
use super::orders::{OrderId, Part};
use super::push::Confirm;
use crate::node::{DiskRequest, Output};

/// What follows once a batch is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Saved {
    Nothing,
    Counters,
    /// The command book's entries up to this number.
    Journal(Option<u64>),
    Rotation(u64),
    Campaign(u64),
    /// How far meters are read, and the named gaps that stand in that.
    Collected(Vec<Gap>),
    /// Alarms of meters, to be confirmed.
    Alarms(Vec<AlarmKey>),
    /// What a meter told; it is to hear so, if it wants to.
    Pushed(Option<Confirm>),
    /// The registry's rows, and the meters to place anew; who waits for it, if anybody does.
    Registry(Option<ChangeId>, Box<Proposal>, Vec<MeterId>),
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

impl HeadEndNode {
    pub(super) fn save(&mut self, batch: Batch, saved: Saved) {
        let request = self.saving.begin(batch, saved);
        self.outbox.push_back(Output::Disk(request));
    }

    pub(super) fn handle_saved(
        &mut self,
        ticket: u64,
        result: Result<Result<(), Refused>, String>,
        now: Now,
    ) {
        match result {
            Err(error) => {
                tracing::error!(%error, "the operations' tables were not written; again soon");
                self.saving.fail(ticket, now.instant);
            }
            Ok(Ok(())) => {
                if let Some((batch, saved)) = self.saving.finish(ticket) {
                    self.note_batch(&batch);
                    self.saved(saved, now);
                }
            }
            Ok(Err(refused)) => {
                if let Some((_, saved)) = self.saving.finish(ticket) {
                    self.alarm(None, refused.to_string(), now);
                    self.not_saved(saved, &refused, now);
                }
            }
        }
    }

    /// What is durable now is so in memory too. A meter that is new in this batch is not in the
    /// registry yet, and an import may say where the counters of its key stand.
    pub(super) fn note_batch(&mut self, batch: &Batch) {
        let counters: Vec<CounterRow> = batch
            .changes
            .iter()
            .filter_map(|change| {
                if let Change::Counter(row) = change {
                    Some(*row)
                } else {
                    None
                }
            })
            .collect();
        for change in &batch.changes {
            let Some(row) = self.keys.note(change) else {
                continue;
            };
            if row.kind != KeyKind::UnicastEncryption {
                continue;
            }
            let written = batch.changes.iter().find_map(|change| {
                if let Change::Device(device) = change
                    && device.meter == row.meter
                {
                    Some(device.title)
                } else {
                    None
                }
            });
            let held = || self.registry.meter(row.meter).map(|device| device.title);
            if let Some(title) = written.or_else(held) {
                self.counters.enter(row.key, title, &counters);
            }
        }
    }

    pub(super) fn saved(&mut self, saved: Saved, now: Now) {
        match saved {
            Saved::Nothing => {}
            Saved::Counters => {
                for (key, upper) in self.counters.handle_committed() {
                    if let Some(job) = self.borrowers.get(&key).copied() {
                        self.with_session(job, |session| session.handle_reserved(upper, now));
                    }
                }
                self.send_all_confirms();
            }
            Saved::Journal(through) => {
                self.saving_journal = false;
                if let Some(seq) = through {
                    self.commands.handle_journaled(seq, now.utc);
                    self.drain_commands();
                }
            }
            Saved::Rotation(number) => {
                if let Some(rotation) = self.rotations.get_mut(&number) {
                    let meter = rotation.meter();
                    rotation.handle_committed(now);
                    self.drain_rotation(number);
                    self.tell(meter, now);
                }
            }
            Saved::Campaign(number) => {
                if let Some(campaign) = self.campaigns.get_mut(&number) {
                    campaign.handle_committed(now);
                    self.drain_campaign(number);
                }
            }
            Saved::Collected(gaps) => {
                self.saving_collected = false;
                self.gaps_saved(gaps);
            }
            Saved::Alarms(keys) => self.alarms_saved(keys),
            Saved::Pushed(confirm) => self.pushes_confirmed(confirm),
            Saved::Registry(id, proposal, meters) => {
                self.registry.apply(*proposal);
                self.settle_change(id, ChangeState::Durable);
                for meter in meters {
                    self.place(meter, now);
                }
            }
        }
    }

    /// The store refused what we hold to be right: named, and not tried again as it is.
    pub(super) fn not_saved(&mut self, saved: Saved, refused: &Refused, now: Now) {
        match saved {
            // The meter tells it again.
            Saved::Nothing | Saved::Pushed(_) => {}
            Saved::Registry(id, ..) => {
                self.settle_change(id, ChangeState::Refused(refused.to_string()));
            }
            Saved::Counters => {
                self.counters.handle_failed();
                self.counters_paused = Some(now.instant + Saving::RETRY * 60);
            }
            Saved::Journal(_) => self.saving_journal = false,
            Saved::Rotation(number) => {
                if let Some(mut rotation) = self.rotations.remove(&number) {
                    rotation.handle_commit_failed();
                    let part = Part::Failed(refused.to_string());
                    self.set_part(OrderId(number), rotation.meter(), part);
                    self.close_order(OrderId(number));
                }
            }
            Saved::Campaign(number) => {
                if let Some(campaign) = self.campaigns.remove(&number) {
                    self.campaign_reports.insert(number, campaign.report());
                    self.close_order(OrderId(number));
                }
            }
            // The gaps are told again.
            Saved::Collected(_) => self.saving_collected = false,
            Saved::Alarms(keys) => self.alarms_not_saved(&keys),
        }
    }
}
