//! The committed corpus, and seeded mutations of it: no octets of a peer panic.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for one variant"
)]

mod checks;

use std::path::Path;

use gridloom_core::Seed;
use rand_core::Rng as _;

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz-corpus")
        .join(name);
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!((1..=50).contains(&paths.len()), "{name} has 1 to 50 files");
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

fn replay(name: &str, mutations: u64, check: fn(&[u8])) {
    for (index, seed) in corpus(name).into_iter().zip(0..).map(|(f, i)| (i, f)) {
        check(&seed);
        for mutation in 0..mutations {
            let mut rng = Seed::new(index).child(name).nth(mutation).rng();
            let mut octets = seed.clone();
            for _ in 0..=rng.next_u32() % 4 {
                if octets.is_empty() {
                    break;
                }
                let at = usize::try_from(rng.next_u32()).unwrap() % octets.len();
                let [octet, ..] = rng.next_u32().to_le_bytes();
                match rng.next_u32() % 4 {
                    0 => octets.truncate(at),
                    1 => octets.insert(at, octet),
                    2 => octets[at] = octet,
                    _ => octets[at] ^= 1 << (octet % 8),
                }
            }
            check(&octets);
        }
    }
}

#[test]
fn the_corpus_is_survived_by_the_codec() {
    replay("asdu", 2_000, checks::asdu);
}

#[test]
fn the_corpus_is_survived_by_the_station() {
    replay("station", 500, checks::station);
}

#[test]
fn the_corpus_is_survived_by_the_master() {
    replay("master", 500, checks::master);
}
