//! The head-end node: reads meters on time, carries out orders, changes keys, brings firmware.
//!
//! Routing only: when, whom and what is decided by the machines of `gridloom_headend`; here their
//! outputs meet links, disk and each other. Invariants:
//!
//! - No counter leaves before its reservation is durable, no order before its journal entry, no
//!   key transfer before its mark.
//! - Keys are unwrapped for one session and dropped with it.
//! - How far a meter is read advances only when the utility has acknowledged the readings.

mod collect;
mod config;
mod deliveries;
mod disk;
mod entropy;
mod keys;
mod operate;
mod orders;
mod rows;
mod status;
mod talk;
mod ways;
mod work;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use gridloom_core::{Instant, MeterId, Now, ObisCode, Wake};
use gridloom_headend::backfill::{self, Backfill, Order as GapOrder, ReadId, Series, Span};
use gridloom_headend::campaign::{CampaignOutput, CampaignReport, ImageRequest};
use gridloom_headend::command::{self, Command, CommandBook, CommandId, Entry};
use gridloom_headend::profile::ProfileShape;
use gridloom_headend::registry::{By, Registry};
use gridloom_headend::rotation::{KeySelection, RotationOutput, retire_previous};
use gridloom_headend::schedule::{
    self, JobId, Lane, LinkId as WayId, Recurrence, RecurrenceId, Schedule, Start, TaskId,
};
use gridloom_headend::session;
use gridloom_headend::vault::KeyWrapper;
use gridloom_headend::{Campaign, CounterBook, MeterTemplate, Rotation, Vault};
use gridloom_store::{Batch, Change, DeviceState, KeyId, KeyKind, Refused, Transport};

use crate::envelope::Message;
use crate::node::{DiskReply, Input, LinkId, Node, Output, Port};

pub use config::{HeadEndConfig, HeadEndError, HeadEndMemory};
pub use operate::Pause;
pub use orders::{Order, OrderError, OrderId, OrderReport, OrderState, Part};
pub use rows::RowDamage;
pub use status::{Alarm, HeadEndStatus, LastError, ReadRate};

use deliveries::Deliveries;
use disk::{Saved, Saving};
use entropy::Entropy;
use keys::KeyRing;
use rows::Collected;
use talk::Running;
use ways::{WayEvent, Ways};

/// The recurrence of the load profile.
const PROFILE: RecurrenceId = RecurrenceId(1);

/// A single job of the schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Task {
    Reading(OrderId, MeterId),
    Command(CommandId, MeterId),
    Gap(ReadId, Series, Span),
    Transfer(u64, KeySelection, Vec<(KeyKind, KeyId)>),
    Probe(u64, KeySelection),
    Image(u64, MeterId, ImageRequest),
}

impl Task {
    const fn lane(&self) -> Lane {
        match self {
            Self::Reading(..) => Lane::OnDemand,
            Self::Gap(..) => Lane::Backfill,
            Self::Command(..) | Self::Transfer(..) | Self::Probe(..) | Self::Image(..) => {
                Lane::Command
            }
        }
    }
}

/// What a machine wants done, in the order in which they wanted it.
#[derive(Debug)]
enum Todo {
    Schedule(schedule::Output),
    Backfill(backfill::Output),
    Command(command::Output),
    Rotation(u64, RotationOutput),
    Campaign(u64, CampaignOutput),
    Session(JobId, session::Output),
    Way(JobId, WayEvent),
}

/// A campaign's image: its digest, what it is called, its bytes.
type ImageName = ([u8; 32], Vec<u8>, u32);

