//! What operators call: orders, their reports, the registry and the status.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gridloom_core::{MeterId, Now, UtcTime};
use gridloom_headend::campaign::{CampaignPlan, Image, Reach, StagePlan};
use gridloom_headend::command::{Command, CommandId};
use gridloom_headend::registry::By;
use gridloom_headend::rotation::RotationPlan;
use gridloom_headend::schedule::Lane;
use gridloom_headend::session::{Session, Step};
use gridloom_headend::{
    Campaign, CampaignReport, Import, Proposal, Registry, Rotation, VaultError,
};
use gridloom_store::{Change, DeviceState, KeyKind, WorkKind, WorkRow};

use super::changes::ChangeId;
use super::orders::{Order, OrderError, OrderId, OrderReport, OrderState, Part, What};
use super::rows::encode_command;
use super::status::{Alarm, HeadEndStatus, LastError};
use super::{HeadEndNode, Task};

/// Meters that a roll-back works on at a time.
const ROLL_BACK_CONCURRENCY: usize = 64;

impl HeadEndNode {
    /// Takes an order. A command waits for [`Self::confirm`]; everything else begins.
    ///
    /// # Errors
    ///
    /// What is wrong with it; nothing has happened then.
    pub fn submit(&mut self, order: Order, by: &str, now: Now) -> Result<OrderId, OrderError> {
        self.make_room()?;
        let number = self.next_work(now);
        let id = OrderId(number);
        match order {
            Order::Read {
                targets,
                steps,
                deadline,
            } => self.submit_read(id, (targets, steps, deadline), by, now)?,
            Order::Command {
                targets,
                order,
                reason,
                expires,
            } => {
                self.check_targets(&targets)?;
                let what = What::of(&order);
                let command = Command {
                    id: CommandId(number),
                    author: by.to_owned(),
                    reason,
                    order,
                    targets: targets.clone(),
                    expires,
                };
                let selected = self.commands.select(command, now.utc);
                self.add_order(number, by, (what, OrderState::Selected), targets, now);
                self.drain_commands();
                if let Err(error) = selected {
                    self.orders.remove(&id);
                    return Err(error.into());
                }
            }
            Order::ChangeKeys { meter, kinds } => {
                self.check_targets(&[meter])?;
                if self
                    .keys
                    .current(meter, KeyKind::KeyEncryption, 0)
                    .is_none()
                {
                    return Err(OrderError::NoKek(meter));
                }
                let plan = RotationPlan {
                    number,
                    meter,
                    kinds,
                    actor: by.to_owned(),
                    own: self.config.title,
                };
                // Four keys of 32 bytes at most.
                let entropy: zeroize::Zeroizing<[u8; 128]> = self.entropy.bytes().into();
                let keys = self.keys.of(meter);
                let mut next = self.keys.next_key();
                let begun =
                    Rotation::begin(&plan, &keys, &mut next, &mut self.vault, &*entropy, now)?;
                self.keys.reserve_numbers(next);
                self.rotations.insert(number, begun);
                let begun = (What::ChangeKeys, OrderState::Running);
                self.add_order(number, by, begun, [meter], now);
                self.drain_rotation(number);
            }
            Order::Campaign { mut plan, image } => {
                let targets: Vec<MeterId> = plan.targets.iter().copied().collect();
                self.check_targets(&targets)?;
                plan.number = number;
                if u32::try_from(image.len()) != Ok(plan.image.size) {
                    return Err(OrderError::Image {
                        got: image.len(),
                        wanted: plan.image.size,
                    });
                }
                let digest = plan.image.digest;
                let campaign = Campaign::begin(plan, self.config.seed.nth(number))?;
                self.config.images.insert(digest, image);
                self.enter_campaign(number, campaign, now);
            }
        }
        self.pump(now);
        Ok(id)
    }

