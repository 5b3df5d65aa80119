//! Real directories, real fsyncs.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use gridloom_core::{
    Charge, Currency, Day, IntervalReading, IntervalValues, MeterId, MilliwattHours, Month, Period,
    ReadingStatus, SystemTitle, UtcTime,
};
use gridloom_nodes::{Answer, Query};
use gridloom_store::{
    BillRow, Change, CommitBatch, DeviceLink, DeviceRow, DeviceState, Effect, Lsn, MeterDay,
    MeterRow, Operation, Outcome, StoredReading, Transport,
};

use super::*;

mod pairs;

fn open_all(directory: &DataDirectory) -> (DiskParts, LedgerStart) {
    let (ledger, start) = LedgerDisk::open(directory).unwrap();
    let parts = DiskParts {
        cells: Some(CellDisk::open(directory).unwrap()),
        ledger: Some(ledger),
        operations: Some(OperationsDisk::open(directory).unwrap()),
        archive: Some(ArchiveDisk::open(directory).unwrap()),
        keeper: Some(KeeperDisk::open(directory)),
        spools: BTreeMap::from([("node".into(), SpoolDisk::open(directory, "node").unwrap().0)]),
    };
    (parts, start)
}

/// Asks in order and waits for every answer.
fn ask_all(disk: &Disk, requests: Vec<DiskRequest>) -> Vec<DiskReply> {
    let (client, mut answers) = disk.handle().attach();
    let node: Arc<str> = "node".into();
    let count = requests.len();
    for request in requests {
        client.ask(&node, 0, request);
    }
    (0..count)
        .map(|_| {
            answers
                .blocking_recv()
                .expect("every request is answered")
                .1
        })
        .collect()
}

fn remember(ticket: u64, slot: &'static str, bytes: &[u8]) -> DiskRequest {
    DiskRequest::Remember {
        ticket,
        slot,
        bytes: bytes.to_vec(),
    }
}

fn archive(ticket: u64, name: &str, bytes: &[u8]) -> DiskRequest {
    DiskRequest::Archive {
        ticket,
        name: name.to_owned(),
        bytes: bytes.to_vec(),
    }
}

fn write(segment: u64, offset: u64, bytes: &[u8], through: u64) -> DiskRequest {
    DiskRequest::Ledger(Effect::WriteJournal {
        segment,
        offset,
        bytes: bytes.to_vec(),
        through: Lsn(through),
    })
}

fn done(ticket: u64) -> DiskReply {
    DiskReply::Done {
        ticket,
        result: Ok(()),
    }
}

fn written(through: u64) -> DiskReply {
    let through = Lsn(through);
    DiskReply::Ledger(Outcome::Written { through })
}

/// The words of a failure; panics on success.
fn failure(reply: &DiskReply) -> &str {
    match reply {
        DiskReply::Done {
            result: Err(words), ..
        }
        | DiskReply::Answer {
            result: Err(words), ..
        }
        | DiskReply::Ledger(Outcome::Failed { error: words, .. }) => words,
        DiskReply::Done { .. }
        | DiskReply::Answer { .. }
        | DiskReply::Ledger(_)
        | DiskReply::Pair(_)
        | DiskReply::Spool(_)
        | DiskReply::Operations { .. } => {
            panic!("{reply:?} is no failure")
        }
    }
}

#[test]
fn one_process_at_a_time() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("data");
    let first = DataDirectory::open("--data", &path).unwrap();
    let error = DataDirectory::open("--data", &path).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} is in use by another gridloom (process {}): \
             stop it, or choose another directory with --data",
            path.display(),
            std::process::id()
        )
    );
    drop(first);
    DataDirectory::open("--data", &path).unwrap();
}

