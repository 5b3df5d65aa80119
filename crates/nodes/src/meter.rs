//! The meter node: one emulated meter on its link to the edge, and on the links of clients that
//! read and manage it.
//!
//! A meter with an alternate gateway keeps its lines to both and uses one. The one that it leaves it
//! closes: its host dials again, and the gateway and the edge hear that the line is gone.
//!
//! The wrapper's source port says who speaks: the pre-established client is the edge, every
//! other one a client with an association of its own, over whichever link it comes.

use std::collections::{BTreeMap, VecDeque};

use gridloom_core::{Now, Wake};
use gridloom_dlms::wrapper::{self, WPort};
use gridloom_field::meter::{ConnectionId, Event, Meter, Output as MeterOutput, PushTransport};
use gridloom_field::objects::push_setup::PushOutcome;
use gridloom_field::status::MeterStatus;
use gridloom_field::{Client, Pushes, Surroundings};

use crate::node::{DialId, DiskReply, DiskRequest, Input, LinkId, Node, Output, Port, Wire};
use crate::paths::{PathAct, Paths, PathsConfig, PathsStatus, Rank};

/// Whom a push to a set destination addresses there.
const PUSH_CLIENT: u16 = Client::Management.sap();

/// What becomes of a meter's links.
#[derive(Debug, Clone, Copy)]
enum News {
    /// The link to the edge is gone.
    LinkDown,
    /// Another one is there.
    LinkUp,
    /// And with a link the connection of the clients behind it.
    ClientGone(ConnectionId),
}

/// A meter node.
pub struct MeterNode {
    meter: Meter,
    paths: Paths,
    link: Option<LinkId>,
    /// What the meter is to hear yet, each once the outputs of the one before are taken.
    news: VecDeque<(News, Now)>,
    /// Pushes on their way to a set destination, by the attempt to connect for each.
    pushes: BTreeMap<DialId, (Pushes, Vec<u8>)>,
    dials: u64,
    outbox: VecDeque<Output>,
}

impl MeterNode {
    /// A node around a meter.
    pub fn new(meter: Meter) -> Self {
        Self {
            meter,
            paths: Paths::new(PathsConfig::METER),
            link: None,
            news: VecDeque::new(),
            pushes: BTreeMap::new(),
            dials: 0,
            outbox: VecDeque::new(),
        }
    }

    /// Is patient with its gateways like this; the alternate one is on [`Port::Backup`].
    ///
    /// # Panics
    ///
    /// If the configuration does not pass [`PathsConfig::check`], or has heartbeats: a meter
    /// speaks no language that a gateway would answer.
    #[must_use]
    pub fn with_paths(mut self, config: PathsConfig) -> Self {
        assert!(
            config.heartbeat_every.is_none(),
            "meters have no heartbeats"
        );
        self.paths = Paths::new(config);
        self
    }

    /// Which of its gateways it uses.
    pub fn paths(&self) -> PathsStatus {
        self.paths.status()
    }

    /// The meter.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Supply fails; the meter says its last words on the links that still stand.
    pub fn power_off(&mut self, now: Now) {
        self.meter.handle_power_off(now);
    }

    /// Supply is back. A link to the edge that stood meanwhile must come up again.
    pub fn power_on(&mut self, now: Now) {
        self.meter.handle_power_on(now);
    }

    /// Hands do something to the meter.
    pub fn surround(&mut self, surroundings: Surroundings, now: Now) {
        self.meter.handle_surroundings(surroundings, now);
    }

    /// How the meter stands; measures up to `now`.
    pub fn status(&mut self, now: Now) -> MeterStatus {
        self.meter.status(now)
    }
}

