//! general-ciphering and general-signing between a client and a server: every kind of key, every
//! suite, and everything that must not be believed; and key agreement.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod link;

use std::collections::BTreeMap;

use gridloom_core::SystemTitle;
use gridloom_dlms::apdu::ActionResult;
use gridloom_dlms::association::{Mechanism, Secret};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::client::{
    Authentication, Client, ClientConfig, ClientError, ClientOutput, Layer, Response, ServiceForm,
    Signing, SigningPair,
};
use gridloom_dlms::counter::{ReceiveCounter, TransmitCounter};
use gridloom_dlms::security::{
    CertificateRequest, CertificateType, CipherContext, Curve, GENERAL_CIPHERING, GENERAL_SIGNING,
    GeneralKey, KeyAgreement, KeyEncryptionKey, KeyId, KeyRing, Keys, OwnKeys, Parties, PolicyBits,
    PrivateKey, SecurityControl, SecuritySuite,
};
use gridloom_dlms::server::KeyKind;

use link::ring::{
    CLIENT, SERVER, STRANGER, client_keys, configured, keys_of, link_of, link_with, own, private,
    public,
};
use link::{
    ENERGY, GET_ENERGY, HASHER, HEAD_END, KEY_AGREEMENT, LONG, Link, METER, ciphering, config,
    is_opened, security_setup,
};

const KINDS: [GeneralKey; 4] = [
    GeneralKey::Unicast,
    GeneralKey::Wrapped,
    GeneralKey::OnePass,
    GeneralKey::Static,
];

fn opened_of(suite: SecuritySuite, form: ServiceForm, signing: Signing) -> Link {
    let mut link = link_of(suite, form, signing);
    let events = link.open();
    assert!(
        is_opened(&events),
        "{suite} {form:?} {signing:?}: {events:?}"
    );
    link
}

/// Every suite that can, every kind of key, signed or not: the same conversation. Long values
/// come in blocks, and each side's APDUs have the form that was asked.
#[test]
fn both_sides_speak_every_protection() {
    use SecuritySuite::{Suite0, Suite1, Suite2};
    let mut cases: Vec<(SecuritySuite, ServiceForm, Signing)> = Vec::new();
    for suite in [Suite1, Suite2] {
        for key in KINDS {
            for signing in [Signing::None, Signing::Both] {
                cases.push((suite, ServiceForm::Ciphering(key), signing));
            }
        }
        cases.push((suite, ServiceForm::Service, Signing::Both));
        cases.push((suite, ServiceForm::General, Signing::Requests));
    }
    for key in [GeneralKey::Unicast, GeneralKey::Wrapped] {
        cases.push((Suite0, ServiceForm::Ciphering(key), Signing::None));
    }
    for (suite, form, signing) in cases {
        let mut link = opened_of(suite, form, signing);
        let named = format!("{suite} {form:?} {signing:?}");
        let read = link.get(ENERGY);
        let expected = Response::Value(Data::DoubleLongUnsigned(1_000));
        assert_eq!(read, Ok(expected), "{named}");
        let (asked, answered) = (link.asked.last().unwrap()[0], link.last_answer()[0]);
        assert_eq!(asked, answered, "{named}: answered as asked");
        if signing != Signing::None {
            assert_eq!(asked, GENERAL_SIGNING, "{named}");
        } else if let ServiceForm::Ciphering(_) = form {
            assert_eq!(asked, GENERAL_CIPHERING, "{named}");
        }
        let caller = link.device.callers.last().unwrap();
        assert_eq!(caller.signed, signing != Signing::None, "{named}");
        assert!(link.get(LONG).is_ok(), "{named}");
        assert!(
            link.answered.iter().all(|apdu| apdu.len() <= 1_024),
            "{named}: nothing is longer than agreed"
        );
        assert_eq!(link.release(), [ClientOutput::Released], "{named}");
    }
}

