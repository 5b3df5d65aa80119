//! One request: the APDUs it is cut into, and what its answers add up to.

use super::error::ClientError;
use super::request::{Request, Response};
use crate::apdu::{
    ActionRequestNextPblock, ActionRequestNormal, ActionRequestWithFirstPblock,
    ActionRequestWithPblock, ActionResult, Apdu, AttributeDescriptor, DataAccessResult, DataBlock,
    GetRequestNext, GetRequestNormal, GetRequestWithList, InvokeId, MethodDescriptor, Outcome,
    SelectiveAccess, SetRequestNormal, SetRequestWithDatablock, SetRequestWithFirstDatablock,
    SetRequestWithList, SetRequestWithListAndFirstDatablock, decode_outcome, decode_results,
    encode_values,
};
use crate::association::Conformance;
use crate::axdr::Data;
use crate::block::{BLOCKS_BYTES_MAX, BlockReceiver, BlockSender, Collected};

/// One request under way.
#[derive(Debug)]
pub(super) struct Exchange {
    invoke_id: InvokeId,
    question: Question,
    /// What goes out in blocks.
    sender: Option<BlockSender>,
    /// Bytes of it so far.
    sent: usize,
    /// What comes in in blocks.
    receiver: BlockReceiver,
}

/// What was asked, as far as the answers need it.
#[derive(Debug)]
enum Question {
    Get(AttributeDescriptor),
    GetList(Vec<AttributeDescriptor>),
    Set(AttributeDescriptor),
    SetList(Vec<AttributeDescriptor>),
    Invoke(MethodDescriptor),
}

/// What an answer leads to.
pub(super) enum Step {
    /// Ask on, or send the next block.
    Send {
        /// The next APDU in plaintext.
        apdu: Vec<u8>,
        /// Bytes of the value so far.
        bytes: usize,
    },
    /// The request has ended.
    Done(Result<Response, ClientError>),
    /// An answer to something else, or one that has come before: the true one may still come.
    Stale,
}

impl Exchange {
    /// The first APDU of a request.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotNegotiated`] or [`ClientError::TooLong`].
    pub(super) fn begin(
        request: Request,
        invoke_id: InvokeId,
        conformance: Conformance,
        room: usize,
    ) -> Result<(Self, Vec<u8>), ClientError> {
        check_services(&request, conformance)?;
        let question = Question::of(&request);
        let mut out = Vec::new();
        let mut sender = None;
        match request {
            Request::Get { attribute, access } => GetRequestNormal {
                invoke_id,
                attribute,
                access,
            }
            .encode(&mut out),
            Request::GetList(attributes) => GetRequestWithList {
                invoke_id,
                attributes,
            }
            .encode(&mut out),
            Request::Set {
                attribute,
                access,
                value,
            } => {
                let whole = SetRequestNormal {
                    invoke_id,
                    attribute,
                    access,
                    value,
                };
                whole.encode(&mut out);
                if out.len() > room && conformance.contains(Conformance::BLOCK_TRANSFER_WITH_SET) {
                    let SetRequestNormal { access, value, .. } = whole;
                    sender = blocks(value.encode(), room, &mut out, |block, out| {
                        SetRequestWithFirstDatablock {
                            invoke_id,
                            attribute,
                            access: access.clone(),
                            block,
                        }
                        .encode(out);
                    });
                }
            }
            Request::SetList(writes) => {
                let whole = SetRequestWithList { invoke_id, writes };
                whole.encode(&mut out);
                if out.len() > room && conformance.contains(Conformance::BLOCK_TRANSFER_WITH_SET) {
                    let mut attributes = Vec::with_capacity(whole.writes.len());
                    let mut values = Vec::with_capacity(whole.writes.len());
                    for (attribute, access, value) in whole.writes {
                        attributes.push((attribute, access));
                        values.push(value);
                    }
                    sender = blocks(encode_values(&values), room, &mut out, |block, out| {
                        SetRequestWithListAndFirstDatablock {
                            invoke_id,
                            attributes: attributes.clone(),
                            block,
                        }
                        .encode(out);
                    });
                }
            }
            Request::Invoke { method, parameters } => {
                let whole = ActionRequestNormal {
                    invoke_id,
                    method,
                    parameters,
                };
                whole.encode(&mut out);
                if out.len() > room && conformance.contains(Conformance::BLOCK_TRANSFER_WITH_ACTION)
                {
                    let raw = whole
                        .parameters
                        .map(|value| value.encode())
                        .unwrap_or_default();
                    sender = blocks(raw, room, &mut out, |block, out| {
                        ActionRequestWithFirstPblock {
                            invoke_id,
                            method,
                            block,
                        }
                        .encode(out);
                    });
                }
            }
        }
        if out.len() > room {
            return Err(ClientError::TooLong {
                bytes: out.len(),
                max: room,
            });
        }
        let exchange = Self {
            invoke_id,
            question,
            sent: sender.as_ref().map_or(0, |(_, sent)| *sent),
            sender: sender.map(|(sender, _)| sender),
            receiver: BlockReceiver::new(),
        };
        Ok((exchange, out))
    }

