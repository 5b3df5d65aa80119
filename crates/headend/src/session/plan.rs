//! What a session is to do, and what comes of each step.

use std::time::Duration;

use gridloom_core::{ObisCode, SystemTitle, UtcTime};
use gridloom_dlms::apdu::{
    AttributeDescriptor, DataAccessResult, MethodDescriptor, SelectiveAccess,
};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::client::{ClientError, Layer};
use gridloom_dlms::datetime::{ClockStatus, DateTimeError};
use gridloom_dlms::selection::CaptureObject;

use crate::healing::{CounterFinding, CounterState};
use crate::profile::{ProfileError, ProfileRow, ProfileShape};
use crate::schedule::Outcome;

/// One thing to do. Steps run in order; one that the meter refuses does not stop the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Reads one attribute.
    Get {
        /// Which one.
        attribute: AttributeDescriptor,
        /// Which part of it.
        access: Option<SelectiveAccess>,
    },
    /// Reads several attributes, in one question where the meter can.
    GetList(Vec<AttributeDescriptor>),
    /// Reads rows of a profile.
    ReadProfile {
        /// The profile (class 7).
        profile: ObisCode,
        /// Which rows.
        selection: Selection,
        /// Which columns; all of them if empty.
        columns: Vec<CaptureObject>,
    },
    /// Reads an event log: rows with a time and an event code.
    ReadEvents {
        /// The log (class 7).
        log: ObisCode,
        /// Which rows.
        selection: Selection,
    },
    /// Writes one attribute.
    Set {
        /// Which one.
        attribute: AttributeDescriptor,
        /// Which part of it.
        access: Option<SelectiveAccess>,
        /// The new value.
        value: Data,
    },
    /// Invokes one method.
    Invoke {
        /// Which one.
        method: MethodDescriptor,
        /// With what.
        parameters: Option<Data>,
    },
    /// Lists the objects that the association shows.
    Browse,
    /// Sets the clock if it is off, and reads it again.
    SyncClock {
        /// How far it may be off without being set.
        tolerance: Duration,
        /// How far it may be off to be set without an operator.
        max_step: Duration,
    },
    /// Reads whether supply is on.
    ReadSupply,
    /// Switches supply on, and reads whether it is.
    Connect,
    /// Switches supply off, and reads whether it is.
    Disconnect,
}

impl Step {
    /// Whether the step changes the meter.
    pub const fn is_order(&self) -> bool {
        match self {
            Self::Set { .. }
            | Self::Invoke { .. }
            | Self::SyncClock { .. }
            | Self::Connect
            | Self::Disconnect => true,
            Self::Get { .. }
            | Self::GetList(_)
            | Self::ReadProfile { .. }
            | Self::ReadEvents { .. }
            | Self::Browse
            | Self::ReadSupply => false,
        }
    }
}

/// Which rows of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// Every row.
    All,
    /// The rows captured from `from` to `to`, both included.
    Range {
        /// The first time.
        from: UtcTime,
        /// The last time.
        to: UtcTime,
    },
    /// The rows with numbers `from` to `to`, both included, the first row is 1; a `to` of 0 is
    /// the last row.
    Entries {
        /// The first row.
        from: u32,
        /// The last row.
        to: u32,
    },
}

/// What a step gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepValue {
    /// An attribute's value.
    Data(Data),
    /// The values of several attributes.
    List(Vec<Result<Data, DataAccessResult>>),
    /// The rows of a profile.
    Profile(ProfileRead),
    /// The rows of an event log.
    Events(Vec<EventRow>),
    /// The attribute was written.
    Written,
    /// The method was invoked, and gave this back.
    Invoked(Option<Data>),
    /// The objects that the association shows.
    Objects(Vec<ObjectEntry>),
    /// The clock.
    Clock(ClockReport),
    /// The supply.
    Supply(Supply),
}

/// Rows of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileRead {
    /// The profile.
    pub profile: ObisCode,
    /// Its columns, as far as they were wanted.
    pub shape: ProfileShape,
    /// The rows, in the meter's order.
    pub rows: Vec<ProfileRow>,
}

/// A row of an event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// When it happened, by the meter's clock.
    pub time: Option<UtcTime>,
    /// What the meter thought of its clock then.
    pub clock: ClockStatus,
    /// The event code, from the column 0-b:96.11.e.
    pub code: Option<i64>,
    /// The other columns.
    pub values: Vec<(CaptureObject, Data)>,
}

/// An object that the association shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectEntry {
    /// Its interface class.
    pub class_id: u16,
    /// The version of the class.
    pub version: u8,
    /// Its logical name.
    pub instance: ObisCode,
    /// The access mode of each attribute.
    pub attributes: Vec<(i8, u8)>,
    /// The access mode of each method.
    pub methods: Vec<(i8, u8)>,
}

/// How a meter's clock stood, and stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockReport {
    /// The meter's time minus ours at first, in milliseconds.
    pub offset_ms: i64,
    /// The same after it was set; `None` where it was within tolerance.
    pub after_ms: Option<i64>,
    /// What the meter thought of its clock at first.
    pub status: ClockStatus,
}

