//! What an operator sees of a pair.

use std::time::Duration;

use super::mirror::PeerState;
use crate::envelope::pair::{Epoch, History, Place};

/// What a member is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It follows the active member, or waits for one.
    Standby,
    /// It is the active one.
    Active,
    /// It was the active one. Its process begins anew as the standby.
    Over {
        /// Why it stopped.
        why: &'static str,
    },
}

/// One member of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairStatus {
    /// Which member.
    pub place: Place,
    /// What it is.
    pub standing: Standing,
    /// The epoch that it holds, or else the highest that it has promised.
    pub epoch: Epoch,
    /// What its data is known to hold.
    pub history: History,
    /// How long its lease runs if nobody grants more.
    pub lease_left: Duration,
    /// Whether it acknowledges without the other member.
    pub is_alone: bool,
    /// The other member, as far as this one knows.
    pub peer: PeerState,
    /// Edges that witness, and whether each is connected here.
    pub edges: Vec<(String, bool)>,
    /// Entries carried out here since it became active, or taken over from the active member.
    pub entries: u64,
    /// Of those, entries whose answer was given, or that are durable here.
    pub settled: u64,
    /// Copies made for the other member.
    pub copies: u64,
}
