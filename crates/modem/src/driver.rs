//! The driver: one command at a time, and what each answer means.

mod sending;
mod setup;

use std::collections::VecDeque;

use gridloom_core::Instant;

use crate::alphabet::{Charset, SmsText};
use crate::backoff::Backoff;
use crate::cause::Cause;
use crate::cause::HaltReason;
use crate::command::{Command, SendStage};
use crate::event::{Event, Output, RestartReason, Timing};
use crate::inbox::{BODY_MAX, Inbox};
use crate::line::{Item, LineReader};
use crate::number::{PhoneNumber, Pin};
use crate::outgoing::{AttemptError, Queue, SendError, SendFailure, Ticket};
use crate::reply::{PinStatus, Registration, Reply, Signal};

const ESC: u8 = 0x1B;

/// Looks at a SIM that took its PIN and is not ready. After them the driver halts.
const SIM_LOOKS_MAX: u32 = 10;

/// Drives one modem.
///
/// The host reports the device with [`ModemDriver::handle_opened`] and
/// [`ModemDriver::handle_lost`], feeds bytes and timeouts, and drains
/// [`ModemDriver::poll_output`] after each input. Queued texts and the memory of a refused PIN
/// survive a device that comes and goes.
#[derive(Debug)]
pub struct ModemDriver {
    pin: Option<Pin>,
    timing: Timing,
    pin_state: PinState,
    phase: Phase,
    pending: Option<Pending>,
    reader: LineReader,
    charset: Charset,
    /// Whether listed lengths are believed; a modem that counts otherwise loses this.
    lengths_believed: bool,
    registration: Option<Registration>,
    signal: Option<Signal>,
    unregistered_since: Instant,
    supervise_at: Instant,
    supervision: VecDeque<Command>,
    listing_due: bool,
    inbox: Inbox,
    queue: Queue,
    restarts: u32,
    outbox: VecDeque<Output>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// There is no device.
    Closed,
    /// The set-up is under way.
    Starting,
    /// The set-up waits: for the modem to calm down, or for the SIM.
    Waiting {
        until: Instant,
        then: Command,
    },
    Ready,
    Halted(HaltReason),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PinState {
    Untried,
    /// Entered, outcome unknown.
    Entered,
    /// Taken with OK, and looked for this many times since without the SIM being ready.
    Taken {
        looks: u32,
    },
    /// The SIM became ready with it: may be entered again after a loss of power.
    Proven,
    Refused(Cause),
}

#[derive(Debug)]
struct Pending {
    command: Command,
    /// As written, to know its echo.
    line: String,
    echoed: bool,
    /// The result line that the command asks for came.
    answered: bool,
    pin: Option<PinStatus>,
    deadline: Instant,
}

impl ModemDriver {
    /// A driver without a device yet. `pin` is entered if the SIM asks, once.
    pub fn new(pin: Option<Pin>, timing: Timing) -> Self {
        Self {
            pin,
            timing,
            pin_state: PinState::Untried,
            phase: Phase::Closed,
            pending: None,
            reader: LineReader::default(),
            charset: Charset::Ira,
            lengths_believed: true,
            registration: None,
            signal: None,
            unregistered_since: Instant::ZERO,
            supervise_at: Instant::ZERO,
            supervision: VecDeque::new(),
            listing_due: false,
            inbox: Inbox::default(),
            queue: Queue::default(),
            restarts: 0,
            outbox: VecDeque::new(),
        }
    }

    /// The device is open: sets the modem up from the start.
    pub fn handle_opened(&mut self, now: Instant) {
        self.assert_drained();
        self.abandon(now);
        self.begin(Command::Probe, now);
    }

    /// The device is gone. A text under way is sent again when it is back.
    pub fn handle_lost(&mut self, now: Instant) {
        self.assert_drained();
        self.abandon(now);
        self.phase = Phase::Closed;
    }

    /// Queues a text.
    ///
    /// # Errors
    ///
    /// The queue is full, or the modem is halted.
    pub fn send(
        &mut self,
        number: PhoneNumber,
        text: &SmsText,
        now: Instant,
    ) -> Result<Ticket, SendError> {
        self.assert_drained();
        if let Phase::Halted(reason) = &self.phase {
            return Err(SendError::Halted(reason.clone()));
        }
        let ticket = self.queue.push(number, text, now)?;
        self.start_next(now);
        Ok(ticket)
    }

