//! What a run reports: plain data, money as decimal strings, energy as whole numbers.

use gridloom_billing::{BasisPoints, DemandResponse, RunFigures};
use gridloom_core::Price;
use serde::Serialize;

use crate::world::Counters;

/// The outcome of a scenario, read back from the utility's store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// ISO 4217 code of every amount.
    pub currency: String,
    /// The capture period in seconds.
    pub period_secs: u32,
    /// By meter number.
    pub houses: Vec<HouseOutcome>,
    /// In order of time.
    pub intervals: Vec<IntervalOutcome>,
    /// What was not measured.
    pub gaps: Vec<GapOutcome>,
    /// The same houses without response beside this run; absent where nobody responds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub demand_response: Option<Comparison>,
    /// What happened in the simulated network.
    pub counters: Counters,
}

/// One house.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HouseOutcome {
    /// Its meter's number.
    pub id: u32,
    /// What people call it.
    pub name: String,
    /// Energy imported in the run, in Wh.
    pub energy_wh: i64,
    /// What the utility charges for the run: the exact charge, rounded once a month.
    pub bill: String,
    /// The same, reckoned by the meter.
    pub meter_bill: String,
    /// Energy imported, in Wh, of each of [`Outcome::intervals`]; `None` in a gap.
    pub interval_wh: Vec<Option<i64>>,
}

/// One interval of all houses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IntervalOutcome {
    /// Its end, UTC.
    pub end: String,
    /// The mean power of all houses that were measured, in W.
    pub total_w: i64,
    /// Its price; `None` if no house was measured.
    pub price_per_kwh: Option<String>,
    /// Stations that served it.
    pub stations_on: u16,
}

/// Successive intervals of a house that were not measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GapOutcome {
    /// The meter's number.
    pub house: u32,
    /// The start of the first of them, UTC.
    pub from: String,
    /// The end of the last of them, UTC.
    pub to: String,
    /// How many there are.
    pub intervals: u32,
}

/// Two runs of the same houses: without and with response to prices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Without.
    pub without: Figures,
    /// With.
    pub with: Figures,
    /// Change of the peak in hundredths of a percent; `None` where there was nothing before.
    pub peak_change_bp: Option<i64>,
    /// Change of the energy, likewise.
    pub energy_change_bp: Option<i64>,
    /// Change of the cost, likewise.
    pub cost_change_bp: Option<i64>,
    /// Change of the load factor, likewise.
    pub load_factor_change_bp: Option<i64>,
}

/// The figures of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// The highest mean power of an interval, in W.
    pub peak_w: i64,
    /// The end of that interval, UTC.
    pub peak_end: String,
    /// All energy, in mWh.
    pub energy_mwh: i64,
    /// What it costs.
    pub cost: String,
    /// Mean power / peak power in hundredths of a percent.
    pub load_factor_bp: Option<i64>,
}

impl Comparison {
    pub(crate) fn new(compared: &DemandResponse) -> Self {
        let points = |change: Option<BasisPoints>| change.map(BasisPoints::get);
        Self {
            without: Figures::new(&compared.without),
            with: Figures::new(&compared.with),
            peak_change_bp: points(compared.peak_change),
            energy_change_bp: points(compared.energy_change),
            cost_change_bp: points(compared.cost_change),
            load_factor_change_bp: points(compared.load_factor_change),
        }
    }
}

impl Figures {
    fn new(figures: &RunFigures) -> Self {
        Self {
            peak_w: figures.peak.get(),
            peak_end: figures.peak_end.to_string(),
            energy_mwh: figures.energy.get(),
            cost: figures.cost.decimal(),
            load_factor_bp: figures.load_factor.map(BasisPoints::get),
        }
    }
}

/// A price with four decimals, or as many more as it has.
pub(crate) fn decimal_price(price: Price) -> String {
    let six = price.to_string();
    let shortest = six.len() - 2;
    let kept = six.trim_end_matches('0').len().max(shortest);
    six[..kept].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_have_four_decimals_or_more() {
        let cases = [
            ("0.25", "0.2500"),
            ("0.08", "0.0800"),
            ("0.123456", "0.123456"),
            ("0.12345", "0.12345"),
            ("-1", "-1.0000"),
        ];
        for (text, expected) in cases {
            assert_eq!(
                decimal_price(Price::parse(text).unwrap()),
                expected,
                "{text}"
            );
        }
    }
}