    fn submit_read(
        &mut self,
        id: OrderId,
        (targets, steps, deadline): (Vec<MeterId>, Vec<Step>, UtcTime),
        by: &str,
        now: Now,
    ) -> Result<(), OrderError> {
        if !(1..=Session::STEPS_MAX).contains(&steps.len()) {
            return Err(OrderError::Steps(steps.len()));
        }
        if let Some(index) = steps.iter().position(Step::is_order) {
            return Err(OrderError::NotARead(index));
        }
        self.check_targets(&targets)?;
        self.steps.insert(id, steps);
        let begun = (What::Read, OrderState::Running);
        self.add_order(id.0, by, begun, targets.iter().copied(), now);
        for meter in targets {
            let task = Task::Reading(id, meter);
            self.submit_task(meter, Lane::OnDemand, task, now.utc, deadline, now);
        }
        Ok(())
    }

    /// Confirms a command that was selected: it is sent once that is durable.
    ///
    /// # Errors
    ///
    /// No such selection, or it expired.
    pub fn confirm(&mut self, id: OrderId, by: &str, now: Now) -> Result<(), OrderError> {
        let confirmed = self.commands.confirm(CommandId(id.0), by, now.utc);
        self.drain_commands();
        self.pump(now);
        Ok(confirmed?)
    }

    /// Takes an order back. What was sent is still followed to its end; a key change is not taken
    /// back, because half a change is none.
    ///
    /// # Errors
    ///
    /// No such order, or it is over.
    pub fn cancel(&mut self, id: OrderId, by: &str, now: Now) -> Result<(), OrderError> {
        let is_open = self
            .orders
            .get(&id)
            .is_some_and(|report| report.state != OrderState::Over);
        if !is_open || self.rotations.contains_key(&id.0) {
            return Err(OrderError::Unknown(id));
        }
        if let Some(campaign) = self.campaigns.get_mut(&id.0) {
            campaign.abort(by, now);
            self.drain_campaign(id.0);
        } else if self.steps.remove(&id).is_some() {
            let open = self.orders.get(&id).map(|report| report.parts.clone());
            for (meter, part) in open.unwrap_or_default() {
                if part == Part::Waiting {
                    self.set_part(id, meter, Part::Failed("taken back".to_owned()));
                }
            }
        } else {
            let cancelled = self.commands.cancel(CommandId(id.0), by, now.utc);
            self.drain_commands();
            self.pump(now);
            let is_selected = self
                .orders
                .get(&id)
                .is_some_and(|report| report.state == OrderState::Selected);
            if is_selected {
                self.close_order(id);
            }
            return Ok(cancelled?);
        }
        self.pump(now);
        Ok(())
    }

    /// How an order stands; `None` if it was forgotten or never given.
    pub fn order(&self, id: OrderId) -> Option<&OrderReport> {
        self.orders.get(&id)
    }

    /// The orders that are open or were lately, by number.
    pub fn orders(&self) -> impl Iterator<Item = &OrderReport> {
        self.orders.values()
    }

    /// How far a campaign is.
    pub fn campaign(&self, id: OrderId) -> Option<CampaignReport> {
        let running = self.campaigns.get(&id.0).map(Campaign::report);
        running.or_else(|| self.campaign_reports.get(&id.0).cloned())
    }

    /// What a campaign brings, as long as it is known.
    pub fn campaign_version(&self, id: OrderId) -> Option<&str> {
        self.images.get(&id.0).map(|image| image.version.as_str())
    }

