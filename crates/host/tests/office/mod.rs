//! An authority, the directory that it fills, and nodes that say what they hear: for whoever tests
//! what links over TLS let in.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use gridloom_core::{Now, Seed, UtcTime, Wake};
use gridloom_host::tls::{Authority, NodeName, Order, Reason, Revoked, Serial, Term, key_of_bytes};
use gridloom_host::{
    Clock, DialAddress, DialOptions, Framing, ListenOptions, Listener, Net, Runner, Running, Tls,
    TlsFault, TlsFiles, entropy,
};
use gridloom_nodes::envelope::{Message, Role};
use gridloom_nodes::{Input, Node, Output, Port};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// A whole test waits at most this long for an event that does not come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// Tells the test what it hears; greets whom it dials, and answers a greeting with its own and
/// anything else with itself.
pub(crate) struct Probe {
    pub(crate) heard: mpsc::UnboundedSender<Input>,
    pub(crate) greeting: Message,
    pub(crate) listens: bool,
    pub(crate) outbox: VecDeque<Output>,
}

impl Node for Probe {
    fn handle(&mut self, input: Input, _: Now) {
        let answer = match &input {
            Input::LinkUp { link, port } => {
                (*port == Port::Up).then(|| (*link, self.greeting.encode()))
            }
            Input::Frame { link, frame } if self.listens => {
                let is_greeting = Message::greeting(frame).is_some();
                let answer = if is_greeting {
                    self.greeting.encode()
                } else {
                    frame.clone()
                };
                Some((*link, answer))
            }
            Input::Frame { .. }
            | Input::LinkDown { .. }
            | Input::LinkFault { .. }
            | Input::DialFailed { .. }
            | Input::Disk(_)
            | Input::Timeout => None,
        };
        if let Some((link, frame)) = answer {
            self.outbox.push_back(Output::Send { link, frame });
        }
        // The test may have ended.
        let _ = self.heard.send(input);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop_front()
    }

    fn wake(&self) -> Wake {
        Wake::default()
    }
}

pub(crate) fn probe(greeting: Message, listens: bool) -> (Probe, mpsc::UnboundedReceiver<Input>) {
    let (heard, hears) = mpsc::unbounded_channel();
    let probe = Probe {
        heard,
        greeting,
        listens,
        outbox: VecDeque::new(),
    };
    (probe, hears)
}

pub(crate) async fn within<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wait)
        .await
        .expect("the event comes in time")
}

/// Waits until the node hears something of this kind.
pub(crate) async fn until(
    hears: &mut mpsc::UnboundedReceiver<Input>,
    is_it: fn(&Input) -> bool,
) -> Input {
    within(async {
        loop {
            let input = hears.recv().await.expect("the node lives");
            if is_it(&input) {
                return input;
            }
        }
    })
    .await
}

pub(crate) fn is_up(input: &Input) -> bool {
    matches!(input, Input::LinkUp { .. })
}

pub(crate) fn is_down(input: &Input) -> bool {
    matches!(input, Input::LinkDown { .. })
}

pub(crate) fn is_frame(input: &Input) -> bool {
    matches!(input, Input::Frame { .. })
}

