//! Changes of the registry, each answered by its number like an order.

use std::collections::BTreeMap;

use gridloom_headend::Proposal;
use gridloom_store::Change;

use super::HeadEndNode;
use super::disk::Saved;

/// A change of the registry that was asked for: an import, a row that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeId(pub u64);

/// How a change of the registry stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeState {
    /// It is being written.
    Writing,
    /// It is durable, and in force.
    Durable,
    /// The database refused it in these words; nothing of it is in force.
    Refused(String),
}

/// The latest changes of the registry.
#[derive(Debug, Default)]
pub(super) struct Changes {
    last: u64,
    states: BTreeMap<ChangeId, ChangeState>,
}

impl HeadEndNode {
    /// Changes of the registry whose answers are kept; the oldest is forgotten beyond it.
    pub const CHANGES_MAX: usize = 256;

    /// How a change of the registry stands; `None` if it was never asked for, or forgotten.
    pub fn change(&self, id: ChangeId) -> Option<&ChangeState> {
        self.changes.states.get(&id)
    }

    /// Begins to write a change that somebody waits for.
    pub(super) fn begin_change(&mut self, proposal: Proposal) -> ChangeId {
        self.changes.last += 1;
        let id = ChangeId(self.changes.last);
        self.changes.states.insert(id, ChangeState::Writing);
        while self.changes.states.len() > Self::CHANGES_MAX {
            self.changes.states.pop_first();
        }
        let devices = proposal.batch.changes.iter().filter_map(|change| {
            if let Change::Device(row) = change {
                Some(row.meter)
            } else {
                None
            }
        });
        let meters = devices.collect();
        let batch = proposal.batch.clone();
        self.save(batch, Saved::Registry(Some(id), Box::new(proposal), meters));
        id
    }

    pub(super) fn settle_change(&mut self, id: Option<ChangeId>, state: ChangeState) {
        let held = id.and_then(|id| self.changes.states.get_mut(&id));
        if let Some(held) = held {
            *held = state;
        }
    }
}
