//! The authority's directory: signs, and writes what nodes read.
//!
//! ```text
//! authority.pem              the authority's certificate   for every node
//! revoked.pem                the revocation list           for every node
//! nodes/ROLE-NAME.pem        certificate and private key   for that node only
//! authority/key.pem          the authority's private key   for nobody else
//! authority/register.json    what was issued
//! ```

use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use gridloom_core::UtcTime;
use gridloom_host::tls::{Authority, DAYS_MAX, Order, Serial, Term, key_of_bytes};
use gridloom_host::{NodeName, TlsFiles, entropy};
use zeroize::Zeroizing;

use super::register::{Issued, Register, Why};
use crate::founding::write_durably;

/// How long a revocation list counts. Nodes refuse new peers after it.
const LIST_LIFE: Duration = Duration::from_hours(30 * 24);

/// Clocks of nodes may be behind the authority's by this much.
const CLOCK_SLACK: Duration = Duration::from_hours(1);

const DAY: Duration = Duration::from_hours(24);

/// The longest life of an authority, in years.
pub(crate) const YEARS_MAX: u32 = 30;

/// An authority at work; no second one works in its directory at the same time.
pub(crate) struct Office {
    directory: PathBuf,
    authority: Authority,
    register: Register,
    now: UtcTime,
    _lock: File,
}

fn key_path(directory: &Path) -> PathBuf {
    directory.join("authority").join("key.pem")
}

/// Where a directory's register is.
pub(crate) fn register_path(directory: &Path) -> PathBuf {
    directory.join("authority").join("register.json")
}

impl Office {
    /// Whether a directory holds an authority.
    pub(crate) fn is_in(directory: &Path) -> bool {
        key_path(directory).is_file()
    }

    /// Founds an authority.
    pub(crate) fn found(
        directory: &Path,
        utility: &str,
        years: u32,
        now: UtcTime,
    ) -> anyhow::Result<Self> {
        ensure!(
            (1..=YEARS_MAX).contains(&years),
            "--years {years}: give 1 to {YEARS_MAX}"
        );
        make_folder(directory)?;
        make_folder(&directory.join("authority"))?;
        make_folder(&directory.join("nodes"))?;
        let lock = lock(directory)?;
        ensure!(
            !Self::is_in(directory),
            "{} holds an authority already: enrol nodes with gridloom pki enrol, or found another \
             one in another directory",
            directory.display()
        );
        let term = Term {
            not_before: now - CLOCK_SLACK,
            not_after: now + DAY * (years * 365),
        };
        let authority = Authority::found(utility, &key()?, &serial()?, term)?;
        let mut office = Self {
            directory: directory.to_owned(),
            authority,
            register: Register::default(),
            now,
            _lock: lock,
        };
        // The key last: with it the directory holds an authority, and everything else is there.
        office.write_list()?;
        write_open(
            &directory.join("authority.pem"),
            &office.authority.certificate_pem()?,
        )?;
        write_durably(&key_path(directory), office.authority.key_pem()?.as_bytes())?;
        Ok(office)
    }

    /// Opens the authority of a directory.
    pub(crate) fn open(directory: &Path, now: UtcTime) -> anyhow::Result<Self> {
        ensure!(
            Self::is_in(directory),
            "{} holds no authority: name the right directory, or found one with gridloom pki init",
            directory.display()
        );
        let lock = lock(directory)?;
        let path = key_path(directory);
        let mode = std::fs::metadata(&path)?.permissions().mode();
        ensure!(
            mode & 0o077 == 0,
            "{}: others may read the authority's key: take it back with chmod 600, and if \
             somebody has read it, found a new authority",
            path.display()
        );
        let read = |path: &Path| {
            std::fs::read_to_string(path)
                .with_context(|| format!("failed to read {}", path.display()))
        };
        let key = Zeroizing::new(read(&path)?);
        let certificate = read(&directory.join("authority.pem"))?;
        Ok(Self {
            authority: Authority::from_pem(&certificate, &key)
                .with_context(|| directory.display().to_string())?,
            register: Register::read(&register_path(directory))?,
            directory: directory.to_owned(),
            now,
            _lock: lock,
        })
    }

    pub(crate) const fn register(&self) -> &Register {
        &self.register
    }

    /// When the authority itself ends.
    pub(crate) fn not_after(&self) -> UtcTime {
        self.authority.not_after()
    }

    /// Where the files of a node are.
    pub(crate) fn files(&self, node: &NodeName) -> TlsFiles {
        TlsFiles::in_directory(&self.directory, node.clone())
    }

    /// Writes a certificate for a node that has none that counts.
    pub(crate) fn enrol(
        &mut self,
        node: &NodeName,
        days: u32,
        hosts: &[String],
    ) -> anyhow::Result<Issued> {
        if let Some(known) = self.register.newest(node)
            && known.is_good(self.now)
        {
            bail!(
                "{node} has a certificate until {}: renew it with gridloom pki renew {node}, or \
                 take it back first with gridloom pki revoke {node}",
                known.not_after
            );
        }
        self.issue(node, days, hosts)
    }

