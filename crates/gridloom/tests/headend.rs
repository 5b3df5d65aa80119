//! A head-end that runs: meters come in over its HTTP API, are read at once and as far back as
//! they hold, over every transport, and push to it from elsewhere.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]
#![cfg(target_os = "linux")]

mod process;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gridloom_core::{SystemTitle, UtcTime};
use gridloom_dlms::apdu::{DataNotification, DataNotificationConfirm, LongInvokeId};
use gridloom_dlms::axdr::Data;
use gridloom_dlms::datetime::CosemDateTime;
use gridloom_dlms::security::{CipherContext, CipheredApdu, Keys, Policy, Protection};
use gridloom_dlms::wrapper::{Frame, HEADER_LEN, WPort};
use process::{gridloom, http_get, run, text, until};
use serde_json::Value;

/// Reading, and settling afterwards, on a busy machine.
const WELL_BEFORE: Duration = Duration::from_secs(120);

const EK: &str = "A1B2C3D4E5F60718293A4B5C6D7E8F90";
const AK: &str = "0F1E2D3C4B5A69788796A5B4C3D2E1F0";
const FOREIGN: SystemTitle = SystemTitle(*b"FOR00001");

/// A meter of another maker: every push is a row of its profile.
const TEMPLATE: &str = r#"
scaler_source = "unity"

[[push]]
objects = [
    "8 0-0:1.0.0.255 2",
    "3 1-0:1.29.0.255 2",
    "3 1-0:2.29.0.255 2",
    "3 1-0:1.8.0.255 2",
    "1 0-0:96.10.1.255 2",
]
"#;

/// A program that prints where it is and runs on; killed when dropped.
struct Running {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
    log: PathBuf,
}

impl Running {
    fn start(mut command: Command, log: &Path) -> Self {
        let errors = std::fs::File::create(log).unwrap();
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let log = log.to_owned();
        Self { child, out, log }
    }

