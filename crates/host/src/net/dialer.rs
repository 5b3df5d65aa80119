//! Keeps one connection to a neighbour: dials, and dials again.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;

use super::address::DialAddress;
use super::backoff::{Backoff, spread};
use super::counters::{Net, count};
use super::link::{self, LinkLimits, LinkSpec};
use crate::framing::Framing;
use crate::tls::{Secured, Seeking};

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
}

impl DialOptions {
    /// The usual limits and pauses, dialling at once.
    pub fn new(framing: Framing) -> Self {
        Self {
            framing,
            limits: LinkLimits::default(),
            backoff: Backoff::default(),
            first_within: Duration::ZERO,
        }
    }
}

/// A connection that stands.
enum Connected {
    Plain(TcpStream),
    Secured(Box<Secured>),
}

impl Connected {
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
            connected = connect_after(pause, &target, seeking.as_ref(), &spec.net) => connected,
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

/// Connects once, and runs the link until it ends or `stop` turns true; says why it did not come
/// to stand.
pub(crate) async fn dial_once(
    target: DialAddress,
    spec: LinkSpec,
    mut stop: watch::Receiver<bool>,
) -> Result<(), String> {
    let connected = tokio::select! {
        _ = stop.wait_for(|stop| *stop) => return Ok(()),
        connected = connect_after(Duration::ZERO, &target, None, &spec.net) => connected,
    };
    match connected {
        Ok(connected) => {
            connected.run(&spec).await;
            Ok(())
        }
        Err(error) => {
            spec.net.note_dial_failure(&target, &error);
            Err(error)
        }
    }
}

async fn connect_after(
    pause: Duration,
    target: &DialAddress,
    seeking: Option<&Seeking>,
    net: &Net,
) -> Result<Connected, String> {
    tokio::time::sleep(pause).await;
    match tokio::time::timeout(CONNECT_TIMEOUT, connect(target, seeking, net)).await {
        Ok(connected) => connected,
        Err(_elapsed) => Err(format!("no answer within {CONNECT_TIMEOUT:?}")),
    }
}

async fn connect(
    target: &DialAddress,
    seeking: Option<&Seeking>,
    net: &Net,
) -> Result<Connected, String> {
    let stream = target.connect().await.map_err(|error| error.to_string())?;
    let address = stream.peer_addr().ok();
    match seeking {
        None => Ok(Connected::Plain(stream)),
        Some(seeking) => match seeking.connect(stream, &target.host()).await {
            Ok(secured) => Ok(Connected::Secured(Box::new(secured))),
            Err(fault) => {
                net.note_tls_fault(address, &fault);
                Err(fault.to_string())
            }
        },
    }
}
