//! The edge's decisions: whose packet it is, whether it is whole and fresh, what it may say, and
//! what goes back to the meter.
//!
//! Invariants:
//!
//! - No byte of a payload is believed before the title is known, the tag verified and the
//!   invocation counter strictly greater than every one before; the counter is committed last.
//! - An answer goes to the path that last carried a verified and accepted packet of that meter, so
//!   a forger cannot pull a meter's answers to himself.
//! - No own invocation counter is used before a durable reservation covers it.

pub mod edge;
pub mod memory;
pub mod registry;
pub mod screen;
pub mod tariff;

pub use edge::{Edge, EdgeConfig, EdgeStatus, Effect, Path};
pub use memory::{EdgeMemory, MemoryError};
pub use registry::{Registration, Registry, RegistryError};
pub use screen::{AcceptedReading, Refusal, RefusalCounters};
