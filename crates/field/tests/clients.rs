//! Clients read and manage a meter: the real protocol on both sides.

mod support;

use std::time::Duration;

use gridloom_core::ObisCode;
use gridloom_dlms::apdu::{DataAccessResult, MethodDescriptor};
use gridloom_dlms::association::Secret;
use gridloom_dlms::axdr::Data;
use gridloom_dlms::client::{
    Authentication, ClientConfig, ClientError, ClientOutput, Request, Response,
};
use gridloom_dlms::counter::{ReceiveCounter, TransmitCounter};
use gridloom_dlms::security::{KeyEncryptionKey, Keys};
use gridloom_dlms::selection::EntryDescriptor;
use gridloom_field::meter::ConnectionId;
use gridloom_field::{Boot, Client as Role, ClockConfig, Event, Meter, MeterConfig};
use support::session::{
    ASSOCIATION, BLOCK, CLOCK, COUNTER, Counters, IMPORT, LINE, NAME, SECURITY, SWITCH, Session,
    attribute, bench, by_time, capture, client_config, client_config_with, configured, date_time,
    load, moment, refused, rows,
};
use support::{Bench, time};
#[test]
fn the_public_client_reads_the_clock_and_the_counter_and_nothing_else() {
    let mut bench = bench("2013-01-01T10:07:03Z");
    let mut public = Session::role(&mut bench, Role::Public);
    let clock = public.get(&mut bench, attribute(CLOCK, 2)).unwrap();
    assert_eq!(moment(&clock), bench.now.utc);
    let counter = public.get(&mut bench, attribute(COUNTER, 2));
    assert_eq!(counter, Ok(Data::DoubleLongUnsigned(0)));
    let name = public.get(&mut bench, attribute(NAME, 2));
    assert_eq!(name, Ok(Data::OctetString(b"GLM0469853565489".to_vec())));
    let Data::Array(list) = public.get(&mut bench, attribute(ASSOCIATION, 2)).unwrap() else {
        panic!("a list");
    };
    assert_eq!(list.len(), 6);
    for asked in [attribute(IMPORT, 2), attribute(BLOCK, 2)] {
        let refused = refused(public.get(&mut bench, asked));
        assert_eq!(refused, DataAccessResult::ReadWriteDenied);
    }
    public.release(&mut bench);
    assert!(bench.answers.is_empty());

    // Management has spoken meanwhile: its counter is what the public client sees.
    let mut management = Session::role(&mut bench, Role::Management);
    for _ in 0..3 {
        management.get(&mut bench, attribute(CLOCK, 2)).unwrap();
    }
    let counters = management.release(&mut bench);
    let mut public = Session::role(&mut bench, Role::Public);
    let Ok(Data::DoubleLongUnsigned(last)) = public.get(&mut bench, attribute(COUNTER, 2)) else {
        panic!("a counter");
    };
    let mut transmit = counters.transmit;
    assert_eq!(transmit.next(), Ok(last + 1));
}

