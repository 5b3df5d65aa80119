//! `gridloom meters import`.

use std::io::{Read, Write};
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use gridloom_headend::import::{FILE_BYTES_MAX, Faults};
use gridloom_headend::registry::By;
use gridloom_headend::{Import, OnFault, Registry, Templates};
use gridloom_host::{Clock, DataDirectory, OperationsDisk};
use gridloom_store::DeviceRow;
use zeroize::Zeroizing;

use super::view::{self, FaultJson, MeterJson};
use crate::headend::{Office, Place, actor};
use crate::{profiles, table};

/// A file to import.
#[derive(clap::Args)]
pub(super) struct ImportMeters {
    /// The CSV file; `-` is standard input
    file: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Import the rows that are right, and name the others
    #[arg(long)]
    skip_faulty: bool,
    /// Who does it, for the audit log [default: the user]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Check the file, and import nothing
    #[arg(long)]
    dry_run: bool,
    /// Machine-readable
    #[arg(long)]
    json: bool,
}

impl ImportMeters {
    pub(super) fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let text = self.text()?;
        if self.dry_run {
            return self.check(&text, out);
        }
        let directory = DataDirectory::open("--data", &self.place.data)?;
        let profiles = self.place.profiles.as_deref();
        let mut office = Office::open(&directory, profiles, &self.place.master)?;
        for news in &office.news {
            if self.json {
                eprintln!("gridloom: {news}");
            } else {
                writeln!(out, "{news}")?;
            }
        }
        let import = self.parse(&text, &office.registry()?, &office.templates, out)?;
        let rows: Vec<DeviceRow> = import.rows().cloned().collect();
        let faults = import.faults.clone();
        let (actor, at) = (actor(self.by.as_deref()), Clock::realtime().now().utc);
        let mut vault = office.vault(at)?;
        let mut next = office.disk.store().next_key()?;
        let by = By { actor: &actor, at };
        let proposal = import.propose(&mut vault, office.title, &mut next, by)?;
        office
            .commit(proposal.batch)
            .with_context(|| format!("{}: nothing was imported", self.file.display()))?;
        self.say(&rows, &faults, out)
    }

    /// Checks the file against what is there, and makes nothing: neither directory nor key.
    fn check(&self, text: &str, out: &mut impl Write) -> anyhow::Result<()> {
        let templates = profiles::read_all(self.place.profiles.as_deref())?;
        let held = if self.place.data.is_dir() {
            let disk = OperationsDisk::open_database(&self.place.data)?;
            disk.store().devices()?
        } else {
            Vec::new()
        };
        let import = self.parse(text, &Registry::load(held), &templates, out)?;
        let rows: Vec<DeviceRow> = import.rows().cloned().collect();
        self.say(&rows, &import.faults, out)
    }

    fn parse(
        &self,
        text: &str,
        registry: &Registry,
        templates: &Templates,
        out: &mut impl Write,
    ) -> anyhow::Result<Import> {
        let on_fault = if self.skip_faulty {
            OnFault::SkipRow
        } else {
            OnFault::RefuseAll
        };
        match Import::parse(text, registry, templates, on_fault) {
            Ok(import) => Ok(import),
            Err(faults) => {
                self.say(&[], &faults, out)?;
                out.flush()?;
                let count = faults.listed.len() + faults.unlisted;
                bail!(
                    "{}: {count} {}; nothing was imported",
                    self.file.display(),
                    if count == 1 { "fault" } else { "faults" }
                );
            }
        }
    }

    /// The file's text; it may hold keys, and is wiped when dropped.
    fn text(&self) -> anyhow::Result<Zeroizing<String>> {
        let context = || format!("failed to read {}", self.file.display());
        // Room for the whole file: growing would leave copies behind.
        let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX + 1));
        let limit = FILE_BYTES_MAX as u64 + 1;
        if self.file.as_os_str() == "-" {
            let input = std::io::stdin().lock();
            input
                .take(limit)
                .read_to_string(&mut text)
                .with_context(context)?;
        } else {
            let file = std::fs::File::open(&self.file).with_context(context)?;
            file.take(limit)
                .read_to_string(&mut text)
                .with_context(context)?;
        }
        ensure!(
            text.len() <= FILE_BYTES_MAX,
            "{} has more than {FILE_BYTES_MAX} bytes; import in parts",
            self.file.display()
        );
        Ok(text)
    }

    fn say(&self, rows: &[DeviceRow], faults: &Faults, out: &mut impl Write) -> anyhow::Result<()> {
        if self.json {
            let meters: Vec<_> = rows.iter().map(MeterJson::of).collect();
            let listed: Vec<_> = faults.listed.iter().map(FaultJson::of).collect();
            let said = serde_json::json!({
                "dry_run": self.dry_run,
                "imported": if self.dry_run { 0 } else { rows.len() },
                "meters": meters,
                "faults": listed,
                "unlisted_faults": faults.unlisted,
            });
            return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&said)?)?);
        }
        if !rows.is_empty() {
            writeln!(out, "{}", view::table(rows))?;
            let (count, verb) = (rows.len(), if self.dry_run { "would be " } else { "" });
            let noun = if count == 1 { "meter" } else { "meters" };
            writeln!(out, "{count} {noun} {verb}imported")?;
        }
        if !faults.is_empty() {
            let cells = faults.listed.iter().map(|fault| {
                vec![
                    fault.line.to_string(),
                    fault.column.clone(),
                    fault.problem.clone(),
                ]
            });
            let shown = table::listing(&["Line", "Column", "What is wrong"], &[0], cells);
            writeln!(out, "{shown}")?;
            if faults.unlisted > 0 {
                writeln!(out, "and {} more", faults.unlisted)?;
            }
        }
        Ok(())
    }
}
