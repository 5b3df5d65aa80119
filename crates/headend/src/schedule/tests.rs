//! Named cases, and random traffic against a model that knows only the rules.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use gridloom_core::seed::Rng;
use rand_core::{Rng as _, SeedableRng as _};

const MINUTE: Duration = Duration::from_secs(60);

fn config(sessions_max: u32, sessions_per_link_max: u32) -> ScheduleConfig {
    ScheduleConfig {
        sessions_max,
        sessions_per_link_max,
        retry: RetryPolicy {
            first: MINUTE,
            max: MINUTE * 10,
            attempts_max: 3,
        },
    }
}

fn at(minutes: i64) -> UtcTime {
    UtcTime::from_secs(minutes * 60)
}

fn drain(schedule: &mut Schedule) -> Vec<Output> {
    std::iter::from_fn(|| schedule.poll_output()).collect()
}

fn starts(schedule: &mut Schedule) -> Vec<Start> {
    drain(schedule)
        .into_iter()
        .map(|output| match output {
            Output::Start(start) => start,
            other => panic!("a start was expected, not {other:?}"),
        })
        .collect()
}

fn with_meters(schedule: &mut Schedule, meters: impl IntoIterator<Item = (u32, u32)>) {
    for (meter, link) in meters {
        schedule.handle_meter(MeterId(meter), LinkId(link));
    }
}

fn submit(schedule: &mut Schedule, meter: u32, lane: Lane, task: u64) -> JobId {
    schedule
        .submit(MeterId(meter), lane, TaskId(task), at(0), at(600), at(0))
        .unwrap()
}

fn tasks(starts: &[Start]) -> Vec<u64> {
    starts
        .iter()
        .map(|start| match start.work {
            Work::Once(TaskId(task)) => task,
            Work::Recurring { .. } => panic!("a single job was expected"),
        })
        .collect()
}

#[test]
fn one_session_per_meter_and_higher_lanes_first() {
    let mut schedule = Schedule::new(config(9, 9), Seed::new(1));
    with_meters(&mut schedule, [(1, 1)]);
    submit(&mut schedule, 1, Lane::Periodic, 10);
    let first = starts(&mut schedule);
    assert_eq!(tasks(&first), [10], "nothing else was there");
    for (lane, task) in [
        (Lane::Backfill, 11),
        (Lane::Command, 12),
        (Lane::OnDemand, 13),
    ] {
        submit(&mut schedule, 1, lane, task);
        assert_eq!(drain(&mut schedule), [], "the meter is busy");
    }
    let mut order = Vec::new();
    let mut running = first[0].job;
    for _ in 0..3 {
        schedule.handle_finished(running, Outcome::Done, at(1));
        let next = starts(&mut schedule);
        order.extend(tasks(&next));
        running = next[0].job;
    }
    assert_eq!(order, [13, 12, 11]);
}

#[test]
fn a_link_bears_so_many_and_links_take_turns() {
    let mut schedule = Schedule::new(config(3, 2), Seed::new(1));
    schedule.handle_link_down(LinkId(1));
    schedule.handle_link_down(LinkId(2));
    with_meters(&mut schedule, (0..8).map(|meter| (meter, 1)));
    with_meters(&mut schedule, (8..10).map(|meter| (meter, 2)));
    for meter in 0..10 {
        submit(&mut schedule, meter, Lane::Periodic, u64::from(meter));
    }
    assert_eq!(drain(&mut schedule), [], "both links are down");
    schedule.handle_link_up(LinkId(1));
    let first = starts(&mut schedule);
    assert_eq!(tasks(&first), [0, 1], "two over a link");
    schedule.handle_link_up(LinkId(2));
    assert_eq!(tasks(&starts(&mut schedule)), [8], "three in total");
    schedule.handle_finished(first[0].job, Outcome::Done, at(1));
    assert_eq!(
        tasks(&starts(&mut schedule)),
        [2],
        "the link that waited longer"
    );
    schedule.handle_finished(first[1].job, Outcome::Done, at(1));
    assert_eq!(tasks(&starts(&mut schedule)), [9], "then the other");
    assert_eq!(schedule.running(), 3);
}

