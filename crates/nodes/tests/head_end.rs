//! A head-end that dials its meters: wrapped APDUs, several meters on one connection, and HDLC.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests may unwrap, and panic on whatever else comes"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use gridloom_core::{Currency, Day, Instant, MeterId, Now, ObisCode, Seed, SystemTitle, UtcTime};
use gridloom_dlms::apdu::AttributeDescriptor;
use gridloom_dlms::hdlc::{Peer, ServerLink, ServerLinkConfig, ServerLinkOutput};
use gridloom_dlms::security::Keys;
use gridloom_dlms::wrapper::{self, WPort};
use gridloom_field::load::{ConstantLoad, Power};
use gridloom_field::{Boot, Meter, MeterConfig};
use gridloom_headend::schedule::Recurrence;
use gridloom_headend::session::Step;
use gridloom_headend::vault::{LocalMasterKeys, MasterKey, NewKey};
use gridloom_headend::{MeterTemplate, Secret, Vault};
use gridloom_nodes::headend::{Order, OrderId, OrderState, Part};
use gridloom_nodes::{
    DialId, DiskReply, DiskRequest, HeadEndConfig, HeadEndMemory, HeadEndNode, Input, LinkId,
    MeterNode, Node, Output, Port, Wire,
};
use gridloom_store::{
    Batch, Change, ClientRole, DeviceLink, DeviceRow, DeviceState, KeyId, KeyKind, KeyState,
    MemoryOperations, OperationsStore, Transport,
};

const LINK: LinkId = LinkId(70);
const MASTER: [u8; 32] = [9; 32];
const ADDRESS: &str = "10.0.0.7:4059";

fn now_at(elapsed: Duration) -> Now {
    let start = Day::from_ymd(2026, 3, 1).unwrap().start();
    Now {
        instant: Instant::ZERO + elapsed,
        utc: start + elapsed,
    }
}

fn keys(meter: MeterId) -> Keys {
    let byte = u8::try_from(meter.0).unwrap();
    Keys::new([byte; 16], [byte + 100; 16])
}

fn title(meter: MeterId) -> SystemTitle {
    SystemTitle::new(*b"GLM", u64::from(meter.0))
}

/// What stands at the other end of the dialled link.
enum Line {
    /// A wrapper port for each meter.
    Wrapper,
    Hdlc(Box<ServerLink>),
}

/// A head-end, what it dials, and a disk that answers at once.
struct Bench {
    now: Duration,
    node: HeadEndNode,
    store: MemoryOperations,
    line: Line,
    meters: BTreeMap<u16, MeterNode>,
    /// What the meters have still to hear.
    inbox: VecDeque<(u16, Input)>,
    dials: Vec<(DialId, String, Wire)>,
    is_up: bool,
    closed: Vec<&'static str>,
    refuse_dials: bool,
    /// Writes that the disk fails.
    failing: usize,
}

