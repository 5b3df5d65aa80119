use super::*;
use crate::hex;

const CONTROL_30: SecurityControl = SecurityControl::AUTHENTICATED_ENCRYPTED;
const COUNTER: u32 = 0x0123_4567;
const TITLE: SystemTitle = SystemTitle(*b"MMM\x00\x00\xBC\x61\x4E");
const GET_CLOCK: &str = "C0010000080000010000FF0200";

fn context() -> CipherContext {
    let key = |text: &str| <[u8; 16]>::try_from(hex::bytes(text)).unwrap();
    CipherContext::new(&Keys::new(
        key("000102030405060708090A0B0C0D0E0F"),
        key("D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF"),
    ))
}

fn protection(control: u8) -> Protection {
    Protection {
        title: TITLE,
        counter: COUNTER,
        control: SecurityControl(control),
    }
}

fn open(apdu: &CipheredApdu<'_>, policy: Policy) -> Result<Vec<u8>, SecurityError> {
    let mut plain = vec![0xEE; 3];
    let opened = context().open(apdu, policy, &mut plain).map(<[u8]>::to_vec);
    assert_eq!(opened.clone().unwrap_or_default(), plain, "empty on errors");
    opened
}

/// Green Book vectors (T40 and the initiate pair), recomputed with OpenSSL.
#[test]
fn service_specific_vectors() {
    let cases = [
        (
            GET_CLOCK,
            "C81E3001234567411312FF935A47566827C467BC7D825C3BE4A77C3FCC056B6B",
        ),
        (
            GET_CLOCK,
            "C81E1001234567C0010000080000010000FF020006725D910F9221D263877516",
        ),
        (GET_CLOCK, "C8122001234567411312FF935A47566827C467BC"),
        (
            "01011000112233445566778899AABBCCDDEEFF0000065F1F0400007E1F04B0",
            "21303001234567801302FF8A7874133D414CED25B42534D28DB0047720606B17\
             5BD52211BE6841DB204D39EE6FDB8E356855",
        ),
        (
            "0800065F1F0400007C1F04000007",
            "281F3001234567891214A0845E475714383F65BC19745CA235906525E4F3E1C893",
        ),
    ];
    for (plain, sealed) in cases {
        let (plain, sealed) = (hex::bytes(plain), hex::bytes(sealed));
        let mut out = Vec::new();
        context().protect_service(sealed[0], protection(sealed[2]), &plain, &mut out);
        assert_eq!(out, sealed);
        let apdu = CipheredApdu::decode_service(&sealed, TITLE).unwrap();
        assert_eq!((apdu.tag, apdu.counter), (sealed[0], COUNTER));
        if apdu.control == SecurityControl::ENCRYPTED {
            let mut found = Vec::new();
            let found = context().decrypt_unverified(&apdu, &mut found);
            assert_eq!(found, Ok(&plain[..]));
        } else {
            assert_eq!(open(&apdu, Policy::Authentication), Ok(plain));
        }
    }
}

/// Green Book vector (T43), recomputed with OpenSSL.
#[test]
fn hls_5_vectors() {
    let client = SystemTitle(*b"MMM\x00\x00\x00\x00\x01");
    let cases = [
        (client, 1, "P6wRJ21F", "10000000011A52FE7DD3E72748973C1E28"),
        (
            TITLE,
            COUNTER,
            "K56iVagY",
            "1001234567FE1466AFB3DBCD4F9389E2B7",
        ),
    ];
    for (title, counter, challenge, answer) in cases {
        let (challenge, answer) = (challenge.as_bytes(), hex::bytes(answer));
        let context = context();
        assert_eq!(
            context.answer_challenge(title, counter, challenge)[..],
            answer
        );
        assert_eq!(
            context.verify_answer(title, challenge, &answer),
            Ok(counter)
        );
        let bad_tag = Err(SecurityError::BadTag { title, counter });
        assert_eq!(context.verify_answer(title, b"K56iVagX", &answer), bad_tag);
        let mut changed = answer.clone();
        changed[16] ^= 1;
        assert_eq!(context.verify_answer(title, challenge, &changed), bad_tag);
        assert_eq!(
            context.verify_answer(title, challenge, &answer[..16]),
            Err(SecurityError::GmacLength { bytes: 16 })
        );
    }
}

