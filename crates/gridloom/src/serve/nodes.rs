//! The tiers of this process with their sockets and disks.

use std::net::SocketAddr;

use anyhow::Context;
use gridloom_core::{Day, Now};
use gridloom_headend::Templates;
use gridloom_host::{
    ArchiveDisk, Clock, DataDirectory, Disk, DiskParts, Listener, MeterListener, Net, NodeIndex,
    Runner, Running, dlms::MeterWire,
};
use gridloom_nodes::envelope::Role as NodeRole;
use gridloom_nodes::utility::{UtilityCounters, UtilityStatus};
use gridloom_nodes::{ArchiveNode, Arrival, UtilityConfig};
use gridloom_web::{Desk, Desks, PairDesk, SecurityDesk, Snapshot};

use super::edge::{EdgeTier, RunningEdge, Uppers};
use super::gateway::RunningGateway;
use super::neighbours::{dial_address, upper_name};
use super::utility::{Ground, RunningUtility};
use crate::area;
use crate::config::{Config, Role, Tiers};
use crate::console::{Console, ConsolePort, Token};
use crate::headend::{self, HeadEnd, MasterKeyOption, Office, Reads, Shared, Work};
use crate::links::Links;
use crate::pki;
use crate::snapshot::{self, Sources};
use crate::topology::{
    ArchivePlace, EdgePlace, GatewayPlace, Neighbours, gateways_of, gateways_told,
};

const FIRST: NodeIndex = NodeIndex(0);

/// What the tiers of a process start from.
pub(super) struct Basis<'a> {
    pub(super) config: &'a Config,
    pub(super) tiers: &'a Tiers,
    /// Every tier but a gateway needs one.
    pub(super) directory: Option<&'a DataDirectory>,
    pub(super) templates: Templates,
    pub(super) master: &'a MasterKeyOption,
    /// The first day of service.
    pub(super) began: Day,
    /// Of a process with a head-end.
    pub(super) office: Option<Office>,
    /// As a member of a pair.
    pub(super) shared: Option<Shared>,
}

