//! General block transfer as a server does it: each request gets one answer, so of our own
//! blocks one goes out at a time, whatever window the client states.

use crate::apdu::GeneralBlockTransfer;
use crate::gbt::{Confirmation, GbtNumbers, GbtReceived, GbtReceiver, GbtSender, abort};

/// Blocks of a client that the server takes in a row, and answers once.
const WINDOW: u8 = 16;

/// The one general block transfer that an association may have going on.
#[derive(Debug, Default)]
pub(super) enum General {
    /// None.
    #[default]
    Idle,
    /// A request comes in.
    Receiving(Box<GbtReceiver>),
    /// An answer goes out.
    Sending(Box<GbtSender>),
}

/// What a block leads to.
pub(super) enum Heard {
    /// To this answer, if to any.
    Answer(Option<GeneralBlockTransfer>),
    /// To a whole request, after which both sides stand here in their numbers.
    Request(Vec<u8>, GbtNumbers),
}

impl General {
    /// Takes a block of the client.
    pub(super) fn handle(&mut self, block: &GeneralBlockTransfer) -> Heard {
        match core::mem::take(self) {
            // The first block of a new request ends what was going out.
            Self::Sending(mut sender) if block.number > 1 || block.data.is_empty() => {
                let one = GeneralBlockTransfer {
                    window: block.window.min(1),
                    ..block.clone()
                };
                let answer = match sender.handle_acknowledgement(&one) {
                    Ok(()) => sender.poll_block(),
                    Err(_) => return Heard::Answer(Some(abort())),
                };
                if !sender.is_finished() {
                    *self = Self::Sending(sender);
                }
                Heard::Answer(answer)
            }
            Self::Receiving(receiver) => self.receive(receiver, block),
            Self::Idle | Self::Sending(_) => {
                let receiver = GbtReceiver::new(WINDOW, GbtNumbers::default());
                self.receive(Box::new(receiver), block)
            }
        }
    }

    /// The first block of an answer.
    pub(super) fn answer(
        &mut self,
        apdu: Vec<u8>,
        block_len: usize,
        numbers: GbtNumbers,
    ) -> GeneralBlockTransfer {
        let confirmation = Confirmation::Windows { peer: 1 };
        match GbtSender::new(apdu, block_len, confirmation, WINDOW, numbers) {
            Ok(mut sender) => {
                let block = sender.poll_block().expect("a transfer has a first block");
                *self = Self::Sending(Box::new(sender));
                block
            }
            Err(_) => abort(),
        }
    }

    fn receive(&mut self, mut receiver: Box<GbtReceiver>, block: &GeneralBlockTransfer) -> Heard {
        let answer = match receiver.handle_block(block) {
            Ok(GbtReceived::Whole { apdu, .. }) => {
                return Heard::Request(apdu, receiver.numbers());
            }
            Ok(GbtReceived::Waiting) => None,
            Ok(GbtReceived::Acknowledge(block)) => Some(block),
            Err(_) => return Heard::Answer(Some(abort())),
        };
        *self = Self::Receiving(receiver);
        Heard::Answer(answer)
    }
}
