//! Whatever strangers, operators and disks do, the program says so and goes on counting right.

mod process;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use process::{Demo, Draws, check, http_get, pause, refusal, text, until};

/// Resident memory that three houses may take under attack: twenty thousand open connections
/// are allowed, two thousand are tried.
const RESIDENT_MAX: u64 = 200 << 20;

const CONNECTIONS: usize = 2_000;

/// Connections that are held open at a time: the test has file descriptors too.
const HELD: usize = 200;

const READINGS_MAX: Duration = Duration::from_secs(60);

/// Bytes that are no frame, or a frame with nothing sensible in it, for any of the sockets.
fn rubbish(draws: &mut Draws) -> Vec<Vec<u8>> {
    let wrapped = |apdu: &[u8]| {
        let length = u16::try_from(apdu.len()).expect("a short APDU");
        let mut frame = vec![0, 1, 0, 1, 0, 102];
        frame.extend(length.to_be_bytes());
        frame.extend_from_slice(apdu);
        frame
    };
    let enveloped = |body: &[u8]| {
        let length = u32::try_from(body.len()).expect("a short envelope");
        let mut frame = length.to_be_bytes().to_vec();
        frame.extend_from_slice(body);
        frame
    };
    let noise = draws.bytes(300);
    let mut all =
        vec![
        Vec::new(),                           // Nothing at all.
        vec![0],                              // A torn header.
        vec![0; 64],                          // Frames of no length.
        vec![0xFF; 4_096],                    // The longest length there is.
        vec![0, 1, 0, 1, 0, 1, 0, 0],         // An empty APDU.
        vec![0, 1, 0, 1, 0, 1, 0xFF, 0xFF],   // An oversized APDU.
        vec![0, 9, 0, 1, 0, 1, 0, 1, 0],      // Another wrapper version.
        wrapped(&[0xDB]),                     // general-glo, torn.
        wrapped(&[0xDB, 8, 1, 2, 3, 4, 5, 6, 7, 8, 5, 0x30, 0, 0, 0, 1]), // Title of nobody, no tag.
        wrapped(&[0x0F, 0, 0, 0, 1, 0, 2, 0]), // A push in plain text.
        wrapped(&noise),
        enveloped(&[1]),                      // A version without a kind.
        enveloped(&[2, 1, 1, 0]),             // Another version.
        enveloped(&[1, 0xEE]),                // An unknown kind.
        enveloped(&noise),
        vec![0x7F, 0xFF, 0xFF, 0xFF, 1, 1],   // An envelope of two gigabytes.
        b"GET /api/v1/houses/../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        b"POST /api/v1/snapshot HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n123456789"
            .to_vec(),
        b"GET / HTTP/1.1\r\nX: ".iter().copied().chain(vec![b'a'; 100_000]).collect(),
    ];
    // Kinds of envelope with random bodies.
    all.extend((0..16).map(|kind| {
        let mut body = vec![1, kind];
        body.extend(draws.bytes(40));
        enveloped(&body)
    }));
    all.extend((0..8).map(|_| {
        let length = usize::try_from(draws.between(1, 20_000)).expect("a small number");
        draws.bytes(length)
    }));
    all
}

/// Sends what it can; the program may hang up at any time.
fn offer(address: SocketAddr, bytes: &[u8]) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).ok()?;
    let _ = stream.write_all(bytes);
    Some(stream)
}

fn every_socket(demo: &Demo) -> Vec<SocketAddr> {
    let mut all: Vec<SocketAddr> = demo.layers().iter().map(|(_, address)| *address).collect();
    all.push(demo.console());
    assert_eq!(all.len(), 5, "four layers and the console");
    all
}

fn refused(demo: &Demo) -> u64 {
    ["unknown", "malformed", "bad_tag", "replayed"]
        .iter()
        .map(|name| demo.counter(name))
        .sum()
}

fn wait_for_more_readings(demo: &Demo) {
    let before = demo.counter("readings_stored");
    until("six more readings", READINGS_MAX, || {
        (demo.counter("readings_stored") >= before + 6).then_some(())
    });
}

