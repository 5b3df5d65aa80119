//! One suite for both implementations of the operations' tables.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;

use gridloom_core::{MeterId, SystemTitle, UtcTime};
use gridloom_store::operations::{CHANGES_PER_BATCH_MAX, GROUPS_PER_METER_MAX};
use gridloom_store::{
    AuditHead, Backend, Batch, Change, ClientRole, CounterRow, DeviceLink, DeviceRow, DeviceState,
    Direction, KeyId, KeyKind, KeyRow, KeyState, MasterRow, MemoryOperations, MeterRow,
    OperationsStore, Refused, Rewrap, SqliteBackend, SqliteOperations, StoreError, Transport,
    Verifier, WhichWork, WorkKind, WorkRow,
};
use rusqlite::Connection;

fn on_both(check: impl Fn(&mut dyn OperationsStore)) {
    eprintln!("in memory");
    check(&mut MemoryOperations::new());
    eprintln!("SQLite");
    let connection = Connection::open_in_memory().unwrap();
    check(&mut SqliteOperations::new(connection).unwrap());
}

fn one(store: &mut dyn OperationsStore, changes: Vec<Change>) -> Result<(), Refused> {
    store.commit(&[Batch::new(changes)]).unwrap().remove(0)
}

fn device(meter: u32) -> DeviceRow {
    DeviceRow {
        meter: MeterId(meter),
        title: title(meter),
        serial: format!("S{meter}"),
        name: format!("Mill Lane {meter}"),
        state: DeviceState::Enrolled,
        link: DeviceLink {
            transport: Transport::HdlcTcp,
            address: format!("10.0.0.{meter}:4059"),
            server: 1,
            physical: 17,
        },
        roles: vec![
            ClientRole {
                client: 16,
                mechanism: 0,
                suite: None,
            },
            ClientRole {
                client: 1,
                mechanism: 5,
                suite: Some(0),
            },
        ],
        template: "standard".into(),
        groups: BTreeSet::from(["north".into(), "pilot".into()]),
        service_point: "SP".into(),
        phases: 3,
        fuse_a: 100,
        voltage_v: 230,
        retired_at: None,
    }
}

fn title(serial: u32) -> SystemTitle {
    SystemTitle::new(*b"GLM", serial.into())
}

fn key(number: u64, meter: u32, state: KeyState) -> KeyRow {
    KeyRow {
        key: KeyId(number),
        meter: MeterId(meter),
        kind: KeyKind::UnicastEncryption,
        client: 0,
        state,
        master: 1,
        wrapped: vec![7; 24],
        made_at: UtcTime::from_secs(1_700_000_000),
    }
}

fn counter(number: u64, value: u32) -> CounterRow {
    CounterRow {
        key: KeyId(number),
        direction: Direction::Transmit,
        title: title(9),
        value,
    }
}

fn work(number: u64, meter: Option<u32>, state: &[u8]) -> WorkRow {
    WorkRow {
        kind: WorkKind::Rotation,
        number,
        meter: meter.map(MeterId),
        state: state.to_vec(),
        is_finished: false,
        changed_at: UtcTime::from_secs(5),
    }
}

