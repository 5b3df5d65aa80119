//! What travels through the certificate methods of a security setup object (class 64,
//! IEC 62056-6-2, 5.4.7, methods 4–8 and attribute 6).
//!
//! Import takes a certificate in DER as octet-string, and so do export and the request for a
//! certificate give one back: [`Certificate::from_der`](super::Certificate::from_der) and
//! [`CertificateRequest`](super::CertificateRequest) read those.

use gridloom_core::SystemTitle;

use super::certificate::{CERTIFICATE_LEN_MAX, Certificate};
use super::error::SecurityError;
use crate::axdr::Data;

/// Certificates in one list; longer lists are refused.
pub const CERTIFICATES_MAX: usize = 64;

/// Bytes of a serial number: RFC 5280 allows 20, and one for the sign.
const SERIAL_LEN_MAX: usize = 21;

/// Whose key a certificate is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateEntity {
    /// The meter itself.
    Server,
    /// A client.
    Client,
    /// An authority that issues certificates.
    Authority,
    /// Anybody else.
    Other,
}

/// What a key pair or a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateType {
    /// Digital signatures.
    Signature,
    /// Key agreement.
    Agreement,
    /// TLS.
    Tls,
    /// Anything else; no key pair is made for it.
    Other,
}

impl CertificateEntity {
    /// The number in `certificate_entity`.
    pub const fn code(self) -> u8 {
        match self {
            Self::Server => 0,
            Self::Client => 1,
            Self::Authority => 2,
            Self::Other => 3,
        }
    }

    const fn from_code(code: u8) -> Result<Self, SecurityError> {
        match code {
            0 => Ok(Self::Server),
            1 => Ok(Self::Client),
            2 => Ok(Self::Authority),
            3 => Ok(Self::Other),
            _ => Err(SecurityError::UnknownCode {
                field: "certificate_entity",
                code,
            }),
        }
    }
}

impl CertificateType {
    /// The number in `certificate_type`, and of the key pair in methods 4 and 5.
    pub const fn code(self) -> u8 {
        match self {
            Self::Signature => 0,
            Self::Agreement => 1,
            Self::Tls => 2,
            Self::Other => 3,
        }
    }

    const fn from_code(code: u8) -> Result<Self, SecurityError> {
        match code {
            0 => Ok(Self::Signature),
            1 => Ok(Self::Agreement),
            2 => Ok(Self::Tls),
            3 => Ok(Self::Other),
            _ => Err(SecurityError::UnknownCode {
                field: "certificate_type",
                code,
            }),
        }
    }

    /// What a certificate's key usage makes it.
    pub const fn of(certificate: &Certificate) -> Self {
        let usages = certificate.usages();
        if usages.digital_signature {
            Self::Signature
        } else if usages.key_agreement {
            Self::Agreement
        } else {
            Self::Other
        }
    }

    /// The parameters of `generate_key_pair` (method 4) and of `generate_certificate_request`
    /// (method 5).
    pub const fn to_key_pair_data(self) -> Data {
        Data::Enum(self.code())
    }

    /// Reads the parameters of methods 4 and 5.
    ///
    /// # Errors
    ///
    /// [`SecurityError::Payload`], or [`SecurityError::UnknownCode`] for what no key pair is made
    /// for.
    pub fn from_key_pair_data(data: &Data) -> Result<Self, SecurityError> {
        let Data::Enum(code) = data else {
            return Err(SecurityError::Payload { field: "key_pair" });
        };
        match Self::from_code(*code)? {
            Self::Other => Err(SecurityError::UnknownCode {
                field: "key_pair",
                code: *code,
            }),
            known @ (Self::Signature | Self::Agreement | Self::Tls) => Ok(known),
        }
    }
}

/// Which certificate `export_certificate` (method 7) and `remove_certificate` (method 8) mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateIdentification {
    /// The one of an entity for a purpose.
    ByEntity {
        /// Whose.
        entity: CertificateEntity,
        /// What for.
        kind: CertificateType,
        /// The entity's system title.
        title: SystemTitle,
    },
    /// The one with this number among those of an issuer.
    BySerial {
        /// Big-endian bytes.
        serial: Vec<u8>,
        /// The issuer's distinguished name in DER.
        issuer: Vec<u8>,
    },
}

impl CertificateIdentification {
    /// Whether it means this certificate; `entity` is whose the holder takes it for.
    pub fn matches(&self, certificate: &Certificate, holder: CertificateEntity) -> bool {
        match self {
            Self::ByEntity {
                entity,
                kind,
                title,
            } => {
                *entity == holder
                    && *kind == CertificateType::of(certificate)
                    && certificate.title().is_ok_and(|found| found == *title)
            }
            Self::BySerial { serial, issuer } => {
                serial == certificate.serial() && issuer == certificate.issuer_der()
            }
        }
    }

    /// The method's parameters.
    pub fn to_data(&self) -> Data {
        let (choice, options) = match self {
            Self::ByEntity {
                entity,
                kind,
                title,
            } => (
                0,
                vec![
                    Data::Enum(entity.code()),
                    Data::Enum(kind.code()),
                    Data::OctetString(title.0.to_vec()),
                ],
            ),
            Self::BySerial { serial, issuer } => (
                1,
                vec![
                    Data::OctetString(serial.clone()),
                    Data::OctetString(issuer.clone()),
                ],
            ),
        };
        Data::Structure(vec![Data::Enum(choice), Data::Structure(options)])
    }

