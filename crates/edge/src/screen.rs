//! The whole pipeline: frame, identity, integrity, rate, behaviour, quality, trust.
//!
//! Cheap questions are asked before dear ones, so rate has its say twice: before the tag about
//! what the path and the title may still cost, after it about what the meter itself may send.

use std::collections::BTreeMap;
use std::time::Duration;

use gridloom_core::{Instant, Now, SystemTitle, UtcTime};
use gridloom_dlms::counter::{FreshCounter, ReceiveCounter};
use gridloom_dlms::security::{CipherContext, CipheredApdu, Keys};

use crate::behaviour::{self, Anchor, Features, Model, Trail};
use crate::config::ScreeningConfig;
use crate::frame;
use crate::identity::{CloneRule, Path, Whereabouts};
use crate::index::HashKey;
use crate::integrity::{self, Said};
use crate::memory::{DeviceState, EdgeMemory};
use crate::quality::{self, LinkQuality};
use crate::rate::{Budgets, Cusum, DeviceBudget, Lanes, Refill, Shift, Tick};
use crate::reason::{Reason, ReasonCounters, Reasons};
use crate::registry::{DeviceIndex, GatewayId, Registry};
use crate::rekeying::{CounterKept, Rekeying, Until};
use crate::score::{Score, Scores, Smoothed};
use crate::sketch::Strangers;
use crate::status::{GatewayStatus, VerdictCounters};
use crate::trust::{self, Screening, Verdict};

/// What is known of one device, in one cache line.
#[derive(Debug)]
#[repr(align(64))]
struct Device {
    believed: ReceiveCounter,
    whereabouts: Whereabouts,
    budget: DeviceBudget,
    trail: Trail,
    trust: Smoothed,
    is_revoked: bool,
}

/// What is known of one gateway's link.
#[derive(Debug)]
struct Gateway {
    id: Option<GatewayId>,
    packets: u64,
    trust: Smoothed,
    shift: Cusum,
    /// When it told its name, in seconds since the edge's start.
    named_s: u32,
}

/// A believed packet; what it says is [`Screen::said`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Believed {
    pub(crate) device: DeviceIndex,
    pub(crate) title: SystemTitle,
    pub(crate) counter: u32,
    /// Its distance from the device's habits, in sixteenths of the usual one.
    pub(crate) deviation: i32,
    /// Whether no newer interval of the device was forwarded before it.
    pub(crate) is_newest: bool,
    /// Whether it is the first packet of the device that is believed since the edge's start.
    pub(crate) is_first: bool,
    /// Whether its home was learnt from it, or its trust has moved.
    pub(crate) is_state_changed: bool,
    /// By which gateway it came, and how many counters are missing before it; `None` if it came
    /// otherwise than the last one, or by a link without a name.
    pub(crate) gap: Option<(GatewayId, u32)>,
}

/// A shift in the number of packets, seen with the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Surge {
    None,
    Gateway,
    Edge,
}

/// Verifies and judges packets against the registry.
#[derive(Debug)]
pub(crate) struct Screen {
    config: ScreeningConfig,
    registry: Registry,
    devices: Vec<Device>,
    key: HashKey,
    budgets: Budgets,
    strangers: Strangers,
    /// Each link's place in [`Self::seats`].
    gateways: BTreeMap<u64, usize>,
    /// The first is that of all links beyond [`Self::GATEWAYS_MAX`] together.
    seats: Vec<Gateway>,
    free_seats: Vec<usize>,
    names: BTreeMap<String, GatewayId>,
    /// How far gateways were trusted whose links are gone.
    gone: BTreeMap<GatewayId, Scores>,
    shift: Shift,
    surge: Cusum,
    last_surge: Surge,
    trust: Smoothed,
    reasons: ReasonCounters,
    verdicts: VerdictCounters,
    model: Option<Box<dyn Model>>,
    rekeying: Rekeying,
    /// Of devices whose last readings were held for their energies.
    anchors: BTreeMap<DeviceIndex, Anchor>,
    /// Whose packet it was that came again by another path, its tag verified; asked once.
    repeated: Option<DeviceIndex>,
    /// Where packets are decrypted; kept so that no packet costs an allocation.
    plain: Vec<u8>,
    /// What the last believed packet says; kept here so that no step moves it.
    said: Said,
}

