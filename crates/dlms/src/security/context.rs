//! Sealing and opening under one meter's keys.

use core::fmt;

use gridloom_core::SystemTitle;
use gridloom_core::bytes::Truncated;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::apdu::{
    CipheredApdu, CipheredForm, GENERAL_DED, GENERAL_GLO, HEADER_LEN, KeyUse, is_service_ded,
    is_service_glo, service_ded, service_glo,
};
use super::control::{Policy, SecurityControl};
use super::engine::{Cipher, Engine, NONCE_LEN, TAG_LEN};
use super::error::SecurityError;
use super::keys::{Keys, SymmetricKey, same_length};
use super::suite::SecuritySuite;
use crate::axdr::Encoder;

/// Bytes of an HLS 5 answer: control byte, counter, tag.
pub const GMAC_LEN: usize = HEADER_LEN + TAG_LEN;

/// How an APDU is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protection {
    /// The sender's own title: half of the nonce.
    pub title: SystemTitle,
    /// A counter that this title never used under this key: the other half.
    pub counter: u32,
    /// Authenticated, encrypted or both; the suite; the broadcast key.
    pub control: SecurityControl,
}

impl Protection {
    /// Authenticated encryption under suite 0; under another suite ask
    /// [`CipherContext::full_protection`].
    pub const fn full(title: SystemTitle, counter: u32) -> Self {
        Self {
            title,
            counter,
            control: SecurityControl::AUTHENTICATED_ENCRYPTED,
        }
    }

    fn nonce(&self) -> [u8; NONCE_LEN] {
        let mut nonce = [0; NONCE_LEN];
        nonce[..8].copy_from_slice(&self.title.0);
        nonce[8..].copy_from_slice(&self.counter.to_be_bytes());
        nonce
    }
}

/// One meter's keys, expanded once.
///
/// A context seals and opens under one encryption key: the global unicast key, with the global
/// broadcast key beside it; the dedicated key of an association; or a key that general-ciphering
/// brings along. Which one it is decides which forms it makes and accepts.
///
/// The key schedule is wiped when dropped, and nothing of it is printed.
#[derive(Clone)]
pub struct CipherContext {
    engine: Engine,
    authentication: SymmetricKey,
    broadcast: Option<Box<Engine>>,
    suite: SecuritySuite,
    key: KeyUse,
}

impl CipherContext {
    /// Expands the global keys: 16-byte keys for suite 0, 32-byte keys for suite 2.
    pub fn new(keys: &Keys) -> Self {
        let suite = if keys.key_len() == SecuritySuite::Suite2.key_len() {
            SecuritySuite::Suite2
        } else {
            SecuritySuite::Suite0
        };
        Self::expand(keys, suite)
    }

    /// Expands the global keys for a suite.
    ///
    /// # Errors
    ///
    /// [`SecurityError::SuiteKeyLength`] if the suite has keys of another length.
    pub fn with_suite(keys: &Keys, suite: SecuritySuite) -> Result<Self, SecurityError> {
        if keys.key_len() != suite.key_len() {
            return Err(SecurityError::SuiteKeyLength {
                suite,
                bytes: keys.key_len(),
            });
        }
        Ok(Self::expand(keys, suite))
    }

    /// The caller has matched keys and suite.
    fn expand(keys: &Keys, suite: SecuritySuite) -> Self {
        Self {
            engine: Engine::new(keys.encryption()),
            authentication: keys.authentication().clone(),
            broadcast: keys.broadcast().map(|key| Box::new(Engine::new(key))),
            suite,
            key: KeyUse::Unicast,
        }
    }

    /// The context of an association with a dedicated key; the authentication key stays.
    ///
    /// # Errors
    ///
    /// [`SecurityError::KeyLengths`] if the key has another length than the others.
    pub fn dedicated(&self, key: &SymmetricKey) -> Result<Self, SecurityError> {
        self.with_key(key, KeyUse::Dedicated)
    }

    /// The context of one general-ciphering APDU with a wrapped or agreed key; the
    /// authentication key stays.
    ///
    /// # Errors
    ///
    /// [`SecurityError::KeyLengths`] if the key has another length than the others.
    pub fn one_time(&self, key: &SymmetricKey) -> Result<Self, SecurityError> {
        self.with_key(key, KeyUse::OneTime)
    }

