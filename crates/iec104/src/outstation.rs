//! The controlled station: a point table, an event buffer that survives lost links, and answers to
//! everything a controlling station may ask, over the connections of one redundancy group.

mod config;
mod control;
mod events;
mod points;
mod requests;
mod scan;

use std::collections::{BTreeMap, VecDeque};

use gridloom_core::{Instant, Now, Wake};

use crate::asdu::{Asdu, AsduError, Element, Object, Packing};
use crate::cause::{Cause, CommonAddress, ObjectAddress, Transmission};
use crate::command::{Initialization, InitializationReason};
use crate::link::{CloseReason, Link, LinkOutput, Role};
use crate::time::Cp56Time2a;
use crate::value::{Quality, Value};

use control::Controls;
use events::EventBuffer;
use points::{Change, Points};
use scan::Scan;

pub use config::{
    CONNECTIONS_MAX, ClockPolicy, EVENTS_MAX, EventTime, OutstationConfig, OutstationError,
};
pub use control::{Control, ControlMode, SelectionEnd};
pub use points::{Delivery, Groups, POINTS_MAX, Point};
pub use requests::{Answer, Request};

/// Answers that wait for the window of the active connection; a peer that asks for more without
/// reading is cut off.
pub const REPLIES_MAX: usize = 128;

/// Interrogations that wait or run; one more is confirmed negatively.
pub const SCANS_MAX: usize = 8;

/// Requests that wait for the user or run; one more is confirmed negatively.
pub const REQUESTS_MAX: usize = 32;

/// A connection, as the host numbers it; a number is not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// A request that the user of the station has to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(u64);

/// Why a point changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The process did it (COT 3).
    Process,
    /// A command of a controlling station did it (COT 11).
    Remote,
    /// A command given at the station did it (COT 12).
    Local,
}

/// What a controlled station wants done, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Write these octets.
    Transmit(ConnectionId, Vec<u8>),
    /// Close this connection; it is forgotten already.
    Close(ConnectionId, CloseReason),
    /// A controlling station asks; answer with [`Outstation::answer`] before anything is operated.
    Request(Token, Request),
    /// A controlling station set the clock; its time as sent, confirmed already.
    Clock(Cp56Time2a),
    /// Something an operator may want to know.
    Notice(Notice),
}

/// What happened, beside the data.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A connection began to transfer data.
    Started(ConnectionId),
    /// The active connection ended or stopped; events wait.
    Stopped(ConnectionId),
    /// A connection is gone.
    Closed(ConnectionId, CloseReason),
    /// The event buffer was full: the oldest event of this point is lost.
    EventLost {
        /// The point.
        address: ObjectAddress,
        /// Events lost since the station was made.
        total: u64,
    },
    /// A controlling station had the waiting events forgotten (QRP 2).
    EventsCleared(usize),
    /// An ASDU that cannot be read was dropped or refused.
    Malformed(ConnectionId, AsduError),
    /// A request was refused before the user saw it.
    Refused {
        /// The octet of its type.
        type_code: u8,
        /// The cause of the refusal: 44–47, or a negative confirmation.
        cause: Cause,
    },
    /// The selection ended.
    SelectionEnded(ObjectAddress, SelectionEnd),
}

/// What an I-frame under way carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cargo {
    /// An answer, which is not repeated on another connection.
    Answer,
    /// M_EI: repeated until it is acknowledged.
    Announcement,
    /// This many events.
    Events(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Events,
    Scans,
}

/// What belongs to the connection that transfers data, and ends with it.
#[derive(Debug, Clone)]
struct Session {
    id: ConnectionId,
    under_way: VecDeque<Cargo>,
    replies: VecDeque<(Cargo, Vec<u8>)>,
    /// ACTTERMs, each after the events before its mark.
    terminations: VecDeque<(u64, Vec<u8>)>,
    scans: VecDeque<Scan>,
    turn: Turn,
    cyclic_due: Option<Instant>,
    background_due: Option<Instant>,
}

