//! The world of a pair: one queue of events, ordered by time and then by making.

mod faults;
mod links;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use gridloom_core::seed::{Rng, Seed};
use gridloom_core::{Instant, Now, UtcTime};
use gridloom_nodes::envelope::pair::{Epoch, Place};
use gridloom_nodes::pair::Standing;
use gridloom_nodes::{DiskReply, DiskRequest, Input, LinkId, Node, Output, Port};
use rand_core::Rng as _;

use super::disk::{Job, Told};
use super::edge::{self, Edge};
use super::head_end::{self, Frame, HeadEnd};
use super::member::Member;
use super::{PairFaults, PairOutcome, PairSabotage, PairTrial, PairViolation};
use links::{Kind, Link, Route};

const MS: u64 = 1_000_000;
const MEMBERS: usize = 2;
/// Violations that a run keeps.
const VIOLATIONS_MAX: usize = 20;
/// How often a head-end is told whether it may act.
const TICK: u64 = 50 * MS;
/// How often meters make readings.
const READING_EVERY: u64 = 100 * MS;
/// How often an operator orders something.
const COMMAND_EVERY: u64 = 400 * MS;

#[derive(Debug)]
enum Event {
    /// For a process, while it is this incarnation.
    To(usize, u64, Own),
    Dial(Route),
    Reading,
    Command,
    Push,
    /// A frame reaches the meter of a command; the answer goes back where it came from.
    Meter(Back, Frame),
    Fault(faults::Fault),
}

/// Where a meter answers.
#[derive(Debug, Clone, Copy)]
enum Back {
    Edge(usize),
    Member(usize, u64),
}

#[derive(Debug)]
enum Own {
    Wake,
    Tick,
    Up(LinkId, Port),
    Frame(LinkId, Vec<u8>),
    Down(LinkId),
    Disk,
    Cell(u64, Vec<u8>),
    Direct(Frame),
}

/// A process: a member or an edge.
#[derive(Debug)]
struct Process {
    is_up: bool,
    is_asleep: bool,
    incarnation: u64,
    /// What came while it slept.
    asleep: VecDeque<Own>,
    /// Its clock: parts per million too fast, and where it began.
    rate_ppm: i64,
    offset: u64,
    armed: Option<u64>,
}

impl Process {
    fn local(&self, at: u64) -> Instant {
        let drift = i128::from(at) * i128::from(self.rate_ppm) / 1_000_000;
        let local = i128::from(at + self.offset) + drift;
        Instant::from_nanos(u64::try_from(local).unwrap_or(0))
    }

    /// The true time at which its clock shows `local`.
    fn at(&self, local: Instant) -> u64 {
        let past = i128::from(local.as_nanos()) - i128::from(self.offset);
        let at = past * 1_000_000 / (1_000_000 + i128::from(self.rate_ppm)) + 1;
        u64::try_from(at).unwrap_or(0)
    }
}

#[derive(Debug, Default)]
struct Meter {
    counter: u64,
    done: BTreeMap<u64, u32>,
}

pub(super) struct PairWorld {
    trial: PairTrial,
    rng: Rng,
    now: u64,
    made: u64,
    queue: BTreeMap<(u64, u64), Event>,
    processes: Vec<Process>,
    members: Vec<Member>,
    edges: Vec<Edge>,
    meters: Vec<Meter>,
    links: BTreeMap<LinkId, Link>,
    last_link: u64,
    /// Directions that carry nothing, from and to.
    cut: BTreeSet<(usize, usize)>,
    ordered: BTreeSet<u64>,
    /// Readings of meters that push to head-ends themselves.
    direct: BTreeSet<u64>,
    made_readings: u64,
    acknowledged: BTreeSet<u64>,
    gone_at: Option<u64>,
    highest_heard: Epoch,
    outcome: PairOutcome,
}

