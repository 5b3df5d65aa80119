//! Replays the packet corpus, and seeded mutations of it.

mod checks;

use std::collections::BTreeSet;
use std::path::Path;

use gridloom_core::Seed;
use gridloom_core::seed::Rng;
use gridloom_edge::{Reason, Verdict};
use rand_core::Rng as _;

/// Mutants per corpus file.
const MUTANTS: u32 = 300;

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new("fuzz-corpus/packet");
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

#[test]
fn the_corpus_reaches_every_verdict() {
    let verdicts: BTreeSet<_> = corpus().iter().map(|bytes| checks::judge(bytes)).collect();
    let dropped = [
        Reason::Malformed,
        Reason::UnknownTitle,
        Reason::BadTag,
        Reason::Replayed,
        Reason::ClockAhead,
        Reason::WrongPeriod,
        Reason::Unexpected,
    ]
    .map(|reason| (Verdict::Drop, Some(reason)));
    let kept = [(Verdict::Forward, None), (Verdict::Quarantine, None)];
    assert_eq!(verdicts, dropped.into_iter().chain(kept).collect());
}

#[test]
fn nothing_unverified_passes_and_nothing_panics() {
    let mut rng = Seed::new(62_056).child("packet").rng();
    for original in corpus() {
        checks::packet(&original);
        for _ in 0..MUTANTS {
            let mutant = mutate(&original, &mut rng);
            eprintln!("packet: {mutant:02X?}"); // Shown only when the test fails.
            checks::packet(&mutant);
        }
    }
}
