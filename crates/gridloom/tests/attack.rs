//! Every attacker against a running system over real sockets: nothing that an outsider sent or
//! altered is stored, every honest reading is, and every frame is accounted for.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod process;
mod small_system;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use gridloom_edge::Reason;
use process::{clock, gridloom, pause, refusal, text, until};
use serde_json::Value;
use small_system::{Books, Captured, SPEED, System};

/// A reading is late if it is not acknowledged this long after its interval, in real time; a
/// push takes milliseconds, and this machine may be busy.
const IN_TIME: Duration = Duration::from_secs(4);

/// Whatever is owed is delivered within this once the attackers are gone.
const SETTLED_MAX: Duration = Duration::from_secs(90);

/// Houses by what is done to their meters.
const HONEST: [usize; 2] = [0, 1];
const OVERHEARD: usize = 2;
const REPLAYED: usize = 3;
const TAMPERED: usize = 4;
const HELD_UP: usize = 5;
const LYING: usize = 6;
const COPIED: usize = 7;
const HOUSES: u32 = 8;

/// An attacker at work, killed when dropped.
struct Attacker {
    child: Child,
    out: BufReader<ChildStdout>,
    listens_on: Option<SocketAddr>,
}

impl Drop for Attacker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Attacker {
    fn start(kind: &str, target: &str, arguments: &[&str]) -> Self {
        let is_on_path = arguments.contains(&"--listen");
        let mut command = gridloom();
        command.args(["emulate", "attacker", kind, "--target", target]);
        command.args(arguments).stdout(Stdio::piped());
        if !is_on_path {
            command.arg("--json");
        }
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let listens_on = is_on_path.then(|| {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            let address = line.trim().strip_prefix("listening on ");
            address.expect("it says where it listens").parse().unwrap()
        });
        Self {
            child,
            out,
            listens_on,
        }
    }

    /// Asks it to stop; what it printed.
    fn interrupt(self) -> String {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status().unwrap();
        assert!(sent.success());
        self.end()
    }

    /// What it printed in the end.
    fn end(mut self) -> String {
        let mut printed = String::new();
        self.out.read_to_string(&mut printed).unwrap();
        assert!(self.child.wait().unwrap().success(), "{printed}");
        printed
    }
}

