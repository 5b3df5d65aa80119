//! Passes 3 and 4 of high level security: reply_to_HLS_authentication (class 15 method 1).

use gridloom_core::ObisCode;

use super::security::DeviceSecurity;
use super::session::{Session, Standing, refused};
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
/// # Errors
///
/// The exception to answer while there are no counters for a proof; the challenge stands.
pub(super) fn handle(
    session: &mut Session,
    request: &ActionRequestNormal,
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
        security,
    ) {
        Ok(own) => {
            session.standing = Standing::Proved;
            (ActionResult::Success, Some(Ok(Data::OctetString(own))))
        }
        Err(_) => (ActionResult::OtherReason, None),
    };
    Ok(Some(ActionResponseNormal {
        invoke_id: request.invoke_id,
        result,
        returned,
    }))
}

/// Verifies the client's proof and makes ours.
fn check(
    session: &Session,
    from_client: &[u8],
    from_server: &[u8],
    answer: &[u8],
    security: &mut DeviceSecurity,
) -> Result<Vec<u8>, SecurityError> {
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
            security.saw(client, seen);
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
                .signatures(session.client)
                .ok_or(SecurityError::BadAnswer)?;
            exchange.verify_ecdsa(HlsSide::Client, client, answer)?;
            Ok(exchange.answer_ecdsa(HlsSide::Server, own))
        }
    }
}
