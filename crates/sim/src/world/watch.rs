//! What a world sees of the traffic that it carries, for the checkers, and breaks for their tests.

use gridloom_core::MeterId;
use gridloom_nodes::envelope::Message;
use gridloom_nodes::{DiskRequest, LinkId};

use crate::hosted::Role;
use crate::link::LinkModel;
use crate::sabotage::Sabotage;

use super::parts::{End, What};
use super::{CableIndex, NodeIndex, World, head_end};

/// What nodes did that they must not do, as the cables show it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Breaches {
    /// The first that exceeded a bound: who, what, how much, and the bound.
    pub unbounded: Option<(Role, &'static str, usize, usize)>,
    /// Packets as meters sent them that went up from their edge.
    pub leaked: u64,
}

impl World {
    /// Requests of one node that wait for a host's disk: with more it takes no frames.
    pub const DISK_WAITING_MAX: usize = 4_096;

    /// Watches what the frames between nodes are from now on, which costs some speed.
    pub fn watch_traffic(&mut self) {
        self.is_watched = true;
    }

    /// Breaks what must hold, once, for a test of the checkers; watches the traffic.
    pub fn sabotage(&mut self, sabotage: Sabotage) {
        self.watch_traffic();
        self.sabotage = Some(sabotage);
    }

    /// What was seen since the traffic is watched.
    pub fn breaches(&self) -> &Breaches {
        &self.breaches
    }

    /// The node with this role.
    pub fn node(&self, role: Role) -> Option<NodeIndex> {
        let place = self.places.iter().position(|place| place.role == role);
        place.map(NodeIndex)
    }

    /// The upper end of a cable.
    pub fn upper_end(&self, cable: CableIndex) -> NodeIndex {
        NodeIndex(self.cables[cable.0].upper)
    }

    /// The cable between a node and its neighbour above, the first where it has two.
    pub fn cable_above(&self, node: NodeIndex) -> Option<CableIndex> {
        let cable = self.cables.iter().position(|cable| cable.lower == node.0);
        cable.map(CableIndex)
    }

    /// The nodes by which a meter's readings go, or all above the gateways.
    pub fn involved(&self, meter: Option<MeterId>) -> Vec<NodeIndex> {
        let houses = self.town().houses();
        let house = meter.and_then(|meter| houses.iter().position(|it| it.meter() == meter));
        let mut nodes: Vec<NodeIndex> = house
            .and_then(|house| self.node(Role::Meter(house)))
            .into_iter()
            .collect();
        while let Some(last) = nodes.last().copied()
            && let Some(cable) = self.cable_above(last)
        {
            nodes.push(NodeIndex(self.cables[cable.0].upper));
        }
        if nodes.is_empty() {
            let above = [
                Role::Edge,
                Role::BackupEdge,
                Role::Utility,
                Role::Archive,
                Role::HeadEnd,
            ];
            nodes.extend(above.into_iter().filter_map(|role| self.node(role)));
        }
        nodes
    }

    pub(super) fn watch_frame(
        &mut self,
        from: usize,
        cable: usize,
        link: LinkId,
        frame: &mut Vec<u8>,
    ) {
        let role = self.places[from].role;
        let is_up = self.cables[cable].end_of(from) == End::Lower;
        if let Some(sabotage) = self.sabotage.filter(|_| self.is_time_to_break()) {
            match role {
                Role::Edge | Role::BackupEdge if is_up => {
                    if let Some(answer) = sabotage.above_edge(frame) {
                        self.sabotage = None;
                        if !answer.is_empty() {
                            let to = End::Lower;
                            let frame = answer;
                            self.push(self.time, What::Frame { link, to, frame });
                        }
                    }
                }
                Role::Utility if sabotage.below_utility(frame) => self.sabotage = None,
                Role::Gateway(_) if is_up && sabotage == Sabotage::LeakAPacket => {
                    let before = self.breaches.leaked;
                    self.judge(Role::Edge, frame);
                    if self.breaches.leaked > before {
                        self.sabotage = None;
                    }
                }
                Role::HeadEnd if sabotage == Sabotage::OrderByNobody => {
                    self.sabotage = None;
                    self.order_by_nobody();
                }
                Role::Meter(_)
                | Role::Gateway(_)
                | Role::Edge
                | Role::BackupEdge
                | Role::Utility
                | Role::Archive
                | Role::HeadEnd
                | Role::Attacker(_) => {}
            }
        }
        if is_up {
            self.judge(role, frame);
        }
        if frame.len() > LinkModel::FRAME_MAX {
            let breach = (role, "bytes of a frame", frame.len(), LinkModel::FRAME_MAX);
            self.breaches.unbounded.get_or_insert(breach);
        }
    }

    pub(super) fn watch_request(&mut self, index: usize, request: &mut DiskRequest) {
        if let Some(sabotage) = self.sabotage.filter(|_| self.is_time_to_break())
            && sabotage.at_disk(request)
        {
            self.sabotage = None;
        }
        let place = &self.places[index];
        let waiting = place.disk.waiting();
        if waiting > Self::DISK_WAITING_MAX {
            let breach = (
                place.role,
                "requests that wait for a disk",
                waiting,
                Self::DISK_WAITING_MAX,
            );
            self.breaches.unbounded.get_or_insert(breach);
        }
    }

    fn is_time_to_break(&self) -> bool {
        self.time >= crate::link::nanos(Sabotage::AFTER)
    }

    /// What an edge sends up is readings, alarms and what meters answer to the head-end.
    fn judge(&mut self, from: Role, frame: &[u8]) {
        if matches!(from, Role::Edge | Role::BackupEdge | Role::Utility)
            && let Ok(Message::Uplink(_) | Message::Spooled { .. }) = Message::decode(frame)
        {
            self.breaches.leaked += 1;
        }
    }

    /// An association with the first meter, and an ACTION in it.
    fn order_by_nobody(&mut self) {
        let meter = self.town().houses()[0].meter();
        for tag in [0x60, 0xCB, 0xCB] {
            let message = Message::ToMeter {
                meter,
                client: gridloom_dlms::wrapper::WPort::MANAGEMENT,
                apdu: vec![tag],
            };
            head_end::Heard::listen(&mut self.heard, &message.encode());
        }
    }
}
