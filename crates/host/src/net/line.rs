//! A serial line as a link: pieces of its bytes as they come, for a node that finds its frames in
//! them.

use serial2_tokio::SerialPort;
use tokio::time::timeout;

use super::counters::{Ending, add, count};
use super::link::{Begun, FLUSH_TIMEOUT, LinkEvent, LinkSpec, Queue, begin, hung_up};

/// Bytes taken from a line at once: one long frame.
const CHUNK: usize = 2 * 1024;

/// Runs a line until the node closes it or the device is gone.
pub(super) async fn run(port: SerialPort, spec: &LinkSpec) {
    let Some(Begun {
        link,
        queue,
        hang_up,
    }) = begin(spec, None).await
    else {
        return;
    };
    let ending = tokio::select! {
        biased; // A link that is cut has lost its queue too; the cut is the reason.
        ending = hung_up(hang_up) => ending,
        ending = read(&port, link, spec) => ending,
        ending = write(&port, queue, spec) => ending,
    };
    // The next one opens the device: it must be free before the node hears that it is.
    drop(port);
    spec.net.note_ending(link, None, &ending);
    // A runner that is gone needs no news.
    let _ = spec
        .events
        .send(LinkEvent::Down { link, closed: None })
        .await;
}

async fn read(port: &SerialPort, link: gridloom_nodes::LinkId, spec: &LinkSpec) -> Ending {
    let counters = spec.net.counters();
    let mut chunk = [0; CHUNK];
    loop {
        let length = match port.read(&mut chunk).await {
            Ok(0) => return Ending::Theirs,
            Ok(length) => length,
            Err(error) => return Ending::Broken(error.kind()),
        };
        add(&counters.bytes_in, length);
        let frame = chunk[..length].to_vec();
        let frame = LinkEvent::Frame { link, frame };
        if spec.events.send(frame).await.is_err() {
            return Ending::Ours;
        }
    }
}

async fn write(port: &SerialPort, mut queue: Queue, spec: &LinkSpec) -> Ending {
    let counters = spec.net.counters();
    while let Some(frame) = queue.next().await {
        match timeout(FLUSH_TIMEOUT, port.write_all(&frame)).await {
            Ok(Ok(())) => {
                count(&counters.frames_out);
                add(&counters.bytes_out, frame.len());
            }
            Ok(Err(error)) => return Ending::Broken(error.kind()),
            Err(_elapsed) => return Ending::SlowReader,
        }
    }
    Ending::Ours
}
