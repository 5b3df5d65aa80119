//! Firmware campaigns: one image to many meters, in stages that have to prove themselves.
//!
//! A stage begins when the one before is over and enough of its meters succeeded; otherwise the
//! campaign halts by itself and an operator decides. Every meter goes through class 18 by its own
//! machine ([`Phase`]), at most [`CampaignPlan::concurrency`] of them at a time. A phase is durable
//! before what follows from it is asked of the meter; the phases of all meters share batches.

mod installation;
mod plan;

use core::fmt;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gridloom_core::bytes::Reader;
use gridloom_core::{Instant, MeterId, Now, Seed, UtcTime, Wake};
use gridloom_store::{Batch, Change, WorkKind, WorkRow};

use crate::audit::{Action, AuditOutcome, AuditRecord, Target};

pub use installation::{
    ATTEMPTS_MAX, BLOCKS_PER_REQUEST_MAX, CONFIRMATIONS_MAX, ImageAnswer, ImageRequest,
    ImageStatus, LAPS_MAX, Phase, STALLS_MAX, TransferStatus,
};
use installation::{Installation, Next};
pub use plan::{
    CONCURRENCY_MAX, CampaignPlan, IMAGE_BYTES_MAX, IMAGE_TEXT_BYTES_MAX, Image, PlanError, Reach,
    STAGES_MAX, StagePlan, TARGETS_MAX,
};
use plan::{Damage, get_text, put_bytes};

/// One campaign.
#[derive(Debug)]
pub struct Campaign {
    plan: CampaignPlan,
    state: CampaignState,
    /// From 0.
    stage: usize,
    /// Stages up to here were let through by an operator despite their failures.
    forgiven: usize,
    /// Every meter, in the order of their turns.
    order: Vec<MeterId>,
    /// How many of them have begun.
    begun: usize,
    meters: BTreeMap<MeterId, Begun>,
    /// Being worked on; asked, pausing, or waiting for the disk.
    running: BTreeMap<MeterId, Doing>,
    /// How many of those are asked or written.
    busy: usize,
    /// Whose request waits for its turn.
    ready: BTreeSet<MeterId>,
    /// Verified, waiting for their activation.
    verified: BTreeSet<MeterId>,
    /// How the meters of each stage ended.
    tally: Vec<Tally>,
    /// What has to be written.
    changed: BTreeSet<MeterId>,
    head_changed: Option<String>,
    /// What is being written.
    in_flight: Option<BTreeSet<MeterId>>,
    deadlines: BTreeSet<(Instant, MeterId)>,
    outbox: VecDeque<CampaignOutput>,
}

/// A meter whose turn has come.
#[derive(Debug)]
struct Begun {
    installation: Installation,
    /// From 0.
    stage: usize,
}

/// How the meters of a stage ended.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    over: usize,
    failed: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// An answer is awaited.
    Asked(ImageRequest),
    /// A pause before this request.
    Pausing(Instant, ImageRequest),
    /// Its phase is not durable yet.
    Writing,
    /// This request waits for its turn, or for the campaign to go on.
    Held(ImageRequest),
}

impl Doing {
    /// Whether it takes one of the campaign's places.
    const fn is_busy(self) -> bool {
        matches!(self, Self::Asked(_) | Self::Writing)
    }
}

/// How a campaign stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CampaignState {
    /// At work.
    Running,
    /// An operator paused it.
    Paused,
    /// It stopped itself: too many meters of a stage failed.
    Halted(String),
    /// An operator ended it; activations under way are still watched.
    Aborted,
    /// Every meter is over.
    Finished,
}

impl fmt::Display for CampaignState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("running"),
            Self::Paused => f.write_str("paused"),
            Self::Halted(reason) => write!(f, "halted: {reason}"),
            Self::Aborted => f.write_str("aborted"),
            Self::Finished => f.write_str("finished"),
        }
    }
}

/// What a campaign wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CampaignOutput {
    /// Ask the meter; answer with [`Campaign::handle_answer`].
    Ask(MeterId, ImageRequest),
    /// It stopped itself: tell an operator.
    Halted(String),
    /// Every meter is over, and that is durable.
    Finished,
}