/// Waits for the first refusal that is one of these.
pub(crate) async fn refusal(net: &Net, is_it: fn(&TlsFault) -> bool) -> TlsFault {
    within(async {
        loop {
            let refusals = net.tls_refusals();
            if let Some(found) = refusals.into_iter().find(|refusal| is_it(&refusal.fault)) {
                return found.fault;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

/// An authority and the directory that it fills.
pub(crate) struct Office {
    pub(crate) authority: Authority,
    pub(crate) folder: TempDir,
    pub(crate) now: UtcTime,
}

impl Office {
    pub(crate) fn new() -> Self {
        let now = Clock::realtime().wall();
        let term = Term {
            not_before: now - HOUR,
            not_after: now + 24 * HOUR,
        };
        let authority = Authority::found("Elm, \"Valley\" Power", &key(), &serial(), term).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("nodes")).unwrap();
        let office = Self {
            authority,
            folder,
            now,
        };
        put(
            &office.path().join("authority.pem"),
            &office.authority.certificate_pem().unwrap(),
        );
        office.revoke(1, &[], HOUR);
        office
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn files(&self, node: &str) -> TlsFiles {
        TlsFiles::in_directory(self.path(), node.parse().unwrap())
    }

    /// Enrols a node from `from` to `to` seconds from now.
    pub(crate) fn enrol_for(&self, node: &str, hosts: &[&str], from: i64, to: i64) -> Serial {
        let serial = serial();
        let name: NodeName = node.parse().unwrap();
        let second = |seconds: i64| UtcTime::from_secs(self.now.as_secs() + seconds);
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let order = Order {
            node: &name,
            hosts: &hosts,
            serial: &serial,
            term: Term {
                not_before: second(from),
                not_after: second(to),
            },
        };
        let text = self.authority.issue(&order, &key()).unwrap();
        put(&self.files(node).own, &text);
        serial
    }

    pub(crate) fn enrol(&self, node: &str) -> Serial {
        self.enrol_for(node, &[], -60, 3_600)
    }

    pub(crate) fn revoke(&self, number: u64, serials: &[Serial], until: Duration) {
        let entries: Vec<Revoked> = serials
            .iter()
            .map(|serial| Revoked {
                serial: serial.clone(),
                at: self.now,
                reason: Reason::KeyCompromise,
            })
            .collect();
        let term = Term {
            not_before: self.now - HOUR,
            not_after: self.now + until,
        };
        let list = self.authority.revocation_list(number, term, &entries);
        put(&self.path().join("revoked.pem"), &list.unwrap());
    }

    pub(crate) fn open(&self, node: &str) -> Tls {
        Tls::open(self.files(node), &Clock::realtime()).unwrap()
    }

    pub(crate) fn opened(&self, node: &str) -> Tls {
        self.enrol(node);
        self.open(node)
    }
}

pub(crate) fn key() -> p256::SecretKey {
    key_of_bytes(&entropy::bytes().unwrap()).unwrap()
}

pub(crate) fn serial() -> Serial {
    Serial::new(&entropy::bytes::<15>().unwrap()).unwrap()
}

/// As an operator's tool does: the file is replaced at once.
pub(crate) fn put(path: &Path, text: &str) {
    let part = path.with_extension("part");
    std::fs::write(&part, text).unwrap();
    std::fs::rename(&part, path).unwrap();
}

pub(crate) struct End {
    pub(crate) running: Running<Probe>,
    pub(crate) hears: mpsc::UnboundedReceiver<Input>,
    pub(crate) net: Net,
}

/// A probe that lets roles in.
pub(crate) async fn serve(tls: &Tls, roles: &[Role]) -> (End, SocketAddr) {
    let net = Net::new(Clock::realtime(), Seed::new(1));
    let (node, hears) = probe(Message::hello(tls.node().role(), tls.node().name()), true);
    let mut runner = Runner::new(net.clone());
    let index = runner.add("server", node);
    let listener = Listener::bind("--listen", "127.0.0.1:0").await.unwrap();
    let address = listener.address();
    let options = ListenOptions::new(Framing::Envelope);
    runner.listen_over(index, listener, options, Some(tls.admitting(roles)));
    let running = runner.start();
    let end = End {
        running,
        hears,
        net,
    };
    (end, address)
}

/// A probe that seeks a role, and greets.
pub(crate) fn dial(tls: &Tls, address: SocketAddr, role: Role, greeting: Message) -> End {
    let net = Net::new(Clock::realtime(), Seed::new(2));
    let (node, hears) = probe(greeting, false);
    let mut runner = Runner::new(net.clone());
    let index = runner.add("client", node);
    let options = DialOptions::new(Framing::Envelope);
    let target = DialAddress::from(address);
    runner.dial_over(index, target, options, Some(tls.seeking(role)));
    let running = runner.start();
    End {
        running,
        hears,
        net,
    }
}

/// Believes everything: what a careless client would do.
#[derive(Debug)]
pub(crate) struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
