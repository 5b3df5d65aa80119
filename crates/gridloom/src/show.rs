//! COSEM values as text and as JSON, and values as the command line writes them.

use anyhow::{Context, bail};
use gridloom_core::{ObisCode, UtcTime};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::datetime::CosemDateTime;
use serde_json::{Value, json};

use crate::hex;

/// Scaler and unit of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScalerUnit {
    pub(crate) scaler: i8,
    pub(crate) unit: u8,
}

impl ScalerUnit {
    /// Reads attribute 3 of a register.
    pub(crate) fn from_data(data: &Data) -> Option<Self> {
        let Data::Structure(parts) = data else {
            return None;
        };
        match parts.as_slice() {
            [Data::Integer(scaler), Data::Enum(unit)] => Some(Self {
                scaler: *scaler,
                unit: *unit,
            }),
            _ => None,
        }
    }
}

/// The number in a value, exactly.
pub(crate) fn integer(data: &Data) -> Option<i128> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only these of thirty kinds are whole numbers"
    )]
    Some(match data {
        Data::Integer(value) => (*value).into(),
        Data::Long(value) => (*value).into(),
        Data::DoubleLong(value) => (*value).into(),
        Data::Long64(value) => (*value).into(),
        Data::Unsigned(value) | Data::Enum(value) => (*value).into(),
        Data::LongUnsigned(value) => (*value).into(),
        Data::DoubleLongUnsigned(value) => (*value).into(),
        Data::Long64Unsigned(value) => (*value).into(),
        _ => return None,
    })
}

/// `number` × 10^`scaler`, exactly.
pub(crate) fn scaled(number: i128, scaler: i8) -> String {
    let digits = number.unsigned_abs().to_string();
    let sign = if number < 0 { "-" } else { "" };
    let places = usize::from(scaler.unsigned_abs());
    if scaler >= 0 {
        let zeros = if number == 0 { 0 } else { places };
        return format!("{sign}{digits}{}", "0".repeat(zeros));
    }
    let padded = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = padded.split_at(padded.len() - places);
    format!("{sign}{whole}.{fraction}")
}

/// A value with its scaler; whatever is no number as [`text`] shows it.
pub(crate) fn scaled_text(data: &Data, scaling: Option<ScalerUnit>) -> String {
    match (integer(data), scaling) {
        (Some(number), Some(scaling)) => scaled(number, scaling.scaler),
        (_, _) => text(data),
    }
}

/// A date-time, if the bytes are one that makes sense.
fn date_time(bytes: &[u8]) -> Option<String> {
    let time = CosemDateTime::decode(bytes).ok()?;
    if let Ok(utc) = time.to_utc() {
        return Some(utc.to_string());
    }
    let is_local = time.year != CosemDateTime::YEAR_OPEN
        && (1..=12).contains(&time.month)
        && (1..=31).contains(&time.day)
        && time.hour < 24
        && time.minute < 60;
    let second = if time.second < 60 { time.second } else { 0 };
    is_local.then(|| {
        format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{second:02} local",
            time.year, time.month, time.day, time.hour, time.minute
        )
    })
}

fn octets(bytes: &[u8]) -> String {
    if bytes.len() == CosemDateTime::LEN
        && let Some(time) = date_time(bytes)
    {
        return time;
    }
    if let Ok(name) = <[u8; 6]>::try_from(bytes)
        && name[5] == 255
        && name[0] < 16
    {
        return ObisCode(name).to_string();
    }
    let is_text = !bytes.is_empty() && bytes.iter().all(|b| b.is_ascii_graphic() || *b == b' ');
    if is_text {
        return format!("{:?}", String::from_utf8_lossy(bytes));
    }
    hex::text(bytes)
}

