//! What a server answers.

use super::error::{ApduError, NORMAL, expect_normal};
use super::field::{ActionResult, DataAccessResult, InvokeId, decode_presence};
use crate::axdr::{Data, Decoder, Encoder};

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

fn encode_data_result(result: &Result<Data, DataAccessResult>, out: &mut Vec<u8>) {
    match result {
        Ok(value) => {
            out.push(0);
            Encoder::new(out).value(value);
        }
        Err(error) => out.extend([1, error.code()]),
    }
}

fn decode_data_result(
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
