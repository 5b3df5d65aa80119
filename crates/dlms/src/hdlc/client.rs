//! The client's end of a link: it connects, asks, polls and disconnects.

use std::collections::VecDeque;
use std::time::Duration;

use gridloom_core::Instant;

use super::address::Address;
use super::deframer::{BACKLOG_MAX, Deframer};
use super::frame::{Control, Frame, Sequence};
use super::parameters::{ParameterError, Parameters};
use super::transfer::{APDU_MAX, APDUS_MAX, End, Received, Transfer};

/// Why a connection ended or was never made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The station does not answer.
    #[error(
        "frame: HDLC station {server} gave no answer to {attempts} attempts; check address, line \
         and speed"
    )]
    NoAnswer {
        /// Whom we asked.
        server: Address,
        /// How often.
        attempts: u8,
    },
    /// The station answered DM: it has no connection with us, and wants none now.
    #[error(
        "frame: HDLC station {server} has no connection with client {client} (DM); connect again, \
         or check the client's address"
    )]
    Refused {
        /// Whom we asked.
        server: Address,
        /// As whom.
        client: Address,
    },
    /// The station answered FRMR.
    #[error("frame: HDLC station {server} rejected a frame (FRMR); connect again")]
    Rejected {
        /// Whom we asked.
        server: Address,
    },
    /// The station acknowledged what was never sent.
    #[error("frame: HDLC station {server} acknowledged frame {got}, never sent; connect again")]
    NeverSent {
        /// Who.
        server: Address,
        /// The number it wants next.
        got: u8,
    },
    /// The station wants the same frame again and again.
    #[error(
        "frame: HDLC station {server} wants the same frame for the {REPEATS_MAX}th time; \
         propose shorter frames, or check the line"
    )]
    NoProgress {
        /// Whom we send to.
        server: Address,
    },
    /// An APDU longer than [`APDU_MAX`].
    #[error("frame: HDLC station {server} sent an APDU of more than {APDU_MAX} bytes")]
    TooLong {
        /// Who.
        server: Address,
    },
    /// The parameters of the station's UA are of no use.
    #[error(transparent)]
    Parameters(#[from] ParameterError),
    /// There is no connection.
    #[error("frame: no HDLC connection; connect first")]
    NotConnected,
    /// Too many APDUs wait.
    #[error("frame: {APDUS_MAX} APDUs wait on the HDLC connection; wait for their answers")]
    Backlog,
    /// The line is gone.
    #[error("frame: the line is gone")]
    Lost,
}

/// How often the same segments are sent while the station answers and wants them again; then
/// something on the way damages them every time, and the connection ends.
const REPEATS_MAX: u8 = 10;

/// How a client uses a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientLinkConfig {
    /// The client, one byte.
    pub client: Address,
    /// The server.
    pub server: Address,
    /// What to propose.
    pub parameters: Parameters,
    /// How long the station may be silent while it has the right to send.
    pub response_timeout: Duration,
    /// How often a command is sent before the station counts as gone, at least 1.
    pub attempts: u8,
    /// Pause before a station that has nothing to say yet is asked again.
    pub poll_pause: Duration,
    /// A frame that pauses longer is given up.
    pub inter_octet: Duration,
}

impl ClientLinkConfig {
    /// The longest frames, windows of one, and times that suit 9600 baud and a wide-area network.
    pub const fn new(client: Address, server: Address) -> Self {
        Self {
            client,
            server,
            parameters: Parameters::symmetric(super::frame::INFO_MAX, 1),
            response_timeout: Duration::from_secs(5),
            attempts: 3,
            poll_pause: Duration::from_millis(200),
            inter_octet: Duration::from_secs(1),
        }
    }
}

/// What a [`ClientLink`] wants or tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientLinkOutput {
    /// Put these bytes on the line.
    Transmit(Vec<u8>),
    /// Connected, with these limits.
    Connected(Parameters),
    /// The station sent this APDU.
    Apdu(Vec<u8>),
    /// The station sent this APDU unasked, outside the numbering.
    Notification(Vec<u8>),
    /// There is no connection any more: because we wanted it, or because of the error.
    Disconnected(Option<LinkError>),
}

#[derive(Debug)]
enum State {
    Disconnected,
    Connecting(Waiting),
    Connected(Box<Connected>),
    Disconnecting(Waiting),
}

