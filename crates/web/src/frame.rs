//! What travels to a live client: everything once, then only what changed.

use std::collections::BTreeMap;

use gridloom_core::{Month, Price, UtcTime};
use serde::Serialize;

use crate::model::{
    ClosedBill, Counters, DemandResponse, House, HouseRow, LayerNode, Snapshot, Station, TrendPoint,
};
use crate::wire::{text, text_or_null};

/// One message to a live client.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Frame<'a> {
    /// Everything: the first message, and again after a change that a delta cannot tell.
    Snapshot { snapshot: &'a Snapshot },
    /// What changed since the last message.
    Delta { delta: Box<Delta<'a>> },
    /// The house that the client watches; `null` if there is none of that id.
    House {
        id: &'a str,
        house: Option<&'a House>,
    },
}

impl Frame<'_> {
    pub(crate) fn encode(&self) -> String {
        serde_json::to_string(self).expect("a frame has no map with keys other than strings")
    }
}

/// What changed between two snapshots.
#[derive(Debug, Serialize)]
pub(crate) struct Delta<'a> {
    #[serde(serialize_with = "text")]
    now: UtcTime,
    speed: u32,
    total_w: Option<i64>,
    #[serde(serialize_with = "text_or_null")]
    price_per_kwh: Option<Price>,
    #[serde(serialize_with = "text_or_null")]
    price_interval_end: Option<UtcTime>,
    counters: Counters,
    demand_response: Option<&'a DemandResponse>,
    /// Changed and new houses.
    houses: Vec<&'a HouseRow>,
    /// Changed and new bills.
    bills: Vec<&'a ClosedBill>,
    /// The whole list, or `null` if it did not change. So are the next two.
    stations: Option<&'a [Station]>,
    trend: Option<&'a [TrendPoint]>,
    layers: Option<&'a [LayerNode]>,
}

/// The frame that brings a client from `before` to `after`.
pub(crate) fn update<'a>(before: Option<&Snapshot>, after: &'a Snapshot) -> Frame<'a> {
    match before.and_then(|before| delta(before, after)) {
        Some(delta) => Frame::Delta {
            delta: Box::new(delta),
        },
        None => Frame::Snapshot { snapshot: after },
    }
}

/// `None` where something changed that a delta does not carry: what is fixed while a utility runs,
/// or a house or bill that is gone.
fn delta<'a>(before: &Snapshot, after: &'a Snapshot) -> Option<Delta<'a>> {
    let same_ground = before.utility == after.utility
        && before.currency == after.currency
        && before.minor_digits == after.minor_digits
        && before.interval_s == after.interval_s
        && before.tariff == after.tariff;
    if !same_ground {
        return None;
    }
    Some(Delta {
        now: after.now,
        speed: after.speed,
        total_w: after.total_w,
        price_per_kwh: after.price_per_kwh,
        price_interval_end: after.price_interval_end,
        counters: after.counters,
        demand_response: after.demand_response.as_ref(),
        houses: changed_houses(&before.houses, &after.houses)?,
        bills: changed_bills(&before.bills, &after.bills)?,
        stations: changed_list(&before.stations, &after.stations),
        trend: changed_list(&before.trend, &after.trend),
        layers: changed_list(&before.layers, &after.layers),
    })
}

fn changed_list<'a, T: PartialEq>(before: &[T], after: &'a [T]) -> Option<&'a [T]> {
    (before != after).then_some(after)
}

fn changed_houses<'a>(before: &[House], after: &'a [House]) -> Option<Vec<&'a HouseRow>> {
    let known: BTreeMap<&str, &HouseRow> = before
        .iter()
        .map(|house| (house.row.id.as_str(), &house.row))
        .collect();
    changed_rows(
        &known,
        after
            .iter()
            .map(|house| (house.row.id.as_str(), &house.row)),
    )
}

fn changed_bills<'a>(
    before: &[ClosedBill],
    after: &'a [ClosedBill],
) -> Option<Vec<&'a ClosedBill>> {
    if before == after {
        return Some(Vec::new());
    }
    let known: BTreeMap<(Month, &str), &ClosedBill> =
        before.iter().map(|bill| (bill_key(bill), bill)).collect();
    changed_rows(&known, after.iter().map(|bill| (bill_key(bill), bill)))
}

fn bill_key(bill: &ClosedBill) -> (Month, &str) {
    (bill.month, &bill.house)
}

/// The rows of `after` that are new or differ; `None` if one of `known` is gone.
fn changed_rows<'a, K: Ord, T: PartialEq>(
    known: &BTreeMap<K, &T>,
    after: impl Iterator<Item = (K, &'a T)>,
) -> Option<Vec<&'a T>> {
    let mut kept = 0;
    let mut changed = Vec::new();
    for (key, row) in after {
        let old = known.get(&key);
        kept += usize::from(old.is_some());
        if old.is_none_or(|old| **old != *row) {
            changed.push(row);
        }
    }
    (kept == known.len()).then_some(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    /// What a frame is, and the ids or list names in it.
    fn told(before: &Snapshot, after: &Snapshot) -> String {
        match update(Some(before), after) {
            Frame::Snapshot { .. } => "snapshot".to_owned(),
            Frame::House { .. } => "house".to_owned(),
            Frame::Delta { delta } => {
                let houses = delta.houses.iter().map(|row| format!("house {}", row.id));
                let bills = delta
                    .bills
                    .iter()
                    .map(|bill| format!("bill {}", bill.month));
                let lists = [
                    delta.stations.map(|_| "stations".to_owned()),
                    delta.trend.map(|_| "trend".to_owned()),
                    delta.layers.map(|_| "layers".to_owned()),
                ];
                let parts: Vec<String> = houses
                    .chain(bills)
                    .chain(lists.into_iter().flatten())
                    .collect();
                parts.join(", ")
            }
        }
    }

    #[test]
    fn a_client_is_told_exactly_what_changed() {
        type Change = fn(&mut Snapshot);
        let cases: [(&str, Change, &str); 11] = [
            ("nothing", |_| {}, ""),
            ("the time", |s| s.now = UtcTime::from_secs(1), ""),
            ("a power", |s| s.houses[0].row.power_w = Some(7), "house h1"),
            (
                "an appliance only",
                |s| s.houses[0].detail.appliances.clear(),
                "",
            ),
            (
                "a new house",
                |s| s.houses[1].row.id = "h9".to_owned(),
                "snapshot",
            ),
            (
                "one house more",
                |s| {
                    let mut house = s.houses[0].clone();
                    house.row.id = "h3".to_owned();
                    s.houses.push(house);
                },
                "house h3",
            ),
            ("a house gone", |s| s.houses.truncate(1), "snapshot"),
            (
                "a bill of the meter",
                |s| s.bills[0].meter_amount = None,
                "bill 2026-10",
            ),
            ("a bill gone", |s| s.bills.truncate(1), "snapshot"),
            ("an output", |s| s.stations[0].output_w += 1, "stations"),
            ("the tariff", |s| s.tariff.x0_w += 1.0, "snapshot"),
        ];
        let before = sample::full();
        for (what, change, expected) in cases {
            let mut after = before.clone();
            change(&mut after);
            assert_eq!(told(&before, &after), expected, "{what}");
        }
    }
}
