//! The meters that the utility knows, and what a row of them may say.
//!
//! A change is proposed, committed by the host in one batch with its audit record, and only then
//! applied: the registry in memory is never ahead of the store.

use std::collections::{BTreeMap, BTreeSet};

use gridloom_core::{MeterId, SystemTitle, UtcTime};
use gridloom_store::operations::{GROUPS_PER_METER_MAX, ROLES_PER_METER_MAX, SERIAL_BYTES_MAX};
use gridloom_store::{Batch, Change, DeviceRow, DeviceState, Transport};

use crate::audit::{Action, AuditOutcome, AuditRecord, Target};
use crate::template::{MeterTemplate, is_template_name, service_faults};

/// Meters of one registry; one more is refused.
pub const METERS_MAX: usize = 1_000_000;

/// The highest HDLC address of two bytes (IEC 62056-46, clause 6.4.2.2).
pub const HDLC_ADDRESS_MAX: u16 = 0x3FFF;

/// Bytes of a name, an address or a service point; a longer one is refused.
pub const TEXT_BYTES_MAX: usize = gridloom_store::backend::NAME_BYTES_MAX;

/// The templates by name.
pub type Templates = BTreeMap<String, MeterTemplate>;

/// Every meter.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    meters: BTreeMap<MeterId, DeviceRow>,
    /// What meters in service have and no two may share.
    owners: BTreeMap<Distinction, MeterId>,
    groups: BTreeMap<String, BTreeSet<MeterId>>,
}

/// What no two meters in service share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Distinction {
    /// The system title.
    Title(SystemTitle),
    /// The serial number.
    Serial(String),
    /// The whole address.
    Address(String),
}

impl Distinction {
    /// What a row has; nothing if it is retired.
    pub fn of(row: &DeviceRow) -> Vec<Self> {
        if row.state == DeviceState::Retired {
            return Vec::new();
        }
        vec![
            Self::Title(row.title),
            Self::Serial(row.serial.clone()),
            Self::Address(row.link.endpoint()),
        ]
    }

    /// The column of an import that says it.
    pub const fn column(&self) -> &'static str {
        match self {
            Self::Title(_) => "title",
            Self::Serial(_) => "serial",
            Self::Address(_) => "address",
        }
    }
}

impl core::fmt::Display for Distinction {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Title(title) => write!(f, "system title {title}"),
            Self::Serial(serial) => write!(f, "serial number {serial}"),
            Self::Address(address) => write!(f, "address {address}"),
        }
    }
}

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowFault {
    /// A text is empty or too long.
    #[error("{field} has {got} bytes; give it 1 to {max}")]
    Length {
        /// Which field.
        field: &'static str,
        /// Its bytes.
        got: usize,
        /// The bound.
        max: usize,
    },
    /// The template is unknown.
    #[error("template {0:?} is unknown; add profiles/{0}.toml or name another")]
    UnknownTemplate(String),
    /// A group's name is unusable.
    #[error("group {0:?}: a group's name has letters, digits, '-', '_' or '.', at most 60")]
    GroupName(String),
    /// Too many groups or roles.
    #[error("{got} {field}, at most {max}")]
    TooMany {
        /// Of what.
        field: &'static str,
        /// How many.
        got: usize,
        /// The bound.
        max: usize,
    },
    /// The address does not fit the transport.
    #[error(
        "address {address:?} is no host:port, and {transport} needs one, such as 10.0.0.7:4059"
    )]
    Address {
        /// The address.
        address: String,
        /// The transport.
        transport: Transport,
    },
    /// The address is no serial device.
    #[error(
        "address {0:?} is no serial device; give its path and speed, such as /dev/ttyUSB0@9600"
    )]
    Device(String),
    /// The logical device or HDLC address is out of range.
    #[error("{field} = {got}; {wanted}")]
    Server {
        /// `server` or `physical`.
        field: &'static str,
        /// What it says.
        got: u16,
        /// What is possible.
        wanted: &'static str,
    },
    /// No service is like that.
    #[error("{field} = {got}; give {least} to {most}")]
    Service {
        /// `phases`, `fuse_a` or `voltage_v`.
        field: &'static str,
        /// What it says.
        got: u16,
        /// The least it may say.
        least: u16,
        /// The most.
        most: u16,
    },
    /// A role makes no sense.
    #[error("client {client}: {fault}")]
    Role {
        /// Which.
        client: u16,
        /// What is wrong.
        fault: &'static str,
    },
    /// Another meter in service has it.
    #[error("{what} belongs to {by} already; retire that meter first")]
    Taken {
        /// What.
        what: Distinction,
        /// Whose.
        by: MeterId,
    },
    /// The state cannot follow.
    #[error("{meter} is {from} and cannot become {to}; enrol the device under a new number")]
    State {
        /// Which meter.
        meter: MeterId,
        /// Its state.
        from: DeviceState,
        /// The wanted one.
        to: DeviceState,
    },
    /// There is no such meter.
    #[error("{0} is unknown")]
    UnknownMeter(MeterId),
    /// The registry is full.
    #[error("the registry holds {METERS_MAX} meters, no more fit")]
    Full,
}

