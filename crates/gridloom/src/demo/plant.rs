//! Starts every node of the demo with its sockets and disks, and asks them how they are.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use gridloom_core::{Day, Instant, MeterId, Month, Now, Period, Seed, UtcTime};
use gridloom_dlms::security::Keys;
use gridloom_edge::{Edge, EdgeConfig, EdgeMemory, HashKey};
use gridloom_field::{Boot, Connection, Meter};
use gridloom_grid::opendss::{Circuit, Shipped};
use gridloom_grid::{LoadTrace, Response};
use gridloom_host::{
    ArchiveDisk, CellDisk, Clock, DataDirectory, DialOptions, Disk, DiskParts, Framing, Handle,
    LedgerDisk, ListenOptions, Listener, Net, NodeIndex, Runner, Running,
};
use gridloom_nodes::envelope::Role;
use gridloom_nodes::{
    ArchiveNode, EdgeNode, GatewayNode, MeterNode, UtilityConfig, UtilityMemory, UtilityNode,
};
use gridloom_sim::town::{self, Homes, Town, TownPlan};
use gridloom_store::{Ledger, LedgerConfig};
use gridloom_web::{Desks, FeederSource, Snapshot};

use super::feeder::{self, FeederView};
use super::keys::{self, Applicant};
use super::texting::Texting;
use crate::buffer::Buffer;
use crate::config::{Config, LoadKind, Pace};
use crate::console::{Console, ConsolePort, Token};
use crate::founding::Founding;
use crate::headend::{self, HeadEnd, Reads, Work};
use crate::links::Links;
use crate::pki;
use crate::powerflow;
use crate::security::EdgeDesk;
use crate::snapshot::{self, Sources};
use crate::topology::{
    ArchivePlace, EdgePlace, GatewayPlace, Neighbours, gateways_of, gateways_told,
};

const FIRST: NodeIndex = NodeIndex(0);