#[cfg(unix)]
#[test]
fn a_data_directory_is_its_owners_only() {
    use std::os::unix::fs::PermissionsExt;
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("a/b");
    let _directory = DataDirectory::open("--data", &path).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn everything_asked_for_is_there_after_a_restart() {
    let temporary = tempfile::tempdir().unwrap();
    {
        let directory = DataDirectory::open("--data", temporary.path()).unwrap();
        let (parts, start) = open_all(&directory);
        assert_eq!(start.segments, []);
        let disk = Disk::start("all", parts).unwrap();
        let replies = ask_all(
            &disk,
            vec![
                remember(1, "counter", &[1]),
                remember(2, "profile", &[2; 9]),
                write(1, 0, b"head", 4),
                remember(3, "counter", &[3]),
                write(1, 4, b"tail", 5),
                archive(4, "2013/01/day-01.bin", b"object"),
                archive(5, "2013/01/day-01.bin", b"newer"),
                write(2, 0, b"next", 6),
            ],
        );
        let expected = [
            done(1),
            done(2),
            written(4),
            done(3),
            written(5),
            done(4),
            done(5),
            written(6),
        ];
        assert_eq!(replies, expected);
        disk.close();
    }
    let directory = DataDirectory::open("--data", temporary.path()).unwrap();
    fs::write(temporary.path().join("journal/README"), "foreign").unwrap();
    let (parts, start) = open_all(&directory);
    assert_eq!(
        start.segments,
        [(1, b"headtail".to_vec()), (2, b"next".to_vec())]
    );
    let memory = parts.cells.as_ref().unwrap().all_of("node").unwrap();
    let expected = [("counter", vec![3]), ("profile", vec![2; 9])];
    assert_eq!(memory, expected.map(|(k, v)| (k.to_owned(), v)).into());
    let object = temporary.path().join("archive/2013/01/day-01.bin");
    assert_eq!(fs::read(object).unwrap(), b"newer");

    // The ledger cuts a torn tail, goes on there, and drops what is sealed.
    let disk = Disk::start("all", parts).unwrap();
    let cut = |segment, length| DiskRequest::Ledger(Effect::TruncateSegment { segment, length });
    let replies = ask_all(
        &disk,
        vec![
            cut(2, 2),
            write(2, 2, b"w", 7),
            DiskRequest::Ledger(Effect::DropSegments { before: 2 }),
            DiskRequest::Ledger(Effect::DropSegments { before: 2 }),
        ],
    );
    let dropped = || DiskReply::Ledger(Outcome::Dropped);
    assert_eq!(
        replies,
        [
            DiskReply::Ledger(Outcome::Truncated),
            written(7),
            dropped(),
            dropped()
        ]
    );
    drop(disk.close());
    let (_, start) = LedgerDisk::open(&directory).unwrap();
    assert_eq!(start.segments, [(2, b"new".to_vec())]);
}

#[test]
fn a_commit_is_answered_and_queries_see_it() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = DataDirectory::open("--data", temporary.path()).unwrap();
    let (mut parts, _) = open_all(&directory);
    let meters = [MeterId(7), MeterId(9)];
    let ledger = parts.ledger.as_mut().unwrap();
    for meter in meters {
        let row = MeterRow {
            meter,
            title: SystemTitle::new(*b"GLM", meter.0.into()),
            name: meter.to_string(),
            phases: 1,
            wrapped_ek: vec![1; 40],
            wrapped_ak: vec![2; 40],
            service_point: meter.to_string(),
        };
        ledger.backend_mut().enrol(row).unwrap();
    }
    let queries = LedgerDisk::open_queries(&directory).unwrap();
    let disk = Disk::start("all", parts).unwrap();
    let period = Period::HALF_HOUR;
    let day = Day::parse("2013-01-01").unwrap();
    let month = day.month();
    let bill = bill_of(meters[0], month);
    let batch = CommitBatch {
        meter_days: meters.map(|meter| one_reading(meter, period, day)).into(),
        bills: vec![bill],
        ..CommitBatch::default()
    };
    let readings: Vec<_> = batch
        .meter_days
        .iter()
        .map(|meter_day| meter_day.readings[0].reading)
        .collect();
    let ask = |ticket, query| DiskRequest::Query { ticket, query };
    let (first, last) = (day, day);
    let replies = ask_all(
        &disk,
        vec![
            DiskRequest::Ledger(Effect::Commit(batch)),
            ask(1, Query::Bills { month }),
            ask(2, Query::Day { period, day }),
            ask(
                3,
                Query::Readings {
                    meter: meters[1],
                    period,
                    first,
                    last,
                },
            ),
            ask(
                4,
                Query::Prices {
                    period,
                    first,
                    last,
                },
            ),
            ask(
                5,
                Query::Prices {
                    period,
                    first: Day::from_epoch_days(0),
                    last,
                },
            ),
        ],
    );
    let [
        DiskReply::Ledger(Outcome::Committed(report)),
        answers @ ..,
        too_wide,
    ] = &replies[..]
    else {
        panic!("{replies:?}");
    };
    assert_eq!((report.sealed, report.bills), (2, 1));
    let found = [
        Answer::Bills(vec![bill]),
        Answer::Readings(readings.clone()),
        Answer::Readings(readings[1..].to_vec()),
        Answer::Prices(Vec::new()),
    ];
    let expected = (1..).zip(found).map(|(ticket, found)| {
        let result = Ok(found);
        DiskReply::Answer { ticket, result }
    });
    assert_eq!(answers, expected.collect::<Vec<_>>());
    let words = failure(too_wide);
    assert!(
        words.contains("gridloom.db") && words.contains("ask in parts"),
        "{words}"
    );
    assert_eq!(queries.bills(month).unwrap(), [bill]);
    disk.close();
}

