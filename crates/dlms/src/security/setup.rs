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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;
    use crate::security::vectors::{CLIENT, CURVES, SERVER, initiator, responder, signer};

    #[test]
    fn keys_travel_whole_or_not_at_all() {
        let kek = KeyEncryptionKey::new(*b"the master key 1");
        let (one, other) = (SymmetricKey::short([1; 16]), SymmetricKey::short([2; 16]));
        let keys = [(KeyId::Unicast, &one), (KeyId::Authentication, &other)];
        let transfer = KeyTransfer::wrap(&kek, &keys);
        let data = transfer.to_data();
        assert_eq!(
            data.encode()[..9],
            hex::bytes("01 02 02 02 16 00 09 18 00")[..8]
                .iter()
                .copied()
                .chain(kek.wrap(&[1; 16])[..1].iter().copied())
                .collect::<Vec<_>>()
        );
        let read = KeyTransfer::from_data(&data).unwrap();
        assert_eq!(read, transfer);
        let unwrapped = read.unwrap(&kek, SecuritySuite::Suite0).unwrap();
        assert_eq!(
            unwrapped,
            [
                (KeyId::Unicast, one.clone()),
                (KeyId::Authentication, other)
            ]
        );
        assert_eq!(
            read.unwrap(&kek, SecuritySuite::Suite2),
            Err(SecurityError::SuiteKeyLength {
                suite: SecuritySuite::Suite2,
                bytes: 16,
            })
        );
        let mut damaged = transfer;
        damaged.entries[1].1[5] ^= 1;
        assert_eq!(
            damaged.unwrap(&kek, SecuritySuite::Suite0),
            Err(SecurityError::Unwrap)
        );
        let long = SymmetricKey::long([3; 32]);
        let kek = KeyEncryptionKey::long([4; 32]);
        let transfer = KeyTransfer::wrap(&kek, &[(KeyId::Master, &long)]);
        assert_eq!(
            transfer.unwrap(&kek, SecuritySuite::Suite2),
            Ok(vec![(KeyId::Master, long)])
        );
    }

    #[test]
    fn other_shapes_are_named() {
        let entry = |id, bytes: &[u8]| {
            Data::Structure(vec![Data::Enum(id), Data::OctetString(bytes.to_vec())])
        };
        let wrong = SecurityError::Payload {
            field: "key_transfer",
        };
        let cases = [
            (Data::Null, wrong),
            (Data::Array(vec![]), wrong),
            (Data::Array(vec![Data::Null]), wrong),
            (
                Data::Array(vec![Data::Structure(vec![Data::Enum(0)])]),
                wrong,
            ),
            (
                Data::Array((0..5).map(|id| entry(id, &[])).collect()),
                wrong,
            ),
            (
                Data::Array(vec![entry(4, &[])]),
                SecurityError::UnknownCode {
                    field: "key_id",
                    code: 4,
                },
            ),
            (
                Data::Array(vec![entry(2, &[]), entry(0, &[]), entry(2, &[])]),
                SecurityError::RepeatedKey {
                    id: KeyId::Authentication,
                },
            ),
        ];
        for (data, expected) in cases {
            assert_eq!(KeyTransfer::from_data(&data), Err(expected), "{data:?}");
        }
        let short = KeyTransfer::from_data(&Data::Array(vec![entry(0, &[1; 16])])).unwrap();
        assert_eq!(
            short.unwrap(&KeyEncryptionKey::new([0; 16]), SecuritySuite::Suite0),
            Err(SecurityError::WrappedLength { bytes: 16 })
        );
    }

    /// The client's offer was signed with OpenSSL, through Python's `cryptography`.
    #[test]
    fn both_sides_agree() {
        let offers = [
            "DAD0B65394221CF9B051E1FECA5787D098DFE637FC90B9EF945D0C37725811805271A046\
                 1CDB8252D61F1C456FA3E59AB1F45B33ACCF5F58389E0577B8990BB3B1939EFB61CCE975\
                 540523544A989433E17A5878586515CCC33887D75507C66E49268A28425160346E195B56\
                 9CAC67A12D9ABD0333ED5E3A00CF1AE05CE1B1E6",
            "667842D7D180AC2CDE6F74F37551F55755C7645C20EF73E31634FE72B4C55EE6DE3AC808\
                 ACB4BDB4C88732AEE95F41AA9482ED1FC0EEB9CAFC4984625CCFC23F65032149E0E144AD\
                 A024181535A0F38EEB9FCFF3C2C947DAE69B4C634573A81C71FAD519E5AC2C627B727073\
                 DA92D0B5DE189CCEA03A6FC8C0BF53BC8C1FF28154F486B8F9E7EABD7E2B09713727B5D9\
                 E80471B1BFD17F16D180BE66AD7E127E6197E5C13113A38854280CA401844A7877C0C611\
                 BBEF5479DC51952CAA0942F2",
        ];
        let parties = Parties {
            originator: CLIENT,
            recipient: SERVER,
        };
        for (curve, offer) in CURVES.into_iter().zip(offers) {
            let (client, server) = (initiator(curve), responder(curve));
            let vouched = signer(curve);
            let own = [(KeyId::Unicast, &client)];
            let asked = KeyAgreement::offer(&own, &vouched);
            assert_eq!(asked.entries[0].1, hex::bytes(offer), "{curve}");
            let asked = KeyAgreement::from_data(&asked.to_data()).unwrap();
            let answer = [(KeyId::Unicast, &server)];
            let answered = KeyAgreement::offer(&answer, &vouched);
            let public = vouched.public_key();
            let at_server = asked.agree(&parties, &answer, &public).unwrap();
            let at_client = answered.agree(&parties, &own, &public).unwrap();
            assert_eq!(at_server, at_client, "{curve}");
            assert_eq!(
                answered.agree(&parties, &[(KeyId::Master, &client)], &public),
                Err(SecurityError::OtherKeys)
            );
            // Vouched for as one key, it cannot become another.
            let mut moved = asked;
            moved.entries[0].0 = KeyId::Master;
            assert_eq!(
                moved.verify(&public),
                Err(SecurityError::BadSignature { curve })
            );
        }
    }
}
