//! Commands: every outcome that a controlling station can meet.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for one variant"
)]

mod wire;

use gridloom_iec104::{
    Cause, Command, CommandTime, Cp56Time2a, Event, MasterError, Normalized, Notice, Order, Origin,
    Outcome, ParameterKind, ParameterValue, Qpa, Qpm, Quality, Request, SelectionEnd, Stage,
    StepDirection, Task, Value,
};
use wire::{User, Wire, ioa, later, seconds};

fn order(address: u32, command: Command) -> Order {
    Order {
        address: ioa(address),
        command,
        qualifier: 0,
        time: CommandTime::Tagged,
    }
}

fn breaker() -> Order {
    order(1_002, Command::Double(true))
}

fn settled() -> Wire {
    let mut wire = Wire::usual(1);
    wire.settle();
    wire.run(seconds(11));
    wire.events.clear();
    wire.notices.clear();
    wire
}

fn ends(wire: &Wire) -> Vec<SelectionEnd> {
    let end = |notice: &Notice| match notice {
        Notice::SelectionEnded(_, end) => Some(*end),
        _ => None,
    };
    wire.notices.iter().filter_map(end).collect()
}

#[test]
fn every_kind_of_command_arrives_as_it_was_given() {
    let commands = [
        (1_001, Command::Single(true), 1),
        (1_003, Command::Step(StepDirection::Lower), 2),
        (1_004, Command::Normalized(Normalized(-7)), 100),
        (1_005, Command::Scaled(-30_000), 0),
        (1_006, Command::Float(0.95), 0),
        (1_007, Command::Bits(0xDEAD_BEEF), 0),
    ];
    for time in [CommandTime::Tagged, CommandTime::Untagged] {
        let mut wire = settled();
        for (address, command, qualifier) in commands {
            let order = Order {
                address: ioa(address),
                command,
                qualifier,
                time,
            };
            let given = wire.now.utc;
            let outcome = wire.outcome_of(Task::Execute(order));
            assert_eq!(outcome, Outcome::Terminated, "{command:?}");
            let (_, request) = wire.requests.pop().unwrap();
            let expected = Request::Command {
                address: ioa(address),
                command,
                qualifier,
                stage: Stage::Execute,
                originator: 3,
                time: (time == CommandTime::Tagged).then(|| Cp56Time2a::from_utc(given)),
            };
            assert_eq!(request, expected);
        }
    }
}

#[test]
fn select_before_operate_in_order() {
    let mut wire = settled();
    assert_eq!(wire.outcome_of(Task::Select(breaker())), Outcome::Confirmed);
    wire.user = User::Slow;
    let id = wire.ask(Task::Execute(breaker()));
    wire.run(seconds(1));
    assert!(wire.events.contains(&Event::Confirmed(id)));
    assert_eq!(wire.outcome(id), None, "it runs");
    assert_eq!(ends(&wire), [SelectionEnd::Executed]);
    // The breaker moves: return information first, then the termination.
    let (token, _) = wire.requests.pop().unwrap();
    let time = Cp56Time2a::from_utc(wire.now.utc);
    let closed = Value::Double(gridloom_iec104::DoublePoint::On);
    wire.station
        .update(
            ioa(3),
            closed,
            Quality::GOOD,
            time,
            Origin::Remote,
            wire.now,
        )
        .unwrap();
    wire.drain();
    wire.station.terminate(token, wire.now);
    wire.drain();
    wire.run(seconds(1));
    assert_eq!(wire.outcome(id), Some(Outcome::Terminated));
    let place = |wanted: fn(&Event) -> bool| wire.events.iter().position(wanted).unwrap();
    let returned = place(
        |event| matches!(event, Event::Update(u) if u.transmission.cause == Cause::ReturnRemote),
    );
    let finished = place(|event| matches!(event, Event::Finished(_, Outcome::Terminated)));
    assert!(returned < finished);
}

