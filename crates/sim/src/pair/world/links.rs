//! Connections between the processes of a pair: in order, with delays, cut in one direction or
//! both.

use std::collections::VecDeque;

use gridloom_nodes::envelope::pair::Epoch;
use gridloom_nodes::envelope::{Message, Role};
use gridloom_nodes::{LinkId, Port};

use super::{Event, MEMBERS, MS, Own, PairWorld};

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Edge to a member's keeper.
    Seat,
    /// Edge to a member's head-end.
    Utility,
    /// The second member to the first.
    Peer,
}

/// Who dials whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    from: usize,
    to: usize,
    kind: Kind,
}

impl Route {
    pub(super) fn all(edges: usize) -> Vec<Self> {
        let mut routes = vec![Self {
            from: 1,
            to: 0,
            kind: Kind::Peer,
        }];
        for edge in 0..edges {
            for member in 0..MEMBERS {
                for kind in [Kind::Seat, Kind::Utility] {
                    routes.push(Self {
                        from: MEMBERS + edge,
                        to: member,
                        kind,
                    });
                }
            }
        }
        routes
    }
}

#[derive(Debug)]
pub(super) struct Link {
    route: Route,
    /// When each direction is free for its next frame; from the dialler first.
    free: [u64; 2],
    /// Frames that wait for a cut to heal.
    stuck: [VecDeque<Vec<u8>>; 2],
}

pub(super) fn hello(epoch: Epoch) -> Vec<u8> {
    Message::hello_in(Role::Utility, "utility", epoch).encode()
}

impl PairWorld {
    pub(super) fn kind(&self, link: LinkId) -> Option<Kind> {
        self.links.get(&link).map(|link| link.route.kind)
    }

    pub(super) fn utility_link(&self, member: usize, edge: usize) -> Option<LinkId> {
        let mut links = self.links.iter().rev();
        links
            .find(|(_, link)| {
                let Route { from, to, kind } = link.route;
                (from, to, kind) == (edge, member, Kind::Utility)
            })
            .map(|(link, _)| *link)
    }

    fn is_cut(&self, one: usize, other: usize) -> bool {
        self.cut.contains(&(one, other)) || self.cut.contains(&(other, one))
    }

    pub(super) fn dial(&mut self, route: Route) {
        let again = 100 * MS + self.below(300 * MS);
        self.after(again, Event::Dial(route));
        let Route { from, to, kind } = route;
        let is_there = |process: usize| {
            let process = &self.processes[process];
            process.is_up && !process.is_asleep
        };
        let serves = kind != Kind::Utility || self.members[to].head_end.is_some();
        let has_one = self.links.values().any(|link| link.route == route);
        if !is_there(from) || !is_there(to) || !serves || has_one || self.is_cut(from, to) {
            return;
        }
        self.last_link += 1;
        let link = LinkId(self.last_link);
        let entry = Link {
            route,
            free: [self.now; 2],
            stuck: [VecDeque::new(), VecDeque::new()],
        };
        self.links.insert(link, entry);
        self.tell(from, MS, Own::Up(link, Port::Up));
        self.tell(to, MS, Own::Up(link, Port::Down));
    }

    pub(super) fn send(&mut self, sender: usize, link: LinkId, frame: Vec<u8>) {
        let slow = self.below(40) == 0;
        let wait = MS + self.below(if slow { 400 * MS } else { 10 * MS });
        let now = self.now;
        let Some(entry) = self.links.get_mut(&link) else {
            return;
        };
        let side = usize::from(entry.route.from != sender);
        let receiver = match side {
            0 => entry.route.to,
            _ => entry.route.from,
        };
        if self.cut.contains(&(sender, receiver)) || !entry.stuck[side].is_empty() {
            entry.stuck[side].push_back(frame);
            return;
        }
        let at = (now + wait).max(entry.free[side] + 1).max(now + MS + 1);
        entry.free[side] = at;
        self.tell(receiver, at - now, Own::Frame(link, frame));
    }

    /// Lets go what a cut held up.
    pub(super) fn unstick(&mut self) {
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            for side in [0, 1] {
                let Some(entry) = self.links.get_mut(&link) else {
                    continue;
                };
                let (from, to) = match side {
                    0 => (entry.route.from, entry.route.to),
                    _ => (entry.route.to, entry.route.from),
                };
                if self.cut.contains(&(from, to)) {
                    continue;
                }
                for frame in std::mem::take(&mut entry.stuck[side]) {
                    self.send(from, link, frame);
                }
            }
        }
    }

    /// A connection ends at both sides, after what is under way.
    pub(super) fn close(&mut self, link: LinkId) {
        if let Some(entry) = self.links.remove(&link) {
            let wait = entry.free.into_iter().max().unwrap_or(0).max(self.now) - self.now + MS;
            self.tell(entry.route.from, wait, Own::Down(link));
            self.tell(entry.route.to, wait, Own::Down(link));
        }
    }

    pub(super) fn drop_links(&mut self, process: usize, is_it: impl Fn(Kind) -> bool) {
        let links: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| {
                let Route { from, to, kind } = link.route;
                (from == process || to == process) && is_it(kind)
            })
            .map(|(link, _)| *link)
            .collect();
        for link in links {
            self.close(link);
        }
    }

    /// What a cut has held up for long is given up by both ends.
    pub(super) fn reset(&mut self, one: usize, other: usize) {
        if !self.is_cut(one, other) {
            return;
        }
        let links: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| {
                let Route { from, to, .. } = link.route;
                (from, to) == (one, other) || (from, to) == (other, one)
            })
            .map(|(link, _)| *link)
            .collect();
        for link in links {
            self.close(link);
        }
    }
}
