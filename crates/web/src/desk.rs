//! What the API may ask of a head-end, and the answers as they stand on the wire.
//!
//! Times are RFC 3339 in UTC, decimals are strings. What is unknown is `null`, never zero.

use std::pin::Pin;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A head-end as the API sees it. The host implements it over a handle to its node.
///
/// The server gives an answer up after [`ANSWER_MAX`] and drops its future;
/// what was ordered by then stays ordered. `by` is the name of the operator's token, for the audit.
pub trait Desk: Send + Sync + 'static {
    /// Meters in the order of their numbers, at most `page.limit`.
    fn meters(&self, page: Page) -> Answer<Vec<MeterView>>;
    /// One meter; [`DeskError::Unknown`] if there is none of that number.
    fn meter(&self, id: u32) -> Answer<MeterView>;
    /// Registers the meters of a CSV file, or names every fault by line and column and registers
    /// none. The file holds keys: it is neither logged nor quoted in an answer.
    fn import(&self, csv: String, by: String) -> Answer<ImportReport>;
    /// Takes an order. One that switches supply waits for [`Desk::confirm`]; another one runs.
    fn submit(&self, order: NewOrder, by: String) -> Answer<OrderView>;
    /// Lets a selected order run; [`DeskError::Refused`] if it does not wait for that.
    fn confirm(&self, id: u64, by: String) -> Answer<OrderView>;
    /// Takes an order back from every meter that was not sent it yet.
    fn cancel(&self, id: u64, by: String) -> Answer<OrderView>;
    /// The orders, newest first, without their parts; at most [`OrderView::ORDERS_MAX`].
    fn orders(&self) -> Answer<Vec<OrderView>>;
    /// One order with its parts.
    fn order(&self, id: u64) -> Answer<OrderView>;
    /// Begins a firmware campaign with this image.
    fn start_campaign(
        &self,
        campaign: NewCampaign,
        image: Vec<u8>,
        by: String,
    ) -> Answer<CampaignView>;
    /// The campaigns, newest first, without their meters; at most [`CampaignView::CAMPAIGNS_MAX`].
    fn campaigns(&self) -> Answer<Vec<CampaignView>>;
    /// One campaign with its meters.
    fn campaign(&self, id: u64) -> Answer<CampaignView>;
    /// Pauses a campaign, lets it go on, or ends it.
    fn change_campaign(&self, id: u64, action: CampaignAction, by: String) -> Answer<CampaignView>;
    /// Ends a campaign and brings this image to every meter that may run the new one.
    fn roll_back(
        &self,
        id: u64,
        previous: Previous,
        image: Vec<u8>,
        by: String,
    ) -> Answer<CampaignView>;
    /// The head-end at this moment.
    fn status(&self) -> Answer<HeadEndView>;
}

/// A desk that does not answer within this is called down; 503.
pub const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What a [`Desk`] will have answered.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, DeskError>> + Send>>;

/// Why a desk does not do what it was asked. The text goes to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeskError {
    /// There is no such thing; 404.
    #[error("{0}")]
    Unknown(String),
    /// It cannot be done now, or not to this meter; the words name field and remedy; 409.
    #[error("{0}")]
    Refused(String),
    /// The request is wrong in these places, and nothing of it was applied; 422.
    #[error("{} places are wrong, nothing was applied; correct them and send it again", .0.len())]
    Invalid(Vec<Fault>),
    /// The head-end does not run or does not answer; 503.
    #[error("{0}")]
    Down(String),
}

/// One place of a request that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The line of the file, from 1; `None` for what is no file.
    pub line: Option<u32>,
    /// The column of the file, or the field of the order.
    pub column: String,
    /// What is wrong and what to write instead. Never quotes a key.
    pub problem: String,
}

impl Fault {
    /// Faults in one answer; the server leaves the others out and says how many.
    pub const FAULTS_MAX: usize = 1_000;
}

/// Which meters are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Meters with higher numbers only; 0 for the first page.
    pub after: u32,
    /// Meters at most, 1 to [`Page::LIMIT_MAX`].
    pub limit: u16,
    /// Only meters of this group.
    pub group: Option<String>,
    /// Only meters with this text in title, serial number, name or address, whatever its case.
    pub text: Option<String>,
}

impl Page {
    /// Meters of one page; a higher limit is refused with 422.
    pub const LIMIT_MAX: u16 = 500;
    /// Meters of a page that names no limit.
    pub const LIMIT: u16 = 100;
    /// Longest group or text in bytes; a longer one is refused with 422.
    pub const TEXT_MAX: usize = 120;
}

