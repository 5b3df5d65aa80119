//! The GET service: reading attributes (IEC 62056-5-3, clauses 7.3.2 and 8.3).

use super::field::{AttributeDescriptor, DataAccessResult, InvokeId, SelectiveAccess};
use super::service::variant;
use crate::axdr::Data;

/// Read one attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetRequestNormal {
    /// By which the answer finds it.
    pub invoke_id: InvokeId,
    /// What to read.
    pub attribute: AttributeDescriptor,
    /// Which part of it; all if `None`.
    pub access: Option<SelectiveAccess>,
}

variant!(GetRequestNormal, 0xC0, 1, { invoke_id, attribute, access });

/// Send the next block of what is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetRequestNext {
    /// Of the first request.
    pub invoke_id: InvokeId,
    /// The number of the block that has arrived.
    pub block: u32,
}

variant!(GetRequestNext, 0xC0, 2, { invoke_id, block });

/// Read several attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetRequestWithList {
    /// By which the answer finds it.
    pub invoke_id: InvokeId,
    /// What to read, each with the part of it that is meant.
    pub attributes: Vec<(AttributeDescriptor, Option<SelectiveAccess>)>,
}

variant!(GetRequestWithList, 0xC0, 3, { invoke_id, attributes });

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetResponseNormal {
    /// Of the request.
    pub invoke_id: InvokeId,
    /// The value, or why there is none.
    pub result: Result<Data, DataAccessResult>,
}

variant!(GetResponseNormal, 0xC4, 1, { invoke_id, result });

/// A part of what was read.
///
/// The parts together are the encoded value, or for a request with a list what
/// [`encode_results`](super::encode_results) writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetResponseWithDatablock {
    /// Of the request.
    pub invoke_id: InvokeId,
    /// Whether nothing follows. An error stands in a last block.
    pub last: bool,
    /// Its number; the first block has 1.
    pub block: u32,
    /// The part, or why there is none.
    pub result: Result<Vec<u8>, DataAccessResult>,
}

variant!(GetResponseWithDatablock, 0xC4, 2, { invoke_id, last, block, result });

/// What was read of several attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetResponseWithList {
    /// Of the request.
    pub invoke_id: InvokeId,
    /// In the request's order.
    pub results: Vec<Result<Data, DataAccessResult>>,
}

variant!(GetResponseWithList, 0xC4, 3, { invoke_id, results });
