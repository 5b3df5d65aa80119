//! Attackers as nodes: beside the network with connections of their own, on the path between two
//! neighbours, or inside a node that they have taken over.
//!
//! The decisions are [`gridloom_field::attack`]'s; here frames find their lines.

mod compromised;
mod intruder;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use gridloom_core::{Instant, Now, UtcTime, Wake};
use gridloom_dlms::wrapper::Deframer;
use gridloom_field::attack::{Act, Attack, AttackLog, Line, Way};

use crate::node::{DialId, Input, LinkId, Node, Output, Port, Wire};

pub use compromised::{Compromised, Tap};
pub use intruder::{Intruder, IntruderPlan, IntruderRole};

/// The connections that an attacker makes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where to, as `HOST:PORT`.
    pub address: String,
    /// Connections of its own, at most [`AttackerNode::LINES_MAX`]. What connects to the attacker
    /// from below gets one more each, on which its frames go on.
    pub lines: usize,
}

/// What became of an attacker's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LineCounters {
    /// Connections that stood.
    pub opened: u64,
    /// Attempts that came to nothing.
    pub refused: u64,
    /// Connections that ended: the other side hung up, or went away.
    pub closed: u64,
    /// Frames, or pieces of them, that came back on lines of its own.
    pub answers: u64,
    /// Frames of victims that found no line to go on.
    pub stranded: u64,
}

/// A frame that the attacker sent or heard, for a capture file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traffic {
    /// When.
    pub time: UtcTime,
    /// On which connection.
    pub link: LinkId,
    /// Whether the attacker sent it.
    pub is_sent: bool,
    /// Its bytes.
    pub frame: Vec<u8>,
}

/// An attacker with connections of its own.
///
/// Over [`Port::Up`], and where it dials itself, it has lines of its own. What connects over
/// [`Port::Down`] is a victim that takes the attacker for its gateway: it gets a connection to the
/// target, and the attacker stands between the two.
#[derive(Debug)]
pub struct AttackerNode {
    attack: Box<dyn Attack>,
    target: Option<Target>,
    own: BTreeSet<LinkId>,
    /// The two ends of each victim's connection, by either.
    pairs: BTreeMap<LinkId, (LinkId, Way)>,
    /// What is being dialled: for a victim, or as a line of its own.
    dialling: BTreeMap<DialId, Option<LinkId>>,
    /// Frames of victims whose connection to the target does not stand yet.
    waiting: BTreeMap<LinkId, Vec<Vec<u8>>>,
    /// Where a pair's bytes are cut into frames.
    deframers: BTreeMap<LinkId, Deframer>,
    next_dial: u64,
    dial_at: Option<Instant>,
    counters: LineCounters,
    traffic: VecDeque<Traffic>,
    traffic_kept: usize,
    traffic_lost: u64,
    outbox: VecDeque<Output>,
}

impl AttackerNode {
    /// Lines of its own.
    pub const LINES_MAX: usize = 1_024;

    /// A line that was lost or refused is dialled again after this long.
    pub const REDIAL: Duration = Duration::from_millis(250);

    /// Frames that wait for a victim's connection to the target; more are lost and counted.
    pub const WAITING_MAX: usize = 64;

    /// An attacker whose host gives it its lines.
    pub fn new(attack: Box<dyn Attack>) -> Self {
        Self {
            attack,
            target: None,
            own: BTreeSet::new(),
            pairs: BTreeMap::new(),
            dialling: BTreeMap::new(),
            waiting: BTreeMap::new(),
            deframers: BTreeMap::new(),
            next_dial: 0,
            dial_at: None,
            counters: LineCounters::default(),
            traffic: VecDeque::new(),
            traffic_kept: 0,
            traffic_lost: 0,
            outbox: VecDeque::new(),
        }
    }

