//! The client's side of an association (IEC 62056-5-3): open it, ask, release it.
//!
//! A [`Client`] believes nothing that its keys do not verify. What cannot be verified is dropped
//! and counted, up to [`FORGED_MAX`], while the true answer may still come; then the error names
//! the layer that failed.

mod channel;
mod config;
mod draws;
mod error;
mod exchange;
mod general;
mod machine;
mod proof;
mod request;

pub use crate::association::Mechanism;
pub use config::{
    Authentication, Ciphering, ClientConfig, ClientKeys, ReleaseForm, ServiceForm, Signing,
    SigningPair,
};
pub use error::{ClientError, Layer};
pub use machine::{Client, FORGED_MAX};
pub use request::{ClientOutput, Request, Response};
