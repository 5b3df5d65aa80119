//! The fields that services share.

use gridloom_core::{ObisCode, Period, UtcTime};

use super::error::ApduError;
use crate::axdr::{Data, Decoder, Encoder};

/// Invoke-id-and-priority: bits 0–3 number, 6 confirmed, 7 high priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InvokeId(pub u8);

impl InvokeId {
    /// A confirmed service of normal priority, with the low four bits of `number`.
    pub const fn confirmed(number: u8) -> Self {
        Self(0x40 | (number & 0x0F))
    }

    /// The number by which an answer finds its request, 0–15.
    pub const fn number(self) -> u8 {
        self.0 & 0x0F
    }
}

/// Long-invoke-id-and-priority: bits 0–23 number, 28 self-descriptive, 29 break on error,
/// 30 confirmed, 31 high priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LongInvokeId(pub u32);

impl LongInvokeId {
    /// A confirmed service of normal priority, with the low 24 bits of `number`.
    pub const fn confirmed(number: u32) -> Self {
        Self(0x4000_0000 | (number & 0x00FF_FFFF))
    }

    /// The id of the interval that ends at `end`: its number since the epoch, modulo 2²⁴.
    ///
    /// It depends on the interval alone, so that a confirmation can never be taken for another
    /// interval's, even after a reboot. At 15 minutes it repeats after 478 years.
    pub fn of_interval(period: Period, end: UtcTime) -> Self {
        let number = end.as_secs().div_euclid(i64::from(period.as_secs()));
        let number = number.rem_euclid(1 << 24);
        Self::confirmed(u32::try_from(number).expect("a remainder of 2^24 fits u32"))
    }

    /// The number by which a confirmation finds its notification, 0–2²⁴ − 1.
    pub const fn number(self) -> u32 {
        self.0 & 0x00FF_FFFF
    }
}

/// One attribute of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttributeDescriptor {
    /// The interface class.
    pub class_id: u16,
    /// The object's logical name.
    pub instance: ObisCode,
    /// The attribute's number.
    pub attribute: i8,
}

/// One method of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MethodDescriptor {
    /// The interface class.
    pub class_id: u16,
    /// The object's logical name.
    pub instance: ObisCode,
    /// The method's number.
    pub method: i8,
}

impl AttributeDescriptor {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        encode_descriptor(self.class_id, self.instance, self.attribute, out);
    }

    pub(super) fn decode(decoder: &mut Decoder<'_>) -> Result<Self, ApduError> {
        let (class_id, instance, attribute) = decode_descriptor(decoder)?;
        Ok(Self {
            class_id,
            instance,
            attribute,
        })
    }
}

impl MethodDescriptor {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        encode_descriptor(self.class_id, self.instance, self.method, out);
    }

    pub(super) fn decode(decoder: &mut Decoder<'_>) -> Result<Self, ApduError> {
        let (class_id, instance, method) = decode_descriptor(decoder)?;
        Ok(Self {
            class_id,
            instance,
            method,
        })
    }
}

fn encode_descriptor(class_id: u16, instance: ObisCode, member: i8, out: &mut Vec<u8>) {
    out.extend(class_id.to_be_bytes());
    out.extend(instance.0);
    out.extend(member.to_be_bytes());
}

fn decode_descriptor(decoder: &mut Decoder<'_>) -> Result<(u16, ObisCode, i8), ApduError> {
    Ok((
        u16::from_be_bytes(decoder.bytes()?),
        ObisCode(decoder.bytes()?),
        i8::from_be_bytes(decoder.bytes()?),
    ))
}

/// Which part of an attribute is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectiveAccess {
    /// The selector that the class defines.
    pub selector: u8,
    /// Its parameters.
    pub parameters: Data,
}

impl SelectiveAccess {
    pub(super) fn encode_optional(this: Option<&Self>, out: &mut Vec<u8>) {
        match this {
            None => out.push(0),
            Some(access) => {
                out.extend([1, access.selector]);
                Encoder::new(out).value(&access.parameters);
            }
        }
    }

