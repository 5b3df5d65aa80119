//! The meter's liquid-crystal display: one register at a time, scrolling.

use std::time::Duration;

use gridloom_core::{Instant, Money, Price, UtcTime};

use crate::metrology::{Instantaneous, Registers};

/// What the display shows, before it is put into digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readings {
    /// The energy registers.
    pub registers: Registers,
    /// The terminals.
    pub instantaneous: Instantaneous,
    /// The newest price that is known.
    pub price: Option<Price>,
    /// The running month's bill so far.
    pub bill: Money,
    /// The last closed month's bill.
    pub last_bill: Option<Money>,
    /// The clock.
    pub time: UtcTime,
}

/// One page of the display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Value groups C.D.E of its OBIS code; empty where the standard has none.
    pub code: &'static str,
    /// What it is.
    pub label: &'static str,
    /// The value in fixed digits, cut, never rounded up.
    pub value: String,
    /// Its unit.
    pub unit: String,
}

/// How long one page stays.
pub const PAGE_TIME: Duration = Duration::from_secs(4);

/// Characters in a line of the display.
pub const WIDTH: usize = 20;

/// The pages, in their order.
pub fn items(readings: &Readings) -> Vec<Item> {
    let item = |code, label, value, unit: &str| Item {
        code,
        label,
        value,
        unit: unit.to_owned(),
    };
    let seen = &readings.instantaneous;
    let currency = readings.bill.currency();
    let money = |amount: Option<Money>| amount.map_or_else(dashes, Money::decimal);
    vec![
        // Six digits of kWh roll over, as on any meter.
        item(
            "1.8.0",
            "Units consumed",
            fixed(
                readings.registers.import.get() / 1_000 % 1_000_000_000,
                3,
                6,
                2,
            ),
            "kWh",
        ),
        item("32.7.0", "Voltage", fixed(seen.voltage_mv[0], 3, 1, 1), "V"),
        item("31.7.0", "Current", fixed(seen.current_ma[0], 3, 1, 2), "A"),
        item("1.7.0", "Power", fixed(seen.active_mw, 6, 1, 3), "kW"),
        item(
            "13.7.0",
            "Power factor",
            fixed(seen.power_factor_milli, 3, 1, 2),
            "",
        ),
        item(
            "19.20.0",
            "Price now",
            readings
                .price
                .map_or_else(dashes, |price| fixed(price.micro_per_kwh(), 6, 1, 4)),
            &format!("{currency}/kWh"),
        ),
        item(
            "",
            "Bill this month",
            money(Some(readings.bill)),
            currency.code(),
        ),
        item("", "Last bill", money(readings.last_bill), currency.code()),
        item("1.0.0", "Time UTC", clock(readings.time), ""),
    ]
}

/// Which page shows at `now`, of `pages`. People watch it, so it scrolls at wall speed.
///
/// # Panics
///
/// If there is no page.
pub fn page_at(pages: usize, now: Instant) -> usize {
    assert!(pages > 0, "a display has pages");
    let turn = u128::from(now.as_nanos()) / PAGE_TIME.as_nanos();
    usize::try_from(turn % pages as u128).expect("a remainder of a small count")
}

/// The page as a terminal shows it: a box around two lines of [`WIDTH`] characters.
pub fn render(item: &Item) -> String {
    render_parts(item.code, item.label, &item.value, &item.unit)
}

/// The same for a page that came over a wire.
pub fn render_parts(code: &str, label: &str, value: &str, unit: &str) -> String {
    let bar = "─".repeat(WIDTH);
    let code_width = WIDTH.saturating_sub(label.chars().count());
    let mut value = value.to_owned();
    if !unit.is_empty() {
        value.push(' ');
        value.push_str(unit);
    }
    if value.chars().count() > WIDTH {
        value = dashes(); // More digits than the glass has.
    }
    format!("┌{bar}┐\n│{label}{code:>code_width$}│\n│{value:>WIDTH$}│\n└{bar}┘")
}

