//! What is forged, replayed, plain, reflected or unproved: both sides refuse it by name, and
//! nobody is locked out.

mod link;

use gridloom_core::SystemTitle;
use gridloom_dlms::apdu::{ActionResult, DataNotification, LongInvokeId};
use gridloom_dlms::association::{Aare, Aarq, Mechanism, Secret};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::client::{
    Authentication, Ciphering, Client, ClientConfig, ClientError, ClientOutput, FORGED_MAX, Layer,
    Request, Response, ServiceForm,
};
use gridloom_dlms::counter::{BLOCK_LEN, ReceiveCounter, TransmitCounter};
use gridloom_dlms::security::{CipherContext, CipheredForm, Keys, Policy, SecurityControl};
use gridloom_dlms::server::{DeviceSecurity, KeyKind, PEERS_MAX};

use link::*;

const GET_ENERGY: &[u8] = b"\xC0\x01\x41\x00\x03\x01\x00\x01\x08\x00\xFF\x02\x00";

/// A request or answer as somebody with `keys` seals it.
fn seal(
    keys: &Keys,
    title: SystemTitle,
    counter: u32,
    control: SecurityControl,
    form: CipheredForm,
    plain: &[u8],
) -> Vec<u8> {
    let context = CipherContext::new(keys);
    let protection = context.protection(control, title, counter);
    let mut out = Vec::new();
    context.protect_as(form, protection, plain, &mut out);
    out
}

fn glo(counter: u32, control: SecurityControl, plain: &[u8]) -> Vec<u8> {
    let keys = Keys::new(GUEK, GAK);
    seal(
        &keys,
        HEAD_END,
        counter,
        control,
        CipheredForm::ServiceGlobal,
        plain,
    )
}

fn from_meter(counter: u32, plain: &[u8]) -> Vec<u8> {
    let full = SecurityControl::AUTHENTICATED_ENCRYPTED;
    let keys = Keys::new(GUEK, GAK);
    seal(
        &keys,
        METER,
        counter,
        full,
        CipheredForm::ServiceGlobal,
        plain,
    )
}

fn opened(config: ClientConfig) -> Link {
    let mut link = Link::of(config);
    assert!(is_opened(&link.open()));
    link
}

fn last_counter(security: &DeviceSecurity) -> Option<u32> {
    security
        .receive_counters()
        .find(|(title, kind, _)| (*title, *kind) == (HEAD_END, KeyKind::Unicast))
        .and_then(|(.., counter)| counter.last())
}

#[test]
fn a_hardened_meter_answers_so() {
    let full = SecurityControl::AUTHENTICATED_ENCRYPTED;
    let mut link = opened(manager());
    assert!(link.get(ENERGY).is_ok());
    let replayed = link.asked.last().unwrap().clone();
    let last = last_counter(&link.security).unwrap();
    let mut counter_error = b"\xD8\x02\x06".to_vec();
    counter_error.extend((last + 1).to_be_bytes());
    let mut damaged = glo(last + 1, full, GET_ENERGY);
    *damaged.last_mut().unwrap() ^= 1;
    let mut forged = glo(0xFFFF_FFFE, full, GET_ENERGY);
    *forged.last_mut().unwrap() ^= 1;
    let general = |title| {
        let keys = Keys::new(GUEK, GAK);
        let form = CipheredForm::GeneralGlobal;
        seal(&keys, title, last + 1, full, form, GET_ENERGY)
    };
    let other_keys = Keys::new(GUEK, [0; 16]);
    let old_and_wrong = seal(
        &other_keys,
        HEAD_END,
        1,
        full,
        CipheredForm::ServiceGlobal,
        GET_ENERGY,
    );
    let dedicated = {
        let context = CipherContext::new(&Keys::new(GUEK, GAK))
            .dedicated(&DEDICATED.into())
            .unwrap();
        let mut out = Vec::new();
        context.protect_as(
            CipheredForm::ServiceDedicated,
            context.protection(full, HEAD_END, 9),
            GET_ENERGY,
            &mut out,
        );
        out
    };
    let deciphering = b"\xD8\x02\x05".to_vec();
    let cases = [
        ("a replay", replayed, counter_error),
        ("a damaged tag", damaged, deciphering.clone()),
        ("a forged counter", forged, deciphering.clone()),
        (
            "a wrong key with an old counter",
            old_and_wrong,
            deciphering.clone(),
        ),
        (
            "only authenticated",
            glo(last + 1, SecurityControl::AUTHENTICATED, GET_ENERGY),
            deciphering.clone(),
        ),
        (
            "only encrypted",
            glo(last + 1, SecurityControl::ENCRYPTED, GET_ENERGY),
            deciphering.clone(),
        ),
        (
            "another title",
            general(SystemTitle([7; 8])),
            deciphering.clone(),
        ),
        ("the meter's own title", general(METER), deciphering.clone()),
        ("a dedicated key never told", dedicated, deciphering),
        ("plaintext", GET_ENERGY.to_vec(), b"\xD8\x01\x05".to_vec()),
        ("garbage", vec![0xC8], b"\xD8\x02\x05".to_vec()),
        ("a longer APDU", vec![0xC8; 1_025], b"\xD8\x01\x04".to_vec()),
    ];
    let asked = link.device.callers.len();
    for (name, apdu, expected) in cases {
        assert_eq!(link.ask(&apdu).as_deref(), Some(&expected[..]), "{name}");
        assert_eq!(last_counter(&link.security), Some(last), "{name}");
        assert_eq!(link.device.callers.len(), asked, "{name} reached an object");
    }
    assert_eq!(link.ask(&[]), None);
    assert!(link.get(ENERGY).is_ok(), "nobody was locked out");
}

