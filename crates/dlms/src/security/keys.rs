//! Symmetric keys in memory, and their transport under another key.

use core::fmt;

use aes_kw::{KeyInit, KwAes128, KwAes256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::error::SecurityError;

/// Bytes of a wrapped 16-byte key.
pub const WRAPPED_LEN: usize = 24;

/// Bytes of the longest wrapped key: one of 32 bytes.
pub const WRAPPED_LEN_MAX: usize = 40;

/// A symmetric key: 16 bytes in suites 0 and 1, 32 bytes in suite 2.
///
/// Wiped when dropped, compared in constant time, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SymmetricKey(Bytes);

/// Boxed where it is long: nearly every key of a network has 16 bytes.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
enum Bytes {
    Short([u8; 16]),
    Long(Box<[u8; 32]>),
}

impl SymmetricKey {
    /// A key of 16 bytes (suites 0 and 1).
    pub const fn short(key: [u8; 16]) -> Self {
        Self(Bytes::Short(key))
    }

    /// A key of 32 bytes (suite 2).
    pub fn long(key: [u8; 32]) -> Self {
        Self(Bytes::Long(Box::new(key)))
    }

    /// A key of as many bytes as there are.
    ///
    /// # Errors
    ///
    /// [`SecurityError::KeyLength`] if there are neither 16 nor 32.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SecurityError> {
        if let Ok(key) = bytes.try_into() {
            Ok(Self::short(key))
        } else if let Ok(key) = bytes.try_into() {
            Ok(Self::long(key))
        } else {
            Err(SecurityError::KeyLength { bytes: bytes.len() })
        }
    }

    /// The key itself, for whoever stores it wrapped.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Short(key) => key,
            Bytes::Long(key) => &**key,
        }
    }
}

impl From<[u8; 16]> for SymmetricKey {
    fn from(key: [u8; 16]) -> Self {
        Self::short(key)
    }
}

impl From<[u8; 32]> for SymmetricKey {
    fn from(key: [u8; 32]) -> Self {
        Self::long(key)
    }
}

impl PartialEq for SymmetricKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl Eq for SymmetricKey {}

impl fmt::Debug for SymmetricKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SymmetricKey(redacted)")
    }
}

/// The global keys of one meter: unicast encryption (GUEK), authentication (GAK), and broadcast
/// encryption (GBEK) where it takes part in broadcasts. All have the same length.
///
/// Wiped when dropped, compared in constant time, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    encryption: SymmetricKey,
    authentication: SymmetricKey,
    broadcast: Option<SymmetricKey>,
}

impl Keys {
    /// The pair of 16-byte keys (GUEK, GAK) of suites 0 and 1.
    pub const fn new(encryption: [u8; 16], authentication: [u8; 16]) -> Self {
        Self {
            encryption: SymmetricKey::short(encryption),
            authentication: SymmetricKey::short(authentication),
            broadcast: None,
        }
    }

    /// The pair of 32-byte keys (GUEK, GAK) of suite 2.
    pub fn long(encryption: [u8; 32], authentication: [u8; 32]) -> Self {
        Self {
            encryption: SymmetricKey::long(encryption),
            authentication: SymmetricKey::long(authentication),
            broadcast: None,
        }
    }

    /// The pair (GUEK, GAK) of either length.
    ///
    /// # Errors
    ///
    /// [`SecurityError::KeyLengths`] if their lengths differ.
    pub fn pair(
        encryption: SymmetricKey,
        authentication: SymmetricKey,
    ) -> Result<Self, SecurityError> {
        same_length(&encryption, &authentication)?;
        Ok(Self {
            encryption,
            authentication,
            broadcast: None,
        })
    }

    /// The same keys with a broadcast key (GBEK).
    ///
    /// # Errors
    ///
    /// [`SecurityError::KeyLengths`] if it has another length than the others.
    pub fn with_broadcast(mut self, broadcast: SymmetricKey) -> Result<Self, SecurityError> {
        same_length(&self.encryption, &broadcast)?;
        self.broadcast = Some(broadcast);
        Ok(self)
    }

