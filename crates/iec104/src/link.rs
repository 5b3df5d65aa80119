//! One connection: sequence numbers, windows, timers, STARTDT, STOPDT and TESTFR
//! (IEC 60870-5-104, clause 5).

use std::collections::VecDeque;
use std::time::Duration;

use gridloom_core::Instant;

use crate::frame::{ASDU_MAX, Frame, FrameError, Framer, Sequence, Unnumbered};

/// Timers and windows of a connection; both stations must agree on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long a connection may take to be made.
    pub t0: Duration,
    /// How long the peer may take to acknowledge an I-frame or to answer a U-frame.
    pub t1: Duration,
    /// How long a received I-frame may go without acknowledgement; below `t1`.
    pub t2: Duration,
    /// How long nothing may be heard before a TESTFR.
    pub t3: Duration,
    /// The most I-frames sent without acknowledgement, 1–32 767.
    pub k: u16,
    /// The most I-frames received without acknowledging them; at most `k`.
    pub w: u16,
}

impl Default for Timing {
    /// The standard's values: 30 s, 15 s, 10 s, 20 s, k 12, w 8.
    fn default() -> Self {
        Self {
            t0: Duration::from_secs(30),
            t1: Duration::from_secs(15),
            t2: Duration::from_secs(10),
            t3: Duration::from_secs(20),
            k: 12,
            w: 8,
        }
    }
}

/// Which rule a [`Timing`] breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimingError {
    /// A timer is zero or longer than two days.
    #[error("link: t0, t1, t2 and t3 must lie between 1 ms and 48 h")]
    Range,
    /// The peer would give up before it is acknowledged.
    #[error("link: t2 ({t2:?}) must be below t1 ({t1:?})")]
    LateAcknowledgement {
        /// t2.
        t2: Duration,
        /// t1.
        t1: Duration,
    },
    /// The peer would stop before it is acknowledged.
    #[error("link: w ({w}) must be 1 to k ({k}), and k at most 32767")]
    Windows {
        /// k.
        k: u16,
        /// w.
        w: u16,
    },
}

impl Timing {
    /// Checks the rules of the standard.
    pub fn check(&self) -> Result<(), TimingError> {
        let range = Duration::from_millis(1)..=Duration::from_secs(48 * 3_600);
        if [self.t0, self.t1, self.t2, self.t3]
            .iter()
            .any(|t| !range.contains(t))
        {
            return Err(TimingError::Range);
        }
        if self.t2 >= self.t1 {
            return Err(TimingError::LateAcknowledgement {
                t2: self.t2,
                t1: self.t1,
            });
        }
        if self.w == 0 || self.w > self.k || self.k > 32_767 {
            return Err(TimingError::Windows {
                k: self.k,
                w: self.w,
            });
        }
        Ok(())
    }
}

/// Which end of the connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Makes the connection, and starts and stops the data transfer.
    Controlling,
    /// Listens, and answers.
    Controlled,
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// No connection within t0.
    #[error("link: no connection within t0")]
    NotConnected,
    /// The TCP connection was lost, or the peer ended it.
    #[error("link: the connection was lost")]
    Lost,
    /// An I-frame of ours was not acknowledged within t1.
    #[error("link: I-frame {0} was not acknowledged within t1")]
    NoAcknowledgement(Sequence),
    /// A U-frame of ours was not answered within t1.
    #[error("link: {0:?} was not answered within t1")]
    NoAnswer(Unnumbered),
    /// The stream is no IEC 104.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// An I-frame was lost or doubled on the way.
    #[error("link: I-frame {got} came where {expected} belongs")]
    SendSequence {
        /// V(R).
        expected: Sequence,
        /// N(S).
        got: Sequence,
    },
    /// The peer acknowledges what was never sent, or takes an acknowledgement back.
    #[error("link: N(R) {got} is outside {oldest} to {next}")]
    ReceiveSequence {
        /// The oldest number that is not acknowledged.
        oldest: Sequence,
        /// V(S).
        next: Sequence,
        /// N(R).
        got: Sequence,
    },
    /// A frame that has no place in the state of the connection, such as data before STARTDT.
    #[error("link: a frame that does not belong in this state")]
    Unexpected,
    /// Another connection of the redundancy group was started.
    #[error("link: another connection of the group was started")]
    Superseded,
    /// The peer asked for more than is kept for it without reading the answers.
    #[error("link: the peer does not read its answers")]
    Flooded,
    /// The group has as many connections as it is configured for.
    #[error("link: the group has all its connections; raise connections_max or end one")]
    Crowded,
    /// The user of the link wanted it so.
    #[error("link: closed on purpose")]
    Asked,
}

