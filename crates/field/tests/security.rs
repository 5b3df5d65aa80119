//! The security setup over real associations: every method, what outlives a restart, and who
//! gets in by which proof.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use gridloom_core::SystemTitle;
use gridloom_dlms::apdu::ActionResult;
use gridloom_dlms::association::{Mechanism, Secret};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::client::{
    Authentication, Ciphering, Client, ClientConfig, ClientError, ClientKeys, ClientOutput,
    Response, ServiceForm, Signing, SigningPair,
};
use gridloom_dlms::security::{
    Certificate, CertificateEntity, CertificateIdentification, CertificateInfo, CertificateRequest,
    CertificateType, Curve, GeneralKey, KeyAgreement, KeyEncryptionKey, KeyId, Keys, OwnKeys,
    Parties, PeerKeys, PrivateKey, SecuritySuite,
};
use gridloom_field::meter::Boot;
use gridloom_field::{Client as Role, ClientAccess, FactorySecurity, MeterConfig};
use support::session::{
    ASSOCIATION, Counters, HEAD_END, IMPORT, PERIOD, SECURITY, Session, attribute, client_config,
    load,
};
use support::{Bench, METER, config, keys, time};

const START: &str = "2027-01-01T00:00:00Z";
const ROOT: &[u8] = include_bytes!("../../dlms/tests/certificates/root.der");
const SIGN: &[u8] = include_bytes!("../../dlms/tests/certificates/meter-sign.der");
/// Whose signature certificate that is.
const CERTIFIED: SystemTitle = SystemTitle([0x4D, 0x4D, 0x4D, 0, 0, 0xBC, 0x61, 0x4E]);
const METER_SIDE: u8 = 0x31;
const CLIENT_SIDE: u8 = 0x21;

fn private(number: u8) -> PrivateKey {
    PrivateKey::from_bytes(Curve::P256, &[number; 32]).unwrap()
}

fn own(number: u8) -> OwnKeys {
    OwnKeys {
        signing: Some(Box::new(private(number))),
        agreement: Some(Box::new(private(number + 1))),
        tls: None,
    }
}

fn public(number: u8) -> PeerKeys {
    PeerKeys {
        signing: Some(Box::new(private(number).public_key())),
        agreement: Some(Box::new(private(number + 1).public_key())),
    }
}

/// A meter of suite 1 that admits management by `mechanism`.
fn configured(mechanism: Mechanism) -> MeterConfig {
    let factory = FactorySecurity {
        suite: Some(SecuritySuite::Suite1),
        trusted: vec![Certificate::from_der(ROOT).unwrap()],
        own: own(METER_SIDE),
        peers: BTreeMap::from([(HEAD_END, public(CLIENT_SIDE))]),
        ..FactorySecurity::default()
    };
    let mut access = ClientAccess {
        master: Some(KeyEncryptionKey::new([0x77; 16])),
        factory: Arc::new(factory),
        ..ClientAccess::default()
    }
    .with_management(mechanism);
    if mechanism == Mechanism::Sha256 {
        access = access.with_password(Role::Management, b"a first secret");
    }
    MeterConfig {
        access,
        ..config(1, PERIOD)
    }
}

fn bench(mechanism: Mechanism) -> Bench {
    let mut bench = Bench::new(configured(mechanism), load(), START);
    bench.settle();
    bench.run_until(time("2027-01-01T01:00:00Z"));
    bench
}

fn ecdsa() -> Authentication {
    Authentication::Ecdsa(Box::new(SigningPair {
        own: private(CLIENT_SIDE),
        server: private(METER_SIDE).public_key(),
    }))
}

fn client(authentication: Authentication, keys: Keys, form: ServiceForm) -> ClientConfig {
    let config = client_config(Role::Management);
    let ciphering = config.ciphering.clone().unwrap();
    ClientConfig {
        authentication,
        ciphering: Some(Ciphering {
            keys,
            suite: SecuritySuite::Suite1,
            form,
            ..ciphering
        }),
        ..config
    }
}

fn open(
    bench: &mut Bench,
    config: ClientConfig,
    signing: Signing,
    counters: Counters,
) -> Result<Session, (ClientError, Counters)> {
    let mut session = Session::new(config.clone(), Counters::new());
    session.client =
        Client::new(config, counters.transmit, counters.receive).with_keys(ClientKeys {
            master: Some(KeyEncryptionKey::new([0x77; 16])),
            own: own(CLIENT_SIDE),
            server: public(METER_SIDE),
            signing,
            seed: Secret::new([0x5E; 32]),
        });
    session.client.open(&[0x5A; 32], bench.now.instant);
    session.talk(bench);
    let (transmit, receive) = session.client.counters();
    let counters = Counters {
        transmit: transmit.clone(),
        receive: *receive,
    };
    match session.ended.pop() {
        Some(ClientOutput::Opened { .. }) => Ok(session),
        Some(ClientOutput::Failed(error)) => Err((error, counters)),
        other => panic!("neither open nor failed: {other:?}"),
    }
}

