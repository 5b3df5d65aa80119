//! Security of APDUs, associations and keys (IEC 62056-5-3, clause 9.2), in suites 0, 1 and 2.
//!
//! Reading a ciphered APDU takes three steps, in this order, each by the caller's own will:
//! [`CipheredApdu::decode`], [`CipheredApdu::decode_service`] or [`GeneralCiphering::decode`]
//! says who claims to send it, in which form, under which key and with which counter; the peer's
//! [`crate::counter::ReceiveCounter`] says whether the counter is fresh; and
//! [`CipherContext::open`] verifies the tag. Only then is the counter committed and the payload
//! believed.

mod agreement;
mod apdu;
mod certificate;
mod certificate_request;
mod certificate_setup;
mod context;
mod control;
mod curve;
mod engine;
mod error;
mod general;
mod hls;
mod keys;
mod once;
mod policy;
mod ring;
mod setup;
mod signing;
mod suite;
#[cfg(test)]
mod vectors;

pub use agreement::{AgreementScheme, KeyPurpose, Parties};
pub use apdu::{
    CipheredApdu, CipheredForm, GENERAL_DED, GENERAL_GLO, HEADER_LEN, KeyUse, is_service_ded,
    is_service_glo, service_ded, service_glo,
};
pub use certificate::{CERTIFICATE_LEN_MAX, Certificate, CertificateError, KeyUsages};
pub use certificate_request::CertificateRequest;
pub use certificate_setup::{
    CERTIFICATES_MAX, CertificateEntity, CertificateIdentification, CertificateInfo,
    CertificateType,
};
pub use context::{CipherContext, GMAC_LEN, Protection};
pub use control::{Policy, SecurityControl};
pub use curve::{DRAWS_MAX, PrivateKey, PublicKey};
pub use engine::TAG_LEN;
pub use error::SecurityError;
pub use general::{
    GENERAL_CIPHERING, GeneralCiphering, GeneralHeader, HEADER_FIELD_LEN_MAX, IdentifiedKey,
    KEY_DATA_LEN_MAX, KeyInfo,
};
pub use hls::{
    CHALLENGE_LEN_MAX, CHALLENGE_LEN_MIN, CHALLENGE_LEN_MIN_ECDSA, HlsExchange, HlsMechanism,
    HlsSide, SHA256_LEN,
};
pub use keys::{KeyEncryptionKey, Keys, SymmetricKey, WRAPPED_LEN, WRAPPED_LEN_MAX};
pub use once::RawKeys;
pub use policy::PolicyBits;
pub use ring::{GeneralKey, HEADER_OVERHEAD_MAX, KeyRing, OwnKeys, PeerKeys, SIGNING_OVERHEAD_MAX};
pub use setup::{KEYS_MAX, KeyAgreement, KeyId, KeyTransfer};
pub use signing::{GENERAL_SIGNING, GeneralSigning, SIGNATURE_LEN_MAX};
pub use suite::{Curve, SecuritySuite};
