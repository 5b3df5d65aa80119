//! Every checker fires: each test damages a settled world in one way, and says who must notice.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

use gridloom_core::{Day, IntervalReading, MeterId, MilliwattHours, Period, Price, SystemTitle};
use gridloom_sim::hosted::Role;
use gridloom_sim::trial::{Settled, Watch};
use gridloom_sim::{Checker, FaultPlan, Trial, Violation, World};
use gridloom_store::{Backend, CommitBatch, MemoryBackend, MeterDay, StoredReading};
use std::time::Duration;

const PERIOD: Period = Period::HALF_HOUR;
const METER: MeterId = MeterId(2);

/// Two quiet days across the end of a month.
fn settled() -> Settled {
    let mut trial = Trial::lossy_feeder();
    trial.faults = FaultPlan::NONE;
    trial.run(5, Watch::Quiet).unwrap()
}

fn days() -> (Day, Day) {
    let first = Day::parse("2026-04-30").unwrap();
    (first, first.next())
}

fn stored(reading: &IntervalReading) -> StoredReading {
    StoredReading {
        reading: *reading,
        title: SystemTitle(*b"GLM00000"),
        counter: 1,
    }
}

/// One way to damage a database.
type Change = fn(&mut CommitBatch);

/// The database written anew, with one change on the way.
fn rewrite(world: &mut World, change: impl FnOnce(&mut CommitBatch)) {
    let meters: Vec<MeterId> = world.town().meters();
    let disk = world.disk_mut(Role::Utility).unwrap();
    let old = disk.database();
    let (first, last) = days();
    let mut batch = CommitBatch {
        prices: old.prices(PERIOD, first..=last).unwrap(),
        bills: old.bills(first.month()).unwrap(),
        checkpoint: old.checkpoint().unwrap(),
        ..CommitBatch::default()
    };
    for meter in meters {
        for day in [first, last] {
            let readings = old.readings(meter, PERIOD, day..=day).unwrap();
            batch.meter_days.push(MeterDay {
                meter,
                period: PERIOD,
                day,
                readings: readings.iter().map(stored).collect(),
            });
        }
    }
    change(&mut batch);
    let mut new = MemoryBackend::new();
    for row in old.meters().unwrap() {
        new.enrol(row).unwrap();
    }
    new.commit(batch).unwrap();
    *disk.database_mut() = new;
}

fn of_meter(batch: &mut CommitBatch) -> &mut Vec<StoredReading> {
    let day = batch.meter_days.iter_mut().find(|day| day.meter == METER);
    &mut day.unwrap().readings
}

#[test]
fn an_untouched_world_passes_also_when_its_database_is_written_anew() {
    let Settled {
        mut world,
        mut checker,
        ..
    } = settled();
    rewrite(&mut world, |_| {});
    checker.check_settled(&world).unwrap();
}

#[test]
fn a_deleted_reading_is_an_acknowledged_one_that_is_lost() {
    let Settled {
        mut world,
        mut checker,
        ..
    } = settled();
    rewrite(&mut world, |batch| {
        of_meter(batch).remove(7);
    });
    let violation = checker.check_safety(&world).unwrap_err();
    assert!(
        matches!(violation, Violation::AcknowledgedLost { meter: METER, .. }),
        "{violation}"
    );
}

#[test]
fn a_reading_in_the_database_and_in_the_journal_is_there_twice() {
    let Settled {
        mut world,
        mut checker,
        ..
    } = settled();
    let today = Day::parse("2026-05-02").unwrap();
    let config = world.ledger_config();
    let disk = world.disk_mut(Role::Utility).unwrap();
    let ledger = disk.ledger(config).unwrap();
    let open = ledger
        .open_readings(METER, PERIOD, today..=today)
        .next()
        .unwrap();
    let batch = CommitBatch {
        meter_days: vec![MeterDay {
            meter: METER,
            period: PERIOD,
            day: today,
            readings: vec![stored(&open)],
        }],
        checkpoint: disk.database().checkpoint().unwrap(),
        ..CommitBatch::default()
    };
    disk.database_mut().commit(batch).unwrap();
    let violation = checker.check_settled(&world).unwrap_err();
    assert_eq!(
        violation,
        Violation::Twice {
            meter: METER,
            end: open.end
        }
    );
}

