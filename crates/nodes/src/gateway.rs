//! The gateway (data concentrator): carries its meters' frames to an edge and the answers back.
//! It holds no keys and believes nothing.
//!
//! What meters push is kept in a spool until the edge has taken it: it has the readings durable, or
//! has decided that there are none. What a meter answers to another client is not kept, because its
//! client has given up waiting by the time it would arrive.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use gridloom_core::{Instant, Now, Wake};
use gridloom_dlms::security::CipheredApdu;
use gridloom_dlms::wrapper::{self, WPort};
use gridloom_edge::{ClosedLine, LinkQuality};
use gridloom_store::Spool;
use gridloom_store::spool::{
    About, Delivery, Gap, Lane, SpoolConfig, SpoolOutcome, SpoolStatus, Whose,
};

use crate::envelope::carried::encode_uplink;
use crate::envelope::{Message, Role, Uplink};
use crate::gap_book::GapBook;
use crate::node::{DiskReply, DiskRequest, Input, LinkId, Node, Output, Port};

/// What a gateway has carried since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GatewayCounters {
    /// Frames from meters sent to the edge, each time they were sent.
    pub carried_up: u64,
    /// Frames from the edge sent to meters.
    pub carried_down: u64,
    /// Pushes given up because the spool was full, its disk was damaged, or no edge ever took
    /// them; their meters push again.
    pub backlog_dropped: u64,
    /// Frames that were no pushes, while no edge was reachable.
    pub strayed: u64,
    /// Frames for a meter whose link is gone.
    pub undeliverable: u64,
    /// Meters' lines that the host had to close.
    pub lines_closed: u64,
    /// Envelopes from the edge that could not be read.
    pub malformed: u64,
}

/// How long a meter takes to answer. A client of an association asks and waits for the answer, so
/// the two are told apart by its port; what is pushed or confirmed answers nothing.
#[derive(Debug, Default)]
struct Talk {
    /// The client that waits, and since when.
    waits: Option<(WPort, Instant)>,
    /// The last answer's time, in milliseconds.
    response_ms: Option<u32>,
    /// Whether a frame came by the line: then the edge knows it.
    has_spoken: bool,
    /// What the host closed the line for.
    closed: Option<ClosedLine>,
}

impl Talk {
    fn asked(&mut self, frame: &[u8], now: Instant) {
        if let Ok(frame) = wrapper::Frame::decode(frame)
            && frame.source != WPort::PRE_ESTABLISHED_CLIENT
        {
            self.waits = Some((frame.source, now));
        }
    }

    fn answered(&mut self, frame: &[u8], now: Instant) {
        if let Ok(frame) = wrapper::Frame::decode(frame)
            && let Some((_, since)) = self.waits.take_if(|(port, _)| *port == frame.destination)
        {
            let millis = now.since(since).as_millis();
            self.response_ms = Some(u32::try_from(millis).unwrap_or(u32::MAX));
        }
    }
}

/// A gateway node.
#[derive(Debug)]
pub struct GatewayNode {
    name: String,
    uplink: Option<LinkId>,
    meters: BTreeMap<LinkId, Talk>,
    spool: Spool,
    gaps: GapBook,
    counters: GatewayCounters,
    outbox: VecDeque<Output>,
}

impl GatewayNode {
    /// Bytes kept without a disk while no edge is reachable. Beyond it the oldest frame is given up
    /// and counted: its meter still holds the reading and pushes it again.
    pub const MEMORY: SpoolConfig = SpoolConfig {
        bytes_max: 2 * 1024 * 1024,
        segment_bytes: 256 * 1024,
        in_flight_max: 4_096,
    };

    /// Frames in one envelope, and their bytes unless one alone has more; the rest
    /// goes in the next.
    const TOGETHER_MAX: usize = 256;
    const TOGETHER_BYTES_MAX: usize = 256 * 1024;

    /// A gateway called `name` that keeps what it has in memory, [`Self::MEMORY`] of it.
    pub fn new(name: String) -> Self {
        Self::with_spool(name, Spool::in_memory(Self::MEMORY))
    }

