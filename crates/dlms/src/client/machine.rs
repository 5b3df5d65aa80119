//! The machine: one association, one connection, one request at a time.

mod opening;
mod sending;

use std::collections::VecDeque;

use gridloom_core::Instant;

use super::channel::Channel;
use super::config::{ClientConfig, ClientKeys, ReleaseForm};
use super::error::ClientError;
use super::exchange::{Exchange, Step};
use super::general::General;
use super::proof::Challenges;
use super::request::{ClientOutput, Request};
use crate::apdu::{
    Apdu, DataNotification, EventNotification, ExceptionResponse, GeneralBlockTransfer, InvokeId,
    ServiceError,
};
use crate::association::{Aare, ConfirmedServiceError, Conformance, Rlre, Secret};
use crate::counter::{ReceiveCounter, TransmitCounter};

/// APDUs that cannot be verified while one answer is awaited; after so many the client gives
/// up, and names the layer that failed last.
pub const FORGED_MAX: u8 = 8;

/// The client of one association over one connection.
///
/// It asks one thing at a time. An exception of the server is a hint that anybody could forge:
/// it ends the request it answers with an error, and changes no counter.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    channel: Channel,
    state: State,
    agreement: Agreement,
    /// Of the last request.
    invoke_number: u8,
    /// What goes out as soon as there are counters for it.
    waiting: Option<(Outgoing, Repeat)>,
    /// What went out last, if sending it again can change nothing.
    repeatable: Option<Outgoing>,
    /// What goes or comes in blocks of any service.
    general: General,
    /// The reservation that we asked for.
    reserving: Option<u32>,
    deadline: Option<Instant>,
    attempts_left: u8,
    /// APDUs since the last answer that could not be verified, and why not the last one.
    forged: u8,
    doubt: Option<ClientError>,
    outbox: VecDeque<ClientOutput>,
}

/// What both sides agreed to.
#[derive(Debug, Clone, Copy)]
struct Agreement {
    conformance: Conformance,
    max_pdu: u16,
}

#[derive(Debug)]
enum State {
    /// There is no association.
    Closed,
    /// AARQ is sent; CtoS.
    Opening(Secret),
    /// Our proof is sent.
    Proving(Box<Challenges>),
    /// Nothing is asked.
    Open,
    /// Something is.
    Asking(Box<Exchange>),
    /// RLRQ is sent; why the association fails, if it does.
    Releasing(Option<ClientError>),
}

/// An APDU before it is sealed. Each time it is sent it takes new counters.
#[derive(Debug, Clone)]
enum Outgoing {
    Aarq,
    Proof(Box<Challenges>),
    Service(Vec<u8>),
    Rlrq(ReleaseForm),
}

impl Client {
    /// A client that is not associated. `transmit` is our counter under the meter's global key,
    /// `receive` the meter's; both are durable and the same for every session with the meter.
    ///
    /// # Panics
    ///
    /// If the keys do not fit the suite, if high level security has no title to prove (which is
    /// in [`ClientConfig::ciphering`]), or if no attempt is allowed.
    pub fn new(config: ClientConfig, transmit: TransmitCounter, receive: ReceiveCounter) -> Self {
        assert!(
            !config.authentication.mechanism().is_high() || config.ciphering.is_some(),
            "{} needs the titles and keys of `ciphering`",
            config.authentication.mechanism()
        );
        assert!(config.attempts > 0, "a client asks at least once");
        Self {
            channel: Channel::new(config.ciphering.as_ref(), transmit, receive),
            config,
            state: State::Closed,
            agreement: Agreement {
                conformance: Conformance::NONE,
                max_pdu: 0,
            },
            invoke_number: 0,
            waiting: None,
            repeatable: None,
            general: General::Idle,
            reserving: None,
            deadline: None,
            attempts_left: 0,
            forged: 0,
            doubt: None,
            outbox: VecDeque::new(),
        }
    }

    /// With keys for general-ciphering and general-signing.
    ///
    /// # Panics
    ///
    /// If services are not ciphered, or the seed is shorter than [`ClientKeys::SEED_LEN`].
    #[must_use]
    pub fn with_keys(mut self, keys: ClientKeys) -> Self {
        self.channel.equip(keys);
        self
    }

