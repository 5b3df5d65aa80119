//! How fast readings pass through the ledger and the block codec, per core.

use divan::Bencher;
use divan::counter::ItemsCount;
use gridloom_core::{
    Day, IntervalReading, IntervalValues, MeterId, MilliwattHours, Period, ReadingStatus, Seed,
    SystemTitle,
};
use gridloom_store::block::{self, BlockKey};
use gridloom_store::{
    Backend, Effect, Ledger, LedgerConfig, MemoryBackend, Outcome, Record, StoredReading,
};
use rand_core::Rng as _;

const PERIOD: Period = Period::QUARTER_HOUR;
const DAY: Day = Day::from_epoch_days(20_000);

fn main() {
    divan::main();
}

/// One interval of a household: import, one reactive quadrant, apparent energy and voltage move.
fn reading(meter: u32, slot: u16, rng: &mut gridloom_core::seed::Rng) -> IntervalReading {
    let mut draw = |bound: u64| i64::try_from(rng.next_u64() % bound).expect("it is small");
    let import = 20_000 + draw(300) * 1_000;
    let reactive = import / 4_000 * 1_000 + draw(10) * 1_000;
    let apparent = (import * import + reactive * reactive).isqrt();
    IntervalReading {
        meter: MeterId(meter),
        period: PERIOD,
        end: PERIOD.end_of_slot(DAY, slot),
        status: ReadingStatus::GOOD,
        values: IntervalValues::from_array([
            import,
            0,
            reactive,
            0,
            0,
            0,
            (apparent + 500) / 1_000 * 1_000,
            229_000 + draw(40) * 100,
        ]),
        import_register: MilliwattHours::new(i64::from(slot) * 170_000),
    }
}

/// Readings as they arrive: every meter's first slot, then every meter's second...
fn arrivals(meters: u32, slots: u16) -> Vec<Record> {
    let mut rng = Seed::new(7).child("bench").rng();
    (0..slots)
        .flat_map(|slot| (0..meters).map(move |meter| (meter, slot)))
        .map(|(meter, slot)| {
            Record::Reading(StoredReading {
                reading: reading(meter, slot, &mut rng),
                title: SystemTitle::new(*b"GLM", u64::from(meter)),
                counter: u32::from(slot),
            })
        })
        .collect()
}

/// Appended and made durable in a disk that takes no time, a write per thousand.
#[divan::bench(args = [1_000, 100_000])]
fn append_and_write(bencher: Bencher<'_, '_>, meters: u32) {
    let records = arrivals(meters, 4);
    bencher
        .counter(ItemsCount::new(records.len()))
        .with_inputs(|| Ledger::new(LedgerConfig::default()))
        .bench_local_values(|mut ledger| {
            for group in records.chunks(1_000) {
                for record in group {
                    ledger.append(*record).expect("there is room");
                }
                while let Some(Effect::WriteJournal { through, bytes, .. }) = ledger.poll_effect() {
                    divan::black_box(bytes);
                    ledger.handle(Outcome::Written { through });
                }
            }
            ledger
        });
}

/// A whole day of every meter, from open to sealed.
#[divan::bench]
fn seal_a_day(bencher: Bencher<'_, '_>) {
    let records = arrivals(500, 96);
    bencher
        .counter(ItemsCount::new(records.len()))
        .with_inputs(|| {
            let mut ledger = Ledger::new(LedgerConfig::default());
            for record in &records {
                ledger.append(*record).expect("there is room");
            }
            (ledger, MemoryBackend::new())
        })
        .bench_local_values(|(mut ledger, mut backend)| {
            ledger.seal_before(DAY.next());
            while let Some(effect) = ledger.poll_effect() {
                ledger.handle(match effect {
                    Effect::WriteJournal { through, .. } => Outcome::Written { through },
                    Effect::Commit(batch) => {
                        Outcome::Committed(backend.commit(batch).expect("memory does not fail"))
                    }
                    Effect::TruncateSegment { .. } => Outcome::Truncated,
                    Effect::DropSegments { .. } => Outcome::Dropped,
                });
            }
            backend
        });
}

fn day() -> (BlockKey, Vec<IntervalReading>) {
    let mut rng = Seed::new(7).child("day").rng();
    let readings = (0..96).map(|slot| reading(1, slot, &mut rng)).collect();
    let key = BlockKey {
        meter: MeterId(1),
        period: PERIOD,
        day: DAY,
    };
    (key, readings)
}

#[divan::bench]
fn encode_a_block(bencher: Bencher<'_, '_>) {
    let (key, readings) = day();
    bencher
        .counter(ItemsCount::new(readings.len()))
        .bench_local(|| block::encode(key, divan::black_box(&readings)));
}

#[divan::bench]
fn decode_a_block(bencher: Bencher<'_, '_>) {
    let (key, readings) = day();
    let bytes = block::encode(key, &readings);
    bencher
        .counter(ItemsCount::new(readings.len()))
        .bench_local(|| block::decode(key, divan::black_box(&bytes)));
}
