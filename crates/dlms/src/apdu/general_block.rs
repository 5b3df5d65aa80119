//! General block transfer (IEC 62056-5-3, clauses 7.3.13 and 8.3): a part of any APDU, ciphered
//! or not.

use super::error::{ApduError, expect_tag};
use crate::axdr::{Decoder, Encoder};

/// A part of an APDU, and which parts of the other side's APDU have arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneralBlockTransfer {
    /// Whether nothing of the sender's APDU follows.
    pub last: bool,
    /// Whether the sender goes on without waiting for an answer.
    pub streaming: bool,
    /// How many blocks in a row the sender is ready to take, 0–63.
    pub window: u8,
    /// Its number; the first block has 1.
    pub number: u16,
    /// The highest number up to which all blocks of the other side have arrived; 0 for none.
    pub acknowledged: u16,
    /// Part of the APDU; empty if the sender has nothing to say but the acknowledgement.
    pub data: Vec<u8>,
}

impl GeneralBlockTransfer {
    /// The APDU's tag.
    pub const TAG: u8 = 0xE0;
    /// The widest window.
    pub const WINDOW_MAX: u8 = 63;
    /// Bytes around the data, when that is shorter than 64 KiB.
    pub const OVERHEAD_MAX: usize = 9;

    const LAST: u8 = 0x80;
    const STREAMING: u8 = 0x40;

    /// Appends the APDU to `out`.
    ///
    /// # Panics
    ///
    /// If the window is wider than [`Self::WINDOW_MAX`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        assert!(
            self.window <= Self::WINDOW_MAX,
            "a window of {} blocks does not fit six bits",
            self.window
        );
        let mut control = self.window;
        if self.last {
            control |= Self::LAST;
        }
        if self.streaming {
            control |= Self::STREAMING;
        }
        out.extend([Self::TAG, control]);
        out.extend(self.number.to_be_bytes());
        out.extend(self.acknowledged.to_be_bytes());
        Encoder::new(out).octets(&self.data);
    }

    /// Reads exactly one block.
    ///
    /// # Errors
    ///
    /// Anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, ApduError> {
        let mut decoder = Decoder::new(bytes);
        expect_tag(&mut decoder, Self::TAG)?;
        let control = decoder.byte()?;
        let block = Self {
            last: control & Self::LAST != 0,
            streaming: control & Self::STREAMING != 0,
            window: control & Self::WINDOW_MAX,
            number: u16::from_be_bytes(decoder.bytes()?),
            acknowledged: u16::from_be_bytes(decoder.bytes()?),
            data: decoder.octets()?.to_vec(),
        };
        decoder.finish()?;
        Ok(block)
    }
}