#[test]
fn an_overtaken_lane_has_its_turn() {
    let mut schedule = Schedule::new(config(1, 1), Seed::new(1));
    with_meters(&mut schedule, (0..60).map(|meter| (meter, 1)));
    schedule.handle_link_down(LinkId(1));
    submit(&mut schedule, 0, Lane::Periodic, 1_000);
    submit(&mut schedule, 1, Lane::Backfill, 1_001);
    for meter in 2..60 {
        submit(&mut schedule, meter, Lane::OnDemand, u64::from(meter));
    }
    schedule.handle_link_up(LinkId(1));
    let mut order = Vec::new();
    loop {
        let started = starts(&mut schedule);
        let [start] = started[..] else { break };
        order.extend(tasks(&started));
        schedule.handle_finished(start.job, Outcome::Done, at(1));
    }
    assert_eq!(order.len(), 60);
    let place = |task| order.iter().position(|&other| other == task).unwrap();
    let every = Schedule::OVERTAKES_MAX as usize + 1;
    let mut places = [place(1_000), place(1_001)];
    places.sort_unstable();
    assert_eq!(places, [every - 1, 2 * every - 1]);
}

#[test]
fn failures_back_off_and_end() {
    let mut schedule = Schedule::new(config(1, 1), Seed::new(1));
    with_meters(&mut schedule, [(1, 1)]);
    let job = submit(&mut schedule, 1, Lane::Periodic, 5);
    let mut now = at(0);
    for attempt in 1..=3 {
        let started = starts(&mut schedule);
        assert_eq!(started[0].attempt, attempt);
        schedule.handle_finished(job, Outcome::TryAgain, now);
        if attempt < 3 {
            assert_eq!(drain(&mut schedule), [], "it waits");
            let (wake, _) = schedule.wake().utc.unwrap();
            let wait = wake.since(now);
            let full = MINUTE * (1 << (attempt - 1));
            assert!(wait >= full / 2 && wait <= full, "{wait:?}");
            now = wake;
            schedule.handle_timeout(now);
        }
    }
    assert_eq!(
        drain(&mut schedule),
        [Output::Failed {
            job,
            meter: MeterId(1),
            task: TaskId(5),
            failure: Failure::AttemptsUsed { attempts: 3 },
        }]
    );
    assert!(schedule.is_empty());
    assert_eq!(schedule.wake(), Wake::default());
}

fn daily() -> Recurrence {
    let hour = MINUTE * 60;
    Recurrence::new(hour * 24, hour, hour * 6, hour).unwrap()
}

fn day(n: i64) -> UtcTime {
    at(n * 24 * 60 + 60)
}

#[test]
fn a_recurrence_survives_a_restart() {
    let (meter, id) = (MeterId(1), RecurrenceId(3));
    // The due time that succeeded last, now, what is missed, what is caught up.
    let cases = [
        (None, day(5) + MINUTE, None, None),
        (Some(day(5)), day(5) + MINUTE, None, None),
        (Some(day(4)), day(5) + MINUTE * 90, None, Some(day(5))),
        (
            Some(day(1)),
            day(5) + MINUTE * 90,
            Some((2, 4, 3)),
            Some(day(5)),
        ),
        (
            Some(day(1)),
            day(5) + MINUTE * 60 * 6,
            Some((2, 5, 4)),
            None,
        ),
        (
            Some(day(4)),
            day(5) + MINUTE * 60 * 6,
            Some((5, 5, 1)),
            None,
        ),
    ];
    for (last, now, missed, caught) in cases {
        let mut schedule = Schedule::new(config(1, 1), Seed::new(7));
        with_meters(&mut schedule, [(1, 1)]);
        schedule.plan(meter, id, daily(), last, now).unwrap();
        let mut outputs = drain(&mut schedule);
        let started = outputs.iter().position(|output| match output {
            Output::Start(start) => {
                let due = day(5);
                assert_eq!(
                    start.work,
                    Work::Recurring {
                        recurrence: id,
                        due
                    }
                );
                assert_eq!(start.deadline, due + MINUTE * 60 * 6);
                true
            }
            Output::Missed { .. } | Output::Failed { .. } => false,
        });
        if let Some(place) = started {
            outputs.remove(place);
        }
        assert_eq!(started.is_some(), caught.is_some(), "{last:?} {now}");
        let expected: Vec<Output> = missed
            .map(|(first, last, count)| Output::Missed {
                meter,
                recurrence: id,
                first: day(first),
                last: day(last),
                count,
                failure: Failure::WindowOver { attempts: 0 },
            })
            .into_iter()
            .collect();
        assert_eq!(outputs, expected, "{last:?} {now}");
        if caught.is_none() {
            let (next, _) = schedule.wake().utc.unwrap();
            assert_eq!(next, day(6), "{last:?} {now}");
        }
    }
}

