//! How much one core supervises and archives.

use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use gridloom_core::{Instant, Now, Seed, UtcTime};
use gridloom_scada::alarm::{AlarmBook, AlarmDefinition, Condition, Priority};
use gridloom_scada::historian::{Archive, Class, Effect, SealedKind};
use gridloom_scada::point::Shape;
use gridloom_scada::{
    Catalogue, Definition, Fixed, Image, Kind, PointId, Quality, Tag, Unit, Update, Value,
};
use rand_core::Rng as _;

const POINTS: usize = 100_000;
const DERIVED: usize = 10_000;
const SECONDS: i64 = 600;

fn main() {
    divan::main();
}

fn at(second: i64) -> Now {
    Now {
        instant: Instant::ZERO + Duration::from_secs(second.unsigned_abs()),
        utc: UtcTime::from_secs(1_700_000_000 + second),
    }
}

fn number(millionths: i64) -> Value {
    Value::Number(Fixed::from_millionths(millionths))
}

/// Measurements, and for every tenth a derived point of two of them.
fn catalogue() -> Catalogue {
    let mut catalogue = Catalogue::default();
    let unit = Unit::parse("kW").expect("it is known");
    let tag = |text: String| Tag::parse(&text).expect("it is a tag");
    for point in 0..POINTS {
        let definition = Definition {
            age_max: Some(Duration::from_secs(10)),
            range: Some((Fixed::whole(-1_000), Fixed::whole(1_000))),
            ..Definition::new(tag(format!("area.p{point}")), Kind::Measured(unit))
        };
        catalogue.add(definition).expect("there is room");
    }
    for point in 0..DERIVED {
        let kind = Kind::Derived {
            shape: Shape::Number(unit),
            expression: format!("max(area.p{}, area.p{}) * 0.5 + 1 W", point * 10, point * 7),
        };
        let definition = Definition::new(tag(format!("area.d{point}")), kind);
        catalogue.add(definition).expect("there is room");
    }
    catalogue
}

/// A drifting, noisy value around 500 kW, as a feeder's current or power.
struct Feeder {
    rng: gridloom_core::seed::Rng,
    level: i64,
    trend: i64,
}

impl Feeder {
    fn new(point: u64) -> Self {
        Self {
            rng: Seed::new(7).child("feeder").nth(point).rng(),
            level: 500_000_000,
            trend: 0,
        }
    }

    fn next(&mut self) -> i64 {
        let mut draw =
            |bound: u64| i64::try_from(self.rng.next_u64() % bound).expect("it is small");
        if draw(60) == 0 {
            self.trend = draw(400_001) - 200_000;
        }
        self.level = (self.level + self.trend).clamp(100_000_000, 900_000_000);
        self.level + draw(1_000_001) - 500_000
    }
}

/// A second of 100 000 changed points: image, derived points, an alarm on each, archive.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn a_second_of_100_000_points(bencher: Bencher<'_, '_>) {
    let catalogue = catalogue();
    let ids: Vec<PointId> = catalogue.iter().take(POINTS).map(|(id, _)| id).collect();
    let alarms = ids.iter().zip(0_u32..).map(|(id, number)| {
        let name = Tag::parse(&format!("area.a{number}")).expect("it is a tag");
        let limit = Condition::Above(Fixed::whole(900));
        AlarmDefinition::new(name, *id, limit, Priority::Low)
    });
    let mut book = AlarmBook::new(alarms.collect(), &catalogue).expect("they are right");
    let class = Class::measurements(Fixed::whole(5));
    let mut archive = Archive::new(vec![class], &catalogue, |_| Some(0)).expect("it is right");
    let mut image = Image::new(catalogue).expect("it is right");
    let mut feeders: Vec<Feeder> = (0..100).map(Feeder::new).collect();
    let mut second = 0;
    bencher
        .counter(ItemsCount::new(POINTS))
        .with_inputs(|| {
            let values: Vec<i64> = feeders.iter_mut().map(Feeder::next).collect();
            let update = |(place, id): (usize, &PointId)| Update {
                point: *id,
                value: number(values[place % 100] + i64::try_from(place).expect("it is small")),
                quality: Quality::GOOD,
                source_time: None,
            };
            ids.iter().enumerate().map(update).collect::<Vec<Update>>()
        })
        .bench_local_values(|updates| {
            second += 1;
            let now = at(second);
            for update in &updates {
                image.apply(update, now).expect("the points are known");
            }
            image.cycle(now);
            book.scan(&image, now);
            book.handle_timeout(&image, now);
            while let Some(effect) = book.poll_effect() {
                divan::black_box(effect);
            }
            archive.scan(&image);
            while let Some(effect) = archive.poll_effect() {
                divan::black_box(effect);
            }
        });
}

/// Samples of 1 000 points for ten minutes into the archive, sealed at the end; the error is in
/// thousandths of the span of 1 000 kW. Prints bytes for each sample.
#[divan::bench(args = [0, 1, 5, 10], sample_count = 10, sample_size = 1)]
fn archive(bencher: Bencher<'_, '_>, error_permille: i64) {
    let catalogue = catalogue();
    let ids: Vec<PointId> = catalogue.iter().take(1_000).map(|(id, _)| id).collect();
    let mut feeders: Vec<Feeder> = (0..1_000).map(Feeder::new).collect();
    // At 10 W the smallest digit of the measurement; lossless to that digit when the error is 0.
    let samples: Vec<Vec<i64>> = (0..SECONDS)
        .map(|_| {
            let next = |feeder: &mut Feeder| feeder.next() / 10_000 * 10_000;
            feeders.iter_mut().map(next).collect()
        })
        .collect();
    let count = ids.len() * samples.len();
    let class = match error_permille {
        0 => Class {
            bucket: Duration::from_secs(60),
            ..Class::states()
        },
        permille => Class::measurements(Fixed::from_millionths(permille * 1_000_000)),
    };
    let mut bytes = [0, 0];
    bencher
        .counter(ItemsCount::new(count))
        .with_inputs(|| {
            Archive::new(vec![class.clone()], &catalogue, |_| Some(0)).expect("it is right")
        })
        .bench_local_values(|mut archive| {
            for (second, values) in (0_i64..).zip(&samples) {
                let time = UtcTime::from_secs(1_700_000_000 + second);
                for (id, value) in ids.iter().zip(values) {
                    archive.record(*id, time, *value, Quality::GOOD);
                }
            }
            archive.seal_older_than(Duration::from_secs(1), at(SECONDS * 2));
            bytes = [0, 0];
            while let Some(effect) = archive.poll_effect() {
                if let Effect::Write(sealed) = effect {
                    let kind = usize::from(sealed.kind == SealedKind::Aggregates);
                    bytes[kind] += sealed.bytes.len();
                }
            }
            archive
        });
    let thousandths = |bytes: usize| bytes * 1_000 / count;
    eprintln!(
        "error {error_permille} permille: values {} and aggregates {} thousandths of a byte a sample",
        thousandths(bytes[0]),
        thousandths(bytes[1])
    );
}
