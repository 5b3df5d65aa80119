//! The event loop of virtual time: every frame, answer of a disk and deadline in one order.

mod connecting;
mod failing;
mod parts;
mod timeline;
mod watch;

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use gridloom_core::seed;
use gridloom_core::{Instant, MeterId, Now, Seed, UtcTime};
use gridloom_field::attack::{AttackLog, Kind};
use gridloom_nodes::delay::DelayReport;
use gridloom_nodes::envelope::Message;
use gridloom_nodes::{
    EdgeNode, GatewayNode, HeadEndNode, Input, LinkId, MeterNode, Node, Output, Port, UtilityNode,
};
use gridloom_store::{Backend, LedgerConfig, MeterRow};

use crate::attack::AttackPlan;
use crate::disk::Disk;
use crate::head_end;
use crate::hosted::{Blueprint, Hosted, Role};
use crate::link::{Lane, LinkModel, Passage, below, nanos};
use crate::sabotage::Sabotage;
use crate::town::Town;

use parts::{Cable, End, Event, NodeClock, Place, What};
pub use parts::{CableIndex, Counters, Fault, Happened, NodeIndex, Way, WorldError, WorldPlan};
pub use timeline::Timeline;
pub use watch::Breaches;

/// A town in virtual time. Wall time and monotonic time run together here.
#[derive(Debug)]
pub struct World {
    blueprint: Blueprint,
    /// Cables that somebody listens to, and who.
    taps: BTreeMap<usize, usize>,
    /// Meters whose pushed readings do not reach the utility.
    withheld: BTreeSet<MeterId>,
    heard: head_end::Heard,
    /// What earlier lives of the utility measured.
    delays: DelayReport,
    start: UtcTime,
    /// Nanoseconds since the start.
    time: u64,
    queue: BinaryHeap<Reverse<Event>>,
    sequence: u64,
    places: Vec<Place>,
    cables: Vec<Cable>,
    chance: seed::Rng,
    /// Scheduled faults of an earlier age do not happen.
    fault_age: u32,
    faults: Vec<Fault>,
    counters: Counters,
    timeline: Option<Timeline>,
    sabotage: Option<Sabotage>,
    /// Whether what frames are is watched.
    is_watched: bool,
    breaches: Breaches,
}

impl World {
    /// The longest wait before a lower neighbour dials again.
    pub const REDIAL_MAX: Duration = Duration::from_secs(3);

    /// How long an end of a stream waits for a confirmation before it gives the connection up.
    pub const STREAM_TIMEOUT: Duration = Duration::from_secs(20);

    /// Timeouts that one node may take at one moment. A meter that was away captures
    /// [`gridloom_field::Meter::CAPTURES_MAX`] intervals with each; none needs more than its
    /// profile holds.
    pub const SPINS_MAX: u32 = 1_000;

    /// A town, powered on: one edge, one utility, one archive, and as many gateways as its meters
    /// need.
    ///
    /// # Errors
    ///
    /// [`WorldError::Boot`] if a node does not start.
    ///
    /// # Panics
    ///
    /// If a gateway is to have no meters.
    pub fn new(seed: Seed, town: Arc<Town>, plan: WorldPlan) -> Result<Self, WorldError> {
        Self::under_attack(seed, town, plan, AttackPlan::PEACE)
    }

