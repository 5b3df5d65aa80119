//! A member of a head-end pair: the keeper of its seat and of the second copy.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use gridloom_core::{Instant, Now, Wake, bytes::Reader};

use super::follower::{Follower, FollowerOutput};
use super::mirror::{Mirror, MirrorOutput, PeerState};
use super::seat::{Seat, SeatOutput, Voter};
use super::status::{PairStatus, Standing};
use super::witness::{Witness, WitnessRecord};
use crate::envelope::pair::{Ask, Epoch, History, PairMessage, Place, Vote, Wanted};
use crate::envelope::{Message, Role};
use crate::node::{
    DiskReply, DiskRequest, Input, LinkId, Node, Output, PairReply, PairRequest, Port,
};

/// What a member is told once.
#[derive(Debug, Clone)]
pub struct PairConfig {
    /// Which member it is.
    pub place: Place,
    /// Its name, as its certificate has it.
    pub name: String,
    /// The edges that witness, by name; the same in both members.
    pub edges: BTreeSet<String>,
    /// How long it lets the other member go first after its start.
    pub stand_back: Duration,
}

/// The record of a member is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "pair record: 33 bytes expected; remove the file on this member alone, and let it be given a \
     new copy by the other one"
)]
pub struct PairError;

/// What a member keeps durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    place: Place,
    witness: WitnessRecord,
    history: History,
}

impl Record {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.witness.encode();
        bytes.extend(self.history.epoch.0.to_be_bytes());
        bytes.extend(self.history.alone.to_be_bytes());
        bytes.push(match self.place {
            Place::First => 1,
            Place::Second => 2,
        });
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (witness, history) = bytes.split_at_checked(bytes.len().checked_sub(13)?)?;
        let mut from = Reader::new(history);
        Some(Self {
            witness: WitnessRecord::decode(witness)?,
            history: History {
                epoch: Epoch(from.u64().ok()?),
                alone: from.u32().ok()?,
            },
            place: match from.u8().ok()? {
                1 => Place::First,
                2 => Place::Second,
                _ => return None,
            },
        })
    }

    /// The record of a directory that was copied from the other member says nothing of this one's
    /// data; what was promised stays promised.
    fn of(self, place: Place) -> Self {
        match self.place == place {
            true => self,
            false => Self {
                place,
                history: History::NONE,
                ..self
            },
        }
    }

    /// Of a member that starts for the first time: the first one's data is the pair's.
    const fn new(place: Place) -> Self {
        Self {
            place,
            witness: WitnessRecord::NEW,
            history: match place {
                Place::First => History::FOUNDING,
                Place::Second => History::NONE,
            },
        }
    }
}

/// Who is at the other end of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Who {
    Unknown,
    Peer,
    Edge(String),
}

/// What leaves once the record is durable.
#[derive(Debug)]
enum Held {
    Vote { to: Option<LinkId>, vote: Vote },
    Kept(History),
}

/// What a disk request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Record(u64),
    Nothing,
    Copy,
    Read,
    Take,
    Install,
    Apply,
}

#[derive(Debug)]
enum Part {
    Standby(Follower),
    Active(Box<Mirror>),
}

/// A member of a head-end pair.
#[derive(Debug)]
pub struct MemberNode {
    config: PairConfig,
    witness: Witness,
    seat: Seat,
    part: Part,
    written: Record,
    writes: u64,
    durable: u64,
    held: VecDeque<(u64, Held)>,
    links: BTreeMap<LinkId, Who>,
    peer: Option<LinkId>,
    peer_heard: Instant,
    asked: BTreeMap<u64, Asked>,
    tickets: u64,
    /// When the other member was told last that this one lives.
    beat_at: Instant,
    outbox: VecDeque<Output>,
}

impl MemberNode {
    /// A member that says nothing for so long is taken to be away.
    pub const SILENCE_MAX: Duration = Duration::from_millis(1_500);

    /// How often members tell each other that they live.
    const BEAT_EVERY: Duration = Duration::from_millis(400);

