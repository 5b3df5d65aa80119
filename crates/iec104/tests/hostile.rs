//! Peers that break the rules, octet by octet, and what each side makes of it.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for one variant"
)]

mod checks;
mod wire;

use gridloom_core::Now;
use gridloom_iec104::{
    Answer, CloseReason, Command, CommandTime, ConnectionId, Event, Frame, LinkId, Master,
    MasterOutput, Notice, Order, Outcome, Outstation, OutstationOutput, REPLIES_MAX, RequestId,
    Sequence, Task, Token, Unnumbered,
};
use wire::{ioa, later, seconds, start, usual_master};

const TIME: [u8; 7] = [0x00, 0x00, 0x00, 0x0C, 0xD5, 0x0B, 0x1A];

/// A controlling station written by hand: it counts its frames, and reads what comes.
struct Raw {
    station: Outstation,
    id: ConnectionId,
    now: Now,
    send: Sequence,
    receive: Sequence,
    asdus: Vec<Vec<u8>>,
    notices: Vec<Notice>,
    closed: Option<CloseReason>,
    requests: usize,
    tokens: Vec<Token>,
}

impl Raw {
    fn started() -> Self {
        let mut raw = Self {
            station: checks::a_station(),
            id: ConnectionId(1),
            now: start(),
            send: Sequence::ZERO,
            receive: Sequence::ZERO,
            asdus: Vec::new(),
            notices: Vec::new(),
            closed: None,
            requests: 0,
            tokens: Vec::new(),
        };
        raw.station.handle_opened(raw.id, raw.now);
        raw.bytes(&Frame::Unnumbered(Unnumbered::StartAct).encode());
        raw.asdus.clear(); // M_EI.
        raw
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.station.handle_bytes(self.id, bytes, self.now);
        while let Some(output) = self.station.poll_output() {
            match output {
                OutstationOutput::Transmit(_, bytes) if bytes[2] & 1 == 0 => {
                    self.asdus.push(bytes[6..].to_vec());
                    self.receive = self.receive.next();
                }
                OutstationOutput::Transmit(..) => {}
                OutstationOutput::Close(_, reason) => self.closed = Some(reason),
                OutstationOutput::Request(token, _) => {
                    self.requests += 1;
                    self.tokens.push(token);
                }
                OutstationOutput::Clock(_) => {}
                OutstationOutput::Notice(notice) => self.notices.push(notice),
            }
        }
    }

    /// Sends an ASDU and acknowledges everything; returns what came back.
    fn ask(&mut self, asdu: &[u8]) -> Vec<Vec<u8>> {
        self.asdus.clear();
        self.tell(asdu, self.receive);
        self.bytes(
            &Frame::Supervisory {
                receive: self.receive,
            }
            .encode(),
        );
        core::mem::take(&mut self.asdus)
    }

    fn tell(&mut self, asdu: &[u8], receive: Sequence) {
        let frame = Frame::Information {
            send: self.send,
            receive,
            asdu: asdu.to_vec(),
        };
        self.send = self.send.next();
        self.bytes(&frame.encode());
    }
}