    /// A gateway called `name` that keeps what meters push in `spool`.
    pub fn with_spool(name: String, spool: Spool) -> Self {
        Self {
            name,
            uplink: None,
            meters: BTreeMap::new(),
            spool,
            gaps: GapBook::default(),
            counters: GatewayCounters::default(),
            outbox: VecDeque::new(),
        }
    }

    /// What it has carried.
    pub fn counters(&self) -> GatewayCounters {
        let spool = self.spool.status().counters;
        GatewayCounters {
            backlog_dropped: spool.lost_full + spool.lost_damaged + spool.lost_unanswered,
            ..self.counters
        }
    }

    /// What waits for an edge.
    pub fn spool(&self) -> SpoolStatus {
        self.spool.status()
    }

    /// Named gaps that no edge sees to yet, and the last ones named, oldest first.
    pub fn gaps(&self) -> (usize, Vec<Gap>) {
        (self.gaps.len(), self.gaps.shown().copied().collect())
    }

    /// Connected meters.
    pub fn meters(&self) -> usize {
        self.meters.len()
    }

    /// Whether an edge is reachable.
    pub fn is_connected(&self) -> bool {
        self.uplink.is_some()
    }

    /// A frame came from a meter: what its link knows by now.
    fn note_answer(&mut self, link: LinkId, frame: &[u8], now: Instant) -> LinkQuality {
        let Some(talk) = self.meters.get_mut(&link) else {
            return LinkQuality::default();
        };
        talk.has_spoken = true;
        talk.answered(frame, now);
        LinkQuality {
            response_ms: talk.response_ms,
            ..LinkQuality::default()
        }
    }

    fn carry_up(&mut self, uplink: Uplink) {
        let push = wrapper::Frame::decode(&uplink.frame)
            .ok()
            .filter(|frame| frame.destination == WPort::PRE_ESTABLISHED_CLIENT);
        if let Some(push) = push {
            let claimed = CipheredApdu::decode(push.apdu).map(|apdu| Whose::Title(apdu.title));
            let about = About {
                whose: claimed.unwrap_or(Whose::Unknown),
                time: uplink.received,
            };
            let taken = self
                .spool
                .append(Lane::Readings, about, &encode_uplink(&uplink));
            if let Err(error) = taken {
                tracing::warn!(%error, "a push is given up");
            }
        } else if let Some(link) = self.uplink {
            self.counters.carried_up += 1;
            self.outbox.push_back(Output::Send {
                link,
                frame: Message::Uplink(uplink).encode(),
            });
        } else {
            self.counters.strayed += 1;
        }
    }

    /// Sends what waits, several frames in one envelope, and has the disk do what is due.
    fn pump(
        &mut self,
        Now {
            instant: now,
            utc: wall,
        }: Now,
    ) {
        self.gaps.take_from(&mut self.spool, (now, wall));
        if let Some(link) = self.uplink {
            for frame in self.gaps.sendings(&mut self.spool, now) {
                self.outbox.push_back(Output::Send { link, frame });
            }
            let mut some = Together::default();
            while let Some(delivery) = self.spool.next(Lane::Readings, now) {
                self.counters.carried_up += 1;
                if !some.has_room_for(&delivery) {
                    self.send_up(link, std::mem::take(&mut some));
                }
                some.push(delivery);
            }
            self.send_up(link, some);
        }
        while let Some(effect) = self.spool.poll_effect(now) {
            self.outbox
                .push_back(Output::Disk(DiskRequest::Spool(effect)));
        }
    }

    fn send_up(&mut self, link: LinkId, some: Together) {
        if !some.frames.is_empty() {
            let frame = Message::spooled_of(some.first, &some.frames);
            self.outbox.push_back(Output::Send { link, frame });
        }
    }

