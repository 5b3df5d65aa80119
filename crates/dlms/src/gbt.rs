//! General block transfer (IEC 62056-5-3, clause 7.4.1.9): any APDU, ciphered or not, in
//! numbered blocks. The sender streams a window of them, the receiver says up to which one
//! everything has arrived, and what was lost is sent again.
//!
//! Both machines are told when their host has waited too long (`handle_silence`); how long that
//! is, the link decides.

use std::collections::BTreeMap;

use crate::apdu::GeneralBlockTransfer;
use crate::block::BLOCKS_BYTES_MAX;

/// Times in a row that a window is sent, or asked for, again without progress; then the
/// transfer is given up.
pub const REPEATS_MAX: u8 = 8;

/// Why a general block transfer ends before its last block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GbtError {
    /// The APDU needs more blocks than there are numbers, or is longer than any receiver takes.
    #[error(
        "general block transfer: {bytes} bytes do not fit 65535 blocks of {block_len} bytes; \
         agree on a longer APDU"
    )]
    TooLongToSend {
        /// Bytes of the APDU.
        bytes: usize,
        /// Bytes of it in a block.
        block_len: usize,
    },
    /// More bytes than the receiver takes.
    #[error("general block transfer: more than {max} bytes; read in smaller ranges")]
    TooLong {
        /// Bytes the receiver takes.
        max: usize,
    },
    /// An acknowledgement of blocks that were never sent.
    #[error("general block transfer: block {acknowledged} is acknowledged, {sent} were sent")]
    AcknowledgesUnsent {
        /// Up to which block everything is said to have arrived.
        acknowledged: u16,
        /// The highest block sent.
        sent: u16,
    },
    /// A block farther ahead than any window reaches.
    #[error("general block transfer: block {number} after block {received}, beyond any window")]
    BeyondWindow {
        /// Its number.
        number: u16,
        /// Up to which block everything has arrived.
        received: u16,
    },
    /// A block after the last one, or a second last one.
    #[error("general block transfer: block {number} contradicts the last one, {last}")]
    AfterLast {
        /// Its number.
        number: u16,
        /// The number of the last block.
        last: u16,
    },
    /// Blocks of a sender that takes no acknowledgement were lost.
    #[error("general block transfer: block {number} was lost, and cannot be asked for again")]
    Lost {
        /// The first one.
        number: u16,
    },
    /// The peer breaks the transfer off.
    #[error("general block transfer: the peer broke it off")]
    Aborted,
    /// [`REPEATS_MAX`] repetitions brought nothing.
    #[error("general block transfer: no progress after block {number}; check the link")]
    Stalled {
        /// The last block that is known to have arrived.
        number: u16,
    },
}

/// Where both sides stand in their numbering, so that a response can go on where the
/// acknowledgements of its request ended. Every block of a side counts, empty ones too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GbtNumbers {
    /// The number of the last block that we sent, 0 if none.
    pub ours: u16,
    /// Up to which of the peer's blocks everything has arrived, 0 if none.
    pub theirs: u16,
}

/// Whether the peer acknowledges blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmation {
    /// As many blocks go out as its window holds.
    Windows {
        /// Blocks that the peer takes in a row; 0 is taken as 1. Each acknowledgement states
        /// it anew.
        peer: u8,
    },
    /// All blocks go out at once, as for a notification that nobody confirms.
    None,
}

/// Sends one APDU in blocks.
#[derive(Debug)]
pub struct GbtSender {
    apdu: Vec<u8>,
    block_len: usize,
    /// The number before the first block of the APDU, and that of its last one.
    start: u16,
    end: u16,
    /// The window that we state: how many blocks of the peer we take.
    own_window: u8,
    /// Up to which of the peer's blocks everything has arrived here.
    acknowledging: u16,
    confirmation: Confirmation,
    /// Up to which block everything has arrived.
    arrived: u16,
    /// The next block to send, and the last one of this window.
    next: u16,
    window_end: u16,
    /// The highest block ever sent.
    sent: u16,
    repeats: u8,
    /// The number and content of the last acknowledgement.
    heard: Option<(u16, u16)>,
    peer_counts: bool,
}

