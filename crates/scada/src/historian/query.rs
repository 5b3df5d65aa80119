//! What a point was, from its blocks.

use gridloom_core::UtcTime;

use super::block::{BlockError, BlockHead, Vertex, decode_block};
use super::class::Method;
use crate::fixed::divide_rounded;
use crate::point::Quality;

/// What the archive gives for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconstructed {
    /// Numbers in millionths; states and steps as they are.
    pub raw: i64,
    /// Its quality then.
    pub quality: Quality,
    /// How far a sample of that time may have been from it, in millionths.
    pub error: i64,
}

/// The blocks of one point, read.
#[derive(Debug, Clone, Default)]
pub struct Series {
    blocks: Vec<(BlockHead, Vec<Vertex>)>,
}

impl Series {
    /// Reads blocks of one point; their order does not matter.
    ///
    /// # Errors
    ///
    /// [`BlockError`] of the first that does not decode.
    pub fn read<'a>(blocks: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, BlockError> {
        let blocks: Result<Vec<_>, _> = blocks.into_iter().map(decode_block).collect();
        let mut blocks = blocks?;
        blocks.sort_by_key(|(head, _)| (head.first, head.last));
        Ok(Self { blocks })
    }

    /// How many samples the blocks stand for.
    pub fn samples(&self) -> u64 {
        self.blocks
            .iter()
            .map(|(head, _)| u64::from(head.samples))
            .sum()
    }

    /// What the point was at a time; `None` before the first sample, after the last, and where it
    /// was silent between two blocks.
    pub fn at(&self, time: UtcTime) -> Option<Reconstructed> {
        let after = self.blocks.partition_point(|(head, _)| head.first <= time);
        let (head, vertices) = self.blocks[..after]
            .iter()
            .rev()
            .find(|(head, _)| head.last >= time)?;
        let next = vertices.partition_point(|vertex| vertex.at <= time);
        let before = vertices[..next].last()?;
        let raw = match vertices.get(next) {
            Some(after) if head.method == Method::Lines && !after.is_start => {
                between(before, after, time)
            }
            _ => before.raw,
        };
        Some(Reconstructed {
            raw,
            quality: before.quality,
            error: head.error,
        })
    }

    /// Kept values from `from` to `to`, for a trend. A line leads to each from the one before,
    /// unless it is a start; a chart leaves a gap there.
    pub fn vertices(&self, from: UtcTime, to: UtcTime) -> impl Iterator<Item = &Vertex> {
        let blocks = self.blocks.iter();
        blocks
            .filter(move |(head, _)| head.first <= to && head.last >= from)
            .flat_map(|(_, vertices)| vertices)
            .filter(move |vertex| vertex.at >= from && vertex.at <= to)
    }
}

/// The point of a line, rounded to a millionth.
fn between(before: &Vertex, after: &Vertex, time: UtcTime) -> i64 {
    let run = i128::from(after.at.as_millis() - before.at.as_millis());
    let part = i128::from(time.as_millis() - before.at.as_millis());
    let rise = i128::from(after.raw) - i128::from(before.raw);
    let raw = divide_rounded(rise * part, run).map(|rise| i128::from(before.raw) + rise);
    raw.and_then(|raw| i64::try_from(raw).ok())
        .unwrap_or(before.raw)
}
