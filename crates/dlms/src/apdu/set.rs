//! The SET service: writing attributes (IEC 62056-5-3, clauses 7.3.3 and 8.3).

use super::error::ApduError;
use super::field::{AttributeDescriptor, DataAccessResult, InvokeId, SelectiveAccess};
use super::service::{DataBlock, Field, expect_variant, put_count, take_paired, variant};
use crate::axdr::{Data, Decoder};

/// Write one attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetRequestNormal {
    /// By which the answer finds it.
    pub invoke_id: InvokeId,
    /// What to write.
    pub attribute: AttributeDescriptor,
    /// Which part of it; all if `None`.
    pub access: Option<SelectiveAccess>,
    /// The new value.
    pub value: Data,
}

variant!(SetRequestNormal, 0xC1, 1, { invoke_id, attribute, access, value });

/// Write one attribute, whose encoded value follows in blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetRequestWithFirstDatablock {
    /// By which the answers find it.
    pub invoke_id: InvokeId,
    /// What to write.
    pub attribute: AttributeDescriptor,
    /// Which part of it; all if `None`.
    pub access: Option<SelectiveAccess>,
    /// The first part of the encoded value.
    pub block: DataBlock,
}

variant!(SetRequestWithFirstDatablock, 0xC1, 2, { invoke_id, attribute, access, block });

/// A further part of what is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetRequestWithDatablock {
    /// Of the first request.
    pub invoke_id: InvokeId,
    /// The part.
    pub block: DataBlock,
}

variant!(SetRequestWithDatablock, 0xC1, 3, { invoke_id, block });

/// Write several attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetRequestWithList {
    /// By which the answer finds it.
    pub invoke_id: InvokeId,
    /// What to write, which part of it is meant, and the new value. On the wire the values
    /// stand in a list of their own; a request with lists of unequal length is refused.
    pub writes: Vec<(AttributeDescriptor, Option<SelectiveAccess>, Data)>,
}

impl SetRequestWithList {
    /// The APDU's tag.
    pub const TAG: u8 = 0xC1;
    /// The number of the variant within its service.
    pub const CHOICE: u8 = 4;

    /// Appends the APDU to `out`.
    ///
    /// # Panics
    ///
    /// If there are more writes than [`LIST_MAX`](super::LIST_MAX), or a value is deeper than
    /// [`DEPTH_MAX`](crate::axdr::DEPTH_MAX).
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend([Self::TAG, Self::CHOICE]);
        self.invoke_id.put(out);
        put_count(self.writes.len(), out);
        for (attribute, access, _) in &self.writes {
            attribute.put(out);
            access.put(out);
        }
        put_count(self.writes.len(), out);
        for (_, _, value) in &self.writes {
            value.put(out);
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
        let attributes: Vec<(AttributeDescriptor, Option<SelectiveAccess>)> =
            Field::take(&mut decoder)?;
        let values = take_paired::<Data>(attributes.len(), &mut decoder)?;
        decoder.finish()?;
        Ok(Self {
            invoke_id,
            writes: attributes
                .into_iter()
                .zip(values)
                .map(|((attribute, access), value)| (attribute, access, value))
                .collect(),
        })
    }
}

/// Write several attributes, whose values follow in blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetRequestWithListAndFirstDatablock {
    /// By which the answers find it.
    pub invoke_id: InvokeId,
    /// What to write, each with the part of it that is meant.
    pub attributes: Vec<(AttributeDescriptor, Option<SelectiveAccess>)>,
    /// The first part of what [`encode_values`](super::encode_values) writes.
    pub block: DataBlock,
}

variant!(SetRequestWithListAndFirstDatablock, 0xC1, 5, { invoke_id, attributes, block });

/// Whether writing worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetResponseNormal {
    /// Of the request.
    pub invoke_id: InvokeId,
    /// What came of it.
    pub result: DataAccessResult,
}

variant!(SetResponseNormal, 0xC5, 1, { invoke_id, result });

/// A block has arrived, and the next one may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetResponseDatablock {
    /// Of the request.
    pub invoke_id: InvokeId,
    /// The number of the block that has arrived.
    pub block: u32,
}

variant!(SetResponseDatablock, 0xC5, 2, { invoke_id, block });

/// The last block has arrived, or the transfer is broken off: whether writing worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetResponseLastDatablock {
    /// Of the request.
    pub invoke_id: InvokeId,
    /// What came of it.
    pub result: DataAccessResult,
    /// The number of the block that is answered.
    pub block: u32,
}

variant!(SetResponseLastDatablock, 0xC5, 3, { invoke_id, result, block });

/// The last block has arrived: which writes worked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetResponseLastDatablockWithList {
    /// Of the request.
    pub invoke_id: InvokeId,
    /// What came of each write, in the request's order.
    pub results: Vec<DataAccessResult>,
    /// The number of the block that is answered.
    pub block: u32,
}

variant!(SetResponseLastDatablockWithList, 0xC5, 4, { invoke_id, results, block });

/// Which writes worked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetResponseWithList {
    /// Of the request.
    pub invoke_id: InvokeId,
    /// What came of each write, in the request's order.
    pub results: Vec<DataAccessResult>,
}

variant!(SetResponseWithList, 0xC5, 5, { invoke_id, results });
