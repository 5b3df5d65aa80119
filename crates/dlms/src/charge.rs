//! The price on its way down: SET of the passive unit charge of a Charge object
//! (class 113, IEC 62056-6-2 clause 4.6.3), one table element per interval.

use gridloom_core::{ObisCode, Price, UtcTime};

use crate::apdu::{AttributeDescriptor, InvokeId, SetRequestNormal};
use crate::axdr::Data;
use crate::datetime::{CosemDateTime, DateTimeError};

/// The attribute that prices are written to: `unit_charge_passive` of 0-0:19.20.0.
pub const UNIT_CHARGE_PASSIVE: AttributeDescriptor = AttributeDescriptor {
    class_id: 113,
    instance: ObisCode([0, 0, 19, 20, 0, 255]),
    attribute: 6,
};

/// What is charged for: attribute 2 of the register of active energy imported.
pub const COMMODITY: AttributeDescriptor = AttributeDescriptor {
    class_id: 3,
    instance: ObisCode([1, 0, 1, 8, 0, 255]),
    attribute: 2,
};

/// The commodity's scaler: charges are per 10³ Wh.
pub const COMMODITY_SCALE: i8 = 3;

/// Intervals in one SET; more are refused, and a catch-up goes in several. Two days of quarter
/// hours, in about 4 kB.
pub const ENTRIES_MAX: usize = 192;

/// The price scales that can be exact: 10⁻⁶ is the step of [`Price`], and above 10³ only zero
/// is within its range.
const SCALE_MIN: i8 = -6;
const SCALE_MAX: i8 = 3;

/// The price of one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntervalPrice {
    /// The interval's end.
    pub end: UtcTime,
    /// Its price.
    pub price: Price,
}

/// Prices of intervals, in the order of their ends, each one once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargeTable {
    /// The power of ten of the currency unit that one step of the table is worth.
    pub price_scale: i8,
    /// 1–[`ENTRIES_MAX`] prices, ends strictly ascending.
    pub entries: Vec<IntervalPrice>,
}

/// Why prices cannot be written, or a SET is no table of prices.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChargeError {
    /// A price scale that cannot be exact.
    #[error("price: scale {scale} is outside {SCALE_MIN} to {SCALE_MAX}; set price_scale to -4")]
    Scale {
        /// The scale.
        scale: i8,
    },
    /// The price is no multiple of the scale's step.
    #[error("price: {price} per kWh is no multiple of 10^{scale}; round it before it is decided")]
    NotExact {
        /// The price.
        price: Price,
        /// The scale.
        scale: i8,
    },
    /// The price does not fit 16 bits in steps of the scale.
    #[error("price: {price} per kWh does not fit 16 bits of 10^{scale}; set a coarser price_scale")]
    PriceTooHigh {
        /// The price.
        price: Price,
        /// The scale.
        scale: i8,
    },
    /// A charge beyond what any price may be.
    #[error("price: {raw} * 10^{scale} per kWh is beyond the highest price accepted")]
    BeyondMax {
        /// The charge per unit.
        raw: i16,
        /// The scale.
        scale: i8,
    },
    /// No prices, or more than [`ENTRIES_MAX`].
    #[error("price: {found} entries, 1 to {ENTRIES_MAX} wanted; send a catch-up in parts")]
    Entries {
        /// How many there are.
        found: usize,
    },
    /// Interval ends that do not ascend strictly.
    #[error("price: entry {index} does not end after the one before")]
    Order {
        /// Which, from 0.
        index: usize,
    },
    /// An index that is no point in time.
    #[error("price: entry {index}: {source}")]
    Time {
        /// Which, from 0.
        index: usize,
        /// Why.
        source: DateTimeError,
    },
    /// The SET is for another attribute.
    #[error(
        "price: SET of attribute {} of class {} {}, the unit charge is attribute 6 of class 113",
        .0.attribute, .0.class_id, .0.instance
    )]
    Attribute(AttributeDescriptor),
    /// A part of the unit charge has another type, length or value.
    #[error("price: {part} of the unit charge is not as gridloom's charge object has it")]
    Shape {
        /// Which part.
        part: &'static str,
    },
}

/// The charge per unit of a price, exact.
///
/// # Errors
///
/// A scale outside −6 to 3, a price that is no multiple of it, or more than 16 bits of it.
pub fn charge_per_unit(price: Price, scale: i8) -> Result<i16, ChargeError> {
    let step = step_micro(scale)?;
    let micro = price.micro_per_kwh();
    if micro % step != 0 {
        return Err(ChargeError::NotExact { price, scale });
    }
    i16::try_from(micro / step).map_err(|_| ChargeError::PriceTooHigh { price, scale })
}

