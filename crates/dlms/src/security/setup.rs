//! What travels through the methods of a security setup object (class 64, IEC 62056-6-2,
//! 5.4.7): keys by transport (method 2) and by agreement (method 3).

use super::agreement::{KeyPurpose, Parties, sign_ephemeral, verify_ephemeral};
use super::curve::{PrivateKey, PublicKey};
use super::error::SecurityError;
use super::keys::{KeyEncryptionKey, SymmetricKey};
use super::suite::SecuritySuite;
use crate::axdr::Data;

/// Keys in one transfer or agreement: each of the four at most once.
pub const KEYS_MAX: usize = 4;

/// Which key of a meter is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyId {
    /// Global unicast encryption key (GUEK).
    Unicast,
    /// Global broadcast encryption key (GBEK).
    Broadcast,
    /// Authentication key (GAK).
    Authentication,
    /// Master key (KEK).
    Master,
}

impl KeyId {
    /// The number in `key_id`.
    pub const fn code(self) -> u8 {
        match self {
            Self::Unicast => 0,
            Self::Broadcast => 1,
            Self::Authentication => 2,
            Self::Master => 3,
        }
    }

    /// Reads a number of `key_id`.
    ///
    /// # Errors
    ///
    /// [`SecurityError::UnknownCode`].
    pub const fn from_code(code: u8) -> Result<Self, SecurityError> {
        match code {
            0 => Ok(Self::Unicast),
            1 => Ok(Self::Broadcast),
            2 => Ok(Self::Authentication),
            3 => Ok(Self::Master),
            _ => Err(SecurityError::UnknownCode {
                field: "key_id",
                code,
            }),
        }
    }

    /// What the key is used for.
    pub const fn purpose(self) -> KeyPurpose {
        match self {
            Self::Unicast | Self::Broadcast | Self::Authentication => KeyPurpose::Cipher,
            Self::Master => KeyPurpose::Wrap,
        }
    }
}

/// `key_transfer` (method 2): keys, each wrapped under the meter's master key.
///
/// A new master key among them travels under the old one, like the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyTransfer {
    entries: Vec<(KeyId, Vec<u8>)>,
}

impl KeyTransfer {
    /// Wraps keys for a meter.
    ///
    /// # Panics
    ///
    /// If there is none, or the same one twice.
    pub fn wrap(kek: &KeyEncryptionKey, keys: &[(KeyId, &SymmetricKey)]) -> Self {
        let entries: Vec<_> = keys
            .iter()
            .map(|(id, key)| (*id, kek.wrap_key(key)))
            .collect();
        assert!(
            !entries.is_empty() && repeated(&entries).is_none(),
            "a transfer has each key once"
        );
        Self { entries }
    }

    /// Which keys it changes.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.entries.iter().map(|(id, _)| *id)
    }

    /// Unwraps all keys, or none: a meter must not be left with half of a transfer.
    ///
    /// # Errors
    ///
    /// A key that does not unwrap, or one of another length than the suite has.
    pub fn unwrap(
        &self,
        kek: &KeyEncryptionKey,
        suite: SecuritySuite,
    ) -> Result<Vec<(KeyId, SymmetricKey)>, SecurityError> {
        self.entries
            .iter()
            .map(|(id, wrapped)| {
                let key = kek.unwrap_key(wrapped)?;
                let bytes = key.as_bytes().len();
                if bytes == suite.key_len() {
                    Ok((*id, key))
                } else {
                    Err(SecurityError::SuiteKeyLength { suite, bytes })
                }
            })
            .collect()
    }

    /// The method's parameters.
    pub fn to_data(&self) -> Data {
        to_data(&self.entries)
    }

    /// Reads the method's parameters.
    ///
    /// # Errors
    ///
    /// [`SecurityError::Payload`], [`SecurityError::UnknownCode`],
    /// [`SecurityError::RepeatedKey`].
    pub fn from_data(data: &Data) -> Result<Self, SecurityError> {
        from_data("key_transfer", data).map(|entries| Self { entries })
    }
}

/// `key_agreement` (method 3), in both directions: for each key an ephemeral public key and a
/// signature over `key_id` and it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyAgreement {
    entries: Vec<(KeyId, Vec<u8>)>,
}

