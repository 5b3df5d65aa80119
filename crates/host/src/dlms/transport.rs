//! The client's end: APDUs to and from one server, over whatever the way is.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::PathBuf;

use gridloom_core::Instant;
use gridloom_dlms::hdlc::{ClientLink, ClientLinkConfig, ClientLinkOutput, LinkError};
use gridloom_dlms::wrapper::{self, WPort, WrapperError};
use serial2_tokio::SerialPort;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout_at;

use crate::clock::Clock;
use crate::net::{CONNECT_TIMEOUT, DialAddress, FLUSH_TIMEOUT, PARTIAL_FRAME_TIMEOUT};
use crate::serial::SerialError;

/// Bytes taken from a socket at once.
const CHUNK: usize = 4 * 1024;

/// The longest datagram.
const DATAGRAM_MAX: usize = 65_535;

/// The way to one server.
#[derive(Debug, Clone)]
pub enum ClientRoute {
    /// The wrapper over TCP.
    Tcp {
        /// The host.
        address: DialAddress,
        /// The client's port.
        client: WPort,
        /// The server's port.
        server: WPort,
    },
    /// The wrapper over UDP.
    Udp {
        /// The host.
        address: DialAddress,
        /// The client's port.
        client: WPort,
        /// The server's port.
        server: WPort,
    },
    /// HDLC over TCP.
    HdlcTcp {
        /// The host.
        address: DialAddress,
        /// Both addresses, and times.
        link: ClientLinkConfig,
    },
    /// HDLC on a serial line.
    HdlcSerial {
        /// The device.
        device: PathBuf,
        /// Bits per second, with 8 data bits, no parity and one stop bit.
        baud: u32,
        /// Both addresses, and times.
        link: ClientLinkConfig,
    },
}

impl fmt::Display for ClientRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { address, .. } => write!(f, "{address}"),
            Self::Udp { address, .. } => write!(f, "{address} (UDP)"),
            Self::HdlcTcp { address, .. } => write!(f, "{address} (HDLC)"),
            Self::HdlcSerial { device, .. } => write!(f, "{}", device.display()),
        }
    }
}

/// Why no APDU comes or goes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The meter cannot be reached.
    #[error("link: {route} cannot be reached: {cause}; check the address and that it listens")]
    Connect {
        /// The way.
        route: String,
        /// The system's words.
        cause: String,
    },
    /// The serial device cannot be used.
    #[error("link: {0}")]
    Serial(#[from] SerialError),
    /// The meter closed the connection.
    #[error(
        "link: the meter closed the connection; it may serve another client, or not know this one"
    )]
    Closed,
    /// The network broke the connection.
    #[error("link: the connection broke: {0}")]
    Broken(String),
    /// The peer does not read.
    #[error("link: the meter took nothing for {FLUSH_TIMEOUT:?}")]
    SlowReader,
    /// The peer does not speak the wrapper.
    #[error("{0}; is it HDLC? (--transport)")]
    Wrapper(#[from] WrapperError),
    /// A frame did not end.
    #[error("frame: a frame did not end within {PARTIAL_FRAME_TIMEOUT:?}; the link is bad")]
    PartialFrame,
    /// The HDLC link ended.
    #[error(transparent)]
    Hdlc(#[from] LinkError),
}

fn broken(error: &io::Error) -> TransportError {
    TransportError::Broken(error.to_string())
}

/// APDUs to and from one server.
pub struct ClientTransport {
    clock: Clock,
    way: Way,
    inbox: VecDeque<Vec<u8>>,
}

impl fmt::Debug for ClientTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTransport").finish_non_exhaustive()
    }
}

