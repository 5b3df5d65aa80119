//! The one place where links between our own tiers are made: what frames them, what bounds them,
//! and what protects them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use gridloom_core::UtcTime;
use gridloom_host::{
    Backoff, Clock, DialAddress, DialOptions, Framing, LinkLimits, ListenOptions, Listener,
    NodeIndex, NodeName, Runner, Seeking, Tls, TlsFiles,
};
use gridloom_nodes::Node;
use gridloom_nodes::envelope::Role;

use crate::pki;

/// The first dial of a process comes within this time, so that tiers that start together do not
/// all dial at once.
const FIRST_DIAL_WITHIN: Duration = Duration::from_millis(100);

/// The longest pause before a member of a pair is dialled again.
const PAIR_PAUSE_MAX: Duration = Duration::from_millis(400);

/// How tiers reach each other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Links {
    directory: Option<PathBuf>,
    /// By the role of the node in this process; empty where links are not protected.
    tls: BTreeMap<Role, Tls>,
    clock: Option<Clock>,
}

/// Which roles may dial a role.
fn lower(role: Role) -> &'static [Role] {
    match role {
        Role::Gateway | Role::HeadEnd => &[],
        Role::Edge => &[Role::Gateway],
        Role::Utility => &[Role::Edge, Role::HeadEnd],
        Role::Archive => &[Role::Utility],
    }
}

/// Which role a role dials.
fn upper(role: Role) -> Option<Role> {
    match role {
        Role::Gateway => Some(Role::Edge),
        Role::Edge | Role::HeadEnd => Some(Role::Utility),
        Role::Utility => Some(Role::Archive),
        Role::Archive => None,
    }
}

/// How tiers dial each other.
fn trunk() -> DialOptions {
    DialOptions {
        limits: LinkLimits::trunk(),
        first_within: FIRST_DIAL_WITHIN,
        ..DialOptions::new(Framing::Envelope)
    }
}

impl Links {
    /// Links in the clear, for machines that nobody else reaches.
    pub(crate) fn in_the_clear() -> Self {
        Self::default()
    }

    /// Links over mutual TLS for the nodes of this process, whose files are in `directory`.
    pub(crate) fn over_tls(
        directory: &Path,
        nodes: &[NodeName],
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        let mut tls = BTreeMap::new();
        for node in nodes {
            let files = TlsFiles::in_directory(directory, node.clone());
            let opened = Tls::open(files, clock)
                .with_context(|| format!("{node} has no certificate to show (pki.directory)"))?;
            tls.insert(node.role(), opened);
        }
        Ok(Self {
            directory: Some(directory.to_owned()),
            tls,
            clock: Some(clock.clone()),
        })
    }

    /// Lets the lower neighbours of a tier in.
    pub(crate) fn listen<N: Node + Send + 'static>(
        &self,
        runner: &mut Runner<N>,
        node: NodeIndex,
        role: Role,
        listener: Listener,
    ) {
        let options = ListenOptions {
            limits: LinkLimits::trunk(),
            ..ListenOptions::new(Framing::Envelope)
        };
        let admission = self.of(role).map(|tls| tls.admitting(lower(role)));
        runner.listen_over(node, listener, options, admission);
    }

    /// Keeps a tier connected to its upper neighbour.
    pub(crate) fn dial<N: Node + Send + 'static>(
        &self,
        runner: &mut Runner<N>,
        node: NodeIndex,
        role: Role,
        neighbour: DialAddress,
    ) {
        runner.dial_over(node, neighbour, trunk(), self.seeking(role));
    }

    /// Keeps a tier connected to its backup neighbour as well.
    pub(crate) fn dial_backup<N: Node + Send + 'static>(
        &self,
        runner: &mut Runner<N>,
        node: NodeIndex,
        role: Role,
        neighbour: DialAddress,
    ) {
        runner.dial_backup_over(node, neighbour, trunk(), self.seeking(role));
    }

    fn seeking(&self, role: Role) -> Option<Seeking> {
        let tls = self.of(role)?;
        Some(tls.seeking(upper(role).expect("a tier that dials has one above it")))
    }

    /// Lets the other member of a head-end pair in, and the edges that witness.
    pub(crate) fn listen_as_pair<N: Node + Send + 'static>(
        &self,
        runner: &mut Runner<N>,
        node: NodeIndex,
        listener: Listener,
    ) {
        let options = ListenOptions {
            limits: LinkLimits::trunk(),
            ..ListenOptions::new(Framing::Envelope)
        };
        let admission = self.of(Role::Utility);
        let admission = admission.map(|tls| tls.admitting(&[Role::Edge, Role::Utility]));
        runner.listen_over(node, listener, options, admission);
    }

    /// Keeps a member connected to the other one, or an edge to a member: soon found again, since
    /// a pair counts in tenths of a second.
    pub(crate) fn dial_pair<N: Node + Send + 'static>(
        &self,
        runner: &mut Runner<N>,
        node: NodeIndex,
        role: Role,
        member: DialAddress,
    ) {
        let options = DialOptions {
            limits: LinkLimits::trunk(),
            backoff: Backoff {
                first: FIRST_DIAL_WITHIN,
                max: PAIR_PAUSE_MAX,
            },
            first_within: FIRST_DIAL_WITHIN,
            ..DialOptions::new(Framing::Envelope)
        };
        let seeking = self.of(role).map(|tls| tls.seeking(Role::Utility));
        runner.dial_over(node, member, options, seeking);
    }

    /// Whether they are over TLS.
    pub(crate) fn is_protected(&self) -> bool {
        !self.tls.is_empty()
    }

    /// Every certificate that this machine knows of, with the peers that this process has seen;
    /// none where links are in the clear.
    pub(crate) fn certificates(&self) -> anyhow::Result<Vec<pki::CertificateRow>> {
        let own: Vec<_> = self.tls.values().map(Tls::certificate).collect();
        let seen: Vec<_> = self.tls.values().flat_map(Tls::seen).collect();
        let now = self
            .clock
            .as_ref()
            .map_or(UtcTime::from_secs(0), Clock::wall);
        pki::certificates(self.directory.as_deref(), &own, &seen, now)
    }

    /// What an operator should know of the links at the start.
    pub(crate) fn summary(&self) -> anyhow::Result<String> {
        if self.tls.is_empty() {
            return Ok("off: links between tiers are in the clear".to_owned());
        }
        let count = self.certificates()?.len();
        let ends = self.tls.values().map(|tls| tls.certificate().not_after);
        let until = ends
            .min()
            .map_or(String::new(), |until| format!(", until {until}"));
        Ok(format!("mutual TLS 1.3, {count} certificates known{until}"))
    }

    fn of(&self, role: Role) -> Option<&Tls> {
        if self.tls.is_empty() {
            return None;
        }
        let tls = self.tls.get(&role);
        // In the clear by mistake would be worse than stopping.
        Some(tls.expect("every node of a process was named when its links were made"))
    }
}
