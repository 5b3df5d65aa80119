//! Runs the real program, and asks it what an operator would ask.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::NamedTempFile;

/// A program that starts, stops or answers within this is well; debug builds on a busy machine
/// are slow.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// The signal that no process survives (POSIX `signal.h`).
const SIGKILL: i32 = 9;

/// Every layer on a port that the system chooses.
const ANY_PORT: [&str; 10] = [
    "--console",
    "127.0.0.1:0",
    "--gateway",
    "127.0.0.1:0",
    "--edge",
    "127.0.0.1:0",
    "--utility",
    "127.0.0.1:0",
    "--archive",
    "127.0.0.1:0",
];

/// The program with no configuration of the environment.
pub(crate) fn gridloom() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gridloom"));
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    gridloom()
        .args(arguments)
        .output()
        .expect("the program runs")
}

/// What a refused command said; panics if it was not refused.
pub(crate) fn refusal(arguments: &[&str]) -> String {
    let output = run(arguments);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?} said {words}");
    assert!(!words.contains("panicked"), "{arguments:?} said {words}");
    words
}

/// A demo's data directory as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

/// The time, for a deadline.
#[expect(
    clippy::disallowed_methods,
    reason = "the program under test lives in real time"
)]
pub(crate) fn clock() -> Instant {
    Instant::now()
}

/// Lets the program run.
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// The first answer of `probe`; panics with `what` if none comes within `time`.
pub(crate) fn until<T>(what: &str, time: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = clock() + time;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(clock() < deadline, "{what} did not happen within {time:?}");
        pause(Duration::from_millis(20));
    }
}

/// A demo at work; killed when dropped.
pub(crate) struct Demo {
    child: Child,
    out: BufReader<ChildStdout>,
    errors: NamedTempFile,
    /// Where each layer listens, by the name that the program prints.
    layers: Vec<(String, SocketAddr)>,
    console: SocketAddr,
}

/// How a demo ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// What it printed after its addresses.
    pub(crate) out: String,
    /// What it logged.
    pub(crate) errors: String,
}

impl Demo {
    /// Starts `gridloom demo` and waits until it says where its console is.
    pub(crate) fn start(data: &Path, arguments: &[&str]) -> Self {
        let (child, errors) = Self::spawn(data, arguments);
        Self::listen_to(child, errors)
    }

    /// Starts `gridloom demo` and kills it after `time`, wherever it is by then.
    pub(crate) fn start_and_kill_after(data: &Path, arguments: &[&str], time: Duration) {
        let (mut child, _errors) = Self::spawn(data, arguments);
        pause(time);
        child.kill().expect("the program can be killed");
        child.wait().expect("the program can be waited for");
    }

    fn spawn(data: &Path, arguments: &[&str]) -> (Child, NamedTempFile) {
        let errors = NamedTempFile::new().expect("a temporary file");
        let child = gridloom()
            .args(["demo", "--quiet", "--data", text(data)])
            .args(ANY_PORT)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(errors.reopen().expect("the temporary file again"))
            .spawn()
            .expect("the program starts");
        (child, errors)
    }

    fn listen_to(mut child: Child, errors: NamedTempFile) -> Self {
        let mut out = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        let mut layers = Vec::new();
        let console = loop {
            let mut line = String::new();
            let length = out.read_line(&mut line).expect("its output is text");
            if length == 0 {
                let status = child.wait().expect("the program can be waited for");
                panic!("the demo ended with {status}: {}", read(errors.path()));
            }
            let line = line.trim_end();
            if let Some(url) = line.strip_prefix("console  http://") {
                let address = url.trim_end_matches('/');
                break address.parse().expect("the console's address");
            }
            if let Some((layer, address)) = line.rsplit_once(' ') {
                let address = address.parse().expect("a layer's address");
                layers.push((layer.trim_end().to_owned(), address));
            }
        };
        Self {
            child,
            out,
            errors,
            layers,
            console,
        }
    }

    /// The console's address.
    pub(crate) const fn console(&self) -> SocketAddr {
        self.console
    }

    /// Where each layer listens, by the name that the program prints.
    pub(crate) fn layers(&self) -> &[(String, SocketAddr)] {
        &self.layers
    }

    /// The process number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What `/api/v1/…` of the console says.
    pub(crate) fn api(&self, path: &str) -> Value {
        let (status, body) = http_get(self.console, &format!("/api/v1/{path}"));
        assert_eq!(status, 200, "{path}: {body}; {}", self.errors());
        serde_json::from_str(&body).expect("the API speaks JSON")
    }