/// The answers to requests that are wrong in one thing; the first thing wrong decides.
#[test]
fn what_a_station_refuses_and_how() {
    // Type, VSQ, cause, originator, common address, object, element.
    type Case = (&'static str, Vec<u8>, Vec<Vec<u8>>);
    let cases: Vec<Case> = vec![
        (
            "type of no profile",
            vec![127, 1, 6, 9, 1, 0, 1, 0, 0, 0],
            vec![vec![127, 1, 0x6C, 9, 1, 0, 1, 0, 0, 0]],
        ),
        (
            "type of the monitor direction",
            vec![1, 1, 3, 9, 1, 0, 1, 0, 0, 1],
            vec![vec![1, 1, 0x6C, 9, 1, 0, 1, 0, 0, 1]],
        ),
        (
            "cause spontaneous",
            vec![45, 1, 3, 9, 1, 0, 10, 0, 0, 1],
            vec![vec![45, 1, 0x6D, 9, 1, 0, 10, 0, 0, 1]],
        ),
        (
            "reserved cause",
            vec![100, 1, 14, 0, 1, 0, 0, 0, 0, 20],
            vec![vec![100, 1, 0x6D, 0, 1, 0, 0, 0, 0, 20]],
        ),
        (
            "confirmation as a request",
            vec![100, 1, 7, 0, 1, 0, 0, 0, 0, 20],
            vec![vec![100, 1, 0x6D, 0, 1, 0, 0, 0, 0, 20]],
        ),
        (
            "read by activation",
            vec![102, 1, 6, 0, 1, 0, 1, 0, 0],
            vec![vec![102, 1, 0x6D, 0, 1, 0, 1, 0, 0]],
        ),
        (
            "another station",
            vec![100, 1, 6, 0, 2, 0, 0, 0, 0, 20],
            vec![vec![100, 1, 0x6E, 0, 2, 0, 0, 0, 0, 20]],
        ),
        (
            "no station",
            vec![100, 1, 6, 0, 0, 0, 0, 0, 0, 20],
            vec![vec![100, 1, 0x6E, 0, 0, 0, 0, 0, 0, 20]],
        ),
        (
            "a command to all stations",
            vec![45, 1, 6, 0, 0xFF, 0xFF, 10, 0, 0, 0x81],
            vec![vec![45, 1, 0x6E, 0, 0xFF, 0xFF, 10, 0, 0, 0x81]],
        ),
        (
            "no such object",
            vec![45, 1, 6, 0, 1, 0, 99, 0, 0, 1],
            vec![vec![45, 1, 0x6F, 0, 1, 0, 99, 0, 0, 1]],
        ),
        (
            "an object in a system command",
            vec![100, 1, 6, 0, 1, 0, 1, 0, 0, 20],
            vec![vec![100, 1, 0x6F, 0, 1, 0, 1, 0, 0, 20]],
        ),
        (
            "test bit and originator come back",
            vec![45, 1, 0x86, 9, 1, 0, 99, 0, 0, 1],
            vec![vec![45, 1, 0xEF, 9, 1, 0, 99, 0, 0, 1]],
        ),
        (
            "state 3 of a double command",
            vec![46, 1, 6, 0, 1, 0, 11, 0, 0, 3],
            vec![vec![46, 1, 0x47, 0, 1, 0, 11, 0, 0, 3]],
        ),
        (
            "reserved interrogation",
            vec![100, 1, 6, 0, 1, 0, 0, 0, 0, 37],
            vec![vec![100, 1, 0x47, 0, 1, 0, 0, 0, 0, 37]],
        ),
        ("too short to answer", vec![100, 1, 6], vec![]),
        ("too long", vec![100, 1, 6, 0, 1, 0, 0, 0, 0, 20, 0], vec![]),
        (
            "two commands in one",
            vec![45, 2, 6, 0, 1, 0, 10, 0, 0, 0x81, 12, 0, 0, 0x81],
            vec![],
        ),
        (
            "negative activation",
            vec![100, 1, 0x46, 0, 1, 0, 0, 0, 0, 20],
            vec![],
        ),
        (
            "a command too old",
            [
                vec![59, 1, 6, 0, 1, 0, 11, 0, 0, 1],
                vec![0, 0, 0, 11, 0xD5, 0x0B, 0x1A],
            ]
            .concat(),
            vec![
                [
                    vec![59, 1, 0x47, 0, 1, 0, 11, 0, 0, 1],
                    vec![0, 0, 0, 11, 0xD5, 0x0B, 0x1A],
                ]
                .concat(),
            ],
        ),
        (
            "a command whose time is invalid",
            [
                vec![59, 1, 6, 0, 1, 0, 11, 0, 0, 1],
                vec![0, 0, 0x80, 12, 0xD5, 0x0B, 0x1A],
            ]
            .concat(),
            vec![
                [
                    vec![59, 1, 0x47, 0, 1, 0, 11, 0, 0, 1],
                    vec![0, 0, 0x80, 12, 0xD5, 0x0B, 0x1A],
                ]
                .concat(),
            ],
        ),
        (
            "a clock that does not exist",
            [
                vec![103, 1, 6, 0, 1, 0, 0, 0, 0],
                vec![0, 0, 0, 0x1F, 0xD5, 0x0B, 0x1A],
            ]
            .concat(),
            vec![
                [
                    vec![103, 1, 0x47, 0, 1, 0, 0, 0, 0],
                    vec![0, 0, 0, 0x1F, 0xD5, 0x0B, 0x1A],
                ]
                .concat(),
            ],
        ),
    ];
    for (what, asdu, answers) in cases {
        let mut raw = Raw::started();
        assert_eq!(raw.ask(&asdu), answers, "{what}");
        assert_eq!(raw.requests, 0, "{what}: the user never hears of it");
        assert_eq!(raw.closed, None, "{what}: the connection stays");
        let is_named = raw
            .notices
            .iter()
            .any(|n| matches!(n, Notice::Refused { .. } | Notice::Malformed(..)));
        assert_eq!(is_named, what != "negative activation", "{what}");
    }
}

/// What is sent for a test is answered like the real thing, and moves nothing.
#[test]
fn the_test_bit_moves_nothing() {
    let mut raw = Raw::started();
    let command = [45, 1, 0x86, 9, 1, 0, 10, 0, 0, 0x81];
    let confirmed = [45, 1, 0x87, 9, 1, 0, 10, 0, 0, 0x81];
    assert_eq!(raw.ask(&command), [confirmed]);
    assert_eq!(raw.requests, 0);
    // Nothing was selected.
    let execute = [45, 1, 6, 9, 1, 0, 10, 0, 0, 0x01];
    assert_eq!(raw.ask(&execute), [[45, 1, 0x47, 9, 1, 0, 10, 0, 0, 0x01]]);
    let direct = [46, 1, 0x86, 9, 1, 0, 11, 0, 0, 2];
    let answers = [
        [46, 1, 0x87, 9, 1, 0, 11, 0, 0, 2],
        [46, 1, 0x8A, 9, 1, 0, 11, 0, 0, 2],
    ];
    assert_eq!(raw.ask(&direct), answers);
    assert_eq!(raw.requests, 0);
}

/// Octets of a whole interrogation and of a broadcast, by hand.
#[test]
fn an_interrogation_by_hand() {
    let mut raw = Raw::started();
    let invalid = 0x80;
    let group_1 = [100, 1, 6, 2, 1, 0, 0, 0, 0, 21];
    let answers: Vec<Vec<u8>> = vec![
        vec![100, 1, 7, 2, 1, 0, 0, 0, 0, 21],
        vec![1, 1, 21, 2, 1, 0, 1, 0, 0, invalid | 1],
        vec![13, 1, 21, 2, 1, 0, 2, 0, 0, 0, 0, 0xC0, 0x7F, invalid],
        vec![11, 1, 21, 2, 1, 0, 3, 0, 0, 1, 0, invalid],
        vec![100, 1, 10, 2, 1, 0, 0, 0, 0, 21],
    ];
    assert_eq!(raw.ask(&group_1), answers);
    let to_all = [101, 1, 6, 0, 0xFF, 0xFF, 0, 0, 0, 5];
    let answers: Vec<Vec<u8>> = vec![
        vec![101, 1, 7, 0, 1, 0, 0, 0, 0, 5],
        vec![15, 1, 37, 0, 1, 0, 4, 0, 0, 0, 0, 0, 0, invalid],
        vec![101, 1, 10, 0, 1, 0, 0, 0, 0, 5],
    ];
    assert_eq!(raw.ask(&to_all), answers);
    // The clock is confirmed with the station's own time: 2026-11-21 12:00:00.
    let clock = [
        &[103, 1, 6, 0, 1, 0, 0, 0, 0][..],
        &[9, 9, 1, 13, 0x15, 11, 26],
    ]
    .concat();
    let confirmed = [&[103, 1, 7, 0, 1, 0, 0, 0, 0][..], &TIME].concat();
    assert_eq!(raw.ask(&clock), [confirmed]);
}

#[test]
fn who_asks_and_never_reads_is_cut_off() {
    let mut raw = Raw::started();
    let read = [102, 1, 5, 0, 1, 0, 1, 0, 0];
    let mut told = 0;
    while raw.closed.is_none() {
        raw.tell(&read, Sequence::ZERO);
        told += 1;
        assert!(told < 1_000, "nobody cuts it off");
    }
    assert_eq!(raw.closed, Some(CloseReason::Flooded));
    // Eleven answers beside M_EI went into the window.
    assert_eq!(told, REPLIES_MAX + 11 + 1);
    assert_eq!(raw.asdus.len(), 11);
}

#[test]
fn one_started_connection_and_so_many_at_all() {
    let mut raw = Raw::started();
    let other = ConnectionId(2);
    raw.station.handle_opened(other, raw.now);
    raw.id = other;
    raw.bytes(&Frame::Unnumbered(Unnumbered::StartAct).encode());
    assert_eq!(raw.closed, Some(CloseReason::Superseded));
    assert_eq!(raw.station.active(), Some(other));
    // M_EI was never acknowledged: it comes again, as the first.
    assert_eq!(raw.asdus[0][..3], [70, 1, 4]);
    for number in 3..6 {
        raw.station.handle_opened(ConnectionId(number), raw.now);
        assert_eq!(raw.station.poll_output(), None);
    }
    raw.station.handle_opened(ConnectionId(6), raw.now);
    let crowded = OutstationOutput::Close(ConnectionId(6), CloseReason::Crowded);
    assert_eq!(raw.station.poll_output(), Some(crowded));
    // Bytes of a connection that is closed mean nothing.
    raw.station.handle_bytes(ConnectionId(6), b"hello", raw.now);
    assert_eq!(raw.station.poll_output(), None);
}

/// What comes in the same octets as the fault is not carried out.
#[test]
fn a_command_before_garbage_is_not_believed() {
    let mut raw = Raw::started();
    let frame = Frame::Information {
        send: Sequence::ZERO,
        receive: Sequence::ZERO,
        asdu: vec![46, 1, 6, 9, 1, 0, 11, 0, 0, 2],
    };
    raw.bytes(&[frame.encode(), vec![0x00]].concat());
    assert!(matches!(raw.closed, Some(CloseReason::Frame(_))));
    assert_eq!(raw.requests, 0);
}

/// A controlled station written by hand, before our master.
struct RawStation {
    master: Master,
    now: Now,
    send: Sequence,
    receive: Sequence,
    asdus: Vec<Vec<u8>>,
    events: Vec<Event>,
}

impl RawStation {
    fn started() -> Self {
        let mut config = usual_master(1);
        config.interrogation = gridloom_iec104::Routine::Never;
        let mut raw = Self {
            master: Master::new(config).unwrap(),
            now: start(),
            send: Sequence::ZERO,
            receive: Sequence::ZERO,
            asdus: Vec::new(),
            events: Vec::new(),
        };
        raw.master.handle_timeout(raw.now);
        raw.drain();
        raw.master.handle_opened(LinkId(0), raw.now);
        raw.drain();
        let con = Frame::Unnumbered(Unnumbered::StartCon).encode();
        raw.master.handle_bytes(LinkId(0), &con, raw.now);
        raw.drain();
        raw.events.clear();
        raw
    }

    fn drain(&mut self) {
        while let Some(output) = self.master.poll_output() {
            match output {
                MasterOutput::Transmit(_, bytes) if bytes[2] & 1 == 0 => {
                    self.asdus.push(bytes[6..].to_vec());
                    self.receive = self.receive.next();
                }
                MasterOutput::Event(event) => self.events.push(event),
                MasterOutput::Transmit(..) | MasterOutput::Connect(_) | MasterOutput::Close(..) => {
                }
            }
        }
    }

    fn say(&mut self, asdu: &[u8]) {
        let frame = Frame::Information {
            send: self.send,
            receive: self.receive,
            asdu: asdu.to_vec(),
        };
        self.send = self.send.next();
        self.master
            .handle_bytes(LinkId(0), &frame.encode(), self.now);
        self.drain();
    }

    fn ask(&mut self, task: Task) -> RequestId {
        let id = self.master.request(task, self.now).unwrap();
        self.drain();
        id
    }

    fn wait(&mut self, length: u64) {
        self.now = later(self.now, seconds(length));
        self.master.handle_timeout(self.now);
        self.drain();
    }
}

fn breaker() -> Order {
    Order {
        address: ioa(10),
        command: Command::Single(true),
        qualifier: 0,
        time: CommandTime::Untagged,
    }
}

#[test]
fn answers_of_a_station_and_their_outcomes() {
    type Case<'a> = (&'a str, &'a [&'a [u8]], Option<Outcome>);
    let con: &[u8] = &[45, 1, 0x07, 3, 7, 0, 10, 0, 0, 1];
    let cases: [Case<'_>; 14] = [
        (
            "in order",
            &[con, &[45, 1, 0x0A, 3, 7, 0, 10, 0, 0, 1]],
            Some(Outcome::Terminated),
        ),
        (
            "S/E = 1 in the termination",
            &[con, &[45, 1, 0x0A, 3, 7, 0, 10, 0, 0, 0x81]],
            Some(Outcome::Terminated),
        ),
        (
            "terminated negatively",
            &[con, &[45, 1, 0x4A, 3, 7, 0, 10, 0, 0, 1]],
            Some(Outcome::Failed),
        ),
        (
            "confirmed negatively",
            &[&[45, 1, 0x47, 3, 7, 0, 10, 0, 0, 1]],
            Some(Outcome::Refused),
        ),
        (
            "44",
            &[&[45, 1, 0x6C, 3, 7, 0, 10, 0, 0, 1]],
            Some(Outcome::UnknownType),
        ),
        (
            "45",
            &[&[45, 1, 0x6D, 3, 7, 0, 10, 0, 0, 1]],
            Some(Outcome::UnknownCause),
        ),
        (
            "46, without P/N",
            &[&[45, 1, 0x2E, 3, 7, 0, 10, 0, 0, 1]],
            Some(Outcome::UnknownCommonAddress),
        ),
        (
            "47",
            &[&[45, 1, 0x6F, 3, 7, 0, 10, 0, 0, 1]],
            Some(Outcome::UnknownObjectAddress),
        ),
        (
            "another object",
            &[&[45, 1, 0x07, 3, 7, 0, 11, 0, 0, 1]],
            None,
        ),
        (
            "another type",
            &[&[58, 1, 0x07, 3, 7, 0, 10, 0, 0, 1, 0, 0, 0, 12, 0xD5, 11, 26]],
            None,
        ),
        (
            "another state",
            &[&[45, 1, 0x07, 3, 7, 0, 10, 0, 0, 0]],
            None,
        ),
        (
            "the confirmation of a selection",
            &[&[45, 1, 0x07, 3, 7, 0, 10, 0, 0, 0x81]],
            None,
        ),
        (
            "the confirmation of a cancellation",
            &[&[45, 1, 0x09, 3, 7, 0, 10, 0, 0, 1]],
            None,
        ),
        (
            "another station",
            &[&[45, 1, 0x07, 3, 8, 0, 10, 0, 0, 1]],
            None,
        ),
    ];
    for (what, answers, outcome) in cases {
        let mut raw = RawStation::started();
        let id = raw.ask(Task::Execute(breaker()));
        assert_eq!(raw.asdus, [[45, 1, 6, 3, 7, 0, 10, 0, 0, 1]]);
        for answer in answers {
            raw.say(answer);
        }
        let finished = raw.events.iter().find_map(|event| match event {
            Event::Finished(of, outcome) if *of == id => Some(*outcome),
            _ => None,
        });
        assert_eq!(finished, outcome, "{what}");
        if outcome.is_none() {
            let is_told = raw
                .events
                .iter()
                .any(|e| matches!(e, Event::Unmatched { .. } | Event::Stranger(8)));
            assert!(is_told, "{what}");
            raw.wait(10);
            let late = Event::Finished(id, Outcome::NoConfirmation);
            assert!(raw.events.contains(&late), "{what}");
        }
    }
}