fn dashes() -> String {
    "------".to_owned()
}

fn clock(time: UtcTime) -> String {
    let text = time.to_string();
    // The date and the time to the minute.
    text.get(..16)
        .map_or_else(dashes, |head| head.replace('T', " "))
}

/// `value` in units of 10^-`scale`, with at least `whole` digits before the point and exactly
/// `decimals` after it; the rest is cut.
fn fixed(value: i64, scale: u32, whole: usize, decimals: u32) -> String {
    let magnitude = value.unsigned_abs() / 10_u64.pow(scale - decimals);
    let step = 10_u64.pow(decimals);
    let sign = if value < 0 && magnitude > 0 { "-" } else { "" };
    let width = usize::try_from(decimals).expect("a few digits");
    format!(
        "{sign}{:0whole$}.{:0width$}",
        magnitude / step,
        magnitude % step
    )
}

#[cfg(test)]
mod tests {
    use gridloom_core::{Currency, MilliwattHours};

    use super::*;

    fn readings() -> Readings {
        let euro = Currency::new("EUR", 2).unwrap();
        Readings {
            registers: Registers {
                import: MilliwattHours::new(123_456_789_000),
                ..Registers::default()
            },
            instantaneous: Instantaneous {
                voltage_mv: [230_168, 0, 0],
                current_ma: [12_349, 0, 0],
                active_mw: -2_345_678,
                apparent_mva: 2_500_000,
                power_factor_milli: 987,
                ..Instantaneous::default()
            },
            price: Price::parse("0.18759"),
            bill: Money::from_minor(1_234, euro),
            last_bill: None,
            time: UtcTime::parse("2013-01-31T23:30:59Z").unwrap(),
        }
    }

    #[test]
    fn pages_have_fixed_digits() {
        let expected = [
            ("1.8.0", "Units consumed", "123456.78", "kWh"),
            ("32.7.0", "Voltage", "230.1", "V"),
            ("31.7.0", "Current", "12.34", "A"),
            ("1.7.0", "Power", "-2.345", "kW"),
            ("13.7.0", "Power factor", "0.98", ""),
            ("19.20.0", "Price now", "0.1875", "EUR/kWh"),
            ("", "Bill this month", "12.34", "EUR"),
            ("", "Last bill", "------", "EUR"),
            ("1.0.0", "Time UTC", "2013-01-31 23:30", ""),
        ];
        let items = items(&readings());
        assert_eq!(items.len(), expected.len());
        for (item, (code, label, value, unit)) in items.iter().zip(expected) {
            assert_eq!(
                (item.code, item.label, &*item.value, &*item.unit),
                (code, label, value, unit)
            );
        }
    }

    #[test]
    fn numbers_are_cut() {
        let cases = [
            (999, 3, 1, 2, "0.99"),
            (-9, 3, 1, 2, "0.00"),
            (-10, 3, 1, 2, "-0.01"),
            (42, 3, 6, 2, "000000.04"),
        ];
        for (value, scale, whole, decimals, expected) in cases {
            assert_eq!(fixed(value, scale, whole, decimals), expected, "{value}");
        }
    }

    #[test]
    fn every_page_is_a_box_of_two_lines() {
        let items = items(&readings());
        assert_eq!(
            render(&items[0]),
            "┌────────────────────┐\n\
             │Units consumed 1.8.0│\n\
             │       123456.78 kWh│\n\
             └────────────────────┘"
        );
        for item in &items {
            for line in render(item).lines() {
                assert_eq!(line.chars().count(), WIDTH + 2, "{line}");
            }
        }
        let huge = Item {
            value: "9".repeat(19),
            ..items[0].clone()
        };
        assert!(render(&huge).contains("              ------│"));
    }

    #[test]
    fn pages_scroll() {
        let at = |seconds: u64| page_at(9, Instant::from_nanos(seconds * 1_000_000_000));
        assert_eq!([at(0), at(3), at(4), at(35), at(36)], [0, 0, 1, 8, 0]);
    }
}
