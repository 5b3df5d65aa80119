//! The edge node: gateways below, the utility above, one [`Edge`] between.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use gridloom_core::{Instant, MeterId, Now, SystemTitle, UtcTime, Wake};
use gridloom_dlms::wrapper::{self, WPort};
use gridloom_edge::{
    Edge, EdgeStatus, Effect, GatewayId, Incident, LinkQuality, PacketId, Path, Quarantine,
    QuarantineError, StatusPage, TrustPage, Verdict,
};
use gridloom_store::Spool;
use gridloom_store::spool::{Gap, SpoolConfig, SpoolStatus};

use gridloom_headend::EdgeKey;

use crate::delay::Transit;
use crate::edge_gateways::{Gateways, Turn};
use crate::edge_keeping::Keeping;
use crate::edge_keys::{ChangedKeys, EdgeKeysError};
use crate::envelope::{LIST_MAX, Message, Role, Uplink};
use crate::node::{DiskReply, DiskRequest, Input, LinkId, Node, Output, Port};
use crate::pair::Fence;

/// Frames from meters that were for other clients than the edge itself: nobody screens them here,
/// because only the head-end can verify them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TunnelCounters {
    /// Handed up as what the meter on that path said.
    pub carried: u64,
    /// Given up: no believed meter was ever heard on that path, or the utility is away.
    pub strayed: u64,
}

/// An edge node.
#[derive(Debug)]
pub struct EdgeNode {
    name: String,
    edge: Edge,
    tunnel: TunnelCounters,
    gateways: BTreeSet<LinkId>,
    /// Those that have told their names.
    standing: Gateways,
    /// Meters that came over from another edge, and the utility has not heard of.
    reached: Vec<MeterId>,
    utility: Option<LinkId>,
    /// Accepted readings and alarms that wait for the utility, and what gateways are owed.
    keeping: Keeping,
    /// A frame of the envelope that is being taken went into the quarantine.
    has_held: bool,
    malformed: u64,
    /// What gateways said of the delay of frames that come next, by number in their spools.
    held: BTreeMap<LinkId, BTreeMap<u64, Duration>>,
    /// The same of frames that are being screened, by where and when they came.
    sampled: BTreeMap<(Path, UtcTime), Duration>,
    transit: Transit,
    /// Keys that the head-end changed; `None` where this edge has no key to open them.
    changed_keys: Option<ChangedKeys>,
    /// Where the utility is a pair.
    fence: Option<Fence>,
    report_at: Option<Instant>,
    outbox: VecDeque<Output>,
}

impl EdgeNode {
    /// What is kept without a disk while the utility is away. Beyond it the oldest reading is given
    /// up and counted: it is not acknowledged, so its meter pushes it again.
    pub const MEMORY: SpoolConfig = SpoolConfig {
        bytes_max: 16 * 1024 * 1024,
        segment_bytes: 1024 * 1024,
        in_flight_max: 65_536,
    };

    /// How often the utility is told what was refused, and how far whom is trusted.
    pub const REPORT_EVERY: Duration = Duration::from_secs(1);

    /// An edge node called `name`.
    pub fn new(name: String, edge: Edge) -> Self {
        Self {
            name,
            edge,
            tunnel: TunnelCounters::default(),
            gateways: BTreeSet::new(),
            standing: Gateways::default(),
            reached: Vec::new(),
            utility: None,
            keeping: Keeping::new(Spool::in_memory(Self::MEMORY)),
            has_held: false,
            malformed: 0,
            held: BTreeMap::new(),
            sampled: BTreeMap::new(),
            transit: Transit::new(),
            changed_keys: None,
            fence: None,
            report_at: None,
            outbox: VecDeque::new(),
        }
    }

    /// Keeps what waits for the utility in `spool`.
    pub fn with_spool(mut self, spool: Spool) -> Self {
        self.keeping = Keeping::new(spool);
        self
    }

    /// What waits for the utility.
    pub fn spool(&self) -> SpoolStatus {
        self.keeping.spool().status()
    }

    /// Named gaps that no head-end sees to yet, and the last ones named, oldest first.
    pub fn gaps(&self) -> (usize, Vec<Gap>) {
        let gaps = self.keeping.gaps();
        (gaps.len(), gaps.shown().copied().collect())
    }

    /// Takes part in key changes: believes news of meters' keys that `key` opens, and takes up
    /// what of it the node's cells hold.
    ///
    /// # Errors
    ///
    /// If a cell is damaged, or another key sealed it.
    pub fn with_edge_key<'a>(
        mut self,
        key: EdgeKey,
        cell: impl Fn(&'static str) -> Option<&'a [u8]>,
        now: Now,
    ) -> Result<Self, EdgeKeysError> {
        self.changed_keys = Some(ChangedKeys::read(key, &mut self.edge, cell, now)?);
        Ok(self)
    }

