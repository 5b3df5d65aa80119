//! general-signing: any APDU, signed by its originator. Where ciphering is applied too, the
//! signature is outermost (IEC 62056-5-3, 9.2.7.2.5).

use super::curve::{PrivateKey, PublicKey};
use super::error::SecurityError;
use super::general::{GeneralHeader, bounded};
use crate::axdr::{Decoder, Encoder};

/// The tag of general-signing.
pub const GENERAL_SIGNING: u8 = 0xDF;

/// Bytes of the longest signature: one on P-384.
pub const SIGNATURE_LEN_MAX: usize = 96;

/// A general-signing APDU that has been taken apart, but not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GeneralSigning<'a> {
    /// Who claims to have signed it, for whom, and about what.
    pub header: GeneralHeader<'a>,
    content: &'a [u8],
    signature: &'a [u8],
    /// The header's fields and the content, each with its length: what the signature is over.
    signed: &'a [u8],
}

impl<'a> GeneralSigning<'a> {
    /// Takes an APDU apart.
    ///
    /// # Errors
    ///
    /// [`SecurityError::NotSigned`] for another tag, a field that is too long, or lengths that do
    /// not add up.
    pub fn decode(apdu: &'a [u8]) -> Result<Self, SecurityError> {
        let mut decoder = Decoder::new(apdu);
        let tag = decoder.byte()?;
        if tag != GENERAL_SIGNING {
            return Err(SecurityError::NotSigned { tag });
        }
        let start = decoder.offset();
        let header = GeneralHeader::decode(&mut decoder)?;
        let content = decoder.octets()?;
        let signed = &apdu[start..decoder.offset()];
        let signature = bounded("signature", SIGNATURE_LEN_MAX, &mut decoder)?;
        decoder.finish()?;
        Ok(Self {
            header,
            content,
            signature,
            signed,
        })
    }

    /// Verifies the signature and returns the APDU inside, ciphered or not. `key` is that of the
    /// originator's certificate: the caller has matched the titles.
    ///
    /// A signature does not make an APDU fresh: whoever believes it compares the transaction
    /// identifier, or the counter of the ciphered APDU inside.
    ///
    /// # Errors
    ///
    /// [`SecurityError::FieldLength`] or [`SecurityError::BadSignature`].
    pub fn verify(&self, key: &PublicKey) -> Result<&'a [u8], SecurityError> {
        key.verify(self.signed, self.signature)?;
        Ok(self.content)
    }

    /// Appends `content`, signed, to `out`.
    ///
    /// # Panics
    ///
    /// If a field of the header is too long.
    pub fn encode(header: &GeneralHeader<'_>, content: &[u8], key: &PrivateKey, out: &mut Vec<u8>) {
        out.push(GENERAL_SIGNING);
        let start = out.len();
        header.encode(out);
        Encoder::new(out).octets(content);
        let signature = key.sign(&out[start..]);
        Encoder::new(out).octets(&signature);
    }
}
