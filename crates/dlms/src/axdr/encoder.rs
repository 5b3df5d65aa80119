//! Writing values, one by one or as a tree.

use super::compact::TypeDescription;
use super::data::Data;
use super::decoder::DEPTH_MAX;
use super::tag::Tag;

/// Appends A-XDR values to a buffer.
#[derive(Debug)]
pub struct Encoder<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Encoder<'a> {
    /// Appends to `out`.
    pub const fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// A length: one byte below 128, else a count of bytes and the bytes.
    ///
    /// # Panics
    ///
    /// Above 2³² − 1, which no APDU of ours reaches.
    pub fn length(&mut self, length: usize) {
        let length = u32::try_from(length).expect("a length is far below four gigabytes");
        let [b3, b2, b1, b0] = length.to_be_bytes();
        match length {
            0..=0x7F => self.out.push(b0),
            0x80..=0xFF => self.out.extend([0x81, b0]),
            0x100..=0xFFFF => self.out.extend([0x82, b1, b0]),
            0x1_0000..=0xFF_FFFF => self.out.extend([0x83, b2, b1, b0]),
            0x100_0000.. => self.out.extend([0x84, b3, b2, b1, b0]),
        }
    }

    /// Opens a structure; `count` values must follow.
    pub fn structure(&mut self, count: usize) {
        self.tag(Tag::Structure);
        self.length(count);
    }

    /// Opens an array; `count` values must follow.
    pub fn array(&mut self, count: usize) {
        self.tag(Tag::Array);
        self.length(count);
    }

    /// An octet string.
    pub fn octet_string(&mut self, bytes: &[u8]) {
        self.tag(Tag::OctetString);
        self.octets(bytes);
    }

    /// A length and that many bytes, without a tag, as in APDU fields.
    pub fn octets(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.out.extend_from_slice(bytes);
    }

    /// Null data.
    pub fn null(&mut self) {
        self.tag(Tag::Null);
    }

    /// Signed 8-bit.
    pub fn integer(&mut self, value: i8) {
        self.fixed(Tag::Integer, value.to_be_bytes());
    }

    /// Signed 16-bit.
    pub fn long(&mut self, value: i16) {
        self.fixed(Tag::Long, value.to_be_bytes());
    }

    /// Signed 32-bit.
    pub fn double_long(&mut self, value: i32) {
        self.fixed(Tag::DoubleLong, value.to_be_bytes());
    }

    /// Unsigned 8-bit.
    pub fn unsigned(&mut self, value: u8) {
        self.fixed(Tag::Unsigned, [value]);
    }

    /// Unsigned 16-bit.
    pub fn long_unsigned(&mut self, value: u16) {
        self.fixed(Tag::LongUnsigned, value.to_be_bytes());
    }

    /// Unsigned 32-bit.
    pub fn double_long_unsigned(&mut self, value: u32) {
        self.fixed(Tag::DoubleLongUnsigned, value.to_be_bytes());
    }

    /// A tree.
    ///
    /// # Panics
    ///
    /// If it is deeper than [`DEPTH_MAX`]: nobody could read it.
    pub fn value(&mut self, value: &Data) {
        self.nested(value, DEPTH_MAX);
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "`content` names every simple type"
    )]
    fn nested(&mut self, value: &Data, levels: usize) {
        assert!(levels > 0, "a value is at most {DEPTH_MAX} levels deep");
        self.tag(value.tag());
        match value {
            Data::Array(values) | Data::Structure(values) => {
                self.length(values.len());
                for value in values {
                    self.nested(value, levels - 1);
                }
            }
            Data::CompactArray(array) => {
                assert!(
                    levels > array.description().depth(),
                    "a value is at most {DEPTH_MAX} levels deep"
                );
                self.description(array.description());
                let mut content = Vec::new();
                let mut inner = Encoder::new(&mut content);
                for element in array.elements() {
                    inner.untagged(element);
                }
                self.octets(&content);
            }
            simple => self.content(simple),
        }
    }

    /// The elements of structures inside a compact array: neither tags nor counts.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "`content` names every simple type"
    )]
    fn untagged(&mut self, value: &Data) {
        match value {
            Data::Array(values) | Data::Structure(values) => {
                for value in values {
                    self.untagged(value);
                }
            }
            simple => self.content(simple),
        }
    }

    fn description(&mut self, description: &TypeDescription) {
        match description {
            TypeDescription::Simple(tag) => self.tag(*tag),
            TypeDescription::Array { count, element } => {
                self.fixed(Tag::Array, count.to_be_bytes());
                self.description(element);
            }
            TypeDescription::Structure(members) => {
                self.structure(members.len());
                for member in members {
                    self.description(member);
                }
            }
        }
    }

    fn content(&mut self, value: &Data) {
        match value {
            Data::Null | Data::DontCare => {}
            Data::Array(_) | Data::Structure(_) | Data::CompactArray(_) => {
                unreachable!("the callers take values with inner values apart")
            }
            Data::Boolean(value) => self.out.push(u8::from(*value)),
            Data::BitString(bits) => {
                self.length(bits.bits());
                self.out.extend_from_slice(bits.bytes());
            }
            Data::OctetString(bytes) | Data::VisibleString(bytes) => self.octets(bytes),
            Data::Utf8String(text) => self.octets(text.as_bytes()),
            Data::Integer(value) | Data::DeltaInteger(value) => self.raw(value.to_be_bytes()),
            Data::Bcd(value)
            | Data::Unsigned(value)
            | Data::Enum(value)
            | Data::DeltaUnsigned(value) => self.raw([*value]),
            Data::Long(value) | Data::DeltaLong(value) => self.raw(value.to_be_bytes()),
            Data::LongUnsigned(value) | Data::DeltaLongUnsigned(value) => {
                self.raw(value.to_be_bytes());
            }
            Data::DoubleLong(value) | Data::DeltaDoubleLong(value) => {
                self.raw(value.to_be_bytes());
            }
            Data::DoubleLongUnsigned(value)
            | Data::DeltaDoubleLongUnsigned(value)
            | Data::Float32(value) => self.raw(value.to_be_bytes()),
            Data::Long64(value) => self.raw(value.to_be_bytes()),
            Data::Long64Unsigned(value) | Data::Float64(value) => self.raw(value.to_be_bytes()),
            Data::DateTime(bytes) => self.raw(*bytes),
            Data::Date(bytes) => self.raw(*bytes),
            Data::Time(bytes) => self.raw(*bytes),
        }
    }

    fn fixed<const N: usize>(&mut self, tag: Tag, bytes: [u8; N]) {
        self.tag(tag);
        self.raw(bytes);
    }

    fn tag(&mut self, tag: Tag) {
        self.out.push(tag as u8);
    }

    fn raw<const N: usize>(&mut self, bytes: [u8; N]) {
        self.out.extend_from_slice(&bytes);
    }
}

impl Data {
    /// The value as bytes.
    ///
    /// # Panics
    ///
    /// If the value is deeper than [`DEPTH_MAX`].
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        Encoder::new(&mut out).value(self);
        out
    }
}