    /// Its utility is a pair: it witnesses for it, and hears only the member that is active.
    #[must_use]
    pub fn with_fence(mut self, fence: Fence) -> Self {
        self.fence = Some(fence);
        self
    }

    /// What keeps the member of a pair out that is not active; none without a pair.
    pub fn fence(&self) -> Option<&Fence> {
        self.fence.as_ref()
    }

    /// News of meters' keys that was refused since the start.
    pub fn key_news_refused(&self) -> u64 {
        self.changed_keys.as_ref().map_or(0, ChangedKeys::refused)
    }

    /// The homes of the registry are these gateways, by name.
    pub fn name_gateways(&mut self, names: BTreeMap<String, GatewayId>) {
        self.edge.name_gateways(names);
    }

    /// A title is revoked, or valid again.
    pub fn revoke(&mut self, meter: MeterId, is_revoked: bool, now: Now) {
        self.edge.revoke(meter, is_revoked, now.instant);
    }

    /// What an operator sees of its edge.
    pub fn status(&self) -> EdgeStatus {
        self.edge.status()
    }

    /// What a page about the screening shows. Made on demand: it looks at every registered meter.
    pub fn status_page(&self, page: TrustPage) -> StatusPage {
        self.edge.status_page(page)
    }

    /// Its edge, for whoever looks and changes nothing.
    pub fn edge(&self) -> &Edge {
        &self.edge
    }

    /// What became of frames for other clients.
    pub fn tunnel(&self) -> TunnelCounters {
        self.tunnel
    }

    /// What waits for an analyst.
    pub fn quarantine(&self) -> &Quarantine {
        self.edge.quarantine()
    }

