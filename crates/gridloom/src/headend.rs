//! A head-end in a data directory: its tables, its templates, its master key and its name.

mod desk;
pub(crate) mod edge_key;
mod firmware;
mod holder;
mod identity;
mod master;
mod running;
mod token;

use std::path::{Path, PathBuf};

use anyhow::Context;
use gridloom_core::{SystemTitle, UtcTime};
use gridloom_headend::{EdgeKey, Registry, Templates, Vault};
use gridloom_host::{DataDirectory, OperationsDisk};
use gridloom_store::Batch;

use crate::profiles;

pub(crate) use desk::HeadEndDesk;
pub(crate) use firmware::Firmware;
pub(crate) use holder::MasterKeys;
pub(crate) use master::MasterKeyOption;
pub(crate) use running::{HeadEnd, Reads, Shared, Work};
pub(crate) use token::{operator_token, read_secret};

/// The node's name.
pub(crate) const NODE: &str = "headend-1";

/// Where a head-end's tables, key and templates are.
#[derive(clap::Args)]
pub(crate) struct Place {
    /// Data directory
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Folder of further meter templates, over the shipped ones
    #[arg(long, value_name = "DIR")]
    pub(crate) profiles: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) master: MasterKeyOption,
}

/// A head-end's tables, opened for change.
pub(crate) struct Office {
    pub(crate) disk: OperationsDisk,
    pub(crate) templates: Templates,
    pub(crate) keys: MasterKeys,
    /// What edges share with this head-end.
    pub(crate) edge_key: EdgeKey,
    /// Where images of firmware lie.
    pub(crate) firmware: Firmware,
    /// Under which the counters of all sessions run.
    pub(crate) title: SystemTitle,
    /// Said to the operator: a key or name that was made now.
    pub(crate) news: Vec<String>,
}

impl Office {
    /// Opens the tables of a directory that is locked; makes what is there for the first time.
    pub(crate) fn open(
        directory: &DataDirectory,
        profiles: Option<&Path>,
        master: &MasterKeyOption,
    ) -> anyhow::Result<Self> {
        let templates = profiles::read_all(profiles)?;
        let disk = OperationsDisk::open(directory)?;
        let is_used = !disk.store().masters()?.is_empty() || !disk.store().keys(None)?.is_empty();
        let mut news = Vec::new();
        let keys = master.read(directory.path(), is_used, &mut news)?;
        let title = identity::read(directory.path(), is_used, &mut news)?;
        let edge_key = edge_key::read(directory.path())?;
        Ok(Self {
            edge_key,
            firmware: Firmware::new(directory.path()),
            disk,
            templates,
            keys,
            title,
            news,
        })
    }

    /// The meters as they stand.
    pub(crate) fn registry(&self) -> anyhow::Result<Registry> {
        Ok(Registry::load(self.disk.store().devices()?))
    }

    /// Opens the vault and writes the proof of a master key that is new.
    pub(crate) fn vault(&mut self, now: UtcTime) -> anyhow::Result<Vault> {
        let store = self.disk.store();
        let (masters, keys) = (store.masters()?, store.keys(None)?);
        let (vault, changes) = Vault::open(Box::new(self.keys.clone()), &masters, &keys, now)?;
        if !changes.is_empty() {
            self.commit(Batch::new(changes))?;
        }
        Ok(vault)
    }

    /// Writes a batch, as a whole or not at all.
    pub(crate) fn commit(&mut self, batch: Batch) -> anyhow::Result<()> {
        let mut answers = self.disk.store_mut().commit(&[batch])?;
        let answer = answers.pop().context("the database answers every batch")?;
        Ok(answer?)
    }
}

/// Who acts, for the audit log: what the operator says, or the user of the system.
pub(crate) fn actor(by: Option<&str>) -> String {
    let named = |name: &str| std::env::var(name).ok().filter(|name| !name.is_empty());
    by.map(str::to_owned)
        .or_else(|| named("USER"))
        .or_else(|| named("LOGNAME"))
        .unwrap_or_else(|| "operator".to_owned())
}
