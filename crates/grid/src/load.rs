//! What a meter integrates: a day as stretches of constant power, in integers, without holes.

use gridloom_core::Day;

use crate::appliance::{Appliance, ApplianceId, ApplianceSet, Catalogue, Stage};

/// Milliseconds in a day; leap seconds are smeared.
pub const MS_PER_DAY: u32 = 86_400_000;

/// A stretch of constant power within one UTC day.
///
/// Energy is exact: mW × ms = µJ, and 3 600 000 µJ are one milliwatt-hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Start, in milliseconds since midnight UTC.
    pub from_ms: u32,
    /// End, after the start, at most [`MS_PER_DAY`].
    pub to_ms: u32,
    /// Active power of L1, L2 and L3, in milliwatts; positive is consumption.
    pub active_mw: [i64; 3],
    /// Reactive power of L1, L2 and L3, in millivars; positive lagging (inductive).
    pub reactive_mvar: [i64; 3],
    /// The appliances that are ON.
    pub on: ApplianceSet,
}

impl Segment {
    /// Active energy of all phases, in microjoules.
    pub fn active_uj(&self) -> i64 {
        self.active_mw.iter().sum::<i64>() * i64::from(self.to_ms - self.from_ms)
    }
}

/// What one appliance draws in one home: the catalogue's figures, scaled to its model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rating {
    id: ApplianceId,
    phase: usize,
    active_mw: i64,
    reactive_mvar: i64,
    standby_mw: i64,
    stages: Vec<Stage>,
}

impl Rating {
    /// Scales by thousandths, rounding towards zero; `phase` is 0, 1 or 2.
    pub(crate) fn new(
        id: ApplianceId,
        appliance: &Appliance,
        scale_permille: i64,
        phase: usize,
    ) -> Self {
        assert!(phase < 3, "there are three phases");
        let scale = |value: i64| value * scale_permille / 1_000;
        Self {
            id,
            phase,
            active_mw: scale(appliance.active_mw),
            reactive_mvar: scale(appliance.reactive_mvar),
            standby_mw: scale(appliance.standby_mw),
            stages: appliance.stages.clone(),
        }
    }

    /// Which appliance.
    pub const fn id(&self) -> ApplianceId {
        self.id
    }

    /// Its phase: 0 is L1.
    pub const fn phase(&self) -> usize {
        self.phase
    }

    /// Active power at 100 % of its programme, in milliwatts.
    pub const fn active_mw(&self) -> i64 {
        self.active_mw
    }

    /// Reactive power at 100 % of its programme, in millivars; lagging is positive.
    pub const fn reactive_mvar(&self) -> i64 {
        self.reactive_mvar
    }

    /// Active power while OFF, in milliwatts.
    pub const fn standby_mw(&self) -> i64 {
        self.standby_mw
    }

    /// The length of one run: a programme of several stages takes its time, a single stage the
    /// given thousandths of it.
    pub(crate) fn drawn_duration_ms(&self, permille: u32) -> u32 {
        let seconds: u32 = self.stages.iter().map(|stage| stage.seconds).sum();
        match self.stages.len() {
            1 => seconds * permille,
            _ => seconds * 1_000,
        }
    }

    /// Power in a stage: the share of the full power, rounded towards zero.
    fn at(&self, percent: u8) -> Power {
        Power {
            active_mw: self.active_mw * i64::from(percent) / 100,
            reactive_mvar: self.reactive_mvar * i64::from(percent) / 100,
        }
    }

    fn standby(&self) -> Power {
        Power {
            active_mw: self.standby_mw,
            reactive_mvar: 0,
        }
    }
}

/// One use of one appliance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    start_ms: u32,
    appliance: ApplianceId,
    end_ms: u32,
}

impl Run {
    /// A run; one that would last beyond the day after its own is cut there.
    pub(crate) fn new(appliance: ApplianceId, start_ms: u32, duration_ms: u32) -> Self {
        Self {
            start_ms,
            appliance,
            end_ms: (start_ms + duration_ms).min(2 * MS_PER_DAY),
        }
    }

