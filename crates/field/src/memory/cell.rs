//! The frame of a memory cell.

use gridloom_core::bytes::{Reader, Truncated};

use super::MemoryError;

const MAGIC: [u8; 3] = *b"GLM";
const HEADER: usize = 5;
const CRC: usize = 4;

/// Writes a cell.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new(kind: u8, version: u8, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(HEADER + capacity + CRC);
        bytes.extend(MAGIC);
        bytes.extend([version, kind]);
        Self(bytes)
    }

    pub(crate) fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.0.extend(bytes);
    }

    /// A count; everything that is counted here has a bound far below.
    pub(crate) fn count(&mut self, count: usize) {
        self.put(
            u32::try_from(count)
                .expect("cells hold bounded lists")
                .to_be_bytes(),
        );
    }

    /// What writes itself.
    pub(crate) fn extend(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        encode(&mut self.0);
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        let crc = crc32fast::hash(&self.0);
        self.0.extend(crc.to_be_bytes());
        self.0
    }
}

/// Reads the content of a cell whose CRC was right.
pub(crate) struct Cell<'a> {
    name: &'static str,
    version: u8,
    reader: Reader<'a>,
}

/// Checks the frame of a cell of version 1 to `newest`.
pub(crate) fn open<'a>(
    name: &'static str,
    kind: u8,
    newest: u8,
    bytes: &'a [u8],
) -> Result<Cell<'a>, MemoryError> {
    let mut reader = Reader::new(bytes);
    let cut = |source| MemoryError::Truncated { cell: name, source };
    let found: [u8; HEADER] = reader.array().map_err(cut)?;
    let [m0, m1, m2, version, found_kind] = found;
    let known = (1..=newest).contains(&version);
    if [m0, m1, m2] != MAGIC || found_kind != kind {
        return Err(MemoryError::Foreign { cell: name, found });
    }
    if !known {
        return Err(MemoryError::Version {
            cell: name,
            version,
        });
    }
    let Some((content, stored)) = reader.rest().split_last_chunk::<CRC>() else {
        return Err(cut(Truncated {
            offset: HEADER,
            wanted: CRC,
            left: reader.rest().len(),
        }));
    };
    let stored = u32::from_be_bytes(*stored);
    let computed = crc32fast::hash(&bytes[..HEADER + content.len()]);
    if stored != computed {
        return Err(MemoryError::Crc {
            cell: name,
            stored,
            computed,
        });
    }
    Ok(Cell {
        name,
        version,
        reader: Reader::new(content),
    })
}

impl<'a> Cell<'a> {
    /// The version it was written in.
    pub(crate) fn version(&self) -> u8 {
        self.version
    }

    /// All that is left.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.reader.rest()
    }

    /// A part that reads itself; `None` is a value that no meter writes.
    pub(crate) fn part<T>(
        &mut self,
        field: &'static str,
        decode: impl FnOnce(&mut Reader<'a>) -> Result<Option<T>, Truncated>,
    ) -> Result<T, MemoryError> {
        decode(&mut self.reader)
            .map_err(|source| MemoryError::Truncated {
                cell: self.name,
                source,
            })?
            .ok_or_else(|| self.impossible(field))
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], MemoryError> {
        self.reader
            .array()
            .map_err(|source| MemoryError::Truncated {
                cell: self.name,
                source,
            })
    }

    pub(crate) fn u8(&mut self) -> Result<u8, MemoryError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, MemoryError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, MemoryError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A count. It is not trusted: what is counted is read one by one, until the cell ends.
    pub(crate) fn count(&mut self) -> Result<usize, MemoryError> {
        Ok(usize::try_from(self.u32()?).unwrap_or(usize::MAX))
    }

    pub(crate) fn i32(&mut self) -> Result<i32, MemoryError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, MemoryError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, MemoryError> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn i128(&mut self) -> Result<i128, MemoryError> {
        self.array().map(i128::from_be_bytes)
    }

    pub(crate) fn impossible(&self, field: &'static str) -> MemoryError {
        MemoryError::Value {
            cell: self.name,
            field,
        }
    }

    /// `Ok` only where `holds`.
    pub(crate) fn require(&self, holds: bool, field: &'static str) -> Result<(), MemoryError> {
        if holds {
            Ok(())
        } else {
            Err(self.impossible(field))
        }
    }

    pub(crate) fn finish(self) -> Result<(), MemoryError> {
        match self.reader.rest().len() {
            0 => Ok(()),
            bytes => Err(MemoryError::Trailing {
                cell: self.name,
                bytes,
            }),
        }
    }
}
