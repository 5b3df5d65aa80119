//! The head-end node: reads meters on time, carries out orders, changes keys, brings firmware.
//!
//! Routing only: when, whom and what is decided by the machines of `gridloom_headend`; here their
//! outputs meet links, disk and each other. Invariants:
//!
//! - No counter leaves before its reservation is durable, no order before its journal entry, no
//!   key transfer before its mark.
//! - Keys are unwrapped for one session and dropped with it.
//! - How far a meter is read advances only when the utility has acknowledged the readings.

mod alerts;
mod changes;
mod collect;
mod config;
mod deliveries;
mod disk;
mod entropy;
mod firmware;
mod gaps;
mod keys;
mod operate;
mod orders;
mod push;
mod restart;
mod rows;
mod status;
mod talk;
mod tidings;
mod ways;
mod work;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use gridloom_core::{Instant, MeterId, Now, ObisCode, Wake};
use gridloom_headend::backfill::{self, Backfill, ReadId, Series, Span};
use gridloom_headend::campaign::{CampaignOutput, CampaignReport, Image, ImageRequest};
use gridloom_headend::command::{self, Command, CommandBook, CommandId, Entry};
use gridloom_headend::profile::ProfileShape;
use gridloom_headend::registry::Registry;
use gridloom_headend::rotation::{KeySelection, RotationOutput, retire_previous};
use gridloom_headend::schedule::{
    self, JobId, Lane, LinkId as WayId, RecurrenceId, Schedule, Start, TaskId,
};
use gridloom_headend::session;
use gridloom_headend::vault::KeyWrapper;
use gridloom_headend::{Campaign, CounterBook, MeterTemplate, Rotation, Vault};
use gridloom_store::{Batch, Change, KeyId, KeyKind, Transport};

use crate::envelope::Message;
use crate::node::{DiskReply, Input, LinkId, Node, Output, Port};

pub use changes::{ChangeId, ChangeState};
pub use config::{HeadEndConfig, HeadEndError, HeadEndMemory};
pub use operate::Pause;
pub use orders::{Order, OrderError, OrderId, OrderReport, OrderState, Part, What};
pub use push::{PushAddresses, PushCounts, PushRefusal, RefusedPush};
pub use rows::RowDamage;
pub use status::{Alarm, HeadEndStatus, LastError, ReadRate};

use alerts::Alerts;
use changes::Changes;
use deliveries::Deliveries;
use disk::{Saved, Saving};
use entropy::Entropy;
use gaps::NamedGaps;
use keys::KeyRing;
use push::Pushes;
use rows::Collected;
use talk::Running;
use tidings::Tidings;
use ways::{WayEvent, Ways};

/// The recurrence of the load profile.
const PROFILE: RecurrenceId = RecurrenceId(1);

/// Keys for a meter: under which it is talked to, by which they are wrapped, which they are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Handover {
    under: KeySelection,
    wrapped_by: KeyId,
    keys: Vec<(KeyKind, KeyId)>,
}

/// A single job of the schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Task {
    Reading(OrderId, MeterId),
    Command(CommandId, MeterId),
    Gap(ReadId, Series, Span),
    /// A read of the profile that no due time asks for.
    Profile(MeterId),
    Transfer(u64, Handover),
    Probe(u64, KeySelection),
    Image(u64, MeterId, ImageRequest),
}

impl Task {
    const fn lane(&self) -> Lane {
        match self {
            Self::Reading(..) => Lane::OnDemand,
            Self::Gap(..) | Self::Profile(_) => Lane::Backfill,
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
    named_gaps: NamedGaps,
    /// Meters with a [`Task::Profile`].
    reading_soon: BTreeSet<MeterId>,
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
    tidings: Tidings,
    campaigns: BTreeMap<u64, Campaign>,
    campaign_reports: BTreeMap<u64, CampaignReport>,
    images: BTreeMap<u64, Image>,
    orders: BTreeMap<OrderId, OrderReport>,
    /// The steps of orders to read.
    steps: BTreeMap<OrderId, Vec<session::Step>>,
    last_work: u64,
    saving: Saving,
    changes: Changes,
    pushes: Pushes,
    alarms: VecDeque<Alarm>,
    alerts: Alerts,
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
            named_gaps: NamedGaps::default(),
            reading_soon: BTreeSet::new(),
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
            tidings: Tidings::default(),
            campaigns: BTreeMap::new(),
            campaign_reports: BTreeMap::new(),
            images: BTreeMap::new(),
            orders: BTreeMap::new(),
            steps: BTreeMap::new(),
            last_work,
            saving: Saving::default(),
            changes: Changes::default(),
            pushes: Pushes::default(),
            alarms: VecDeque::new(),
            alerts: Alerts::default(),
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
        node.restore_tidings(&memory.news, now);
        let keys: Vec<_> = node.keys.rows().cloned().collect();
        let retired = retire_previous(&keys, now.utc);
        if !retired.changes.is_empty() {
            node.save(retired, Saved::Nothing);
        }
        node.pump(now);
        Ok(node)
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

    fn take_from_utility(&mut self, link: LinkId, frame: &[u8], now: Now) {
        match Message::decode(frame) {
            Ok(Message::Stored(keys)) => self.handle_stored(&keys, now),
            Ok(Message::FromMeter {
                meter,
                client,
                apdu,
            }) => self.ways.handle_from_meter(meter, client, apdu),
            Ok(Message::Alarms(alarms)) => self.take_alarms(alarms, now),
            Ok(Message::Gaps(gaps)) => self.take_gaps(gaps, now),
            Ok(Message::MeterUnreachable { meter }) => self.ways.handle_unreachable(meter),
            Ok(Message::KeysTaken { meter, number }) => self.handle_keys_taken(meter, number, now),
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
        self.send_tidings(now);
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
                self.tidings_again(now);
            }
            Input::LinkUp {
                link,
                port: Port::Push(from),
            } => self.pushes.handle_link_up(link, from),
            Input::LinkUp {
                link,
                port: Port::Dialled(dial),
            } => self.ways.handle_dialled_up(dial, link, now.instant),
            // Nobody is below it, and it has one utility.
            Input::LinkUp {
                link,
                port: Port::Down | Port::Backup,
            } => self.outbox.push_back(Output::Close {
                link,
                reason: "a head-end serves nobody",
            }),
            Input::DialFailed { dial, reason } => self.ways.handle_dial_failed(dial, &reason),
            Input::LinkFault { .. } => {}
            Input::LinkDown { link } if self.pushes.handle_link_down(link) => {}
            Input::LinkDown { link } => {
                if self.ways.handle_link_down(link) {
                    self.set_tunnels(false);
                }
            }
            Input::Frame { link, frame } if self.ways.utility() == Some(link) => {
                self.take_from_utility(link, &frame, now);
            }
            Input::Frame { link, frame } if self.pushes.is_up(link) => {
                self.take_push(link, &frame, now);
            }
            Input::Frame { link, frame } => self.ways.handle_frame(link, &frame, now.instant),
            Input::Disk(DiskReply::Operations { ticket, result }) => {
                self.handle_saved(ticket, result, now);
            }
            Input::Disk(
                DiskReply::Done { .. }
                | DiskReply::Ledger(_)
                | DiskReply::Spool(_)
                | DiskReply::Answer { .. }
                | DiskReply::Pair(_),
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
        // Without the utility there is nobody to tell.
        let told = self.ways.utility().and_then(|_| self.tidings.wake());
        let instant = [
            sessions,
            rotations,
            paused,
            told,
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
