//! Sealed days on their way to the archive, one at a time, oldest first.

use std::collections::VecDeque;
use std::time::Duration;

use gridloom_core::{Day, Instant, IntervalReading, MeterId, Period};
use gridloom_store::block::{self, BlockKey};

/// The first bytes of an archive object.
const MAGIC: &[u8; 4] = b"GLA1";

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Idle,
    /// The query with this ticket is under way, or about to be asked.
    Reading {
        day: Day,
        ticket: Option<u64>,
    },
    /// The object with this ticket is on its way, or about to be sent.
    Sending {
        day: Day,
        ticket: Option<u64>,
        /// Number of the part that is on its way, and that one and all after it.
        part: u16,
        parts: VecDeque<Vec<u8>>,
    },
}

/// Which days the archive still lacks. A day is sent whole, under a name that it keeps, so sending
/// it twice changes nothing.
#[derive(Debug)]
pub(super) struct ArchiveQueue {
    period: Period,
    /// Days before this one are in the archive.
    archived_before: Day,
    /// Days before this one are sealed.
    sealed_before: Day,
    step: Step,
    /// After a failure nothing is tried before this.
    retry_at: Option<Instant>,
    progress: Option<Day>,
}

impl ArchiveQueue {
    /// An object is closed when it has grown to this; far below what one envelope carries.
    const PART_BYTES: usize = 512 * 1024;

    /// How long a failed query or object waits before it is tried again.
    const RETRY_AFTER: Duration = Duration::from_secs(5);

    pub(super) fn new(period: Period, archived_before: Day, sealed_before: Day) -> Self {
        Self {
            period,
            archived_before,
            sealed_before,
            step: Step::Idle,
            retry_at: None,
            progress: None,
        }
    }

    /// Days before `before` are sealed.
    pub(super) fn sealed(&mut self, before: Day) {
        self.sealed_before = self.sealed_before.max(before);
        self.start();
    }

    /// Readings came late for a day: if it is in the archive, it goes there again.
    pub(super) fn reopened(&mut self, day: Day) {
        if day < self.archived_before {
            self.archived_before = day;
            self.progress = Some(day);
            self.step = Step::Idle;
            self.start();
        }
    }

    /// A new link: what was on its way may be lost.
    pub(super) fn link_up(&mut self) {
        self.retry_at = None;
        if let Step::Sending { ticket, .. } = &mut self.step {
            *ticket = None;
        }
    }

    /// When to try again after a failure.
    pub(super) fn retry_at(&self) -> Option<(Instant, &'static str)> {
        self.retry_at.map(|at| (at, "retry the archive"))
    }

    /// The day to query now.
    pub(super) fn next_query(&mut self, now: Instant) -> Option<Day> {
        if self.is_resting(now) {
            return None;
        }
        match self.step {
            Step::Reading { day, ticket: None } => Some(day),
            Step::Reading { .. } | Step::Sending { .. } | Step::Idle => None,
        }
    }

    pub(super) fn asked(&mut self, asked: u64) {
        if let Step::Reading { ticket, .. } = &mut self.step {
            *ticket = Some(asked);
        }
    }

    /// A query is answered; says whether it was this queue's.
    pub(super) fn handle_readings(&mut self, answered: u64, readings: &[IntervalReading]) -> bool {
        match self.step {
            Step::Reading { day, ticket } if ticket == Some(answered) => {
                self.step = Step::Sending {
                    day,
                    ticket: None,
                    part: 0,
                    parts: encode_parts(self.period, day, readings),
                };
                true
            }
            Step::Reading { .. } | Step::Sending { .. } | Step::Idle => false,
        }
    }

    /// A query failed; if it was this queue's, it is asked again.
    pub(super) fn handle_failed(&mut self, failed: u64, now: Instant) {
        if let Step::Reading { ticket, .. } = &mut self.step
            && *ticket == Some(failed)
        {
            *ticket = None;
            self.retry_at = Some(now + Self::RETRY_AFTER);
        }
    }

    /// The object to send now: its name and content.
    pub(super) fn next_object(&mut self, now: Instant) -> Option<(String, Vec<u8>)> {
        if self.is_resting(now) {
            return None;
        }
        match &self.step {
            Step::Sending {
                day,
                ticket: None,
                part,
                parts,
            } => parts
                .front()
                .map(|bytes| (object_name(*day, *part), bytes.clone())),
            Step::Reading { .. } | Step::Sending { .. } | Step::Idle => None,
        }
    }

    pub(super) fn sent(&mut self, sent: u64) {
        if let Step::Sending { ticket, .. } = &mut self.step {
            *ticket = Some(sent);
        }
    }

    /// The archive answered.
    pub(super) fn handle_stored(&mut self, answered: u64, stored: bool, now: Instant) {
        let Step::Sending {
            day,
            ticket,
            part,
            parts,
        } = &mut self.step
        else {
            return;
        };
        if *ticket != Some(answered) {
            return;
        }
        if stored && parts.len() > 1 {
            parts.pop_front();
            *part += 1;
            *ticket = None;
        } else if stored {
            self.archived_before = day.next();
            self.progress = Some(self.archived_before);
            self.step = Step::Idle;
            self.start();
        } else {
            // The archive says in its own log what failed.
            *ticket = None;
            self.retry_at = Some(now + Self::RETRY_AFTER);
        }
    }

