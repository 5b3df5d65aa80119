//! The active member's side of the second copy: a copy of everything, then every entry, in order.

use std::collections::VecDeque;
use std::time::Duration;

use gridloom_core::Instant;

use crate::envelope::pair::{PART_BYTES_MAX, PairMessage};

/// How far the other member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerState {
    /// Not connected.
    Away,
    /// Connected; nothing flows.
    Idle,
    /// It is being given a copy of everything.
    Copying {
        /// Bytes sent.
        sent: u64,
        /// Bytes of the copy.
        total: u64,
    },
    /// It has a copy and follows.
    Following {
        /// Entries that it has not applied.
        behind: u64,
    },
    /// Nothing is acknowledged that it does not hold.
    InStep {
        /// Entries that it has not applied.
        behind: u64,
    },
}

/// What the mirror wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MirrorOutput {
    /// Say this to the other member.
    Say(PairMessage),
    /// Make a copy.
    Copy,
    /// Read the copy.
    Read { file: String, offset: u64 },
    /// Acknowledge alone no longer: it is about to be in step.
    Rejoin,
    /// It holds everything.
    Complete,
    /// It is too far behind or too slow: part from it.
    Part(&'static str),
}

#[derive(Debug)]
struct Logged {
    number: u64,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It lacks some of what was acknowledged.
    Behind,
    /// It is in step once it has applied this one.
    Joining { at: u64 },
    /// Nothing is acknowledged without it.
    Joined,
}

#[derive(Debug)]
enum Peer {
    None,
    /// The copy is being made.
    Asked,
    Copying {
        through: u64,
        files: VecDeque<(String, u64)>,
        offset: u64,
        sent: u64,
        total: u64,
    },
    /// The copy is whole; it is being put in place there.
    Installing {
        through: u64,
    },
    Following {
        sent: u64,
        applied: u64,
        step: Step,
        /// Since when something that was sent waits without any progress.
        waits_since: Option<Instant>,
    },
}

/// The mirror of an active member.
#[derive(Debug)]
pub(super) struct Mirror {
    /// The last entry that is durable here.
    carried: u64,
    /// The last entry whose answer was given.
    released: u64,
    peer: Peer,
    log: VecDeque<Logged>,
    log_bytes: usize,
    copies: u64,
    outbox: VecDeque<MirrorOutput>,
}

impl Mirror {
    /// Bytes of entries kept for a standby that copies or follows; beyond it parts and begins
    /// again with a copy.
    pub(super) const LOG_BYTES_MAX: usize = 64 << 20;

    /// Bytes sent that the standby has not applied; further ones wait.
    pub(super) const WINDOW_BYTES_MAX: usize = 8 << 20;

    /// A standby that follows is taken into step when no more entries are missing than this.
    const JOIN_WITHIN: u64 = 64;

    /// A standby in step that applies nothing for so long is parted from.
    pub(super) const LAG_MAX: Duration = Duration::from_secs(3);

    pub(super) const fn new() -> Self {
        Self {
            carried: 0,
            released: 0,
            peer: Peer::None,
            log: VecDeque::new(),
            log_bytes: 0,
            copies: 0,
            outbox: VecDeque::new(),
        }
    }

    pub(super) const fn carried(&self) -> u64 {
        self.carried
    }

    pub(super) const fn released(&self) -> u64 {
        self.released
    }

    pub(super) const fn copies(&self) -> u64 {
        self.copies
    }

    pub(super) fn peer(&self) -> PeerState {
        match &self.peer {
            Peer::None => PeerState::Away,
            Peer::Asked => PeerState::Copying { sent: 0, total: 0 },
            Peer::Copying { sent, total, .. } => PeerState::Copying {
                sent: *sent,
                total: *total,
            },
            Peer::Installing { .. } => PeerState::Following {
                behind: self.carried,
            },
            Peer::Following { applied, step, .. } => {
                let behind = self.carried.saturating_sub(*applied);
                match step {
                    Step::Joined => PeerState::InStep { behind },
                    Step::Behind | Step::Joining { .. } => PeerState::Following { behind },
                }
            }
        }
    }

