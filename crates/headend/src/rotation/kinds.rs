//! The kinds of keys that a meter takes by key transfer, and in which parts they go.

use std::collections::BTreeMap;
use std::time::Duration;

use gridloom_core::{MeterId, UtcTime};
use gridloom_store::{Batch, Change, KeyId, KeyKind, KeyRow, KeyState};

use super::terms::RotationError;
use crate::vault::Vault;

/// How long a replaced key is kept in case its meter falls back to it.
pub const PREVIOUS_KEPT: Duration = Duration::from_hours(7 * 24);

/// Kinds of keys that an association proves.
pub(super) const PROVABLE: [KeyKind; 2] = [KeyKind::UnicastEncryption, KeyKind::Authentication];

/// Kinds of keys that can be changed: the `key_id`s of class 64, method 2.
pub(super) const CHANGEABLE: [KeyKind; 4] = [
    KeyKind::UnicastEncryption,
    KeyKind::Authentication,
    KeyKind::BroadcastEncryption,
    KeyKind::KeyEncryption,
];

/// What goes to the meter in one transfer, by the way in which it is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// GUEK and GAK: by an association.
    Association,
    /// GBEK: by the meter's word.
    Broadcast,
    /// KEK: by what it unwraps.
    Master,
}

impl Part {
    pub(super) const fn of(kind: KeyKind) -> Option<Self> {
        match kind {
            KeyKind::UnicastEncryption | KeyKind::Authentication => Some(Self::Association),
            KeyKind::BroadcastEncryption => Some(Self::Broadcast),
            KeyKind::KeyEncryption => Some(Self::Master),
            KeyKind::LowLevelSecret | KeyKind::HighLevelSecret => None,
        }
    }
}

/// The parameters of `key_transfer` (class 64, method 2): `key_id` and the key wrapped by the
/// meter's own master key (`kek`).
///
/// # Errors
///
/// If a key does not unwrap from the vault.
pub fn transport_keys(
    vault: &mut Vault,
    kek: &KeyRow,
    keys: &[KeyRow],
) -> Result<Vec<(u8, Vec<u8>)>, RotationError> {
    let mut entries = Vec::with_capacity(keys.len());
    for row in keys {
        let key_id = match row.kind {
            KeyKind::UnicastEncryption => 0,
            KeyKind::BroadcastEncryption => 1,
            KeyKind::Authentication => 2,
            KeyKind::KeyEncryption => 3,
            KeyKind::LowLevelSecret | KeyKind::HighLevelSecret => {
                return Err(RotationError::NotTransferable {
                    meter: row.meter,
                    kind: row.kind,
                });
            }
        };
        entries.push((key_id, vault.transport(kek, row)?));
    }
    Ok(entries)
}

/// Retires replaced keys whose successor was made [`PREVIOUS_KEPT`] ago and still is current.
pub fn retire_previous(keys: &[KeyRow], now: UtcTime) -> Batch {
    let has_old_successor = |row: &&KeyRow| {
        keys.iter().any(|other| {
            (other.meter, other.kind, other.client) == (row.meter, row.kind, row.client)
                && other.state == KeyState::Current
                && now.since(other.made_at) >= PREVIOUS_KEPT
        })
    };
    let previous = keys.iter().filter(|row| row.state == KeyState::Previous);
    let due = previous.filter(has_old_successor);
    Batch::new(
        due.map(|row| Change::KeyState(row.key, KeyState::Retired))
            .collect(),
    )
}

pub(super) fn in_state(
    keys: &[KeyRow],
    meter: MeterId,
    state: KeyState,
) -> BTreeMap<KeyKind, KeyId> {
    keys.iter()
        .filter(|row| row.meter == meter && row.state == state && Part::of(row.kind).is_some())
        .map(|row| (row.kind, row.key))
        .collect()
}

/// A key without which nothing can be changed: two to talk under, and one to wrap by.
pub(super) fn missing(current: &BTreeMap<KeyKind, KeyId>) -> Option<KeyKind> {
    let needed = [PROVABLE[0], PROVABLE[1], KeyKind::KeyEncryption];
    needed.into_iter().find(|kind| !current.contains_key(kind))
}