/// Every node of the demo at work.
pub(super) struct Plant {
    clock: Clock,
    speed: u32,
    meters: Running<MeterNode>,
    gateway: Running<GatewayNode>,
    edge: Running<EdgeNode>,
    utility: Running<UtilityNode>,
    archive: Running<ArchiveNode>,
    head_end: HeadEnd,
    disks: Vec<Disk>,
    console: Option<ConsolePort>,
    security: EdgeDesk,
    addresses: [(&'static str, SocketAddr); 5],
    texting: Option<Texting>,
    links: String,
    feeder: Option<Arc<dyn FeederSource>>,
}

impl Plant {
    /// Opens the data directory, binds every port and starts every node.
    pub(super) async fn start(
        config: &Config,
        directory: &DataDirectory,
        began: Day,
    ) -> anyhow::Result<Self> {
        // Ports first: a taken one is the likeliest fault, and nothing has happened yet.
        let console = ConsolePort::bind(&config.listen.console).await?;
        let gateway_port = Listener::bind("--gateway", &config.listen.gateway).await?;
        let edge_port = Listener::bind("--edge", &config.listen.edge).await?;
        let utility_port = Listener::bind("--utility", &config.listen.utility).await?;
        let archive_port = Listener::bind("--archive", &config.listen.archive).await?;
        let addresses = [
            ("meters → gateway", gateway_port.address()),
            ("gateway → edge", edge_port.address()),
            ("edge → utility", utility_port.address()),
            ("utility → archive", archive_port.address()),
            ("console", console.address()),
        ];

        let (mut ledger_disk, start) = LedgerDisk::open(directory)?;
        let town = found_town(config, directory.path(), &mut ledger_disk, began)?;
        let cells = CellDisk::open(directory)?;
        feeder::write_connections(&town, directory.path())?;
        // An accelerated clock runs far in the moment that the nodes take to start: they start at
        // its first tick, so that the first interval is measured whole.
        let (clock, now) = match config.pace {
            Pace::Realtime => {
                let clock = Clock::realtime();
                let now = clock.now();
                (clock, now)
            }
            Pace::Accelerated(speed) => {
                let utc = resume_at(&town, &cells, began)?;
                let instant = Instant::ZERO;
                (Clock::accelerated(utc, speed), Now { instant, utc })
            }
        };
        let net = Net::new(clock.clone(), gridloom_host::entropy::seed()?);
        let (office, masters) = super::office::open(directory, &town, now.utc)?;

        let (ledger, recovery) =
            Ledger::recover(LedgerConfig::default(), start.checkpoint, start.segments)?;
        if let Some(torn) = recovery.torn {
            tracing::warn!(
                ?torn,
                "the journal's last write was unfinished and is cut off"
            );
        }
        let memory = UtilityMemory::read(
            ledger_disk.backend_mut(),
            cells
                .all_of("utility")?
                .get(UtilityMemory::ARCHIVED)
                .map(Vec::as_slice),
            ledger,
            &town.served(),
            config.period,
            began,
        )?;
        let utility = UtilityNode::new(utility_config(config, &town)?, town.served(), memory, now);

        let edge_cells = cells.all_of("edge-1")?;
        let cell = |name: &'static str| edge_cells.get(name).map(Vec::as_slice);
        let edge_memory = EdgeMemory::read(cell)?;
        let edge_config = EdgeConfig {
            // The town's own comes from its seed, which anybody may know.
            hash_key: HashKey::new([
                u64::from_be_bytes(gridloom_host::entropy::bytes()?),
                u64::from_be_bytes(gridloom_host::entropy::bytes()?),
            ]),
            ..town.edge()
        };
        let screening = edge_config.screening;
        let edge = Edge::new(edge_config, town.registry(), &edge_memory);
        // Keys that were changed stand in the edge's own memory, over those of the registry.
        let edge_buffer = Buffer::open(directory, "edge-1", config.buffers.edge)?;
        let edge_node = EdgeNode::new("edge-1".into(), edge)
            .with_spool(edge_buffer.spool)
            .with_edge_key(office.edge_key.clone(), cell, now)?;
        let gateway_buffer = Buffer::open(directory, "gateway-1", config.buffers.gateway)?;

        let mut meters = Runner::new(net.clone());
        for house in town.houses() {
            let name = cell_name(house.meter());
            let mut config = house.config().clone();
            config.access.master = masters.get(&house.meter()).cloned();
            let meter = Meter::start(
                config,
                house.load(),
                &cells.all_of(&name)?,
                Boot::Reset,
                now,
            )
            .with_context(|| format!("meter {} cannot start", house.meter()))?;
            let index = meters.add(&name, MeterNode::new(meter));
            let mut dial = DialOptions::new(Framing::DlmsWrapper);
            dial.first_within = std::time::Duration::from_millis(500);
            meters.dial(index, addresses[0].1.into(), dial);
        }

        let field_disk = Disk::start(
            "field",
            DiskParts {
                cells: Some(cells),
                ..DiskParts::default()
            },
        )?;
        let edge_disk = Disk::start(
            "edge",
            DiskParts {
                cells: Some(CellDisk::open(directory)?),
                spools: edge_buffer.disk,
                ..DiskParts::default()
            },
        )?;
        let gateway_disk = Buffer::start("gateway", gateway_buffer.disk)?;
        let utility_disk = Disk::start(
            "utility",
            DiskParts {
                cells: Some(CellDisk::open(directory)?),
                ledger: Some(ledger_disk),
                ..DiskParts::default()
            },
        )?;
        let archive_disk = Disk::start(
            "archive",
            DiskParts {
                archive: Some(ArchiveDisk::open(directory)?),
                ..DiskParts::default()
            },
        )?;
        meters.disk(field_disk.handle());

        let links = links_of(config, directory, &clock)?;
        let mut archive = Runner::new(net.clone());
        let node = archive.add("archive-1", ArchiveNode::new("archive-1".into()));
        links.listen(&mut archive, node, Role::Archive, archive_port);
        archive.disk(archive_disk.handle());

        let mut utility_runner = Runner::new(net.clone());
        let node = utility_runner.add("utility", utility);
        links.listen(&mut utility_runner, node, Role::Utility, utility_port);
        links.dial(
            &mut utility_runner,
            node,
            Role::Utility,
            addresses[3].1.into(),
        );
        utility_runner.disk(utility_disk.handle());

        let mut edge_runner = Runner::new(net.clone());
        let node = edge_runner.add("edge-1", edge_node);
        links.listen(&mut edge_runner, node, Role::Edge, edge_port);
        links.dial(&mut edge_runner, node, Role::Edge, addresses[2].1.into());
        edge_runner.disk(edge_disk.handle());

        let mut gateway = Runner::new(net.clone());
        let gateway_node = GatewayNode::with_spool("gateway-1".into(), gateway_buffer.spool)
            .sampling(config.buffers.delay_one_in);
        let node = gateway.add("gateway-1", gateway_node);
        gateway.disk(gateway_disk.handle());
        gateway.listen(node, gateway_port, ListenOptions::new(Framing::DlmsWrapper));
        links.dial(&mut gateway, node, Role::Gateway, addresses[1].1.into());

        let texting = match &config.sms {
            Some(sms) => Some(Texting::start(sms, clock.clone())?),
            None => None,
        };
        let speed = match config.pace {
            Pace::Realtime => 1,
            Pace::Accelerated(speed) => speed.rounded(),
        };
        let work = Work {
            period: config.period,
            reads: Reads::Pushed,
            speed,
            settings: config.head_end.clone(),
            pushes: Vec::new(),
            shared: None,
        };
        let utility = utility_runner.start();
        let head_end = HeadEnd::start(office, addresses[2].1.into(), work, &net, &links, now)?;
        let edge = edge_runner.start();
        let security = EdgeDesk::open(
            edge.handle(),
            "edge-1",
            &screening,
            links.clone(),
            directory,
        )?;
        Ok(Self {
            speed,
            clock,
            head_end,
            archive: archive.start(),
            utility,
            edge,
            security,
            gateway: gateway.start(),
            meters: meters.start(),
            disks: vec![
                field_disk,
                gateway_disk,
                edge_disk,
                utility_disk,
                archive_disk,
            ],
            console: Some(console),
            addresses,
            texting,
            links: links.summary()?,
            feeder: FeederView::of(&town).map(|view| Arc::new(view) as Arc<dyn FeederSource>),
        })
    }

    /// The time.
    pub(super) fn now(&self) -> Now {
        self.clock.now()
    }

    /// Where the console is served.
    pub(super) fn console(&self) -> SocketAddr {
        self.addresses[4].1
    }

    /// What protects the links between the tiers.
    pub(super) fn links(&self) -> &str {
        &self.links
    }

    /// Where the layers listen, as aligned lines.
    pub(super) fn addresses(&self) -> String {
        let mut text = String::new();
        for (what, address) in &self.addresses[..4] {
            let _ = writeln!(text, "{what:<18} {address}");
        }
        text.trim_end().to_owned()
    }

    /// Serves the console.
    pub(super) fn serve_console(&mut self, token: Token, first: Snapshot) -> Console {
        let port = self.console.take().expect("the console is served once");
        let desks = Desks {
            head_end: Some(self.head_end.desk(Some(self.utility.handle()))),
            security: Some(Arc::new(self.security.clone())),
            pair: None,
            feeder: self.feeder.clone(),
        };
        Console::start(port, token, desks, first)
    }

    /// A picture of everything.
    pub(super) async fn snapshot(&self) -> anyhow::Result<Snapshot> {
        let (utility, delays) = self
            .utility
            .handle()
            .call(FIRST, |node, now| (node.status(now), node.delays().clone()))
            .await?;
        let meters = self
            .meters
            .handle()
            .call_each(|_, node, now| node.status(now))
            .await?;
        let (gateway, gateway_buffer) = self
            .gateway
            .handle()
            .call(FIRST, |node, _| {
                let status = (node.counters(), node.meters(), node.is_connected());
                (status, (node.spool(), node.gaps()))
            })
            .await?;
        let paths = self
            .gateway
            .handle()
            .call(FIRST, |node, _| node.paths())
            .await?;
        let (edge, edge_buffer, (gateways, unnamed)) = self
            .edge
            .handle()
            .call(FIRST, |node, _| {
                let status = (node.status(), node.is_connected());
                (status, (node.spool(), node.gaps()), gateways_of(node))
            })
            .await?;
        let archive = self
            .archive
            .handle()
            .call(FIRST, |node, _| (node.stored(), node.failed()))
            .await?;
        let head_end = self.head_end.status().await?;
        let neighbours = Neighbours {
            gateway: Some(GatewayPlace {
                name: "gateway-1".to_owned(),
                meters: gateway.1,
                is_connected: gateway.2,
                edge: Some("edge-1".to_owned()),
                backup: None,
                paths,
            }),
            edge: Some(EdgePlace {
                name: "edge-1".to_owned(),
                gateways,
                unnamed,
                is_connected: edge.1,
            }),
            edges: Some(utility.edges),
            gateways: gateways_told(&utility.trust),
            head_end: Some(head_end.is_connected),
            archive: Some(ArchivePlace {
                name: "archive-1".to_owned(),
                is_here: true,
                is_connected: utility.archive,
            }),
        };
        super::checked(snapshot::build(&Sources {
            now: self.now(),
            speed: self.speed,
            utility,
            has_utility: true,
            meters,
            gateway: Some(gateway),
            edge: Some(edge),
            head_end: Some(head_end),
            archive: Some(archive),
            buffers: vec![
                ("gateway-1".to_owned(), gateway_buffer),
                ("edge-1".to_owned(), edge_buffer),
            ],
            delays: Some(delays),
            neighbours,
        }))
    }

    /// Tells the people of the modem's list what they want to know.
    pub(super) fn tell_people(&mut self, snapshot: &Snapshot) {
        if let Some(texting) = &mut self.texting {
            texting.look_at(snapshot);
        }
    }

    /// Whether every interval before `until` is acknowledged and priced, and every month before
    /// it is closed.
    pub(super) async fn is_settled_until(&self, until: UtcTime) -> anyhow::Result<bool> {
        let handle: Handle<MeterNode> = self.meters.handle();
        let meters = handle
            .call_each(move |_, node, _| {
                let meter = node.meter();
                let captured = meter
                    .profile()
                    .newest()
                    .is_none_or(|entry| entry.end() >= until);
                captured && meter.owes_before(until) == 0
            })
            .await?;
        let open_month: Month = self
            .utility
            .handle()
            .call(FIRST, |node, _| node.next_month())
            .await?;
        Ok(meters.iter().all(|settled| *settled) && open_month.next().first_day().start() > until)
    }

    /// Stops from the field up, so that what is under way arrives, then closes the disks.
    pub(super) async fn stop(self) {
        if let Some(texting) = self.texting {
            texting.stop().await;
        }
        self.head_end.stop().await;
        self.meters.stop().await;
        self.gateway.stop().await;
        self.edge.stop().await;
        self.utility.stop().await;
        self.archive.stop().await;
        for disk in self.disks {
            disk.close();
        }
    }
}

/// How the demo's tiers reach each other: over TLS under an authority of its own, unless it is told
/// otherwise.
fn links_of(config: &Config, data: &DataDirectory, clock: &Clock) -> anyhow::Result<Links> {
    if !config.demo_tls {
        return Ok(Links::in_the_clear());
    }
    let names = [
        (Role::Gateway, "gateway-1"),
        (Role::Edge, "edge-1"),
        (Role::Utility, pki::UTILITY),
        (Role::HeadEnd, headend::NODE),
        (Role::Archive, "archive-1"),
    ];
    let nodes: anyhow::Result<Vec<_>> = names
        .into_iter()
        .map(|(role, name)| pki::node_name(role, name))
        .collect();
    let nodes = nodes?;
    let directory = match &config.pki {
        Some(directory) => directory.clone(),
        None => pki::keep_throwaway(data.path(), &config.name, &nodes, clock)?,
    };
    Links::over_tls(&directory, &nodes, clock)
}

/// The key of a meter's memory cells.
pub(crate) fn cell_name(meter: MeterId) -> String {
    format!("meter-{}", meter.0)
}

/// The town with keys from the registry; meters that have none are enrolled.
fn found_town(
    config: &Config,
    data: &Path,
    disk: &mut LedgerDisk,
    began: Day,
) -> anyhow::Result<Town> {
    let plan = town_plan(config, began)?;
    let rows = disk.backend_mut().meters()?;
    let kek = keys::key_encryption_key(data, !rows.is_empty())?;
    let seed = Seed::new(config.seed);
    // Names and titles come from the plan; its seeded keys are for the simulator only.
    let blueprint = place(
        Town::new(plan.clone(), town::seeded_keys(seed))?,
        config,
        town::seeded_keys(seed),
    )?;
    let mut keys = BTreeMap::new();
    for house in blueprint.houses() {
        let applicant = Applicant {
            meter: house.meter(),
            title: house.config().title,
            name: house.name().to_owned(),
            phases: match house.config().connection {
                Connection::SinglePhase => 1,
                Connection::ThreePhase => 3,
            },
        };
        let key = keys::enrol(disk.backend_mut(), &kek, &rows, applicant)?;
        keys.insert(house.meter(), key);
    }
    let key = |meter: MeterId| keys[&meter].clone();
    place(Town::new(plan, key)?, config, key)
}

/// Places a town's houses on the feeder that the configuration names, if it names one.
fn place(town: Town, config: &Config, keys: impl FnMut(MeterId) -> Keys) -> anyhow::Result<Town> {
    let Some(feeder) = &config.feeder else {
        return Ok(town);
    };
    let circuit = match Shipped::path(feeder) {
        Some(path) => Circuit::read(&mut Shipped, path),
        None => Circuit::read(&mut powerflow::Disk, feeder),
    };
    let circuit = circuit.with_context(|| {
        format!(
            "demo.feeder = {feeder:?}: give {} or the path of an OpenDSS file",
            Shipped::NAMES.join(", ")
        )
    })?;
    town.on_feeder(circuit, keys)
        .with_context(|| format!("demo.feeder = {feeder:?}"))
}

/// The town that a data directory was made for, with keys that open nothing.
pub(crate) fn town_of(founding: &Founding) -> anyhow::Result<Town> {
    let began = founding.began()?;
    let config = Config::read(None, founding.overrides()?)?;
    let plan = TownPlan {
        period: Period::from_secs(founding.period_seconds).context("demo.toml: period_seconds")?,
        ..town_plan(&config, began)?
    };
    let seed = plan.seed;
    place(
        Town::new(plan, town::seeded_keys(seed))?,
        &config,
        town::seeded_keys(seed),
    )
}

/// The plan of the town that a configuration describes.
fn town_plan(config: &Config, began: Day) -> anyhow::Result<TownPlan> {
    let response = if config.response {
        town::standard_response()
    } else {
        Response::Off
    };
    let homes = match config.load {
        LoadKind::Household => Homes::Households {
            count: config.houses,
            response,
        },
        LoadKind::Lcl => {
            let traces = LoadTrace::sample();
            anyhow::ensure!(
                usize::try_from(config.houses).is_ok_and(|houses| houses <= traces.len()),
                "demo.houses = {}: the sample has {} measured homes",
                config.houses,
                traces.len()
            );
            let count = usize::try_from(config.houses).unwrap_or(usize::MAX);
            Homes::Traces(traces.into_iter().take(count).collect())
        }
    };
    Ok(TownPlan {
        seed: Seed::new(config.seed),
        period: config.period,
        start: began.start(),
        currency: config.currency,
        homes,
    })
}

fn utility_config(config: &Config, town: &Town) -> anyhow::Result<UtilityConfig> {
    Ok(UtilityConfig {
        name: config.name.clone(),
        cutoff: config.cutoff,
        grace: config.grace,
        seal_after: config.seal_after,
        tariff: config.tariff.over(*town.tariff())?,
        ..town.utility(&config.name)
    })
}

/// Where an accelerated clock goes on: where the newest meter stopped, so that no time passes
/// unseen and none passes twice.
fn resume_at(town: &Town, cells: &CellDisk, began: Day) -> anyhow::Result<UtcTime> {
    let mut resume = began.start();
    let then = Now {
        instant: Instant::ZERO,
        utc: began.start(),
    };
    for house in town.houses() {
        let memory = cells.all_of(&cell_name(house.meter()))?;
        let meter = Meter::start(
            house.config().clone(),
            house.load(),
            &memory,
            Boot::Reset,
            then,
        )
        .with_context(|| format!("meter {} cannot start", house.meter()))?;
        if let Some(entry) = meter.profile().newest() {
            resume = resume.max(entry.end());
        }
    }
    Ok(resume)
}