#[test]
fn nothing_is_asked_before_the_proof_or_after_a_wrong_one() {
    let not_allowed = Some(&b"\xD8\x01\x02"[..]);
    let full = SecurityControl::AUTHENTICATED_ENCRYPTED;
    let mut link = Link::of(manager());
    assert_eq!(
        link.ask(GET_ENERGY).as_deref(),
        not_allowed,
        "no association"
    );
    link.client.open(&[0xC5; 16], link.now);
    let [ClientOutput::Send(aarq)] = &link.drain()[..] else {
        panic!("an AARQ wanted")
    };
    let aare = link.ask(&aarq.clone()).unwrap();
    assert!(!link.server.is_associated(MANAGER));
    assert_eq!(link.ask(&glo(10, full, GET_ENERGY)).as_deref(), not_allowed);
    assert_eq!(link.ask(GET_ENERGY).as_deref(), Some(&b"\xD8\x01\x05"[..]));

    // A wrong proof takes the challenge with it.
    let stoc = Aare::decode(&aare).unwrap().authentication_value.unwrap();
    let context = CipherContext::new(&Keys::new(GUEK, GAK));
    let proof = |challenge: &[u8], title, number: u8| {
        let mut plain = vec![
            0xC3,
            1,
            0x40 | number,
            0,
            15,
            0,
            0,
            40,
            0,
            0,
            255,
            1,
            1,
            9,
            17,
        ];
        plain.extend(context.answer_challenge(title, 100, challenge));
        plain
    };
    let wrong = proof(b"another challenge", HEAD_END, 1);
    let answer = link.ask(&glo(11, full, &wrong)).unwrap();
    assert_eq!(answer[0], 0xCF);
    assert!(!link.server.is_associated(MANAGER));
    let right = proof(stoc.bytes(), HEAD_END, 2);
    assert_eq!(
        link.ask(&glo(12, full, &right)).as_deref(),
        not_allowed,
        "one answer per challenge"
    );
    assert_eq!(link.ask(&glo(13, full, GET_ENERGY)).as_deref(), not_allowed);
    assert!(link.device.callers.is_empty());

    // The challenge of another association is as wrong.
    link.client.handle_disconnected(link.now);
    link.drain();
    link.client.open(&[0xC5; 16], link.now);
    let aarq = match &link.drain()[..] {
        [ClientOutput::Send(aarq)] => aarq.clone(),
        other => panic!("{other:?}"),
    };
    // Its counter is behind the ones above.
    let answer = link.ask(&aarq).unwrap();
    assert_eq!(answer, b"\xD8\x02\x06\x00\x00\x00\x0E");
}

#[test]
fn a_right_proof_opens_once() {
    let mut link = opened(manager());
    // The proof again, in a fresh APDU.
    let plain = [
        &[0xC3, 1, 0x41, 0, 15, 0, 0, 40, 0, 0, 255, 1, 1, 9, 17][..],
        &[0; 17],
    ]
    .concat();
    let full = SecurityControl::AUTHENTICATED_ENCRYPTED;
    let answer = link.ask(&glo(500, full, &plain)).unwrap();
    assert_eq!(answer[0], 0xCF);
    assert!(link.server.is_associated(MANAGER), "it stays open");
}

