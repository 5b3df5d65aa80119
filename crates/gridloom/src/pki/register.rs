//! What the authority has issued and taken back, kept in its `register.json`.

use std::path::Path;

use anyhow::{Context, ensure};
use gridloom_core::UtcTime;
use gridloom_host::NodeName;
use gridloom_host::tls::{Reason, Revoked, Serial};
use serde::{Deserialize, Serialize};

use crate::founding::write_durably;

/// Certificates in a register; one more is refused.
pub(crate) const ISSUED_MAX: usize = 100_000;

/// A certificate that ended so long ago is forgotten.
const FORGET_AFTER: std::time::Duration = std::time::Duration::from_hours(365 * 24);

/// Why a certificate is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Why {
    /// Not said
    Unspecified,
    /// Somebody else may have the key
    KeyCompromise,
    /// The node changed hands
    AffiliationChanged,
    /// Another certificate stands in
    Superseded,
    /// The node is out of service
    CessationOfOperation,
    /// It may not any more what it might
    PrivilegeWithdrawn,
}

impl Why {
    const fn reason(self) -> Reason {
        match self {
            Self::Unspecified => Reason::Unspecified,
            Self::KeyCompromise => Reason::KeyCompromise,
            Self::AffiliationChanged => Reason::AffiliationChanged,
            Self::Superseded => Reason::Superseded,
            Self::CessationOfOperation => Reason::CessationOfOperation,
            Self::PrivilegeWithdrawn => Reason::PrivilegeWithdrawn,
        }
    }

    /// As the command line writes it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key-compromise",
            Self::AffiliationChanged => "affiliation-changed",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessation-of-operation",
            Self::PrivilegeWithdrawn => "privilege-withdrawn",
        }
    }
}

/// A certificate of the register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Issued {
    pub(crate) node: NodeName,
    pub(crate) serial: Serial,
    pub(crate) hosts: Vec<String>,
    pub(crate) not_before: UtcTime,
    pub(crate) not_after: UtcTime,
    pub(crate) revoked: Option<(UtcTime, Why)>,
}

impl Issued {
    /// Whether it counts at `now`.
    pub(crate) fn is_good(&self, now: UtcTime) -> bool {
        self.revoked.is_none() && now < self.not_after
    }

    /// Whether less than a third of its life is left at `now`.
    pub(crate) fn is_due(&self, now: UtcTime) -> bool {
        let life = self.not_after.since(self.not_before);
        self.not_after.since(now) < life / 3
    }
}

/// The register, in the order of issuing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Register {
    pub(crate) issued: Vec<Issued>,
    /// The number of the last revocation list.
    pub(crate) list_number: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRegister {
    list_number: u64,
    issued: Vec<RawIssued>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIssued {
    node: String,
    serial: String,
    hosts: Vec<String>,
    not_before: String,
    not_after: String,
    revoked: Option<RawRevoked>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRevoked {
    at: String,
    reason: Why,
}

impl Register {
    /// Reads it; an error names the field.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let damaged = || format!("{} is damaged: restore it from a backup", path.display());
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("failed to read {}", path.display()))?;
        let raw: RawRegister = serde_json::from_str(&text).with_context(damaged)?;
        let time = |text: &str| UtcTime::parse(text).with_context(|| format!("{text:?}: no time"));
        let issued: anyhow::Result<Vec<Issued>> = raw
            .issued
            .into_iter()
            .map(|raw| {
                Ok(Issued {
                    node: raw.node.parse()?,
                    serial: Serial::parse(&raw.serial)
                        .with_context(|| format!("serial = {:?}", raw.serial))?,
                    hosts: raw.hosts,
                    not_before: time(&raw.not_before)?,
                    not_after: time(&raw.not_after)?,
                    revoked: match raw.revoked {
                        Some(revoked) => Some((time(&revoked.at)?, revoked.reason)),
                        None => None,
                    },
                })
            })
            .collect();
        Ok(Self {
            issued: issued.with_context(damaged)?,
            list_number: raw.list_number,
        })
    }

    /// Writes it, whole or not at all.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let raw = RawRegister {
            list_number: self.list_number,
            issued: self.issued.iter().map(raw_of).collect(),
        };
        write_durably(path, serde_json::to_string_pretty(&raw)?.as_bytes())
    }

    /// Adds a certificate, and forgets what ended long ago.
    pub(crate) fn add(&mut self, issued: Issued, now: UtcTime) -> anyhow::Result<()> {
        self.issued
            .retain(|known| now.since(known.not_after) < FORGET_AFTER);
        ensure!(
            self.issued.len() < ISSUED_MAX,
            "the register holds {ISSUED_MAX} certificates: found another authority with \
             gridloom pki init"
        );
        self.issued.push(issued);
        Ok(())
    }

    /// What a revocation list names: what is revoked and has not ended anyway.
    pub(crate) fn revoked(&self, now: UtcTime) -> Vec<Revoked> {
        self.issued
            .iter()
            .filter(|issued| now < issued.not_after)
            .filter_map(|issued| {
                let (at, why) = issued.revoked?;
                Some(Revoked {
                    serial: issued.serial.clone(),
                    at,
                    reason: why.reason(),
                })
            })
            .collect()
    }

    /// The newest certificate of a node.
    pub(crate) fn newest(&self, node: &NodeName) -> Option<&Issued> {
        self.issued.iter().rev().find(|issued| issued.node == *node)
    }

    /// The node that `text` names: `ROLE/NAME`, or a NAME that only one role has.
    pub(crate) fn find(&self, text: &str) -> anyhow::Result<NodeName> {
        let is_it = |node: &NodeName| match text.contains('/') {
            true => node.to_string() == text,
            false => node.name() == text,
        };
        let mut found: Vec<&NodeName> = self
            .issued
            .iter()
            .map(|issued| &issued.node)
            .filter(|node| is_it(node))
            .collect();
        found.sort();
        found.dedup();
        match found.as_slice() {
            [] => {
                anyhow::bail!("no certificate is of {text:?}: gridloom pki list shows all of them")
            }
            [node] => Ok((*node).clone()),
            many => {
                let names: Vec<String> = many.iter().map(ToString::to_string).collect();
                anyhow::bail!("{text:?} may be {}: give ROLE/NAME", names.join(" or "))
            }
        }
    }
}