    /// Answers that wait for the disk; further ones are dropped, and asked for again.
    const HELD_MAX: usize = 256;

    /// A member with the record that it kept; none at its first start.
    ///
    /// # Errors
    ///
    /// If the record is damaged.
    pub fn new(config: PairConfig, record: Option<&[u8]>, now: Now) -> Result<Self, PairError> {
        let record = match record {
            Some(bytes) => Record::decode(bytes).ok_or(PairError)?.of(config.place),
            None => Record::new(config.place),
        };
        let (at, promised) = (now.instant, record.witness.promised);
        let edges = config.edges.iter().cloned();
        let mut seat = Seat::new(config.place, edges, record.history, promised, at);
        seat.stand_back(at, config.stand_back);
        Ok(Self {
            witness: Witness::new(record.witness, at),
            seat,
            part: Part::Standby(Follower::new()),
            written: record,
            writes: 0,
            durable: 0,
            held: VecDeque::new(),
            links: BTreeMap::new(),
            peer: None,
            peer_heard: at,
            asked: BTreeMap::new(),
            tickets: 0,
            beat_at: at,
            outbox: VecDeque::new(),
            config,
        })
    }

    /// What an operator sees.
    pub fn status(&self, now: Now) -> PairStatus {
        let at = now.instant;
        let standing = match (self.seat.over(), &self.part) {
            (Some(why), _) => Standing::Over { why },
            (None, Part::Active(_)) => Standing::Active,
            (None, Part::Standby(_)) => Standing::Standby,
        };
        let connected = |name: &String| {
            let mut links = self.links.values();
            links.any(|who| *who == Who::Edge(name.clone()))
        };
        let (entries, settled, copies) = match &self.part {
            Part::Active(mirror) => (mirror.carried(), mirror.released(), mirror.copies()),
            Part::Standby(follower) => {
                let (received, applied) = follower.progress();
                (received, applied, 0)
            }
        };
        PairStatus {
            place: self.config.place,
            standing,
            epoch: self.seat.epoch(at).unwrap_or(self.witness.promised()),
            history: self.seat.history(),
            lease_left: self
                .seat
                .lease_end()
                .map_or(Duration::ZERO, |end| end.since(at)),
            is_alone: self.seat.is_alone(),
            peer: match (&self.part, self.peer) {
                (_, None) => PeerState::Away,
                (Part::Active(mirror), Some(_)) => mirror.peer(),
                (Part::Standby(_), Some(_)) => PeerState::Idle,
            },
            edges: self
                .config
                .edges
                .iter()
                .map(|name| (name.clone(), connected(name)))
                .collect(),
            entries,
            settled,
            copies,
        }
    }

    /// The epoch in which this member may act, and until when; none while it may not.
    pub fn reign(&self, now: Now) -> Option<(Epoch, Instant)> {
        let Part::Active(_) = self.part else {
            return None;
        };
        let epoch = self.seat.epoch(now.instant)?;
        Some((epoch, self.seat.lease_end()?))
    }

    /// Stops being active in favour of the other member, at once. The nodes of this process must
    /// have been stopped before. Says whether it was done: only to a standby that holds
    /// everything.
    pub fn hand_over(&mut self, now: Now) -> bool {
        let Part::Active(mirror) = &self.part else {
            return false;
        };
        let Some(epoch) = self.seat.epoch(now.instant).filter(|_| mirror.is_in_step()) else {
            return false;
        };
        self.seat.resign("handed over to the other member");
        if let Some(peer) = self.peer {
            self.say(peer, PairMessage::TakeOver { epoch });
        }
        self.settle(now);
        true
    }

    fn send(&mut self, link: LinkId, message: &Message) {
        self.outbox.push_back(Output::Send {
            link,
            frame: message.encode(),
        });
    }

    fn say(&mut self, link: LinkId, message: PairMessage) {
        self.send(link, &Message::Pair(message));
    }

