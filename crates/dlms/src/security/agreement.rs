//! Key agreement of suites 1 and 2 (IEC 62056-5-3, 9.2.3.4.6 and annex I; NIST SP 800-56A).
//!
//! Both sides compute the same point from one's private and the other's public keys, and derive
//! a key from it that also depends on what the key is for and on both titles: a key that was
//! agreed on for one purpose or with one peer can never serve another.

use gridloom_core::SystemTitle;
use sha2::{Digest as _, Sha256, Sha384};
use zeroize::Zeroize as _;

use super::curve::{PrivateKey, PublicKey, check_length};
use super::error::SecurityError;
use super::general::HEADER_FIELD_LEN_MAX;
use super::keys::SymmetricKey;
use super::suite::Curve;

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

/// What an agreed key is for; the suite's key length completes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyPurpose {
    /// AES-GCM: encryption and authentication keys.
    Cipher,
    /// AES key wrap: the master key.
    Wrap,
}

impl KeyPurpose {
    /// The encoded object identifier 2.16.756.5.8.3.x of the algorithm.
    const fn algorithm_id(self, curve: Curve) -> [u8; 7] {
        let last = match (self, curve) {
            (Self::Cipher, Curve::P256) => 0,
            (Self::Cipher, Curve::P384) => 1,
            (Self::Wrap, Curve::P256) => 2,
            (Self::Wrap, Curve::P384) => 3,
        };
        [0x60, 0x85, 0x74, 0x05, 0x08, 0x03, last]
    }
}

/// Who agrees on a key: the originator is party U, the recipient party V. Of a client and its
/// server the client is the originator of class 64's key agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parties {
    /// Party U.
    pub originator: SystemTitle,
    /// Party V.
    pub recipient: SystemTitle,
}

impl Parties {
    /// The key of the ephemeral unified model, C(2e, 0s): each side's ephemeral key, which it
    /// sent signed. Class 64, method 3.
    ///
    /// # Errors
    ///
    /// [`SecurityError::Curve`] if the keys are of different curves.
    pub fn ephemeral_key(
        &self,
        purpose: KeyPurpose,
        own: &PrivateKey,
        peer: &PublicKey,
    ) -> Result<SymmetricKey, SecurityError> {
        let shared = own.agree(peer)?;
        Ok(derive(
            own.curve(),
            &shared,
            &self.info(own.curve(), purpose, None),
        ))
    }

    /// The key of one-pass Diffie–Hellman, C(1e, 1s), as the originator makes it, and the key
    /// data to send: `ephemeral` is drawn for this one APDU, `recipient` is the peer's static
    /// agreement key, and `signer` vouches for the ephemeral key.
    ///
    /// # Errors
    ///
    /// [`SecurityError::Curve`] if the keys are of different curves.
    pub fn one_pass_originate(
        &self,
        ephemeral: &PrivateKey,
        recipient: &PublicKey,
        signer: &PrivateKey,
    ) -> Result<(SymmetricKey, Vec<u8>), SecurityError> {
        same_curve(ephemeral.curve(), signer.curve())?;
        let shared = ephemeral.agree(recipient)?;
        let curve = ephemeral.curve();
        let key = derive(curve, &shared, &self.info(curve, KeyPurpose::Cipher, None));
        Ok((key, sign_ephemeral(&[], ephemeral, signer)))
    }

    /// The same key as the recipient finds it, from the key data that came, its own static
    /// agreement key and the originator's signature key.
    ///
    /// # Errors
    ///
    /// Key data of another length, [`SecurityError::BadSignature`], a key that is no point, or
    /// keys of different curves.
    pub fn one_pass_receive(
        &self,
        data: &[u8],
        own: &PrivateKey,
        signer: &PublicKey,
    ) -> Result<SymmetricKey, SecurityError> {
        let ephemeral = verify_ephemeral(&[], data, signer)?;
        let shared = own.agree(&ephemeral)?;
        let info = self.info(own.curve(), KeyPurpose::Cipher, None);
        Ok(derive(own.curve(), &shared, &info))
    }

