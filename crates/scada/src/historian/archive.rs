//! The archive of every point: samples in, blocks out.

use std::collections::VecDeque;
use std::time::Duration;

use gridloom_core::{Now, UtcTime};

use super::aggregate::{Aggregate, Rows};
use super::block::{BLOCK_BYTES_MAX, BlockWriter, SAMPLES_MAX};
use super::class::{Class, ClassError, Method};
use super::door::{Door, Rule};
use crate::image::Image;
use crate::point::{Catalogue, PointId, Quality, Shape, Validity};

/// Bytes of rows after which a block of aggregates is sealed.
const ROW_BYTES_MAX: usize = 2_048;
/// A block spans a day at most.
const SPAN_MAX_MS: i64 = 86_400_000;

/// A number that is further from the one before begins anew.
const LEAP_MAX: u64 = 1 << 62;
/// Times further from 1970 than this are not archived: 3 168 years.
const TIME_MAX_MS: i64 = 100_000_000_000_000;

/// What became of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is in the archive.
    Taken,
    /// It is not later than the last one of its point, or its time is absurd: counted, and left
    /// out. The sequence of events takes it.
    Late,
    /// Its point is not archived.
    NotArchived,
}

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SealedKind {
    /// Kept values.
    Values,
    /// Aggregates by bucket.
    Aggregates,
}

/// A block to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Of which point.
    pub point: PointId,
    /// Of what.
    pub kind: SealedKind,
    /// From when.
    pub first: UtcTime,
    /// Until when.
    pub last: UtcTime,
    /// The block.
    pub bytes: Vec<u8>,
}

/// What the host carries out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write a block.
    Write(Sealed),
    /// Remove the blocks of a class that ended before a time.
    Remove {
        /// The place of the class.
        class: usize,
        /// Which blocks.
        kind: SealedKind,
        /// Those whose last value is older.
        before: UtcTime,
    },
}

/// Why an archive cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// A class is wrong.
    #[error(transparent)]
    Class(#[from] ClassError),
    /// A point names a class that does not exist, or lines for a state.
    #[error("archive: {point} cannot be of class {class}: name a class, an exact one for states")]
    Point {
        /// Which point.
        point: PointId,
        /// The place of the class.
        class: usize,
    },
}

#[derive(Debug, Clone)]
struct Settings {
    rule: Rule,
    tick: i64,
    bucket: i64,
    class: Class,
}

/// One point's archive under way.
#[derive(Debug, Clone)]
struct Trace {
    class: u32,
    samples: u32,
    /// Whether a value holds at `door.last_time`.
    running: bool,
    quality: Quality,
    door: Door,
    bucket: Aggregate,
    writer: BlockWriter,
    rows: Rows,
}

/// The archive of every point.
#[derive(Debug)]
pub struct Archive {
    classes: Vec<Settings>,
    traces: Vec<Option<Box<Trace>>>,
    late: u64,
    effects: VecDeque<Effect>,
}

impl Archive {
    /// An archive with these classes; `class_of` says of which class a point is, if any.
    ///
    /// # Errors
    ///
    /// [`ArchiveError`] names the class or the point.
    pub fn new(
        classes: Vec<Class>,
        catalogue: &Catalogue,
        class_of: impl Fn(PointId) -> Option<usize>,
    ) -> Result<Self, ArchiveError> {
        let mut settings = Vec::new();
        for class in classes {
            class.check()?;
            settings.push(Settings {
                rule: Rule::new(&class),
                tick: Class::millis(class.tick),
                bucket: Class::millis(class.bucket),
                class,
            });
        }
        let mut traces = Vec::with_capacity(catalogue.len());
        for (point, definition) in catalogue.iter() {
            let Some(class) = class_of(point) else {
                traces.push(None);
                continue;
            };
            let wrong = ArchiveError::Point { point, class };
            let number = matches!(definition.kind.shape(), Shape::Number(_));
            let fits = |settings: &&Settings| number || settings.class.method == Method::Exact;
            if settings.get(class).filter(fits).is_none() {
                return Err(wrong);
            }
            traces.push(Some(Box::new(Trace {
                class: u32::try_from(class).map_err(|_| wrong)?,
                samples: 0,
                running: false,
                quality: Quality::GOOD,
                door: Door::default(),
                bucket: Aggregate::new(0),
                writer: BlockWriter::new(),
                rows: Rows::default(),
            })));
        }
        Ok(Self {
            classes: settings,
            traces,
            late: 0,
            effects: VecDeque::new(),
        })
    }

