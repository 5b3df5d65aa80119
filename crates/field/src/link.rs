//! The meter's keys and counters, and its side of a ciphered conversation with its edge.

use gridloom_core::SystemTitle;
use gridloom_dlms::apdu::{ExceptionResponse, ServiceError, StateError};
use gridloom_dlms::counter::{CounterError, ReceiveCounter};
use gridloom_dlms::security::{
    CipherContext, CipheredApdu, Policy, Protection, SecurityControl, SecurityError,
};
use gridloom_dlms::server::{DeviceSecurity, KeyKind};

/// Why a frame is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Not ciphered as demanded, forged or damaged.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// Another title than the edge's.
    #[error("frame: from {got}, this meter belongs to {edge}; set its edge_title")]
    WrongTitle {
        /// Who sent it.
        got: SystemTitle,
        /// Who may send.
        edge: SystemTitle,
    },
    /// Its counter was used before.
    #[error(transparent)]
    Counter(#[from] CounterError),
}

impl FrameError {
    /// What a hardened meter answers, in plaintext: an unbelieved peer gets no ciphertext, and a
    /// strange one gets nothing.
    pub fn answer(&self) -> Option<ExceptionResponse> {
        let exception = |state, service| Some(ExceptionResponse { state, service });
        match self {
            Self::Security(SecurityError::NotCiphered { .. }) => exception(
                StateError::ServiceNotAllowed,
                ServiceError::DecipheringError,
            ),
            Self::Security(SecurityError::BadTag { .. } | SecurityError::Policy { .. }) => {
                exception(StateError::ServiceUnknown, ServiceError::DecipheringError)
            }
            Self::Counter(CounterError::Replayed { last, .. }) => exception(
                StateError::ServiceUnknown,
                ServiceError::InvocationCounterError {
                    expected: last.saturating_add(1),
                },
            ),
            Self::Security(_) | Self::Counter(_) | Self::WrongTitle { .. } => None,
        }
    }
}

/// Keys, titles and counters of the two sides.
/// The meter has one transmit counter: its pushes and its answers to clients share the key.
#[derive(Debug)]
pub(crate) struct Link {
    security: DeviceSecurity,
    /// The keys in force, expanded.
    cipher: CipherContext,
    revision: u64,
    edge: SystemTitle,
    /// The other edge that may send, and its own counter: each counts for itself.
    backup: Option<(SystemTitle, ReceiveCounter)>,
    /// The highest transmit counter whose reservation was ever asked for.
    transmit_bound: u32,
    receive: ReceiveCounter,
}

impl Link {
    pub(crate) fn new(
        security: DeviceSecurity,
        edge: SystemTitle,
        transmit_bound: u32,
        received: Option<u32>,
    ) -> Self {
        Self {
            cipher: security.context(),
            revision: security.revision(),
            security,
            edge,
            backup: None,
            transmit_bound,
            receive: received.map_or(ReceiveCounter::new(), ReceiveCounter::after),
        }
    }

    /// Believes a second edge as well, of which `received` was the last counter that was believed.
    #[must_use]
    pub(crate) fn with_backup(mut self, title: Option<SystemTitle>, received: Option<u32>) -> Self {
        let counter = received.map_or(ReceiveCounter::new(), ReceiveCounter::after);
        self.backup = title.map(|title| (title, counter));
        self
    }

    /// The keys and counters.
    pub(crate) fn security(&self) -> &DeviceSecurity {
        &self.security
    }

    /// The keys and counters for a conversation with a client; [`Self::has_changed`] is asked
    /// after it.
    pub(crate) fn security_mut(&mut self) -> &mut DeviceSecurity {
        &mut self.security
    }

    /// Whether something that must be durable has changed since this was last asked.
    pub(crate) fn has_changed(&mut self) -> bool {
        let revision = self.security.revision();
        let changed = revision != self.revision;
        if changed {
            self.revision = revision;
            self.cipher = self.security.context();
        }
        changed
    }

    /// The highest counter believed of any client under a key; zero if none was.
    pub(crate) fn believed(&self, key: KeyKind) -> u32 {
        let counters = self.security.receive_counters();
        counters
            .filter(|(_, kind, _)| *kind == key)
            .filter_map(|(_, _, counter)| counter.last())
            .max()
            .unwrap_or(0)
    }

    /// What to remember of the transmit counter: nothing above it was ever used.
    pub(crate) fn transmit_bound(&self) -> u32 {
        self.transmit_bound
    }

    /// The last counter believed of the edge.
    pub(crate) fn received(&self) -> Option<u32> {
        self.receive.last()
    }

    /// The last counter believed of the backup edge.
    pub(crate) fn received_of_backup(&self) -> Option<u32> {
        self.backup.as_ref()?.1.last()
    }

    /// Reserves the next block if it is time; its bound must then be remembered.
    pub(crate) fn reserve(&mut self) -> Option<u32> {
        let bound = self.security.reservation_due()?;
        self.transmit_bound = bound;
        Some(bound)
    }

    /// A reservation is durable.
    pub(crate) fn reserved(&mut self, bound: u32) {
        self.security.reserved(bound);
    }

    /// Whether the keys should be changed because counters run out.
    pub(crate) fn is_near_end(&self) -> bool {
        let mut clients = self.security.receive_counters();
        self.security.transmit_counter().is_near_end()
            || self.receive.is_near_end()
            || (self.backup.as_ref()).is_some_and(|(_, counter)| counter.is_near_end())
            || clients.any(|(_, _, counter)| counter.is_near_end())
    }

    /// Opens a frame of the edge: title, then tag, then counter; only then is the counter
    /// believed.
    pub(crate) fn open(&mut self, frame: &[u8]) -> Result<Vec<u8>, FrameError> {
        let apdu = CipheredApdu::decode(frame)?;
        let receive = match &mut self.backup {
            _ if apdu.title == self.edge => &mut self.receive,
            Some((title, counter)) if apdu.title == *title => counter,
            Some(_) | None => {
                return Err(FrameError::WrongTitle {
                    got: apdu.title,
                    edge: self.edge,
                });
            }
        };
        let mut plain = Vec::new();
        self.cipher
            .open(&apdu, Policy::AuthenticatedEncryption, &mut plain)?;
        let fresh = receive.check(apdu.counter)?;
        receive.commit(fresh);
        Ok(plain)
    }

    /// Ciphers one APDU under a fresh counter.
    pub(crate) fn seal(&mut self, plain: &[u8]) -> Result<Vec<u8>, CounterError> {
        let protection = Protection {
            title: self.security.title(),
            counter: self.security.next_counter()?,
            control: SecurityControl::AUTHENTICATED_ENCRYPTED,
        };
        let mut frame = Vec::with_capacity(plain.len() + 32);
        self.cipher.protect(protection, plain, &mut frame);
        Ok(frame)
    }
}
