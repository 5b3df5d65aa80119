//! One meter's bill of one month.

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
    let billed = Billed {
        meter,
        month,
        begin: month.first_day().start(),
        end: end_of(month),
        period,
        in_service,
    };
    let mut tally = Tally::new(period);
    let mut previous = None;
    // Both sides are in order of time: walking them together costs less than searching.
    let mut decided = prices.since(billed.begin).peekable();
    for interval in &ordered {
        let end = interval.end();
        billed.accepts(interval)?;
        if previous.replace(end) == Some(end) {
            return Err(BillError::Duplicate { billed: meter, end });
        }
        while decided.next_if(|&(priced, _)| priced < end).is_some() {}
        let (_, price) = decided
            .next_if(|&(priced, _)| priced == end)
            .ok_or(BillError::Unpriced { billed: meter, end })?;
        tally.add(interval, price);
    }
    let days = tally.days;
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

/// Midnight UTC at the end of the month.
fn end_of(month: Month) -> UtcTime {
    let last = month.days().last().expect("a month has days");
    last.next().start()
}

/// What a bill is about.
struct Billed {
    meter: MeterId,
    month: Month,
    begin: UtcTime,
    end: UtcTime,
    period: Period,
    in_service: ServiceSpan,
}

impl Billed {
    fn accepts(&self, interval: &ValidatedInterval) -> Result<(), BillError> {
        let (billed, end) = (self.meter, interval.end());
        if interval.meter() != billed {
            return Err(BillError::OtherMeter {
                billed,
                owner: interval.meter(),
                end,
            });
        }
        if interval.period() != self.period {
            return Err(BillError::OtherPeriod {
                billed,
                what: "an interval",
                got: interval.period(),
                wanted: self.period,
            });
        }
        // An interval belongs to the month in which it ends; midnight ends the month before.
        if end <= self.begin || end > self.end {
            return Err(BillError::OtherMonth {
                billed,
                month: self.month,
                end,
            });
        }
        if !self.in_service.covers(end, self.period) {
            return Err(BillError::OutOfService {
                billed,
                end,
                in_service: self.in_service,
            });
        }
        Ok(())
    }
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
    days: Vec<DayLine>,
    /// When the day of the last line ends.
    day_end: Option<UtcTime>,
    price_range: Option<(Price, Price)>,
    peak: Option<(UtcTime, MilliwattHours)>,
    with_warnings: u32,
}

impl Tally {
    const fn new(period: Period) -> Self {
        Self {
            period,
            days: Vec::new(),
            day_end: None,
            price_range: None,
            peak: None,
            with_warnings: 0,
        }
    }