#[test]
fn strangers_on_every_socket_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let demo = Demo::start(&data, &["--speed", "7200"]);
    let mut draws = Draws::seeded();
    let sockets = every_socket(&demo);
    wait_for_more_readings(&demo);
    assert_eq!(refused(&demo), 0);

    let rubbish = rubbish(&mut draws);
    for address in &sockets {
        for bytes in &rubbish {
            // One hangs up in the middle, one waits for an answer that it does not read.
            let stream = offer(*address, bytes);
            if let Some(stream) = stream.filter(|_| draws.between(0, 2) == 0) {
                let _ = stream.shutdown(Shutdown::Write);
            }
        }
    }
    until("refusals in the snapshot", READINGS_MAX, || {
        (refused(&demo) > 0).then_some(())
    });
    wait_for_more_readings(&demo);
    assert!(demo.resident() < RESIDENT_MAX, "{} bytes", demo.resident());
    assert!(!demo.errors().contains("panicked"), "{}", demo.errors());
    demo.interrupt().in_order();
    check(&data);
}

#[test]
fn two_thousand_connections_and_slow_drips_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let demo = Demo::start(&data, &["--speed", "7200"]);
    let sockets = every_socket(&demo);
    // Frames that begin and never end, a byte at a time.
    let mut drips: Vec<TcpStream> = sockets
        .iter()
        .cycle()
        .take(20)
        .filter_map(|address| TcpStream::connect(address).ok())
        .collect();
    let mut held: Vec<TcpStream> = Vec::new();
    for index in 0..CONNECTIONS {
        let address = sockets[index % sockets.len()];
        if let Some(stream) = offer(address, &[0]) {
            held.push(stream);
        }
        if held.len() >= HELD {
            held.clear();
        }
        if index % 50 == 0 {
            for drip in &mut drips {
                let _ = drip.write_all(&[0]);
            }
        }
    }
    wait_for_more_readings(&demo);
    let snapshot = demo.api("snapshot");
    assert_eq!(snapshot["houses"].as_array().map(Vec::len), Some(3));
    assert!(demo.resident() < RESIDENT_MAX, "{} bytes", demo.resident());
    drop((held, drips));
    wait_for_more_readings(&demo);
    assert!(!demo.errors().contains("panicked"), "{}", demo.errors());
    demo.interrupt().in_order();
    check(&data);
}

#[test]
fn strange_requests_are_answered_with_a_status() {
    let folder = tempfile::tempdir().unwrap();
    let demo = Demo::start(&folder.path().join("data"), &["--speed", "7200"]);
    let long = format!("/{}", "a".repeat(5_000));
    for (path, expected) in [
        ("/api/v1/houses/h99", 404),
        ("/api/v1/nothing", 404),
        ("/api/v1/houses/%00%ff", 404),
        (long.as_str(), 414),
        ("/health", 200),
        ("/metrics", 200),
    ] {
        let (status, body) = http_get(demo.console(), path);
        assert_eq!(status, expected, "{path:.60}: {body:.200}");
    }
    demo.interrupt().in_order();
}

#[test]
fn a_wrong_configuration_is_refused_by_key() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let file = folder.path().join("gridloom.toml");
    for (content, named) in [
        ("[demo]\nhuses = 3", "huses"),
        ("[demo]\nhouses = 0", "demo.houses"),
        ("[utility]\nperiod_minutes = 7", "utility.period_minutes"),
        ("[tariff]\np_min = \"free\"", "tariff.p_min"),
        ("[listen]\nedge = \"here\"", "edge.listen"),
        ("[demo", "gridloom.toml"),
    ] {
        std::fs::write(&file, content).unwrap();
        let words = refusal(&["demo", "--data", text(&data), "--config", text(&file)]);
        assert!(words.contains(named), "{content:?}: {words}");
    }
    let missing = folder.path().join("none.toml");
    let words = refusal(&["demo", "--data", text(&data), "--config", text(&missing)]);
    assert!(words.contains("none.toml"), "{words}");
}

