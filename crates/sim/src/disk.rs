//! A node's disk: it carries out requests in order, each after a while, and a crash catches it
//! in the middle of one.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use gridloom_core::seed;
use gridloom_nodes::{Answer, DiskReply, DiskRequest, PairRequest, Query};
use gridloom_store::spool::{SegmentFile, SegmentWrite, SpoolEffect, SpoolOutcome};
use gridloom_store::{Backend, Effect, MemoryBackend, Outcome, RecoverError, StoreError};
use gridloom_store::{Lane, Spool, SpoolConfig};
use gridloom_store::{Ledger, LedgerConfig, MemoryOperations, OperationsStore};

use crate::link::{below, nanos};

/// What a node keeps, through every crash of its own.
#[derive(Debug)]
pub struct Disk {
    cells: BTreeMap<String, Vec<u8>>,
    database: MemoryBackend,
    operations: MemoryOperations,
    segments: BTreeMap<u64, Vec<u8>>,
    spool: BTreeMap<(Lane, u64), Vec<u8>>,
    objects: BTreeMap<String, Vec<u8>>,
    /// Not carried out yet, oldest first.
    waiting: VecDeque<DiskRequest>,
    trouble: Trouble,
    /// Where the last write of a journal began: what was there before is known to be whole.
    last_write: Option<(u64, u64)>,
    time_max: Duration,
    rng: seed::Rng,
}

/// What is wrong with a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trouble {
    /// Nothing.
    #[default]
    None,
    /// No room: a write is refused. Of a journal write a first part is there.
    Full,
    /// Every write is refused, and nothing of it is there.
    Failing,
}

impl Trouble {
    const fn words(self) -> &'static str {
        match self {
            Self::None => "no error",
            Self::Full => "no space left on device",
            Self::Failing => "input/output error",
        }
    }
}

/// A bit of a journal that flipped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flip {
    segment: u64,
    byte: usize,
    bit: u32,
}

/// Why a store does not come up from its disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] RecoverError),
    /// The database.
    #[error(transparent)]
    Database(#[from] StoreError),
}

impl Disk {
    /// The shortest time that a request takes.
    pub const TIME_MIN: Duration = Duration::from_micros(200);

    /// The longest time that a request takes, unless the disk was slowed down.
    pub const TIME_MAX: Duration = Duration::from_millis(8);

    pub(crate) fn new(rng: seed::Rng) -> Self {
        Self {
            cells: BTreeMap::new(),
            database: MemoryBackend::new(),
            operations: MemoryOperations::new(),
            segments: BTreeMap::new(),
            spool: BTreeMap::new(),
            objects: BTreeMap::new(),
            waiting: VecDeque::new(),
            trouble: Trouble::None,
            last_write: None,
            time_max: Self::TIME_MAX,
            rng,
        }
    }

    /// The memory cells, by name.
    pub fn cells(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.cells
    }

    /// The database.
    pub fn database(&self) -> &MemoryBackend {
        &self.database
    }

    /// The database, for a test that wants to damage it.
    pub fn database_mut(&mut self) -> &mut MemoryBackend {
        &mut self.database
    }

    /// The head-end's tables.
    pub fn operations(&self) -> &MemoryOperations {
        &self.operations
    }

    /// The head-end's tables, for enrolling its meters before it starts.
    pub fn operations_mut(&mut self) -> &mut MemoryOperations {
        &mut self.operations
    }

    /// Makes it slower from the next request on: what is acted on too early shows then.
    ///
    /// # Panics
    ///
    /// If `time_max` is below [`Self::TIME_MIN`].
    pub fn slow_down(&mut self, time_max: Duration) {
        assert!(time_max >= Self::TIME_MIN, "a disk takes some time");
        self.time_max = time_max;
    }

    /// The archived objects, by name.
    pub fn objects(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.objects
    }

    /// The ledger as a restart at this moment would find it.
    ///
    /// # Errors
    ///
    /// If journal and database do not go together.
    pub fn ledger(&self, config: LedgerConfig) -> Result<Ledger, DiskError> {
        let checkpoint = self.database.checkpoint()?;
        let segments = self
            .segments
            .iter()
            .map(|(number, bytes)| (*number, bytes.clone()))
            .collect();
        let (ledger, _) = Ledger::recover(config, checkpoint, segments)?;
        Ok(ledger)
    }

