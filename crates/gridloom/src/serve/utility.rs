//! The utility tier: the registered meters, the ledger, and whoever connects to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use gridloom_core::{Day, Now};
use gridloom_headend::Templates;
use gridloom_host::{
    CellDisk, DataDirectory, Disk, DiskParts, LedgerDisk, Listener, Net, OperationsDisk, Runner,
    Running,
};
use gridloom_nodes::envelope::Role;
use gridloom_nodes::envelope::pair::Epoch;
use gridloom_nodes::{UtilityMemory, UtilityNode};
use gridloom_store::{DeviceRow, DeviceState, Ledger, LedgerConfig};

use super::neighbours::dial_address;
use crate::area;
use crate::config::{Config, Upper};
use crate::headend::Shared;
use crate::links::Links;

/// A utility at work.
pub(super) struct RunningUtility {
    pub(super) node: Running<UtilityNode>,
    /// Its own; none where it shares that of a pair.
    disk: Option<Disk>,
    /// Meters in service at the start.
    pub(super) registered: usize,
    /// What the operator should know.
    pub(super) warnings: Vec<String>,
}

/// What a utility starts from.
pub(super) struct Ground<'a> {
    pub(super) config: &'a Config,
    pub(super) directory: &'a DataDirectory,
    pub(super) templates: &'a Templates,
    /// The first day of service.
    pub(super) began: Day,
    /// What it shares as a member of a pair.
    pub(super) shared: Option<&'a Shared>,
}

impl RunningUtility {
    /// Recovers the ledger and starts the node.
    pub(super) fn start(
        ground: &Ground<'_>,
        port: Listener,
        archive: (&Upper, Option<SocketAddr>),
        net: &Net,
        links: &Links,
        now: Now,
    ) -> anyhow::Result<Self> {
        let Ground {
            config,
            directory,
            templates,
            began,
            shared,
        } = *ground;
        let operations = OperationsDisk::open(directory)?;
        let rows = operations.store().devices()?;
        let since = area::since(&operations.store().keys(None)?, began);
        drop(operations);
        let mut served = Vec::new();
        for row in &rows {
            let from = since.get(&row.meter).copied().unwrap_or(began.start());
            served.extend(area::served(row, templates, from)?);
        }
        let (mut ledger_disk, start) = LedgerDisk::open(directory)?;
        let (ledger, recovery) =
            Ledger::recover(LedgerConfig::default(), start.checkpoint, start.segments)?;
        if let Some(torn) = recovery.torn {
            tracing::warn!(
                ?torn,
                "the journal's last write was unfinished and is cut off"
            );
        }
        let cells = CellDisk::open(directory)?;
        let memory = UtilityMemory::read(
            ledger_disk.backend_mut(),
            cells
                .all_of("utility")?
                .get(UtilityMemory::ARCHIVED)
                .map(Vec::as_slice),
            ledger,
            &served,
            config.period,
            began,
        )?;
        let registered = rows
            .iter()
            .filter(|row| row.state != DeviceState::Retired)
            .count();
        let epoch = shared.map_or(Epoch::NONE, |shared| shared.epoch);
        let config_of_node = area::utility(config, registered)?;
        let node = UtilityNode::new(config_of_node, served, memory, now).in_epoch(epoch);
        let mut runner = Runner::new(net.clone());
        let index = runner.add("utility", node);
        links.listen(&mut runner, index, Role::Utility, port);
        if let Some(archive) = dial_address(archive.0, archive.1) {
            links.dial(&mut runner, index, Role::Utility, archive);
        }
        let disk = match shared {
            // The pair's disk has the same files open, and tells the other member.
            Some(shared) => {
                runner.gate(shared.gate.clone());
                runner.disk(shared.disk.clone());
                None
            }
            None => {
                let parts = DiskParts {
                    cells: Some(cells),
                    ledger: Some(ledger_disk),
                    ..DiskParts::default()
                };
                let disk = Disk::start("utility", parts)?;
                runner.disk(disk.handle());
                Some(disk)
            }
        };
        Ok(Self {
            node: runner.start(),
            disk,
            registered,
            warnings: odd_periods(&rows, templates, config),
        })
    }

    /// Ends it; what is journalled is written.
    pub(super) async fn stop(self) {
        self.node.stop().await;
        if let Some(disk) = self.disk {
            disk.close();
        }
    }
}

/// Meters whose intervals are stored, but not priced: their template has another period.
fn odd_periods(rows: &[DeviceRow], templates: &Templates, config: &Config) -> Vec<String> {
    let mut odd: BTreeMap<&str, (usize, u32)> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.state != DeviceState::Retired) {
        if let Some(template) = templates.get(&row.template)
            && template.capture_period != config.period
        {
            let minutes = template.capture_period.as_secs() / 60;
            odd.entry(&row.template).or_insert((0, minutes)).0 += 1;
        }
    }
    let bills = config.period.as_secs() / 60;
    odd.into_iter()
        .map(|(template, (count, minutes))| {
            format!(
                "{count} meters of template {template} capture every {minutes} minutes, and \
                 intervals of {bills} are billed: theirs are stored only; see --period-minutes"
            )
        })
        .collect()
}
