//! What a server, or whoever speaks in its place, forges, replays, reflects or does not prove:
//! the client believes none of it, names the layer, and takes the true answer if it still comes.

mod link;

use gridloom_core::SystemTitle;
use gridloom_dlms::apdu::{ActionResult, DataNotification, LongInvokeId};
use gridloom_dlms::association::{Aare, Aarq, Conformance, Mechanism, Secret};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::client::{
    Authentication, Ciphering, Client, ClientConfig, ClientError, ClientOutput, FORGED_MAX, Layer,
    Request, Response, ServiceForm,
};
use gridloom_dlms::counter::{BLOCK_LEN, ReceiveCounter, TransmitCounter};
use gridloom_dlms::security::{CipheredForm, Keys, Policy, SecurityControl};
use gridloom_dlms::server::DeviceSecurity;

use link::*;

/// Everything that may stand in an answer's place while a GET waits, and the error that names it.
#[test]
fn a_client_drops_what_it_cannot_verify_and_takes_the_true_answer() {
    let full = SecurityControl::AUTHENTICATED_ENCRYPTED;
    let value = b"\xC4\x01\x42\x00\x06\x00\x00\x00\x63";
    let mut damaged = from_meter(900, value);
    *damaged.last_mut().unwrap() ^= 1;
    let mut forged = from_meter(0xFFFF_FFFE, value);
    *forged.last_mut().unwrap() ^= 1;
    let other_title = SystemTitle([9; 8]);
    let keys = Keys::new(GUEK, GAK);
    let authenticated = seal(
        &keys,
        METER,
        900,
        SecurityControl::AUTHENTICATED,
        CipheredForm::ServiceGlobal,
        value,
    );
    let encrypted = seal(
        &keys,
        METER,
        900,
        SecurityControl::ENCRYPTED,
        CipheredForm::ServiceGlobal,
        value,
    );
    let general = seal(
        &keys,
        other_title,
        900,
        full,
        CipheredForm::GeneralGlobal,
        value,
    );
    let reflected = glo(900, full, value);
    let dedicated = {
        let mut apdu = from_meter(900, value);
        apdu[0] = 0xD4;
        apdu
    };
    let tag = |title, counter| ClientError::Tag {
        count: 1,
        title,
        counter,
    };
    let downgraded = |got| ClientError::Downgraded {
        got,
        wanted: Policy::AuthenticatedEncryption,
    };
    let cases = [
        ("damaged", damaged, tag(METER, 900)),
        ("a forged counter", forged, tag(METER, 0xFFFF_FFFE)),
        ("our own title", reflected, tag(METER, 900)),
        (
            "only authenticated",
            authenticated,
            downgraded(SecurityControl::AUTHENTICATED),
        ),
        (
            "only encrypted",
            encrypted,
            downgraded(SecurityControl::ENCRYPTED),
        ),
        (
            "another meter",
            general,
            ClientError::Title {
                expected: METER,
                found: Some(other_title),
            },
        ),
        (
            "a key never told",
            dedicated,
            ClientError::NoKey {
                what: "a dedicated key",
            },
        ),
        (
            "plaintext",
            value.to_vec(),
            ClientError::Unprotected { tag: 0xC4 },
        ),
        (
            "an AARE",
            vec![Aare::TAG, 0],
            ClientError::Form { tag: Aare::TAG },
        ),
    ];
    for (name, apdu, expected) in cases {
        let get = Request::Get {
            attribute: ENERGY,
            access: None,
        };
        // The true answer comes after it.
        let mut link = opened(manager());
        let believed = *link.client.counters().1;
        link.client.request(get.clone(), link.now);
        let Some(ClientOutput::Send(request)) = link.client.poll_output() else {
            panic!("a GET wanted")
        };
        let answer = link.ask(&request).unwrap();
        link.client.handle_apdu(&apdu, link.now);
        assert_eq!(link.drain(), [], "{name}: it may still come");
        assert_eq!(link.client.counters().1, &believed, "{name}");
        link.client.handle_apdu(&answer, link.now);
        let value = Response::Value(Data::DoubleLongUnsigned(1_000));
        assert_eq!(link.drain(), [ClientOutput::Answered(Ok(value))], "{name}");

        // It never comes: the error names what came instead, and the association is released.
        let mut link = opened(manager());
        link.client.request(get.clone(), link.now);
        link.drain();
        link.client.handle_apdu(&apdu, link.now);
        let events = link.run_out();
        assert_eq!(
            events,
            [
                ClientOutput::Answered(Err(expected.clone())),
                ClientOutput::Failed(expected.clone())
            ],
            "{name}"
        );
        assert!(!link.server.is_associated(MANAGER), "{name}: released");

        // Too many of them end it at once.
        let mut link = opened(manager());
        link.client.request(get, link.now);
        link.drain();
        for _ in 1..FORGED_MAX {
            link.client.handle_apdu(&apdu, link.now);
            assert_eq!(link.drain(), [], "{name}");
        }
        link.client.handle_apdu(&apdu, link.now);
        let events = link.run();
        let [
            ClientOutput::Answered(Err(first)),
            ClientOutput::Failed(second),
        ] = &events[..]
        else {
            panic!("{name}: {events:?}")
        };
        assert_eq!(first, second);
        assert_eq!(first.layer(), expected.layer(), "{name}");
    }
}