#[test]
fn aarqs_that_lie_are_refused() {
    let aarq_of = |config: ClientConfig| {
        let mut link = Link::of(config);
        link.client.open(&[0xC5; 16], link.now);
        match &link.drain()[..] {
            [ClientOutput::Send(aarq)] => Aarq::decode(aarq).unwrap(),
            other => panic!("{other:?}"),
        }
    };
    let honest = aarq_of(manager());
    let with = |change: &dyn Fn(&mut Aarq)| {
        let mut aarq = honest.clone();
        change(&mut aarq);
        let mut out = Vec::new();
        aarq.encode(&mut out);
        out
    };
    let rejected = |diagnostic: u8| {
        move |answer: &[u8]| {
            let found = Aare::decode(answer).map(|aare| (aare.result as u8, aare.diagnostic));
            let (result, found) = found.unwrap();
            let mut out = Vec::new();
            Aare {
                diagnostic: found,
                ..Aare::decode(answer).unwrap()
            }
            .encode(&mut out);
            let code = [0xA3, 5, 0xA1, 3, 2, 1, diagnostic];
            result == 1 && out.windows(7).any(|window| window == code)
        }
    };
    let is = |expected: &'static [u8]| move |answer: &[u8]| answer == expected;
    type Check = Box<dyn Fn(&[u8]) -> bool>;
    let cases: Vec<(&str, Vec<u8>, Check)> = vec![
        (
            "no title",
            with(&|aarq| aarq.calling_title = None),
            Box::new(rejected(3)),
        ),
        (
            "the meter's title",
            with(&|aarq| aarq.calling_title = Some(METER)),
            Box::new(rejected(3)),
        ),
        (
            "another title than it was sealed with",
            with(&|aarq| aarq.calling_title = Some(SystemTitle([1; 8]))),
            Box::new(is(b"\xD8\x02\x05")),
        ),
        (
            "a proposal in plaintext",
            with(&|aarq| {
                aarq.user_information = b"\x01\0\0\0\x06\x5F\x1F\x04\0\0\x7E\x1F\x04\xB0".to_vec()
            }),
            Box::new(is(b"\xD8\x01\x05")),
        ),
        (
            "no proposal",
            with(&|aarq| aarq.user_information.clear()),
            Box::new(is(b"\xD8\x01\x05")),
        ),
        (
            "no challenge",
            with(&|aarq| aarq.authentication_value = None),
            Box::new(rejected(14)),
        ),
        (
            "a short challenge",
            with(&|aarq| aarq.authentication_value = Some(Secret::new(*b"1234567"))),
            Box::new(rejected(13)),
        ),
        (
            // The server draws 1, 1, 1, …
            "a challenge like the server's",
            with(&|aarq| aarq.authentication_value = Some(Secret::new([1; 16]))),
            Box::new(rejected(13)),
        ),
        (
            "a mechanism of no use",
            with(&|aarq| aarq.mechanism = Mechanism::Md5),
            Box::new(rejected(11)),
        ),
        (
            "no mechanism, but a challenge",
            with(&|aarq| aarq.mechanism = Mechanism::None),
            Box::new(rejected(12)),
        ),
    ];
    for (name, aarq, check) in cases {
        let mut link = Link::of(manager());
        let answer = link.ask(&aarq).unwrap();
        assert!(check(&answer), "{name}: {answer:02X?}");
        // None of them keeps the honest one out, unless its own counter was used up.
        if last_counter(&link.security).is_none() {
            assert!(is_opened(&link.open()), "{name}");
        }
    }
    for cut in 1..with(&|_| {}).len() {
        let mut link = Link::of(manager());
        let answer = link.ask(&with(&|_| {})[..cut]).unwrap();
        assert_eq!(answer[0], Aare::TAG, "cut at {cut}");
        assert!(!link.server.is_associated(MANAGER));
    }
}

