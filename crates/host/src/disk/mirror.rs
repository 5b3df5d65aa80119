//! What was carried out for others is told to the keeper of a pair, and its answer held back.

use std::collections::VecDeque;

use gridloom_nodes::{DiskReply, PairReply};
use gridloom_store::Entry;

use super::{Asker, Clients};

#[derive(Debug)]
struct Held {
    number: u64,
    asker: Asker,
    reply: DiskReply,
}

/// The mirror of a disk, once its keeper asked for one.
///
/// Answers that are held are as many as requests without an answer, which runners bound.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    keeper: Option<Asker>,
    number: u64,
    held: VecDeque<Held>,
}

impl Mirror {
    pub(super) const fn is_on(&self) -> bool {
        self.keeper.is_some()
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    pub(super) const fn begin(&mut self, keeper: Asker) {
        self.keeper = Some(keeper);
    }

    /// Answers what changed nothing at once, and what changed something when the keeper says so.
    pub(super) fn answer(
        &mut self,
        clients: &mut Clients,
        asker: Asker,
        reply: DiskReply,
        entry: Option<Entry>,
    ) {
        let (Some(keeper), Some(entry)) = (self.keeper, entry) else {
            return clients.answer(asker, reply);
        };
        self.number += 1;
        let carried = PairReply::Carried {
            number: self.number,
            entry: entry.encode(),
        };
        clients.answer(keeper, DiskReply::Pair(carried));
        self.held.push_back(Held {
            number: self.number,
            asker,
            reply,
        });
    }

    /// Gives the answers up to this entry.
    pub(super) fn release(&mut self, clients: &mut Clients, through: u64) {
        while let Some(held) = self.held.pop_front_if(|held| held.number <= through) {
            clients.answer(held.asker, held.reply);
        }
    }
}
