//! How the variants of a service are written and read: the tag, the choice, then the fields
//! in order.

use super::error::{ApduError, expect_tag};
use super::field::{
    ActionResult, AttributeDescriptor, DataAccessResult, InvokeId, MethodDescriptor,
    SelectiveAccess, decode_data_result, decode_presence, encode_data_result,
};
use crate::axdr::{Data, Decoder, Encoder};

/// Entries of a list in one APDU; longer lists are refused when read, and a bug when written.
pub const LIST_MAX: usize = 64;

/// A part of a request or response that is longer than one APDU (DataBlock-SA).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataBlock {
    /// Whether nothing follows.
    pub last: bool,
    /// Its number; the first block has 1.
    pub number: u32,
    /// Part of the encoded value. It need not end where an inner value ends.
    pub raw: Vec<u8>,
}

/// What stands in an APDU at a fixed place.
pub(super) trait Field: Sized {
    /// Appends the field to `out`.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads the field.
    fn take(decoder: &mut Decoder<'_>) -> Result<Self, ApduError>;
}

impl Field for InvokeId {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(self.0);
    }

    fn take(decoder: &mut Decoder<'_>) -> Result<Self, ApduError> {
        Ok(Self(decoder.byte()?))
    }
}

impl Field for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    /// As in a value, any byte but zero is true.
    fn take(decoder: &mut Decoder<'_>) -> Result<Self, ApduError> {
        Ok(decoder.byte()? != 0)
    }
}

impl Field for u32 {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.to_be_bytes());
    }

    fn take(decoder: &mut Decoder<'_>) -> Result<Self, ApduError> {
        Ok(Self::from_be_bytes(decoder.bytes()?))
    }
}

impl Field for AttributeDescriptor {
    fn put(&self, out: &mut Vec<u8>) {
        self.encode(out);
    }

    fn take(decoder: &mut Decoder<'_>) -> Result<Self, ApduError> {
        Self::decode(decoder)
    }
}

impl Field for MethodDescriptor {
    fn put(&self, out: &mut Vec<u8>) {
        self.encode(out);
    }

    fn take(decoder: &mut Decoder<'_>) -> Result<Self, ApduError> {
        Self::decode(decoder)
    }
}

impl Field for Data {
    fn put(&self, out: &mut Vec<u8>) {
        Encoder::new(out).value(self);
    }

    fn take(decoder: &mut Decoder<'_>) -> Result<Self, ApduError> {
        Ok(decoder.value()?)
    }
}

impl Field for DataAccessResult {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(self.code());
    }

    fn take(decoder: &mut Decoder<'_>) -> Result<Self, ApduError> {
        Self::from_code(decoder.byte()?)
    }
}

impl Field for ActionResult {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(self.code());
    }

    fn take(decoder: &mut Decoder<'_>) -> Result<Self, ApduError> {
        Self::from_code(decoder.byte()?)
    }
}

impl Field for Option<SelectiveAccess> {
    fn put(&self, out: &mut Vec<u8>) {
        SelectiveAccess::encode_optional(self.as_ref(), out);
    }

    fn take(decoder: &mut Decoder<'_>) -> Result<Self, ApduError> {
        SelectiveAccess::decode_optional(decoder)
    }
}

/// The parameters of a method.
impl Field for Option<Data> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(decoder: &mut Decoder<'_>) -> Result<Self, ApduError> {
        decode_presence("method-invocation-parameters", decoder)?
            .then(|| Data::take(decoder))
            .transpose()
    }
}

/// Get-Data-Result: a value, or why there is none.
impl Field for Result<Data, DataAccessResult> {
    fn put(&self, out: &mut Vec<u8>) {
        encode_data_result(self, out);
    }

    fn take(decoder: &mut Decoder<'_>) -> Result<Self, ApduError> {
        decode_data_result(decoder)
    }
}

/// What a method returned.
impl Field for Option<Result<Data, DataAccessResult>> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(returned) = self {
            returned.put(out);
        }
    }

    fn take(decoder: &mut Decoder<'_>) -> Result<Self, ApduError> {
        decode_presence("return-parameters", decoder)?
            .then(|| Field::take(decoder))
            .transpose()
    }
}

