//! General block transfer as a client does it: requests that are too long for the server go out
//! in its windows, answers come in ours.

use super::error::ClientError;
use crate::apdu::GeneralBlockTransfer;
use crate::gbt::{Confirmation, GbtNumbers, GbtReceived, GbtReceiver, GbtSender};

/// Blocks of the server that we take in a row.
const WINDOW: u8 = 16;

/// The one general block transfer that a request may have going on.
#[derive(Debug, Default)]
pub(super) enum General {
    /// None.
    #[default]
    Idle,
    /// The request goes out.
    Sending(Box<GbtSender>),
    /// The answer comes in.
    Receiving(Box<GbtReceiver>),
}

impl General {
    /// Begins to send `apdu`, and appends the first blocks to `out`. The server states its
    /// window with its first acknowledgement; until then one block goes at a time.
    ///
    /// # Errors
    ///
    /// [`ClientError::TooLong`].
    pub(super) fn send(
        &mut self,
        apdu: Vec<u8>,
        block_len: usize,
        out: &mut Vec<Vec<u8>>,
    ) -> Result<(), ClientError> {
        let bytes = apdu.len();
        let confirmation = Confirmation::Windows { peer: 1 };
        let numbers = GbtNumbers::default();
        let mut sender =
            GbtSender::new(apdu, block_len, confirmation, WINDOW, numbers).map_err(|_| {
                ClientError::TooLong {
                    bytes,
                    max: block_len.saturating_mul(usize::from(u16::MAX)),
                }
            })?;
        drain(&mut sender, out);
        *self = Self::Sending(Box::new(sender));
        Ok(())
    }

    /// Takes a block of the server, and appends what it leads to to `out`. The whole answer, if
    /// that was its last block.
    ///
    /// # Errors
    ///
    /// [`ClientError::Blocks`]; the transfer is over.
    pub(super) fn handle(
        &mut self,
        block: &GeneralBlockTransfer,
        out: &mut Vec<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>, ClientError> {
        let broken = |_| ClientError::Blocks {
            what: "the server broke off, or its blocks do not follow each other",
        };
        let receiver = match core::mem::take(self) {
            Self::Sending(mut sender) => {
                sender.handle_acknowledgement(block).map_err(broken)?;
                if block.data.is_empty() || !sender.is_finished() {
                    drain(&mut sender, out);
                    *self = Self::Sending(sender);
                    return Ok(None);
                }
                // What says that everything has arrived is the beginning of the answer.
                Box::new(GbtReceiver::new(WINDOW, sender.numbers()))
            }
            Self::Receiving(receiver) => receiver,
            Self::Idle => Box::new(GbtReceiver::new(WINDOW, GbtNumbers::default())),
        };
        self.receive(receiver, block, out).map_err(broken)
    }

    /// The server has been silent for too long: appends what may wake it to `out`. Whether
    /// there was anything to say.
    pub(super) fn handle_silence(&mut self, out: &mut Vec<Vec<u8>>) -> bool {
        match self {
            Self::Idle => {}
            Self::Sending(sender) => {
                if sender.handle_silence().is_ok() {
                    drain(sender, out);
                }
            }
            Self::Receiving(receiver) => {
                if let Ok(block) = receiver.handle_silence() {
                    push(&block, out);
                }
            }
        }
        !out.is_empty()
    }

    /// Bytes of the answer so far.
    pub(super) fn collected_len(&self) -> Option<usize> {
        match self {
            Self::Receiving(receiver) => Some(receiver.collected_len()),
            Self::Idle | Self::Sending(_) => None,
        }
    }

    fn receive(
        &mut self,
        mut receiver: Box<GbtReceiver>,
        block: &GeneralBlockTransfer,
        out: &mut Vec<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>, crate::gbt::GbtError> {
        match receiver.handle_block(block)? {
            // The server hears that it has arrived from the next request.
            GbtReceived::Whole { apdu, .. } => return Ok(Some(apdu)),
            GbtReceived::Waiting => {}
            GbtReceived::Acknowledge(block) => push(&block, out),
        }
        *self = Self::Receiving(receiver);
        Ok(None)
    }
}

fn drain(sender: &mut GbtSender, out: &mut Vec<Vec<u8>>) {
    while let Some(block) = sender.poll_block() {
        push(&block, out);
    }
}

fn push(block: &GeneralBlockTransfer, out: &mut Vec<Vec<u8>>) {
    let mut apdu = Vec::new();
    block.encode(&mut apdu);
    out.push(apdu);
}
