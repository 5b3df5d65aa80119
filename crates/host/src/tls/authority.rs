//! The utility's certificate authority: signs certificates and revocation lists. It reads no
//! clock, file or entropy; its caller does.

use std::net::IpAddr;
use std::str::FromStr as _;
use std::time::{Duration, UNIX_EPOCH};

use gridloom_core::UtcTime;
use p256::SecretKey;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use x509_cert::Certificate;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder as _, CertificateBuilder, CrlBuilder};
use x509_cert::certificate::{Rfc5280, TbsCertificate};
use x509_cert::crl::RevokedCert;
use x509_cert::der::asn1::{Ia5String, ObjectIdentifier, OctetString};
use x509_cert::der::pem::LineEnding;
use x509_cert::der::{DecodePem as _, EncodePem as _};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, CrlNumber, CrlReason, ExtendedKeyUsage, KeyUsage,
    KeyUsages, SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::ext::{Extension, ToExtension as _};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{SubjectPublicKeyInfo, SubjectPublicKeyInfoRef};
use x509_cert::time::{Time, Validity};
use zeroize::Zeroizing;

use super::identity::{NodeName, Serial};

/// The longest life of a node's certificate, in days.
pub const DAYS_MAX: u32 = 825;

/// Bytes of a host's name (RFC 1035 §2.3.4); a longer one is refused.
const HOST_BYTES_MAX: usize = 253;

/// Hosts of one certificate; more are refused.
pub const HOSTS_MAX: usize = 32;

/// id-kp-serverAuth and id-kp-clientAuth (RFC 5280 §4.2.1.12): an edge listens and dials.
const BOTH_ENDS: [ObjectIdentifier; 2] = [
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1"),
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2"),
];

/// Why the authority signs nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// Its certificate or key cannot be read.
    #[error("authority: {field}: {what}: restore it from a backup")]
    Unreadable {
        /// Which of them.
        field: &'static str,
        /// What is wrong.
        what: String,
    },
    /// The certificate is of another key.
    #[error("authority: the key is not that of the certificate: restore both from one backup")]
    OtherKey,
    /// A value cannot stand in a certificate.
    #[error("authority: {field} = {value:?} cannot stand in a certificate: {what}")]
    Field {
        /// Which.
        field: &'static str,
        /// The value.
        value: String,
        /// What is wrong, and the remedy.
        what: &'static str,
    },
    /// The library refused to build it.
    #[error("authority: signing failed: {0}")]
    Signing(String),
}

/// From when to when something counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// From then.
    pub not_before: UtcTime,
    /// Until then.
    pub not_after: UtcTime,
}

/// What a node's certificate shall say.
#[derive(Debug, Clone)]
pub struct Order<'a> {
    /// Whose it is.
    pub node: &'a NodeName,
    /// Host names and addresses at which it may be dialled; none means any.
    pub hosts: &'a [String],
    /// Its serial number, never used before under this authority.
    pub serial: &'a Serial,
    /// How long it counts.
    pub term: Term,
}

/// Why a certificate is taken back (RFC 5280 §5.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Not said.
    Unspecified,
    /// Somebody else may have the key.
    KeyCompromise,
    /// The node changed hands.
    AffiliationChanged,
    /// Another certificate stands in.
    Superseded,
    /// The node is out of service.
    CessationOfOperation,
    /// It may not any more what it might.
    PrivilegeWithdrawn,
}

/// One entry of a revocation list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// The certificate's number.
    pub serial: Serial,
    /// Since when.
    pub at: UtcTime,
    /// Why.
    pub reason: Reason,
}

/// The authority's key and certificate.
pub struct Authority {
    key: SigningKey,
    certificate: Certificate,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// A P-256 key of 32 bytes from the system's entropy; `None` for one of the few values that are
/// no key: draw again.
pub fn key_of_bytes(bytes: &[u8; 32]) -> Option<SecretKey> {
    SecretKey::from_slice(bytes).ok()
}

impl Authority {
    /// A new authority that signs itself, and nobody who signs others.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Field`] if `utility` or the term cannot stand in a certificate.
    pub fn found(
        utility: &str,
        key: &SecretKey,
        serial: &Serial,
        term: Term,
    ) -> Result<Self, AuthorityError> {
        let key = SigningKey::from(key);
        // The number keeps two authorities of one utility apart.
        let number = serial.to_string();
        let subject = name(&[
            ("CN", &format!("gridloom authority {number}")),
            ("O", utility),
        ])?;
        let profile = Profile {
            issuer: subject.clone(),
            subject,
            kind: Kind::Authority,
        };
        let certificate = sign(profile, serial, term, &key, &key)?;
        Ok(Self { key, certificate })
    }

