//! Meters' keys in the tables, and the client that they make for one session.

use std::collections::{BTreeMap, BTreeSet};

use gridloom_core::{MeterId, SystemTitle};
use gridloom_dlms::association::{Conformance, Secret as Password};
use gridloom_dlms::client::{Authentication, Ciphering, ClientConfig, ReleaseForm, ServiceForm};
use gridloom_dlms::security::{Keys, Policy, SecurityControl, SecuritySuite, SymmetricKey};
use gridloom_headend::rotation::KeySelection;
use gridloom_headend::template::{CipheringForm, MeterTemplate, ReleaseForm as TemplateRelease};
use gridloom_headend::vault::Vault;
use gridloom_store::{Change, ClientRole, DeviceRow, KeyId, KeyKind, KeyRow, KeyState};

use super::entropy::Entropy;

/// The management client's address.
pub(super) const MANAGEMENT_CLIENT: u16 = 1;

/// The rows of all keys, by meter.
#[derive(Debug, Default)]
pub(super) struct KeyRing {
    rows: BTreeMap<KeyId, KeyRow>,
    of: BTreeMap<MeterId, BTreeSet<KeyId>>,
    next: Option<KeyId>,
}

impl KeyRing {
    pub(super) fn load(rows: Vec<KeyRow>, next: KeyId) -> Self {
        let mut ring = Self {
            next: Some(next),
            ..Self::default()
        };
        rows.into_iter().for_each(|row| ring.put(row));
        ring
    }

    fn put(&mut self, row: KeyRow) {
        self.of.entry(row.meter).or_default().insert(row.key);
        let next = self.next.get_or_insert(KeyId(1));
        next.0 = next.0.max(row.key.0 + 1);
        self.rows.insert(row.key, row);
    }

    /// What a durable change does to the keys; a key that is new comes back.
    pub(super) fn note(&mut self, change: &Change) -> Option<KeyRow> {
        match change {
            Change::Key(row) => {
                self.put(row.clone());
                return Some(row.clone());
            }
            Change::KeyState(key, state) => {
                if let Some(row) = self.rows.get_mut(key) {
                    row.state = *state;
                    if *state == KeyState::Retired {
                        row.wrapped = Vec::new();
                    }
                }
            }
            Change::Rewrap(rewrap) => {
                if let Some(row) = self.rows.get_mut(&rewrap.key) {
                    row.master = rewrap.to;
                    row.wrapped.clone_from(&rewrap.wrapped);
                }
            }
            Change::Device(_)
            | Change::Counter(_)
            | Change::Master(_)
            | Change::Work(_)
            | Change::Audit(_) => {}
        }
        None
    }

    /// The first number that was never given.
    pub(super) fn next_key(&self) -> KeyId {
        self.next.unwrap_or(KeyId(1))
    }

    /// Numbers below this one are given, whether or not their keys are durable yet.
    pub(super) fn reserve_numbers(&mut self, next: KeyId) {
        self.next = Some(next.max(self.next_key()));
    }