impl RowFault {
    /// The column of an import where the remedy belongs.
    pub const fn column(&self) -> &'static str {
        match self {
            Self::Length { field, .. }
            | Self::Server { field, .. }
            | Self::Service { field, .. } => field,
            Self::UnknownTemplate(_) => "template",
            Self::GroupName(_) => "groups",
            Self::TooMany { field, .. } => field,
            Self::Address { .. } | Self::Device(_) => "address",
            Self::Role { .. } => "roles",
            Self::Taken { what, .. } => what.column(),
            Self::State { .. } => "state",
            Self::UnknownMeter(_) | Self::Full => "meter",
        }
    }
}

/// A change that the host commits; [`Registry::apply`] it once it is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "commit its batch, then apply it"]
pub struct Proposal {
    /// What to commit.
    pub batch: Batch,
    rows: Vec<DeviceRow>,
}

/// Who proposes a change, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct By<'a> {
    /// The operator.
    pub actor: &'a str,
    /// Now.
    pub at: UtcTime,
}

impl Registry {
    /// The registry that the store holds.
    pub fn load(rows: Vec<DeviceRow>) -> Self {
        let mut registry = Self::default();
        rows.into_iter().for_each(|row| registry.put(row));
        registry
    }

    /// A meter by its number.
    pub fn meter(&self, meter: MeterId) -> Option<&DeviceRow> {
        self.meters.get(&meter)
    }

    /// The meter in service with this title.
    pub fn by_title(&self, title: SystemTitle) -> Option<&DeviceRow> {
        let owner = self.owners.get(&Distinction::Title(title))?;
        self.meters.get(owner)
    }

    /// Every meter, by number.
    pub fn meters(&self) -> impl Iterator<Item = &DeviceRow> {
        self.meters.values()
    }

    /// The groups that any meter is in, with how many.
    pub fn groups(&self) -> impl Iterator<Item = (&str, usize)> {
        self.groups
            .iter()
            .map(|(name, members)| (name.as_str(), members.len()))
    }

