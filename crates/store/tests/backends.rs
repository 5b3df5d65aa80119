//! One suite for both back ends: what one does, the other does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod world;

use std::collections::BTreeMap;

use gridloom_core::{
    Charge, Currency, Day, MeterId, MilliwattHours, Month, Period, SystemTitle, UtcTime,
};
use gridloom_store::account::{MissingRange, account};
use gridloom_store::backend::{NAME_BYTES_MAX, READ_DAYS_MAX};
use gridloom_store::cells::CELL_BYTES_MAX;
use gridloom_store::{
    Backend, BillRow, CellStore, Checkpoint, CommitBatch, CommitReport, Lsn, MemoryBackend,
    MemoryCells, MeterDay, MeterRow, SqliteBackend, SqliteCells, StoreError, StoredReading,
    Summary,
};
use rusqlite::Connection;
use world::{DAY, PERIOD, day, price, stored};

/// Runs a check on an empty database of each kind.
fn on_both(check: impl Fn(&mut dyn Backend)) {
    eprintln!("in memory");
    check(&mut MemoryBackend::new());
    eprintln!("SQLite");
    let connection = Connection::open_in_memory().unwrap();
    check(&mut SqliteBackend::new(connection).unwrap());
}

fn batch(readings: &[StoredReading], through: u64) -> CommitBatch {
    let mut meter_days: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for stored in readings {
        let reading = &stored.reading;
        let key = (reading.meter, reading.period.day_of(reading.end));
        meter_days.entry(key).or_default().push(*stored);
    }
    CommitBatch {
        meter_days: meter_days
            .into_iter()
            .map(|((meter, day), readings)| MeterDay {
                meter,
                period: PERIOD,
                day,
                readings,
            })
            .collect(),
        checkpoint: checkpoint(through),
        ..CommitBatch::default()
    }
}

fn checkpoint(through: u64) -> Checkpoint {
    Checkpoint {
        through: Lsn(through),
        sealed_before: day(1),
        sealed_through: Lsn(through),
    }
}

fn bill(version: u32, amount_minor: i64) -> BillRow {
    BillRow {
        meter: MeterId(1),
        month: DAY.month(),
        version,
        currency: Currency::new("EUR", 2).unwrap(),
        amount_minor,
        energy: MilliwattHours::new(123_000),
        intervals: 720,
        gaps: 2,
        // Wider than any integer of SQLite.
        charge: Charge::from_pico(-170_141_183_460_469_231_731_687_303_715_884_105_728),
        issued_at: UtcTime::from_secs(1_700_000_000),
    }
}

fn meter(meter: u32, serial: u64, name: &str) -> MeterRow {
    MeterRow {
        meter: MeterId(meter),
        title: SystemTitle::new(*b"GLM", serial),
        name: name.to_owned(),
        phases: 3,
        wrapped_ek: vec![0xEE; 24],
        wrapped_ak: vec![0xAA; 24],
        service_point: "Mill Lane 4".to_owned(),
    }
}

