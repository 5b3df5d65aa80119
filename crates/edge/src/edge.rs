//! One edge: screens what comes up, keeps what goes down until it is confirmed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use gridloom_core::{Instant, MeterId, Now, Period, Price, SystemTitle, UtcTime, Wake};
use gridloom_dlms::apdu::{DataNotificationConfirm, InvokeId, LongInvokeId};
use gridloom_dlms::charge::{ChargeTable, IntervalPrice};
use gridloom_dlms::counter::TransmitCounter;
use gridloom_dlms::push::IntervalPush;

use crate::balance::{BalanceCounters, Balances, Imbalance, ImbalanceKind, Report};
use crate::behaviour::{Model, net_wh};
use crate::config::ScreeningConfig;
use crate::identity::Path;
use crate::incident::{Evidence, Incident, IncidentKind, Incidents, Subject};
use crate::index::{HashKey, SlotTable};
use crate::integrity::Said;
use crate::memory::EdgeMemory;
use crate::quality::LinkQuality;
use crate::quarantine::{
    Arrival, AuditRecord, Decision, Kept, News, PacketId, Quarantine, QuarantineError,
    QuarantineStatus, main_reason,
};
use crate::reading::AcceptedReading;
use crate::reason::{Reason, ReasonCounters};
use crate::registry::{DeviceIndex, GatewayId, Registry};
use crate::score::Scores;
use crate::screen::{Believed, GatewayStatus, Screen, Surge, VerdictCounters};
use crate::shards::Shards;
use crate::tariff::{PriceCache, PriceDelivery};
use crate::trust::{Screening, Verdict};

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
    /// Hand a reading to the utility.
    Accept {
        /// The reading.
        reading: AcceptedReading,
        /// How far it is trusted.
        scores: Scores,
    },
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

/// What an operator sees of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EdgeStatus {
    /// Meters in the registry.
    pub registered: usize,
    /// Meters heard since start.
    pub heard: usize,
    /// Readings accepted since start, released ones included.
    pub accepted: u64,
    /// What was wrong with packets since start, forwarded ones included.
    pub reasons: ReasonCounters,
    /// Packets by verdict since start.
    pub verdicts: VerdictCounters,
    /// Smoothed scores of all packets.
    pub trust: Scores,
    /// How full the quarantine is.
    pub quarantine: QuarantineStatus,
    /// Transformer intervals since start.
    pub balance: BalanceCounters,
    /// Events of incidents for which there was no room.
    pub incidents_lost: u64,
    /// SETs that a meter refused since start.
    pub sets_refused: u64,
    /// SETs not sent because a price does not fit the meters' price scale.
    pub prices_unsendable: u64,
    /// Frames given up because too many waited for a counter reservation.
    pub down_dropped: u64,
    /// Writes to the memory that failed.
    pub memory_failures: u64,
}

/// The way back to one meter, and what goes there: half a cache line, and never two halves.
#[derive(Debug)]
#[repr(align(32))]
struct Delivery {
    /// [`Delivery::NOWHERE`] until the meter is heard.
    path: Path,
    prices: PriceDelivery,
}

impl Delivery {
    const NOWHERE: Path = Path {
        gateway: u64::MAX,
        down: u64::MAX,
    };

    fn path(&self) -> Option<Path> {
        (self.path != Self::NOWHERE).then_some(self.path)
    }
}

/// What a memory ticket stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    Reservation(u32),
    Shard(usize),
    Page(usize),
}

/// One edge.
#[derive(Debug)]
pub struct Edge {
    config: EdgeConfig,
    screen: Screen,
    deliveries: Vec<Delivery>,
    /// Each [`Delivery::path`], the other way round.
    by_path: SlotTable,
    prices: PriceCache,
    balances: Balances,
    quarantine: Quarantine,
    incidents: Incidents,
    transmit: TransmitCounter,
    /// Plain APDUs that wait for a counter reservation, each with the way it is to go, if that is
    /// not the one by which its meter was last heard.
    waiting: VecDeque<(DeviceIndex, Option<Path>, Vec<u8>)>,
    /// What is being written, by ticket.
    writing: BTreeMap<u64, Writing>,
    /// A reservation whose write failed, to be written again with what else is due.
    reserve_again: Option<u32>,
    /// Meters that owe the answer to a SET, in the order of its deadline. An entry whose answer
    /// came stays until then.
    awaiting_answer: VecDeque<(Instant, DeviceIndex)>,
    believed: Shards,
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

