//! Answers whole or in blocks, and what comes in in blocks.

use super::Desk;
use crate::apdu::{
    ActionResponseNextPblock, ActionResponseNormal, ActionResponseWithList,
    ActionResponseWithPblock, ActionResult, Apdu, DataAccessResult, DataBlock, GetResponseNormal,
    GetResponseWithDatablock, GetResponseWithList, InvokeId, MethodDescriptor, Outcome,
    SetResponseDatablock, SetResponseLastDatablock, SetResponseLastDatablockWithList,
    decode_values, encode_outcome, encode_outcomes, encode_results,
};
use crate::association::Conformance;
use crate::axdr::Data;
use crate::block::{BLOCKS_BYTES_MAX, BlockError, BlockReceiver, BlockSender, Collected};
use crate::server::transfer::{Place, Targets, Transfer};

impl Desk<'_> {
    pub(super) fn answer_get(
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

    pub(super) fn answer_get_list(
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

    pub(super) fn next_block(
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

    pub(super) fn set_block(
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

    pub(super) fn action_block(
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

    pub(super) fn answer_action(&mut self, invoke_id: InvokeId, outcome: Outcome) -> Apdu<'static> {
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
        self.first_pblock(invoke_id, raw).unwrap_or(
            // The method has run: that must not be lost with what it returned.
            Apdu::ActionResponseNormal(ActionResponseNormal {
                invoke_id,
                result,
                returned: Some(Err(DataAccessResult::DataBlockUnavailable)),
            }),
        )
    }

    pub(super) fn answer_actions(
        &mut self,
        invoke_id: InvokeId,
        outcomes: Vec<Outcome>,
    ) -> Apdu<'static> {
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

    pub(super) fn next_pblock(
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

/// Tag, choice, invoke id, last, number and choice in front of a block's length.
const AROUND_BLOCK: usize = 9;

/// The parameters of a method in a list, where null-data stands for none.
pub(super) fn present(parameters: &Data) -> Option<&Data> {
    (*parameters != Data::Null).then_some(parameters)
}

pub(super) const fn set_refused(
    invoke_id: InvokeId,
    block: u32,
    result: DataAccessResult,
) -> Apdu<'static> {
    Apdu::SetResponseLastDatablock(SetResponseLastDatablock {
        invoke_id,
        result,
        block,
    })
}

pub(super) const fn action_refused(invoke_id: InvokeId, result: ActionResult) -> Apdu<'static> {
    Apdu::ActionResponseNormal(ActionResponseNormal {
        invoke_id,
        result,
        returned: None,
    })
}
