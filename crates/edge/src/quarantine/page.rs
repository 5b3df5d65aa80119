//! A page of the quarantine as its memory cell holds it.

use gridloom_core::bytes::{Reader, Truncated};
use gridloom_core::{MeterId, SystemTitle, UtcTime};
use gridloom_dlms::apdu::DataNotification;
use gridloom_dlms::push::IntervalPush;

use super::{Held, HeldState, PacketId};
use crate::identity::Path;
use crate::reading::AcceptedReading;
use crate::reason::Reasons;
use crate::score::Scores;

/// The content of a page: the highest number ever given, and the packets.
pub(crate) fn encode<'a>(next: u64, packets: impl Iterator<Item = &'a Held>) -> Vec<u8> {
    let mut out = next.to_be_bytes().to_vec();
    for held in packets {
        let said = &held.said;
        out.extend(held.id.0.to_be_bytes());
        out.extend(said.title.0);
        out.extend(said.reading.meter.0.to_be_bytes());
        out.extend(said.counter.to_be_bytes());
        out.extend(held.path.gateway.to_be_bytes());
        out.extend(held.path.down.to_be_bytes());
        out.extend(held.received.as_millis().to_be_bytes());
        out.extend(held.reasons.bits().to_be_bytes());
        for score in held.scores.to_array() {
            out.extend(score.to_be_bytes());
        }
        match &held.state {
            HeldState::Open => out.push(OPEN),
            HeldState::Released { who, at } => decided(RELEASED, who, *at, &mut out),
            HeldState::Rejected { who, at } => decided(REJECTED, who, *at, &mut out),
        }
        bytes(&held.frame, &mut out);
        bytes(&held.plain, &mut out);
    }
    out
}

/// The packets of a page, and the highest number given when it was written. `None` if a field
/// holds what this program does not write.
pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Option<(u64, Vec<Held>)>, Truncated> {
    let next = u64::from_be_bytes(from.array()?);
    let mut packets = Vec::new();
    while !from.is_empty() {
        match packet(from)? {
            Some(held) => packets.push(held),
            None => return Ok(None),
        }
    }
    Ok(Some((next, packets)))
}

const OPEN: u8 = 0;
const RELEASED: u8 = 1;
const REJECTED: u8 = 2;

fn decided(state: u8, who: &str, at: UtcTime, out: &mut Vec<u8>) {
    out.push(state);
    out.extend(at.as_millis().to_be_bytes());
    bytes(who.as_bytes(), out);
}

fn bytes(content: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(content.len()).expect("an APDU is far below 4 GiB");
    out.extend(length.to_be_bytes());
    out.extend_from_slice(content);
}

fn packet(from: &mut Reader<'_>) -> Result<Option<Held>, Truncated> {
    let id = PacketId(u64::from_be_bytes(from.array()?));
    let title = SystemTitle(from.array()?);
    let meter = MeterId(from.u32()?);
    let counter = from.u32()?;
    let path = Path {
        gateway: u64::from_be_bytes(from.array()?),
        down: u64::from_be_bytes(from.array()?),
    };
    let received = UtcTime::from_millis(i64::from_be_bytes(from.array()?));
    let reasons = Reasons::from_bits(from.u32()?);
    let mut scores = [0; 5];
    for score in &mut scores {
        *score = u16::from_be_bytes(from.array()?);
    }
    let state = state(from)?;
    let frame = taken(from)?.to_vec();
    let plain = taken(from)?.to_vec();
    let push = DataNotification::decode(&plain)
        .ok()
        .and_then(|notification| IntervalPush::decode(notification.body).ok());
    let (Some(reasons), Some(scores), Some(state), Some(push)) =
        (reasons, Scores::from_array(scores), state, push)
    else {
        return Ok(None);
    };
    Ok(Some(Held {
        id,
        path,
        received,
        reasons,
        scores,
        frame,
        plain,
        said: AcceptedReading {
            title,
            counter,
            reading: push.reading(meter),
            power: push.power,
            billing: push.billing,
        },
        state,
    }))
}

fn state(from: &mut Reader<'_>) -> Result<Option<HeldState>, Truncated> {
    let state = from.u8()?;
    if state == OPEN {
        return Ok(Some(HeldState::Open));
    }
    let at = UtcTime::from_millis(i64::from_be_bytes(from.array()?));
    let who = String::from_utf8(taken(from)?.to_vec()).ok();
    Ok(who.and_then(|who| match state {
        RELEASED => Some(HeldState::Released { who, at }),
        REJECTED => Some(HeldState::Rejected { who, at }),
        _ => None,
    }))
}

fn taken<'a>(from: &mut Reader<'a>) -> Result<&'a [u8], Truncated> {
    let length = from.u32()?;
    from.take(usize::try_from(length).expect("32 bits fit"))
}
