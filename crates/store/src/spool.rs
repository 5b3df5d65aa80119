//! A durable buffer between two tiers: what was taken goes up until somebody answers for it.
//!
//! Entries lie in lanes, each a log of its own of segments of checksummed records. An entry goes
//! out at once; it is written beside that, and [`Spool::durable`] says when the tier below may be
//! told that it is kept. What the neighbour above does not get is read back from disk, a segment
//! at a time, however long the log is.

mod effect;
mod entry;
mod segment;
mod start;
mod window;
mod work;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use gridloom_core::{Instant, UtcTime, Wake};

pub use effect::{SegmentFile, SegmentWrite, SpoolEffect, SpoolOutcome};
pub use entry::{About, Delivery, Gap, GapCause, Lane, Whose};
pub use segment::ENTRY_BYTES_MAX;
pub use start::{SpoolRecovery, TornSegment};

use segment::{Content, Item, record_bytes};
use window::{Slot, Window};
use work::ReadFor;

/// Bytes that may wait behind the write in flight; further entries are refused.
pub const PENDING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of one write; the rest goes into the next.
pub const WRITE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of a lane that are held in memory for sending, apart from one segment more; the others
/// wait on disk.
pub const WINDOW_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Named gaps that wait to be told, one for each lane, cause and meter. Beyond it those of further
/// meters are added to one that speaks for any meter.
pub const GAPS_MAX: usize = 4_096;

/// An entry that nobody answers is sent again after so long.
pub const RESEND_AFTER: Duration = Duration::from_secs(60);

/// One that the tier below brings again goes out again at most so often.
pub const NUDGE_AFTER: Duration = Duration::from_secs(10);

/// Tries of a reading on one connection. One that was never answered is given up and named: it is
/// what stands in the way of the others. What is more important waits as long as it takes: a
/// head-end may be away for days.
pub const TRIES_MAX: u32 = 30;

/// What was acknowledged is written down after so long, unless something else is written before:
/// a crash repeats no more than that.
pub const MARK_AFTER: Duration = Duration::from_secs(5);

/// After a failure of the disk, the next try waits so long.
pub const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How often a segment that cannot be read is tried before it counts as damaged.
pub const READ_TRIES_MAX: u32 = 3;

/// The bounds of a spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolConfig {
    /// Bytes of all files together. At the bound the oldest segment of the least important lane
    /// goes, and what it held is named.
    pub bytes_max: u64,
    /// A segment that has so many bytes is finished. It may have one record more.
    pub segment_bytes: u64,
    /// Entries of a lane that are sent and not answered. The others wait.
    pub in_flight_max: usize,
}

impl SpoolConfig {
    /// For the gateway or the edge of so many meters that push `per_day` readings each, with
    /// `entry` bytes in an entry: seven days, and a quarter more for what else there is.
    pub fn for_week(meters: u64, per_day: u64, entry: usize) -> Self {
        let standard = Self::default();
        let week = meters * per_day * 7 * record_bytes(entry);
        Self {
            bytes_max: (week + week / 4).max(standard.segment_bytes * 16),
            ..standard
        }
    }

    fn check(&self) {
        assert!(
            self.bytes_max >= self.segment_bytes * 8 && self.segment_bytes > 0,
            "every lane has room for a segment"
        );
        assert!(self.in_flight_max > 0, "something may be in flight");
    }
}

impl Default for SpoolConfig {
    /// Room for a week of 1,000 meters that push every quarter of an hour.
    fn default() -> Self {
        Self {
            bytes_max: 256 * 1024 * 1024,
            segment_bytes: 1024 * 1024,
            in_flight_max: 16_384,
        }
    }
}

/// An entry was not taken. What it was about is named in a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// There is no room that a less important or older entry could make.
    #[error("spool: no room in lane {}: let the neighbour above answer, or raise the bound", .0.name())]
    Full(Lane),
    /// It is longer than an entry may be.
    #[error("spool: an entry of {0} bytes, at most {ENTRY_BYTES_MAX}")]
    TooLong(usize),
}

/// What a spool did since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpoolCounters {
    /// Entries taken.
    pub taken: u64,
    /// Entries sent, repetitions included.
    pub sent: u64,
    /// Of those, entries that had been sent before.
    pub sent_again: u64,
    /// Entries that the neighbour above answered for.
    pub acknowledged: u64,
    /// Entries given up or refused because there was no room.
    pub lost_full: u64,
    /// Entries that the disk did not give back.
    pub lost_damaged: u64,
    /// Entries given up because nobody answered.
    pub lost_unanswered: u64,
    /// Failures of the disk.
    pub disk_failures: u64,
}

