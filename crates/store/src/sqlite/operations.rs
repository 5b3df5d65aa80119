//! The operations' tables in SQLite.

use gridloom_core::{MeterId, SystemTitle, UtcTime};
use rusqlite::{Connection, OptionalExtension, Row, Savepoint, ToSql, TransactionBehavior, params};

use super::rows::{RowError, collect, damaged};
use crate::audit_log::{AUDIT_READ_MAX, AuditEntry, AuditHash, AuditHead};
use crate::backend::StoreError;
use crate::operations::{
    Batch, Change, ClientRole, CounterRow, DeviceLink, DeviceRow, DeviceState, Direction, KeyId,
    KeyKind, KeyRow, KeyState, MasterRow, OperationsStore, Refused, Rewrap, Transport, WhichWork,
    WorkKind, WorkRow, by_code, check_batch, check_key_change, code_of, is_single,
};
use crate::schema;

/// Statements kept ready; more than there are here.
const STATEMENTS_MAX: usize = 64;

/// Stands for "no suite" among a role's bytes.
const NO_SUITE: u8 = 0xFF;

/// Stands for the whole of a work among its meters.
const WHOLE: i64 = -1;

/// The operations' tables in SQLite. They may share a database file with a
/// [`super::SqliteBackend`], each on its own connection.
#[derive(Debug)]
pub struct SqliteOperations {
    connection: Connection,
}

impl SqliteOperations {
    /// Sets the connection up and migrates the database, as [`super::SqliteBackend::new`] does.
    ///
    /// # Errors
    ///
    /// If a newer gridloom wrote the database, or the database fails.
    pub fn new(mut connection: Connection) -> Result<Self, StoreError> {
        schema::prepare(&mut connection)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        Ok(Self { connection })
    }
}

/// Why a change did not happen.
enum Failure {
    Refused(Refused),
    Store(StoreError),
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(StoreError::database("writing operations")(error))
    }
}

impl From<RowError> for Failure {
    fn from(error: RowError) -> Self {
        Self::Store(error.into())
    }
}

impl OperationsStore for SqliteOperations {
    fn commit(&mut self, batches: &[Batch]) -> Result<Vec<Result<(), Refused>>, StoreError> {
        let database = StoreError::database("committing operations");
        let mut transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(&database)?;
        let mut answers = Vec::with_capacity(batches.len());
        for batch in batches {
            // A savepoint that is dropped takes its batch back.
            let savepoint = transaction.savepoint().map_err(&database)?;
            match carry_out(&savepoint, batch) {
                Ok(()) => {
                    savepoint.commit().map_err(&database)?;
                    answers.push(Ok(()));
                }
                Err(Failure::Refused(refused)) => answers.push(Err(refused)),
                Err(Failure::Store(error)) => return Err(error),
            }
        }
        transaction.commit().map_err(&database)?;
        Ok(answers)
    }

    fn devices(&self) -> Result<Vec<DeviceRow>, StoreError> {
        let mut devices = collect(
            &self.connection,
            "SELECT meter, title, serial, name, state, transport, address, server, physical, \
             roles, template, service_point, phases, fuse_a, voltage_v, retired_at_millis \
             FROM device ORDER BY meter",
            [],
            device,
        )?;
        let groups = collect(
            &self.connection,
            "SELECT meter, name FROM device_group ORDER BY meter, name",
            [],
            |row| Ok((MeterId(row.get(0)?), row.get::<_, String>(1)?)),
        )?;
        // Both stand in the order of meters.
        let mut rows = devices.iter_mut();
        let mut current = rows.next();
        for (meter, name) in groups {
            while current.as_ref().is_some_and(|row| row.meter < meter) {
                current = rows.next();
            }
            if let Some(row) = current.as_mut().filter(|row| row.meter == meter) {
                row.groups.insert(name);
            }
        }
        Ok(devices)
    }