#[test]
fn devices_are_kept_and_share_nothing_while_in_service() {
    on_both(|store| {
        let (a, b) = (device(1), device(2));
        one(
            store,
            vec![Change::Device(a.clone()), Change::Device(b.clone())],
        )
        .unwrap();
        assert_eq!(store.devices().unwrap(), [a.clone(), b.clone()]);

        type Case = (&'static str, fn(&mut DeviceRow));
        let cases: [Case; 3] = [
            ("title", |row| row.title = title(1)),
            ("serial", |row| row.serial = "S1".into()),
            ("address", |row| row.link = device(1).link),
        ];
        for (name, change) in cases {
            let mut row = b.clone();
            row.name = "not kept".into();
            change(&mut row);
            let refused = one(store, vec![Change::Device(row.clone())]).unwrap_err();
            assert!(
                matches!(refused, Refused::Taken { field, by: MeterId(1), .. } if field == name),
                "{refused}"
            );
            assert_eq!(store.devices().unwrap()[1], b);
            // A retired meter neither takes nor holds anything.
            row.state = DeviceState::Retired;
            one(store, vec![Change::Device(row)]).unwrap();
            one(store, vec![Change::Device(b.clone())]).unwrap();
        }

        let mut gone = a;
        gone.state = DeviceState::Retired;
        gone.groups.clear();
        let mut heir = device(3);
        (heir.title, heir.serial, heir.link) = (gone.title, gone.serial.clone(), gone.link.clone());
        one(
            store,
            vec![Change::Device(gone.clone()), Change::Device(heir.clone())],
        )
        .unwrap();
        assert_eq!(store.devices().unwrap(), [gone, b, heir]);

        let mut wide = device(4);
        wide.groups = (0..=GROUPS_PER_METER_MAX).map(|n| n.to_string()).collect();
        let refused = one(store, vec![Change::Device(wide)]).unwrap_err();
        assert!(matches!(
            refused,
            Refused::FieldOutOfBounds {
                field: "groups",
                ..
            }
        ));
    });
}

#[test]
fn a_refused_batch_changes_nothing_and_harms_no_other() {
    on_both(|store| {
        let good = Batch::new(vec![
            Change::Device(device(1)),
            Change::Key(key(1, 1, KeyState::Current)),
            Change::Counter(counter(1, 10)),
            Change::Audit(b"first".to_vec()),
        ]);
        let bad = Batch::new(vec![
            Change::Audit(b"never".to_vec()),
            Change::Device(device(2)),
            Change::Key(key(2, 2, KeyState::Current)),
            Change::Counter(counter(2, 5)),
            Change::Counter(counter(1, 11)),
            Change::Work(work(1, None, b"x")),
            Change::Master(MasterRow {
                version: 1,
                check: [1; 24],
                since: UtcTime::from_secs(1),
                is_retired: false,
            }),
            Change::Rewrap(Rewrap {
                key: KeyId(1),
                from: 1,
                to: 2,
                wrapped: vec![8; 24],
            }),
            Change::Counter(counter(1, 10)),
        ]);
        let last = Batch::new(vec![Change::Audit(b"second".to_vec())]);
        let answers = store.commit(&[good, bad, last]).unwrap();
        let lowered = Refused::CounterLowered {
            key: KeyId(1),
            direction: Direction::Transmit,
            title: title(9),
            held: 11,
            offered: 10,
        };
        assert_eq!(answers, [Ok(()), Err(lowered), Ok(())]);
        assert_eq!(store.devices().unwrap(), [device(1)]);
        assert_eq!(store.keys(None).unwrap(), [key(1, 1, KeyState::Current)]);
        assert_eq!(store.counters(None).unwrap(), [counter(1, 10)]);
        assert_eq!(store.masters().unwrap(), []);
        assert_eq!(
            store.work(WorkKind::Rotation, WhichWork::Unfinished),
            Ok(vec![])
        );
        let log = store.audit_log(0, 10).unwrap();
        let records: Vec<_> = log.iter().map(|entry| entry.record.as_slice()).collect();
        assert_eq!(records, [b"first".as_slice(), b"second"]);
        // A title that only the refused batch had is free.
        let mut other = device(3);
        other.title = title(2);
        one(store, vec![Change::Device(other)]).unwrap();

        let large = vec![Change::Audit(Vec::new()); CHANGES_PER_BATCH_MAX + 1];
        assert!(one(store, large).is_err());
    });
}

#[test]
fn a_key_lives_forward_only() {
    on_both(|store| {
        let put = |store: &mut dyn OperationsStore, row: KeyRow| one(store, vec![Change::Key(row)]);
        assert_eq!(store.next_key(), Ok(KeyId(1)));
        put(store, key(1, 1, KeyState::Current)).unwrap();
        put(store, key(2, 1, KeyState::Pending)).unwrap();
        assert_eq!(store.next_key(), Ok(KeyId(3)));
        for state in [KeyState::Pending, KeyState::Current] {
            let refused = put(store, key(3, 1, state)).unwrap_err();
            assert!(
                matches!(refused, Refused::KeyTwice { by, .. } if by.0 <= 2),
                "{refused}"
            );
        }
        // Another client's, kind's or meter's key is another matter.
        let mut secret = key(3, 1, KeyState::Current);
        secret.kind = KeyKind::HighLevelSecret;
        secret.client = 1;
        put(store, secret.clone()).unwrap();
        let mut moved = secret.clone();
        moved.meter = MeterId(2);
        assert_eq!(put(store, moved), Err(Refused::KeyNumberTaken(KeyId(3))));

        // Promotion: both in one batch, the old one first.
        let move_on = |key, to| Change::KeyState(KeyId(key), to);
        let promote = [
            move_on(1, KeyState::Previous),
            move_on(2, KeyState::Current),
        ];
        let reversed = promote.iter().rev().cloned().collect();
        assert!(one(store, reversed).is_err());
        one(store, promote.to_vec()).unwrap();
        one(store, vec![move_on(1, KeyState::Retired)]).unwrap();
        let unknown = one(store, vec![move_on(9, KeyState::Retired)]);
        assert_eq!(unknown, Err(Refused::UnknownKey(KeyId(9))));
        let mut retired = key(1, 1, KeyState::Retired);
        retired.wrapped.clear();
        for state in [KeyState::Pending, KeyState::Current, KeyState::Previous] {
            let refused = put(store, key(1, 1, state)).unwrap_err();
            assert!(matches!(refused, Refused::KeyState { .. }), "{refused}");
        }
        let current = key(2, 1, KeyState::Current);
        assert_eq!(
            store.keys(Some(MeterId(1))).unwrap(),
            [retired, current, secret]
        );
        assert_eq!(store.keys(Some(MeterId(2))), Ok(vec![]));
        assert_eq!(store.next_key(), Ok(KeyId(4)));
    });
}

#[test]
fn wrapping_anew_touches_nothing_else() {
    on_both(|store| {
        one(
            store,
            vec![
                Change::Key(key(1, 1, KeyState::Current)),
                Change::Key(key(2, 2, KeyState::Retired)),
            ],
        )
        .unwrap();
        let rewrap = |key: u64, from: u32| {
            vec![Change::Rewrap(Rewrap {
                key: KeyId(key),
                from,
                to: 2,
                wrapped: vec![9; 40],
            })]
        };
        // The key moved on between reading and wrapping anew.
        one(store, vec![Change::Key(key(1, 1, KeyState::Previous))]).unwrap();
        one(store, rewrap(1, 1)).unwrap();
        let row = &store.keys(None).unwrap()[0];
        assert_eq!(
            (row.state, row.master, &row.wrapped),
            (KeyState::Previous, 2, &vec![9; 40])
        );
        for (number, from) in [(1, 1), (2, 1), (3, 1)] {
            let refused = Refused::NotWrappedBy {
                key: KeyId(number),
                from,
            };
            assert_eq!(one(store, rewrap(number, from)), Err(refused));
        }
    });
}

#[test]
fn counters_only_rise() {
    on_both(|store| {
        let unknown = one(store, vec![Change::Counter(counter(1, 1))]);
        assert_eq!(unknown, Err(Refused::UnknownKey(KeyId(1))));
        one(store, vec![Change::Key(key(1, 1, KeyState::Current))]).unwrap();
        for (value, ok) in [
            (0, true),
            (5, true),
            (5, true),
            (4, false),
            (u32::MAX, true),
            (0, false),
        ] {
            let answer = one(store, vec![Change::Counter(counter(1, value))]);
            assert_eq!(answer.is_ok(), ok, "{value}: {answer:?}");
        }
        let received = CounterRow {
            direction: Direction::Receive,
            value: 3,
            ..counter(1, 0)
        };
        one(store, vec![Change::Counter(received)]).unwrap();
        assert_eq!(
            store.counters(Some(KeyId(1))).unwrap(),
            [counter(1, u32::MAX), received]
        );
        assert_eq!(store.counters(Some(KeyId(2))), Ok(vec![]));
    });
}

#[test]
fn finished_work_stays_finished() {
    on_both(|store| {
        let all = [
            work(7, None, b"whole"),
            work(7, Some(0), b"a"),
            work(7, Some(3), b"b"),
            work(8, None, b""),
        ];
        let changes = all.iter().cloned().map(Change::Work).collect();
        one(store, changes).unwrap();
        let read =
            |store: &dyn OperationsStore, which| store.work(WorkKind::Rotation, which).unwrap();
        assert_eq!(read(store, WhichWork::Unfinished), all);
        let finished = WorkRow {
            is_finished: true,
            ..work(8, None, b"done")
        };
        one(store, vec![Change::Work(finished.clone())]).unwrap();
        assert_eq!(read(store, WhichWork::Unfinished), all[..3]);
        assert_eq!(
            read(store, WhichWork::Number(8)),
            std::slice::from_ref(&finished)
        );
        assert_eq!(read(store, WhichWork::Number(7)), all[..3]);
        assert_eq!(
            one(store, vec![Change::Work(finished)]),
            Err(Refused::Finished {
                kind: WorkKind::Rotation,
                number: 8
            })
        );
        assert_eq!(
            store.work(WorkKind::Campaign, WhichWork::Unfinished),
            Ok(vec![])
        );
    });
}

#[test]
fn the_audit_log_is_one_chain() {
    on_both(|store| {
        assert_eq!(store.audit_head(), Ok(AuditHead::EMPTY));
        for number in 0..5_u8 {
            one(store, vec![Change::Audit(vec![number]); 2]).unwrap();
        }
        let mut verifier = Verifier::new(Some(store.audit_head().unwrap()));
        let mut after = 0;
        loop {
            let entries = store.audit_log(after, 3).unwrap();
            let Some(last) = entries.last() else { break };
            after = last.number;
            entries
                .iter()
                .try_for_each(|entry| verifier.check(entry))
                .unwrap();
        }
        assert_eq!(after, 10);
        assert_eq!(
            verifier.finish(),
            store.audit_head().map_err(|_| unreachable!())
        );
    });
}

#[test]
fn master_keys_do_not_change_under_their_version() {
    on_both(|store| {
        let master = |version, check, is_retired| MasterRow {
            version,
            check: [check; 24],
            since: UtcTime::from_secs(3),
            is_retired,
        };
        let put = |store: &mut dyn OperationsStore, row| one(store, vec![Change::Master(row)]);
        put(store, master(1, 1, false)).unwrap();
        put(store, master(2, 2, false)).unwrap();
        put(store, master(1, 1, true)).unwrap();
        let changed = put(store, master(1, 3, false));
        assert_eq!(changed, Err(Refused::MasterChanged(1)));
        assert_eq!(
            store.masters().unwrap(),
            [master(1, 1, true), master(2, 2, false)]
        );
    });
}

#[test]
fn sqlite_itself_refuses_to_forget() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Connection::open(folder.path().join("db")).unwrap();
    let mut store = SqliteOperations::new(open()).unwrap();
    let changes = vec![
        Change::Key(key(1, 1, KeyState::Current)),
        Change::Counter(counter(1, 5)),
        Change::Audit(b"a".to_vec()),
    ];
    one(&mut store, changes).unwrap();
    let intruder = open();
    for statement in [
        "DELETE FROM audit_log",
        "UPDATE audit_log SET record = x'00'",
        "DELETE FROM meter_key",
        "DELETE FROM key_counter",
        "UPDATE key_counter SET value = 4",
    ] {
        assert!(intruder.execute(statement, []).is_err(), "{statement}");
    }
    // What is written stays after the connection is gone.
    drop(store);
    let store = SqliteOperations::new(open()).unwrap();
    assert_eq!(store.counters(None).unwrap(), [counter(1, 5)]);
}

