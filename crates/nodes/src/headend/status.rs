//! What an operator sees of a head-end.

use std::collections::BTreeMap;

use gridloom_core::{MeterId, UtcTime};
use gridloom_dlms::client::Layer;
use gridloom_headend::schedule::Lane;
use gridloom_store::DeviceState;

use super::push::PushCounts;

/// A head-end at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeadEndStatus {
    /// Whether the utility is reachable.
    pub is_connected: bool,
    /// Meters by state of their life.
    pub meters: BTreeMap<DeviceState, usize>,
    /// Sessions under way, by lane.
    pub running: BTreeMap<Lane, usize>,
    /// Jobs that wait, by lane.
    pub waiting: BTreeMap<Lane, usize>,
    /// Connections that were dialled.
    pub connections: usize,
    /// How the periodic reads of the last full interval went.
    pub last_reads: ReadRate,
    /// How those of the interval under way go so far.
    pub reads: ReadRate,
    /// Profiles with gaps.
    pub gaps: usize,
    /// Gaps that buffers below named since the start, one for each meter each time.
    pub gaps_named: u64,
    /// Readings that wait for the utility.
    pub undelivered: usize,
    /// Sessions since the start, by how they ended.
    pub sessions_ended: u64,
    /// Of those, sessions that were broken off.
    pub sessions_failed: u64,
    /// Envelopes from the utility that could not be read.
    pub malformed: u64,
    /// What meters pushed to the head-end itself.
    pub pushes: PushCounts,
}

/// How the periodic reads of an interval went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadRate {
    /// When they were due.
    pub due: Option<UtcTime>,
    /// Meters that were read.
    pub succeeded: u32,
    /// Meters that were not.
    pub missed: u32,
}

/// Why a meter could not be talked to, the last time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// When.
    pub at: UtcTime,
    /// The layer that failed.
    pub layer: Layer,
    /// In words, with the remedy.
    pub words: String,
}

/// Something that an operator should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// When.
    pub at: UtcTime,
    /// Which meter; `None` for the head-end as a whole.
    pub meter: Option<MeterId>,
    /// In words, with the remedy.
    pub words: String,
}
