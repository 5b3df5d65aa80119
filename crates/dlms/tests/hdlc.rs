//! Two HDLC machines on one line, with everything that lines do to frames.

use std::collections::VecDeque;
use std::time::Duration;

use gridloom_core::seed::Rng;
use gridloom_core::{Instant, Seed};
use gridloom_dlms::hdlc::{
    Address, CLIENTS_MAX, ClientLink, ClientLinkConfig, ClientLinkOutput, Control, Deframer, Frame,
    LinkError, Parameters, Peer, Sequence, ServerLink, ServerLinkConfig, ServerLinkOutput,
};
use rand_core::Rng as _;

/// One client and one server; the server answers each APDU with its bytes in reverse order,
/// repeated as often as the first byte says.
struct Pair {
    client: ClientLink,
    server: ServerLink,
    now: Instant,
    /// What the line does to each frame; a frame may come out several times, or changed.
    line: Box<dyn FnMut(Vec<u8>) -> Vec<Vec<u8>>>,
    heard: Vec<ClientLinkOutput>,
    asked: Vec<Vec<u8>>,
    frames: usize,
}

fn answer_of(apdu: &[u8]) -> Vec<u8> {
    let once: Vec<u8> = apdu.iter().rev().copied().collect();
    once.repeat(1 + usize::from(apdu[0]))
}

impl Pair {
    fn new(client: ClientLinkConfig, server: ServerLinkConfig) -> Self {
        Self {
            client: ClientLink::new(client),
            server: ServerLink::new(server),
            now: Instant::ZERO,
            line: Box::new(|frame| vec![frame]),
            heard: Vec::new(),
            asked: Vec::new(),
            frames: 0,
        }
    }

    fn with(address: Address, parameters: Parameters) -> Self {
        Self::new(
            ClientLinkConfig {
                parameters,
                attempts: 10,
                ..ClientLinkConfig::new(Address::PUBLIC_CLIENT, address)
            },
            ServerLinkConfig::new(1..=300),
        )
    }

    fn cross(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut deframer = Deframer::new();
        deframer.push(bytes);
        let mut out = Vec::new();
        while let Some(frame) = deframer.pull() {
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            self.frames += 1;
            for bytes in (self.line)(bytes) {
                out.extend(bytes);
            }
        }
        out
    }

    /// Drains both machines until nothing is on the line, or the client tells something: whoever
    /// hears it may ask on while copies are still under way.
    fn settle(&mut self) {
        let mut quiet = false;
        while !quiet {
            quiet = true;
            while let Some(output) = self.client.poll_output() {
                quiet = false;
                if let ClientLinkOutput::Transmit(bytes) = &output {
                    let bytes = self.cross(bytes);
                    self.server.handle_bytes(&bytes, self.now);
                } else {
                    self.heard.push(output);
                    return;
                }
            }
            let mut outputs = VecDeque::new();
            while let Some(output) = self.server.poll_output() {
                outputs.push_back(output);
            }
            for output in outputs {
                quiet = false;
                match output {
                    ServerLinkOutput::Transmit(bytes) => {
                        let bytes = self.cross(&bytes);
                        self.client.handle_bytes(&bytes, self.now);
                    }
                    ServerLinkOutput::Apdu { peer, apdu } => {
                        self.server.answer(peer, &answer_of(&apdu));
                        self.asked.push(apdu);
                    }
                    ServerLinkOutput::Connected(_) | ServerLinkOutput::Disconnected(_) => {}
                }
            }
        }
    }

    /// Runs until the client has told something, or for `limit`.
    fn run_until_heard(&mut self, limit: Duration) -> Option<ClientLinkOutput> {
        let end = self.now + limit;
        loop {
            self.settle();
            if !self.heard.is_empty() {
                return Some(self.heard.remove(0));
            }
            let wakes = [self.client.wake(), self.server.wake()];
            let (at, _) = wakes.into_iter().flatten().min()?;
            if at > end {
                return None;
            }
            self.now = self.now.max(at);
            self.client.handle_timeout(self.now);
            self.server.handle_timeout(self.now);
        }
    }

    fn connect(&mut self) -> Parameters {
        self.client.connect(self.now);
        match self.run_until_heard(Duration::from_secs(60)) {
            Some(ClientLinkOutput::Connected(parameters)) => parameters,
            other => panic!("{other:?}"),
        }
    }

