//! general-ciphering: any service under any key, from one title to another, with what both need
//! to find or make the key (IEC 62056-5-3, 9.2.7.2.4.8 and 9.5).

use gridloom_core::SystemTitle;

use super::agreement::AgreementScheme;
use super::apdu::{CipheredApdu, CipheredForm, KeyUse, decode_title, whole_content};
use super::context::{CipherContext, Protection};
use super::error::SecurityError;
use crate::axdr::{Decoder, Encoder};

/// The tag of general-ciphering.
pub const GENERAL_CIPHERING: u8 = 0xDD;

/// Bytes of a transaction identifier, a date-time or other information; longer ones are refused.
pub const HEADER_FIELD_LEN_MAX: usize = 64;

/// Bytes of wrapped or agreed key data: an ephemeral P-384 key and a signature over it.
pub const KEY_DATA_LEN_MAX: usize = 192;

/// The fields in front of general-ciphering and general-signing, which the tag or the signature
/// covers. What is not needed stays empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GeneralHeader<'a> {
    /// The transaction identifier, which an answer repeats; up to [`HEADER_FIELD_LEN_MAX`] bytes.
    pub transaction_id: &'a [u8],
    /// Who sends. `None` is written as an empty string: the association tells.
    pub originator: Option<SystemTitle>,
    /// Who receives. `None` is written as an empty string: the association tells, or everybody.
    pub recipient: Option<SystemTitle>,
    /// A date-time of twelve bytes, or nothing.
    pub date_time: &'a [u8],
    /// Whatever both sides agreed on; up to [`HEADER_FIELD_LEN_MAX`] bytes.
    pub other_information: &'a [u8],
}

impl<'a> GeneralHeader<'a> {
    /// A header from one title to another, with a transaction identifier.
    pub const fn between(
        originator: SystemTitle,
        recipient: SystemTitle,
        transaction_id: &'a [u8],
    ) -> Self {
        Self {
            transaction_id,
            originator: Some(originator),
            recipient: Some(recipient),
            date_time: &[],
            other_information: &[],
        }
    }

    /// Appends the fields, each with its length.
    ///
    /// # Panics
    ///
    /// If a field is longer than [`HEADER_FIELD_LEN_MAX`]: nobody would read it.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let fields = [
            self.transaction_id,
            self.originator.as_ref().map_or(&[][..], |title| &title.0),
            self.recipient.as_ref().map_or(&[][..], |title| &title.0),
            self.date_time,
            self.other_information,
        ];
        for field in fields {
            assert!(
                field.len() <= HEADER_FIELD_LEN_MAX,
                "a header field has at most {HEADER_FIELD_LEN_MAX} bytes"
            );
            Encoder::new(out).octets(field);
        }
    }

    pub(super) fn decode(decoder: &mut Decoder<'a>) -> Result<Self, SecurityError> {
        Ok(Self {
            transaction_id: bounded("transaction-id", HEADER_FIELD_LEN_MAX, decoder)?,
            originator: optional_title(decoder)?,
            recipient: optional_title(decoder)?,
            date_time: bounded("date-time", HEADER_FIELD_LEN_MAX, decoder)?,
            other_information: bounded("other-information", HEADER_FIELD_LEN_MAX, decoder)?,
        })
    }
}

/// A string with its length in front, no longer than `max`.
pub(super) fn bounded<'a>(
    field: &'static str,
    max: usize,
    decoder: &mut Decoder<'a>,
) -> Result<&'a [u8], SecurityError> {
    let bytes = decoder.octets()?;
    if bytes.len() <= max {
        Ok(bytes)
    } else {
        Err(SecurityError::FieldTooLong {
            field,
            bytes: bytes.len(),
            max,
        })
    }
}

fn optional_title(decoder: &mut Decoder<'_>) -> Result<Option<SystemTitle>, SecurityError> {
    let mut ahead = decoder.clone();
    if ahead.length()? == 0 {
        *decoder = ahead;
        return Ok(None);
    }
    decode_title(decoder).map(Some)
}