/// A head-end node.
#[derive(Debug)]
pub struct HeadEndNode {
    config: HeadEndConfig,
    registry: Registry,
    templates: BTreeMap<String, Arc<MeterTemplate>>,
    vault: Vault,
    keys: KeyRing,
    counters: CounterBook,
    counters_paused: Option<Instant>,
    /// The highest counter that a meter has verifiably taken, under each key.
    proven: BTreeMap<KeyId, u32>,
    borrowers: BTreeMap<KeyId, JobId>,
    entropy: Entropy,
    schedule: Schedule,
    way_ids: BTreeMap<(Transport, String), WayId>,
    /// Meters that the schedule knows.
    placed: BTreeSet<MeterId>,
    ways: Ways,
    sessions: BTreeMap<JobId, Running>,
    wakes: BTreeSet<(Instant, JobId)>,
    shapes: BTreeMap<MeterId, BTreeMap<ObisCode, ProfileShape>>,
    tasks: BTreeMap<TaskId, Task>,
    last_task: u64,
    backfill: Backfill,
    gap_reads: BTreeMap<ReadId, Series>,
    collected: BTreeMap<MeterId, Collected>,
    uncollected: BTreeSet<MeterId>,
    saving_collected: bool,
    deliveries: Deliveries,
    commands: CommandBook,
    command_heads: BTreeMap<CommandId, Command>,
    submitted: BTreeMap<(CommandId, MeterId), (TaskId, JobId)>,
    granted: BTreeMap<(CommandId, MeterId), Start>,
    journal: Vec<Change>,
    journal_through: Option<u64>,
    saving_journal: bool,
    rotations: BTreeMap<u64, Rotation>,
    campaigns: BTreeMap<u64, Campaign>,
    campaign_reports: BTreeMap<u64, CampaignReport>,
    images: BTreeMap<u64, ImageName>,
    orders: BTreeMap<OrderId, OrderReport>,
    /// The steps of orders to read.
    steps: BTreeMap<OrderId, Vec<session::Step>>,
    last_work: u64,
    saving: Saving,
    alarms: VecDeque<Alarm>,
    errors: BTreeMap<MeterId, LastError>,
    reads: ReadRate,
    last_reads: ReadRate,
    sessions_ended: u64,
    sessions_failed: u64,
    malformed: u64,
    todo: VecDeque<Todo>,
    outbox: VecDeque<Output>,
}

impl HeadEndNode {
    /// Meters of one order; more are refused.
    pub const TARGETS_MAX: usize = 10_000;
    /// Orders that are open or were lately; beyond it the oldest that is over is forgotten, and
    /// where none is, a new one is refused.
    pub const ORDERS_MAX: usize = 256;
    /// Alarms kept for an operator to look at; the oldest fall out.
    pub const ALARMS_MAX: usize = 500;

