//! What a disk was asked to do, as bytes: a second disk that does the same, in the same order,
//! holds the same. Big-endian, one [`Entry`] each.

use gridloom_core::bytes::{Reader, Truncated};
use gridloom_core::{
    Charge, Currency, Day, MeterId, MilliwattHours, Month, Period, SystemTitle, UtcTime,
};

use crate::effect::{Checkpoint, CommitBatch, Effect, MeterDay};
use crate::operations::{
    Batch, Change, ClientRole, CounterRow, DeviceLink, DeviceRow, DeviceState, Direction, KeyId,
    KeyKind, KeyRow, KeyState, MasterRow, Rewrap, Transport, WorkKind, WorkRow, by_code, code_of,
};
use crate::record::{BillRow, Lsn, PayloadError, PricePoint, Record, StoredReading};

/// Something that was carried out and changed what a disk holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// An effect of the ledger.
    Effect(Effect),
    /// Changes of the head-end's tables.
    Batch(Batch),
    /// A memory cell of a node.
    Cell {
        /// Whose.
        node: String,
        /// Its name.
        slot: String,
        /// Its content.
        bytes: Vec<u8>,
    },
}

/// Why bytes are no entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// They end early.
    #[error("replica entry: {0}")]
    Truncated(#[from] Truncated),
    /// A record among them is damaged.
    #[error("replica entry: {0}")]
    Record(#[from] PayloadError),
    /// A field holds what it cannot hold.
    #[error("replica entry: field {field} holds an impossible value; run the same version on both")]
    Field {
        /// Which.
        field: &'static str,
    },
    /// Bytes follow the end.
    #[error("replica entry: {0} bytes too many")]
    TooLong(usize),
}

const EFFECT_TRUNCATE: u8 = 1;
const EFFECT_WRITE: u8 = 2;
const EFFECT_COMMIT: u8 = 3;
const EFFECT_DROP: u8 = 4;
const BATCH: u8 = 5;
const CELL: u8 = 6;

impl Entry {
    /// The bytes of it.
    ///
    /// # Panics
    ///
    /// If a list or a field of it has more than 4 GiB, which no disk was asked for.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Sink(Vec::new());
        match self {
            Self::Effect(Effect::TruncateSegment { segment, length }) => {
                out.u8(EFFECT_TRUNCATE);
                out.u64(*segment);
                out.u64(*length);
            }
            Self::Effect(Effect::WriteJournal {
                segment,
                offset,
                bytes,
                through,
            }) => {
                out.u8(EFFECT_WRITE);
                out.u64(*segment);
                out.u64(*offset);
                out.u64(through.0);
                out.bytes(bytes);
            }
            Self::Effect(Effect::Commit(batch)) => {
                out.u8(EFFECT_COMMIT);
                out.commit(batch);
            }
            Self::Effect(Effect::DropSegments { before }) => {
                out.u8(EFFECT_DROP);
                out.u64(*before);
            }
            Self::Batch(batch) => {
                out.u8(BATCH);
                out.list(&batch.changes, Sink::change);
            }
            Self::Cell { node, slot, bytes } => {
                out.u8(CELL);
                out.bytes(node.as_bytes());
                out.bytes(slot.as_bytes());
                out.bytes(bytes);
            }
        }
        out.0
    }

    /// Reads one entry, whole.
    ///
    /// # Errors
    ///
    /// Names the field that is wrong; allocates no more than a small multiple of the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        let mut from = Source(Reader::new(bytes));
        let entry = match from.0.u8()? {
            EFFECT_TRUNCATE => Self::Effect(Effect::TruncateSegment {
                segment: from.0.u64()?,
                length: from.0.u64()?,
            }),
            EFFECT_WRITE => {
                let (segment, offset) = (from.0.u64()?, from.0.u64()?);
                let through = Lsn(from.0.u64()?);
                Self::Effect(Effect::WriteJournal {
                    segment,
                    offset,
                    bytes: from.bytes()?.to_vec(),
                    through,
                })
            }
            EFFECT_COMMIT => Self::Effect(Effect::Commit(from.commit()?)),
            EFFECT_DROP => Self::Effect(Effect::DropSegments {
                before: from.0.u64()?,
            }),
            BATCH => Self::Batch(Batch::new(from.list(Source::change)?)),
            CELL => Self::Cell {
                node: from.text("node")?,
                slot: from.text("slot")?,
                bytes: from.bytes()?.to_vec(),
            },
            _ => return Err(EntryError::Field { field: "kind" }),
        };
        match from.0.rest().len() {
            0 => Ok(entry),
            left => Err(EntryError::TooLong(left)),
        }
    }
}

