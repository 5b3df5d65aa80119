//! One edge: screens what comes up, keeps what goes down until it is confirmed.

mod down;
mod held;
mod newcomers;
mod packets;
mod remember;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use gridloom_core::{Instant, MeterId, Now, SystemTitle, Wake};
use gridloom_dlms::counter::TransmitCounter;
use gridloom_dlms::security::Keys;

use crate::alarm::{Alarms, MeterAlarm};
use crate::balance::Balances;
use crate::behaviour::Model;
use crate::config::ScreeningConfig;
use crate::identity::Path;
use crate::incident::{Incident, Incidents};
use crate::index::{HashKey, SlotTable};
use crate::loss::Losses;
use crate::memory::EdgeMemory;
use crate::quarantine::{AuditRecord, Quarantine};
use crate::reading::ScreenedReading;
use crate::registry::{DeviceIndex, GatewayId, Registry};
use crate::rekeying::Until;
use crate::score::Scores;
use crate::screen::Screen;
use crate::shards::Shards;
use crate::silence::Silences;
use crate::snapshot::{Snapshots, Urgency};
use crate::status::{DeviceTrust, EdgeStatus, GatewayStatus, StatusPage, TrustPage};
use crate::tariff::{PriceCache, PriceDelivery};

use down::Delivery;
use newcomers::Newcomers;
use remember::Writing;

/// What an edge is told once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgeConfig {
    /// Its own system title.
    pub title: SystemTitle,
    /// Prices travel as whole multiples of 10^`price_scale` of the currency per kWh.
    pub price_scale: i8,
    /// How it screens.
    pub screening: ScreeningConfig,
    /// The secret of its tables, drawn anew for each run.
    pub hash_key: HashKey,
}

/// What an edge wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send a frame down to a meter.
    Down {
        /// The way.
        path: Path,
        /// The frame.
        frame: Vec<u8>,
    },
    /// Hand a reading to the utility, with how far it is trusted.
    Accept(ScreenedReading),
    /// Hand an alarm to the utility, before any reading. It comes again every
    /// 30 s until [`Edge::handle_alarm_stored`].
    Alarm(Box<MeterAlarm>),
    /// Keep a memory cell; answered by [`Edge::handle_remembered`].
    Remember {
        /// Comes back in the answer.
        ticket: u64,
        /// The cell.
        cell: &'static str,
        /// Its content.
        bytes: Vec<u8>,
    },
    /// Tell people about an incident; at most once per incident and
    /// [`Incident::TOLD_EVERY`].
    Alert(Box<Incident>),
    /// Write a line into the audit log.
    Audit(Box<AuditRecord>),
}

/// One edge.
#[derive(Debug)]
pub struct Edge {
    config: EdgeConfig,
    screen: Screen,
    deliveries: Vec<Delivery>,
    /// Each [`Delivery::path`], the other way round.
    by_path: SlotTable,
    /// Meters that were heard on another path than theirs, which has not proved itself yet.
    newcomers: Newcomers,
    prices: PriceCache,
    balances: Balances,
    silences: Silences,
    losses: Losses,
    quarantine: Quarantine,
    incidents: Incidents,
    alarms: Alarms,
    transmit: TransmitCounter,
    /// Plain APDUs that wait for a counter reservation, each with the way it is to go, if that is
    /// not the one by which its meter was last heard.
    waiting: VecDeque<(DeviceIndex, Option<Path>, Vec<u8>)>,
    /// What is being written, by ticket.
    writing: BTreeMap<u64, Writing>,
    /// A reservation whose write failed, to be written again with what else is due.
    reserve_again: Option<u32>,
    /// Meters that owe the answer to a SET, by its deadline. An entry whose answer came stays until
    /// then.
    awaiting_answer: BTreeSet<(Instant, DeviceIndex)>,
    believed: Shards,
    states: Snapshots,
    /// When changed memory is written next; `None` when it is unchanged.
    remember_at: Option<Instant>,
    /// When released readings are handed up again.
    release_at: Option<Instant>,
    next_ticket: u64,
    status: EdgeStatus,
    outbox: VecDeque<Effect>,
}

impl Edge {
    /// Frames that may wait for a counter reservation; beyond it new ones are given up and
    /// counted, and the meter or the next deadline asks for them again.
    pub const WAITING_MAX: usize = 65_536;

    /// Changed memory is written at most this often, and every counter that was believed since is
    /// in that write, of however many meters: what came in this time, and in the time that the
    /// disk takes, may be replayed after a crash and is believed once more. It is stored only once
    /// all the same: a reading's identity is meter, period and end, in the store as in the
    /// quarantine; an alarm's is its number and time, at the head-end; an answer to a SET that was
    /// not sent in this run is ignored.
    pub const REMEMBER_EVERY: Duration = Duration::from_millis(500);

    /// What changed of learnt homes and of trust is written this often. A crash loses what was
    /// learnt since: a home is learnt again from the next packet, trust goes on from where it
    /// stood. Revocations and gateways' numbers are written with the next write.
    pub const SNAPSHOT_EVERY: Duration = Snapshots::EVERY;

