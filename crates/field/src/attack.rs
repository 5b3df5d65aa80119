//! Attackers: small machines over frames and time that do what a network must bear.
//!
//! Each keeps a record of what it sent, altered and withheld. The records are the labels of an
//! evaluation; nothing that detects ever sees them.
//!
//! An attacker stands in one of two places. On the path it gets every frame that crosses
//! ([`Attack::handle_frame`]) and says what goes on. Beside the path it has lines of its own
//! ([`Attack::handle_line_up`]) and sends what it likes. Whoever hosts it owns the lines: the
//! simulator's cables, or sockets.
//!
//! Lies about consumption need no frame at all: [`theft::FalseLoad`] makes an honest meter measure
//! what its owner wants.

pub mod forge;
pub mod insider;
pub mod middle;
pub mod outsider;
pub mod record;
pub mod theft;

use core::fmt;

use gridloom_core::{Now, UtcTime, Wake};

pub use forge::Identity;
pub use insider::{Excess, Insider, InsiderPlan, Lie};
pub use middle::{Meddling, Middle};
pub use outsider::{Outsider, OutsiderPlan};
pub use record::{AttackLog, AttackRecord, Deed, Digest};
pub use theft::{FalseLoad, Theft};

/// What an attacker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Listens on the path.
    Eavesdrop,
    /// Sends again what it overheard.
    Replay,
    /// Sends under titles that are not its own, with keys that are not theirs.
    Spoof,
    /// Speaks under a meter's title and with its keys, from another path.
    Clone,
    /// Flips, cuts and edits frames between meter and gateway.
    Tamper,
    /// A meter that lies under its own valid keys.
    Inject,
    /// Far more packets than a network has meters, without keys.
    Flood,
    /// Far more packets than a meter has to say, under its valid keys.
    FloodInside,
    /// Holds connections open with a byte now and then.
    Slowloris,
    /// Sends what is no frame, or nearly one.
    Malformed,
    /// Tries keys under a known title.
    KeyGuess,
    /// A device with valid keys that sends requests nobody asked for.
    Insider,
    /// A gateway that drops, delays, reorders, alters and repeats what it carries.
    Gateway,
    /// Connects to a tier's port and speaks as if it were a tier.
    Intruder,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::Eavesdrop,
        Self::Replay,
        Self::Spoof,
        Self::Clone,
        Self::Tamper,
        Self::Inject,
        Self::Flood,
        Self::FloodInside,
        Self::Slowloris,
        Self::Malformed,
        Self::KeyGuess,
        Self::Insider,
        Self::Gateway,
        Self::Intruder,
    ];

    /// The kind's name, as a command line and a table have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eavesdrop => "eavesdrop",
            Self::Replay => "replay",
            Self::Spoof => "spoof",
            Self::Clone => "clone",
            Self::Tamper => "tamper",
            Self::Inject => "inject",
            Self::Flood => "flood",
            Self::FloodInside => "flood-inside",
            Self::Slowloris => "slowloris",
            Self::Malformed => "malformed",
            Self::KeyGuess => "key-guess",
            Self::Insider => "insider",
            Self::Gateway => "gateway",
            Self::Intruder => "intruder",
        }
    }

    /// Whether it has somebody's valid keys. What the others send must never be stored.
    pub const fn has_keys(self) -> bool {
        match self {
            Self::Clone | Self::Inject | Self::FloodInside | Self::Insider => true,
            Self::Eavesdrop
            | Self::Replay
            | Self::Spoof
            | Self::Tamper
            | Self::Flood
            | Self::Slowloris
            | Self::Malformed
            | Self::KeyGuess
            | Self::Gateway
            | Self::Intruder => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A connection, by its host's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Line(pub u64);

/// Which way a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// From the meter to the utility.
    Up,
    /// From the utility to the meter.
    Down,
}

/// What an attacker wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Send a frame, on a line of its own or on the path.
    Send {
        /// Where.
        line: Line,
        /// Which way; a line of its own leads up.
        way: Way,
        /// The bytes. On the path they are one wrapped APDU if what came was one.
        frame: Vec<u8>,
    },
}

/// When an attacker is at work, on the wall clock. Outside of it, it carries frames honestly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first moment.
    pub from: UtcTime,
    /// The first moment after it.
    pub until: UtcTime,
}

impl Window {
    /// From the beginning to the end of time.
    pub const ALWAYS: Self = Self {
        from: UtcTime::from_millis(i64::MIN),
        until: UtcTime::from_millis(i64::MAX),
    };

    /// Whether a moment is in it.
    pub fn contains(self, at: UtcTime) -> bool {
        self.from <= at && at < self.until
    }
}

/// An attacker. Its host drains [`Self::poll_output`] after each input.
pub trait Attack: fmt::Debug + Send {
    /// A line of its own stands.
    fn handle_line_up(&mut self, line: Line, now: Now);

    /// A line of its own, or one on the path, is gone.
    fn handle_line_down(&mut self, line: Line, now: Now);

    /// A frame crosses. Nothing goes on but what the attacker sends.
    fn handle_frame(&mut self, line: Line, way: Way, frame: Vec<u8>, now: Now);

    /// A frame was overheard elsewhere, or came as an answer on a line of its own.
    fn handle_overheard(&mut self, frame: &[u8], now: Now);

    /// A deadline of [`Self::wake`] has passed.
    fn handle_timeout(&mut self, now: Now);

    /// The next thing to do, until `None`.
    fn poll_output(&mut self) -> Option<Act>;

    /// When to come with [`Self::handle_timeout`].
    fn wake(&self) -> Wake;

    /// What it did.
    fn log(&self) -> &AttackLog;
}
