//! The first step: a bounded look at the outside of a packet.

use gridloom_core::SystemTitle;
use gridloom_dlms::security::{CipheredApdu, GENERAL_GLO};

use crate::reason::Reason;

/// The title that a packet claims, found without reading further: a flood costs no more.
pub(crate) fn peek(frame: &[u8]) -> Result<SystemTitle, Reason> {
    match frame {
        [GENERAL_GLO, 8, rest @ ..] => rest
            .first_chunk()
            .map(|title| SystemTitle(*title))
            .ok_or(Reason::Malformed),
        _ => Err(Reason::Malformed),
    }
}

/// The whole outside of a packet. Nothing is copied, nothing is believed.
pub(crate) fn decode(frame: &[u8]) -> Result<CipheredApdu<'_>, Reason> {
    CipheredApdu::decode(frame).map_err(|_| Reason::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_general_glo_with_a_whole_title_is_looked_at() {
        let cases: [(&[u8], Result<SystemTitle, Reason>); 5] = [
            (b"", Err(Reason::Malformed)),
            (b"\xDB\x08GLM0000", Err(Reason::Malformed)),
            (b"\xDB\x08GLM00001", Ok(SystemTitle(*b"GLM00001"))),
            (b"\xDB\x07GLM00001", Err(Reason::Malformed)),
            (b"\xDD\x08GLM00001", Err(Reason::Malformed)),
        ];
        for (frame, expected) in cases {
            assert_eq!(peek(frame), expected, "{frame:02X?}");
        }
    }
}