    /// A head-end with the memory that it left. `wrapper` holds the master key; `seed` is fresh
    /// entropy of the system, a simulation derives it from its own seed.
    ///
    /// # Errors
    ///
    /// A wrong master key, or a row that is damaged.
    pub fn new(
        config: HeadEndConfig,
        memory: HeadEndMemory,
        wrapper: Box<dyn KeyWrapper>,
        seed: [u8; 32],
        now: Now,
    ) -> Result<Self, HeadEndError> {
        let (vault, vault_changes) = memory.open_vault(wrapper, now.utc)?;
        let last_work = memory.last_work();
        let templates = config.templates.iter();
        let templates = templates.map(|(name, kind)| (name.clone(), Arc::new(kind.clone())));
        let heads = memory.entries.iter().filter_map(|entry| match entry {
            Entry::Confirmed(command) => Some((command.id, command.clone())),
            Entry::Sending(..) | Entry::Settled(..) | Entry::Cancelled(_) => None,
        });
        let heads: BTreeMap<_, _> = heads.collect();
        let mut node = Self {
            templates: templates.collect(),
            registry: Registry::load(memory.devices),
            vault,
            counters: CounterBook::new(config.title),
            counters_paused: None,
            proven: BTreeMap::new(),
            borrowers: BTreeMap::new(),
            entropy: Entropy::new(seed),
            schedule: Schedule::new(config.schedule, config.seed.child("schedule")),
            way_ids: BTreeMap::new(),
            placed: BTreeSet::new(),
            ways: Ways::new(config.name.clone(), config.link_idle),
            sessions: BTreeMap::new(),
            wakes: BTreeSet::new(),
            shapes: BTreeMap::new(),
            tasks: BTreeMap::new(),
            last_task: 0,
            backfill: Backfill::new(config.backfill),
            gap_reads: BTreeMap::new(),
            collected: BTreeMap::new(),
            uncollected: BTreeSet::new(),
            saving_collected: false,
            deliveries: Deliveries::default(),
            commands: CommandBook::restore(config.command, Vec::new(), now.utc),
            command_heads: heads,
            submitted: BTreeMap::new(),
            granted: BTreeMap::new(),
            journal: Vec::new(),
            journal_through: None,
            saving_journal: false,
            rotations: BTreeMap::new(),
            campaigns: BTreeMap::new(),
            campaign_reports: BTreeMap::new(),
            images: BTreeMap::new(),
            orders: BTreeMap::new(),
            steps: BTreeMap::new(),
            last_work,
            saving: Saving::default(),
            alarms: VecDeque::new(),
            errors: BTreeMap::new(),
            reads: ReadRate::default(),
            last_reads: ReadRate::default(),
            sessions_ended: 0,
            sessions_failed: 0,
            malformed: 0,
            todo: VecDeque::new(),
            outbox: VecDeque::new(),
            keys: KeyRing::load(memory.keys, memory.next_key),
            config,
        };
        if !vault_changes.is_empty() {
            node.save(Batch::new(vault_changes), Saved::Nothing);
        }
        node.enter_counters(&memory.counters);
        let mut collected = memory.collected;
        for (number, read) in std::mem::take(&mut collected) {
            if let Ok(meter) = u32::try_from(number) {
                node.collected.insert(MeterId(meter), read);
            }
        }
        let meters: Vec<MeterId> = node.registry.meters().map(|row| row.meter).collect();
        for meter in meters {
            node.place(meter, now);
        }
        // Meters behind our tiers are out of reach until the utility is there.
        node.set_tunnels(false);
        node.restore_gaps(now);
        node.restore_work(memory.entries, &memory.rotations, &memory.campaigns, now)?;
        let keys: Vec<_> = node.keys.rows().cloned().collect();
        let retired = retire_previous(&keys, now.utc);
        if !retired.changes.is_empty() {
            node.save(retired, Saved::Nothing);
        }
        node.pump(now);
        Ok(node)
    }

    fn enter_counters(&mut self, rows: &[gridloom_store::CounterRow]) {
        let mut by_key: BTreeMap<KeyId, Vec<gridloom_store::CounterRow>> = BTreeMap::new();
        for row in rows {
            by_key.entry(row.key).or_default().push(*row);
        }
        for row in self.keys.rows() {
            let title = self.registry.meter(row.meter).map(|device| device.title);
            if let (KeyKind::UnicastEncryption, Some(title)) = (row.kind, title) {
                let held = by_key.get(&row.key).map_or(&[][..], Vec::as_slice);
                self.counters.enter(row.key, title, held);
            }
        }
    }

    fn restore_gaps(&mut self, now: Now) {
        for (meter, read) in self.collected.clone() {
            let series = Series {
                meter,
                period: read.period,
            };
            for gap in read.gaps {
                let order = GapOrder::OldestFirst;
                let taken = self
                    .backfill
                    .handle_gap(series, gap.from, gap.to, order, now.utc);
                self.drain_backfill();
                if let Err(error) = taken {
                    tracing::error!(%error, "a stored gap is not taken");
                }
            }
        }
    }

