//! Our meters and our client, as two processes on real sockets.

mod process;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use process::{gridloom, text};
use serde_json::Value;

const EK: &str = "000102030405060708090A0B0C0D0E0F";
const AK: &str = "D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF";
const PASSWORD: &str = "12345678";

/// `gridloom emulate meter` at work.
struct Meters {
    child: Child,
    address: SocketAddr,
    transport: &'static str,
    served: Value,
}

impl Meters {
    fn start(transport: &'static str, arguments: &[&str]) -> Self {
        let mut child = gridloom()
            .args(["emulate", "meter", "--listen", "127.0.0.1:0", "--json"])
            .args(["--transport", transport])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("the program says what it serves");
        let served: Value = serde_json::from_str(&line).expect("JSON");
        let address = served["address"].as_str().expect("an address");
        Self {
            child,
            address: address.parse().expect("an address"),
            transport,
            served,
        }
    }

    /// A command to these meters, with its counters in `state`.
    fn ask(&self, state: &Path, command: &str, arguments: &[&str]) -> (i32, String, String) {
        let output = gridloom()
            .env("XDG_STATE_HOME", state)
            .args([command, &self.address.to_string()])
            .args(["--transport", self.transport])
            .args(arguments)
            .output()
            .expect("the program runs");
        let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let errors = words(&output.stderr);
        assert!(!errors.contains("panicked"), "{arguments:?}: {errors}");
        let code = output.status.code().expect("an exit code");
        (code, words(&output.stdout), errors)
    }

    fn ask_well(&self, state: &Path, command: &str, arguments: &[&str]) -> String {
        let (code, out, errors) = self.ask(state, command, arguments);
        assert_eq!(code, 0, "{command} {arguments:?}: {errors}");
        out
    }

