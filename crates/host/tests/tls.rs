//! Tiers that meet over TLS on real sockets. Every wait is for an event, never for time to pass.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod office;

use std::sync::Arc;
use std::time::Duration;

use gridloom_core::Seed;
use gridloom_host::tls::TlsError;
use gridloom_host::{
    Clock, Framing, ListenOptions, Listener, Net, Runner, Tls, TlsFault, TlsFiles,
};
use gridloom_nodes::envelope::{Message, Role};
use gridloom_nodes::{Input, Output};
use office::{
    Credulous, HOUR, Office, dial, is_down, is_frame, is_up, probe, put, refusal, serial, serve,
    until, within,
};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn hello() -> Message {
    Message::hello(Role::Gateway, "gateway-1")
}

#[tokio::test]
async fn tiers_meet_and_know_each_other() {
    let office = Office::new();
    let edge = office.opened("edge/edge-1");
    let serial = office.enrol_for("gateway/gateway-1", &["gw.example"], -60, 3_600);
    let gateway = office.open("gateway/gateway-1");
    let (server, address) = serve(&edge, &[Role::Gateway, Role::HeadEnd]).await;
    let mut client = dial(&gateway, address, Role::Edge, hello());
    let Input::Frame { link, .. } = until(&mut client.hears, is_frame).await else {
        panic!("a frame was waited for");
    };

    let seen = edge.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].node.to_string(), "gateway/gateway-1");
    assert_eq!(seen[0].serial, serial);
    assert_eq!(gateway.seen()[0].address, Some(address));
    assert_eq!(gateway.certificate().hosts, ["gw.example"]);
    let big = Message::Object {
        ticket: 1,
        name: "big".into(),
        bytes: vec![7; 1_000_000],
    };
    let frame = big.encode();
    let handle = client.running.handle();
    let sent = frame.clone();
    within(handle.call(gridloom_host::NodeIndex(0), move |node, _| {
        node.outbox.push_back(Output::Send { link, frame: sent });
    }))
    .await
    .unwrap();
    let back = within(async {
        loop {
            if let Input::Frame { frame, .. } = client.hears.recv().await.unwrap() {
                return frame;
            }
        }
    })
    .await;
    assert!(back == frame, "what came back is what was sent");
    within(client.running.stop()).await;
    within(server.running.stop()).await;
    let counts = server.net.counts();
    assert_eq!(
        (counts.accepted, counts.handshakes, counts.ended),
        (1, 1, 1)
    );
    assert_eq!((counts.tls_refused, counts.untrusted), (0, 0));
}

#[tokio::test]
async fn bad_dialers_are_refused_by_name() {
    type Spoil = fn(&Office);
    let good: Spoil = |office| {
        office.enrol("gateway/gateway-1");
    };
    let cases: [(&str, Spoil, &str); 4] = [
        (
            "expired",
            |office| {
                office.enrol_for("gateway/gateway-1", &[], -3_600, -60);
            },
            "certificate of gateway/gateway-1: notAfter ",
        ),
        (
            "not yet valid",
            |office| {
                office.enrol_for("gateway/gateway-1", &[], 1_800, 3_600);
            },
            "certificate of gateway/gateway-1: notBefore ",
        ),
        (
            "foreign",
            |office| {
                let other = Office::new();
                other.enrol("gateway/gateway-1");
                std::fs::rename(
                    other.files("gateway/gateway-1").own,
                    office.files("gateway/gateway-1").own,
                )
                .unwrap();
            },
            "certificate of gateway/gateway-1: its issuer is not the authority of authority.pem",
        ),
        (
            "revoked",
            |office| {
                let serial = office.enrol("gateway/gateway-1");
                office.revoke(2, &[serial], HOUR);
            },
            "is revoked: if the node shall come back, enrol it again",
        ),
    ];
    for (name, spoil, words) in cases {
        let office = Office::new();
        let edge = office.opened("edge/edge-1");
        good(&office);
        let gateway = office.open("gateway/gateway-1");
        let (mut server, address) = serve(&edge, &[Role::Gateway]).await;
        spoil(&office);
        gateway.reload();
        edge.reload();
        let client = dial(&gateway, address, Role::Edge, hello());
        let fault = refusal(&server.net, |_| true).await.to_string();
        assert!(fault.contains(words), "{name}: {fault}");
        refusal(&client.net, |fault| {
            matches!(fault, TlsFault::RefusedByPeer { .. })
        })
        .await;
        within(client.running.stop()).await;
        assert!(server.hears.try_recv().is_err(), "{name}: no link came up");
        within(server.running.stop()).await;
    }
}

