//! Security setup (class 64, version 1): which protection a meter demands, whose certificates it
//! has, and the methods by which keys change.
//!
//! Certificates and the policy are decided here. What needs keys or entropy comes out as a
//! [`SecurityRequest`], which the meter carries out with its `DeviceSecurity` and answers itself.

use std::sync::Arc;

use gridloom_core::{SystemTitle, UtcTime};
use gridloom_dlms::apdu::{ActionResult, DataAccessResult};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::security::{
    CERTIFICATE_LEN_MAX, Certificate, CertificateEntity, CertificateIdentification,
    CertificateInfo, CertificateType, Curve, KeyAgreement, KeyTransfer, PublicKey, SecurityError,
    SecuritySuite,
};

use super::retained::{Keeper, Kept, RetainedError};
use super::shape;

/// Certificates that a meter keeps besides those it trusts from the factory; importing one more
/// is refused.
pub const STORED_CERTIFICATES_MAX: usize = 16;

const VERSION: u8 = 1;
const OBJECT: &str = "security-setup";
const POINT_LEN_MAX: usize = 96;

/// What must be protected how (attribute 2, version 1): a bit for each of authentication,
/// encryption and signature of requests (bits 2–4) and of responses (bits 5–7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PolicyBits(u8);

impl PolicyBits {
    /// Nothing is demanded.
    pub const NONE: Self = Self(0);
    /// Requests and responses are authenticated and encrypted.
    pub const AUTHENTICATED_ENCRYPTION: Self = Self(0b0110_1100);
    /// The reserved bits.
    const RESERVED: u8 = 0b0000_0011;

    /// Reads the attribute's value; `None` if a reserved bit is set.
    pub const fn new(bits: u8) -> Option<Self> {
        if bits & Self::RESERVED == 0 {
            Some(Self(bits))
        } else {
            None
        }
    }

    /// The attribute's value.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether it demands all that `other` does.
    pub const fn covers(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether requests must be authenticated.
    pub const fn authenticates_requests(self) -> bool {
        self.0 & 0x04 != 0
    }

    /// Whether requests must be encrypted.
    pub const fn encrypts_requests(self) -> bool {
        self.0 & 0x08 != 0
    }

    /// Whether requests must be signed.
    pub const fn signs_requests(self) -> bool {
        self.0 & 0x10 != 0
    }
}

/// What every meter of a kind begins with.
#[derive(Debug, Clone)]
pub struct SecuritySetupConfig {
    /// The algorithms.
    pub suite: SecuritySuite,
    /// The protection from the factory.
    pub policy: PolicyBits,
    /// Authorities that were installed by hand; no client removes them.
    pub trusted: Vec<Certificate>,
}

/// What the meter must carry out, and answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecurityRequest {
    /// Method 2: unwrap with the master key and install all of them after the answer; returns
    /// nothing.
    TransferKeys(KeyTransfer),
    /// Method 3: verify, agree, install after the answer; returns the meter's own offer.
    AgreeKeys(KeyAgreement),
    /// Method 4: draw a key pair, then call [`SecuritySetup::handle_key_pair`]; returns nothing.
    GenerateKeyPair(CertificateType),
    /// Method 5: returns a certificate request for the key pair, as an octet string in DER.
    RequestCertificate(CertificateType),
}

/// What an invoked method led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecurityOutcome {
    /// It is done; this is returned. After methods 1, 6 and 8 the setup has changed: keep it, and
    /// apply [`SecuritySetup::policy`].
    Done(Option<Data>),
    /// The meter carries it out.
    Requested(SecurityRequest),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stored {
    entity: CertificateEntity,
    certificate: Certificate,
}

/// One security setup.
#[derive(Debug, Clone)]
pub struct SecuritySetup {
    config: Arc<SecuritySetupConfig>,
    server_title: SystemTitle,
    client_title: Option<SystemTitle>,
    policy: PolicyBits,
    stored: Vec<Stored>,
    /// The meter's own public keys: for signatures, key agreement, TLS.
    own: [Option<PublicKey>; 3],
}

impl SecuritySetup {
    /// The setup of the meter `server_title`.
    pub fn new(config: Arc<SecuritySetupConfig>, server_title: SystemTitle) -> Self {
        Self {
            policy: config.policy,
            config,
            server_title,
            client_title: None,
            stored: Vec::new(),
            own: [None, None, None],
        }
    }

    /// The protection that is demanded now.
    pub const fn policy(&self) -> PolicyBits {
        self.policy
    }

    /// A client has opened an association.
    pub const fn handle_client(&mut self, title: SystemTitle) {
        self.client_title = Some(title);
    }

    /// The meter has drawn a key pair. Its certificate for an earlier one is dropped.
    pub fn handle_key_pair(&mut self, kind: CertificateType, public: PublicKey) {
        let Some(place) = place_of(kind) else {
            return;
        };
        self.own[place] = Some(public);
        self.stored.retain(|stored| {
            stored.entity != CertificateEntity::Server
                || CertificateType::of(&stored.certificate) != kind
        });
    }

