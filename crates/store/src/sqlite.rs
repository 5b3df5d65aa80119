//! The embedded back end: SQLite, on a connection that the host opened.

mod operations;
mod rows;

use core::ops::RangeInclusive;
use std::collections::BTreeMap;

use gridloom_core::{Day, IntervalReading, MeterId, Month, Period};
use rusqlite::{
    Connection, OptionalExtension, Statement, Transaction, TransactionBehavior, params,
};

use crate::backend::{AuditRow, Backend, MeterRow, StoreError, Summary};
use crate::block::BlockKey;
use crate::cells::{CellStore, check_cell};
use crate::effect::{Checkpoint, CommitBatch, CommitReport, MeterDay};
use crate::merge::{
    EVIDENCE_PER_INTERVAL_MAX, Merged, check_days, check_meter, check_order, decode_held, merge,
};
use crate::record::{BillRow, PricePoint, StoredReading};
use crate::schema;

pub use operations::SqliteOperations;

/// A gridloom database in SQLite.
#[derive(Debug)]
pub struct SqliteBackend {
    connection: Connection,
}

impl SqliteBackend {
    /// Sets the connection up (WAL, full synchronisation, foreign keys) and migrates the database
    /// to the newest schema.
    ///
    /// # Errors
    ///
    /// If a newer gridloom wrote the database, or the database fails.
    pub fn new(mut connection: Connection) -> Result<Self, StoreError> {
        schema::prepare(&mut connection)?;
        Ok(Self { connection })
    }
}

impl Backend for SqliteBackend {
    fn commit(&mut self, batch: CommitBatch) -> Result<CommitReport, StoreError> {
        let database = StoreError::database("committing");
        // Immediate: a lock that cannot be had is found out before any work.
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(&database)?;
        check_order(&held_checkpoint(&transaction)?, &batch.checkpoint)?;
        let mut report = CommitReport::default();
        BlockWriter::new(&transaction)?.write_all(&batch.meter_days, &mut report)?;
        keep_evidence(
            &transaction,
            batch.conflicts.iter().chain(&report.conflicts),
        )?;
        write_prices(&transaction, batch.prices, &mut report)?;
        write_bills(&transaction, batch.bills, &mut report)?;
        let Checkpoint {
            through,
            sealed_before,
            sealed_through,
        } = batch.checkpoint;
        transaction
            .execute(
                "INSERT OR REPLACE INTO checkpoint VALUES (1, ?1, ?2, ?3)",
                params![
                    through.0.cast_signed(),
                    sealed_before.epoch_days(),
                    sealed_through.0.cast_signed()
                ],
            )
            .map_err(&database)?;
        transaction.commit().map_err(&database)?;
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
        let database = StoreError::database("reading blocks");
        let mut statement = self
            .connection
            .prepare(
                "SELECT day, bytes FROM block \
                 WHERE meter = ?1 AND period_secs = ?2 AND day BETWEEN ?3 AND ?4 ORDER BY day",
            )
            .map_err(&database)?;
        let mut rows = statement
            .query(params![
                meter.0,
                period.as_secs(),
                first.epoch_days(),
                last.epoch_days()
            ])
            .map_err(&database)?;
        let mut readings = Vec::new();
        while let Some(row) = rows.next().map_err(&database)? {
            let day = Day::from_epoch_days(row.get(0).map_err(&database)?);
            let bytes = row.get_ref(1).map_err(&database)?;
            let bytes = bytes.as_blob().map_err(|error| StoreError::DamagedRow {
                table: "block",
                what: error.to_string(),
            })?;
            readings.extend(decode_held(BlockKey { meter, period, day }, bytes)?);
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
        // The interval that ends as a day starts belongs to the day before.
        rows::collect(
            &self.connection,
            "SELECT period_secs, end_millis, micro_per_kwh, total_watts, stations_on, missing \
             FROM price WHERE period_secs = ?1 AND end_millis > ?2 AND end_millis <= ?3 \
             ORDER BY end_millis",
            params![
                period.as_secs(),
                first.start().as_millis(),
                last.next().start().as_millis()
            ],
            rows::price,
        )
    }

    fn bills(&self, month: Month) -> Result<Vec<BillRow>, StoreError> {
        rows::collect(
            &self.connection,
            "SELECT month, meter, version, currency, minor_digits, amount_minor, energy_mwh, \
             intervals, gaps, charge_pico, issued_at_millis \
             FROM bill WHERE month = ?1 ORDER BY meter, version",
            params![month.to_string()],
            rows::bill,
        )
    }

    fn meters(&self) -> Result<Vec<MeterRow>, StoreError> {
        rows::collect(
            &self.connection,
            "SELECT meter, title, name, phases, wrapped_ek, wrapped_ak, service_point \
             FROM meter ORDER BY meter",
            [],
            rows::meter,
        )
    }

    fn enrol(&mut self, row: MeterRow) -> Result<(), StoreError> {
        check_meter(&row)?;
        let database = StoreError::database("enrolling a meter");
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(&database)?;
        let owner: Option<u32> = transaction
            .query_row(
                "SELECT meter FROM meter WHERE title = ?1 AND meter <> ?2",
                params![row.title.0, row.meter.0],
                |found| found.get(0),
            )
            .optional()
            .map_err(&database)?;
        if let Some(owner) = owner {
            return Err(StoreError::TitleTaken {
                title: row.title,
                by: MeterId(owner),
            });
        }
        transaction
            .execute(
                "INSERT OR REPLACE INTO meter (meter, title, name, phases, wrapped_ek, wrapped_ak, \
                 service_point) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    row.meter.0,
                    row.title.0,
                    row.name,
                    row.phases,
                    row.wrapped_ek,
                    row.wrapped_ak,
                    row.service_point
                ],
            )
            .map_err(&database)?;
        transaction.commit().map_err(&database)
    }

