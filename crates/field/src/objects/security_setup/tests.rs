use gridloom_dlms::security::PrivateKey;

use super::*;

macro_rules! certificate {
    ($name:literal) => {
        include_bytes!(concat!(
            "../../../../dlms/tests/certificates/",
            $name,
            ".der"
        ))
    };
}

const ROOT: &[u8] = certificate!("root");
const SIGN: &[u8] = certificate!("meter-sign");
const AGREE: &[u8] = certificate!("meter-agree");
/// The title in the meter's certificates.
const METER: SystemTitle = SystemTitle([0x4D, 0x4D, 0x4D, 0, 0, 0xBC, 0x61, 0x4E]);
const OTHER: SystemTitle = SystemTitle([1; 8]);

fn at() -> UtcTime {
    UtcTime::parse("2027-01-01T00:00:00Z").unwrap()
}

fn config(suite: SecuritySuite) -> Arc<SecuritySetupConfig> {
    Arc::new(SecuritySetupConfig {
        suite,
        policy: PolicyBits::NONE,
        trusted: vec![Certificate::from_der(ROOT).unwrap()],
    })
}

fn setup(title: SystemTitle) -> SecuritySetup {
    SecuritySetup::new(config(SecuritySuite::Suite1), title)
}

fn import(setup: &mut SecuritySetup, der: &[u8]) -> Result<SecurityOutcome, ActionResult> {
    setup.invoke(6, Some(&Data::OctetString(der.to_vec())), at())
}

const DONE: Result<SecurityOutcome, ActionResult> = Ok(SecurityOutcome::Done(None));

#[test]
fn the_policy_only_grows() {
    let mut setup = setup(METER);
    let cases = [
        (0x0C, true),
        (0x0C, true),
        (0x04, false),
        (0x6D, false),
        (0x6C, true),
        (0x0C, false),
    ];
    for (bits, grows) in cases {
        let done = setup.invoke(1, Some(&Data::Enum(bits)), at());
        let expected = if grows {
            let policy = PolicyBits::new(bits).unwrap();
            setup.handle_policy(policy);
            Ok(SecurityOutcome::Requested(SecurityRequest::Activate(
                policy,
            )))
        } else {
            Err(ActionResult::OtherReason)
        };
        assert_eq!(done, expected, "{bits:#x}");
    }
    assert_eq!(setup.policy(), PolicyBits::AUTHENTICATED_ENCRYPTION);
    assert_eq!(setup.get(2, None), Ok(Data::Enum(0x6C)));
    assert_eq!(setup.set(2), Err(DataAccessResult::ReadWriteDenied));
}

#[test]
fn only_vouched_certificates_are_taken() {
    // Of a client: the meter has another title.
    let mut setup = setup(OTHER);
    let mut bent = SIGN.to_vec();
    let last = bent.len() - 1;
    bent[last] ^= 1;
    // The root lets no authority stand below it.
    let sub = certificate!("subca");
    for bad in [&bent[..], &SIGN[..100], &[], certificate!("root384"), sub] {
        assert_eq!(import(&mut setup, bad), Err(ActionResult::OtherReason));
    }
    let early = UtcTime::parse("2026-01-01T00:00:00Z").unwrap();
    let der = Data::OctetString(SIGN.to_vec());
    assert_eq!(
        setup.invoke(6, Some(&der), early),
        Err(ActionResult::OtherReason)
    );
    assert_eq!(import(&mut setup, SIGN), DONE);
    assert_eq!(import(&mut setup, SIGN), DONE, "in its own place");
    assert_eq!(import(&mut setup, AGREE), DONE);
    let list = CertificateInfo::list_from_data(&setup.get(6, None).unwrap()).unwrap();
    let entities: Vec<_> = list.iter().map(|info| info.entity).collect();
    use CertificateEntity::{Authority, Client};
    assert_eq!(entities, [Authority, Client, Client]);
    let kind = CertificateType::Agreement;
    assert!(setup.certificate(METER, kind, at()).is_some());
    assert!(setup.certificate(METER, kind, early).is_none());
    assert!(setup.certificate(OTHER, kind, at()).is_none());
    let peers = setup.peers(at());
    let key = |der| {
        Some(Box::new(
            Certificate::from_der(der).unwrap().public_key().clone(),
        ))
    };
    assert_eq!(peers.len(), 1);
    assert_eq!(peers[&METER].signing, key(SIGN));
    assert_eq!(peers[&METER].agreement, key(AGREE));
    assert!(setup.peers(early).is_empty(), "not valid yet");
}