    /// The meters of any of these groups that are not retired, each once, by number.
    pub fn members<'a>(&self, groups: impl IntoIterator<Item = &'a str>) -> BTreeSet<MeterId> {
        let members = groups.into_iter().filter_map(|name| self.groups.get(name));
        let members = members.flatten().copied();
        members
            .filter(|meter| self.meters[meter].state != DeviceState::Retired)
            .collect()
    }

    /// The first number that was never given.
    pub fn next_meter(&self) -> MeterId {
        let last = self.meters.last_key_value();
        MeterId(last.map_or(1, |(meter, _)| meter.0.saturating_add(1)))
    }

    /// Who in service has this.
    pub fn owner(&self, what: &Distinction) -> Option<MeterId> {
        self.owners.get(what).copied()
    }

    /// Everything that is wrong with a row.
    pub fn check(&self, row: &DeviceRow, templates: &Templates) -> Vec<RowFault> {
        let mut faults = row_faults(row, templates);
        for what in Distinction::of(row) {
            if let Some(by) = self.owner(&what).filter(|by| *by != row.meter) {
                faults.push(RowFault::Taken { what, by });
            }
        }
        match self.meters.get(&row.meter) {
            Some(held) if !may_become(held.state, row.state) => faults.push(RowFault::State {
                meter: row.meter,
                from: held.state,
                to: row.state,
            }),
            Some(_) => {}
            None if self.meters.len() >= METERS_MAX => faults.push(RowFault::Full),
            None => {}
        }
        faults
    }

    /// Proposes to write one row: a new meter, or a changed one.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn write(
        &self,
        mut row: DeviceRow,
        templates: &Templates,
        by: By<'_>,
    ) -> Result<Proposal, Vec<RowFault>> {
        date_retirement(&mut row, by.at);
        let faults = self.check(&row, templates);
        if !faults.is_empty() {
            return Err(faults);
        }
        let held = self.meters.get(&row.meter);
        let record = AuditRecord {
            at: by.at,
            actor: by.actor.to_owned(),
            action: match held {
                Some(held) if held.state != row.state => Action::StateChange,
                Some(_) | None => Action::MeterChange,
            },
            target: Target::Meter(row.meter),
            before: held.map(summary).unwrap_or_default(),
            after: summary(&row),
            outcome: AuditOutcome::Done,
        };
        let changes = vec![Change::Device(row.clone()), record.to_change()];
        Ok(Proposal {
            batch: Batch::new(changes),
            rows: vec![row],
        })
    }

    /// Proposes to move a meter on in its life.
    ///
    /// # Errors
    ///
    /// If there is no such meter, or the state cannot follow.
    pub fn move_on(
        &self,
        meter: MeterId,
        to: DeviceState,
        templates: &Templates,
        by: By<'_>,
    ) -> Result<Proposal, Vec<RowFault>> {
        let Some(held) = self.meters.get(&meter) else {
            return Err(vec![RowFault::UnknownMeter(meter)]);
        };
        let mut row = held.clone();
        row.state = to;
        self.write(row, templates, by)
    }

    /// Many checked rows in one batch; what the import proposes.
    pub(crate) fn propose(rows: Vec<DeviceRow>, mut changes: Vec<Change>) -> Proposal {
        changes.extend(rows.iter().cloned().map(Change::Device));
        Proposal {
            batch: Batch::new(changes),
            rows,
        }
    }

    /// The proposal's batch is durable.
    pub fn apply(&mut self, proposal: Proposal) {
        proposal.rows.into_iter().for_each(|row| self.put(row));
    }

    fn put(&mut self, row: DeviceRow) {
        if let Some(held) = self.meters.remove(&row.meter) {
            for what in Distinction::of(&held) {
                self.owners.remove(&what);
            }
            for group in &held.groups {
                if let Some(members) = self.groups.get_mut(group) {
                    members.remove(&row.meter);
                }
            }
            self.groups.retain(|_, members| !members.is_empty());
        }
        for what in Distinction::of(&row) {
            self.owners.insert(what, row.meter);
        }
        for group in &row.groups {
            let members = self.groups.entry(group.clone()).or_default();
            members.insert(row.meter);
        }
        self.meters.insert(row.meter, row);
    }
}

/// A meter that is retired now is billed until now.
pub(crate) fn date_retirement(row: &mut DeviceRow, now: UtcTime) {
    row.retired_at = match row.state {
        DeviceState::Retired => row.retired_at.or(Some(now)),
        DeviceState::Enrolled | DeviceState::Commissioned | DeviceState::Suspended => None,
    };
}

/// One line for the audit log.
fn summary(row: &DeviceRow) -> String {
    let groups: Vec<_> = row.groups.iter().map(String::as_str).collect();
    format!(
        "{} {:?} at {}, {}, template {}, groups {}",
        row.title,
        row.name,
        row.link.endpoint(),
        row.state,
        row.template,
        groups.join(" ")
    )
}

const fn may_become(from: DeviceState, to: DeviceState) -> bool {
    match from {
        DeviceState::Enrolled => true,
        DeviceState::Commissioned | DeviceState::Suspended => !matches!(to, DeviceState::Enrolled),
        DeviceState::Retired => matches!(to, DeviceState::Retired),
    }
}

