//! What the API may ask of an edge about its screening, and the answers as they stand on the wire.
//!
//! Times are RFC 3339 in UTC, scores are ten-thousandths: 0 is no belief, 10 000 is all. What is
//! unknown is `null`, never zero.

use serde::Serialize;

use crate::desk::Answer;

/// An edge as the API sees it. The host implements it over a handle to its node.
///
/// The server gives an answer up after [`crate::ANSWER_MAX`] and drops its future; a decision that
/// was given by then stays given.
pub trait SecurityDesk: Send + Sync + 'static {
    /// The screening at this moment.
    fn status(&self) -> Answer<SecurityView>;
    /// The incidents, newest first, at most [`IncidentView::INCIDENTS_MAX`].
    fn incidents(&self) -> Answer<Vec<IncidentView>>;
    /// One incident with its evidence.
    fn incident(&self, id: u64) -> Answer<IncidentDetail>;
    /// Packets of the quarantine by number, at most `page.limit`.
    fn quarantine(&self, page: QueuePage) -> Answer<Vec<HeldView>>;
    /// One held packet, taken apart.
    fn packet(&self, id: u64) -> Answer<HeldDetail>;
    /// Decides about a held packet, or about all that wait of an incident. `by` is the name of the
    /// operator's token, `reason` their words: both stand in the audit log before anything happens.
    fn decide(
        &self,
        about: DecisionAbout,
        decision: Decision,
        reason: String,
        by: String,
    ) -> Answer<DecisionView>;
    /// The last decisions and how they stand, newest first, at most
    /// [`DecisionView::DECISIONS_MAX`].
    fn decisions(&self) -> Answer<Vec<DecisionView>>;
    /// Whom the edge trusts how far, least first, at most `page.limit`.
    fn trust(&self, page: TrustPage) -> Answer<Vec<TrustView>>;
    /// The certificates of the tiers' links, as far as this process knows them.
    fn certificates(&self) -> Answer<CertificatesView>;
}

/// The screening at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SecurityView {
    /// The edge's name.
    pub edge: String,
    /// Meters it knows.
    pub registered: u64,
    /// Meters it has heard since its start.
    pub heard: u64,
    /// Readings that continued since its start, released ones included.
    pub accepted: u64,
    /// Below this score P a packet is held.
    pub threshold: u16,
    /// Below this score B a packet is held, whatever P is.
    pub behaviour_floor: u16,
    /// The smoothed scores of all packets.
    pub trust: ScoresView,
    /// What became of packets since the start.
    pub verdicts: VerdictsView,
    /// What each step of the screening found since the start, in the order of the steps.
    pub steps: Vec<StepView>,
    /// How full the quarantine is.
    pub queue: QueueView,
    /// Incidents that are kept.
    pub incidents: u32,
    /// Events of incidents for which there was no room.
    pub incidents_lost: u64,
    /// Unknown titles that were used most, loudest first.
    pub strangers: Vec<StrangerView>,
    /// Writes to the edge's memory that failed; a decision waits for the next one.
    pub memory_failures: u64,
}

/// Scores of one packet, or smoothed ones, in ten-thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ScoresView {
    /// Identity.
    pub i: u16,
    /// Integrity.
    pub h: u16,
    /// Behaviour.
    pub b: u16,
    /// Communication quality.
    pub q: u16,
    /// Trust: the weighed sum of the others.
    pub p: u16,
}

/// Packets by what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct VerdictsView {
    /// They continued.
    pub forwarded: u64,
    /// They belong before an analyst.
    pub quarantined: u64,
    /// They were dropped.
    pub dropped: u64,
}

/// What one step found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepView {
    /// Its name.
    pub step: String,
    /// The sum of its reasons.
    pub total: u64,
    /// Its reasons that occurred, most frequent first.
    pub reasons: Vec<ReasonCount>,
}

/// How often a reason occurred.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReasonCount {
    /// The reason in words.
    pub reason: String,
    /// How many packets had it.
    pub count: u64,
}

