//! The back end and the cells of the simulator: the same behaviour as SQLite's, in memory.

use core::ops::RangeInclusive;
use std::collections::BTreeMap;

use gridloom_core::{Day, IntervalReading, MeterId, Month, Period, UtcTime};

use crate::backend::{AuditRow, Backend, MeterRow, StoreError, Summary};
use crate::block::BlockKey;
use crate::cells::{CellStore, check_cell};
use crate::effect::{Checkpoint, CommitBatch, CommitReport};
use crate::merge::{
    EVIDENCE_PER_INTERVAL_MAX, check_days, check_meter, check_order, decode_held, merge,
};
use crate::record::{BillRow, PricePoint, StoredReading};

/// A database in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryBackend {
    blocks: BTreeMap<BlockKey, Block>,
    prices: BTreeMap<(Period, UtcTime), PricePoint>,
    bills: BTreeMap<(Month, MeterId, u32), BillRow>,
    meters: BTreeMap<MeterId, MeterRow>,
    evidence: BTreeMap<(MeterId, UtcTime, Period), Vec<StoredReading>>,
    audit: Vec<AuditRow>,
    checkpoint: Checkpoint,
}

#[derive(Debug, Clone)]
struct Block {
    version: u32,
    readings: u64,
    bytes: Vec<u8>,
}

impl MemoryBackend {
    /// An empty database.
    pub fn new() -> Self {
        Self::default()
    }

    fn keep_evidence(&mut self, stored: &StoredReading) {
        let reading = &stored.reading;
        let kept = self
            .evidence
            .entry((reading.meter, reading.end, reading.period))
            .or_default();
        let known = kept.iter().any(|other| other.reading == *reading);
        if !known && kept.len() < EVIDENCE_PER_INTERVAL_MAX {
            kept.push(*stored);
        }
    }
}

