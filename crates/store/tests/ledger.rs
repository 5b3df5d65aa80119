//! The ledger against a disk that does what it is told, or says that it did not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod world;

use gridloom_core::{MeterId, Period, UtcTime};
use gridloom_store::backend::Backend;
use gridloom_store::ledger::{CONFLICTS_OPEN_MAX, PENDING_BYTES_MAX};
use gridloom_store::{
    AppendError, Effect, Ledger, LedgerConfig, Lsn, MemoryBackend, Operation, Outcome, Record,
    RecoverError,
};
use world::{DAY, Disk, PERIOD, day, price, record, stored};

struct World {
    ledger: Ledger,
    disk: Disk,
    backend: MemoryBackend,
}

impl World {
    fn new(config: LedgerConfig) -> Self {
        Self {
            ledger: Ledger::new(config),
            disk: Disk::default(),
            backend: MemoryBackend::new(),
        }
    }

    fn drain(&mut self) {
        while let Some(effect) = self.ledger.poll_effect() {
            let outcome = self.disk.run(effect, &mut self.backend);
            self.ledger.handle(outcome);
        }
    }

    fn append(&mut self, record: Record) -> Lsn {
        self.ledger.append(record).unwrap()
    }
}

#[test]
fn what_is_appended_during_a_write_shares_the_next_one() {
    let mut ledger = Ledger::new(LedgerConfig::default());
    ledger.append(record(1, 0, 0, 5)).unwrap();
    let Some(Effect::WriteJournal {
        offset: 0, through, ..
    }) = ledger.poll_effect()
    else {
        panic!("the first write starts the segment");
    };
    assert_eq!(through, Lsn(1));
    for slot in 1..4 {
        ledger.append(record(1, 0, slot, 5)).unwrap();
    }
    assert_eq!(ledger.poll_effect(), None, "one write is in flight");
    assert_eq!(ledger.durable_through(), Lsn(0), "nothing is durable yet");
    ledger.handle(Outcome::Written { through });
    assert_eq!(ledger.durable_through(), Lsn(1));
    let Some(Effect::WriteJournal { through, .. }) = ledger.poll_effect() else {
        panic!("the rest goes out");
    };
    assert_eq!(through, Lsn(4), "three records share a write");
}

#[test]
fn a_redelivery_is_counted_and_a_contradiction_is_kept() {
    let mut world = World::new(LedgerConfig::default());
    let first = world.append(record(1, 0, 0, 5));
    let mut again = stored(1, 0, 0, 5);
    again.counter = 99;
    assert_eq!(
        world.append(Record::Reading(again)),
        first,
        "a new frame, the same reading"
    );
    let other = world.append(record(1, 0, 0, 6));
    assert_ne!(other, first);
    assert_eq!(
        world.append(record(1, 0, 0, 6)),
        other,
        "the same contradiction again"
    );
    world.append(Record::Price(price(0, 0, 100)));
    world.append(Record::Price(price(0, 0, 100)));
    let decided = price(0, 0, 100);
    assert_eq!(
        world.ledger.append(Record::Price(price(0, 0, 101))),
        Err(AppendError::PriceDecided { decided })
    );
    let stats = world.ledger.stats();
    assert_eq!(
        (stats.appended, stats.duplicates, stats.conflicts),
        (3, 3, 1)
    );
    let open: Vec<_> = world
        .ledger
        .open_readings(MeterId(1), PERIOD, DAY..=DAY)
        .collect();
    assert_eq!(open, [stored(1, 0, 0, 5).reading]);
    assert_eq!(
        world.ledger.open_prices(PERIOD).collect::<Vec<_>>(),
        [decided]
    );

    world.ledger.seal_before(day(1));
    world.drain();
    let days = DAY..=DAY;
    let sealed = world
        .backend
        .readings(MeterId(1), PERIOD, days.clone())
        .unwrap();
    assert_eq!(sealed, [stored(1, 0, 0, 5).reading], "the first stays");
    assert_eq!(
        world.backend.prices(PERIOD, days.clone()).unwrap(),
        [decided]
    );
    let evidence = world.backend.conflicts(MeterId(1), days).unwrap();
    assert_eq!(evidence, [stored(1, 0, 0, 6)]);
    assert_eq!(world.ledger.open_days().count(), 0);
    assert_eq!(world.ledger.open_conflicts().count(), 0);
}

