//! What an edge keeps for the utility until that has it durable, and what its gateways are told.
//!
//! A gateway is told that a frame is taken once everything that came of it is durable here. For
//! that the order on disk matters: a reading is written before the counter of its packet, so a
//! crash between the two leaves a packet that is believed again, never a reading that is gone.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use gridloom_core::{Instant, Now};
use gridloom_edge::{AlarmKey, Edge, MeterAlarm, ScreenedReading};
use gridloom_headend::ReadingKey;
use gridloom_store::Spool;
use gridloom_store::spool::{About, Delivery, Gap, Lane, SpoolOutcome, Whose};

use crate::delay::{SAMPLES_WAITING_MAX, Shares};
use crate::envelope::carried::{decode_alarm, decode_screened, encode_alarm, encode_screened};
use crate::envelope::{LIST_MAX, Message};
use crate::gap_book::GapBook;
use crate::node::{DiskRequest, LinkId};

/// Readings and alarms that are recognised when they come again. Beyond it a repetition is kept
/// once more, which the utility notices.
pub(crate) const KNOWN_MAX: usize = 1_048_576;

/// Alarms of one message: a quarter of a megabyte at most. Further ones go in the next.
const ALARMS_PER_MESSAGE_MAX: usize = 256;

/// Of a reading that waits: its number, and what tells it from one that contradicts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiting {
    number: u64,
    values: u64,
}

/// Frames of a gateway that it keeps until it is told that they are taken.
#[derive(Debug, Clone, Copy)]
struct Owed {
    first: u64,
    count: u16,
    /// Entries that the spool had taken when all of them had been looked at; `None` until then.
    after: Option<u64>,
    /// Something of them went into the quarantine.
    has_held: bool,
}

/// Entries that go up together, and their numbers.
type Entries = (Vec<Arc<[u8]>>, Vec<u64>);

/// The edge's spool, and who waits for what in it.
#[derive(Debug)]
pub(crate) struct Keeping {
    spool: Spool,
    readings: BTreeMap<ReadingKey, Vec<Waiting>>,
    alarms: BTreeMap<AlarmKey, u64>,
    owed: BTreeMap<LinkId, VecDeque<Owed>>,
    /// Cells that are written after what the spool had taken when they were asked for.
    cells: VecDeque<(u64, DiskRequest)>,
    /// What is known so far of the delay of measured readings, and when they came, by number.
    samples: BTreeMap<u64, (Shares, Instant)>,
    gaps: GapBook,
    /// Gaps of gateways, which are told once so many entries are durable.
    gaps_owed: VecDeque<(u64, LinkId, Vec<Gap>)>,
}

impl Keeping {
    pub(crate) fn new(spool: Spool) -> Self {
        Self {
            spool,
            readings: BTreeMap::new(),
            alarms: BTreeMap::new(),
            owed: BTreeMap::new(),
            cells: VecDeque::new(),
            samples: BTreeMap::new(),
            gaps: GapBook::default(),
            gaps_owed: VecDeque::new(),
        }
    }

    pub(crate) fn spool(&self) -> &Spool {
        &self.spool
    }

    /// A reading waits for the utility. One that waits already is only sent again; one that
    /// contradicts it waits beside it.
    pub(crate) fn accept(
        &mut self,
        reading: &ScreenedReading,
        gateway: Option<Duration>,
        now: Instant,
    ) {
        let (key, values) = identity(reading);
        let waiting = self.readings.get(&key);
        if let Some(known) = waiting.and_then(|all| all.iter().find(|it| it.values == values)) {
            self.spool.nudge(Lane::Readings, known.number, now);
            return;
        }
        let about = About {
            whose: Whose::Meter(key.meter),
            time: key.end,
        };
        match self
            .spool
            .append(Lane::Readings, about, &encode_screened(reading))
        {
            Ok(number) => {
                self.know(key, Waiting { number, values });
                if let (Some(gateway), Some(received)) = (gateway, reading.link.received)
                    && self.samples.len() < SAMPLES_WAITING_MAX
                {
                    let edge = Duration::ZERO;
                    let shares = Shares {
                        key,
                        received,
                        gateway,
                        edge,
                    };
                    self.samples.insert(number, (shares, now));
                }
            }
            Err(error) => tracing::warn!(%error, meter = %key.meter, "a reading is given up"),
        }
    }

    fn know(&mut self, key: ReadingKey, waiting: Waiting) {
        if self.readings.len() < KNOWN_MAX || self.readings.contains_key(&key) {
            self.readings.entry(key).or_default().push(waiting);
        }
    }