fn one_reading(meter: MeterId, period: Period, day: Day) -> MeterDay {
    let energy = MilliwattHours::new(500_000);
    let reading = IntervalReading {
        meter,
        period,
        end: period.end_of_slot(day, 3),
        status: ReadingStatus::GOOD,
        values: IntervalValues {
            import: energy,
            ..IntervalValues::default()
        },
        import_register: energy,
    };
    let title = SystemTitle::new(*b"GLM", meter.0.into());
    MeterDay {
        meter,
        period,
        day,
        readings: vec![StoredReading {
            reading,
            title,
            counter: 1,
        }],
    }
}

fn bill_of(meter: MeterId, month: Month) -> BillRow {
    BillRow {
        meter,
        month,
        version: 0,
        currency: Currency::new("EUR", 2).unwrap(),
        amount_minor: 1_234,
        energy: MilliwattHours::new(5_000),
        intervals: 1_488,
        gaps: 0,
        charge: Charge::from_pico(12_340_000_000_000),
        issued_at: UtcTime::from_secs(1_360_000_000),
    }
}

#[test]
fn what_cannot_be_done_is_answered_in_words() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = DataDirectory::open("--data", temporary.path()).unwrap();
    let (parts, _) = open_all(&directory);
    let disk = Disk::start("all", parts).unwrap();
    let large = vec![0; gridloom_store::cells::CELL_BYTES_MAX + 1];
    let cases = [
        (write(1, 7, b"hole", 1), "No such file"),
        (write(1, 0, b"head", 1), ""),
        (
            write(1, 5, b"hole", 2),
            "it has 4 bytes where the journal goes on at 5",
        ),
        (
            write(1, 0, b"again", 2),
            "it has 4 bytes where the journal goes on at 0",
        ),
        (
            DiskRequest::Ledger(Effect::TruncateSegment {
                segment: 1,
                length: 5,
            }),
            "fewer than the 5 that stand",
        ),
        (archive(1, "../escape", b""), "is refused: use at most"),
        (archive(2, "a", b"file"), ""),
        (archive(3, "a/b", b"below a file"), "creating"),
        (
            remember(4, "cell", &large),
            "a cell of 4194305 bytes is refused",
        ),
        (remember(5, "cell", b"fine"), ""),
    ];
    let (requests, words): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    let replies = ask_all(&disk, requests);
    for (reply, words) in replies.iter().zip(words) {
        if words.is_empty() {
            assert!(matches!(
                reply,
                DiskReply::Done { result: Ok(()), .. } | DiskReply::Ledger(Outcome::Written { .. })
            ));
        } else {
            assert!(failure(reply).contains(words), "{reply:?}");
        }
    }
    let DiskReply::Ledger(Outcome::Failed { what, error }) = &replies[0] else {
        panic!("{replies:?}");
    };
    assert_eq!(*what, Operation::WriteJournal);
    assert!(error.contains("journal/0000000001.journal"), "{error}");
    disk.close();
}

