//! The peer: a modem as a machine, with the faults that real ones have.

use std::collections::VecDeque;
use std::time::Duration;

use gridloom_core::Instant;

use crate::cause::{Cause, CmeCause, CmsCause};
use crate::reply::Registration;

/// Sent texts that are kept. The oldest is forgotten for one more.
pub const OUTBOX_MAX: usize = 1_024;
/// Places of the SIM's memory. A text for a full memory is refused to the network.
pub const INBOX_MAX: usize = 20;
/// Wrong PINs before the SIM wants its PUK (TS 31.101 §9.5).
pub const PIN_TRIES: u8 = 3;
/// Bytes of a command line (V.250 asks for at least 40). A longer one is an error.
const COMMAND_MAX: usize = 512;
/// Bytes of a text being written. The rest is dropped, and the text refused.
const TEXT_MAX: usize = 640;
/// Characters the network takes in one message.
const CHARACTERS_MAX: usize = 160;

const CTRL_Z: u8 = 0x1A;
const ESC: u8 = 0x1B;
const BACKSPACE: u8 = 0x08;

/// How one attempt to send fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendFault {
    /// The network or the modem refuses the text after it was written.
    Refused(Cause),
    /// The command is refused before the prompt.
    NoPrompt(Cause),
    /// There is neither a prompt nor an error.
    MutePrompt,
    /// The text goes out, and its confirmation is lost.
    LostConfirmation,
}

/// What kind of modem this is, and what is wrong with it. All of it may change while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviour {
    /// The SIM's PIN; `None` if it asks for none.
    pub pin: Option<String>,
    /// Time from the SIM being ready until it is registered.
    pub registers_after: Duration,
    /// What it then is.
    pub registration: Registration,
    /// Signal, 0–31 or 99.
    pub rssi: u8,
    /// Time the network takes for a text.
    pub sends_in: Duration,
    /// One for each coming attempt to send; texts go out when it is empty.
    pub send_faults: VecDeque<SendFault>,
    /// Answers nothing at all.
    pub silent: bool,
    /// Comes before every answer: a noisy line.
    pub noise: Vec<u8>,
    /// Echoes again after each `ATE0`.
    pub echoes_always: bool,
    /// Knows the character set IRA; GSM it always knows.
    pub knows_ira: bool,
    /// Tells the length of listed texts.
    pub tells_lengths: bool,
    /// Refuses to delete.
    pub keeps_texts: bool,
}

impl Default for Behaviour {
    /// A modem without faults, at home in the network after a second.
    fn default() -> Self {
        Self {
            pin: None,
            registers_after: Duration::from_secs(1),
            registration: Registration::Home,
            rssi: 20,
            sends_in: Duration::from_millis(500),
            send_faults: VecDeque::new(),
            silent: false,
            noise: Vec::new(),
            echoes_always: false,
            knows_ira: true,
            tells_lengths: true,
            keeps_texts: false,
        }
    }
}

/// A text that left the modem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentSms {
    /// To whom.
    pub number: String,
    /// The text as it stood on the wire.
    pub text: Vec<u8>,
    /// The reference it got.
    pub reference: u8,
}

/// An effect of the emulated modem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmulatedOutput {
    /// Write these bytes to whoever drives it.
    Transmit(Vec<u8>),
    /// A text left it.
    Sent(SentSms),
}

#[derive(Debug)]
struct Stored {
    sender: String,
    text: String,
    read: bool,
}

#[derive(Debug, Clone)]
enum Mode {
    Command,
    /// A text for this number is being written.
    Text(String),
    /// A text is with the network.
    Sending,
}