impl PairWorld {
    pub(super) fn new(trial: PairTrial, seed: Seed) -> Self {
        let mut rng = seed.child("pair").rng();
        let names: BTreeSet<String> = (0..trial.edges).map(edge_name).collect();
        let is_wild = trial.faults == PairFaults::Everything;
        let processes = (0..MEMBERS + trial.edges).map(|_| Process {
            is_up: false,
            is_asleep: false,
            incarnation: 0,
            asleep: VecDeque::new(),
            // Up to 9 % too fast or too slow.
            rate_ppm: match is_wild {
                true => i64::try_from(rng.next_u64() % 180_001).unwrap_or(0) - 90_000,
                false => 0,
            },
            offset: rng.next_u64() % (1 << 40),
            armed: None,
        });
        let processes = processes.collect();
        let sabotage = |what| trial.sabotage == Some(what);
        let mut members: Vec<Member> = [Place::First, Place::Second]
            .map(|place| Member::new(place, names.clone()))
            .into();
        for member in &mut members {
            member.disk.is_hasty = sabotage(PairSabotage::HastyDisk);
        }
        let edge = || {
            Edge::new(
                sabotage(PairSabotage::LyingWitness),
                sabotage(PairSabotage::DeafFence),
            )
        };
        let mut world = Self {
            rng,
            now: 0,
            made: 0,
            queue: BTreeMap::new(),
            processes,
            members,
            edges: (0..trial.edges).map(|_| edge()).collect(),
            meters: (0..2 * trial.edges).map(|_| Meter::default()).collect(),
            links: BTreeMap::new(),
            last_link: 0,
            cut: BTreeSet::new(),
            ordered: BTreeSet::new(),
            direct: BTreeSet::new(),
            made_readings: 0,
            acknowledged: BTreeSet::new(),
            gone_at: None,
            highest_heard: Epoch::NONE,
            outcome: PairOutcome::default(),
            trial,
        };
        for process in 0..world.processes.len() {
            world.start(process);
        }
        for route in Route::all(world.edges.len()) {
            world.after(MS, Event::Dial(route));
        }
        world.after(READING_EVERY, Event::Reading);
        world.after(COMMAND_EVERY, Event::Command);
        world.after(1_000 * MS, Event::Push);
        world.plan_faults();
        world
    }

    pub(super) fn run(mut self) -> PairOutcome {
        let end = nanos(self.trial.storm) + nanos(self.trial.calm);
        while let Some(((at, _), event)) = self.queue.pop_first() {
            if at > end {
                break;
            }
            self.now = at;
            self.outcome.events += 1;
            self.carry_out(event);
            self.look_for_two();
        }
        self.look_at_the_end();
        self.outcome.acknowledged = self.acknowledged.len() as u64;
        let done = self.meters.iter().flat_map(|meter| meter.done.values());
        self.outcome.carried_out = done.map(|times| u64::from(*times)).sum();
        self.outcome
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }

    fn after(&mut self, wait: u64, event: Event) {
        self.made += 1;
        self.queue.insert((self.now + wait, self.made), event);
    }

    fn tell(&mut self, process: usize, wait: u64, own: Own) {
        let incarnation = self.processes[process].incarnation;
        self.after(wait, Event::To(process, incarnation, own));
    }

    fn local(&self, process: usize) -> Now {
        let wall = i64::try_from(self.now / MS).unwrap_or(0);
        Now {
            instant: self.processes[process].local(self.now),
            utc: UtcTime::from_millis(1_700_000_000_000 + wall),
        }
    }

    fn violate(&mut self, violation: PairViolation) {
        if self.outcome.violations.len() < VIOLATIONS_MAX {
            self.outcome.violations.push(violation);
        }
    }

    const fn at_ms(&self) -> u64 {
        self.now / MS
    }

    fn start(&mut self, process: usize) {
        let own = &mut self.processes[process];
        own.is_up = true;
        own.is_asleep = false;
        own.armed = None;
        let now = self.local(process);
        match process.checked_sub(MEMBERS) {
            None => {
                self.members[process].start(now);
                self.tell(process, TICK, Own::Tick);
                self.arm(process);
            }
            Some(edge) => self.edges[edge].start(&edge_name(edge), now),
        }
    }

