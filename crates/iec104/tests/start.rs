//! What a controlling station learns when it connects, and by routine.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for one variant"
)]

mod wire;

use gridloom_iec104::{
    Cause, CounterGroup, CounterReading, Cp56Time2a, Delivery, Event, Freeze, Groups,
    Initialization, InitializationReason, LinkStatus, MasterConfig, Notice, Origin, Outcome,
    OutstationConfig, Point, Qcc, Qoi, Quality, Reset, Routine, Task, Value,
};
use wire::{Wire, ioa, seconds, usual_master, usual_station};

#[test]
fn a_start_brings_the_whole_image() {
    let station = usual_station();
    let master = MasterConfig {
        clock: Routine::AtStart,
        counters: Routine::AtStart,
        ..usual_master(1)
    };
    let mut wire = Wire::new(station, master).furnished();
    wire.update(1, Value::Single(true));
    wire.update(8, Value::Float(49.97));
    wire.update(
        90,
        Value::Counter(CounterReading {
            count: 1_234,
            ..CounterReading::default()
        }),
    );
    wire.settle();
    assert_eq!(
        wire.statuses(0),
        [
            LinkStatus::Connecting,
            LinkStatus::Standby,
            LinkStatus::Active
        ]
    );
    let power_on = Initialization {
        reason: InitializationReason::PowerOn,
        changed_parameters: false,
    };
    assert!(wire.events.contains(&Event::Initialized(power_on)));
    let updates = wire.updates();
    let of = |cause| {
        let of_cause = updates.iter().filter(|u| u.transmission.cause == cause);
        let text = of_cause.map(|u| (u.address.get(), u.value, u.quality.is_good()));
        text.collect::<Vec<_>>()
    };
    // The two events come with their times; then everything that is no counter, each once.
    assert_eq!(
        of(Cause::Spontaneous),
        [
            (1, Value::Single(true), true),
            (8, Value::Float(49.97), true)
        ]
    );
    assert!(
        updates
            .iter()
            .all(|u| u.time.is_some() == (u.transmission.cause == Cause::Spontaneous))
    );
    let image = of(Cause::Interrogated(Qoi::STATION));
    let addresses: Vec<u32> = image.iter().map(|(address, ..)| *address).collect();
    assert_eq!(addresses, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(image[0], (1, Value::Single(true), true));
    assert_eq!(image[1], (2, Value::Single(false), false), "never updated");
    let counters = of(Cause::CountersRequested(CounterGroup::GENERAL));
    assert_eq!(counters.len(), 2);
    assert!(matches!(counters[0].1, Value::Counter(r) if r.count == 1_234));
    assert_eq!(wire.clocks, [Cp56Time2a::from_utc(wire::start().utc)]);
    let outcomes: Vec<Outcome> = wire
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Finished(_, outcome) => Some(*outcome),
            _ => None,
        })
        .collect();
    assert_eq!(
        outcomes,
        [Outcome::Confirmed, Outcome::Terminated, Outcome::Terminated]
    );
    wire.run(seconds(10));
    assert_eq!(wire.station.events_waiting(), 0);
}

#[test]
fn routine_is_repeated_with_its_period() {
    let master = MasterConfig {
        interrogation: Routine::Every(seconds(60)),
        counters: Routine::Every(seconds(100)),
        clock: Routine::Never,
        ..usual_master(1)
    };
    let mut wire = Wire::new(usual_station(), master).furnished();
    wire.run(seconds(305));
    let count = |task| {
        let is_task = |event: &&Event| matches!(event, Event::Routine(_, t) if *t == task);
        wire.events.iter().filter(is_task).count()
    };
    assert_eq!(count(Task::Interrogate(Qoi::STATION)), 6);
    assert_eq!(count(Task::Clock), 0);
    let counters = Task::Counters(Qcc {
        counters: CounterGroup::GENERAL,
        freeze: Freeze::Read,
    });
    assert_eq!(count(counters), 4);
}

#[test]
fn groups_reads_and_tests() {
    let mut wire = Wire::usual(1);
    wire.settle();
    wire.update(8, Value::Float(1.5));
    wire.run(seconds(11));
    let group = Qoi::group(2).unwrap();
    wire.events.clear();
    assert_eq!(
        wire.outcome_of(Task::Interrogate(group)),
        Outcome::Terminated
    );
    let addresses: Vec<u32> = wire.updates().iter().map(|u| u.address.get()).collect();
    assert_eq!(addresses, [3, 4, 8]);
    wire.events.clear();
    assert_eq!(wire.outcome_of(Task::Read(ioa(8))), Outcome::Answered);
    let read = wire.updates();
    assert_eq!(read.len(), 1);
    assert_eq!(
        (read[0].value, read[0].transmission.cause),
        (Value::Float(1.5), Cause::Request)
    );
    assert_eq!(
        wire.outcome_of(Task::Read(ioa(99))),
        Outcome::UnknownObjectAddress
    );
    assert_eq!(wire.outcome_of(Task::Test(0xBEEF)), Outcome::Confirmed);
    // There is nothing to break off.
    assert_eq!(
        wire.outcome_of(Task::StopInterrogation(group)),
        Outcome::Refused
    );
}

