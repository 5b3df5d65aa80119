use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

fn just_before(instant: Instant) -> Instant {
    Instant::from_nanos(instant.as_nanos() - 1)
}

fn drain(link: &mut Link) -> Vec<LinkOutput> {
    core::iter::from_fn(|| link.poll_output()).collect()
}

fn u(function: Unnumbered) -> Vec<u8> {
    Frame::Unnumbered(function).encode()
}

fn s(receive: u16) -> Vec<u8> {
    Frame::Supervisory {
        receive: Sequence::new(receive),
    }
    .encode()
}

fn i(send: u16, receive: u16) -> Vec<u8> {
    Frame::Information {
        send: Sequence::new(send),
        receive: Sequence::new(receive),
        asdu: vec![9],
    }
    .encode()
}

fn feed(link: &mut Link, bytes: &[u8], now: Instant) -> Vec<LinkOutput> {
    link.handle_bytes(bytes, now);
    drain(link)
}

fn tick(link: &mut Link, now: Instant) -> Vec<LinkOutput> {
    link.handle_timeout(now);
    drain(link)
}

fn transmit(bytes: Vec<u8>) -> LinkOutput {
    LinkOutput::Transmit(bytes)
}

fn received() -> LinkOutput {
    LinkOutput::Received(vec![9])
}

fn open(role: Role) -> Link {
    let mut link = Link::new(role, Timing::default());
    link.handle_opened(at(0));
    link
}

fn started(role: Role) -> Link {
    let mut link = open(role);
    let outputs = match role {
        Role::Controlled => feed(&mut link, &u(Unnumbered::StartAct), at(0)),
        Role::Controlling => {
            link.start(at(0));
            assert_eq!(drain(&mut link), [transmit(u(Unnumbered::StartAct))]);
            feed(&mut link, &u(Unnumbered::StartCon), at(0))
        }
    };
    assert_eq!(outputs.last(), Some(&LinkOutput::Started));
    link
}

fn closed(outputs: &[LinkOutput]) -> Option<CloseReason> {
    match outputs.last() {
        Some(LinkOutput::Close(reason)) => Some(*reason),
        _ => None,
    }
}

/// Each timer does its work at its time, and nothing a nanosecond before.
#[test]
fn every_timer_at_its_time() {
    type Case = (
        &'static str,
        fn() -> Link,
        u64,
        &'static str,
        Vec<LinkOutput>,
    );
    let cases: Vec<Case> = vec![
        (
            "t0 for the connection",
            || {
                let mut link = Link::new(Role::Controlling, Timing::default());
                link.handle_connecting(at(100));
                link
            },
            130,
            "t0",
            vec![LinkOutput::Close(CloseReason::NotConnected)],
        ),
        (
            "t1 for STARTDT",
            || {
                let mut link = open(Role::Controlling);
                link.start(at(3));
                drain(&mut link);
                link
            },
            18,
            "t1",
            vec![LinkOutput::Close(CloseReason::NoAnswer(
                Unnumbered::StartAct,
            ))],
        ),
        (
            "t1 for STOPDT",
            || {
                let mut link = started(Role::Controlling);
                link.stop(at(4));
                drain(&mut link);
                link
            },
            19,
            "t1",
            vec![LinkOutput::Close(CloseReason::NoAnswer(
                Unnumbered::StopAct,
            ))],
        ),
        (
            "t1 for the oldest I-frame",
            || {
                let mut link = started(Role::Controlled);
                for second in [2, 3, 5] {
                    link.send(vec![1], at(second));
                }
                drain(&mut link);
                feed(&mut link, &s(1), at(6));
                link
            },
            18,
            "t1",
            vec![LinkOutput::Close(CloseReason::NoAcknowledgement(
                Sequence::new(1),
            ))],
        ),
        (
            "t2 from the first I-frame received",
            || {
                let mut link = started(Role::Controlling);
                feed(&mut link, &i(0, 0), at(5));
                feed(&mut link, &i(1, 0), at(12));
                link
            },
            15,
            "t2",
            vec![transmit(s(2))],
        ),
        (
            "t3 from the last frame heard",
            || {
                let mut link = open(Role::Controlled);
                feed(&mut link, &u(Unnumbered::TestAct), at(7));
                link
            },
            27,
            "t3",
            vec![transmit(u(Unnumbered::TestAct))],
        ),
        (
            "t1 for TESTFR, which their question does not answer",
            || {
                let mut link = open(Role::Controlling);
                assert_eq!(tick(&mut link, at(20)), [transmit(u(Unnumbered::TestAct))]);
                feed(&mut link, &u(Unnumbered::TestAct), at(30));
                link
            },
            35,
            "t1",
            vec![LinkOutput::Close(CloseReason::NoAnswer(
                Unnumbered::TestAct,
            ))],
        ),
    ];
    for (what, make, second, timer, outputs) in cases {
        let mut link = make();
        assert_eq!(link.wake(), Some((at(second), timer)), "{what}");
        assert_eq!(tick(&mut link, just_before(at(second))), [], "{what}");
        assert_eq!(tick(&mut link, at(second)), outputs, "{what}");
        let ended = closed(&outputs).is_some();
        assert_eq!(link.is_down(), ended, "{what}");
        assert_eq!(link.wake().is_none(), ended, "{what}");
    }
}