    fn crash(&mut self, process: usize) {
        let own = &mut self.processes[process];
        own.is_up = false;
        own.is_asleep = false;
        own.incarnation += 1;
        own.asleep.clear();
        match process.checked_sub(MEMBERS) {
            None => {
                if self.members[process].head_end.is_some() {
                    self.gone_at = self.gone_at.or(Some(self.now));
                }
                self.members[process].crash();
            }
            Some(edge) => self.edges[edge].crash(),
        }
        self.drop_links(process, |_| true);
    }

    fn carry_out(&mut self, event: Event) {
        match event {
            Event::To(process, incarnation, own) => {
                let of = &mut self.processes[process];
                if !of.is_up || of.incarnation != incarnation {
                    return;
                }
                if of.is_asleep {
                    of.asleep.push_back(own);
                    return;
                }
                self.own(process, own);
            }
            Event::Dial(route) => self.dial(route),
            Event::Reading => {
                self.made_readings += 1;
                let number = self.made_readings;
                if number.is_multiple_of(4) {
                    self.direct.insert(number);
                } else {
                    let edge = index(number) % self.edges.len();
                    self.edges[edge].unacknowledged.insert(number);
                    let wishes = self.edges[edge].push();
                    self.grant(edge, wishes);
                }
                if self.now < nanos(self.trial.storm) + nanos(self.trial.calm) - 8_000 * MS {
                    self.after(READING_EVERY, Event::Reading);
                }
            }
            Event::Command => {
                let number = self.ordered.len() as u64 + 1;
                self.ordered.insert(number);
                if self.now < nanos(self.trial.storm) {
                    self.after(COMMAND_EVERY, Event::Command);
                }
            }
            Event::Push => {
                for edge in 0..self.edges.len() {
                    let wishes = self.edges[edge].push();
                    self.grant(edge, wishes);
                }
                // A meter that pushes to the head-end itself tries both.
                let waiting: Vec<u64> = self.direct.iter().copied().take(200).collect();
                for number in waiting {
                    for member in 0..MEMBERS {
                        if self.processes[member].is_up {
                            let wait = MS + self.below(20 * MS);
                            self.tell(member, wait, Own::Direct(Frame::Reading(number)));
                        }
                    }
                }
                self.after(1_000 * MS, Event::Push);
            }
            Event::Meter(back, frame) => self.meter(back, frame),
            Event::Fault(fault) => self.fault(fault),
        }
    }

    fn own(&mut self, process: usize, own: Own) {
        let now = self.local(process);
        let Some(edge) = process.checked_sub(MEMBERS) else {
            return self.own_of_member(process, own, now);
        };
        let input = match own {
            Own::Up(link, port) => Input::LinkUp { link, port },
            Own::Frame(link, frame) => Input::Frame { link, frame },
            Own::Down(link) => Input::LinkDown { link },
            Own::Cell(ticket, bytes) => {
                self.edges[edge].cell = Some(bytes);
                let result = Ok(());
                Input::Disk(DiskReply::Done { ticket, result })
            }
            Own::Wake | Own::Tick | Own::Disk | Own::Direct(_) => return,
        };
        let wishes = self.edges[edge].handle(input, now);
        self.grant(edge, wishes);
    }

