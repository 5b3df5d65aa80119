//! The authority as an operator uses it, and what it means to nodes at work.

mod process;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use process::{Demo, refusal, run, text, until};
use serde_json::Value;

/// A change of files is seen, and a link dialled again, within seconds; a busy machine is slow.
const CHANGE_MAX: Duration = Duration::from_secs(60);

/// Runs `gridloom pki` and gives what it says.
fn pki(directory: &Path, arguments: &[&str]) -> String {
    let place = ["--directory", text(directory)];
    let output = run(&[&["pki"], arguments, &place].concat());
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {words}");
    String::from_utf8(output.stdout).expect("its output is text")
}

fn listed(directory: &Path) -> Vec<Value> {
    let rows = pki(directory, &["list", "--json"]);
    serde_json::from_str(&rows).expect("a list of certificates")
}

/// Name, standing and reason of every certificate.
fn standings(directory: &Path) -> Vec<String> {
    listed(directory)
        .iter()
        .map(|row| {
            let word = |key: &str| row[key].as_str().unwrap_or("-").to_owned();
            format!("{} {} {}", word("name"), word("standing"), word("reason"))
        })
        .collect()
}

#[test]
fn certificates_are_issued_renewed_and_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("pki");
    pki(&directory, &["init", "--utility", "Elm, \"Valley\""]);
    pki(
        &directory,
        &["enrol", "edge", "edge-1", "--host", "edge.example"],
    );
    pki(&directory, &["enrol", "gateway", "gw-1", "--days", "3"]);
    assert_eq!(
        standings(&directory),
        ["edge-1 valid -", "gw-1 valid -"],
        "by role and name"
    );
    for secret in ["authority/key.pem", "nodes/edge-edge-1.pem"] {
        let mode = std::fs::metadata(directory.join(secret)).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600, "{secret}");
    }

    // Renewing keeps the hosts, and leaves the old one good until it ends.
    assert!(pki(&directory, &["renew"]).starts_with("no certificate is due\n"));
    pki(&directory, &["renew", "edge-1"]);
    assert_eq!(
        standings(&directory),
        ["edge-1 replaced -", "edge-1 valid -", "gw-1 valid -"]
    );
    let shown = pki(&directory, &["show", "edge-1"]);
    assert!(shown.contains("hosts       edge.example\n"), "{shown}");

    // By name every certificate is taken back, by serial number one.
    pki(
        &directory,
        &["revoke", "edge/edge-1", "--reason", "key-compromise"],
    );
    assert_eq!(
        standings(&directory)[..2],
        [
            "edge-1 revoked key-compromise",
            "edge-1 revoked key-compromise"
        ]
    );
    let serial = listed(&directory)[2]["serial"].as_str().unwrap().to_owned();
    pki(&directory, &["revoke", &serial]);
    pki(&directory, &["enrol", "gateway", "gw-1"]);
    assert_eq!(
        standings(&directory)[2..],
        ["gw-1 revoked unspecified", "gw-1 valid -"]
    );

    // For other programs: the certificate, and never the key.
    let pem = pki(&directory, &["show", "gw-1", "--pem"]);
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----\n"), "{pem}");
    assert!(pem.ends_with("-----END CERTIFICATE-----\n"), "{pem}");
    assert!(!pem.contains("PRIVATE"), "{pem}");
    let table = pki(&directory, &["list"]);
    assert!(!table.contains('\u{1b}'), "no colour into a pipe");
}

#[test]
fn what_the_authority_refuses_names_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("pki");
    let refused = |arguments: &[&str]| {
        let place = ["--directory", text(&directory)];
        refusal(&[&["pki"], arguments, &place].concat())
    };
    let words = refused(&["enrol", "edge", "edge-1"]);
    assert!(words.contains("gridloom pki init"), "{words}");
    pki(&directory, &["init"]);
    pki(&directory, &["enrol", "edge", "edge-1"]);
    pki(&directory, &["enrol", "gateway", "gw-1"]);
    pki(&directory, &["revoke", "gw-1"]);
    let cases: [(&[&str], &str); 10] = [
        (&["init"], "holds an authority already"),
        (
            &["enrol", "edge", "edge-1"],
            "gridloom pki renew edge/edge-1",
        ),
        (&["enrol", "meter", "m-1"], "role \"meter\" is unknown"),
        (&["enrol", "edge", "../key"], "is no node's name"),
        (
            &["enrol", "edge", "e", "--days", "0"],
            "--days 0: give 1 to",
        ),
        (&["enrol", "edge", "e", "--host", "a b"], "host = \"a b\""),
        (&["renew", "gw-1"], "enrol it again with gridloom pki enrol"),
        (&["revoke", "gw-1"], "has no certificate that counts"),
        (&["revoke", "nobody"], "no certificate is of \"nobody\""),
        (
            &["renew", "edge-1", "--days", "826"],
            "--days 826: give 1 to",
        ),
    ];
    for (arguments, expected) in cases {
        let words = refused(arguments);
        assert!(words.contains(expected), "{arguments:?} said {words}");
    }
    let key = directory.join("authority/key.pem");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let words = refused(&["list"]);
    assert!(words.contains("chmod 600"), "{words}");
}

/// Whether the demo's gateway reaches its edge.
fn reaches_its_edge(demo: &Demo) -> bool {
    let snapshot = demo.api("snapshot");
    let nodes = snapshot["layers"].as_array().expect("a list of nodes");
    nodes
        .iter()
        .any(|node| node["node"] == "gateway-1" && node["state"] == "up")
}

#[test]
fn a_demo_refuses_strangers_and_cuts_off_whom_its_authority_revokes() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let demo = Demo::start(&data, &["--speed", "2000"]);
    until("the first readings", CHANGE_MAX, || {
        (demo.counter("readings_stored") > 10).then_some(())
    });
    for layer in ["gateway → edge", "edge → utility", "utility → archive"] {
        let (_, address) = demo
            .layers()
            .iter()
            .find(|(name, _)| name == layer)
            .expect("the layer is printed");
        let mut stranger = TcpStream::connect(address).unwrap();
        stranger.write_all(&[0, 0, 0, 4, 1, 1, 1, 0]).unwrap();
        let mut answer = Vec::new();
        // An alert, then the end.
        let _ = stranger.read_to_end(&mut answer);
        assert!(answer.len() < 16, "{layer}: {answer:?}");
    }
    assert!(demo.errors().contains("the peer does not speak TLS"));

    let directory = data.join("pki");
    assert!(reaches_its_edge(&demo));
    pki(&directory, &["revoke", "gateway-1"]);
    until("the gateway is cut off", CHANGE_MAX, || {
        (!reaches_its_edge(&demo)).then_some(())
    });
    pki(&directory, &["enrol", "gateway", "gateway-1"]);
    until("the gateway is back", CHANGE_MAX, || {
        reaches_its_edge(&demo).then_some(())
    });
    let before = demo.counter("readings_stored");
    until("readings flow again", CHANGE_MAX, || {
        (demo.counter("readings_stored") > before + 10).then_some(())
    });
    demo.interrupt().in_order();
}
