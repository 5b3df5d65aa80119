//! The server's end of one HDLC line: a link for every client and server that are connected on it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gridloom_core::Instant;
use gridloom_dlms::hdlc::{Peer, ServerLink, ServerLinkConfig, ServerLinkOutput};
use gridloom_dlms::wrapper::{self, WPort};
use gridloom_nodes::LinkId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep_until, timeout};

use crate::net::{Ending, FLUSH_TIMEOUT, LinkEvent, LinkSpec, LinkWriter, SharedOrder, add, count};

/// Bytes taken from a line at once: one long frame.
const CHUNK: usize = 2 * 1024;

/// Once the runner stops, how often it is seen whether answers may still come.
const STOP_CHECK: Duration = Duration::from_millis(20);

/// Serves a line until it ends or `stop` turns true and nothing is left to answer.
pub(super) async fn run<S: AsyncRead + AsyncWrite>(
    stream: S,
    address: Option<SocketAddr>,
    config: ServerLinkConfig,
    spec: &LinkSpec,
    stop: watch::Receiver<bool>,
) {
    let (reader, writer) = tokio::io::split(stream);
    let (orders_in, orders) = mpsc::channel(spec.limits.queue_frames);
    let mut line = Line {
        machine: ServerLink::new(config),
        writer,
        spec,
        links: BTreeMap::new(),
        peers: BTreeMap::new(),
        orders_in,
        queued_bytes: Arc::default(),
    };
    let ending = match line.serve(reader, orders, stop).await {
        Ok(never) => match never {},
        Err(ending) => ending,
    };
    spec.net.note_ending(LinkId(0), address, &ending);
    for link in line.links.into_values() {
        // A runner that is gone needs no news.
        let _ = spec
            .events
            .send(LinkEvent::Down { link, closed: None })
            .await;
    }
}

struct Line<'a, S> {
    machine: ServerLink,
    writer: WriteHalf<S>,
    spec: &'a LinkSpec,
    links: BTreeMap<Peer, LinkId>,
    peers: BTreeMap<LinkId, Peer>,
    orders_in: mpsc::Sender<SharedOrder>,
    queued_bytes: Arc<AtomicUsize>,
}

impl<S: AsyncRead + AsyncWrite> Line<'_, S> {
    async fn serve(
        &mut self,
        mut reader: ReadHalf<S>,
        mut orders: mpsc::Receiver<SharedOrder>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<core::convert::Infallible, Ending> {
        let clock = self.spec.net.clock().clone();
        let mut chunk = [0; CHUNK];
        let mut heard_at = clock.now().instant;
        let mut stopping = *stop.borrow();
        loop {
            // Ours is the last sender once no link can be answered any more.
            if stopping && self.orders_in.strong_count() == 1 && orders.is_empty() {
                return Err(Ending::Ours);
            }
            let idle = self.spec.limits.idle.map(|idle| heard_at + idle);
            let wake = self.machine.wake().map(|(at, _)| at);
            let check = stopping.then(|| clock.now().instant + STOP_CHECK);
            let deadline = [idle, wake, check].into_iter().flatten().min();
            tokio::select! {
                read = reader.read(&mut chunk) => {
                    let length = match read {
                        Ok(0) => return Err(Ending::Theirs),
                        Ok(length) => length,
                        Err(error) => return Err(Ending::Broken(error.kind())),
                    };
                    add(&self.spec.net.counters().bytes_in, length);
                    heard_at = clock.now().instant;
                    self.machine.handle_bytes(&chunk[..length], heard_at);
                }
                order = orders.recv() => {
                    self.take(order.expect("a sender is kept here"));
                }
                // A stop that was seen once is not waited for again.
                () = stopped(&mut stop), if !stopping => stopping = true,
                () = until(&clock, deadline) => {
                    let now = clock.now().instant;
                    if idle.is_some_and(|idle| now >= idle) {
                        return Err(Ending::Idle);
                    }
                    self.machine.handle_timeout(now);
                }
            }
            self.drain().await?;
        }
    }

    fn take(&mut self, order: SharedOrder) {
        match order {
            SharedOrder::Frame(link, frame) => {
                self.queued_bytes.fetch_sub(frame.len(), Ordering::Relaxed);
                let frame = wrapper::Frame::decode(&frame).expect("a node wraps what it sends");
                if let Some(peer) = self.peers.get(&link)
                    && frame.destination.0 == peer.client.upper()
                {
                    count(&self.spec.net.counters().frames_out);
                    self.machine.answer(*peer, frame.apdu);
                }
            }
            SharedOrder::Close(link) => {
                if let Some(peer) = self.peers.get(&link) {
                    self.machine.close(*peer);
                }
            }
        }
    }

    async fn drain(&mut self) -> Result<(), Ending> {
        let counters = self.spec.net.counters();
        while let Some(output) = self.machine.poll_output() {
            match output {
                ServerLinkOutput::Transmit(bytes) => {
                    match timeout(FLUSH_TIMEOUT, self.writer.write_all(&bytes)).await {
                        Ok(Ok(())) => add(&counters.bytes_out, bytes.len()),
                        Ok(Err(error)) => return Err(Ending::Broken(error.kind())),
                        Err(_elapsed) => return Err(Ending::SlowReader),
                    }
                }
                ServerLinkOutput::Connected(peer) => {
                    let link = self.spec.net.next_link();
                    self.links.insert(peer, link);
                    self.peers.insert(link, peer);
                    let writer = LinkWriter::shared(
                        self.spec,
                        link,
                        self.orders_in.clone(),
                        Arc::clone(&self.queued_bytes),
                    );
                    self.tell(LinkEvent::Up {
                        route: self.spec.route,
                        port: self.spec.port,
                        link,
                        writer,
                    })
                    .await?;
                }
                ServerLinkOutput::Apdu { peer, apdu } => {
                    let link = *self.links.get(&peer).expect("it connected before");
                    count(&counters.frames_in);
                    let frame = wrapper::Frame {
                        source: WPort(peer.client.upper()),
                        destination: WPort(peer.server.upper()),
                        apdu: &apdu,
                    }
                    .to_bytes();
                    self.tell(LinkEvent::Frame { link, frame }).await?;
                }
                ServerLinkOutput::Disconnected(peer) => {
                    let link = self.links.remove(&peer).expect("it connected before");
                    self.peers.remove(&link);
                    self.tell(LinkEvent::Down { link, closed: None }).await?;
                }
            }
        }
        Ok(())
    }

    async fn tell(&self, event: LinkEvent) -> Result<(), Ending> {
        // Waits while the nodes are busy: the line is not read meanwhile.
        (self.spec.events.send(event).await).map_err(|_| Ending::Ours)
    }
}

async fn until(clock: &crate::clock::Clock, deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(clock.tokio_instant(at)).await,
        None => std::future::pending().await,
    }
}

/// Waits until `stop` turns true, or nobody is there to turn it.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
