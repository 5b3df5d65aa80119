//! The ACTION service: invoking methods.

use super::error::{ApduError, NORMAL, expect_normal};
use super::field::{
    ActionResult, DataAccessResult, InvokeId, MethodDescriptor, decode_data_result,
    decode_presence, encode_data_result,
};
use crate::axdr::{Data, Decoder, Encoder};

/// Invoke one method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionRequestNormal {
    /// By which the answer finds it.
    pub invoke_id: InvokeId,
    /// What to invoke.
    pub method: MethodDescriptor,
    /// With what.
    pub parameters: Option<Data>,
}

impl ActionRequestNormal {
    /// The APDU's tag.
    pub const TAG: u8 = 0xC3;

    /// Appends the APDU to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend([Self::TAG, NORMAL, self.invoke_id.0]);
        self.method.encode(out);
        out.push(u8::from(self.parameters.is_some()));
        if let Some(parameters) = &self.parameters {
            Encoder::new(out).value(parameters);
        }
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
            method: MethodDescriptor::decode(&mut decoder)?,
            parameters: if decode_presence("method-invocation-parameters", &mut decoder)? {
                Some(decoder.value()?)
            } else {
                None
            },
        };
        decoder.finish()?;
        Ok(request)
    }
}

/// Whether a method worked, and what it returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionResponseNormal {
    /// Of the request.
    pub invoke_id: InvokeId,
    /// What came of it.
    pub result: ActionResult,
    /// What the method returned, or why that cannot be had.
    pub returned: Option<Result<Data, DataAccessResult>>,
}

impl ActionResponseNormal {
    /// The APDU's tag.
    pub const TAG: u8 = 0xC7;

    /// Appends the APDU to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend([Self::TAG, NORMAL, self.invoke_id.0, self.result.code()]);
        out.push(u8::from(self.returned.is_some()));
        if let Some(returned) = &self.returned {
            encode_data_result(returned, out);
        }
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
            result: ActionResult::from_code(decoder.byte()?)?,
            returned: if decode_presence("return-parameters", &mut decoder)? {
                Some(decode_data_result(&mut decoder)?)
            } else {
                None
            },
        };
        decoder.finish()?;
        Ok(response)
    }
}