    /// Reads what [`Self::certificate_pem`] and [`Self::key_pem`] gave.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Unreadable`], [`AuthorityError::OtherKey`].
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        let unreadable = |field, what: String| AuthorityError::Unreadable { field, what };
        let certificate = Certificate::from_pem(certificate)
            .map_err(|error| unreadable("certificate", error.to_string()))?;
        // The words of the key's reader could tell of the key.
        let key = SecretKey::from_pkcs8_pem(key)
            .map_err(|_| unreadable("key", "it is no PKCS #8 key of P-256 in PEM".to_owned()))?;
        let key = SigningKey::from(&key);
        let public = SubjectPublicKeyInfo::from_key(key.verifying_key())
            .map_err(|error| AuthorityError::Signing(error.to_string()))?;
        if *certificate.tbs_certificate().subject_public_key_info() != public {
            return Err(AuthorityError::OtherKey);
        }
        Ok(Self { key, certificate })
    }

    /// The certificate, for everybody.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Signing`] in the words of the library.
    pub fn certificate_pem(&self) -> Result<String, AuthorityError> {
        self.certificate.to_pem(LineEnding::LF).map_err(signing)
    }

    /// The private key, for nobody else.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Signing`] in the words of the library.
    pub fn key_pem(&self) -> Result<Zeroizing<String>, AuthorityError> {
        let key = SecretKey::from(self.key.as_nonzero_scalar());
        key.to_pkcs8_pem(LineEnding::LF).map_err(signing)
    }

    /// When the authority itself ends.
    pub fn not_after(&self) -> UtcTime {
        let validity = self.certificate.tbs_certificate().validity();
        let seconds = validity.not_after.to_unix_duration().as_secs();
        UtcTime::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX / 1_000))
    }

    /// Signs a certificate for a node's new key: both in one PEM text, the certificate first.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Field`] if a host or the term cannot stand in a certificate.
    pub fn issue(
        &self,
        order: &Order<'_>,
        key: &SecretKey,
    ) -> Result<Zeroizing<String>, AuthorityError> {
        if order.hosts.len() > HOSTS_MAX {
            return Err(AuthorityError::Field {
                field: "hosts",
                value: order.hosts.len().to_string(),
                what: "give at most 32",
            });
        }
        let mut names = vec![GeneralName::UniformResourceIdentifier(ia5(
            "name",
            &order.node.uri(),
        )?)];
        for host in order.hosts {
            names.push(host_name(host)?);
        }
        let profile = Profile {
            issuer: self.certificate.tbs_certificate().subject().clone(),
            subject: name(&[("CN", order.node.name()), ("OU", order.node.role_word())])?,
            kind: Kind::Node(SubjectAltName(names)),
        };
        let own = SigningKey::from(key);
        let certificate = sign(profile, order.serial, order.term, &own, &self.key)?;
        let mut text = Zeroizing::new(certificate.to_pem(LineEnding::LF).map_err(signing)?);
        let key = key.to_pkcs8_pem(LineEnding::LF).map_err(signing)?;
        text.push_str(&key);
        Ok(text)
    }

    /// Signs the list of what is revoked, in PEM. `number` grows with every list.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Field`] if the term cannot stand in a list.
    pub fn revocation_list(
        &self,
        number: u64,
        term: Term,
        revoked: &[Revoked],
    ) -> Result<String, AuthorityError> {
        let number = CrlNumber::try_from(number).map_err(signing)?;
        let mut list = CrlBuilder::<Rfc5280>::new_with_this_update(
            &self.certificate,
            number,
            time(term.not_before)?,
        )
        .map_err(signing)?
        .with_next_update(Some(time(term.not_after)?));
        if !revoked.is_empty() {
            let issuer = self.certificate.tbs_certificate().subject();
            let entries: Result<Vec<RevokedCert>, AuthorityError> = revoked
                .iter()
                .map(|entry| {
                    Ok(RevokedCert {
                        serial_number: serial_number(&entry.serial)?,
                        revocation_date: time(entry.at)?,
                        crl_entry_extensions: match code(entry.reason) {
                            Some(code) => {
                                Some(vec![(&code).to_extension(issuer, &[]).map_err(signing)?])
                            }
                            None => None,
                        },
                    })
                })
                .collect();
            list = list.with_certificates(entries?.into_iter());
        }
        list.build::<_, DerSignature>(&self.key)
            .map_err(signing)?
            .to_pem(LineEnding::LF)
            .map_err(signing)
    }
}

enum Kind {
    Authority,
    Node(SubjectAltName),
}

struct Profile {
    issuer: Name,
    subject: Name,
    kind: Kind,
}

