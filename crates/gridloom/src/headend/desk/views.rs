//! From reports of the node to views of the API.

use std::collections::{BTreeMap, BTreeSet};

use gridloom_core::MeterId;
use gridloom_headend::command::End;
use gridloom_headend::schedule::Lane;
use gridloom_headend::session::StepValue;
use gridloom_nodes::HeadEndNode;
use gridloom_nodes::headend::{HeadEndStatus, OrderReport, OrderState as NodeState, Part, What};
use gridloom_store::{DeviceRow, DeviceState};
use gridloom_web::{
    HeadEndView, LaneCounts, MeterFault, MeterView, OrderKind, OrderState, OrderView, Page,
    PartState, PartView, PushesView, ReadRateView,
};

use super::Split;
use crate::obis_names;
use crate::show::{self, ScalerUnit};

/// Whether a view names every meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parts {
    Shown,
    Left,
}

fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The meters of a page.
pub(super) fn page(node: &HeadEndNode, page: &Page) -> Vec<MeterView> {
    let text = page.text.as_ref().map(|text| text.to_lowercase());
    let is_meant = |row: &&DeviceRow| {
        let in_group = page
            .group
            .as_ref()
            .is_none_or(|group| row.groups.contains(group));
        let has_text = text.as_ref().is_none_or(|text| {
            let title = row.title.to_string();
            [&title, &row.serial, &row.name, &row.link.address]
                .iter()
                .any(|field| field.to_lowercase().contains(text))
        });
        row.meter.0 > page.after && in_group && has_text
    };
    node.registry()
        .meters()
        .filter(is_meant)
        .take(page.limit.into())
        .map(|row| meter(node, row))
        .collect()
}

pub(super) fn meter(node: &HeadEndNode, row: &DeviceRow) -> MeterView {
    MeterView {
        id: row.meter.0,
        title: row.title.to_string(),
        serial: row.serial.clone(),
        name: row.name.clone(),
        address: row.link.address.clone(),
        transport: row.link.transport.to_string(),
        template: row.template.clone(),
        groups: row.groups.iter().cloned().collect(),
        state: row.state.to_string(),
        collected_through: node
            .collected_through(row.meter)
            .map(|through| through.to_string()),
        last_error: node.errors().get(&row.meter).map(|error| MeterFault {
            layer: error.layer.to_string(),
            text: error.words.clone(),
            at: error.at.to_string(),
        }),
    }
}

pub(super) fn status(status: &HeadEndStatus, alarms: usize, orders_open: usize) -> HeadEndView {
    let in_service = status
        .meters
        .iter()
        .filter(|(state, _)| **state != DeviceState::Retired);
    let waiting = |lane| small(status.waiting.get(&lane).copied().unwrap_or(0));
    let rate = &status.last_reads;
    HeadEndView {
        meters: small(in_service.map(|(_, count)| count).sum()),
        sessions: small(status.running.values().sum()),
        queued_by_lane: LaneCounts {
            on_demand: waiting(Lane::OnDemand),
            command: waiting(Lane::Command),
            backfill: waiting(Lane::Backfill),
            periodic: waiting(Lane::Periodic),
        },
        read_rate: rate.due.map(|due| ReadRateView {
            due: due.to_string(),
            succeeded: rate.succeeded,
            missed: rate.missed,
        }),
        alarms: small(alarms),
        orders_open: small(orders_open),
        pushes: PushesView {
            accepted: status.pushes.accepted,
            unreadable: status.pushes.unreadable,
            unknown_title: status.pushes.unknown_titles,
            plaintext: status.pushes.plaintext,
            replayed: status.pushes.replayed,
            bad_tag: status.pushes.bad_tags,
            other: status.pushes.others,
        },
    }
}

/// The word of the API; firmware campaigns have none yet and are not shown.
const fn kind(what: What) -> Option<OrderKind> {
    match what {
        What::Read => Some(OrderKind::Read),
        What::Connect => Some(OrderKind::Connect),
        What::Disconnect => Some(OrderKind::Disconnect),
        What::Set => Some(OrderKind::Set),
        What::SyncClock => Some(OrderKind::SyncClock),
        What::ChangeKeys => Some(OrderKind::Rekey),
        What::Campaign => None,
    }
}