    /// Whether sending the last APDU again can change nothing.
    pub(super) const fn is_repeatable(&self) -> bool {
        matches!(self.question, Question::Get(_) | Question::GetList(_))
    }

    /// Takes an answer in plaintext that has been verified.
    pub(super) fn handle(&mut self, answer: Apdu<'_>) -> Step {
        if invoke_id_of(&answer).is_some_and(|id| id.number() != self.invoke_id.number()) {
            return Step::Stale;
        }
        match (&self.question, answer) {
            (Question::Get(attribute), Apdu::GetResponseNormal(answer)) => {
                Step::Done(value_of(answer.result, *attribute))
            }
            (Question::GetList(attributes), Apdu::GetResponseNormal(answer)) => {
                match (answer.result, attributes.first()) {
                    (Err(result), Some(attribute)) => {
                        Step::Done(Err(ClientError::Object(result, *attribute)))
                    }
                    (Err(_) | Ok(_), _) => unexpected("one value"),
                }
            }
            (Question::GetList(attributes), Apdu::GetResponseWithList(answer)) => {
                Step::Done(values_of(answer.results, attributes.len()))
            }
            (Question::Get(_) | Question::GetList(_), Apdu::GetResponseWithDatablock(answer)) => {
                match answer.result {
                    Ok(raw) => self.collect(&DataBlock {
                        last: answer.last,
                        number: answer.block,
                        raw,
                    }),
                    Err(result) => Step::Done(Err(self.question.refused(result))),
                }
            }
            (Question::Set(attribute), Apdu::SetResponseNormal(answer)) => {
                Step::Done(written(answer.result, *attribute))
            }
            (Question::Set(_) | Question::SetList(_), Apdu::SetResponseDatablock(answer)) => {
                self.send_after(answer.block)
            }
            (Question::Set(attribute), Apdu::SetResponseLastDatablock(answer)) => {
                Step::Done(written(answer.result, *attribute))
            }
            (Question::SetList(_), Apdu::SetResponseLastDatablock(answer)) => {
                Step::Done(Err(self.question.refused(answer.result)))
            }
            (Question::SetList(_), Apdu::SetResponseNormal(answer)) => {
                Step::Done(Err(self.question.refused(answer.result)))
            }
            (Question::SetList(attributes), Apdu::SetResponseWithList(answer)) => {
                Step::Done(written_list(answer.results, attributes.len()))
            }
            (Question::SetList(attributes), Apdu::SetResponseLastDatablockWithList(answer)) => {
                Step::Done(written_list(answer.results, attributes.len()))
            }
            (Question::Invoke(method), Apdu::ActionResponseNormal(answer)) => {
                Step::Done(invoked((answer.result, answer.returned), *method))
            }
            (Question::Invoke(_), Apdu::ActionResponseNextPblock(answer)) => {
                self.send_after(answer.block)
            }
            (Question::Invoke(_), Apdu::ActionResponseWithPblock(answer)) => {
                self.collect(&answer.block)
            }
            (_, _) => unexpected("another service"),
        }
    }

    /// The server has taken our block `arrived`.
    fn send_after(&mut self, arrived: u32) -> Step {
        let Some(sender) = &mut self.sender else {
            return unexpected("a block that was not sent");
        };
        if arrived < sender.given() {
            return Step::Stale;
        }
        let block = match sender.block_after(arrived) {
            Ok(block) => block,
            Err(_) => {
                return Step::Done(Err(ClientError::Blocks {
                    what: "the server confirmed a block that was not sent",
                }));
            }
        };
        self.sent += block.raw.len();
        let bytes = self.sent;
        let invoke_id = self.invoke_id;
        let mut apdu = Vec::new();
        match self.question {
            Question::Invoke(_) => ActionRequestWithPblock { invoke_id, block }.encode(&mut apdu),
            Question::Get(_) | Question::GetList(_) | Question::Set(_) | Question::SetList(_) => {
                SetRequestWithDatablock { invoke_id, block }.encode(&mut apdu);
            }
        }
        Step::Send { apdu, bytes }
    }

