//! The head-end's decisions: which readings to take, when to acknowledge them, and who is silent.
//!
//! Invariants:
//!
//! - An acknowledgement leaves only after the ledger says that the reading is durable.
//! - What waits for an acknowledgement is bounded; beyond the bound readings are refused, and
//!   their meters push them again.
//! - A key in the clear lives only in a [`vault::Secret`]; what is stored is wrapped.

pub mod audit;
pub mod backfill;
pub mod campaign;
pub mod collector;
pub mod command;
pub mod counters;
pub mod healing;
pub mod import;
pub mod presence;
pub mod profile;
pub mod registry;
pub mod rotation;
pub mod schedule;
pub mod session;
pub mod template;
pub mod vault;

pub use audit::AuditRecord;
pub use campaign::{Campaign, CampaignOutput, CampaignPlan, CampaignReport};
pub use collector::{Acknowledgement, Collector, ReadingKey, Refusal, Source};
pub use counters::{CounterBook, Loan};
pub use import::{Import, OnFault, export};
pub use presence::{Presence, PresenceBook};
pub use registry::{Proposal, Registry, RowFault, Templates};
pub use rotation::{Rotation, RotationOutput, RotationPlan};
pub use template::{Channel, ChannelSource, MeterTemplate, TemplateError};
pub use vault::{Secret, Vault, VaultError};