    /// Interrupts the program, which must end well.
    fn stop(mut self) {
        let signalled = Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(signalled.success());
        let status = self.child.wait().expect("the program ends");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Meters {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn reader() -> Vec<&'static str> {
    vec!["--client", "17", "--auth", "lls", "--password", PASSWORD]
}

fn manager() -> Vec<&'static str> {
    vec!["--client", "1", "--auth", "gmac", "--ek", EK, "--ak", AK]
}

fn with<'a>(mut first: Vec<&'a str>, more: &[&'a str]) -> Vec<&'a str> {
    first.extend_from_slice(more);
    first
}

#[test]
fn every_client_reads_over_every_transport() {
    for transport in ["wrapper", "hdlc", "udp"] {
        let state = tempfile::tempdir().expect("a folder");
        let state = state.path();
        let meters = Meters::start(transport, &["--meters", "200", "--days", "0"]);
        for server in [1, 2, 200] {
            let server = server.to_string();
            let name = meters.ask_well(
                state,
                "read",
                &["--server", &server, "--obis", "0.0.42.0.0.255", "--json"],
            );
            let name: Value = serde_json::from_str(&name).expect("JSON");
            let expected = format!("GLM{server:0>13}");
            let digits: String = expected.bytes().map(|b| format!("{b:02X}")).collect();
            assert_eq!(name["value"], Value::String(digits), "{transport} {server}");
        }
        let voltage = meters.ask_well(
            state,
            "read",
            &with(reader(), &["--obis", "1.0.32.7.0.255", "--json"]),
        );
        let voltage: Value = serde_json::from_str(&voltage).expect("JSON");
        assert_eq!(voltage["unit"], "V", "{transport}");
        let scaled = voltage["scaled"].as_str().expect("a scaled value");
        assert!(scaled.starts_with('2') && scaled.contains('.'), "{scaled}");
        for form in [&[][..], &["--general"], &["--dedicated"]] {
            let arguments = with(manager(), &["--class", "3", "--obis", "1.0.1.8.0.255"]);
            let energy = meters.ask_well(state, "read", &with(arguments, form));
            assert!(energy.contains("Active import, total"), "{energy}");
        }
        meters.stop();
    }
}

#[test]
fn a_long_profile_comes_in_blocks_and_by_range_and_entry() {
    for transport in ["wrapper", "hdlc"] {
        let state = tempfile::tempdir().expect("a folder");
        let state = state.path();
        let meters = Meters::start(transport, &["--days", "8", "--period", "15"]);
        let rows = |more: &[&str]| {
            let arguments = with(manager(), &["--obis", "1.0.99.1.0.255", "--json"]);
            let out = meters.ask_well(state, "read", &with(arguments, more));
            let profile: Value = serde_json::from_str(&out).expect("JSON");
            assert_eq!(profile["columns"][0]["name"], "Clock");
            profile["rows"].as_array().expect("rows").clone()
        };
        let all = rows(&[]);
        assert!((8 * 96..=8 * 96 + 2).contains(&all.len()), "{}", all.len());
        let ten = rows(&["--entries", "11..20"]);
        assert_eq!(ten, all[10..20]);
        let from = all[100][0].as_str().expect("a time");
        let to = all[130][0].as_str().expect("a time");
        assert_eq!(rows(&["--from", from, "--to", to]), all[100..=130]);
        let table = meters.ask_well(
            state,
            "read",
            &with(reader(), &["--obis", "1.0.99.1.0.255", "--entries", "1..2"]),
        );
        assert!(table.contains("Active import, interval"), "{table}");
        assert!(table.ends_with("2 rows\n"), "{table}");
    }
}

#[test]
fn a_meter_is_browsed_switched_set_and_followed() {
    let state = tempfile::tempdir().expect("a folder");
    let state = state.path();
    let meters = Meters::start("hdlc", &["--days", "0"]);
    let all = meters.ask_well(state, "read", &with(manager(), &["--browse"]));
    for words in ["Logical device name", "Block load profile", "Clock", "Wh"] {
        assert!(all.contains(words), "{words}: {all}");
    }
    let public = meters.ask_well(state, "read", &["--browse", "--json"]);
    let public: Value = serde_json::from_str(&public).expect("JSON");
    let objects = public.as_array().expect("objects").len();
    assert!(
        objects > 3 && objects < all.lines().count() - 10,
        "{objects}"
    );

    let off = meters.ask_well(state, "disconnect", &with(manager(), &["--json"]));
    assert!(off.contains("\"supply\":false"), "{off}");
    let on = meters.ask_well(state, "connect", &manager());
    assert!(on.contains("on (connected)"), "{on}");
    let clock = meters.ask_well(state, "sync-clock", &manager());
    assert!(
        clock.contains("before") && clock.contains("after"),
        "{clock}"
    );
    let shift = ["--obis", "0.0.1.0.0.255", "--attribute", "3"];
    let written = with(manager(), &with(shift.to_vec(), &["--value", "i16:-330"]));
    meters.ask_well(state, "write", &written);
    let zone = meters.ask_well(state, "read", &with(manager(), &shift));
    assert!(zone.contains("-330"), "{zone}");
    let arguments = with(manager(), &["--obis", "1.0.98.1.0.255", "--method", "2"]);
    meters.ask_well(state, "invoke", &arguments);
    let events = meters.ask_well(state, "capture-events", &with(manager(), &["--once"]));
    assert!(events.contains("Event log, control"), "{events}");
    meters.stop();
}

#[test]
fn pushes_are_heard_while_logs_are_followed() {
    let state = tempfile::tempdir().expect("a folder");
    let meters = Meters::start("wrapper", &["--days", "0"]);
    let mut child = gridloom()
        .env("XDG_STATE_HOME", state.path())
        .args(["capture-events", &meters.address.to_string()])
        .args(with(manager(), &["--listen", "127.0.0.1:0"]))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut line = || lines.next().expect("another line").expect("text");
    assert!(line().starts_with("following "));
    let listens = line();
    let address = listens.strip_prefix("pushes to ").expect("an address");
    // A data-notification of the number 5, and what is ciphered under no key of ours.
    let pushes: [(&[u8], &str); 2] = [
        (&[0x0F, 0, 0, 0, 1, 0, 0x11, 5], "notified by plain  5"),
        (
            &[
                0xDB, 8, 1, 2, 3, 4, 5, 6, 7, 8, 18, 0x30, 0, 0, 0, 1, 9, 1, 2, 3, 4, 5, 6, 7, 8,
                9, 10, 11, 12,
            ],
            "refused by 0102030405060708",
        ),
    ];
    let mut stream = TcpStream::connect(address).expect("it listens");
    for (apdu, words) in pushes {
        let length = u8::try_from(apdu.len()).expect("a short APDU");
        let mut frame = vec![0, 1, 0, 1, 0, 102, 0, length];
        frame.extend_from_slice(apdu);
        stream.write_all(&frame).expect("it reads");
        let said = line();
        assert!(said.contains(words), "{said}");
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    meters.stop();
}

#[test]
fn a_destination_that_is_set_hears_the_push() {
    let state = tempfile::tempdir().expect("a folder");
    let state = state.path();
    let meters = Meters::start("wrapper", &["--meters", "2", "--days", "0"]);
    // One meter is followed, under a title of its own; the other one pushes, with the same keys.
    let mut child = gridloom()
        .env("XDG_STATE_HOME", state)
        .args(["capture-events", &meters.address.to_string()])
        .args(with(
            manager(),
            &[
                "--server",
                "2",
                "--title",
                "474C480000000002",
                "--listen",
                "127.0.0.1:0",
            ],
        ))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut line = || lines.next().expect("another line").expect("text");
    assert!(line().starts_with("following "));
    let listens = line();
    let address = listens.strip_prefix("pushes to ").expect("an address");
    let destination = |transport: u8, address: &str| {
        let octets: String = address.bytes().map(|b| format!("{b:02X}")).collect();
        format!(
            "axdr:020316{transport:02X}09{:02X}{octets}1600",
            address.len()
        )
    };
    let push = ["--obis", "0.0.25.9.0.255"];
    let set = |value: &str| {
        let arguments = with(manager(), &push);
        let arguments = with(arguments, &["--attribute", "3", "--value", value]);
        meters.ask(state, "write", &arguments)
    };
    let (code, _, errors) = set(&destination(0, "192.0.2.1:4059"));
    assert_ne!(code, 0, "beyond the loopback");
    assert!(
        errors.contains("OtherReason") || errors.contains("other"),
        "{errors}"
    );
    for transport in [0, 1] {
        let (code, _, errors) = set(&destination(transport, address));
        assert_eq!(code, 0, "{errors}");
        let arguments = with(manager(), &push);
        meters.ask_well(state, "invoke", &with(arguments, &["--method", "1"]));
        let said = line();
        assert!(said.contains("notified by 474C4D"), "{said}");
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    meters.stop();
}

#[test]
fn errors_name_the_layer() {
    let state = tempfile::tempdir().expect("a folder");
    let state = state.path();
    let meters = Meters::start("wrapper", &["--days", "0"]);
    let energy = ["--obis", "1.0.1.8.0.255"];
    let other_key = [
        "--client",
        "1",
        "--auth",
        "gmac",
        "--ek",
        AK,
        "--ak",
        AK,
        "--obis",
        "1.0.1.8.0.255",
    ];
    let wrong_password = ["--client", "17", "--auth", "lls", "--password", "x"];
    let cases: Vec<(Vec<&str>, i32, &str)> = vec![
        (energy.to_vec(), 1, "object: "),
        (with(energy.to_vec(), &["--class", "3"]), 1, "access: "),
        (
            with(wrong_password.to_vec(), &energy),
            1,
            "association: refused",
        ),
        (other_key.to_vec(), 1, "key: "),
        (
            with(
                manager(),
                &with(
                    energy.to_vec(),
                    &["--timeout", "1", "--meter-title", "474C4D00000000FF"],
                ),
            ),
            1,
            "association: server title",
        ),
        (
            with(energy.to_vec(), &["--server", "2", "--timeout", "1"]),
            1,
            "link: no answer",
        ),
        (
            vec!["--client", "99", "--obis", "0.0.42.0.0.255"],
            1,
            "association: ",
        ),
        (vec![], 2, "--obis"),
        (vec!["--obis", "1.8.0"], 2, "--obis"),
        (with(energy.to_vec(), &["--auth", "lls"]), 2, "--password"),
        (with(energy.to_vec(), &["--auth", "gmac"]), 2, "--ek"),
        (with(energy.to_vec(), &["--general"]), 2, "--ek"),
        (with(energy.to_vec(), &["--ek", EK]), 2, "--ak"),
        (
            with(energy.to_vec(), &["--ek", "12", "--ak", AK]),
            2,
            "--ek",
        ),
        (
            with(energy.to_vec(), &["--entries", "3..1"]),
            2,
            "--entries",
        ),
        (with(energy.to_vec(), &["--from", "yesterday"]), 2, "--from"),
        (with(energy.to_vec(), &["--timeout", "0"]), 2, "--timeout"),
        (
            with(energy.to_vec(), &["--keys", "/nowhere/keys"]),
            2,
            "/nowhere/keys",
        ),
        (
            with(energy.to_vec(), &["--serial", "/dev/null"]),
            2,
            "--serial",
        ),
    ];
    for (arguments, code, words) in cases {
        let (found, out, errors) = meters.ask(state, "read", &arguments);
        assert_eq!(found, code, "{arguments:?}: {errors}");
        assert!(errors.contains(words), "{arguments:?}: {errors}");
        assert!(out.is_empty(), "{arguments:?}: {out}");
    }
    let gone = Meters {
        address: "127.0.0.1:1".parse().expect("an address"),
        transport: "wrapper",
        served: Value::Null,
        child: gridloom()
            .arg("--version")
            .stdout(Stdio::null())
            .spawn()
            .expect("it runs"),
    };
    let (code, _, errors) = gone.ask(state, "read", &energy);
    assert_eq!(code, 1);
    assert!(
        errors.contains("link: 127.0.0.1:1 cannot be reached"),
        "{errors}"
    );
    meters.stop();
}

#[test]
fn wrong_emulators_are_refused() {
    let cases: [(&[&str], i32, &str); 7] = [
        (&["--meters", "0"], 2, "--meters"),
        (&["--meters", "20000"], 2, "--meters"),
        (&["--days", "99"], 2, "--days"),
        (&["--period", "7"], 2, "--period"),
        (
            &["--title", "FFFFFFFFFFFFFFFF", "--meters", "2"],
            2,
            "--title",
        ),
        (&["--ek", EK, "--ak", "00"], 2, "--ak"),
        (&["--listen", "nowhere"], 1, "--listen"),
    ];
    for (arguments, code, words) in cases {
        let mut all = vec!["emulate", "meter"];
        if !arguments.contains(&"--listen") {
            all.extend(["--listen", "127.0.0.1:0"]);
        }
        all.extend_from_slice(arguments);
        let output = process::run(&all);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(errors.contains(words), "{arguments:?}: {errors}");
    }
}

#[test]
fn counters_survive_and_heal_and_memory_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let data = folder.path().join("data");
    let kept = ["--days", "1", "--data", text(&data)];
    let meters = Meters::start("wrapper", &kept);
    meters.ask_well(&state, "disconnect", &manager());
    let energy = with(manager(), &["--obis", "1.0.1.8.0.255"]);
    meters.ask_well(&state, "read", &energy);
    meters.stop();

    let meters = Meters::start("wrapper", &kept);
    // The meter still knows our counter: what we reserved goes on above it.
    meters.ask_well(&state, "read", &energy);
    let switch = with(manager(), &["--obis", "0.0.96.3.10.255"]);
    let supply = meters.ask_well(&state, "read", &switch);
    assert!(supply.contains("false"), "{supply}");
    // Another state file knows nothing of that.
    let fresh = folder.path().join("fresh.json");
    let lost = with(energy.clone(), &["--counter-file", text(&fresh)]);
    let (code, _, errors) = meters.ask(&state, "read", &lost);
    assert_eq!(code, 0, "{errors}");
    assert!(errors.contains("counter: the meter has heard"), "{errors}");
    let (code, _, errors) = meters.ask(&state, "read", &lost);
    assert_eq!((code, errors.as_str()), (0, ""));
    meters.stop();
}

#[test]
fn rubbish_on_one_connection_harms_no_other() {
    for transport in ["wrapper", "hdlc"] {
        let state = tempfile::tempdir().expect("a folder");
        let meters = Meters::start(transport, &["--days", "0"]);
        let rubbish: [&[u8]; 5] = [
            b"GET / HTTP/1.1\r\n\r\n",
            &[0, 1, 0, 16, 0, 1, 0xFF, 0xFF, 1],
            &[0x7E; 5_000],
            &[0x7E, 0xA7, 0xFF, 3, 0x21],
            &[0xFF; 100_000],
        ];
        let held: Vec<TcpStream> = rubbish
            .iter()
            .cycle()
            .take(100)
            .map(|bytes| {
                let mut stream = TcpStream::connect(meters.address).expect("it listens");
                // It may hang up while we write.
                let _ = stream.write_all(bytes);
                stream
            })
            .collect();
        let out = meters.ask_well(state.path(), "read", &["--obis", "0.0.42.0.0.255"]);
        assert!(out.contains("Logical device name"), "{out}");
        drop(held);
        meters.stop();
    }
}

/// Every proof, suite and protection, as an operator types them; what does not fit is refused by
/// name, by the meter or before anything is sent.
#[test]
fn every_protection_is_an_option() {
    const LONG_EK: &str = "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F";
    const LONG_AK: &str = "D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDFE0E1E2E3E4E5E6E7E8E9EAEBECEDEEEF";
    const KEK: &str = "4D4D4D4D4D4D4D4D4D4D4D4D4D4D4D4D";
    let state = tempfile::tempdir().expect("a folder");
    let state = state.path();
    let energy = ["--obis", "1.0.1.8.0.255"];
    let keys = ["--client", "1", "--ek", EK, "--ak", AK];

    let secret = "a secret of both";
    let meters = Meters::start("wrapper", &["--mechanism", "sha256", "--secret", secret]);
    let hls6 = with(keys.to_vec(), &["--auth", "sha256", "--password", secret]);
    meters.ask_well(state, "read", &with(hls6, &energy));
    let (code, _, errors) = meters.ask(state, "read", &with(manager(), &energy));
    assert_ne!(code, 0);
    assert!(errors.contains("association"), "{errors}");
    meters.stop();

    for (suite, ek, ak) in [("1", EK, AK), ("2", LONG_EK, LONG_AK)] {
        let digits = if suite == "1" { 32 } else { 48 };
        let (signing, agreement) = ("33".repeat(digits), "44".repeat(digits));
        let mut arguments = vec!["--mechanism", "ecdsa", "--suite", suite];
        let kek = if suite == "1" { KEK } else { LONG_EK };
        arguments.extend(["--kek", kek]);
        let meters = Meters::start("wrapper", &arguments);
        let public = |name: &str| meters.served["public_keys"][name].as_str().expect("a key");
        let (verifies, agrees) = (public("signature"), public("agreement"));
        let base = [
            "--client",
            "1",
            "--auth",
            "ecdsa",
            "--suite",
            suite,
            "--ek",
            ek,
            "--ak",
            ak,
            "--kek",
            kek,
            "--signing-key",
            &signing,
            "--agreement-key",
            &agreement,
            "--meter-public-key",
            verifies,
            "--meter-agreement-key",
            agrees,
        ];
        for more in [
            &[][..],
            &["--demand-signed"],
            &["--general-ciphering", "unicast"],
            &["--general-ciphering", "wrapped", "--sign"],
            &["--general-ciphering", "one-pass"],
            &["--general-ciphering", "static", "--sign"],
        ] {
            let asked = with(base.to_vec(), more);
            meters.ask_well(state, "read", &with(asked, &energy));
        }
        let stranger = "55".repeat(digits);
        let mut foreign = base.to_vec();
        let place = foreign
            .iter()
            .position(|word| *word == signing)
            .expect("the key");
        foreign[place] = &stranger;
        let (code, _, errors) = meters.ask(state, "read", &with(foreign, &energy));
        assert_ne!(code, 0, "a stranger's signature");
        assert!(errors.contains("proof"), "{errors}");
        meters.stop();
    }

    let meters = Meters::start("wrapper", &[]);
    let refused: [(&[&str], &str); 5] = [
        (&["--auth", "ecdsa"], "--signing-key"),
        (&["--auth", "gmac", "--sign", "--suite", "0"], "suite 0"),
        (&["--auth", "gmac", "--suite", "2"], "32 bytes"),
        (
            &["--auth", "gmac", "--general-ciphering", "wrapped"],
            "--kek",
        ),
        (&["--auth", "gmac", "--suite", "1"], "key"),
    ];
    for (more, named) in refused {
        let asked = with(keys.to_vec(), more);
        let (code, _, errors) = meters.ask(state, "read", &with(asked, &energy));
        assert_ne!(code, 0, "{more:?}");
        assert!(errors.contains(named), "{more:?}: {errors}");
    }
    meters.stop();
}
