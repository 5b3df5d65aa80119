//! Five processes on loopback, one for each tier, over mutual TLS: readings flow from emulated meters to the
//! archive, an order flows back, each tier in turn is killed, and nothing is lost.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod process;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use process::{gridloom, http_get, run, text, until};
use serde_json::Value;

const EK: &str = "A1B2C3D4E5F60718293A4B5C6D7E8F90";
const AK: &str = "0F1E2D3C4B5A69788796A5B4C3D2E1F0";

/// A meter that begins with a day of minutes owes so many readings.
const DAY: u64 = 1_440;

/// Pushing a day's profiles through five processes that are killed meanwhile, on a busy machine.
const FLOW_MAX: Duration = Duration::from_secs(180);

const STOP_MAX: Duration = Duration::from_secs(30);

/// A process that prints `heading text` lines up to `ready`; killed when dropped.
struct Process {
    child: Child,
    log: PathBuf,
    lines: BTreeMap<String, String>,
}

impl Process {
    fn start(mut command: Command, log: &Path, last: &str) -> Self {
        let errors = std::fs::File::create(log).unwrap();
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut lines = BTreeMap::new();
        loop {
            let mut line = String::new();
            let length = out.read_line(&mut line).unwrap();
            assert!(length > 0, "{}", std::fs::read_to_string(log).unwrap());
            if line.starts_with(last) {
                break;
            }
            if let Some((heading, rest)) = line.split_once(' ') {
                lines.insert(heading.to_owned(), rest.trim().to_owned());
            }
        }
        // Nobody writes more than a pipe holds after that.
        child.stdout = Some(out.into_inner());
        let log = log.to_owned();
        Self { child, log, lines }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(sent.success());
    }

    /// SIGTERM, as a service manager does it.
    fn stop(mut self) {
        self.signal("-TERM");
        let status = until("a clean stop", STOP_MAX, || self.child.try_wait().unwrap());
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        assert!(status.success() && !log.contains("panicked"), "{log}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn good(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{out}{words}");
    out
}

/// A folder with one configuration for all tiers, their directories and logs.
struct Site {
    folder: tempfile::TempDir,
    config: BTreeMap<&'static str, String>,
}

impl Site {
    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Adds a dial address that became known, as the operator's file would have it.
    fn dial(&mut self, section: &'static str, key: &str, address: &str) {
        let lines = self.config.entry(section).or_default();
        lines.push_str(&format!("{key} = \"{address}\"\n"));
        let sections = self.config.iter();
        let whole: String = sections
            .map(|(name, it)| format!("[{name}]\n{it}"))
            .collect();
        std::fs::write(self.at("tiers.toml"), whole).unwrap();
    }

    /// Starts the process of one tier, listening on `port` under `key`.
    fn tier(&self, role: &str, listen: &[(&str, &str)]) -> Process {
        let mut command = gridloom();
        command.args(["serve", "--role", role, "--period-minutes", "1"]);
        command.args(["--config", text(&self.at("tiers.toml"))]);
        command.args(["--profiles", text(&self.at("profiles"))]);
        command.args(["--master-key", text(&self.at("master.key"))]);
        if role != "gateway" {
            command.args(["--data", text(&self.at(role))]);
        }
        for (flag, address) in listen {
            command.args([flag, address]);
        }
        Process::start(command, &self.at(&format!("{role}.log")), "ready")
    }

    /// Starts a process of a role that there are two of: it has its own name, directory and
    /// configuration, which is `lines` of the role's section.
    fn named(&self, role: &str, name: &str, lines: &str, port: &str) -> Process {
        let config = self.at(&format!("{name}.toml"));
        std::fs::write(&config, format!("[{role}]\nname = \"{name}\"\n{lines}")).unwrap();
        let mut command = gridloom();
        command.args(["serve", "--role", role, "--period-minutes", "1"]);
        command.args(["--config", text(&config), &format!("--{role}"), port]);
        command.args(["--profiles", text(&self.at("profiles"))]);
        command.args(["--master-key", text(&self.at("master.key"))]);
        if role != "gateway" {
            command.args(["--data", text(&self.at(name))]);
        }
        Process::start(command, &self.at(&format!("{name}.log")), "ready")
    }

