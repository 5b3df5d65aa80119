//! The key pairs of one side and the public keys of the other, and what both are used for in
//! services: the keys of general-ciphering, and signatures around APDUs.

use gridloom_core::SystemTitle;
use zeroize::Zeroizing;

use super::agreement::{AgreementScheme, Parties};
use super::certificate_setup::CertificateType;
use super::context::{CipherContext, Protection};
use super::curve::{PrivateKey, PublicKey};
use super::error::SecurityError;
use super::general::{GeneralCiphering, GeneralHeader, IdentifiedKey, KeyInfo};
use super::keys::{KeyEncryptionKey, SymmetricKey, WRAPPED_LEN_MAX};
use super::signing::{GeneralSigning, SIGNATURE_LEN_MAX};
use super::suite::SecuritySuite;

/// Our own private keys. Wiped when dropped, never printed.
#[derive(Debug, Clone, Default)]
pub struct OwnKeys {
    /// Signs APDUs, challenges and ephemeral keys.
    pub signing: Option<Box<PrivateKey>>,
    /// The static key of key agreement.
    pub agreement: Option<Box<PrivateKey>>,
    /// For TLS; nothing in a DLMS/COSEM service uses it.
    pub tls: Option<Box<PrivateKey>>,
}

impl OwnKeys {
    /// The key pair for a purpose.
    pub fn of(&self, kind: CertificateType) -> Option<&PrivateKey> {
        match kind {
            CertificateType::Signature => self.signing.as_deref(),
            CertificateType::Agreement => self.agreement.as_deref(),
            CertificateType::Tls => self.tls.as_deref(),
            CertificateType::Other => None,
        }
    }

    /// Takes over a key pair; none is kept for [`CertificateType::Other`].
    pub fn set(&mut self, kind: CertificateType, key: PrivateKey) {
        let place = match kind {
            CertificateType::Signature => &mut self.signing,
            CertificateType::Agreement => &mut self.agreement,
            CertificateType::Tls => &mut self.tls,
            CertificateType::Other => return,
        };
        *place = Some(Box::new(key));
    }
}

/// The public keys of a peer: from its certificates, or installed by hand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerKeys {
    /// Verifies what it signs.
    pub signing: Option<Box<PublicKey>>,
    /// Its static key of key agreement.
    pub agreement: Option<Box<PublicKey>>,
}

/// How general-ciphering tells its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum GeneralKey {
    /// By name: the global unicast encryption key.
    #[default]
    Unicast,
    /// By name: the global broadcast encryption key.
    Broadcast,
    /// A key of this APDU alone, wrapped under the meter's master key.
    Wrapped,
    /// A key of this APDU alone, agreed on by one-pass Diffie–Hellman, C(1e, 1s).
    OnePass,
    /// A key of this transaction alone, agreed on by the static unified model, C(0e, 2s).
    Static,
}

impl GeneralKey {
    /// How an APDU that came tells it. Without key information it is the unicast key.
    pub const fn of(info: Option<&KeyInfo<'_>>) -> Self {
        match info {
            None | Some(KeyInfo::Identified(IdentifiedKey::Unicast)) => Self::Unicast,
            Some(KeyInfo::Identified(IdentifiedKey::Broadcast)) => Self::Broadcast,
            Some(KeyInfo::Wrapped { .. }) => Self::Wrapped,
            Some(KeyInfo::Agreed {
                scheme: AgreementScheme::OnePass,
                ..
            }) => Self::OnePass,
            Some(KeyInfo::Agreed {
                scheme: AgreementScheme::Static,
                ..
            }) => Self::Static,
        }
    }

    /// Bytes that key information of this kind takes at most in a suite.
    pub fn info_len(self, suite: SecuritySuite) -> usize {
        let pair = suite.curve().map_or(0, |curve| curve.pair_len());
        match self {
            Self::Unicast | Self::Broadcast => 3,
            Self::Wrapped => 4 + WRAPPED_LEN_MAX,
            // Presence, choice, parameters, and the data behind a length of up to two bytes.
            Self::OnePass => 6 + 2 * pair,
            Self::Static => 5,
        }
    }
}

/// Bytes that general-signing adds at most, but for its transaction identifier.
pub const SIGNING_OVERHEAD_MAX: usize = HEADER_OVERHEAD_MAX + 3 + 1 + SIGNATURE_LEN_MAX;

/// Bytes of the tag, the five fields with their lengths and both titles in them, but for the
/// transaction identifier.
pub const HEADER_OVERHEAD_MAX: usize = 1 + 5 + 2 * 8;

