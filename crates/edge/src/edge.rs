//! One edge: screens what comes up, keeps what goes down until it is confirmed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use gridloom_core::{Instant, MeterId, Now, Period, Price, SystemTitle, UtcTime, Wake};
use gridloom_dlms::apdu::{DataNotificationConfirm, InvokeId, LongInvokeId};
use gridloom_dlms::charge::{ChargeTable, IntervalPrice};
use gridloom_dlms::counter::TransmitCounter;
use gridloom_dlms::security::Protection;

use crate::memory::EdgeMemory;
use crate::registry::Registry;
use crate::screen::{AcceptedReading, Refusal, RefusalCounters, Said, Screen};
use crate::tariff::{PriceCache, PriceDelivery};

/// What an edge is told once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgeConfig {
    /// Its own system title.
    pub title: SystemTitle,
    /// Prices travel as whole multiples of 10^`price_scale` of the currency per kWh.
    pub price_scale: i8,
}

/// The way a packet came: the gateway's link here, and the gateway's own name for the meter's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    /// The gateway's link.
    pub gateway: u64,
    /// The gateway's name for the way down.
    pub down: u64,
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
    Accept(AcceptedReading),
    /// Keep a memory cell; answered by [`Edge::handle_remembered`].
    Remember {
        /// Comes back in the answer.
        ticket: u64,
        /// The cell.
        cell: &'static str,
        /// Its content.
        bytes: Vec<u8>,
    },
}

/// What an operator sees of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EdgeStatus {
    /// Meters in the registry.
    pub registered: usize,
    /// Meters heard since start.
    pub heard: usize,
    /// Readings accepted since start.
    pub accepted: u64,
    /// Packets refused since start.
    pub refused: RefusalCounters,
    /// SETs that a meter refused since start.
    pub sets_refused: u64,
    /// SETs not sent because a price does not fit the meters' price scale.
    pub prices_unsendable: u64,
    /// Frames given up because too many waited for a counter reservation.
    pub down_dropped: u64,
    /// Writes to the memory that failed.
    pub memory_failures: u64,
}

#[derive(Debug, Default)]
struct MeterState {
    path: Option<Path>,
    prices: PriceDelivery,
}

/// One edge.
#[derive(Debug)]
pub struct Edge {
    config: EdgeConfig,
    registry: Registry,
    screen: Screen,
    meters: BTreeMap<SystemTitle, MeterState>,
    /// Each meter's [`MeterState::path`], the other way round.
    by_path: BTreeMap<Path, SystemTitle>,
    prices: PriceCache,
    transmit: TransmitCounter,
    /// Plain APDUs that wait for a counter reservation.
    waiting: VecDeque<(SystemTitle, Vec<u8>)>,
    /// The reservation that is being written, by ticket.
    reserving: Option<(u64, u32)>,
    /// A reservation whose write failed, to be written again with the believed counters.
    reserve_again: Option<u32>,
    /// Meters that owe the answer to a SET, in the order of its deadline. An entry whose answer
    /// came stays until then.
    awaiting_answer: VecDeque<(Instant, SystemTitle)>,
    /// When the believed counters are written next; `None` when they are unchanged.
    remember_at: Option<Instant>,
    next_ticket: u64,
    status: EdgeStatus,
    outbox: VecDeque<Effect>,
}

impl Edge {
    /// Frames that may wait for a counter reservation; beyond it new ones are given up and
    /// counted, and the meter or the next deadline asks for them again.
    pub const WAITING_MAX: usize = 65_536;

    /// The believed counters are written at most this often. A replay within this time after a
    /// crash brings only readings that the store already has.
    pub const REMEMBER_EVERY: Duration = Duration::from_millis(500);

