//! The push service: a notification, and the confirmation that lets the meter forget it.

use super::error::{ApduError, expect_tag};
use super::field::LongInvokeId;
use crate::axdr::{AxdrError, Data, Decoder, Encoder};
use crate::datetime::CosemDateTime;

/// What a meter pushes. The body stays encoded, so that a reader who knows its shape needs
/// no tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataNotification<'a> {
    /// By which the confirmation finds it.
    pub invoke_id: LongInvokeId,
    /// When it was made, if the meter says.
    pub time: Option<CosemDateTime>,
    /// One A-XDR value, not checked yet.
    pub body: &'a [u8],
}

impl<'a> DataNotification<'a> {
    /// The APDU's tag.
    pub const TAG: u8 = 0x0F;

    /// Appends the APDU to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode_head(Self::TAG, self.invoke_id, self.time, out);
        out.extend_from_slice(self.body);
    }

    /// Reads the head; the body is what follows.
    ///
    /// # Errors
    ///
    /// Another tag, truncation, or a date-time of other than zero or twelve bytes.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, ApduError> {
        let mut decoder = Decoder::new(bytes);
        let (invoke_id, time) = decode_head(Self::TAG, &mut decoder)?;
        Ok(Self {
            invoke_id,
            time,
            body: decoder.rest(),
        })
    }

    /// The body as a tree.
    ///
    /// # Errors
    ///
    /// A body that is not exactly one A-XDR value.
    pub fn data(&self) -> Result<Data, AxdrError> {
        Data::decode(self.body)
    }
}

/// The answer to a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataNotificationConfirm {
    /// Of the notification.
    pub invoke_id: LongInvokeId,
    /// When it was confirmed, if the client says.
    pub time: Option<CosemDateTime>,
}

impl DataNotificationConfirm {
    /// The APDU's tag.
    pub const TAG: u8 = 0x10;

    /// Appends the APDU to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode_head(Self::TAG, self.invoke_id, self.time, out);
    }

    /// Reads exactly one confirmation.
    ///
    /// # Errors
    ///
    /// Anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, ApduError> {
        let mut decoder = Decoder::new(bytes);
        let (invoke_id, time) = decode_head(Self::TAG, &mut decoder)?;
        decoder.finish()?;
        Ok(Self { invoke_id, time })
    }
}

fn encode_head(tag: u8, invoke_id: LongInvokeId, time: Option<CosemDateTime>, out: &mut Vec<u8>) {
    out.push(tag);
    out.extend(invoke_id.0.to_be_bytes());
    let mut encoder = Encoder::new(out);
    match time {
        None => encoder.octets(&[]),
        Some(time) => encoder.octets(&time.to_bytes()),
    }
}

/// The tag of an octet string, and the length of a date-time.
const TAGGED_DATE_TIME: [u8; 2] = [0x09, 0x0C];

fn decode_head(
    tag: u8,
    decoder: &mut Decoder<'_>,
) -> Result<(LongInvokeId, Option<CosemDateTime>), ApduError> {
    expect_tag(decoder, tag)?;
    let invoke_id = LongInvokeId(u32::from_be_bytes(decoder.bytes()?));
    // Kaifa meters write the date-time as a value with a tag. Nine bytes are no date-time, so
    // this form cannot be taken for the standard's.
    if decoder.rest().starts_with(&TAGGED_DATE_TIME) {
        let time = CosemDateTime::from_bytes(decoder.octet_array()?);
        return Ok((invoke_id, Some(time)));
    }
    let time = match decoder.octets()? {
        [] => None,
        bytes => Some(CosemDateTime::decode(bytes)?),
    };
    Ok((invoke_id, time))
}