/// How a spool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpoolStatus {
    /// What it did.
    pub counters: SpoolCounters,
    /// Bytes of its files.
    pub bytes: u64,
    /// Its bound.
    pub bytes_max: u64,
    /// Records that nobody answered for yet, marks among them.
    pub waiting: u64,
    /// Entries sent and not answered.
    pub in_flight: usize,
    /// The time of the entry that has waited longest, of those in memory, which come first.
    pub oldest: Option<UtcTime>,
}

/// A segment's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    first: u64,
    /// Its last number, also of what is being written.
    last: u64,
    bytes: u64,
}

/// One lane.
#[derive(Debug)]
struct Log {
    segments: VecDeque<Segment>,
    window: Window,
    /// The number of the next record.
    next: u64,
    /// Not handed to the disk yet.
    pending: VecDeque<Item>,
    /// On its way to the disk.
    writing: VecDeque<Item>,
    /// Entries were acknowledged since the last mark.
    is_unmarked: bool,
    /// A segment is being read for sending.
    is_reading: bool,
    read_failures: u32,
}

impl Log {
    const fn new(next: u64, acknowledged: u64) -> Self {
        Self {
            segments: VecDeque::new(),
            window: Window::new(acknowledged + 1),
            next,
            pending: VecDeque::new(),
            writing: VecDeque::new(),
            is_unmarked: false,
            is_reading: false,
            read_failures: 0,
        }
    }

    /// Everything up to this number was acknowledged or given up.
    const fn acknowledged(&self) -> u64 {
        self.window.first() - 1
    }
}

/// Where entries are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeping {
    /// In memory alone.
    Memory,
    Disk,
}

/// A spool.
#[derive(Debug)]
pub struct Spool {
    config: SpoolConfig,
    keeping: Keeping,
    logs: [Log; 5],
    taken: u64,
    /// The write in flight: how each lane's last segment was before.
    writing: Option<Vec<(Lane, Option<Segment>)>>,
    /// Bytes of what waits to be written, or is being written.
    pending_bytes: usize,
    /// Bytes of all files, as they are once all effects are carried out.
    bytes: u64,
    /// Effects whose answers are outstanding, oldest first.
    asked: VecDeque<Asked>,
    /// Files whose length has to be set before anything is written: lane, segment, length.
    to_truncate: VecDeque<(Lane, u64, u64)>,
    to_drop: VecDeque<(Lane, u64)>,
    is_evicting: bool,
    retry_at: Option<Instant>,
    mark_at: Option<Instant>,
    /// What was sent, and when it is due again.
    due: VecDeque<(Instant, Lane, u64)>,
    again: [VecDeque<u64>; 5],
    gaps: BTreeMap<(Lane, GapCause, Whose), Gap>,
    counters: SpoolCounters,
}

/// An effect that was handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Write,
    Truncate(Lane, u64, u64),
    /// Of which lane, which segment up to which number, and why.
    Read(Lane, Segment, ReadFor),
    Drop(Lane, u64),
}

impl Spool {
    /// A spool without a disk: what it takes is gone with it. [`Self::durable`] follows at once,
    /// and the bound is one of memory.
    ///
    /// # Panics
    ///
    /// If the bounds leave no room.
    pub fn in_memory(config: SpoolConfig) -> Self {
        Self::with(config, Keeping::Memory, [(); 5].map(|()| Log::new(1, 0)))
    }

    fn with(config: SpoolConfig, keeping: Keeping, logs: [Log; 5]) -> Self {
        config.check();
        Self {
            config,
            keeping,
            logs,
            taken: 0,
            writing: None,
            pending_bytes: 0,
            bytes: 0,
            asked: VecDeque::new(),
            to_truncate: VecDeque::new(),
            to_drop: VecDeque::new(),
            is_evicting: false,
            retry_at: None,
            mark_at: None,
            due: VecDeque::new(),
            again: Default::default(),
            gaps: BTreeMap::new(),
            counters: SpoolCounters::default(),
        }
    }

    /// Takes an entry and returns its number within the lane.
    ///
    /// # Errors
    ///
    /// [`SpoolError`]; the entry is counted and named.
    pub fn append(&mut self, lane: Lane, about: About, bytes: &[u8]) -> Result<u64, SpoolError> {
        if bytes.len() > ENTRY_BYTES_MAX {
            self.lose(lane, GapCause::Full, Some(about));
            return Err(SpoolError::TooLong(bytes.len()));
        }
        let has_room = match self.keeping {
            Keeping::Memory => self.make_room_in_memory(lane, bytes.len()),
            Keeping::Disk => self.pending_bytes + bytes.len() <= PENDING_BYTES_MAX,
        };
        if !has_room {
            self.lose(lane, GapCause::Full, Some(about));
            return Err(SpoolError::Full(lane));
        }
        self.taken += 1;
        self.counters.taken += 1;
        let bytes: Arc<[u8]> = bytes.into();
        if self.keeping == Keeping::Memory {
            let log = &mut self.logs[lane as usize];
            let number = log.next;
            log.next += 1;
            log.window.push(Some(Slot::new(about, bytes, false)));
            return Ok(number);
        }
        if self.logs[lane as usize].pending.is_empty() {
            self.mark(lane);
        }
        self.pending_bytes += bytes.len();
        let log = &mut self.logs[lane as usize];
        let number = log.next;
        log.next += 1;
        let content = Content::Entry { about, bytes };
        let order = self.taken;
        log.pending.push_back(Item {
            number,
            order,
            content,
        });
        self.fill(lane);
        Ok(number)
    }