#[test]
fn a_commit_seals_merges_and_repeats_harmlessly() {
    on_both(|backend| {
        let days = DAY..=day(1);
        assert_eq!(backend.checkpoint(), Ok(Checkpoint::NONE));
        let first = batch(
            &[stored(1, 0, 0, 5), stored(1, 0, 2, 5), stored(2, 1, 0, 5)],
            3,
        );
        let report = backend.commit(first.clone()).unwrap();
        assert_eq!((report.sealed, report.blocks, report.reopened), (3, 2, 0));
        assert_eq!(backend.checkpoint(), Ok(checkpoint(3)));

        let again = backend.commit(first).unwrap();
        assert_eq!(
            again,
            CommitReport {
                duplicates: 3,
                ..CommitReport::default()
            }
        );

        let late = [stored(1, 0, 1, 5), stored(1, 0, 2, 6), stored(1, 0, 23, 5)];
        let report = backend.commit(batch(&late, 6)).unwrap();
        assert_eq!((report.sealed, report.blocks, report.reopened), (2, 1, 1));
        assert_eq!(report.conflicts, [late[1]]);

        let readings = backend.readings(MeterId(1), PERIOD, days.clone()).unwrap();
        let expected = [0, 1, 2, 23].map(|slot| stored(1, 0, slot, 5).reading);
        assert_eq!(readings, expected, "the first of slot 2 stays");
        assert_eq!(
            backend.conflicts(MeterId(1), days.clone()),
            Ok(vec![late[1]])
        );
        assert_eq!(backend.conflicts(MeterId(2), days.clone()), Ok(vec![]));
        let audit = backend.audit(MeterId(1)).unwrap();
        assert_eq!(audit.len(), 1);
        assert_eq!((audit[0].day, audit[0].version), (DAY, 2));
        assert_eq!(audit[0].added, [1, 23]);
        assert_eq!(
            backend.readings(MeterId(1), Period::HALF_HOUR, days),
            Ok(vec![])
        );
        let Summary {
            readings,
            blocks,
            conflicts,
            ..
        } = backend.summary().unwrap();
        assert_eq!((readings, blocks, conflicts), (5, 2, 1));
    });
}

#[test]
fn evidence_is_kept_once_and_to_a_bound() {
    on_both(|backend| {
        backend.commit(batch(&[stored(1, 0, 0, 0)], 1)).unwrap();
        for round in 0..2 {
            for watt_hours in 1..=20 {
                let contradiction = batch(&[stored(1, 0, 0, watt_hours)], 1);
                let report = backend.commit(contradiction).unwrap();
                assert_eq!(report.conflicts.len(), 1, "round {round}");
            }
        }
        let kept = backend.conflicts(MeterId(1), DAY..=DAY).unwrap();
        assert_eq!(
            kept,
            (1..=16).map(|wh| stored(1, 0, 0, wh)).collect::<Vec<_>>()
        );
    });
}

#[test]
fn prices_are_decided_once() {
    on_both(|backend| {
        let commit = |backend: &mut dyn Backend, prices: &[_]| {
            backend
                .commit(CommitBatch {
                    prices: prices.to_vec(),
                    ..CommitBatch::default()
                })
                .unwrap()
        };
        // The price of the interval that ends at midnight belongs to the day before.
        let all = [price(0, 0, -5), price(0, 23, 7), price(1, 0, 8)];
        assert_eq!(commit(backend, &all).prices, 3);
        let report = commit(backend, &[price(0, 23, 7), price(1, 0, 9)]);
        assert_eq!(
            (report.prices, report.price_conflicts),
            (0, vec![price(1, 0, 9)])
        );
        assert_eq!(backend.prices(PERIOD, DAY..=DAY), Ok(all[..2].to_vec()));
        assert_eq!(backend.prices(PERIOD, DAY..=day(1)), Ok(all.to_vec()));
        assert_eq!(backend.prices(Period::HALF_HOUR, DAY..=DAY), Ok(vec![]));
    });
}

#[test]
fn a_bill_is_issued_once_per_version() {
    on_both(|backend| {
        let commit = |backend: &mut dyn Backend, bills: &[BillRow]| {
            let bills = bills.to_vec();
            backend
                .commit(CommitBatch {
                    bills,
                    ..CommitBatch::default()
                })
                .unwrap()
        };
        assert_eq!(commit(backend, &[bill(0, 999)]).bills, 1);
        let report = commit(backend, &[bill(0, 999)]);
        assert_eq!(report, CommitReport::default(), "the same again");
        let report = commit(backend, &[bill(0, 1_000), bill(1, 1_000)]);
        assert_eq!(
            (report.bills, report.bills_refused),
            (1, vec![bill(0, 1_000)])
        );
        let held = backend.bills(DAY.month()).unwrap();
        assert_eq!(held, [bill(0, 999), bill(1, 1_000)]);
        assert_eq!(backend.bills(DAY.month().next()), Ok(vec![]));
    });
}

