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