    fn keys(&self, of: Option<MeterId>) -> Result<Vec<KeyRow>, StoreError> {
        collect(
            &self.connection,
            "SELECT key, meter, kind, client, state, master, wrapped, made_at_millis \
             FROM meter_key WHERE ?1 IS NULL OR meter = ?1 ORDER BY key",
            params![of.map(|meter| meter.0)],
            key,
        )
    }

    fn next_key(&self) -> Result<KeyId, StoreError> {
        self.connection
            .query_row("SELECT coalesce(max(key), 0) FROM meter_key", [], |row| {
                row.get(0)
            })
            .map(|last: i64| KeyId(last.cast_unsigned() + 1))
            .map_err(StoreError::database("reading the last key's number"))
    }

    fn counters(&self, of: Option<KeyId>) -> Result<Vec<CounterRow>, StoreError> {
        collect(
            &self.connection,
            "SELECT key, direction, title, value FROM key_counter \
             WHERE ?1 IS NULL OR key = ?1 ORDER BY key, direction, title",
            params![of.map(|key| key.0.cast_signed())],
            |row| {
                let direction: u8 = row.get(1)?;
                Ok(CounterRow {
                    key: KeyId(row.get::<_, i64>(0)?.cast_unsigned()),
                    direction: by_code(&Direction::ALL, direction)
                        .ok_or_else(|| damaged("key_counter", format!("direction {direction}")))?,
                    title: SystemTitle(row.get(2)?),
                    value: row.get(3)?,
                })
            },
        )
    }

    fn masters(&self) -> Result<Vec<MasterRow>, StoreError> {
        collect(
            &self.connection,
            "SELECT version, check_value, since_millis, is_retired FROM master_key \
             ORDER BY version",
            [],
            |row| {
                Ok(MasterRow {
                    version: row.get(0)?,
                    check: row.get(1)?,
                    since: UtcTime::from_millis(row.get(2)?),
                    is_retired: row.get(3)?,
                })
            },
        )
    }

    fn work(&self, kind: WorkKind, which: WhichWork) -> Result<Vec<WorkRow>, StoreError> {
        let (filter, number) = match which {
            WhichWork::Unfinished => ("is_finished = 0 AND ?2 IS NULL", None),
            WhichWork::Number(number) => ("number = ?2", Some(number.cast_signed())),
        };
        collect(
            &self.connection,
            &format!(
                "SELECT number, meter, state, is_finished, changed_at_millis FROM work \
                 WHERE kind = ?1 AND {filter} ORDER BY number, meter"
            ),
            params![code_of(&WorkKind::ALL, kind), number],
            |row| {
                let meter: i64 = row.get(1)?;
                Ok(WorkRow {
                    kind,
                    number: row.get::<_, i64>(0)?.cast_unsigned(),
                    meter: if meter == WHOLE {
                        None
                    } else {
                        let meter = u32::try_from(meter);
                        let meter = meter
                            .map_err(|error| damaged("work", format!("meter number: {error}")))?;
                        Some(MeterId(meter))
                    },
                    state: row.get(2)?,
                    is_finished: row.get(3)?,
                    changed_at: UtcTime::from_millis(row.get(4)?),
                })
            },
        )
    }

    fn audit_log(&self, after: u64, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit.min(AUDIT_READ_MAX)).expect("the limit is bounded");
        collect(
            &self.connection,
            "SELECT number, record, hash FROM audit_log WHERE number > ?1 \
             ORDER BY number LIMIT ?2",
            params![after, limit],
            |row| {
                Ok(AuditEntry {
                    number: row.get::<_, i64>(0)?.cast_unsigned(),
                    record: row.get(1)?,
                    hash: AuditHash(row.get(2)?),
                })
            },
        )
    }

    fn audit_head(&self) -> Result<AuditHead, StoreError> {
        head(&self.connection).map_err(StoreError::database("reading the audit log"))
    }
}

