//! Sealing and opening under one meter's keys.

use core::fmt;

use aes_gcm::aead::consts::U12;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aes::Aes128Enc;
use aes_gcm::{AeadInOut, AesGcm, KeyInit, Nonce, Tag};
use gridloom_core::SystemTitle;
use gridloom_core::bytes::Truncated;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::apdu::{CipheredApdu, GENERAL_GLO, HEADER_LEN, is_service_glo};
use super::control::{Policy, SecurityControl};
use super::error::SecurityError;
use super::keys::Keys;
use crate::axdr::Encoder;

/// Bytes of an authentication tag.
pub const TAG_LEN: usize = 12;

/// Bytes of an HLS 5 answer: control byte, counter, tag.
pub const GMAC_LEN: usize = HEADER_LEN + TAG_LEN;

type Cipher = AesGcm<Aes128Enc, U12, U12>;

/// How an APDU is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protection {
    /// The sender's own title: half of the nonce.
    pub title: SystemTitle,
    /// A counter that this title never used under this key: the other half.
    pub counter: u32,
    /// Authenticated, encrypted or both.
    pub control: SecurityControl,
}

impl Protection {
    /// Authenticated encryption under suite 0.
    pub const fn full(title: SystemTitle, counter: u32) -> Self {
        Self {
            title,
            counter,
            control: SecurityControl::AUTHENTICATED_ENCRYPTED,
        }
    }

    fn nonce(&self) -> Nonce<U12> {
        let mut nonce = Nonce::<U12>::default();
        nonce[..8].copy_from_slice(&self.title.0);
        nonce[8..].copy_from_slice(&self.counter.to_be_bytes());
        nonce
    }
}

/// One meter's keys, expanded once.
///
/// The key schedule is wiped when dropped, and nothing of it is printed.
#[derive(Clone)]
pub struct CipherContext {
    cipher: Cipher,
    authentication: Zeroizing<[u8; 16]>,
}

impl CipherContext {
    /// Expands the keys.
    pub fn new(keys: &Keys) -> Self {
        Self {
            cipher: Cipher::new(keys.encryption().into()),
            authentication: Zeroizing::new(*keys.authentication()),
        }
    }

    /// Appends `plain` as a general-glo-ciphering APDU to `out`.
    ///
    /// # Panics
    ///
    /// If the protection asks for what suite 0 does not do here: neither authentication nor
    /// encryption, another suite, the broadcast key, compression.
    pub fn protect(&self, protection: Protection, plain: &[u8], out: &mut Vec<u8>) {
        out.push(GENERAL_GLO);
        Encoder::new(out).octets(&protection.title.0);
        self.seal(protection, plain, out);
    }

    /// Appends `plain` as the service-specific ciphered APDU `tag` to `out`.
    ///
    /// # Panics
    ///
    /// As [`Self::protect`], and if `tag` is no service-specific one.
    pub fn protect_service(
        &self,
        tag: u8,
        protection: Protection,
        plain: &[u8],
        out: &mut Vec<u8>,
    ) {
        assert!(is_service_glo(tag), "{tag:#04X} is no ciphered service");
        out.push(tag);
        self.seal(protection, plain, out);
    }

    fn seal(&self, protection: Protection, plain: &[u8], out: &mut Vec<u8>) {
        let control = protection.control;
        assert!(
            matches!(
                control,
                SecurityControl::AUTHENTICATED
                    | SecurityControl::ENCRYPTED
                    | SecurityControl::AUTHENTICATED_ENCRYPTED
            ),
            "security control {control} is not one of suite 0's"
        );
        let tag_len = if control.is_authenticated() {
            TAG_LEN
        } else {
            0
        };
        Encoder::new(out).length(HEADER_LEN + plain.len() + tag_len);
        out.push(control.0);
        out.extend(protection.counter.to_be_bytes());
        let start = out.len();
        out.extend_from_slice(plain);
        let payload = &mut out[start..];
        let nonce = protection.nonce();
        match control {
            SecurityControl::AUTHENTICATED => {
                let tag = self.gmac_tag(protection, plain);
                out.extend_from_slice(&tag);
            }
            SecurityControl::ENCRYPTED => {
                // Counter mode is GCM without its tag.
                let _ = self.encrypt(&nonce, &[], payload);
            }
            _ => {
                let tag = self.encrypt(&nonce, &*self.associated_data(control), payload);
                out.extend_from_slice(&tag);
            }
        }
    }