impl GbtSender {
    /// A transfer of `apdu` with at most `block_len` of its bytes in a block, which states
    /// `own_window` and goes on after `numbers`.
    ///
    /// # Errors
    ///
    /// [`GbtError::TooLongToSend`] if there are not enough block numbers, or more bytes than
    /// [`BLOCKS_BYTES_MAX`].
    ///
    /// # Panics
    ///
    /// If `own_window` is wider than [`GeneralBlockTransfer::WINDOW_MAX`].
    pub fn new(
        apdu: Vec<u8>,
        block_len: usize,
        confirmation: Confirmation,
        own_window: u8,
        numbers: GbtNumbers,
    ) -> Result<Self, GbtError> {
        assert!(
            own_window <= GeneralBlockTransfer::WINDOW_MAX,
            "a window of {own_window} blocks does not fit six bits"
        );
        let error = GbtError::TooLongToSend {
            bytes: apdu.len(),
            block_len,
        };
        if block_len == 0 || apdu.len() > BLOCKS_BYTES_MAX {
            return Err(error);
        }
        let blocks = apdu.len().div_ceil(block_len).max(1);
        let blocks = u16::try_from(blocks).map_err(|_| error)?;
        let end = numbers.ours.checked_add(blocks).ok_or(error)?;
        let mut sender = Self {
            apdu,
            block_len,
            start: numbers.ours,
            end,
            own_window,
            acknowledging: numbers.theirs,
            confirmation,
            arrived: numbers.ours,
            next: numbers.ours,
            window_end: 0,
            sent: numbers.ours,
            repeats: 0,
            heard: None,
            peer_counts: false,
        };
        sender.open_window();
        Ok(sender)
    }

    /// The next block to send, until the window is full.
    pub fn poll_block(&mut self) -> Option<GeneralBlockTransfer> {
        if self.is_finished() || self.next > self.window_end {
            return None;
        }
        let number = self.next;
        // The last block has no number after it when all numbers are used.
        let is_window_end = number == self.window_end;
        if is_window_end {
            self.window_end = 0;
        } else {
            self.next += 1;
        }
        self.sent = self.sent.max(number);
        // Up to `start` stood acknowledgements, which carry nothing.
        let data = number.checked_sub(self.start + 1).map_or(&[][..], |index| {
            let start = usize::from(index) * self.block_len;
            &self.apdu[start..(start + self.block_len).min(self.apdu.len())]
        });
        Some(GeneralBlockTransfer {
            last: number == self.end,
            streaming: !is_window_end,
            window: match self.confirmation {
                Confirmation::Windows { .. } => self.own_window,
                Confirmation::None => 0,
            },
            number,
            acknowledged: self.acknowledging,
            data: data.to_vec(),
        })
    }

    /// The peer says up to which block everything has arrived: the rest of what was sent goes
    /// out again, then more. Its own data, if there is any, is the caller's.
    ///
    /// A repeat of the acknowledgement before is left alone if the peer numbers its own: the
    /// link doubled it, and answering would double every window after it. A repeat with data is
    /// no such thing: the peer sends it again because it has not heard us.
    ///
    /// # Errors
    ///
    /// An acknowledgement of blocks never sent, the peer's abort, or no progress for too long.
    pub fn handle_acknowledgement(&mut self, block: &GeneralBlockTransfer) -> Result<(), GbtError> {
        if is_abort(block) {
            return Err(GbtError::Aborted);
        }
        if block.data.is_empty() {
            self.acknowledging = self.acknowledging.max(block.number);
        }
        if self.is_finished() {
            return Ok(()); // It may acknowledge our acknowledgements by now.
        }
        if block.acknowledged > self.sent {
            return Err(GbtError::AcknowledgesUnsent {
                acknowledged: block.acknowledged,
                sent: self.sent,
            });
        }
        let said = (block.number, block.acknowledged);
        let is_doubled = self.heard == Some(said) && self.peer_counts && block.data.is_empty();
        self.peer_counts |= self.heard.is_some_and(|(number, _)| number != block.number);
        self.heard = Some(said);
        // Until something of ours has arrived, even our acknowledgements may have been lost.
        if self.arrived == self.start {
            self.arrived = self.arrived.min(block.acknowledged);
        }
        if is_doubled || block.acknowledged < self.arrived {
            return Ok(()); // Overtaken by a later one.
        }
        if let Confirmation::Windows { peer } = &mut self.confirmation {
            *peer = block.window;
        }
        if block.acknowledged > self.arrived {
            self.arrived = block.acknowledged;
            self.repeats = 0;
        } else {
            self.spend_repeat()?;
        }
        self.open_window();
        Ok(())
    }

