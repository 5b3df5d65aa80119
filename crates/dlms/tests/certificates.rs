//! Certificates and requests that OpenSSL 3 made (`openssl req`, `openssl x509 -req`), on fresh
//! keys: two roots, two certificates of one meter on P-256, one on P-384, and some that must be
//! refused.

use gridloom_core::{SystemTitle, UtcTime};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::security::{
    CERTIFICATE_LEN_MAX, Certificate, CertificateEntity, CertificateError,
    CertificateIdentification, CertificateInfo, CertificateRequest, CertificateType, Curve,
    KeyUsages, PrivateKey, SecurityError,
};

const ROOT: &[u8] = include_bytes!("certificates/root.der");
const ROOT_384: &[u8] = include_bytes!("certificates/root384.der");
const SIGN: &[u8] = include_bytes!("certificates/meter-sign.der");
const AGREE: &[u8] = include_bytes!("certificates/meter-agree.der");
const SIGN_384: &[u8] = include_bytes!("certificates/meter384.der");
const SUB_CA: &[u8] = include_bytes!("certificates/subca.der");
const CRITICAL: &[u8] = include_bytes!("certificates/critical.der");
const RSA: &[u8] = include_bytes!("certificates/rsa.der");
const REQUEST: &[u8] = include_bytes!("certificates/request.der");

const TITLE: SystemTitle = SystemTitle(*b"MMM\x00\x00\xBC\x61\x4E");

/// The first and the last second of `SIGN`.
const FROM: UtcTime = UtcTime::from_secs(1_795_274_072);
const TO: UtcTime = UtcTime::from_secs(2_110_634_072);
const LATER: UtcTime = UtcTime::from_secs(1_900_000_000);

fn read(der: &[u8]) -> Certificate {
    Certificate::from_der(der).expect("a certificate")
}

#[test]
fn a_meters_certificates_say_whose_and_what_for() {
    let usages = |digital_signature, key_agreement, certificate_signing| KeyUsages {
        digital_signature,
        key_agreement,
        certificate_signing,
    };
    let cases = [
        (SIGN, Curve::P256, usages(true, false, false), Some(TITLE)),
        (AGREE, Curve::P256, usages(false, true, false), Some(TITLE)),
        (
            SIGN_384,
            Curve::P384,
            usages(true, false, false),
            Some(TITLE),
        ),
        (ROOT, Curve::P256, usages(false, false, true), None),
        (ROOT_384, Curve::P384, usages(false, false, true), None),
    ];
    for (der, curve, usages, title) in cases {
        let certificate = read(der);
        let name = certificate.common_name().to_owned();
        assert_eq!(certificate.public_key().curve(), curve, "{name}");
        assert_eq!(certificate.usages(), usages, "{name}");
        assert_eq!(certificate.title().ok(), title, "{name}");
        assert_eq!(certificate.is_authority(), title.is_none(), "{name}");
        assert_eq!(certificate.as_der(), der);
    }
    assert_eq!(read(SIGN).serial(), [1, 2, 3, 4, 5]);
    assert_eq!(read(SIGN).validity(), (FROM, TO));
    assert_eq!(
        read(ROOT).title(),
        Err(CertificateError::NoTitle {
            name: "Example Utility Root".to_owned()
        })
    );
}

#[test]
fn only_the_authority_that_issued_it_vouches() {
    let (root, root_384) = (read(ROOT), read(ROOT_384));
    let second = |time: UtcTime, by: i64| UtcTime::from_secs(time.as_secs() + by);
    let good = [(SIGN, &root), (AGREE, &root), (SIGN_384, &root_384)];
    for (der, authority) in good {
        assert_eq!(read(der).verify(authority, LATER), Ok(()));
    }
    assert_eq!(
        root.verify(&root, LATER),
        Ok(()),
        "a root vouches for itself"
    );
    for (at, valid) in [
        (FROM, true),
        (TO, true),
        (second(FROM, -1), false),
        (second(TO, 1), false),
    ] {
        let verified = read(SIGN).verify(&root, at);
        assert_eq!(verified.is_ok(), valid, "{at:?} {verified:?}");
        assert!(valid || matches!(verified, Err(CertificateError::NotValid { .. })));
    }
    assert!(matches!(
        read(SIGN).verify(&root_384, LATER),
        Err(CertificateError::OtherIssuer { .. })
    ));
    assert!(matches!(
        read(SIGN).verify(&read(AGREE), LATER),
        Err(CertificateError::OtherIssuer { .. })
    ));
    // The root says that no authority stands below it.
    assert!(matches!(
        read(SUB_CA).verify(&root, LATER),
        Err(CertificateError::NoAuthority { .. })
    ));
}