#[test]
fn the_registry_has_one_meter_per_title() {
    on_both(|backend| {
        backend.enrol(meter(2, 20, "two")).unwrap();
        backend.enrol(meter(1, 10, "one")).unwrap();
        backend.enrol(meter(1, 11, "one, exchanged")).unwrap();
        assert_eq!(
            backend.enrol(meter(3, 20, "three")),
            Err(StoreError::TitleTaken {
                title: SystemTitle::new(*b"GLM", 20),
                by: MeterId(2)
            })
        );
        let long = backend.enrol(meter(3, 30, &"x".repeat(NAME_BYTES_MAX + 1)));
        assert!(matches!(
            long,
            Err(StoreError::FieldOutOfBounds { field: "name", .. })
        ));
        let held = backend.meters().unwrap();
        assert_eq!(held, [meter(1, 11, "one, exchanged"), meter(2, 20, "two")]);
        assert!(!format!("{held:?}").contains("238"), "keys are not printed");
    });
}

#[test]
fn another_journal_is_refused_and_changes_nothing() {
    on_both(|backend| {
        backend.commit(batch(&[stored(1, 0, 0, 5)], 9)).unwrap();
        assert_eq!(
            backend.commit(batch(&[stored(1, 0, 1, 5)], 8)),
            Err(StoreError::CheckpointBackwards {
                held: Lsn(9),
                offered: Lsn(8)
            })
        );
        assert_eq!(backend.summary().unwrap().readings, 1);
    });
}

#[test]
fn wide_and_empty_ranges() {
    on_both(|backend| {
        let wide = DAY..=day(i32::try_from(READ_DAYS_MAX).unwrap());
        let days = u64::from(READ_DAYS_MAX) + 1;
        let refused = StoreError::RangeTooLong { days };
        assert_eq!(
            backend.readings(MeterId(1), PERIOD, wide.clone()),
            Err(refused.clone())
        );
        assert_eq!(backend.prices(PERIOD, wide), Err(refused));
        let ends = Day::from_epoch_days(i32::MIN)..=Day::from_epoch_days(i32::MAX);
        assert!(backend.conflicts(MeterId(1), ends).is_err());
        let (from, to) = (day(1), DAY);
        assert_eq!(backend.readings(MeterId(1), PERIOD, from..=to), Ok(vec![]));
        assert_eq!(backend.prices(PERIOD, from..=to), Ok(vec![]));
        assert_eq!(backend.conflicts(MeterId(1), from..=to), Ok(vec![]));
    });
}

#[test]
fn a_month_is_accounted_for_to_the_interval() {
    on_both(|backend| {
        let month = Month::parse("2024-10").unwrap(); // Days 19 997 to 20 027.
        let present = (-3..28).flat_map(|day| (0..24).map(move |slot| (day, slot)));
        let gone = |&(day, slot): &(i32, u16)| {
            matches!((day, slot), (-3, 0) | (0, 22..) | (1, 0..=1) | (27, 23))
        };
        let readings: Vec<_> = present
            .filter(|place| !gone(place))
            .map(|(day, slot)| stored(1, day, slot, 5))
            .collect();
        backend.commit(batch(&readings, 1)).unwrap();
        let held = account(backend, MeterId(1), month, PERIOD).unwrap();
        assert_eq!((held.expected, held.present), (744, 738));
        let range = |first: (i32, u16), last: (i32, u16), count| MissingRange {
            first_end: PERIOD.end_of_slot(day(first.0), first.1),
            last_end: PERIOD.end_of_slot(day(last.0), last.1),
            count,
        };
        assert_eq!(
            held.missing,
            [
                range((-3, 0), (-3, 0), 1),
                range((0, 22), (1, 1), 4),
                range((27, 23), (27, 23), 1)
            ]
        );
        let nobody = account(backend, MeterId(7), month, PERIOD).unwrap();
        assert_eq!((nobody.present, nobody.missing[0].count), (0, 744));
        let last = Month::parse("9999-12").unwrap();
        assert_eq!(
            account(backend, MeterId(1), last, PERIOD).unwrap().expected,
            744
        );
    });
}

