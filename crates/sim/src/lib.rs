//! Virtual time: the same nodes that are deployed, their links and disks modelled, and every run
//! repeatable bit by bit from its seed.
//!
//! Invariants:
//!
//! - Nothing is decided here that a deployed node decides: the world carries frames, requests and
//!   time, and no more.
//! - A run is a function of its plan and its seed: events happen in the order of their time, and
//!   of their making where the time is the same.
//! - A crash leaves of a disk's unfinished work a first part, at most one torn write, and nothing
//!   of the rest.
//! - What a run reports is read back from the utility's store.

mod alternates;
mod area;
pub mod assault;
pub mod attack;
pub mod checkers;
mod delays;
pub mod disk;
pub mod faults;
pub mod head_end;
pub mod hosted;
pub mod link;
pub mod outcome;
pub mod pair;
pub mod planning;
mod role;
pub mod sabotage;
pub mod scenario;
pub mod store_view;
pub mod technology;
pub mod town;
pub mod trial;
pub mod world;

pub use alternates::Alternates;
pub use assault::{Assault, AttackStudy};
pub use attack::AttackPlan;
pub use checkers::{Account, Checker, Violation};
pub use delays::{Delay, Delays};
pub use faults::FaultPlan;
pub use head_end::HeadEndPlan;
pub use link::{Bursts, LinkModel, Transport};
pub use outcome::Outcome;
pub use pair::{PairFaults, PairOutcome, PairSabotage, PairTrial, PairViolation};
pub use planning::{ResponseStudy, StationsForecast, Study, StudyError};
pub use sabotage::Sabotage;
pub use scenario::{LoadSource, ScenarioError, ThreeHouses, three_houses};
pub use store_view::StoreView;
pub use technology::Technology;
pub use town::{Homes, Town, TownError, TownPlan};
pub use trial::{Trial, TrialError};
pub use world::{Counters, World, WorldError, WorldPlan};