#[test]
fn no_changed_byte_is_vouched_for() {
    let root = read(ROOT);
    for byte in (0..SIGN.len()).step_by(3) {
        let mut changed = SIGN.to_vec();
        changed[byte] ^= 1;
        let verified = Certificate::from_der(&changed).and_then(|found| found.verify(&root, LATER));
        assert!(verified.is_err(), "byte {byte}");
    }
    let last = SIGN.len() - 1;
    let mut changed = SIGN.to_vec();
    changed[last] ^= 1;
    assert_eq!(
        read(&changed).verify(&root, LATER),
        Err(CertificateError::Key(SecurityError::BadSignature {
            curve: Curve::P256
        }))
    );
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    assert!(matches!(
        Certificate::from_der(CRITICAL),
        Err(CertificateError::CriticalExtension { oid }) if oid.to_string() == "2.5.29.30"
    ));
    assert!(matches!(
        Certificate::from_der(RSA),
        Err(CertificateError::KeyAlgorithm { oid }) if oid.to_string() == "1.2.840.113549.1.1.1"
    ));
    let bytes = CERTIFICATE_LEN_MAX + 1;
    assert_eq!(
        Certificate::from_der(&vec![0x30; bytes]),
        Err(CertificateError::TooLong { bytes })
    );
    for cut in 0..SIGN.len() {
        assert!(Certificate::from_der(&SIGN[..cut]).is_err(), "cut {cut}");
    }
    let trailing = [SIGN, &[0]].concat();
    assert!(Certificate::from_der(&trailing).is_err());
}

#[test]
fn a_request_proves_the_key() {
    let found = CertificateRequest::from_der(REQUEST).unwrap();
    assert_eq!(found.title, TITLE);
    assert_eq!(&found.public_key, read(SIGN).public_key());
    let mut changed = REQUEST.to_vec();
    *changed.last_mut().unwrap() ^= 1;
    assert!(CertificateRequest::from_der(&changed).is_err());
    for curve in [Curve::P256, Curve::P384] {
        let key = PrivateKey::generate(curve, &mut |bytes| bytes.fill(0x35));
        let made = CertificateRequest::sign(TITLE, &key);
        let expected = CertificateRequest {
            title: TITLE,
            public_key: key.public_key(),
        };
        assert_eq!(CertificateRequest::from_der(&made), Ok(expected), "{curve}");
    }
}

#[test]
fn class_64_names_certificates() {
    let certificate = read(SIGN);
    let server = CertificateEntity::Server;
    let ours = CertificateIdentification::ByEntity {
        entity: server,
        kind: CertificateType::Signature,
        title: TITLE,
    };
    let by_serial = CertificateIdentification::BySerial {
        serial: vec![1, 2, 3, 4, 5],
        issuer: read(ROOT).subject_der().to_vec(),
    };
    for identification in [&ours, &by_serial] {
        assert!(identification.matches(&certificate, server));
        assert!(!identification.matches(&read(AGREE), server));
        let data = identification.to_data();
        assert_eq!(
            CertificateIdentification::from_data(&data).as_ref(),
            Ok(identification)
        );
    }
    assert!(!ours.matches(&certificate, CertificateEntity::Client));
    assert_eq!(
        ours.to_data().encode(),
        [&[2, 2, 0x16, 0, 2, 3, 0x16, 0, 0x16, 0, 9, 8][..], &TITLE.0].concat()
    );

    let list = [SIGN, AGREE].map(|der| CertificateInfo::of(&read(der), server));
    assert_eq!(list[1].kind, CertificateType::Agreement);
    let data = CertificateInfo::list_to_data(&list);
    assert_eq!(CertificateInfo::list_from_data(&data), Ok(list.to_vec()));

    for kind in [CertificateType::Signature, CertificateType::Agreement] {
        let data = kind.to_key_pair_data();
        assert_eq!(CertificateType::from_key_pair_data(&data), Ok(kind));
    }
    let octets = |bytes: &[u8]| Data::OctetString(bytes.to_vec());
    let identify = |choice, options| {
        CertificateIdentification::from_data(&Data::Structure(vec![
            Data::Enum(choice),
            Data::Structure(options),
        ]))
    };
    let wrong = Err(SecurityError::Payload {
        field: "certificate_identification",
    });
    assert_eq!(CertificateIdentification::from_data(&Data::Null), wrong);
    assert_eq!(identify(0, vec![octets(&[1]), octets(&[2])]), wrong);
    assert_eq!(identify(1, vec![octets(&[1])]), wrong);
    assert_eq!(
        identify(1, vec![octets(&[1; 22]), octets(&[2])]),
        Err(SecurityError::FieldTooLong {
            field: "serial_number",
            bytes: 22,
            max: 21
        })
    );
    assert_eq!(
        identify(0, vec![Data::Enum(0), Data::Enum(0), octets(&TITLE.0[..7])]),
        Err(SecurityError::TitleLength { bytes: 7 })
    );
    assert_eq!(
        CertificateType::from_key_pair_data(&Data::Enum(3)),
        Err(SecurityError::UnknownCode {
            field: "key_pair",
            code: 3
        })
    );
    let many = Data::Array(vec![Data::Null; 65]);
    assert!(CertificateInfo::list_from_data(&many).is_err());
}