    fn ask(&mut self, apdu: &[u8]) {
        let sent = self.client.send(apdu, self.now);
        assert_eq!(sent, Ok(()), "connected, and nothing waits");
        let answer = self.run_until_heard(Duration::from_secs(3_600));
        let Some(ClientLinkOutput::Apdu(answer)) = answer else {
            panic!("no answer to {} bytes: {answer:?}", apdu.len());
        };
        assert!(answer == answer_of(apdu), "another answer");
        assert_eq!(self.asked.pop().as_deref(), Some(apdu));
        assert!(self.asked.is_empty(), "delivered once");
    }
}

fn apdu(first: u8, length: usize) -> Vec<u8> {
    let mut apdu: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
    apdu[0] = first;
    apdu
}

#[test]
fn apdus_of_all_lengths_over_all_parameters_and_addresses() {
    let addresses = [
        Address::one(1),
        Address::two(1, 17),
        Address::four(1, 17),
        Address::four(300, 9_999),
    ];
    for address in addresses {
        for (info, window) in [(128, 1), (128, 7), (2_030, 1), (2_030, 7), (32, 3)] {
            let mut pair = Pair::with(address.unwrap(), Parameters::symmetric(info, window));
            let agreed = pair.connect();
            assert_eq!(agreed, Parameters::symmetric(info, window));
            for (first, length) in [(0, 1), (0, 125), (0, 126), (3, 1_000), (2, 20_000)] {
                pair.ask(&apdu(first, length));
            }
            pair.client.disconnect(pair.now);
            let end = pair.run_until_heard(Duration::from_secs(1));
            assert_eq!(end, Some(ClientLinkOutput::Disconnected(None)));
            assert_eq!(pair.server.peers().count(), 0);
        }
    }
}

#[test]
fn larger_windows_and_fields_save_frames() {
    let frames = |info, window| {
        let mut pair = Pair::with(Address::MANAGEMENT, Parameters::symmetric(info, window));
        pair.connect();
        pair.frames = 0;
        pair.ask(&apdu(0, 10_000));
        pair.frames
    };
    // 79 segments each way; but for the last, each is acknowledged by a frame of its own.
    assert_eq!(frames(128, 1), 2 * (79 + 78));
    assert_eq!(frames(128, 7), 2 * (79 + 11));
    assert_eq!(frames(2_030, 7), 2 * 5);
}

#[test]
fn lost_doubled_and_damaged_frames_change_no_apdu() {
    for seed in 0..300 {
        let mut rng: Rng = Seed::new(seed).child("line").rng();
        let window = 1 + u8::try_from(seed % 7).unwrap();
        let info = [32, 128, 2_030][usize::try_from(seed % 3).unwrap()];
        let mut pair = Pair::with(
            Address::four(1, 16).unwrap(),
            Parameters::symmetric(info, window),
        );
        pair.line = Box::new(move |mut frame| match rng.next_u32() % 20 {
            0 => vec![],
            1 => vec![frame.clone(), frame],
            2 => {
                let at = usize::try_from(rng.next_u32()).unwrap() % frame.len();
                frame[at] ^= 1 << (rng.next_u32() % 8);
                vec![frame]
            }
            3 => vec![b"\x7E\xA7noise~".to_vec(), frame],
            _ => vec![frame],
        });
        pair.connect();
        for (first, length) in [(0, 1), (5, 50), (1, 700), (0, 1_500), (0, 3)] {
            eprintln!("seed {seed}: {length} bytes, window {window}, info {info}");
            pair.ask(&apdu(first, length));
        }
    }
}

#[test]
fn one_doubled_frame_is_no_echo_that_lasts() {
    for doubled in 0..12 {
        let mut pair = Pair::with(Address::MANAGEMENT, Parameters::symmetric(128, 1));
        pair.connect();
        let mut number = 0;
        let mut late = None;
        // The copy arrives just before the next frame of the same end.
        pair.line = Box::new(move |frame| {
            number += 1;
            if number == 1 + doubled {
                late = Some(frame.clone());
            }
            let copy = late.take_if(|_| number == 3 + doubled);
            copy.into_iter().chain([frame]).collect()
        });
        pair.frames = 0;
        for _ in 0..20 {
            pair.ask(&[0, 1, 2]);
        }
        // 40 frames without the fault; repaired within one exchange.
        assert!(pair.frames <= 43, "frame {doubled}: {} frames", pair.frames);
    }
}

