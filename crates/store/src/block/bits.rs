//! A bit stream, most significant bit first.

/// The stream ended within a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OutOfBits;

/// Collects bits into bytes.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    held: u64,
    held_bits: u32,
}

impl BitWriter {
    /// Appends the low `count` bits of `value`, at most 64.
    pub(super) fn put(&mut self, value: u64, count: u32) {
        if count > 32 {
            self.put_short(value >> 32, count - 32);
            self.put_short(value, 32);
        } else {
            self.put_short(value, count);
        }
    }

    fn put_short(&mut self, value: u64, count: u32) {
        // At most 7 held bits and 32 new ones.
        let kept = value & ((1 << count) - 1);
        self.held = self.held << count | kept;
        self.held_bits += count;
        while self.held_bits >= 8 {
            self.held_bits -= 8;
            let [.., byte] = (self.held >> self.held_bits).to_be_bytes();
            self.bytes.push(byte);
        }
    }

    /// The bytes, the last one filled up with zeros.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let padding = (8 - self.held_bits) % 8;
        self.put_short(0, padding);
        self.bytes
    }
}

/// Reads bits from bytes.
#[derive(Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    held: u64,
    held_bits: u32,
}

impl<'a> BitReader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            held: 0,
            held_bits: 0,
        }
    }

    /// The next `count` bits, at most 64.
    pub(super) fn get(&mut self, count: u32) -> Result<u64, OutOfBits> {
        if count > 32 {
            let high = self.get_short(count - 32)?;
            Ok(high << 32 | self.get_short(32)?)
        } else {
            self.get_short(count)
        }
    }

    fn get_short(&mut self, count: u32) -> Result<u64, OutOfBits> {
        while self.held_bits < count {
            let (&byte, rest) = self.bytes.split_first().ok_or(OutOfBits)?;
            self.held = self.held << 8 | u64::from(byte);
            self.held_bits += 8;
            self.bytes = rest;
        }
        self.held_bits -= count;
        Ok(self.held >> self.held_bits & ((1 << count) - 1))
    }

    /// Whole bytes that were not read, and one more if the padding is not zero.
    pub(super) const fn left_over(&self) -> usize {
        let padding = self.held & ((1 << self.held_bits) - 1);
        self.bytes.len() + (padding != 0 || self.held_bits >= 8) as usize
    }
}