/// The price of a charge per unit, exact.
///
/// # Errors
///
/// A scale outside −6 to 3, or a price beyond [`Price::MICRO_PER_KWH_MAX`].
pub fn price_of_charge(raw: i16, scale: i8) -> Result<Price, ChargeError> {
    Price::from_micro_per_kwh(i64::from(raw) * step_micro(scale)?)
        .ok_or(ChargeError::BeyondMax { raw, scale })
}

/// Millionths of the currency unit in one step of `scale`.
fn step_micro(scale: i8) -> Result<i64, ChargeError> {
    if !(SCALE_MIN..=SCALE_MAX).contains(&scale) {
        return Err(ChargeError::Scale { scale });
    }
    Ok(10_i64.pow(u32::from((scale - SCALE_MIN).unsigned_abs())))
}

impl ChargeTable {
    /// The SET that writes the table.
    ///
    /// # Errors
    ///
    /// No or too many entries, ends that do not ascend, prices that the scale cannot hold.
    pub fn to_set_request(&self, invoke_id: InvokeId) -> Result<SetRequestNormal, ChargeError> {
        check_count(self.entries.len())?;
        self.check_order()?;
        let mut table = Vec::with_capacity(self.entries.len());
        for (index, entry) in self.entries.iter().enumerate() {
            let end = CosemDateTime::from_utc(entry.end)
                .map_err(|source| ChargeError::Time { index, source })?;
            table.push(Data::Structure(vec![
                Data::OctetString(end.to_bytes().to_vec()),
                Data::Long(charge_per_unit(entry.price, self.price_scale)?),
            ]));
        }
        Ok(SetRequestNormal {
            invoke_id,
            attribute: UNIT_CHARGE_PASSIVE,
            access: None,
            value: Data::Structure(vec![
                Data::Structure(vec![
                    Data::Integer(COMMODITY_SCALE),
                    Data::Integer(self.price_scale),
                ]),
                commodity_reference(),
                Data::Array(table),
            ]),
        })
    }

    /// The table that a SET writes.
    ///
    /// # Errors
    ///
    /// Another attribute, another shape, or what [`Self::to_set_request`] refuses.
    pub fn from_set_request(request: &SetRequestNormal) -> Result<Self, ChargeError> {
        if request.attribute != UNIT_CHARGE_PASSIVE || request.access.is_some() {
            return Err(ChargeError::Attribute(request.attribute));
        }
        let [scaling, commodity, table] =
            members(&request.value).ok_or(ChargeError::Shape { part: "structure" })?;
        let Some([Data::Integer(COMMODITY_SCALE), Data::Integer(price_scale)]) = members(scaling)
        else {
            return Err(ChargeError::Shape {
                part: "charge_per_unit_scaling",
            });
        };
        if *commodity != commodity_reference() {
            return Err(ChargeError::Shape {
                part: "commodity_reference",
            });
        }
        let Data::Array(table) = table else {
            return Err(ChargeError::Shape {
                part: "charge_table",
            });
        };
        check_count(table.len())?;
        let mut entries = Vec::with_capacity(table.len());
        for (index, element) in table.iter().enumerate() {
            let Some([Data::OctetString(end), Data::Long(raw)]) = members(element) else {
                return Err(ChargeError::Shape {
                    part: "charge_table_element",
                });
            };
            let end = CosemDateTime::decode(end)
                .and_then(|end| end.to_utc())
                .map_err(|source| ChargeError::Time { index, source })?;
            let price = price_of_charge(*raw, *price_scale)?;
            entries.push(IntervalPrice { end, price });
        }
        let table = Self {
            price_scale: *price_scale,
            entries,
        };
        table.check_order()?;
        Ok(table)
    }

    fn check_order(&self) -> Result<(), ChargeError> {
        match self
            .entries
            .windows(2)
            .position(|pair| pair[0].end >= pair[1].end)
        {
            Some(index) => Err(ChargeError::Order { index: index + 1 }),
            None => Ok(()),
        }
    }
}

const fn check_count(found: usize) -> Result<(), ChargeError> {
    if found == 0 || found > ENTRIES_MAX {
        return Err(ChargeError::Entries { found });
    }
    Ok(())
}

fn commodity_reference() -> Data {
    Data::Structure(vec![
        Data::LongUnsigned(COMMODITY.class_id),
        Data::OctetString(COMMODITY.instance.0.to_vec()),
        Data::Integer(COMMODITY.attribute),
    ])
}