/// How full the quarantine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct QueueView {
    /// Packets held.
    pub packets: u32,
    /// The most there may be.
    pub packets_max: u32,
    /// Bytes held.
    pub bytes: u64,
    /// The most there may be.
    pub bytes_max: u64,
    /// Packets for which there was no room; their meters send them again.
    pub turned_away: u64,
}

/// An unknown title.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StrangerView {
    /// The title, 16 hexadecimal digits.
    pub title: String,
    /// About how many packets used it.
    pub packets: u32,
}

/// Related events of one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IncidentView {
    /// Its number, counted from the edge's start.
    pub id: u64,
    /// Whom it is about.
    pub subject: SubjectView,
    /// Of what kind it is.
    pub kind: IncidentKind,
    /// What happened, in words.
    pub what: String,
    /// The step of the screening that found it; `None` of what is no packet.
    pub step: Option<String>,
    /// When it began.
    pub first: String,
    /// When it was seen last.
    pub last: String,
    /// How often.
    pub count: u64,
    /// Of its packets, how many wait in the quarantine.
    pub held: u32,
}

impl IncidentView {
    /// Incidents in a list; the oldest are left out.
    pub const INCIDENTS_MAX: usize = 1_024;
}

/// What an incident consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentKind {
    /// Packets with one reason.
    Packets,
    /// More packets than usual.
    Shift,
    /// Intervals of a transformer that do not balance.
    Imbalance,
}

/// Whom an incident is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SubjectView {
    /// Of which sort.
    pub kind: SubjectKind,
    /// What people call it.
    pub name: String,
    /// Its number, if it is a meter.
    pub meter: Option<u32>,
}

/// A sort of subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectKind {
    /// A meter whose packets verify.
    Device,
    /// A way on which packets came that do not.
    Path,
    /// A gateway.
    Gateway,
    /// A transformer.
    Transformer,
    /// The edge as a whole.
    Edge,
}

/// An incident with what is kept of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IncidentDetail {
    /// The incident.
    pub incident: IncidentView,
    /// The first events, and the newest.
    pub evidence: Vec<EvidenceView>,
}

/// One event of an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EvidenceView {
    /// Of which sort.
    pub kind: EvidenceKind,
    /// By which way a packet came.
    pub path: Option<String>,
    /// The start of a packet, hexadecimal; `None` if no byte of it is kept.
    pub hex: Option<String>,
    /// What it says, as far as that can be read without believing it.
    pub fields: Vec<FieldView>,
}

/// A sort of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceKind {
    /// The start of a packet.
    Packet,
    /// An interval that does not balance.
    Imbalance,
}

/// A field in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldView {
    /// What it is.
    pub name: String,
    /// What it says, with its unit.
    pub value: String,
}

/// Which packets of the quarantine are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueuePage {
    /// Packets with higher numbers only; 0 for the first page.
    pub after: u64,
    /// Packets at most, 1 to [`QueuePage::LIMIT_MAX`].
    pub limit: u16,
    /// Only packets of this incident.
    pub incident: Option<u64>,
}

impl QueuePage {
    /// Packets of one page; a higher limit is refused with 422.
    pub const LIMIT_MAX: u16 = 500;
    /// Packets of a page that names no limit.
    pub const LIMIT: u16 = 100;
}

/// A packet in the quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldView {
    /// Its number; never used again.
    pub id: u64,
    /// The meter's number.
    pub meter: u32,
    /// The meter's system title, 16 hexadecimal digits.
    pub title: String,
    /// By which way it came.
    pub path: String,
    /// When it came.
    pub received: String,
    /// The end of its interval.
    pub interval_end: String,
    /// Its scores.
    pub scores: ScoresView,
    /// What is wrong with it, in the order of the screening.
    pub reasons: Vec<ReasonView>,
    /// Where it stands.
    pub state: HeldState,
    /// Who decided about it.
    pub by: Option<String>,
}

/// One thing that is wrong with a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReasonView {
    /// The step of the screening that found it.
    pub step: String,
    /// In words.
    pub reason: String,
}

/// Where a held packet stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldState {
    /// It waits for an analyst.
    Open,
    /// It was released, and the utility does not have it yet.
    Released,
    /// It was rejected, and that is not durable yet.
    Rejected,
}