/// An emulated GSM modem in text mode.
#[derive(Debug)]
pub struct EmulatedModem {
    /// What is wrong with it.
    pub behaviour: Behaviour,
    mode: Mode,
    buffer: Vec<u8>,
    echo: bool,
    numeric_errors: bool,
    text_mode: bool,
    details: bool,
    gsm_charset: bool,
    indications: bool,
    registration_reports: bool,
    pin_open: bool,
    pin_tries: u8,
    ready_since: Option<Instant>,
    registration_told: bool,
    /// A text on its way: when it is through, and the text.
    sending: Option<(Instant, SentSms, Option<SendFault>)>,
    next_reference: u8,
    sent: VecDeque<SentSms>,
    memory: Vec<Option<Stored>>,
    outbox: VecDeque<EmulatedOutput>,
}

impl EmulatedModem {
    /// A modem that was switched on at `now`.
    pub fn new(behaviour: Behaviour, now: Instant) -> Self {
        let mut modem = Self {
            behaviour,
            mode: Mode::Command,
            buffer: Vec::new(),
            echo: true,
            numeric_errors: false,
            text_mode: false,
            details: false,
            gsm_charset: true,
            indications: false,
            registration_reports: false,
            pin_open: false,
            pin_tries: PIN_TRIES,
            ready_since: None,
            registration_told: false,
            sending: None,
            next_reference: 0,
            sent: VecDeque::new(),
            memory: (0..INBOX_MAX).map(|_| None).collect(),
            outbox: VecDeque::new(),
        };
        modem.switch_on(now);
        modem
    }

    /// Takes its power away and gives it back: what is not on the SIM is forgotten.
    pub fn handle_power_cycle(&mut self, now: Instant) {
        self.switch_on(now);
    }

    /// Takes bytes from whoever drives it.
    pub fn handle_bytes(&mut self, bytes: &[u8], now: Instant) {
        for &byte in bytes {
            self.handle_byte(byte, now);
        }
    }

