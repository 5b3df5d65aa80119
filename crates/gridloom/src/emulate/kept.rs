//! A node whose memory is this process: what it wants remembered is remembered at once.

use std::collections::VecDeque;

use gridloom_core::{Now, Wake};
use gridloom_nodes::{DiskReply, DiskRequest, Input, Node, Output};

/// A node without a disk, or with one.
#[derive(Debug)]
pub(crate) struct Kept<N> {
    node: N,
    in_process: bool,
    done: VecDeque<u64>,
    now: Option<Now>,
}

impl<N: Node> Kept<N> {
    /// A node that asks for no disk if `in_process`.
    pub(crate) const fn new(node: N, in_process: bool) -> Self {
        Self {
            node,
            in_process,
            done: VecDeque::new(),
            now: None,
        }
    }
}

impl<N: Node> Node for Kept<N> {
    fn handle(&mut self, input: Input, now: Now) {
        self.now = Some(now);
        self.node.handle(input, now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        loop {
            match self.node.poll_output() {
                Some(Output::Disk(DiskRequest::Remember { ticket, .. })) if self.in_process => {
                    self.done.push_back(ticket);
                }
                Some(output) => return Some(output),
                None => {
                    // Before the first input nothing waits for an answer.
                    let now = self.now?;
                    let ticket = self.done.pop_front()?;
                    let result = Ok(());
                    let reply = DiskReply::Done { ticket, result };
                    self.node.handle(Input::Disk(reply), now);
                }
            }
        }
    }

    fn wake(&self) -> Wake {
        self.node.wake()
    }
}
