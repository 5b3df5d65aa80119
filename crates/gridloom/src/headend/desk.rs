//! The API's desk: what it asks becomes orders of the node, what the node reports becomes views.

mod asking;
mod campaigns;
mod views;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gridloom_core::{Day, MeterId};
use gridloom_headend::registry::By;
use gridloom_headend::{Import, OnFault, Templates};
use gridloom_host::{Handle, NodeIndex, Stopped};
use gridloom_nodes::headend::{ChangeState, OrderId, OrderReport, OrderState as NodeState};
use gridloom_nodes::{HeadEndNode, UtilityNode};
use gridloom_store::DeviceRow;
use gridloom_web::{
    Answer, CampaignAction, CampaignView, Desk, DeskError, Fault, HeadEndView, ImportReport,
    MeterView, NewCampaign, NewOrder, OrderView, Page, Previous,
};
use zeroize::Zeroizing;

use super::Firmware;
use crate::area;

const ONLY: NodeIndex = NodeIndex(0);

/// How often it is looked whether an import is durable.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long an import may take to become durable.
const DURABLE_WITHIN: Duration = Duration::from_secs(20);

/// Orders of the API that the node carries out as several; the oldest is forgotten beyond it, and
/// then shows as the several that it is.
const SPLIT_MAX: usize = 256;

/// A way from the API to a head-end and its utility.
#[derive(Clone)]
pub(crate) struct HeadEndDesk {
    head_end: Handle<HeadEndNode>,
    /// Of this process, if it runs one.
    utility: Option<Handle<UtilityNode>>,
    templates: Arc<Templates>,
    firmware: Firmware,
    /// Operators wait by the wall, the node by its own clock.
    speed: u32,
    /// The orders that the node knows as several, by the first one's number.
    split: Arc<Mutex<BTreeMap<u64, Split>>>,
}

/// The node's orders for one of the API's.
#[derive(Debug, Clone, Default)]
struct Split {
    members: Vec<OrderId>,
    /// Meters whose order the node did not take.
    refused: BTreeMap<MeterId, String>,
}

impl HeadEndDesk {
    pub(crate) fn new(
        head_end: Handle<HeadEndNode>,
        utility: Option<Handle<UtilityNode>>,
        templates: Templates,
        firmware: Firmware,
        speed: u32,
    ) -> Self {
        Self {
            head_end,
            utility,
            templates: Arc::new(templates),
            firmware,
            speed,
            split: Arc::default(),
        }
    }