    fn restore_work(
        &mut self,
        entries: Vec<Entry>,
        rotations: &[gridloom_store::WorkRow],
        campaigns: &[Vec<gridloom_store::WorkRow>],
        now: Now,
    ) -> Result<(), HeadEndError> {
        for row in rotations {
            let keys = row.meter.map(|meter| self.keys.of(meter));
            let rotation = Rotation::resume(row, &keys.unwrap_or_default(), now)?;
            let meter = rotation.meter();
            self.rotations.insert(row.number, rotation);
            let by = self.config.name.clone();
            self.add_order(row.number, &by, OrderState::Running, [meter], now);
            self.drain_rotation(row.number);
        }
        for rows in campaigns {
            let number = rows.first().map_or(0, |row| row.number);
            let campaign = Campaign::resume(rows, self.config.seed.nth(number), now)?;
            self.enter_campaign(number, campaign, now);
        }
        let heads: Vec<Command> = self.command_heads.values().cloned().collect();
        for command in heads {
            let id = command.id.0;
            self.add_order(
                id,
                &command.author,
                OrderState::Running,
                command.targets,
                now,
            );
        }
        for entry in &entries {
            if let Entry::Settled(id, meter, end) = entry {
                self.set_part(OrderId(id.0), *meter, Part::Ended(end.clone()));
            }
        }
        self.commands = CommandBook::restore(self.config.command, entries, now.utc);
        self.drain_commands();
        // A crash between the last part and the end of the whole.
        let over: Vec<CommandId> = self
            .command_heads
            .keys()
            .copied()
            .filter(|id| self.commands.progress(*id).is_none())
            .collect();
        for id in over {
            if let Some(change) = self.finished_head(id, now.utc) {
                self.journal.push(change);
            }
            self.close_order(OrderId(id.0));
        }
        Ok(())
    }

    // ---- The schedule's view of a meter.

    /// Gives a meter its place in the schedule, or takes it out.
    fn place(&mut self, meter: MeterId, now: Now) {
        let Some(row) = self.registry.meter(meter) else {
            return;
        };
        let is_read = match row.state {
            DeviceState::Enrolled | DeviceState::Commissioned => {
                self.templates.contains_key(&row.template)
            }
            DeviceState::Suspended | DeviceState::Retired => false,
        };
        if !is_read {
            if self.placed.remove(&meter) {
                self.schedule.handle_meter_gone(meter);
                self.drain_schedule();
            }
            return;
        }
        let place = (row.link.transport, row.link.address.clone());
        let next = u32::try_from(self.way_ids.len()).unwrap_or(u32::MAX);
        let known = self.way_ids.contains_key(&place);
        let way = *self.way_ids.entry(place.clone()).or_insert(WayId(next));
        self.schedule.handle_meter(meter, way);
        self.drain_schedule();
        if !known && place.0 == Transport::Gateway && self.ways.utility().is_none() {
            self.schedule.handle_link_down(way);
            self.drain_schedule();
        }
        if self.placed.insert(meter) {
            let reading: Recurrence = self.config.reading;
            let last = self
                .collected
                .get(&meter)
                .map(|read| reading.due_at_or_before(read.through));
            let planned = self.schedule.plan(meter, PROFILE, reading, last, now.utc);
            self.drain_schedule();
            if let Err(error) = planned {
                tracing::error!(%error, "a meter is not read on time");
            }
        }
    }

    /// Every tunnel comes and goes with the link to the utility.
    fn set_tunnels(&mut self, is_up: bool) {
        let tunnels: Vec<WayId> = self
            .way_ids
            .iter()
            .filter(|((transport, _), _)| *transport == Transport::Gateway)
            .map(|(_, way)| *way)
            .collect();
        for way in tunnels {
            if is_up {
                self.schedule.handle_link_up(way);
            } else {
                self.schedule.handle_link_down(way);
            }
            self.drain_schedule();
        }
    }