    /// The peer has not answered for too long: the first block that is not known to have arrived
    /// goes out again, alone, so that the peer must answer it and says what it has.
    ///
    /// # Errors
    ///
    /// [`GbtError::Stalled`] after [`REPEATS_MAX`] times without progress.
    pub fn handle_silence(&mut self) -> Result<(), GbtError> {
        if !self.is_finished() {
            self.spend_repeat()?;
            self.open_window();
            self.window_end = self.next;
        }
        Ok(())
    }

    /// Whether every block has arrived, or has been sent if nobody confirms.
    pub const fn is_finished(&self) -> bool {
        match self.confirmation {
            Confirmation::Windows { .. } => self.arrived == self.end,
            Confirmation::None => self.sent == self.end,
        }
    }

    /// Where both sides stand, for the receiver of what the peer answers. Only acknowledgements
    /// count here: a block with data is the receiver's, even if it is the one that says that
    /// everything of ours has arrived.
    pub const fn numbers(&self) -> GbtNumbers {
        GbtNumbers {
            ours: self.sent,
            theirs: self.acknowledging,
        }
    }

    fn open_window(&mut self) {
        if self.is_finished() {
            return;
        }
        let width = match self.confirmation {
            Confirmation::Windows { peer } => u16::from(peer.max(1)),
            Confirmation::None => u16::MAX,
        };
        self.next = self.arrived + 1;
        self.window_end = self.arrived.saturating_add(width).min(self.end);
    }

    fn spend_repeat(&mut self) -> Result<(), GbtError> {
        if self.repeats == REPEATS_MAX {
            return Err(GbtError::Stalled {
                number: self.arrived,
            });
        }
        self.repeats += 1;
        Ok(())
    }
}

/// What a [`GbtReceiver`] has after a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GbtReceived {
    /// More blocks are under way.
    Waiting,
    /// The peer waits for this answer.
    Acknowledge(GeneralBlockTransfer),
    /// The whole APDU.
    Whole {
        /// The APDU.
        apdu: Vec<u8>,
        /// Tells the peer so. A client that received a response may leave it unsent; a server
        /// that answers in blocks says the same with its first one.
        acknowledgement: GeneralBlockTransfer,
    },
}

/// Receives one APDU in blocks, which may come doubled, late, in another order, or not at all.
#[derive(Debug)]
pub struct GbtReceiver {
    window: u8,
    bytes_max: usize,
    bytes: Vec<u8>,
    /// Up to which block everything has arrived.
    received: u16,
    /// Blocks that wait for one before them; all within a window of `received`.
    held: BTreeMap<u16, Vec<u8>>,
    held_len: usize,
    /// The number of the last block, once it came.
    last: Option<u16>,
    /// The number of our last acknowledgement.
    number: u16,
    repeats: u8,
    is_whole: bool,
}

impl GbtReceiver {
    /// A receiver that takes `window` blocks in a row and [`BLOCKS_BYTES_MAX`] bytes, and goes
    /// on after `numbers`.
    ///
    /// # Panics
    ///
    /// If `window` is not 1 to [`GeneralBlockTransfer::WINDOW_MAX`].
    pub fn new(window: u8, numbers: GbtNumbers) -> Self {
        Self::with_max(window, numbers, BLOCKS_BYTES_MAX)
    }

    /// A receiver of at most `bytes_max` bytes: a meter has less memory than a head-end.
    ///
    /// # Panics
    ///
    /// If `window` is not 1 to [`GeneralBlockTransfer::WINDOW_MAX`].
    pub fn with_max(window: u8, numbers: GbtNumbers, bytes_max: usize) -> Self {
        assert!(
            (1..=GeneralBlockTransfer::WINDOW_MAX).contains(&window),
            "a receiver's window is 1 to 63 blocks, not {window}"
        );
        Self {
            window,
            bytes_max,
            bytes: Vec::new(),
            received: numbers.theirs,
            held: BTreeMap::new(),
            held_len: 0,
            last: None,
            number: numbers.ours,
            repeats: 0,
            is_whole: false,
        }
    }

