//! From a CSV file to a switched supply: registered meters on two transports, collected on the
//! wall clock, ordered through the API; and no secret anywhere but wrapped in the vault.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod process;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use process::{gridloom, http_get, run, text, until};
use serde_json::Value;

/// A minute of the wall clock, the reads after it, and a busy machine.
const INTERVALS_MAX: Duration = Duration::from_secs(150);

/// Settling after SIGINT, on a busy machine.
const STOP_MAX: Duration = Duration::from_secs(30);

const EK: &str = "A1B2C3D4E5F60718293A4B5C6D7E8F90";
const AK: &str = "0F1E2D3C4B5A69788796A5B4C3D2E1F0";
const PASSWORD: &str = "Quercus-7731";

/// A program that prints where it is and runs on; killed when dropped.
struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts it, and gives what the line after `prefix` says.
    fn start(mut command: Command, log: &Path, prefix: &str) -> (Self, String) {
        let errors = std::fs::File::create(log).unwrap();
        let child = command
            .env("RUST_LOG", "trace")
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn();
        let mut running = Self {
            child: child.unwrap(),
            log: log.to_owned(),
        };
        let mut out = BufReader::new(running.child.stdout.take().unwrap());
        loop {
            let mut line = String::new();
            let length = out.read_line(&mut line).unwrap();
            assert!(length > 0, "{}", std::fs::read_to_string(log).unwrap());
            if let Some(rest) = line.strip_prefix(prefix) {
                // Nobody writes more than a pipe holds after that.
                running.child.stdout = Some(out.into_inner());
                return (running, rest.trim().to_owned());
            }
        }
    }

    fn interrupt(mut self) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status().unwrap();
        assert!(sent.success());
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let status = until("a clean stop", STOP_MAX, || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}: {log}");
        assert!(!log.contains("panicked"), "{log}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn meters(transport: &str, count: &str, title: &str, log: &Path) -> (Running, String) {
    let mut command = gridloom();
    command
        .args([
            "emulate",
            "meter",
            "--period",
            "1",
            "--listen",
            "127.0.0.1:0",
        ])
        .args([
            "--transport",
            transport,
            "--meters",
            count,
            "--title",
            title,
        ])
        .args(["--ek", EK, "--ak", AK, "--llspassword", PASSWORD]);
    Running::start(command, log, "listening on ")
}

fn good(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{out}{words}");
    out
}

/// The bytes of a secret as they might turn up: raw, as digits, as base64 of any alignment.
fn disguises(secret: &[u8]) -> Vec<Vec<u8>> {
    let upper: String = secret.iter().map(|byte| format!("{byte:02X}")).collect();
    let mut found = vec![
        secret.to_vec(),
        upper.to_ascii_lowercase().into_bytes(),
        upper.into_bytes(),
        format!("{secret:?}").trim_matches(['[', ']']).into(),
    ];
    for skipped in 0..3 {
        let whole = base64(&[&vec![0; skipped][..], secret].concat());
        // Digits that depend on the neighbours' bits are left out.
        let from = (skipped * 8).div_ceil(6);
        let to = (skipped + secret.len()) * 8 / 6;
        found.push(whole[from..to].to_vec());
    }
    found
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: Vec<bool> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1))
        .collect();
    bits.chunks(6)
        .map(|six| {
            let value = (0..6).fold(0, |value, at| {
                value << 1 | usize::from(six.get(at).copied().unwrap_or(false))
            });
            digits[value]
        })
        .collect()
}

