//! The controlling station: the connections to one controlled station, what is asked of it, and
//! what it says.

mod config;
mod jobs;

use std::collections::VecDeque;

use gridloom_core::{Instant, Now, Wake};

use crate::asdu::{Asdu, AsduError, Element, Header};
use crate::cause::{CounterGroup, ObjectAddress, Qoi, Transmission};
use crate::command::{Freeze, Initialization, Qcc};
use crate::link::{CloseReason, Link, LinkOutput, Role};
use crate::time::Cp56Time2a;
use crate::value::{Quality, Value};

use jobs::{Jobs, News};

pub use config::{LINKS_MAX, MasterConfig, MasterError, Routine};
pub use jobs::{CommandTime, JOBS_MAX, Order, Outcome, RequestId, Task};

/// A connection of the redundancy group, 0 to [`LINKS_MAX`] − 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub u8);

/// What a controlling station wants done, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Begin to connect; answer with [`Master::handle_opened`] or [`Master::handle_closed`].
    Connect(LinkId),
    /// Write these octets.
    Transmit(LinkId, Vec<u8>),
    /// Close this connection, or give up the making of it; it counts as closed already.
    Close(LinkId, CloseReason),
    /// What happened.
    Event(Event),
}

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkStatus {
    /// Being made.
    Connecting,
    /// Open, and tested by TESTFR alone.
    Standby,
    /// Transfers data.
    Active,
    /// Gone, and tried again later.
    Down(CloseReason),
}

/// A value of a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Update {
    /// The point.
    pub address: ObjectAddress,
    /// What it says. A floating point number can be a NaN or an infinity.
    pub value: Value,
    /// How far to believe it.
    pub quality: Quality,
    /// The station's time, where it was sent.
    pub time: Option<Cp56Time2a>,
    /// Why it was sent; [`Transmission::test`] says that no process stands behind it.
    pub transmission: Transmission,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A connection changed.
    Link(LinkId, LinkStatus),
    /// A point said something.
    Update(Update),
    /// The station began anew; it is interrogated again.
    Initialized(Initialization),
    /// A request was confirmed, and its termination is still to come.
    Confirmed(RequestId),
    /// A request has its outcome.
    Finished(RequestId, Outcome),
    /// A request that was made by routine, so that its outcome can be told apart.
    Routine(RequestId, Task),
    /// An answer that belongs to no request of ours; counted by type and cause.
    Unmatched {
        /// The octet of the type.
        type_code: u8,
        /// The octet with cause, P/N and T.
        cause_octet: u8,
    },
    /// An ASDU that cannot be read, or of another station, was dropped.
    Malformed(AsduError),
    /// An ASDU of a station that is not ours was dropped.
    Stranger(u16),
}

#[derive(Debug, Clone)]
struct Line {
    link: Link,
    /// When a connection is tried again; `None` while there is one.
    retry: Option<Instant>,
}

/// A controlling station for one controlled station.
///
/// Follows the contract of [`gridloom_core::machine`]. It begins by itself: the first
/// [`wake`](Self::wake) is due at once.
#[derive(Debug, Clone)]
pub struct Master {
    config: MasterConfig,
    lines: Vec<Line>,
    /// The line that transfers data, is asked to, or is asked to stop.
    active: Option<usize>,
    /// The line that takes over once the active one has stopped.
    successor: Option<usize>,
    jobs: Jobs,
    clock_due: Option<Instant>,
    interrogation_due: Option<Instant>,
    counters_due: Option<Instant>,
    outbox: VecDeque<Output>,
}

impl Master {
    /// A controlling station without connections.
    pub fn new(config: MasterConfig) -> Result<Self, MasterError> {
        config.check()?;
        let line = Line {
            link: Link::new(Role::Controlling, config.timing),
            retry: Some(Instant::ZERO),
        };
        Ok(Self {
            lines: vec![line; usize::from(config.links)],
            config,
            active: None,
            successor: None,
            jobs: Jobs::default(),
            clock_due: None,
            interrogation_due: None,
            counters_due: None,
            outbox: VecDeque::new(),
        })
    }

    /// Asks something of the station; its outcome comes as [`Event::Finished`]. Nothing is kept
    /// for a connection that is to come: without one it is refused.
    pub fn request(&mut self, task: Task, now: Now) -> Result<RequestId, MasterError> {
        self.assert_drained();
        if !self.is_active() {
            return Err(MasterError::NotActive);
        }
        let id = self.jobs.add(task, &self.config, now.instant, now.utc)?;
        self.pump(now);
        Ok(id)
    }

    /// Stops data transfer on the active connection, and starts it on a standby one.
    pub fn switch_over(&mut self, now: Now) -> Result<(), MasterError> {
        self.assert_drained();
        let standby = self
            .lines
            .iter()
            .enumerate()
            .position(|(index, line)| Some(index) != self.active && line.link.is_open());
        let (Some(active), Some(standby), true) = (self.active, standby, self.is_active()) else {
            return Err(MasterError::NotActive);
        };
        self.successor = Some(standby);
        self.lines[active].link.stop(now.instant);
        self.drain_line(active, now);
        Ok(())
    }