/// The result of DataBlock-G: raw data, or why there is none.
impl Field for Result<Vec<u8>, DataAccessResult> {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Ok(raw) => {
                out.push(0);
                Encoder::new(out).octets(raw);
            }
            Err(error) => out.extend([1, error.code()]),
        }
    }

    fn take(decoder: &mut Decoder<'_>) -> Result<Self, ApduError> {
        match decoder.byte()? {
            0 => Ok(Ok(decoder.octets()?.to_vec())),
            1 => Ok(Err(DataAccessResult::take(decoder)?)),
            code => Err(ApduError::UnknownCode {
                field: "data-block-result",
                code,
            }),
        }
    }
}

impl Field for DataBlock {
    fn put(&self, out: &mut Vec<u8>) {
        self.last.put(out);
        self.number.put(out);
        Encoder::new(out).octets(&self.raw);
    }

    fn take(decoder: &mut Decoder<'_>) -> Result<Self, ApduError> {
        Ok(Self {
            last: Field::take(decoder)?,
            number: Field::take(decoder)?,
            raw: decoder.octets()?.to_vec(),
        })
    }
}

impl<A: Field, B: Field> Field for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(decoder: &mut Decoder<'_>) -> Result<Self, ApduError> {
        Ok((A::take(decoder)?, B::take(decoder)?))
    }
}

/// A counted list of at most [`LIST_MAX`] entries.
impl<T: Field> Field for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_count(self.len(), out);
        for entry in self {
            entry.put(out);
        }
    }

    fn take(decoder: &mut Decoder<'_>) -> Result<Self, ApduError> {
        let count = take_count(decoder)?;
        let mut list = Self::with_capacity(count);
        for _ in 0..count {
            list.push(T::take(decoder)?);
        }
        Ok(list)
    }
}

/// Appends the length of a list.
///
/// # Panics
///
/// Above [`LIST_MAX`]: no peer of ours would take it.
pub(super) fn put_count(count: usize, out: &mut Vec<u8>) {
    assert!(
        count <= LIST_MAX,
        "a list has at most {LIST_MAX} entries, not {count}"
    );
    Encoder::new(out).length(count);
}

fn take_count(decoder: &mut Decoder<'_>) -> Result<usize, ApduError> {
    let offset = decoder.offset();
    let count = decoder.length()?;
    if count > LIST_MAX {
        return Err(ApduError::ListTooLong { count, offset });
    }
    Ok(count)
}

/// Reads the second of two lists, which must be as long as the first one.
pub(super) fn take_paired<T: Field>(
    wanted: usize,
    decoder: &mut Decoder<'_>,
) -> Result<Vec<T>, ApduError> {
    let list = Vec::take(decoder)?;
    if list.len() == wanted {
        Ok(list)
    } else {
        Err(ApduError::ListsDiffer {
            wanted,
            found: list.len(),
        })
    }
}

/// Reads the tag of a service and the choice of one of its variants.
pub(super) fn expect_variant(
    decoder: &mut Decoder<'_>,
    tag: u8,
    wanted: u8,
) -> Result<(), ApduError> {
    expect_tag(decoder, tag)?;
    match decoder.byte()? {
        found if found == wanted => Ok(()),
        choice => Err(ApduError::UnsupportedChoice { tag, choice }),
    }
}

/// The constants of a variant, and its bytes: tag, choice, and the fields in this order.
macro_rules! variant {
    ($name:ident, $tag:literal, $choice:literal, { $($field:ident),* }) => {
        impl $name {
            /// The APDU's tag.
            pub const TAG: u8 = $tag;
            /// The number of the variant within its service.
            pub const CHOICE: u8 = $choice;

            /// Appends the APDU to `out`.
            ///
            /// # Panics
            ///
            /// If a list is longer than [`LIST_MAX`](super::LIST_MAX), or a value deeper than
            /// [`DEPTH_MAX`](crate::axdr::DEPTH_MAX).
            pub fn encode(&self, out: &mut Vec<u8>) {
                out.extend([Self::TAG, Self::CHOICE]);
                $($crate::apdu::service::Field::put(&self.$field, out);)*
            }

            /// Reads exactly one APDU of this variant.
            ///
            /// # Errors
            ///
            /// Anything else.
            pub fn decode(bytes: &[u8]) -> Result<Self, $crate::apdu::ApduError> {
                let mut decoder = $crate::axdr::Decoder::new(bytes);
                $crate::apdu::service::expect_variant(&mut decoder, Self::TAG, Self::CHOICE)?;
                let apdu = Self {
                    $($field: $crate::apdu::service::Field::take(&mut decoder)?,)*
                };
                decoder.finish()?;
                Ok(apdu)
            }
        }
    };
}
pub(super) use variant;
