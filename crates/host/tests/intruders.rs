//! Intruders at the ports of every tier, and in the place of one: whatever certificate they show,
//! nothing of theirs reaches a node, each is counted with its reason, and honest peers go on.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod office;

use std::net::SocketAddr;
use std::sync::Arc;

use gridloom_host::{NodeIndex, Tls, TlsFault};
use gridloom_nodes::envelope::{Message, Role};
use gridloom_nodes::{Input, LinkId, Output};
use office::{Credulous, End, HOUR, Office, dial, is_frame, refusal, serve, until, within};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What an intruder shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    Nothing,
    Foreign,
    Expired,
    NotYetValid,
    Revoked,
    OtherRole,
    OtherName,
}

const ALL: [Shows; 7] = [
    Shows::Nothing,
    Shows::Foreign,
    Shows::Expired,
    Shows::NotYetValid,
    Shows::Revoked,
    Shows::OtherRole,
    Shows::OtherName,
];

/// Certificates and key, as their holder has them.
type Papers = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn papers(office: &Office, node: &str) -> Papers {
    let text = std::fs::read(office.files(node).own).unwrap();
    let chain = CertificateDer::pem_slice_iter(&text).map(Result::unwrap);
    (
        chain.collect(),
        PrivateKeyDer::from_pem_slice(&text).unwrap(),
    )
}

/// An intruder's papers in the name of `node`, and what he greets as. The role `other` may not
/// come in where `node` may.
fn forge(office: &Office, shows: Shows, node: &str, other: &str) -> Option<Papers> {
    match shows {
        Shows::Nothing => None,
        Shows::Foreign => {
            let foreign = Office::new();
            foreign.enrol(node);
            Some(papers(&foreign, node))
        }
        Shows::Expired => {
            office.enrol_for(node, &[], -3_600, -60);
            Some(papers(office, node))
        }
        Shows::NotYetValid => {
            office.enrol_for(node, &[], 1_800, 3_600);
            Some(papers(office, node))
        }
        Shows::Revoked => {
            let serial = office.enrol(node);
            office.revoke(2, &[serial], HOUR);
            Some(papers(office, node))
        }
        Shows::OtherRole => {
            office.enrol(other);
            Some(papers(office, other))
        }
        Shows::OtherName => {
            let (role, _) = node.split_once('/').unwrap();
            let stolen = format!("{role}/another");
            office.enrol(&stolen);
            Some(papers(office, &stolen))
        }
    }
}

/// Whether this is the reason for which he is refused.
fn fits(shows: Shows, fault: &TlsFault) -> bool {
    match shows {
        Shows::Nothing => *fault == TlsFault::NoCertificate,
        Shows::Foreign => matches!(fault, TlsFault::ForeignAuthority { .. }),
        Shows::Expired => matches!(fault, TlsFault::Expired { .. }),
        Shows::NotYetValid => matches!(fault, TlsFault::NotYetValid { .. }),
        Shows::Revoked => matches!(fault, TlsFault::Revoked { .. }),
        Shows::OtherRole => matches!(fault, TlsFault::WrongRole { .. }),
        Shows::OtherName => fault.to_string().contains("the peer greets as"),
    }
}

/// An envelope as it goes over the wire.
fn on_wire(message: &Message) -> Vec<u8> {
    let frame = message.encode();
    let length = u32::try_from(frame.len()).unwrap();
    [&length.to_be_bytes()[..], &frame].concat()
}

/// What an intruder says once he believes that he is in.
fn lie() -> Message {
    Message::Object {
        ticket: 666,
        name: "lie".into(),
        bytes: vec![0x66; 100],
    }
}

/// Believes whatever stands there, shows what he has, greets as `greeting` and lies.
async fn knock(address: SocketAddr, papers: Option<Papers>, greeting: &Message) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous));
    let config = match papers {
        Some((chain, key)) => config.with_client_auth_cert(chain, key).unwrap(),
        None => config.with_no_client_auth(),
    };
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("tier.example").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    // In TLS 1.3 a client is done before the server has looked at its certificate.
    if let Ok(mut stream) = within(connector.connect(name, stream)).await {
        let said = [on_wire(greeting), on_wire(&lie())].concat();
        let _ = stream.write_all(&said).await;
        let _ = stream.flush().await;
        let mut answer = Vec::new();
        let _ = within(stream.read_to_end(&mut answer)).await;
        let lie = lie().encode();
        let is_echo = answer.windows(lie.len()).any(|part| part == lie);
        assert!(!is_echo, "the node answered an intruder");
    }
}

/// An honest peer asks its upper neighbour something and gets its answer.
async fn ask(client: &mut End, link: LinkId, number: u64) {
    let question = Message::Object {
        ticket: number,
        name: "honest".into(),
        bytes: Vec::new(),
    }
    .encode();
    let sent = question.clone();
    let handle = client.running.handle();
    within(handle.call(NodeIndex(0), move |node, _| {
        node.outbox.push_back(Output::Send { link, frame: sent });
    }))
    .await
    .unwrap();
    let answer = until(&mut client.hears, is_frame).await;
    assert_eq!(
        answer,
        Input::Frame {
            link,
            frame: question
        }
    );
}

fn greeting_of(tls: &Tls) -> Message {
    Message::hello(tls.node().role(), tls.node().name())
}

