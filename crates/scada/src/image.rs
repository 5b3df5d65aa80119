//! The process image: what every point is now, and one frozen picture of it per cycle.
//!
//! Reports go into the live columns as they come. [`Image::cycle`] freezes them, evaluates the
//! derived points that a change reaches, and says what changed. Whoever looks between two cycles
//! sees one consistent picture.

mod derived;

use std::collections::BTreeMap;
use std::time::Duration;

use gridloom_core::{Instant, Now, UtcTime};

use crate::audit::{Action, Actor, AuditOutcome, AuditRecord};
use crate::expression::ExpressionError;
use crate::fixed::Fixed;
use crate::point::{
    Catalogue, Frame, Kind, PointId, Quality, Reason, Row, Shape, Tag, Update, Value,
};
use derived::Derived;

/// A source time further ahead of ours than this is not used, and its value's quality says so.
pub const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(5);

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The image changed.
    Changed,
    /// The same value and quality again, or a move within the deadband: only the times are new.
    Confirmed,
    /// It is older, by its station's clock, than what the image holds: history only.
    Late,
    /// The point is substituted; the report is kept until the hand lets go.
    Substituted,
    /// The point is blocked; the report is forgotten.
    Blocked,
}

/// Why something is not done to an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// An expression cannot be read.
    #[error("derived point {tag}: {source}")]
    Expression {
        /// Which point.
        tag: Tag,
        /// What is wrong with it.
        source: ExpressionError,
    },
    /// An expression gives something else than its point holds.
    #[error("derived point {tag}: the expression gives {got}, the point holds {wanted}: {remedy}")]
    Result {
        /// Which point.
        tag: Tag,
        /// What the expression gives.
        got: String,
        /// What the point holds.
        wanted: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Derived points depend on each other in a circle.
    #[error("derived points depend on each other in a circle: {0}: break it")]
    Circle(String),
    /// There is no point of this number.
    #[error("{0} is not in the catalogue: the point list and the station disagree")]
    Unknown(PointId),
    /// The value has another shape than the point.
    #[error("point {tag} holds a {wanted}, the value is a {got}: correct the point list")]
    Shape {
        /// Which point.
        tag: Tag,
        /// The point's shape.
        wanted: &'static str,
        /// The value's.
        got: &'static str,
    },
    /// A derived point was reported.
    #[error("point {0} is derived, and a station reported it: give the station's point its own")]
    Derived(Tag),
    /// A limit makes no sense.
    #[error("point {tag}: {field} {got} cannot be: {remedy}")]
    Field {
        /// Which point.
        tag: Tag,
        /// Which field.
        field: &'static str,
        /// What was given.
        got: String,
        /// What to do.
        remedy: &'static str,
    },
}

/// Every point's present.
#[derive(Debug)]
pub struct Image {
    catalogue: Catalogue,
    live: Frame,
    frozen: Frame,
    deadband: Vec<i64>,
    low: Vec<i64>,
    high: Vec<i64>,
    heard: Vec<Instant>,
    /// Whether the source time is the station's own.
    tagged: Vec<bool>,
    /// Whether the point stands in `touched`.
    marked: Vec<bool>,
    /// Points whose live row differs from the frozen one.
    touched: Vec<PointId>,
    /// Points that can grow old, with their age.
    aging: BTreeMap<PointId, Duration>,
    /// What is reported behind a substituted value.
    behind: BTreeMap<PointId, Row>,
    derived: Derived,
    changed: Vec<PointId>,
}

