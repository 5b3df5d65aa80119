//! What a meter tells in its last moment: through gateway, edge and utility to the head-end, which
//! writes it down, and the confirmation all the way back.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests may unwrap, and panic on whatever else comes"
)]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use gridloom_billing::{SigmoidParameters, SigmoidTariff};
use gridloom_core::{
    Currency, Day, Instant, MeterId, Month, Now, Period, Price, Seed, SystemTitle, UtcTime, Watts,
};
use gridloom_dlms::alert::AlertPush;
use gridloom_dlms::apdu::DataNotificationConfirm;
use gridloom_dlms::companion::StatusBit;
use gridloom_dlms::security::{CipherContext, CipheredApdu, Keys, Policy, Protection};
use gridloom_dlms::wrapper::{self, WPort};
use gridloom_edge::{
    Edge, EdgeConfig, EdgeMemory, HashKey, Registration, Registry, ScreeningConfig, Site, TrustPage,
};
use gridloom_field::load::{ConstantLoad, Power};
use gridloom_field::meter::Output as MeterOutput;
use gridloom_field::{Boot, Meter, MeterConfig};
use gridloom_grid::station::Fleet;
use gridloom_headend::audit::{Action, AuditRecord, Target};
use gridloom_headend::schedule::Recurrence;
use gridloom_headend::vault::{LocalMasterKeys, MasterKey};
use gridloom_nodes::{
    DiskReply, DiskRequest, EdgeNode, GatewayNode, HeadEndConfig, HeadEndMemory, HeadEndNode,
    Input, LinkId, Node, Output, Port, UtilityConfig, UtilityMemory, UtilityNode,
};
use gridloom_store::{Checkpoint, Ledger, LedgerConfig, MemoryOperations, OperationsStore};

const METER: MeterId = MeterId(7);
const TITLE: SystemTitle = SystemTitle(*b"GLM\0\0\0\0\x07");
const RAISED: UtcTime = UtcTime::from_secs(1_772_323_200);

/// Where each node sits; a link has the number of the one at its other end.
const GATEWAY: usize = 0;
const EDGE: usize = 1;
const UTILITY: usize = 2;
const HEAD_END: usize = 3;
const AT_METER: LinkId = LinkId(77);

fn keys() -> Keys {
    Keys::new([7; 16], [8; 16])
}

fn link(other: usize) -> LinkId {
    LinkId(other as u64)
}

/// The alert in a frame, under a counter.
fn last_gasp(counter: u32) -> Vec<u8> {
    let (mut plain, mut apdu) = (Vec::new(), Vec::new());
    AlertPush {
        device_name: b"GLM0000000000007".to_vec(),
        time: RAISED,
        descriptors: [0, 1],
        status_word: StatusBit::LastGasp.mask(),
    }
    .encode_notification(3, &mut plain)
    .unwrap();
    CipherContext::new(&keys()).protect(Protection::full(TITLE, counter), &plain, &mut apdu);
    wrapper::Frame {
        source: WPort::MANAGEMENT,
        destination: WPort::PRE_ESTABLISHED_CLIENT,
        apdu: &apdu,
    }
    .to_bytes()
}

struct Net {
    now: Duration,
    gateway: GatewayNode,
    edge: EdgeNode,
    utility: UtilityNode,
    head_end: HeadEndNode,
    store: MemoryOperations,
    /// Writes that the head-end's disk fails.
    failing: usize,
    /// Frames for the meter.
    heard: Vec<Vec<u8>>,
}

impl Net {
    fn new() -> Self {
        let now = Now {
            instant: Instant::ZERO,
            utc: RAISED,
        };
        let registry = Registry::new([Registration {
            meter: METER,
            title: TITLE,
            keys: keys(),
            period: Period::HALF_HOUR,
            site: Site::default(),
        }])
        .unwrap();
        let config = EdgeConfig {
            title: SystemTitle(*b"GLE00001"),
            price_scale: -4,
            screening: ScreeningConfig::default(),
            hash_key: HashKey::new([1, 2]),
        };
        let edge = Edge::new(config, registry, &EdgeMemory::default());
        let price = |text| Price::parse(text).unwrap();
        let tariff = SigmoidTariff::new(SigmoidParameters {
            p_min: price("0.1"),
            p_max: price("0.5"),
            x0: Watts::new(3_000),
            k_per_watt: 0.001,
            price_decimals: 4,
        });
        let config = UtilityConfig {
            name: "utility".into(),
            period: Period::HALF_HOUR,
            currency: Currency::new("EUR", 2).unwrap(),
            tariff: tariff.unwrap(),
            cutoff: Duration::from_secs(300),
            grace: Duration::from_secs(300),
            seal_after: Duration::from_secs(7_200),
            stations: Fleet::new(Vec::new()).unwrap(),
        };
        let ledger = Ledger::recover(LedgerConfig::default(), Checkpoint::NONE, Vec::new());
        let memory = UtilityMemory {
            ledger: ledger.unwrap().0,
            next_month: Month::new(2026, 3).unwrap(),
            sealed_before: Day::from_ymd(2026, 3, 1).unwrap(),
            archived_before: Day::from_ymd(2026, 3, 1).unwrap(),
            sealed: 0,
            prices: Vec::new(),
            readings: Vec::new(),
            bills: Vec::new(),
        };
        let daily = Duration::from_hours(24);
        let reading = Recurrence::new(daily, Duration::from_hours(23), daily / 2, Duration::ZERO);
        let title = SystemTitle(*b"GLH00001");
        let head_end = HeadEndConfig::new("head-end", title, BTreeMap::new(), reading.unwrap());
        let store = MemoryOperations::new();
        let master = Box::new(LocalMasterKeys::single(MasterKey::Aes256([9; 32])));
        let rows = HeadEndMemory::read(&store).unwrap();
        let mut net = Self {
            now: Duration::ZERO,
            gateway: GatewayNode::new("gateway-1".into()),
            edge: EdgeNode::new("edge-1".into(), edge),
            utility: UtilityNode::new(config, [], memory, now),
            head_end: HeadEndNode::new(head_end, rows, master, [3; 32], now).unwrap(),
            store,
            failing: 0,
            heard: Vec::new(),
        };
        net.connect(UTILITY, EDGE);
        net.connect(EDGE, GATEWAY);
        net.give(
            GATEWAY,
            Input::LinkUp {
                link: AT_METER,
                port: Port::Down,
            },
        );
        net
    }