    /// Takes the time; harmless when nothing is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.sending.as_ref().is_some_and(|(at, ..)| *at <= now)
            && let Some((_, text, fault)) = self.sending.take()
        {
            self.finish_sending(text, fault);
        }
        if self.registered_at().is_some_and(|at| at <= now) && !self.registration_told {
            self.registration_told = true;
            if self.registration_reports {
                let stat = stat(self.behaviour.registration);
                self.line(&format!("+CREG: {stat}"));
            }
        }
    }

    /// The next effect, until `None`.
    pub fn poll_output(&mut self) -> Option<EmulatedOutput> {
        self.outbox.pop_front()
    }

    /// The next deadline, and what sets it.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let sending = self.sending.as_ref().map(|(at, ..)| (*at, "network"));
        let registration = self
            .registered_at()
            .filter(|_| !self.registration_told)
            .map(|at| (at, "registration"));
        [sending, registration]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    /// The network brings a text. `false` if the memory is full.
    pub fn receive(&mut self, sender: &str, text: &str) -> bool {
        let Some(place) = self.memory.iter().position(Option::is_none) else {
            return false;
        };
        self.memory[place] = Some(Stored {
            sender: sender.to_owned(),
            text: text.to_owned(),
            read: false,
        });
        if self.indications {
            self.line(&format!("+CMTI: \"SM\",{}", place + 1));
        }
        true
    }

    /// Somebody calls: one ring.
    pub fn ring(&mut self) {
        self.line("RING");
    }

    /// The network changes the registration.
    pub fn set_registration(&mut self, registration: Registration) {
        self.behaviour.registration = registration;
        if self.registration_reports && self.registration_told {
            self.line(&format!("+CREG: {}", stat(registration)));
        }
    }

    /// The texts that left it, oldest first.
    pub fn sent(&self) -> impl Iterator<Item = &SentSms> {
        self.sent.iter()
    }

    /// Texts in its memory.
    pub fn stored(&self) -> usize {
        self.memory.iter().flatten().count()
    }

    /// Wrong PINs the SIM still takes.
    pub fn pin_tries(&self) -> u8 {
        self.pin_tries
    }

    fn switch_on(&mut self, now: Instant) {
        self.reset_profile();
        self.pin_open = self.behaviour.pin.is_none();
        self.ready_since = self.pin_open.then_some(now);
        self.registration_told = false;
    }

    /// `ATZ`: the profile as it was when new; the SIM stays unlocked.
    fn reset_profile(&mut self) {
        self.mode = Mode::Command;
        self.buffer.clear();
        self.echo = true;
        self.numeric_errors = false;
        self.text_mode = false;
        self.details = false;
        self.gsm_charset = true;
        self.indications = false;
        self.registration_reports = false;
        self.sending = None;
    }

    fn handle_byte(&mut self, byte: u8, now: Instant) {
        // The ends of a text are not echoed, so an echoed `OK` looks like an answer.
        let ends_text = matches!(byte, CTRL_Z | ESC);
        if self.echo && !ends_text && !matches!(self.mode, Mode::Sending) {
            self.raw(&[byte]);
        }
        match (&self.mode, byte) {
            (Mode::Sending, _) => {}
            (Mode::Command, b'\r') => {
                let line = core::mem::take(&mut self.buffer);
                self.command_line(&line, now);
            }
            (Mode::Command, b'\n') => {}
            (Mode::Command | Mode::Text(_), BACKSPACE) => {
                self.buffer.pop();
            }
            (Mode::Command, ESC) => self.buffer.clear(),
            (Mode::Command, _) => {
                if self.buffer.len() <= COMMAND_MAX {
                    self.buffer.push(byte);
                }
            }
            (Mode::Text(_), ESC) => {
                self.mode = Mode::Command;
                self.buffer.clear();
                self.line("OK");
            }
            (Mode::Text(number), CTRL_Z) => {
                let number = number.clone();
                self.text_written(number, now);
            }
            (Mode::Text(_), _) => {
                if self.buffer.len() <= TEXT_MAX {
                    self.buffer.push(byte);
                }
                if byte == b'\r' {
                    self.raw(b"\r\n> ");
                }
            }
        }
    }

    fn command_line(&mut self, line: &[u8], now: Instant) {
        if line.len() > COMMAND_MAX {
            self.line("ERROR");
            return;
        }
        let text = String::from_utf8_lossy(line).trim().to_owned();
        // V.250 §5.2.1: what stands before AT is not part of a command.
        let upper = text.to_ascii_uppercase();
        let Some(at) = upper.find("AT") else {
            return;
        };
        let Some(body) = text.get(at + 2..) else {
            return;
        };
        match self.command(body, now) {
            Ok(()) => {}
            Err(cause) => self.refuse(cause),
        }
    }

    fn command(&mut self, body: &str, now: Instant) -> Result<(), Cause> {
        let split = body.find(['=', '?']).unwrap_or(body.len());
        let (name, parameters) = body.split_at(split);
        match (name.to_ascii_uppercase().as_str(), parameters) {
            ("", "") => {}
            ("Z" | "Z0", "") => self.reset_profile(),
            ("E0", "") => self.echo = self.behaviour.echoes_always,
            ("E" | "E1", "") => self.echo = true,
            ("I" | "+CGMM", "") => self.line("Gridloom emulated modem"),
            ("+CMEE", p) => self.numeric_errors = switch(p)?,
            ("+CPIN", "?") => return self.tell_pin(),
            ("+CPIN", p) => return self.enter_pin(&quoted(p)?, now),
            // Everything below wants the SIM (TS 27.007 §8.3).
            (_, _) if !self.pin_open => return Err(Cause::Cme(self.locked())),
            ("+CMGF", p) => self.text_mode = switch(p)?,
            ("+CSDH", p) => self.details = switch(p)?,
            ("+CSCS", p) => match quoted(p)?.as_str() {
                "GSM" => self.gsm_charset = true,
                "IRA" if self.behaviour.knows_ira => self.gsm_charset = false,
                _ => return Err(Cause::Cme(CmeCause(4))),
            },
            ("+CNMI", p) if p.starts_with('=') => self.indications = true,
            ("+CREG", "?") => self.tell_registration(now),
            ("+CREG", p) => self.registration_reports = switch(p)?,
            ("+CSQ", "") => self.line(&format!("+CSQ: {},99", self.behaviour.rssi)),
            ("+CMGS", p) => return self.begin_text(quoted(p)?, now),
            ("+CMGL", p) => self.list(&quoted(p)?)?,
            ("+CMGD", p) => self.delete(p)?,
            (_, _) => return Err(Cause::Error),
        }
        self.line("OK");
        Ok(())
    }

    fn tell_pin(&mut self) -> Result<(), Cause> {
        let state = match (self.pin_open, self.pin_tries) {
            (true, _) => "READY",
            (false, 0) => "SIM PUK",
            (false, _) => "SIM PIN",
        };
        self.line(&format!("+CPIN: {state}"));
        self.line("OK");
        Ok(())
    }

    fn enter_pin(&mut self, given: &str, now: Instant) -> Result<(), Cause> {
        if self.pin_open {
            return Err(Cause::Cme(CmeCause(3)));
        }
        if self.pin_tries == 0 {
            return Err(Cause::Cme(CmeCause::PUK_REQUIRED));
        }
        if self.behaviour.pin.as_deref() != Some(given) {
            self.pin_tries -= 1;
            return Err(Cause::Cme(CmeCause::INCORRECT_PASSWORD));
        }
        self.pin_tries = PIN_TRIES;
        self.pin_open = true;
        self.ready_since = Some(now);
        self.line("OK");
        Ok(())
    }

    fn locked(&self) -> CmeCause {
        if self.pin_tries == 0 {
            CmeCause::PUK_REQUIRED
        } else {
            CmeCause(11)
        }
    }

    fn registered_at(&self) -> Option<Instant> {
        self.ready_since
            .map(|since| since + self.behaviour.registers_after)
    }

    fn registration(&self, now: Instant) -> Registration {
        if self.registered_at().is_some_and(|at| at <= now) {
            self.behaviour.registration
        } else {
            Registration::Searching
        }
    }

    fn tell_registration(&mut self, now: Instant) {
        let reports = u8::from(self.registration_reports);
        let stat = stat(self.registration(now));
        self.line(&format!("+CREG: {reports},{stat}"));
    }

    fn begin_text(&mut self, number: String, now: Instant) -> Result<(), Cause> {
        if !self.text_mode {
            return Err(Cause::Cms(CmsCause(304)));
        }
        if !self.registration(now).is_registered() {
            return Err(Cause::Cms(CmsCause(331)));
        }
        match self.behaviour.send_faults.front().copied() {
            Some(SendFault::NoPrompt(cause)) => {
                self.behaviour.send_faults.pop_front();
                return Err(cause);
            }
            Some(SendFault::MutePrompt) => {
                self.behaviour.send_faults.pop_front();
            }
            Some(SendFault::Refused(_) | SendFault::LostConfirmation) | None => {
                self.raw(b"\r\n> ");
            }
        }
        self.mode = Mode::Text(number);
        Ok(())
    }

    fn text_written(&mut self, number: String, now: Instant) {
        let text = core::mem::take(&mut self.buffer);
        let reference = self.next_reference;
        self.next_reference = self.next_reference.wrapping_add(1);
        self.mode = Mode::Sending;
        let too_long = text.len() > CHARACTERS_MAX;
        let fault = if too_long {
            Some(SendFault::Refused(Cause::Cms(CmsCause(305))))
        } else {
            self.behaviour.send_faults.pop_front()
        };
        let text = SentSms {
            number,
            text,
            reference,
        };
        self.sending = Some((now + self.behaviour.sends_in, text, fault));
    }

    fn finish_sending(&mut self, text: SentSms, fault: Option<SendFault>) {
        self.mode = Mode::Command;
        match fault {
            Some(SendFault::Refused(cause) | SendFault::NoPrompt(cause)) => self.refuse(cause),
            Some(SendFault::MutePrompt | SendFault::LostConfirmation) => self.record(text),
            None => {
                let reference = text.reference;
                self.record(text);
                self.line(&format!("+CMGS: {reference}"));
                self.line("OK");
            }
        }
    }

    fn record(&mut self, text: SentSms) {
        if self.sent.len() >= OUTBOX_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back(text.clone());
        self.outbox.push_back(EmulatedOutput::Sent(text));
    }

    fn list(&mut self, which: &str) -> Result<(), Cause> {
        if !self.text_mode {
            return Err(Cause::Cms(CmsCause(304)));
        }
        let unread_only = match which {
            "ALL" => false,
            "REC UNREAD" => true,
            _ => return Err(Cause::Cms(CmsCause(305))),
        };
        let mut lines = Vec::new();
        for (place, stored) in self.memory.iter_mut().enumerate() {
            let Some(stored) = stored else {
                continue;
            };
            if unread_only && stored.read {
                continue;
            }
            let status = if stored.read {
                "REC READ"
            } else {
                "REC UNREAD"
            };
            stored.read = true;
            let mut head = format!(
                "+CMGL: {},\"{status}\",\"{}\",,\"26/11/21,12:00:00+04\"",
                place + 1,
                stored.sender
            );
            if self.details && self.behaviour.tells_lengths {
                head.push_str(&format!(",145,{}", stored.text.len()));
            }
            lines.push(head);
            lines.push(stored.text.clone());
        }
        for pair in lines.chunks(2) {
            self.line(&pair[0]);
            self.raw(pair[1].as_bytes());
            self.raw(b"\r\n");
        }
        Ok(())
    }

    fn delete(&mut self, parameters: &str) -> Result<(), Cause> {
        let invalid = Cause::Cms(CmsCause(321));
        let place: usize = parameters
            .strip_prefix('=')
            .and_then(|p| p.parse().ok())
            .ok_or(invalid)?;
        if self.behaviour.keeps_texts {
            return Err(Cause::Cms(CmsCause(320)));
        }
        let stored = place
            .checked_sub(1)
            .and_then(|place| self.memory.get_mut(place))
            .ok_or(invalid)?;
        *stored = None;
        Ok(())
    }

    fn refuse(&mut self, cause: Cause) {
        let line = match cause {
            Cause::Cms(cause) => format!("+CMS ERROR: {}", cause.0),
            Cause::Cme(cause) if self.numeric_errors => format!("+CME ERROR: {}", cause.0),
            Cause::Cme(_) | Cause::Error => "ERROR".to_owned(),
        };
        self.line(&line);
    }

    fn line(&mut self, line: &str) {
        let noise = self.behaviour.noise.clone();
        self.raw(&noise);
        self.raw(format!("\r\n{line}\r\n").as_bytes());
    }

    fn raw(&mut self, bytes: &[u8]) {
        if self.behaviour.silent || bytes.is_empty() {
            return;
        }
        // One effect per burst: a driver's read gives what has gathered, too.
        if let Some(EmulatedOutput::Transmit(last)) = self.outbox.back_mut() {
            last.extend_from_slice(bytes);
        } else {
            self.outbox
                .push_back(EmulatedOutput::Transmit(bytes.to_vec()));
        }
    }
}

