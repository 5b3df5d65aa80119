//! X.509 certificates of devices and authorities on the curves of suites 1 and 2
//! (IEC 62056-5-3, 9.2.6.4): whose key it is, for what, for how long, and who says so.

use core::fmt;

use gridloom_core::{SystemTitle, UtcTime};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{self, Decode as _, Encode as _, Reader as _, SliceReader};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};
use x509_cert::name::Name;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::curve::PublicKey;
use super::error::SecurityError;
use super::suite::Curve;

/// Bytes of the longest certificate or certificate request; longer ones are refused.
pub const CERTIFICATE_LEN_MAX: usize = 4_096;

/// Why a certificate or a certificate request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// More bytes than any certificate of a device needs.
    #[error("certificate: {bytes} bytes, at most {CERTIFICATE_LEN_MAX} are allowed")]
    TooLong {
        /// How many there are.
        bytes: usize,
    },
    /// Bytes that are no certificate, or not in DER.
    #[error("certificate: {0}; export it again, in DER")]
    Malformed(#[from] der::Error),
    /// A key of another kind than suites 1 and 2 use.
    #[error("certificate: key of algorithm {oid}, one on P-256 or P-384 wanted")]
    KeyAlgorithm {
        /// The algorithm or curve.
        oid: ObjectIdentifier,
    },
    /// A signature of another kind than its signer's curve makes.
    #[error("certificate: signed by algorithm {oid}, ECDSA with the signer's hash wanted")]
    SignatureAlgorithm {
        /// The algorithm.
        oid: ObjectIdentifier,
    },
    /// A key that is no point of its curve, or a signature that does not verify.
    #[error("certificate: {0}")]
    Key(#[from] SecurityError),
    /// An extension that must be understood and is not.
    #[error("certificate: critical extension {oid} is not understood; issue it without")]
    CriticalExtension {
        /// The extension.
        oid: ObjectIdentifier,
    },
    /// The signer is not the one that the certificate names.
    #[error("certificate: issued by {issuer}, not by {authority}; import its issuer's certificate")]
    OtherIssuer {
        /// Who it names.
        issuer: String,
        /// Who was to verify it.
        authority: String,
    },
    /// The signer may not issue certificates, or not for authorities.
    #[error("certificate: {authority} is no authority that may issue it; compare key usage")]
    NoAuthority {
        /// Who signed it.
        authority: String,
    },
    /// Not valid at this time.
    #[error(
        "certificate: of {subject} is valid from {} to {} (seconds since 1970), asked at {}; renew \
         it, or set the clock", from.as_secs(), to.as_secs(), at.as_secs()
    )]
    NotValid {
        /// Whose it is.
        subject: String,
        /// The first moment.
        from: UtcTime,
        /// The last moment.
        to: UtcTime,
        /// When it was asked.
        at: UtcTime,
    },
    /// The common name of a device is not its system title.
    #[error("certificate: common name {name:?} is no system title of 16 hexadecimal digits")]
    NoTitle {
        /// The common name.
        name: String,
    },
}

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyUsages {
    /// Signing APDUs and challenges.
    pub digital_signature: bool,
    /// Static keys of key agreement.
    pub key_agreement: bool,
    /// Issuing certificates.
    pub certificate_signing: bool,
}

/// A certificate that has been read, but not verified.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    /// The part that is signed, within `der`.
    signed: core::ops::Range<usize>,
    algorithm: ObjectIdentifier,
    signature: Vec<u8>,
    public_key: PublicKey,
    common_name: String,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    issuer_name: String,
    serial: Vec<u8>,
    usages: KeyUsages,
    /// Whether it may issue at all, and how many authorities may stand below it.
    authority: Option<Option<u8>>,
    from: UtcTime,
    to: UtcTime,
}

