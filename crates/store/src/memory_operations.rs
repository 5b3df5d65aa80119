//! The operations' tables of the simulator: the same behaviour as SQLite's, in memory.

use std::collections::BTreeMap;

use gridloom_core::{MeterId, SystemTitle};

use crate::audit_log::{AUDIT_READ_MAX, AuditEntry, AuditHead};
use crate::backend::StoreError;
use crate::operations::{
    Batch, Change, CounterRow, DeviceRow, DeviceState, Direction, KeyId, KeyRow, KeyState,
    MasterRow, OperationsStore, Refused, Rewrap, WhichWork, WorkKind, WorkRow, check_batch,
    check_key_change, is_single,
};

type CounterKey = (KeyId, Direction, SystemTitle);
type WorkKey = (WorkKind, u64, Option<MeterId>);

/// The operations' tables in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryOperations {
    devices: BTreeMap<MeterId, DeviceRow>,
    /// Who in service has which title, serial number and address.
    owners: BTreeMap<(&'static str, String), MeterId>,
    keys: BTreeMap<KeyId, KeyRow>,
    by_meter: BTreeMap<MeterId, Vec<KeyId>>,
    counters: BTreeMap<CounterKey, u32>,
    masters: BTreeMap<u32, MasterRow>,
    work: BTreeMap<WorkKey, WorkRow>,
    log: Vec<AuditEntry>,
}

/// How to take a change back.
enum Undo {
    Device(MeterId, Option<DeviceRow>),
    Key(KeyId, Option<KeyRow>),
    Counter(CounterKey, Option<u32>),
    Master(u32, Option<MasterRow>),
    Work(WorkKey, Option<WorkRow>),
    Log,
}

impl MemoryOperations {
    /// Empty tables.
    pub fn new() -> Self {
        Self::default()
    }

    fn carry_out(&mut self, batch: &Batch) -> Result<(), Refused> {
        check_batch(batch)?;
        let mut done = Vec::with_capacity(batch.changes.len());
        for change in &batch.changes {
            match self.change(change) {
                Ok(undo) => done.push(undo),
                Err(refused) => {
                    done.into_iter().rev().for_each(|undo| self.undo(undo));
                    return Err(refused);
                }
            }
        }
        Ok(())
    }

    fn change(&mut self, change: &Change) -> Result<Undo, Refused> {
        match change {
            Change::Device(row) => {
                for (field, value) in distinctions(row) {
                    let owner = self.owners.get(&(field, value.clone()));
                    if let Some(&by) = owner.filter(|owner| **owner != row.meter) {
                        let meter = row.meter;
                        return Err(Refused::Taken {
                            meter,
                            field,
                            value,
                            by,
                        });
                    }
                }
                let held = self.put_device(row.meter, Some(row.clone()));
                Ok(Undo::Device(row.meter, held))
            }
            Change::Key(row) => {
                if let Some(held) = self.keys.get(&row.key) {
                    check_key_change(held, row)?;
                }
                self.check_single(row)?;
                Ok(Undo::Key(row.key, self.put_key(row.key, Some(row.clone()))))
            }
            Change::KeyState(key, to) => {
                let Some(held) = self.keys.get(key) else {
                    return Err(Refused::UnknownKey(*key));
                };
                let row = held.moved_on(*to);
                self.change(&Change::Key(row))
            }
            Change::Rewrap(rewrap) => self.rewrap(rewrap),
            Change::Counter(row) => self.raise(row),
            Change::Master(row) => {
                let held = self.masters.get(&row.version);
                if held.is_some_and(|held| held.check != row.check) {
                    return Err(Refused::MasterChanged(row.version));
                }
                Ok(Undo::Master(
                    row.version,
                    self.masters.insert(row.version, *row),
                ))
            }
            Change::Work(row) => {
                let key = (row.kind, row.number, row.meter);
                if self.work.get(&key).is_some_and(|held| held.is_finished) {
                    return Err(Refused::Finished {
                        kind: row.kind,
                        number: row.number,
                    });
                }
                Ok(Undo::Work(key, self.work.insert(key, row.clone())))
            }
            Change::Audit(record) => {
                self.log.push(self.head().append(record.clone()));
                Ok(Undo::Log)
            }
        }
    }

    fn check_single(&self, row: &KeyRow) -> Result<(), Refused> {
        let mut others = self.by_meter.get(&row.meter).into_iter().flatten();
        let twice = others.find(|other| {
            let other = &self.keys[other];
            is_single(row.state)
                && other.key != row.key
                && (other.kind, other.client, other.state) == (row.kind, row.client, row.state)
        });
        match twice {
            Some(&by) => Err(Refused::KeyTwice {
                meter: row.meter,
                kind: row.kind,
                state: row.state,
                by,
            }),
            None => Ok(()),
        }
    }

    fn rewrap(&mut self, rewrap: &Rewrap) -> Result<Undo, Refused> {
        let row = self.keys.get_mut(&rewrap.key);
        let row = row.filter(|row| row.master == rewrap.from && row.state != KeyState::Retired);
        let Some(row) = row else {
            return Err(Refused::NotWrappedBy {
                key: rewrap.key,
                from: rewrap.from,
            });
        };
        let held = row.clone();
        row.master = rewrap.to;
        row.wrapped.clone_from(&rewrap.wrapped);
        Ok(Undo::Key(rewrap.key, Some(held)))
    }