    /// A counter of `/api/v1/snapshot`.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.api("snapshot")["counters"][name]
            .as_u64()
            .unwrap_or_else(|| panic!("no counter {name}"))
    }

    /// What it logged up to now.
    pub(crate) fn errors(&self) -> String {
        read(self.errors.path())
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("the program can be waited for")
            .is_none()
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = read(&PathBuf::from(format!("/proc/{}/status", self.id())));
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|kilobytes| kilobytes.parse::<u64>().ok())
            .map(|kilobytes| kilobytes * 1_024)
            .expect("the kernel tells VmRSS")
    }

    /// SIGKILL: the process gets no chance to put anything in order.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("the program can be killed");
        let status = self.child.wait().expect("the program can be waited for");
        assert_eq!(
            status.signal(),
            Some(SIGKILL),
            "the demo had ended before it was killed, with {status}: {}",
            self.errors()
        );
    }

    /// Ctrl-C.
    pub(crate) fn interrupt(self) -> Ended {
        let sent = Command::new("kill")
            .args(["-INT", &self.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(sent.success(), "the program could not be interrupted");
        self.wait(ANSWER_MAX)
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait(mut self, time: Duration) -> Ended {
        let deadline = clock() + time;
        let status = loop {
            if let Some(status) = self
                .child
                .try_wait()
                .expect("the program can be waited for")
            {
                break status;
            }
            assert!(
                clock() < deadline,
                "the demo did not end within {time:?}: {}",
                self.errors()
            );
            pause(Duration::from_millis(20));
        };
        let mut out = String::new();
        self.out
            .read_to_string(&mut out)
            .expect("its output is text");
        Ended {
            status,
            out,
            errors: self.errors(),
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // A test that failed leaves no process behind; one that ended cannot be killed again.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Panics unless it ended in good order.
    pub(crate) fn in_order(self) -> Self {
        assert!(
            self.status.success(),
            "the demo ended with {}: {}",
            self.status,
            self.errors
        );
        assert!(!self.errors.contains("panicked"), "{}", self.errors);
        self
    }
}

fn read(path: &Path) -> String {
    std::fs::read(path).map_or_else(
        |error| format!("{}: {error}", path.display()),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}

/// A GET over HTTP/1.1 that asks for the end of the connection: status and body.
pub(crate) fn http_get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the console listens");
    stream
        .set_read_timeout(Some(ANSWER_MAX))
        .expect("a read timeout");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .expect("the console reads");
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .expect("the console answers");
    let answer = String::from_utf8(answer).expect("the answer is UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    let status = head
        .split_whitespace()
        .nth(1)
        .and_then(|code| code.parse().ok())
        .expect("an answer has a status");
    assert!(
        !head.to_ascii_lowercase().contains("chunked"),
        "this client reads no chunks"
    );
    (status, body.to_owned())
}

/// The account that `gridloom check` gives of each house; panics if one does not add up.
pub(crate) fn check(data: &Path) -> Vec<Account> {
    let output = run(&["check", "--json", "--data", text(data)]);
    let out = String::from_utf8_lossy(&output.stdout);
    let words = String::from_utf8_lossy(&output.stderr);
    let mut wrong = String::new();
    let parsed: Value = serde_json::from_str(&out)
        .unwrap_or_else(|error| panic!("check printed no JSON ({error}): {out}{words}"));
    let accounts: Vec<Account> = parsed
        .as_array()
        .expect("check prints a list")
        .iter()
        .map(Account::of)
        .collect();
    for account in &accounts {
        for fault in ["lost", "twice", "altered", "mispriced", "wrong_bills"] {
            let count = account.get(fault);
            if count != 0 {
                let _ = writeln!(wrong, "{}: {fault} = {count}", account.house);
            }
        }
    }
    assert_eq!(wrong, "", "{out}");
    assert!(output.status.success(), "check: {words}");
    accounts
}

/// What `gridloom check` says of one house.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) house: String,
    figures: Value,
}

impl Account {
    fn of(figures: &Value) -> Self {
        Self {
            house: figures["house"]
                .as_str()
                .expect("a house's name")
                .to_owned(),
            figures: figures.clone(),
        }
    }

    /// One of its figures.
    pub(crate) fn get(&self, name: &str) -> u64 {
        self.figures[name]
            .as_u64()
            .unwrap_or_else(|| panic!("check has no figure {name}: {}", self.figures))
    }
}

/// What `gridloom bill --json` says.
pub(crate) fn bills(data: &Path) -> Vec<Value> {
    let output = run(&["bill", "--json", "--data", text(data)]);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "bill: {words}");
    serde_json::from_slice(&output.stdout).expect("bill prints JSON")
}

/// Draws numbers from a seed (SplitMix64), so that a failure can be run again.
pub(crate) struct Draws(u64);

impl Draws {
    /// From `GRIDLOOM_SEED`, or from a fixed seed; says which, for the test that fails.
    pub(crate) fn seeded() -> Self {
        let seed = std::env::var("GRIDLOOM_SEED").map_or(2_026, |text| {
            text.parse().expect("GRIDLOOM_SEED is a number")
        });
        eprintln!("GRIDLOOM_SEED={seed}");
        Self(seed)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number in `from..to`.
    pub(crate) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from)
    }

    /// That many bytes.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.next().to_le_bytes())
            .flatten()
            .take(length)
            .collect()
    }
}
