//! What an edge must still know after a restart: its own counter reservation, the last counter it
//! believed from each meter, the packets in its quarantine; and, as of the last snapshot, where
//! meters are at home, how far whom it trusts, and which titles are revoked.
//!
//! Counters of many meters are divided over cells, so that a packet costs the writing of one small
//! cell and not of all. Each entry names its title: whatever cells a registry of another size left
//! behind, the highest counter of a title counts.

use std::collections::BTreeMap;

use gridloom_core::bytes::{Reader, Truncated};
use gridloom_core::{SystemTitle, UtcTime};

use crate::quarantine::{Held, Quarantine, decode};
use crate::registry::GatewayId;
use crate::score::Scores;

const VERSION: u8 = 1;

/// Why a memory cell of the edge cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// It ends too early.
    #[error("edge memory, cell {cell}: {cause}; restore it from a backup")]
    Truncated {
        /// Which cell.
        cell: &'static str,
        /// Where it ends.
        cause: Truncated,
    },
    /// Another version wrote it.
    #[error("edge memory, cell {cell}: version {got}, this program reads {VERSION}")]
    Version {
        /// Which cell.
        cell: &'static str,
        /// What it says.
        got: u8,
    },
    /// It goes on after its end.
    #[error("edge memory, cell {cell}: bytes follow its end; restore it from a backup")]
    Trailing {
        /// Which cell.
        cell: &'static str,
    },
    /// It holds something impossible.
    #[error(
        "edge memory, cell {cell}: a field holds an impossible value; restore it from a backup"
    )]
    Field {
        /// Which cell.
        cell: &'static str,
    },
}

/// What is known of one device besides its counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceState {
    pub(crate) home: Option<GatewayId>,
    pub(crate) trust: Scores,
    pub(crate) is_revoked: bool,
    /// When that was written.
    pub(crate) at: UtcTime,
}

/// The edge's non-volatile memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EdgeMemory {
    /// Own invocation counters up to here may have been used.
    pub reserved: u32,
    /// The last counter believed from each meter.
    pub believed: BTreeMap<SystemTitle, u32>,
    /// What is known of devices besides.
    pub(crate) devices: BTreeMap<SystemTitle, DeviceState>,
    /// The gateways' numbers, and their smoothed trust.
    pub(crate) gateways: BTreeMap<String, (GatewayId, Scores)>,
    /// The edge's own smoothed trust.
    pub(crate) trust: Option<Scores>,
    /// The highest number that a packet in the quarantine ever had.
    pub(crate) packets: u64,
    /// The packets in the quarantine, by page.
    pub(crate) pages: BTreeMap<usize, Vec<Held>>,
}

impl EdgeMemory {
    /// The cell that holds [`Self::reserved`].
    pub const RESERVED: &'static str = "transmit-counter";

    /// Cells that [`Self::believed`] is divided over at most.
    pub const SHARDS_MAX: usize = 1_024;

