//! Joining new readings with a sealed day; what every back end does the same.

use std::collections::BTreeMap;

use gridloom_core::{Day, IntervalReading};

use crate::backend::{MeterRow, NAME_BYTES_MAX, READ_DAYS_MAX, StoreError, WRAPPED_KEY_BYTES_MAX};
use crate::block::{self, BlockKey};
use crate::effect::{Checkpoint, CommitReport, MeterDay};
use crate::record::{StoredReading, place_of};

/// Contradictions kept for one interval; further ones are only reported.
pub(crate) const EVIDENCE_PER_INTERVAL_MAX: usize = 16;

/// A sealed day with new readings in it.
#[derive(Debug)]
pub(crate) struct Merged {
    /// The new block; `None` if nothing was new.
    pub(crate) block: Option<Vec<u8>>,
    /// Readings in the new block.
    pub(crate) readings: u64,
    /// The slots that are new, in order.
    pub(crate) added: Vec<u32>,
    /// Readings that were there, and the same.
    pub(crate) duplicates: u64,
    /// Readings that contradict one that was there.
    pub(crate) conflicts: Vec<StoredReading>,
}

impl BlockKey {
    pub(crate) const fn of(sealed: &MeterDay) -> Self {
        Self {
            meter: sealed.meter,
            period: sealed.period,
            day: sealed.day,
        }
    }
}

/// Decodes a block that a back end holds.
pub(crate) fn decode_held(key: BlockKey, held: &[u8]) -> Result<Vec<IntervalReading>, StoreError> {
    block::decode(key, held).map_err(|error| StoreError::DamagedBlock {
        meter: key.meter,
        day: key.day,
        period_secs: key.period.as_secs(),
        error,
    })
}

/// Adds the readings of `sealed` to the block that is held for it. The first reading of an
/// interval stays.
pub(crate) fn merge(held: Option<&[u8]>, sealed: &MeterDay) -> Result<Merged, StoreError> {
    let key = BlockKey::of(sealed);
    let slot = |reading: &IntervalReading| {
        place_of(reading.period, reading.end)
            .expect("an interval's end was checked when it was appended")
            .1
    };
    let mut day: BTreeMap<u32, IntervalReading> = match held {
        Some(block) => decode_held(key, block)?
            .into_iter()
            .map(|reading| (slot(&reading), reading))
            .collect(),
        None => BTreeMap::new(),
    };
    let mut merged = Merged {
        block: None,
        readings: 0,
        added: Vec::new(),
        duplicates: 0,
        conflicts: Vec::new(),
    };
    for stored in &sealed.readings {
        let slot = slot(&stored.reading);
        match day.get(&slot) {
            None => {
                day.insert(slot, stored.reading);
                merged.added.push(slot);
            }
            Some(first) if *first == stored.reading => merged.duplicates += 1,
            Some(_) => merged.conflicts.push(*stored),
        }
    }
    merged.readings = day.len() as u64;
    if !merged.added.is_empty() {
        let readings: Vec<_> = day.into_values().collect();
        merged.block = Some(block::encode(key, &readings));
    }
    Ok(merged)
}

impl CommitReport {
    /// Counts one merged day.
    pub(crate) fn take(&mut self, merged: &Merged) {
        self.sealed += merged.added.len() as u64;
        self.blocks += u64::from(merged.block.is_some());
        self.duplicates += merged.duplicates;
        self.conflicts.extend(&merged.conflicts);
    }
}

/// Refuses a checkpoint before the one that is held: another ledger writes into this database.
pub(crate) fn check_order(held: &Checkpoint, offered: &Checkpoint) -> Result<(), StoreError> {
    if offered.through < held.through || offered.sealed_through < held.sealed_through {
        return Err(StoreError::CheckpointBackwards {
            held: held.known(),
            offered: offered.known(),
        });
    }
    Ok(())
}

/// Refuses a query over too many days.
pub(crate) fn check_days(first: Day, last: Day) -> Result<(), StoreError> {
    let days = i64::from(last.epoch_days()) - i64::from(first.epoch_days()) + 1;
    match u64::try_from(days) {
        Ok(days) if days > u64::from(READ_DAYS_MAX) => Err(StoreError::RangeTooLong { days }),
        _ => Ok(()),
    }
}

/// Refuses a registry row with a field out of bounds.
pub(crate) fn check_meter(row: &MeterRow) -> Result<(), StoreError> {
    let fields = [
        ("name", row.name.len(), NAME_BYTES_MAX),
        ("service_point", row.service_point.len(), NAME_BYTES_MAX),
        ("wrapped_ek", row.wrapped_ek.len(), WRAPPED_KEY_BYTES_MAX),
        ("wrapped_ak", row.wrapped_ak.len(), WRAPPED_KEY_BYTES_MAX),
        ("phases", usize::from(row.phases), 3),
    ];
    match fields.into_iter().find(|(_, got, max)| got > max) {
        Some((field, got, max)) => Err(StoreError::FieldOutOfBounds { field, got, max }),
        None => Ok(()),
    }
}
