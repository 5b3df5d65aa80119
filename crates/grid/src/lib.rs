//! The electrical model: power triangle, appliances, households, generating stations, and the
//! network between them with its power flow.
//!
//! Invariants:
//!
//! - A household's load is a pure function of the seed, its number, the day and the prices known
//!   for that day; transcendental functions are `libm`'s, so every machine computes the same bits.
//! - What a meter integrates is integer: milliwatts and millivars over milliseconds.
//! - The segments of a day cover it without holes or overlaps.
//! - Stations are dispatched in whole watts and exact money: output + shortfall = demand + surplus.
//! - A solved network obeys its elements: what does not converge is an error that names the node.
//! - A feeder's homes, plants and losses are what its sources give, in every minute; a day of a
//!   street is the same whenever it is asked for.
//! - A replayed trace spends exactly the published watt-hours, and its gaps stay gaps.

pub mod appliance;
mod draw;
mod habit;
pub mod household;
pub mod load;
pub mod network;
pub mod opendss;
pub mod power;
pub mod power_grid_model;
pub mod quasi_static;
pub mod response;
pub mod rtu;
mod season;
pub mod station;
pub mod street;
pub mod thermal;
pub mod trace;

pub use appliance::{Appliance, ApplianceId, ApplianceSet, Catalogue};
pub use habit::Lifestyle;
pub use household::{Household, HouseholdOptions, Supply};
pub use load::{DayLoad, DayPlan, MS_PER_DAY, Segment};
pub use response::{Elasticity, PriceSignal, Response};
pub use station::{Dispatch, Fleet, Station};
pub use trace::LoadTrace;
