//! What the console shows, as one immutable value: the host builds a [`Snapshot`], the API serves it.
//!
//! On the wire money and prices are decimal strings, energy is integer watt-hours, power integer
//! watts, and times are ISO 8601 in UTC. What is unknown is `null`, never zero.

use gridloom_core::{Millivolts, Money, Month, Price, UtcTime};
use serde::{Serialize, Serializer};

use crate::network::Network;
use crate::topology::{FailoverView, NodeState, Topology};
use crate::wire::{decimal, decimal_or_null, per_megawatt_hour, text, text_or_null, volts};

/// Everything the console knows at one moment.
///
/// Whoever builds it keeps each list inside its `_MAX`; the server refuses to run past them, because
/// they bound what one frame can weigh.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Snapshot {
    /// The utility's name, for the page's head.
    pub utility: String,
    /// ISO 4217 code of all money here.
    pub currency: String,
    /// Digits after the decimal point in that currency.
    pub minor_digits: u8,
    /// The utility's clock; simulated time in an accelerated demo.
    #[serde(serialize_with = "text")]
    pub now: UtcTime,
    /// Seconds of `now` per second of wall time; 1 in real operation.
    pub speed: u32,
    /// The capture period of the readings, in seconds.
    pub interval_s: u32,
    /// Power of all houses together in watts; `None` until one is heard.
    pub total_w: Option<i64>,
    /// The price of the last decided interval; `None` before the first.
    #[serde(serialize_with = "text_or_null")]
    pub price_per_kwh: Option<Price>,
    /// The end of the interval which that price is for.
    #[serde(serialize_with = "text_or_null")]
    pub price_interval_end: Option<UtcTime>,
    /// The tariff that makes the price.
    pub tariff: Tariff,
    /// The area's generating stations, in merit order; at most [`Snapshot::STATIONS_MAX`].
    pub stations: Vec<Station>,
    /// Every house, ordered by id; at most [`Snapshot::HOUSES_MAX`].
    #[serde(serialize_with = "rows")]
    pub houses: Vec<House>,
    /// The last 24 hours, oldest first; at most [`Snapshot::TREND_MAX`] intervals.
    /// An interval that is missing here is a gap on the page.
    pub trend: Vec<TrendPoint>,
    /// What the utility and its edges counted since they started.
    pub counters: Counters,
    /// The running nodes, field layer first; at most [`Snapshot::NODES_MAX`].
    pub layers: Vec<LayerNode>,
    /// Closed bills, newest month first; at most [`Snapshot::BILLS_MAX`], the oldest fall out.
    pub bills: Vec<ClosedBill>,
    /// What responding to the price changed; `None` where there is nothing to compare.
    pub demand_response: Option<DemandResponse>,
    /// How the network behaves; below `/api/v1/network`, not part of the picture.
    #[serde(skip)]
    pub network: Network,
}

impl Snapshot {
    /// Houses that one console shows.
    pub const HOUSES_MAX: usize = 10_000;
    /// Generating stations.
    pub const STATIONS_MAX: usize = 200;
    /// Intervals of the trend: a day of minutes.
    pub const TREND_MAX: usize = 1_440;
    /// Nodes of all layers.
    pub const NODES_MAX: usize = 1_000;
    /// Closed bills.
    pub const BILLS_MAX: usize = 20_000;