    /// Cells being written at once; the rest waits for the next turn.
    pub const CELLS_AT_ONCE_MAX: usize = 64;

    /// A released reading that the utility has not stored is handed up again after this long.
    pub const RELEASE_AGAIN_AFTER: Duration = Duration::from_secs(60);

    /// An edge that serves these meters, with the memory it left.
    pub fn new(config: EdgeConfig, mut registry: Registry, memory: &EdgeMemory) -> Self {
        registry
            .rekey(config.hash_key)
            .expect("titles that differ under one key differ under every key");
        let settings = *config.screening.settings();
        let balances = Balances::new(
            &registry,
            settings.losses_milli_max,
            settings.balance_cutoff,
        );
        let registered = registry.len();
        let believed = Shards::new(registered);
        let mut edge = Self {
            screen: Screen::new(config.screening, config.hash_key, registry, memory),
            deliveries: (0..registered)
                .map(|_| Delivery {
                    path: Delivery::NOWHERE,
                    prices: PriceDelivery::default(),
                })
                .collect(),
            by_path: SlotTable::for_count(registered),
            newcomers: Newcomers::default(),
            prices: PriceCache::default(),
            balances,
            silences: Silences::default(),
            losses: Losses::default(),
            quarantine: Quarantine::resume(memory.packets, &memory.pages),
            incidents: Incidents::default(),
            alarms: Alarms::default(),
            transmit: TransmitCounter::resume(memory.reserved),
            waiting: VecDeque::new(),
            writing: BTreeMap::new(),
            reserve_again: None,
            awaiting_answer: BTreeSet::new(),
            states: Snapshots::new(believed.count()),
            believed,
            remember_at: None,
            release_at: None,
            next_ticket: 0,
            status: EdgeStatus {
                registered,
                ..EdgeStatus::default()
            },
            outbox: VecDeque::new(),
            config,
        };
        edge.resume_incidents();
        edge.reserve_counters();
        edge.take_news(Instant::ZERO);
        edge
    }

    /// The registry's homes are these gateways, by name. A name that is not among them gets a
    /// number of its own when it comes.
    pub fn name_gateways(&mut self, names: BTreeMap<String, GatewayId>) {
        self.screen.name_gateways(names);
    }

    /// Puts a learnt model beside physics, or takes it away.
    pub fn install_model(&mut self, model: Option<Box<dyn Model>>) {
        self.screen.install(model);
    }

    /// A title is revoked, or valid again. It is durable with the next write, and survives.
    pub fn revoke(&mut self, meter: MeterId, is_revoked: bool, now: Instant) {
        if let Some(device) = self.screen.registry().find_meter(meter) {
            self.screen.revoke(device, is_revoked);
            let shard = self.believed.of_device(device.at());
            self.states.mark(shard, Urgency::Now, now);
            self.remember_soon(now);
        }
    }

    /// A meter may talk under these keys from now on, beside those that it has; `false` if it is
    /// not registered or [`crate::KEY_CHANGES_MAX`] change at a time. A broadcast key stays.
    pub fn offer_keys(&mut self, meter: MeterId, keys: Keys) -> bool {
        let device = self.screen.registry().find_meter(meter);
        device.is_some_and(|device| {
            let keys = self.with_broadcast(device, keys);
            self.screen.offer_keys(device, keys)
        })
    }

    /// A meter talks under these keys now; the replaced ones are good for as long as `until`
    /// says. `false` if it is not registered.
    pub fn settle_keys(&mut self, meter: MeterId, keys: Keys, now: Now, until: Until) -> bool {
        let Some(device) = self.screen.registry().find_meter(meter) else {
            return false;
        };
        let keys = self.with_broadcast(device, keys);
        self.screen.settle_keys(device, keys, now, until);
        true
    }

    fn with_broadcast(&self, device: DeviceIndex, keys: Keys) -> Keys {
        match self.screen.registry().keys(device).broadcast() {
            Some(broadcast) => keys
                .clone()
                .with_broadcast(broadcast.clone())
                .unwrap_or(keys),
            None => keys,
        }
    }

    /// The title of a registered meter.
    pub fn title_of(&self, meter: MeterId) -> Option<SystemTitle> {
        self.screen.registry().title_of(meter)
    }

    /// A gateway's link stands, and the gateway has told its name.
    pub fn handle_gateway_up(&mut self, gateway: u64, name: &str, now: Instant) {
        if self.screen.handle_gateway_up(gateway, name, now) {
            self.states.mark_gateways();
            self.remember_soon(now);
        }
    }

    /// A gateway's link is gone: nothing goes down that way any more.
    pub fn handle_gateway_gone(&mut self, gateway: u64) {
        self.screen.handle_gateway_gone(gateway);
        self.newcomers.forget_gateway(gateway);
        for device in self.screen.registry().devices() {
            let path = self.deliveries[device.at()].path();
            if path.is_some_and(|path| path.gateway == gateway) {
                self.leave(device);
            }
        }
    }