/// What a link wants done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkOutput {
    /// Write these octets.
    Transmit(Vec<u8>),
    /// The peer sent this ASDU.
    Received(Vec<u8>),
    /// This many of the oldest I-frames sent were acknowledged.
    Acknowledged(u16),
    /// Data transfer has begun.
    Started,
    /// Data transfer has ended. The controlled station then has nothing unacknowledged.
    Stopped,
    /// Close the connection; the link is down already.
    Close(CloseReason),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Down,
    Connecting { since: Instant },
    Stopped,
    Starting { since: Instant },
    Started,
    // `since` only for the side that asked.
    Stopping { since: Option<Instant> },
}

/// One IEC 104 connection, either role.
///
/// Follows the contract of [`gridloom_core::machine`]: drain [`poll_output`](Self::poll_output)
/// after every call that may put something out, and call
/// [`handle_timeout`](Self::handle_timeout) when [`wake`](Self::wake) says.
#[derive(Debug, Clone)]
pub struct Link {
    role: Role,
    timing: Timing,
    state: State,
    framer: Framer,
    /// V(S).
    send: Sequence,
    /// V(R).
    receive: Sequence,
    /// When each I-frame left that is not acknowledged, oldest first; at most k.
    unacknowledged: VecDeque<Instant>,
    /// I-frames received that we have not acknowledged, and since when; below w.
    owed: u16,
    owed_since: Instant,
    /// When a TESTFR act left that is not answered.
    testing_since: Option<Instant>,
    /// When a frame was received last.
    heard: Instant,
    outbox: VecDeque<LinkOutput>,
}

impl Link {
    /// A link that is down.
    ///
    /// # Panics
    ///
    /// If `timing` breaks a rule; see [`Timing::check`].
    pub fn new(role: Role, timing: Timing) -> Self {
        if let Err(error) = timing.check() {
            panic!("{error}");
        }
        Self {
            role,
            timing,
            state: State::Down,
            framer: Framer::default(),
            send: Sequence::ZERO,
            receive: Sequence::ZERO,
            unacknowledged: VecDeque::new(),
            owed: 0,
            owed_since: Instant::ZERO,
            testing_since: None,
            heard: Instant::ZERO,
            outbox: VecDeque::new(),
        }
    }

    /// Whether the connection is made.
    pub fn is_open(&self) -> bool {
        !matches!(self.state, State::Down | State::Connecting { .. })
    }

    /// Whether nothing goes on: neither a connection nor the making of one.
    pub fn is_down(&self) -> bool {
        self.state == State::Down
    }

    /// Whether data transfer is started.
    pub fn is_started(&self) -> bool {
        self.state == State::Started
    }

    /// Whether an I-frame may be sent now: started, and less than k unacknowledged.
    pub fn can_send(&self) -> bool {
        self.is_started() && self.unacknowledged.len() < usize::from(self.timing.k)
    }

    /// The host has begun to connect: t0 runs.
    pub fn handle_connecting(&mut self, now: Instant) {
        self.assert_drained();
        assert!(self.is_down(), "only a link that is down is connected");
        self.state = State::Connecting { since: now };
    }

    /// The connection is made; both sides count from zero.
    pub fn handle_opened(&mut self, now: Instant) {
        self.assert_drained();
        assert!(!self.is_open(), "a connection is opened once");
        let (role, timing) = (self.role, self.timing);
        *self = Self {
            state: State::Stopped,
            heard: now,
            ..Self::new(role, timing)
        };
    }

    /// The connection is gone, or could not be made. Nothing is put out.
    pub fn handle_closed(&mut self) {
        self.assert_drained();
        self.state = State::Down;
    }