    fn close(&mut self, link: LinkId, reason: &'static str, now: Now) {
        self.outbox.push_back(Output::Close { link, reason });
        self.forget(link, now);
    }

    fn forget(&mut self, link: LinkId, now: Now) {
        self.links.remove(&link);
        if self.peer == Some(link) {
            self.peer = None;
            tracing::warn!(place = ?self.config.place, "the other member of the pair is away");
            match &mut self.part {
                Part::Active(mirror) => {
                    if mirror.handle_peer_down() {
                        tracing::warn!("DEGRADED: this head-end goes on alone, without a standby");
                        self.seat.go_alone();
                    }
                }
                Part::Standby(follower) => follower.handle_link(),
            }
        }
        self.settle(now);
    }

    fn ask_disk(&mut self, what: Asked, request: impl FnOnce(u64) -> PairRequest) {
        self.tickets += 1;
        self.asked.insert(self.tickets, what);
        let request = DiskRequest::Pair(request(self.tickets));
        self.outbox.push_back(Output::Disk(request));
    }

    /// Gives the record to the disk where it has changed.
    fn write(&mut self) {
        let record = Record {
            place: self.config.place,
            witness: self.witness.record(),
            history: self.seat.history(),
        };
        if record == self.written {
            return;
        }
        self.written = record;
        self.writes += 1;
        let bytes = record.encode();
        self.ask_disk(Asked::Record(self.writes), |ticket| PairRequest::Keep {
            ticket,
            bytes,
        });
    }

    fn hold(&mut self, held: Held) {
        self.write();
        if self.held.len() < Self::HELD_MAX {
            self.held.push_back((self.writes, held));
        }
    }

    fn vote(&mut self, to: Option<LinkId>, ask: Ask, now: Now) {
        let vote = self.witness.handle(ask, now.instant);
        self.hold(Held::Vote { to, vote });
    }

    fn take_frame(&mut self, link: LinkId, frame: &[u8], now: Now) {
        let Some(who) = self.links.get(&link).cloned() else {
            return;
        };
        match (who, Message::decode(frame)) {
            (
                Who::Unknown,
                Ok(Message::Hello {
                    role: Role::Edge,
                    name,
                    ..
                }),
            ) => {
                self.links.insert(link, Who::Edge(name));
            }
            // A greeting of the other member, for the certificate's sake.
            (
                Who::Unknown | Who::Peer,
                Ok(Message::Hello {
                    role: Role::Utility,
                    ..
                }),
            ) => {}
            (Who::Unknown | Who::Peer, Ok(Message::Pair(PairMessage::Here { place, active })))
                if place == self.config.place.other() =>
            {
                self.take_here(link, active, now);
            }
            (Who::Edge(name), Ok(Message::Pair(PairMessage::Vote(vote)))) => {
                self.seat.handle_vote(Voter::Edge(name), vote, now.instant);
            }
            (Who::Peer, Ok(Message::Pair(message))) if self.peer == Some(link) => {
                self.peer_heard = now.instant;
                self.take_from_peer(link, message, now);
            }
            (_, _) => {
                let reason = "neither an edge nor the other member of this pair speaks so";
                self.close(link, reason, now);
            }
        }
    }

    /// The other member greets, or says that it lives.
    fn take_here(&mut self, link: LinkId, active: Option<Epoch>, now: Now) {
        self.peer_heard = now.instant;
        if self.peer == Some(link) {
            return;
        }
        if let Some(former) = self.peer {
            self.close(former, "the other member has connected anew", now);
        }
        tracing::info!(place = ?self.config.place, "the other member of the pair is there");
        self.links.insert(link, Who::Peer);
        self.peer = Some(link);
        self.beat(now);
        match &mut self.part {
            Part::Active(mirror) if active.is_none() => mirror.handle_peer_up(),
            Part::Active(_) => {}
            Part::Standby(follower) => follower.handle_link(),
        }
    }

