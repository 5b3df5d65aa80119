//! Security setup (class 64, version 1): which protection a meter demands, whose certificates it
//! has, and the methods by which keys change.
//!
//! Certificates and the policy are decided here. What needs keys or entropy comes out as a
//! [`SecurityRequest`], which the meter carries out at its `SecurityDesk` and answers itself. Keys
//! are transferred and agreed on (methods 2 and 3) by the server, which alone holds them.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridloom_core::{SystemTitle, UtcTime};
use gridloom_dlms::apdu::{ActionResult, DataAccessResult};
use gridloom_dlms::axdr::Data;
pub use gridloom_dlms::security::PolicyBits;
use gridloom_dlms::security::{
    CERTIFICATE_LEN_MAX, Certificate, CertificateEntity, CertificateIdentification,
    CertificateInfo, CertificateType, Curve, PeerKeys, PublicKey, SecurityError, SecuritySuite,
};

use super::retained::{Keeper, Kept, RetainedError};
use super::shape;

/// Certificates that a meter keeps besides those it trusts from the factory; importing one more
/// is refused.
pub const STORED_CERTIFICATES_MAX: usize = 16;

const VERSION: u8 = 1;
const OBJECT: &str = "security-setup";
const POINT_LEN_MAX: usize = 96;

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
    /// Method 1: put the policy in force, then call [`SecuritySetup::handle_policy`]; returns
    /// nothing.
    Activate(PolicyBits),
    /// Method 4: draw a key pair, then call [`SecuritySetup::handle_key_pair`]; returns nothing.
    GenerateKeyPair(CertificateType),
    /// Method 5: returns a certificate request for the key pair, as an octet string in DER.
    RequestCertificate(CertificateType),
}

/// What an invoked method led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecurityOutcome {
    /// It is done; this is returned. After methods 6 and 8 the setup has changed: keep it.
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
    policy: PolicyBits,
    stored: Vec<Stored>,
    /// The meter's own public keys, each kind at most once.
    own: Vec<(CertificateType, PublicKey)>,
}

impl SecuritySetup {
    /// The setup of the meter `server_title`.
    pub fn new(config: Arc<SecuritySetupConfig>, server_title: SystemTitle) -> Self {
        Self {
            policy: config.policy,
            config,
            server_title,
            stored: Vec::new(),
            own: Vec::new(),
        }
    }

    /// The protection that is demanded now.
    pub const fn policy(&self) -> PolicyBits {
        self.policy
    }

    /// A policy is in force.
    pub const fn handle_policy(&mut self, policy: PolicyBits) {
        self.policy = policy;
    }

    /// The meter has a new key pair. Its certificate for an earlier one is dropped.
    pub fn handle_key_pair(&mut self, kind: CertificateType, public: PublicKey) {
        if kind == CertificateType::Other {
            return;
        }
        self.own.retain(|(other, _)| *other != kind);
        self.own.push((kind, public));
        self.stored.retain(|stored| {
            stored.entity != CertificateEntity::Server
                || CertificateType::of(&stored.certificate) != kind
        });
    }

    /// Takes over a certificate that was installed by hand: nobody verifies it. Says whether it
    /// did: not one for which there is no room, nor one of ours about another key.
    pub fn install(&mut self, certificate: Certificate) -> bool {
        match self.entity_of(&certificate) {
            Some(entity) => self.store(entity, certificate),
            None => false,
        }
    }

    /// Whether there are certificates but the trusted ones, which run out some day.
    pub const fn has_certificates(&self) -> bool {
        !self.stored.is_empty()
    }

