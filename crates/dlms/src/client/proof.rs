//! High level security from the client's side: our proof, and the check of the server's.

use gridloom_core::{ObisCode, SystemTitle};

use super::channel::Channel;
use super::config::Authentication;
use super::error::ClientError;
use crate::apdu::{ActionRequestNormal, InvokeId, MethodDescriptor};
use crate::association::Secret;
use crate::axdr::Data;
use crate::counter::CounterError;
use crate::security::{HlsExchange, HlsMechanism, HlsSide, SecurityError};

/// reply_to_HLS_authentication of the current association.
const REPLY_TO_HLS: MethodDescriptor = MethodDescriptor {
    class_id: 15,
    instance: ObisCode([0, 0, 40, 0, 0, 255]),
    method: 1,
};

/// Both challenges, until both are answered.
#[derive(Debug, Clone)]
pub(super) struct Challenges {
    pub(super) mechanism: HlsMechanism,
    /// CtoS.
    pub(super) from_client: Secret,
    /// StoC.
    pub(super) from_server: Secret,
    pub(super) client: SystemTitle,
    pub(super) server: SystemTitle,
}

impl Challenges {
    /// Checks what the server sent in pass 2.
    ///
    /// # Errors
    ///
    /// [`ClientError::Reflected`], or [`ClientError::NoChallenge`] for one of another length.
    pub(super) fn check(&self) -> Result<(), ClientError> {
        match self.exchange() {
            Ok(_) => Ok(()),
            Err(SecurityError::ReflectedChallenge) => Err(ClientError::Reflected),
            Err(_) => Err(ClientError::NoChallenge),
        }
    }

    fn exchange(&self) -> Result<HlsExchange<'_>, SecurityError> {
        HlsExchange::new(
            self.mechanism,
            self.client,
            self.server,
            self.from_client.bytes(),
            self.from_server.bytes(),
        )
    }

    /// Pass 3 in plaintext.
    ///
    /// # Errors
    ///
    /// [`CounterError`], if the caller has not made sure of a counter.
    pub(super) fn request(
        &self,
        invoke_id: InvokeId,
        authentication: &Authentication,
        channel: &mut Channel,
    ) -> Result<Vec<u8>, CounterError> {
        let exchange = self.exchange().expect("the challenges have been checked");
        let answer = match authentication {
            Authentication::Sha256(secret) => exchange
                .answer_sha256(HlsSide::Client, secret.bytes())
                .to_vec(),
            Authentication::Ecdsa(pair) => exchange.answer_ecdsa(HlsSide::Client, &pair.own),
            Authentication::Gmac | Authentication::None | Authentication::Lls(_) => {
                let counter = channel.transmit.next()?;
                let (context, title) = channel
                    .proof_context()
                    .expect("GMAC is only configured with keys");
                context
                    .answer_challenge(title, counter, self.from_server.bytes())
                    .to_vec()
            }
        };
        let mut out = Vec::new();
        ActionRequestNormal {
            invoke_id,
            method: REPLY_TO_HLS,
            parameters: Some(Data::OctetString(answer)),
        }
        .encode(&mut out);
        Ok(out)
    }

    /// Pass 4: whether the server holds what it must.
    ///
    /// # Errors
    ///
    /// [`ClientError::ProofWrong`], or [`ClientError::Replayed`] for a proof by GMAC whose
    /// counter is used.
    pub(super) fn verify(
        &self,
        answer: &[u8],
        authentication: &Authentication,
        channel: &mut Channel,
    ) -> Result<(), ClientError> {
        let exchange = self.exchange().expect("the challenges have been checked");
        let mechanism = authentication.mechanism();
        let wrong = |_| ClientError::ProofWrong { mechanism };
        match authentication {
            Authentication::Sha256(secret) => exchange
                .verify_sha256(HlsSide::Server, secret.bytes(), answer)
                .map_err(wrong),
            Authentication::Ecdsa(pair) => exchange
                .verify_ecdsa(HlsSide::Server, &pair.server, answer)
                .map_err(wrong),
            Authentication::Gmac | Authentication::None | Authentication::Lls(_) => {
                let (context, _) = channel
                    .proof_context()
                    .expect("GMAC is only configured with keys");
                let counter = context
                    .verify_answer(self.server, self.from_client.bytes(), answer)
                    .map_err(wrong)?;
                channel.believe_proof(counter)
            }
        }
    }
}