    /// A block of the answer has come.
    fn collect(&mut self, block: &DataBlock) -> Step {
        if self.receiver.is_repeat(block) {
            return Step::Stale;
        }
        let raw = match self.receiver.handle_block(block) {
            Ok(Collected::Part) => {
                let invoke_id = self.invoke_id;
                let block = block.number;
                let mut apdu = Vec::new();
                match self.question {
                    Question::Invoke(_) => {
                        ActionRequestNextPblock { invoke_id, block }.encode(&mut apdu);
                    }
                    Question::Get(_)
                    | Question::GetList(_)
                    | Question::Set(_)
                    | Question::SetList(_) => {
                        GetRequestNext { invoke_id, block }.encode(&mut apdu);
                    }
                }
                let bytes = self.receiver.collected_len();
                return Step::Send { apdu, bytes };
            }
            Ok(Collected::Whole(raw)) => raw,
            Err(_) => {
                return Step::Done(Err(ClientError::Blocks {
                    what: "a block is missing, doubled, empty, or one too many",
                }));
            }
        };
        Step::Done(match &self.question {
            Question::Get(_) | Question::Set(_) | Question::SetList(_) => {
                Data::decode(&raw).map(Response::Value).map_err(Into::into)
            }
            Question::GetList(attributes) => decode_results(&raw)
                .map_err(Into::into)
                .and_then(|results| values_of(results, attributes.len())),
            Question::Invoke(method) => decode_outcome(&raw)
                .map_err(Into::into)
                .and_then(|outcome| invoked(outcome, *method)),
        })
    }
}

impl Question {
    fn of(request: &Request) -> Self {
        match request {
            Request::Get { attribute, .. } => Self::Get(*attribute),
            Request::GetList(attributes) => {
                Self::GetList(attributes.iter().map(|(attribute, _)| *attribute).collect())
            }
            Request::Set { attribute, .. } => Self::Set(*attribute),
            Request::SetList(writes) => {
                Self::SetList(writes.iter().map(|(attribute, ..)| *attribute).collect())
            }
            Request::Invoke { method, .. } => Self::Invoke(*method),
        }
    }

    /// The error for a code that answers all of a request; of a list it names the first.
    fn refused(&self, result: DataAccessResult) -> ClientError {
        let attribute = match self {
            Self::Get(attribute) | Self::Set(attribute) => Some(attribute),
            Self::GetList(attributes) | Self::SetList(attributes) => attributes.first(),
            Self::Invoke(_) => None,
        };
        attribute.map_or(
            ClientError::Unexpected {
                what: "a result without an attribute",
            },
            |attribute| ClientError::Object(result, *attribute),
        )
    }
}

fn check_services(request: &Request, conformance: Conformance) -> Result<(), ClientError> {
    let selects = |access: &Option<SelectiveAccess>| access.is_some();
    let (service, name, is_list, is_selective) = match request {
        Request::Get { access, .. } => (Conformance::GET, "GET", false, selects(access)),
        Request::GetList(attributes) => {
            let is_selective = attributes.iter().any(|(_, access)| selects(access));
            (Conformance::GET, "GET", true, is_selective)
        }
        Request::Set { access, .. } => (Conformance::SET, "SET", false, selects(access)),
        Request::SetList(writes) => {
            let is_selective = writes.iter().any(|(_, access, _)| selects(access));
            (Conformance::SET, "SET", true, is_selective)
        }
        Request::Invoke { .. } => (Conformance::ACTION, "ACTION", false, false),
    };
    let checks = [
        (service, name, true),
        (Conformance::MULTIPLE_REFERENCES, "a list", is_list),
        (
            Conformance::SELECTIVE_ACCESS,
            "selective access",
            is_selective,
        ),
    ];
    for (needed, service, is_needed) in checks {
        if is_needed && !conformance.contains(needed) {
            return Err(ClientError::NotNegotiated { service });
        }
    }
    Ok(())
}

