//! How an interval gets its price.

use gridloom_core::{Price, UtcTime, Watts};

use crate::sigmoid::SigmoidTariff;

/// What a tariff may look at when it prices an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// The interval's end.
    pub end: UtcTime,
    /// The mean power of all houses in it.
    pub total: Watts,
}

/// A tariff in force.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Tariff {
    /// The price follows the total power.
    Sigmoid(SigmoidTariff),
}

impl Tariff {
    /// The price of an interval. The same conditions always give the same price.
    pub fn price(&self, conditions: Conditions) -> Price {
        match self {
            Self::Sigmoid(tariff) => tariff.price(conditions.total),
        }
    }
}
