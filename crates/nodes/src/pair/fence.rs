//! An edge's fence: it witnesses for a head-end pair, and lets in only what the member of the
//! highest epoch says.

use std::collections::{BTreeMap, VecDeque};

use gridloom_core::{Instant, Now};

use super::witness::{Witness, WitnessRecord};
use crate::envelope::pair::{Epoch, PairMessage, Vote};
use crate::envelope::{Message, Role};
use crate::node::{DiskReply, DiskRequest, Input, LinkId, Output, Port};

/// Tickets of the fence's memory cell start here, above all others of an edge.
const TICKETS: u64 = 3 << 62;

/// What an upper link turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upper {
    /// It has said nothing yet.
    Unknown,
    /// A member's seat, which asks for votes.
    Seat,
    /// A utility that speaks in this epoch.
    Utility(Epoch),
}

/// Something that leaves once the record is durable.
#[derive(Debug)]
enum Held {
    Vote(LinkId, Vote),
    Admit(LinkId, Epoch),
}

/// The fence of an edge whose utility is a pair.
#[derive(Debug)]
pub struct Fence {
    name: String,
    witness: Witness,
    links: BTreeMap<LinkId, Upper>,
    current: Option<(LinkId, Epoch)>,
    /// Answers by the write that they wait for.
    held: VecDeque<(u64, Held)>,
    /// As it was last given to the disk.
    written: WitnessRecord,
    writes: u64,
    durable: u64,
    /// Links refused because their epoch was over.
    refused: u64,
    outbox: VecDeque<Output>,
}

impl Fence {
    /// The memory cell of the edge that keeps what the fence has promised.
    pub const CELL: &'static str = "witness";

    /// Answers that wait for the disk; further ones are dropped, and asked for again.
    pub const HELD_MAX: usize = 256;

    /// The fence of the edge called `name`, with its memory cell.
    ///
    /// # Errors
    ///
    /// If the cell is damaged; an edge that forgot its promises must not witness.
    pub fn read(name: String, cell: Option<&[u8]>, now: Instant) -> Result<Self, FenceError> {
        let record = match cell {
            Some(bytes) => WitnessRecord::decode(bytes).ok_or(FenceError)?,
            None => WitnessRecord::NEW,
        };
        Ok(Self {
            name,
            witness: Witness::new(record, now),
            links: BTreeMap::new(),
            current: None,
            held: VecDeque::new(),
            written: record,
            writes: 0,
            durable: 0,
            refused: 0,
            outbox: VecDeque::new(),
        })
    }

    /// The highest epoch that counts here.
    pub const fn epoch(&self) -> Epoch {
        self.witness.promised()
    }

    /// Links that were refused because their epoch was over.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Takes an input of the edge and gives what of it the edge may see.
    pub fn filter(&mut self, input: Input, now: Now) -> Vec<Input> {
        let passed = match input {
            Input::LinkUp {
                link,
                port: Port::Up,
            } => {
                self.links.insert(link, Upper::Unknown);
                let hello = Message::hello(Role::Edge, &self.name);
                self.send(link, &hello);
                Vec::new()
            }
            Input::LinkDown { link } if self.links.contains_key(&link) => {
                self.links.remove(&link);
                self.leave(|current| current == link)
            }
            // Closed already, and told so.
            Input::Frame { link, frame } => match self.links.get(&link).copied() {
                None => vec![Input::Frame { link, frame }],
                Some(upper) => self.take(link, upper, frame, now.instant),
            },
            Input::Disk(DiskReply::Done { ticket, result }) if ticket >= TICKETS => {
                self.handle_written(ticket - TICKETS, result.is_ok())
            }
            other @ (Input::LinkUp { .. }
            | Input::LinkDown { .. }
            | Input::LinkFault { .. }
            | Input::DialFailed { .. }
            | Input::Disk(_)
            | Input::Timeout) => vec![other],
        };
        self.write();
        passed
    }