/// An answer is due.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    until: Instant,
    attempts: u8,
}

#[derive(Debug)]
struct Connected {
    transfer: Transfer,
    turn: Turn,
    /// An APDU was sent that no APDU has answered.
    expecting: bool,
    /// The station said RNR.
    busy: bool,
    /// How often the station wanted the same again.
    repeats: u8,
}

#[derive(Debug, Clone, Copy)]
enum Turn {
    Ours { poll_at: Option<Instant> },
    Theirs(Waiting),
}

/// The client's end of one connection.
#[derive(Debug)]
pub struct ClientLink {
    config: ClientLinkConfig,
    state: State,
    deframer: Deframer,
    /// When the last byte of a frame that has not ended arrived.
    partial_since: Option<Instant>,
    /// A payload outside the numbering that goes on.
    unnumbered: Vec<u8>,
    outbox: VecDeque<ClientLinkOutput>,
}

impl ClientLink {
    /// A link without a connection.
    ///
    /// # Panics
    ///
    /// If `config.attempts` is 0.
    pub fn new(config: ClientLinkConfig) -> Self {
        assert!(config.attempts > 0, "a command is sent at least once");
        Self {
            config,
            state: State::Disconnected,
            deframer: Deframer::new(),
            partial_since: None,
            unnumbered: Vec::new(),
            outbox: VecDeque::new(),
        }
    }

    /// Asks the station for a connection; [`ClientLinkOutput::Connected`] or
    /// [`ClientLinkOutput::Disconnected`] follows. A connection that stands is made anew.
    pub fn connect(&mut self, now: Instant) {
        self.command_snrm();
        self.state = State::Connecting(self.waiting(now, 1));
    }

    /// Sends an APDU.
    ///
    /// # Errors
    ///
    /// [`LinkError::NotConnected`], [`LinkError::Backlog`].
    ///
    /// # Panics
    ///
    /// If the APDU is empty or longer than [`APDU_MAX`].
    pub fn send(&mut self, apdu: &[u8], now: Instant) -> Result<(), LinkError> {
        let State::Connected(connected) = &mut self.state else {
            return Err(LinkError::NotConnected);
        };
        if !connected.transfer.has_room() {
            return Err(LinkError::Backlog);
        }
        connected.transfer.queue(apdu);
        connected.expecting = true;
        if let Turn::Ours { .. } = connected.turn {
            self.proceed(now);
        }
        Ok(())
    }

    /// Ends the connection; [`ClientLinkOutput::Disconnected`] follows.
    pub fn disconnect(&mut self, now: Instant) {
        if let State::Disconnected = self.state {
            return;
        }
        self.command_disc();
        self.state = State::Disconnecting(self.waiting(now, 1));
    }

