//! The server's end of a line: every logical device on it, and every client that talks to one.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use gridloom_core::Instant;

use super::address::Address;
use super::deframer::{BACKLOG_MAX, Deframer};
use super::frame::{Control, Frame, INFO_MAX, Sequence};
use super::parameters::Parameters;
use super::transfer::{End, Received, Transfer};

/// Connections on one line; one more client is answered DM.
pub const CLIENTS_MAX: usize = 64;

/// Why a frame was rejected: the last byte of a FRMR.
const UNKNOWN_CONTROL: u8 = 0x01;
const INFO_NOT_ALLOWED: u8 = 0x03;
const INFO_TOO_LONG: u8 = 0x04;
const NEVER_SENT: u8 = 0x08;

/// A client and the logical device that it talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// The client, one byte.
    pub client: Address,
    /// The server, as the client addressed it.
    pub server: Address,
}

/// How a server uses a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerLinkConfig {
    /// The logical devices served.
    pub logical: RangeInclusive<u16>,
    /// The physical devices served; an address that names none is served too.
    pub physical: RangeInclusive<u16>,
    /// What to agree to at most.
    pub parameters: Parameters,
    /// A connection on which nothing is heard for this long is dropped.
    pub inactivity: Duration,
    /// How long an answer may take before the right to send is given back without one.
    /// Shorter than the client's response timeout.
    pub hold: Duration,
    /// A frame that pauses longer is given up.
    pub inter_octet: Duration,
}

impl ServerLinkConfig {
    /// Serves `logical` on every physical device, with the longest frames and windows.
    pub const fn new(logical: RangeInclusive<u16>) -> Self {
        Self {
            logical,
            physical: 0..=u16::MAX,
            parameters: Parameters::symmetric(INFO_MAX, super::parameters::WINDOW_MAX),
            inactivity: Duration::from_secs(120),
            hold: Duration::from_secs(1),
            inter_octet: Duration::from_secs(1),
        }
    }
}

/// What a [`ServerLink`] wants or tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerLinkOutput {
    /// Put these bytes on the line.
    Transmit(Vec<u8>),
    /// A client has connected.
    Connected(Peer),
    /// A client sent this APDU; [`ServerLink::answer`] it.
    Apdu {
        /// Who, and to whom.
        peer: Peer,
        /// What.
        apdu: Vec<u8>,
    },
    /// A client has disconnected, has begun anew or has fallen silent.
    Disconnected(Peer),
}

#[derive(Debug)]
struct Connection {
    transfer: Transfer,
    turn: Turn,
    heard_at: Instant,
    /// The FRMR that answers everything until the client connects anew.
    rejected: Option<[u8; 3]>,
}

#[derive(Debug, Clone, Copy)]
enum Turn {
    /// The client polled; we answer by then.
    Ours {
        until: Instant,
    },
    Theirs,
}

/// The server's end of one line.
#[derive(Debug)]
pub struct ServerLink {
    config: ServerLinkConfig,
    connections: BTreeMap<Peer, Box<Connection>>,
    deframer: Deframer,
    partial_since: Option<Instant>,
    outbox: VecDeque<ServerLinkOutput>,
}

impl ServerLink {
    /// A line without connections.
    pub const fn new(config: ServerLinkConfig) -> Self {
        Self {
            config,
            connections: BTreeMap::new(),
            deframer: Deframer::new(),
            partial_since: None,
            outbox: VecDeque::new(),
        }
    }

    /// Sends an APDU to a client, now or when it polls. It is dropped if the client has gone, or
    /// if it lets eight answers wait.
    ///
    /// # Panics
    ///
    /// If the APDU is empty or longer than [`super::APDU_MAX`].
    pub fn answer(&mut self, peer: Peer, apdu: &[u8]) {
        let Some(connection) = self.connections.get_mut(&peer) else {
            return;
        };
        if connection.rejected.is_some() || !connection.transfer.has_room() {
            return;
        }
        connection.transfer.queue(apdu);
        if let Turn::Ours { .. } = connection.turn {
            connection.turn = Turn::Theirs;
            let mut bytes = Vec::new();
            connection.transfer.send_window(&mut bytes);
            self.outbox.push_back(ServerLinkOutput::Transmit(bytes));
        }
    }

    /// Sends an APDU unasked, outside the numbering, connected or not: a push.
    ///
    /// # Panics
    ///
    /// If the APDU is empty or longer than [`super::APDU_MAX`].
    pub fn notify(&mut self, peer: Peer, apdu: &[u8]) {
        let info_max = (self.connections.get(&peer))
            .map_or(self.config.parameters, |connection| {
                connection.transfer.parameters()
            })
            .info_transmit;
        let payload = End::Server.add_llc(apdu);
        let mut bytes = Vec::new();
        let mut segments = payload.chunks(info_max.into()).peekable();
        while let Some(info) = segments.next() {
            Frame {
                destination: peer.client,
                source: peer.server,
                control: Control::UnnumberedInformation { poll: false },
                segmented: segments.peek().is_some(),
                info,
            }
            .encode(&mut bytes);
        }
        self.outbox.push_back(ServerLinkOutput::Transmit(bytes));
    }