    /// Octets came. Those of a link that is down are ignored.
    pub fn handle_bytes(&mut self, bytes: &[u8], now: Instant) {
        self.assert_drained();
        let mut input = bytes;
        while self.is_open() {
            match self.framer.next_frame(&mut input) {
                Ok(Some(frame)) => self.handle_frame(frame, now),
                Ok(None) => return,
                Err(error) => self.shut(CloseReason::Frame(error)),
            }
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.assert_drained();
        let Timing { t0, t1, t2, t3, .. } = self.timing;
        let passed = |since: Instant, limit: Duration| now >= since + limit;
        match self.state {
            State::Down => return,
            State::Connecting { since } => {
                if passed(since, t0) {
                    self.shut(CloseReason::NotConnected);
                }
                return;
            }
            State::Starting { since } if passed(since, t1) => {
                return self.shut(CloseReason::NoAnswer(Unnumbered::StartAct));
            }
            State::Stopping { since: Some(since) } if passed(since, t1) => {
                return self.shut(CloseReason::NoAnswer(Unnumbered::StopAct));
            }
            State::Stopped | State::Starting { .. } | State::Started | State::Stopping { .. } => {}
        }
        if self
            .unacknowledged
            .front()
            .is_some_and(|&since| passed(since, t1))
        {
            let oldest = self.oldest();
            return self.shut(CloseReason::NoAcknowledgement(oldest));
        }
        if self.testing_since.is_some_and(|since| passed(since, t1)) {
            return self.shut(CloseReason::NoAnswer(Unnumbered::TestAct));
        }
        if self.owed > 0 && passed(self.owed_since, t2) {
            self.acknowledge();
        }
        if self.testing_since.is_none() && passed(self.heard, t3) {
            self.testing_since = Some(now);
            self.transmit(&Frame::Unnumbered(Unnumbered::TestAct));
        }
    }

    /// The next deadline, and the timer that sets it.
    pub fn wake(&self) -> Option<(Instant, &'static str)> {
        let Timing { t0, t1, t2, t3, .. } = self.timing;
        let procedure = match self.state {
            State::Down => return None,
            State::Connecting { since } => return Some((since + t0, "t0")),
            State::Starting { since } | State::Stopping { since: Some(since) } => {
                Some((since + t1, "t1"))
            }
            State::Stopped | State::Started | State::Stopping { since: None } => None,
        };
        let oldest = self.unacknowledged.front();
        let test = match self.testing_since {
            Some(since) => (since + t1, "t1"),
            None => (self.heard + t3, "t3"),
        };
        let deadlines = [
            procedure,
            oldest.map(|&since| (since + t1, "t1")),
            Some(test),
            (self.owed > 0).then(|| (self.owed_since + t2, "t2")),
        ];
        deadlines.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Asks the controlled station to begin data transfer.
    ///
    /// # Panics
    ///
    /// If this is not the controlling station, or the link is not open and stopped.
    pub fn start(&mut self, now: Instant) {
        self.assert_drained();
        assert_eq!(self.role, Role::Controlling, "the controlling station asks");
        assert_eq!(self.state, State::Stopped, "only a stopped link is started");
        self.state = State::Starting { since: now };
        self.transmit(&Frame::Unnumbered(Unnumbered::StartAct));
    }

    /// Asks the controlled station to end data transfer.
    ///
    /// # Panics
    ///
    /// If this is not the controlling station, or the link is not started.
    pub fn stop(&mut self, now: Instant) {
        self.assert_drained();
        assert_eq!(self.role, Role::Controlling, "the controlling station asks");
        assert!(self.is_started(), "only a started link is stopped");
        // What we have received is acknowledged first: the peer waits for it before it confirms.
        if self.owed > 0 {
            self.acknowledge();
        }
        self.state = State::Stopping { since: Some(now) };
        self.transmit(&Frame::Unnumbered(Unnumbered::StopAct));
    }

    /// Sends an ASDU in an I-frame, which acknowledges everything received.
    ///
    /// # Panics
    ///
    /// If [`can_send`](Self::can_send) says no, or the ASDU is empty or too long.
    pub fn send(&mut self, asdu: Vec<u8>, now: Instant) {
        assert!(self.can_send(), "ask can_send first");
        assert!((1..=ASDU_MAX).contains(&asdu.len()), "an ASDU fits a frame");
        self.owed = 0;
        let frame = Frame::Information {
            send: self.send,
            receive: self.receive,
            asdu,
        };
        self.transmit(&frame);
        self.send = self.send.next();
        self.unacknowledged.push_back(now);
    }

    /// Ends the connection for a reason of the user's.
    pub fn close(&mut self, reason: CloseReason) {
        if !self.is_down() {
            self.shut(reason);
        }
    }

    /// What is to be done next; `None` until the next input.
    pub fn poll_output(&mut self) -> Option<LinkOutput> {
        self.outbox.pop_front()
    }

    fn handle_frame(&mut self, frame: Frame, now: Instant) {
        self.heard = now;
        match frame {
            Frame::Information {
                send,
                receive,
                asdu,
            } => self.handle_information(send, receive, asdu, now),
            Frame::Supervisory { receive } => self.handle_acknowledgement(receive),
            Frame::Unnumbered(function) => self.handle_unnumbered(function),
        }
    }

    fn handle_information(
        &mut self,
        send: Sequence,
        receive: Sequence,
        asdu: Vec<u8>,
        now: Instant,
    ) {
        let in_transfer = match (self.state, self.role) {
            // What was on its way before the controlled station heard STOPDT.
            (State::Started, _) | (State::Stopping { .. }, Role::Controlling) => true,
            (State::Stopping { .. }, Role::Controlled)
            | (
                State::Down | State::Connecting { .. } | State::Stopped | State::Starting { .. },
                _,
            ) => false,
        };
        if !in_transfer {
            return self.shut(CloseReason::Unexpected);
        }
        if send != self.receive {
            return self.shut(CloseReason::SendSequence {
                expected: self.receive,
                got: send,
            });
        }
        self.receive = self.receive.next();
        if self.owed == 0 {
            self.owed_since = now;
        }
        self.owed += 1;
        self.handle_acknowledgement(receive);
        if !self.is_open() {
            return;
        }
        let is_stopping = self.state != State::Started;
        if self.owed >= self.timing.w || is_stopping {
            self.acknowledge();
        }
        self.outbox.push_back(LinkOutput::Received(asdu));
    }

    fn handle_acknowledgement(&mut self, receive: Sequence) {
        let oldest = self.oldest();
        let acknowledged = receive.since(oldest);
        if usize::from(acknowledged) > self.unacknowledged.len() {
            return self.shut(CloseReason::ReceiveSequence {
                oldest,
                next: self.send,
                got: receive,
            });
        }
        if acknowledged > 0 {
            self.unacknowledged.drain(..usize::from(acknowledged));
            self.outbox
                .push_back(LinkOutput::Acknowledged(acknowledged));
        }
        if self.role == Role::Controlled && self.unacknowledged.is_empty() {
            self.confirm_stop();
        }
    }

    fn handle_unnumbered(&mut self, function: Unnumbered) {
        match (function, self.role, self.state) {
            (Unnumbered::TestAct, _, _) => {
                self.transmit(&Frame::Unnumbered(Unnumbered::TestCon));
            }
            (Unnumbered::TestCon, _, _) => self.testing_since = None,
            (Unnumbered::StartAct, Role::Controlled, State::Stopped) => {
                self.state = State::Started;
                self.transmit(&Frame::Unnumbered(Unnumbered::StartCon));
                self.outbox.push_back(LinkOutput::Started);
            }
            (Unnumbered::StartAct, Role::Controlled, State::Started) => {
                self.transmit(&Frame::Unnumbered(Unnumbered::StartCon));
            }
            (Unnumbered::StartCon, Role::Controlling, State::Starting { .. }) => {
                self.state = State::Started;
                self.outbox.push_back(LinkOutput::Started);
            }
            (Unnumbered::StopAct, Role::Controlled, State::Started) => {
                if self.owed > 0 {
                    self.acknowledge();
                }
                self.state = State::Stopping { since: None };
                if self.unacknowledged.is_empty() {
                    self.confirm_stop();
                }
            }
            (Unnumbered::StopAct, Role::Controlled, State::Stopped) => {
                self.transmit(&Frame::Unnumbered(Unnumbered::StopCon));
            }
            (Unnumbered::StopCon, Role::Controlling, State::Stopping { .. }) => {
                // Frames of ours that it has not acknowledged stay under t1.
                self.state = State::Stopped;
                self.outbox.push_back(LinkOutput::Stopped);
            }
            (
                Unnumbered::StartAct
                | Unnumbered::StartCon
                | Unnumbered::StopAct
                | Unnumbered::StopCon,
                _,
                _,
            ) => self.shut(CloseReason::Unexpected),
        }
    }

    /// The controlled station's second half of STOPDT: everything it sent is acknowledged.
    fn confirm_stop(&mut self) {
        if matches!(self.state, State::Stopping { .. }) {
            self.state = State::Stopped;
            self.transmit(&Frame::Unnumbered(Unnumbered::StopCon));
            self.outbox.push_back(LinkOutput::Stopped);
        }
    }

    fn acknowledge(&mut self) {
        self.owed = 0;
        let receive = self.receive;
        self.transmit(&Frame::Supervisory { receive });
    }

    fn oldest(&self) -> Sequence {
        let count = u16::try_from(self.unacknowledged.len()).expect("at most k");
        // Back from V(S): 32 768 steps are none.
        Sequence::new(self.send.get() + (32_768 - count))
    }

    fn transmit(&mut self, frame: &Frame) {
        self.outbox.push_back(LinkOutput::Transmit(frame.encode()));
    }

    fn shut(&mut self, reason: CloseReason) {
        self.state = State::Down;
        self.outbox.push_back(LinkOutput::Close(reason));
    }

    fn assert_drained(&self) {
        assert!(
            self.outbox.is_empty(),
            "host must drain outputs between inputs"
        );
    }
}

#[cfg(test)]
mod tests;
