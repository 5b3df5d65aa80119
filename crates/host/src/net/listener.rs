//! Accepts connections, as many as it may.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};

use super::address::Listener;
use super::counters::{Net, count};
use super::link::{self, LinkLimits, LinkSpec};
use crate::framing::Framing;
use crate::tls::{Admission, Crowd, HANDSHAKES_MAX, Secured, TlsFault};

/// Connections of one listener; one more is closed as soon as it is accepted.
pub const CONNECTIONS_MAX: usize = 20_000;

/// After accepting failed, the listener rests this long: with no file descriptor left it would
/// spin.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(50);

/// How a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenOptions {
    /// How frames lie in the byte stream.
    pub framing: Framing,
    /// Bounds of each connection.
    pub limits: LinkLimits,
    /// Connections at a time, at most [`CONNECTIONS_MAX`]; more are closed at once.
    pub connections_max: usize,
}

impl ListenOptions {
    /// Everything at its bound.
    pub fn new(framing: Framing) -> Self {
        Self {
            framing,
            limits: LinkLimits::default(),
            connections_max: CONNECTIONS_MAX,
        }
    }
}

/// Serves a listener until `stop` turns true; over TLS where it has an admission.
pub(crate) async fn listen(
    listener: Listener,
    connections_max: usize,
    admission: Option<Admission>,
    spec: LinkSpec,
    stop: watch::Receiver<bool>,
) {
    let net = spec.net.clone();
    let spec = Arc::new(spec);
    let stopping = stop.clone();
    let door = admission.map(|admission| {
        Arc::new(Door {
            admission,
            crowd: Crowd::new(HANDSHAKES_MAX),
        })
    });
    accept_each(listener, connections_max, &net, stop, move |stream| {
        let (spec, door, stop) = (Arc::clone(&spec), door.clone(), stopping.clone());
        async move {
            let Some(door) = door else {
                link::run(stream, &spec).await;
                return;
            };
            let address = stream.peer_addr().ok();
            match door.pass(stream, stop).await {
                Some(Ok(secured)) => {
                    count(&spec.net.counters().handshakes);
                    link::run_secured(secured, &spec).await;
                }
                Some(Err(fault)) => spec.net.note_tls_fault(address, &fault),
                None => {}
            }
        }
    })
    .await;
}

struct Door {
    admission: Admission,
    crowd: Crowd,
}

impl Door {
    /// Shakes hands; `None` if `stop` turns true before.
    async fn pass(
        &self,
        stream: TcpStream,
        mut stop: watch::Receiver<bool>,
    ) -> Option<Result<Secured, TlsFault>> {
        let mut place = self.crowd.enter();
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => None,
            () = place.pushed_out() => Some(Err(TlsFault::CrowdedOut)),
            done = tokio::time::timeout(self.admission.patience(), self.admission.accept(stream)) => {
                Some(done.unwrap_or(Err(TlsFault::TimedOut)))
            }
        }
    }
}

/// Accepts connections until `stop` turns true, and spawns what serves each.
pub(crate) async fn accept_each<F: Future<Output = ()> + Send + 'static>(
    listener: Listener,
    connections_max: usize,
    net: &Net,
    mut stop: watch::Receiver<bool>,
    mut serve: impl FnMut(TcpStream) -> F,
) {
    let address = listener.address();
    let connections_max = connections_max.min(CONNECTIONS_MAX);
    let places = Arc::new(Semaphore::new(connections_max));
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = listener.socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => {
                    count(&net.counters().accepted);
                    let serving = serve(stream);
                    tokio::spawn(async move {
                        serving.await;
                        drop(place);
                    });
                }
                Err(_) => {
                    drop(stream);
                    net.note_refused(address, connections_max);
                }
            },
            Err(error) => {
                net.note_accept_failure(address, &error);
                tokio::time::sleep(REST_AFTER_FAILURE).await;
            }
        }
    }
}
