//! Associations (IEC 62056-5-3, clauses 7 and 9.4.2): the ACSE APDUs in BER, and the xDLMS
//! initiate services that travel inside them.
//!
//! Logical-name referencing only, plain (context 1) and ciphered (context 3). What is inside
//! user-information is kept as bytes: the peer's machine opens it with its keys.

mod aare;
mod aarq;
mod ber;
mod conformance;
mod error;
mod initiate;
mod name;
mod release;
mod secret;

pub use aare::{Aare, AssociationResult, Diagnostic};
pub use aarq::Aarq;
pub use conformance::Conformance;
pub use error::AcseError;
pub use initiate::{
    ConfirmedServiceError, DLMS_VERSION, InitiateError, InitiateRequest, InitiateResponse,
    PDU_LEN_MIN, VAA_LOGICAL_NAMES,
};
pub use name::{ApplicationContext, Mechanism};
pub use release::{ReleaseReason, Rlre, Rlrq};
pub use secret::{DedicatedKey, SECRET_LEN_MAX, Secret};