/// How the recipient comes by the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyInfo<'a> {
    /// It has it: the global unicast or broadcast encryption key.
    Identified(IdentifiedKey),
    /// It unwraps it with its master key.
    Wrapped {
        /// The key, wrapped under the recipient's master key (KEK).
        wrapped: &'a [u8],
    },
    /// It derives it from a key agreement.
    Agreed {
        /// In which way.
        scheme: AgreementScheme,
        /// What the originator contributes: in the one-pass scheme its ephemeral public key and
        /// a signature over it; in the static scheme nothing.
        data: &'a [u8],
    },
}

/// A key that general-ciphering names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdentifiedKey {
    /// The global unicast encryption key (GUEK).
    Unicast,
    /// The global broadcast encryption key (GBEK).
    Broadcast,
}

impl KeyInfo<'_> {
    /// Which of the sender's and receiver's keys it is about.
    pub const fn key(&self) -> KeyUse {
        match self {
            Self::Identified(IdentifiedKey::Unicast) => KeyUse::Unicast,
            Self::Identified(IdentifiedKey::Broadcast) => KeyUse::Broadcast,
            Self::Wrapped { .. } | Self::Agreed { .. } => KeyUse::OneTime,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Identified(key) => out.extend([
                IDENTIFIED,
                match key {
                    IdentifiedKey::Unicast => 0,
                    IdentifiedKey::Broadcast => 1,
                },
            ]),
            Self::Wrapped { wrapped } => {
                out.extend([WRAPPED, MASTER_KEY]);
                encode_key_data(wrapped, out);
            }
            Self::Agreed { scheme, data } => {
                out.push(AGREED);
                Encoder::new(out).octets(&[scheme.parameter()]);
                encode_key_data(data, out);
            }
        }
    }
}

impl<'a> KeyInfo<'a> {
    fn decode(decoder: &mut Decoder<'a>) -> Result<Self, SecurityError> {
        Ok(match decoder.byte()? {
            IDENTIFIED => Self::Identified(match decoder.byte()? {
                0 => IdentifiedKey::Unicast,
                1 => IdentifiedKey::Broadcast,
                code => {
                    return Err(SecurityError::UnknownCode {
                        field: "key-id",
                        code,
                    });
                }
            }),
            WRAPPED => match decoder.byte()? {
                MASTER_KEY => Self::Wrapped {
                    wrapped: bounded("key-ciphered-data", KEY_DATA_LEN_MAX, decoder)?,
                },
                code => {
                    return Err(SecurityError::UnknownCode {
                        field: "kek-id",
                        code,
                    });
                }
            },
            AGREED => Self::Agreed {
                scheme: AgreementScheme::from_parameters(decoder.octets()?)?,
                data: bounded("key-ciphered-data", KEY_DATA_LEN_MAX, decoder)?,
            },
            code => {
                return Err(SecurityError::UnknownCode {
                    field: "key-info",
                    code,
                });
            }
        })
    }
}

fn encode_key_data(data: &[u8], out: &mut Vec<u8>) {
    assert!(
        data.len() <= KEY_DATA_LEN_MAX,
        "key data has at most {KEY_DATA_LEN_MAX} bytes"
    );
    Encoder::new(out).octets(data);
}

const IDENTIFIED: u8 = 0;
const WRAPPED: u8 = 1;
const AGREED: u8 = 2;
const MASTER_KEY: u8 = 0;

/// A general-ciphering APDU that has been taken apart, but not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GeneralCiphering<'a> {
    /// Who to whom, and about what.
    pub header: GeneralHeader<'a>,
    /// How the recipient comes by the key; `None` is the global unicast key.
    pub key_info: Option<KeyInfo<'a>>,
    /// The sealed content, for [`CipherContext::open`] under the key that `key_info` tells:
    /// [`CipherContext::one_time`] makes the context of a wrapped or agreed one.
    pub apdu: CipheredApdu<'a>,
}