    /// An operator gave a new PIN; it is tried once, like the first.
    pub fn handle_pin(&mut self, pin: Pin, now: Instant) {
        self.assert_drained();
        self.pin = Some(pin);
        self.pin_state = PinState::Untried;
        if matches!(self.phase, Phase::Halted(_)) {
            self.begin(Command::Probe, now);
        }
    }

    /// Takes bytes from the modem.
    pub fn handle_bytes(&mut self, bytes: &[u8], now: Instant) {
        self.assert_drained();
        if self.phase == Phase::Closed {
            return;
        }
        for &byte in bytes {
            match self.reader.push(byte) {
                Some(Item::Line(line)) => self.handle_line(&line, now),
                Some(Item::Prompt) => self.handle_prompt(now),
                Some(Item::Body(body)) => self.inbox.body(&body, self.charset),
                Some(Item::Overlong) if self.is_listing() => self.inbox.overlong(),
                Some(Item::Overlong) | None => {}
            }
        }
    }

    /// Takes the time; harmless when nothing is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.assert_drained();
        while let Some(text) = self.queue.expire(now, self.ticket_under_way()) {
            self.failed(&text, SendFailure::Expired);
        }
        if self.pending.as_ref().is_some_and(|p| p.deadline <= now) {
            self.handle_silence(now);
        }
        match self.phase {
            Phase::Waiting { until, then } if until <= now => self.begin(then, now),
            Phase::Ready => {
                if self.supervise_at <= now && self.pending.is_none() {
                    self.supervise(now);
                }
                self.start_next(now);
            }
            Phase::Closed | Phase::Starting | Phase::Waiting { .. } | Phase::Halted(_) => {}
        }
    }

    /// The next effect, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    /// The next deadline, and the timer that sets it.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let expiry = self
            .queue
            .expires_at()
            // A text under way expires when its attempt has ended.
            .filter(|_| self.ticket_under_way().is_none())
            .map(|at| (at, "text expiry"));
        let pending = self
            .pending
            .as_ref()
            .map(|p| (p.deadline, p.command.name()));
        let phase = match self.phase {
            Phase::Waiting { until, .. } => Some((until, "modem restart")),
            Phase::Ready if self.pending.is_none() => Some((self.supervise_at, "supervision")),
            Phase::Ready | Phase::Closed | Phase::Starting | Phase::Halted(_) => None,
        };
        let due = (self.can_send())
            .then(|| self.queue.due_at().map(|at| (at, "text retry")))
            .flatten();
        [expiry, pending, phase, due]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    /// Texts that wait or are under way.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// The registration, once the modem told it.
    pub fn registration(&self) -> Option<Registration> {
        self.registration
    }

    fn handle_line(&mut self, line: &[u8], now: Instant) {
        if self.is_echo(line) {
            return;
        }
        let reply = Reply::decode(line);
        let listing = self.is_listing();
        match reply {
            Reply::Ok => self.finish(Ok(()), now),
            Reply::Refused(cause) => self.finish(Err(cause), now),
            Reply::ListHead(head) if listing => {
                let length = head.length.filter(|_| self.lengths_believed);
                self.inbox.head(head);
                if let Some(length) = length.filter(|n| (1..=BODY_MAX).contains(n)) {
                    self.reader.expect_body(length);
                }
            }
            // Until its end a body of unknown length may look like anything.
            Reply::Pin(_)
            | Reply::Registered { .. }
            | Reply::Signal(_)
            | Reply::Reference(_)
            | Reply::NewMessage
            | Reply::Ring
            | Reply::Other
                if listing && self.inbox.is_open() =>
            {
                self.inbox.line(line, self.charset);
            }
            Reply::Pin(status) => {
                if let Some(pending) = self.pending_of(Command::PinQuery) {
                    pending.pin = Some(status);
                }
            }
            Reply::Registered {
                registration,
                answer,
            } => {
                if let Some(pending) = self.pending_of(Command::RegistrationQuery) {
                    pending.answered |= answer;
                }
                self.registered(registration, now);
            }
            Reply::Signal(signal) => {
                if self.signal != Some(signal) {
                    self.signal = Some(signal);
                    self.tell(Event::Signal(signal));
                }
            }
            Reply::Reference(reference) => self.handle_reference(reference, now),
            Reply::NewMessage => {
                self.listing_due = true;
                self.start_next(now);
            }
            Reply::Ring => self.tell(Event::IncomingCall),
            Reply::Other if listing => self.inbox.line(line, self.charset),
            Reply::ListHead(_) | Reply::Other => {}
        }
    }

