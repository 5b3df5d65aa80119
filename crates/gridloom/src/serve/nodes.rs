//! The utility and its head-end with their sockets and disks.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use gridloom_core::Day;
use gridloom_host::{
    CellDisk, Clock, DataDirectory, Disk, DiskParts, LedgerDisk, Listener, Net, NodeIndex, Runner,
    Running,
};
use gridloom_nodes::{UtilityMemory, UtilityNode};
use gridloom_store::{DeviceRow, DeviceState, Ledger, LedgerConfig};
use gridloom_web::Snapshot;

use crate::area;
use crate::config::Config;
use crate::console::{Console, ConsolePort, Token};
use crate::headend::{HeadEnd, Office, Reads, Work};
use crate::links::Links;
use crate::snapshot::{self, Sources};

/// Everything at work.
pub(super) struct Nodes {
    clock: Clock,
    utility: Running<UtilityNode>,
    utility_disk: Disk,
    head_end: HeadEnd,
    console: Option<ConsolePort>,
    addresses: (SocketAddr, SocketAddr),
    registered: usize,
    warnings: Vec<String>,
}

impl Nodes {
    /// Binds every port, opens the disks and starts every node.
    pub(super) async fn start(
        config: &Config,
        directory: &DataDirectory,
        began: Day,
        office: Office,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let console = ConsolePort::bind(&config.listen.console).await?;
        let utility_port = Listener::bind("--utility", &config.listen.utility).await?;
        let addresses = (utility_port.address(), console.address());
        let net = Net::new(clock.clone(), gridloom_host::entropy::seed()?);
        let now = clock.now();

        let rows = office.disk.store().devices()?;
        let since = area::since(&office.disk.store().keys(None)?, began);
        let mut served = Vec::new();
        for row in &rows {
            let from = since.get(&row.meter).copied().unwrap_or(began.start());
            served.extend(area::served(row, &office.templates, from)?);
        }
        let warnings = odd_periods(&rows, &office, config);
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
        let node = UtilityNode::new(area::utility(config, registered)?, served, memory, now);
        let utility_disk = Disk::start(
            "utility",
            DiskParts {
                cells: Some(cells),
                ledger: Some(ledger_disk),
                ..DiskParts::default()
            },
        )?;
        let mut runner = Runner::new(net.clone());
        let index = runner.add("utility", node);
        let links = Links;
        links.listen(&mut runner, index, utility_port);
        runner.disk(utility_disk.handle());
        let utility = runner.start();
        let work = Work {
            period: config.period,
            reads: Reads::OnTime,
            speed: 1,
        };
        let head_end = HeadEnd::start(office, addresses.0.into(), work, &net, &links, now)?;
        Ok(Self {
            clock,
            utility,
            utility_disk,
            head_end,
            console: Some(console),
            addresses,
            registered,
            warnings,
        })
    }

    /// What the operator should know at the start.
    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Meters in service at the start.
    pub(super) const fn registered(&self) -> usize {
        self.registered
    }

    /// Where the utility listens.
    pub(super) const fn utility(&self) -> SocketAddr {
        self.addresses.0
    }

    /// Where the console is served.
    pub(super) const fn console(&self) -> SocketAddr {
        self.addresses.1
    }

    /// A picture of everything.
    pub(super) async fn snapshot(&self) -> anyhow::Result<Snapshot> {
        let utility = self.utility.handle();
        let snapshot = snapshot::build(&Sources {
            now: self.clock.now(),
            speed: 1,
            utility: utility
                .call(NodeIndex(0), |node, now| node.status(now))
                .await?,
            meters: Vec::new(),
            gateway: None,
            edge: None,
            head_end: Some(self.head_end.status().await?),
            archive: None,
        });
        snapshot.check()?;
        Ok(snapshot)
    }

    /// Serves the console and the API.
    pub(super) fn serve_console(&mut self, token: Token, first: Snapshot) -> Console {
        let port = self.console.take().expect("the console is served once");
        let desk = self.head_end.desk(Some(self.utility.handle()));
        Console::start(port, token, Some(desk), first)
    }

    /// Stops the head-end first, so that what it has handed over becomes durable.
    pub(super) async fn stop(self) {
        self.head_end.stop().await;
        self.utility.stop().await;
        self.utility_disk.close();
    }
}

/// Meters whose intervals are stored, but not priced: their template has another period.
fn odd_periods(rows: &[DeviceRow], office: &Office, config: &Config) -> Vec<String> {
    let mut odd: BTreeMap<&str, (usize, u32)> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.state != DeviceState::Retired) {
        if let Some(template) = office.templates.get(&row.template)
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