    /// A meter that was read under its own keys is in service.
    fn commission(&mut self, meter: MeterId, now: Now) {
        let is_new = self
            .registry
            .meter(meter)
            .is_some_and(|row| row.state == DeviceState::Enrolled);
        if !is_new {
            return;
        }
        let actor = self.config.name.clone();
        let by = By {
            actor: &actor,
            at: now.utc,
        };
        let moved =
            self.registry
                .move_on(meter, DeviceState::Commissioned, &self.config.templates, by);
        match moved {
            Ok(proposal) => {
                let batch = proposal.batch.clone();
                self.save(batch, Saved::Registry(Box::new(proposal), vec![meter]));
            }
            Err(faults) => tracing::warn!(%meter, ?faults, "a meter is not commissioned"),
        }
    }

    // ---- Outputs of machines.

    fn drain_schedule(&mut self) {
        while let Some(output) = self.schedule.poll_output() {
            self.todo.push_back(Todo::Schedule(output));
        }
    }

    fn drain_backfill(&mut self) {
        while let Some(output) = self.backfill.poll_output() {
            self.todo.push_back(Todo::Backfill(output));
        }
    }

    fn drain_commands(&mut self) {
        while let Some(output) = self.commands.poll_output() {
            self.todo.push_back(Todo::Command(output));
        }
    }

    fn drain_rotation(&mut self, number: u64) {
        let Some(rotation) = self.rotations.get_mut(&number) else {
            return;
        };
        while let Some(output) = rotation.poll_output() {
            self.todo.push_back(Todo::Rotation(number, output));
        }
    }

    fn drain_campaign(&mut self, number: u64) {
        let Some(campaign) = self.campaigns.get_mut(&number) else {
            return;
        };
        while let Some(output) = campaign.poll_output() {
            self.todo.push_back(Todo::Campaign(number, output));
        }
    }

    /// Carries out what machines want until none wants anything, then writes what collected.
    fn pump(&mut self, now: Now) {
        loop {
            while let Some((job, event)) = self.ways.poll_event() {
                self.todo.push_back(Todo::Way(job, event));
            }
            let Some(todo) = self.todo.pop_front() else {
                break;
            };
            match todo {
                Todo::Schedule(output) => self.carry_out_schedule(output, now),
                Todo::Backfill(output) => self.carry_out_backfill(output, now),
                Todo::Command(output) => self.carry_out_command(output, now),
                Todo::Rotation(number, output) => self.carry_out_rotation(number, output, now),
                Todo::Campaign(number, output) => self.carry_out_campaign(number, output, now),
                Todo::Session(job, output) => self.carry_out_session(job, output, now),
                Todo::Way(job, event) => self.carry_out_way(job, event, now),
            }
        }
        if self.counters_paused.is_none()
            && let Some(batch) = self.counters.next_batch()
        {
            self.save(batch, Saved::Counters);
        }
        self.save_journal();
        self.save_collected(now);
        for number in self.campaigns.keys().copied().collect::<Vec<_>>() {
            let batch = self
                .campaigns
                .get_mut(&number)
                .and_then(|campaign| campaign.next_batch(now.utc));
            if let Some(batch) = batch {
                self.save(batch, Saved::Campaign(number));
            }
        }
        while let Some(output) = self.ways.poll_output() {
            self.outbox.push_back(output);
        }
    }

    fn carry_out_schedule(&mut self, output: schedule::Output, now: Now) {
        match output {
            schedule::Output::Start(start) => {
                self.start(start, now);
            }
            schedule::Output::Missed {
                meter,
                last,
                count,
                failure,
                ..
            } => {
                self.count_read(last, false);
                tracing::warn!(%meter, count, ?failure, "periodic reads are missed");
            }
            schedule::Output::Failed {
                meter,
                task,
                failure,
                ..
            } => {
                if let Some(task) = self.tasks.remove(&task) {
                    let last = self.errors.get(&meter).map(|error| error.words.as_str());
                    let why = format!("{failure:?}: {}", last.unwrap_or("no session in time"));
                    self.task_failed(task, &why, now);
                }
            }
        }
    }

    fn alarm(&mut self, meter: Option<MeterId>, words: String, now: Now) {
        tracing::warn!(?meter, %words, "alarm");
        if self.alarms.len() >= Self::ALARMS_MAX {
            self.alarms.pop_front();
        }
        let at = now.utc;
        self.alarms.push_back(Alarm { at, meter, words });
    }

