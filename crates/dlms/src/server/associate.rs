//! AARQ in, AARE out: who is admitted, and to what both sides agree.

use std::borrow::Cow;

use gridloom_core::SystemTitle;

use super::config::{AssociationPolicy, ServerConfig};
use super::protection::{
    DECIPHERING, Entropy, Manner, Protected, open_global, prepare_answer, refused, seal,
};
use super::security::DeviceSecurity;
use super::session::{Session, Standing};
use crate::apdu::{ExceptionResponse, ServiceError};
use crate::association::{
    Aare, Aarq, AcseError, ApplicationContext, AssociationResult, ConfirmedServiceError,
    Conformance, DLMS_VERSION, Diagnostic, InitiateError, InitiateRequest, InitiateResponse,
    Mechanism, ReleaseReason, Rlre, Rlrq, Secret,
};
use crate::security::{CHALLENGE_LEN_MAX, CipheredForm, HlsMechanism, Policy, SymmetricKey};

/// Bytes of the server's challenges, but for ECDSA, where the standard wants 32.
const CHALLENGE_LEN: usize = 16;

/// Why there is no association.
pub(super) enum Refusal {
    /// The request cannot even be read.
    Exception(ExceptionResponse),
    /// It is read, and refused for good.
    Rejected(ApplicationContext, Diagnostic, Option<InitiateError>),
    /// The client wants no answer, and gets none.
    Silent,
}

/// Admits a client, or says why not. The answer goes with the session.
pub(super) fn associate(
    client: u16,
    apdu: &[u8],
    config: &ServerConfig,
    security: &mut DeviceSecurity,
    entropy: &mut Entropy<'_>,
) -> Result<(Session, Vec<u8>), Refusal> {
    let request = Aarq::decode(apdu).map_err(unreadable)?;
    let reject = |diagnostic| Refusal::Rejected(request.context, diagnostic, None);
    let policy = choose(client, &request, config).map_err(reject)?;
    let title = caller_title(policy, &request, security.title()).map_err(reject)?;
    let (proposal, manner) = open_proposal(policy, title, &request, security)?;
    if !proposal.response_allowed {
        return Err(Refusal::Silent);
    }
    check_proposal(policy, &proposal).map_err(|error| {
        Refusal::Rejected(request.context, Diagnostic::NoReasonGiven, Some(error))
    })?;
    // A dedicated key in plaintext is everybody's.
    let dedicated = match (&proposal.dedicated_key, &manner) {
        (Some(key), Some(_)) => Some(dedicated_key(key, security).map_err(reject)?),
        (Some(_) | None, None) | (None, Some(_)) => None,
    };
    let standing = prove(policy, &request, security, entropy).map_err(reject)?;

    let challenge = match &standing {
        Standing::Challenged { from_server, .. } => Some(from_server.clone()),
        Standing::Refused | Standing::Proved => None,
    };
    let session = Session::new(policy, title, &proposal, dedicated, standing);
    let mut agreement = Vec::new();
    InitiateResponse::new(session.conformance, config.max_pdu).encode(&mut agreement);
    if let (Some(protected), Some(title)) = (&manner, title) {
        let context = security.context();
        let (plain, client) = (Cow::Owned(agreement), (client, title));
        agreement = seal(&context, protected, plain, client, security, entropy);
    }
    let names_itself = policy.ciphered || policy.mechanism.is_high();
    let answer = Aare {
        context: request.context,
        result: AssociationResult::Accepted,
        diagnostic: if challenge.is_some() {
            Diagnostic::AuthenticationRequired
        } else {
            Diagnostic::Null
        },
        responding_title: names_itself.then_some(security.title()),
        responding_qualifier: None,
        mechanism: if challenge.is_some() {
            policy.mechanism
        } else {
            Mechanism::None
        },
        authentication_value: challenge,
        user_information: agreement,
    };
    let mut out = Vec::new();
    answer.encode(&mut out);
    Ok((session, out))
}

/// The answer to a refusal.
pub(super) fn encode_refusal(refusal: Refusal) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match refusal {
        Refusal::Silent => return None,
        Refusal::Exception(exception) => exception.encode(&mut out),
        Refusal::Rejected(context, diagnostic, error) => {
            let mut user_information = Vec::new();
            if let Some(error) = error {
                ConfirmedServiceError::Initiate(error).encode(&mut user_information);
            }
            Aare {
                context,
                result: AssociationResult::RejectedPermanent,
                diagnostic,
                responding_title: None,
                responding_qualifier: None,
                mechanism: Mechanism::None,
                authentication_value: None,
                user_information,
            }
            .encode(&mut out);
        }
    }
    Some(out)
}