impl Screen {
    /// Gateways told apart; what comes by further links is counted together and has no home.
    pub(crate) const GATEWAYS_MAX: usize = 4_096;
    /// Bytes of a gateway's name; one with a longer name has no number, and so no home.
    const NAME_BYTES_MAX: usize = 256;
    const SHARED_SEAT: usize = 0;
    /// Devices whose held readings the next ones are measured by; of further ones every second
    /// false energy passes.
    const ANCHORS_MAX: usize = 4_096;

    pub(crate) fn new(
        config: ScreeningConfig,
        key: HashKey,
        registry: Registry,
        memory: &EdgeMemory,
    ) -> Self {
        let settings = config.settings();
        let sent = Refill {
            burst: settings.device_burst,
            per_second: settings.device_per_second,
        };
        let devices = registry.devices().map(|device| {
            let title = registry.title(device);
            let believed = memory.believed.get(&title);
            let state = memory.devices.get(&title);
            Device {
                believed: believed
                    .map_or_else(ReceiveCounter::new, |last| ReceiveCounter::after(*last)),
                whereabouts: Whereabouts::resume(state.and_then(|state| state.home)),
                budget: DeviceBudget::full(sent),
                trail: Trail::default(),
                trust: Smoothed::resume(state.map_or(Scores::FULL, |state| state.trust)),
                is_revoked: state.is_some_and(|state| state.is_revoked),
            }
        });
        let path = Refill {
            burst: settings.path_burst,
            per_second: settings.path_per_second,
        };
        let gateway = Refill {
            burst: settings.gateway_burst,
            per_second: settings.gateway_per_second,
        };
        Self {
            devices: devices.collect(),
            budgets: Budgets::new(key, path, gateway),
            strangers: Strangers::new(key),
            key,
            gateways: BTreeMap::new(),
            seats: vec![Gateway::new(None)],
            free_seats: Vec::new(),
            names: memory
                .gateways
                .iter()
                .map(|(name, (id, _))| (name.clone(), *id))
                .collect(),
            gone: memory.gateways.values().copied().collect(),
            shift: Shift::of(settings.packets_per_second, settings.false_alarm_seconds),
            surge: Cusum::new(),
            last_surge: Surge::None,
            trust: Smoothed::resume(memory.trust.unwrap_or(Scores::FULL)),
            reasons: ReasonCounters::default(),
            verdicts: VerdictCounters::default(),
            model: None,
            rekeying: Rekeying::default(),
            anchors: BTreeMap::new(),
            repeated: None,
            plain: Vec::new(),
            said: Said::Nothing,
            config,
            registry,
        }
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn model_version(&self) -> Option<u32> {
        self.model.as_ref().map(|model| model.version())
    }

    pub(crate) fn install(&mut self, model: Option<Box<dyn Model>>) {
        self.model = model;
    }

    /// A gateway's link stands, and the gateway has told its name. Whether its number is new.
    pub(crate) fn handle_gateway_up(&mut self, link: u64, name: &str, now: Instant) -> bool {
        let known = self.names.get(name).copied();
        let id = known.or_else(|| self.number(name));
        let seat = self.seat(link);
        if seat != Self::SHARED_SEAT {
            self.seats[seat].id = id;
            self.seats[seat].named_s = seconds(now);
            if let Some(trust) = id.and_then(|id| self.gone.remove(&id)) {
                self.seats[seat].trust = Smoothed::resume(trust);
            }
        }
        known.is_none() && id.is_some()
    }

    /// Gives a name a number that no other has; `None` if there are too many, or it is too long.
    fn number(&mut self, name: &str) -> Option<GatewayId> {
        if self.names.len() >= Self::GATEWAYS_MAX || name.len() > Self::NAME_BYTES_MAX {
            return None;
        }
        let next = u16::try_from(self.names.len()).unwrap_or(u16::MAX);
        // Numbers that the registry gave are not given again.
        let taken = |id: &GatewayId| self.names.values().any(|it| it == id);
        let id = (next..u16::MAX)
            .chain(0..next)
            .map(GatewayId)
            .find(|id| !taken(id))?;
        self.names.insert(name.to_owned(), id);
        Some(id)
    }

    /// The registry's homes mean gateways of these names. What was learnt of others stays, under
    /// other numbers if these are needed.
    pub(crate) fn name_gateways(&mut self, names: BTreeMap<String, GatewayId>) {
        let before = std::mem::replace(&mut self.names, names);
        let mut moved = BTreeMap::new();
        for (name, id) in before {
            let taken = self.names.values().any(|it| *it == id);
            let now = match self.names.get(&name).copied() {
                Some(now) => Some(now),
                None if taken => self.number(&name),
                None => {
                    self.names.insert(name, id);
                    Some(id)
                }
            };
            if now != Some(id) {
                moved.insert(id, now.unwrap_or(GatewayId(u16::MAX)));
            }
        }
        if moved.is_empty() {
            return;
        }
        for device in &mut self.devices {
            let home = device.whereabouts.learnt_home();
            if let Some(now) = home.and_then(|home| moved.get(&home)) {
                device.whereabouts.rehome(*now);
            }
        }
        let gone = std::mem::take(&mut self.gone).into_iter();
        self.gone = gone
            .map(|(id, trust)| (moved.get(&id).copied().unwrap_or(id), trust))
            .collect();
        for seat in &mut self.seats {
            seat.id = seat.id.map(|id| moved.get(&id).copied().unwrap_or(id));
        }
    }

    /// A gateway's link is gone.
    pub(crate) fn handle_gateway_gone(&mut self, link: u64) {
        if let Some(seat) = self.gateways.remove(&link) {
            let gateway = &self.seats[seat];
            if let Some(id) = gateway.id {
                self.gone.insert(id, gateway.trust.scores());
            }
            self.free_seats.push(seat);
        }
    }

    /// Every gateway that has a number, with its name and trust.
    pub(crate) fn named_gateways(&self) -> impl Iterator<Item = (&str, GatewayId, Scores)> {
        let linked: BTreeMap<_, _> = self
            .gateways
            .values()
            .filter_map(|seat| Some((self.seats[*seat].id?, self.seats[*seat].trust.scores())))
            .collect();
        self.names.iter().map(move |(name, id)| {
            let trust = linked.get(id).or_else(|| self.gone.get(id));
            (name.as_str(), *id, trust.copied().unwrap_or(Scores::FULL))
        })
    }

    /// What is known of a device besides its counter; `None` if that is nothing.
    pub(crate) fn state_of(&self, device: DeviceIndex, at: UtcTime) -> Option<DeviceState> {
        let known = &self.devices[device.at()];
        let state = DeviceState {
            home: known.whereabouts.learnt_home(),
            trust: known.trust.scores(),
            is_revoked: known.is_revoked,
            at,
        };
        let is_news = state.home.is_some() || state.trust != Scores::FULL || state.is_revoked;
        is_news.then_some(state)
    }

    /// Where a link's gateway sits.
    fn seat(&mut self, link: u64) -> usize {
        if let Some(seat) = self.gateways.get(&link) {
            return *seat;
        }
        if self.gateways.len() >= Self::GATEWAYS_MAX {
            return Self::SHARED_SEAT;
        }
        let seat = self.free_seats.pop().unwrap_or(self.seats.len());
        if seat == self.seats.len() {
            self.seats.push(Gateway::new(None));
        } else {
            self.seats[seat] = Gateway::new(None);
        }
        self.gateways.insert(link, seat);
        seat
    }

    /// A title is revoked, or no longer.
    pub(crate) fn revoke(&mut self, device: DeviceIndex, is_revoked: bool) {
        self.devices[device.at()].is_revoked = is_revoked;
    }

    pub(crate) fn is_revoked(&self, device: DeviceIndex) -> bool {
        self.devices[device.at()].is_revoked
    }

    /// A packet that was to be quarantined found no room.
    pub(crate) fn no_room(&mut self) {
        self.reasons.count(Reason::QuarantineFull);
    }

    pub(crate) fn reasons(&self) -> ReasonCounters {
        self.reasons
    }

    pub(crate) fn verdicts(&self) -> VerdictCounters {
        self.verdicts
    }

    pub(crate) fn trust(&self) -> Scores {
        self.trust.scores()
    }

    pub(crate) fn trust_of(&self, device: DeviceIndex) -> Scores {
        self.devices[device.at()].trust.scores()
    }

    pub(crate) fn home_of(&self, device: DeviceIndex) -> Option<GatewayId> {
        let enrolled = self.registry.site(device).home;
        enrolled.or_else(|| self.devices[device.at()].whereabouts.learnt_home())
    }

    pub(crate) fn gateways(&self) -> impl Iterator<Item = GatewayStatus> {
        self.gateways.iter().map(|(link, seat)| {
            let gateway = &self.seats[*seat];
            let name = self.names.iter().find(|(_, id)| Some(**id) == gateway.id);
            GatewayStatus {
                link: *link,
                id: gateway.id,
                name: name.map(|(name, _)| name.clone()),
                packets: gateway.packets,
                trust: gateway.trust.scores(),
            }
        })
    }

    /// The number of a link's gateway, if it has one.
    pub(crate) fn gateway_of(&self, link: u64) -> Option<GatewayId> {
        self.seats[*self.gateways.get(&link)?].id
    }

    /// The link of a gateway that has a number.
    pub(crate) fn link_of(&self, gateway: GatewayId) -> Option<u64> {
        let mut links = self.gateways.iter();
        let found = links.find(|(_, seat)| self.seats[**seat].id == Some(gateway));
        found.map(|(link, _)| *link)
    }

    /// For how many seconds a gateway's link has stood; `None` if there is none.
    pub(crate) fn stands_for_s(&self, gateway: GatewayId, now: Instant) -> Option<u32> {
        let seat = self.gateways.get(&self.link_of(gateway)?)?;
        Some(seconds(now).saturating_sub(self.seats[*seat].named_s))
    }

    /// What the gateway of a link is called.
    pub(crate) fn gateway_name(&self, link: u64) -> Option<&str> {
        let id = self.seats[*self.gateways.get(&link)?].id?;
        let mut names = self.names.iter();
        let found = names.find(|(_, it)| **it == id);
        found.map(|(name, _)| name.as_str())
    }

    pub(crate) fn strangers(&self) -> Vec<(SystemTitle, u32)> {
        self.strangers.loudest()
    }

    /// The cipher of a meter, for what goes back to it.
    pub(crate) fn context(&self, device: DeviceIndex) -> CipherContext {
        CipherContext::new(&self.registry.keys(device))
    }

    /// The last counter believed from a device.
    pub(crate) fn believed(&self, device: DeviceIndex) -> Option<u32> {
        self.devices[device.at()].believed.last()
    }

    /// What the last believed packet says.
    pub(crate) fn said(&self) -> &Said {
        &self.said
    }

    /// What the last believed packet said, deciphered.
    pub(crate) fn plain(&self) -> &[u8] {
        &self.plain
    }

    /// Whether the last packet told a shift; asked once.
    pub(crate) fn take_surge(&mut self) -> Surge {
        std::mem::replace(&mut self.last_surge, Surge::None)
    }

    /// A held reading was released: it is the device's word after all.
    pub(crate) fn follow(&mut self, device: DeviceIndex, push: &gridloom_dlms::push::IntervalPush) {
        self.devices[device.at()].trail.follow(push);
        self.weigh_anchor(device);
    }

    /// Forgets a device's anchor once the device was believed about a later interval.
    fn weigh_anchor(&mut self, device: DeviceIndex) {
        let trail = &self.devices[device.at()].trail;
        if self
            .anchors
            .get(&device)
            .is_some_and(|it| it.is_passed(trail))
        {
            self.anchors.remove(&device);
        }
    }

    fn drop_anchor(&mut self, device: DeviceIndex, reasons: Reasons) {
        let Said::Push(push) = &self.said else {
            return;
        };
        let before = self.anchors.get(&device).copied();
        if before.is_none() && self.anchors.len() >= Self::ANCHORS_MAX {
            return;
        }
        if let Some(anchor) = Anchor::after(before, push, reasons) {
            self.anchors.insert(device, anchor);
        }
    }

    /// Whose packet the last one repeated, by another path than its title's and with a tag that
    /// verified; asked once.
    pub(crate) fn take_repeated(&mut self) -> Option<DeviceIndex> {
        self.repeated.take()
    }

    /// Reads what the state of these devices begins with; for nothing but to have it in the cache.
    pub(crate) fn touch(&self, device: DeviceIndex) -> u32 {
        let first = self.registry.touch(device);
        first ^ self.devices[device.at()].believed.last().unwrap_or(0)
    }

    /// Takes a packet apart and judges it. The packet itself comes back only if it was believed;
    /// its counter is then committed whatever the verdict is: what was refused today must not pass
    /// when it is replayed tomorrow.
    pub(crate) fn screen(
        &mut self,
        path: Path,
        link: &LinkQuality,
        frame: &[u8],
        now: Now,
    ) -> (Screening, Option<Believed>) {
        let now_s = seconds(now.instant);
        let (seat, gateway_id) = self.tally(path, now_s);
        self.repeated = None;
        let (screening, believed) = match self.believe(path, gateway_id, frame, now, now_s) {
            Ok(packet) => self.judge(packet, link, frame, now),
            Err((reasons, believed)) => (Screening::dropped(reasons), believed),
        };
        self.count(seat, &screening);
        (screening, believed)
    }

    /// Judges what is no packet at all: whoever carried it pays.
    pub(crate) fn screen_unframed(&mut self, path: Path, now: Now) -> Screening {
        let (seat, _) = self.tally(path, seconds(now.instant));
        let lanes = self.budgets.lanes(path);
        let reason = match self.budgets.admit(lanes, Tick::at(now.instant)) {
            Ok(()) => {
                self.budgets.charge(lanes);
                Reason::Malformed
            }
            Err(flooded) => flooded,
        };
        let screening = Screening::dropped(Reasons::of(reason));
        self.count(seat, &screening);
        screening
    }

    /// Counts what came, whatever it is: where its gateway sits, and its number.
    fn tally(&mut self, path: Path, now_s: u32) -> (usize, Option<GatewayId>) {
        let shift = self.shift;
        let is_surge = self.surge.count(shift, now_s);
        if is_surge {
            self.last_surge = Surge::Edge;
        }
        let seat = self.seat(path.gateway);
        let gateway = &mut self.seats[seat];
        gateway.packets += 1;
        let gateway_id = gateway.id;
        if gateway.shift.count(shift, now_s) && !is_surge {
            self.last_surge = Surge::Gateway;
        }
        (seat, gateway_id)
    }

    fn count(&mut self, seat: usize, screening: &Screening) {
        self.reasons.count_all(screening.reasons);
        match screening.verdict {
            Verdict::Forward => self.verdicts.forwarded += 1,
            Verdict::Quarantine => self.verdicts.quarantined += 1,
            Verdict::Drop => self.verdicts.dropped += 1,
        }
        self.trust.follow(screening.scores);
        self.seats[seat].trust.follow(screening.scores);
    }

    /// Counter and tag, under the device's keys; while they change, under the others as well.
    fn verify(
        &mut self,
        device: DeviceIndex,
        packet: &CipheredApdu<'_>,
        now: Now,
    ) -> Result<FreshCounter, Reason> {
        let reason = match integrity::fresh(&self.devices[device.at()].believed, packet) {
            Ok(fresh) => match integrity::open(&self.registry, device, packet, &mut self.plain) {
                Ok(_) => return Ok(fresh),
                Err(reason) => reason,
            },
            Err(reason) => reason,
        };
        let other = self
            .rekeying
            .try_other(device, packet, &mut self.plain, now);
        let Some((fresh, keys, believed)) = other else {
            return Err(reason);
        };
        // What goes down to the meter is sealed under what it talks under.
        let keys = self.registry.replace_keys(device, keys);
        let place = &mut self.devices[device.at()].believed;
        let believed = std::mem::replace(place, believed);
        self.rekeying.swapped(device, keys, believed);
        Ok(fresh)
    }

    /// A device may talk under these keys from now on; `false` if too many change at a time.
    pub(crate) fn offer_keys(&mut self, device: DeviceIndex, keys: Keys) -> bool {
        self.registry.keys(device) == keys || self.rekeying.offer(device, keys)
    }

    /// A device talks under these keys; its others are good until then, if at all.
    pub(crate) fn settle_keys(&mut self, device: DeviceIndex, keys: Keys, now: Now, until: Until) {
        if self.registry.keys(device) == keys {
            self.rekeying.settle(device, now, until);
            return;
        }
        let believed = self.rekeying.believed_under(device, &keys);
        let old = self.registry.replace_keys(device, keys);
        let place = &mut self.devices[device.at()].believed;
        match until {
            Until::AtOnce(CounterKept::Yes) => {}
            Until::AtOnce(CounterKept::No) => *place = ReceiveCounter::new(),
            Until::Later(_) => {
                let believed = std::mem::replace(place, believed.unwrap_or_default());
                self.rekeying.put(device, old, believed);
            }
        }
        self.rekeying.settle(device, now, until);
    }

    /// Everything up to the point where the packet is the meter's own word.
    #[allow(
        clippy::type_complexity,
        reason = "a refusal after the tag verified still names its device"
    )]
    fn believe(
        &mut self,
        path: Path,
        gateway: Option<GatewayId>,
        frame: &[u8],
        now: Now,
        now_s: u32,
    ) -> Result<Packet, (Reasons, Option<Believed>)> {
        let early = |reason| (Reasons::of(reason), None);
        let tick = Tick::at(now.instant);
        // The hash first: the looks at table, record and device that follow miss the cache, and
        // with nothing between them they miss it together.
        let hash = self.key.hash(&[path.gateway, path.down]);
        let claimed = frame::peek(frame).ok();
        let device = claimed.and_then(|title| self.registry.find(title));
        let way = self.way(device, hash, gateway);
        self.admit(device, way, path, tick).map_err(early)?;
        let charge = |screen: &mut Self, reason| {
            screen.charge(device, way, path, reason);
            (Reasons::of(reason), None)
        };
        let Some(title) = claimed else {
            return Err(charge(self, Reason::Malformed));
        };
        let Some(device) = device else {
            self.strangers.count(title);
            return Err(charge(self, Reason::UnknownTitle));
        };
        if self.devices[device.at()].is_revoked {
            return Err(charge(self, Reason::Revoked));
        }
        let packet = match frame::decode(frame) {
            Ok(packet) => packet,
            Err(reason) => return Err(charge(self, reason)),
        };
        let fresh = match self.verify(device, &packet, now) {
            Ok(fresh) => fresh,
            Err(reason) => {
                let (mut reasons, believed) = charge(self, reason);
                if reason == Reason::Replayed
                    && !way.is_own
                    && self.speaks_elsewhere(device, &packet, now, now_s)
                {
                    reasons.add(Reason::Cloned);
                }
                return Err((reasons, believed));
            }
        };
        let rule = self.clone_rule();
        let settings = self.config.settings();
        let state = &mut self.devices[device.at()];
        let skipped = state
            .believed
            .last()
            .map_or(0, |last| packet.counter - last - 1);
        state.believed.commit(fresh);
        state.budget.sent.take();
        let site = self.registry.site(device);
        let is_first = state.whereabouts.is_new();
        let had_home = state.whereabouts.learnt_home().is_some();
        let identity = state
            .whereabouts
            .observe(way.path, gateway, site.home, rule, now_s);
        let period = self.registry.period(device);
        let content = integrity::read(
            &self.plain,
            packet.counter,
            period,
            settings.clock_ahead,
            now.utc,
        );
        let believed = Believed {
            device,
            title,
            counter: packet.counter,
            deviation: 0,
            is_newest: false,
            is_first,
            is_state_changed: !had_home && state.whereabouts.learnt_home().is_some(),
            gap: gateway
                .filter(|_| way.is_own && !is_first)
                .map(|gateway| (gateway, skipped)),
        };
        match content {
            Ok(said) => {
                self.said = said;
                Ok(Packet {
                    believed,
                    identity,
                    skipped,
                })
            }
            // The device said it, whatever it is.
            Err(reason) => {
                self.said = Said::Nothing;
                Err((Reasons::of(reason), Some(believed)))
            }
        }
    }

    /// Whether a packet with a counter that is not fresh, from another path than its title's,
    /// proves that two devices speak under the title at once. A replay says what the title's
    /// owner has said before. Who says under the owner's keys what the owner has not said yet, or
    /// said otherwise, and lags behind with his counter, counts by himself. What a meter sent
    /// before it moved may still come late by its old path, so only an interval proves anything
    /// that ended after the title was where it is.
    ///
    /// Each look costs a tag, so it is paid for like a forgery.
    fn speaks_elsewhere(
        &mut self,
        device: DeviceIndex,
        packet: &CipheredApdu<'_>,
        now: Now,
        now_s: u32,
    ) -> bool {
        self.devices[device.at()].budget.forged_elsewhere.take();
        if integrity::open(&self.registry, device, packet, &mut self.plain).is_err() {
            return false;
        }
        self.repeated = Some(device);
        let said = integrity::interval(&self.plain);
        let rule = self.clone_rule();
        let state = &mut self.devices[device.at()];
        let settled = Duration::from_secs(state.whereabouts.settled_s(now_s).into());
        let is_proof = said.is_some_and(|push| {
            push.end > now.utc - settled && state.trail.is_contradicted_by(&push)
        });
        if is_proof {
            state.whereabouts.mark_cloned(rule, now_s);
        }
        is_proof
    }

    fn clone_rule(&self) -> CloneRule {
        let settings = self.config.settings();
        CloneRule {
            window_s: u32::try_from(settings.clone_window.as_secs()).expect("a day at most"),
            changes: settings.clone_changes,
        }
    }

    /// Whether a packet comes the way that its title's owner is known by.
    fn way(&self, device: Option<DeviceIndex>, hash: u64, gateway: Option<GatewayId>) -> Way {
        let Some(device) = device else {
            return Way {
                path: 0,
                is_own: false,
            };
        };
        // Zero means "no path yet".
        let hash = u32::try_from(hash >> 32).expect("32 bits fit").max(1);
        let state = &self.devices[device.at()];
        // After a restart the enrolled home stands in for the path until that is learnt.
        let is_home = || {
            state.whereabouts.is_new()
                && gateway.is_some()
                && self.registry.site(device).home == gateway
        };
        Way {
            path: hash,
            is_own: state.whereabouts.is_at(hash) || is_home(),
        }
    }

    /// Whether a packet may cost more than the look at its title. What comes a title's own way
    /// depends on no stranger's budget.
    fn admit(
        &mut self,
        device: Option<DeviceIndex>,
        way: Way,
        path: Path,
        tick: Tick,
    ) -> Result<(), Reason> {
        if !way.is_own {
            let lanes = self.budgets.lanes(path);
            self.budgets.admit(lanes, tick)?;
        }
        let Some(device) = device else {
            return Ok(());
        };
        let settings = self.config.settings();
        let sent = Refill {
            burst: settings.device_burst,
            per_second: settings.device_per_second,
        };
        let budget = &mut self.devices[device.at()].budget;
        let (forged, refill) = if way.is_own {
            (&mut budget.forged_here, DeviceBudget::HERE)
        } else {
            (&mut budget.forged_elsewhere, DeviceBudget::ELSEWHERE)
        };
        if !forged.has(refill, tick) {
            Err(Reason::TitleFlooded)
        } else if !budget.sent.has(sent, tick) {
            Err(Reason::DeviceRate)
        } else {
            Ok(())
        }
    }

    /// A packet was refused before it was believed: whoever carried it pays, and its title pays
    /// for tags that had to be checked.
    fn charge(&mut self, device: Option<DeviceIndex>, way: Way, path: Path, reason: Reason) {
        if !way.is_own {
            let lanes: Lanes = self.budgets.lanes(path);
            self.budgets.charge(lanes);
        }
        if let Some(device) = device.filter(|_| reason == Reason::BadTag) {
            let budget = &mut self.devices[device.at()].budget;
            if way.is_own {
                budget.forged_here.take();
            } else {
                budget.forged_elsewhere.take();
            }
        }
    }

    /// Behaviour, quality and trust of a packet that is believed.
    fn judge(
        &mut self,
        packet: Packet,
        link: &LinkQuality,
        frame: &[u8],
        now: Now,
    ) -> (Screening, Option<Believed>) {
        let Packet {
            mut believed,
            identity,
            skipped,
        } = packet;
        let mut reasons = identity.reasons;
        let mut b = Score::FULL;
        let settings = self.config.settings();
        let site = self.registry.site(believed.device);
        let state = &mut self.devices[believed.device.at()];
        if let Said::Push(push) = &self.said {
            let past = (&state.trail, self.anchors.get(&believed.device));
            let (physics, found) = behaviour::judge(push, &site, past, settings, now.utc);
            reasons = reasons.and(found);
            b = physics;
            believed.deviation = state.trail.deviation(push);
            if let Some(model) = &self.model {
                let usual = model.score(&Features {
                    bytes: u32::try_from(frame.len()).unwrap_or(u32::MAX),
                    since_last_s: state.trail.seconds_to(push),
                    delay_s: behaviour::delay_s(push, now.utc),
                    identity: identity.score,
                    physics,
                    link: *link,
                    counters_skipped: skipped,
                    energy_wh: behaviour::net_wh(push),
                    deviation: believed.deviation,
                    decivolts: u16::try_from(push.values.voltage.get() / 100).unwrap_or(u16::MAX),
                    power_w: push.power.get(),
                });
                if usual < b {
                    reasons.add(Reason::Model);
                    b = usual;
                }
            }
        }
        if let Said::Alarm { is_ahead: true, .. } = &self.said {
            reasons.add(Reason::ClockAhead);
        }
        let (q, poor) = quality::judge(link);
        reasons = reasons.and(poor);
        let screening = trust::judge(settings, identity.score, Score::FULL, b, q, reasons);
        let before = state.trust;
        state.trust.follow(screening.scores);
        believed.is_state_changed |= state.trust != before;
        match (&self.said, screening.verdict) {
            (Said::Push(push), Verdict::Forward) => {
                believed.is_newest = state.trail.follow(push);
                self.weigh_anchor(believed.device);
            }
            (Said::Push(_), Verdict::Quarantine) => {
                self.drop_anchor(believed.device, screening.reasons);
            }
            (_, Verdict::Forward | Verdict::Quarantine | Verdict::Drop) => {}
        }
        (screening, Some(believed))
    }
}

/// Seconds since the edge's start.
fn seconds(now: Instant) -> u32 {
    u32::try_from(now.as_nanos() / 1_000_000_000).unwrap_or(u32::MAX)
}

/// A believed packet before it is judged.
struct Packet {
    believed: Believed,
    identity: crate::identity::Identity,
    skipped: u32,
}

/// The way a packet came, as far as its claimed title has one.
#[derive(Debug, Clone, Copy)]
struct Way {
    path: u32,
    is_own: bool,
}

impl Gateway {
    fn new(id: Option<GatewayId>) -> Self {
        Self {
            id,
            packets: 0,
            trust: Smoothed::default(),
            shift: Cusum::new(),
            named_s: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_stays_small() {
        assert_eq!(size_of::<Device>(), 64);
    }
}