    /// The cell of a part of [`Self::believed`].
    ///
    /// # Panics
    ///
    /// If there is no such part.
    pub fn believed_cell(shard: usize) -> &'static str {
        static NAMES: [[u8; 21]; EdgeMemory::SHARDS_MAX] = numbered(*b"receive-counters-0000");
        if shard == 0 {
            return "receive-counters";
        }
        name(&NAMES[shard])
    }

    /// Cells in turn that hold the counters believed last; see [`crate::Edge::REMEMBER_EVERY`].
    pub const RECENT_CELLS: usize = 64;

    /// The cell of the gateways.
    pub const GATEWAYS: &'static str = "gateways";

    /// One of the cells of the counters that were believed last.
    ///
    /// # Panics
    ///
    /// If there is no such cell.
    pub fn recent_cell(number: usize) -> &'static str {
        static NAMES: [[u8; 20]; EdgeMemory::RECENT_CELLS] = numbered(*b"recent-counters-0000");
        name(&NAMES[number])
    }

    /// The cell of what is known of a part of the devices.
    ///
    /// # Panics
    ///
    /// If there is no such part.
    pub fn devices_cell(shard: usize) -> &'static str {
        static NAMES: [[u8; 12]; EdgeMemory::SHARDS_MAX] = numbered(*b"devices-0000");
        name(&NAMES[shard])
    }

    /// The cell of a page of the quarantine.
    ///
    /// # Panics
    ///
    /// If there is no such page.
    pub fn quarantine_cell(page: usize) -> &'static str {
        static NAMES: [[u8; 15]; Quarantine::PAGES] = numbered(*b"quarantine-0000");
        name(&NAMES[page])
    }

    /// The memory from the node's cells; a cell that was never written may be missing.
    ///
    /// # Errors
    ///
    /// If a cell does not hold what this program writes there.
    pub fn read<'a>(cell: impl Fn(&'static str) -> Option<&'a [u8]>) -> Result<Self, MemoryError> {
        let mut memory = Self::default();
        if let Some(bytes) = cell(Self::RESERVED) {
            memory.reserved = read_cell(Self::RESERVED, bytes, |from| from.u32())?;
        }
        let recent = (0..Self::RECENT_CELLS).map(Self::recent_cell);
        for name in (0..Self::SHARDS_MAX).map(Self::believed_cell).chain(recent) {
            let Some(bytes) = cell(name) else {
                continue;
            };
            read_cell(name, bytes, |from| {
                while !from.is_empty() {
                    let (title, counter) = (SystemTitle(from.array()?), from.u32()?);
                    let last = memory.believed.entry(title).or_default();
                    *last = counter.max(*last);
                }
                Ok(())
            })?;
        }
        for name in (0..Self::SHARDS_MAX).map(Self::devices_cell) {
            let Some(bytes) = cell(name) else {
                continue;
            };
            let states = read_cell(name, bytes, decode_devices)?;
            for (title, state) in states.ok_or(MemoryError::Field { cell: name })? {
                // A registry of another size left it elsewhere: the newest word counts.
                let known = memory.devices.entry(title).or_insert(state);
                if known.at < state.at {
                    *known = state;
                }
            }
        }
        if let Some(bytes) = cell(Self::GATEWAYS) {
            let content = read_cell(Self::GATEWAYS, bytes, decode_gateways)?;
            let field = MemoryError::Field {
                cell: Self::GATEWAYS,
            };
            let (trust, gateways) = content.ok_or(field)?;
            memory.trust = Some(trust);
            memory.gateways = gateways;
        }
        for page in 0..Quarantine::PAGES {
            let name = Self::quarantine_cell(page);
            let Some(bytes) = cell(name) else {
                continue;
            };
            let content = read_cell(name, bytes, decode)?;
            let (next, held) = content.ok_or(MemoryError::Field { cell: name })?;
            memory.packets = memory.packets.max(next);
            if !held.is_empty() {
                memory.pages.insert(page, held);
            }
        }
        Ok(memory)
    }

    /// The content of the cell [`Self::RESERVED`].
    pub fn encode_reserved(reserved: u32) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(reserved.to_be_bytes());
        bytes
    }

    /// The content of a cell of [`Self::believed_cell`].
    pub fn encode_believed(believed: impl Iterator<Item = (SystemTitle, u32)>) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        for (title, counter) in believed {
            bytes.extend(title.0);
            bytes.extend(counter.to_be_bytes());
        }
        bytes
    }

    /// The content of a cell of [`Self::devices_cell`].
    pub(crate) fn encode_devices(
        at: UtcTime,
        states: impl Iterator<Item = (SystemTitle, DeviceState)>,
    ) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(at.as_millis().to_be_bytes());
        for (title, state) in states {
            bytes.extend(title.0);
            bytes.push(u8::from(state.is_revoked));
            let home = state.home.map_or(u16::MAX, |home| home.0);
            bytes.extend(home.to_be_bytes());
            encode_scores(state.trust, &mut bytes);
        }
        bytes
    }

    /// The content of the cell [`Self::GATEWAYS`].
    pub(crate) fn encode_gateways<'a>(
        trust: Scores,
        gateways: impl Iterator<Item = (&'a str, GatewayId, Scores)>,
    ) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        encode_scores(trust, &mut bytes);
        for (name, id, trust) in gateways {
            bytes.extend(id.0.to_be_bytes());
            encode_scores(trust, &mut bytes);
            let length = u16::try_from(name.len()).expect("names are bounded where they come in");
            bytes.extend(length.to_be_bytes());
            bytes.extend_from_slice(name.as_bytes());
        }
        bytes
    }

    /// The content of a cell of [`Self::quarantine_cell`].
    pub(crate) fn encode_page(content: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(content.len() + 1);
        bytes.push(VERSION);
        bytes.extend_from_slice(content);
        bytes
    }
}

