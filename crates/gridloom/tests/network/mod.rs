//! Every tier as a process of its own over mutual TLS, two gateways and two edges among them, that
//! can be killed, stopped and started again one by one; and emulated meters that owe readings.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::process::{gridloom, run, text, until};

pub(crate) const EK: &str = "A1B2C3D4E5F60718293A4B5C6D7E8F90";
pub(crate) const AK: &str = "0F1E2D3C4B5A69788796A5B4C3D2E1F0";

/// A meter that begins with a day of minutes owes so many readings.
const DAY: u64 = 1_440;

const ANY: &str = "127.0.0.1:0";

const STOP_MAX: Duration = Duration::from_secs(60);

/// An answer that takes longer counts as none: whoever was asked may stand still.
const ANSWER_MAX: Duration = Duration::from_millis(400);

/// A node that may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    Archive,
    Utility,
    EdgeA,
    EdgeB,
    GatewayA,
    GatewayB,
    HeadEnd,
}

impl Node {
    pub(crate) const ALL: [Self; 7] = [
        Self::Archive,
        Self::Utility,
        Self::EdgeA,
        Self::EdgeB,
        Self::GatewayA,
        Self::GatewayB,
        Self::HeadEnd,
    ];

    const fn role(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Utility => "utility",
            Self::EdgeA | Self::EdgeB => "edge",
            Self::GatewayA | Self::GatewayB => "gateway",
            Self::HeadEnd => "headend",
        }
    }

    /// As certificates, files and the printed table call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Archive => "archive-1",
            Self::Utility => "utility",
            Self::EdgeA => "edge-a",
            Self::EdgeB => "edge-b",
            Self::GatewayA => "gateway-a",
            Self::GatewayB => "gateway-b",
            Self::HeadEnd => "headend-1",
        }
    }
}

/// A process that prints `heading text` lines up to `last`; killed when dropped.
#[derive(Debug)]
struct Process {
    child: Child,
    lines: BTreeMap<String, String>,
}

impl Process {
    fn start(arguments: &[String], log: &std::path::Path, last: &str) -> Self {
        let mut options = std::fs::OpenOptions::new();
        let errors = options.create(true).append(true).open(log).unwrap();
        let mut child = gridloom()
            .args(arguments)
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
        Self { child, lines }
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let mut command = std::process::Command::new("kill");
        assert!(command.args([signal, &id]).status().unwrap().success());
    }