    fn own_of_member(&mut self, process: usize, own: Own, now: Now) {
        let input = match own {
            Own::Wake => Input::Timeout,
            Own::Tick => return self.tick(process, now),
            Own::Disk => return self.disk(process, now),
            Own::Direct(frame) => return self.hear(process, head_end::From::Direct, frame),
            Own::Cell(..) => return,
            Own::Up(link, port) => match self.kind(link) {
                Some(Kind::Utility) => {
                    // The head-end greets at once, as a utility does.
                    if let Some(head_end) = &self.members[process].head_end {
                        let epoch = head_end.epoch;
                        let hello = links::hello(epoch);
                        self.send(process, link, hello);
                        let lives = Frame::Lives { epoch }.encode();
                        self.send(process, link, lives);
                    }
                    return;
                }
                Some(Kind::Seat | Kind::Peer) => Input::LinkUp { link, port },
                None => return,
            },
            Own::Frame(link, frame) => match self.kind(link) {
                Some(Kind::Utility) => {
                    if let Some(frame) = Frame::decode(&frame) {
                        self.hear(process, head_end::From::Edge(link), frame);
                    }
                    return;
                }
                Some(Kind::Seat | Kind::Peer) | None => Input::Frame { link, frame },
            },
            Own::Down(link) => Input::LinkDown { link },
        };
        self.input(process, input, now);
    }

    fn input(&mut self, process: usize, input: Input, now: Now) {
        let Some(node) = &mut self.members[process].node else {
            return;
        };
        node.handle(input, now);
        self.drain(process);
    }

    fn drain(&mut self, process: usize) {
        while let Some(output) = self.members[process]
            .node
            .as_mut()
            .and_then(Node::poll_output)
        {
            match output {
                Output::Send { link, frame } => self.send(process, link, frame),
                Output::Close { link, .. } => self.close(link),
                Output::Disk(DiskRequest::Pair(request)) => {
                    self.ask_disk(process, Job::Pair(request));
                }
                Output::Disk(_) | Output::Dial { .. } => {}
            }
        }
        self.arm(process);
    }

    fn arm(&mut self, process: usize) {
        let Some(node) = &self.members[process].node else {
            return;
        };
        let Some((local, _)) = node.wake().instant else {
            return;
        };
        let at = self.processes[process].at(local).max(self.now + 1);
        if self.processes[process].armed != Some(at) {
            self.processes[process].armed = Some(at);
            self.tell(process, at - self.now, Own::Wake);
        }
    }

    fn ask_disk(&mut self, process: usize, job: Job) {
        let took = MS / 2 + self.below(8 * MS);
        let member = &mut self.members[process];
        member.disk.waiting.push_back(job);
        member.busy_until = member.busy_until.max(self.now) + took;
        let wait = member.busy_until - self.now;
        self.tell(process, wait, Own::Disk);
    }

    fn disk(&mut self, process: usize, now: Now) {
        for told in self.members[process].disk.carry_out() {
            match told {
                Told::Keeper(reply) => self.input(process, Input::Disk(reply), now),
                Told::HeadEnd(change) => {
                    let at = now.instant.as_nanos();
                    let head_end = self.members[process].head_end.as_mut();
                    let wishes = head_end.map(|it| it.handle_written(change, at));
                    self.fulfil(process, wishes.unwrap_or_default());
                }
            }
        }
    }

    /// Whether it may act is told to the head-end from time to time, and only to one that is awake.
    fn tick(&mut self, process: usize, now: Now) {
        self.tell(process, TICK, Own::Tick);
        let member = &mut self.members[process];
        let Some(node) = &member.node else { return };
        let reign = node.reign(now);
        if let Standing::Over { .. } = node.status(now).standing {
            self.outcome.copies += node.status(now).copies;
            // Its process begins anew.
            self.crash(process);
            self.start(process);
            return;
        }
        match (reign, &mut member.head_end) {
            (Some((epoch, _)), None) => {
                let is_blind = self.trial.sabotage == Some(PairSabotage::BlindRepeat);
                member.head_end = Some(HeadEnd::new(epoch, &member.disk.data, is_blind));
                self.outcome.reigns += 1;
                self.look_for_lost(process);
            }
            (Some(_), Some(head_end)) => {
                let ordered = self.ordered.iter().copied();
                let wishes = head_end.tick(ordered, now.instant.as_nanos());
                self.fulfil(process, wishes);
            }
            (None, Some(_)) => {
                member.head_end = None;
                self.gone_at = self.gone_at.or(Some(self.now));
                self.drop_links(process, |kind| kind == Kind::Utility);
            }
            (None, None) => {}
        }
    }

