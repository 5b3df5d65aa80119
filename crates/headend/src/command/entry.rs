//! Journal entries as bytes: one row of work in the store for a command, one for each meter.

use std::time::Duration;

use gridloom_core::bytes::{Reader, Truncated};
use gridloom_core::{MeterId, ObisCode, UtcTime};
use gridloom_dlms::apdu::AttributeDescriptor;
use gridloom_dlms::axdr::{AxdrError, Decoder, Encoder};

use super::words::{Command, CommandId, End, Entry, Order};

const VERSION: u8 = 1;

/// Why bytes are no entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The bytes end too early.
    #[error("command entry: {0}; restore the database from a backup")]
    Truncated(#[from] Truncated),
    /// A value is unreadable.
    #[error("command entry: {0}; restore the database from a backup")]
    Value(#[from] AxdrError),
    /// Another program wrote it.
    #[error("command entry: version {0} is not known; use the program that wrote it")]
    Version(u8),
    /// A code that no entry has, or bytes after its end.
    #[error("command entry: {field} cannot be {value}; restore the database from a backup")]
    Unknown {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A text is not UTF-8.
    #[error("command entry: a text is not UTF-8; restore the database from a backup")]
    Text,
}

impl Entry {
    /// Appends the entry to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        match self {
            Self::Confirmed(command) => {
                out.push(1);
                encode_command(command, out);
            }
            Self::Sending(id, meter) => {
                out.push(2);
                out.extend(id.0.to_be_bytes());
                out.extend(meter.0.to_be_bytes());
            }
            Self::Settled(id, meter, end) => {
                out.push(3);
                out.extend(id.0.to_be_bytes());
                out.extend(meter.0.to_be_bytes());
                encode_end(end, out);
            }
            Self::Cancelled(id) => {
                out.push(4);
                out.extend(id.0.to_be_bytes());
            }
        }
    }

    /// Reads exactly one entry.
    ///
    /// # Errors
    ///
    /// Anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            VERSION => {}
            version => return Err(EntryError::Version(version)),
        }
        let kind = reader.u8()?;
        let id = CommandId(reader.u64()?);
        let entry = match kind {
            1 => Self::Confirmed(decode_command(id, &mut reader)?),
            2 => Self::Sending(id, MeterId(reader.u32()?)),
            3 => Self::Settled(id, MeterId(reader.u32()?), decode_end(&mut reader)?),
            4 => Self::Cancelled(id),
            kind => return Err(unknown("kind", kind)),
        };
        match reader.rest().len() {
            0 => Ok(entry),
            more => Err(unknown("length", u64::try_from(more).unwrap_or(u64::MAX))),
        }
    }
}

fn unknown(field: &'static str, value: impl Into<u64>) -> EntryError {
    EntryError::Unknown {
        field,
        value: value.into(),
    }
}

fn encode_command(command: &Command, out: &mut Vec<u8>) {
    out.extend(command.id.0.to_be_bytes());
    encode_text(&command.author, out);
    encode_text(&command.reason, out);
    encode_order(&command.order, out);
    out.extend(command.expires.as_millis().to_be_bytes());
    encode_count(command.targets.len(), out);
    for meter in &command.targets {
        out.extend(meter.0.to_be_bytes());
    }
}

fn decode_command(id: CommandId, reader: &mut Reader<'_>) -> Result<Command, EntryError> {
    Ok(Command {
        id,
        author: decode_text(reader)?,
        reason: decode_text(reader)?,
        order: decode_order(reader)?,
        expires: UtcTime::from_millis(reader.i64()?),
        targets: {
            let count = reader.u32()?;
            (0..count)
                .map(|_| Ok(MeterId(reader.u32()?)))
                .collect::<Result<_, Truncated>>()?
        },
    })
}

fn encode_order(order: &Order, out: &mut Vec<u8>) {
    match order {
        Order::Connect => out.push(1),
        Order::Disconnect => out.push(2),
        Order::Set { attribute, value } => {
            out.push(3);
            encode_attribute(attribute, out);
            let mut encoded = Vec::new();
            Encoder::new(&mut encoded).value(value);
            encode_bytes(&encoded, out);
        }
        Order::SyncClock {
            tolerance,
            max_step,
        } => {
            out.push(4);
            for time in [tolerance, max_step] {
                let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                out.extend(millis.to_be_bytes());
            }
        }
        Order::Read(attributes) => {
            out.push(5);
            encode_count(attributes.len(), out);
            for attribute in attributes {
                encode_attribute(attribute, out);
            }
        }
    }
}

