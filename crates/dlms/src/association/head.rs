//! What AARQ and AARE have in common: fields in the order of their numbers, the context in front,
//! and proof and user-information at the end.

use super::ber;
use super::error::AcseError;
use super::name::{ApplicationContext, Mechanism};
use super::secret::Secret;
use crate::axdr::Decoder;

/// application-context-name.
pub(super) const CONTEXT: u8 = 0xA1;

/// The fields of one APDU.
pub(super) struct Fields<'a> {
    decoder: Decoder<'a>,
    /// The number of the last one.
    last: Option<u8>,
}

impl<'a> Fields<'a> {
    /// Those of the APDU `tag`, which is all of `bytes`.
    pub(super) fn of(tag: u8, bytes: &'a [u8]) -> Result<Self, AcseError> {
        Ok(Self {
            decoder: ber::only(tag, bytes)?,
            last: None,
        })
    }

    /// The next one, `None` at the end.
    ///
    /// # Errors
    ///
    /// [`AcseError::UnexpectedField`] for one out of order.
    pub(super) fn next(&mut self) -> Result<Option<(u8, &'a [u8])>, AcseError> {
        let Some((tag, content)) = ber::next(&mut self.decoder)? else {
            return Ok(None);
        };
        // The number of a field is in the low five bits, and fields stand in its order.
        let number = tag & 0x1F;
        if self.last.is_some_and(|last| last >= number) {
            return Err(AcseError::UnexpectedField { tag });
        }
        self.last = Some(number);
        Ok(Some((tag, content)))
    }
}

/// Appends the context.
pub(super) fn put_context(out: &mut Vec<u8>, context: ApplicationContext) {
    ber::put_nested(out, CONTEXT, ber::OBJECT_IDENTIFIER, &context.name());
}

/// Reads the context.
pub(super) fn context(content: &[u8]) -> Result<ApplicationContext, AcseError> {
    let name = ber::inner("application-context-name", ber::OBJECT_IDENTIFIER, content)?;
    ApplicationContext::from_name(name)
}

/// The tags under which one of the two APDUs carries its proof.
pub(super) struct ProofTags {
    pub(super) requirements: u8,
    pub(super) mechanism: u8,
    pub(super) value: u8,
}

impl ProofTags {
    /// Appends the mechanism, unless there is none, the value, and user-information.
    pub(super) fn put(
        &self,
        mechanism: Mechanism,
        value: Option<&Secret>,
        user_information: &[u8],
        out: &mut Vec<u8>,
    ) {
        if mechanism != Mechanism::None {
            ber::put(out, self.requirements, &ber::REQUIREMENTS);
            ber::put(out, self.mechanism, &mechanism.name());
        }
        if let Some(value) = value {
            ber::put_nested(out, self.value, ber::CHARSTRING, value.bytes());
        }
        if !user_information.is_empty() {
            let tag = ber::USER_INFORMATION;
            ber::put_nested(out, tag, ber::OCTET_STRING, user_information);
        }
    }
}

/// Reads user-information.
pub(super) fn user_information(content: &[u8]) -> Result<Vec<u8>, AcseError> {
    Ok(ber::inner("user-information", ber::OCTET_STRING, content)?.to_vec())
}
