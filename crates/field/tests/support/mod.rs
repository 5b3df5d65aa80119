//! A meter with a disk that can fail and a head-end that can misbehave, in virtual time.
#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod session;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use gridloom_core::{
    Currency, Day, Instant, MeterId, Now, Period, Price, Seed, SystemTitle, UtcTime,
};
use gridloom_dlms::alert::AlertPush;
use gridloom_dlms::apdu::{
    Apdu, DataAccessResult, DataNotificationConfirm, InvokeId, LongInvokeId,
};
use gridloom_dlms::charge::{ChargeTable, IntervalPrice};
use gridloom_dlms::push::IntervalPush;
use gridloom_dlms::security::{CipherContext, CipheredApdu, Keys, Policy, Protection};
use gridloom_field::{
    ApplianceState, Boot, ConnectionId, DayPrices, Event, Load, Meter, MeterConfig, Output, Power,
    Pushes, RetryPolicy, Stretch, Switch,
};

pub(crate) const EDGE: SystemTitle = SystemTitle(*b"GLMedge1");
pub(crate) const METER: SystemTitle = SystemTitle(*b"GLMmetr1");

pub(crate) fn keys() -> Keys {
    Keys::new([7; 16], [9; 16])
}

pub(crate) fn time(text: &str) -> UtcTime {
    UtcTime::parse(text).expect("a test writes times well")
}

pub(crate) fn config(seed: u64, period: Period) -> MeterConfig {
    let euro = Currency::new("EUR", 2).expect("a currency");
    MeterConfig {
        period,
        retry: RetryPolicy {
            reconnect_spread: Duration::ZERO,
            ..RetryPolicy::default()
        },
        ..MeterConfig::new(MeterId(1), METER, EDGE, keys(), euro, Seed::new(seed))
    }
}

/// A load that changes every seven minutes, a pure function of seed and time; it imports,
/// exports, and is inductive and capacitive.
#[derive(Debug, Clone)]
pub(crate) struct Restless(pub(crate) Seed);

impl Restless {
    const STEP: i64 = 420_000;
}

impl Load for Restless {
    fn power_at(&mut self, at: UtcTime) -> Stretch {
        let step = at.as_millis().div_euclid(Self::STEP);
        let draw = self.0.nth(step.unsigned_abs()).get();
        let part = |shift: u32| i64::try_from(draw >> shift & 0xF_FFFF).expect("twenty bits");
        Stretch {
            until: UtcTime::from_millis((step + 1) * Self::STEP),
            power: Some(Power {
                active_mw: [part(0) * 4 - 600_000, 0, 0],
                reactive_mvar: [part(30) - 500_000, 0, 0],
            }),
        }
    }

    fn appliances_at(&mut self, _: UtcTime) -> Vec<ApplianceState> {
        vec![ApplianceState {
            name: "kettle".to_owned(),
            milliwatts: 2_000_000,
            switch: Switch::On,
        }]
    }

    fn begin_day(&mut self, _: Day, _: &DayPrices) {}
}

/// What the head-end got and sent.
pub(crate) struct HeadEnd {
    cipher: CipherContext,
    pub(crate) counter: u32,
    pub(crate) last_received: u32,
    /// Every push as it came.
    pub(crate) pushes: Vec<IntervalPush>,
    /// The believed readings.
    pub(crate) readings: BTreeMap<UtcTime, IntervalPush>,
    /// The answers to SETs.
    pub(crate) set_results: Vec<DataAccessResult>,
    /// The invoke ids of the SETs that succeeded.
    pub(crate) succeeded: Vec<u8>,
    /// Of the last SET.
    pub(crate) set_id: u8,
    /// Exceptions, ciphered or not.
    pub(crate) exceptions: Vec<Vec<u8>>,
    /// Every alert as it came, with the id of its confirmation.
    pub(crate) alerts: Vec<(LongInvokeId, AlertPush)>,
    /// Of these, not confirmed yet.
    pub(crate) unheard: Vec<LongInvokeId>,
}

impl HeadEnd {
    pub(crate) fn new() -> Self {
        Self {
            cipher: CipherContext::new(&keys()),
            counter: 0,
            last_received: 0,
            pushes: Vec::new(),
            readings: BTreeMap::new(),
            set_results: Vec::new(),
            succeeded: Vec::new(),
            set_id: 0,
            exceptions: Vec::new(),
            alerts: Vec::new(),
            unheard: Vec::new(),
        }
    }

