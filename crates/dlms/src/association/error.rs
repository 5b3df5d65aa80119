//! Why bytes are no association APDU.

use gridloom_core::bytes::Truncated;

use crate::axdr::AxdrError;

/// Why bytes are no association APDU that is spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcseError {
    /// A length is unreadable, or bytes follow the end.
    #[error("association: {0}")]
    Axdr(#[from] AxdrError),
    /// The APDU ends too early.
    #[error("association: {0}; the link cut it short")]
    Truncated(#[from] Truncated),
    /// Another APDU than the one expected.
    #[error("association: tag {wanted:#04X} wanted, found {found:#04X}")]
    WrongTag {
        /// The tag expected.
        wanted: u8,
        /// The tag found.
        found: u8,
    },
    /// A field that the standard does not have here, or that stands twice or out of order.
    #[error("association: field {tag:#04X} is unknown, doubled or out of order")]
    UnexpectedField {
        /// The field's tag.
        tag: u8,
    },
    /// A field that must be there is not.
    #[error("association: the field {field} is missing")]
    Missing {
        /// Which.
        field: &'static str,
    },
    /// A field whose content is not what the standard puts there.
    #[error("association: the field {field} is malformed")]
    Malformed {
        /// Which.
        field: &'static str,
    },
    /// A field with a code that the standard does not assign.
    #[error("association: {field} has no code {code}")]
    UnknownCode {
        /// Which field.
        field: &'static str,
        /// Its value.
        code: u8,
    },
    /// An application context that is none of COSEM's four.
    #[error("association: unknown application context; ask for 2.16.756.5.8.1.1 or .3")]
    UnknownContext,
    /// An authentication mechanism that is none of COSEM's eight.
    #[error("association: unknown authentication mechanism; ask for 2.16.756.5.8.2.0 to .7")]
    UnknownMechanism,
    /// A title of other than eight bytes.
    #[error("association: system title of {bytes} bytes, 8 wanted")]
    TitleLength {
        /// How many there are.
        bytes: usize,
    },
    /// An authentication value longer than [`super::SECRET_LEN_MAX`].
    #[error("association: authentication value of {bytes} bytes is too long")]
    SecretTooLong {
        /// How many there are.
        bytes: usize,
    },
}
