//! The sum that proves nothing is missing unnoticed: present intervals and named gaps of a month.

use gridloom_core::{MeterId, Month, Period, UtcTime};

use crate::backend::{Backend, StoreError};

/// A month of a meter, interval by interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Intervals that the month has.
    pub expected: u32,
    /// Intervals that are sealed.
    pub present: u32,
    /// The others, in order.
    pub missing: Vec<MissingRange>,
}

/// Successive intervals without a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissingRange {
    /// The end of the first missing interval.
    pub first_end: UtcTime,
    /// The end of the last missing interval.
    pub last_end: UtcTime,
    /// How many there are.
    pub count: u32,
}

/// Accounts for every interval of a month: `present` and the counts of `missing` add up to
/// `expected`.
///
/// # Errors
///
/// As [`Backend::readings`].
pub fn account(
    backend: &dyn Backend,
    meter: MeterId,
    month: Month,
    period: Period,
) -> Result<Account, StoreError> {
    let first = month.first_day();
    let last = month.days().last().expect("a month has days");
    let readings = backend.readings(meter, period, first..=last)?;
    let mut account = Account {
        expected: 0,
        present: 0,
        missing: Vec::new(),
    };
    let mut ends = readings.iter().map(|reading| reading.end).peekable();
    let month_end = last.next().start();
    let mut due = first.start() + period.duration();
    while due <= month_end {
        account.expected += 1;
        if ends.next_if_eq(&due).is_some() {
            account.present += 1;
        } else {
            account.miss(due, period);
        }
        due = due + period.duration();
    }
    Ok(account)
}

impl Account {
    fn miss(&mut self, end: UtcTime, period: Period) {
        match self.missing.last_mut() {
            Some(range) if range.last_end + period.duration() == end => {
                range.last_end = end;
                range.count += 1;
            }
            _ => self.missing.push(MissingRange {
                first_end: end,
                last_end: end,
                count: 1,
            }),
        }
    }
}
