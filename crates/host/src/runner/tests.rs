//! Toy nodes over real sockets. Every wait is for an event, never for time to pass.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use gridloom_core::{Instant, Now, Seed, UtcTime, Wake};
use gridloom_nodes::{
    DialId, DiskReply, DiskRequest, Input, LineFault, LinkId, Node, Output, Port, Wire,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::clock::{Clock, Speed};
use crate::disk::{CellDisk, DataDirectory, Disk, DiskParts};
use crate::net::{Backoff, NetCounts};

/// A whole test waits at most this long for an event that does not come.
const PATIENCE: Duration = Duration::from_secs(30);

type React = fn(&mut Probe, &Input, Now);

/// Tells the test what it hears, and reacts as the test says.
struct Probe {
    heard: mpsc::UnboundedSender<Input>,
    react: React,
    outbox: VecDeque<Output>,
    wake: Wake,
}

impl Node for Probe {
    fn handle(&mut self, input: Input, now: Now) {
        assert!(self.outbox.is_empty(), "host must drain outputs");
        (self.react)(self, &input, now);
        // The test may have ended.
        let _ = self.heard.send(input);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    fn wake(&self) -> Wake {
        self.wake
    }
}

fn probe(react: React) -> (Probe, mpsc::UnboundedReceiver<Input>) {
    let (heard, hears) = mpsc::unbounded_channel();
    let probe = Probe {
        heard,
        react,
        outbox: VecDeque::new(),
        wake: Wake::default(),
    };
    (probe, hears)
}

/// A frame in either framing: a wrapped APDU of one byte.
const HELLO: [u8; 9] = [0, 1, 0, 1, 0, 102, 0, 1, 0xAA];

fn silent(_: &mut Probe, _: &Input, _: Now) {}

fn echo(probe: &mut Probe, input: &Input, _: Now) {
    if let Input::Frame { link, frame } = input {
        let (link, frame) = (*link, frame.clone());
        probe.outbox.push_back(Output::Send { link, frame });
    }
}

fn greet(probe: &mut Probe, input: &Input, _: Now) {
    if let Input::LinkUp { link, .. } = input {
        let (link, frame) = (*link, HELLO.to_vec());
        probe.outbox.push_back(Output::Send { link, frame });
    }
}

fn real_net() -> Net {
    Net::new(Clock::realtime(), Seed::new(1))
}

async fn within<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wait)
        .await
        .expect("the event comes in time")
}

async fn next(hears: &mut mpsc::UnboundedReceiver<Input>) -> Input {
    within(hears.recv()).await.expect("the node lives")
}

/// Reads until the other side closes; tells how many bytes came.
async fn read_to_end(stream: &mut TcpStream) -> usize {
    let mut bytes = Vec::new();
    // A reset is an end too.
    let _ = within(stream.read_to_end(&mut bytes)).await;
    bytes.len()
}

async fn loopback() -> Listener {
    Listener::bind("--listen", "127.0.0.1:0").await.unwrap()
}

struct Served {
    running: Running<Probe>,
    hears: mpsc::UnboundedReceiver<Input>,
    address: SocketAddr,
    net: Net,
}

/// One listening probe.
async fn serve(react: React, options: ListenOptions) -> Served {
    let net = real_net();
    let (node, hears) = probe(react);
    let mut runner = Runner::new(net.clone());
    let node = runner.add("server", node);
    let listener = loopback().await;
    let address = listener.address();
    runner.listen(node, listener, options);
    Served {
        running: runner.start(),
        hears,
        address,
        net,
    }
}

#[tokio::test]
async fn two_nodes_talk_in_both_framings_and_end_cleanly() {
    for framing in [Framing::DlmsWrapper, Framing::Envelope] {
        let mut server = serve(echo, ListenOptions::new(framing)).await;
        let (client, mut client_hears) = probe(greet);
        let mut runner = Runner::new(real_net());
        let client = runner.add("client", client);
        runner.dial(client, server.address.into(), DialOptions::new(framing));
        let running = runner.start();

        let Input::LinkUp { link, port } = next(&mut client_hears).await else {
            panic!("the client's link comes up first");
        };
        assert_eq!(port, Port::Up);
        let frame = HELLO.to_vec();
        assert_eq!(next(&mut client_hears).await, Input::Frame { link, frame });
        assert!(matches!(
            next(&mut server.hears).await,
            Input::LinkUp {
                port: Port::Down,
                ..
            }
        ));
        assert!(matches!(next(&mut server.hears).await, Input::Frame { .. }));

        within(running.stop()).await;
        assert!(matches!(
            next(&mut server.hears).await,
            Input::LinkDown { .. }
        ));
        within(server.running.stop()).await;
        let counts = server.net.counts();
        assert_eq!(
            (counts.accepted, counts.frames_in, counts.frames_out),
            (1, 1, 1)
        );
        assert_eq!((counts.ended, counts.malformed), (1, 0));
    }
}

