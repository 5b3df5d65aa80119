//! Why a ciphered APDU or a wrapped key is refused.

use gridloom_core::SystemTitle;
use gridloom_core::bytes::Truncated;

use super::control::{Policy, SecurityControl};
use crate::axdr::AxdrError;

/// Why a ciphered APDU or a wrapped key is refused; the message names the layer that did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecurityError {
    /// The bytes end before the security header, payload or tag do.
    #[error("frame: ciphered APDU cut short, {0}")]
    Truncated(#[from] Truncated),
    /// The length field of the APDU is unreadable.
    #[error("frame: ciphered APDU, {0}")]
    Length(#[from] AxdrError),
    /// The APDU is longer or shorter than its length field says.
    #[error("frame: ciphered APDU announces {announced} bytes, {found} follow")]
    WrongLength {
        /// What the length field says.
        announced: usize,
        /// What follows it.
        found: usize,
    },
    /// A tag that no supported ciphering uses, for example a plaintext APDU.
    #[error("frame: tag {tag:#04X} is not a globally ciphered APDU; the policy demands one")]
    NotCiphered {
        /// The first byte.
        tag: u8,
    },
    /// The system title has not eight bytes.
    #[error("frame: system title of {bytes} bytes, 8 wanted; the peer must send its title")]
    TitleLength {
        /// How many there are.
        bytes: usize,
    },
    /// A suite other than 0.
    #[error("key: security suite {suite} is not supported; configure the meter for suite 0")]
    Suite {
        /// The suite asked for.
        suite: u8,
    },
    /// The broadcast key is used, and none is installed for the peer.
    #[error("key: the APDU is ciphered with the broadcast key; send it with the unicast key")]
    BroadcastKey,
    /// The payload is compressed.
    #[error("frame: compressed payloads are not supported; switch compression off")]
    Compressed,
    /// Less or other protection than the policy demands.
    #[error("policy: security control {got} does not satisfy {wanted}; set the security policy")]
    Policy {
        /// What the sender did.
        got: SecurityControl,
        /// What is demanded.
        wanted: Policy,
    },
    /// The tag does not verify: forged, damaged, or another key.
    #[error(
        "tag: APDU of {title} with counter {counter} does not verify; damaged, forged, or \
         ciphered with another key: compare the key's check value"
    )]
    BadTag {
        /// Who claims to have sent it.
        title: SystemTitle,
        /// Its invocation counter.
        counter: u32,
    },
    /// A challenge's answer is not 17 bytes of GMAC.
    #[error("tag: HLS answer of {bytes} bytes, 17 wanted; the peer uses another mechanism")]
    GmacLength {
        /// How many there are.
        bytes: usize,
    },
    /// A wrapped key does not unwrap.
    #[error("key: the wrapped key does not unwrap; it was wrapped with another key")]
    Unwrap,
}

impl SecurityError {
    /// Whether the frame alone is to blame, so that its content deserves no trust at all;
    /// otherwise configuration is.
    pub const fn is_suspicious(&self) -> bool {
        match self {
            Self::Truncated(_)
            | Self::Length(_)
            | Self::WrongLength { .. }
            | Self::NotCiphered { .. }
            | Self::Policy { .. }
            | Self::BadTag { .. }
            | Self::GmacLength { .. } => true,
            Self::TitleLength { .. }
            | Self::Suite { .. }
            | Self::BroadcastKey
            | Self::Compressed
            | Self::Unwrap => false,
        }
    }
}
