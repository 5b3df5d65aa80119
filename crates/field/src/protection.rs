//! The meter's security setup and what of it is kept: certificates, policy, key pairs, and the
//! secrets that clients have changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use gridloom_core::{SystemTitle, UtcTime};
use gridloom_dlms::apdu::{ActionResult, DataAccessResult};
use gridloom_dlms::association::Secret;
use gridloom_dlms::axdr::Data;
use gridloom_dlms::security::{Curve, PeerKeys, PrivateKey};
use gridloom_dlms::server::{CHOSEN_SECRET_LEN_MAX, DeviceSecurity, SECRETS_MAX, SecurityDesk};

use crate::access::FactorySecurity;
use crate::config::MeterConfig;
use crate::objects::retained::{Keeper, Kept, RetainedError};
use crate::objects::security_setup::{
    KEY_PAIRS, STORED_CERTIFICATES_MAX, SecurityOutcome, SecurityRequest, SecuritySetup,
    SecuritySetupConfig,
};
use crate::objects::shape;

const OBJECT: &str = "security";
const VERSION: u8 = 1;

/// Bytes of a setup with all its certificates.
const SETUP_LEN_MAX: usize = 1_024 + STORED_CERTIFICATES_MAX * 4_200;

/// Bytes of the longest private key.
const SCALAR_LEN_MAX: usize = 48;

/// The security setup of a meter, and what belongs to it.
#[derive(Debug, Clone)]
pub(crate) struct Protection {
    setup: SecuritySetup,
    config: Arc<SecuritySetupConfig>,
    factory: Arc<FactorySecurity>,
    /// By client, those that the factory did not set.
    secrets: BTreeMap<u16, Secret>,
}

impl Protection {
    /// That of a meter that left the factory.
    pub(crate) fn new(config: &MeterConfig, security: &DeviceSecurity) -> Self {
        let factory = Arc::clone(&config.access.factory);
        let setup_config = Arc::new(SecuritySetupConfig {
            suite: security.suite(),
            policy: factory.policy,
            trusted: factory.trusted.clone(),
        });
        let mut setup = SecuritySetup::new(Arc::clone(&setup_config), config.title);
        for kind in KEY_PAIRS {
            if let Some(key) = factory.own.of(kind) {
                setup.handle_key_pair(kind, key.public_key());
            }
        }
        for certificate in factory.certificates.iter().take(STORED_CERTIFICATES_MAX) {
            // One about a key that the meter does not have is of no use to anybody.
            setup.install(certificate.clone());
        }
        Self {
            setup,
            config: setup_config,
            factory,
            secrets: BTreeMap::new(),
        }
    }

    /// An attribute of the setup, for the client with this title.
    pub(crate) fn get(
        &self,
        attribute: i8,
        client: Option<SystemTitle>,
    ) -> Result<Data, DataAccessResult> {
        self.setup.get(attribute, client)
    }

    /// Invokes a method of the setup, at `shown` in the meter's time.
    pub(crate) fn invoke(
        &mut self,
        method: i8,
        parameters: Option<&Data>,
        shown: UtcTime,
        desk: &mut SecurityDesk<'_>,
    ) -> Result<Option<Data>, ActionResult> {
        let request = match self.setup.invoke(method, parameters, shown)? {
            SecurityOutcome::Done(returned) => return Ok(returned),
            SecurityOutcome::Requested(request) => request,
        };
        match request {
            SecurityRequest::Activate(policy) => {
                desk.activate(policy)?;
                self.setup.handle_policy(policy);
                Ok(None)
            }
            SecurityRequest::GenerateKeyPair(kind) => {
                let public = desk.generate_key_pair(kind)?;
                self.setup.handle_key_pair(kind, public);
                Ok(None)
            }
            SecurityRequest::RequestCertificate(kind) => {
                let request = desk.certificate_request(kind)?;
                Ok(Some(Data::OctetString(request)))
            }
        }
    }

    /// Changes the secret of the client at `desk` (class 15 method 2).
    pub(crate) fn change_secret(
        &mut self,
        client: u16,
        parameters: Option<&Data>,
        desk: &mut SecurityDesk<'_>,
    ) -> Result<(), ActionResult> {
        let parameters = shape::required(parameters)?;
        let secret = shape::octets(parameters, CHOSEN_SECRET_LEN_MAX)?;
        desk.change_secret(secret)?;
        self.secrets.insert(client, Secret::new(secret));
        Ok(())
    }

    /// Whether the keys of peers depend on the time.
    pub(crate) const fn is_dated(&self) -> bool {
        self.setup.has_certificates()
    }

    /// The public keys of peers that are valid at `shown`; a certificate goes before a key that
    /// the factory gave without one.
    pub(crate) fn peers(&self, shown: UtcTime) -> BTreeMap<SystemTitle, PeerKeys> {
        let given = self.factory.peers.iter().take(FactorySecurity::PEERS_MAX);
        let mut peers: BTreeMap<_, _> = given.map(|(title, keys)| (*title, keys.clone())).collect();
        for (title, certified) in self.setup.peers(shown) {
            let keys = peers.entry(title).or_default();
            keys.signing = certified.signing.or(keys.signing.take());
            keys.agreement = certified.agreement.or(keys.agreement.take());
        }
        peers
    }

    /// Appends what is kept; the key pairs are in `security`.
    pub(crate) fn encode(&self, security: &DeviceSecurity, out: &mut Vec<u8>) {
        let mut setup = Vec::new();
        self.setup.encode(&mut setup);
        let mut keeper = Keeper::new(VERSION, out);
        keeper.octets(&setup);
        for kind in KEY_PAIRS {
            keeper.option(security.own_keys().of(kind), |keeper, key| {
                keeper.flag(key.curve() == Curve::P384);
                keeper.octets(&key.to_bytes());
            });
        }
        keeper.list(self.secrets.iter(), |keeper, (client, secret)| {
            keeper.put(client.to_be_bytes());
            keeper.octets(secret.bytes());
        });
    }

    /// Takes over what [`Self::encode`] kept, and gives `security` its part of it.
    ///
    /// # Errors
    ///
    /// Bytes that no meter wrote.
    pub(crate) fn restore(
        &mut self,
        bytes: &[u8],
        security: &mut DeviceSecurity,
    ) -> Result<(), RetainedError> {
        let mut kept = Kept::open(OBJECT, VERSION, bytes)?;
        let setup = kept.octets("setup", SETUP_LEN_MAX)?;
        let setup = SecuritySetup::decode(Arc::clone(&self.config), setup)?;
        let mut own = self.factory.own.clone();
        for kind in KEY_PAIRS {
            let key = kept.option("key pair", |kept| {
                let curve = if kept.flag("curve")? {
                    Curve::P384
                } else {
                    Curve::P256
                };
                let scalar = kept.octets("key pair", SCALAR_LEN_MAX)?;
                PrivateKey::from_bytes(curve, scalar).map_err(|_| kept.impossible("key pair"))
            })?;
            if let Some(key) = key {
                own.set(kind, key);
            }
        }
        let secrets = kept.list("secrets", SECRETS_MAX, |kept| {
            let client = u16::from_be_bytes(kept.array()?);
            let secret = kept.octets("secret", CHOSEN_SECRET_LEN_MAX)?;
            Ok((client, Secret::new(secret)))
        })?;
        kept.finish()?;
        self.setup = setup;
        self.secrets = secrets.into_iter().collect();
        security.set_policy(self.setup.policy());
        security.set_own_keys(own);
        for (client, secret) in &self.secrets {
            security.set_secret(*client, secret.clone());
        }
        Ok(())
    }
}
