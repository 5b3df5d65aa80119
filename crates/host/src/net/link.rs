//! One connection: bytes to frames, frames to bytes, and the bounds on both.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, ready};
use std::time::Duration;

use gridloom_core::Instant;
use gridloom_nodes::envelope::Message;
use gridloom_nodes::{ClosedLine, DialId, LinkId, Port, Pusher};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::counters::{Ending, Net, add, count};
use crate::framing::{Deframer, Framing};
use crate::tls::{Peer, Secured, refusal_of};

/// A frame that has begun must end within this time, or the link is closed: a peer that sends
/// one byte a minute holds a connection no longer than one that sends none.
pub const PARTIAL_FRAME_TIMEOUT: Duration = Duration::from_secs(20);

/// Frames that wait for a peer to read; one more closes the link.
pub const QUEUE_FRAMES_MAX: usize = 1_024;

/// Bytes that wait for a peer to read; a frame that starts beyond them closes the link.
pub const QUEUE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// When we close a link, its queue has this long to leave.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes taken from a socket at once.
const CHUNK: usize = 16 * 1024;

/// Frames are joined up to about this many bytes before they are written.
const WRITE_BATCH: usize = 64 * 1024;

/// Bounds of one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkLimits {
    /// A frame that has begun must end within this time.
    pub partial_frame: Duration,
    /// A link on which nothing is heard for this time is closed; `None` lets it be.
    pub idle: Option<Duration>,
    /// Frames that wait for the peer to read; one more closes the link.
    pub queue_frames: usize,
    /// Bytes that wait for the peer to read; a frame that starts beyond them closes the link.
    pub queue_bytes: usize,
}

impl Default for LinkLimits {
    /// The constants of this module, and no idle bound.
    fn default() -> Self {
        Self {
            partial_frame: PARTIAL_FRAME_TIMEOUT,
            idle: None,
            queue_frames: QUEUE_FRAMES_MAX,
            queue_bytes: QUEUE_BYTES_MAX,
        }
    }
}

impl LinkLimits {
    /// For a link between two tiers: it carries the burst of a whole neighbourhood, whose meters
    /// all push at the end of an interval.
    pub fn trunk() -> Self {
        Self {
            queue_frames: 64 * QUEUE_FRAMES_MAX,
            queue_bytes: 8 * QUEUE_BYTES_MAX,
            ..Self::default()
        }
    }
}

/// Whose a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// One node's.
    Node(usize),
    /// Every node's: a frame is for the one whose number, counted from 1, is the wrapper's
    /// destination. Each node hears of the link with its first frame, sees itself as server 1,
    /// and answers as the server that was asked.
    ByServer,
}

/// What a link tells the runner of its node.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    Up {
        route: Route,
        port: Port,
        link: LinkId,
        writer: LinkWriter,
    },
    Frame {
        link: LinkId,
        frame: Vec<u8>,
    },
    Down {
        link: LinkId,
        /// What the host closed it for, where a peer had connected.
        closed: Option<ClosedLine>,
    },
    DialFailed {
        slot: usize,
        dial: DialId,
        reason: String,
    },
}

/// How connections of one listener or dialer are run.
#[derive(Debug, Clone)]
pub(crate) struct LinkSpec {
    pub(crate) net: Net,
    pub(crate) route: Route,
    pub(crate) port: Port,
    pub(crate) framing: Framing,
    pub(crate) limits: LinkLimits,
    pub(crate) events: mpsc::Sender<LinkEvent>,
}

impl LinkSpec {
    /// The port of a link with `peer`: who pushes is only known then.
    pub(crate) fn port_of(&self, peer: Option<SocketAddr>) -> Port {
        match (self.port, peer) {
            (Port::Push(pusher), Some(peer)) => Port::Push(Pusher {
                address: peer.ip().to_canonical(),
                ..pusher
            }),
            (port, _) => port,
        }
    }
}

