//! AES-GCM with a 12-byte tag, under keys of either length.

use aes_gcm::aead::consts::U12;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aes::{Aes128Enc, Aes256Enc};
use aes_gcm::{AeadInOut, AesGcm, KeyInit, Nonce, Tag};

use super::keys::SymmetricKey;

/// Bytes of an authentication tag.
pub const TAG_LEN: usize = 12;

/// Bytes of a nonce: system title and invocation counter.
pub(super) const NONCE_LEN: usize = 12;

/// An expanded encryption key. One branch per APDU; each side of it is its own machine code.
#[derive(Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every context is of the larger kind, and a pointer less on its way"
)]
pub(super) enum Engine {
    Aes128(AesGcm<Aes128Enc, U12, U12>),
    /// Boxed: the few contexts of this kind should not set the size of the others.
    Aes256(Box<AesGcm<Aes256Enc, U12, U12>>),
}

impl Engine {
    pub(super) fn new(key: &SymmetricKey) -> Self {
        let key = key.as_bytes();
        if let Ok(key) = <&[u8; 16]>::try_from(key) {
            Self::Aes128(AesGcm::new(key.into()))
        } else {
            let key = <&[u8; 32]>::try_from(key).expect("a key has 16 or 32 bytes");
            Self::Aes256(Box::new(AesGcm::new(key.into())))
        }
    }
}

/// An expanded key that seals and opens.
pub(super) trait Cipher {
    /// Encrypts the buffer in place; the tag.
    fn encrypt(
        &self,
        nonce: &[u8; NONCE_LEN],
        associated: &[u8],
        buffer: &mut [u8],
    ) -> [u8; TAG_LEN];

    /// Whether the tag verifies; the buffer is decrypted only then.
    fn decrypt(
        &self,
        nonce: &[u8; NONCE_LEN],
        associated: &[u8],
        buffer: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> bool;
}

impl<C> Cipher for AesGcm<C, U12, U12>
where
    Self: AeadInOut<NonceSize = U12, TagSize = U12>,
{
    fn encrypt(
        &self,
        nonce: &[u8; NONCE_LEN],
        associated: &[u8],
        buffer: &mut [u8],
    ) -> [u8; TAG_LEN] {
        let (nonce, buffer) = (Nonce::<U12>::from(*nonce), InOutBuf::from(buffer));
        self.encrypt_inout_detached(&nonce, associated, buffer)
            .expect("an APDU is far below the 64 GiB that GCM can take")
            .into()
    }

    fn decrypt(
        &self,
        nonce: &[u8; NONCE_LEN],
        associated: &[u8],
        buffer: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> bool {
        let (nonce, buffer) = (Nonce::<U12>::from(*nonce), InOutBuf::from(buffer));
        let tag = Tag::<U12>::from(*tag);
        self.decrypt_inout_detached(&nonce, associated, buffer, &tag)
            .is_ok()
    }
}

impl Cipher for Engine {
    fn encrypt(
        &self,
        nonce: &[u8; NONCE_LEN],
        associated: &[u8],
        buffer: &mut [u8],
    ) -> [u8; TAG_LEN] {
        match self {
            Self::Aes128(cipher) => cipher.encrypt(nonce, associated, buffer),
            Self::Aes256(cipher) => cipher.encrypt(nonce, associated, buffer),
        }
    }

    fn decrypt(
        &self,
        nonce: &[u8; NONCE_LEN],
        associated: &[u8],
        buffer: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> bool {
        match self {
            Self::Aes128(cipher) => cipher.decrypt(nonce, associated, buffer, tag),
            Self::Aes256(cipher) => cipher.decrypt(nonce, associated, buffer, tag),
        }
    }
}

/// An AES-128 key expanded for one APDU: no enum to build, nothing to clone.
pub(super) struct Aes128Once(AesGcm<Aes128Enc, U12, U12>);

impl Aes128Once {
    #[inline]
    pub(super) fn new(key: &[u8; 16]) -> Self {
        Self(AesGcm::new(key.into()))
    }
}

impl Cipher for Aes128Once {
    fn encrypt(
        &self,
        nonce: &[u8; NONCE_LEN],
        associated: &[u8],
        buffer: &mut [u8],
    ) -> [u8; TAG_LEN] {
        self.0.encrypt(nonce, associated, buffer)
    }

    fn decrypt(
        &self,
        nonce: &[u8; NONCE_LEN],
        associated: &[u8],
        buffer: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> bool {
        self.0.decrypt(nonce, associated, buffer, tag)
    }
}
