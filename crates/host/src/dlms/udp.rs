//! The wrapper over UDP: one socket, a link for every client and server port of every address
//! that asks. Nothing tells when a client is gone, so a link ends with the release of its
//! association, or after a minute of silence.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gridloom_core::Instant;
use gridloom_dlms::association::Rlre;
use gridloom_dlms::wrapper::{self, HEADER_LEN, WPort};
use gridloom_nodes::LinkId;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};

use super::hdlc::stopped;
use crate::net::{LinkEvent, LinkSpec, LinkWriter, SharedOrder, add, count};

/// Clients that one socket remembers; datagrams of one more are dropped.
pub const UDP_PEERS_MAX: usize = 20_000;

/// A client that is silent for this long is forgotten: a meter serves few at a time.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// How often silent clients are looked for.
const SWEEP: Duration = Duration::from_secs(5);

/// Once the runner stops, how often it is seen whether answers may still come.
const STOP_CHECK: Duration = Duration::from_millis(20);

/// The longest datagram.
const DATAGRAM_MAX: usize = 65_535;

/// Who asks whom, from where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Asker {
    address: SocketAddr,
    client: WPort,
    server: WPort,
}

struct Peer {
    link: LinkId,
    heard_at: Instant,
}

/// Serves a socket until `stop` turns true and nothing is left to answer.
pub(super) async fn run(socket: UdpSocket, spec: LinkSpec, mut stop: watch::Receiver<bool>) {
    let (orders_in, mut orders) = mpsc::channel(spec.limits.queue_frames);
    let mut table = Table {
        spec: &spec,
        orders_in,
        queued_bytes: Arc::default(),
        peers: BTreeMap::new(),
        askers: BTreeMap::new(),
    };
    let mut datagram = vec![0; DATAGRAM_MAX];
    let mut stopping = *stop.borrow();
    loop {
        if stopping && table.orders_in.strong_count() == 1 && orders.is_empty() {
            return;
        }
        let pause = if stopping { STOP_CHECK } else { SWEEP };
        let step = tokio::select! {
            received = socket.recv_from(&mut datagram), if !stopping => match received {
                Ok((length, from)) => table.receive(&datagram[..length], from).await,
                // An answer that could not be delivered is told here; the next one may be.
                Err(error) => {
                    tracing::debug!(%error, "receiving a datagram failed");
                    Ok(())
                }
            },
            order = orders.recv() => {
                let order = order.expect("a sender is kept here");
                table.carry_out(order, &socket).await
            }
            () = stopped(&mut stop), if !stopping => {
                stopping = true;
                Ok(())
            }
            () = tokio::time::sleep(pause) => table.sweep().await,
        };
        if step.is_err() {
            return;
        }
    }
}

/// The runner is gone.
struct Gone;

struct Table<'a> {
    spec: &'a LinkSpec,
    orders_in: mpsc::Sender<SharedOrder>,
    queued_bytes: Arc<AtomicUsize>,
    peers: BTreeMap<Asker, Peer>,
    askers: BTreeMap<LinkId, Asker>,
}

impl Table<'_> {
    async fn receive(&mut self, datagram: &[u8], from: SocketAddr) -> Result<(), Gone> {
        let counters = self.spec.net.counters();
        add(&counters.bytes_in, datagram.len());
        let asker = match wrapper::Frame::decode(datagram) {
            Ok(frame) => Asker {
                address: from,
                client: frame.source,
                server: frame.destination,
            },
            Err(error) => {
                count(&counters.malformed);
                tracing::debug!(%from, %error, "dropped a datagram");
                return Ok(());
            }
        };
        count(&counters.frames_in);
        let now = self.spec.net.clock().now().instant;
        let known = self.peers.get_mut(&asker).map(|peer| {
            peer.heard_at = now;
            peer.link
        });
        let link = match known {
            Some(link) => link,
            None if self.peers.len() >= UDP_PEERS_MAX => {
                self.spec.net.note_refused(from, UDP_PEERS_MAX);
                return Ok(());
            }
            None => self.admit(asker, now).await?,
        };
        let frame = datagram.to_vec();
        self.tell(LinkEvent::Frame { link, frame }).await
    }

    async fn admit(&mut self, asker: Asker, now: Instant) -> Result<LinkId, Gone> {
        let link = self.spec.net.next_link();
        let heard_at = now;
        self.peers.insert(asker, Peer { link, heard_at });
        self.askers.insert(link, asker);
        count(&self.spec.net.counters().accepted);
        let writer = LinkWriter::shared(
            self.spec,
            link,
            self.orders_in.clone(),
            Arc::clone(&self.queued_bytes),
        );
        self.tell(LinkEvent::Up {
            route: self.spec.route,
            port: self.spec.port_of(Some(asker.address)),
            link,
            writer,
        })
        .await?;
        Ok(link)
    }

    async fn carry_out(&mut self, order: SharedOrder, socket: &UdpSocket) -> Result<(), Gone> {
        match order {
            SharedOrder::Frame(link, frame) => {
                self.queued_bytes.fetch_sub(frame.len(), Ordering::Relaxed);
                let Some(asker) = self.askers.get(&link).copied() else {
                    return Ok(());
                };
                let to = asker.address;
                match socket.send_to(&frame, to).await {
                    Ok(sent) => {
                        let counters = self.spec.net.counters();
                        count(&counters.frames_out);
                        add(&counters.bytes_out, sent);
                    }
                    // Datagrams may be lost; the client asks again.
                    Err(error) => tracing::debug!(%to, %error, "sending a datagram failed"),
                }
                // If this answer is lost, the release that is asked again finds a new link.
                if frame.get(HEADER_LEN) == Some(&Rlre::TAG) {
                    self.forget(asker).await?;
                }
                Ok(())
            }
            SharedOrder::Close(link) => match self.askers.get(&link).copied() {
                Some(asker) => self.forget(asker).await,
                None => Ok(()),
            },
        }
    }

    async fn sweep(&mut self) -> Result<(), Gone> {
        let silence_max = self
            .spec
            .limits
            .idle
            .map_or(SILENCE_MAX, |idle| idle.min(SILENCE_MAX));
        let now = self.spec.net.clock().now().instant;
        let silent: Vec<Asker> = self
            .peers
            .iter()
            .filter(|(_, peer)| now >= peer.heard_at + silence_max)
            .map(|(asker, _)| *asker)
            .collect();
        for asker in silent {
            self.forget(asker).await?;
        }
        Ok(())
    }

    async fn forget(&mut self, asker: Asker) -> Result<(), Gone> {
        let peer = self.peers.remove(&asker).expect("it is known");
        self.askers.remove(&peer.link);
        count(&self.spec.net.counters().ended);
        self.tell(LinkEvent::Down {
            link: peer.link,
            closed: None,
        })
        .await
    }

    async fn tell(&self, event: LinkEvent) -> Result<(), Gone> {
        // Waits while the nodes are busy: the system drops datagrams meanwhile.
        self.spec.events.send(event).await.map_err(|_| Gone)
    }
}