    /// Reads the method's parameters.
    ///
    /// # Errors
    ///
    /// [`SecurityError::Payload`], [`SecurityError::UnknownCode`],
    /// [`SecurityError::TitleLength`], [`SecurityError::FieldTooLong`].
    pub fn from_data(data: &Data) -> Result<Self, SecurityError> {
        let wrong = SecurityError::Payload {
            field: "certificate_identification",
        };
        let Data::Structure(members) = data else {
            return Err(wrong);
        };
        let [Data::Enum(choice), Data::Structure(options)] = &members[..] else {
            return Err(wrong);
        };
        match (choice, &options[..]) {
            (
                0,
                [
                    Data::Enum(entity),
                    Data::Enum(kind),
                    Data::OctetString(title),
                ],
            ) => Ok(Self::ByEntity {
                entity: CertificateEntity::from_code(*entity)?,
                kind: CertificateType::from_code(*kind)?,
                title: title[..]
                    .try_into()
                    .map(SystemTitle)
                    .map_err(|_| SecurityError::TitleLength { bytes: title.len() })?,
            }),
            (1, [Data::OctetString(serial), Data::OctetString(issuer)]) => Ok(Self::BySerial {
                serial: bounded("serial_number", serial, SERIAL_LEN_MAX)?,
                issuer: bounded("issuer", issuer, CERTIFICATE_LEN_MAX)?,
            }),
            (0 | 1, _) => Err(wrong),
            (code, _) => Err(SecurityError::UnknownCode {
                field: "certificate_identification_type",
                code: *code,
            }),
        }
    }
}

/// One entry of the list of certificates (attribute 6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Whose key.
    pub entity: CertificateEntity,
    /// What for.
    pub kind: CertificateType,
    /// The serial number, big-endian bytes.
    pub serial: Vec<u8>,
    /// The issuer's distinguished name in DER.
    pub issuer: Vec<u8>,
    /// The subject's distinguished name in DER.
    pub subject: Vec<u8>,
    /// The subject's other name; usually empty.
    pub subject_alternative: Vec<u8>,
}

impl CertificateInfo {
    /// The entry of a certificate.
    pub fn of(certificate: &Certificate, entity: CertificateEntity) -> Self {
        Self {
            entity,
            kind: CertificateType::of(certificate),
            serial: certificate.serial().to_vec(),
            issuer: certificate.issuer_der().to_vec(),
            subject: certificate.subject_der().to_vec(),
            subject_alternative: Vec::new(),
        }
    }

    /// The attribute's value.
    pub fn list_to_data(list: &[Self]) -> Data {
        Data::Array(
            list.iter()
                .map(|info| {
                    Data::Structure(vec![
                        Data::Enum(info.entity.code()),
                        Data::Enum(info.kind.code()),
                        Data::OctetString(info.serial.clone()),
                        Data::OctetString(info.issuer.clone()),
                        Data::OctetString(info.subject.clone()),
                        Data::OctetString(info.subject_alternative.clone()),
                    ])
                })
                .collect(),
        )
    }

    /// Reads the attribute's value, of up to [`CERTIFICATES_MAX`] entries.
    ///
    /// # Errors
    ///
    /// [`SecurityError::Payload`], [`SecurityError::UnknownCode`],
    /// [`SecurityError::FieldTooLong`].
    pub fn list_from_data(data: &Data) -> Result<Vec<Self>, SecurityError> {
        let wrong = SecurityError::Payload {
            field: "certificates",
        };
        let Data::Array(elements) = data else {
            return Err(wrong);
        };
        if elements.len() > CERTIFICATES_MAX {
            return Err(wrong);
        }
        elements
            .iter()
            .map(|element| {
                let Data::Structure(members) = element else {
                    return Err(wrong);
                };
                let [
                    Data::Enum(entity),
                    Data::Enum(kind),
                    Data::OctetString(serial),
                    Data::OctetString(issuer),
                    Data::OctetString(subject),
                    Data::OctetString(alternative),
                ] = &members[..]
                else {
                    return Err(wrong);
                };
                let long = CERTIFICATE_LEN_MAX;
                Ok(Self {
                    entity: CertificateEntity::from_code(*entity)?,
                    kind: CertificateType::from_code(*kind)?,
                    serial: bounded("serial_number", serial, SERIAL_LEN_MAX)?,
                    issuer: bounded("issuer", issuer, long)?,
                    subject: bounded("subject", subject, long)?,
                    subject_alternative: bounded("subject_alt_name", alternative, long)?,
                })
            })
            .collect()
    }
}

fn bounded(field: &'static str, bytes: &[u8], max: usize) -> Result<Vec<u8>, SecurityError> {
    if bytes.len() <= max {
        Ok(bytes.to_vec())
    } else {
        Err(SecurityError::FieldTooLong {
            field,
            bytes: bytes.len(),
            max,
        })
    }
}
