//! Faults as they strike: nodes that stop and start, disks, clocks.

use gridloom_nodes::DiskReply;

use crate::disk::Trouble;
use crate::hosted::Hosted;

use super::parts::{NodeClock, What};
use super::{CableIndex, Fault, Happened, NodeIndex, World, WorldError};

/// What a meter's supply does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Supply {
    Away,
    Back,
}

impl World {
    pub(super) fn fail(&mut self, fault: Fault) -> Result<Option<Happened>, WorldError> {
        self.note_fault(fault);
        Ok(match fault {
            Fault::Crash(node) => self.crash(node.0).then_some(Happened::Crashed(node)),
            Fault::CrashWriting(node) => {
                self.places[node.0].doomed = true;
                None
            }
            Fault::Boot(node) => self.boot(node.0)?.then_some(Happened::Booted(node)),
            Fault::Cut(cable) => {
                self.cables[cable.0].cut = true;
                self.cut(cable.0);
                None
            }
            Fault::Mend(cable) => {
                self.mend(cable.0);
                None
            }
            Fault::Mute(cable, way) => {
                self.cables[cable.0].muted[way as usize] = true;
                self.notice_mute(cable.0);
                None
            }
            Fault::Unmute(cable) => {
                self.unmute(cable);
                None
            }
            Fault::Degrade(cable, model) => {
                self.cables[cable.0].model = model;
                None
            }
            Fault::Restore(cable) => {
                self.cables[cable.0].model = self.cables[cable.0].healthy;
                None
            }
            Fault::Disk(node, trouble) => {
                self.places[node.0].disk.trouble(trouble);
                None
            }
            Fault::Room(node) => self.make_room(node)?,
            Fault::Rot(node) => self.rot(node)?,
            Fault::Step(node, by) => {
                let place = &mut self.places[node.0];
                place.clock = place.clock.stepped(by);
                // Deadlines may have passed, or moved on.
                place.wake = None;
                self.schedule_wake(node.0);
                None
            }
            Fault::Drift(node, ppm) => {
                let place = &mut self.places[node.0];
                place.clock = place.clock.drifting(self.time, ppm);
                place.wake = None;
                self.schedule_wake(node.0);
                None
            }
            Fault::Dark(node) => {
                self.supply(node.0, Supply::Away)?;
                None
            }
            Fault::Lit(node) => {
                self.supply(node.0, Supply::Back)?;
                None
            }
        })
    }

    /// A meter loses its supply, with which its link goes, or has it again.
    fn supply(&mut self, index: usize, supply: Supply) -> Result<(), WorldError> {
        let now = self.now_of(index);
        let place = &mut self.places[index];
        let Some(Hosted::Meter(meter)) = &mut place.node else {
            return Ok(());
        };
        match supply {
            Supply::Away => meter.power_off(now),
            Supply::Back => meter.power_on(now),
        }
        place.wake = None;
        self.drain(index)?;
        self.schedule_wake(index);
        for cable in self.places[index].cables.clone() {
            match supply {
                Supply::Away => {
                    self.cables[cable].cut = true;
                    self.cut(cable);
                }
                Supply::Back => self.mend(cable),
            }
        }
        Ok(())
    }

    /// Stops a node, unless it is down.
    pub(super) fn crash(&mut self, index: usize) -> bool {
        let place = &mut self.places[index];
        let Some(node) = place.node.take() else {
            return false;
        };
        if let Hosted::Utility(node) = &node {
            self.delays.merge(node.delays());
        }
        place.life += 1;
        place.doomed = false;
        place.wake = None;
        place.disk.crash();
        self.counters.crashes += 1;
        for cable in self.places[index].cables.clone() {
            let end = self.cables[cable].end_of(index);
            self.cables[cable].stands[end as usize] = false;
            self.tell_peer(cable, end);
        }
        true
    }

    /// Starts a node, unless it runs.
    pub(super) fn boot(&mut self, index: usize) -> Result<bool, WorldError> {
        let now = self.now_of(index);
        let place = &mut self.places[index];
        place.doomed = false;
        if place.node.is_some() {
            return Ok(false);
        }
        let node = self
            .blueprint
            .boot(place.role, &place.disk, now)
            .map_err(|cause| WorldError::Boot {
                node: place.role.name(),
                at: now.utc,
                cause,
            })?;
        place.node = Some(node);
        self.drain(index)?;
        for cable in self.places[index].cables.clone() {
            self.dial(cable);
        }
        Ok(true)
    }

    fn unmute(&mut self, cable: CableIndex) {
        self.cables[cable.0].muted = [false; 2];
        self.dial(cable.0);
    }

    /// The disk takes writes again. A node that stopped taking them starts anew, as its
    /// supervisor would have it.
    fn make_room(&mut self, node: NodeIndex) -> Result<Option<Happened>, WorldError> {
        let now = self.now_of(node.0);
        let place = &mut self.places[node.0];
        let is_stuck = place.node.as_ref().is_some_and(|it| it.is_poisoned(now));
        place.disk.trouble(Trouble::None);
        if is_stuck {
            self.crash(node.0);
            self.boot(node.0)?;
            return Ok(Some(Happened::Booted(node)));
        }
        Ok(None)
    }

    /// A bit of a durable journal flips while its node is down. The node must name the damage,
    /// and starts once the journal is what it was. A flip that it does not name is left there,
    /// for the checkers to find.
    fn rot(&mut self, node: NodeIndex) -> Result<Option<Happened>, WorldError> {
        let was_up = self.crash(node.0);
        let Some(flip) = self.places[node.0].disk.flip_a_bit() else {
            // A spool comes up whatever it holds, and names what it lost.
            if self.places[node.0].disk.flip_in_spool() {
                self.counters.bits_flipped += 1;
            }
            self.boot(node.0)?;
            return Ok(was_up.then_some(Happened::Booted(node)));
        };
        self.counters.bits_flipped += 1;
        if self.boot(node.0).is_err() {
            self.counters.damage_named += 1;
            self.places[node.0].disk.flip_back(flip);
            self.boot(node.0)?;
        }
        Ok(Some(Happened::Booted(node)))
    }

    /// Every clock is right again, every disk takes writes, every cable carries both ways.
    pub(super) fn heal_quietly(&mut self) -> Result<(), WorldError> {
        for place in 0..self.places.len() {
            let clock = std::mem::take(&mut self.places[place].clock);
            if clock != NodeClock::default() {
                self.places[place].wake = None;
                self.schedule_wake(place);
            }
            self.make_room(NodeIndex(place))?;
        }
        for cable in 0..self.cables.len() {
            self.cables[cable].muted = [false; 2];
        }
        Ok(())
    }

    pub(super) fn disk_done(&mut self, index: usize, life: u32) -> Result<(), WorldError> {
        let place = &mut self.places[index];
        if place.life != life {
            return Ok(());
        }
        let (reply, next): (DiskReply, _) = place.disk.complete();
        self.counters.disk_requests += 1;
        if let Some(takes) = next {
            self.push(self.time + takes, What::DiskDone { place: index, life });
        }
        self.give(index, gridloom_nodes::Input::Disk(reply))
    }
}
