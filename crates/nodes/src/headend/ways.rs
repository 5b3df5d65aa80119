//! The ways to meters: through our tiers below the utility, or by address.
//!
//! Sessions share a dialled connection: wrapped APDUs of several at once, as far as their meters
//! allow, HDLC one after the other. What has no place waits for one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use gridloom_core::{Instant, MeterId};
use gridloom_dlms::hdlc::{Address, ClientLink, ClientLinkConfig, ClientLinkOutput};
use gridloom_dlms::wrapper::{self, WPort};
use gridloom_headend::schedule::JobId;
use gridloom_store::{DeviceLink, Transport};

use crate::envelope::{Message, Role};
use crate::node::{DialId, LinkId, Output, Wire};

/// What becomes of a session's link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WayEvent {
    /// It stands.
    Up,
    /// It is gone, or did not come about.
    Down,
    /// An APDU came.
    Apdu(Vec<u8>),
}

/// What a session wants a link for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) meter: MeterId,
    pub(super) link: DeviceLink,
    pub(super) client: u16,
    pub(super) server: u16,
    /// Sessions that its meter allows on one connection.
    pub(super) sessions_max: usize,
}

/// A dialled connection: which transport, and to which address; a serial line by its device,
/// whatever its speed.
pub(super) type Place = (Transport, String);

pub(super) fn place_of(link: &DeviceLink) -> Place {
    let address = match link.transport {
        Transport::HdlcSerial => link.address.split('@').next().unwrap_or_default(),
        Transport::Tcp | Transport::Udp | Transport::HdlcTcp | Transport::Gateway => &link.address,
    };
    (link.transport, address.to_owned())
}

#[derive(Debug)]
enum Stage {
    Dialling,
    Up(LinkId),
}