/// A controlled station with the connections of one redundancy group.
///
/// Follows the contract of [`gridloom_core::machine`].
#[derive(Debug, Clone)]
pub struct Outstation {
    config: OutstationConfig,
    links: BTreeMap<ConnectionId, Link>,
    active: Option<Session>,
    points: Points,
    events: EventBuffer,
    controls: Controls,
    /// The M_EI that has not been acknowledged.
    announcement: Option<Initialization>,
    outbox: VecDeque<Output>,
}

impl Outstation {
    /// A station that was just switched on, without points.
    pub fn new(config: OutstationConfig) -> Result<Self, OutstationError> {
        config.check()?;
        Ok(Self {
            events: EventBuffer::new(config.events_max, config.timing.k),
            config,
            links: BTreeMap::new(),
            active: None,
            points: Points::default(),
            controls: Controls::default(),
            announcement: Some(Initialization {
                reason: InitializationReason::PowerOn,
                changed_parameters: false,
            }),
            outbox: VecDeque::new(),
        })
    }

    /// Adds a monitored point.
    pub fn add_point(
        &mut self,
        address: ObjectAddress,
        point: Point,
    ) -> Result<(), OutstationError> {
        self.points.add(address, point)
    }

    /// Adds a command or set point. It may share its address with a monitored point.
    pub fn add_control(
        &mut self,
        address: ObjectAddress,
        control: Control,
    ) -> Result<(), OutstationError> {
        self.controls.add(address, control)
    }

    /// The process says something about a point. An event is made where the point is spontaneous
    /// and value or quality changed, and always for return information.
    pub fn update(
        &mut self,
        address: ObjectAddress,
        value: Value,
        quality: Quality,
        time: Cp56Time2a,
        origin: Origin,
        now: Now,
    ) -> Result<(), OutstationError> {
        self.assert_drained();
        let change = self.points.set(address, value, quality)?;
        let point = self.points.point(address);
        let is_event = point.is_some_and(|point| point.delivery.spontaneous)
            && !matches!(value, Value::Counter(_));
        let cause = match origin {
            Origin::Process if !is_event || change == Change::None => return Ok(()),
            Origin::Process => Cause::Spontaneous,
            Origin::Remote => Cause::ReturnRemote,
            Origin::Local => Cause::ReturnLocal,
        };
        self.record(cause, address, value, quality, time);
        self.pump(now);
        Ok(())
    }

    /// The station begins anew: selections and interrogations end, and M_EI is sent.
    pub fn restart(&mut self, reason: Initialization, now: Now) {
        self.assert_drained();
        self.announcement = Some(reason);
        self.drop_selection(SelectionEnd::LinkLost);
        self.controls.clear();
        if let Some(session) = &mut self.active {
            session.scans.clear();
            session.terminations.clear();
            session.replies.clear();
        }
        self.announce();
        self.pump(now);
    }

    /// A controlling station has connected.
    pub fn handle_opened(&mut self, id: ConnectionId, now: Now) {
        self.assert_drained();
        if self.links.len() >= self.config.connections_max {
            self.outbox
                .push_back(Output::Close(id, CloseReason::Crowded));
            return;
        }
        let mut link = Link::new(Role::Controlled, self.config.timing);
        link.handle_opened(now.instant);
        let before = self.links.insert(id, link);
        assert!(before.is_none(), "a connection's number is used once");
    }

    /// Octets came. Those of a connection that was closed are ignored.
    pub fn handle_bytes(&mut self, id: ConnectionId, bytes: &[u8], now: Now) {
        self.assert_drained();
        if let Some(link) = self.links.get_mut(&id) {
            link.handle_bytes(bytes, now.instant);
            self.drain_link(id, now);
            self.pump(now);
        }
    }