    fn node(&mut self, at: usize) -> &mut dyn Node {
        match at {
            GATEWAY => &mut self.gateway,
            EDGE => &mut self.edge,
            UTILITY => &mut self.utility,
            _ => &mut self.head_end,
        }
    }

    /// The lower one dials the upper one.
    fn connect(&mut self, upper: usize, lower: usize) {
        for (at, other, port) in [(upper, lower, Port::Down), (lower, upper, Port::Up)] {
            let link = link(other);
            self.give(at, Input::LinkUp { link, port });
        }
    }

    /// The head-end dials the utility.
    fn head_end_comes(&mut self) {
        self.connect(UTILITY, HEAD_END);
    }

    /// One input, and everything that follows from it.
    fn give(&mut self, at: usize, input: Input) {
        let mut inbox = VecDeque::from([(at, input)]);
        while let Some((at, input)) = inbox.pop_front() {
            let now = Now {
                instant: Instant::ZERO + self.now,
                utc: RAISED + self.now,
            };
            self.node(at).handle(input, now);
            while let Some(output) = self.node(at).poll_output() {
                self.carry_out(at, output, &mut inbox);
            }
        }
    }

    fn carry_out(&mut self, at: usize, output: Output, inbox: &mut VecDeque<(usize, Input)>) {
        match output {
            Output::Send {
                link: AT_METER,
                frame,
            } if at == GATEWAY => self.heard.push(frame),
            Output::Send { link: to, frame } => {
                let other = usize::try_from(to.0).unwrap();
                let link = link(at);
                inbox.push_back((other, Input::Frame { link, frame }));
            }
            Output::Disk(DiskRequest::Remember { ticket, .. }) => {
                let result = Ok(());
                inbox.push_back((at, Input::Disk(DiskReply::Done { ticket, result })));
            }
            Output::Disk(DiskRequest::Operations { ticket, batch }) => {
                let result = if self.failing > 0 {
                    self.failing -= 1;
                    Err("the disk is full".to_owned())
                } else {
                    Ok(self.store.commit(&[batch]).unwrap().remove(0))
                };
                inbox.push_back((at, Input::Disk(DiskReply::Operations { ticket, result })));
            }
            Output::Disk(_) => {}
            other => panic!("{at}: {other:?}"),
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        for at in [GATEWAY, EDGE, HEAD_END] {
            self.give(at, Input::Timeout);
        }
    }

    fn meter_says(&mut self, frame: Vec<u8>) {
        self.give(
            GATEWAY,
            Input::Frame {
                link: AT_METER,
                frame,
            },
        );
    }

    /// How often the meter was told that its alert is kept.
    fn confirmations(&mut self) -> usize {
        let context = CipherContext::new(&keys());
        std::mem::take(&mut self.heard)
            .iter()
            .map(|frame| {
                let frame = wrapper::Frame::decode(frame).unwrap();
                let packet = CipheredApdu::decode(frame.apdu).unwrap();
                let mut plain = Vec::new();
                let policy = Policy::AuthenticatedEncryption;
                let plain = context.open(&packet, policy, &mut plain).unwrap();
                let confirm = DataNotificationConfirm::decode(plain).unwrap();
                assert_eq!(confirm.invoke_id, AlertPush::invoke_id(3));
            })
            .count()
    }

    fn recorded(&self) -> Vec<AuditRecord> {
        let entries = self.store.audit_log(0, 100).unwrap();
        entries
            .iter()
            .map(|entry| AuditRecord::decode(&entry.record).unwrap())
            .filter(|record| record.action == Action::Event)
            .collect()
    }

    fn shown(&self) -> Vec<(Option<MeterId>, String)> {
        let alarms = self.head_end.alarms();
        alarms.map(|it| (it.meter, it.words.clone())).collect()
    }
}

#[test]
fn a_last_gasp_reaches_the_head_end_once_and_is_then_confirmed() {
    let mut net = Net::new();
    net.head_end_comes();
    net.meter_says(last_gasp(1));
    let alarms = net.shown();
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert_eq!(alarms[0].0, Some(METER));
    let gasp = StatusBit::LastGasp.text();
    assert!(alarms[0].1.contains(gasp), "{alarms:?}");
    let records = net.recorded();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].target, Target::Meter(METER));
    assert_eq!(net.confirmations(), 1);

    // The confirmation was lost, and so was what the edge knew of it.
    net.meter_says(last_gasp(2));
    assert_eq!((net.recorded().len(), net.shown().len()), (1, 1));
    assert_eq!(net.confirmations(), 1, "confirmed again");
    let status = net.edge.status().alarms;
    assert_eq!(
        (status.received, status.repeated, status.waiting),
        (1, 1, 0)
    );
    let page = net.edge.status_page(TrustPage::WORST);
    assert_eq!(page.gateways[0].name.as_deref(), Some("gateway-1"));
    assert_eq!(page.devices[0].meter, METER);
}