    /// The same town with attackers in it. Those beside the network have cables of their own, as
    /// good as a meter's.
    ///
    /// # Errors
    ///
    /// [`WorldError::Boot`] if a node does not start.
    ///
    /// # Panics
    ///
    /// If a gateway is to have no meters, or an attacker stands where nothing is.
    pub fn under_attack(
        seed: Seed,
        town: Arc<Town>,
        plan: WorldPlan,
        attack: AttackPlan,
    ) -> Result<Self, WorldError> {
        assert!(plan.meters_per_gateway > 0, "a gateway serves a meter");
        let houses = town.houses().len();
        let gateways = houses.div_ceil(plan.meters_per_gateway);
        let mut roles = vec![Role::Archive, Role::Utility, Role::Edge];
        roles.extend((1..=gateways).map(Role::Gateway));
        roles.extend((0..houses).map(Role::Meter));
        let head_end = roles.len();
        roles.extend(plan.head_end.map(|_| Role::HeadEnd));
        let backup_edge = roles.len();
        roles.extend(plan.alternates.map(|_| Role::BackupEdge));
        let first_attacker = roles.len();
        roles.extend((0..attack.beside().count()).map(Role::Attacker));
        let (archive, utility, edge, first_gateway) = (0, 1, 2, 3);
        let mut pairs = vec![
            (utility, archive, plan.wide_area),
            (edge, utility, plan.wide_area),
        ];
        // Every other gateway has the second edge for its primary, if there is one.
        let edges_of = |n: usize| match (plan.alternates, n % 2) {
            (None, _) => (edge, edge),
            (Some(_), 0) => (edge, backup_edge),
            (Some(_), _) => (backup_edge, edge),
        };
        pairs.extend((0..gateways).map(|n| (first_gateway + n, edges_of(n).0, plan.wide_area)));
        pairs.extend((0..houses).map(|house| {
            let gateway = first_gateway + house / plan.meters_per_gateway;
            (first_gateway + gateways + house, gateway, plan.field)
        }));
        pairs.extend(plan.head_end.map(|_| (head_end, utility, plan.wide_area)));
        let first_house_cable = pairs.len() - houses - usize::from(plan.head_end.is_some());
        let with_primaries = pairs.len();
        if plan.alternates.is_some() {
            pairs.extend((0..gateways).map(|n| (first_gateway + n, edges_of(n).1, plan.wide_area)));
            let second = |house: usize| (house / plan.meters_per_gateway + 1) % gateways;
            let lines = (0..houses).map(|house| {
                let gateway = first_gateway + second(house);
                (first_gateway + gateways + house, gateway, plan.field)
            });
            pairs.extend(lines.take(if gateways > 1 { houses } else { 0 }));
        }
        let backups = with_primaries..pairs.len();
        pairs.extend(
            plan.alternates
                .map(|_| (backup_edge, utility, plan.wide_area)),
        );
        let mut taps = BTreeMap::new();
        for (attacker, beside) in (first_attacker..).zip(attack.beside()) {
            assert!(
                (1..=gateways).contains(&beside.gateway),
                "a gateway stands there"
            );
            let upper = if beside.kind == Kind::Intruder {
                edge
            } else {
                first_gateway + beside.gateway - 1
            };
            pairs.extend((0..beside.lines).map(|_| (attacker, upper, plan.field)));
            let tapped = beside.victims.iter().map(|house| first_house_cable + house);
            taps.extend(tapped.map(|cable| (cable, attacker)));
        }
        let start = town.plan().start;
        let mut world = Self {
            blueprint: Blueprint {
                town,
                ledger: plan.ledger,
                spool: plan.spool,
                head_end: plan.head_end,
                attack,
                alternates: plan.alternates,
            },
            taps,
            withheld: BTreeSet::new(),
            heard: head_end::Heard::default(),
            delays: DelayReport::default(),
            start,
            time: 0,
            queue: BinaryHeap::new(),
            sequence: 0,
            places: roles
                .into_iter()
                .map(|role| Place::new(role, seed))
                .collect(),
            cables: Vec::new(),
            chance: seed.child("world").rng(),
            fault_age: 0,
            faults: Vec::new(),
            counters: Counters::default(),
            timeline: None,
            sabotage: None,
            is_watched: false,
            breaches: Breaches::default(),
        };
        for (number, (lower, upper, model)) in pairs.into_iter().enumerate() {
            let port = if backups.contains(&number) {
                Port::Backup
            } else {
                Port::Up
            };
            world.lay_cable(seed, (lower, upper), port, model);
        }
        world.enrol_meters(utility);
        if plan.head_end.is_some() {
            let now = world.now();
            let town = Arc::clone(&world.blueprint.town);
            head_end::enrol(&town, &mut world.places[head_end].disk, now);
        }
        for place in 0..world.places.len() {
            world.boot(place)?;
        }
        world.schedule_supply(first_gateway + gateways);
        Ok(world)
    }

