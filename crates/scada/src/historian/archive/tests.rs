use gridloom_core::{Instant, Seed};
use rand_core::Rng as _;

use super::*;
use crate::fixed::Fixed;
use crate::historian::{Series, decode_aggregates, decode_block, roll_up};
use crate::point::{Definition, Kind, Reason, Tag};
use crate::unit::Unit;

const SECOND: Duration = Duration::from_secs(1);
const START: i64 = 1_700_000_000_000;

type Sample = (i64, i64, Quality);

fn millis(time: i64) -> UtcTime {
    UtcTime::from_millis(time)
}

fn end() -> Now {
    Now {
        instant: Instant::ZERO,
        utc: millis(START * 2),
    }
}

/// An archive of one number and one breaker.
fn archive(class: Class) -> (Archive, PointId) {
    let mut catalogue = Catalogue::default();
    let kind = Kind::Measured(Unit::parse("A").unwrap());
    let point = catalogue
        .add(Definition::new(Tag::parse("I").unwrap(), kind))
        .unwrap();
    let archive = Archive::new(vec![class], &catalogue, |_| Some(0)).unwrap();
    (archive, point)
}

/// Everything that an archive of these samples writes.
fn written(class: Class, samples: &[Sample]) -> Vec<Sealed> {
    let (mut archive, point) = archive(class);
    for &(time, raw, quality) in samples {
        let recorded = archive.record(point, millis(time), raw, quality);
        assert_eq!(recorded, Recorded::Taken);
    }
    archive.seal_older_than(SECOND, end());
    drain(&mut archive)
}

fn drain(archive: &mut Archive) -> Vec<Sealed> {
    let mut blocks = Vec::new();
    while let Some(effect) = archive.poll_effect() {
        match effect {
            Effect::Write(sealed) => blocks.push(sealed),
            Effect::Remove { .. } => panic!("nothing was purged"),
        }
    }
    blocks
}

fn series(blocks: &[Sealed]) -> Series {
    let values = blocks
        .iter()
        .filter(|block| block.kind == SealedKind::Values);
    Series::read(values.map(|block| block.bytes.as_slice())).unwrap()
}

/// Samples of one temper: still, drifting, noisy, jumping, oscillating, extreme.
fn samples(seed: u64, count: i64) -> Vec<Sample> {
    let mut rng = Seed::new(seed).child("samples").rng();
    let mut draw = |bound: u64| i64::try_from(rng.next_u64() % bound).unwrap();
    let temper = seed % 6;
    let (mut time, mut value, mut slope) = (START, draw(1_000_000_000), 0);
    let mut quality = Quality::GOOD;
    (0..count)
        .map(|number| {
            time += match draw(20) {
                0 => 1 + draw(5_000),
                1 if seed.is_multiple_of(2) => 100_000 + draw(1_000),
                _ => 1_000,
            };
            if draw(50) == 0 {
                slope = draw(2_000) - 1_000;
            }
            value += match temper {
                0 => 0,
                1 => slope,
                2 => draw(20_001) - 10_000,
                3 if draw(30) == 0 => draw(2_000_000_000) - 1_000_000_000,
                3 => 0,
                4 => (number % 7 - 3) * 40_000,
                _ => 0,
            };
            let shown = match temper {
                5 => [i64::MAX, i64::MIN, 0, -1][usize::try_from(draw(4)).unwrap()],
                _ => value,
            };
            if draw(100) == 0 {
                quality = match draw(3) {
                    0 => Quality::GOOD,
                    1 => Quality::bad(Reason::LinkDown),
                    _ => Quality::GOOD.substituted(),
                };
            }
            (time, shown, quality)
        })
        .collect()
}

#[test]
fn no_sample_is_further_from_the_archive_than_the_stated_error() {
    // Errors in millionths: too small for lines, small, large, huge.
    for seed in 0..240 {
        let error =
            [1, 7, 11, 5_000, 60_001, 1_000_000, 1 << 45][usize::try_from(seed).unwrap() % 7];
        let mut class = Class::measurements(Fixed::from_millionths(error));
        if seed % 5 == 0 {
            class.method = Method::Deadband;
        }
        let samples = samples(seed, 1_500);
        let series = series(&written(class, &samples));
        assert_eq!(series.samples(), 1_500, "seed {seed}");
        for (time, raw, quality) in &samples {
            let got = series.at(millis(*time)).unwrap();
            // At the ends of the range a kept value may not be a multiple of its quantum.
            let extreme = raw.unsigned_abs() > 1 << 62;
            let away = got.raw.abs_diff(*raw);
            assert!(
                away <= error.unsigned_abs() || extreme,
                "seed {seed}, error {error}: {raw} came back as {} at {time}",
                got.raw
            );
            assert_eq!((got.quality, got.error), (*quality, error), "seed {seed}");
        }
    }
}

