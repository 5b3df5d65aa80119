//! Ctrl-C ends the program in good order, and the next start goes on from there.

mod process;

use std::path::Path;
use std::time::Duration;

use process::{Demo, check, clock, refusal, text, until};
use serde_json::Value;

/// Stopping in good order takes a moment, not a while, even on a busy machine.
const STOP_MAX: Duration = Duration::from_secs(10);

const READINGS_MAX: Duration = Duration::from_secs(30);

/// Minutes from the first of the month to `2026-04-DDTHH:MM:…`.
fn minutes(time: &Value) -> u64 {
    let time = time.as_str().expect("a time is text");
    assert!(time.starts_with("2026-04-"), "{time} is not of April");
    let number = |at: usize| time[at..at + 2].parse::<u64>().expect("two digits");
    ((number(8) - 1) * 24 + number(11)) * 60 + number(14)
}

fn wait_for_readings(demo: &Demo, count: u64) {
    until("the next readings", READINGS_MAX, || {
        (demo.counter("readings_stored") >= count).then_some(())
    });
}

fn stored(data: &Path) -> u64 {
    check(data)
        .iter()
        .map(|account| account.get("stored"))
        .sum()
}

#[test]
fn ctrl_c_stops_and_a_restart_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut before = 0;
    let mut stopped_at = 0;
    for _ in 0..3 {
        let demo = Demo::start(&data, &["--speed", "7200"]);
        let first = demo.api("snapshot");
        let began_at = minutes(&first["now"]);
        // It resumes at the last captured interval, at most one before where it stopped.
        assert!(
            began_at + 30 >= stopped_at,
            "stopped at minute {stopped_at}, began at {began_at}"
        );
        assert!(
            began_at <= stopped_at + 24 * 60,
            "stopped at minute {stopped_at}, began at {began_at}"
        );
        wait_for_readings(&demo, before + 15);
        stopped_at = minutes(&demo.api("snapshot")["now"]);
        let asked = clock();
        let ended = demo.interrupt().in_order();
        assert!(asked.elapsed() < STOP_MAX, "it took {:?}", asked.elapsed());
        assert_eq!(ended.status.code(), Some(0));
        assert!(
            ended.out.contains("goes on from") && ended.out.contains(text(&data)),
            "{}",
            ended.out
        );
        let now = stored(&data);
        assert!(now >= before + 15, "{now} readings after {before}");
        before = now;
    }
}

#[test]
fn a_directory_is_run_as_what_it_was_made_for() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let demo = Demo::start(&data, &["--speed", "7200"]);
    wait_for_readings(&demo, 3);
    demo.interrupt().in_order();
    for other in [["--houses", "4"], ["--seed", "8"], ["--load", "lcl"]] {
        let mut arguments = vec!["demo", "--data", text(&data), "--console", "127.0.0.1:0"];
        arguments.extend(other);
        let words = refusal(&arguments);
        assert!(
            words.contains("made for 3 houses") && words.contains("--data"),
            "{other:?}: {words}"
        );
    }
    assert!(stored(&data) >= 3);
}

#[test]
fn a_second_process_is_told_who_has_the_directory() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let demo = Demo::start(&data, &["--speed", "7200"]);
    let holder = demo.id().to_string();
    for command in ["demo", "check"] {
        let words = refusal(&[command, "--data", text(&data)]);
        assert!(
            words.contains(&holder) && words.contains("--data"),
            "{command}: {words}"
        );
    }
    wait_for_readings(&demo, 3);
    demo.interrupt().in_order();
    check(&data);
}
