//! The utility node: collects, stores, validates, settles prices, closes months, feeds the archive.
//!
//! Everything it decides is decided by the machines it holds; here their outputs meet.

mod archiving;
mod closing;
mod memory;
mod status;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use gridloom_billing::{
    BillingCycle, Decided, IntervalSettlement, PriceBook, SigmoidTariff, Tariff,
};
use gridloom_core::{
    Currency, Day, IntervalReading, MeterId, Millivolts, MilliwattHours, Month, Now, Period,
    SystemTitle, UtcTime, Wake, Watts,
};
use gridloom_dlms::push::BillingStatus;
use gridloom_edge::{AcceptedReading, AlarmKey, MeterAlarm, ReasonCounters, ScreenedReading};
use gridloom_grid::station::Fleet;
use gridloom_headend::{Collector, PresenceBook, ReadingKey, Source};
use gridloom_mdm::{Exception, MeterLimits, ServiceSpan, ValidatedInterval, Validator};
use gridloom_store::spool::{Gap, Whose};
use gridloom_store::{
    AppendError, Effect, Ledger, Lsn, Outcome, PricePoint, Record, StoredReading,
};

use crate::delay::{DelayBook, DelayReport};
use crate::envelope::pair::Epoch;
use crate::envelope::{LIST_MAX, Message, Role};
use crate::node::{Answer, DiskReply, DiskRequest, Input, LinkId, Node, Output, Port, Query};

use archiving::ArchiveQueue;
use closing::Closing;

pub use memory::{MemoryError, UtilityMemory};
pub use status::{
    ClosedBill, EdgeTrust, MeterStanding, ReadingTrust, UtilityCounters, UtilityStatus,
};

/// What a utility is told once.
#[derive(Debug, Clone)]
pub struct UtilityConfig {
    /// Its name.
    pub name: String,
    /// The capture period that it prices and bills.
    pub period: Period,
    /// The currency of its bills.
    pub currency: Currency,
    /// How total power becomes a price.
    pub tariff: SigmoidTariff,
    /// How long the price of an interval waits for missing readings.
    pub cutoff: Duration,
    /// How long after its end a month waits for missing readings.
    pub grace: Duration,
    /// How long after its end a day is sealed.
    pub seal_after: Duration,
    /// The generating stations of its area.
    pub stations: Fleet,
}

/// What a meter measures for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Purpose {
    /// A customer: its energy enters the total, and it is billed.
    #[default]
    Customer,
    /// A balance: it measures again what customers' meters measure, so its energy enters no total
    /// and nobody pays for it.
    Balance,
}

/// A meter as the utility serves it.
#[derive(Debug, Clone)]
pub struct ServedMeter {
    /// Its number.
    pub meter: MeterId,
    /// Its system title.
    pub title: SystemTitle,
    /// What people call the house.
    pub name: String,
    /// What its readings are held against.
    pub limits: MeterLimits,
    /// When it is in service.
    pub span: ServiceSpan,
    /// What it measures for.
    pub purpose: Purpose,
}

/// The newest that a meter said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Newest {
    end: UtcTime,
    power: Watts,
    voltage: Millivolts,
    import_register: MilliwattHours,
    billing: BillingStatus,
}

/// A utility node.
#[derive(Debug)]
pub struct UtilityNode {
    config: UtilityConfig,
    /// The reign in which it speaks.
    epoch: Epoch,
    meters: BTreeMap<MeterId, ServedMeter>,
    collector: Collector,
    presence: PresenceBook,
    validator: Validator,
    settlement: IntervalSettlement,
    cycle: BillingCycle,
    book: PriceBook,
    ledger: Ledger,
    /// Days before this one were told to be sealed.
    sealed_before: Day,
    /// Decided prices that the journal could not take yet.
    unjournalled: VecDeque<PricePoint>,
    /// Decided prices that are journalled, but not durable yet.
    undurable: VecDeque<(Lsn, PricePoint)>,
    /// Durable prices of the last days, for edges that connect and for the console.
    recent: BTreeMap<UtcTime, PricePoint>,
    closing: Option<Closing>,
    archive: ArchiveQueue,
    edges: BTreeSet<LinkId>,
    /// The edge that last brought a reading of each meter.
    edge_of: BTreeMap<MeterId, LinkId>,
    delays: DelayBook,
    head_end: Option<LinkId>,
    archive_link: Option<LinkId>,
    refusals: BTreeMap<LinkId, ReasonCounters>,
    newest: BTreeMap<MeterId, Newest>,
    /// How far the newest packet of each served meter was trusted.
    trust: BTreeMap<MeterId, ReadingTrust>,
    trust_of_edges: BTreeMap<LinkId, EdgeTrust>,
    /// Mean power of each meter's intervals of about the last day.
    days: BTreeMap<MeterId, BTreeMap<UtcTime, Watts>>,
    /// Readings in sealed days.
    sealed: u64,
    /// The first day in the commit under way.
    committing_from: Option<Day>,
    meter_closed: BTreeMap<(Month, MeterId), i32>,
    bills: BTreeMap<(Month, MeterId), ClosedBill>,
    exceptions: VecDeque<Exception>,
    counters: UtilityCounters,
    last_ticket: u64,
    /// The wall time of the last input.
    seen: UtcTime,
    outbox: VecDeque<Output>,
}