/// HLS 7 needs nothing but certificates by title.
#[test]
fn ecdsa_opens_by_certificate() {
    let suite = SecuritySuite::Suite1;
    let pair = SigningPair {
        own: private(Curve::P256, CLIENT),
        server: private(Curve::P256, SERVER).public_key(),
    };
    let authentication = Authentication::Ecdsa(Box::new(pair));
    let config = configured(suite, ServiceForm::Service, authentication);
    let mut link = link_with(config, Mechanism::Ecdsa, client_keys(suite, Signing::Both));
    assert!(is_opened(&link.open()));
    link.release();
    let stranger = BTreeMap::from([(HEAD_END, public(Curve::P256, STRANGER))]);
    link.security = link.security.clone().with_peers(stranger);
    assert!(!is_opened(&link.open()));
}

/// What a request must not be: each is answered as a hardened meter does, carries nothing out,
/// and locks nobody out.
#[test]
fn a_meter_believes_no_weaker_or_foreign_request() {
    const NOT_DECIPHERED: &[u8] = b"\xD8\x02\x05";
    let suite = SecuritySuite::Suite1;
    let curve = Curve::P256;
    let context = CipherContext::with_suite(&keys_of(suite).0, suite).unwrap();
    let (master, mine, theirs) = (keys_of(suite).1, own(curve, CLIENT), public(curve, SERVER));
    let ring = KeyRing {
        title: HEAD_END,
        peer_title: METER,
        context: &context,
        master: Some(&master),
        own: &mine,
        peer_signing: theirs.signing.as_deref(),
        peer_agreement: theirs.agreement.as_deref(),
    };
    let foreign_own = own(curve, STRANGER);
    let foreign = KeyRing {
        own: &foreign_own,
        ..ring
    };
    // An ephemeral key that the manager signed, for an agreement key that is not the meter's.
    let elsewhere = public(curve, STRANGER);
    let to_another = KeyRing {
        peer_agreement: elsewhere.agreement.as_deref(),
        ..ring
    };
    let other_master = KeyEncryptionKey::new([9; 16]);
    let wrong_master = KeyRing {
        master: Some(&other_master),
        ..ring
    };
    let not_us = KeyRing {
        peer_title: SystemTitle([7; 8]),
        ..ring
    };
    let full = SecurityControl::AUTHENTICATED_ENCRYPTED;
    let sealed = |ring: &KeyRing<'_>, key, control: SecurityControl, counter| {
        let protection = context.protection(control, HEAD_END, counter);
        let mut out = Vec::new();
        let draw = &mut |bytes: &mut [u8]| bytes.fill(0x17);
        ring.seal(key, b"transact", protection, GET_ENERGY, draw, &mut out)
            .unwrap();
        out
    };
    let signed = |ring: &KeyRing<'_>, content: &[u8]| {
        let mut out = Vec::new();
        ring.sign(b"transact", content, &mut out).unwrap();
        out
    };
    let bent = |mut apdu: Vec<u8>| {
        *apdu.last_mut().unwrap() ^= 1;
        apdu
    };
    let mut moved = sealed(&ring, GeneralKey::Static, full, 900);
    moved[3] ^= 1;
    let inner = sealed(&ring, GeneralKey::Unicast, full, 900);
    let one_pass = |ring| sealed(ring, GeneralKey::OnePass, full, 900);
    let weak = SecurityControl::AUTHENTICATED;
    let cases = [
        ("unsigned where asked", true, inner.clone()),
        ("bad signature", true, bent(signed(&ring, &inner))),
        (
            "bad signature, none asked",
            false,
            bent(signed(&ring, &inner)),
        ),
        ("wrong certificate", true, signed(&foreign, &inner)),
        ("signed for another", true, signed(&not_us, &inner)),
        ("foreign ephemeral key", false, one_pass(&foreign)),
        ("agreed with another", false, one_pass(&to_another)),
        (
            "foreign static key",
            false,
            sealed(&foreign, GeneralKey::Static, full, 900),
        ),
        (
            "wrapped by another",
            false,
            sealed(&wrong_master, GeneralKey::Wrapped, full, 900),
        ),
        (
            "for another",
            false,
            sealed(&not_us, GeneralKey::Unicast, full, 900),
        ),
        ("another transaction", false, moved),
        (
            "not encrypted",
            false,
            sealed(&ring, GeneralKey::Wrapped, weak, 900),
        ),
        ("bad tag", false, bent(one_pass(&ring))),
    ];
    for (named, signatures, apdu) in cases {
        let mut link = opened_of(suite, ServiceForm::Service, Signing::Requests);
        if signatures {
            link.security = link.security.clone().with_policy(PolicyBits::SIGNED);
        }
        let believed: Vec<_> = link.security.receive_counters().collect();
        assert_eq!(link.ask(&apdu).as_deref(), Some(NOT_DECIPHERED), "{named}");
        assert!(link.device.callers.is_empty(), "{named}");
        let after: Vec<_> = link.security.receive_counters().collect();
        assert_eq!(after, believed, "{named}: no counter is believed");
        assert!(link.get(ENERGY).is_ok(), "{named}: the manager goes on");
    }
    // Plaintext inside a signature is still plaintext.
    let mut link = opened_of(suite, ServiceForm::Service, Signing::Requests);
    let plain = signed(&ring, GET_ENERGY);
    assert_eq!(link.ask(&plain).as_deref(), Some(&b"\xD8\x01\x05"[..]));
    // And so is a signature where nothing is ciphered.
    let mut public = link::opened(link::public());
    assert_eq!(public.ask(&plain).as_deref(), Some(NOT_DECIPHERED));
}