#[test]
fn a_window_that_ends_is_named_but_a_running_session_counts() {
    let mut schedule = Schedule::new(config(1, 1), Seed::new(7));
    with_meters(&mut schedule, [(1, 1), (2, 1)]);
    let id = RecurrenceId(0);
    for meter in [1, 2] {
        schedule
            .plan(MeterId(meter), id, daily(), None, day(0))
            .unwrap();
        assert_eq!(drain(&mut schedule), [], "jitter first");
    }
    schedule.handle_timeout(day(0) + MINUTE * 60);
    let started = starts(&mut schedule);
    let running = started[0].meter;
    schedule.handle_timeout(day(0) + MINUTE * 60 * 6);
    let missed = drain(&mut schedule);
    let [
        Output::Missed {
            meter,
            first,
            failure,
            ..
        },
    ] = missed[..]
    else {
        panic!("{missed:?}");
    };
    assert_ne!(meter, running);
    assert_eq!(first, day(0));
    assert_eq!(failure, Failure::WindowOver { attempts: 0 });
    schedule.handle_finished(started[0].job, Outcome::Done, day(0) + MINUTE * 60 * 7);
    assert_eq!(drain(&mut schedule), []);
    assert!(schedule.is_empty());
}

#[test]
fn a_meter_that_leaves_takes_its_jobs_along() {
    let mut schedule = Schedule::new(config(9, 1), Seed::new(7));
    with_meters(&mut schedule, [(1, 1), (2, 1)]);
    let running = submit(&mut schedule, 1, Lane::Command, 1);
    assert_eq!(starts(&mut schedule).len(), 1);
    let waiting = submit(&mut schedule, 1, Lane::Command, 2);
    submit(&mut schedule, 2, Lane::Command, 3);
    schedule
        .plan(MeterId(1), RecurrenceId(0), daily(), None, day(0))
        .unwrap();
    schedule.handle_meter_gone(MeterId(1));
    let failure = Failure::Cancelled;
    assert_eq!(
        drain(&mut schedule),
        [
            Output::Failed {
                job: waiting,
                meter: MeterId(1),
                task: TaskId(2),
                failure,
            },
            Output::Missed {
                meter: MeterId(1),
                recurrence: RecurrenceId(0),
                first: day(0),
                last: day(0),
                count: 1,
                failure,
            }
        ]
    );
    assert_eq!(
        schedule.submit(MeterId(1), Lane::Command, TaskId(4), at(0), at(9), at(0)),
        Err(ScheduleError::UnknownMeter { meter: MeterId(1) })
    );
    schedule.handle_finished(running, Outcome::TryAgain, at(1));
    let outputs = drain(&mut schedule);
    assert!(
        matches!(
            outputs[..],
            [
                Output::Failed {
                    task: TaskId(1),
                    failure: Failure::Cancelled,
                    ..
                },
                Output::Start(Start {
                    meter: MeterId(2),
                    ..
                })
            ]
        ),
        "{outputs:?}"
    );
    assert_eq!(schedule.len(), 1);
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut schedule = Schedule::new(config(1, 1), Seed::new(7));
    with_meters(&mut schedule, [(1, 1)]);
    let meter = MeterId(1);
    assert_eq!(
        schedule.submit(meter, Lane::Command, TaskId(1), at(0), at(5), at(5)),
        Err(ScheduleError::TooLate {
            meter,
            deadline: at(5)
        })
    );
    for task in 0..Schedule::JOBS_PER_METER_MAX as u64 {
        submit(&mut schedule, 1, Lane::Command, task);
        drain(&mut schedule);
    }
    assert_eq!(
        schedule.submit(meter, Lane::OnDemand, TaskId(1), at(0), at(9), at(0)),
        Err(ScheduleError::MeterFull { meter })
    );
}

/// What must hold, kept in the plainest way.
struct Model {
    limits: (u32, u32),
    links: BTreeMap<MeterId, LinkId>,
    down: BTreeSet<LinkId>,
    /// Single jobs that neither run nor ended.
    waiting: BTreeMap<JobId, (MeterId, Lane, UtcTime, UtcTime)>,
    running: BTreeMap<JobId, (MeterId, LinkId)>,
    ended: BTreeSet<TaskId>,
    overtaking: u32,
}