/// A held packet, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldDetail {
    /// The packet.
    pub packet: HeldView,
    /// The incident it belongs to.
    pub incident: Option<u64>,
    /// What it says.
    pub fields: Vec<FieldView>,
    /// The packet as it came, ciphered, hexadecimal.
    pub frame: String,
    /// The APDU in it, deciphered, hexadecimal.
    pub plain: String,
}

/// What an analyst decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The reading continues as if it had been forwarded.
    Release,
    /// The reading is given up; its interval is a gap.
    Reject,
}

impl Decision {
    /// Longest reason of a decision, in bytes; a longer one is refused with 422.
    pub const REASON_MAX: usize = 500;

    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Reject => "reject",
        }
    }
}

/// What is decided about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecisionAbout {
    /// One held packet.
    Packet(u64),
    /// All packets of an incident that wait.
    Incident(u64),
}

/// A decision, and how far it is carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DecisionView {
    /// About which packet, if it is about one.
    pub packet: Option<u64>,
    /// About all waiting packets of which incident, if it is about one.
    pub incident: Option<u64>,
    /// Packets that it is about.
    pub packets: u32,
    /// Those of them for which it is carried out.
    pub done: u32,
    /// What was decided.
    pub decision: Decision,
    /// Who decided.
    pub by: String,
    /// When.
    pub at: String,
    /// Why.
    pub reason: String,
    /// Whether it is carried out for all: a released reading is stored, a rejected one is gone.
    pub is_done: bool,
    /// How it stands, in words.
    pub detail: String,
}

impl DecisionView {
    /// Decisions that are kept to be shown; the audit log has all.
    pub const DECISIONS_MAX: usize = 200;
}

/// Of whom the trust is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustKind {
    /// Meters.
    Device,
    /// Gateways.
    Gateway,
    /// The edge itself.
    Edge,
}

/// Which of them are asked for, least trusted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustPage {
    /// Of whom.
    pub kind: TrustKind,
    /// So many less trusted ones are left out.
    pub skip: u32,
    /// So many at most, 1 to [`TrustPage::LIMIT_MAX`].
    pub limit: u16,
}

impl TrustPage {
    /// Subjects of one page; a higher limit is refused with 422.
    pub const LIMIT_MAX: u16 = 1_000;
    /// Subjects of a page that names no limit.
    pub const LIMIT: u16 = 20;
}

/// How far somebody is trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrustView {
    /// A meter's title, or a name.
    pub name: String,
    /// A meter's number.
    pub meter: Option<u32>,
    /// The smoothed scores of its packets; all of them full before the first.
    pub scores: ScoresView,
    /// The gateway at which a meter is at home, if that is known.
    pub home: Option<String>,
    /// The gateway by which a meter was last heard; `None` if it was not heard since the start.
    pub gateway: Option<String>,
    /// Packets of a gateway since its link stands, or of the edge since its start.
    pub packets: Option<u64>,
    /// Whether a meter's title is revoked.
    pub is_revoked: bool,
}

/// The certificates of the tiers' links.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificatesView {
    /// Whether the links of this process are protected at all.
    pub is_protected: bool,
    /// Those that are known, by role and name.
    pub certificates: Vec<CertificateView>,
}

impl CertificatesView {
    /// Certificates in an answer; further ones are left out.
    pub const CERTIFICATES_MAX: usize = 10_000;
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificateView {
    /// The role of its node: `gateway`, `edge` and so on.
    pub role: String,
    /// Its node's name.
    pub name: String,
    /// Its serial number, hexadecimal.
    pub serial: String,
    /// From when it counts.
    pub not_before: Option<String>,
    /// Until when.
    pub not_after: Option<String>,
    /// Where its node may be dialled; empty means anywhere.
    pub hosts: Vec<String>,
    /// How it stands: `valid`, `renew`, `replaced`, `expired` or `revoked`.
    pub standing: String,
    /// When it was taken back.
    pub revoked_at: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// When its node last got through a handshake here.
    pub seen_at: Option<String>,
    /// From where.
    pub seen_from: Option<String>,
}
