//! Keys that the head-end changed, as an edge keeps them: sealed as they came, so that neither the
//! memory of the edge nor a copy of it shows one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use gridloom_core::bytes::Reader;
use gridloom_core::{Instant, MeterId, Now};
use gridloom_dlms::security::{Keys, SymmetricKey};
use gridloom_edge::{CounterKept, Edge, Until};
use gridloom_headend::key_news::SEALED_BYTES_MAX;
use gridloom_headend::{EdgeKey, KeyNews, Standing};

use crate::envelope::Message;
use crate::node::DiskRequest;

/// How long a replaced pair of keys stays good: what a meter sent under it may be on its way.
pub const CHANGE_OVER: Duration = Duration::from_mins(15);

/// The pause before a cell is written again that the disk refused.
const WRITE_AGAIN: Duration = Duration::from_secs(1);

/// Cells that the changed keys are divided over.
const CELLS: usize = 256;

/// Tickets from here on are ours, those below the edge's.
const TICKETS: u64 = 1 << 63;

const VERSION: u8 = 1;

/// A cell of changed keys cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EdgeKeysError {
    /// It is damaged, or of another version.
    #[error("edge memory, cell {cell}: changed keys are damaged; restore it from a backup")]
    Damaged {
        /// Which.
        cell: &'static str,
    },
    /// Another key sealed its content.
    #[error(
        "edge memory, cell {cell}: changed keys do not open; give the edge the edge key that it \
         had before"
    )]
    DoesNotOpen {
        /// Which.
        cell: &'static str,
    },
}

/// What is known of one meter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Entry {
    current: Option<Sealed>,
    coming: Option<Sealed>,
    /// The replaced keys are good still, so the believed counter may be theirs.
    is_settling: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Sealed {
    number: u64,
    bytes: Vec<u8>,
}

impl Entry {
    /// The newest news.
    fn number(&self) -> u64 {
        let news = self.current.iter().chain(&self.coming);
        news.map(|sealed| sealed.number).max().unwrap_or(0)
    }
}

/// The changed keys of an edge's meters.
#[derive(Debug)]
pub(crate) struct ChangedKeys {
    key: EdgeKey,
    entries: BTreeMap<MeterId, Entry>,
    /// Meters that owe the head-end an answer, in each cell that is not durable.
    dirty: BTreeMap<usize, BTreeSet<MeterId>>,
    writing: BTreeMap<u64, (usize, BTreeSet<MeterId>)>,
    write_at: Option<Instant>,
    /// Meters whose replaced keys are good until then.
    settling: VecDeque<(Instant, MeterId)>,
    next_ticket: u64,
    refused: u64,
}

impl ChangedKeys {
    /// Takes up what the cells hold, and tells the edge.
    pub(crate) fn read<'a>(
        key: EdgeKey,
        edge: &mut Edge,
        cell: impl Fn(&'static str) -> Option<&'a [u8]>,
        now: Now,
    ) -> Result<Self, EdgeKeysError> {
        let mut changed = Self {
            key,
            entries: BTreeMap::new(),
            dirty: BTreeMap::new(),
            writing: BTreeMap::new(),
            write_at: None,
            settling: VecDeque::new(),
            next_ticket: TICKETS,
            refused: 0,
        };
        for name in (0..CELLS).map(cell_name) {
            let Some(bytes) = cell(name) else { continue };
            let entries = decode(bytes).ok_or(EdgeKeysError::Damaged { cell: name })?;
            for (meter, entry) in entries {
                changed
                    .take_up(edge, meter, &entry, now)
                    .ok_or(EdgeKeysError::DoesNotOpen { cell: name })?;
                changed.entries.insert(meter, entry);
            }
        }
        Ok(changed)
    }

    fn take_up(&mut self, edge: &mut Edge, meter: MeterId, entry: &Entry, now: Now) -> Option<()> {
        if let Some(sealed) = &entry.current {
            let keys = keys_of(&self.key.open(&sealed.bytes).ok()?)?;
            let kept = if entry.is_settling {
                self.settling.push_back((now.instant + CHANGE_OVER, meter));
                CounterKept::No
            } else {
                CounterKept::Yes
            };
            edge.settle_keys(meter, keys, now, Until::AtOnce(kept));
        }
        if let Some(sealed) = &entry.coming {
            let keys = keys_of(&self.key.open(&sealed.bytes).ok()?)?;
            edge.offer_keys(meter, keys);
        }
        Some(())
    }