fn decode_order(reader: &mut Reader<'_>) -> Result<Order, EntryError> {
    Ok(match reader.u8()? {
        1 => Order::Connect,
        2 => Order::Disconnect,
        3 => {
            let attribute = decode_attribute(reader)?;
            let mut decoder = Decoder::new(decode_bytes(reader)?);
            let value = decoder.value()?;
            decoder.finish()?;
            Order::Set { attribute, value }
        }
        4 => Order::SyncClock {
            tolerance: Duration::from_millis(reader.u64()?),
            max_step: Duration::from_millis(reader.u64()?),
        },
        5 => {
            let count = reader.u32()?;
            let attributes = (0..count).map(|_| decode_attribute(reader));
            Order::Read(attributes.collect::<Result<_, _>>()?)
        }
        code => return Err(unknown("order", code)),
    })
}

fn encode_end(end: &End, out: &mut Vec<u8>) {
    match end {
        End::Verified => out.push(1),
        End::Failed(why) => {
            out.push(2);
            encode_text(why, out);
        }
        End::Expired => out.push(3),
        End::Cancelled => out.push(4),
        End::Superseded(by) => {
            out.push(5);
            out.extend(by.0.to_be_bytes());
        }
    }
}

fn decode_end(reader: &mut Reader<'_>) -> Result<End, EntryError> {
    Ok(match reader.u8()? {
        1 => End::Verified,
        2 => End::Failed(decode_text(reader)?),
        3 => End::Expired,
        4 => End::Cancelled,
        5 => End::Superseded(CommandId(reader.u64()?)),
        code => return Err(unknown("end", code)),
    })
}

fn encode_attribute(attribute: &AttributeDescriptor, out: &mut Vec<u8>) {
    out.extend(attribute.class_id.to_be_bytes());
    out.extend(attribute.instance.0);
    out.extend(attribute.attribute.to_be_bytes());
}

fn decode_attribute(reader: &mut Reader<'_>) -> Result<AttributeDescriptor, EntryError> {
    Ok(AttributeDescriptor {
        class_id: reader.u16()?,
        instance: ObisCode(reader.array()?),
        attribute: i8::from_be_bytes(reader.array()?),
    })
}

fn encode_text(text: &str, out: &mut Vec<u8>) {
    encode_bytes(text.as_bytes(), out);
}

fn decode_text(reader: &mut Reader<'_>) -> Result<String, EntryError> {
    let bytes = decode_bytes(reader)?.to_vec();
    String::from_utf8(bytes).map_err(|_| EntryError::Text)
}

fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    encode_count(bytes.len(), out);
    out.extend(bytes);
}

fn decode_bytes<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], EntryError> {
    let length = reader.u32()?;
    Ok(reader.take(usize::try_from(length).unwrap_or(usize::MAX))?)
}

fn encode_count(count: usize, out: &mut Vec<u8>) {
    let count = u32::try_from(count).expect("commands hold bounded lists and texts");
    out.extend(count.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridloom_dlms::axdr::Data;

    #[test]
    fn entries_come_back_as_they_were() {
        let attribute = AttributeDescriptor {
            class_id: 3,
            instance: ObisCode([1, 0, 1, 8, 0, 255]),
            attribute: -2,
        };
        let value = Data::Structure(vec![Data::Null, Data::Unsigned(7)]);
        let orders = [
            Order::Connect,
            Order::Disconnect,
            Order::Set { attribute, value },
            Order::SyncClock {
                tolerance: Duration::from_secs(5),
                max_step: Duration::from_millis(1_500),
            },
            Order::Read(vec![attribute; 3]),
        ];
        let (id, meter) = (CommandId(u64::MAX - 1), MeterId(9));
        let mut entries: Vec<Entry> = orders
            .into_iter()
            .map(|order| {
                Entry::Confirmed(Command {
                    id,
                    author: "anna".to_owned(),
                    reason: "unpaid ½".to_owned(),
                    order,
                    targets: vec![MeterId(1), meter],
                    expires: UtcTime::from_millis(-5),
                })
            })
            .collect();
        let ends = [
            End::Verified,
            End::Failed("key: wrong".to_owned()),
            End::Expired,
            End::Cancelled,
            End::Superseded(CommandId(3)),
        ];
        entries.extend(ends.map(|end| Entry::Settled(id, meter, end)));
        entries.extend([Entry::Sending(id, meter), Entry::Cancelled(id)]);
        for entry in entries {
            let mut bytes = Vec::new();
            entry.encode(&mut bytes);
            assert_eq!(Entry::decode(&bytes), Ok(entry.clone()));
            for cut in 0..bytes.len() {
                assert!(Entry::decode(&bytes[..cut]).is_err(), "{entry:?} {cut}");
            }
            let mut longer = bytes.clone();
            longer.push(0);
            assert!(Entry::decode(&longer).is_err(), "{entry:?}");
            bytes[0] = 2;
            assert_eq!(Entry::decode(&bytes), Err(EntryError::Version(2)));
        }
    }
}
