//! A bill as plain text for people.

use std::fmt::Write as _;

use gridloom_core::{Period, Price};

use crate::bill::MonthlyBill;
use crate::decimal::{decimal, decimals_needed};

/// Decimals of a charge, which counts in picounits.
const CHARGE_SCALE: u32 = 12;

/// Decimals of a kilowatt-hour in milliwatt-hours.
const KWH_SCALE: u32 = 6;

/// Decimals of a price, which counts in millionths.
const PRICE_SCALE: u32 = 6;

impl MonthlyBill {
    /// The invoice: a head, one line per day, and the total.
    ///
    /// Every line shows all its digits, so the column adds up to the total exactly; the only
    /// rounding is the one in the amount due, and it is named.
    pub fn render(&self) -> String {
        let mut text = String::new();
        self.head(&mut text);
        self.table(&mut text);
        self.foot(&mut text);
        text
    }

    fn head(&self, text: &mut String) {
        let due = self.intervals + self.missing();
        line(text, format_args!("ELECTRICITY BILL"));
        line(text, format_args!(""));
        line(text, format_args!("Meter             {}", self.meter));
        line(text, format_args!("Month             {} (UTC)", self.month));
        line(text, format_args!("In service        {}", self.in_service));
        line(
            text,
            format_args!(
                "Intervals         {} of {due} billed, {} each",
                self.intervals,
                length(self.period)
            ),
        );
        line(text, format_args!(""));
    }

    fn table(&self, text: &mut String) {
        let currency = self.amount.currency();
        let kwh = decimals_needed(
            self.days.iter().map(|day| i128::from(day.energy.get())),
            KWH_SCALE,
            3,
        );
        let money = decimals_needed(
            self.days.iter().map(|day| day.charge.pico()),
            CHARGE_SCALE,
            u32::from(currency.minor_digits()),
        );
        let mut rows = vec![[
            "Day".to_owned(),
            "Intervals".to_owned(),
            "Energy kWh".to_owned(),
            format!("Charge {currency}"),
        ]];
        rows.extend(self.days.iter().map(|day| {
            [
                day.day.to_string(),
                day.intervals.to_string(),
                decimal(i128::from(day.energy.get()), KWH_SCALE, kwh),
                decimal(day.charge.pico(), CHARGE_SCALE, money),
            ]
        }));
        rows.push([
            "Total".to_owned(),
            self.intervals.to_string(),
            decimal(i128::from(self.energy.get()), KWH_SCALE, kwh),
            decimal(self.charge.pico(), CHARGE_SCALE, money),
        ]);
        let widths: [usize; 4] = core::array::from_fn(|column| {
            rows.iter()
                .map(|row| row[column].len())
                .max()
                .expect("there is a heading")
        });
        let rule = "-".repeat(widths.iter().sum::<usize>() + 2 * (widths.len() - 1));
        let last = rows.len() - 1;
        for (index, [day, intervals, energy, charge]) in rows.iter().enumerate() {
            if index == 1 || index == last {
                line(text, format_args!("{rule}"));
            }
            let [w0, w1, w2, w3] = widths;
            line(
                text,
                format_args!("{day:<w0$}  {intervals:>w1$}  {energy:>w2$}  {charge:>w3$}"),
            );
        }
        let due = format!("{} {currency}", self.amount.decimal());
        let width = rule.len() - "Amount due".len();
        line(text, format_args!(""));
        line(text, format_args!("Amount due{due:>width$}"));
        line(
            text,
            format_args!("The total is rounded once, halves away from zero."),
        );
    }

