//! What an edge must still know after a restart: its own counter reservation, and the last
//! counter it believed from each meter.

use std::collections::BTreeMap;

use gridloom_core::SystemTitle;
use gridloom_core::bytes::{Reader, Truncated};

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
}

/// The edge's non-volatile memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EdgeMemory {
    /// Own invocation counters up to here may have been used.
    pub reserved: u32,
    /// The last counter believed from each meter.
    pub believed: BTreeMap<SystemTitle, u32>,
}

impl EdgeMemory {
    /// The cell that holds [`Self::reserved`].
    pub const RESERVED: &'static str = "transmit-counter";
    /// The cell that holds [`Self::believed`].
    pub const BELIEVED: &'static str = "receive-counters";

    /// The memory from its two cells; a cell that was never written is `None`.
    ///
    /// # Errors
    ///
    /// If a cell does not hold what this program writes there.
    pub fn read(reserved: Option<&[u8]>, believed: Option<&[u8]>) -> Result<Self, MemoryError> {
        let mut memory = Self::default();
        if let Some(bytes) = reserved {
            memory.reserved = read_cell(Self::RESERVED, bytes, |from| from.u32())?;
        }
        if let Some(bytes) = believed {
            memory.believed = read_cell(Self::BELIEVED, bytes, |from| {
                let mut believed = BTreeMap::new();
                while !from.is_empty() {
                    believed.insert(SystemTitle(from.array()?), from.u32()?);
                }
                Ok(believed)
            })?;
        }
        Ok(memory)
    }

    /// The content of the cell [`Self::RESERVED`].
    pub fn encode_reserved(reserved: u32) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(reserved.to_be_bytes());
        bytes
    }

    /// The content of the cell [`Self::BELIEVED`].
    pub fn encode_believed(believed: impl Iterator<Item = (SystemTitle, u32)>) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        for (title, counter) in believed {
            bytes.extend(title.0);
            bytes.extend(counter.to_be_bytes());
        }
        bytes
    }
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

    #[test]
    fn memory_survives_and_damage_is_named() {
        let memory = EdgeMemory {
            reserved: 4_096,
            believed: [
                (SystemTitle(*b"GLM00001"), 7),
                (SystemTitle(*b"GLM00002"), 9),
            ]
            .into(),
        };
        let reserved = EdgeMemory::encode_reserved(memory.reserved);
        let believed = EdgeMemory::encode_believed(memory.believed.clone().into_iter());
        assert_eq!(
            EdgeMemory::read(Some(&reserved), Some(&believed)),
            Ok(memory)
        );
        assert_eq!(EdgeMemory::read(None, None), Ok(EdgeMemory::default()));
        for length in 0..reserved.len() {
            assert!(EdgeMemory::read(Some(&reserved[..length]), None).is_err());
        }
        assert!(EdgeMemory::read(None, Some(&believed[..believed.len() - 1])).is_err());
        assert_eq!(
            EdgeMemory::read(Some(&[9, 0, 0, 0, 0]), None),
            Err(MemoryError::Version {
                cell: EdgeMemory::RESERVED,
                got: 9
            })
        );
        assert_eq!(
            EdgeMemory::read(Some(&[1, 0, 0, 0, 0, 0]), None),
            Err(MemoryError::Trailing {
                cell: EdgeMemory::RESERVED
            })
        );
    }
}
