//! Killed at any moment, the program loses nothing that it acknowledged and bills nothing twice.

mod process;

use std::path::Path;
use std::time::Duration;

use process::{Account, Demo, Draws, bills, check};

const ROUNDS: u32 = 50;

/// Half-hours of April.
const INTERVALS: u64 = 30 * 48;

/// Thirty days and the grace of late readings, at 20 to 30 real seconds.
const REST_MAX: Duration = Duration::from_secs(150);

#[test]
fn a_killed_utility_keeps_what_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut draws = Draws::seeded();
    let mut before: Vec<Account> = Vec::new();
    for round in 1..=ROUNDS {
        // Half of them fall into the start, the others between pushes and acknowledgements: after a
        // restart a meter waits up to two seconds before it pushes.
        let (from, to) = if round % 2 == 0 {
            (50, 600)
        } else {
            (600, 2_600)
        };
        let time = Duration::from_millis(draws.between(from, to));
        eprintln!("round {round}: killed {time:?} after the start");
        let demo = Demo::start(&data, &["--speed", "20000"]);
        process::pause(time);
        demo.kill();
        let now = check(&data);
        assert_eq!(now.len(), 3, "round {round}");
        for (then, now) in before.iter().zip(&now) {
            for figure in ["captured", "acknowledged", "stored"] {
                assert!(
                    now.get(figure) >= then.get(figure),
                    "round {round}: {figure} of {} fell from {} to {}",
                    now.house,
                    then.get(figure),
                    now.get(figure)
                );
            }
        }
        before = now;
    }
    assert!(
        before.iter().all(|account| account.get("acknowledged") > 0),
        "nothing was at stake: {before:?}"
    );
    run_april_to_its_end(&data);
}

#[test]
fn a_demo_killed_while_it_is_founded_starts_again() {
    let mut draws = Draws::seeded();
    for round in 1..=12 {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        for _ in 0..3 {
            let time = Duration::from_millis(draws.between(1, 120));
            eprintln!("round {round}: killed {time:?} after the process began");
            Demo::start_and_kill_after(&data, &["--houses", "40", "--speed", "20000"], time);
        }
        let demo = Demo::start(&data, &["--houses", "40", "--speed", "20000"]);
        process::until("a reading of each house", Duration::from_secs(30), || {
            (demo.counter("readings_stored") >= 40).then_some(())
        });
        demo.interrupt().in_order();
        assert_eq!(check(&data).len(), 40, "round {round}");
    }
}

/// Nothing may be missing in the month that the kills fell into: every interval is stored, priced
/// and billed once, and each meter's own bill is the utility's.
fn run_april_to_its_end(data: &Path) {
    const DUE: u64 = 32 * 48;
    let demo = Demo::start(data, &["--speed", "90000", "--days", "32"]);
    let ended = demo.wait(REST_MAX).in_order();
    assert!(
        !ended.errors.contains("not everything was settled"),
        "{}",
        ended.errors
    );
    for account in check(data) {
        // The clock runs on while the nodes stop, so that an interval captured after the last day
        // may still be under way then; everything that was due by its end may not.
        for figure in ["captured", "acknowledged", "stored", "priced"] {
            assert!(account.get(figure) >= DUE, "{figure}: {account:?}");
        }
        assert_eq!(account.get("bills"), 1, "{account:?}");
        assert_eq!(account.get("agreed"), 1, "{account:?}");
    }
    let bills = bills(data);
    assert_eq!(bills.len(), 3, "{bills:?}");
    for bill in bills {
        assert_eq!(bill["month"], "2026-04", "{bill}");
        let (intervals, gaps) = (bill["intervals"].as_u64(), bill["gaps"].as_u64());
        assert_eq!((intervals, gaps), (Some(INTERVALS), Some(0)), "{bill}");
    }
}

/// A meter that did not hear its acknowledgement pushes again what is durable, amid newer readings.
#[test]
fn what_comes_again_after_a_kill_is_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let arguments = ["--houses", "40", "--speed", "7200"];
    for _ in 0..4 {
        let demo = Demo::start(&data, &arguments);
        process::pause(Duration::from_millis(2_500));
        demo.kill();
        let demo = Demo::start(&data, &arguments);
        process::pause(Duration::from_millis(2_500));
        demo.interrupt().in_order();
        check(&data);
    }
}