/// Puts frames into a link's queue. Dropping it closes the link once the queue has left,
/// or after [`FLUSH_TIMEOUT`].
#[derive(Debug)]
pub(crate) struct LinkWriter {
    framing: Framing,
    queued_bytes: Arc<AtomicUsize>,
    queue_bytes: usize,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    /// The connection is this link's alone.
    Own {
        frames: mpsc::Sender<Vec<u8>>,
        cut: oneshot::Sender<()>,
    },
    /// Several links share a socket.
    Shared(SharedSink),
}

/// What links that share a socket are told.
#[derive(Debug)]
pub(crate) enum SharedOrder {
    /// Send a frame on this link.
    Frame(LinkId, Vec<u8>),
    /// The runner wants this link closed.
    Close(LinkId),
}

#[derive(Debug)]
struct SharedSink {
    link: LinkId,
    orders: mpsc::Sender<SharedOrder>,
}

impl Drop for SharedSink {
    fn drop(&mut self) {
        // A full queue belongs to a peer that does not read; its silence ends the link.
        let _ = self.orders.try_send(SharedOrder::Close(self.link));
    }
}

/// A frame could not be queued.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SendError {
    /// The peer reads too slowly: cut the link.
    Full,
    /// The link is ending.
    Gone,
}

impl LinkWriter {
    /// A writer of one of the links that share a socket; `queued_bytes` is the socket's.
    pub(crate) const fn shared(
        spec: &LinkSpec,
        link: LinkId,
        orders: mpsc::Sender<SharedOrder>,
        queued_bytes: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            framing: spec.framing,
            queued_bytes,
            queue_bytes: spec.limits.queue_bytes,
            sink: Sink::Shared(SharedSink { link, orders }),
        }
    }

    pub(crate) fn send(&self, frame: Vec<u8>) -> Result<(), SendError> {
        // Here rather than on the link's own task: the mistake must stop the node that made it.
        self.framing.assert_sendable(&frame);
        let length = frame.len();
        if self.queued_bytes.load(Ordering::Relaxed) >= self.queue_bytes {
            return Err(SendError::Full);
        }
        self.queued_bytes.fetch_add(length, Ordering::Relaxed);
        let sent = match &self.sink {
            Sink::Own { frames, .. } => refusal(frames.try_send(frame)),
            Sink::Shared(SharedSink { link, orders }) => {
                refusal(orders.try_send(SharedOrder::Frame(*link, frame)))
            }
        };
        if sent.is_err() {
            self.queued_bytes.fetch_sub(length, Ordering::Relaxed);
        }
        sent
    }

    /// Closes the link at once, whatever waits in its queue.
    pub(crate) fn cut(self) {
        if let Sink::Own { cut, .. } = self.sink {
            // The link may have ended by itself meanwhile.
            let _ = cut.send(());
        }
    }
}

fn refusal<T>(sent: Result<(), mpsc::error::TrySendError<T>>) -> Result<(), SendError> {
    sent.map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => SendError::Full,
        mpsc::error::TrySendError::Closed(_) => SendError::Gone,
    })
}

pub(super) struct Queue {
    frames: mpsc::Receiver<Vec<u8>>,
    queued_bytes: Arc<AtomicUsize>,
}

impl Queue {
    /// The next frame; `None` once nobody will queue one any more.
    pub(super) async fn next(&mut self) -> Option<Vec<u8>> {
        let frame = self.frames.recv().await?;
        self.queued_bytes.fetch_sub(frame.len(), Ordering::Relaxed);
        Some(frame)
    }
}

/// The end of a link that its task holds.
pub(super) struct Begun {
    pub(super) link: LinkId,
    pub(super) queue: Queue,
    pub(super) hang_up: oneshot::Receiver<()>,
}

