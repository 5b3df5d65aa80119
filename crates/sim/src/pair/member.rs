//! A member's process: the keeper, its disk, and the head-end while it is active.

use std::collections::BTreeSet;
use std::time::Duration;

use gridloom_core::Now;
use gridloom_nodes::envelope::pair::Place;
use gridloom_nodes::{MemberNode, PairConfig};

use super::disk::Disk;
use super::head_end::HeadEnd;

/// A member's process.
#[derive(Debug)]
pub(super) struct Member {
    place: Place,
    edges: BTreeSet<String>,
    pub(super) node: Option<MemberNode>,
    pub(super) head_end: Option<HeadEnd>,
    pub(super) disk: Disk,
    /// When the disk is free again.
    pub(super) busy_until: u64,
}

impl Member {
    pub(super) fn new(place: Place, edges: BTreeSet<String>) -> Self {
        Self {
            place,
            edges,
            node: None,
            head_end: None,
            disk: Disk::default(),
            busy_until: 0,
        }
    }

    pub(super) fn start(&mut self, now: Now) {
        let config = PairConfig {
            place: self.place,
            name: "utility".to_owned(),
            edges: self.edges.clone(),
            stand_back: Duration::from_millis(100),
        };
        let node = MemberNode::new(config, self.disk.record.as_deref(), now);
        self.node = Some(node.expect("its record is whole"));
    }

    pub(super) fn crash(&mut self) {
        self.node = None;
        self.head_end = None;
        self.disk.crash();
    }
}
