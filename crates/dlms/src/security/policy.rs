//! The security policy of a meter (class 64 attribute 2, version 1).

/// What must be protected how: a bit for each of authentication, encryption and signature of
/// requests (bits 2–4) and of responses (bits 5–7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PolicyBits(u8);

impl PolicyBits {
    /// Nothing is demanded.
    pub const NONE: Self = Self(0);
    /// Requests and responses are authenticated and encrypted.
    pub const AUTHENTICATED_ENCRYPTION: Self = Self(0b0110_1100);
    /// Requests and responses are authenticated, encrypted and signed.
    pub const SIGNED: Self = Self(0b1111_1100);
    /// The reserved bits.
    const RESERVED: u8 = 0b0000_0011;

    /// Reads the attribute's value; `None` if a reserved bit is set.
    pub const fn new(bits: u8) -> Option<Self> {
        if bits & Self::RESERVED == 0 {
            Some(Self(bits))
        } else {
            None
        }
    }

    /// The attribute's value.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether it demands all that `other` does.
    pub const fn covers(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether requests must be authenticated.
    pub const fn authenticates_requests(self) -> bool {
        self.0 & 0x04 != 0
    }

    /// Whether requests must be encrypted.
    pub const fn encrypts_requests(self) -> bool {
        self.0 & 0x08 != 0
    }

    /// Whether requests must be signed.
    pub const fn signs_requests(self) -> bool {
        self.0 & 0x10 != 0
    }

    /// Whether responses must be authenticated.
    pub const fn authenticates_responses(self) -> bool {
        self.0 & 0x20 != 0
    }

    /// Whether responses must be encrypted.
    pub const fn encrypts_responses(self) -> bool {
        self.0 & 0x40 != 0
    }

    /// Whether responses must be signed.
    pub const fn signs_responses(self) -> bool {
        self.0 & 0x80 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bit_says_one_thing() {
        let said = |bits: u8| {
            let policy = PolicyBits::new(bits)?;
            Some([
                policy.authenticates_requests(),
                policy.encrypts_requests(),
                policy.signs_requests(),
                policy.authenticates_responses(),
                policy.encrypts_responses(),
                policy.signs_responses(),
            ])
        };
        assert_eq!((said(0x01), said(0x02)), (None, None), "reserved");
        for place in 0..6 {
            let mut expected = [false; 6];
            expected[place] = true;
            assert_eq!(said(0x04 << place), Some(expected), "{place}");
        }
        assert!(PolicyBits::SIGNED.covers(PolicyBits::AUTHENTICATED_ENCRYPTION));
        assert!(!PolicyBits::AUTHENTICATED_ENCRYPTION.covers(PolicyBits::SIGNED));
    }
}