/// Who listens, whom it lets in, who is honest, and a node that may not come in there.
type Port = (&'static str, &'static [Role], &'static str, &'static str);

const PORTS: [Port; 4] = [
    (
        "edge/edge-1",
        &[Role::Gateway],
        "gateway/gateway-1",
        "archive/archive-1",
    ),
    (
        "utility/utility",
        &[Role::Edge, Role::HeadEnd],
        "edge/edge-1",
        "gateway/gateway-1",
    ),
    (
        "utility/utility",
        &[Role::Edge, Role::HeadEnd],
        "headend/head-end",
        "archive/archive-1",
    ),
    (
        "archive/archive-1",
        &[Role::Utility],
        "utility/utility",
        "headend/head-end",
    ),
];

#[tokio::test]
async fn at_no_tiers_port_an_intruder_reaches_the_node() {
    for (at, roles, honest, other) in PORTS {
        let office = Office::new();
        let tier = office.opened(at);
        let peer = office.opened(honest);
        let (mut server, address) = serve(&tier, roles).await;
        let greeting = greeting_of(&peer);
        let mut client = dial(&peer, address, tier.node().role(), greeting.clone());
        let Input::Frame { link, .. } = until(&mut client.hears, is_frame).await else {
            panic!("a greeting was waited for");
        };
        ask(&mut client, link, 1).await;
        // A utility is known by its role alone: its greeting says what it calls itself.
        let all = match honest.starts_with("utility/") {
            true => &ALL[..ALL.len() - 1],
            false => &ALL[..],
        };
        for (number, shows) in (2..).zip(all.iter().copied()) {
            let papers = forge(&office, shows, honest, other);
            tier.reload();
            let before = server.net.counts();
            let refusals = server.net.tls_refusals().len();
            knock(address, papers, &greeting).await;
            let fault = within(async {
                loop {
                    let found = server.net.tls_refusals();
                    if found.len() > refusals {
                        assert_eq!(found.len(), refusals + 1, "{at}, {shows:?}: {found:?}");
                        return found[refusals].fault.clone();
                    }
                    tokio::task::yield_now().await;
                }
            })
            .await;
            assert!(fits(shows, &fault), "{at}, {shows:?}: {fault}");
            let counts = server.net.counts();
            let refused = (
                counts.tls_refused - before.tls_refused,
                counts.untrusted - before.untrusted,
            );
            // Whoever has a good certificate comes in, and is thrown out at his greeting.
            let expected = if shows == Shows::OtherName {
                (0, 1)
            } else {
                (1, 0)
            };
            assert_eq!(refused, expected, "{at}, {shows:?}");
            ask(&mut client, link, number).await;
        }
        within(client.running.stop()).await;
        within(server.running.stop()).await;
        // The node heard its honest peer, and nobody else.
        let mut heard = Vec::new();
        while let Ok(input) = server.hears.try_recv() {
            if let Input::Frame { frame, .. } = input {
                heard.push(frame);
            }
        }
        let (first, questions) = heard.split_first().unwrap();
        assert_eq!(*first, greeting.encode());
        assert_eq!(questions.len(), 1 + all.len(), "{at}");
        assert!(questions.iter().all(|frame| *frame != lie().encode()));
    }
}

/// Stands where a tier is looked for, lets everybody in, and greets as that tier.
async fn stand_in(papers: Papers, greeting: Message) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (chain, key) = papers;
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let said = [on_wire(&greeting), on_wire(&lie())].concat();
                let _ = stream.write_all(&said).await;
                let _ = stream.flush().await;
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
            }
        }
    });
    address
}

#[tokio::test]
async fn nobody_stands_in_for_a_tier() {
    let cases = [
        ("gateway/gateway-1", "edge/edge-1", "archive/archive-1"),
        ("edge/edge-1", "utility/utility", "gateway/gateway-1"),
        ("headend/head-end", "utility/utility", "edge/edge-2"),
        ("utility/utility", "archive/archive-1", "edge/edge-1"),
    ];
    for (who, tier, other) in cases {
        for shows in ALL {
            // A tier's name is known by its certificate alone: whoever has one of the role is one.
            if matches!(shows, Shows::Nothing | Shows::OtherName) {
                continue;
            }
            let office = Office::new();
            let real = office.opened(tier);
            let peer = office.opened(who);
            let false_papers = forge(&office, shows, tier, other).unwrap();
            peer.reload();
            let (greeting, role) = (greeting_of(&real), real.node().role());
            let address = stand_in(false_papers, greeting).await;
            let mut client = dial(&peer, address, role, greeting_of(&peer));
            let fault = refusal(&client.net, |_| true).await;
            assert!(fits(shows, &fault), "{who}, {shows:?}: {fault}");
            assert!(client.net.counts().tls_refused > 0, "{who}, {shows:?}");
            within(client.running.stop()).await;
            while let Ok(input) = client.hears.try_recv() {
                let is_deaf = matches!(input, Input::DialFailed { .. });
                assert!(is_deaf, "{who}, {shows:?}: {input:?}");
            }
            // The real one is believed by the same node.
            office.enrol(tier);
            real.reload();
            let (server, address) = serve(&real, &[peer.node().role()]).await;
            let mut client = dial(&peer, address, role, greeting_of(&peer));
            until(&mut client.hears, is_frame).await;
            within(client.running.stop()).await;
            within(server.running.stop()).await;
        }
    }
}