    /// Registers three meters of a gateway, and copies them for these tiers.
    fn register(&self, gateway: &str, tiers: &[(&str, &str)]) {
        std::fs::create_dir(self.at("profiles")).unwrap();
        let usual = include_str!("../../../profiles/gridloom.toml");
        let minute = format!("capture_period_minutes = 1\n{usual}");
        std::fs::write(self.at("profiles/minute.toml"), minute).unwrap();
        let mut csv = "title,serial,name,transport,address,server,roles,template,groups,\
                       service_point,fuse_a,guek,gak\n"
            .to_owned();
        for number in 1..=3 {
            csv += &format!(
                "474C4D000000000{number},S{number},Home {number},gateway,{gateway},{number},\
                 1:hls5/0,minute,all,P{number},63,{EK},{AK}\n"
            );
        }
        std::fs::write(self.at("meters.csv"), csv).unwrap();
        let (profiles, master, headend) = (
            self.at("profiles"),
            self.at("master.key"),
            self.at("headend"),
        );
        let csv = self.at("meters.csv");
        let place = ["--data", text(&headend), "--profiles", text(&profiles)];
        let import = ["import", text(&csv), "--master-key", text(&master)];
        self.meters(&[&import[..], &place[..]].concat());
        for (directory, tier) in tiers {
            let to = self.at(directory);
            let copy = ["copy", text(&to), "--data", text(&headend), "--for", tier];
            assert!(self.meters(&copy).starts_with("3 meters copied"));
            // Again, as after a change: the same numbers, the same keys.
            self.meters(&copy);
        }
    }

    /// Founds an authority, enrols every tier, and names the directory in the configuration.
    fn secure(&mut self) {
        let directory = self.at("pki");
        let pki = |arguments: &[&str]| {
            let place = ["--directory", text(&directory)];
            good(&run(&[&["pki"], arguments, &place].concat()));
        };
        pki(&["init"]);
        for (role, name) in [
            ("gateway", "gateway-1"),
            ("edge", "edge-1"),
            ("utility", "utility"),
            ("headend", "headend-1"),
            ("archive", "archive-1"),
        ] {
            pki(&["enrol", role, name, "--host", "127.0.0.1"]);
        }
        let lines = format!("directory = {directory:?}\n");
        std::fs::write(self.at("tiers.toml"), format!("[pki]\n{lines}")).unwrap();
        self.config.insert("pki", lines);
    }