    /// Names the first list that is longer than its bound.
    ///
    /// # Errors
    ///
    /// [`Oversized`], with both lengths.
    pub fn check(&self) -> Result<(), Oversized> {
        for (list, len, max) in [
            ("houses", self.houses.len(), Self::HOUSES_MAX),
            ("stations", self.stations.len(), Self::STATIONS_MAX),
            ("trend", self.trend.len(), Self::TREND_MAX),
            ("layers", self.layers.len(), Self::NODES_MAX),
            ("bills", self.bills.len(), Self::BILLS_MAX),
            (
                "network.buffers",
                self.network.buffers.len(),
                Network::BUFFERS_MAX,
            ),
            (
                "network.topology.nodes",
                self.network.topology.nodes.len(),
                Topology::NODES_MAX,
            ),
            (
                "network.topology.ways",
                self.network.topology.ways.len(),
                Topology::WAYS_MAX,
            ),
            (
                "network.paths",
                self.network.paths.len(),
                Network::BUFFERS_MAX,
            ),
            (
                "network.failovers",
                self.network.failovers.len(),
                FailoverView::KEPT_MAX,
            ),
        ] {
            if len > max {
                return Err(Oversized { list, len, max });
            }
        }
        Ok(())
    }

    /// The house of that id.
    pub fn house(&self, id: &str) -> Option<&House> {
        self.houses.iter().find(|house| house.row.id == id)
    }

    /// Stations that run.
    pub fn stations_on(&self) -> usize {
        self.stations.iter().filter(|station| station.on).count()
    }

    /// Houses in `state`.
    pub fn houses_in(&self, state: HouseState) -> usize {
        self.houses
            .iter()
            .filter(|house| house.row.state == state)
            .count()
    }
}

/// A snapshot's list is longer than the console can bear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("console snapshot: {len} entries in `{list}`, at most {max} are shown; keep the newest")]
pub struct Oversized {
    /// The list.
    pub list: &'static str,
    /// Its length.
    pub len: usize,
    /// Its bound.
    pub max: usize,
}

/// The sigmoid tariff: price = `p_min` + (`p_max` − `p_min`) / (1 + e^(−k · (total − x0))).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tariff {
    /// The lower asymptote, per kilowatt-hour.
    #[serde(serialize_with = "text")]
    pub p_min: Price,
    /// The upper asymptote, per kilowatt-hour.
    #[serde(serialize_with = "text")]
    pub p_max: Price,
    /// The total power in watts at which the price stands in the middle.
    pub x0_w: f64,
    /// The steepness, per watt.
    pub k_per_w: f64,
}

/// One generating station.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Station {
    /// Its name.
    pub name: String,
    /// How it generates, in words.
    pub technology: String,
    /// The year of its commissioning.
    pub year: u16,
    /// The most it delivers, in watts.
    pub capacity_w: i64,
    /// The least it delivers while it runs, in watts.
    pub min_w: i64,
    /// Its marginal cost; a price per kilowatt-hour here, per megawatt-hour on the wire.
    #[serde(serialize_with = "per_megawatt_hour")]
    pub cost_per_mwh: Price,
    /// What it delivers now, in watts.
    pub output_w: i64,
    /// Whether it runs.
    pub on: bool,
}

/// One house: the row that every console gets, and the detail of the one that is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct House {
    /// What the list shows.
    #[serde(flatten)]
    pub row: HouseRow,
    /// What only the selected house shows.
    #[serde(flatten)]
    pub detail: HouseDetail,
}

/// A house in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HouseRow {
    /// Stable, unique, and safe in a URL path: letters, digits, `-`, `_`, `.`.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// 1 or 3.
    pub phases: u8,
    /// Active power in watts, import positive.
    pub power_w: Option<i64>,
    /// Voltage of the first phase; volts on the wire.
    #[serde(serialize_with = "volts")]
    pub voltage_v: Option<Millivolts>,
    /// How fresh the house is.
    pub state: HouseState,
    /// When the utility last accepted something of this meter.
    #[serde(serialize_with = "text_or_null")]
    pub last_heard: Option<UtcTime>,
    /// The import register, in watt-hours.
    pub energy_wh: Option<i64>,
    /// The utility's bill of the running month.
    #[serde(serialize_with = "decimal_or_null")]
    pub bill_so_far: Option<Money>,
    /// The meter's own bill of the running month.
    #[serde(serialize_with = "decimal_or_null")]
    pub meter_bill: Option<Money>,
    /// Intervals of the running month that wait for their price, or for the meter to learn it.
    /// The two bills can only be compared where this is 0.
    pub unpriced: u32,
    /// Mean power of the last day's intervals in watts, oldest first; `null` is a gap.
    /// At most [`HouseRow::DAY_MAX`].
    pub day: Vec<Option<i64>>,
}