    pub(super) fn row(&self, key: KeyId) -> Option<&KeyRow> {
        self.rows.get(&key)
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &KeyRow> {
        self.rows.values()
    }

    pub(super) fn of(&self, meter: MeterId) -> Vec<KeyRow> {
        let keys = self.of.get(&meter).into_iter().flatten();
        keys.filter_map(|key| self.rows.get(key)).cloned().collect()
    }

    pub(super) fn current(&self, meter: MeterId, kind: KeyKind, client: u16) -> Option<&KeyRow> {
        let keys = self.of.get(&meter).into_iter().flatten();
        keys.filter_map(|key| self.rows.get(key))
            .find(|row| row.state == KeyState::Current && (row.kind, row.client) == (kind, client))
    }
}

/// As which client a meter is talked to: as management where it may be, else under the strongest
/// mechanism.
pub(super) fn role_of(row: &DeviceRow) -> Option<ClientRole> {
    let management = row
        .roles
        .iter()
        .find(|role| role.client == MANAGEMENT_CLIENT);
    let strongest = || row.roles.iter().max_by_key(|role| role.mechanism);
    management.or_else(strongest).copied()
}

/// A client for one session, and the key whose counters it uses. The words say which key is
/// missing or damaged.
pub(super) fn client_of(
    row: &DeviceRow,
    template: &MeterTemplate,
    own: SystemTitle,
    ring: &KeyRing,
    selection: Option<KeySelection>,
    vault: &mut Vault,
    entropy: &mut Entropy,
) -> Result<(ClientConfig, Option<KeyId>), &'static str> {
    let role = role_of(row).ok_or("any client; give the meter a role")?;
    let mut password = |kind| {
        let row = ring.current(row.meter, kind, role.client);
        let row = row.ok_or("a password; import it")?;
        let secret = vault.unseal(row).map_err(|_| "a password that unwraps")?;
        Ok(Password::new(secret.expose()))
    };
    let authentication = match role.mechanism {
        0 => Authentication::None,
        1 => Authentication::Lls(password(KeyKind::LowLevelSecret)?),
        5 => Authentication::Gmac,
        6 => Authentication::Sha256(password(KeyKind::HighLevelSecret)?),
        _ => return Err("a mechanism that the head-end speaks: 0, 1, 5 or 6"),
    };
    let mut key = None;
    let ciphering = match role.suite {
        None => None,
        Some(suite) => {
            let suite = SecuritySuite::from_code(suite).map_err(|_| "a known suite")?;
            let selection = selection.or_else(|| {
                let kind = |kind| ring.current(row.meter, kind, 0).map(|row| row.key);
                Some(KeySelection {
                    encryption: kind(KeyKind::UnicastEncryption)?,
                    authentication: kind(KeyKind::Authentication)?,
                })
            });
            let selection = selection.ok_or("a guek or a gak; import them")?;
            let mut open = |key: KeyId| -> Result<SymmetricKey, &'static str> {
                let row = ring.row(key).ok_or("a key that is in the tables")?;
                let secret = vault.unseal(row).map_err(|_| "a key that unwraps")?;
                SymmetricKey::from_bytes(secret.expose()).map_err(|_| "a key of 16 or 32 bytes")
            };
            let (encryption, proof) =
                (open(selection.encryption)?, open(selection.authentication)?);
            let keys = Keys::pair(encryption, proof).map_err(|_| "two keys of one length")?;
            if keys.key_len() != suite.key_len() {
                return Err("keys of the suite's length");
            }
            key = Some(selection.encryption);
            Some(Ciphering {
                dedicated_key: template.ciphering.uses_dedicated_key().then(|| {
                    let fresh: [u8; 32] = entropy.bytes();
                    Password::new(&fresh[..suite.key_len()])
                }),
                keys,
                suite,
                title: own,
                server_title: Some(row.title),
                form: match template.ciphering {
                    CipheringForm::GeneralGlobal | CipheringForm::GeneralDedicated => {
                        ServiceForm::General
                    }
                    CipheringForm::None
                    | CipheringForm::ServiceGlobal
                    | CipheringForm::ServiceDedicated => ServiceForm::Service,
                },
                control: SecurityControl::AUTHENTICATED_ENCRYPTED,
                policy: Policy::AuthenticatedEncryption,
            })
        }
    };
    let mut conformance = Conformance::STANDARD.without(Conformance::ATTRIBUTE_0_WITH_GET);
    if !template.supports.lists {
        conformance = conformance.without(Conformance::MULTIPLE_REFERENCES);
    }
    let config = ClientConfig {
        client: role.client,
        server: row.link.server,
        authentication,
        ciphering,
        max_pdu: template.max_pdu,
        conformance,
        release: match template.release {
            TemplateRelease::Full => ReleaseForm::Full,
            // A release that is refused ends like a link that is closed.
            TemplateRelease::Bare | TemplateRelease::Disconnect => ReleaseForm::Bare,
        },
        answer_timeout: template.answer_timeout,
        attempts: 3,
    };
    Ok((config, key))
}
