//! A secret in memory, how secrets are wrapped, and what may go wrong.

use core::fmt;

use gridloom_core::MeterId;
use gridloom_store::{KeyId, KeyKind};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes of a key or password; a longer one is refused.
pub const SECRET_BYTES_MAX: usize = 48;

/// A key or password in the clear: wiped when dropped, compared in constant time, never printed.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes a secret; the bytes given are the caller's to wipe.
    pub fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// The bytes, to hand to whatever needs them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// A 16-byte key (suites 0 and 1).
    pub fn to_key(&self) -> Option<Zeroizing<[u8; 16]>> {
        <[u8; 16]>::try_from(self.expose()).ok().map(Zeroizing::new)
    }

    /// Reads pairs of hexadecimal digits.
    pub fn parse_hex(text: &str) -> Option<Self> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if !rest.is_empty() {
            return None;
        }
        // Filled in place: a growing vector would leave copies behind.
        let mut bytes = Zeroizing::new(vec![0; pairs.len()]);
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            *byte = u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?;
        }
        Some(Self(bytes))
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// How a secret is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WrapForm {
    /// AES key wrap (RFC 3394), for keys of 16, 24 or 32 bytes.
    Key,
    /// AES key wrap with padding (RFC 5649), for passwords of any length.
    Padded,
}

impl WrapForm {
    /// The form of a kind of secret.
    pub const fn of(kind: KeyKind) -> Self {
        match kind {
            KeyKind::UnicastEncryption
            | KeyKind::BroadcastEncryption
            | KeyKind::Authentication
            | KeyKind::KeyEncryption => Self::Key,
            KeyKind::LowLevelSecret | KeyKind::HighLevelSecret => Self::Padded,
        }
    }

    pub(super) const fn check(self, kind: KeyKind, length: usize) -> Result<(), VaultError> {
        let fits = match self {
            Self::Key => matches!(length, 16 | 32),
            Self::Padded => 1 <= length && length <= SECRET_BYTES_MAX,
        };
        if fits {
            Ok(())
        } else {
            Err(VaultError::Length { kind, length })
        }
    }
}

/// Why the vault did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The master key is not the one that wrapped the registry.
    #[error(
        "vault: this is not master key {0}, its check value does not unwrap; give the key that \
         was used before, or restore it from a backup"
    )]
    WrongMasterKey(u32),
    /// A version of the master key that is in use was not given.
    #[error("vault: master key {0} is in use, but was not given; add it to the key source")]
    VersionMissing(u32),
    /// The text or bytes of a master key make no sense. Says where, never what.
    #[error("vault: master key source, line {line}: {fault}")]
    Source {
        /// From 1.
        line: usize,
        /// What is wrong and what is wanted.
        fault: &'static str,
    },
    /// What was wrapped does not unwrap.
    #[error("vault: it does not unwrap: wrapped by another key, or damaged")]
    DoesNotUnwrap,
    /// A meter's key does not unwrap, though the master key is right.
    #[error(
        "vault: the {kind} {key} of {meter} does not unwrap: its row is damaged; restore it from \
         a backup"
    )]
    KeyDamaged {
        /// The key.
        key: KeyId,
        /// Whose.
        meter: MeterId,
        /// Which.
        kind: KeyKind,
    },
    /// The key is retired.
    #[error("vault: {0} is retired, its bytes are gone")]
    KeyGone(KeyId),
    /// The length does not fit the kind.
    #[error(
        "vault: a {kind} of {length} bytes; keys have 16 or 32 bytes, passwords 1 to \
         {SECRET_BYTES_MAX}"
    )]
    Length {
        /// Of what.
        kind: KeyKind,
        /// Its bytes.
        length: usize,
    },
    /// The version is needed still.
    #[error("vault: master key {version} is in use ({keys} keys); wrap them by a newer one first")]
    StillInUse {
        /// The version.
        version: u32,
        /// Keys wrapped by it.
        keys: usize,
    },
    /// The holder of the master key refused or failed.
    #[error("vault: the key holder says: {0}")]
    Holder(String),
    /// The holder of the master key answered something that makes no sense.
    #[error("vault: the key holder answered {0}")]
    Answer(String),
}
