//! What is not lost when connections are: events across cuts, switchovers, slow and dead peers.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for one variant"
)]

mod wire;

use gridloom_iec104::{
    Cause, CloseReason, Event, LinkStatus, Notice, OutstationConfig, Qoi, Routine, Task,
    Unnumbered, Update, Value,
};
use wire::{Wire, seconds, usual_master, usual_station};

/// The numbers that came spontaneously from the point at 7, in the order of arrival.
fn arrived(wire: &Wire) -> Vec<i16> {
    let number = |update: Update| match (update.transmission.cause, update.value) {
        (Cause::Spontaneous, Value::Scaled(number)) => {
            assert!(update.time.is_some());
            Some(number)
        }
        _ => None,
    };
    wire.updates().into_iter().filter_map(number).collect()
}

/// Every number came, and none before one that was made earlier, but for repetitions of what was
/// under way when a connection broke.
fn assert_complete(wire: &Wire, count: i16, context: &str) {
    let arrived = arrived(wire);
    let mut next = 1;
    for &number in &arrived {
        assert!(number <= next, "{context}: {number} came before {next}");
        next = next.max(number + 1);
    }
    assert_eq!(next, count + 1, "{context}: {arrived:?}");
}

#[test]
fn a_connection_that_breaks_anywhere_loses_no_event() {
    for octets in 1..700 {
        let mut wire = Wire::usual(1);
        wire.cables[0].breaks_after = Some(octets);
        for number in 1..=20 {
            wire.update(7, Value::Scaled(number));
            wire.run(seconds(1));
        }
        wire.run(seconds(20));
        assert_complete(&wire, 20, &format!("cut after {octets} octets"));
        assert_eq!(wire.station.events_waiting(), 0);
        assert_eq!(wire.station.events_lost(), 0);
    }
}

#[test]
fn connections_that_break_again_and_again_lose_no_event() {
    let mut wire = Wire::usual(2);
    for number in 1..=300_i16 {
        let cable = usize::from(number % 3 == 0);
        wire.cables[cable].breaks_after = Some(usize::from(number.unsigned_abs()) * 7 % 150 + 1);
        wire.update(7, Value::Scaled(number));
        wire.run(seconds(2));
    }
    for cable in &mut wire.cables {
        cable.breaks_after = None;
    }
    wire.run(seconds(40));
    assert_complete(&wire, 300, "two weak cables");
    let downs = wire.statuses(0).into_iter();
    assert!(downs.filter(|s| matches!(s, LinkStatus::Down(_))).count() > 20);
}

#[test]
fn events_wait_while_nobody_is_there_and_keep_their_times() {
    let mut wire = Wire::usual(1);
    wire.cables[0].plugged = false;
    wire.run(seconds(1));
    let mut times = Vec::new();
    for number in 1..=50 {
        times.push(wire.now.utc);
        wire.update(7, Value::Scaled(number));
        wire.run(seconds(60));
    }
    assert_eq!(wire.station.events_waiting(), 50);
    wire.cables[0].plugged = true;
    wire.run(seconds(30));
    assert_complete(&wire, 50, "after the outage");
    let spontaneous = |u: &Update| u.transmission.cause == Cause::Spontaneous;
    let tagged: Vec<_> = wire
        .updates()
        .into_iter()
        .filter(spontaneous)
        .map(|u| u.time.unwrap().to_utc().unwrap())
        .collect();
    assert_eq!(tagged, times);
}

#[test]
fn a_full_buffer_names_what_it_loses() {
    let station = OutstationConfig {
        events_max: 24,
        ..usual_station()
    };
    let mut wire = Wire::new(station, usual_master(1)).furnished();
    wire.cables[0].plugged = false;
    wire.run(seconds(1));
    for number in 1..=30 {
        wire.update(7, Value::Scaled(number));
    }
    let lost = wire.notices.iter().filter_map(|notice| match notice {
        Notice::EventLost { address, total } => Some((address.get(), *total)),
        _ => None,
    });
    let expected: Vec<(u32, u64)> = (1..=6).map(|total| (7, total)).collect();
    assert_eq!(lost.collect::<Vec<_>>(), expected);
    wire.cables[0].plugged = true;
    wire.run(seconds(30));
    assert_eq!(arrived(&wire), (7..=30).collect::<Vec<i16>>());
}

#[test]
fn a_switchover_by_hand_loses_and_repeats_nothing() {
    let mut wire = Wire::usual(2);
    wire.settle();
    for number in 1..=60 {
        wire.update(7, Value::Scaled(number));
        if number % 7 == 0 {
            wire.master.switch_over(wire.now).unwrap();
            wire.drain();
        }
        if number % 2 == 0 {
            wire.run(seconds(1));
        }
    }
    wire.run(seconds(30));
    assert_eq!(arrived(&wire), (1..=60).collect::<Vec<i16>>());
    let of = |link| wire.statuses(link);
    assert!(
        of(0)
            .iter()
            .chain(&of(1))
            .all(|s| !matches!(s, LinkStatus::Down(_)))
    );
    assert_eq!(
        of(1).iter().filter(|s| **s == LinkStatus::Active).count(),
        4
    );
}