impl<'a> GeneralCiphering<'a> {
    /// Takes an APDU apart. `peer` is the title of the sender as the association knows it, for
    /// headers that do not repeat it.
    ///
    /// # Errors
    ///
    /// Another tag, a field that is too long or of an unknown code, no title on either side, or
    /// lengths that do not add up.
    pub fn decode(apdu: &'a [u8], peer: Option<SystemTitle>) -> Result<Self, SecurityError> {
        let mut decoder = Decoder::new(apdu);
        let tag = decoder.byte()?;
        if tag != GENERAL_CIPHERING {
            return Err(SecurityError::NotCiphered { tag });
        }
        let start = decoder.offset();
        let header = GeneralHeader::decode(&mut decoder)?;
        let covered = &apdu[start..decoder.offset()];
        let key_info = match decoder.byte()? {
            0 => None,
            1 => Some(KeyInfo::decode(&mut decoder)?),
            code => {
                return Err(SecurityError::UnknownCode {
                    field: "presence of key-info",
                    code,
                });
            }
        };
        let title = header
            .originator
            .or(peer)
            .ok_or(SecurityError::TitleLength { bytes: 0 })?;
        let content = whole_content(&mut decoder)?;
        let named_key = key_info.map_or(KeyUse::Unicast, |info| info.key());
        Ok(Self {
            header,
            key_info,
            apdu: CipheredApdu {
                named_key: Some(named_key),
                covered,
                ..CipheredApdu::content(tag, CipheredForm::General, title, content)?
            },
        })
    }
}