enum Way {
    Wrapper {
        stream: TcpStream,
        deframer: wrapper::Deframer,
        partial_since: Option<Instant>,
        client: WPort,
        server: WPort,
    },
    Udp {
        socket: UdpSocket,
        buffer: Vec<u8>,
        client: WPort,
        server: WPort,
    },
    Hdlc {
        line: Box<dyn Stream>,
        link: Box<ClientLink>,
    },
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl ClientTransport {
    /// Connects, with HDLC's SNRM and UA where the way has them.
    ///
    /// # Errors
    ///
    /// [`TransportError`].
    pub async fn connect(route: &ClientRoute, clock: Clock) -> Result<Self, TransportError> {
        let way = match route {
            ClientRoute::Tcp {
                address,
                client,
                server,
            } => Way::Wrapper {
                stream: connect_tcp(route, address).await?,
                deframer: wrapper::Deframer::default(),
                partial_since: None,
                client: *client,
                server: *server,
            },
            ClientRoute::Udp {
                address,
                client,
                server,
            } => Way::Udp {
                socket: (address.connect_udp().await)
                    .map_err(|error| unreachable(route, error.to_string()))?,
                buffer: vec![0; DATAGRAM_MAX],
                client: *client,
                server: *server,
            },
            ClientRoute::HdlcTcp { address, link } => Way::Hdlc {
                line: Box::new(connect_tcp(route, address).await?),
                link: Box::new(ClientLink::new(*link)),
            },
            ClientRoute::HdlcSerial { device, baud, link } => Way::Hdlc {
                line: Box::new(
                    SerialPort::open(device, *baud)
                        .map_err(|error| SerialError::new(device, error))?,
                ),
                link: Box::new(ClientLink::new(*link)),
            },
        };
        let mut transport = Self {
            clock,
            way,
            inbox: VecDeque::new(),
        };
        transport.connect_hdlc().await?;
        Ok(transport)
    }

    async fn connect_hdlc(&mut self) -> Result<(), TransportError> {
        let now = self.clock.now().instant;
        if let Way::Hdlc { link, .. } = &mut self.way {
            link.connect(now);
        }
        while let Way::Hdlc { link, .. } = &self.way
            && !link.is_connected()
        {
            self.step(None).await?;
        }
        Ok(())
    }

    /// Sends an APDU.
    ///
    /// # Errors
    ///
    /// [`TransportError`]; the connection is gone.
    ///
    /// # Panics
    ///
    /// If the APDU is empty or longer than 65,535 bytes.
    pub async fn send(&mut self, apdu: &[u8]) -> Result<(), TransportError> {
        let now = self.clock.now().instant;
        match &mut self.way {
            Way::Wrapper {
                stream,
                client,
                server,
                ..
            } => {
                let frame = wrapped(*client, *server, apdu);
                write(stream, &frame).await
            }
            Way::Udp {
                socket,
                client,
                server,
                ..
            } => {
                let frame = wrapped(*client, *server, apdu);
                socket.send(&frame).await.map_err(|error| broken(&error))?;
                Ok(())
            }
            Way::Hdlc { link, .. } => {
                link.send(apdu, now)?;
                self.drain_hdlc().await
            }
        }
    }

    /// The next APDU, or `None` once the clock shows `until`.
    ///
    /// # Errors
    ///
    /// [`TransportError`]; the connection is gone.
    pub async fn receive(
        &mut self,
        until: Option<Instant>,
    ) -> Result<Option<Vec<u8>>, TransportError> {
        loop {
            if let Some(apdu) = self.inbox.pop_front() {
                return Ok(Some(apdu));
            }
            if until.is_some_and(|until| self.clock.now().instant >= until) {
                return Ok(None);
            }
            self.step(until).await?;
        }
    }

    /// Says goodbye, as far as the way has words for it, and closes.
    pub async fn close(mut self) {
        let now = self.clock.now().instant;
        if let Way::Hdlc { link, .. } = &mut self.way {
            link.disconnect(now);
            // What comes of it changes nothing any more: the loop ends with an error, or here.
            while let Ok(()) = self.step(None).await {}
        } else if let Way::Wrapper { stream, .. } = &mut self.way {
            let _ = stream.shutdown().await;
        }
    }

    /// Takes what comes, or waits for a deadline.
    async fn step(&mut self, until: Option<Instant>) -> Result<(), TransportError> {
        let clock = self.clock.clone();
        match &mut self.way {
            Way::Wrapper {
                stream,
                deframer,
                partial_since,
                client,
                server,
            } => {
                let partial = partial_since.map(|since| since + PARTIAL_FRAME_TIMEOUT);
                let deadline = earlier(partial, until);
                let mut chunk = [0; CHUNK];
                let Some(read) = within(&clock, deadline, stream.read(&mut chunk)).await else {
                    let now = clock.now().instant;
                    return match partial {
                        Some(partial) if now >= partial => Err(TransportError::PartialFrame),
                        Some(_) | None => Ok(()),
                    };
                };
                let length = read.map_err(|error| broken(&error))?;
                if length == 0 {
                    return Err(TransportError::Closed);
                }
                deframer.push(&chunk[..length])?;
                let mut framed = false;
                while let Some(frame) = deframer.pull()? {
                    framed = true;
                    if (frame.source, frame.destination) == (*server, *client) {
                        self.inbox.push_back(frame.apdu.to_vec());
                    }
                }
                *partial_since = match *partial_since {
                    _ if !deframer.is_partial() => None,
                    Some(since) if !framed => Some(since),
                    Some(_) | None => Some(clock.now().instant),
                };
                Ok(())
            }
            Way::Udp {
                socket,
                buffer,
                client,
                server,
            } => {
                let Some(received) = within(&clock, until, socket.recv(buffer)).await else {
                    return Ok(());
                };
                let length = received.map_err(|error| broken(&error))?;
                let frame = wrapper::Frame::decode(&buffer[..length])?;
                if (frame.source, frame.destination) == (*server, *client) {
                    self.inbox.push_back(frame.apdu.to_vec());
                }
                Ok(())
            }
            Way::Hdlc { line, link } => {
                let deadline = earlier(link.wake().map(|(at, _)| at), until);
                // What the machine wants said comes before what is heard.
                let mut chunk = [0; CHUNK];
                if link.has_output() {
                    return self.drain_hdlc().await;
                }
                match within(&clock, deadline, line.read(&mut chunk)).await {
                    None => link.handle_timeout(clock.now().instant),
                    Some(Ok(0)) => return Err(TransportError::Closed),
                    Some(Ok(length)) => {
                        link.handle_bytes(&chunk[..length], clock.now().instant);
                    }
                    Some(Err(error)) => return Err(broken(&error)),
                }
                self.drain_hdlc().await
            }
        }
    }

    async fn drain_hdlc(&mut self) -> Result<(), TransportError> {
        let Way::Hdlc { line, link } = &mut self.way else {
            return Ok(());
        };
        while let Some(output) = link.poll_output() {
            match output {
                ClientLinkOutput::Transmit(bytes) => write(line, &bytes).await?,
                ClientLinkOutput::Connected(parameters) => {
                    tracing::debug!(?parameters, "HDLC connection stands");
                }
                ClientLinkOutput::Apdu(apdu) | ClientLinkOutput::Notification(apdu) => {
                    self.inbox.push_back(apdu);
                }
                ClientLinkOutput::Disconnected(error) => {
                    return Err(error.map_or(TransportError::Closed, TransportError::Hdlc));
                }
            }
        }
        Ok(())
    }
}

fn unreachable(route: &ClientRoute, cause: String) -> TransportError {
    TransportError::Connect {
        route: route.to_string(),
        cause,
    }
}

async fn connect_tcp(
    route: &ClientRoute,
    address: &DialAddress,
) -> Result<TcpStream, TransportError> {
    let stream = match tokio::time::timeout(CONNECT_TIMEOUT, address.connect()).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(unreachable(route, error.to_string())),
        Err(_elapsed) => {
            let cause = format!("no answer within {CONNECT_TIMEOUT:?}");
            return Err(unreachable(route, cause));
        }
    };
    stream.set_nodelay(true).map_err(|error| broken(&error))?;
    Ok(stream)
}

fn wrapped(source: WPort, destination: WPort, apdu: &[u8]) -> Vec<u8> {
    wrapper::Frame {
        source,
        destination,
        apdu,
    }
    .to_bytes()
}

async fn write(
    stream: &mut (impl AsyncWrite + Unpin + ?Sized),
    bytes: &[u8],
) -> Result<(), TransportError> {
    match tokio::time::timeout(FLUSH_TIMEOUT, stream.write_all(bytes)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(broken(&error)),
        Err(_elapsed) => Err(TransportError::SlowReader),
    }
}

/// What `future` gives, or `None` once the clock shows `deadline`.
async fn within<T>(
    clock: &Clock,
    deadline: Option<Instant>,
    future: impl Future<Output = T>,
) -> Option<T> {
    match deadline {
        Some(at) => timeout_at(clock.tokio_instant(at), future).await.ok(),
        None => Some(future.await),
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.into_iter().chain(b).min()
}
