//! The end of an association.

use super::ber;
use super::error::AcseError;

/// Why an association ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReleaseReason {
    /// It is over.
    Normal,
    /// The client is in a hurry, or the server has not finished.
    Urgent,
    /// One of the user's own.
    UserDefined,
    /// Another code.
    Other(u8),
}

impl ReleaseReason {
    const fn code(self) -> u8 {
        match self {
            Self::Normal => 0,
            Self::Urgent => 1,
            Self::UserDefined => 30,
            Self::Other(code) => code,
        }
    }

    const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Normal,
            1 => Self::Urgent,
            30 => Self::UserDefined,
            code => Self::Other(code),
        }
    }
}

/// A client ends the association (A-RELEASE request).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rlrq {
    /// Why.
    pub reason: Option<ReleaseReason>,
    /// The InitiateRequest again, ciphered where the association is; empty if there is none.
    pub user_information: Vec<u8>,
}

/// The server agrees to the end (A-RELEASE response).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rlre {
    /// Why.
    pub reason: Option<ReleaseReason>,
    /// The InitiateResponse again; empty if there is none.
    pub user_information: Vec<u8>,
}

impl Rlrq {
    /// The APDU's tag.
    pub const TAG: u8 = 0x62;

    /// Appends the APDU to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode(Self::TAG, self.reason, &self.user_information, out);
    }

    /// Reads exactly one request.
    ///
    /// # Errors
    ///
    /// Anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, AcseError> {
        let (reason, user_information) = decode(Self::TAG, bytes)?;
        Ok(Self {
            reason,
            user_information,
        })
    }
}

impl Rlre {
    /// The APDU's tag.
    pub const TAG: u8 = 0x63;

    /// Appends the APDU to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode(Self::TAG, self.reason, &self.user_information, out);
    }

    /// Reads exactly one response.
    ///
    /// # Errors
    ///
    /// Anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, AcseError> {
        let (reason, user_information) = decode(Self::TAG, bytes)?;
        Ok(Self {
            reason,
            user_information,
        })
    }
}

const REASON: u8 = 0x80;

fn encode(tag: u8, reason: Option<ReleaseReason>, information: &[u8], out: &mut Vec<u8>) {
    let mut body = Vec::with_capacity(16 + information.len());
    if let Some(reason) = reason {
        ber::put(&mut body, REASON, &[reason.code()]);
    }
    if !information.is_empty() {
        ber::put_nested(
            &mut body,
            ber::USER_INFORMATION,
            ber::OCTET_STRING,
            information,
        );
    }
    ber::put(out, tag, &body);
}

fn decode(tag: u8, bytes: &[u8]) -> Result<(Option<ReleaseReason>, Vec<u8>), AcseError> {
    let mut decoder = ber::only(tag, bytes)?;
    let (mut reason, mut information) = (None, Vec::new());
    let mut last = None;
    while let Some((tag, content)) = ber::next(&mut decoder)? {
        if last.is_some_and(|last| last >= tag & 0x1F) {
            return Err(AcseError::UnexpectedField { tag });
        }
        last = Some(tag & 0x1F);
        match (tag, content) {
            (REASON, [code]) => reason = Some(ReleaseReason::from_code(*code)),
            (ber::USER_INFORMATION, content) => {
                information = ber::inner("user-information", ber::OCTET_STRING, content)?.to_vec();
            }
            (tag, _) => return Err(AcseError::UnexpectedField { tag }),
        }
    }
    Ok((reason, information))
}
