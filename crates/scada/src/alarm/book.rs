//! The book of alarms: which stand, which wait for a delay, and what follows from it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gridloom_core::{Instant, Now, UtcTime, Wake};

use super::definition::{AlarmDefinition, AlarmError, AlarmId, Priority, Threshold, check};
use super::history::{Effect, HistoryRecord, Notification};
use super::rates::{Change, Kpis, Rates};
use super::state::{Event, Machine, State};
use crate::audit::Actor;
use crate::image::Image;
use crate::point::{Catalogue, Frame, PointId, Tag};

/// Alarms of a book; more are refused.
pub const ALARMS_MAX: usize = 1_000_000;

const DAY_SECONDS: u64 = 86_400;

/// An alarm that is not simply normal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// When its condition began to count, by the station's clock.
    pub source_time: UtcTime,
    /// The same, by ours.
    pub raised_at: UtcTime,
    /// How often it has come since it was last normal.
    pub count: u32,
    /// Who acknowledged it last.
    pub acknowledged_by: Option<Actor>,
    /// Whether it was the first of its group.
    pub first_out: bool,
    /// Until when it is on the shelf.
    pub shelved_until: Option<UtcTime>,
    raised: Instant,
    /// The next step of its escalation, and when it is due.
    step: usize,
    escalates_at: Option<Instant>,
    again_at: Option<Instant>,
}

/// What changes often, close together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch {
    threshold: Threshold,
    pub(super) machine: Machine,
    /// When a delay ends that runs.
    due: Option<Instant>,
}

/// The first of a group.
#[derive(Debug, Clone, Copy)]
struct FirstOut {
    alarm: AlarmId,
    source_time: UtcTime,
}

/// Every alarm.
///
/// The host calls [`AlarmBook::scan`] after each cycle of the image and
/// [`AlarmBook::handle_timeout`] at [`AlarmBook::wake`], and drains [`AlarmBook::poll_effect`]
/// after each call.
#[derive(Debug)]
pub struct AlarmBook {
    pub(super) definitions: Vec<AlarmDefinition>,
    by_name: BTreeMap<Tag, AlarmId>,
    pub(super) watches: Vec<Watch>,
    /// For each point, where its alarms begin in `of_point`; one more at the end.
    starts: Vec<usize>,
    of_point: Vec<AlarmId>,
    suppressing: BTreeMap<PointId, Vec<AlarmId>>,
    /// Alarms that are not A, or covered.
    pub(super) occurrences: BTreeMap<AlarmId, Occurrence>,
    delays: BTreeSet<(Instant, AlarmId)>,
    escalations: BTreeSet<(Instant, AlarmId)>,
    again: BTreeSet<(Instant, AlarmId)>,
    pub(super) shelf: BTreeSet<(UtcTime, AlarmId)>,
    first_out: BTreeMap<u16, FirstOut>,
    /// How many alarms of each group are listed.
    group_listed: BTreeMap<u16, u32>,
    rates: Rates,
    /// Alarms that came since the sound was last silenced, and are not acknowledged.
    pub(super) sounding: BTreeSet<(Priority, AlarmId)>,
    sequence: u64,
    pub(super) effects: VecDeque<Effect>,
}

/// What goes into the history with a move.
pub(super) struct Deed<'a> {
    pub(super) event: Event,
    pub(super) actor: Option<&'a Actor>,
    pub(super) reason: &'a str,
}

impl Deed<'_> {
    const fn of_itself(event: Event) -> Self {
        Self {
            event,
            actor: None,
            reason: "",
        }
    }
}