fn raw_of(issued: &Issued) -> RawIssued {
    RawIssued {
        node: issued.node.to_string(),
        serial: issued.serial.to_string(),
        hosts: issued.hosts.clone(),
        not_before: issued.not_before.to_string(),
        not_after: issued.not_after.to_string(),
        revoked: issued.revoked.map(|(at, reason)| RawRevoked {
            at: at.to_string(),
            reason,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issued(node: &str, serial: u8, days: i64) -> Issued {
        Issued {
            node: node.parse().unwrap(),
            serial: Serial::new(&[serial]).unwrap(),
            hosts: vec!["edge.example".into()],
            not_before: UtcTime::from_secs(0),
            not_after: UtcTime::from_secs(days * 86_400),
            revoked: None,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("register.json");
        let mut register = Register {
            issued: vec![issued("edge/edge-1", 1, 30), issued("gateway/gw", 2, 30)],
            list_number: 4,
        };
        register.issued[1].revoked = Some((UtcTime::from_secs(60), Why::KeyCompromise));
        register.write(&path).unwrap();
        assert_eq!(Register::read(&path).unwrap(), register);
        let text = std::fs::read_to_string(&path).unwrap();
        for (from, to) in [("edge/edge-1", "edge1"), ("\"02\"", "\"0\""), ("key-", "")] {
            std::fs::write(&path, text.replace(from, to)).unwrap();
            let error = format!("{:#}", Register::read(&path).unwrap_err());
            assert!(error.contains("restore it from a backup"), "{error}");
        }
    }

    #[test]
    fn nodes_are_found_by_name_where_that_is_enough() {
        let register = Register {
            issued: vec![
                issued("edge/north", 1, 30),
                issued("edge/north", 2, 60),
                issued("gateway/north", 3, 30),
                issued("gateway/south", 4, 30),
            ],
            list_number: 0,
        };
        let cases = [
            ("south", Some("gateway/south")),
            ("edge/north", Some("edge/north")),
            ("north", None),
            ("west", None),
        ];
        for (text, expected) in cases {
            let found = register.find(text).ok().map(|node| node.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
        let newest = register.newest(&"edge/north".parse().unwrap());
        assert_eq!(
            newest.map(|issued| issued.serial.to_string()),
            Some("02".into())
        );
    }

    #[test]
    fn lists_leave_out_what_has_ended_and_registers_forget_it_later() {
        let mut register = Register::default();
        let day = |days: i64| UtcTime::from_secs(days * 86_400);
        for (serial, days) in [(1, 10), (2, 30)] {
            let mut entry = issued("edge/edge-1", serial, days);
            entry.revoked = Some((day(1), Why::Superseded));
            register.add(entry, day(0)).unwrap();
        }
        let serials = |register: &Register, now| {
            let list = register.revoked(now);
            let serials: Vec<String> = list.iter().map(|entry| entry.serial.to_string()).collect();
            serials.join(" ")
        };
        assert_eq!(serials(&register, day(9)), "01 02");
        assert_eq!(serials(&register, day(10)), "02");
        register
            .add(issued("edge/edge-1", 3, 900), day(376))
            .unwrap();
        assert_eq!(register.issued.len(), 2);
    }
}