    /// The edge's incidents, oldest first.
    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.edge.incidents()
    }

    /// An analyst lets a held reading continue.
    ///
    /// # Errors
    ///
    /// As [`Edge::release`].
    pub fn release(&mut self, id: PacketId, who: &str, now: Now) -> Result<(), QuarantineError> {
        self.edge.release(id, who, now)
    }

    /// An analyst gives a held reading up.
    ///
    /// # Errors
    ///
    /// As [`Edge::reject`].
    pub fn reject(&mut self, id: PacketId, who: &str, now: Now) -> Result<(), QuarantineError> {
        self.edge.reject(id, who, now)
    }

    /// Connected gateways.
    pub fn gateways(&self) -> usize {
        self.gateways.len()
    }

    /// Whether the utility is reachable.
    pub fn is_connected(&self) -> bool {
        self.utility.is_some()
    }

    /// Readings and alarms given up: the utility was away for long, never answered, or the disk
    /// was damaged.
    pub fn accepted_dropped(&self) -> u64 {
        let counters = self.spool().counters;
        counters.lost_full + counters.lost_unanswered + counters.lost_damaged
    }

    /// Envelopes that could not be read.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    fn take_from_gateway(&mut self, link: LinkId, frame: &[u8], now: Now) {
        match Message::decode(frame) {
            Ok(Message::Uplink(uplink)) => self.take_uplink(link, uplink, now),
            Ok(Message::Spooled { first, uplinks }) => {
                self.has_held = false;
                let count = u16::try_from(uplinks.len()).expect("LIST_MAX fits u16");
                self.note_samples(link, first, &uplinks);
                for some in uplinks.chunks(Edge::EXPECTED_MAX) {
                    let apdus = some.iter().map(|uplink| {
                        wrapper::Frame::decode(&uplink.frame).map_or(&[][..], |it| it.apdu)
                    });
                    self.edge.expect(apdus);
                    for uplink in some {
                        self.take_uplink(link, uplink.clone(), now);
                    }
                }
                self.keeping.came(link, first, count, self.has_held);
            }
            Ok(Message::Held(samples)) => {
                self.held.insert(link, samples.into_iter().collect());
            }
            Ok(Message::Echo { number }) => self.send(link, &Message::Echoed { number }),
            Ok(Message::Gaps(gaps)) => self.keeping.gaps_below(link, gaps, &self.edge, now),
            Ok(Message::LineGone { path, closed }) => {
                let path = Path {
                    gateway: link.0,
                    down: path,
                };
                self.edge.handle_path_gone(path);
                if let Some(closed) = closed {
                    self.edge.handle_line_closed(path, closed, now.utc);
                }
            }
            Ok(Message::Hello {
                role: Role::Gateway,
                name,
                ..
            }) => {
                self.edge.handle_gateway_up(link.0, &name, now.instant);
                self.standing.greeted(link, name);
                let hello = Message::hello(Role::Edge, &self.name);
                self.send(link, &hello);
            }
            Ok(Message::Heartbeat { number, every_ms }) => {
                self.standing.beat(link, every_ms, now.instant);
                self.send(link, &Message::Alive { number });
            }
            Ok(Message::Duty { is_active }) => self.take_duty(link, is_active, now.instant),
            Ok(Message::Lines(lines)) => self.take_lines(link, lines),
            Ok(_) | Err(_) => {
                self.hang_up(link, "the gateway sent an envelope an edge does not take")
            }
        }
    }

    /// Which of these are measured.
    fn note_samples(&mut self, link: LinkId, first: u64, uplinks: &[Uplink]) {
        for (number, share) in self.held.remove(&link).unwrap_or_default() {
            let index = number.checked_sub(first).map(usize::try_from);
            if let Some(Ok(index)) = index
                && let Some(uplink) = uplinks.get(index)
            {
                let path = Path {
                    gateway: link.0,
                    down: uplink.path,
                };
                self.sampled.insert((path, uplink.received), share);
            }
        }
    }

    /// A gateway that has two edges says whether this one has its meters.
    fn take_duty(&mut self, link: LinkId, is_active: bool, now: Instant) {
        let has_way = self.edge.has_meters_behind(link.0);
        match self.standing.turn(link, is_active, has_way, now) {
            Turn::None => {}
            Turn::Taken(name) => self.edge.handle_gateway_up(link.0, &name, now),
            Turn::Elsewhere => self.edge.handle_gateway_gone(link.0),
        }
    }

    /// Lines came over from another edge, which knew whose they are. Until their meters speak
    /// nothing proves it, so a way that did prove itself goes before; and what goes down is
    /// ciphered for its meter anyhow.
    fn take_lines(&mut self, link: LinkId, lines: Vec<(u64, SystemTitle)>) {
        for (down, title) in lines {
            let gateway = link.0;
            let told = self.edge.handle_path_told(Path { gateway, down }, title);
            self.reached.extend(told);
        }
    }

    fn take_uplink(&mut self, link: LinkId, uplink: Uplink, now: Now) {
        let path = Path {
            gateway: link.0,
            down: uplink.path,
        };
        let known = LinkQuality {
            received: Some(uplink.received),
            ..uplink.link
        };
        self.take_from_meter(path, &known, &uplink.frame, now);
    }

    /// A push or a confirmation is for the edge itself; what a meter answers to another client
    /// goes to the head-end, which alone can verify it.
    fn take_from_meter(&mut self, path: Path, link: &LinkQuality, frame: &[u8], now: Now) {
        let Ok(wrapped) = wrapper::Frame::decode(frame) else {
            self.edge.handle_unframed(path, frame, now);
            self.report_soon(now);
            return;
        };
        if wrapped.destination == WPort::PRE_ESTABLISHED_CLIENT {
            let screening = self.edge.handle_packet_of(path, link, wrapped.apdu, now);
            self.has_held |= screening.verdict == Verdict::Quarantine;
            if screening.verdict != Verdict::Forward {
                tracing::debug!(?screening, gateway = path.gateway, "packet not forwarded");
                self.report_soon(now);
            }
            return;
        }
        self.edge.handle_foreign(path);
        if let (Some(meter), Some(utility)) = (self.edge.meter_on(path), self.utility) {
            self.tunnel.carried += 1;
            let message = Message::FromMeter {
                meter,
                client: wrapped.destination,
                apdu: wrapped.apdu.to_vec(),
            };
            self.send(utility, &message);
        } else {
            self.tunnel.strayed += 1;
        }
    }

    fn send_to_meter(&mut self, utility: LinkId, meter: MeterId, client: WPort, apdu: &[u8]) {
        let Some(path) = self.edge.path_to(meter) else {
            self.send(utility, &Message::MeterUnreachable { meter });
            return;
        };
        let frame = wrapper::Frame {
            source: client,
            destination: WPort::MANAGEMENT,
            apdu,
        };
        self.send(
            LinkId(path.gateway),
            &Message::Downlink {
                path: path.down,
                frame: frame.to_bytes(),
            },
        );
    }

    fn take_from_utility(&mut self, link: LinkId, frame: &[u8], now: Now) {
        match Message::decode(frame) {
            Ok(Message::Stored(keys)) => {
                for key in keys {
                    self.keeping.reading_stored(key, now.instant);
                    self.edge
                        .handle_stored(key.meter, key.period, key.end, now.instant);
                }
            }
            Ok(Message::AlarmsStored(keys)) => {
                for key in keys {
                    self.keeping.alarm_stored(key, now.instant);
                    self.edge.handle_alarm_stored(key);
                }
            }
            Ok(Message::Echoed { number }) => self.transit.echoed(number, now.instant),
            Ok(Message::GapsTaken(gaps)) => self.keeping.gaps_taken(&gaps, now.instant),
            Ok(Message::Prices(points)) => {
                for point in points {
                    self.edge.handle_price(point.period, point.end, point.price);
                }
                self.edge.offer_prices_to_all(now.instant);
            }
            // The pre-established client is this edge itself: nobody else speaks in its name.
            Ok(Message::ToMeter {
                meter,
                client,
                apdu,
            }) if client != WPort::PRE_ESTABLISHED_CLIENT => {
                self.send_to_meter(link, meter, client, &apdu);
            }
            Ok(Message::KeysChanged {
                meter,
                number,
                sealed,
            }) => {
                // Without a key nothing is answered, and the head-end tells its operator.
                let answer = self
                    .changed_keys
                    .as_mut()
                    .and_then(|keys| keys.handle(&mut self.edge, (meter, number, sealed), now));
                if let Some(answer) = answer {
                    self.send(link, &answer);
                }
            }
            Ok(Message::Hello { .. }) => {}
            Ok(_) | Err(_) => {
                self.hang_up(link, "the utility sent an envelope an edge does not take")
            }
        }
    }

    fn hang_up(&mut self, link: LinkId, reason: &'static str) {
        self.malformed += 1;
        self.outbox.push_back(Output::Close { link, reason });
    }

    fn send(&mut self, link: LinkId, message: &Message) {
        self.outbox.push_back(Output::Send {
            link,
            frame: message.encode(),
        });
    }

    fn report_soon(&mut self, now: Now) {
        self.report_at = self.report_at.or(Some(now.instant + Self::REPORT_EVERY));
    }

    /// Translates what the edge wants, and hands the utility what waits for it.
    fn flush(&mut self, now: Now) {
        while let Some(effect) = self.edge.poll_output() {
            match effect {
                Effect::Down { path, frame } => self.send(
                    LinkId(path.gateway),
                    &Message::Downlink {
                        path: path.down,
                        frame: wrapper::Frame {
                            source: WPort::PRE_ESTABLISHED_CLIENT,
                            destination: WPort::MANAGEMENT,
                            apdu: &frame,
                        }
                        .to_bytes(),
                    },
                ),
                Effect::Accept(reading) => {
                    let received = reading.link.received;
                    let share = received
                        .and_then(|received| self.sampled.get(&(reading.path, received)))
                        .copied();
                    self.keeping.accept(&reading, share, now.instant);
                }
                Effect::Alarm(alarm) => self.keeping.alarm(&alarm, now.instant),
                Effect::Remember {
                    ticket,
                    cell,
                    bytes,
                } => self.keeping.remember(DiskRequest::Remember {
                    ticket,
                    slot: cell,
                    bytes,
                }),
                Effect::Alert(incident) => {
                    tracing::warn!(
                        id = incident.id.0,
                        subject = ?incident.subject,
                        kind = ?incident.kind,
                        gateway = incident.gateway,
                        count = incident.count,
                        "incident"
                    );
                }
                Effect::Audit(record) => tracing::info!(?record, "audit"),
            }
        }
        self.sampled.clear();
        let keys = self.changed_keys.as_mut().map(ChangedKeys::write);
        let writes = keys.into_iter().flatten().map(Output::Disk);
        self.outbox.extend(writes);
        if let Some(link) = self.utility {
            for some in std::mem::take(&mut self.reached).chunks(LIST_MAX) {
                self.send(link, &Message::Reached(some.to_vec()));
            }
            for frame in self.keeping.sendings(self.transit.half(), now.instant) {
                self.outbox.push_back(Output::Send { link, frame });
            }
        }
        let requests = self.keeping.requests(now).into_iter().map(Output::Disk);
        self.outbox.extend(requests);
        let may_tell_held = !self.edge.has_unwritten_quarantine();
        for (link, first, count) in self.keeping.taken(may_tell_held) {
            self.send(link, &Message::Taken { first, count });
        }
        for (link, gaps) in self.keeping.gaps_to_tell() {
            self.send(link, &Message::GapsTaken(gaps));
        }
    }
}