impl AlarmBook {
    /// The book of these alarms, all normal.
    ///
    /// # Errors
    ///
    /// [`AlarmError`] names the alarm and the field.
    pub fn new(
        definitions: Vec<AlarmDefinition>,
        catalogue: &Catalogue,
    ) -> Result<Self, AlarmError> {
        let mut by_name = BTreeMap::new();
        let mut suppressing: BTreeMap<PointId, Vec<AlarmId>> = BTreeMap::new();
        let mut of_each: Vec<Vec<AlarmId>> = vec![Vec::new(); catalogue.len()];
        for (definition, number) in definitions.iter().zip(0_u32..) {
            if number as usize >= ALARMS_MAX {
                return Err(AlarmError::Full(definition.name.clone()));
            }
            check(definition, catalogue)?;
            let alarm = AlarmId(number);
            if by_name.insert(definition.name.clone(), alarm).is_some() {
                return Err(AlarmError::Twice(definition.name.clone()));
            }
            of_each[definition.point.index()].push(alarm);
            if let Some(point) = definition.suppressed_by {
                suppressing.entry(point).or_default().push(alarm);
            }
        }
        let mut starts = vec![0];
        let mut of_point = Vec::with_capacity(definitions.len());
        for alarms in of_each {
            of_point.extend(alarms);
            starts.push(of_point.len());
        }
        let watches = definitions
            .iter()
            .map(|definition| Watch {
                threshold: Threshold::new(definition.condition, definition.deadband),
                machine: Machine::NORMAL,
                due: None,
            })
            .collect();
        Ok(Self {
            definitions,
            by_name,
            watches,
            starts,
            of_point,
            suppressing,
            occurrences: BTreeMap::new(),
            delays: BTreeSet::new(),
            escalations: BTreeSet::new(),
            again: BTreeSet::new(),
            shelf: BTreeSet::new(),
            first_out: BTreeMap::new(),
            group_listed: BTreeMap::new(),
            rates: Rates::default(),
            sounding: BTreeSet::new(),
            sequence: 0,
            effects: VecDeque::new(),
        })
    }

    /// The alarm of this name.
    pub fn find(&self, name: &str) -> Option<AlarmId> {
        self.by_name.get(&Tag::parse(name).ok()?).copied()
    }

    /// An alarm as configured, with its limit as it is now.
    ///
    /// # Errors
    ///
    /// [`AlarmError::Unknown`].
    pub fn definition(&self, alarm: AlarmId) -> Result<&AlarmDefinition, AlarmError> {
        let definition = self.definitions.get(alarm.index());
        definition.ok_or(AlarmError::Unknown(alarm))
    }

    /// An alarm's state.
    ///
    /// # Errors
    ///
    /// [`AlarmError::Unknown`].
    pub fn state(&self, alarm: AlarmId) -> Result<State, AlarmError> {
        let watch = self.watches.get(alarm.index());
        watch.map_or(Err(AlarmError::Unknown(alarm)), |watch| {
            Ok(watch.machine.state())
        })
    }

    /// Alarms that are not simply normal: those that stand, and those that are shelved,
    /// suppressed or out of service.
    pub fn occurrences(&self) -> impl Iterator<Item = (AlarmId, State, &Occurrence)> {
        self.occurrences.iter().map(|(alarm, occurrence)| {
            let state = self.watches[alarm.index()].machine.state();
            (*alarm, state, occurrence)
        })
    }

    /// The most urgent alarms that want an acknowledgement: by priority, the latest first.
    pub fn banner(&self, count: usize) -> Vec<AlarmId> {
        let wanting = self
            .occurrences()
            .filter(|(_, state, _)| state.wants_acknowledgement());
        let mut alarms: Vec<_> = wanting
            .map(|(alarm, _, occurrence)| {
                let priority = self.definitions[alarm.index()].priority;
                (priority, core::cmp::Reverse(occurrence.raised_at), alarm)
            })
            .collect();
        alarms.sort_unstable();
        alarms.truncate(count);
        alarms.into_iter().map(|(.., alarm)| alarm).collect()
    }

    /// The priority whose sound is to be heard, repeated until it is silenced or acknowledged.
    pub fn sound(&self) -> Option<Priority> {
        self.sounding.first().map(|(priority, _)| *priority)
    }

    /// Silences the sound until the next alarm comes. Nothing is acknowledged by it.
    pub fn silence(&mut self) {
        self.sounding.clear();
    }

