//! The open-day head: what the journal holds and the database does not, in memory.

use core::ops::RangeInclusive;
use std::collections::{BTreeMap, VecDeque};

use gridloom_core::{Day, IntervalReading, MeterId, Period, UtcTime};

use crate::effect::MeterDay;
use crate::merge::EVIDENCE_PER_INTERVAL_MAX;
use crate::record::{Lsn, PricePoint, Record, StoredReading, place_of};

/// Readings, prices and contradictions that are not in the database yet.
#[derive(Debug, Default)]
pub(crate) struct Head {
    days: BTreeMap<Day, BTreeMap<(MeterId, Period), Vec<Entry>>>,
    prices: BTreeMap<(Period, UtcTime), (Lsn, PricePoint)>,
    conflicts: BTreeMap<(MeterId, Period, UtcTime, Lsn), (Day, StoredReading)>,
    readings: usize,
}

#[derive(Debug)]
struct Entry {
    slot: u32,
    lsn: Lsn,
    stored: StoredReading,
}

/// What became of an offered record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offered {
    /// It is open now.
    New,
    /// It is open now, as evidence against the reading that was first.
    Conflict,
    /// The same is open since this record.
    Same(Lsn),
    /// The interval has another price.
    PriceDecided(PricePoint),
    /// There is no room for another contradiction.
    ConflictsFull,
}

/// Which open records a commit takes: those up to `through` about intervals before `before`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) before: Day,
    pub(crate) through: Lsn,
}

impl Scope {
    /// After every day there is.
    pub(crate) const DAY_END: Day = Day::from_epoch_days(i32::MAX);

    fn has(&self, lsn: Lsn, day: Day) -> bool {
        lsn <= self.through && day < self.before
    }
}

/// Records taken for one commit; they stay open until it is durable.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    pub(crate) meter_days: Vec<MeterDay>,
    pub(crate) conflicts: Vec<StoredReading>,
    pub(crate) prices: Vec<PricePoint>,
    /// The records' numbers.
    pub(crate) lsns: Vec<Lsn>,
    /// Whether nothing else is in the scope.
    pub(crate) complete: bool,
}

impl Head {
    /// Opens a record whose end is on the grid, unless it is there already.
    pub(crate) fn offer(&mut self, lsn: Lsn, record: &Record, conflicts_max: usize) -> Offered {
        match record {
            Record::Reading(stored) => self.offer_reading(lsn, stored, conflicts_max),
            Record::Price(point) => {
                let (since, decided) = *self
                    .prices
                    .entry((point.period, point.end))
                    .or_insert((lsn, *point));
                if since == lsn {
                    Offered::New
                } else if decided == *point {
                    Offered::Same(since)
                } else {
                    Offered::PriceDecided(decided)
                }
            }
        }
    }

    fn offer_reading(&mut self, lsn: Lsn, stored: &StoredReading, conflicts_max: usize) -> Offered {
        let reading = &stored.reading;
        let (day, slot) =
            place_of(reading.period, reading.end).expect("the caller checked the grid");
        let entries = self
            .days
            .entry(day)
            .or_default()
            .entry((reading.meter, reading.period))
            .or_default();
        let entry = Entry {
            slot,
            lsn,
            stored: *stored,
        };
        // Almost always the latest interval of the day.
        let place = match entries.last() {
            Some(last) if last.slot >= slot => entries.binary_search_by_key(&slot, |e| e.slot),
            _ => Err(entries.len()),
        };
        let first = match place {
            Err(index) => {
                entries.insert(index, entry);
                self.readings += 1;
                return Offered::New;
            }
            Ok(index) => &entries[index],
        };
        if first.stored.reading == *reading {
            return Offered::Same(first.lsn);
        }
        let identity = |lsn| (reading.meter, reading.period, reading.end, lsn);
        let others = self
            .conflicts
            .range(identity(Lsn::ZERO)..=identity(Lsn(u64::MAX)));
        let known = others
            .clone()
            .find(|(_, (_, other))| other.reading == *reading);
        if let Some((&(.., since), _)) = known {
            return Offered::Same(since);
        }
        if self.conflicts.len() >= conflicts_max || others.count() >= EVIDENCE_PER_INTERVAL_MAX {
            return Offered::ConflictsFull;
        }
        self.conflicts.insert(identity(lsn), (day, *stored));
        Offered::Conflict
    }

    /// Number of open records of any kind.
    pub(crate) fn len(&self) -> usize {
        self.readings + self.prices.len() + self.conflicts.len()
    }

    pub(crate) const fn readings(&self) -> usize {
        self.readings
    }

    pub(crate) fn prices(&self) -> usize {
        self.prices.len()
    }