impl EdgeNode {
    fn take(&mut self, input: Input, now: Now) {
        match input {
            Input::LinkUp {
                link,
                port: Port::Down,
            } => {
                self.gateways.insert(link);
            }
            Input::LinkUp {
                link,
                port: Port::Up,
            } => {
                self.utility = Some(link);
                self.keeping.rewind();
                self.transit.up(now.instant);
                let hello = Message::hello(Role::Edge, &self.name);
                self.send(link, &hello);
                self.edge.hand_up_alarms();
                self.report_soon(now);
            }
            // It dials nobody by itself.
            Input::LinkUp {
                port: Port::Backup | Port::Dialled(_) | Port::Push(_),
                ..
            }
            | Input::DialFailed { .. } => {}
            Input::LinkFault { link, closed } => {
                if self.gateways.contains(&link) {
                    self.edge.handle_own_line_closed(closed, now.utc);
                }
            }
            Input::LinkDown { link } => {
                if self.gateways.remove(&link) {
                    self.standing.gone(link);
                    self.keeping.gateway_gone(link);
                    self.held.remove(&link);
                    self.edge.handle_gateway_gone(link.0);
                }
                if self.utility == Some(link) {
                    self.utility = None;
                    self.keeping.rewind();
                    self.transit.down();
                }
            }
            Input::Frame { link, frame } if self.utility == Some(link) => {
                self.take_from_utility(link, &frame, now);
            }
            Input::Frame { link, frame } => self.take_from_gateway(link, &frame, now),
            Input::Disk(DiskReply::Done { ticket, result }) if ChangedKeys::is_ours(ticket) => {
                if let Err(error) = &result {
                    tracing::error!(%error, "changed keys were not written; again soon");
                }
                let answers = self
                    .changed_keys
                    .as_mut()
                    .map(|keys| keys.handle_written(ticket, result.is_ok(), now));
                for answer in answers.unwrap_or_default() {
                    if let Some(utility) = self.utility {
                        self.send(utility, &answer);
                    }
                }
            }
            Input::Disk(DiskReply::Done { ticket, result }) => {
                if let Err(error) = &result {
                    tracing::error!(%error, "the edge's memory was not written");
                }
                self.edge.handle_remembered(ticket, result.is_ok(), now);
            }
            Input::Disk(
                DiskReply::Ledger(_)
                | DiskReply::Answer { .. }
                | DiskReply::Operations { .. }
                | DiskReply::Pair(_),
            ) => {}
            Input::Disk(DiskReply::Spool(outcome)) => {
                self.keeping.handle_outcome(outcome, now.instant);
            }
            Input::Timeout => {
                self.keeping.handle_timeout(now.instant);
                if let Some(link) = self.utility
                    && let Some(number) = self.transit.handle_timeout(now.instant)
                {
                    self.send(link, &Message::Echo { number });
                }
                self.edge.handle_timeout(now);
                for link in self.standing.drained(now.instant) {
                    self.edge.handle_gateway_gone(link.0);
                }
                for link in self.standing.silent(now.instant) {
                    let reason = "the gateway's heartbeats have stopped";
                    self.outbox.push_back(Output::Close { link, reason });
                }
                if let Some(keys) = &mut self.changed_keys {
                    keys.handle_timeout(now);
                }
                if self.report_at.take_if(|at| *at <= now.instant).is_some()
                    && let Some(utility) = self.utility
                {
                    let status = self.edge.status();
                    self.send(utility, &Message::Refusals(status.reasons));
                    let trust = Message::Trust {
                        edge: status.trust,
                        gateways: self.edge.gateways().take(LIST_MAX).collect(),
                    };
                    self.send(utility, &trust);
                }
            }
        }
        self.flush(now);
    }
}

impl Node for EdgeNode {
    fn handle(&mut self, input: Input, now: Now) {
        let Some(fence) = &mut self.fence else {
            return self.take(input, now);
        };
        let passed = fence.filter(input, now);
        while let Some(output) = fence.poll_output() {
            self.outbox.push_back(output);
        }
        for input in passed {
            self.take(input, now);
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    fn wake(&self) -> Wake {
        let report = self.report_at.map(|at| (at, "report refusals"));
        let keys = self.changed_keys.as_ref().and_then(ChangedKeys::wake);
        let wake = Wake {
            instant: report
                .into_iter()
                .chain(keys)
                .chain(self.standing.wake())
                .chain(self.transit.wake())
                .min(),
            utc: None,
        };
        self.edge
            .wake()
            .earliest(wake)
            .earliest(self.keeping.spool().wake())
    }
}