fn carry_out(savepoint: &Savepoint<'_>, batch: &Batch) -> Result<(), Failure> {
    check_batch(batch)?;
    for change in &batch.changes {
        match change {
            Change::Device(row) => write_device(savepoint, row)?,
            Change::Key(row) => write_key(savepoint, row)?,
            Change::KeyState(key, to) => {
                let held = held_key(savepoint, *key)?;
                let held = held.ok_or(Failure::Refused(Refused::UnknownKey(*key)))?;
                write_key(savepoint, &held.moved_on(*to))?;
            }
            Change::Rewrap(row) => rewrap(savepoint, row)?,
            Change::Counter(row) => raise(savepoint, row)?,
            Change::Master(row) => write_master(savepoint, row)?,
            Change::Work(row) => write_work(savepoint, row)?,
            Change::Audit(record) => {
                let entry = head(savepoint)?.append(record.clone());
                savepoint
                    .prepare_cached("INSERT INTO audit_log VALUES (?1, ?2, ?3)")?
                    .execute(params![
                        entry.number.cast_signed(),
                        entry.record,
                        entry.hash.0
                    ])?;
            }
        }
    }
    Ok(())
}

fn head(connection: &Connection) -> rusqlite::Result<AuditHead> {
    connection
        .prepare_cached("SELECT number, hash FROM audit_log ORDER BY number DESC LIMIT 1")?
        .query_row([], |row| {
            Ok(AuditHead {
                number: row.get::<_, i64>(0)?.cast_unsigned(),
                hash: AuditHash(row.get(1)?),
            })
        })
        .optional()
        .map(|head| head.unwrap_or(AuditHead::EMPTY))
}

fn write_device(connection: &Connection, row: &DeviceRow) -> Result<(), Failure> {
    let endpoint = row.link.endpoint();
    if row.state != DeviceState::Retired {
        let taken = |field, column: &str, wanted: &dyn ToSql, value: &dyn Fn() -> String| {
            let by = connection
                .prepare_cached(&format!(
                    "SELECT meter FROM device WHERE {column} = ?1 AND state <> 3 AND meter <> ?2"
                ))?
                .query_row(params![wanted, row.meter.0], |row| row.get(0).map(MeterId))
                .optional()?;
            match by {
                Some(by) => Err(Failure::Refused(Refused::Taken {
                    meter: row.meter,
                    field,
                    value: value(),
                    by,
                })),
                None => Ok(()),
            }
        };
        taken("title", "title", &row.title.0, &|| row.title.to_string())?;
        taken("serial", "serial", &row.serial, &|| row.serial.clone())?;
        taken("address", "endpoint", &endpoint, &|| endpoint.clone())?;
    }
    // Not INSERT OR REPLACE: it would delete the row that groups refer to.
    connection
        .prepare_cached(
            "INSERT INTO device VALUES \
             (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17) \
             ON CONFLICT (meter) DO UPDATE SET title = ?2, serial = ?3, name = ?4, state = ?5, \
             transport = ?6, address = ?7, server = ?8, physical = ?9, endpoint = ?10, \
             roles = ?11, template = ?12, service_point = ?13, phases = ?14, \
             fuse_a = ?15, voltage_v = ?16, retired_at_millis = ?17",
        )?
        .execute(params![
            row.meter.0,
            row.title.0,
            row.serial,
            row.name,
            code_of(&DeviceState::ALL, row.state),
            code_of(&Transport::ALL, row.link.transport),
            row.link.address,
            row.link.server,
            row.link.physical,
            endpoint,
            encode_roles(&row.roles),
            row.template,
            row.service_point,
            row.phases,
            row.fuse_a,
            row.voltage_v,
            row.retired_at.map(UtcTime::as_millis)
        ])?;
    connection
        .prepare_cached("DELETE FROM device_group WHERE meter = ?1")?
        .execute([row.meter.0])?;
    let mut insert = connection.prepare_cached("INSERT INTO device_group VALUES (?1, ?2)")?;
    for group in &row.groups {
        insert.execute(params![row.meter.0, group])?;
    }
    Ok(())
}

