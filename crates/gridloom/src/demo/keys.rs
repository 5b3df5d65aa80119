//! The utility's key-encryption key and its meters' keys: from the operating system's entropy,
//! kept wrapped.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use gridloom_core::{MeterId, SystemTitle};
use gridloom_dlms::security::{KeyEncryptionKey, Keys};
use gridloom_host::entropy;
use gridloom_store::{Backend, MeterRow};

use crate::founding::write_durably;

const FILE: &str = "kek";

/// Reads the key-encryption key, or makes one.
pub(super) fn key_encryption_key(
    data: &Path,
    has_meters: bool,
) -> anyhow::Result<KeyEncryptionKey> {
    let path = data.join(FILE);
    match std::fs::read(&path) {
        Ok(bytes) => {
            let Ok(key) = <[u8; 16]>::try_from(bytes.as_slice()) else {
                bail!(
                    "{} holds {} bytes, a key has 16: restore it from a backup",
                    path.display(),
                    bytes.len()
                );
            };
            Ok(KeyEncryptionKey::new(key))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            ensure!(
                !has_meters,
                "{} is missing, and without it the meters' keys cannot be unwrapped: \
                 restore it from a backup",
                path.display()
            );
            let key = entropy::bytes()?;
            write_durably(&path, &key)?;
            Ok(KeyEncryptionKey::new(key))
        }
        Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
    }
}

/// A meter to enrol: its registry row without keys.
pub(super) struct Applicant {
    pub(super) meter: MeterId,
    pub(super) title: SystemTitle,
    pub(super) name: String,
    pub(super) phases: u8,
}

/// The meter's keys: unwrapped from its row, or made and enrolled.
pub(super) fn enrol(
    backend: &mut dyn Backend,
    kek: &KeyEncryptionKey,
    rows: &[MeterRow],
    applicant: Applicant,
) -> anyhow::Result<Keys> {
    if let Some(row) = rows.iter().find(|row| row.meter == applicant.meter) {
        return unwrap(kek, row);
    }
    let (ek, ak) = (entropy::bytes()?, entropy::bytes()?);
    backend.enrol(MeterRow {
        meter: applicant.meter,
        title: applicant.title,
        service_point: applicant.name.clone(),
        name: applicant.name,
        phases: applicant.phases,
        wrapped_ek: kek.wrap(&ek).to_vec(),
        wrapped_ak: kek.wrap(&ak).to_vec(),
    })?;
    Ok(Keys::new(ek, ak))
}

fn unwrap(kek: &KeyEncryptionKey, row: &MeterRow) -> anyhow::Result<Keys> {
    let open = |what: &str, wrapped: &[u8]| {
        let wrapped = wrapped.try_into().with_context(|| {
            format!(
                "the wrapped {what} key of meter {} has {} bytes, not 24: restore the registry from a backup",
                row.meter,
                wrapped.len()
            )
        })?;
        kek.unwrap(wrapped).with_context(|| {
            format!(
                "the {what} key of meter {} does not unwrap with this key-encryption key",
                row.meter
            )
        })
    };
    Ok(Keys::new(
        *open("encryption", &row.wrapped_ek)?,
        *open("authentication", &row.wrapped_ak)?,
    ))
}
