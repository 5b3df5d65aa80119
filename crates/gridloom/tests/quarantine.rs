//! An insider with a meter's keys pushes invented intervals into a running system; an analyst looks,
//! releases and rejects over the command line, and the audit log proves it.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod process;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use gridloom_headend::AuditRecord;
use gridloom_headend::audit::{Action, AuditOutcome};
use gridloom_host::OperationsDisk;
use process::{gridloom, http_get, run, text, until};
use serde_json::Value;

const TITLE: &str = "474C4D0000000001";
const EK: &str = "000102030405060708090A0B0C0D0E01";
const AK: &str = "D0D1D2D3D4D5D6D7D8D9DADBDCDDDE01";
const ANY: &str = "127.0.0.1:0";

/// On a busy machine.
const HELD_WITHIN: Duration = Duration::from_secs(30);

/// A directory with one registered meter.
struct Site(tempfile::TempDir);

impl Site {
    fn found() -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(site.at("profiles")).unwrap();
        let usual = include_str!("../../../profiles/gridloom.toml");
        let minute = format!("capture_period_minutes = 1\n{usual}");
        std::fs::write(site.at("profiles/minute.toml"), minute).unwrap();
        let csv = format!(
            "title,serial,name,transport,address,server,roles,template,service_point,guek,gak\n\
             {TITLE},S1,1 Mill Lane,gateway,gateway-1,1,1:hls5/0,minute,P1,{EK},{AK}\n"
        );
        std::fs::write(site.at("meters.csv"), csv).unwrap();
        let (csv, data) = (site.at("meters.csv"), site.at("data"));
        let (profiles, master) = (site.at("profiles"), site.at("master.key"));
        let import = ["meters", "import", text(&csv), "--data", text(&data)];
        let place = ["--profiles", text(&profiles), "--master-key", text(&master)];
        good(&run(&[&import[..], &place[..]].concat()));
        site
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn serve(&self, arguments: &[&str]) -> Served {
        let mut command = gridloom();
        command.args(["serve", "--data", text(&self.at("data"))]);
        command.args(["--profiles", text(&self.at("profiles"))]);
        command.args(["--master-key", text(&self.at("master.key"))]);
        command.args(["--period-minutes", "1", "--console", ANY, "--edge", ANY]);
        command.args(arguments);
        let errors = std::fs::File::create(self.at("serve.log")).unwrap();
        command.stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut lines = BTreeMap::new();
        loop {
            let mut line = String::new();
            let length = out.read_line(&mut line).unwrap();
            let log = || std::fs::read_to_string(self.at("serve.log")).unwrap();
            assert!(length > 0, "{}", log());
            if line.starts_with("ready") {
                break;
            }
            if let Some((heading, rest)) = line.split_once(' ') {
                lines.insert(heading.to_owned(), rest.trim().to_owned());
            }
        }
        child.stdout = Some(out.into_inner());
        Served { child, lines }
    }

    /// What the audit log says of decisions about held packets.
    fn decisions(&self) -> Vec<AuditRecord> {
        let data = self.at("data");
        let whole = good(&run(&["audit", "verify", "--data", text(&data)]));
        assert!(whole.contains("all intact"), "{whole}");
        let disk = OperationsDisk::open_database(&data).unwrap();
        let entries = disk.store().audit_log(0, 1_000).unwrap();
        entries
            .iter()
            .map(|entry| AuditRecord::decode(&entry.record).unwrap())
            .filter(|record| record.action == Action::Quarantine)
            .collect()
    }
}

/// A running serve; killed when dropped.
struct Served {
    child: Child,
    lines: BTreeMap<String, String>,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    fn url(&self) -> &str {
        self.lines["console"].trim_end_matches('/')
    }