/// Everything at work.
pub(super) struct Nodes {
    clock: Clock,
    gateway: Option<RunningGateway>,
    edge: Option<RunningEdge>,
    utility: Option<RunningUtility>,
    head_end: Option<HeadEnd>,
    archive: Option<(Running<ArchiveNode>, Disk)>,
    console: Option<ConsolePort>,
    /// Of the archive here, or whom the utility here dials.
    archive_name: Option<String>,
    links: Links,
    /// What the console shows of a utility that runs elsewhere.
    elsewhere: UtilityStatus,
    /// Said at the start, as heading and text.
    pub(super) lines: Vec<(&'static str, String)>,
}

/// Every port of this process, bound before anything else happens: a taken one is the likeliest
/// fault.
struct Ports {
    console: Option<ConsolePort>,
    gateway: Option<Listener>,
    edge: Option<Listener>,
    utility: Option<Listener>,
    archive: Option<Listener>,
    /// Where meters push to the head-end itself.
    pushes: Vec<MeterListener>,
}

impl Ports {
    async fn bind(config: &Config, tiers: &Tiers) -> anyhow::Result<Self> {
        let listen = &config.listen;
        // An edge or a gateway alone has one only where its place is named: on one machine with others the usual
        // place is theirs.
        let has_console = tiers.has_any(&[Role::Utility, Role::Headend])
            || (listen.is_console_named
                && (tiers.has(Role::Edge)
                    || (tiers.has(Role::Gateway) && config.serve_data.is_some())));
        Ok(Self {
            console: match has_console {
                true => Some(ConsolePort::bind(&listen.console).await?),
                false => None,
            },
            gateway: bind(tiers, Role::Gateway, "--gateway", &listen.gateway).await?,
            edge: bind(tiers, Role::Edge, "--edge", &listen.edge).await?,
            utility: bind(tiers, Role::Utility, "--utility", &listen.utility).await?,
            archive: bind(tiers, Role::Archive, "--archive", &listen.archive).await?,
            pushes: match tiers.has(Role::Headend) {
                true => bind_pushes(config).await?,
                false => Vec::new(),
            },
        })
    }
}

async fn bind_pushes(config: &Config) -> anyhow::Result<Vec<MeterListener>> {
    let push = &config.head_end.push;
    let mut listeners = Vec::new();
    if let Some(address) = &push.tcp {
        let wire = MeterWire::Wrapper;
        listeners.push(MeterListener::tcp("headend.push.tcp", address, wire).await?);
    }
    if let Some(address) = &push.udp {
        listeners.push(MeterListener::udp("headend.push.udp", address).await?);
    }
    Ok(listeners)
}

async fn bind(
    tiers: &Tiers,
    role: Role,
    key: &str,
    address: &str,
) -> anyhow::Result<Option<Listener>> {
    if !tiers.has(role) {
        return Ok(None);
    }
    Ok(Some(Listener::bind(key, address).await?))
}

fn address(port: Option<&Listener>) -> Option<SocketAddr> {
    port.map(Listener::address)
}

impl Nodes {
    /// Binds every port, opens the disks and starts every tier, from the archive down.
    pub(super) async fn start(basis: Basis<'_>, clock: Clock) -> anyhow::Result<Self> {
        let Basis { config, tiers, .. } = basis;
        let ports = Ports::bind(config, tiers).await?;
        let at = [&ports.gateway, &ports.edge, &ports.utility, &ports.archive]
            .map(|port| address(port.as_ref()));
        let [at_gateway, at_edge, at_utility, at_archive] = at;
        let mut pushes_at = Vec::new();
        for listener in &ports.pushes {
            let how = match listener.arrival() {
                Arrival::InOrder => "TCP",
                Arrival::Unordered => "UDP",
            };
            let at = listener.address();
            pushes_at.extend(at.map(|at| ("pushes", format!("{at} over {how}"))));
        }
        let net = Net::new(clock.clone(), gridloom_host::entropy::seed()?);
        let links = links_of(config, tiers, &clock)?;
        let now = clock.now();
        let mut lines = vec![("links", links.summary()?)];
        if let Some(words) = open_to_others(config, &at) {
            lines.push(("warning", words));
        }
        let directory = || {
            basis
                .directory
                .context("every tier but a gateway has a data directory")
        };

        let archive = match ports.archive {
            Some(port) => Some(start_archive(
                &tiers.archive,
                directory()?,
                port,
                &net,
                &links,
            )?),
            None => None,
        };
        let utility = match ports.utility {
            Some(port) => {
                let ground = Ground {
                    config,
                    directory: directory()?,
                    templates: &basis.templates,
                    began: basis.began,
                    shared: basis.shared.as_ref(),
                };
                let archive = (&tiers.utility_to_archive, at_archive);
                let utility = RunningUtility::start(&ground, port, archive, &net, &links, now)?;
                let warnings = utility.warnings.iter().cloned();
                lines.extend(warnings.map(|words| ("warning", words)));
                lines.push(("meters", utility.registered.to_string()));
                Some(utility)
            }
            None => None,
        };
        let edge = match ports.edge {
            Some(port) => {
                let mut news = Vec::new();
                let tier = EdgeTier::open(
                    directory()?,
                    &tiers.edge,
                    &basis.templates,
                    basis.master,
                    now.utc,
                    &mut news,
                )?;
                lines.extend(news.into_iter().map(|words| ("news", words)));
                let warnings = tier.warnings.iter().cloned();
                lines.extend(warnings.map(|words| ("warning", words)));
                let (title, meters) = (tier.title, tier.meters());
                let utility = dial_address(&tiers.edge_to_utility, at_utility);
                let uppers = Uppers {
                    utility,
                    standby: tiers.edge_to_standby.clone(),
                    pair: tiers.edge_to_pair.clone(),
                };
                let place = (directory()?, config.buffers.edge);
                let edge = tier.start(place, port, uppers, &net, &links, now)?;
                let news = edge.news.iter().cloned();
                lines.extend(news.map(|words| ("buffer", words)));
                if let Some(at) = at_edge {
                    lines.push(("edge", format!("{at} as {title}, {meters} meters")));
                }
                Some(edge)
            }
            None => None,
        };
        let gateway = match ports.gateway {
            Some(port) => {
                let upper = upper_name(&tiers.gateway_to_edge, &tiers.edge);
                let edge = dial_address(&tiers.gateway_to_edge, at_edge);
                let backup = tiers.gateway_backup.as_ref();
                let place = (basis.directory, &config.buffers);
                let gateway = RunningGateway::start(
                    &tiers.gateway,
                    place,
                    port,
                    (edge, upper, backup),
                    &net,
                    &links,
                )?;
                let news = gateway.news.iter().cloned();
                lines.extend(news.map(|words| ("buffer", words)));
                Some(gateway)
            }
            None => None,
        };
        let head_end = match basis.office {
            Some(office) => {
                let work = Work {
                    period: config.period,
                    reads: Reads::OnTime,
                    speed: 1,
                    settings: config.head_end.clone(),
                    pushes: ports.pushes,
                    shared: basis.shared.clone(),
                };
                let utility = dial_address(&tiers.headend_to_utility, at_utility)
                    .context("headend.utility: a head-end needs its utility")?;
                Some(HeadEnd::start(office, utility, work, &net, &links, now)?)
            }
            None => None,
        };
        for (name, at) in [
            ("gateway", at_gateway),
            ("utility", at_utility),
            ("archive", at_archive),
        ] {
            lines.extend(at.map(|at| (name, at.to_string())));
        }
        lines.append(&mut pushes_at);
        Ok(Self {
            elsewhere: elsewhere(area::utility(config, 1)?, now),
            clock,
            gateway,
            edge,
            utility,
            head_end,
            archive,
            console: ports.console,
            archive_name: archive_name(tiers),
            links,
            lines,
        })
    }

