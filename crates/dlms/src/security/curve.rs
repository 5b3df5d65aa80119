//! Key pairs on the curves of suites 1 and 2: signing, verifying, Diffie–Hellman.

use core::fmt;

use p256::ecdsa::signature::hazmat::{PrehashSigner as _, PrehashVerifier as _};
use sha2::{Digest as _, Sha256, Sha384};
use zeroize::Zeroizing;

use super::error::SecurityError;
use super::suite::Curve;

/// Candidates for a private key that are drawn before the source of entropy counts as broken.
/// One in 2³² is refused on P-256, one in 2¹⁹⁰ on P-384.
pub const DRAWS_MAX: usize = 8;

/// A private key: of a signer, or of a party to a key agreement.
///
/// Wiped when dropped, never printed.
#[derive(Clone)]
pub struct PrivateKey(Private);

#[derive(Clone)]
enum Private {
    P256(p256::SecretKey),
    P384(p384::SecretKey),
}

impl PrivateKey {
    /// Reads a private key: a scalar in big-endian order, of the curve's field length.
    ///
    /// # Errors
    ///
    /// [`SecurityError::FieldLength`], or [`SecurityError::PrivateKey`] if the scalar is zero or
    /// not below the order of the curve.
    pub fn from_bytes(curve: Curve, scalar: &[u8]) -> Result<Self, SecurityError> {
        check_length("private key", scalar, curve.field_len())?;
        let bad = |_| SecurityError::PrivateKey { curve };
        Ok(Self(match curve {
            Curve::P256 => Private::P256(p256::SecretKey::from_slice(scalar).map_err(bad)?),
            Curve::P384 => Private::P384(p384::SecretKey::from_slice(scalar).map_err(bad)?),
        }))
    }

    /// Draws a private key; `entropy` fills what it is given with unguessable bytes.
    ///
    /// # Panics
    ///
    /// If none of [`DRAWS_MAX`] draws is a scalar: `entropy` does not do what it says.
    pub fn generate(curve: Curve, entropy: &mut dyn FnMut(&mut [u8])) -> Self {
        let mut scalar = Zeroizing::new(vec![0; curve.field_len()]);
        for _ in 0..DRAWS_MAX {
            entropy(&mut scalar);
            if let Ok(key) = Self::from_bytes(curve, &scalar) {
                return key;
            }
        }
        panic!("the source of entropy gives no scalar of {curve}");
    }

    /// The scalar, for whoever stores it wrapped.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(match &self.0 {
            Private::P256(key) => Zeroizing::new(key.to_bytes()).to_vec(),
            Private::P384(key) => Zeroizing::new(key.to_bytes()).to_vec(),
        })
    }

    /// The curve.
    pub const fn curve(&self) -> Curve {
        match &self.0 {
            Private::P256(_) => Curve::P256,
            Private::P384(_) => Curve::P384,
        }
    }

    /// The public key that belongs to it.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(match &self.0 {
            Private::P256(key) => Public::P256(key.public_key()),
            Private::P384(key) => Public::P384(key.public_key()),
        })
    }

    /// Signs with the curve's hash: r ‖ s, each of the field's length. The same message has the
    /// same signature (RFC 6979), so that no bad entropy can betray the key.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        const REASON: &str = "a hash of the field's length can be signed";
        match &self.0 {
            Private::P256(key) => {
                let signature: p256::ecdsa::Signature = p256::ecdsa::SigningKey::from(key)
                    .sign_prehash(&Sha256::digest(message))
                    .expect(REASON);
                signature.to_bytes().to_vec()
            }
            Private::P384(key) => {
                let signature: p384::ecdsa::Signature = p384::ecdsa::SigningKey::from(key)
                    .sign_prehash(&Sha384::digest(message))
                    .expect(REASON);
                signature.to_bytes().to_vec()
            }
        }
    }

    /// The x coordinate of the point that both parties compute (ECC CDH, SP 800-56A 5.7.1.2).
    ///
    /// # Errors
    ///
    /// [`SecurityError::Curve`] if the other key is of another curve.
    pub fn agree(&self, public: &PublicKey) -> Result<Zeroizing<Vec<u8>>, SecurityError> {
        match (&self.0, &public.0) {
            (Private::P256(key), Public::P256(public)) => {
                let shared = key.diffie_hellman(public);
                Ok(Zeroizing::new(shared.raw_secret_bytes().to_vec()))
            }
            (Private::P384(key), Public::P384(public)) => {
                let shared = key.diffie_hellman(public);
                Ok(Zeroizing::new(shared.raw_secret_bytes().to_vec()))
            }
            (Private::P256(_), Public::P384(_)) | (Private::P384(_), Public::P256(_)) => {
                Err(SecurityError::Curve {
                    wanted: self.curve(),
                    found: public.curve(),
                })
            }
        }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(redacted)")
    }
}

