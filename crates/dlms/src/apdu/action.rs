//! The ACTION service: invoking methods (IEC 62056-5-3, clauses 7.3.4 and 8.3).

use super::error::ApduError;
use super::field::{ActionResult, DataAccessResult, InvokeId, MethodDescriptor};
use super::service::{DataBlock, Field, expect_variant, put_count, take_paired, variant};
use crate::axdr::{Data, Decoder};

/// Invoke one method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionRequestNormal {
    /// By which the answer finds it.
    pub invoke_id: InvokeId,
    /// What to invoke.
    pub method: MethodDescriptor,
    /// With what.
    pub parameters: Option<Data>,
}

variant!(ActionRequestNormal, 0xC3, 1, { invoke_id, method, parameters });

/// Send the next block of what the method returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActionRequestNextPblock {
    /// Of the first request.
    pub invoke_id: InvokeId,
    /// The number of the block that has arrived.
    pub block: u32,
}

variant!(ActionRequestNextPblock, 0xC3, 2, { invoke_id, block });

/// Invoke several methods, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionRequestWithList {
    /// By which the answer finds it.
    pub invoke_id: InvokeId,
    /// What to invoke and with what: null data if the method takes nothing. On the wire the
    /// parameters stand in a list of their own; lists of unequal length are refused.
    pub invocations: Vec<(MethodDescriptor, Data)>,
}

impl ActionRequestWithList {
    /// The APDU's tag.
    pub const TAG: u8 = 0xC3;
    /// The number of the variant within its service.
    pub const CHOICE: u8 = 3;

    /// Appends the APDU to `out`.
    ///
    /// # Panics
    ///
    /// If there are more invocations than [`LIST_MAX`](super::LIST_MAX), or a value is deeper
    /// than [`DEPTH_MAX`](crate::axdr::DEPTH_MAX).
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend([Self::TAG, Self::CHOICE]);
        self.invoke_id.put(out);
        put_count(self.invocations.len(), out);
        for (method, _) in &self.invocations {
            method.put(out);
        }
        put_count(self.invocations.len(), out);
        for (_, parameters) in &self.invocations {
            parameters.put(out);
        }
    }

    /// Reads exactly one APDU of this variant.
    ///
    /// # Errors
    ///
    /// Anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, ApduError> {
        let mut decoder = Decoder::new(bytes);
        expect_variant(&mut decoder, Self::TAG, Self::CHOICE)?;
        let invoke_id = Field::take(&mut decoder)?;
        let methods: Vec<MethodDescriptor> = Field::take(&mut decoder)?;
        let parameters = take_paired::<Data>(methods.len(), &mut decoder)?;
        decoder.finish()?;
        Ok(Self {
            invoke_id,
            invocations: methods.into_iter().zip(parameters).collect(),
        })
    }
}

/// Invoke one method, whose encoded parameters follow in blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionRequestWithFirstPblock {
    /// By which the answers find it.
    pub invoke_id: InvokeId,
    /// What to invoke.
    pub method: MethodDescriptor,
    /// The first part of the encoded parameters.
    pub block: DataBlock,
}

variant!(ActionRequestWithFirstPblock, 0xC3, 4, { invoke_id, method, block });

/// Invoke several methods, whose parameters follow in blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionRequestWithListAndFirstPblock {
    /// By which the answers find it.
    pub invoke_id: InvokeId,
    /// What to invoke.
    pub methods: Vec<MethodDescriptor>,
    /// The first part of what [`encode_values`](super::encode_values) writes.
    pub block: DataBlock,
}

variant!(ActionRequestWithListAndFirstPblock, 0xC3, 5, { invoke_id, methods, block });

/// A further part of the parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionRequestWithPblock {
    /// Of the first request.
    pub invoke_id: InvokeId,
    /// The part.
    pub block: DataBlock,
}

variant!(ActionRequestWithPblock, 0xC3, 6, { invoke_id, block });

/// Whether a method worked, and what it returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionResponseNormal {
    /// Of the request.
    pub invoke_id: InvokeId,
    /// What came of it.
    pub result: ActionResult,
    /// What the method returned, or why that cannot be had.
    pub returned: Option<Result<Data, DataAccessResult>>,
}

variant!(ActionResponseNormal, 0xC7, 1, { invoke_id, result, returned });

/// A part of what methods returned.
///
/// The parts together are what [`encode_outcome`](super::encode_outcome) writes for one
/// method, [`encode_outcomes`](super::encode_outcomes) for several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionResponseWithPblock {
    /// Of the request.
    pub invoke_id: InvokeId,
    /// The part.
    pub block: DataBlock,
}

variant!(ActionResponseWithPblock, 0xC7, 2, { invoke_id, block });

/// Which methods worked, and what they returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionResponseWithList {
    /// Of the request.
    pub invoke_id: InvokeId,
    /// What came of each method and what it returned, in the request's order.
    pub outcomes: Vec<(ActionResult, Option<Result<Data, DataAccessResult>>)>,
}

variant!(ActionResponseWithList, 0xC7, 3, { invoke_id, outcomes });

/// A block has arrived, and the next one may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActionResponseNextPblock {
    /// Of the request.
    pub invoke_id: InvokeId,
    /// The number of the block that has arrived.
    pub block: u32,
}

variant!(ActionResponseNextPblock, 0xC7, 4, { invoke_id, block });