    /// Meters are dark while the feeder's switches leave their houses without supply.
    fn schedule_supply(&mut self, first_meter: usize) {
        let town = Arc::clone(&self.blueprint.town);
        let Some(street) = town.street() else {
            return;
        };
        street.look(|street| {
            for home in 0..street.homes().len() {
                let meter = NodeIndex(first_meter + home);
                for (at, lit) in street.supply_changes(home) {
                    let fault = if *lit {
                        Fault::Lit(meter)
                    } else {
                        Fault::Dark(meter)
                    };
                    self.schedule(*at, fault);
                }
            }
        });
    }

    /// The town.
    pub fn town(&self) -> &Arc<Town> {
        &self.blueprint.town
    }

    /// The time, on both clocks.
    pub fn now(&self) -> Now {
        now_at(self.start, self.time)
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Every node.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeIndex, Role)> {
        let places = self.places.iter().enumerate();
        places.map(|(index, place)| (NodeIndex(index), place.role))
    }

    /// Every cable, with the role of its lower end.
    pub fn cables(&self) -> impl Iterator<Item = (CableIndex, Role)> {
        let cables = self.cables.iter().enumerate();
        cables.map(|(index, cable)| (CableIndex(index), self.places[cable.lower].role))
    }

    /// What a node is.
    pub fn role(&self, node: NodeIndex) -> Role {
        self.places[node.0].role
    }

    /// The meter nodes that run, with the index of their house.
    pub fn meters(&self) -> impl Iterator<Item = (usize, &MeterNode)> {
        self.places.iter().filter_map(|place| {
            let Role::Meter(house) = place.role else {
                return None;
            };
            Some((house, place.node.as_ref()?.meter()?))
        })
    }

    /// The gateways that run.
    pub fn gateways(&self) -> impl Iterator<Item = &GatewayNode> {
        let nodes = self.places.iter().filter_map(|place| place.node.as_ref());
        nodes.filter_map(Hosted::gateway)
    }

    /// What each attacker did. Whoever lies about a load has no log: the plan says it all.
    pub fn attack_logs(&self) -> impl Iterator<Item = (Role, &AttackLog)> {
        self.places
            .iter()
            .filter_map(|place| Some((place.role, place.node.as_ref()?.attack_log()?)))
    }

    /// The utility; `None` while it is down.
    pub fn utility(&self) -> Option<&UtilityNode> {
        self.places.iter().find_map(|place| match &place.node {
            Some(Hosted::Utility(node)) => Some(&**node),
            _ => None,
        })
    }

    /// How long readings were under way, in every life of the utility. Every push is measured.
    pub fn delays(&self) -> DelayReport {
        let mut all = self.delays.clone();
        if let Some(utility) = self.utility() {
            all.merge(utility.delays());
        }
        all
    }

    /// The edge; `None` while it is down.
    pub fn edge(&self) -> Option<&EdgeNode> {
        self.edge_of(Role::Edge)
    }

    /// The other edge; `None` while it is down, or if there is none.
    pub fn backup_edge(&self) -> Option<&EdgeNode> {
        self.edge_of(Role::BackupEdge)
    }

    fn edge_of(&self, role: Role) -> Option<&EdgeNode> {
        let place = self.places.iter().find(|place| place.role == role)?;
        match &place.node {
            Some(Hosted::Edge(node)) => Some(node),
            _ => None,
        }
    }

    /// The head-end; `None` while it is down, or if there is none.
    pub fn head_end(&self) -> Option<&HeadEndNode> {
        self.places.iter().find_map(|place| match &place.node {
            Some(Hosted::HeadEnd(node)) => Some(&**node),
            _ => None,
        })
    }

    /// Lets an operator call the head-end; `None` while it is down.
    ///
    /// # Errors
    ///
    /// [`WorldError`] of what follows.
    pub fn operate<T>(
        &mut self,
        call: impl FnOnce(&mut HeadEndNode, Now) -> T,
    ) -> Result<Option<T>, WorldError> {
        let now = self.now();
        let place = self
            .places
            .iter()
            .position(|place| place.role == Role::HeadEnd);
        let Some(index) = place else {
            return Ok(None);
        };
        let Some(Hosted::HeadEnd(node)) = &mut self.places[index].node else {
            return Ok(None);
        };
        let answer = call(node, now);
        self.drain(index)?;
        Ok(Some(answer))
    }

    /// What the head-end sent so far, as somebody hears it who has no key.
    pub fn heard(&self) -> &head_end::Heard {
        &self.heard
    }

