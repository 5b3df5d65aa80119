//! What demand response changed: one run of the same houses without it, one with it.

use core::fmt;

use gridloom_core::{Charge, Currency, MilliwattHours, Money, Period, Price, UtcTime, Watts};

use crate::bill::mean_power;
use crate::rounding::half_away;

/// The most energy one run may add up to, 100 TWh in mWh: charges then stay inside money.
pub const RUN_ENERGY_MAX: MilliwattHours = MilliwattHours::new(100_000_000_000_000_000);

/// One interval of a run, all houses together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunInterval {
    /// Its end.
    pub end: UtcTime,
    /// The energy all houses used.
    pub energy: MilliwattHours,
    /// The price of the interval.
    pub price: Price,
}

/// Why two runs cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// There is nothing to compare.
    #[error("demand response: a run without intervals has no figures")]
    Empty,
    /// The runs do not cover the same time.
    #[error("demand response: {without} intervals without response, {with} with it")]
    Length {
        /// Intervals of the run without response.
        without: usize,
        /// Intervals of the run with response.
        with: usize,
    },
    /// The runs do not cover the same time.
    #[error("demand response: interval {index} ends {without} without response, {with} with it")]
    End {
        /// Which interval, from 0.
        index: usize,
        /// Its end without response.
        without: UtcTime,
        /// Its end with response.
        with: UtcTime,
    },
    /// The intervals of a run are not in order.
    #[error("demand response: the interval ending {end} does not follow the one before")]
    Order {
        /// The interval's end.
        end: UtcTime,
    },
    /// An energy is negative, or a run adds up to more than [`RUN_ENERGY_MAX`].
    #[error(
        "demand response: energy {energy} at {end} is negative or above {RUN_ENERGY_MAX} in all"
    )]
    Energy {
        /// The interval's end.
        end: UtcTime,
        /// Its energy.
        energy: MilliwattHours,
    },
}

/// Hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BasisPoints(i64);

impl BasisPoints {
    /// The number of hundredths of a percent.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// `part / whole`, rounded to a hundredth of a percent, halves away from zero; `None` if
    /// `whole` is not above zero or the ratio is beyond i64.
    fn ratio(part: i128, whole: i128) -> Option<Self> {
        if whole <= 0 {
            return None;
        }
        let scaled = part.checked_mul(10_000)?;
        i64::try_from(half_away(scaled, whole)).ok().map(Self)
    }
}

impl fmt::Display for BasisPoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let points = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02} %", points / 100, points % 100)
    }
}

/// The figures of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunFigures {
    /// The highest mean power of an interval, rounded to whole watts, halves away from zero.
    pub peak: Watts,
    /// The end of that interval; of several, the earliest.
    pub peak_end: UtcTime,
    /// All energy.
    pub energy: MilliwattHours,
    /// What it costs, exact.
    pub charge: Charge,
    /// The same in minor units, halves away from zero.
    pub cost: Money,
    /// Mean power / peak power; `None` if nothing was used.
    pub load_factor: Option<BasisPoints>,
}

/// Two runs beside each other. Changes are (with − without) / without, from the exact figures;
/// `None` where the run without response has zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DemandResponse {
    /// The run without response.
    pub without: RunFigures,
    /// The run with response.
    pub with: RunFigures,
    /// Change of the peak.
    pub peak_change: Option<BasisPoints>,
    /// Change of the energy.
    pub energy_change: Option<BasisPoints>,
    /// Change of the cost.
    pub cost_change: Option<BasisPoints>,
    /// Change of the load factor.
    pub load_factor_change: Option<BasisPoints>,
}

impl DemandResponse {
    /// Compares two runs over the same intervals, given in order of time.
    ///
    /// # Errors
    ///
    /// [`CompareError`] if the runs do not cover the same intervals or hold impossible energies.
    pub fn compare(
        without: &[RunInterval],
        with: &[RunInterval],
        period: Period,
        currency: Currency,
    ) -> Result<Self, CompareError> {
        if without.len() != with.len() {
            return Err(CompareError::Length {
                without: without.len(),
                with: with.len(),
            });
        }
        let differing = without.iter().zip(with).enumerate();
        if let Some((index, (a, b))) = differing.into_iter().find(|(_, (a, b))| a.end != b.end) {
            return Err(CompareError::End {
                index,
                without: a.end,
                with: b.end,
            });
        }
        let (base, other) = (
            Totals::of(without, period, currency)?,
            Totals::of(with, period, currency)?,
        );
        let change = |from: i128, to: i128| BasisPoints::ratio(to - from, from);
        let energy = |mwh: MilliwattHours| i128::from(mwh.get());
        Ok(Self {
            without: base.figures,
            with: other.figures,
            peak_change: change(energy(base.peak), energy(other.peak)),
            energy_change: change(energy(base.figures.energy), energy(other.figures.energy)),
            cost_change: change(base.figures.charge.pico(), other.figures.charge.pico()),
            load_factor_change: load_factor_change(&base, &other),
        })
    }
}