    /// Believes a frame; returns the interval it pushed.
    pub(crate) fn receive(&mut self, frame: &[u8]) -> Option<IntervalPush> {
        if frame[0] == 0xD8 {
            self.exceptions.push(frame.to_vec());
            return None;
        }
        let apdu = CipheredApdu::decode(frame).expect("a meter ciphers its frames");
        assert_eq!(apdu.title, METER);
        assert!(
            apdu.counter > self.last_received,
            "counter {} after {}",
            apdu.counter,
            self.last_received
        );
        let mut plain = Vec::new();
        self.cipher
            .open(&apdu, Policy::AuthenticatedEncryption, &mut plain)
            .expect("the tag is right");
        self.last_received = apdu.counter;
        match Apdu::decode(&plain) {
            Ok(Apdu::DataNotification(notification))
                if AlertPush::is_alert(notification.invoke_id) =>
            {
                let alert = AlertPush::decode(notification.body).expect("an alert");
                self.alerts.push((notification.invoke_id, alert));
                self.unheard.push(notification.invoke_id);
                None
            }
            Ok(Apdu::DataNotification(notification)) => {
                let push = IntervalPush::decode(notification.body).expect("a push");
                assert_eq!(notification.invoke_id, push.invoke_id());
                if let Some(before) = self.readings.insert(push.end, push) {
                    assert_eq!(
                        before.reading(MeterId(1)),
                        push.reading(MeterId(1)),
                        "a redelivery says the same"
                    );
                }
                self.pushes.push(push);
                Some(push)
            }
            Ok(Apdu::SetResponseNormal(response)) => {
                self.set_results.push(response.result);
                if response.result == DataAccessResult::Success {
                    self.succeeded.push(response.invoke_id.number());
                }
                None
            }
            Ok(Apdu::ExceptionResponse(_)) => {
                self.exceptions.push(plain);
                None
            }
            Ok(other) => panic!("a meter never sends {other:?}"),
            Err(error) => panic!("a meter sends no APDU: {error}"),
        }
    }

    pub(crate) fn seal(&mut self, apdu: &Apdu<'_>) -> Vec<u8> {
        let mut plain = Vec::new();
        apdu.encode(&mut plain);
        self.seal_plain(EDGE, &plain)
    }

    pub(crate) fn seal_plain(&mut self, title: SystemTitle, plain: &[u8]) -> Vec<u8> {
        self.counter += 1;
        let mut frame = Vec::new();
        self.cipher
            .protect(Protection::full(title, self.counter), plain, &mut frame);
        frame
    }

    pub(crate) fn ack(&mut self, invoke_id: LongInvokeId) -> Vec<u8> {
        self.seal(&Apdu::DataNotificationConfirm(DataNotificationConfirm {
            invoke_id,
            time: None,
        }))
    }

    pub(crate) fn prices(&mut self, prices: &[(UtcTime, Price)]) -> Vec<u8> {
        let table = ChargeTable {
            price_scale: -4,
            entries: prices
                .iter()
                .map(|(end, price)| IntervalPrice {
                    end: *end,
                    price: *price,
                })
                .collect(),
        };
        self.set_id = (self.set_id + 1) % 16;
        let request = table
            .to_set_request(InvokeId::confirmed(self.set_id))
            .expect("a table of prices");
        self.seal(&Apdu::SetRequestNormal(request))
    }
}

/// The disk: writes wait until they are carried out, in order.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) cells: BTreeMap<String, Vec<u8>>,
    pub(crate) waiting: VecDeque<(u64, &'static str, Vec<u8>)>,
    pub(crate) writes: usize,
    pub(crate) bytes: usize,
}

/// One meter between its disk and its link.
pub(crate) struct Bench {
    pub(crate) meter: Meter,
    pub(crate) disk: Disk,
    pub(crate) now: Now,
    /// Frames the meter sent that nobody has looked at.
    pub(crate) sent: VecDeque<Vec<u8>>,
    pub(crate) events: Vec<Event>,
    /// Answers to clients that nobody has looked at.
    pub(crate) answers: VecDeque<(ConnectionId, u16, Vec<u8>)>,
    /// Connections the meter closed.
    pub(crate) disconnected: Vec<ConnectionId>,
    /// What left for a set destination; the test says how it came out.
    pub(crate) pushed: Vec<(Pushes, SocketAddr, Vec<u8>)>,
}

