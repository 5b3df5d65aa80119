//! What a client forges, replays, sends in plaintext or does not prove: the server refuses it by
//! name, and nobody is locked out.

mod link;

use gridloom_core::SystemTitle;
use gridloom_dlms::association::{Aare, Aarq, Mechanism, Secret};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::client::{
    Authentication, Ciphering, Client, ClientConfig, ClientOutput, Layer, Request,
};
use gridloom_dlms::counter::{BLOCK_LEN, ReceiveCounter, TransmitCounter};
use gridloom_dlms::security::{CipherContext, CipheredForm, Keys, SecurityControl};
use gridloom_dlms::server::{DeviceSecurity, KeyKind, PEERS_MAX};

use link::*;

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
