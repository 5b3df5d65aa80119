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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    const CONTROL_30: SecurityControl = SecurityControl::AUTHENTICATED_ENCRYPTED;
    const COUNTER: u32 = 0x0123_4567;
    const TITLE: SystemTitle = SystemTitle(*b"MMM\x00\x00\xBC\x61\x4E");
    const GET_CLOCK: &str = "C0010000080000010000FF0200";

    fn context() -> CipherContext {
        let key = |text: &str| <[u8; 16]>::try_from(hex::bytes(text)).unwrap();
        CipherContext::new(&Keys::new(
            key("000102030405060708090A0B0C0D0E0F"),
            key("D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF"),
        ))
    }

    fn protection(control: u8) -> Protection {
        Protection {
            title: TITLE,
            counter: COUNTER,
            control: SecurityControl(control),
        }
    }

    fn open(apdu: &CipheredApdu<'_>, policy: Policy) -> Result<Vec<u8>, SecurityError> {
        let mut plain = vec![0xEE; 3];
        let opened = context().open(apdu, policy, &mut plain).map(<[u8]>::to_vec);
        assert_eq!(opened.clone().unwrap_or_default(), plain, "empty on errors");
        opened
    }

    /// Green Book vectors (T40 and the initiate pair), recomputed with OpenSSL.
    #[test]
    fn service_specific_vectors() {
        let cases = [
            (
                GET_CLOCK,
                "C81E3001234567411312FF935A47566827C467BC7D825C3BE4A77C3FCC056B6B",
            ),
            (
                GET_CLOCK,
                "C81E1001234567C0010000080000010000FF020006725D910F9221D263877516",
            ),
            (GET_CLOCK, "C8122001234567411312FF935A47566827C467BC"),
            (
                "01011000112233445566778899AABBCCDDEEFF0000065F1F0400007E1F04B0",
                "21303001234567801302FF8A7874133D414CED25B42534D28DB0047720606B17\
                 5BD52211BE6841DB204D39EE6FDB8E356855",
            ),
            (
                "0800065F1F0400007C1F04000007",
                "281F3001234567891214A0845E475714383F65BC19745CA235906525E4F3E1C893",
            ),
        ];
        for (plain, sealed) in cases {
            let (plain, sealed) = (hex::bytes(plain), hex::bytes(sealed));
            let mut out = Vec::new();
            context().protect_service(sealed[0], protection(sealed[2]), &plain, &mut out);
            assert_eq!(out, sealed);
            let apdu = CipheredApdu::decode_service(&sealed, TITLE).unwrap();
            assert_eq!((apdu.tag, apdu.counter), (sealed[0], COUNTER));
            if apdu.control == SecurityControl::ENCRYPTED {
                let mut found = Vec::new();
                let found = context().decrypt_unverified(&apdu, &mut found);
                assert_eq!(found, Ok(&plain[..]));
            } else {
                assert_eq!(open(&apdu, Policy::Authentication), Ok(plain));
            }
        }
    }

    /// Green Book vector (T43), recomputed with OpenSSL.
    #[test]
    fn hls_5_vectors() {
        let client = SystemTitle(*b"MMM\x00\x00\x00\x00\x01");
        let cases = [
            (client, 1, "P6wRJ21F", "10000000011A52FE7DD3E72748973C1E28"),
            (
                TITLE,
                COUNTER,
                "K56iVagY",
                "1001234567FE1466AFB3DBCD4F9389E2B7",
            ),
        ];
        for (title, counter, challenge, answer) in cases {
            let (challenge, answer) = (challenge.as_bytes(), hex::bytes(answer));
            let context = context();
            assert_eq!(
                context.answer_challenge(title, counter, challenge)[..],
                answer
            );
            assert_eq!(
                context.verify_answer(title, challenge, &answer),
                Ok(counter)
            );
            let bad_tag = Err(SecurityError::BadTag { title, counter });
            assert_eq!(context.verify_answer(title, b"K56iVagX", &answer), bad_tag);
            let mut changed = answer.clone();
            changed[16] ^= 1;
            assert_eq!(context.verify_answer(title, challenge, &changed), bad_tag);
            assert_eq!(
                context.verify_answer(title, challenge, &answer[..16]),
                Err(SecurityError::GmacLength { bytes: 16 })
            );
        }
    }

    /// A push of a sold meter, with the dummy key of its maker.
    #[test]
    fn a_real_general_glo_frame() {
        let key = *b"MYDUMMYGLOBALKEY";
        let sealed = hex::bytes(
            "DB082F192291991641033B30000001E5025CE9D2271FD78BE8C204211A916A9D7F587E0A7A814CAD\
             EA89E9593F01F92EA8C087B5BDFDEFEAB6BECF282DFE49C08F5BE6DC8400",
        );
        let plain = hex::bytes(
            "0F000001DB000922125A8591360000000049000000110000000A5A8513D014800000000D0000000A\
             0100",
        );
        let apdu = CipheredApdu::decode(&sealed).unwrap();
        assert_eq!(apdu.title.to_string(), "2F19229199164103");
        assert_eq!((apdu.control, apdu.counter), (CONTROL_30, 0x1E5));
        let context = CipherContext::new(&Keys::new(key, key));
        let mut opened = Vec::new();
        assert_eq!(
            context.open(&apdu, Policy::default(), &mut opened),
            Ok(&plain[..])
        );
        let mut again = Vec::new();
        context.protect(Protection::full(apdu.title, 0x1E5), &plain, &mut again);
        assert_eq!(again, sealed);
    }

    #[test]
    fn no_changed_bit_is_believed() {
        let mut sealed = Vec::new();
        context().protect(protection(0x30), &hex::bytes(GET_CLOCK), &mut sealed);
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let opened =
                CipheredApdu::decode(&changed).and_then(|apdu| open(&apdu, Policy::Authentication));
            assert!(opened.is_err(), "bit {bit}");
        }
        for cut in 0..sealed.len() {
            assert!(CipheredApdu::decode(&sealed[..cut]).is_err(), "cut {cut}");
        }
    }

    #[test]
    fn the_policy_decides_before_the_tag() {
        let seal = |control| {
            let mut sealed = Vec::new();
            context().protect(protection(control), &hex::bytes(GET_CLOCK), &mut sealed);
            sealed
        };
        let full = Policy::AuthenticatedEncryption;
        let tagged = Policy::Authentication;
        let refused = |got, wanted| {
            Err(SecurityError::Policy {
                got: SecurityControl(got),
                wanted,
            })
        };
        let plain = || Ok(hex::bytes(GET_CLOCK));
        let cases = [
            (0x30, full, plain()),
            (0x30, tagged, plain()),
            (0x10, full, refused(0x10, full)),
            (0x10, tagged, plain()),
            (0x20, full, refused(0x20, full)),
            (0x20, tagged, refused(0x20, tagged)),
        ];
        for (control, policy, expected) in cases {
            let sealed = seal(control);
            let apdu = CipheredApdu::decode(&sealed).unwrap();
            assert_eq!(open(&apdu, policy), expected, "{control:#x} {policy}");
        }
        let sealed = seal(0x30);
        let apdu = CipheredApdu::decode(&sealed).unwrap();
        let claims = [
            (0x31, SecurityError::Suite { suite: 1 }),
            (0x70, SecurityError::BroadcastKey),
            (0xB0, SecurityError::Compressed),
        ];
        for (control, expected) in claims {
            let claimed = CipheredApdu {
                control: SecurityControl(control),
                ..apdu
            };
            assert_eq!(open(&claimed, full), Err(expected));
        }
        let unverified = context()
            .decrypt_unverified(&apdu, &mut Vec::new())
            .map(<[u8]>::to_vec);
        assert_eq!(unverified, refused(0x30, full), "a tag is to be checked");
    }

    #[test]
    fn the_outside_is_taken_apart_or_named() {
        let cases = [
            ("C001", SecurityError::NotCiphered { tag: 0xC0 }),
            (
                "DB07 4D4D4D0000BC61 05 3000000001",
                SecurityError::TitleLength { bytes: 7 },
            ),
            (
                "DB08 4D4D4D0000BC614E 06 3000000001",
                SecurityError::WrongLength {
                    announced: 6,
                    found: 5,
                },
            ),
        ];
        for (text, expected) in cases {
            let found = CipheredApdu::decode(&hex::bytes(text)).map(|apdu| apdu.title);
            assert_eq!(found, Err(expected), "{text}");
        }
        let bytes = hex::bytes("DB08 4D4D4D0000BC614E 10 3000000001 AABBCCDDEEFF0011223344");
        let short = CipheredApdu::decode(&bytes).unwrap();
        assert!(matches!(
            open(&short, Policy::default()),
            Err(SecurityError::Truncated(_))
        ));
    }

    #[test]
    fn keys_print_nothing() {
        let key = [0xA5; 16];
        let keys = Keys::new(key, key);
        let shown = format!(
            "{keys:?} {:?} {:?}",
            CipherContext::new(&keys),
            super::super::KeyEncryptionKey::new(key)
        );
        assert!(
            !shown.contains("165") && !shown.to_lowercase().contains("a5"),
            "{shown}"
        );
        assert_eq!(keys, keys.clone());
        assert_ne!(keys, Keys::new(key, [0; 16]));
        assert_ne!(keys, Keys::new([0; 16], key));
    }
}
