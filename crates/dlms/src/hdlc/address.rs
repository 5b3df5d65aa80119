//! Addresses of 1, 2 and 4 bytes (IEC 62056-46 §6.4.2).

use core::fmt;

use gridloom_core::bytes::Reader;

const SHORT_MAX: u16 = 0x7F;
const LONG_MAX: u16 = 0x3FFF;

/// An address that a frame cannot carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "frame: HDLC address {upper}/{lower} does not fit: at most 127 in one and two bytes, \
     at most 16383 in four"
)]
pub struct AddressError {
    /// The upper part: the logical device, or the client.
    pub upper: u16,
    /// The lower part: the physical device; 0 if absent.
    pub lower: u16,
}

/// Who sends or receives a frame: a client (one byte), or the logical (upper) and physical
/// (lower) device of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    upper: u16,
    lower: u16,
    width: Width,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Width {
    One,
    Two,
    Four,
}

impl Address {
    /// The management logical device of a server that has the line to itself.
    pub const MANAGEMENT: Self = Self {
        upper: 1,
        lower: 0,
        width: Width::One,
    };

    /// The public client.
    pub const PUBLIC_CLIENT: Self = Self {
        upper: 16,
        lower: 0,
        width: Width::One,
    };

    /// An address of one byte, 0 to 127.
    ///
    /// # Errors
    ///
    /// [`AddressError`] above that.
    pub const fn one(upper: u16) -> Result<Self, AddressError> {
        Self::new(upper, 0, Width::One, SHORT_MAX)
    }

    /// An address of two bytes, each part 0 to 127.
    ///
    /// # Errors
    ///
    /// [`AddressError`] above that.
    pub const fn two(upper: u16, lower: u16) -> Result<Self, AddressError> {
        Self::new(upper, lower, Width::Two, SHORT_MAX)
    }

    /// An address of four bytes, each part 0 to 16383.
    ///
    /// # Errors
    ///
    /// [`AddressError`] above that.
    pub const fn four(upper: u16, lower: u16) -> Result<Self, AddressError> {
        Self::new(upper, lower, Width::Four, LONG_MAX)
    }

    /// The shortest address of logical device `upper`, on physical device `lower` if one is given.
    /// A logical device above 127 is given four bytes, and physical device 16 unless named.
    ///
    /// # Errors
    ///
    /// [`AddressError`] if four bytes are too few.
    pub const fn fitting(upper: u16, lower: Option<u16>) -> Result<Self, AddressError> {
        match lower {
            None if upper <= SHORT_MAX => Self::one(upper),
            None => Self::four(upper, Self::PHYSICAL_FIRST),
            Some(lower) if upper <= SHORT_MAX && lower <= SHORT_MAX => Self::two(upper, lower),
            Some(lower) => Self::four(upper, lower),
        }
    }

    /// The first physical device address that the standard does not reserve.
    pub const PHYSICAL_FIRST: u16 = 0x10;

    const fn new(upper: u16, lower: u16, width: Width, max: u16) -> Result<Self, AddressError> {
        if upper > max || lower > max {
            return Err(AddressError { upper, lower });
        }
        Ok(Self {
            upper,
            lower,
            width,
        })
    }

    /// The client, or the logical device.
    pub const fn upper(self) -> u16 {
        self.upper
    }

    /// The physical device, where the address names one.
    pub const fn lower(self) -> Option<u16> {
        match self.width {
            Width::One => None,
            Width::Two | Width::Four => Some(self.lower),
        }
    }

    /// Whether every station is meant, in either part. No station answers such a frame.
    pub const fn is_broadcast(self) -> bool {
        let all = match self.width {
            Width::One | Width::Two => SHORT_MAX,
            Width::Four => LONG_MAX,
        };
        self.upper == all || (self.lower == all && !matches!(self.width, Width::One))
    }

    /// Bytes on the line.
    pub const fn encoded_len(self) -> usize {
        match self.width {
            Width::One => 1,
            Width::Two => 2,
            Width::Four => 4,
        }
    }

    pub(super) fn encode(self, out: &mut Vec<u8>) {
        let [upper_high, upper_low] = split(self.upper);
        let [lower_high, lower_low] = split(self.lower);
        match self.width {
            Width::One => out.push(upper_low | 1),
            Width::Two => out.extend([upper_low, lower_low | 1]),
            Width::Four => out.extend([upper_high, upper_low, lower_high, lower_low | 1]),
        }
    }

    /// Reads 1, 2 or 4 bytes, of which only the last has its lowest bit set. `None` for anything
    /// else, or if the bytes end before.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let mut parts = [0; 4];
        let mut count = 0;
        loop {
            let byte = reader.u8().ok()?;
            *parts.get_mut(count)? = u16::from(byte >> 1);
            count += 1;
            if byte & 1 == 1 {
                break;
            }
        }
        let [a, b, c, d] = parts;
        match count {
            1 => Self::one(a).ok(),
            2 => Self::two(a, b).ok(),
            4 => Self::four(a << 7 | b, c << 7 | d).ok(),
            _ => None,
        }
    }
}

/// Seven bits a byte, above the extension bit.
fn split(part: u16) -> [u8; 2] {
    [part >> 7, part & SHORT_MAX].map(|seven| seven.to_be_bytes()[1] << 1)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lower() {
            None => write!(f, "{}", self.upper),
            Some(lower) => write!(f, "{}/{lower}", self.upper),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_on_the_line() {
        let cases: [(Result<Address, AddressError>, &[u8]); 8] = [
            (Address::one(1), &[0x03]),
            (Address::one(16), &[0x21]),
            (Address::one(127), &[0xFF]),
            (Address::two(1, 17), &[0x02, 0x23]),
            (Address::two(1, 0), &[0x02, 0x01]),
            (Address::four(1, 17), &[0x00, 0x02, 0x00, 0x23]),
            (Address::four(0x3FFF, 0x80), &[0xFE, 0xFE, 0x02, 0x01]),
            (Address::fitting(300, None), &[0x04, 0x58, 0x00, 0x21]),
        ];
        for (address, bytes) in cases {
            let address = address.unwrap();
            let mut out = Vec::new();
            address.encode(&mut out);
            assert_eq!(out, bytes, "{address}");
            assert_eq!(out.len(), address.encoded_len());
            let mut reader = Reader::new(bytes);
            assert_eq!(Address::decode(&mut reader), Some(address));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn what_is_no_address() {
        let cases: [&[u8]; 5] = [&[], &[2], &[2, 2, 3], &[2, 2, 2, 2], &[2, 2, 2, 2, 3]];
        for bytes in cases {
            assert_eq!(Address::decode(&mut Reader::new(bytes)), None, "{bytes:?}");
        }
        assert!(Address::one(128).is_err());
        assert!(Address::two(1, 128).is_err());
        assert!(Address::four(0x4000, 1).is_err());
        assert!(Address::fitting(0x4000, None).is_err());
    }

    #[test]
    fn broadcasts() {
        let cases = [
            (Address::one(127), true),
            (Address::two(1, 127), true),
            (Address::four(127, 127), false),
            (Address::four(1, 0x3FFF), true),
            (Address::one(1), false),
        ];
        for (address, expected) in cases {
            assert_eq!(address.unwrap().is_broadcast(), expected, "{address:?}");
        }
    }
}