impl HouseRow {
    /// Points of the sparkline: a day of quarter hours.
    pub const DAY_MAX: usize = 96;
}

/// What a house shows when it is selected.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct HouseDetail {
    /// Its appliances, in the order they are shown.
    pub appliances: Vec<Appliance>,
    /// The pages of the meter's display, in scrolling order.
    pub display: Vec<DisplayItem>,
}

/// How fresh a house is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HouseState {
    /// Its readings arrive in time.
    Online,
    /// A reading is overdue.
    Late,
    /// Nothing arrives.
    Silent,
}

impl HouseState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Online, Self::Late, Self::Silent];

    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Late => "late",
            Self::Silent => "silent",
        }
    }
}

/// One appliance of a house.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Appliance {
    /// Its name.
    pub name: String,
    /// What it draws now, or would draw when on, in watts.
    pub watts: i64,
    /// Whether it runs.
    pub on: bool,
}

/// One page of the meter's scrolling display.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DisplayItem {
    /// The display's code of the value, such as `1.8.0`.
    pub code: String,
    /// What it is, in words.
    pub label: String,
    /// The value as the display writes it.
    pub value: String,
    /// Its unit; empty where there is none.
    pub unit: String,
}

/// One interval of the trend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrendPoint {
    /// The interval's end.
    #[serde(serialize_with = "text")]
    pub end: UtcTime,
    /// Mean power of all houses, in watts.
    pub total_w: Option<i64>,
    /// The interval's price.
    #[serde(serialize_with = "text_or_null")]
    pub price_per_kwh: Option<Price>,
}

/// What was counted since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counters {
    /// Readings that are durable.
    pub readings_stored: u64,
    /// Readings that arrived again, unchanged.
    pub duplicates: u64,
    /// Readings that contradict a stored one; the first stays.
    pub conflicts: u64,
    /// Packets refused for a counter that did not grow.
    pub replayed: u64,
    /// Packets refused for their authentication tag.
    pub bad_tag: u64,
    /// Packets refused for an unknown system title.
    pub unknown: u64,
    /// Packets refused for their form.
    pub malformed: u64,
    /// Intervals that are missing.
    pub gaps: u64,
}

/// One running node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerNode {
    /// Its layer, such as `edge`.
    pub layer: String,
    /// Its name.
    pub node: String,
    /// How it is.
    pub state: NodeState,
    /// One short sentence: what it does, or what is wrong.
    pub detail: String,
}

/// A bill of a month that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClosedBill {
    /// The month.
    #[serde(serialize_with = "text")]
    pub month: Month,
    /// The house's id.
    pub house: String,
    /// The utility's bill.
    #[serde(serialize_with = "decimal")]
    pub amount: Money,
    /// The meter's bill; `None` until the meter closed the month.
    #[serde(serialize_with = "decimal_or_null")]
    pub meter_amount: Option<Money>,
    /// Whether both are the same to the minor unit.
    pub agreed: bool,
    /// Intervals of the month that are missing, and not billed.
    pub gaps: u32,
}

/// The same time with and without houses that respond to the price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DemandResponse {
    /// Without response.
    pub baseline: RunFigures,
    /// With response.
    pub responding: RunFigures,
}

/// The figures of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunFigures {
    /// The highest interval's mean power, in watts.
    pub peak_w: i64,
    /// All energy, in watt-hours.
    pub energy_wh: i64,
    /// What all houses pay.
    #[serde(serialize_with = "decimal")]
    pub cost: Money,
    /// Mean power over peak power, in thousandths.
    pub load_factor_permille: u16,
}

fn rows<S: Serializer>(houses: &[House], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(houses.iter().map(|house| &house.row))
}
