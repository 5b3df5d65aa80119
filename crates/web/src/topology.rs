//! Who talks to whom: the nodes that this process runs or hears of, the ways between them, and
//! which way is in use.

use gridloom_core::UtcTime;
use serde::Serialize;

use crate::wire::text;

/// The network as one process sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Topology {
    /// The nodes, field layer first; at most [`Topology::NODES_MAX`].
    pub nodes: Vec<NetworkNode>,
    /// The ways up between them; at most [`Topology::WAYS_MAX`].
    pub ways: Vec<NetworkWay>,
    /// Gateways and edges of which more are connected than `nodes` holds.
    pub left_off: u64,
}

impl Topology {
    /// Nodes of one picture; further ones are counted in `left_off`.
    pub const NODES_MAX: usize = 1_000;
    /// Ways of one picture.
    pub const WAYS_MAX: usize = 2_000;
}

/// A node, or all meters of one gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkNode {
    /// Its name; an address where only that is known.
    pub name: String,
    /// `meters`, `gateway`, `edge`, `utility`, `headend` or `archive`.
    pub tier: &'static str,
    /// Whether it runs in this process.
    pub is_here: bool,
    /// How it is; `None` where this process cannot tell.
    pub state: Option<NodeState>,
    /// Meters that are linked to it, if it is known how many.
    pub meters: Option<u64>,
}

/// How a way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WayState {
    /// Readings take it.
    InUse,
    /// It stands, and is not needed.
    Ready,
    /// It does not stand.
    Down,
}

impl WayState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::InUse, Self::Ready, Self::Down];
}

/// A way up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkWay {
    /// The lower end, by the node's name.
    pub from: String,
    /// The upper end, by the node's name.
    pub to: String,
    /// `only`, `primary` or `backup`.
    pub rank: &'static str,
    /// How it is.
    pub state: WayState,
}

/// What a node that has two ways up counted since its start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PathsView {
    /// Whose.
    pub node: String,
    /// `primary` or `backup`; `None` while no way is well.
    pub in_use: Option<&'static str>,
    /// From one way to the other.
    pub switches: u64,
    /// Of those, back to a primary that was well again.
    pub homecomings: u64,
    /// Links given up because no heartbeat was answered.
    pub silences: u64,
    /// How often each link is asked, in milliseconds; `None` where nothing is asked.
    pub heartbeat_ms: Option<u64>,
    /// A link is given up when nothing was answered for so long, in milliseconds.
    pub silence_max_ms: Option<u64>,
    /// The primary is taken up again when it has been well for so long, in milliseconds; longer
    /// after each time.
    pub home_after_ms: u64,
}

/// A change of the way in use, as the process that shows it saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailoverView {
    /// When it was seen: at most half a second after it happened.
    #[serde(serialize_with = "text")]
    pub at: UtcTime,
    /// Whose way.
    pub node: String,
    /// The upper end before; `None` if there was none.
    pub from: Option<String>,
    /// The upper end now; `None` if there is none.
    pub to: Option<String>,
    /// `silence`, `lost`, `homecoming` or `found`.
    pub why: &'static str,
    /// How long no way was seen in use before this one, in milliseconds; `None` where none was
    /// missed.
    pub without_ms: Option<u64>,
}

impl FailoverView {
    /// Changes that are kept; the oldest go.
    pub const KEPT_MAX: usize = 200;
}

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It works.
    Up,
    /// It works, and something is wrong.
    Degraded,
    /// It does not answer.
    Down,
}

impl NodeState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Up, Self::Degraded, Self::Down];

    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}
