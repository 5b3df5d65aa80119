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

    /// The same signature as certificates write it: in DER.
    pub(super) fn sign_der(&self, message: &[u8]) -> Vec<u8> {
        const REASON: &str = "we made the signature";
        let signature = self.sign(message);
        match &self.0 {
            Private::P256(_) => p256::ecdsa::Signature::from_slice(&signature)
                .expect(REASON)
                .to_der()
                .as_bytes()
                .to_vec(),
            Private::P384(_) => p384::ecdsa::Signature::from_slice(&signature)
                .expect(REASON)
                .to_der()
                .as_bytes()
                .to_vec(),
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

impl PublicKey {
    /// Verifies a signature as certificates write it: in DER.
    pub(super) fn verify_der(&self, message: &[u8], signature: &[u8]) -> Result<(), SecurityError> {
        let curve = self.curve();
        let bad = |_| SecurityError::BadSignature { curve };
        let signature = match curve {
            Curve::P256 => p256::ecdsa::Signature::from_der(signature)
                .map_err(bad)?
                .to_bytes()
                .to_vec(),
            Curve::P384 => p384::ecdsa::Signature::from_der(signature)
                .map_err(bad)?
                .to_bytes()
                .to_vec(),
        };
        self.verify(message, &signature)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;
    use crate::security::vectors::{CURVES, initiator, responder, signer};

    /// RFC 6979, A.2.5 and A.2.6.
    #[test]
    fn signature_vectors() {
        let signatures = [
            "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716F7CB1C94\
                 2D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
            "94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C81A64815\
                 2E44ACF96E36DD1E80FABE4699EF4AEB15F178CEA1FE40DB2603138F130E740A19624526\
                 203B6351D0A3A94FA329C145786E679E7B82C71A38628AC8",
        ];
        for (curve, signature) in CURVES.into_iter().zip(signatures) {
            let (key, signature) = (signer(curve), hex::bytes(signature));
            assert_eq!(key.sign(b"sample"), signature, "{curve}");
            let public = key.public_key();
            assert_eq!(public.verify(b"sample", &signature), Ok(()));
            assert_eq!(
                public.verify_der(b"sample", &key.sign_der(b"sample")),
                Ok(())
            );
            let bad = Err(SecurityError::BadSignature { curve });
            assert_eq!(public.verify(b"simple", &signature), bad);
            assert_eq!(
                responder(curve).public_key().verify(b"sample", &signature),
                bad
            );
            assert_eq!(public.verify(b"sample", &vec![0; curve.pair_len()]), bad);
            assert_eq!(public.verify_der(b"sample", &signature), bad);
            for at in [0, curve.field_len(), curve.pair_len() - 1] {
                let mut changed = signature.clone();
                changed[at] ^= 1;
                assert_eq!(public.verify(b"sample", &changed), bad, "{curve} {at}");
            }
            assert_eq!(
                public.verify(b"sample", &signature[1..]),
                Err(SecurityError::FieldLength {
                    field: "signature",
                    bytes: curve.pair_len() - 1,
                    wanted: curve.pair_len(),
                })
            );
        }
    }

    /// RFC 5903, 8.1 and 8.2.
    #[test]
    fn diffie_hellman_vectors() {
        let publics = [
            "DAD0B65394221CF9B051E1FECA5787D098DFE637FC90B9EF945D0C37725811805271A046\
                 1CDB8252D61F1C456FA3E59AB1F45B33ACCF5F58389E0577B8990BB3",
            "667842D7D180AC2CDE6F74F37551F55755C7645C20EF73E31634FE72B4C55EE6DE3AC808\
                 ACB4BDB4C88732AEE95F41AA9482ED1FC0EEB9CAFC4984625CCFC23F65032149E0E144AD\
                 A024181535A0F38EEB9FCFF3C2C947DAE69B4C634573A81C",
        ];
        let shared = [
            "D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE",
            "11187331C279962D93D604243FD592CB9D0A926F422E47187521287E7156C5C4D6031355\
                 69B9E9D09CF5D4A270F59746",
        ];
        for ((curve, public), shared) in CURVES.into_iter().zip(publics).zip(shared) {
            let (one, other) = (initiator(curve), responder(curve));
            assert_eq!(one.public_key().to_bytes(), hex::bytes(public), "{curve}");
            assert_eq!(
                PublicKey::from_bytes(curve, &hex::bytes(public)),
                Ok(one.public_key())
            );
            let shared = hex::bytes(shared);
            assert_eq!(*one.agree(&other.public_key()).unwrap(), shared, "{curve}");
            assert_eq!(*other.agree(&one.public_key()).unwrap(), shared, "{curve}");
        }
        assert_eq!(
            initiator(Curve::P256)
                .agree(&responder(Curve::P384).public_key())
                .map(drop),
            Err(SecurityError::Curve {
                wanted: Curve::P256,
                found: Curve::P384,
            })
        );
    }

    #[test]
    fn no_key_off_the_curve_is_read() {
        for curve in CURVES {
            let mut off = initiator(curve).public_key().to_bytes();
            off[curve.pair_len() - 1] ^= 1;
            for point in [off, vec![0; curve.pair_len()], vec![0xFF; curve.pair_len()]] {
                assert_eq!(
                    PublicKey::from_bytes(curve, &point),
                    Err(SecurityError::PublicKey { curve })
                );
            }
            for scalar in [vec![0; curve.field_len()], vec![0xFF; curve.field_len()]] {
                assert_eq!(
                    PrivateKey::from_bytes(curve, &scalar).map(drop),
                    Err(SecurityError::PrivateKey { curve })
                );
            }
        }
    }

    #[test]
    fn a_draw_that_is_no_scalar_is_drawn_again() {
        for curve in CURVES {
            let mut draws = 0;
            let key = PrivateKey::generate(curve, &mut |bytes| {
                bytes.fill(if draws == 0 { 0xFF } else { 0x11 });
                draws += 1;
            });
            assert_eq!((draws, key.curve()), (2, curve));
            assert_eq!(*key.to_bytes(), vec![0x11; curve.field_len()]);
            assert_eq!(format!("{key:?}"), "PrivateKey(redacted)");
        }
    }

    #[test]
    #[should_panic(expected = "the source of entropy gives no scalar")]
    fn entropy_of_nothing_is_our_error() {
        PrivateKey::generate(Curve::P256, &mut |bytes| bytes.fill(0));
    }
}