    fn raise(&mut self, row: &CounterRow) -> Result<Undo, Refused> {
        let CounterRow {
            key,
            direction,
            title,
            value: offered,
        } = *row;
        if !self.keys.contains_key(&key) {
            return Err(Refused::UnknownKey(key));
        }
        let place = (key, direction, title);
        match self.counters.get(&place) {
            Some(&held) if held > offered => Err(Refused::CounterLowered {
                key,
                direction,
                title,
                held,
                offered,
            }),
            Some(_) | None => Ok(Undo::Counter(place, self.counters.insert(place, offered))),
        }
    }

    fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Device(meter, row) => {
                self.put_device(meter, row);
            }
            Undo::Key(key, row) => {
                self.put_key(key, row);
            }
            Undo::Counter(place, value) => put(&mut self.counters, place, value),
            Undo::Master(version, row) => put(&mut self.masters, version, row),
            Undo::Work(key, row) => put(&mut self.work, key, row),
            Undo::Log => {
                self.log.pop();
            }
        }
    }

    fn put_device(&mut self, meter: MeterId, row: Option<DeviceRow>) -> Option<DeviceRow> {
        let held = self.devices.remove(&meter);
        for distinction in held.iter().flat_map(distinctions) {
            self.owners.remove(&distinction);
        }
        for distinction in row.iter().flat_map(distinctions) {
            self.owners.insert(distinction, meter);
        }
        put(&mut self.devices, meter, row);
        held
    }

    fn put_key(&mut self, key: KeyId, row: Option<KeyRow>) -> Option<KeyRow> {
        let held = self.keys.remove(&key);
        if let Some(held) = &held {
            let numbers = self.by_meter.entry(held.meter).or_default();
            numbers.retain(|number| *number != key);
        }
        if let Some(row) = row {
            self.by_meter.entry(row.meter).or_default().push(key);
            self.keys.insert(key, row);
        }
        held
    }

    fn head(&self) -> AuditHead {
        self.log.last().map_or(AuditHead::EMPTY, AuditEntry::head)
    }
}

impl OperationsStore for MemoryOperations {
    fn commit(&mut self, batches: &[Batch]) -> Result<Vec<Result<(), Refused>>, StoreError> {
        Ok(batches.iter().map(|batch| self.carry_out(batch)).collect())
    }

    fn devices(&self) -> Result<Vec<DeviceRow>, StoreError> {
        Ok(self.devices.values().cloned().collect())
    }

    fn keys(&self, of: Option<MeterId>) -> Result<Vec<KeyRow>, StoreError> {
        let Some(meter) = of else {
            return Ok(self.keys.values().cloned().collect());
        };
        let numbers = self.by_meter.get(&meter).into_iter().flatten();
        let mut rows: Vec<_> = numbers.map(|key| self.keys[key].clone()).collect();
        rows.sort_by_key(|row| row.key);
        Ok(rows)
    }

    fn next_key(&self) -> Result<KeyId, StoreError> {
        let last = self.keys.last_key_value().map_or(0, |(key, _)| key.0);
        Ok(KeyId(last + 1))
    }

    fn counters(&self, of: Option<KeyId>) -> Result<Vec<CounterRow>, StoreError> {
        let rows = self.counters.iter();
        let rows = rows.filter(|((key, ..), _)| of.is_none_or(|of| of == *key));
        Ok(rows
            .map(|(&(key, direction, title), &value)| CounterRow {
                key,
                direction,
                title,
                value,
            })
            .collect())
    }

    fn masters(&self) -> Result<Vec<MasterRow>, StoreError> {
        Ok(self.masters.values().copied().collect())
    }

    fn work(&self, kind: WorkKind, which: WhichWork) -> Result<Vec<WorkRow>, StoreError> {
        let rows = self.work.range((kind, 0, None)..);
        let rows = rows.take_while(|((of, ..), _)| *of == kind);
        Ok(rows
            .map(|(_, row)| row)
            .filter(|row| match which {
                WhichWork::Unfinished => !row.is_finished,
                WhichWork::Number(number) => row.number == number,
            })
            .cloned()
            .collect())
    }

    fn audit_log(&self, after: u64, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
        let after = usize::try_from(after).unwrap_or(usize::MAX);
        let entries = self.log.iter().skip(after);
        Ok(entries.take(limit.min(AUDIT_READ_MAX)).cloned().collect())
    }

    fn audit_head(&self) -> Result<AuditHead, StoreError> {
        Ok(self.head())
    }
}

/// What no two meters in service share.
fn distinctions(row: &DeviceRow) -> Vec<(&'static str, String)> {
    if row.state == DeviceState::Retired {
        return Vec::new();
    }
    vec![
        ("title", row.title.to_string()),
        ("serial", row.serial.clone()),
        ("address", row.link.endpoint()),
    ]
}

fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}
