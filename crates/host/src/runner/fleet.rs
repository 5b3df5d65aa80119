//! The loop: one input, full drain, next input.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use gridloom_core::{Instant, Now};
use gridloom_nodes::{
    DialId, DiskReply, DiskRequest, Input, LinkId, Node, Output, PairReply, Port, Wire,
};
use tokio::sync::{mpsc, watch};

use super::gate::Gate;
use super::{Command, Member, shared};
use crate::clock::Clock;
use crate::disk::{DiskClient, DiskHandle};
use crate::framing::Framing;
use crate::net::{
    DialTarget, LinkEvent, LinkLimits, LinkSpec, LinkWriter, Net, Route, SendError, dial_once,
};

/// Inputs of one kind that are handled before the other kinds, and then other tasks, have a turn.
pub const BATCH_MAX: usize = 128;

/// Disk requests of one runner that may wait for their answer. Above it only disk answers and
/// calls are taken: sockets fill, and the peers wait. What one input asks for may exceed it.
pub const DISK_OUTSTANDING_MAX: usize = 4_096;

/// Stopping takes at most this long; a disk or a peer that is slower is left behind, with a
/// line in the log.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// How often the realtime clock is checked for having been set.
const DRIFT_CHECK: Duration = Duration::from_secs(1);

/// A clock that moved by less than this was slewed, not set: deadlines stay as they are.
const DRIFT_MILLIS_MAX: u64 = 20;

/// Attempts to connect that the nodes of one runner may have under way; one more fails at once.
pub const DIALS_MAX: usize = 1_024;

/// What it takes to connect for a node.
pub(super) struct Dialing {
    pub(super) net: Net,
    pub(super) events: mpsc::Sender<LinkEvent>,
    pub(super) stop: watch::Receiver<bool>,
}

struct Slot<N> {
    name: Arc<str>,
    node: N,
    /// The key of this slot in [`Fleet::timers`].
    armed: Option<Instant>,
}

struct Link {
    route: Route,
    /// The nodes that have heard of it.
    slots: BTreeSet<usize>,
    /// `None` once we want it closed.
    writer: Option<LinkWriter>,
}

pub(crate) struct Fleet<N> {
    clock: Clock,
    slots: Vec<Slot<N>>,
    timers: BTreeSet<(Instant, usize)>,
    links: BTreeMap<LinkId, Link>,
    events: mpsc::Receiver<LinkEvent>,
    disk: Option<DiskClient>,
    replies: mpsc::UnboundedReceiver<(usize, DiskReply)>,
    outstanding: usize,
    /// Whether the disk tells more than it was asked: a pair's keeper is here.
    keeps: bool,
    gate: Option<Gate>,
    drift: Option<i64>,
    drift_checked_at: Instant,
    stop: watch::Sender<bool>,
    /// `None` once the runner winds down.
    dialing: Option<Dialing>,
    /// Attempts without an answer.
    dials: usize,
    /// Attempts that failed before they began.
    failed_dials: VecDeque<(usize, DialId, String)>,
}