    fn foot(&self, text: &mut String) {
        let currency = self.amount.currency();
        if let (Some(prices), Some(peak)) = (self.prices, self.peak) {
            line(text, format_args!(""));
            line(
                text,
                format_args!("Lowest price      {} {currency}/kWh", shown(prices.min)),
            );
            line(
                text,
                format_args!("Highest price     {} {currency}/kWh", shown(prices.max)),
            );
            if let Some(mean) = prices.mean {
                line(
                    text,
                    format_args!(
                        "Mean price paid   {} {currency}/kWh (charge / energy)",
                        shown(mean)
                    ),
                );
            }
            line(
                text,
                format_args!(
                    "Peak              {} kWh in the interval ending {}, a mean of {} W",
                    decimal(
                        i128::from(peak.energy.get()),
                        KWH_SCALE,
                        decimals_needed([i128::from(peak.energy.get())], KWH_SCALE, 3)
                    ),
                    peak.end,
                    peak.power.get()
                ),
            );
        }
        if self.with_warnings > 0 {
            line(
                text,
                format_args!(
                    "With warnings     {} of {} intervals",
                    self.with_warnings, self.intervals
                ),
            );
        }
        if !self.gaps.is_empty() {
            line(text, format_args!(""));
            line(text, format_args!("Not measured, not billed"));
            for gap in &self.gaps {
                line(text, format_args!("  {gap}"));
            }
        }
    }
}

fn length(period: Period) -> String {
    match period.as_secs() {
        whole if whole.is_multiple_of(60) => format!("{} min", whole / 60),
        seconds => format!("{seconds} s"),
    }
}

fn shown(price: Price) -> String {
    let micro = i128::from(price.micro_per_kwh());
    decimal(micro, PRICE_SCALE, decimals_needed([micro], PRICE_SCALE, 4))
}

fn line(text: &mut String, content: core::fmt::Arguments<'_>) {
    writeln!(text, "{content}").expect("a string takes all text");
}

#[cfg(test)]
mod tests {
    use gridloom_core::{Currency, MeterId, Month, Period, ReadingStatus};
    use gridloom_mdm::ServiceSpan;

    use crate::bill::{MonthlyBill, bill_month};
    use crate::price_book::PriceBook;
    use crate::samples::{at, flagged, interval, price};

    fn bill(rows: &[(&str, i64, &str)], minor_digits: u8) -> MonthlyBill {
        let mut prices = PriceBook::new(Period::HOUR);
        let intervals: Vec<_> = rows
            .iter()
            .map(|&(end, mwh, each)| {
                prices.insert(at(end), price(each)).unwrap();
                if mwh == 0 {
                    flagged(5, Period::HOUR, at(end), 0, ReadingStatus::POWER_DOWN)
                } else {
                    interval(5, Period::HOUR, at(end), mwh)
                }
            })
            .collect();
        bill_month(
            MeterId(5),
            Month::new(2013, 2).unwrap(),
            Period::HOUR,
            ServiceSpan::between(at("2013-02-26T22:00:00Z"), at("2013-02-28T02:00:00Z")).unwrap(),
            &intervals,
            &prices,
            Currency::new("EUR", minor_digits).unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn an_invoice_reads_as_printed() {
        let cases = [
            (
                bill(
                    &[
                        ("2013-02-26T23:00:00Z", 1_234_000, "0.1875"),
                        ("2013-02-27T00:00:00Z", 56_000, "0.2"),
                        ("2013-02-27T01:00:00Z", 12_345_000, "0.3924"),
                        ("2013-02-27T18:00:00Z", 0, "0.1"),
                        ("2013-02-28T02:00:00Z", 7_000, "0.1027"),
                    ],
                    2,
                ),
                include_str!("../golden/invoice.txt"),
            ),
            (bill(&[], 0), include_str!("../golden/invoice_empty.txt")),
        ];
        for (bill, expected) in cases {
            let text = bill.render();
            assert!(text == expected, "rendered:\n{text}");
        }
    }

    #[test]
    fn fractions_of_a_watt_hour_are_shown_to_the_end() {
        let text = bill(&[("2013-02-27T00:00:00Z", 1_234_567, "0.000001")], 2).render();
        assert!(text.contains("1.234567"), "{text}");
        assert!(text.contains("0.000001234567"), "{text}");
    }
}