#[test]
fn a_replayed_answer_is_no_answer() {
    let mut link = opened(manager());
    assert!(link.get(ENERGY).is_ok());
    let old = link.last_answer().to_vec();
    let last = link.client.counters().1.last().unwrap();
    link.client.request(
        Request::Get {
            attribute: LONG,
            access: None,
        },
        link.now,
    );
    link.drain();
    link.client.handle_apdu(&old, link.now);
    let error = ClientError::Replayed { last, got: last };
    assert_eq!(error.layer(), Layer::Counter);
    assert_eq!(
        link.run_out(),
        [
            ClientOutput::Answered(Err(error.clone())),
            ClientOutput::Failed(error)
        ]
    );
}

#[test]
fn hints_end_a_request_and_move_no_counter() {
    let cases = [
        (
            &b"\xD8\x02\x06\xFF\xFF\xFF\xFE"[..],
            ClientError::Counter {
                expected: Some(0xFFFF_FFFE),
            },
        ),
        (b"\xD8\x02\x05", ClientError::Key),
    ];
    for (hint, expected) in cases {
        let mut link = opened(manager());
        link.client.request(
            Request::Get {
                attribute: ENERGY,
                access: None,
            },
            link.now,
        );
        link.drain();
        let before = {
            let (transmit, receive) = link.client.counters();
            (transmit.clone(), *receive)
        };
        link.client.handle_apdu(hint, link.now);
        assert_eq!(link.drain(), [ClientOutput::Answered(Err(expected))]);
        let (transmit, receive) = link.client.counters();
        assert_eq!((transmit, receive), (&before.0, &before.1));
        assert!(link.get(ENERGY).is_ok(), "the association goes on");
    }
}