    /// How many entries were taken so far: what [`Self::durable`] and [`Self::issued`] count in.
    pub const fn taken(&self) -> u64 {
        self.taken
    }

    /// Of the entries taken, so many were handed to the disk.
    pub fn issued(&self) -> u64 {
        let waiting = self.logs.iter().filter_map(|log| log.pending.front());
        waiting
            .map(|item| item.order - 1)
            .min()
            .unwrap_or(self.taken)
    }

    /// Of the entries taken, so many are durable: for those the tier below may be answered.
    pub fn durable(&self) -> u64 {
        let written = self.logs.iter().filter_map(|log| log.writing.front());
        let first = written.map(|item| item.order - 1).min();
        first.map_or(self.issued(), |first| first.min(self.issued()))
    }

    /// The next entry of a lane to send; `None` if there is none, or enough is in flight.
    pub fn next(&mut self, lane: Lane, now: Instant) -> Option<Delivery> {
        let log = &mut self.logs[lane as usize];
        let mut again = None;
        while let Some(number) = self.again[lane as usize].pop_front() {
            if log.window.get(number).is_some() {
                again = Some(number);
                break;
            }
        }
        let (number, slot) = match again {
            Some(number) => (number, log.window.again(number, now)?),
            None if log.window.in_flight() >= self.config.in_flight_max => return None,
            None => log.window.next_unsent(now)?,
        };
        self.counters.sent += 1;
        self.counters.sent_again += u64::from(slot.sendings > 1);
        let delivery = Delivery {
            lane,
            number,
            bytes: Arc::clone(&slot.bytes),
            is_recovered: slot.is_recovered,
        };
        self.due.push_back((now + RESEND_AFTER, lane, number));
        Some(delivery)
    }

    /// The neighbour above has this entry durable. One that is not known is ignored.
    pub fn acknowledge(&mut self, lane: Lane, number: u64, now: Instant) {
        let log = &mut self.logs[lane as usize];
        if log.window.remove(number).is_none() {
            return;
        }
        self.counters.acknowledged += 1;
        self.settled(lane, now);
    }

    /// The connection to the neighbour above is gone, or a new one stands: everything that it did
    /// not answer for goes out again, in order.
    pub fn rewind(&mut self) {
        for log in &mut self.logs {
            log.window.rewind();
        }
        self.due.clear();
        self.again.iter_mut().for_each(VecDeque::clear);
    }

    /// The tier below brought an entry again: if it was sent a while ago and not answered, it goes
    /// out again.
    pub fn nudge(&mut self, lane: Lane, number: u64, now: Instant) {
        let is_old = |slot: &&mut Slot| slot.sent_at.is_some_and(|at| at + NUDGE_AFTER <= now);
        let slot = self.logs[lane as usize].window.get_mut(number);
        if let Some(slot) = slot.filter(is_old)
            && !slot.is_due
        {
            slot.is_due = true;
            self.again[lane as usize].push_back(number);
        }
    }

    /// Whether an entry waits to be answered.
    pub fn holds(&self, lane: Lane, number: u64) -> bool {
        let log = &self.logs[lane as usize];
        match number < log.window.end() {
            true => log.window.get(number).is_some(),
            false => number < log.next,
        }
    }

    /// Whether the disk refused, and is given a rest.
    pub const fn is_failing(&self) -> bool {
        self.retry_at.is_some()
    }

    /// The next effect to carry out; `None` if there is none now.
    pub fn poll_effect(&mut self, now: Instant) -> Option<SpoolEffect> {
        match self.keeping {
            Keeping::Memory => None,
            Keeping::Disk => self.next_effect(now),
        }
    }

    /// An effect ended.
    ///
    /// # Panics
    ///
    /// If none was asked for.
    pub fn handle(&mut self, outcome: SpoolOutcome, now: Instant) {
        let asked = self.asked.pop_front().expect("an effect was handed out");
        self.handle_outcome(asked, outcome, now);
    }