/// How far a campaign is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CampaignReport {
    /// How it stands.
    pub state: CampaignState,
    /// The stage, from 1.
    pub stage: usize,
    /// Meters that have not begun.
    pub waiting: usize,
    /// Meters at work, or verified and waiting for their time.
    pub under_way: usize,
    /// Meters that run the new version.
    pub succeeded: usize,
    /// Meters that do not, with the reasons.
    pub failed: BTreeMap<MeterId, String>,
    /// Meters left alone because the campaign was aborted.
    pub cancelled: usize,
    /// How far each meter is; of an aborted campaign those that had begun.
    pub meters: BTreeMap<MeterId, Phase>,
}

impl CampaignReport {
    /// Meters that may run the image: those that a roll-back is for.
    pub fn activated(&self) -> impl Iterator<Item = MeterId> {
        self.meters
            .iter()
            .filter(|(_, phase)| {
                matches!(
                    phase,
                    Phase::Succeeded | Phase::Activating | Phase::Failed(_)
                )
            })
            .map(|(meter, _)| *meter)
    }
}

/// Why a campaign cannot be taken up again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("campaign {number}: {what} in its stored state is damaged; restore it from a backup")]
pub struct CampaignDamage {
    /// Which.
    pub number: u64,
    /// What.
    pub what: &'static str,
}

impl Campaign {
    /// Begins; nothing is asked before the plan is durable ([`Self::next_batch`]). `seed` decides
    /// whose turn comes when, so that canaries are spread over the area.
    ///
    /// # Errors
    ///
    /// What is wrong with the plan.
    pub fn begin(plan: CampaignPlan, seed: Seed) -> Result<Self, PlanError> {
        plan.check()?;
        let mut campaign = Self::new(plan, seed);
        campaign.head_changed = Some("begun".into());
        Ok(campaign)
    }

    /// Takes a campaign up after a start, from its rows ([`gridloom_store::WhichWork::Number`]).
    /// The seed must be the one that it began with.
    ///
    /// # Errors
    ///
    /// If a row is damaged or there is none.
    pub fn resume(rows: &[WorkRow], seed: Seed, now: Now) -> Result<Self, CampaignDamage> {
        let number = rows.first().map_or(0, |row| row.number);
        let damage = |Damage(what)| CampaignDamage { number, what };
        let head = rows.iter().find(|row| row.meter.is_none());
        let head = head.ok_or_else(|| damage(Damage("the first row")))?;
        let mut campaign = Self::decode_head(number, &head.state, seed).map_err(damage)?;
        for row in rows {
            let Some(meter) = row.meter else { continue };
            let phase = Phase::decode(&row.state).map_err(damage)?;
            let place = campaign.order.iter().position(|other| *other == meter);
            let place = place.ok_or_else(|| damage(Damage("a meter that is no target")))?;
            campaign.insert(meter, place, phase);
            campaign.take_up(meter);
        }
        campaign.advance(now);
        Ok(campaign)
    }

    fn new(plan: CampaignPlan, seed: Seed) -> Self {
        let mut order: Vec<_> = plan.targets.iter().copied().collect();
        order.sort_by_key(|meter| (seed.nth(meter.0.into()).get(), *meter));
        let tally = vec![Tally::default(); plan.stages.len()];
        Self {
            plan,
            state: CampaignState::Running,
            stage: 0,
            forgiven: 0,
            order,
            begun: 0,
            meters: BTreeMap::new(),
            running: BTreeMap::new(),
            busy: 0,
            ready: BTreeSet::new(),
            verified: BTreeSet::new(),
            tally,
            changed: BTreeSet::new(),
            head_changed: None,
            in_flight: None,
            deadlines: BTreeSet::new(),
            outbox: VecDeque::new(),
        }
    }

    /// Stops asking; what is under way comes to its end.
    pub fn pause(&mut self, by: &str) {
        if self.state == CampaignState::Running {
            self.enter(CampaignState::Paused, &format!("paused by {by}"));
        }
    }