    /// Ends a campaign and brings `image` to every meter that may run the new one: all at once,
    /// because nobody wants to wait then. A campaign of its own.
    ///
    /// # Errors
    ///
    /// No such campaign, no meter activated anything, or the image is refused.
    pub fn roll_back(
        &mut self,
        id: OrderId,
        (previous, bytes): (Image, Arc<[u8]>),
        by: &str,
        now: Now,
    ) -> Result<OrderId, OrderError> {
        let report = self.campaign(id).ok_or(OrderError::Unknown(id))?;
        let targets: BTreeSet<MeterId> = report.activated().collect();
        if targets.is_empty() {
            return Err(OrderError::NothingActivated(id));
        }
        if self.campaigns.contains_key(&id.0) {
            self.cancel(id, by, now)?;
        }
        let plan = CampaignPlan {
            number: 0,
            image: previous,
            targets,
            stages: vec![StagePlan {
                reach: Reach::Percent(100),
                success_percent: 0,
            }],
            concurrency: ROLL_BACK_CONCURRENCY,
            activate_at: None,
            actor: by.to_owned(),
        };
        self.submit(Order::Campaign { plan, image: bytes }, by, now)
    }

    /// Stops a campaign for a while, or lets it go on, despite failures if it has halted.
    ///
    /// # Errors
    ///
    /// No such campaign.
    pub fn set_campaign(
        &mut self,
        id: OrderId,
        paused: Pause,
        by: &str,
        now: Now,
    ) -> Result<(), OrderError> {
        let campaign = self.campaigns.get_mut(&id.0);
        let campaign = campaign.ok_or(OrderError::Unknown(id))?;
        match paused {
            Pause::Paused => campaign.pause(by),
            Pause::Running => campaign.go_on(by, now),
        }
        self.drain_campaign(id.0);
        self.pump(now);
        Ok(())
    }

    /// The meters.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Writes a change of the registry, an import with its keys among them; meters are read by it
    /// once it is durable.
    /// Its number finds the answer with [`Self::change`].
    pub fn write(&mut self, proposal: Proposal, now: Now) -> ChangeId {
        let id = self.begin_change(proposal);
        self.pump(now);
        id
    }

    /// Imports meters with their keys; meters are read by it once it is durable. Its number finds
    /// the answer with [`Self::change`].
    ///
    /// # Errors
    ///
    /// If the vault fails; nothing has happened then.
    pub fn import(&mut self, import: Import, by: By<'_>, now: Now) -> Result<ChangeId, VaultError> {
        let mut next = self.keys.next_key();
        let proposal = import.propose(&mut self.vault, self.config.title, &mut next, by)?;
        self.keys.reserve_numbers(next);
        Ok(self.write(proposal, now))
    }

    /// What an operator should look at, oldest first.
    pub fn alarms(&self) -> impl Iterator<Item = &Alarm> {
        self.alarms.iter()
    }

    /// Why each meter could not be talked to, the last time; those that could are not here.
    pub fn errors(&self) -> &BTreeMap<MeterId, LastError> {
        &self.errors
    }

    /// The end of the last interval up to which a meter is read, gaps aside.
    pub fn collected_through(&self, meter: MeterId) -> Option<UtcTime> {
        self.collected.get(&meter).map(|read| read.through)
    }

    /// How it stands.
    pub fn status(&self) -> HeadEndStatus {
        let mut meters = BTreeMap::new();
        for row in self.registry.meters() {
            *meters.entry(row.state).or_default() += 1;
        }
        let mut running: BTreeMap<Lane, usize> = BTreeMap::new();
        for session in self.sessions.values() {
            *running.entry(session.start.lane).or_default() += 1;
        }
        let mut waiting: BTreeMap<Lane, usize> = BTreeMap::new();
        for task in self.tasks.values() {
            *waiting.entry(task.lane()).or_default() += 1;
        }
        let once: usize = waiting.values().sum();
        let periodic = self.schedule.len().saturating_sub(once);
        waiting.insert(Lane::Periodic, periodic);
        for (lane, waiting) in &mut waiting {
            *waiting = waiting.saturating_sub(running.get(lane).copied().unwrap_or(0));
        }
        HeadEndStatus {
            is_connected: self.ways.utility().is_some(),
            meters,
            running,
            waiting,
            connections: self.ways.dialled(),
            last_reads: self.last_reads,
            reads: self.reads,
            gaps: self.backfill.len(),
            gaps_named: self.named_gaps.counted,
            undelivered: self.deliveries.len(),
            sessions_ended: self.sessions_ended,
            sessions_failed: self.sessions_failed,
            malformed: self.malformed,
            pushes: self.pushes.counts(),
        }
    }