impl UtilityNode {
    /// Days of prices kept for edges that connect: as many as a meter's profile holds.
    pub const RECENT_DAYS: u32 = 35;

    /// Refused readings kept for an operator to look at; the oldest fall out.
    pub const EXCEPTIONS_MAX: usize = 200;

    /// Closed bills kept for the console; the oldest fall out, and stay in the store.
    pub const BILLS_MAX: usize = 20_000;

    /// A utility that serves these meters, with the memory it left.
    pub fn new(
        config: UtilityConfig,
        meters: impl IntoIterator<Item = ServedMeter>,
        memory: UtilityMemory,
        now: Now,
    ) -> Self {
        let tariff = Tariff::Sigmoid(config.tariff);
        let mut node = Self {
            epoch: Epoch::NONE,
            meters: BTreeMap::new(),
            collector: Collector::default(),
            presence: PresenceBook::default(),
            validator: Validator::new(),
            settlement: IntervalSettlement::new(config.period, tariff, config.cutoff),
            cycle: BillingCycle::new(config.period, memory.next_month, config.grace),
            book: PriceBook::new(config.period),
            sealed_before: memory.sealed_before,
            unjournalled: VecDeque::new(),
            undurable: VecDeque::new(),
            recent: BTreeMap::new(),
            closing: None,
            archive: ArchiveQueue::new(config.period, memory.archived_before, memory.sealed_before),
            edges: BTreeSet::new(),
            edge_of: BTreeMap::new(),
            delays: DelayBook::default(),
            head_end: None,
            archive_link: None,
            refusals: BTreeMap::new(),
            newest: BTreeMap::new(),
            trust: BTreeMap::new(),
            trust_of_edges: BTreeMap::new(),
            days: BTreeMap::new(),
            sealed: memory.sealed,
            committing_from: None,
            meter_closed: BTreeMap::new(),
            bills: BTreeMap::new(),
            exceptions: VecDeque::new(),
            counters: UtilityCounters::default(),
            last_ticket: 0,
            seen: now.utc,
            outbox: VecDeque::new(),
            ledger: memory.ledger,
            config,
        };
        for meter in meters {
            if meter.purpose == Purpose::Customer {
                node.settlement
                    .enrol(meter.meter, meter.span)
                    .expect("a registry stays below the settlement's bound");
                node.cycle.enrol(meter.meter, meter.span);
            }
            node.presence.register(meter.meter);
            node.meters.insert(meter.meter, meter);
        }
        for bill in memory.bills {
            node.show_bill(ClosedBill::from_row(&bill));
        }
        node.restore(memory.prices, memory.readings, now);
        node
    }

    /// Speaks in this reign of a head-end pair: edges that have heard of a higher one refuse it.
    #[must_use]
    pub fn in_epoch(mut self, epoch: Epoch) -> Self {
        self.epoch = epoch;
        self
    }

    /// Serves one more meter from now on, or one of them under another name, title, limits or end
    /// of service. When its service began stays as it is.
    ///
    /// # Panics
    ///
    /// If there are more meters than the settlement bears, which is more than a registry holds.
    pub fn enrol(&mut self, mut meter: ServedMeter, now: Now) {
        match self.meters.get(&meter.meter) {
            Some(held) => meter.span = held.span.ending(meter.span.until()).unwrap_or(held.span),
            None => self.presence.register(meter.meter),
        }
        if meter.purpose == Purpose::Customer {
            self.settlement
                .enrol(meter.meter, meter.span)
                .expect("a registry stays below the settlement's bound");
            self.cycle.enrol(meter.meter, meter.span);
        }
        self.meters.insert(meter.meter, meter);
        self.settle();
        self.flush(now);
    }

