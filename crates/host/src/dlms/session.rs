//! Drives one [`Client`] over one [`ClientTransport`].

use std::collections::VecDeque;

use gridloom_core::SystemTitle;
use gridloom_dlms::association::Conformance;
use gridloom_dlms::client::{Client, ClientError, ClientOutput, Request, Response};

use super::transport::{ClientTransport, TransportError};
use crate::clock::Clock;

/// Notifications that wait to be taken; of more, the oldest is dropped.
pub const NOTIFICATIONS_MAX: usize = 64;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The connection failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The association failed, or the object said no.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Our counters could not be reserved.
    #[error("counter: {0}")]
    Reservation(String),
}

impl SessionError {
    /// What the client's machine said, if it was that.
    pub const fn client(&self) -> Option<&ClientError> {
        match self {
            Self::Client(error) => Some(error),
            Self::Transport(_) | Self::Reservation(_) => None,
        }
    }
}

/// What an association was opened with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// The server's title, if it gave one.
    pub server_title: Option<SystemTitle>,
    /// The services that both speak.
    pub conformance: Conformance,
    /// The longest APDU that the server takes, in bytes; 0 for no limit.
    pub max_pdu: u16,
}

/// A client's association with one server.
///
/// `reserve` makes a reservation of transmit counters durable before it returns.
#[derive(Debug)]
pub struct ClientSession<R> {
    transport: ClientTransport,
    client: Client,
    clock: Clock,
    reserve: R,
    notifications: VecDeque<Vec<u8>>,
}

impl<R: FnMut(u32) -> Result<(), String>> ClientSession<R> {
    /// A session that is not associated.
    pub fn new(transport: ClientTransport, client: Client, clock: Clock, reserve: R) -> Self {
        Self {
            transport,
            client,
            clock,
            reserve,
            notifications: VecDeque::new(),
        }
    }

    /// Opens the association with a fresh challenge of 8 to 64 bytes.
    ///
    /// # Errors
    ///
    /// [`SessionError`]; the association does not stand.
    pub async fn open(&mut self, challenge: &[u8]) -> Result<Opened, SessionError> {
        self.client.open(challenge, self.clock.now().instant);
        loop {
            match self.next().await? {
                ClientOutput::Opened {
                    server_title,
                    conformance,
                    max_pdu,
                } => {
                    return Ok(Opened {
                        server_title,
                        conformance,
                        max_pdu,
                    });
                }
                ClientOutput::Failed(error) => return Err(error.into()),
                ClientOutput::Progress { .. }
                | ClientOutput::Answered(_)
                | ClientOutput::Notified(_)
                | ClientOutput::Released
                | ClientOutput::Send(_)
                | ClientOutput::Reserve(_) => {}
            }
        }
    }

    /// Asks one thing; `progress` hears how many bytes of a long answer are there.
    ///
    /// # Errors
    ///
    /// [`SessionError`]. After [`SessionError::Client`] with the object or access layer the
    /// association stands, and more can be asked.
    pub async fn request(
        &mut self,
        request: Request,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Response, SessionError> {
        self.client.request(request, self.clock.now().instant);
        loop {
            match self.next().await? {
                ClientOutput::Answered(answer) => return Ok(answer?),
                ClientOutput::Failed(error) => return Err(error.into()),
                ClientOutput::Progress { bytes } => progress(bytes),
                ClientOutput::Opened { .. }
                | ClientOutput::Notified(_)
                | ClientOutput::Released
                | ClientOutput::Send(_)
                | ClientOutput::Reserve(_) => {}
            }
        }
    }

    /// The next unsolicited notification, or `None` once the clock shows `until`.
    ///
    /// # Errors
    ///
    /// [`SessionError`]; the association is over.
    pub async fn notification(
        &mut self,
        until: gridloom_core::Instant,
    ) -> Result<Option<Vec<u8>>, SessionError> {
        loop {
            self.settle().await?;
            if let Some(notification) = self.notifications.pop_front() {
                return Ok(Some(notification));
            }
            if self.clock.now().instant >= until {
                return Ok(None);
            }
            self.hear(Some(until)).await?;
        }
    }

    /// Releases the association and closes the connection. Whatever goes wrong, it is over.
    pub async fn release(mut self) {
        self.client.release(self.clock.now().instant);
        while let Ok(output) = self.next().await {
            if let ClientOutput::Released | ClientOutput::Failed(_) = output {
                break;
            }
        }
        self.transport.close().await;
    }

    /// The next output that is not the host's own business.
    async fn next(&mut self) -> Result<ClientOutput, SessionError> {
        loop {
            if let Some(output) = self.settle().await? {
                return Ok(output);
            }
            self.hear(None).await?;
        }
    }

    /// Carries out what the client wants, up to what the caller must see.
    async fn settle(&mut self) -> Result<Option<ClientOutput>, SessionError> {
        while let Some(output) = self.client.poll_output() {
            match output {
                ClientOutput::Send(apdu) => self.transport.send(&apdu).await?,
                ClientOutput::Reserve(upper) => {
                    (self.reserve)(upper).map_err(SessionError::Reservation)?;
                    self.client.handle_reserved(upper);
                }
                ClientOutput::Notified(apdu) => {
                    if self.notifications.len() == NOTIFICATIONS_MAX {
                        self.notifications.pop_front();
                    }
                    self.notifications.push_back(apdu);
                }
                ClientOutput::Opened { .. }
                | ClientOutput::Progress { .. }
                | ClientOutput::Answered(_)
                | ClientOutput::Released
                | ClientOutput::Failed(_) => return Ok(Some(output)),
            }
        }
        Ok(None)
    }

    async fn hear(&mut self, until: Option<gridloom_core::Instant>) -> Result<(), SessionError> {
        let wake = self.client.wake().map(|(at, _)| at);
        let deadline = wake.into_iter().chain(until).min();
        let heard = self.transport.receive(deadline).await;
        let now = self.clock.now().instant;
        match heard {
            Ok(Some(apdu)) => self.client.handle_apdu(&apdu, now),
            Ok(None) if wake.is_some_and(|at| now >= at) => self.client.handle_timeout(now),
            Ok(None) => {}
            Err(error) => {
                self.client.handle_disconnected(now);
                return Err(error.into());
            }
        }
        Ok(())
    }
}