    /// The verified certificate of `title` for `kind`, if the meter has one that is valid at `at`.
    pub fn certificate(
        &self,
        title: SystemTitle,
        kind: CertificateType,
        at: UtcTime,
    ) -> Option<&Certificate> {
        self.stored
            .iter()
            .map(|stored| &stored.certificate)
            .find(|certificate| {
                let (from, to) = certificate.validity();
                certificate.title().is_ok_and(|found| found == title)
                    && CertificateType::of(certificate) == kind
                    && (from..=to).contains(&at)
            })
    }

    /// An attribute, 2 to 6.
    ///
    /// # Errors
    ///
    /// [`DataAccessResult::ObjectUndefined`] for any other.
    pub fn get(&self, attribute: i8) -> Result<Data, DataAccessResult> {
        Ok(match attribute {
            2 => Data::Enum(self.policy.0),
            3 => Data::Enum(self.config.suite.code()),
            4 => {
                let title = self
                    .client_title
                    .map_or(Vec::new(), |title| title.0.to_vec());
                Data::OctetString(title)
            }
            5 => Data::OctetString(self.server_title.0.to_vec()),
            6 => {
                let infos: Vec<CertificateInfo> = self
                    .entries()
                    .map(|(entity, certificate)| CertificateInfo::of(certificate, entity))
                    .collect();
                CertificateInfo::list_to_data(&infos)
            }
            _ => return Err(DataAccessResult::ObjectUndefined),
        })
    }

    /// Writes an attribute: none can be written; the methods change them.
    ///
    /// # Errors
    ///
    /// Always.
    pub const fn set(&self, attribute: i8) -> Result<(), DataAccessResult> {
        match attribute {
            2..=6 => Err(DataAccessResult::ReadWriteDenied),
            _ => Err(DataAccessResult::ObjectUndefined),
        }
    }

    /// Invokes a method, 1 to 8.
    ///
    /// # Errors
    ///
    /// [`ActionResult::OtherReason`] for a policy that is weaker, a certificate that nobody
    /// trusted has issued, or one that is not there;
    /// [`ActionResult::TypeUnmatched`] for parameters of another shape.
    pub fn invoke(
        &mut self,
        method: i8,
        parameters: Option<&Data>,
        at: UtcTime,
    ) -> Result<SecurityOutcome, ActionResult> {
        if !(1..=8).contains(&method) {
            return Err(ActionResult::ObjectUndefined);
        }
        let parameters = shape::required(parameters)?;
        // Suite 0 has no public keys.
        if method > 2 && self.config.suite.curve().is_none() {
            return Err(ActionResult::ObjectUnavailable);
        }
        let requested = |request| Ok(SecurityOutcome::Requested(request));
        match method {
            1 => self.activate(parameters),
            2 => requested(SecurityRequest::TransferKeys(
                KeyTransfer::from_data(parameters).map_err(|error| refusal(&error))?,
            )),
            3 => requested(SecurityRequest::AgreeKeys(
                KeyAgreement::from_data(parameters).map_err(|error| refusal(&error))?,
            )),
            4 => requested(SecurityRequest::GenerateKeyPair(
                CertificateType::from_key_pair_data(parameters).map_err(|error| refusal(&error))?,
            )),
            5 => {
                let kind = CertificateType::from_key_pair_data(parameters)
                    .map_err(|error| refusal(&error))?;
                if place_of(kind).is_none_or(|place| self.own[place].is_none()) {
                    return Err(ActionResult::OtherReason);
                }
                requested(SecurityRequest::RequestCertificate(kind))
            }
            6 => self.import(shape::octets(parameters, CERTIFICATE_LEN_MAX)?, at),
            7 => {
                let wanted = CertificateIdentification::from_data(parameters)
                    .map_err(|error| refusal(&error))?;
                let (_, certificate) = self
                    .entries()
                    .find(|(entity, certificate)| wanted.matches(certificate, *entity))
                    .ok_or(ActionResult::OtherReason)?;
                let der = Data::OctetString(certificate.as_der().to_vec());
                Ok(SecurityOutcome::Done(Some(der)))
            }
            _ => {
                let wanted = CertificateIdentification::from_data(parameters)
                    .map_err(|error| refusal(&error))?;
                let before = self.stored.len();
                self.stored
                    .retain(|stored| !wanted.matches(&stored.certificate, stored.entity));
                if self.stored.len() == before {
                    return Err(ActionResult::OtherReason);
                }
                Ok(SecurityOutcome::Done(None))
            }
        }
    }

    /// The policy only ever grows: whoever breaks in must not be able to switch it off.
    fn activate(&mut self, parameters: &Data) -> Result<SecurityOutcome, ActionResult> {
        let policy = PolicyBits::new(shape::enumeration(parameters)?);
        let policy = policy.filter(|policy| policy.covers(self.policy));
        self.policy = policy.ok_or(ActionResult::OtherReason)?;
        Ok(SecurityOutcome::Done(None))
    }

