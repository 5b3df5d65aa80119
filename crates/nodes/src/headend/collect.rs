//! Load profiles: read on time, handed to the utility, and read again where something is missing.

use std::time::Duration;

use gridloom_core::{IntervalReading, MeterId, Now, Period, UtcTime, Watts};
use gridloom_dlms::client::Layer;
use gridloom_dlms::push::BillingStatus;
use gridloom_edge::AcceptedReading;
use gridloom_headend::ReadingKey;
use gridloom_headend::backfill::{self, Answer, Order, ReadId, Series, Span};
use gridloom_headend::profile::{IntervalMeaning, Intervals, intervals_of};
use gridloom_headend::schedule::{Lane, Outcome, Start, Work};
use gridloom_headend::session::{ProfileRead, Selection, Step, StepValue};
use gridloom_store::{Batch, Change, WorkKind, WorkRow};

use super::deliveries::{Delivered, Purpose};
use super::disk::Saved;
use super::rows::Collected;
use super::talk::{Errand, Talked};
use super::{HeadEndNode, Task};
use crate::envelope::{LIST_MAX, Message};

/// How long a read of a gap waits for its turn.
const GAP_PATIENCE: Duration = Duration::from_hours(1);

/// How long a read that no due time asks for waits for its turn; then the periodic ones see to it.
const SOON_PATIENCE: Duration = Duration::from_hours(1);

/// The last boundary of the period at or before a time.
pub(super) fn floor(period: Period, time: UtcTime) -> UtcTime {
    let step = i64::from(period.as_secs()) * 1_000;
    UtcTime::from_millis(time.as_millis().div_euclid(step) * step)
}

impl HeadEndNode {
    /// A periodic read: from where the profile is stored to now, as far as one read may reach.
    pub(super) fn start_read(&mut self, start: Start, due: Option<UtcTime>, now: Now) {
        let Some((period, profile)) = self.profile_of(start.meter) else {
            return self.finish_job(start.job, Outcome::Failed, now);
        };
        let to = floor(period, now.utc);
        let since = self.collected.get(&start.meter).map(|read| read.through);
        let first = since.unwrap_or_else(|| floor(period, now.utc - self.config.history));
        let reach = period.duration() * self.config.backfill.intervals_max;
        let from = first.max(to - reach);
        if from >= to {
            if let Some(due) = due {
                self.count_read(due, true);
            }
            self.profile_read_over(&start);
            return self.finish_job(start.job, Outcome::Done, now);
        }
        let step = Step::ReadProfile {
            profile,
            selection: Selection::Range { from, to },
            columns: Vec::new(),
        };
        let mut steps = vec![step];
        let is_older = since.is_none() && first < from;
        if is_older && self.holds_entries(start.meter) {
            // Its oldest row says how far back the rest can be read.
            steps.push(Step::ReadProfile {
                profile,
                selection: Selection::Entries { from: 1, to: 1 },
                columns: Vec::new(),
            });
        }
        let errand = Errand::Read { since, from, due };
        self.talk(start, errand, steps, None, now);
    }

    fn holds_entries(&self, meter: MeterId) -> bool {
        let row = self.registry.meter(meter);
        let template = row.and_then(|row| self.templates.get(&row.template));
        template.is_some_and(|template| template.supports.entry_access)
    }

    /// Reads a meter's profile at `at`, though no read is due; one such read waits at a time.
    pub(super) fn read_soon(&mut self, meter: MeterId, at: UtcTime, now: Now) {
        if self.placed.contains(&meter) && self.reading_soon.insert(meter) {
            let deadline = at.max(now.utc) + SOON_PATIENCE;
            self.submit_task(
                meter,
                Lane::Backfill,
                Task::Profile(meter),
                at,
                deadline,
                now,
            );
        }
    }

    /// A read that no due time asked for is over.
    pub(super) fn profile_read_over(&mut self, start: &Start) {
        if let Work::Once(_) = start.work {
            self.reading_soon.remove(&start.meter);
            self.forget_task(start);
        }
    }

    /// The capture period of a meter that has its place in the schedule.
    pub(super) fn period_of_read(&self, meter: MeterId) -> Option<Period> {
        let is_placed = self.placed.contains(&meter);
        self.profile_of(meter)
            .filter(|_| is_placed)
            .map(|(period, _)| period)
    }