impl Certificate {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    ///
    /// Bytes that are too many or no certificate, another kind of key, or a critical extension
    /// that is not understood.
    pub fn from_der(bytes: &[u8]) -> Result<Self, CertificateError> {
        if bytes.len() > CERTIFICATE_LEN_MAX {
            return Err(CertificateError::TooLong { bytes: bytes.len() });
        }
        let certificate = x509_cert::Certificate::from_der(bytes)?;
        let tbs = certificate.tbs_certificate();
        if tbs.signature() != certificate.signature_algorithm() {
            return Err(CertificateError::SignatureAlgorithm {
                oid: tbs.signature().oid,
            });
        }
        for extension in tbs.extensions().map_or(&[][..], |all| all) {
            if extension.critical && !UNDERSTOOD.contains(&extension.extn_id) {
                return Err(CertificateError::CriticalExtension {
                    oid: extension.extn_id,
                });
            }
        }
        let usage = tbs.get_extension::<KeyUsage>()?.map(|(_, usage)| usage);
        let basic = tbs
            .get_extension::<BasicConstraints>()?
            .map(|(_, basic)| basic);
        let validity = tbs.validity();
        Ok(Self {
            der: bytes.to_vec(),
            signed: signed_part(bytes)?,
            algorithm: certificate.signature_algorithm().oid,
            signature: certificate.signature().raw_bytes().to_vec(),
            public_key: public_key(tbs.subject_public_key_info())?,
            common_name: common_name(tbs.subject())?,
            subject: tbs.subject().to_der()?,
            issuer: tbs.issuer().to_der()?,
            issuer_name: tbs.issuer().to_string(),
            serial: tbs.serial_number().as_bytes().to_vec(),
            usages: usage.map_or_else(KeyUsages::default, |usage| KeyUsages {
                digital_signature: usage.digital_signature(),
                key_agreement: usage.key_agreement(),
                certificate_signing: usage.key_cert_sign(),
            }),
            authority: basic
                .filter(|basic| basic.ca)
                .map(|basic| basic.path_len_constraint),
            from: time(validity.not_before.to_unix_duration()),
            to: time(validity.not_after.to_unix_duration()),
        })
    }

    /// The certificate as it came.
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// The common name of the subject: of a device its system title, of an authority its name.
    pub fn common_name(&self) -> &str {
        &self.common_name
    }

    /// The system title of the device whose key it is: 16 hexadecimal digits of common name.
    ///
    /// # Errors
    ///
    /// [`CertificateError::NoTitle`].
    pub fn title(&self) -> Result<SystemTitle, CertificateError> {
        title(&self.common_name)
    }

    /// The key that it is about.
    pub const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// What the key may be used for; nothing if the certificate does not say.
    pub const fn usages(&self) -> KeyUsages {
        self.usages
    }

    /// Whether it is an authority's.
    pub const fn is_authority(&self) -> bool {
        self.authority.is_some()
    }

    /// Its serial number, as its issuer counts: big-endian bytes.
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// The subject's distinguished name in DER.
    pub fn subject_der(&self) -> &[u8] {
        &self.subject
    }

    /// The issuer's distinguished name in DER.
    pub fn issuer_der(&self) -> &[u8] {
        &self.issuer
    }

    /// The first and the last moment at which it is valid.
    pub const fn validity(&self) -> (UtcTime, UtcTime) {
        (self.from, self.to)
    }

    /// Verifies that `authority` issued it, and that both are valid at `at`. One link of a chain:
    /// the authority is verified in the same way, up to one that was installed by hand.
    ///
    /// # Errors
    ///
    /// Another issuer, one that may not issue it, a certificate out of date, another signature
    /// algorithm than the authority's key has, or a signature that does not verify.
    pub fn verify(&self, authority: &Self, at: UtcTime) -> Result<(), CertificateError> {
        if self.issuer != authority.subject {
            return Err(CertificateError::OtherIssuer {
                issuer: self.issuer_name.clone(),
                authority: authority.common_name.clone(),
            });
        }
        let is_itself = self.der == authority.der;
        let may_issue = match authority.authority {
            None => false,
            // Nobody below it may issue in turn, unless it is about itself.
            Some(Some(0)) => is_itself || !self.is_authority(),
            Some(Some(_) | None) => true,
        };
        if !may_issue || !authority.usages.certificate_signing {
            return Err(CertificateError::NoAuthority {
                authority: authority.common_name.clone(),
            });
        }
        for one in [self, authority] {
            if at < one.from || at > one.to {
                return Err(CertificateError::NotValid {
                    subject: one.common_name.clone(),
                    from: one.from,
                    to: one.to,
                    at,
                });
            }
        }
        verify_signature(
            &authority.public_key,
            self.algorithm,
            &self.der[self.signed.clone()],
            &self.signature,
        )
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("common_name", &self.common_name)
            .field("issuer", &self.issuer_name)
            .field("public_key", &self.public_key)
            .finish_non_exhaustive()
    }
}

