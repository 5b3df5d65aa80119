//! The security control byte, and what a receiver demands of it.

use core::fmt;

use super::error::SecurityError;

use super::suite::SecuritySuite;

/// The security control byte: bits 0–3 suite, 4 authentication, 5 encryption, 6 broadcast key,
/// 7 compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecurityControl(pub u8);

impl SecurityControl {
    /// Authenticated, plain.
    pub const AUTHENTICATED: Self = Self(0x10);
    /// Encrypted, without a tag.
    pub const ENCRYPTED: Self = Self(0x20);
    /// Authenticated and encrypted.
    pub const AUTHENTICATED_ENCRYPTED: Self = Self(0x30);

    /// The same protection under a suite.
    #[must_use]
    pub const fn with_suite(self, suite: SecuritySuite) -> Self {
        Self(self.0 & 0xF0 | suite.code())
    }

    /// The same protection under the broadcast key.
    #[must_use]
    pub const fn with_broadcast_key(self) -> Self {
        Self(self.0 | 0x40)
    }

    /// The security suite, 0–15.
    pub const fn suite(self) -> u8 {
        self.0 & 0x0F
    }

    /// Whether a tag follows the payload.
    pub const fn is_authenticated(self) -> bool {
        self.0 & 0x10 != 0
    }

    /// Whether the payload is encrypted.
    pub const fn is_encrypted(self) -> bool {
        self.0 & 0x20 != 0
    }

    /// Whether the broadcast key is used instead of the unicast key.
    pub const fn uses_broadcast_key(self) -> bool {
        self.0 & 0x40 != 0
    }

    /// Whether the payload was compressed before it was protected.
    pub const fn is_compressed(self) -> bool {
        self.0 & 0x80 != 0
    }
}

impl fmt::Display for SecurityControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02X}", self.0)
    }
}

/// The least protection that a receiver accepts. A tag is always demanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Authenticated and encrypted: security control 30 only.
    #[default]
    AuthenticatedEncryption,
    /// Authenticated, encrypted or not: security control 10 or 30.
    Authentication,
}

impl Policy {
    /// Whether `control` gives at least this protection.
    pub const fn accepts(self, control: SecurityControl) -> bool {
        control.is_authenticated()
            && match self {
                Self::AuthenticatedEncryption => control.is_encrypted(),
                Self::Authentication => true,
            }
    }

    /// As [`Self::accepts`], with the error that says so.
    pub(super) const fn check(self, got: SecurityControl) -> Result<(), SecurityError> {
        if self.accepts(got) {
            Ok(())
        } else {
            Err(SecurityError::Policy { got, wanted: self })
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AuthenticatedEncryption => "authenticated encryption",
            Self::Authentication => "authentication",
        })
    }
}
