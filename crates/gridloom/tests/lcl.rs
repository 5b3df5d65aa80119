//! The measured half-hours of three real homes are billed to the watt-hour.

mod process;

use std::collections::BTreeMap;
use std::time::Duration;

use process::{Demo, bills, check};

/// What the program ships, read here by other code than its own.
const SAMPLE: &str = include_str!("../../grid/data/lcl_sample.csv");

/// Half-hours of January.
const INTERVALS: u64 = 31 * 48;

/// A month at 90 000 times real time takes 30 s; a debug build on a busy machine lags behind.
const MONTH_MAX: Duration = Duration::from_secs(150);

/// Measured energy in watt-hours, and the half-hours it was measured in.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Measured {
    watt_hours: i64,
    half_hours: u64,
}

/// The sum of each home. A stamp names the start of its half-hour, so all of January's are.
fn sample() -> BTreeMap<&'static str, Measured> {
    let mut homes: BTreeMap<&str, Measured> = BTreeMap::new();
    for row in SAMPLE.lines().skip(1) {
        let fields: Vec<&str> = row.split(',').collect();
        let [home, stamp, kilowatt_hours] = fields[..] else {
            panic!("{row:?} has not three fields");
        };
        assert!(stamp.starts_with("2013-01-"), "{row:?} is not of January");
        let home = homes.entry(home).or_default();
        home.watt_hours += watt_hours(kilowatt_hours);
        home.half_hours += 1;
    }
    homes
}

/// `0.219` is 219; the nearest where single precision left its noise (`1.0779999`).
fn watt_hours(kilowatt_hours: &str) -> i64 {
    let value: f64 = kilowatt_hours.parse().expect("the sample holds numbers");
    format!("{:.0}", value * 1_000.0)
        .parse()
        .expect("a rounded number is whole")
}

#[test]
fn billed_energy_is_measured_energy() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let month = ["--load", "lcl", "--days", "31", "--speed", "90000"];
    let ended = Demo::start(&data, &month).wait(MONTH_MAX).in_order();
    assert!(ended.out.contains("2013-01"), "{}", ended.out);
    let accounts = check(&data);
    let bills = bills(&data);
    let homes = sample();
    assert_eq!((bills.len(), accounts.len(), homes.len()), (3, 3, 3));
    for ((bill, account), (home, measured)) in bills.iter().zip(&accounts).zip(&homes) {
        assert_eq!(bill["month"], "2013-01", "{home}: {bill}");
        assert_eq!(bill["house"], account.house.as_str(), "{home}: {bill}");
        assert_eq!(
            bill["energy_mwh"].as_i64(),
            Some(measured.watt_hours * 1_000),
            "{home}: {bill}"
        );
        assert_eq!(
            bill["intervals"].as_u64(),
            Some(measured.half_hours),
            "{home}: {bill}"
        );
        assert_eq!(
            bill["gaps"].as_u64(),
            Some(INTERVALS - measured.half_hours),
            "{home}: {bill}"
        );
        for figure in ["captured", "acknowledged", "priced", "stored"] {
            assert_eq!(
                account.get(figure),
                measured.half_hours,
                "{figure}: {account:?}"
            );
        }
        assert_eq!(
            (account.get("bills"), account.get("agreed")),
            (1, 1),
            "{account:?}"
        );
    }
}
