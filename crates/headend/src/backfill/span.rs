//! Stretches of missing intervals.

use std::collections::BTreeMap;
use std::time::Duration;

use gridloom_core::{Period, UtcTime};

use super::Backfill;

/// A stretch of whole intervals: from the start of its first to the end of its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The start of the first interval; it is the end of the one before, which is not missing.
    pub from: UtcTime,
    /// The end of the last interval.
    pub to: UtcTime,
}

impl Span {
    /// A stretch; `None` unless both ends are on the period's grid and in order.
    pub fn new(period: Period, from: UtcTime, to: UtcTime) -> Option<Self> {
        let on_grid = |time| period.slot_of(time).is_some();
        (from < to && on_grid(from) && on_grid(to)).then_some(Self { from, to })
    }

    /// The end of its first interval: what a range read starts with.
    pub fn first_end(&self, period: Period) -> UtcTime {
        self.from + period.duration()
    }

    /// How many intervals it has.
    pub fn intervals(&self, period: Period) -> u64 {
        self.to.since(self.from).as_secs() / u64::from(period.as_secs())
    }
}

/// Stretches that neither touch nor overlap, by their start.
#[derive(Debug, Default)]
pub(super) struct Spans(BTreeMap<UtcTime, UtcTime>);

impl Spans {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Span> {
        self.0.iter().map(|(&from, &to)| Span { from, to })
    }

    /// Adds a stretch, joined with those it touches; `false` if there is no room.
    pub(super) fn add(&mut self, span: Span) -> bool {
        let Span { mut from, mut to } = span;
        let touched: Vec<UtcTime> = self
            .0
            .range(..=to)
            .rev()
            .take_while(|(_, end)| **end >= from)
            .map(|(start, _)| *start)
            .collect();
        if touched.is_empty() && self.0.len() >= Backfill::SPANS_MAX {
            return false;
        }
        for start in touched {
            let end = self.0.remove(&start).expect("it was just seen");
            from = from.min(start);
            to = to.max(end);
        }
        self.0.insert(from, to);
        true
    }

    /// The interval that ends at `end` is there.
    pub(super) fn fill(&mut self, period: Period, end: UtcTime) {
        if period.slot_of(end).is_none() {
            return;
        }
        let start = end - period.duration();
        let Some((&from, &to)) = self.0.range(..=start).next_back() else {
            return;
        };
        if to < end {
            return;
        }
        let splits = from < start && end < to;
        if splits && self.0.len() >= Backfill::SPANS_MAX {
            return;
        }
        self.0.remove(&from);
        if from < start {
            self.0.insert(from, start);
        }
        if end < to {
            self.0.insert(end, to);
        }
    }

    /// How many intervals within `span` are missing.
    pub(super) fn count(&self, period: Period, span: Span) -> u64 {
        self.within(span).map(|part| part.intervals(period)).sum()
    }

    /// Takes out what is missing within `span`.
    pub(super) fn take_within(&mut self, span: Span) -> Vec<Span> {
        let taken: Vec<Span> = self.within(span).collect();
        for part in &taken {
            let holder = self.0.range(..=part.from).next_back();
            let (&from, &to) = holder.expect("a part lies in its stretch");
            self.0.remove(&from);
            if from < part.from {
                self.0.insert(from, part.from);
            }
            if part.to < to {
                self.0.insert(part.to, to);
            }
        }
        taken
    }

    /// Takes out the intervals that end before `oldest`.
    pub(super) fn take_before(&mut self, period: Period, oldest: UtcTime) -> Vec<Span> {
        let Some((&from, _)) = self.0.first_key_value() else {
            return Vec::new();
        };
        let to = period.end_of_interval_at(oldest) - period.duration();
        if to <= from {
            return Vec::new();
        }
        self.take_within(Span { from, to })
    }

    /// The last intervals that are missing, at most `most`.
    pub(super) fn newest(&self, period: Period, most: u32) -> Option<Span> {
        let (&from, &to) = self.0.last_key_value()?;
        let from = from.max(to - length(period, most));
        Some(Span { from, to })
    }

    /// The first intervals that are missing, at most `most`.
    pub(super) fn oldest(&self, period: Period, most: u32) -> Option<Span> {
        let (&from, &to) = self.0.first_key_value()?;
        let to = to.min(from + length(period, most));
        Some(Span { from, to })
    }

    fn within(&self, span: Span) -> impl Iterator<Item = Span> {
        self.iter()
            .skip_while(move |part| part.to <= span.from)
            .take_while(move |part| part.from < span.to)
            .map(move |part| Span {
                from: part.from.max(span.from),
                to: part.to.min(span.to),
            })
    }
}

fn length(period: Period, intervals: u32) -> Duration {
    period.duration().saturating_mul(intervals)
}