impl Node for MeterNode {
    fn handle(&mut self, input: Input, now: Now) {
        match input {
            Input::LinkUp {
                link,
                port: Port::Up,
            } => self.paths.handle_up(Rank::Primary, link, now.instant),
            Input::LinkUp {
                link,
                port: Port::Backup,
            } => self.paths.handle_up(Rank::Backup, link, now.instant),
            Input::LinkUp {
                link,
                port: Port::Dialled(dial),
            } => {
                if let Some((push, frame)) = self.pushes.remove(&dial) {
                    let reason = "the push is out";
                    self.outbox.push_back(Output::Send { link, frame });
                    self.outbox.push_back(Output::Close { link, reason });
                    self.meter
                        .handle_push_outcome(push, PushOutcome::Delivered, now);
                }
            }
            Input::DialFailed { dial, reason } => {
                if let Some((push, _)) = self.pushes.remove(&dial) {
                    tracing::debug!(meter = %self.meter.config().id, ?push, reason, "push failed");
                    self.meter
                        .handle_push_outcome(push, PushOutcome::Failed, now);
                }
            }
            // A client's connection begins with its first APDU.
            Input::LinkUp {
                port: Port::Down | Port::Push(_),
                ..
            }
            | Input::LinkFault { .. } => {}
            Input::LinkDown { link } => {
                self.paths.handle_down(link, now.instant);
                self.follow_paths(now);
                let gone = News::ClientGone(ConnectionId(link.0));
                self.news.push_back((gone, now));
            }
            Input::Frame { link, frame } => match wrapper::Frame::decode(&frame) {
                Ok(wrapper::Frame {
                    source: WPort::PRE_ESTABLISHED_CLIENT,
                    destination: WPort::MANAGEMENT,
                    apdu,
                }) if self.paths.knows(link) => self.meter.handle_frame(apdu, now),
                Ok(wrapper::Frame {
                    source: client,
                    destination: WPort::MANAGEMENT,
                    apdu,
                }) => {
                    let connection = ConnectionId(link.0);
                    self.meter
                        .handle_client_apdu(connection, client.0, apdu, now);
                }
                Ok(_) | Err(_) => {
                    tracing::debug!(meter = %self.meter.config().id, "frame for nobody here");
                }
            },
            Input::Disk(DiskReply::Done { ticket, result }) => {
                self.meter.handle_remembered(ticket, result, now);
            }
            Input::Disk(
                DiskReply::Ledger(_)
                | DiskReply::Spool(_)
                | DiskReply::Answer { .. }
                | DiskReply::Operations { .. }
                | DiskReply::Pair(_),
            ) => {}
            Input::Timeout => {
                self.paths.handle_timeout(now.instant);
                self.meter.handle_timeout(now);
            }
        }
        self.follow_paths(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.outbox.pop_front() {
            return Some(output);
        }
        loop {
            let Some(output) = self.meter.poll_output() else {
                let (news, now) = self.news.pop_front()?;
                match news {
                    News::LinkDown => self.meter.handle_link_down(now),
                    News::LinkUp => self.meter.handle_link_up(now),
                    News::ClientGone(connection) => {
                        self.meter.handle_client_disconnected(connection, now);
                    }
                }
                continue;
            };
            match output {
                MeterOutput::Answer {
                    connection,
                    client,
                    apdu,
                } => {
                    let frame = wrapper::Frame {
                        source: WPort::MANAGEMENT,
                        destination: WPort(client),
                        apdu: &apdu,
                    }
                    .to_bytes();
                    let link = LinkId(connection.0);
                    return Some(Output::Send { link, frame });
                }
                MeterOutput::Disconnect { connection } => {
                    let link = LinkId(connection.0);
                    // The link to the edge also carries what is no client's.
                    if self.link != Some(link) {
                        let reason = "the meter serves no further client";
                        return Some(Output::Close { link, reason });
                    }
                }
                MeterOutput::Send { frame } => {
                    if let Some(link) = self.link {
                        let frame = wrapper::Frame {
                            source: WPort::MANAGEMENT,
                            destination: WPort::PRE_ESTABLISHED_CLIENT,
                            apdu: &frame,
                        }
                        .to_bytes();
                        return Some(Output::Send { link, frame });
                    }
                }
                MeterOutput::Remember {
                    ticket,
                    cell,
                    bytes,
                } => {
                    return Some(Output::Disk(DiskRequest::Remember {
                        ticket,
                        slot: cell,
                        bytes,
                    }));
                }
                MeterOutput::Push {
                    push,
                    to,
                    transport,
                    apdu,
                } => {
                    self.dials += 1;
                    let dial = DialId(self.dials);
                    let frame = wrapper::Frame {
                        source: WPort::MANAGEMENT,
                        destination: WPort(PUSH_CLIENT),
                        apdu: &apdu,
                    }
                    .to_bytes();
                    // One try of a setup is out at a time: there are two of them.
                    self.pushes.insert(dial, (push, frame));
                    return Some(Output::Dial {
                        dial,
                        address: to.to_string(),
                        wire: match transport {
                            PushTransport::Tcp => Wire::Wrapper,
                            PushTransport::Udp => Wire::Datagrams,
                        },
                    });
                }
                MeterOutput::Event(event) => self.log(&event),
            }
        }
    }

    fn wake(&self) -> Wake {
        self.meter.wake().earliest(self.paths.wake())
    }
}

impl MeterNode {
    fn follow_paths(&mut self, now: Now) {
        while let Some(act) = self.paths.poll_act() {
            match act {
                PathAct::Moved { from, to } => {
                    if self.link.take().is_some() {
                        self.news.push_back((News::LinkDown, now));
                    }
                    if let Some(link) = from {
                        let reason = "the meter's own gateway is well again";
                        self.outbox.push_back(Output::Close { link, reason });
                    }
                    self.link = to;
                    if to.is_some() {
                        self.news.push_back((News::LinkUp, now));
                    }
                }
                // It has no heartbeats, and so nothing that is silent.
                PathAct::Heartbeat { .. } | PathAct::Close { .. } => {}
            }
        }
    }

