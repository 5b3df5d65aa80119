//! Firmware campaigns: from the API's words to plans of the node, and its reports to views.

use std::sync::Arc;

use gridloom_core::{Now, UtcTime};
use gridloom_headend::CampaignReport;
use gridloom_headend::campaign::{CampaignPlan, CampaignState, Image, Phase, Reach, StagePlan};
use gridloom_nodes::HeadEndNode;
use gridloom_nodes::headend::{Order, OrderError, OrderId, Pause};
use gridloom_web::{CampaignAction, CampaignStep, CampaignView, DeskError, NewCampaign, Previous};

use super::HeadEndDesk;
use super::asking::{invalid, targets};

/// A canary, then a tenth, then all.
const STAGES: &str = "1,10%,100%";

const SUCCESS_PERCENT: u8 = 95;

const CONCURRENCY: u16 = 64;

/// Begins a campaign.
pub(super) async fn start(
    desk: HeadEndDesk,
    campaign: NewCampaign,
    bytes: Vec<u8>,
    by: String,
) -> Result<CampaignView, DeskError> {
    let (meters, groups) = (numbers(&campaign)?, names(campaign.groups.as_deref()));
    let lookup = desk
        .ask(move |node, _| targets(node, (&meters, &groups)))
        .await??;
    let stages = stages(&campaign, lookup.len())?;
    let activate_at = campaign.activate_at.as_deref().map(|text| {
        let problem = || format!("{text:?}; give a time in UTC such as 2027-03-01T02:00:00Z");
        UtcTime::parse(text).ok_or_else(|| invalid("activate_at", problem()))
    });
    let activate_at = activate_at.transpose()?;
    let of = Previous {
        version: campaign.version,
        identifier: campaign.identifier,
        signature: campaign.signature,
    };
    let (image, bytes) = take(&desk, of, bytes).await?;
    let plan = CampaignPlan {
        number: 0,
        image,
        targets: lookup,
        stages,
        concurrency: campaign.concurrency.unwrap_or(CONCURRENCY).into(),
        activate_at,
        actor: by.clone(),
    };
    desk.ask(move |node, now| {
        let order = Order::Campaign { plan, image: bytes };
        let id = node.submit(order, &by, now).map_err(refused)?;
        one(node, id.0)
    })
    .await?
}

/// Ends a campaign and brings another image to the meters that may run its own.
pub(super) async fn roll_back(
    desk: HeadEndDesk,
    id: u64,
    previous: Previous,
    bytes: Vec<u8>,
    by: String,
) -> Result<CampaignView, DeskError> {
    desk.ask(move |node, _| one(node, id)).await??;
    let image = take(&desk, previous, bytes).await?;
    desk.ask(move |node, now| {
        let id = node
            .roll_back(OrderId(id), image, &by, now)
            .map_err(refused)?;
        one(node, id.0)
    })
    .await?
}

/// Checks the image and makes it durable, away from the runtime's own threads.
async fn take(
    desk: &HeadEndDesk,
    of: Previous,
    bytes: Vec<u8>,
) -> Result<(Image, Arc<[u8]>), DeskError> {
    let firmware = desk.firmware.clone();
    let taken = tokio::task::spawn_blocking(move || {
        let (identifier, signature) = (of.identifier.as_deref(), of.signature.as_deref());
        let image = firmware.take(&bytes, &of.version, identifier, signature)?;
        Ok::<_, anyhow::Error>((image, Arc::from(bytes)))
    });
    let taken = taken
        .await
        .map_err(|error| DeskError::Down(error.to_string()))?;
    taken.map_err(|error| invalid("image", format!("{error:#}")))
}

/// Pauses it, lets it go on, or ends it.
pub(super) fn change(
    node: &mut HeadEndNode,
    id: u64,
    action: CampaignAction,
    by: &str,
    now: Now,
) -> Result<CampaignView, DeskError> {
    let before = one(node, id)?;
    let id = OrderId(id);
    let changed = match action {
        CampaignAction::Pause => node.set_campaign(id, Pause::Paused, by, now),
        CampaignAction::Resume => node.set_campaign(id, Pause::Running, by, now),
        CampaignAction::Abort => node.cancel(id, by, now),
    };
    changed.map_err(|error| {
        if matches!(error, OrderError::Unknown(_)) {
            return DeskError::Refused(format!(
                "campaign {}: it is {}, nothing of it can be changed any more; begin a new one",
                id.0, before.state
            ));
        }
        refused(error)
    })?;
    one(node, id.0)
}

/// All campaigns, newest first, without their meters.
pub(super) fn all(node: &HeadEndNode) -> Vec<CampaignView> {
    let mut views: Vec<CampaignView> = node
        .orders()
        .filter_map(|order| node.campaign(order.id).map(|report| (order.id, report)))
        .filter_map(|(id, mut report)| {
            report.meters.clear();
            view(node, id, &report)
        })
        .collect();
    views.reverse();
    views
}