    /// Changed memory is written at most this often. A replay within this time after a crash
    /// brings only readings that the store or the quarantine already has.
    pub const REMEMBER_EVERY: Duration = Duration::from_millis(500);

    /// Cells written at once. With more than 64 changed parts the oldest go first, so that with a
    /// million meters every part is durable after 8 s at the latest.
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
        let mut edge = Self {
            screen: Screen::new(
                config.screening,
                config.hash_key,
                registry,
                &memory.believed,
            ),
            deliveries: (0..registered)
                .map(|_| Delivery {
                    path: Delivery::NOWHERE,
                    prices: PriceDelivery::default(),
                })
                .collect(),
            by_path: SlotTable::for_count(registered),
            prices: PriceCache::default(),
            balances,
            quarantine: Quarantine::resume(memory.packets, &memory.pages),
            incidents: Incidents::default(),
            transmit: TransmitCounter::resume(memory.reserved),
            waiting: VecDeque::new(),
            writing: BTreeMap::new(),
            reserve_again: None,
            awaiting_answer: VecDeque::new(),
            believed: Shards::new(registered),
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

    /// Incidents are not kept; those of held packets come back with them.
    fn resume_incidents(&mut self) {
        let held: Vec<_> = self
            .quarantine
            .packets()
            .map(|held| {
                let kind = IncidentKind::Packets(held.main_reason());
                (held.said.title, kind, held.received, held.path)
            })
            .collect();
        for (title, kind, received, path) in held {
            let subject = Subject::Device(title);
            let evidence = || Evidence::Packet {
                path,
                bytes: Vec::new(),
            };
            self.incidents.note(subject, kind, received, evidence);
            self.incidents.held(subject, kind, true);
        }
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

    /// A title is revoked, or valid again. Not remembered: whoever keeps the revocation list says
    /// it again after a restart.
    pub fn revoke(&mut self, meter: MeterId, is_revoked: bool) {
        if let Some(device) = self.screen.registry().find_meter(meter) {
            self.screen.revoke(device, is_revoked);
        }
    }

    /// A packet came up, and the link knew nothing about it.
    pub fn handle_packet(&mut self, path: Path, frame: &[u8], now: Now) -> Screening {
        self.handle_packet_of(path, &LinkQuality::default(), frame, now)
    }

    /// A packet came up by a link that knows how it was carried.
    pub fn handle_packet_of(
        &mut self,
        path: Path,
        link: &LinkQuality,
        frame: &[u8],
        now: Now,
    ) -> Screening {
        let (mut screening, believed) = self.screen.screen(path, link, frame, now);
        self.tell_surge(path, frame, now);
        if let Some(believed) = &believed {
            self.believed.mark_device(believed.device.at());
            self.remember_soon(now.instant);
        }
        match (screening.verdict, &believed) {
            (Verdict::Forward, Some(believed)) => self.forward(path, believed, &screening, now),
            (Verdict::Quarantine, Some(believed)) => {
                self.hold(path, frame, believed, &mut screening, now);
            }
            (Verdict::Drop, _) => self.note_drop(path, frame, believed.as_ref(), &screening, now),
            (Verdict::Forward | Verdict::Quarantine, None) => {
                unreachable!("only what is believed is judged")
            }
        }
        screening
    }

    fn forward(&mut self, path: Path, believed: &Believed, screening: &Screening, now: Now) {
        let device = believed.device;
        self.heard(device, path);
        let delivery = &mut self.deliveries[device.at()];
        match self.screen.said() {
            Said::Push(push) => {
                delivery.prices.meter_lacks(push.billing.oldest_unpriced);
                self.status.accepted += 1;
                let reading = self.accepted(believed, push);
                self.outbox.push_back(Effect::Accept {
                    reading,
                    scores: screening.scores,
                });
                if believed.is_newest {
                    self.balance(believed, now);
                }
                self.offer_prices(device, now.instant);
            }
            Said::SetAnswer {
                invoke_id,
                accepted,
            } => {
                // A refused SET would be refused again: the meter's next push says what it lacks.
                if !*accepted {
                    self.status.sets_refused += 1;
                }
                delivery.prices.answered(invoke_id.number());
                self.offer_prices(device, now.instant);
            }
            Said::Nothing => {}
        }
    }

    fn accepted(&self, believed: &Believed, push: &IntervalPush) -> AcceptedReading {
        AcceptedReading {
            title: believed.title,
            counter: believed.counter,
            reading: push.reading(self.screen.registry().meter(believed.device)),
            power: push.power,
            billing: push.billing,
        }
    }

    /// A packet of this device was forwarded: answers go this way.
    fn heard(&mut self, device: DeviceIndex, path: Path) {
        let old = self.deliveries[device.at()].path;
        if old == path {
            return;
        }
        if old == Delivery::NOWHERE {
            self.status.heard += 1;
        } else {
            self.forget_path(device);
        }
        // Whoever was known there before is not there any more.
        if let Some(former) = self.on_path(path) {
            self.forget_path(former);
        }
        self.deliveries[device.at()].path = path;
        self.by_path.insert(self.hash(path), device.0);
    }

    fn hash(&self, path: Path) -> u64 {
        self.config.hash_key.hash(&[path.gateway, path.down])
    }

    /// Takes a device out of the table of paths; its own path stays known.
    fn forget_path(&mut self, device: DeviceIndex) {
        let path = |number: u32| self.deliveries[DeviceIndex(number).at()].path;
        let hash = |number| {
            let path = path(number);
            self.config.hash_key.hash(&[path.gateway, path.down])
        };
        self.by_path.remove(hash(device.0), device.0, hash);
    }

    fn on_path(&self, path: Path) -> Option<DeviceIndex> {
        let is_there = |number: u32| self.deliveries[DeviceIndex(number).at()].path == path;
        self.by_path
            .find(self.hash(path), is_there)
            .map(DeviceIndex)
    }

    fn balance(&mut self, believed: &Believed, now: Now) {
        let registry = self.screen.registry();
        let placement = registry.site(believed.device).transformer;
        let (Some(placement), Said::Push(push)) = (placement, self.screen.said()) else {
            return;
        };
        let report = Report {
            meter: registry.meter(believed.device),
            period: push.period,
            end: push.end,
            net_wh: net_wh(push),
            deviation: believed.deviation,
        };
        if let Some(imbalance) = self.balances.report(placement, report, now.instant) {
            self.tell_imbalance(imbalance, now.utc);
        }
    }

    fn tell_imbalance(&mut self, imbalance: Imbalance, now: UtcTime) {
        let subject = Subject::Transformer(imbalance.transformer);
        let kind: ImbalanceKind = imbalance.kind;
        self.note(subject, IncidentKind::Imbalance(kind), now, || {
            Evidence::Imbalance(imbalance)
        });
    }

    fn note(
        &mut self,
        subject: Subject,
        kind: IncidentKind,
        now: UtcTime,
        evidence: impl FnOnce() -> Evidence,
    ) {
        if let Some(incident) = self.incidents.note(subject, kind, now, evidence) {
            let told = Box::new(incident.clone());
            self.outbox.push_back(Effect::Alert(told));
        }
    }

    fn tell_surge(&mut self, path: Path, frame: &[u8], now: Now) {
        let subject = match self.screen.take_surge() {
            Surge::None => return,
            Surge::Gateway => Subject::Gateway(path.gateway),
            Surge::Edge => Subject::Edge,
        };
        self.note(subject, IncidentKind::Shift, now.utc, || {
            packet_evidence(path, frame)
        });
    }

    /// Puts a reading into the quarantine. Anything else that is not trusted is dropped: there is
    /// nothing in it to release.
    fn hold(
        &mut self,
        path: Path,
        frame: &[u8],
        believed: &Believed,
        screening: &mut Screening,
        now: Now,
    ) {
        let Said::Push(push) = self.screen.said() else {
            return;
        };
        let said = self.accepted(believed, push);
        let kind = IncidentKind::Packets(main_reason(screening.reasons));
        let subject = Subject::Device(believed.title);
        self.note(subject, kind, now.utc, || packet_evidence(path, frame));
        let kept = self.quarantine.hold(Arrival {
            path,
            frame,
            plain: self.screen.plain(),
            said,
            received: now.utc,
            reasons: screening.reasons,
            scores: screening.scores,
        });
        match kept {
            Ok(Kept::New) => self.incidents.held(subject, kind, true),
            Ok(Kept::Already) => self.take_news(now.instant),
            Err(_) => {
                screening.reasons.add(Reason::QuarantineFull);
                self.screen.no_room();
                let full = IncidentKind::Packets(Reason::QuarantineFull);
                self.note(Subject::Edge, full, now.utc, || {
                    packet_evidence(path, frame)
                });
            }
        }
    }

    /// What is dropped is noted under whoever answers for it: the device if the packet was its
    /// own, the path if nobody knows. What a flood's budget swallows is counted and no more: the
    /// packets that spent the budget have been noted.
    fn note_drop(
        &mut self,
        path: Path,
        frame: &[u8],
        believed: Option<&Believed>,
        screening: &Screening,
        now: Now,
    ) {
        let Some(reason) = screening.drop_reason() else {
            return;
        };
        let subject = match (reason, believed) {
            (_, Some(believed)) => Subject::Device(believed.title),
            (
                Reason::PathFlooded
                | Reason::GatewayFlooded
                | Reason::TitleFlooded
                | Reason::DeviceRate,
                None,
            ) => return,
            (Reason::UnknownTitle, None) => Subject::Gateway(path.gateway),
            (_, None) => Subject::Path(path),
        };
        self.note(subject, IncidentKind::Packets(reason), now.utc, || {
            packet_evidence(path, frame)
        });
    }

    /// Something came up that is no wrapped APDU at all.
    pub fn handle_unframed(&mut self) {
        self.screen.refuse(Reason::Malformed);
    }

    /// The way on which a meter was last heard.
    pub fn path_to(&self, meter: MeterId) -> Option<Path> {
        let device = self.screen.registry().find_meter(meter)?;
        self.deliveries[device.at()].path()
    }

    /// The meter that was last heard on a way: whose answer an unverified APDU from there may be.
    pub fn meter_on(&self, path: Path) -> Option<MeterId> {
        Some(self.screen.registry().meter(self.on_path(path)?))
    }

    /// The utility decided a price.
    pub fn handle_price(&mut self, period: Period, end: UtcTime, price: Price) {
        self.prices.insert(period, end, price);
    }

    /// All prices of a message are in: offers them to every meter that was heard.
    pub fn offer_prices_to_all(&mut self, now: Instant) {
        for device in self.screen.registry().devices() {
            self.offer_prices(device, now);
        }
    }

    /// A reading is durable: its meter may forget it.
    pub fn handle_stored(&mut self, meter: MeterId, period: Period, end: UtcTime, now: Instant) {
        let registry = self.screen.registry();
        let Some(device) = registry.find_meter(meter) else {
            return;
        };
        let title = registry.title(device);
        self.quarantine.handle_stored(title, |said| {
            said.reading.period == period && said.reading.end == end
        });
        self.take_news(now);
        self.confirm(device, None, period, end);
    }

    fn confirm(&mut self, device: DeviceIndex, path: Option<Path>, period: Period, end: UtcTime) {
        let mut confirm = Vec::new();
        DataNotificationConfirm {
            invoke_id: LongInvokeId::of_interval(period, end),
            time: None,
        }
        .encode(&mut confirm);
        self.send(device, path, confirm);
    }

    /// A gateway's link stands, and the gateway has told its name.
    pub fn handle_gateway_up(&mut self, gateway: u64, name: &str) {
        self.screen.handle_gateway_up(gateway, name);
    }

    /// A gateway's link is gone: nothing goes down that way any more.
    pub fn handle_gateway_gone(&mut self, gateway: u64) {
        self.screen.handle_gateway_gone(gateway);
        for device in self.screen.registry().devices() {
            let path = self.deliveries[device.at()].path();
            if path.is_some_and(|path| path.gateway == gateway) {
                self.forget_path(device);
                self.deliveries[device.at()].path = Delivery::NOWHERE;
                self.status.heard -= 1;
            }
        }
    }

    /// A memory cell is durable, or not.
    pub fn handle_remembered(&mut self, ticket: u64, stored: bool, now: Now) {
        let Some(writing) = self.writing.remove(&ticket) else {
            return;
        };
        match (writing, stored) {
            (Writing::Reservation(upper), true) => {
                self.transmit.reserved(upper);
                for (device, path, apdu) in std::mem::take(&mut self.waiting) {
                    self.send(device, path, apdu);
                }
            }
            (Writing::Reservation(upper), false) => self.reserve_again = Some(upper),
            (Writing::Shard(_), true) => {}
            (Writing::Shard(shard), false) => self.believed.mark(shard),
            (Writing::Page(page), _) => {
                self.quarantine.handle_written(page, stored);
                self.take_news(now.instant);
            }
        }
        if !stored {
            self.status.memory_failures += 1;
        }
        if !stored || self.believed.is_dirty() || self.quarantine.is_dirty() {
            self.remember_soon(now.instant);
        }
    }

    /// Does what became due in the quarantine.
    fn take_news(&mut self, now: Instant) {
        while let Some(news) = self.quarantine.poll_news() {
            match news {
                News::Kept { path, said } => {
                    let reading = &said.reading;
                    if let Some(device) = self.screen.registry().find_meter(reading.meter) {
                        self.confirm(device, Some(path), reading.period, reading.end);
                    }
                }
                News::Released {
                    audit,
                    said,
                    scores,
                } => {
                    self.follow_released(&said);
                    self.status.accepted += 1;
                    self.outbox.push_back(Effect::Audit(Box::new(audit)));
                    self.outbox.push_back(Effect::Accept {
                        reading: said,
                        scores,
                    });
                    self.release_at = self.release_at.or(Some(now + Self::RELEASE_AGAIN_AFTER));
                }
                News::Rejected { audit } => {
                    self.outbox.push_back(Effect::Audit(Box::new(audit)));
                }
                News::Left { title, reasons } => {
                    let kind = IncidentKind::Packets(main_reason(reasons));
                    self.incidents.held(Subject::Device(title), kind, false);
                }
            }
        }
        if self.quarantine.is_dirty() {
            self.remember_soon(now);
        }
    }

    /// The device's next readings are measured by the released one.
    fn follow_released(&mut self, said: &AcceptedReading) {
        let reading = &said.reading;
        if let Some(device) = self.screen.registry().find(said.title) {
            let push = IntervalPush {
                period: reading.period,
                end: reading.end,
                status: reading.status,
                values: reading.values,
                import_register: reading.import_register,
                power: said.power,
                billing: said.billing,
            };
            self.screen.follow(device, &push);
        }
    }

    /// An analyst lets a held reading continue as if it had been forwarded. It takes effect, with
    /// its line for the audit log, once it is durable.
    ///
    /// # Errors
    ///
    /// [`QuarantineError`]: no such packet, decided already, or nobody who decides.
    pub fn release(&mut self, id: PacketId, who: &str, now: Now) -> Result<(), QuarantineError> {
        self.decide(id, Decision::Release, who, now)
    }

    /// An analyst gives a held reading up; its interval is a gap. It takes effect, with its line
    /// for the audit log, once it is durable.
    ///
    /// # Errors
    ///
    /// As [`Self::release`].
    pub fn reject(&mut self, id: PacketId, who: &str, now: Now) -> Result<(), QuarantineError> {
        self.decide(id, Decision::Reject, who, now)
    }

    fn decide(
        &mut self,
        id: PacketId,
        decision: Decision,
        who: &str,
        now: Now,
    ) -> Result<(), QuarantineError> {
        self.quarantine.decide(id, decision, who, now.utc)?;
        self.remember_soon(now.instant);
        Ok(())
    }

    /// Writes what is due and repeats what was not answered.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.remember_at.is_some_and(|at| at <= now.instant) {
            self.remember_at = None;
            self.write_memory(now.instant);
        }
        if self.release_at.is_some_and(|at| at <= now.instant) {
            self.release_at = None;
            self.hand_up_again(now.instant);
        }
        self.balances.handle_timeout(now.instant);
        while let Some((_, device)) = self
            .awaiting_answer
            .pop_front_if(|(at, _)| *at <= now.instant)
        {
            self.offer_prices(device, now.instant);
        }
    }