    fn profile_of(&self, meter: MeterId) -> Option<(Period, gridloom_core::ObisCode)> {
        let row = self.registry.meter(meter)?;
        let template = self.templates.get(&row.template)?;
        Some((template.capture_period, template.load_profile))
    }

    /// A periodic read is over.
    pub(super) fn read_over(
        &mut self,
        start: &Start,
        (since, from): (Option<UtcTime>, UtcTime),
        talked: &Talked,
        now: Now,
        due: Option<UtcTime>,
    ) -> Outcome {
        let meter = start.meter;
        let Some(Ok(StepValue::Profile(read))) = talked.results.first() else {
            return talked.outcome;
        };
        let Some((period, _)) = self.profile_of(meter) else {
            return Outcome::Failed;
        };
        let Some(intervals) = self.intervals(meter, read, from, now) else {
            return Outcome::Failed;
        };
        if let Some(due) = due {
            self.count_read(due, true);
        }
        let ends: Vec<UtcTime> = intervals
            .readings
            .iter()
            .map(|reading| reading.end)
            .collect();
        let rows = intervals.exceptions.iter().filter_map(|row| row.time);
        let newest = rows.chain(ends.iter().copied()).max();
        let Some(through) = newest.map(|newest| floor(period, newest)) else {
            return talked.outcome;
        };
        let series = Series { meter, period };
        let mut gaps: Vec<Span> = Vec::new();
        if let Some(since) = since {
            gaps.extend(Span::new(period, since, from));
        }
        // What lies before the first row of a meter that was never read is not missing.
        let begin = match since {
            Some(_) => Some(from),
            None => ends.first().map(|first| *first - period.duration()),
        };
        if let Some(begin) = begin {
            gaps.extend(missing(period, begin, through, &ends));
        }
        if since.is_none() {
            gaps.extend(self.older_rows(series, from, talked, now));
        }
        let purpose = Purpose::Collected {
            series,
            through,
            gaps,
        };
        self.deliver(purpose, intervals.readings, talked.counter, now);
        talked.outcome
    }

    /// What a meter that is read for the first time holds from before `from`.
    fn older_rows(&self, series: Series, from: UtcTime, talked: &Talked, now: Now) -> Option<Span> {
        let Some(Ok(StepValue::Profile(oldest))) = talked.results.get(1) else {
            return None;
        };
        let oldest = oldest.rows.first()?.time?;
        let period = series.period;
        let history = floor(period, now.utc - self.config.history);
        let begin = history.max(floor(period, oldest - period.duration()));
        Span::new(period, begin, from)
    }

    fn intervals(
        &mut self,
        meter: MeterId,
        read: &ProfileRead,
        from: UtcTime,
        now: Now,
    ) -> Option<Intervals> {
        let row = self.registry.meter(meter)?;
        let template = self.templates.get(&row.template)?;
        let meaning = IntervalMeaning {
            meter,
            template,
            after: Some(from),
            anchor: None,
        };
        match intervals_of(&read.shape, &read.rows, meaning) {
            Ok(intervals) => {
                if let Some(row) = intervals.exceptions.first() {
                    self.note_error(meter, Layer::Object, row.fault.to_string(), now);
                }
                Some(intervals)
            }
            Err(error) => {
                self.note_error(meter, Layer::Object, error.to_string(), now);
                None
            }
        }
    }

    fn deliver(
        &mut self,
        purpose: Purpose,
        readings: Vec<IntervalReading>,
        counter: u32,
        now: Now,
    ) {
        self.deliver_pushed(purpose, readings, counter, None, now);
    }

    /// Hands readings to the utility, and waits until they are durable there. `told` is what the
    /// meter itself says of its power and its bill.
    pub(super) fn deliver_pushed(
        &mut self,
        purpose: Purpose,
        readings: Vec<IntervalReading>,
        counter: u32,
        told: Option<(Watts, BillingStatus)>,
        now: Now,
    ) {
        let accepted: Vec<AcceptedReading> = readings
            .into_iter()
            .filter_map(|reading| {
                let title = self.registry.meter(reading.meter)?.title;
                let per_hour = i64::from(reading.period.per_hour());
                let mean = Watts::new(reading.values.import.get().saturating_mul(per_hour) / 1_000);
                let (power, billing) = told.unwrap_or((mean, BillingStatus::default()));
                Some(AcceptedReading {
                    title,
                    counter,
                    power,
                    billing,
                    reading,
                })
            })
            .collect();
        let until = now.instant + self.config.delivery_timeout;
        match self.deliveries.add(purpose, &accepted, until) {
            Some(over) => self.delivered(over, now),
            None => self.send_readings(&accepted),
        }
    }

