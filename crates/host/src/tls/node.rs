//! A node's TLS: its files, read again when they change, and whom it has seen.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use gridloom_core::UtcTime;
use gridloom_nodes::envelope::Role;
use rustls::crypto::CryptoProvider;
use tokio::sync::watch;

use super::crowd::HANDSHAKE_TIMEOUT;
use super::fault::{TlsError, TlsFault};
use super::files::{Mark, TlsFiles};
use super::identity::{CertificateInfo, NodeName, Serial};
use super::trust::{End, Trust};
use crate::clock::Clock;

/// How often a node looks whether its files have changed.
pub const RELOAD_EVERY: Duration = Duration::from_secs(1);

/// Peers that are remembered with the time they were seen; the one seen longest ago is forgotten.
pub const SEEN_MAX: usize = 4_096;

/// Looks at the files between two looks at what is due for renewal.
const LOOKS_PER_REMINDER: u32 = 3_600;

/// What one node shows and whom it trusts. Clones share it.
///
/// The files are read again within [`RELOAD_EVERY`] after they changed; what cannot be read then
/// is logged, and the node goes on with what it had.
#[derive(Clone)]
pub struct Tls {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    trust: watch::Sender<Arc<Trust>>,
    mark: Mutex<Mark>,
    seen: Mutex<BTreeMap<NodeName, PeerSeen>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("node", &self.shared.files.node)
            .finish_non_exhaustive()
    }
}

/// A peer that got through a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerSeen {
    /// Who it is.
    pub node: NodeName,
    /// The certificate that it showed last.
    pub serial: Serial,
    /// When, by the system's clock.
    pub at: UtcTime,
    /// From or at which address.
    pub address: Option<SocketAddr>,
}

/// How a listener lets peers in: over TLS, and by role.
#[derive(Debug, Clone)]
pub struct Admission {
    tls: Tls,
    roles: Vec<Role>,
    patience: Duration,
}

/// How a dialer makes sure of its peer: over TLS, and by role.
#[derive(Debug, Clone)]
pub struct Seeking {
    tls: Tls,
    role: Role,
}

impl Tls {
    /// Reads a node's files, and reads them again whenever they change.
    ///
    /// # Errors
    ///
    /// A [`TlsError`] that names the file, or why everybody would refuse the certificate.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn open(files: TlsFiles, clock: &Clock) -> Result<Self, TlsError> {
        // The mark first: what is written meanwhile is read again.
        let mark = files.mark();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let trust = Trust::read(&files, Arc::clone(&provider))?;
        let now = clock.wall();
        match trust.check(trust.own_chain(), End::Dialler, now) {
            Ok(_) => {}
            Err(fault) => {
                let is_stale = matches!(fault, TlsFault::StaleList { .. });
                return Err(TlsError::Own {
                    path: if is_stale { files.revoked } else { files.own },
                    fault: Box::new(fault),
                });
            }
        }
        warn_if_others_may_read(&files);
        let tls = Self {
            shared: Arc::new(Shared {
                clock: clock.clone(),
                files,
                provider,
                trust: watch::Sender::new(Arc::new(trust)),
                mark: Mutex::new(mark),
                seen: Mutex::default(),
            }),
        };
        tokio::spawn(watch_files(Arc::downgrade(&tls.shared)));
        Ok(tls)
    }

    /// Who the node is.
    pub fn node(&self) -> &NodeName {
        &self.shared.files.node
    }

    /// The certificate that it shows now.
    pub fn certificate(&self) -> CertificateInfo {
        self.shared.trust.borrow().own.clone()
    }

    /// Lets peers of these roles in.
    ///
    /// # Panics
    ///
    /// Without a role nobody could come in: our mistake.
    pub fn admitting(&self, roles: &[Role]) -> Admission {
        assert!(!roles.is_empty(), "a listener lets some role in");
        Admission {
            tls: self.clone(),
            roles: roles.to_vec(),
            patience: HANDSHAKE_TIMEOUT,
        }
    }

    /// Looks for a peer of this role.
    pub fn seeking(&self, role: Role) -> Seeking {
        Seeking {
            tls: self.clone(),
            role,
        }
    }

    /// The peers that got through a handshake since the start, at most [`SEEN_MAX`], by name.
    pub fn seen(&self) -> Vec<PeerSeen> {
        let seen = self.shared.seen.lock();
        let seen = seen.unwrap_or_else(PoisonError::into_inner);
        seen.values().cloned().collect()
    }

    /// Reads the files now if they have changed, and closes the links of whom they revoke.
    pub fn reload(&self) {
        self.shared.reload_if_changed();
    }

    pub(super) fn trust(&self) -> Arc<Trust> {
        Arc::clone(&self.shared.trust.borrow())
    }

    pub(super) fn changes(&self) -> watch::Receiver<Arc<Trust>> {
        self.shared.trust.subscribe()
    }

    pub(super) fn wall(&self) -> UtcTime {
        self.shared.clock.wall()
    }

    pub(super) fn note_seen(&self, info: &CertificateInfo, address: Option<SocketAddr>) {
        let seen = self.shared.seen.lock();
        let mut seen = seen.unwrap_or_else(PoisonError::into_inner);
        let entry = PeerSeen {
            node: info.node.clone(),
            serial: info.serial.clone(),
            at: self.wall(),
            address,
        };
        seen.insert(info.node.clone(), entry);
        if seen.len() > SEEN_MAX {
            let oldest = seen.values().min_by_key(|peer| peer.at);
            if let Some(node) = oldest.map(|peer| peer.node.clone()) {
                seen.remove(&node);
            }
        }
    }
}