    fn with_key(&self, key: &SymmetricKey, key_use: KeyUse) -> Result<Self, SecurityError> {
        same_length(&self.authentication, key)?;
        Ok(Self {
            engine: Engine::new(key),
            authentication: self.authentication.clone(),
            broadcast: None,
            suite: self.suite,
            key: key_use,
        })
    }

    /// The suite that every APDU under these keys names.
    pub const fn suite(&self) -> SecuritySuite {
        self.suite
    }

    /// Which key the context is about.
    pub const fn key(&self) -> KeyUse {
        self.key
    }

    /// Whether APDUs under the broadcast key can be opened and made.
    pub const fn has_broadcast_key(&self) -> bool {
        self.broadcast.is_some()
    }

    /// Authenticated encryption under the suite of these keys.
    pub const fn full_protection(&self, title: SystemTitle, counter: u32) -> Protection {
        self.protection(SecurityControl::AUTHENTICATED_ENCRYPTED, title, counter)
    }

    /// The protection of `control`, moved to the suite of these keys.
    pub const fn protection(
        &self,
        control: SecurityControl,
        title: SystemTitle,
        counter: u32,
    ) -> Protection {
        Protection {
            title,
            counter,
            control: control.with_suite(self.suite),
        }
    }

    /// Appends `plain` as a general-glo-ciphering APDU to `out`; as general-ded-ciphering if the
    /// context is that of a dedicated key.
    ///
    /// # Panics
    ///
    /// If the protection asks for what cannot be done here: neither authentication nor
    /// encryption, another suite, a broadcast key that is not there, compression; and if the
    /// context is that of a one-time key.
    pub fn protect(&self, protection: Protection, plain: &[u8], out: &mut Vec<u8>) {
        let tag = match self.key {
            KeyUse::Unicast | KeyUse::Broadcast => GENERAL_GLO,
            KeyUse::Dedicated => GENERAL_DED,
            KeyUse::OneTime => panic!("a one-time key is told by general-ciphering alone"),
        };
        out.push(tag);
        Encoder::new(out).octets(&protection.title.0);
        let engine = self.engine_for(protection.control);
        self.seal(engine, protection, &[], plain, out);
    }

    /// Appends `plain` as the service-specific ciphered APDU `tag` to `out`.
    ///
    /// # Panics
    ///
    /// As [`Self::protect`], and if `tag` is no service-specific one under the context's key.
    pub fn protect_service(
        &self,
        tag: u8,
        protection: Protection,
        plain: &[u8],
        out: &mut Vec<u8>,
    ) {
        let is_ours = match self.key {
            KeyUse::Unicast | KeyUse::Broadcast => is_service_glo(tag),
            KeyUse::Dedicated => is_service_ded(tag),
            KeyUse::OneTime => false,
        };
        assert!(is_ours, "{tag:#04X} is no ciphered service of this key");
        out.push(tag);
        let engine = self.engine_for(protection.control);
        self.seal(engine, protection, &[], plain, out);
    }

    /// Appends `plain` in the form in which the peer asked, as far as the service has it: a
    /// service without a ciphered tag of its own goes in the general form of the same key.
    ///
    /// # Panics
    ///
    /// As [`Self::protect`]; if the form's key is not the context's, if it is
    /// [`CipheredForm::General`], and if `plain` is empty.
    pub fn protect_as(
        &self,
        form: CipheredForm,
        protection: Protection,
        plain: &[u8],
        out: &mut Vec<u8>,
    ) {
        assert_eq!(
            form.is_dedicated(),
            self.key == KeyUse::Dedicated,
            "{form:?} is no form of the {:?} key",
            self.key
        );
        let service = match form {
            CipheredForm::ServiceGlobal => service_glo(plain[0]),
            CipheredForm::ServiceDedicated => service_ded(plain[0]),
            CipheredForm::GeneralGlobal | CipheredForm::GeneralDedicated => None,
            CipheredForm::General => panic!("general-ciphering needs its header"),
        };
        match service {
            Some(tag) => self.protect_service(tag, protection, plain, out),
            None => self.protect(protection, plain, out),
        }
    }