/// A push of a sold meter, with the dummy key of its maker.
#[test]
fn a_real_general_glo_frame() {
    let key = *b"MYDUMMYGLOBALKEY";
    let sealed = hex::bytes(
        "DB082F192291991641033B30000001E5025CE9D2271FD78BE8C204211A916A9D7F587E0A7A814CAD\
         EA89E9593F01F92EA8C087B5BDFDEFEAB6BECF282DFE49C08F5BE6DC8400",
    );
    let plain = hex::bytes(
        "0F000001DB000922125A8591360000000049000000110000000A5A8513D014800000000D0000000A\
         0100",
    );
    let apdu = CipheredApdu::decode(&sealed).unwrap();
    assert_eq!(apdu.title.to_string(), "2F19229199164103");
    assert_eq!((apdu.control, apdu.counter), (CONTROL_30, 0x1E5));
    let context = CipherContext::new(&Keys::new(key, key));
    let mut opened = Vec::new();
    assert_eq!(
        context.open(&apdu, Policy::default(), &mut opened),
        Ok(&plain[..])
    );
    let mut again = Vec::new();
    context.protect(Protection::full(apdu.title, 0x1E5), &plain, &mut again);
    assert_eq!(again, sealed);
}

#[test]
fn no_changed_bit_is_believed() {
    let mut sealed = Vec::new();
    context().protect(protection(0x30), &hex::bytes(GET_CLOCK), &mut sealed);
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let opened =
            CipheredApdu::decode(&changed).and_then(|apdu| open(&apdu, Policy::Authentication));
        assert!(opened.is_err(), "bit {bit}");
    }
    for cut in 0..sealed.len() {
        assert!(CipheredApdu::decode(&sealed[..cut]).is_err(), "cut {cut}");
    }
}

#[test]
fn the_policy_decides_before_the_tag() {
    let seal = |control| {
        let mut sealed = Vec::new();
        context().protect(protection(control), &hex::bytes(GET_CLOCK), &mut sealed);
        sealed
    };
    let full = Policy::AuthenticatedEncryption;
    let tagged = Policy::Authentication;
    let refused = |got, wanted| {
        Err(SecurityError::Policy {
            got: SecurityControl(got),
            wanted,
        })
    };
    let plain = || Ok(hex::bytes(GET_CLOCK));
    let cases = [
        (0x30, full, plain()),
        (0x30, tagged, plain()),
        (0x10, full, refused(0x10, full)),
        (0x10, tagged, plain()),
        (0x20, full, refused(0x20, full)),
        (0x20, tagged, refused(0x20, tagged)),
    ];
    for (control, policy, expected) in cases {
        let sealed = seal(control);
        let apdu = CipheredApdu::decode(&sealed).unwrap();
        assert_eq!(open(&apdu, policy), expected, "{control:#x} {policy}");
    }
    let sealed = seal(0x30);
    let apdu = CipheredApdu::decode(&sealed).unwrap();
    let claims = [
        (
            0x31,
            SecurityError::Suite {
                wanted: SecuritySuite::Suite0,
                got: 1,
            },
        ),
        (0x70, SecurityError::BroadcastKey),
        (0xB0, SecurityError::Compressed),
    ];
    for (control, expected) in claims {
        let claimed = CipheredApdu {
            control: SecurityControl(control),
            ..apdu
        };
        assert_eq!(open(&claimed, full), Err(expected));
    }
    let unverified = context()
        .decrypt_unverified(&apdu, &mut Vec::new())
        .map(<[u8]>::to_vec);
    assert_eq!(unverified, refused(0x30, full), "a tag is to be checked");
}

#[test]
fn the_outside_is_taken_apart_or_named() {
    let cases = [
        ("C001", SecurityError::NotCiphered { tag: 0xC0 }),
        (
            "DB07 4D4D4D0000BC61 05 3000000001",
            SecurityError::TitleLength { bytes: 7 },
        ),
        (
            "DB08 4D4D4D0000BC614E 06 3000000001",
            SecurityError::WrongLength {
                announced: 6,
                found: 5,
            },
        ),
    ];
    for (text, expected) in cases {
        let found = CipheredApdu::decode(&hex::bytes(text)).map(|apdu| apdu.title);
        assert_eq!(found, Err(expected), "{text}");
    }
    let bytes = hex::bytes("DB08 4D4D4D0000BC614E 10 3000000001 AABBCCDDEEFF0011223344");
    let short = CipheredApdu::decode(&bytes).unwrap();
    assert!(matches!(
        open(&short, Policy::default()),
        Err(SecurityError::Truncated(_))
    ));
}

#[test]
fn keys_print_nothing() {
    let key = [0xA5; 16];
    let keys = Keys::new(key, key);
    let shown = format!(
        "{keys:?} {:?} {:?}",
        CipherContext::new(&keys),
        crate::security::KeyEncryptionKey::new(key)
    );
    assert!(
        !shown.contains("165") && !shown.to_lowercase().contains("a5"),
        "{shown}"
    );
    assert_eq!(keys, keys.clone());
    assert_ne!(keys, Keys::new(key, [0; 16]));
    assert_ne!(keys, Keys::new([0; 16], key));
}

fn short(text: &str) -> [u8; 16] {
    hex::bytes(text).try_into().unwrap()
}

