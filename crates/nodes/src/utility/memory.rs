//! What a utility finds on its disk when it starts.

use std::collections::BTreeSet;

use gridloom_core::{Day, IntervalReading, MeterId, Month, Period};
use gridloom_store::{Backend, BillRow, Ledger, PricePoint, StoreError};

use super::{ServedMeter, UtilityNode};

/// Why a utility cannot start from its disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A memory cell holds something else.
    #[error("utility memory, cell {cell}: {length} bytes; restore it from a backup")]
    Cell {
        /// Which cell.
        cell: &'static str,
        /// How long it is.
        length: usize,
    },
}

/// A utility's durable state, read once at its start.
#[derive(Debug)]
pub struct UtilityMemory {
    /// The ledger, recovered from its journal.
    pub ledger: Ledger,
    /// The month to close next.
    pub next_month: Month,
    /// Days before this one are sealed.
    pub sealed_before: Day,
    /// Days before this one are in the archive.
    pub archived_before: Day,
    /// Readings in sealed days.
    pub sealed: u64,
    /// Prices that still matter, in order.
    pub prices: Vec<PricePoint>,
    /// Sealed readings of the months that are not closed, by meter and end.
    pub readings: Vec<IntervalReading>,
    /// Bills of the last closed months.
    pub bills: Vec<BillRow>,
}

impl UtilityMemory {
    /// The memory cell that says which days are in the archive.
    pub const ARCHIVED: &'static str = "archived-before";

    /// Months of closed bills that are read for the console.
    pub const BILL_MONTHS: usize = 24;

    /// Reads what a utility that began service on `began` needs to go on.
    ///
    /// `archived` is the content of the cell [`Self::ARCHIVED`], if it was ever written.
    ///
    /// # Errors
    ///
    /// If the database fails, or a cell or block is damaged.
    pub fn read(
        backend: &dyn Backend,
        archived: Option<&[u8]>,
        ledger: Ledger,
        meters: &[ServedMeter],
        period: Period,
        began: Day,
    ) -> Result<Self, MemoryError> {
        let checkpoint = backend.checkpoint()?;
        let sealed_before = checkpoint.sealed_before.max(began);
        let archived_before = archived.map_or(Ok(began), decode_day)?;
        let mut bills = Vec::new();
        let mut next_month = began.month();
        while let Some(due) = due_in(next_month, meters, period) {
            let of_month = backend.bills(next_month)?;
            let has_bill = |meter: &MeterId| of_month.iter().any(|bill| bill.meter == *meter);
            if !due.iter().all(has_bill) {
                break;
            }
            bills.extend(of_month);
            next_month = next_month.next();
            let keep = Self::BILL_MONTHS * meters.len();
            if bills.len() > keep {
                bills.drain(..bills.len() - keep);
            }
        }
        let newest = ledger
            .open_days()
            .last()
            .unwrap_or(sealed_before)
            .max(sealed_before);
        let recent = Day::from_epoch_days(
            newest.epoch_days() - i32::try_from(UtilityNode::RECENT_DAYS).unwrap_or(i32::MAX),
        );
        let mut prices = backend.prices(period, recent.min(next_month.first_day())..=newest)?;
        prices.extend(ledger.open_prices(period));
        prices.sort_by_key(|point| point.end);
        prices.dedup_by_key(|point| point.end);
        let mut readings = Vec::new();
        for served in meters {
            let days = next_month.first_day()..=newest;
            readings.extend(backend.readings(served.meter, period, days)?);
        }
        Ok(Self {
            sealed: backend.summary()?.readings,
            ledger,
            next_month,
            sealed_before,
            archived_before,
            prices,
            readings,
            bills,
        })
    }

    /// The content of the cell [`Self::ARCHIVED`].
    pub(super) fn encode_day(day: Day) -> Vec<u8> {
        day.epoch_days().to_be_bytes().to_vec()
    }
}

/// The meters that have a bill of `month`; `None` if neither they nor any of a later month has.
/// A month counts as closed when every one of them has its bill.
fn due_in(month: Month, meters: &[ServedMeter], period: Period) -> Option<BTreeSet<MeterId>> {
    let due: BTreeSet<MeterId> = meters
        .iter()
        .filter(|served| served.span.intervals_in(month, period) > 0)
        .map(|served| served.meter)
        .collect();
    let next = month.next().first_day().start();
    let is_early = meters.iter().any(|served| served.span.from() >= next);
    (!due.is_empty() || is_early).then_some(due)
}

fn decode_day(bytes: &[u8]) -> Result<Day, MemoryError> {
    bytes
        .try_into()
        .map(|bytes| Day::from_epoch_days(i32::from_be_bytes(bytes)))
        .map_err(|_| MemoryError::Cell {
            cell: UtilityMemory::ARCHIVED,
            length: bytes.len(),
        })
}