#[test]
fn a_directory_stays_what_it_was_made_for() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["demo", "serve", "nothing"] {
        std::fs::create_dir(at(name)).unwrap();
        std::fs::write(at(name).join(format!("{name}.toml")), "").unwrap();
    }
    let (demo, serve, nothing) = (at("demo"), at("serve"), at("nothing"));
    let cases: [(&[&str], &str); 6] = [
        (&["serve", "--data", text(&demo)], "made by gridloom demo"),
        (&["demo", "--data", text(&serve)], "made by gridloom serve"),
        (&["bill", "--data", text(&nothing)], "is no data directory"),
        (&["check", "--data", text(&nothing)], "is no data directory"),
        (&["serve"], "serve.data is not set"),
        (
            &["serve", "--role", "edge", "--data", text(&nothing)],
            "edge.utility is not set",
        ),
    ];
    for (arguments, words) in cases {
        let said = refusal(arguments);
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}

#[test]
fn a_taken_port_is_named_with_its_option() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let port = address.port().to_string();
    let options = ["--console", "--gateway", "--edge", "--utility", "--archive"];
    for option in options {
        let mut arguments = vec!["demo".to_owned(), "--data".into(), text(&data).into()];
        for other in options {
            let chosen = if other == option {
                address.to_string()
            } else {
                "127.0.0.1:0".into()
            };
            arguments.extend([other.to_owned(), chosen]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let words = refusal(&arguments);
        assert!(
            words.contains(option) && words.contains(&port) && words.contains("in use"),
            "{option}: {words}"
        );
    }
}

/// A file system of its own, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this user may not mount.
    fn mount(at: PathBuf) -> Option<Self> {
        std::fs::create_dir(&at).expect("a mount point");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=16m", "tmpfs", text(&at)])
            .status();
        status
            .is_ok_and(|status| status.success())
            .then_some(Self(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", text(&self.0)]).status();
    }
}

/// Takes all the space that is left.
fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).expect("a file that fills the disk");
    let block = [0x5A; 4_096];
    while file.write_all(&block).is_ok() {}
}

#[test]
fn a_full_disk_is_told_and_survived() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path().join("disk")) else {
        eprintln!("skipped: this user may not mount a tmpfs");
        return;
    };
    let data = disk.0.join("data");
    let filler = disk.0.join("filler");
    let mut demo = Demo::start(&data, &["--speed", "20000"]);
    wait_for_more_readings(&demo);
    fill(&filler);
    until("words about the full disk", READINGS_MAX, || {
        demo.errors()
            .contains("free space on this disk")
            .then_some(())
    });
    assert!(demo.is_running(), "{}", demo.errors());
    // What is measured now must not be acknowledged before it is stored.
    pause(Duration::from_secs(3));
    assert!(!demo.errors().contains("panicked"), "{}", demo.errors());
    demo.kill();

    std::fs::remove_file(&filler).unwrap();
    check(&data);
    let demo = Demo::start(&data, &["--speed", "20000"]);
    wait_for_more_readings(&demo);
    demo.interrupt().in_order();
    check(&data);
}

#[test]
fn a_disk_that_is_full_from_the_start_is_refused_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path().join("disk")) else {
        eprintln!("skipped: this user may not mount a tmpfs");
        return;
    };
    fill(&disk.0.join("filler"));
    let data = disk.0.join("data");
    let words = refusal(&["demo", "--data", text(&data), "--console", "127.0.0.1:0"]);
    assert!(
        words.contains("No space left") || words.contains("free space"),
        "{words}"
    );
}

#[test]
fn a_console_that_nobody_reads_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let demo = Demo::start(&data, &["--speed", "7200"]);
    let address = demo.console();
    let request = format!("GET /api/v1/snapshot HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut lazy: Vec<TcpStream> = (0..50)
        .filter_map(|_| offer(address, request.repeat(200).as_bytes()))
        .collect();
    wait_for_more_readings(&demo);
    let mut byte = [0];
    if let Some(first) = lazy.first_mut() {
        first.read_exact(&mut byte).expect("an answer waits");
    }
    assert!(demo.resident() < RESIDENT_MAX, "{} bytes", demo.resident());
    drop(lazy);
    demo.interrupt().in_order();
    check(&data);
}
