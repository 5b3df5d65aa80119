//! What a driver tells its host, and why it gives up.

use core::fmt;
use std::time::Duration;

use crate::cause::{Cause, HaltReason};
use crate::number::Sender;
use crate::outgoing::{SendFailure, Ticket};
use crate::reply::{Registration, Signal};

/// An effect of the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Write these bytes to the modem.
    Transmit(Vec<u8>),
    /// Tell whoever uses the modem.
    Event(Event),
}

/// Something the user of a modem wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The modem is set up. Texts go out once it is registered.
    Ready,
    /// The registration changed.
    Registration(Registration),
    /// The signal changed.
    Signal(Signal),
    /// The network took every part of a text.
    Sent {
        /// Which text.
        ticket: Ticket,
        /// The network's reference of each part.
        references: Vec<u8>,
        /// A part whose confirmation was lost was sent again: it may arrive twice.
        repeated: bool,
    },
    /// A text was given up.
    Failed {
        /// Which text.
        ticket: Ticket,
        /// Parts that had gone out before.
        parts_sent: usize,
        /// Why.
        failure: SendFailure,
    },
    /// A text came in. It is deleted from the modem after this event.
    Received(ReceivedSms),
    /// Somebody calls; the driver never answers. Repeated with each ring.
    IncomingCall,
    /// The modem is reset and set up again.
    Restarting {
        /// Why.
        reason: RestartReason,
        /// When.
        after: Duration,
    },
    /// The driver waits for an operator and does not touch the modem.
    Halted(HaltReason),
}

/// A text from the modem's memory. `Debug` redacts sender and text.
#[derive(Clone, PartialEq, Eq)]
pub struct ReceivedSms {
    /// Its place in the modem's memory.
    pub index: u16,
    /// Who sent it, unproven.
    pub sender: Sender,
    /// The service centre's time stamp as it came, `yy/MM/dd,hh:mm:ss±zz`; may be empty.
    pub sent_at: String,
    /// The text; U+FFFD where the character set had nothing.
    pub text: String,
    /// Whether the whole text fitted.
    pub complete: bool,
}

impl fmt::Debug for ReceivedSms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivedSms")
            .field("index", &self.index)
            .field("sender", &self.sender)
            .field("characters", &self.text.chars().count())
            .field("complete", &self.complete)
            .finish_non_exhaustive()
    }
}

/// Why the driver resets the modem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestartReason {
    /// A command got no answer in time.
    #[error("modem did not answer {0}; check power, cable and baud rate")]
    NoAnswer(&'static str),
    /// An answer belongs to another command.
    #[error("modem answered {0} without its result; answers and commands are out of step")]
    OutOfStep(&'static str),
    /// A command that is needed was refused.
    #[error("modem refused {command}: {cause}")]
    Refused {
        /// Which.
        command: &'static str,
        /// In its words.
        cause: Cause,
    },
    /// No network for too long.
    #[error("modem has not been registered for {0:?}; check antenna and subscription")]
    NotRegistered(Duration),
}

/// How long the driver waits for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// For the answer to an ordinary command, and for the prompt.
    pub command: Duration,
    /// For the network to take a text.
    pub text: Duration,
    /// Between looks at registration, signal and memory.
    pub supervise: Duration,
    /// Between looks while not registered.
    pub search: Duration,
    /// Without registration before a reset.
    pub unregistered: Duration,
    /// Before the first reset; doubles with each one that does not help.
    pub restart_first: Duration,
    /// Before a reset at most.
    pub restart_longest: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            command: Duration::from_secs(5),
            text: Duration::from_secs(60),
            supervise: Duration::from_secs(60),
            search: Duration::from_secs(10),
            unregistered: Duration::from_secs(300),
            restart_first: Duration::from_secs(1),
            restart_longest: Duration::from_secs(60),
        }
    }
}
