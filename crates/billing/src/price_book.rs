//! The decided prices of a period's intervals.

use std::collections::BTreeMap;

use gridloom_core::{Period, Price, UtcTime};

/// Prices one book holds: more than a month of one-second intervals. One more is refused.
pub const PRICES_MAX: usize = 3_000_000;

/// Why a price did not enter the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PriceBookError {
    /// A decided price never changes.
    #[error("the interval ending {end} is priced {kept} already; {refused} is refused")]
    AlreadyPriced {
        /// Which interval.
        end: UtcTime,
        /// Its price, which stays.
        kept: Price,
        /// The other price.
        refused: Price,
    },
    /// No interval of this book ends then.
    #[error("no interval of {} s ends at {end}", .period.as_secs())]
    OffGrid {
        /// The end given.
        end: UtcTime,
        /// The book's period.
        period: Period,
    },
    /// [`PRICES_MAX`] is reached.
    #[error("the price book is full with {PRICES_MAX} prices; forget old ones")]
    Full,
}

/// Decided prices by interval end, for one period. Entries never change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceBook {
    period: Period,
    prices: BTreeMap<UtcTime, Price>,
}

impl PriceBook {
    /// An empty book for intervals of `period`.
    pub const fn new(period: Period) -> Self {
        Self {
            period,
            prices: BTreeMap::new(),
        }
    }

    /// The period of its intervals.
    pub const fn period(&self) -> Period {
        self.period
    }

    /// Enters a decided price. The same price again changes nothing.
    ///
    /// # Errors
    ///
    /// [`PriceBookError`]; the book is then as it was.
    pub fn insert(&mut self, end: UtcTime, price: Price) -> Result<(), PriceBookError> {
        let length_ms = i64::from(self.period.as_secs()) * 1_000;
        if end.as_millis().rem_euclid(length_ms) != 0 {
            return Err(PriceBookError::OffGrid {
                end,
                period: self.period,
            });
        }
        match self.prices.get(&end) {
            Some(&kept) if kept == price => Ok(()),
            Some(&kept) => Err(PriceBookError::AlreadyPriced {
                end,
                kept,
                refused: price,
            }),
            None if self.prices.len() >= PRICES_MAX => Err(PriceBookError::Full),
            None => {
                self.prices.insert(end, price);
                Ok(())
            }
        }
    }

    /// The price of the interval ending at `end`.
    pub fn price_of(&self, end: UtcTime) -> Option<Price> {
        self.prices.get(&end).copied()
    }

    /// The prices of intervals ending at or after `end`, in order of time.
    pub(crate) fn since(&self, end: UtcTime) -> impl Iterator<Item = (UtcTime, Price)> {
        self.prices.range(end..).map(|(&end, &price)| (end, price))
    }

    /// The number of prices.
    pub fn len(&self) -> usize {
        self.prices.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.prices.is_empty()
    }

    /// Drops the prices of intervals that ended before `end`.
    pub fn forget_before(&mut self, end: UtcTime) {
        self.prices = self.prices.split_off(&end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decided_price_stays() {
        let end = UtcTime::parse("2013-01-01T00:30:00Z").unwrap();
        let (low, high) = (Price::parse("0.1").unwrap(), Price::parse("0.2").unwrap());
        let mut book = PriceBook::new(Period::HALF_HOUR);
        assert_eq!(book.insert(end, low), Ok(()));
        assert_eq!(book.insert(end, low), Ok(()));
        assert_eq!(
            book.insert(end, high).unwrap_err().to_string(),
            "the interval ending 2013-01-01T00:30:00Z is priced 0.100000 already; \
             0.200000 is refused"
        );
        assert_eq!(book.price_of(end), Some(low));
        let off = UtcTime::parse("2013-01-01T00:40:00Z").unwrap();
        assert_eq!(
            book.insert(off, low).unwrap_err().to_string(),
            "no interval of 1800 s ends at 2013-01-01T00:40:00Z"
        );
        book.forget_before(end);
        assert_eq!(book.len(), 1);
        book.forget_before(end + Period::HALF_HOUR.duration());
        assert!(book.is_empty());
    }
}
