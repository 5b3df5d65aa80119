//! What a spool has its disk do: write, read back, make room.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridloom_core::Instant;

use super::effect::{SegmentWrite, SpoolEffect, SpoolOutcome};
use super::entry::{Gap, GapCause, Lane, Whose};
use super::segment::{Content, Ending, Item, Scan, encode_header, scan};
use super::window::Slot;
use super::{
    Asked, Log, READ_TRIES_MAX, RETRY_AFTER, Segment, Spool, WINDOW_BYTES_MAX, WRITE_BYTES_MAX,
};

/// Why a segment is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadFor {
    /// What it holds goes out.
    Sending,
    /// It makes room; what it holds is named.
    Eviction,
}

impl Log {
    /// The first number that is not durable.
    fn durable_end(&self) -> u64 {
        let first = self.writing.front().or(self.pending.front());
        first.map_or(self.next, |item| item.number)
    }

    /// What is not durable yet, by its number.
    fn fresh(&self, number: u64) -> Option<&Item> {
        [&self.writing, &self.pending]
            .into_iter()
            .find_map(|items| {
                let index = number.checked_sub(items.front()?.number)?;
                items.get(usize::try_from(index).ok()?)
            })
    }
}

impl Spool {
    /// Lets the next write say what was acknowledged.
    pub(super) fn mark(&mut self, lane: Lane) {
        let order = self.taken;
        let log = &mut self.logs[lane as usize];
        if !std::mem::take(&mut log.is_unmarked) {
            return;
        }
        let content = Content::Mark(log.acknowledged());
        let number = log.next;
        log.next += 1;
        log.pending.push_back(Item {
            number,
            order: order + 1,
            content,
        });
        self.fill(lane);
    }

    /// Takes into memory what is not on disk yet, if nothing before it is only there.
    pub(super) fn fill(&mut self, lane: Lane) {
        let log = &mut self.logs[lane as usize];
        while log.window.bytes() < WINDOW_BYTES_MAX
            && let Some(item) = log.fresh(log.window.end())
        {
            let slot = match &item.content {
                Content::Entry { about, bytes } => {
                    Some(Slot::new(*about, Arc::clone(bytes), false))
                }
                Content::Mark(_) => None,
            };
            log.window.push(slot);
        }
    }

    pub(super) fn next_effect(&mut self, now: Instant) -> Option<SpoolEffect> {
        if self.retry_at.is_some() {
            return None;
        }
        if let Some((lane, segment, length)) = self.to_truncate.pop_front() {
            self.asked.push_back(Asked::Truncate(lane, segment, length));
            return Some(SpoolEffect::Truncate {
                lane,
                segment,
                length,
            });
        }
        if let Some((lane, segment)) = self.to_drop.pop_front() {
            self.asked.push_back(Asked::Drop(lane, segment));
            return Some(SpoolEffect::Drop { lane, segment });
        }
        let is_truncating = self
            .asked
            .iter()
            .any(|asked| matches!(asked, Asked::Truncate(..)));
        if !is_truncating
            && self.writing.is_none()
            && !self.is_evicting
            && let Some(effect) = self.next_write(now)
        {
            return Some(effect);
        }
        Lane::ALL.into_iter().find_map(|lane| self.next_read(lane))
    }

    /// One write for everything that waits, as far as its size and the bound allow.
    fn next_write(&mut self, now: Instant) -> Option<SpoolEffect> {
        loop {
            let (mut writes, mut before, mut total) = (Vec::new(), Vec::new(), 0);
            let mut lacks_room = None;
            for lane in Lane::ALL {
                let room = self.config.bytes_max.saturating_sub(self.bytes);
                let segment_bytes = self.config.segment_bytes;
                let log = &mut self.logs[lane as usize];
                let Some(first) = log.pending.front() else {
                    continue;
                };
                let current = log.segments.back().copied();
                let goes_on = current.filter(|segment| segment.bytes < segment_bytes);
                let mut segment = goes_on.unwrap_or(Segment {
                    first: first.number,
                    last: first.number,
                    bytes: 0,
                });
                let (offset, mut bytes, mut back) = (segment.bytes, Vec::new(), 0);
                if offset == 0 {
                    bytes = encode_header(lane, segment.first, log.acknowledged());
                }
                while let Some(item) = log.pending.front() {
                    let more = item.disk_bytes();
                    if offset + bytes.len() as u64 >= segment_bytes || total > WRITE_BYTES_MAX {
                        break;
                    }
                    if bytes.len() as u64 + more > room {
                        lacks_room = Some(lane);
                        break;
                    }
                    total += usize::try_from(more).unwrap_or(usize::MAX);
                    item.encode(back, &mut bytes);
                    back += 1;
                    segment.last = item.number;
                    let item = log.pending.pop_front().expect("it was just looked at");
                    log.writing.push_back(item);
                }
                if back > 0 {
                    segment.bytes += bytes.len() as u64;
                    self.bytes += bytes.len() as u64;
                    before.push((lane, goes_on));
                    match goes_on {
                        Some(_) => *log.segments.back_mut().expect("it goes on") = segment,
                        None => log.segments.push_back(segment),
                    }
                    writes.push(SegmentWrite {
                        lane,
                        segment: segment.first,
                        offset,
                        bytes,
                    });
                }
                if lacks_room.is_some() {
                    break;
                }
            }
            if !writes.is_empty() {
                self.writing = Some(before);
                self.asked.push_back(Asked::Write);
                return Some(SpoolEffect::Write(writes));
            }
            let lane = lacks_room?;
            if let Some(effect) = self.evict(lane) {
                return effect;
            }
            // Only what is more important lies here.
            let log = &mut self.logs[lane as usize];
            let item = log.pending.pop_front().expect("it lacked room");
            let end = item.number + 1;
            if let Content::Entry { about, bytes } = item.content {
                self.pending_bytes -= bytes.len();
                let is_open =
                    item.number >= log.window.end() || log.window.remove(item.number).is_some();
                log.window.skip_to(end);
                if is_open {
                    self.lose(lane, GapCause::Full, Some(about));
                }
                self.settled(lane, now);
            }
        }
    }

