//! The tags of the COSEM `Data` choice (IEC 62056-5-3, clause 8.3).

macro_rules! tags {
    ($($(#[$doc:meta])* $name:ident = $byte:literal,)*) => {
        /// The type of a value, as its first byte says it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Tag {
            $($(#[$doc])* $name = $byte,)*
        }

        impl Tag {
            /// The tag of a byte; `None` for bytes that no edition assigns.
            pub const fn from_byte(byte: u8) -> Option<Self> {
                match byte {
                    $($byte => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

tags! {
    /// `null-data`, without content.
    Null = 0,
    /// A counted sequence of values of one type.
    Array = 1,
    /// A counted sequence of values of any types.
    Structure = 2,
    /// One byte, zero is false.
    Boolean = 3,
    /// A counted string of bits.
    BitString = 4,
    /// Signed 32-bit.
    DoubleLong = 5,
    /// Unsigned 32-bit.
    DoubleLongUnsigned = 6,
    /// A counted string of bytes.
    OctetString = 9,
    /// A counted string of ASCII.
    VisibleString = 10,
    /// A counted string of UTF-8.
    Utf8String = 12,
    /// One byte of binary-coded decimal.
    Bcd = 13,
    /// Signed 8-bit.
    Integer = 15,
    /// Signed 16-bit.
    Long = 16,
    /// Unsigned 8-bit.
    Unsigned = 17,
    /// Unsigned 16-bit.
    LongUnsigned = 18,
    /// Values of one described type, without a tag each.
    CompactArray = 19,
    /// Signed 64-bit.
    Long64 = 20,
    /// Unsigned 64-bit.
    Long64Unsigned = 21,
    /// One byte that names an alternative.
    Enum = 22,
    /// IEEE 754 single precision.
    Float32 = 23,
    /// IEEE 754 double precision.
    Float64 = 24,
    /// Twelve bytes of date, time, deviation and clock status.
    DateTime = 25,
    /// Five bytes of date.
    Date = 26,
    /// Four bytes of time.
    Time = 27,
    /// Signed 8-bit difference to the value before.
    DeltaInteger = 28,
    /// Signed 16-bit difference to the value before.
    DeltaLong = 29,
    /// Signed 32-bit difference to the value before.
    DeltaDoubleLong = 30,
    /// Unsigned 8-bit difference to the value before.
    DeltaUnsigned = 31,
    /// Unsigned 16-bit difference to the value before.
    DeltaLongUnsigned = 32,
    /// Unsigned 32-bit difference to the value before.
    DeltaDoubleLongUnsigned = 33,
    /// `don't-care`, without content.
    DontCare = 255,
}