/// A transaction that is repeated is answered with the counter that would do, for each kind.
#[test]
fn a_replayed_transaction_is_refused_by_its_counter() {
    for (key, signing) in KINDS
        .into_iter()
        .flat_map(|key| [(key, Signing::None), (key, Signing::Requests)])
    {
        let suite = SecuritySuite::Suite1;
        let mut link = opened_of(suite, ServiceForm::Ciphering(key), signing);
        link.get(ENERGY).unwrap();
        let asked = link.asked.last().unwrap().clone();
        let kind = match key {
            GeneralKey::Unicast | GeneralKey::Broadcast => KeyKind::Unicast,
            GeneralKey::Wrapped | GeneralKey::OnePass | GeneralKey::Static => KeyKind::OneTime,
        };
        let counters = link.security.receive_counters();
        let last = counters
            .filter(|(title, of, _)| (*title, *of) == (HEAD_END, kind))
            .find_map(|(.., counter)| counter.last())
            .unwrap();
        let carried_out = link.device.callers.len();
        let mut expected = b"\xD8\x02\x06".to_vec();
        expected.extend((last + 1).to_be_bytes());
        assert_eq!(link.ask(&asked), Some(expected), "{key:?}");
        assert_eq!(link.device.callers.len(), carried_out, "{key:?}");
        assert!(link.get(ENERGY).is_ok(), "{key:?}");
        // New global keys do not make an old transaction new.
        if kind == KeyKind::OneTime {
            let other = Keys::new([0x77; 16], [0xA7; 16]);
            link.security.install_keys(other);
            let answer = link.ask(&asked).unwrap();
            assert_eq!(answer[..3], *b"\xD8\x02\x06", "{key:?}");
        }
    }
}

