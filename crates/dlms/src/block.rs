//! Service-specific block transfer (IEC 62056-5-3, clause 7.4.1.8): a value that is longer than
//! one APDU goes block by block, and each block is asked for or confirmed before the next one.
//!
//! A GET, and what an ACTION returns, flow from server to client; a SET, and the parameters of
//! an ACTION, the other way. The same two machines serve both, since only the APDUs around the
//! blocks differ.

use crate::apdu::{ActionResult, DataAccessResult, DataBlock};

/// Bytes of a value in blocks: a receiver gives up above, a sender must not begin.
pub const BLOCKS_BYTES_MAX: usize = 1 << 20;

/// Why a block transfer ends before its last block. Nothing of it may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// A gap, a repeat, or an answer to a block that was not sent.
    #[error("block transfer: block {found} where {wanted} is due; start the transfer again")]
    WrongNumber {
        /// The number that is due.
        wanted: u32,
        /// The number that came.
        found: u32,
    },
    /// The last block has passed, or an error has ended the transfer.
    #[error("block transfer: none is going on; start it again")]
    NotInProgress,
    /// A block without data that is not the last one: such a transfer need never end.
    #[error("block transfer: block {number} is empty, but not the last one")]
    Empty {
        /// Which.
        number: u32,
    },
    /// More bytes than the receiver takes.
    #[error("block transfer: more than {max} bytes; read in smaller ranges")]
    TooLong {
        /// Bytes the receiver takes.
        max: usize,
    },
}

impl BlockError {
    /// What a server answers to a GET.
    pub const fn get_result(self) -> DataAccessResult {
        match self {
            Self::WrongNumber { .. } => DataAccessResult::DataBlockNumberInvalid,
            Self::NotInProgress => DataAccessResult::NoLongGetInProgress,
            Self::Empty { .. } | Self::TooLong { .. } => DataAccessResult::LongGetAborted,
        }
    }

    /// What a server answers to a SET.
    pub const fn set_result(self) -> DataAccessResult {
        match self {
            Self::WrongNumber { .. } => DataAccessResult::DataBlockNumberInvalid,
            Self::NotInProgress => DataAccessResult::NoLongSetInProgress,
            Self::Empty { .. } | Self::TooLong { .. } => DataAccessResult::LongSetAborted,
        }
    }

    /// What a server answers to an ACTION, which has no code for a wrong number.
    pub const fn action_result(self) -> ActionResult {
        match self {
            Self::NotInProgress => ActionResult::NoLongActionInProgress,
            Self::WrongNumber { .. } | Self::Empty { .. } | Self::TooLong { .. } => {
                ActionResult::LongActionAborted
            }
        }
    }
}

/// Splits an encoded value into blocks.
#[derive(Debug, Clone)]
pub struct BlockSender {
    bytes: Vec<u8>,
    block_len: usize,
    /// The number of the last block given out; 0 before the first one.
    given: u32,
    is_over: bool,
}

impl BlockSender {
    /// A transfer of `bytes` with at most `block_len` of them in a block.
    ///
    /// # Panics
    ///
    /// If `block_len` is 0, or there are more bytes than [`BLOCKS_BYTES_MAX`].
    pub fn new(bytes: Vec<u8>, block_len: usize) -> Self {
        assert!(block_len > 0, "a block carries at least one byte");
        assert!(
            bytes.len() <= BLOCKS_BYTES_MAX,
            "{} bytes in blocks, at most {BLOCKS_BYTES_MAX} are allowed",
            bytes.len()
        );
        Self {
            bytes,
            block_len,
            given: 0,
            is_over: false,
        }
    }

    /// The block that follows block `arrived`; the first one follows 0.
    ///
    /// Asking again for the block that was given last gives it again: the peer asks twice when
    /// the first answer was lost on its way.
    ///
    /// # Errors
    ///
    /// Any other number, which ends the transfer, and anything after that or after the last
    /// block has arrived.
    pub fn block_after(&mut self, arrived: u32) -> Result<DataBlock, BlockError> {
        let is_repeat = arrived.checked_add(1) == Some(self.given);
        if self.is_over || (arrived == self.given && self.is_last_given()) {
            self.end();
            return Err(BlockError::NotInProgress);
        }
        if arrived != self.given && !is_repeat {
            let wanted = self.given;
            self.end();
            return Err(BlockError::WrongNumber {
                wanted,
                found: arrived,
            });
        }
        self.given = arrived + 1;
        Ok(self.block(self.given))
    }