impl Image {
    /// The image of a catalogue, in which nothing has been reported.
    ///
    /// # Errors
    ///
    /// [`ImageError`] names the derived point that cannot be, with column and remedy.
    pub fn new(catalogue: Catalogue) -> Result<Self, ImageError> {
        let derived = Derived::new(&catalogue)?;
        let count = catalogue.len();
        let range = |end: fn((Fixed, Fixed)) -> Fixed, open: i64| {
            let points = catalogue.iter();
            points
                .map(|(_, point)| point.range.map_or(open, |range| end(range).millionths()))
                .collect()
        };
        let frame = Frame::new(&catalogue);
        Ok(Self {
            live: frame.clone(),
            frozen: frame,
            deadband: catalogue
                .iter()
                .map(|(_, point)| point.deadband.millionths())
                .collect(),
            low: range(|(low, _)| low, i64::MIN),
            high: range(|(_, high)| high, i64::MAX),
            heard: vec![Instant::ZERO; count],
            tagged: vec![false; count],
            marked: vec![false; count],
            touched: Vec::with_capacity(count),
            aging: catalogue
                .iter()
                .filter_map(|(id, point)| Some((id, point.age_max?)))
                .collect(),
            behind: BTreeMap::new(),
            derived,
            changed: Vec::with_capacity(count),
            catalogue,
        })
    }

    /// The points as configured, with limits as they are now.
    pub const fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The picture of the last cycle.
    pub const fn frame(&self) -> &Frame {
        &self.frozen
    }

    /// The points that changed in the last cycle.
    pub fn changed(&self) -> &[PointId] {
        &self.changed
    }

    /// Takes a report. Nothing is allocated.
    ///
    /// # Errors
    ///
    /// [`ImageError::Unknown`], [`ImageError::Shape`] or [`ImageError::Derived`]: the point list is
    /// wrong.
    pub fn apply(&mut self, update: &Update, now: Now) -> Result<Applied, ImageError> {
        let (point, place) = (update.point, update.point.index());
        if place >= self.catalogue.len() {
            return Err(ImageError::Unknown(point));
        }
        self.check_shape(point, update.value)?;
        if self.derived.contains(point) {
            return Err(ImageError::Derived(self.catalogue.tag(point).clone()));
        }
        let before = self.live.row(point);
        if before.quality.is_blocked() {
            return Ok(Applied::Blocked);
        }
        let row = self.received(update, now.utc);
        if let Some(behind) = self.behind.get_mut(&point) {
            *behind = row;
            self.heard[place] = now.instant;
            return Ok(Applied::Substituted);
        }
        let tagged = row.source != now.utc;
        if tagged && self.tagged[place] && row.source < before.source {
            return Ok(Applied::Late);
        }
        self.heard[place] = now.instant;
        self.tagged[place] = tagged;
        let near = row.raw.abs_diff(before.raw) <= self.deadband[place].unsigned_abs();
        if near && row.quality == before.quality {
            self.live.set_times(point, row.source, row.server);
            return Ok(Applied::Confirmed);
        }
        self.live.set_row(point, row);
        self.touch(point);
        Ok(Applied::Changed)
    }

    /// Says that nothing can be known of these points, because of their link or their station.
    /// Their values stay, with this reason.
    pub fn degrade(&mut self, points: impl IntoIterator<Item = PointId>, reason: Reason) {
        for point in points {
            let quality = Quality::bad(reason).old();
            let row = self.live.row(point);
            let never = row.quality.reason() == Reason::NeverReported;
            if let Some(behind) = self.behind.get_mut(&point) {
                behind.quality = quality;
            } else if row.quality != quality && !row.quality.is_blocked() && !never {
                self.live.set_quality(point, quality);
                self.touch(point);
            }
        }
    }

    /// Freezes the image, evaluates what depends on changes, and gives the points that changed:
    /// reported ones in the order of their reports, then derived ones, operands first. Nothing is
    /// allocated.
    pub fn cycle(&mut self, now: Now) -> &[PointId] {
        self.grow_old(now.instant);
        self.changed.clear();
        for point in self.touched.drain(..) {
            self.marked[point.index()] = false;
            let row = self.live.row(point);
            if row != self.frozen.row(point) {
                self.frozen.set_row(point, row);
                self.changed.push(point);
                self.derived.reach(point);
            }
        }
        self.derived.evaluate(
            &mut self.frozen,
            &mut self.live,
            &self.deadband,
            &self.behind,
            &mut self.changed,
            now.utc,
        );
        &self.changed
    }

