//! One connection: which clients are associated over it, and what answers each of their APDUs.

use std::sync::Arc;

use super::associate::{associate, encode_refusal, release};
use super::config::ServerConfig;
use super::device::LogicalDevice;
use super::general::{General, Heard};
use super::hls;
use super::protection::{Entropy, refused};
use super::security::DeviceSecurity;
use super::service::{Desk, proof};
use super::session::{Session, Standing};
use crate::apdu::{ExceptionResponse, GeneralBlockTransfer, ServiceError};
use crate::association::{Aarq, Rlrq};
use crate::gbt::GbtNumbers;

/// One connection's associations, by client SAP.
///
/// There are never more than clients in the configuration. Without any, a server holds one
/// reference to the configuration and no memory of its own.
#[derive(Debug)]
pub struct Server {
    config: Arc<ServerConfig>,
    sessions: Vec<Session>,
}

impl Server {
    /// A connection that nobody is associated over.
    ///
    /// # Panics
    ///
    /// If the configuration breaks its own bounds.
    pub fn new(config: Arc<ServerConfig>) -> Self {
        config.check();
        Self {
            config,
            sessions: Vec::new(),
        }
    }

    /// Takes one whole APDU from client SAP `client`, and returns the answer if one is due.
    /// `entropy` fills challenges and draws keys.
    ///
    /// The answer may leave only when what changed in `device` and `security` is durable. Make
    /// the reservation that is due in `security` durable in between: without counters for its
    /// answer, a ciphered request is refused before it is carried out.
    pub fn handle_apdu(
        &mut self,
        client: u16,
        apdu: &[u8],
        device: &mut dyn LogicalDevice,
        security: &mut DeviceSecurity,
        entropy: &mut Entropy<'_>,
    ) -> Option<Vec<u8>> {
        let tag = *apdu.first()?;
        let answer = match tag {
            // No length has been agreed to yet.
            Aarq::TAG => return self.associate(client, apdu, security, entropy),
            Rlrq::TAG => self.release(client, apdu, security, entropy).map(Some),
            _ if apdu.len() > usize::from(self.config.max_pdu) => {
                Err(refused(ServiceError::PduTooLong))
            }
            _ => self.serve(client, apdu, device, security, entropy),
        };
        answer.unwrap_or_else(|exception| {
            let mut out = Vec::new();
            exception.encode(&mut out);
            Some(out)
        })
    }

    /// The connection is gone, and every association with it.
    pub fn disconnected(&mut self) {
        self.sessions = Vec::new();
    }

    /// Whether a client's association stands, all proofs given.
    pub fn is_associated(&self, client: u16) -> bool {
        self.session(client)
            .is_some_and(|session| matches!(session.standing, Standing::Proved))
    }

    /// A client that is admitted anew has lost its former association; one that is refused
    /// keeps it, so that nobody who cannot be admitted ends another's.
    fn associate(
        &mut self,
        client: u16,
        apdu: &[u8],
        security: &mut DeviceSecurity,
        entropy: &mut Entropy<'_>,
    ) -> Option<Vec<u8>> {
        match associate(client, apdu, &self.config, security, entropy) {
            Ok((session, answer)) => {
                self.end(client);
                self.sessions.push(session);
                Some(answer)
            }
            Err(refusal) => encode_refusal(refusal),
        }
    }

    fn release(
        &mut self,
        client: u16,
        apdu: &[u8],
        security: &mut DeviceSecurity,
        entropy: &mut Entropy<'_>,
    ) -> Result<Vec<u8>, ExceptionResponse> {
        let answer = release(apdu, self.session(client), &self.config, security, entropy)?;
        self.end(client);
        Ok(answer)
    }

    fn serve(
        &mut self,
        client: u16,
        apdu: &[u8],
        device: &mut dyn LogicalDevice,
        security: &mut DeviceSecurity,
        entropy: &mut Entropy<'_>,
    ) -> Result<Option<Vec<u8>>, ExceptionResponse> {
        let session = self
            .sessions
            .iter_mut()
            .find(|session| session.client == client)
            .ok_or(NOT_ASSOCIATED)?;
        if apdu.first() != Some(&GeneralBlockTransfer::TAG) {
            session.general = General::Idle;
            return answer(session, apdu, None, device, security, entropy);
        }
        if !session.speaks_general() {
            return Err(refused(ServiceError::ServiceNotSupported));
        }
        let block =
            GeneralBlockTransfer::decode(apdu).map_err(|_| refused(ServiceError::OtherReason))?;
        match session.general.handle(&block) {
            Heard::Answer(block) => Ok(block.map(|block| encoded(&block))),
            Heard::Request(apdu, numbers) => {
                answer(session, &apdu, Some(numbers), device, security, entropy)
            }
        }
    }

    fn session(&self, client: u16) -> Option<&Session> {
        self.sessions
            .iter()
            .find(|session| session.client == client)
    }

    fn end(&mut self, client: u16) {
        self.sessions.retain(|session| session.client != client);
        self.sessions.shrink_to_fit();
    }
}

/// Opens one whole request, carries it out, and seals the answer; in blocks if the request came
/// so, or the answer is too long.
fn answer(
    session: &mut Session,
    apdu: &[u8],
    blocks: Option<GbtNumbers>,
    device: &mut dyn LogicalDevice,
    security: &mut DeviceSecurity,
    entropy: &mut Entropy<'_>,
) -> Result<Option<Vec<u8>>, ExceptionResponse> {
    let before = session
        .title
        .map(|title| security.believed(title))
        .unwrap_or_default();
    let (request, manner) = session.open(apdu, security)?;
    let room = session.room(&manner, security.suite())?;
    let answer = match session.standing {
        Standing::Proved => {
            let caller = session.caller(&manner);
            Desk {
                session: &mut *session,
                caller,
                room,
                device,
                security: &mut *security,
                entropy: &mut *entropy,
            }
            .carry_out(&request)
        }
        Standing::Challenged { .. } | Standing::Refused => {
            let proof = proof(&request).ok_or(NOT_ASSOCIATED)?;
            let answer = hls::handle(session, &proof, before, security)?.ok_or(NOT_ASSOCIATED)?;
            let mut out = Vec::new();
            answer.encode(&mut out);
            Some(out)
        }
    };
    let sealed = answer.map(|answer| session.seal(answer, &manner, security, entropy));
    // The answer still went out under the keys of the request.
    security.apply_staged();
    Ok(sealed.map(|sealed| {
        let max = session.answer_max();
        if blocks.is_none() && (sealed.len() <= max || !session.speaks_general()) {
            return sealed;
        }
        let block_len = max - GeneralBlockTransfer::OVERHEAD_MAX;
        let numbers = blocks.unwrap_or_default();
        encoded(&session.general.answer(sealed, block_len, numbers))
    }))
}

fn encoded(block: &GeneralBlockTransfer) -> Vec<u8> {
    let mut out = Vec::new();
    block.encode(&mut out);
    out
}

/// The answer to whoever has no association, or has not proved itself.
const NOT_ASSOCIATED: ExceptionResponse = refused(ServiceError::ServiceNotSupported);