/// What an answer must not be.
#[test]
fn a_client_believes_no_weaker_or_foreign_answer() {
    let suite = SecuritySuite::Suite1;
    type Spoil = fn(&mut Spoilt);
    let cases: [(&str, ServiceForm, Signing, Spoil, Layer); 6] = [
        (
            "unsigned where asked",
            ServiceForm::Service,
            Signing::Both,
            |spoilt| spoilt.answers(|answer| unsigned(&answer)),
            Layer::Tag,
        ),
        (
            "signed by another",
            ServiceForm::Service,
            Signing::Both,
            |spoilt| spoilt.server_has(own(Curve::P256, STRANGER)),
            Layer::Tag,
        ),
        (
            "foreign ephemeral key",
            ServiceForm::Ciphering(GeneralKey::OnePass),
            Signing::None,
            |spoilt| {
                let mut keys = own(Curve::P256, STRANGER);
                keys.agreement = own(Curve::P256, SERVER).agreement;
                spoilt.server_has(keys);
            },
            Layer::Tag,
        ),
        (
            "an answer of before",
            ServiceForm::Ciphering(GeneralKey::Static),
            Signing::None,
            |spoilt| {
                spoilt.link.get(ENERGY).unwrap();
                let old = spoilt.link.last_answer().to_vec();
                spoilt.answers(move |_| old.clone());
            },
            Layer::Association,
        ),
        (
            "a bent signature",
            ServiceForm::General,
            Signing::Requests,
            |spoilt| {
                spoilt.answers(|mut answer| {
                    *answer.last_mut().unwrap() ^= 1;
                    answer
                });
            },
            Layer::Tag,
        ),
        (
            "a signature nobody can verify",
            ServiceForm::General,
            Signing::None,
            |spoilt| {
                let policy = PolicyBits::new(0x80).unwrap();
                spoilt.link.security = spoilt.link.security.clone().with_policy(policy);
                let keys = own(Curve::P256, STRANGER);
                spoilt.server_has(keys);
            },
            Layer::Tag,
        ),
    ];
    for (named, form, signing, spoil, layer) in cases {
        let mut spoilt = Spoilt::new(opened_of(suite, form, signing));
        spoil(&mut spoilt);
        let error = spoilt.get_energy();
        assert_eq!(error.layer(), layer, "{named}: {error}");
    }
}

/// What is inside a signature.
fn unsigned(apdu: &[u8]) -> Vec<u8> {
    let signing = gridloom_dlms::security::GeneralSigning::decode(apdu).unwrap();
    let server = public(Curve::P256, SERVER).signing.unwrap();
    signing.verify(&server).unwrap().to_vec()
}

/// An answer of the same counter range, but of another transaction, is named as such.
#[test]
fn an_answer_of_another_transaction_is_not_ours() {
    let suite = SecuritySuite::Suite1;
    let form = ServiceForm::Ciphering(GeneralKey::Wrapped);
    let mut link = opened_of(suite, form, Signing::None);
    let context = CipherContext::with_suite(&keys_of(suite).0, suite).unwrap();
    let (master, mine) = (keys_of(suite).1, own(Curve::P256, SERVER));
    let ring = KeyRing {
        title: METER,
        peer_title: HEAD_END,
        context: &context,
        master: Some(&master),
        own: &mine,
        peer_signing: None,
        peer_agreement: None,
    };
    let full = SecurityControl::AUTHENTICATED_ENCRYPTED;
    let mut old = Vec::new();
    ring.seal(
        GeneralKey::Wrapped,
        b"long ago",
        context.protection(full, METER, 60_000),
        b"\xC4\x01\x41\x00\x06\0\0\x03\xE8",
        &mut |bytes| bytes.fill(3),
        &mut old,
    )
    .unwrap();
    link.client.request(
        gridloom_dlms::client::Request::Get {
            attribute: ENERGY,
            access: None,
        },
        link.now,
    );
    let events = link.run_with(&mut |_| Some(old.clone()));
    assert!(events.is_empty(), "dropped: {events:?}");
    let events = link.run_out();
    assert!(
        events.contains(&ClientOutput::Answered(Err(ClientError::Transaction))),
        "{events:?}"
    );
}