/// A registered meter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MeterView {
    /// Its number.
    pub id: u32,
    /// Its system title, 16 hexadecimal digits.
    pub title: String,
    /// Its serial number.
    pub serial: String,
    /// What people call it.
    pub name: String,
    /// `host:port`, or the gateway's word for it.
    pub address: String,
    /// `tcp-wrapper`, `hdlc-tcp` and so on, as in an import.
    pub transport: String,
    /// The profile that says how its kind is read.
    pub template: String,
    /// Its groups, sorted.
    pub groups: Vec<String>,
    /// Where it stands in its life, in one word.
    pub state: String,
    /// Up to when its intervals are collected without a gap.
    pub collected_through: Option<String>,
    /// Why it could not be talked to; `None` once the last talk succeeded.
    pub last_error: Option<MeterFault>,
}

/// Why a meter could not be talked to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MeterFault {
    /// The layer that failed: frame, association, counter, tag, key, object, access.
    pub layer: String,
    /// In words, with the remedy.
    pub text: String,
    /// When.
    pub at: String,
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// Meters that are new.
    pub added: u32,
    /// Meters that were there and are different now.
    pub changed: u32,
    /// Rows that say what was so already.
    pub unchanged: u32,
}

/// What an order does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderKind {
    /// Read now: the named attribute, else the meter's template.
    Read,
    /// Switch supply on; needs a confirmation.
    Connect,
    /// Switch supply off; needs a confirmation.
    Disconnect,
    /// Set the clock if it is off.
    SyncClock,
    /// Write the named attribute and read it back.
    Set,
    /// Change the meter's keys.
    Rekey,
}

impl OrderKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Read,
        Self::Connect,
        Self::Disconnect,
        Self::SyncClock,
        Self::Set,
        Self::Rekey,
    ];

    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Connect => "connect",
            Self::Disconnect => "disconnect",
            Self::SyncClock => "sync-clock",
            Self::Set => "set",
            Self::Rekey => "rekey",
        }
    }

    /// Whether a second step lets it run. A desk keeps such an order selected until then.
    pub const fn needs_confirm(self) -> bool {
        match self {
            Self::Connect | Self::Disconnect => true,
            Self::Read | Self::SyncClock | Self::Set | Self::Rekey => false,
        }
    }
}

/// An order as somebody writes it. Fields that are not named here are refused.
///
/// The server checks that before a desk sees it: the fields' bounds, that somebody is meant, and
/// that object and value are there where the kind needs them and only there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewOrder {
    /// What it does.
    pub kind: OrderKind,
    /// The object, such as `1-0:1.8.0.255`; with `set`, and with `read` of one attribute.
    #[serde(default)]
    pub obis: Option<String>,
    /// The object's interface class; with `obis`, if the template does not know the object.
    #[serde(default)]
    pub class: Option<u16>,
    /// Which attribute; with `obis`, 2 if it is not said.
    #[serde(default)]
    pub attribute: Option<i8>,
    /// What to write, as text or a decimal; with `set` only.
    #[serde(default)]
    pub value: Option<String>,
    /// Which keys, of `guek`, `gak`, `gbek` and `kek`; with `rekey` only, the first two if it is
    /// not said.
    #[serde(default)]
    pub keys: Vec<String>,
    /// Meters by number.
    #[serde(default)]
    pub meters: Vec<u32>,
    /// All meters of these groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// It is not sent to any more meters after so many seconds, 1 to [`NewOrder::WITHIN_MAX_S`].
    pub within_s: u32,
}

impl NewOrder {
    /// Longest time an order may stay open: a week, in seconds.
    pub const WITHIN_MAX_S: u32 = 7 * 24 * 3_600;
    /// Meters that one order names.
    pub const METERS_MAX: usize = 100_000;
    /// Groups that one order names.
    pub const GROUPS_MAX: usize = 64;
    /// Longest text of a field, in bytes.
    pub const TEXT_MAX: usize = 1_024;
}

/// An order as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OrderView {
    /// Its number.
    pub id: u64,
    /// What it does.
    pub kind: OrderKind,
    /// Who gave it.
    pub by: String,
    /// When.
    pub at: String,
    /// Where it stands.
    pub state: OrderState,
    /// Meters it is for: the sum of the next four.
    pub total: u32,
    /// Meters whose turn has not come.
    pub queued: u32,
    /// Meters that are talked to.
    pub running: u32,
    /// Meters where it is done, and verified where it changes the meter.
    pub done: u32,
    /// Meters where it is not.
    pub failed: u32,
    /// Each meter's part; empty in a list of orders.
    pub parts: Vec<PartView>,
}

impl OrderView {
    /// Orders in a list; the oldest are left out.
    pub const ORDERS_MAX: usize = 1_000;
}

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// It waits for its confirmation.
    Selected,
    /// It is being carried out.
    Running,
    /// Nothing more will happen.
    Over,
}

/// One meter's part of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartView {
    /// Which meter.
    pub meter: u32,
    /// Where it stands.
    pub state: PartState,
    /// The value that was read, the progress, or why it failed; empty if there is nothing to say.
    pub detail: String,
}

/// Where one meter's part of an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartState {
    /// Its turn has not come.
    Queued,
    /// Its session runs.
    Running,
    /// Done.
    Done,
    /// Not done, expired, cancelled or superseded; the detail says which.
    Failed,
}

