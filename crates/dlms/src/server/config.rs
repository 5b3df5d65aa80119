//! Which clients a meter admits, and how.

use crate::association::{Conformance, Mechanism, PDU_LEN_MIN};
use crate::security::Policy;

/// What a kind of meter says about each client it admits. All meters of the kind share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// The clients. Several entries for one client are alternatives.
    pub associations: Vec<AssociationPolicy>,
    /// The longest APDU that the meter takes, in bytes; at least [`ServerConfig::MAX_PDU_MIN`],
    /// and [`ServerConfig::PROOF_PDU_MIN`] with [`Mechanism::Sha256`] or [`Mechanism::Ecdsa`].
    pub max_pdu: u16,
}

impl ServerConfig {
    /// The least [`ServerConfig::max_pdu`]: a ciphered block of some bytes must fit.
    pub const MAX_PDU_MIN: u16 = 64;

    /// The least longest APDU on both sides where proofs are hashes or signatures: one must fit,
    /// since it never goes in blocks.
    pub const PROOF_PDU_MIN: u16 = 160;

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
            assert!(
                self.max_pdu >= policy.client_pdu_min(),
                "max_pdu is {}, client {} by {} needs {}",
                self.max_pdu,
                policy.client,
                policy.mechanism,
                policy.client_pdu_min()
            );
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

impl AssociationPolicy {
    /// The shortest APDU that a client must take: the standard's 12 bytes in plain, what a block
    /// needs around it where services are ciphered, and what a proof needs.
    pub(super) const fn client_pdu_min(&self) -> u16 {
        if matches!(self.mechanism, Mechanism::Sha256 | Mechanism::Ecdsa) {
            ServerConfig::PROOF_PDU_MIN
        } else if self.ciphered {
            ServerConfig::MAX_PDU_MIN
        } else {
            PDU_LEN_MIN
        }
    }
}
