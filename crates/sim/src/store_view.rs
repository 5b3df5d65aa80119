//! The utility's store as it stands on its disk: sealed days and the open ones of the journal.

use std::collections::BTreeMap;

use gridloom_core::{Day, IntervalReading, MeterId, Month, Period, UtcTime};
use gridloom_store::{Backend, BillRow, Ledger, LedgerConfig, PricePoint};

use crate::disk::{Disk, DiskError};

/// What a restart at this moment would find. Nothing of it is taken from a running node.
#[derive(Debug)]
pub struct StoreView<'a> {
    disk: &'a Disk,
    ledger: Ledger,
    period: Period,
}

impl<'a> StoreView<'a> {
    /// Reads the disk of a utility.
    ///
    /// # Errors
    ///
    /// If journal and database do not go together.
    pub fn read(disk: &'a Disk, config: LedgerConfig, period: Period) -> Result<Self, DiskError> {
        Ok(Self {
            disk,
            ledger: disk.ledger(config)?,
            period,
        })
    }

    /// Sealed readings of a meter, in order.
    ///
    /// # Errors
    ///
    /// If the database refuses.
    pub fn sealed(
        &self,
        meter: MeterId,
        first: Day,
        last: Day,
    ) -> Result<Vec<IntervalReading>, DiskError> {
        let database = self.disk.database();
        Ok(database.readings(meter, self.period, first..=last)?)
    }

    /// Readings of a meter that are durable in the journal and not sealed yet, in order.
    pub fn open(&self, meter: MeterId, first: Day, last: Day) -> Vec<IntervalReading> {
        self.ledger
            .open_readings(meter, self.period, first..=last)
            .collect()
    }

    /// Readings of a meter that contradict an earlier one.
    ///
    /// # Errors
    ///
    /// If the database refuses.
    pub fn contradictions(
        &self,
        meter: MeterId,
        first: Day,
        last: Day,
    ) -> Result<usize, DiskError> {
        let sealed = self.disk.database().conflicts(meter, first..=last)?.len();
        let open = self.ledger.open_conflicts();
        Ok(sealed + open.filter(|stored| stored.reading.meter == meter).count())
    }

    /// Every durable price of the days, by the end of its interval.
    ///
    /// # Errors
    ///
    /// If the database refuses.
    pub fn prices(
        &self,
        first: Day,
        last: Day,
    ) -> Result<BTreeMap<UtcTime, PricePoint>, DiskError> {
        let mut prices: BTreeMap<UtcTime, PricePoint> = BTreeMap::new();
        let open = self.ledger.open_prices(self.period);
        for point in open.chain(self.disk.database().prices(self.period, first..=last)?) {
            let day = self.period.day_of(point.end);
            if (first..=last).contains(&day) {
                prices.insert(point.end, point);
            }
        }
        Ok(prices)
    }

    /// The bills of a month, by meter.
    ///
    /// # Errors
    ///
    /// If the database refuses.
    pub fn bills(&self, month: Month) -> Result<BTreeMap<MeterId, BillRow>, DiskError> {
        let rows = self.disk.database().bills(month)?;
        Ok(rows.into_iter().map(|row| (row.meter, row)).collect())
    }
}