impl Backend for MemoryBackend {
    fn commit(&mut self, batch: CommitBatch) -> Result<CommitReport, StoreError> {
        check_order(&self.checkpoint, &batch.checkpoint)?;
        // Whatever may fail comes first, so that a failure changes nothing.
        let merged = batch
            .meter_days
            .iter()
            .map(|sealed| {
                let held = self.blocks.get(&BlockKey::of(sealed));
                merge(held.map(|block| block.bytes.as_slice()), sealed)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut report = CommitReport::default();
        for (sealed, merged) in batch.meter_days.iter().zip(merged) {
            report.take(&merged);
            let Some(bytes) = merged.block else {
                continue;
            };
            let key = BlockKey::of(sealed);
            let version = self.blocks.get(&key).map_or(1, |block| block.version + 1);
            if version > 1 {
                report.reopened += 1;
                self.audit.push(AuditRow {
                    meter: key.meter,
                    period: key.period,
                    day: key.day,
                    version,
                    added: merged.added,
                });
            }
            self.blocks.insert(
                key,
                Block {
                    version,
                    readings: merged.readings,
                    bytes,
                },
            );
        }
        for stored in batch.conflicts.iter().chain(&report.conflicts) {
            self.keep_evidence(stored);
        }
        for point in batch.prices {
            let held = *self
                .prices
                .entry((point.period, point.end))
                .or_insert_with(|| {
                    report.prices += 1;
                    point
                });
            if held != point {
                report.price_conflicts.push(point);
            }
        }
        for bill in batch.bills {
            let key = (bill.month, bill.meter, bill.version);
            let held = *self.bills.entry(key).or_insert_with(|| {
                report.bills += 1;
                bill
            });
            if held != bill {
                report.bills_refused.push(bill);
            }
        }
        self.checkpoint = batch.checkpoint;
        Ok(report)
    }

    fn readings(
        &self,
        meter: MeterId,
        period: Period,
        days: RangeInclusive<Day>,
    ) -> Result<Vec<IntervalReading>, StoreError> {
        let (&first, &last) = (days.start(), days.end());
        check_days(first, last)?;
        if first > last {
            return Ok(Vec::new());
        }
        let key = |day| BlockKey { meter, period, day };
        let mut readings = Vec::new();
        for (key, block) in self.blocks.range(key(first)..=key(last)) {
            readings.extend(decode_held(*key, &block.bytes)?);
        }
        Ok(readings)
    }

    fn prices(
        &self,
        period: Period,
        days: RangeInclusive<Day>,
    ) -> Result<Vec<PricePoint>, StoreError> {
        let (&first, &last) = (days.start(), days.end());
        check_days(first, last)?;
        if first > last {
            return Ok(Vec::new());
        }
        // The interval that ends as a day starts belongs to the day before.
        let after = UtcTime::from_millis(first.start().as_millis() + 1);
        let range = (period, after)..=(period, last.next().start());
        Ok(self.prices.range(range).map(|(_, point)| *point).collect())
    }

    fn bills(&self, month: Month) -> Result<Vec<BillRow>, StoreError> {
        let all = (month, MeterId(0), 0)..=(month, MeterId(u32::MAX), u32::MAX);
        Ok(self.bills.range(all).map(|(_, bill)| *bill).collect())
    }

    fn meters(&self) -> Result<Vec<MeterRow>, StoreError> {
        Ok(self.meters.values().cloned().collect())
    }

    fn enrol(&mut self, row: MeterRow) -> Result<(), StoreError> {
        check_meter(&row)?;
        let owner = self.meters.values().find(|other| other.title == row.title);
        if let Some(owner) = owner.filter(|owner| owner.meter != row.meter) {
            return Err(StoreError::TitleTaken {
                title: row.title,
                by: owner.meter,
            });
        }
        self.meters.insert(row.meter, row);
        Ok(())
    }

    fn conflicts(
        &self,
        meter: MeterId,
        days: RangeInclusive<Day>,
    ) -> Result<Vec<StoredReading>, StoreError> {
        let (&first, &last) = (days.start(), days.end());
        check_days(first, last)?;
        if first > last {
            return Ok(Vec::new());
        }
        let after = UtcTime::from_millis(first.start().as_millis() + 1);
        let range = (
            meter,
            after,
            Period::from_secs(1).expect("a second divides an hour"),
        )..=(meter, last.next().start(), Period::HOUR);
        Ok(self
            .evidence
            .range(range)
            .flat_map(|(_, kept)| kept)
            .copied()
            .collect())
    }

    fn audit(&self, meter: MeterId) -> Result<Vec<AuditRow>, StoreError> {
        let rows = self.audit.iter().filter(|row| row.meter == meter);
        Ok(rows.cloned().collect())
    }

    fn checkpoint(&self) -> Result<Checkpoint, StoreError> {
        Ok(self.checkpoint)
    }

    fn summary(&self) -> Result<Summary, StoreError> {
        let count = |length: usize| length as u64;
        Ok(Summary {
            readings: self.blocks.values().map(|block| block.readings).sum(),
            blocks: count(self.blocks.len()),
            block_bytes: self
                .blocks
                .values()
                .map(|block| count(block.bytes.len()))
                .sum(),
            prices: count(self.prices.len()),
            bills: count(self.bills.len()),
            meters: count(self.meters.len()),
            conflicts: self.evidence.values().map(|kept| count(kept.len())).sum(),
        })
    }
}

/// Cells in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryCells {
    nodes: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
}

impl MemoryCells {
    /// No cells.
    pub fn new() -> Self {
        Self::default()
    }
}

impl CellStore for MemoryCells {
    fn put_many(&mut self, cells: &[(&str, &str, &[u8])]) -> Result<(), StoreError> {
        cells.iter().try_for_each(|cell| check_cell(*cell))?;
        for (node, slot, bytes) in cells {
            let slots = self.nodes.entry((*node).to_owned()).or_default();
            slots.insert((*slot).to_owned(), bytes.to_vec());
        }
        Ok(())
    }

    fn get(&self, node: &str, slot: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self
            .nodes
            .get(node)
            .and_then(|slots| slots.get(slot))
            .cloned())
    }

    fn all_of(&self, node: &str) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
        Ok(self.nodes.get(node).cloned().unwrap_or_default())
    }
}