#[test]
fn the_termination_waits_behind_an_avalanche() {
    let mut wire = settled();
    wire.user = User::Slow;
    let id = wire.ask(Task::Execute(order(1_001, Command::Single(true))));
    wire.run(seconds(1));
    let (token, _) = wire.requests.pop().unwrap();
    wire.cables[0].master_is_slow = true;
    for number in 1..=400 {
        wire.update(7, Value::Scaled(number));
    }
    let time = Cp56Time2a::from_utc(wire.now.utc);
    let on = Value::Single(true);
    wire.station
        .update(ioa(1), on, Quality::GOOD, time, Origin::Remote, wire.now)
        .unwrap();
    wire.drain();
    wire.station.terminate(token, wire.now);
    wire.drain();
    wire.cables[0].master_is_slow = false;
    wire.run(seconds(1));
    assert_eq!(wire.outcome(id), Some(Outcome::Terminated));
    let updates_before_the_end = wire
        .events
        .iter()
        .take_while(|event| !matches!(event, Event::Finished(..)))
        .filter(|event| matches!(event, Event::Update(_)))
        .count();
    assert_eq!(updates_before_the_end, 401);
}

/// What the station refuses by itself, before its user hears of it.
#[test]
fn refusals_of_the_station() {
    type Prepare = fn(&mut Wire);
    let untagged = |given: Order| Order {
        time: CommandTime::Untagged,
        ..given
    };
    let select = |wire: &mut Wire| {
        let selected = wire.outcome_of(Task::Select(breaker()));
        assert_eq!(selected, Outcome::Confirmed);
    };
    let nothing: Prepare = |_| {};
    let open = order(1_002, Command::Double(false));
    let step = order(1_003, Command::Step(StepDirection::Higher));
    let cases: [(&str, Prepare, Task, Outcome); 16] = [
        (
            "no selection",
            nothing,
            Task::Execute(breaker()),
            Outcome::Refused,
        ),
        (
            "selection of a direct control",
            nothing,
            Task::Select(order(1_001, Command::Single(true))),
            Outcome::Refused,
        ),
        (
            "no such control",
            nothing,
            Task::Execute(order(5_000, Command::Single(true))),
            Outcome::UnknownObjectAddress,
        ),
        (
            "a monitored point is no control",
            nothing,
            Task::Execute(order(1, Command::Single(true))),
            Outcome::UnknownObjectAddress,
        ),
        (
            "another type",
            nothing,
            Task::Execute(order(1_001, Command::Double(true))),
            Outcome::UnknownObjectAddress,
        ),
        (
            "another state than selected",
            select,
            Task::Execute(open),
            Outcome::Refused,
        ),
        (
            "another qualifier than selected",
            select,
            Task::Execute(Order {
                qualifier: 1,
                ..breaker()
            }),
            Outcome::Refused,
        ),
        (
            "one selection at a time",
            select,
            Task::Select(step),
            Outcome::Refused,
        ),
        (
            "the same selection again",
            select,
            Task::Select(breaker()),
            Outcome::Confirmed,
        ),
        (
            "executed without its tag",
            select,
            Task::Execute(untagged(breaker())),
            Outcome::Terminated,
        ),
        (
            "another object, directly",
            select,
            Task::Execute(step),
            Outcome::Terminated,
        ),
        (
            "nothing to cancel",
            nothing,
            Task::Cancel(breaker()),
            Outcome::Refused,
        ),
        (
            "cancel what does not exist",
            nothing,
            Task::Cancel(order(5_000, Command::Single(true))),
            Outcome::UnknownObjectAddress,
        ),
        (
            "no number",
            nothing,
            Task::Execute(order(1_006, Command::Float(f32::NAN))),
            Outcome::Refused,
        ),
        (
            "infinite",
            nothing,
            Task::Execute(untagged(order(1_006, Command::Float(f32::INFINITY)))),
            Outcome::Refused,
        ),
        (
            "the selection has ended",
            |wire| {
                assert_eq!(wire.outcome_of(Task::Select(breaker())), Outcome::Confirmed);
                wire.run(seconds(30));
                assert_eq!(ends(wire), [SelectionEnd::TimedOut]);
            },
            Task::Execute(breaker()),
            Outcome::Refused,
        ),
    ];
    for (what, prepare, task, outcome) in cases {
        let mut wire = settled();
        prepare(&mut wire);
        let asked = wire.requests.len();
        assert_eq!(wire.outcome_of(task), outcome, "{what}");
        let is_asked = wire.requests.len() > asked;
        let passes = matches!(outcome, Outcome::Confirmed | Outcome::Terminated);
        assert_eq!(is_asked, passes, "{what}");
    }
}

