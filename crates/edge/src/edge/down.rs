//! What goes down: confirmations and prices, each the way its meter was last heard.

use gridloom_core::{Instant, MeterId, Period, Price, SystemTitle, UtcTime};
use gridloom_dlms::apdu::{DataNotificationConfirm, InvokeId, LongInvokeId};
use gridloom_dlms::charge::{ChargeTable, IntervalPrice};

use super::newcomers::Newcomer;
use super::{Edge, Effect};
use crate::alarm::{AlarmKey, AlarmNumber};
use crate::identity::Path;
use crate::registry::DeviceIndex;
use crate::tariff::PriceDelivery;

impl Edge {
    /// Fresh packets by which another path proves that a meter is there. One may have overtaken
    /// itself on the way of somebody who heard it.
    pub const PROVED_BY: u8 = 2;

    /// Meters that are heard on two paths; a further one is believed to be where it was heard last.
    pub const NEWCOMERS_MAX: usize = 65_536;

    /// An alarm is durable above: its meter may stop repeating it.
    pub fn handle_alarm_stored(&mut self, key: AlarmKey) {
        if self.alarms.handle_stored(key) {
            self.confirm_alarm(key);
        }
    }

    /// Whoever has alarms durable is back: hands up all that wait.
    pub fn hand_up_alarms(&mut self) {
        let waiting = self.alarms.waiting().cloned();
        let effects = waiting.map(|alarm| Effect::Alarm(Box::new(alarm)));
        self.outbox.extend(effects);
    }

    /// Confirms an alert; nobody confirms an event.
    pub(super) fn confirm_alarm(&mut self, key: AlarmKey) {
        let AlarmNumber::Alert(id) = key.number else {
            return;
        };
        if let Some(device) = self.screen.registry().find_meter(key.meter) {
            self.confirm_id(device, None, id);
        }
    }

    pub(super) fn confirm(
        &mut self,
        device: DeviceIndex,
        path: Option<Path>,
        period: Period,
        end: UtcTime,
    ) {
        self.confirm_id(device, path, LongInvokeId::of_interval(period, end));
    }

    fn confirm_id(&mut self, device: DeviceIndex, path: Option<Path>, invoke_id: LongInvokeId) {
        let mut confirm = Vec::new();
        DataNotificationConfirm {
            invoke_id,
            time: None,
        }
        .encode(&mut confirm);
        self.send(device, path, confirm);
    }

    /// A packet of this device was forwarded: answers go this way, at once if there is no other,
    /// otherwise both ways until the new one has proved itself. Whoever hears a packet and is
    /// faster than it must not become its meter's way.
    pub(super) fn heard(&mut self, device: DeviceIndex, path: Path) {
        let old = self.deliveries[device.at()].path;
        if old == path {
            self.newcomers.remove(device);
            return;
        }
        if old == Delivery::NOWHERE {
            self.status.heard += 1;
            return self.settle(device, path);
        }
        let packets = match self.newcomers.get(device) {
            Some(newcomer) if newcomer.path == path => newcomer.packets + 1,
            None if self.newcomers.len() >= Self::NEWCOMERS_MAX => Self::PROVED_BY,
            Some(_) | None => 1,
        };
        if packets < Self::PROVED_BY {
            self.newcomers.insert(device, Newcomer { path, packets });
            return;
        }
        self.forget_path(device);
        self.settle(device, path);
    }

    /// A packet came that repeats one which was believed from elsewhere. If it came by the meter's
    /// own path the meter is still there, and the other path was only faster.
    pub(super) fn note_repeated(&mut self, path: Path) {
        if let Some(device) = self.screen.take_repeated()
            && self.deliveries[device.at()].path == path
        {
            self.newcomers.doubt(device);
        }
    }

    /// A device's path is gone. If it was heard elsewhere, it is there.
    pub(super) fn leave(&mut self, device: DeviceIndex) {
        self.forget_path(device);
        self.deliveries[device.at()].path = Delivery::NOWHERE;
        match self.newcomers.get(device).map(|newcomer| newcomer.path) {
            Some(path) => self.settle(device, path),
            None => self.status.heard -= 1,
        }
    }