    /// Which appliance.
    pub const fn appliance(&self) -> ApplianceId {
        self.appliance
    }

    /// When it is switched ON, in milliseconds since midnight UTC of the plan's day; may lie in
    /// the next day.
    pub const fn start_ms(&self) -> u32 {
        self.start_ms
    }

    /// When it is switched OFF, at the latest at the end of the next day.
    pub const fn end_ms(&self) -> u32 {
        self.end_ms
    }
}

/// One turn of a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwitchEvent {
    /// When, in milliseconds since midnight UTC of the plan's day.
    pub at_ms: u32,
    /// Of which appliance.
    pub appliance: ApplianceId,
    /// To which side.
    pub switch: Switch,
}

/// The two sides of a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Switch {
    /// Off, perhaps on standby.
    Off,
    /// On.
    On,
}

/// What the people of a home decided on one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayPlan {
    day: Day,
    /// By start, then by appliance.
    runs: Vec<Run>,
}

impl DayPlan {
    pub(crate) fn new(day: Day, mut runs: Vec<Run>) -> Self {
        runs.sort_unstable();
        Self { day, runs }
    }

    /// A day on which nothing was switched on.
    pub const fn idle(day: Day) -> Self {
        Self {
            day,
            runs: Vec::new(),
        }
    }

    /// The day.
    pub const fn day(&self) -> Day {
        self.day
    }

    /// The runs, by start. Two runs of one appliance may overlap: the earlier one counts, then the
    /// rest of the later one.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The turns of switches, in order of time, an OFF before an ON at the same instant.
    /// Overlapping runs of one appliance are one ON and one OFF.
    pub fn events(&self) -> Vec<SwitchEvent> {
        let mut last: [Option<Run>; Catalogue::APPLIANCES_MAX] = [None; Catalogue::APPLIANCES_MAX];
        let mut events = Vec::with_capacity(2 * self.runs.len());
        let mut push = |at_ms, appliance, switch| {
            events.push(SwitchEvent {
                at_ms,
                appliance,
                switch,
            });
        };
        for run in &self.runs {
            match &mut last[run.appliance.index()] {
                Some(open) if run.start_ms <= open.end_ms => {
                    open.end_ms = open.end_ms.max(run.end_ms);
                }
                slot => {
                    if let Some(open) = slot.replace(*run) {
                        push(open.end_ms, open.appliance, Switch::Off);
                    }
                    push(run.start_ms, run.appliance, Switch::On);
                }
            }
        }
        for open in last.into_iter().flatten() {
            push(open.end_ms, open.appliance, Switch::Off);
        }
        events.sort_by_key(|event| (event.at_ms, event.switch, event.appliance));
        events
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Power {
    active_mw: i64,
    reactive_mvar: i64,
}

/// One step of one appliance to another power.
#[derive(Debug, Clone, Copy)]
struct Step {
    at_ms: u32,
    appliance: ApplianceId,
    phase: usize,
    power: Power,
    switch: Switch,
}

/// The load of one day: what its own plan starts and what still runs of the day before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayLoad {
    day: Day,
    segments: Vec<Segment>,
}

impl DayLoad {
    /// # Panics
    ///
    /// If the plans are not of consecutive days.
    pub(crate) fn new<'a>(
        ratings: &mut dyn Iterator<Item = &'a Rating>,
        yesterday: &DayPlan,
        today: &DayPlan,
    ) -> Self {
        assert!(
            yesterday.day.next() == today.day,
            "a load needs the plans of two consecutive days"
        );
        let mut by_id: [Option<&Rating>; Catalogue::APPLIANCES_MAX] =
            [None; Catalogue::APPLIANCES_MAX];
        let mut sums = Segment {
            from_ms: 0,
            to_ms: 0,
            active_mw: [0; 3],
            reactive_mvar: [0; 3],
            on: ApplianceSet::EMPTY,
        };
        let mut powers = [Power::default(); Catalogue::APPLIANCES_MAX];
        for rating in ratings {
            by_id[rating.id.index()] = Some(rating);
            powers[rating.id.index()] = rating.standby();
            sums.active_mw[rating.phase] += rating.standby_mw;
        }
        let mut segments = Vec::with_capacity(256);
        for step in steps(&by_id, yesterday, today) {
            if step.at_ms >= MS_PER_DAY {
                break;
            }
            if step.at_ms > sums.from_ms {
                segments.push(Segment {
                    to_ms: step.at_ms,
                    ..sums
                });
                sums.from_ms = step.at_ms;
            }
            let old = &mut powers[step.appliance.index()];
            sums.active_mw[step.phase] += step.power.active_mw - old.active_mw;
            sums.reactive_mvar[step.phase] += step.power.reactive_mvar - old.reactive_mvar;
            *old = step.power;
            sums.on = match step.switch {
                Switch::On => sums.on.with(step.appliance),
                Switch::Off => sums.on.without(step.appliance),
            };
        }
        segments.push(Segment {
            to_ms: MS_PER_DAY,
            ..sums
        });
        Self {
            day: today.day,
            segments,
        }
    }