    /// The key of the static unified model, C(0e, 2s), the same on both sides: the own static
    /// agreement key with the peer's. The transaction identifier of the APDU makes it another
    /// key every time; the originator never repeats one.
    ///
    /// # Errors
    ///
    /// [`SecurityError::Curve`] if the keys are of different curves,
    /// [`SecurityError::TransactionId`] if the identifier is empty or longer than
    /// [`HEADER_FIELD_LEN_MAX`].
    pub fn static_key(
        &self,
        own: &PrivateKey,
        peer: &PublicKey,
        transaction_id: &[u8],
    ) -> Result<SymmetricKey, SecurityError> {
        if !(1..=HEADER_FIELD_LEN_MAX).contains(&transaction_id.len()) {
            return Err(SecurityError::TransactionId {
                bytes: transaction_id.len(),
            });
        }
        let shared = own.agree(peer)?;
        let info = self.info(own.curve(), KeyPurpose::Cipher, Some(transaction_id));
        Ok(derive(own.curve(), &shared, &info))
    }

    /// OtherInfo of the derivation: algorithm, party U with its nonce if it has one, party V.
    fn info(&self, curve: Curve, purpose: KeyPurpose, nonce: Option<&[u8]>) -> Vec<u8> {
        let mut info = purpose.algorithm_id(curve).to_vec();
        info.extend_from_slice(&self.originator.0);
        if let Some(nonce) = nonce {
            info.push(u8::try_from(nonce.len()).expect("at most HEADER_FIELD_LEN_MAX bytes"));
            info.extend_from_slice(nonce);
        }
        info.extend_from_slice(&self.recipient.0);
        info
    }
}

/// Concatenation key derivation (SP 800-56A, 5.8.1). One round of the hash gives every key
/// length that a suite has.
fn derive(curve: Curve, shared: &[u8], info: &[u8]) -> SymmetricKey {
    const FIRST_ROUND: [u8; 4] = 1_u32.to_be_bytes();
    match curve {
        Curve::P256 => {
            let mut hash = Sha256::new();
            hash.update(FIRST_ROUND);
            hash.update(shared);
            hash.update(info);
            let mut material: [u8; 32] = hash.finalize().into();
            let mut key = [0; 16];
            key.copy_from_slice(&material[..16]);
            material.zeroize();
            SymmetricKey::short(key)
        }
        Curve::P384 => {
            let mut hash = Sha384::new();
            hash.update(FIRST_ROUND);
            hash.update(shared);
            hash.update(info);
            let mut material: [u8; 48] = hash.finalize().into();
            let mut key = [0; 32];
            key.copy_from_slice(&material[..32]);
            material.zeroize();
            SymmetricKey::long(key)
        }
    }
}

/// An ephemeral public key and a signature over `context` and the key.
pub(super) fn sign_ephemeral(
    context: &[u8],
    ephemeral: &PrivateKey,
    signer: &PrivateKey,
) -> Vec<u8> {
    let mut data = ephemeral.public_key().to_bytes();
    let signature = signer.sign(&[context, &data[..]].concat());
    data.extend(signature);
    data
}

/// The ephemeral public key of such data, if the signature verifies.
pub(super) fn verify_ephemeral(
    context: &[u8],
    data: &[u8],
    signer: &PublicKey,
) -> Result<PublicKey, SecurityError> {
    let curve = signer.curve();
    check_length("key agreement data", data, 2 * curve.pair_len())?;
    let (key, signature) = data.split_at(curve.pair_len());
    signer.verify(&[context, key].concat(), signature)?;
    PublicKey::from_bytes(curve, key)
}