/// The rise of every reason, in words.
fn risen(before: &Books, after: &Books) -> String {
    let rises = Reason::ALL.into_iter().filter_map(|reason| {
        let rise = after.edge.reasons.get(reason) - before.edge.reasons.get(reason);
        (rise > 0).then(|| format!("{rise} {reason}"))
    });
    rises.collect::<Vec<_>>().join(", ")
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// The first answer of `probe` within `time`.
fn try_until<T>(time: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = clock() + time;
    while clock() < deadline {
        if let Some(found) = probe() {
            return Some(found);
        }
        pause(Duration::from_millis(20));
    }
    None
}

/// Waits until nothing is under way between gateway and edge.
fn closed(system: &System, beyond: u64) -> Books {
    let mut last = (0, 0);
    let closed = try_until(Duration::from_secs(20), || {
        let books = system.books();
        last = (books.judged(), books.carried_up + beyond);
        (last.0 == last.1).then_some(books)
    });
    closed.unwrap_or_else(|| panic!("{} of {} frames are accounted for", last.0, last.1))
}

/// The share of intervals that were acknowledged in time, as a part and the whole.
fn delivery(system: &System, house: usize) -> (usize, usize) {
    let late = system.now() - IN_TIME * SPEED;
    let captured = &system.captured(late)[house];
    let kept = captured.values().filter(|(_, is_kept)| *is_kept).count();
    (kept, captured.len())
}

fn has_all(stored: &BTreeMap<i64, i64>, captured: &Captured) -> bool {
    let of_meter = captured.iter().map(|(end, (import, _))| (*end, *import));
    stored
        .iter()
        .map(|(end, import)| (*end, *import))
        .eq(of_meter)
}

#[test]
fn every_attacker_against_real_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let mut system = System::start(&folder.path().join("data"), HOUSES);
    let (gateway, edge) = (system.gateway(), system.edge());
    let titles: Vec<String> = system
        .town()
        .houses()
        .iter()
        .map(|house| house.config().title.to_string())
        .collect();
    let keys = |house: usize| {
        let keys = &system.town().houses()[house].config().keys;
        [keys.encryption(), keys.authentication()].map(|key| hexadecimal(key.as_bytes()))
    };
    let ([lying_ek, lying_ak], [copied_ek, copied_ak]) = (keys(LYING), keys(COPIED));
    let capture = folder.path().join("heard.pcapng");
    let record = folder.path().join("deeds.jsonl");

    // Those on the path come first: meters connect to them.
    let any = ["--listen", "127.0.0.1:0", "--duration", "3600"];
    let captured = ["--capture", text(&capture), "--record", text(&record)];
    let lying = [
        "--title",
        &titles[LYING],
        "--ek",
        &lying_ek,
        "--ak",
        &lying_ak,
    ];
    let rollback = [&lying[..], &["--lie", "rollback"]].concat();
    let on_path: Vec<(usize, &str, Attacker)> = [
        (OVERHEARD, "eavesdrop", &captured[..]),
        (REPLAYED, "replay", &[]),
        (TAMPERED, "tamper", &[]),
        (HELD_UP, "gateway", &[]),
        (LYING, "inject", &rollback),
    ]
    .into_iter()
    .map(|(house, kind, more)| {
        let arguments = [&any[..], more].concat();
        (house, kind, Attacker::start(kind, &gateway, &arguments))
    })
    .collect();
    let false_gateways: BTreeMap<usize, SocketAddr> = on_path
        .iter()
        .map(|(house, _, attacker)| (*house, attacker.listens_on.unwrap()))
        .collect();
    system.start_meters(&false_gateways);
    until(
        "a reading of each honest meter",
        Duration::from_secs(30),
        || {
            let captured = system.captured(system.now());
            HONEST
                .iter()
                .all(|house| captured[*house].values().any(|(_, kept)| *kept))
                .then_some(())
        },
    );

    // Those beside the network, one after the other.
    let known = [
        "--title",
        &titles[0],
        "--title",
        &titles[1],
        "--title",
        &titles[OVERHEARD],
    ];
    let copied = [
        "--title",
        &titles[COPIED],
        "--ek",
        &copied_ek,
        "--ak",
        &copied_ak,
    ];
    let after = |counter| [&copied[..], &["--counter", counter]].concat();
    let (clone, flooding, asking) = (after("5000"), after("100000"), after("200000"));
    let beside: [(&str, &str, &[&str], &[&str]); 9] = [
        (
            "spoof",
            &gateway,
            &known,
            &["--rate", "100", "--duration", "1"],
        ),
        (
            "flood",
            &gateway,
            &known,
            &["--rate", "400", "--duration", "2"],
        ),
        (
            "malformed",
            &gateway,
            &[],
            &["--rate", "50", "--duration", "2"],
        ),
        (
            "slowloris",
            &gateway,
            &[],
            &["--lines", "32", "--rate", "64", "--duration", "3"],
        ),
        (
            "key-guess",
            &gateway,
            &known,
            &["--rate", "50", "--duration", "1"],
        ),
        (
            "clone",
            &gateway,
            &clone,
            &["--rate", "2", "--duration", "2"],
        ),
        (
            "flood-inside",
            &gateway,
            &flooding,
            &["--rate", "200", "--duration", "1"],
        ),
        (
            "insider",
            &gateway,
            &asking,
            &["--rate", "50", "--duration", "1"],
        ),
        (
            "intruder",
            &edge,
            &known,
            &["--rate", "50", "--duration", "1"],
        ),
    ];
    eprintln!("kind          sent  lines closed  forwarded  held  dropped  strayed  reasons");
    let mut by_intruder = 0;
    for (kind, target, who, how) in beside {
        let before = system.books();
        let attacker = Attacker::start(kind, target, &[who, how].concat());
        let done: Value = serde_json::from_str(&attacker.end()).unwrap();
        let sent =
            done["deeds"]["sent"].as_u64().unwrap() + done["deeds"]["repeated"].as_u64().unwrap();
        let lines_closed = done["lines"]["closed"].as_u64().unwrap();
        assert!(sent > 0, "{kind}: {done}");
        let after = if kind == "intruder" {
            // Its first message on each line is a greeting; its last may not have left.
            let most = sent - done["lines"]["opened"].as_u64().unwrap();
            let after = until("the intruder's lies", Duration::from_secs(20), || {
                let books = system.books();
                let beyond = books.judged().saturating_sub(books.carried_up);
                (beyond + 5 >= most).then_some(books)
            });
            by_intruder = after.judged() - after.carried_up;
            assert!(by_intruder <= most, "{by_intruder} of {most}");
            after
        } else {
            closed(&system, 0)
        };
        let (was, is) = (before.edge.verdicts, after.edge.verdicts);
        eprintln!(
            "{kind:<12} {sent:>5} {lines_closed:>13} {:>10} {:>5} {:>8} {:>8}  {}",
            is.forwarded - was.forwarded,
            is.quarantined - was.quarantined,
            is.dropped - was.dropped,
            after.tunnel.strayed - before.tunnel.strayed,
            risen(&before, &after),
        );
        if matches!(kind, "malformed" | "slowloris") {
            assert!(lines_closed > 0, "{kind} was never hung up on");
        }
        if matches!(
            kind,
            "spoof" | "flood" | "key-guess" | "intruder" | "insider"
        ) {
            let refused = is.dropped - was.dropped;
            // A flood's noise may be frames for other clients.
            let strayed = after.tunnel.strayed - before.tunnel.strayed;
            // What is unread when it hangs up is lost with its connection.
            assert!(
                (refused + strayed) * 4 >= sent * 3,
                "{kind}: {sent} sent, {refused} refused"
            );
        }
    }
    // Those on the path are still at work.
    until("three intervals under attack", SETTLED_MAX, || {
        let whole = |house| delivery(&system, house).1;
        let mut judged = HONEST.into_iter().chain([OVERHEARD]);
        judged.all(|house| whole(house) >= 3).then_some(())
    });
    for (house, part, whole) in HONEST.into_iter().chain([OVERHEARD]).map(|house| {
        let (part, whole) = delivery(&system, house);
        (house, part, whole)
    }) {
        eprintln!(
            "house {}: {part} of {whole} in time under attack",
            house + 1
        );
        assert_eq!(part, whole, "house {}", house + 1);
    }

    // When the attackers on the path are gone, somebody honest takes their ports.
    let ports: Vec<_> = on_path.iter().map(|it| it.2.listens_on.unwrap()).collect();
    for (_, kind, attacker) in on_path {
        let printed = attacker.interrupt();
        eprintln!("{kind}:\n{printed}");
        assert!(printed.contains(kind), "{printed}");
    }
    let _honest: Vec<Attacker> = ports
        .iter()
        .map(|port| {
            let port = port.to_string();
            let arguments = ["--listen", &port, "--duration", "3600"];
            Attacker::start("eavesdrop", &gateway, &arguments)
        })
        .collect();
    let liars = BTreeSet::from([LYING, COPIED]);
    let cutoff = system.now();
    until("every honest reading delivered", SETTLED_MAX, || {
        let captured = system.captured(cutoff);
        let houses = (0..captured.len()).filter(|house| !liars.contains(house));
        houses
            .flat_map(|house| captured[house].values())
            .all(|(_, is_kept)| *is_kept)
            .then_some(())
    });
    let captured = system.stop_meters();
    let books = closed(&system, by_intruder);
    eprintln!("in all: {:?}", books.edge.verdicts);
    let stored = system.stop();
    let honest = stored.iter().zip(&captured).enumerate();
    for (house, ((meter, stored), captured)) in honest.filter(|(at, _)| !liars.contains(at)) {
        let until_cutoff = |end: &i64| *end <= cutoff.as_secs();
        let stored: BTreeMap<_, _> = stored
            .iter()
            .filter(|(end, _)| until_cutoff(end))
            .map(|(e, v)| (*e, *v))
            .collect();
        let captured: Captured = captured
            .iter()
            .filter(|(end, _)| until_cutoff(end))
            .map(|(e, v)| (*e, *v))
            .collect();
        assert!(captured.len() >= 3, "house {}", house + 1);
        assert!(
            has_all(&stored, &captured),
            "{meter}: {stored:?} for {captured:?}"
        );
    }
    the_files_say_what_was_heard(&capture, &record, &titles[OVERHEARD]);
}