#[test]
fn damaged_rows_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Connection::open(folder.path().join("db")).unwrap();
    let mut store = SqliteOperations::new(open()).unwrap();
    one(
        &mut store,
        vec![
            Change::Device(device(1)),
            Change::Key(key(1, 1, KeyState::Current)),
        ],
    )
    .unwrap();
    open()
        .execute_batch("UPDATE device SET transport = 9; UPDATE meter_key SET kind = 9")
        .unwrap();
    for error in [store.devices().unwrap_err(), store.keys(None).unwrap_err()] {
        assert!(matches!(error, StoreError::DamagedRow { .. }), "{error}");
    }
}

#[test]
fn meters_of_the_first_schema_are_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Connection::open(folder.path().join("db")).unwrap();
    // Back to the first schema, with a meter in it.
    let mut backend = SqliteBackend::new(open()).unwrap();
    for meter in [4, 2] {
        backend
            .enrol(MeterRow {
                meter: MeterId(meter),
                title: title(meter),
                name: format!("House {meter}"),
                phases: 1,
                wrapped_ek: vec![u8::try_from(meter).unwrap(); 24],
                wrapped_ak: vec![0xAA; 24],
                service_point: "SP".into(),
            })
            .unwrap();
    }
    drop(backend);
    open()
        .execute_batch(
            "PRAGMA foreign_keys = off; DROP TABLE device_group; DROP TABLE device;
             DROP TABLE master_key; DROP TABLE key_counter; DROP TABLE meter_key;
             DROP TABLE work; DROP TABLE audit_log; PRAGMA user_version = 1",
        )
        .unwrap();
    let store = SqliteOperations::new(open()).unwrap();
    let devices = store.devices().unwrap();
    let names: Vec<_> = devices.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["House 2", "House 4"]);
    assert_eq!(devices[0].link.endpoint(), "gateway:m2/1/0");
    let keys = store.keys(Some(MeterId(4))).unwrap();
    let kinds: Vec<_> = keys.iter().map(|row| (row.kind, row.state)).collect();
    assert_eq!(
        kinds,
        [
            (KeyKind::UnicastEncryption, KeyState::Current),
            (KeyKind::Authentication, KeyState::Current)
        ]
    );
    assert_eq!(keys[0].wrapped, [4; 24]);
}