/// One campaign with its meters.
pub(super) fn one(node: &HeadEndNode, id: u64) -> Result<CampaignView, DeskError> {
    let report = node.campaign(OrderId(id));
    report
        .and_then(|report| view(node, OrderId(id), &report))
        .ok_or_else(|| {
            DeskError::Unknown(format!(
                "campaign {id}: there is none of that number; see gridloom campaign list"
            ))
        })
}

fn view(node: &HeadEndNode, id: OrderId, report: &CampaignReport) -> Option<CampaignView> {
    let order = node.order(id)?;
    let small = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let (state, reason) = match &report.state {
        CampaignState::Running => ("running", ""),
        CampaignState::Paused => ("paused", ""),
        CampaignState::Halted(reason) => ("halted", reason.as_str()),
        CampaignState::Aborted => ("aborted", ""),
        CampaignState::Finished => ("finished", ""),
    };
    let meters = report.meters.iter().map(|(meter, phase)| {
        let (phase, detail) = match phase {
            Phase::Waiting => ("waiting", ""),
            Phase::Begun => ("begun", ""),
            Phase::Initiated => ("transferring", ""),
            Phase::Verified => ("verified", ""),
            Phase::Activating => ("activating", ""),
            Phase::Succeeded => ("succeeded", ""),
            Phase::Failed(why) => ("failed", why.as_str()),
            Phase::Cancelled => ("cancelled", ""),
        };
        CampaignStep {
            meter: meter.0,
            phase: phase.to_owned(),
            detail: detail.to_owned(),
        }
    });
    Some(CampaignView {
        id: id.0,
        by: order.by.clone(),
        at: order.at.to_string(),
        version: node.campaign_version(id).unwrap_or_default().to_owned(),
        state: state.to_owned(),
        reason: reason.to_owned(),
        stage: small(report.stage),
        total: small(order.parts.len()),
        waiting: small(report.waiting),
        under_way: small(report.under_way),
        succeeded: small(report.succeeded),
        failed: small(report.failed.len()),
        cancelled: small(report.cancelled),
        meters: meters.collect(),
    })
}

fn refused(error: OrderError) -> DeskError {
    DeskError::Refused(error.to_string())
}

fn names(list: Option<&str>) -> Vec<String> {
    let names = list.unwrap_or_default().split(',').map(str::trim);
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn numbers(campaign: &NewCampaign) -> Result<Vec<u32>, DeskError> {
    let numbers = names(campaign.meters.as_deref()).into_iter().map(|name| {
        let problem = || format!("{name:?} is no number of a meter");
        name.parse().map_err(|_| invalid("meters", problem()))
    });
    numbers.collect()
}

fn stages(campaign: &NewCampaign, all: usize) -> Result<Vec<StagePlan>, DeskError> {
    let success_percent = campaign.success.unwrap_or(SUCCESS_PERCENT);
    let mut stages: Vec<StagePlan> = Vec::new();
    let text = campaign.stages.as_deref();
    for name in names(Some(text.unwrap_or(STAGES))) {
        let reach = match name.strip_suffix('%') {
            Some(percent) => percent
                .trim()
                .parse()
                .ok()
                .filter(|it| *it <= 100)
                .map(Reach::Percent),
            None => name.parse().ok().map(Reach::Meters),
        };
        let reach = reach.ok_or_else(|| {
            let problem = format!("{name:?}; give meters or percent, such as 1,10%,100%");
            invalid("stages", problem)
        })?;
        let stage = StagePlan {
            reach,
            success_percent,
        };
        // The usual stages are too fine for few meters; stages that somebody gave are checked.
        let reached = stages.last().map_or(0, |last| last.reach.of(all));
        if text.is_some() || reach.of(all) > reached {
            stages.push(stage);
        }
    }
    Ok(stages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn campaign(stages: Option<&str>) -> NewCampaign {
        NewCampaign {
            version: "2".to_owned(),
            identifier: None,
            meters: Some("1, 2,7".to_owned()),
            groups: None,
            stages: stages.map(str::to_owned),
            success: None,
            concurrency: None,
            activate_at: None,
            signature: None,
        }
    }

    #[test]
    fn stages_are_read_and_the_usual_ones_suit_few_meters() {
        assert_eq!(numbers(&campaign(None)).unwrap(), [1, 2, 7]);
        for (text, all, expected) in [
            (None, 1_000, vec![1, 100, 1_000]),
            (None, 5, vec![1, 5]),
            (None, 1, vec![1]),
            (Some("2,50%,100%"), 10, vec![2, 5, 10]),
        ] {
            let stages = stages(&campaign(text), all).unwrap();
            let reached: Vec<usize> = stages.iter().map(|stage| stage.reach.of(all)).collect();
            assert_eq!(reached, expected, "{text:?} of {all}");
        }
        for text in ["x", "101%", "-1", "5 %x"] {
            assert!(stages(&campaign(Some(text)), 9).is_err(), "{text}");
        }
    }
}
