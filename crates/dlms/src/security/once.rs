//! Opening one APDU under keys that are not expanded yet.

use super::apdu::{CipheredApdu, CipheredForm};
use super::context::open_with;
use super::control::Policy;
use super::engine::Aes128Once;
use super::error::SecurityError;
use super::suite::SecuritySuite;

/// The raw 16-byte keys of one meter, where its owner keeps them.
#[derive(Clone, Copy)]
pub struct RawKeys<'a> {
    /// The global unicast encryption key (GUEK).
    pub encryption: &'a [u8; 16],
    /// The authentication key (GAK).
    pub authentication: &'a [u8; 16],
}

impl RawKeys<'_> {
    /// Verifies one general-glo-ciphering APDU of suite 0 under the unicast key and puts its
    /// plaintext into `plain`, whose former content is lost. It finds what
    /// [`CipherContext::open`](super::CipherContext::open) finds. The key is expanded for this one
    /// APDU, on the stack, once everything that costs less has been checked, and wiped: for
    /// whoever hears a million meters seldom, and keeps no expanded key of any.
    ///
    /// # Errors
    ///
    /// As [`CipherContext::open`](super::CipherContext::open). In every such case `plain` is empty.
    pub fn open<'p>(
        &self,
        apdu: &CipheredApdu<'_>,
        policy: Policy,
        plain: &'p mut Vec<u8>,
    ) -> Result<&'p [u8], SecurityError> {
        plain.clear();
        let control = apdu.control;
        if control.suite() != SecuritySuite::Suite0.code() {
            return Err(SecurityError::Suite {
                wanted: SecuritySuite::Suite0,
                got: control.suite(),
            });
        }
        if apdu.form != CipheredForm::GeneralGlobal && apdu.form != CipheredForm::ServiceGlobal {
            return Err(SecurityError::OtherKey {
                wanted: super::KeyUse::Unicast,
                got: apdu.key(),
            });
        }
        if control.uses_broadcast_key() {
            return Err(SecurityError::BroadcastKey);
        }
        if control.is_compressed() {
            return Err(SecurityError::Compressed);
        }
        policy.check(control)?;
        let engine = Aes128Once::new(self.encryption);
        open_with(&engine, self.authentication, apdu, plain)
    }
}

impl core::fmt::Debug for RawKeys<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("RawKeys(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::{CipherContext, Keys, SecurityControl};
    use gridloom_core::SystemTitle;

    const EK: [u8; 16] = *b"a unicast key 01";
    const AK: [u8; 16] = *b"an authent key 1";
    const TITLE: SystemTitle = SystemTitle(*b"GLM00001");

    #[test]
    fn it_finds_what_a_context_finds() {
        let context = CipherContext::new(&Keys::new(EK, AK));
        let raw = RawKeys {
            encryption: &EK,
            authentication: &AK,
        };
        let mut frames = Vec::new();
        for control in [
            SecurityControl::AUTHENTICATED_ENCRYPTED,
            SecurityControl::AUTHENTICATED,
            SecurityControl::ENCRYPTED,
        ] {
            for length in [0, 1, 15, 16, 17, 107, 300] {
                let mut frame = Vec::new();
                let protection = context.protection(control, TITLE, 77);
                context.protect(protection, &vec![0x5A; length], &mut frame);
                frames.push(frame);
            }
        }
        let honest = frames.len();
        for at in 0..honest {
            let whole = frames[at].clone();
            // Every byte after the title spoilt, the control byte in every way.
            for place in 10..whole.len() {
                let mut spoilt = whole.clone();
                spoilt[place] ^= 1;
                frames.push(spoilt);
            }
            let control_at = if whole[10] < 0x80 { 11 } else { 13 };
            for control in (0..=u8::MAX).filter(|control| *control != whole[control_at]) {
                let mut spoilt = whole.clone();
                spoilt[control_at] = control;
                frames.push(spoilt);
            }
            frames.push(whole[..whole.len() - 1].to_vec());
        }
        let (mut one, mut other) = (Vec::new(), vec![1, 2, 3]);
        let mut opened = 0;
        for (number, frame) in frames.iter().enumerate() {
            for policy in [Policy::AuthenticatedEncryption, Policy::Authentication] {
                let Ok(apdu) = CipheredApdu::decode(frame) else {
                    continue;
                };
                let expected = context.open(&apdu, policy, &mut one).map(<[u8]>::to_vec);
                let found = raw.open(&apdu, policy, &mut other).map(<[u8]>::to_vec);
                assert_eq!(found, expected, "{frame:02X?}");
                assert!(found.is_ok() || other.is_empty());
                opened += usize::from(found.is_ok());
                assert!(found.is_err() || number < honest, "nothing spoilt passes");
            }
        }
        assert_eq!(opened, 7 * 3, "full twice, the tag alone once");
        assert_eq!(format!("{raw:?}"), "RawKeys(redacted)");
    }
}
