//! The rows of the operations' tables, and the names and codes of what they say.

use core::fmt;
use std::collections::BTreeSet;

use gridloom_core::{MeterId, SystemTitle, UtcTime};

/// A meter and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRow {
    /// Its number; stable for ever.
    pub meter: MeterId,
    /// Its system title; unique among meters that are not retired.
    pub title: SystemTitle,
    /// Its maker's serial number; unique among meters that are not retired.
    pub serial: String,
    /// What operators call it.
    pub name: String,
    /// Where it stands in its life.
    pub state: DeviceState,
    /// How to reach it; unique among meters that are not retired.
    pub link: DeviceLink,
    /// As which clients the head-end may associate.
    pub roles: Vec<ClientRole>,
    /// The name of its template.
    pub template: String,
    /// The groups that it is in.
    pub groups: BTreeSet<String>,
    /// The service point that it measures.
    pub service_point: String,
    /// Measured phases, 1 to 3.
    pub phases: u8,
    /// The fuse of each phase, in amperes, from 1.
    pub fuse_a: u16,
    /// Nominal voltage between phase and neutral, in volts.
    pub voltage_v: u16,
    /// When it was retired; unknown of what an older version retired.
    pub retired_at: Option<UtcTime>,
}

/// Where a meter stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceState {
    /// Known, but never yet read under its own keys.
    Enrolled,
    /// In service.
    Commissioned,
    /// Known, but left alone until an operator says otherwise.
    Suspended,
    /// Gone; its title, serial number and address are free again, its readings stay.
    Retired,
}

impl DeviceState {
    /// Every state, in the order of their codes, with its name.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Enrolled, "enrolled"),
        (Self::Commissioned, "commissioned"),
        (Self::Suspended, "suspended"),
        (Self::Retired, "retired"),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        name_of(&Self::ALL, self)
    }

    /// The state of that name.
    pub fn parse(text: &str) -> Option<Self> {
        parse(&Self::ALL, text)
    }
}

impl fmt::Display for DeviceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How to reach a meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceLink {
    /// What carries the APDUs.
    pub transport: Transport,
    /// `host:port`, a serial device's path, or a gateway's name.
    pub address: String,
    /// The logical device: the wrapper's destination port, or the upper HDLC address.
    pub server: u16,
    /// The lower (physical) HDLC address; 0 where there is none.
    pub physical: u16,
}

impl DeviceLink {
    /// The whole of it as one text; two meters in service never have the same.
    pub fn endpoint(&self) -> String {
        let Self {
            transport,
            address,
            server,
            physical,
        } = self;
        format!("{transport}:{address}/{server}/{physical}")
    }
}

/// What carries a meter's APDUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// The wrapper over TCP.
    Tcp,
    /// The wrapper over UDP.
    Udp,
    /// HDLC over TCP, as a modem or converter speaks it.
    HdlcTcp,
    /// HDLC on a serial line.
    HdlcSerial,
    /// Tunnelled through a gateway of ours.
    Gateway,
}

impl Transport {
    /// Every transport, in the order of their codes, with its name.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Tcp, "tcp"),
        (Self::Udp, "udp"),
        (Self::HdlcTcp, "hdlc-tcp"),
        (Self::HdlcSerial, "hdlc-serial"),
        (Self::Gateway, "gateway"),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        name_of(&Self::ALL, self)
    }

    /// The transport of that name.
    pub fn parse(text: &str) -> Option<Self> {
        parse(&Self::ALL, text)
    }

    /// Whether meters on it have HDLC addresses.
    pub const fn is_hdlc(self) -> bool {
        matches!(self, Self::HdlcTcp | Self::HdlcSerial)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// As which client the head-end may associate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientRole {
    /// The client's service access point: 16 public, 17 reader, 1 management.
    pub client: u16,
    /// The authentication mechanism's id (IEC 62056-5-3): 0 none, 1 LLS, 2–7 HLS.
    pub mechanism: u8,
    /// The security suite of a ciphered association; `None` for a plain one.
    pub suite: Option<u8>,
}

/// A key's number: never given twice, whatever becomes of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u64);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "k{}", self.0)
    }
}

/// A key or secret of a meter, wrapped by the master key.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Its number.
    pub key: KeyId,
    /// Whose it is.
    pub meter: MeterId,
    /// What it is for.
    pub kind: KeyKind,
    /// The client whose secret it is; 0 for the keys of the security setup.
    pub client: u16,
    /// Where it stands in its life.
    pub state: KeyState,
    /// The version of the master key that wraps it.
    pub master: u32,
    /// The wrapped bytes; empty once retired.
    pub wrapped: Vec<u8>,
    /// When it was made.
    pub made_at: UtcTime,
}

impl KeyRow {
    /// The same key in another state; a retired one has no bytes.
    pub(crate) fn moved_on(&self, state: KeyState) -> Self {
        let mut row = self.clone();
        row.state = state;
        if state == KeyState::Retired {
            row.wrapped.clear();
        }
        row
    }
}

impl fmt::Debug for KeyRow {
    /// Without the wrapped bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRow")
            .field("key", &self.key)
            .field("meter", &self.meter)
            .field("kind", &self.kind)
            .field("client", &self.client)
            .field("state", &self.state)
            .field("master", &self.master)
            .finish_non_exhaustive()
    }
}

/// The same key under another version of the master key.
#[derive(Clone, PartialEq, Eq)]
pub struct Rewrap {
    /// Which key.
    pub key: KeyId,
    /// The version that it must be wrapped by until now.
    pub from: u32,
    /// The new version.
    pub to: u32,
    /// The key, wrapped by the new version.
    pub wrapped: Vec<u8>,
}