/// A public key: a point on its curve, checked when it was read.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(Public);

#[derive(Clone, PartialEq, Eq)]
enum Public {
    P256(p256::PublicKey),
    P384(p384::PublicKey),
}

impl PublicKey {
    /// Reads a public key as DLMS/COSEM writes it: x ‖ y.
    ///
    /// # Errors
    ///
    /// [`SecurityError::FieldLength`], or [`SecurityError::PublicKey`] if the point is not on the
    /// curve.
    pub fn from_bytes(curve: Curve, point: &[u8]) -> Result<Self, SecurityError> {
        check_length("public key", point, curve.pair_len())?;
        let mut sec1 = Vec::with_capacity(1 + point.len());
        sec1.push(UNCOMPRESSED);
        sec1.extend_from_slice(point);
        Self::from_sec1(curve, &sec1)
    }

    /// Reads a public key as certificates write it: SEC1, compressed or not.
    ///
    /// # Errors
    ///
    /// [`SecurityError::PublicKey`] if it is no point of the curve.
    pub(super) fn from_sec1(curve: Curve, sec1: &[u8]) -> Result<Self, SecurityError> {
        let bad = |_| SecurityError::PublicKey { curve };
        Ok(Self(match curve {
            Curve::P256 => Public::P256(p256::PublicKey::from_sec1_bytes(sec1).map_err(bad)?),
            Curve::P384 => Public::P384(p384::PublicKey::from_sec1_bytes(sec1).map_err(bad)?),
        }))
    }

    /// The point as certificates write it: SEC1, uncompressed.
    pub(super) fn to_sec1(&self) -> Vec<u8> {
        let mut sec1 = vec![UNCOMPRESSED];
        sec1.extend(self.to_bytes());
        sec1
    }

    /// The point as DLMS/COSEM writes it: x ‖ y.
    pub fn to_bytes(&self) -> Vec<u8> {
        use p256::elliptic_curve::sec1::ToSec1Point as _;
        match &self.0 {
            Public::P256(key) => key.to_sec1_point(false).as_bytes()[1..].to_vec(),
            Public::P384(key) => key.to_sec1_point(false).as_bytes()[1..].to_vec(),
        }
    }

    /// The curve.
    pub const fn curve(&self) -> Curve {
        match &self.0 {
            Public::P256(_) => Curve::P256,
            Public::P384(_) => Curve::P384,
        }
    }

    /// Verifies a signature r ‖ s over a message, with the curve's hash.
    ///
    /// # Errors
    ///
    /// [`SecurityError::FieldLength`], or [`SecurityError::BadSignature`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SecurityError> {
        let curve = self.curve();
        check_length("signature", signature, curve.pair_len())?;
        match &self.0 {
            Public::P256(key) => p256::ecdsa::Signature::from_slice(signature).and_then(|found| {
                p256::ecdsa::VerifyingKey::from(key)
                    .verify_prehash(&Sha256::digest(message), &found)
            }),
            Public::P384(key) => p384::ecdsa::Signature::from_slice(signature).and_then(|found| {
                p384::ecdsa::VerifyingKey::from(key)
                    .verify_prehash(&Sha384::digest(message), &found)
            }),
        }
        .map_err(|_| SecurityError::BadSignature { curve })
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, ", self.curve())?;
        for byte in self.to_bytes() {
            write!(f, "{byte:02X}")?;
        }
        f.write_str(")")
    }
}

/// In front of an uncompressed point (SEC1, 2.3.3).
const UNCOMPRESSED: u8 = 4;

/// Checks the length of a field that the curve fixes.
pub(super) fn check_length(
    field: &'static str,
    bytes: &[u8],
    wanted: usize,
) -> Result<(), SecurityError> {
    if bytes.len() == wanted {
        Ok(())
    } else {
        Err(SecurityError::FieldLength {
            field,
            bytes: bytes.len(),
            wanted,
        })
    }
}