    /// Takes a block.
    ///
    /// # Errors
    ///
    /// A block that no sender sends here, too many bytes, blocks lost for good, or the peer's
    /// abort. The transfer is over then.
    pub fn handle_block(&mut self, block: &GeneralBlockTransfer) -> Result<GbtReceived, GbtError> {
        if is_abort(block) {
            return Err(GbtError::Aborted);
        }
        self.check(block)?;
        if block.number > self.received && !self.held.contains_key(&block.number) {
            self.take(block)?;
        }
        if self.last == Some(self.received) && !self.is_whole {
            self.is_whole = true;
            return Ok(GbtReceived::Whole {
                apdu: std::mem::take(&mut self.bytes),
                acknowledgement: self.acknowledgement(),
            });
        }
        if block.streaming || (block.window == 0 && self.is_whole) {
            return Ok(GbtReceived::Waiting);
        }
        if block.window == 0 {
            // The sender takes no answer, and this was its last block.
            return Err(GbtError::Lost {
                number: self.received.saturating_add(1),
            });
        }
        Ok(GbtReceived::Acknowledge(self.acknowledgement()))
    }

    /// No block has come for too long: what to send to the peer.
    ///
    /// # Errors
    ///
    /// [`GbtError::Stalled`] after [`REPEATS_MAX`] times without progress.
    pub fn handle_silence(&mut self) -> Result<GeneralBlockTransfer, GbtError> {
        if self.repeats == REPEATS_MAX {
            return Err(GbtError::Stalled {
                number: self.received,
            });
        }
        self.repeats += 1;
        Ok(self.acknowledgement())
    }

    /// Up to which block everything has arrived.
    pub const fn received(&self) -> u16 {
        self.received
    }

    /// Where both sides stand, for the sender of our answer.
    pub const fn numbers(&self) -> GbtNumbers {
        GbtNumbers {
            ours: self.number,
            theirs: self.received,
        }
    }

    /// Bytes collected so far; 0 once the APDU is whole.
    pub fn collected_len(&self) -> usize {
        self.bytes.len()
    }

    fn check(&self, block: &GeneralBlockTransfer) -> Result<(), GbtError> {
        let number = block.number;
        if number > self.received && number - self.received > Self::AHEAD_MAX {
            return Err(GbtError::BeyondWindow {
                number,
                received: self.received,
            });
        }
        let highest = self.held.keys().next_back().copied();
        let highest = highest.unwrap_or(self.received);
        let contradicts = match self.last {
            Some(last) => number > last || (block.last && number != last),
            None => block.last && number < highest,
        };
        if contradicts {
            return Err(GbtError::AfterLast {
                number,
                last: self.last.unwrap_or(number),
            });
        }
        Ok(())
    }

    /// How far ahead of what has arrived a block is kept: the widest window, whatever ours is,
    /// because senders exist that stream their own.
    const AHEAD_MAX: u16 = GeneralBlockTransfer::WINDOW_MAX as u16;

    fn take(&mut self, block: &GeneralBlockTransfer) -> Result<(), GbtError> {
        if block.data.len() > self.bytes_max - self.bytes.len() - self.held_len {
            return Err(GbtError::TooLong {
                max: self.bytes_max,
            });
        }
        if block.last {
            self.last = Some(block.number);
        }
        self.held_len += block.data.len();
        self.held.insert(block.number, block.data.clone());
        while let Some(entry) = self.held.first_entry() {
            if *entry.key() != self.received + 1 {
                break;
            }
            let data = entry.remove();
            self.held_len -= data.len();
            self.bytes.extend_from_slice(&data);
            self.received += 1;
            self.repeats = 0;
        }
        Ok(())
    }

    /// Asks for a whole window, or for just the blocks that were lost.
    fn acknowledgement(&mut self) -> GeneralBlockTransfer {
        // The number only has to differ from the one before.
        self.number = self.number.checked_add(1).unwrap_or(1);
        let gap = self.held.keys().next().map(|held| held - self.received - 1);
        GeneralBlockTransfer {
            last: true,
            streaming: false,
            window: gap
                .and_then(|gap| u8::try_from(gap).ok())
                .map_or(self.window, |gap| gap.min(self.window)),
            number: self.number,
            acknowledged: self.received,
            data: Vec::new(),
        }
    }
}

/// The block by which either side breaks a transfer off.
pub const fn abort() -> GeneralBlockTransfer {
    GeneralBlockTransfer {
        last: true,
        streaming: false,
        window: 0,
        number: 0,
        acknowledged: 0,
        data: Vec::new(),
    }
}

/// Blocks are numbered from 1.
const fn is_abort(block: &GeneralBlockTransfer) -> bool {
    block.number == 0
}
