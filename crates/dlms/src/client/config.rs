//! How a client talks to one server.

use core::time::Duration;

use gridloom_core::SystemTitle;

use crate::association::{Conformance, DedicatedKey, Mechanism, Secret};
use crate::security::{
    GeneralKey, KeyEncryptionKey, Keys, OwnKeys, PeerKeys, Policy, PrivateKey, PublicKey,
    SecurityControl, SecuritySuite,
};

/// How a client talks to one server.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The client's SAP, for example 16 for the public client.
    pub client: u16,
    /// The server's SAP: 1 for the management logical device.
    pub server: u16,
    /// How the client proves who it is.
    pub authentication: Authentication,
    /// The keys, where services are ciphered; plain services without.
    pub ciphering: Option<Ciphering>,
    /// The longest APDU that the client takes, in bytes; 0 for no limit.
    pub max_pdu: u16,
    /// The services that the client proposes.
    pub conformance: Conformance,
    /// How the association is released.
    pub release: ReleaseForm,
    /// How long an answer may take.
    pub answer_timeout: Duration,
    /// How often a question that changes nothing is asked, at least once. SET and ACTION are
    /// never repeated.
    pub attempts: u8,
}

/// How a client proves who it is.
#[derive(Debug, Clone)]
pub enum Authentication {
    /// Not at all.
    None,
    /// By a password.
    Lls(Secret),
    /// By challenges and GMAC under the keys of [`ClientConfig::ciphering`].
    Gmac,
    /// By challenges and SHA-256 over a shared secret, and the titles of
    /// [`ClientConfig::ciphering`].
    Sha256(Secret),
    /// By challenges and ECDSA, and the titles of [`ClientConfig::ciphering`].
    Ecdsa(Box<SigningPair>),
}

/// Our signing key and the server's public one.
#[derive(Debug, Clone)]
pub struct SigningPair {
    /// Our own key.
    pub own: PrivateKey,
    /// The server's.
    pub server: PublicKey,
}

impl Authentication {
    /// The mechanism's name.
    pub const fn mechanism(&self) -> Mechanism {
        match self {
            Self::None => Mechanism::None,
            Self::Lls(_) => Mechanism::Lls,
            Self::Gmac => Mechanism::Gmac,
            Self::Sha256(_) => Mechanism::Sha256,
            Self::Ecdsa(_) => Mechanism::Ecdsa,
        }
    }
}

/// How services are ciphered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ciphering {
    /// The meter's global keys.
    pub keys: Keys,
    /// The suite that the meter speaks; its keys have the length of `keys`.
    pub suite: SecuritySuite,
    /// The client's own system title.
    pub title: SystemTitle,
    /// The server's title; the first one whose tag verifies, if `None`.
    pub server_title: Option<SystemTitle>,
    /// A key for this association alone, fresh each time.
    pub dedicated_key: Option<DedicatedKey>,
    /// Which form requests take.
    pub form: ServiceForm,
    /// How requests are protected; the suite is added.
    pub control: SecurityControl,
    /// The least protection of answers.
    pub policy: Policy,
}

/// Which form ciphered services take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum ServiceForm {
    /// One tag per service: glo- or, with a dedicated key, ded-.
    #[default]
    Service,
    /// general-glo-ciphering or, with a dedicated key, general-ded-ciphering.
    General,
    /// general-ciphering, which tells its key in this way; never the dedicated one. It needs
    /// [`super::Client::with_keys`].
    Ciphering(GeneralKey),
}

/// What a client has besides the global keys: for general-ciphering and general-signing.
#[derive(Debug, Clone)]
pub struct ClientKeys {
    /// The meter's master key, for [`GeneralKey::Wrapped`].
    pub master: Option<KeyEncryptionKey>,
    /// Our own key pairs.
    pub own: OwnKeys,
    /// The server's public keys.
    pub server: PeerKeys,
    /// What is signed.
    pub signing: Signing,
    /// Fresh unguessable bytes, [`ClientKeys::SEED_LEN`] of them: the keys of single APDUs and
    /// the transaction identifiers are drawn from them.
    pub seed: Secret,
}

impl ClientKeys {
    /// Bytes of a seed.
    pub const SEED_LEN: usize = 32;
}

/// What is signed of an association's services; the initiate services never are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Signing {
    /// Nothing of ours. A signature of the server is verified all the same.
    #[default]
    None,
    /// Our requests; the server does with its answers what its policy says.
    Requests,
    /// Our requests, and no answer is believed without a signature.
    Both,
}

/// How an association is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum ReleaseForm {
    /// With the InitiateRequest again where services are ciphered, as the standard wants.
    #[default]
    Full,
    /// Without: some meters refuse user-information here.
    Bare,
}
