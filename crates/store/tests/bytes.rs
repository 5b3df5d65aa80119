//! The formats: exact, stable, and without a panic on anything.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod world;

use std::path::Path;

use gridloom_core::{
    Day, IntervalReading, IntervalValues, MeterId, MilliwattHours, Period, ReadingStatus, Seed,
};
use gridloom_store::block::{self, BlockError, BlockKey};
use gridloom_store::record::place_of;
use gridloom_store::{Checkpoint, Effect, Ledger, LedgerConfig, Record, journal};
use rand_core::Rng as _;
use world::{DAY, PERIOD, price, record};

type Generator = gridloom_core::seed::Rng;

fn below(rng: &mut Generator, bound: u64) -> u64 {
    rng.next_u64() % bound
}

/// A value of any size, more often a telling one.
fn value(rng: &mut Generator) -> i64 {
    match below(rng, 6) {
        0 => 0,
        1 => i64::MIN,
        2 => i64::MAX,
        3 => rng.next_u64().cast_signed() >> below(rng, 64),
        4 => (rng.next_u64().cast_signed() >> 40) * 1_000,
        _ => 230_000,
    }
}

fn meter_day(seed: u64) -> (BlockKey, Vec<IntervalReading>) {
    let mut rng = Seed::new(seed).child("block").rng();
    let seconds = [1, 60, 900, 1_800, 3_600][usize::try_from(below(&mut rng, 5)).unwrap()];
    let key = BlockKey {
        meter: MeterId(7),
        period: Period::from_secs(seconds).unwrap(),
        day: Day::from_epoch_days(
            [0, -719_162, 20_000, 2_932_896][usize::try_from(seed % 4).unwrap()],
        ),
    };
    let density = 1 + below(&mut rng, 4);
    let wild = below(&mut rng, 3);
    let mut slots: Vec<u32> = (0..key.period.per_day().min(2_000))
        .filter(|_| density == 1 || below(&mut rng, density) == 0)
        .collect();
    if slots.is_empty() || seed.is_multiple_of(5) {
        slots = vec![key.period.per_day() - 1];
    }
    let readings = slots
        .into_iter()
        .map(|slot| IntervalReading {
            meter: key.meter,
            period: key.period,
            end: key.day.start() + key.period.duration() * (slot + 1),
            status: ReadingStatus(u8::try_from(below(&mut rng, 1 + 255 * wild.min(1))).unwrap()),
            values: IntervalValues::from_array(std::array::from_fn(|_| match wild {
                0 => i64::try_from(below(&mut rng, 900)).unwrap() * 1_000,
                _ => value(&mut rng),
            })),
            import_register: MilliwattHours::new(value(&mut rng)),
        })
        .collect();
    (key, readings)
}

#[test]
fn every_block_comes_back_bit_for_bit() {
    for seed in 0..100 {
        let (key, readings) = meter_day(seed);
        let bytes = block::encode(key, &readings);
        assert_eq!(block::decode(key, &bytes), Ok(readings), "seed {seed}");
    }
}

#[test]
fn a_block_in_the_wrong_row_or_with_a_flipped_bit_is_refused() {
    let (key, readings) = meter_day(2);
    let bytes = block::encode(key, &readings);
    let other = BlockKey {
        meter: MeterId(8),
        ..key
    };
    assert_eq!(block::decode(other, &bytes), Err(BlockError::Checksum));
    for offset in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[offset] ^= 0x10;
        assert_eq!(
            block::decode(key, &flipped),
            Err(BlockError::Checksum),
            "byte {offset}"
        );
        assert!(block::decode(key, &bytes[..offset]).is_err());
    }
}

/// The formats on disk, byte for byte: a database must be readable next year.
#[test]
fn the_formats_are_stable() {
    let key = BlockKey {
        meter: MeterId(1),
        period: PERIOD,
        day: DAY,
    };
    let readings = [0, 1, 23].map(|slot| world::stored(1, 0, slot, 40 + i64::from(slot)).reading);
    assert_eq!(hex(&block::encode(key, &readings)), BLOCK);
    assert_eq!(hex(&block::encode(key, &household_day(key))), HOUSEHOLD);
    assert_eq!(hex(&journal_bytes()), JOURNAL);
}

const BLOCK: &str = "0101c5c00001261e8082d87c6ed6015f9f0920afcf92e09c015fcf197701e807c48081c1e2cf";
const JOURNAL: &str = concat!(
    "474c4a4e0001000000000000000100000000000000019816f95b0000006599ca29da000000000000",
    "000100000000010000000100000e1000000192550a6e800000000000000013880000000000000000",
    "0000000000001b580000000000000000000000000000000000000000000000000000000000000009",
    "00000000000382700000000000003a98474c4d00000000010000000000000022f60c644700000000",
    "00000002000000010200000192550a6e8000000e10000000000002dc6c00000000000004d2000200",
    "000001",
);

