//! Assembles meter, gateway, edge, utility, archive and head-end nodes, each one machine: routing
//! only, no policy. Whatever is deployed is made here, and both [`host`] and [`sim`] run exactly
//! that.
//!
//! [`host`]: https://docs.rs/gridloom-host
//! [`sim`]: https://docs.rs/gridloom-sim

pub mod archive;
pub mod attacker;
pub mod delay;
pub mod edge;
mod edge_gateways;
mod edge_keeping;
mod edge_keys;
pub mod envelope;
mod gap_book;
pub mod gateway;
pub mod headend;
pub mod meter;
pub mod node;
pub mod pair;
pub mod paths;
pub mod utility;

pub use archive::ArchiveNode;
pub use attacker::{AttackerNode, Compromised, Tap};
pub use edge::{EdgeNode, TunnelCounters};
pub use edge_keys::{CHANGE_OVER, EdgeKeysError};
pub use gap_book::GAPS_SHOWN_MAX;
pub use gateway::{GatewayCounters, GatewayNode};
pub use gridloom_edge::{ClosedLine, LineFault};
pub use gridloom_headend::Arrival;
pub use headend::{HeadEndConfig, HeadEndMemory, HeadEndNode};
pub use meter::MeterNode;
pub use node::{
    Answer, DialId, DiskReply, DiskRequest, Input, LinkId, Node, Output, PairReply, PairRequest,
    Port, Pusher, Query, Wire,
};
pub use pair::{Fence, MemberNode, PairConfig, PairStatus};
pub use paths::{PathAct, Paths, PathsConfig, PathsError, PathsStatus, Rank};
pub use utility::{
    EdgeTrust, Purpose, ReadingTrust, ServedMeter, UtilityConfig, UtilityMemory, UtilityNode,
    UtilityStatus,
};
