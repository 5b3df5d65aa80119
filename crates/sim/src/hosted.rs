//! The nodes of a town, and how each comes up from its disk.

use std::sync::Arc;

use gridloom_core::{Now, Wake};
use gridloom_edge::{Edge, EdgeMemory};
use gridloom_field::{Boot, Meter};
use gridloom_nodes::{
    ArchiveNode, EdgeNode, GatewayNode, HeadEndNode, Input, MeterNode, Node, Output, UtilityMemory,
    UtilityNode,
};
use gridloom_store::LedgerConfig;

use crate::disk::Disk;
use crate::head_end::{self, HeadEndPlan};
use crate::town::Town;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The meter of the house with this index, from 0.
    Meter(usize),
    /// The gateway with this number, from 1.
    Gateway(usize),
    /// The edge.
    Edge,
    /// The utility.
    Utility,
    /// The archive.
    Archive,
    /// The head-end.
    HeadEnd,
}

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
}

/// What every node is made from.
#[derive(Debug)]
pub(crate) struct Blueprint {
    pub(crate) town: Arc<Town>,
    pub(crate) ledger: LedgerConfig,
    pub(crate) head_end: Option<HeadEndPlan>,
}

impl Role {
    /// What the node is called.
    pub fn name(self) -> String {
        match self {
            Self::Meter(house) => format!("meter-{}", house + 1),
            Self::Gateway(number) => format!("gateway-{number}"),
            Self::Edge => "edge".to_owned(),
            Self::Utility => "utility".to_owned(),
            Self::Archive => "archive".to_owned(),
            Self::HeadEnd => "head-end".to_owned(),
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
                let meter = Meter::start(config, house.load(), disk.cells(), Boot::Reset, now)
                    .map_err(|error| error.to_string())?;
                Hosted::Meter(Box::new(MeterNode::new(meter)))
            }
            Role::Gateway(_) => Hosted::Gateway(Box::new(GatewayNode::new(name))),
            Role::Edge => {
                let cell = |cell: &str| disk.cells().get(cell).map(Vec::as_slice);
                let memory = EdgeMemory::read(cell).map_err(|error| error.to_string())?;
                let edge = Edge::new(self.town.edge(), self.town.registry(), &memory);
                Hosted::Edge(Box::new(EdgeNode::new(name, edge)))
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
        })
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
        }
    }
}
