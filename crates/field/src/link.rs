//! The meter's side of a ciphered conversation with its edge.

use gridloom_core::SystemTitle;
use gridloom_dlms::apdu::{ExceptionResponse, ServiceError, StateError};
use gridloom_dlms::counter::{CounterError, ReceiveCounter, TransmitCounter};
use gridloom_dlms::security::{
    CipherContext, CipheredApdu, Keys, Policy, Protection, SecurityControl, SecurityError,
};

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
#[derive(Debug)]
pub(crate) struct Link {
    cipher: CipherContext,
    title: SystemTitle,
    edge: SystemTitle,
    transmit: TransmitCounter,
    /// The highest transmit counter whose reservation was ever asked for.
    transmit_bound: u32,
    receive: ReceiveCounter,
}

impl Link {
    pub(crate) fn new(
        keys: &Keys,
        title: SystemTitle,
        edge: SystemTitle,
        transmit_bound: u32,
        received: Option<u32>,
    ) -> Self {
        Self {
            cipher: CipherContext::new(keys),
            title,
            edge,
            transmit: TransmitCounter::resume(transmit_bound),
            transmit_bound,
            receive: received.map_or(ReceiveCounter::new(), ReceiveCounter::after),
        }
    }

    /// What to remember of the transmit counter: nothing above it was ever used.
    pub(crate) fn transmit_bound(&self) -> u32 {
        self.transmit_bound
    }

    /// The last counter believed.
    pub(crate) fn received(&self) -> Option<u32> {
        self.receive.last()
    }

    /// Reserves the next block if it is time; its bound must then be remembered.
    pub(crate) fn reserve(&mut self) -> Option<u32> {
        let bound = self.transmit.reservation_due()?;
        self.transmit_bound = bound;
        Some(bound)
    }

    /// A reservation is durable.
    pub(crate) fn reserved(&mut self, bound: u32) {
        self.transmit.reserved(bound);
    }

    /// Whether the keys should be changed because counters run out.
    pub(crate) fn is_near_end(&self) -> bool {
        self.transmit.is_near_end() || self.receive.is_near_end()
    }

    /// Opens a frame: title, then tag, then counter; only then is the counter believed.
    pub(crate) fn open(&mut self, frame: &[u8]) -> Result<Vec<u8>, FrameError> {
        let apdu = CipheredApdu::decode(frame)?;
        if apdu.title != self.edge {
            return Err(FrameError::WrongTitle {
                got: apdu.title,
                edge: self.edge,
            });
        }
        let mut plain = Vec::new();
        self.cipher
            .open(&apdu, Policy::AuthenticatedEncryption, &mut plain)?;
        let fresh = self.receive.check(apdu.counter)?;
        self.receive.commit(fresh);
        Ok(plain)
    }

    /// Ciphers one APDU under a fresh counter.
    pub(crate) fn seal(&mut self, plain: &[u8]) -> Result<Vec<u8>, CounterError> {
        let protection = Protection {
            title: self.title,
            counter: self.transmit.next()?,
            control: SecurityControl::AUTHENTICATED_ENCRYPTED,
        };
        let mut frame = Vec::with_capacity(plain.len() + 32);
        self.cipher.protect(protection, plain, &mut frame);
        Ok(frame)
    }
}