    fn log(&self, event: &Event) {
        let meter = self.meter.config().id;
        match event {
            Event::LostAtSource { end } => {
                tracing::error!(%meter, %end, "the profile is full: an interval is lost");
            }
            Event::MonthClosed(bill) => {
                tracing::info!(%meter, month = %bill.month, "the meter closed a month");
            }
            Event::ClockSet(step) => {
                tracing::warn!(%meter, before = %step.before, after = %step.after, "clock set");
            }
            Event::Feature(event) => tracing::info!(%meter, ?event, "feature"),
            Event::PowerQuality(event) => tracing::info!(%meter, ?event, "power quality"),
            Event::Tamper(event) => tracing::warn!(%meter, ?event, "tamper"),
            Event::Firmware(event) => tracing::info!(%meter, ?event, "firmware"),
            // Counted in the meter's status; a line per packet would let a peer flood the log.
            Event::FrameRefused(error) => tracing::debug!(%meter, %error, "frame refused"),
            Event::RequestRefused(error) => tracing::debug!(%meter, %error, "request refused"),
            Event::MemoryFailed(error) => tracing::error!(%meter, %error, "memory not written"),
        }
    }
}

impl std::fmt::Debug for MeterNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MeterNode")
            .field("meter", &self.meter.config().id)
            .field("link", &self.link)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use gridloom_core::{Currency, Instant, MeterId, Seed, SystemTitle, UtcTime};
    use gridloom_dlms::association::Conformance;
    use gridloom_dlms::client::{
        Authentication, Client, ClientConfig, ClientOutput, ReleaseForm, Request,
    };
    use gridloom_dlms::counter::{ReceiveCounter, TransmitCounter};
    use gridloom_dlms::security::Keys;
    use gridloom_field::load::{ConstantLoad, Power};
    use gridloom_field::{Boot, MeterConfig};

    use super::*;

    const NOW: Now = Now {
        instant: Instant::ZERO,
        utc: UtcTime::from_secs(1_767_225_600),
    };
    const UPLINK: LinkId = LinkId(3);
    const LISTENING: LinkId = LinkId(4);

    fn node() -> MeterNode {
        let config = MeterConfig::new(
            MeterId(1),
            SystemTitle(*b"GLMmetr1"),
            SystemTitle(*b"GLMedge1"),
            Keys::new([1; 16], [2; 16]),
            Currency::new("EUR", 2).unwrap(),
            Seed::new(1),
        );
        let load = Box::new(ConstantLoad {
            power: Power::default(),
        });
        let meter = Meter::start(config, load, &BTreeMap::new(), Boot::Reset, NOW).unwrap();
        let mut node = MeterNode::new(meter);
        settle(&mut node);
        node
    }

