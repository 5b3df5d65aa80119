//! The security suites of IEC 62056-5-3, table "Security algorithm ID and security suites".

use core::fmt;

use super::error::SecurityError;

/// Which algorithms a meter and its clients use; the low four bits of every security control
/// byte name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum SecuritySuite {
    /// AES-128-GCM and AES-128 key wrap; no public keys.
    #[default]
    Suite0,
    /// AES-128-GCM and AES-128 key wrap, ECDSA and ECDH over P-256, SHA-256.
    Suite1,
    /// AES-256-GCM and AES-256 key wrap, ECDSA and ECDH over P-384, SHA-384.
    Suite2,
}

impl SecuritySuite {
    /// Reads the suite's number, 0–2.
    ///
    /// # Errors
    ///
    /// [`SecurityError::UnknownSuite`]: the standard reserves the others.
    pub const fn from_code(code: u8) -> Result<Self, SecurityError> {
        match code {
            0 => Ok(Self::Suite0),
            1 => Ok(Self::Suite1),
            2 => Ok(Self::Suite2),
            _ => Err(SecurityError::UnknownSuite { suite: code }),
        }
    }

    /// The suite's number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Suite0 => 0,
            Self::Suite1 => 1,
            Self::Suite2 => 2,
        }
    }

    /// Bytes of every symmetric key of the suite.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Suite0 | Self::Suite1 => 16,
            Self::Suite2 => 32,
        }
    }

    /// The curve of signatures and key agreement; suite 0 has none.
    pub const fn curve(self) -> Option<Curve> {
        match self {
            Self::Suite0 => None,
            Self::Suite1 => Some(Curve::P256),
            Self::Suite2 => Some(Curve::P384),
        }
    }
}

impl fmt::Display for SecuritySuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code())
    }
}

/// The elliptic curve of a suite, with the hash that belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Curve {
    /// NIST P-256 with SHA-256: suite 1.
    P256,
    /// NIST P-384 with SHA-384: suite 2.
    P384,
}

impl Curve {
    /// Bytes of a coordinate, a private key and a shared secret.
    pub const fn field_len(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }

    /// Bytes of a public key (x ‖ y) and of a signature (r ‖ s).
    pub const fn pair_len(self) -> usize {
        2 * self.field_len()
    }
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
        })
    }
}