impl Model {
    fn may_start(&self, meter: MeterId, link: LinkId) -> bool {
        let over = |wanted: LinkId| {
            let count = self.running.values().filter(|(_, link)| *link == wanted);
            u32::try_from(count.count()).unwrap()
        };
        u32::try_from(self.running.len()).unwrap() < self.limits.0
            && over(link) < self.limits.1
            && !self.down.contains(&link)
            && self.running.values().all(|(busy, _)| *busy != meter)
    }

    fn startable(&self, now: UtcTime) -> impl Iterator<Item = Lane> {
        self.waiting
            .values()
            .filter_map(move |(meter, lane, from, _)| {
                (*from <= now && self.may_start(*meter, self.links[meter])).then_some(*lane)
            })
    }

    fn start(&mut self, start: &Start, now: UtcTime) {
        let link = self.links[&start.meter];
        assert!(self.may_start(start.meter, link), "limits: {start:?}");
        let (meter, lane, from, deadline) = self.waiting[&start.job];
        assert_eq!(
            (meter, lane, deadline),
            (start.meter, start.lane, start.deadline)
        );
        assert!(from <= now && now < deadline, "window: {start:?}");
        let best = self.startable(now).min().unwrap();
        let worst = self.startable(now).max().unwrap();
        if lane > best {
            assert_eq!(self.overtaking, Schedule::OVERTAKES_MAX, "{start:?}");
        }
        self.overtaking = if lane == best && worst > best {
            self.overtaking + 1
        } else {
            0
        };
        self.waiting.remove(&start.job);
        self.running.insert(start.job, (start.meter, link));
    }
}

#[test]
fn random_traffic_keeps_the_rules() {
    for seed in 0..20 {
        let mut rng = Rng::seed_from_u64(seed);
        let mut draw = |below: u64| rng.next_u64() % below;
        let limits = (1 + draw(6) as u32, 1 + draw(3) as u32);
        let mut schedule = Schedule::new(config(limits.0, limits.1), Seed::new(seed));
        let mut model = Model {
            limits,
            links: BTreeMap::new(),
            down: BTreeSet::new(),
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            ended: BTreeSet::new(),
            overtaking: 0,
        };
        let mut now = at(0);
        let mut submitted = 0_u64;
        for meter in 0..12 {
            let link = LinkId(draw(4) as u32);
            schedule.handle_meter(MeterId(meter), link);
            model.links.insert(MeterId(meter), link);
        }
        for step in 0..800 {
            let winding_up = step >= 600;
            match draw(10) {
                0..=3 if !winding_up => {
                    let meter = MeterId(draw(12) as u32);
                    let lane = Lane::ALL[draw(4) as usize];
                    let from = now + MINUTE * draw(4) as u32;
                    let deadline = from + MINUTE * (1 + draw(20) as u32);
                    let task = TaskId(submitted);
                    if let Ok(id) = schedule.submit(meter, lane, task, from, deadline, now) {
                        submitted += 1;
                        model.waiting.insert(id, (meter, lane, from, deadline));
                    }
                }
                4 if !winding_up => {
                    let link = LinkId(draw(4) as u32);
                    if model.down.remove(&link) {
                        schedule.handle_link_up(link);
                    } else {
                        model.down.insert(link);
                        schedule.handle_link_down(link);
                    }
                }
                5 if !winding_up => {
                    let (meter, link) = (MeterId(draw(12) as u32), LinkId(draw(4) as u32));
                    model.links.insert(meter, link);
                    schedule.handle_meter(meter, link);
                }
                6 => {
                    now = now + MINUTE * draw(4) as u32;
                    schedule.handle_timeout(now);
                }
                _ => {
                    let count = model.running.len() as u64;
                    if count == 0 {
                        continue;
                    }
                    let nth = draw(count) as usize;
                    let (id, (meter, _)) = model.running.pop_nth(nth);
                    let outcome =
                        [Outcome::Done, Outcome::TryAgain, Outcome::Failed][draw(3) as usize];
                    match outcome {
                        Outcome::Done => {
                            model.ended.insert(TaskId(id.0 - 1));
                        }
                        Outcome::TryAgain => {
                            // When it may start again shows when it does.
                            model.waiting.insert(id, (meter, Lane::Periodic, now, now));
                        }
                        Outcome::Failed => {}
                    }
                    schedule.handle_finished(id, outcome, now);
                }
            }
            for output in drain(&mut schedule) {
                match output {
                    Output::Start(start) => {
                        if start.attempt > 1 {
                            // Its lane and window are unchanged; the wait was the schedule's.
                            model
                                .waiting
                                .insert(start.job, (start.meter, start.lane, now, start.deadline));
                            model.overtaking = u32::MAX; // Not comparable from here on.
                        }
                        if model.overtaking > Schedule::OVERTAKES_MAX {
                            let link = model.links[&start.meter];
                            assert!(model.may_start(start.meter, link), "limits: {start:?}");
                            assert!(now < start.deadline);
                            model.waiting.remove(&start.job);
                            model.running.insert(start.job, (start.meter, link));
                        } else {
                            model.start(&start, now);
                        }
                    }
                    Output::Failed { job, task, .. } => {
                        assert!(model.ended.insert(task), "ends once: {task:?}");
                        model.waiting.remove(&job);
                    }
                    Output::Missed { .. } => panic!("nothing recurs here"),
                }
            }
            let retried = |at: UtcTime, until: UtcTime| at == until;
            let idle = model
                .waiting
                .values()
                .filter(|(_, _, from, deadline)| !retried(*from, *deadline))
                .any(|(meter, _, from, _)| {
                    *from <= now && model.may_start(*meter, model.links[meter])
                });
            assert!(!idle, "seed {seed}: something could start and does not");
        }
        for link in std::mem::take(&mut model.down) {
            schedule.handle_link_up(link);
            for output in drain(&mut schedule) {
                if let Output::Start(start) = output {
                    model.running.insert(start.job, (start.meter, link));
                }
            }
        }
        while !schedule.is_empty() {
            now = now + MINUTE;
            match model.running.pop_first() {
                Some((id, _)) => {
                    model.ended.insert(TaskId(id.0 - 1));
                    schedule.handle_finished(id, Outcome::Done, now);
                }
                None => schedule.handle_timeout(now),
            }
            for output in drain(&mut schedule) {
                match output {
                    Output::Start(start) => {
                        model.running.insert(start.job, (start.meter, LinkId(0)));
                    }
                    Output::Failed { task, .. } => assert!(model.ended.insert(task)),
                    Output::Missed { .. } => panic!("nothing recurs here"),
                }
            }
        }
        assert_eq!(
            model.ended.len() as u64,
            submitted,
            "every job ends: {seed}"
        );
        assert_eq!(schedule.running(), 0);
    }
}

