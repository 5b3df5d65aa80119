//! The answer of a server that cannot answer the service.

use super::error::{ApduError, expect_tag};
use super::field::codes;
use crate::axdr::Decoder;

codes!(
    /// What is wrong with the association.
    StateError, "state-error", {
        /// The service is not allowed in this state.
        ServiceNotAllowed = 1,
        /// The service is not known.
        ServiceUnknown = 2,
    }
);

/// What is wrong with the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceError {
    /// It cannot be done.
    OperationNotPossible,
    /// It is not supported.
    ServiceNotSupported,
    /// Anything else.
    OtherReason,
    /// The APDU is longer than the server takes.
    PduTooLong,
    /// The APDU does not decipher, or is protected less than the server demands.
    DecipheringError,
    /// The invocation counter is not above the server's last one.
    InvocationCounterError {
        /// The counter that the server expects.
        expected: u32,
    },
}

/// The answer of a server that cannot answer the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExceptionResponse {
    /// What is wrong with the association.
    pub state: StateError,
    /// What is wrong with the service.
    pub service: ServiceError,
}

impl ExceptionResponse {
    /// The APDU's tag.
    pub const TAG: u8 = 0xD8;

    /// Appends the APDU to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let code = match self.service {
            ServiceError::OperationNotPossible => 1,
            ServiceError::ServiceNotSupported => 2,
            ServiceError::OtherReason => 3,
            ServiceError::PduTooLong => 4,
            ServiceError::DecipheringError => 5,
            ServiceError::InvocationCounterError { .. } => 6,
        };
        out.extend([Self::TAG, self.state.code(), code]);
        if let ServiceError::InvocationCounterError { expected } = self.service {
            out.extend(expected.to_be_bytes());
        }
    }

    /// Reads exactly one exception.
    ///
    /// # Errors
    ///
    /// Anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, ApduError> {
        let mut decoder = Decoder::new(bytes);
        expect_tag(&mut decoder, Self::TAG)?;
        let state = StateError::from_code(decoder.byte()?)?;
        let service = match decoder.byte()? {
            1 => ServiceError::OperationNotPossible,
            2 => ServiceError::ServiceNotSupported,
            3 => ServiceError::OtherReason,
            4 => ServiceError::PduTooLong,
            5 => ServiceError::DecipheringError,
            6 => ServiceError::InvocationCounterError {
                expected: u32::from_be_bytes(decoder.bytes()?),
            },
            code => {
                return Err(ApduError::UnknownCode {
                    field: "service-error",
                    code,
                });
            }
        };
        decoder.finish()?;
        Ok(Self { state, service })
    }
}