fn write_key(connection: &Connection, row: &KeyRow) -> Result<(), Failure> {
    if let Some(held) = held_key(connection, row.key)? {
        check_key_change(&held, row)?;
    }
    let (kind, state) = (
        code_of(&KeyKind::ALL, row.kind),
        code_of(&KeyState::ALL, row.state),
    );
    let number = row.key.0.cast_signed();
    if is_single(row.state) {
        let by = connection
            .prepare_cached(
                "SELECT key FROM meter_key WHERE meter = ?1 AND kind = ?2 AND client = ?3 \
                 AND state = ?4 AND key <> ?5",
            )?
            .query_row(
                params![row.meter.0, kind, row.client, state, number],
                |row| row.get::<_, i64>(0),
            )
            .optional()?;
        if let Some(by) = by {
            return Err(Failure::Refused(Refused::KeyTwice {
                meter: row.meter,
                kind: row.kind,
                state: row.state,
                by: KeyId(by.cast_unsigned()),
            }));
        }
    }
    connection
        .prepare_cached(
            "INSERT INTO meter_key VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
             ON CONFLICT (key) DO UPDATE SET state = ?5, master = ?6, wrapped = ?7, \
             made_at_millis = ?8",
        )?
        .execute(params![
            number,
            row.meter.0,
            kind,
            row.client,
            state,
            row.master,
            row.wrapped,
            row.made_at.as_millis()
        ])?;
    Ok(())
}

fn held_key(connection: &Connection, number: KeyId) -> Result<Option<KeyRow>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT key, meter, kind, client, state, master, wrapped, made_at_millis \
         FROM meter_key WHERE key = ?1",
    )?;
    let mut rows = statement.query([number.0.cast_signed()])?;
    match rows.next()? {
        Some(row) => Ok(Some(key(row)?)),
        None => Ok(None),
    }
}

fn rewrap(connection: &Connection, row: &Rewrap) -> Result<(), Failure> {
    let changed = connection
        .prepare_cached(
            "UPDATE meter_key SET master = ?3, wrapped = ?4 \
             WHERE key = ?1 AND master = ?2 AND state <> 3",
        )?
        .execute(params![
            row.key.0.cast_signed(),
            row.from,
            row.to,
            row.wrapped
        ])?;
    if changed == 0 {
        return Err(Failure::Refused(Refused::NotWrappedBy {
            key: row.key,
            from: row.from,
        }));
    }
    Ok(())
}

fn raise(connection: &Connection, row: &CounterRow) -> Result<(), Failure> {
    let number = row.key.0.cast_signed();
    let direction = code_of(&Direction::ALL, row.direction);
    let held: Option<u32> = connection
        .prepare_cached(
            "SELECT value FROM key_counter WHERE key = ?1 AND direction = ?2 AND title = ?3",
        )?
        .query_row(params![number, direction, row.title.0], |row| row.get(0))
        .optional()?;
    match held {
        Some(held) if held > row.value => {
            return Err(Failure::Refused(Refused::CounterLowered {
                key: row.key,
                direction: row.direction,
                title: row.title,
                held,
                offered: row.value,
            }));
        }
        Some(_) => {}
        None => {
            let is_known = connection
                .prepare_cached("SELECT 1 FROM meter_key WHERE key = ?1")?
                .exists([number])?;
            if !is_known {
                return Err(Failure::Refused(Refused::UnknownKey(row.key)));
            }
        }
    }
    connection
        .prepare_cached(
            "INSERT INTO key_counter VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT DO UPDATE SET value = ?4",
        )?
        .execute(params![number, direction, row.title.0, row.value])?;
    Ok(())
}

