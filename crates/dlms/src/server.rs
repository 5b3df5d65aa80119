//! The server's side of associations (IEC 62056-5-3): from APDUs in to APDUs out.
//!
//! A [`Server`] is one connection. It proves who asks, opens and seals what is ciphered, cuts
//! long values into blocks, and asks a [`LogicalDevice`] for everything else.
//! [`DeviceSecurity`] is the meter's one set of keys and counters; all its connections and its
//! own pushes share it.

mod associate;
mod config;
mod desk;
mod device;
mod general;
mod hls;
mod machine;
mod protection;
mod security;
mod service;
mod session;
mod transfer;

pub use crate::association::Mechanism;
pub use config::{AssociationPolicy, ServerConfig};
pub use desk::{CHOSEN_SECRET_LEN_MAX, CHOSEN_SECRET_LEN_MIN, SecurityDesk};
pub use device::{Caller, LogicalDevice};
pub use machine::Server;
pub use security::{DeviceSecurity, KeyKind, PEERS_MAX, SECRETS_MAX};
