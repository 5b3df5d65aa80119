//! `gridloom meters copy`: what an edge or a utility on another host has to know of the registry.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use gridloom_core::MeterId;
use gridloom_headend::audit::{Action, AuditOutcome, AuditRecord, Target};
use gridloom_host::{Clock, DataDirectory, OperationsDisk};
use gridloom_store::{Batch, Change, DeviceRow, KeyKind, KeyRow, KeyState};

use super::chosen;
use crate::founding::Founding as DemoFounding;
use crate::headend::actor;

/// Where from, where to, and what of it.
#[derive(clap::Args)]
pub(super) struct CopyMeters {
    /// Data directory to copy to, made if it is not there
    to: PathBuf,
    /// Data directory of the head-end
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Only meters of this group
    #[arg(long)]
    group: Option<String>,
    /// For which tier: an edge gets the keys that it shares with its meters, a utility none
    #[arg(long = "for", value_name = "TIER", value_enum)]
    tier: Tier,
    /// Who does it, for the audit log there [default: the user]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

/// Who needs a part of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Tier {
    /// Meters and their shared keys, wrapped as they are
    Edge,
    /// Meters, and since when each is in service
    Utility,
}

impl CopyMeters {
    pub(super) fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let rows = chosen(&self.data, self.group.as_deref())?;
        ensure!(
            !rows.is_empty(),
            "there is no such meter in {}",
            self.data.display()
        );
        let from = OperationsDisk::open_database(&self.data)?;
        let store = from.store();
        let (masters, keys) = (store.masters()?, store.keys(None)?);
        let directory = DataDirectory::open("TO", &self.to)?;
        ensure!(
            !DemoFounding::is_in(directory.path()),
            "{} was made by gridloom demo: choose another directory",
            directory.path().display()
        );
        let mut to = OperationsDisk::open(&directory)?;
        let is_copied: BTreeSet<MeterId> = rows.iter().map(|row| row.meter).collect();
        refuse_strangers(&to, &rows)?;
        let mut keys: Vec<KeyRow> = keys
            .into_iter()
            .filter(|key| is_copied.contains(&key.meter) && is_shared(key))
            .map(|key| self.tier.share(key))
            .collect();
        let mut changes = Vec::new();
        if self.tier == Tier::Edge {
            changes.extend(masters.into_iter().map(Change::Master));
        }
        let (meters, count) = (rows.len(), keys.len());
        // What is retired first: its title, serial number and address may be another's by now.
        let (retired, serving): (Vec<DeviceRow>, Vec<DeviceRow>) =
            rows.into_iter().partition(|row| row.retired_at.is_some());
        changes.extend(retired.into_iter().chain(serving).map(Change::Device));
        // A key makes room before its successor becomes the current one.
        keys.sort_by_key(|key| (Reverse(key.state), key.key));
        changes.extend(keys.into_iter().map(Change::Key));
        let record = AuditRecord {
            at: Clock::realtime().now().utc,
            actor: actor(self.by.as_deref()),
            action: Action::Import,
            target: Target::System,
            before: String::new(),
            after: format!("{meters} meters, {count} keys, copied from a head-end"),
            outcome: AuditOutcome::Done,
        };
        changes.push(record.to_change());
        let mut answers = to.store_mut().commit(&[Batch::new(changes)])?;
        answers
            .pop()
            .context("the database answers every batch")?
            .with_context(|| format!("{}: nothing was copied", directory.path().display()))?;
        let what = match self.tier {
            Tier::Edge => "with the keys of its edge, wrapped by the same master key",
            Tier::Utility => "without keys",
        };
        Ok(writeln!(out, "{meters} meters copied, {what}")?)
    }
}

impl Tier {
    /// A utility has to know since when a meter has keys, and no key.
    fn share(self, key: KeyRow) -> KeyRow {
        match self {
            Self::Edge => key,
            Self::Utility => KeyRow {
                state: KeyState::Retired,
                wrapped: Vec::new(),
                ..key
            },
        }
    }
}

/// The keys that a meter shares with its edge.
const fn is_shared(key: &KeyRow) -> bool {
    matches!(
        key.kind,
        KeyKind::UnicastEncryption | KeyKind::Authentication
    )
}

/// Numbers must mean the same meters on both sides: readings travel by them.
fn refuse_strangers(to: &OperationsDisk, rows: &[DeviceRow]) -> anyhow::Result<()> {
    for held in to.store().devices()? {
        let row = rows.iter().find(|row| row.meter == held.meter);
        if let Some(row) = row.filter(|row| row.serial != held.serial) {
            bail!(
                "{} is serial number {} there and {} here: the two registries were numbered apart; \
                 copy to a new directory",
                held.meter,
                held.serial,
                row.serial
            );
        }
    }
    Ok(())
}