    async fn ask<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut HeadEndNode, gridloom_core::Now) -> R + Send + 'static,
    ) -> Result<R, DeskError> {
        self.head_end.call(ONLY, call).await.map_err(down)
    }

    /// The orders of the node that make the API's order `id`.
    fn members(&self, id: u64) -> Split {
        let split = self.split.lock().unwrap_or_else(PoisonError::into_inner);
        split.get(&id).cloned().unwrap_or_else(|| Split {
            members: vec![OrderId(id)],
            refused: BTreeMap::new(),
        })
    }

    fn keep(&self, order: Split) -> Option<u64> {
        let first = order.members.first()?.0;
        if order.members.len() > 1 || !order.refused.is_empty() {
            let mut split = self.split.lock().unwrap_or_else(PoisonError::into_inner);
            split.insert(first, order);
            while split.len() > SPLIT_MAX {
                split.pop_first();
            }
        }
        Some(first)
    }

    async fn report(&self, id: u64, parts: views::Parts) -> Result<OrderView, DeskError> {
        let split = self.members(id);
        let members = split.members.clone();
        let reports: Vec<OrderReport> = self
            .ask(move |node, _| {
                let known = members.iter().filter_map(|id| node.order(*id).cloned());
                known.collect()
            })
            .await?;
        views::order(id, &reports, &split.refused, parts)
            .ok_or_else(|| DeskError::Unknown(format!("order {id}: there is none of that number")))
    }

    /// Does the same to every order of the node that makes this one.
    async fn with_each(
        self,
        id: u64,
        mut call: impl FnMut(
            &mut HeadEndNode,
            OrderId,
            gridloom_core::Now,
        ) -> Result<(), gridloom_nodes::headend::OrderError>
        + Send
        + 'static,
    ) -> Result<OrderView, DeskError> {
        self.report(id, views::Parts::Left).await?;
        let members = self.members(id).members;
        let done = self
            .ask(move |node, now| {
                let mut done = Err(None);
                for member in members {
                    match call(node, member, now) {
                        Ok(()) => done = Ok(()),
                        Err(error) if done.is_err() => done = Err(Some(error)),
                        Err(_) => {}
                    }
                }
                done
            })
            .await?;
        if let Err(Some(error)) = done {
            return Err(DeskError::Refused(error.to_string()));
        }
        self.report(id, views::Parts::Shown).await
    }

    async fn take_import(
        self,
        csv: Zeroizing<String>,
        by: String,
    ) -> Result<ImportReport, DeskError> {
        let templates = Arc::clone(&self.templates);
        let (rows, report, change, since) = self
            .ask(move |node, now| {
                let registry = node.registry();
                let parsed = Import::parse(&csv, registry, &templates, OnFault::RefuseAll);
                let import = parsed.map_err(|faults| {
                    let named = faults.listed.into_iter().map(|fault| Fault {
                        line: u32::try_from(fault.line).ok(),
                        column: fault.column,
                        problem: fault.problem,
                    });
                    DeskError::Invalid(named.collect())
                })?;
                let rows: Vec<DeviceRow> = import.rows().cloned().collect();
                let mut report = ImportReport {
                    added: 0,
                    changed: 0,
                    unchanged: 0,
                };
                for row in &rows {
                    let place = match registry.meter(row.meter) {
                        None => &mut report.added,
                        Some(held) if held == row => &mut report.unchanged,
                        Some(_) => &mut report.changed,
                    };
                    *place += 1;
                }
                let who = By {
                    actor: &by,
                    at: now.utc,
                };
                let change = node
                    .import(import, who, now)
                    .map_err(|error| DeskError::Refused(error.to_string()))?;
                Ok::<_, DeskError>((rows, report, change, now.utc))
            })
            .await??;
        let durable = async {
            loop {
                let state = self
                    .ask(move |node, _| node.change(change).cloned())
                    .await?;
                match state {
                    Some(ChangeState::Durable) => return Ok(()),
                    Some(ChangeState::Refused(words)) => return Err(DeskError::Refused(words)),
                    Some(ChangeState::Writing) => tokio::time::sleep(LOOK_EVERY).await,
                    None => {
                        let words = "the import's answer is forgotten; look at the meters";
                        return Err(DeskError::Down(words.to_owned()));
                    }
                }
            }
        };
        tokio::time::timeout(DURABLE_WITHIN, durable)
            .await
            .map_err(|_| {
                DeskError::Down("the import is not durable yet; look at the meters again".into())
            })??;
        let Some(utility) = &self.utility else {
            return Ok(report);
        };
        // As the registry holds them now: a row may leave to it what it says itself.
        let held = self
            .ask(move |node, _| {
                let held = rows
                    .iter()
                    .filter_map(|row| node.registry().meter(row.meter));
                held.cloned().collect::<Vec<DeviceRow>>()
            })
            .await?;
        // Its readings are billed from today on.
        let first = Day::from_epoch_days(since.day().epoch_days()).start();
        for row in &held {
            let served = area::served(row, &self.templates, first);
            if let Ok(Some(meter)) = served {
                utility
                    .call(ONLY, move |node, now| node.enrol(meter, now))
                    .await
                    .map_err(down)?;
            }
        }
        Ok(report)
    }
}

fn down(stopped: Stopped) -> DeskError {
    DeskError::Down(format!("{stopped}; start gridloom serve again"))
}