#[test]
fn a_standby_link_lives_by_tests_alone() {
    let mut link = open(Role::Controlling);
    for round in 1..100 {
        let due = at(round * 21 - 1);
        assert_eq!(link.wake(), Some((due, "t3")));
        assert_eq!(tick(&mut link, due), [transmit(u(Unnumbered::TestAct))]);
        assert_eq!(link.wake(), Some((due + SECOND * 15, "t1")));
        assert_eq!(
            feed(&mut link, &u(Unnumbered::TestCon), due + SECOND),
            [],
            "round {round}"
        );
    }
}

#[test]
fn w_frames_are_acknowledged_at_once_and_by_an_own_frame() {
    let mut link = started(Role::Controlling);
    for n in 0..7 {
        assert_eq!(feed(&mut link, &i(n, 0), at(1)), [received()]);
    }
    assert_eq!(
        feed(&mut link, &i(7, 0), at(1)),
        [transmit(s(8)), received()]
    );
    assert_eq!(link.wake(), Some((at(21), "t3")), "nothing is owed");
    feed(&mut link, &i(8, 0), at(2));
    link.send(vec![9], at(3));
    assert_eq!(drain(&mut link), [transmit(i(0, 9))]);
    assert_eq!(link.wake(), Some((at(18), "t1")), "t2 has stopped");
}

#[test]
fn k_frames_and_no_more() {
    let mut link = started(Role::Controlled);
    for n in 0..12 {
        assert!(link.can_send());
        link.send(vec![9], at(1));
        assert_eq!(drain(&mut link), [transmit(i(n, 0))]);
    }
    assert!(!link.can_send());
    assert_eq!(feed(&mut link, &s(5), at(2)), [LinkOutput::Acknowledged(5)]);
    assert!(link.can_send());
    assert_eq!(feed(&mut link, &s(5), at(2)), [], "twice is no news");
}

#[test]
fn numbers_go_round() {
    let mut link = started(Role::Controlled);
    for n in 0..40_000_u32 {
        let number = Sequence::new(u16::try_from(n % 32_768).unwrap());
        let next = number.next().get();
        link.send(vec![9], at(1));
        drain(&mut link);
        let outputs = feed(&mut link, &i(number.get(), next), at(1));
        assert_eq!(
            outputs,
            [LinkOutput::Acknowledged(1), received()],
            "frame {n}"
        );
        assert_eq!(link.owed, 1, "each frame of ours acknowledges theirs");
    }
}