    /// An alarm waits for the head-end; one that waits already is sent again.
    pub(crate) fn alarm(&mut self, alarm: &MeterAlarm, now: Instant) {
        if let Some(number) = self.alarms.get(&alarm.key) {
            self.spool.nudge(Lane::Alarms, *number, now);
            return;
        }
        let about = About {
            whose: Whose::Meter(alarm.key.meter),
            time: alarm.key.time,
        };
        match self.spool.append(Lane::Alarms, about, &encode_alarm(alarm)) {
            Ok(number) if self.alarms.len() < KNOWN_MAX => {
                self.alarms.insert(alarm.key, number);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, meter = %alarm.key.meter, "an alarm is given up");
            }
        }
    }

    /// The utility has a reading durable.
    pub(crate) fn reading_stored(&mut self, key: ReadingKey, now: Instant) {
        for waiting in self.readings.remove(&key).into_iter().flatten() {
            self.spool.acknowledge(Lane::Readings, waiting.number, now);
            self.samples.remove(&waiting.number);
        }
    }

    /// The head-end has an alarm durable.
    pub(crate) fn alarm_stored(&mut self, key: AlarmKey, now: Instant) {
        if let Some(number) = self.alarms.remove(&key) {
            self.spool.acknowledge(Lane::Alarms, number, now);
        }
    }

    /// A gateway had to give frames up. Titles that are registered here become meters; nobody else
    /// is worth a gap.
    pub(crate) fn gaps_below(&mut self, link: LinkId, gaps: Vec<Gap>, edge: &Edge, now: Now) {
        for gap in &gaps {
            let whose = match gap.whose {
                Whose::Title(title) => match edge.meter_of(title) {
                    Some(meter) => Whose::Meter(meter),
                    None => continue,
                },
                known @ (Whose::Meter(_) | Whose::Unknown) => known,
            };
            let gap = Gap { whose, ..*gap };
            self.gaps.name(&mut self.spool, gap, (now.instant, now.utc));
        }
        self.gaps_owed.push_back((self.spool.taken(), link, gaps));
    }

    /// The head-end sees to these gaps.
    pub(crate) fn gaps_taken(&mut self, gaps: &[Gap], now: Instant) {
        self.gaps.taken(&mut self.spool, gaps, now);
    }

    /// What was given up, and is told until somebody sees to it.
    pub(crate) fn gaps(&self) -> &GapBook {
        &self.gaps
    }

    /// Gateways whose gaps are durable here.
    pub(crate) fn gaps_to_tell(&mut self) -> Vec<(LinkId, Vec<Gap>)> {
        let durable = self.spool.durable();
        let mut told = Vec::new();
        while let Some((_, link, gaps)) =
            self.gaps_owed.pop_front_if(|(after, ..)| *after <= durable)
        {
            told.push((link, gaps));
        }
        told
    }

    /// The edge wants a cell written: after what came before it.
    pub(crate) fn remember(&mut self, request: DiskRequest) {
        self.cells.push_back((self.spool.taken(), request));
    }

    /// Frames came that their gateway keeps.
    pub(crate) fn came(&mut self, link: LinkId, first: u64, count: u16, has_held: bool) {
        self.owed.entry(link).or_default().push_back(Owed {
            first,
            count,
            after: None,
            has_held,
        });
    }

    /// A gateway is gone; it sends again what it was not told.
    pub(crate) fn gateway_gone(&mut self, link: LinkId) {
        self.owed.remove(&link);
        self.gaps_owed.retain(|(_, owed, _)| *owed != link);
    }

    /// The utility is gone, or back: what it did not answer for goes up again.
    pub(crate) fn rewind(&mut self) {
        self.spool.rewind();
    }

    pub(crate) fn handle_outcome(&mut self, outcome: SpoolOutcome, now: Instant) {
        if let SpoolOutcome::Failed(error) = &outcome {
            tracing::error!(%error, "the edge's spool; again soon");
        }
        self.spool.handle(outcome, now);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.spool.handle_timeout(now);
    }

    /// The envelopes that are to go up now, alarms first.
    pub(crate) fn sendings(&mut self, transit: Duration, now: Instant) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while let Some((some, _)) = self.batch(Lane::Alarms, ALARMS_PER_MESSAGE_MAX, now) {
            frames.push(Message::alarms_of(&some));
        }
        frames.extend(self.gaps.sendings(&mut self.spool, now));
        while let Some((some, numbers)) = self.batch(Lane::Readings, LIST_MAX, now) {
            let delays = self.delays_of(&numbers, transit, now);
            if !delays.is_empty() {
                frames.push(Message::Delays(delays).encode());
            }
            frames.push(Message::screened_of(&some));
        }
        frames
    }

    /// How long the measured ones of these were under way, until they are at the utility.
    fn delays_of(&self, numbers: &[u64], transit: Duration, now: Instant) -> Vec<Shares> {
        if self.samples.is_empty() {
            return Vec::new();
        }
        let measured = numbers.iter().filter_map(|number| self.samples.get(number));
        measured
            .map(|(shares, came)| Shares {
                edge: now.since(*came) + transit,
                ..*shares
            })
            .collect()
    }

    /// The next entries of a lane, and their numbers.
    fn batch(&mut self, lane: Lane, most: usize, now: Instant) -> Option<Entries> {
        let (mut some, mut numbers) = (Vec::new(), Vec::new());
        while some.len() < most
            && let Some(delivery) = self.spool.next(lane, now)
        {
            if delivery.is_recovered && !self.recognise(&delivery) {
                // Its checksum held, so an older program wrote it: nobody above could read it.
                tracing::error!(number = delivery.number, "an entry of another format");
                self.spool.acknowledge(lane, delivery.number, now);
                continue;
            }
            numbers.push(delivery.number);
            some.push(delivery.bytes);
        }
        (!some.is_empty()).then_some((some, numbers))
    }

    /// What comes back from disk is waited for again.
    fn recognise(&mut self, delivery: &Delivery) -> bool {
        let number = delivery.number;
        match delivery.lane {
            Lane::Alarms => match decode_alarm(&delivery.bytes) {
                Ok(alarm) => {
                    self.alarms.insert(alarm.key, number);
                    true
                }
                Err(_) => false,
            },
            Lane::Readings => match decode_screened(&delivery.bytes) {
                Ok(reading) => {
                    let (key, values) = identity(&reading);
                    let known = self.readings.entry(key).or_default();
                    if !known.iter().any(|waiting| waiting.number == number) {
                        known.push(Waiting { number, values });
                    }
                    true
                }
                Err(_) => false,
            },
            Lane::Commands | Lane::Prices | Lane::Firmware => false,
        }
    }

    /// What the disk is to do now, in this order.
    pub(crate) fn requests(&mut self, now: Now) -> Vec<DiskRequest> {
        self.name_given_up(now);
        let mut requests = Vec::new();
        while let Some(effect) = self.spool.poll_effect(now.instant) {
            requests.push(DiskRequest::Spool(effect));
        }
        // While the disk refuses the spool, counters are kept all the same.
        let through = match self.spool.is_failing() {
            true => u64::MAX,
            false => self.spool.issued(),
        };
        while let Some((_, cell)) = self.cells.pop_front_if(|(after, _)| *after <= through) {
            requests.push(cell);
        }
        requests
    }

    /// What was given up is not waited for any more, and named.
    fn name_given_up(&mut self, now: Now) {
        let at = (now.instant, now.utc);
        if !self.gaps.take_from(&mut self.spool, at) {
            return;
        }
        let spool = &self.spool;
        self.readings.retain(|_, waiting| {
            waiting.retain(|it| spool.holds(Lane::Readings, it.number));
            !waiting.is_empty()
        });
        self.alarms
            .retain(|_, number| spool.holds(Lane::Alarms, *number));
        self.samples
            .retain(|number, _| spool.holds(Lane::Readings, *number));
    }

    /// Which frames of which gateway are taken now; of those that are held only if `may_tell_held`.
    pub(crate) fn taken(&mut self, may_tell_held: bool) -> Vec<(LinkId, u64, u16)> {
        let (taken, durable) = (self.spool.taken(), self.spool.durable());
        let mut told = Vec::new();
        for (link, owed) in &mut self.owed {
            for frames in owed.iter_mut().rev().take_while(|it| it.after.is_none()) {
                frames.after = Some(taken);
            }
            while let Some(frames) = owed.pop_front_if(|it| {
                it.after.is_some_and(|after| after <= durable) && (may_tell_held || !it.has_held)
            }) {
                told.push((*link, frames.first, frames.count));
            }
        }
        told
    }
}

fn identity(reading: &ScreenedReading) -> (ReadingKey, u64) {
    let of = &reading.accepted.reading;
    let key = ReadingKey {
        meter: of.meter,
        period: of.period,
        end: of.end,
    };
    let mut hasher = DefaultHasher::new();
    of.status.0.hash(&mut hasher);
    of.values.to_array().hash(&mut hasher);
    of.import_register.get().hash(&mut hasher);
    (key, hasher.finish())
}