    /// The spool as a restart at this moment would find it, reading as much as a host reads.
    pub fn spool(&self, config: SpoolConfig) -> Spool {
        let files = self.spool.iter().map(|((lane, segment), bytes)| {
            let later = self.spool.range((*lane, segment + 1)..=(*lane, u64::MAX));
            SegmentFile {
                lane: *lane,
                segment: *segment,
                length: bytes.len() as u64,
                bytes: (later.count() < 2).then(|| bytes.clone()),
            }
        });
        Spool::recover(config, files.collect()).0
    }

    /// Bytes of the spool's files.
    pub fn spool_bytes(&self) -> usize {
        self.spool.values().map(Vec::len).sum()
    }

    /// Takes a request. Where the disk was idle, says how long it works on it, in nanoseconds.
    pub(crate) fn request(&mut self, request: DiskRequest) -> Option<u64> {
        self.waiting.push_back(request);
        (self.waiting.len() == 1).then(|| self.time())
    }

    /// The oldest request is carried out: its answer, and how long the next one takes.
    pub(crate) fn complete(&mut self) -> (DiskReply, Option<u64>) {
        let request = self.waiting.pop_front().expect("a request was under way");
        let reply = self.carry_out(request);
        let next = (!self.waiting.is_empty()).then(|| self.time());
        (reply, next)
    }

    /// The node stops at once. Of what it asked for, the disk has carried out a first part; the
    /// request after that was under way and is torn; the others never began.
    pub(crate) fn crash(&mut self) {
        let count = self.waiting.len() as u64;
        let whole = below(&mut self.rng, count + 1);
        for _ in 0..whole {
            let _unheard = self.complete();
        }
        if let Some(torn) = self.waiting.pop_front() {
            self.tear(torn);
        }
        self.waiting.clear();
    }

    fn time(&mut self) -> u64 {
        let (min, max) = (nanos(Self::TIME_MIN), nanos(self.time_max));
        min + below(&mut self.rng, max - min + 1)
    }

    /// Requests that are not carried out yet.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Writes are refused from now on, or carried out again.
    pub(crate) fn trouble(&mut self, trouble: Trouble) {
        self.trouble = trouble;
    }

    /// Flips a bit of the journal, if there is any before its last write. One in the last write
    /// cannot be told from a torn write, which is cut off.
    pub(crate) fn flip_a_bit(&mut self) -> Option<Flip> {
        let (last, end) = self.last_write?;
        let whole = |number: &u64, bytes: &Vec<u8>| match number.cmp(&last) {
            std::cmp::Ordering::Less => bytes.len(),
            std::cmp::Ordering::Equal => length_of(end).min(bytes.len()),
            std::cmp::Ordering::Greater => 0,
        };
        let all: usize = self.segments.iter().map(|(n, it)| whole(n, it)).sum();
        if all == 0 {
            return None;
        }
        let mut byte = length_of(below(&mut self.rng, all as u64));
        let bit = u32::try_from(below(&mut self.rng, 8)).expect("below eight");
        let segment = self.segments.iter().find_map(|(number, bytes)| {
            let length = whole(number, bytes);
            if byte < length {
                return Some(*number);
            }
            byte -= length;
            None
        })?;
        let flip = Flip { segment, byte, bit };
        self.flip_back(flip);
        Some(flip)
    }

    /// Flips a bit of the spool, wherever it is. Whether there was one.
    pub(crate) fn flip_in_spool(&mut self) -> bool {
        let all = self.spool_bytes() as u64;
        if all == 0 {
            return false;
        }
        let mut byte = length_of(below(&mut self.rng, all));
        let bit = u32::try_from(below(&mut self.rng, 8)).expect("below eight");
        for bytes in self.spool.values_mut() {
            if let Some(byte) = bytes.get_mut(byte) {
                *byte ^= 1 << bit;
                return true;
            }
            byte -= bytes.len();
        }
        false
    }

    /// Flips it once more.
    pub(crate) fn flip_back(&mut self, flip: Flip) {
        let bytes = self.segments.get_mut(&flip.segment);
        if let Some(byte) = bytes.and_then(|bytes| bytes.get_mut(flip.byte)) {
            *byte ^= 1 << flip.bit;
        }
    }

