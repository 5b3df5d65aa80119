//! Both machines on scripted cables, in virtual time.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]
#![allow(dead_code, reason = "each test file uses what it needs")]

use std::collections::VecDeque;
use std::time::Duration;

use gridloom_core::{Instant, Now, UtcTime};
use gridloom_iec104::{
    Answer, CommonAddress, ConnectionId, Control, ControlMode, CounterReading, Cp56Time2a,
    Delivery, DoublePoint, Event, Groups, LinkId, LinkStatus, Master, MasterConfig, MasterOutput,
    Normalized, Notice, ObjectAddress, Origin, Outcome, Outstation, OutstationConfig,
    OutstationOutput, Point, Quality, Request, RequestId, Task, Token, Update, Value,
};
use gridloom_iec104::{CommandKind, Routine};

pub(crate) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(crate) fn ioa(address: u32) -> ObjectAddress {
    ObjectAddress::new(address).unwrap()
}

pub(crate) fn station_address() -> CommonAddress {
    CommonAddress::new(7).unwrap()
}

pub(crate) fn start() -> Now {
    Now {
        instant: Instant::ZERO,
        utc: UtcTime::parse("2026-11-21T12:00:00Z").unwrap(),
    }
}

pub(crate) fn later(now: Now, by: Duration) -> Now {
    Now {
        instant: now.instant + by,
        utc: now.utc + by,
    }
}

/// What the station's user does with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// Confirms and terminates at once.
    Willing,
    /// Confirms, and is never done.
    Slow,
    Unwilling,
    Silent,
}

/// One TCP connection, and the network behind it.
#[derive(Debug, Default)]
pub(crate) struct Cable {
    /// Whether connections can be made.
    pub(crate) plugged: bool,
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) to_station: VecDeque<u8>,
    pub(crate) to_master: VecDeque<u8>,
    /// Nothing arrives any more, and nobody is told.
    pub(crate) silent: bool,
    /// What the master would read stays in the cable.
    pub(crate) master_is_slow: bool,
    /// Octets to carry, either way, before the connection breaks.
    pub(crate) breaks_after: Option<usize>,
}

pub(crate) struct Wire {
    pub(crate) master: Master,
    pub(crate) station: Outstation,
    pub(crate) now: Now,
    pub(crate) cables: Vec<Cable>,
    pub(crate) user: User,
    pub(crate) events: Vec<Event>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) requests: Vec<(Token, Request)>,
    pub(crate) clocks: Vec<Cp56Time2a>,
    actions: VecDeque<Action>,
    next_connection: u64,
}

enum Action {
    Connect(usize),
    MasterClosed(usize),
    StationClosed(ConnectionId),
    Serve(Token, Request),
}

impl Wire {
    pub(crate) fn new(station: OutstationConfig, master: MasterConfig) -> Self {
        let links = master.links;
        Self {
            master: Master::new(master).unwrap(),
            station: Outstation::new(station).unwrap(),
            now: start(),
            cables: (0..links)
                .map(|_| Cable {
                    plugged: true,
                    ..Cable::default()
                })
                .collect(),
            user: User::Willing,
            events: Vec::new(),
            notices: Vec::new(),
            requests: Vec::new(),
            clocks: Vec::new(),
            actions: VecDeque::new(),
            next_connection: 0,
        }
    }

    /// A station with points of every kind, and a master without routine but the interrogation.
    pub(crate) fn usual(links: u8) -> Self {
        Self::new(usual_station(), usual_master(links)).furnished()
    }

    pub(crate) fn furnished(mut self) -> Self {
        for (address, initial, groups) in points() {
            let point = Point {
                initial,
                delivery: Delivery::SPONTANEOUS,
                groups,
            };
            self.station.add_point(ioa(address), point).unwrap();
        }
        use CommandKind::{Bits, Double, Float, Normalized, Scaled, Single, Step};
        use ControlMode::{Direct, Either, SelectBeforeOperate};
        for (address, kind, mode) in [
            (1_001, Single, Direct),
            (1_002, Double, SelectBeforeOperate),
            (1_003, Step, Either),
            (1_004, Normalized, Either),
            (1_005, Scaled, Either),
            (1_006, Float, Either),
            (1_007, Bits, Direct),
        ] {
            let control = Control { kind, mode };
            self.station.add_control(ioa(address), control).unwrap();
        }
        self
    }

