//! From AARE to an open association: what was agreed, and who was proved.

use gridloom_core::{Instant, SystemTitle};

use super::{Agreement, Client, Outgoing, Repeat, State};
use crate::apdu::{ActionResult, Apdu};
use crate::association::{
    Aare, AssociationResult, ConfirmedServiceError, InitiateResponse, PDU_LEN_MIN,
};
use crate::axdr::Data;
use crate::client::error::ClientError;
use crate::client::proof::Challenges;
use crate::client::request::ClientOutput;

impl Client {
    pub(super) fn handle_aare(&mut self, apdu: &[u8], now: Instant) {
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

    pub(super) fn handle_proof(&mut self, challenges: &Challenges, answer: Apdu<'_>, now: Instant) {
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
}