    /// The answer to a write that is refused; a query is none.
    fn refuse(&mut self, request: DiskRequest) -> Result<DiskReply, DiskRequest> {
        let words = self.trouble.words();
        match request {
            DiskRequest::Query { .. } | DiskRequest::Spool(SpoolEffect::Read { .. }) => {
                Err(request)
            }
            // A full disk takes no bytes, and gives up what it has.
            DiskRequest::Spool(SpoolEffect::Truncate { .. } | SpoolEffect::Drop { .. })
                if self.trouble == Trouble::Full =>
            {
                Err(request)
            }
            DiskRequest::Spool(_) => {
                if self.trouble == Trouble::Full {
                    self.tear(request);
                }
                Ok(DiskReply::Spool(SpoolOutcome::Failed(words.to_owned())))
            }
            DiskRequest::Remember { ticket, .. } | DiskRequest::Archive { ticket, .. } => {
                Ok(DiskReply::Done {
                    ticket,
                    result: Err(words.to_owned()),
                })
            }
            DiskRequest::Operations { ticket, .. } => Ok(DiskReply::Operations {
                ticket,
                result: Err(words.to_owned()),
            }),
            DiskRequest::Ledger(effect) => {
                let what = effect.operation();
                if self.trouble == Trouble::Full {
                    self.tear(DiskRequest::Ledger(effect));
                }
                Ok(DiskReply::Ledger(Outcome::Failed {
                    what,
                    error: words.to_owned(),
                }))
            }
            DiskRequest::Pair(request) => Ok(no_pair(&request)),
        }
    }

    fn carry_out(&mut self, request: DiskRequest) -> DiskReply {
        let request = match self.trouble {
            Trouble::None => request,
            Trouble::Full | Trouble::Failing => match self.refuse(request) {
                Ok(refusal) => return refusal,
                Err(query) => query,
            },
        };
        match request {
            DiskRequest::Remember {
                ticket,
                slot,
                bytes,
            } => {
                self.remember(slot, bytes);
                DiskReply::Done {
                    ticket,
                    result: Ok(()),
                }
            }
            DiskRequest::Ledger(effect) => DiskReply::Ledger(self.carry_out_effect(effect)),
            // Pairs have a world of their own, crate::pair.
            DiskRequest::Pair(request) => no_pair(&request),
            DiskRequest::Spool(effect) => DiskReply::Spool(self.carry_out_spool(effect)),
            DiskRequest::Query { ticket, query } => DiskReply::Answer {
                ticket,
                result: self.query(query).map_err(|error| error.to_string()),
            },
            DiskRequest::Operations { ticket, batch } => DiskReply::Operations {
                ticket,
                result: self
                    .operations
                    .commit(&[batch])
                    .map(|mut answers| answers.remove(0))
                    .map_err(|error| error.to_string()),
            },
            DiskRequest::Archive {
                ticket,
                name,
                bytes,
            } => {
                self.objects.insert(name, bytes);
                DiskReply::Done {
                    ticket,
                    result: Ok(()),
                }
            }
        }
    }

    fn remember(&mut self, slot: &str, bytes: Vec<u8>) {
        match self.cells.get_mut(slot) {
            Some(cell) => *cell = bytes,
            None => {
                self.cells.insert(slot.to_owned(), bytes);
            }
        }
    }

    fn carry_out_effect(&mut self, effect: Effect) -> Outcome {
        let what = effect.operation();
        match effect {
            Effect::TruncateSegment { segment, length } => {
                let file = self.segments.entry(segment).or_default();
                file.truncate(length_of(length));
                Outcome::Truncated
            }
            Effect::WriteJournal {
                segment,
                offset,
                bytes,
                through,
            } => {
                self.write(segment, offset, &bytes);
                Outcome::Written { through }
            }
            Effect::Commit(batch) => match self.database.commit(batch) {
                Ok(report) => Outcome::Committed(report),
                Err(error) => Outcome::Failed {
                    what,
                    error: error.to_string(),
                },
            },
            Effect::DropSegments { before } => {
                self.segments = self.segments.split_off(&before);
                Outcome::Dropped
            }
        }
    }