    /// Verifies a ciphered APDU and puts its plaintext into `plain`, whose former content is lost.
    ///
    /// # Errors
    ///
    /// Less protection than `policy` demands, an unsupported suite or option, or a bad tag. In
    /// every such case `plain` is empty.
    pub fn open<'p>(
        &self,
        apdu: &CipheredApdu<'_>,
        policy: Policy,
        plain: &'p mut Vec<u8>,
    ) -> Result<&'p [u8], SecurityError> {
        plain.clear();
        Self::check_control(apdu.control)?;
        if !policy.accepts(apdu.control) {
            return Err(SecurityError::Policy {
                got: apdu.control,
                wanted: policy,
            });
        }
        let Some((payload, tag)) = apdu.sealed.split_last_chunk::<TAG_LEN>() else {
            return Err(SecurityError::Truncated(Truncated {
                offset: 0,
                wanted: TAG_LEN,
                left: apdu.sealed.len(),
            }));
        };
        let protection = Protection {
            title: apdu.title,
            counter: apdu.counter,
            control: apdu.control,
        };
        let bad_tag = SecurityError::BadTag {
            title: apdu.title,
            counter: apdu.counter,
        };
        if !apdu.control.is_encrypted() {
            if !bool::from(self.gmac_tag(protection, payload).ct_eq(tag)) {
                return Err(bad_tag);
            }
            plain.extend_from_slice(payload);
            return Ok(plain);
        }
        plain.extend_from_slice(payload);
        let verified = self.cipher.decrypt_inout_detached(
            &protection.nonce(),
            &*self.associated_data(apdu.control),
            InOutBuf::from(plain.as_mut_slice()),
            &Tag::from(*tag),
        );
        if verified.is_err() {
            plain.clear();
            return Err(bad_tag);
        }
        Ok(plain)
    }

    /// Decrypts an APDU that carries no tag (security control 20) into `plain`.
    ///
    /// Anybody may have written or changed it. For looking at captures, never for believing:
    /// no [`Policy`] accepts such an APDU.
    ///
    /// # Errors
    ///
    /// Any other protection.
    pub fn decrypt_unverified<'p>(
        &self,
        apdu: &CipheredApdu<'_>,
        plain: &'p mut Vec<u8>,
    ) -> Result<&'p [u8], SecurityError> {
        plain.clear();
        Self::check_control(apdu.control)?;
        if apdu.control != SecurityControl::ENCRYPTED {
            return Err(SecurityError::Policy {
                got: apdu.control,
                wanted: Policy::AuthenticatedEncryption,
            });
        }
        plain.extend_from_slice(apdu.sealed);
        let protection = Protection {
            title: apdu.title,
            counter: apdu.counter,
            control: apdu.control,
        };
        // Counter mode decrypts as it encrypts; the tag over the result means nothing.
        let _ = self.encrypt(&protection.nonce(), &[], plain);
        Ok(plain)
    }

    /// The HLS 5 answer to a peer's challenge: f(challenge) under our title and counter.
    pub fn answer_challenge(
        &self,
        title: SystemTitle,
        counter: u32,
        challenge: &[u8],
    ) -> [u8; GMAC_LEN] {
        let control = SecurityControl::AUTHENTICATED;
        let tag = self.gmac_tag(
            Protection {
                title,
                counter,
                control,
            },
            challenge,
        );
        let mut answer = [0; GMAC_LEN];
        answer[0] = control.0;
        answer[1..HEADER_LEN].copy_from_slice(&counter.to_be_bytes());
        answer[HEADER_LEN..].copy_from_slice(&tag);
        answer
    }

    /// Verifies a peer's answer to our challenge and returns the counter it used, which the
    /// caller checks and commits like any other.
    ///
    /// # Errors
    ///
    /// An answer of another length or protection, or a bad tag.
    pub fn verify_answer(
        &self,
        title: SystemTitle,
        challenge: &[u8],
        answer: &[u8],
    ) -> Result<u32, SecurityError> {
        let Ok(answer) = <&[u8; GMAC_LEN]>::try_from(answer) else {
            return Err(SecurityError::GmacLength {
                bytes: answer.len(),
            });
        };
        let [control, c3, c2, c1, c0, ..] = *answer;
        let control = SecurityControl(control);
        if control != SecurityControl::AUTHENTICATED {
            return Err(SecurityError::Policy {
                got: control,
                wanted: Policy::Authentication,
            });
        }
        let counter = u32::from_be_bytes([c3, c2, c1, c0]);
        let expected = self.answer_challenge(title, counter, challenge);
        if bool::from(expected.ct_eq(answer)) {
            Ok(counter)
        } else {
            Err(SecurityError::BadTag { title, counter })
        }
    }

    fn check_control(control: SecurityControl) -> Result<(), SecurityError> {
        if control.suite() != 0 {
            return Err(SecurityError::Suite {
                suite: control.suite(),
            });
        }
        if control.uses_broadcast_key() {
            return Err(SecurityError::BroadcastKey);
        }
        if control.is_compressed() {
            return Err(SecurityError::Compressed);
        }
        Ok(())
    }

    /// The tag over data that stays plain: all of it is associated data.
    fn gmac_tag(&self, protection: Protection, data: &[u8]) -> [u8; TAG_LEN] {
        let mut associated = Vec::with_capacity(1 + 16 + data.len());
        associated.extend_from_slice(&*self.associated_data(protection.control));
        associated.extend_from_slice(data);
        let tag = self.encrypt(&protection.nonce(), &associated, &mut []);
        associated.zeroize();
        tag
    }

    /// Security control and authentication key.
    fn associated_data(&self, control: SecurityControl) -> Zeroizing<[u8; 17]> {
        let mut data = Zeroizing::new([0; 17]);
        data[0] = control.0;
        data[1..].copy_from_slice(&*self.authentication);
        data
    }

    fn encrypt(&self, nonce: &Nonce<U12>, associated: &[u8], buffer: &mut [u8]) -> [u8; TAG_LEN] {
        self.cipher
            .encrypt_inout_detached(nonce, associated, InOutBuf::from(buffer))
            .expect("an APDU is far below the 64 GiB that GCM can take")
            .into()
    }
}

impl fmt::Debug for CipherContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CipherContext(redacted)")
    }
}