    fn hear(&mut self, process: usize, from: head_end::From, frame: Frame) {
        let at = self.local(process).instant.as_nanos();
        let Some(head_end) = &mut self.members[process].head_end else {
            return;
        };
        let wish = match frame {
            Frame::Reading(number) => head_end.take_reading(number, from),
            Frame::Answer { command, is_done } => head_end.take_answer(command, is_done, at),
            Frame::Stored { .. }
            | Frame::Execute { .. }
            | Frame::Look { .. }
            | Frame::Lives { .. } => None,
        };
        self.fulfil(process, wish.into_iter().collect());
    }

    /// What a head-end wants.
    fn fulfil(&mut self, process: usize, wishes: Vec<head_end::Wish>) {
        for wish in wishes {
            match wish {
                head_end::Wish::Write(change) => self.ask_disk(process, Job::Write(change)),
                head_end::Wish::Acknowledge(head_end::From::Direct, number) => {
                    self.direct.remove(&number);
                    self.acknowledged.insert(number);
                }
                head_end::Wish::Acknowledge(head_end::From::Edge(link), number) => {
                    let Some(head_end) = &self.members[process].head_end else {
                        return;
                    };
                    let epoch = head_end.epoch;
                    let frame = Frame::Stored { number, epoch }.encode();
                    self.send(process, link, frame);
                }
                head_end::Wish::ToMeter(frame) => self.call_meter(process, frame),
            }
        }
    }

    fn call_meter(&mut self, process: usize, frame: Frame) {
        let meter = meter_of(&frame, self.meters.len());
        if meter % 2 == 1 {
            // By address: nothing stands in between but time, sometimes a lot of it.
            let slow = self.below(10) == 0;
            let wait = MS + self.below(if slow { 4_000 * MS } else { 40 * MS });
            let back = Back::Member(process, self.processes[process].incarnation);
            return self.after(wait, Event::Meter(back, frame));
        }
        if let Some(link) = self.utility_link(process, MEMBERS + meter / 2) {
            self.send(process, link, frame.encode());
        }
    }

    /// What an edge wants.
    fn grant(&mut self, edge: usize, wishes: Vec<edge::Wish>) {
        let process = MEMBERS + edge;
        for wish in wishes {
            match wish {
                edge::Wish::Send(link, frame) => self.send(process, link, frame),
                edge::Wish::Close(link) => self.close(link),
                edge::Wish::Remember { ticket, bytes } => {
                    let wait = MS / 2 + self.below(5 * MS);
                    self.tell(process, wait, Own::Cell(ticket, bytes));
                }
                edge::Wish::ToMeter(frame) => {
                    let wait = MS + self.below(60 * MS);
                    self.after(wait, Event::Meter(Back::Edge(edge), frame));
                }
                edge::Wish::Acknowledged(number) => {
                    self.acknowledged.insert(number);
                }
                edge::Wish::Heard(epoch) => {
                    if epoch > self.highest_heard {
                        self.highest_heard = epoch;
                        if let Some(gone) = self.gone_at.take() {
                            let took = Duration::from_nanos(self.now - gone);
                            self.outcome.takeovers.push(took);
                        }
                    }
                }
                edge::Wish::OldReign => {
                    let at_ms = self.at_ms();
                    self.violate(PairViolation::OldReign { at_ms, edge });
                }
            }
        }
    }