    /// Appends the sealed `plain` with its length, the control byte and the counter to `out`;
    /// the tag covers `covered` too. `key` names the global key, as general-ciphering does.
    pub(super) fn protect_content(
        &self,
        key: KeyUse,
        protection: Protection,
        covered: &[u8],
        plain: &[u8],
        out: &mut Vec<u8>,
    ) {
        let engine = match self.engine(key) {
            Ok(engine) => engine,
            Err(error) => panic!("we chose the key: {error}"),
        };
        assert!(
            !protection.control.uses_broadcast_key(),
            "general-ciphering names its key in key-info"
        );
        self.seal(engine, protection, covered, plain, out);
    }

    fn engine_for(&self, control: SecurityControl) -> &Engine {
        if control.uses_broadcast_key() {
            self.broadcast
                .as_deref()
                .expect("the sender knows whether it has a broadcast key")
        } else {
            &self.engine
        }
    }

    /// The cipher of a key that a peer names.
    fn engine(&self, key: KeyUse) -> Result<&Engine, SecurityError> {
        if key == self.key {
            Ok(&self.engine)
        } else if key == KeyUse::Broadcast && self.key == KeyUse::Unicast {
            self.broadcast.as_deref().ok_or(SecurityError::BroadcastKey)
        } else {
            Err(SecurityError::OtherKey {
                wanted: self.key,
                got: key,
            })
        }
    }

    fn seal(
        &self,
        engine: &Engine,
        protection: Protection,
        covered: &[u8],
        plain: &[u8],
        out: &mut Vec<u8>,
    ) {
        let control = protection.control;
        assert!(
            control.suite() == self.suite.code()
                && !control.is_compressed()
                && (control.is_authenticated() || control.is_encrypted()),
            "security control {control} is not one of suite {}'s",
            self.suite
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
        if !control.is_authenticated() {
            // Counter mode is GCM without its tag.
            let _ = engine.encrypt(&nonce, &[], payload);
            return;
        }
        let tag = if control.is_encrypted() {
            with_associated(
                self.authentication.as_bytes(),
                control,
                [covered, &[]],
                |associated| engine.encrypt(&nonce, associated, payload),
            )
        } else {
            self.gmac_tag(engine, protection, [covered, plain])
        };
        out.extend_from_slice(&tag);
    }

    /// Verifies a ciphered APDU and puts its plaintext into `plain`, whose former content is lost.
    ///
    /// # Errors
    ///
    /// Less protection than `policy` demands, another suite or key, an unsupported option, or a
    /// bad tag. In every such case `plain` is empty.
    pub fn open<'p>(
        &self,
        apdu: &CipheredApdu<'_>,
        policy: Policy,
        plain: &'p mut Vec<u8>,
    ) -> Result<&'p [u8], SecurityError> {
        plain.clear();
        let engine = self.check_control(apdu)?;
        policy.check(apdu.control)?;
        open_with(engine, self.authentication.as_bytes(), apdu, plain)
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
        let engine = self.check_control(apdu)?;
        if apdu.control.is_authenticated() || !apdu.control.is_encrypted() {
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
        let _ = engine.encrypt(&protection.nonce(), &[], plain);
        Ok(plain)
    }

    /// The HLS 5 answer to a peer's challenge: f(challenge) under our title and counter.
    ///
    /// # Panics
    ///
    /// If the context is not that of the global unicast key, which alone proves who we are.
    pub fn answer_challenge(
        &self,
        title: SystemTitle,
        counter: u32,
        challenge: &[u8],
    ) -> [u8; GMAC_LEN] {
        assert_eq!(self.key, KeyUse::Unicast, "HLS 5 proves the global key");
        let protection = self.protection(SecurityControl::AUTHENTICATED, title, counter);
        let tag = self.gmac_tag(&self.engine, protection, [&[], challenge]);
        let mut answer = [0; GMAC_LEN];
        answer[0] = protection.control.0;
        answer[1..HEADER_LEN].copy_from_slice(&counter.to_be_bytes());
        answer[HEADER_LEN..].copy_from_slice(&tag);
        answer
    }

