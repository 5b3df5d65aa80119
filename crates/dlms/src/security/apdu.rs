//! The outside of a ciphered APDU: who, how protected, which counter. Nothing of it is trusted.

use gridloom_core::SystemTitle;

use super::control::SecurityControl;
use super::error::SecurityError;
use crate::axdr::Decoder;

/// The tag of general-glo-ciphering, which carries the sender's system title.
pub const GENERAL_GLO: u8 = 0xDB;

/// Bytes of a security header: control byte and invocation counter.
pub const HEADER_LEN: usize = 5;

/// Whether a tag is a service-specific globally ciphered APDU: the initiate pair (0x21, 0x28)
/// and the GET, SET, EventNotification and ACTION services (0xC8–0xCF).
pub const fn is_service_glo(tag: u8) -> bool {
    matches!(tag, 0x21 | 0x28 | 0xC8..=0xCD | 0xCF)
}

/// A ciphered APDU that has been taken apart, but not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CipheredApdu<'a> {
    /// The APDU's tag.
    pub tag: u8,
    /// Who claims to have sent it.
    pub title: SystemTitle,
    /// How it claims to be protected.
    pub control: SecurityControl,
    /// Its invocation counter.
    pub counter: u32,
    /// Payload, and tag if authenticated.
    pub(super) sealed: &'a [u8],
}

impl<'a> CipheredApdu<'a> {
    /// Takes a general-glo-ciphering APDU apart.
    ///
    /// # Errors
    ///
    /// Another tag, a title of other than eight bytes, or lengths that do not add up.
    pub fn decode(apdu: &'a [u8]) -> Result<Self, SecurityError> {
        let mut decoder = Decoder::new(apdu);
        let tag = decoder.byte()?;
        if tag != GENERAL_GLO {
            return Err(SecurityError::NotCiphered { tag });
        }
        let title = decoder.octets()?;
        let title = title
            .try_into()
            .map(SystemTitle)
            .map_err(|_| SecurityError::TitleLength { bytes: title.len() })?;
        Self::header(tag, title, decoder)
    }

    /// Takes a service-specific ciphered APDU apart; `title` is the peer's, from the association.
    ///
    /// # Errors
    ///
    /// Another tag, or lengths that do not add up.
    pub fn decode_service(apdu: &'a [u8], title: SystemTitle) -> Result<Self, SecurityError> {
        let mut decoder = Decoder::new(apdu);
        let tag = decoder.byte()?;
        if !is_service_glo(tag) {
            return Err(SecurityError::NotCiphered { tag });
        }
        Self::header(tag, title, decoder)
    }

    fn header(
        tag: u8,
        title: SystemTitle,
        mut decoder: Decoder<'a>,
    ) -> Result<Self, SecurityError> {
        let announced = decoder.length()?;
        let found = decoder.rest().len();
        if announced != found {
            return Err(SecurityError::WrongLength { announced, found });
        }
        let control = SecurityControl(decoder.byte()?);
        let counter = u32::from_be_bytes(decoder.bytes()?);
        Ok(Self {
            tag,
            title,
            control,
            counter,
            sealed: decoder.rest(),
        })
    }
}