/// Policy: bit 7 makes the meter sign what nobody signed; bit 4 asks for signatures; it is
/// activated over the line, only strengthened, and never so that its author is locked out.
#[test]
fn policies_are_activated_and_obeyed() {
    let suite = SecuritySuite::Suite1;
    let mut link = opened_of(suite, ServiceForm::Service, Signing::Requests);
    let activate = |link: &mut Link, bits: u8| link.invoke(security_setup(1), Data::Enum(bits));
    let refused = |bits| {
        Err(ClientError::Method(
            ActionResult::OtherReason,
            security_setup(1),
        ))
        .map_err(|error| (bits, error))
    };
    assert_eq!(activate(&mut link, 0x6C), Ok(Response::Invoked(None)));
    for weaker in [0x0C, 0x6D, 0x00] {
        let answer = activate(&mut link, weaker).map_err(|error| (weaker, error));
        assert_eq!(answer, refused(weaker));
    }
    assert_eq!(activate(&mut link, 0xFC), Ok(Response::Invoked(None)));
    assert_eq!(link.security.policy(), PolicyBits::SIGNED);
    assert!(link.get(ENERGY).is_ok());
    assert_eq!(link.last_answer()[0], GENERAL_SIGNING);

    // Answers are signed though the request was not.
    let response_only = PolicyBits::new(0xEC).unwrap();
    let mut link = opened_of(suite, ServiceForm::Service, Signing::None);
    link.security = link.security.clone().with_policy(response_only);
    assert!(link.get(ENERGY).is_ok());
    assert_eq!(link.last_answer()[0], GENERAL_SIGNING);
    assert!(!link.device.callers.last().unwrap().signed);

    // A client that does not sign cannot even give its proof.
    let mut link = link_of(suite, ServiceForm::Service, Signing::None);
    link.security = link.security.clone().with_policy(PolicyBits::SIGNED);
    assert_eq!(link.open(), [ClientOutput::Failed(ClientError::Key)]);

    // Nobody's signature would do: the policy is refused.
    let mut link = opened_of(suite, ServiceForm::Service, Signing::None);
    link.security = link.security.clone().with_peers(BTreeMap::new());
    let answer = activate(&mut link, 0xFC).map_err(|error| (0xFC, error));
    assert_eq!(answer, refused(0xFC));

    // Without its own key a meter that must sign says so before it does anything.
    let mut link = opened_of(suite, ServiceForm::Service, Signing::None);
    link.security = link
        .security
        .clone()
        .with_own_keys(OwnKeys::default())
        .with_policy(response_only);
    let read = link.get(ENERGY);
    assert!(matches!(read, Err(ClientError::Exception(_))), "{read:?}");
    assert!(link.device.callers.is_empty());
}

/// An authenticated request is answered encrypted, where the policy asks.
#[test]
fn the_policy_strengthens_answers() {
    let mut config = link::manager();
    let ciphering = config.ciphering.as_mut().unwrap();
    ciphering.control = SecurityControl::AUTHENTICATED;
    ciphering.policy = gridloom_dlms::security::Policy::Authentication;
    let mut policies = link::policies();
    for policy in &mut policies {
        policy.policy = gridloom_dlms::security::Policy::Authentication;
    }
    for (bits, expected) in [(0x00, Some(0x10)), (0x60, Some(0x30)), (0x08, None)] {
        let mut link = Link::new(config.clone(), policies.clone(), 1_024);
        link.security = link.security.with_policy(PolicyBits::new(bits).unwrap());
        let opened = is_opened(&link.open());
        assert_eq!(opened, expected.is_some(), "{bits:#x}");
        if let Some(control) = expected {
            link.get(ENERGY).unwrap();
            assert_eq!(link.last_answer()[2], control, "{bits:#x}");
        }
    }
}

fn offer(own: &[(KeyId, PrivateKey)], signer: &PrivateKey) -> Data {
    let own: Vec<_> = own.iter().map(|(id, key)| (*id, key)).collect();
    KeyAgreement::offer(&own, signer).to_data()
}

