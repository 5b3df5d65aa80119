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
mod tests {
    use gridloom_dlms::security::PrivateKey;

    use super::*;

    macro_rules! certificate {
        ($name:literal) => {
            include_bytes!(concat!("../../../dlms/tests/certificates/", $name, ".der"))
        };
    }

    const ROOT: &[u8] = certificate!("root");
    const SIGN: &[u8] = certificate!("meter-sign");
    const AGREE: &[u8] = certificate!("meter-agree");
    /// The title in the meter's certificates.
    const METER: SystemTitle = SystemTitle([0x4D, 0x4D, 0x4D, 0, 0, 0xBC, 0x61, 0x4E]);
    const OTHER: SystemTitle = SystemTitle([1; 8]);

    fn at() -> UtcTime {
        UtcTime::parse("2027-01-01T00:00:00Z").unwrap()
    }

    fn config(suite: SecuritySuite) -> Arc<SecuritySetupConfig> {
        Arc::new(SecuritySetupConfig {
            suite,
            policy: PolicyBits::NONE,
            trusted: vec![Certificate::from_der(ROOT).unwrap()],
        })
    }

    fn setup(title: SystemTitle) -> SecuritySetup {
        SecuritySetup::new(config(SecuritySuite::Suite1), title)
    }

    fn import(setup: &mut SecuritySetup, der: &[u8]) -> Result<SecurityOutcome, ActionResult> {
        setup.invoke(6, Some(&Data::OctetString(der.to_vec())), at())
    }

    const DONE: Result<SecurityOutcome, ActionResult> = Ok(SecurityOutcome::Done(None));

    #[test]
    fn the_policy_only_grows() {
        let mut setup = setup(METER);
        let cases = [
            (0x0C, DONE),
            (0x0C, DONE),
            (0x04, Err(ActionResult::OtherReason)),
            (0x6D, Err(ActionResult::OtherReason)),
            (0x6C, DONE),
            (0x0C, Err(ActionResult::OtherReason)),
        ];
        for (bits, expected) in cases {
            let done = setup.invoke(1, Some(&Data::Enum(bits)), at());
            assert_eq!(done, expected, "{bits:#x}");
        }
        assert_eq!(setup.policy(), PolicyBits::AUTHENTICATED_ENCRYPTION);
        assert_eq!(setup.get(2), Ok(Data::Enum(0x6C)));
        assert_eq!(setup.set(2), Err(DataAccessResult::ReadWriteDenied));
    }

    #[test]
    fn only_vouched_certificates_are_taken() {
        // Of a client: the meter has another title.
        let mut setup = setup(OTHER);
        let mut bent = SIGN.to_vec();
        let last = bent.len() - 1;
        bent[last] ^= 1;
        // The root lets no authority stand below it.
        let sub = certificate!("subca");
        for bad in [&bent[..], &SIGN[..100], &[], certificate!("root384"), sub] {
            assert_eq!(import(&mut setup, bad), Err(ActionResult::OtherReason));
        }
        let early = UtcTime::parse("2026-01-01T00:00:00Z").unwrap();
        let der = Data::OctetString(SIGN.to_vec());
        assert_eq!(
            setup.invoke(6, Some(&der), early),
            Err(ActionResult::OtherReason)
        );
        assert_eq!(import(&mut setup, SIGN), DONE);
        assert_eq!(import(&mut setup, SIGN), DONE, "in its own place");
        assert_eq!(import(&mut setup, AGREE), DONE);
        let list = CertificateInfo::list_from_data(&setup.get(6).unwrap()).unwrap();
        let entities: Vec<_> = list.iter().map(|info| info.entity).collect();
        use CertificateEntity::{Authority, Client};
        assert_eq!(entities, [Authority, Client, Client]);
        let kind = CertificateType::Agreement;
        assert!(setup.certificate(METER, kind, at()).is_some());
        assert!(setup.certificate(METER, kind, early).is_none());
        assert!(setup.certificate(OTHER, kind, at()).is_none());
    }

    #[test]
    fn a_certificate_of_ours_must_be_about_our_key() {
        let mut setup = setup(METER);
        assert_eq!(import(&mut setup, SIGN), Err(ActionResult::OtherReason));
        let kind = CertificateType::Signature;
        let stranger = PrivateKey::from_bytes(Curve::P256, &[3; 32]).unwrap();
        setup.handle_key_pair(kind, stranger.public_key());
        assert_eq!(import(&mut setup, SIGN), Err(ActionResult::OtherReason));
        let ours = Certificate::from_der(SIGN).unwrap().public_key().clone();
        setup.handle_key_pair(kind, ours);
        assert_eq!(import(&mut setup, SIGN), DONE);
        let info = CertificateInfo::list_from_data(&setup.get(6).unwrap()).unwrap();
        assert_eq!(info[1].entity, CertificateEntity::Server);
        // Another key pair: the certificate is worth nothing.
        setup.handle_key_pair(kind, stranger.public_key());
        assert!(setup.certificate(METER, kind, at()).is_none());
    }

