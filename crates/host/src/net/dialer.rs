//! Keeps one connection to a neighbour: dials, and dials again.

use std::path::PathBuf;
use std::time::Duration;

use gridloom_nodes::Wire;
use serial2_tokio::SerialPort;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::watch;

use super::address::DialAddress;
use super::backoff::{Backoff, spread};
use super::counters::{Net, count};
use super::link::{self, LinkLimits, LinkSpec};
use super::{datagrams, line};
use crate::framing::Framing;
use crate::serial::SerialError;
use crate::tls::{HANDSHAKE_TIMEOUT, Secured, Seeking, TlsFault};

/// An attempt to connect is given up after this time.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A link that stood this long was a success: the next failure is the first again.
pub const STABLE_AFTER: Duration = Duration::from_secs(5);

/// How a dialer dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DialOptions {
    /// How frames lie in the byte stream.
    pub framing: Framing,
    /// Bounds of the connection.
    pub limits: LinkLimits,
    /// Pauses between attempts.
    pub backoff: Backoff,
    /// The first attempt waits a random part of this, so that a thousand meters started together
    /// do not arrive together.
    pub first_within: Duration,
    /// The connection ends when its peer's machine confirms nothing for about so long, whether
    /// anything is sent or not; in whole seconds, at least two. `None` leaves it to the system, which
    /// may take hours. For who has another way, and no heartbeats of its own.
    pub silence_max: Option<Duration>,
}

impl DialOptions {
    /// The usual limits and pauses, dialling at once.
    pub fn new(framing: Framing) -> Self {
        Self {
            framing,
            limits: LinkLimits::default(),
            backoff: Backoff::default(),
            first_within: Duration::ZERO,
            silence_max: None,
        }
    }
}

/// A connection to an upper neighbour.
enum Upward {
    Plain(TcpStream),
    Secured(Box<Secured>),
}

impl Upward {
    /// Runs the link until it ends.
    async fn run(self, spec: &LinkSpec) {
        count(&spec.net.counters().dialled);
        match self {
            Self::Plain(stream) => link::run(stream, spec).await,
            Self::Secured(secured) => {
                count(&spec.net.counters().handshakes);
                link::run_secured(*secured, spec).await;
            }
        }
    }
}

/// Keeps a connection to `target` until `stop` turns true; over TLS where it seeks somebody.
pub(crate) async fn dial(
    target: DialAddress,
    options: DialOptions,
    seeking: Option<Seeking>,
    spec: LinkSpec,
    mut stop: watch::Receiver<bool>,
) {
    let seed = spec.net.dialer_seed();
    let mut pause = spread(options.first_within, u64::MAX, seed);
    let mut failures: u32 = 0;
    loop {
        let connected = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            connected = reach(pause, &target, &options, seeking.as_ref(), &spec.net) => connected,
        };
        match connected {
            Ok(connected) => {
                let up_at = spec.net.clock().now().instant;
                connected.run(&spec).await;
                if spec.net.clock().now().instant.since(up_at) >= STABLE_AFTER {
                    failures = 0;
                }
            }
            Err(error) => spec.net.note_dial_failure(&target, &error),
        }
        pause = options.backoff.pause(failures, seed);
        failures = failures.saturating_add(1);
    }
}

/// What a node dials once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DialTarget {
    Stream(DialAddress),
    Datagrams(DialAddress),
    Line { device: PathBuf, baud: u32 },
}

/// Bits per second of a serial line that does not say its own.
const BAUD_USUAL: u32 = 9_600;

impl DialTarget {
    /// Reads the address of a node's dial.
    pub(crate) fn parse(address: &str, wire: Wire) -> Result<Self, String> {
        let host = || DialAddress::parse("address", address).map_err(|error| error.to_string());
        match wire {
            Wire::Wrapper | Wire::Bytes => host().map(Self::Stream),
            Wire::Datagrams => host().map(Self::Datagrams),
            Wire::Serial => {
                let (device, baud) = match address.rsplit_once('@') {
                    Some((device, baud)) => (device, baud.parse().ok()),
                    None => (address, Some(BAUD_USUAL)),
                };
                let baud = baud.ok_or_else(|| {
                    format!("address = {address:?}: write DEVICE@BAUD, such as /dev/ttyUSB0@9600")
                })?;
                Ok(Self::Line {
                    device: device.into(),
                    baud,
                })
            }
        }
    }
}