/// A value as people read it.
pub(crate) fn text(data: &Data) -> String {
    let list = |values: &[Data]| {
        let inner: Vec<String> = values.iter().map(text).collect();
        inner.join(", ")
    };
    match data {
        Data::Null => "-".into(),
        Data::Array(values) => format!("[{}]", list(values)),
        Data::Structure(values) => format!("{{{}}}", list(values)),
        Data::CompactArray(array) => format!("[{}]", list(array.elements())),
        Data::Boolean(value) => value.to_string(),
        Data::BitString(bits) => (0..bits.bits())
            .map(|index| {
                if bits.get(index) == Some(true) {
                    '1'
                } else {
                    '0'
                }
            })
            .collect(),
        Data::OctetString(bytes) => octets(bytes),
        // From a meter: control characters would reach the terminal.
        Data::VisibleString(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
        Data::Utf8String(text) => format!("{text:?}"),
        Data::Bcd(byte) => format!("{byte:02X}"),
        Data::DontCare => "any".into(),
        // Differences to the row before.
        Data::DeltaInteger(value) => format!("{value:+}"),
        Data::DeltaLong(value) => format!("{value:+}"),
        Data::DeltaDoubleLong(value) => format!("{value:+}"),
        Data::DeltaUnsigned(value) => format!("{value:+}"),
        Data::DeltaLongUnsigned(value) => format!("{value:+}"),
        Data::DeltaDoubleLongUnsigned(value) => format!("{value:+}"),
        Data::Float32(bits) => f32::from_bits(*bits).to_string(),
        Data::Float64(bits) => f64::from_bits(*bits).to_string(),
        Data::DateTime(bytes) => date_time(bytes).unwrap_or_else(|| hex::text(bytes)),
        Data::Date(bytes) => hex::text(bytes),
        Data::Time(bytes) => hex::text(bytes),
        Data::Integer(_)
        | Data::Long(_)
        | Data::DoubleLong(_)
        | Data::Long64(_)
        | Data::Unsigned(_)
        | Data::LongUnsigned(_)
        | Data::DoubleLongUnsigned(_)
        | Data::Long64Unsigned(_)
        | Data::Enum(_) => integer(data).map_or_else(String::new, |number| number.to_string()),
    }
}

/// A value for programs: numbers as numbers where JSON holds them exactly, times as text, bytes
/// as hexadecimal digits.
pub(crate) fn value(data: &Data) -> Value {
    match data {
        Data::Null | Data::DontCare => Value::Null,
        Data::Boolean(value) => json!(value),
        Data::Array(values) | Data::Structure(values) => values.iter().map(value).collect(),
        Data::CompactArray(array) => array.elements().iter().map(value).collect(),
        Data::VisibleString(bytes) => json!(String::from_utf8_lossy(bytes)),
        Data::Utf8String(text) => json!(text),
        Data::OctetString(bytes) => match date_time(bytes) {
            Some(time) if bytes.len() == CosemDateTime::LEN => json!(time),
            Some(_) | None => json!(hex::text(bytes)),
        },
        Data::BitString(_)
        | Data::DeltaInteger(_)
        | Data::DeltaLong(_)
        | Data::DeltaDoubleLong(_)
        | Data::DeltaUnsigned(_)
        | Data::DeltaLongUnsigned(_)
        | Data::DeltaDoubleLongUnsigned(_)
        | Data::Bcd(_)
        | Data::Float32(_)
        | Data::Float64(_)
        | Data::DateTime(_)
        | Data::Date(_)
        | Data::Time(_) => json!(text(data)),
        Data::Integer(_)
        | Data::Long(_)
        | Data::DoubleLong(_)
        | Data::Long64(_)
        | Data::Unsigned(_)
        | Data::LongUnsigned(_)
        | Data::DoubleLongUnsigned(_)
        | Data::Long64Unsigned(_)
        | Data::Enum(_) => match integer(data).map(i64::try_from) {
            Some(Ok(number)) => json!(number),
            Some(Err(_)) | None => json!(text(data)),
        },
    }
}

/// A time on the command line: `2026-01-31` or `2026-01-31T12:00:00Z`, in UTC.
pub(crate) fn parse_time(name: &str, text: &str) -> anyhow::Result<UtcTime> {
    UtcTime::parse(text)
        .or_else(|| gridloom_core::Day::parse(text).map(gridloom_core::Day::start))
        .with_context(|| format!("{name} {text:?}: give 2026-01-31 or 2026-01-31T12:00:00Z (UTC)"))
}

/// Reads `TYPE:VALUE`, such as `u16:900`, or `null`.
pub(crate) fn parse_value(name: &str, text: &str) -> anyhow::Result<Data> {
    const FORMS: &str = "null, bool:true, i8: i16: i32: i64: u8: u16: u32: u64:NUMBER, enum:NUMBER, \
                         octets:HEX, text:TEXT, time:2026-01-31T12:00:00Z, axdr:HEX";
    if text == "null" {
        return Ok(Data::Null);
    }
    let (kind, rest) = text
        .split_once(':')
        .with_context(|| format!("{name} {text:?}: give one of {FORMS}"))?;
    let wrong = || format!("{name} {text:?}: {rest:?} is no {kind}");
    Ok(match kind {
        "bool" => Data::Boolean(rest.parse().with_context(wrong)?),
        "i8" => Data::Integer(rest.parse().with_context(wrong)?),
        "i16" => Data::Long(rest.parse().with_context(wrong)?),
        "i32" => Data::DoubleLong(rest.parse().with_context(wrong)?),
        "i64" => Data::Long64(rest.parse().with_context(wrong)?),
        "u8" => Data::Unsigned(rest.parse().with_context(wrong)?),
        "u16" => Data::LongUnsigned(rest.parse().with_context(wrong)?),
        "u32" => Data::DoubleLongUnsigned(rest.parse().with_context(wrong)?),
        "u64" => Data::Long64Unsigned(rest.parse().with_context(wrong)?),
        "enum" => Data::Enum(rest.parse().with_context(wrong)?),
        "octets" => Data::OctetString(hex::bytes(name, rest)?),
        "text" => Data::VisibleString(rest.as_bytes().to_vec()),
        "time" => {
            let time = CosemDateTime::from_utc(parse_time(name, rest)?).with_context(wrong)?;
            Data::OctetString(time.to_bytes().to_vec())
        }
        "axdr" => Data::decode(&hex::bytes(name, rest)?).with_context(wrong)?,
        _ => bail!("{name} {text:?}: give one of {FORMS}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaled_numbers_are_exact() {
        let cases = [
            (0, 3, "0"),
            (12, 3, "12000"),
            (12_345, -3, "12.345"),
            (5, -3, "0.005"),
            (-5, -3, "-0.005"),
            (-12_345, -1, "-1234.5"),
            (i128::from(u64::MAX), -2, "184467440737095516.15"),
        ];
        for (number, scaler, text) in cases {
            assert_eq!(scaled(number, scaler), text);
        }
    }

    #[test]
    fn values_are_shown_without_harm() {
        let cases = [
            (Data::OctetString(vec![1, 0, 1, 8, 0, 255]), "1-0:1.8.0.255"),
            (Data::OctetString(b"GLM0001".to_vec()), "\"GLM0001\""),
            (Data::OctetString(vec![0, 1, 2]), "000102"),
            (Data::VisibleString(b"\x1b[2J".to_vec()), "\"\\u{1b}[2J\""),
            (
                Data::Structure(vec![Data::Null, Data::Unsigned(3)]),
                "{-, 3}",
            ),
        ];
        for (data, shown) in cases {
            assert_eq!(text(&data), shown);
        }
        let time = parse_value("--value", "time:2026-01-31T12:00:00Z").unwrap();
        assert_eq!(text(&time), "2026-01-31T12:00:00Z");
        assert_eq!(value(&time), json!("2026-01-31T12:00:00Z"));
    }

    #[test]
    fn values_on_the_command_line() {
        let good = [
            ("null", Data::Null),
            ("u16:900", Data::LongUnsigned(900)),
            ("i8:-1", Data::Integer(-1)),
            ("octets:00FF", Data::OctetString(vec![0, 255])),
            ("axdr:1105", Data::Unsigned(5)),
            ("text:a:b", Data::VisibleString(b"a:b".to_vec())),
        ];
        for (text, data) in good {
            assert_eq!(parse_value("--value", text).unwrap(), data);
        }
        for text in ["", "u8", "u8:256", "u8:x", "octets:0", "float:1", "axdr:11"] {
            let error = format!("{:#}", parse_value("--value", text).unwrap_err());
            assert!(error.contains("--value"), "{text}: {error}");
        }
    }
}