    /// A deadline of [`Self::wake`] has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.retry_at.take_if(|at| *at <= now);
        if self.mark_at.take_if(|at| *at <= now).is_some() {
            for lane in Lane::ALL {
                self.mark(lane);
            }
        }
        while let Some((at, lane, number)) = self.due.pop_front_if(|(at, ..)| *at <= now) {
            let Some(slot) = self.logs[lane as usize].window.get_mut(number) else {
                continue;
            };
            // One that was sent since then has a later deadline.
            if slot.is_due || slot.sent_at.is_none_or(|sent| sent + RESEND_AFTER != at) {
                continue;
            }
            slot.unanswered += 1;
            if slot.unanswered >= TRIES_MAX && lane >= Lane::Readings {
                let gone = self.logs[lane as usize].window.remove(number);
                self.lose(lane, GapCause::Unanswered, gone.map(|slot| slot.about));
                self.settled(lane, now);
            } else {
                slot.is_due = true;
                self.again[lane as usize].push_back(number);
            }
        }
    }

    /// When to call [`Self::handle_timeout`].
    pub fn wake(&self) -> Wake {
        let retry = self.retry_at.map(|at| (at, "try the spool's disk again"));
        let mark = self.mark_at.map(|at| (at, "mark what was acknowledged"));
        let due = self.due.front().map(|(at, ..)| (*at, "send again"));
        Wake {
            instant: [retry, mark, due].into_iter().flatten().min(),
            utc: None,
        }
    }

    /// What was given up since the last call, by lane, cause and meter.
    pub fn take_gaps(&mut self) -> Vec<Gap> {
        std::mem::take(&mut self.gaps).into_values().collect()
    }

    /// How it is.
    pub fn status(&self) -> SpoolStatus {
        SpoolStatus {
            counters: self.counters,
            bytes: match self.keeping {
                Keeping::Memory => self.logs.iter().map(|log| log.window.bytes() as u64).sum(),
                Keeping::Disk => self.bytes,
            },
            bytes_max: self.config.bytes_max,
            waiting: self
                .logs
                .iter()
                .map(|log| match self.keeping {
                    Keeping::Memory => log.window.open() as u64,
                    Keeping::Disk => log.next - log.window.first(),
                })
                .sum(),
            in_flight: self.logs.iter().map(|log| log.window.in_flight()).sum(),
            oldest: self
                .logs
                .iter()
                .filter_map(|log| log.window.get(log.window.oldest()?))
                .map(|slot| slot.about.time)
                .min(),
        }
    }

    /// The window of a lane moved on.
    fn settled(&mut self, lane: Lane, now: Instant) {
        while self.due.front().is_some_and(|(_, lane, number)| {
            let log = &self.logs[*lane as usize];
            log.window.get(*number).is_none()
        }) {
            self.due.pop_front();
        }
        if self.keeping == Keeping::Disk {
            self.logs[lane as usize].is_unmarked = true;
            self.mark_at = self.mark_at.or(Some(now + MARK_AFTER));
            self.drop_acknowledged(lane);
        }
    }

    /// Makes room by giving up the oldest of less important lanes, then of this one.
    fn make_room_in_memory(&mut self, lane: Lane, wanted: usize) -> bool {
        let bytes_max = usize::try_from(self.config.bytes_max).unwrap_or(usize::MAX);
        loop {
            let held: usize = self.logs.iter().map(|log| log.window.bytes()).sum();
            if held + wanted <= bytes_max {
                return true;
            }
            let victim = Lane::ALL.into_iter().rev().find_map(|victim| {
                let oldest = self.logs[victim as usize].window.oldest()?;
                (victim >= lane).then_some((victim, oldest))
            });
            let Some((victim, oldest)) = victim else {
                return false;
            };
            let gone = self.logs[victim as usize].window.remove(oldest);
            self.lose(victim, GapCause::Full, gone.map(|slot| slot.about));
        }
    }

    fn lose(&mut self, lane: Lane, cause: GapCause, about: Option<About>) {
        self.name(Gap {
            lane,
            cause,
            whose: about.map_or(Whose::Unknown, |about| about.whose),
            from: about.map(|about| about.time),
            to: about.map(|about| about.time),
            entries: 1,
        });
    }

    /// Counts and names entries that are gone.
    fn name(&mut self, gap: Gap) {
        let counter = match gap.cause {
            GapCause::Full => &mut self.counters.lost_full,
            GapCause::Damaged => &mut self.counters.lost_damaged,
            GapCause::Unanswered => &mut self.counters.lost_unanswered,
        };
        *counter += gap.entries;
        let mut key = (gap.lane, gap.cause, gap.whose);
        if self.gaps.len() >= GAPS_MAX && !self.gaps.contains_key(&key) {
            key.2 = Whose::Unknown;
        }
        let gap = Gap {
            whose: key.2,
            ..gap
        };
        let known = self.gaps.entry(key);
        known
            .and_modify(|known| *known = known.and(gap))
            .or_insert(gap);
    }
}