#[test]
fn a_command_that_is_never_terminated_says_so() {
    let mut raw = RawStation::started();
    let id = raw.ask(Task::Execute(breaker()));
    raw.say(&[45, 1, 0x07, 3, 7, 0, 10, 0, 0, 1]);
    assert_eq!(raw.events, [Event::Confirmed(id)]);
    for _ in 0..6 {
        // The link lives: the station tests it.
        raw.master.handle_bytes(
            LinkId(0),
            &Frame::Unnumbered(Unnumbered::TestAct).encode(),
            raw.now,
        );
        raw.drain();
        raw.wait(10);
    }
    let outcome = Event::Finished(id, Outcome::NotTerminated);
    assert!(raw.events.contains(&outcome), "{:?}", raw.events);
}

/// A host that comes late prolongs no selection, no question and no command.
#[test]
fn a_late_wake_prolongs_nothing() {
    let mut raw = Raw::started();
    raw.tell(&[45, 1, 6, 9, 1, 0, 10, 0, 0, 0x81], raw.receive);
    let answer = raw.station.answer(raw.tokens[0], Answer::Confirm, raw.now);
    assert_eq!(answer, Ok(()));
    while raw.station.poll_output().is_some() {}
    raw.receive = raw.receive.next();
    raw.now = later(raw.now, seconds(30));
    let execute = [45, 1, 6, 9, 1, 0, 10, 0, 0, 1];
    assert_eq!(raw.ask(&execute), [[45, 1, 0x47, 9, 1, 0, 10, 0, 0, 1]]);
    let mut raw = Raw::started();
    raw.tell(&[46, 1, 6, 9, 1, 0, 11, 0, 0, 2], raw.receive);
    raw.now = later(raw.now, seconds(5));
    let answer = raw.station.answer(raw.tokens[0], Answer::Confirm, raw.now);
    assert!(answer.is_err(), "the question was open for five seconds");

    let mut raw = RawStation::started();
    for number in 0..12 {
        raw.ask(Task::Read(ioa(100 + number)));
    }
    raw.ask(Task::Execute(breaker()));
    assert_eq!(raw.asdus.len(), 12, "the window is full");
    raw.now = later(raw.now, seconds(10));
    let acknowledged = Frame::Supervisory {
        receive: raw.receive,
    };
    raw.master
        .handle_bytes(LinkId(0), &acknowledged.encode(), raw.now);
    raw.drain();
    assert_eq!(raw.asdus.len(), 12, "too late to send it");
}