    /// Writes the next certificate of a node, as long and for the same hosts unless said
    /// otherwise.
    pub(crate) fn renew(&mut self, node: &NodeName, days: Option<u32>) -> anyhow::Result<Issued> {
        let known = self
            .register
            .newest(node)
            .with_context(|| format!("{node} was never enrolled: gridloom pki enrol"))?;
        ensure!(
            known.revoked.is_none(),
            "the certificate of {node} is revoked: if the node shall come back, enrol it again \
             with gridloom pki enrol"
        );
        let life = known.not_after.since(known.not_before + CLOCK_SLACK);
        let whole = u32::try_from(life.as_secs() / DAY.as_secs()).unwrap_or(DAYS_MAX);
        let hosts = known.hosts.clone();
        self.issue(node, days.unwrap_or(whole.max(1)), &hosts)
    }

    /// Nodes whose newest certificate has less than a third of its life left, and is not revoked.
    pub(crate) fn due(&self) -> Vec<NodeName> {
        let mut nodes: Vec<&NodeName> = self.register.issued.iter().map(|i| &i.node).collect();
        nodes.sort();
        nodes.dedup();
        nodes
            .into_iter()
            .filter(|node| {
                self.register
                    .newest(node)
                    .is_some_and(|newest| newest.revoked.is_none() && newest.is_due(self.now))
            })
            .cloned()
            .collect()
    }

    /// Takes certificates back: all of a node that count, or one by its serial number.
    pub(crate) fn revoke(&mut self, text: &str, why: Why) -> anyhow::Result<Vec<Issued>> {
        let serial = Serial::parse(text);
        let by_serial = |issued: &Issued| Some(&issued.serial) == serial.as_ref();
        let node = match self.register.issued.iter().any(by_serial) {
            true => None,
            false => Some(self.register.find(text)?),
        };
        let now = self.now;
        let mut taken = Vec::new();
        for issued in &mut self.register.issued {
            let is_meant = match &node {
                Some(node) => issued.node == *node,
                None => by_serial(issued),
            };
            if is_meant && issued.is_good(now) {
                issued.revoked = Some((now, why));
                taken.push(issued.clone());
            }
        }
        ensure!(
            !taken.is_empty(),
            "{text} has no certificate that counts: gridloom pki list shows why"
        );
        self.write_list()?;
        Ok(taken)
    }

    fn issue(&mut self, node: &NodeName, days: u32, hosts: &[String]) -> anyhow::Result<Issued> {
        ensure!(
            (1..=DAYS_MAX).contains(&days),
            "--days {days}: give 1 to {DAYS_MAX}"
        );
        let serial = serial()?;
        let term = Term {
            not_before: self.now - CLOCK_SLACK,
            not_after: self.now + DAY * days,
        };
        ensure!(
            term.not_after <= self.authority.not_after(),
            "the authority itself ends {}: give fewer --days, or found a new authority with \
             gridloom pki init",
            self.authority.not_after()
        );
        let order = Order {
            node,
            hosts,
            serial: &serial,
            term,
        };
        let text = self.authority.issue(&order, &key()?)?;
        let issued = Issued {
            node: node.clone(),
            serial,
            hosts: hosts.to_vec(),
            not_before: term.not_before,
            not_after: term.not_after,
            revoked: None,
        };
        self.register.add(issued.clone(), self.now)?;
        // What is in use must be known; the other way round it could not be revoked.
        self.write_list()?;
        write_durably(&self.files(node).own, text.as_bytes())?;
        Ok(issued)
    }

    /// Writes the register, and signs a new revocation list.
    pub(crate) fn write_list(&mut self) -> anyhow::Result<()> {
        self.register.list_number += 1;
        self.register.write(&register_path(&self.directory))?;
        let term = Term {
            not_before: self.now - CLOCK_SLACK,
            not_after: self.now + LIST_LIFE,
        };
        let list = self.authority.revocation_list(
            self.register.list_number,
            term,
            &self.register.revoked(self.now),
        )?;
        write_open(&self.directory.join("revoked.pem"), &list)
    }

    /// Until when the list counts that [`Self::write_list`] signs.
    pub(crate) fn list_until(&self) -> UtcTime {
        self.now + LIST_LIFE
    }
}

fn make_folder(path: &Path) -> anyhow::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("failed to make {}", path.display()))
}

/// Keeps a second command out. The system gives the lock back when the file is closed.
fn lock(directory: &Path) -> anyhow::Result<File> {
    let path = directory.join("authority").join("lock");
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("failed to open {}", path.display()))?;
    file.try_lock().with_context(|| {
        format!(
            "another gridloom works with the authority in {}: try again when it is done",
            directory.display()
        )
    })?;
    Ok(file)
}

/// For every node to read.
fn write_open(path: &Path, text: &str) -> anyhow::Result<()> {
    write_durably(path, text.as_bytes())?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
        .with_context(|| format!("failed to open {} for readers", path.display()))
}

fn key() -> anyhow::Result<gridloom_host::tls::SecretKey> {
    loop {
        let bytes = Zeroizing::new(entropy::bytes()?);
        // One of 2^32 draws is no key.
        if let Some(key) = key_of_bytes(&bytes) {
            return Ok(key);
        }
    }
}

/// A serial number that nobody can guess (RFC 5280 §4.1.2.2 allows 20 bytes).
fn serial() -> anyhow::Result<Serial> {
    loop {
        let mut bytes = entropy::bytes::<16>()?;
        bytes[0] &= 0x7F;
        if let Some(serial) = Serial::new(&bytes) {
            return Ok(serial);
        }
    }
}