#[test]
fn a_late_reading_makes_a_new_version_at_the_next_seal() {
    let mut world = World::new(LedgerConfig::default());
    world.append(record(1, 0, 0, 5));
    world.append(record(1, 1, 0, 5));
    world.ledger.seal_before(day(1));
    world.drain();
    assert_eq!(world.ledger.open_days().collect::<Vec<_>>(), [day(1)]);
    world.append(record(1, 0, 3, 5));
    world.drain();
    assert_eq!(
        world.backend.summary().unwrap().readings,
        1,
        "it waits for the seal"
    );
    world.ledger.seal_before(day(1));
    world.drain();
    assert_eq!(world.backend.summary().unwrap().readings, 2);
    let audit = world.backend.audit(MeterId(1)).unwrap();
    assert_eq!(audit.len(), 1);
    assert_eq!((audit[0].version, audit[0].added.as_slice()), (2, &[3][..]));
    assert_eq!(world.ledger.checkpoint().sealed_through, Lsn(3));
    assert_eq!(
        world.ledger.checkpoint().through,
        Lsn(1),
        "record 2 is open"
    );
}

#[test]
fn what_cannot_be_stored_is_refused_by_name() {
    let mut ledger = Ledger::new(LedgerConfig::default());
    for millis in [1, i64::MIN, i64::MAX, 3_600_001] {
        let mut off = stored(1, 0, 0, 5);
        off.reading.end = UtcTime::from_millis(millis);
        let refused = ledger.append(Record::Reading(off));
        assert!(
            matches!(refused, Err(AppendError::OffGrid { .. })),
            "{refused:?}"
        );
    }
    let refused = (0..).find_map(|meter| ledger.append(record(meter, 0, 0, 5)).err());
    assert_eq!(refused, Some(AppendError::PendingFull));
    assert!(ledger.stats().pending_bytes < PENDING_BYTES_MAX + 1_024);

    let mut ledger = Ledger::new(LedgerConfig {
        open_readings_max: 400,
        ..LedgerConfig::default()
    });
    let mut refused = None;
    for meter in 0..1_000 {
        while let Some(effect) = ledger.poll_effect() {
            match effect {
                Effect::WriteJournal { through, .. } => ledger.handle(Outcome::Written { through }),
                Effect::TruncateSegment { .. }
                | Effect::Commit(_)
                | Effect::DropSegments { .. } => ledger.handle(Outcome::Failed {
                    what: effect.operation(),
                    error: "no room".to_owned(),
                }),
            }
        }
        if let Err(error) = ledger.append(record(meter, 0, 0, 5)) {
            refused = Some(error);
            break;
        }
    }
    assert_eq!(refused, Some(AppendError::HeadFull { open: 800 }));

    let mut ledger = Ledger::new(LedgerConfig::default());
    for watt_hours in 0..=16 {
        ledger.append(record(0, 0, 0, watt_hours)).unwrap();
    }
    let full = Err(AppendError::ConflictsFull);
    assert_eq!(ledger.append(record(0, 0, 0, 17)), full, "for one interval");
    for meter in 1..=u32::try_from(CONFLICTS_OPEN_MAX).unwrap() - 16 {
        ledger.append(record(meter, 0, 0, 5)).unwrap();
        ledger.append(record(meter, 0, 0, 6)).unwrap();
    }
    ledger.append(record(1, 0, 1, 5)).unwrap();
    assert_eq!(ledger.append(record(1, 0, 1, 6)), full, "in total");
    assert!(
        ledger.append(record(1, 0, 0, 6)).is_ok(),
        "a redelivery of a kept one"
    );
}

