//! The outside of a ciphered APDU: who, how protected, which counter. Nothing of it is trusted.

use gridloom_core::SystemTitle;

use super::control::SecurityControl;
use super::error::SecurityError;
use crate::axdr::Decoder;

/// The tag of general-glo-ciphering, which carries the sender's system title.
pub const GENERAL_GLO: u8 = 0xDB;

/// The tag of general-ded-ciphering, which carries the sender's system title.
pub const GENERAL_DED: u8 = 0xDC;

/// Bytes of a security header: control byte and invocation counter.
pub const HEADER_LEN: usize = 5;

/// Whether a tag is a service-specific globally ciphered APDU: the initiate pair and its error
/// (0x21, 0x28, 0x2E) and the GET, SET, EventNotification and ACTION services (0xC8–0xCF).
pub const fn is_service_glo(tag: u8) -> bool {
    matches!(tag, 0x21 | 0x28 | 0x2E | 0xC8..=0xCD | 0xCF)
}

/// Whether a tag is a service-specific APDU ciphered with the dedicated key: the GET, SET,
/// EventNotification and ACTION services (0xD0–0xD7). The initiate services have none: the
/// dedicated key travels in them.
pub const fn is_service_ded(tag: u8) -> bool {
    matches!(tag, 0xD0..=0xD5 | 0xD7)
}

/// The tag under which the plaintext service `tag` is ciphered with a global key, if it has one.
pub const fn service_glo(tag: u8) -> Option<u8> {
    let ciphered = match tag {
        0x01 => 0x21,
        0x08 => 0x28,
        0x0E => 0x2E,
        0xC0..=0xC5 | 0xC7 => tag + 0x08,
        _ => return None,
    };
    Some(ciphered)
}

/// The tag under which the plaintext service `tag` is ciphered with the dedicated key, if it has
/// one.
pub const fn service_ded(tag: u8) -> Option<u8> {
    match tag {
        0xC0..=0xC5 | 0xC7 => Some(tag + 0x10),
        _ => None,
    }
}

/// Which encryption key an APDU is ciphered with, by its form and its control byte. A nonce is
/// unique per key, so a peer may count separately under each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyUse {
    /// The global unicast encryption key (GUEK).
    Unicast,
    /// The global broadcast encryption key (GBEK).
    Broadcast,
    /// The dedicated key of one association.
    Dedicated,
    /// A key that general-ciphering carries wrapped, or lets both sides agree on.
    OneTime,
}

/// In which of the standard's forms an APDU is ciphered, so that an answer can come in the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CipheredForm {
    /// glo-get-request and its kin: a tag per service, global key, no title.
    ServiceGlobal,
    /// ded-get-request and its kin: a tag per service, dedicated key, no title.
    ServiceDedicated,
    /// general-glo-ciphering: any service, global key, with the sender's title.
    GeneralGlobal,
    /// general-ded-ciphering: any service, dedicated key, with the sender's title.
    GeneralDedicated,
    /// general-ciphering: any service, any key, with both titles.
    General,
}

impl CipheredForm {
    /// The form that an APDU with this tag has; `None` for plaintext and unknown ones.
    pub const fn of_tag(tag: u8) -> Option<Self> {
        match tag {
            GENERAL_GLO => Some(Self::GeneralGlobal),
            GENERAL_DED => Some(Self::GeneralDedicated),
            super::general::GENERAL_CIPHERING => Some(Self::General),
            _ if is_service_glo(tag) => Some(Self::ServiceGlobal),
            _ if is_service_ded(tag) => Some(Self::ServiceDedicated),
            _ => None,
        }
    }

    /// Whether the form uses the dedicated key of the association.
    pub const fn is_dedicated(self) -> bool {
        match self {
            Self::ServiceDedicated | Self::GeneralDedicated => true,
            Self::ServiceGlobal | Self::GeneralGlobal | Self::General => false,
        }
    }
}

/// A ciphered APDU that has been taken apart, but not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CipheredApdu<'a> {
    /// The APDU's tag.
    pub tag: u8,
    /// Which form it came in.
    pub form: CipheredForm,
    /// Who claims to have sent it.
    pub title: SystemTitle,
    /// How it claims to be protected.
    pub control: SecurityControl,
    /// Its invocation counter.
    pub counter: u32,
    /// The key that general-ciphering names; `None` in every other form.
    pub(super) named_key: Option<KeyUse>,
    /// The fields of general-ciphering that the tag covers too; empty in every other form.
    pub(super) covered: &'a [u8],
    /// Payload, and tag if authenticated.
    pub(super) sealed: &'a [u8],
}