#[tokio::test]
async fn what_is_no_frame_closes_that_link_only() {
    let mut server = serve(echo, ListenOptions::new(Framing::Envelope)).await;
    let mut good = TcpStream::connect(server.address).await.unwrap();
    assert!(matches!(
        next(&mut server.hears).await,
        Input::LinkUp { .. }
    ));
    let seed = Seed::new(99);
    let mut cases = vec![
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0, 0, 0, 0],
        vec![0xFF; 64],
        [vec![0, 0, 0, 1, 7], vec![0x7F; 9]].concat(),
    ];
    cases.extend((0..20).map(|case| {
        let random = (0..30).flat_map(|at| seed.nth(case).nth(at).get().to_le_bytes());
        std::iter::once(0x80).chain(random).collect()
    }));
    let bad = cases.len();
    for bytes in cases {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        read_to_end(&mut stream).await;
    }
    let (mut ups, mut frames, mut faults) = (0, Vec::new(), Vec::new());
    for _ in 0..3 * bad + 1 {
        match next(&mut server.hears).await {
            Input::LinkUp { .. } => ups += 1,
            Input::Frame { frame, .. } => frames.push(frame),
            Input::LinkDown { .. } => {}
            Input::LinkFault { closed, .. } => faults.push(closed.fault),
            Input::DialFailed { .. } | Input::Disk(_) | Input::Timeout => panic!("not asked for"),
        }
    }
    assert_eq!(
        (ups, frames),
        (bad, vec![vec![7]]),
        "whole frames before it count"
    );
    assert_eq!(faults, vec![LineFault::NoFrame; bad]);
    assert_eq!(server.net.counts().malformed, bad as u64);

    good.write_all(&[0, 0, 0, 2, 4, 2]).await.unwrap();
    let mut answer = [0; 6];
    within(good.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, [0, 0, 0, 2, 4, 2]);
    within(server.running.stop()).await;
}

#[tokio::test]
async fn dribbled_and_idle_links_are_closed() {
    type Case<'a> = (LinkLimits, &'a [u8], fn(NetCounts) -> u64);
    let limits = LinkLimits {
        partial_frame: Duration::from_millis(30),
        idle: None,
        ..LinkLimits::default()
    };
    let cases: [Case<'_>; 3] = [
        (limits, &[0, 0, 0], |counts| counts.partial_frames),
        (limits, &[0, 0, 0, 1, 9, 0, 0, 0, 5, 1], |counts| {
            counts.partial_frames
        }),
        (
            LinkLimits {
                idle: Some(Duration::from_millis(30)),
                ..LinkLimits::default()
            },
            &[0, 0, 0, 1, 9],
            |counts| counts.idle,
        ),
    ];
    for (limits, bytes, count) in cases {
        let options = ListenOptions {
            limits,
            ..ListenOptions::new(Framing::Envelope)
        };
        let server = serve(silent, options).await;
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        assert_eq!(read_to_end(&mut stream).await, 0);
        within(server.running.stop()).await;
        assert_eq!(count(server.net.counts()), 1, "{bytes:?}");
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_cut() {
    fn flood(probe: &mut Probe, input: &Input, _: Now) {
        if let Input::LinkUp { link, .. } = input {
            let frame = vec![7; 512 * 1024];
            let link = *link;
            probe.outbox.extend((0..64).map(|_| Output::Send {
                link,
                frame: frame.clone(),
            }));
        }
    }
    for (queue_frames, queue_bytes) in [(4, usize::MAX), (1_024, 1024 * 1024)] {
        let options = ListenOptions {
            limits: LinkLimits {
                queue_frames,
                queue_bytes,
                ..LinkLimits::default()
            },
            ..ListenOptions::new(Framing::Envelope)
        };
        let mut server = serve(flood, options).await;
        let stream = TcpStream::connect(server.address).await.unwrap();
        assert!(matches!(
            next(&mut server.hears).await,
            Input::LinkUp { .. }
        ));
        let fault = next(&mut server.hears).await;
        let Input::LinkFault { closed, .. } = fault else {
            panic!("{fault:?}");
        };
        assert_eq!(closed.fault, LineFault::SlowReader);
        assert_eq!(closed.address, Some(stream.local_addr().unwrap().ip()));
        assert!(matches!(
            next(&mut server.hears).await,
            Input::LinkDown { .. }
        ));
        assert_eq!(server.net.counts().slow_readers, 1);
        drop(stream);
        within(server.running.stop()).await;
    }
}

#[tokio::test]
async fn a_thousand_connections_are_served_and_not_one_more() {
    const MAX: usize = 1_000;
    let options = ListenOptions {
        connections_max: MAX,
        ..ListenOptions::new(Framing::Envelope)
    };
    let mut server = serve(echo, options).await;
    let mut streams = Vec::new();
    for _ in 0..MAX {
        streams.push(TcpStream::connect(server.address).await.unwrap());
    }
    for _ in 0..MAX {
        assert!(matches!(
            next(&mut server.hears).await,
            Input::LinkUp { .. }
        ));
    }
    for _ in 0..50 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        assert_eq!(read_to_end(&mut stream).await, 0);
    }
    let counts = server.net.counts();
    assert_eq!((counts.accepted, counts.refused), (1_000, 50));

    // A place that is given back is given out again.
    drop(streams.pop());
    assert!(matches!(
        next(&mut server.hears).await,
        Input::LinkDown { .. }
    ));
    within(async {
        loop {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            let mut answer = [0; 5];
            let talked = stream.write_all(&[0, 0, 0, 1, 9]).await.is_ok()
                && stream.read_exact(&mut answer).await.is_ok();
            if talked {
                break;
            }
        }
    })
    .await;
    within(server.running.stop()).await;
}