/// The AARE and the proof, changed on their way.
#[test]
fn a_server_must_prove_itself() {
    let change = |change: fn(&mut Aare)| {
        move |apdu: Vec<u8>| {
            let mut out = apdu;
            if let Ok(mut aare) = Aare::decode(&out) {
                change(&mut aare);
                out.clear();
                aare.encode(&mut out);
            }
            Some(out)
        }
    };
    let reflect = change(|aare| aare.authentication_value = Some(Secret::new([0xC5; 32])));
    let silence = change(|aare| aare.authentication_value = None);
    let short = change(|aare| aare.authentication_value = Some(Secret::new([1; 7])));
    let plain = change(|aare| {
        aare.user_information = b"\x08\0\x06\x5F\x1F\x04\0\0\x7E\x1F\x04\0\0\x07".to_vec();
    });
    let other = change(|aare| aare.responding_title = Some(SystemTitle([3; 8])));
    let damaged = change(|aare| *aare.user_information.last_mut().unwrap() ^= 1);
    let stale = change(|aare| aare.authentication_value = Some(Secret::new([0x77; 16])));
    type Spoil = Box<dyn FnMut(Vec<u8>) -> Option<Vec<u8>>>;
    let cases: Vec<(&str, Spoil, ClientError)> = vec![
        ("reflected", Box::new(reflect), ClientError::Reflected),
        ("no challenge", Box::new(silence), ClientError::NoChallenge),
        ("a short one", Box::new(short), ClientError::NoChallenge),
        (
            "agreed in plaintext",
            Box::new(plain),
            ClientError::Unprotected { tag: 8 },
        ),
        (
            "another title",
            Box::new(other),
            ClientError::Tag {
                count: 1,
                title: SystemTitle([3; 8]),
                counter: 1,
            },
        ),
        (
            "damaged",
            Box::new(damaged),
            ClientError::Tag {
                count: 1,
                title: METER,
                counter: 1,
            },
        ),
        (
            "another challenge than the server's",
            Box::new(stale),
            ClientError::ProofRefused {
                mechanism: Mechanism::Gmac,
                result: ActionResult::OtherReason,
            },
        ),
    ];
    for (name, mut spoil, expected) in cases {
        let mut link = Link::of(manager());
        link.client.open(&[0xC5; 32], link.now);
        let mut events = link.run_with(&mut *spoil);
        events.extend(link.run_out());
        assert_eq!(events, [ClientOutput::Failed(expected)], "{name}");
        assert!(!link.server.is_associated(MANAGER), "{name}: released");
    }
}

#[test]
fn a_server_that_does_not_hold_the_secret_is_found_out() {
    // It admits anybody, and answers with what it does not know.
    let wrong = |secret: &[u8]| ClientConfig {
        ciphering: Some(ciphering()),
        ..config(HASHER, Authentication::Sha256(Secret::new(secret)))
    };
    let mut link = Link::of(wrong(b"another secret"));
    let mechanism = Mechanism::Sha256;
    assert_eq!(
        link.open(),
        [ClientOutput::Failed(ClientError::ProofRefused {
            mechanism,
            result: ActionResult::OtherReason
        })]
    );
    let mut link = Link::of(wrong(b"a shared secret"));
    link.client.open(&[0xC5; 32], link.now);
    let mut proofs = 0;
    let events = link.run_with(&mut |apdu| {
        if apdu[0] != 0xCF {
            return Some(apdu);
        }
        proofs += 1;
        // Whoever holds the keys alone answers like this.
        let mut plain = b"\xC7\x01\x41\x00\x01\x00\x09\x20".to_vec();
        plain.extend([0xAB; 32]);
        Some(from_meter(400, &plain))
    });
    assert_eq!(proofs, 1);
    assert_eq!(
        events,
        [ClientOutput::Failed(ClientError::ProofWrong { mechanism })]
    );
    assert!(!link.server.is_associated(HASHER), "released");
}

#[test]
fn the_meter_is_bound_to_its_title() {
    let expecting = |title| ClientConfig {
        ciphering: Some(Ciphering {
            server_title: Some(title),
            ..ciphering()
        }),
        ..manager()
    };
    assert!(is_opened(&Link::of(expecting(METER)).open()));
    let expected = SystemTitle([5; 8]);
    let mut link = Link::of(expecting(expected));
    let mut events = link.open();
    events.extend(link.run_out());
    let error = ClientError::Title {
        expected,
        found: Some(METER),
    };
    assert_eq!(events, [ClientOutput::Failed(error)]);

    // The first one that verified stays.
    let mut link = opened(manager());
    link.release();
    link.security = DeviceSecurity::new(expected, Keys::new(GUEK, GAK), TransmitCounter::new());
    let mut events = link.open();
    events.extend(link.run_out());
    let error = ClientError::Title {
        expected: METER,
        found: Some(expected),
    };
    assert_eq!(events, [ClientOutput::Failed(error)]);
}