const HOUSEHOLD: &str = concat!(
    "0183c7481e80b0ef18dd7a0043bc6375e8010ef18dd7a0043bc7c2c400324924924924924924be2f",
    "e807a1fb30300844202110d8fc03cb92a5518952b061a958310a7a1487e3c4400000030000a51b0d",
    "0c",
);

/// A day with wandering, scattered, growing and rare values.
fn household_day(key: BlockKey) -> Vec<IntervalReading> {
    let mut register = 5_000_000_000;
    (0..24)
        .map(|slot| {
            let wobble = |factor: i64| (i64::from(slot) * factor + 3) % 7 - 3;
            let import = (400 + 90 * wobble(5)) * 1_000;
            let reactive = import / 5_000 * 1_000;
            register += import;
            IntervalReading {
                meter: key.meter,
                period: key.period,
                end: key.period.end_of_slot(key.day, slot),
                status: ReadingStatus(u8::from(slot == 9) * 0x80),
                values: IntervalValues::from_array([
                    import,
                    i64::from(slot) * 17,
                    reactive,
                    0,
                    0,
                    0,
                    (import * import + reactive * reactive).isqrt() / 1_000 * 1_000,
                    230_000 + 100 * wobble(3),
                ]),
                import_register: MilliwattHours::new(register),
            }
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn journal_bytes() -> Vec<u8> {
    let mut ledger = Ledger::new(LedgerConfig::default());
    ledger.append(record(1, 0, 0, 5)).unwrap();
    ledger.append(Record::Price(price(0, 0, 187_500))).unwrap();
    match ledger.poll_effect() {
        Some(Effect::WriteJournal { bytes, .. }) => bytes,
        effect => panic!("a write, not {effect:?}"),
    }
}

/// Reads every file of a corpus, and mutations of it.
fn with_corpus(name: &str, seeds: &[Vec<u8>], probe: impl Fn(&[u8])) {
    let folder = Path::new("fuzz-corpus").join(name);
    let mut corpus: Vec<Vec<u8>> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .collect();
    assert!(!corpus.is_empty(), "{} has files", folder.display());
    corpus.sort();
    corpus.extend_from_slice(seeds);
    let mut rng = Seed::new(1).child(name).rng();
    for bytes in corpus {
        probe(&bytes);
        for _ in 0..60 {
            let mut mutated = bytes.clone();
            for _ in 0..=below(&mut rng, 4) {
                mutate(&mut mutated, &mut rng);
            }
            probe(&mutated);
        }
    }
}

fn mutate(bytes: &mut Vec<u8>, rng: &mut Generator) {
    let place = usize::try_from(below(rng, bytes.len() as u64 + 1)).unwrap();
    let [byte, ..] = rng.next_u64().to_be_bytes();
    match below(rng, 5) {
        0 => bytes.truncate(place),
        1 => bytes.insert(place, byte),
        2 if place < bytes.len() => bytes[place] = byte,
        3 if place < bytes.len() => bytes[place] ^= 1 << (byte & 7),
        _ => bytes[place..].fill(if byte & 1 == 0 { 0 } else { 0xFF }),
    }
}

#[test]
fn no_bytes_panic_the_block_decoder() {
    let seeds: Vec<_> = (0..10)
        .map(|seed| {
            let (key, readings) = meter_day(seed);
            let mut bytes = key.meter.0.to_be_bytes().to_vec();
            bytes.extend(key.period.as_secs().to_be_bytes());
            bytes.extend((key.day.epoch_days()).to_be_bytes());
            let mut block = block::encode(key, &readings);
            block.truncate(block.len() - 4);
            bytes.extend(block);
            assert_eq!(
                block::probe(&bytes),
                readings.len(),
                "the probe reaches the decoder"
            );
            bytes
        })
        .collect();
    with_corpus("block", &seeds, |bytes| {
        block::probe(bytes);
    });
}

#[test]
fn no_bytes_panic_the_recovery() {
    let whole = journal_bytes();
    assert_eq!(
        journal::probe(&whole),
        4,
        "the probe reads it as it is and mended"
    );
    with_corpus("journal", &[whole], |bytes| {
        journal::probe(bytes);
        for number in [0, 1] {
            let files = vec![(number, bytes.to_vec())];
            if let Ok((ledger, _)) =
                Ledger::recover(LedgerConfig::default(), Checkpoint::NONE, files)
            {
                assert!(ledger.stats().open_readings <= bytes.len());
            }
        }
    });
}

#[test]
fn places_of_ends() {
    let cases = [
        (900, "2013-01-01T00:15:00Z", Some(("2013-01-01", 0))),
        (900, "2013-01-02T00:00:00Z", Some(("2013-01-01", 95))),
        (1, "2013-01-02T00:00:00Z", Some(("2013-01-01", 86_399))),
        (900, "2013-01-01T00:20:00Z", None),
    ];
    for (seconds, end, expected) in cases {
        let period = Period::from_secs(seconds).unwrap();
        let end = gridloom_core::UtcTime::parse(end).unwrap();
        let expected = expected.map(|(day, slot)| (Day::parse(day).unwrap(), slot));
        assert_eq!(place_of(period, end), expected, "{end}");
    }
}
