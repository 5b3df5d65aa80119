//! What the two members of a head-end pair and their witnesses say to each other.

use super::{EnvelopeError, Source, Writer};

/// A reign of one member of a pair: who is active, and since when. Numbers only grow, and the
/// number says whose it is, so that two members never share one. 0 is nobody's: a head-end
/// without a standby speaks in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Nobody's.
    pub const NONE: Self = Self(0);

    /// Whose it is; `None` for [`Self::NONE`].
    pub const fn place(self) -> Option<Place> {
        match (self.0, self.0 % 2) {
            (0, _) => None,
            (_, 1) => Some(Place::First),
            _ => Some(Place::Second),
        }
    }

    /// The first epoch above this one that is of `place`.
    ///
    /// # Panics
    ///
    /// If the numbers end, which takes longer than anything runs.
    pub const fn next_of(self, place: Place) -> Self {
        let parity = match place {
            Place::First => 1,
            Place::Second => 0,
        };
        let next = self.0.checked_add(1).expect("epochs do not end");
        Self(next + (next + parity) % 2)
    }
}

impl core::fmt::Display for Epoch {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Which member of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The one whose data founded the pair.
    First,
    /// The one that was copied from it.
    Second,
}

impl Place {
    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// How much a member's data is known to hold: everything that was acknowledged before the active
/// member of `epoch` went on alone for time number `alone`, or still has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct History {
    /// Under which reign.
    pub epoch: Epoch,
    /// Times, in that reign, that the active member went on alone.
    pub alone: u32,
}

impl History {
    /// Nothing is known of the data.
    pub const NONE: Self = Self {
        epoch: Epoch::NONE,
        alone: 0,
    };

    /// The data that a pair begins with, which only its first member has.
    pub const FOUNDING: Self = Self {
        epoch: Epoch::NONE,
        alone: 1,
    };
}

/// What a witness is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Comes back in the answer.
    pub nonce: u64,
    /// The epoch that the asker wants or has.
    pub epoch: Epoch,
    /// What the asker's data holds.
    pub history: History,
    /// What is wanted.
    pub what: Wanted,
}

/// What a member asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wanted {
    /// To know what the answer to [`Self::Lease`] would be; nothing is promised.
    Opinion,
    /// The lease of the epoch, or more of it.
    Lease,
    /// As [`Self::Lease`], and that nobody whose history is below the asker's is ever granted
    /// again.
    LeaseAlone,
}

/// What a witness answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// Of the question.
    pub nonce: u64,
    /// The highest epoch that the witness has promised.
    pub promised: Epoch,
    /// Its answer.
    pub verdict: Verdict,
}

/// A witness's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Granted for one term from now, or would be.
    Granted,
    /// A higher epoch was promised.
    Outbid,
    /// The other member's lease still runs.
    Leased,
    /// The witness began a moment ago and may have forgotten a lease.
    TooEarly,
    /// The other member has acknowledged what the asker does not hold.
    Behind,
}