#[test]
fn a_reader_reads_registers_and_profiles_and_writes_nothing() {
    let mut bench = bench("2013-01-02T00:05:00Z");
    let wrong = ClientConfig {
        authentication: Authentication::Lls(Secret::new(&b"a-wrong1"[..])),
        ..client_config(Role::Reader)
    };
    let error = Session::open(&mut bench, wrong, Counters::new()).err();
    assert!(
        matches!(error, Some(ClientError::Association { .. })),
        "{error:?}"
    );

    let mut reader = Session::role(&mut bench, Role::Reader);
    let import = reader.get(&mut bench, attribute(IMPORT, 2)).unwrap();
    let register = bench.meter.metrology().registers().import.get() / 1_000;
    assert_eq!(
        import,
        Data::DoubleLongUnsigned(register.try_into().unwrap())
    );
    let unit = reader.get(&mut bench, attribute(IMPORT, 3)).unwrap();
    assert_eq!(
        unit,
        Data::Structure(vec![Data::Integer(0), Data::Enum(30)])
    );

    // A day in blocks: ninety-six rows of eleven columns are far above 512 bytes.
    let sent = reader.sent;
    let whole = rows(reader.get(&mut bench, attribute(BLOCK, 2)).unwrap());
    assert!(reader.sent - sent > 10, "by blocks: {}", reader.sent - sent);
    assert_eq!(whole.len(), 96);
    let profile: Vec<_> = bench.meter.profile().iter().copied().collect();
    for (row, entry) in whole.iter().zip(&profile) {
        assert_eq!(row.len(), 11);
        assert_eq!(moment(&row[0]), entry.end());
        assert_eq!(row[1], Data::Unsigned(entry.status().0));
        let [energies @ .., voltage] = entry.values().to_array();
        for (value, milli) in row[2..9].iter().zip(energies) {
            let units = u32::try_from(milli / 1_000).unwrap();
            assert_eq!(*value, Data::DoubleLongUnsigned(units));
        }
        assert_eq!(
            row[9],
            Data::LongUnsigned((voltage / 100).try_into().unwrap())
        );
        let register = entry.import_register().get() / 1_000;
        assert_eq!(
            row[10],
            Data::DoubleLongUnsigned(register.try_into().unwrap())
        );
    }
    let in_use = reader.get(&mut bench, attribute(BLOCK, 7));
    assert_eq!(in_use, Ok(Data::DoubleLongUnsigned(96)));

    // By range: both ends are in it; columns in the order asked for.
    let selected = vec![capture(IMPORT, 2), capture(CLOCK, 2)];
    let (from, to) = ("2013-01-01T06:00:00Z", "2013-01-01T07:00:00Z");
    let part = |selected| Some(by_time(from, to, selected));
    let all = reader.get_part(&mut bench, attribute(BLOCK, 2), part(vec![]));
    assert_eq!(rows(all.unwrap()), whole[23..28]);
    let two = rows(
        reader
            .get_part(&mut bench, attribute(BLOCK, 2), part(selected))
            .unwrap(),
    );
    for (row, whole) in two.iter().zip(&whole[23..28]) {
        assert_eq!(*row, [whole[10].clone(), whole[0].clone()]);
    }
    // By entry, from 1; zero is the last one.
    let entries = |from, to, from_column, to_column| {
        Some(
            EntryDescriptor {
                from,
                to,
                from_column,
                to_column,
            }
            .to_access(),
        )
    };
    let some = reader.get_part(&mut bench, attribute(BLOCK, 2), entries(95, 0, 1, 0));
    assert_eq!(rows(some.unwrap()), whole[94..]);
    let some = reader.get_part(&mut bench, attribute(BLOCK, 2), entries(1, 2, 3, 4));
    assert_eq!(rows(some.unwrap()), [&whole[0][2..4], &whole[1][2..4]]);
    let none = reader.get_part(&mut bench, attribute(BLOCK, 2), entries(97, 200, 1, 0));
    assert_eq!(none, Ok(Data::Array(vec![])));
    let strange = Some(by_time(from, to, vec![capture(CLOCK, 3)]));
    for (part, expected) in [
        (entries(0, 1, 1, 0), DataAccessResult::ScopeOfAccessViolated),
        (
            entries(1, 2, 12, 0),
            DataAccessResult::ScopeOfAccessViolated,
        ),
        (strange, DataAccessResult::ScopeOfAccessViolated),
    ] {
        let answer = reader.get_part(&mut bench, attribute(BLOCK, 2), part.clone());
        assert_eq!(refused(answer), expected, "{part:?}");
    }

    let to_clock = date_time("2013-06-01T00:00:00Z");
    let answer = reader.set(&mut bench, attribute(CLOCK, 2), to_clock);
    assert!(answer.is_err(), "{answer:?}");
    let answer = reader.invoke(&mut bench, BLOCK, 1, Data::Integer(0));
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(bench.meter.clock().time_at(bench.now.utc), bench.now.utc);
}

