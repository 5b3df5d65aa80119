//! A firmware image as our meters take it: a header, the program, and the maker's signature over
//! both.
//!
//! `"GLFW"`, format (1 byte), model (8 bytes), version (4 bytes), program, ECDSA P-256 signature
//! r ‖ s (64 bytes) over everything before it. Numbers are big-endian.

use gridloom_core::bytes::Reader;
use gridloom_dlms::security::{Curve, PrivateKey, PublicKey};

const MAGIC: [u8; 4] = *b"GLFW";
const FORMAT: u8 = 1;
const SIGNATURE_LEN: usize = 64;

/// Why an image is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageFault {
    /// It is no image of ours, or is cut short.
    #[error("image: no header of format {FORMAT}; send the file that the maker signed")]
    Format,
    /// It is another model's.
    #[error("image: made for model {found:02X?}; send this model's")]
    Model {
        /// The model in the image.
        found: [u8; 8],
    },
    /// The maker did not sign it.
    #[error("image: the maker's signature does not verify; send the file unchanged")]
    Signature,
    /// It is not newer than what runs.
    #[error("image: version {found} is not above {running}; going back is not allowed")]
    NotNewer {
        /// Its version.
        found: u32,
        /// The one that runs.
        running: u32,
    },
}

/// What an image says of itself, once it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    /// Its version; later ones are higher.
    pub version: u32,
    /// The maker's signature.
    pub signature: Vec<u8>,
}

/// Decides whether an image comes from the maker and suits this meter.
pub trait ImageVerifier: core::fmt::Debug + Send + Sync {
    /// Verifies a whole image.
    ///
    /// # Errors
    ///
    /// Why it is not taken.
    fn verify(&self, image: &[u8]) -> Result<ImageInfo, ImageFault>;
}

/// Takes no image: the meter does not know its maker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMaker;

impl ImageVerifier for NoMaker {
    fn verify(&self, _: &[u8]) -> Result<ImageInfo, ImageFault> {
        Err(ImageFault::Signature)
    }
}

/// Takes images of one model that one maker signed.
#[derive(Debug, Clone)]
pub struct MakersKey {
    key: PublicKey,
    model: [u8; 8],
}

impl MakersKey {
    /// Verifies with the maker's public key.
    ///
    /// # Panics
    ///
    /// If the key is not of P-256, the curve of the format.
    pub fn new(key: PublicKey, model: [u8; 8]) -> Self {
        assert!(
            key.curve() == Curve::P256,
            "images of format {FORMAT} are signed on P-256"
        );
        Self { key, model }
    }
}

impl ImageVerifier for MakersKey {
    fn verify(&self, image: &[u8]) -> Result<ImageInfo, ImageFault> {
        let Some((signed, signature)) = image.split_last_chunk::<SIGNATURE_LEN>() else {
            return Err(ImageFault::Format);
        };
        let mut reader = Reader::new(signed);
        let header = |_| ImageFault::Format;
        if reader.array().map_err(header)? != MAGIC || reader.u8().map_err(header)? != FORMAT {
            return Err(ImageFault::Format);
        }
        let found: [u8; 8] = reader.array().map_err(header)?;
        let version = reader.u32().map_err(header)?;
        // Nothing the header says is believed, not even the model, before the signature is.
        self.key
            .verify(signed, signature)
            .map_err(|_| ImageFault::Signature)?;
        if found != self.model {
            return Err(ImageFault::Model { found });
        }
        Ok(ImageInfo {
            version,
            signature: signature.to_vec(),
        })
    }
}

/// Makes an image, as the maker does.
///
/// # Panics
///
/// If the key is not of P-256.
pub fn sign_image(model: [u8; 8], version: u32, program: &[u8], key: &PrivateKey) -> Vec<u8> {
    assert!(
        key.curve() == Curve::P256,
        "images of format {FORMAT} are signed on P-256"
    );
    let mut image = Vec::with_capacity(program.len() + 17 + SIGNATURE_LEN);
    image.extend(MAGIC);
    image.push(FORMAT);
    image.extend(model);
    image.extend(version.to_be_bytes());
    image.extend_from_slice(program);
    let signature = key.sign(&image);
    image.extend(signature);
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: [u8; 8] = *b"GL-1P-01";

    fn key(byte: u8) -> PrivateKey {
        PrivateKey::from_bytes(Curve::P256, &[byte; 32]).unwrap()
    }

    #[test]
    fn only_what_the_maker_signed_is_taken() {
        let maker = key(7);
        let verifier = MakersKey::new(maker.public_key(), MODEL);
        let image = sign_image(MODEL, 42, &[0xAB; 300], &maker);
        let info = verifier.verify(&image).unwrap();
        assert_eq!(info.version, 42);
        assert_eq!(info.signature, image[image.len() - SIGNATURE_LEN..]);
        for place in [0, 4, 5, 16, 17, 200, image.len() - 1] {
            let mut bent = image.clone();
            bent[place] ^= 1;
            let fault = verifier.verify(&bent).unwrap_err();
            let expected = if place < 5 {
                ImageFault::Format
            } else {
                ImageFault::Signature
            };
            assert_eq!(fault, expected, "byte {place}");
        }
        for cut in [0, 63, 64, 80] {
            assert_eq!(verifier.verify(&image[..cut]), Err(ImageFault::Format));
        }
        let foreign = sign_image(MODEL, 42, &[1], &key(8));
        assert_eq!(verifier.verify(&foreign), Err(ImageFault::Signature));
        let other = sign_image(*b"GL-3P-01", 42, &[1], &maker);
        assert_eq!(
            verifier.verify(&other),
            Err(ImageFault::Model {
                found: *b"GL-3P-01"
            })
        );
    }
}