    /// Whether the last block has been given out; not so if the transfer was broken off.
    pub fn is_last_given(&self) -> bool {
        !self.is_over && self.given > 0 && self.end_of(self.given) >= self.bytes.len()
    }

    /// The number of the block given last; 0 before the first one.
    pub const fn given(&self) -> u32 {
        self.given
    }

    fn block(&self, number: u32) -> DataBlock {
        let end = self.end_of(number).min(self.bytes.len());
        let start = self.end_of(number - 1);
        DataBlock {
            last: end == self.bytes.len(),
            number,
            raw: self.bytes[start..end].to_vec(),
        }
    }

    fn end_of(&self, number: u32) -> usize {
        // At most one block past a megabyte: far from overflow on 32 bits, too.
        usize::try_from(number)
            .expect("a block number within a megabyte")
            .saturating_mul(self.block_len)
    }

    fn end(&mut self) {
        self.is_over = true;
        self.bytes = Vec::new();
    }
}

/// What a [`BlockReceiver`] has after a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Collected {
    /// Not all: ask for the next block, or confirm this one.
    Part,
    /// The whole encoded value.
    Whole(Vec<u8>),
}

/// Puts blocks together, in order, each once.
#[derive(Debug, Clone)]
pub struct BlockReceiver {
    bytes: Vec<u8>,
    bytes_max: usize,
    /// The number of the last block taken, and its length.
    taken: u32,
    taken_len: usize,
    is_over: bool,
}

impl Default for BlockReceiver {
    fn default() -> Self {
        Self::new()
    }
}

impl BlockReceiver {
    /// A receiver of at most [`BLOCKS_BYTES_MAX`] bytes.
    pub const fn new() -> Self {
        Self::with_max(BLOCKS_BYTES_MAX)
    }