#[test]
fn the_exact_method_gives_back_every_sample() {
    for seed in 0..60 {
        let samples = samples(seed, 800);
        let series = series(&written(Class::states(), &samples));
        for (time, raw, quality) in &samples {
            let got = series.at(millis(*time)).unwrap();
            assert_eq!(
                (got.raw, got.quality, got.error),
                (*raw, *quality, 0),
                "seed {seed}"
            );
        }
    }
}

#[test]
fn a_still_or_steadily_moving_value_costs_almost_nothing() {
    let class = || Class::measurements(Fixed::from_millionths(10_000));
    for slope in [0, 123, -77_777] {
        let line: Vec<Sample> = (0..60_000)
            .map(|n| (START + n * 1_000, n * slope, Quality::GOOD))
            .collect();
        let blocks = written(class(), &line);
        let values: Vec<_> = blocks
            .iter()
            .filter(|block| block.kind == SealedKind::Values)
            .collect();
        assert_eq!(values.len(), 1);
        assert!(
            values[0].bytes.len() < 100,
            "{} bytes",
            values[0].bytes.len()
        );
        let (head, vertices) = decode_block(&values[0].bytes).unwrap();
        assert_eq!((head.samples, vertices.len()), (60_000, 2));
    }
}

#[test]
fn a_silence_is_held_and_no_line_is_drawn_through_it() {
    let class = Class::measurements(Fixed::from_millionths(1_000));
    let good = Quality::GOOD;
    let hour = 3_600_000;
    let samples = [
        (START, 5_000_000, good),
        (START + 1_000, 5_000_000, good),
        (START + hour, 9_000_000, good),
        (START + hour + 1_000, 9_000_000, good),
    ];
    let series = series(&written(class, &samples));
    for (time, expected) in [
        (-1, None),
        (0, Some(5_000_000)),
        (hour / 2, Some(5_000_000)),
        (hour - 1_000, Some(5_000_000)),
        (hour, Some(9_000_000)),
        (hour + 1_000, Some(9_000_000)),
        (hour + 1_001, None),
    ] {
        let got = series.at(millis(START + time)).map(|got| got.raw);
        let near = got
            .zip(expected)
            .map(|(got, expected)| i64::abs_diff(got, expected) <= 1_000);
        assert_eq!(near, expected.map(|_| true), "{time}: {got:?}");
    }
}

#[test]
fn blocks_join_without_a_hole_and_a_flipped_bit_is_named() {
    let class = Class::measurements(Fixed::from_millionths(20));
    let samples: Vec<Sample> = samples(2, 20_000);
    let blocks = written(class, &samples);
    let mut values: Vec<_> = blocks
        .iter()
        .filter(|block| block.kind == SealedKind::Values)
        .collect();
    assert!(values.len() > 3, "{} blocks", values.len());
    for pair in values.windows(2) {
        assert_eq!(pair[0].last, pair[1].first);
    }
    let between = series(&blocks).at(millis(values[1].first.as_millis() + 1));
    assert!(between.is_some());
    let mut damaged = values.remove(0).bytes.clone();
    damaged.truncate(120);
    assert!(decode_block(&damaged).is_err());
    for place in 0..damaged.len() {
        for bit in 0..8 {
            damaged[place] ^= 1 << bit;
            assert!(decode_block(&damaged).is_err());
            assert!(decode_aggregates(&damaged).is_err());
            // Past the checksum, damage must not panic either.
            let body = &damaged[..damaged.len() - 4];
            let forged = [body, &crc32fast::hash(body).to_be_bytes()].concat();
            let _ = decode_block(&forged);
            let _ = decode_aggregates(&forged);
            damaged[place] ^= 1 << bit;
        }
    }
    for length in 0..8 {
        assert!(decode_block(&damaged[..length]).is_err());
    }
}

#[test]
fn forged_aggregates_and_blocks_do_not_panic() {
    let mut rng = Seed::new(3).child("forged").rng();
    for length in 0..3_000 {
        let mut bytes: Vec<u8> = (0..length % 90)
            .map(|_| rng.next_u64().to_be_bytes()[0])
            .collect();
        for version in [1, 0x41, 0x45] {
            if let Some(first) = bytes.first_mut() {
                *first = version;
            }
            let mut forged = bytes.clone();
            forged.extend(crc32fast::hash(&bytes).to_be_bytes());
            let _ = decode_block(&forged);
            let _ = decode_aggregates(&forged);
            let _ = crate::historian::decode_events(&forged);
        }
    }
}

#[test]
fn late_samples_are_counted_and_left_out() {
    let (mut archive, point) = archive(Class::states());
    let good = Quality::GOOD;
    let cases = [
        (START, Recorded::Taken),
        (START, Recorded::Late),
        (START - 1, Recorded::Late),
        (START + 1, Recorded::Taken),
        (i64::MAX, Recorded::Late),
        (i64::MIN, Recorded::Late),
    ];
    for (time, expected) in cases {
        assert_eq!(
            archive.record(point, millis(time), 1, good),
            expected,
            "{time}"
        );
    }
    assert_eq!(archive.late(), 4);
    let unknown = PointId(9);
    assert_eq!(
        archive.record(unknown, millis(START), 1, good),
        Recorded::NotArchived
    );
}