#[test]
fn a_dead_line_ends_the_connection_with_a_name() {
    let mut pair = Pair::with(Address::MANAGEMENT, Parameters::default());
    pair.line = Box::new(|_| vec![]);
    pair.client.connect(Instant::ZERO);
    let gone = Some(ClientLinkOutput::Disconnected(Some(LinkError::NoAnswer {
        server: Address::MANAGEMENT,
        attempts: 10,
    })));
    assert_eq!(pair.run_until_heard(Duration::from_secs(60)), gone);
    assert_eq!(pair.frames, 10);

    pair.line = Box::new(|frame| vec![frame]);
    pair.connect();
    pair.line = Box::new(|_| vec![]);
    pair.client.send(&[1], pair.now).unwrap();
    assert_eq!(pair.run_until_heard(Duration::from_secs(60)), gone);
    assert_eq!(
        pair.client.send(&[1], pair.now),
        Err(LinkError::NotConnected)
    );

    pair.line = Box::new(|frame| vec![frame]);
    pair.connect();
    pair.client.handle_lost();
    let lost = ClientLinkOutput::Disconnected(Some(LinkError::Lost));
    assert_eq!(pair.run_until_heard(Duration::from_secs(1)), Some(lost));
}

#[test]
fn a_station_that_wants_the_same_for_ever_is_given_up() {
    let mut pair = Pair::with(Address::MANAGEMENT, Parameters::default());
    pair.connect();
    // Long frames never survive this line.
    pair.line = Box::new(|frame| {
        if frame.len() > 60 {
            vec![]
        } else {
            vec![frame]
        }
    });
    pair.client.send(&[1; 100], pair.now).unwrap();
    let server = Address::MANAGEMENT;
    assert_eq!(
        pair.run_until_heard(Duration::from_secs(600)),
        Some(ClientLinkOutput::Disconnected(Some(
            LinkError::NoProgress { server }
        )))
    );
}

fn control(destination: Address, source: Address, control: Control, info: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Frame {
        destination,
        source,
        control,
        segmented: false,
        info,
    }
    .encode(&mut out);
    out
}

fn controls(outputs: &mut ServerLink) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while let Some(output) = outputs.poll_output() {
        if let ServerLinkOutput::Transmit(bytes) = output {
            let frame = Frame::decode(&bytes[1..bytes.len() - 1]).expect("one frame");
            found.push((frame.control.to_byte(), frame.info.to_vec()));
        }
    }
    found
}

const SNRM: Control = Control::SetNormalResponseMode { poll: true };

