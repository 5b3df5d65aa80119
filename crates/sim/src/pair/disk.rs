//! The disk of a member: the keeper's record, the data that is copied, and answers held back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gridloom_core::bytes::Reader;
use gridloom_nodes::{DiskReply, PairReply, PairRequest};

/// What one entry changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// A reading is stored.
    Reading(u64),
    /// A command is about to be sent.
    Sending(u64),
    /// Its outcome is known.
    Settled(u64),
}

impl Change {
    fn encode(self) -> Vec<u8> {
        let (kind, number) = match self {
            Self::Reading(number) => (1, number),
            Self::Sending(number) => (2, number),
            Self::Settled(number) => (3, number),
        };
        let mut bytes = vec![kind];
        bytes.extend(number.to_be_bytes());
        bytes
    }

    fn decode(from: &mut Reader<'_>) -> Option<Self> {
        let (kind, number) = (from.u8().ok()?, from.u64().ok()?);
        match kind {
            1 => Some(Self::Reading(number)),
            2 => Some(Self::Sending(number)),
            3 => Some(Self::Settled(number)),
            _ => None,
        }
    }
}

/// What a head-end keeps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Data {
    pub(super) readings: BTreeSet<u64>,
    /// Commands that were sent, and whether their outcome is known.
    pub(super) commands: BTreeMap<u64, bool>,
}

impl Data {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Reading(number) => {
                self.readings.insert(number);
            }
            Change::Sending(number) => {
                self.commands.entry(number).or_insert(false);
            }
            Change::Settled(number) => {
                self.commands.insert(number, true);
            }
        }
    }

    fn encode(&self) -> Vec<u8> {
        let readings = self.readings.iter().map(|number| Change::Reading(*number));
        let commands = self.commands.iter().map(|(number, settled)| match settled {
            true => Change::Settled(*number),
            false => Change::Sending(*number),
        });
        readings.chain(commands).flat_map(Change::encode).collect()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes);
        let mut data = Self::default();
        while !from.is_empty() {
            data.apply(Change::decode(&mut from)?);
        }
        Some(data)
    }
}

/// Something to carry out.
#[derive(Debug, Clone)]
pub(super) enum Job {
    /// For the keeper.
    Pair(PairRequest),
    /// For the head-end.
    Write(Change),
}

/// Whom to tell what.
#[derive(Debug, Clone)]
pub(super) enum Told {
    /// The keeper.
    Keeper(DiskReply),
    /// The head-end: this is durable, and its answer is free.
    HeadEnd(Change),
}

/// A member's disk.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) record: Option<Vec<u8>>,
    pub(super) data: Data,
    incoming: BTreeMap<String, Vec<u8>>,
    copy: Vec<u8>,
    is_mirrored: bool,
    number: u64,
    held: VecDeque<(u64, Change)>,
    /// Asked for and not carried out.
    pub(super) waiting: VecDeque<Job>,
    /// Answers at once what should be held.
    pub(super) is_hasty: bool,
}

impl Disk {
    /// The process is gone, and with it what was not carried out. A copy that was just being put
    /// in place is torn.
    pub(super) fn crash(&mut self) {
        let is_torn = self
            .waiting
            .iter()
            .any(|job| matches!(job, Job::Pair(PairRequest::Install { .. })));
        if is_torn {
            self.data = Data::default();
        }
        self.waiting.clear();
        self.incoming.clear();
        self.held.clear();
        self.is_mirrored = false;
        self.number = 0;
    }

    /// Carries out what was asked for first.
    pub(super) fn carry_out(&mut self) -> Vec<Told> {
        match self.waiting.pop_front() {
            Some(Job::Write(change)) => self.write(change),
            Some(Job::Pair(request)) => self.serve(request),
            None => Vec::new(),
        }
    }

    fn write(&mut self, change: Change) -> Vec<Told> {
        self.data.apply(change);
        if !self.is_mirrored {
            return vec![Told::HeadEnd(change)];
        }
        self.number += 1;
        let entry = change.encode();
        let carried = PairReply::Carried {
            number: self.number,
            entry,
        };
        let mut told = vec![Told::Keeper(DiskReply::Pair(carried))];
        if self.is_hasty {
            told.push(Told::HeadEnd(change));
        } else {
            self.held.push_back((self.number, change));
        }
        told
    }

    fn serve(&mut self, request: PairRequest) -> Vec<Told> {
        let ticket = request.ticket();
        let mut told = Vec::new();
        let mut result = Ok(());
        match request {
            PairRequest::Keep { bytes, .. } => self.record = Some(bytes),
            PairRequest::Mirror { .. } => self.is_mirrored = true,
            PairRequest::Release { through, .. } => {
                while let Some((_, change)) = self.held.pop_front_if(|it| it.0 <= through) {
                    told.push(Told::HeadEnd(change));
                }
            }
            PairRequest::Apply { entry, .. } => {
                let change = Change::decode(&mut Reader::new(&entry));
                self.data.apply(change.expect("an entry of the other disk"));
            }
            PairRequest::Copy { .. } => {
                self.copy = self.data.encode();
                let files = vec![("data".to_owned(), self.copy.len() as u64)];
                let copied = PairReply::Copied {
                    ticket,
                    result: Ok((self.number, files)),
                };
                return vec![Told::Keeper(DiskReply::Pair(copied))];
            }
            PairRequest::ReadCopy { offset, .. } => {
                let from = usize::try_from(offset).expect("a copy fits memory");
                let to = (from + 400).min(self.copy.len());
                let piece = PairReply::Piece {
                    ticket,
                    result: Ok(self.copy.get(from..to).unwrap_or_default().to_vec()),
                };
                return vec![Told::Keeper(DiskReply::Pair(piece))];
            }
            PairRequest::TakePiece {
                file,
                offset,
                bytes,
                ..
            } => {
                let kept = self.incoming.entry(file).or_default();
                if offset == 0 {
                    kept.clear();
                }
                if kept.len() as u64 != offset {
                    result = Err("a piece is missing".to_owned());
                }
                kept.extend(bytes);
            }
            PairRequest::Install { .. } => {
                match self
                    .incoming
                    .remove("data")
                    .as_deref()
                    .and_then(Data::decode)
                {
                    Some(data) => self.data = data,
                    None => result = Err("no whole copy".to_owned()),
                }
            }
        }
        told.push(Told::Keeper(DiskReply::Done { ticket, result }));
        told
    }
}