#[tokio::test]
async fn a_neighbour_that_comes_back_is_found_again() {
    let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = first.local_addr().unwrap();
    let (client, mut hears) = probe(greet);
    let mut runner = Runner::new(real_net());
    let client = runner.add("client", client);
    let options = DialOptions {
        backoff: Backoff {
            first: Duration::from_millis(1),
            max: Duration::from_millis(10),
        },
        first_within: Duration::from_millis(1),
        ..DialOptions::new(Framing::Envelope)
    };
    runner.dial(client, address.into(), options);
    let running = runner.start();
    let mut links = Vec::new();
    let mut listener = Some(first);
    for _ in 0..3 {
        let listening = match listener.take() {
            Some(listening) => listening,
            None => TcpListener::bind(address).await.unwrap(),
        };
        let (mut stream, _) = within(listening.accept()).await.unwrap();
        let mut hello = [0; 13];
        within(stream.read_exact(&mut hello)).await.unwrap();
        assert_eq!(hello[..], [&[0, 0, 0, 9], &HELLO[..]].concat());
        let Input::LinkUp { link, .. } = next(&mut hears).await else {
            panic!("up before down");
        };
        links.push(link);
        drop(listening);
        drop(stream);
        assert_eq!(next(&mut hears).await, Input::LinkDown { link });
    }
    assert!(
        links.is_sorted_by(|a, b| a < b),
        "numbers are never used again"
    );
    within(running.stop()).await;
}

#[tokio::test]
async fn a_node_closes_a_link_after_its_last_frame_and_hears_no_more() {
    fn answer_and_close(probe: &mut Probe, input: &Input, _: Now) {
        if let Input::Frame { link, frame } = input {
            let (link, frame) = (*link, frame.clone());
            probe.outbox.push_back(Output::Send { link, frame });
            let reason = "enough";
            probe.outbox.push_back(Output::Close { link, reason });
            // What is sent on a link that is gone is swallowed.
            let frame = vec![1];
            probe.outbox.push_back(Output::Send { link, frame });
            let (link, frame) = (LinkId(u64::MAX), vec![1]);
            probe.outbox.push_back(Output::Send { link, frame });
        }
    }
    let mut server = serve(answer_and_close, ListenOptions::new(Framing::Envelope)).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(&[0, 0, 0, 1, 7, 0, 0, 0, 1, 8])
        .await
        .unwrap();
    assert!(matches!(
        next(&mut server.hears).await,
        Input::LinkUp { .. }
    ));
    assert!(matches!(next(&mut server.hears).await, Input::Frame { .. }));
    assert!(matches!(
        next(&mut server.hears).await,
        Input::LinkDown { .. }
    ));
    assert_eq!(read_to_end(&mut stream).await, 5);
    within(server.running.stop()).await;
}