    /// Asks for the association, with a fresh random `challenge` of 8 to 64 bytes (32 at least
    /// for ECDSA). Ends in [`ClientOutput::Opened`] or [`ClientOutput::Failed`].
    ///
    /// # Panics
    ///
    /// If there is an association, with a challenge of another length, or without a key that the
    /// configured ciphering and signing need.
    pub fn open(&mut self, challenge: &[u8], now: Instant) {
        self.assert_drained();
        if let Err(error) = self.channel.check_keys() {
            panic!("the configuration asks for keys that are not there: {error}");
        }
        assert!(
            matches!(self.state, State::Closed),
            "one association at a time: release it first"
        );
        if let Some(mechanism) = self.hls() {
            assert!(
                (mechanism.challenge_len_min()..=64).contains(&challenge.len()),
                "a challenge of {} bytes is too short or too long",
                challenge.len()
            );
        }
        self.channel.begin();
        self.state = State::Opening(Secret::new(challenge));
        self.post(Outgoing::Aarq, Repeat::Yes, now);
    }

    /// Asks one thing. Ends in one [`ClientOutput::Answered`].
    ///
    /// # Panics
    ///
    /// If the association is not open, or another request has not been answered.
    pub fn request(&mut self, request: Request, now: Instant) {
        self.assert_drained();
        assert!(
            matches!(self.state, State::Open),
            "one request at a time, in an open association"
        );
        self.invoke_number = (self.invoke_number + 1) & 0x0F;
        let begun = Exchange::begin(
            request,
            InvokeId::confirmed(self.invoke_number),
            self.agreement.conformance,
            self.room(),
        );
        match begun {
            Ok((exchange, apdu)) => {
                let repeat = Repeat::if_harmless(&exchange);
                self.state = State::Asking(Box::new(exchange));
                self.post(Outgoing::Service(apdu), repeat, now);
            }
            Err(error) => self.outbox.push_back(ClientOutput::Answered(Err(error))),
        }
    }

    /// Releases the association, whatever state it is in; a request under way ends with
    /// [`ClientError::Abandoned`]. Ends in [`ClientOutput::Released`], or in
    /// [`ClientOutput::Failed`] if the association had failed before.
    pub fn release(&mut self, now: Instant) {
        self.assert_drained();
        match core::mem::replace(&mut self.state, State::Closed) {
            State::Closed => self.outbox.push_back(ClientOutput::Released),
            releasing @ State::Releasing(_) => self.state = releasing,
            State::Asking(_) => {
                let error = ClientError::Abandoned;
                self.outbox.push_back(ClientOutput::Answered(Err(error)));
                self.begin_release(None, now);
            }
            State::Opening(_) | State::Proving(_) | State::Open => self.begin_release(None, now),
        }
    }

    /// Takes one whole APDU from the server.
    pub fn handle_apdu(&mut self, apdu: &[u8], now: Instant) {
        self.assert_drained();
        let Some(&tag) = apdu.first() else {
            return;
        };
        match (&self.state, tag) {
            (State::Closed, _) => {}
            (State::Opening(_), Aare::TAG) => self.handle_aare(apdu, now),
            (State::Releasing(_), Rlre::TAG) => self.handle_rlre(apdu, now),
            (_, ExceptionResponse::TAG) => match ExceptionResponse::decode(apdu) {
                Ok(exception) => self.handle_exception(exception, now),
                Err(error) => self.distrust(error.into(), now),
            },
            (_, ConfirmedServiceError::TAG) => match ConfirmedServiceError::decode(apdu) {
                Ok(error) => self.refuse(ClientError::Service(error), now),
                Err(error) => self.distrust(error.into(), now),
            },
            // No answer to what is asked; an old or forged one.
            (_, Aare::TAG | Rlre::TAG) => self.distrust(ClientError::Form { tag }, now),
            (State::Opening(_) | State::Releasing(_), _) => {
                self.distrust(ClientError::Form { tag }, now);
            }
            (State::Asking(_), GeneralBlockTransfer::TAG) if self.speaks_general() => {
                self.handle_block(apdu, now);
            }
            (State::Proving(_) | State::Open | State::Asking(_), _) => {
                self.handle_service(apdu, now);
            }
        }
    }