    /// Goes on after a pause or a halt. After a halt the stage's failures are forgiven.
    pub fn go_on(&mut self, by: &str, now: Now) {
        let what = match self.state {
            CampaignState::Paused => "resumed",
            CampaignState::Halted(_) => {
                self.forgiven = self.stage + 1;
                "resumed despite failures"
            }
            CampaignState::Running | CampaignState::Aborted | CampaignState::Finished => return,
        };
        self.enter(CampaignState::Running, &format!("{what} by {by}"));
        self.advance(now);
    }

    /// Ends it: meters that activated nothing are left alone, activations are still watched.
    /// A roll-back is a campaign of its own ([`Self::roll_back`]).
    pub fn abort(&mut self, by: &str, now: Now) {
        if matches!(self.state, CampaignState::Aborted | CampaignState::Finished) {
            return;
        }
        self.enter(CampaignState::Aborted, &format!("aborted by {by}"));
        let idle: Vec<_> = self
            .meters
            .iter()
            .filter(|(meter, begun)| {
                let phase = &begun.installation.phase;
                let doing = self.running.get(meter);
                !matches!(doing, Some(Doing::Asked(_) | Doing::Writing))
                    && *phase != Phase::Activating
                    && !phase.is_over()
            })
            .map(|(meter, _)| *meter)
            .collect();
        for meter in idle {
            self.enter_phase(meter, Phase::Cancelled);
        }
        self.advance(now);
    }

    /// The image that a stored campaign brings, by its SHA-256; `None` if its row is damaged.
    pub fn image_of(rows: &[WorkRow]) -> Option<[u8; 32]> {
        let head = rows.iter().find(|row| row.meter.is_none())?;
        let mut reader = Reader::new(&head.state);
        let plan = CampaignPlan::decode(head.number, &mut reader).ok()?;
        Some(plan.image.digest)
    }

    /// The plan that brings the meters that activated this image to `previous`; `None` if there
    /// is none.
    pub fn roll_back(&self, number: u64, previous: Image, actor: &str) -> Option<CampaignPlan> {
        let targets: BTreeSet<_> = self.report().activated().collect();
        (!targets.is_empty()).then(|| CampaignPlan {
            number,
            image: previous,
            targets,
            stages: vec![StagePlan {
                reach: Reach::Percent(100),
                success_percent: 0,
            }],
            concurrency: self.plan.concurrency,
            activate_at: None,
            actor: actor.to_owned(),
        })
    }

    /// What a meter answered.
    pub fn handle_answer(&mut self, meter: MeterId, answer: ImageAnswer, now: Now) {
        let Some(Doing::Asked(request)) = self.running.get(&meter).copied() else {
            panic!("{meter} was not asked");
        };
        let begun = self.meters.get_mut(&meter).expect("it is running");
        let next = begun.installation.handle(request, answer, &self.plan, now);
        let is_stopped =
            self.state == CampaignState::Aborted && begun.installation.phase != Phase::Activating;
        match next {
            Next::Enter(phase) if phase.is_over() => self.enter_phase(meter, phase),
            _ if is_stopped => self.enter_phase(meter, Phase::Cancelled),
            Next::Enter(phase) => self.enter_phase(meter, phase),
            Next::Ask(request) => self.ask(meter, request),
            Next::Pause(until, request) => {
                self.set(meter, Doing::Pausing(until, request));
                self.deadlines.insert((until, meter));
            }
        }
        self.advance(now);
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(&(until, meter)) = self.deadlines.first() {
            if until > now.instant {
                break;
            }
            self.deadlines.pop_first();
            if let Some(Doing::Pausing(_, request)) = self.running.get(&meter).copied() {
                self.set(meter, Doing::Held(request));
            }
        }
        self.advance(now);
    }