#[test]
fn what_a_server_answers_without_and_with_a_connection() {
    let (us, them) = (Address::MANAGEMENT, Address::PUBLIC_CLIENT);
    let zero = Sequence::new(0);
    let information = |poll| Control::Information {
        send: zero,
        receive: zero,
        poll,
    };
    let ready = |receive| Control::ReceiveReady {
        receive: Sequence::new(receive),
        poll: true,
    };
    let long = [0; 129];
    type Answer = Option<(u8, &'static [u8])>;
    // (connected, control, information, answer)
    let cases: [(bool, Control, &[u8], Answer); 15] = [
        (false, information(true), &[1], Some((0x1F, &[]))),
        (false, information(false), &[1], None),
        (false, ready(0), &[], Some((0x1F, &[]))),
        (
            false,
            Control::Disconnect { poll: true },
            &[],
            Some((0x1F, &[])),
        ),
        (false, Control::Unknown(0x3D), &[], Some((0x1F, &[]))),
        (false, SNRM, &[0x81], Some((0x1F, &[]))),
        (
            false,
            Control::SetNormalResponseMode { poll: false },
            &[],
            None,
        ),
        (true, ready(0), &[], Some((0x11, &[]))),
        (
            true,
            Control::Disconnect { poll: true },
            &[],
            Some((0x73, &[])),
        ),
        (
            true,
            Control::Unknown(0x3D),
            &[],
            Some((0x97, &[0x3D, 0, 1])),
        ),
        (true, ready(0), &[1], Some((0x97, &[0x11, 0, 3]))),
        (true, information(true), &long, Some((0x97, &[0x10, 0, 4]))),
        (true, ready(3), &[], Some((0x97, &[0x71, 0, 8]))),
        (
            true,
            Control::UnnumberedAcknowledge { poll: true },
            &[],
            None,
        ),
        // Another protocol's payload: taken, and nothing comes of it.
        (true, information(true), &[1, 2, 3, 4], Some((0x31, &[]))),
    ];
    for (connected, asked, info, expected) in cases {
        let mut server = ServerLink::new(ServerLinkConfig::new(1..=1));
        if connected {
            server.handle_bytes(&control(us, them, SNRM, &[]), Instant::ZERO);
            assert_eq!(controls(&mut server)[0].0, 0x73);
        }
        server.handle_bytes(&control(us, them, asked, info), Instant::ZERO);
        let expected: Vec<(u8, Vec<u8>)> = expected
            .map(|(control, info)| (control, info.to_vec()))
            .into_iter()
            .collect();
        assert_eq!(controls(&mut server), expected, "{connected} {asked:?}");
    }
}

#[test]
fn a_rejected_connection_stays_rejected_until_made_anew() {
    let (us, them) = (Address::MANAGEMENT, Address::PUBLIC_CLIENT);
    let mut server = ServerLink::new(ServerLinkConfig::new(1..=1));
    let mut ask = |asked: Control| {
        server.handle_bytes(&control(us, them, asked, &[]), Instant::ZERO);
        controls(&mut server).first().map(|(control, _)| *control)
    };
    let ready = Control::ReceiveReady {
        receive: Sequence::new(0),
        poll: true,
    };
    assert_eq!(ask(SNRM), Some(0x73));
    assert_eq!(ask(Control::Unknown(0x3D)), Some(0x97));
    assert_eq!(ask(ready), Some(0x97));
    assert_eq!(ask(SNRM), Some(0x73));
    assert_eq!(ask(ready), Some(0x11));
}

#[test]
fn only_frames_to_a_station_of_ours_are_answered() {
    let client = Address::PUBLIC_CLIENT;
    let cases = [
        (Address::one(1), client, true),
        (Address::two(1, 17), client, true),
        (Address::four(5, 17), client, true),
        (Address::one(6), client, false),
        (Address::two(1, 18), client, false),
        (Address::one(0x7F), client, false),
        (Address::two(1, 0x7F), client, false),
        (Address::four(0x3FFF, 17), client, false),
        (Address::one(1), Address::two(16, 1).unwrap(), false),
    ];
    for (server_address, from, answered) in cases {
        let mut server = ServerLink::new(ServerLinkConfig {
            physical: 17..=17,
            ..ServerLinkConfig::new(1..=5)
        });
        let server_address = server_address.unwrap();
        server.handle_bytes(&control(server_address, from, SNRM, &[]), Instant::ZERO);
        assert_eq!(
            server.poll_output().is_some(),
            answered,
            "{server_address} from {from}"
        );
    }
    // Who serves every address still answers no broadcast.
    for to in [
        Address::one(0x7F),
        Address::two(1, 0x7F),
        Address::four(0x3FFF, 1),
    ] {
        let mut server = ServerLink::new(ServerLinkConfig::new(0..=0x3FFF));
        server.handle_bytes(&control(to.unwrap(), client, SNRM, &[]), Instant::ZERO);
        assert_eq!(server.poll_output(), None, "{to:?}");
    }
}

#[test]
fn a_client_ignores_frames_of_others() {
    let config = ClientLinkConfig::new(Address::PUBLIC_CLIENT, Address::two(1, 17).unwrap());
    let ua = Control::UnnumberedAcknowledge { poll: true };
    let cases = [
        (Address::PUBLIC_CLIENT, Address::two(1, 17), true),
        (Address::PUBLIC_CLIENT, Address::one(1), true),
        (Address::PUBLIC_CLIENT, Address::two(1, 18), false),
        (Address::PUBLIC_CLIENT, Address::two(2, 17), false),
        (Address::one(17).unwrap(), Address::two(1, 17), false),
    ];
    for (to, from, taken) in cases {
        let mut client = ClientLink::new(config);
        client.connect(Instant::ZERO);
        client.handle_bytes(&control(to, from.unwrap(), ua, &[]), Instant::ZERO);
        assert_eq!(client.is_connected(), taken, "{from:?} to {to}");
    }
}

#[test]
fn clients_and_logical_devices_share_a_line_up_to_its_bound() {
    let mut server = ServerLink::new(ServerLinkConfig::new(1..=100));
    for number in 1..=u16::try_from(CLIENTS_MAX).unwrap() {
        let to = Address::one(1 + number % 100).unwrap();
        let from = Address::one(number).unwrap();
        server.handle_bytes(&control(to, from, SNRM, &[]), Instant::ZERO);
        assert_eq!(controls(&mut server)[0].0, 0x73, "client {number}");
    }
    let (to, from) = (Address::MANAGEMENT, Address::one(100).unwrap());
    server.handle_bytes(&control(to, from, SNRM, &[]), Instant::ZERO);
    assert_eq!(controls(&mut server)[0].0, 0x1F, "one too many");
    // Silence makes room.
    let (later, name) = server.wake().unwrap();
    assert_eq!(name, "HDLC inactivity");
    server.handle_timeout(later);
    assert_eq!(server.peers().count(), 0);
    while server.poll_output().is_some() {}
    server.handle_bytes(&control(to, from, SNRM, &[]), later);
    assert_eq!(controls(&mut server)[0].0, 0x73);
}

#[test]
fn an_answer_that_takes_long_is_polled_for() {
    let mut pair = Pair::with(Address::MANAGEMENT, Parameters::default());
    pair.connect();
    let peer = Peer {
        client: Address::PUBLIC_CLIENT,
        server: Address::MANAGEMENT,
    };
    pair.client.send(&[1, 2, 3], pair.now).unwrap();
    // The meter thinks for four seconds.
    let mut told = Vec::new();
    while pair.now < Instant::ZERO + Duration::from_secs(4) {
        while let Some(output) = pair.client.poll_output() {
            if let ClientLinkOutput::Transmit(bytes) = output {
                pair.server.handle_bytes(&bytes, pair.now);
            }
        }
        while let Some(output) = pair.server.poll_output() {
            match output {
                ServerLinkOutput::Transmit(bytes) => pair.client.handle_bytes(&bytes, pair.now),
                ServerLinkOutput::Apdu { apdu, .. } => told.push(apdu),
                ServerLinkOutput::Connected(_) | ServerLinkOutput::Disconnected(_) => {}
            }
        }
        let wakes = [pair.client.wake(), pair.server.wake()];
        pair.now = wakes.into_iter().flatten().min().unwrap().0;
        pair.client.handle_timeout(pair.now);
        pair.server.handle_timeout(pair.now);
    }
    assert_eq!(told, [[1, 2, 3]]);
    pair.server.answer(peer, &[9; 500]);
    assert_eq!(
        pair.run_until_heard(Duration::from_secs(2)),
        Some(ClientLinkOutput::Apdu(vec![9; 500]))
    );
}

#[test]
fn pushes_come_outside_the_numbering_even_in_segments() {
    let mut pair = Pair::with(Address::MANAGEMENT, Parameters::default());
    let peer = Peer {
        client: Address::PUBLIC_CLIENT,
        server: Address::MANAGEMENT,
    };
    for connected in [false, true] {
        if connected {
            pair.connect();
        }
        for length in [1, 5_000] {
            pair.server.notify(peer, &vec![0x0F; length]);
            assert_eq!(
                pair.run_until_heard(Duration::from_secs(1)),
                Some(ClientLinkOutput::Notification(vec![0x0F; length]))
            );
        }
    }
    pair.ask(&[0, 1, 2]);
}

#[test]
fn a_silent_client_is_dropped_and_told_so() {
    let mut pair = Pair::with(Address::MANAGEMENT, Parameters::default());
    pair.connect();
    assert_eq!(pair.run_until_heard(Duration::from_secs(200)), None);
    assert_eq!(pair.server.peers().count(), 0);
    pair.client.send(&[1], pair.now).unwrap();
    let error = LinkError::Refused {
        server: Address::MANAGEMENT,
        client: Address::PUBLIC_CLIENT,
    };
    assert_eq!(
        pair.run_until_heard(Duration::from_secs(1)),
        Some(ClientLinkOutput::Disconnected(Some(error)))
    );
}