/// C(2e, 0s): both sides end with the same keys, after the answer; counters as for a transfer.
#[test]
fn keys_are_agreed_on() {
    for suite in [SecuritySuite::Suite1, SecuritySuite::Suite2] {
        let curve = suite.curve().unwrap();
        let mut link = opened_of(suite, ServiceForm::Service, Signing::None);
        let signer = private(curve, CLIENT);
        let ids = [KeyId::Unicast, KeyId::Authentication, KeyId::Broadcast];
        let own: Vec<_> = ids
            .into_iter()
            .zip(0x51..)
            .map(|(id, number)| (id, private(curve, number)))
            .collect();
        let answer = link.invoke(KEY_AGREEMENT, offer(&own, &signer)).unwrap();
        let Response::Invoked(Some(returned)) = answer else {
            panic!("the meter's offer wanted: {answer:?}");
        };
        let parties = Parties {
            originator: HEAD_END,
            recipient: METER,
        };
        let own: Vec<_> = own.iter().map(|(id, key)| (*id, key)).collect();
        let agreed = KeyAgreement::from_data(&returned)
            .unwrap()
            .agree(&parties, &own, &private(curve, SERVER).public_key())
            .unwrap();
        let keys = link.security.keys();
        assert_eq!(agreed[0].1, *keys.encryption(), "{suite}");
        assert_eq!(agreed[1].1, *keys.authentication(), "{suite}");
        assert_eq!(Some(&agreed[2].1), keys.broadcast(), "{suite}");
        assert_eq!(link.security.receive_counters().count(), 0, "{suite}");
        // The old keys are gone.
        assert!(link.get(ENERGY).is_err());
        let (transmit, _) = link
            .security
            .transmit_counter()
            .clone()
            .next()
            .map_or_else(|_| panic!("counters are left"), |next| (next, ()));
        assert!(transmit > 1, "the meter's own counter goes on");
        let new = Keys::pair(agreed[0].1.clone(), agreed[1].1.clone()).unwrap();
        let mut config = configured(suite, ServiceForm::Service, Authentication::Gmac);
        config.ciphering.as_mut().unwrap().keys = new;
        link.client = Client::new(config, TransmitCounter::new(), ReceiveCounter::new());
        assert!(is_opened(&link.open()), "{suite}");
    }
}

#[test]
fn no_key_is_agreed_on_with_strangers() {
    let suite = SecuritySuite::Suite1;
    let curve = Curve::P256;
    let own = [(KeyId::Unicast, private(curve, 0x51))];
    let good = offer(&own, &private(curve, CLIENT));
    let refused = |result| Err(ClientError::Method(result, KEY_AGREEMENT));
    type Spoil = fn(&mut Link);
    let cases: [(&str, Data, Spoil, ActionResult); 5] = [
        (
            "signed by another",
            offer(&own, &private(curve, STRANGER)),
            |_| {},
            ActionResult::OtherReason,
        ),
        ("no offer", Data::Null, |_| {}, ActionResult::TypeUnmatched),
        (
            "no certificate of the client",
            good.clone(),
            |link| link.security.set_peers(BTreeMap::new()),
            ActionResult::ObjectUnavailable,
        ),
        (
            "no key of the meter",
            good.clone(),
            |link| {
                link.security = link.security.clone().with_own_keys(OwnKeys::default());
            },
            ActionResult::ObjectUnavailable,
        ),
        (
            "another curve",
            offer(
                &[(KeyId::Unicast, private(Curve::P384, 0x51))],
                &private(Curve::P384, CLIENT),
            ),
            |_| {},
            ActionResult::OtherReason,
        ),
    ];
    for (named, parameters, change, result) in cases {
        let mut link = opened_of(suite, ServiceForm::Service, Signing::None);
        change(&mut link);
        let before = link.security.keys().clone();
        assert_eq!(
            link.invoke(KEY_AGREEMENT, parameters),
            refused(result),
            "{named}"
        );
        assert_eq!(*link.security.keys(), before, "{named}");
        assert!(link.get(ENERGY).is_ok(), "{named}");
    }
    // Suite 0 has no public keys.
    let mut link = link::opened(link::manager());
    let answer = link.invoke(KEY_AGREEMENT, good);
    assert_eq!(answer, refused(ActionResult::ObjectUnavailable));
}

