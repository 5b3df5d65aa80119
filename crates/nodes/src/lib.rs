//! Assembles meter, gateway, edge, utility and archive nodes, each one machine: routing only, no
//! policy. Whatever is deployed is made here, and both [`host`] and [`sim`] run exactly that.
//!
//! [`host`]: https://docs.rs/gridloom-host
//! [`sim`]: https://docs.rs/gridloom-sim

pub mod node;

pub use node::{DiskReply, DiskRequest, Input, LinkId, Node, Output, Port};