    #[test]
    fn certificates_are_exported_and_removed_but_for_the_trusted() {
        let mut setup = setup(OTHER);
        import(&mut setup, SIGN).unwrap();
        let by_entity = CertificateIdentification::ByEntity {
            entity: CertificateEntity::Client,
            kind: CertificateType::Signature,
            title: METER,
        }
        .to_data();
        let root = Certificate::from_der(ROOT).unwrap();
        let by_serial = CertificateIdentification::BySerial {
            serial: root.serial().to_vec(),
            issuer: root.issuer_der().to_vec(),
        }
        .to_data();
        let der = |bytes: &[u8]| {
            Ok(SecurityOutcome::Done(Some(Data::OctetString(
                bytes.to_vec(),
            ))))
        };
        let gone = Err(ActionResult::OtherReason);
        let cases = [
            (7, &by_entity, der(SIGN)),
            (7, &by_serial, der(ROOT)),
            (8, &by_serial, gone.clone()),
            (8, &by_entity, DONE),
            (8, &by_entity, gone.clone()),
            (7, &by_entity, gone),
            (7, &Data::Null, Err(ActionResult::TypeUnmatched)),
        ];
        for (method, parameters, expected) in cases {
            assert_eq!(setup.invoke(method, Some(parameters), at()), expected);
        }
    }

    #[test]
    fn what_needs_keys_is_handed_out() {
        let mut setup = setup(METER);
        let pair = CertificateType::Signature.to_key_pair_data();
        assert_eq!(
            setup.invoke(5, Some(&pair), at()),
            Err(ActionResult::OtherReason),
            "no key pair yet"
        );
        let generate = SecurityRequest::GenerateKeyPair(CertificateType::Signature);
        assert_eq!(
            setup.invoke(4, Some(&pair), at()),
            Ok(SecurityOutcome::Requested(generate))
        );
        let key = PrivateKey::from_bytes(Curve::P256, &[3; 32]).unwrap();
        setup.handle_key_pair(CertificateType::Signature, key.public_key());
        let request = SecurityRequest::RequestCertificate(CertificateType::Signature);
        assert_eq!(
            setup.invoke(5, Some(&pair), at()),
            Ok(SecurityOutcome::Requested(request))
        );
        let wrapped = Data::Array(vec![Data::Structure(vec![
            Data::Enum(0),
            Data::OctetString(vec![7; 24]),
        ])]);
        let transfer = KeyTransfer::from_data(&wrapped).unwrap();
        assert_eq!(
            setup.invoke(2, Some(&wrapped), at()),
            Ok(SecurityOutcome::Requested(SecurityRequest::TransferKeys(
                transfer
            )))
        );
        assert_eq!(
            setup.invoke(2, Some(&Data::Null), at()),
            Err(ActionResult::TypeUnmatched)
        );
        assert_eq!(
            setup.invoke(9, Some(&Data::Null), at()),
            Err(ActionResult::ObjectUndefined)
        );
        let mut symmetric = SecuritySetup::new(config(SecuritySuite::Suite0), METER);
        assert_eq!(
            symmetric.invoke(4, Some(&pair), at()),
            Err(ActionResult::ObjectUnavailable)
        );
        assert!(symmetric.invoke(2, Some(&wrapped), at()).is_ok());
    }

    #[test]
    fn it_survives() {
        let mut setup = setup(OTHER);
        setup.handle_client(METER);
        let key = PrivateKey::from_bytes(Curve::P256, &[3; 32]).unwrap();
        setup.handle_key_pair(CertificateType::Agreement, key.public_key());
        import(&mut setup, SIGN).unwrap();
        let mut bytes = Vec::new();
        setup.encode(&mut bytes);
        let config = config(SecuritySuite::Suite1);
        let restarted = SecuritySetup::decode(Arc::clone(&config), &bytes).unwrap();
        let mut again = Vec::new();
        restarted.encode(&mut again);
        assert_eq!(again, bytes);
        assert_eq!(restarted.get(6), setup.get(6));
        assert_eq!(restarted.get(4), Ok(Data::OctetString(METER.0.to_vec())));
        for cut in 0..bytes.len() {
            assert!(SecuritySetup::decode(Arc::clone(&config), &bytes[..cut]).is_err());
        }
    }
}