    /// Sends readings; without a utility they wait for it.
    pub(super) fn send_readings(&mut self, readings: &[AcceptedReading]) {
        for chunk in readings.chunks(LIST_MAX) {
            self.ways.tell_utility(&Message::Readings(chunk.to_vec()));
        }
    }

    pub(super) fn handle_stored(&mut self, keys: &[ReadingKey], now: Now) {
        for over in self.deliveries.handle_stored(keys) {
            self.delivered(over, now);
        }
    }

    pub(super) fn delivered(&mut self, over: Delivered, now: Now) {
        match over {
            Delivered::Durable(Purpose::Collected {
                series,
                through,
                gaps,
            }) => {
                for gap in gaps {
                    let order = Order::OldestFirst;
                    let taken = self
                        .backfill
                        .handle_gap(series, gap.from, gap.to, order, now.utc);
                    self.drain_backfill();
                    if let Err(error) = taken {
                        // The next read finds the gap again.
                        tracing::warn!(%error, "a gap is not taken");
                        return;
                    }
                }
                let read = self.collected.entry(series.meter).or_insert(Collected {
                    period: series.period,
                    through,
                    gaps: Vec::new(),
                });
                read.through = read.through.max(through);
                self.uncollected.insert(series.meter);
            }
            Delivered::Durable(Purpose::Pushed {
                series,
                span: (from, to),
                confirm,
            }) => {
                if let Some(read) = self.collected.get_mut(&series.meter)
                    && read.period == series.period
                    && (from..to).contains(&read.through)
                {
                    read.through = to;
                    self.uncollected.insert(series.meter);
                }
                self.pushes_confirmed(confirm);
            }
            // It is not confirmed: the meter pushes it again, or its profile is read.
            Delivered::Lost(Purpose::Pushed { series, .. }) => {
                let words = "the utility did not acknowledge what it pushed; it pushes again";
                self.note_error(series.meter, Layer::Link, words.into(), now);
            }
            Delivered::Durable(Purpose::Filled { read, ends }) => {
                let oldest_held = None;
                self.answer_backfill(read, Answer::Rows { ends, oldest_held }, now);
            }
            Delivered::Lost(Purpose::Collected { series, .. }) => {
                let words = "the utility did not acknowledge its readings in time; read again";
                self.note_error(series.meter, Layer::Link, words.into(), now);
            }
            Delivered::Lost(Purpose::Filled { read, .. }) => {
                self.answer_backfill(read, Answer::Failed, now);
            }
        }
    }

    fn answer_backfill(&mut self, read: ReadId, answer: Answer, now: Now) {
        if let Some(series) = self.gap_reads.remove(&read) {
            self.uncollected.insert(series.meter);
            self.backfill.handle_answer(read, answer, now.utc);
            self.drain_backfill();
        }
    }

    pub(super) fn carry_out_backfill(&mut self, output: backfill::Output, now: Now) {
        match output {
            backfill::Output::Read { id, series, span } => {
                self.gap_reads.insert(id, series);
                let task = Task::Gap(id, series, span);
                let deadline = now.utc + GAP_PATIENCE;
                self.submit_task(series.meter, Lane::Backfill, task, now.utc, deadline, now);
            }
            backfill::Output::Final {
                series,
                span,
                reason,
            } => {
                self.uncollected.insert(series.meter);
                let words = format!(
                    "the intervals after {} up to {} will never come: {reason:?}",
                    span.from, span.to
                );
                self.alarm(Some(series.meter), words, now);
            }
        }
    }

    pub(super) fn start_gap(&mut self, start: Start, task: Task, span: Span, now: Now) {
        let Some((_, profile)) = self.profile_of(start.meter) else {
            return self.task_failed_and_finished(start.job, task, "its template is unknown", now);
        };
        let step = Step::ReadProfile {
            profile,
            selection: Selection::Range {
                from: span.from,
                to: span.to,
            },
            columns: Vec::new(),
        };
        self.talk(start, Errand::Once(task), vec![step], None, now);
    }