/// Whether supply is on (class 70).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Supply {
    /// Whether the relay is closed.
    pub output: bool,
    /// What the meter makes of it.
    pub control: ControlState,
}

/// The control state of a disconnector (class 70, attribute 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlState {
    /// Off.
    Disconnected,
    /// On.
    Connected,
    /// Off, until the customer presses a button.
    ReadyForReconnection,
}

/// Why a step gives nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The question failed. An order was not carried out: the meter refused it, or it never left.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An order left and its outcome is not known: look, do not repeat it blindly.
    #[error("outcome unknown: {0}; read the state before ordering again")]
    OutcomeUnknown(ClientError),
    /// The meter took the order, and its state says otherwise.
    #[error("the meter took the order, but the relay output is {} ({:?})", .0.output, .0.control)]
    NotVerified(Supply),
    /// The clock is further off than may be set without an operator.
    #[error("the clock is off by {offset_ms} ms, at most {max:?} may be set; set it by hand")]
    ClockStep {
        /// The meter's time minus ours.
        offset_ms: i64,
        /// The widest step.
        max: Duration,
    },
    /// The clock was set and is still off.
    #[error("the clock was set and is still off by {offset_ms} ms")]
    ClockNotSet {
        /// The meter's time minus ours.
        offset_ms: i64,
    },
    /// A profile does not fit its own description.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// A time is no time.
    #[error("object: {0}")]
    Time(#[from] DateTimeError),
    /// A value has another type than its class gives it.
    #[error("object: {what} has an unexpected type; check class and version of the object")]
    Type {
        /// Which value.
        what: &'static str,
    },
    /// The session ended before the step began.
    #[error("the session ended before this step")]
    Skipped,
}

impl StepError {
    /// Whether an order may have been carried out.
    pub const fn may_have_acted(&self) -> bool {
        match self {
            Self::OutcomeUnknown(_) | Self::NotVerified(_) | Self::ClockNotSet { .. } => true,
            Self::Client(_)
            | Self::ClockStep { .. }
            | Self::Profile(_)
            | Self::Time(_)
            | Self::Type { .. }
            | Self::Skipped => false,
        }
    }

    /// Whether the step may succeed later without an operator.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Client(error) | Self::OutcomeUnknown(error) => error.is_transient(),
            Self::Skipped => true,
            Self::NotVerified(_)
            | Self::ClockStep { .. }
            | Self::ClockNotSet { .. }
            | Self::Profile(_)
            | Self::Time(_)
            | Self::Type { .. } => false,
        }
    }
}

/// Why a session ended before its plan did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The association failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The link did not come up.
    #[error("link: no connection within {after:?}; check address and gateway")]
    NoLink {
        /// After how long.
        after: Duration,
    },
    /// The whole session took too long.
    #[error("link: the session took longer than {after:?}")]
    TooLong {
        /// After how long.
        after: Duration,
    },
    /// The meter refuses our counter, and that does not heal by itself.
    #[error("counter: {0}")]
    Counter(CounterFinding),
    /// The meter refuses our counter, and the public client cannot read why.
    #[error("counter: the meter refuses ours, and its invocation counter cannot be read: {0}")]
    CounterUnread(ClientError),
}

impl SessionError {
    /// The layer that failed.
    pub const fn layer(&self) -> Layer {
        match self {
            Self::Client(error) => error.layer(),
            Self::NoLink { .. } | Self::TooLong { .. } => Layer::Link,
            Self::Counter(_) | Self::CounterUnread(_) => Layer::Counter,
        }
    }

    /// Whether trying again later can help without an operator.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Client(error) | Self::CounterUnread(error) => error.is_transient(),
            Self::NoLink { .. } | Self::TooLong { .. } => true,
            Self::Counter(_) => false,
        }
    }
}

/// How a session went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionReport {
    /// Whether the plan was gone through, and if not why.
    pub result: Result<(), SessionError>,
    /// Steps that gave a value.
    pub succeeded: usize,
    /// Steps that gave none, the skipped ones too.
    pub failed: usize,
    /// Whether a failed step may succeed later.
    pub worth_repeating: bool,
    /// The server's title, where the association gave one.
    pub server_title: Option<SystemTitle>,
    /// The counters, to be kept.
    pub counters: CounterState,
    /// The shapes of the profiles that were read, to be kept for the next session.
    pub shapes: Vec<(ObisCode, ProfileShape)>,
}

impl SessionReport {
    /// What the schedule makes of it.
    pub fn outcome(&self) -> Outcome {
        match &self.result {
            Err(error) if error.is_transient() => Outcome::TryAgain,
            Err(_) => Outcome::Failed,
            Ok(()) if self.failed == 0 => Outcome::Done,
            Ok(()) if self.worth_repeating => Outcome::TryAgain,
            Ok(()) => Outcome::Failed,
        }
    }
}
