//! The archive (cloud support): keeps the objects the utility sends, acknowledges what is durable.

use std::collections::{BTreeMap, VecDeque};

use gridloom_core::{Now, Wake};

use crate::envelope::{Message, Role};
use crate::node::{DiskReply, DiskRequest, Input, LinkId, Node, Output};

/// An archive node.
#[derive(Debug, Default)]
pub struct ArchiveNode {
    name: String,
    next_ticket: u64,
    /// Writes under way: who is told, and by which of their numbers.
    writing: BTreeMap<u64, (LinkId, u64)>,
    stored: u64,
    failed: u64,
    outbox: VecDeque<Output>,
}

impl ArchiveNode {
    /// Writes that may be under way; one more is refused and its sender tries again later.
    pub const WRITING_MAX: usize = 64;

    /// An archive called `name`.
    pub fn new(name: String) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    /// Objects stored since start.
    pub fn stored(&self) -> u64 {
        self.stored
    }

    /// Objects the disk refused since start.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    fn answer(&mut self, link: LinkId, ticket: u64, stored: bool) {
        self.outbox.push_back(Output::Send {
            link,
            frame: Message::ObjectStored { ticket, stored }.encode(),
        });
    }

    fn handle_frame(&mut self, link: LinkId, frame: &[u8]) {
        match Message::decode(frame) {
            Ok(Message::Object {
                ticket,
                name,
                bytes,
            }) => {
                if self.writing.len() >= Self::WRITING_MAX {
                    self.answer(link, ticket, false);
                    return;
                }
                let own = self.next_ticket;
                self.next_ticket += 1;
                self.writing.insert(own, (link, ticket));
                self.outbox.push_back(Output::Disk(DiskRequest::Archive {
                    ticket: own,
                    name,
                    bytes,
                }));
            }
            Ok(Message::Hello { .. }) => self.outbox.push_back(Output::Send {
                link,
                frame: Message::hello(Role::Archive, &self.name).encode(),
            }),
            Ok(_) | Err(_) => self.outbox.push_back(Output::Close {
                link,
                reason: "the utility sent an envelope an archive does not take",
            }),
        }
    }
}

impl Node for ArchiveNode {
    fn handle(&mut self, input: Input, _now: Now) {
        assert!(
            self.outbox.is_empty(),
            "the host drains outputs between inputs"
        );
        match input {
            Input::Frame { link, frame } => self.handle_frame(link, &frame),
            Input::Disk(DiskReply::Done { ticket, result }) => {
                let Some((link, theirs)) = self.writing.remove(&ticket) else {
                    return;
                };
                match &result {
                    Ok(()) => self.stored += 1,
                    Err(error) => {
                        self.failed += 1;
                        tracing::error!(%error, "the archive could not keep an object");
                    }
                }
                self.answer(link, theirs, result.is_ok());
            }
            Input::LinkDown { link } => self.writing.retain(|_, (asker, _)| *asker != link),
            Input::Disk(_)
            | Input::LinkUp { .. }
            | Input::LinkFault { .. }
            | Input::DialFailed { .. }
            | Input::Timeout => {}
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    fn wake(&self) -> Wake {
        Wake::default()
    }
}