#[test]
fn management_sets_the_clock_and_the_profile_says_so() {
    let mut bench = bench("2013-01-01T10:07:00Z");
    let mut management = Session::role(&mut bench, Role::Management);
    let answer = management.set(
        &mut bench,
        attribute(CLOCK, 2),
        date_time("2013-01-01T10:09:00Z"),
    );
    assert_eq!(answer, Ok(Response::Written));
    let shown = management.get(&mut bench, attribute(CLOCK, 2)).unwrap();
    assert_eq!(moment(&shown), time("2013-01-01T10:09:00Z"));
    assert!(
        bench
            .events
            .iter()
            .any(|event| matches!(event, Event::ClockSet(step) if step.millis() == 120_000)),
        "{:?}",
        bench.events
    );
    // Over the end of the running interval, and back into it.
    let answer = management.set(
        &mut bench,
        attribute(CLOCK, 2),
        date_time("2013-01-01T11:01:00Z"),
    );
    assert_eq!(answer, Ok(Response::Written));
    let answer = management.set(
        &mut bench,
        attribute(CLOCK, 2),
        date_time("2013-01-01T10:00:00Z"),
    );
    assert_eq!(answer, Ok(Response::Written));
    // A small correction marks nothing.
    bench.run_until(bench.now.utc + Duration::from_secs(7_200));
    let answer = management.invoke(&mut bench, CLOCK, 6, Data::Long(5));
    assert_eq!(answer, Ok(Response::Invoked(None)));
    bench.run_until(bench.now.utc + Duration::from_secs(7_200));

    let adjusted = gridloom_core::ReadingStatus::CLOCK_ADJUSTED;
    let profile = bench.meter.profile();
    let marked: Vec<String> = profile
        .iter()
        .filter(|entry| entry.status().contains(adjusted))
        .map(|entry| entry.end().to_string())
        .collect();
    // The first was closed by the step over its end; the second began with that step and went
    // on through the step back, for an hour and a quarter.
    let expected = ["2013-01-01T10:15:00Z", "2013-01-01T11:15:00Z"];
    assert_eq!(marked, expected.map(|end| time(end).to_string()));
    assert!(
        profile
            .iter()
            .map(|entry| entry.end())
            .is_sorted_by(|a, b| a < b),
        "no interval is named twice"
    );
    // No energy is lost: the intervals sum up to the register.
    let sum: i64 = profile
        .iter()
        .map(|entry| entry.values().import.get())
        .sum();
    let register = profile.newest().unwrap().import_register().get();
    assert_eq!(sum, register);

    for (value, expected) in [
        (Data::Null, DataAccessResult::TypeUnmatched),
        (
            date_time("2012-12-01T00:00:00Z"),
            DataAccessResult::OtherReason,
        ),
    ] {
        let answer = management.set(&mut bench, attribute(CLOCK, 2), value);
        assert_eq!(refused(answer), expected);
    }
    // What was set is there after a restart, by its own memory.
    let shown = bench.meter.clock().time_at(bench.now.utc);
    assert_ne!(shown, bench.now.utc);
    bench.restart(configured(), load(), Boot::Reset);
    assert_eq!(bench.meter.clock().time_at(bench.now.utc), shown);
    let again = bench.meter.profile().iter().count();
    assert!(again > 40);
}

#[test]
fn a_crash_between_any_two_effects_never_answers_what_is_not_durable() {
    let set = || Request::Set {
        attribute: attribute(CLOCK, 2),
        access: None,
        value: date_time("2013-01-01T03:20:00Z"),
    };
    // What is changed in the state cell, and what is in a cell of its own.
    let disconnect = || Request::Invoke {
        method: MethodDescriptor {
            class_id: SWITCH.0,
            instance: ObisCode(SWITCH.1),
            method: 1,
        },
        parameters: Some(Data::Integer(0)),
    };
    let is_set = |bench: &mut Bench| {
        bench.meter.clock().time_at(bench.now.utc) == time("2013-01-01T03:20:00Z")
    };
    let is_disconnected = |bench: &mut Bench| {
        let mut reader = Session::role(bench, Role::Reader);
        reader.get(bench, attribute(SWITCH, 2)) == Ok(Data::Boolean(false))
    };
    type Case = (fn() -> Request, fn(&mut Bench) -> bool);
    let cases: [Case; 2] = [(set, is_set), (disconnect, is_disconnected)];
    for (request, is_done) in cases {
        let (mut answered, mut undone) = (0, 0);
        for crash_after in 0..18 {
            let mut bench = bench("2013-01-01T03:07:00Z");
            let mut management = Session::role(&mut bench, Role::Management);
            management.client.request(request(), bench.now.instant);
            let answer = first_effects(&mut bench, &mut management, crash_after);
            bench.restart(configured(), load(), Boot::Reset);
            bench.settle();
            let done = is_done(&mut bench);
            assert!(done || !answer, "answered after {crash_after} effects");
            answered += usize::from(answer);
            undone += usize::from(!done);
        }
        assert!(answered > 5 && undone >= 2, "{answered} {undone}");
    }
}

/// Lets `count` effects happen, one at a time: an APDU, a write, an answer. Says whether the
/// answer was among them.
fn first_effects(bench: &mut Bench, session: &mut Session, count: usize) -> bool {
    for _ in 0..count {
        if bench.answers.pop_front().is_some() {
            return true;
        }
        match session.client.poll_output() {
            Some(ClientOutput::Send(apdu)) => {
                bench
                    .meter
                    .handle_client_apdu(LINE, session.sap, &apdu, bench.now);
                bench.drain();
                assert!(bench.answers.is_empty(), "before anything is durable");
            }
            Some(ClientOutput::Reserve(upper)) => session.client.handle_reserved(upper),
            Some(other) => panic!("{other:?}"),
            None => {
                if bench.write_one() {
                    bench.drain();
                }
            }
        }
    }
    false
}