    /// How the alarm system does.
    pub fn kpis(&self, now: Now) -> Kpis {
        let mut kpis = Kpis::default();
        self.rates.fill(&mut kpis, now.instant);
        for (_, state, occurrence) in self.occurrences() {
            kpis.standing += usize::from(state.is_listed());
            let long = now.instant.since(occurrence.raised).as_secs() >= DAY_SECONDS;
            kpis.stale += usize::from(long && state.is_listed());
        }
        kpis
    }

    /// Tries the conditions of every point that changed in the image's last cycle.
    pub fn scan(&mut self, image: &Image, now: Now) {
        assert!(
            self.effects.is_empty(),
            "host must drain effects between inputs"
        );
        let frame = image.frame();
        for &point in image.changed() {
            let place = point.index();
            for number in self.starts[place]..self.starts[place + 1] {
                self.try_condition(self.of_point[number], frame, now);
            }
            if self.suppressing.contains_key(&point) {
                self.try_suppression(point, frame, now);
            }
        }
    }

    /// Carries out what is due: delays, escalations, shelves, announcements, ends of floods.
    pub fn handle_timeout(&mut self, image: &Image, now: Now) {
        assert!(
            self.effects.is_empty(),
            "host must drain effects between inputs"
        );
        let frame = image.frame();
        while let Some(alarm) = take_due(&mut self.delays, now.instant) {
            let watch = &mut self.watches[alarm.index()];
            watch.due = None;
            let active = watch.machine.is_active();
            self.move_active(alarm, !active, frame, now);
        }
        while let Some(alarm) = take_due(&mut self.again, now.instant) {
            self.apply(alarm, &Deed::of_itself(Event::Reannunciate), frame, now);
        }
        while let Some(alarm) = take_due(&mut self.escalations, now.instant) {
            self.escalate(alarm, now);
        }
        while let Some((until, alarm)) = self.shelf.first().copied()
            && until <= now.utc
        {
            self.shelf.pop_first();
            self.apply(alarm, &Deed::of_itself(Event::Unshelve), frame, now);
        }
        for change in self.rates.passed(now.instant) {
            self.effects.push_back(effect_of(change));
        }
    }

    /// When [`AlarmBook::handle_timeout`] is to be called next.
    pub fn wake(&self) -> Wake {
        let first = |set: &BTreeSet<(Instant, AlarmId)>| set.first().map(|(at, _)| *at);
        let deadlines = [
            (first(&self.delays), "alarm delay"),
            (first(&self.again), "alarm again"),
            (first(&self.escalations), "alarm escalation"),
            (self.rates.wake(), "alarm rates"),
        ];
        let shelf = self.shelf.first().map(|(until, _)| (*until, "alarm shelf"));
        deadlines.into_iter().fold(
            Wake {
                instant: None,
                utc: shelf,
            },
            |wake, (at, cause)| {
                wake.earliest(Wake {
                    instant: at.map(|at| (at, cause)),
                    utc: None,
                })
            },
        )
    }

    /// What the host is to carry out next.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Tries one alarm's condition; starts, ends or abandons a delay.
    pub(super) fn try_condition(&mut self, alarm: AlarmId, frame: &Frame, now: Now) {
        let definition = &self.definitions[alarm.index()];
        let (raw, quality) = (frame.raw(definition.point), frame.quality(definition.point));
        let watch = &mut self.watches[alarm.index()];
        let active = watch.machine.is_active();
        let Some(holds) = watch.threshold.holds(raw, quality, active) else {
            return;
        };
        if holds == active {
            if let Some(due) = watch.due.take() {
                self.delays.remove(&(due, alarm));
            }
            return;
        }
        let delay = if holds {
            definition.on_delay
        } else {
            definition.off_delay
        };
        if delay.is_zero() {
            self.move_active(alarm, holds, frame, now);
        } else if watch.due.is_none() {
            let due = now.instant + delay;
            watch.due = Some(due);
            self.delays.insert((due, alarm));
        }
    }

    /// A limit or a delay was changed: the condition is tried as if nothing had been waiting.
    pub(super) fn renew(&mut self, alarm: AlarmId, frame: &Frame, now: Now) {
        let definition = &self.definitions[alarm.index()];
        let watch = &mut self.watches[alarm.index()];
        watch.threshold = Threshold::new(definition.condition, definition.deadband);
        if let Some(due) = watch.due.take() {
            self.delays.remove(&(due, alarm));
        }
        self.try_condition(alarm, frame, now);
    }