#[test]
fn frames_out_of_place_end_the_connection() {
    use CloseReason::{Frame as Bad, ReceiveSequence, SendSequence, Unexpected};
    use Role::{Controlled, Controlling};
    let sequence = Sequence::new;
    let gap = |expected, got| SendSequence {
        expected: sequence(expected),
        got: sequence(got),
    };
    let beyond = |got| ReceiveSequence {
        oldest: sequence(0),
        next: sequence(0),
        got: sequence(got),
    };
    type Case = (&'static str, Link, Vec<u8>, CloseReason);
    let cases: Vec<Case> = vec![
        ("data before STARTDT", open(Controlled), i(0, 0), Unexpected),
        (
            "data nobody started",
            open(Controlling),
            i(0, 0),
            Unexpected,
        ),
        ("a lost frame", started(Controlled), i(1, 0), gap(0, 1)),
        (
            "a doubled frame",
            started(Controlled),
            [i(0, 0), i(0, 0)].concat(),
            gap(1, 0),
        ),
        ("N(R) of the future", started(Controlled), s(1), beyond(1)),
        (
            "N(R) of the past",
            started(Controlling),
            s(32_767),
            beyond(32_767),
        ),
        (
            "N(R) in an I-frame",
            started(Controlling),
            i(0, 3),
            beyond(3),
        ),
        (
            "STARTDT to the one who asks",
            open(Controlling),
            u(Unnumbered::StartAct),
            Unexpected,
        ),
        (
            "a confirmation unasked",
            open(Controlling),
            u(Unnumbered::StartCon),
            Unexpected,
        ),
        (
            "STOPDT con unasked",
            started(Controlling),
            u(Unnumbered::StopCon),
            Unexpected,
        ),
        (
            "no frame",
            open(Controlled),
            vec![0x68, 4, 3, 0, 0, 0],
            Bad(FrameError::Control([3, 0, 0, 0])),
        ),
        (
            "no IEC 104",
            open(Controlled),
            b"SSH-2".to_vec(),
            Bad(FrameError::Start(b'S')),
        ),
    ];
    for (what, mut link, bytes, reason) in cases {
        let outputs = feed(&mut link, &bytes, at(1));
        assert_eq!(closed(&outputs), Some(reason), "{what}");
        assert!(link.is_down(), "{what}");
        // What comes after is ignored.
        assert_eq!(
            feed(&mut link, &u(Unnumbered::TestAct), at(2)),
            [],
            "{what}"
        );
    }
}

#[test]
fn stopdt_waits_until_everything_is_acknowledged() {
    let mut station = started(Role::Controlled);
    feed(&mut station, &i(0, 0), at(1));
    station.send(vec![9], at(1));
    station.send(vec![9], at(1));
    drain(&mut station);
    feed(&mut station, &i(1, 0), at(1));
    assert_eq!(
        feed(&mut station, &u(Unnumbered::StopAct), at(2)),
        [transmit(s(2))]
    );
    assert!(!station.can_send());
    assert_eq!(
        feed(&mut station, &s(1), at(2)),
        [LinkOutput::Acknowledged(1)]
    );
    assert_eq!(
        feed(&mut station, &s(2), at(2)),
        [
            LinkOutput::Acknowledged(1),
            transmit(u(Unnumbered::StopCon)),
            LinkOutput::Stopped
        ]
    );
    // Started again, both go on counting.
    feed(&mut station, &u(Unnumbered::StartAct), at(3));
    station.send(vec![9], at(3));
    assert_eq!(drain(&mut station), [transmit(i(2, 2))]);
}

#[test]
fn the_one_who_stops_takes_what_is_on_its_way() {
    let mut master = started(Role::Controlling);
    feed(&mut master, &i(0, 0), at(1));
    master.stop(at(2));
    assert_eq!(
        drain(&mut master),
        [transmit(s(1)), transmit(u(Unnumbered::StopAct))]
    );
    assert_eq!(
        feed(&mut master, &i(1, 0), at(2)),
        [transmit(s(2)), received()]
    );
    assert_eq!(
        feed(&mut master, &u(Unnumbered::StopCon), at(3)),
        [LinkOutput::Stopped]
    );
    assert!(master.is_open() && !master.is_started());
}

#[test]
fn timings_that_cannot_work_are_named() {
    let good = Timing::default();
    assert_eq!(good.check(), Ok(()));
    let cases = [
        (
            Timing {
                t2: good.t1,
                ..good
            },
            "t2 (15s) must be below t1",
        ),
        (
            Timing {
                t3: Duration::ZERO,
                ..good
            },
            "between 1 ms and 48 h",
        ),
        (Timing { w: 13, ..good }, "w (13) must be 1 to k (12)"),
        (Timing { w: 0, ..good }, "w (0)"),
        (Timing { k: 32_768, ..good }, "at most 32767"),
    ];
    for (timing, text) in cases {
        let error = timing.check().unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}