/// RLRQ in, RLRE out. The association ends unless the request carries a proposal that does not
/// verify; a request without one cannot prove anything, and meters accept it.
///
/// # Errors
///
/// The exception to answer; the association stands.
pub(super) fn release(
    apdu: &[u8],
    session: Option<&Session>,
    config: &ServerConfig,
    security: &mut DeviceSecurity,
    entropy: &mut Entropy<'_>,
) -> Result<Vec<u8>, ExceptionResponse> {
    let request = Rlrq::decode(apdu).map_err(|_| refused(ServiceError::OtherReason))?;
    let mut user_information = Vec::new();
    // A release that is repeated because its answer was lost finds no association.
    if let Some(session) = session
        && !request.user_information.is_empty()
    {
        InitiateResponse::new(session.conformance, config.max_pdu).encode(&mut user_information);
        if session.is_ciphered() {
            let title = session.title.ok_or(DECIPHERING)?;
            let information = &request.user_information;
            let client = (session.client, title);
            let (_, protected) = open_initiate(client, information, session.policy(), security)?;
            let (context, plain) = (security.context(), Cow::Owned(user_information));
            user_information = seal(&context, &protected, plain, client, security, entropy);
        }
    }
    let mut out = Vec::new();
    Rlre {
        reason: Some(ReleaseReason::Normal),
        user_information,
    }
    .encode(&mut out);
    Ok(out)
}

/// The policy that fits the request, or what does not fit.
fn choose<'a>(
    client: u16,
    request: &Aarq,
    config: &'a ServerConfig,
) -> Result<&'a AssociationPolicy, Diagnostic> {
    let is_client = |policy: &&AssociationPolicy| policy.client == client;
    if !config
        .associations
        .iter()
        .any(|policy| policy.client == client)
    {
        return Err(Diagnostic::CallingTitleNotRecognized);
    }
    match request.context {
        ApplicationContext::LogicalName | ApplicationContext::LogicalNameCiphered => {}
        ApplicationContext::ShortName | ApplicationContext::ShortNameCiphered => {
            return Err(Diagnostic::ContextNotSupported);
        }
    }
    let is_ciphered = request.context.is_ciphered();
    let of_context = |policy: &&AssociationPolicy| policy.ciphered == is_ciphered;
    let mut candidates = config
        .associations
        .iter()
        .filter(is_client)
        .filter(of_context)
        .peekable();
    if candidates.peek().is_none() {
        return Err(Diagnostic::ContextNotSupported);
    }
    candidates
        .find(|policy| policy.mechanism == request.mechanism)
        .ok_or(match (request.mechanism, &request.authentication_value) {
            (Mechanism::None, None) => Diagnostic::AuthenticationRequired,
            (Mechanism::None, Some(_)) => Diagnostic::MechanismRequired,
            _ => Diagnostic::MechanismNotRecognized,
        })
}

/// The client's title, which ciphering and challenges are computed with. Our own would let our
/// own answers be reflected.
fn caller_title(
    policy: &AssociationPolicy,
    request: &Aarq,
    own: SystemTitle,
) -> Result<Option<SystemTitle>, Diagnostic> {
    let is_needed = policy.ciphered || policy.mechanism.is_high();
    match request.calling_title {
        Some(title) if is_needed && title == own => Err(Diagnostic::CallingTitleNotRecognized),
        None if is_needed => Err(Diagnostic::CallingTitleNotRecognized),
        title => Ok(title),
    }
}

fn open_proposal(
    policy: &AssociationPolicy,
    title: Option<SystemTitle>,
    request: &Aarq,
    security: &mut DeviceSecurity,
) -> Result<(InitiateRequest, Manner), Refusal> {
    let information = &request.user_information;
    let (plain, manner) = match title {
        Some(title) if policy.ciphered => {
            let client = (policy.client, title);
            let (plain, protected) = open_initiate(client, information, policy.policy, security)
                .map_err(Refusal::Exception)?;
            (plain, Some(protected))
        }
        Some(_) | None => (information.clone(), None),
    };
    let proposal = InitiateRequest::decode(&plain).map_err(|_| {
        Refusal::Rejected(
            request.context,
            Diagnostic::NoReasonGiven,
            Some(InitiateError::Other),
        )
    })?;
    Ok((proposal, manner))
}

