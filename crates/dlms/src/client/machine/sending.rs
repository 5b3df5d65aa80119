//! What goes out: built when there are counters for it, sealed, cut into blocks, repeated.

use gridloom_core::Instant;

use super::{Client, Outgoing, Repeat, State};
use crate::apdu::{GeneralBlockTransfer, InvokeId};
use crate::association::{
    Aarq, ApplicationContext, Conformance, InitiateRequest, ReleaseReason, Rlrq,
};
use crate::block::BLOCKS_BYTES_MAX;
use crate::client::channel::Under;
use crate::client::config::{Authentication, ReleaseForm};
use crate::client::error::ClientError;
use crate::client::general::General;
use crate::client::request::ClientOutput;
use crate::counter::CounterError;
use crate::security::HlsMechanism;
use crate::wrapper::APDU_MAX;

impl Client {
    pub(super) fn begin_release(&mut self, failure: Option<ClientError>, now: Instant) {
        self.state = State::Releasing(failure);
        self.post(Outgoing::Rlrq(self.config.release), Repeat::Yes, now);
    }

    pub(super) fn released(&mut self) {
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

    /// Says again what may have been lost, if that can change nothing.
    pub(super) fn ask_again(&mut self) -> bool {
        let mut out = Vec::new();
        if self.general.handle_silence(&mut out) {
            self.outbox.extend(out.into_iter().map(ClientOutput::Send));
            return true;
        }
        let Some(outgoing) = self.repeatable.take() else {
            return false;
        };
        self.waiting = Some((outgoing, Repeat::Yes));
        self.flush();
        true
    }

    /// Nothing is awaited any more.
    pub(super) fn settle(&mut self) {
        self.general = General::Idle;
        self.waiting = None;
        self.repeatable = None;
        self.deadline = None;
        self.forged = 0;
        self.doubt = None;
    }

    /// Sends as soon as there are counters, and awaits the answer.
    pub(super) fn post(&mut self, outgoing: Outgoing, repeat: Repeat, now: Instant) {
        self.settle();
        self.attempts_left = self.config.attempts - 1;
        self.deadline = Some(now + self.config.answer_timeout);
        self.waiting = Some((outgoing, repeat));
        self.flush();
    }

    /// Sends what waits, or asks for the counters that it needs.
    pub(super) fn flush(&mut self) {
        if let Some((outgoing, repeat)) = self.waiting.take() {
            if self.channel.transmit.available() >= self.counters_for(&outgoing) {
                let apdu = self
                    .build(&outgoing)
                    .expect("there are counters for what is built");
                self.repeatable = (repeat == Repeat::Yes).then(|| outgoing.clone());
                self.send(&outgoing, apdu);
            } else {
                self.waiting = Some((outgoing, repeat));
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

    /// Sends an APDU, in blocks if it is too long for the server otherwise.
    fn send(&mut self, outgoing: &Outgoing, apdu: Vec<u8>) {
        let max = self.server_max();
        let is_long = matches!(outgoing, Outgoing::Service(_)) && apdu.len() > max;
        if !is_long || !self.speaks_general() {
            self.outbox.push_back(ClientOutput::Send(apdu));
            return;
        }
        let block_len = max - GeneralBlockTransfer::OVERHEAD_MAX;
        let mut out = Vec::new();
        match self.general.send(apdu, block_len, &mut out) {
            Ok(()) => self.outbox.extend(out.into_iter().map(ClientOutput::Send)),
            Err(error) => {
                self.state = State::Open;
                self.settle();
                self.outbox.push_back(ClientOutput::Answered(Err(error)));
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

    pub(super) const fn context(&self) -> ApplicationContext {
        ApplicationContext::of_logical_names(self.channel.is_ciphered())
    }

    pub(super) fn hls(&self) -> Option<HlsMechanism> {
        HlsMechanism::from_id(self.config.authentication.mechanism().id()).ok()
    }

    /// Bytes of the longest request in plaintext that the server takes once it is sealed.
    pub(super) fn room(&self) -> usize {
        let max = if self.speaks_general() {
            BLOCKS_BYTES_MAX
        } else {
            self.server_max()
        };
        max.saturating_sub(self.channel.overhead())
    }

    /// Bytes of the longest APDU that the server takes.
    pub(super) fn server_max(&self) -> usize {
        match self.agreement.max_pdu {
            0 => usize::from(APDU_MAX),
            max => usize::from(max),
        }
    }

    /// Whether any APDU may go in blocks.
    pub(super) const fn speaks_general(&self) -> bool {
        self.agreement
            .conformance
            .contains(Conformance::GENERAL_BLOCK_TRANSFER)
    }
}