    /// A line that the edge knows is gone, or one that had to be closed. Without an edge nobody
    /// needs to know: it forgets every line of a gateway that is gone.
    fn tell_gone(&mut self, line: LinkId, talk: &Talk) {
        self.counters.lines_closed += u64::from(talk.closed.is_some());
        if let Some(link) = self.uplink
            && (talk.has_spoken || talk.closed.is_some())
        {
            let gone = Message::LineGone {
                path: line.0,
                closed: talk.closed,
            };
            self.outbox.push_back(Output::Send {
                link,
                frame: gone.encode(),
            });
        }
    }

    fn carry_down(&mut self, edge: LinkId, frame: &[u8], now: Instant) {
        match Message::decode(frame) {
            Ok(Message::Taken { first, count }) => {
                for number in first..first + u64::from(count) {
                    self.spool.acknowledge(Lane::Readings, number, now);
                }
            }
            Ok(Message::GapsTaken(gaps)) => self.gaps.taken(&mut self.spool, &gaps, now),
            Ok(Message::Downlink { path, frame }) => {
                let link = LinkId(path);
                if let Some(talk) = self.meters.get_mut(&link) {
                    talk.asked(&frame, now);
                    self.counters.carried_down += 1;
                    self.outbox.push_back(Output::Send { link, frame });
                } else {
                    self.counters.undeliverable += 1;
                }
            }
            Ok(Message::Hello { .. }) => {}
            Ok(_) | Err(_) => {
                self.counters.malformed += 1;
                self.outbox.push_back(Output::Close {
                    link: edge,
                    reason: "the edge sent an envelope a gateway does not take",
                });
            }
        }
    }
}