/// Opens the ciphered initiate APDU inside user-information. It is never signed: who wants the
/// association proves it with the challenges.
fn open_initiate(
    (client, title): (u16, SystemTitle),
    information: &[u8],
    policy: Policy,
    security: &mut DeviceSecurity,
) -> Result<(Vec<u8>, Protected), ExceptionResponse> {
    let tag = information.first().copied().unwrap_or_default();
    let form = match CipheredForm::of_tag(tag) {
        Some(
            form @ (CipheredForm::ServiceGlobal
            | CipheredForm::GeneralGlobal
            | CipheredForm::General),
        ) => form,
        // The dedicated key has not been told yet.
        Some(CipheredForm::ServiceDedicated | CipheredForm::GeneralDedicated) => {
            return Err(DECIPHERING);
        }
        None => return Err(refused(ServiceError::DecipheringError)),
    };
    if !security.can_answer() {
        return Err(refused(ServiceError::OperationNotPossible));
    }
    let (plain, mut protected) = open_global(form, information, client, title, policy, security)?;
    prepare_answer(&mut protected, client, title, security)?;
    protected.signed = None;
    Ok((plain, protected))
}

fn check_proposal(
    policy: &AssociationPolicy,
    proposal: &InitiateRequest,
) -> Result<(), InitiateError> {
    if proposal.version < DLMS_VERSION {
        return Err(InitiateError::DlmsVersionTooLow);
    }
    if policy.conformance & proposal.conformance == Conformance::NONE {
        return Err(InitiateError::IncompatibleConformance);
    }
    if proposal.max_pdu != 0 && proposal.max_pdu < policy.client_pdu_min() {
        return Err(InitiateError::PduSizeTooShort);
    }
    Ok(())
}

fn dedicated_key(key: &Secret, security: &DeviceSecurity) -> Result<SymmetricKey, Diagnostic> {
    if key.bytes().len() == security.suite().key_len() {
        SymmetricKey::from_bytes(key.bytes()).map_err(|_| Diagnostic::NoReasonGiven)
    } else {
        Err(Diagnostic::NoReasonGiven)
    }
}

/// Checks the password, or answers the challenge with another.
fn prove(
    policy: &AssociationPolicy,
    request: &Aarq,
    security: &DeviceSecurity,
    entropy: &mut Entropy<'_>,
) -> Result<Standing, Diagnostic> {
    let value = request.authentication_value.as_ref();
    let hls = match policy.mechanism {
        Mechanism::None => return Ok(Standing::Proved),
        Mechanism::Lls => {
            let wanted = security.secret(policy.client);
            return match (value, wanted) {
                (Some(value), Some(wanted)) if value == wanted => Ok(Standing::Proved),
                (None, _) => Err(Diagnostic::AuthenticationRequired),
                (Some(_), _) => Err(Diagnostic::AuthenticationFailure),
            };
        }
        Mechanism::Manufacturer | Mechanism::Md5 | Mechanism::Sha1 => {
            return Err(Diagnostic::MechanismNotRecognized);
        }
        Mechanism::Gmac => HlsMechanism::Gmac,
        Mechanism::Sha256 => HlsMechanism::Sha256,
        Mechanism::Ecdsa => HlsMechanism::Ecdsa,
    };
    let from_client = value.ok_or(Diagnostic::AuthenticationRequired)?;
    if !(hls.challenge_len_min()..=CHALLENGE_LEN_MAX).contains(&from_client.bytes().len()) {
        return Err(Diagnostic::AuthenticationFailure);
    }
    let mut challenge = vec![0; CHALLENGE_LEN.max(hls.challenge_len_min())];
    entropy(&mut challenge);
    let from_server = Secret::new(challenge);
    // One side's answer would be the other's.
    if from_server == *from_client {
        return Err(Diagnostic::AuthenticationFailure);
    }
    Ok(Standing::Challenged {
        from_client: from_client.clone(),
        from_server,
    })
}

/// What is wrong with a request that cannot be read.
fn unreadable(error: AcseError) -> Refusal {
    let diagnostic = match error {
        AcseError::UnknownContext => Diagnostic::ContextNotSupported,
        AcseError::UnknownMechanism => Diagnostic::MechanismNotRecognized,
        AcseError::TitleLength { .. } => Diagnostic::CallingTitleNotRecognized,
        AcseError::SecretTooLong { .. } => Diagnostic::AuthenticationFailure,
        AcseError::Axdr(_)
        | AcseError::Truncated(_)
        | AcseError::WrongTag { .. }
        | AcseError::UnexpectedField { .. }
        | AcseError::Missing { .. }
        | AcseError::Malformed { .. }
        | AcseError::UnknownCode { .. } => Diagnostic::Provider(1),
    };
    Refusal::Rejected(ApplicationContext::LogicalName, diagnostic, None)
}
