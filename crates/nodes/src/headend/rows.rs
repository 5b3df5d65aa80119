//! What the head-end keeps of its own beside the machines' states: how far each meter is read,
//! and the entries of the command book.

use std::time::Duration;

use gridloom_core::bytes::{Reader, Truncated};
use gridloom_core::{MeterId, ObisCode, Period, UtcTime};
use gridloom_dlms::apdu::AttributeDescriptor;
use gridloom_dlms::axdr::Data;
use gridloom_headend::backfill::Span;
use gridloom_headend::command::{Command, CommandId, End, Entry, Order};

const VERSION: u8 = 1;

/// A stored row does not decode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its stored state is damaged ({what}); restore it from a backup")]
pub struct RowDamage {
    /// What of it.
    pub what: &'static str,
}

impl From<Truncated> for RowDamage {
    fn from(_: Truncated) -> Self {
        Self {
            what: "it ends early",
        }
    }
}

const fn damage(what: &'static str) -> RowDamage {
    RowDamage { what }
}

/// How far the profile of a meter is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Collected {
    pub(super) period: Period,
    /// The end of the last interval, stored or in a gap.
    pub(super) through: UtcTime,
    pub(super) gaps: Vec<Span>,
}

impl Collected {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend(self.period.as_secs().to_be_bytes());
        out.extend(self.through.as_millis().to_be_bytes());
        for gap in &self.gaps {
            out.extend(gap.from.as_millis().to_be_bytes());
            out.extend(gap.to.as_millis().to_be_bytes());
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, RowDamage> {
        let mut reader = versioned(bytes)?;
        let period = Period::from_secs(reader.u32()?).ok_or(damage("its period"))?;
        let through = UtcTime::from_millis(reader.i64()?);
        let mut gaps = Vec::new();
        while !reader.is_empty() {
            let from = UtcTime::from_millis(reader.i64()?);
            let to = UtcTime::from_millis(reader.i64()?);
            gaps.push(Span::new(period, from, to).ok_or(damage("a gap"))?);
        }
        Ok(Self {
            period,
            through,
            gaps,
        })
    }
}

fn versioned(bytes: &[u8]) -> Result<Reader<'_>, RowDamage> {
    let mut reader = Reader::new(bytes);
    if reader.u8()? != VERSION {
        return Err(damage("a newer gridloom wrote it"));
    }
    Ok(reader)
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("a command is bounded");
    out.extend(length.to_be_bytes());
    out.extend(bytes);
}

fn get_bytes<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], RowDamage> {
    let length = reader.u32()? as usize;
    Ok(reader.take(length)?)
}

fn get_text(reader: &mut Reader<'_>) -> Result<String, RowDamage> {
    let text = core::str::from_utf8(get_bytes(reader)?).map_err(|_| damage("a text"))?;
    Ok(text.to_owned())
}

fn put_attribute(out: &mut Vec<u8>, attribute: &AttributeDescriptor) {
    out.extend(attribute.class_id.to_be_bytes());
    out.extend(attribute.instance.0);
    out.extend(attribute.attribute.to_be_bytes());
}

fn get_attribute(reader: &mut Reader<'_>) -> Result<AttributeDescriptor, RowDamage> {
    Ok(AttributeDescriptor {
        class_id: reader.u16()?,
        instance: ObisCode(reader.array()?),
        attribute: reader.u8()?.cast_signed(),
    })
}

fn put_millis(out: &mut Vec<u8>, time: Duration) {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    out.extend(millis.to_be_bytes());
}

/// A command as a whole, and whether it was taken back.
pub(super) fn encode_command(command: &Command, is_cancelled: bool) -> Vec<u8> {
    let mut out = vec![VERSION, u8::from(is_cancelled)];
    out.extend(command.expires.as_millis().to_be_bytes());
    put_bytes(&mut out, command.author.as_bytes());
    put_bytes(&mut out, command.reason.as_bytes());
    match &command.order {
        Order::Connect => out.push(0),
        Order::Disconnect => out.push(1),
        Order::Set { attribute, value } => {
            out.push(2);
            put_attribute(&mut out, attribute);
            put_bytes(&mut out, &value.encode());
        }
        Order::SyncClock {
            tolerance,
            max_step,
        } => {
            out.push(3);
            put_millis(&mut out, *tolerance);
            put_millis(&mut out, *max_step);
        }
        Order::Read(attributes) => {
            out.push(4);
            let count = u32::try_from(attributes.len()).expect("a command is bounded");
            out.extend(count.to_be_bytes());
            for attribute in attributes {
                put_attribute(&mut out, attribute);
            }
        }
    }
    for meter in &command.targets {
        out.extend(meter.0.to_be_bytes());
    }
    out
}

