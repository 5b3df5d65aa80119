//! The xDLMS initiate services: what both sides speak, and how long APDUs may be.

use super::conformance::Conformance;
use super::error::AcseError;
use super::secret::{DedicatedKey, Secret};
use crate::axdr::{Decoder, Encoder};

/// The only version of xDLMS that is spoken.
pub const DLMS_VERSION: u8 = 6;

/// The virtual application association name of logical-name referencing.
pub const VAA_LOGICAL_NAMES: u16 = 0x0007;

/// The shortest maximum APDU length that may be proposed; 0 means that there is none.
pub const PDU_LEN_MIN: u16 = 12;

/// The tag in front of a conformance block: [APPLICATION 31], BER inside A-XDR, four bytes, no
/// unused bits.
const CONFORMANCE: [u8; 4] = [0x5F, 0x1F, 0x04, 0x00];

/// What a client proposes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitiateRequest {
    /// A key for this association alone. Only ever sent ciphered.
    pub dedicated_key: Option<DedicatedKey>,
    /// Whether an answer may be given at all.
    pub response_allowed: bool,
    /// Proposed quality of service; nobody uses it.
    pub quality_of_service: Option<i8>,
    /// The version of xDLMS.
    pub version: u8,
    /// The services that the client speaks.
    pub conformance: Conformance,
    /// The longest APDU that the client takes, in bytes; 0 for no limit.
    pub max_pdu: u16,
}

impl InitiateRequest {
    /// The APDU's tag.
    pub const TAG: u8 = 0x01;

    /// A proposal of version 6 that wants an answer.
    pub const fn new(conformance: Conformance, max_pdu: u16) -> Self {
        Self {
            dedicated_key: None,
            response_allowed: true,
            quality_of_service: None,
            version: DLMS_VERSION,
            conformance,
            max_pdu,
        }
    }

    /// Appends the APDU to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(Self::TAG);
        match &self.dedicated_key {
            None => out.push(0),
            Some(key) => {
                out.push(1);
                Encoder::new(out).octets(key.bytes());
            }
        }
        // The default is left out.
        out.extend_from_slice(if self.response_allowed { &[0] } else { &[1, 0] });
        put_quality(self.quality_of_service, out);
        out.push(self.version);
        out.extend(CONFORMANCE);
        out.extend(self.conformance.bytes());
        out.extend(self.max_pdu.to_be_bytes());
    }

    /// Reads exactly one request.
    ///
    /// # Errors
    ///
    /// Anything else, also a dedicated key of other than 16 or 32 bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, AcseError> {
        let mut decoder = tagged(Self::TAG, bytes)?;
        let dedicated_key = if presence("dedicated-key", &mut decoder)? {
            let key = decoder.octets()?;
            if !matches!(key.len(), 16 | 32) {
                return Err(AcseError::Malformed {
                    field: "dedicated-key",
                });
            }
            Some(Secret::new(key))
        } else {
            None
        };
        let request = Self {
            dedicated_key,
            response_allowed: if presence("response-allowed", &mut decoder)? {
                decoder.byte()? != 0
            } else {
                true
            },
            quality_of_service: quality(&mut decoder)?,
            version: decoder.byte()?,
            conformance: conformance(&mut decoder)?,
            max_pdu: u16::from_be_bytes(decoder.bytes()?),
        };
        decoder.finish()?;
        Ok(request)
    }
}

/// What a server agrees to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitiateResponse {
    /// Negotiated quality of service; nobody uses it.
    pub quality_of_service: Option<i8>,
    /// The version of xDLMS.
    pub version: u8,
    /// The services that both sides speak.
    pub conformance: Conformance,
    /// The longest APDU that the server takes, in bytes; 0 for no limit.
    pub max_pdu: u16,
    /// How objects are named: [`VAA_LOGICAL_NAMES`].
    pub vaa_name: u16,
}

impl InitiateResponse {
    /// The APDU's tag.
    pub const TAG: u8 = 0x08;

    /// An agreement to version 6 by logical names.
    pub const fn new(conformance: Conformance, max_pdu: u16) -> Self {
        Self {
            quality_of_service: None,
            version: DLMS_VERSION,
            conformance,
            max_pdu,
            vaa_name: VAA_LOGICAL_NAMES,
        }
    }

