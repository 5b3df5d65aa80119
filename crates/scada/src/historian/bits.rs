//! A bit stream, most significant bit first, and the Rice code that adapts to what it wrote.

/// Ones before a value is written out in full.
const UNARY_MAX: u32 = 20;

/// The stream ended within a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OutOfBits;

/// Collects bits into bytes.
#[derive(Debug, Clone, Default)]
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
        // At most 31 held bits and 32 new ones.
        self.held = self.held << count | (value & ((1 << count) - 1));
        self.held_bits += count;
        if self.held_bits >= 32 {
            self.held_bits -= 32;
            let [.., a, b, c, d] = (self.held >> self.held_bits).to_be_bytes();
            self.bytes.extend([a, b, c, d]);
        }
    }

    /// Whole bytes so far.
    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Moves the bytes out, the last one filled up with zeros, behind `out`.
    pub(super) fn finish_into(&mut self, out: &mut Vec<u8>) {
        while !self.held_bits.is_multiple_of(8) {
            self.put_short(0, 1);
        }
        out.append(&mut self.bytes);
        while self.held_bits > 0 {
            self.held_bits -= 8;
            let [.., byte] = (self.held >> self.held_bits).to_be_bytes();
            out.push(byte);
        }
        self.held = 0;
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
}

/// The running mean of what was written, from which both sides take the parameter of the code.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rice {
    /// Sixteen times the mean.
    mean: u64,
}

impl Rice {
    pub(super) const fn new(mean: u64) -> Self {
        Self { mean: mean * 16 }
    }

    fn parameter(self) -> u32 {
        // Half the mean or less, so that the unary part is short.
        (u64::BITS - (self.mean >> 5).leading_zeros()).min(31)
    }

    const fn learn(&mut self, value: u64) {
        // A far outlier counts as a million millions, so that the mean cannot overflow.
        let value = if value >> 40 != 0 { 1 << 40 } else { value };
        self.mean = self.mean - self.mean / 8 + value * 2;
    }

    pub(super) fn put(&mut self, value: u64, bits: &mut BitWriter) {
        let k = self.parameter();
        let quotient = value >> k;
        if quotient < u64::from(UNARY_MAX) {
            let ones = u32::try_from(quotient).expect("it is small");
            bits.put((1 << (ones + 1)) - 2, ones + 1);
            bits.put(value, k);
        } else {
            bits.put((1 << UNARY_MAX) - 1, UNARY_MAX);
            put_full(value, bits);
        }
        self.learn(value);
    }

    pub(super) fn get(&mut self, bits: &mut BitReader<'_>) -> Result<u64, OutOfBits> {
        let k = self.parameter();
        let mut ones = 0;
        while ones < UNARY_MAX && bits.get(1)? == 1 {
            ones += 1;
        }
        let value = if ones == UNARY_MAX {
            get_full(bits)?
        } else {
            u64::from(ones) << k | bits.get(k)?
        };
        self.learn(value);
        Ok(value)
    }
}

/// A value by its length in bits, then its bits.
pub(super) fn put_full(value: u64, bits: &mut BitWriter) {
    let length = u64::BITS - value.leading_zeros();
    bits.put(u64::from(length), 7);
    bits.put(value, length);
}

pub(super) fn get_full(bits: &mut BitReader<'_>) -> Result<u64, OutOfBits> {
    let length = u32::try_from(bits.get(7)?).map_err(|_| OutOfBits)?;
    bits.get(length.min(u64::BITS))
}

/// Small numbers for small distances from zero.
pub(super) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

pub(super) const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_the_code() {
        let values = [
            0,
            1,
            2,
            3,
            1_000,
            0,
            0,
            u64::MAX,
            5,
            1 << 40,
            7,
            7,
            7,
            0,
            u64::MAX / 2,
        ];
        let (mut bits, mut code) = (BitWriter::default(), Rice::new(4));
        for value in values {
            code.put(value, &mut bits);
            put_full(value, &mut bits);
        }
        let mut bytes = vec![9];
        bits.finish_into(&mut bytes);
        let (mut reader, mut code) = (BitReader::new(&bytes[1..]), Rice::new(4));
        for value in values {
            assert_eq!(code.get(&mut reader), Ok(value));
            assert_eq!(get_full(&mut reader), Ok(value));
        }
        assert!(reader.get(8).is_err());
        for value in [0, 1, -1, i64::MAX, i64::MIN] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
    }
}