    fn move_active(&mut self, alarm: AlarmId, active: bool, frame: &Frame, now: Now) {
        let event = if active { Event::Alarm } else { Event::Return };
        self.apply(alarm, &Deed::of_itself(event), frame, now);
    }

    fn try_suppression(&mut self, point: PointId, frame: &Frame, now: Now) {
        // What is not trusted suppresses nothing.
        let suppress = frame.raw(point) != 0 && frame.quality(point).is_trusted();
        let alarms = self.suppressing.remove(&point).unwrap_or_default();
        for &alarm in &alarms {
            let event = if suppress {
                Event::Suppress
            } else {
                Event::Unsuppress
            };
            self.apply(alarm, &Deed::of_itself(event), frame, now);
        }
        self.suppressing.insert(point, alarms);
    }

    /// Moves one alarm and draws every consequence; whether the event meant anything.
    pub(super) fn apply(
        &mut self,
        alarm: AlarmId,
        deed: &Deed<'_>,
        frame: &Frame,
        now: Now,
    ) -> bool {
        let definition = &self.definitions[alarm.index()];
        let before = self.watches[alarm.index()].machine;
        let Some(after) = before.after(deed.event, definition.latching) else {
            return false;
        };
        self.watches[alarm.index()].machine = after;
        let (from, to) = (before.state(), after.state());
        let raised = to == State::Unacknowledged && from != State::Unacknowledged;
        let source_time = frame.source_time(definition.point);
        if after != Machine::NORMAL {
            let occurrence = self.occurrences.entry(alarm).or_insert(Occurrence {
                source_time,
                raised_at: now.utc,
                count: 0,
                acknowledged_by: None,
                first_out: false,
                shelved_until: None,
                raised: now.instant,
                step: 0,
                escalates_at: None,
                again_at: None,
            });
            if deed.event == Event::Alarm || (raised && deed.event != Event::Reannunciate) {
                occurrence.source_time = source_time;
                (occurrence.raised_at, occurrence.raised) = (now.utc, now.instant);
                occurrence.count = occurrence.count.saturating_add(1);
            }
            if deed.event == Event::Acknowledge {
                occurrence.acknowledged_by = deed.actor.cloned();
            }
        }
        let first_out = self.group(alarm, from, to, source_time);
        self.watch_the_clock(alarm, from, to, now);
        if raised && deed.event != Event::Reannunciate {
            let priority = self.definitions[alarm.index()].priority;
            let changes = self.rates.activated(alarm, priority, now.instant);
            self.effects.extend(changes.map(effect_of));
        }
        if from != to {
            self.remember(alarm, deed, (from, to), first_out, frame, now);
        }
        if after == Machine::NORMAL {
            self.occurrences.remove(&alarm);
        }
        true
    }

    /// Keeps the group's first; whether it is this alarm.
    fn group(&mut self, alarm: AlarmId, from: State, to: State, source_time: UtcTime) -> bool {
        let Some(group) = self.definitions[alarm.index()].first_out else {
            return false;
        };
        let listed = self.group_listed.entry(group).or_default();
        match (from.is_listed(), to.is_listed()) {
            (false, true) => *listed += 1,
            (true, false) => *listed -= 1,
            (true, true) | (false, false) => {}
        }
        if *listed == 0 {
            self.first_out.remove(&group);
            return false;
        }
        let raised = to == State::Unacknowledged && !from.is_listed();
        let earlier = |first: &FirstOut| source_time < first.source_time;
        let first = self.first_out.get(&group);
        // A station's event may arrive after a later one of another station.
        if raised && first.is_none_or(earlier) {
            let overtaken = self
                .first_out
                .insert(group, FirstOut { alarm, source_time });
            if let Some(overtaken) = overtaken
                && let Some(occurrence) = self.occurrences.get_mut(&overtaken.alarm)
            {
                occurrence.first_out = false;
            }
        }
        let first = self
            .first_out
            .get(&group)
            .is_some_and(|first| first.alarm == alarm);
        if let Some(occurrence) = self.occurrences.get_mut(&alarm) {
            occurrence.first_out = first;
        }
        first
    }