    /// What the next line after `prefix` says.
    fn line(&mut self, prefix: &str) -> String {
        loop {
            let mut line = String::new();
            let length = self.out.read_line(&mut line).unwrap();
            assert!(
                length > 0,
                "{}",
                std::fs::read_to_string(&self.log).unwrap()
            );
            if let Some(rest) = line.strip_prefix(prefix) {
                return rest.trim().to_owned();
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn meter(way: &[&str], title: &str, days: &str, log: &Path) -> (Running, String) {
    let mut command = gridloom();
    command.args(["emulate", "meter", "--days", days, "--title", title]);
    command.args(["--ek", EK, "--ak", AK]).args(way);
    let mut running = Running::start(command, log);
    let at = running.line("listening on ");
    (running, at)
}

/// Two serial devices, and the cable between them.
fn cable() -> (serial2::SerialPort, PathBuf, serial2::SerialPort, PathBuf) {
    let end = || {
        let (ours, theirs) = serial2::SerialPort::pair().unwrap();
        let link = format!("/proc/self/fd/{}", theirs.as_raw_fd());
        (ours, std::fs::read_link(link).unwrap(), theirs)
    };
    let ((near, near_path, near_open), (far, far_path, far_open)) = (end(), end());
    for (from, to) in [(&near, &far), (&far, &near)] {
        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        carry(from, to);
    }
    // Held open: while nobody has a device open, the cable's end would report an error.
    (near_open, near_path, far_open, far_path)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the program under test lives in real time, and so does its cable"
)]
fn carry(mut from: serial2::SerialPort, to: serial2::SerialPort) {
    from.set_read_timeout(Duration::from_secs(3_600)).unwrap();
    std::thread::spawn(move || {
        let mut piece = [0; 512];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            if to.write_all(&piece[..length]).is_err() {
                return;
            }
        }
    });
}

fn post(at: SocketAddr, path: &str, token: &str, kind: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(at).unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nAuthorization: Bearer {token}\
         \r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

fn cipher() -> CipherContext {
    let unhex = |digits: &str| {
        let bytes = (0..16).map(|at| u8::from_str_radix(&digits[at * 2..at * 2 + 2], 16).unwrap());
        <[u8; 16]>::try_from(bytes.collect::<Vec<u8>>()).unwrap()
    };
    CipherContext::new(&Keys::new(unhex(EK), unhex(AK)))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the program under test lives in real time"
)]
fn last_quarter() -> UtcTime {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    UtcTime::from_secs(i64::try_from(since.as_secs() / 900 * 900).unwrap())
}

/// A wrapped push that wants an answer.
fn push(counter: u32, id: u32) -> Vec<u8> {
    let end = CosemDateTime::from_utc(last_quarter()).unwrap();
    let body = Data::Structure(vec![
        Data::OctetString(end.to_bytes().to_vec()),
        Data::DoubleLongUnsigned(120),
        Data::DoubleLongUnsigned(0),
        Data::DoubleLongUnsigned(7_000),
        Data::Unsigned(0),
    ]);
    let body = body.encode();
    let mut plain = Vec::new();
    DataNotification {
        invoke_id: LongInvokeId::confirmed(id),
        time: None,
        body: &body,
    }
    .encode(&mut plain);
    let mut apdu = Vec::new();
    cipher().protect(Protection::full(FOREIGN, counter), &plain, &mut apdu);
    Frame {
        source: WPort(1),
        destination: WPort(103),
        apdu: &apdu,
    }
    .to_bytes()
}

fn confirmed(frame: &[u8]) -> LongInvokeId {
    let frame = Frame::decode(frame).unwrap();
    let apdu = CipheredApdu::decode(frame.apdu).unwrap();
    let mut plain = Vec::new();
    let policy = Policy::AuthenticatedEncryption;
    let plain = cipher().open(&apdu, policy, &mut plain).unwrap();
    DataNotificationConfirm::decode(plain).unwrap().invoke_id
}

#[test]
fn meters_come_in_while_it_runs_over_every_transport_and_push_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("profiles")).unwrap();
    std::fs::write(at("profiles/foreign.toml"), TEMPLATE).unwrap();
    let config = "[headend]\nhistory_days = 2\n[headend.push]\ntcp = \"127.0.0.1:0\"\n\
                  udp = \"127.0.0.1:0\"\n";
    std::fs::write(at("serve.toml"), config).unwrap();
    let (_near_open, near, _far_open, far) = cable();
    let any = ["--listen", "127.0.0.1:0"];
    let ways: [(&str, Vec<&str>); 4] = [
        ("tcp", any.to_vec()),
        ("udp", [&any[..], &["--transport", "udp"]].concat()),
        ("hdlc-tcp", [&any[..], &["--transport", "hdlc"]].concat()),
        (
            "hdlc-serial",
            vec!["--serial", text(&far), "--baud", "115200"],
        ),
    ];
    let mut meters = Vec::new();
    let mut csv = "title,serial,name,transport,address,roles,template,groups,service_point,guek,\
                   gak,counter\n"
        .to_owned();
    for (number, (transport, way)) in ways.iter().enumerate() {
        let title = format!("474C4D00000000{number:02}");
        let (running, mut address) = meter(way, &title, "3", &at(transport));
        if *transport == "hdlc-serial" {
            address = format!("{}@115200", near.display());
        }
        meters.push(running);
        csv += &format!(
            "{title},S{number},Home {number},{transport},{address},1:hls5/0,standard,all,\
             P{number},{EK},{AK},5000\n"
        );
    }
    // It answers nobody; it only pushes.
    let title: String = FOREIGN.0.iter().map(|byte| format!("{byte:02X}")).collect();
    csv += &format!("{title},S9,Home 9,tcp,127.0.0.1:9,1:hls5/0,foreign,pushers,P9,{EK},{AK},\n");

    let mut serve = gridloom();
    serve.args(["serve", "--console", "127.0.0.1:0"]);
    for (key, path) in [
        ("--data", "data"),
        ("--config", "serve.toml"),
        ("--profiles", "profiles"),
        ("--master-key", "master.key"),
    ] {
        serve.args([key, text(&at(path))]);
    }
    for key in ["--utility", "--gateway", "--edge", "--archive"] {
        serve.args([key, "127.0.0.1:0"]);
    }
    let mut served = Running::start(serve, &at("served"));
    let tcp: SocketAddr = served
        .line("pushes ")
        .replace(" over TCP", "")
        .parse()
        .unwrap();
    let udp: SocketAddr = served
        .line("pushes ")
        .replace(" over UDP", "")
        .parse()
        .unwrap();
    let url = served.line("console ");
    let console: SocketAddr = url["http://".len()..url.len() - 1].parse().unwrap();
    let token = std::fs::read_to_string(at("data/operator.token")).unwrap();
    let token = token.trim();
    let import = |csv: &str| {
        post(
            console,
            "/api/v1/headend/meters/import",
            token,
            "text/csv",
            csv,
        )
    };