#[test]
fn a_certificate_of_ours_must_be_about_our_key() {
    let mut setup = setup(METER);
    assert_eq!(import(&mut setup, SIGN), Err(ActionResult::OtherReason));
    let kind = CertificateType::Signature;
    let stranger = PrivateKey::from_bytes(Curve::P256, &[3; 32]).unwrap();
    setup.handle_key_pair(kind, stranger.public_key());
    assert_eq!(import(&mut setup, SIGN), Err(ActionResult::OtherReason));
    let ours = Certificate::from_der(SIGN).unwrap().public_key().clone();
    setup.handle_key_pair(kind, ours);
    assert_eq!(import(&mut setup, SIGN), DONE);
    let info = CertificateInfo::list_from_data(&setup.get(6, None).unwrap()).unwrap();
    assert_eq!(info[1].entity, CertificateEntity::Server);
    // Another key pair: the certificate is worth nothing.
    setup.handle_key_pair(kind, stranger.public_key());
    assert!(setup.certificate(METER, kind, at()).is_none());
}

#[test]
fn certificates_are_exported_and_removed_but_for_the_trusted() {
    let mut setup = setup(OTHER);
    import(&mut setup, SIGN).unwrap();
    let by_entity = CertificateIdentification::ByEntity {
        entity: CertificateEntity::Client,
        kind: CertificateType::Signature,
        title: METER,
    }
    .to_data();
    let root = Certificate::from_der(ROOT).unwrap();
    let by_serial = CertificateIdentification::BySerial {
        serial: root.serial().to_vec(),
        issuer: root.issuer_der().to_vec(),
    }
    .to_data();
    let der = |bytes: &[u8]| {
        Ok(SecurityOutcome::Done(Some(Data::OctetString(
            bytes.to_vec(),
        ))))
    };
    let gone = Err(ActionResult::OtherReason);
    let cases = [
        (7, &by_entity, der(SIGN)),
        (7, &by_serial, der(ROOT)),
        (8, &by_serial, gone.clone()),
        (8, &by_entity, DONE),
        (8, &by_entity, gone.clone()),
        (7, &by_entity, gone),
        (7, &Data::Null, Err(ActionResult::TypeUnmatched)),
    ];
    for (method, parameters, expected) in cases {
        assert_eq!(setup.invoke(method, Some(parameters), at()), expected);
    }
}

#[test]
fn what_needs_keys_is_handed_out() {
    let mut setup = setup(METER);
    let pair = CertificateType::Signature.to_key_pair_data();
    assert_eq!(
        setup.invoke(5, Some(&pair), at()),
        Err(ActionResult::OtherReason),
        "no key pair yet"
    );
    let generate = SecurityRequest::GenerateKeyPair(CertificateType::Signature);
    assert_eq!(
        setup.invoke(4, Some(&pair), at()),
        Ok(SecurityOutcome::Requested(generate))
    );
    let key = PrivateKey::from_bytes(Curve::P256, &[3; 32]).unwrap();
    setup.handle_key_pair(CertificateType::Signature, key.public_key());
    let request = SecurityRequest::RequestCertificate(CertificateType::Signature);
    assert_eq!(
        setup.invoke(5, Some(&pair), at()),
        Ok(SecurityOutcome::Requested(request))
    );
    for method in [2, 3] {
        assert_eq!(
            setup.invoke(method, Some(&Data::Null), at()),
            Err(ActionResult::ObjectUndefined),
            "the server's business"
        );
    }
    assert_eq!(
        setup.invoke(9, Some(&Data::Null), at()),
        Err(ActionResult::ObjectUndefined)
    );
    let mut symmetric = SecuritySetup::new(config(SecuritySuite::Suite0), METER);
    assert_eq!(
        symmetric.invoke(4, Some(&pair), at()),
        Err(ActionResult::ObjectUnavailable)
    );
    assert!(symmetric.invoke(1, Some(&Data::Enum(0x6C)), at()).is_ok());
}

#[test]
fn it_survives() {
    let mut setup = setup(OTHER);
    let key = PrivateKey::from_bytes(Curve::P256, &[3; 32]).unwrap();
    setup.handle_key_pair(CertificateType::Agreement, key.public_key());
    import(&mut setup, SIGN).unwrap();
    let mut bytes = Vec::new();
    setup.encode(&mut bytes);
    let config = config(SecuritySuite::Suite1);
    let restarted = SecuritySetup::decode(Arc::clone(&config), &bytes).unwrap();
    let mut again = Vec::new();
    restarted.encode(&mut again);
    assert_eq!(again, bytes);
    assert_eq!(restarted.get(6, None), setup.get(6, None));
    let seen = restarted.get(4, Some(METER));
    assert_eq!(seen, Ok(Data::OctetString(METER.0.to_vec())));
    for cut in 0..bytes.len() {
        assert!(SecuritySetup::decode(Arc::clone(&config), &bytes[..cut]).is_err());
    }
}