    fn conflicts(
        &self,
        meter: MeterId,
        days: RangeInclusive<Day>,
    ) -> Result<Vec<StoredReading>, StoreError> {
        let (&first, &last) = (days.start(), days.end());
        check_days(first, last)?;
        rows::collect(
            &self.connection,
            "SELECT evidence FROM conflict \
             WHERE meter = ?1 AND end_millis > ?2 AND end_millis <= ?3 \
             ORDER BY end_millis, period_secs, number",
            params![
                meter.0,
                first.start().as_millis(),
                last.next().start().as_millis()
            ],
            rows::evidence,
        )
    }

    fn audit(&self, meter: MeterId) -> Result<Vec<AuditRow>, StoreError> {
        rows::collect(
            &self.connection,
            "SELECT meter, period_secs, day, version, added FROM block_audit \
             WHERE meter = ?1 ORDER BY id",
            params![meter.0],
            rows::audit,
        )
    }

    fn checkpoint(&self) -> Result<Checkpoint, StoreError> {
        held_checkpoint(&self.connection)
    }

    fn summary(&self) -> Result<Summary, StoreError> {
        self.connection
            .query_row(
                "SELECT coalesce(sum(readings), 0), count(*), coalesce(sum(length(bytes)), 0), \
                 (SELECT count(*) FROM price), (SELECT count(*) FROM bill), \
                 (SELECT count(*) FROM meter), (SELECT count(*) FROM conflict) FROM block",
                [],
                |row| {
                    let count = |column| row.get(column).map(i64::cast_unsigned);
                    Ok(Summary {
                        readings: count(0)?,
                        blocks: count(1)?,
                        block_bytes: count(2)?,
                        prices: count(3)?,
                        bills: count(4)?,
                        meters: count(5)?,
                        conflicts: count(6)?,
                    })
                },
            )
            .map_err(StoreError::database("counting"))
    }
}

fn held_checkpoint(connection: &Connection) -> Result<Checkpoint, StoreError> {
    connection
        .query_row(
            "SELECT through, sealed_before, sealed_through FROM checkpoint",
            [],
            rows::checkpoint,
        )
        .optional()
        .map(Option::unwrap_or_default)
        .map_err(StoreError::database("reading the checkpoint"))
}