#[tokio::test]
async fn timers_run_on_both_clocks() {
    fn tick(probe: &mut Probe, input: &Input, now: Now) {
        assert_eq!(*input, Input::Timeout);
        assert!(probe.wake.is_due(now), "never early");
        let Wake { instant, utc } = probe.wake;
        probe.wake = Wake {
            instant: instant
                .filter(|(at, _)| *at > now.instant)
                .or(instant.map(|(at, _)| (at + Duration::from_millis(2), "retry"))),
            utc: utc
                .filter(|(at, _)| *at > now.utc)
                .or(utc.map(|(at, _)| (at + Duration::from_mins(30), "interval"))),
        };
    }
    let base = UtcTime::parse("2013-01-01T00:00:00Z").unwrap();
    let clock = Clock::accelerated(base, Speed::MAX.to_string().parse().unwrap());
    let net = Net::new(clock, Seed::new(1));
    let mut runner = Runner::new(net);
    let mut all_hear = Vec::new();
    for meter in 0..100 {
        let (mut node, hears) = probe(tick);
        node.wake = Wake {
            instant: (meter % 2 == 0).then_some((Instant::ZERO, "retry")),
            utc: Some((base + Duration::from_mins(30), "interval")),
        };
        runner.add(&format!("meter{meter}"), node);
        all_hear.push(hears);
    }
    let running = runner.start();
    for hears in &mut all_hear {
        for _ in 0..3 {
            assert_eq!(next(hears).await, Input::Timeout);
        }
    }
    let nodes = within(running.stop()).await;
    for node in nodes {
        let (at, _) = node.wake.utc.unwrap();
        assert!(at > base + Duration::from_mins(30));
    }
}

#[tokio::test]
async fn calls_see_nodes_between_inputs_and_their_outputs_are_carried_out() {
    let mut server = serve(echo, ListenOptions::new(Framing::Envelope)).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let Input::LinkUp { link, .. } = next(&mut server.hears).await else {
        panic!("the link comes up");
    };
    let handle = server.running.handle();
    let waiting = handle
        .call(NodeIndex(0), move |node, _| {
            let frame = vec![5];
            node.outbox.push_back(Output::Send { link, frame });
            node.outbox.len()
        })
        .await;
    assert_eq!(waiting, Ok(1));
    let mut frame = [0; 5];
    within(stream.read_exact(&mut frame)).await.unwrap();
    assert_eq!(frame, [0, 0, 0, 1, 5]);
    let each = handle.call_each(|index, _, _| index).await;
    assert_eq!(each, Ok(vec![NodeIndex(0)]));
    within(server.running.stop()).await;
    assert_eq!(handle.call(NodeIndex(0), |_, _| ()).await, Err(Stopped));
}

#[tokio::test]
async fn a_fleet_remembers_and_stops_only_when_the_disk_has_answered() {
    const METERS: u64 = 300;
    const EACH: u64 = 40; // More in all than may be outstanding.
    fn remember(probe: &mut Probe, input: &Input, _: Now) {
        probe.wake = Wake::default();
        if *input == Input::Timeout {
            probe.outbox.extend((0..EACH).map(|ticket| {
                Output::Disk(DiskRequest::Remember {
                    ticket,
                    slot: "profile",
                    bytes: ticket.to_be_bytes().to_vec(),
                })
            }));
        }
    }
    let temporary = tempfile::tempdir().unwrap();
    let directory = DataDirectory::open("--data", temporary.path()).unwrap();
    let parts = DiskParts {
        cells: Some(CellDisk::open(&directory).unwrap()),
        ..DiskParts::default()
    };
    let disk = Disk::start("field", parts).unwrap();
    let mut runner = Runner::new(real_net());
    runner.disk(disk.handle());
    let mut all_hear = Vec::new();
    for meter in 0..METERS {
        let (mut node, hears) = probe(remember);
        node.wake.instant = Some((Instant::ZERO, "boot"));
        runner.add(&format!("meter{meter}"), node);
        all_hear.push(hears);
    }
    let running = runner.start();
    for hears in &mut all_hear {
        assert_eq!(next(hears).await, Input::Timeout);
    }
    within(running.stop()).await;
    for hears in &mut all_hear {
        for ticket in 0..EACH {
            let done = DiskReply::Done {
                ticket,
                result: Ok(()),
            };
            assert_eq!(hears.try_recv(), Ok(Input::Disk(done)));
        }
    }
    let parts = disk.close();
    let cells = parts.cells.unwrap();
    for meter in 0..METERS {
        let memory = cells.all_of(&format!("meter{meter}")).unwrap();
        let last = (EACH - 1).to_be_bytes().to_vec();
        assert_eq!(memory, [("profile".to_owned(), last)].into());
    }
}

