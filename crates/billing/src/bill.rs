//! One meter's bill of one month.

use std::collections::BTreeMap;

use gridloom_core::{
    Charge, Currency, Day, MeterId, MilliwattHours, Money, Month, Period, Price, UtcTime, Watts,
};
use gridloom_mdm::{Gap, ServiceSpan, ValidatedInterval, gaps};

use crate::price_book::PriceBook;
use crate::rounding::half_away;

/// Why a month cannot be billed. Each names the first interval at fault in order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BillError {
    /// An interval of somebody else.
    #[error("bill of {billed}: the interval ending {end} is of {owner}")]
    OtherMeter {
        /// Whose bill.
        billed: MeterId,
        /// Whose interval.
        owner: MeterId,
        /// Its end.
        end: UtcTime,
    },
    /// An interval or a price book of another capture period.
    #[error("bill of {billed}: {what} is of {} s, the bill of {} s", .got.as_secs(), .wanted.as_secs())]
    OtherPeriod {
        /// Whose bill.
        billed: MeterId,
        /// The interval, or the price book.
        what: &'static str,
        /// Its period.
        got: Period,
        /// The bill's period.
        wanted: Period,
    },
    /// An interval of another month.
    #[error("bill of {billed} for {month}: the interval ending {end} is of another month")]
    OtherMonth {
        /// Whose bill.
        billed: MeterId,
        /// The bill's month.
        month: Month,
        /// The interval's end.
        end: UtcTime,
    },
    /// An interval in which the meter did not measure for this customer.
    #[error("bill of {billed}: the interval ending {end} is outside service ({in_service})")]
    OutOfService {
        /// Whose bill.
        billed: MeterId,
        /// The interval's end.
        end: UtcTime,
        /// When the meter was in service.
        in_service: ServiceSpan,
    },
    /// The same interval twice.
    #[error("bill of {billed}: the interval ending {end} is given twice; nothing is billed twice")]
    Duplicate {
        /// Whose bill.
        billed: MeterId,
        /// The interval's end.
        end: UtcTime,
    },
    /// An interval whose price is not decided.
    #[error("bill of {billed}: the interval ending {end} has no price; settle it first")]
    Unpriced {
        /// Whose bill.
        billed: MeterId,
        /// The interval's end.
        end: UtcTime,
    },
}

impl BillError {
    /// Whether the same bill may succeed later without an operator.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Unpriced { .. } => true,
            Self::OtherMeter { .. }
            | Self::OtherPeriod { .. }
            | Self::OtherMonth { .. }
            | Self::OutOfService { .. }
            | Self::Duplicate { .. } => false,
        }
    }
}

/// What one day adds to the bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayLine {
    /// The day.
    pub day: Day,
    /// Intervals billed.
    pub intervals: u32,
    /// Their energy.
    pub energy: MilliwattHours,
    /// Their charge, not rounded.
    pub charge: Charge,
}

/// The prices of the intervals billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriceSummary {
    /// The lowest price of any interval billed.
    pub min: Price,
    /// The highest price of any interval billed.
    pub max: Price,
    /// Charge / energy: the mean weighted by energy, rounded to a millionth of the currency unit
    /// per kWh, halves away from zero. `None` if no energy was used.
    pub mean: Option<Price>,
}

/// The interval with the most energy; of several, the earliest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peak {
    /// Its end.
    pub end: UtcTime,
    /// Its energy.
    pub energy: MilliwattHours,
    /// Its mean power, rounded to whole watts, halves away from zero.
    pub power: Watts,
}

/// A month's bill: exact in every line, rounded once in [`Self::amount`].
///
/// It bills active energy imported. [`bill_month`] makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MonthlyBill {
    /// Whose bill.
    pub meter: MeterId,
    /// Of which month (UTC).
    pub month: Month,
    /// The capture period of its intervals.
    pub period: Period,
    /// When the meter was in service.
    pub in_service: ServiceSpan,
    /// The energy billed.
    pub energy: MilliwattHours,
    /// The exact charge.
    pub charge: Charge,
    /// The charge rounded to the minor unit, halves away from zero: what is to be paid.
    pub amount: Money,
    /// Intervals billed.
    pub intervals: u32,
    /// Intervals billed that carry a warning of validation.
    pub with_warnings: u32,
    /// What was not measured and is not billed.
    pub gaps: Vec<Gap>,
    /// Prices; `None` if no interval is billed.
    pub prices: Option<PriceSummary>,
    /// The peak; `None` if no interval is billed.
    pub peak: Option<Peak>,
    /// One line per day with intervals, in order.
    pub days: Vec<DayLine>,
}

impl MonthlyBill {
    /// Intervals due in the month that are missing.
    pub fn missing(&self) -> u32 {
        self.gaps.iter().map(|gap| gap.intervals).sum()
    }
}