    /// Makes room for `lane`: `None` if there is nothing to give up, else the next effect.
    fn evict(&mut self, lane: Lane) -> Option<Option<SpoolEffect>> {
        let is_dropping = self
            .asked
            .iter()
            .any(|asked| matches!(asked, Asked::Drop(..)));
        if is_dropping {
            return Some(None);
        }
        let victims = Lane::ALL.into_iter().rev().filter(|victim| *victim >= lane);
        let victims: Vec<Lane> = victims.collect();
        // What was acknowledged costs nothing.
        for lane in Lane::ALL {
            let log = &mut self.logs[lane as usize];
            let acknowledged = log.acknowledged();
            let done = log
                .segments
                .pop_front_if(|segment| segment.last <= acknowledged);
            if let Some(segment) = done {
                self.bytes -= segment.bytes;
                self.asked.push_back(Asked::Drop(lane, segment.first));
                let segment = segment.first;
                return Some(Some(SpoolEffect::Drop { lane, segment }));
            }
        }
        for victim in victims {
            if let Some(segment) = self.logs[victim as usize].segments.front().copied() {
                self.is_evicting = true;
                let asked = Asked::Read(victim, segment, ReadFor::Eviction);
                self.asked.push_back(asked);
                return Some(Some(SpoolEffect::Read {
                    lane: victim,
                    segment: segment.first,
                }));
            }
        }
        None
    }

    /// Reads the next segment of a lane whose next entry is only on disk.
    fn next_read(&mut self, lane: Lane) -> Option<SpoolEffect> {
        loop {
            let log = &mut self.logs[lane as usize];
            let (wanted, durable_end) = (log.window.end(), log.durable_end());
            if log.is_reading || wanted >= durable_end || log.window.bytes() >= WINDOW_BYTES_MAX / 2
            {
                return None;
            }
            let found = log.segments.iter().find(|segment| segment.last >= wanted);
            let Some(segment) = found.copied().filter(|segment| segment.first <= wanted) else {
                let to = found.map_or(durable_end, |segment| segment.first);
                log.window.skip_to(to);
                self.damaged(lane, to - wanted);
                self.fill(lane);
                continue;
            };
            log.is_reading = true;
            let durable = Segment {
                last: segment.last.min(durable_end - 1),
                ..segment
            };
            self.asked
                .push_back(Asked::Read(lane, durable, ReadFor::Sending));
            let segment = segment.first;
            return Some(SpoolEffect::Read { lane, segment });
        }
    }

    /// Forgets segments of which everything was acknowledged; the last one stays.
    pub(super) fn drop_acknowledged(&mut self, lane: Lane) {
        let log = &mut self.logs[lane as usize];
        let acknowledged = log.acknowledged();
        while log.segments.len() > 1
            && let Some(segment) = log
                .segments
                .pop_front_if(|segment| segment.last <= acknowledged)
        {
            self.bytes -= segment.bytes;
            self.to_drop.push_back((lane, segment.first));
        }
    }