    fn import(&mut self, der: &[u8], at: UtcTime) -> Result<SecurityOutcome, ActionResult> {
        let certificate = Certificate::from_der(der).map_err(|_| ActionResult::OtherReason)?;
        // One without an authority that we know is nobody's word.
        let vouched = self
            .entries()
            .any(|(_, authority)| certificate.verify(authority, at).is_ok());
        if !vouched {
            return Err(ActionResult::OtherReason);
        }
        let kind = CertificateType::of(&certificate);
        let entity = if certificate.is_authority() {
            CertificateEntity::Authority
        } else if certificate
            .title()
            .is_ok_and(|title| title == self.server_title)
        {
            // Our own: it must be about a key that we have.
            let own = place_of(kind).and_then(|place| self.own[place].as_ref());
            if own != Some(certificate.public_key()) {
                return Err(ActionResult::OtherReason);
            }
            CertificateEntity::Server
        } else if certificate.title().is_ok() {
            CertificateEntity::Client
        } else {
            CertificateEntity::Other
        };
        // A newer one takes the place of its predecessor.
        self.stored.retain(|stored| {
            stored.entity != entity
                || CertificateType::of(&stored.certificate) != kind
                || stored.certificate.subject_der() != certificate.subject_der()
        });
        if self.stored.len() == STORED_CERTIFICATES_MAX {
            return Err(ActionResult::OtherReason);
        }
        self.stored.push(Stored {
            entity,
            certificate,
        });
        Ok(SecurityOutcome::Done(None))
    }

    fn entries(&self) -> impl Iterator<Item = (CertificateEntity, &Certificate)> {
        let trusted = self.config.trusted.iter();
        trusted
            .map(|certificate| (CertificateEntity::Authority, certificate))
            .chain(
                self.stored
                    .iter()
                    .map(|stored| (stored.entity, &stored.certificate)),
            )
    }

    /// Appends what the setup keeps.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut keeper = Keeper::new(VERSION, out);
        keeper.put(self.server_title.0);
        keeper.option(self.client_title, |keeper, title| keeper.put(title.0));
        keeper.byte(self.policy.0);
        keeper.list(self.stored.iter(), |keeper, stored| {
            keeper.byte(stored.entity.code());
            keeper.octets(stored.certificate.as_der());
        });
        for key in &self.own {
            keeper.option(key.as_ref(), |keeper, key| {
                keeper.flag(key.curve() == Curve::P384);
                keeper.octets(&key.to_bytes());
            });
        }
    }

    /// Takes over what a setup kept.
    ///
    /// # Errors
    ///
    /// Bytes that no setup wrote.
    pub fn decode(config: Arc<SecuritySetupConfig>, bytes: &[u8]) -> Result<Self, RetainedError> {
        let mut kept = Kept::open(OBJECT, VERSION, bytes)?;
        let server_title = SystemTitle(kept.array()?);
        let mut setup = Self::new(config, server_title);
        setup.client_title = kept.option("client title", Kept::array)?.map(SystemTitle);
        let policy = kept.u8()?;
        setup.policy = PolicyBits::new(policy).ok_or_else(|| kept.impossible("policy"))?;
        setup.stored = kept.list("certificates", STORED_CERTIFICATES_MAX, |kept| {
            let code = kept.u8()?;
            let entity = ENTITIES
                .into_iter()
                .find(|entity| entity.code() == code)
                .ok_or_else(|| kept.impossible("entity"))?;
            let der = kept.octets("certificate", CERTIFICATE_LEN_MAX)?;
            let certificate =
                Certificate::from_der(der).map_err(|_| kept.impossible("certificate"))?;
            Ok(Stored {
                entity,
                certificate,
            })
        })?;
        for key in &mut setup.own {
            *key = kept.option("own key", |kept| {
                let curve = if kept.flag("curve")? {
                    Curve::P384
                } else {
                    Curve::P256
                };
                let point = kept.octets("own key", POINT_LEN_MAX)?;
                PublicKey::from_bytes(curve, point).map_err(|_| kept.impossible("own key"))
            })?;
        }
        kept.finish()?;
        Ok(setup)
    }
}

const ENTITIES: [CertificateEntity; 4] = [
    CertificateEntity::Server,
    CertificateEntity::Client,
    CertificateEntity::Authority,
    CertificateEntity::Other,
];

/// The place of a key pair among the meter's own; no key pair is made for other things.
const fn place_of(kind: CertificateType) -> Option<usize> {
    match kind {
        CertificateType::Signature => Some(0),
        CertificateType::Agreement => Some(1),
        CertificateType::Tls => Some(2),
        CertificateType::Other => None,
    }
}

/// What a client is told of parameters that cannot be read.
fn refusal(error: &SecurityError) -> ActionResult {
    if matches!(error, SecurityError::Payload { .. }) {
        ActionResult::TypeUnmatched
    } else {
        ActionResult::OtherReason
    }
}

#[cfg(test)]
mod tests;