/// Bills the month of one meter, from its validated intervals in any order.
///
/// The charge is Σ interval energy × interval price, exact, rounded once on the total.
///
/// # Errors
///
/// [`BillError`] names the first interval, in order of time, that cannot be billed; there is
/// no partial bill.
pub fn bill_month(
    meter: MeterId,
    month: Month,
    period: Period,
    in_service: ServiceSpan,
    intervals: &[ValidatedInterval],
    prices: &PriceBook,
    currency: Currency,
) -> Result<MonthlyBill, BillError> {
    if prices.period() != period {
        return Err(BillError::OtherPeriod {
            billed: meter,
            what: "the price book",
            got: prices.period(),
            wanted: period,
        });
    }
    let mut ordered: Vec<&ValidatedInterval> = intervals.iter().collect();
    ordered.sort_by_key(|interval| (interval.end(), interval.meter(), interval.period()));
    let mut tally = Tally::new(period);
    let mut previous = None;
    for interval in &ordered {
        let end = interval.end();
        belongs(interval, meter, month, period, in_service)?;
        if previous.replace(end) == Some(end) {
            return Err(BillError::Duplicate { billed: meter, end });
        }
        let price = prices
            .price_of(end)
            .ok_or(BillError::Unpriced { billed: meter, end })?;
        tally.add(interval, price);
    }
    let days: Vec<DayLine> = tally.days.into_values().collect();
    let energy: MilliwattHours = days.iter().map(|line| line.energy).sum();
    let charge: Charge = days.iter().map(|line| line.charge).sum();
    Ok(MonthlyBill {
        meter,
        month,
        period,
        in_service,
        energy,
        charge,
        amount: charge.round_half_away(currency),
        intervals: days.iter().map(|line| line.intervals).sum(),
        with_warnings: tally.with_warnings,
        gaps: gaps(
            month,
            period,
            in_service,
            ordered.iter().map(|interval| interval.end()),
        ),
        prices: tally.price_range.map(|(min, max)| PriceSummary {
            min,
            max,
            mean: mean_price(charge, energy),
        }),
        peak: tally.peak.map(|(end, energy)| Peak {
            end,
            energy,
            power: mean_power(energy, period),
        }),
        days,
    })
}

/// The mean power of an interval, rounded to whole watts, halves away from zero.
pub(crate) fn mean_power(energy: MilliwattHours, period: Period) -> Watts {
    let milliwatts = i128::from(energy.get()) * i128::from(period.per_hour());
    Watts::new(
        i64::try_from(half_away(milliwatts, 1_000))
            .expect("an energy within a fuse or a run's bound is a power within i64"),
    )
}

fn belongs(
    interval: &ValidatedInterval,
    billed: MeterId,
    month: Month,
    period: Period,
    in_service: ServiceSpan,
) -> Result<(), BillError> {
    let end = interval.end();
    if interval.meter() != billed {
        return Err(BillError::OtherMeter {
            billed,
            owner: interval.meter(),
            end,
        });
    }
    if interval.period() != period {
        return Err(BillError::OtherPeriod {
            billed,
            what: "an interval",
            got: interval.period(),
            wanted: period,
        });
    }
    if period.day_of(end).month() != month {
        return Err(BillError::OtherMonth { billed, month, end });
    }
    if !in_service.covers(end, period) {
        return Err(BillError::OutOfService {
            billed,
            end,
            in_service,
        });
    }
    Ok(())
}

/// A price is charge per energy: picounits over mWh are millionths per kWh.
fn mean_price(charge: Charge, energy: MilliwattHours) -> Option<Price> {
    if energy <= MilliwattHours::ZERO {
        return None;
    }
    let micro = half_away(charge.pico(), i128::from(energy.get()));
    Some(
        i64::try_from(micro)
            .ok()
            .and_then(Price::from_micro_per_kwh)
            .expect("a weighted mean of prices lies between them"),
    )
}

struct Tally {
    period: Period,
    days: BTreeMap<Day, DayLine>,
    price_range: Option<(Price, Price)>,
    peak: Option<(UtcTime, MilliwattHours)>,
    with_warnings: u32,
}

impl Tally {
    const fn new(period: Period) -> Self {
        Self {
            period,
            days: BTreeMap::new(),
            price_range: None,
            peak: None,
            with_warnings: 0,
        }
    }

    /// Adds one interval; they come in order of time.
    fn add(&mut self, interval: &ValidatedInterval, price: Price) {
        let (end, energy) = (interval.end(), interval.import());
        let day = self.period.day_of(end);
        let line = self.days.entry(day).or_insert(DayLine {
            day,
            intervals: 0,
            energy: MilliwattHours::ZERO,
            charge: Charge::ZERO,
        });
        line.intervals += 1;
        // A fuse bounds the interval and the month bounds their number: no sum can overflow.
        line.energy += energy;
        line.charge += price.charge(energy);
        self.price_range = Some(match self.price_range {
            Some((min, max)) => (min.min(price), max.max(price)),
            None => (price, price),
        });
        if self.peak.is_none_or(|(_, highest)| energy > highest) {
            self.peak = Some((end, energy));
        }
        self.with_warnings += u32::from(!interval.warnings().is_empty());
    }
}
