//! The gateway (data concentrator): carries its meters' frames to an edge and the answers back.
//! It holds no keys and believes nothing.
//!
//! What meters push is kept in a spool until the edge has taken it: it has the readings durable, or
//! has decided that there are none. What a meter answers to another client is not kept, because its
//! client has given up waiting by the time it would arrive.
//!
//! A gateway with a backup edge keeps both links and uses one. What an edge has taken and not
//! answered goes to the next one, before what no edge has taken: what comes twice is stored once.
//! The next edge also hears whose lines these are, so that commands find their way before the
//! meters speak.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use gridloom_core::{Instant, Now, SystemTitle, Wake};
use gridloom_dlms::security::CipheredApdu;
use gridloom_dlms::wrapper::{self, WPort};
use gridloom_edge::{ClosedLine, LinkQuality};
use gridloom_store::Spool;
use gridloom_store::spool::{
    About, Delivery, Gap, Lane, SpoolConfig, SpoolOutcome, SpoolStatus, Whose,
};

use crate::delay::{SAMPLE_ONE_IN, SAMPLES_WAITING_MAX, Transit};
use crate::envelope::carried::encode_uplink;
use crate::envelope::{LIST_MAX, Message, Role, Uplink};
use crate::gap_book::GapBook;
use crate::node::{DiskReply, DiskRequest, Input, LinkId, Node, Output, Port};
use crate::paths::{PathAct, Paths, PathsConfig, PathsStatus, Rank};

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
    /// Frames that one edge had taken and another got as well, because nobody answered them.
    pub sent_again: u64,
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
    /// What it pushed, and no edge has answered, with the numbers in the spool; only where there
    /// is a backup edge.
    unanswered: VecDeque<(u64, Uplink)>,
    /// The title in its last push, which proves nothing.
    claims: Option<SystemTitle>,
    /// The title that it claimed when an edge answered it, which edges do only where they believe.
    is_known_as: Option<SystemTitle>,
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
    paths: Paths,
    /// Whether it was told of a backup edge.
    has_backup: bool,
    /// Of all lines together.
    unanswered: usize,
    /// After so long without an edge its meters are sent to their alternate gateway.
    releases_after: Option<Duration>,
    /// When that is.
    released_at: Option<Instant>,
    /// It takes no meters, because it has no edge for them.
    has_released: bool,
    meters: BTreeMap<LinkId, Talk>,
    spool: Spool,
    gaps: GapBook,
    /// Of so many pushes one is measured; none if zero.
    sample_one_in: u32,
    /// When the measured ones came, by their numbers in the spool.
    sampled: BTreeMap<u64, Instant>,
    transit: Transit,
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

    /// Pushes of one line that are kept until an edge answers: as many as a meter has under way.
    /// Beyond it the oldest is forgotten; its meter pushes it again.
    pub const UNANSWERED_PER_LINE_MAX: usize = 8;

    /// Pushes of all lines together. Further ones are not kept; their meters push them again.
    pub const UNANSWERED_MAX: usize = 16_384;

    /// A gateway called `name` that keeps what it has in memory, [`Self::MEMORY`] of it.
    pub fn new(name: String) -> Self {
        Self::with_spool(name, Spool::in_memory(Self::MEMORY))
    }

    /// A gateway called `name` that keeps what meters push in `spool`.
    pub fn with_spool(name: String, spool: Spool) -> Self {
        // Of one edge nothing is asked: its link stands or does not.
        let alone = PathsConfig {
            heartbeat_every: None,
            ..PathsConfig::TIERS
        };
        Self {
            name,
            uplink: None,
            paths: Paths::new(alone),
            has_backup: false,
            unanswered: 0,
            releases_after: None,
            released_at: None,
            has_released: false,
            meters: BTreeMap::new(),
            spool,
            gaps: GapBook::default(),
            sample_one_in: SAMPLE_ONE_IN,
            sampled: BTreeMap::new(),
            transit: Transit::new(),
            counters: GatewayCounters::default(),
            outbox: VecDeque::new(),
        }
    }

    /// Measures the delay of one push in so many, none if zero; of one in [`SAMPLE_ONE_IN`]
    /// without this.
    #[must_use]
    pub fn sampling(mut self, one_in: u32) -> Self {
        self.sample_one_in = one_in;
        self
    }

    /// Knows a backup edge too, on [`Port::Backup`].
    ///
    /// # Panics
    ///
    /// If the configuration does not pass [`PathsConfig::check`].
    #[must_use]
    pub fn with_backup(mut self, config: PathsConfig) -> Self {
        self.paths = Paths::new(config);
        self.has_backup = true;
        self
    }

    /// Its meters have alternate gateways: after so long without any edge it closes their lines,
    /// and closes every further one at once until an edge is there again. Without this it buffers.
    #[must_use]
    pub fn releasing_after(mut self, alone: Duration) -> Self {
        self.releases_after = Some(alone);
        self
    }

    /// Which of its ways up it uses.
    pub fn paths(&self) -> PathsStatus {
        self.paths.status()
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

    /// A push that is to go up is kept until an edge answers it.
    fn keep(&mut self, number: u64, uplink: Uplink, claims: Option<SystemTitle>) {
        let line = LinkId(uplink.path);
        let Some(talk) = self.meters.get_mut(&line).filter(|_| self.has_backup) else {
            return;
        };
        talk.claims = claims;
        if talk.unanswered.len() >= Self::UNANSWERED_PER_LINE_MAX {
            talk.unanswered.pop_front();
            self.unanswered -= 1;
        }
        if self.unanswered < Self::UNANSWERED_MAX {
            talk.unanswered.push_back((number, uplink));
            self.unanswered += 1;
        }
    }

    /// Another edge has the meters now, or none: it hears whose lines they are, and gets what the
    /// one before has taken and did not answer. What none has taken follows from the spool.
    fn move_to(&mut self, from: Option<LinkId>, to: Option<LinkId>) {
        self.uplink = to;
        self.spool.rewind();
        if let Some(link) = from {
            self.send(link, &Message::Duty { is_active: false });
        }
        let Some(link) = to.filter(|_| self.has_backup) else {
            return;
        };
        self.send(link, &Message::Duty { is_active: true });
        let lines = self.meters.iter();
        let lines: Vec<(u64, SystemTitle)> = lines
            .filter_map(|(line, talk)| Some((line.0, talk.is_known_as?)))
            .collect();
        for some in lines.chunks(LIST_MAX) {
            self.send(link, &Message::Lines(some.to_vec()));
        }
        let unanswered = self.meters.values().flat_map(|talk| &talk.unanswered);
        let again: Vec<Uplink> = unanswered
            .filter(|(number, _)| !self.spool.holds(Lane::Readings, *number))
            .map(|(_, uplink)| uplink.clone())
            .collect();
        self.counters.sent_again += again.len() as u64;
        for uplink in again {
            self.send(link, &Message::Uplink(uplink));
        }
    }

    /// Notes since when there is no edge, and lets the meters go in time.
    fn release(&mut self, now: Instant) {
        let Some(after) = self.releases_after else {
            return;
        };
        if self.uplink.is_some() {
            self.released_at = None;
            self.has_released = false;
        } else if *self.released_at.get_or_insert(now + after) <= now && !self.has_released {
            self.has_released = true;
            let lines: Vec<LinkId> = self.meters.keys().copied().collect();
            for link in lines {
                self.close_line(link);
            }
        }
    }

    fn close_line(&mut self, link: LinkId) {
        let reason = "no edge is reachable; the meter has another gateway";
        self.outbox.push_back(Output::Close { link, reason });
    }

    fn send(&mut self, link: LinkId, message: &Message) {
        self.outbox.push_back(Output::Send {
            link,
            frame: message.encode(),
        });
    }

    /// A way up stands: both of them hear who this is, and one that it has the meters.
    fn greet(&mut self, rank: Rank, link: LinkId, now: Instant) {
        self.send(link, &Message::hello(Role::Gateway, &self.name));
        if self.has_backup {
            // Until it is told otherwise.
            self.send(link, &Message::Duty { is_active: false });
        }
        self.paths.handle_up(rank, link, now);
    }

    fn follow_paths(&mut self, now: Instant) {
        while let Some(act) = self.paths.poll_act() {
            match act {
                PathAct::Heartbeat { link, number } => {
                    let every = self.paths.config().heartbeat_every.unwrap_or_default();
                    let every_ms = u32::try_from(every.as_millis()).unwrap_or(u32::MAX);
                    self.send(link, &Message::Heartbeat { number, every_ms });
                }
                PathAct::Close { link } => {
                    let reason = "the edge does not answer heartbeats";
                    self.outbox.push_back(Output::Close { link, reason });
                }
                PathAct::Moved { from, to } => {
                    tracing::info!(gateway = %self.name, paths = ?self.paths.status(), "way up");
                    self.move_to(from, to);
                    match to {
                        Some(_) => self.transit.up(now),
                        None => self.transit.down(),
                    }
                }
            }
        }
    }

    fn carry_up(&mut self, uplink: Uplink, now: Instant) {
        let push = wrapper::Frame::decode(&uplink.frame)
            .ok()
            .filter(|frame| frame.destination == WPort::PRE_ESTABLISHED_CLIENT);
        if let Some(push) = push {
            let claims = CipheredApdu::decode(push.apdu).map(|apdu| apdu.title).ok();
            let about = About {
                whose: claims.map_or(Whose::Unknown, Whose::Title),
                time: uplink.received,
            };
            let taken = self
                .spool
                .append(Lane::Readings, about, &encode_uplink(&uplink));
            match taken {
                Ok(number) => {
                    self.sample(number, now);
                    self.keep(number, uplink, claims);
                }
                Err(error) => tracing::warn!(%error, "a push is given up"),
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

    fn sample(&mut self, number: u64, now: Instant) {
        let one_in = u64::from(self.sample_one_in);
        if one_in > 0 && number.is_multiple_of(one_in) && self.sampled.len() < SAMPLES_WAITING_MAX {
            self.sampled.insert(number, now);
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
        if self.gaps.take_from(&mut self.spool, (now, wall)) {
            let spool = &self.spool;
            self.sampled
                .retain(|number, _| spool.holds(Lane::Readings, *number));
        }
        if let Some(link) = self.uplink {
            for frame in self.gaps.sendings(&mut self.spool, now) {
                self.outbox.push_back(Output::Send { link, frame });
            }
            let mut some = Together::default();
            while let Some(delivery) = self.spool.next(Lane::Readings, now) {
                self.counters.carried_up += 1;
                if !some.has_room_for(&delivery) {
                    self.send_up(link, std::mem::take(&mut some), now);
                }
                some.push(delivery);
            }
            self.send_up(link, some, now);
        }
        while let Some(effect) = self.spool.poll_effect(now) {
            self.outbox
                .push_back(Output::Disk(DiskRequest::Spool(effect)));
        }
    }

    fn send_up(&mut self, link: LinkId, some: Together, now: Instant) {
        if !some.frames.is_empty() {
            let numbers = some.first..some.first + some.frames.len() as u64;
            let sampled = self.sampled.range(numbers);
            let half = self.transit.half();
            let held: Vec<_> = sampled
                .map(|(number, came)| (*number, now.since(*came) + half))
                .collect();
            if !held.is_empty() {
                let frame = Message::Held(held).encode();
                self.outbox.push_back(Output::Send { link, frame });
            }
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
                    self.sampled.remove(&number);
                }
            }
            Ok(Message::Echoed { number }) => self.transit.echoed(number, now),
            Ok(Message::GapsTaken(gaps)) => self.gaps.taken(&mut self.spool, &gaps, now),
            Ok(Message::Downlink { path, frame }) => {
                let link = LinkId(path);
                if let Some(talk) = self.meters.get_mut(&link) {
                    talk.asked(&frame, now);
                    if self.has_backup && is_of_edge(&frame) {
                        talk.is_known_as = talk.claims.or(talk.is_known_as);
                        self.unanswered -= usize::from(talk.unanswered.pop_front().is_some());
                    }
                    self.counters.carried_down += 1;
                    self.outbox.push_back(Output::Send { link, frame });
                } else {
                    self.counters.undeliverable += 1;
                }
            }
            Ok(Message::Alive { .. }) => self.paths.handle_alive(edge, now),
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

/// Whether a frame for a meter is the edge's own, and no client's that it carries.
fn is_of_edge(frame: &[u8]) -> bool {
    wrapper::Frame::decode(frame).is_ok_and(|frame| frame.source == WPort::PRE_ESTABLISHED_CLIENT)
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
                if self.has_released {
                    self.close_line(link);
                }
            }
            Input::LinkUp {
                link,
                port: Port::Up,
            } => self.greet(Rank::Primary, link, now.instant),
            Input::LinkUp {
                link,
                port: Port::Backup,
            } => self.greet(Rank::Backup, link, now.instant),
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
                    self.unanswered -= talk.unanswered.len();
                    self.tell_gone(link, &talk);
                }
                self.paths.handle_down(link, now.instant);
            }
            // An edge that had the meters until now may still answer them.
            Input::Frame { link, frame } if self.paths.knows(link) => {
                self.carry_down(link, &frame, now.instant);
            }
            Input::Frame { link, frame } => {
                if !self.meters.contains_key(&link) {
                    // From an edge whose link was given up.
                    return;
                }
                let known = self.note_answer(link, &frame, now.instant);
                let uplink = Uplink {
                    path: link.0,
                    received: now.utc,
                    link: known,
                    frame,
                };
                self.carry_up(uplink, now.instant);
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
            Input::Timeout => {
                self.paths.handle_timeout(now.instant);
                self.spool.handle_timeout(now.instant);
            }
        }
        self.follow_paths(now.instant);
        if let Some(link) = self.uplink
            && let Some(number) = self.transit.handle_timeout(now.instant)
        {
            self.send(link, &Message::Echo { number });
        }
        self.release(now.instant);
        self.pump(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    fn wake(&self) -> Wake {
        let release = self.released_at.filter(|_| !self.has_released);
        let release = Wake {
            instant: release.map(|at| (at, "let the meters go")),
            utc: None,
        };
        let transit = Wake {
            instant: self.transit.wake(),
            utc: None,
        };
        self.spool
            .wake()
            .earliest(self.paths.wake())
            .earliest(release)
            .earliest(transit)
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