impl Desk for HeadEndDesk {
    fn meters(&self, page: Page) -> Answer<Vec<MeterView>> {
        let desk = self.clone();
        Box::pin(async move { desk.ask(move |node, _| views::page(node, &page)).await })
    }

    fn meter(&self, id: u32) -> Answer<MeterView> {
        let desk = self.clone();
        Box::pin(async move {
            let found = desk
                .ask(move |node, _| {
                    let row = node.registry().meter(MeterId(id))?;
                    Some(views::meter(node, row))
                })
                .await?;
            found.ok_or_else(|| DeskError::Unknown(format!("meter {id} is not registered")))
        })
    }

    fn import(&self, csv: String, by: String) -> Answer<ImportReport> {
        let desk = self.clone();
        Box::pin(desk.take_import(Zeroizing::new(csv), by))
    }

    fn submit(&self, order: NewOrder, by: String) -> Answer<OrderView> {
        let desk = self.clone();
        Box::pin(async move {
            let (templates, speed) = (Arc::clone(&desk.templates), desk.speed);
            let split = desk
                .ask(move |node, now| asking::submit(node, (&templates, speed), &order, &by, now))
                .await??;
            let first_words = split.refused.values().next().cloned();
            match desk.keep(split) {
                Some(id) => desk.report(id, views::Parts::Shown).await,
                None => Err(DeskError::Refused(first_words.unwrap_or_default())),
            }
        })
    }

    fn confirm(&self, id: u64, by: String) -> Answer<OrderView> {
        let desk = self.clone();
        Box::pin(desk.with_each(id, move |node, id, now| node.confirm(id, &by, now)))
    }

    fn cancel(&self, id: u64, by: String) -> Answer<OrderView> {
        let desk = self.clone();
        Box::pin(desk.with_each(id, move |node, id, now| node.cancel(id, &by, now)))
    }

    fn orders(&self) -> Answer<Vec<OrderView>> {
        let desk = self.clone();
        Box::pin(async move {
            let reports: Vec<OrderReport> =
                desk.ask(|node, _| node.orders().cloned().collect()).await?;
            let split = desk
                .split
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            Ok(views::orders(&reports, &split))
        })
    }

    fn order(&self, id: u64) -> Answer<OrderView> {
        let desk = self.clone();
        Box::pin(async move { desk.report(id, views::Parts::Shown).await })
    }

    fn start_campaign(
        &self,
        campaign: NewCampaign,
        image: Vec<u8>,
        by: String,
    ) -> Answer<CampaignView> {
        Box::pin(campaigns::start(self.clone(), campaign, image, by))
    }

    fn campaigns(&self) -> Answer<Vec<CampaignView>> {
        let desk = self.clone();
        Box::pin(async move { desk.ask(|node, _| campaigns::all(node)).await })
    }

    fn campaign(&self, id: u64) -> Answer<CampaignView> {
        let desk = self.clone();
        Box::pin(async move { desk.ask(move |node, _| campaigns::one(node, id)).await? })
    }

    fn change_campaign(&self, id: u64, action: CampaignAction, by: String) -> Answer<CampaignView> {
        let desk = self.clone();
        Box::pin(async move {
            desk.ask(move |node, now| campaigns::change(node, id, action, &by, now))
                .await?
        })
    }

    fn roll_back(
        &self,
        id: u64,
        previous: Previous,
        image: Vec<u8>,
        by: String,
    ) -> Answer<CampaignView> {
        Box::pin(campaigns::roll_back(self.clone(), id, previous, image, by))
    }

    fn status(&self) -> Answer<HeadEndView> {
        let desk = self.clone();
        Box::pin(async move {
            desk.ask(|node, _| {
                let open = node
                    .orders()
                    .filter(|report| report.state != NodeState::Over)
                    .count();
                views::status(&node.status(), node.errors().len(), open)
            })
            .await
        })
    }
}
