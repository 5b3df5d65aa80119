//! The machine: one association, one connection, one request at a time.

use std::collections::VecDeque;

use gridloom_core::{Instant, SystemTitle};

use super::channel::{Channel, Under};
use super::config::{Authentication, ClientConfig, ReleaseForm};
use super::error::ClientError;
use super::exchange::{Exchange, Step};
use super::proof::Challenges;
use super::request::{ClientOutput, Request};
use crate::apdu::{
    ActionResult, Apdu, DataNotification, EventNotification, ExceptionResponse, InvokeId,
    ServiceError,
};
use crate::association::{
    Aare, Aarq, ApplicationContext, AssociationResult, ConfirmedServiceError, Conformance,
    InitiateRequest, InitiateResponse, PDU_LEN_MIN, ReleaseReason, Rlre, Rlrq, Secret,
};
use crate::axdr::Data;
use crate::counter::{CounterError, ReceiveCounter, TransmitCounter};
use crate::security::HlsMechanism;
use crate::wrapper::APDU_MAX;

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
    waiting: Option<Outgoing>,
    /// What went out last, if sending it again can change nothing.
    repeatable: Option<Outgoing>,
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
            reserving: None,
            deadline: None,
            attempts_left: 0,
            forged: 0,
            doubt: None,
            outbox: VecDeque::new(),
        }
    }

    /// Asks for the association, with a fresh random `challenge` of 8 to 64 bytes (32 at least
    /// for ECDSA). Ends in [`ClientOutput::Opened`] or [`ClientOutput::Failed`].
    ///
    /// # Panics
    ///
    /// If there is an association, or with a challenge of another length.
    pub fn open(&mut self, challenge: &[u8], now: Instant) {
        self.assert_drained();
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
        if let Some(outgoing) = self.repeatable.take()
            && self.attempts_left > 0
        {
            self.attempts_left -= 1;
            self.waiting = Some(outgoing);
            self.deadline = Some(now + self.config.answer_timeout);
            self.flush();
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

    fn handle_aare(&mut self, apdu: &[u8], now: Instant) {
        let answer = match Aare::decode(apdu) {
            Ok(answer) => answer,
            Err(error) => return self.distrust(error.into(), now),
        };
        if answer.result != AssociationResult::Accepted {
            let error = ConfirmedServiceError::decode(&answer.user_information).ok();
            return self.refuse(
                ClientError::Association {
                    result: answer.result,
                    diagnostic: answer.diagnostic,
                    error,
                },
                now,
            );
        }
        let agreed = match self.channel.open_initiate(&answer) {
            Ok(agreed) => agreed,
            Err(error) => return self.distrust(error, now),
        };
        match self.agree(&answer, &agreed) {
            Ok(None) => {
                self.state = State::Open;
                self.settle();
                self.opened();
            }
            Ok(Some(challenges)) => {
                let challenges = Box::new(challenges);
                self.state = State::Proving(challenges.clone());
                self.post(Outgoing::Proof(challenges), Repeat::No, now);
            }
            // What it says is verified as far as it can be: waiting would not help.
            Err(error) => self.fail(error, now),
        }
    }

    /// Takes over what the server agreed to. The challenges, if both sides still have to prove
    /// themselves.
    fn agree(&mut self, answer: &Aare, agreed: &[u8]) -> Result<Option<Challenges>, ClientError> {
        if answer.context != self.context() {
            return Err(ClientError::Negotiation {
                what: "another application context",
            });
        }
        let agreed = InitiateResponse::decode(agreed)?;
        if agreed.max_pdu != 0 && agreed.max_pdu < PDU_LEN_MIN {
            return Err(ClientError::Negotiation {
                what: "APDUs of less than 12 bytes",
            });
        }
        self.agreement = Agreement {
            conformance: agreed.conformance & self.config.conformance,
            max_pdu: agreed.max_pdu,
        };
        let Some(mechanism) = self.hls() else {
            return Ok(None);
        };
        let State::Opening(from_client) = &self.state else {
            unreachable!("an AARE is only looked at while opening");
        };
        let ciphering = self.config.ciphering.as_ref();
        let challenges = Challenges {
            mechanism,
            from_client: from_client.clone(),
            from_server: answer
                .authentication_value
                .clone()
                .ok_or(ClientError::NoChallenge)?,
            client: ciphering.map_or(SystemTitle([0; 8]), |ciphering| ciphering.title),
            server: self
                .channel
                .server_title()
                .ok_or(ClientError::NoChallenge)?,
        };
        challenges.check()?;
        Ok(Some(challenges))
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

    fn handle_proof(&mut self, challenges: &Challenges, answer: Apdu<'_>, now: Instant) {
        let mechanism = self.config.authentication.mechanism();
        let Apdu::ActionResponseNormal(answer) = answer else {
            let what = "another service than the proof";
            return self.distrust(ClientError::Unexpected { what }, now);
        };
        let proof = match (answer.result, answer.returned) {
            (ActionResult::Success, Some(Ok(Data::OctetString(proof)))) => proof,
            (ActionResult::Success, _) => {
                return self.fail(ClientError::ProofWrong { mechanism }, now);
            }
            (result, _) => return self.fail(ClientError::ProofRefused { mechanism, result }, now),
        };
        let verified = challenges.verify(&proof, &self.config.authentication, &mut self.channel);
        match verified {
            Ok(()) => {
                self.state = State::Open;
                self.settle();
                self.opened();
            }
            Err(error) => self.fail(error, now),
        }
    }

    fn opened(&mut self) {
        self.outbox.push_back(ClientOutput::Opened {
            server_title: self.channel.server_title(),
            conformance: self.agreement.conformance,
            max_pdu: self.agreement.max_pdu,
        });
    }

    /// Something cannot be believed. It is dropped: the true answer may still come.
    fn distrust(&mut self, error: ClientError, now: Instant) {
        if matches!(self.state, State::Closed | State::Open) {
            return;
        }
        self.forged += 1;
        let error = match error {
            ClientError::Tag { title, counter, .. } => ClientError::Tag {
                count: self.forged,
                title,
                counter,
            },
            error => error,
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

    fn begin_release(&mut self, failure: Option<ClientError>, now: Instant) {
        self.state = State::Releasing(failure);
        self.post(Outgoing::Rlrq(self.config.release), Repeat::Yes, now);
    }

    fn released(&mut self) {
        let failure = match core::mem::replace(&mut self.state, State::Closed) {
            State::Releasing(failure) => failure,
            State::Closed
            | State::Opening(_)
            | State::Proving(_)
            | State::Open
            | State::Asking(_) => None,
        };
        self.settle();
        self.outbox.push_back(match failure {
            Some(error) => ClientOutput::Failed(error),
            None => ClientOutput::Released,
        });
    }

    /// Nothing is awaited any more.
    fn settle(&mut self) {
        self.waiting = None;
        self.repeatable = None;
        self.deadline = None;
        self.forged = 0;
        self.doubt = None;
    }

    /// Sends as soon as there are counters, and awaits the answer.
    fn post(&mut self, outgoing: Outgoing, repeat: Repeat, now: Instant) {
        self.settle();
        self.attempts_left = match repeat {
            Repeat::Yes => self.config.attempts - 1,
            Repeat::No => 0,
        };
        self.deadline = Some(now + self.config.answer_timeout);
        self.waiting = Some(outgoing);
        self.flush();
    }

    /// Sends what waits, or asks for the counters that it needs.
    fn flush(&mut self) {
        if let Some(outgoing) = self.waiting.take() {
            if self.channel.transmit.available() >= self.counters_for(&outgoing) {
                let apdu = self
                    .build(&outgoing)
                    .expect("there are counters for what is built");
                self.outbox.push_back(ClientOutput::Send(apdu));
                self.repeatable = Some(outgoing);
            } else {
                self.waiting = Some(outgoing);
            }
        }
        if self.config.ciphering.is_some() && self.reserving.is_none() {
            self.reserving = self.channel.transmit.reservation_due();
            if let Some(upper) = self.reserving {
                self.outbox.push_back(ClientOutput::Reserve(upper));
            } else if self.waiting.is_some() {
                self.exhausted();
            }
        }
    }

    /// There will never be another counter. Nothing ciphered can be said, not even a release.
    fn exhausted(&mut self) {
        if matches!(self.state, State::Asking(_)) {
            let error = ClientError::Exhausted;
            self.outbox.push_back(ClientOutput::Answered(Err(error)));
        }
        self.state = State::Closed;
        self.settle();
        self.outbox
            .push_back(ClientOutput::Failed(ClientError::Exhausted));
    }

    fn counters_for(&self, outgoing: &Outgoing) -> u32 {
        if !self.channel.is_ciphered() {
            return 0;
        }
        let is_sealed = match outgoing {
            Outgoing::Aarq | Outgoing::Proof(_) => self.context().is_ciphered(),
            Outgoing::Service(_) => true,
            Outgoing::Rlrq(form) => *form == ReleaseForm::Full,
        };
        let proves = matches!(outgoing, Outgoing::Proof(_))
            && matches!(self.config.authentication, Authentication::Gmac);
        u32::from(is_sealed) + u32::from(proves)
    }

    fn build(&mut self, outgoing: &Outgoing) -> Result<Vec<u8>, CounterError> {
        let mut out = Vec::new();
        match outgoing {
            Outgoing::Aarq => self.build_aarq()?.encode(&mut out),
            Outgoing::Proof(challenges) => {
                self.invoke_number = (self.invoke_number + 1) & 0x0F;
                let plain = challenges.request(
                    InvokeId::confirmed(self.invoke_number),
                    &self.config.authentication,
                    &mut self.channel,
                )?;
                // Under the global key even where there is a dedicated one, as peers do.
                out = self.channel.seal(plain, Under::Global)?;
            }
            Outgoing::Service(plain) => out = self.channel.seal(plain.clone(), Under::Service)?,
            Outgoing::Rlrq(form) => {
                let user_information = match form {
                    ReleaseForm::Full if self.channel.is_ciphered() => {
                        let mut proposal = Vec::new();
                        self.proposal().encode(&mut proposal);
                        self.channel.seal_initiate(proposal)?
                    }
                    ReleaseForm::Full | ReleaseForm::Bare => Vec::new(),
                };
                Rlrq {
                    reason: Some(ReleaseReason::Normal),
                    user_information,
                }
                .encode(&mut out);
            }
        }
        Ok(out)
    }

    fn build_aarq(&mut self) -> Result<Aarq, CounterError> {
        let ciphering = self.config.ciphering.as_ref();
        let calling_title = ciphering.map(|ciphering| ciphering.title);
        let mut proposal = self.proposal();
        proposal.dedicated_key = ciphering.and_then(|ciphering| ciphering.dedicated_key.clone());
        let mut user_information = Vec::new();
        proposal.encode(&mut user_information);
        let user_information = self.channel.seal_initiate(user_information)?;
        let authentication_value = match (&self.config.authentication, &self.state) {
            (Authentication::None, _) => None,
            (Authentication::Lls(secret), _) => Some(secret.clone()),
            (_, State::Opening(challenge)) => Some(challenge.clone()),
            (_, _) => None,
        };
        Ok(Aarq {
            context: self.context(),
            calling_title,
            calling_qualifier: None,
            calling_user: None,
            mechanism: self.config.authentication.mechanism(),
            authentication_value,
            user_information,
        })
    }

    const fn proposal(&self) -> InitiateRequest {
        InitiateRequest::new(self.config.conformance, self.config.max_pdu)
    }

    const fn context(&self) -> ApplicationContext {
        ApplicationContext::of_logical_names(self.channel.is_ciphered())
    }

    fn hls(&self) -> Option<HlsMechanism> {
        HlsMechanism::from_id(self.config.authentication.mechanism().id()).ok()
    }

    /// Bytes of the longest request in plaintext that the server takes once it is sealed.
    fn room(&self) -> usize {
        let max = match self.agreement.max_pdu {
            0 => APDU_MAX,
            max => max,
        };
        usize::from(max).saturating_sub(self.channel.overhead())
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