    pub(crate) fn run(&mut self, length: Duration) {
        let end = later(self.now, length);
        let mut rounds = 0;
        loop {
            rounds += 1;
            assert!(rounds < 200_000, "the wire never comes to rest");
            self.drain();
            if self.carry() {
                continue;
            }
            let master = self.master.wake().instant;
            let station = self.station.wake().instant;
            let next = [master, station].into_iter().flatten().map(|(at, _)| at);
            let Some(next) = next.min().filter(|at| *at <= end.instant) else {
                break;
            };
            let wait = next.since(self.now.instant);
            self.now = later(self.now, wait);
            if self.master.wake().is_due(self.now) {
                self.master.handle_timeout(self.now);
                self.drain();
            }
            if self.station.wake().is_due(self.now) {
                self.station.handle_timeout(self.now);
                self.drain();
            }
        }
        self.now = end;
    }

    /// Until the master transfers data and its interrogation is through.
    pub(crate) fn settle(&mut self) {
        self.run(seconds(1));
        assert!(self.master.is_active());
    }

    pub(crate) fn update(&mut self, address: u32, value: Value) {
        let time = Cp56Time2a::from_utc(self.now.utc);
        self.station
            .update(
                ioa(address),
                value,
                Quality::GOOD,
                time,
                Origin::Process,
                self.now,
            )
            .unwrap();
        self.drain();
    }

    pub(crate) fn ask(&mut self, task: Task) -> RequestId {
        let id = self.master.request(task, self.now).unwrap();
        self.drain();
        id
    }

    /// Asks, waits, and says what came of it.
    pub(crate) fn outcome_within(&mut self, task: Task, length: Duration) -> Outcome {
        let id = self.ask(task);
        self.run(length);
        self.outcome(id).expect("a request has an outcome")
    }

    pub(crate) fn outcome_of(&mut self, task: Task) -> Outcome {
        self.outcome_within(task, seconds(1))
    }

    pub(crate) fn outcome(&self, id: RequestId) -> Option<Outcome> {
        let mut outcomes = self.events.iter().filter_map(|event| match event {
            Event::Finished(of, outcome) if *of == id => Some(*outcome),
            _ => None,
        });
        let outcome = outcomes.next();
        assert_eq!(outcomes.next(), None, "one outcome for each request");
        outcome
    }

    pub(crate) fn updates(&self) -> Vec<Update> {
        let update = |event: &Event| match event {
            Event::Update(update) => Some(*update),
            _ => None,
        };
        self.events.iter().filter_map(update).collect()
    }

    pub(crate) fn statuses(&self, link: u8) -> Vec<LinkStatus> {
        let status = |event: &Event| match event {
            Event::Link(id, status) if *id == LinkId(link) => Some(*status),
            _ => None,
        };
        self.events.iter().filter_map(status).collect()
    }

    /// The connection breaks, and both ends are told.
    pub(crate) fn cut(&mut self, index: usize) {
        let Some(id) = self.cables[index].connection.take() else {
            return;
        };
        self.cables[index].to_station.clear();
        self.cables[index].to_master.clear();
        self.station.handle_closed(id);
        self.collect();
        self.master.handle_closed(link(index), self.now);
        self.drain();
    }

    /// Takes what both machines put out, and does it. Each input is followed by a full drain.
    pub(crate) fn drain(&mut self) {
        self.collect();
        while let Some(action) = self.actions.pop_front() {
            match action {
                Action::Connect(index) => self.connect(index),
                Action::MasterClosed(index) => {
                    let cable = &mut self.cables[index];
                    cable.to_station.clear();
                    cable.to_master.clear();
                    if let Some(id) = cable.connection.take().filter(|_| !cable.silent) {
                        self.station.handle_closed(id);
                    }
                }
                Action::StationClosed(id) => {
                    let index = self.cables.iter().position(|c| c.connection == Some(id));
                    if let Some(index) = index {
                        self.deliver_to_master(index);
                        self.collect();
                        self.cables[index].connection = None;
                        self.cables[index].to_station.clear();
                        self.cables[index].to_master.clear();
                        if !self.cables[index].silent {
                            self.master.handle_closed(link(index), self.now);
                        }
                    }
                }
                Action::Serve(token, request) => self.serve(token, request),
            }
            self.collect();
        }
    }

    /// Empties both machines: octets go into the cables, the rest becomes something to do.
    fn collect(&mut self) {
        while let Some(output) = self.station.poll_output() {
            match output {
                OutstationOutput::Transmit(id, bytes) => {
                    if let Some(cable) = self.cable_of(id) {
                        cable.to_master.extend(bytes);
                    }
                }
                OutstationOutput::Close(id, _) => {
                    self.actions.push_back(Action::StationClosed(id));
                }
                OutstationOutput::Request(token, request) => {
                    self.actions.push_back(Action::Serve(token, request));
                }
                OutstationOutput::Clock(time) => self.clocks.push(time),
                OutstationOutput::Notice(notice) => self.notices.push(notice),
            }
        }
        while let Some(output) = self.master.poll_output() {
            match output {
                MasterOutput::Connect(id) => {
                    self.actions.push_back(Action::Connect(usize::from(id.0)));
                }
                MasterOutput::Transmit(id, bytes) => {
                    self.cables[usize::from(id.0)].to_station.extend(bytes);
                }
                MasterOutput::Close(id, _) => {
                    self.actions
                        .push_back(Action::MasterClosed(usize::from(id.0)));
                }
                MasterOutput::Event(event) => self.events.push(event),
            }
        }
    }