    /// The connection is gone. What it had not acknowledged is sent again on the next.
    pub fn handle_closed(&mut self, id: ConnectionId) {
        self.assert_drained();
        if self.links.remove(&id).is_some() {
            self.end_session(id);
            let notice = Notice::Closed(id, CloseReason::Lost);
            self.outbox.push_back(Output::Notice(notice));
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.assert_drained();
        let ids: Vec<ConnectionId> = self.links.keys().copied().collect();
        for id in ids {
            if let Some(link) = self.links.get_mut(&id) {
                link.handle_timeout(now.instant);
                self.drain_link(id, now);
            }
        }
        self.expire_controls(now);
        self.start_periodic(now.instant);
        self.pump(now);
    }

    /// When to come back.
    pub fn wake(&self) -> Wake {
        let links = self.links.values().filter_map(Link::wake);
        let periodic = self.active.iter().flat_map(|session| {
            [
                session.cyclic_due.map(|at| (at, "cyclic")),
                session.background_due.map(|at| (at, "background")),
            ]
        });
        let earliest = links
            .chain(periodic.flatten())
            .chain(self.controls.wake())
            .min_by_key(|(at, _)| *at);
        Wake {
            instant: earliest,
            utc: None,
        }
    }

    /// What is to be done next; `None` until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    /// The connection that transfers data.
    pub fn active(&self) -> Option<ConnectionId> {
        self.active.as_ref().map(|session| session.id)
    }

    /// Events that no controlling station has acknowledged.
    pub fn events_waiting(&self) -> usize {
        self.events.len()
    }

    /// Events lost because the buffer was full.
    pub fn events_lost(&self) -> u64 {
        self.events.lost()
    }

    fn record(
        &mut self,
        cause: Cause,
        address: ObjectAddress,
        value: Value,
        quality: Quality,
        time: Cp56Time2a,
    ) {
        let time = match self.config.event_time {
            EventTime::Tagged => Some(time),
            EventTime::Untagged => None,
        };
        let object = Object {
            address,
            element: Element::Point { value, quality },
            time,
        };
        if let Some(address) = self.events.push(cause, object) {
            let total = self.events.lost();
            self.notice(Notice::EventLost { address, total });
        }
    }

    fn drain_link(&mut self, id: ConnectionId, now: Now) {
        while let Some(output) = self.links.get_mut(&id).and_then(Link::poll_output) {
            match output {
                LinkOutput::Transmit(bytes) => self.outbox.push_back(Output::Transmit(id, bytes)),
                LinkOutput::Received(asdu) => {
                    // What came with bytes that ended the connection is not trusted either.
                    let is_up = self.links.get(&id).is_some_and(Link::is_open);
                    if is_up && self.active() == Some(id) {
                        self.handle_asdu(id, &asdu, now);
                    }
                }
                LinkOutput::Acknowledged(count) => self.acknowledge(id, count),
                LinkOutput::Started => self.begin_session(id, now),
                LinkOutput::Stopped => self.end_session(id),
                LinkOutput::Close(reason) => {
                    self.links.remove(&id);
                    self.end_session(id);
                    self.outbox.push_back(Output::Close(id, reason));
                    self.notice(Notice::Closed(id, reason));
                }
            }
        }
    }

    fn begin_session(&mut self, id: ConnectionId, now: Now) {
        if let Some(other) = self.active() {
            // One connection of the group transfers; the old one may be half dead.
            if let Some(link) = self.links.get_mut(&other) {
                link.close(CloseReason::Superseded);
            }
            self.drain_link(other, now);
        }
        assert!(self.active.is_none(), "a closed connection has no session");
        self.active = Some(Session {
            id,
            under_way: VecDeque::new(),
            replies: VecDeque::new(),
            terminations: VecDeque::new(),
            scans: VecDeque::new(),
            turn: Turn::Events,
            cyclic_due: self.config.cyclic.map(|period| now.instant + period),
            background_due: self.config.background.map(|period| now.instant + period),
        });
        self.notice(Notice::Started(id));
        self.announce();
    }

    fn end_session(&mut self, id: ConnectionId) {
        if self.active() == Some(id) {
            self.active = None;
            self.events.rewind();
            self.drop_selection(SelectionEnd::LinkLost);
            self.controls.clear();
            self.notice(Notice::Stopped(id));
        }
    }

    fn acknowledge(&mut self, id: ConnectionId, count: u16) {
        let Some(session) = self.active.as_mut().filter(|session| session.id == id) else {
            return;
        };
        for cargo in session.under_way.drain(..usize::from(count)) {
            match cargo {
                Cargo::Answer => {}
                Cargo::Announcement => self.announcement = None,
                Cargo::Events(count) => self.events.acknowledge(count),
            }
        }
    }

    fn announce(&mut self) {
        if let (Some(reason), Some(session)) = (self.announcement, &mut self.active) {
            let asdu = Asdu::new(
                Transmission::new(Cause::Initialized),
                self.config.common_address,
                Packing::Single,
                vec![Object::system(Element::EndOfInitialization(reason))],
            );
            let asdu = asdu.expect("one system object is an ASDU");
            session
                .replies
                .push_back((Cargo::Announcement, asdu.encode()));
        }
    }

    fn start_periodic(&mut self, now: Instant) {
        let Some(session) = &mut self.active else {
            return;
        };
        let periods = [
            (&mut session.cyclic_due, self.config.cyclic, Cause::Periodic),
            (
                &mut session.background_due,
                self.config.background,
                Cause::Background,
            ),
        ];
        for (due, period, cause) in periods {
            let (Some(at), Some(period)) = (*due, period) else {
                continue;
            };
            if now < at {
                continue;
            }
            *due = Some(now + period);
            // A round that has not ended says the same values; a second would only be late.
            let is_running = session.scans.iter().any(|scan| scan.cause() == cause);
            if !is_running && session.scans.len() < SCANS_MAX {
                session
                    .scans
                    .push_back(Scan::new(Transmission::new(cause), None));
            }
        }
    }

    /// Sends as much as the window takes: answers first, then events and scans in turn.
    fn pump(&mut self, now: Now) {
        // A reply too many has closed the link, and says so in its outbox.
        if let Some(id) = self.active() {
            self.drain_link(id, now);
        }
        while let Some(session) = &mut self.active {
            let id = session.id;
            let Some(link) = self.links.get_mut(&id).filter(|link| link.can_send()) else {
                return;
            };
            let next = next_cargo(
                session,
                &mut self.events,
                &self.points,
                self.config.common_address,
            );
            let Some((cargo, asdu)) = next else {
                return;
            };
            session.under_way.push_back(cargo);
            link.send(asdu, now.instant);
            self.drain_link(id, now);
        }
    }

    fn notice(&mut self, notice: Notice) {
        self.outbox.push_back(Output::Notice(notice));
    }

    fn assert_drained(&self) {
        assert!(
            self.outbox.is_empty(),
            "host must drain outputs between inputs"
        );
    }
}

fn next_cargo(
    session: &mut Session,
    events: &mut EventBuffer,
    points: &Points,
    common_address: CommonAddress,
) -> Option<(Cargo, Vec<u8>)> {
    if let Some(reply) = session.replies.pop_front() {
        return Some(reply);
    }
    let is_ready = |(mark, _): &(u64, Vec<u8>)| events.is_sent_up_to(*mark);
    if session.terminations.front().is_some_and(is_ready) {
        let (_, asdu) = session.terminations.pop_front()?;
        return Some((Cargo::Answer, asdu));
    }
    let pack = |transmission, packing, objects| {
        let asdu = Asdu::new(transmission, common_address, packing, objects);
        asdu.expect("runs and batches are cut to fit").encode()
    };
    // Neither an avalanche of events nor a long interrogation holds up the other.
    for _ in 0..2 {
        match session.turn {
            Turn::Events => {
                session.turn = Turn::Scans;
                if let Some((cause, objects)) = events.next_batch() {
                    let cargo = Cargo::Events(objects.len());
                    let transmission = Transmission::new(cause);
                    return Some((cargo, pack(transmission, Packing::Single, objects)));
                }
            }
            Turn::Scans => {
                session.turn = Turn::Events;
                while let Some(scan) = session.scans.front_mut() {
                    if let Some((packing, objects)) = scan.next_run(points) {
                        let asdu = pack(scan.transmission, packing, objects);
                        return Some((Cargo::Answer, asdu));
                    }
                    let finish = scan.finish.take();
                    session.scans.pop_front();
                    if let Some(asdu) = finish {
                        return Some((Cargo::Answer, asdu));
                    }
                }
            }
        }
    }
    None
}
