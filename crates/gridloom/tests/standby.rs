//! A head-end pair of real processes under load: the active member is killed, put to sleep and told
//! to hand over, and nothing is lost.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod process;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use process::{clock, gridloom, pause, run, text, until};
use serde_json::Value;

const EK: &str = "A1B2C3D4E5F60718293A4B5C6D7E8F90";
const AK: &str = "0F1E2D3C4B5A69788796A5B4C3D2E1F0";

/// On a busy machine.
const FLOW_MAX: Duration = Duration::from_secs(120);

/// A process that has printed everything up to a line; killed when dropped.
struct Process {
    child: Child,
    /// What it printed, by heading.
    lines: Vec<String>,
}

impl Process {
    fn start(mut command: Command, log: &Path, last: &str) -> Self {
        let errors = std::fs::File::options()
            .append(true)
            .create(true)
            .open(log)
            .unwrap();
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let length = out.read_line(&mut line).unwrap();
            assert!(length > 0, "{}", std::fs::read_to_string(log).unwrap());
            if line.starts_with(last) {
                break;
            }
            lines.push(line.trim().to_owned());
        }
        // Nobody writes more than a pipe holds after that.
        child.stdout = Some(out.into_inner());
        Self { child, lines }
    }

    fn line(&self, heading: &str) -> String {
        let lines = self.lines.iter();
        let mut found = lines.filter_map(|line| line.strip_prefix(heading));
        found.next().unwrap().trim().to_owned()
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([name, &id]).status().unwrap();
        assert!(sent.success());
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn stop(mut self) {
        self.signal("-TERM");
        let status = until("a clean stop", FLOW_MAX, || self.child.try_wait().unwrap());
        assert!(status.success());
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

/// An address that nobody listens on now.
fn free() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Where one member is.
struct Address {
    keeper: String,
    utility: String,
    console: String,
}

struct Site {
    folder: tempfile::TempDir,
    members: [Address; 2],
}

impl Site {
    fn new() -> Self {
        let address = || Address {
            keeper: free(),
            utility: free(),
            console: free(),
        };
        Self {
            folder: tempfile::tempdir().unwrap(),
            members: [address(), address()],
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn data(&self, member: usize) -> PathBuf {
        self.at(["one", "two"][member])
    }

    /// The usual flags of every process.
    fn serve(&self, roles: &str, config: &str, data: &Path) -> Command {
        let file = self.at(&format!("{}.toml", roles.replace(',', "-")));
        let file = file.with_extension(format!("{}.toml", data.file_name().unwrap().display()));
        std::fs::write(&file, config).unwrap();
        let mut command = gridloom();
        command.args(["serve", "--role", roles, "--period-minutes", "1"]);
        command.args(["--config", text(&file), "--data", text(data)]);
        command.args(["--profiles", text(&self.at("profiles"))]);
        command.args(["--master-key", text(&self.at("master.key"))]);
        command
    }

    fn member(&self, member: usize) -> Process {
        let (own, other) = (&self.members[member], &self.members[1 - member]);
        let config = format!(
            "[utility]\ncutoff_seconds = 1\nseal_after_minutes = 1\nlisten = {:?}\n\
             [standby]\nplace = {}\nlisten = {:?}\npeer = {:?}\nedges = [\"edge-1\"]\n",
            own.utility,
            member + 1,
            own.keeper,
            other.keeper
        );
        let data = self.data(member);
        let mut command = self.serve("utility,headend", &config, &data);
        command.args(["--console", &own.console]);
        Process::start(command, &self.at(&format!("member-{member}.log")), "ready")
    }

    fn edge(&self) -> Process {
        let [one, two] = &self.members;
        let config = format!(
            "[edge]\nutility = {:?}\nutility_standby = {:?}\npair = [{:?}, {:?}]\n",
            one.utility, two.utility, one.keeper, two.keeper
        );
        let mut command = self.serve("gateway,edge", &config, &self.at("edge"));
        command.args(["--gateway", "127.0.0.1:0", "--edge", "127.0.0.1:0"]);
        Process::start(command, &self.at("edge.log"), "ready")
    }

    /// What a member says of itself, if it answers.
    fn status(&self, member: usize) -> Option<Value> {
        let url = format!("http://{}", self.members[member].console);
        let output = run(&["failover", "status", "--json", "--url", &url]);
        serde_json::from_slice(&output.stdout).ok()
    }

    fn wait_for(&self, member: usize, field: &str, value: &str) -> Value {
        until(&format!("{field} {value}"), FLOW_MAX, || {
            self.status(member).filter(|view| view[field] == value)
        })
    }

    /// Nothing while the console changes hands.
    fn stored(&self, member: usize) -> Option<u64> {
        let console = &self.members[member].console;
        let mut stream = TcpStream::connect(console).ok()?;
        let request = format!(
            "GET /api/v1/snapshot HTTP/1.1\r\nHost: {console}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        let snapshot: Value = serde_json::from_str(body).ok()?;
        snapshot["counters"]["readings_stored"].as_u64()
    }

    fn flows(&self, member: usize, least: u64) {
        until("readings in the store", FLOW_MAX, || {
            self.stored(member).filter(|stored| *stored >= least)
        });
    }
}

#[test]
fn a_pair_takes_over_when_the_active_member_is_killed_sleeps_or_hands_over() {
    let site = Site::new();
    std::fs::create_dir(site.at("profiles")).unwrap();
    let usual = include_str!("../../../profiles/gridloom.toml");
    let minute = format!("capture_period_minutes = 1\n{usual}");
    std::fs::write(site.at("profiles/minute.toml"), minute).unwrap();
    let mut csv = "title,serial,name,transport,address,server,roles,template,groups,service_point,\
                   fuse_a,guek,gak\n"
        .to_owned();
    for number in 1..=3 {
        csv += &format!(
            "474C4D000000000{number},S{number},Home {number},gateway,gateway-1,{number},\
             1:hls5/0,minute,all,P{number},63,{EK},{AK}\n"
        );
    }
    std::fs::write(site.at("meters.csv"), csv).unwrap();
    let (one, profiles, master) = (site.data(0), site.at("profiles"), site.at("master.key"));
    let place = ["--data", text(&one), "--profiles", text(&profiles)];
    let csv = site.at("meters.csv");
    let import = [
        "meters",
        "import",
        text(&csv),
        "--master-key",
        text(&master),
    ];
    good(&run(&[&import[..], &place[..]].concat()));
    let edge_data = site.at("edge");
    let copy = ["meters", "copy", text(&edge_data), "--data", text(&one)];
    good(&run(&[&copy[..], &["--for", "edge"]].concat()));

    // The founder becomes active with the edge's vote; its directory is what the second begins with.
    let edge = site.edge();
    let first = site.member(0);
    site.wait_for(0, "standing", "active");
    first.stop();
    let copied = Command::new("cp")
        .arg("-r")
        .args([&one, &site.data(1)])
        .status();
    assert!(copied.unwrap().success());
    let first = site.member(0);
    let alone = "alone, and says so";
    until(alone, FLOW_MAX, || {
        let view = site.status(0)?;
        (view["alone"] == true && view["advice"].as_str()?.contains("DEGRADED")).then_some(())
    });
    let mut second = site.member(1);
    let view = site.wait_for(0, "peer", "in_step");
    assert!(!view["alone"].as_bool().unwrap(), "{view}");
    assert_eq!(site.wait_for(1, "standing", "standby")["place"], 2);

    let title = edge.line("edge ");
    let (_, title) = title.split_once(" as ").unwrap();
    let title = title.split(',').next().unwrap();
    let mut field = gridloom();
    field.args(["emulate", "meter", "--meters", "3", "--period", "1"]);
    field.args(["--title", "474C4D0000000001", "--ek", EK, "--ak", AK]);
    field.args([
        "--listen",
        "127.0.0.1:0",
        "--push-to",
        &edge.line("gateway "),
    ]);
    field.args(["--edge-title", title, "--data", text(&site.at("field"))]);
    let field = Process::start(field, &site.at("field.log"), "read it");
    site.flows(0, 300);

    // Killed under load: the other takes over by itself.
    let began = clock();
    first.kill();
    site.wait_for(1, "standing", "active");
    eprintln!("killed: the other was active after {:?}", began.elapsed());
    site.flows(1, 1_000);

    // It comes back as the standby, is given everything, and the operator drills.
    let mut first = site.member(0);
    site.wait_for(1, "peer", "in_step");
    let url = format!("http://{}", site.members[1].console);
    let token = site.data(1).join("operator.token");
    let began = clock();
    good(&run(&[
        "failover",
        "drill",
        "--url",
        &url,
        "--token-file",
        text(&token),
    ]));
    site.wait_for(0, "standing", "active");
    eprintln!("drilled: the other was active after {:?}", began.elapsed());
    // The process that handed over goes on as the standby.
    site.wait_for(0, "peer", "in_step");
    site.wait_for(1, "standing", "standby");
    assert!(second.child.try_wait().unwrap().is_none(), "it lives");
    site.flows(0, 2_000);

    // Asleep, the first misses its lease; awake, it finds out and stands by.
    let began = clock();
    first.signal("-STOP");
    site.wait_for(1, "standing", "active");
    eprintln!("asleep: the other was active after {:?}", began.elapsed());
    pause(Duration::from_secs(1));
    first.signal("-CONT");
    site.wait_for(0, "standing", "standby");
    assert!(first.child.try_wait().unwrap().is_none(), "it lives");
    site.flows(1, 3 * 1_440);

    // The head-end reaches meters in its new reign.
    let order = ["order", "read", "--group", "all", "--json", "--url", &url];
    until("a read in the new reign", FLOW_MAX, || {
        let output = run(&[&order[..], &["--token-file", text(&token)]].concat());
        let view: Value = serde_json::from_slice(&output.stdout).ok()?;
        (view["done"] == 3).then_some(())
    });
    site.wait_for(1, "peer", "in_step");
    field.stop();
    for process in [second, first, edge] {
        process.stop();
    }
    let field = site.at("field");
    // Both members hold everything that was acknowledged.
    for member in 0..2 {
        let data = site.data(member);
        let place = ["--data", text(&data), "--field", text(&field)];
        let accounts = good(&run(&[&["check", "--json"], &place[..]].concat()));
        let accounts: Value = serde_json::from_str(&accounts).unwrap();
        for account in accounts.as_array().unwrap() {
            for fault in ["lost", "twice", "altered", "mispriced"] {
                assert_eq!(account[fault], 0, "{fault}: {account}");
            }
            assert!(
                account["acknowledged"].as_u64().unwrap() >= 1_440,
                "{account}"
            );
        }
    }
}
