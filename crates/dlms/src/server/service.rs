//! GET, SET and ACTION in plaintext: carried out on the device, answered whole or in blocks.

use super::device::{Caller, LogicalDevice};
use super::hls::REPLY_TO_HLS;
use super::security::{DeviceSecurity, KeyTransferError};
use super::session::{Session, refused};
use super::transfer::{Place, Targets, Transfer};
use crate::apdu::{
    ActionRequestNormal, ActionResponseNextPblock, ActionResponseNormal, ActionResponseWithList,
    ActionResponseWithPblock, ActionResult, Apdu, ApduError, AttributeDescriptor, DataAccessResult,
    DataBlock, ExceptionResponse, GetResponseNormal, GetResponseWithDatablock, GetResponseWithList,
    InvokeId, MethodDescriptor, Outcome, SelectiveAccess, ServiceError, SetResponseDatablock,
    SetResponseLastDatablock, SetResponseLastDatablockWithList, SetResponseNormal,
    SetResponseWithList, StateError, decode_values, encode_outcome, encode_outcomes,
    encode_results,
};
use crate::association::Conformance;
use crate::axdr::Data;
use crate::block::{BLOCKS_BYTES_MAX, BlockError, BlockReceiver, BlockSender, Collected};

/// What a proved client's request is carried out with.
pub(super) struct Desk<'a> {
    pub(super) session: &'a mut Session,
    pub(super) caller: Caller,
    /// Bytes of the longest answer in plaintext.
    pub(super) room: usize,
    pub(super) device: &'a mut dyn LogicalDevice,
    pub(super) security: &'a mut DeviceSecurity,
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
        match self.security.stage_keys(parameters.unwrap_or(&Data::Null)) {
            Ok(()) => Ok(None),
            Err(KeyTransferError::Malformed) => Err(ActionResult::TypeUnmatched),
            Err(KeyTransferError::NoMasterKey) => Err(ActionResult::ObjectUnavailable),
            Err(KeyTransferError::Key(_)) => Err(ActionResult::OtherReason),
        }
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

    fn answer_get(
        &mut self,
        invoke_id: InvokeId,
        result: Result<Data, DataAccessResult>,
    ) -> Apdu<'static> {
        let answer = Apdu::GetResponseNormal(GetResponseNormal { invoke_id, result });
        if self.fits(&answer) {
            return answer;
        }
        let Apdu::GetResponseNormal(GetResponseNormal {
            result: Ok(value), ..
        }) = answer
        else {
            unreachable!("a result code fits every APDU length that is agreed to");
        };
        self.first_block(invoke_id, value.encode())
    }

    fn answer_get_list(
        &mut self,
        invoke_id: InvokeId,
        results: Vec<Result<Data, DataAccessResult>>,
    ) -> Apdu<'static> {
        let raw = encode_results(&results);
        let answer = Apdu::GetResponseWithList(GetResponseWithList { invoke_id, results });
        if self.fits(&answer) {
            return answer;
        }
        self.first_block(invoke_id, raw)
    }

    fn first_block(&mut self, invoke_id: InvokeId, raw: Vec<u8>) -> Apdu<'static> {
        let is_spoken = self
            .session
            .conformance
            .contains(Conformance::BLOCK_TRANSFER_WITH_GET);
        if !is_spoken || raw.len() > BLOCKS_BYTES_MAX {
            return Apdu::GetResponseNormal(GetResponseNormal {
                invoke_id,
                result: Err(DataAccessResult::DataBlockUnavailable),
            });
        }
        let sender = BlockSender::new(raw, self.block_len());
        self.next_block(invoke_id, 0, Transfer::Get(sender))
    }

    fn next_block(
        &mut self,
        invoke_id: InvokeId,
        arrived: u32,
        transfer: Transfer,
    ) -> Apdu<'static> {
        let block = match transfer {
            Transfer::Get(mut sender) => {
                let block = sender.block_after(arrived);
                self.session.transfer = Transfer::Get(sender);
                block
            }
            Transfer::Idle | Transfer::Set(..) | Transfer::Action(..) | Transfer::Returned(_) => {
                Err(BlockError::NotInProgress)
            }
        };
        Apdu::GetResponseWithDatablock(match block {
            Ok(block) => GetResponseWithDatablock {
                invoke_id,
                last: block.last,
                block: block.number,
                result: Ok(block.raw),
            },
            Err(error) => {
                self.session.transfer = Transfer::Idle;
                GetResponseWithDatablock {
                    invoke_id,
                    last: true,
                    block: arrived,
                    result: Err(error.get_result()),
                }
            }
        })
    }

    fn set_block(
        &mut self,
        invoke_id: InvokeId,
        targets: Targets<Place>,
        mut receiver: BlockReceiver,
        block: &DataBlock,
    ) -> Apdu<'static> {
        let number = block.number;
        if !receiver.is_repeat(block) {
            match receiver.handle_block(block) {
                Ok(Collected::Whole(raw)) => {
                    return self.set_whole(invoke_id, number, targets, &raw);
                }
                Ok(Collected::Part) => {}
                Err(error) => return set_refused(invoke_id, number, error.set_result()),
            }
        }
        self.session.transfer = Transfer::Set(targets, receiver);
        Apdu::SetResponseDatablock(SetResponseDatablock {
            invoke_id,
            block: number,
        })
    }

    fn set_whole(
        &mut self,
        invoke_id: InvokeId,
        block: u32,
        targets: Targets<Place>,
        raw: &[u8],
    ) -> Apdu<'static> {
        match targets {
            Targets::One((attribute, access)) => {
                let result = match Data::decode(raw) {
                    Ok(value) => self.set(attribute, access.as_ref(), &value),
                    Err(_) => DataAccessResult::TypeUnmatched,
                };
                Apdu::SetResponseLastDatablock(SetResponseLastDatablock {
                    invoke_id,
                    result,
                    block,
                })
            }
            Targets::List(places) => {
                let results = match decode_values(raw) {
                    Ok(values) if values.len() == places.len() => places
                        .iter()
                        .zip(&values)
                        .map(|((attribute, access), value)| {
                            self.set(*attribute, access.as_ref(), value)
                        })
                        .collect(),
                    Ok(_) | Err(_) => vec![DataAccessResult::TypeUnmatched; places.len()],
                };
                Apdu::SetResponseLastDatablockWithList(SetResponseLastDatablockWithList {
                    invoke_id,
                    results,
                    block,
                })
            }
        }
    }

    fn action_block(
        &mut self,
        invoke_id: InvokeId,
        targets: Targets<MethodDescriptor>,
        mut receiver: BlockReceiver,
        block: &DataBlock,
    ) -> Apdu<'static> {
        if !receiver.is_repeat(block) {
            match receiver.handle_block(block) {
                Ok(Collected::Whole(raw)) => return self.action_whole(invoke_id, targets, &raw),
                Ok(Collected::Part) => {}
                Err(error) => return action_refused(invoke_id, error.action_result()),
            }
        }
        self.session.transfer = Transfer::Action(targets, receiver);
        Apdu::ActionResponseNextPblock(ActionResponseNextPblock {
            invoke_id,
            block: block.number,
        })
    }

    fn action_whole(
        &mut self,
        invoke_id: InvokeId,
        targets: Targets<MethodDescriptor>,
        raw: &[u8],
    ) -> Apdu<'static> {
        match targets {
            Targets::One(method) => {
                let outcome = match Data::decode(raw) {
                    Ok(parameters) => self.invoke(method, Some(&parameters)),
                    Err(_) => (ActionResult::TypeUnmatched, None),
                };
                self.answer_action(invoke_id, outcome)
            }
            Targets::List(methods) => {
                let outcomes = match decode_values(raw) {
                    Ok(parameters) if parameters.len() == methods.len() => methods
                        .iter()
                        .zip(&parameters)
                        .map(|(method, parameters)| self.invoke(*method, present(parameters)))
                        .collect(),
                    Ok(_) | Err(_) => vec![(ActionResult::TypeUnmatched, None); methods.len()],
                };
                self.answer_actions(invoke_id, outcomes)
            }
        }
    }

    fn answer_action(&mut self, invoke_id: InvokeId, outcome: Outcome) -> Apdu<'static> {
        let raw = encode_outcome(&outcome);
        let (result, returned) = outcome;
        let answer = Apdu::ActionResponseNormal(ActionResponseNormal {
            invoke_id,
            result,
            returned,
        });
        if self.fits(&answer) {
            return answer;
        }
        self.first_pblock(invoke_id, raw).unwrap_or_else(|| {
            // The method has run: that must not be lost with what it returned.
            Apdu::ActionResponseNormal(ActionResponseNormal {
                invoke_id,
                result,
                returned: Some(Err(DataAccessResult::DataBlockUnavailable)),
            })
        })
    }

    fn answer_actions(&mut self, invoke_id: InvokeId, outcomes: Vec<Outcome>) -> Apdu<'static> {
        let raw = encode_outcomes(&outcomes);
        let answer = Apdu::ActionResponseWithList(ActionResponseWithList {
            invoke_id,
            outcomes,
        });
        if self.fits(&answer) {
            return answer;
        }
        self.first_pblock(invoke_id, raw)
            .unwrap_or_else(|| action_refused(invoke_id, ActionResult::LongActionAborted))
    }

    fn first_pblock(&mut self, invoke_id: InvokeId, raw: Vec<u8>) -> Option<Apdu<'static>> {
        let is_spoken = self
            .session
            .conformance
            .contains(Conformance::BLOCK_TRANSFER_WITH_ACTION);
        if !is_spoken || raw.len() > BLOCKS_BYTES_MAX {
            return None;
        }
        let sender = BlockSender::new(raw, self.block_len());
        Some(self.next_pblock(invoke_id, 0, Transfer::Returned(sender)))
    }

    fn next_pblock(
        &mut self,
        invoke_id: InvokeId,
        arrived: u32,
        transfer: Transfer,
    ) -> Apdu<'static> {
        let block = match transfer {
            Transfer::Returned(mut sender) => {
                let block = sender.block_after(arrived);
                self.session.transfer = Transfer::Returned(sender);
                block
            }
            Transfer::Idle | Transfer::Get(_) | Transfer::Set(..) | Transfer::Action(..) => {
                Err(BlockError::NotInProgress)
            }
        };
        match block {
            Ok(block) => {
                Apdu::ActionResponseWithPblock(ActionResponseWithPblock { invoke_id, block })
            }
            Err(error) => {
                self.session.transfer = Transfer::Idle;
                action_refused(invoke_id, error.action_result())
            }
        }
    }

    fn fits(&self, answer: &Apdu<'_>) -> bool {
        let mut out = Vec::new();
        answer.encode(&mut out);
        out.len() <= self.room
    }

    /// Bytes of a block's content that leave room for what stands around it.
    fn block_len(&self) -> usize {
        let content = self.room.saturating_sub(AROUND_BLOCK);
        let length = match content {
            0..=0x80 => 1,
            0x81..=0x101 => 2,
            _ => 3,
        };
        content.saturating_sub(length).clamp(1, BLOCKS_BYTES_MAX)
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

/// Tag, choice, invoke id, last, number and choice in front of a block's length.
const AROUND_BLOCK: usize = 9;

/// The answer to a service that nobody here speaks.
const UNKNOWN: ExceptionResponse = ExceptionResponse {
    state: StateError::ServiceUnknown,
    service: ServiceError::ServiceNotSupported,
};

/// Whether an answer is wanted.
const fn is_confirmed(invoke_id: InvokeId) -> bool {
    invoke_id.0 & 0x40 != 0
}

/// The parameters of a method in a list, where null-data stands for none.
fn present(parameters: &Data) -> Option<&Data> {
    (*parameters != Data::Null).then_some(parameters)
}

const fn set_refused(invoke_id: InvokeId, block: u32, result: DataAccessResult) -> Apdu<'static> {
    Apdu::SetResponseLastDatablock(SetResponseLastDatablock {
        invoke_id,
        result,
        block,
    })
}

const fn action_refused(invoke_id: InvokeId, result: ActionResult) -> Apdu<'static> {
    Apdu::ActionResponseNormal(ActionResponseNormal {
        invoke_id,
        result,
        returned: None,
    })
}
