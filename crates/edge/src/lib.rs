//! The edge's decisions: whose packet it is, whether it is whole and fresh, whether it can be
//! true, what waits for an analyst, and what goes back to the meter.
//!
//! Invariants:
//!
//! - No byte of a payload is believed before the title is known, the tag verified and the
//!   invocation counter strictly greater than every one before; the counter is committed last.
//! - No weights and no threshold forward a packet without identity and integrity.
//! - What an outsider sends spends budgets of the path that carried it. A meter on its own path is
//!   heard whatever is sent in its name from elsewhere.
//! - A reading goes to the utility, or into the quarantine, or its meter is not told that it is
//!   kept. It is told so only when the reading is durable, there or here.
//! - An answer goes to the path that last proved itself by verified and forwarded packets of that
//!   meter, so neither a forger nor whoever is faster than the meter can pull its answers to
//!   himself; while a new path has not proved itself, it goes both ways.
//! - No own invocation counter is used before a durable reservation covers it.
//! - State per meter is constant, state for strangers is constant in all.

pub mod alarm;
pub mod balance;
pub mod behaviour;
pub mod config;
pub mod edge;
mod frame;
pub mod identity;
pub mod incident;
pub mod index;
mod integrity;
pub mod line;
pub mod loss;
pub mod memory;
pub mod quality;
pub mod quarantine;
mod rate;
pub mod reading;
pub mod reason;
pub mod registry;
pub mod rekeying;
pub mod score;
pub mod screen;
mod shards;
pub mod silence;
mod sketch;
mod snapshot;
pub mod status;
pub mod tariff;
pub mod trust;

pub use alarm::{AlarmBody, AlarmCounters, AlarmKey, AlarmNumber, MeterAlarm};
pub use balance::{BalanceCounters, Imbalance, ImbalanceKind, Suspect};
pub use behaviour::{Features, Model};
pub use config::{ConfigError, ScreeningConfig, ScreeningSettings, Weights};
pub use edge::{Edge, EdgeConfig, Effect};
pub use identity::Path;
pub use incident::{Evidence, Incident, IncidentId, IncidentKind, Subject};
pub use index::HashKey;
pub use line::{ClosedLine, LineCounters, LineFault};
pub use loss::Loss;
pub use memory::{EdgeMemory, MemoryError};
pub use quality::LinkQuality;
pub use quarantine::{
    AuditRecord, Decision, Held, HeldState, PacketId, Quarantine, QuarantineError, QuarantineStatus,
};
pub use reading::{AcceptedReading, ScreenedReading};
pub use reason::{Reason, ReasonCounters, Reasons, Step};
pub use registry::{
    DeviceIndex, GatewayId, LossLimit, Phases, Placement, Registration, Registry, RegistryError,
    Site, TransformerId,
};
pub use rekeying::{CounterKept, KEY_CHANGES_MAX, Until};
pub use score::{Score, Scores};
pub use silence::Silence;
pub use status::{DeviceTrust, EdgeStatus, GatewayStatus, StatusPage, TrustPage, VerdictCounters};
pub use trust::{Screening, Verdict};