    /// Appends the APDU to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(Self::TAG);
        put_quality(self.quality_of_service, out);
        out.push(self.version);
        out.extend(CONFORMANCE);
        out.extend(self.conformance.bytes());
        out.extend(self.max_pdu.to_be_bytes());
        out.extend(self.vaa_name.to_be_bytes());
    }

    /// Reads exactly one response.
    ///
    /// # Errors
    ///
    /// Anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, AcseError> {
        let mut decoder = tagged(Self::TAG, bytes)?;
        let response = Self {
            quality_of_service: quality(&mut decoder)?,
            version: decoder.byte()?,
            conformance: conformance(&mut decoder)?,
            max_pdu: u16::from_be_bytes(decoder.bytes()?),
            vaa_name: u16::from_be_bytes(decoder.bytes()?),
        };
        decoder.finish()?;
        Ok(response)
    }
}

/// Why a server does not agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum InitiateError {
    /// Anything else.
    Other = 0,
    /// The version of xDLMS is too low.
    DlmsVersionTooLow = 1,
    /// No service that both speak.
    IncompatibleConformance = 2,
    /// The client takes only APDUs that are too short.
    PduSizeTooShort = 3,
    /// The device declines.
    RefusedByVdeHandler = 4,
}

/// An error of a confirmed service, before GET and SET had their own results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfirmedServiceError {
    /// The initiate service failed.
    Initiate(InitiateError),
    /// Another failure, by the service's number and the error's kind and code.
    Other {
        /// Which service: 1 initiate, 5 read, 6 write.
        service: u8,
        /// Which kind of error, 0–9.
        kind: u8,
        /// Which one of that kind.
        code: u8,
    },
}

impl ConfirmedServiceError {
    /// The APDU's tag.
    pub const TAG: u8 = 0x0E;

    /// Appends the APDU to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (service, kind, code) = match *self {
            Self::Initiate(error) => (1, 6, error as u8),
            Self::Other {
                service,
                kind,
                code,
            } => (service, kind, code),
        };
        out.extend([Self::TAG, service, kind, code]);
    }

    /// Reads exactly one error.
    ///
    /// # Errors
    ///
    /// Anything else. Codes that the standard does not assign are kept as they are.
    pub fn decode(bytes: &[u8]) -> Result<Self, AcseError> {
        let mut decoder = tagged(Self::TAG, bytes)?;
        let [service, kind, code] = decoder.bytes()?;
        decoder.finish()?;
        Ok(match (service, kind, code) {
            (1, 6, 0) => Self::Initiate(InitiateError::Other),
            (1, 6, 1) => Self::Initiate(InitiateError::DlmsVersionTooLow),
            (1, 6, 2) => Self::Initiate(InitiateError::IncompatibleConformance),
            (1, 6, 3) => Self::Initiate(InitiateError::PduSizeTooShort),
            (1, 6, 4) => Self::Initiate(InitiateError::RefusedByVdeHandler),
            (service, kind, code) => Self::Other {
                service,
                kind,
                code,
            },
        })
    }
}

fn tagged(wanted: u8, bytes: &[u8]) -> Result<Decoder<'_>, AcseError> {
    let mut decoder = Decoder::new(bytes);
    let found = decoder.byte()?;
    if found == wanted {
        Ok(decoder)
    } else {
        Err(AcseError::WrongTag { wanted, found })
    }
}

fn presence(field: &'static str, decoder: &mut Decoder<'_>) -> Result<bool, AcseError> {
    match decoder.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        code => Err(AcseError::UnknownCode { field, code }),
    }
}

fn quality(decoder: &mut Decoder<'_>) -> Result<Option<i8>, AcseError> {
    Ok(if presence("quality-of-service", decoder)? {
        Some(i8::from_be_bytes(decoder.bytes()?))
    } else {
        None
    })
}

fn put_quality(quality: Option<i8>, out: &mut Vec<u8>) {
    match quality {
        None => out.push(0),
        Some(quality) => {
            out.push(1);
            out.extend(quality.to_be_bytes());
        }
    }
}

fn conformance(decoder: &mut Decoder<'_>) -> Result<Conformance, AcseError> {
    let malformed = AcseError::Malformed {
        field: "conformance",
    };
    let [class, first] = decoder.bytes()?;
    if class != CONFORMANCE[0] {
        return Err(malformed);
    }
    // Some peers leave the second byte of the tag out.
    let (length, unused) = if first == CONFORMANCE[1] {
        (decoder.byte()?, decoder.byte()?)
    } else {
        (first, decoder.byte()?)
    };
    if (length, unused) != (CONFORMANCE[2], CONFORMANCE[3]) {
        return Err(malformed);
    }
    Ok(Conformance::from_bytes(decoder.bytes()?))
}
