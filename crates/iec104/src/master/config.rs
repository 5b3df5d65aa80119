//! What a controlling station is told before it starts, and what it says when it is told nonsense.

use std::time::Duration;

use crate::asdu::AsduError;
use crate::cause::CommonAddress;
use crate::link::{Timing, TimingError};

/// Connections to one station; more are refused by [`MasterConfig::check`].
pub const LINKS_MAX: u8 = 4;

/// A controlling station's settings for one controlled station.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterConfig {
    /// The controlled station.
    pub common_address: CommonAddress,
    /// Our originator address, 0 where none is used.
    pub originator: u8,
    /// Timers and windows of its connections.
    pub timing: Timing,
    /// Connections of the redundancy group, 1 to [`LINKS_MAX`].
    pub links: u8,
    /// How long after a failure a connection is tried again.
    pub reconnect: Duration,
    /// Whether the station's clock is set when data transfer begins, and how often after that.
    pub clock: Routine,
    /// Whether the station is interrogated when data transfer begins, and how often after that.
    pub interrogation: Routine,
    /// Whether its counters are read when data transfer begins, and how often after that.
    pub counters: Routine,
    /// How long a request may go without its confirmation, queueing included.
    pub confirm_timeout: Duration,
    /// How long a confirmed command may go without its termination, and an interrogation without
    /// the next of its values.
    pub terminate_timeout: Duration,
}

/// Something that a controlling station does by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routine {
    /// Never.
    Never,
    /// Each time data transfer begins.
    AtStart,
    /// Each time data transfer begins, and then with this period.
    Every(Duration),
}

impl Routine {
    pub(super) fn at_start(self) -> bool {
        !matches!(self, Self::Never)
    }

    pub(super) fn period(self) -> Option<Duration> {
        match self {
            Self::Every(period) => Some(period),
            Self::Never | Self::AtStart => None,
        }
    }
}

impl MasterConfig {
    /// The usual settings: one connection, clock and counters hourly, interrogation every ten
    /// minutes, confirmations within 10 s, terminations within 60 s.
    pub fn new(common_address: CommonAddress) -> Self {
        Self {
            common_address,
            originator: 0,
            timing: Timing::default(),
            links: 1,
            reconnect: Duration::from_secs(5),
            clock: Routine::Every(Duration::from_secs(3_600)),
            interrogation: Routine::Every(Duration::from_secs(600)),
            counters: Routine::Every(Duration::from_secs(3_600)),
            confirm_timeout: Duration::from_secs(10),
            terminate_timeout: Duration::from_secs(60),
        }
    }

    /// Checks every setting against its range.
    pub fn check(&self) -> Result<(), MasterError> {
        self.timing.check()?;
        if self.common_address == CommonAddress::GLOBAL {
            return Err(MasterError::GlobalAddress);
        }
        if !(1..=LINKS_MAX).contains(&self.links) {
            return Err(MasterError::Links(self.links));
        }
        let periods = [
            ("reconnect", Some(self.reconnect)),
            ("clock", self.clock.period()),
            ("interrogation", self.interrogation.period()),
            ("counters", self.counters.period()),
            ("confirm_timeout", Some(self.confirm_timeout)),
            ("terminate_timeout", Some(self.terminate_timeout)),
        ];
        for (name, period) in periods {
            if period.is_some_and(|period| period < Duration::from_millis(10)) {
                return Err(MasterError::TooShort { name });
            }
        }
        Ok(())
    }
}

/// Why a controlling station does not take what its user gives it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MasterError {
    /// The timers or windows cannot work.
    #[error(transparent)]
    Timing(#[from] TimingError),
    /// A station has an address of its own.
    #[error("master: common_address 65535 means all stations; name one from 1 to 65534")]
    GlobalAddress,
    /// No connection, or too many.
    #[error("master: links is {0}, must be 1 to {LINKS_MAX}")]
    Links(u8),
    /// A period in which nothing could be done.
    #[error("master: {name} must be at least 10 ms")]
    TooShort {
        /// The setting.
        name: &'static str,
    },
    /// No connection transfers data.
    #[error("master: no connection to the station transfers data; nothing was sent")]
    NotActive,
    /// The same is asked for already.
    #[error("master: the same request has no outcome yet; wait for it")]
    Busy,
    /// Too many requests have no outcome yet.
    #[error("master: too many requests have no outcome yet; wait for one")]
    TooMany,
    /// The request cannot be said in an ASDU.
    #[error(transparent)]
    Asdu(#[from] AsduError),
}