impl Bench {
    fn new(transport: Transport, meters: u32) -> Self {
        let now = now_at(Duration::ZERO);
        let master = || Box::new(LocalMasterKeys::single(MasterKey::Aes256(MASTER)));
        let (mut vault, mut changes) = Vault::open(master(), &[], &[], now.utc).unwrap();
        let mut nodes = BTreeMap::new();
        for number in 1..=meters {
            let meter = MeterId(number);
            let server = u16::try_from(number).unwrap() + 16;
            changes.push(Change::Device(row(meter, transport, server)));
            let keys = keys(meter);
            for (kind, bytes) in [
                (KeyKind::UnicastEncryption, keys.encryption().as_bytes()),
                (KeyKind::Authentication, keys.authentication().as_bytes()),
            ] {
                let new = NewKey {
                    key: KeyId(u64::from(number) * 2 + u64::from(kind == KeyKind::Authentication)),
                    meter,
                    kind,
                    client: 0,
                    state: KeyState::Current,
                    made_at: now.utc,
                };
                changes.push(Change::Key(vault.seal(new, &Secret::new(bytes)).unwrap()));
            }
            let config = MeterConfig::new(
                meter,
                title(meter),
                SystemTitle(*b"GLE00001"),
                keys,
                Currency::new("EUR", 2).unwrap(),
                Seed::new(u64::from(number)),
            );
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
        let mut template = MeterTemplate::standard("dialled");
        template.connections = 2;
        let templates = BTreeMap::from([("dialled".to_owned(), template)]);
        let daily = Duration::from_hours(24);
        let reading = Recurrence::new(daily, Duration::from_hours(23), daily / 2, Duration::ZERO);
        let title = SystemTitle(*b"GLH00001");
        let config = HeadEndConfig::new("head-end", title, templates, reading.unwrap());
        let memory = HeadEndMemory::read(&store).unwrap();
        let node = HeadEndNode::new(config, memory, master(), [3; 32], now).unwrap();
        let line = if transport.is_hdlc() {
            let config = ServerLinkConfig::new(1..=100);
            Line::Hdlc(Box::new(ServerLink::new(config)))
        } else {
            Line::Wrapper
        };
        let mut bench = Self {
            now: Duration::ZERO,
            node,
            store,
            line,
            meters: nodes,
            inbox: VecDeque::new(),
            dials: Vec::new(),
            is_up: false,
            closed: Vec::new(),
            refuse_dials: false,
            failing: 0,
        };
        // Meters reserve their own counters first.
        for server in bench.meters.keys() {
            bench.inbox.push_back((*server, Input::Timeout));
        }
        bench.settle();
        bench
    }

    fn give(&mut self, input: Input) {
        self.node.handle(input, now_at(self.now));
    }

    /// Carries everything until nobody wants anything.
    fn settle(&mut self) {
        loop {
            let outputs: VecDeque<Output> =
                std::iter::from_fn(|| self.node.poll_output()).collect();
            let mut is_idle = outputs.is_empty();
            for output in outputs {
                self.carry_out(output);
            }
            while let Some((server, input)) = self.inbox.pop_front() {
                is_idle = false;
                self.tell_meter(server, input);
            }
            is_idle &= !self.pump_hdlc();
            if is_idle {
                return;
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Disk(DiskRequest::Operations { ticket, batch }) => {
                let result = if self.failing > 0 {
                    self.failing -= 1;
                    Err("the disk is full".to_owned())
                } else {
                    Ok(self.store.commit(&[batch]).unwrap().remove(0))
                };
                self.give(Input::Disk(DiskReply::Operations { ticket, result }));
            }
            Output::Dial {
                dial,
                address,
                wire,
            } => {
                self.dials.push((dial, address, wire));
                if self.refuse_dials {
                    let reason = "connection refused".to_owned();
                    self.give(Input::DialFailed { dial, reason });
                    return;
                }
                self.is_up = true;
                let port = Port::Dialled(dial);
                self.give(Input::LinkUp { link: LINK, port });
            }
            Output::Send { link: LINK, frame } if self.is_up => match &mut self.line {
                Line::Wrapper => {
                    let frame = wrapper::Frame::decode(&frame).unwrap();
                    self.pass_to_meter(frame.destination.0, frame.source.0, frame.apdu);
                }
                Line::Hdlc(link) => link.handle_bytes(&frame, now_at(self.now).instant),
            },
            Output::Close { link: LINK, reason } => {
                self.is_up = false;
                self.closed.push(reason);
            }
            other => panic!("{other:?}"),
        }
    }

    /// The meter's own wrapper port is that of its management device.
    fn pass_to_meter(&mut self, server: u16, client: u16, apdu: &[u8]) {
        let frame = wrapper::Frame {
            source: WPort(client),
            destination: WPort::MANAGEMENT,
            apdu,
        };
        let frame = frame.to_bytes();
        let input = Input::Frame { link: LINK, frame };
        self.inbox.push_back((server, input));
    }

    fn tell_meter(&mut self, server: u16, input: Input) {
        let Some(node) = self.meters.get_mut(&server) else {
            return;
        };
        // A meter that was just started has something to say, too.
        let mut outputs: Vec<Output> = std::iter::from_fn(|| node.poll_output()).collect();
        node.handle(input, now_at(self.now));
        outputs.extend(std::iter::from_fn(|| node.poll_output()));
        for output in outputs {
            self.take_from_meter(server, output);
        }
    }

    fn take_from_meter(&mut self, server: u16, output: Output) {
        match output {
            Output::Send { frame, .. } => {
                let frame = wrapper::Frame::decode(&frame).unwrap();
                match &mut self.line {
                    Line::Wrapper => {
                        let frame = wrapper::Frame {
                            source: WPort(server),
                            ..frame
                        };
                        let frame = frame.to_bytes();
                        self.give(Input::Frame { link: LINK, frame });
                    }
                    Line::Hdlc(link) => {
                        let peer: Option<Peer> = link.peers().find(|peer| {
                            (peer.server.upper(), peer.client.upper())
                                == (server, frame.destination.0)
                        });
                        link.answer(peer.unwrap(), frame.apdu);
                    }
                }
            }
            Output::Disk(DiskRequest::Remember { ticket, .. }) => {
                let done = DiskReply::Done {
                    ticket,
                    result: Ok(()),
                };
                self.inbox.push_back((server, Input::Disk(done)));
            }
            other => panic!("{other:?}"),
        }
    }

    fn pump_hdlc(&mut self) -> bool {
        let mut has_moved = false;
        while let Line::Hdlc(link) = &mut self.line
            && let Some(output) = link.poll_output()
        {
            has_moved = true;
            match output {
                ServerLinkOutput::Transmit(frame) => {
                    // In two pieces: the node finds its frames in a stream.
                    let (first, rest) = frame.split_at(frame.len() / 2);
                    for piece in [first, rest] {
                        let frame = piece.to_vec();
                        self.give(Input::Frame { link: LINK, frame });
                    }
                }
                ServerLinkOutput::Apdu { peer, apdu } => {
                    self.pass_to_meter(peer.server.upper(), peer.client.upper(), &apdu);
                }
                ServerLinkOutput::Connected(_) | ServerLinkOutput::Disconnected(_) => {}
            }
        }
        has_moved
    }

    /// Lets time pass, and everybody do what is due.
    fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        self.settle();
        while self.now < until {
            self.now += Duration::from_millis(250);
            let now = now_at(self.now);
            if self.node.wake().is_due(now) {
                self.give(Input::Timeout);
                self.settle();
            }
            for (server, node) in &self.meters {
                if node.wake().is_due(now) {
                    self.inbox.push_back((*server, Input::Timeout));
                }
            }
            if let Line::Hdlc(link) = &mut self.line {
                link.handle_timeout(now.instant);
            }
            self.settle();
        }
    }

    fn read(&mut self, targets: u32) -> OrderId {
        let register = |code| AttributeDescriptor {
            class_id: 3,
            instance: ObisCode(code),
            attribute: 2,
        };
        let order = Order::Read {
            targets: (1..=targets).map(MeterId).collect(),
            steps: vec![
                Step::GetList(vec![
                    register([1, 0, 1, 8, 0, 255]),
                    register([1, 0, 2, 8, 0, 255]),
                ]),
                // Longer than one frame and one PDU.
                Step::Browse,
            ],
            deadline: now_at(self.now).utc + Duration::from_hours(1),
        };
        self.node.submit(order, "anna", now_at(self.now)).unwrap()
    }

    fn is_read(&self, id: OrderId) -> bool {
        let report = self.node.order(id).unwrap();
        report.state == OrderState::Over
            && report.parts.values().all(|part| match part {
                Part::Read { values, broken } => {
                    broken.is_none() && values.len() == 2 && values.iter().all(Result::is_ok)
                }
                _ => false,
            })
    }
}

fn row(meter: MeterId, transport: Transport, server: u16) -> DeviceRow {
    DeviceRow {
        meter,
        title: title(meter),
        serial: format!("S{}", meter.0),
        name: format!("Meter {}", meter.0),
        state: DeviceState::Enrolled,
        link: DeviceLink {
            transport,
            address: ADDRESS.to_owned(),
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
fn meters_behind_one_address_share_one_connection() {
    for (transport, wire) in [
        (Transport::Tcp, Wire::Wrapper),
        (Transport::HdlcTcp, Wire::Bytes),
    ] {
        let mut bench = Bench::new(transport, 5);
        let id = bench.read(5);
        bench.run_for(Duration::from_secs(20));
        let report = bench.node.order(id).unwrap();
        assert!(
            bench.is_read(id),
            "{transport}: {report:?} {:?}",
            bench.node.errors()
        );
        assert_eq!(bench.dials, [(DialId(1), ADDRESS.to_owned(), wire)]);
        let states: BTreeSet<_> = bench
            .node
            .registry()
            .meters()
            .map(|row| row.state)
            .collect();
        assert_eq!(
            states,
            BTreeSet::from([DeviceState::Commissioned]),
            "{transport}"
        );
        // Nobody needs it any more.
        assert_eq!(bench.node.status().connections, 1);
        bench.run_for(Duration::from_secs(40));
        assert_eq!(bench.node.status().connections, 0, "{transport}");
        assert_eq!(bench.closed, ["no session needs it"]);
        let id = bench.read(1);
        bench.run_for(Duration::from_secs(20));
        assert!(bench.is_read(id), "{transport}: dialled again");
        assert_eq!(bench.dials.len(), 2);
    }
}

#[test]
fn a_meter_that_cannot_be_dialled_is_tried_again_and_named() {
    let mut bench = Bench::new(Transport::Tcp, 1);
    bench.refuse_dials = true;
    let id = bench.read(1);
    bench.run_for(Duration::from_secs(10));
    let error = &bench.node.errors()[&MeterId(1)];
    assert_eq!(error.layer, gridloom_dlms::client::Layer::Link, "{error:?}");
    bench.refuse_dials = false;
    bench.run_for(Duration::from_mins(2));
    assert!(bench.is_read(id), "{:?}", bench.node.order(id));
    assert!(bench.node.errors().is_empty());
}

#[test]
fn nothing_is_said_before_its_counter_is_durable() {
    let mut bench = Bench::new(Transport::Tcp, 1);
    bench.failing = 3;
    let id = bench.read(1);
    bench.settle();
    bench.run_for(Duration::from_millis(750));
    assert!(matches!(
        bench.node.order(id).unwrap().parts[&MeterId(1)],
        Part::Running { .. }
    ));
    // Written again each second, then the session goes on.
    bench.run_for(Duration::from_secs(10));
    assert!(bench.is_read(id), "{:?}", bench.node.order(id));
    assert_eq!(bench.failing, 0);
}

#[test]
fn what_no_session_could_do_is_refused_at_once() {
    let mut bench = Bench::new(Transport::Tcp, 1);
    let now = now_at(Duration::ZERO);
    let deadline: UtcTime = now.utc + Duration::from_mins(5);
    let mut refusal = |targets: Vec<u32>, steps: Vec<Step>| {
        let order = Order::Read {
            targets: targets.into_iter().map(MeterId).collect(),
            steps,
            deadline,
        };
        bench
            .node
            .submit(order, "anna", now)
            .unwrap_err()
            .to_string()
    };
    for (targets, steps, words) in [
        (vec![1], vec![], "0 steps"),
        (vec![1], vec![Step::Disconnect], "as a command"),
        (vec![], vec![Step::Browse], "0 meters"),
        (vec![9], vec![Step::Browse], "not in service"),
    ] {
        let refused = refusal(targets, steps);
        assert!(refused.contains(words), "{refused}");
    }
}