    /// Loses every pushed reading of a meter between edge and utility from now on, and nothing
    /// else: its tunnel stays.
    pub fn withhold(&mut self, meter: MeterId) {
        self.withheld.insert(meter);
    }

    /// Lets them pass again.
    pub fn release(&mut self, meter: MeterId) {
        self.withheld.remove(&meter);
    }

    /// A node's disk.
    pub fn disk(&self, role: Role) -> Option<&Disk> {
        let place = self.places.iter().find(|place| place.role == role)?;
        Some(&place.disk)
    }

    /// A node's disk, for a test that wants to damage it.
    pub fn disk_mut(&mut self, role: Role) -> Option<&mut Disk> {
        let place = self.places.iter_mut().find(|place| place.role == role)?;
        Some(&mut place.disk)
    }

    /// The bounds of the utility's ledger.
    pub fn ledger_config(&self) -> LedgerConfig {
        self.blueprint.ledger
    }

    /// What a cable is like from now on; frames under way are not touched.
    pub fn set_model(&mut self, cable: CableIndex, model: LinkModel) {
        self.cables[cable.0].model = model;
    }

    /// What a cable is like.
    pub fn model(&self, cable: CableIndex) -> LinkModel {
        self.cables[cable.0].model
    }

    /// Lets a fault happen at `at`, or now if that is past.
    pub fn schedule(&mut self, at: UtcTime, fault: Fault) {
        let age = self.fault_age;
        let at = self.nanos_of(at).max(self.time);
        let number = self.faults.len();
        self.faults.push(fault);
        self.push(at, What::Fault { age, fault: number });
    }

    /// Mends every cable, makes each as good as it was laid, sets every clock right, makes room on
    /// every disk, starts every node that is down, and cancels every fault to come.
    ///
    /// # Errors
    ///
    /// [`WorldError::Boot`] if a node does not start.
    pub fn heal(&mut self) -> Result<(), WorldError> {
        self.fault_age += 1;
        self.heal_quietly()?;
        for cable in 0..self.cables.len() {
            self.cables[cable].model = self.cables[cable].healthy;
            self.mend(cable);
        }
        for place in 0..self.places.len() {
            self.boot(place)?;
        }
        Ok(())
    }

    /// Runs until `until`, and tells `watch` of every crash and restart.
    ///
    /// # Errors
    ///
    /// [`WorldError`], which names the node.
    pub fn run_until(
        &mut self,
        until: UtcTime,
        mut watch: impl FnMut(&Self, Happened),
    ) -> Result<(), WorldError> {
        let until = self.nanos_of(until);
        while let Some(event) = self.next_event(until) {
            self.time = event.at;
            if let Some(happened) = self.carry_out(event.what)? {
                watch(self, happened);
            }
        }
        self.time = self.time.max(until);
        Ok(())
    }

    fn next_event(&mut self, until: u64) -> Option<Event> {
        let top = self.queue.peek_mut().filter(|top| top.0.at <= until)?;
        let Reverse(event) = PeekMut::pop(top);
        Some(event)
    }

    fn lay_cable(
        &mut self,
        seed: Seed,
        (lower, upper): (usize, usize),
        port: Port,
        model: LinkModel,
    ) {
        let index = self.cables.len();
        let seed = seed.child("cable").nth(index as u64);
        self.cables.push(Cable {
            lower,
            upper,
            port,
            model,
            healthy: model,
            cut: false,
            generation: 0,
            stands: [false; 2],
            dialling: false,
            muted: [false; 2],
            is_given_up: false,
            lanes: ["up", "down"].map(|way| Lane::new(seed.child(way).rng())),
        });
        self.places[lower].cables.push(index);
        self.places[upper].cables.push(index);
    }

    /// The registry in the database, which lists the meters of a whole day's query.
    fn enrol_meters(&mut self, utility: usize) {
        for house in self.blueprint.town.houses() {
            self.places[utility]
                .disk
                .database_mut()
                .enrol(MeterRow {
                    meter: house.meter(),
                    title: house.config().title,
                    name: house.name().to_owned(),
                    phases: 1,
                    // The simulated edge has its keys from the town.
                    wrapped_ek: Vec::new(),
                    wrapped_ak: Vec::new(),
                    service_point: house.name().to_owned(),
                })
                .expect("a town gives every meter its own number and title");
        }
    }

