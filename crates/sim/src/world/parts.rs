//! What a world is made of: its plan, its nodes, cables and events, and what can go wrong.

use gridloom_core::{Seed, UtcTime};
use gridloom_nodes::{DialId, LinkId};
use gridloom_store::{LedgerConfig, SpoolConfig};
use serde::Serialize;

use crate::disk::Disk;
use crate::head_end::HeadEndPlan;
use crate::hosted::{Hosted, Role};
use crate::link::{Lane, LinkModel};

/// How a town's nodes are connected, and how its store is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorldPlan {
    /// Between a meter and its gateway.
    pub field: LinkModel,
    /// Between all other neighbours.
    pub wide_area: LinkModel,
    /// Meters on one gateway, above zero.
    pub meters_per_gateway: usize,
    /// The utility's ledger.
    pub ledger: LedgerConfig,
    /// The spools of gateways and edge.
    pub spool: SpoolConfig,
    /// The head-end above the utility, if there is one.
    pub head_end: Option<HeadEndPlan>,
}

impl Default for WorldPlan {
    fn default() -> Self {
        Self {
            field: LinkModel::FIELD,
            wide_area: LinkModel::WIDE_AREA,
            meters_per_gateway: 250,
            ledger: LedgerConfig::default(),
            spool: SpoolConfig::default(),
            head_end: None,
        }
    }
}

/// Why a simulation cannot go on: always a defect of a node, found by this seed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WorldError {
    /// A node does not come up from what it left on its disk.
    #[error("{node} does not start from its disk at {at}: {cause}")]
    Boot {
        /// Which node.
        node: String,
        /// When.
        at: UtcTime,
        /// In its words.
        cause: String,
    },
    /// A node asks to be woken at once, again and again.
    #[error("{node} does not come to rest at {at}: {timer} is due again after each timeout")]
    Restless {
        /// Which node.
        node: String,
        /// When.
        at: UtcTime,
        /// Its timer.
        timer: &'static str,
    },
}

/// What happened in a world so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counters {
    /// Inputs given to nodes.
    pub events: u64,
    /// Frames that nodes sent on links that stood.
    pub frames_sent: u64,
    /// Of those, copies that the link lost, or whose receiver's end was down when they came.
    pub frames_lost: u64,
    /// Of those, frames that arrived twice.
    pub frames_duplicated: u64,
    /// Requests that disks carried out.
    pub disk_requests: u64,
    /// Links that came up.
    pub links_up: u64,
    /// Nodes that crashed.
    pub crashes: u64,
}

/// A node in its world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub(crate) usize);

/// A cable between two neighbours; the connections over it come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CableIndex(pub(crate) usize);

/// What a run tells whoever watches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// A node crashed.
    Crashed(NodeIndex),
    /// A node came up again.
    Booted(NodeIndex),
}

#[derive(Debug)]
pub(super) struct Place {
    pub(super) role: Role,
    pub(super) node: Option<Hosted>,
    pub(super) disk: Disk,
    /// Counts crashes; what a disk finishes for an earlier life is heard by nobody.
    pub(super) life: u32,
    /// When the one scheduled wake is due, and its number.
    pub(super) wake: Option<(u64, u64)>,
    /// It crashes while it writes next.
    pub(super) doomed: bool,
    /// Timeouts in a row at one moment.
    pub(super) spins: (u64, u32),
    pub(super) cables: Vec<usize>,
}

#[derive(Debug)]
pub(super) struct Cable {
    pub(super) lower: usize,
    pub(super) upper: usize,
    pub(super) model: LinkModel,
    /// What it was laid as.
    pub(super) healthy: LinkModel,
    pub(super) cut: bool,
    /// Of the connection that stands, or of the one before.
    pub(super) generation: u32,
    /// Whether the connection stands for the lower and for the upper end. One end hears of a
    /// break later than the other, after what was under way to it.
    pub(super) stands: [bool; 2],
    pub(super) dialling: bool,
    /// From the lower to the upper end, and back.
    pub(super) lanes: [Lane; 2],
}

#[derive(Debug)]
pub(super) struct Event {
    pub(super) at: u64,
    pub(super) sequence: u64,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Frame {
        link: LinkId,
        to: End,
        frame: Vec<u8>,
    },
    Wake {
        place: usize,
        number: u64,
    },
    DiskDone {
        place: usize,
        life: u32,
    },
    Dial {
        cable: usize,
    },
    DialFailed {
        place: usize,
        life: u32,
        dial: DialId,
    },
    /// An end of a connection notices that it is gone.
    Hangup {
        link: LinkId,
        end: End,
    },
    Fault {
        age: u32,
        fault: Fault,
    },
}

/// An end of a cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Lower,
    Upper,
}

impl End {
    pub(super) const BOTH: [Self; 2] = [Self::Lower, Self::Upper];

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Lower => Self::Upper,
            Self::Upper => Self::Lower,
        }
    }
}

impl Cable {
    pub(super) fn place(&self, end: End) -> usize {
        match end {
            End::Lower => self.lower,
            End::Upper => self.upper,
        }
    }

    pub(super) fn end_of(&self, place: usize) -> End {
        if place == self.lower {
            End::Lower
        } else {
            End::Upper
        }
    }

    /// Whether this connection stands for this end.
    pub(super) fn stands(&self, generation: u32, end: End) -> bool {
        self.generation == generation && self.stands[end as usize]
    }
}

/// What goes wrong, or right again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A node stops at once; no effect on one that has.
    Crash(NodeIndex),
    /// A node stops within milliseconds of the next thing that it asks its disk for, which is
    /// when a crash hurts; no effect where that does not come before its [`Self::Boot`].
    CrashWriting(NodeIndex),
    /// A node starts again; no effect on one that runs.
    Boot(NodeIndex),
    /// A cable carries nothing.
    Cut(CableIndex),
    /// It carries again.
    Mend(CableIndex),
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

impl Place {
    pub(super) fn new(role: Role, seed: Seed) -> Self {
        Self {
            role,
            node: None,
            disk: Disk::new(seed.child("disk").child(&role.name()).rng()),
            life: 0,
            wake: None,
            doomed: false,
            spins: (0, 0),
            cables: Vec::new(),
        }
    }
}