    /// What the fence wants done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    fn take(&mut self, link: LinkId, upper: Upper, frame: Vec<u8>, now: Instant) -> Vec<Input> {
        if self.current.is_some_and(|(current, _)| current == link) {
            return vec![Input::Frame { link, frame }];
        }
        match (upper, Message::decode(&frame)) {
            (Upper::Unknown | Upper::Seat, Ok(Message::Pair(message))) => {
                self.links.insert(link, Upper::Seat);
                self.take_from_seat(link, message, now)
            }
            (
                Upper::Unknown,
                Ok(Message::Hello {
                    role: Role::Utility,
                    epoch,
                    ..
                }),
            ) => {
                self.links.insert(link, Upper::Utility(epoch));
                if epoch < self.epoch() {
                    self.refuse(link);
                    return Vec::new();
                }
                self.witness.note(epoch);
                self.hold(Held::Admit(link, epoch));
                self.settle()
            }
            // It is heard once its epoch is durable; it says everything again then.
            (Upper::Utility(_), _) => Vec::new(),
            (Upper::Unknown | Upper::Seat, _) => {
                self.links.remove(&link);
                let reason = "the peer is neither a utility nor the seat of a pair";
                self.outbox.push_back(Output::Close { link, reason });
                Vec::new()
            }
        }
    }

    fn take_from_seat(&mut self, link: LinkId, message: PairMessage, now: Instant) -> Vec<Input> {
        match message {
            PairMessage::Ask(ask) => {
                let vote = self.witness.handle(ask, now);
                self.hold(Held::Vote(link, vote));
                self.settle()
            }
            PairMessage::GiveBack(epoch) => {
                self.witness.give_back(epoch, now);
                Vec::new()
            }
            PairMessage::Vote(_)
            | PairMessage::Here { .. }
            | PairMessage::CopyBegins { .. }
            | PairMessage::Piece { .. }
            | PairMessage::PieceKept
            | PairMessage::CopyEnds
            | PairMessage::Part { .. }
            | PairMessage::Applied { .. }
            | PairMessage::Complete(_)
            | PairMessage::TakeOver { .. } => Vec::new(),
        }
    }

    fn hold(&mut self, held: Held) {
        self.write();
        if self.held.len() < Self::HELD_MAX {
            self.held.push_back((self.writes, held));
        }
    }

    /// Gives the record to the disk where it has changed.
    fn write(&mut self) {
        let record = self.witness.record();
        if record == self.written {
            return;
        }
        self.written = record;
        self.writes += 1;
        self.outbox.push_back(Output::Disk(DiskRequest::Remember {
            ticket: TICKETS + self.writes,
            slot: Self::CELL,
            bytes: record.encode(),
        }));
    }

    fn handle_written(&mut self, write: u64, is_durable: bool) -> Vec<Input> {
        if !is_durable {
            tracing::error!("the edge's promise to a head-end pair was not written: no vote");
            self.held.retain(|(waits, _)| *waits != write);
            // Whatever is asked next writes it again.
            self.written = WitnessRecord::NEW;
            return Vec::new();
        }
        self.durable = self.durable.max(write);
        self.settle()
    }

    /// Lets go what is durable, and a member whose epoch is over.
    fn settle(&mut self) -> Vec<Input> {
        let mut passed = Vec::new();
        while let Some((_, held)) = self.held.pop_front_if(|(waits, _)| *waits <= self.durable) {
            match held {
                Held::Vote(link, vote) => self.send(link, &Message::Pair(PairMessage::Vote(vote))),
                Held::Admit(link, epoch) => passed.extend(self.admit(link, epoch)),
            }
        }
        let promised = self.epoch();
        if let Some((link, epoch)) = self.current
            && epoch < promised
        {
            self.refuse(link);
            passed.extend(self.leave(|_| true));
        }
        passed
    }

    fn admit(&mut self, link: LinkId, epoch: Epoch) -> Vec<Input> {
        if !self.links.contains_key(&link) {
            return Vec::new();
        }
        if epoch < self.epoch() {
            self.refuse(link);
            return Vec::new();
        }
        let mut passed = Vec::new();
        if let Some((former, _)) = self.current {
            self.refuse(former);
            passed.extend(self.leave(|_| true));
        }
        self.current = Some((link, epoch));
        tracing::info!(%epoch, "the edge listens to this reign of its utility");
        let port = Port::Up;
        passed.push(Input::LinkUp { link, port });
        passed
    }

    fn refuse(&mut self, link: LinkId) {
        self.refused += 1;
        self.links.remove(&link);
        let reason = "the utility's epoch is over";
        self.outbox.push_back(Output::Close { link, reason });
    }

    fn leave(&mut self, is_gone: impl Fn(LinkId) -> bool) -> Vec<Input> {
        match self.current.take_if(|(link, _)| is_gone(*link)) {
            Some((link, _)) => vec![Input::LinkDown { link }],
            None => Vec::new(),
        }
    }

    fn send(&mut self, link: LinkId, message: &Message) {
        self.outbox.push_back(Output::Send {
            link,
            frame: message.encode(),
        });
    }
}