/// Merges meter-days into the blocks that are there.
struct BlockWriter<'a> {
    select: Statement<'a>,
    replace: Statement<'a>,
    audit: Statement<'a>,
}

impl<'a> BlockWriter<'a> {
    fn new(transaction: &'a Transaction<'_>) -> Result<Self, StoreError> {
        let prepare = |sql| {
            transaction
                .prepare(sql)
                .map_err(StoreError::database("preparing to write blocks"))
        };
        Ok(Self {
            select: prepare(
                "SELECT version, bytes FROM block \
                 WHERE meter = ?1 AND period_secs = ?2 AND day = ?3",
            )?,
            // Not INSERT OR REPLACE: it would delete the row that audit rows refer to.
            replace: prepare(
                "INSERT INTO block (meter, period_secs, day, version, readings, bytes) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                 ON CONFLICT DO UPDATE SET version = ?4, readings = ?5, bytes = ?6",
            )?,
            audit: prepare(
                "INSERT INTO block_audit (meter, period_secs, day, version, added) \
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?,
        })
    }

    fn write_all(
        &mut self,
        meter_days: &[MeterDay],
        report: &mut CommitReport,
    ) -> Result<(), StoreError> {
        for sealed in meter_days {
            let key = BlockKey::of(sealed);
            let held = self
                .held(key)
                .map_err(StoreError::database("reading a block"))?;
            let merged = merge(held.as_ref().map(|(_, bytes)| bytes.as_slice()), sealed)?;
            report.take(&merged);
            if let Some(block) = &merged.block {
                let version = held.map_or(1, |(version, _)| version + 1);
                report.reopened += u64::from(version > 1);
                self.write(key, version, &merged, block)
                    .map_err(StoreError::database("writing a block"))?;
            }
        }
        Ok(())
    }

    fn held(&mut self, key: BlockKey) -> rusqlite::Result<Option<(u32, Vec<u8>)>> {
        self.select
            .query_row(
                params![key.meter.0, key.period.as_secs(), key.day.epoch_days()],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()
    }

    fn write(
        &mut self,
        key: BlockKey,
        version: u32,
        merged: &Merged,
        block: &[u8],
    ) -> rusqlite::Result<()> {
        let (meter, period, day) = (key.meter.0, key.period.as_secs(), key.day.epoch_days());
        self.replace.execute(params![
            meter,
            period,
            day,
            version,
            merged.readings.cast_signed(),
            block
        ])?;
        if version > 1 {
            let added = rows::encode_slots(&merged.added);
            self.audit
                .execute(params![meter, period, day, version, added])?;
        }
        Ok(())
    }
}

fn keep_evidence<'a>(
    transaction: &Transaction<'_>,
    contradictions: impl Iterator<Item = &'a StoredReading>,
) -> Result<(), StoreError> {
    for stored in contradictions {
        let reading = &stored.reading;
        let (meter, end, period) = (
            reading.meter.0,
            reading.end.as_millis(),
            reading.period.as_secs(),
        );
        let kept = rows::collect(
            transaction,
            "SELECT evidence FROM conflict \
             WHERE meter = ?1 AND end_millis = ?2 AND period_secs = ?3",
            params![meter, end, period],
            rows::evidence,
        )?;
        let known = kept.iter().any(|other| other.reading == *reading);
        if known || kept.len() >= EVIDENCE_PER_INTERVAL_MAX {
            continue;
        }
        let mut evidence = Vec::new();
        stored.encode(&mut evidence);
        let number = i64::try_from(kept.len()).expect("the number is bounded");
        transaction
            .execute(
                "INSERT INTO conflict (meter, end_millis, period_secs, number, evidence) \
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![meter, end, period, number, evidence],
            )
            .map_err(StoreError::database("keeping evidence"))?;
    }
    Ok(())
}

fn write_prices(
    transaction: &Transaction<'_>,
    prices: Vec<PricePoint>,
    report: &mut CommitReport,
) -> Result<(), StoreError> {
    for point in prices {
        let (period, end) = (point.period.as_secs(), point.end.as_millis());
        let inserted = transaction
            .execute(
                "INSERT INTO price (period_secs, end_millis, micro_per_kwh, total_watts, \
                 stations_on, missing) VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
                params![
                    period,
                    end,
                    point.price.micro_per_kwh(),
                    point.total.get(),
                    point.stations_on,
                    point.missing
                ],
            )
            .map_err(StoreError::database("writing a price"))?;
        if inserted == 1 {
            report.prices += 1;
            continue;
        }
        let held = rows::collect(
            transaction,
            "SELECT period_secs, end_millis, micro_per_kwh, total_watts, stations_on, missing \
             FROM price WHERE period_secs = ?1 AND end_millis = ?2",
            params![period, end],
            rows::price,
        )?;
        if held != [point] {
            report.price_conflicts.push(point);
        }
    }
    Ok(())
}

fn write_bills(
    transaction: &Transaction<'_>,
    bills: Vec<BillRow>,
    report: &mut CommitReport,
) -> Result<(), StoreError> {
    for bill in bills {
        let month = bill.month.to_string();
        let inserted = transaction
            .execute(
                "INSERT INTO bill (month, meter, version, currency, minor_digits, amount_minor, \
                 energy_mwh, intervals, gaps, charge_pico, issued_at_millis) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO NOTHING",
                params![
                    month,
                    bill.meter.0,
                    bill.version,
                    bill.currency.code(),
                    bill.currency.minor_digits(),
                    bill.amount_minor,
                    bill.energy.get(),
                    bill.intervals,
                    bill.gaps,
                    bill.charge.pico().to_string(),
                    bill.issued_at.as_millis()
                ],
            )
            .map_err(StoreError::database("writing a bill"))?;
        if inserted == 1 {
            report.bills += 1;
            continue;
        }
        let held = rows::collect(
            transaction,
            "SELECT month, meter, version, currency, minor_digits, amount_minor, energy_mwh, \
             intervals, gaps, charge_pico, issued_at_millis \
             FROM bill WHERE month = ?1 AND meter = ?2 AND version = ?3",
            params![month, bill.meter.0, bill.version],
            rows::bill,
        )?;
        if held != [bill] {
            report.bills_refused.push(bill);
        }
    }
    Ok(())
}

/// Cells in SQLite. They may share a database file with a [`SqliteBackend`], each on its own
/// connection.
#[derive(Debug)]
pub struct SqliteCells {
    connection: Connection,
}

impl SqliteCells {
    /// Sets the connection up and migrates the database, as [`SqliteBackend::new`] does.
    ///
    /// # Errors
    ///
    /// If a newer gridloom wrote the database, or the database fails.
    pub fn new(mut connection: Connection) -> Result<Self, StoreError> {
        schema::prepare(&mut connection)?;
        Ok(Self { connection })
    }
}

impl CellStore for SqliteCells {
    fn put_many(&mut self, cells: &[(&str, &str, &[u8])]) -> Result<(), StoreError> {
        cells.iter().try_for_each(|cell| check_cell(*cell))?;
        let mut put = || {
            let transaction = self
                .connection
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut statement = transaction
                .prepare("INSERT OR REPLACE INTO cell (node, slot, bytes) VALUES (?1, ?2, ?3)")?;
            for cell in cells {
                statement.execute(*cell)?;
            }
            drop(statement);
            transaction.commit()
        };
        put().map_err(StoreError::database("writing cells"))
    }

    fn get(&self, node: &str, slot: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.connection
            .query_row(
                "SELECT bytes FROM cell WHERE node = ?1 AND slot = ?2",
                [node, slot],
                |row| row.get(0),
            )
            .optional()
            .map_err(StoreError::database("reading a cell"))
    }

    fn all_of(&self, node: &str) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
        let database = StoreError::database("reading cells");
        let mut statement = self
            .connection
            .prepare("SELECT slot, bytes FROM cell WHERE node = ?1")
            .map_err(&database)?;
        let cells = statement
            .query_map([node], |row| Ok((row.get(0)?, row.get(1)?)))
            .map_err(&database)?;
        cells.collect::<rusqlite::Result<_>>().map_err(&database)
    }
}