    /// A picture of everything.
    pub(super) async fn snapshot(&self) -> anyhow::Result<Snapshot> {
        let (utility, delays) = match &self.utility {
            Some(utility) => {
                let handle = utility.node.handle();
                let status = handle.call(FIRST, |node, now| {
                    (node.status(now), Some(node.delays().clone()))
                });
                status.await?
            }
            None => (self.elsewhere.clone(), None),
        };
        let mut buffers = Vec::new();
        let mut neighbours = Neighbours {
            edges: self.utility.is_some().then_some(utility.edges),
            gateways: gateways_told(&utility.trust),
            archive: self.archive_name.clone().map(|name| ArchivePlace {
                name,
                is_here: self.archive.is_some(),
                is_connected: utility.archive,
            }),
            ..Neighbours::default()
        };
        let gateway = match &self.gateway {
            Some(gateway) => {
                let handle = gateway.node.handle();
                let status = handle.call(FIRST, |node, _| {
                    let status = (node.counters(), node.meters(), node.is_connected());
                    (status, (node.spool(), node.gaps()), node.paths())
                });
                let (status, buffer, paths) = status.await?;
                buffers.push((gateway.name.clone(), buffer));
                neighbours.gateway = Some(GatewayPlace {
                    name: gateway.name.clone(),
                    meters: status.1,
                    is_connected: status.2,
                    edge: gateway.edge.clone(),
                    backup: gateway.backup.clone(),
                    paths,
                });
                Some(status)
            }
            None => None,
        };
        let edge = match &self.edge {
            Some(edge) => {
                let handle = edge.node.handle();
                let status = handle.call(FIRST, |node, _| {
                    let status = (node.status(), node.is_connected());
                    (status, (node.spool(), node.gaps()), gateways_of(node))
                });
                let (status, buffer, (gateways, unnamed)) = status.await?;
                buffers.push((edge.name.clone(), buffer));
                neighbours.edge = Some(EdgePlace {
                    name: edge.name.clone(),
                    gateways,
                    unnamed,
                    is_connected: status.1,
                });
                Some(status)
            }
            None => None,
        };
        let archive = match &self.archive {
            Some((archive, _)) => {
                let handle = archive.handle();
                let status = handle.call(FIRST, |node, _| (node.stored(), node.failed()));
                Some(status.await?)
            }
            None => None,
        };
        let head_end = match &self.head_end {
            Some(head_end) => Some(head_end.status().await?),
            None => None,
        };
        neighbours.head_end = head_end.as_ref().map(|status| status.is_connected);
        let snapshot = snapshot::build(&Sources {
            now: self.clock.now(),
            speed: 1,
            utility,
            has_utility: self.utility.is_some(),
            meters: Vec::new(),
            gateway,
            edge,
            head_end,
            archive,
            buffers,
            delays,
            neighbours,
        });
        snapshot.check()?;
        Ok(snapshot)
    }