#[test]
fn damage_in_the_database_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gridloom.db");
    let open = || Connection::open(&path).unwrap();
    let mut backend = SqliteBackend::new(open()).unwrap();
    backend.commit(batch(&[stored(1, 0, 0, 5)], 1)).unwrap();
    let statements = [
        "UPDATE block SET bytes = zeroblob(9)",
        "UPDATE block SET day = day + 1",
    ];
    for statement in statements {
        open().execute(statement, []).unwrap();
        let read = backend.readings(MeterId(1), PERIOD, DAY..=day(3));
        assert!(
            matches!(read, Err(StoreError::DamagedBlock { .. })),
            "{statement}: {read:?}"
        );
    }
    let merged = backend.commit(batch(&[stored(1, 1, 1, 5), stored(5, 0, 1, 5)], 2));
    assert!(
        matches!(merged, Err(StoreError::DamagedBlock { .. })),
        "{merged:?}"
    );
    assert_eq!(
        backend.summary().unwrap().blocks,
        1,
        "nothing of the commit is there"
    );
    assert_eq!(backend.checkpoint(), Ok(checkpoint(1)));
}

#[test]
fn a_database_opens_again_and_a_newer_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gridloom.db");
    let open = || Connection::open(&path).unwrap();
    let mut backend = SqliteBackend::new(open()).unwrap();
    backend.commit(batch(&[stored(1, 0, 0, 5)], 4)).unwrap();
    let mut cells = SqliteCells::new(open()).unwrap();
    cells.put_many(&[("meter-1", "counter", b"7")]).unwrap();
    drop((backend, cells));

    let backend = SqliteBackend::new(open()).unwrap();
    assert_eq!(backend.checkpoint(), Ok(checkpoint(4)));
    let mode: String = open()
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
    let cells = SqliteCells::new(open()).unwrap();
    assert_eq!(cells.get("meter-1", "counter"), Ok(Some(b"7".to_vec())));
    drop((backend, cells));

    open().pragma_update(None, "user_version", 99).unwrap();
    let refused = SqliteBackend::new(open()).map(drop);
    assert_eq!(
        refused,
        Err(StoreError::NewerSchema {
            found: 99,
            known: 3
        })
    );
}

#[test]
fn cells_are_replaced_together() {
    let connection = Connection::open_in_memory().unwrap();
    let kinds: [Box<dyn CellStore>; 2] = [
        Box::new(MemoryCells::new()),
        Box::new(SqliteCells::new(connection).unwrap()),
    ];
    for mut cells in kinds {
        let first: [(&str, &str, &[u8]); 4] = [
            ("a", "x", b"1"),
            ("a", "y", b"2"),
            ("b", "x", b"3"),
            ("a", "x", b"4"),
        ];
        cells.put_many(&first).unwrap();
        let big = vec![0; CELL_BYTES_MAX + 1];
        let refused = cells.put_many(&[("a", "x", b"5"), ("a", "z", &big)]);
        assert!(
            matches!(refused, Err(StoreError::FieldOutOfBounds { .. })),
            "{refused:?}"
        );
        assert_eq!(
            cells.get("a", "x"),
            Ok(Some(b"4".to_vec())),
            "nothing has changed"
        );
        assert_eq!(cells.get("a", "z"), Ok(None));
        let all = cells.all_of("a").unwrap();
        let expected = [("x", b"4"), ("y", b"2")].map(|(k, v)| (k.to_owned(), v.to_vec()));
        assert_eq!(all, BTreeMap::from(expected));
        assert_eq!(cells.all_of("c"), Ok(BTreeMap::new()));
    }
}