#[test]
fn the_meter_makes_key_pairs_and_asks_for_certificates() {
    let mut link = opened_of(SecuritySuite::Suite1, ServiceForm::Service, Signing::None);
    let pair = CertificateType::Signature.to_key_pair_data();
    let before = link.security.revision();
    let done = link.invoke(security_setup(4), pair.clone());
    assert_eq!(done, Ok(Response::Invoked(None)));
    assert!(link.security.revision() > before, "to be persisted");
    let answer = link.invoke(security_setup(5), pair).unwrap();
    let Response::Invoked(Some(Data::OctetString(der))) = answer else {
        panic!("a request wanted: {answer:?}");
    };
    let request = CertificateRequest::from_der(&der).unwrap();
    let own = link.security.own_keys().of(CertificateType::Signature);
    assert_eq!(request.title, METER);
    assert_eq!(Some(request.public_key), own.map(PrivateKey::public_key));
}

#[test]
fn a_secret_is_changed_where_nobody_reads_it() {
    let change = gridloom_dlms::apdu::MethodDescriptor {
        class_id: 15,
        instance: gridloom_core::ObisCode([0, 0, 40, 0, 0, 255]),
        method: 2,
    };
    let new = |bytes: &[u8]| Data::OctetString(bytes.to_vec());
    let hasher = |secret: &[u8]| ClientConfig {
        ciphering: Some(ciphering()),
        ..config(HASHER, Authentication::Sha256(Secret::new(secret)))
    };
    let mut link = link::opened(hasher(b"a shared secret"));
    let refused = |result| Err(ClientError::Method(result, change));
    let short = link.invoke(change, new(b"1234567"));
    assert_eq!(short, refused(ActionResult::OtherReason));
    let done = link.invoke(change, new(b"another secret"));
    assert_eq!(done, Ok(Response::Invoked(None)));
    link.release();
    let (transmit, receive) = link.client.counters();
    let (transmit, receive) = (transmit.clone(), *receive);
    link.client = Client::new(hasher(b"a shared secret"), transmit, receive);
    assert!(!is_opened(&link.open()), "the old secret");
    let (transmit, receive) = link.client.counters();
    let (transmit, receive) = (transmit.clone(), *receive);
    link.client = Client::new(hasher(b"another secret"), transmit, receive);
    assert!(is_opened(&link.open()));

    let denied = refused(ActionResult::ReadWriteDenied);
    let mut plain = link::opened(link::reader());
    assert_eq!(
        plain.invoke(change, new(b"12345678")),
        denied,
        "in plaintext"
    );
    let mut gmac = link::opened(link::manager());
    assert_eq!(gmac.invoke(change, new(b"12345678")), denied, "no secret");
}

