//! What a client asks of a server.

use super::error::{ApduError, NORMAL, expect_normal};
use super::field::{
    AttributeDescriptor, InvokeId, MethodDescriptor, SelectiveAccess, decode_presence,
};
use crate::axdr::{Data, Decoder, Encoder};

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
