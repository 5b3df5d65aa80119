//! The SET service: writing attributes.

use super::error::{ApduError, NORMAL, expect_normal};
use super::field::{AttributeDescriptor, DataAccessResult, InvokeId, SelectiveAccess};
use crate::axdr::{Data, Decoder, Encoder};

/// Write one attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetRequestNormal {
    /// By which the answer finds it.
    pub invoke_id: InvokeId,
    /// What to write.
    pub attribute: AttributeDescriptor,
    /// Which part of it; all if `None`.
    pub access: Option<SelectiveAccess>,
    /// The new value.
    pub value: Data,
}

impl SetRequestNormal {
    /// The APDU's tag.
    pub const TAG: u8 = 0xC1;

    /// Appends the APDU to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend([Self::TAG, NORMAL, self.invoke_id.0]);
        self.attribute.encode(out);
        SelectiveAccess::encode_optional(self.access.as_ref(), out);
        Encoder::new(out).value(&self.value);
    }

    /// Reads exactly one request.
    ///
    /// # Errors
    ///
    /// Anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, ApduError> {
        let mut decoder = Decoder::new(bytes);
        expect_normal(&mut decoder, Self::TAG)?;
        let request = Self {
            invoke_id: InvokeId(decoder.byte()?),
            attribute: AttributeDescriptor::decode(&mut decoder)?,
            access: SelectiveAccess::decode_optional(&mut decoder)?,
            value: decoder.value()?,
        };
        decoder.finish()?;
        Ok(request)
    }
}

/// Whether writing worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetResponseNormal {
    /// Of the request.
    pub invoke_id: InvokeId,
    /// What came of it.
    pub result: DataAccessResult,
}

impl SetResponseNormal {
    /// The APDU's tag.
    pub const TAG: u8 = 0xC5;

    /// Appends the APDU to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend([Self::TAG, NORMAL, self.invoke_id.0, self.result.code()]);
    }

    /// Reads exactly one response.
    ///
    /// # Errors
    ///
    /// Anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, ApduError> {
        let mut decoder = Decoder::new(bytes);
        expect_normal(&mut decoder, Self::TAG)?;
        let response = Self {
            invoke_id: InvokeId(decoder.byte()?),
            result: DataAccessResult::from_code(decoder.byte()?)?,
        };
        decoder.finish()?;
        Ok(response)
    }
}
