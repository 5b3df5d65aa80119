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

#[cfg(test)]
mod tests {
    use super::*;

    fn info(node: &str, serial: u8) -> CertificateInfo {
        CertificateInfo {
            node: node.parse().unwrap(),
            serial: Serial::new(&[serial]).unwrap(),
            not_before: UtcTime::from_secs(0),
            not_after: UtcTime::from_secs(300),
            hosts: Vec::new(),
        }
    }

    fn seen(node: &str, serial: u8, at: i64) -> PeerSeen {
        PeerSeen {
            node: node.parse().unwrap(),
            serial: Serial::new(&[serial]).unwrap(),
            at: UtcTime::from_secs(at),
            address: "10.0.0.7:4060".parse().ok(),
        }
    }

    #[test]
    fn without_a_register_nodes_show_themselves_and_whom_they_have_seen() {
        let own = [info("edge/edge-1", 1)];
        let peers = [seen("gateway/gw-1", 2, 60), seen("edge/edge-1", 1, 61)];
        let cases = [
            (100, Standing::Valid),
            (201, Standing::Due),
            (300, Standing::Expired),
        ];
        for (now, standing) in cases {
            let rows = certificates(None, &own, &peers, UtcTime::from_secs(now)).unwrap();
            let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
            assert_eq!(names, ["edge-1", "gw-1"]);
            assert_eq!(rows[0].standing, standing, "{now}");
            assert_eq!(rows[0].seen_at.as_deref(), Some("1970-01-01T00:01:01Z"));
            assert_eq!(rows[1].seen_from.as_deref(), Some("10.0.0.7:4060"));
            assert_eq!(rows[1].not_after, None, "a peer's end is not ours to know");
        }
    }

    #[test]
    fn a_register_knows_more_and_peers_add_when_they_were_seen() {
        let folder = tempfile::tempdir().unwrap();
        let issued = |serial: u8| super::super::register::Issued {
            node: "gateway/gw-1".parse().unwrap(),
            serial: Serial::new(&[serial]).unwrap(),
            hosts: Vec::new(),
            not_before: UtcTime::from_secs(0),
            not_after: UtcTime::from_secs(300 + i64::from(serial)),
            revoked: None,
        };
        let register = Register {
            issued: vec![issued(1), issued(2)],
            list_number: 1,
        };
        std::fs::create_dir(folder.path().join("authority")).unwrap();
        register.write(&register_path(folder.path())).unwrap();
        let peers = [seen("gateway/gw-1", 2, 60)];
        let now = UtcTime::from_secs(100);
        let rows = certificates(Some(folder.path()), &[], &peers, now).unwrap();
        let standings: Vec<Standing> = rows.iter().map(|row| row.standing).collect();
        assert_eq!(standings, [Standing::Replaced, Standing::Valid]);
        assert_eq!(rows[0].seen_at, None);
        assert_eq!(rows[1].seen_at.as_deref(), Some("1970-01-01T00:01:00Z"));
    }
}
