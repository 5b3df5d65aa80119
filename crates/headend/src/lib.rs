//! The head-end's decisions: whom to read and command when, what of it to believe, and what to
//! acknowledge.
//!
//! Invariants:
//!
//! - An acknowledgement leaves only after the ledger says that the reading is durable.
//! - What waits for an acknowledgement is bounded; beyond the bound readings are refused, and
//!   their meters push them again.
//! - A meter has one session at a time. A reading that did not come is named: as missed by the
//!   [`schedule`], as a gap by [`backfill`], as an exception by [`profile`].
//! - Our invocation counter never falls, and no claim of a meter that is not authenticated moves
//!   it further than [`healing::COUNTER_JUMP_MAX`].
//! - An order leaves after it is journaled. One whose outcome is unknown is looked for, never
//!   repeated blindly.
//! - A key in the clear lives only in a [`vault::Secret`]; what is stored is wrapped.

pub mod audit;
pub mod backfill;
pub mod campaign;
pub mod collector;
pub mod command;
pub mod counters;
pub mod healing;
pub mod import;
pub mod key_news;
pub mod presence;
pub mod profile;
pub mod push;
pub mod registry;
pub mod rotation;
pub mod schedule;
pub mod session;
pub mod template;
pub mod vault;

pub use audit::AuditRecord;
pub use backfill::Backfill;
pub use campaign::{Campaign, CampaignOutput, CampaignPlan, CampaignReport};
pub use collector::{Acknowledgement, Collector, ReadingKey, Refusal, Source};
pub use command::CommandBook;
pub use counters::{Arrival, CounterBook, Loan, Taken};
pub use import::{Import, OnFault, export};
pub use key_news::{EdgeKey, KeyNews, Standing};
pub use presence::{Presence, PresenceBook};
pub use registry::{Proposal, Registry, RowFault, Templates};
pub use rotation::{Rotation, RotationOutput, RotationPlan};
pub use schedule::Schedule;
pub use session::{Session, SessionConfig, SessionReport};
pub use template::{Channel, ChannelSource, MeterTemplate, TemplateError};
pub use vault::{Secret, Vault, VaultError};
