//! Which clients a meter admits, and how.

use crate::association::{Conformance, Mechanism, PDU_LEN_MIN};
use crate::security::Policy;

/// What a kind of meter says about each client it admits. All meters of the kind share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// The clients. Several entries for one client are alternatives.
    pub associations: Vec<AssociationPolicy>,
    /// The longest APDU that the meter takes, in bytes; at least [`ServerConfig::MAX_PDU_MIN`].
    pub max_pdu: u16,
}

impl ServerConfig {
    /// The least [`ServerConfig::max_pdu`]: a ciphered block of some bytes must fit.
    pub const MAX_PDU_MIN: u16 = 64;

    /// # Panics
    ///
    /// If the configuration breaks its own bounds.
    pub(super) fn check(&self) {
        assert!(
            self.max_pdu >= Self::MAX_PDU_MIN,
            "max_pdu is {}, at least {} wanted",
            self.max_pdu,
            Self::MAX_PDU_MIN
        );
        for policy in &self.associations {
            assert!(
                !matches!(
                    policy.mechanism,
                    Mechanism::Manufacturer | Mechanism::Md5 | Mechanism::Sha1
                ),
                "{} is not spoken; choose another for client {}",
                policy.mechanism,
                policy.client
            );
        }
    }

    /// The shortest APDU that a client must take: the standard's 12 bytes in plain, and what a
    /// block needs around it where services are ciphered.
    pub(super) const fn client_pdu_min(ciphered: bool) -> u16 {
        if ciphered {
            Self::MAX_PDU_MIN
        } else {
            PDU_LEN_MIN
        }
    }
}

/// How one client is admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssociationPolicy {
    /// The client's SAP, for example 16 for the public client and 1 for management.
    pub client: u16,
    /// How it proves who it is.
    pub mechanism: Mechanism,
    /// Whether its services are ciphered (application context 3).
    pub ciphered: bool,
    /// The least protection of each ciphered request.
    pub policy: Policy,
    /// The services it may use at most.
    pub conformance: Conformance,
}
