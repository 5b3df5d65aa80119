//! Two disks of a head-end pair.

use super::*;

/// One runner's way to a disk.
struct Runner {
    client: DiskClient,
    answers: mpsc::UnboundedReceiver<(usize, DiskReply)>,
    node: Arc<str>,
}

impl Runner {
    fn of(disk: &Disk, node: &str) -> Self {
        let (client, answers) = disk.handle().attach();
        Self {
            client,
            answers,
            node: node.into(),
        }
    }

    fn ask(&self, request: DiskRequest) {
        self.client.ask(&self.node, 0, request);
    }

    fn pair(&self, request: PairRequest) {
        self.ask(DiskRequest::Pair(request));
    }

    fn next(&mut self) -> DiskReply {
        self.answers.blocking_recv().unwrap().1
    }

    fn carried(&mut self) -> (u64, Vec<u8>) {
        let reply = self.next();
        let DiskReply::Pair(PairReply::Carried { number, entry }) = reply else {
            panic!("{reply:?}");
        };
        (number, entry)
    }
}

fn operations(ticket: u64, meter: u32) -> DiskRequest {
    let row = DeviceRow {
        meter: MeterId(meter),
        title: SystemTitle(u64::from(meter).to_be_bytes()),
        serial: format!("S-{meter}"),
        name: "house".to_owned(),
        state: DeviceState::Enrolled,
        link: DeviceLink {
            transport: Transport::Tcp,
            address: format!("10.0.0.{meter}:4059"),
            server: 1,
            physical: 0,
        },
        roles: Vec::new(),
        template: "t".to_owned(),
        groups: BTreeSet::new(),
        service_point: String::new(),
        phases: 1,
        fuse_a: 25,
        voltage_v: 230,
        retired_at: None,
    };
    let changes = vec![Change::Device(row), Change::Audit(b"enrolled".to_vec())];
    DiskRequest::Operations {
        ticket,
        batch: Batch::new(changes),
    }
}

#[test]
fn a_copy_and_what_came_after_it_make_the_same_disk_and_answers_wait() {
    let temporary = tempfile::tempdir().unwrap();
    let [data, other_data] = ["one", "other"]
        .map(|name| DataDirectory::open("--data", &temporary.path().join(name)).unwrap());
    let disk = Disk::start("one", open_all(&data).0).unwrap();
    let other = Disk::start("other", open_all(&other_data).0).unwrap();
    let mut node = Runner::of(&disk, "utility");
    let mut keeper = Runner::of(&disk, "pair");
    let mut standby = Runner::of(&other, "pair");

    // Before the mirror answers come at once.
    node.ask(operations(1, 1));
    assert!(matches!(node.next(), DiskReply::Operations { .. }));
    keeper.pair(PairRequest::Mirror { ticket: 1 });
    assert_eq!(keeper.next(), done(1));
    node.ask(write(1, 0, b"journal", 1));
    node.ask(remember(2, "archived", b"day"));
    node.ask(operations(3, 1));
    let numbers: Vec<u64> = (0..3).map(|_| keeper.carried().0).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert!(node.answers.try_recv().is_err(), "answers are held");
    keeper.pair(PairRequest::Release {
        ticket: 2,
        through: 1,
    });
    assert_eq!(keeper.next(), done(2));
    assert_eq!(node.next(), written(1));
    assert!(node.answers.try_recv().is_err(), "further answers are held");

    keeper.pair(PairRequest::Copy { ticket: 3 });
    let DiskReply::Pair(PairReply::Copied {
        result: Ok((through, files)),
        ..
    }) = keeper.next()
    else {
        panic!("no copy");
    };
    assert_eq!(through, 3);
    for (file, length) in files {
        let mut offset = 0;
        while offset < length {
            let ticket = 4;
            keeper.pair(PairRequest::ReadCopy {
                ticket,
                file: file.clone(),
                offset,
            });
            let DiskReply::Pair(PairReply::Piece {
                result: Ok(bytes), ..
            }) = keeper.next()
            else {
                panic!("no piece");
            };
            let at = offset;
            offset += bytes.len() as u64;
            standby.pair(PairRequest::TakePiece {
                ticket,
                file: file.clone(),
                offset: at,
                bytes,
            });
            assert_eq!(standby.next(), done(ticket));
        }
    }
    standby.pair(PairRequest::Install { ticket: 5 });
    assert_eq!(standby.next(), done(5));

    node.ask(write(1, 7, b" goes on", 2));
    node.ask(operations(6, 2));
    node.ask(remember(7, "archived", b"next day"));
    for ticket in 6..9 {
        let (_, entry) = keeper.carried();
        standby.pair(PairRequest::Apply { ticket, entry });
    }
    for ticket in 6..9 {
        assert_eq!(standby.next(), done(ticket));
    }
    standby.pair(PairRequest::Keep {
        ticket: 9,
        bytes: vec![7; 32],
    });
    assert_eq!(standby.next(), done(9));
    // An entry that cannot be applied is said, with its reason.
    let entry = Entry::Effect(Effect::WriteJournal {
        segment: 1,
        offset: 99,
        bytes: vec![1],
        through: Lsn(3),
    });
    for (ticket, entry) in [(10, entry.encode()), (11, vec![0xFF])] {
        standby.pair(PairRequest::Apply { ticket, entry });
        failure(&standby.next());
    }

    drop((node, keeper, standby));
    disk.close();
    other.close();
    let held = [&data, &other_data].map(|data| {
        let (parts, start) = open_all(data);
        let store = parts.operations.unwrap();
        let store = store.store();
        (
            start.segments,
            store.devices().unwrap(),
            store.audit_log(0, 10).unwrap(),
            parts.cells.unwrap().all_of("utility").unwrap(),
        )
    });
    assert_eq!(held[0], held[1]);
    assert_eq!(held[0].0, [(1, b"journal goes on".to_vec())]);
    assert_eq!(held[0].1.len(), 2);
    let keeper = |data| KeeperDisk::open(data).record().unwrap();
    assert_eq!(keeper(&data), None);
    assert_eq!(keeper(&other_data), Some(vec![7; 32]));
}
