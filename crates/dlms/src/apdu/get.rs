//! The GET service: reading attributes.

use super::error::{ApduError, NORMAL, expect_normal};
use super::field::{
    AttributeDescriptor, DataAccessResult, InvokeId, SelectiveAccess, decode_data_result,
    encode_data_result,
};
use crate::axdr::{Data, Decoder};

/// Read one attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetRequestNormal {
    /// By which the answer finds it.
    pub invoke_id: InvokeId,
    /// What to read.
    pub attribute: AttributeDescriptor,
    /// Which part of it; all if `None`.
    pub access: Option<SelectiveAccess>,
}

impl GetRequestNormal {
    /// The APDU's tag.
    pub const TAG: u8 = 0xC0;

    /// Appends the APDU to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend([Self::TAG, NORMAL, self.invoke_id.0]);
        self.attribute.encode(out);
        SelectiveAccess::encode_optional(self.access.as_ref(), out);
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
        };
        decoder.finish()?;
        Ok(request)
    }
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetResponseNormal {
    /// Of the request.
    pub invoke_id: InvokeId,
    /// The value, or why there is none.
    pub result: Result<Data, DataAccessResult>,
}

impl GetResponseNormal {
    /// The APDU's tag.
    pub const TAG: u8 = 0xC4;

    /// Appends the APDU to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend([Self::TAG, NORMAL, self.invoke_id.0]);
        encode_data_result(&self.result, out);
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
            result: decode_data_result(&mut decoder)?,
        };
        decoder.finish()?;
        Ok(response)
    }
}