#[test]
fn a_failed_write_poisons_and_a_failed_commit_is_tried_again() {
    let mut world = World::new(LedgerConfig::default());
    world.append(record(1, 0, 0, 5));
    world.drain();
    world.ledger.seal_before(day(1));
    let failed = |what| Outcome::Failed {
        what,
        error: "disk full".to_owned(),
    };
    let Some(Effect::Commit(first)) = world.ledger.poll_effect() else {
        panic!("the day is sealed");
    };
    world.ledger.handle(failed(Operation::Commit));
    assert_eq!(world.ledger.poll_effect(), None, "not in a tight loop");
    world.ledger.seal_before(day(1));
    assert_eq!(world.ledger.poll_effect(), Some(Effect::Commit(first)));
    world.ledger.handle(failed(Operation::Commit));

    world.append(record(1, 0, 1, 5));
    assert!(matches!(
        world.ledger.poll_effect(),
        Some(Effect::WriteJournal { .. })
    ));
    world.ledger.handle(failed(Operation::WriteJournal));
    assert_eq!(world.ledger.poisoned(), Some("disk full"));
    assert_eq!(world.ledger.poll_effect(), None);
    let refused = world.ledger.append(record(1, 0, 2, 5));
    assert!(
        matches!(refused, Err(AppendError::Poisoned { .. })),
        "{refused:?}"
    );
    assert_eq!(
        world.ledger.durable_through(),
        Lsn(1),
        "what was durable stays so"
    );
}

#[test]
fn a_straggler_does_not_keep_the_journal_for_ever() {
    let mut world = World::new(LedgerConfig {
        segment_bytes: 1_000,
        segments_max: 4,
        ..LedgerConfig::default()
    });
    // A meter whose clock is years ahead: its day is not sealed for long.
    world.append(record(9, 4_000, 0, 1));
    for days in 0..40 {
        for slot in 0..24 {
            world.append(record(1, days, slot, 5));
            world.drain();
        }
        world.ledger.seal_before(day(days + 1));
        world.drain();
        assert!(
            world.disk.files.len() <= 8,
            "{} segments",
            world.disk.files.len()
        );
    }
    assert_eq!(world.backend.summary().unwrap().readings, 40 * 24 + 1);
}

#[test]
fn an_outgrown_head_commits_its_older_half_early() {
    let mut world = World::new(LedgerConfig {
        open_readings_max: 100,
        commit_readings_max: 10,
        ..LedgerConfig::default()
    });
    for meter in 0..1_000 {
        world.append(record(meter, 0, 0, 5));
        world.drain();
        assert!(world.ledger.stats().open_readings <= 101);
    }
    world.ledger.seal_before(day(1));
    world.drain();
    assert_eq!(world.ledger.stats().open_readings, 0);
    let summary = world.backend.summary().unwrap();
    assert_eq!((summary.readings, summary.blocks), (1_000, 1_000));
    assert_eq!(world.ledger.checkpoint().through, Lsn(1_000));
}

#[test]
fn a_journal_that_does_not_fit_is_refused_by_name() {
    let mut world = World::new(LedgerConfig {
        segment_bytes: 200,
        ..LedgerConfig::default()
    });
    for slot in 0..6 {
        world.append(record(1, 0, slot, 5));
        world.drain();
    }
    let segments = world.disk.segments();
    assert_eq!(segments.len(), 3);
    let recover = |segments: Vec<(u64, Vec<u8>)>| {
        Ledger::recover(LedgerConfig::default(), world.ledger.checkpoint(), segments)
            .map(|(_, recovery)| recovery.records)
    };
    let without = |index: usize| {
        let mut fewer = segments.clone();
        fewer.remove(index);
        fewer
    };
    assert_eq!(recover(segments.clone()), Ok(6));
    assert_eq!(recover(Vec::new()), Ok(0));
    assert_eq!(
        recover(without(0)),
        Err(RecoverError::MissingRecords {
            segment: 2,
            expected: Lsn(1),
            found: Lsn(3)
        })
    );
    assert_eq!(
        recover(without(1)),
        Err(RecoverError::MissingSegment { missing: 2 })
    );

    let mut sealed = world;
    sealed.ledger.seal_before(day(1));
    sealed.drain();
    let lost = Ledger::recover(
        LedgerConfig::default(),
        sealed.ledger.checkpoint(),
        Vec::new(),
    );
    assert_eq!(
        lost.unwrap_err(),
        RecoverError::BehindDatabase {
            ends: Lsn(0),
            known: Lsn(6)
        }
    );
}