/// Carries between a meter and its gateway until neither has anything to say.
fn talk(net: &mut Net, meter: &mut Meter) {
    let mut written = VecDeque::new();
    loop {
        let now = Now {
            instant: Instant::ZERO + net.now,
            utc: RAISED + net.now,
        };
        let outputs: Vec<_> = std::iter::from_fn(|| meter.poll_output()).collect();
        let mut is_idle = outputs.is_empty();
        for output in outputs {
            match output {
                MeterOutput::Send { frame } => {
                    let wrapped = wrapper::Frame {
                        source: WPort::MANAGEMENT,
                        destination: WPort::PRE_ESTABLISHED_CLIENT,
                        apdu: &frame,
                    };
                    net.meter_says(wrapped.to_bytes());
                }
                MeterOutput::Remember { ticket, .. } => written.push_back(ticket),
                _ => {}
            }
        }
        // One input, and then its outputs.
        if let Some(ticket) = written.pop_front() {
            is_idle = false;
            meter.handle_remembered(ticket, Ok(()), now);
        } else if !net.heard.is_empty() {
            is_idle = false;
            let frame = net.heard.remove(0);
            let frame = wrapper::Frame::decode(&frame).unwrap();
            meter.handle_frame(frame.apdu, now);
        }
        if is_idle {
            return;
        }
    }
}

#[test]
fn the_lights_go_out_and_the_head_end_knows() {
    let mut net = Net::new();
    net.head_end_comes();
    let now = |net: &Net| Now {
        instant: Instant::ZERO + net.now,
        utc: RAISED + net.now,
    };
    let mut config = MeterConfig::new(
        METER,
        TITLE,
        SystemTitle(*b"GLE00001"),
        keys(),
        Currency::new("EUR", 2).unwrap(),
        Seed::new(7),
    );
    config.period = Period::HALF_HOUR;
    let load = Box::new(ConstantLoad {
        power: Power {
            active_mw: [300_000, 0, 0],
            reactive_mvar: [0; 3],
        },
    });
    let start = now(&net);
    let mut meter = Meter::start(config, load, &BTreeMap::new(), Boot::Reset, start).unwrap();
    talk(&mut net, &mut meter);
    meter.handle_link_up(start);
    talk(&mut net, &mut meter);
    for _ in 0..40 {
        net.pass(Duration::from_secs(60));
        meter.handle_timeout(now(&net));
        talk(&mut net, &mut meter);
    }
    let before = net.shown().len();
    meter.handle_power_off(now(&net));
    talk(&mut net, &mut meter);
    let shown = net.shown();
    let gasps = |from: usize| {
        let gasp = StatusBit::LastGasp.text();
        shown[from..]
            .iter()
            .filter(|(_, words)| words.contains(gasp))
            .count()
    };
    assert_eq!((gasps(0), gasps(before)), (1, 1), "{shown:?}");
    assert_eq!(net.edge.status().alarms.waiting, 0, "it is written down");
    let page = net.edge.status_page(TrustPage::WORST);
    assert_eq!(
        page.edge.verdicts.dropped,
        0,
        "{:?}",
        page.edge.reasons.by_step()
    );
}

#[test]
fn an_alarm_is_not_confirmed_before_it_is_written_and_waits_for_a_head_end() {
    let mut net = Net::new();
    net.meter_says(last_gasp(1));
    assert_eq!(
        (net.confirmations(), net.edge.status().alarms.waiting),
        (0, 1)
    );
    net.head_end_comes();
    net.failing = 1;
    net.pass(Duration::from_secs(30));
    assert_eq!(net.confirmations(), 0, "the disk is full");
    assert_eq!(net.recorded(), []);
    // The edge tells it again before the disk has room: it is written once.
    net.pass(Duration::from_secs(30));
    net.pass(Duration::from_secs(30));
    assert_eq!(net.recorded().len(), 1);
    assert_eq!(net.confirmations(), 1);
    assert_eq!(net.shown().len(), 1, "one alarm");
    assert_eq!(net.edge.status().alarms.waiting, 0);
}
