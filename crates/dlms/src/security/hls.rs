//! High level security: the four passes in which both sides prove that they hold a secret or a
//! key (IEC 62056-5-3, 9.2.2.2.2.4 and 9.2.7.4).
//!
//! Mechanism 5 (GMAC) is [`CipherContext::answer_challenge`] and
//! [`CipherContext::verify_answer`]; mechanisms 6 and 7 are here. Mechanisms 3 (MD5) and 4
//! (SHA-1) are refused by name: their hashes are broken.
//!
//! [`CipherContext::answer_challenge`]: super::CipherContext::answer_challenge
//! [`CipherContext::verify_answer`]: super::CipherContext::verify_answer

use gridloom_core::SystemTitle;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::curve::{PrivateKey, PublicKey};
use super::error::SecurityError;

/// Bytes of the shortest challenge. The standard allows 8, which can still be guessed by nobody.
pub const CHALLENGE_LEN_MIN: usize = 8;

/// Bytes of the shortest challenge under mechanism 7.
pub const CHALLENGE_LEN_MIN_ECDSA: usize = 32;

/// Bytes of the longest challenge; longer ones are refused.
pub const CHALLENGE_LEN_MAX: usize = 64;

/// Bytes of a mechanism 6 answer.
pub const SHA256_LEN: usize = 32;

/// An HLS mechanism that is spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HlsMechanism {
    /// Mechanism 5: GMAC with the global keys.
    Gmac,
    /// Mechanism 6: SHA-256 over a shared secret.
    Sha256,
    /// Mechanism 7: signatures with each side's own key.
    Ecdsa,
}

impl HlsMechanism {
    /// Reads a mechanism's number, the last arc of its name.
    ///
    /// # Errors
    ///
    /// [`SecurityError::BrokenMechanism`] for 3 and 4, [`SecurityError::NoHlsMechanism`] for
    /// 0 (none), 1 (password), 2 (the manufacturer's own) and what is not assigned.
    pub const fn from_id(mechanism: u8) -> Result<Self, SecurityError> {
        match mechanism {
            3 => Err(SecurityError::BrokenMechanism {
                mechanism,
                name: "MD5",
            }),
            4 => Err(SecurityError::BrokenMechanism {
                mechanism,
                name: "SHA-1",
            }),
            5 => Ok(Self::Gmac),
            6 => Ok(Self::Sha256),
            7 => Ok(Self::Ecdsa),
            _ => Err(SecurityError::NoHlsMechanism { mechanism }),
        }
    }

    /// The mechanism's number.
    pub const fn id(self) -> u8 {
        match self {
            Self::Gmac => 5,
            Self::Sha256 => 6,
            Self::Ecdsa => 7,
        }
    }

    /// Bytes of the shortest challenge that the mechanism accepts.
    pub const fn challenge_len_min(self) -> usize {
        match self {
            Self::Gmac | Self::Sha256 => CHALLENGE_LEN_MIN,
            Self::Ecdsa => CHALLENGE_LEN_MIN_ECDSA,
        }
    }
}

/// Who proves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HlsSide {
    /// The client answers StoC: pass 3.
    Client,
    /// The server answers CtoS: pass 4.
    Server,
}

/// What both sides know after passes 1 and 2, and what passes 3 and 4 are computed from.
///
/// The order is: both titles, the prover's first, then both challenges, the one being answered
/// first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HlsExchange<'a> {
    client: SystemTitle,
    server: SystemTitle,
    /// CtoS.
    from_client: &'a [u8],
    /// StoC.
    from_server: &'a [u8],
}

impl<'a> HlsExchange<'a> {
    /// The exchange of the challenges CtoS (`from_client`, pass 1) and StoC (`from_server`,
    /// pass 2) under a mechanism.
    ///
    /// # Errors
    ///
    /// [`SecurityError::ChallengeLength`], or [`SecurityError::ReflectedChallenge`] if they are
    /// the same.
    pub fn new(
        mechanism: HlsMechanism,
        client: SystemTitle,
        server: SystemTitle,
        from_client: &'a [u8],
        from_server: &'a [u8],
    ) -> Result<Self, SecurityError> {
        let min = mechanism.challenge_len_min();
        for challenge in [from_client, from_server] {
            if !(min..=CHALLENGE_LEN_MAX).contains(&challenge.len()) {
                return Err(SecurityError::ChallengeLength {
                    bytes: challenge.len(),
                    min,
                    max: CHALLENGE_LEN_MAX,
                });
            }
        }
        if from_client == from_server {
            return Err(SecurityError::ReflectedChallenge);
        }
        Ok(Self {
            client,
            server,
            from_client,
            from_server,
        })
    }

