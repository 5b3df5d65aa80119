//! One client's association: what was agreed, who was proved, and how its APDUs are opened and
//! sealed.

use std::borrow::Cow;

use gridloom_core::SystemTitle;

use super::config::AssociationPolicy;
use super::device::Caller;
use super::general::General;
use super::security::{DeviceSecurity, NotBelieved, commit};
use super::transfer::Transfer;
use crate::apdu::{ExceptionResponse, ServiceError, StateError};
use crate::association::{Conformance, InitiateRequest, Mechanism, Secret};
use crate::block::BLOCKS_BYTES_MAX;
use crate::counter::ReceiveCounter;
use crate::security::{
    CipherContext, CipheredApdu, CipheredForm, HEADER_LEN, Policy, SecurityControl, SecurityError,
    SymmetricKey, TAG_LEN,
};
use crate::wrapper::APDU_MAX;

/// How far the client has proved who it is.
#[derive(Debug)]
pub(super) enum Standing {
    /// High level security: the challenges wait for one answer.
    Challenged {
        /// CtoS.
        from_client: Secret,
        /// StoC.
        from_server: Secret,
    },
    /// The one answer was wrong.
    Refused,
    /// As far as its mechanism can.
    Proved,
}

/// How a request came: its answer goes the same way. `None` is plaintext.
pub(super) type Manner = Option<(CipheredForm, SecurityControl)>;

/// One client's association.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: u16,
    pub(super) mechanism: Mechanism,
    pub(super) standing: Standing,
    pub(super) title: Option<SystemTitle>,
    pub(super) conformance: Conformance,
    pub(super) transfer: Transfer,
    pub(super) general: General,
    is_ciphered: bool,
    policy: Policy,
    dedicated: Option<Dedicated>,
    client_max_pdu: u16,
}

/// The key of this association alone, and the last counter under it.
#[derive(Debug)]
struct Dedicated {
    key: SymmetricKey,
    receive: ReceiveCounter,
}

impl Session {
    pub(super) fn new(
        policy: &AssociationPolicy,
        title: Option<SystemTitle>,
        proposal: &InitiateRequest,
        dedicated: Option<SymmetricKey>,
        standing: Standing,
    ) -> Self {
        Self {
            client: policy.client,
            mechanism: policy.mechanism,
            standing,
            title,
            conformance: policy.conformance & proposal.conformance,
            transfer: Transfer::Idle,
            general: General::Idle,
            is_ciphered: policy.ciphered,
            policy: policy.policy,
            dedicated: dedicated.map(|key| Dedicated {
                key,
                receive: ReceiveCounter::new(),
            }),
            client_max_pdu: proposal.max_pdu,
        }
    }

    pub(super) const fn is_ciphered(&self) -> bool {
        self.is_ciphered
    }

    pub(super) const fn policy(&self) -> Policy {
        self.policy
    }

    pub(super) const fn caller(&self, manner: Manner) -> Caller {
        Caller {
            client: self.client,
            authentication: self.mechanism,
            title: self.title,
            protection: match manner {
                Some((_, control)) => Some(control),
                None => None,
            },
        }
    }

