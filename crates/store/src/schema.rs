//! The SQLite schema, one numbered migration after the other. The number that a database has
//! reached is its `user_version`. A released migration never changes; a change is a new one.

use std::time::Duration;

use rusqlite::Connection;

use crate::backend::StoreError;

/// How long a statement waits for another connection's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

const MIGRATIONS: [&str; 1] = ["
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
"];

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