    /// What has to be written, all meters together; `None` if nothing does or a batch is under
    /// way. Answer with [`Self::handle_committed`] or [`Self::handle_commit_failed`].
    pub fn next_batch(&mut self, at: UtcTime) -> Option<Batch> {
        if self.in_flight.is_some() || (self.changed.is_empty() && self.head_changed.is_none()) {
            return None;
        }
        let changed = core::mem::take(&mut self.changed);
        let mut changes = Vec::new();
        for meter in &changed {
            let phase = &self.meters[meter].installation.phase;
            changes.push(Change::Work(WorkRow {
                kind: WorkKind::Campaign,
                number: self.plan.number,
                meter: Some(*meter),
                state: phase.encode(),
                is_finished: phase.is_over(),
                changed_at: at,
            }));
            changes.push(self.audit_meter(*meter, phase, at));
        }
        if let Some(what) = self.head_changed.take() {
            changes.push(Change::Work(WorkRow {
                kind: WorkKind::Campaign,
                number: self.plan.number,
                meter: None,
                state: self.encode_head(),
                is_finished: self.state == CampaignState::Finished,
                changed_at: at,
            }));
            let target = Target::Work(self.plan.number);
            let after = format!("{what}, stage {}, {}", self.stage + 1, self.state);
            changes.push(self.audit(target, after, AuditOutcome::Done, at));
        }
        self.in_flight = Some(changed);
        Some(Batch::new(changes))
    }

    /// The batch is durable.
    pub fn handle_committed(&mut self, now: Now) {
        let written = self.in_flight.take().expect("a batch was under way");
        for meter in written {
            // Entered yet another phase meanwhile: that one is written first.
            if !self.changed.contains(&meter) {
                self.take_up(meter);
            }
        }
        self.advance(now);
        if self.state == CampaignState::Finished
            && self.head_changed.is_none()
            && self.changed.is_empty()
        {
            self.outbox.push_back(CampaignOutput::Finished);
        }
    }

    /// The database failed: the same has to be written again.
    pub fn handle_commit_failed(&mut self) {
        let written = self.in_flight.take().expect("a batch was under way");
        self.changed.extend(written);
        self.head_changed
            .get_or_insert_with(|| "written again".into());
    }

    /// The next effect.
    pub fn poll_output(&mut self) -> Option<CampaignOutput> {
        self.outbox.pop_front()
    }

    /// When to come back.
    pub fn wake(&self) -> Wake {
        let is_waiting = self.state == CampaignState::Running && !self.verified.is_empty();
        Wake {
            instant: self
                .deadlines
                .first()
                .map(|(until, _)| (*until, "campaign retry")),
            utc: self
                .plan
                .activate_at
                .filter(|_| is_waiting)
                .map(|at| (at, "activation")),
        }
    }

    /// How far it is.
    pub fn report(&self) -> CampaignReport {
        let mut report = CampaignReport {
            state: self.state.clone(),
            stage: self.stage + 1,
            waiting: self.order.len() - self.meters.len(),
            under_way: 0,
            succeeded: 0,
            failed: BTreeMap::new(),
            cancelled: 0,
            meters: self
                .order
                .iter()
                .map(|meter| (*meter, Phase::Waiting))
                .collect(),
        };
        for (meter, begun) in &self.meters {
            report
                .meters
                .insert(*meter, begun.installation.phase.clone());
            match &begun.installation.phase {
                Phase::Waiting => report.waiting += 1,
                Phase::Begun | Phase::Initiated | Phase::Verified | Phase::Activating => {
                    report.under_way += 1;
                }
                Phase::Succeeded => report.succeeded += 1,
                Phase::Failed(reason) => {
                    report.failed.insert(*meter, reason.clone());
                }
                Phase::Cancelled => report.cancelled += 1,
            }
        }
        report
    }

    /// The plan that it carries out.
    pub const fn plan(&self) -> &CampaignPlan {
        &self.plan
    }