    /// Opens a request. Its counter is committed if, and only if, its tag verifies.
    pub(super) fn open<'a>(
        &mut self,
        apdu: &'a [u8],
        security: &mut DeviceSecurity,
    ) -> Result<(Cow<'a, [u8]>, Manner), ExceptionResponse> {
        let tag = apdu.first().copied().unwrap_or_default();
        let form = match (CipheredForm::of_tag(tag), self.is_ciphered) {
            (None, false) => return Ok((Cow::Borrowed(apdu), None)),
            (None, true) => return Err(refused(ServiceError::DecipheringError)),
            (Some(_), false) => return Err(DECIPHERING),
            (Some(form), true) => form,
        };
        if !security.can_answer() {
            return Err(refused(ServiceError::OperationNotPossible));
        }
        let title = self.title.ok_or(DECIPHERING)?;
        let ciphered = take_apart(form, apdu, title).map_err(|_| DECIPHERING)?;
        let plain = if form.is_dedicated() {
            let dedicated = self.dedicated.as_mut().ok_or(DECIPHERING)?;
            let context = dedicated.context(security).map_err(|_| DECIPHERING)?;
            let mut plain = Vec::new();
            context
                .open(&ciphered, self.policy, &mut plain)
                .map_err(|_| DECIPHERING)?;
            commit(&mut dedicated.receive, ciphered.counter).map_err(exception_of)?;
            plain
        } else {
            security
                .open(&ciphered, self.policy)
                .map_err(exception_of)?
        };
        Ok((Cow::Owned(plain), Some((form, ciphered.control))))
    }

    /// Seals an answer. The caller has made sure that there is a counter for it.
    pub(super) fn seal(
        &self,
        plain: Vec<u8>,
        manner: Manner,
        security: &mut DeviceSecurity,
    ) -> Vec<u8> {
        let Some((form, control)) = manner else {
            return plain;
        };
        let context = match &self.dedicated {
            Some(dedicated) if form.is_dedicated() => dedicated
                .context(security)
                .expect("the request came under the dedicated key"),
            Some(_) | None => security.context(),
        };
        seal_with(&context, form, control, &plain, security)
    }

    /// Whether any APDU may go in blocks.
    pub(super) const fn speaks_general(&self) -> bool {
        self.conformance
            .contains(Conformance::GENERAL_BLOCK_TRANSFER)
    }

    /// Bytes of the longest APDU that the client takes.
    pub(super) fn answer_max(&self) -> usize {
        match self.client_max_pdu {
            0 => usize::from(APDU_MAX),
            max => usize::from(max),
        }
    }

    /// Bytes of the longest answer in plaintext that the client takes once it is sealed.
    pub(super) fn room(&self, manner: Manner) -> usize {
        let max = if self.speaks_general() {
            BLOCKS_BYTES_MAX
        } else {
            self.answer_max()
        };
        let around = match manner {
            None => 0,
            Some((CipheredForm::ServiceGlobal | CipheredForm::ServiceDedicated, _)) => {
                SERVICE_OVERHEAD
            }
            Some((
                CipheredForm::GeneralGlobal
                | CipheredForm::GeneralDedicated
                | CipheredForm::General,
                _,
            )) => SERVICE_OVERHEAD + TITLE_LEN,
        };
        max - around
    }
}

impl Dedicated {
    fn context(&self, security: &DeviceSecurity) -> Result<CipherContext, SecurityError> {
        security.context().dedicated(&self.key)
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
                Err(SecurityError::BadTag {
                    title: ciphered.title,
                    counter: ciphered.counter,
                })
            }
        }
    }
}

/// Seals `plain` with the meter's next counter, protected as the request was.
pub(super) fn seal_with(
    context: &CipherContext,
    form: CipheredForm,
    control: SecurityControl,
    plain: &[u8],
    security: &mut DeviceSecurity,
) -> Vec<u8> {
    let counter = security
        .next_counter()
        .expect("counters are checked before the request is carried out");
    let protection = context.protection(control, security.title(), counter);
    let mut out = Vec::with_capacity(plain.len() + SERVICE_OVERHEAD + TITLE_LEN);
    context.protect_as(form, protection, plain, &mut out);
    out
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

/// Bytes of tag, length, security header and authentication tag around a ciphered service.
const SERVICE_OVERHEAD: usize = 1 + 3 + HEADER_LEN + TAG_LEN;

/// Bytes of a system title with its length.
const TITLE_LEN: usize = 9;

/// The answer to what may not be asked in this state.
pub(super) const fn refused(service: ServiceError) -> ExceptionResponse {
    ExceptionResponse {
        state: StateError::ServiceNotAllowed,
        service,
    }
}