#[test]
fn a_reading_that_nobody_measured_is_invented() {
    let Settled {
        mut world,
        mut checker,
        ..
    } = settled();
    let today = Day::parse("2026-05-02").unwrap();
    let end = PERIOD.end_of_slot(today, 40);
    rewrite(&mut world, |batch| {
        let mut forged = of_meter(batch)[0];
        forged.reading.end = end;
        batch.meter_days.push(MeterDay {
            meter: METER,
            period: PERIOD,
            day: today,
            readings: vec![forged],
        });
    });
    let violation = checker.check_settled(&world).unwrap_err();
    assert_eq!(violation, Violation::Invented { meter: METER, end });
}

#[test]
fn a_changed_value_differs() {
    let Settled {
        mut world,
        mut checker,
        ..
    } = settled();
    rewrite(&mut world, |batch| {
        let reading = &mut of_meter(batch)[3].reading;
        reading.values.import += MilliwattHours::new(1_000);
    });
    let violation = checker.check_safety(&world).unwrap_err();
    assert!(
        matches!(violation, Violation::Differs { meter: METER, .. }),
        "{violation}"
    );
}

#[test]
fn a_contradiction_is_found() {
    let Settled {
        mut world,
        mut checker,
        ..
    } = settled();
    rewrite(&mut world, |batch| {
        let mut forged = of_meter(batch)[3];
        forged.reading.values.import += MilliwattHours::new(1_000);
        batch.conflicts.push(forged);
    });
    let violation = checker.check_settled(&world).unwrap_err();
    assert_eq!(
        violation,
        Violation::Contradiction {
            meter: METER,
            count: 1
        }
    );
}

#[test]
fn a_changed_and_a_lost_price_are_found() {
    let changes: [Change; 2] = [
        |batch| batch.prices[5].price = Price::parse("0.9").unwrap(),
        |batch| {
            batch.prices.remove(5);
        },
    ];
    for change in changes {
        let Settled {
            mut world,
            mut checker,
            ..
        } = settled();
        rewrite(&mut world, change);
        let violation = checker.check_safety(&world).unwrap_err();
        assert!(
            matches!(violation, Violation::PriceChanged { .. }),
            "{violation}"
        );
    }
}

#[test]
fn a_wrong_and_a_missing_bill_are_found() {
    let changes: [(Change, &str); 3] = [
        (|batch| batch.bills[1].amount_minor += 1, "billed"),
        (
            |batch| {
                batch.bills.remove(1);
            },
            "billed None",
        ),
        (
            |batch| {
                let pico = batch.bills[1].charge.pico() + 1;
                batch.bills[1].charge = gridloom_core::Charge::from_pico(pico);
            },
            "the bill says",
        ),
    ];
    for (change, words) in changes {
        let Settled {
            mut world,
            mut checker,
            ..
        } = settled();
        rewrite(&mut world, change);
        let violation = checker.check_settled(&world).unwrap_err();
        assert!(violation.to_string().contains(words), "{violation}");
    }
}

#[test]
fn a_world_that_is_looked_at_in_the_middle_of_an_interval_is_not_settled() {
    let Settled { mut world, .. } = settled();
    let at = world.now().utc;
    // The next interval is captured, and its price is not down yet.
    let end = PERIOD.next_end(at);
    world
        .run_until(end + Duration::from_millis(1), |_, _| {})
        .unwrap();
    let violation = Checker::default().check_settled(&world).unwrap_err();
    assert!(
        matches!(violation, Violation::Missing { .. }),
        "{violation}"
    );
    world
        .run_until(end + Duration::from_secs(60), |_, _| {})
        .unwrap();
    Checker::default().check_settled(&world).unwrap();
}
