//! The head-end of the model: readings are stored before they are acknowledged, commands are
//! journalled before they are sent, and what came of one is found out by a look.

use std::collections::{BTreeMap, BTreeSet};

use gridloom_core::bytes::Reader;
use gridloom_nodes::LinkId;
use gridloom_nodes::envelope::pair::Epoch;

use super::disk::{Change, Data};

/// What a head-end, an edge and a meter say to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame {
    Reading(u64),
    Stored {
        number: u64,
        epoch: Epoch,
    },
    Execute {
        command: u64,
        counter: u64,
        epoch: Epoch,
    },
    Look {
        command: u64,
        counter: u64,
        epoch: Epoch,
    },
    Answer {
        command: u64,
        is_done: bool,
    },
    Lives {
        epoch: Epoch,
    },
}

impl Frame {
    pub(super) fn encode(self) -> Vec<u8> {
        let (kind, numbers) = match self {
            Self::Reading(number) => (0xA0, [number, 0, 0]),
            Self::Stored { number, epoch } => (0xA1, [number, 0, epoch.0]),
            Self::Execute {
                command,
                counter,
                epoch,
            } => (0xA2, [command, counter, epoch.0]),
            Self::Look {
                command,
                counter,
                epoch,
            } => (0xA3, [command, counter, epoch.0]),
            Self::Answer { command, is_done } => (0xA4, [command, u64::from(is_done), 0]),
            Self::Lives { epoch } => (0xA5, [0, 0, epoch.0]),
        };
        let numbers = numbers.into_iter().flat_map(u64::to_be_bytes);
        std::iter::once(kind).chain(numbers).collect()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes);
        let kind = from.u8().ok().filter(|kind| *kind >= 0xA0)?;
        let (number, counter) = (from.u64().ok()?, from.u64().ok()?);
        let epoch = Epoch(from.u64().ok()?);
        Some(match kind {
            0xA0 => Self::Reading(number),
            0xA1 => Self::Stored { number, epoch },
            0xA2 => Self::Execute {
                command: number,
                counter,
                epoch,
            },
            0xA3 => Self::Look {
                command: number,
                counter,
                epoch,
            },
            0xA4 => Self::Answer {
                command: number,
                is_done: counter == 1,
            },
            _ => Self::Lives { epoch },
        })
    }

    /// The reign of a head-end's word.
    pub(super) const fn epoch(&self) -> Epoch {
        match self {
            Self::Stored { epoch, .. }
            | Self::Execute { epoch, .. }
            | Self::Look { epoch, .. }
            | Self::Lives { epoch } => *epoch,
            Self::Reading(_) | Self::Answer { .. } => Epoch(u64::MAX),
        }
    }
}

/// Who brought a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Edge(LinkId),
    /// A meter that pushes to the head-end itself.
    Direct,
}

/// What a head-end wants done.
#[derive(Debug)]
pub(super) enum Wish {
    Write(Change),
    Acknowledge(From, u64),
    /// To the meter of this command.
    ToMeter(Frame),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    Journalling,
    Sent { at: u64 },
    Looking { at: u64 },
    Settling,
    Settled,
}

/// A head-end at work.
#[derive(Debug)]
pub(super) struct HeadEnd {
    pub(super) epoch: Epoch,
    /// Readings that may be acknowledged.
    known: BTreeSet<u64>,
    asked: BTreeMap<u64, Vec<From>>,
    commands: BTreeMap<u64, Command>,
    sequence: u64,
    is_blind: bool,
}

impl HeadEnd {
    /// A meter answers within so long, or what came of it is unknown.
    const PATIENCE: u64 = 400_000_000;

    /// A head-end that starts from what its disk holds.
    pub(super) fn new(epoch: Epoch, data: &Data, is_blind: bool) -> Self {
        let commands = data.commands.iter().map(|(command, is_settled)| {
            let part = match is_settled {
                true => Command::Settled,
                false if is_blind => Command::Sent { at: 0 },
                false => Command::Looking { at: 0 },
            };
            (*command, part)
        });
        Self {
            epoch,
            known: data.readings.clone(),
            asked: BTreeMap::new(),
            commands: commands.collect(),
            sequence: 0,
            is_blind,
        }
    }

    /// Counters of a reign are above those of every reign before: they were reserved durably, on
    /// both members.
    fn counter(&mut self) -> u64 {
        self.sequence += 1;
        (self.epoch.0 << 32) + self.sequence
    }

    pub(super) fn take_reading(&mut self, number: u64, from: From) -> Option<Wish> {
        if self.known.contains(&number) {
            return Some(Wish::Acknowledge(from, number));
        }
        let askers = self.asked.entry(number).or_default();
        askers.push(from);
        (askers.len() == 1).then_some(Wish::Write(Change::Reading(number)))
    }

    /// What was written is durable, and the answer was let go.
    pub(super) fn handle_written(&mut self, change: Change, now: u64) -> Vec<Wish> {
        match change {
            Change::Reading(number) => {
                self.known.insert(number);
                let askers = self.asked.remove(&number).unwrap_or_default();
                let askers = askers.into_iter();
                askers.map(|from| Wish::Acknowledge(from, number)).collect()
            }
            Change::Sending(command) => vec![self.execute(command, now)],
            Change::Settled(command) => {
                self.commands.insert(command, Command::Settled);
                Vec::new()
            }
        }
    }

    fn execute(&mut self, command: u64, now: u64) -> Wish {
        self.commands.insert(command, Command::Sent { at: now });
        let counter = self.counter();
        Wish::ToMeter(Frame::Execute {
            command,
            counter,
            epoch: self.epoch,
        })
    }

    pub(super) fn take_answer(&mut self, command: u64, is_done: bool, now: u64) -> Option<Wish> {
        match self.commands.get(&command)? {
            Command::Sent { .. } | Command::Looking { .. } if is_done => {
                self.commands.insert(command, Command::Settling);
                Some(Wish::Write(Change::Settled(command)))
            }
            Command::Looking { .. } => Some(self.execute(command, now)),
            Command::Sent { .. } | Command::Journalling | Command::Settling | Command::Settled => {
                None
            }
        }
    }

    /// Begins what was ordered, and looks for what is unknown.
    pub(super) fn tick(&mut self, ordered: impl Iterator<Item = u64>, now: u64) -> Vec<Wish> {
        let mut wishes = Vec::new();
        for command in ordered {
            if let std::collections::btree_map::Entry::Vacant(entry) = self.commands.entry(command)
            {
                entry.insert(Command::Journalling);
                wishes.push(Wish::Write(Change::Sending(command)));
            }
        }
        let due: Vec<u64> = self
            .commands
            .iter()
            .filter(|(_, part)| match part {
                Command::Sent { at } | Command::Looking { at } => *at + Self::PATIENCE <= now,
                Command::Journalling | Command::Settling | Command::Settled => false,
            })
            .map(|(command, _)| *command)
            .collect();
        for command in due {
            if self.is_blind {
                wishes.push(self.execute(command, now));
                continue;
            }
            self.commands.insert(command, Command::Looking { at: now });
            let counter = self.counter();
            wishes.push(Wish::ToMeter(Frame::Look {
                command,
                counter,
                epoch: self.epoch,
            }));
        }
        wishes
    }
}
