//! OBIS codes (IEC 62056-6-1): which quantity a COSEM object holds.

use core::fmt;

/// The six value groups A-B:C.D.E.F.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObisCode(pub [u8; 6]);

impl ObisCode {
    /// Reads `A-B:C.D.E.F`, or six groups joined by dots.
    pub fn parse(text: &str) -> Option<Self> {
        let mut groups = [0_u8; 6];
        let mut parts = text.split(['-', ':', '.']);
        for group in &mut groups {
            let part = parts.next()?;
            if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            *group = part.parse().ok()?;
        }
        parts.next().is_none().then_some(Self(groups))
    }
}

impl fmt::Display for ObisCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a}-{b}:{c}.{d}.{e}.{g}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn obis_codes() {
        let cases = [
            ("1-0:1.8.0.255", Some([1, 0, 1, 8, 0, 255])), // Active import, total.
            ("1.0.1.8.0.255", Some([1, 0, 1, 8, 0, 255])),
            ("1-0:1.8.0", None),       // Too few groups.
            ("1-0:1.8.0.256", None),   // Group out of range.
            ("1-0:1.8.0.255.1", None), // Too many groups.
            ("1-0:1.8.+0.255", None),  // Signs are no digits.
        ];
        for (text, expected) in cases {
            assert_eq!(ObisCode::parse(text), expected.map(ObisCode), "{text}");
        }
        assert_eq!(ObisCode([1, 0, 1, 8, 0, 255]).to_string(), "1-0:1.8.0.255");
    }
}
