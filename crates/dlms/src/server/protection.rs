//! How a request was protected, so that its answer can be protected in the same way: forms,
//! keys, signatures.

use std::borrow::Cow;

use gridloom_core::SystemTitle;

use super::security::{DeviceSecurity, NotBelieved};
use crate::apdu::{ExceptionResponse, ServiceError, StateError};
use crate::security::{
    CipherContext, CipheredApdu, CipheredForm, GENERAL_SIGNING, GeneralCiphering, GeneralKey,
    GeneralSigning, HEADER_LEN, HEADER_OVERHEAD_MAX, Policy, PolicyBits, SIGNING_OVERHEAD_MAX,
    SecurityControl, SecurityError, SecuritySuite, TAG_LEN,
};

/// How one request came: its answer goes the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Protected {
    pub(super) form: CipheredForm,
    pub(super) control: SecurityControl,
    /// In general-ciphering: how it told its key, and of which transaction it is.
    general: Option<(GeneralKey, Vec<u8>)>,
    /// Whether its signature has verified.
    pub(super) was_signed: bool,
    /// Where the answer is to be signed, of which transaction.
    pub(super) signed: Option<Vec<u8>>,
}

/// How a request came. `None` is plaintext.
pub(super) type Manner = Option<Protected>;

/// Source of unguessable bytes.
pub(super) type Entropy<'a> = dyn FnMut(&mut [u8]) + 'a;

impl Protected {
    /// Bytes around an answer at most.
    pub(super) fn overhead(&self, suite: SecuritySuite) -> usize {
        let ciphered = match (self.form, &self.general) {
            (_, Some((key, transaction))) => {
                SERVICE_OVERHEAD + HEADER_OVERHEAD_MAX + transaction.len() + key.info_len(suite)
            }
            (CipheredForm::ServiceGlobal | CipheredForm::ServiceDedicated, None) => {
                SERVICE_OVERHEAD
            }
            (
                CipheredForm::GeneralGlobal
                | CipheredForm::GeneralDedicated
                | CipheredForm::General,
                None,
            ) => SERVICE_OVERHEAD + TITLE_LEN,
        };
        let signed = self
            .signed
            .as_ref()
            .map_or(0, |transaction| SIGNING_OVERHEAD_MAX + transaction.len());
        ciphered + signed
    }

    /// What the meter's policy asks of answers, beyond what the request had.
    fn strengthen(&mut self, policy: PolicyBits) {
        let mut control = self.control.0;
        if policy.authenticates_responses() {
            control |= SecurityControl::AUTHENTICATED.0;
        }
        if policy.encrypts_responses() {
            control |= SecurityControl::ENCRYPTED.0;
        }
        self.control = SecurityControl(control);
        if policy.signs_responses() && self.signed.is_none() {
            let transaction = self.general.as_ref().map(|(_, id)| id.clone());
            self.signed = Some(transaction.unwrap_or_default());
        }
    }
}

/// A request without its signature, if it had one.
pub(super) struct Outside<'a> {
    pub(super) apdu: &'a [u8],
    pub(super) signed: Option<Vec<u8>>,
}

/// Takes the signature off a request, and verifies it.
///
/// # Errors
///
/// The hardened answer: a signature that does not verify, or none where policy asks for one.
pub(super) fn verify_signature<'a>(
    apdu: &'a [u8],
    client: u16,
    title: SystemTitle,
    security: &DeviceSecurity,
) -> Result<Outside<'a>, ExceptionResponse> {
    if apdu.first() == Some(&GENERAL_SIGNING) {
        let signing = GeneralSigning::decode(apdu).map_err(|_| DECIPHERING)?;
        let context = security.context();
        let ring = security.ring(client, title, &context);
        return Ok(Outside {
            apdu: ring.verify(&signing).map_err(|_| DECIPHERING)?,
            signed: Some(signing.header.transaction_id.to_vec()),
        });
    }
    if security.policy().signs_requests() {
        return Err(DECIPHERING);
    }
    Ok(Outside { apdu, signed: None })
}

/// Opens a request under a global key, or one that general-ciphering tells.
///
/// # Errors
///
/// The hardened answer.
pub(super) fn open_global(
    form: CipheredForm,
    apdu: &[u8],
    client: u16,
    title: SystemTitle,
    policy: Policy,
    security: &mut DeviceSecurity,
) -> Result<(Vec<u8>, Protected), ExceptionResponse> {
    let policy = at_least(policy, security.policy());
    let (plain, control, general) = if form == CipheredForm::General {
        let general = GeneralCiphering::decode(apdu, Some(title)).map_err(|_| DECIPHERING)?;
        let plain = security.open_general(client, title, &general, policy);
        let key = GeneralKey::of(general.key_info.as_ref());
        let transaction = general.header.transaction_id.to_vec();
        let told = Some((key, transaction));
        (plain, general.apdu.control, told)
    } else {
        let ciphered = take_apart(form, apdu, title).map_err(|_| DECIPHERING)?;
        (security.open(&ciphered, policy), ciphered.control, None)
    };
    let protected = Protected {
        form,
        control,
        general,
        was_signed: false,
        signed: None,
    };
    Ok((plain.map_err(exception_of)?, protected))
}

