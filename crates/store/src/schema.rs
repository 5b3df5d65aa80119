//! The SQLite schema, one numbered migration after the other. The number that a database has
//! reached is its `user_version`. A released migration never changes; a change is a new one.

use std::time::Duration;

use rusqlite::Connection;

use crate::backend::StoreError;

/// How long a statement waits for another connection's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

const MIGRATIONS: [&str; 3] = [
    "
CREATE TABLE meter (
    meter INTEGER PRIMARY KEY,
    title BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    phases INTEGER NOT NULL,
    wrapped_ek BLOB NOT NULL,
    wrapped_ak BLOB NOT NULL,
    service_point TEXT NOT NULL
) STRICT;

-- No foreign key to meter: a durable reading is never refused because a registry row is gone.
CREATE TABLE block (
    meter INTEGER NOT NULL,
    period_secs INTEGER NOT NULL,
    day INTEGER NOT NULL,
    version INTEGER NOT NULL,
    readings INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (meter, period_secs, day)
) STRICT, WITHOUT ROWID;

-- One row per change to a sealed day; slots are four big-endian bytes each.
CREATE TABLE block_audit (
    id INTEGER PRIMARY KEY,
    meter INTEGER NOT NULL,
    period_secs INTEGER NOT NULL,
    day INTEGER NOT NULL,
    version INTEGER NOT NULL,
    added BLOB NOT NULL,
    FOREIGN KEY (meter, period_secs, day) REFERENCES block
) STRICT;
CREATE INDEX block_audit_by_meter ON block_audit (meter);

CREATE TABLE conflict (
    meter INTEGER NOT NULL,
    end_millis INTEGER NOT NULL,
    period_secs INTEGER NOT NULL,
    number INTEGER NOT NULL,
    evidence BLOB NOT NULL,
    PRIMARY KEY (meter, end_millis, period_secs, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE price (
    period_secs INTEGER NOT NULL,
    end_millis INTEGER NOT NULL,
    micro_per_kwh INTEGER NOT NULL,
    total_watts INTEGER NOT NULL,
    stations_on INTEGER NOT NULL,
    missing INTEGER NOT NULL,
    PRIMARY KEY (period_secs, end_millis)
) STRICT, WITHOUT ROWID;

CREATE TABLE bill (
    month TEXT NOT NULL,
    meter INTEGER NOT NULL,
    version INTEGER NOT NULL,
    currency TEXT NOT NULL,
    minor_digits INTEGER NOT NULL,
    amount_minor INTEGER NOT NULL,
    energy_mwh INTEGER NOT NULL,
    intervals INTEGER NOT NULL,
    gaps INTEGER NOT NULL,
    charge_pico TEXT NOT NULL,
    issued_at_millis INTEGER NOT NULL,
    PRIMARY KEY (month, meter, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoint (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    through INTEGER NOT NULL,
    sealed_before INTEGER NOT NULL,
    sealed_through INTEGER NOT NULL
) STRICT;

CREATE TABLE cell (
    node TEXT NOT NULL,
    slot TEXT NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (node, slot)
) STRICT, WITHOUT ROWID;
",
    "
-- The operations' tables. `device` replaces `meter`, whose rows it takes over below.
CREATE TABLE device (
    meter INTEGER PRIMARY KEY,
    title BLOB NOT NULL,
    serial TEXT NOT NULL,
    name TEXT NOT NULL,
    state INTEGER NOT NULL,
    transport INTEGER NOT NULL,
    address TEXT NOT NULL,
    server INTEGER NOT NULL,
    physical INTEGER NOT NULL,
    endpoint TEXT NOT NULL,
    -- Four bytes per role: client, mechanism, suite (255: none).
    roles BLOB NOT NULL,
    template TEXT NOT NULL,
    service_point TEXT NOT NULL,
    phases INTEGER NOT NULL
) STRICT;
-- State 3 is retired: what such a meter had is free again.
CREATE UNIQUE INDEX device_title ON device (title) WHERE state <> 3;
CREATE UNIQUE INDEX device_serial ON device (serial) WHERE state <> 3;
CREATE UNIQUE INDEX device_endpoint ON device (endpoint) WHERE state <> 3;

CREATE TABLE device_group (
    meter INTEGER NOT NULL REFERENCES device,
    name TEXT NOT NULL,
    PRIMARY KEY (meter, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE master_key (
    version INTEGER PRIMARY KEY,
    check_value BLOB NOT NULL,
    since_millis INTEGER NOT NULL,
    is_retired INTEGER NOT NULL
) STRICT;

CREATE TABLE meter_key (
    key INTEGER PRIMARY KEY,
    meter INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    client INTEGER NOT NULL,
    state INTEGER NOT NULL,
    master INTEGER NOT NULL,
    wrapped BLOB NOT NULL,
    made_at_millis INTEGER NOT NULL
) STRICT;
CREATE INDEX meter_key_by_meter ON meter_key (meter);
-- At most one pending (0) and one current (1) key of a kind and client.
CREATE UNIQUE INDEX meter_key_single ON meter_key (meter, kind, client, state) WHERE state < 2;
CREATE TRIGGER meter_key_stays BEFORE DELETE ON meter_key
BEGIN SELECT RAISE(ABORT, 'a key is retired, never deleted: its number must stay used'); END;

CREATE TABLE key_counter (
    key INTEGER NOT NULL REFERENCES meter_key,
    direction INTEGER NOT NULL,
    title BLOB NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (key, direction, title)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER key_counter_rises BEFORE UPDATE ON key_counter WHEN new.value < old.value
BEGIN SELECT RAISE(ABORT, 'a counter is never lowered without a new key'); END;
CREATE TRIGGER key_counter_stays BEFORE DELETE ON key_counter
BEGIN SELECT RAISE(ABORT, 'a counter is never forgotten'); END;

CREATE TABLE work (
    kind INTEGER NOT NULL,
    number INTEGER NOT NULL,
    -- -1: the whole.
    meter INTEGER NOT NULL,
    state BLOB NOT NULL,
    is_finished INTEGER NOT NULL,
    changed_at_millis INTEGER NOT NULL,
    PRIMARY KEY (kind, number, meter)
) STRICT, WITHOUT ROWID;
CREATE INDEX work_unfinished ON work (kind, number, meter) WHERE is_finished = 0;

CREATE TABLE audit_log (
    number INTEGER PRIMARY KEY,
    record BLOB NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE TRIGGER audit_log_fixed BEFORE UPDATE ON audit_log
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_log_stays BEFORE DELETE ON audit_log
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

-- Meters of the first schema push through a gateway of ours under keys of master key 1.
INSERT INTO device
SELECT meter, title, 'm' || meter, name, 1, 4, 'm' || meter, 1, 0, 'gateway:m' || meter || '/1/0',
    x'', 'standard', service_point, phases FROM meter;
INSERT INTO meter_key (meter, kind, client, state, master, wrapped, made_at_millis)
SELECT meter, 0, 0, 1, 1, wrapped_ek, 0 FROM meter ORDER BY meter;
INSERT INTO meter_key (meter, kind, client, state, master, wrapped, made_at_millis)
SELECT meter, 2, 0, 1, 1, wrapped_ak, 0 FROM meter ORDER BY meter;
",
    "
-- What every meter counted as until now: 100 A at 230 V.
ALTER TABLE device ADD COLUMN fuse_a INTEGER NOT NULL DEFAULT 100;
ALTER TABLE device ADD COLUMN voltage_v INTEGER NOT NULL DEFAULT 230;
-- NULL: in service, or retired before this was kept.
ALTER TABLE device ADD COLUMN retired_at_millis INTEGER;
",
];

/// Sets a connection up and brings its database to the newest schema.
pub(crate) fn prepare(connection: &mut Connection) -> Result<(), StoreError> {
    let known = u32::try_from(MIGRATIONS.len()).expect("there are few migrations");
    let found = configure(connection).map_err(StoreError::database("opening"))?;
    if found > known {
        return Err(StoreError::NewerSchema { found, known });
    }
    migrate(connection).map_err(StoreError::database("migrating the schema"))
}

fn configure(connection: &Connection) -> rusqlite::Result<u32> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // A database in memory answers `memory` instead, which is fine.
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    user_version(connection)
}

fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    // Read again under the lock: another process may have migrated meanwhile.
    let done = user_version(&transaction)?;
    for (number, migration) in (1_u32..).zip(MIGRATIONS) {
        if number > done {
            transaction.execute_batch(migration)?;
            transaction.pragma_update(None, "user_version", number)?;
        }
    }
    transaction.commit()
}

fn user_version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}
