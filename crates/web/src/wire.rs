//! How values stand on the wire, by the rules of [`crate::model`].

use std::fmt::Display;

use gridloom_core::{Millivolts, Money, Price};
use serde::Serializer;

pub(crate) fn text<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

pub(crate) fn text_or_null<T: Display, S: Serializer>(
    value: &Option<T>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => to.collect_str(value),
        None => to.serialize_none(),
    }
}

pub(crate) fn decimal<S: Serializer>(value: &Money, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&value.decimal())
}

pub(crate) fn decimal_or_null<S: Serializer>(
    value: &Option<Money>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => decimal(value, to),
        None => to.serialize_none(),
    }
}

pub(crate) fn volts<S: Serializer>(value: &Option<Millivolts>, to: S) -> Result<S::Ok, S::Error> {
    // A float is exact enough to look at; nothing reads it back.
    match value {
        Some(value) => to.serialize_f64(value.get() as f64 / 1_000.0),
        None => to.serialize_none(),
    }
}

pub(crate) fn per_megawatt_hour<S: Serializer>(value: &Price, to: S) -> Result<S::Ok, S::Error> {
    let milli = value.micro_per_kwh();
    let sign = if milli < 0 { "-" } else { "" };
    let magnitude = milli.unsigned_abs();
    to.collect_str(&format_args!(
        "{sign}{}.{:03}",
        magnitude / 1_000,
        magnitude % 1_000
    ))
}
