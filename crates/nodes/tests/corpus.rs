//! Replays the envelope corpus, and seeded mutations of it.

mod checks;

use std::collections::BTreeSet;
use std::path::Path;

use gridloom_core::Seed;
use gridloom_core::seed::Rng;
use rand_core::Rng as _;

/// Mutants per corpus file.
const MUTANTS: u32 = 2_000;

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new("fuzz-corpus/envelope");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).expect("a readable file"))
        .collect()
}

fn mutate(original: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..1 + rng.next_u32() % 3 {
        let len = u32::try_from(bytes.len()).expect("a small file");
        let at = usize::try_from(rng.next_u32() % (len + 1)).expect("an index");
        let value = rng.next_u32().to_le_bytes()[0];
        match rng.next_u32() % 6 {
            0 if at < bytes.len() => bytes[at] ^= 1 << (value % 8),
            1 if at < bytes.len() => bytes[at] = value,
            2 => bytes.truncate(at),
            3 => bytes.insert(at, value),
            // Another kind's body.
            4 if bytes.len() > 1 => bytes[1] = value % 14,
            // Lengths and counts gone wild.
            _ => {
                let end = bytes.len().min(at + 4);
                bytes[at.min(end)..end].fill(0xFF);
            }
        }
    }
    bytes
}

#[test]
fn the_corpus_holds_every_kind() {
    let kinds: BTreeSet<u8> = corpus()
        .iter()
        .filter(|bytes| checks::envelope(bytes))
        .map(|bytes| bytes[1])
        .collect();
    let shipped = (1..=16).chain([18, 19]).chain(30..=35);
    assert_eq!(kinds, shipped.collect());
}

#[test]
fn an_envelope_has_one_form_and_nothing_panics() {
    let mut rng = Seed::new(62_056).child("envelope").rng();
    let mut decoded = 0;
    for original in corpus() {
        checks::envelope(&original);
        for _ in 0..MUTANTS {
            let mutant = mutate(&original, &mut rng);
            eprintln!("envelope: {mutant:02X?}"); // Shown only when the test fails.
            decoded += u32::from(checks::envelope(&mutant));
        }
    }
    assert!(decoded > MUTANTS, "{decoded}: mutants get behind the head");
}