    /// Copies what a commit takes: all prices and contradictions of the scope, and meter-days until
    /// they hold `readings_max` readings.
    pub(crate) fn select(&self, scope: Scope, readings_max: usize) -> Selection {
        let mut selection = Selection::default();
        for (&(.., lsn), (day, stored)) in &self.conflicts {
            if scope.has(lsn, *day) {
                selection.conflicts.push(*stored);
                selection.lsns.push(lsn);
            }
        }
        for (lsn, point) in self.prices.values() {
            if scope.has(*lsn, point.period.day_of(point.end)) {
                selection.prices.push(*point);
                selection.lsns.push(*lsn);
            }
        }
        let mut count = 0;
        for (&day, meters) in self.days.range(..scope.before) {
            for (&(meter, period), entries) in meters {
                let taken = entries.iter().filter(|e| e.lsn <= scope.through);
                if taken.clone().next().is_none() {
                    continue;
                }
                if count >= readings_max {
                    return selection;
                }
                let readings: Vec<_> = taken.clone().map(|e| e.stored).collect();
                selection.lsns.extend(taken.map(|e| e.lsn));
                count += readings.len();
                selection.meter_days.push(MeterDay {
                    meter,
                    period,
                    day,
                    readings,
                });
            }
        }
        selection.complete = true;
        selection
    }

    /// Forgets what a commit took in `scope`, now that it is durable.
    pub(crate) fn forget(&mut self, scope: Scope, meter_days: &[(Day, MeterId, Period)]) {
        self.conflicts
            .retain(|&(.., lsn), (day, _)| !scope.has(lsn, *day));
        self.prices
            .retain(|_, (lsn, point)| !scope.has(*lsn, point.period.day_of(point.end)));
        for (day, meter, period) in meter_days {
            let Some(meters) = self.days.get_mut(day) else {
                continue;
            };
            if let Some(entries) = meters.get_mut(&(*meter, *period)) {
                let before = entries.len();
                entries.retain(|e| e.lsn > scope.through);
                self.readings -= before - entries.len();
                if entries.is_empty() {
                    meters.remove(&(*meter, *period));
                }
            }
            if meters.is_empty() {
                self.days.remove(day);
            }
        }
    }

    pub(crate) fn open_readings(
        &self,
        meter: MeterId,
        period: Period,
        days: RangeInclusive<Day>,
    ) -> impl Iterator<Item = IntervalReading> {
        // An empty range would make BTreeMap::range panic.
        let days = (!days.is_empty()).then(|| self.days.range(days));
        days.into_iter()
            .flatten()
            .filter_map(move |(_, meters)| meters.get(&(meter, period)))
            .flatten()
            .map(|entry| entry.stored.reading)
    }

    pub(crate) fn open_days(&self) -> impl Iterator<Item = Day> {
        self.days.keys().copied()
    }

    pub(crate) fn open_prices(&self, period: Period) -> impl Iterator<Item = PricePoint> {
        let all =
            (period, UtcTime::from_millis(i64::MIN))..=(period, UtcTime::from_millis(i64::MAX));
        self.prices.range(all).map(|(_, (_, point))| *point)
    }

    pub(crate) fn open_conflicts(&self) -> impl Iterator<Item = StoredReading> {
        self.conflicts.values().map(|(_, stored)| *stored)
    }
}

/// Which records are open, one flag per number since the oldest open one.
#[derive(Debug)]
pub(crate) struct Window {
    base: Lsn,
    open: VecDeque<Openness>,
}

/// Whether a record still has to reach the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Openness {
    Open,
    Closed,
}

impl Window {
    /// A window whose next record is `base`.
    pub(crate) const fn new(base: Lsn) -> Self {
        Self {
            base,
            open: VecDeque::new(),
        }
    }

    /// The number of the next record.
    pub(crate) fn next(&self) -> Lsn {
        Lsn(self.base.0 + self.open.len() as u64)
    }

    /// Gives the next number to a record.
    pub(crate) fn push(&mut self, openness: Openness) {
        self.open.push_back(openness);
    }

    /// Marks records as open or not.
    pub(crate) fn mark(&mut self, lsns: &[Lsn], openness: Openness) {
        for lsn in lsns {
            let index = usize::try_from(lsn.0 - self.base.0).expect("the window is in memory");
            self.open[index] = openness;
        }
    }

    /// The first number that is open or not given yet: everything below is in the database.
    pub(crate) fn first_open(&self) -> Lsn {
        let closed = self
            .open
            .iter()
            .take_while(|o| **o == Openness::Closed)
            .count();
        Lsn(self.base.0 + closed as u64)
    }

    /// Forgets the closed front.
    pub(crate) fn shrink(&mut self) {
        let first = self.first_open();
        let closed = usize::try_from(first.0 - self.base.0).expect("the window is in memory");
        self.open.drain(..closed);
        self.base = first;
    }
}
