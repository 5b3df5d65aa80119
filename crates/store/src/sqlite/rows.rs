//! Reading rows back into what they mean.

use gridloom_core::{
    Charge, Currency, Day, MeterId, MilliwattHours, Month, Period, Price, SystemTitle, UtcTime,
    Watts,
};
use rusqlite::{Connection, Params, Row};

use crate::backend::{AuditRow, MeterRow, StoreError};
use crate::effect::Checkpoint;
use crate::record::{BillRow, Lsn, PricePoint, StoredReading};

/// Why a row cannot be read.
pub(super) enum RowError {
    Database(rusqlite::Error),
    Store(StoreError),
}

impl From<rusqlite::Error> for RowError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl From<RowError> for StoreError {
    fn from(error: RowError) -> Self {
        match error {
            RowError::Database(error) => Self::database("reading rows")(error),
            RowError::Store(error) => error,
        }
    }
}

impl StoreError {
    /// Wraps the database's own errors.
    pub(crate) fn database(doing: &'static str) -> impl Fn(rusqlite::Error) -> Self {
        move |error| Self::Database {
            doing,
            error: error.to_string(),
        }
    }
}

/// Every row of a query.
pub(super) fn collect<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl Fn(&Row<'_>) -> Result<T, RowError>,
) -> Result<Vec<T>, StoreError> {
    let all = || -> Result<Vec<T>, RowError> {
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query(params)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(read(row)?);
        }
        Ok(all)
    };
    all().map_err(StoreError::from)
}

pub(super) fn checkpoint(row: &Row<'_>) -> rusqlite::Result<Checkpoint> {
    let lsn = |column| {
        row.get(column)
            .map(|number: i64| Lsn(number.cast_unsigned()))
    };
    Ok(Checkpoint {
        through: lsn(0)?,
        sealed_before: Day::from_epoch_days(row.get(1)?),
        sealed_through: lsn(2)?,
    })
}

pub(super) fn price(row: &Row<'_>) -> Result<PricePoint, RowError> {
    let micro: i64 = row.get(2)?;
    Ok(PricePoint {
        period: period("price", row.get(0)?)?,
        end: UtcTime::from_millis(row.get(1)?),
        price: (micro != i64::MIN)
            .then(|| Price::from_micro_per_kwh(micro))
            .flatten()
            .ok_or_else(|| damaged("price", format!("a price of {micro} millionths per kWh")))?,
        total: Watts::new(row.get(3)?),
        stations_on: row.get(4)?,
        missing: row.get(5)?,
    })
}

pub(super) fn bill(row: &Row<'_>) -> Result<BillRow, RowError> {
    let month: String = row.get(0)?;
    let code: String = row.get(3)?;
    let charge: String = row.get(9)?;
    Ok(BillRow {
        month: Month::parse(&month)
            .ok_or_else(|| damaged("bill", format!("the month {month:?}")))?,
        meter: MeterId(row.get(1)?),
        version: row.get(2)?,
        currency: Currency::new(&code, row.get(4)?)
            .ok_or_else(|| damaged("bill", format!("the currency {code:?}")))?,
        amount_minor: row.get(5)?,
        energy: MilliwattHours::new(row.get(6)?),
        intervals: row.get(7)?,
        gaps: row.get(8)?,
        charge: charge
            .parse()
            .map(Charge::from_pico)
            .map_err(|_| damaged("bill", format!("the charge {charge:?}")))?,
        issued_at: UtcTime::from_millis(row.get(10)?),
    })
}

pub(super) fn meter(row: &Row<'_>) -> Result<MeterRow, RowError> {
    Ok(MeterRow {
        meter: MeterId(row.get(0)?),
        title: SystemTitle(row.get(1)?),
        name: row.get(2)?,
        phases: row.get(3)?,
        wrapped_ek: row.get(4)?,
        wrapped_ak: row.get(5)?,
        service_point: row.get(6)?,
    })
}

pub(super) fn evidence(row: &Row<'_>) -> Result<StoredReading, RowError> {
    let bytes: Vec<u8> = row.get(0)?;
    StoredReading::decode(&bytes).map_err(|error| RowError::Store(error.into()))
}

pub(super) fn audit(row: &Row<'_>) -> Result<AuditRow, RowError> {
    let added: Vec<u8> = row.get(4)?;
    let (slots, rest) = added.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(damaged(
            "block_audit",
            format!("{} bytes of slots", added.len()),
        ));
    }
    Ok(AuditRow {
        meter: MeterId(row.get(0)?),
        period: period("block_audit", row.get(1)?)?,
        day: Day::from_epoch_days(row.get(2)?),
        version: row.get(3)?,
        added: slots.iter().map(|slot| u32::from_be_bytes(*slot)).collect(),
    })
}

pub(super) fn encode_slots(slots: &[u32]) -> Vec<u8> {
    slots.iter().flat_map(|slot| slot.to_be_bytes()).collect()
}

fn period(table: &'static str, seconds: u32) -> Result<Period, RowError> {
    Period::from_secs(seconds).ok_or_else(|| damaged(table, format!("a period of {seconds} s")))
}

pub(super) fn damaged(table: &'static str, what: String) -> RowError {
    RowError::Store(StoreError::DamagedRow { table, what })
}
