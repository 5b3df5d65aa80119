//! `gridloom meters`: the registry of a data directory, with the keys in its vault.

mod copy;
mod import;
mod view;

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use gridloom_core::MeterId;
use gridloom_headend::audit::{Action as Audited, AuditOutcome, AuditRecord, Target};
use gridloom_headend::registry::By;
use gridloom_headend::{Registry, export};
use gridloom_host::{Clock, DataDirectory, OperationsDisk};
use gridloom_store::{Change, DeviceRow, DeviceState, KeyState};

use crate::founding::write_durably;
use crate::headend::{Office, Place, actor};
use view::MeterJson;

/// Registers meters, shows them, and takes them out of service
#[derive(clap::Args)]
pub(crate) struct Meters {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Imports meters and their keys from a CSV file
    Import(import::ImportMeters),
    /// Lists the meters
    List {
        /// Data directory
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Only meters of this group
        #[arg(long)]
        group: Option<String>,
        /// Machine-readable
        #[arg(long)]
        json: bool,
    },
    /// Shows one meter: everything but its keys
    Show {
        /// Its number
        meter: u32,
        /// Data directory
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Machine-readable
        #[arg(long)]
        json: bool,
    },
    /// Writes the meters as a CSV file, without keys
    Export {
        /// Where to; standard output if none is named
        file: Option<PathBuf>,
        /// Data directory
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Only meters of this group
        #[arg(long)]
        group: Option<String>,
        /// As JSON instead
        #[arg(long)]
        json: bool,
    },
    /// Copies meters and their wrapped keys to the directory of a tier on another host
    Copy(copy::CopyMeters),
    /// Takes meters out of service for ever: their keys go, their readings stay
    Remove(Remove),
}

/// Meters to take out of service.
#[derive(clap::Args)]
struct Remove {
    /// Their numbers
    #[arg(required = true)]
    meters: Vec<u32>,
    #[command(flatten)]
    place: Place,
    /// Who does it, for the audit log [default: the user]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Machine-readable
    #[arg(long)]
    json: bool,
}

impl Meters {
    pub(crate) fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        match self.action {
            Action::Import(import) => import.run(out),
            Action::List { data, group, json } => {
                let rows = chosen(&data, group.as_deref())?;
                if json {
                    let rows: Vec<_> = rows.iter().map(MeterJson::of).collect();
                    return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?);
                }
                if rows.is_empty() {
                    return Ok(writeln!(out, "no meters; gridloom meters import FILE.csv")?);
                }
                Ok(writeln!(out, "{}", view::table(&rows))?)
            }
            Action::Show { meter, data, json } => {
                let disk = OperationsDisk::open_database(&data)?;
                let registry = Registry::load(disk.store().devices()?);
                let row = registry.meter(MeterId(meter));
                let row = row.with_context(|| {
                    format!("meter {meter} is unknown; gridloom meters list shows all")
                })?;
                let keys = disk.store().keys(Some(row.meter))?;
                if json {
                    let shown = view::with_keys(row, &keys);
                    return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&shown)?)?);
                }
                Ok(write!(out, "{}", view::sheet(row, &keys))?)
            }
            Action::Export {
                file,
                data,
                group,
                json,
            } => {
                let rows = chosen(&data, group.as_deref())?;
                let text = if json {
                    let rows: Vec<_> = rows.iter().map(MeterJson::of).collect();
                    serde_json::to_string_pretty(&rows)? + "\n"
                } else {
                    export(&rows)
                };
                match file {
                    Some(file) => write_durably(&file, text.as_bytes()),
                    None => Ok(write!(out, "{text}")?),
                }
            }
            Action::Copy(copy) => copy.run(out),
            Action::Remove(remove) => remove.run(out),
        }
    }
}

/// The meters of a group, or all.
fn chosen(data: &std::path::Path, group: Option<&str>) -> anyhow::Result<Vec<DeviceRow>> {
    let disk = OperationsDisk::open_database(data)?;
    let mut rows = disk.store().devices()?;
    if let Some(group) = group {
        rows.retain(|row| row.groups.contains(group));
    }
    Ok(rows)
}

impl Remove {
    fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let directory = DataDirectory::open("--data", &self.place.data)?;
        let profiles = self.place.profiles.as_deref();
        let mut office = Office::open(&directory, profiles, &self.place.master)?;
        let registry = office.registry()?;
        let (actor, at) = (actor(self.by.as_deref()), Clock::realtime().now().utc);
        let by = By { actor: &actor, at };
        let mut batches = Vec::new();
        let mut removed = Vec::new();
        for meter in self.meters.iter().copied().map(MeterId) {
            let held = registry.meter(meter).map(|row| row.state);
            ensure!(
                held != Some(DeviceState::Retired),
                "{meter} is retired already"
            );
            let moved = registry.move_on(meter, DeviceState::Retired, &office.templates, by);
            let proposal = match moved {
                Ok(proposal) => proposal,
                Err(faults) => {
                    let words: Vec<_> = faults.iter().map(ToString::to_string).collect();
                    bail!("{}; nothing was removed", words.join("; "));
                }
            };
            let mut batch = proposal.batch;
            let mut keys = office.disk.store().keys(Some(meter))?;
            keys.retain(|key| key.state != KeyState::Retired);
            let count = keys.len();
            let retired = keys
                .iter()
                .map(|key| Change::KeyState(key.key, KeyState::Retired));
            batch.changes.extend(retired);
            if count > 0 {
                let record = AuditRecord {
                    at,
                    actor: actor.clone(),
                    action: Audited::KeyChange,
                    target: Target::Meter(meter),
                    before: format!("{count} keys"),
                    after: "destroyed with the meter's retirement".to_owned(),
                    outcome: AuditOutcome::Done,
                };
                batch.changes.push(record.to_change());
            }
            removed.push((meter, count));
            batches.push(batch);
        }
        if !self.dry_run {
            let mut whole = gridloom_store::Batch::default();
            for batch in batches {
                whole.changes.extend(batch.changes);
            }
            office.commit(whole)?;
        }
        if self.json {
            let meters: Vec<_> = removed
                .iter()
                .map(|(meter, keys)| serde_json::json!({ "id": meter.0, "keys": keys }))
                .collect();
            let said = serde_json::json!({ "dry_run": self.dry_run, "removed": meters });
            return Ok(writeln!(out, "{said}")?);
        }
        let verb = if self.dry_run { "would be" } else { "is" };
        for (meter, keys) in removed {
            writeln!(
                out,
                "{meter} {verb} retired, {keys} keys destroyed; its readings stay"
            )?;
        }
        Ok(())
    }
}