    /// Adds one interval; they come in order of time.
    fn add(&mut self, interval: &ValidatedInterval, price: Price) {
        let (end, energy) = (interval.end(), interval.import());
        if self.day_end.is_none_or(|day_end| end > day_end) {
            let day = self.period.day_of(end);
            self.day_end = Some(day.next().start());
            self.days.push(DayLine {
                day,
                intervals: 0,
                energy: MilliwattHours::ZERO,
                charge: Charge::ZERO,
            });
        }
        let line = self.days.last_mut().expect("a line was just made");
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{at, euro, flagged, interval, price};
    use gridloom_core::{ReadingStatus, Seed};

    const PERIOD: Period = Period::HALF_HOUR;

    fn month() -> Month {
        Month::new(2013, 2).unwrap()
    }

    fn always() -> ServiceSpan {
        ServiceSpan::since(at("2012-01-01T00:00:00Z"))
    }

    fn book(prices: &[(&str, &str)]) -> PriceBook {
        let mut book = PriceBook::new(PERIOD);
        for (end, each) in prices {
            book.insert(at(end), price(each)).unwrap();
        }
        book
    }

    fn bill(intervals: &[ValidatedInterval], prices: &PriceBook) -> Result<MonthlyBill, BillError> {
        bill_month(
            MeterId(5),
            month(),
            PERIOD,
            always(),
            intervals,
            prices,
            euro(),
        )
    }

    /// A whole month drawn from a seed, its prices, and the same as plain integers.
    struct Drawn {
        intervals: Vec<ValidatedInterval>,
        prices: PriceBook,
        /// End, mWh, millionths per kWh.
        plain: Vec<(UtcTime, i64, i64)>,
    }

    fn drawn(seed: Seed) -> Drawn {
        let mut prices = PriceBook::new(PERIOD);
        let (mut intervals, mut plain) = (Vec::new(), Vec::new());
        for (index, day) in month().days().enumerate() {
            for slot in 0..48_u16 {
                let draw = seed.nth(index as u64).nth(u64::from(slot)).get();
                // One in sixteen is missing.
                if draw.is_multiple_of(16) {
                    continue;
                }
                let end = PERIOD.end_of_slot(day, slot);
                let mwh = i64::try_from(draw >> 8 & 0xFFFF).unwrap() * 1_000 / 50;
                let micro = i64::try_from(draw >> 32 & 0xFFF).unwrap() * 100;
                prices
                    .insert(end, Price::from_micro_per_kwh(micro).unwrap())
                    .unwrap();
                intervals.push(interval(5, PERIOD, end, mwh));
                plain.push((end, mwh, micro));
            }
        }
        Drawn {
            intervals,
            prices,
            plain,
        }
    }

    #[test]
    fn a_bill_is_energy_times_price() {
        let prices = book(&[
            ("2013-02-01T00:30:00Z", "0.1875"),
            ("2013-02-01T01:00:00Z", "0.2"),
            ("2013-03-01T00:00:00Z", "0.5"),
        ]);
        let intervals = [
            interval(5, PERIOD, at("2013-03-01T00:00:00Z"), 100_000),
            interval(5, PERIOD, at("2013-02-01T00:30:00Z"), 333_000),
            flagged(
                5,
                PERIOD,
                at("2013-02-01T01:00:00Z"),
                333_000,
                ReadingStatus::POWER_DOWN,
            ),
        ];
        let bill = bill(&intervals, &prices).unwrap();
        // 0.333 × 0.1875 + 0.333 × 0.2 + 0.1 × 0.5.
        assert_eq!(bill.charge.to_string(), "0.179037500000");
        assert_eq!(bill.amount.decimal(), "0.18");
        assert_eq!(bill.energy, MilliwattHours::new(766_000));
        assert_eq!((bill.intervals, bill.missing()), (3, 28 * 48 - 3));
        assert_eq!(bill.with_warnings, 1);
        assert_eq!(
            bill.prices,
            Some(PriceSummary {
                min: price("0.1875"),
                max: price("0.5"),
                mean: Some(price("0.233730")), // 0.1790375 / 0.766 = 0.23373041…
            })
        );
        // The earlier of two equal peaks; 333 Wh in half an hour is 666 W.
        assert_eq!(
            bill.peak,
            Some(Peak {
                end: at("2013-02-01T00:30:00Z"),
                energy: MilliwattHours::new(333_000),
                power: Watts::new(666),
            })
        );
        assert_eq!(bill.days.len(), 2);
        assert_eq!(bill.days[1].day, Day::parse("2013-02-28").unwrap());
    }

    #[test]
    fn the_total_rounds_once_and_halves_away_from_zero() {
        // Three intervals of 0.0033… each would round to 0.00; their sum to 0.01.
        let ends = [
            "2013-02-01T00:30:00Z",
            "2013-02-01T01:00:00Z",
            "2013-02-02T01:00:00Z",
        ];
        let prices = book(&ends.map(|end| (end, "0.1")));
        for (wh, expected) in [([16, 16, 17], "0.00"), ([16, 17, 17], "0.01")] {
            let intervals: Vec<_> = ends
                .iter()
                .zip(wh)
                .map(|(end, wh)| interval(5, PERIOD, at(end), wh * 1_000))
                .collect();
            assert_eq!(
                bill(&intervals, &prices).unwrap().amount.decimal(),
                expected
            );
        }
    }

    #[test]
    fn nothing_is_billed_that_should_not_be() {
        let (first, second) = ("2013-02-01T00:30:00Z", "2013-02-01T01:00:00Z");
        let good = |end: &str| interval(5, PERIOD, at(end), 1_000);
        let prices = book(&[
            (first, "0.1"),
            (second, "0.1"),
            ("2013-02-01T00:00:00Z", "0.1"),
        ]);
        let cases = [
            (
                vec![
                    good(first),
                    good("2013-02-01T01:30:00Z"),
                    good("2013-02-01T02:00:00Z"),
                ],
                "bill of m5: the interval ending 2013-02-01T01:30:00Z has no price; settle it first",
            ),
            (
                vec![good(second), good(first), good(second)],
                "bill of m5: the interval ending 2013-02-01T01:00:00Z is given twice; \
                 nothing is billed twice",
            ),
            (
                vec![
                    interval(5, PERIOD, at(first), 1_000),
                    interval(5, PERIOD, at(first), 2_000),
                ],
                "bill of m5: the interval ending 2013-02-01T00:30:00Z is given twice; \
                 nothing is billed twice",
            ),
            (
                vec![good(second), interval(6, PERIOD, at(first), 1_000)],
                "bill of m5: the interval ending 2013-02-01T00:30:00Z is of m6",
            ),
            (
                // Midnight belongs to the day, and so to the month, that ends there.
                vec![good("2013-02-01T00:00:00Z")],
                "bill of m5 for 2013-02: the interval ending 2013-02-01T00:00:00Z \
                 is of another month",
            ),
            (
                vec![interval(5, Period::HOUR, at(second), 1_000)],
                "bill of m5: an interval is of 3600 s, the bill of 1800 s",
            ),
        ];
        for (intervals, expected) in cases {
            assert_eq!(bill(&intervals, &prices).unwrap_err().to_string(), expected);
        }
        let hourly = PriceBook::new(Period::HOUR);
        assert_eq!(
            bill(&[], &hourly).unwrap_err().to_string(),
            "bill of m5: the price book is of 3600 s, the bill of 1800 s"
        );
        let later = ServiceSpan::since(at("2013-02-01T00:01:00Z"));
        let refused = bill_month(
            MeterId(5),
            month(),
            PERIOD,
            later,
            &[good(first)],
            &prices,
            euro(),
        );
        assert_eq!(
            refused.unwrap_err().to_string(),
            "bill of m5: the interval ending 2013-02-01T00:30:00Z is outside service \
             (since 2013-02-01T00:01:00Z)"
        );
        assert!(
            bill(&[good("2013-02-01T01:30:00Z")], &prices)
                .unwrap_err()
                .is_transient()
        );
    }

    #[test]
    fn an_empty_month_is_a_bill_of_nothing_with_a_named_gap() {
        let bill = bill(&[], &PriceBook::new(PERIOD)).unwrap();
        assert_eq!((bill.amount.minor(), bill.intervals), (0, 0));
        assert_eq!((bill.prices, bill.peak), (None, None));
        assert_eq!(
            bill.gaps[0].to_string(),
            "2013-02-01T00:00:00Z to 2013-03-01T00:00:00Z, 1344 intervals"
        );
    }

    #[test]
    fn the_order_of_intervals_does_not_matter() {
        for seed in 0..20 {
            let seed = Seed::new(seed);
            let mut drawn = drawn(seed);
            let expected = bill(&drawn.intervals, &drawn.prices).unwrap();
            for last in (1..drawn.intervals.len()).rev() {
                let other = seed.child("shuffle").nth(last as u64).get() % (last as u64 + 1);
                drawn.intervals.swap(last, usize::try_from(other).unwrap());
            }
            assert_eq!(
                bill(&drawn.intervals, &drawn.prices),
                Ok(expected),
                "{seed:?}"
            );
        }
    }

    #[test]
    fn the_bill_is_the_sum_of_its_parts() {
        for seed in 0..20 {
            let seed = Seed::new(seed);
            let Drawn {
                intervals,
                prices,
                plain,
            } = drawn(seed);
            let whole = bill(&intervals, &prices).unwrap();
            // Its lines.
            assert_eq!(
                whole.days.iter().map(|day| day.charge).sum::<Charge>(),
                whole.charge
            );
            assert_eq!(
                whole
                    .days
                    .iter()
                    .map(|day| day.energy)
                    .sum::<MilliwattHours>(),
                whole.energy
            );
            // Its halves, cut anywhere.
            let cut = usize::try_from(seed.child("cut").get() % plain.len() as u64).unwrap();
            let (head, tail) = intervals.split_at(cut);
            let (head, tail) = (bill(head, &prices).unwrap(), bill(tail, &prices).unwrap());
            assert_eq!(head.charge + tail.charge, whole.charge, "{seed:?}");
            assert_eq!(head.energy + tail.energy, whole.energy, "{seed:?}");
            // What is there and what is missing make the month.
            assert_eq!(whole.intervals + whole.missing(), 28 * 48, "{seed:?}");
            // Plain integers, rounded by long division in unsigned arithmetic.
            let pico: u128 = plain
                .iter()
                .map(|&(_, mwh, micro)| {
                    u128::from(mwh.unsigned_abs()) * u128::from(micro.unsigned_abs())
                })
                .sum();
            assert_eq!(whole.charge.pico().unsigned_abs(), pico, "{seed:?}");
            let cents = pico / 10_000_000_000 + u128::from(pico % 10_000_000_000 >= 5_000_000_000);
            assert_eq!(
                u128::from(whole.amount.minor().unsigned_abs()),
                cents,
                "{seed:?}"
            );
        }
    }

    #[test]
    fn the_bill_can_be_recomputed_from_decimals_in_text() {
        /// Digits before and after the point, without it, and how many are after.
        fn digits(text: &str) -> (u128, u32) {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
            let decimals = u32::try_from(fraction.len()).unwrap();
            (format!("{whole}{fraction}").parse().unwrap(), decimals)
        }
        let seed = Seed::new(3);
        let Drawn {
            intervals,
            prices,
            plain,
        } = drawn(seed);
        let expected = bill(&intervals, &prices).unwrap();
        let mut pico = 0_u128;
        for (_, mwh, micro) in plain {
            // As an export would write them, trailing zeros cut.
            let kwh = crate::decimal::decimal(i128::from(mwh), 6, 6);
            let kwh = kwh.trim_end_matches('0').trim_end_matches('.');
            let price = Price::from_micro_per_kwh(micro).unwrap().to_string();
            let ((a, a_decimals), (b, b_decimals)) = (digits(kwh), digits(&price));
            pico += a * b * 10_u128.pow(12 - a_decimals - b_decimals);
        }
        assert_eq!(expected.charge.pico().unsigned_abs(), pico);
    }
}