    /// SIGTERM, as a service manager does it.
    fn stop(mut self, name: &str) {
        self.signal("-TERM");
        let status = until(name, STOP_MAX, || self.child.try_wait().unwrap());
        assert!(status.success(), "{name} ended with {status}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command printed; panics if it failed.
pub(crate) fn good(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{out}{words}");
    out
}

/// All processes, and the folder that holds their files.
pub(crate) struct Network {
    folder: tempfile::TempDir,
    /// With these arguments a node starts, and starts again.
    arguments: BTreeMap<Node, Vec<String>>,
    running: BTreeMap<Node, Process>,
    fleets: Vec<Process>,
    fleets_registered: u32,
    fleets_started: u32,
    meters_each: u32,
    edge_titles: [String; 2],
    gateways: [String; 2],
    utility_console: SocketAddr,
    headend_console: SocketAddr,
}

impl Network {
    /// Registers `fleets` of so many meters each, founds an authority and starts every tier.
    pub(crate) fn start(fleets: u32, meters_each: u32) -> Self {
        let nobody = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut network = Self {
            folder: tempfile::tempdir().unwrap(),
            arguments: BTreeMap::new(),
            running: BTreeMap::new(),
            fleets: Vec::new(),
            fleets_registered: fleets,
            fleets_started: 0,
            meters_each,
            edge_titles: Default::default(),
            gateways: Default::default(),
            utility_console: nobody,
            headend_console: nobody,
        };
        network.register();
        network.found_authority();
        let archive = network.first(Node::Archive, "", &[("archive", ANY)]);
        let lines = format!(
            "archive = {:?}\ncutoff_seconds = 1\nseal_after_minutes = 1\n",
            archive["archive"]
        );
        let ports = [("utility", ANY), ("console", ANY)];
        let utility = network.first(Node::Utility, &lines, &ports);
        network.utility_console = console(&utility);
        let above = format!("utility = {:?}\n", utility["utility"]);
        let mut edges = [String::new(), String::new()];
        for (index, node) in [Node::EdgeA, Node::EdgeB].into_iter().enumerate() {
            let edge = network.first(node, &above, &[("edge", ANY)]);
            let (at, said) = edge["edge"].split_once(" as ").unwrap();
            edges[index] = at.to_owned();
            network.edge_titles[index] = said.split(',').next().unwrap().to_owned();
        }
        let [a, b] = &edges;
        for (index, (node, edges)) in [(Node::GatewayA, [a, b]), (Node::GatewayB, [b, a])]
            .into_iter()
            .enumerate()
        {
            let lines = format!("edges = {edges:?}\nrelease_after_seconds = 5\n");
            let gateway = network.first(node, &lines, &[("gateway", ANY)]);
            network.gateways[index] = gateway["gateway"].clone();
        }
        let headend = network.first(Node::HeadEnd, &above, &[("console", ANY)]);
        network.headend_console = console(&headend);
        network
    }

    /// A file or folder of this network.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn register(&self) {
        std::fs::create_dir(self.at("profiles")).unwrap();
        let usual = include_str!("../../../../profiles/gridloom.toml");
        let minute = format!("capture_period_minutes = 1\n{usual}");
        std::fs::write(self.at("profiles/minute.toml"), minute).unwrap();
        let mut csv = "title,serial,name,transport,address,server,roles,template,groups,\
                       service_point,fuse_a,guek,gak\n"
            .to_owned();
        for fleet in 0..self.fleets_registered {
            for server in 1..=self.meters_each {
                let title = title(fleet, server);
                csv += &format!(
                    "{title},S{fleet}-{server},Home {fleet}-{server},gateway,street-{fleet},{server},\
                     1:hls5/0,minute,all,P{fleet}-{server},63,{EK},{AK}\n"
                );
            }
        }
        std::fs::write(self.at("meters.csv"), csv).unwrap();
        let files = ["headend-1", "profiles", "master.key", "meters.csv"].map(|name| self.at(name));
        let [headend, profiles, master, csv] = &files;
        let import = ["meters", "import", text(csv), "--master-key", text(master)];
        let place = ["--data", text(headend), "--profiles", text(profiles)];
        good(&run(&[&import[..], &place[..]].concat()));
        for (name, tier) in [
            ("edge-a", "edge"),
            ("edge-b", "edge"),
            ("utility", "utility"),
        ] {
            let to = self.at(name);
            let copy = ["meters", "copy", text(&to), "--data", text(headend)];
            good(&run(&[&copy[..], &["--for", tier]].concat()));
        }
    }

    fn found_authority(&self) {
        let directory = self.at("pki");
        let place = ["--directory", text(&directory)];
        good(&run(&[&["pki", "init"][..], &place].concat()));
        for node in Node::ALL {
            let enrol = ["pki", "enrol", node.role(), node.name()];
            let host = ["--host", "127.0.0.1"];
            good(&run(&[&enrol[..], &host, &place].concat()));
        }
    }

    /// Starts a node for the first time; it keeps the ports that it is given then.
    fn first(
        &mut self,
        node: Node,
        lines: &str,
        ports: &[(&str, &str)],
    ) -> BTreeMap<String, String> {
        let (name, role) = (node.name(), node.role());
        let config = self.at(&format!("{name}.toml"));
        let named = match node {
            Node::Utility | Node::HeadEnd => String::new(),
            Node::Archive | Node::EdgeA | Node::EdgeB | Node::GatewayA | Node::GatewayB => {
                format!("name = {name:?}\n")
            }
        };
        std::fs::write(&config, format!("[{role}]\n{named}{lines}")).unwrap();
        let mut fixed: Vec<String> = ["serve", "--role", role, "--period-minutes", "1"]
            .map(str::to_owned)
            .to_vec();
        for (flag, file) in [
            ("config", &*format!("{name}.toml")),
            ("profiles", "profiles"),
            ("master-key", "master.key"),
            ("data", name),
            ("pki", "pki"),
        ] {
            fixed.extend([format!("--{flag}"), text(&self.at(file)).to_owned()]);
        }
        let mut arguments = fixed.clone();
        for (flag, port) in ports {
            arguments.extend([format!("--{flag}"), (*port).to_owned()]);
        }
        let process = Process::start(&arguments, &self.log(name), "ready");
        let links = &process.lines["links"];
        assert!(links.starts_with("mutual TLS 1.3"), "{name}: {links}");
        for (flag, _) in ports {
            let said = process.lines[*flag].trim_start_matches("http://");
            let at = said.split([' ', '/']).next().unwrap();
            fixed.extend([format!("--{flag}"), at.to_owned()]);
        }
        let printed = process.lines.clone();
        self.arguments.insert(node, fixed);
        self.running.insert(node, process);
        printed
    }

    fn log(&self, name: &str) -> PathBuf {
        self.at(&format!("{name}.log"))
    }

    /// SIGKILL: the node gets no chance to put anything in order.
    pub(crate) fn kill(&mut self, node: Node) {
        let mut process = self.running.remove(&node).unwrap();
        process.child.kill().unwrap();
        process.child.wait().unwrap();
    }

    /// Starts a node again that was killed.
    pub(crate) fn start_again(&mut self, node: Node) {
        let process = Process::start(&self.arguments[&node], &self.log(node.name()), "ready");
        assert!(self.running.insert(node, process).is_none(), "{node:?}");
    }

    /// SIGSTOP or SIGCONT.
    pub(crate) fn signal(&self, node: Node, signal: &str) {
        self.running[&node].signal(signal);
    }

    /// Starts the next fleet, each of whose meters owes a day; `None` if all are at work.
    pub(crate) fn next_fleet(&mut self) -> Option<()> {
        let fleet = self.fleets_started;
        if fleet >= self.fleets_registered {
            return None;
        }
        let [a, b] = &self.gateways;
        let gateways = if fleet.is_multiple_of(2) {
            [a, b]
        } else {
            [b, a]
        };
        let gateways = gateways.map(String::as_str).join(",");
        let data = self.at(&format!("field-{fleet}"));
        let meters = self.meters_each.to_string();
        let (title, edges) = (title(fleet, 1), self.edge_titles.join(","));
        let arguments = [
            "emulate",
            "meter",
            "--meters",
            &meters,
            "--period",
            "1",
            "--title",
            &title,
            "--ek",
            EK,
            "--ak",
            AK,
            "--listen",
            ANY,
            "--push-to",
            &gateways,
            "--edge-title",
            &edges,
            "--data",
            text(&data),
        ];
        let log = self.log(&format!("field-{fleet}"));
        let process = Process::start(&arguments.map(str::to_owned), &log, "read it");
        self.fleets.push(process);
        self.fleets_started += 1;
        Some(())
    }

    /// Readings that a fleet owes when it begins.
    pub(crate) fn fleet_owes(&self) -> u64 {
        u64::from(self.meters_each) * DAY
    }

    /// Readings that the fleets at work owed when they began.
    pub(crate) fn owed(&self) -> u64 {
        self.fleet_owes() * u64::from(self.fleets_started)
    }

    /// Fleets that were started.
    pub(crate) const fn fleets_started(&self) -> u32 {
        self.fleets_started
    }

    /// Where a fleet's meters answer.
    pub(crate) fn fleet_address(&self, fleet: usize) -> String {
        let said = self.fleets[fleet].lines["listening"].clone();
        said.trim_start_matches("on ").to_owned()
    }

    /// Where the utility counts what it stores.
    pub(crate) const fn utility_console(&self) -> SocketAddr {
        self.utility_console
    }

    /// Where the head-end takes orders.
    pub(crate) const fn headend_console(&self) -> SocketAddr {
        self.headend_console
    }

    /// What every process said on its error output.
    pub(crate) fn logs(&self) -> BTreeMap<String, String> {
        let files = std::fs::read_dir(self.folder.path()).unwrap();
        let paths = files.map(|file| file.unwrap().path());
        paths
            .filter(|path| path.extension().is_some_and(|it| it == "log"))
            .map(|path| {
                let name = path.file_stem().unwrap().to_string_lossy().into_owned();
                (name, std::fs::read_to_string(path).unwrap())
            })
            .collect()
    }

    /// Stops every process in good order, meters first.
    pub(crate) fn stop(&mut self) {
        for process in self.fleets.drain(..) {
            process.stop("emulated meters");
        }
        for node in Node::ALL.into_iter().rev() {
            self.running.remove(&node).unwrap().stop(node.name());
        }
    }
}

fn title(fleet: u32, server: u32) -> String {
    format!("474C4D{:010X}", fleet * 0x1_0000 + server)
}

fn console(lines: &BTreeMap<String, String>) -> SocketAddr {
    let url = &lines["console"];
    url["http://".len()..url.len() - 1].parse().unwrap()
}

/// What a console says within a moment; `None` if it is away or stands still.
pub(crate) fn ask(console: SocketAddr, path: &str) -> Option<Value> {
    let mut stream = TcpStream::connect_timeout(&console, ANSWER_MAX).ok()?;
    stream.set_read_timeout(Some(ANSWER_MAX)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {console}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    if head.split_whitespace().nth(1) != Some("200") {
        return None;
    }
    serde_json::from_str(body).ok()
}