#[tokio::test]
async fn without_a_fresh_list_nobody_new_comes_in() {
    let office = Office::new();
    let edge = office.opened("edge/edge-1");
    // The gateway has a machine of its own, where the list is good.
    let elsewhere = tempfile::tempdir().unwrap();
    office.enrol("gateway/gateway-1");
    let files = TlsFiles {
        revoked: elsewhere.path().join("revoked.pem"),
        ..office.files("gateway/gateway-1")
    };
    std::fs::copy(office.path().join("revoked.pem"), &files.revoked).unwrap();
    let gateway = Tls::open(files, &Clock::realtime()).unwrap();
    let (server, address) = serve(&edge, &[Role::Gateway]).await;
    office.revoke(2, &[], Duration::ZERO);
    edge.reload();
    let client = dial(&gateway, address, Role::Edge, hello());
    let words = refusal(&server.net, |_| true).await.to_string();
    assert!(
        words.contains("list revoked.pem has passed: make a new one with gridloom pki renew"),
        "{words}"
    );
    within(client.running.stop()).await;
    within(server.running.stop()).await;
}

#[tokio::test]
async fn roles_and_hosts_must_fit() {
    let office = Office::new();
    let edge = office.opened("edge/edge-1");
    let archive = office.opened("archive/archive-1");
    office.enrol_for("utility/utility", &["utility.example", "10.0.0.7"], -60, 60);
    let utility = office.open("utility/utility");
    let hello = || Message::hello(Role::Archive, "archive-1");

    // A role that may not come in here.
    let (mut server, address) = serve(&edge, &[Role::Gateway, Role::HeadEnd]).await;
    let client = dial(&archive, address, Role::Edge, hello());
    let words = refusal(&server.net, |_| true).await.to_string();
    assert_eq!(
        words,
        "certificate of archive/archive-1: role archive is not taken on this link, which is for \
         gateway, headend: dial the listener of the right tier, or enrol the node under its role"
    );
    within(client.running.stop()).await;

    // A listener of another role than was looked for, and one that is for other hosts.
    let client = dial(&archive, address, Role::Utility, hello());
    let fault = refusal(&client.net, |_| true).await;
    assert!(matches!(fault, TlsFault::WrongRole { .. }), "{fault}");
    within(client.running.stop()).await;
    assert!(server.hears.try_recv().is_err());
    within(server.running.stop()).await;

    let (server, address) = serve(&utility, &[Role::Archive]).await;
    let mut client = dial(&archive, address, Role::Utility, hello());
    let words = refusal(&client.net, |_| true).await.to_string();
    assert!(
        words.contains("is for utility.example, 10.0.0.7, but 127.0.0.1 was dialled"),
        "{words}"
    );
    assert!(client.hears.try_recv().is_err());
    within(client.running.stop()).await;
    within(server.running.stop()).await;
}

#[tokio::test]
async fn a_greeting_must_be_that_of_the_certificate() {
    let office = Office::new();
    let utility = office.opened("utility/utility");
    let cases = [
        ("edge/edge-1", Message::hello(Role::Edge, "edge-1"), true),
        ("edge/edge-1", Message::hello(Role::Edge, "edge-2"), false),
        (
            "edge/edge-1",
            Message::hello(Role::HeadEnd, "edge-1"),
            false,
        ),
    ];
    for (node, greeting, is_believed) in cases {
        let (mut server, address) = serve(&utility, &[Role::Edge, Role::HeadEnd]).await;
        let tls = office.opened(node);
        let mut client = dial(&tls, address, Role::Utility, greeting.clone());
        if is_believed {
            until(&mut client.hears, is_frame).await;
        } else {
            let words = refusal(&server.net, |_| true).await.to_string();
            assert!(
                words.starts_with("certificate of edge/edge-1: the peer greets as "),
                "{words}"
            );
            until(&mut server.hears, is_down).await;
            assert_eq!(server.net.counts().untrusted, 1, "{greeting:?}");
        }
        within(client.running.stop()).await;
        within(server.running.stop()).await;
    }
}