fn encode_scores(scores: Scores, out: &mut Vec<u8>) {
    for score in scores.to_array() {
        out.extend(score.to_be_bytes());
    }
}

fn decode_scores(from: &mut Reader<'_>) -> Result<Option<Scores>, Truncated> {
    let mut scores = [0; 5];
    for score in &mut scores {
        *score = u16::from_be_bytes(from.array()?);
    }
    Ok(Scores::from_array(scores))
}

type States = Vec<(SystemTitle, DeviceState)>;

fn decode_devices(from: &mut Reader<'_>) -> Result<Option<States>, Truncated> {
    let at = UtcTime::from_millis(i64::from_be_bytes(from.array()?));
    let mut states = Vec::new();
    while !from.is_empty() {
        let title = SystemTitle(from.array()?);
        let revoked = from.u8()?;
        let home = u16::from_be_bytes(from.array()?);
        let (Some(trust), 0 | 1) = (decode_scores(from)?, revoked) else {
            return Ok(None);
        };
        let state = DeviceState {
            home: (home != u16::MAX).then_some(GatewayId(home)),
            trust,
            is_revoked: revoked == 1,
            at,
        };
        states.push((title, state));
    }
    Ok(Some(states))
}

type Gateways = (Scores, BTreeMap<String, (GatewayId, Scores)>);

fn decode_gateways(from: &mut Reader<'_>) -> Result<Option<Gateways>, Truncated> {
    let own = decode_scores(from)?;
    let mut gateways = BTreeMap::new();
    while !from.is_empty() {
        let id = GatewayId(u16::from_be_bytes(from.array()?));
        let trust = decode_scores(from)?;
        let length = u16::from_be_bytes(from.array()?);
        let name = String::from_utf8(from.take(length.into())?.to_vec());
        let (Some(trust), Ok(name)) = (trust, name) else {
            return Ok(None);
        };
        gateways.insert(name, (id, trust));
    }
    Ok(own.map(|own| (own, gateways)))
}

/// Names that end with their number in four digits.
const fn numbered<const LENGTH: usize, const COUNT: usize>(
    pattern: [u8; LENGTH],
) -> [[u8; LENGTH]; COUNT] {
    const DIGITS: &[u8; 10] = b"0123456789";
    let mut names = [pattern; COUNT];
    let mut number = 0;
    while number < COUNT {
        let mut rest = number;
        let mut digit = 1;
        while digit <= 4 {
            names[number][LENGTH - digit] = DIGITS[rest % 10];
            rest /= 10;
            digit += 1;
        }
        number += 1;
    }
    names
}

