//! Changes that must not stop halfway: keys and firmware, with the head-end cut off at every step
//! that it takes.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests may unwrap, and panic on whatever else comes"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use gridloom_core::{Currency, Day, Instant, MeterId, Now, Seed, SystemTitle};
use gridloom_dlms::security::{Curve, KeyEncryptionKey, Keys, PrivateKey};
use gridloom_dlms::wrapper::{self, WPort};
use gridloom_field::load::{ConstantLoad, Power};
use gridloom_field::objects::firmware::{MakersKey, sign_image};
use gridloom_field::{Boot, Meter, MeterConfig};
use gridloom_headend::campaign::{CampaignPlan, CampaignState, Image, Reach, StagePlan};
use gridloom_headend::schedule::Recurrence;
use gridloom_headend::session::Step;
use gridloom_headend::vault::{LocalMasterKeys, MasterKey, NewKey};
use gridloom_headend::{MeterTemplate, Secret, Vault};
use gridloom_nodes::headend::{Order, OrderId, OrderState, Part, Pause};
use gridloom_nodes::{
    DiskReply, DiskRequest, HeadEndConfig, HeadEndMemory, HeadEndNode, Input, LinkId, MeterNode,
    Node, Output, Port,
};
use gridloom_store::{
    Batch, Change, ClientRole, CounterRow, DeviceLink, DeviceRow, DeviceState, Direction, KeyId,
    KeyKind, KeyState, MemoryOperations, OperationsStore, Transport,
};

const LINK: LinkId = LinkId(70);
const MODEL: [u8; 8] = *b"GLMETER1";
const DIGEST: [u8; 32] = [0xD1; 32];
const KINDS: [KeyKind; 4] = [
    KeyKind::UnicastEncryption,
    KeyKind::Authentication,
    KeyKind::BroadcastEncryption,
    KeyKind::KeyEncryption,
];

fn now_at(elapsed: Duration) -> Now {
    let start = Day::from_ymd(2026, 3, 1).unwrap().start();
    Now {
        instant: Instant::ZERO + elapsed,
        utc: start + elapsed,
    }
}

fn maker(byte: u8) -> PrivateKey {
    PrivateKey::generate(Curve::P256, &mut |bytes| bytes.fill(byte))
}

/// A head-end that can be cut off, its tables, and meters that live on.
struct Rig {
    now: Duration,
    node: Option<HeadEndNode>,
    store: MemoryOperations,
    images: BTreeMap<[u8; 32], Arc<[u8]>>,
    meters: BTreeMap<u16, MeterNode>,
    inbox: VecDeque<(u16, Input)>,
    /// Steps of the head-end so far, and at which one it is cut off.
    steps: usize,
    cut_at: Option<usize>,
    /// The highest counters that the tables ever held.
    counters: BTreeMap<(KeyId, Direction, SystemTitle), u32>,
    lives: u8,
}

impl Rig {
    /// Meters from 1 on; `stranger` knows another maker of firmware.
    fn new(meters: u32, stranger: Option<u32>) -> Self {
        let now = now_at(Duration::ZERO);
        let (mut vault, mut changes) = Vault::open(master(), &[], &[], now.utc).unwrap();
        let mut nodes = BTreeMap::new();
        let mut number = 0;
        for meter in (1..=meters).map(MeterId) {
            let server = u16::try_from(meter.0).unwrap() + 16;
            let byte = u8::try_from(meter.0).unwrap();
            changes.push(Change::Device(row(meter, server)));
            for (kind, byte) in [
                (KeyKind::UnicastEncryption, byte),
                (KeyKind::Authentication, byte + 100),
                (KeyKind::KeyEncryption, byte + 200),
            ] {
                number += 1;
                let new = NewKey {
                    key: KeyId(number),
                    meter,
                    kind,
                    client: 0,
                    state: KeyState::Current,
                    made_at: now.utc,
                };
                let row = vault.seal(new, &Secret::new(&[byte; 16])).unwrap();
                changes.push(Change::Key(row));
            }
            let mut config = MeterConfig::new(
                meter,
                title(meter),
                SystemTitle(*b"GLE00001"),
                Keys::new([byte; 16], [byte + 100; 16]),
                Currency::new("EUR", 2).unwrap(),
                Seed::new(u64::from(meter.0)),
            );
            config.access.master = Some(KeyEncryptionKey::new([byte + 200; 16]));
            let signer = maker(if stranger == Some(meter.0) { 8 } else { 7 });
            config.firmware = Arc::new(MakersKey::new(signer.public_key(), MODEL));
            let load = Box::new(ConstantLoad {
                power: Power {
                    active_mw: [100_000, 0, 0],
                    reactive_mvar: [0; 3],
                },
            });
            let meter = Meter::start(config, load, &BTreeMap::new(), Boot::Reset, now).unwrap();
            nodes.insert(server, MeterNode::new(meter));
        }
        let mut store = MemoryOperations::new();
        store.commit(&[Batch::new(changes)]).unwrap()[0]
            .clone()
            .unwrap();
        let mut rig = Self {
            now: Duration::ZERO,
            node: None,
            store,
            images: BTreeMap::new(),
            inbox: nodes
                .keys()
                .map(|server| (*server, Input::Timeout))
                .collect(),
            meters: nodes,
            steps: 0,
            cut_at: None,
            counters: BTreeMap::new(),
            lives: 0,
        };
        rig.boot();
        rig.settle();
        rig
    }