#[tokio::test]
async fn a_revoked_peer_is_cut_and_a_new_certificate_brings_it_back() {
    let office = Office::new();
    let edge = office.opened("edge/edge-1");
    let stolen = office.enrol("gateway/gateway-1");
    let gateway = office.open("gateway/gateway-1");
    let (mut server, address) = serve(&edge, &[Role::Gateway]).await;
    let mut client = dial(&gateway, address, Role::Edge, hello());
    until(&mut client.hears, is_frame).await;

    // Somebody else's certificate, and a list that nobody renewed, change nothing for this link.
    office.revoke(2, &[serial()], Duration::ZERO);
    edge.reload();
    office.revoke(3, &[serial()], HOUR);
    edge.reload();
    assert_eq!(server.net.counts().ended, 0);

    office.revoke(4, &[stolen], HOUR);
    edge.reload();
    until(&mut server.hears, is_down).await;
    let fault = refusal(&server.net, |_| true).await;
    assert!(matches!(fault, TlsFault::Revoked { .. }), "{fault}");
    assert_eq!(server.net.counts().untrusted, 1);
    until(&mut client.hears, is_down).await;
    // It dials again, and is refused in the handshake.
    within(async {
        while server.net.counts().tls_refused == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;

    office.enrol("gateway/gateway-1");
    gateway.reload();
    until(&mut client.hears, is_frame).await;
    assert!(
        within(server.hears.recv())
            .await
            .is_some_and(|input| is_up(&input))
    );
    within(client.running.stop()).await;
    within(server.running.stop()).await;
}

#[tokio::test]
async fn a_certificate_that_ends_ends_the_link_and_renewing_in_time_does_not() {
    let office = Office::new();
    let edge = office.opened("edge/edge-1");
    office.enrol_for("gateway/gateway-1", &[], -60, 3);
    let gateway = office.open("gateway/gateway-1");
    let (mut server, address) = serve(&edge, &[Role::Gateway]).await;
    let mut client = dial(&gateway, address, Role::Edge, hello());
    until(&mut client.hears, is_frame).await;
    office.enrol("gateway/gateway-1");
    gateway.reload();
    assert_eq!(server.net.counts().ended, 0, "renewing cuts nothing");
    until(&mut server.hears, is_down).await;
    let fault = refusal(&server.net, |_| true).await;
    assert!(matches!(fault, TlsFault::Expired { .. }), "{fault}");
    // With the renewed one it comes back at once.
    until(&mut client.hears, is_frame).await;
    within(client.running.stop()).await;
    within(server.running.stop()).await;
}

/// A ClientHello that offers nothing newer than TLS 1.2 (RFC 5246 §7.4.1.2).
fn client_hello_of_tls12() -> Vec<u8> {
    let extensions = [
        &[0, 10, 0, 4, 0, 2, 0, 23][..], // supported_groups: secp256r1.
        &[0, 11, 0, 2, 1, 0],            // ec_point_formats: uncompressed.
        &[0, 13, 0, 4, 0, 2, 4, 3],      // signature_algorithms: ecdsa_secp256r1_sha256.
    ]
    .concat();
    let body = [
        &[3, 3][..],
        &[0x5A; 32],
        &[0, 0, 2, 0xC0, 0x2B, 1, 0],
        &[0, u8::try_from(extensions.len()).unwrap()],
        &extensions,
    ]
    .concat();
    let length = u8::try_from(body.len()).unwrap();
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat()
}

#[tokio::test]
async fn what_is_no_peer_of_ours_is_closed() {
    let office = Office::new();
    let edge = office.opened("edge/edge-1");
    let (server, address) = serve(&edge, &[Role::Gateway]).await;

    // Our own envelope without TLS.
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain
        .write_all(&[0, 0, 0, 9, 1, 1, 1, 0, 0, 0, 1, 65, 0])
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = within(plain.read_to_end(&mut answer)).await;
    let words = refusal(&server.net, |_| true).await.to_string();
    assert_eq!(
        words,
        "TLS: the peer does not speak TLS: name a [pki] directory there, or none here"
    );

    // TLS 1.2: the answer is the alert protocol_version.
    let mut old = TcpStream::connect(address).await.unwrap();
    old.write_all(&client_hello_of_tls12()).await.unwrap();
    let mut answer = Vec::new();
    let _ = within(old.read_to_end(&mut answer)).await;
    assert_eq!(answer.get(..1), Some(&[21][..]), "an alert: {answer:?}");
    assert_eq!(answer.get(5..7), Some(&[2, 70][..]), "{answer:?}");
    let fault = refusal(&server.net, |fault| {
        matches!(fault, TlsFault::Version { .. })
    })
    .await;
    assert!(fault.to_string().starts_with("TLS: version:"), "{fault}");

    // No certificate.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous))
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("edge.example").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    // In TLS 1.3 the client may believe that it is done.
    if let Ok(mut stream) = within(connector.connect(name, stream)).await {
        assert!(within(stream.read_u8()).await.is_err());
    }
    let fault = refusal(&server.net, |fault| *fault == TlsFault::NoCertificate).await;
    assert!(fault.to_string().contains("gridloom pki enrol"), "{fault}");

    let counts = server.net.counts();
    assert_eq!((counts.tls_refused, counts.handshakes), (3, 0));
    within(server.running.stop()).await;
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_closed() {
    let office = Office::new();
    let edge = office.opened("edge/edge-1");
    let net = Net::new(Clock::realtime(), Seed::new(1));
    let (node, mut hears) = probe(hello(), true);
    let mut runner = Runner::new(net.clone());
    let index = runner.add("server", node);
    let listener = Listener::bind("--listen", "127.0.0.1:0").await.unwrap();
    let address = listener.address();
    let admission = edge
        .admitting(&[Role::Gateway])
        .within(Duration::from_millis(50));
    runner.listen_over(
        index,
        listener,
        ListenOptions::new(Framing::Envelope),
        Some(admission),
    );
    let running = runner.start();
    let mut silent = TcpStream::connect(address).await.unwrap();
    // One byte a time keeps nothing open: the whole handshake has one bound.
    silent
        .write_all(&client_hello_of_tls12()[..3])
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = within(silent.read_to_end(&mut answer)).await;
    assert_eq!(refusal(&net, |_| true).await, TlsFault::TimedOut);
    assert_eq!(net.counts().tls_silent, 1);
    // Stopping does not wait for one that is still silent.
    let _silent = TcpStream::connect(address).await.unwrap();
    within(running.stop()).await;
    assert!(hears.recv().await.is_none(), "the node heard of none");
}

#[tokio::test]
async fn files_that_do_not_fit_are_named() {
    let office = Office::new();
    let open = |node: &str| Tls::open(office.files(node), &Clock::realtime()).unwrap_err();
    let error = open("edge/edge-1");
    assert!(matches!(error, TlsError::File { .. }), "{error}");
    assert!(error.to_string().contains("edge-edge-1.pem"), "{error}");

    office.enrol("edge/edge-1");
    std::fs::rename(
        office.files("edge/edge-1").own,
        office.files("edge/edge-2").own,
    )
    .unwrap();
    let error = open("edge/edge-2");
    assert!(matches!(error, TlsError::OtherNode { .. }), "{error}");

    // The key of another certificate.
    office.enrol("edge/edge-1");
    let mine = std::fs::read_to_string(office.files("edge/edge-1").own).unwrap();
    office.enrol("edge/edge-1");
    let other = std::fs::read_to_string(office.files("edge/edge-1").own).unwrap();
    let begin = "-----BEGIN PRIVATE KEY-----";
    let mixed = format!(
        "{}{begin}{}",
        mine.split(begin).next().unwrap(),
        other.split(begin).nth(1).unwrap()
    );
    put(&office.files("edge/edge-1").own, &mixed);
    let error = open("edge/edge-1").to_string();
    assert!(error.contains("do not fit"), "{error}");
    assert!(!error.contains("BEGIN"), "{error}");

    office.enrol_for("edge/edge-1", &[], -120, -60);
    let error = open("edge/edge-1");
    assert!(matches!(error, TlsError::Own { .. }), "{error}");
    assert!(
        error.to_string().contains("gridloom pki renew edge/edge-1"),
        "{error}"
    );

    // What cannot be read later leaves the node with what it had.
    office.enrol("edge/edge-1");
    let tls = office.open("edge/edge-1");
    let before = tls.certificate();
    put(&office.path().join("revoked.pem"), "nonsense");
    tls.reload();
    assert_eq!(tls.certificate(), before);
    put(&office.path().join("authority.pem"), "nonsense");
    let error = open("edge/edge-1").to_string();
    assert!(
        error.contains("authority.pem: it holds no authority's CERTIFICATE"),
        "{error}"
    );
}
