//! The sequence of events: which switch went first, to the millisecond, by the stations' clocks.

use std::collections::BTreeMap;

use gridloom_core::UtcTime;
use gridloom_core::bytes::Reader;

use super::block::{BlockError, checked};
use crate::point::{PointId, Quality};

/// Events kept in memory; beyond them the oldest are forgotten, which were given out to be
/// written.
pub const EVENTS_MAX: usize = 100_000;

const VERSION: u8 = 0x45;

/// One change of one point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessEvent {
    /// When it happened, by the station's clock; 1 ms.
    pub at: UtcTime,
    /// When we heard of it.
    pub heard_at: UtcTime,
    /// Which point.
    pub point: PointId,
    /// The new value as a column holds it: millionths, steps, the code of a state.
    pub raw: i64,
    /// Its quality. A suspect clock says that `at` is ours.
    pub quality: Quality,
}

/// Events in the order of their happening, however late they come.
#[derive(Debug, Default)]
pub struct EventLog {
    events: BTreeMap<(UtcTime, u64), ProcessEvent>,
    unwritten: Vec<ProcessEvent>,
    arrived: u64,
}

impl EventLog {
    /// Takes an event. Of two with one time, the one that was heard first comes first.
    pub fn insert(&mut self, event: ProcessEvent) {
        self.events.insert((event.at, self.arrived), event);
        self.arrived += 1;
        self.unwritten.push(event);
        if self.events.len() > EVENTS_MAX {
            self.events.pop_first();
        }
    }

    /// The events from `from` up to, but not including, `to`.
    pub fn window(&self, from: UtcTime, to: UtcTime) -> impl Iterator<Item = &ProcessEvent> {
        let to = to.max(from);
        self.events
            .range((from, 0)..(to, 0))
            .map(|(_, event)| event)
    }

    /// How many are kept in memory.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// What has come since the last call, in the order of its coming, to be written; `None` if
    /// nothing. The host calls it after each batch of inputs.
    pub fn take_block(&mut self) -> Option<Vec<u8>> {
        if self.unwritten.is_empty() {
            return None;
        }
        let mut out = vec![VERSION];
        for event in self.unwritten.drain(..) {
            out.extend(event.at.as_millis().to_be_bytes());
            out.extend(event.heard_at.as_millis().to_be_bytes());
            out.extend(event.point.0.to_be_bytes());
            out.extend(event.raw.to_be_bytes());
            out.extend(event.quality.to_bytes());
        }
        out.extend(crc32fast::hash(&out).to_be_bytes());
        Some(out)
    }
}

/// Reads a block of events.
///
/// # Errors
///
/// [`BlockError`] names the field.
pub fn decode_events(bytes: &[u8]) -> Result<Vec<ProcessEvent>, BlockError> {
    let mut reader = Reader::new(checked(bytes)?);
    match reader.u8()? {
        VERSION => {}
        other => {
            return Err(BlockError::Field {
                field: "version",
                got: other.into(),
            });
        }
    }
    let mut events = Vec::new();
    while !reader.is_empty() {
        let at = UtcTime::from_millis(reader.i64()?);
        let heard_at = UtcTime::from_millis(reader.i64()?);
        let point = PointId(reader.u32()?);
        let raw = reader.i64()?;
        let code = reader.array::<2>()?;
        let quality = Quality::from_bytes(code).ok_or(BlockError::Field {
            field: "quality",
            got: u16::from_be_bytes(code).into(),
        })?;
        events.push(ProcessEvent {
            at,
            heard_at,
            point,
            raw,
            quality,
        });
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at: i64, point: u32) -> ProcessEvent {
        ProcessEvent {
            at: UtcTime::from_millis(at),
            heard_at: UtcTime::from_millis(at + 5_000),
            point: PointId(point),
            raw: 2,
            quality: Quality::GOOD,
        }
    }

    #[test]
    fn events_stand_in_the_order_of_their_happening() {
        let mut log = EventLog::default();
        for (at, point) in [(1_005, 1), (1_003, 2), (1_005, 3), (1_004, 4)] {
            log.insert(event(at, point));
        }
        let window = |log: &EventLog, from, to| -> Vec<u32> {
            let (from, to) = (UtcTime::from_millis(from), UtcTime::from_millis(to));
            log.window(from, to).map(|event| event.point.0).collect()
        };
        assert_eq!(window(&log, 0, 9_999), [2, 4, 1, 3]);
        assert_eq!(window(&log, 1_004, 1_005), [4]);
        assert_eq!(window(&log, 1_005, 1_004), [0; 0]);
        let block = log.take_block().unwrap();
        assert_eq!(log.take_block(), None);
        let points: Vec<u32> = decode_events(&block)
            .unwrap()
            .iter()
            .map(|e| e.point.0)
            .collect();
        assert_eq!(points, [1, 2, 3, 4]);
        for length in 0..block.len() {
            assert!(decode_events(&block[..length]).is_err());
        }
        assert_eq!(log.len(), 4);
        assert!(!log.is_empty());
    }

    #[test]
    fn the_oldest_make_way() {
        let mut log = EventLog::default();
        for at in 0..=EVENTS_MAX {
            log.insert(event(i64::try_from(at).unwrap(), 0));
            log.take_block();
        }
        assert_eq!(log.len(), EVENTS_MAX);
        let first = log
            .window(UtcTime::from_millis(0), UtcTime::from_millis(5))
            .next();
        assert_eq!(first.map(|event| event.at.as_millis()), Some(1));
    }
}