    fn carry_out_spool(&mut self, effect: SpoolEffect) -> SpoolOutcome {
        match effect {
            SpoolEffect::Write(writes) => {
                for write in writes {
                    self.write_spool(&write, write.bytes.len());
                }
                SpoolOutcome::Written
            }
            SpoolEffect::Truncate {
                lane,
                segment,
                length,
            } => {
                let file = self.spool.entry((lane, segment)).or_default();
                file.truncate(length_of(length));
                SpoolOutcome::Truncated
            }
            SpoolEffect::Read { lane, segment } => {
                let file = self.spool.get(&(lane, segment));
                SpoolOutcome::Read(file.cloned().unwrap_or_default())
            }
            SpoolEffect::Drop { lane, segment } => {
                self.spool.remove(&(lane, segment));
                SpoolOutcome::Dropped
            }
        }
    }

    fn write_spool(&mut self, write: &SegmentWrite, cut: usize) {
        let file = self.spool.entry((write.lane, write.segment)).or_default();
        assert!(
            file.len() == length_of(write.offset),
            "the spool goes on where its segment {} ends",
            write.segment
        );
        file.extend_from_slice(&write.bytes[..cut]);
    }

    fn write(&mut self, segment: u64, offset: u64, bytes: &[u8]) {
        let file = self.segments.entry(segment).or_default();
        assert!(
            file.len() == length_of(offset),
            "the journal goes on where its segment {segment} ends"
        );
        file.extend_from_slice(bytes);
        self.last_write = Some((segment, offset));
    }

    fn query(&self, query: Query) -> Result<Answer, StoreError> {
        let database = &self.database;
        Ok(match query {
            Query::Readings {
                meter,
                period,
                first,
                last,
            } => Answer::Readings(database.readings(meter, period, first..=last)?),
            Query::Day { period, day } => {
                let mut readings = Vec::new();
                for row in database.meters()? {
                    readings.extend(database.readings(row.meter, period, day..=day)?);
                }
                Answer::Readings(readings)
            }
            Query::Prices {
                period,
                first,
                last,
            } => Answer::Prices(database.prices(period, first..=last)?),
            Query::Bills { month } => Answer::Bills(database.bills(month)?),
        })
    }

    /// Leaves what a power failure leaves of a request: some of the bytes of a journal write,
    /// sometimes with the file's new length and zeros for the rest; some of the segments to drop.
    /// Cells, commits and objects are transactions: nothing.
    fn tear(&mut self, request: DiskRequest) {
        match request {
            DiskRequest::Ledger(Effect::WriteJournal {
                segment,
                offset,
                bytes,
                ..
            }) => {
                let length = bytes.len() as u64;
                let cut = length_of(below(&mut self.rng, length + 1));
                self.write(segment, offset, &bytes[..cut]);
                if below(&mut self.rng, 4) == 0 {
                    let file = self.segments.entry(segment).or_default();
                    file.resize(file.len() + bytes.len() - cut, 0);
                }
            }
            DiskRequest::Spool(SpoolEffect::Write(writes)) => {
                let whole = below(&mut self.rng, writes.len() as u64 + 1);
                for (number, write) in (0..=whole).zip(&writes) {
                    let length = write.bytes.len() as u64;
                    let cut = match number == whole {
                        true => below(&mut self.rng, length + 1),
                        false => length,
                    };
                    self.write_spool(write, length_of(cut));
                    if cut < length && below(&mut self.rng, 4) == 0 {
                        let key = (write.lane, write.segment);
                        let file = self.spool.entry(key).or_default();
                        file.resize(length_of(write.offset + length), 0);
                    }
                }
            }
            DiskRequest::Ledger(Effect::DropSegments { before }) => {
                let doomed: Vec<u64> = self.segments.range(..before).map(|(n, _)| *n).collect();
                let dropped = below(&mut self.rng, doomed.len() as u64 + 1);
                for number in doomed.into_iter().take(length_of(dropped)) {
                    self.segments.remove(&number);
                }
            }
            DiskRequest::Ledger(Effect::Commit(_) | Effect::TruncateSegment { .. })
            | DiskRequest::Spool(
                SpoolEffect::Truncate { .. } | SpoolEffect::Read { .. } | SpoolEffect::Drop { .. },
            )
            | DiskRequest::Remember { .. }
            | DiskRequest::Query { .. }
            | DiskRequest::Operations { .. }
            | DiskRequest::Archive { .. }
            | DiskRequest::Pair(_) => {}
        }
    }
}

fn no_pair(request: &PairRequest) -> DiskReply {
    DiskReply::Done {
        ticket: request.ticket(),
        result: Err("this disk has no second copy".to_owned()),
    }
}

fn length_of(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a simulated file fits the memory it is in")
}