    /// News came. The answer, if one is due at once.
    pub(crate) fn handle(
        &mut self,
        edge: &mut Edge,
        (meter, number, sealed): (MeterId, u64, Vec<u8>),
        now: Now,
    ) -> Option<Message> {
        // Another edge serves it.
        let title = edge.title_of(meter)?;
        let held = self.entries.get(&meter).map_or(0, Entry::number);
        if number <= held {
            // Nothing older is taken; what is durable is said again.
            let cell = cell_of(meter);
            let is_written = !self.dirty.contains_key(&cell)
                && self
                    .writing
                    .values()
                    .all(|(under_way, _)| *under_way != cell);
            return is_written.then_some(Message::KeysTaken {
                meter,
                number: held,
            });
        }
        let news = match self.key.open(&sealed) {
            Ok(news) if (news.title, news.number) == (title, number) => news,
            Ok(_) => return self.refuse(meter, "it is about another meter"),
            Err(error) => return self.refuse(meter, &error.to_string()),
        };
        let Some(keys) = keys_of(&news) else {
            return self.refuse(meter, "its keys have two lengths");
        };
        let sealed = Sealed {
            number,
            bytes: sealed,
        };
        match news.standing {
            Standing::Coming => {
                // Where too many change at a time, the head-end tells it again.
                if !edge.offer_keys(meter, keys) {
                    return None;
                }
                self.entries.entry(meter).or_default().coming = Some(sealed);
            }
            Standing::Current => {
                let until = now.instant + CHANGE_OVER;
                edge.settle_keys(meter, keys, now, Until::Later(until));
                let entry = self.entries.entry(meter).or_default();
                *entry = Entry {
                    current: Some(sealed),
                    coming: None,
                    is_settling: true,
                };
                self.settling.push_back((until, meter));
            }
        }
        let owed = self.dirty.entry(cell_of(meter)).or_default();
        owed.insert(meter);
        None
    }

    fn refuse(&mut self, meter: MeterId, why: &str) -> Option<Message> {
        self.refused += 1;
        tracing::warn!(%meter, why, "news of a meter's keys is refused");
        None
    }

    /// News that was refused since the start.
    pub(crate) const fn refused(&self) -> u64 {
        self.refused
    }

    /// What has to be written now.
    pub(crate) fn write(&mut self) -> Vec<DiskRequest> {
        if self.write_at.is_some() {
            return Vec::new();
        }
        let mut requests = Vec::new();
        for (cell, owed) in std::mem::take(&mut self.dirty) {
            let ticket = self.next_ticket;
            self.next_ticket += 1;
            self.writing.insert(ticket, (cell, owed));
            requests.push(DiskRequest::Remember {
                ticket,
                slot: cell_name(cell),
                bytes: self.encode(cell),
            });
        }
        requests
    }

    /// A cell was written, or not. What to answer then.
    pub(crate) fn handle_written(&mut self, ticket: u64, is_ok: bool, now: Now) -> Vec<Message> {
        let Some((cell, owed)) = self.writing.remove(&ticket) else {
            return Vec::new();
        };
        if !is_ok {
            self.dirty.entry(cell).or_default().extend(owed);
            self.write_at = Some(now.instant + WRITE_AGAIN);
            return Vec::new();
        }
        // What changed again meanwhile is answered when that is durable.
        let again = self.dirty.get(&cell);
        let owed = owed
            .into_iter()
            .filter(|meter| again.is_none_or(|again| !again.contains(meter)));
        owed.filter_map(|meter| {
            let number = self.entries.get(&meter)?.number();
            Some(Message::KeysTaken { meter, number })
        })
        .collect()
    }

    /// Whether a ticket is of a cell of ours.
    pub(crate) const fn is_ours(ticket: u64) -> bool {
        ticket >= TICKETS
    }

    /// Time passed.
    pub(crate) fn handle_timeout(&mut self, now: Now) {
        self.write_at.take_if(|at| *at <= now.instant);
        while let Some((_, meter)) = self.settling.pop_front_if(|(at, _)| *at <= now.instant) {
            let is_over = self.settling.iter().all(|(_, later)| *later != meter);
            if let Some(entry) = self.entries.get_mut(&meter).filter(|_| is_over) {
                entry.is_settling = false;
                self.dirty.entry(cell_of(meter)).or_default();
            }
        }
    }

    /// When to come back.
    pub(crate) fn wake(&self) -> Option<(Instant, &'static str)> {
        let settled = self.settling.front().map(|(at, _)| (*at, "keys settled"));
        let again = self.write_at.map(|at| (at, "write keys again"));
        settled.into_iter().chain(again).min()
    }

