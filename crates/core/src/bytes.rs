//! A bounded big-endian cursor over received bytes; every decoder of ours reads through it.

/// The input ended before the value did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{wanted} bytes wanted at offset {offset}, {left} left")]
pub struct Truncated {
    /// Where the value starts.
    pub offset: usize,
    /// Bytes the value needs.
    pub wanted: usize,
    /// Bytes there are.
    pub left: usize,
}

/// Reads values from the front of a byte slice.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    all: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self {
            all: bytes,
            offset: 0,
        }
    }

    /// Bytes read so far.
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        &self.all[self.offset..]
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.offset == self.all.len()
    }

    /// The next byte, without reading it.
    pub fn peek(&self) -> Option<u8> {
        self.all.get(self.offset).copied()
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Truncated> {
        let rest = self.rest();
        let Some(taken) = rest.get(..count) else {
            return Err(Truncated {
                offset: self.offset,
                wanted: count,
                left: rest.len(),
            });
        };
        self.offset += count;
        Ok(taken)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("take returns what was asked for"))
    }

    /// An unsigned byte.
    pub fn u8(&mut self) -> Result<u8, Truncated> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A big-endian unsigned 16-bit number.
    pub fn u16(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_be_bytes)
    }

    /// A big-endian unsigned 32-bit number.
    pub fn u32(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_be_bytes)
    }

    /// A big-endian unsigned 64-bit number.
    pub fn u64(&mut self) -> Result<u64, Truncated> {
        self.array().map(u64::from_be_bytes)
    }

    /// A big-endian signed 64-bit number.
    pub fn i64(&mut self) -> Result<i64, Truncated> {
        self.array().map(i64::from_be_bytes)
    }

    /// A big-endian signed 128-bit number.
    pub fn i128(&mut self) -> Result<i128, Truncated> {
        self.array().map(i128::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_in_order_and_names_what_is_missing() {
        let mut reader = Reader::new(&[1, 0, 2, 9, 9]);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(2));
        assert_eq!(
            reader.u32(),
            Err(Truncated {
                offset: 3,
                wanted: 4,
                left: 2
            })
        );
        assert_eq!(reader.rest(), [9, 9]);
        assert_eq!(reader.take(2), Ok(&[9, 9][..]));
        assert!(reader.is_empty());
    }
}
