//! A link of datagrams to one peer: each frame is one datagram, and any of them may be lost.

use tokio::net::UdpSocket;

use super::counters::{Ending, add, count};
use super::link::{Begun, LinkEvent, LinkSpec, Queue, begin, hung_up};

/// The longest datagram.
const DATAGRAM_MAX: usize = 65_535;

/// Runs a link over a socket that is connected to its peer, until the node closes it or the
/// system says that nobody is there.
pub(super) async fn run(socket: UdpSocket, spec: &LinkSpec) {
    let peer = socket.peer_addr().ok();
    let Some(Begun {
        link,
        queue,
        hang_up,
    }) = begin(spec, peer).await
    else {
        return;
    };
    let ending = tokio::select! {
        biased; // A link that is cut has lost its queue too; the cut is the reason.
        ending = hung_up(hang_up) => ending,
        ending = read(&socket, link, spec) => ending,
        ending = write(&socket, queue, spec) => ending,
    };
    spec.net.note_ending(link, peer, &ending);
    // A runner that is gone needs no news.
    let _ = spec
        .events
        .send(LinkEvent::Down { link, closed: None })
        .await;
}

async fn read(socket: &UdpSocket, link: gridloom_nodes::LinkId, spec: &LinkSpec) -> Ending {
    let counters = spec.net.counters();
    let mut datagram = vec![0; DATAGRAM_MAX];
    loop {
        let length = match socket.recv(&mut datagram).await {
            Ok(length) => length,
            Err(error) => return Ending::Broken(error.kind()),
        };
        add(&counters.bytes_in, length);
        count(&counters.frames_in);
        let frame = datagram[..length].to_vec();
        let frame = LinkEvent::Frame { link, frame };
        if spec.events.send(frame).await.is_err() {
            return Ending::Ours;
        }
    }
}

async fn write(socket: &UdpSocket, mut queue: Queue, spec: &LinkSpec) -> Ending {
    let counters = spec.net.counters();
    while let Some(frame) = queue.next().await {
        match socket.send(&frame).await {
            Ok(sent) => {
                count(&counters.frames_out);
                add(&counters.bytes_out, sent);
            }
            Err(error) => return Ending::Broken(error.kind()),
        }
    }
    Ending::Ours
}