#[tokio::test]
#[should_panic(expected = "hermit was given no disk and asks for one")]
async fn a_node_without_a_disk_may_not_ask_for_one() {
    let (mut node, _hears) = probe(silent);
    node.outbox.push_back(Output::Disk(DiskRequest::Remember {
        ticket: 1,
        slot: "cell",
        bytes: Vec::new(),
    }));
    let mut runner = Runner::new(real_net());
    runner.add("hermit", node);
    within(runner.start().ended()).await;
}

#[tokio::test]
#[should_panic(expected = "the disk of orphan ended before its runner")]
async fn a_disk_that_is_gone_stops_its_nodes() {
    fn remember(probe: &mut Probe, _: &Input, _: Now) {
        probe.outbox.push_back(Output::Disk(DiskRequest::Remember {
            ticket: 1,
            slot: "cell",
            bytes: Vec::new(),
        }));
    }
    let temporary = tempfile::tempdir().unwrap();
    let directory = DataDirectory::open("--data", temporary.path()).unwrap();
    let parts = DiskParts {
        cells: Some(CellDisk::open(&directory).unwrap()),
        ..DiskParts::default()
    };
    let disk = Disk::start("field", parts).unwrap();
    let (mut node, _hears) = probe(remember);
    node.wake.instant = Some((Instant::ZERO, "boot"));
    let mut runner = Runner::new(real_net());
    runner.disk(disk.handle());
    runner.add("orphan", node);
    disk.close();
    within(runner.start().ended()).await;
}

#[tokio::test]
#[should_panic(expected = "a node sends frames of 1 to 1048576 bytes in Envelope, not 1048577")]
async fn a_frame_that_is_too_long_stops_the_node_that_sends_it() {
    fn boast(probe: &mut Probe, input: &Input, _: Now) {
        if let Input::LinkUp { link, .. } = input {
            let (link, frame) = (*link, vec![0; Framing::Envelope.frame_max() + 1]);
            probe.outbox.push_back(Output::Send { link, frame });
        }
    }
    let mut server = serve(boast, ListenOptions::new(Framing::Envelope)).await;
    let _stream = TcpStream::connect(server.address).await.unwrap();
    within(server.running.ended()).await;
}

#[tokio::test]
async fn a_node_connects_to_whom_it_wants_and_hears_why_it_cannot() {
    let mut server = serve(echo, ListenOptions::new(Framing::DlmsWrapper)).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = gone.local_addr().unwrap().to_string();
    drop(gone);
    let there = server.address.to_string();
    let (client, mut hears) = probe(greet);
    let mut runner = Runner::new(real_net());
    let client = runner.add("client", client);
    let running = runner.start();
    let cases = [
        (there, Wire::Wrapper, None),
        (nobody, Wire::Bytes, Some("refused")),
        ("no address".to_owned(), Wire::Bytes, Some("HOST:PORT")),
    ];
    for (number, (address, wire, fails)) in (0..).zip(cases) {
        let dial = DialId(number);
        let call = move |node: &mut Probe, _: Now| {
            node.outbox.push_back(Output::Dial {
                dial,
                address,
                wire,
            });
        };
        running.handle().call(client, call).await.unwrap();
        match (next(&mut hears).await, fails) {
            (Input::LinkUp { port, link }, None) => {
                assert_eq!(port, Port::Dialled(dial));
                let frame = HELLO.to_vec();
                assert_eq!(next(&mut hears).await, Input::Frame { link, frame });
            }
            (Input::DialFailed { dial: of, reason }, Some(words)) => {
                assert_eq!(of, dial);
                assert!(reason.contains(words), "{reason}");
            }
            (input, expected) => panic!("{input:?}, not {expected:?}"),
        }
    }
    within(running.stop()).await;
    assert!(matches!(
        next(&mut server.hears).await,
        Input::LinkUp { .. }
    ));
    within(server.running.stop()).await;
}