    /// How long readings were under way, as far as they were measured.
    pub fn delays(&self) -> &DelayReport {
        self.delays.report()
    }

    /// Takes over what was decided and read before, in the order it happened: prices first, so
    /// that no interval is decided twice.
    fn restore(&mut self, prices: Vec<PricePoint>, readings: Vec<IntervalReading>, now: Now) {
        for point in prices {
            self.settlement
                .restore(point.end, point.price)
                .expect("the store keeps one price per interval");
            self.book
                .insert(point.end, point.price)
                .expect("the store keeps one price per interval");
            self.recent.insert(point.end, point);
        }
        for reading in readings {
            if !self.meters.contains_key(&reading.meter) {
                continue;
            }
            self.note_interval(&reading);
            let meter = &self.meters[&reading.meter];
            if let Ok(valid) = Validator::validate_stored((&reading).into(), &meter.limits) {
                self.note_valid(&valid, now);
            }
        }
        self.restore_registers(now);
        self.settle();
        self.flush(now);
    }

    /// Gives the validator the registers of the open days again, which sealed days do not keep.
    fn restore_registers(&mut self, now: Now) {
        let days: Vec<Day> = self.ledger.open_days().collect();
        let (Some(first), Some(last)) = (days.first(), days.last()) else {
            return;
        };
        let period = self.config.period;
        for meter in self.meters.values().cloned().collect::<Vec<_>>() {
            let open: Vec<IntervalReading> = self
                .ledger
                .open_readings(meter.meter, period, *first..=*last)
                .collect();
            for mut reading in open {
                self.note_interval(&reading);
                let Ok(valid) = Validator::validate_stored((&reading).into(), &meter.limits) else {
                    continue;
                };
                reading.status = valid.status();
                let _ = self.validator.validate(reading, &meter.limits, now.utc);
                self.note_valid(&valid, now);
            }
        }
    }