    fn write_memory(&mut self, now: Instant) {
        if let Some(upper) = self.reserve_again.take() {
            self.request_reservation(upper);
        }
        // What is held is acknowledged only when it is durable: its pages go first.
        while self.writing.len() < Self::CELLS_AT_ONCE_MAX
            && let Some((page, content)) = self.quarantine.next_write()
        {
            let cell = EdgeMemory::quarantine_cell(page);
            let bytes = EdgeMemory::encode_page(&content);
            self.remember(Writing::Page(page), cell, bytes);
        }
        while self.writing.len() < Self::CELLS_AT_ONCE_MAX
            && let Some((shard, devices)) = self.believed.next_write()
        {
            let registry = self.screen.registry();
            let believed = registry
                .devices()
                .skip(devices.start)
                .take(devices.len())
                .filter_map(|device| {
                    let last = self.screen.believed(device)?;
                    Some((registry.title(device), last))
                });
            let bytes = EdgeMemory::encode_believed(believed);
            let cell = EdgeMemory::believed_cell(shard);
            self.remember(Writing::Shard(shard), cell, bytes);
        }
        if self.believed.is_dirty() {
            self.remember_soon(now);
        }
    }

    fn hand_up_again(&mut self, now: Instant) {
        let mut again: Vec<_> = self
            .quarantine
            .released()
            .map(|held| Effect::Accept {
                reading: held.said.clone(),
                scores: held.scores,
            })
            .collect();
        if !again.is_empty() {
            self.release_at = Some(now + Self::RELEASE_AGAIN_AFTER);
        }
        self.outbox.extend(again.drain(..));
    }

