//! DLMS/COSEM (IEC 62056) formats and security, both sides, without IO.
//!
//! Invariants:
//!
//! - No byte of a peer panics a decoder, and none makes it hold more than a bounded multiple
//!   of the input.
//! - No payload byte leaves [`security`] unless its tag verified; no counter is committed before.
//! - A server carries out nothing that its association has not proved, and a client believes no
//!   answer that does not verify. What is forged locks nobody out.
//! - A transmit counter is given only below a durable reservation, so never twice under a key.
//! - Nothing rounds: what a register or a price step cannot hold exactly is an error.
//! - A block transfer is taken in order, whole, and within a bound, or not at all.
//! - Keys are wiped when dropped and never printed.

pub mod alert;
pub mod apdu;
pub mod association;
pub mod axdr;
pub mod block;
pub mod charge;
pub mod client;
pub mod companion;
pub mod counter;
pub mod datetime;
pub mod gbt;
pub mod hdlc;
#[cfg(test)]
mod hex;
pub mod push;
pub mod security;
pub mod selection;
pub mod server;
pub mod wrapper;