    /// Whether a connection stands.
    pub const fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected(_))
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
                if frame.destination == self.config.client
                    && is_station(frame.source, self.config.server)
                {
                    self.handle_frame(&frame, now);
                }
            }
        }
        self.partial_since = deframer.is_partial().then_some(now);
        self.deframer = deframer;
    }

    /// The line is gone, and the connection with it.
    pub fn handle_lost(&mut self) {
        self.deframer.reset();
        self.partial_since = None;
        self.unnumbered = Vec::new();
        match self.state {
            State::Disconnected => {}
            State::Disconnecting(_) => self.end(None),
            State::Connecting(_) | State::Connected(_) => self.end(Some(LinkError::Lost)),
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
        match &mut self.state {
            State::Connecting(waiting) if now >= waiting.until => {
                let attempts = waiting.attempts;
                if attempts >= self.config.attempts {
                    self.end(Some(self.no_answer()));
                } else {
                    self.command_snrm();
                    self.state = State::Connecting(self.waiting(now, attempts + 1));
                }
            }
            State::Disconnecting(waiting) if now >= waiting.until => {
                let attempts = waiting.attempts;
                if attempts >= self.config.attempts {
                    self.end(Some(self.no_answer()));
                } else {
                    self.command_disc();
                    self.state = State::Disconnecting(self.waiting(now, attempts + 1));
                }
            }
            State::Connected(connected) => match connected.turn {
                Turn::Theirs(waiting) if now >= waiting.until => {
                    if waiting.attempts >= self.config.attempts {
                        self.end(Some(self.no_answer()));
                    } else {
                        self.poll(waiting.attempts + 1, now);
                    }
                }
                Turn::Ours {
                    poll_at: Some(poll_at),
                } if now >= poll_at => self.poll(1, now),
                Turn::Theirs(_) | Turn::Ours { .. } => {}
            },
            State::Disconnected | State::Connecting(_) | State::Disconnecting(_) => {}
        }
    }

    /// Whether [`Self::poll_output`] has something to give.
    pub fn has_output(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Option<ClientLinkOutput> {
        self.outbox.pop_front()
    }

    /// The next deadline, and the timer that sets it.
    pub fn wake(&self) -> Option<(Instant, &'static str)> {
        let state = match &self.state {
            State::Disconnected => None,
            State::Connecting(waiting) => Some((waiting.until, "HDLC connect")),
            State::Disconnecting(waiting) => Some((waiting.until, "HDLC disconnect")),
            State::Connected(connected) => match connected.turn {
                Turn::Ours { poll_at } => poll_at.map(|at| (at, "HDLC poll")),
                Turn::Theirs(waiting) => Some((waiting.until, "HDLC response")),
            },
        };
        let partial = self
            .partial_since
            .map(|since| (since + self.config.inter_octet, "HDLC inter-octet"));
        state.into_iter().chain(partial).min()
    }

    fn handle_frame(&mut self, frame: &Frame<'_>, now: Instant) {
        match frame.control {
            Control::UnnumberedInformation { .. } => self.take_unnumbered(frame),
            Control::UnnumberedAcknowledge { .. } => self.take_acknowledge(frame.info),
            Control::DisconnectedMode { .. } => match self.state {
                State::Disconnected => {}
                // There was no connection: just what we wanted.
                State::Disconnecting(_) => self.end(None),
                State::Connecting(_) | State::Connected(_) => {
                    self.end(Some(LinkError::Refused {
                        server: self.config.server,
                        client: self.config.client,
                    }));
                }
            },
            Control::FrameReject { .. } => {
                if let State::Connected(_) = self.state {
                    self.end(Some(LinkError::Rejected {
                        server: self.config.server,
                    }));
                }
            }
            Control::Information {
                send,
                receive,
                poll,
            } => self.take_numbered(frame, Some(send), receive, poll, now),
            Control::ReceiveReady { receive, poll } | Control::Reject { receive, poll } => {
                self.set_busy(false);
                self.take_numbered(frame, None, receive, poll, now);
            }
            Control::ReceiveNotReady { receive, poll } => {
                self.set_busy(true);
                self.take_numbered(frame, None, receive, poll, now);
            }
            // Commands are a client's, and nobody may invent responses: noise.
            Control::SetNormalResponseMode { .. }
            | Control::Disconnect { .. }
            | Control::Unknown(_) => {}
        }
    }

    fn take_acknowledge(&mut self, info: &[u8]) {
        match self.state {
            State::Connecting(_) => match Parameters::decode(info) {
                Ok(theirs) => {
                    let parameters = self.config.parameters.agree(theirs);
                    let transfer = Transfer::new(
                        End::Client,
                        self.config.client,
                        self.config.server,
                        parameters,
                    );
                    self.state = State::Connected(Box::new(Connected {
                        transfer,
                        turn: Turn::Ours { poll_at: None },
                        expecting: false,
                        busy: false,
                        repeats: 0,
                    }));
                    self.outbox
                        .push_back(ClientLinkOutput::Connected(parameters));
                }
                Err(error) => self.end(Some(error.into())),
            },
            State::Disconnecting(_) => self.end(None),
            // An answer to a repeated SNRM or DISC.
            State::Disconnected | State::Connected(_) => {}
        }
    }

    fn take_unnumbered(&mut self, frame: &Frame<'_>) {
        if self.unnumbered.len() + frame.info.len() > APDU_MAX {
            self.unnumbered = Vec::new();
            return;
        }
        self.unnumbered.extend_from_slice(frame.info);
        if frame.segmented {
            return;
        }
        let payload = core::mem::take(&mut self.unnumbered);
        if let Some(apdu) = End::Client.strip_llc(&payload) {
            self.outbox
                .push_back(ClientLinkOutput::Notification(apdu.to_vec()));
        }
    }

    fn set_busy(&mut self, busy: bool) {
        if let State::Connected(connected) = &mut self.state {
            connected.busy = busy;
        }
    }

    fn take_numbered(
        &mut self,
        frame: &Frame<'_>,
        send: Option<Sequence>,
        receive: Sequence,
        poll: bool,
        now: Instant,
    ) {
        let server = self.config.server;
        let State::Connected(connected) = &mut self.state else {
            return;
        };
        let Ok(progress) = connected.transfer.acknowledge(receive) else {
            self.end(Some(LinkError::NeverSent {
                server,
                got: receive.get(),
            }));
            return;
        };
        if let Some(number) = send {
            match connected
                .transfer
                .receive(number, frame.segmented, frame.info)
            {
                // An echo of what is known must not make us repeat what is on its way, or every
                // doubled frame would double all that follow; the timer repairs what is lost.
                Received::Duplicate if !progress => return,
                Received::Duplicate | Received::Gap | Received::Partial | Received::NoApdu => {}
                Received::Complete(apdu) => {
                    connected.expecting = false;
                    self.outbox.push_back(ClientLinkOutput::Apdu(apdu));
                }
                Received::TooLong => {
                    self.end(Some(LinkError::TooLong { server }));
                    return;
                }
            }
        }
        let Turn::Theirs(waiting) = &mut connected.turn else {
            return;
        };
        if poll {
            if progress || !connected.transfer.has_unacknowledged() {
                connected.repeats = 0;
            } else {
                connected.repeats += 1;
                if connected.repeats >= REPEATS_MAX {
                    self.end(Some(LinkError::NoProgress { server }));
                    return;
                }
            }
            self.proceed(now);
        } else {
            waiting.until = now + self.config.response_timeout;
        }
    }

    /// Uses the right to send, or keeps it.
    fn proceed(&mut self, now: Instant) {
        let waiting = self.waiting(now, 1);
        let poll_at = now + self.config.poll_pause;
        let State::Connected(connected) = &mut self.state else {
            return;
        };
        let mut bytes = Vec::new();
        connected.turn = if connected.busy {
            Turn::Ours {
                poll_at: Some(poll_at),
            }
        } else if connected.transfer.send_window(&mut bytes) {
            Turn::Theirs(waiting)
        } else if connected.transfer.is_collecting() {
            connected.transfer.send_ready(&mut bytes);
            Turn::Theirs(waiting)
        } else {
            Turn::Ours {
                poll_at: connected.expecting.then_some(poll_at),
            }
        };
        if !bytes.is_empty() {
            self.outbox.push_back(ClientLinkOutput::Transmit(bytes));
        }
    }

    fn poll(&mut self, attempt: u8, now: Instant) {
        let waiting = self.waiting(now, attempt);
        let State::Connected(connected) = &mut self.state else {
            return;
        };
        let mut bytes = Vec::new();
        connected.transfer.send_ready(&mut bytes);
        connected.turn = Turn::Theirs(waiting);
        self.outbox.push_back(ClientLinkOutput::Transmit(bytes));
    }

    fn waiting(&self, now: Instant, attempts: u8) -> Waiting {
        Waiting {
            until: now + self.config.response_timeout,
            attempts,
        }
    }

    const fn no_answer(&self) -> LinkError {
        LinkError::NoAnswer {
            server: self.config.server,
            attempts: self.config.attempts,
        }
    }

    fn command_snrm(&mut self) {
        let info = if self.config.parameters == Parameters::default() {
            Vec::new()
        } else {
            self.config.parameters.encode()
        };
        self.command(Control::SetNormalResponseMode { poll: true }, &info);
    }

    fn command_disc(&mut self) {
        self.command(Control::Disconnect { poll: true }, &[]);
    }

    fn command(&mut self, control: Control, info: &[u8]) {
        let mut bytes = Vec::new();
        Frame {
            destination: self.config.server,
            source: self.config.client,
            control,
            segmented: false,
            info,
        }
        .encode(&mut bytes);
        self.outbox.push_back(ClientLinkOutput::Transmit(bytes));
    }

    fn end(&mut self, error: Option<LinkError>) {
        self.state = State::Disconnected;
        self.outbox.push_back(ClientLinkOutput::Disconnected(error));
    }
}

/// Whether `source` is the station asked: some leave out or add the physical device.
fn is_station(source: Address, asked: Address) -> bool {
    source.upper() == asked.upper()
        && match (source.lower(), asked.lower()) {
            (Some(source), Some(asked)) => source == asked,
            (None, _) | (_, None) => true,
        }
}
