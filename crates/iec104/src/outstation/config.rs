//! What a controlled station is told before it starts, and what it says when it is told nonsense.

use std::time::Duration;

use crate::cause::{CommonAddress, ObjectAddress};
use crate::command::CommandKind;
use crate::link::{Timing, TimingError};
use crate::value::ValueKind;

/// Connections of a redundancy group; more are refused by [`OutstationConfig::check`].
pub const CONNECTIONS_MAX: usize = 16;

/// Events that a buffer may be configured for; more are refused by [`OutstationConfig::check`].
pub const EVENTS_MAX: usize = 1_000_000;

/// A controlled station's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutstationConfig {
    /// The station's address.
    pub common_address: CommonAddress,
    /// Timers and windows of its connections.
    pub timing: Timing,
    /// Connections of its redundancy group, at most [`CONNECTIONS_MAX`]; one more is closed.
    pub connections_max: usize,
    /// Events that wait for a controlling station, 2·k to [`EVENTS_MAX`]; the oldest that is not
    /// under way is lost, counted and named.
    pub events_max: usize,
    /// Whether events carry their time.
    pub event_time: EventTime,
    /// How often cyclic points are sent; `None`: never.
    pub cyclic: Option<Duration>,
    /// How often background points are sent; `None`: never.
    pub background: Option<Duration>,
    /// How long a selection holds.
    pub select_timeout: Duration,
    /// How far the time of a command may be from ours, either way.
    pub command_age_max: Duration,
    /// How long the user may take to answer a request, before it is refused.
    pub answer_timeout: Duration,
    /// How long a confirmed command may run, before it is terminated negatively; below what the
    /// controlling station waits for.
    pub operate_timeout: Duration,
    /// Whether the controlling station may set the clock.
    pub clock: ClockPolicy,
}

/// Whether events carry their time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventTime {
    /// Types 30–37.
    Tagged,
    /// Types 1–15, for a controlling station that knows no others.
    Untagged,
}

/// What a clock synchronisation command meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockPolicy {
    /// It is confirmed and handed to the user.
    Accept,
    /// It is refused: the station has a better clock.
    Refuse,
}

impl OutstationConfig {
    /// The usual settings of a station: a group of four, 10 000 tagged events, selections of 30 s,
    /// commands of at most 10 s, no cyclic transmission.
    pub fn new(common_address: CommonAddress) -> Self {
        Self {
            common_address,
            timing: Timing::default(),
            connections_max: 4,
            events_max: 10_000,
            event_time: EventTime::Tagged,
            cyclic: None,
            background: None,
            select_timeout: Duration::from_secs(30),
            command_age_max: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(5),
            operate_timeout: Duration::from_secs(50),
            clock: ClockPolicy::Accept,
        }
    }

    /// Checks every setting against its range.
    pub fn check(&self) -> Result<(), OutstationError> {
        self.timing.check()?;
        if self.common_address == CommonAddress::GLOBAL {
            return Err(OutstationError::GlobalAddress);
        }
        let range = |name, value: usize, min, max| {
            let fits = (min..=max).contains(&value);
            let error = OutstationError::Range {
                name,
                value,
                min,
                max,
            };
            fits.then_some(()).ok_or(error)
        };
        range("connections_max", self.connections_max, 1, CONNECTIONS_MAX)?;
        let under_way = 2 * usize::from(self.timing.k);
        range("events_max", self.events_max, under_way, EVENTS_MAX)?;
        let periods = [
            ("cyclic", self.cyclic),
            ("background", self.background),
            ("select_timeout", Some(self.select_timeout)),
            ("answer_timeout", Some(self.answer_timeout)),
            ("operate_timeout", Some(self.operate_timeout)),
        ];
        for (name, period) in periods {
            if period.is_some_and(|period| period < Duration::from_millis(10)) {
                return Err(OutstationError::TooShort { name });
            }
        }
        Ok(())
    }
}

/// Why a station does not take what its user gives it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutstationError {
    /// The timers or windows cannot work.
    #[error(transparent)]
    Timing(#[from] TimingError),
    /// The broadcast address is nobody's own.
    #[error("station: common_address 65535 means all stations; give it one from 1 to 65534")]
    GlobalAddress,
    /// A count outside its range.
    #[error("station: {name} is {value}, must be {min} to {max}")]
    Range {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: usize,
        /// The least.
        min: usize,
        /// The most.
        max: usize,
    },
    /// A period in which nothing could be done.
    #[error("station: {name} must be at least 10 ms")]
    TooShort {
        /// The setting.
        name: &'static str,
    },
    /// Address 0, or one that is taken.
    #[error("station: object address {0} is 0 or taken; give each point its own")]
    Address(ObjectAddress),
    /// The table is full.
    #[error("station: more points or controls than a station holds; split it into two")]
    TooManyPoints,
    /// No such point.
    #[error("station: no point at object address {0}; add it first")]
    UnknownPoint(ObjectAddress),
    /// A value of another type than the point's.
    #[error("station: the point at {address} is {wanted:?}, and got {got:?}")]
    Kind {
        /// The point.
        address: ObjectAddress,
        /// Its type.
        wanted: ValueKind,
        /// The type of the value.
        got: ValueKind,
    },
    /// Bit strings carry no S/E.
    #[error("station: a {0:?} command cannot be selected; make the control direct")]
    NotSelectable(CommandKind),
    /// The answer came after the request was given up, was answered already, or its connection is
    /// gone: do not operate.
    #[error("station: the request is no longer open; do not operate")]
    Stale,
}
