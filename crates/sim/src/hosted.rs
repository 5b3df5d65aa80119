//! The nodes of a town, and how each comes up from its disk.

use std::sync::Arc;

use gridloom_core::{Now, Wake};
use gridloom_edge::{Edge, EdgeMemory};
use gridloom_field::attack::AttackLog;
use gridloom_field::{Boot, Meter};
use gridloom_nodes::{
    ArchiveNode, AttackerNode, Compromised, EdgeNode, GatewayNode, HeadEndNode, Input, MeterNode,
    Node, Output, Tap, UtilityMemory, UtilityNode,
};
use gridloom_store::{LedgerConfig, SpoolConfig};

use crate::alternates::Alternates;
use crate::attack::AttackPlan;
use crate::disk::Disk;
use crate::head_end::{self, HeadEndPlan};
pub use crate::role::Role;
use crate::town::Town;

/// A running node.
#[derive(Debug)]
pub enum Hosted {
    /// A meter.
    Meter(Box<MeterNode>),
    /// A gateway.
    Gateway(Box<GatewayNode>),
    /// The edge.
    Edge(Box<EdgeNode>),
    /// The utility.
    Utility(Box<UtilityNode>),
    /// The archive.
    Archive(Box<ArchiveNode>),
    /// The head-end.
    HeadEnd(Box<HeadEndNode>),
    /// A meter whose line, or whose program, is an attacker's.
    TappedMeter(Box<Compromised<MeterNode>>),
    /// A gateway that an attacker has taken over.
    TakenGateway(Box<Compromised<GatewayNode>>),
    /// An attacker.
    Attacker(Box<AttackerNode>),
}

/// What every node is made from.
#[derive(Debug)]
pub(crate) struct Blueprint {
    pub(crate) town: Arc<Town>,
    pub(crate) ledger: LedgerConfig,
    pub(crate) spool: SpoolConfig,
    pub(crate) head_end: Option<HeadEndPlan>,
    pub(crate) attack: AttackPlan,
    pub(crate) alternates: Option<Alternates>,
}

impl Role {
    /// What the node is called.
    pub fn name(self) -> String {
        match self {
            Self::Meter(house) => format!("meter-{}", house + 1),
            Self::Gateway(number) => format!("gateway-{number}"),
            Self::Edge => "edge".to_owned(),
            Self::BackupEdge => "edge-2".to_owned(),
            Self::Utility => "utility".to_owned(),
            Self::Archive => "archive".to_owned(),
            Self::HeadEnd => "head-end".to_owned(),
            Self::Attacker(number) => format!("attacker-{number}"),
        }
    }
}

impl Role {
    /// The node with this [`Self::name`]; an attacker has no name that anybody gives.
    pub fn parse(name: &str) -> Option<Self> {
        let numbered = |kind: &str| {
            let number: usize = name.strip_prefix(kind)?.parse().ok()?;
            (number > 0).then_some(number)
        };
        match name {
            "edge" => Some(Self::Edge),
            "edge-2" => Some(Self::BackupEdge),
            "utility" => Some(Self::Utility),
            "archive" => Some(Self::Archive),
            "head-end" => Some(Self::HeadEnd),
            _ => numbered("meter-")
                .map(|number| Self::Meter(number - 1))
                .or_else(|| numbered("gateway-").map(Self::Gateway)),
        }
    }
}

impl Blueprint {
    /// Starts a node with what its disk holds, or says in words why it does not start.
    pub(crate) fn boot(&self, role: Role, disk: &Disk, now: Now) -> Result<Hosted, String> {
        let name = role.name();
        Ok(match role {
            Role::Meter(index) => {
                let house = &self.town.houses()[index];
                // The house goes on while its meter's program restarts.
                let mut config = house.config().clone();
                if self.head_end.is_some() {
                    config.access.master = Some(head_end::meter_master(&self.town, house));
                }
                if self.alternates.is_some() {
                    config.backup_edge_title = Some(self.town.backup_edge().title);
                }
                let load = self.attack.load_of(&self.town, index);
                let meter = Meter::start(config, load, disk.cells(), Boot::Reset, now)
                    .map_err(|error| error.to_string())?;
                let mut node = MeterNode::new(meter);
                if let Some(alternates) = self.alternates {
                    node = node.with_paths(alternates.meter);
                }
                match self.attack.on_line_of(&self.town, index) {
                    Some(attack) => {
                        Hosted::TappedMeter(Box::new(Compromised::new(node, Tap::Up, attack)))
                    }
                    None => Hosted::Meter(Box::new(node)),
                }
            }
            Role::Gateway(number) => {
                let mut node = GatewayNode::with_spool(name, disk.spool(self.spool)).sampling(1);
                if let Some(alternates) = self.alternates {
                    node = node
                        .with_backup(alternates.gateway)
                        .releasing_after(alternates.release_after);
                }
                match self.attack.in_gateway(&self.town, number) {
                    Some(attack) => {
                        Hosted::TakenGateway(Box::new(Compromised::new(node, Tap::Down, attack)))
                    }
                    None => Hosted::Gateway(Box::new(node)),
                }
            }
            Role::Edge | Role::BackupEdge => {
                let cell = |cell: &'static str| disk.cells().get(cell).map(Vec::as_slice);
                let memory = EdgeMemory::read(cell).map_err(|error| error.to_string())?;
                let config = if role == Role::BackupEdge {
                    self.town.backup_edge()
                } else {
                    self.town.edge()
                };
                let edge = Edge::new(config, self.town.registry(), &memory);
                let spool = disk.spool(self.spool);
                let mut node = EdgeNode::new(name, edge).with_spool(spool);
                if self.head_end.is_some() {
                    node = node
                        .with_edge_key(head_end::edge_key(), cell, now)
                        .map_err(|error| error.to_string())?;
                }
                Hosted::Edge(Box::new(node))
            }
            Role::Utility => {
                let ledger = disk
                    .ledger(self.ledger)
                    .map_err(|error| error.to_string())?;
                let plan = self.town.plan();
                let memory = UtilityMemory::read(
                    disk.database(),
                    disk.cells().get(UtilityMemory::ARCHIVED).map(Vec::as_slice),
                    ledger,
                    &self.town.served(),
                    plan.period,
                    plan.start.day(),
                )
                .map_err(|error| error.to_string())?;
                let config = self.town.utility(&name);
                let node = UtilityNode::new(config, self.town.served(), memory, now);
                Hosted::Utility(Box::new(node))
            }
            Role::Archive => Hosted::Archive(Box::new(ArchiveNode::new(name))),
            Role::HeadEnd => {
                let plan = self.head_end.expect("only a plan makes a head-end");
                let node = head_end::boot(plan, &self.town, disk, &name, now)?;
                Hosted::HeadEnd(Box::new(node))
            }
            Role::Attacker(number) => {
                let attack = self.attack.attacker(&self.town, number);
                Hosted::Attacker(Box::new(AttackerNode::new(attack)))
            }
        })
    }
}