    fn get(&self, path: &str) -> Value {
        let console: SocketAddr = self.url()["http://".len()..].parse().unwrap();
        let (status, body) = http_get(console, path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        run(&[arguments, &["--url", self.url()]].concat())
    }

    fn held(&self) -> Vec<u64> {
        let list = good(&self.ask(&["quarantine", "list", "--json"]));
        let list: Value = serde_json::from_str(&list).unwrap();
        let all = list.as_array().unwrap().iter();
        all.map(|held| held["id"].as_u64().unwrap()).collect()
    }

    fn decide(&self, site: &Site, verb: &str, packet: u64, reason: &str) -> Output {
        let packet = packet.to_string();
        self.decide_with(&site.at("data/operator.token"), verb, &packet, reason)
    }

    fn decide_with(&self, token: &Path, verb: &str, packet: &str, reason: &str) -> Output {
        let token = ["--token-file", text(token)];
        let decision = ["quarantine", verb, packet, "--reason", reason, "--json"];
        self.ask(&[&decision[..], &token[..]].concat())
    }
}

fn good(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{out}{words}");
    out
}

fn refused(output: &Output, words: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{words}");
    assert!(said.contains(words), "{said}");
}

fn attack(gateway: &str) {
    let target = ["emulate", "attacker", "flood-inside", "--target", gateway];
    let whose = ["--title", TITLE, "--ek", EK, "--ak", AK];
    let how = ["--counter", "100", "--period", "1", "--frames", "16"];
    let pace = ["--rate", "8", "--duration", "3"];
    good(&run(
        &[&target[..], &whose[..], &how[..], &pace[..]].concat()
    ));
}

#[test]
fn decisions_about_held_packets_are_carried_out_and_proved() {
    let site = Site::found();
    let mut arguments = Vec::new();
    for flag in ["--gateway", "--utility", "--archive"] {
        arguments.extend([flag, ANY]);
    }
    let whole = site.serve(&arguments);
    attack(&whole.lines["gateway"]);
    let held = until("held packets", HELD_WITHIN, || {
        Some(whole.held()).filter(|held| held.len() >= 6)
    });
    let stored = |served: &Served| {
        let snapshot = served.get("/api/v1/snapshot");
        snapshot["counters"]["readings_stored"].as_u64().unwrap()
    };
    let before = stored(&whole);

    // What an analyst sees.
    let incidents = good(&whole.ask(&["incident", "list", "--json"]));
    let incidents: Value = serde_json::from_str(&incidents).unwrap();
    let of_meter = incidents.as_array().unwrap().iter();
    let waiting: u64 = of_meter
        .filter(|it| it["subject"]["meter"] == 1 && it["step"] == "behaviour")
        .map(|it| it["held"].as_u64().unwrap())
        .sum();
    assert_eq!(waiting, u64::try_from(held.len()).unwrap(), "{incidents}");
    let first = held[0].to_string();
    let shown = good(&whole.ask(&["quarantine", "show", &first]));
    for words in [
        TITLE,
        "behaviour B",
        "authenticated and encrypted",
        "Wh",
        "DB08",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(!shown.contains(EK) && !shown.contains(AK), "{shown}");

    // Who may not, and what is not there.
    let wrong = site.at("wrong.token");
    std::fs::write(&wrong, "0".repeat(64)).unwrap();
    let decided = whole.decide_with(&wrong, "release", &first, "x");
    refused(&decided, "401");
    refused(&whole.decide(&site, "release", held[0], " "), "422");
    refused(&whole.decide(&site, "release", 9_999, "x"), "404");
    assert!(site.decisions().is_empty(), "nothing was decided");

    let answer = good(&whole.decide(&site, "release", held[0], "the fitter was there"));
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(
        (&answer["is_done"], &answer["by"]),
        (&true.into(), &"operator".into())
    );
    good(&whole.decide(&site, "reject", held[1], "invented"));
    refused(&whole.decide(&site, "reject", held[1], "again"), "404");
    assert_eq!(whole.held(), held[2..]);
    until("the released reading", HELD_WITHIN, || {
        (stored(&whole) == before + 1).then_some(())
    });
    drop(whole);

    // The edge alone, killed and started again: what was held is held, and an analyst can go on.
    let config = site.at("edge.toml");
    std::fs::write(&config, "[edge]\nutility = \"127.0.0.1:1\"\n").unwrap();
    let alone = site.serve(&["--role", "edge", "--config", text(&config)]);
    assert_eq!(alone.held(), held[2..]);
    good(&alone.decide(&site, "reject", held[2], "invented, too"));
    let answer = good(&alone.decide(&site, "release", held[3], "seems right"));
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["is_done"], false, "the utility is away: {answer}");
    refused(&alone.decide(&site, "reject", held[3], "no"), "409");
    let trust = alone.get("/api/v1/security/trust?kind=device");
    assert_eq!(trust[0]["name"], TITLE);
    let certificates = alone.get("/api/v1/security/certificates");
    assert_eq!(certificates["is_protected"], false);
    drop(alone);

    // With the utility back the released reading is stored, and the log says so by itself.
    let whole = site.serve(&arguments);
    let late = until("the late outcome", HELD_WITHIN, || {
        let all = good(&whole.ask(&["quarantine", "decisions", "--json"]));
        let all: Value = serde_json::from_str(&all).unwrap();
        let mut late = all.as_array().unwrap().iter();
        late.find(|it| it["packet"] == held[3] && it["is_done"] == true)
            .cloned()
    });
    assert_eq!(late["detail"], "the utility has the reading");
    assert_eq!(whole.held(), held[4..]);

    // All that wait of an incident at once.
    let incidents = good(&whole.ask(&["incident", "list", "--json"]));
    let incidents: Value = serde_json::from_str(&incidents).unwrap();
    let incident = incidents.as_array().unwrap().iter();
    let incident = incident.filter(|it| it["held"].as_u64().unwrap() > 0);
    let incident: Vec<_> = incident.map(|it| it["id"].as_u64().unwrap()).collect();
    let of_incident = |verb: &str, id: u64| {
        let (id, token) = (id.to_string(), site.at("data/operator.token"));
        let all = [
            "quarantine",
            verb,
            "--incident",
            &id,
            "--reason",
            "all of it",
        ];
        whole.ask(&[&all[..], &["--json", "--token-file", text(&token)]].concat())
    };
    refused(&of_incident("reject", 9_999), "404");
    let mut rejected = 0;
    for id in &incident {
        let answer: Value = serde_json::from_str(&good(&of_incident("reject", *id))).unwrap();
        assert_eq!(
            (&answer["is_done"], &answer["incident"]),
            (&true.into(), &(*id).into())
        );
        assert_eq!(answer["packets"], answer["done"]);
        rejected += answer["done"].as_u64().unwrap();
    }
    assert_eq!(usize::try_from(rejected).unwrap(), held.len() - 4);
    assert!(whole.held().is_empty());
    refused(&of_incident("release", incident[0]), "409");
    drop(whole);

    // Each decision stands in the chain before it was done, and after.
    let decisions = site.decisions();
    let said: Vec<_> = decisions
        .iter()
        .map(|record| (record.after.as_str(), is_done(record)))
        .collect();
    let expected = [
        ("released, because: the fitter was there", true),
        ("rejected, because: invented", true),
        ("rejected, because: invented, too", true),
        ("released, because: seems right", false),
    ];
    let twice = expected.into_iter();
    let mut twice: Vec<_> = twice
        .flat_map(|(words, done)| [(words, false), (words, done)])
        .collect();
    twice.push(("released, because: seems right", true));
    for _ in &incident {
        let words = "rejected, because: all of it";
        twice.extend([(words, false), (words, true)]);
    }
    assert_eq!(said, twice);
    let all_of_it = decisions.last().unwrap();
    assert!(all_of_it.before.contains(" held packets "), "{all_of_it:?}");
    assert!(decisions.iter().all(|record| record.actor == "operator"));
}

fn is_done(record: &AuditRecord) -> bool {
    record.outcome == AuditOutcome::Done
}