/// Cuts `raw` into blocks, the first of which goes out with the rest of the request.
/// `None`, with `out` as it was, if even that leaves no room.
fn blocks(
    raw: Vec<u8>,
    room: usize,
    out: &mut Vec<u8>,
    mut first: impl FnMut(DataBlock, &mut Vec<u8>),
) -> Option<(BlockSender, usize)> {
    let mut empty = Vec::new();
    first(
        DataBlock {
            last: false,
            number: 1,
            raw: Vec::new(),
        },
        &mut empty,
    );
    // A length of up to two more bytes, now that the block is not empty.
    let block_len = room.saturating_sub(empty.len() + 2);
    if block_len == 0 || raw.len() > BLOCKS_BYTES_MAX {
        return None;
    }
    let mut sender = BlockSender::new(raw, block_len.min(BLOCKS_BYTES_MAX));
    let block = sender.block_after(0).expect("a transfer has a first block");
    let sent = block.raw.len();
    out.clear();
    first(block, out);
    Some((sender, sent))
}

fn value_of(
    result: Result<Data, DataAccessResult>,
    attribute: AttributeDescriptor,
) -> Result<Response, ClientError> {
    result
        .map(Response::Value)
        .map_err(|result| ClientError::Object(result, attribute))
}

fn values_of(
    results: Vec<Result<Data, DataAccessResult>>,
    wanted: usize,
) -> Result<Response, ClientError> {
    if results.len() == wanted {
        Ok(Response::Values(results))
    } else {
        Err(ClientError::Unexpected {
            what: "another number of values",
        })
    }
}

fn written(
    result: DataAccessResult,
    attribute: AttributeDescriptor,
) -> Result<Response, ClientError> {
    if result == DataAccessResult::Success {
        Ok(Response::Written)
    } else {
        Err(ClientError::Object(result, attribute))
    }
}

fn written_list(results: Vec<DataAccessResult>, wanted: usize) -> Result<Response, ClientError> {
    if results.len() == wanted {
        Ok(Response::WrittenList(results))
    } else {
        Err(ClientError::Unexpected {
            what: "another number of results",
        })
    }
}

fn invoked(outcome: Outcome, method: MethodDescriptor) -> Result<Response, ClientError> {
    match outcome {
        (ActionResult::Success, None) => Ok(Response::Invoked(None)),
        (ActionResult::Success, Some(Ok(value))) => Ok(Response::Invoked(Some(value))),
        (ActionResult::Success, Some(Err(result))) => Err(ClientError::Returned(result, method)),
        (result, _) => Err(ClientError::Method(result, method)),
    }
}

const fn unexpected(what: &'static str) -> Step {
    Step::Done(Err(ClientError::Unexpected { what }))
}

/// By which an answer finds its request.
fn invoke_id_of(answer: &Apdu<'_>) -> Option<InvokeId> {
    Some(match answer {
        Apdu::GetResponseNormal(answer) => answer.invoke_id,
        Apdu::GetResponseWithDatablock(answer) => answer.invoke_id,
        Apdu::GetResponseWithList(answer) => answer.invoke_id,
        Apdu::SetResponseNormal(answer) => answer.invoke_id,
        Apdu::SetResponseDatablock(answer) => answer.invoke_id,
        Apdu::SetResponseLastDatablock(answer) => answer.invoke_id,
        Apdu::SetResponseLastDatablockWithList(answer) => answer.invoke_id,
        Apdu::SetResponseWithList(answer) => answer.invoke_id,
        Apdu::ActionResponseNormal(answer) => answer.invoke_id,
        Apdu::ActionResponseWithPblock(answer) => answer.invoke_id,
        Apdu::ActionResponseWithList(answer) => answer.invoke_id,
        Apdu::ActionResponseNextPblock(answer) => answer.invoke_id,
        Apdu::DataNotification(_)
        | Apdu::DataNotificationConfirm(_)
        | Apdu::EventNotification(_)
        | Apdu::GeneralBlockTransfer(_)
        | Apdu::ExceptionResponse(_)
        | Apdu::GetRequestNormal(_)
        | Apdu::GetRequestNext(_)
        | Apdu::GetRequestWithList(_)
        | Apdu::SetRequestNormal(_)
        | Apdu::SetRequestWithFirstDatablock(_)
        | Apdu::SetRequestWithDatablock(_)
        | Apdu::SetRequestWithList(_)
        | Apdu::SetRequestWithListAndFirstDatablock(_)
        | Apdu::ActionRequestNormal(_)
        | Apdu::ActionRequestNextPblock(_)
        | Apdu::ActionRequestWithList(_)
        | Apdu::ActionRequestWithFirstPblock(_)
        | Apdu::ActionRequestWithListAndFirstPblock(_)
        | Apdu::ActionRequestWithPblock(_) => return None,
    })
}
