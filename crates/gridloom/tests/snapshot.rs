//! What the console's API says is what the books say.

mod process;

use std::time::Duration;

use process::{Demo, bills, check, refusal, run, until};

/// April and the grace of late readings at 90 000 times real time, on a busy machine.
const MONTH_MAX: Duration = Duration::from_secs(150);

#[test]
fn the_console_and_the_books_agree() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let demo = Demo::start(&data, &["--speed", "90000"]);
    let shown = until("three closed bills", MONTH_MAX, || {
        let snapshot = demo.api("snapshot");
        let bills = snapshot["bills"].as_array().expect("a list of bills");
        let closed = bills.iter().filter(|bill| bill["agreed"] == true).count();
        (closed == 3).then_some(snapshot)
    });
    demo.interrupt().in_order();
    let booked = bills(&data);
    let april: Vec<_> = booked
        .iter()
        .filter(|bill| bill["month"] == "2026-04")
        .collect();
    assert_eq!(april.len(), 3);
    for bill in shown["bills"].as_array().expect("a list of bills") {
        let same = april
            .iter()
            .find(|booked| booked["house"] == bill["house"])
            .unwrap_or_else(|| panic!("{bill} is in no book"));
        assert_eq!(bill["amount"], same["amount"], "{bill} and {same}");
        assert_eq!(bill["meter_amount"], same["amount"], "{bill} and {same}");
        assert_eq!(bill["gaps"], same["gaps"], "{bill} and {same}");
    }
    let accounts = check(&data);
    let stored: u64 = accounts.iter().map(|account| account.get("stored")).sum();
    let readings = shown["counters"]["readings_stored"].as_u64();
    // The demo ran on between the last picture and its end.
    assert!(readings.is_some_and(|shown| shown <= stored && shown >= 3 * 30 * 48));
    for account in accounts {
        let house = shown["houses"].as_array().and_then(|houses| {
            houses
                .iter()
                .find(|house| house["id"] == account.house.as_str())
        });
        assert!(house.is_some(), "{} is not shown", account.house);
        assert_eq!(account.get("agreed"), account.get("bills"), "{account:?}");
    }
}

#[test]
fn three_hundred_houses_link_up_in_real_time() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let demo = Demo::start(&data, &["--realtime", "--houses", "300"]);
    until("300 linked houses", Duration::from_secs(60), || {
        let snapshot = demo.api("snapshot");
        assert_eq!(snapshot["houses"].as_array().map(Vec::len), Some(300));
        assert_eq!(snapshot["speed"], 1);
        let field = snapshot["layers"]
            .as_array()
            .and_then(|layers| layers.iter().find(|node| node["layer"] == "field"))?
            .clone();
        (field["detail"] == "300 of 300 linked" && field["state"] == "up").then_some(())
    });
    demo.interrupt().in_order();
    assert_eq!(check(&data).len(), 300);
}

#[test]
fn a_terminal_shows_the_meters_display() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let demo = Demo::start(&data, &["--speed", "3600"]);
    let console = demo.console().to_string();
    let output = run(&["display", "--once", "--house", "h2", "--console", &console]);
    assert!(output.status.success(), "{output:?}");
    let shown = String::from_utf8_lossy(&output.stdout);
    for page in [
        "House 2",
        "Units consumed 1.8.0",
        "Voltage",
        "Price now",
        "Bill this month",
    ] {
        assert!(shown.contains(page), "{page} is missing in {shown}");
    }
    let absent = refusal(&["display", "--once", "--house", "h9", "--console", &console]);
    assert!(absent.contains("no house h9"), "{absent}");
    demo.interrupt().in_order();
    let silent = refusal(&["display", "--once", "--console", &console]);
    assert!(silent.contains("--console"), "{silent}");
}
