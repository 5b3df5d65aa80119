use super::*;

const NOW: UtcTime = UtcTime::from_secs(1_700_000_000);

fn source(text: &str) -> Box<LocalMasterKeys> {
    Box::new(LocalMasterKeys::parse(text.as_bytes()).unwrap())
}

fn one() -> String {
    format!("1:{}", "0F".repeat(32))
}

fn two() -> String {
    format!("{}\n# newer\n2:{}\n", one(), "a1".repeat(32))
}

fn new(kind: KeyKind) -> NewKey {
    NewKey {
        key: KeyId(5),
        meter: MeterId(9),
        kind,
        client: 0,
        state: KeyState::Current,
        made_at: NOW,
    }
}

fn masters(changes: &[Change]) -> Vec<MasterRow> {
    let rows = changes.iter().filter_map(|change| match change {
        Change::Master(row) => Some(*row),
        Change::Device(_)
        | Change::Key(_)
        | Change::KeyState(..)
        | Change::Rewrap(_)
        | Change::Counter(_)
        | Change::Work(_)
        | Change::Audit(_) => None,
    });
    rows.collect()
}

#[test]
fn what_is_sealed_unseals() {
    let (mut vault, changes) = Vault::open(source(&one()), &[], &[], NOW).unwrap();
    assert_eq!(masters(&changes).len(), 1);
    let cases = [
        (KeyKind::UnicastEncryption, 16, true),
        (KeyKind::Authentication, 32, true),
        (KeyKind::Authentication, 24, false),
        (KeyKind::KeyEncryption, 0, false),
        (KeyKind::LowLevelSecret, 1, true),
        (KeyKind::LowLevelSecret, 8, true),
        (KeyKind::HighLevelSecret, 21, true),
        (KeyKind::HighLevelSecret, SECRET_BYTES_MAX, true),
        (KeyKind::HighLevelSecret, SECRET_BYTES_MAX + 1, false),
        (KeyKind::LowLevelSecret, 0, false),
    ];
    for (kind, length, fits) in cases {
        let secret = Secret::new(&vec![7; length]);
        let row = vault.seal(new(kind), &secret);
        assert_eq!(row.is_ok(), fits, "{kind} {length}");
        let Ok(mut row) = row else { continue };
        assert!(row.wrapped.len() <= gridloom_store::backend::WRAPPED_KEY_BYTES_MAX);
        assert_eq!(vault.unseal(&row), Ok(secret));
        row.wrapped[3] ^= 1;
        let damaged = vault.unseal(&row);
        assert!(
            matches!(damaged, Err(VaultError::KeyDamaged { .. })),
            "{damaged:?}"
        );
        row.wrapped.truncate(8);
        assert!(vault.unseal(&row).is_err());
        row.state = KeyState::Retired;
        assert_eq!(vault.unseal(&row), Err(VaultError::KeyGone(KeyId(5))));
    }
}

/// RFC 3394, 4.6; the padded form under the same key as OpenSSL gives it
/// (`openssl enc -id-aes256-wrap-pad -iv A65959A6`).
#[test]
fn published_vectors() {
    let kek = "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F";
    let mut keys = LocalMasterKeys::parse(kek.as_bytes()).unwrap();
    let plain =
        Secret::parse_hex("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F")
            .unwrap();
    let expected = Secret::parse_hex(
        "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21",
    )
    .unwrap();
    let wrapped = keys.wrap(1, WrapForm::Key, plain.expose()).unwrap();
    assert_eq!(wrapped, expected.expose());
    let padded = keys.wrap(1, WrapForm::Padded, b"lower the drawbridge");
    let expected =
        Secret::parse_hex("1F1EABCAC23A5600338765DBF97915694A4C1D68C0EC72D72E4A5E73635258D0");
    assert_eq!(padded.unwrap(), expected.unwrap().expose());
}

#[test]
fn a_wrong_master_key_is_found_at_start() {
    let (mut vault, changes) = Vault::open(source(&one()), &[], &[], NOW).unwrap();
    let rows = masters(&changes);
    let key = vault
        .seal(new(KeyKind::Authentication), &Secret::new(&[1; 16]))
        .unwrap();
    let keys = [key];
    let other = format!("1:{}", "10".repeat(32));
    let later = format!("2:{}", "10".repeat(32));
    let wrong = VaultError::WrongMasterKey(1);
    let missing = VaultError::VersionMissing(1);
    // The rows that are there, the source that is given, what comes of it.
    let cases = [
        (&rows[..], one(), Ok(0)),
        (&rows[..], two(), Ok(1)),
        (&rows[..], other.clone(), Err(wrong.clone())),
        (&rows[..], later.clone(), Err(missing.clone())),
        // No check value yet: the keys themselves prove it.
        (&[], one(), Ok(1)),
        (&[], other, Err(wrong)),
        (&[], later, Err(missing)),
    ];
    for (rows, text, expected) in cases {
        let opened = Vault::open(source(&text), rows, &keys, NOW);
        let written = opened.map(|(_, changes)| changes.len());
        assert_eq!(written, expected, "{} rows, {text}", rows.len());
    }
    // The database knows a newer one than the source.
    let (_, changes) = Vault::open(source(&two()), &rows, &[], NOW).unwrap();
    let both = [rows, masters(&changes)].concat();
    let opened = Vault::open(source(&one()), &both, &[], NOW);
    assert_eq!(
        opened.map(|_| ()).unwrap_err(),
        VaultError::VersionMissing(2)
    );
}