fn operations(ticket: u64, meter: u32, serial: &str) -> DiskRequest {
    let row = DeviceRow {
        meter: MeterId(meter),
        title: SystemTitle::new(*b"GLM", u64::from(meter)),
        serial: serial.to_owned(),
        name: format!("House {meter}"),
        state: DeviceState::Enrolled,
        link: DeviceLink {
            transport: Transport::Gateway,
            address: format!("gateway-{meter}"),
            server: 1,
            physical: 0,
        },
        roles: Vec::new(),
        template: "any".to_owned(),
        groups: BTreeSet::new(),
        service_point: "somewhere".to_owned(),
        phases: 1,
        fuse_a: 100,
        voltage_v: 230,
        retired_at: None,
    };
    let batch = Batch::new(vec![Change::Device(row), Change::Audit(vec![7])]);
    DiskRequest::Operations { ticket, batch }
}

/// A refused batch harms no other, and cells in between keep the order.
#[test]
fn changes_of_the_head_ends_tables_are_kept_or_refused_one_by_one() {
    let directory = tempfile::tempdir().unwrap();
    let data = DataDirectory::open("--data", directory.path()).unwrap();
    let (parts, _) = open_all(&data);
    let disk = Disk::start("test", parts).unwrap();
    let replies = ask_all(
        &disk,
        vec![
            operations(1, 1, "A"),
            operations(2, 2, "A"),
            remember(3, "cell", b"between"),
            operations(4, 3, "B"),
            operations(5, 4, "C"),
        ],
    );
    let tickets: Vec<(u64, bool)> = replies
        .iter()
        .map(|reply| match reply {
            DiskReply::Operations {
                ticket,
                result: Ok(answer),
            } => (*ticket, answer.is_ok()),
            DiskReply::Done { ticket, result } => (*ticket, result.is_ok()),
            DiskReply::Operations { result: Err(_), .. }
            | DiskReply::Ledger(_)
            | DiskReply::Pair(_)
            | DiskReply::Spool(_)
            | DiskReply::Answer { .. } => panic!("{reply:?}"),
        })
        .collect();
    assert_eq!(
        tickets,
        [(1, true), (2, false), (3, true), (4, true), (5, true)]
    );
    disk.close();
    let again = OperationsDisk::open(&data).unwrap();
    let meters = again.store().devices().unwrap();
    let meters: Vec<u32> = meters.iter().map(|row| row.meter.0).collect();
    assert_eq!(meters, [1, 3, 4]);
    assert_eq!(again.store().audit_log(0, 10).unwrap().len(), 3);
}

#[test]
fn leftovers_of_a_crash_are_cleared() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = DataDirectory::open("--data", temporary.path()).unwrap();
    let half = temporary.path().join("archive/.incoming");
    fs::create_dir_all(half.parent().unwrap()).unwrap();
    fs::write(&half, "half an object").unwrap();
    ArchiveDisk::open(&directory).unwrap();
    assert!(!half.exists());
}

/// A file system of a few pages; unmounted when dropped.
struct TinyDisk {
    mount: tempfile::TempDir,
}

impl TinyDisk {
    /// `None`, with words, where mounting is not allowed.
    fn mount(options: &str) -> Option<Self> {
        let mount = tempfile::tempdir().unwrap();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(mount.path())
            .status();
        if status.is_ok_and(|status| status.success()) {
            return Some(Self { mount });
        }
        println!("skipped: this user may not mount a tmpfs");
        None
    }

    fn remount(&self, options: &str) {
        let status = Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(self.mount.path())
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        // Lazily, because files may still be open; the directory is removed afterwards.
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.mount.path())
            .status();
    }
}

#[test]
fn a_full_disk_is_answered_with_file_and_remedy_and_heals() {
    let Some(tiny) = TinyDisk::mount("size=1m") else {
        return;
    };
    let directory = DataDirectory::open("--data", tiny.mount.path()).unwrap();
    let (parts, _) = open_all(&directory);
    let disk = Disk::start("tiny", parts).unwrap();
    let large = vec![1; 2 << 20];
    let replies = ask_all(
        &disk,
        vec![
            write(1, 0, &large, 1),
            remember(1, "cell", &large),
            archive(2, "object", &large),
        ],
    );
    let files = ["journal/0000000001.journal", "field.db", "archive/object"];
    for (reply, file) in replies.iter().zip(files) {
        let words = failure(reply);
        assert!(words.contains(file), "{words}");
        assert!(words.contains("free space on this disk"), "{words}");
    }
    tiny.remount("size=32m");
    let cut = DiskRequest::Ledger(Effect::TruncateSegment {
        segment: 1,
        length: 0,
    });
    let replies = ask_all(
        &disk,
        vec![
            cut,
            write(1, 0, &large, 1),
            remember(1, "cell", &large),
            archive(2, "object", &large),
        ],
    );
    let expected = [
        DiskReply::Ledger(Outcome::Truncated),
        written(1),
        done(1),
        done(2),
    ];
    assert_eq!(replies, expected);
    disk.close();
}