    /// An attacker that dials a target.
    ///
    /// # Panics
    ///
    /// If it shall have more than [`Self::LINES_MAX`] lines.
    pub fn dialling(attack: Box<dyn Attack>, target: Target) -> Self {
        assert!(
            target.lines <= Self::LINES_MAX,
            "an attacker has up to {} lines of its own",
            Self::LINES_MAX
        );
        Self {
            target: Some(target),
            dial_at: Some(Instant::ZERO),
            ..Self::new(attack)
        }
    }

    /// Keeps up to so many frames until [`Self::take_traffic`] is called; more are counted.
    pub fn keep_traffic(&mut self, frames: usize) {
        self.traffic_kept = frames;
    }

    /// The frames since it was asked last, and how many were not kept.
    pub fn take_traffic(&mut self) -> (Vec<Traffic>, u64) {
        let lost = std::mem::take(&mut self.traffic_lost);
        (std::mem::take(&mut self.traffic).into(), lost)
    }

    /// What it did.
    pub fn log(&self) -> &AttackLog {
        self.attack.log()
    }

    /// What became of its connections.
    pub fn counters(&self) -> LineCounters {
        self.counters
    }

    /// Lines of its own that stand.
    pub fn lines(&self) -> usize {
        self.own.len()
    }

    /// Something was overheard on a cable that it has tapped.
    pub fn overhear(&mut self, frame: &[u8], now: Now) {
        self.attack.handle_overheard(frame, now);
        self.carry_out(now);
    }

    fn keep(&mut self, link: LinkId, is_sent: bool, frame: &[u8], now: Now) {
        if self.traffic_kept == 0 {
            return;
        }
        if self.traffic.len() == self.traffic_kept {
            self.traffic_lost += 1;
            return;
        }
        self.traffic.push_back(Traffic {
            time: now.utc,
            link,
            is_sent,
            frame: frame.to_vec(),
        });
    }

    fn dial(&mut self, victim: Option<LinkId>) {
        let Some(target) = &self.target else { return };
        let dial = DialId(self.next_dial);
        self.next_dial += 1;
        self.dialling.insert(dial, victim);
        self.outbox.push_back(Output::Dial {
            dial,
            address: target.address.clone(),
            // It sends what no framing would let out.
            wire: Wire::Bytes,
        });
    }

    fn dial_own_lines(&mut self) {
        let wanted = self.target.as_ref().map_or(0, |target| target.lines);
        let dialling = self.dialling.values().filter(|it| it.is_none()).count();
        for _ in (self.own.len() + dialling)..wanted {
            self.dial(None);
        }
    }

    fn line_up(&mut self, link: LinkId, now: Now) {
        self.counters.opened += 1;
        self.own.insert(link);
        self.attack.handle_line_up(Line(link.0), now);
    }

    fn victim_up(&mut self, link: LinkId) {
        if self.target.is_some() {
            self.deframers.insert(link, Deframer::default());
            self.waiting.insert(link, Vec::new());
            self.dial(Some(link));
        }
    }

    fn pair(&mut self, victim: LinkId, target: LinkId, now: Now) {
        self.counters.opened += 1;
        let Some(waiting) = self.waiting.remove(&victim) else {
            // The victim went away meanwhile.
            self.close(target, "its victim has gone");
            return;
        };
        self.pairs.insert(victim, (target, Way::Up));
        self.pairs.insert(target, (victim, Way::Down));
        self.deframers.insert(target, Deframer::default());
        for frame in waiting {
            self.between(victim, &frame, now);
        }
    }