#[test]
fn a_recovered_ledger_believes_nothing_before_the_disk_settled() {
    let mut world = World::new(LedgerConfig::default());
    world.append(record(1, 0, 0, 5));
    world.drain();
    let (mut ledger, recovery) = Ledger::recover(
        LedgerConfig::default(),
        world.ledger.checkpoint(),
        world.disk.segments(),
    )
    .unwrap();
    assert_eq!((recovery.records, recovery.torn), (1, None));
    assert_eq!(
        ledger.append(record(1, 0, 0, 5)),
        Ok(Lsn(1)),
        "a redelivery"
    );
    assert_eq!(
        ledger.durable_through(),
        Lsn(0),
        "perhaps it was never synced"
    );
    ledger.append(record(1, 0, 1, 5)).unwrap();
    assert!(matches!(
        ledger.poll_effect(),
        Some(Effect::TruncateSegment { .. })
    ));
    assert_eq!(ledger.poll_effect(), None, "and nothing is written before");
    ledger.handle(Outcome::Truncated);
    assert_eq!(ledger.durable_through(), Lsn(1));
    assert!(matches!(
        ledger.poll_effect(),
        Some(Effect::WriteJournal { .. })
    ));
}

#[test]
fn a_redelivery_between_two_commits_of_a_seal_survives_a_crash() {
    let config = LedgerConfig {
        commit_readings_max: 1,
        ..LedgerConfig::default()
    };
    let mut world = World::new(config);
    world.append(record(1, 1, 0, 5)); // Stays open and holds the checkpoint back.
    world.append(record(1, 0, 0, 5));
    world.append(record(2, 0, 0, 5));
    world.drain();
    world.ledger.seal_before(day(1));
    let effect = world.ledger.poll_effect().unwrap();
    let outcome = world.disk.run(effect, &mut world.backend);
    world.ledger.handle(outcome);
    // Meter 1's day is in the database and forgotten, meter 2's is not.
    assert_eq!(world.append(record(1, 0, 0, 5)), Lsn(4));
    let Some(effect @ Effect::WriteJournal { .. }) = world.ledger.poll_effect() else {
        panic!("the redelivery is written");
    };
    world.disk.run(effect, &mut world.backend);

    let checkpoint = world.backend.checkpoint().unwrap();
    let (ledger, recovery) = Ledger::recover(config, checkpoint, world.disk.segments()).unwrap();
    assert_eq!((recovery.records, recovery.repeated), (3, 1));
    world.ledger = ledger;
    world.ledger.seal_before(day(2));
    world.drain();
    assert_eq!(world.backend.summary().unwrap().readings, 3);
    assert_eq!(
        world.ledger.checkpoint().through,
        Lsn(4),
        "nothing is left open"
    );
}

#[test]
fn every_period_has_its_places() {
    for seconds in [1, 60, 900, 3_600] {
        let period = Period::from_secs(seconds).unwrap();
        for slot in [0, period.per_day() / 2, period.per_day() - 1] {
            let end = DAY.start() + period.duration() * (slot + 1);
            assert_eq!(
                gridloom_store::record::place_of(period, end),
                Some((DAY, slot))
            );
        }
    }
}