    // Faults by line and column, with the remedy; no row of the file is taken.
    let wrong = csv.replace("@115200", "@fast").replace("S1,", "S0,");
    let (status, faults) = import(&wrong);
    assert_eq!(status, 422, "{faults}");
    let said = faults.to_string();
    assert!(said.contains("/dev/ttyUSB0@9600"), "{said}");
    assert!(!said.contains(EK), "{said}");
    let listed = faults["faults"]
        .as_array()
        .unwrap_or_else(|| panic!("{faults}"));
    let places: Vec<_> = listed
        .iter()
        .map(|fault| {
            (
                fault["line"].as_u64().unwrap(),
                fault["column"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(places, [(3, "serial"), (5, "address")], "{faults}");
    let (_, body) = http_get(console, "/api/v1/headend/meters");
    assert_eq!(body, "[]");
    let (status, report) = import(&csv);
    assert_eq!(status, 200, "{report}");
    assert_eq!(report["added"], 5, "{report}");

    // Read at once, though the next quarter of an hour is far: two days, of three that they hold.
    until("two days of every meter", WELL_BEFORE, || {
        let (_, body) = http_get(console, "/api/v1/snapshot");
        let snapshot: Value = serde_json::from_str(&body).unwrap();
        let stored = snapshot["counters"]["readings_stored"].as_u64().unwrap();
        let (_, body) = http_get(console, "/api/v1/headend/meters?group=all");
        let meters: Value = serde_json::from_str(&body).unwrap();
        let read = meters.as_array().unwrap();
        let all = read
            .iter()
            .all(|meter| !meter["collected_through"].is_null());
        (all && stored >= 4 * 190).then_some(())
    });
    let order = [
        "order",
        "read",
        "--group",
        "all",
        "--json",
        "--url",
        &url,
        "--token-file",
        text(&at("data/operator.token")),
    ]
    .map(str::to_owned);
    let output = run(&order.each_ref().map(String::as_str));
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&read["done"], &read["failed"]),
        (&4.into(), &0.into()),
        "{read}"
    );

    // A push is answered once it is durable; a replay and a stranger's are not.
    let mut stream = TcpStream::connect(tcp).unwrap();
    stream.set_read_timeout(Some(WELL_BEFORE)).unwrap();
    let mut answer = |frame: &[u8]| {
        stream.write_all(frame).unwrap();
        let mut header = [0; HEADER_LEN];
        stream.read_exact(&mut header).unwrap();
        let mut frame = header.to_vec();
        frame.resize(
            HEADER_LEN + usize::from(u16::from_be_bytes([header[6], header[7]])),
            0,
        );
        stream.read_exact(&mut frame[HEADER_LEN..]).unwrap();
        frame
    };
    let first = push(1, 7);
    assert_eq!(confirmed(&answer(&first)), LongInvokeId::confirmed(7));
    let mut both = first;
    both.extend(push(2, 8));
    assert_eq!(
        confirmed(&answer(&both)),
        LongInvokeId::confirmed(8),
        "the replay has no answer"
    );
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(WELL_BEFORE)).unwrap();
    for (counter, id) in [(9, 1), (6, 2)] {
        socket.send_to(&push(counter, id), udp).unwrap();
        let mut datagram = [0; 512];
        let length = socket.recv(&mut datagram).unwrap();
        assert_eq!(confirmed(&datagram[..length]), LongInvokeId::confirmed(id));
    }
    let (_, body) = http_get(console, "/api/v1/headend/status");
    let status: Value = serde_json::from_str(&body).unwrap();
    let pushes = &status["pushes"];
    assert_eq!(
        (&pushes["accepted"], &pushes["replayed"]),
        (&4.into(), &1.into()),
        "{status}"
    );
    drop(meters);
}