struct Sink(Vec<u8>);

impl Sink {
    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u16(&mut self, value: u16) {
        self.0.extend(value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.0.extend(value.to_be_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend(value.to_be_bytes());
    }

    fn i64(&mut self, value: i64) {
        self.0.extend(value.to_be_bytes());
    }

    fn day(&mut self, day: Day) {
        self.0.extend(day.epoch_days().to_be_bytes());
    }

    fn time(&mut self, time: UtcTime) {
        self.i64(time.as_millis());
    }

    fn length(&mut self, length: usize) {
        self.u32(u32::try_from(length).expect("nothing that a disk is asked for has 4 GiB"));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn list<T>(&mut self, items: &[T], write: impl Fn(&mut Self, &T)) {
        self.length(items.len());
        for item in items {
            write(self, item);
        }
    }

    fn reading(&mut self, reading: &StoredReading) {
        let mut payload = Vec::new();
        reading.encode(&mut payload);
        self.bytes(&payload);
    }

    fn price(&mut self, point: &PricePoint) {
        let mut payload = Vec::new();
        Record::Price(*point).encode(&mut payload);
        self.bytes(&payload);
    }

    fn commit(&mut self, batch: &CommitBatch) {
        self.list(&batch.meter_days, |out, day| {
            out.u32(day.meter.0);
            out.u32(day.period.as_secs());
            out.day(day.day);
            out.list(&day.readings, Self::reading);
        });
        self.list(&batch.conflicts, Self::reading);
        self.list(&batch.prices, Self::price);
        self.list(&batch.bills, Self::bill);
        self.u64(batch.checkpoint.through.0);
        self.day(batch.checkpoint.sealed_before);
        self.u64(batch.checkpoint.sealed_through.0);
    }

    fn bill(&mut self, bill: &BillRow) {
        self.u32(bill.meter.0);
        self.0.extend(bill.month.year().to_be_bytes());
        self.u8(bill.month.number());
        self.u32(bill.version);
        self.bytes(bill.currency.code().as_bytes());
        self.u8(bill.currency.minor_digits());
        self.i64(bill.amount_minor);
        self.i64(bill.energy.get());
        self.u32(bill.intervals);
        self.u32(bill.gaps);
        self.0.extend(bill.charge.pico().to_be_bytes());
        self.time(bill.issued_at);
    }

    fn change(&mut self, change: &Change) {
        match change {
            Change::Device(row) => {
                self.u8(1);
                self.device(row);
            }
            Change::Key(row) => {
                self.u8(2);
                self.u64(row.key.0);
                self.u32(row.meter.0);
                self.u8(code_of(&KeyKind::ALL, row.kind));
                self.u16(row.client);
                self.u8(code_of(&KeyState::ALL, row.state));
                self.u32(row.master);
                self.bytes(&row.wrapped);
                self.time(row.made_at);
            }
            Change::KeyState(key, state) => {
                self.u8(3);
                self.u64(key.0);
                self.u8(code_of(&KeyState::ALL, *state));
            }
            Change::Rewrap(row) => {
                self.u8(4);
                self.u64(row.key.0);
                self.u32(row.from);
                self.u32(row.to);
                self.bytes(&row.wrapped);
            }
            Change::Counter(row) => {
                self.u8(5);
                self.u64(row.key.0);
                self.u8(code_of(&Direction::ALL, row.direction));
                self.0.extend(row.title.0);
                self.u32(row.value);
            }
            Change::Master(row) => {
                self.u8(6);
                self.u32(row.version);
                self.0.extend(row.check);
                self.time(row.since);
                self.u8(u8::from(row.is_retired));
            }
            Change::Work(row) => {
                self.u8(7);
                self.u8(code_of(&WorkKind::ALL, row.kind));
                self.u64(row.number);
                self.u8(u8::from(row.meter.is_some()));
                self.u32(row.meter.map_or(0, |meter| meter.0));
                self.bytes(&row.state);
                self.u8(u8::from(row.is_finished));
                self.time(row.changed_at);
            }
            Change::Audit(record) => {
                self.u8(8);
                self.bytes(record);
            }
        }
    }

    fn device(&mut self, row: &DeviceRow) {
        self.u32(row.meter.0);
        self.0.extend(row.title.0);
        for text in [
            &row.serial,
            &row.name,
            &row.template,
            &row.service_point,
            &row.link.address,
        ] {
            self.bytes(text.as_bytes());
        }
        self.u8(code_of(&DeviceState::ALL, row.state));
        self.u8(code_of(&Transport::ALL, row.link.transport));
        self.u16(row.link.server);
        self.u16(row.link.physical);
        self.list(&row.roles, |out, role| {
            out.u16(role.client);
            out.u8(role.mechanism);
            out.u8(u8::from(role.suite.is_some()));
            out.u8(role.suite.unwrap_or(0));
        });
        self.length(row.groups.len());
        for group in &row.groups {
            self.bytes(group.as_bytes());
        }
        self.u8(row.phases);
        self.u16(row.fuse_a);
        self.u16(row.voltage_v);
        self.u8(u8::from(row.retired_at.is_some()));
        self.time(row.retired_at.unwrap_or(UtcTime::from_secs(0)));
    }
}

struct Source<'a>(Reader<'a>);

impl<'a> Source<'a> {
    fn i32(&mut self) -> Result<i32, EntryError> {
        Ok(i32::from_be_bytes(self.0.array()?))
    }

    fn time(&mut self) -> Result<UtcTime, EntryError> {
        Ok(UtcTime::from_millis(self.0.i64()?))
    }

    fn day(&mut self) -> Result<Day, EntryError> {
        Ok(Day::from_epoch_days(self.i32()?))
    }

    fn flag(&mut self, field: &'static str) -> Result<bool, EntryError> {
        match self.0.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(EntryError::Field { field }),
        }
    }

    fn bytes(&mut self) -> Result<&'a [u8], EntryError> {
        let length = self.0.u32()?;
        let length = usize::try_from(length).map_err(|_| EntryError::Field { field: "length" })?;
        Ok(self.0.take(length)?)
    }