#[test]
fn silence_is_told_from_refusal() {
    let timed_out = ClientError::TimedOut { after: TIMEOUT };
    let lost = &mut |_: Vec<u8>| None;
    for attempts in 1..=3 {
        let mut link = Link::of(ClientConfig {
            attempts,
            ..manager()
        });
        link.client.open(&[1; 16], link.now);
        let mut sent = 0;
        let mut events = link.run_with(lost);
        while let Some((deadline, timer)) = link.client.wake() {
            assert_eq!(timer, "answer");
            link.now = deadline;
            link.client.handle_timeout(deadline);
            events.extend(link.run_with(lost));
            sent += 1;
        }
        assert_eq!(sent, attempts);
        assert_eq!(link.asked.len(), usize::from(attempts));
        assert_eq!(events, [ClientOutput::Failed(timed_out.clone())]);
        assert!(timed_out.is_transient());
    }
    // A GET is asked again, each time with a fresh counter; a SET never.
    let get = Request::Get {
        attribute: ENERGY,
        access: None,
    };
    let set = Request::Set {
        attribute: ENERGY,
        access: None,
        value: Data::Null,
    };
    for (request, times) in [(get, 3), (set, 1)] {
        let mut link = opened(ClientConfig {
            attempts: 3,
            ..manager()
        });
        let before = link.asked.len();
        link.client.request(request, link.now);
        let mut events = link.run_with(lost);
        while let Some((deadline, _)) = link.client.wake() {
            link.now = deadline;
            link.client.handle_timeout(deadline);
            events.extend(link.run_with(lost));
        }
        assert_eq!(events, [ClientOutput::Answered(Err(timed_out.clone()))]);
        assert_eq!(link.asked.len() - before, times);
        link.asked.dedup();
        assert_eq!(link.asked.len() - before, times, "no APDU is sent twice");
        assert!(link.get(LONG).is_ok(), "the association goes on");
    }
}

#[test]
fn a_lost_block_of_a_read_is_asked_for_again() {
    let general = Conformance::STANDARD | Conformance::GENERAL_BLOCK_TRANSFER;
    for (lost, conformance) in
        (0..6).flat_map(|lost| [(lost, Conformance::STANDARD), (lost, general)])
    {
        let mut policies = policies();
        policies[3].conformance = conformance;
        let mut link = Link::new(
            ClientConfig {
                max_pdu: 600,
                attempts: 2,
                conformance,
                ..manager()
            },
            policies,
            600,
        );
        assert!(is_opened(&link.open()));
        link.client.request(
            Request::Get {
                attribute: LONG,
                access: None,
            },
            link.now,
        );
        let mut count = 0;
        let mut events = link.run_with(&mut |apdu| {
            count += 1;
            (count - 1 != lost).then_some(apdu)
        });
        events.extend(link.run_out());
        let progress = |event: &ClientOutput| matches!(event, ClientOutput::Progress { .. });
        assert!(events.iter().filter(|event| progress(event)).count() >= 4);
        events.retain(|event| !progress(event));
        let value = Response::Value(Data::OctetString(octets(3_000)));
        assert_eq!(
            events,
            [ClientOutput::Answered(Ok(value))],
            "block {lost} lost"
        );
    }
}

/// A SET in general blocks: the blocks are repeated, the SET is not.
#[test]
fn a_write_in_general_blocks_is_carried_out_once() {
    let conformance = Conformance::STANDARD | Conformance::GENERAL_BLOCK_TRANSFER;
    let value = Data::OctetString(octets(2_000));
    for lost in 0..8 {
        let mut policies = policies();
        policies[3].conformance = conformance;
        let mut link = Link::new(
            ClientConfig {
                max_pdu: 200,
                attempts: 2,
                conformance,
                ..manager()
            },
            policies,
            200,
        );
        assert!(is_opened(&link.open()));
        let set = Request::Set {
            attribute: LONG,
            access: None,
            value: value.clone(),
        };
        link.client.request(set, link.now);
        let mut count = 0;
        let mut events = link.run_with(&mut |apdu| {
            count += 1;
            (count - 1 != lost).then_some(apdu)
        });
        events.extend(link.run_out());
        events.retain(|event| !matches!(event, ClientOutput::Progress { .. }));
        assert_eq!(link.device.values[&LONG], value);
        assert_eq!(link.device.callers.len(), 1, "answer {lost} lost");
        let [ClientOutput::Answered(result)] = &events[..] else {
            panic!("answer {lost} lost: {events:?}")
        };
        let timed_out = ClientError::TimedOut { after: TIMEOUT };
        assert!(
            *result == Ok(Response::Written) || *result == Err(timed_out),
            "answer {lost} lost: {result:?}"
        );
    }
}