impl<'a> CipheredApdu<'a> {
    /// Takes a general-glo-ciphering or general-ded-ciphering APDU apart; general-ciphering is
    /// [`super::GeneralCiphering`]'s.
    ///
    /// # Errors
    ///
    /// Another tag, a title of other than eight bytes, or lengths that do not add up.
    pub fn decode(apdu: &'a [u8]) -> Result<Self, SecurityError> {
        let mut decoder = Decoder::new(apdu);
        let tag = decoder.byte()?;
        let form = match tag {
            GENERAL_GLO => CipheredForm::GeneralGlobal,
            GENERAL_DED => CipheredForm::GeneralDedicated,
            _ => return Err(SecurityError::NotCiphered { tag }),
        };
        let title = decode_title(&mut decoder)?;
        let content = whole_content(&mut decoder)?;
        Self::content(tag, form, title, content)
    }

    /// Takes a service-specific ciphered APDU apart, under a global key or the dedicated one;
    /// `title` is the peer's, from the association.
    ///
    /// # Errors
    ///
    /// Another tag, or lengths that do not add up.
    pub fn decode_service(apdu: &'a [u8], title: SystemTitle) -> Result<Self, SecurityError> {
        let mut decoder = Decoder::new(apdu);
        let tag = decoder.byte()?;
        let form = if is_service_glo(tag) {
            CipheredForm::ServiceGlobal
        } else if is_service_ded(tag) {
            CipheredForm::ServiceDedicated
        } else {
            return Err(SecurityError::NotCiphered { tag });
        };
        let content = whole_content(&mut decoder)?;
        Self::content(tag, form, title, content)
    }

    /// Reads the security header in front of the sealed bytes.
    pub(super) fn content(
        tag: u8,
        form: CipheredForm,
        title: SystemTitle,
        content: &'a [u8],
    ) -> Result<Self, SecurityError> {
        let mut decoder = Decoder::new(content);
        let control = SecurityControl(decoder.byte()?);
        let counter = u32::from_be_bytes(decoder.bytes()?);
        Ok(Self {
            tag,
            form,
            title,
            control,
            counter,
            named_key: None,
            covered: &[],
            sealed: decoder.rest(),
        })
    }

    /// Which key it claims to be ciphered with.
    pub const fn key(&self) -> KeyUse {
        if let Some(named) = self.named_key {
            named
        } else if self.form.is_dedicated() {
            KeyUse::Dedicated
        } else if self.control.uses_broadcast_key() {
            KeyUse::Broadcast
        } else {
            KeyUse::Unicast
        }
    }
}

/// A system title with its length in front.
pub(super) fn decode_title(decoder: &mut Decoder<'_>) -> Result<SystemTitle, SecurityError> {
    let title = decoder.octets()?;
    title
        .try_into()
        .map(SystemTitle)
        .map_err(|_| SecurityError::TitleLength { bytes: title.len() })
}

/// The last field of an APDU: it must end where the APDU does.
pub(super) fn whole_content<'a>(decoder: &mut Decoder<'a>) -> Result<&'a [u8], SecurityError> {
    let announced = decoder.length()?;
    let content = decoder.rest();
    if announced == content.len() {
        Ok(content)
    } else {
        Err(SecurityError::WrongLength {
            announced,
            found: content.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_has_its_ciphered_tags() {
        let cases = [
            (0x01, Some(0x21), None),
            (0x08, Some(0x28), None),
            (0x0E, Some(0x2E), None),
            (0x0F, None, None),
            (0xC0, Some(0xC8), Some(0xD0)),
            (0xC1, Some(0xC9), Some(0xD1)),
            (0xC2, Some(0xCA), Some(0xD2)),
            (0xC3, Some(0xCB), Some(0xD3)),
            (0xC4, Some(0xCC), Some(0xD4)),
            (0xC5, Some(0xCD), Some(0xD5)),
            (0xC6, None, None),
            (0xC7, Some(0xCF), Some(0xD7)),
            (0xE0, None, None),
        ];
        for (plain, glo, ded) in cases {
            assert_eq!(service_glo(plain), glo, "{plain:#04X}");
            assert_eq!(service_ded(plain), ded, "{plain:#04X}");
        }
        for tag in 0..=u8::MAX {
            let made_by = |service: fn(u8) -> Option<u8>| {
                (0..=u8::MAX).any(|plain| service(plain) == Some(tag))
            };
            assert_eq!(is_service_glo(tag), made_by(service_glo), "{tag:#04X}");
            assert_eq!(is_service_ded(tag), made_by(service_ded), "{tag:#04X}");
        }
    }
}