    /// Starts and ends escalation, announcements and sound.
    fn watch_the_clock(&mut self, alarm: AlarmId, from: State, to: State, now: Now) {
        let definition = &self.definitions[alarm.index()];
        if let Some(occurrence) = self.occurrences.get_mut(&alarm) {
            let escalates = matches!(to, State::Unacknowledged | State::LatchedUnacknowledged);
            let raised = to == State::Unacknowledged && from != to;
            if (!escalates || raised)
                && let Some(at) = occurrence.escalates_at.take()
            {
                self.escalations.remove(&(at, alarm));
            }
            if raised && let Some(step) = definition.escalation.steps.first() {
                let at = now.instant + step.after;
                (occurrence.step, occurrence.escalates_at) = (0, Some(at));
                self.escalations.insert((at, alarm));
            }
            if let Some(at) = occurrence.again_at.take() {
                self.again.remove(&(at, alarm));
            }
            if let Some(after) = definition.again_after
                && to == State::Acknowledged
            {
                let at = now.instant + after;
                occurrence.again_at = Some(at);
                self.again.insert((at, alarm));
            }
            if !self.watches[alarm.index()].machine.is_shelved()
                && let Some(until) = occurrence.shelved_until.take()
            {
                self.shelf.remove(&(until, alarm));
            }
        }
        if to == State::Unacknowledged && from != to {
            self.sounding.insert((definition.priority, alarm));
        } else if !to.wants_acknowledgement() {
            self.sounding.remove(&(definition.priority, alarm));
        }
    }

    /// Tells whoever is next, and sets the time of the one after.
    fn escalate(&mut self, alarm: AlarmId, now: Now) {
        let definition = &self.definitions[alarm.index()];
        let Some(occurrence) = self.occurrences.get_mut(&alarm) else {
            return;
        };
        let steps = &definition.escalation.steps;
        let Some(step) = steps.get(occurrence.step) else {
            return;
        };
        let text = format!(
            "{} alarm {}: {}, unacknowledged since {}",
            definition.priority, definition.name, definition.message, occurrence.raised_at
        );
        self.effects.push_back(Effect::Notify(Notification {
            alarm,
            channel: step.channel,
            to: step.to.clone(),
            text,
        }));
        occurrence.step += 1;
        occurrence.escalates_at = steps.get(occurrence.step).map(|next| {
            let at = now.instant + next.after.saturating_sub(step.after);
            self.escalations.insert((at, alarm));
            at
        });
    }

    fn remember(
        &mut self,
        alarm: AlarmId,
        deed: &Deed<'_>,
        (from, to): (State, State),
        first_out: bool,
        frame: &Frame,
        now: Now,
    ) {
        let definition = &self.definitions[alarm.index()];
        let point = definition.point;
        let record = HistoryRecord {
            sequence: self.sequence,
            at: now.utc,
            source_time: frame.source_time(point),
            alarm,
            name: definition.name.clone(),
            priority: definition.priority,
            event: deed.event,
            from,
            to,
            actor: deed.actor.cloned(),
            reason: deed.reason.to_owned(),
            value: frame.value(point),
            quality: frame.quality(point),
            condition: definition.condition,
            first_out,
        };
        self.sequence += 1;
        self.effects.push_back(Effect::Record(Box::new(record)));
    }
}

fn take_due(set: &mut BTreeSet<(Instant, AlarmId)>, now: Instant) -> Option<AlarmId> {
    let (at, alarm) = *set.first()?;
    (at <= now).then(|| {
        set.pop_first();
        alarm
    })
}

const fn effect_of(change: Change) -> Effect {
    match change {
        Change::FloodBegan => Effect::FloodBegan,
        Change::FloodEnded => Effect::FloodEnded,
        Change::ChatteringBegan(alarm) => Effect::ChatteringBegan(alarm),
        Change::ChatteringEnded(alarm) => Effect::ChatteringEnded(alarm),
    }
}

#[cfg(test)]
mod tests;