    pub(super) fn handle_outcome(&mut self, asked: Asked, outcome: SpoolOutcome, now: Instant) {
        if let SpoolOutcome::Failed(_) = &outcome {
            self.counters.disk_failures += 1;
            self.retry_at = Some(now + RETRY_AFTER);
        }
        match (asked, outcome) {
            (Asked::Write, SpoolOutcome::Written) => {
                self.writing = None;
                for log in &mut self.logs {
                    for item in log.writing.drain(..) {
                        if let Content::Entry { bytes, .. } = &item.content {
                            self.pending_bytes -= bytes.len();
                        }
                    }
                }
            }
            (Asked::Write, SpoolOutcome::Failed(_)) => self.take_back_write(),
            (Asked::Truncate(..), SpoolOutcome::Truncated)
            | (Asked::Drop(..), SpoolOutcome::Dropped) => {}
            (Asked::Truncate(lane, segment, length), SpoolOutcome::Failed(_)) => {
                self.to_truncate.push_back((lane, segment, length));
            }
            (Asked::Drop(lane, segment), SpoolOutcome::Failed(_)) => {
                self.to_drop.push_back((lane, segment));
            }
            (Asked::Read(lane, segment, why), SpoolOutcome::Read(bytes)) => {
                self.logs[lane as usize].read_failures = 0;
                self.have_read(lane, segment, why, &bytes, now);
            }
            (Asked::Read(lane, segment, why), SpoolOutcome::Failed(_)) => {
                let log = &mut self.logs[lane as usize];
                log.read_failures += 1;
                if log.read_failures >= READ_TRIES_MAX {
                    log.read_failures = 0;
                    self.have_read(lane, segment, why, &[], now);
                } else {
                    match why {
                        ReadFor::Sending => log.is_reading = false,
                        ReadFor::Eviction => self.is_evicting = false,
                    }
                }
            }
            (
                asked,
                outcome @ (SpoolOutcome::Written
                | SpoolOutcome::Truncated
                | SpoolOutcome::Read(_)
                | SpoolOutcome::Dropped),
            ) => panic!("the disk answered {asked:?} with {outcome:?}"),
        }
    }

    /// Nobody knows what a failed write left: the files get their lengths back, and it is written
    /// again.
    fn take_back_write(&mut self) {
        for (lane, before) in self.writing.take().into_iter().flatten() {
            let log = &mut self.logs[lane as usize];
            let after = log.segments.pop_back().expect("it was written to");
            let length = before.map_or(0, |segment| segment.bytes);
            self.bytes -= after.bytes - length;
            self.to_truncate.push_back((lane, after.first, length));
            log.segments.extend(before);
            while let Some(item) = log.writing.pop_back() {
                log.pending.push_front(item);
            }
        }
    }

    fn have_read(
        &mut self,
        lane: Lane,
        segment: Segment,
        why: ReadFor,
        bytes: &[u8],
        now: Instant,
    ) {
        let found = scan(lane, segment.first, bytes, Ending::Durable);
        match why {
            ReadFor::Sending => self.load(lane, segment, found),
            ReadFor::Eviction => self.give_up(lane, segment, found, now),
        }
    }

    fn load(&mut self, lane: Lane, segment: Segment, found: Scan) {
        let mut missing = 0;
        let log = &mut self.logs[lane as usize];
        log.is_reading = false;
        for item in found.items {
            if item.number < log.window.end() || item.number > segment.last {
                continue;
            }
            missing += item.number - log.window.end();
            log.window.skip_to(item.number);
            log.window.push(match item.content {
                Content::Entry { about, bytes } => Some(Slot::new(about, bytes, true)),
                Content::Mark(_) => None,
            });
        }
        missing += (segment.last + 1).saturating_sub(log.window.end());
        log.window.skip_to(segment.last + 1);
        self.damaged(lane, missing);
        self.fill(lane);
    }

    /// A segment goes; what nobody answered for is named, meter by meter.
    fn give_up(&mut self, lane: Lane, segment: Segment, found: Scan, now: Instant) {
        self.is_evicting = false;
        let log = &mut self.logs[lane as usize];
        let mut gaps: BTreeMap<Whose, Gap> = BTreeMap::new();
        let (mut expected, mut missing) = (segment.first.max(log.window.first()), 0);
        for item in found.items {
            if item.number < expected {
                continue;
            }
            missing += item.number - expected;
            expected = item.number + 1;
            let Content::Entry { about, .. } = item.content else {
                continue;
            };
            let is_open =
                item.number >= log.window.end() || log.window.remove(item.number).is_some();
            if is_open {
                let gap = gaps.entry(about.whose).or_insert(Gap {
                    lane,
                    cause: GapCause::Full,
                    whose: about.whose,
                    from: Some(about.time),
                    to: Some(about.time),
                    entries: 0,
                });
                gap.from = gap.from.map(|from| from.min(about.time));
                gap.to = gap.to.map(|to| to.max(about.time));
                gap.entries += 1;
            }
        }
        missing += (segment.last + 1).saturating_sub(expected);
        log.window.skip_to(segment.last + 1);
        let gone = log
            .segments
            .pop_front_if(|first| first.first == segment.first);
        if let Some(gone) = gone {
            self.bytes -= gone.bytes;
            self.to_drop.push_back((lane, gone.first));
        }
        for gap in gaps.into_values() {
            self.name(gap);
        }
        self.damaged(lane, missing);
        self.fill(lane);
        self.settled(lane, now);
    }

    fn damaged(&mut self, lane: Lane, entries: u64) {
        if entries > 0 {
            self.name(Gap {
                lane,
                cause: GapCause::Damaged,
                whose: Whose::Unknown,
                from: None,
                to: None,
                entries,
            });
        }
    }
}