    /// The command under way got its result.
    fn finish(&mut self, result: Result<(), Cause>, now: Instant) {
        // A result nobody waits for belongs to a command that was given up.
        let Some(pending) = self.pending.take() else {
            return;
        };
        let command = pending.command;
        self.reader.forget_prompt();
        match command {
            Command::PinQuery => self.finish_pin_query(pending.pin, result, now),
            Command::PinEnter => self.finish_pin_entry(result, now),
            Command::RegistrationQuery if result.is_ok() && !pending.answered => {
                self.restart(RestartReason::OutOfStep(command.name()), now);
            }
            Command::List => self.finish_listing(result),
            Command::Delete(index) => {
                // What cannot be deleted is tried again at the next listing.
                if result.is_ok() {
                    self.inbox.deleted(index);
                }
            }
            Command::Send { ticket, stage } => self.finish_send(ticket, stage, result, now),
            Command::Cancel(ticket) => self.attempt_failed(ticket, AttemptError::NoPrompt, now),
            Command::Reset
            | Command::Probe
            | Command::EchoOff
            | Command::NumericErrors
            | Command::TextMode
            | Command::SetCharset(_)
            | Command::TextDetails
            | Command::Indications
            | Command::RegistrationReports
            | Command::RegistrationQuery
            | Command::SignalQuery => self.finish_step(command, result, now),
        }
        self.start_next(now);
    }

    fn finish_listing(&mut self, result: Result<(), Cause>) {
        // Some modems refuse to list an empty memory; nothing was listed then.
        if result.is_err() {
            self.inbox.begin();
            return;
        }
        let (news, more) = self.inbox.finish();
        self.listing_due |= more;
        for message in news {
            self.tell(Event::Received(message));
        }
    }

    /// The command under way got no result in time.
    fn handle_silence(&mut self, now: Instant) {
        match self.command() {
            Some(Command::Send {
                ticket,
                stage: SendStage::Prompt,
            }) => {
                // Should the prompt come yet, the modem must not wait for a text.
                self.outbox.push_back(Output::Transmit(vec![ESC]));
                self.reader.reset();
                self.await_result(Command::Cancel(ticket), String::new(), now);
            }
            Some(command) => {
                if command == Command::List {
                    // Perhaps a body was counted too long and swallowed the result.
                    self.lengths_believed = false;
                }
                self.restart(RestartReason::NoAnswer(command.name()), now);
            }
            None => {}
        }
    }

    fn restart(&mut self, reason: RestartReason, now: Instant) {
        self.abandon(now);
        self.restarts = self.restarts.saturating_add(1);
        let backoff = Backoff {
            first: self.timing.restart_first,
            longest: self.timing.restart_longest,
        };
        let after = backoff.after(self.restarts);
        self.phase = Phase::Waiting {
            until: now + after,
            then: Command::Reset,
        };
        self.tell(Event::Restarting { reason, after });
    }

    fn halt(&mut self, reason: HaltReason) {
        self.tell(Event::Halted(reason.clone()));
        self.phase = Phase::Halted(reason);
    }

    /// Drops the conversation; a text under way counts as tried.
    fn abandon(&mut self, now: Instant) {
        if let Some(pending) = self.pending.take() {
            match pending.command {
                Command::Send { ticket, stage } => match stage {
                    SendStage::Prompt => {
                        self.attempt_failed(ticket, AttemptError::NoPrompt, now);
                    }
                    SendStage::Reference => {
                        self.attempt_failed(ticket, AttemptError::Unconfirmed, now);
                    }
                    SendStage::Result(reference) => self.part_sent(ticket, reference),
                },
                Command::Cancel(ticket) => {
                    self.attempt_failed(ticket, AttemptError::NoPrompt, now);
                }
                Command::Reset
                | Command::Probe
                | Command::EchoOff
                | Command::NumericErrors
                | Command::PinQuery
                | Command::PinEnter
                | Command::TextMode
                | Command::SetCharset(_)
                | Command::TextDetails
                | Command::Indications
                | Command::RegistrationReports
                | Command::RegistrationQuery
                | Command::SignalQuery
                | Command::List
                | Command::Delete(_) => {}
            }
        }
        self.reader.reset();
        self.inbox.begin();
        self.supervision.clear();
        self.registration = None;
        self.signal = None;
    }