    fn meters(&self, arguments: &[&str]) -> String {
        let mut all = vec!["meters"];
        all.extend(arguments);
        good(&run(&all))
    }
}

fn stored(utility: &Process) -> u64 {
    let (status, body) = http_get(console(utility), "/api/v1/snapshot");
    assert_eq!(status, 200, "{body}");
    let snapshot: Value = serde_json::from_str(&body).unwrap();
    snapshot["counters"]["readings_stored"].as_u64().unwrap()
}

fn console(process: &Process) -> SocketAddr {
    let url = &process.lines["console"];
    url["http://".len()..url.len() - 1].parse().unwrap()
}

#[test]
fn five_processes_lose_nothing_when_each_is_killed() {
    const ANY: &str = "127.0.0.1:0";
    let mut site = Site {
        folder: tempfile::tempdir().unwrap(),
        config: BTreeMap::from([(
            "utility",
            "cutoff_seconds = 1\nseal_after_minutes = 1\n".to_owned(),
        )]),
    };
    site.register("gateway-1", &[("edge", "edge"), ("utility", "utility")]);
    site.secure();
    let archive = site.tier("archive", &[("--archive", ANY)]);
    site.dial("utility", "archive", &archive.lines["archive"]);
    let mut utility = site.tier("utility", &[("--utility", ANY), ("--console", ANY)]);
    let links = &utility.lines["links"];
    assert!(
        links.starts_with("mutual TLS 1.3, 5 certificates"),
        "{links}"
    );
    let at_utility = utility.lines["utility"].clone();
    site.dial("edge", "utility", &at_utility);
    site.dial("headend", "utility", &at_utility);
    let mut edge = site.tier("edge", &[("--edge", ANY)]);
    let (at_edge, said) = edge.lines["edge"].split_once(" as ").unwrap();
    let (at_edge, title) = (
        at_edge.to_owned(),
        said.split(',').next().unwrap().to_owned(),
    );
    assert!(said.ends_with(", 3 meters"), "{said}");
    site.dial("gateway", "edge", &at_edge);
    let mut gateway = site.tier("gateway", &[("--gateway", ANY)]);
    let at_gateway = gateway.lines["gateway"].clone();
    let headend = site.tier("headend", &[("--console", ANY)]);

    let mut field = gridloom();
    field.args(["emulate", "meter", "--meters", "3", "--period", "1"]);
    field.args(["--title", "474C4D0000000001", "--ek", EK, "--ak", AK]);
    field.args(["--listen", ANY, "--push-to", &at_gateway]);
    field.args(["--edge-title", &title, "--data", text(&site.at("field"))]);
    let field = Process::start(field, &site.at("field.log"), "read it");

    // Each is killed while thousands of readings are under way, and comes back where it was.
    let flows = |utility: &Process, least| {
        until("readings in the store", FLOW_MAX, || {
            (stored(utility) >= least).then_some(())
        });
    };
    flows(&utility, 300);
    edge.kill();
    edge = site.tier("edge", &[("--edge", &at_edge)]);
    assert!(
        edge.lines["edge"].contains(&title),
        "an edge keeps its title"
    );
    flows(&utility, 1_000);
    utility.kill();
    let (data, early) = (site.at("utility"), site.at("early"));
    let copied = Command::new("cp").arg("-r").args([&data, &early]).status();
    assert!(copied.unwrap().success());
    utility = site.tier("utility", &[("--utility", &at_utility), ("--console", ANY)]);
    flows(&utility, 1_800);
    gateway.kill();
    gateway = site.tier("gateway", &[("--gateway", &at_gateway)]);
    flows(&utility, 3 * DAY);

    // The head-end reaches a meter through all of them.
    let token = site.at("headend/operator.token");
    let url = headend.lines["console"].clone();
    let order = ["order", "read", "--group", "all", "--json", "--url", &url];
    let read = until("a read through the tiers", FLOW_MAX, || {
        let output = run(&[&order[..], &["--token-file", text(&token)]].concat());
        let view: Value = serde_json::from_slice(&output.stdout).ok()?;
        (view["done"] == 3).then_some(view)
    });
    let detail = read["parts"][0]["detail"].as_str().unwrap().to_owned();
    assert!(detail.ends_with(" Wh"), "{detail}");
    // Yesterday is sealed and kept as an object.
    let _ = until("a day in the archive", FLOW_MAX, || {
        let days = site.at("archive/archive/readings");
        std::fs::read_dir(days).ok()?.next()
    });

    for process in [headend, field, gateway, edge, utility, archive] {
        process.stop();
    }
    let field = site.at("field");
    let check = [
        "check",
        "--json",
        "--data",
        text(&data),
        "--field",
        text(&field),
    ];
    let accounts: Value = serde_json::from_str(&good(&run(&check))).unwrap();
    let accounts = accounts.as_array().unwrap();
    assert_eq!(accounts.len(), 3, "{accounts:?}");
    for account in accounts {
        let figure = |name: &str| account[name].as_u64().unwrap();
        for fault in ["gaps", "lost", "twice", "altered", "mispriced"] {
            assert_eq!(figure(fault), 0, "{fault}: {account}");
        }
        assert!(figure("acknowledged") >= DAY, "{account}");
        // What was captured while everything stopped may still be under way, and no more.
        assert!(figure("stored") + 3 >= figure("captured"), "{account}");
    }
    // The account is no formality: as it was when it was killed, the utility lacks readings that
    // it has acknowledged since.
    let then = [
        "check",
        "--json",
        "--data",
        text(&early),
        "--field",
        text(&field),
    ];
    let output = run(&then);
    assert_eq!(output.status.code(), Some(1));
    let accounts: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(accounts[0]["lost"].as_u64().unwrap() > 0, "{accounts}");
    // Neither program takes the other's directory.
    let demo = process::refusal(&["demo", "--days", "1", "--quiet", "--data", text(&data)]);
    assert!(demo.contains("made by gridloom serve"), "{demo}");
}

/// Two gateways, each with two edges: one of each is killed while readings flow, and the meters
/// and the gateways take their other way.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "how long it took is told, and nothing depends on it"
)]
fn meters_and_gateways_take_another_way() {
    const ANY: &str = "127.0.0.1:0";
    let mut site = Site {
        folder: tempfile::tempdir().unwrap(),
        config: BTreeMap::new(),
    };
    site.register(
        "gateway-a",
        &[
            ("edge-a", "edge"),
            ("edge-b", "edge"),
            ("utility", "utility"),
        ],
    );
    site.dial("utility", "name", "Twice");
    let utility = site.tier("utility", &[("--utility", ANY), ("--console", ANY)]);
    let above = format!("utility = {:?}\n", utility.lines["utility"]);
    let edge = |name: &str, port: &str| site.named("edge", name, &above, port);
    let place = |edge: &Process| {
        let (at, said) = edge.lines["edge"].split_once(" as ").unwrap();
        let title = said.split(',').next().unwrap();
        (at.to_owned(), title.to_owned())
    };
    let (edge_a, edge_b) = (edge("edge-a", ANY), edge("edge-b", ANY));
    let ((at_a, title_a), (at_b, title_b)) = (place(&edge_a), place(&edge_b));
    assert_ne!(title_a, title_b, "two edges never share nonces");
    let gateway = |name: &str, port: &str, edges: [&str; 2]| {
        let lines = format!("edges = {edges:?}\nrelease_after_seconds = 5\n");
        site.named("gateway", name, &lines, port)
    };
    let gateway_a = gateway("gateway-a", ANY, [&at_a, &at_b]);
    let gateway_b = gateway("gateway-b", ANY, [&at_b, &at_a]);
    let at = |gateway: &Process| gateway.lines["gateway"].clone();
    let both = format!("{},{}", at(&gateway_a), at(&gateway_b));

    let mut field = gridloom();
    field.args(["emulate", "meter", "--meters", "3", "--period", "1"]);
    field.args(["--title", "474C4D0000000001", "--ek", EK, "--ak", AK]);
    field.args(["--listen", ANY, "--push-to", &both]);
    field.args(["--edge-title", &format!("{title_a},{title_b}")]);
    field.args(["--data", text(&site.at("field"))]);
    let field = Process::start(field, &site.at("field.log"), "read it");

    // What was on its way is stored first: it has gone on when some more than that is there.
    let goes_on = |what: &str| {
        let (before, since) = (stored(&utility), std::time::Instant::now());
        until(what, FLOW_MAX, || {
            (stored(&utility) > before + 60).then_some(())
        });
        eprintln!("{what}: readings flow again after {:?}", since.elapsed());
    };
    goes_on("everybody is there");
    let port = at(&gateway_a);
    gateway_a.kill();
    goes_on("their gateway was killed");
    let gateway_a = gateway("gateway-a", &port, [&at_a, &at_b]);
    edge_b.kill();
    goes_on("the other gateway's edge was killed");
    let edge_b = edge("edge-b", &at_b);
    assert_eq!(place(&edge_b).1, title_b, "an edge keeps its title");
    // Its sockets stand, and nothing answers: only heartbeats tell.
    edge_a.signal("-STOP");
    goes_on("the other edge stood still");
    edge_a.signal("-CONT");
    assert!(
        stored(&utility) < 3 * DAY,
        "they were killed while readings flowed"
    );
    until("every reading in the store", FLOW_MAX, || {
        (stored(&utility) >= 3 * DAY).then_some(())
    });

    for process in [field, gateway_a, gateway_b, edge_a, edge_b, utility] {
        process.stop();
    }
    let (data, field) = (site.at("utility"), site.at("field"));
    let check = [
        "check",
        "--json",
        "--data",
        text(&data),
        "--field",
        text(&field),
    ];
    let accounts: Value = serde_json::from_str(&good(&run(&check))).unwrap();
    let accounts = accounts.as_array().unwrap();
    assert_eq!(accounts.len(), 3, "{accounts:?}");
    for account in accounts {
        for fault in ["gaps", "lost", "twice", "altered", "mispriced"] {
            assert_eq!(account[fault].as_u64(), Some(0), "{fault}: {account}");
        }
    }
}