    /// A gateway says that a path of its own is gone: nothing goes down that way any more.
    pub fn handle_path_gone(&mut self, path: Path) {
        self.newcomers.forget_path(path);
        if let Some(device) = self.on_path(path) {
            self.leave(device);
        }
    }

    /// Writes what is due and repeats what was not answered.
    pub fn handle_timeout(&mut self, now: Now) {
        self.states.handle_timeout(now.instant);
        if self.states.is_due() {
            self.remember_soon(now.instant);
        }
        if self.remember_at.is_some_and(|at| at <= now.instant) {
            self.remember_at = None;
            self.write_memory(now);
        }
        if self.release_at.is_some_and(|at| at <= now.instant) {
            self.release_at = None;
            self.hand_up_again(now.instant);
        }
        self.balances.handle_timeout(now.instant);
        self.close_silences(now);
        for alarm in self.alarms.due(now.instant) {
            self.outbox.push_back(Effect::Alarm(Box::new(alarm)));
        }
        while let Some((at, device)) = self.awaiting_answer.first().copied()
            && at <= now.instant
        {
            self.awaiting_answer.pop_first();
            self.offer_prices(device, now.instant);
        }
    }

    /// When to come back.
    pub fn wake(&self) -> Wake {
        let deadlines = [
            self.remember_at.map(|at| (at, "remember counters")),
            self.release_at.map(|at| (at, "hand up released readings")),
            self.states.wake().map(|at| (at, "snapshot of trust")),
            self.alarms.wake().map(|at| (at, "hand up alarms")),
            self.balances.wake().map(|at| (at, "close a balance")),
            self.silences.wake().map(|at| (at, "count missing meters")),
            self.awaiting_answer
                .first()
                .map(|(at, _)| (*at, "repeat a price")),
        ];
        Wake {
            instant: deadlines.into_iter().flatten().min(),
            utc: None,
        }
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<Effect> {
        self.outbox.pop_front()
    }

    /// What an operator sees.
    pub fn status(&self) -> EdgeStatus {
        EdgeStatus {
            reasons: self.screen.reasons(),
            verdicts: self.screen.verdicts(),
            trust: self.screen.trust(),
            quarantine: self.quarantine.status(),
            balance: self.balances.counters(),
            alarms: self.alarms.counters(),
            model: self.screen.model_version(),
            incidents_lost: self.incidents.lost(),
            ..self.status
        }
    }

    /// What an operator sees, with gateways, strangers and a page of the devices: made on demand,
    /// it looks at every registered meter.
    pub fn status_page(&self, page: TrustPage) -> StatusPage {
        StatusPage {
            edge: self.status(),
            gateways: self.gateways().collect(),
            devices: self.least_trusted(page),
            strangers: self.strangers(),
        }
    }

    /// Devices by their smoothed trust, least first, and by number where it is equal.
    pub fn least_trusted(&self, page: TrustPage) -> Vec<DeviceTrust> {
        let registry = self.screen.registry();
        let mut order: Vec<_> = registry
            .devices()
            .map(|device| (self.screen.trust_of(device).p, device))
            .collect();
        let count = page.count.min(TrustPage::COUNT_MAX);
        let end = page.skip.saturating_add(count).min(order.len());
        if end == 0 || page.skip >= end {
            return Vec::new();
        }
        // Only what stands on the page, or before it, is sorted.
        order.select_nth_unstable(end - 1);
        order.truncate(end);
        order.sort_unstable();
        order[page.skip..]
            .iter()
            .map(|(_, device)| self.trust_in(*device))
            .collect()
    }

    fn trust_in(&self, device: DeviceIndex) -> DeviceTrust {
        let registry = self.screen.registry();
        DeviceTrust {
            meter: registry.meter(device),
            title: registry.title(device),
            scores: self.screen.trust_of(device),
            home: self.screen.home_of(device),
            path: self.deliveries[device.at()].path(),
            is_revoked: self.screen.is_revoked(device),
        }
    }

    /// The quarantine: list and inspect what it holds.
    pub fn quarantine(&self) -> &Quarantine {
        &self.quarantine
    }

    /// Incidents, oldest first.
    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.all()
    }

    /// The smoothed scores of a meter.
    pub fn trust_of(&self, meter: MeterId) -> Option<Scores> {
        let device = self.screen.registry().find_meter(meter)?;
        Some(self.screen.trust_of(device))
    }

    /// The gateway at which a meter is at home, enrolled or learnt.
    pub fn home_of(&self, meter: MeterId) -> Option<GatewayId> {
        let device = self.screen.registry().find_meter(meter)?;
        self.screen.home_of(device)
    }

    /// The gateways' links, in order.
    pub fn gateways(&self) -> impl Iterator<Item = GatewayStatus> {
        self.screen.gateways()
    }

    /// The meter with this title.
    pub fn meter_of(&self, title: SystemTitle) -> Option<MeterId> {
        let registry = self.screen.registry();
        registry.find(title).map(|device| registry.meter(device))
    }

    /// The unknown titles that were used most, with an estimate of how often, loudest first.
    pub fn strangers(&self) -> Vec<(SystemTitle, u32)> {
        self.screen.strangers()
    }
}