    fn take_from_peer(&mut self, link: LinkId, message: PairMessage, now: Now) {
        match (&mut self.part, message) {
            (_, PairMessage::Ask(ask)) => {
                if ask.what != Wanted::Opinion {
                    // While it renews its lease there is nothing to win.
                    self.seat.stand_back(now.instant, Witness::TERM);
                }
                self.vote(Some(link), ask, now);
            }
            (_, PairMessage::Vote(vote)) => {
                self.seat.handle_vote(Voter::Peer, vote, now.instant);
            }
            (_, PairMessage::GiveBack(epoch)) => self.witness.give_back(epoch, now.instant),
            (Part::Standby(_), PairMessage::TakeOver { epoch }) => {
                self.witness.give_back(epoch, now.instant);
                self.seat.hurry(now.instant);
            }
            (Part::Active(mirror), PairMessage::PieceKept) => mirror.handle_piece_kept(),
            (Part::Active(mirror), PairMessage::Applied { number }) => {
                mirror.handle_applied(number, now.instant);
            }
            // What was on its way when this member became active, or the other one did.
            (Part::Active(_), _)
            | (Part::Standby(_), PairMessage::PieceKept | PairMessage::Applied { .. }) => {}
            (Part::Standby(follower), message) => follower.handle(message),
        }
    }

    fn take_disk(&mut self, reply: DiskReply, now: Now) {
        match reply {
            DiskReply::Pair(PairReply::Carried { number, entry }) => {
                if let Part::Active(mirror) = &mut self.part {
                    mirror.handle_carried(number, entry, now.instant);
                }
            }
            DiskReply::Pair(PairReply::Copied { ticket, result }) => {
                self.asked.remove(&ticket);
                if let Part::Active(mirror) = &mut self.part {
                    mirror.handle_copied(result);
                }
            }
            DiskReply::Pair(PairReply::Piece { ticket, result }) => {
                self.asked.remove(&ticket);
                if let Part::Active(mirror) = &mut self.part {
                    mirror.handle_piece(result);
                }
            }
            DiskReply::Done { ticket, result } => {
                let what = self.asked.remove(&ticket);
                if let Err(error) = &result {
                    tracing::error!(%error, ?what, "the disk of a pair's member");
                }
                self.take_done(what, result.is_ok());
            }
            DiskReply::Ledger(_)
            | DiskReply::Spool(_)
            | DiskReply::Answer { .. }
            | DiskReply::Operations { .. } => {}
        }
    }

    fn take_done(&mut self, what: Option<Asked>, is_done: bool) {
        let follower = match &mut self.part {
            Part::Standby(follower) => Some(follower),
            Part::Active(_) => None,
        };
        match (what, follower) {
            (Some(Asked::Record(write)), _) if is_done => self.durable = self.durable.max(write),
            (Some(Asked::Record(write)), _) => {
                self.held.retain(|(waits, _)| *waits != write);
                // Whatever is asked next writes it again.
                self.written = Record::new(self.config.place.other());
            }
            (Some(Asked::Take), Some(follower)) => follower.handle_taken(is_done),
            (Some(Asked::Install), Some(follower)) => follower.handle_installed(is_done),
            (Some(Asked::Apply), Some(follower)) => follower.handle_applied(is_done),
            (
                Some(
                    Asked::Nothing
                    | Asked::Copy
                    | Asked::Read
                    | Asked::Take
                    | Asked::Install
                    | Asked::Apply,
                )
                | None,
                _,
            ) => {}
        }
    }

    /// Carries on until nothing moves any more.
    fn settle(&mut self, now: Now) {
        loop {
            self.write();
            let mut moved = self.let_go(now);
            moved |= self.drain_seat(now);
            moved |= self.follow_seat(now);
            moved |= self.drain_mirror(now);
            moved |= self.drain_follower(now);
            if !moved {
                return;
            }
        }
    }

