//! Reading values, one by one or as a tree, from bytes that nobody has checked.

use gridloom_core::bytes::{Reader, Truncated};

use super::compact::{CompactArray, TypeDescription};
use super::data::{BitString, Data};
use super::tag::Tag;

/// Levels of arrays and structures; deeper values are refused.
pub const DEPTH_MAX: usize = 16;

/// Values in one tree, counting the inner ones; larger trees are refused.
///
/// A compact array names many values in few bytes, so the input's length alone does not bound
/// what it costs to hold.
pub const ELEMENTS_MAX: usize = 65_536;

/// Elements for which memory is set aside before the first one is read.
const ELEMENTS_RESERVED: usize = 64;

/// Why bytes are not the wanted A-XDR value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AxdrError {
    /// The value is longer than the bytes.
    #[error("A-XDR: {0}; the sender or a block transfer cut the value short")]
    Truncated(#[from] Truncated),
    /// A byte that no edition of the standard assigns to a type.
    #[error("A-XDR: unknown type tag {tag} at offset {offset}")]
    UnknownTag {
        /// The byte.
        tag: u8,
        /// Where.
        offset: usize,
    },
    /// Another type than the object has.
    #[error("A-XDR: {wanted:?} wanted at offset {offset}, found {found:?}; check the object list")]
    WrongType {
        /// The type that belongs there.
        wanted: Tag,
        /// The type that stands there.
        found: Tag,
        /// Where.
        offset: usize,
    },
    /// A structure or string of another length than the object has.
    #[error(
        "A-XDR: {wanted} elements or bytes wanted at offset {offset}, found {found}; \
         check the object list"
    )]
    WrongLength {
        /// The length that belongs there.
        wanted: usize,
        /// The length that stands there.
        found: usize,
        /// Where.
        offset: usize,
    },
    /// A length of more than four bytes.
    #[error("A-XDR: a length of {bytes} bytes at offset {offset}, at most 4 are allowed")]
    LengthTooLong {
        /// Bytes that the length claims for itself.
        bytes: u8,
        /// Where.
        offset: usize,
    },
    /// More levels than [`DEPTH_MAX`].
    #[error("A-XDR: value at offset {offset} is nested deeper than {DEPTH_MAX} levels")]
    TooDeep {
        /// Where the limit is passed.
        offset: usize,
    },
    /// More values than [`ELEMENTS_MAX`].
    #[error("A-XDR: more than {ELEMENTS_MAX} values at offset {offset}; read in smaller ranges")]
    TooManyElements {
        /// Where the limit is passed.
        offset: usize,
    },
    /// A compact array whose elements take no bytes: their number cannot be told.
    #[error("A-XDR: compact array at offset {offset} describes elements without content")]
    EmptyElement {
        /// Where.
        offset: usize,
    },
    /// A compact array inside the description of a compact array.
    #[error("A-XDR: a compact array cannot be described inside another, at offset {offset}")]
    NestedCompactArray {
        /// Where.
        offset: usize,
    },
    /// Text that is not UTF-8.
    #[error("A-XDR: utf8-string at offset {offset} is not UTF-8")]
    NotUtf8 {
        /// Where the text starts.
        offset: usize,
    },
    /// Bytes after the end of the value.
    #[error("A-XDR: {bytes} bytes follow the value that ends at offset {offset}")]
    TrailingBytes {
        /// How many.
        bytes: usize,
        /// Where the value ends.
        offset: usize,
    },
}

/// Reads A-XDR values from the front of a byte slice without building a tree.
#[derive(Debug, Clone)]
pub struct Decoder<'a> {
    reader: Reader<'a>,
    elements_left: usize,
}