    /// The challenge that `side` answers.
    pub const fn challenge_to(&self, side: HlsSide) -> &'a [u8] {
        match side {
            HlsSide::Client => self.from_server,
            HlsSide::Server => self.from_client,
        }
    }

    /// The mechanism 6 answer of `side`: SHA-256 over the secret and the exchange.
    pub fn answer_sha256(&self, side: HlsSide, secret: &[u8]) -> [u8; SHA256_LEN] {
        let mut message = Zeroizing::new(Vec::with_capacity(secret.len() + self.len()));
        message.extend_from_slice(secret);
        self.append(side, &mut message);
        Sha256::digest(&**message).into()
    }

    /// Verifies the mechanism 6 answer of `side`, in constant time.
    ///
    /// # Errors
    ///
    /// [`SecurityError::FieldLength`] or [`SecurityError::BadAnswer`].
    pub fn verify_sha256(
        &self,
        side: HlsSide,
        secret: &[u8],
        answer: &[u8],
    ) -> Result<(), SecurityError> {
        super::curve::check_length("HLS answer", answer, SHA256_LEN)?;
        if self.answer_sha256(side, secret).ct_eq(answer).into() {
            Ok(())
        } else {
            Err(SecurityError::BadAnswer)
        }
    }

    /// The mechanism 7 answer of `side`: its signature over the exchange.
    pub fn answer_ecdsa(&self, side: HlsSide, key: &PrivateKey) -> Vec<u8> {
        key.sign(&self.signed(side))
    }

    /// Verifies the mechanism 7 answer of `side`.
    ///
    /// # Errors
    ///
    /// [`SecurityError::FieldLength`] or [`SecurityError::BadSignature`].
    pub fn verify_ecdsa(
        &self,
        side: HlsSide,
        key: &PublicKey,
        answer: &[u8],
    ) -> Result<(), SecurityError> {
        key.verify(&self.signed(side), answer)
    }

    fn signed(&self, side: HlsSide) -> Vec<u8> {
        let mut message = Vec::with_capacity(self.len());
        self.append(side, &mut message);
        message
    }

    const fn len(&self) -> usize {
        16 + self.from_client.len() + self.from_server.len()
    }

    fn append(&self, side: HlsSide, out: &mut Vec<u8>) {
        let (prover, verifier, question, own) = match side {
            HlsSide::Client => (self.client, self.server, self.from_server, self.from_client),
            HlsSide::Server => (self.server, self.client, self.from_client, self.from_server),
        };
        out.extend_from_slice(&prover.0);
        out.extend_from_slice(&verifier.0);
        out.extend_from_slice(question);
        out.extend_from_slice(own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;
    use crate::security::suite::Curve;
    use crate::security::vectors::{CLIENT, CURVES, SERVER, responder, signer};

    const SECRET: &[u8] = b"secret of sixty";
    const SIDES: [HlsSide; 2] = [HlsSide::Client, HlsSide::Server];

    fn challenges() -> ([u8; 32], [u8; 32]) {
        let from = |first: u8| core::array::from_fn(|at| first + u8::try_from(at).unwrap());
        (from(0), from(64))
    }

    /// Computed with OpenSSL, through Python's `hashlib`.
    #[test]
    fn mechanism_6_vectors() {
        let (from_client, from_server) = challenges();
        let exchange = HlsExchange::new(
            HlsMechanism::Sha256,
            CLIENT,
            SERVER,
            &from_client,
            &from_server,
        )
        .unwrap();
        let answers = [
            "3C8086C6EA80F47B034EB77AA3D5FD70CEA9D661528993A306F17EB272774114",
            "B8275149A5826C93F3CA9A23EFFB34979C89F1B4CE01A8811B7BCAC89020B07E",
        ];
        for (side, answer) in SIDES.into_iter().zip(answers) {
            let answer = hex::bytes(answer);
            assert_eq!(exchange.answer_sha256(side, SECRET)[..], answer, "{side:?}");
            assert_eq!(exchange.verify_sha256(side, SECRET, &answer), Ok(()));
            let bad = Err(SecurityError::BadAnswer);
            assert_eq!(exchange.verify_sha256(side, b"another", &answer), bad);
            let other = SIDES.into_iter().find(|other| *other != side).unwrap();
            assert_eq!(exchange.verify_sha256(other, SECRET, &answer), bad);
            let mut changed = answer.clone();
            changed[31] ^= 1;
            assert_eq!(exchange.verify_sha256(side, SECRET, &changed), bad);
            assert!(matches!(
                exchange.verify_sha256(side, SECRET, &answer[..31]),
                Err(SecurityError::FieldLength { bytes: 31, .. })
            ));
        }
        assert_eq!(exchange.challenge_to(HlsSide::Client), from_server);
        assert_eq!(exchange.challenge_to(HlsSide::Server), from_client);
    }

    /// Computed with OpenSSL (deterministic signatures), through Python's `cryptography`.
    #[test]
    fn mechanism_7_vectors() {
        let (from_client, from_server) = challenges();
        let exchange = HlsExchange::new(
            HlsMechanism::Ecdsa,
            CLIENT,
            SERVER,
            &from_client,
            &from_server,
        )
        .unwrap();
        let vectors = [
            (
                HlsSide::Client,
                [
                    "96D268FDE4938E18A9BF918D55E545E7B274502EE2EE0C7AA7EA6A363991A413B94C097C\
                 8583444D96734E048E855C21F1CA80E648B5B5D1677F40228C9C9722",
                    "E4AB46491B8FAEA5523DF984EE69DDEBE0A0622944900768504065A4613DE6197410CF2D\
                 856093BADD05F72B0F44F9E6C3A44DFA9827DF3C4A63B594DB97544EF0F5A39D71DB4AEC\
                 87792C68933070B9CB141CF619C36108A781E75108501C8B",
                ],
            ),
            (
                HlsSide::Server,
                [
                    "CFFC4F987D889BC29CCDB1EBC0947B3247C37E6BC7C96FAF08BC7F7CE4E3301AABAFE5F3\
                 93E9AEA2EB8193D91258416C068CE4676F41F27512272267343596F2",
                    "C040FEEF8A033C96AC049B3AEA2FB56FA2964F88D2AB28963570E3C9502CE5D0457B1FA7\
                 3E943F1DB6694A95520740BF29F30E6ACB246B21DABA18DC95F2FA3A63732C68C4D25BAF\
                 7F5BF5B72DCBEEDC1E614A5B72FBEC3CC8FA467EDCAC749A",
                ],
            ),
        ];
        for (side, answers) in vectors {
            for (curve, answer) in CURVES.into_iter().zip(answers) {
                let answer = hex::bytes(answer);
                let key = signer(curve);
                assert_eq!(
                    exchange.answer_ecdsa(side, &key),
                    answer,
                    "{side:?} {curve}"
                );
                let verify = |side, key: &PublicKey| exchange.verify_ecdsa(side, key, &answer);
                assert_eq!(verify(side, &key.public_key()), Ok(()));
                let bad = Err(SecurityError::BadSignature { curve });
                assert_eq!(verify(side, &responder(curve).public_key()), bad);
                let other = SIDES.into_iter().find(|other| *other != side).unwrap();
                assert_eq!(verify(other, &key.public_key()), bad);
            }
        }
        assert!(
            exchange
                .verify_ecdsa(HlsSide::Client, &signer(Curve::P256).public_key(), &[])
                .is_err()
        );
    }

    #[test]
    fn weak_mechanisms_and_challenges_are_refused_by_name() {
        let cases = [
            (0, Err(SecurityError::NoHlsMechanism { mechanism: 0 })),
            (2, Err(SecurityError::NoHlsMechanism { mechanism: 2 })),
            (
                3,
                Err(SecurityError::BrokenMechanism {
                    mechanism: 3,
                    name: "MD5",
                }),
            ),
            (
                4,
                Err(SecurityError::BrokenMechanism {
                    mechanism: 4,
                    name: "SHA-1",
                }),
            ),
            (5, Ok(HlsMechanism::Gmac)),
            (6, Ok(HlsMechanism::Sha256)),
            (7, Ok(HlsMechanism::Ecdsa)),
            (8, Err(SecurityError::NoHlsMechanism { mechanism: 8 })),
        ];
        for (id, expected) in cases {
            assert_eq!(HlsMechanism::from_id(id), expected, "{id}");
            if let Ok(mechanism) = expected {
                assert_eq!(mechanism.id(), id);
            }
        }
        let (gmac, ecdsa) = (HlsMechanism::Gmac, HlsMechanism::Ecdsa);
        let (one, other) = ([1; 65], [2; 65]);
        let lengths = [
            (gmac, 7, 8, false),
            (gmac, 8, 7, false),
            (gmac, 8, 8, true),
            (gmac, 64, 64, true),
            (gmac, 65, 64, false),
            (ecdsa, 31, 32, false),
            (ecdsa, 32, 32, true),
        ];
        for (mechanism, client, server, accepted) in lengths {
            let (from_client, from_server) = (&one[..client], &other[..server]);
            let made = HlsExchange::new(mechanism, CLIENT, SERVER, from_client, from_server);
            assert_eq!(made.is_ok(), accepted, "{mechanism:?} {client} {server}");
        }
        assert_eq!(
            HlsExchange::new(gmac, CLIENT, SERVER, &one[..16], &one[..16]),
            Err(SecurityError::ReflectedChallenge)
        );
    }
}