    /// The reservation up to `upper` is durable: what waited for counters goes out.
    ///
    /// # Panics
    ///
    /// If this bound was not asked for.
    pub fn handle_reserved(&mut self, upper: u32) {
        self.assert_drained();
        assert_eq!(
            self.reserving.take(),
            Some(upper),
            "only the bound that was asked for can become durable"
        );
        self.channel.transmit.reserved(upper);
        self.flush();
    }

    /// The connection is gone, and the association with it.
    pub fn handle_disconnected(&mut self, _now: Instant) {
        self.assert_drained();
        match core::mem::replace(&mut self.state, State::Closed) {
            State::Closed => {}
            State::Releasing(None) => self.outbox.push_back(ClientOutput::Released),
            State::Releasing(Some(error)) => self.outbox.push_back(ClientOutput::Failed(error)),
            State::Asking(_) => {
                let error = ClientError::Disconnected;
                self.outbox
                    .push_back(ClientOutput::Answered(Err(error.clone())));
                self.outbox.push_back(ClientOutput::Failed(error));
            }
            State::Opening(_) | State::Proving(_) | State::Open => {
                let error = ClientError::Disconnected;
                self.outbox.push_back(ClientOutput::Failed(error));
            }
        }
        self.settle();
    }

    /// The time of [`Self::wake`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.assert_drained();
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        if self.attempts_left > 0 && self.ask_again() {
            self.attempts_left -= 1;
            self.deadline = Some(now + self.config.answer_timeout);
            return;
        }
        match self.doubt.take() {
            // Something came, but nothing that could be believed: that is worse than silence.
            Some(doubt) => self.fail(doubt, now),
            None => {
                let after = self.config.answer_timeout;
                self.refuse(ClientError::TimedOut { after }, now);
            }
        }
    }

    /// The next effect; drain it after every input.
    pub fn poll_output(&mut self) -> Option<ClientOutput> {
        self.outbox.pop_front()
    }

    /// The next deadline, and the timer that sets it.
    pub fn wake(&self) -> Option<(Instant, &'static str)> {
        self.deadline.map(|deadline| (deadline, "answer"))
    }

    /// Our counter and the meter's, for persistence.
    pub const fn counters(&self) -> (&TransmitCounter, &ReceiveCounter) {
        (&self.channel.transmit, &self.channel.receive)
    }

    /// Whether a request may be asked.
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    fn handle_rlre(&mut self, apdu: &[u8], now: Instant) {
        // Whoever forges it ends what we want to end.
        match Rlre::decode(apdu) {
            Ok(_) => self.released(),
            Err(error) => self.distrust(error.into(), now),
        }
    }

    fn handle_exception(&mut self, exception: ExceptionResponse, now: Instant) {
        if matches!(self.state, State::Releasing(_)) {
            // Some meters take no user-information here; a bare request works.
            return if matches!(self.repeatable, Some(Outgoing::Rlrq(ReleaseForm::Full)))
                && self.channel.is_ciphered()
            {
                self.post(Outgoing::Rlrq(ReleaseForm::Bare), Repeat::Yes, now);
            } else {
                self.released();
            };
        }
        let error = match exception.service {
            ServiceError::InvocationCounterError { expected } => ClientError::Counter {
                expected: Some(expected),
            },
            ServiceError::DecipheringError if self.channel.is_ciphered() => ClientError::Key,
            ServiceError::DecipheringError
            | ServiceError::OperationNotPossible
            | ServiceError::ServiceNotSupported
            | ServiceError::OtherReason
            | ServiceError::PduTooLong => ClientError::Exception(exception),
        };
        self.refuse(error, now);
    }

    /// Part of an answer. Nobody has verified it; the whole is verified once it is there.
    fn handle_block(&mut self, apdu: &[u8], now: Instant) {
        let block = match GeneralBlockTransfer::decode(apdu) {
            Ok(block) => block,
            Err(error) => return self.distrust(error.into(), now),
        };
        let mut out = Vec::new();
        let heard = self.general.handle(&block, &mut out);
        if let Some(bytes) = self.general.collected_len() {
            self.outbox.push_back(ClientOutput::Progress { bytes });
        }
        self.outbox.extend(out.into_iter().map(ClientOutput::Send));
        match heard {
            Ok(Some(apdu)) => self.handle_service(&apdu, now),
            Ok(None) => {
                self.attempts_left = self.config.attempts - 1;
                self.deadline = Some(now + self.config.answer_timeout);
            }
            Err(error) => self.refuse(error, now),
        }
    }

    fn handle_service(&mut self, apdu: &[u8], now: Instant) {
        let plain = match self.channel.open(apdu) {
            Ok(plain) => plain,
            Err(error) => return self.distrust(error, now),
        };
        if matches!(
            plain.first(),
            Some(&(DataNotification::TAG | EventNotification::TAG))
        ) {
            let plain = plain.into_owned();
            self.outbox.push_back(ClientOutput::Notified(plain));
            return;
        }
        let answer = match Apdu::decode(&plain) {
            Ok(answer) => answer,
            Err(error) => return self.garbled(error.into(), now),
        };
        if let Apdu::ExceptionResponse(exception) = answer {
            return self.handle_exception(exception, now);
        }
        match &mut self.state {
            State::Asking(exchange) => match exchange.handle(answer) {
                Step::Send { apdu, bytes } => {
                    let repeat = Repeat::if_harmless(exchange);
                    self.outbox.push_back(ClientOutput::Progress { bytes });
                    self.post(Outgoing::Service(apdu), repeat, now);
                }
                Step::Done(result) => {
                    self.state = State::Open;
                    self.settle();
                    self.outbox.push_back(ClientOutput::Answered(result));
                }
                Step::Stale => {}
            },
            State::Proving(challenges) => {
                let challenges = challenges.clone();
                self.handle_proof(&challenges, answer, now);
            }
            State::Closed | State::Opening(_) | State::Open | State::Releasing(_) => {}
        }
    }

    /// Something cannot be believed. It is dropped: the true answer may still come.
    fn distrust(&mut self, error: ClientError, now: Instant) {
        if matches!(self.state, State::Closed | State::Open) {
            return;
        }
        self.forged += 1;
        let error = if let ClientError::Tag { title, counter, .. } = error {
            ClientError::Tag {
                count: self.forged,
                title,
                counter,
            }
        } else {
            error
        };
        if self.forged >= FORGED_MAX {
            self.fail(error, now);
        } else {
            self.doubt = Some(error);
        }
    }

    /// What verified makes no sense. In plaintext anybody may have sent it.
    fn garbled(&mut self, error: ClientError, now: Instant) {
        if self.channel.is_ciphered() {
            self.refuse(error, now);
        } else {
            self.distrust(error, now);
        }
    }

    /// What is asked has failed. A request ends alone; before there is an association, or while
    /// it is released, everything ends.
    fn refuse(&mut self, error: ClientError, now: Instant) {
        match &self.state {
            State::Closed | State::Open => {}
            State::Asking(_) => {
                self.state = State::Open;
                self.settle();
                self.outbox.push_back(ClientOutput::Answered(Err(error)));
            }
            State::Opening(_) => {
                self.state = State::Closed;
                self.settle();
                self.outbox.push_back(ClientOutput::Failed(error));
            }
            State::Proving(_) => self.fail(error, now),
            State::Releasing(_) => self.released(),
        }
    }

    /// The association cannot go on. It is released all the same: some meters keep it even when
    /// the connection ends.
    fn fail(&mut self, error: ClientError, now: Instant) {
        match &self.state {
            State::Closed => {}
            State::Asking(_) => {
                self.outbox
                    .push_back(ClientOutput::Answered(Err(error.clone())));
                self.begin_release(Some(error), now);
            }
            State::Opening(_) | State::Proving(_) | State::Open => {
                self.begin_release(Some(error), now);
            }
            State::Releasing(_) => self.released(),
        }
    }

    fn assert_drained(&self) {
        assert!(
            self.outbox.is_empty(),
            "the host drains outputs between inputs"
        );
    }
}

/// Whether an APDU may be sent again when no answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Yes,
    No,
}

impl Repeat {
    fn if_harmless(exchange: &Exchange) -> Self {
        if exchange.is_repeatable() {
            Self::Yes
        } else {
            Self::No
        }
    }
}