    fn let_go(&mut self, now: Now) -> bool {
        let mut moved = false;
        while let Some((_, held)) = self.held.pop_front_if(|(waits, _)| *waits <= self.durable) {
            moved = true;
            match held {
                Held::Vote {
                    to: Some(link),
                    vote,
                } => self.say(link, PairMessage::Vote(vote)),
                Held::Vote { to: None, vote } => {
                    self.seat.handle_vote(Voter::Own, vote, now.instant);
                }
                Held::Kept(history) => self.seat.handle_kept(history, now.instant),
            }
        }
        // What was kept lets the seat ask at once.
        if moved {
            self.seat.handle_timeout(now.instant);
        }
        moved
    }

    fn drain_seat(&mut self, now: Now) -> bool {
        let mut moved = false;
        while let Some(output) = self.seat.poll_output() {
            moved = true;
            match output {
                SeatOutput::Ask(Voter::Own, ask) => self.vote(None, ask, now),
                SeatOutput::Ask(voter, ask) => {
                    if let Some(link) = self.link_of(&voter) {
                        self.say(link, PairMessage::Ask(ask));
                    }
                }
                SeatOutput::GiveBack(epoch) => {
                    self.witness.give_back(epoch, now.instant);
                    let links: Vec<LinkId> = self.links.keys().copied().collect();
                    for link in links {
                        self.say(link, PairMessage::GiveBack(epoch));
                    }
                }
                SeatOutput::Keep(history) => self.hold(Held::Kept(history)),
            }
        }
        moved
    }

    fn link_of(&self, voter: &Voter) -> Option<LinkId> {
        match voter {
            Voter::Own => None,
            Voter::Peer => self.peer,
            Voter::Edge(name) => {
                let mut links = self.links.iter().rev();
                links
                    .find(|(_, who)| matches!(who, Who::Edge(known) if known == name))
                    .map(|(link, _)| *link)
            }
        }
    }

    /// A seat that was won makes this member active, once its disk has nothing to do any more.
    fn follow_seat(&mut self, now: Now) -> bool {
        let Part::Standby(follower) = &self.part else {
            return false;
        };
        let Some(epoch) = self.seat.epoch(now.instant) else {
            return false;
        };
        if !follower.is_settled() {
            return false;
        }
        tracing::warn!(%epoch, place = ?self.config.place, "this head-end is active");
        let mut mirror = Mirror::new();
        self.ask_disk(Asked::Nothing, |ticket| PairRequest::Mirror { ticket });
        if self.peer.is_some() {
            mirror.handle_peer_up();
        }
        self.part = Part::Active(Box::new(mirror));
        true
    }

    fn drain_mirror(&mut self, now: Now) -> bool {
        let Part::Active(mirror) = &mut self.part else {
            return false;
        };
        if self.seat.over().is_some() {
            return false;
        }
        if self.seat.is_alone() {
            mirror.join();
        }
        let mut outputs = Vec::new();
        while let Some(output) = mirror.poll_output() {
            outputs.push(output);
        }
        // What it is to rejoin for comes before anything is released.
        if outputs.contains(&MirrorOutput::Rejoin) {
            self.seat.rejoin();
        }
        let released = mirror.release(self.seat.is_alone());
        while let Some(output) = mirror.poll_output() {
            outputs.push(output);
        }
        if let Some(through) = released {
            self.ask_disk(Asked::Nothing, |ticket| PairRequest::Release {
                ticket,
                through,
            });
        }
        let moved = released.is_some() || !outputs.is_empty();
        for output in outputs {
            let Some(peer) = self.peer else { break };
            match output {
                MirrorOutput::Say(message) => self.say(peer, message),
                MirrorOutput::Copy => {
                    self.ask_disk(Asked::Copy, |ticket| PairRequest::Copy { ticket });
                }
                MirrorOutput::Read { file, offset } => {
                    self.ask_disk(Asked::Read, |ticket| PairRequest::ReadCopy {
                        ticket,
                        file,
                        offset,
                    });
                }
                MirrorOutput::Rejoin => {}
                MirrorOutput::Complete => {
                    tracing::info!("the standby holds everything");
                    let history = self.seat.history();
                    self.say(peer, PairMessage::Complete(history));
                }
                MirrorOutput::Part(why) => self.close(peer, why, now),
            }
        }
        moved
    }

