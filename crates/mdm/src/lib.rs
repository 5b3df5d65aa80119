//! Meter data management: the only maker of a validated interval.
//!
//! Invariants:
//!
//! - A [`ValidatedInterval`] exists only because [`Validator`] made it: there is no public
//!   constructor, no conversion from a raw reading, and no way to change one.
//! - Every refusal is an [`Exception`] with a named [`Rule`] and its evidence; nothing is
//!   corrected in silence.
//! - What a meter did not deliver is a named [`Gap`], never an invented value.
//! - An interval read back from storage is validated again. The one rule that storage cannot
//!   repeat, the register sum, must have left its mark ([`REGISTER_AGREED`]) or it is refused.

mod gaps;
mod interval;
mod limits;
mod rule;
mod trail;
mod validator;

pub use gaps::{Gap, ServiceSpan, gaps};
pub use interval::{REGISTER_AGREED, StoredInterval, ValidatedInterval, Warning, Warnings};
pub use limits::{LimitsError, MeterLimits, Phases, PowerTriangle};
pub use rule::{Exception, Fault, RegisterEvidence, Rule};
pub use trail::RUNS_MAX;
pub use validator::{
    EARLIEST_END, FUTURE_TOLERANCE, PROFILES_MAX, RULE_COUNT, Validator, ValidatorCounts,
};