    fn push(&mut self, at: u64, what: What) {
        self.sequence += 1;
        self.queue.push(Reverse(Event {
            at,
            sequence: self.sequence,
            what,
        }));
    }

    fn carry_out(&mut self, what: What) -> Result<Option<Happened>, WorldError> {
        match what {
            What::Frame { link, to, frame } => self.arrive(link, to, frame)?,
            What::DialFailed { place, life, dial } => {
                if self.places[place].life == life {
                    let reason = "no cable of this world leads there".to_owned();
                    self.give(place, Input::DialFailed { dial, reason })?;
                }
            }
            What::Wake { place, number } => self.wake(place, number)?,
            What::DiskDone { place, life } => self.disk_done(place, life)?,
            What::Dial { cable } => self.connect(cable)?,
            What::Hangup { link, end } => self.hang_up(link, end)?,
            What::Fault { age, fault } if age == self.fault_age => {
                return self.fail(self.faults[fault]);
            }
            What::Fault { .. } => {}
        }
        Ok(None)
    }

    fn arrive(&mut self, link: LinkId, to: End, frame: Vec<u8>) -> Result<(), WorldError> {
        let (index, generation) = cable_of(link);
        let cable = &self.cables[index];
        if !cable.stands(generation, to) {
            self.counters.frames_lost += 1;
            return Ok(());
        }
        let place = cable.place(to);
        self.give(place, Input::Frame { link, frame })
    }

    fn wake(&mut self, index: usize, number: u64) -> Result<(), WorldError> {
        let now = self.now_of(index);
        let place = &mut self.places[index];
        // A wake that an earlier one replaced.
        if place.wake.is_none_or(|(_, current)| current != number) {
            return Ok(());
        }
        place.wake = None;
        let Some(node) = &place.node else {
            return Ok(());
        };
        let wake = node.wake();
        if !wake.is_due(now) {
            self.schedule_wake(index);
            return Ok(());
        }
        place.spins = match place.spins {
            (at, spins) if at == self.time => (at, spins + 1),
            _ => (self.time, 1),
        };
        if place.spins.1 > Self::SPINS_MAX {
            let due_utc = wake.utc.filter(|(at, _)| *at <= now.utc);
            let due_instant = wake.instant.filter(|(at, _)| *at <= now.instant);
            return Err(WorldError::Restless {
                node: place.role.name(),
                at: now.utc,
                timer: due_utc
                    .map(|(_, timer)| timer)
                    .or(due_instant.map(|(_, timer)| timer))
                    .unwrap_or("a timer"),
            });
        }
        self.give(index, Input::Timeout)
    }

    /// Gives a node one input and carries out what it wants done.
    fn give(&mut self, index: usize, input: Input) -> Result<(), WorldError> {
        let now = self.now_of(index);
        self.note_input(index, &input);
        if let Some(node) = &mut self.places[index].node {
            self.counters.events += 1;
            node.handle(input, now);
            self.drain(index)?;
        }
        Ok(())
    }

    fn drain(&mut self, index: usize) -> Result<(), WorldError> {
        while let Some(output) = self.places[index].node.as_mut().and_then(Node::poll_output) {
            self.note_output(index, &output);
            match output {
                Output::Send { link, frame } => self.send(index, link, frame),
                Output::Close { link, .. } => {
                    let (cable, generation) = cable_of(link);
                    let end = self.cables[cable].end_of(index);
                    if self.cables[cable].stands(generation, end) {
                        self.push(self.time, What::Hangup { link, end });
                        self.tell_peer(cable, end);
                    }
                }
                Output::Dial { dial, .. } => {
                    let life = self.places[index].life;
                    let place = index;
                    self.push(self.time, What::DialFailed { place, life, dial });
                }
                Output::Disk(mut request) => {
                    if self.is_watched {
                        self.watch_request(index, &mut request);
                    }
                    let place = &mut self.places[index];
                    if let Some(takes) = place.disk.request(request) {
                        let life = place.life;
                        self.push(self.time + takes, What::DiskDone { place: index, life });
                    }
                    if std::mem::take(&mut self.places[index].doomed) {
                        let after = below(&mut self.chance, nanos(Disk::TIME_MAX) * 4);
                        let age = self.fault_age;
                        let fault = self.faults.len();
                        self.faults.push(Fault::Crash(NodeIndex(index)));
                        self.push(self.time + after, What::Fault { age, fault });
                    }
                }
            }
        }
        self.schedule_wake(index);
        Ok(())
    }