/// The buckets of all samples, counted millisecond by millisecond.
fn counted(samples: &[Sample], bucket: i64) -> Vec<Aggregate> {
    let mut rows: std::collections::BTreeMap<i64, Aggregate> = std::collections::BTreeMap::new();
    let usable = |quality: Quality| quality.validity() != Validity::Bad;
    for (place, (time, raw, quality)) in samples.iter().enumerate() {
        if let Some((before, held, held_quality)) = place.checked_sub(1).map(|p| samples[p])
            && usable(held_quality)
        {
            let mut from = before;
            while from < *time {
                let start = from - from.rem_euclid(bucket);
                let to = (start + bucket).min(*time);
                let row = rows.entry(start).or_insert(Aggregate::new(start));
                row.hold(held, to - from);
                from = to;
            }
        }
        if usable(*quality) {
            let start = time - time.rem_euclid(bucket);
            rows.entry(start)
                .or_insert(Aggregate::new(start))
                .sample(*raw);
        }
    }
    rows.into_values().collect()
}

#[test]
fn aggregates_are_those_of_the_samples_and_not_of_the_archive() {
    for seed in 0..60 {
        let samples = samples(seed, 1_000);
        let class = Class::measurements(Fixed::whole(100));
        let blocks = written(class, &samples);
        let mut rows = Vec::new();
        for block in blocks
            .iter()
            .filter(|block| block.kind == SealedKind::Aggregates)
        {
            rows.extend(decode_aggregates(&block.bytes).unwrap().1);
        }
        let mut expected = counted(&samples, 60_000);
        // The bucket under way is not written yet.
        expected.truncate(rows.len());
        assert!(!rows.is_empty());
        assert_eq!(rows, expected, "seed {seed}");
        let hours = roll_up(&rows, 3_600_000);
        let total = |rows: &[Aggregate]| {
            let mut all = rows[0];
            rows[1..].iter().for_each(|row| all.merge(row));
            all
        };
        let (a, b) = (total(&hours), total(&rows));
        assert_eq!(
            (a.count, a.min, a.max, a.sum, a.covered_ms, a.weighted),
            (b.count, b.min, b.max, b.sum, b.covered_ms, b.weighted)
        );
    }
}

#[test]
fn a_time_weighted_mean_is_not_the_mean_of_samples() {
    let class = Class {
        bucket: Duration::from_secs(10),
        ..Class::measurements(Fixed::from_millionths(100))
    };
    let good = Quality::GOOD;
    let samples = [
        (START, 0, good),
        (START + 9_000, 100, good),
        (START + 10_000, 100, good),
    ];
    let blocks = written(class, &samples);
    let rows = blocks
        .iter()
        .find(|block| block.kind == SealedKind::Aggregates)
        .unwrap();
    let (_, rows) = decode_aggregates(&rows.bytes).unwrap();
    assert_eq!(
        (rows[0].mean(), rows[0].time_weighted_mean()),
        (Some(50), Some(10))
    );
    assert_eq!((rows[0].min, rows[0].max, rows[0].count), (0, 100, 2));
    assert_eq!(Aggregate::new(0).mean(), None);
}

#[test]
fn retention_says_what_goes() {
    let (mut archive, _) = archive(Class::measurements(Fixed::whole(1)));
    archive.purge(end());
    let day = Duration::from_secs(86_400);
    let mut removed = Vec::new();
    while let Some(Effect::Remove {
        class,
        kind,
        before,
    }) = archive.poll_effect()
    {
        removed.push((class, kind, before));
    }
    let now = end().utc;
    assert_eq!(
        removed,
        [
            (0, SealedKind::Values, now - day * 730),
            (0, SealedKind::Aggregates, now - day * 3_650),
        ]
    );
}

#[test]
fn impossible_classes_are_named() {
    let with = |change: fn(&mut Class)| {
        let mut class = Class::measurements(Fixed::whole(1));
        change(&mut class);
        class
    };
    let cases = [
        (with(|c| c.error = Fixed::ZERO), "error 0"),
        (with(|c| c.method = Method::Exact), "error 1"),
        (with(|c| c.tick = Duration::ZERO), "tick"),
        (with(|c| c.bucket = Duration::from_millis(10)), "bucket"),
        (with(|c| c.retention.values = SECOND), "retention of values"),
    ];
    for (class, words) in cases {
        let error = Archive::new(vec![class], &Catalogue::default(), |_| None);
        let error = error.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let mut catalogue = Catalogue::default();
    let point = Definition::new(Tag::parse("s").unwrap(), Kind::Single);
    catalogue.add(point).unwrap();
    for (classes, class) in [(vec![], 0), (vec![Class::measurements(Fixed::whole(1))], 0)] {
        let error = Archive::new(classes, &catalogue, |_| Some(class)).unwrap_err();
        assert!(matches!(error, ArchiveError::Point { .. }));
    }
}