    /// Records every point that changed in the image's last cycle, at its source time.
    pub fn scan(&mut self, image: &Image) {
        let frame = image.frame();
        for &point in image.changed() {
            let at = frame.source_time(point);
            self.record(point, at, frame.raw(point), frame.quality(point));
        }
    }

    /// Records one sample: a number in millionths, a step, the code of a state.
    ///
    /// Samples that stand further apart than two ticks are taken for changes: the value before is
    /// held until one tick before the new one, instead of a line across the silence.
    pub fn record(&mut self, point: PointId, at: UtcTime, raw: i64, quality: Quality) -> Recorded {
        let Some(Some(trace)) = self.traces.get_mut(point.index()) else {
            return Recorded::NotArchived;
        };
        let settings = &self.classes[trace.class as usize];
        let time = at.as_millis();
        let possible = (-TIME_MAX_MS..=TIME_MAX_MS).contains(&time);
        if !possible || (trace.running && time <= trace.door.last_time) {
            self.late += 1;
            return Recorded::Late;
        }
        let full = trace.writer.len() >= BLOCK_BYTES_MAX
            || trace.samples >= SAMPLES_MAX
            || (!trace.writer.is_empty() && time - trace.writer.first > SPAN_MAX_MS);
        if full {
            seal_values(trace, point, settings, &mut self.effects);
        }
        account(
            trace,
            time,
            raw,
            quality,
            point,
            settings,
            &mut self.effects,
        );
        let silence = trace.running && time - trace.door.last_time > 2 * settings.tick;
        if silence && settings.rule.method == Method::Lines && trace.quality == quality {
            let before = time - settings.tick;
            let held = trace.door.last;
            keep(trace, before, held, settings);
        }
        // A line across half the range of numbers is no line, and its slope would not fit.
        let rise = raw.checked_sub(trace.door.value);
        let leap = rise.is_none_or(|rise| rise.unsigned_abs() > LEAP_MAX)
            && settings.rule.method == Method::Lines;
        if trace.running && trace.quality == quality && !leap {
            keep(trace, time, raw, settings);
        } else {
            begin(trace, time, raw, quality, settings);
        }
        trace.samples += 1;
        Recorded::Taken
    }

    /// Seals everything that is older than `age` by its first value, so that a crash loses no more
    /// than that. Small blocks cost: a head of about thirty bytes each.
    pub fn seal_older_than(&mut self, age: Duration, now: Now) {
        let before = (now.utc - age).as_millis();
        for (number, trace) in (0_u32..).zip(&mut self.traces) {
            let Some(trace) = trace else { continue };
            let settings = &self.classes[trace.class as usize];
            if !trace.writer.is_empty() && trace.samples > 0 && trace.writer.first <= before {
                seal_values(trace, PointId(number), settings, &mut self.effects);
            }
            if trace.rows.count > 0 && trace.rows.first <= before {
                seal_rows(trace, PointId(number), settings, &mut self.effects);
            }
        }
    }

    /// Says what retention lets go. The host calls it once a day.
    pub fn purge(&mut self, now: Now) {
        for (class, settings) in self.classes.iter().enumerate() {
            let retention = settings.class.retention;
            for (kind, time) in [
                (SealedKind::Values, retention.values),
                (SealedKind::Aggregates, retention.buckets),
            ] {
                self.effects.push_back(Effect::Remove {
                    class,
                    kind,
                    before: now.utc - time,
                });
            }
        }
    }

    /// Samples that came too late to be archived.
    pub const fn late(&self) -> u64 {
        self.late
    }