    /// The day before which all is archived, if that is news to the memory.
    pub(super) fn take_progress(&mut self) -> Option<Day> {
        self.progress.take()
    }

    pub(super) fn archived_before(&self) -> Day {
        self.archived_before
    }

    fn is_resting(&mut self, now: Instant) -> bool {
        self.retry_at.take_if(|at| *at <= now);
        self.retry_at.is_some()
    }

    fn start(&mut self) {
        if self.step == Step::Idle && self.archived_before < self.sealed_before {
            self.step = Step::Reading {
                day: self.archived_before,
                ticket: None,
            };
        }
    }
}

fn object_name(day: Day, part: u16) -> String {
    let (year, month, _) = day.ymd();
    format!("readings/{year:04}/{month:02}/{day}.{part:03}.gla")
}

/// A day in objects of about [`ArchiveQueue::PART_BYTES`]: magic, period, day, then per meter its
/// number, the length of its block, and the block. A day without readings is one empty object.
fn encode_parts(period: Period, day: Day, readings: &[IntervalReading]) -> VecDeque<Vec<u8>> {
    let mut header = MAGIC.to_vec();
    header.extend(period.as_secs().to_be_bytes());
    header.extend(day.epoch_days().to_be_bytes());
    let mut parts = VecDeque::new();
    let mut part = header.clone();
    for readings in readings.chunk_by(|a, b| a.meter == b.meter) {
        let meter: MeterId = readings[0].meter;
        let block = block::encode(BlockKey { meter, period, day }, readings);
        part.extend(meter.0.to_be_bytes());
        part.extend(
            u32::try_from(block.len())
                .expect("a day's block is far below 4 GiB")
                .to_be_bytes(),
        );
        part.extend(block);
        if part.len() >= ArchiveQueue::PART_BYTES {
            parts.push_back(std::mem::replace(&mut part, header.clone()));
        }
    }
    if parts.is_empty() || part.len() > header.len() {
        parts.push_back(part);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Period = Period::HALF_HOUR;

    fn day(number: i32) -> Day {
        Day::from_epoch_days(number)
    }

    #[test]
    fn a_large_day_goes_in_parts() {
        let reading = |meter: u32, slot: u16| IntervalReading {
            meter: MeterId(meter),
            period: PERIOD,
            end: PERIOD.end_of_slot(day(5), slot),
            status: gridloom_core::ReadingStatus::GOOD,
            // Values without a pattern, so that nothing compresses.
            values: gridloom_core::IntervalValues::from_array(std::array::from_fn(|channel| {
                let seed = u64::from(meter) << 32 | u64::from(slot) << 8 | channel as u64;
                (gridloom_core::Seed::new(seed).child("value").get() >> 1) as i64
            })),
            import_register: gridloom_core::MilliwattHours::ZERO,
        };
        let readings: Vec<_> = (0..400)
            .flat_map(|meter| (0..48).map(move |slot| reading(meter, slot)))
            .collect();
        let parts = encode_parts(PERIOD, day(5), &readings);
        assert!(parts.len() > 1);
        assert!(parts.iter().all(|part| part.len() < 1024 * 1024));
        assert_eq!(encode_parts(PERIOD, day(5), &[]).len(), 1);
    }

    #[test]
    fn a_reopened_day_goes_again_with_all_after_it() {
        let mut queue = ArchiveQueue::new(PERIOD, day(9), day(9));
        queue.reopened(day(9));
        assert_eq!(queue.next_query(Instant::ZERO), None, "it is not there yet");
        queue.reopened(day(7));
        assert_eq!(queue.next_query(Instant::ZERO), Some(day(7)));
        assert_eq!(queue.take_progress(), Some(day(7)));
    }

    #[test]
    fn days_go_one_by_one_and_failures_rest() {
        let mut queue = ArchiveQueue::new(PERIOD, day(5), day(5));
        let start = Instant::ZERO;
        assert_eq!(queue.next_query(start), None);
        queue.sealed(day(7));
        assert_eq!(queue.next_query(start), Some(day(5)));
        queue.asked(1);
        assert_eq!(queue.next_query(start), None);
        queue.handle_failed(1, start);
        assert_eq!(queue.next_query(start), None, "it rests");
        let later = start + ArchiveQueue::RETRY_AFTER;
        assert_eq!(queue.next_query(later), Some(day(5)));
        queue.asked(2);
        assert!(!queue.handle_readings(1, &[]), "an old answer is not its");
        assert!(queue.handle_readings(2, &[]));
        let (name, _) = queue.next_object(later).unwrap();
        assert_eq!(name, "readings/1970/01/1970-01-06.000.gla");
        queue.sent(3);
        queue.link_up();
        assert!(
            queue.next_object(later).is_some(),
            "a new link sends it again"
        );
        queue.sent(4);
        queue.handle_stored(3, true, later);
        assert_eq!(queue.take_progress(), None, "an old answer is not its");
        queue.handle_stored(4, true, later);
        assert_eq!(queue.take_progress(), Some(day(6)));
        assert_eq!(queue.next_query(later), Some(day(6)));
    }
}