    pub(super) fn gap_over(
        &mut self,
        read: ReadId,
        series: Series,
        span: Span,
        talked: &Talked,
        now: Now,
    ) {
        let Some(Ok(StepValue::Profile(profile))) = talked.results.first() else {
            return self.answer_backfill(read, Answer::Failed, now);
        };
        let Some(intervals) = self.intervals(series.meter, profile, span.from, now) else {
            return self.answer_backfill(read, Answer::Failed, now);
        };
        let ends = intervals
            .readings
            .iter()
            .map(|reading| reading.end)
            .collect();
        let purpose = Purpose::Filled { read, ends };
        self.deliver(purpose, intervals.readings, talked.counter, now);
    }

    pub(super) fn gap_failed(&mut self, read: ReadId, now: Now) {
        self.answer_backfill(read, Answer::Failed, now);
    }

    /// Writes how far meters are read, one batch at a time.
    pub(super) fn save_collected(&mut self, now: Now) {
        let has_work = !self.uncollected.is_empty() || self.named_gaps.has_new();
        if self.saving_collected || !has_work {
            return;
        }
        let mut changes = Vec::new();
        for meter in std::mem::take(&mut self.uncollected) {
            let Some(read) = self.collected.get_mut(&meter) else {
                continue;
            };
            let series = Series {
                meter,
                period: read.period,
            };
            read.gaps = self.backfill.open(series).collect();
            changes.push(Change::Work(WorkRow {
                kind: WorkKind::Collection,
                number: u64::from(meter.0),
                meter: Some(meter),
                state: read.encode(),
                is_finished: false,
                changed_at: now.utc,
            }));
        }
        let seen_to = self.named_gaps.write();
        if changes.is_empty() {
            self.gaps_saved(seen_to);
        } else {
            self.saving_collected = true;
            self.save(Batch::new(changes), Saved::Collected(seen_to));
        }
    }

    /// Counts a periodic read by when it was due.
    pub(super) fn count_read(&mut self, due: UtcTime, is_read: bool) {
        if self.reads.due.is_none_or(|of| of < due) {
            self.last_reads = self.reads;
            self.reads = super::ReadRate {
                due: Some(due),
                ..super::ReadRate::default()
            };
        }
        let rate = if self.reads.due == Some(due) {
            &mut self.reads
        } else {
            &mut self.last_reads
        };
        if is_read {
            rate.succeeded += 1;
        } else {
            rate.missed += 1;
        }
    }
}

/// The stretches of the grid after `from` up to `to` without an interval.
fn missing(period: Period, from: UtcTime, to: UtcTime, ends: &[UtcTime]) -> Vec<Span> {
    let mut gaps: Vec<Span> = Vec::new();
    let mut reached = from;
    for &end in ends.iter().filter(|end| **end > from && **end <= to) {
        gaps.extend(Span::new(period, reached, end - period.duration()));
        reached = end;
    }
    gaps.extend(Span::new(period, reached, to));
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_between_intervals_is_a_span() {
        let period = Period::QUARTER_HOUR;
        let at = |n: i64| UtcTime::from_secs(n * 900);
        for (ends, expected) in [
            (vec![1, 2, 3, 4], vec![]),
            (vec![], vec![(0, 4)]),
            (vec![1, 4], vec![(1, 3)]),
            (vec![2], vec![(0, 1), (2, 4)]),
            (vec![0, 3, 9], vec![(0, 2), (3, 4)]),
        ] {
            let times: Vec<_> = ends.iter().map(|n| at(*n)).collect();
            let gaps: Vec<_> = missing(period, at(0), at(4), &times)
                .iter()
                .map(|gap| (gap.from, gap.to))
                .collect();
            let expected: Vec<_> = expected.iter().map(|(a, b)| (at(*a), at(*b))).collect();
            assert_eq!(gaps, expected, "{ends:?}");
        }
        assert_eq!(floor(period, UtcTime::from_secs(1_799)), at(1));
        assert_eq!(floor(period, at(2)), at(2));
    }
}