/// The load factors share the number of intervals, which cancels: the change is
/// (E₁·P₀ − E₀·P₁) / (E₀·P₁).
fn load_factor_change(base: &Totals, other: &Totals) -> Option<BasisPoints> {
    let wide = |mwh: MilliwattHours| i128::from(mwh.get());
    if other.peak == MilliwattHours::ZERO {
        return None;
    }
    // Each factor is at most RUN_ENERGY_MAX = 10¹⁷, so 10⁴ times a product is below 2¹²⁷.
    let from = wide(base.figures.energy) * wide(other.peak);
    let to = wide(other.figures.energy) * wide(base.peak);
    BasisPoints::ratio(to - from, from)
}

struct Totals {
    figures: RunFigures,
    peak: MilliwattHours,
}

impl Totals {
    fn of(run: &[RunInterval], period: Period, currency: Currency) -> Result<Self, CompareError> {
        let first = run.first().ok_or(CompareError::Empty)?;
        let mut peak = first;
        let mut previous: Option<UtcTime> = None;
        let (mut energy, mut charge) = (MilliwattHours::ZERO, Charge::ZERO);
        for interval in run {
            let RunInterval {
                end,
                energy: used,
                price,
            } = *interval;
            if previous.replace(end).is_some_and(|before| end <= before) {
                return Err(CompareError::Order { end });
            }
            energy = energy
                .checked_add(used)
                .filter(|&sum| used >= MilliwattHours::ZERO && sum <= RUN_ENERGY_MAX)
                .ok_or(CompareError::Energy { end, energy: used })?;
            charge += price.charge(used);
            if used > peak.energy {
                peak = interval;
            }
        }
        let count = i128::try_from(run.len()).expect("a length fits i128");
        Ok(Self {
            figures: RunFigures {
                peak: mean_power(peak.energy, period),
                peak_end: peak.end,
                energy,
                charge,
                cost: charge.round_half_away(currency),
                load_factor: BasisPoints::ratio(
                    i128::from(energy.get()),
                    i128::from(peak.energy.get()) * count,
                ),
            },
            peak: peak.energy,
        })
    }
}