impl fmt::Debug for Rewrap {
    /// Without the wrapped bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rewrap({}, {} to {})", self.key, self.from, self.to)
    }
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyKind {
    /// Global unicast encryption key.
    UnicastEncryption,
    /// Global broadcast encryption key.
    BroadcastEncryption,
    /// Authentication key.
    Authentication,
    /// The meter's master key (KEK), which wraps the others on their way.
    KeyEncryption,
    /// A client's LLS password.
    LowLevelSecret,
    /// A client's HLS secret.
    HighLevelSecret,
}

impl KeyKind {
    /// Every kind, in the order of their codes, with its name. The first four codes are the
    /// `key_id`s of class 64, method 2.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::UnicastEncryption, "guek"),
        (Self::BroadcastEncryption, "gbek"),
        (Self::Authentication, "gak"),
        (Self::KeyEncryption, "kek"),
        (Self::LowLevelSecret, "lls"),
        (Self::HighLevelSecret, "hls"),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        name_of(&Self::ALL, self)
    }

    /// The kind of that name.
    pub fn parse(text: &str) -> Option<Self> {
        parse(&Self::ALL, text)
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a key stands in its life. A meter has at most one pending and one current key of a kind
/// and client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyState {
    /// Made; the meter may or may not have taken it.
    Pending,
    /// In use.
    Current,
    /// Replaced, kept in case the meter falls back to it.
    Previous,
    /// Out of use for ever; its bytes are gone.
    Retired,
}

impl KeyState {
    /// Every state, in the order of their codes, with its name.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Pending, "pending"),
        (Self::Current, "current"),
        (Self::Previous, "previous"),
        (Self::Retired, "retired"),
    ];

    /// Whether a key may go from this state to `next`.
    pub const fn may_become(self, next: Self) -> bool {
        match self {
            Self::Pending => !matches!(next, Self::Previous),
            Self::Current | Self::Previous => !matches!(next, Self::Pending),
            Self::Retired => matches!(next, Self::Retired),
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        name_of(&Self::ALL, self)
    }
}

/// A counter under a key, never lowered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CounterRow {
    /// The key that the counter belongs to.
    pub key: KeyId,
    /// Whose sending it counts.
    pub direction: Direction,
    /// The sender's system title.
    pub title: SystemTitle,
    /// The highest counter that was reserved (sent) or believed (received).
    pub value: u32,
}

/// Whose sending a counter counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// Ours: the highest counter of any reservation.
    Transmit,
    /// The peer's: the last counter that was believed.
    Receive,
}

impl Direction {
    /// Both, in the order of their codes, with names.
    pub const ALL: [(Self, &'static str); 2] =
        [(Self::Transmit, "transmit"), (Self::Receive, "receive")];
}

/// A version of the master key. The key itself is never in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MasterRow {
    /// Its version, from 1.
    pub version: u32,
    /// A known text wrapped by it: tells a wrong key at start.
    pub check: [u8; 24],
    /// When it came into use.
    pub since: UtcTime,
    /// Whether nothing is wrapped by it any more.
    pub is_retired: bool,
}

/// A piece of long-running work: a command, a key change, a campaign, a meter's collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkRow {
    /// What kind.
    pub kind: WorkKind,
    /// Its number, chosen by whoever does it.
    pub number: u64,
    /// The part of one meter, or the whole.
    pub meter: Option<MeterId>,
    /// The machine's own encoding.
    pub state: Vec<u8>,
    /// Whether it is over: such rows are history.
    pub is_finished: bool,
    /// When this row was last written.
    pub changed_at: UtcTime,
}

/// What kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorkKind {
    /// A command to meters.
    Command,
    /// A key change.
    Rotation,
    /// A firmware campaign.
    Campaign,
    /// How far the profile of a meter is read, and what of it is missing. Never finished.
    Collection,
    /// An edge has yet to learn a meter's new keys; numbered as the key change.
    KeyNews,
}

impl WorkKind {
    /// Every kind, in the order of their codes, with its name.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Command, "command"),
        (Self::Rotation, "rotation"),
        (Self::Campaign, "campaign"),
        (Self::Collection, "collection"),
        (Self::KeyNews, "key news"),
    ];
}

/// Which rows of work to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhichWork {
    /// What is not finished: what a start resumes.
    Unfinished,
    /// One number with all its meters.
    Number(u64),
}

/// Whether a meter may have only one key of this state, kind and client.
pub(crate) const fn is_single(state: KeyState) -> bool {
    matches!(state, KeyState::Pending | KeyState::Current)
}

/// The code of a value in its table of names.
pub(crate) fn code_of<T: Copy + PartialEq>(all: &[(T, &'static str)], value: T) -> u8 {
    let code = all
        .iter()
        .position(|(known, _)| *known == value)
        .expect("every value stands in its table");
    u8::try_from(code).expect("tables are short")
}

/// The value of a code.
pub(crate) fn by_code<T: Copy>(all: &[(T, &'static str)], code: u8) -> Option<T> {
    all.get(usize::from(code)).map(|(value, _)| *value)
}

fn name_of<T: Copy + PartialEq>(all: &[(T, &'static str)], value: T) -> &'static str {
    all[usize::from(code_of(all, value))].1
}

fn parse<T: Copy>(all: &[(T, &'static str)], text: &str) -> Option<T> {
    all.iter()
        .find_map(|(value, name)| (*name == text).then_some(*value))
}