    // ---- Disk.

    fn save(&mut self, batch: Batch, saved: Saved) {
        let request = self.saving.begin(batch, saved);
        self.outbox.push_back(Output::Disk(request));
    }

    fn handle_saved(&mut self, ticket: u64, result: Result<Result<(), Refused>, String>, now: Now) {
        match result {
            Err(error) => {
                tracing::error!(%error, "the operations' tables were not written; again soon");
                self.saving.fail(ticket, now.instant);
            }
            Ok(Ok(())) => {
                if let Some((batch, saved)) = self.saving.finish(ticket) {
                    self.note_batch(&batch);
                    self.saved(saved, now);
                }
            }
            Ok(Err(refused)) => {
                if let Some((_, saved)) = self.saving.finish(ticket) {
                    self.alarm(None, refused.to_string(), now);
                    self.not_saved(saved, &refused, now);
                }
            }
        }
    }

    /// What is durable now is so in memory too.
    fn note_batch(&mut self, batch: &Batch) {
        for change in &batch.changes {
            if let Some(row) = self.keys.note(change)
                && row.kind == KeyKind::UnicastEncryption
                && let Some(device) = self.registry.meter(row.meter)
            {
                self.counters.enter(row.key, device.title, &[]);
            }
        }
    }

    fn saved(&mut self, saved: Saved, now: Now) {
        match saved {
            Saved::Nothing => {}
            Saved::Counters => {
                for (key, upper) in self.counters.handle_committed() {
                    if let Some(job) = self.borrowers.get(&key).copied() {
                        self.with_session(job, |session| session.handle_reserved(upper, now));
                    }
                }
            }
            Saved::Journal(through) => {
                self.saving_journal = false;
                if let Some(seq) = through {
                    self.commands.handle_journaled(seq, now.utc);
                    self.drain_commands();
                }
            }
            Saved::Rotation(number) => {
                if let Some(rotation) = self.rotations.get_mut(&number) {
                    rotation.handle_committed(now);
                    self.drain_rotation(number);
                }
            }
            Saved::Campaign(number) => {
                if let Some(campaign) = self.campaigns.get_mut(&number) {
                    campaign.handle_committed(now);
                    self.drain_campaign(number);
                }
            }
            Saved::Collected => self.saving_collected = false,
            Saved::Registry(proposal, meters) => {
                self.registry.apply(*proposal);
                for meter in meters {
                    self.place(meter, now);
                }
            }
        }
    }

    /// The store refused what we hold to be right: named, and not tried again as it is.
    fn not_saved(&mut self, saved: Saved, refused: &Refused, now: Now) {
        match saved {
            Saved::Nothing | Saved::Registry(..) => {}
            Saved::Counters => {
                self.counters.handle_failed();
                self.counters_paused = Some(now.instant + Saving::RETRY * 60);
            }
            Saved::Journal(_) => self.saving_journal = false,
            Saved::Rotation(number) => {
                if let Some(mut rotation) = self.rotations.remove(&number) {
                    rotation.handle_commit_failed();
                    let part = Part::Failed(refused.to_string());
                    self.set_part(OrderId(number), rotation.meter(), part);
                    self.close_order(OrderId(number));
                }
            }
            Saved::Campaign(number) => {
                if let Some(campaign) = self.campaigns.remove(&number) {
                    self.campaign_reports.insert(number, campaign.report());
                    self.close_order(OrderId(number));
                }
            }
            Saved::Collected => self.saving_collected = false,
        }
    }