    /// Puts a value in by hand. Reports are kept behind it until [`Image::release`].
    ///
    /// # Errors
    ///
    /// [`ImageError::Unknown`] or [`ImageError::Shape`].
    pub fn substitute(
        &mut self,
        point: PointId,
        value: Value,
        actor: Actor,
        reason: &str,
        now: Now,
    ) -> Result<AuditRecord, ImageError> {
        self.check_point(point)?;
        self.check_shape(point, value)?;
        let before = self.live.row(point);
        self.behind.entry(point).or_insert(before);
        let row = Row {
            raw: value.raw(),
            quality: Quality::GOOD.substituted(),
            source: now.utc,
            server: now.utc,
        };
        self.live.set_row(point, row);
        self.touch(point);
        let texts = (self.shown(point, before), value.to_string());
        Ok(self.record(point, Action::Substitution, actor, texts, reason, now))
    }

    /// Takes a substituted value back; `None` if there is none.
    pub fn release(
        &mut self,
        point: PointId,
        actor: Actor,
        reason: &str,
        now: Now,
    ) -> Option<AuditRecord> {
        let row = self.behind.remove(&point)?;
        let before = self.live.row(point);
        self.live.set_row(point, row);
        self.touch(point);
        self.derived.renew(point);
        let texts = (self.shown(point, before), self.shown(point, row));
        Some(self.record(point, Action::Substitution, actor, texts, reason, now))
    }

    /// Stops or resumes taking reports of a point; its value stays, marked as blocked.
    ///
    /// # Errors
    ///
    /// [`ImageError::Unknown`].
    pub fn block(
        &mut self,
        point: PointId,
        blocking: Blocking,
        actor: Actor,
        reason: &str,
        now: Now,
    ) -> Result<AuditRecord, ImageError> {
        self.check_point(point)?;
        let row = self.live.row(point);
        let quality = match blocking {
            Blocking::Block => row.quality.blocked(),
            // What was missed meanwhile is unknown: the old value must not pass for the present.
            Blocking::Unblock => row.quality.unblocked().old(),
        };
        self.live.set_quality(point, quality);
        self.touch(point);
        let texts = (row.quality.to_string(), quality.to_string());
        Ok(self.record(point, Action::Blocking, actor, texts, reason, now))
    }

    /// Changes the plausible range of a number; it counts from the next report on.
    ///
    /// # Errors
    ///
    /// [`ImageError::Field`] if the point is no number or the range is empty.
    pub fn set_range(
        &mut self,
        point: PointId,
        range: Option<(Fixed, Fixed)>,
        actor: Actor,
        reason: &str,
        now: Now,
    ) -> Result<AuditRecord, ImageError> {
        self.check_point(point)?;
        let show = |range: Option<(Fixed, Fixed)>| {
            range.map_or_else(|| "none".into(), |(low, high)| format!("{low} to {high}"))
        };
        if range.is_some_and(|(low, high)| low >= high) || !self.is_number(point) {
            let remedy = "give the lower end first, and only to numbers";
            return Err(self.field(point, "range", show(range), remedy));
        }
        let before = core::mem::replace(&mut self.catalogue.get_mut(point).range, range);
        let place = point.index();
        (self.low[place], self.high[place]) = range.map_or((i64::MIN, i64::MAX), |(low, high)| {
            (low.millionths(), high.millionths())
        });
        let texts = (
            format!("range {}", show(before)),
            format!("range {}", show(range)),
        );
        Ok(self.record(point, Action::Limit, actor, texts, reason, now))
    }