impl KeyAgreement {
    /// Offers ephemeral keys, or answers with them; each is drawn for this once.
    ///
    /// # Panics
    ///
    /// If there is none, or the same one twice.
    pub fn offer(ephemerals: &[(KeyId, &PrivateKey)], signer: &PrivateKey) -> Self {
        let entries: Vec<_> = ephemerals
            .iter()
            .map(|(id, ephemeral)| (*id, sign_ephemeral(&[id.code()], ephemeral, signer)))
            .collect();
        assert!(
            !entries.is_empty() && repeated(&entries).is_none(),
            "an agreement has each key once"
        );
        Self { entries }
    }

    /// Which keys it changes.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.entries.iter().map(|(id, _)| *id)
    }

    /// The peer's ephemeral keys, all of them verified against its signature key, or none.
    ///
    /// # Errors
    ///
    /// Data of another length, [`SecurityError::BadSignature`], or no point.
    pub fn verify(&self, signer: &PublicKey) -> Result<Vec<(KeyId, PublicKey)>, SecurityError> {
        self.entries
            .iter()
            .map(|(id, data)| Ok((*id, verify_ephemeral(&[id.code()], data, signer)?)))
            .collect()
    }

    /// The agreed keys: own ephemeral keys with those that the peer sent for the same `key_id`s.
    ///
    /// # Errors
    ///
    /// As [`Self::verify`]; [`SecurityError::OtherKeys`] if the peer's `key_id`s are not ours in
    /// our order; [`SecurityError::Curve`].
    pub fn agree(
        &self,
        parties: &Parties,
        own: &[(KeyId, &PrivateKey)],
        signer: &PublicKey,
    ) -> Result<Vec<(KeyId, SymmetricKey)>, SecurityError> {
        if !self.ids().eq(own.iter().map(|(id, _)| *id)) {
            return Err(SecurityError::OtherKeys);
        }
        self.verify(signer)?
            .iter()
            .zip(own)
            .map(|((id, peer), (_, own))| {
                Ok((*id, parties.ephemeral_key(id.purpose(), own, peer)?))
            })
            .collect()
    }

    /// The method's parameters, or what it gives back.
    pub fn to_data(&self) -> Data {
        to_data(&self.entries)
    }

    /// Reads the method's parameters, or what it gives back.
    ///
    /// # Errors
    ///
    /// [`SecurityError::Payload`], [`SecurityError::UnknownCode`],
    /// [`SecurityError::RepeatedKey`].
    pub fn from_data(data: &Data) -> Result<Self, SecurityError> {
        from_data("key_agreement", data).map(|entries| Self { entries })
    }
}

/// The key that is there twice, if one is.
fn repeated(entries: &[(KeyId, Vec<u8>)]) -> Option<KeyId> {
    let before = |at: usize, id: &KeyId| entries[..at].iter().any(|(other, _)| other == id);
    entries
        .iter()
        .enumerate()
        .find_map(|(at, (id, _))| before(at, id).then_some(*id))
}

/// An array of structures {key_id: enum, data: octet-string}.
fn to_data(entries: &[(KeyId, Vec<u8>)]) -> Data {
    Data::Array(
        entries
            .iter()
            .map(|(id, bytes)| {
                Data::Structure(vec![
                    Data::Enum(id.code()),
                    Data::OctetString(bytes.clone()),
                ])
            })
            .collect(),
    )
}

fn from_data(field: &'static str, data: &Data) -> Result<Vec<(KeyId, Vec<u8>)>, SecurityError> {
    let wrong = SecurityError::Payload { field };
    let Data::Array(elements) = data else {
        return Err(wrong);
    };
    if !(1..=KEYS_MAX).contains(&elements.len()) {
        return Err(wrong);
    }
    let mut entries = Vec::with_capacity(elements.len());
    for element in elements {
        let Data::Structure(members) = element else {
            return Err(wrong);
        };
        let [Data::Enum(code), Data::OctetString(bytes)] = &members[..] else {
            return Err(wrong);
        };
        entries.push((KeyId::from_code(*code)?, bytes.clone()));
    }
    match repeated(&entries) {
        Some(id) => Err(SecurityError::RepeatedKey { id }),
        None => Ok(entries),
    }
}