/// A firmware campaign as somebody writes it, in the query beside its image. Lists are divided by
/// commas.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewCampaign {
    /// What a meter that runs the image says in its firmware version object.
    pub version: String,
    /// What `image_transfer_initiate` calls it; the version if it is not said.
    #[serde(default)]
    pub identifier: Option<String>,
    /// Meters by number.
    #[serde(default)]
    pub meters: Option<String>,
    /// All meters of these groups.
    #[serde(default)]
    pub groups: Option<String>,
    /// How far each stage reaches: meters, or percent with a `%`; `1,10%,100%` if it is not said.
    #[serde(default)]
    pub stages: Option<String>,
    /// Percent of a stage's meters that must succeed, or the campaign halts; 95 if it is not said.
    #[serde(default)]
    pub success: Option<u8>,
    /// Meters at a time; 64 if it is not said.
    #[serde(default)]
    pub concurrency: Option<u16>,
    /// Not to be activated before, RFC 3339 in UTC.
    #[serde(default)]
    pub activate_at: Option<String>,
    /// The maker's signature in hexadecimal digits, where it is not in the image itself.
    #[serde(default)]
    pub signature: Option<String>,
}

/// The image of a roll-back, in the query beside it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Previous {
    /// As [`NewCampaign::version`].
    pub version: String,
    /// As [`NewCampaign::identifier`].
    #[serde(default)]
    pub identifier: Option<String>,
    /// As [`NewCampaign::signature`].
    #[serde(default)]
    pub signature: Option<String>,
}

/// What becomes of a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CampaignAction {
    /// Nothing new is asked of any meter.
    Pause,
    /// It goes on, despite failures if it has halted.
    Resume,
    /// It ends; activations under way are watched.
    Abort,
}

/// A firmware campaign as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CampaignView {
    /// Its number, which is that of its order.
    pub id: u64,
    /// Who began it.
    pub by: String,
    /// When.
    pub at: String,
    /// The version that it brings.
    pub version: String,
    /// `running`, `paused`, `halted`, `aborted` or `finished`.
    pub state: String,
    /// Why it halted; empty if it did not.
    pub reason: String,
    /// The stage, from 1.
    pub stage: u32,
    /// Meters it is for: the sum of the next five.
    pub total: u32,
    /// Meters that have not begun.
    pub waiting: u32,
    /// Meters at work, or verified and waiting for their time.
    pub under_way: u32,
    /// Meters that run the new version.
    pub succeeded: u32,
    /// Meters that do not.
    pub failed: u32,
    /// Meters left alone because it was aborted.
    pub cancelled: u32,
    /// How far each meter is; empty in a list of campaigns.
    pub meters: Vec<CampaignStep>,
}

impl CampaignView {
    /// Campaigns in a list; the oldest are left out.
    pub const CAMPAIGNS_MAX: usize = 1_000;
}

/// How far one meter of a campaign is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CampaignStep {
    /// Which meter.
    pub meter: u32,
    /// `waiting`, `begun`, `transferring`, `verified`, `activating`, `succeeded`, `failed` or
    /// `cancelled`.
    pub phase: String,
    /// Why it failed; empty if it did not.
    pub detail: String,
}

/// A head-end at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeadEndView {
    /// Meters in the registry, retired ones left out.
    pub meters: u32,
    /// Sessions under way.
    pub sessions: u32,
    /// Jobs that wait.
    pub queued_by_lane: LaneCounts,
    /// How the periodic reads of the last full interval went; `None` before the first.
    pub read_rate: Option<ReadRateView>,
    /// Meters whose last talk failed.
    pub alarms: u32,
    /// Orders that are selected or run.
    pub orders_open: u32,
    /// What came of frames that meters pushed to the head-end itself.
    pub pushes: PushesView,
}

/// What came of pushed frames since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct PushesView {
    /// Believed and understood.
    pub accepted: u64,
    /// Believed, but nobody could say what they mean.
    pub unreadable: u64,
    /// Of a title that is not registered.
    pub unknown_title: u64,
    /// In the clear, from where no unciphered meter is registered.
    pub plaintext: u64,
    /// With a counter that was believed before.
    pub replayed: u64,
    /// With a tag that does not verify.
    pub bad_tag: u64,
    /// Refused for anything else.
    pub other: u64,
}

/// A count for each lane of the schedule, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct LaneCounts {
    /// Somebody waits in front of a screen.
    pub on_demand: u32,
    /// Orders.
    pub command: u32,
    /// Readings that are missing.
    pub backfill: u32,
    /// Readings that are due.
    pub periodic: u32,
}

/// How the periodic reads of one interval went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReadRateView {
    /// When they were due.
    pub due: String,
    /// Meters that were read.
    pub succeeded: u32,
    /// Meters that were not.
    pub missed: u32,
}
