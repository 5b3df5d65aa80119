//! Prices and bills from validated intervals, exact to the last digit.
//!
//! Invariants:
//!
//! - Only a [`gridloom_mdm::ValidatedInterval`] can be priced or billed.
//! - The price of an interval is decided once and never changes; a late reading is billed at it.
//! - A bill is the exact sum of interval energy × interval price, rounded once, halves away from
//!   zero. No interval is billed twice, and none is billed that was not measured.
//! - Floats appear in the shape of the sigmoid and its stability only; its price is a whole number
//!   of quanta, and the same number on every machine.

mod bill;
mod cycle;
mod decimal;
mod demand_response;
mod invoice;
mod price_book;
mod rounding;
#[cfg(test)]
mod samples;
mod settle;
mod sigmoid;
mod tariff;

pub use bill::{BillError, DayLine, MonthlyBill, Peak, PriceSummary, bill_month};
pub use cycle::{BillingCycle, GRACE_DEFAULT, RunningAccount, UNPRICED_MAX};
pub use demand_response::{
    BasisPoints, CompareError, DemandResponse, RUN_ENERGY_MAX, RunFigures, RunInterval,
};
pub use price_book::{PRICES_MAX, PriceBook, PriceBookError};
pub use settle::{
    Cause, DECIDED_MAX, Decided, IntervalSettlement, METERS_MAX, OPEN_INTERVALS_MAX, Reported,
    SettleError,
};
pub use sigmoid::{LoopStability, SigmoidError, SigmoidParameters, SigmoidTariff};
pub use tariff::{Conditions, Tariff};