    /// When to come back.
    pub fn wake(&self) -> Wake {
        let deadlines = [
            self.remember_at.map(|at| (at, "remember counters")),
            self.release_at.map(|at| (at, "hand up released readings")),
            self.balances.wake().map(|at| (at, "close a balance")),
            self.awaiting_answer
                .front()
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
            incidents_lost: self.incidents.lost(),
            ..self.status
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

    /// The unknown titles that were used most, with an estimate of how often, loudest first.
    pub fn strangers(&self) -> Vec<(SystemTitle, u32)> {
        self.screen.strangers()
    }

    fn offer_prices(&mut self, device: DeviceIndex, now: Instant) {
        let delivery = &mut self.deliveries[device.at()];
        if delivery.path().is_none() {
            return;
        }
        let period = self.screen.registry().period(device);
        let Some((number, prices)) = delivery.prices.due(&self.prices, period, now) else {
            return;
        };
        self.awaiting_answer
            .push_back((now + PriceDelivery::ANSWER_TIMEOUT, device));
        let table = ChargeTable {
            price_scale: self.config.price_scale,
            entries: prices
                .into_iter()
                .map(|(end, price)| IntervalPrice { end, price })
                .collect(),
        };
        match table.to_set_request(InvokeId::confirmed(number)) {
            Ok(request) => {
                let mut set = Vec::new();
                request.encode(&mut set);
                self.send(device, None, set);
            }
            // The utility's configuration check keeps its tariff inside the meters' scale, so
            // only a utility of another configuration gets here.
            Err(_) => self.status.prices_unsendable += 1,
        }
    }

    /// Ciphers an APDU and sends it the given way, or the way its meter was last heard.
    fn send(&mut self, device: DeviceIndex, path: Option<Path>, apdu: Vec<u8>) {
        let Some(way) = path.or(self.deliveries[device.at()].path()) else {
            return;
        };
        let Ok(counter) = self.transmit.next() else {
            if self.waiting.len() < Self::WAITING_MAX {
                self.waiting.push_back((device, path, apdu));
            } else {
                self.status.down_dropped += 1;
            }
            return;
        };
        let context = self.screen.context(device);
        let mut frame = Vec::with_capacity(apdu.len() + 40);
        context.protect(
            context.full_protection(self.config.title, counter),
            &apdu,
            &mut frame,
        );
        self.outbox.push_back(Effect::Down { path: way, frame });
        self.reserve_counters();
    }

    fn reserve_counters(&mut self) {
        if let Some(upper) = self.transmit.reservation_due() {
            self.request_reservation(upper);
        }
    }

    fn request_reservation(&mut self, upper: u32) {
        let bytes = EdgeMemory::encode_reserved(upper);
        self.remember(Writing::Reservation(upper), EdgeMemory::RESERVED, bytes);
    }

    fn remember_soon(&mut self, now: Instant) {
        self.remember_at = self.remember_at.or(Some(now + Self::REMEMBER_EVERY));
    }

    fn remember(&mut self, writing: Writing, cell: &'static str, bytes: Vec<u8>) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.writing.insert(ticket, writing);
        self.outbox.push_back(Effect::Remember {
            ticket,
            cell,
            bytes,
        });
    }
}

fn packet_evidence(path: Path, frame: &[u8]) -> Evidence {
    let kept = frame.len().min(Incident::EVIDENCE_BYTES_MAX);
    Evidence::Packet {
        path,
        bytes: frame[..kept].to_vec(),
    }
}
