//! The EventNotification service (IEC 62056-5-3, clauses 7.3.9 and 8.3): a server tells an
//! attribute unasked.

use super::error::{ApduError, expect_tag};
use super::field::{AttributeDescriptor, decode_presence};
use super::service::Field as _;
use crate::axdr::{Data, Decoder, Encoder};
use crate::datetime::CosemDateTime;

/// The value of an attribute, told unasked. Nobody confirms it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventNotification {
    /// When it happened, if the server says.
    pub time: Option<CosemDateTime>,
    /// Which attribute.
    pub attribute: AttributeDescriptor,
    /// Its value.
    pub value: Data,
}

impl EventNotification {
    /// The APDU's tag.
    pub const TAG: u8 = 0xC2;

    /// Appends the APDU to `out`.
    ///
    /// # Panics
    ///
    /// If the value is deeper than [`DEPTH_MAX`](crate::axdr::DEPTH_MAX).
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(Self::TAG);
        out.push(u8::from(self.time.is_some()));
        if let Some(time) = self.time {
            Encoder::new(out).octets(&time.to_bytes());
        }
        self.attribute.put(out);
        self.value.put(out);
    }

    /// Reads exactly one notification.
    ///
    /// # Errors
    ///
    /// Anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, ApduError> {
        let mut decoder = Decoder::new(bytes);
        expect_tag(&mut decoder, Self::TAG)?;
        let time = if decode_presence("time", &mut decoder)? {
            Some(CosemDateTime::decode(decoder.octets()?)?)
        } else {
            None
        };
        let notification = Self {
            time,
            attribute: AttributeDescriptor::decode(&mut decoder)?,
            value: decoder.value()?,
        };
        decoder.finish()?;
        Ok(notification)
    }
}
