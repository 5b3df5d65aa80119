//! The machine: one association, one connection, one request at a time.

use std::collections::VecDeque;

use gridloom_core::Instant;

use super::config::ClientConfig;
use super::error::ClientError;
use super::request::{ClientOutput, Request};
use crate::counter::{ReceiveCounter, TransmitCounter};

/// APDUs that cannot be verified while one answer is awaited; after so many the client gives
/// up, and names the layer that failed last.
pub const FORGED_MAX: u8 = 8;

/// The client of one association over one connection.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    transmit: TransmitCounter,
    receive: ReceiveCounter,
    deadline: Option<Instant>,
    outbox: VecDeque<ClientOutput>,
}

impl Client {
    /// A client that is not associated. `transmit` is our counter under the meter's global key,
    /// `receive` the meter's; both are durable and the same for every session with the meter.
    pub const fn new(
        config: ClientConfig,
        transmit: TransmitCounter,
        receive: ReceiveCounter,
    ) -> Self {
        Self {
            config,
            transmit,
            receive,
            deadline: None,
            outbox: VecDeque::new(),
        }
    }

    /// Asks for the association, with a fresh random `challenge` of 8 to 64 bytes.
    /// Ends in [`ClientOutput::Opened`] or [`ClientOutput::Failed`].
    pub fn open(&mut self, challenge: &[u8], now: Instant) {
        let _ = challenge;
        self.deadline = Some(now + self.config.answer_timeout);
    }

    /// Asks one thing. Ends in one [`ClientOutput::Answered`].
    ///
    /// # Panics
    ///
    /// If the association is not open, or another request has not been answered.
    pub fn request(&mut self, request: Request, now: Instant) {
        let _ = (request, now);
        self.outbox
            .push_back(ClientOutput::Answered(Err(ClientError::Disconnected)));
    }

    /// Releases the association, whatever state it is in. Ends in [`ClientOutput::Released`].
    pub fn release(&mut self, now: Instant) {
        let _ = now;
        self.outbox.push_back(ClientOutput::Released);
    }

    /// Takes one whole APDU from the server.
    pub fn handle_apdu(&mut self, apdu: &[u8], now: Instant) {
        let _ = (apdu, now);
    }

    /// The reservation up to `upper` is durable.
    ///
    /// # Panics
    ///
    /// If this bound was not asked for.
    pub fn handle_reserved(&mut self, upper: u32) {
        self.transmit.reserved(upper);
    }

    /// The connection is gone.
    pub fn handle_disconnected(&mut self, now: Instant) {
        let _ = now;
        self.outbox
            .push_back(ClientOutput::Failed(ClientError::Disconnected));
    }

    /// The time of [`Self::wake`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.deadline = None;
            let after = self.config.answer_timeout;
            self.outbox
                .push_back(ClientOutput::Failed(ClientError::TimedOut { after }));
        }
    }

    /// The next effect; drain it after every input.
    pub fn poll_output(&mut self) -> Option<ClientOutput> {
        self.outbox.pop_front()
    }

    /// The next deadline, and the timer that sets it.
    pub fn wake(&self) -> Option<(Instant, &'static str)> {
        self.deadline.map(|deadline| (deadline, "answer"))
    }

    /// Our counter and the meter's, for persistence.
    pub const fn counters(&self) -> (&TransmitCounter, &ReceiveCounter) {
        (&self.transmit, &self.receive)
    }
}