    fn drain_follower(&mut self, now: Now) -> bool {
        let Part::Standby(follower) = &mut self.part else {
            return false;
        };
        let mut outputs = Vec::new();
        while let Some(output) = follower.poll_output() {
            outputs.push(output);
        }
        let moved = !outputs.is_empty();
        for output in outputs {
            match output {
                FollowerOutput::Say(message) => {
                    if let Some(peer) = self.peer {
                        self.say(peer, message);
                    }
                }
                FollowerOutput::Learn(history) => {
                    self.seat.learn(history, now.instant);
                    self.write();
                }
                FollowerOutput::Take {
                    file,
                    offset,
                    bytes,
                } => self.ask_disk(Asked::Take, |ticket| PairRequest::TakePiece {
                    ticket,
                    file,
                    offset,
                    bytes,
                }),
                FollowerOutput::Install => {
                    self.ask_disk(Asked::Install, |ticket| PairRequest::Install { ticket });
                }
                FollowerOutput::Apply { entry } => {
                    self.ask_disk(Asked::Apply, |ticket| PairRequest::Apply { ticket, entry });
                }
                FollowerOutput::Part(why) => {
                    if let Some(peer) = self.peer {
                        self.close(peer, why, now);
                    }
                }
            }
        }
        moved
    }

    /// Tells the other member that this one lives.
    fn beat(&mut self, now: Now) {
        self.beat_at = now.instant + Self::BEAT_EVERY;
        if let Some(peer) = self.peer {
            let here = PairMessage::Here {
                place: self.config.place,
                active: self.reign(now).map(|(epoch, _)| epoch),
            };
            self.say(peer, here);
        }
    }
}

impl Node for MemberNode {
    fn handle(&mut self, input: Input, now: Now) {
        // First of all: whoever slept must know what it lost.
        self.seat.handle_timeout(now.instant);
        match input {
            Input::LinkUp {
                link,
                port: Port::Up,
            } => {
                self.links.insert(link, Who::Unknown);
                let hello = Message::hello(Role::Utility, &self.config.name);
                self.send(link, &hello);
                let here = PairMessage::Here {
                    place: self.config.place,
                    active: self.reign(now).map(|(epoch, _)| epoch),
                };
                self.say(link, here);
            }
            Input::LinkUp {
                link,
                port: Port::Down,
            } => {
                self.links.insert(link, Who::Unknown);
            }
            Input::LinkUp {
                port: Port::Backup | Port::Dialled(_) | Port::Push(_),
                ..
            }
            | Input::DialFailed { .. }
            | Input::LinkFault { .. } => {}
            Input::LinkDown { link } => self.forget(link, now),
            Input::Frame { link, frame } => self.take_frame(link, &frame, now),
            Input::Disk(reply) => self.take_disk(reply, now),
            Input::Timeout => {
                if let Some(peer) = self.peer
                    && self.peer_heard + Self::SILENCE_MAX <= now.instant
                {
                    self.close(peer, "the other member is silent", now);
                }
                if self.beat_at <= now.instant {
                    self.beat(now);
                }
                if let Part::Active(mirror) = &mut self.part {
                    mirror.handle_timeout(now.instant);
                }
            }
        }
        self.settle(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    fn wake(&self) -> Wake {
        let silent = self.peer.map(|_| {
            let at = self.peer_heard + Self::SILENCE_MAX;
            (at, "the other member is silent")
        });
        let beat = self.peer.map(|_| (self.beat_at, "say that it lives"));
        let lag = match &self.part {
            Part::Active(mirror) => mirror.lag_ends(),
            Part::Standby(_) => None,
        };
        let lag = lag.map(|at| (at, "the standby applies nothing"));
        Wake {
            instant: [self.seat.wake(), silent, beat, lag]
                .into_iter()
                .flatten()
                .min(),
            utc: None,
        }
    }
}