impl<'a> Decoder<'a> {
    /// A decoder at the start of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self {
            reader: Reader::new(bytes),
            elements_left: ELEMENTS_MAX,
        }
    }

    /// Bytes read so far.
    pub const fn offset(&self) -> usize {
        self.reader.offset()
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.reader.rest()
    }

    /// Checks that everything has been read.
    ///
    /// # Errors
    ///
    /// [`AxdrError::TrailingBytes`].
    pub fn finish(&self) -> Result<(), AxdrError> {
        if self.reader.is_empty() {
            Ok(())
        } else {
            Err(AxdrError::TrailingBytes {
                bytes: self.rest().len(),
                offset: self.offset(),
            })
        }
    }

    /// A length. Longer forms than needed are accepted: meters send them.
    ///
    /// # Errors
    ///
    /// Truncation, or a length of more than four bytes.
    pub fn length(&mut self) -> Result<usize, AxdrError> {
        let offset = self.offset();
        let first = self.reader.u8()?;
        if first < 0x80 {
            return Ok(usize::from(first));
        }
        let bytes = first & 0x7F;
        if bytes > 4 {
            return Err(AxdrError::LengthTooLong { bytes, offset });
        }
        let taken = self.reader.take(usize::from(bytes))?;
        Ok(taken
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte)))
    }

    /// A length and that many bytes, without a tag, as in APDU fields.
    ///
    /// # Errors
    ///
    /// Truncation or a bad length.
    pub fn octets(&mut self) -> Result<&'a [u8], AxdrError> {
        let length = self.length()?;
        Ok(self.reader.take(length)?)
    }

    /// One byte of an APDU field.
    pub(crate) fn byte(&mut self) -> Result<u8, Truncated> {
        self.reader.u8()
    }

    /// `N` bytes of an APDU field.
    pub(crate) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        self.reader.array()
    }

    /// Opens a structure that must have `count` members.
    ///
    /// # Errors
    ///
    /// Another type or number of members, or truncation.
    pub fn structure(&mut self, count: usize) -> Result<(), AxdrError> {
        self.expect(Tag::Structure)?;
        let offset = self.offset();
        let found = self.length()?;
        if found == count {
            Ok(())
        } else {
            Err(AxdrError::WrongLength {
                wanted: count,
                found,
                offset,
            })
        }
    }

    /// Opens an array and returns how many elements follow: never more than bytes are left.
    ///
    /// # Errors
    ///
    /// Another type, or truncation.
    pub fn array(&mut self) -> Result<usize, AxdrError> {
        self.expect(Tag::Array)?;
        self.count()
    }

    /// An octet string.
    ///
    /// # Errors
    ///
    /// Another type, or truncation.
    pub fn octet_string(&mut self) -> Result<&'a [u8], AxdrError> {
        self.expect(Tag::OctetString)?;
        self.octets()
    }

    /// An octet string of exactly `N` bytes.
    ///
    /// # Errors
    ///
    /// Another type or length, or truncation.
    pub fn octet_array<const N: usize>(&mut self) -> Result<[u8; N], AxdrError> {
        let offset = self.offset();
        let bytes = self.octet_string()?;
        bytes.try_into().map_err(|_| AxdrError::WrongLength {
            wanted: N,
            found: bytes.len(),
            offset,
        })
    }

    /// Signed 8-bit.
    ///
    /// # Errors
    ///
    /// Another type, or truncation; the same holds for all fixed-size types.
    pub fn integer(&mut self) -> Result<i8, AxdrError> {
        self.fixed(Tag::Integer).map(i8::from_be_bytes)
    }

    /// Signed 16-bit.
    ///
    /// # Errors
    ///
    /// As [`Self::integer`].
    pub fn long(&mut self) -> Result<i16, AxdrError> {
        self.fixed(Tag::Long).map(i16::from_be_bytes)
    }

    /// Signed 32-bit.
    ///
    /// # Errors
    ///
    /// As [`Self::integer`].
    pub fn double_long(&mut self) -> Result<i32, AxdrError> {
        self.fixed(Tag::DoubleLong).map(i32::from_be_bytes)
    }

    /// Unsigned 8-bit.
    ///
    /// # Errors
    ///
    /// As [`Self::integer`].
    pub fn unsigned(&mut self) -> Result<u8, AxdrError> {
        self.fixed(Tag::Unsigned).map(u8::from_be_bytes)
    }

    /// Unsigned 16-bit.
    ///
    /// # Errors
    ///
    /// As [`Self::integer`].
    pub fn long_unsigned(&mut self) -> Result<u16, AxdrError> {
        self.fixed(Tag::LongUnsigned).map(u16::from_be_bytes)
    }

    /// Unsigned 32-bit.
    ///
    /// # Errors
    ///
    /// As [`Self::integer`].
    pub fn double_long_unsigned(&mut self) -> Result<u32, AxdrError> {
        self.fixed(Tag::DoubleLongUnsigned).map(u32::from_be_bytes)
    }

    /// Any value, as a tree.
    ///
    /// # Errors
    ///
    /// Anything that is no value within [`DEPTH_MAX`] and [`ELEMENTS_MAX`].
    pub fn value(&mut self) -> Result<Data, AxdrError> {
        self.nested(DEPTH_MAX)
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "`content` names every simple type"
    )]
    fn nested(&mut self, levels: usize) -> Result<Data, AxdrError> {
        let tag = self.tag()?;
        self.spend_level(levels)?;
        match tag {
            Tag::Array => Ok(Data::Array(self.sequence(levels)?)),
            Tag::Structure => Ok(Data::Structure(self.sequence(levels)?)),
            Tag::CompactArray => Ok(Data::CompactArray(self.compact_array(levels)?)),
            simple => self.content(simple),
        }
    }

    fn sequence(&mut self, levels: usize) -> Result<Vec<Data>, AxdrError> {
        let count = self.count()?;
        let mut values = Vec::with_capacity(count.min(ELEMENTS_RESERVED));
        for _ in 0..count {
            values.push(self.nested(levels - 1)?);
        }
        Ok(values)
    }

    fn compact_array(&mut self, levels: usize) -> Result<CompactArray, AxdrError> {
        let offset = self.offset();
        let description = self.description(levels.min(CompactArray::DEPTH_MAX + 1) - 1)?;
        if description.is_empty() {
            return Err(AxdrError::EmptyElement { offset });
        }
        let content_end = {
            let length = self.length()?;
            let left = self.rest().len();
            if length > left {
                return Err(Truncated {
                    offset: self.offset(),
                    wanted: length,
                    left,
                }
                .into());
            }
            self.offset() + length
        };
        let mut elements = Vec::new();
        while self.offset() < content_end {
            elements.push(self.described(&description)?);
        }
        if self.offset() > content_end {
            // The last element reads into what follows the array.
            return Err(AxdrError::WrongLength {
                wanted: content_end,
                found: self.offset(),
                offset,
            });
        }
        Ok(CompactArray::from_decoded(description, elements))
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "every other type is simple")]
    fn description(&mut self, levels: usize) -> Result<TypeDescription, AxdrError> {
        let offset = self.offset();
        let tag = self.tag()?;
        self.spend_level(levels)?;
        match tag {
            Tag::Array => Ok(TypeDescription::Array {
                count: self.reader.u16()?,
                element: Box::new(self.description(levels - 1)?),
            }),
            Tag::Structure => {
                let count = self.count()?;
                let mut members = Vec::with_capacity(count.min(ELEMENTS_RESERVED));
                for _ in 0..count {
                    members.push(self.description(levels - 1)?);
                }
                Ok(TypeDescription::Structure(members))
            }
            Tag::CompactArray => Err(AxdrError::NestedCompactArray { offset }),
            simple => Ok(TypeDescription::Simple(simple)),
        }
    }

    /// A value of a described type. Its depth is bounded by the description's.
    fn described(&mut self, description: &TypeDescription) -> Result<Data, AxdrError> {
        self.spend_element()?;
        match description {
            TypeDescription::Simple(tag) => self.content(*tag),
            TypeDescription::Array { count, element } => (0..*count)
                .map(|_| self.described(element))
                .collect::<Result<_, _>>()
                .map(Data::Array),
            TypeDescription::Structure(members) => members
                .iter()
                .map(|member| self.described(member))
                .collect::<Result<_, _>>()
                .map(Data::Structure),
        }
    }

    fn content(&mut self, tag: Tag) -> Result<Data, AxdrError> {
        let reader = &mut self.reader;
        Ok(match tag {
            Tag::Null => Data::Null,
            Tag::DontCare => Data::DontCare,
            Tag::Array | Tag::Structure | Tag::CompactArray => {
                unreachable!("the callers take values with inner values apart")
            }
            Tag::Boolean => Data::Boolean(reader.u8()? != 0),
            Tag::BitString => {
                let bits = self.length()?;
                let bytes = self.reader.take(bits.div_ceil(8))?.to_vec();
                Data::BitString(BitString::new(bits, bytes).expect("as many bytes as bits need"))
            }
            Tag::DoubleLong => Data::DoubleLong(reader.array().map(i32::from_be_bytes)?),
            Tag::DoubleLongUnsigned => Data::DoubleLongUnsigned(reader.u32()?),
            Tag::OctetString => Data::OctetString(self.octets()?.to_vec()),
            Tag::VisibleString => Data::VisibleString(self.octets()?.to_vec()),
            Tag::Utf8String => {
                let bytes = self.octets()?;
                let offset = self.offset() - bytes.len();
                let text =
                    core::str::from_utf8(bytes).map_err(|_| AxdrError::NotUtf8 { offset })?;
                Data::Utf8String(text.to_owned())
            }
            Tag::Bcd => Data::Bcd(reader.u8()?),
            Tag::Integer => Data::Integer(reader.array().map(i8::from_be_bytes)?),
            Tag::Long => Data::Long(reader.array().map(i16::from_be_bytes)?),
            Tag::Unsigned => Data::Unsigned(reader.u8()?),
            Tag::LongUnsigned => Data::LongUnsigned(reader.u16()?),
            Tag::Long64 => Data::Long64(reader.i64()?),
            Tag::Long64Unsigned => Data::Long64Unsigned(reader.u64()?),
            Tag::Enum => Data::Enum(reader.u8()?),
            Tag::Float32 => Data::Float32(reader.u32()?),
            Tag::Float64 => Data::Float64(reader.u64()?),
            Tag::DateTime => Data::DateTime(reader.array()?),
            Tag::Date => Data::Date(reader.array()?),
            Tag::Time => Data::Time(reader.array()?),
            Tag::DeltaInteger => Data::DeltaInteger(reader.array().map(i8::from_be_bytes)?),
            Tag::DeltaLong => Data::DeltaLong(reader.array().map(i16::from_be_bytes)?),
            Tag::DeltaDoubleLong => Data::DeltaDoubleLong(reader.array().map(i32::from_be_bytes)?),
            Tag::DeltaUnsigned => Data::DeltaUnsigned(reader.u8()?),
            Tag::DeltaLongUnsigned => Data::DeltaLongUnsigned(reader.u16()?),
            Tag::DeltaDoubleLongUnsigned => Data::DeltaDoubleLongUnsigned(reader.u32()?),
        })
    }

    /// A count of values; each takes at least a byte, so more than are left is truncation.
    fn count(&mut self) -> Result<usize, AxdrError> {
        let count = self.length()?;
        let left = self.rest().len();
        if count > left {
            return Err(Truncated {
                offset: self.offset(),
                wanted: count,
                left,
            }
            .into());
        }
        Ok(count)
    }

    fn spend_level(&mut self, levels: usize) -> Result<(), AxdrError> {
        if levels == 0 {
            return Err(AxdrError::TooDeep {
                offset: self.offset(),
            });
        }
        self.spend_element()
    }

    fn spend_element(&mut self) -> Result<(), AxdrError> {
        self.elements_left =
            self.elements_left
                .checked_sub(1)
                .ok_or(AxdrError::TooManyElements {
                    offset: self.reader.offset(),
                })?;
        Ok(())
    }

    fn fixed<const N: usize>(&mut self, tag: Tag) -> Result<[u8; N], AxdrError> {
        self.expect(tag)?;
        Ok(self.reader.array()?)
    }

    fn expect(&mut self, wanted: Tag) -> Result<(), AxdrError> {
        let offset = self.offset();
        let found = self.tag()?;
        if found == wanted {
            Ok(())
        } else {
            Err(AxdrError::WrongType {
                wanted,
                found,
                offset,
            })
        }
    }

    fn tag(&mut self) -> Result<Tag, AxdrError> {
        let offset = self.offset();
        let byte = self.reader.u8()?;
        Tag::from_byte(byte).ok_or(AxdrError::UnknownTag { tag: byte, offset })
    }
}

impl Data {
    /// Reads exactly one value from all of `bytes`.
    ///
    /// # Errors
    ///
    /// Anything that is not one value within [`DEPTH_MAX`] and [`ELEMENTS_MAX`].
    pub fn decode(bytes: &[u8]) -> Result<Self, AxdrError> {
        let mut decoder = Decoder::new(bytes);
        let value = decoder.value()?;
        decoder.finish()?;
        Ok(value)
    }
}
