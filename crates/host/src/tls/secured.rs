//! Handshakes, and the peer that came out of one.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gridloom_core::UtcTime;
use gridloom_nodes::envelope::Role;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::fault::TlsFault;
use super::identity::{self, CertificateInfo};
use super::node::{Admission, Seeking, Tls};
use super::trust::{End, Trust};

/// How often a link looks whether its peer's certificate has ended.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// A connection whose peer is known.
pub(crate) struct Secured {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) peer: Peer,
}

/// Who is at the other end.
pub(crate) struct Peer {
    info: CertificateInfo,
    chain: Vec<CertificateDer<'static>>,
    end: End,
    tls: Tls,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("info", &self.info).finish()
    }
}

impl Peer {
    /// Whether the peer may greet as `role` and `name`. A utility greets with the name that is
    /// on its bills; there is one under an authority.
    pub(crate) fn check_greeting(&self, role: Role, name: &str) -> Result<(), TlsFault> {
        let own = &self.info.node;
        if role == own.role() && (role == Role::Utility || name == own.name()) {
            return Ok(());
        }
        Err(TlsFault::Impostor {
            node: own.clone(),
            role: identity::word(role),
            name: name.chars().take(identity::NAME_BYTES_MAX).collect(),
        })
    }

    /// Waits until the peer would not be let in any more, and tells why.
    pub(crate) async fn outlived(&self) -> TlsFault {
        let mut changes = self.tls.changes();
        loop {
            let now = self.tls.wall();
            if now >= self.info.not_after {
                return TlsFault::Expired {
                    node: self.info.node.clone(),
                    not_after: self.info.not_after,
                };
            }
            let trust = Arc::clone(&changes.borrow_and_update());
            match trust.check(&self.chain, self.end, now) {
                // A list that nobody renewed must not stop a network that works.
                Ok(_) | Err(TlsFault::StaleList { .. }) => {}
                Err(fault) => return fault,
            }
            let left = self.info.not_after.since(now).min(LOOK_EVERY);
            tokio::select! {
                // The sender lives in `self.tls`.
                _ = changes.changed() => {}
                () = tokio::time::sleep(left) => {}
            }
        }
    }
}

/// Looks at the peer's certificate within one handshake, and keeps what it found.
#[derive(Debug)]
struct Look {
    trust: Arc<Trust>,
    allowed: Vec<Role>,
    /// The host that we dialled.
    dialled: Option<String>,
    end: End,
    now: UtcTime,
    found: Mutex<Option<Result<Found, TlsFault>>>,
}

#[derive(Debug)]
struct Found {
    info: CertificateInfo,
    chain: Vec<CertificateDer<'static>>,
}

impl Look {
    fn judge(
        &self,
        first: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
    ) -> Result<(), rustls::Error> {
        let chain: Vec<CertificateDer<'static>> = std::iter::once(first)
            .chain(others)
            .map(|certificate| certificate.clone().into_owned())
            .collect();
        let result = self
            .trust
            .check(&chain, self.end, self.now)
            .and_then(|info| {
                self.fits(&info)?;
                Ok(Found { info, chain })
            });
        let said = result.as_ref().map(|_| ()).map_err(TlsFault::for_rustls);
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        said
    }

    fn fits(&self, info: &CertificateInfo) -> Result<(), TlsFault> {
        if !self.allowed.contains(&info.node.role()) {
            return Err(TlsFault::WrongRole {
                node: info.node.clone(),
                allowed: identity::words(&self.allowed),
            });
        }
        match &self.dialled {
            Some(host) if !info.hosts.is_empty() && !info.hosts.contains(host) => {
                Err(TlsFault::WrongHost {
                    node: info.node.clone(),
                    dialled: host.clone(),
                    hosts: info.hosts.join(", "),
                })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.trust.provider().signature_verification_algorithms
    }

    fn take(&self) -> Option<Result<Found, TlsFault>> {
        self.found
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

fn no_tls12() -> rustls::Error {
    rustls::Error::General("TLS 1.2 is not in this program".to_owned())
}

impl ClientCertVerifier for Look {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.judge(end_entity, intermediates)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, self.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms().supported_schemes()
    }
}

impl ServerCertVerifier for Look {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge(end_entity, intermediates)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, self.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms().supported_schemes()
    }
}

/// One reading of the clock, for one handshake.
#[derive(Debug)]
struct At(UtcTime);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.as_secs()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

impl Admission {
    /// Lets a peer in that has dialled.
    pub(crate) async fn accept(&self, stream: TcpStream) -> Result<Secured, TlsFault> {
        let tls = self.tls();
        let look = look(tls, self.roles().to_vec(), None, End::Dialler);
        let mut config = ServerConfig::builder_with_details(
            Arc::clone(look.trust.provider()),
            Arc::new(At(look.now)),
        )
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has TLS 1.3")
        .with_client_cert_verifier(Arc::clone(&look) as Arc<dyn ClientCertVerifier>)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(
            &look.trust.certified,
        ))));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let done = TlsAcceptor::from(Arc::new(config)).accept(stream).await;
        finish(tls, &look, done.map(TlsStream::Server))
    }
}

impl Seeking {
    /// Makes sure of a peer that we dialled at `host`.
    pub(crate) async fn connect(&self, stream: TcpStream, host: &str) -> Result<Secured, TlsFault> {
        let tls = self.tls();
        let dialled = host.to_ascii_lowercase();
        let look = look(tls, vec![self.role()], Some(dialled), End::Listener);
        let mut config = ClientConfig::builder_with_details(
            Arc::clone(look.trust.provider()),
            Arc::new(At(look.now)),
        )
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&look) as Arc<dyn ServerCertVerifier>)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(
            &look.trust.certified,
        ))));
        config.resumption = Resumption::disabled();
        // The certificate is judged by role and name; what is dialled needs no name in the offer.
        config.enable_sni = false;
        let name = ServerName::from(std::net::Ipv4Addr::LOCALHOST);
        let done = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await;
        finish(tls, &look, done.map(TlsStream::Client))
    }
}

fn look(tls: &Tls, allowed: Vec<Role>, dialled: Option<String>, end: End) -> Arc<Look> {
    Arc::new(Look {
        trust: tls.trust(),
        allowed,
        dialled,
        end,
        now: tls.wall(),
        found: Mutex::new(None),
    })
}

fn finish(
    tls: &Tls,
    look: &Look,
    done: std::io::Result<TlsStream<TcpStream>>,
) -> Result<Secured, TlsFault> {
    match (done, look.take()) {
        (Ok(stream), Some(Ok(Found { info, chain }))) => {
            let address = stream.get_ref().0.peer_addr().ok();
            tls.note_seen(&info, address);
            Ok(Secured {
                stream,
                peer: Peer {
                    info,
                    chain,
                    end: look.end,
                    tls: tls.clone(),
                },
            })
        }
        // Our own words say more than the library's.
        (_, Some(Err(fault))) => Err(fault),
        (Err(error), _) => Err(TlsFault::of_handshake(&error)),
        (Ok(_), None) => Err(TlsFault::NoCertificate),
    }
}
