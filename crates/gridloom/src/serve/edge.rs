//! The edge tier: its own name and title, and the meters with the keys that they share with it.

use std::path::Path;

use anyhow::{Context, ensure};
use gridloom_core::{Now, SystemTitle, UtcTime};
use gridloom_dlms::security::{Keys, SymmetricKey};
use gridloom_edge::{
    Edge, EdgeConfig, EdgeMemory, HashKey, Registration, Registry, ScreeningConfig,
};
use gridloom_headend::{Templates, Vault};
use gridloom_host::{
    CellDisk, DataDirectory, DialAddress, Disk, DiskParts, Listener, Net, OperationsDisk, Runner,
    Running, entropy,
};
use gridloom_nodes::envelope::Role;
use gridloom_nodes::{EdgeNode, Fence};
use gridloom_store::{DeviceRow, DeviceState, KeyKind, KeyRow, KeyState, SpoolConfig, Transport};
use serde::Deserialize;

use crate::area;
use crate::buffer::Buffer;
use crate::founding::write_durably;
use crate::headend::{MasterKeyOption, edge_key};
use crate::links::Links;
use crate::security::EdgeDesk;

/// Prices travel in steps of 0.0001 per kWh, to which the tariff rounds them.
const PRICE_SCALE: i8 = -4;

/// An edge of this process, before it is started.
pub(super) struct EdgeTier {
    name: String,
    /// Its own system title: meters believe acknowledgements of no other.
    pub(super) title: SystemTitle,
    registry: Registry,
    /// What the operator should know.
    pub(super) warnings: Vec<String>,
}

/// Whom an edge dials.
pub(super) struct Uppers {
    pub(super) utility: Option<DialAddress>,
    /// The other member of a head-end pair.
    pub(super) standby: Option<DialAddress>,
    /// The keepers of the pair; none where the utility is no pair.
    pub(super) pair: Vec<DialAddress>,
}

/// An edge at work.
pub(super) struct RunningEdge {
    pub(super) node: Running<EdgeNode>,
    pub(super) name: String,
    /// What the operator should know of its buffer.
    pub(super) news: Option<String>,
    disk: Disk,
    screening: ScreeningConfig,
}

impl EdgeTier {
    /// Reads the registry and unwraps the keys of the meters that come through gateways.
    pub(super) fn open(
        directory: &DataDirectory,
        name: &str,
        templates: &Templates,
        master: &MasterKeyOption,
        now: UtcTime,
        news: &mut Vec<String>,
    ) -> anyhow::Result<Self> {
        let disk = OperationsDisk::open(directory)?;
        let store = disk.store();
        let (rows, keys, masters) = (store.devices()?, store.keys(None)?, store.masters()?);
        // Where no key is, no master key is made: one may still come with the keys.
        let mut vault = match keys.is_empty() {
            true => None,
            false => {
                let holder = master.read(directory.path(), true, news)?;
                let (vault, _) = Vault::open(Box::new(holder), &masters, &keys, now)?;
                Some(vault)
            }
        };
        let mut registrations = Vec::new();
        let mut keyless = 0_usize;
        for row in rows.iter().filter(|row| is_carried(row)) {
            let shared = match &mut vault {
                Some(vault) => shared_keys(row, &keys, vault)?,
                None => None,
            };
            match shared {
                Some(shared) => registrations.push(registration(row, shared, templates)?),
                None => keyless += 1,
            }
        }
        let mut warnings = Vec::new();
        if keyless > 0 {
            warnings.push(format!(
                "{keyless} meters behind gateways have no guek and gak here: what they push is \
                 refused; import their keys"
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            title: identity(directory.path(), name)?,
            registry: Registry::new(registrations)?,
            warnings,
        })
    }

    /// Meters that it knows.
    pub(super) fn meters(&self) -> usize {
        self.registry.len()
    }

    /// Starts it with the memory that it left.
    pub(super) fn start(
        self,
        (directory, buffer): (&DataDirectory, SpoolConfig),
        port: Listener,
        uppers: Uppers,
        net: &Net,
        links: &Links,
        now: Now,
    ) -> anyhow::Result<RunningEdge> {
        let cells = CellDisk::open(directory)?;
        let kept = cells.all_of(&self.name)?;
        let memory = EdgeMemory::read(|cell: &str| kept.get(cell).map(Vec::as_slice))?;
        let screening = ScreeningConfig::default();
        let config = EdgeConfig {
            title: self.title,
            price_scale: PRICE_SCALE,
            screening,
            hash_key: HashKey::new([
                u64::from_be_bytes(entropy::bytes()?),
                u64::from_be_bytes(entropy::bytes()?),
            ]),
        };
        let edge = Edge::new(config, self.registry, &memory);
        let buffer = Buffer::open(directory, &self.name, buffer)?;
        let disk = Disk::start(
            "edge",
            DiskParts {
                cells: Some(cells),
                spools: buffer.disk,
                ..DiskParts::default()
            },
        )?;
        let mut runner = Runner::new(net.clone());
        // Keys that were changed stand in the edge's own memory, over those of its tables.
        let key = edge_key::read(directory.path())?;
        let node = EdgeNode::new(self.name.clone(), edge)
            .with_spool(buffer.spool)
            .with_edge_key(key, |cell| kept.get(cell).map(Vec::as_slice), now)?;
        let node = match uppers.pair.is_empty() {
            true => node,
            false => {
                let cell = kept.get(Fence::CELL).map(Vec::as_slice);
                node.with_fence(Fence::read(self.name.clone(), cell, now.instant)?)
            }
        };
        let node = runner.add(&self.name, node);
        links.listen(&mut runner, node, Role::Edge, port);
        if uppers.pair.is_empty() {
            if let Some(utility) = uppers.utility {
                links.dial(&mut runner, node, Role::Edge, utility);
            }
        } else {
            let members = uppers.utility.into_iter().chain(uppers.standby);
            for address in members.chain(uppers.pair) {
                links.dial_pair(&mut runner, node, Role::Edge, address);
            }
        }
        runner.disk(disk.handle());
        Ok(RunningEdge {
            node: runner.start(),
            name: self.name,
            news: buffer.news,
            disk,
            screening,
        })
    }
}

impl RunningEdge {
    /// Where the API looks and decides.
    pub(super) fn desk(&self, links: &Links, data: &DataDirectory) -> anyhow::Result<EdgeDesk> {
        let (handle, links) = (self.node.handle(), links.clone());
        EdgeDesk::open(handle, &self.name, &self.screening, links, data)
    }