/// The capture is a pcapng file with packets, and the record names the victim.
fn the_files_say_what_was_heard(capture: &Path, record: &Path, victim: &str) {
    let bytes = std::fs::read(capture).unwrap();
    assert_eq!(bytes[..4], [0x0A, 0x0D, 0x0D, 0x0A]);
    assert!(bytes.len() > 2_000, "{} bytes", bytes.len());
    let text = std::fs::read_to_string(record).unwrap();
    let deeds: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(deeds.iter().any(|deed| deed["victim"] == victim));
    assert!(
        deeds.iter().all(|deed| deed["deed"] == "overheard"),
        "{text}"
    );
}

#[test]
fn an_attacker_stays_on_this_machine_and_says_what_it_lacks() {
    let cases: [(&[&str], &str); 9] = [
        (&["spoof", "--target", "192.0.2.1:4059"], "--allow-remote"),
        (
            &["tamper", "--target", "127.0.0.1:1", "--listen", "0.0.0.0:0"],
            "--allow-remote",
        ),
        (&["tamper", "--target", "127.0.0.1:1"], "--listen"),
        (&["replay", "--target", "127.0.0.1:1"], "--listen"),
        (
            &["clone", "--target", "127.0.0.1:1"],
            "--title, --ek and --ak",
        ),
        (
            &["spoof", "--target", "127.0.0.1:1", "--rate", "0"],
            "--rate 0",
        ),
        (
            &["spoof", "--target", "127.0.0.1:1", "--duration", "3601"],
            "--duration 3601",
        ),
        (
            &["spoof", "--target", "127.0.0.1:1", "--lines", "1025"],
            "--lines 1025",
        ),
        (&["spoof", "--target", "nowhere"], "nowhere"),
    ];
    for (arguments, words) in cases {
        let output = process::run(&[&["emulate", "attacker"], arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    let said = refusal(&[
        "emulate",
        "attacker",
        "tamper",
        "--target",
        "127.0.0.1:1",
        "--listen",
        "127.0.0.1:99999",
    ]);
    assert!(said.contains("--listen"), "{said}");
}
