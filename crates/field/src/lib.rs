//! Emulated field devices: a meter that measures exactly, forgets nothing and repeats itself
//! until it is heard.
//!
//! Invariants:
//!
//! - A push leaves the meter only after its interval is durable, an answer only after its effect
//!   is, a transmit counter only after its reservation is. An alert waits for its memory too, but
//!   for the last one before the supply goes.
//! - Every interval captured is acknowledged, unacknowledged or counted as lost at the source.
//! - Registers are the exact integral of the load; the energy of an interval is a difference of
//!   registers; the bill is the exact sum of price × energy.
//! - A crash between any two effects leaves a memory from which the meter goes on as if nothing
//!   had happened.
//! - The receive counter is committed after the tag, and only for the edge's title.

pub mod access;
mod alerts;
pub mod attack;
pub mod bill;
pub mod billing_period;
pub mod catalogue;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod display;
pub mod features;
pub mod fittings;
pub mod house;
mod keeper;
pub mod link;
pub mod load;
pub mod logs;
pub mod memory;
pub mod meter;
pub mod metrology;
pub mod objects;
mod parts;
pub mod profile;
mod protection;
pub mod status;
pub mod street;
pub mod supervision;
pub mod supply;
pub mod survey;
pub mod upgrade;

pub use access::{ClientAccess, FactorySecurity};
pub use bill::{Bill, MonthAccount};
pub use billing_period::{BillingPeriod, BillingPeriods};
pub use catalogue::{Client, ObjectTable};
pub use clock::{Clock, ClockConfig, ClockStep};
pub use config::{ConfigError, Line, MeterConfig, PushReach, Reach};
pub use delivery::RetryPolicy;
pub use features::FeatureEvent;
pub use fittings::Pushes;
pub use house::{HouseholdLoad, TraceLoad};
pub use link::FrameError;
pub use load::{ApplianceState, ConstantLoad, DayPrices, Load, Power, Stretch, Switch, TotalLoad};
pub use memory::MemoryError;
pub use meter::{Boot, ConnectionId, Entropy, Event, Meter, Output, PushTransport, StartError};
pub use metrology::{Connection, Instantaneous, Means, Metrology, Registers};
pub use objects::InterfaceObject;
pub use profile::{Delivery, Entry, Profile};
pub use status::{Counters, MeterStatus, MonthBill, SupplyState};
pub use street::{SharedStreet, StreetHome, StreetTransformer};
pub use supervision::Surroundings;
pub use supply::Supply;