/// `=0` or `=1`, and 2 where a command has a second kind of on.
fn switch(parameters: &str) -> Result<bool, Cause> {
    match parameters {
        "=0" => Ok(false),
        "=1" | "=2" => Ok(true),
        _ => Err(Cause::Error),
    }
}

/// `="…"`, the only parameter.
fn quoted(parameters: &str) -> Result<String, Cause> {
    parameters
        .strip_prefix("=\"")
        .and_then(|p| p.strip_suffix('"'))
        .filter(|p| !p.contains('"'))
        .map(str::to_owned)
        .ok_or(Cause::Error)
}

const fn stat(registration: Registration) -> u8 {
    match registration {
        Registration::Idle => 0,
        Registration::Home => 1,
        Registration::Searching => 2,
        Registration::Denied => 3,
        Registration::Unknown => 4,
        Registration::Roaming => 5,
        Registration::SmsOnly => 6,
        Registration::EmergencyOnly => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(modem: &mut EmulatedModem, bytes: &[u8], at: u64) -> String {
        let now = Instant::from_nanos(at * 1_000_000_000);
        modem.handle_timeout(now);
        modem.handle_bytes(bytes, now);
        let mut answer = Vec::new();
        while let Some(output) = modem.poll_output() {
            if let EmulatedOutput::Transmit(bytes) = output {
                answer.extend(bytes);
            }
        }
        String::from_utf8(answer).unwrap()
    }

    #[test]
    fn a_terminal_session() {
        let mut modem = EmulatedModem::new(
            Behaviour {
                pin: Some("1234".into()),
                ..Behaviour::default()
            },
            Instant::ZERO,
        );
        let steps: &[(u64, &[u8], &str)] = &[
            (0, b"AT\r", "AT\r\r\nOK\r\n"),
            (0, b"ate0\r", "ate0\r\r\nOK\r\n"),
            (0, b"AT+CMGF=1\r", "\r\nERROR\r\n"),
            (0, b"AT+CMEE=1\r", "\r\nOK\r\n"),
            (0, b"AT+CMGF=1\r", "\r\n+CME ERROR: 11\r\n"),
            (0, b"AT+CPIN?\r", "\r\n+CPIN: SIM PIN\r\n\r\nOK\r\n"),
            (0, b"AT+CPIN=\"9999\"\r", "\r\n+CME ERROR: 16\r\n"),
            (0, b"AT+CPIN=\"1234\"\r", "\r\nOK\r\n"),
            (0, b"AT+CMGF=1\r", "\r\nOK\r\n"),
            (0, b"AT+CREG?\r", "\r\n+CREG: 0,2\r\n\r\nOK\r\n"),
            (0, b"AT+CMGS=\"110\"\r", "\r\n+CMS ERROR: 331\r\n"),
            (1, b"AT+CREG?\r", "\r\n+CREG: 0,1\r\n\r\nOK\r\n"),
            (1, b"AT+CMGS=\"110\"\r", "\r\n> "),
            (1, b"no\x1b", "\r\nOK\r\n"),
            (1, b"AT+CMGS=\"110\"\r", "\r\n> "),
            (1, b"help\x1a", ""),
            (2, b"", "\r\n+CMGS: 0\r\n\r\nOK\r\n"),
            (2, b"AT+NONSENSE\r", "\r\nERROR\r\n"),
            (2, b"AT+CMGD=99\r", "\r\n+CMS ERROR: 321\r\n"),
        ];
        for (at, bytes, expected) in steps {
            assert_eq!(&talk(&mut modem, bytes, *at), expected, "{bytes:?}");
        }
        assert_eq!(modem.sent().next().unwrap().text, b"help");
    }

    #[test]
    fn the_memory_and_the_pin_have_bounds() {
        let mut modem = EmulatedModem::new(
            Behaviour {
                pin: Some("1234".into()),
                ..Behaviour::default()
            },
            Instant::ZERO,
        );
        for place in 0..=INBOX_MAX {
            assert_eq!(modem.receive("110", "x"), place < INBOX_MAX);
        }
        for _ in 0..4 {
            talk(&mut modem, b"AT+CPIN=\"0000\"\r", 0);
        }
        assert_eq!(modem.pin_tries(), 0);
        assert!(talk(&mut modem, b"AT+CPIN?\r", 0).contains("SIM PUK"));
    }
}