    /// Begins meters, activates those whose time has come, and judges the stage.
    fn advance(&mut self, now: Now) {
        if self.head_changed.is_some() && self.meters.is_empty() {
            return; // The plan itself is not durable yet.
        }
        self.drain_ready();
        while self.state == CampaignState::Running {
            self.activate_due(now);
            let reached = self.reached(self.stage);
            while self.begun < reached && self.busy < self.plan.concurrency {
                let meter = self.order[self.begun];
                // Taken up again after a start.
                if self.meters.contains_key(&meter) {
                    self.begun += 1;
                    continue;
                }
                self.insert(meter, self.begun, Phase::Waiting);
                self.begun += 1;
                self.enter_phase(meter, Phase::Begun);
            }
            if !self.judge_stage() {
                break;
            }
        }
        let over: usize = self.tally.iter().map(|tally| tally.over).sum();
        if self.state == CampaignState::Aborted && over == self.meters.len() {
            self.enter(CampaignState::Finished, "over");
        }
    }

    fn drain_ready(&mut self) {
        let waiting: Vec<_> = self.ready.iter().copied().collect();
        for meter in waiting {
            if self.busy >= self.plan.concurrency {
                break;
            }
            if let Some(Doing::Held(request)) = self.running.get(&meter).copied()
                && self.may_ask(meter)
            {
                self.ask(meter, request);
            }
        }
    }

    fn activate_due(&mut self, now: Now) {
        if self.plan.activate_at.is_some_and(|at| now.utc < at) {
            return;
        }
        while self.busy < self.plan.concurrency
            && let Some(&meter) = self.verified.first()
        {
            self.enter_phase(meter, Phase::Activating);
        }
    }

    /// Goes to the next stage or the end if this one is over; halts if it failed. Whether there
    /// is more to begin.
    fn judge_stage(&mut self) -> bool {
        let (first, reached) = (
            self.stage
                .checked_sub(1)
                .map_or(0, |before| self.reached(before)),
            self.reached(self.stage),
        );
        let of_stage = reached - first;
        let Tally { over, failed } = self.tally[self.stage];
        let needed = usize::from(self.plan.stages[self.stage].success_percent);
        let is_lost = (of_stage - failed) * 100 < needed * of_stage;
        if is_lost && self.forgiven <= self.stage {
            let reason = format!(
                "{failed} of the {of_stage} meters of stage {} failed, {needed} percent must \
                 succeed; resume, abort or roll back",
                self.stage + 1
            );
            self.enter(CampaignState::Halted(reason.clone()), "halted");
            self.outbox.push_back(CampaignOutput::Halted(reason));
            return false;
        }
        if over < of_stage {
            return false;
        }
        if self.stage + 1 == self.plan.stages.len() {
            self.enter(CampaignState::Finished, "over");
            return false;
        }
        self.stage += 1;
        self.head_changed = Some("next stage".into());
        true
    }

    fn reached(&self, stage: usize) -> usize {
        self.plan.stages[stage].reach.of(self.order.len())
    }

    fn insert(&mut self, meter: MeterId, place: usize, phase: Phase) {
        let stages = 0..self.plan.stages.len();
        let stage = stages
            .into_iter()
            .find(|stage| place < self.reached(*stage));
        let begun = Begun {
            installation: Installation::new(phase),
            stage: stage.expect("the last stage reaches every meter"),
        };
        let tally = &mut self.tally[begun.stage];
        let phase = &begun.installation.phase;
        tally.over += usize::from(phase.is_over());
        tally.failed += usize::from(phase.is_over() && *phase != Phase::Succeeded);
        self.meters.insert(meter, begun);
    }

    /// Goes on in a phase that is durable.
    fn take_up(&mut self, meter: MeterId) {
        self.unset(meter);
        let installation = &self.meters[&meter].installation;
        let is_verified = installation.phase == Phase::Verified;
        match installation.take_up() {
            Some(request) if self.busy < self.plan.concurrency => self.ask(meter, request),
            Some(request) => self.set(meter, Doing::Held(request)),
            None if is_verified && self.state == CampaignState::Aborted => {
                self.enter_phase(meter, Phase::Cancelled);
            }
            None if is_verified => {
                self.verified.insert(meter);
            }
            None => {}
        }
    }

    /// An activation that may have been sent is watched to its end, whatever operators say.
    fn may_ask(&self, meter: MeterId) -> bool {
        self.state == CampaignState::Running
            || self.meters[&meter].installation.phase == Phase::Activating
    }

