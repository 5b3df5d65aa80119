//! Why bytes are no APDU that is spoken here.

use gridloom_core::bytes::Truncated;

use super::service::LIST_MAX;
use crate::axdr::{AxdrError, Decoder};
use crate::datetime::DateTimeError;
use crate::security::{GENERAL_GLO, is_service_glo};

/// Why bytes are no APDU that is spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApduError {
    /// A field or value is unreadable.
    #[error("APDU: {0}")]
    Axdr(#[from] AxdrError),
    /// The APDU ends too early.
    #[error("APDU: {0}; a block transfer or the link cut it short")]
    Truncated(#[from] Truncated),
    /// The date-time of a notification has neither zero nor twelve bytes.
    #[error("APDU: {0}")]
    DateTime(#[from] DateTimeError),
    /// A ciphered APDU where plaintext is expected.
    #[error("APDU: tag {tag:#04X} is ciphered; open it with the peer's keys first")]
    Ciphered {
        /// The tag.
        tag: u8,
    },
    /// A tag that nobody here speaks.
    #[error("APDU: tag {tag:#04X} is not supported; compare the conformance blocks")]
    UnknownTag {
        /// The tag.
        tag: u8,
    },
    /// Another APDU than the one expected.
    #[error("APDU: tag {wanted:#04X} wanted, found {found:#04X}")]
    WrongTag {
        /// The tag expected.
        wanted: u8,
        /// The tag found.
        found: u8,
    },
    /// A variant of a service that the standard does not assign, or that is not expected here.
    #[error(
        "APDU: choice {choice} of service {tag:#04X} is not expected here; \
         compare the conformance blocks"
    )]
    UnsupportedChoice {
        /// The service.
        tag: u8,
        /// The variant.
        choice: u8,
    },
    /// A field with a code that the standard does not assign.
    #[error("APDU: {field} has no code {code}")]
    UnknownCode {
        /// Which field.
        field: &'static str,
        /// Its value.
        code: u8,
    },
    /// A list with more than [`LIST_MAX`] entries.
    #[error(
        "APDU: a list of {count} entries at offset {offset}, at most {LIST_MAX} are allowed; \
         ask in smaller lists"
    )]
    ListTooLong {
        /// Entries announced.
        count: usize,
        /// Where.
        offset: usize,
    },
    /// A list of values that does not belong to the list of attributes or methods before it.
    #[error("APDU: {wanted} attributes or methods, but {found} values")]
    ListsDiffer {
        /// How many attributes or methods there are.
        wanted: usize,
        /// How many values there are.
        found: usize,
    },
}

impl ApduError {
    /// The error for a tag that nobody expects here.
    pub(super) fn unexpected(tag: u8) -> Self {
        if tag == GENERAL_GLO || is_service_glo(tag) {
            Self::Ciphered { tag }
        } else {
            Self::UnknownTag { tag }
        }
    }
}

/// Reads the tag of an APDU.
pub(super) fn expect_tag(decoder: &mut Decoder<'_>, wanted: u8) -> Result<(), ApduError> {
    let found = decoder.byte()?;
    if found == wanted {
        Ok(())
    } else if found == GENERAL_GLO || is_service_glo(found) {
        Err(ApduError::Ciphered { tag: found })
    } else {
        Err(ApduError::WrongTag { wanted, found })
    }
}