    /// Bytes on one end of a victim's connection.
    fn between(&mut self, link: LinkId, bytes: &[u8], now: Now) {
        if let Some(waiting) = self.waiting.get_mut(&link) {
            if waiting.len() < Self::WAITING_MAX {
                waiting.push(bytes.to_vec());
            } else {
                self.counters.stranded += 1;
            }
            return;
        }
        let Some((other, way)) = self.pairs.get(&link).copied() else {
            return;
        };
        // A pair has one line: the victim's end.
        let line = Line(if way == Way::Up { link.0 } else { other.0 });
        let mut frames = Vec::new();
        let deframer = self.deframers.entry(link).or_default();
        let mut cut = deframer.push(bytes);
        while cut.is_ok() {
            match deframer.pull() {
                Ok(Some(frame)) => frames.push(frame.to_bytes()),
                Ok(None) => break,
                Err(error) => cut = Err(error),
            }
        }
        for frame in frames {
            self.attack.handle_frame(line, way, frame, now);
        }
        if cut.is_err() {
            self.close(link, "its victim speaks no wrapper");
            self.link_down(link, now);
        }
    }

    fn link_down(&mut self, link: LinkId, now: Now) {
        self.deframers.remove(&link);
        if self.waiting.remove(&link).is_some() {
            return;
        }
        if self.own.remove(&link) {
            self.counters.closed += 1;
            self.attack.handle_line_down(Line(link.0), now);
            self.dial_at = self.dial_at.or(Some(now.instant + Self::REDIAL));
        } else if let Some((other, way)) = self.pairs.remove(&link) {
            self.counters.closed += 1;
            let victim = if way == Way::Up { link } else { other };
            self.attack.handle_line_down(Line(victim.0), now);
            self.pairs.remove(&other);
            self.deframers.remove(&other);
            self.close(other, "the other end has gone");
        }
    }

    fn close(&mut self, link: LinkId, reason: &'static str) {
        self.outbox.push_back(Output::Close { link, reason });
    }

    fn carry_out(&mut self, now: Now) {
        while let Some(Act::Send { line, way, frame }) = self.attack.poll_output() {
            let link = LinkId(line.0);
            let to = match (self.pairs.get(&link), way) {
                (Some((other, Way::Up)), Way::Up) => *other,
                (Some(_), _) => link,
                (None, _) if self.own.contains(&link) => link,
                (None, _) => {
                    self.counters.stranded += 1;
                    continue;
                }
            };
            self.keep(to, true, &frame, now);
            self.outbox.push_back(Output::Send { link: to, frame });
        }
    }
}

impl Node for AttackerNode {
    fn handle(&mut self, input: Input, now: Now) {
        match input {
            Input::LinkUp { link, port } => match port {
                Port::Up | Port::Backup => self.line_up(link, now),
                Port::Down => self.victim_up(link),
                Port::Dialled(dial) => match self.dialling.remove(&dial) {
                    Some(None) => self.line_up(link, now),
                    Some(Some(victim)) => self.pair(victim, link, now),
                    None => self.close(link, "nobody asked for it"),
                },
                Port::Push(_) => self.close(link, "it takes no pushes"),
            },
            Input::LinkDown { link } => self.link_down(link, now),
            Input::DialFailed { dial, .. } => {
                self.counters.refused += 1;
                match self.dialling.remove(&dial) {
                    Some(Some(victim)) => {
                        self.waiting.remove(&victim);
                        self.close(victim, "its gateway cannot be reached");
                    }
                    Some(None) => {
                        self.dial_at = self.dial_at.or(Some(now.instant + Self::REDIAL));
                    }
                    None => {}
                }
            }
            Input::Frame { link, frame } => {
                self.keep(link, false, &frame, now);
                if self.own.contains(&link) {
                    self.counters.answers += 1;
                } else {
                    self.between(link, &frame, now);
                }
            }
            Input::LinkFault { .. } | Input::Disk(_) => {}
            Input::Timeout => {
                if self.dial_at.take_if(|at| *at <= now.instant).is_some() {
                    self.dial_own_lines();
                }
                if self.attack.wake().is_due(now) {
                    self.attack.handle_timeout(now);
                }
            }
        }
        self.carry_out(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    fn wake(&self) -> Wake {
        self.attack.wake().earliest(Wake {
            instant: self.dial_at.map(|at| (at, "dial the target")),
            utc: None,
        })
    }
}

#[cfg(test)]
mod tests;