/// Everything around a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PairMessage {
    /// Member to witness.
    Ask(Ask),
    /// Witness to member.
    Vote(Vote),
    /// Member to witness: the lease of this epoch is given back.
    GiveBack(Epoch),
    /// The first message between members, from either side.
    Here {
        /// Who speaks.
        place: Place,
        /// The epoch in which it is active.
        active: Option<Epoch>,
    },
    /// Active to standby: a copy of everything as it was after entry `through` begins.
    CopyBegins {
        /// The last entry that is in it; 0 if none.
        through: u64,
    },
    /// Active to standby: a piece of a file of the copy.
    Piece {
        /// Which file.
        file: String,
        /// Where in it.
        offset: u64,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// Standby to active: the piece is kept, the next one may come.
    PieceKept,
    /// Active to standby: the copy is whole.
    CopyEnds,
    /// Active to standby: a part of what was carried out.
    Part {
        /// Of which entry; they come in order without holes.
        number: u64,
        /// Whether it is the entry's last.
        is_last: bool,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// Standby to active: everything up to here is durable here.
    Applied {
        /// The last entry.
        number: u64,
    },
    /// Active to standby: you hold everything that was ever acknowledged, and nothing will be
    /// before you hold it too.
    Complete(History),
    /// Active to standby: take over, I have stopped.
    TakeOver {
        /// The reign that ended.
        epoch: Epoch,
    },
}

/// Bytes of one piece or part; a longer one is refused.
pub const PART_BYTES_MAX: usize = 512 * 1024;

/// Bytes of a file's name in a copy; a longer one is refused.
pub const FILE_NAME_BYTES_MAX: usize = 128;

impl Writer {
    fn history(&mut self, history: History) {
        self.u64(history.epoch.0);
        self.u32(history.alone);
    }

    pub(super) fn pair(&mut self, message: &PairMessage) {
        match message {
            PairMessage::Ask(ask) => {
                self.u8(1);
                self.u64(ask.nonce);
                self.u64(ask.epoch.0);
                self.history(ask.history);
                self.u8(match ask.what {
                    Wanted::Opinion => 1,
                    Wanted::Lease => 2,
                    Wanted::LeaseAlone => 3,
                });
            }
            PairMessage::Vote(vote) => {
                self.u8(2);
                self.u64(vote.nonce);
                self.u64(vote.promised.0);
                self.u8(match vote.verdict {
                    Verdict::Granted => 1,
                    Verdict::Outbid => 2,
                    Verdict::Leased => 3,
                    Verdict::TooEarly => 4,
                    Verdict::Behind => 5,
                });
            }
            PairMessage::GiveBack(epoch) => {
                self.u8(3);
                self.u64(epoch.0);
            }
            PairMessage::Here { place, active } => {
                self.u8(4);
                self.u8(match place {
                    Place::First => 1,
                    Place::Second => 2,
                });
                self.u64(active.map_or(0, |epoch| epoch.0));
            }
            PairMessage::CopyBegins { through } => {
                self.u8(5);
                self.u64(*through);
            }
            PairMessage::Piece {
                file,
                offset,
                bytes,
            } => {
                self.u8(6);
                self.bytes(file.as_bytes());
                self.u64(*offset);
                self.bytes(bytes);
            }
            PairMessage::PieceKept => self.u8(7),
            PairMessage::CopyEnds => self.u8(8),
            PairMessage::Part {
                number,
                is_last,
                bytes,
            } => {
                self.u8(9);
                self.u64(*number);
                self.u8(u8::from(*is_last));
                self.bytes(bytes);
            }
            PairMessage::Applied { number } => {
                self.u8(10);
                self.u64(*number);
            }
            PairMessage::Complete(history) => {
                self.u8(11);
                self.history(*history);
            }
            PairMessage::TakeOver { epoch } => {
                self.u8(12);
                self.u64(epoch.0);
            }
        }
    }
}

impl Source<'_> {
    fn epoch(&mut self) -> Result<Epoch, EnvelopeError> {
        Ok(Epoch(self.0.u64()?))
    }

    fn history(&mut self) -> Result<History, EnvelopeError> {
        Ok(History {
            epoch: self.epoch()?,
            alone: self.0.u32()?,
        })
    }

    fn part(&mut self) -> Result<Vec<u8>, EnvelopeError> {
        let bytes = self.bytes()?;
        if bytes.len() > PART_BYTES_MAX {
            return Err(EnvelopeError::Field { field: "part" });
        }
        Ok(bytes)
    }

    pub(super) fn pair(&mut self) -> Result<PairMessage, EnvelopeError> {
        let wrong = |field| EnvelopeError::Field { field };
        Ok(match self.0.u8()? {
            1 => PairMessage::Ask(Ask {
                nonce: self.0.u64()?,
                epoch: self.epoch()?,
                history: self.history()?,
                what: match self.0.u8()? {
                    1 => Wanted::Opinion,
                    2 => Wanted::Lease,
                    3 => Wanted::LeaseAlone,
                    _ => return Err(wrong("what is wanted")),
                },
            }),
            2 => PairMessage::Vote(Vote {
                nonce: self.0.u64()?,
                promised: self.epoch()?,
                verdict: match self.0.u8()? {
                    1 => Verdict::Granted,
                    2 => Verdict::Outbid,
                    3 => Verdict::Leased,
                    4 => Verdict::TooEarly,
                    5 => Verdict::Behind,
                    _ => return Err(wrong("verdict")),
                },
            }),
            3 => PairMessage::GiveBack(self.epoch()?),
            4 => PairMessage::Here {
                place: match self.0.u8()? {
                    1 => Place::First,
                    2 => Place::Second,
                    _ => return Err(wrong("place")),
                },
                active: Some(self.epoch()?).filter(|epoch| *epoch != Epoch::NONE),
            },
            5 => PairMessage::CopyBegins {
                through: self.0.u64()?,
            },
            6 => {
                let file = self.text("file")?;
                if file.len() > FILE_NAME_BYTES_MAX {
                    return Err(wrong("file"));
                }
                PairMessage::Piece {
                    file,
                    offset: self.0.u64()?,
                    bytes: self.part()?,
                }
            }
            7 => PairMessage::PieceKept,
            8 => PairMessage::CopyEnds,
            9 => PairMessage::Part {
                number: self.0.u64()?,
                is_last: match self.0.u8()? {
                    0 => false,
                    1 => true,
                    _ => return Err(wrong("last part")),
                },
                bytes: self.part()?,
            },
            10 => PairMessage::Applied {
                number: self.0.u64()?,
            },
            11 => PairMessage::Complete(self.history()?),
            12 => PairMessage::TakeOver {
                epoch: self.epoch()?,
            },
            _ => return Err(wrong("kind of pair message")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Message;
    use super::*;

    #[test]
    fn epochs_grow_and_belong_to_one_place() {
        let cases = [
            (0, Place::First, 1),
            (0, Place::Second, 2),
            (1, Place::First, 3),
            (1, Place::Second, 2),
            (2, Place::First, 3),
            (2, Place::Second, 4),
        ];
        for (from, place, next) in cases {
            assert_eq!(Epoch(from).next_of(place), Epoch(next), "{from} {place:?}");
            assert_eq!(Epoch(next).place(), Some(place));
        }
        assert_eq!(Epoch::NONE.place(), None);
    }

    #[test]
    fn pair_messages_come_back_and_cuts_are_refused() {
        let history = History {
            epoch: Epoch(7),
            alone: 2,
        };
        let messages = [
            PairMessage::Ask(Ask {
                nonce: 9,
                epoch: Epoch(7),
                history,
                what: Wanted::LeaseAlone,
            }),
            PairMessage::Vote(Vote {
                nonce: 9,
                promised: Epoch(8),
                verdict: Verdict::Behind,
            }),
            PairMessage::GiveBack(Epoch(7)),
            PairMessage::Here {
                place: Place::Second,
                active: None,
            },
            PairMessage::Here {
                place: Place::First,
                active: Some(Epoch(7)),
            },
            PairMessage::CopyBegins { through: 5 },
            PairMessage::Piece {
                file: "gridloom.db".to_owned(),
                offset: 1,
                bytes: vec![1, 2],
            },
            PairMessage::PieceKept,
            PairMessage::CopyEnds,
            PairMessage::Part {
                number: 6,
                is_last: true,
                bytes: vec![3],
            },
            PairMessage::Applied { number: 6 },
            PairMessage::Complete(history),
            PairMessage::TakeOver { epoch: Epoch(7) },
        ];
        for message in messages {
            let message = Message::Pair(message);
            let bytes = message.encode();
            assert_eq!(Message::decode(&bytes), Ok(message.clone()));
            for cut in 0..bytes.len() {
                assert!(Message::decode(&bytes[..cut]).is_err(), "{message:?}");
            }
        }
    }
}