/// What [`encode_command`] wrote.
pub(super) fn decode_command(id: CommandId, bytes: &[u8]) -> Result<(Command, bool), RowDamage> {
    let mut reader = versioned(bytes)?;
    let is_cancelled = reader.u8()? != 0;
    let expires = UtcTime::from_millis(reader.i64()?);
    let author = get_text(&mut reader)?;
    let reason = get_text(&mut reader)?;
    let order = match reader.u8()? {
        0 => Order::Connect,
        1 => Order::Disconnect,
        2 => Order::Set {
            attribute: get_attribute(&mut reader)?,
            value: Data::decode(get_bytes(&mut reader)?).map_err(|_| damage("a value"))?,
        },
        3 => Order::SyncClock {
            tolerance: Duration::from_millis(reader.u64()?),
            max_step: Duration::from_millis(reader.u64()?),
        },
        4 => {
            let count = reader.u32()?;
            let attributes = (0..count).map(|_| get_attribute(&mut reader));
            Order::Read(attributes.collect::<Result<_, _>>()?)
        }
        _ => return Err(damage("its order")),
    };
    let mut targets = Vec::new();
    while !reader.is_empty() {
        targets.push(MeterId(reader.u32()?));
    }
    let command = Command {
        id,
        author,
        reason,
        order,
        targets,
        expires,
    };
    Ok((command, is_cancelled))
}

/// The part of one meter: being sent, or how it ended.
pub(super) fn encode_part(end: Option<&End>) -> Vec<u8> {
    let mut out = vec![VERSION];
    match end {
        None => out.push(0),
        Some(End::Verified) => out.push(1),
        Some(End::Failed(why)) => {
            out.push(2);
            put_bytes(&mut out, &why.as_bytes()[..why.floor_char_boundary(1_000)]);
        }
        Some(End::Expired) => out.push(3),
        Some(End::Cancelled) => out.push(4),
        Some(End::Superseded(by)) => {
            out.push(5);
            out.extend(by.0.to_be_bytes());
        }
    }
    out
}

/// The journal entry of [`encode_part`].
pub(super) fn decode_part(id: CommandId, meter: MeterId, bytes: &[u8]) -> Result<Entry, RowDamage> {
    let mut reader = versioned(bytes)?;
    let end = match reader.u8()? {
        0 => return Ok(Entry::Sending(id, meter)),
        1 => End::Verified,
        2 => End::Failed(get_text(&mut reader)?),
        3 => End::Expired,
        4 => End::Cancelled,
        5 => End::Superseded(CommandId(reader.u64()?)),
        _ => return Err(damage("a part's end")),
    };
    Ok(Entry::Settled(id, meter, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survives(order: Order) {
        let command = Command {
            id: CommandId(7),
            author: "anna".into(),
            reason: "unpaid".into(),
            order,
            targets: vec![MeterId(1), MeterId(9)],
            expires: UtcTime::from_secs(1_700_000_000),
        };
        for is_cancelled in [false, true] {
            let bytes = encode_command(&command, is_cancelled);
            let decoded = decode_command(command.id, &bytes);
            assert_eq!(decoded, Ok((command.clone(), is_cancelled)));
            for length in 0..bytes.len() - 8 {
                assert!(decode_command(command.id, &bytes[..length]).is_err());
            }
        }
    }

    #[test]
    fn commands_survive_their_rows() {
        let attribute = AttributeDescriptor {
            class_id: 71,
            instance: ObisCode([0, 0, 17, 0, 0, 255]),
            attribute: 4,
        };
        survives(Order::Connect);
        survives(Order::Disconnect);
        survives(Order::Set {
            attribute,
            value: Data::DoubleLongUnsigned(9),
        });
        survives(Order::SyncClock {
            tolerance: Duration::from_secs(3),
            max_step: Duration::from_secs(900),
        });
        survives(Order::Read(vec![attribute, attribute]));
    }

    #[test]
    fn parts_and_progress_survive_their_rows() {
        let (id, meter) = (CommandId(3), MeterId(4));
        assert_eq!(
            decode_part(id, meter, &encode_part(None)),
            Ok(Entry::Sending(id, meter))
        );
        for end in [
            End::Verified,
            End::Failed("tag".into()),
            End::Expired,
            End::Cancelled,
            End::Superseded(CommandId(9)),
        ] {
            let bytes = encode_part(Some(&end));
            let entry = Entry::Settled(id, meter, end);
            assert_eq!(decode_part(id, meter, &bytes), Ok(entry));
        }
        let at = |n: i64| UtcTime::from_secs(n * 900);
        let collected = Collected {
            period: Period::QUARTER_HOUR,
            through: at(20),
            gaps: vec![Span {
                from: at(3),
                to: at(5),
            }],
        };
        let bytes = collected.encode();
        assert_eq!(Collected::decode(&bytes), Ok(collected));
        assert!(Collected::decode(&bytes[..bytes.len() - 1]).is_err());
    }
}