/// Numbers a link of a connection to `peer` and tells the runner of it; `None` if the runner is
/// gone, and the node with it.
pub(super) async fn begin(spec: &LinkSpec, peer: Option<SocketAddr>) -> Option<Begun> {
    let link = spec.net.next_link();
    let (frames_in, frames) = mpsc::channel(spec.limits.queue_frames);
    let (cut, hang_up) = oneshot::channel();
    let queued_bytes = Arc::new(AtomicUsize::new(0));
    let queue = Queue {
        frames,
        queued_bytes: Arc::clone(&queued_bytes),
    };
    let up = LinkEvent::Up {
        route: spec.route,
        port: spec.port_of(peer),
        link,
        writer: LinkWriter {
            framing: spec.framing,
            queued_bytes,
            queue_bytes: spec.limits.queue_bytes,
            sink: Sink::Own {
                frames: frames_in,
                cut,
            },
        },
    };
    spec.events.send(up).await.ok()?;
    Some(Begun {
        link,
        queue,
        hang_up,
    })
}

/// Runs a connection until it ends. Tells the runner of its beginning and its end.
pub(crate) async fn run(mut stream: TcpStream, spec: &LinkSpec) {
    let address = stream.peer_addr().ok();
    send_at_once(&stream);
    let (reader, writer) = stream.split();
    let Some((link, ending)) = converse(reader, writer, address, None, spec).await else {
        return;
    };
    drop(stream);
    conclude(link, address, &ending, spec).await;
}

/// As [`run`], on a connection whose peer is known; ends also when that peer is not to be trusted
/// any more.
pub(crate) async fn run_secured(secured: Secured, spec: &LinkSpec) {
    let Secured { stream, peer } = secured;
    let address = stream.get_ref().0.peer_addr().ok();
    send_at_once(stream.get_ref().0);
    let (reader, writer) = tokio::io::split(stream);
    let Some((link, ending)) = converse(reader, writer, address, Some(&peer), spec).await else {
        return;
    };
    conclude(link, address, &ending, spec).await;
}

fn send_at_once(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the system keeps Nagle's algorithm on");
    }
}

/// Carries frames until the connection ends; `None` if the runner is gone.
async fn converse(
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
    address: Option<SocketAddr>,
    peer: Option<&Peer>,
    spec: &LinkSpec,
) -> Option<(LinkId, Ending)> {
    let Begun {
        link,
        queue,
        hang_up,
    } = begin(spec, address).await?;
    let ending = tokio::select! {
        biased; // A link that is cut has lost its queue too; the cut is the reason.
        ending = hung_up(hang_up) => ending,
        ending = outlived(peer) => ending,
        ending = read(reader, link, peer, spec) => ending,
        ending = write(writer, queue, spec) => ending,
    };
    Some((link, ending))
}

async fn conclude(link: LinkId, address: Option<SocketAddr>, ending: &Ending, spec: &LinkSpec) {
    spec.net.note_ending(link, address, ending);
    // Whom the node itself dialled it knows.
    let closed = ending
        .fault()
        .filter(|_| spec.port == Port::Down)
        .map(|fault| ClosedLine {
            fault,
            address: address.map(|address| address.ip().to_canonical()),
        });
    // A runner that is gone needs no news.
    let _ = spec.events.send(LinkEvent::Down { link, closed }).await;
}

async fn outlived(peer: Option<&Peer>) -> Ending {
    match peer {
        Some(peer) => Ending::Untrusted(peer.outlived().await),
        None => std::future::pending().await,
    }
}

/// Why reading or writing failed.
fn broken(error: &std::io::Error) -> Ending {
    refusal_of(error).map_or(Ending::Broken(error.kind()), Ending::RefusedByPeer)
}

/// Waits for the writer's owner to cut the link, or to drop it and a flush to take too long.
pub(super) async fn hung_up(hang_up: oneshot::Receiver<()>) -> Ending {
    match hang_up.await {
        Ok(()) => Ending::SlowReader,
        Err(_dropped) => {
            tokio::time::sleep(FLUSH_TIMEOUT).await;
            Ending::Ours
        }
    }
}