impl fmt::Display for DemandResponse {
    /// A table of five lines: heading, peak, energy, cost, load factor.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |points: Option<BasisPoints>| {
            points.map_or_else(|| "-".to_owned(), |points| points.to_string())
        };
        let change = |points: Option<BasisPoints>| {
            let sign = if points.is_some_and(|points| points.get() > 0) {
                "+"
            } else {
                ""
            };
            format!("{sign}{}", percent(points))
        };
        // Whole watt-hours are enough for people: truncated, and the heading says the unit.
        let watt_hours = |figures: &RunFigures| (figures.energy.get() / 1_000).to_string();
        let (a, b) = (&self.without, &self.with);
        let currency = a.cost.currency();
        let rows = [
            [
                String::new(),
                "without".into(),
                "with".into(),
                "change".into(),
            ],
            [
                "Peak W".into(),
                a.peak.get().to_string(),
                b.peak.get().to_string(),
                change(self.peak_change),
            ],
            [
                "Energy Wh".into(),
                watt_hours(a),
                watt_hours(b),
                change(self.energy_change),
            ],
            [
                format!("Cost {currency}"),
                a.cost.decimal(),
                b.cost.decimal(),
                change(self.cost_change),
            ],
            [
                "Load factor".into(),
                percent(a.load_factor),
                percent(b.load_factor),
                change(self.load_factor_change),
            ],
        ];
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let (w0, w1, w2, w3) = (width(0), width(1), width(2), width(3));
        for [name, without, with, change] in &rows {
            writeln!(f, "{name:<w0$}  {without:>w1$}  {with:>w2$}  {change:>w3$}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{at, euro, price};

    fn run(rows: &[(&str, i64, &str)]) -> Vec<RunInterval> {
        rows.iter()
            .map(|&(end, mwh, each)| RunInterval {
                end: at(end),
                energy: MilliwattHours::new(mwh),
                price: price(each),
            })
            .collect()
    }

    fn compare(
        without: &[(&str, i64, &str)],
        with: &[(&str, i64, &str)],
    ) -> Result<DemandResponse, CompareError> {
        DemandResponse::compare(&run(without), &run(with), Period::HALF_HOUR, euro())
    }

    const T1: &str = "2013-01-01T00:30:00Z";
    const T2: &str = "2013-01-01T01:00:00Z";
    const T3: &str = "2013-01-01T01:30:00Z";

    #[test]
    fn two_runs_side_by_side() {
        let report = compare(
            &[
                (T1, 1_000_000, "0.1"),
                (T2, 4_000_000, "0.5"),
                (T3, 1_000_000, "0.1"),
            ],
            &[
                (T1, 1_500_000, "0.2"),
                (T2, 3_000_000, "0.4"),
                (T3, 1_400_000, "0.2"),
            ],
        )
        .unwrap();
        assert_eq!(report.without.peak, Watts::new(8_000));
        assert_eq!(report.with.peak_end, at(T2));
        // 6 kWh / (3 × 4 kWh); 5.9 kWh / (3 × 3 kWh).
        assert_eq!(report.without.load_factor, Some(BasisPoints(5_000)));
        assert_eq!(report.with.load_factor, Some(BasisPoints(6_556)));
        assert_eq!(
            report.to_string(),
            "             without     with    change
Peak W          8000     6000  -25.00 %
Energy Wh       6000     5900   -1.67 %
Cost EUR        2.20     1.78  -19.09 %
Load factor  50.00 %  65.56 %  +31.11 %
"
        );
    }

    #[test]
    fn runs_without_use_have_no_ratios() {
        let report = compare(&[(T1, 0, "0.1")], &[(T1, 0, "0.1")]).unwrap();
        assert_eq!(report.without.load_factor, None);
        assert_eq!(report.peak_change, None);
        assert_eq!(report.load_factor_change, None);
        let report = compare(&[(T1, 5, "0.1")], &[(T1, 0, "0.1")]).unwrap();
        assert_eq!(report.peak_change, Some(BasisPoints(-10_000)));
        assert_eq!(report.load_factor_change, None);
    }

    #[test]
    fn the_largest_runs_still_fit() {
        let most = RUN_ENERGY_MAX.get();
        let finest = Currency::new("XXX", Currency::MINOR_DIGITS_MAX).unwrap();
        for dearest in ["1000", "-1000"] {
            let all = run(&[(T1, most, dearest)]);
            let second = Period::from_secs(1).unwrap();
            let report = DemandResponse::compare(&all, &all, second, finest).unwrap();
            assert_eq!(report.peak_change, Some(BasisPoints(0)));
            assert_eq!(report.load_factor_change, Some(BasisPoints(0)));
        }
        let least = compare(&[(T1, 1, "0.1")], &[(T1, most, "0.1")]).unwrap();
        assert_eq!(
            least.energy_change, None,
            "beyond i64 there is no percentage"
        );
    }

    #[test]
    fn runs_that_do_not_match_are_refused() {
        let one = [(T1, 1_000, "0.1")];
        let too_much = [(T1, RUN_ENERGY_MAX.get(), "0"), (T2, 1, "0")];
        let cases: [(&[_], &[_], &str); 6] = [
            (
                &[],
                &[],
                "demand response: a run without intervals has no figures",
            ),
            (
                &one,
                &[],
                "demand response: 1 intervals without response, 0 with it",
            ),
            (
                &one,
                &[(T2, 1_000, "0.1")],
                "demand response: interval 0 ends 2013-01-01T00:30:00Z without response, \
                 2013-01-01T01:00:00Z with it",
            ),
            (
                &[(T2, 1, "0"), (T1, 1, "0")],
                &[(T2, 1, "0"), (T1, 1, "0")],
                "demand response: the interval ending 2013-01-01T00:30:00Z does not follow \
                 the one before",
            ),
            (
                &[(T1, -1, "0")],
                &one,
                "demand response: energy -1\u{a0}mWh at 2013-01-01T00:30:00Z is negative or above \
                 100000000000000000\u{a0}mWh in all",
            ),
            (
                &too_much,
                &too_much,
                "demand response: energy 1\u{a0}mWh at 2013-01-01T01:00:00Z is negative or above \
                 100000000000000000\u{a0}mWh in all",
            ),
        ];
        for (without, with, expected) in cases {
            assert_eq!(compare(without, with).unwrap_err().to_string(), expected);
        }
    }
}