/// What is wrong with a row by itself.
fn row_faults(row: &DeviceRow, templates: &Templates) -> Vec<RowFault> {
    let mut faults = Vec::new();
    for (field, text, max) in [
        ("serial", &row.serial, SERIAL_BYTES_MAX),
        ("name", &row.name, TEXT_BYTES_MAX),
        ("address", &row.link.address, TEXT_BYTES_MAX),
        ("service_point", &row.service_point, TEXT_BYTES_MAX),
    ] {
        let got = text.len();
        if got == 0 || got > max {
            faults.push(RowFault::Length { field, got, max });
        }
    }
    if !templates.contains_key(&row.template) {
        faults.push(RowFault::UnknownTemplate(row.template.clone()));
    }
    let unusable = row.groups.iter().filter(|group| !is_template_name(group));
    faults.extend(unusable.cloned().map(RowFault::GroupName));
    for (field, got, max) in [
        ("groups", row.groups.len(), GROUPS_PER_METER_MAX),
        ("roles", row.roles.len(), ROLES_PER_METER_MAX),
    ] {
        if got > max {
            faults.push(RowFault::TooMany { field, got, max });
        }
    }
    let of_service = service_faults(row.phases, row.fuse_a, row.voltage_v);
    faults.extend(of_service.map(|(field, got, range)| RowFault::Service {
        field,
        got,
        least: *range.start(),
        most: *range.end(),
    }));
    faults.extend(link_faults(row));
    faults.extend(role_faults(row));
    faults
}

fn link_faults(row: &DeviceRow) -> Vec<RowFault> {
    let mut faults = Vec::new();
    let link = &row.link;
    let needs_port = match link.transport {
        Transport::Tcp | Transport::Udp | Transport::HdlcTcp => true,
        Transport::HdlcSerial | Transport::Gateway => false,
    };
    if needs_port && !is_host_and_port(&link.address) && !link.address.is_empty() {
        faults.push(RowFault::Address {
            address: link.address.clone(),
            transport: link.transport,
        });
    }
    if link.transport == Transport::HdlcSerial
        && !is_device(&link.address)
        && !link.address.is_empty()
    {
        faults.push(RowFault::Device(link.address.clone()));
    }
    let mut server = |field, got, wanted| {
        faults.push(RowFault::Server { field, got, wanted });
    };
    if link.transport.is_hdlc() {
        if !(1..=HDLC_ADDRESS_MAX).contains(&link.server) {
            server("server", link.server, "an upper HDLC address is 1 to 16383");
        }
        if link.physical > HDLC_ADDRESS_MAX {
            let wanted = "a lower HDLC address is 1 to 16383, 0 for none";
            server("physical", link.physical, wanted);
        }
    } else {
        if link.server == 0 {
            server(
                "server",
                0,
                "a logical device is 1 to 65535; 1 is the management device",
            );
        }
        if link.physical != 0 {
            let wanted = "only meters on HDLC have a physical address; leave it empty";
            server("physical", link.physical, wanted);
        }
    }
    faults
}

fn role_faults(row: &DeviceRow) -> Vec<RowFault> {
    let mut faults = Vec::new();
    let mut clients = BTreeSet::new();
    for role in &row.roles {
        let fault = match role.mechanism {
            2..=4 => Some("HLS 2 to 4 are broken; use HLS 5, 6 or 7"),
            8.. => Some("the mechanism is 0 (none), 1 (LLS), or 5 to 7 (HLS)"),
            5 if role.suite.is_none() => Some("HLS 5 needs ciphering; add the suite, as in hls5/0"),
            0 | 1 | 5..=7 => None,
        };
        let suite = role.suite.is_some_and(|suite| suite > 2);
        let suite = suite.then_some("the security suite is 0, 1 or 2");
        let twice = (!clients.insert(role.client)).then_some("it is named twice");
        let zero = (role.client == 0).then_some("0 is no client; 16 is the public one");
        for fault in [fault, suite, twice, zero].into_iter().flatten() {
            faults.push(RowFault::Role {
                client: role.client,
                fault,
            });
        }
    }
    faults
}

/// Whether it is a device's absolute path, with or without a speed of 300 to 921,600 baud.
fn is_device(address: &str) -> bool {
    let (path, baud) = match address.rsplit_once('@') {
        Some((path, baud)) => (path, Some(baud)),
        None => (address, None),
    };
    path.len() > 1
        && path.starts_with('/')
        && !path.contains(['@', ' '])
        && baud.is_none_or(|baud| {
            let is_number = baud.bytes().all(|byte| byte.is_ascii_digit());
            is_number && baud.parse::<u32>().is_ok_and(|baud| BAUD.contains(&baud))
        })
}

/// Speeds of a serial line, in bits per second.
const BAUD: core::ops::RangeInclusive<u32> = 300..=921_600;

fn is_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    // A bare IPv6 address has colons of its own: it stands in brackets.
    let is_host = match host.strip_prefix('[') {
        Some(host) => host.ends_with(']') && host.len() > 3,
        None => !host.is_empty() && !host.contains([':', ' ', '/']),
    };
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests;
