//! Which tiers one process of `gridloom serve` runs, and whom each of them dials.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use gridloom_host::DialAddress;
use gridloom_nodes::PathsConfig;
use serde::Deserialize;

use super::Picker;
use super::headend::RawPush;

/// A tier of the network that runs in this process or in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Role {
    /// Carries its meters' frames to an edge
    Gateway,
    /// Screens what gateways bring, and acknowledges it to the meters
    Edge,
    /// Stores, validates, prices and bills; shows the console
    Utility,
    /// Reads and commands the registered meters
    Headend,
    /// Keeps sealed days
    Archive,
}

impl Role {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Gateway, "gateway"),
        (Self::Edge, "edge"),
        (Self::Utility, "utility"),
        (Self::Headend, "headend"),
        (Self::Archive, "archive"),
    ];

    fn parse(text: &str) -> anyhow::Result<Self> {
        let found = Self::ALL.into_iter().find(|(_, name)| *name == text);
        let Some((role, _)) = found else {
            let known: Vec<_> = Self::ALL.iter().map(|(_, name)| *name).collect();
            bail!(
                "serve.roles: {text:?} is no role; known are {}",
                known.join(", ")
            );
        };
        Ok(role)
    }

    /// As the configuration calls it.
    pub(crate) fn name(self) -> &'static str {
        let found = Self::ALL.into_iter().find(|(role, _)| *role == self);
        found.map_or("", |(_, name)| name)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawServe {
    pub(super) data: Option<std::path::PathBuf>,
    roles: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawGateway {
    name: Option<String>,
    pub(super) listen: Option<String>,
    edge: Option<String>,
    pub(super) buffer_mib: Option<u64>,
    pub(super) delay_one_in: Option<u32>,
    /// The primary and the backup, in place of `edge`.
    edges: Option<Vec<String>>,
    heartbeat_ms: Option<u64>,
    misses: Option<u8>,
    home_after_seconds: Option<u64>,
    release_after_seconds: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawEdge {
    name: Option<String>,
    pub(super) listen: Option<String>,
    utility: Option<String>,
    utility_standby: Option<String>,
    pair: Option<Vec<String>>,
    pub(super) buffer_mib: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawArchive {
    name: Option<String>,
    pub(super) listen: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawHeadEnd {
    utility: Option<String>,
    pub(super) history_days: Option<u32>,
    pub(super) push: RawPush,
}

/// What the file says about tiers.
pub(super) struct RawTiers {
    pub(super) roles: Option<Vec<String>>,
    pub(super) gateway: RawGateway,
    pub(super) edge: RawEdge,
    pub(super) utility_archive: Option<String>,
    pub(super) archive: RawArchive,
    pub(super) headend: RawHeadEnd,
}

impl RawServe {
    pub(super) fn take_roles(&mut self) -> Option<Vec<String>> {
        self.roles.take()
    }
}

/// Bytes of a tier's name; a longer one is refused.
const NAME_BYTES_MAX: usize = 40;

/// An upper neighbour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Upper {
    /// It runs in this process, wherever it listens.
    Here,
    /// Dialled there.
    At(DialAddress),
    /// There is none.
    Absent,
}

/// A gateway's second edge, and when it is used.
#[derive(Debug, Clone)]
pub(crate) struct GatewayBackup {
    /// Where it is.
    pub(crate) edge: DialAddress,
    /// How patient the gateway is with its edges.
    pub(crate) paths: PathsConfig,
    /// How long without any edge it keeps its meters; `None`: it keeps them.
    pub(crate) release_after: Option<Duration>,
}

impl RawGateway {
    /// The first of `edges` becomes `edge`, the second the backup.
    fn take_backup(&mut self, p: &mut Picker) -> anyhow::Result<Option<GatewayBackup>> {
        let usual = PathsConfig::TIERS;
        let said = [
            ("heartbeat_ms", self.heartbeat_ms.is_some()),
            ("misses", self.misses.is_some()),
            ("home_after_seconds", self.home_after_seconds.is_some()),
            (
                "release_after_seconds",
                self.release_after_seconds.is_some(),
            ),
        ];
        let mut edges = self.edges.take().unwrap_or_default().into_iter();
        let (primary, backup, further) = (edges.next(), edges.next(), edges.next());
        ensure!(
            further.is_none(),
            "gateway.edges names more than two: give the primary edge and the backup"
        );
        if let Some(primary) = primary {
            ensure!(
                self.edge.is_none(),
                "gateway.edge and gateway.edges are both set: keep one of them"
            );
            self.edge = Some(primary);
        }
        let Some(backup) = backup else {
            let needless = said.into_iter().find(|(_, is_said)| *is_said);
            if let Some((key, _)) = needless {
                bail!(
                    "gateway.{key} says when a backup edge is used, and gateway.edges names none"
                );
            }
            return Ok(None);
        };
        let key = "gateway.edges";
        let edge = DialAddress::parse(key, &backup)?;
        p.pick(
            "gateway.backup",
            None,
            Some(backup),
            String::new(),
            String::clone,
        );
        let number = |value: &u64| value.to_string();
        let every = usual.heartbeat_every.unwrap_or_default().as_millis();
        let every = p.pick(
            "gateway.heartbeat_ms",
            None,
            self.heartbeat_ms,
            u64::try_from(every).unwrap_or(u64::MAX),
            number,
        );
        let misses = p.pick("gateway.misses", None, self.misses, usual.misses, |it| {
            it.to_string()
        });
        let home = p.pick(
            "gateway.home_after_seconds",
            None,
            self.home_after_seconds,
            usual.home_after.as_secs(),
            number,
        );
        let release = p.pick(
            "gateway.release_after_seconds",
            None,
            self.release_after_seconds.map(Some),
            None,
            |it| it.map_or("never".into(), |it| it.to_string()),
        );
        let paths = PathsConfig {
            heartbeat_every: Some(Duration::from_millis(every)),
            misses,
            home_after: Duration::from_secs(home),
            ..usual
        };
        paths.check().context("gateway")?;
        Ok(Some(GatewayBackup {
            edge,
            paths,
            release_after: release.map(Duration::from_secs),
        }))
    }
}

/// The tiers of this process, checked: whom a tier needs is here or has an address.
#[derive(Debug, Clone)]
pub(crate) struct Tiers {
    roles: BTreeSet<Role>,
    /// What the gateway is called.
    pub(crate) gateway: String,
    /// What the edge is called.
    pub(crate) edge: String,
    /// What the archive is called.
    pub(crate) archive: String,
    /// Whom the gateway dials.
    pub(crate) gateway_to_edge: Upper,
    /// Whom it dials as well, to use while the first is not well.
    pub(crate) gateway_backup: Option<GatewayBackup>,
    /// Whom the edge dials.
    pub(crate) edge_to_utility: Upper,
    /// The utility's other member, where it is a pair.
    pub(crate) edge_to_standby: Option<DialAddress>,
    /// The keepers of the pair, for whom the edge witnesses.
    pub(crate) edge_to_pair: Vec<DialAddress>,
    /// Whom the head-end dials.
    pub(crate) headend_to_utility: Upper,
    /// Whom the utility dials.
    pub(crate) utility_to_archive: Upper,
}

impl Tiers {
    /// Whether this process runs it.
    pub(crate) fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Whether this process runs one of these.
    pub(crate) fn has_any(&self, roles: &[Role]) -> bool {
        roles.iter().any(|role| self.has(*role))
    }

    /// Flags name the roles, or the file does, or this process runs all of them.
    pub(super) fn resolve(raw: RawTiers, flags: Vec<Role>, p: &mut Picker) -> anyhow::Result<Self> {
        let file = raw.roles.map(|names| {
            let roles = names.iter().map(|name| Role::parse(name));
            roles.collect::<anyhow::Result<Vec<_>>>()
        });
        let all = Role::ALL.iter().map(|(role, _)| *role).collect();
        let flags = (!flags.is_empty()).then_some(flags);
        let show = |roles: &Vec<Role>| {
            let names: Vec<_> = roles.iter().map(|role| role.name()).collect();
            names.join(" ")
        };
        let roles = p.pick("serve.roles", flags, file.transpose()?, all, show);
        ensure!(
            !roles.is_empty(),
            "serve.roles is empty: name what this process runs, or leave the key out for all"
        );
        let roles = BTreeSet::from_iter(roles);
        let upper = |p: &mut Picker, lower, key: &str, text: Option<String>, role: Role| {
            if !roles.contains(&lower) {
                return Ok(Upper::Absent);
            }
            let shown = text.clone();
            let here = roles.contains(&role);
            let otherwise = if here { "this process" } else { "none" };
            p.pick(key, None, shown, otherwise.to_owned(), String::clone);
            match text {
                Some(text) => Ok(Upper::At(DialAddress::parse(key, &text)?)),
                None if here => Ok(Upper::Here),
                // Nothing waits for an archive.
                None if role == Role::Archive => Ok(Upper::Absent),
                None => bail!(
                    "{key} is not set, and this process runs no {name}: give the address of the \
                     {name}, such as \"10.0.0.3:4061\", or run it here with --role {}",
                    role.name(),
                    name = role.name(),
                ),
            }
        };
        let name = |p: &mut Picker, role: Role, key: &str, text: Option<String>, usual: &str| {
            if !roles.contains(&role) {
                return Ok(usual.to_owned());
            }
            let name = p.pick(key, None, text, usual.to_owned(), String::clone);
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            ensure!(
                (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_plain),
                "{key} = {name:?}: give 1 to {NAME_BYTES_MAX} letters, digits, '-', '_' or '.'"
            );
            Ok(name)
        };
        let (mut gateway, mut edge, archive) = (raw.gateway, raw.edge, raw.archive);
        let gateway_backup = match roles.contains(&Role::Gateway) {
            true => gateway.take_backup(p)?,
            false => None,
        };
        let (edge_to_standby, edge_to_pair) = pair_of(&mut edge, p)?;
        let tiers = Self {
            gateway_backup,
            gateway: name(p, Role::Gateway, "gateway.name", gateway.name, "gateway-1")?,
            gateway_to_edge: upper(p, Role::Gateway, "gateway.edge", gateway.edge, Role::Edge)?,
            edge: name(p, Role::Edge, "edge.name", edge.name, "edge-1")?,
            edge_to_standby,
            edge_to_pair,
            edge_to_utility: upper(p, Role::Edge, "edge.utility", edge.utility, Role::Utility)?,
            utility_to_archive: upper(
                p,
                Role::Utility,
                "utility.archive",
                raw.utility_archive,
                Role::Archive,
            )?,
            headend_to_utility: upper(
                p,
                Role::Headend,
                "headend.utility",
                raw.headend.utility,
                Role::Utility,
            )?,
            archive: name(p, Role::Archive, "archive.name", archive.name, "archive-1")?,
            roles: roles.clone(),
        };
        Ok(tiers)
    }
}

/// The pair that an edge's utility is: two head-ends and two keepers, or nothing of it.
fn pair_of(
    edge: &mut RawEdge,
    p: &mut Picker,
) -> anyhow::Result<(Option<DialAddress>, Vec<DialAddress>)> {
    let (standby, pair) = (edge.utility_standby.take(), edge.pair.take());
    if standby.is_none() && pair.is_none() {
        return Ok((None, Vec::new()));
    }
    let show = |value: &String| value.clone();
    let standby = p.pick("edge.utility_standby", None, standby, String::new(), show);
    let pair = pair.unwrap_or_default();
    p.pick("edge.pair", None, Some(pair.join(" ")), String::new(), show);
    ensure!(
        !standby.is_empty() && pair.len() == 2 && edge.utility.is_some(),
        "edge.utility, edge.utility_standby and edge.pair belong together: give the utility's \
         address on both members, and in edge.pair both members' standby.listen"
    );
    let keepers = pair
        .iter()
        .map(|text| DialAddress::parse("edge.pair", text));
    Ok((
        Some(DialAddress::parse("edge.utility_standby", &standby)?),
        keepers.collect::<Result<_, _>>()?,
    ))
}
