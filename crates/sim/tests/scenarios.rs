//! The shipped scenarios, by seed: safety under faults, then everything heals, and everything
//! that is due is there.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

use gridloom_sim::trial::{FileError, Settled, Watch};
use gridloom_sim::{Sabotage, Trial, TrialError, Violation};

const EVERYTHING: &str = include_str!("../../../scenarios/everything.toml");

/// The other shipped ones, and for how many seeds each runs here.
const SHIPPED: [(&str, u64); 5] = [
    (include_str!("../../../scenarios/lossy-feeder.toml"), 1),
    (
        include_str!("../../../scenarios/power-line-evening.toml"),
        3,
    ),
    (include_str!("../../../scenarios/mesh-and-radio.toml"), 3),
    (include_str!("../../../scenarios/under-attack.toml"), 2),
    (include_str!("../../../scenarios/disks-and-clocks.toml"), 5),
];

fn run(trial: &Trial, seed: u64) -> Settled {
    trial.run(seed, Watch::Quiet).unwrap_or_else(|error| {
        let name = &trial.name;
        panic!("gridloom sim replay --seed {seed} --scenario scenarios/{name}.toml: {error}")
    })
}

/// Runs 100 seeds, or only `GRIDLOOM_SEED` when set, a quarter of them in each test: the tests
/// run beside each other.
fn everything(quarter: u64) {
    let trial: Trial = EVERYTHING.parse().unwrap();
    let only: Option<u64> = std::env::var("GRIDLOOM_SEED")
        .ok()
        .map(|text| text.parse().expect("a seed is a whole number"));
    for seed in only.map_or(quarter * 25..quarter * 25 + 25, |seed| seed..seed + 1) {
        let account = run(&trial, seed).account;
        assert_eq!(account.produced, account.stored, "seed {seed}: {account}");
    }
}

#[test]
fn everything_fails_and_heals_0() {
    everything(0);
}

#[test]
fn everything_fails_and_heals_1() {
    everything(1);
}

#[test]
fn everything_fails_and_heals_2() {
    everything(2);
}

#[test]
fn everything_fails_and_heals_3() {
    everything(3);
}

#[test]
fn the_shipped_scenarios_hold() {
    for (text, seeds) in SHIPPED {
        let trial: Trial = text.parse().unwrap();
        for seed in 0..seeds {
            let account = run(&trial, seed).account;
            assert!(account.balances() && account.waiting == 0, "{account}");
        }
    }
}

#[test]
fn alternate_paths_lose_and_double_nothing() {
    let trial: Trial = include_str!("../../../scenarios/alternate-paths.toml")
        .parse()
        .unwrap();
    for seed in 0..8 {
        let account = run(&trial, seed).account;
        assert_eq!(account.produced, account.stored, "seed {seed}: {account}");
    }
}

#[test]
fn the_faults_of_a_scenario_really_happen() {
    let trial: Trial = EVERYTHING.parse().unwrap();
    let (mut flipped, mut named, mut crashes) = (0, 0, 0);
    for seed in 0..6 {
        let counters = run(&trial, seed).counters();
        flipped += counters.bits_flipped;
        named += counters.damage_named;
        crashes += counters.crashes;
    }
    assert!(flipped > 2 && crashes > 20, "{flipped} {crashes}");
    assert_eq!(flipped, named, "every flipped bit is named");
}

/// Each invariant of the design, broken once in the world, and the checker that must fire.
#[test]
fn a_world_that_breaks_an_invariant_is_found() {
    type Fires = fn(&Violation) -> bool;
    let cases: [(Sabotage, Fires); 7] = [
        (Sabotage::AcknowledgeTheLost, |it| {
            matches!(it, Violation::AcknowledgedLost { .. })
        }),
        (Sabotage::ForgeAReading, |it| {
            matches!(it, Violation::Differs { .. })
        }),
        (Sabotage::ForgeAPrice, |it| {
            matches!(it, Violation::PriceChanged { .. })
        }),
        (Sabotage::ForgeABill, |it| {
            matches!(it, Violation::Bill { .. })
        }),
        (Sabotage::OrderByNobody, |it| {
            matches!(it, Violation::OrderByNobody { heard: 1, .. })
        }),
        (Sabotage::BloatAFrame, |it| {
            matches!(it, Violation::Unbounded { .. })
        }),
        (Sabotage::LeakAPacket, |it| {
            matches!(it, Violation::Leaked(1))
        }),
    ];
    let mut trial = Trial::lossy_feeder();
    trial.faults = gridloom_sim::FaultPlan::NONE;
    for (sabotage, fires) in cases {
        // Elsewhere it would read from the profile what is lost, and mend the world.
        trial.has_head_end = sabotage == Sabotage::OrderByNobody;
        let violated = trial.run_sabotaged(1, Watch::Explain, Some(sabotage));
        let Err(TrialError::Violated {
            violation,
            timeline,
            ..
        }) = violated
        else {
            panic!("{sabotage:?} is not found: {:?}", violated.err());
        };
        assert!(fires(&violation), "{sabotage:?}: {violation}");
        assert!(timeline.len() > 20, "{sabotage:?}: {timeline:?}");
    }
}

#[test]
fn a_text_that_is_no_scenario_is_refused_with_its_key_and_the_remedy() {
    let cases = [
        (
            "houses = 2",
            "houses = 0",
            "town.houses is 0; give 1 to 10000",
        ),
        ("houses = 2", "hauses = 2", "unknown field `hauses`"),
        (
            "2026-04-30",
            "2026-04-31",
            "town.start is 2026-04-31; give a day",
        ),
        (
            "bad-mesh",
            "pigeon",
            "faults.field.technology is pigeon; give one of wi-sun",
        ),
        (
            "{ technology = \"bad-mesh\" }",
            "{ technology = \"dmr\", mean_ms = 100, p95_ms = 800 }",
            "faults.field.p95_ms is 800; give 1 to 3.86 times mean_ms",
        ),
        (
            "crashes_max = 2",
            "crashes_max = 2000",
            "faults.crashes_max is 2000; give 0 to 1000",
        ),
        (
            "[faults]",
            "[attack]\nassault = \"rain\"\n[faults]",
            "attack.assault is rain; give one of eavesdrop",
        ),
        (
            "[faults]",
            "[[schedule]]\nat_minutes = 1\nnode = \"meter-0\"\nfault = \"crash\"\n[faults]",
            "schedule[0].node is meter-0; give utility, edge",
        ),
    ];
    for (from, to, words) in cases {
        let text = EVERYTHING.replacen(from, to, 1);
        assert_ne!(text, EVERYTHING);
        let error: FileError = text.parse::<Trial>().unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_fault_at_a_node_that_is_not_there_is_refused() {
    let text = format!(
        "{EVERYTHING}\n[[schedule]]\nat_minutes = 1\nnode = \"gateway-9\"\nfault = \"crash\"\n"
    );
    let trial: Trial = text.parse().unwrap();
    let error = trial.run(1, Watch::Quiet).unwrap_err();
    assert_eq!(error, TrialError::NoNode("gateway-9".to_owned()));
}