fn unhex(digits: &str) -> Vec<u8> {
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn from_a_file_of_meters_to_a_switched_supply() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (data, master) = (at("data"), at("master.key"));
    std::fs::create_dir(at("profiles")).unwrap();
    std::fs::write(at("profiles/minute.toml"), "capture_period_minutes = 1").unwrap();
    std::fs::create_dir(at("logs")).unwrap();
    let (wrapped, wrapped_at) = meters("wrapper", "3", "474C4D0000000001", &at("logs/a"));
    let (hdlc, hdlc_at) = meters("hdlc", "2", "474C4D0000000101", &at("logs/b"));

    let mut csv = "title,serial,name,transport,address,server,roles,template,groups,\
                   service_point,guek,gak,lls\n"
        .to_owned();
    for (number, title, transport, address, server) in [
        (1, "474C4D0000000001", "tcp", &wrapped_at, 1),
        (2, "474C4D0000000002", "tcp", &wrapped_at, 2),
        (4, "474C4D0000000101", "hdlc-tcp", &hdlc_at, 1),
        (5, "474C4D0000000102", "hdlc-tcp", &hdlc_at, 2),
    ] {
        csv += &format!(
            "{title},S{number},Home {number},{transport},{address},{server},1:hls5/0,minute,\
             all,P{number},{EK},{AK},\n"
        );
    }
    csv += &format!(
        "474C4D0000000003,S3,Home 3,tcp,{wrapped_at},3,17:lls,minute,all,P3,,,{PASSWORD}\n"
    );
    std::fs::write(at("meters.csv"), &csv).unwrap();
    std::fs::write(at("wrong.csv"), csv.replace("hdlc-tcp", "pigeon")).unwrap();
    let profiles = at("profiles");
    let place = [
        "--data",
        text(&data),
        "--profiles",
        text(&profiles),
        "--master-key",
        text(&master),
    ];
    let import = |file: &str, more: &[&str]| {
        let file = at(file);
        let mut arguments = vec!["meters", "import", text(&file)];
        arguments.extend(place);
        arguments.extend(more);
        run(&arguments)
    };
    // Faults by line and column; nothing is imported, by a dry run neither.
    let refused = import("wrong.csv", &["--json"]);
    assert_eq!(refused.status.code(), Some(1));
    let faults: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(faults["faults"][0]["line"], 4, "{faults}");
    assert_eq!(faults["faults"][0]["column"], "transport", "{faults}");
    assert!(!faults.to_string().contains(EK));
    good(&import("meters.csv", &["--dry-run"]));
    let list = ["meters", "list", "--json", "--data", text(&data)];
    assert_eq!(good(&run(&list)).trim(), "[]");
    good(&import("meters.csv", &[]));
    let listed: Value = serde_json::from_str(&good(&run(&list))).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 5);

    let mut serve = gridloom();
    serve.arg("serve").args(place);
    serve.args([
        "--period-minutes",
        "1",
        "--console",
        "127.0.0.1:0",
        "--utility",
        "127.0.0.1:0",
        "--gateway",
        "127.0.0.1:0",
        "--edge",
        "127.0.0.1:0",
        "--archive",
        "127.0.0.1:0",
    ]);
    let (served, url) = Running::start(serve, &at("logs/serve"), "console  ");
    let console: SocketAddr = url["http://".len()..url.len() - 1].parse().unwrap();
    until("intervals of every meter", INTERVALS_MAX, || {
        let (_, body) = http_get(console, "/api/v1/snapshot");
        let snapshot: Value = serde_json::from_str(&body).unwrap();
        let houses = snapshot["houses"].as_array().unwrap();
        assert_eq!(houses.len(), 5);
        let all = houses.iter().all(|house| !house["last_heard"].is_null());
        // Each meter's profile goes back a day, and is read as far as one read reaches.
        let stored = snapshot["counters"]["readings_stored"].as_u64().unwrap();
        (all && stored >= 5 * 90).then_some(())
    });

    let token = data.join("operator.token");
    let order = |arguments: &[&str]| {
        let mut all = vec!["order"];
        all.extend(arguments);
        all.extend(["--json", "--url", &url, "--token-file", text(&token)]);
        let output = run(&all);
        (output.status.success(), output)
    };
    let view = |(is_good, output): &(bool, Output)| -> Value {
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(is_good, "{words}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let read = view(&order(&["read", "--group", "all"]));
    assert_eq!(
        (&read["done"], &read["failed"]),
        (&5.into(), &0.into()),
        "{read}"
    );
    assert!(
        read["parts"][0]["detail"]
            .as_str()
            .unwrap()
            .ends_with(" Wh"),
        "{read}"
    );
    // Two steps: the first one switches nothing.
    let selected = view(&order(&["disconnect", "--meters", "1,4"]));
    assert_eq!(selected["state"], "selected", "{selected}");
    let supply = ["read", "--meters", "1,4", "--obis", "0-0:96.3.10.255"];
    let details = |view: &Value| -> Vec<String> {
        let parts = view["parts"].as_array().unwrap();
        let texts = parts
            .iter()
            .map(|part| part["detail"].as_str().unwrap().to_owned());
        texts.collect()
    };
    assert_eq!(details(&view(&order(&supply))), ["true", "true"]);
    let number = selected["id"].to_string();
    let over = view(&order(&["confirm", &number]));
    assert_eq!(details(&over), ["verified", "verified"], "{over}");
    assert_eq!(details(&view(&order(&supply))), ["false", "false"]);
    // A second confirmation, a stranger and an unknown meter are refused in words.
    for (arguments, words) in [
        (&["confirm", &number][..], "409"),
        (&["read", "--meters", "77"], "m77 is unknown"),
        (&["rekey", "--meters", "1"], "kek"),
    ] {
        let (is_good, output) = order(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!is_good && said.contains(words), "{arguments:?}: {said}");
    }
    std::fs::write(at("stranger"), "0".repeat(64)).unwrap();
    let stranger = at("stranger");
    let disconnect = ["order", "disconnect", "--meters", "1", "--confirm"];
    let as_stranger = ["--url", &url, "--token-file", text(&stranger)];
    let output = run(&[&disconnect[..], &as_stranger[..]].concat());
    assert_eq!(output.status.code(), Some(1));

    served.interrupt();
    drop((wrapped, hdlc));
    let verify = ["audit", "verify", "--json", "--data", text(&data)];
    let audit: Value = serde_json::from_str(&good(&run(&verify))).unwrap();
    assert_eq!(audit["intact"], true);
    // The import, the command of each meter, and the meters' commissioning at the least.
    assert!(audit["entries"].as_u64().unwrap() >= 5, "{audit}");

    let key_file = std::fs::read_to_string(&master).unwrap();
    let digits = key_file.lines().last().unwrap().split(':').nth(1).unwrap();
    let secrets = [
        ("guek", unhex(EK)),
        ("gak", unhex(AK)),
        ("password", PASSWORD.as_bytes().to_vec()),
        ("master key", unhex(digits)),
        (
            "token",
            std::fs::read(&token).unwrap().trim_ascii().to_vec(),
        ),
    ];
    let mut searched = Vec::new();
    files(&data, &mut searched);
    files(&at("logs"), &mut searched);
    assert!(searched.len() >= 6, "{searched:?}");
    for path in searched {
        let content = std::fs::read(&path).unwrap();
        for (name, secret) in &secrets {
            if *name == "token" && path == token {
                continue;
            }
            for (form, disguise) in disguises(secret).into_iter().enumerate() {
                let is_there = content
                    .windows(disguise.len())
                    .any(|window| window == disguise);
                assert!(!is_there, "{name} in form {form} in {}", path.display());
            }
        }
    }
}

#[test]
fn disguises_are_found() {
    // `printf 'x%s' Quercus-7731 | base64`, and two bytes before it.
    for encoded in [
        "UXVlcmN1cy03NzMx",
        "eFF1ZXJjdXMtNzczMQ==",
        "eHhRdWVyY3VzLTc3MzE=",
    ] {
        let found = disguises(PASSWORD.as_bytes());
        let is_found = found.iter().any(|it| {
            encoded
                .as_bytes()
                .windows(it.len())
                .any(|window| window == it)
        });
        assert!(is_found, "{encoded}");
    }
}
