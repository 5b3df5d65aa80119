//! The demo's head-end: it knows the houses' meters by the keys that they share with the edge, and
//! reaches them through the tiers.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use gridloom_core::{MeterId, UtcTime};
use gridloom_dlms::security::KeyEncryptionKey;
use gridloom_headend::Secret;
use gridloom_headend::audit::{Action, AuditOutcome, AuditRecord, Target};
use gridloom_headend::vault::NewKey;
use gridloom_host::{DataDirectory, entropy};
use gridloom_sim::town::{House, Town};
use gridloom_store::{
    Batch, Change, ClientRole, DeviceLink, DeviceRow, DeviceState, KeyKind, KeyState, Transport,
};
use zeroize::Zeroizing;

use crate::headend::{MasterKeyOption, Office};

/// The template of the program's own meters.
const TEMPLATE: &str = "gridloom";

/// The meters' own master keys, by which their other keys are changed.
pub(super) type MasterKeys = BTreeMap<MeterId, KeyEncryptionKey>;

/// Opens the head-end's tables and registers the houses that it does not know yet.
pub(super) fn open(
    directory: &DataDirectory,
    town: &Town,
    now: UtcTime,
) -> anyhow::Result<(Office, MasterKeys)> {
    let mut office = Office::open(directory, None, &MasterKeyOption::of_directory())?;
    if let Some(template) = office.templates.get_mut(TEMPLATE) {
        template.capture_period = town.plan().period;
    }
    let mut vault = office.vault(now)?;
    let registry = office.registry()?;
    let keys = office.disk.store().keys(None)?;
    let mut next = office.disk.store().next_key()?;
    let mut masters = MasterKeys::new();
    for house in town.houses() {
        let meter = house.meter();
        let kind = KeyKind::KeyEncryption;
        let held = keys
            .iter()
            .find(|key| (key.meter, key.kind, key.state) == (meter, kind, KeyState::Current));
        let master = match held {
            Some(row) => vault.unseal(row)?,
            None => {
                let secret = Secret::new(&*Zeroizing::new(entropy::bytes::<16>()?));
                let new = NewKey {
                    key: next,
                    meter,
                    kind,
                    client: 0,
                    state: KeyState::Current,
                    made_at: now,
                };
                next.0 += 1;
                let row = vault.seal(new, &secret)?;
                office.commit(Batch::new(vec![Change::Key(row)]))?;
                secret
            }
        };
        let master = master
            .to_key()
            .context("a kek of a demo's meter has 16 bytes")?;
        masters.insert(meter, KeyEncryptionKey::new(*master));
        let held = registry.meter(meter);
        if held.is_some_and(|held| !held.roles.is_empty()) {
            continue;
        }
        let mut changes = Vec::new();
        let has_key = |kind| {
            keys.iter()
                .any(|key| (key.meter, key.kind, key.state) == (meter, kind, KeyState::Current))
        };
        let shared = &house.config().keys;
        for (kind, bytes) in [
            (KeyKind::UnicastEncryption, shared.encryption().as_bytes()),
            (KeyKind::Authentication, shared.authentication().as_bytes()),
        ] {
            if has_key(kind) {
                continue;
            }
            let new = NewKey {
                key: next,
                meter,
                kind,
                client: 0,
                state: KeyState::Current,
                made_at: now,
            };
            changes.push(Change::Key(vault.seal(new, &Secret::new(bytes))?));
            next.0 += 1;
        }
        let row = row(house, meter);
        let record = AuditRecord {
            at: now,
            actor: "demo".to_owned(),
            action: Action::MeterChange,
            target: Target::Meter(meter),
            before: String::new(),
            after: format!("{} {:?} at {}", row.title, row.name, row.link.endpoint()),
            outcome: AuditOutcome::Done,
        };
        changes.push(Change::Device(row));
        changes.push(record.to_change());
        office.commit(Batch::new(changes))?;
    }
    Ok((office, masters))
}

fn row(house: &House, meter: MeterId) -> DeviceRow {
    DeviceRow {
        meter,
        title: house.config().title,
        serial: format!("m{}", meter.0),
        name: house.name().to_owned(),
        state: DeviceState::Commissioned,
        link: DeviceLink {
            transport: Transport::Gateway,
            address: format!("m{}", meter.0),
            server: 1,
            physical: 0,
        },
        roles: vec![ClientRole {
            client: 1,
            mechanism: 5,
            suite: Some(0),
        }],
        template: TEMPLATE.to_owned(),
        groups: BTreeSet::from(["demo".to_owned()]),
        service_point: house.name().to_owned(),
        phases: 1,
        fuse_a: 100,
        voltage_v: 230,
        retired_at: None,
    }
}