    /// The day.
    pub const fn day(&self) -> Day {
        self.day
    }

    /// The segments, in order: the first starts at midnight, each starts where the one before
    /// ends, and the last ends at the next midnight.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The segment at a time of the day; the last one for a time beyond it.
    pub fn at(&self, ms: u32) -> &Segment {
        let index = self.segments.partition_point(|segment| segment.to_ms <= ms);
        &self.segments[index.min(self.segments.len() - 1)]
    }

    /// The day's active energy of all phases, in microjoules.
    pub fn active_uj(&self) -> i64 {
        self.segments.iter().map(Segment::active_uj).sum()
    }
}

/// The steps of both days as the second one sees them, by time. At any instant the run that
/// started first decides about its appliance, so both days agree on a run that passes midnight.
fn steps(
    ratings: &[Option<&Rating>; Catalogue::APPLIANCES_MAX],
    yesterday: &DayPlan,
    today: &DayPlan,
) -> Vec<Step> {
    let mut runs: Vec<(i64, i64, ApplianceId)> =
        Vec::with_capacity(today.runs.len() + yesterday.runs.len());
    for (plan, offset) in [(yesterday, i64::from(MS_PER_DAY)), (today, 0)] {
        runs.extend(
            plan.runs
                .iter()
                .map(|run| {
                    (
                        i64::from(run.start_ms) - offset,
                        i64::from(run.end_ms) - offset,
                        run.appliance,
                    )
                })
                .filter(|(_, end, _)| *end > 0),
        );
    }
    runs.sort_unstable();
    let mut steps = Vec::with_capacity(3 * runs.len());
    let mut free_from = [0_i64; Catalogue::APPLIANCES_MAX];
    for (start, end, appliance) in runs {
        let Some(rating) = ratings[appliance.index()] else {
            continue;
        };
        let visible_from = start.max(free_from[appliance.index()]);
        if end <= visible_from {
            continue;
        }
        free_from[appliance.index()] = end;
        let mut push = |at: i64, power, switch| {
            steps.push(Step {
                at_ms: u32::try_from(at).expect("what is visible of two days fits u32"),
                appliance,
                phase: rating.phase,
                power,
                switch,
            });
        };
        let mut stage_start = start;
        for (index, stage) in rating.stages.iter().enumerate() {
            let last = index + 1 == rating.stages.len();
            let stage_end = if last {
                end
            } else {
                end.min(stage_start + i64::from(stage.seconds) * 1_000)
            };
            if stage_end > visible_from {
                push(
                    stage_start.max(visible_from),
                    rating.at(stage.percent),
                    Switch::On,
                );
            }
            stage_start = stage_end;
        }
        push(end, rating.standby(), Switch::Off);
    }
    // Stable: where one run hands over to the next, its OFF comes first.
    steps.sort_by_key(|step| step.at_ms);
    steps
}