/// How a request under the dedicated key came.
pub(super) const fn dedicated(form: CipheredForm, control: SecurityControl) -> Protected {
    Protected {
        form,
        control,
        general: None,
        was_signed: false,
        signed: None,
    }
}

/// Makes sure, before a request is carried out, that its answer can be protected.
///
/// # Errors
///
/// [`ServiceError::OperationNotPossible`]: a key for it is missing here.
pub(super) fn prepare_answer(
    protected: &mut Protected,
    client: u16,
    title: SystemTitle,
    security: &DeviceSecurity,
) -> Result<(), ExceptionResponse> {
    protected.strengthen(security.policy());
    let impossible = refused(ServiceError::OperationNotPossible);
    if protected.signed.is_some() && security.own_keys().signing.is_none() {
        return Err(impossible);
    }
    if let Some((key, _)) = &protected.general {
        let context = security.context();
        let ring = security.ring(client, title, &context);
        ring.can_seal(*key).map_err(|_| impossible)?;
    }
    Ok(())
}

/// The stricter of what the association and the meter's policy demand. Without a tag nothing is
/// believed, whatever they say.
pub(super) const fn at_least(association: Policy, meter: PolicyBits) -> Policy {
    if meter.encrypts_requests() {
        Policy::AuthenticatedEncryption
    } else {
        association
    }
}

/// Takes apart a ciphered APDU that must be from `title`.
pub(super) fn take_apart(
    form: CipheredForm,
    apdu: &[u8],
    title: SystemTitle,
) -> Result<CipheredApdu<'_>, SecurityError> {
    match form {
        CipheredForm::ServiceGlobal | CipheredForm::ServiceDedicated => {
            CipheredApdu::decode_service(apdu, title)
        }
        CipheredForm::GeneralGlobal | CipheredForm::GeneralDedicated | CipheredForm::General => {
            let ciphered = CipheredApdu::decode(apdu)?;
            if ciphered.title == title {
                Ok(ciphered)
            } else {
                Err(SecurityError::Originator {
                    got: ciphered.title,
                    wanted: title,
                })
            }
        }
    }
}

/// Seals `plain` for a client with the meter's next counter, protected as the request was, and
/// signs it where the request or the policy asks.
///
/// # Panics
///
/// Without a counter, or a key that [`prepare_answer`] has found.
pub(super) fn seal(
    context: &CipherContext,
    protected: &Protected,
    plain: Cow<'_, [u8]>,
    (client, title): (u16, SystemTitle),
    security: &mut DeviceSecurity,
    entropy: &mut Entropy<'_>,
) -> Vec<u8> {
    let counter = security
        .next_counter()
        .expect("counters are checked before the request is carried out");
    let protection = context.protection(protected.control, security.title(), counter);
    let mut out = Vec::with_capacity(plain.len() + SERVICE_OVERHEAD + TITLE_LEN);
    match &protected.general {
        Some((key, transaction)) => security
            .ring(client, title, context)
            .seal(*key, transaction, protection, &plain, entropy, &mut out)
            .expect("keys are checked before the request is carried out"),
        None => context.protect_as(protected.form, protection, &plain, &mut out),
    }
    let Some(transaction) = &protected.signed else {
        return out;
    };
    let mut signed = Vec::with_capacity(out.len() + SIGNING_OVERHEAD_MAX + transaction.len());
    security
        .ring(client, title, context)
        .sign(transaction, &out, &mut signed)
        .expect("keys are checked before the request is carried out");
    signed
}

/// The answer to what is not believed.
pub(super) const fn exception_of(reason: NotBelieved) -> ExceptionResponse {
    match reason {
        NotBelieved::Deciphering => DECIPHERING,
        NotBelieved::Counter { expected } => ExceptionResponse {
            state: StateError::ServiceUnknown,
            service: ServiceError::InvocationCounterError { expected },
        },
    }
}

/// The answer to what does not verify, or is protected less than it must be.
pub(super) const DECIPHERING: ExceptionResponse = ExceptionResponse {
    state: StateError::ServiceUnknown,
    service: ServiceError::DecipheringError,
};

/// The answer to what may not be asked in this state.
pub(super) const fn refused(service: ServiceError) -> ExceptionResponse {
    ExceptionResponse {
        state: StateError::ServiceNotAllowed,
        service,
    }
}

/// Bytes of tag, length, security header and authentication tag around a ciphered service.
const SERVICE_OVERHEAD: usize = 1 + 3 + HEADER_LEN + TAG_LEN;

/// Bytes of a system title with its length.
const TITLE_LEN: usize = 9;
