//! Connections over cables: they come up, break, and are dialled again.

use gridloom_nodes::{Input, LinkId, Port};

use crate::link::{Lane, below, nanos};

use super::parts::{End, What};
use super::{World, WorldError, cable_of, link_id};

impl World {
    pub(super) fn mend(&mut self, cable: usize) {
        self.cables[cable].cut = false;
        self.dial(cable);
    }

    /// The lower neighbour dials after a while, if there is somebody to dial.
    pub(super) fn dial(&mut self, index: usize) {
        let cable = &mut self.cables[index];
        let both_run =
            self.places[cable.lower].node.is_some() && self.places[cable.upper].node.is_some();
        if !cable.is_whole() || cable.stands != [false; 2] || cable.dialling || !both_run {
            return;
        }
        cable.dialling = true;
        let pause = below(&mut self.chance, nanos(Self::REDIAL_MAX));
        self.push(self.time + pause, What::Dial { cable: index });
    }

    pub(super) fn connect(&mut self, index: usize) -> Result<(), WorldError> {
        let cable = &mut self.cables[index];
        cable.dialling = false;
        let (lower, upper) = (cable.lower, cable.upper);
        let both_run = self.places[lower].node.is_some() && self.places[upper].node.is_some();
        if !cable.is_whole() || cable.stands != [false; 2] || !both_run {
            return Ok(());
        }
        cable.generation += 1;
        cable.stands = [true; 2];
        cable.is_given_up = false;
        cable.lanes.iter_mut().for_each(Lane::reconnect);
        let link = link_id(index, cable.generation);
        let port = cable.port;
        self.counters.links_up += 1;
        self.give(
            upper,
            Input::LinkUp {
                link,
                port: Port::Down,
            },
        )?;
        self.give(lower, Input::LinkUp { link, port })
    }

    /// A cable was cut: what is under way is lost, and both ends notice at once.
    pub(super) fn cut(&mut self, index: usize) {
        let link = link_id(index, self.cables[index].generation);
        for end in End::BOTH {
            self.push(self.time, What::Hangup { link, end });
        }
    }

    /// A meter's line carries nothing in one direction: with alternates both ends notice soon.
    pub(super) fn notice_mute(&mut self, index: usize) {
        let cable = &self.cables[index];
        let is_line = matches!(self.places[cable.lower].role, crate::hosted::Role::Meter(_));
        if let Some(alternates) = self.blueprint.alternates.filter(|_| is_line) {
            let link = link_id(index, cable.generation);
            let at = self.time + nanos(alternates.keepalive);
            for end in End::BOTH {
                self.push(at, What::Hangup { link, end });
            }
        }
    }

    /// One end is gone; the other still gets what was under way to it, and then notices.
    pub(super) fn tell_peer(&mut self, index: usize, gone: End) {
        let cable = &self.cables[index];
        let link = link_id(index, cable.generation);
        let at = cable.lanes[gone as usize].all_arrived(&cable.model, self.time);
        let end = gone.other();
        self.push(at, What::Hangup { link, end });
    }

    pub(super) fn hang_up(&mut self, link: LinkId, end: End) -> Result<(), WorldError> {
        let (index, generation) = cable_of(link);
        let cable = &mut self.cables[index];
        if !cable.stands(generation, end) {
            return Ok(());
        }
        cable.stands[end as usize] = false;
        let place = cable.place(end);
        self.give(place, Input::LinkDown { link })?;
        self.dial(index);
        Ok(())
    }

    /// A frame was sent into a direction that carries nothing. Nobody confirms a stream's bytes:
    /// both ends give the connection up after a while. A datagram is missed by nobody.
    pub(super) fn swallow(&mut self, index: usize, link: LinkId) {
        self.counters.frames_lost += 1;
        let cable = &mut self.cables[index];
        if cable.model.transport == crate::link::Transport::Stream && !cable.is_given_up {
            cable.is_given_up = true;
            let at = self.time + nanos(Self::STREAM_TIMEOUT);
            for end in End::BOTH {
                self.push(at, What::Hangup { link, end });
            }
        }
    }
}
