//! The certificates of a utility, for people: what the register of this machine knows, or what
//! its nodes show and have seen.

use std::collections::BTreeMap;
use std::path::Path;

use gridloom_core::UtcTime;
use gridloom_host::NodeName;
use gridloom_host::tls::{CertificateInfo, PeerSeen, Serial};
use serde::Serialize;

use super::office::register_path;
use super::register::Register;

/// How a certificate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Standing {
    /// It counts.
    Valid,
    /// It counts, and less than a third of its life is left.
    Due,
    /// It counts until it ends; a newer one of the node is there.
    Replaced,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
}

impl Standing {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Due => "renew",
            Self::Replaced => "replaced",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct CertificateRow {
    pub(crate) role: &'static str,
    pub(crate) name: String,
    pub(crate) serial: String,
    pub(crate) not_before: Option<String>,
    pub(crate) not_after: Option<String>,
    pub(crate) hosts: Vec<String>,
    pub(crate) standing: Standing,
    pub(crate) revoked_at: Option<String>,
    pub(crate) reason: Option<&'static str>,
    /// When the peer last got through a handshake here, and from where.
    pub(crate) seen_at: Option<String>,
    pub(crate) seen_from: Option<String>,
}

/// The certificates in the register of `directory`, if it holds one; otherwise those that this
/// process shows (`own`) and has seen.
pub(crate) fn certificates(
    directory: Option<&Path>,
    own: &[CertificateInfo],
    seen: &[PeerSeen],
    now: UtcTime,
) -> anyhow::Result<Vec<CertificateRow>> {
    let register = directory.map(register_path).filter(|path| path.is_file());
    let mut rows = match register {
        Some(path) => of_register(&Register::read(&path)?, now),
        None => of_nodes(own, seen, now),
    };
    let by_serial: BTreeMap<String, &PeerSeen> = seen
        .iter()
        .map(|peer| (peer.serial.to_string(), peer))
        .collect();
    for row in &mut rows {
        if let Some(peer) = by_serial.get(&row.serial) {
            row.seen_at = Some(peer.at.to_string());
            row.seen_from = peer.address.map(|address| address.to_string());
        }
    }
    rows.sort_by(|a, b| (a.role, &a.name, &a.not_after).cmp(&(b.role, &b.name, &b.not_after)));
    Ok(rows)
}

fn of_register(register: &Register, now: UtcTime) -> Vec<CertificateRow> {
    register
        .issued
        .iter()
        .map(|issued| {
            let is_newest = register
                .newest(&issued.node)
                .is_some_and(|newest| newest.serial == issued.serial);
            let standing = if issued.revoked.is_some() {
                Standing::Revoked
            } else if now >= issued.not_after {
                Standing::Expired
            } else if !is_newest {
                Standing::Replaced
            } else if issued.is_due(now) {
                Standing::Due
            } else {
                Standing::Valid
            };
            CertificateRow {
                not_before: Some(issued.not_before.to_string()),
                not_after: Some(issued.not_after.to_string()),
                hosts: issued.hosts.clone(),
                revoked_at: issued.revoked.map(|(at, _)| at.to_string()),
                reason: issued.revoked.map(|(_, why)| why.word()),
                ..row(&issued.node, &issued.serial, standing)
            }
        })
        .collect()
}

fn of_nodes(own: &[CertificateInfo], seen: &[PeerSeen], now: UtcTime) -> Vec<CertificateRow> {
    let mut rows: BTreeMap<String, CertificateRow> = seen
        .iter()
        .map(|peer| {
            // It got through, so that it counted then.
            let row = row(&peer.node, &peer.serial, Standing::Valid);
            (row.serial.clone(), row)
        })
        .collect();
    for info in own {
        let standing = if now >= info.not_after {
            Standing::Expired
        } else if info.is_due(now) {
            Standing::Due
        } else {
            Standing::Valid
        };
        let row = CertificateRow {
            not_before: Some(info.not_before.to_string()),
            not_after: Some(info.not_after.to_string()),
            hosts: info.hosts.clone(),
            ..row(&info.node, &info.serial, standing)
        };
        rows.insert(row.serial.clone(), row);
    }
    rows.into_values().collect()
}

fn row(node: &NodeName, serial: &Serial, standing: Standing) -> CertificateRow {
    CertificateRow {
        role: node.role_word(),
        name: node.name().to_owned(),
        serial: serial.to_string(),
        not_before: None,
        not_after: None,
        hosts: Vec::new(),
        standing,
        revoked_at: None,
        reason: None,
        seen_at: None,
        seen_from: None,
    }
}