#[test]
fn a_selection_is_taken_back() {
    let mut wire = settled();
    assert_eq!(wire.outcome_of(Task::Select(breaker())), Outcome::Confirmed);
    assert_eq!(wire.outcome_of(Task::Cancel(breaker())), Outcome::Confirmed);
    assert_eq!(ends(&wire), [SelectionEnd::Cancelled]);
    let outcome = wire.outcome_of(Task::Execute(breaker()));
    assert_eq!(outcome, Outcome::Refused);
}

#[test]
fn a_selection_ends_with_its_connection() {
    let mut wire = Wire::usual(2);
    wire.settle();
    assert_eq!(wire.outcome_of(Task::Select(breaker())), Outcome::Confirmed);
    wire.cut(0);
    assert_eq!(ends(&wire), [SelectionEnd::LinkLost]);
    wire.run(seconds(1));
    let outcome = wire.outcome_of(Task::Execute(breaker()));
    assert_eq!(outcome, Outcome::Refused);
}

/// A command is believed within ten seconds of its time, either way.
#[test]
fn old_and_early_commands_are_refused() {
    for (off_by, outcome) in [
        (-11, Outcome::Refused),
        (-10, Outcome::Terminated),
        (0, Outcome::Terminated),
        (10, Outcome::Terminated),
        (11, Outcome::Refused),
    ] {
        let mut wire = settled();
        let station_now = wire.now;
        // The master's clock differs from the station's.
        wire.now.utc = gridloom_core::UtcTime::from_secs(station_now.utc.as_secs() + off_by);
        let task = Task::Execute(order(1_001, Command::Single(true)));
        let id = wire.ask(task);
        wire.now = station_now;
        wire.run(seconds(1));
        assert_eq!(wire.outcome(id), Some(outcome), "{off_by} s");
    }
}

#[test]
fn the_user_of_the_station_has_the_last_word() {
    let direct = Task::Execute(order(1_001, Command::Single(true)));
    let mut wire = settled();
    wire.user = User::Unwilling;
    assert_eq!(wire.outcome_of(direct), Outcome::Refused);
    let select = wire.outcome_of(Task::Select(breaker()));
    assert_eq!(select, Outcome::Refused);
    wire.user = User::Willing;
    let outcome = wire.outcome_of(Task::Execute(breaker()));
    assert_eq!(outcome, Outcome::Refused, "never selected");
    // One that says nothing is taken for a no, and may not say yes any more.
    wire.user = User::Silent;
    wire.requests.clear();
    assert_eq!(wire.outcome_within(direct, seconds(6)), Outcome::Refused);
    let (token, _) = wire.requests.pop().unwrap();
    let answer = wire
        .station
        .answer(token, gridloom_iec104::Answer::Confirm, wire.now);
    assert!(answer.unwrap_err().to_string().contains("do not operate"));
    // One that is never done is terminated negatively.
    wire.user = User::Slow;
    assert_eq!(wire.outcome_within(direct, seconds(51)), Outcome::Failed);
}

#[test]
fn the_same_control_is_not_operated_twice_at_once() {
    let mut wire = settled();
    wire.user = User::Slow;
    let first = wire.ask(Task::Execute(order(1_001, Command::Single(true))));
    wire.run(seconds(1));
    // The master sees it; so does the station, when another type of tag comes.
    let again = Task::Execute(order(1_001, Command::Single(false)));
    assert_eq!(wire.master.request(again, wire.now), Err(MasterError::Busy));
    let other = Task::Execute(Order {
        time: CommandTime::Untagged,
        ..order(1_001, Command::Single(false))
    });
    assert_eq!(wire.outcome_of(other), Outcome::Refused);
    assert_eq!(wire.outcome(first), None);
}