    fn text(&mut self, field: &'static str) -> Result<String, EntryError> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| EntryError::Field { field })
    }

    /// Grown as elements really come: a short entry cannot claim a long list's memory.
    fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, EntryError>,
    ) -> Result<Vec<T>, EntryError> {
        let count = self.0.u32()?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(items)
    }

    fn code<T: Copy>(
        &mut self,
        all: &[(T, &'static str)],
        field: &'static str,
    ) -> Result<T, EntryError> {
        by_code(all, self.0.u8()?).ok_or(EntryError::Field { field })
    }

    fn reading(&mut self) -> Result<StoredReading, EntryError> {
        Ok(StoredReading::decode(self.bytes()?)?)
    }

    fn price(&mut self) -> Result<PricePoint, EntryError> {
        let kind = Record::PRICE_KIND;
        match Record::decode(kind, self.bytes()?)? {
            Record::Price(point) => Ok(point),
            Record::Reading(_) => Err(EntryError::Field { field: "price" }),
        }
    }

    fn period(&mut self) -> Result<Period, EntryError> {
        Period::from_secs(self.0.u32()?).ok_or(EntryError::Field { field: "period" })
    }

    fn commit(&mut self) -> Result<CommitBatch, EntryError> {
        let meter_days = self.list(|from| {
            Ok(MeterDay {
                meter: MeterId(from.0.u32()?),
                period: from.period()?,
                day: from.day()?,
                readings: from.list(Source::reading)?,
            })
        })?;
        Ok(CommitBatch {
            meter_days,
            conflicts: self.list(Source::reading)?,
            prices: self.list(Source::price)?,
            bills: self.list(Source::bill)?,
            checkpoint: Checkpoint {
                through: Lsn(self.0.u64()?),
                sealed_before: self.day()?,
                sealed_through: Lsn(self.0.u64()?),
            },
        })
    }

    fn bill(&mut self) -> Result<BillRow, EntryError> {
        let meter = MeterId(self.0.u32()?);
        let (year, number) = (self.i32()?, self.0.u8()?);
        let month = Month::new(year, number).ok_or(EntryError::Field { field: "month" })?;
        let version = self.0.u32()?;
        let code = self.text("currency")?;
        let currency = Currency::new(&code, self.0.u8()?);
        Ok(BillRow {
            meter,
            month,
            version,
            currency: currency.ok_or(EntryError::Field { field: "currency" })?,
            amount_minor: self.0.i64()?,
            energy: MilliwattHours::new(self.0.i64()?),
            intervals: self.0.u32()?,
            gaps: self.0.u32()?,
            charge: Charge::from_pico(i128::from_be_bytes(self.0.array()?)),
            issued_at: self.time()?,
        })
    }

    fn change(&mut self) -> Result<Change, EntryError> {
        Ok(match self.0.u8()? {
            1 => Change::Device(self.device()?),
            2 => Change::Key(KeyRow {
                key: KeyId(self.0.u64()?),
                meter: MeterId(self.0.u32()?),
                kind: self.code(&KeyKind::ALL, "kind of key")?,
                client: self.0.u16()?,
                state: self.code(&KeyState::ALL, "state of key")?,
                master: self.0.u32()?,
                wrapped: self.bytes()?.to_vec(),
                made_at: self.time()?,
            }),
            3 => Change::KeyState(
                KeyId(self.0.u64()?),
                self.code(&KeyState::ALL, "state of key")?,
            ),
            4 => Change::Rewrap(Rewrap {
                key: KeyId(self.0.u64()?),
                from: self.0.u32()?,
                to: self.0.u32()?,
                wrapped: self.bytes()?.to_vec(),
            }),
            5 => Change::Counter(CounterRow {
                key: KeyId(self.0.u64()?),
                direction: self.code(&Direction::ALL, "direction")?,
                title: SystemTitle(self.0.array()?),
                value: self.0.u32()?,
            }),
            6 => Change::Master(MasterRow {
                version: self.0.u32()?,
                check: self.0.array()?,
                since: self.time()?,
                is_retired: self.flag("retired")?,
            }),
            7 => {
                let kind = self.code(&WorkKind::ALL, "kind of work")?;
                let number = self.0.u64()?;
                let has_meter = self.flag("has meter")?;
                let meter = MeterId(self.0.u32()?);
                Change::Work(WorkRow {
                    kind,
                    number,
                    meter: has_meter.then_some(meter),
                    state: self.bytes()?.to_vec(),
                    is_finished: self.flag("finished")?,
                    changed_at: self.time()?,
                })
            }
            8 => Change::Audit(self.bytes()?.to_vec()),
            _ => return Err(EntryError::Field { field: "change" }),
        })
    }

    fn device(&mut self) -> Result<DeviceRow, EntryError> {
        let meter = MeterId(self.0.u32()?);
        let title = SystemTitle(self.0.array()?);
        let serial = self.text("serial")?;
        let name = self.text("name")?;
        let template = self.text("template")?;
        let service_point = self.text("service point")?;
        let address = self.text("address")?;
        let state = self.code(&DeviceState::ALL, "state")?;
        let link = DeviceLink {
            transport: self.code(&Transport::ALL, "transport")?,
            address,
            server: self.0.u16()?,
            physical: self.0.u16()?,
        };
        let roles = self.list(|from| {
            let (client, mechanism) = (from.0.u16()?, from.0.u8()?);
            let has_suite = from.flag("has suite")?;
            let suite = from.0.u8()?;
            Ok(ClientRole {
                client,
                mechanism,
                suite: has_suite.then_some(suite),
            })
        })?;
        let groups = self.list(|from| from.text("group"))?.into_iter().collect();
        let (phases, fuse_a, voltage_v) = (self.0.u8()?, self.0.u16()?, self.0.u16()?);
        let is_retired = self.flag("retired")?;
        let retired_at = self.time()?;
        Ok(DeviceRow {
            meter,
            title,
            serial,
            name,
            state,
            link,
            roles,
            template,
            groups,
            service_point,
            phases,
            fuse_a,
            voltage_v,
            retired_at: is_retired.then_some(retired_at),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridloom_core::{IntervalReading, IntervalValues, Price, ReadingStatus, Watts};
    use std::collections::BTreeSet;

    fn reading() -> StoredReading {
        StoredReading {
            reading: IntervalReading {
                meter: MeterId(7),
                period: Period::HALF_HOUR,
                end: UtcTime::from_secs(1_357_000_200),
                status: ReadingStatus::POWER_DOWN,
                values: IntervalValues::from_array([1, -2, 3, 4, 5, 6, 7, 230_100]),
                import_register: MilliwattHours::new(9_000),
            },
            title: SystemTitle(*b"GLMABCDE"),
            counter: 77,
        }
    }

    fn device() -> DeviceRow {
        DeviceRow {
            meter: MeterId(7),
            title: SystemTitle(*b"GLMABCDE"),
            serial: "S-1".to_owned(),
            name: "house".to_owned(),
            state: DeviceState::Retired,
            link: DeviceLink {
                transport: Transport::HdlcSerial,
                address: "/dev/x".to_owned(),
                server: 1,
                physical: 17,
            },
            roles: vec![ClientRole {
                client: 1,
                mechanism: 5,
                suite: Some(0),
            }],
            template: "t".to_owned(),
            groups: BTreeSet::from(["a".to_owned(), "b".to_owned()]),
            service_point: "p".to_owned(),
            phases: 3,
            fuse_a: 63,
            voltage_v: 230,
            retired_at: Some(UtcTime::from_secs(5)),
        }
    }

    fn samples() -> Vec<Entry> {
        let at = UtcTime::from_secs(1_357_000_200);
        let month = Month::parse("2013-01").unwrap();
        let commit = CommitBatch {
            meter_days: vec![MeterDay {
                meter: MeterId(7),
                period: Period::HALF_HOUR,
                day: at.day(),
                readings: vec![reading()],
            }],
            conflicts: vec![reading()],
            prices: vec![PricePoint {
                end: at,
                period: Period::HALF_HOUR,
                price: Price::parse("0.1875").unwrap(),
                total: Watts::new(5_000),
                stations_on: 2,
                missing: 1,
            }],
            bills: vec![BillRow {
                meter: MeterId(7),
                month,
                version: 1,
                currency: Currency::new("EUR", 2).unwrap(),
                amount_minor: -5,
                energy: MilliwattHours::new(4),
                intervals: 3,
                gaps: 2,
                charge: Charge::from_pico(-123_456_789_012_345_678_901_234),
                issued_at: at,
            }],
            checkpoint: Checkpoint {
                through: Lsn(4),
                ..Checkpoint::NONE
            },
        };
        let key = KeyId(3);
        let changes = vec![
            Change::Device(device()),
            Change::Key(KeyRow {
                key,
                meter: MeterId(7),
                kind: KeyKind::HighLevelSecret,
                client: 1,
                state: KeyState::Pending,
                master: 2,
                wrapped: vec![1; 24],
                made_at: at,
            }),
            Change::KeyState(key, KeyState::Current),
            Change::Rewrap(Rewrap {
                key,
                from: 2,
                to: 3,
                wrapped: vec![2; 24],
            }),
            Change::Counter(CounterRow {
                key,
                direction: Direction::Receive,
                title: SystemTitle(*b"GLMABCDE"),
                value: u32::MAX,
            }),
            Change::Master(MasterRow {
                version: 3,
                check: [9; 24],
                since: at,
                is_retired: true,
            }),
            Change::Work(WorkRow {
                kind: WorkKind::KeyNews,
                number: 8,
                meter: Some(MeterId(7)),
                state: vec![1, 2],
                is_finished: false,
                changed_at: at,
            }),
            Change::Audit(b"what happened".to_vec()),
        ];
        vec![
            Entry::Effect(Effect::TruncateSegment {
                segment: 1,
                length: 26,
            }),
            Entry::Effect(Effect::WriteJournal {
                segment: 1,
                offset: 26,
                bytes: vec![1, 2, 3],
                through: Lsn(9),
            }),
            Entry::Effect(Effect::Commit(commit)),
            Entry::Effect(Effect::DropSegments { before: 2 }),
            Entry::Batch(Batch::new(changes)),
            Entry::Cell {
                node: "utility".to_owned(),
                slot: "archived".to_owned(),
                bytes: vec![4; 5],
            },
        ]
    }

    #[test]
    fn every_entry_comes_back_and_no_cut_or_flipped_byte_panics() {
        for entry in samples() {
            let bytes = entry.encode();
            assert_eq!(Entry::decode(&bytes), Ok(entry.clone()));
            let mut longer = bytes.clone();
            longer.push(0);
            assert_eq!(Entry::decode(&longer), Err(EntryError::TooLong(1)));
            for cut in 0..bytes.len() {
                assert!(Entry::decode(&bytes[..cut]).is_err(), "{entry:?} at {cut}");
                let mut flipped = bytes.clone();
                flipped[cut] ^= 0xFF;
                let _ = Entry::decode(&flipped);
            }
        }
    }
}