#[test]
fn keys_move_to_a_newer_master_key() {
    let (mut vault, changes) = Vault::open(source(&one()), &[], &[], NOW).unwrap();
    let first = masters(&changes)[0];
    let secret = Secret::new(b"lower the drawbridge");
    let mut row = vault.seal(new(KeyKind::LowLevelSecret), &secret).unwrap();
    assert_eq!(vault.rewrap(&row), Ok(None));

    let keys = [row.clone()];
    let (mut vault, _) = Vault::open(source(&two()), &[first], &keys, NOW).unwrap();
    assert_eq!(
        vault.retire(&first, &keys),
        Err(VaultError::StillInUse {
            version: 1,
            keys: 1
        })
    );
    let Some(Change::Rewrap(rewrap)) = vault.rewrap(&row).unwrap() else {
        panic!("it is wrapped by an older key");
    };
    assert_eq!((rewrap.from, rewrap.to), (1, 2));
    (row.master, row.wrapped) = (2, rewrap.wrapped);
    assert_eq!(vault.unseal(&row), Ok(secret));
    assert!(vault.retire(&first, &[row]).is_ok());
}

#[test]
fn key_sources() {
    let hex32 = "ab".repeat(32);
    let faults = [
        ("", 1),
        ("short", 1),
        ("1:abc", 1),
        ("0:0F", 1),
        (&format!("1:{hex32}\n\nx:{hex32}"), 3),
        (&format!("1:{hex32}\n1:{hex32}"), 2),
        (&format!("1:{hex32}\n{hex32}"), 2),
    ];
    for (text, line) in faults {
        let error = LocalMasterKeys::parse(text.as_bytes()).unwrap_err();
        assert!(
            matches!(error, VaultError::Source { line: at, .. } if at == line),
            "{text}: {error}"
        );
        assert!(!error.to_string().contains("abab"), "{error}");
    }
    for raw in [&[0xFF; 16][..], &[b':'; 32], b"ab:defghijklmn\nq"] {
        assert!(LocalMasterKeys::parse(raw).is_ok(), "{raw:?}");
    }
    assert!(LocalMasterKeys::parse(format!("{hex32}\n").as_bytes()).is_ok());
}

#[test]
fn nothing_prints_a_key() {
    let keys = LocalMasterKeys::parse(one().as_bytes()).unwrap();
    let secret = Secret::new(&[15; 16]);
    let (mut vault, _) = Vault::open(Box::new(keys), &[], &[], NOW).unwrap();
    let row = vault.seal(new(KeyKind::Authentication), &secret).unwrap();
    let printed = format!("{vault:?} {secret:?} {row:?}");
    assert!(!printed.contains("15, 15"), "{printed}");
    assert!(!printed.contains("wrapped: ["), "{printed}");
}

#[test]
fn the_lines_of_an_external_holder() {
    use super::command::{Question, read_bytes, read_newest};
    let wrap = Question::Wrap {
        version: 3,
        form: WrapForm::Padded,
        plain: &[0x0A, 0xFF],
    };
    assert_eq!(*wrap.to_line(), "wrap 3 padded 0aff\n");
    assert_eq!(*Question::Newest.to_line(), "newest\n");
    assert_eq!(read_newest("ok 3\n"), Ok(3));
    assert_eq!(read_bytes("ok 0aFF\r\n"), Ok(Secret::new(&[10, 255])));
    assert_eq!(read_bytes("mismatch"), Err(VaultError::DoesNotUnwrap));
    assert_eq!(
        read_bytes("error no such key"),
        Err(VaultError::Holder("no such key".into()))
    );
    for line in ["", "ok", "ok 0", "ok xy", "hello", &"ok 00".repeat(200)] {
        assert!(
            matches!(read_bytes(line), Err(VaultError::Answer(_))),
            "{line}"
        );
    }
    for line in ["ok 0", "ok -1", "ok x"] {
        assert!(read_newest(line).is_err(), "{line}");
    }
}