/// The memory cell of a fence is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "memory cell witness: 20 bytes of epoch and history expected; restore the edge's directory from \
     a backup, because an edge that forgot its promises could let two head-ends in"
)]
pub struct FenceError;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::pair::{Ask, History, Verdict, Wanted};
    use gridloom_core::UtcTime;

    fn now(millis: u64) -> Now {
        Now {
            instant: Instant::from_nanos(millis * 1_000_000),
            utc: UtcTime::from_secs(0),
        }
    }

    fn fence(cell: Option<&[u8]>) -> Fence {
        Fence::read("edge-1".to_owned(), cell, now(0).instant).unwrap()
    }

    fn up(fence: &mut Fence, link: u64) {
        let (link, port) = (LinkId(link), Port::Up);
        assert_eq!(fence.filter(Input::LinkUp { link, port }, now(0)), []);
        assert!(matches!(fence.poll_output(), Some(Output::Send { .. })));
    }

    /// A frame on a link, with every write carried out at once.
    fn hear(fence: &mut Fence, link: u64, message: &Message) -> (Vec<Input>, Vec<Output>) {
        let frame = Input::Frame {
            link: LinkId(link),
            frame: message.encode(),
        };
        let mut passed = fence.filter(frame, now(0));
        let mut outputs = Vec::new();
        while let Some(output) = fence.poll_output() {
            if let Output::Disk(DiskRequest::Remember { ticket, .. }) = output {
                let result = Ok(());
                let done = Input::Disk(DiskReply::Done { ticket, result });
                passed.extend(fence.filter(done, now(0)));
            } else {
                outputs.push(output);
            }
        }
        (passed, outputs)
    }

    fn utility(epoch: u64) -> Message {
        Message::hello_in(Role::Utility, "utility", Epoch(epoch))
    }

    fn is_up(passed: &[Input], link: u64) -> bool {
        passed.contains(&Input::LinkUp {
            link: LinkId(link),
            port: Port::Up,
        })
    }

    #[test]
    fn a_fence_hears_the_highest_epoch_only() {
        let mut fence = fence(None);
        up(&mut fence, 1);
        // What a utility says before its epoch is durable here is not for the edge.
        let (passed, _) = hear(&mut fence, 1, &utility(1));
        assert!(is_up(&passed, 1), "{passed:?}");
        let prices = Message::Prices(Vec::new());
        assert_eq!(hear(&mut fence, 1, &prices).0.len(), 1);
        // The successor's word ends the predecessor's.
        up(&mut fence, 2);
        let (passed, outputs) = hear(&mut fence, 2, &utility(2));
        let down = Input::LinkDown { link: LinkId(1) };
        assert!(passed.contains(&down) && is_up(&passed, 2), "{passed:?}");
        assert!(
            matches!(
                &outputs[..],
                [Output::Close {
                    link: LinkId(1),
                    ..
                }]
            ),
            "{outputs:?}"
        );
        // Who comes late with a lower epoch is sent away.
        up(&mut fence, 3);
        let (passed, outputs) = hear(&mut fence, 3, &utility(1));
        assert_eq!(passed, []);
        assert!(
            matches!(
                &outputs[..],
                [Output::Close {
                    link: LinkId(3),
                    ..
                }]
            ),
            "{outputs:?}"
        );
        assert_eq!((fence.epoch(), fence.refused()), (Epoch(2), 2));
    }

    #[test]
    fn a_granted_lease_ends_the_reign_below_and_outlives_a_restart() {
        let mut before = fence(None);
        up(&mut before, 1);
        hear(&mut before, 1, &utility(1));
        up(&mut before, 2);
        let ask = Message::Pair(PairMessage::Ask(Ask {
            nonce: 7,
            epoch: Epoch(3),
            history: History::FOUNDING,
            what: Wanted::Lease,
        }));
        let (passed, outputs) = hear(&mut before, 2, &ask);
        assert_eq!(passed, [Input::LinkDown { link: LinkId(1) }]);
        let vote = Message::Pair(PairMessage::Vote(Vote {
            nonce: 7,
            promised: Epoch(3),
            verdict: Verdict::Granted,
        }));
        assert!(outputs.contains(&Output::Send {
            link: LinkId(2),
            frame: vote.encode()
        }));
        let cell = before.written.encode();
        let mut after = fence(Some(&cell));
        up(&mut after, 4);
        assert_eq!(hear(&mut after, 4, &utility(1)).0, []);
        assert_eq!(
            Fence::read(String::new(), Some(b"torn"), now(0).instant).err(),
            Some(FenceError)
        );
    }

    #[test]
    fn a_promise_that_was_not_written_is_not_given() {
        let mut fence = fence(None);
        up(&mut fence, 1);
        let frame = Input::Frame {
            link: LinkId(1),
            frame: utility(2).encode(),
        };
        assert_eq!(fence.filter(frame, now(0)), []);
        let Some(Output::Disk(DiskRequest::Remember { ticket, .. })) = fence.poll_output() else {
            panic!("the promise is written");
        };
        let result = Err("disk full".to_owned());
        let failed = Input::Disk(DiskReply::Done { ticket, result });
        assert_eq!(fence.filter(failed, now(0)), []);
        assert!(matches!(
            fence.poll_output(),
            Some(Output::Disk(DiskRequest::Remember { .. }))
        ));
    }
}