impl std::fmt::Display for DialTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stream(address) => address.fmt(f),
            Self::Datagrams(address) => write!(f, "{address} (UDP)"),
            Self::Line { device, baud } => write!(f, "{}@{baud}", device.display()),
        }
    }
}

/// Connects once, and runs the link until it ends or `stop` turns true; says why it did not come
/// to stand.
pub(crate) async fn dial_once(
    target: DialTarget,
    spec: LinkSpec,
    mut stop: watch::Receiver<bool>,
) -> Result<(), String> {
    let connected = tokio::select! {
        _ = stop.wait_for(|stop| *stop) => return Ok(()),
        connected = connect_once(&target) => connected,
    };
    let connected = connected.inspect_err(|error| spec.net.note_dial_failure(&target, error))?;
    count(&spec.net.counters().dialled);
    match connected {
        Connected::Stream(stream) => link::run(stream, &spec).await,
        Connected::Datagrams(socket) => datagrams::run(socket, &spec).await,
        Connected::Line(port) => line::run(port, &spec).await,
    }
    Ok(())
}

enum Connected {
    Stream(TcpStream),
    Datagrams(UdpSocket),
    Line(SerialPort),
}

async fn connect_once(target: &DialTarget) -> Result<Connected, String> {
    match target {
        DialTarget::Stream(address) => {
            let stream = connect_after(Duration::ZERO, address).await?;
            Ok(Connected::Stream(stream))
        }
        DialTarget::Datagrams(address) => {
            let socket = address.connect_udp().await;
            let socket = socket.map_err(|error| error.to_string())?;
            Ok(Connected::Datagrams(socket))
        }
        DialTarget::Line { device, baud } => {
            let port = SerialPort::open(device, *baud);
            let port = port.map_err(|error| SerialError::new(device, error).to_string())?;
            Ok(Connected::Line(port))
        }
    }
}

async fn connect_after(pause: Duration, target: &DialAddress) -> Result<TcpStream, String> {
    tokio::time::sleep(pause).await;
    match tokio::time::timeout(CONNECT_TIMEOUT, target.connect()).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_elapsed) => Err(format!("no answer within {CONNECT_TIMEOUT:?}")),
    }
}

/// Has the system probe an idle connection each second, and end it when neither data nor probes
/// are confirmed.
fn watch_for_silence(stream: &TcpStream, silence_max: Duration) -> std::io::Result<()> {
    let second = Duration::from_secs(1);
    let probes = u32::try_from(silence_max.as_secs()).unwrap_or(u32::MAX);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(second)
            .with_interval(second)
            .with_retries(probes.saturating_sub(1).max(1)),
    )?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(silence_max))?;
    Ok(())
}

/// Connects after a pause, and makes sure of the peer if somebody is sought.
async fn reach(
    pause: Duration,
    target: &DialAddress,
    options: &DialOptions,
    seeking: Option<&Seeking>,
    net: &Net,
) -> Result<Upward, String> {
    let stream = connect_after(pause, target).await?;
    if let Some(silence_max) = options.silence_max {
        watch_for_silence(&stream, silence_max).map_err(|error| error.to_string())?;
    }
    let Some(seeking) = seeking else {
        return Ok(Upward::Plain(stream));
    };
    let address = stream.peer_addr().ok();
    let host = target.host();
    let shaking = seeking.connect(stream, &host);
    let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, shaking).await;
    match shaken.unwrap_or(Err(TlsFault::TimedOut)) {
        Ok(secured) => Ok(Upward::Secured(Box::new(secured))),
        Err(fault) => {
            net.note_tls_fault(address, &fault);
            Err(fault.to_string())
        }
    }
}