#[test]
fn meters_of_the_second_schema_keep_the_service_that_they_counted_as() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Connection::open(folder.path().join("db")).unwrap();
    let mut store = SqliteOperations::new(open()).unwrap();
    one(&mut store, vec![Change::Device(device(1))]).unwrap();
    drop(store);
    open()
        .execute_batch(
            "ALTER TABLE device DROP COLUMN fuse_a; ALTER TABLE device DROP COLUMN voltage_v;
             ALTER TABLE device DROP COLUMN retired_at_millis; PRAGMA user_version = 2",
        )
        .unwrap();
    let mut store = SqliteOperations::new(open()).unwrap();
    let mut row = store.devices().unwrap().remove(0);
    assert_eq!(
        (row.fuse_a, row.voltage_v, row.retired_at),
        (100, 230, None)
    );
    (row.fuse_a, row.voltage_v) = (35, 240);
    row.state = DeviceState::Retired;
    row.retired_at = Some(UtcTime::from_millis(1_700_000_000_123));
    one(&mut store, vec![Change::Device(row.clone())]).unwrap();
    drop(store);
    assert_eq!(
        SqliteOperations::new(open()).unwrap().devices().unwrap(),
        [row]
    );
}

#[test]
fn ten_thousand_reservations_are_one_commit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let mut store = SqliteOperations::new(Connection::open(&path).unwrap()).unwrap();
    let keys = (1..=10_000).map(|n| {
        let meter = u32::try_from(n).unwrap();
        Change::Key(key(n, meter, KeyState::Current))
    });
    one(&mut store, keys.collect()).unwrap();
    // An empty log, to count the commits in it: SQLite synchronises once for each.
    let other = Connection::open(&path).unwrap();
    other
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();

    let batches: Vec<_> = (1..=10_000)
        .map(|n| Batch::new(vec![Change::Counter(counter(n, 1_024))]))
        .collect();
    let answers = store.commit(&batches).unwrap();
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(store.counters(None).unwrap().len(), 10_000);
    assert_eq!(
        commits(&std::fs::read(folder.path().join("db-wal")).unwrap()),
        1
    );
}

/// Commit frames of a write-ahead log: those that state the size of the database.
fn commits(log: &[u8]) -> usize {
    let number = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
    let page = usize::try_from(number(8)).unwrap();
    let frames = (32..log.len()).step_by(24 + page);
    frames.filter(|frame| number(frame + 4) != 0).count()
}
