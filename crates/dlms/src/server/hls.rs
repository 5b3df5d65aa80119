//! Passes 3 and 4 of high level security: reply_to_HLS_authentication (class 15 method 1).

use gridloom_core::ObisCode;

use super::protection::{exception_of, refused};
use super::security::{Believed, DeviceSecurity, NotBelieved};
use super::session::{Session, Standing};
use crate::apdu::{
    ActionRequestNormal, ActionResponseNormal, ActionResult, ExceptionResponse, MethodDescriptor,
    ServiceError,
};
use crate::association::Mechanism;
use crate::axdr::Data;
use crate::security::{HlsExchange, HlsMechanism, HlsSide, SecurityError};

/// The method by which challenges are answered, of the current association.
pub(super) const REPLY_TO_HLS: MethodDescriptor = MethodDescriptor {
    class_id: 15,
    instance: ObisCode([0, 0, 40, 0, 0, 255]),
    method: 1,
};

/// Takes the one answer that a challenge gets, and answers the client's. `None` if the request
/// is something else, or the challenge has had its answer.
///
/// `before` is what was believed of the client before the request came.
///
/// # Errors
///
/// The exception to answer while there are no counters for a proof, when the challenge stands;
/// or to a proof that verifies under a counter that is used.
pub(super) fn handle(
    session: &mut Session,
    request: &ActionRequestNormal,
    before: Believed,
    security: &mut DeviceSecurity,
) -> Result<Option<ActionResponseNormal>, ExceptionResponse> {
    if request.method != REPLY_TO_HLS {
        return Ok(None);
    }
    let Standing::Challenged {
        from_client,
        from_server,
    } = &session.standing
    else {
        return Ok(None);
    };
    if session.mechanism == Mechanism::Gmac && !security.can_answer() {
        return Err(refused(ServiceError::OperationNotPossible));
    }
    let (from_client, from_server) = (from_client.clone(), from_server.clone());
    session.standing = Standing::Refused;
    let answer = match &request.parameters {
        Some(Data::OctetString(answer)) => answer.as_slice(),
        Some(_) | None => &[],
    };
    let (result, returned) = match check(
        session,
        from_client.bytes(),
        from_server.bytes(),
        answer,
        before,
        security,
    ) {
        Ok(own) => {
            session.standing = Standing::Proved;
            (ActionResult::Success, Some(Ok(Data::OctetString(own))))
        }
        Err(NotProved::Counter(reason)) => return Err(exception_of(reason)),
        Err(NotProved::Wrong) => (ActionResult::OtherReason, None),
    };
    Ok(Some(ActionResponseNormal {
        invoke_id: request.invoke_id,
        result,
        returned,
    }))
}

/// Why a proof is not believed.
enum NotProved {
    /// It does not verify.
    Wrong,
    /// It verifies, but its counter is used.
    Counter(NotBelieved),
}

impl From<SecurityError> for NotProved {
    fn from(_: SecurityError) -> Self {
        Self::Wrong
    }
}

/// Verifies the client's proof and makes ours.
fn check(
    session: &Session,
    from_client: &[u8],
    from_server: &[u8],
    answer: &[u8],
    before: Believed,
    security: &mut DeviceSecurity,
) -> Result<Vec<u8>, NotProved> {
    let mechanism = HlsMechanism::from_id(session.mechanism.id())?;
    let client = session
        .title
        .expect("high level security is not begun without the client's title");
    let exchange = HlsExchange::new(
        mechanism,
        client,
        security.title(),
        from_client,
        from_server,
    )?;
    match mechanism {
        HlsMechanism::Gmac => {
            let context = security.context();
            let seen = context.verify_answer(client, from_server, answer)?;
            security
                .believe_proof(client, before, seen)
                .map_err(NotProved::Counter)?;
            let counter = security
                .next_counter()
                .expect("counters are checked before the request is carried out");
            Ok(context
                .answer_challenge(security.title(), counter, from_client)
                .to_vec())
        }
        HlsMechanism::Sha256 => {
            let secret = security
                .secret(session.client)
                .ok_or(SecurityError::BadAnswer)?
                .bytes();
            exchange.verify_sha256(HlsSide::Client, secret, answer)?;
            Ok(exchange.answer_sha256(HlsSide::Server, secret).to_vec())
        }
        HlsMechanism::Ecdsa => {
            let (own, client) = security
                .signatures(session.client, client)
                .ok_or(SecurityError::BadAnswer)?;
            exchange.verify_ecdsa(HlsSide::Client, client, answer)?;
            Ok(exchange.answer_ecdsa(HlsSide::Server, own))
        }
    }
}