    fn send(&mut self, from: usize, link: LinkId, frame: Vec<u8>) {
        if self.places[from].role == Role::HeadEnd {
            self.heard.listen(&frame);
        }
        let frame = if self.withheld.is_empty()
            || !matches!(self.places[from].role, Role::Edge | Role::BackupEdge)
        {
            frame
        } else {
            without(&self.withheld, frame)
        };
        let (index, generation) = cable_of(link);
        let mut frame = frame;
        if self.is_watched {
            self.watch_frame(from, index, link, &mut frame);
        }
        if let Some(listener) = self.taps.get(&index).copied() {
            let now = self.now();
            if let Some(Hosted::Attacker(node)) = &mut self.places[listener].node {
                node.overhear(&frame, now);
            }
        }
        let cable = &mut self.cables[index];
        // A link that is gone swallows it.
        let end = cable.end_of(from);
        if !cable.stands(generation, end) {
            return;
        }
        self.counters.frames_sent += 1;
        let to = end.other();
        if cable.muted[end as usize] {
            self.swallow(index, link);
            return;
        }
        match cable.lanes[end as usize].pass(&cable.model, self.time, frame.len()) {
            Passage::Lost => self.counters.frames_lost += 1,
            Passage::Once(at) => self.push(at, What::Frame { link, to, frame }),
            Passage::Twice(first, second) => {
                self.counters.frames_duplicated += 1;
                let copy = frame.clone();
                self.push(first, What::Frame { link, to, frame });
                let frame = copy;
                self.push(second, What::Frame { link, to, frame });
            }
        }
    }

    /// Makes sure that a wake is scheduled no later than the node's next deadline. One that comes
    /// too early looks again, which is cheaper than replacing it each time a deadline moves on.
    fn schedule_wake(&mut self, index: usize) {
        let place = &self.places[index];
        let Some(node) = &place.node else {
            return;
        };
        let wake = node.wake();
        let instant = wake.instant.map(|(at, _)| at.as_nanos());
        let utc = wake.utc.map(|(at, _)| place.clock.when(self.start, at));
        let Some(at) = [instant, utc].into_iter().flatten().min() else {
            return;
        };
        let at = at.max(self.time);
        if place.wake.is_some_and(|(scheduled, _)| scheduled <= at) {
            return;
        }
        let number = self.sequence + 1;
        self.places[index].wake = Some((at, number));
        self.push(
            at,
            What::Wake {
                place: index,
                number,
            },
        );
    }

    /// The time as a node has it.
    fn now_of(&self, index: usize) -> Now {
        let clock = self.places[index].clock;
        if clock == NodeClock::default() {
            return self.now();
        }
        Now {
            instant: Instant::from_nanos(self.time),
            utc: clock.shows(self.start, self.time),
        }
    }

    fn nanos_of(&self, utc: UtcTime) -> u64 {
        nanos(utc.since(self.start))
    }
}

/// An edge's envelope without the readings of these meters.
fn without(withheld: &BTreeSet<MeterId>, frame: Vec<u8>) -> Vec<u8> {
    match Message::decode(&frame) {
        Ok(Message::Screened(mut readings)) => {
            readings.retain(|it| !withheld.contains(&it.accepted.reading.meter));
            Message::Screened(readings).encode()
        }
        Ok(_) | Err(_) => frame,
    }
}

fn now_at(start: UtcTime, time: u64) -> Now {
    Now {
        instant: Instant::from_nanos(time),
        utc: start + Duration::from_nanos(time),
    }
}

/// A connection's number: its cable, and how many there were on it.
fn link_id(cable: usize, generation: u32) -> LinkId {
    LinkId(u64::from(generation) << 32 | cable as u64)
}

fn cable_of(link: LinkId) -> (usize, u32) {
    let LinkId(number) = link;
    let generation = u32::try_from(number >> 32).expect("the upper half of a u64 fits u32");
    let cable = usize::try_from(number & u64::from(u32::MAX)).expect("cables fit usize");
    (cable, generation)
}