/// The first element of the outer sequence: what is signed, as it came.
pub(super) fn signed_part(bytes: &[u8]) -> Result<core::ops::Range<usize>, der::Error> {
    let mut reader = SliceReader::new(bytes)?;
    der::Header::decode(&mut reader)?;
    let start = usize::try_from(reader.position())?;
    Ok(start..start + reader.tlv_bytes()?.len())
}

/// Verifies a signature in DER by the key, whose curve decides the hash.
pub(super) fn verify_signature(
    key: &PublicKey,
    algorithm: ObjectIdentifier,
    signed: &[u8],
    signature: &[u8],
) -> Result<(), CertificateError> {
    if algorithm != signature_algorithm(key.curve()) {
        return Err(CertificateError::SignatureAlgorithm { oid: algorithm });
    }
    Ok(key.verify_der(signed, signature)?)
}

/// The public key of a certificate or request.
pub(super) fn public_key(info: &SubjectPublicKeyInfoOwned) -> Result<PublicKey, CertificateError> {
    if info.algorithm.oid != EC_PUBLIC_KEY {
        return Err(CertificateError::KeyAlgorithm {
            oid: info.algorithm.oid,
        });
    }
    let named = info
        .algorithm
        .parameters
        .as_ref()
        .map(|parameters| parameters.decode_as::<ObjectIdentifier>());
    let curve = match named {
        Some(Ok(P256)) => Curve::P256,
        Some(Ok(P384)) => Curve::P384,
        Some(Ok(oid)) => return Err(CertificateError::KeyAlgorithm { oid }),
        Some(Err(error)) => return Err(error.into()),
        None => return Err(CertificateError::KeyAlgorithm { oid: EC_PUBLIC_KEY }),
    };
    let point = info.subject_public_key.raw_bytes();
    Ok(PublicKey::from_sec1(curve, point)?)
}

/// How the public key of a curve is named.
pub(super) fn key_algorithm(curve: Curve) -> AlgorithmIdentifierOwned {
    let oid = match curve {
        Curve::P256 => P256,
        Curve::P384 => P384,
    };
    AlgorithmIdentifierOwned {
        oid: EC_PUBLIC_KEY,
        parameters: Some((&oid).into()),
    }
}

/// How a signature by a key of a curve is named.
pub(super) const fn signature_algorithm(curve: Curve) -> ObjectIdentifier {
    match curve {
        Curve::P256 => ECDSA_SHA256,
        Curve::P384 => ECDSA_SHA384,
    }
}

/// The common name of a subject; empty if it has none.
pub(super) fn common_name(name: &Name) -> Result<String, der::Error> {
    Ok(name
        .common_name()?
        .map_or_else(String::new, |name| name.value().into_owned()))
}

/// A system title as a common name writes it.
pub(super) fn title(name: &str) -> Result<SystemTitle, CertificateError> {
    SystemTitle::parse(name).ok_or_else(|| CertificateError::NoTitle {
        name: name.to_owned(),
    })
}

fn time(since_epoch: core::time::Duration) -> UtcTime {
    // A certificate's years have four digits.
    UtcTime::from_secs(i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX))
}

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");

/// Key usage and basic constraints are obeyed; extended key usage and policies only narrow what
/// a key is for outside DLMS/COSEM.
const UNDERSTOOD: [ObjectIdentifier; 4] = [
    ObjectIdentifier::new_unwrap("2.5.29.15"),
    ObjectIdentifier::new_unwrap("2.5.29.19"),
    ObjectIdentifier::new_unwrap("2.5.29.37"),
    ObjectIdentifier::new_unwrap("2.5.29.32"),
];