#[test]
fn a_connection_that_ends_ends_everything_once() {
    let gone = ClientError::Disconnected;
    let mut link = Link::of(manager());
    link.client.handle_disconnected(link.now);
    assert_eq!(link.drain(), []);
    link.client.open(&[1; 16], link.now);
    link.drain();
    link.client.handle_disconnected(link.now);
    assert_eq!(link.drain(), [ClientOutput::Failed(gone.clone())]);
    let mut link = opened(manager());
    link.client.request(
        Request::Get {
            attribute: ENERGY,
            access: None,
        },
        link.now,
    );
    link.drain();
    link.client.handle_disconnected(link.now);
    assert_eq!(
        link.drain(),
        [
            ClientOutput::Answered(Err(gone.clone())),
            ClientOutput::Failed(gone)
        ]
    );
    assert_eq!(link.client.wake(), None);
    let mut link = opened(manager());
    link.client.request(
        Request::Get {
            attribute: ENERGY,
            access: None,
        },
        link.now,
    );
    link.drain();
    let events = link.release();
    assert_eq!(
        events,
        [
            ClientOutput::Answered(Err(ClientError::Abandoned)),
            ClientOutput::Released
        ]
    );
}

#[test]
fn only_verified_notifications_are_told() {
    let mut push = Vec::new();
    DataNotification {
        invoke_id: LongInvokeId::confirmed(1),
        time: None,
        body: &[0],
    }
    .encode(&mut push);
    let mut link = opened(manager());
    let counter = link.client.counters().1.last().unwrap() + 1;
    let keys = Keys::new(GUEK, GAK);
    let full = SecurityControl::AUTHENTICATED_ENCRYPTED;
    let sealed = seal(
        &keys,
        METER,
        counter,
        full,
        CipheredForm::GeneralGlobal,
        &push,
    );
    for unverified in [push.clone(), {
        let mut damaged = sealed.clone();
        *damaged.last_mut().unwrap() ^= 1;
        damaged
    }] {
        link.client.handle_apdu(&unverified, link.now);
        assert_eq!(link.drain(), []);
    }
    link.client.handle_apdu(&sealed, link.now);
    assert_eq!(link.drain(), [ClientOutput::Notified(push.clone())]);
    link.client.handle_apdu(&sealed, link.now);
    assert_eq!(link.drain(), [], "a replay is told nobody");

    let mut link = opened(public());
    link.client.handle_apdu(&push, link.now);
    assert_eq!(link.drain(), [ClientOutput::Notified(push)]);
}

#[test]
fn counters_are_reserved_before_they_are_used() {
    let mut client = Client::new(
        manager(),
        TransmitCounter::resume(41),
        ReceiveCounter::new(),
    );
    client.open(&[1; 16], gridloom_core::Instant::ZERO);
    let upper = 41 + BLOCK_LEN;
    assert_eq!(client.poll_output(), Some(ClientOutput::Reserve(upper)));
    assert_eq!(client.poll_output(), None, "nothing goes out before");
    client.handle_reserved(upper);
    let Some(ClientOutput::Send(aarq)) = client.poll_output() else {
        panic!("an AARQ wanted")
    };
    let sealed = Aarq::decode(&aarq).unwrap().user_information;
    assert_eq!(sealed[3..7], 42_u32.to_be_bytes());

    let mut client = Client::new(
        manager(),
        TransmitCounter::resume(u32::MAX),
        ReceiveCounter::new(),
    );
    client.open(&[1; 16], gridloom_core::Instant::ZERO);
    assert_eq!(
        client.poll_output(),
        Some(ClientOutput::Failed(ClientError::Exhausted))
    );
}

#[test]
fn no_secret_is_ever_printed() {
    let mut link = opened(manager_with(ServiceForm::General, true));
    link.get(ENERGY).unwrap();
    let shown = format!(
        "{:?} {:?} {:?} {:?}",
        link.client,
        link.server,
        link.security,
        reader()
    );
    for secret in [
        "12345678",
        "49, 50, 51",
        "17, 17",
        "167, 167",
        "77, 77",
        "222, 222",
    ] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