impl Admission {
    /// Closes a peer whose handshake takes longer than `patience` instead of
    /// [`HANDSHAKE_TIMEOUT`].
    #[must_use]
    pub fn within(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    pub(crate) const fn patience(&self) -> Duration {
        self.patience
    }

    pub(super) const fn tls(&self) -> &Tls {
        &self.tls
    }

    pub(super) fn roles(&self) -> &[Role] {
        &self.roles
    }
}

impl Seeking {
    pub(super) const fn tls(&self) -> &Tls {
        &self.tls
    }

    pub(super) const fn role(&self) -> Role {
        self.role
    }
}

impl Shared {
    fn reload_if_changed(&self) {
        let mut known = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        let mark = self.files.mark();
        if *known == mark {
            return;
        }
        *known = mark;
        let node = &self.files.node;
        match Trust::read(&self.files, Arc::clone(&self.provider)) {
            Ok(trust) => {
                let until = trust.own.not_after;
                tracing::info!(%node, %until, "certificates were read again");
                self.trust.send_replace(Arc::new(trust));
                drop(known);
                self.remind();
            }
            Err(error) => tracing::error!(
                %node, %error,
                "certificates changed and cannot be read; going on with those from before"
            ),
        }
    }

    /// Warns of what ends soon.
    fn remind(&self) {
        let trust = Arc::clone(&self.trust.borrow());
        let now = self.clock.wall();
        let node = &self.files.node;
        if trust.own.is_due(now) {
            let until = trust.own.not_after;
            tracing::warn!(
                %node, %until,
                "the certificate has less than a third of its time left: gridloom pki renew"
            );
        }
        if now >= trust.list_until {
            let until = trust.list_until;
            tracing::warn!(
                %node, %until,
                "the revocation list is out of date, and new peers are refused: gridloom pki renew"
            );
        }
    }
}

async fn watch_files(shared: Weak<Shared>) {
    let mut looks = 0_u32;
    loop {
        {
            let Some(shared) = shared.upgrade() else {
                return;
            };
            if looks == 0 {
                shared.remind();
            }
            looks = (looks + 1) % LOOKS_PER_REMINDER;
            shared.reload_if_changed();
        }
        tokio::time::sleep(RELOAD_EVERY).await;
    }
}

fn warn_if_others_may_read(files: &TlsFiles) {
    let mode = std::fs::metadata(&files.own).map(|found| found.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o077 != 0) {
        tracing::warn!(
            path = %files.own.display(),
            "others may read the private key; take it back with chmod 600"
        );
    }
}
