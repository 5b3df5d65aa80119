//! The words every other crate speaks: quantities with units, times, identifiers,
//! exact money, and the contract between a state machine and its host.
//!
//! Invariants:
//!
//! - Energy and money are exact integers; no operation here rounds without naming the rule.
//! - [`Instant`], [`UtcTime`] and civil time never convert silently into each other.
//! - Nothing here reads a clock, a file, a socket or an entropy source.

pub mod bytes;
pub mod id;
pub mod machine;
pub mod money;
pub mod obis;
pub mod quantity;
pub mod reading;
pub mod seed;
pub mod time;

pub use id::{MeterId, SystemTitle};
pub use machine::{Now, Wake};
pub use money::{Charge, Currency, Money, Price};
pub use obis::ObisCode;
pub use quantity::{MillivarHours, MillivoltAmpereHours, Millivolts, MilliwattHours, Watts};
pub use reading::{IntervalReading, IntervalValues, ReadingStatus};
pub use seed::Seed;
pub use time::{Day, Instant, Month, Period, UtcTime};