#[test]
fn counters_freeze_and_start_again() {
    let mut wire = Wire::usual(1);
    let count = |count| {
        Value::Counter(CounterReading {
            count,
            ..CounterReading::default()
        })
    };
    wire.update(90, count(100));
    wire.settle();
    let qcc = |group: Option<u8>, freeze| {
        Task::Counters(Qcc {
            counters: group.map_or(CounterGroup::GENERAL, |g| CounterGroup::of(g).unwrap()),
            freeze,
        })
    };
    let reading = |wire: &Wire, address| {
        let updates = wire.updates();
        let last = updates.iter().rev().find(|u| u.address == ioa(address));
        match last.map(|u| u.value) {
            Some(Value::Counter(reading)) => (reading.count, reading.sequence),
            other => panic!("{other:?}"),
        }
    };
    // Frozen, and spontaneously reported; the running count goes on.
    let freeze = qcc(Some(1), Freeze::FreezeAndReset);
    assert_eq!(wire.outcome_of(freeze), Outcome::Confirmed);
    assert_eq!(reading(&wire, 90), (100, 1));
    assert!(
        wire.updates().iter().all(|u| u.address != ioa(91)),
        "not in the group"
    );
    wire.update(90, count(130));
    let read = qcc(None, Freeze::Read);
    assert_eq!(wire.outcome_of(read), Outcome::Terminated);
    assert_eq!(reading(&wire, 90), (100, 1), "frozen");
    assert_eq!(reading(&wire, 91), (0, 0));
    let freeze = qcc(None, Freeze::Freeze);
    assert_eq!(wire.outcome_of(freeze), Outcome::Confirmed);
    assert_eq!(reading(&wire, 90), (30, 2), "counted from the reset");
    wire.update(90, count(150));
    assert_eq!(
        wire.outcome_of(qcc(None, Freeze::Reset)),
        Outcome::Confirmed
    );
    wire.update(90, count(151));
    assert_eq!(
        wire.outcome_of(qcc(None, Freeze::Freeze)),
        Outcome::Confirmed
    );
    assert_eq!(reading(&wire, 90), (1, 3));
}

#[test]
fn cyclic_and_background_points_come_by_themselves() {
    let station = OutstationConfig {
        cyclic: Some(seconds(10)),
        background: Some(seconds(25)),
        ..usual_station()
    };
    let mut wire = Wire::new(station, usual_master(1));
    let delivery = |spontaneous, cyclic, background| Delivery {
        spontaneous,
        cyclic,
        background,
    };
    for (address, delivery) in [
        (1, delivery(false, true, false)),
        (2, delivery(false, false, true)),
        (3, delivery(false, false, false)),
        (4, delivery(true, true, true)),
    ] {
        let point = Point {
            initial: Value::Scaled(0),
            delivery,
            groups: Groups::NONE,
        };
        wire.station.add_point(ioa(address), point).unwrap();
    }
    wire.settle();
    wire.events.clear();
    for address in 1..=4 {
        wire.update(address, Value::Scaled(9));
    }
    wire.run(seconds(50));
    let count = |cause, address| {
        let of = |u: &&gridloom_iec104::Update| {
            (u.transmission.cause, u.address) == (cause, ioa(address))
        };
        wire.updates().iter().filter(of).count()
    };
    let table = |cause| [1, 2, 3, 4].map(|address| count(cause, address));
    assert_eq!(table(Cause::Periodic), [5, 0, 0, 5]);
    assert_eq!(table(Cause::Background), [0, 2, 0, 2]);
    assert_eq!(table(Cause::Spontaneous), [0, 0, 0, 1]);
}

#[test]
fn a_value_that_does_not_change_is_no_event() {
    let mut wire = Wire::usual(1);
    wire.settle();
    wire.run(seconds(11));
    wire.events.clear();
    wire.update(1, Value::Single(false)); // It was invalid before.
    wire.update(1, Value::Single(false));
    wire.update(1, Value::Single(true));
    wire.run(seconds(1));
    let values: Vec<Value> = wire.updates().iter().map(|u| u.value).collect();
    assert_eq!(values, [Value::Single(false), Value::Single(true)]);
    let refused = wire.station.update(
        ioa(1),
        Value::Scaled(1),
        Quality::GOOD,
        Cp56Time2a::from_utc(wire.now.utc),
        Origin::Process,
        wire.now,
    );
    assert!(refused.unwrap_err().to_string().contains("is Single"));
}

#[test]
fn a_reset_is_announced_and_interrogated_again() {
    let mut wire = Wire::usual(1);
    wire.settle();
    wire.run(seconds(11));
    wire.events.clear();
    assert_eq!(
        wire.outcome_of(Task::Reset(Reset::Process)),
        Outcome::Confirmed
    );
    let remote = Initialization {
        reason: InitializationReason::RemoteReset,
        changed_parameters: true,
    };
    wire.station.restart(remote, wire.now);
    wire.run(seconds(1));
    assert!(wire.events.contains(&Event::Initialized(remote)));
    assert_eq!(wire.updates().len(), 8, "interrogated once more");
    // Waiting events can be forgotten from afar; the twelve under way cannot.
    wire.run(seconds(11));
    wire.cables[0].master_is_slow = true;
    for round in 0..100 {
        wire.update(7, Value::Scaled(round));
    }
    let waiting = wire.station.events_waiting();
    assert_eq!(waiting, 100);
    wire.ask(Task::Reset(Reset::Events));
    wire.run(seconds(1));
    assert!(
        wire.notices
            .iter()
            .any(|notice| matches!(notice, Notice::EventsCleared(88))),
        "{:?}",
        wire.notices
    );
}