trait PopNth {
    fn pop_nth(&mut self, nth: usize) -> (JobId, (MeterId, LinkId));
}

impl PopNth for BTreeMap<JobId, (MeterId, LinkId)> {
    fn pop_nth(&mut self, nth: usize) -> (JobId, (MeterId, LinkId)) {
        let id = *self.keys().nth(nth).unwrap();
        (id, self.remove(&id).unwrap())
    }
}

#[test]
fn ten_thousand_meters_for_a_day() {
    let mut schedule = Schedule::new(config(200, 8), Seed::new(3));
    let (hour, half) = (MINUTE * 60, MINUTE * 30);
    let half_hourly = Recurrence::new(half, Duration::ZERO, half, MINUTE * 10).unwrap();
    for meter in 0..10_000 {
        schedule.handle_meter(MeterId(meter), LinkId(meter / 100));
        schedule
            .plan(MeterId(meter), RecurrenceId(0), half_hourly, None, at(0))
            .unwrap();
        assert_eq!(starts(&mut schedule).len(), 0);
    }
    // Every session takes two seconds.
    let mut finishing: BTreeSet<(UtcTime, JobId)> = BTreeSet::new();
    let mut done = 0_u32;
    let mut now;
    let end = at(0) + hour * 3;
    loop {
        let next = schedule.wake().utc.unwrap().0;
        let finish = finishing.first().copied();
        let outputs = match finish {
            Some((at, job)) if at <= next => {
                finishing.remove(&(at, job));
                now = at;
                schedule.handle_finished(job, Outcome::Done, now);
                done += 1;
                starts(&mut schedule)
            }
            _ => {
                now = next;
                schedule.handle_timeout(now);
                starts(&mut schedule)
            }
        };
        if now >= end {
            break;
        }
        for start in outputs {
            finishing.insert((now + Duration::from_secs(2), start.job));
        }
    }
    assert!(done >= 60_000 - 200, "{done}: six half hours, none missed");
}
