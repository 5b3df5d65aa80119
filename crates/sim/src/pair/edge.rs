//! An edge of the model: a real fence, and readings of its meters that wait for their
//! acknowledgement.

use std::collections::BTreeSet;

use gridloom_core::Now;
use gridloom_nodes::Fence;
use gridloom_nodes::envelope::Message;
use gridloom_nodes::envelope::pair::{Epoch, PairMessage, Verdict, Vote};
use gridloom_nodes::{DiskRequest, Input, LinkId, Output};

use super::head_end::Frame;

/// One edge, and its meters' memory, which no crash of the edge loses.
#[derive(Debug)]
pub(super) struct Edge {
    fence: Option<Fence>,
    utility: Option<LinkId>,
    /// What arrives on a link that it has closed is not for it any more.
    closed: BTreeSet<LinkId>,
    pub(super) cell: Option<Vec<u8>>,
    /// Readings that its meters push until they are acknowledged.
    pub(super) unacknowledged: BTreeSet<u64>,
    /// The highest reign that it took anything from.
    highest: Epoch,
    is_lying: bool,
    is_deaf: bool,
}

/// What an edge wants done.
#[derive(Debug)]
pub(super) enum Wish {
    Send(LinkId, Vec<u8>),
    Close(LinkId),
    Remember {
        ticket: u64,
        bytes: Vec<u8>,
    },
    /// A meter is asked something, for the reign of this link.
    ToMeter(Frame),
    Acknowledged(u64),
    /// It heard a reign for the first time.
    Heard(Epoch),
    /// It took something from a reign that is over.
    OldReign,
}

impl Edge {
    pub(super) const fn new(is_lying: bool, is_deaf: bool) -> Self {
        Self {
            fence: None,
            utility: None,
            closed: BTreeSet::new(),
            cell: None,
            unacknowledged: BTreeSet::new(),
            highest: Epoch::NONE,
            is_lying,
            is_deaf,
        }
    }

    pub(super) fn start(&mut self, name: &str, now: Now) {
        let fence = Fence::read(name.to_owned(), self.cell.as_deref(), now.instant);
        self.fence = Some(fence.expect("its cell is whole"));
        self.utility = None;
    }

    pub(super) fn crash(&mut self) {
        self.fence = None;
        self.utility = None;
    }

    /// Everything that waits, to the utility.
    pub(super) fn push(&self) -> Vec<Wish> {
        let Some(utility) = self.utility else {
            return Vec::new();
        };
        let waiting = self.unacknowledged.iter().take(200);
        waiting
            .map(|number| Wish::Send(utility, Frame::Reading(*number).encode()))
            .collect()
    }

    /// A meter answers.
    pub(super) fn answer(&self, frame: Frame) -> Vec<Wish> {
        let utility = self.utility.into_iter();
        utility
            .map(|link| Wish::Send(link, frame.encode()))
            .collect()
    }

    pub(super) fn handle(&mut self, input: Input, now: Now) -> Vec<Wish> {
        let mut wishes = Vec::new();
        if let Input::Frame { link, frame } = &input {
            if self.closed.contains(link) {
                return wishes;
            }
            if self.is_lying
                && let Ok(Message::Pair(PairMessage::Ask(ask))) = Message::decode(frame)
            {
                let vote = Vote {
                    nonce: ask.nonce,
                    promised: ask.epoch,
                    verdict: Verdict::Granted,
                };
                let vote = Message::Pair(PairMessage::Vote(vote));
                return vec![Wish::Send(*link, vote.encode())];
            }
            // A fence that does not close hears whatever speaks as a head-end.
            if self.is_deaf && Frame::decode(frame).is_some() {
                self.take(*link, frame, &mut wishes);
                return wishes;
            }
        }
        let Some(fence) = &mut self.fence else {
            return wishes;
        };
        let passed = fence.filter(input, now);
        while let Some(output) = fence.poll_output() {
            match output {
                Output::Send { link, frame } => wishes.push(Wish::Send(link, frame)),
                // A deaf edge does not close either.
                Output::Close { link, .. } if !self.is_deaf => {
                    self.closed.insert(link);
                    wishes.push(Wish::Close(link));
                }
                Output::Disk(DiskRequest::Remember { ticket, bytes, .. }) => {
                    wishes.push(Wish::Remember { ticket, bytes });
                }
                Output::Close { .. } | Output::Disk(_) | Output::Dial { .. } => {}
            }
        }
        for input in passed {
            match input {
                Input::LinkUp { link, .. } => {
                    self.utility = Some(link);
                    wishes.extend(self.push());
                }
                Input::LinkDown { link } if self.utility == Some(link) => self.utility = None,
                Input::Frame { link, frame } => self.take(link, &frame, &mut wishes),
                Input::LinkDown { .. }
                | Input::LinkFault { .. }
                | Input::DialFailed { .. }
                | Input::Disk(_)
                | Input::Timeout => {}
            }
        }
        wishes
    }

    fn take(&mut self, link: LinkId, frame: &[u8], wishes: &mut Vec<Wish>) {
        let Some(frame) = Frame::decode(frame) else {
            return;
        };
        let epoch = frame.epoch();
        if epoch < self.highest {
            wishes.push(Wish::OldReign);
        }
        if epoch > self.highest {
            self.highest = epoch;
            wishes.push(Wish::Heard(epoch));
        }
        match frame {
            Frame::Stored { number, .. } => {
                self.unacknowledged.remove(&number);
                wishes.push(Wish::Acknowledged(number));
            }
            Frame::Execute { .. } | Frame::Look { .. } => wishes.push(Wish::ToMeter(frame)),
            Frame::Lives { .. } => self.utility = self.utility.or(Some(link)),
            Frame::Reading(_) | Frame::Answer { .. } => {}
        }
    }
}