impl Hosted {
    /// The meter, tapped or not.
    pub(crate) fn meter(&self) -> Option<&MeterNode> {
        match self {
            Self::Meter(node) => Some(node),
            Self::TappedMeter(tapped) => Some(tapped.node()),
            Self::Gateway(_)
            | Self::Edge(_)
            | Self::Utility(_)
            | Self::Archive(_)
            | Self::HeadEnd(_)
            | Self::TakenGateway(_)
            | Self::Attacker(_) => None,
        }
    }

    /// The gateway, taken over or not.
    pub(crate) fn gateway(&self) -> Option<&GatewayNode> {
        match self {
            Self::Gateway(node) => Some(node),
            Self::TakenGateway(taken) => Some(taken.node()),
            Self::Meter(_)
            | Self::TappedMeter(_)
            | Self::Edge(_)
            | Self::Utility(_)
            | Self::Archive(_)
            | Self::HeadEnd(_)
            | Self::Attacker(_) => None,
        }
    }

    /// Whether it takes no further writes until it starts anew.
    pub(crate) fn is_poisoned(&self, now: Now) -> bool {
        match self {
            Self::Utility(node) => node.status(now).poisoned.is_some(),
            Self::Meter(_)
            | Self::Gateway(_)
            | Self::Edge(_)
            | Self::Archive(_)
            | Self::HeadEnd(_)
            | Self::TappedMeter(_)
            | Self::TakenGateway(_)
            | Self::Attacker(_) => false,
        }
    }

    /// What its attacker did, if it has one.
    pub(crate) fn attack_log(&self) -> Option<&AttackLog> {
        match self {
            Self::TappedMeter(tapped) => Some(tapped.log()),
            Self::TakenGateway(taken) => Some(taken.log()),
            Self::Attacker(attacker) => Some(attacker.log()),
            Self::Meter(_)
            | Self::Gateway(_)
            | Self::Edge(_)
            | Self::Utility(_)
            | Self::Archive(_)
            | Self::HeadEnd(_) => None,
        }
    }
}

impl Node for Hosted {
    fn handle(&mut self, input: Input, now: Now) {
        match self {
            Self::Meter(node) => node.handle(input, now),
            Self::Gateway(node) => node.handle(input, now),
            Self::Edge(node) => node.handle(input, now),
            Self::Utility(node) => node.handle(input, now),
            Self::Archive(node) => node.handle(input, now),
            Self::HeadEnd(node) => node.handle(input, now),
            Self::TappedMeter(node) => node.handle(input, now),
            Self::TakenGateway(node) => node.handle(input, now),
            Self::Attacker(node) => node.handle(input, now),
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        match self {
            Self::Meter(node) => node.poll_output(),
            Self::Gateway(node) => node.poll_output(),
            Self::Edge(node) => node.poll_output(),
            Self::Utility(node) => node.poll_output(),
            Self::Archive(node) => node.poll_output(),
            Self::HeadEnd(node) => node.poll_output(),
            Self::TappedMeter(node) => node.poll_output(),
            Self::TakenGateway(node) => node.poll_output(),
            Self::Attacker(node) => node.poll_output(),
        }
    }

    fn wake(&self) -> Wake {
        match self {
            Self::Meter(node) => node.wake(),
            Self::Gateway(node) => node.wake(),
            Self::Edge(node) => node.wake(),
            Self::Utility(node) => node.wake(),
            Self::Archive(node) => node.wake(),
            Self::HeadEnd(node) => node.wake(),
            Self::TappedMeter(node) => node.wake(),
            Self::TakenGateway(node) => node.wake(),
            Self::Attacker(node) => node.wake(),
        }
    }
}