impl Node for GatewayNode {
    fn handle(&mut self, input: Input, now: Now) {
        assert!(
            self.outbox.is_empty(),
            "the host drains outputs between inputs"
        );
        match input {
            Input::LinkUp {
                link,
                port: Port::Down,
            } => {
                self.meters.insert(link, Talk::default());
            }
            Input::LinkUp {
                link,
                port: Port::Up,
            } => {
                self.uplink = Some(link);
                self.outbox.push_back(Output::Send {
                    link,
                    frame: Message::hello(Role::Gateway, &self.name).encode(),
                });
                self.spool.rewind();
            }
            // It dials nobody by itself.
            Input::LinkUp {
                port: Port::Dialled(_) | Port::Push(_),
                ..
            }
            | Input::DialFailed { .. } => {}
            Input::LinkFault { link, closed } => {
                if let Some(talk) = self.meters.get_mut(&link) {
                    talk.closed = Some(closed);
                }
            }
            Input::LinkDown { link } => {
                if let Some(talk) = self.meters.remove(&link) {
                    self.tell_gone(link, &talk);
                }
                if self.uplink == Some(link) {
                    self.uplink = None;
                    self.spool.rewind();
                }
            }
            Input::Frame { link, frame } if self.uplink == Some(link) => {
                self.carry_down(link, &frame, now.instant);
            }
            Input::Frame { link, frame } => {
                let known = self.note_answer(link, &frame, now.instant);
                self.carry_up(Uplink {
                    path: link.0,
                    received: now.utc,
                    link: known,
                    frame,
                });
            }
            Input::Disk(DiskReply::Spool(outcome)) => {
                if let SpoolOutcome::Failed(error) = &outcome {
                    tracing::error!(%error, "the gateway's spool; again soon");
                }
                self.spool.handle(outcome, now.instant);
            }
            Input::Disk(
                DiskReply::Done { .. }
                | DiskReply::Ledger(_)
                | DiskReply::Answer { .. }
                | DiskReply::Operations { .. }
                | DiskReply::Pair(_),
            ) => {}
            Input::Timeout => self.spool.handle_timeout(now.instant),
        }
        self.pump(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    fn wake(&self) -> Wake {
        self.spool.wake()
    }
}

/// Frames of one envelope, with consecutive numbers.
#[derive(Debug, Default)]
struct Together {
    first: u64,
    frames: Vec<Arc<[u8]>>,
    bytes: usize,
}

impl Together {
    fn has_room_for(&self, delivery: &Delivery) -> bool {
        self.frames.is_empty()
            || (self.first + self.frames.len() as u64 == delivery.number
                && self.frames.len() < GatewayNode::TOGETHER_MAX
                && self.bytes + delivery.bytes.len() <= GatewayNode::TOGETHER_BYTES_MAX)
    }

    fn push(&mut self, delivery: Delivery) {
        if self.frames.is_empty() {
            self.first = delivery.number;
        }
        self.bytes += delivery.bytes.len();
        self.frames.push(delivery.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridloom_core::UtcTime;
    use gridloom_edge::LineFault;

    const NOW: Now = Now {
        instant: Instant::ZERO,
        utc: UtcTime::from_secs(0),
    };
    const METER: LinkId = LinkId(7);
    const EDGE: LinkId = LinkId(9);

    fn drain(node: &mut GatewayNode) -> Vec<Output> {
        std::iter::from_fn(|| node.poll_output()).collect()
    }

    fn give(node: &mut GatewayNode, input: Input) -> Vec<Output> {
        node.handle(input, NOW);
        drain(node)
    }

    fn up(link: LinkId, port: Port) -> Input {
        Input::LinkUp { link, port }
    }

    fn push(byte: u8) -> Vec<u8> {
        wrapper::Frame {
            source: WPort::MANAGEMENT,
            destination: WPort::PRE_ESTABLISHED_CLIENT,
            apdu: &[byte],
        }
        .to_bytes()
    }

    fn from_meter(byte: u8) -> Input {
        Input::Frame {
            link: METER,
            frame: push(byte),
        }
    }

    /// What goes up to be kept: the number of the first, and the frames.
    fn spooled(outputs: &[Output]) -> Vec<(u64, Vec<Vec<u8>>)> {
        let mut spooled = Vec::new();
        for output in outputs {
            if let Output::Send { link: EDGE, frame } = output
                && let Ok(Message::Spooled { first, uplinks }) = Message::decode(frame)
            {
                assert!(uplinks.iter().all(|uplink| uplink.path == METER.0));
                let frames = uplinks.into_iter().map(|uplink| uplink.frame);
                spooled.push((first, frames.collect()));
            }
        }
        spooled
    }

    fn taken(first: u64, count: u16) -> Input {
        Input::Frame {
            link: EDGE,
            frame: Message::Taken { first, count }.encode(),
        }
    }

    #[test]
    fn pushes_wait_for_an_edge_keep_their_order_and_come_again_until_they_are_taken() {
        let mut node = GatewayNode::new("gw-1".into());
        give(&mut node, up(METER, Port::Down));
        for byte in 0..3 {
            assert_eq!(give(&mut node, from_meter(byte)), []);
        }
        let sent = give(&mut node, up(EDGE, Port::Up));
        let first = (1, (0..3).map(push).collect::<Vec<_>>());
        assert_eq!(spooled(&sent), [first]);
        let sent = give(&mut node, from_meter(3));
        assert_eq!(spooled(&sent), [(4, vec![push(3)])]);
        give(&mut node, taken(1, 2));
        give(&mut node, taken(4, 1));
        give(&mut node, Input::LinkDown { link: EDGE });
        let sent = give(&mut node, up(EDGE, Port::Up));
        assert_eq!(spooled(&sent), [(3, vec![push(2)])]);
        assert_eq!(node.counters().carried_up, 5);
    }

    #[test]
    fn a_push_goes_to_the_disk_too_and_an_answer_does_not() {
        let (spool, _) = Spool::recover(SpoolConfig::default(), Vec::new());
        let mut node = GatewayNode::with_spool("gw-1".into(), spool);
        give(&mut node, up(METER, Port::Down));
        assert!(matches!(
            give(&mut node, from_meter(1))[..],
            [Output::Disk(DiskRequest::Spool(_))]
        ));
        let answer = wrapper::Frame {
            source: WPort::MANAGEMENT,
            destination: WPort::PUBLIC_CLIENT,
            apdu: &[1],
        };
        let answer = Input::Frame {
            link: METER,
            frame: answer.to_bytes(),
        };
        assert_eq!(give(&mut node, answer), []);
        assert_eq!(node.counters().strayed, 1);
    }

    #[test]
    fn a_full_backlog_gives_up_its_oldest_and_counts_it() {
        let mut node = GatewayNode::new("gw-1".into());
        give(&mut node, up(METER, Port::Down));
        let mut pushed = 0;
        while node.counters().backlog_dropped == 0 {
            give(&mut node, from_meter(1));
            pushed += 1;
            assert!(pushed < 1_000_000, "there is a bound");
        }
        // The gap's name lies there too, and displaced another one.
        assert!(node.gaps().0 == 1 && node.spool().waiting < pushed);
        assert!(node.spool().bytes <= GatewayNode::MEMORY.bytes_max);
        let sent = spooled(&give(&mut node, up(EDGE, Port::Up)));
        let count: usize = sent.iter().map(|(_, frames)| frames.len()).sum();
        assert_eq!(count, GatewayNode::MEMORY.in_flight_max);
        assert!(sent[0].0 > 1, "the oldest is gone");
    }

    #[test]
    fn answers_find_their_meter_or_are_counted() {
        let mut node = GatewayNode::new("gw-1".into());
        give(&mut node, up(METER, Port::Down));
        give(&mut node, up(EDGE, Port::Up));
        let down = |path| Input::Frame {
            link: EDGE,
            frame: Message::Downlink {
                path,
                frame: vec![5],
            }
            .encode(),
        };
        assert_eq!(
            give(&mut node, down(METER.0)),
            [Output::Send {
                link: METER,
                frame: vec![5]
            }]
        );
        give(&mut node, Input::LinkDown { link: METER });
        assert_eq!(give(&mut node, down(METER.0)), []);
        assert_eq!(node.counters().undeliverable, 1);
    }

    #[test]
    fn the_edge_hears_of_lines_that_it_knows_and_of_those_that_had_to_be_closed() {
        let closed = ClosedLine {
            fault: LineFault::PartialFrame,
            address: Some([192, 0, 2, 7].into()),
        };
        // Whether it has spoken, what it was closed for, and what the edge hears.
        let cases = [
            (false, None, None),
            (true, None, Some(None)),
            (false, Some(closed), Some(Some(closed))),
            (true, Some(closed), Some(Some(closed))),
        ];
        for (has_spoken, closed, heard) in cases {
            let mut node = GatewayNode::new("gw-1".into());
            give(&mut node, up(EDGE, Port::Up));
            give(&mut node, up(METER, Port::Down));
            if has_spoken {
                give(&mut node, from_meter(1));
            }
            if let Some(closed) = closed {
                let fault = Input::LinkFault {
                    link: METER,
                    closed,
                };
                assert_eq!(give(&mut node, fault), []);
            }
            let sent = give(&mut node, Input::LinkDown { link: METER });
            let told: Vec<Message> = sent
                .iter()
                .map(|output| {
                    let Output::Send { link: EDGE, frame } = output else {
                        panic!("{output:?}");
                    };
                    Message::decode(frame).unwrap()
                })
                .collect();
            let path = METER.0;
            let expected = heard.map(|closed| Message::LineGone { path, closed });
            assert_eq!(told, Vec::from_iter(expected));
            assert_eq!(node.counters().lines_closed, u64::from(closed.is_some()));
        }
    }

    #[test]
    fn an_edge_that_talks_rubbish_is_hung_up_on() {
        let mut node = GatewayNode::new("gw-1".into());
        give(&mut node, up(EDGE, Port::Up));
        let rubbish = Input::Frame {
            link: EDGE,
            frame: vec![0xFF; 9],
        };
        assert!(matches!(
            give(&mut node, rubbish)[..],
            [Output::Close { link: EDGE, .. }]
        ));
        assert_eq!(node.counters().malformed, 1);
    }
}