impl BuilderProfile for Profile {
    fn get_issuer(&self, _subject: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        own: SubjectPublicKeyInfoRef<'_>,
        issuer: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        let subject = tbs.subject();
        let mut extensions = Vec::new();
        extensions.push((&SubjectKeyIdentifier::try_from(own)?).to_extension(subject, &[])?);
        extensions.push((&AuthorityKeyIdentifier::try_from(issuer)?).to_extension(subject, &[])?);
        let (constraints, usage) = match &self.kind {
            Kind::Authority => (
                BasicConstraints {
                    ca: true,
                    path_len_constraint: Some(0),
                },
                KeyUsages::KeyCertSign | KeyUsages::CRLSign,
            ),
            Kind::Node(_) => (
                BasicConstraints {
                    ca: false,
                    path_len_constraint: None,
                },
                KeyUsages::DigitalSignature.into(),
            ),
        };
        extensions.push((&constraints).to_extension(subject, &[])?);
        extensions.push((&KeyUsage(usage)).to_extension(subject, &[])?);
        if let Kind::Node(names) = &self.kind {
            let ends = ExtendedKeyUsage(BOTH_ENDS.to_vec());
            extensions.push((&ends).to_extension(subject, &[])?);
            extensions.push(names.to_extension(subject, &[])?);
        }
        Ok(extensions)
    }
}

fn sign(
    profile: Profile,
    serial: &Serial,
    term: Term,
    own: &SigningKey,
    issuer: &SigningKey,
) -> Result<Certificate, AuthorityError> {
    let validity = Validity::new(time(term.not_before)?, time(term.not_after)?);
    let public = SubjectPublicKeyInfo::from_key(own.verifying_key()).map_err(signing)?;
    CertificateBuilder::new(profile, serial_number(serial)?, validity, public)
        .and_then(|builder| builder.build::<_, DerSignature>(issuer))
        .map_err(signing)
}

fn signing(error: impl std::fmt::Display) -> AuthorityError {
    AuthorityError::Signing(error.to_string())
}

fn serial_number(serial: &Serial) -> Result<SerialNumber, AuthorityError> {
    SerialNumber::new(serial.bytes()).map_err(signing)
}

fn time(at: UtcTime) -> Result<Time, AuthorityError> {
    let refused = || AuthorityError::Field {
        field: "validity",
        value: at.to_string(),
        what: "give a time from 1970 to 9999",
    };
    let seconds = u64::try_from(at.as_secs()).map_err(|_| refused())?;
    let system = UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .ok_or_else(refused)?;
    Time::try_from(system).map_err(|_| refused())
}

/// A name of these parts, each value as it is.
fn name(parts: &[(&str, &str)]) -> Result<Name, AuthorityError> {
    let text: Vec<String> = parts
        .iter()
        .map(|(key, value)| format!("{key}={}", escaped(value.trim())))
        .collect();
    Name::from_str(&text.join(",")).map_err(|_| AuthorityError::Field {
        field: "subject",
        value: text.join(","),
        what: "give plain letters",
    })
}

/// A value as RFC 4514 §2.4 writes it.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for letter in value.chars() {
        if ",+\"\\<>;=#".contains(letter) {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

fn ia5(field: &'static str, value: &str) -> Result<Ia5String, AuthorityError> {
    Ia5String::new(value).map_err(|_| AuthorityError::Field {
        field,
        value: value.to_owned(),
        what: "give ASCII letters",
    })
}

fn host_name(host: &str) -> Result<GeneralName, AuthorityError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        let bytes = match address {
            IpAddr::V4(address) => OctetString::new(address.octets()),
            IpAddr::V6(address) => OctetString::new(address.octets()),
        };
        return bytes.map(GeneralName::IpAddress).map_err(signing);
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if host.is_empty() || host.len() > HOST_BYTES_MAX || !host.bytes().all(is_plain) {
        return Err(AuthorityError::Field {
            field: "host",
            value: host.to_owned(),
            what: "give a host name or an IP address",
        });
    }
    ia5("host", &host.to_ascii_lowercase()).map(GeneralName::DnsName)
}

/// `None` where the standard wants it left out (RFC 5280 §5.3.1).
const fn code(reason: Reason) -> Option<CrlReason> {
    match reason {
        Reason::Unspecified => None,
        Reason::KeyCompromise => Some(CrlReason::KeyCompromise),
        Reason::AffiliationChanged => Some(CrlReason::AffiliationChanged),
        Reason::Superseded => Some(CrlReason::Superseded),
        Reason::CessationOfOperation => Some(CrlReason::CessationOfOperation),
        Reason::PrivilegeWithdrawn => Some(CrlReason::PrivilegeWithdrawn),
    }
}
