//! The standby's side of the second copy: takes a copy, then applies every entry in order.

use std::collections::VecDeque;

use crate::envelope::pair::{History, PairMessage};

/// What the follower wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FollowerOutput {
    /// Say this to the active member.
    Say(PairMessage),
    /// The data holds this from now on.
    Learn(History),
    /// Keep a piece of the copy.
    Take {
        file: String,
        offset: u64,
        bytes: Vec<u8>,
    },
    /// Put the copy in the place of what is here.
    Install,
    /// Apply an entry.
    Apply { entry: Vec<u8> },
    /// The active member or the disk erred: part, and begin again with a copy.
    Part(&'static str),
}

#[derive(Debug)]
enum State {
    /// Nothing was received since the start.
    Fresh,
    Copying {
        through: u64,
    },
    Installing {
        through: u64,
    },
    Following {
        /// The last entry that was received whole.
        received: u64,
        /// The last entry that is durable.
        applied: u64,
        part: Vec<u8>,
    },
    /// Something went wrong; only a copy helps.
    Lost,
}

/// The follower of a standby.
#[derive(Debug)]
pub(super) struct Follower {
    state: State,
    /// Requests that the disk has not answered.
    on_disk: usize,
    outbox: VecDeque<FollowerOutput>,
}

impl Follower {
    /// Bytes of one entry; a longer one is refused. One commit has at most some 200 000 readings.
    pub(super) const ENTRY_BYTES_MAX: usize = 256 << 20;

    pub(super) const fn new() -> Self {
        Self {
            state: State::Fresh,
            on_disk: 0,
            outbox: VecDeque::new(),
        }
    }

    /// Whether the disk has carried out everything: only then may this member become active.
    pub(super) const fn is_settled(&self) -> bool {
        self.on_disk == 0
    }

    /// Entries that were received and that are durable.
    pub(super) const fn progress(&self) -> (u64, u64) {
        match &self.state {
            State::Following {
                received, applied, ..
            } => (*received, *applied),
            State::Installing { through } => (*through, 0),
            State::Fresh | State::Copying { .. } | State::Lost => (0, 0),
        }
    }

    /// Another link: what it brings begins with a copy.
    pub(super) fn handle_link(&mut self) {
        match self.state {
            State::Fresh | State::Lost => {}
            // It holds what it holds.
            State::Following { .. } => self.state = State::Fresh,
            State::Copying { .. } | State::Installing { .. } => self.state = State::Lost,
        }
    }

    /// The active member says something about the copy.
    pub(super) fn handle(&mut self, message: PairMessage) {
        match (&mut self.state, message) {
            (_, PairMessage::CopyBegins { through }) => {
                if self.on_disk > 0 {
                    return self.lose("the disk still works on the last copy");
                }
                self.state = State::Copying { through };
                // What is here is about to go.
                self.outbox.push_back(FollowerOutput::Learn(History::NONE));
            }
            (
                State::Copying { .. },
                PairMessage::Piece {
                    file,
                    offset,
                    bytes,
                },
            ) => {
                self.on_disk += 1;
                let take = FollowerOutput::Take {
                    file,
                    offset,
                    bytes,
                };
                self.outbox.push_back(take);
            }
            (State::Copying { through }, PairMessage::CopyEnds) => {
                let through = *through;
                self.state = State::Installing { through };
                self.on_disk += 1;
                self.outbox.push_back(FollowerOutput::Install);
            }
            (
                State::Following { received, part, .. },
                PairMessage::Part {
                    number,
                    is_last,
                    bytes,
                },
            ) => {
                if number != *received + 1 || part.len() + bytes.len() > Self::ENTRY_BYTES_MAX {
                    return self.lose("the active member's entries are out of order");
                }
                part.extend(bytes);
                if is_last {
                    *received = number;
                    let entry = std::mem::take(part);
                    self.on_disk += 1;
                    self.outbox.push_back(FollowerOutput::Apply { entry });
                }
            }
            (State::Following { .. }, PairMessage::Complete(history)) => {
                self.outbox.push_back(FollowerOutput::Learn(history));
            }
            (_, _) => self.lose("the active member said what does not belong here"),
        }
    }

    /// A piece is kept, or not.
    pub(super) fn handle_taken(&mut self, is_done: bool) {
        self.on_disk -= 1;
        match self.state {
            State::Copying { .. } if is_done => {
                let kept = PairMessage::PieceKept;
                self.outbox.push_back(FollowerOutput::Say(kept));
            }
            State::Copying { .. } => self.lose("a piece of the copy could not be kept"),
            State::Fresh | State::Installing { .. } | State::Following { .. } | State::Lost => {}
        }
    }

    /// The copy is in place, or not.
    pub(super) fn handle_installed(&mut self, is_done: bool) {
        self.on_disk -= 1;
        match self.state {
            State::Installing { through } if is_done => {
                self.state = State::Following {
                    received: through,
                    applied: through,
                    part: Vec::new(),
                };
                let number = through;
                self.outbox
                    .push_back(FollowerOutput::Say(PairMessage::Applied { number }));
            }
            State::Installing { .. } => self.lose("the copy could not be put in place"),
            State::Fresh | State::Copying { .. } | State::Following { .. } | State::Lost => {}
        }
    }

    /// An entry is durable, or could not be applied.
    pub(super) fn handle_applied(&mut self, is_done: bool) {
        self.on_disk -= 1;
        match &mut self.state {
            State::Following { applied, .. } if is_done => {
                *applied += 1;
                let number = *applied;
                self.outbox
                    .push_back(FollowerOutput::Say(PairMessage::Applied { number }));
            }
            // An entry that another disk took and this one did not: they are not the same.
            State::Fresh | State::Following { .. } if !is_done => {
                self.outbox.push_back(FollowerOutput::Learn(History::NONE));
                self.lose("an entry could not be applied");
            }
            State::Fresh
            | State::Copying { .. }
            | State::Installing { .. }
            | State::Following { .. }
            | State::Lost => {}
        }
    }

    fn lose(&mut self, why: &'static str) {
        self.state = State::Lost;
        self.outbox.push_back(FollowerOutput::Part(why));
    }

    pub(super) fn poll_output(&mut self) -> Option<FollowerOutput> {
        self.outbox.pop_front()
    }
}