/// The counter of a GMAC proof is above all that were believed before the APDU that brings it,
/// on both sides; which of the two is counted first is left to the prover.
#[test]
fn a_proof_needs_a_fresh_counter() {
    use gridloom_dlms::apdu::{ActionRequestNormal, ActionResponseNormal, InvokeId};
    let reply = gridloom_dlms::apdu::MethodDescriptor {
        class_id: 15,
        instance: gridloom_core::ObisCode([0, 0, 40, 0, 0, 255]),
        method: 1,
    };
    let full = SecurityControl::AUTHENTICATED_ENCRYPTED;
    let context = CipherContext::new(&keys_of(SecuritySuite::Suite0).0);
    // The AARQ has counter 1.
    for (carrier, proof, believed) in [
        (50, 0, None),
        (50, 1, None),
        (50, 49, Some(50)),
        (50, 50, Some(50)),
        (50, 51, Some(51)),
    ] {
        let mut link = Link::of(link::manager());
        link.client.open(&[0xC5; 32], link.now);
        let Some(ClientOutput::Send(aarq)) = link.drain().pop() else {
            panic!("an AARQ wanted");
        };
        link.ask(&aarq).unwrap();
        let mut plain = Vec::new();
        let answer = context.answer_challenge(HEAD_END, proof, &[1; 16]);
        ActionRequestNormal {
            invoke_id: InvokeId::confirmed(1),
            method: reply,
            parameters: Some(Data::OctetString(answer.to_vec())),
        }
        .encode(&mut plain);
        let answer = link.ask(&link::glo(carrier, full, &plain)).unwrap();
        let named = format!("meter: {proof} in {carrier}");
        assert_eq!(
            link.server.is_associated(link::MANAGER),
            believed.is_some(),
            "{named}"
        );
        if let Some(last) = believed {
            assert_eq!(link::last_counter(&link.security), Some(last), "{named}");
        } else {
            assert_eq!(answer, b"\xD8\x02\x06\0\0\0\x33", "{named}");
        }
    }
    // And so has the AARE.
    for (carrier, proof, believed) in [
        (50, 0, None),
        (50, 1, None),
        (50, 49, Some(50)),
        (50, 50, Some(50)),
        (50, 51, Some(51)),
    ] {
        let mut link = Link::of(link::manager());
        let mut plain = Vec::new();
        let answer = context.answer_challenge(METER, proof, &[0xC5; 32]);
        ActionResponseNormal {
            invoke_id: InvokeId::confirmed(1),
            result: ActionResult::Success,
            returned: Some(Ok(Data::OctetString(answer.to_vec()))),
        }
        .encode(&mut plain);
        link.client.open(&[0xC5; 32], link.now);
        let forged = link::from_meter(carrier, &plain);
        let mut answers = 0;
        let events = link.run_with(&mut |answer| {
            answers += 1;
            Some(if answers == 2 { forged.clone() } else { answer })
        });
        let named = format!("client: {proof} in {carrier}: {events:?}");
        assert_eq!(is_opened(&events), believed.is_some(), "{named}");
        if believed.is_some() {
            assert_eq!(link.client.counters().1.last(), believed, "{named}");
        } else {
            let replayed = ClientError::Replayed {
                last: 1,
                got: proof,
            };
            assert!(events.contains(&ClientOutput::Failed(replayed)), "{named}");
        }
    }
}

/// A link whose answers are spoilt on the way.
struct Spoilt {
    link: Link,
    spoil: Box<dyn FnMut(Vec<u8>) -> Vec<u8>>,
}

impl Spoilt {
    fn new(link: Link) -> Self {
        Self {
            link,
            spoil: Box::new(|answer| answer),
        }
    }

    fn answers(&mut self, spoil: impl FnMut(Vec<u8>) -> Vec<u8> + 'static) {
        self.spoil = Box::new(spoil);
    }

    fn server_has(&mut self, keys: OwnKeys) {
        self.link.security = self.link.security.clone().with_own_keys(keys);
    }

    /// Why reading fails.
    fn get_energy(&mut self) -> ClientError {
        self.link.client.request(
            gridloom_dlms::client::Request::Get {
                attribute: ENERGY,
                access: None,
            },
            self.link.now,
        );
        let spoil = &mut self.spoil;
        let mut events = self.link.run_with(&mut |answer| Some(spoil(answer)));
        events.extend(self.link.run_out());
        events
            .into_iter()
            .find_map(|event| {
                if let ClientOutput::Answered(answer) = event {
                    Some(answer.unwrap_err())
                } else {
                    None
                }
            })
            .expect("an answer")
    }
}