    /// A connection is made.
    pub fn handle_opened(&mut self, id: LinkId, now: Now) {
        self.assert_drained();
        let Some(index) = self.index(id) else {
            return;
        };
        let line = &mut self.lines[index];
        if line.link.is_down() {
            // It was given up at t0.
            self.outbox
                .push_back(Output::Close(id, CloseReason::NotConnected));
            return;
        }
        line.link.handle_opened(now.instant);
        self.event(Event::Link(id, LinkStatus::Standby));
        self.elect(now);
    }

    /// Octets came. Those of a connection that was closed are ignored.
    pub fn handle_bytes(&mut self, id: LinkId, bytes: &[u8], now: Now) {
        self.assert_drained();
        if let Some(index) = self.index(id) {
            self.lines[index].link.handle_bytes(bytes, now.instant);
            self.drain_line(index, now);
            self.elect(now);
            self.pump(now);
        }
    }

    /// A connection is gone, or could not be made.
    pub fn handle_closed(&mut self, id: LinkId, now: Now) {
        self.assert_drained();
        let Some(index) = self.index(id) else {
            return;
        };
        if !self.lines[index].link.is_down() {
            self.lines[index].link.handle_closed();
            self.lose(index, CloseReason::Lost, now);
            self.elect(now);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.assert_drained();
        for index in 0..self.lines.len() {
            self.lines[index].link.handle_timeout(now.instant);
            self.drain_line(index, now);
            let line = &mut self.lines[index];
            if line.retry.is_some_and(|at| at <= now.instant) {
                line.retry = None;
                line.link.handle_connecting(now.instant);
                let id = link_id(index);
                self.outbox.push_back(Output::Connect(id));
                self.event(Event::Link(id, LinkStatus::Connecting));
            }
        }
        for (id, outcome) in self.jobs.expire(now.instant) {
            self.event(Event::Finished(id, outcome));
        }
        self.elect(now);
        self.do_routine(now);
        self.pump(now);
    }

    /// When to come back.
    pub fn wake(&self) -> Wake {
        let links = self.lines.iter().filter_map(|line| line.link.wake());
        let retries = self.lines.iter().filter_map(|line| line.retry);
        let routine = [
            self.clock_due.map(|at| (at, "clock")),
            self.interrogation_due.map(|at| (at, "interrogation")),
            self.counters_due.map(|at| (at, "counters")),
            self.jobs.wake(),
        ];
        let earliest = links
            .chain(retries.map(|at| (at, "reconnect")))
            .chain(routine.into_iter().flatten())
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

    /// Whether a connection transfers data, so that requests are taken.
    pub fn is_active(&self) -> bool {
        self.active
            .is_some_and(|index| self.lines[index].link.is_started())
    }

    fn drain_line(&mut self, index: usize, now: Now) {
        let id = link_id(index);
        while let Some(output) = self.lines[index].link.poll_output() {
            match output {
                LinkOutput::Transmit(bytes) => self.outbox.push_back(Output::Transmit(id, bytes)),
                LinkOutput::Received(asdu) => self.handle_asdu(&asdu, now),
                LinkOutput::Acknowledged(_) => {}
                LinkOutput::Started => self.begin(id, now),
                LinkOutput::Stopped => {
                    self.event(Event::Link(id, LinkStatus::Standby));
                    self.end_transfer();
                    self.elect(now);
                }
                LinkOutput::Close(reason) => {
                    self.outbox.push_back(Output::Close(id, reason));
                    self.lose(index, reason, now);
                }
            }
        }
    }

    fn begin(&mut self, id: LinkId, now: Now) {
        self.event(Event::Link(id, LinkStatus::Active));
        let first = |habit: Routine| habit.at_start().then_some(now.instant);
        self.clock_due = first(self.config.clock);
        self.interrogation_due = first(self.config.interrogation);
        self.counters_due = first(self.config.counters);
        self.do_routine(now);
    }

    /// Asks by routine for what is due.
    fn do_routine(&mut self, now: Now) {
        if !self.is_active() {
            return;
        }
        let routines = [
            (&mut self.clock_due, self.config.clock, Task::Clock),
            (
                &mut self.interrogation_due,
                self.config.interrogation,
                Task::Interrogate(Qoi::STATION),
            ),
            (
                &mut self.counters_due,
                self.config.counters,
                Task::Counters(Qcc {
                    counters: CounterGroup::GENERAL,
                    freeze: Freeze::Read,
                }),
            ),
        ];
        for (due, habit, task) in routines {
            if due.is_none_or(|at| now.instant < at) {
                continue;
            }
            *due = habit.period().map(|period| now.instant + period);
            // What is asked already need not be asked twice; a full table leaves it to the next.
            if let Ok(id) = self.jobs.add(task, &self.config, now.instant, now.utc) {
                self.outbox
                    .push_back(Output::Event(Event::Routine(id, task)));
            }
        }
    }

    fn handle_asdu(&mut self, raw: &[u8], now: Now) {
        let asdu = match Asdu::decode(raw) {
            Ok(asdu) => asdu,
            Err(error) => return self.event(Event::Malformed(error)),
        };
        if asdu.common_address() != self.config.common_address {
            return self.event(Event::Stranger(asdu.common_address().get()));
        }
        let transmission = asdu.transmission();
        let timeout = self.config.terminate_timeout;
        match asdu.objects()[0].element {
            Element::Point { .. } => {
                for object in asdu.objects() {
                    let Element::Point { value, quality } = object.element else {
                        continue;
                    };
                    self.event(Event::Update(Update {
                        address: object.address,
                        value,
                        quality,
                        time: object.time,
                        transmission,
                    }));
                    let cause = transmission.cause;
                    let news = self
                        .jobs
                        .handle_value(cause, object.address, timeout, now.instant);
                    if let Some(news) = news {
                        self.report(news, raw);
                    }
                }
            }
            Element::EndOfInitialization(reason) => {
                self.event(Event::Initialized(reason));
                if self.config.interrogation.at_start() {
                    self.interrogation_due = Some(now.instant);
                    self.do_routine(now);
                }
            }
            Element::Command { .. }
            | Element::Interrogation(_)
            | Element::CounterInterrogation(_)
            | Element::Read
            | Element::Clock
            | Element::Reset(_)
            | Element::Test(_)
            | Element::Parameter { .. }
            | Element::ParameterActivation(_) => {
                let news = self.jobs.handle_answer(&asdu, timeout, now.instant);
                self.report(news, raw);
            }
        }
    }

    fn report(&mut self, news: News, raw: &[u8]) {
        match (news, Header::decode(raw)) {
            (News::Confirmed(id), _) => self.event(Event::Confirmed(id)),
            (News::Finished(id, outcome), _) => self.event(Event::Finished(id, outcome)),
            (News::Unmatched, Ok(header)) => self.event(Event::Unmatched {
                type_code: header.type_code,
                cause_octet: header.cause_octet,
            }),
            (News::Unmatched, Err(error)) => self.event(Event::Malformed(error)),
        }
    }

    /// Starts data transfer on an open line, if none transfers.
    fn elect(&mut self, now: Now) {
        if self.active.is_some() {
            return;
        }
        let is_open = |index: &usize| self.lines[*index].link.is_open();
        let chosen = self.successor.take().filter(is_open);
        let chosen = chosen.or_else(|| (0..self.lines.len()).find(is_open));
        if let Some(index) = chosen {
            self.active = Some(index);
            self.lines[index].link.start(now.instant);
            self.drain_line(index, now);
        }
    }

    fn lose(&mut self, index: usize, reason: CloseReason, now: Now) {
        self.lines[index].retry = Some(now.instant + self.config.reconnect);
        self.event(Event::Link(link_id(index), LinkStatus::Down(reason)));
        if self.successor == Some(index) {
            self.successor = None;
        }
        if self.active == Some(index) {
            self.end_transfer();
        }
    }

    fn end_transfer(&mut self) {
        self.active = None;
        (self.clock_due, self.interrogation_due, self.counters_due) = (None, None, None);
        for (id, outcome) in self.jobs.fail_all() {
            self.event(Event::Finished(id, outcome));
        }
    }

    /// Sends what waits, as far as the window is open.
    fn pump(&mut self, now: Now) {
        while let Some(index) = self.active {
            if !self.lines[index].link.can_send() {
                return;
            }
            let Some(asdu) = self.jobs.next_asdu(&self.config, now.instant, now.utc) else {
                return;
            };
            self.lines[index].link.send(asdu, now.instant);
            self.drain_line(index, now);
        }
    }

    fn index(&self, id: LinkId) -> Option<usize> {
        Some(usize::from(id.0)).filter(|index| *index < self.lines.len())
    }

    fn event(&mut self, event: Event) {
        self.outbox.push_back(Output::Event(event));
    }

    fn assert_drained(&self) {
        assert!(
            self.outbox.is_empty(),
            "host must drain outputs between inputs"
        );
    }
}

fn link_id(index: usize) -> LinkId {
    LinkId(u8::try_from(index).expect("a group has at most LINKS_MAX links"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::CommonAddress;
    use gridloom_core::UtcTime;

    #[test]
    fn settings_are_checked_and_nothing_is_kept_for_later() {
        let mut config = MasterConfig::new(CommonAddress::new(1).unwrap());
        config.links = 0;
        let refused = Master::new(config.clone()).map(|_| ());
        assert_eq!(refused, Err(MasterError::Links(0)));
        config.links = 1;
        let mut master = Master::new(config).unwrap();
        let now = Now {
            instant: Instant::ZERO,
            utc: UtcTime::from_secs(1_800_000_000),
        };
        let refused = master.request(Task::Clock, now);
        assert_eq!(refused, Err(MasterError::NotActive));
        assert!(master.wake().is_due(now), "it begins by itself");
        master.handle_timeout(now);
        assert_eq!(master.poll_output(), Some(Output::Connect(LinkId(0))));
    }
}
