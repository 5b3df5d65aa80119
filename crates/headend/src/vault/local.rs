//! Master keys in this process.

use core::fmt;
use std::collections::BTreeMap;

use aes_kw::{KeyInit, KwAes128, KwAes256, KwpAes128, KwpAes256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::KeyWrapper;
use super::secret::{Secret, VaultError, WrapForm};

/// Versions of the master key that may be held at a time; one more is refused.
pub const MASTER_KEYS_MAX: usize = 16;

/// A master key: AES-256, or AES-128 as the first registries had it.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub enum MasterKey {
    /// 16 bytes.
    Aes128([u8; 16]),
    /// 32 bytes.
    Aes256([u8; 32]),
}

impl MasterKey {
    /// A key of 16 or 32 bytes.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        match bytes.len() {
            16 => bytes.try_into().ok().map(Self::Aes128),
            32 => bytes.try_into().ok().map(Self::Aes256),
            _ => None,
        }
    }

    pub(crate) fn wrap(&self, form: WrapForm, plain: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![0; plain.len().next_multiple_of(8) + 8];
        let done = match (self, form) {
            (Self::Aes128(key), WrapForm::Key) => {
                KwAes128::new(key.into()).wrap_key(plain, &mut out)
            }
            (Self::Aes256(key), WrapForm::Key) => {
                KwAes256::new(key.into()).wrap_key(plain, &mut out)
            }
            (Self::Aes128(key), WrapForm::Padded) => {
                KwpAes128::new(key.into()).wrap_key(plain, &mut out)
            }
            (Self::Aes256(key), WrapForm::Padded) => {
                KwpAes256::new(key.into()).wrap_key(plain, &mut out)
            }
        };
        done.is_ok().then_some(out)
    }

    pub(crate) fn unwrap(&self, form: WrapForm, wrapped: &[u8]) -> Option<Secret> {
        // The shortest: one padded block.
        if wrapped.len() < 16 {
            return None;
        }
        let mut out = Zeroizing::new(vec![0; wrapped.len() - 8]);
        let plain = match (self, form) {
            (Self::Aes128(key), WrapForm::Key) => {
                KwAes128::new(key.into()).unwrap_key(wrapped, &mut out)
            }
            (Self::Aes256(key), WrapForm::Key) => {
                KwAes256::new(key.into()).unwrap_key(wrapped, &mut out)
            }
            (Self::Aes128(key), WrapForm::Padded) => {
                KwpAes128::new(key.into()).unwrap_key(wrapped, &mut out)
            }
            (Self::Aes256(key), WrapForm::Padded) => {
                KwpAes256::new(key.into()).unwrap_key(wrapped, &mut out)
            }
        };
        plain.ok().map(Secret::new)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(redacted)")
    }
}

/// Versions of the master key, held in this process.
#[derive(Debug, Clone)]
pub struct LocalMasterKeys {
    keys: BTreeMap<u32, MasterKey>,
}

impl LocalMasterKeys {
    /// One key as version 1.
    pub fn single(key: MasterKey) -> Self {
        Self {
            keys: BTreeMap::from([(1, key)]),
        }
    }

    /// Reads a key source: the content of a file or of an environment variable. It is one key
    /// (16 or 32 raw bytes, or their hexadecimal digits), which is version 1; or a line
    /// `VERSION:HEX` for each version, with `#` comments.
    ///
    /// # Errors
    ///
    /// [`VaultError::Source`] names the line, never its content.
    pub fn parse(source: &[u8]) -> Result<Self, VaultError> {
        let fault = |line, fault| VaultError::Source { line, fault };
        let text = core::str::from_utf8(source).ok().map(str::trim);
        let single = text.filter(|text| !text.contains(':')).map_or_else(
            || MasterKey::new(source),
            |text| {
                let from_digits = Secret::parse_hex(text);
                let from_digits = from_digits.and_then(|key| MasterKey::new(key.expose()));
                from_digits.or_else(|| MasterKey::new(source))
            },
        );
        if let Some(key) = single {
            return Ok(Self::single(key));
        }
        let wanted = "neither 16 or 32 bytes, nor their hexadecimal digits, nor VERSION:HEX";
        let text = text.ok_or_else(|| fault(1, wanted))?;
        let mut keys = BTreeMap::new();
        for (line, content) in (1..).zip(text.lines()) {
            let content = content.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let (version, key) = content.split_once(':').ok_or_else(|| fault(line, wanted))?;
            let version = version.trim().parse().ok().filter(|version| *version > 0);
            let version: u32 =
                version.ok_or_else(|| fault(line, "a version is a number from 1 on"))?;
            let key = Secret::parse_hex(key.trim());
            let key = key.and_then(|key| MasterKey::new(key.expose()));
            let key = key.ok_or_else(|| fault(line, "a key has 32 or 64 hexadecimal digits"))?;
            if keys.insert(version, key).is_some() {
                return Err(fault(line, "the version was given before"));
            }
            if keys.len() > MASTER_KEYS_MAX {
                return Err(fault(line, "too many versions; retire and remove old ones"));
            }
        }
        if keys.is_empty() {
            return Err(fault(1, wanted));
        }
        Ok(Self { keys })
    }

    fn key(&self, version: u32) -> Result<&MasterKey, VaultError> {
        self.keys
            .get(&version)
            .ok_or(VaultError::VersionMissing(version))
    }
}

impl KeyWrapper for LocalMasterKeys {
    fn newest(&self) -> u32 {
        let newest = self.keys.last_key_value();
        *newest.expect("there is at least one key").0
    }

    fn wrap(&mut self, version: u32, form: WrapForm, plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        let wrapped = self.key(version)?.wrap(form, plain);
        wrapped
            .ok_or_else(|| VaultError::Holder(format!("{} bytes cannot be wrapped", plain.len())))
    }

    fn unwrap(
        &mut self,
        version: u32,
        form: WrapForm,
        wrapped: &[u8],
    ) -> Result<Secret, VaultError> {
        let plain = self.key(version)?.unwrap(form, wrapped);
        plain.ok_or(VaultError::DoesNotUnwrap)
    }
}