    fn supervise(&mut self, now: Instant) {
        let unregistered = now.since(self.unregistered_since);
        if !self.is_registered() && unregistered >= self.timing.unregistered {
            self.restart(RestartReason::NotRegistered(unregistered), now);
            return;
        }
        self.supervise_at = now + self.supervision_wait();
        self.supervision
            .extend([Command::RegistrationQuery, Command::SignalQuery]);
        self.listing_due = true;
    }

    fn supervision_wait(&self) -> std::time::Duration {
        if self.is_registered() {
            self.timing.supervise
        } else {
            self.timing.search
        }
    }

    fn registered(&mut self, registration: Registration, now: Instant) {
        if self.registration == Some(registration) {
            return;
        }
        if self.is_registered() && !registration.is_registered() {
            self.unregistered_since = now;
            self.supervise_at = self.supervise_at.min(now + self.timing.search);
        }
        self.registration = Some(registration);
        self.tell(Event::Registration(registration));
        self.start_next(now);
    }

    /// Begins the next piece of work if the modem is ready and free. What looks after the modem
    /// comes before what came in, and that before what goes out.
    fn start_next(&mut self, now: Instant) {
        while self.phase == Phase::Ready && self.pending.is_none() {
            let command = self
                .supervision
                .pop_front()
                .or_else(|| self.inbox.next_deletion().map(Command::Delete))
                .or_else(|| core::mem::take(&mut self.listing_due).then_some(Command::List));
            match command {
                Some(command) => {
                    if command == Command::List {
                        self.inbox.begin();
                    }
                    self.transmit_command(command, now);
                }
                None if !self.start_text(now) => return,
                None => {}
            }
        }
    }

    /// Takes the next step of the set-up.
    fn begin(&mut self, command: Command, now: Instant) {
        self.phase = Phase::Starting;
        self.transmit_command(command, now);
    }

    fn transmit_command(&mut self, command: Command, now: Instant) {
        let line = command.line(self.pin.as_ref());
        self.write_line(&line);
        self.await_result(command, line, now);
    }

    fn write_line(&mut self, line: &str) {
        let mut bytes = line.as_bytes().to_vec();
        bytes.push(b'\r');
        self.outbox.push_back(Output::Transmit(bytes));
    }

    fn await_result(&mut self, command: Command, line: String, now: Instant) {
        self.pending = Some(Pending {
            command,
            line,
            echoed: false,
            answered: false,
            pin: None,
            deadline: now + self.timing.command,
        });
    }

    fn tell(&mut self, event: Event) {
        self.outbox.push_back(Output::Event(event));
    }

    /// Whether a line is what we wrote, coming back. A text comes back only if its command did.
    fn is_echo(&mut self, line: &[u8]) -> bool {
        let Some(pending) = &mut self.pending else {
            return false;
        };
        if !pending.line.is_empty() && line == pending.line.as_bytes() {
            pending.echoed = true;
            return true;
        }
        let Command::Send {
            ticket,
            stage: SendStage::Reference,
        } = pending.command
        else {
            return false;
        };
        let text = self.queue.get(ticket).part().encode(self.charset);
        pending.echoed && text.is_ok_and(|text| line == text.trim_ascii())
    }

    fn is_listing(&self) -> bool {
        self.command() == Some(Command::List)
    }

    fn is_registered(&self) -> bool {
        self.registration.is_some_and(Registration::is_registered)
    }

    fn can_send(&self) -> bool {
        self.phase == Phase::Ready && self.pending.is_none() && self.is_registered()
    }

    fn command(&self) -> Option<Command> {
        self.pending.as_ref().map(|p| p.command)
    }

    fn pending_of(&mut self, command: Command) -> Option<&mut Pending> {
        self.pending.as_mut().filter(|p| p.command == command)
    }

    fn ticket_under_way(&self) -> Option<Ticket> {
        if let Command::Send { ticket, .. } | Command::Cancel(ticket) = self.command()? {
            return Some(ticket);
        }
        None
    }

    fn assert_drained(&self) {
        assert!(
            self.outbox.is_empty(),
            "host must drain outputs between inputs"
        );
    }
}
