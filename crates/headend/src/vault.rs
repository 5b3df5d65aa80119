//! Keys at rest: wrapped (RFC 3394; passwords RFC 5649) by a versioned master key that is never
//! in the database.
//!
//! Who holds the master key is a [`KeyWrapper`]: [`LocalMasterKeys`] in this process, from a file
//! or the environment, or something that never lets the key out. A PKCS#11 token fits the trait
//! as it is: `wrap` is `C_WrapKey` with `CKM_AES_KEY_WRAP` (or `CKM_AES_KEY_WRAP_KWP` for
//! [`WrapForm::Padded`]), `unwrap` is `C_UnwrapKey`, the version picks the object's label.
//! [`command`] carries the same two calls to an external program.
//!
//! A wrong master key is found when the vault opens: every version in use has a check value.

pub mod command;
mod local;
mod secret;

use std::collections::BTreeMap;

use gridloom_core::{MeterId, UtcTime};
use gridloom_store::{Change, KeyId, KeyKind, KeyRow, KeyState, MasterRow, Rewrap};

pub use local::{LocalMasterKeys, MASTER_KEYS_MAX, MasterKey};
pub use secret::{SECRET_BYTES_MAX, Secret, VaultError, WrapForm};

/// What every master key wraps once, to be told from a wrong one.
const CHECK: [u8; 16] = *b"gridloom vault 1";

/// Who wraps and unwraps under the master key.
pub trait KeyWrapper: core::fmt::Debug + Send {
    /// The version that new keys are wrapped by.
    fn newest(&self) -> u32;

    /// Wraps a key or password.
    ///
    /// # Errors
    ///
    /// If there is no such version, or the holder fails.
    fn wrap(&mut self, version: u32, form: WrapForm, plain: &[u8]) -> Result<Vec<u8>, VaultError>;

    /// Unwraps a key or password.
    ///
    /// # Errors
    ///
    /// [`VaultError::DoesNotUnwrap`] if it was wrapped by another key or damaged; or if there is
    /// no such version, or the holder fails.
    fn unwrap(
        &mut self,
        version: u32,
        form: WrapForm,
        wrapped: &[u8],
    ) -> Result<Secret, VaultError>;
}

/// The one place where keys are wrapped and unwrapped.
#[derive(Debug)]
pub struct Vault {
    wrapper: Box<dyn KeyWrapper>,
    newest: u32,
}

impl Vault {
    /// Opens the vault: proves every version of the master key that is in use, and hands out
    /// what has to be written for a version that is new.
    ///
    /// A version without a check value under which keys are wrapped (a registry of the first
    /// schema) is proved by unwrapping them.
    ///
    /// # Errors
    ///
    /// [`VaultError::WrongMasterKey`], or that a version is missing, by name.
    pub fn open(
        mut wrapper: Box<dyn KeyWrapper>,
        masters: &[MasterRow],
        keys: &[KeyRow],
        now: UtcTime,
    ) -> Result<(Self, Vec<Change>), VaultError> {
        let newest = wrapper.newest();
        let highest = masters.iter().map(|row| row.version).max();
        if let Some(known) = highest.filter(|known| *known > newest) {
            return Err(VaultError::VersionMissing(known));
        }
        for row in masters.iter().filter(|row| !row.is_retired) {
            let found = wrapper.unwrap(row.version, WrapForm::Key, &row.check);
            match found {
                Ok(check) if check.expose() == CHECK => {}
                Ok(_) | Err(VaultError::DoesNotUnwrap) => {
                    return Err(VaultError::WrongMasterKey(row.version));
                }
                Err(other) => return Err(other),
            }
        }
        let is_known = |version| masters.iter().any(|row| row.version == version);
        let mut unproved: BTreeMap<u32, Vec<&KeyRow>> = BTreeMap::from([(newest, Vec::new())]);
        for key in keys.iter().filter(|key| key.state != KeyState::Retired) {
            unproved.entry(key.master).or_default().push(key);
        }
        let mut changes = Vec::new();
        for (version, keys) in unproved {
            if is_known(version) {
                continue;
            }
            for key in keys {
                match wrapper.unwrap(version, WrapForm::of(key.kind), &key.wrapped) {
                    Ok(_) => {}
                    Err(VaultError::DoesNotUnwrap) => {
                        return Err(VaultError::WrongMasterKey(version));
                    }
                    Err(other) => return Err(other),
                }
            }
            let check = wrapper.wrap(version, WrapForm::Key, &CHECK)?;
            let check = <[u8; 24]>::try_from(check)
                .map_err(|check| VaultError::Answer(format!("{} bytes for 24", check.len())))?;
            changes.push(Change::Master(MasterRow {
                version,
                check,
                since: now,
                is_retired: false,
            }));
        }
        Ok((Self { wrapper, newest }, changes))
    }