    /// Verifies a peer's answer to our challenge and returns the counter it used, which the
    /// caller checks and commits like any other.
    ///
    /// # Errors
    ///
    /// An answer of another length, suite or protection, or a bad tag.
    ///
    /// # Panics
    ///
    /// As [`Self::answer_challenge`].
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
        self.check_suite(control)?;
        if control != SecurityControl::AUTHENTICATED.with_suite(self.suite) {
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

    fn check_suite(&self, control: SecurityControl) -> Result<(), SecurityError> {
        if control.suite() == self.suite.code() {
            Ok(())
        } else {
            Err(SecurityError::Suite {
                wanted: self.suite,
                got: control.suite(),
            })
        }
    }

    /// Checks what the control byte asks for, and finds the cipher of the key it names.
    fn check_control(&self, apdu: &CipheredApdu<'_>) -> Result<&Engine, SecurityError> {
        let control = apdu.control;
        self.check_suite(control)?;
        let names_its_key = match apdu.form {
            CipheredForm::ServiceGlobal | CipheredForm::GeneralGlobal => false,
            CipheredForm::ServiceDedicated
            | CipheredForm::GeneralDedicated
            | CipheredForm::General => true,
        };
        if names_its_key && control.uses_broadcast_key() {
            return Err(SecurityError::BroadcastBit { control });
        }
        let engine = self.engine(apdu.key())?;
        if control.is_compressed() {
            return Err(SecurityError::Compressed);
        }
        Ok(engine)
    }

    fn gmac_tag(&self, engine: &Engine, protection: Protection, data: [&[u8]; 2]) -> [u8; TAG_LEN] {
        gmac_tag(engine, self.authentication.as_bytes(), protection, data)
    }
}

/// Verifies an APDU whose control byte is accepted, and puts its plaintext into `plain`, which is
/// empty.
pub(super) fn open_with<'p>(
    engine: &impl Cipher,
    authentication: &[u8],
    apdu: &CipheredApdu<'_>,
    plain: &'p mut Vec<u8>,
) -> Result<&'p [u8], SecurityError> {
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
        let data = [apdu.covered, payload];
        let expected = gmac_tag(engine, authentication, protection, data);
        if !bool::from(expected.ct_eq(tag)) {
            return Err(bad_tag);
        }
        plain.extend_from_slice(payload);
        return Ok(plain);
    }
    plain.extend_from_slice(payload);
    let data = [apdu.covered, &[]];
    let verified = with_associated(authentication, apdu.control, data, |associated| {
        engine.decrypt(&protection.nonce(), associated, plain, tag)
    });
    if !verified {
        plain.clear();
        return Err(bad_tag);
    }
    Ok(plain)
}

/// The tag over data that stays plain: all of it is associated data.
fn gmac_tag(
    engine: &impl Cipher,
    authentication: &[u8],
    protection: Protection,
    data: [&[u8]; 2],
) -> [u8; TAG_LEN] {
    with_associated(authentication, protection.control, data, |associated| {
        engine.encrypt(&protection.nonce(), associated, &mut [])
    })
}

/// Lets `with` see security control, authentication key, and what else the tag covers; wipes it
/// afterwards.
fn with_associated<R>(
    key: &[u8],
    control: SecurityControl,
    data: [&[u8]; 2],
    with: impl FnOnce(&[u8]) -> R,
) -> R {
    if data.iter().all(|part| part.is_empty()) {
        // Nearly every APDU: no allocation.
        let mut associated = Zeroizing::new([0; 1 + 32]);
        associated[0] = control.0;
        associated[1..=key.len()].copy_from_slice(key);
        return with(&associated[..=key.len()]);
    }
    let len = 1 + key.len() + data[0].len() + data[1].len();
    let mut associated = Zeroizing::new(Vec::with_capacity(len));
    associated.push(control.0);
    associated.extend_from_slice(key);
    associated.extend_from_slice(data[0]);
    associated.extend_from_slice(data[1]);
    with(&associated)
}

impl fmt::Debug for CipherContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CipherContext(redacted)")
    }
}

#[cfg(test)]
mod tests;