    fn ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.last_ticket
    }

    fn send(&mut self, link: LinkId, message: &Message) {
        self.outbox.push_back(Output::Send {
            link,
            frame: message.encode(),
        });
    }

    fn query(&mut self, query: Query) -> u64 {
        let ticket = self.ticket();
        self.outbox
            .push_back(Output::Disk(DiskRequest::Query { ticket, query }));
        ticket
    }

    fn handle_frame(&mut self, link: LinkId, frame: &[u8], now: Now) {
        match Message::decode(frame) {
            Ok(Message::Readings(readings)) if self.head_end == Some(link) => {
                for accepted in &readings {
                    self.take(link, accepted, now);
                }
                // A redelivered reading is durable already; no write will say so again.
                self.acknowledge();
                self.settle();
            }
            Ok(Message::Screened(readings)) if self.edges.contains(&link) => {
                for screened in &readings {
                    self.take(link, &screened.accepted, now);
                    self.note_trust(link, screened);
                }
                self.acknowledge();
                self.settle();
            }
            Ok(Message::Alarms(alarms)) if self.edges.contains(&link) => {
                self.pass_alarms(link, alarms);
            }
            Ok(Message::AlarmsStored(keys)) if self.head_end == Some(link) => {
                self.pass_stored_alarms(&keys);
            }
            Ok(Message::Delays(shares)) if self.edges.contains(&link) => {
                self.delays.announced(shares);
            }
            Ok(Message::Echo { number }) if self.edges.contains(&link) => {
                self.send(link, &Message::Echoed { number });
            }
            Ok(Message::Gaps(gaps)) if self.edges.contains(&link) => self.pass_gaps(link, gaps),
            // An edge knows its own by their content.
            Ok(taken @ Message::GapsTaken(_)) if self.head_end == Some(link) => {
                for edge in self.edges.clone() {
                    self.send(edge, &taken);
                }
            }
            Ok(Message::Trust { edge, gateways }) if self.edges.contains(&link) => {
                self.trust_of_edges
                    .insert(link, EdgeTrust { edge, gateways });
            }
            Ok(Message::Refusals(refusals)) if self.edges.contains(&link) => {
                self.refusals.insert(link, refusals);
            }
            Ok(Message::Hello {
                role: Role::Edge, ..
            }) => self.greet_edge(link),
            Ok(Message::Hello {
                role: Role::HeadEnd,
                ..
            }) => {
                self.head_end = Some(link);
                let hello = Message::hello_in(Role::Utility, &self.config.name, self.epoch);
                self.send(link, &hello);
            }
            Ok(request @ Message::ToMeter { meter, .. }) if self.head_end == Some(link) => {
                match self.edge_of.get(&meter).copied() {
                    Some(edge) => self.send(edge, &request),
                    None => self.send(link, &Message::MeterUnreachable { meter }),
                }
            }
            Ok(answer @ (Message::FromMeter { .. } | Message::MeterUnreachable { .. }))
                if self.edges.contains(&link) =>
            {
                if let Some(head_end) = self.head_end {
                    self.send(head_end, &answer);
                }
            }
            Ok(Message::Reached(meters)) if self.edges.contains(&link) => {
                for meter in meters {
                    if self.meters.contains_key(&meter) {
                        self.edge_of.insert(meter, link);
                    }
                }
            }
            // A meter roams between edges, and each may have to verify it.
            Ok(news @ Message::KeysChanged { .. }) if self.head_end == Some(link) => {
                for edge in self.edges.clone() {
                    self.send(edge, &news);
                }
            }
            Ok(taken @ Message::KeysTaken { .. }) if self.edges.contains(&link) => {
                if let Some(head_end) = self.head_end {
                    self.send(head_end, &taken);
                }
            }
            Ok(Message::Hello {
                role: Role::Archive,
                ..
            }) if self.archive_link == Some(link) => {}
            Ok(Message::ObjectStored { ticket, stored }) if self.archive_link == Some(link) => {
                self.archive.handle_stored(ticket, stored, now.instant);
            }
            Ok(_) | Err(_) => {
                self.counters.malformed += 1;
                self.outbox.push_back(Output::Close {
                    link,
                    reason: "the peer sent an envelope a utility does not take",
                });
            }
        }
    }

    /// A reading came by this edge, so its meter is there, unless a newer one came by another; how
    /// far it is trusted is kept by meter.
    fn note_trust(&mut self, link: LinkId, screened: &ScreenedReading) {
        let reading = &screened.accepted.reading;
        let meter = reading.meter;
        let newest = self.newest.get(&meter);
        if newest.is_none_or(|newest| newest.end <= reading.end) {
            self.edge_of.insert(meter, link);
        } else {
            self.edge_of.entry(meter).or_insert(link);
        }
        if self.meters.contains_key(&meter) {
            let trust = ReadingTrust {
                scores: screened.scores,
                reasons: screened.reasons,
                path: screened.path,
                link: screened.link,
            };
            self.trust.insert(meter, trust);
        }
    }

    /// Alarms go to the head-end, which alone makes them durable. Without one they stay with the
    /// edge, which sends them again.
    fn pass_alarms(&mut self, link: LinkId, alarms: Vec<MeterAlarm>) {
        // An edge repeats an alarm for as long as nobody has it, wherever its meter is by then.
        for alarm in &alarms {
            self.edge_of.entry(alarm.key.meter).or_insert(link);
        }
        match self.head_end {
            Some(head_end) => self.send(head_end, &Message::Alarms(alarms)),
            None => self.counters.alarms_waiting += alarms.len() as u64,
        }
    }

    /// Named gaps go to the head-end, which reads the meters; the edge that names one serves that
    /// meter. Without a head-end nobody sees to them, and the edge tells them again.
    fn pass_gaps(&mut self, link: LinkId, gaps: Vec<Gap>) {
        for gap in &gaps {
            if let Whose::Meter(meter) = gap.whose {
                self.edge_of.entry(meter).or_insert(link);
            }
        }
        if let Some(head_end) = self.head_end {
            self.send(head_end, &Message::Gaps(gaps));
        }
    }

    /// To every edge: the meter may have come over from the one that has the alarm.
    fn pass_stored_alarms(&mut self, keys: &[AlarmKey]) {
        for edge in self.edges.clone() {
            self.send(edge, &Message::AlarmsStored(keys.to_vec()));
        }
    }

    /// An edge connected: it gets every price that a meter behind it may still lack.
    fn greet_edge(&mut self, link: LinkId) {
        self.edges.insert(link);
        let hello = Message::hello_in(Role::Utility, &self.config.name, self.epoch);
        self.send(link, &hello);
        let points: Vec<PricePoint> = self.recent.values().copied().collect();
        for chunk in points.chunks(LIST_MAX) {
            self.send(link, &Message::Prices(chunk.to_vec()));
        }
    }

    /// One verified reading: into the journal, and if it is valid, into price and account.
    fn take(&mut self, link: LinkId, accepted: &AcceptedReading, now: Now) {
        let reading = accepted.reading;
        // An edge whose registry is another one may call two devices by one number.
        let Some(meter) =
            (self.meters.get(&reading.meter)).filter(|served| served.title == accepted.title)
        else {
            self.counters.unregistered += 1;
            return;
        };
        if self.collector.admit().is_err() {
            return;
        }
        let validated = self.validator.validate(reading, &meter.limits, now.utc);
        let mut stored = StoredReading {
            reading,
            title: accepted.title,
            counter: accepted.counter,
        };
        stored.reading.status = match &validated {
            Ok(valid) => valid.stored_status(),
            Err(exception) => exception.stored_status(),
        };
        let lsn = match self.ledger.append(Record::Reading(stored)) {
            Ok(lsn) => lsn,
            Err(error) => {
                self.note_append_error(&error);
                return;
            }
        };
        let key = ReadingKey {
            meter: reading.meter,
            period: reading.period,
            end: reading.end,
        };
        let is_known = self.days.get(&key.meter);
        if is_known.is_some_and(|day| day.contains_key(&key.end)) {
            // What comes again was under way for longer than it took.
            self.delays.forget(&key);
        }
        self.collector.appended(lsn, Source(link.0), key);
        self.counters.received += 1;
        self.note_interval(&reading);
        self.note_newest(accepted);
        match validated {
            Ok(valid) => {
                self.note_valid(&valid, now);
            }
            Err(exception) => {
                self.counters.exceptions += 1;
                if self.exceptions.len() >= Self::EXCEPTIONS_MAX {
                    self.exceptions.pop_front();
                }
                self.exceptions.push_back(exception);
            }
        }
    }

    fn note_interval(&mut self, reading: &IntervalReading) {
        self.presence.heard(reading.meter, reading.end);
        let period = self.config.period;
        let watts = reading.values.import.get() * i64::from(period.per_hour()) / 1_000;
        let day = self.days.entry(reading.meter).or_default();
        day.insert(reading.end, Watts::new(watts));
        while day.len() > usize::try_from(period.per_day()).unwrap_or(usize::MAX) {
            day.pop_first();
        }
    }

    fn note_newest(&mut self, accepted: &AcceptedReading) {
        let reading = &accepted.reading;
        let newest = Newest {
            end: reading.end,
            power: accepted.power,
            voltage: reading.values.voltage,
            import_register: reading.import_register,
            billing: accepted.billing,
        };
        let entry = self.newest.entry(reading.meter).or_insert(newest);
        if entry.end <= newest.end {
            *entry = newest;
        }
        if let Some(closed) = accepted.billing.closed {
            self.meter_closed
                .insert((closed.month, reading.meter), closed.minor);
            while self.meter_closed.len() > Self::BILLS_MAX {
                self.meter_closed.pop_first();
            }
        }
    }

    fn note_append_error(&mut self, error: &AppendError) {
        self.counters.journal_refused += 1;
        if !error.is_transient() {
            tracing::error!(%error, "the journal refused a record");
        }
    }

    /// A validated reading enters price and account.
    fn note_valid(&mut self, valid: &ValidatedInterval, now: Now) {
        let served = self.meters.get(&valid.meter());
        if served.is_none_or(|served| served.purpose == Purpose::Customer) {
            self.settlement.handle_reading(valid, now);
        }
        self.cycle.note(valid, self.book.price_of(valid.end()));
        // One reading may complete its interval, and the next one another.
        self.note_decided();
    }

    /// Takes over what the settlement decided.
    fn note_decided(&mut self) {
        while let Some(decided) = self.settlement.poll_output() {
            let point = self.price_point(&decided);
            // The account may show it at once; meters learn it when it is durable.
            match self.book.insert(point.end, point.price) {
                Ok(()) => self.cycle.priced(point.end, point.price),
                Err(error) => tracing::error!(%error, "a decided price did not enter the book"),
            }
            self.unjournalled.push_back(point);
        }
    }

    /// Journals what was decided.
    fn settle(&mut self) {
        self.note_decided();
        while let Some(point) = self.unjournalled.front().copied() {
            match self.ledger.append(Record::Price(point)) {
                Ok(lsn) => self.undurable.push_back((lsn, point)),
                Err(error) if error.is_transient() => break,
                Err(error) => self.note_append_error(&error),
            }
            self.unjournalled.pop_front();
        }
    }

    fn price_point(&self, decided: &Decided) -> PricePoint {
        let dispatch = self.config.stations.dispatch(decided.total);
        PricePoint {
            end: decided.end,
            period: self.config.period,
            price: decided.price,
            total: decided.total,
            stations_on: u16::try_from(dispatch.on.iter().filter(|on| **on).count())
                .unwrap_or(u16::MAX),
            missing: decided.missing,
        }
    }

    fn handle_disk(&mut self, reply: DiskReply, now: Now) {
        match reply {
            DiskReply::Ledger(outcome) => self.handle_ledger(outcome),
            DiskReply::Answer { ticket, result } => match result {
                Ok(Answer::Readings(readings)) => {
                    if self.archive.handle_readings(ticket, &readings) {
                        return;
                    }
                    self.bill_next(ticket, &readings);
                }
                Ok(Answer::Prices(_) | Answer::Bills(_)) => {}
                Err(error) => {
                    tracing::error!(%error, "a query failed; it is asked again");
                    self.counters.queries_failed += 1;
                    self.archive.handle_failed(ticket, now.instant);
                    self.close_again(ticket);
                }
            },
            // The head-end's tables are its own.
            DiskReply::Operations { .. } | DiskReply::Spool(_) | DiskReply::Pair(_) => {}
            DiskReply::Done { result, .. } => {
                if let Err(error) = result {
                    tracing::error!(%error, "the utility's memory was not written");
                }
            }
        }
        self.settle();
    }

    fn handle_ledger(&mut self, outcome: Outcome) {
        match &outcome {
            Outcome::Committed(report) => {
                self.counters.conflicts += u64::try_from(report.conflicts.len()).unwrap_or(0);
                self.counters.duplicates += report.duplicates;
                self.sealed += report.sealed;
                if let Some(day) = self.committing_from.take() {
                    self.archive.reopened(day);
                }
                self.counters.bills_refused +=
                    u64::try_from(report.bills_refused.len()).unwrap_or(0);
                if let Some(closing) = &mut self.closing {
                    closing.bills_committed();
                }
            }
            Outcome::Failed { what, error } => {
                tracing::error!(?what, %error, "the disk refused the ledger");
                self.counters.disk_failures += 1;
            }
            Outcome::Truncated | Outcome::Written { .. } | Outcome::Dropped => {}
        }
        self.ledger.handle(outcome);
        self.acknowledge();
        let through = self.ledger.durable_through();
        let mut points = Vec::new();
        while let Some((_, point)) = self.undurable.pop_front_if(|(lsn, _)| *lsn <= through) {
            points.push(point);
            self.recent.insert(point.end, point);
        }
        let horizon =
            self.config.period.duration() * self.config.period.per_day() * Self::RECENT_DAYS;
        if let Some((newest, _)) = self.recent.last_key_value() {
            let oldest = *newest - horizon;
            self.recent = self.recent.split_off(&oldest);
        }
        for chunk in points.chunks(LIST_MAX) {
            for link in self.edges.clone() {
                self.send(link, &Message::Prices(chunk.to_vec()));
            }
        }
    }

    /// Tells edges which of their readings are durable.
    fn acknowledge(&mut self) {
        for owed in self.collector.durable(self.ledger.durable_through()) {
            self.counters.acknowledged += u64::try_from(owed.readings.len()).unwrap_or(0);
            self.delays.durable(&owed.readings);
            let link = LinkId(owed.source.0);
            for chunk in owed.readings.chunks(LIST_MAX) {
                self.send(link, &Message::Stored(chunk.to_vec()));
            }
            if self.head_end == Some(link) {
                self.tell_edges_stored(&owed.readings);
            }
        }
    }

    /// What the head-end has read need not be pushed any more: the edges confirm it too.
    fn tell_edges_stored(&mut self, readings: &[ReadingKey]) {
        let mut by_edge: BTreeMap<LinkId, Vec<ReadingKey>> = BTreeMap::new();
        for key in readings {
            if let Some(edge) = self.edge_of.get(&key.meter) {
                by_edge.entry(*edge).or_default().push(*key);
            }
        }
        for (edge, keys) in by_edge {
            for chunk in keys.chunks(LIST_MAX) {
                self.send(edge, &Message::Stored(chunk.to_vec()));
            }
        }
    }

    /// Carries out what the wall clock asks for: days to seal, a month to close.
    fn keep_time(&mut self, now: Now) {
        let sealable = (now.utc - self.config.seal_after).day();
        if sealable > self.sealed_before {
            self.seal(sealable);
        }
        self.close_if_due(now);
        if self.archive_link.is_some() && self.all_sealed_before(self.sealed_before) {
            self.archive.sealed(self.sealed_before);
        }
    }

    fn seal(&mut self, before: Day) {
        self.ledger.seal_before(before);
        self.sealed_before = before;
    }

    fn all_sealed_before(&self, day: Day) -> bool {
        self.ledger
            .open_days()
            .next()
            .is_none_or(|open| open >= day)
    }

    /// Hands out what the ledger, the archive queue and the month in closing want done.
    fn flush(&mut self, now: Now) {
        while let Some(effect) = self.ledger.poll_effect() {
            if let Effect::Commit(batch) = &effect {
                self.committing_from = batch.meter_days.iter().map(|part| part.day).min();
                if let Some(closing) = &mut self.closing {
                    closing.bills_leave(batch.bills.len());
                }
            }
            self.outbox
                .push_back(Output::Disk(DiskRequest::Ledger(effect)));
        }
        if let Some(day) = self.archive.next_query(now.instant) {
            let ticket = self.query(Query::Day {
                period: self.config.period,
                day,
            });
            self.archive.asked(ticket);
        }
        if let Some(link) = self.archive_link
            && let Some((name, bytes)) = self.archive.next_object(now.instant)
        {
            let ticket = self.ticket();
            self.archive.sent(ticket);
            self.send(
                link,
                &Message::Object {
                    ticket,
                    name,
                    bytes,
                },
            );
        }
        if let Some(day) = self.archive.take_progress() {
            let ticket = self.ticket();
            self.outbox.push_back(Output::Disk(DiskRequest::Remember {
                ticket,
                slot: UtilityMemory::ARCHIVED,
                bytes: UtilityMemory::encode_day(day),
            }));
        }
    }
}