    fn meter(&mut self, back: Back, frame: Frame) {
        let is_deaf = self.trial.sabotage == Some(PairSabotage::DeafFence);
        let count = self.meters.len();
        let meter = &mut self.meters[meter_of(&frame, count)];
        let (command, counter, is_order) = match frame {
            Frame::Execute {
                command, counter, ..
            } => (command, counter, true),
            Frame::Look {
                command, counter, ..
            } => (command, counter, false),
            Frame::Reading(_)
            | Frame::Stored { .. }
            | Frame::Answer { .. }
            | Frame::Lives { .. } => return,
        };
        // A meter believes no counter twice, and none below.
        if counter <= meter.counter && !is_deaf {
            return;
        }
        meter.counter = meter.counter.max(counter);
        let times = meter.done.entry(command).or_insert(0);
        *times += u32::from(is_order);
        let (is_done, is_twice) = (*times > 0, *times > 1 && is_order);
        if is_twice {
            let at_ms = self.at_ms();
            self.violate(PairViolation::Twice { at_ms, command });
        }
        // One answer in eight is lost.
        if self.below(8) == 0 {
            return;
        }
        let answer = Frame::Answer { command, is_done };
        match back {
            Back::Edge(edge) => {
                let wishes = self.edges[edge].answer(answer);
                self.grant(edge, wishes);
            }
            Back::Member(process, incarnation) => {
                let wait = MS + self.below(40 * MS);
                self.after(wait, Event::To(process, incarnation, Own::Direct(answer)));
            }
        }
    }

    /// Whoever believes that it may act must be alone in it, also while it sleeps.
    fn look_for_two(&mut self) {
        let active = (0..MEMBERS).filter(|process| {
            let node = self.members[*process].node.as_ref();
            node.is_some_and(|node| node.reign(self.local(*process)).is_some())
        });
        if active.count() > 1 {
            let at_ms = self.at_ms();
            self.violate(PairViolation::TwoActive { at_ms });
        }
    }

    fn look_for_lost(&mut self, process: usize) {
        let held = &self.members[process].disk.data.readings;
        let lost: Vec<u64> = self.acknowledged.difference(held).copied().collect();
        let at_ms = self.at_ms();
        for reading in lost {
            self.violate(PairViolation::LostReading { at_ms, reading });
        }
    }

    fn look_at_the_end(&mut self) {
        let mut unsettled = Vec::new();
        let active: Vec<usize> = (0..MEMBERS)
            .filter(|process| self.members[*process].head_end.is_some())
            .collect();
        match active[..] {
            [process] => {
                self.look_for_lost(process);
                let [one, other] = [0, 1].map(|member| &self.members[member].disk.data);
                if one != other {
                    unsettled.push("the members' data differ".to_owned());
                }
                let open = self.members[process].disk.data.commands.values();
                let open = open.filter(|settled| !**settled).count();
                if open > 0 {
                    unsettled.push(format!("{open} commands are unsettled"));
                }
            }
            _ => unsettled.push(format!("{} members are active", active.len())),
        }
        let waiting = self.edges.iter().map(|edge| edge.unacknowledged.len());
        let waiting = waiting.sum::<usize>() + self.direct.len();
        if waiting > 0 {
            unsettled.push(format!("{waiting} readings wait"));
        }
        let done: usize = self
            .meters
            .iter()
            .map(|meter| meter.done.values().filter(|times| **times > 0).count())
            .sum();
        if done != self.ordered.len() {
            let ordered = self.ordered.len();
            unsettled.push(format!("{done} of {ordered} commands were carried out"));
        }
        for member in &self.members {
            if let Some(node) = &member.node {
                let now = self.local(0);
                self.outcome.copies += node.status(now).copies;
            }
        }
        for what in unsettled {
            self.violate(PairViolation::Unsettled { what });
        }
    }
}

fn edge_name(edge: usize) -> String {
    format!("edge-{}", edge + 1)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("a run is no age of the world")
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("a run has fewer readings")
}

/// Even meters are behind an edge, odd ones are reached by address.
fn meter_of(frame: &Frame, meters: usize) -> usize {
    match frame {
        Frame::Execute { command, .. }
        | Frame::Look { command, .. }
        | Frame::Answer { command, .. } => index(*command) % meters,
        Frame::Reading(_) | Frame::Stored { .. } | Frame::Lives { .. } => 0,
    }
}
