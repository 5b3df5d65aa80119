//! Where clients reach meters.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gridloom_dlms::hdlc::{Parameters, ServerLinkConfig};
use gridloom_nodes::Arrival;
use serial2_tokio::SerialPort;
use tokio::net::UdpSocket;
use tokio::sync::watch;

use super::{hdlc, udp};
use crate::net::{self, CONNECTIONS_MAX, LinkLimits, LinkSpec, Listener, NetError};
use crate::serial::SerialError;

/// Servers behind one listener: HDLC has 14 bits for a logical device.
pub const SERVERS_MAX: u16 = 0x3FFF;

/// How frames lie on the wire of a TCP listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeterWire {
    /// The wrapper of IEC 62056-47.
    Wrapper,
    /// HDLC frames.
    Hdlc,
}

/// A socket or line on which clients reach meters, that nobody serves yet.
#[derive(Debug)]
pub struct MeterListener {
    socket: Socket,
    line: Option<watch::Receiver<HdlcLine>>,
}

/// What an HDLC connection agrees to, as the meter behind it is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HdlcLine {
    /// Lengths and windows, at most.
    pub parameters: Parameters,
    /// A connection on which nothing is heard for this long is dropped.
    pub inactivity: Duration,
}

#[derive(Debug)]
enum Socket {
    Tcp(Listener, MeterWire),
    Udp(UdpSocket, SocketAddr),
    Serial(Box<SerialPort>, PathBuf),
}

/// How clients are let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeterListenOptions {
    /// Bounds of each connection.
    pub limits: LinkLimits,
    /// Connections at a time, at most [`CONNECTIONS_MAX`]; more are closed at once.
    pub connections_max: usize,
}

impl Default for MeterListenOptions {
    /// A client that says nothing for ten minutes is gone.
    fn default() -> Self {
        Self {
            limits: LinkLimits {
                idle: Some(Duration::from_secs(600)),
                ..LinkLimits::default()
            },
            connections_max: CONNECTIONS_MAX,
        }
    }
}

impl MeterListener {
    /// Listens on TCP at `text` (`IP:PORT`, port 0 for any free one); `key` is the option that
    /// errors name.
    ///
    /// # Errors
    ///
    /// A [`NetError`] that says what to change.
    pub async fn tcp(key: &str, text: &str, wire: MeterWire) -> Result<Self, NetError> {
        let listener = Listener::bind(key, text).await?;
        Ok(Self {
            socket: Socket::Tcp(listener, wire),
            line: None,
        })
    }

    /// Listens on UDP at `text`, as [`Self::tcp`].
    ///
    /// # Errors
    ///
    /// A [`NetError`] that says what to change.
    pub async fn udp(key: &str, text: &str) -> Result<Self, NetError> {
        let (socket, address) = net::bind_udp(key, text).await?;
        Ok(Self {
            socket: Socket::Udp(socket, address),
            line: None,
        })
    }

    /// Answers HDLC frames on a serial line.
    ///
    /// # Errors
    ///
    /// A [`SerialError`] that says what to change.
    pub fn serial(device: PathBuf, baud: u32) -> Result<Self, SerialError> {
        let port =
            SerialPort::open(&device, baud).map_err(|error| SerialError::new(&device, error))?;
        Ok(Self {
            socket: Socket::Serial(Box::new(port), device),
            line: None,
        })
    }

    /// Lets each new HDLC connection over TCP agree to what `line` says then.
    pub fn set_line(&mut self, line: watch::Receiver<HdlcLine>) {
        self.line = Some(line);
    }

    /// Whether frames keep their order: on streams and lines, not as datagrams.
    pub const fn arrival(&self) -> Arrival {
        match self.socket {
            Socket::Tcp(..) | Socket::Serial(..) => Arrival::InOrder,
            Socket::Udp(..) => Arrival::Unordered,
        }
    }

    /// Where it listens, with the port that the system chose; `None` on a serial line.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(listener, _) => Some(listener.address()),
            Socket::Udp(_, address) => Some(*address),
            Socket::Serial(..) => None,
        }
    }

    /// Serves until `stop` turns true.
    pub(crate) async fn serve(
        self,
        connections_max: usize,
        spec: LinkSpec,
        stop: watch::Receiver<bool>,
    ) {
        match self.socket {
            Socket::Tcp(listener, MeterWire::Wrapper) => {
                net::listen(listener, connections_max, None, spec, stop).await;
            }
            Socket::Tcp(listener, MeterWire::Hdlc) => {
                let net = spec.net.clone();
                let spec = Arc::new(spec);
                let stopping = stop.clone();
                net::accept_each(listener, connections_max, &net, stop, move |stream| {
                    let (spec, stop) = (Arc::clone(&spec), stopping.clone());
                    let config = config_of(self.line.as_ref());
                    async move {
                        let peer = stream.peer_addr().ok();
                        if let Err(error) = stream.set_nodelay(true) {
                            tracing::debug!(%error, "the system keeps Nagle's algorithm on");
                        }
                        hdlc::run(stream, peer, config, &spec, stop).await;
                    }
                })
                .await;
            }
            Socket::Udp(socket, _) => udp::run(socket, spec, stop).await,
            Socket::Serial(mut port, device) => {
                let config = ServerLinkConfig::new(1..=SERVERS_MAX);
                // A line is silent between readings, and is there for ever.
                let spec = LinkSpec {
                    limits: LinkLimits {
                        idle: None,
                        ..spec.limits
                    },
                    ..spec
                };
                hdlc::run(&mut *port, None, config, &spec, stop).await;
                tracing::debug!(device = %device.display(), "the serial line is not served any more");
            }
        }
    }
}

/// Serves every meter, with what `line` says.
fn config_of(line: Option<&watch::Receiver<HdlcLine>>) -> ServerLinkConfig {
    let made = ServerLinkConfig::new(1..=SERVERS_MAX);
    match line.map(|line| *line.borrow()) {
        None => made,
        Some(line) => ServerLinkConfig {
            parameters: line.parameters,
            inactivity: line.inactivity,
            ..made
        },
    }
}