impl CipherContext {
    /// Appends `plain` as a general-ciphering APDU to `out`, under the key that `key_info` names:
    /// the global ones from the global context, a wrapped or agreed one from the context that
    /// [`Self::one_time`] made of it.
    ///
    /// # Panics
    ///
    /// As [`Self::protect`]; if the key is not the context's; if the header names another
    /// originator than the protection does, or a field is too long.
    pub fn protect_general(
        &self,
        header: &GeneralHeader<'_>,
        key_info: Option<&KeyInfo<'_>>,
        protection: Protection,
        plain: &[u8],
        out: &mut Vec<u8>,
    ) {
        assert!(
            header
                .originator
                .is_none_or(|title| title == protection.title),
            "the originator's title is half of the nonce"
        );
        out.push(GENERAL_CIPHERING);
        let mut covered = Vec::new();
        header.encode(&mut covered);
        out.extend_from_slice(&covered);
        match key_info {
            None => out.push(0),
            Some(info) => {
                out.push(1);
                info.encode(out);
            }
        }
        let key = key_info.map_or(KeyUse::Unicast, KeyInfo::key);
        self.protect_content(key, protection, &covered, plain, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;
    use crate::security::keys::{KeyEncryptionKey, Keys, SymmetricKey};
    use crate::security::vectors::{CLIENT, SERVER, TRANSACTION};
    use crate::security::{Policy, SecurityControl, SecuritySuite};

    const GET_CLOCK: &str = "C0010000080000010000FF0200";
    const COUNTER: u32 = 0x0123_4567;
    const UNICAST: Option<KeyInfo<'_>> = Some(KeyInfo::Identified(IdentifiedKey::Unicast));
    const BROADCAST: Option<KeyInfo<'_>> = Some(KeyInfo::Identified(IdentifiedKey::Broadcast));

    fn context(suite: SecuritySuite) -> CipherContext {
        let count = |first: u8| move |at: usize| first + u8::try_from(at).unwrap();
        let keys = if suite == SecuritySuite::Suite2 {
            Keys::long(
                core::array::from_fn(count(0)),
                core::array::from_fn(count(0xD0)),
            )
        } else {
            let mut backwards: [u8; 16] = core::array::from_fn(count(0));
            backwards.reverse();
            Keys::new(
                core::array::from_fn(count(0)),
                core::array::from_fn(count(0xD0)),
            )
            .with_broadcast(SymmetricKey::short(backwards))
            .unwrap()
        };
        CipherContext::with_suite(&keys, suite).unwrap()
    }

    /// Computed with OpenSSL, through Python's `cryptography`.
    #[test]
    fn general_ciphering_vectors() {
        let named = GeneralHeader::between(SERVER, CLIENT, &TRANSACTION);
        let unnamed = GeneralHeader {
            transaction_id: &[],
            originator: None,
            recipient: None,
            date_time: &[],
            other_information: &[],
        };
        let cases = [
            (
                SecuritySuite::Suite0,
                named,
                None,
                "DD080123456789ABCDEF084D4D4D0000BC614E084D4D4D00000000010000001E3001234567\
                 411312FF935A47566827C467BC5DF57267C0FD3724243E26F5",
            ),
            (
                SecuritySuite::Suite1,
                named,
                UNICAST,
                "DD080123456789ABCDEF084D4D4D0000BC614E084D4D4D000000000100000100001E3101234567\
                 411312FF935A47566827C467BCEB3AC4F1A34347F880D3C4FD",
            ),
            (
                SecuritySuite::Suite0,
                named,
                BROADCAST,
                "DD080123456789ABCDEF084D4D4D0000BC614E084D4D4D000000000100000100011E3001234567\
                 E946FE2408908F9C7850CE096E5E2D3A6EFEDA12C96BE1C8A6",
            ),
            (
                SecuritySuite::Suite2,
                named,
                UNICAST,
                "DD080123456789ABCDEF084D4D4D0000BC614E084D4D4D000000000100000100001E3201234567\
                 E82B2AD3EE8C12A6FB27038F08408209D8BF16E8409AE3AF0A",
            ),
            (
                SecuritySuite::Suite0,
                named,
                UNICAST,
                "DD080123456789ABCDEF084D4D4D0000BC614E084D4D4D000000000100000100001E1001234567\
                 C0010000080000010000FF02006220CE04D29AA8699A23C469",
            ),
            (
                SecuritySuite::Suite0,
                unnamed,
                None,
                "DD0000000000001E3001234567411312FF935A47566827C467BCE639C7F6A190C5033A7F7302",
            ),
        ];
        let plain = hex::bytes(GET_CLOCK);
        for (suite, header, key_info, sealed) in cases {
            let (context, sealed) = (context(suite), hex::bytes(sealed));
            let apdu = GeneralCiphering::decode(&sealed, Some(SERVER)).unwrap();
            assert_eq!((apdu.header, apdu.key_info), (header, key_info), "{suite}");
            assert_eq!(apdu.apdu.form, CipheredForm::General);
            let mut opened = Vec::new();
            let opened = context.open(&apdu.apdu, Policy::Authentication, &mut opened);
            assert_eq!(opened, Ok(&plain[..]), "{suite} {key_info:?}");
            let protection = context.protection(apdu.apdu.control, SERVER, COUNTER);
            let mut out = Vec::new();
            context.protect_general(&header, key_info.as_ref(), protection, &plain, &mut out);
            assert_eq!(out, sealed, "{suite}");
            for bit in 0..sealed.len() * 8 {
                let mut changed = sealed.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                let opened = GeneralCiphering::decode(&changed, Some(SERVER)).and_then(|apdu| {
                    let mut opened = Vec::new();
                    context
                        .open(&apdu.apdu, Policy::Authentication, &mut opened)
                        .map(drop)
                });
                assert!(opened.is_err(), "{suite} {key_info:?} bit {bit}");
            }
            for cut in 0..sealed.len() {
                assert!(GeneralCiphering::decode(&sealed[..cut], Some(SERVER)).is_err());
            }
        }
        let unnamed = hex::bytes(cases[5].3);
        assert_eq!(
            GeneralCiphering::decode(&unnamed, None),
            Err(SecurityError::TitleLength { bytes: 0 }),
            "nobody is known to have sent it"
        );
    }

    #[test]
    fn a_wrapped_key_goes_one_way() {
        let (kek, key) = (KeyEncryptionKey::new([7; 16]), SymmetricKey::short([8; 16]));
        let global = context(SecuritySuite::Suite0);
        let wrapped = kek.wrap_key(&key);
        let info = KeyInfo::Wrapped { wrapped: &wrapped };
        let header = GeneralHeader::between(CLIENT, SERVER, &TRANSACTION);
        let sender = global.one_time(&key).unwrap();
        let mut out = Vec::new();
        let protection = sender.full_protection(CLIENT, 1);
        sender.protect_general(&header, Some(&info), protection, b"plain", &mut out);

        let apdu = GeneralCiphering::decode(&out, None).unwrap();
        let Some(KeyInfo::Wrapped { wrapped }) = apdu.key_info else {
            panic!("{:?}", apdu.key_info);
        };
        let receiver = global.one_time(&kek.unwrap_key(wrapped).unwrap()).unwrap();
        let mut opened = Vec::new();
        assert_eq!(
            receiver.open(&apdu.apdu, Policy::default(), &mut opened),
            Ok(&b"plain"[..])
        );
        assert_eq!(
            global.open(&apdu.apdu, Policy::default(), &mut opened),
            Err(SecurityError::OtherKey {
                wanted: KeyUse::Unicast,
                got: KeyUse::OneTime,
            })
        );
    }

    #[test]
    fn agreed_key_data_is_written_as_the_standard_does() {
        let header = GeneralHeader::between(CLIENT, SERVER, &TRANSACTION);
        let context = context(SecuritySuite::Suite1)
            .one_time(&SymmetricKey::short([1; 16]))
            .unwrap();
        let protection = context.full_protection(CLIENT, 1);
        let start = hex::bytes(
            "DD 08 0123456789ABCDEF 08 4D4D4D0000000001 08 4D4D4D0000BC614E 00 00 01 02 01",
        );
        let cases = [
            (AgreementScheme::OnePass, 128, "01 8180"),
            (AgreementScheme::OnePass, 192, "01 81C0"),
            (AgreementScheme::Static, 0, "02 00"),
        ];
        for (scheme, len, written) in cases {
            let data = vec![0xAA; len];
            let info = KeyInfo::Agreed {
                scheme,
                data: &data,
            };
            let mut out = Vec::new();
            context.protect_general(&header, Some(&info), protection, b"plain", &mut out);
            let written = [&start[..], &hex::bytes(written), &data].concat();
            assert_eq!(out[..written.len()], written, "{scheme:?}");
            let apdu = GeneralCiphering::decode(&out, None).unwrap();
            assert_eq!(apdu.key_info, Some(info));
        }
    }

    #[test]
    fn headers_are_bounded_and_named() {
        let long = [&[0xDD, 65][..], &[0; 80]].concat();
        let cases = [
            (
                long,
                SecurityError::FieldTooLong {
                    field: "transaction-id",
                    bytes: 65,
                    max: HEADER_FIELD_LEN_MAX,
                },
            ),
            (
                hex::bytes("DD 00 00 00 00 00 02"),
                SecurityError::UnknownCode {
                    field: "presence of key-info",
                    code: 2,
                },
            ),
            (
                hex::bytes("DD 00 00 00 00 00 01 03"),
                SecurityError::UnknownCode {
                    field: "key-info",
                    code: 3,
                },
            ),
            (
                hex::bytes("DD 00 00 00 00 00 01 00 02"),
                SecurityError::UnknownCode {
                    field: "key-id",
                    code: 2,
                },
            ),
            (
                hex::bytes("DD 00 00 00 00 00 01 01 01"),
                SecurityError::UnknownCode {
                    field: "kek-id",
                    code: 1,
                },
            ),
            (
                hex::bytes("DD 00 00 00 00 00 01 02 01 00"),
                SecurityError::UnknownCode {
                    field: "key-parameters",
                    code: 0,
                },
            ),
            (
                hex::bytes("DD 00 03 000000 00 00 00 00"),
                SecurityError::TitleLength { bytes: 3 },
            ),
            (
                hex::bytes("DB 00"),
                SecurityError::NotCiphered { tag: 0xDB },
            ),
        ];
        for (bytes, expected) in cases {
            assert_eq!(
                GeneralCiphering::decode(&bytes, Some(SERVER)),
                Err(expected),
                "{bytes:02X?}"
            );
        }
        let control = SecurityControl::AUTHENTICATED_ENCRYPTED.with_broadcast_key();
        let mut broadcast = hex::bytes("DD 00 00 00 00 00 00 11 70 00000001");
        broadcast.extend([0; 12]);
        let apdu = GeneralCiphering::decode(&broadcast, Some(SERVER)).unwrap();
        assert_eq!(
            context(SecuritySuite::Suite0).open(&apdu.apdu, Policy::default(), &mut Vec::new()),
            Err(SecurityError::BroadcastBit { control })
        );
    }
}