fn name(bytes: &'static [u8]) -> &'static str {
    core::str::from_utf8(bytes).expect("names are ASCII")
}

fn read_cell<T>(
    cell: &'static str,
    bytes: &[u8],
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, Truncated>,
) -> Result<T, MemoryError> {
    let truncated = |cause| MemoryError::Truncated { cell, cause };
    let mut from = Reader::new(bytes);
    let got = from.u8().map_err(truncated)?;
    if got != VERSION {
        return Err(MemoryError::Version { cell, got });
    }
    let value = read(&mut from).map_err(truncated)?;
    if from.is_empty() {
        Ok(value)
    } else {
        Err(MemoryError::Trailing { cell })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cells: &[(&'static str, &[u8])]) -> Result<EdgeMemory, MemoryError> {
        EdgeMemory::read(|name| {
            cells
                .iter()
                .find(|(it, _)| *it == name)
                .map(|(_, bytes)| *bytes)
        })
    }

    #[test]
    fn memory_survives_and_damage_is_named() {
        let memory = EdgeMemory {
            reserved: 4_096,
            believed: [
                (SystemTitle(*b"GLM00001"), 7),
                (SystemTitle(*b"GLM00002"), 9),
            ]
            .into(),
            ..EdgeMemory::default()
        };
        let reserved = EdgeMemory::encode_reserved(memory.reserved);
        let believed = EdgeMemory::encode_believed(memory.believed.clone().into_iter());
        let cell = EdgeMemory::believed_cell(0);
        let cells: [(&str, &[u8]); 2] = [(EdgeMemory::RESERVED, &reserved), (cell, &believed)];
        assert_eq!(read(&cells), Ok(memory));
        assert_eq!(read(&[]), Ok(EdgeMemory::default()));
        for length in 0..reserved.len() {
            assert!(read(&[(EdgeMemory::RESERVED, &reserved[..length])]).is_err());
        }
        assert!(read(&[(cell, &believed[..believed.len() - 1])]).is_err());
        assert_eq!(
            read(&[(EdgeMemory::RESERVED, &[9, 0, 0, 0, 0])]),
            Err(MemoryError::Version {
                cell: EdgeMemory::RESERVED,
                got: 9
            })
        );
        assert_eq!(
            read(&[(EdgeMemory::RESERVED, &[1, 0, 0, 0, 0, 0])]),
            Err(MemoryError::Trailing {
                cell: EdgeMemory::RESERVED
            })
        );
    }

    #[test]
    fn what_is_known_of_devices_survives_and_the_newest_word_counts() {
        let title = SystemTitle(*b"GLM00001");
        let state = |second, home: u16, is_revoked| DeviceState {
            home: (home > 0).then_some(GatewayId(home)),
            trust: Scores::from_array([5_000, 10_000, 9_999, 0, 7_000]).unwrap(),
            is_revoked,
            at: UtcTime::from_secs(second),
        };
        let written =
            |it: DeviceState| EdgeMemory::encode_devices(it.at, [(title, it)].into_iter());
        let (old, new) = (state(8, 3, true), state(11, 0, false));
        for (first, second) in [(old, new), (new, old)] {
            let (first, second) = (written(first), written(second));
            let cells: [(&str, &[u8]); 2] = [
                (EdgeMemory::devices_cell(0), &first),
                (EdgeMemory::devices_cell(1_023), &second),
            ];
            assert_eq!(read(&cells).unwrap().devices[&title], new);
        }
        let bytes = written(old);
        let cell = EdgeMemory::devices_cell(3);
        assert_eq!(read(&[(cell, &bytes)]).unwrap().devices[&title], old);
        for length in 0..bytes.len() {
            let cut = read(&[(cell, &bytes[..length])]);
            assert_eq!(cut.is_err(), length != 9, "{length}: whole entries only");
        }
        let mut twice = bytes.clone();
        twice[17] = 2;
        assert_eq!(read(&[(cell, &twice)]), Err(MemoryError::Field { cell }));

        let gateways = [
            ("north", GatewayId(4), old.trust),
            ("süd", GatewayId(0), Scores::FULL),
        ];
        let bytes = EdgeMemory::encode_gateways(old.trust, gateways.into_iter());
        let memory = read(&[(EdgeMemory::GATEWAYS, &bytes)]).unwrap();
        assert_eq!(memory.trust, Some(old.trust));
        assert_eq!(memory.gateways["north"], (GatewayId(4), old.trust));
        assert_eq!(memory.gateways["süd"], (GatewayId(0), Scores::FULL));
        let mut impossible = bytes.clone();
        impossible[1] = 0xFF;
        let cell = EdgeMemory::GATEWAYS;
        assert_eq!(
            read(&[(cell, &impossible)]),
            Err(MemoryError::Field { cell })
        );
        assert!(read(&[(cell, &bytes[..bytes.len() - 1])]).is_err());
    }

    #[test]
    fn the_highest_counter_of_all_cells_counts() {
        let title = SystemTitle(*b"GLM00001");
        let of = |counter| EdgeMemory::encode_believed([(title, counter)].into_iter());
        let (old, new) = (of(8), of(11));
        for (first, second) in [(&old, &new), (&new, &old)] {
            let cells: [(&str, &[u8]); 2] = [
                (EdgeMemory::believed_cell(0), first),
                (EdgeMemory::believed_cell(1_023), second),
            ];
            assert_eq!(read(&cells).unwrap().believed[&title], 11);
            let cells: [(&str, &[u8]); 2] = [
                (EdgeMemory::believed_cell(0), first),
                (EdgeMemory::recent_cell(63), second),
            ];
            assert_eq!(read(&cells).unwrap().believed[&title], 11);
        }
        assert_eq!(EdgeMemory::believed_cell(0), "receive-counters");
        assert_eq!(EdgeMemory::believed_cell(1_023), "receive-counters-1023");
        assert_eq!(EdgeMemory::quarantine_cell(7), "quarantine-0007");
    }
}