#[test]
fn outcomes_that_time_or_the_network_decide() {
    let direct = Task::Execute(order(1_001, Command::Single(true)));
    // Sent, and the network dies.
    let mut wire = settled();
    wire.cables[0].silent = true;
    assert_eq!(
        wire.outcome_within(direct, seconds(11)),
        Outcome::NoConfirmation
    );
    // Confirmed, and the connection breaks.
    let mut wire = settled();
    wire.user = User::Slow;
    let id = wire.ask(direct);
    wire.run(seconds(1));
    wire.cut(0);
    assert_eq!(wire.outcome(id), Some(Outcome::LinkLost));
    let refused = wire.master.request(direct, wire.now);
    assert_eq!(refused, Err(MasterError::NotActive));
    // Never sent, because the window is closed: it is not sent later either.
    let mut wire = settled();
    wire.cables[0].silent = true;
    for number in 0..12 {
        wire.ask(Task::Read(ioa(100 + number)));
    }
    let id = wire.ask(direct);
    wire.run(seconds(11));
    assert_eq!(wire.outcome(id), Some(Outcome::NotSent));
    wire.cables[0].silent = false;
    wire.run(seconds(60));
    assert!(wire.requests.is_empty(), "{:?}", wire.requests);
}

#[test]
fn a_master_takes_so_many_requests_and_no_more() {
    let mut wire = settled();
    wire.cables[0].silent = true;
    for number in 0..64 {
        wire.ask(Task::Read(ioa(1_000 + number)));
    }
    let refused = wire.master.request(Task::Clock, wire.now);
    assert_eq!(refused, Err(MasterError::TooMany));
    wire.run(seconds(20));
    assert!(!wire.master.is_active());
}

#[test]
fn parameters_go_to_the_user() {
    let qualifier = Qpm {
        kind: ParameterKind::Threshold,
        changed_locally: false,
        not_in_operation: false,
    };
    let float = ParameterValue::Float(0.5);
    let mut wire = settled();
    let cases = [
        (
            Task::Parameter(ioa(8), float, qualifier),
            Outcome::Confirmed,
        ),
        // The point at 7 is scaled.
        (
            Task::Parameter(ioa(7), float, qualifier),
            Outcome::UnknownObjectAddress,
        ),
        (
            Task::ParameterActivation(ioa(8), Qpa::Periodic, false),
            Outcome::Confirmed,
        ),
        (
            Task::ParameterActivation(ioa(0), Qpa::Loaded, true),
            Outcome::Confirmed,
        ),
        (
            Task::ParameterActivation(ioa(500), Qpa::Object, true),
            Outcome::UnknownObjectAddress,
        ),
    ];
    for (task, outcome) in cases {
        assert_eq!(wire.outcome_of(task), outcome, "{task:?}");
    }
    let requests: Vec<Request> = wire.requests.iter().map(|(_, r)| r.clone()).collect();
    let expected = [
        Request::Parameter {
            address: ioa(8),
            value: float,
            qualifier,
        },
        Request::ParameterActivation {
            address: ioa(8),
            qualifier: Qpa::Periodic,
            active: false,
        },
        Request::ParameterActivation {
            address: ioa(0),
            qualifier: Qpa::Loaded,
            active: true,
        },
    ];
    assert_eq!(requests, expected);
    wire.user = User::Unwilling;
    assert_eq!(wire.outcome_of(cases[0].0), Outcome::Refused);
}

#[test]
fn a_clock_may_be_refused() {
    let mut station = wire::usual_station();
    station.clock = gridloom_iec104::ClockPolicy::Refuse;
    let mut wire = Wire::new(station, wire::usual_master(1)).furnished();
    wire.settle();
    assert_eq!(wire.outcome_of(Task::Clock), Outcome::Refused);
    assert!(wire.clocks.is_empty());
    assert_eq!(later(wire.now, seconds(0)), wire.now);
}