    /// Ends it; what it wants remembered is written.
    pub(super) async fn stop(self) {
        self.node.stop().await;
        self.disk.close();
    }
}

/// Whether a meter pushes through gateways of ours.
fn is_carried(row: &DeviceRow) -> bool {
    row.link.transport == Transport::Gateway && row.state != DeviceState::Retired
}

/// The current keys of a meter; `None` if one is missing.
fn shared_keys(
    row: &DeviceRow,
    keys: &[KeyRow],
    vault: &mut Vault,
) -> anyhow::Result<Option<Keys>> {
    let mut current = |kind| {
        let key = keys
            .iter()
            .find(|key| (key.meter, key.kind, key.state) == (row.meter, kind, KeyState::Current));
        key.map(|key| {
            let secret = vault.unseal(key)?;
            SymmetricKey::from_bytes(secret.expose())
                .with_context(|| format!("{kind} of {}", row.meter))
        })
        .transpose()
    };
    let encryption = current(KeyKind::UnicastEncryption)?;
    let authentication = current(KeyKind::Authentication)?;
    match (encryption, authentication) {
        (Some(encryption), Some(authentication)) => {
            Ok(Some(Keys::pair(encryption, authentication)?))
        }
        (_, _) => Ok(None),
    }
}

fn registration(
    row: &DeviceRow,
    keys: Keys,
    templates: &Templates,
) -> anyhow::Result<Registration> {
    let template = templates.get(&row.template).with_context(|| {
        format!(
            "template {:?} of {} is unknown here: name its folder with --profiles",
            row.template, row.meter
        )
    })?;
    Ok(Registration {
        meter: row.meter,
        title: row.title,
        keys,
        period: template.capture_period,
        site: area::site(row),
    })
}

const FILE: &str = "edge.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: String,
    title: String,
}

/// The edge's system title, drawn once. Its name is the key of its counters: under another one it
/// would use them again.
fn identity(data: &Path, name: &str) -> anyhow::Result<SystemTitle> {
    let path = data.join(FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return draw(&path, name);
        }
        Err(error) => {
            return Err(error).with_context(|| format!("failed to read {}", path.display()));
        }
    };
    let raw: Raw =
        toml::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
    ensure!(
        raw.name == name,
        "edge.name = {name:?}, but the edge of {} is {:?}: its counters are kept under that name; \
         keep it, or give the other edge a directory of its own",
        path.display(),
        raw.name
    );
    SystemTitle::parse(&raw.title).with_context(|| {
        format!(
            "{}: title = {:?}; restore its 16 hexadecimal digits from a backup",
            path.display(),
            raw.title
        )
    })
}

fn draw(path: &Path, name: &str) -> anyhow::Result<SystemTitle> {
    let [a, b, c, d, e] = entropy::bytes::<5>()?;
    let title = SystemTitle([b'G', b'L', b'E', a, b, c, d, e]);
    let text = format!(
        "# Meters believe acknowledgements and prices of this system title alone. Never run two\n\
         # edges under the same one.\nname = {name:?}\ntitle = \"{title}\"\n"
    );
    write_durably(path, text.as_bytes())?;
    Ok(title)
}