    /// A device's answers go this way, and no other.
    fn settle(&mut self, device: DeviceIndex, path: Path) {
        self.newcomers.remove(device);
        // Whoever was known there before is not there any more.
        if let Some(former) = self.on_path(path) {
            self.forget_path(former);
        }
        self.deliveries[device.at()].path = path;
        self.by_path.insert(self.hash(path), device.0);
    }

    pub(super) fn hash(&self, path: Path) -> u64 {
        self.config.hash_key.hash(&[path.gateway, path.down])
    }

    /// Takes a device out of the table of paths; its own path stays known.
    pub(super) fn forget_path(&mut self, device: DeviceIndex) {
        let path = |number: u32| self.deliveries[DeviceIndex(number).at()].path;
        let hash = |number| {
            let path = path(number);
            self.config.hash_key.hash(&[path.gateway, path.down])
        };
        self.by_path.remove(hash(device.0), device.0, hash);
    }

    pub(super) fn on_path(&self, path: Path) -> Option<DeviceIndex> {
        let is_there = |number: u32| self.deliveries[DeviceIndex(number).at()].path == path;
        self.by_path
            .find(self.hash(path), is_there)
            .map(DeviceIndex)
    }

    /// The proved way to a meter.
    pub fn path_to(&self, meter: MeterId) -> Option<Path> {
        let device = self.screen.registry().find_meter(meter)?;
        self.deliveries[device.at()].path()
    }

    /// The meter whose proved way this is: whose answer an unverified APDU from there may be.
    pub fn meter_on(&self, path: Path) -> Option<MeterId> {
        Some(self.screen.registry().meter(self.on_path(path)?))
    }

    /// A gateway that came over from another edge says on which of its lines a title was answered
    /// there. Nothing proves it here, so it is the meter's way only until one proves itself. The
    /// meter, if it has a way now that it had not.
    pub fn handle_path_told(&mut self, path: Path, title: SystemTitle) -> Option<MeterId> {
        let device = self.screen.registry().find(title)?;
        let is_free = self.deliveries[device.at()].path == Delivery::NOWHERE
            && self.on_path(path).is_none()
            && !self.screen.is_revoked(device);
        if !is_free {
            return None;
        }
        self.status.heard += 1;
        self.settle(device, path);
        Some(self.screen.registry().meter(device))
    }

    /// Whether the way to some meter leads over this gateway.
    pub fn has_meters_behind(&self, gateway: u64) -> bool {
        self.deliveries
            .iter()
            .any(|delivery| delivery.path().is_some_and(|path| path.gateway == gateway))
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

    pub(super) fn offer_prices(&mut self, device: DeviceIndex, now: Instant) {
        let delivery = &mut self.deliveries[device.at()];
        if delivery.path().is_none() {
            return;
        }
        let period = self.screen.registry().period(device);
        let Some((number, prices)) = delivery.prices.due(&self.prices, period, now) else {
            return;
        };
        let patience = delivery.prices.patience();
        self.awaiting_answer.insert((now + patience, device));
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

    /// Ciphers an APDU and sends it the given way, or its meter's, and then also the way by which
    /// the meter was heard without proof. Twice the same: a meter believes the first that comes.
    pub(super) fn send(&mut self, device: DeviceIndex, path: Option<Path>, apdu: Vec<u8>) {
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
        let newcomer = self.newcomers.get(device).map(|newcomer| newcomer.path);
        if let Some(path) = newcomer.filter(|also| path.is_none() && *also != way) {
            let frame = frame.clone();
            self.outbox.push_back(Effect::Down { path, frame });
        }
        self.outbox.push_back(Effect::Down { path: way, frame });
        self.reserve_counters();
    }
}

/// The way back to one meter, and what goes there: half a cache line, and never two halves.
#[derive(Debug)]
#[repr(align(32))]
pub(super) struct Delivery {
    /// [`Delivery::NOWHERE`] until the meter is heard.
    pub(super) path: Path,
    pub(super) prices: PriceDelivery,
}

impl Delivery {
    pub(super) const NOWHERE: Path = Path {
        gateway: u64::MAX,
        down: u64::MAX,
    };

    /// Reads its beginning; for nothing but to have it in the cache.
    pub(super) fn touch(&self) -> u32 {
        u32::from(self.path == Self::NOWHERE)
    }

    pub(super) fn path(&self) -> Option<Path> {
        (self.path != Self::NOWHERE).then_some(self.path)
    }
}
