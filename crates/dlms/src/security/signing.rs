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

    /// The APDU inside, which anybody may have written: for looking at, never for believing.
    pub const fn unverified(&self) -> &'a [u8] {
        self.content
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;
    use crate::security::vectors::{CLIENT, CURVES, SERVER, TRANSACTION, responder, signer};

    /// Signed with OpenSSL (deterministic signatures), through Python's `cryptography`.
    #[test]
    fn signing_vectors() {
        let signed = [
            "DF080123456789ABCDEF084D4D4D0000000001084D4D4D0000BC614E00000DC001000008\
                 0000010000FF020040FD9A89B93AD4E660F14D28606E08B2BD48D8E47AE248F335B5F6BB\
                 25B0A7B5B083BB674FD4D2EE0A0109018297CE7ECE2202CDA689B95BA80E3E8BDF67162C\
                 21",
            "DF080123456789ABCDEF084D4D4D0000000001084D4D4D0000BC614E00000DC001000008\
                 0000010000FF0200600373ADE7F2B45093B72732A4FBE7D2D9922B74F0E1F85A352488A4\
                 86BC926933E7804195ADC086061B1C1DF169284A28F59608D1166B7DB936732B41CBB458\
                 FD370D8D1AF028E3444091FE3FE58807BC253ABE38D9CB520FC4062C12B4F04A42",
        ];
        let content = hex::bytes("C0010000080000010000FF0200");
        for (curve, signed) in CURVES.into_iter().zip(signed) {
            let signed = hex::bytes(signed);
            let header = GeneralHeader::between(CLIENT, SERVER, &TRANSACTION);
            let mut out = Vec::new();
            GeneralSigning::encode(&header, &content, &signer(curve), &mut out);
            assert_eq!(out, signed, "{curve}");
            let apdu = GeneralSigning::decode(&signed).unwrap();
            assert_eq!(apdu.header, header);
            let public = signer(curve).public_key();
            assert_eq!(apdu.verify(&public), Ok(&content[..]));
            assert_eq!(
                apdu.verify(&responder(curve).public_key()),
                Err(SecurityError::BadSignature { curve })
            );
            for byte in (0..signed.len()).step_by(5) {
                let mut changed = signed.clone();
                changed[byte] ^= 1;
                let read = GeneralSigning::decode(&changed);
                let verified = read.and_then(|apdu| apdu.verify(&public));
                assert!(verified.is_err(), "{curve} {byte}");
            }
            for cut in 0..signed.len() {
                assert!(GeneralSigning::decode(&signed[..cut]).is_err(), "cut {cut}");
            }
        }
        assert_eq!(
            GeneralSigning::decode(&content),
            Err(SecurityError::NotSigned { tag: 0xC0 })
        );
        let mut trailing = hex::bytes(signed[0]);
        trailing.push(0);
        assert!(GeneralSigning::decode(&trailing).is_err());
    }
}
