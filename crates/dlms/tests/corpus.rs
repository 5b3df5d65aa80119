//! Replays the fuzz corpus of every decoder, and seeded mutations of it.

mod checks;

use std::path::Path;

use gridloom_core::Seed;
use gridloom_dlms::security::{CipheredApdu, Policy};
use rand_core::Rng as _;

/// Mutants per corpus file.
const MUTANTS: u32 = 100;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz-corpus")
        .join(target);
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    paths
        .iter()
        .map(|path| std::fs::read(path).expect("a readable file"))
        .collect()
}

fn mutate(original: &[u8], rng: &mut gridloom_core::seed::Rng) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..1 + rng.next_u32() % 4 {
        let len = u32::try_from(bytes.len()).expect("a small file");
        let at = usize::try_from(rng.next_u32() % (len + 1)).expect("an index");
        let value = rng.next_u32().to_le_bytes()[0];
        match rng.next_u32() % 6 {
            0 if at < bytes.len() => bytes[at] ^= 1 << (value % 8),
            1 if at < bytes.len() => bytes[at] = value,
            2 => bytes.truncate(at),
            3 => bytes.insert(at, value),
            4 if at < bytes.len() => {
                bytes.remove(at);
            }
            // Lengths and counts gone wild.
            _ => {
                bytes.splice(at..at, [0x84, 0xFF, 0xFF, 0xFF, value]);
            }
        }
    }
    bytes
}

fn replay(target: &str, check: fn(&[u8])) {
    let mut rng = Seed::new(62_056).child(target).rng();
    for (file, original) in corpus(target).iter().enumerate() {
        check(original);
        for mutant in 0..MUTANTS {
            // Shown only when the test fails; the seed makes it the same bytes again.
            eprintln!("{target}: mutant {mutant} of file {file}, in the order of names");
            check(&mutate(original, &mut rng));
        }
    }
}

#[test]
fn axdr() {
    replay("axdr", checks::axdr);
}

#[test]
fn apdu() {
    replay("apdu", checks::apdu);
}

#[test]
fn wrapper() {
    replay("wrapper", checks::wrapper);
}

#[test]
fn hdlc() {
    replay("hdlc", checks::hdlc);
}

#[test]
fn general_glo() {
    replay("general_glo", checks::general_glo);
    let (context, title) = checks::sealing();
    let opened = corpus("general_glo").iter().any(|bytes| {
        CipheredApdu::decode(bytes).is_ok_and(|apdu| {
            apdu.title == title
                && context
                    .open(&apdu, Policy::default(), &mut Vec::new())
                    .is_ok()
        })
    });
    assert!(opened, "the corpus reaches the far side of the tag");
}

#[test]
fn push() {
    replay("push", checks::push);
}

#[test]
fn gbt() {
    replay("gbt", checks::gbt);
}

#[test]
fn general_ciphering() {
    replay("general_ciphering", |bytes| {
        checks::general_ciphering(bytes);
    });
    let opened = corpus("general_ciphering")
        .iter()
        .filter(|bytes| checks::general_ciphering(bytes))
        .count();
    assert_eq!(
        opened, 7,
        "one for every way to tell the key, and one signed, reach the far side of the tag"
    );
}

#[test]
fn certificate() {
    replay("certificate", checks::certificate);
}