#[test]
fn a_read_only_disk_is_answered_with_file_and_remedy() {
    let Some(tiny) = TinyDisk::mount("size=8m") else {
        return;
    };
    let parts = {
        let directory = DataDirectory::open("--data", tiny.mount.path()).unwrap();
        open_all(&directory).0
    };
    drop(parts);
    tiny.remount("ro");
    let error = DataDirectory::open("--data", tiny.mount.path()).unwrap_err();
    let words = error.to_string();
    assert!(words.contains("gridloom.lock"), "{words}");
    assert!(
        words.contains("remount the file system writable"),
        "{words}"
    );
}

/// A spool on a real disk, through a kill at any moment of its life: what it said was durable is
/// there at the next start, and a file cut short anywhere costs its last write alone.
#[test]
fn a_spool_survives_on_a_real_disk() {
    use gridloom_core::{Instant, UtcTime};
    use gridloom_store::spool::{About, Lane, Spool, SpoolConfig, SpoolOutcome, Whose};

    let folder = tempfile::tempdir().unwrap();
    let directory = DataDirectory::open("--data", folder.path()).unwrap();
    let config = SpoolConfig {
        bytes_max: 64 * 1024,
        segment_bytes: 1_024,
        in_flight_max: 1_000,
    };
    let about = About {
        whose: Whose::Unknown,
        time: UtcTime::from_secs(0),
    };
    let now = Instant::ZERO;
    let settle = |spool: &mut Spool, disk: &Disk| {
        while let Some(effect) = spool.poll_effect(now) {
            let replies = ask_all(disk, vec![DiskRequest::Spool(effect)]);
            let DiskReply::Spool(outcome) = replies.into_iter().next().unwrap() else {
                panic!("a spool is answered by a spool");
            };
            assert!(!matches!(outcome, SpoolOutcome::Failed(_)), "{outcome:?}");
            spool.handle(outcome, now);
        }
    };
    let start = || {
        let (disk, files) = SpoolDisk::open(&directory, "node").unwrap();
        let parts = DiskParts {
            spools: BTreeMap::from([("node".into(), disk)]),
            ..DiskParts::default()
        };
        let (spool, recovery) = Spool::recover(config, files);
        (Disk::start("spool", parts).unwrap(), spool, recovery)
    };
    let (disk, mut spool, _) = start();
    for number in 0..100_u32 {
        let entry = format!("entry {number}");
        spool
            .append(Lane::Readings, about, entry.as_bytes())
            .unwrap();
        settle(&mut spool, &disk);
    }
    assert_eq!(spool.durable(), 100);
    disk.close();
    let path = folder.path().join("spool").join("node");
    let mut files: Vec<_> = std::fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() > 4, "{files:?}");
    let last = files.last().unwrap();
    let length = std::fs::metadata(last).unwrap().len();
    let file = std::fs::OpenOptions::new().write(true).open(last).unwrap();
    file.set_len(length - 5).unwrap();
    let (disk, mut spool, recovery) = start();
    assert_eq!(recovery.torn.len(), 1);
    settle(&mut spool, &disk);
    let mut came = Vec::new();
    while let Some(delivery) = spool.next(Lane::Readings, now) {
        spool.acknowledge(Lane::Readings, delivery.number, now);
        came.push(String::from_utf8(delivery.bytes.to_vec()).unwrap());
        settle(&mut spool, &disk);
    }
    let expected: Vec<String> = (0..99).map(|number| format!("entry {number}")).collect();
    assert_eq!(came, expected);
    assert_eq!(spool.take_gaps(), []);
    assert!(
        std::fs::read_dir(&path).unwrap().count() <= 2,
        "finished segments are gone"
    );
    disk.close();
}