#[test]
fn a_dead_network_is_noticed_and_the_standby_takes_over() {
    let mut wire = Wire::usual(2);
    wire.settle();
    // Hours of silence do not end the standby link: both are tested.
    wire.run(seconds(3_600));
    let standby = [LinkStatus::Connecting, LinkStatus::Standby];
    assert_eq!(wire.statuses(1), standby);
    wire.cables[0].silent = true;
    wire.update(7, Value::Scaled(1));
    wire.run(seconds(10));
    assert_eq!(arrived(&wire), [], "nobody knows yet");
    wire.run(seconds(30));
    assert_complete(&wire, 1, "after t3 and t1");
    let down = LinkStatus::Down(CloseReason::NoAnswer(Unnumbered::TestAct));
    assert!(wire.statuses(0).contains(&down), "{:?}", wire.statuses(0));
    assert!(wire.statuses(1).contains(&LinkStatus::Active));
    // Interrogated again on the new connection.
    let interrogated = |u: &&Update| u.transmission.cause == Cause::Interrogated(Qoi::STATION);
    assert_eq!(wire.updates().iter().filter(interrogated).count(), 16);
}

#[test]
fn nothing_but_tests_on_the_standby_link() {
    let mut wire = Wire::usual(2);
    wire.settle();
    wire.update(1, Value::Single(true));
    wire.drain();
    // Only the active connection carries it.
    assert!(!wire.cables[0].to_master.is_empty());
    assert!(wire.cables[1].to_master.is_empty());
    wire.run(seconds(300));
    wire.cut(0);
    wire.update(2, Value::Single(true));
    wire.run(seconds(1));
    let last = *wire.updates().last().unwrap();
    assert_eq!(wire.station.active().unwrap().0, 2);
    assert_eq!(last.transmission.cause, Cause::Interrogated(Qoi::STATION));
}

#[test]
fn a_peer_that_does_not_read_stops_at_k_and_is_given_up_after_t1() {
    let mut wire = Wire::usual(1);
    wire.settle();
    wire.run(seconds(15));
    wire.cables[0].master_is_slow = true;
    for number in 1..=100 {
        wire.update(7, Value::Scaled(number));
        wire.drain();
    }
    // Twelve frames lie in the cable, and no more.
    let starts = |wire: &Wire| {
        let cable = wire.cables[0].to_master.iter();
        cable.filter(|octet| **octet == 0x68).count()
    };
    assert_eq!(starts(&wire), 12);
    wire.run(seconds(14));
    assert!(!wire.notices.iter().any(|n| matches!(n, Notice::Closed(..))));
    wire.run(seconds(2));
    let closed = wire.notices.iter().find_map(|notice| match notice {
        Notice::Closed(_, reason) => Some(*reason),
        _ => None,
    });
    assert!(matches!(closed, Some(CloseReason::NoAcknowledgement(_))));
    wire.cables[0].master_is_slow = false;
    wire.run(seconds(60));
    assert_complete(&wire, 100, "after the slow peer woke up");
}

#[test]
fn a_slow_peer_gets_everything_in_its_own_time() {
    let mut wire = Wire::usual(1);
    wire.settle();
    wire.cables[0].master_is_slow = true;
    for number in 1..=500 {
        wire.update(7, Value::Scaled(number));
        if number % 10 == 0 {
            // Four seconds in the cable and t2 stay below t1.
            wire.run(seconds(4));
            wire.cables[0].master_is_slow = false;
            wire.run(seconds(1));
            wire.cables[0].master_is_slow = true;
        }
    }
    wire.cables[0].master_is_slow = false;
    wire.run(seconds(60));
    assert_eq!(arrived(&wire), (1..=500).collect::<Vec<i16>>());
}

#[test]
fn an_interrogation_and_an_avalanche_share_the_line() {
    let station = usual_station();
    let mut master = usual_master(1);
    master.interrogation = Routine::Never;
    let mut wire = Wire::new(station, master);
    for address in 1..=3_000 {
        let point = gridloom_iec104::Point {
            initial: Value::Scaled(0),
            delivery: gridloom_iec104::Delivery::SPONTANEOUS,
            groups: gridloom_iec104::Groups::NONE,
        };
        wire.station.add_point(wire::ioa(address), point).unwrap();
    }
    wire.settle();
    wire.cables[0].master_is_slow = true;
    for address in 1..=3_000 {
        wire.update(address, Value::Scaled(1));
    }
    let id = wire.ask(Task::Interrogate(Qoi::STATION));
    wire.cables[0].master_is_slow = false;
    wire.run(seconds(1));
    assert_eq!(wire.outcome(id), Some(gridloom_iec104::Outcome::Terminated));
    let causes: Vec<Cause> = wire
        .updates()
        .iter()
        .map(|u| u.transmission.cause)
        .collect();
    let first = |cause| causes.iter().position(|c| *c == cause).unwrap();
    let last = |cause| causes.iter().rposition(|c| *c == cause).unwrap();
    let interrogated = Cause::Interrogated(Qoi::STATION);
    assert!(first(interrogated) < last(Cause::Spontaneous));
    assert!(first(Cause::Spontaneous) < last(interrogated));
    assert_eq!(causes.len(), 6_000);
    assert!(!wire.events.iter().any(|e| matches!(e, Event::Malformed(_))));
}
