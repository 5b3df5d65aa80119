//! What a reading costs in the store, on real households.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(
    clippy::cast_possible_truncation,
    reason = "a household's values are small"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use gridloom_core::{
    Day, IntervalReading, IntervalValues, MeterId, MilliwattHours, Period, ReadingStatus, Seed,
    UtcTime,
};
use gridloom_store::block::{self, BlockKey};
use rand_core::Rng as _;

const PERIOD: Period = Period::HALF_HOUR;

/// The Low Carbon London homes, with the other channels derived from their import: a reactive
/// energy whose ratio wanders, mostly inductive, the apparent energy that follows from it, and a
/// voltage that scatters around a level that falls with the load.
#[test]
fn a_reading_of_a_real_household_takes_at_most_three_bytes() {
    measure(30);
}

/// The figure that the documents state.
#[test]
#[ignore = "all sixty homes take half a minute without optimisation"]
fn a_reading_of_all_households_takes_at_most_three_bytes() {
    measure(1);
}

/// Measures one home in `stride`.
fn measure(stride: usize) {
    let folder = std::env::var_os("GRIDLOOM_DATA")
        .map_or_else(|| PathBuf::from("../../../shared/data"), PathBuf::from);
    let path = folder.join("lcl/lcl60_halfhourly_2013-01_to_10.csv.zst");
    let Ok(compressed) = std::fs::read(&path) else {
        eprintln!("skipped: {} is not here; set GRIDLOOM_DATA", path.display());
        return;
    };
    let text = String::from_utf8(zstd::decode_all(&*compressed).unwrap()).unwrap();
    let days = households(&text, stride);
    let (mut readings, mut bytes) = (0, 0);
    for (key, day) in &days {
        let block = block::encode(*key, day);
        assert_eq!(block::decode(*key, &block).as_ref(), Ok(day));
        readings += day.len();
        bytes += block.len();
    }
    let cost = bytes as f64 / readings as f64;
    eprintln!(
        "{readings} readings, {} blocks, {bytes} bytes: {cost:.3} bytes each",
        days.len()
    );
    assert!(readings > 500_000 / stride, "most of the data was read");
    assert!(cost <= 3.0, "{cost:.3} bytes per reading");
}

fn households(text: &str, stride: usize) -> BTreeMap<BlockKey, Vec<IntervalReading>> {
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("LCLid,tstp,kwh"));
    let mut homes = BTreeMap::new();
    let mut days: BTreeMap<BlockKey, BTreeMap<UtcTime, IntervalReading>> = BTreeMap::new();
    for line in lines {
        let fields: Vec<_> = line.split(',').collect();
        let [home, time, kwh] = fields[..] else {
            panic!("three columns, not {line:?}");
        };
        let count = u32::try_from(homes.len()).unwrap();
        let state = homes
            .entry(home.to_owned())
            .or_insert_with(|| Home::new(count));
        if !(state.meter as usize).is_multiple_of(stride) {
            continue;
        }
        let (Some(end), Ok(kwh)) = (UtcTime::parse(time), kwh.trim().parse::<f64>()) else {
            continue;
        };
        let key = BlockKey {
            meter: MeterId(state.meter),
            period: PERIOD,
            day: PERIOD.day_of(end),
        };
        if PERIOD.slot_of(end).is_some() {
            days.entry(key)
                .or_default()
                .insert(end, state.interval(end, kwh));
        }
    }
    let in_order = |day: BTreeMap<_, IntervalReading>| day.into_values().collect();
    days.into_iter()
        .map(|(key, day)| (key, in_order(day)))
        .collect()
}

struct Home {
    meter: u32,
    rng: gridloom_core::seed::Rng,
    register_wh: i64,
    tangent: f64,
    level_volts: f64,
}

impl Home {
    fn new(meter: u32) -> Self {
        Self {
            meter,
            rng: Seed::new(2013).nth(u64::from(meter)).rng(),
            register_wh: 5_000_000,
            tangent: 0.25,
            level_volts: 240.0,
        }
    }

    fn interval(&mut self, end: UtcTime, kwh: f64) -> IntervalReading {
        let import = (kwh * 1_000.0).round();
        self.tangent = (self.tangent + 0.03 * self.scatter()).clamp(-0.12, 0.48);
        self.level_volts += 0.1 * (240.0 - self.level_volts) + 0.3 * self.scatter();
        let reactive = (import * self.tangent).round();
        let apparent = import.hypot(reactive).round();
        let voltage = self.level_volts - 2.0 * kwh + 0.3 * self.scatter();
        let milli = |value: f64| value as i64 * 1_000;
        self.register_wh += import as i64;
        IntervalReading {
            meter: MeterId(self.meter),
            period: PERIOD,
            end,
            status: ReadingStatus::GOOD,
            values: IntervalValues::from_array([
                milli(import),
                0,
                milli(reactive.max(0.0)),
                0,
                0,
                milli(-reactive.min(0.0)),
                milli(apparent),
                (voltage * 10.0).round() as i64 * 100,
            ]),
            import_register: MilliwattHours::new(self.register_wh * 1_000),
        }
    }

    /// About normal, with a deviation of 1: the sum of twelve uniform draws.
    fn scatter(&mut self) -> f64 {
        let uniform = |_| self.rng.next_u64() as f64 / u64::MAX as f64;
        (0..12).map(uniform).sum::<f64>() - 6.0
    }
}

#[test]
fn a_single_reading_is_small_too() {
    let mut home = Home::new(0);
    let day = Day::from_epoch_days(15_706);
    let reading = home.interval(PERIOD.end_of_slot(day, 3), 0.25);
    let key = BlockKey {
        meter: MeterId(0),
        period: PERIOD,
        day,
    };
    assert!(block::encode(key, &[reading]).len() <= 48);
}
