//! Which services a side speaks.

use core::fmt;
use core::ops::{BitAnd, BitOr};

/// The conformance block: 24 bits, bit 0 being the highest one (IEC 62056-5-3, clause 7.3.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Conformance(u32);

macro_rules! bits {
    ($($(#[$doc:meta])* $name:ident = $bit:literal,)*) => {
        impl Conformance {
            $($(#[$doc])* pub const $name: Self = Self(0x80_0000 >> $bit);)*
            const NAMES: &[(Self, &'static str)] = &[$((Self::$name, stringify!($name)),)*];
        }
    };
}

bits!(
    /// general-glo, general-ded, general-ciphering and general-signing.
    GENERAL_PROTECTION = 1,
    /// general-block-transfer.
    GENERAL_BLOCK_TRANSFER = 2,
    /// Attribute 0 (all of an object) in SET.
    ATTRIBUTE_0_WITH_SET = 8,
    /// Priorities in invoke ids.
    PRIORITY = 9,
    /// Attribute 0 (all of an object) in GET.
    ATTRIBUTE_0_WITH_GET = 10,
    /// Long answers to GET in blocks.
    BLOCK_TRANSFER_WITH_GET = 11,
    /// Long values of SET in blocks.
    BLOCK_TRANSFER_WITH_SET = 12,
    /// Long parameters and results of ACTION in blocks.
    BLOCK_TRANSFER_WITH_ACTION = 13,
    /// Lists of attributes or methods in one request.
    MULTIPLE_REFERENCES = 14,
    /// DataNotification.
    DATA_NOTIFICATION = 16,
    /// ACCESS.
    ACCESS = 17,
    /// GET.
    GET = 19,
    /// SET.
    SET = 20,
    /// Parts of an attribute.
    SELECTIVE_ACCESS = 21,
    /// EventNotification.
    EVENT_NOTIFICATION = 22,
    /// ACTION.
    ACTION = 23,
);

impl Conformance {
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// Every service that this stack speaks by logical names, but general block transfer, which
    /// replaces the others' own block transfer wherever both sides speak it.
    pub const STANDARD: Self = Self(
        Self::GENERAL_PROTECTION.0
            | Self::PRIORITY.0
            | Self::ATTRIBUTE_0_WITH_GET.0
            | Self::BLOCK_TRANSFER_WITH_GET.0
            | Self::BLOCK_TRANSFER_WITH_SET.0
            | Self::BLOCK_TRANSFER_WITH_ACTION.0
            | Self::MULTIPLE_REFERENCES.0
            | Self::DATA_NOTIFICATION.0
            | Self::GET.0
            | Self::SET.0
            | Self::SELECTIVE_ACCESS.0
            | Self::EVENT_NOTIFICATION.0
            | Self::ACTION.0,
    );

    /// The low 24 bits of `bits`, bit 0 of the standard being 0x80_0000.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & 0xFF_FFFF)
    }

    /// The bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of `other` is in it.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both together.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// All but `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) fn from_bytes([a, b, c]: [u8; 3]) -> Self {
        Self(u32::from_be_bytes([0, a, b, c]))
    }

    pub(super) fn bytes(self) -> [u8; 3] {
        let [_, a, b, c] = self.0.to_be_bytes();
        [a, b, c]
    }
}

impl BitAnd for Conformance {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for Conformance {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.with(other)
    }
}

impl fmt::Debug for Conformance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conformance({:06X}", self.0)?;
        for (bit, name) in Self::NAMES {
            if self.contains(*bit) {
                write!(f, " {name}")?;
            }
        }
        f.write_str(")")
    }
}