    fn ask(&mut self, meter: MeterId, request: ImageRequest) {
        if self.may_ask(meter) {
            self.outbox.push_back(CampaignOutput::Ask(meter, request));
            self.set(meter, Doing::Asked(request));
        } else if self.state == CampaignState::Aborted {
            self.enter_phase(meter, Phase::Cancelled);
        } else {
            self.set(meter, Doing::Held(request));
        }
    }

    fn enter_phase(&mut self, meter: MeterId, phase: Phase) {
        self.verified.remove(&meter);
        let begun = self.meters.get_mut(&meter).expect("it has begun");
        assert!(!begun.installation.phase.is_over(), "what is over stays so");
        begun.installation.phase = phase;
        let stage = begun.stage;
        let is_over = begun.installation.phase.is_over();
        let has_failed = is_over && begun.installation.phase != Phase::Succeeded;
        self.tally[stage].over += usize::from(is_over);
        self.tally[stage].failed += usize::from(has_failed);
        self.changed.insert(meter);
        self.set(meter, Doing::Writing);
    }

    fn set(&mut self, meter: MeterId, doing: Doing) {
        self.unset(meter);
        self.busy += usize::from(doing.is_busy());
        if matches!(doing, Doing::Held(_)) {
            self.ready.insert(meter);
        }
        self.running.insert(meter, doing);
    }

    fn unset(&mut self, meter: MeterId) {
        self.ready.remove(&meter);
        match self.running.remove(&meter) {
            Some(Doing::Pausing(until, _)) => {
                self.deadlines.remove(&(until, meter));
            }
            Some(doing) => self.busy -= usize::from(doing.is_busy()),
            None => {}
        }
    }

    fn enter(&mut self, state: CampaignState, what: &str) {
        self.state = state;
        self.head_changed = Some(what.to_owned());
    }

    fn audit_meter(&self, meter: MeterId, phase: &Phase, at: UtcTime) -> Change {
        let image = &self.plan.image.version;
        let (after, outcome) = if let Phase::Failed(reason) = phase {
            (image.clone(), AuditOutcome::Failed(reason.clone()))
        } else {
            (format!("{image} {phase:?}"), AuditOutcome::Done)
        };
        self.audit(Target::Meter(meter), after, outcome, at)
    }

    fn audit(&self, target: Target, after: String, outcome: AuditOutcome, at: UtcTime) -> Change {
        let record = AuditRecord {
            at,
            actor: self.plan.actor.clone(),
            action: Action::Campaign,
            target,
            before: String::new(),
            after,
            outcome,
        };
        record.to_change()
    }

    fn encode_head(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.plan.encode(&mut out);
        let (code, reason) = match &self.state {
            CampaignState::Running => (0, ""),
            CampaignState::Paused => (1, ""),
            CampaignState::Halted(reason) => (2, reason.as_str()),
            CampaignState::Aborted => (3, ""),
            CampaignState::Finished => (4, ""),
        };
        out.push(code);
        put_bytes(&mut out, reason.as_bytes());
        for number in [self.stage, self.forgiven] {
            out.push(u8::try_from(number).expect("stages are few"));
        }
        out
    }

    fn decode_head(number: u64, bytes: &[u8], seed: Seed) -> Result<Self, Damage> {
        let mut reader = Reader::new(bytes);
        let plan = CampaignPlan::decode(number, &mut reader)?;
        let mut campaign = Self::new(plan, seed);
        let code = reader.u8()?;
        let reason = get_text(&mut reader)?;
        campaign.state = match code {
            0 => CampaignState::Running,
            1 => CampaignState::Paused,
            2 => CampaignState::Halted(reason),
            3 => CampaignState::Aborted,
            4 => CampaignState::Finished,
            _ => return Err(Damage("its standing")),
        };
        campaign.stage = reader.u8()?.into();
        campaign.forgiven = reader.u8()?.into();
        if campaign.stage >= campaign.plan.stages.len() {
            return Err(Damage("its stage"));
        }
        Ok(campaign)
    }
}

#[cfg(test)]
mod tests;
