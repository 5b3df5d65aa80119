//! The blocks of one image, kept in segments of a memory cell each.

use crate::objects::retained::{Keeper, Kept, RetainedError};

/// Bytes of an image; a longer one is refused when it is announced.
pub const IMAGE_BYTES_MAX: u32 = 1 << 20;
/// Bytes of the blocks in one memory cell: what is rewritten when a block arrives.
pub const SEGMENT_BYTES: usize = 1 << 13;
/// Segments of an image.
pub const SEGMENTS_MAX: usize = 128;

const BLOCK_BYTES_MIN: u32 = 64;
const VERSION: u8 = 1;
const OBJECT: &str = "image-segment";

/// The blocks that have arrived.
#[derive(Debug, Clone)]
pub(super) struct Blocks {
    block_size: u32,
    /// Counts the announcements: a segment of an earlier one is not taken for this one's.
    transfer: u32,
    size: u32,
    /// One place for each block of the image.
    places: Vec<Option<Box<[u8]>>>,
}

impl Blocks {
    pub(super) fn new(block_size: u32) -> Self {
        let most = u32::try_from(SEGMENT_BYTES).expect("a segment is small");
        assert!(
            block_size.is_power_of_two() && (BLOCK_BYTES_MIN..=most).contains(&block_size),
            "an image block has a power of two of bytes, {BLOCK_BYTES_MIN} to {SEGMENT_BYTES}"
        );
        Self {
            block_size,
            transfer: 0,
            size: 0,
            places: Vec::new(),
        }
    }

    pub(super) const fn block_size(&self) -> u32 {
        self.block_size
    }

    pub(super) const fn transfer(&self) -> u32 {
        self.transfer
    }

    pub(super) const fn size(&self) -> u32 {
        self.size
    }

    /// Begins an image; `false` where it is empty or too large.
    pub(super) fn begin(&mut self, size: u32) -> bool {
        if size == 0 || !self.resume(self.transfer.wrapping_add(1), size) {
            return false;
        }
        true
    }

    /// Goes on with an image of which no block is known yet.
    pub(super) fn resume(&mut self, transfer: u32, size: u32) -> bool {
        if size > IMAGE_BYTES_MAX {
            return false;
        }
        self.transfer = transfer;
        self.size = size;
        let count = usize::try_from(size.div_ceil(self.block_size)).expect("at most 2^14 blocks");
        self.places = vec![None; count];
        true
    }

    /// The image is not wanted any more.
    pub(super) fn forget(&mut self) {
        self.size = 0;
        self.places = Vec::new();
    }

    /// Takes a block and says in which segment it is; `None` where the image has no such block.
    pub(super) fn take(&mut self, number: u32, bytes: &[u8]) -> Option<usize> {
        let place = usize::try_from(number).ok()?;
        if place >= self.places.len() || bytes.len() != self.length_of(place) {
            return None;
        }
        self.places[place] = Some(bytes.into());
        Some(place / self.per_segment())
    }

    /// The number of the first block that has not arrived; the number of blocks if all have.
    pub(super) fn first_missing(&self) -> u32 {
        let missing = self.places.iter().position(Option::is_none);
        u32::try_from(missing.unwrap_or(self.places.len())).expect("at most 2^14 blocks")
    }

    /// One bit for each block, the first in the highest bit of the first byte.
    pub(super) fn bitmap(&self) -> (usize, Vec<u8>) {
        let byte = |eight: &[Option<Box<[u8]>>]| {
            eight
                .iter()
                .enumerate()
                .filter(|(_, block)| block.is_some())
                .fold(0, |byte, (place, _)| byte | 0x80 >> place)
        };
        (self.places.len(), self.places.chunks(8).map(byte).collect())
    }

    /// The whole image; `None` while a block is missing or none is announced.
    pub(super) fn image(&self) -> Option<Vec<u8>> {
        if self.places.is_empty() {
            return None;
        }
        let blocks: Option<Vec<&[u8]>> = self.places.iter().map(Option::as_deref).collect();
        Some(blocks?.concat())
    }

    pub(super) fn encode_segment(&self, segment: usize, out: &mut Vec<u8>) {
        let first = segment * self.per_segment();
        let last = (first + self.per_segment()).min(self.places.len());
        let mut keeper = Keeper::new(VERSION, out);
        keeper.put(self.transfer.to_be_bytes());
        let arrived: Vec<(usize, &[u8])> = (first..last)
            .filter_map(|place| Some((place, self.places[place].as_deref()?)))
            .collect();
        keeper.list(arrived.into_iter(), |keeper, (place, bytes)| {
            let number = u32::try_from(place).expect("at most 2^14 blocks");
            keeper.put(number.to_be_bytes());
            keeper.octets(bytes);
        });
    }

    pub(super) fn restore_segment(&mut self, bytes: &[u8]) -> Result<(), RetainedError> {
        let mut kept = Kept::open(OBJECT, VERSION, bytes)?;
        let transfer = kept.u32()?;
        let blocks = kept.list("blocks", self.per_segment(), |kept| {
            Ok((kept.u32()?, kept.octets("block", SEGMENT_BYTES)?))
        })?;
        if transfer == self.transfer && !self.places.is_empty() {
            for (number, bytes) in blocks {
                kept.require(self.take(number, bytes).is_some(), "block")?;
            }
        }
        kept.finish()
    }

    fn per_segment(&self) -> usize {
        SEGMENT_BYTES / usize::try_from(self.block_size).expect("a block fits a segment")
    }

    fn length_of(&self, place: usize) -> usize {
        let block = usize::try_from(self.block_size).expect("a block fits a segment");
        let size = usize::try_from(self.size).expect("an image has at most 1 MiB");
        (size - place * block).min(block)
    }
}