    /// The public keys of everybody else whose certificates are valid at `at`, on the curve of
    /// the suite.
    pub fn peers(&self, at: UtcTime) -> BTreeMap<SystemTitle, PeerKeys> {
        let mut peers: BTreeMap<SystemTitle, PeerKeys> = BTreeMap::new();
        for stored in &self.stored {
            let certificate = &stored.certificate;
            let (from, to) = certificate.validity();
            let key = certificate.public_key();
            let Ok(title) = certificate.title() else {
                continue;
            };
            let is_of_use = stored.entity == CertificateEntity::Client
                && (from..=to).contains(&at)
                && self.config.suite.curve() == Some(key.curve());
            if !is_of_use {
                continue;
            }
            let key = Some(Box::new(key.clone()));
            match CertificateType::of(certificate) {
                CertificateType::Signature => peers.entry(title).or_default().signing = key,
                CertificateType::Agreement => peers.entry(title).or_default().agreement = key,
                CertificateType::Tls | CertificateType::Other => {}
            }
        }
        peers
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

    /// An attribute, 2 to 6, as the client with this title sees it.
    ///
    /// # Errors
    ///
    /// [`DataAccessResult::ObjectUndefined`] for any other.
    pub fn get(
        &self,
        attribute: i8,
        client: Option<SystemTitle>,
    ) -> Result<Data, DataAccessResult> {
        Ok(match attribute {
            2 => Data::Enum(self.policy.bits()),
            3 => Data::Enum(self.config.suite.code()),
            4 => Data::OctetString(client.map_or(Vec::new(), |title| title.0.to_vec())),
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

    /// Invokes a method, 1 or 4 to 8.
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
        if !matches!(method, 1 | 4..=8) {
            return Err(ActionResult::ObjectUndefined);
        }
        let parameters = shape::required(parameters)?;
        // Suite 0 has no public keys.
        if method > 3 && self.config.suite.curve().is_none() {
            return Err(ActionResult::ObjectUnavailable);
        }
        let requested = |request| Ok(SecurityOutcome::Requested(request));
        match method {
            1 => self.activate(parameters),
            4 => requested(SecurityRequest::GenerateKeyPair(
                CertificateType::from_key_pair_data(parameters).map_err(|error| refusal(&error))?,
            )),
            5 => {
                let kind = CertificateType::from_key_pair_data(parameters)
                    .map_err(|error| refusal(&error))?;
                if self.own_key(kind).is_none() {
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
    fn activate(&self, parameters: &Data) -> Result<SecurityOutcome, ActionResult> {
        let policy = PolicyBits::new(shape::enumeration(parameters)?);
        let policy = policy.filter(|policy| policy.covers(self.policy));
        let request = SecurityRequest::Activate(policy.ok_or(ActionResult::OtherReason)?);
        Ok(SecurityOutcome::Requested(request))
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
        let entity = self.entity_of(&certificate);
        let entity = entity.ok_or(ActionResult::OtherReason)?;
        if self.store(entity, certificate) {
            Ok(SecurityOutcome::Done(None))
        } else {
            Err(ActionResult::OtherReason)
        }
    }

    /// Whose certificate it is; `None` for one of ours that is about a key that we do not have.
    fn entity_of(&self, certificate: &Certificate) -> Option<CertificateEntity> {
        let title = certificate.title();
        Some(if certificate.is_authority() {
            CertificateEntity::Authority
        } else if title
            .as_ref()
            .is_ok_and(|title| *title == self.server_title)
        {
            let kind = CertificateType::of(certificate);
            if self.own_key(kind) != Some(certificate.public_key()) {
                return None;
            }
            CertificateEntity::Server
        } else if title.is_ok() {
            CertificateEntity::Client
        } else {
            CertificateEntity::Other
        })
    }

    /// A newer one takes the place of its predecessor. Says whether there was room.
    fn store(&mut self, entity: CertificateEntity, certificate: Certificate) -> bool {
        let kind = CertificateType::of(&certificate);
        self.stored.retain(|stored| {
            stored.entity != entity
                || CertificateType::of(&stored.certificate) != kind
                || stored.certificate.subject_der() != certificate.subject_der()
        });
        if self.stored.len() == STORED_CERTIFICATES_MAX {
            return false;
        }
        self.stored.push(Stored {
            entity,
            certificate,
        });
        true
    }

    fn own_key(&self, kind: CertificateType) -> Option<&PublicKey> {
        let mut own = self.own.iter();
        own.find_map(|(other, key)| (*other == kind).then_some(key))
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
        keeper.byte(self.policy.bits());
        keeper.list(self.stored.iter(), |keeper, stored| {
            keeper.byte(stored.entity.code());
            keeper.octets(stored.certificate.as_der());
        });
        for kind in KEY_PAIRS {
            keeper.option(self.own_key(kind), |keeper, key| {
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
        for kind in KEY_PAIRS {
            let key = kept.option("own key", |kept| {
                let curve = if kept.flag("curve")? {
                    Curve::P384
                } else {
                    Curve::P256
                };
                let point = kept.octets("own key", POINT_LEN_MAX)?;
                PublicKey::from_bytes(curve, point).map_err(|_| kept.impossible("own key"))
            })?;
            setup.own.extend(key.map(|key| (kind, key)));
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

/// What the meter's own key pairs are for, in the order in which they are kept.
pub(crate) const KEY_PAIRS: [CertificateType; 3] = [
    CertificateType::Signature,
    CertificateType::Agreement,
    CertificateType::Tls,
];

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
