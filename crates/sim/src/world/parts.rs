//! What a world is made of: its plan, its nodes, cables and events, and what can go wrong.

use std::time::Duration;

use gridloom_core::{Seed, UtcTime};
use gridloom_nodes::{DialId, LinkId, Port};
use gridloom_store::{LedgerConfig, SpoolConfig};
use serde::Serialize;

use crate::alternates::Alternates;
use crate::disk::{Disk, Trouble};
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
    /// A second edge, and a second way up for every gateway and meter, if there are any.
    pub alternates: Option<Alternates>,
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
            alternates: None,
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
    /// Bits that flipped in durable journals.
    pub bits_flipped: u64,
    /// Of those, named by the node when it started.
    pub damage_named: u64,
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
    pub(super) clock: NodeClock,
}

/// How a node's wall clock differs from the world's. A meter has a clock of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct NodeClock {
    /// How far it is ahead, without its drift.
    ahead_ms: i64,
    /// How much faster it runs, in millionths.
    ppm: i32,
    /// Since when, in nanoseconds of the world.
    since: u64,
}

impl NodeClock {
    pub(super) const fn stepped(mut self, by_ms: i64) -> Self {
        self.ahead_ms += by_ms;
        self
    }

    pub(super) fn drifting(self, now: u64, ppm: i32) -> Self {
        Self {
            ahead_ms: self.ahead_ms + self.gained_ms(now),
            ppm,
            since: now,
        }
    }

    fn gained_ms(self, now: u64) -> i64 {
        let passed_ms = i64::try_from(now.saturating_sub(self.since) / 1_000_000)
            .expect("a simulation is far below 292 million years");
        (passed_ms * i64::from(self.ppm)).div_euclid(1_000_000)
    }

    /// What it shows.
    pub(super) fn shows(self, start: UtcTime, now: u64) -> UtcTime {
        let right = start + Duration::from_nanos(now);
        UtcTime::from_millis(right.as_millis() + self.ahead_ms + self.gained_ms(now))
    }

    /// When it shows `utc` at last, in nanoseconds of the world.
    pub(super) fn when(self, start: UtcTime, utc: UtcTime) -> u64 {
        let past = utc.as_millis() - start.as_millis() - self.ahead_ms;
        let since_ms = i64::try_from(self.since / 1_000_000).unwrap_or(i64::MAX);
        let run = past - since_ms;
        let mut at_ms = if self.ppm == 0 {
            past
        } else {
            since_ms + run * 1_000_000 / (1_000_000 + i64::from(self.ppm))
        };
        let to_nanos = |ms: i64| u64::try_from(ms).unwrap_or(0) * 1_000_000;
        // Rounded: it may show a moment less.
        while at_ms > 0 && self.shows(start, to_nanos(at_ms)) < utc {
            at_ms += 1;
        }
        to_nanos(at_ms)
    }
}

#[derive(Debug)]
pub(super) struct Cable {
    pub(super) lower: usize,
    pub(super) upper: usize,
    /// What it is to the lower end.
    pub(super) port: Port,
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
    /// Carries nothing from the lower end, or from the upper one.
    pub(super) muted: [bool; 2],
    /// Both ends of a stream are about to give it up.
    pub(super) is_given_up: bool,
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
        /// Its place in the list.
        fault: usize,
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

    /// Whether a connection can come up.
    pub(super) fn is_whole(&self) -> bool {
        !self.cut && self.muted == [false; 2]
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
    /// A cable carries nothing in one direction, and tells nobody.
    Mute(CableIndex, Way),
    /// It carries both ways again.
    Unmute(CableIndex),
    /// A cable becomes another.
    Degrade(CableIndex, LinkModel),
    /// It is as it was laid.
    Restore(CableIndex),
    /// A disk carries out no writes.
    Disk(NodeIndex, Trouble),
    /// It carries them out again. A node that gave its journal up starts anew.
    Room(NodeIndex),
    /// A node stops, a bit of its durable journal flips, and it starts again; where it names the
    /// damage, the bit is put right first. No effect but the restart on one without a journal.
    Rot(NodeIndex),
    /// A node's wall clock jumps, by so many milliseconds. Not a meter's, which is its own.
    Step(NodeIndex, i64),
    /// A node's wall clock runs faster, by so many millionths.
    Drift(NodeIndex, i32),
    /// A meter's supply goes: it says its last words, and hears and says nothing until it is
    /// [`Self::Lit`]. No effect on any other node, or on one that an attacker holds.
    Dark(NodeIndex),
    /// A meter's supply is back.
    Lit(NodeIndex),
}

impl Fault {
    /// What happens, in words.
    pub fn words(&self) -> String {
        match self {
            Self::Crash(_) => "crashes".to_owned(),
            Self::CrashWriting(_) => "crashes while it writes next".to_owned(),
            Self::Boot(_) => "starts".to_owned(),
            Self::Cut(_) => "the cable is cut".to_owned(),
            Self::Mend(_) => "the cable is mended".to_owned(),
            Self::Mute(_, Way::Up) => "the cable carries nothing up".to_owned(),
            Self::Mute(_, Way::Down) => "the cable carries nothing down".to_owned(),
            Self::Unmute(_) => "the cable carries both ways".to_owned(),
            Self::Degrade(..) => "the cable gets worse".to_owned(),
            Self::Restore(_) => "the cable is as good as ever".to_owned(),
            Self::Disk(_, Trouble::Full) => "the disk is full".to_owned(),
            Self::Disk(_, Trouble::Failing) => "the disk refuses writes".to_owned(),
            Self::Disk(_, Trouble::None) | Self::Room(_) => "the disk has room".to_owned(),
            Self::Rot(_) => "a bit of the journal flips".to_owned(),
            Self::Step(_, by) => format!("the clock jumps by {by} ms"),
            Self::Drift(_, ppm) => format!("the clock drifts by {ppm} ppm"),
            Self::Dark(_) => "the supply goes".to_owned(),
            Self::Lit(_) => "the supply is back".to_owned(),
        }
    }
}

/// A direction of a cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the lower end.
    Up,
    /// From the upper end.
    Down,
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
            clock: NodeClock::default(),
        }
    }
}