    /// An edge that serves these meters, with the memory it left.
    pub fn new(config: EdgeConfig, registry: Registry, memory: &EdgeMemory) -> Self {
        let mut edge = Self {
            config,
            screen: Screen::new(&registry, &memory.believed),
            meters: registry
                .titles()
                .map(|title| (title, MeterState::default()))
                .collect(),
            by_path: BTreeMap::new(),
            prices: PriceCache::default(),
            transmit: TransmitCounter::resume(memory.reserved),
            waiting: VecDeque::new(),
            reserving: None,
            reserve_again: None,
            awaiting_answer: VecDeque::new(),
            remember_at: None,
            next_ticket: 0,
            status: EdgeStatus {
                registered: registry.len(),
                ..EdgeStatus::default()
            },
            outbox: VecDeque::new(),
            registry,
        };
        edge.reserve_counters();
        edge
    }

    /// A packet came up.
    ///
    /// # Errors
    ///
    /// Why it was refused; it is counted already.
    pub fn handle_packet(&mut self, path: Path, frame: &[u8], now: Now) -> Result<(), Refusal> {
        let screened = self.screen.screen(frame, now.utc);
        if self.screen.take_news() {
            self.remember_at = self
                .remember_at
                .or(Some(now.instant + Self::REMEMBER_EVERY));
        }
        let (title, said) = screened?;
        let meter = self.meters.entry(title).or_default();
        if meter.path != Some(path) {
            match meter.path.replace(path) {
                None => self.status.heard += 1,
                Some(old) if self.by_path.get(&old) == Some(&title) => {
                    self.by_path.remove(&old);
                }
                Some(_) => {}
            }
            self.by_path.insert(path, title);
        }
        match said {
            Said::Reading(reading) => {
                meter.prices.meter_lacks(reading.billing.oldest_unpriced);
                self.status.accepted += 1;
                let period = reading.reading.period;
                self.outbox.push_back(Effect::Accept(reading));
                self.offer_prices(title, period, now.instant);
            }
            Said::SetAnswer {
                invoke_id,
                accepted,
            } => {
                // A refused SET would be refused again: the meter's next push says what it lacks.
                if !accepted {
                    self.status.sets_refused += 1;
                }
                meter.prices.answered(invoke_id.number());
                self.offer_prices_to(title, now.instant);
            }
        }
        Ok(())
    }

    /// Something came up that is no wrapped APDU at all.
    pub fn handle_unframed(&mut self) {
        self.screen.refuse(Refusal::Malformed);
    }

    /// The way on which a meter was last heard.
    pub fn path_to(&self, meter: MeterId) -> Option<Path> {
        let title = self.registry.title_of(meter)?;
        self.meters.get(&title)?.path
    }

    /// The meter that was last heard on a way: whose answer an unverified APDU from there may be.
    pub fn meter_on(&self, path: Path) -> Option<MeterId> {
        let title = self.by_path.get(&path)?;
        Some(self.registry.by_title(*title)?.meter)
    }

    /// The utility decided a price.
    pub fn handle_price(&mut self, period: Period, end: UtcTime, price: Price) {
        self.prices.insert(period, end, price);
    }

    /// All prices of a message are in: offers them to every meter that was heard.
    pub fn offer_prices_to_all(&mut self, now: Instant) {
        let titles: Vec<SystemTitle> = self.meters.keys().copied().collect();
        for title in titles {
            self.offer_prices_to(title, now);
        }
    }

    /// A reading is durable: its meter may forget it.
    pub fn handle_stored(&mut self, meter: MeterId, period: Period, end: UtcTime) {
        let Some(title) = self.registry.title_of(meter) else {
            return;
        };
        let mut confirm = Vec::new();
        DataNotificationConfirm {
            invoke_id: LongInvokeId::of_interval(period, end),
            time: None,
        }
        .encode(&mut confirm);
        self.send(title, confirm);
    }

    /// A gateway's link is gone: nothing goes down that way any more.
    pub fn handle_gateway_gone(&mut self, gateway: u64) {
        self.by_path.retain(|path, _| path.gateway != gateway);
        for meter in self.meters.values_mut() {
            if meter.path.is_some_and(|path| path.gateway == gateway) {
                meter.path = None;
                self.status.heard -= 1;
            }
        }
    }