    /// The class of a point, by its place.
    pub fn class_of(&self, point: PointId) -> Option<usize> {
        let trace = self.traces.get(point.index())?.as_ref()?;
        Some(trace.class as usize)
    }

    /// What the host is to carry out next.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }
}

/// Begins a line or a level: after a silence, with another quality.
fn begin(trace: &mut Trace, time: i64, raw: i64, quality: Quality, settings: &Settings) {
    let rule = settings.rule;
    if trace.running && rule.method == Method::Lines {
        let (end, quanta) = trace.door.close(rule);
        trace
            .writer
            .put(end, quanta, trace.quality, false, settings.tick);
    }
    let quanta = rule.quanta(raw);
    trace.writer.put(time, quanta, quality, true, settings.tick);
    trace.door = Door::new(time, quanta.saturating_mul(rule.quantum), raw);
    (trace.running, trace.quality) = (true, quality);
}

/// Lets the door decide what has to be kept.
fn keep(trace: &mut Trace, time: i64, raw: i64, settings: &Settings) {
    if let Some((kept, quanta)) = trace.door.take(time, raw, settings.rule) {
        trace
            .writer
            .put(kept, quanta, trace.quality, false, settings.tick);
    }
}

/// Adds a sample, and the time for which the one before it held, to the buckets.
fn account(
    trace: &mut Trace,
    time: i64,
    raw: i64,
    quality: Quality,
    point: PointId,
    settings: &Settings,
    effects: &mut VecDeque<Effect>,
) {
    let bucket = settings.bucket;
    let held = trace.running && trace.quality.validity() != Validity::Bad;
    let mut from = trace.door.last_time;
    let value = trace.door.last;
    // Buckets that the value held through without a sample are not written one by one where the
    // silence is longer than a day: a year of silence is not half a million rows.
    let skip = held && time - from > SPAN_MAX_MS;
    loop {
        let start = trace.bucket.start.as_millis();
        let inside = time.checked_sub(start).is_some_and(|gap| gap < bucket);
        let end = if inside {
            time
        } else {
            start.saturating_add(bucket)
        };
        if held && from < end && from >= start && !skip {
            trace.bucket.hold(value, end - from);
            from = end;
        }
        if inside {
            break;
        }
        if !trace.bucket.is_empty() {
            trace.rows.put(&trace.bucket, bucket);
            if trace.rows.len() >= ROW_BYTES_MAX {
                seal_rows(trace, point, settings, effects);
            }
        }
        let next = if held && !skip { from } else { time };
        trace.bucket = Aggregate::new(next - next.rem_euclid(bucket));
    }
    if quality.validity() != Validity::Bad {
        trace.bucket.sample(raw);
    }
}

fn seal_values(
    trace: &mut Trace,
    point: PointId,
    settings: &Settings,
    effects: &mut VecDeque<Effect>,
) {
    let (rule, tick) = (settings.rule, settings.tick);
    let (end, quanta) = trace.door.close(rule);
    trace.writer.put(end, quanta, trace.quality, false, tick);
    let first = UtcTime::from_millis(trace.writer.first);
    let bytes = trace.writer.seal(point, rule, tick, trace.samples, end);
    effects.push_back(Effect::Write(Sealed {
        point,
        kind: SealedKind::Values,
        first,
        last: UtcTime::from_millis(end),
        bytes,
    }));
    // The next block goes on where this one ends, so that no line has a hole.
    trace.writer.put(end, quanta, trace.quality, true, tick);
    trace.samples = 0;
}

fn seal_rows(
    trace: &mut Trace,
    point: PointId,
    settings: &Settings,
    effects: &mut VecDeque<Effect>,
) {
    let (first, last) = (trace.rows.first, trace.rows.last + settings.bucket);
    effects.push_back(Effect::Write(Sealed {
        point,
        kind: SealedKind::Aggregates,
        first: UtcTime::from_millis(first),
        last: UtcTime::from_millis(last),
        bytes: trace.rows.seal(point, settings.bucket),
    }));
}

#[cfg(test)]
mod tests;
