//! A node whose frames pass through an attacker: the line to it is tapped, or it is the attacker's
//! own.

use std::collections::{BTreeSet, VecDeque};

use gridloom_core::{Now, Wake};
use gridloom_field::attack::{Act, Attack, AttackLog, Line, Way};

use crate::node::{Input, LinkId, Node, Output, Port};

/// Which links of a node the attacker holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tap {
    /// Those to its upper neighbours: a meter's line to its gateway.
    Up,
    /// Those to its lower neighbours: a gateway's lines to its meters.
    Down,
}

/// A node and the attacker that stands before it. The node itself is as it was deployed.
#[derive(Debug)]
pub struct Compromised<N> {
    node: N,
    attack: Box<dyn Attack>,
    tap: Tap,
    tapped: BTreeSet<LinkId>,
    /// Frames that the attacker lets in to the node.
    inbox: VecDeque<Input>,
    outbox: VecDeque<Output>,
    now: Option<Now>,
}

impl<N: Node> Compromised<N> {
    /// Puts an attacker before a node.
    pub fn new(node: N, tap: Tap, attack: Box<dyn Attack>) -> Self {
        Self {
            node,
            attack,
            tap,
            tapped: BTreeSet::new(),
            inbox: VecDeque::new(),
            outbox: VecDeque::new(),
            now: None,
        }
    }

    /// The node.
    pub fn node(&self) -> &N {
        &self.node
    }

    /// The node, for its operator, who knows nothing.
    pub fn node_mut(&mut self) -> &mut N {
        &mut self.node
    }

    /// What the attacker did.
    pub fn log(&self) -> &AttackLog {
        self.attack.log()
    }

    /// The way of a frame that comes to the node.
    const fn inwards(&self) -> Way {
        match self.tap {
            Tap::Up => Way::Down,
            Tap::Down => Way::Up,
        }
    }

    fn carry_out(&mut self) {
        while let Some(Act::Send { line, way, frame }) = self.attack.poll_output() {
            let link = LinkId(line.0);
            if !self.tapped.contains(&link) {
                continue;
            }
            if way == self.inwards() {
                self.inbox.push_back(Input::Frame { link, frame });
            } else {
                self.outbox.push_back(Output::Send { link, frame });
            }
        }
    }
}

impl<N: Node> Node for Compromised<N> {
    fn handle(&mut self, input: Input, now: Now) {
        self.now = Some(now);
        match input {
            Input::Frame { link, frame } if self.tapped.contains(&link) => {
                let way = self.inwards();
                self.attack.handle_frame(Line(link.0), way, frame, now);
            }
            Input::Timeout => {
                if self.attack.wake().is_due(now) {
                    self.attack.handle_timeout(now);
                }
                if self.node.wake().is_due(now) {
                    self.node.handle(Input::Timeout, now);
                }
            }
            Input::LinkUp { link, port } => {
                if matches!(
                    (port, self.tap),
                    (Port::Up | Port::Backup, Tap::Up) | (Port::Down, Tap::Down)
                ) {
                    self.tapped.insert(link);
                }
                self.node.handle(input, now);
            }
            Input::LinkDown { link } => {
                if self.tapped.remove(&link) {
                    self.attack.handle_line_down(Line(link.0), now);
                }
                self.node.handle(input, now);
            }
            Input::Frame { .. }
            | Input::LinkFault { .. }
            | Input::DialFailed { .. }
            | Input::Disk(_) => {
                self.node.handle(input, now);
            }
        }
        self.carry_out();
    }

    fn poll_output(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.outbox.pop_front() {
                return Some(output);
            }
            match (self.node.poll_output(), self.now) {
                (Some(Output::Send { link, frame }), Some(now)) if self.tapped.contains(&link) => {
                    let way = match self.inwards() {
                        Way::Up => Way::Down,
                        Way::Down => Way::Up,
                    };
                    self.attack.handle_frame(Line(link.0), way, frame, now);
                    self.carry_out();
                }
                (Some(output), _) => return Some(output),
                // The node is drained: it can take its next input.
                (None, Some(now)) => {
                    let input = self.inbox.pop_front()?;
                    self.node.handle(input, now);
                }
                (None, None) => return None,
            }
        }
    }

    fn wake(&self) -> Wake {
        self.node.wake().earliest(self.attack.wake())
    }
}