    fn boot(&mut self) {
        let template = MeterTemplate::standard("dialled");
        let templates = BTreeMap::from([("dialled".to_owned(), template)]);
        let daily = Duration::from_hours(24);
        let reading = Recurrence::new(daily, Duration::from_hours(23), daily / 2, Duration::ZERO);
        let title = SystemTitle(*b"GLH00001");
        let mut config = HeadEndConfig::new("head-end", title, templates, reading.unwrap());
        config.images = self.images.clone();
        self.lives += 1;
        let memory = HeadEndMemory::read(&self.store).unwrap();
        let seed = [self.lives; 32];
        let node = HeadEndNode::new(config, memory, master(), seed, now_at(self.now));
        self.node = Some(node.unwrap());
    }

    /// One more step; whether the head-end is cut off before it.
    fn is_cut(&mut self) -> bool {
        self.steps += 1;
        let is_cut = self.cut_at == Some(self.steps);
        if is_cut {
            self.node = None;
            self.inbox.clear();
        }
        is_cut
    }

    fn give(&mut self, input: Input) {
        if let Some(node) = &mut self.node {
            node.handle(input, now_at(self.now));
        }
    }

    fn settle(&mut self) {
        loop {
            let output = self.node.as_mut().and_then(HeadEndNode::poll_output);
            let mut is_idle = output.is_none();
            if let Some(output) = output {
                self.carry_out(output);
            }
            if let Some((server, input)) = self.inbox.pop_front() {
                is_idle = false;
                self.tell_meter(server, input);
            }
            if is_idle {
                return;
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Disk(DiskRequest::Operations { ticket, batch }) => {
                if self.is_cut() {
                    return;
                }
                let result = Ok(self.store.commit(&[batch]).unwrap().remove(0));
                assert!(matches!(result, Ok(Ok(()))), "{result:?}");
                self.look_at_counters();
                // Durable, and nobody hears of it.
                if self.is_cut() {
                    return;
                }
                self.give(Input::Disk(DiskReply::Operations { ticket, result }));
            }
            Output::Dial { dial, .. } => {
                let port = Port::Dialled(dial);
                self.give(Input::LinkUp { link: LINK, port });
            }
            Output::Send { link: LINK, frame } => {
                if self.is_cut() {
                    return;
                }
                let frame = wrapper::Frame::decode(&frame).unwrap();
                let server = frame.destination.0;
                let frame = wrapper::Frame {
                    destination: WPort::MANAGEMENT,
                    ..frame
                };
                let frame = frame.to_bytes();
                self.tell_meter(server, Input::Frame { link: LINK, frame });
                // The meter has done it, and the answer is lost.
                self.is_cut();
            }
            Output::Close { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    fn tell_meter(&mut self, server: u16, input: Input) {
        let node = self.meters.get_mut(&server).unwrap();
        let mut outputs: Vec<Output> = std::iter::from_fn(|| node.poll_output()).collect();
        node.handle(input, now_at(self.now));
        outputs.extend(std::iter::from_fn(|| node.poll_output()));
        for output in outputs {
            match output {
                Output::Send { frame, .. } => {
                    let frame = wrapper::Frame::decode(&frame).unwrap();
                    let frame = wrapper::Frame {
                        source: WPort(server),
                        ..frame
                    };
                    let frame = frame.to_bytes();
                    self.give(Input::Frame { link: LINK, frame });
                }
                Output::Disk(DiskRequest::Remember { ticket, .. }) => {
                    let result = Ok(());
                    let done = DiskReply::Done { ticket, result };
                    self.tell_meter(server, Input::Disk(done));
                }
                // A meter that restarts drops its connections.
                Output::Close { .. } => self.give(Input::LinkDown { link: LINK }),
                other => panic!("{other:?}"),
            }
        }
    }

    /// No counter under a key ever falls.
    fn look_at_counters(&mut self) {
        for row in self.store.counters(None).unwrap() {
            let CounterRow {
                key,
                direction,
                title,
                value,
            } = row;
            let highest = self.counters.entry((key, direction, title)).or_default();
            assert!(*highest <= value, "{key}: {highest} became {value}");
            *highest = value;
        }
    }

    fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        self.settle();
        while self.now < until {
            self.now += Duration::from_millis(500);
            let now = now_at(self.now);
            if self.node.is_none() {
                self.boot();
            }
            if self
                .node
                .as_ref()
                .is_some_and(|node| node.wake().is_due(now))
            {
                self.give(Input::Timeout);
            }
            self.settle();
            let due = self
                .meters
                .iter()
                .filter(|(_, node)| node.wake().is_due(now));
            let due: Vec<u16> = due.map(|(server, _)| *server).collect();
            for server in due {
                self.inbox.push_back((server, Input::Timeout));
            }
            self.settle();
        }
    }

    fn node(&mut self) -> &mut HeadEndNode {
        self.node.as_mut().unwrap()
    }

    fn submit(&mut self, order: Order) -> OrderId {
        let now = now_at(self.now);
        self.node().submit(order, "anna", now).unwrap()
    }

    fn rekey(&mut self, meter: MeterId) -> OrderId {
        self.submit(Order::ChangeKeys {
            meter,
            kinds: KINDS.into(),
        })
    }

    fn read(&mut self, meter: MeterId) -> Part {
        let deadline = now_at(self.now).utc + Duration::from_hours(1);
        let id = self.submit(Order::Read {
            targets: vec![meter],
            steps: vec![Step::ReadSupply],
            deadline,
        });
        self.run_for(Duration::from_secs(90));
        self.node().order(id).unwrap().parts[&meter].clone()
    }

    fn current(&self, meter: MeterId) -> BTreeMap<KeyKind, KeyId> {
        let keys = self.store.keys(Some(meter)).unwrap();
        assert!(keys.iter().all(|row| row.state != KeyState::Pending));
        let current = keys.iter().filter(|row| row.state == KeyState::Current);
        current.map(|row| (row.kind, row.key)).collect()
    }
}

fn master() -> Box<LocalMasterKeys> {
    Box::new(LocalMasterKeys::single(MasterKey::Aes256([9; 32])))
}

fn title(meter: MeterId) -> SystemTitle {
    SystemTitle::new(*b"GLM", u64::from(meter.0))
}

fn row(meter: MeterId, server: u16) -> DeviceRow {
    DeviceRow {
        meter,
        title: title(meter),
        serial: format!("S{}", meter.0),
        name: format!("Meter {}", meter.0),
        state: DeviceState::Commissioned,
        link: DeviceLink {
            transport: Transport::Tcp,
            // Each its own connection: one that restarts cuts off no other.
            address: format!("10.0.0.{}:4059", meter.0),
            server,
            physical: 0,
        },
        roles: vec![ClientRole {
            client: 1,
            mechanism: 5,
            suite: Some(0),
        }],
        template: "dialled".to_owned(),
        groups: BTreeSet::new(),
        service_point: "somewhere".to_owned(),
        phases: 1,
        fuse_a: 100,
        voltage_v: 230,
        retired_at: None,
    }
}

#[test]
fn all_four_keys_change_wherever_the_head_end_is_cut_off() {
    const METER: MeterId = MeterId(1);
    let mut uncut = 0;
    for cut_at in 0.. {
        let mut rig = Rig::new(1, None);
        let before = rig.current(METER);
        (rig.steps, rig.cut_at) = (0, (cut_at > 0).then_some(cut_at));
        let id = rig.rekey(METER);
        rig.run_for(Duration::from_mins(4));
        rig.cut_at = None;
        if cut_at == 0 {
            // How many steps there are to cut off.
            uncut = rig.steps;
            let part = rig.node().order(id).unwrap().parts[&METER].clone();
            assert_eq!(part, Part::Done);
        }
        let after = rig.current(METER);
        let changed = KINDS
            .iter()
            .filter(|kind| after.get(kind) != before.get(kind));
        let changed = changed.count();
        // Only the first write is as if the order had never been given.
        assert!(
            changed == KINDS.len() || (changed == 0 && cut_at == 1),
            "cut at {cut_at}: {changed} changed, {:?}",
            rig.node().alarms().collect::<Vec<_>>()
        );
        let part = rig.read(METER);
        assert!(
            matches!(&part, Part::Read { broken: None, values } if values[0].is_ok()),
            "cut at {cut_at}: {part:?}"
        );
        // The meter holds the new KEK too: the next keys travel under it.
        let id = rig.rekey(METER);
        rig.run_for(Duration::from_mins(2));
        let part = rig.node().order(id).unwrap().parts[&METER].clone();
        assert_eq!(part, Part::Done, "cut at {cut_at}");
        if cut_at > uncut {
            break;
        }
    }
    assert!(uncut > 60, "{uncut} steps");
}

#[test]
fn what_is_no_key_of_the_security_setup_is_refused_by_name() {
    let mut rig = Rig::new(1, None);
    let order = Order::ChangeKeys {
        meter: MeterId(1),
        kinds: [KeyKind::LowLevelSecret].into(),
    };
    let now = now_at(rig.now);
    let words = rig
        .node()
        .submit(order, "anna", now)
        .unwrap_err()
        .to_string();
    assert!(words.contains("change guek, gak, gbek or kek"), "{words}");
}

fn campaign(rig: &mut Rig, meters: u32, program: usize) -> OrderId {
    let canaries = if meters > 2 { 2 } else { 1 };
    let image: Arc<[u8]> = sign_image(MODEL, 9 << 24 | 1, &vec![0x5A; program], &maker(7)).into();
    rig.images.insert(DIGEST, Arc::clone(&image));
    rig.submit(Order::Campaign {
        plan: CampaignPlan {
            number: 0,
            image: Image {
                identifier: b"meter-9.0.1".to_vec(),
                size: u32::try_from(image.len()).unwrap(),
                digest: DIGEST,
                signature: image[image.len() - 64..].to_vec(),
                version: "9.0.1".into(),
            },
            targets: (1..=meters).map(MeterId).collect(),
            stages: vec![
                StagePlan {
                    reach: Reach::Meters(canaries),
                    success_percent: 50,
                },
                StagePlan {
                    reach: Reach::Percent(100),
                    success_percent: 50,
                },
            ],
            concurrency: 4,
            activate_at: None,
            actor: "anna".into(),
        },
        image,
    })
}

#[test]
fn firmware_comes_to_all_but_the_one_that_refuses_it() {
    let mut rig = Rig::new(5, Some(3));
    let id = campaign(&mut rig, 5, 3_000);
    rig.run_for(Duration::from_mins(30));
    let report = rig.node().campaign(id).unwrap();
    assert_eq!(report.state, CampaignState::Finished, "{report:?}");
    assert_eq!(
        (report.succeeded, report.failed.len()),
        (4, 1),
        "{report:?}"
    );
    let why = &report.failed[&MeterId(3)];
    assert!(why.contains("erif"), "{why}");
    let order = rig.node().order(id).unwrap().clone();
    assert_eq!(order.state, OrderState::Over);
    for (meter, part) in &order.parts {
        let is_good = match part {
            Part::Done => meter.0 != 3,
            Part::Failed(_) => meter.0 == 3,
            _ => false,
        };
        assert!(is_good, "{meter}: {part:?}");
    }
}

#[test]
fn firmware_goes_on_wherever_the_head_end_is_cut_off() {
    let mut uncut = 0;
    // Every seventh step: they are many, and each run sends the whole image.
    for cut_at in (0..).step_by(7) {
        let mut rig = Rig::new(2, None);
        (rig.steps, rig.cut_at) = (0, (cut_at > 0).then_some(cut_at));
        let id = campaign(&mut rig, 2, 600);
        rig.run_for(Duration::from_mins(30));
        if cut_at == 0 {
            uncut = rig.steps;
        }
        rig.cut_at = None;
        let report = rig.node().campaign(id);
        // After a restart a campaign that is over is history.
        let is_over = report
            .is_none_or(|report| report.state == CampaignState::Finished && report.succeeded == 2);
        assert!(is_over, "cut at {cut_at}: {:?}", rig.node().campaign(id));
        let open = rig
            .store
            .work(
                gridloom_store::WorkKind::Campaign,
                gridloom_store::WhichWork::Number(id.0),
            )
            .unwrap();
        assert!(
            open.len() == 3 && open.iter().all(|row| row.is_finished),
            "cut at {cut_at}: {open:?}"
        );
        if cut_at > uncut {
            break;
        }
    }
    assert!(uncut > 40, "{uncut} steps");
}

#[test]
fn a_campaign_pauses_goes_on_and_is_taken_back() {
    let mut rig = Rig::new(3, None);
    let id = campaign(&mut rig, 3, 600);
    let now = now_at(rig.now);
    rig.node()
        .set_campaign(id, Pause::Paused, "bert", now)
        .unwrap();
    rig.run_for(Duration::from_mins(10));
    let report = rig.node().campaign(id).unwrap();
    assert_eq!(
        (&report.state, report.succeeded),
        (&CampaignState::Paused, 0)
    );
    let now = now_at(rig.now);
    rig.node()
        .set_campaign(id, Pause::Running, "bert", now)
        .unwrap();
    rig.run_for(Duration::from_secs(2));
    let now = now_at(rig.now);
    rig.node().cancel(id, "bert", now).unwrap();
    rig.run_for(Duration::from_mins(30));
    let report = rig.node().campaign(id).unwrap();
    assert_eq!(report.state, CampaignState::Finished);
    assert!(report.succeeded < 3, "{report:?}");
    let order = rig.node().order(id).unwrap();
    assert!(order.parts.values().all(Part::is_over), "{order:?}");
}