#[derive(Debug)]
struct Connection {
    /// As it was dialled.
    address: String,
    stage: Stage,
    /// Who talks, or waits for the dial to succeed.
    users: BTreeMap<JobId, Wanted>,
    waiting: VecDeque<(JobId, Wanted)>,
    /// The HDLC link of the only user, or one that is being disconnected.
    hdlc: Option<(Option<JobId>, ClientLink)>,
    idle_since: Option<Instant>,
    /// The key of this connection in [`Ways::wakes`].
    armed: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Ways {
    name: String,
    idle: Duration,
    utility: Option<LinkId>,
    tunnels: BTreeMap<MeterId, (JobId, u16)>,
    connections: BTreeMap<Place, Connection>,
    /// When something is due on a connection: an HDLC timer, or the end of its idling.
    wakes: BTreeSet<(Instant, Place)>,
    dials: BTreeMap<DialId, Place>,
    links: BTreeMap<LinkId, Place>,
    /// Where each session talks.
    at: BTreeMap<JobId, Where>,
    last_dial: u64,
    events: VecDeque<(JobId, WayEvent)>,
    outbox: VecDeque<Output>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Where {
    Tunnel(MeterId),
    Dialled(Place),
}

impl Ways {
    pub(super) const fn new(name: String, idle: Duration) -> Self {
        Self {
            name,
            idle,
            utility: None,
            tunnels: BTreeMap::new(),
            connections: BTreeMap::new(),
            wakes: BTreeSet::new(),
            dials: BTreeMap::new(),
            links: BTreeMap::new(),
            at: BTreeMap::new(),
            last_dial: 0,
            events: VecDeque::new(),
            outbox: VecDeque::new(),
        }
    }

    pub(super) const fn utility(&self) -> Option<LinkId> {
        self.utility
    }

    pub(super) fn dialled(&self) -> usize {
        self.connections.len()
    }

    pub(super) fn poll_event(&mut self) -> Option<(JobId, WayEvent)> {
        self.events.pop_front()
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    /// A session wants a link.
    pub(super) fn open(&mut self, job: JobId, wanted: Wanted, now: Instant) {
        self.close(job, now);
        match wanted.link.transport {
            Transport::Gateway => {
                self.tunnels.insert(wanted.meter, (job, wanted.client));
                self.at.insert(job, Where::Tunnel(wanted.meter));
                let event = match self.utility {
                    Some(_) => WayEvent::Up,
                    None => WayEvent::Down,
                };
                self.events.push_back((job, event));
            }
            Transport::Tcp | Transport::Udp | Transport::HdlcTcp | Transport::HdlcSerial => {
                self.open_dialled(job, wanted, now);
            }
        }
    }

    fn open_dialled(&mut self, job: JobId, wanted: Wanted, now: Instant) {
        let place = place_of(&wanted.link);
        self.at.insert(job, Where::Dialled(place.clone()));
        if !self.connections.contains_key(&place) {
            let address = wanted.link.address.clone();
            self.dial(place.clone(), address.clone());
            self.connections.insert(
                place.clone(),
                Connection {
                    address,
                    stage: Stage::Dialling,
                    users: BTreeMap::new(),
                    waiting: VecDeque::new(),
                    hdlc: None,
                    idle_since: None,
                    armed: None,
                },
            );
        }
        let connection = self.connections.get_mut(&place).expect("it was just made");
        connection.waiting.push_back((job, wanted));
        self.admit(&place, now);
    }

    fn dial(&mut self, place: Place, address: String) {
        self.last_dial += 1;
        let dial = DialId(self.last_dial);
        let wire = match place.0 {
            Transport::Tcp => Wire::Wrapper,
            Transport::Udp => Wire::Datagrams,
            Transport::HdlcTcp => Wire::Bytes,
            Transport::HdlcSerial => Wire::Serial,
            Transport::Gateway => unreachable!("a tunnel is not dialled"),
        };
        self.dials.insert(dial, place);
        self.outbox.push_back(Output::Dial {
            dial,
            address,
            wire,
        });
    }

    /// Gives places to sessions that wait for one.
    fn admit(&mut self, place: &Place, now: Instant) {
        self.fill(place, now);
        self.arm(place);
    }

    fn fill(&mut self, place: &Place, now: Instant) {
        let Some(connection) = self.connections.get_mut(place) else {
            return;
        };
        let Stage::Up(link) = connection.stage else {
            return;
        };
        while let Some((_, wanted)) = connection.waiting.front() {
            if wanted.link.address != connection.address {
                // The line is the same one, at another speed: opened anew once it is free.
                if connection.users.is_empty() && connection.hdlc.is_none() {
                    let address = wanted.link.address.clone();
                    connection.address.clone_from(&address);
                    connection.stage = Stage::Dialling;
                    connection.idle_since = None;
                    self.links.remove(&link);
                    let reason = "the next meter on the line has another speed";
                    self.outbox.push_back(Output::Close { link, reason });
                    self.dial(place.clone(), address);
                    return;
                }
                break;
            }
            let has_room = if place.0.is_hdlc() {
                connection.hdlc.is_none()
            } else {
                let (client, server) = (wanted.client, wanted.server);
                connection.users.len() < wanted.sessions_max.max(1)
                    && !connection
                        .users
                        .values()
                        .any(|user| (user.client, user.server) == (client, server))
            };
            if !has_room {
                break;
            }
            let (job, wanted) = connection.waiting.pop_front().expect("it was just seen");
            connection.idle_since = None;
            if place.0.is_hdlc() {
                match hdlc_link(&wanted) {
                    Some(mut hdlc) => {
                        hdlc.connect(now);
                        connection.hdlc = Some((Some(job), hdlc));
                    }
                    None => {
                        self.events.push_back((job, WayEvent::Down));
                        continue;
                    }
                }
            } else {
                self.events.push_back((job, WayEvent::Up));
            }
            connection.users.insert(job, wanted);
        }
        if connection.users.is_empty() && connection.waiting.is_empty() {
            connection.idle_since.get_or_insert(now);
        }
        pump_hdlc(connection, link, &mut self.events, &mut self.outbox);
    }

    pub(super) fn send(&mut self, job: JobId, meter: MeterId, apdu: Vec<u8>, now: Instant) {
        match self.at.get(&job) {
            Some(Where::Tunnel(_)) => {
                if let (Some(link), Some(&(_, client))) = (self.utility, self.tunnels.get(&meter)) {
                    let client = WPort(client);
                    let message = Message::ToMeter {
                        meter,
                        client,
                        apdu,
                    };
                    self.push_send(link, message.encode());
                }
            }
            Some(Where::Dialled(place)) => {
                let place = place.clone();
                let Some(connection) = self.connections.get_mut(&place) else {
                    return;
                };
                let Stage::Up(link) = connection.stage else {
                    return;
                };
                if let Some((Some(user), hdlc)) = &mut connection.hdlc
                    && *user == job
                {
                    if hdlc.send(&apdu, now).is_err() {
                        self.events.push_back((job, WayEvent::Down));
                    }
                    pump_hdlc(connection, link, &mut self.events, &mut self.outbox);
                    self.arm(&place);
                } else if let Some(user) = connection.users.get(&job) {
                    let frame = wrapper::Frame {
                        source: WPort(user.client),
                        destination: WPort(user.server),
                        apdu: &apdu,
                    };
                    let frame = frame.to_bytes();
                    self.push_send(link, frame);
                }
            }
            None => {}
        }
    }

    /// A session needs its link no more.
    pub(super) fn close(&mut self, job: JobId, now: Instant) {
        match self.at.remove(&job) {
            Some(Where::Tunnel(meter)) => {
                let user = self.tunnels.get(&meter).map(|(user, _)| *user);
                self.tunnels.remove(&meter);
                assert_eq!(user, Some(job), "a meter has one session");
            }
            Some(Where::Dialled(place)) => {
                if let Some(connection) = self.connections.get_mut(&place) {
                    connection.users.remove(&job);
                    connection.waiting.retain(|(waiting, _)| *waiting != job);
                    if let Some((user, hdlc)) = &mut connection.hdlc
                        && *user == Some(job)
                    {
                        *user = None;
                        hdlc.disconnect(now);
                    }
                    if let Stage::Up(link) = connection.stage {
                        pump_hdlc(connection, link, &mut self.events, &mut self.outbox);
                    }
                }
                self.admit(&place, now);
            }
            None => {}
        }
    }

    pub(super) fn handle_utility_up(&mut self, link: LinkId) {
        self.utility = Some(link);
        let hello = Message::hello(Role::HeadEnd, &self.name);
        self.push_send(link, hello.encode());
    }

    pub(super) fn handle_dialled_up(&mut self, dial: DialId, link: LinkId, now: Instant) {
        let Some(place) = self.dials.remove(&dial) else {
            let reason = "nobody wants this connection";
            self.outbox.push_back(Output::Close { link, reason });
            return;
        };
        self.links.insert(link, place.clone());
        if let Some(connection) = self.connections.get_mut(&place) {
            connection.stage = Stage::Up(link);
            connection.idle_since = Some(now);
        }
        self.admit(&place, now);
    }

    pub(super) fn handle_dial_failed(&mut self, dial: DialId, reason: &str) {
        if let Some(place) = self.dials.remove(&dial) {
            tracing::info!(address = %place.1, %reason, "no connection to a meter");
            self.drop_connection(&place);
        }
    }

    /// A link is gone. Whether it was the one to the utility.
    pub(super) fn handle_link_down(&mut self, link: LinkId) -> bool {
        if self.utility == Some(link) {
            self.utility = None;
            for (job, _) in self.tunnels.values() {
                self.events.push_back((*job, WayEvent::Down));
            }
            return true;
        }
        if let Some(place) = self.links.remove(&link) {
            self.drop_connection(&place);
        }
        false
    }

    fn drop_connection(&mut self, place: &Place) {
        if let Some(connection) = self.connections.remove(place) {
            if let Some(at) = connection.armed {
                self.wakes.remove(&(at, place.clone()));
            }
            let waiting = connection.waiting.iter().map(|(job, _)| *job);
            for job in connection.users.keys().copied().chain(waiting) {
                self.events.push_back((job, WayEvent::Down));
            }
        }
    }

    /// A meter answered over the utility.
    pub(super) fn handle_from_meter(&mut self, meter: MeterId, client: WPort, apdu: Vec<u8>) {
        if let Some((job, of)) = self.tunnels.get(&meter)
            && *of == client.0
        {
            self.events.push_back((*job, WayEvent::Apdu(apdu)));
        }
    }

    pub(super) fn handle_unreachable(&mut self, meter: MeterId) {
        if let Some((job, _)) = self.tunnels.get(&meter) {
            self.events.push_back((*job, WayEvent::Down));
        }
    }

    /// Bytes or a frame from a dialled link.
    pub(super) fn handle_frame(&mut self, link: LinkId, frame: &[u8], now: Instant) {
        let Some(place) = self.links.get(&link).cloned() else {
            return;
        };
        let Some(connection) = self.connections.get_mut(&place) else {
            return;
        };
        if place.0.is_hdlc() {
            if let Some((_, hdlc)) = &mut connection.hdlc {
                hdlc.handle_bytes(frame, now);
            }
            pump_hdlc(connection, link, &mut self.events, &mut self.outbox);
            self.admit(&place, now);
            return;
        }
        let Ok(frame) = wrapper::Frame::decode(frame) else {
            let reason = "the meter sent what is no wrapped APDU";
            self.outbox.push_back(Output::Close { link, reason });
            return;
        };
        let user = connection
            .users
            .iter()
            .find(|(_, user)| (user.server, user.client) == (frame.source.0, frame.destination.0));
        if let Some((job, _)) = user {
            let event = WayEvent::Apdu(frame.apdu.to_vec());
            self.events.push_back((*job, event));
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, place)) = self.wakes.first().cloned()
            && at <= now
        {
            self.wakes.pop_first();
            let Some(connection) = self.connections.get_mut(&place) else {
                continue;
            };
            connection.armed = None;
            let Stage::Up(link) = connection.stage else {
                continue;
            };
            if let Some((_, hdlc)) = &mut connection.hdlc
                && hdlc.wake().is_some_and(|(at, _)| at <= now)
            {
                hdlc.handle_timeout(now);
                pump_hdlc(connection, link, &mut self.events, &mut self.outbox);
            }
            self.admit(&place, now);
            let connection = self.connections.get(&place);
            let idle = connection.and_then(|connection| connection.idle_since);
            if idle.is_some_and(|since| since + self.idle <= now) {
                self.drop_connection(&place);
                self.links.remove(&link);
                let reason = "no session needs it";
                self.outbox.push_back(Output::Close { link, reason });
            }
        }
    }

    /// Keeps a connection's deadline.
    fn arm(&mut self, place: &Place) {
        let Some(connection) = self.connections.get_mut(place) else {
            return;
        };
        let hdlc = connection.hdlc.as_ref();
        let hdlc = hdlc.and_then(|(_, hdlc)| Some(hdlc.wake()?.0));
        let idle = connection.idle_since.map(|since| since + self.idle);
        let wanted = hdlc.into_iter().chain(idle).min();
        if connection.armed == wanted {
            return;
        }
        if let Some(at) = std::mem::replace(&mut connection.armed, wanted) {
            self.wakes.remove(&(at, place.clone()));
        }
        if let Some(at) = wanted {
            self.wakes.insert((at, place.clone()));
        }
    }

    pub(super) fn wake(&self) -> Option<(Instant, &'static str)> {
        let (at, _) = self.wakes.first()?;
        Some((*at, "a connection"))
    }

    fn push_send(&mut self, link: LinkId, frame: Vec<u8>) {
        self.outbox.push_back(Output::Send { link, frame });
    }

    /// Sends to the utility, if it is there.
    pub(super) fn tell_utility(&mut self, message: &Message) {
        if let Some(link) = self.utility {
            self.push_send(link, message.encode());
        }
    }
}

fn hdlc_link(wanted: &Wanted) -> Option<ClientLink> {
    let physical = (wanted.link.physical != 0).then_some(wanted.link.physical);
    let client = Address::one(wanted.client).ok()?;
    let server = Address::fitting(wanted.server, physical).ok()?;
    Some(ClientLink::new(ClientLinkConfig::new(client, server)))
}

/// Carries out what an HDLC link wants; forgets it once it is disconnected.
fn pump_hdlc(
    connection: &mut Connection,
    link: LinkId,
    events: &mut VecDeque<(JobId, WayEvent)>,
    outbox: &mut VecDeque<Output>,
) {
    let Some((user, hdlc)) = &mut connection.hdlc else {
        return;
    };
    let mut is_over = false;
    while let Some(output) = hdlc.poll_output() {
        let event = match output {
            ClientLinkOutput::Transmit(frame) => {
                outbox.push_back(Output::Send { link, frame });
                continue;
            }
            ClientLinkOutput::Connected(_) => WayEvent::Up,
            ClientLinkOutput::Apdu(apdu) => WayEvent::Apdu(apdu),
            // A push belongs to nobody here: the edge takes those.
            ClientLinkOutput::Notification(_) => continue,
            ClientLinkOutput::Disconnected(_) => {
                is_over = true;
                WayEvent::Down
            }
        };
        if let Some(job) = user {
            events.push_back((*job, event));
        }
    }
    if is_over && let Some((Some(job), _)) = connection.hdlc.take() {
        connection.users.remove(&job);
    }
}
