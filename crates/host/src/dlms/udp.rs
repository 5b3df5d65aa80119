//! The wrapper over UDP: one socket, a link for every address that asks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gridloom_core::Instant;
use gridloom_dlms::wrapper::{self, HEADER_LEN};
use gridloom_nodes::LinkId;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};

use super::hdlc::stopped;
use crate::net::{LinkEvent, LinkSpec, LinkWriter, SharedOrder, add, count};

/// Addresses that one socket remembers; datagrams of one more are dropped.
pub const UDP_PEERS_MAX: usize = 20_000;

/// An address that is silent for this long is forgotten, where the listener sets no other bound.
const SILENCE_MAX: Duration = Duration::from_secs(600);

/// How often silent addresses are looked for.
const SWEEP: Duration = Duration::from_secs(5);

/// Once the runner stops, how often it is seen whether answers may still come.
const STOP_CHECK: Duration = Duration::from_millis(20);

/// The longest datagram.
const DATAGRAM_MAX: usize = 65_535;

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
        addresses: BTreeMap::new(),
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
    peers: BTreeMap<SocketAddr, Peer>,
    addresses: BTreeMap<LinkId, SocketAddr>,
}

impl Table<'_> {
    async fn receive(&mut self, datagram: &[u8], from: SocketAddr) -> Result<(), Gone> {
        let counters = self.spec.net.counters();
        add(&counters.bytes_in, datagram.len());
        if let Err(error) = wrapper::Frame::decode(datagram) {
            count(&counters.malformed);
            tracing::debug!(%from, %error, "dropped a datagram");
            return Ok(());
        }
        count(&counters.frames_in);
        let now = self.spec.net.clock().now().instant;
        let known = self.peers.get_mut(&from).map(|peer| {
            peer.heard_at = now;
            peer.link
        });
        let link = match known {
            Some(link) => link,
            None if self.peers.len() >= UDP_PEERS_MAX => {
                self.spec.net.note_refused(from, UDP_PEERS_MAX);
                return Ok(());
            }
            None => self.admit(from, now).await?,
        };
        let frame = datagram.to_vec();
        self.tell(LinkEvent::Frame { link, frame }).await
    }

    async fn admit(&mut self, from: SocketAddr, now: Instant) -> Result<LinkId, Gone> {
        let link = self.spec.net.next_link();
        let heard_at = now;
        self.peers.insert(from, Peer { link, heard_at });
        self.addresses.insert(link, from);
        count(&self.spec.net.counters().accepted);
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
        Ok(link)
    }

    async fn carry_out(&mut self, order: SharedOrder, socket: &UdpSocket) -> Result<(), Gone> {
        match order {
            SharedOrder::Frame(link, frame) => {
                self.queued_bytes.fetch_sub(frame.len(), Ordering::Relaxed);
                let Some(to) = self.addresses.get(&link) else {
                    return Ok(());
                };
                assert!(frame.len() > HEADER_LEN, "a node wraps what it sends");
                match socket.send_to(&frame, to).await {
                    Ok(sent) => {
                        let counters = self.spec.net.counters();
                        count(&counters.frames_out);
                        add(&counters.bytes_out, sent);
                    }
                    // Datagrams may be lost; the client asks again.
                    Err(error) => tracing::debug!(%to, %error, "sending a datagram failed"),
                }
                Ok(())
            }
            SharedOrder::Close(link) => match self.addresses.get(&link) {
                Some(address) => self.forget(*address).await,
                None => Ok(()),
            },
        }
    }

    async fn sweep(&mut self) -> Result<(), Gone> {
        let silence_max = self.spec.limits.idle.unwrap_or(SILENCE_MAX);
        let now = self.spec.net.clock().now().instant;
        let silent: Vec<SocketAddr> = self
            .peers
            .iter()
            .filter(|(_, peer)| now >= peer.heard_at + silence_max)
            .map(|(address, _)| *address)
            .collect();
        for address in silent {
            self.forget(address).await?;
        }
        Ok(())
    }

    async fn forget(&mut self, address: SocketAddr) -> Result<(), Gone> {
        let peer = self.peers.remove(&address).expect("it is known");
        self.addresses.remove(&peer.link);
        count(&self.spec.net.counters().ended);
        self.tell(LinkEvent::Down { link: peer.link }).await
    }

    async fn tell(&self, event: LinkEvent) -> Result<(), Gone> {
        // Waits while the nodes are busy: the system drops datagrams meanwhile.
        self.spec.events.send(event).await.map_err(|_| Gone)
    }
}
