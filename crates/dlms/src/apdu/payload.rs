//! What the blocks of a service's own block transfer add up to, when that is a list.
//!
//! A single value in blocks is plain [`Data`](crate::axdr::Data).

use super::error::ApduError;
use super::field::{ActionResult, DataAccessResult};
use super::service::{Field, put_count};
use crate::axdr::{Data, Decoder};

/// What came of one method, and what it returned.
pub type Outcome = (ActionResult, Option<Result<Data, DataAccessResult>>);

/// The values of a SET, or the parameters of an ACTION, with a list.
///
/// # Panics
///
/// Above [`LIST_MAX`](super::LIST_MAX) values.
pub fn encode_values(values: &[Data]) -> Vec<u8> {
    encode_list(values)
}

/// Reads what [`encode_values`] writes.
///
/// # Errors
///
/// Anything else.
pub fn decode_values(bytes: &[u8]) -> Result<Vec<Data>, ApduError> {
    decode(bytes)
}

/// The results of a GET with a list.
///
/// # Panics
///
/// Above [`LIST_MAX`](super::LIST_MAX) results.
pub fn encode_results(results: &[Result<Data, DataAccessResult>]) -> Vec<u8> {
    encode_list(results)
}

/// Reads what [`encode_results`] writes.
///
/// # Errors
///
/// Anything else.
pub fn decode_results(bytes: &[u8]) -> Result<Vec<Result<Data, DataAccessResult>>, ApduError> {
    decode(bytes)
}

/// What an ACTION with one method returns in blocks.
pub fn encode_outcome(outcome: &Outcome) -> Vec<u8> {
    let mut out = Vec::new();
    outcome.put(&mut out);
    out
}

/// Reads what [`encode_outcome`] writes.
///
/// # Errors
///
/// Anything else.
pub fn decode_outcome(bytes: &[u8]) -> Result<Outcome, ApduError> {
    decode(bytes)
}

/// What an ACTION with a list returns in blocks.
///
/// # Panics
///
/// Above [`LIST_MAX`](super::LIST_MAX) outcomes.
pub fn encode_outcomes(outcomes: &[Outcome]) -> Vec<u8> {
    encode_list(outcomes)
}

/// Reads what [`encode_outcomes`] writes.
///
/// # Errors
///
/// Anything else.
pub fn decode_outcomes(bytes: &[u8]) -> Result<Vec<Outcome>, ApduError> {
    decode(bytes)
}

fn encode_list<T: Field>(list: &[T]) -> Vec<u8> {
    let mut out = Vec::new();
    put_count(list.len(), &mut out);
    for entry in list {
        entry.put(&mut out);
    }
    out
}

fn decode<T: Field>(bytes: &[u8]) -> Result<T, ApduError> {
    let mut decoder = Decoder::new(bytes);
    let field = T::take(&mut decoder)?;
    decoder.finish()?;
    Ok(field)
}
