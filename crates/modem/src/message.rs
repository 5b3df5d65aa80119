//! The texts that customers and operators get. Each fits one message.

use core::fmt::Write as _;

use gridloom_core::{Day, MilliwattHours, Money, Price, UtcTime};

use crate::alphabet::{PART_SEPTETS_MAX, Replaced, SmsText, TextError};

/// A customer's reading, bill and price on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadingNotice<'a> {
    /// The meter as its customer knows it, such as `00BC614E`.
    pub meter: &'a str,
    /// The day of the reading.
    pub day: Day,
    /// The register.
    pub units: MilliwattHours,
    /// The running bill of the month.
    pub bill: Money,
    /// The price of the last interval, in the bill's currency per kWh.
    pub price: Price,
}

impl ReadingNotice<'_> {
    /// `Meter 00BC614E 2013-01-31 units 123.456 kWh bill 12.34 EUR price 0.1875`.
    ///
    /// Every digit of the values is written; nothing rounds.
    ///
    /// # Errors
    ///
    /// The meter's name cannot be sent, or makes the text longer than one message.
    pub fn text(&self) -> Result<SmsText, TextError> {
        one_message(&format!(
            "Meter {} {} units {} kWh bill {} {} price {}",
            self.meter,
            self.day,
            kilowatt_hours(self.units),
            self.bill.decimal(),
            self.bill.currency(),
            at_least_decimals(&self.price.to_string(), 4),
        ))
    }
}

/// How urgent an alert is; the words are the first of its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertLevel {
    /// Somebody should know.
    Notice,
    /// Somebody should look.
    Warning,
    /// Somebody must act.
    Alarm,
}

impl AlertLevel {
    const fn word(self) -> &'static str {
        match self {
            Self::Notice => "NOTICE",
            Self::Warning => "WARNING",
            Self::Alarm => "ALARM",
        }
    }
}

/// Something an operator should know now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alert<'a> {
    /// How urgent.
    pub level: AlertLevel,
    /// When it happened.
    pub at: UtcTime,
    /// Where, such as a feeder or a gateway.
    pub place: &'a str,
    /// What.
    pub what: &'a str,
}

impl Alert<'_> {
    /// `ALARM 2013-01-31T23:30:00Z feeder 3: voltage 254.1 V`, and what was replaced in it.
    ///
    /// An alert that is too long for one message ends in `...`: what comes first matters most,
    /// and a split alert may arrive in halves.
    ///
    /// # Errors
    ///
    /// A character that cannot be sent and has no replacement.
    pub fn text(&self) -> Result<(SmsText, Vec<Replaced>), TextError> {
        let mut text = String::new();
        write!(
            text,
            "{} {} {}: {}",
            self.level.word(),
            self.at,
            self.place,
            self.what
        )
        .expect("writing to a string cannot fail");
        // Bounds the work on a text that is cut anyway.
        let head: String = text.chars().take(PART_SEPTETS_MAX + 1).collect();
        let (sms, replaced) = SmsText::with_replacements(&head)?;
        if sms.septets() <= PART_SEPTETS_MAX {
            return Ok((sms, replaced));
        }
        let cut = shorten(sms.as_str());
        Ok((SmsText::parse(&cut)?, replaced))
    }
}

fn one_message(text: &str) -> Result<SmsText, TextError> {
    let sms = SmsText::parse(text)?;
    let septets = sms.septets();
    if septets > PART_SEPTETS_MAX {
        return Err(TextError::TooLong {
            septets,
            messages: 1,
        });
    }
    Ok(sms)
}

/// The longest head that leaves room for an ellipsis.
fn shorten(text: &str) -> String {
    let mut head = text.to_owned();
    loop {
        head.pop();
        let cut = format!("{head}...");
        if SmsText::parse(&cut).is_ok_and(|sms| sms.septets() <= PART_SEPTETS_MAX) {
            return cut;
        }
    }
}

/// All decimals, at least three: a register shows whole watt-hours.
fn kilowatt_hours(energy: MilliwattHours) -> String {
    let raw = energy.get();
    let sign = if raw < 0 { "-" } else { "" };
    let magnitude = raw.unsigned_abs();
    let text = format!(
        "{sign}{}.{:06}",
        magnitude / 1_000_000,
        magnitude % 1_000_000
    );
    at_least_decimals(&text, 3)
}

/// Takes trailing zeros off a decimal until `count` decimals are left.
fn at_least_decimals(text: &str, count: usize) -> String {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let kept = fraction.trim_end_matches('0');
    format!("{whole}.{kept:0<count$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridloom_core::Currency;

    #[test]
    fn readings_read_as_the_paper_shows_them() {
        let currency = Currency::new("EUR", 2).unwrap();
        let notice = |meter, units, bill, price: &str| {
            let notice = ReadingNotice {
                meter,
                day: Day::parse("2013-01-31").unwrap(),
                units: MilliwattHours::new(units),
                bill: Money::from_minor(bill, currency),
                price: Price::parse(price).unwrap(),
            };
            notice.text().map(|t| t.as_str().to_owned())
        };
        assert_eq!(
            notice("00BC614E", 123_456_000, 1_234, "0.1875").unwrap(),
            "Meter 00BC614E 2013-01-31 units 123.456 kWh bill 12.34 EUR price 0.1875"
        );
        assert_eq!(
            notice("7", -1, -5, "-0.187501").unwrap(),
            "Meter 7 2013-01-31 units -0.000001 kWh bill -0.05 EUR price -0.187501"
        );
        assert_eq!(
            notice("7", 1_000_000, 0, "12").unwrap(),
            "Meter 7 2013-01-31 units 1.000 kWh bill 0.00 EUR price 12.0000"
        );
        assert!(matches!(
            notice("Zähler", 0, 0, "0"),
            Err(TextError::Character {
                character: 'ä', ..
            })
        ));
        assert!(matches!(
            notice(&"7".repeat(104), 0, 0, "0"),
            Err(TextError::TooLong { .. })
        ));
    }

    #[test]
    fn the_longest_values_still_fit() {
        let notice = ReadingNotice {
            meter: "4D4D4D0000BC614E",
            day: Day::parse("2013-01-31").unwrap(),
            units: MilliwattHours::new(i64::MIN),
            bill: Money::from_minor(i64::MIN, Currency::new("EUR", 2).unwrap()),
            price: Price::parse("-999.999999").unwrap(),
        };
        assert!(notice.text().unwrap().septets() <= PART_SEPTETS_MAX);
    }

    #[test]
    fn alerts_are_cut_to_one_message() {
        let at = UtcTime::parse("2013-01-31T23:30:00Z").unwrap();
        let alert = |what: &str| {
            let alert = Alert {
                level: AlertLevel::Alarm,
                at,
                place: "feeder 3",
                what,
            };
            alert.text().unwrap()
        };
        let (text, replaced) = alert("Spannung zu groß");
        assert_eq!(
            text.as_str(),
            "ALARM 2013-01-31T23:30:00Z feeder 3: Spannung zu gross"
        );
        assert_eq!(replaced.len(), 1);
        for what in ["x".repeat(500), "[".repeat(500)] {
            let (text, _) = alert(&what);
            assert!((PART_SEPTETS_MAX - 1..=PART_SEPTETS_MAX).contains(&text.septets()));
            assert!(text.as_str().ends_with("..."));
        }
    }
}