/// Global keys of a suite; the broadcast key of suite 0 is the unicast key backwards.
fn suite_context(suite: SecuritySuite) -> CipherContext {
    let keys = match suite {
        SecuritySuite::Suite0 | SecuritySuite::Suite1 => Keys::new(
            short("000102030405060708090A0B0C0D0E0F"),
            short("D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF"),
        )
        .with_broadcast(SymmetricKey::short(short(
            "0F0E0D0C0B0A09080706050403020100",
        )))
        .unwrap(),
        SecuritySuite::Suite2 => Keys::long(
            core::array::from_fn(|at| u8::try_from(at).unwrap()),
            core::array::from_fn(|at| 0xD0 + u8::try_from(at).unwrap()),
        ),
    };
    CipherContext::with_suite(&keys, suite).unwrap()
}

/// Computed with OpenSSL, through Python's `cryptography`.
#[test]
fn suites_1_and_2_vectors() {
    let cases = [
        (
            SecuritySuite::Suite1,
            "C81E3101234567411312FF935A47566827C467BCE8691C99484B00B2449055B5",
        ),
        (
            SecuritySuite::Suite1,
            "C81E1101234567C0010000080000010000FF020017AFA77B4CE384E815A6BDAD",
        ),
        (
            SecuritySuite::Suite2,
            "C81E3201234567E82B2AD3EE8C12A6FB27038F08442193498C6A53DE55EEB9D2",
        ),
        (
            SecuritySuite::Suite2,
            "C81E1201234567C0010000080000010000FF0200B2D2B6A0A8DD79BA67B3C7EE",
        ),
        (
            SecuritySuite::Suite2,
            "C8122201234567E82B2AD3EE8C12A6FB27038F08",
        ),
    ];
    for (suite, sealed) in cases {
        let (context, sealed) = (suite_context(suite), hex::bytes(sealed));
        let (plain, mut out) = (hex::bytes(GET_CLOCK), Vec::new());
        let control = SecurityControl(sealed[2]);
        let protection = context.protection(control, TITLE, COUNTER);
        context.protect_service(0xC8, protection, &plain, &mut out);
        assert_eq!(out, sealed, "{suite}");
        let apdu = CipheredApdu::decode_service(&sealed, TITLE).unwrap();
        let mut opened = Vec::new();
        if control.is_authenticated() {
            let opened = context.open(&apdu, Policy::Authentication, &mut opened);
            assert_eq!(opened, Ok(&plain[..]), "{suite}");
        } else {
            let opened = context.decrypt_unverified(&apdu, &mut opened);
            assert_eq!(opened, Ok(&plain[..]), "{suite}");
        }
    }
    let answers = [
        (SecuritySuite::Suite1, "1101234567EFC99C45F0AA6875E5A82A0C"),
        (SecuritySuite::Suite2, "12012345674630FC2F1ED85AF78DCE6BF8"),
    ];
    for (suite, answer) in answers {
        let (context, answer) = (suite_context(suite), hex::bytes(answer));
        let made = context.answer_challenge(TITLE, COUNTER, b"K56iVagY");
        assert_eq!(made[..], answer, "{suite}");
        assert_eq!(
            context.verify_answer(TITLE, b"K56iVagY", &answer),
            Ok(COUNTER)
        );
        assert_eq!(
            suite_context(SecuritySuite::Suite0).verify_answer(TITLE, b"K56iVagY", &answer),
            Err(SecurityError::Suite {
                wanted: SecuritySuite::Suite0,
                got: suite.code(),
            })
        );
    }
}

#[test]
fn a_suite_has_its_keys_and_its_control_bytes() {
    let keys = Keys::new([1; 16], [2; 16]);
    assert!(CipherContext::with_suite(&keys, SecuritySuite::Suite1).is_ok());
    assert_eq!(
        CipherContext::with_suite(&keys, SecuritySuite::Suite2).map(|context| context.suite()),
        Err(SecurityError::SuiteKeyLength {
            suite: SecuritySuite::Suite2,
            bytes: 16,
        })
    );
    assert_eq!(
        CipherContext::new(&Keys::long([1; 32], [2; 32])).suite(),
        SecuritySuite::Suite2
    );
    // The same keys in another suite: the control byte is refused before the tag is tried.
    let mut sealed = Vec::new();
    let sender = suite_context(SecuritySuite::Suite1);
    sender.protect(sender.full_protection(TITLE, 1), b"plain", &mut sealed);
    let apdu = CipheredApdu::decode(&sealed).unwrap();
    assert_eq!(
        suite_context(SecuritySuite::Suite0).open(&apdu, Policy::default(), &mut Vec::new()),
        Err(SecurityError::Suite {
            wanted: SecuritySuite::Suite0,
            got: 1,
        })
    );
}

