//! Identifiers.

use core::fmt;

/// A meter's number in the utility's registry; stable when its system title is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeterId(pub u32);

impl fmt::Display for MeterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m{}", self.0)
    }
}

/// A COSEM system title: three letters of the manufacturer and five bytes of serial number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SystemTitle(pub [u8; 8]);

impl SystemTitle {
    /// A title from a manufacturer's FLAG id and a serial number below 2⁴⁰.
    ///
    /// # Panics
    ///
    /// If the serial number needs more than five bytes.
    pub fn new(manufacturer: [u8; 3], serial: u64) -> Self {
        assert!(serial < 1 << 40, "a serial number has five bytes");
        let [_, _, _, s0, s1, s2, s3, s4] = serial.to_be_bytes();
        let [a, b, c] = manufacturer;
        Self([a, b, c, s0, s1, s2, s3, s4])
    }

    /// Reads sixteen hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        u64::from_str_radix(text, 16)
            .ok()
            .map(|value| Self(value.to_be_bytes()))
    }
}

impl fmt::Display for SystemTitle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::Debug for SystemTitle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SystemTitle({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_read_and_print() {
        let title = SystemTitle::new(*b"MMM", 0xBC_614E);
        assert_eq!(title.to_string(), "4D4D4D0000BC614E");
        assert_eq!(SystemTitle::parse("4D4D4D0000BC614E"), Some(title));
        assert_eq!(SystemTitle::parse("4D4D4D0000BC61"), None);
        assert_eq!(SystemTitle::parse("+D4D4D0000BC614E"), None);
    }
}