    /// Wraps a new key of a meter; the row still has to be written.
    ///
    /// # Errors
    ///
    /// If the secret's length does not fit its kind, or the holder of the master key fails.
    pub fn seal(&mut self, new: NewKey, secret: &Secret) -> Result<KeyRow, VaultError> {
        let NewKey {
            key,
            meter,
            kind,
            client,
            state,
            made_at,
        } = new;
        let form = WrapForm::of(kind);
        form.check(kind, secret.expose().len())?;
        let wrapped = self.wrapper.wrap(self.newest, form, secret.expose())?;
        Ok(KeyRow {
            key,
            meter,
            kind,
            client,
            state,
            master: self.newest,
            wrapped,
            made_at,
        })
    }

    /// Unwraps a meter's key.
    ///
    /// # Errors
    ///
    /// [`VaultError::KeyDamaged`] if the row's bytes are not what was wrapped,
    /// [`VaultError::KeyGone`] if it is retired.
    pub fn unseal(&mut self, row: &KeyRow) -> Result<Secret, VaultError> {
        if row.state == KeyState::Retired {
            return Err(VaultError::KeyGone(row.key));
        }
        let form = WrapForm::of(row.kind);
        match self.wrapper.unwrap(row.master, form, &row.wrapped) {
            Err(VaultError::DoesNotUnwrap) => Err(VaultError::KeyDamaged {
                key: row.key,
                meter: row.meter,
                kind: row.kind,
            }),
            other => other,
        }
    }

    /// The change that wraps a key by the newest master key; `None` if it is already, or retired.
    /// The change is refused by the store if the key was wrapped anew meanwhile.
    ///
    /// # Errors
    ///
    /// As [`Self::unseal`].
    pub fn rewrap(&mut self, row: &KeyRow) -> Result<Option<Change>, VaultError> {
        if row.master == self.newest || row.state == KeyState::Retired {
            return Ok(None);
        }
        let secret = self.unseal(row)?;
        let form = WrapForm::of(row.kind);
        let wrapped = self.wrapper.wrap(self.newest, form, secret.expose())?;
        Ok(Some(Change::Rewrap(Rewrap {
            key: row.key,
            from: row.master,
            to: self.newest,
            wrapped,
        })))
    }

    /// A meter's key wrapped by the meter's own master key, for its transport.
    ///
    /// # Errors
    ///
    /// As [`Self::unseal`], or if `kek` is no key of 16 or 32 bytes.
    pub fn transport(&mut self, kek: &KeyRow, row: &KeyRow) -> Result<Vec<u8>, VaultError> {
        let (holder, key) = (self.unseal(kek)?, self.unseal(row)?);
        let length = |row: &KeyRow, secret: &Secret| VaultError::Length {
            kind: row.kind,
            length: secret.expose().len(),
        };
        let holder = MasterKey::new(holder.expose()).ok_or_else(|| length(kek, &holder))?;
        holder
            .wrap(WrapForm::Key, key.expose())
            .ok_or_else(|| length(row, &key))
    }

    /// The change that retires a version of the master key, once no key needs it.
    ///
    /// # Errors
    ///
    /// [`VaultError::StillInUse`] if a key is wrapped by it or it is the newest.
    pub fn retire(&self, master: &MasterRow, keys: &[KeyRow]) -> Result<Change, VaultError> {
        let keys = keys
            .iter()
            .filter(|key| key.master == master.version && key.state != KeyState::Retired)
            .count();
        if keys > 0 || master.version == self.newest {
            return Err(VaultError::StillInUse {
                version: master.version,
                keys,
            });
        }
        Ok(Change::Master(MasterRow {
            is_retired: true,
            ..*master
        }))
    }

    /// The version that new keys are wrapped by.
    pub const fn newest(&self) -> u32 {
        self.newest
    }
}

/// A key that is about to be wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewKey {
    /// Its number.
    pub key: KeyId,
    /// Whose it is.
    pub meter: MeterId,
    /// What it is for.
    pub kind: KeyKind,
    /// The client whose secret it is; 0 for the keys of the security setup.
    pub client: u16,
    /// Where its life begins.
    pub state: KeyState,
    /// Now.
    pub made_at: UtcTime,
}

#[cfg(test)]
mod tests;