#[test]
fn keys_are_transferred_and_outlive_a_restart() {
    let mut bench = bench("2013-01-01T01:07:00Z");
    let master = KeyEncryptionKey::new([0x77; 16]);
    let (encryption, authentication) = ([0xE1; 16], [0xA1; 16]);
    let mut management = Session::role(&mut bench, Role::Management);
    let transfer = |keys: &[(u8, [u8; 16])]| {
        let keys = keys.iter().map(|(id, key)| {
            let wrapped = master.wrap(key).to_vec();
            Data::Structure(vec![Data::Enum(*id), Data::OctetString(wrapped)])
        });
        Data::Array(keys.collect())
    };
    let broken = Data::Array(vec![Data::Structure(vec![
        Data::Enum(0),
        Data::OctetString(vec![1; 24]),
    ])]);
    let answer = management.invoke(&mut bench, SECURITY, 2, broken);
    assert!(matches!(answer, Err(ClientError::Method(..))), "{answer:?}");
    let both = transfer(&[(0, encryption), (2, authentication)]);
    let answer = management.invoke(&mut bench, SECURITY, 2, both);
    assert_eq!(answer, Ok(Response::Invoked(None)));

    for restarted in [false, true] {
        if restarted {
            bench.restart(configured(), load(), Boot::Reset);
            bench.settle();
        }
        let old = Session::open(&mut bench, client_config(Role::Management), Counters::new());
        let error = old.err().expect("the old keys are no longer believed");
        assert!(!error.to_string().is_empty());
        bench.meter.handle_client_disconnected(LINE, bench.now);
        bench.settle();
        let config = client_config_with(Role::Management, Keys::new(encryption, authentication));
        let mut transmit = TransmitCounter::resume(if restarted { 5_000 } else { 0 });
        let upper = transmit.reservation_due().unwrap();
        transmit.reserved(upper);
        let counters = Counters {
            transmit,
            receive: ReceiveCounter::new(),
        };
        let mut new = Session::open(&mut bench, config, counters).unwrap();
        new.get(&mut bench, attribute(CLOCK, 2)).unwrap();
        let transactions = (1, [0, 0, 96, 11, 3, 255]);
        let code = new.get(&mut bench, attribute(transactions, 2));
        assert_eq!(code, Ok(Data::LongUnsigned(164)), "the change is logged");
        new.release(&mut bench);
        bench.meter.handle_client_disconnected(LINE, bench.now);
        bench.settle();
    }
}

#[test]
fn a_clock_that_is_wrong_is_read_wrong_and_synchronised() {
    let config = MeterConfig {
        clock: ClockConfig {
            offset_ms: -90_000,
            drift_ppb: 50_000,
            time_zone: -330,
        },
        ..configured()
    };
    let mut bench = Bench::new(config, load(), "2013-01-01T00:00:00Z");
    bench.settle();
    bench.run_until(time("2013-01-02T00:00:00Z"));
    let mut management = Session::role(&mut bench, Role::Management);
    let shown = management.get(&mut bench, attribute(CLOCK, 2)).unwrap();
    // Ninety seconds behind, and 4.32 s gained in a day; India is five and a half hours ahead.
    let behind = moment(&shown).as_millis() - bench.now.utc.as_millis();
    assert_eq!(behind, -85_680);
    let Data::OctetString(bytes) = shown else {
        panic!("a time");
    };
    assert_eq!(bytes[5..8], [5, 28, 34]);
    assert_eq!(bytes[9..11], (-330_i16).to_be_bytes());
    let answer = management.set(
        &mut bench,
        attribute(CLOCK, 2),
        date_time("2013-01-02T00:00:00Z"),
    );
    assert_eq!(answer, Ok(Response::Written));
    assert_eq!(bench.meter.clock().time_at(bench.now.utc), bench.now.utc);
    // Its intervals end on its own quarter hours.
    let ends: Vec<i64> = bench
        .meter
        .profile()
        .iter()
        .map(|entry| entry.end().as_secs() % 900)
        .collect();
    assert!(ends.len() >= 95 && ends.iter().all(|rest| *rest == 0));
}

#[test]
fn connections_are_bounded_and_end_with_supply() {
    let mut bench = bench("2013-01-01T00:07:00Z");
    for number in 0..6 {
        bench
            .meter
            .handle_client_connected(ConnectionId(number), bench.now);
        bench.settle();
    }
    assert_eq!(bench.disconnected, [ConnectionId(4), ConnectionId(5)]);
    bench
        .meter
        .handle_client_disconnected(ConnectionId(0), bench.now);
    bench.settle();
    let mut public = Session::role(&mut bench, Role::Public);
    bench.meter.handle_power_off(bench.now);
    bench.settle();
    let before = bench.disconnected.len();
    public.client.request(
        Request::Get {
            attribute: attribute(CLOCK, 2),
            access: None,
        },
        bench.now.instant,
    );
    public.talk(&mut bench);
    assert_eq!(
        bench.disconnected.len(),
        before + 1,
        "dark meters serve nobody"
    );
}

/// The meter's own size; what it shares with its kind, the tables, is counted once for all.
#[test]
fn a_meter_at_rest_is_small() {
    let bytes = size_of::<Meter>();
    assert!(bytes <= 4_160, "{bytes}");
}