    /// Changes the deadband of a number.
    ///
    /// # Errors
    ///
    /// [`ImageError::Field`] if the point is no number or the deadband is negative.
    pub fn set_deadband(
        &mut self,
        point: PointId,
        deadband: Fixed,
        actor: Actor,
        reason: &str,
        now: Now,
    ) -> Result<AuditRecord, ImageError> {
        self.check_point(point)?;
        if deadband < Fixed::ZERO || !self.is_number(point) {
            let remedy = "give zero or more, and only to numbers";
            return Err(self.field(point, "deadband", deadband.to_string(), remedy));
        }
        let before = core::mem::replace(&mut self.catalogue.get_mut(point).deadband, deadband);
        self.deadband[point.index()] = deadband.millionths();
        let texts = (format!("deadband {before}"), format!("deadband {deadband}"));
        Ok(self.record(point, Action::Limit, actor, texts, reason, now))
    }

    /// The points with a value put in by hand.
    pub fn substituted(&self) -> impl Iterator<Item = PointId> + '_ {
        self.behind.keys().copied()
    }

    fn received(&self, update: &Update, now: UtcTime) -> Row {
        let (place, raw) = (update.point.index(), update.value.raw());
        let mut quality = update.quality;
        if raw < self.low[place] || raw > self.high[place] {
            quality = quality.at_most_uncertain(Reason::OutOfRange);
        }
        let source = match update.source_time {
            Some(source) if source.since(now) > CLOCK_AHEAD_MAX => {
                quality = quality.at_most_uncertain(Reason::ClockSuspect);
                now
            }
            Some(source) => source,
            None => now,
        };
        Row {
            raw,
            quality,
            source,
            server: now,
        }
    }

    fn grow_old(&mut self, now: Instant) {
        for (&point, &age_max) in &self.aging {
            let quality = self.live.quality(point);
            let exempt = quality.is_old()
                || quality.is_substituted()
                || quality.reason() == Reason::NeverReported;
            if !exempt && now.since(self.heard[point.index()]) > age_max {
                self.live.set_quality(point, quality.old());
                mark(&mut self.marked, &mut self.touched, point);
            }
        }
    }

    fn touch(&mut self, point: PointId) {
        mark(&mut self.marked, &mut self.touched, point);
    }

    fn is_number(&self, point: PointId) -> bool {
        matches!(self.live.shape(point), Shape::Number(_))
    }

    fn check_point(&self, point: PointId) -> Result<(), ImageError> {
        if point.index() < self.catalogue.len() {
            Ok(())
        } else {
            Err(ImageError::Unknown(point))
        }
    }

    fn check_shape(&self, point: PointId, value: Value) -> Result<(), ImageError> {
        let shape = self.live.shape(point);
        if shape.fits(value) {
            return Ok(());
        }
        Err(ImageError::Shape {
            tag: self.catalogue.tag(point).clone(),
            wanted: shape.name(),
            got: value.shape_name(),
        })
    }

    fn field(
        &self,
        point: PointId,
        field: &'static str,
        got: String,
        remedy: &'static str,
    ) -> ImageError {
        ImageError::Field {
            tag: self.catalogue.tag(point).clone(),
            field,
            got,
            remedy,
        }
    }

    fn shown(&self, point: PointId, row: Row) -> String {
        format!("{}, {}", self.live.shape(point).value(row.raw), row.quality)
    }

    fn record(
        &self,
        point: PointId,
        action: Action,
        actor: Actor,
        (before, after): (String, String),
        reason: &str,
        now: Now,
    ) -> AuditRecord {
        AuditRecord {
            at: now.utc,
            actor,
            action,
            target: self.catalogue.tag(point).to_string(),
            before,
            after,
            reason: reason.to_owned(),
            outcome: AuditOutcome::Done,
        }
    }
}

/// Whether acquisition stops or resumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocking {
    /// It stops.
    Block,
    /// It resumes.
    Unblock,
}

/// Whether a kind is computed by us.
const fn is_derived(kind: &Kind) -> bool {
    matches!(kind, Kind::Derived { .. })
}

fn mark(marked: &mut [bool], touched: &mut Vec<PointId>, point: PointId) {
    if !core::mem::replace(&mut marked[point.index()], true) {
        touched.push(point);
    }
}

#[cfg(test)]
mod tests;
