//! GET, SET and ACTION in plaintext, carried out on the device.

mod long;

use long::{action_refused, present, set_refused};

use super::desk::SecurityDesk;
use super::device::{Caller, LogicalDevice};
use super::hls::REPLY_TO_HLS;
use super::protection::{Entropy, refused};
use super::security::DeviceSecurity;
use super::session::Session;
use super::transfer::{Targets, Transfer};
use crate::apdu::{
    ActionRequestNormal, ActionResult, Apdu, ApduError, AttributeDescriptor, DataAccessResult,
    ExceptionResponse, InvokeId, MethodDescriptor, Outcome, SelectiveAccess, ServiceError,
    SetResponseNormal, SetResponseWithList, StateError,
};
use crate::association::Conformance;
use crate::axdr::Data;
use crate::block::{BlockError, BlockReceiver};

/// What a proved client's request is carried out with.
pub(super) struct Desk<'a> {
    pub(super) session: &'a mut Session,
    pub(super) caller: Caller,
    /// Bytes of the longest answer in plaintext.
    pub(super) room: usize,
    pub(super) device: &'a mut dyn LogicalDevice,
    pub(super) security: &'a mut DeviceSecurity,
    pub(super) entropy: &'a mut Entropy<'a>,
}

impl Desk<'_> {
    /// Carries out one request. `None` if no answer is due.
    pub(super) fn carry_out(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        let answer = match Apdu::decode(request) {
            Ok(request) => self.dispatch(request),
            Err(ApduError::UnknownTag { .. } | ApduError::UnsupportedChoice { .. }) => Err(UNKNOWN),
            Err(_) => Err(refused(ServiceError::OtherReason)),
        };
        let mut out = Vec::new();
        match answer {
            Ok(answer) => answer?.encode(&mut out),
            Err(exception) => exception.encode(&mut out),
        }
        Some(out)
    }

    fn dispatch(&mut self, request: Apdu<'_>) -> Result<Option<Apdu<'static>>, ExceptionResponse> {
        let transfer = core::mem::take(&mut self.session.transfer);
        Ok(Some(match request {
            Apdu::GetRequestNormal(request) => {
                self.speaks(Conformance::GET)?;
                let result = self.get(request.attribute, request.access.as_ref());
                self.answer_get(request.invoke_id, result)
            }
            Apdu::GetRequestWithList(request) => {
                self.speaks(Conformance::GET | Conformance::MULTIPLE_REFERENCES)?;
                let results = request
                    .attributes
                    .iter()
                    .map(|(attribute, access)| self.get(*attribute, access.as_ref()))
                    .collect();
                self.answer_get_list(request.invoke_id, results)
            }
            Apdu::GetRequestNext(request) => {
                self.speaks(Conformance::GET)?;
                self.next_block(request.invoke_id, request.block, transfer)
            }
            Apdu::SetRequestNormal(request) => {
                self.speaks(Conformance::SET)?;
                let result = self.set(request.attribute, request.access.as_ref(), &request.value);
                if !is_confirmed(request.invoke_id) {
                    return Ok(None);
                }
                Apdu::SetResponseNormal(SetResponseNormal {
                    invoke_id: request.invoke_id,
                    result,
                })
            }
            Apdu::SetRequestWithList(request) => {
                self.speaks(Conformance::SET | Conformance::MULTIPLE_REFERENCES)?;
                let results = request
                    .writes
                    .iter()
                    .map(|(attribute, access, value)| self.set(*attribute, access.as_ref(), value))
                    .collect();
                if !is_confirmed(request.invoke_id) {
                    return Ok(None);
                }
                Apdu::SetResponseWithList(SetResponseWithList {
                    invoke_id: request.invoke_id,
                    results,
                })
            }
            Apdu::SetRequestWithFirstDatablock(request) => {
                self.speaks(Conformance::SET | Conformance::BLOCK_TRANSFER_WITH_SET)?;
                let targets = Targets::One((request.attribute, request.access));
                let receiver = BlockReceiver::new();
                self.set_block(request.invoke_id, targets, receiver, &request.block)
            }
            Apdu::SetRequestWithListAndFirstDatablock(request) => {
                self.speaks(
                    Conformance::SET
                        | Conformance::BLOCK_TRANSFER_WITH_SET
                        | Conformance::MULTIPLE_REFERENCES,
                )?;
                let targets = Targets::List(request.attributes);
                let receiver = BlockReceiver::new();
                self.set_block(request.invoke_id, targets, receiver, &request.block)
            }
            Apdu::SetRequestWithDatablock(request) => {
                self.speaks(Conformance::SET)?;
                match transfer {
                    Transfer::Set(targets, receiver) => {
                        self.set_block(request.invoke_id, targets, receiver, &request.block)
                    }
                    Transfer::Idle
                    | Transfer::Get(_)
                    | Transfer::Action(..)
                    | Transfer::Returned(_) => set_refused(
                        request.invoke_id,
                        request.block.number,
                        BlockError::NotInProgress.set_result(),
                    ),
                }
            }
            Apdu::ActionRequestNormal(request) => {
                self.speaks(Conformance::ACTION)?;
                let outcome = self.invoke(request.method, request.parameters.as_ref());
                if !is_confirmed(request.invoke_id) {
                    return Ok(None);
                }
                self.answer_action(request.invoke_id, outcome)
            }
            Apdu::ActionRequestWithList(request) => {
                self.speaks(Conformance::ACTION | Conformance::MULTIPLE_REFERENCES)?;
                let outcomes = request
                    .invocations
                    .iter()
                    .map(|(method, parameters)| self.invoke(*method, present(parameters)))
                    .collect();
                if !is_confirmed(request.invoke_id) {
                    return Ok(None);
                }
                self.answer_actions(request.invoke_id, outcomes)
            }
            Apdu::ActionRequestWithFirstPblock(request) => {
                self.speaks(Conformance::ACTION | Conformance::BLOCK_TRANSFER_WITH_ACTION)?;
                let targets = Targets::One(request.method);
                let receiver = BlockReceiver::new();
                self.action_block(request.invoke_id, targets, receiver, &request.block)
            }
            Apdu::ActionRequestWithListAndFirstPblock(request) => {
                self.speaks(
                    Conformance::ACTION
                        | Conformance::BLOCK_TRANSFER_WITH_ACTION
                        | Conformance::MULTIPLE_REFERENCES,
                )?;
                let targets = Targets::List(request.methods);
                let receiver = BlockReceiver::new();
                self.action_block(request.invoke_id, targets, receiver, &request.block)
            }
            Apdu::ActionRequestWithPblock(request) => {
                self.speaks(Conformance::ACTION)?;
                match transfer {
                    Transfer::Action(targets, receiver) => {
                        self.action_block(request.invoke_id, targets, receiver, &request.block)
                    }
                    Transfer::Idle
                    | Transfer::Get(_)
                    | Transfer::Set(..)
                    | Transfer::Returned(_) => {
                        action_refused(request.invoke_id, BlockError::NotInProgress.action_result())
                    }
                }
            }
            Apdu::ActionRequestNextPblock(request) => {
                self.speaks(Conformance::ACTION)?;
                self.next_pblock(request.invoke_id, request.block, transfer)
            }
            // A push of the meter's own has arrived; the meter hears of it elsewhere.
            Apdu::DataNotificationConfirm(_) => return Ok(None),
            Apdu::DataNotification(_)
            | Apdu::EventNotification(_)
            | Apdu::GeneralBlockTransfer(_)
            | Apdu::ExceptionResponse(_)
            | Apdu::GetResponseNormal(_)
            | Apdu::GetResponseWithDatablock(_)
            | Apdu::GetResponseWithList(_)
            | Apdu::SetResponseNormal(_)
            | Apdu::SetResponseDatablock(_)
            | Apdu::SetResponseLastDatablock(_)
            | Apdu::SetResponseLastDatablockWithList(_)
            | Apdu::SetResponseWithList(_)
            | Apdu::ActionResponseNormal(_)
            | Apdu::ActionResponseWithPblock(_)
            | Apdu::ActionResponseWithList(_)
            | Apdu::ActionResponseNextPblock(_) => return Err(UNKNOWN),
        }))
    }

    /// Refuses a service that both sides did not agree on.
    fn speaks(&self, services: Conformance) -> Result<(), ExceptionResponse> {
        if self.session.conformance.contains(services) {
            Ok(())
        } else {
            Err(refused(ServiceError::ServiceNotSupported))
        }
    }

    fn get(
        &mut self,
        attribute: AttributeDescriptor,
        access: Option<&SelectiveAccess>,
    ) -> Result<Data, DataAccessResult> {
        self.may_select(access)?;
        let result = self.device.get(&self.caller, attribute, access);
        assert_ne!(
            result,
            Err(DataAccessResult::Success),
            "success is no reason to have no value"
        );
        result
    }

    fn set(
        &mut self,
        attribute: AttributeDescriptor,
        access: Option<&SelectiveAccess>,
        value: &Data,
    ) -> DataAccessResult {
        let result = self
            .may_select(access)
            .and_then(|()| self.device.set(&self.caller, attribute, access, value));
        assert_ne!(
            result,
            Err(DataAccessResult::Success),
            "success is no reason to write nothing"
        );
        result.err().unwrap_or(DataAccessResult::Success)
    }

    fn invoke(&mut self, method: MethodDescriptor, parameters: Option<&Data>) -> Outcome {
        let result = match (method.class_id, method.method) {
            // Each challenge is answered once, before anything else may be asked.
            _ if method == REPLY_TO_HLS => Err(ActionResult::OtherReason),
            (SECURITY_SETUP, KEY_TRANSFER) => self.transfer_keys(method, parameters),
            (SECURITY_SETUP, KEY_AGREEMENT) => self.agree_keys(method, parameters),
            (SECURITY_SETUP, _) | (ASSOCIATION, CHANGE_SECRET) => {
                let mut desk = SecurityDesk {
                    security: &mut *self.security,
                    entropy: &mut *self.entropy,
                    caller: self.caller,
                };
                self.device
                    .invoke_security(&self.caller, method, parameters, &mut desk)
            }
            _ => self.device.invoke(&self.caller, method, parameters),
        };
        match result {
            Ok(returned) => (ActionResult::Success, returned.map(Ok)),
            Err(result) => {
                assert_ne!(result, ActionResult::Success, "success is no failure");
                (result, None)
            }
        }
    }

    fn transfer_keys(
        &mut self,
        method: MethodDescriptor,
        parameters: Option<&Data>,
    ) -> Result<Option<Data>, ActionResult> {
        self.device.admits_keys(&self.caller, method)?;
        self.security
            .stage_keys(parameters.unwrap_or(&Data::Null))
            .map(|()| None)
    }

    fn agree_keys(
        &mut self,
        method: MethodDescriptor,
        parameters: Option<&Data>,
    ) -> Result<Option<Data>, ActionResult> {
        self.device.admits_keys(&self.caller, method)?;
        let mut desk = SecurityDesk {
            security: &mut *self.security,
            entropy: &mut *self.entropy,
            caller: self.caller,
        };
        desk.agree_keys(parameters.unwrap_or(&Data::Null)).map(Some)
    }

    fn may_select(&self, access: Option<&SelectiveAccess>) -> Result<(), DataAccessResult> {
        if access.is_some()
            && !self
                .session
                .conformance
                .contains(Conformance::SELECTIVE_ACCESS)
        {
            Err(DataAccessResult::ScopeOfAccessViolated)
        } else {
            Ok(())
        }
    }
}

/// Whether `request` may be asked before the client has proved itself.
pub(super) fn proof(request: &[u8]) -> Option<ActionRequestNormal> {
    match Apdu::decode(request) {
        Ok(Apdu::ActionRequestNormal(request)) => Some(request),
        _ => None,
    }
}

/// Security setup.
const SECURITY_SETUP: u16 = 64;

/// key_transfer of security setup.
const KEY_TRANSFER: i8 = 2;

/// key_agreement of security setup.
const KEY_AGREEMENT: i8 = 3;

/// The current association.
const ASSOCIATION: u16 = 15;

/// change_HLS_secret of the association.
const CHANGE_SECRET: i8 = 2;

/// The answer to a service that nobody here speaks.
const UNKNOWN: ExceptionResponse = ExceptionResponse {
    state: StateError::ServiceUnknown,
    service: ServiceError::ServiceNotSupported,
};

/// Whether an answer is wanted.
const fn is_confirmed(invoke_id: InvokeId) -> bool {
    invoke_id.0 & 0x40 != 0
}