/// What one side of a conversation has for general-ciphering and general-signing.
#[derive(Debug, Clone, Copy)]
pub struct KeyRing<'a> {
    /// Who we are.
    pub title: SystemTitle,
    /// With whom we talk.
    pub peer_title: SystemTitle,
    /// The global keys, expanded.
    pub context: &'a CipherContext,
    /// The meter's master key.
    pub master: Option<&'a KeyEncryptionKey>,
    /// Our own keys.
    pub own: &'a OwnKeys,
    /// What verifies the peer's signatures.
    pub peer_signing: Option<&'a PublicKey>,
    /// The peer's static key of key agreement.
    pub peer_agreement: Option<&'a PublicKey>,
}

impl KeyRing<'_> {
    /// The context of the key that an APDU of the peer tells; `None` for the global ones, which
    /// [`Self::context`] has.
    ///
    /// # Errors
    ///
    /// [`SecurityError::Originator`] or [`SecurityError::Recipient`] for other titles than ours
    /// and the peer's, [`SecurityError::MissingKey`], a key that does not unwrap, is of another
    /// length or curve, or an ephemeral key that the peer has not signed.
    pub fn find(
        &self,
        apdu: &GeneralCiphering<'_>,
    ) -> Result<Option<CipherContext>, SecurityError> {
        self.check_titles(&apdu.header)?;
        let key = match &apdu.key_info {
            None | Some(KeyInfo::Identified(_)) => return Ok(None),
            Some(KeyInfo::Wrapped { wrapped }) => self.master()?.unwrap_key(wrapped)?,
            Some(KeyInfo::Agreed { scheme, data }) => {
                let parties = Parties {
                    originator: self.peer_title,
                    recipient: self.title,
                };
                let own = missing(self.own.agreement.as_deref(), OWN_AGREEMENT)?;
                match scheme {
                    AgreementScheme::OnePass => {
                        let signer = missing(self.peer_signing, PEER_SIGNING)?;
                        parties.one_pass_receive(data, own, signer)?
                    }
                    AgreementScheme::Static => {
                        if !data.is_empty() {
                            return Err(SecurityError::FieldLength {
                                field: "key data of the static scheme",
                                bytes: data.len(),
                                wanted: 0,
                            });
                        }
                        let peer = missing(self.peer_agreement, PEER_AGREEMENT)?;
                        parties.static_key(own, peer, apdu.header.transaction_id)?
                    }
                }
            }
        };
        self.context.one_time(&key).map(Some)
    }

    /// Whether [`Self::seal`] has what it needs for this kind of key.
    ///
    /// # Errors
    ///
    /// [`SecurityError::MissingKey`].
    pub fn can_seal(&self, key: GeneralKey) -> Result<(), SecurityError> {
        match key {
            GeneralKey::Unicast => Ok(()),
            GeneralKey::Broadcast if self.context.has_broadcast_key() => Ok(()),
            GeneralKey::Broadcast => Err(SecurityError::BroadcastKey),
            GeneralKey::Wrapped => self.master().map(drop),
            GeneralKey::OnePass => {
                missing(self.own.signing.as_deref(), OWN_SIGNING)?;
                missing(self.peer_agreement, PEER_AGREEMENT).map(drop)
            }
            GeneralKey::Static => {
                missing(self.own.agreement.as_deref(), OWN_AGREEMENT)?;
                missing(self.peer_agreement, PEER_AGREEMENT).map(drop)
            }
        }
    }

    /// Appends `plain` as a general-ciphering APDU to the peer to `out`. `entropy` draws the keys
    /// of this one APDU. The transaction identifier makes the static scheme's key: nobody gives
    /// one twice.
    ///
    /// # Errors
    ///
    /// As [`Self::can_seal`]; [`SecurityError::Curve`] or [`SecurityError::TransactionId`].
    ///
    /// # Panics
    ///
    /// As [`CipherContext::protect_general`].
    pub fn seal(
        &self,
        key: GeneralKey,
        transaction_id: &[u8],
        protection: Protection,
        plain: &[u8],
        entropy: &mut dyn FnMut(&mut [u8]),
        out: &mut Vec<u8>,
    ) -> Result<(), SecurityError> {
        self.can_seal(key)?;
        let header = GeneralHeader::between(self.title, self.peer_title, transaction_id);
        let parties = Parties {
            originator: self.title,
            recipient: self.peer_title,
        };
        let scheme = |scheme, data| KeyInfo::Agreed { scheme, data };
        let (one_time, data);
        let (context, info) = match key {
            GeneralKey::Unicast => {
                let info = KeyInfo::Identified(IdentifiedKey::Unicast);
                (self.context, info)
            }
            GeneralKey::Broadcast => {
                let info = KeyInfo::Identified(IdentifiedKey::Broadcast);
                (self.context, info)
            }
            GeneralKey::Wrapped => {
                let mut bytes = Zeroizing::new(vec![0; self.context.suite().key_len()]);
                entropy(&mut bytes);
                let drawn = SymmetricKey::from_bytes(&bytes)?;
                data = self.master()?.wrap_key(&drawn);
                one_time = self.context.one_time(&drawn)?;
                (&one_time, KeyInfo::Wrapped { wrapped: &data })
            }
            GeneralKey::OnePass => {
                let signer = missing(self.own.signing.as_deref(), OWN_SIGNING)?;
                let peer = missing(self.peer_agreement, PEER_AGREEMENT)?;
                let ephemeral = PrivateKey::generate(peer.curve(), entropy);
                let (agreed, offered) = parties.one_pass_originate(&ephemeral, peer, signer)?;
                data = offered;
                one_time = self.context.one_time(&agreed)?;
                (&one_time, scheme(AgreementScheme::OnePass, &data[..]))
            }
            GeneralKey::Static => {
                let own = missing(self.own.agreement.as_deref(), OWN_AGREEMENT)?;
                let peer = missing(self.peer_agreement, PEER_AGREEMENT)?;
                let agreed = parties.static_key(own, peer, transaction_id)?;
                one_time = self.context.one_time(&agreed)?;
                (&one_time, scheme(AgreementScheme::Static, &[][..]))
            }
        };
        context.protect_general(&header, Some(&info), protection, plain, out);
        Ok(())
    }

    /// Appends `content` to `out`, signed for the peer.
    ///
    /// # Errors
    ///
    /// [`SecurityError::MissingKey`].
    pub fn sign(
        &self,
        transaction_id: &[u8],
        content: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), SecurityError> {
        let key = missing(self.own.signing.as_deref(), OWN_SIGNING)?;
        let header = GeneralHeader::between(self.title, self.peer_title, transaction_id);
        GeneralSigning::encode(&header, content, key, out);
        Ok(())
    }

    /// Verifies that the peer signed an APDU for us, and returns what is inside.
    ///
    /// # Errors
    ///
    /// Other titles, [`SecurityError::MissingKey`], or a signature that does not verify.
    pub fn verify<'a>(&self, apdu: &GeneralSigning<'a>) -> Result<&'a [u8], SecurityError> {
        self.check_titles(&apdu.header)?;
        apdu.verify(missing(self.peer_signing, PEER_SIGNING)?)
    }

    /// A header that repeats the titles must repeat the association's.
    fn check_titles(&self, header: &GeneralHeader<'_>) -> Result<(), SecurityError> {
        match (header.originator, header.recipient) {
            (Some(got), _) if got != self.peer_title => Err(SecurityError::Originator {
                got,
                wanted: self.peer_title,
            }),
            (_, Some(got)) if got != self.title => Err(SecurityError::Recipient {
                got,
                wanted: self.title,
            }),
            (_, _) => Ok(()),
        }
    }

    fn master(&self) -> Result<&KeyEncryptionKey, SecurityError> {
        missing(self.master, "the meter's master key (KEK)")
    }
}