async fn read(
    mut reader: impl AsyncRead + Unpin,
    link: LinkId,
    peer: Option<&Peer>,
    spec: &LinkSpec,
) -> Ending {
    let clock = spec.net.clock();
    let counters = spec.net.counters();
    let mut deframer = Deframer::new(spec.framing);
    let mut heard_at = clock.now().instant;
    let mut partial_since: Option<Instant> = None;
    loop {
        let partial_deadline = partial_since.map(|since| since + spec.limits.partial_frame);
        let idle_deadline = spec.limits.idle.map(|idle| heard_at + idle);
        let taken = match partial_deadline.into_iter().chain(idle_deadline).min() {
            None => take_bytes(&mut reader, &mut deframer).await,
            Some(deadline) => {
                let deadline = clock.tokio_instant(deadline);
                let taken = take_bytes(&mut reader, &mut deframer);
                match tokio::time::timeout_at(deadline, taken).await {
                    Ok(taken) => taken,
                    Err(_elapsed) if partial_since.is_some() => return Ending::PartialFrame,
                    Err(_elapsed) => return Ending::Idle,
                }
            }
        };
        match taken {
            Ok(length) => add(&counters.bytes_in, length),
            Err(ending) => return ending,
        }
        let mut framed = false;
        loop {
            match deframer.pull() {
                Ok(Some(frame)) => {
                    framed = true;
                    count(&counters.frames_in);
                    if let Some(peer) = peer
                        && spec.framing == Framing::Envelope
                        && let Some((role, name)) = Message::greeting(&frame)
                        && let Err(fault) = peer.check_greeting(role, &name)
                    {
                        return Ending::Untrusted(fault);
                    }
                    let frame = LinkEvent::Frame { link, frame };
                    if spec.events.send(frame).await.is_err() {
                        return Ending::Ours;
                    }
                }
                Ok(None) => break,
                Err(error) => return Ending::Malformed(error),
            }
        }
        // Taken after the sends: our own back-pressure is not the peer's silence.
        heard_at = clock.now().instant;
        partial_since = match partial_since {
            _ if !deframer.is_partial() => None,
            Some(since) if !framed => Some(since),
            Some(_) | None => Some(heard_at),
        };
    }
}

/// Waits for bytes and moves them into the deframer; how many they were.
///
/// The chunk lives on the stack of a poll, so an idle link costs no buffer.
async fn take_bytes(
    reader: &mut (impl AsyncRead + Unpin),
    deframer: &mut Deframer,
) -> Result<usize, Ending> {
    std::future::poll_fn(|context| {
        let mut chunk = [0; CHUNK];
        let mut buffer = ReadBuf::new(&mut chunk);
        let read = ready!(Pin::new(&mut *reader).poll_read(context, &mut buffer));
        Poll::Ready(match read {
            Ok(()) if buffer.filled().is_empty() => Err(Ending::Theirs),
            Ok(()) => match deframer.push(buffer.filled()) {
                Ok(()) => Ok(buffer.filled().len()),
                Err(error) => Err(Ending::Malformed(error)),
            },
            Err(error) => Err(broken(&error)),
        })
    })
    .await
}

async fn write(mut writer: impl AsyncWrite + Unpin, mut queue: Queue, spec: &LinkSpec) -> Ending {
    let counters = spec.net.counters();
    let mut batch = Vec::new();
    while let Some(frame) = queue.frames.recv().await {
        let mut next = Some(frame);
        let mut payload = 0;
        while let Some(frame) = next {
            spec.framing.encode(&frame, &mut batch);
            payload += frame.len();
            count(&counters.frames_out);
            next = (batch.len() < WRITE_BATCH)
                .then(|| queue.frames.try_recv().ok())
                .flatten();
        }
        // TLS keeps what the socket does not take; flushing hands it over.
        let written = match writer.write_all(&batch).await {
            Ok(()) => writer.flush().await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            return broken(&error);
        }
        queue.queued_bytes.fetch_sub(payload, Ordering::Relaxed);
        add(&counters.bytes_out, batch.len());
        batch.clear();
        batch.shrink_to(WRITE_BATCH);
    }
    // Says goodbye after the last byte; the peer sees a clean end.
    match writer.shutdown().await {
        Ok(()) => Ending::Ours,
        Err(error) => broken(&error),
    }
}