    /// A receiver of at most `bytes_max` bytes: a meter has less memory than a head-end.
    pub const fn with_max(bytes_max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            bytes_max,
            taken: 0,
            taken_len: 0,
            is_over: false,
        }
    }

    /// Takes the next block; the first one has number 1.
    ///
    /// # Errors
    ///
    /// A gap or repeat, an empty block that is not the last one, or too many bytes: each ends
    /// the transfer. Then, and after the last block, nothing is taken any more.
    pub fn handle_block(&mut self, block: &DataBlock) -> Result<Collected, BlockError> {
        if self.is_over {
            return Err(BlockError::NotInProgress);
        }
        let refusal = if block.number != self.taken + 1 {
            Some(BlockError::WrongNumber {
                wanted: self.taken + 1,
                found: block.number,
            })
        } else if block.raw.is_empty() && !block.last {
            Some(BlockError::Empty {
                number: block.number,
            })
        } else if block.raw.len() > self.bytes_max - self.bytes.len() {
            Some(BlockError::TooLong {
                max: self.bytes_max,
            })
        } else {
            None
        };
        if let Some(error) = refusal {
            self.is_over = true;
            self.bytes = Vec::new();
            return Err(error);
        }
        self.bytes.extend_from_slice(&block.raw);
        self.taken = block.number;
        self.taken_len = block.raw.len();
        if block.last {
            self.is_over = true;
            return Ok(Collected::Whole(std::mem::take(&mut self.bytes)));
        }
        Ok(Collected::Part)
    }

    /// Whether `block` is the one taken last, come again because our answer was lost. It may be
    /// answered again; it must not be given to [`Self::handle_block`].
    pub fn is_repeat(&self, block: &DataBlock) -> bool {
        !self.is_over
            && block.number == self.taken
            && self.taken > 0
            && !block.last
            && block.raw.len() == self.taken_len
            && self.bytes.ends_with(&block.raw)
    }

    /// The number of the block taken last; 0 before the first one.
    pub const fn taken(&self) -> u32 {
        self.taken
    }

    /// Bytes collected so far; 0 once the transfer is over.
    pub fn collected_len(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect()
    }

    #[test]
    fn any_value_comes_whole_in_blocks_of_any_length() {
        for (len, block_len, blocks) in [
            (0, 10, 1),
            (1, 10, 1),
            (10, 10, 1),
            (11, 10, 2),
            (20, 10, 2),
            (100, 1, 100),
            (BLOCKS_BYTES_MAX, 1_000, 1_049),
        ] {
            let value = bytes(len);
            let mut sender = BlockSender::new(value.clone(), block_len);
            let mut receiver = BlockReceiver::new();
            let whole = loop {
                let block = sender.block_after(receiver.taken()).unwrap();
                assert!(block.raw.len() <= block_len);
                assert_eq!(block.last, sender.is_last_given());
                match receiver.handle_block(&block).unwrap() {
                    Collected::Part => {}
                    Collected::Whole(whole) => break whole,
                }
            };
            assert_eq!(whole, value, "{len} in {block_len}");
            assert_eq!(sender.given(), blocks, "{len} in {block_len}");
            assert_eq!(sender.block_after(blocks), Err(BlockError::NotInProgress));
            assert_eq!(sender.block_after(0), Err(BlockError::NotInProgress));
        }
    }

    #[test]
    fn an_answer_or_a_question_lost_once_is_repeated() {
        let value = bytes(50);
        for lost in 1..=5 {
            let mut sender = BlockSender::new(value.clone(), 10);
            let mut receiver = BlockReceiver::new();
            for number in 1..=5 {
                let block = sender.block_after(number - 1).unwrap();
                if number == lost {
                    // The block never arrived: the client asks again.
                    assert_eq!(sender.block_after(number - 1), Ok(block.clone()));
                }
                let collected = receiver.handle_block(&block).unwrap();
                assert_eq!(collected == Collected::Whole(value.clone()), number == 5);
                if number < 5 {
                    assert!(receiver.is_repeat(&block));
                }
            }
        }
    }

    #[test]
    fn another_block_than_the_next_ends_the_transfer() {
        let block = |number, last, raw: &[u8]| DataBlock {
            last,
            number,
            raw: raw.to_vec(),
        };
        let wrong = |wanted, found| BlockError::WrongNumber { wanted, found };
        let cases = [
            (block(1, false, &[1]), wrong(2, 1)), // Repeated.
            (block(3, false, &[1]), wrong(2, 3)), // Left out.
            (block(0, true, &[1]), wrong(2, 0)),  // Never sent.
            (block(2, false, &[]), BlockError::Empty { number: 2 }),
            (block(2, true, &[0; 4]), BlockError::TooLong { max: 4 }),
        ];
        for (bad, expected) in cases {
            let mut receiver = BlockReceiver::with_max(4);
            receiver.handle_block(&block(1, false, &[1])).unwrap();
            assert_eq!(receiver.handle_block(&bad), Err(expected));
            assert_eq!(receiver.collected_len(), 0);
            assert_eq!(
                receiver.handle_block(&block(2, true, &[2])),
                Err(BlockError::NotInProgress),
                "nothing is taken after {expected}"
            );
        }
        for arrived in [0, 1, 4, u32::MAX - 1, u32::MAX] {
            let mut sender = BlockSender::new(bytes(50), 10);
            for number in 0..3 {
                sender.block_after(number).unwrap();
            }
            assert_eq!(sender.block_after(arrived), Err(wrong(3, arrived)));
            assert!(!sender.is_last_given());
            assert_eq!(sender.block_after(3), Err(BlockError::NotInProgress));
        }
    }

    #[test]
    fn a_block_that_only_looks_like_the_last_is_no_repeat() {
        let block = |number, raw: &[u8]| DataBlock {
            last: false,
            number,
            raw: raw.to_vec(),
        };
        let mut receiver = BlockReceiver::new();
        assert!(!receiver.is_repeat(&block(0, &[])));
        receiver.handle_block(&block(1, &[1, 2])).unwrap();
        for (other, is_repeat) in [
            (block(1, &[1, 2]), true),
            (block(1, &[2]), false),
            (block(1, &[2, 2]), false),
            (block(2, &[1, 2]), false),
        ] {
            assert_eq!(receiver.is_repeat(&other), is_repeat, "{other:?}");
        }
    }

    #[test]
    fn each_service_has_its_own_refusal() {
        use {ActionResult as A, BlockError as E, DataAccessResult as D};
        let number = E::WrongNumber {
            wanted: 2,
            found: 3,
        };
        let invalid = D::DataBlockNumberInvalid;
        let cases = [
            (number, invalid, invalid, A::LongActionAborted),
            (
                E::NotInProgress,
                D::NoLongGetInProgress,
                D::NoLongSetInProgress,
                A::NoLongActionInProgress,
            ),
            (
                E::TooLong { max: 1 },
                D::LongGetAborted,
                D::LongSetAborted,
                A::LongActionAborted,
            ),
        ];
        for (error, get, set, action) in cases {
            assert_eq!(error.get_result(), get);
            assert_eq!(error.set_result(), set);
            assert_eq!(error.action_result(), action);
        }
    }
}
