//! The `Data` type as an owned tree.

use super::compact::CompactArray;
use super::tag::Tag;

/// A COSEM value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// Nothing.
    Null,
    /// Values of one type. The type is not checked: real meters mix in null-data.
    Array(Vec<Data>),
    /// Values of any types.
    Structure(Vec<Data>),
    /// Values of one described type.
    CompactArray(CompactArray),
    /// A truth value; any byte but zero reads as true.
    Boolean(bool),
    /// Bits, the first one in the highest bit of the first byte.
    BitString(BitString),
    /// Signed 32-bit.
    DoubleLong(i32),
    /// Unsigned 32-bit.
    DoubleLongUnsigned(u32),
    /// Bytes.
    OctetString(Vec<u8>),
    /// Text that should be ASCII; kept as bytes because meters send others.
    VisibleString(Vec<u8>),
    /// Text.
    Utf8String(String),
    /// A byte of binary-coded decimal, uninterpreted.
    Bcd(u8),
    /// Signed 8-bit.
    Integer(i8),
    /// Signed 16-bit.
    Long(i16),
    /// Unsigned 8-bit.
    Unsigned(u8),
    /// Unsigned 16-bit.
    LongUnsigned(u16),
    /// Signed 64-bit.
    Long64(i64),
    /// Unsigned 64-bit.
    Long64Unsigned(u64),
    /// An alternative's number.
    Enum(u8),
    /// The bits of an IEEE 754 single; `f32::from_bits` reads them.
    Float32(u32),
    /// The bits of an IEEE 754 double; `f64::from_bits` reads them.
    Float64(u64),
    /// Date, time, deviation, clock status; see [`crate::datetime::CosemDateTime`].
    DateTime([u8; 12]),
    /// Year, month, day of month, day of week.
    Date([u8; 5]),
    /// Hour, minute, second, hundredths.
    Time([u8; 4]),
    /// Difference to the value before.
    DeltaInteger(i8),
    /// Difference to the value before.
    DeltaLong(i16),
    /// Difference to the value before.
    DeltaDoubleLong(i32),
    /// Difference to the value before.
    DeltaUnsigned(u8),
    /// Difference to the value before.
    DeltaLongUnsigned(u16),
    /// Difference to the value before.
    DeltaDoubleLongUnsigned(u32),
    /// Any value will do.
    DontCare,
}

impl Data {
    /// The type of the value.
    pub const fn tag(&self) -> Tag {
        match self {
            Self::Null => Tag::Null,
            Self::Array(_) => Tag::Array,
            Self::Structure(_) => Tag::Structure,
            Self::CompactArray(_) => Tag::CompactArray,
            Self::Boolean(_) => Tag::Boolean,
            Self::BitString(_) => Tag::BitString,
            Self::DoubleLong(_) => Tag::DoubleLong,
            Self::DoubleLongUnsigned(_) => Tag::DoubleLongUnsigned,
            Self::OctetString(_) => Tag::OctetString,
            Self::VisibleString(_) => Tag::VisibleString,
            Self::Utf8String(_) => Tag::Utf8String,
            Self::Bcd(_) => Tag::Bcd,
            Self::Integer(_) => Tag::Integer,
            Self::Long(_) => Tag::Long,
            Self::Unsigned(_) => Tag::Unsigned,
            Self::LongUnsigned(_) => Tag::LongUnsigned,
            Self::Long64(_) => Tag::Long64,
            Self::Long64Unsigned(_) => Tag::Long64Unsigned,
            Self::Enum(_) => Tag::Enum,
            Self::Float32(_) => Tag::Float32,
            Self::Float64(_) => Tag::Float64,
            Self::DateTime(_) => Tag::DateTime,
            Self::Date(_) => Tag::Date,
            Self::Time(_) => Tag::Time,
            Self::DeltaInteger(_) => Tag::DeltaInteger,
            Self::DeltaLong(_) => Tag::DeltaLong,
            Self::DeltaDoubleLong(_) => Tag::DeltaDoubleLong,
            Self::DeltaUnsigned(_) => Tag::DeltaUnsigned,
            Self::DeltaLongUnsigned(_) => Tag::DeltaLongUnsigned,
            Self::DeltaDoubleLongUnsigned(_) => Tag::DeltaDoubleLongUnsigned,
            Self::DontCare => Tag::DontCare,
        }
    }
}

/// A string of bits whose length need not be a multiple of eight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BitString {
    bits: usize,
    bytes: Vec<u8>,
}

impl BitString {
    /// The first `bits` bits of `bytes`; `None` unless exactly the bytes they need are given.
    pub fn new(bits: usize, bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() == bits.div_ceil(8)).then_some(Self { bits, bytes })
    }

    /// Number of bits.
    pub const fn bits(&self) -> usize {
        self.bits
    }

    /// The bytes; what stands after the last bit is as received.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bit at `index`, counted from the highest bit of the first byte.
    pub fn get(&self, index: usize) -> Option<bool> {
        (index < self.bits).then(|| self.bytes[index / 8] & (0x80 >> (index % 8)) != 0)
    }
}