impl<N: Node + Send + 'static> Fleet<N> {
    pub(super) fn new(
        members: Vec<Member<N>>,
        dialing: Dialing,
        (disk, gate): (Option<DiskHandle>, Option<Gate>),
        events: mpsc::Receiver<LinkEvent>,
        stop: watch::Sender<bool>,
    ) -> Self {
        let clock = dialing.net.clock().clone();
        let (disk, replies) = match disk {
            Some(disk) => {
                let (client, replies) = disk.attach();
                (Some(client), replies)
            }
            None => (None, mpsc::unbounded_channel().1),
        };
        let slots = members
            .into_iter()
            .map(|Member { name, node }| Slot {
                name,
                node,
                armed: None,
            })
            .collect();
        Self {
            drift: clock.drift(),
            drift_checked_at: clock.now().instant,
            clock,
            slots,
            timers: BTreeSet::new(),
            links: BTreeMap::new(),
            events,
            disk,
            replies,
            outstanding: 0,
            keeps: false,
            gate,
            stop,
            dialing: Some(dialing),
            dials: 0,
            failed_dials: VecDeque::new(),
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn call<R>(&mut self, slot: usize, call: impl FnOnce(&mut N, Now) -> R) -> R {
        let now = self.clock.now();
        let answer = call(&mut self.slots[slot].node, now);
        self.settle(slot);
        answer
    }

    pub(super) async fn run(mut self, mut calls: mpsc::Receiver<Command<N>>) -> Vec<N> {
        for slot in 0..self.slots.len() {
            self.settle(slot);
        }
        loop {
            self.check_drift();
            let mut busy = self.take_replies();
            busy |= self.take_failed_dials();
            if self.disk_has_room() {
                busy |= self.take_timeouts();
                busy |= self.take_events();
            }
            match calls.try_recv() {
                Ok(Command::Call(call)) => {
                    call(&mut self);
                    busy = true;
                }
                Ok(Command::Stop) | Err(mpsc::error::TryRecvError::Disconnected) => {
                    return self.wind_down().await;
                }
                Err(mpsc::error::TryRecvError::Empty) => {}
            }
            if busy {
                tokio::task::yield_now().await;
                continue;
            }
            let has_room = self.disk_has_room();
            let deadline = self.next_deadline(has_room);
            tokio::select! {
                reply = self.replies.recv(), if self.outstanding > 0 || self.keeps => {
                    let (slot, reply) = reply.expect("the disk outlives its runner");
                    self.reply(slot, reply);
                }
                call = calls.recv() => match call {
                    Some(Command::Call(call)) => call(&mut self),
                    Some(Command::Stop) | None => return self.wind_down().await,
                },
                Some(event) = self.events.recv(), if has_room => self.event(event),
                () = sleep_until(&self.clock, deadline) => {}
            }
        }
    }

    fn disk_has_room(&self) -> bool {
        self.outstanding < DISK_OUTSTANDING_MAX
    }

    fn next_deadline(&self, has_room: bool) -> Option<Instant> {
        let timer = self.timers.first().filter(|_| has_room).map(|(at, _)| *at);
        let drift_check = self.drift.map(|_| self.drift_checked_at + DRIFT_CHECK);
        timer.into_iter().chain(drift_check).min()
    }

    fn take_replies(&mut self) -> bool {
        for taken in 0..BATCH_MAX {
            match self.replies.try_recv() {
                Ok((slot, reply)) => self.reply(slot, reply),
                Err(mpsc::error::TryRecvError::Empty) => return taken > 0,
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    assert_eq!(self.outstanding, 0, "the disk ended before its runner");
                    return taken > 0;
                }
            }
        }
        true
    }

    fn take_events(&mut self) -> bool {
        for taken in 0..BATCH_MAX {
            let Ok(event) = self.events.try_recv() else {
                return taken > 0;
            };
            self.event(event);
        }
        true
    }

    fn take_timeouts(&mut self) -> bool {
        for taken in 0..BATCH_MAX {
            let now = self.clock.now();
            let Some(&(at, slot)) = self.timers.first().filter(|(at, _)| *at <= now.instant) else {
                return taken > 0;
            };
            if self.slots[slot].node.wake().is_due(now) {
                self.input(slot, Input::Timeout);
            } else {
                // The system's clock was set back after the deadline was mapped.
                self.timers.remove(&(at, slot));
                self.slots[slot].armed = None;
                self.arm(slot);
            }
        }
        true
    }

    fn reply(&mut self, slot: usize, reply: DiskReply) {
        if !matches!(reply, DiskReply::Pair(PairReply::Carried { .. })) {
            self.outstanding -= 1;
        }
        self.input(slot, Input::Disk(reply));
    }

    fn event(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Up {
                route,
                port,
                link,
                writer,
            } => {
                let mut slots = BTreeSet::new();
                if let Route::Node(slot) = route {
                    slots.insert(slot);
                }
                let entry = Link {
                    route,
                    slots,
                    writer: Some(writer),
                };
                self.links.insert(link, entry);
                if let Port::Dialled(_) = port {
                    self.dials -= 1;
                }
                if let Route::Node(slot) = route {
                    self.input(slot, Input::LinkUp { link, port });
                }
            }
            LinkEvent::Frame { link, frame } => self.take_frame(link, frame),
            LinkEvent::Down { link, closed } => {
                let Link { route, slots, .. } = self
                    .links
                    .remove(&link)
                    .expect("a link goes down once, after it was up");
                for slot in slots {
                    if let (Route::Node(_), Some(closed)) = (route, closed) {
                        self.input(slot, Input::LinkFault { link, closed });
                    }
                    self.input(slot, Input::LinkDown { link });
                }
            }
            LinkEvent::DialFailed { slot, dial, reason } => {
                self.dials -= 1;
                self.input(slot, Input::DialFailed { dial, reason });
            }
        }
    }

    fn take_frame(&mut self, link: LinkId, mut frame: Vec<u8>) {
        let Some(entry) = self.links.get_mut(&link) else {
            return;
        };
        // What arrives on a link that the node has closed is not for it any more.
        if entry.writer.is_none() {
            return;
        }
        let (slot, is_new) = match entry.route {
            Route::Node(slot) => (slot, false),
            Route::ByServer => {
                let Some(slot) = shared::take_destination(&mut frame, self.slots.len()) else {
                    return; // The wrapper has no answer for a server that is not here.
                };
                (slot, entry.slots.insert(slot))
            }
        };
        if is_new {
            let port = Port::Down;
            self.input(slot, Input::LinkUp { link, port });
        }
        self.input(slot, Input::Frame { link, frame });
    }

    fn take_failed_dials(&mut self) -> bool {
        let failed = std::mem::take(&mut self.failed_dials);
        let some = !failed.is_empty();
        for (slot, dial, reason) in failed {
            self.input(slot, Input::DialFailed { dial, reason });
        }
        some
    }

    fn dial(&mut self, slot: usize, dial: DialId, address: &str, wire: Wire) {
        let Some(dialing) = &self.dialing else {
            return; // Nobody waits for an answer any more.
        };
        let target = match DialTarget::parse(address, wire) {
            Ok(target) if self.dials < DIALS_MAX => target,
            Ok(_) => {
                let reason = format!("{DIALS_MAX} attempts to connect are under way already");
                self.failed_dials.push_back((slot, dial, reason));
                return;
            }
            Err(error) => {
                self.failed_dials.push_back((slot, dial, error));
                return;
            }
        };
        self.dials += 1;
        let events = dialing.events.clone();
        let spec = LinkSpec {
            net: dialing.net.clone(),
            route: Route::Node(slot),
            port: Port::Dialled(dial),
            framing: match wire {
                Wire::Wrapper | Wire::Datagrams => Framing::DlmsWrapper,
                Wire::Bytes | Wire::Serial => Framing::Bytes,
            },
            limits: LinkLimits::default(),
            events: events.clone(),
        };
        let stop = dialing.stop.clone();
        tokio::spawn(async move {
            if let Err(reason) = dial_once(target, spec, stop).await {
                let failed = LinkEvent::DialFailed { slot, dial, reason };
                // A runner that is gone needs no news.
                let _ = events.send(failed).await;
            }
        });
    }

    fn input(&mut self, slot: usize, input: Input) {
        let now = self.clock.now();
        self.slots[slot].node.handle(input, now);
        self.settle(slot);
    }

    /// Carries out what a node wants done, and sets its timer.
    fn settle(&mut self, slot: usize) {
        while let Some(output) = self.slots[slot].node.poll_output() {
            if matches!(output, Output::Send { .. } | Output::Dial { .. })
                && let Some(gate) = &self.gate
                && !gate.is_open(self.clock.now().instant)
            {
                continue; // Its reign is over.
            }
            match output {
                Output::Send { link, frame } => self.send(slot, link, frame),
                Output::Close { link, reason } => self.close(slot, link, reason),
                Output::Dial {
                    dial,
                    address,
                    wire,
                } => self.dial(slot, dial, &address, wire),
                Output::Disk(request) => self.ask_disk(slot, request),
            }
        }
        self.arm(slot);
    }

    fn arm(&mut self, slot: usize) {
        let Slot { node, armed, .. } = &mut self.slots[slot];
        let deadline = self.clock.deadline(node.wake());
        if *armed == deadline {
            return;
        }
        if let Some(at) = armed.take() {
            self.timers.remove(&(at, slot));
        }
        if let Some(at) = deadline {
            self.timers.insert((at, slot));
        }
        *armed = deadline;
    }

    fn check_drift(&mut self) {
        let Some(before) = self.drift else { return };
        let now = self.clock.now().instant;
        if now.since(self.drift_checked_at) < DRIFT_CHECK {
            return;
        }
        self.drift_checked_at = now;
        if let Some(drift) = self.clock.drift()
            && drift.abs_diff(before) > DRIFT_MILLIS_MAX
        {
            tracing::info!(millis = drift - before, "the system's clock was set");
            self.drift = Some(drift);
            for slot in 0..self.slots.len() {
                self.arm(slot);
            }
        }
    }

    fn send(&mut self, slot: usize, link: LinkId, mut frame: Vec<u8>) {
        let Some(entry) = self.links.get_mut(&link) else {
            return; // It is gone, and the node will hear or has heard of it.
        };
        if !entry.slots.contains(&slot) {
            assert_eq!(
                entry.route,
                Route::ByServer,
                "a node sends on its own links"
            );
            return; // It has closed its part of a shared link.
        }
        if entry.route == Route::ByServer {
            shared::put_source(&mut frame, slot);
        }
        let Some(writer) = &entry.writer else { return };
        match writer.send(frame) {
            Ok(()) | Err(SendError::Gone) => {}
            Err(SendError::Full) => {
                if let Some(writer) = entry.writer.take() {
                    writer.cut();
                }
            }
        }
    }

    fn close(&mut self, slot: usize, link: LinkId, reason: &'static str) {
        let Some(entry) = self.links.get_mut(&link) else {
            return;
        };
        let name = &self.slots[slot].name;
        tracing::debug!(node = %name, link = link.0, reason, "the node closes a link");
        match entry.route {
            Route::Node(owner) => {
                assert_eq!(owner, slot, "a node closes its own links");
                entry.writer = None;
            }
            // Others may be talking on it; for this one it begins anew with its next frame.
            Route::ByServer => {
                entry.slots.remove(&slot);
                if entry.slots.is_empty() {
                    entry.writer = None;
                }
            }
        }
    }

    fn ask_disk(&mut self, slot: usize, request: DiskRequest) {
        let name = &self.slots[slot].name;
        let Some(disk) = &self.disk else {
            panic!("{name} was given no disk and asks for one");
        };
        self.outstanding += 1;
        self.keeps |= matches!(request, DiskRequest::Pair(_));
        disk.ask(name, slot, request);
    }

    async fn wind_down(mut self) -> Vec<N> {
        self.stop.send_replace(true);
        self.dialing = None;
        let clock = self.clock.clone();
        let deadline = Some(clock.now().instant + STOP_TIMEOUT);
        while self.outstanding > 0 {
            tokio::select! {
                reply = self.replies.recv() => {
                    let (slot, reply) = reply.expect("the disk outlives its runner");
                    self.reply(slot, reply);
                }
                () = sleep_until(&clock, deadline) => {
                    let outstanding = self.outstanding;
                    tracing::error!(outstanding, "stopped without the disk's answers");
                    break;
                }
            }
        }
        // Dropping a writer closes its link after what waits has left.
        self.links.clear();
        loop {
            tokio::select! {
                // A link that has just come up goes down with the writer in its event.
                event = self.events.recv() => if event.is_none() { break },
                () = sleep_until(&clock, deadline) => {
                    tracing::warn!("stopped before every link was closed");
                    break;
                }
            }
        }
        self.slots.into_iter().map(|slot| slot.node).collect()
    }
}

async fn sleep_until(clock: &Clock, deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(clock.tokio_instant(at)).await,
        None => std::future::pending().await,
    }
}
