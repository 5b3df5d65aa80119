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