    pub(super) fn decode_optional(decoder: &mut Decoder<'_>) -> Result<Option<Self>, ApduError> {
        Ok(if decode_presence("access-selection", decoder)? {
            Some(Self {
                selector: decoder.byte()?,
                parameters: decoder.value()?,
            })
        } else {
            None
        })
    }
}

/// The byte in front of an optional field.
pub(super) fn decode_presence(
    field: &'static str,
    decoder: &mut Decoder<'_>,
) -> Result<bool, ApduError> {
    match decoder.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        code => Err(ApduError::UnknownCode { field, code }),
    }
}

pub(super) fn encode_data_result(result: &Result<Data, DataAccessResult>, out: &mut Vec<u8>) {
    match result {
        Ok(value) => {
            out.push(0);
            Encoder::new(out).value(value);
        }
        Err(error) => out.extend([1, error.code()]),
    }
}

pub(super) fn decode_data_result(
    decoder: &mut Decoder<'_>,
) -> Result<Result<Data, DataAccessResult>, ApduError> {
    match decoder.byte()? {
        0 => Ok(Ok(decoder.value()?)),
        1 => Ok(Err(DataAccessResult::from_code(decoder.byte()?)?)),
        code => Err(ApduError::UnknownCode {
            field: "get-data-result",
            code,
        }),
    }
}

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident, $field:literal, {
        $($(#[$variant_doc:meta])* $variant:ident = $code:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$variant_doc])* $variant = $code,)*
        }

        impl $name {
            /// Reads a code.
            ///
            /// # Errors
            ///
            /// [`ApduError::UnknownCode`] for codes that the standard does not assign.
            pub const fn from_code(code: u8) -> Result<Self, ApduError> {
                match code {
                    $($code => Ok(Self::$variant),)*
                    _ => Err(ApduError::UnknownCode { field: $field, code }),
                }
            }

            /// The code.
            pub const fn code(self) -> u8 {
                self as u8
            }
        }
    };
}
pub(super) use codes;

codes!(
    /// What came of reading or writing an attribute.
    DataAccessResult, "data-access-result", {
        /// It worked.
        Success = 0,
        /// The device is broken.
        HardwareFault = 1,
        /// Try again.
        TemporaryFailure = 2,
        /// The client has no such right.
        ReadWriteDenied = 3,
        /// There is no such object.
        ObjectUndefined = 4,
        /// The object has another class.
        ObjectClassInconsistent = 9,
        /// The object cannot be reached now.
        ObjectUnavailable = 11,
        /// The value has another type.
        TypeUnmatched = 12,
        /// The range asked for is not allowed.
        ScopeOfAccessViolated = 13,
        /// The block cannot be had now.
        DataBlockUnavailable = 14,
        /// A read in blocks was broken off.
        LongGetAborted = 15,
        /// No read in blocks is going on.
        NoLongGetInProgress = 16,
        /// A write in blocks was broken off.
        LongSetAborted = 17,
        /// No write in blocks is going on.
        NoLongSetInProgress = 18,
        /// Another block was expected.
        DataBlockNumberInvalid = 19,
        /// Anything else.
        OtherReason = 250,
    }
);

codes!(
    /// What came of invoking a method.
    ActionResult, "action-result", {
        /// It worked.
        Success = 0,
        /// The device is broken.
        HardwareFault = 1,
        /// Try again.
        TemporaryFailure = 2,
        /// The client has no such right.
        ReadWriteDenied = 3,
        /// There is no such object.
        ObjectUndefined = 4,
        /// The object has another class.
        ObjectClassInconsistent = 9,
        /// The object cannot be reached now.
        ObjectUnavailable = 11,
        /// The parameters have another type.
        TypeUnmatched = 12,
        /// The range asked for is not allowed.
        ScopeOfAccessViolated = 13,
        /// The block cannot be had now.
        DataBlockUnavailable = 14,
        /// An action in blocks was broken off.
        LongActionAborted = 15,
        /// No action in blocks is going on.
        NoLongActionInProgress = 16,
        /// Anything else.
        OtherReason = 250,
    }
);