fn opened(bench: &mut Bench, signing: Signing, counters: Counters) -> Session {
    let config = client(ecdsa(), keys(), ServiceForm::Service);
    open(bench, config, signing, counters)
        .map_err(|(error, _)| error)
        .unwrap()
}

fn returned(answer: Result<Response, ClientError>) -> Data {
    match answer {
        Ok(Response::Invoked(Some(data))) => data,
        other => panic!("nothing returned: {other:?}"),
    }
}

const DONE: Result<Response, ClientError> = Ok(Response::Invoked(None));

fn restart(bench: &mut Bench) {
    bench.restart(configured(Mechanism::Ecdsa), load(), Boot::Reset);
    bench.settle();
}

/// Each proof opens, each of the others does not, and every protection reads.
#[test]
fn management_gets_in_by_the_mechanism_that_is_set() {
    let proofs = [
        (Mechanism::Gmac, Authentication::Gmac),
        (
            Mechanism::Sha256,
            Authentication::Sha256(Secret::new(*b"a first secret")),
        ),
        (Mechanism::Ecdsa, ecdsa()),
    ];
    for (mechanism, _) in &proofs {
        for (tried, authentication) in &proofs {
            let mut bench = bench(*mechanism);
            let config = client(authentication.clone(), keys(), ServiceForm::Service);
            let opened = open(&mut bench, config, Signing::None, Counters::new());
            assert_eq!(opened.is_ok(), tried == mechanism, "{tried} of {mechanism}");
        }
    }
    for key in [
        GeneralKey::Unicast,
        GeneralKey::Wrapped,
        GeneralKey::OnePass,
        GeneralKey::Static,
    ] {
        let mut bench = bench(Mechanism::Ecdsa);
        let config = client(ecdsa(), keys(), ServiceForm::Ciphering(key));
        let session = open(&mut bench, config, Signing::Both, Counters::new());
        let mut session = session.map_err(|(error, _)| error).unwrap();
        assert!(
            session.get(&mut bench, attribute(IMPORT, 2)).is_ok(),
            "{key:?}"
        );
    }
}

#[test]
fn agreed_keys_outlive_a_restart() {
    let mut bench = bench(Mechanism::Ecdsa);
    let mut session = opened(&mut bench, Signing::None, Counters::new());
    let ephemeral = [private(0x51), private(0x52)];
    let own = [
        (KeyId::Unicast, &ephemeral[0]),
        (KeyId::Authentication, &ephemeral[1]),
    ];
    let offer = KeyAgreement::offer(&own, &private(CLIENT_SIDE)).to_data();
    let answer = returned(session.invoke(&mut bench, SECURITY, 3, offer));
    let parties = Parties {
        originator: HEAD_END,
        recipient: METER,
    };
    let signer = private(METER_SIDE).public_key();
    let agreed = KeyAgreement::from_data(&answer)
        .unwrap()
        .agree(&parties, &own, &signer)
        .unwrap();
    let new = Keys::pair(agreed[0].1.clone(), agreed[1].1.clone()).unwrap();
    for restarted in [false, true] {
        if restarted {
            restart(&mut bench);
        }
        let config = client(ecdsa(), keys(), ServiceForm::Service);
        let old = open(&mut bench, config, Signing::None, Counters::new());
        assert!(old.is_err(), "the old keys are gone");
        let config = client(ecdsa(), new.clone(), ServiceForm::Service);
        let transmit = if restarted { 5_000 } else { 0 };
        let counters = Counters {
            transmit: gridloom_dlms::counter::TransmitCounter::resume(transmit),
            ..Counters::new()
        };
        let session = open(&mut bench, config, Signing::None, counters);
        assert!(session.is_ok(), "restarted: {restarted}");
    }
}