    /// Serves the console and the API, if this process has them.
    pub(super) async fn serve_console(
        &mut self,
        data: Option<&DataDirectory>,
        pair: Option<std::sync::Arc<dyn PairDesk>>,
    ) -> anyhow::Result<Option<Console>> {
        let Some(port) = self.console.take() else {
            return Ok(None);
        };
        let data = data.context("a console has a data directory")?;
        let token = Token::of(data.path())?;
        self.lines.push(("token", token.path.display().to_string()));
        self.lines
            .push(("console", format!("http://{}/", port.address())));
        let utility = self.utility.as_ref().map(|utility| utility.node.handle());
        let desk = self.head_end.as_ref().map(|head_end| {
            let desk: std::sync::Arc<dyn Desk> = head_end.desk(utility);
            desk
        });
        let security = match &self.edge {
            Some(edge) => {
                let desk: std::sync::Arc<dyn SecurityDesk> =
                    std::sync::Arc::new(edge.desk(&self.links, data)?);
                Some(desk)
            }
            None => None,
        };
        let desks = Desks {
            head_end: desk,
            security,
            pair,
            feeder: None,
        };
        Ok(Some(Console::start(
            port,
            token,
            desks,
            self.snapshot().await?,
        )))
    }

    /// Stops from the field up, so that what is under way becomes durable.
    pub(super) async fn stop(self) {
        if let Some(head_end) = self.head_end {
            head_end.stop().await;
        }
        if let Some(gateway) = self.gateway {
            gateway.stop().await;
        }
        if let Some(edge) = self.edge {
            edge.stop().await;
        }
        if let Some(utility) = self.utility {
            utility.stop().await;
        }
        if let Some((archive, disk)) = self.archive {
            archive.stop().await;
            disk.close();
        }
    }
}

/// What to say where others may reach a tier whose links are in the clear; the gateway's meters
/// come without TLS anyway.
fn open_to_others(config: &Config, at: &[Option<SocketAddr>; 4]) -> Option<String> {
    let [_gateway, tiers @ ..] = at;
    let open = tiers.iter().flatten().find(|at| !at.ip().is_loopback())?;
    config.pki.is_none().then(|| {
        format!(
            "{open} is open to other machines, and whoever reaches it can speak as a tier: name \
             certificates with pki.directory"
        )
    })
}

fn archive_name(tiers: &Tiers) -> Option<String> {
    match tiers.has(Role::Archive) {
        true => Some(tiers.archive.clone()),
        false => upper_name(&tiers.utility_to_archive, &tiers.archive),
    }
}

/// How the tiers of this process reach others.
pub(super) fn links_of(config: &Config, tiers: &Tiers, clock: &Clock) -> anyhow::Result<Links> {
    let Some(directory) = &config.pki else {
        return Ok(Links::in_the_clear());
    };
    let names = [
        (Role::Gateway, NodeRole::Gateway, tiers.gateway.as_str()),
        (Role::Edge, NodeRole::Edge, tiers.edge.as_str()),
        (Role::Utility, NodeRole::Utility, pki::UTILITY),
        (Role::Headend, NodeRole::HeadEnd, headend::NODE),
        (Role::Archive, NodeRole::Archive, tiers.archive.as_str()),
    ];
    let nodes: anyhow::Result<Vec<_>> = names
        .into_iter()
        .filter(|(tier, ..)| tiers.has(*tier))
        .map(|(_, role, name)| pki::node_name(role, name))
        .collect();
    Links::over_tls(directory, &nodes?, clock)
}

fn start_archive(
    name: &str,
    directory: &DataDirectory,
    port: Listener,
    net: &Net,
    links: &Links,
) -> anyhow::Result<(Running<ArchiveNode>, Disk)> {
    let disk = Disk::start(
        "archive",
        DiskParts {
            archive: Some(ArchiveDisk::open(directory)?),
            ..DiskParts::default()
        },
    )?;
    let mut runner = Runner::new(net.clone());
    let node = runner.add(name, ArchiveNode::new(name.to_owned()));
    links.listen(&mut runner, node, NodeRole::Archive, port);
    runner.disk(disk.handle());
    Ok((runner.start(), disk))
}

/// The status of a utility that runs in another process: what this one knows by its configuration.
pub(super) fn elsewhere(config: UtilityConfig, now: Now) -> UtilityStatus {
    UtilityStatus {
        name: config.name,
        currency: config.currency,
        period: config.period,
        tariff: config.tariff,
        stations: Vec::new(),
        dispatch: None,
        price: None,
        trend: Vec::new(),
        meters: Vec::new(),
        bills: Vec::new(),
        exceptions: Vec::new(),
        counters: UtilityCounters::default(),
        refusals: gridloom_edge::ReasonCounters::default(),
        stored: 0,
        open_readings: 0,
        edges: 0,
        trust: Vec::new(),
        archive: false,
        archived_before: now.utc.day(),
        poisoned: None,
    }
}