    // ---- Reports.

    pub(super) fn add_order(
        &mut self,
        number: u64,
        by: &str,
        (what, state): (What, OrderState),
        targets: impl IntoIterator<Item = MeterId>,
        now: Now,
    ) {
        let parts = targets.into_iter().map(|meter| (meter, Part::Waiting));
        let report = OrderReport {
            id: OrderId(number),
            by: by.to_owned(),
            at: now.utc,
            what,
            state,
            parts: parts.collect(),
        };
        self.orders.insert(report.id, report);
    }

    pub(super) fn set_part(&mut self, id: OrderId, meter: MeterId, part: Part) {
        let Some(report) = self.orders.get_mut(&id) else {
            return;
        };
        report.parts.insert(meter, part);
        let is_reading = self.steps.contains_key(&id);
        if is_reading && report.parts.values().all(Part::is_over) {
            report.state = OrderState::Over;
        }
    }

    pub(super) fn set_state(&mut self, id: OrderId, state: OrderState) {
        if let Some(report) = self.orders.get_mut(&id) {
            report.state = state;
        }
    }

    pub(super) fn close_order(&mut self, id: OrderId) {
        self.set_state(id, OrderState::Over);
    }

    /// The last row of a command whose every part is over.
    pub(super) fn finished_head(&mut self, id: CommandId, at: UtcTime) -> Option<Change> {
        let command = self.command_heads.remove(&id)?;
        Some(Change::Work(WorkRow {
            kind: WorkKind::Command,
            number: id.0,
            meter: None,
            state: encode_command(&command, false),
            is_finished: true,
            changed_at: at,
        }))
    }

    pub(super) fn enter_campaign(&mut self, number: u64, campaign: Campaign, now: Now) {
        let plan = campaign.plan();
        let image = &plan.image;
        self.images.insert(number, image.clone());
        let (actor, targets) = (plan.actor.clone(), plan.targets.clone());
        self.campaigns.insert(number, campaign);
        let begun = (What::Campaign, OrderState::Running);
        self.add_order(number, &actor, begun, targets, now);
        self.drain_campaign(number);
    }

    fn check_targets(&self, targets: &[MeterId]) -> Result<(), OrderError> {
        if targets.is_empty() || targets.len() > Self::TARGETS_MAX {
            return Err(OrderError::Targets(targets.len()));
        }
        for meter in targets {
            let row = self.registry.meter(*meter);
            let is_served = row.is_some_and(|row| match row.state {
                DeviceState::Enrolled | DeviceState::Commissioned => true,
                DeviceState::Suspended | DeviceState::Retired => false,
            });
            if !is_served {
                return Err(OrderError::NotInService(*meter));
            }
        }
        Ok(())
    }

    /// Forgets the oldest order that is over where the book is full.
    fn make_room(&mut self) -> Result<(), OrderError> {
        if self.orders.len() < Self::ORDERS_MAX {
            return Ok(());
        }
        let over = self
            .orders
            .values()
            .find(|report| report.state == OrderState::Over)
            .map(|report| report.id);
        let id = over.ok_or(OrderError::Full)?;
        self.orders.remove(&id);
        self.steps.remove(&id);
        self.campaign_reports.remove(&id.0);
        self.images.remove(&id.0);
        Ok(())
    }

    /// A number that no work had: after every one that is known, and not before this
    /// millisecond, so that a finished one is not met again. The store refuses it otherwise.
    fn next_work(&mut self, now: Now) -> u64 {
        let millis = u64::try_from(now.utc.as_millis()).unwrap_or(0);
        self.last_work = (self.last_work + 1).max(millis);
        self.last_work
    }
}

/// Whether a campaign is to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// Nothing new is asked of any meter.
    Paused,
    /// It goes on.
    Running,
}
