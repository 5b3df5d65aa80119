//! What an operator sees of an edge.

use gridloom_core::{MeterId, SystemTitle};

use crate::alarm::AlarmCounters;
use crate::balance::BalanceCounters;
use crate::identity::Path;
use crate::line::LineCounters;
use crate::quarantine::QuarantineStatus;
use crate::reason::ReasonCounters;
use crate::registry::GatewayId;
use crate::score::Scores;

/// What an operator sees of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EdgeStatus {
    /// Meters in the registry.
    pub registered: usize,
    /// Meters heard since start.
    pub heard: usize,
    /// Readings accepted since start, released ones included.
    pub accepted: u64,
    /// What was wrong with packets since start, forwarded ones included.
    pub reasons: ReasonCounters,
    /// Packets by verdict since start.
    pub verdicts: VerdictCounters,
    /// Smoothed scores of all packets.
    pub trust: Scores,
    /// How full the quarantine is.
    pub quarantine: QuarantineStatus,
    /// Transformer intervals since start.
    pub balance: BalanceCounters,
    /// The version of the learnt model, if there is one.
    pub model: Option<u32>,
    /// Lines that gateways' hosts closed.
    pub lines_closed: LineCounters,
    /// How meters' alarms fared.
    pub alarms: AlarmCounters,
    /// Events of incidents for which there was no room.
    pub incidents_lost: u64,
    /// SETs that a meter refused since start.
    pub sets_refused: u64,
    /// SETs not sent because a price does not fit the meters' price scale.
    pub prices_unsendable: u64,
    /// Frames given up because too many waited for a counter reservation.
    pub down_dropped: u64,
    /// Writes to the memory that failed.
    pub memory_failures: u64,
}

/// Packets by verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerdictCounters {
    /// They continued.
    pub forwarded: u64,
    /// They were judged worth an analyst's look, be there room for them or not.
    pub quarantined: u64,
    /// They were dropped.
    pub dropped: u64,
}

/// What an operator sees of a gateway's link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayStatus {
    /// The link.
    pub link: u64,
    /// The gateway, if it gave its name.
    pub id: Option<GatewayId>,
    /// Its name, if it gave one.
    pub name: Option<String>,
    /// Packets by it since its link stands.
    pub packets: u64,
    /// Their smoothed scores.
    pub trust: Scores,
}

/// How far one device is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceTrust {
    /// Its number.
    pub meter: MeterId,
    /// Its title.
    pub title: SystemTitle,
    /// The smoothed scores of its packets; [`Scores::FULL`] before the first.
    pub scores: Scores,
    /// The gateway at which it is at home, enrolled or learnt.
    pub home: Option<GatewayId>,
    /// The way by which it was last heard.
    pub path: Option<Path>,
    /// Whether its title is revoked.
    pub is_revoked: bool,
}

/// Which devices a status shows, by trust, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustPage {
    /// So many less trusted ones are left out.
    pub skip: usize,
    /// So many are shown, [`Self::COUNT_MAX`] at most.
    pub count: usize,
}

impl TrustPage {
    /// Devices of one page; a longer one is cut.
    pub const COUNT_MAX: usize = 1_000;

    /// The twenty least trusted ones.
    pub const WORST: Self = Self { skip: 0, count: 20 };
}

/// All that a page about an edge's screening shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusPage {
    /// Counters by reason, step ([`ReasonCounters::by_step`]) and verdict, trust of the whole edge.
    pub edge: EdgeStatus,
    /// Trust by gateway, in the order of their links.
    pub gateways: Vec<GatewayStatus>,
    /// Trust by device, least first.
    pub devices: Vec<DeviceTrust>,
    /// The unknown titles that were used most, with an estimate of how often, loudest first.
    pub strangers: Vec<(SystemTitle, u32)>,
}