#[test]
fn an_old_aarq_tells_the_counter_that_would_do() {
    let mut link = opened(manager());
    let aarq = link.asked[0].clone();
    let last = last_counter(&link.security).unwrap();
    let mut expected = b"\xD8\x02\x06".to_vec();
    expected.extend((last + 1).to_be_bytes());
    assert_eq!(link.ask(&aarq), Some(expected));
    assert!(
        link.server.is_associated(MANAGER),
        "a replay ends nobody's association"
    );
    assert!(link.get(ENERGY).is_ok());

    // A client whose counter was restored from an old backup hears it by name.
    let mut link = Link::of(manager());
    link.security = DeviceSecurity::new(METER, Keys::new(GUEK, GAK), TransmitCounter::new())
        .with_receive_counter(HEAD_END, KeyKind::Unicast, ReceiveCounter::after(5_000));
    let events = link.open();
    let [ClientOutput::Failed(error)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(error.counter_expected(), Some(5_001));
    assert_eq!(error.layer(), Layer::Counter);
    let (transmit, _) = link.client.counters();
    assert_eq!(
        transmit.available(),
        BLOCK_LEN - 1,
        "a hint moves no counter"
    );
}

#[test]
fn an_association_is_replaced_only_by_who_is_admitted() {
    let mut link = opened(reader());
    let refused = config(READER, Authentication::Lls(Secret::new(*b"wrong")));
    let mut stranger = Client::new(refused, TransmitCounter::new(), ReceiveCounter::new());
    stranger.open(&[1; 16], link.now);
    let Some(ClientOutput::Send(aarq)) = stranger.poll_output() else {
        panic!("an AARQ wanted")
    };
    link.ask(&aarq).unwrap();
    assert!(link.server.is_associated(READER));
    assert!(link.get(ENERGY).is_ok());
    let again = link.asked[0].clone();
    assert_eq!(link.ask(&again).unwrap()[0], Aare::TAG);
    assert!(link.server.is_associated(READER));
    link.server.disconnected();
    assert!(!link.server.is_associated(READER));
}

#[test]
fn a_release_that_does_not_verify_releases_nobody() {
    let mut link = opened(manager());
    link.client.release(link.now);
    let Some(ClientOutput::Send(mut rlrq)) = link.client.poll_output() else {
        panic!("an RLRQ wanted")
    };
    *rlrq.last_mut().unwrap() ^= 1;
    assert_eq!(link.ask(&rlrq).unwrap(), b"\xD8\x02\x05");
    assert!(link.server.is_associated(MANAGER));
    *rlrq.last_mut().unwrap() ^= 1;
    assert_eq!(link.ask(&rlrq).unwrap()[0], 0x63);
    assert!(!link.server.is_associated(MANAGER));
    assert_eq!(
        link.ask(b"\x62\x00").unwrap()[0],
        0x63,
        "nothing to release"
    );
}

#[test]
fn strangers_never_fill_the_memory() {
    let mut link = Link::of(manager());
    let with_title = |serial: u8| ClientConfig {
        ciphering: Some(Ciphering {
            title: SystemTitle([b'S', b'T', b'R', 0, 0, 0, 0, serial]),
            ..ciphering()
        }),
        ..manager()
    };
    let aarq = |link: &mut Link, serial, keys: Keys| {
        let mut config = with_title(serial);
        config.ciphering.as_mut().unwrap().keys = keys;
        let mut client = Client::new(config, TransmitCounter::new(), ReceiveCounter::new());
        client.open(&[serial | 0x80; 16], link.now);
        let Some(ClientOutput::Reserve(upper)) = client.poll_output() else {
            panic!("a reservation wanted")
        };
        client.handle_reserved(upper);
        let Some(ClientOutput::Send(aarq)) = client.poll_output() else {
            panic!("an AARQ wanted")
        };
        link.ask(&aarq).unwrap()[0]
    };
    for serial in 0..=100 {
        assert_eq!(aarq(&mut link, serial, Keys::new(GUEK, [0; 16])), 0xD8);
        assert_eq!(link.security.receive_counters().count(), 0);
    }
    for serial in 0..=100 {
        let is_kept = usize::from(serial) < PEERS_MAX;
        let expected = if is_kept { Aare::TAG } else { 0xD8 };
        assert_eq!(
            aarq(&mut link, serial, Keys::new(GUEK, GAK)),
            expected,
            "{serial}"
        );
    }
    assert_eq!(link.security.receive_counters().count(), PEERS_MAX);
}

#[test]
fn nothing_is_carried_out_without_a_counter_for_the_answer() {
    let mut link = opened(manager());
    let value = Data::DoubleLongUnsigned(5);
    link.client.request(
        Request::Set {
            attribute: ENERGY,
            access: None,
            value: value.clone(),
        },
        link.now,
    );
    let Some(ClientOutput::Send(set)) = link.client.poll_output() else {
        panic!("a SET wanted")
    };
    let counters = link.security.receive_counters();
    link.security = counters.fold(
        DeviceSecurity::new(METER, Keys::new(GUEK, GAK), TransmitCounter::resume(7_000)),
        |security, (title, kind, counter)| security.with_receive_counter(title, kind, counter),
    );
    // No reservation is durable.
    let mut entropy = |_: &mut [u8]| panic!("no challenge is drawn");
    let answer = link.server.handle_apdu(
        MANAGER,
        &set,
        &mut link.device,
        &mut link.security,
        &mut entropy,
    );
    assert_eq!(answer.as_deref(), Some(&b"\xD8\x01\x01"[..]));
    assert_ne!(link.device.values[&ENERGY], value);
    // With one, the very same APDU is carried out.
    assert_eq!(link.ask(&set).unwrap()[0], 0xCD);
    assert_eq!(link.device.values[&ENERGY], value);
}

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
    for lost in 0..6 {
        let mut link = Link::new(
            ClientConfig {
                max_pdu: 600,
                attempts: 2,
                ..manager()
            },
            policies(),
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
        assert!(events.iter().filter(|event| progress(event)).count() >= 5);
        events.retain(|event| !progress(event));
        let value = Response::Value(Data::OctetString(octets(3_000)));
        assert_eq!(
            events,
            [ClientOutput::Answered(Ok(value))],
            "block {lost} lost"
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