    fn serve(&mut self, token: Token, request: Request) {
        self.requests.push((token, request.clone()));
        let answer = match self.user {
            User::Willing | User::Slow => Answer::Confirm,
            User::Unwilling => Answer::Refuse,
            User::Silent => return,
        };
        let answered = self.station.answer(token, answer, self.now);
        self.collect();
        if self.user == User::Willing && answered.is_ok() {
            self.station.terminate(token, self.now);
        }
    }

    fn connect(&mut self, index: usize) {
        let cable = &mut self.cables[index];
        if cable.silent {
            return;
        }
        if !cable.plugged {
            self.master.handle_closed(link(index), self.now);
            return;
        }
        self.next_connection += 1;
        let id = ConnectionId(self.next_connection);
        cable.connection = Some(id);
        self.station.handle_opened(id, self.now);
        self.collect();
        self.master.handle_opened(link(index), self.now);
    }

    /// Carries what lies in the cables; whether anything moved.
    fn carry(&mut self) -> bool {
        let mut moved = false;
        for index in 0..self.cables.len() {
            let cable = &mut self.cables[index];
            let Some(id) = cable.connection.filter(|_| !cable.silent) else {
                continue;
            };
            if !cable.to_station.is_empty() {
                moved = true;
                let (bytes, broken) = take(&mut cable.to_station, &mut cable.breaks_after);
                self.station.handle_bytes(id, &bytes, self.now);
                self.drain();
                if broken {
                    self.cut(index);
                }
            }
            moved |= self.deliver_to_master(index);
            self.drain();
        }
        moved
    }

    fn deliver_to_master(&mut self, index: usize) -> bool {
        let cable = &mut self.cables[index];
        if cable.to_master.is_empty() || cable.master_is_slow || cable.silent {
            return false;
        }
        let (bytes, broken) = take(&mut cable.to_master, &mut cable.breaks_after);
        self.master.handle_bytes(link(index), &bytes, self.now);
        if broken {
            self.drain();
            self.cut(index);
        }
        true
    }

    fn cable_of(&mut self, id: ConnectionId) -> Option<&mut Cable> {
        self.cables
            .iter_mut()
            .find(|cable| cable.connection == Some(id))
    }
}

fn take(bytes: &mut VecDeque<u8>, breaks_after: &mut Option<usize>) -> (Vec<u8>, bool) {
    let Some(left) = breaks_after else {
        return (bytes.drain(..).collect(), false);
    };
    let count = bytes.len().min(*left);
    *left -= count;
    let broken = *left == 0;
    if broken {
        *breaks_after = None;
    }
    (bytes.drain(..count).collect(), broken)
}

fn link(index: usize) -> LinkId {
    LinkId(u8::try_from(index).unwrap())
}

pub(crate) fn usual_station() -> OutstationConfig {
    OutstationConfig::new(station_address())
}

pub(crate) fn usual_master(links: u8) -> MasterConfig {
    MasterConfig {
        links,
        originator: 3,
        clock: Routine::Never,
        counters: Routine::Never,
        interrogation: Routine::AtStart,
        ..MasterConfig::new(station_address())
    }
}

/// A point of every kind; the second bay's are in group 2, counters in counter group 1.
pub(crate) fn points() -> Vec<(u32, Value, Groups)> {
    let group = |g| Groups::NONE.with(g).unwrap();
    vec![
        (1, Value::Single(false), Groups::NONE),
        (2, Value::Single(false), Groups::NONE),
        (3, Value::Double(DoublePoint::Off), group(2)),
        (
            4,
            Value::Step {
                position: 0,
                transient: false,
            },
            group(2),
        ),
        (5, Value::Bits(0), Groups::NONE),
        (6, Value::Normalized(Normalized(0)), Groups::NONE),
        (7, Value::Scaled(0), Groups::NONE),
        (8, Value::Float(0.0), group(2)),
        (90, Value::Counter(CounterReading::default()), group(1)),
        (91, Value::Counter(CounterReading::default()), Groups::NONE),
    ]
}