fn write_master(connection: &Connection, row: &MasterRow) -> Result<(), Failure> {
    let held: Option<[u8; 24]> = connection
        .prepare_cached("SELECT check_value FROM master_key WHERE version = ?1")?
        .query_row([row.version], |row| row.get(0))
        .optional()?;
    if held.is_some_and(|held| held != row.check) {
        return Err(Failure::Refused(Refused::MasterChanged(row.version)));
    }
    connection
        .prepare_cached("INSERT OR REPLACE INTO master_key VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            row.version,
            row.check,
            row.since.as_millis(),
            row.is_retired
        ])?;
    Ok(())
}

fn write_work(connection: &Connection, row: &WorkRow) -> Result<(), Failure> {
    let kind = code_of(&WorkKind::ALL, row.kind);
    let meter = row.meter.map_or(WHOLE, |meter| i64::from(meter.0));
    let changed = connection
        .prepare_cached(
            "INSERT INTO work VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE \
             SET state = ?4, is_finished = ?5, changed_at_millis = ?6 WHERE is_finished = 0",
        )?
        .execute(params![
            kind,
            row.number.cast_signed(),
            meter,
            row.state,
            row.is_finished,
            row.changed_at.as_millis()
        ])?;
    if changed == 0 {
        return Err(Failure::Refused(Refused::Finished {
            kind: row.kind,
            number: row.number,
        }));
    }
    Ok(())
}

fn device(row: &Row<'_>) -> Result<DeviceRow, RowError> {
    let state: u8 = row.get(4)?;
    let transport: u8 = row.get(5)?;
    let roles: Vec<u8> = row.get(9)?;
    Ok(DeviceRow {
        meter: MeterId(row.get(0)?),
        title: SystemTitle(row.get(1)?),
        serial: row.get(2)?,
        name: row.get(3)?,
        state: by_code(&DeviceState::ALL, state)
            .ok_or_else(|| damaged("device", format!("state {state}")))?,
        link: DeviceLink {
            transport: by_code(&Transport::ALL, transport)
                .ok_or_else(|| damaged("device", format!("transport {transport}")))?,
            address: row.get(6)?,
            server: row.get(7)?,
            physical: row.get(8)?,
        },
        roles: decode_roles(&roles)
            .ok_or_else(|| damaged("device", format!("{} bytes of roles", roles.len())))?,
        template: row.get(10)?,
        groups: std::collections::BTreeSet::new(),
        service_point: row.get(11)?,
        phases: row.get(12)?,
        fuse_a: row.get(13)?,
        voltage_v: row.get(14)?,
        retired_at: row.get::<_, Option<i64>>(15)?.map(UtcTime::from_millis),
    })
}

fn key(row: &Row<'_>) -> Result<KeyRow, RowError> {
    let kind: u8 = row.get(2)?;
    let state: u8 = row.get(4)?;
    Ok(KeyRow {
        key: KeyId(row.get::<_, i64>(0)?.cast_unsigned()),
        meter: MeterId(row.get(1)?),
        kind: by_code(&KeyKind::ALL, kind)
            .ok_or_else(|| damaged("meter_key", format!("kind {kind}")))?,
        client: row.get(3)?,
        state: by_code(&KeyState::ALL, state)
            .ok_or_else(|| damaged("meter_key", format!("state {state}")))?,
        master: row.get(5)?,
        wrapped: row.get(6)?,
        made_at: UtcTime::from_millis(row.get(7)?),
    })
}

fn encode_roles(roles: &[ClientRole]) -> Vec<u8> {
    let bytes = roles.iter().flat_map(|role| {
        let [high, low] = role.client.to_be_bytes();
        [high, low, role.mechanism, role.suite.unwrap_or(NO_SUITE)]
    });
    bytes.collect()
}

fn decode_roles(bytes: &[u8]) -> Option<Vec<ClientRole>> {
    let (roles, rest) = bytes.as_chunks::<4>();
    let roles = roles
        .iter()
        .map(|&[high, low, mechanism, suite]| ClientRole {
            client: u16::from_be_bytes([high, low]),
            mechanism,
            suite: (suite != NO_SUITE).then_some(suite),
        });
    rest.is_empty().then(|| roles.collect())
}