/// One order from the node's reports; `None` if the node knows none of them.
pub(super) fn order(
    id: u64,
    reports: &[OrderReport],
    refused: &BTreeMap<MeterId, String>,
    shown: Parts,
) -> Option<OrderView> {
    let first = reports.first()?;
    let mut parts: BTreeMap<u32, (PartState, String)> = BTreeMap::new();
    for report in reports {
        for (meter, found) in &report.parts {
            parts.insert(meter.0, part(found));
        }
    }
    for (meter, words) in refused {
        parts.insert(meter.0, (PartState::Failed, words.clone()));
    }
    let count = |state| small(parts.values().filter(|(of, _)| *of == state).count());
    let is = |state| reports.iter().any(|report| report.state == state);
    Some(OrderView {
        id,
        kind: kind(first.what)?,
        by: first.by.clone(),
        at: first.at.to_string(),
        state: if is(NodeState::Selected) {
            OrderState::Selected
        } else if is(NodeState::Running) {
            OrderState::Running
        } else {
            OrderState::Over
        },
        total: small(parts.len()),
        queued: count(PartState::Queued),
        running: count(PartState::Running),
        done: count(PartState::Done),
        failed: count(PartState::Failed),
        parts: match shown {
            Parts::Left => Vec::new(),
            Parts::Shown => parts
                .into_iter()
                .map(|(meter, (state, detail))| PartView {
                    meter,
                    state,
                    detail,
                })
                .collect(),
        },
    })
}

/// All orders, newest first, without their parts.
pub(super) fn orders(reports: &[OrderReport], split: &BTreeMap<u64, Split>) -> Vec<OrderView> {
    let later: BTreeSet<u64> = split
        .values()
        .flat_map(|order| order.members.iter().skip(1))
        .map(|id| id.0)
        .collect();
    let nobody = BTreeMap::new();
    let views = reports
        .iter()
        .rev()
        .filter(|report| !later.contains(&report.id.0));
    views
        .filter_map(|report| match split.get(&report.id.0) {
            None => order(
                report.id.0,
                std::slice::from_ref(report),
                &nobody,
                Parts::Left,
            ),
            Some(whole) => {
                let of_it: Vec<OrderReport> = reports
                    .iter()
                    .filter(|report| whole.members.contains(&report.id))
                    .cloned()
                    .collect();
                order(report.id.0, &of_it, &whole.refused, Parts::Left)
            }
        })
        .take(OrderView::ORDERS_MAX)
        .collect()
}

fn part(part: &Part) -> (PartState, String) {
    match part {
        Part::Waiting => (PartState::Queued, String::new()),
        Part::Running { bytes: 0, .. } => (PartState::Running, String::new()),
        Part::Running { bytes, .. } => (PartState::Running, format!("{bytes} bytes so far")),
        Part::Read { values, broken } => read(values, broken.as_deref()),
        Part::Ended(End::Verified) => (PartState::Done, "verified".to_owned()),
        Part::Ended(End::Failed(why)) | Part::Failed(why) => (PartState::Failed, why.clone()),
        Part::Ended(End::Expired) => (PartState::Failed, "not sent in time".to_owned()),
        Part::Ended(End::Cancelled) => (PartState::Failed, "taken back".to_owned()),
        Part::Ended(End::Superseded(by)) => {
            (PartState::Failed, format!("order {} came after it", by.0))
        }
        Part::Done => (PartState::Done, String::new()),
    }
}

fn read(
    values: &[Result<StepValue, gridloom_headend::session::StepError>],
    broken: Option<&str>,
) -> (PartState, String) {
    match (values.first(), broken) {
        (_, Some(words)) => (PartState::Failed, words.to_owned()),
        (Some(Ok(StepValue::List(list))), None) => match list.as_slice() {
            [Ok(value)] => (PartState::Done, show::text(value)),
            [Ok(value), scaler] => {
                let scaler = scaler.as_ref().ok().and_then(ScalerUnit::from_data);
                let unit = scaler.map_or_else(String::new, |scaler| obis_names::unit(scaler.unit));
                let text = format!("{} {unit}", show::scaled_text(value, scaler));
                (PartState::Done, text.trim_end().to_owned())
            }
            [Err(refused), ..] => (PartState::Failed, format!("object: {refused:?}")),
            _ => (
                PartState::Failed,
                "object: the meter gave no value".to_owned(),
            ),
        },
        (Some(Err(error)), None) => (PartState::Failed, error.to_string()),
        (Some(Ok(_)) | None, None) => {
            let words = "object: the meter gave another kind of answer";
            (PartState::Failed, words.to_owned())
        }
    }
}