const OWN_SIGNING: &str = "our own signing key";
const OWN_AGREEMENT: &str = "our own key agreement key";
const PEER_SIGNING: &str = "the peer's signature certificate";
const PEER_AGREEMENT: &str = "the peer's key agreement certificate";

fn missing<T>(key: Option<T>, what: &'static str) -> Result<T, SecurityError> {
    key.ok_or(SecurityError::MissingKey { what })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::keys::Keys;
    use crate::security::vectors::{CLIENT, SERVER, TRANSACTION, initiator, responder, signer};
    use crate::security::{Curve, Policy, SecurityControl};

    const GET_CLOCK: &[u8] = b"\xC0\x01\x00\x00\x08\x00\x00\x01\x00\x00\xFF\x02\x00";

    /// All keys of both sides on one curve.
    struct Both {
        context: CipherContext,
        master: KeyEncryptionKey,
        client: OwnKeys,
        server: OwnKeys,
        signing: PublicKey,
        client_agreement: PublicKey,
        server_agreement: PublicKey,
    }

    impl Both {
        fn new(suite: SecuritySuite) -> Self {
            let curve = suite.curve().unwrap();
            let (keys, master) = if suite == SecuritySuite::Suite2 {
                let keys = Keys::long([1; 32], [2; 32]);
                let keys = keys.with_broadcast([4; 32].into()).unwrap();
                (keys, KeyEncryptionKey::long([3; 32]))
            } else {
                let keys = Keys::new([1; 16], [2; 16]);
                let keys = keys.with_broadcast([4; 16].into()).unwrap();
                (keys, KeyEncryptionKey::new([3; 16]))
            };
            let own = |agreement: &PrivateKey| OwnKeys {
                signing: Some(Box::new(signer(curve))),
                agreement: Some(Box::new(agreement.clone())),
                tls: None,
            };
            Self {
                context: CipherContext::with_suite(&keys, suite).unwrap(),
                master,
                client: own(&initiator(curve)),
                server: own(&responder(curve)),
                signing: signer(curve).public_key(),
                client_agreement: initiator(curve).public_key(),
                server_agreement: responder(curve).public_key(),
            }
        }

        fn client(&self) -> KeyRing<'_> {
            KeyRing {
                title: CLIENT,
                peer_title: SERVER,
                context: &self.context,
                master: Some(&self.master),
                own: &self.client,
                peer_signing: Some(&self.signing),
                peer_agreement: Some(&self.server_agreement),
            }
        }

        fn server(&self) -> KeyRing<'_> {
            KeyRing {
                title: SERVER,
                peer_title: CLIENT,
                own: &self.server,
                peer_agreement: Some(&self.client_agreement),
                ..self.client()
            }
        }
    }

    const KINDS: [GeneralKey; 5] = [
        GeneralKey::Unicast,
        GeneralKey::Broadcast,
        GeneralKey::Wrapped,
        GeneralKey::OnePass,
        GeneralKey::Static,
    ];

    fn drawn(bytes: &mut [u8]) {
        bytes.fill(0x11);
    }

    fn sealed(ring: &KeyRing<'_>, key: GeneralKey) -> Result<Vec<u8>, SecurityError> {
        let control = SecurityControl::AUTHENTICATED_ENCRYPTED;
        let protection = ring.context.protection(control, ring.title, 7);
        let mut out = Vec::new();
        ring.seal(
            key,
            &TRANSACTION,
            protection,
            GET_CLOCK,
            &mut drawn,
            &mut out,
        )?;
        Ok(out)
    }

    fn opened(ring: &KeyRing<'_>, apdu: &[u8]) -> Result<Vec<u8>, SecurityError> {
        let apdu = GeneralCiphering::decode(apdu, Some(ring.peer_title))?;
        let one_time = ring.find(&apdu)?;
        let context = one_time.as_ref().unwrap_or(ring.context);
        let mut plain = Vec::new();
        context.open(&apdu.apdu, Policy::AuthenticatedEncryption, &mut plain)?;
        Ok(plain)
    }

    #[test]
    fn every_kind_of_key_comes_across_both_ways() {
        for suite in [SecuritySuite::Suite1, SecuritySuite::Suite2] {
            let both = Both::new(suite);
            for key in KINDS {
                for (from, to) in [
                    (both.client(), both.server()),
                    (both.server(), both.client()),
                ] {
                    let apdu = sealed(&from, key).unwrap();
                    assert_eq!(opened(&to, &apdu).as_deref(), Ok(GET_CLOCK), "{key:?}");
                    let read = GeneralCiphering::decode(&apdu, None).unwrap();
                    assert_eq!(GeneralKey::of(read.key_info.as_ref()), key);
                    let around = apdu.len() - GET_CLOCK.len() - TRANSACTION.len();
                    let bound = HEADER_OVERHEAD_MAX + key.info_len(suite) + 4 + 5 + 12;
                    assert!(around <= bound, "{key:?}: {around} of {bound}");
                    // Nobody can send it back, or on to somebody else.
                    assert!(matches!(
                        opened(&from, &apdu),
                        Err(SecurityError::Originator { .. })
                    ));
                    let elsewhere = KeyRing {
                        title: SystemTitle([9; 8]),
                        ..to
                    };
                    assert!(matches!(
                        opened(&elsewhere, &apdu),
                        Err(SecurityError::Recipient { .. })
                    ));
                    let mut moved = apdu.clone();
                    moved[3] ^= 1;
                    assert!(opened(&to, &moved).is_err(), "another transaction, {key:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_there_is_named() {
        let both = Both::new(SecuritySuite::Suite1);
        let none = OwnKeys::default();
        let ring = both.client();
        let cases = [
            (
                KeyRing {
                    master: None,
                    ..ring
                },
                GeneralKey::Wrapped,
                "master",
            ),
            (
                KeyRing { own: &none, ..ring },
                GeneralKey::OnePass,
                "own signing",
            ),
            (
                KeyRing { own: &none, ..ring },
                GeneralKey::Static,
                "own key agreement",
            ),
            (
                KeyRing {
                    peer_agreement: None,
                    ..ring
                },
                GeneralKey::OnePass,
                "peer's key agreement",
            ),
            (
                KeyRing {
                    peer_agreement: None,
                    ..ring
                },
                GeneralKey::Static,
                "peer's key agreement",
            ),
        ];
        for (ring, key, named) in cases {
            let error = sealed(&ring, key).unwrap_err();
            assert!(matches!(error, SecurityError::MissingKey { .. }), "{error}");
            assert!(error.to_string().contains(named), "{error}");
        }
        let to = both.server();
        let receiving = [
            (KeyRing { master: None, ..to }, GeneralKey::Wrapped),
            (KeyRing { own: &none, ..to }, GeneralKey::OnePass),
            (
                KeyRing {
                    peer_signing: None,
                    ..to
                },
                GeneralKey::OnePass,
            ),
            (
                KeyRing {
                    peer_agreement: None,
                    ..to
                },
                GeneralKey::Static,
            ),
        ];
        for (ring, key) in receiving {
            let apdu = sealed(&both.client(), key).unwrap();
            let error = opened(&ring, &apdu).unwrap_err();
            assert!(matches!(error, SecurityError::MissingKey { .. }), "{error}");
        }
    }

    #[test]
    fn foreign_keys_make_no_key() {
        let both = Both::new(SecuritySuite::Suite1);
        let curve = Curve::P256;
        let stranger = responder(curve).public_key();
        let to = both.server();
        let one_pass = sealed(&both.client(), GeneralKey::OnePass).unwrap();
        let bad = Err(SecurityError::BadSignature { curve });
        let other = KeyRing {
            peer_signing: Some(&stranger),
            ..to
        };
        assert_eq!(opened(&other, &one_pass), bad, "another certificate");
        let mut foreign = one_pass;
        let info = HEADER_OVERHEAD_MAX + TRANSACTION.len();
        foreign[info + 10] ^= 1;
        assert_eq!(opened(&to, &foreign), bad, "another ephemeral key");
        let fixed = sealed(&both.client(), GeneralKey::Static).unwrap();
        let other = KeyRing {
            peer_agreement: Some(&stranger),
            ..to
        };
        assert!(matches!(
            opened(&other, &fixed),
            Err(SecurityError::BadTag { .. })
        ));
        let wrapped = sealed(&both.client(), GeneralKey::Wrapped).unwrap();
        let master = KeyEncryptionKey::new([9; 16]);
        let other = KeyRing {
            master: Some(&master),
            ..to
        };
        assert_eq!(opened(&other, &wrapped), Err(SecurityError::Unwrap));
    }

    #[test]
    fn signatures_are_of_the_peer_and_for_us() {
        let both = Both::new(SecuritySuite::Suite1);
        let mut out = Vec::new();
        both.client()
            .sign(&TRANSACTION, GET_CLOCK, &mut out)
            .unwrap();
        assert!(out.len() <= GET_CLOCK.len() + TRANSACTION.len() + SIGNING_OVERHEAD_MAX);
        let apdu = GeneralSigning::decode(&out).unwrap();
        assert_eq!(both.server().verify(&apdu), Ok(GET_CLOCK));
        assert!(matches!(
            both.client().verify(&apdu),
            Err(SecurityError::Originator { .. })
        ));
        let stranger = responder(Curve::P256).public_key();
        let other = KeyRing {
            peer_signing: Some(&stranger),
            ..both.server()
        };
        let bad = SecurityError::BadSignature { curve: Curve::P256 };
        assert_eq!(other.verify(&apdu), Err(bad));
        let none = OwnKeys::default();
        let silent = KeyRing {
            own: &none,
            ..both.server()
        };
        assert!(matches!(
            silent.sign(&TRANSACTION, GET_CLOCK, &mut out),
            Err(SecurityError::MissingKey { .. })
        ));
    }
}