    /// A memory cell is durable, or not.
    pub fn handle_remembered(&mut self, ticket: u64, stored: bool, now: Now) {
        let reservation = self
            .reserving
            .take_if(|(reserving, _)| *reserving == ticket);
        match (reservation, stored) {
            (Some((_, upper)), true) => {
                self.transmit.reserved(upper);
                for (title, apdu) in std::mem::take(&mut self.waiting) {
                    self.send(title, apdu);
                }
            }
            (Some((_, upper)), false) => {
                self.status.memory_failures += 1;
                self.reserve_again = Some(upper);
                self.remember_at = Some(now.instant + Self::REMEMBER_EVERY);
            }
            (None, true) => {}
            (None, false) => {
                self.status.memory_failures += 1;
                self.remember_at = Some(now.instant + Self::REMEMBER_EVERY);
            }
        }
    }

    /// Writes what is due and repeats what was not answered.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.remember_at.is_some_and(|at| at <= now.instant) {
            self.remember_at = None;
            let bytes = EdgeMemory::encode_believed(self.screen.believed());
            self.remember(EdgeMemory::BELIEVED, bytes);
            if let Some(upper) = self.reserve_again.take() {
                self.request_reservation(upper);
            }
        }
        while let Some((_, title)) = self
            .awaiting_answer
            .pop_front_if(|(at, _)| *at <= now.instant)
        {
            self.offer_prices_to(title, now.instant);
        }
    }

    /// When to come back.
    pub fn wake(&self) -> Wake {
        let remember = self.remember_at.map(|at| (at, "remember counters"));
        let answer = self
            .awaiting_answer
            .front()
            .map(|(at, _)| (*at, "repeat a price"));
        Wake {
            instant: [remember, answer].into_iter().flatten().min(),
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
            refused: self.screen.counters(),
            ..self.status
        }
    }

    fn offer_prices_to(&mut self, title: SystemTitle, now: Instant) {
        if let Some(period) = self.registry.by_title(title).map(|meter| meter.period) {
            self.offer_prices(title, period, now);
        }
    }

    fn offer_prices(&mut self, title: SystemTitle, period: Period, now: Instant) {
        let Some(meter) = self.meters.get_mut(&title) else {
            return;
        };
        if meter.path.is_none() {
            return;
        }
        let Some((number, prices)) = meter.prices.due(&self.prices, period, now) else {
            return;
        };
        self.awaiting_answer
            .push_back((now + PriceDelivery::ANSWER_TIMEOUT, title));
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
                self.send(title, set);
            }
            // The utility's configuration check keeps its tariff inside the meters' scale, so
            // only a utility of another configuration gets here.
            Err(_) => self.status.prices_unsendable += 1,
        }
    }

    /// Ciphers an APDU and sends it the way its meter was last heard.
    fn send(&mut self, title: SystemTitle, apdu: Vec<u8>) {
        let Some(path) = self.meters.get(&title).and_then(|meter| meter.path) else {
            return;
        };
        let Some(context) = self.screen.context(title) else {
            return;
        };
        let Ok(counter) = self.transmit.next() else {
            if self.waiting.len() < Self::WAITING_MAX {
                self.waiting.push_back((title, apdu));
            } else {
                self.status.down_dropped += 1;
            }
            return;
        };
        let mut frame = Vec::with_capacity(apdu.len() + 40);
        context.protect(
            Protection::full(self.config.title, counter),
            &apdu,
            &mut frame,
        );
        self.outbox.push_back(Effect::Down { path, frame });
        self.reserve_counters();
    }

    fn reserve_counters(&mut self) {
        if let Some(upper) = self.transmit.reservation_due() {
            self.request_reservation(upper);
        }
    }

    fn request_reservation(&mut self, upper: u32) {
        let ticket = self.remember(EdgeMemory::RESERVED, EdgeMemory::encode_reserved(upper));
        self.reserving = Some((ticket, upper));
    }

    fn remember(&mut self, cell: &'static str, bytes: Vec<u8>) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.outbox.push_back(Effect::Remember {
            ticket,
            cell,
            bytes,
        });
        ticket
    }
}
