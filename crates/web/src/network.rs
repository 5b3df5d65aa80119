//! How the network behaves: what waits in the buffers of the tiers, how long readings take.

use gridloom_core::UtcTime;
use serde::{Serialize, Serializer};

use crate::topology::{FailoverView, PathsView, Topology};

/// The network at a moment, beside the console's picture.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Network {
    /// The buffers of this process, one for each gateway and edge; at most
    /// [`Network::BUFFERS_MAX`].
    pub buffers: Vec<BufferView>,
    /// How long readings are under way; `None` where this process runs no utility.
    pub delay: Option<DelayView>,
    /// Who talks to whom.
    pub topology: Topology,
    /// The nodes of this process that have two ways up; at most [`Network::BUFFERS_MAX`].
    pub paths: Vec<PathsView>,
    /// Changes of the way in use since this process started, newest first; at most
    /// [`FailoverView::KEPT_MAX`].
    pub failovers: Vec<FailoverView>,
}

impl Network {
    /// Buffers of one process.
    pub const BUFFERS_MAX: usize = 1_000;
}

/// How long a sample of the readings was under way since the utility started:
/// T_e2e = T_m + T_g + T_e + T_u.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DelayView {
    /// The parts in the order of the way, then `tiers` (T_g + T_e + T_u) and `T_e2e`.
    pub parts: Vec<DelayPart>,
    /// Measured readings that came before their interval ended, if one believes both clocks; their
    /// T_m counts as nothing.
    pub ahead: u64,
}

/// A part of the delay. A percentile is at most an eighth too long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DelayPart {
    /// `T_m`, `T_g`, `T_e`, `T_u`, `tiers` or `T_e2e`.
    pub part: String,
    /// Readings measured.
    pub count: u64,
    /// The median, in microseconds; `None` before the first.
    pub p50_us: Option<u64>,
    /// 95 of a hundred were not longer.
    pub p95_us: Option<u64>,
    /// 99 of a hundred were not longer.
    pub p99_us: Option<u64>,
    /// The longest.
    pub max_us: u64,
}

/// A buffer between two tiers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BufferView {
    /// Whose it is.
    pub node: String,
    /// Records that wait for the tier above.
    pub entries: u64,
    /// Of those, entries that are sent and not answered.
    pub in_flight: u64,
    /// Bytes that it takes.
    pub bytes: u64,
    /// Its bound. At it the oldest of what matters least goes, and is named as a gap.
    pub bytes_max: u64,
    /// The time of its oldest entry: the end of a reading's interval, or when it came.
    #[serde(serialize_with = "text_or_null")]
    pub oldest: Option<UtcTime>,
    /// How long ago that is, in seconds.
    pub oldest_age_s: Option<u64>,
    /// Entries taken since the start.
    pub taken: u64,
    /// Of those, entries that the tier above answered for.
    pub acknowledged: u64,
    /// Entries that were sent more than once.
    pub sent_again: u64,
    /// Entries given up since the start.
    pub dropped: BufferDropped,
    /// Failures of its disk since the start.
    pub disk_failures: u64,
    /// Named gaps that nobody above sees to yet.
    pub gaps_untaken: u64,
    /// The last named gaps, newest first.
    pub gaps: Vec<BufferGap>,
}

/// Entries given up, by cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct BufferDropped {
    /// There was no room.
    pub full: u64,
    /// The disk did not give back what was written.
    pub damaged: u64,
    /// The tier above never answered.
    pub unanswered: u64,
}

/// Entries that are gone, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BufferGap {
    /// What kind of entries.
    pub lane: String,
    /// Why.
    pub cause: String,
    /// The meter's id, or the title that its frames claim; `None` if nothing tells.
    pub meter: Option<String>,
    /// The earliest time they can be about.
    #[serde(serialize_with = "text_or_null")]
    pub from: Option<UtcTime>,
    /// The latest time they can be about.
    #[serde(serialize_with = "text_or_null")]
    pub to: Option<UtcTime>,
    /// How many.
    pub entries: u64,
}

fn text_or_null<S: Serializer>(time: &Option<UtcTime>, to: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => to.collect_str(time),
        None => to.serialize_none(),
    }
}