    /// The global unicast encryption key.
    pub const fn encryption(&self) -> &SymmetricKey {
        &self.encryption
    }

    /// The authentication key.
    pub const fn authentication(&self) -> &SymmetricKey {
        &self.authentication
    }

    /// The global broadcast encryption key.
    pub const fn broadcast(&self) -> Option<&SymmetricKey> {
        self.broadcast.as_ref()
    }

    /// Bytes of each key: 16 or 32.
    pub fn key_len(&self) -> usize {
        self.encryption.as_bytes().len()
    }
}

/// Checks that two keys belong to the same kind of suite.
pub(super) fn same_length(one: &SymmetricKey, other: &SymmetricKey) -> Result<(), SecurityError> {
    let (wanted, found) = (one.as_bytes().len(), other.as_bytes().len());
    if wanted == found {
        Ok(())
    } else {
        Err(SecurityError::KeyLengths { wanted, found })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(redacted)")
    }
}

/// The key that other keys travel under (RFC 3394): a meter's master key (KEK), or the key of a
/// registry at rest.
#[derive(Clone)]
pub struct KeyEncryptionKey(SymmetricKey);

impl KeyEncryptionKey {
    /// A key encryption key of 16 bytes.
    pub const fn new(key: [u8; 16]) -> Self {
        Self(SymmetricKey::short(key))
    }

    /// A key encryption key of 32 bytes.
    pub fn long(key: [u8; 32]) -> Self {
        Self(SymmetricKey::long(key))
    }

    /// The key itself, for whoever stores it wrapped.
    pub const fn key(&self) -> &SymmetricKey {
        &self.0
    }

    /// Wraps a 16-byte key.
    pub fn wrap(&self, key: &[u8; 16]) -> [u8; WRAPPED_LEN] {
        let mut wrapped = [0; WRAPPED_LEN];
        self.wrap_into(key, &mut wrapped);
        wrapped
    }

    /// Wraps a key of either length; the result is eight bytes longer.
    pub fn wrap_key(&self, key: &SymmetricKey) -> Vec<u8> {
        let key = key.as_bytes();
        let mut wrapped = vec![0; key.len() + 8];
        self.wrap_into(key, &mut wrapped);
        wrapped
    }

    /// Unwraps a 16-byte key.
    ///
    /// # Errors
    ///
    /// [`SecurityError::Unwrap`] if it was wrapped with another key or damaged.
    pub fn unwrap(
        &self,
        wrapped: &[u8; WRAPPED_LEN],
    ) -> Result<Zeroizing<[u8; 16]>, SecurityError> {
        let mut key = Zeroizing::new([0; 16]);
        self.unwrap_into(wrapped, &mut *key)?;
        Ok(key)
    }

    /// Unwraps a key of either length.
    ///
    /// # Errors
    ///
    /// [`SecurityError::WrappedLength`] if it has neither 24 nor 40 bytes,
    /// [`SecurityError::Unwrap`] if it was wrapped with another key or damaged.
    pub fn unwrap_key(&self, wrapped: &[u8]) -> Result<SymmetricKey, SecurityError> {
        if wrapped.len() != WRAPPED_LEN && wrapped.len() != WRAPPED_LEN_MAX {
            return Err(SecurityError::WrappedLength {
                bytes: wrapped.len(),
            });
        }
        let mut key = Zeroizing::new(vec![0; wrapped.len() - 8]);
        self.unwrap_into(wrapped, &mut key)?;
        SymmetricKey::from_bytes(&key)
    }

    fn wrap_into(&self, key: &[u8], wrapped: &mut [u8]) {
        match &self.0.0 {
            Bytes::Short(kek) => KwAes128::new(kek.into()).wrap_key(key, wrapped).map(drop),
            Bytes::Long(kek) => KwAes256::new((&**kek).into())
                .wrap_key(key, wrapped)
                .map(drop),
        }
        .expect("whole blocks wrap into one block more");
    }

