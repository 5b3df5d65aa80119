//! Readings and a disk that the tests share.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::collections::BTreeMap;

use gridloom_core::{
    Day, IntervalReading, IntervalValues, MeterId, MilliwattHours, Period, Price, ReadingStatus,
    SystemTitle, Watts,
};
use gridloom_store::{Backend, Effect, Outcome, PricePoint, Record, StoredReading};

pub(crate) const PERIOD: Period = Period::HOUR;
pub(crate) const DAY: Day = Day::from_epoch_days(20_000);

pub(crate) fn day(offset: i32) -> Day {
    Day::from_epoch_days(DAY.epoch_days() + offset)
}

/// The reading of a slot of a day; `watt_hours` tells contradictions apart.
pub(crate) fn stored(meter: u32, day_offset: i32, slot: u16, watt_hours: i64) -> StoredReading {
    StoredReading {
        reading: IntervalReading {
            meter: MeterId(meter),
            period: PERIOD,
            end: PERIOD.end_of_slot(day(day_offset), slot),
            status: ReadingStatus::GOOD,
            values: IntervalValues::from_array([watt_hours * 1_000, 0, 7_000, 0, 0, 0, 9, 230_000]),
            import_register: MilliwattHours::new(watt_hours * 3_000),
        },
        title: SystemTitle::new(*b"GLM", u64::from(meter)),
        counter: u32::from(slot),
    }
}

pub(crate) fn record(meter: u32, day_offset: i32, slot: u16, watt_hours: i64) -> Record {
    Record::Reading(stored(meter, day_offset, slot, watt_hours))
}

pub(crate) fn price(day_offset: i32, slot: u16, micro: i64) -> PricePoint {
    PricePoint {
        end: PERIOD.end_of_slot(day(day_offset), slot),
        period: PERIOD,
        price: Price::from_micro_per_kwh(micro).unwrap(),
        total: Watts::new(1_234),
        stations_on: 2,
        missing: 1,
    }
}

/// Segment files.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    pub(crate) files: BTreeMap<u64, Vec<u8>>,
}

impl Disk {
    pub(crate) fn write(&mut self, segment: u64, offset: u64, bytes: &[u8]) {
        let file = self.files.entry(segment).or_default();
        let offset = usize::try_from(offset).unwrap();
        assert_eq!(file.len(), offset, "the journal only grows");
        file.extend(bytes);
    }

    pub(crate) fn segments(&self) -> Vec<(u64, Vec<u8>)> {
        self.files.clone().into_iter().collect()
    }

    /// Carries an effect out, without fault.
    pub(crate) fn run(&mut self, effect: Effect, backend: &mut dyn Backend) -> Outcome {
        match effect {
            Effect::TruncateSegment { segment, length } => {
                let file = self.files.get_mut(&segment).unwrap();
                file.truncate(usize::try_from(length).unwrap());
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
            Effect::Commit(batch) => Outcome::Committed(backend.commit(batch).unwrap()),
            Effect::DropSegments { before } => {
                self.files.retain(|number, _| *number >= before);
                Outcome::Dropped
            }
        }
    }
}