    fn give(node: &mut MeterNode, input: Input) -> Vec<(LinkId, Vec<u8>)> {
        node.handle(input, NOW);
        settle(node)
    }

    /// Carries out every write; returns what was sent.
    fn settle(node: &mut MeterNode) -> Vec<(LinkId, Vec<u8>)> {
        let mut sent = Vec::new();
        let mut writes = Vec::new();
        loop {
            while let Some(output) = node.poll_output() {
                match output {
                    Output::Send { link, frame } => sent.push((link, frame)),
                    Output::Disk(DiskRequest::Remember { ticket, .. }) => writes.push(ticket),
                    other @ (Output::Close { .. } | Output::Dial { .. } | Output::Disk(_)) => {
                        panic!("{other:?}")
                    }
                }
            }
            let Some(ticket) = writes.pop() else {
                return sent;
            };
            let result = Ok(());
            node.handle(Input::Disk(DiskReply::Done { ticket, result }), NOW);
        }
    }

    #[test]
    fn a_client_reaches_the_meter_over_either_link() {
        let up = |link, port| Input::LinkUp { link, port };
        for (link, port) in [(UPLINK, Port::Up), (LISTENING, Port::Down)] {
            let mut node = node();
            give(&mut node, up(UPLINK, Port::Up));
            give(&mut node, up(link, port));
            let config = ClientConfig {
                client: WPort::PUBLIC_CLIENT.0,
                server: 1,
                authentication: Authentication::None,
                ciphering: None,
                max_pdu: 512,
                conformance: Conformance::STANDARD,
                release: ReleaseForm::Full,
                answer_timeout: Duration::from_secs(10),
                attempts: 1,
            };
            let mut client = Client::new(config, TransmitCounter::new(), ReceiveCounter::new());
            client.open(&[], NOW.instant);
            let mut answered = None;
            while let Some(output) = client.poll_output() {
                match output {
                    ClientOutput::Send(apdu) => {
                        let frame = wrapper::Frame {
                            source: WPort::PUBLIC_CLIENT,
                            destination: WPort::MANAGEMENT,
                            apdu: &apdu,
                        }
                        .to_bytes();
                        let sent = give(&mut node, Input::Frame { link, frame });
                        assert_eq!(sent.len(), 1);
                        assert_eq!(sent[0].0, link);
                        let back = wrapper::Frame::decode(&sent[0].1).unwrap();
                        assert_eq!(back.source, WPort::MANAGEMENT);
                        assert_eq!(back.destination, WPort::PUBLIC_CLIENT);
                        client.handle_apdu(back.apdu, NOW.instant);
                    }
                    ClientOutput::Opened { .. } => client.request(
                        Request::Get {
                            attribute: gridloom_dlms::apdu::AttributeDescriptor {
                                class_id: 8,
                                instance: gridloom_core::ObisCode([0, 0, 1, 0, 0, 255]),
                                attribute: 2,
                            },
                            access: None,
                        },
                        NOW.instant,
                    ),
                    ClientOutput::Answered(answer) => answered = Some(answer),
                    other @ (ClientOutput::Reserve(_)
                    | ClientOutput::Progress { .. }
                    | ClientOutput::Notified(_)
                    | ClientOutput::Released
                    | ClientOutput::Failed(_)) => panic!("{other:?}"),
                }
            }
            assert!(matches!(answered, Some(Ok(_))), "{answered:?}");
            // The link ends, and the association with it.
            let frame = || {
                wrapper::Frame {
                    source: WPort::PUBLIC_CLIENT,
                    destination: WPort::MANAGEMENT,
                    apdu: &[0xC0, 1, 0xC1, 0, 8, 0, 0, 1, 0, 0, 255, 2, 0],
                }
                .to_bytes()
            };
            let read = |node: &mut MeterNode| {
                let input = Input::Frame {
                    link,
                    frame: frame(),
                };
                let sent = give(node, input);
                wrapper::Frame::decode(&sent[0].1).unwrap().apdu[0]
            };
            assert_eq!(read(&mut node), 0xC4, "a value");
            give(&mut node, Input::LinkDown { link });
            assert_eq!(read(&mut node), 0xD8, "no association");
        }
    }
}
