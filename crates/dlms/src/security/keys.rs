//! Keys at rest in memory, and their transport under another key.

use core::fmt;

use aes_kw::{KeyInit, KwAes128};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::error::SecurityError;

/// Bytes of a wrapped 16-byte key.
pub const WRAPPED_LEN: usize = 24;

/// The global unicast encryption key and the authentication key of one meter.
///
/// Wiped when dropped, compared in constant time, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Keys {
    encryption: [u8; 16],
    authentication: [u8; 16],
}

impl Keys {
    /// The pair of keys (GUEK, GAK).
    pub const fn new(encryption: [u8; 16], authentication: [u8; 16]) -> Self {
        Self {
            encryption,
            authentication,
        }
    }

    pub(super) const fn encryption(&self) -> &[u8; 16] {
        &self.encryption
    }

    pub(super) const fn authentication(&self) -> &[u8; 16] {
        &self.authentication
    }
}

impl PartialEq for Keys {
    fn eq(&self, other: &Self) -> bool {
        (self.encryption.ct_eq(&other.encryption)
            & self.authentication.ct_eq(&other.authentication))
        .into()
    }
}

impl Eq for Keys {}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(redacted)")
    }
}

/// The key that other keys travel under (RFC 3394): a meter's master key, or the key of a
/// registry at rest.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct KeyEncryptionKey([u8; 16]);

impl KeyEncryptionKey {
    /// A key encryption key.
    pub const fn new(key: [u8; 16]) -> Self {
        Self(key)
    }

    /// Wraps a key.
    pub fn wrap(&self, key: &[u8; 16]) -> [u8; WRAPPED_LEN] {
        let mut wrapped = [0; WRAPPED_LEN];
        KwAes128::new((&self.0).into())
            .wrap_key(key, &mut wrapped)
            .expect("a 16-byte key wraps into 24 bytes");
        wrapped
    }

    /// Unwraps a key.
    ///
    /// # Errors
    ///
    /// [`SecurityError::Unwrap`] if it was wrapped with another key or damaged.
    pub fn unwrap(
        &self,
        wrapped: &[u8; WRAPPED_LEN],
    ) -> Result<Zeroizing<[u8; 16]>, SecurityError> {
        let mut key = Zeroizing::new([0; 16]);
        KwAes128::new((&self.0).into())
            .unwrap_key(wrapped, &mut *key)
            .map_err(|_| SecurityError::Unwrap)?;
        Ok(key)
    }
}

impl fmt::Debug for KeyEncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyEncryptionKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    /// RFC 3394, section 4.1.
    #[test]
    fn key_wrap_vector() {
        let key = |text: &str| <[u8; 16]>::try_from(hex::bytes(text)).unwrap();
        let kek = KeyEncryptionKey::new(key("000102030405060708090A0B0C0D0E0F"));
        let plain = key("00112233445566778899AABBCCDDEEFF");
        let wrapped = kek.wrap(&plain);
        assert_eq!(
            wrapped[..],
            hex::bytes("1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5")
        );
        assert_eq!(kek.unwrap(&wrapped).as_deref(), Ok(&plain));
        let mut damaged = wrapped;
        damaged[23] ^= 1;
        assert_eq!(kek.unwrap(&damaged), Err(SecurityError::Unwrap));
        let other = KeyEncryptionKey::new([0; 16]);
        assert_eq!(other.unwrap(&wrapped), Err(SecurityError::Unwrap));
    }
}