#[test]
fn key_pairs_and_certificates_outlive_a_restart() {
    let mut bench = bench(Mechanism::Ecdsa);
    let mut session = opened(&mut bench, Signing::None, Counters::new());
    let pair = CertificateType::Agreement.to_key_pair_data();
    let der = |data: Data| {
        let Data::OctetString(der) = data else {
            panic!("no certificate: {data:?}");
        };
        der
    };
    let of_factory = private(METER_SIDE + 1).public_key();
    let request = der(returned(session.invoke(
        &mut bench,
        SECURITY,
        5,
        pair.clone(),
    )));
    let request = CertificateRequest::from_der(&request).unwrap();
    assert_eq!(
        (request.title, request.public_key),
        (METER, of_factory.clone())
    );
    assert_eq!(session.invoke(&mut bench, SECURITY, 4, pair.clone()), DONE);
    let request = der(returned(session.invoke(
        &mut bench,
        SECURITY,
        5,
        pair.clone(),
    )));
    let made = CertificateRequest::from_der(&request).unwrap().public_key;
    assert_ne!(made, of_factory);

    let refused = |method, answer| {
        let wanted = ActionResult::OtherReason;
        assert!(
            matches!(answer, Err(ClientError::Method(found, _)) if found == wanted),
            "{method}: {answer:?}"
        );
    };
    let bent = {
        let mut bent = SIGN.to_vec();
        *bent.last_mut().unwrap() ^= 1;
        Data::OctetString(bent)
    };
    refused(
        "nobody vouches",
        session.invoke(&mut bench, SECURITY, 6, bent),
    );
    let import = Data::OctetString(SIGN.to_vec());
    assert_eq!(session.invoke(&mut bench, SECURITY, 6, import), DONE);
    let by_entity = CertificateIdentification::ByEntity {
        entity: CertificateEntity::Client,
        kind: CertificateType::Signature,
        title: CERTIFIED,
    }
    .to_data();
    let mut counters = session.release(&mut bench);
    for removed in [false, true] {
        restart(&mut bench);
        let mut session = opened(&mut bench, Signing::None, counters);
        let request = der(returned(session.invoke(
            &mut bench,
            SECURITY,
            5,
            pair.clone(),
        )));
        let again = CertificateRequest::from_der(&request).unwrap().public_key;
        assert_eq!(again, made, "the pair is kept");
        let listed = session.get(&mut bench, attribute(SECURITY, 6)).unwrap();
        let listed = CertificateInfo::list_from_data(&listed).unwrap();
        assert_eq!(listed.len(), 1 + usize::from(!removed));
        let exported = session.invoke(&mut bench, SECURITY, 7, by_entity.clone());
        if removed {
            refused("gone", exported);
        } else {
            assert_eq!(der(returned(exported)), SIGN);
            assert_eq!(
                session.invoke(&mut bench, SECURITY, 8, by_entity.clone()),
                DONE
            );
        }
        counters = session.release(&mut bench);
    }
}

#[test]
fn a_policy_outlives_a_restart_and_only_grows() {
    let mut bench = bench(Mechanism::Ecdsa);
    let mut session = opened(&mut bench, Signing::Requests, Counters::new());
    let shown = session.get(&mut bench, attribute(SECURITY, 2));
    assert_eq!(shown, Ok(Data::Enum(0x6C)));
    assert_eq!(
        session.get(&mut bench, attribute(SECURITY, 3)),
        Ok(Data::Enum(1))
    );
    let client = session.get(&mut bench, attribute(SECURITY, 4));
    assert_eq!(client, Ok(Data::OctetString(HEAD_END.0.to_vec())));
    assert_eq!(
        session.invoke(&mut bench, SECURITY, 1, Data::Enum(0xFC)),
        DONE
    );
    assert!(
        session
            .invoke(&mut bench, SECURITY, 1, Data::Enum(0x6C))
            .is_err()
    );
    let counters = session.release(&mut bench);
    restart(&mut bench);
    let config = client_of_suite_1();
    let Err((error, counters)) = open(&mut bench, config, Signing::None, counters) else {
        panic!("nobody gets in unsigned");
    };
    assert_eq!(error, ClientError::Key);
    let mut session = opened(&mut bench, Signing::Both, counters);
    let shown = session.get(&mut bench, attribute(SECURITY, 2));
    assert_eq!(shown, Ok(Data::Enum(0xFC)));
}

fn client_of_suite_1() -> ClientConfig {
    client(ecdsa(), keys(), ServiceForm::Service)
}

#[test]
fn a_changed_secret_outlives_a_restart() {
    let mut bench = bench(Mechanism::Sha256);
    let by = |secret: &[u8]| {
        let authentication = Authentication::Sha256(Secret::new(secret));
        client(authentication, keys(), ServiceForm::Service)
    };
    let session = open(
        &mut bench,
        by(b"a first secret"),
        Signing::None,
        Counters::new(),
    );
    let mut session = session.map_err(|(error, _)| error).unwrap();
    let new = Data::OctetString(b"a second secret".to_vec());
    assert_eq!(session.invoke(&mut bench, ASSOCIATION, 2, new), DONE);
    let counters = session.release(&mut bench);
    bench.restart(configured(Mechanism::Sha256), load(), Boot::Reset);
    bench.settle();
    let Err((_, counters)) = open(&mut bench, by(b"a first secret"), Signing::None, counters)
    else {
        panic!("the old secret is gone");
    };
    let session = open(&mut bench, by(b"a second secret"), Signing::None, counters);
    assert!(session.is_ok());
}

/// A cell that is cut or changed anywhere is named, never half taken.
#[test]
fn a_damaged_security_cell_starts_no_meter() {
    let mut bench = bench(Mechanism::Ecdsa);
    let mut session = opened(&mut bench, Signing::None, Counters::new());
    let import = Data::OctetString(SIGN.to_vec());
    assert_eq!(session.invoke(&mut bench, SECURITY, 6, import), DONE);
    let good = bench.disk.cells["security"].clone();
    for at in (0..good.len()).step_by(7) {
        let mut cells = bench.disk.cells.clone();
        let cell = cells.get_mut("security").unwrap();
        if at % 2 == 0 {
            cell.truncate(at);
        } else {
            cell[at] ^= 1;
        }
        let config = configured(Mechanism::Ecdsa);
        let meter = gridloom_field::Meter::start(config, load(), &cells, Boot::Reset, bench.now);
        assert!(meter.is_err(), "at {at}");
    }
}
