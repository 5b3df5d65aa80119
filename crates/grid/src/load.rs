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
    /// By time.
    turns: Vec<Turn>,
}

/// The active power that one appliance takes on at a time; kept small, for every home has
/// hundreds a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Turn {
    at_ms: u32,
    appliance: ApplianceId,
    active_mw: i64,
}

impl DayLoad {
    /// # Panics
    ///
    /// If the plans are not of consecutive days.
    pub(crate) fn new(
        ratings: &mut dyn Iterator<Item = &Rating>,
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
        let mut turns = Vec::with_capacity(256);
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
            turns.push(Turn {
                at_ms: step.at_ms,
                appliance: step.appliance,
                active_mw: step.power.active_mw,
            });
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
            turns,
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

    /// What the appliance with `rating` draws at a time of the day, in milliwatts: the stage of its
    /// programme while it is ON, else its standby. Of all appliances of a home, these sum up to
    /// the segment's active power.
    pub fn active_mw_of(&self, rating: &Rating, ms: u32) -> i64 {
        let past = self.turns.partition_point(|turn| turn.at_ms <= ms);
        self.turns[..past]
            .iter()
            .rev()
            .find(|turn| turn.appliance == rating.id)
            .map_or(rating.standby_mw, |turn| turn.active_mw)
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

/// Rounds a time within a day to milliseconds, at most a day's last one.
pub(crate) fn round_to_ms(value: f64) -> u32 {
    u32::try_from(crate::power::round_to_i64(value))
        .unwrap_or(0)
        .min(MS_PER_DAY - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u32 = 60_000;
    const HOUR: u32 = 60 * MINUTE;

    /// A lamp of 100 W with 1 W of standby, and a machine of 2 kW for ten minutes and 200 W for
    /// twenty.
    fn ratings() -> Vec<Rating> {
        let catalogue = Catalogue::parse(
            "key,label,active_w,cos_phi_milli,sense,standby_mw,stages,flexibility,device,source\n\
             lamp,Lamp,100,1000,none,1000,100x3600,fixed,,typical\n\
             machine,Machine,2000,800,lagging,0,100x600;10x1200,fixed,,typical\n",
        )
        .unwrap();
        catalogue
            .iter()
            .zip([0, 2])
            .map(|((id, appliance), phase)| Rating::new(id, appliance, 1_000, phase))
            .collect()
    }

    fn load(yesterday: &[Run], today: &[Run]) -> DayLoad {
        let day = Day::from_epoch_days(100);
        let ratings = ratings();
        DayLoad::new(
            &mut ratings.iter(),
            &DayPlan::new(day.previous(), yesterday.to_vec()),
            &DayPlan::new(day, today.to_vec()),
        )
    }

    /// From, to, active and reactive power of each phase, number of appliances that are on.
    type Row = (u32, u32, [i64; 3], [i64; 3], usize);

    fn table(load: &DayLoad) -> Vec<Row> {
        load.segments()
            .iter()
            .map(|s| (s.from_ms, s.to_ms, s.active_mw, s.reactive_mvar, s.on.len()))
            .collect()
    }

    #[test]
    fn a_day_is_covered_by_stages_and_standby() {
        let [lamp, machine] = [0, 1].map(|index| ratings()[index].id());
        let got = load(
            &[],
            &[
                Run::new(lamp, HOUR, HOUR),
                Run::new(machine, HOUR, 30 * MINUTE),
            ],
        );
        assert_eq!(
            table(&got),
            [
                (0, HOUR, [1_000, 0, 0], [0; 3], 0),
                (
                    HOUR,
                    HOUR + 10 * MINUTE,
                    [100_000, 0, 2_000_000],
                    [0, 0, 1_500_000],
                    2
                ),
                (
                    HOUR + 10 * MINUTE,
                    HOUR + 30 * MINUTE,
                    [100_000, 0, 200_000],
                    [0, 0, 150_000],
                    2
                ),
                (HOUR + 30 * MINUTE, 2 * HOUR, [100_000, 0, 0], [0; 3], 1),
                (2 * HOUR, MS_PER_DAY, [1_000, 0, 0], [0; 3], 0),
            ]
        );
        let times = [
            0,
            HOUR,
            HOUR + 10 * MINUTE,
            HOUR + 30 * MINUTE,
            2 * HOUR,
            u32::MAX,
        ];
        for ms in times {
            let sum: i64 = ratings().iter().map(|r| got.active_mw_of(r, ms)).sum();
            assert_eq!(sum, got.at(ms).active_mw.iter().sum::<i64>(), "{ms}");
        }
        assert_eq!(got.at(HOUR).on.len(), 2);
        assert_eq!(got.at(HOUR - 1).on.len(), 0);
        assert_eq!(got.at(u32::MAX).from_ms, 2 * HOUR);
    }

    #[test]
    fn a_run_over_midnight_belongs_to_its_day_and_loses_nothing() {
        let [lamp, machine] = [0, 1].map(|index| ratings()[index].id());
        let late = [
            Run::new(machine, MS_PER_DAY - 5 * MINUTE, 30 * MINUTE),
            // Moved past midnight when it was planned.
            Run::new(lamp, MS_PER_DAY + 3 * HOUR, HOUR),
        ];
        let before = load(&[], &late);
        let after = load(&late, &[]);
        let standby = 2 * 24 * i64::from(HOUR) * 1_000;
        // 2 kW for ten minutes, 200 W for twenty, and 99 W more than standby for an hour.
        let runs = (2_000_000 * 10 + 200_000 * 20 + 99_000 * 60) * i64::from(MINUTE);
        assert_eq!(before.active_uj() + after.active_uj(), standby + runs);
        assert_eq!(after.segments()[0].active_mw, [1_000, 0, 2_000_000]);
        assert_eq!(after.segments()[0].to_ms, 5 * MINUTE);
        assert!(after.at(3 * HOUR).on.contains(lamp));
        assert!(before.segments().iter().all(|s| !s.on.contains(lamp)));
    }

    #[test]
    fn overlapping_runs_of_one_appliance_are_one() {
        let lamp = ratings()[0].id();
        let (first, second) = (
            Run::new(lamp, HOUR, 2 * HOUR),
            Run::new(lamp, 2 * HOUR, 2 * HOUR),
        );
        // Nested: the later one is over before the earlier.
        let third = Run::new(lamp, 3 * HOUR / 2, MINUTE);
        let got = load(&[], &[second, third, first]);
        let on: u32 = got
            .segments()
            .iter()
            .filter(|s| s.on.contains(lamp))
            .map(|s| s.to_ms - s.from_ms)
            .sum();
        assert_eq!(on, 3 * HOUR);
        assert!(got.segments().iter().all(|s| s.active_mw[0] <= 100_000));
        let plan = DayPlan::new(Day::from_epoch_days(0), vec![second, third, first]);
        let event = |at_ms, switch| SwitchEvent {
            at_ms,
            appliance: lamp,
            switch,
        };
        assert_eq!(
            plan.events(),
            [event(HOUR, Switch::On), event(4 * HOUR, Switch::Off)]
        );
    }

    #[test]
    fn runs_end_with_the_day_after_their_own() {
        let lamp = ratings()[0].id();
        let run = Run::new(lamp, MS_PER_DAY, 2 * MS_PER_DAY);
        assert_eq!(run.end_ms(), 2 * MS_PER_DAY);
        assert_eq!(
            table(&load(&[run], &[])),
            [(0, MS_PER_DAY, [100_000, 0, 0], [0; 3], 1)]
        );
        let idle = DayPlan::idle(Day::from_epoch_days(5));
        assert!(idle.events().is_empty() && idle.runs().is_empty());
    }

    #[test]
    #[should_panic(expected = "consecutive")]
    fn plans_of_other_days_are_refused() {
        let day = Day::from_epoch_days(1);
        DayLoad::new(
            &mut ratings().iter(),
            &DayPlan::idle(day),
            &DayPlan::idle(day),
        );
    }
}