/// The members of a structure of exactly `N`.
fn members<const N: usize>(value: &Data) -> Option<&[Data; N]> {
    if let Data::Structure(values) = value {
        values.as_slice().try_into().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    fn price(text: &str) -> Price {
        Price::parse(text).unwrap()
    }

    fn end(text: &str) -> UtcTime {
        UtcTime::parse(text).unwrap()
    }

    fn table() -> ChargeTable {
        ChargeTable {
            price_scale: -4,
            entries: vec![
                IntervalPrice {
                    end: end("2013-01-31T23:30:00Z"),
                    price: price("0.1875"),
                },
                IntervalPrice {
                    end: end("2013-02-01T00:00:00Z"),
                    price: price("-0.05"),
                },
            ],
        }
    }

    const GOLDEN: &str = "C1 01 45 0071 0000131400FF 06 00 \
        0203 0202 0F03 0FFC \
        0203 120003 0906 0100010800FF 0F02 \
        0102 0202 090C 07DD011F04171E0000000000 100753 \
             0202 090C 07DD0201050000000000 0000 10FE0C";

    #[test]
    fn the_set_is_fixed_for_all_time() {
        let request = table().to_set_request(InvokeId::confirmed(5)).unwrap();
        let mut out = Vec::new();
        request.encode(&mut out);
        assert_eq!(out, hex::bytes(GOLDEN));
        let decoded = SetRequestNormal::decode(&out).unwrap();
        assert_eq!(decoded.invoke_id.number(), 5);
        assert_eq!(ChargeTable::from_set_request(&decoded), Ok(table()));
    }

    #[test]
    fn prices_are_exact_or_refused() {
        let cases = [
            ("0.1875", -4, Ok(1_875)),
            ("-3.2768", -4, Ok(i16::MIN)),
            ("3.2767", -4, Ok(i16::MAX)),
            ("0.000001", -6, Ok(1)),
            ("1000", 3, Ok(1)),
            ("0", -4, Ok(0)),
            (
                "3.2768",
                -4,
                Err(ChargeError::PriceTooHigh {
                    price: price("3.2768"),
                    scale: -4,
                }),
            ),
            (
                "0.18755",
                -4,
                Err(ChargeError::NotExact {
                    price: price("0.18755"),
                    scale: -4,
                }),
            ),
            ("0.1", -7, Err(ChargeError::Scale { scale: -7 })),
            ("0.1", 4, Err(ChargeError::Scale { scale: 4 })),
            ("0.1", i8::MIN, Err(ChargeError::Scale { scale: i8::MIN })),
        ];
        for (text, scale, expected) in cases {
            let raw = charge_per_unit(price(text), scale);
            assert_eq!(raw, expected, "{text} at {scale}");
            if let Ok(raw) = raw {
                assert_eq!(price_of_charge(raw, scale), Ok(price(text)));
            }
        }
        assert_eq!(
            price_of_charge(1_001, 0),
            Err(ChargeError::BeyondMax {
                raw: 1_001,
                scale: 0
            })
        );
    }

    #[test]
    fn tables_that_cannot_be_meant_are_refused() {
        let invoke_id = InvokeId::confirmed(0);
        let mut repeated = table();
        repeated.entries[1].end = repeated.entries[0].end;
        assert_eq!(
            repeated.to_set_request(invoke_id),
            Err(ChargeError::Order { index: 1 })
        );
        for found in [0, ENTRIES_MAX + 1] {
            let entries = (0..found)
                .map(|at| IntervalPrice {
                    end: UtcTime::from_secs(i64::try_from(at).unwrap() * 900),
                    price: price("0"),
                })
                .collect();
            let table = ChargeTable {
                price_scale: -4,
                entries,
            };
            assert_eq!(
                table.to_set_request(invoke_id),
                Err(ChargeError::Entries { found })
            );
        }
    }

    #[test]
    fn another_set_is_refused_by_name() {
        let shape = |wanted: &'static str| {
            move |error: &ChargeError| *error == ChargeError::Shape { part: wanted }
        };
        let is_scaling = shape("charge_per_unit_scaling");
        let is_commodity = shape("commodity_reference");
        let is_element = shape("charge_table_element");
        type Check<'a> = &'a dyn Fn(&ChargeError) -> bool;
        let cases: [(&str, &str, Check<'_>); 7] = [
            ("FF 06 00", "FF 07 00", &|e| {
                matches!(e, ChargeError::Attribute(_))
            }),
            ("0F03 0FFC", "0F02 0FFC", &is_scaling),
            ("0F03 0FFC", "0F03 0FF0", &|e| {
                *e == ChargeError::Scale { scale: -16 }
            }),
            ("120003", "120004", &is_commodity),
            ("100753", "120753", &is_element),
            ("07DD0201", "07DD021E", &|e| {
                matches!(e, ChargeError::Time { index: 1, .. })
            }),
            ("07DD0201", "07DC0201", &|e| {
                *e == ChargeError::Order { index: 1 }
            }),
        ];
        for (from, to, is_expected) in cases {
            let bytes = hex::bytes(&GOLDEN.replacen(from, to, 1));
            let request = SetRequestNormal::decode(&bytes).unwrap();
            let error = ChargeTable::from_set_request(&request).unwrap_err();
            assert!(is_expected(&error), "{from} -> {to}: {error:?}");
        }
    }
}