/// Computed with OpenSSL, through Python's `cryptography`.
#[test]
fn dedicated_and_broadcast_vectors() {
    let global = suite_context(SecuritySuite::Suite0);
    let backwards = SymmetricKey::short(short("0F0E0D0C0B0A09080706050403020100"));
    let dedicated = global.dedicated(&backwards).unwrap();
    let plain = hex::bytes(GET_CLOCK);

    let general = hex::bytes(
        "DC084D4D4D0000BC614E1E3001234567E946FE2408908F9C7850CE096EF0F62871E1CE3096E2302688",
    );
    let mut out = Vec::new();
    dedicated.protect(protection(0x30), &plain, &mut out);
    assert_eq!(out, general);
    let apdu = CipheredApdu::decode(&general).unwrap();
    assert_eq!(
        (apdu.form, apdu.key()),
        (CipheredForm::GeneralDedicated, KeyUse::Dedicated)
    );
    let mut opened = Vec::new();
    assert_eq!(
        dedicated.open(&apdu, Policy::default(), &mut opened),
        Ok(&plain[..])
    );
    assert_eq!(
        global.open(&apdu, Policy::default(), &mut opened),
        Err(SecurityError::OtherKey {
            wanted: KeyUse::Unicast,
            got: KeyUse::Dedicated,
        })
    );

    // The service-specific form has the same sealed bytes behind its own tag.
    let service = [&[0xD0], &general[10..]].concat();
    let mut out = Vec::new();
    dedicated.protect_service(0xD0, protection(0x30), &plain, &mut out);
    assert_eq!(out, service);
    let apdu = CipheredApdu::decode_service(&service, TITLE).unwrap();
    assert_eq!(
        (apdu.form, apdu.key()),
        (CipheredForm::ServiceDedicated, KeyUse::Dedicated)
    );
    assert_eq!(
        dedicated.open(&apdu, Policy::default(), &mut opened),
        Ok(&plain[..])
    );

    let broadcast = hex::bytes(
        "DB084D4D4D0000BC614E1E7001234567E946FE2408908F9C7850CE096EE35F3EA18FB324A2BB4706A1",
    );
    let control = SecurityControl::AUTHENTICATED_ENCRYPTED.with_broadcast_key();
    let mut out = Vec::new();
    global.protect(protection(control.0), &plain, &mut out);
    assert_eq!(out, broadcast);
    let apdu = CipheredApdu::decode(&broadcast).unwrap();
    assert_eq!(apdu.key(), KeyUse::Broadcast);
    assert_eq!(
        global.open(&apdu, Policy::default(), &mut opened),
        Ok(&plain[..])
    );
    assert_eq!(
        context().open(&apdu, Policy::default(), &mut opened),
        Err(SecurityError::BroadcastKey),
        "no broadcast key is installed"
    );
    // The broadcast bit says nothing where the form names the key.
    let mut confused = general;
    confused[11] |= 0x40;
    let apdu = CipheredApdu::decode(&confused).unwrap();
    assert_eq!(
        dedicated.open(&apdu, Policy::default(), &mut opened),
        Err(SecurityError::BroadcastBit { control })
    );
    assert!(opened.is_empty());
}

#[test]
fn an_answer_comes_in_the_form_of_the_question() {
    let global = suite_context(SecuritySuite::Suite0);
    let dedicated = global.dedicated(&SymmetricKey::short([9; 16])).unwrap();
    let cases = [
        (CipheredForm::ServiceGlobal, 0xC4, 0xCC),
        (CipheredForm::ServiceDedicated, 0xC4, 0xD4),
        (CipheredForm::GeneralGlobal, 0xC4, 0xDB),
        (CipheredForm::GeneralDedicated, 0xC4, 0xDC),
        // A push has no ciphered tag of its own.
        (CipheredForm::ServiceGlobal, 0x0F, 0xDB),
        (CipheredForm::ServiceDedicated, 0x0F, 0xDC),
    ];
    for (form, plain, tag) in cases {
        let context = if form.is_dedicated() {
            &dedicated
        } else {
            &global
        };
        let mut out = Vec::new();
        context.protect_as(form, protection(0x30), &[plain, 1, 2, 3], &mut out);
        assert_eq!(out[0], tag, "{form:?}");
        let apdu = match CipheredForm::of_tag(tag).unwrap() {
            CipheredForm::ServiceGlobal | CipheredForm::ServiceDedicated => {
                CipheredApdu::decode_service(&out, TITLE)
            }
            CipheredForm::GeneralGlobal | CipheredForm::GeneralDedicated => {
                CipheredApdu::decode(&out)
            }
            CipheredForm::General => unreachable!("no case of ours"),
        }
        .unwrap();
        let mut opened = Vec::new();
        let opened = context.open(&apdu, Policy::default(), &mut opened);
        assert_eq!(opened, Ok(&[plain, 1, 2, 3][..]), "{form:?}");
    }
}