    pub(super) const fn is_in_step(&self) -> bool {
        matches!(
            self.peer,
            Peer::Following {
                step: Step::Joined,
                ..
            }
        )
    }

    /// The other member is there: it is given a copy.
    pub(super) fn handle_peer_up(&mut self) {
        self.forget_peer();
        self.peer = Peer::Asked;
        self.outbox.push_back(MirrorOutput::Copy);
    }

    /// It is away. Says whether it was to hold what is acknowledged.
    pub(super) fn handle_peer_down(&mut self) -> bool {
        let was_needed = matches!(
            self.peer,
            Peer::Following {
                step: Step::Joining { .. } | Step::Joined,
                ..
            }
        );
        self.forget_peer();
        was_needed
    }

    fn forget_peer(&mut self) {
        self.peer = Peer::None;
        self.log.clear();
        self.log_bytes = 0;
    }

    /// Something is durable here.
    pub(super) fn handle_carried(&mut self, number: u64, entry: Vec<u8>, now: Instant) {
        assert_eq!(number, self.carried + 1, "a disk tells everything in order");
        self.carried = number;
        match &self.peer {
            // What came before the copy is in it.
            Peer::None | Peer::Asked => return,
            Peer::Copying { .. } | Peer::Installing { .. } | Peer::Following { .. } => {}
        }
        self.log_bytes += entry.len();
        self.log.push_back(Logged {
            number,
            bytes: entry,
        });
        if self.log_bytes > Self::LOG_BYTES_MAX {
            let why = "the standby is too far behind: it is given a new copy";
            self.outbox.push_back(MirrorOutput::Part(why));
            return;
        }
        self.pump(now);
    }

    /// A copy was made, or not.
    pub(super) fn handle_copied(&mut self, result: Result<(u64, Vec<(String, u64)>), String>) {
        if !matches!(self.peer, Peer::Asked) {
            return;
        }
        match result {
            Ok((through, files)) => {
                self.copies += 1;
                self.peer = Peer::Copying {
                    through,
                    total: files.iter().map(|(_, length)| *length).sum(),
                    files: files.into(),
                    offset: 0,
                    sent: 0,
                };
                let begins = PairMessage::CopyBegins { through };
                self.outbox.push_back(MirrorOutput::Say(begins));
                self.next_piece();
            }
            Err(error) => {
                tracing::error!(%error, "no copy for the standby");
                let why = "no copy could be made for the standby";
                self.outbox.push_back(MirrorOutput::Part(why));
            }
        }
    }

    fn next_piece(&mut self) {
        let Peer::Copying {
            through,
            files,
            offset,
            ..
        } = &self.peer
        else {
            return;
        };
        match files.front() {
            Some((file, _)) => self.outbox.push_back(MirrorOutput::Read {
                file: file.clone(),
                offset: *offset,
            }),
            None => {
                let through = *through;
                self.peer = Peer::Installing { through };
                self.outbox
                    .push_back(MirrorOutput::Say(PairMessage::CopyEnds));
            }
        }
    }

    /// A piece of the copy was read.
    pub(super) fn handle_piece(&mut self, result: Result<Vec<u8>, String>) {
        let Peer::Copying {
            files,
            offset,
            sent,
            ..
        } = &mut self.peer
        else {
            return;
        };
        let Some((file, length)) = files.front() else {
            return;
        };
        let at = *offset;
        let (file, length) = (file.clone(), *length);
        let bytes = match result {
            Ok(bytes) if !bytes.is_empty() || at >= length => bytes,
            Ok(_) | Err(_) => {
                let why = "the copy for the standby could not be read";
                return self.outbox.push_back(MirrorOutput::Part(why));
            }
        };
        *offset += bytes.len() as u64;
        *sent += bytes.len() as u64;
        if *offset >= length {
            files.pop_front();
            *offset = 0;
        }
        let piece = PairMessage::Piece {
            file,
            offset: at,
            bytes,
        };
        self.outbox.push_back(MirrorOutput::Say(piece));
    }