    fn unwrap_into(&self, wrapped: &[u8], key: &mut [u8]) -> Result<(), SecurityError> {
        match &self.0.0 {
            Bytes::Short(kek) => KwAes128::new(kek.into()).unwrap_key(wrapped, key).map(drop),
            Bytes::Long(kek) => KwAes256::new((&**kek).into())
                .unwrap_key(wrapped, key)
                .map(drop),
        }
        .map_err(|_| SecurityError::Unwrap)
    }
}

impl From<SymmetricKey> for KeyEncryptionKey {
    fn from(key: SymmetricKey) -> Self {
        Self(key)
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

    /// RFC 3394, sections 4.1, 4.3, 4.4 and 4.6: both lengths under both lengths.
    #[test]
    fn key_wrap_vectors() {
        let cases = [
            (
                "000102030405060708090A0B0C0D0E0F",
                "00112233445566778899AABBCCDDEEFF",
                "1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5",
            ),
            (
                "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F",
                "00112233445566778899AABBCCDDEEFF",
                "64E8C3F9CE0F5BA263E9777905818A2A93C8191E7D6E8AE7",
            ),
            (
                "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F",
                "00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F",
                "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43B\
                 FB988B9B7A02DD21",
            ),
        ];
        for (kek, plain, wrapped) in cases {
            let key = |text| SymmetricKey::from_bytes(&hex::bytes(text)).unwrap();
            let (kek, plain) = (KeyEncryptionKey::from(key(kek)), key(plain));
            let wrapped = hex::bytes(wrapped);
            assert_eq!(kek.wrap_key(&plain), wrapped);
            assert_eq!(kek.unwrap_key(&wrapped), Ok(plain.clone()));
            if let Ok(short) = <&[u8; WRAPPED_LEN]>::try_from(&wrapped[..]) {
                let plain: [u8; 16] = plain.as_bytes().try_into().unwrap();
                assert_eq!(kek.wrap(&plain), *short);
                assert_eq!(kek.unwrap(short).as_deref(), Ok(&plain));
            }
            for byte in 0..wrapped.len() {
                let mut damaged = wrapped.clone();
                damaged[byte] ^= 1;
                assert_eq!(kek.unwrap_key(&damaged), Err(SecurityError::Unwrap));
            }
            let other = KeyEncryptionKey::new([0; 16]);
            assert_eq!(other.unwrap_key(&wrapped), Err(SecurityError::Unwrap));
            for bytes in [0, 8, 23, 32, 41] {
                assert_eq!(
                    kek.unwrap_key(&vec![0; bytes]),
                    Err(SecurityError::WrappedLength { bytes })
                );
            }
        }
    }

    #[test]
    fn keys_have_one_length() {
        let (short, long) = (SymmetricKey::short([1; 16]), SymmetricKey::long([2; 32]));
        assert_eq!(
            Keys::pair(short.clone(), long.clone()),
            Err(SecurityError::KeyLengths {
                wanted: 16,
                found: 32
            })
        );
        let keys = Keys::long([1; 32], [2; 32]);
        assert_eq!(
            keys.clone().with_broadcast(short.clone()),
            Err(SecurityError::KeyLengths {
                wanted: 32,
                found: 16
            })
        );
        assert_eq!(keys.key_len(), 32);
        let keys = keys.with_broadcast(long).unwrap();
        assert_ne!(
            keys,
            Keys::long([1; 32], [2; 32]),
            "the broadcast key counts"
        );
        assert_eq!(
            Keys::pair(short.clone(), short),
            Ok(Keys::new([1; 16], [1; 16]))
        );
        for bytes in [0, 15, 17, 24, 31, 33] {
            assert_eq!(
                SymmetricKey::from_bytes(&vec![0; bytes]),
                Err(SecurityError::KeyLength { bytes })
            );
        }
    }
}