    fn take_from_utility(&mut self, link: LinkId, frame: &[u8], now: Now) {
        match Message::decode(frame) {
            Ok(Message::Stored(keys)) => self.handle_stored(&keys, now),
            Ok(Message::FromMeter {
                meter,
                client,
                apdu,
            }) => self.ways.handle_from_meter(meter, client, apdu),
            Ok(Message::MeterUnreachable { meter }) => self.ways.handle_unreachable(meter),
            Ok(Message::Hello { .. }) => {}
            Ok(_) | Err(_) => {
                self.malformed += 1;
                let reason = "the utility sent an envelope a head-end does not take";
                self.outbox.push_back(Output::Close { link, reason });
            }
        }
    }

    fn keep_time(&mut self, now: Now) {
        if self
            .counters_paused
            .is_some_and(|until| until <= now.instant)
        {
            self.counters_paused = None;
        }
        for request in self.saving.due(now.instant) {
            self.outbox.push_back(Output::Disk(request));
        }
        self.ways.handle_timeout(now.instant);
        self.pump(now);
        self.wake_sessions(now);
        self.schedule.handle_timeout(now.utc);
        self.drain_schedule();
        self.backfill.handle_timeout(now.utc);
        self.drain_backfill();
        self.commands.handle_timeout(now.utc);
        self.drain_commands();
        for over in self.deliveries.handle_timeout(now.instant) {
            self.delivered(over, now);
        }
        for number in self.rotations.keys().copied().collect::<Vec<_>>() {
            if let Some(rotation) = self.rotations.get_mut(&number) {
                rotation.handle_timeout(now);
            }
            self.drain_rotation(number);
        }
        for number in self.campaigns.keys().copied().collect::<Vec<_>>() {
            if let Some(campaign) = self.campaigns.get_mut(&number) {
                campaign.handle_timeout(now);
            }
            self.drain_campaign(number);
        }
    }
}

impl Node for HeadEndNode {
    fn handle(&mut self, input: Input, now: Now) {
        match input {
            Input::LinkUp {
                link,
                port: Port::Up,
            } => {
                self.ways.handle_utility_up(link);
                let waiting = self.deliveries.waiting();
                self.send_readings(&waiting);
                self.set_tunnels(true);
            }
            Input::LinkUp {
                link,
                port: Port::Dialled(dial),
            } => self.ways.handle_dialled_up(dial, link, now.instant),
            // Nobody is below it.
            Input::LinkUp {
                link,
                port: Port::Down,
            } => self.outbox.push_back(Output::Close {
                link,
                reason: "a head-end serves nobody",
            }),
            Input::DialFailed { dial, reason } => self.ways.handle_dial_failed(dial, &reason),
            Input::LinkDown { link } => {
                if self.ways.handle_link_down(link) {
                    self.set_tunnels(false);
                }
            }
            Input::Frame { link, frame } if self.ways.utility() == Some(link) => {
                self.take_from_utility(link, &frame, now);
            }
            Input::Frame { link, frame } => self.ways.handle_frame(link, &frame, now.instant),
            Input::Disk(DiskReply::Operations { ticket, result }) => {
                self.handle_saved(ticket, result, now);
            }
            Input::Disk(
                DiskReply::Done { .. } | DiskReply::Ledger(_) | DiskReply::Answer { .. },
            ) => {}
            Input::Timeout => self.keep_time(now),
        }
        self.pump(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    fn wake(&self) -> Wake {
        let sessions = self.wakes.first().map(|(at, _)| (*at, "a session"));
        let rotations = self.rotations.values().filter_map(Rotation::wake).min();
        let paused = self.counters_paused.map(|at| (at, "counters again"));
        let instant = [
            sessions,
            rotations,
            paused,
            self.ways.wake(),
            self.deliveries.wake(),
            self.saving.wake(),
        ]
        .into_iter()
        .flatten()
        .min();
        let mut wake = Wake { instant, utc: None };
        for other in [
            self.schedule.wake(),
            self.backfill.wake(),
            self.commands.wake(),
        ] {
            wake = wake.earliest(other);
        }
        for campaign in self.campaigns.values() {
            wake = wake.earliest(campaign.wake());
        }
        wake
    }
}