    /// The other member kept the last piece.
    pub(super) fn handle_piece_kept(&mut self) {
        self.next_piece();
    }

    /// The other member has applied everything up to here.
    pub(super) fn handle_applied(&mut self, number: u64, now: Instant) {
        match &mut self.peer {
            Peer::Installing { through } if *through == number => {
                self.peer = Peer::Following {
                    sent: number,
                    applied: number,
                    step: Step::Behind,
                    waits_since: None,
                };
            }
            Peer::Following {
                sent,
                applied,
                waits_since,
                ..
            } if number > *applied && number <= *sent => {
                *applied = number;
                *waits_since = (number < *sent).then_some(now);
                while let Some(logged) = self.log.pop_front_if(|it| it.number <= number) {
                    self.log_bytes -= logged.bytes.len();
                }
            }
            Peer::None
            | Peer::Asked
            | Peer::Copying { .. }
            | Peer::Installing { .. }
            | Peer::Following { .. } => return,
        }
        self.pump(now);
    }

    /// Sends what the window takes, and takes the standby into step.
    fn pump(&mut self, now: Instant) {
        let Peer::Following {
            sent,
            applied,
            waits_since,
            ..
        } = &mut self.peer
        else {
            return;
        };
        let mut under_way: usize = self
            .log
            .iter()
            .take_while(|it| it.number <= *sent)
            .map(|it| it.bytes.len())
            .sum();
        let skip = usize::try_from(*sent - *applied).unwrap_or(usize::MAX);
        for logged in self.log.iter().skip(skip) {
            if under_way > 0 && under_way + logged.bytes.len() > Self::WINDOW_BYTES_MAX {
                break;
            }
            under_way += logged.bytes.len();
            let mut parts = logged.bytes.chunks(PART_BYTES_MAX).peekable();
            while let Some(part) = parts.next() {
                self.outbox.push_back(MirrorOutput::Say(PairMessage::Part {
                    number: logged.number,
                    is_last: parts.peek().is_none(),
                    bytes: part.to_vec(),
                }));
            }
            *sent = logged.number;
            *waits_since = waits_since.or(Some(now));
        }
    }

    /// The standby follows closely while this member acknowledges alone: from now on it does not.
    pub(super) fn join(&mut self) {
        let carried = self.carried;
        if let Peer::Following { applied, step, .. } = &mut self.peer
            && *step == Step::Behind
            && carried - *applied <= Self::JOIN_WITHIN
        {
            *step = Step::Joining { at: carried };
            self.outbox.push_back(MirrorOutput::Rejoin);
        }
    }

    /// What may be acknowledged by now, if it is more than before.
    pub(super) fn release(&mut self, is_alone: bool) -> Option<u64> {
        let through = match &mut self.peer {
            Peer::Following { applied, step, .. } if *step != Step::Behind => {
                if let Step::Joining { at } = *step
                    && *applied >= at
                {
                    *step = Step::Joined;
                    self.outbox.push_back(MirrorOutput::Complete);
                }
                *applied
            }
            _ if is_alone => self.carried,
            Peer::None
            | Peer::Asked
            | Peer::Copying { .. }
            | Peer::Installing { .. }
            | Peer::Following { .. } => return None,
        };
        if through <= self.released {
            return None;
        }
        self.released = through;
        Some(through)
    }

    /// Time passed.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.lag_ends().is_some_and(|at| at <= now) {
            let why = "the standby applies nothing: it is given a new copy";
            self.outbox.push_back(MirrorOutput::Part(why));
        }
    }

    /// When the standby will have been too slow.
    pub(super) fn lag_ends(&self) -> Option<Instant> {
        match &self.peer {
            Peer::Following {
                waits_since: Some(since),
                ..
            } => Some(*since + Self::LAG_MAX),
            Peer::None
            | Peer::Asked
            | Peer::Copying { .. }
            | Peer::Installing { .. }
            | Peer::Following { .. } => None,
        }
    }

    pub(super) fn poll_output(&mut self) -> Option<MirrorOutput> {
        self.outbox.pop_front()
    }
}