fn same_curve(wanted: Curve, found: Curve) -> Result<(), SecurityError> {
    if wanted == found {
        Ok(())
    } else {
        Err(SecurityError::Curve { wanted, found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;
    use crate::security::vectors::{
        CLIENT, CURVES, SERVER, TRANSACTION, initiator, responder, signer,
    };

    const PARTIES: Parties = Parties {
        originator: CLIENT,
        recipient: SERVER,
    };

    /// Computed with OpenSSL, through the concatenation KDF of Python's `cryptography`.
    #[test]
    fn derivation_vectors() {
        let cipher = [
            "0CD43811A7093D7312E3F65AA3844D56",
            "8B510FF2E9AE42DC6F2A72159B0C636707D093F4DF525B86D8F617367B074D7D",
        ];
        let wrap = [
            "76738183127B3557CA5E42B693FE3D1E",
            "3251B2DE3DE3C8A3E25D5A0B72E1FD57030C00ED28636D235ADD849F1DD92F88",
        ];
        let fixed = [
            "361C640BB11A5022D58C16AB2B78443D",
            "2B2E6041A5D0AEF7162C94C5FC0643EA24F142F1986A01112DD63682C04B82CD",
        ];
        for (at, curve) in CURVES.into_iter().enumerate() {
            let (own, peer) = (initiator(curve), responder(curve));
            let key = |text: &str| Ok(SymmetricKey::from_bytes(&hex::bytes(text)).unwrap());
            let agree = |purpose| {
                let forth = PARTIES.ephemeral_key(purpose, &own, &peer.public_key());
                let back = PARTIES.ephemeral_key(purpose, &peer, &own.public_key());
                assert_eq!(forth, back);
                forth
            };
            assert_eq!(agree(KeyPurpose::Cipher), key(cipher[at]), "{curve}");
            assert_eq!(agree(KeyPurpose::Wrap), key(wrap[at]), "{curve}");
            let (own_public, peer_public) = (own.public_key(), peer.public_key());
            for (one, other) in [(&own, &peer_public), (&peer, &own_public)] {
                let made = PARTIES.static_key(one, other, &TRANSACTION);
                assert_eq!(made, key(fixed[at]), "{curve}");
                assert_ne!(PARTIES.static_key(one, other, &TRANSACTION[1..]), made);
                let turned = Parties {
                    originator: SERVER,
                    recipient: CLIENT,
                };
                assert_ne!(turned.static_key(one, other, &TRANSACTION), made);
                for bytes in [0, 65] {
                    assert_eq!(
                        PARTIES.static_key(one, other, &vec![0; bytes]),
                        Err(SecurityError::TransactionId { bytes })
                    );
                }
            }
        }
    }

    /// The key data was signed with OpenSSL, through Python's `cryptography`.
    #[test]
    fn one_pass_vectors() {
        let sent = [
            "DAD0B65394221CF9B051E1FECA5787D098DFE637FC90B9EF945D0C37725811805271A046\
                 1CDB8252D61F1C456FA3E59AB1F45B33ACCF5F58389E0577B8990BB3F421C8F92A24B5DE\
                 01BFEDAF2BD9B9795219528DAEF9FCAAB4413C48FE48E67C563186F0BA3C90930644AA47\
                 27C7E69D00B51B76250EDC24FED6403B675AC2E2",
            "667842D7D180AC2CDE6F74F37551F55755C7645C20EF73E31634FE72B4C55EE6DE3AC808\
                 ACB4BDB4C88732AEE95F41AA9482ED1FC0EEB9CAFC4984625CCFC23F65032149E0E144AD\
                 A024181535A0F38EEB9FCFF3C2C947DAE69B4C634573A81C53500CC74DD58DBD53983387\
                 CF84D7DE56B697DC16C36F46E4C4017EAC5EDE2FA3A5B269DC41A5144BFD616146145FCB\
                 B7EB5202FD8DEE8633576FB9B27D6DD39F5F3D881D07E5A8B16A15B866A2DD3B01784058\
                 BB357D8CD6BF35BBE2CA6322",
        ];
        let keys = [
            "0CD43811A7093D7312E3F65AA3844D56",
            "8B510FF2E9AE42DC6F2A72159B0C636707D093F4DF525B86D8F617367B074D7D",
        ];
        for (at, curve) in CURVES.into_iter().enumerate() {
            let key = SymmetricKey::from_bytes(&hex::bytes(keys[at])).unwrap();
            let data = hex::bytes(sent[at]);
            let (ephemeral, recipient) = (initiator(curve), responder(curve));
            assert_eq!(
                PARTIES.one_pass_originate(&ephemeral, &recipient.public_key(), &signer(curve)),
                Ok((key.clone(), data.clone())),
                "{curve}"
            );
            let receive = |data: &[u8]| {
                PARTIES.one_pass_receive(data, &recipient, &signer(curve).public_key())
            };
            assert_eq!(receive(&data), Ok(key), "{curve}");
            let mut forged = responder(curve).public_key().to_bytes();
            forged.extend_from_slice(&data[curve.pair_len()..]);
            assert_eq!(receive(&forged), Err(SecurityError::BadSignature { curve }));
            assert!(matches!(
                receive(&data[1..]),
                Err(SecurityError::FieldLength { .. })
            ));
        }
        assert!(matches!(
            PARTIES.one_pass_originate(
                &initiator(Curve::P256),
                &responder(Curve::P256).public_key(),
                &signer(Curve::P384),
            ),
            Err(SecurityError::Curve { .. })
        ));
    }
}
