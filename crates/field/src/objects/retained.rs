//! What an object keeps in a memory cell: a version, then its fields, big-endian. The frame with
//! the CRC around it is the memory's.

use gridloom_core::bytes::{Reader, Truncated};
use gridloom_core::{ObisCode, UtcTime};
use gridloom_dlms::axdr::{Data, Encoder};
use gridloom_dlms::datetime::CosemDateTime;

/// Why an object cannot be taken over from memory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RetainedError {
    /// It ends before its content does.
    #[error("memory: object {object:?} is cut short: {source}; restore its cell")]
    Truncated {
        /// Which.
        object: &'static str,
        /// Where.
        source: Truncated,
    },
    /// It is longer than its content.
    #[error("memory: object {object:?} has {bytes} bytes too many; restore its cell")]
    Trailing {
        /// Which.
        object: &'static str,
        /// How many.
        bytes: usize,
    },
    /// It was written by a newer program.
    #[error("memory: object {object:?} has version {version}; start the program that wrote it")]
    Version {
        /// Which.
        object: &'static str,
        /// Its version.
        version: u8,
    },
    /// A value that no object writes.
    #[error("memory: object {object:?}: {field} is impossible; restore its cell")]
    Value {
        /// Which.
        object: &'static str,
        /// Which part.
        field: &'static str,
    },
}

/// Appends an object's fields.
pub(crate) struct Keeper<'a>(&'a mut Vec<u8>);

impl<'a> Keeper<'a> {
    /// Begins an object of `version`.
    pub(crate) fn new(version: u8, out: &'a mut Vec<u8>) -> Self {
        out.push(version);
        Self(out)
    }

    pub(crate) fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.0.extend(bytes);
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(crate) fn flag(&mut self, flag: bool) {
        self.0.push(u8::from(flag));
    }

    pub(crate) fn time(&mut self, time: UtcTime) {
        self.put(time.as_millis().to_be_bytes());
    }

    /// A presence byte and the value.
    pub(crate) fn option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            put(self, value);
        }
    }

    /// A count and every item.
    pub(crate) fn list<T>(
        &mut self,
        items: impl ExactSizeIterator<Item = T>,
        mut put: impl FnMut(&mut Self, T),
    ) {
        self.count(items.len());
        for item in items {
            put(self, item);
        }
    }

    pub(crate) fn octets(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// A value with its length in front.
    pub(crate) fn data(&mut self, value: &Data) {
        let mut bytes = Vec::new();
        Encoder::new(&mut bytes).value(value);
        self.octets(&bytes);
    }

    fn count(&mut self, count: usize) {
        let count = u32::try_from(count).expect("objects keep bounded lists");
        self.put(count.to_be_bytes());
    }
}

/// Reads an object's fields back.
pub(crate) struct Kept<'a> {
    object: &'static str,
    reader: Reader<'a>,
}

impl<'a> Kept<'a> {
    /// Begins an object that was written with `version`.
    pub(crate) fn open(
        object: &'static str,
        version: u8,
        bytes: &'a [u8],
    ) -> Result<Self, RetainedError> {
        let mut kept = Self {
            object,
            reader: Reader::new(bytes),
        };
        match kept.u8()? {
            found if found == version => Ok(kept),
            version => Err(RetainedError::Version { object, version }),
        }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], RetainedError> {
        let object = self.object;
        self.reader
            .array()
            .map_err(|source| RetainedError::Truncated { object, source })
    }

    pub(crate) fn u8(&mut self) -> Result<u8, RetainedError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, RetainedError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, RetainedError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, RetainedError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, RetainedError> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn time(&mut self) -> Result<UtcTime, RetainedError> {
        self.i64().map(UtcTime::from_millis)
    }

    pub(crate) fn date_time(&mut self) -> Result<CosemDateTime, RetainedError> {
        self.array().map(CosemDateTime::from_bytes)
    }

    pub(crate) fn name(&mut self) -> Result<ObisCode, RetainedError> {
        self.array().map(ObisCode)
    }

    pub(crate) fn flag(&mut self, field: &'static str) -> Result<bool, RetainedError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.impossible(field)),
        }
    }

    pub(crate) fn option<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, RetainedError>,
    ) -> Result<Option<T>, RetainedError> {
        if self.flag(field)? {
            read(self).map(Some)
        } else {
            Ok(None)
        }
    }

    /// At most `most` items. Memory is set aside as they are read, not as they are announced.
    pub(crate) fn list<T>(
        &mut self,
        field: &'static str,
        most: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, RetainedError>,
    ) -> Result<Vec<T>, RetainedError> {
        let count = self.count(field, most)?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(items)
    }

    pub(crate) fn octets(
        &mut self,
        field: &'static str,
        most: usize,
    ) -> Result<&'a [u8], RetainedError> {
        let count = self.count(field, most)?;
        let object = self.object;
        self.reader
            .take(count)
            .map_err(|source| RetainedError::Truncated { object, source })
    }

    pub(crate) fn data(&mut self, field: &'static str, most: usize) -> Result<Data, RetainedError> {
        let bytes = self.octets(field, most)?;
        Data::decode(bytes).map_err(|_| self.impossible(field))
    }

    pub(crate) fn impossible(&self, field: &'static str) -> RetainedError {
        RetainedError::Value {
            object: self.object,
            field,
        }
    }

    /// `Ok` only where `holds`.
    pub(crate) fn require(&self, holds: bool, field: &'static str) -> Result<(), RetainedError> {
        if holds {
            Ok(())
        } else {
            Err(self.impossible(field))
        }
    }

    pub(crate) fn finish(self) -> Result<(), RetainedError> {
        match self.reader.rest().len() {
            0 => Ok(()),
            bytes => Err(RetainedError::Trailing {
                object: self.object,
                bytes,
            }),
        }
    }

    fn count(&mut self, field: &'static str, most: usize) -> Result<usize, RetainedError> {
        let count = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        self.require(count <= most, field)?;
        Ok(count)
    }
}

/// Checks that `encode` and `decode` agree and that every cut and every other version is refused.
#[cfg(test)]
pub(crate) fn assert_survives<T: PartialEq + core::fmt::Debug>(
    object: &T,
    encode: impl Fn(&T, &mut Vec<u8>),
    decode: impl Fn(&[u8]) -> Result<T, RetainedError>,
) {
    let mut bytes = Vec::new();
    encode(object, &mut bytes);
    assert_eq!(decode(&bytes).as_ref(), Ok(object));
    for cut in 0..bytes.len() {
        assert!(decode(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(matches!(
        decode(&longer),
        Err(RetainedError::Trailing { bytes: 1, .. })
    ));
    bytes[0] = 0xEE;
    assert!(matches!(
        decode(&bytes),
        Err(RetainedError::Version { version: 0xEE, .. })
    ));
}