impl Bench {
    pub(crate) fn new(config: MeterConfig, load: Box<dyn Load>, start: &str) -> Self {
        let now = Now {
            instant: Instant::ZERO,
            utc: time(start),
        };
        let meter = Meter::start(config, load, &BTreeMap::new(), Boot::Reset, now)
            .expect("an empty memory is no error");
        Self {
            meter,
            disk: Disk::default(),
            now,
            sent: VecDeque::new(),
            events: Vec::new(),
            answers: VecDeque::new(),
            disconnected: Vec::new(),
            pushed: Vec::new(),
        }
    }

    /// Takes all outputs; the disk does not move.
    pub(crate) fn drain(&mut self) {
        while let Some(output) = self.meter.poll_output() {
            self.take(output);
        }
    }

    pub(crate) fn take(&mut self, output: Output) {
        match output {
            Output::Send { frame } => self.sent.push_back(frame),
            Output::Answer {
                connection,
                client,
                apdu,
            } => self.answers.push_back((connection, client, apdu)),
            Output::Disconnect { connection } => self.disconnected.push(connection),
            Output::Remember {
                ticket,
                cell,
                bytes,
            } => self.disk.waiting.push_back((ticket, cell, bytes)),
            Output::Push { push, to, apdu, .. } => self.pushed.push((push, to, apdu)),
            Output::Event(event) => self.events.push(event),
        }
    }

    /// Carries out the oldest write and answers it.
    pub(crate) fn write_one(&mut self) -> bool {
        let Some((ticket, cell, bytes)) = self.disk.waiting.pop_front() else {
            return false;
        };
        self.disk.writes += 1;
        self.disk.bytes += bytes.len();
        self.disk.cells.insert(cell.to_owned(), bytes);
        self.meter.handle_remembered(ticket, Ok(()), self.now);
        true
    }

    /// Drains outputs and carries out every write, until nothing moves.
    pub(crate) fn settle(&mut self) {
        self.drain();
        while self.write_one() {
            self.drain();
        }
    }

    /// Both clocks move together to `utc`, stopping at every deadline on the way.
    pub(crate) fn run_until(&mut self, utc: UtcTime) {
        loop {
            let wake = self.meter.wake();
            let by_utc = wake.utc.map(|(at, _)| at);
            let by_instant = wake
                .instant
                .map(|(at, _)| self.now.utc + at.since(self.now.instant));
            let next = [by_utc, by_instant]
                .into_iter()
                .flatten()
                .min()
                .unwrap_or(utc)
                .max(self.now.utc);
            // A millisecond late at most: one clock counts those, the other nanoseconds.
            let next = if wake.is_due(self.now) || next > self.now.utc {
                next
            } else {
                next + Duration::from_millis(1)
            };
            if next > utc {
                self.pass_to(utc);
                return;
            }
            self.pass_to(next);
            self.meter.handle_timeout(self.now);
            self.settle();
        }
    }

    pub(crate) fn pass_to(&mut self, utc: UtcTime) {
        self.now = Now {
            instant: self.now.instant + utc.since(self.now.utc),
            utc,
        };
    }

    pub(crate) fn link_up(&mut self) {
        self.meter.handle_link_up(self.now);
        self.settle();
    }

    pub(crate) fn give(&mut self, frame: &[u8]) {
        self.meter.handle_frame(frame, self.now);
        self.settle();
    }

    /// The meter is gone; a new one starts from what was durable.
    pub(crate) fn restart(&mut self, config: MeterConfig, load: Box<dyn Load>, boot: Boot) {
        self.disk.waiting.clear();
        self.sent.clear();
        self.answers.clear();
        self.meter = Meter::start(config, load, &self.disk.cells, boot, self.now)
            .expect("its own memory is no error");
    }

    /// The head-end receives everything that was sent and acknowledges every push.
    pub(crate) fn serve(&mut self, head_end: &mut HeadEnd) {
        while let Some(frame) = self.sent.pop_front() {
            if let Some(push) = head_end.receive(&frame) {
                let ack = head_end.ack(push.invoke_id());
                self.give(&ack);
            }
            for id in std::mem::take(&mut head_end.unheard) {
                let ack = head_end.ack(id);
                self.give(&ack);
            }
        }
    }
}

/// Ends of `count` intervals from `first` on.
pub(crate) fn ends(first: UtcTime, period: Period, count: u32) -> BTreeSet<UtcTime> {
    (0..count).map(|i| first + period.duration() * i).collect()
}