    /// Ends a client's connection; it is answered DM from now on.
    pub fn close(&mut self, peer: Peer) {
        self.drop_connection(peer);
    }

    /// Who is connected.
    pub fn peers(&self) -> impl Iterator<Item = Peer> {
        self.connections.keys().copied()
    }

    /// Beginnings of frames on the line that turned out damaged.
    pub const fn damaged(&self) -> u64 {
        self.deframer.damaged()
    }

    /// Takes bytes from the line.
    pub fn handle_bytes(&mut self, bytes: &[u8], now: Instant) {
        let mut deframer = core::mem::take(&mut self.deframer);
        for piece in bytes.chunks(BACKLOG_MAX / 2) {
            deframer.push(piece);
            while let Some(frame) = deframer.pull() {
                if self.is_for_us(&frame) {
                    self.handle_frame(&frame, now);
                }
            }
        }
        self.partial_since = deframer.is_partial().then_some(now);
        self.deframer = deframer;
    }

    /// The line is gone, and every connection with it.
    pub fn handle_lost(&mut self) {
        self.deframer.reset();
        self.partial_since = None;
        while let Some((peer, _)) = self.connections.pop_first() {
            self.outbox.push_back(ServerLinkOutput::Disconnected(peer));
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(since) = self.partial_since
            && now >= since + self.config.inter_octet
        {
            self.partial_since = None;
            self.deframer.reset();
        }
        let inactivity = self.config.inactivity;
        let outbox = &mut self.outbox;
        self.connections.retain(|peer, connection| {
            if now >= connection.heard_at + inactivity {
                outbox.push_back(ServerLinkOutput::Disconnected(*peer));
                return false;
            }
            if let Turn::Ours { until } = connection.turn
                && now >= until
            {
                connection.turn = Turn::Theirs;
                let mut bytes = Vec::new();
                connection.transfer.send_ready(&mut bytes);
                outbox.push_back(ServerLinkOutput::Transmit(bytes));
            }
            true
        });
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Option<ServerLinkOutput> {
        self.outbox.pop_front()
    }

    /// The next deadline, and the timer that sets it.
    pub fn wake(&self) -> Option<(Instant, &'static str)> {
        let partial = self
            .partial_since
            .map(|since| (since + self.config.inter_octet, "HDLC inter-octet"));
        let connections = self.connections.values().flat_map(|connection| {
            let hold = match connection.turn {
                Turn::Ours { until } => Some((until, "HDLC hold")),
                Turn::Theirs => None,
            };
            let silence = (
                connection.heard_at + self.config.inactivity,
                "HDLC inactivity",
            );
            hold.into_iter().chain([silence])
        });
        connections.chain(partial).min()
    }

    fn is_for_us(&self, frame: &Frame<'_>) -> bool {
        let server = frame.destination;
        frame.source.lower().is_none()
            && !server.is_broadcast()
            && self.config.logical.contains(&server.upper())
            && server
                .lower()
                .is_none_or(|lower| self.config.physical.contains(&lower))
    }

    fn handle_frame(&mut self, frame: &Frame<'_>, now: Instant) {
        let peer = Peer {
            client: frame.source,
            server: frame.destination,
        };
        match frame.control {
            Control::SetNormalResponseMode { poll } => {
                if poll {
                    self.connect(peer, frame.info, now);
                }
            }
            Control::Disconnect { poll } => {
                let answer = if self.drop_connection(peer) {
                    Control::UnnumberedAcknowledge { poll }
                } else {
                    Control::DisconnectedMode { poll }
                };
                if poll {
                    self.respond(peer, answer, &[]);
                }
            }
            Control::Information { .. }
            | Control::ReceiveReady { .. }
            | Control::ReceiveNotReady { .. }
            | Control::Reject { .. }
            | Control::UnnumberedInformation { .. }
            | Control::Unknown(_) => self.handle_connected(peer, frame, now),
            // Responses are for clients; on a shared line we may hear another station's.
            Control::UnnumberedAcknowledge { .. }
            | Control::DisconnectedMode { .. }
            | Control::FrameReject { .. } => {}
        }
    }

    fn connect(&mut self, peer: Peer, info: &[u8], now: Instant) {
        let full = self.connections.len() >= CLIENTS_MAX && !self.connections.contains_key(&peer);
        let theirs = match Parameters::decode(info) {
            Ok(theirs) if !full => theirs,
            Ok(_) | Err(_) => {
                self.drop_connection(peer);
                self.respond(peer, Control::DisconnectedMode { poll: true }, &[]);
                return;
            }
        };
        self.drop_connection(peer);
        let parameters = self.config.parameters.agree(theirs);
        let connection = Connection {
            transfer: Transfer::new(End::Server, peer.server, peer.client, parameters),
            turn: Turn::Theirs,
            heard_at: now,
            rejected: None,
        };
        self.connections.insert(peer, Box::new(connection));
        self.respond(
            peer,
            Control::UnnumberedAcknowledge { poll: true },
            &parameters.encode(),
        );
        self.outbox.push_back(ServerLinkOutput::Connected(peer));
    }

    fn drop_connection(&mut self, peer: Peer) -> bool {
        let existed = self.connections.remove(&peer).is_some();
        if existed {
            self.outbox.push_back(ServerLinkOutput::Disconnected(peer));
        }
        existed
    }

    fn handle_connected(&mut self, peer: Peer, frame: &Frame<'_>, now: Instant) {
        let poll = frame.control.poll();
        let Some(connection) = self.connections.get_mut(&peer) else {
            if poll {
                self.respond(peer, Control::DisconnectedMode { poll: true }, &[]);
            }
            return;
        };
        connection.heard_at = now;
        if let Some(why) = connection.rejected {
            if poll {
                self.respond(peer, Control::FrameReject { poll: true }, &why);
            }
            return;
        }
        match connection.take(frame, now + self.config.hold) {
            Ok(Taken { apdu, bytes }) => {
                if !bytes.is_empty() {
                    self.outbox.push_back(ServerLinkOutput::Transmit(bytes));
                }
                if let Some(apdu) = apdu {
                    self.outbox.push_back(ServerLinkOutput::Apdu { peer, apdu });
                }
            }
            Err(reason) => {
                let why = [
                    frame.control.to_byte(),
                    connection.transfer.expected().get() << 5
                        | connection.transfer.next_send().get() << 1,
                    reason,
                ];
                connection.rejected = Some(why);
                connection.turn = Turn::Theirs;
                self.respond(peer, Control::FrameReject { poll }, &why);
            }
        }
    }

    fn respond(&mut self, peer: Peer, control: Control, info: &[u8]) {
        let mut bytes = Vec::new();
        Frame {
            destination: peer.client,
            source: peer.server,
            control,
            segmented: false,
            info,
        }
        .encode(&mut bytes);
        self.outbox.push_back(ServerLinkOutput::Transmit(bytes));
    }
}

/// What a frame led to.
#[derive(Default)]
struct Taken {
    apdu: Option<Vec<u8>>,
    /// What to transmit; empty if the answer is due later.
    bytes: Vec<u8>,
}

impl Connection {
    /// Takes a frame, or says why it is rejected.
    fn take(&mut self, frame: &Frame<'_>, hold_until: Instant) -> Result<Taken, u8> {
        let (send, receive, poll) = match frame.control {
            Control::Information {
                send,
                receive,
                poll,
            } => (Some(send), receive, poll),
            Control::ReceiveReady { receive, poll }
            | Control::ReceiveNotReady { receive, poll }
            | Control::Reject { receive, poll } => (None, receive, poll),
            Control::UnnumberedInformation { .. } => return Ok(unnumbered(frame)),
            Control::SetNormalResponseMode { .. }
            | Control::Disconnect { .. }
            | Control::UnnumberedAcknowledge { .. }
            | Control::DisconnectedMode { .. }
            | Control::FrameReject { .. }
            | Control::Unknown(_) => return Err(UNKNOWN_CONTROL),
        };
        if send.is_none() && !frame.info.is_empty() {
            return Err(INFO_NOT_ALLOWED);
        }
        if frame.info.len() > self.transfer.parameters().info_receive.into() {
            return Err(INFO_TOO_LONG);
        }
        (self.transfer.acknowledge(receive)).map_err(|_| NEVER_SENT)?;
        let mut taken = Taken::default();
        if let Some(number) = send {
            taken.apdu = self.receive(number, frame)?;
        }
        if !poll {
            return Ok(taken);
        }
        let may_send = !matches!(frame.control, Control::ReceiveNotReady { .. });
        self.turn = Turn::Theirs;
        if may_send && self.transfer.send_window(&mut taken.bytes) {
            return Ok(taken);
        }
        if taken.apdu.is_some() {
            self.turn = Turn::Ours { until: hold_until };
        } else {
            self.transfer.send_ready(&mut taken.bytes);
        }
        Ok(taken)
    }

    fn receive(&mut self, number: Sequence, frame: &Frame<'_>) -> Result<Option<Vec<u8>>, u8> {
        match self.transfer.receive(number, frame.segmented, frame.info) {
            Received::Complete(apdu) => Ok(Some(apdu)),
            Received::TooLong => Err(INFO_TOO_LONG),
            Received::Duplicate | Received::Gap | Received::Partial | Received::NoApdu => Ok(None),
        }
    }
}

/// A command outside the numbering: nobody waits for an answer.
fn unnumbered(frame: &Frame<'_>) -> Taken {
    let apdu = (!frame.segmented)
        .then(|| End::Server.strip_llc(frame.info))
        .flatten();
    Taken {
        apdu: apdu.map(<[u8]>::to_vec),
        bytes: Vec::new(),
    }
}