impl Node for UtilityNode {
    fn handle(&mut self, input: Input, now: Now) {
        self.delays.begin(now.instant);
        assert!(
            self.outbox.is_empty() || matches!(input, Input::LinkUp { .. } | Input::Timeout),
            "the host drains outputs between inputs"
        );
        match input {
            Input::LinkUp {
                link,
                port: Port::Up,
            } => {
                self.archive_link = Some(link);
                self.archive.link_up();
                let hello = Message::hello_in(Role::Utility, &self.config.name, self.epoch);
                self.send(link, &hello);
            }
            // An edge says who it is before anything is sent to it.
            Input::LinkUp {
                port: Port::Down, ..
            } => {}
            // It dials nobody by itself.
            Input::LinkUp {
                port: Port::Backup | Port::Dialled(_) | Port::Push(_),
                ..
            }
            | Input::DialFailed { .. }
            | Input::LinkFault { .. } => {}
            Input::LinkDown { link } => {
                if self.edges.remove(&link) {
                    self.edge_of.retain(|_, edge| *edge != link);
                }
                if self.head_end == Some(link) {
                    self.head_end = None;
                }
                self.collector.source_gone(Source(link.0));
                self.trust_of_edges.remove(&link);
                if let Some(refusals) = self.refusals.remove(&link) {
                    self.counters.past_refusals.add(&refusals);
                }
                if self.archive_link == Some(link) {
                    self.archive_link = None;
                }
            }
            Input::Frame { link, frame } => self.handle_frame(link, &frame, now),
            Input::Disk(reply) => self.handle_disk(reply, now),
            Input::Timeout => {
                self.settlement.handle_timeout(now);
                self.settle();
            }
        }
        self.seen = self.seen.max(now.utc);
        self.keep_time(now);
        self.flush(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    fn wake(&self) -> Wake {
        let seal_at = self.sealed_before.next().start() + self.config.seal_after;
        let close_at = self.close_deadline();
        let utc = [Some((seal_at, "seal a day")), close_at]
            .into_iter()
            .flatten()
            .min();
        self.settlement.wake().earliest(Wake {
            instant: self.archive.retry_at(),
            utc,
        })
    }
}