    fn encode(&self, cell: usize) -> Vec<u8> {
        let mut out = vec![VERSION];
        let of_cell = self
            .entries
            .iter()
            .filter(|(meter, _)| cell_of(**meter) == cell);
        for (meter, entry) in of_cell {
            out.extend(meter.0.to_be_bytes());
            out.push(u8::from(entry.is_settling));
            for sealed in [&entry.current, &entry.coming] {
                let (number, bytes) = sealed
                    .as_ref()
                    .map_or((0, &[][..]), |sealed| (sealed.number, &sealed.bytes));
                out.extend(number.to_be_bytes());
                out.push(u8::try_from(bytes.len()).expect("sealed news is short"));
                out.extend(bytes);
            }
        }
        out
    }
}

fn decode(bytes: &[u8]) -> Option<Vec<(MeterId, Entry)>> {
    let mut reader = Reader::new(bytes);
    if reader.u8().ok()? != VERSION {
        return None;
    }
    let mut entries = Vec::new();
    while !reader.is_empty() {
        let meter = MeterId(reader.u32().ok()?);
        let is_settling = reader.u8().ok()? != 0;
        let mut sealed = || {
            let number = reader.u64().ok()?;
            let length = usize::from(reader.u8().ok()?);
            let bytes = reader.take(length).ok()?.to_vec();
            let is_there = (1..=SEALED_BYTES_MAX).contains(&length);
            Some(is_there.then_some(Sealed { number, bytes }))
        };
        let (current, coming) = (sealed()?, sealed()?);
        let entry = Entry {
            current,
            coming,
            is_settling,
        };
        entries.push((meter, entry));
    }
    Some(entries)
}

fn keys_of(news: &KeyNews) -> Option<Keys> {
    let encryption = SymmetricKey::from_bytes(news.encryption.expose()).ok()?;
    let authentication = SymmetricKey::from_bytes(news.authentication.expose()).ok()?;
    Keys::pair(encryption, authentication).ok()
}

fn cell_of(meter: MeterId) -> usize {
    usize::from(meter.0.to_be_bytes()[3])
}

fn cell_name(cell: usize) -> &'static str {
    const LENGTH: usize = 16;
    static NAMES: [[u8; LENGTH]; CELLS] = {
        let mut names = [*b"changed-keys-000"; CELLS];
        let mut cell = 0;
        while cell < CELLS {
            let (mut rest, mut digit) = (cell, 1);
            while digit <= 3 {
                names[cell][LENGTH - digit] = b"0123456789"[rest % 10];
                rest /= 10;
                digit += 1;
            }
            cell += 1;
        }
        names
    };
    core::str::from_utf8(&NAMES[cell]).expect("names are ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_have_names_and_survive() {
        assert_eq!(
            (cell_name(0), cell_name(255)),
            ("changed-keys-000", "changed-keys-255")
        );
        assert_eq!(cell_of(MeterId(0x0102_03FF)), 255);
        let sealed = |number| {
            Some(Sealed {
                number,
                bytes: vec![9; 64],
            })
        };
        let entry = Entry {
            current: sealed(7),
            coming: sealed(9),
            is_settling: true,
        };
        assert_eq!(entry.number(), 9);
        let mut changed = ChangedKeys {
            key: EdgeKey::new(&[1; 32]).unwrap(),
            entries: BTreeMap::from([(MeterId(3), entry.clone()), (MeterId(4), Entry::default())]),
            dirty: BTreeMap::new(),
            writing: BTreeMap::new(),
            write_at: None,
            settling: VecDeque::new(),
            next_ticket: TICKETS,
            refused: 0,
        };
        let bytes = changed.encode(3);
        assert_eq!(decode(&bytes), Some(vec![(MeterId(3), entry)]));
        for cut in 0..bytes.len() {
            assert!(
                decode(&bytes[..cut]).is_none_or(|entries| entries.is_empty()),
                "{cut}"
            );
        }
        // A write that failed is written again, and is not answered before.
        let now = Now {
            instant: Instant::ZERO,
            utc: gridloom_core::UtcTime::from_secs(0),
        };
        changed.dirty.insert(3, BTreeSet::from([MeterId(3)]));
        let ticket = changed.next_ticket;
        assert_eq!(changed.write().len(), 1);
        assert_eq!(changed.handle_written(ticket, false, now), []);
        assert_eq!(changed.write(), []);
        let later = Now {
            instant: now.instant + WRITE_AGAIN,
            ..now
        };
        changed.handle_timeout(later);
        assert_eq!(changed.write().len(), 1);
        let taken = Message::KeysTaken {
            meter: MeterId(3),
            number: 9,
        };
        assert_eq!(changed.handle_written(ticket + 1, true, later), [taken]);
    }
}
