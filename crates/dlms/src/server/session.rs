//! One client's association: what was agreed, who was proved, and what its APDUs go through.

use std::borrow::Cow;

use gridloom_core::SystemTitle;

use super::config::AssociationPolicy;
use super::device::Caller;
use super::general::General;
use super::protection::{
    DECIPHERING, Entropy, Manner, at_least, dedicated, exception_of, open_global, prepare_answer,
    refused, seal, take_apart, verify_signature,
};
use super::security::{DeviceSecurity, commit};
use super::transfer::Transfer;
use crate::apdu::{ExceptionResponse, ServiceError};
use crate::association::{Conformance, InitiateRequest, Mechanism, PDU_LEN_MIN, Secret};
use crate::block::BLOCKS_BYTES_MAX;
use crate::counter::ReceiveCounter;
use crate::security::{
    CipherContext, CipheredForm, GENERAL_SIGNING, Policy, SecurityError, SecuritySuite,
    SymmetricKey,
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

    pub(super) fn caller(&self, manner: &Manner) -> Caller {
        Caller {
            client: self.client,
            authentication: self.mechanism,
            title: self.title,
            protection: manner.as_ref().map(|protected| protected.control),
            signed: manner
                .as_ref()
                .is_some_and(|protected| protected.was_signed),
        }
    }

    /// Opens a request: its signature first, which is outermost, then its tag. Its counter is
    /// committed if, and only if, both verify. The answer is sure to find its keys and counters.
    pub(super) fn open<'a>(
        &mut self,
        apdu: &'a [u8],
        security: &mut DeviceSecurity,
    ) -> Result<(Cow<'a, [u8]>, Manner), ExceptionResponse> {
        let tag = apdu.first().copied().unwrap_or_default();
        let is_protected = tag == GENERAL_SIGNING || CipheredForm::of_tag(tag).is_some();
        match (is_protected, self.is_ciphered) {
            (false, false) => return Ok((Cow::Borrowed(apdu), None)),
            (false, true) => return Err(refused(ServiceError::DecipheringError)),
            (true, false) => return Err(DECIPHERING),
            (true, true) => {}
        }
        if !security.can_answer() {
            return Err(refused(ServiceError::OperationNotPossible));
        }
        let title = self.title.ok_or(DECIPHERING)?;
        let outside = verify_signature(apdu, self.client, title, security)?;
        let tag = outside.apdu.first().copied().unwrap_or_default();
        // A signature alone does not make plaintext fresh.
        let form = CipheredForm::of_tag(tag).ok_or(refused(ServiceError::DecipheringError))?;
        let (plain, mut protected) = if form.is_dedicated() {
            let policy = at_least(self.policy, security.policy());
            let ciphered = take_apart(form, outside.apdu, title).map_err(|_| DECIPHERING)?;
            let own = self.dedicated.as_mut().ok_or(DECIPHERING)?;
            let context = own.context(security).map_err(|_| DECIPHERING)?;
            let mut plain = Vec::new();
            context
                .open(&ciphered, policy, &mut plain)
                .map_err(|_| DECIPHERING)?;
            commit(&mut own.receive, ciphered.counter).map_err(exception_of)?;
            (plain, dedicated(form, ciphered.control))
        } else {
            let (apdu, client) = (outside.apdu, self.client);
            open_global(form, apdu, client, title, self.policy, security)?
        };
        protected.was_signed = outside.signed.is_some();
        protected.signed = outside.signed;
        prepare_answer(&mut protected, self.client, title, security)?;
        Ok((Cow::Owned(plain), Some(protected)))
    }

    /// Seals an answer. [`Self::open`] has made sure that there are a counter and keys for it.
    pub(super) fn seal(
        &self,
        plain: Vec<u8>,
        manner: &Manner,
        security: &mut DeviceSecurity,
        entropy: &mut Entropy<'_>,
    ) -> Vec<u8> {
        let (Some(protected), Some(title)) = (manner, self.title) else {
            return plain;
        };
        let context = match &self.dedicated {
            Some(dedicated) if protected.form.is_dedicated() => dedicated
                .context(security)
                .expect("the request came under the dedicated key"),
            Some(_) | None => security.context(),
        };
        let client = (self.client, title);
        let plain = Cow::Owned(plain);
        seal(&context, protected, plain, client, security, entropy)
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

    /// Bytes of the longest answer in plaintext that the client takes once it is protected.
    ///
    /// # Errors
    ///
    /// [`ServiceError::PduTooLong`] if it takes no answer in this protection.
    pub(super) fn room(
        &self,
        manner: &Manner,
        suite: SecuritySuite,
    ) -> Result<usize, ExceptionResponse> {
        let max = if self.speaks_general() {
            BLOCKS_BYTES_MAX
        } else {
            self.answer_max()
        };
        let around = manner
            .as_ref()
            .map_or(0, |protected| protected.overhead(suite));
        match max.checked_sub(around) {
            Some(room) if room >= usize::from(PDU_LEN_MIN) || manner.is_none() => Ok(room),
            Some(_) | None => Err(refused(ServiceError::PduTooLong)),
        }
    }
}

impl Dedicated {
    fn context(&self, security: &DeviceSecurity) -> Result<CipherContext, SecurityError> {
        security.context().dedicated(&self.key)
    }
}
