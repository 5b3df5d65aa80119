//! What an edge must still know after a restart: its own counter reservation, the last counter it
//! believed from each meter, and the packets in its quarantine.
//!
//! Counters of many meters are divided over cells, so that a packet costs the writing of one small
//! cell and not of all. Each entry names its title: whatever cells a registry of another size left
//! behind, the highest counter of a title counts.

use std::collections::BTreeMap;

use gridloom_core::SystemTitle;
use gridloom_core::bytes::{Reader, Truncated};

use crate::quarantine::{Held, Quarantine, decode};

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

/// The edge's non-volatile memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EdgeMemory {
    /// Own invocation counters up to here may have been used.
    pub reserved: u32,
    /// The last counter believed from each meter.
    pub believed: BTreeMap<SystemTitle, u32>,
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
        for name in (0..Self::SHARDS_MAX).map(Self::believed_cell) {
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

    /// The content of a cell of [`Self::quarantine_cell`].
    pub(crate) fn encode_page(content: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(content.len() + 1);
        bytes.push(VERSION);
        bytes.extend_from_slice(content);
        bytes
    }
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
        }
        assert_eq!(EdgeMemory::believed_cell(0), "receive-counters");
        assert_eq!(EdgeMemory::believed_cell(1_023), "receive-counters-1023");
        assert_eq!(EdgeMemory::quarantine_cell(7), "quarantine-0007");
    }
}
