//! Key agreement of suites 1 and 2 (IEC 62056-5-3, 9.2.3.4.6; NIST SP 800-56A).

use super::error::SecurityError;

/// The key agreement schemes that general-ciphering can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AgreementScheme {
    /// One-pass Diffie–Hellman, C(1e, 1s): an ephemeral key of the originator, a static one of
    /// the recipient.
    OnePass,
    /// Static unified model, C(0e, 2s): static keys of both, a transaction identifier for
    /// freshness.
    Static,
}

impl AgreementScheme {
    /// The key parameters that name the scheme.
    pub const fn parameter(self) -> u8 {
        match self {
            Self::OnePass => 1,
            Self::Static => 2,
        }
    }

    /// Reads key parameters.
    ///
    /// # Errors
    ///
    /// [`SecurityError::FieldLength`] or [`SecurityError::UnknownCode`].
    pub fn from_parameters(parameters: &[u8]) -> Result<Self, SecurityError> {
        match parameters {
            [1] => Ok(Self::OnePass),
            [2] => Ok(Self::Static),
            [code] => Err(SecurityError::UnknownCode {
                field: "key-parameters",
                code: *code,
            }),
            _ => Err(SecurityError::FieldLength {
                field: "key-parameters",
                bytes: parameters.len(),
                wanted: 1,
            }),
        }
    }
}
