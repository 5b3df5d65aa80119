//! Meters from a CSV file and back.
//!
//! The first line names the columns, in any order; [`COLUMNS`] lists them. Every fault of the
//! file is listed by line and column; unless a partial import is asked for, one fault keeps all
//! rows out. Key columns may be read, but are never written.

mod csv;

use std::collections::{BTreeMap, BTreeSet};

use gridloom_core::{MeterId, SystemTitle};
use gridloom_store::{
    Change, ClientRole, CounterRow, DeviceLink, DeviceRow, DeviceState, Direction, KeyId, KeyKind,
    KeyState, Transport,
};

use crate::audit::{Action, AuditOutcome, AuditRecord, Target};
use crate::registry::{By, Distinction, Proposal, Registry, Templates, date_retirement};
use crate::vault::{NewKey, Secret, Vault, VaultError, WrapForm};

/// Rows of one file; a longer one is refused, to be imported in parts.
pub const ROWS_MAX: usize = 10_000;

/// Bytes of one file; a larger one is refused.
pub const FILE_BYTES_MAX: usize = 16 << 20;

/// Faults that are listed; the rest is counted.
pub const FAULTS_MAX: usize = 1_000;

/// Every column: its name, and whether it must be there.
pub const COLUMNS: [(&str, Presence); 23] = [
    ("meter", Presence::Optional),
    ("title", Presence::Required),
    ("serial", Presence::Required),
    ("name", Presence::Required),
    ("state", Presence::Optional),
    ("transport", Presence::Required),
    ("address", Presence::Required),
    ("server", Presence::Optional),
    ("physical", Presence::Optional),
    ("roles", Presence::Optional),
    ("template", Presence::Required),
    ("groups", Presence::Optional),
    ("service_point", Presence::Required),
    ("phases", Presence::Optional),
    ("fuse_a", Presence::Optional),
    ("voltage_v", Presence::Optional),
    ("guek", Presence::Secret),
    ("gbek", Presence::Secret),
    ("gak", Presence::Secret),
    ("kek", Presence::Secret),
    ("lls", Presence::Secret),
    ("hls", Presence::Secret),
    ("counter", Presence::ImportOnly),
];

/// Whether a column must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Without it nothing is imported.
    Required,
    /// Without it, or empty, a row gets the usual value.
    Optional,
    /// Optional; holds a secret, is never repeated in a fault and never written.
    Secret,
    /// Optional; never written.
    ImportOnly,
}

/// What to do when a row is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFault {
    /// No row is imported.
    RefuseAll,
    /// The other rows are imported.
    SkipRow,
}

/// One fault of a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct Fault {
    /// From 1; the line where the row begins.
    pub line: usize,
    /// The column's name.
    pub column: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

/// Every fault of a file, by line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Faults {
    /// At most [`FAULTS_MAX`].
    pub listed: Vec<Fault>,
    /// How many more there are.
    pub unlisted: usize,
}

impl Faults {
    fn push(&mut self, line: usize, column: &str, problem: impl Into<String>) {
        if self.listed.len() == FAULTS_MAX {
            self.unlisted += 1;
            return;
        }
        self.listed.push(Fault {
            line,
            column: column.to_owned(),
            problem: problem.into(),
        });
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }
}

/// Rows that may be imported.
#[derive(Debug)]
pub struct Import {
    rows: Vec<ImportRow>,
    /// What kept other rows out; empty unless the import is partial.
    pub faults: Faults,
}

#[derive(Debug)]
struct ImportRow {
    row: DeviceRow,
    keys: Vec<(KeyKind, u16, Secret)>,
    counter: Option<u32>,
}

impl Import {
    /// Reads a file against the registry as it stands.
    ///
    /// A row whose `meter` is in the registry changes that meter; what it leaves empty stays as
    /// it is. A row without `meter` is a new one.
    ///
    /// # Errors
    ///
    /// Every fault, if nothing may be imported.
    pub fn parse(
        text: &str,
        registry: &Registry,
        templates: &Templates,
        on_fault: OnFault,
    ) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let Some((header, records)) = read(text, &mut faults) else {
            return Err(faults);
        };
        let mut rows: Vec<ImportRow> = Vec::new();
        let mut seen = Seen::new(registry);
        for record in &records {
            let before = faults.listed.len() + faults.unlisted;
            let cells = Cells {
                line: record.line,
                header: &header,
                fields: &record.fields,
            };
            let row = cells.read(registry, templates, &mut seen, &mut faults);
            for fault in registry.check(&row.row, templates) {
                // An unreadable cell was named already.
                let is_named = faults
                    .listed
                    .iter()
                    .rev()
                    .take_while(|known| known.line == record.line)
                    .any(|known| known.column == fault.column());
                if !is_named {
                    faults.push(record.line, fault.column(), fault.to_string());
                }
            }
            seen.check(record.line, &row.row, &mut faults);
            if faults.listed.len() + faults.unlisted == before {
                rows.push(row);
            }
        }
        faults.listed.sort_by_key(|fault| fault.line);
        if rows.is_empty() && faults.is_empty() {
            faults.push(1, "meter", "there is no row under the header");
        }
        let refuse = match on_fault {
            OnFault::RefuseAll => !faults.is_empty(),
            OnFault::SkipRow => rows.is_empty(),
        };
        if refuse {
            return Err(faults);
        }
        Ok(Self { rows, faults })
    }

    /// The meters that would be written.
    pub fn rows(&self) -> impl Iterator<Item = &DeviceRow> {
        self.rows.iter().map(|row| &row.row)
    }

    /// Wraps the keys and makes one batch of everything. `own` is the head-end's title, whose
    /// counters the `counter` column speaks of; `next_key` is counted on.
    ///
    /// # Errors
    ///
    /// If the vault fails; nothing has happened then.
    pub fn propose(
        self,
        vault: &mut Vault,
        own: SystemTitle,
        next_key: &mut KeyId,
        by: By<'_>,
    ) -> Result<Proposal, VaultError> {
        let mut changes = Vec::new();
        let mut rows = Vec::with_capacity(self.rows.len());
        let mut keys = 0_usize;
        for ImportRow {
            mut row,
            keys: secrets,
            counter,
        } in self.rows
        {
            date_retirement(&mut row, by.at);
            for (kind, client, secret) in secrets {
                let key = *next_key;
                let new = NewKey {
                    key,
                    meter: row.meter,
                    kind,
                    client,
                    state: KeyState::Current,
                    made_at: by.at,
                };
                changes.push(Change::Key(vault.seal(new, &secret)?));
                next_key.0 += 1;
                keys += 1;
                if kind == KeyKind::UnicastEncryption {
                    changes.push(Change::Counter(CounterRow {
                        key,
                        direction: Direction::Transmit,
                        title: own,
                        value: counter.unwrap_or(0),
                    }));
                }
            }
            rows.push(row);
        }
        let record = AuditRecord {
            at: by.at,
            actor: by.actor.to_owned(),
            action: Action::Import,
            target: Target::System,
            before: String::new(),
            after: format!(
                "{} meters, {keys} keys, {} faults",
                rows.len(),
                self.faults.listed.len() + self.faults.unlisted
            ),
            outcome: AuditOutcome::Done,
        };
        changes.push(record.to_change());
        Ok(Registry::propose(rows, changes))
    }
}

/// The same meters as a file; without keys.
pub fn export<'a>(rows: impl IntoIterator<Item = &'a DeviceRow>) -> String {
    let mut out = String::new();
    let is_written = |(name, presence): &(&'static str, Presence)| match presence {
        Presence::Required | Presence::Optional => Some(*name),
        Presence::Secret | Presence::ImportOnly => None,
    };
    csv::write(&mut out, COLUMNS.iter().filter_map(is_written));
    for row in rows {
        let roles: Vec<_> = row.roles.iter().map(write_role).collect();
        let groups: Vec<_> = row.groups.iter().map(String::as_str).collect();
        let fields = [
            row.meter.0.to_string(),
            row.title.to_string(),
            row.serial.clone(),
            row.name.clone(),
            row.state.to_string(),
            row.link.transport.to_string(),
            row.link.address.clone(),
            row.link.server.to_string(),
            row.link.physical.to_string(),
            roles.join(" "),
            row.template.clone(),
            groups.join(" "),
            row.service_point.clone(),
            row.phases.to_string(),
            row.fuse_a.to_string(),
            row.voltage_v.to_string(),
        ];
        csv::write(&mut out, fields.iter().map(String::as_str));
    }
    out
}

/// The header and the records that have as many fields; `None` if there is nothing to go on with.
fn read(text: &str, faults: &mut Faults) -> Option<(BTreeMap<String, usize>, Vec<csv::Record>)> {
    if text.len() > FILE_BYTES_MAX {
        let problem = format!(
            "{} bytes, at most {FILE_BYTES_MAX}; import in parts",
            text.len()
        );
        faults.push(1, "file", problem);
        return None;
    }
    let mut records = match csv::parse(text) {
        Ok(records) => records,
        Err(fault) => {
            faults.push(fault.line, "file", fault.problem);
            return None;
        }
    };
    if records.is_empty() {
        faults.push(1, "file", "it is empty; the first line names the columns");
        return None;
    }
    let titles = records.remove(0);
    let mut header = BTreeMap::new();
    for (index, title) in titles.fields.iter().enumerate() {
        let title = title.trim().to_ascii_lowercase();
        if !COLUMNS.iter().any(|(name, _)| *name == title) {
            let known: Vec<_> = COLUMNS.iter().map(|(name, _)| *name).collect();
            let problem = format!("there is no such column; known are {}", known.join(", "));
            faults.push(titles.line, &title, problem);
        } else if header.insert(title.clone(), index).is_some() {
            faults.push(titles.line, &title, "the column is there twice");
        }
    }
    for (name, presence) in COLUMNS {
        if presence == Presence::Required && !header.contains_key(name) {
            faults.push(titles.line, name, "the column is missing");
        }
    }
    if !faults.is_empty() {
        return None;
    }
    if records.len() > ROWS_MAX {
        let problem = format!(
            "{} rows, at most {ROWS_MAX}; import in parts",
            records.len()
        );
        faults.push(titles.line, "file", problem);
        return None;
    }
    let columns = titles.fields.len();
    records.retain(|record| {
        let fields = record.fields.len();
        if fields != columns {
            let problem = format!("{fields} fields under {columns} columns");
            faults.push(record.line, "file", problem);
        }
        fields == columns
    });
    Some((header, records))
}

/// What the rows above have, and the next free number.
struct Seen {
    next: MeterId,
    meters: BTreeMap<MeterId, usize>,
    distinctions: BTreeMap<Distinction, usize>,
}

impl Seen {
    fn new(registry: &Registry) -> Self {
        Self {
            next: registry.next_meter(),
            meters: BTreeMap::new(),
            distinctions: BTreeMap::new(),
        }
    }

    fn check(&mut self, line: usize, row: &DeviceRow, faults: &mut Faults) {
        if let Some(other) = self.meters.insert(row.meter, line) {
            let problem = format!("{} stands in line {other} already", row.meter);
            faults.push(line, "meter", problem);
        }
        for what in Distinction::of(row) {
            // What could not be read was named already, and is no value.
            let is_placeholder = match &what {
                Distinction::Title(title) => *title == NO_TITLE,
                Distinction::Serial(serial) => serial.is_empty(),
                Distinction::Address(_) => row.link.address.is_empty(),
            };
            if is_placeholder {
                continue;
            }
            let column = what.column();
            let text = what.to_string();
            if let Some(other) = self.distinctions.insert(what, line) {
                let problem = format!("{text} stands in line {other} already");
                faults.push(line, column, problem);
            }
        }
    }
}

const NO_TITLE: SystemTitle = SystemTitle([0; 8]);

/// The cells of one row.
struct Cells<'a> {
    line: usize,
    header: &'a BTreeMap<String, usize>,
    fields: &'a [String],
}

impl Cells<'_> {
    /// What a column says; `None` if it is absent or empty.
    fn text(&self, column: &str) -> Option<&str> {
        let text = self.fields[*self.header.get(column)?].trim();
        (!text.is_empty()).then_some(text)
    }

    /// What a column says, read; named if it cannot be.
    fn value<T>(
        &self,
        column: &str,
        wanted: &str,
        faults: &mut Faults,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(column)?;
        let value = read(text);
        if value.is_none() {
            faults.push(self.line, column, format!("{text:?}; {wanted}"));
        }
        value
    }

    fn read(
        &self,
        registry: &Registry,
        templates: &Templates,
        seen: &mut Seen,
        faults: &mut Faults,
    ) -> ImportRow {
        let number = |text: &str| text.strip_prefix('m').unwrap_or(text).parse().ok();
        let meter = self.value("meter", "a number, such as 17", faults, number);
        let held = meter.and_then(|meter| registry.meter(MeterId(meter)));
        let meter = meter.map_or(seen.next, MeterId);
        seen.next = MeterId(seen.next.0.max(meter.0.saturating_add(1)));

        let names = |all: Vec<&str>| format!("one of {}", all.join(", "));
        let transports = names(Transport::ALL.iter().map(|(_, name)| *name).collect());
        let states = names(DeviceState::ALL.iter().map(|(_, name)| *name).collect());
        let text = |column, held: Option<&String>| {
            self.text(column)
                .map_or_else(|| held.cloned().unwrap_or_default(), str::to_owned)
        };
        let title = self.value("title", "16 hexadecimal digits", faults, SystemTitle::parse);
        let title = title.or_else(|| held.map(|held| held.title));
        if title.is_none() && self.text("title").is_none() {
            faults.push(
                self.line,
                "title",
                "it is empty; give 16 hexadecimal digits",
            );
        }
        let transport = self.value("transport", &transports, faults, Transport::parse);
        let transport = transport.or_else(|| held.map(|held| held.link.transport));
        if transport.is_none() && self.text("transport").is_none() {
            faults.push(self.line, "transport", format!("it is empty; {transports}"));
        }
        let small = "a number from 0 to 65535";
        let server = self.value("server", small, faults, |text| text.parse().ok());
        let physical = self.value("physical", small, faults, |text| text.parse().ok());
        let link = DeviceLink {
            transport: transport.unwrap_or(Transport::Gateway),
            address: text("address", held.map(|held| &held.link.address)),
            server: server.unwrap_or_else(|| held.map_or(1, |held| held.link.server)),
            physical: physical.unwrap_or_else(|| held.map_or(0, |held| held.link.physical)),
        };
        let wanted = "roles such as `16:none 17:lls 1:hls5/0`: client, mechanism, suite";
        let roles = self.value("roles", wanted, faults, |text| {
            text.split_whitespace().map(read_role).collect()
        });
        let roles =
            roles.unwrap_or_else(|| held.map(|held| held.roles.clone()).unwrap_or_default());
        let groups = self.text("groups").map(|text| {
            let names = text.split([' ', '|']).filter(|name| !name.is_empty());
            names.map(str::to_owned).collect::<BTreeSet<_>>()
        });
        let state = self.value("state", &states, faults, DeviceState::parse);
        let state = state.or_else(|| held.map(|held| held.state));
        let template = text("template", held.map(|held| &held.template));
        let usual = templates.get(&template);
        let phases = self.value("phases", "1, 2 or 3", faults, |text| text.parse().ok());
        let fuse = self.value(
            "fuse_a",
            "amperes of each phase, such as 63",
            faults,
            |text| text.parse().ok(),
        );
        let voltage = self.value("voltage_v", "volts, such as 230", faults, |text| {
            text.parse().ok()
        });
        let counter = self.value("counter", "a number below 2^32", faults, |text| {
            text.parse().ok()
        });
        let keys = self.keys(&roles, faults);
        ImportRow {
            row: DeviceRow {
                meter,
                title: title.unwrap_or(NO_TITLE),
                serial: text("serial", held.map(|held| &held.serial)),
                name: text("name", held.map(|held| &held.name)),
                state: state.unwrap_or(DeviceState::Enrolled),
                link,
                roles,
                template,
                groups: groups
                    .unwrap_or_else(|| held.map(|held| held.groups.clone()).unwrap_or_default()),
                service_point: text("service_point", held.map(|held| &held.service_point)),
                // A row of an unknown template is refused, whatever stands here.
                phases: phases
                    .or_else(|| held.map(|held| held.phases))
                    .or_else(|| usual.map(|usual| usual.phases))
                    .unwrap_or(1),
                fuse_a: fuse
                    .or_else(|| held.map(|held| held.fuse_a))
                    .or_else(|| usual.map(|usual| usual.fuse_a))
                    .unwrap_or(1),
                voltage_v: voltage
                    .or_else(|| held.map(|held| held.voltage_v))
                    .or_else(|| usual.map(|usual| usual.voltage_v))
                    .unwrap_or(230),
                retired_at: held.and_then(|held| held.retired_at),
            },
            keys,
            counter,
        }
    }

    fn keys(&self, roles: &[ClientRole], faults: &mut Faults) -> Vec<(KeyKind, u16, Secret)> {
        let mut keys = Vec::new();
        for kind in [
            KeyKind::UnicastEncryption,
            KeyKind::BroadcastEncryption,
            KeyKind::Authentication,
            KeyKind::KeyEncryption,
            KeyKind::LowLevelSecret,
            KeyKind::HighLevelSecret,
        ] {
            let column = kind.name();
            let Some(text) = self.text(column) else {
                continue;
            };
            let owner = |mechanisms: core::ops::RangeInclusive<u8>| {
                let mut owners = roles
                    .iter()
                    .filter(|role| mechanisms.contains(&role.mechanism));
                match (owners.next(), owners.next()) {
                    (Some(role), None) => Some(role.client),
                    _ => None,
                }
            };
            // The problems never repeat the cell: it is a secret.
            let (secret, client) = match WrapForm::of(kind) {
                WrapForm::Key => {
                    let secret = Secret::parse_hex(text);
                    let secret = secret.filter(|key| matches!(key.expose().len(), 16 | 32));
                    (
                        secret.ok_or("a key has 32 or 64 hexadecimal digits"),
                        Some(0),
                    )
                }
                WrapForm::Padded if kind == KeyKind::LowLevelSecret => {
                    (Ok(Secret::new(text.as_bytes())), owner(1..=1))
                }
                WrapForm::Padded => {
                    let secret = Secret::parse_hex(text);
                    (
                        secret.ok_or("an HLS secret is hexadecimal digits"),
                        owner(6..=6),
                    )
                }
            };
            let secret = secret.and_then(|secret| {
                let length = secret.expose().len();
                if (1..=crate::vault::SECRET_BYTES_MAX).contains(&length) {
                    Ok(secret)
                } else {
                    Err("a secret has 1 to 48 bytes")
                }
            });
            match (secret, client) {
                (Ok(secret), Some(client)) => keys.push((kind, client, secret)),
                (Err(problem), _) => faults.push(self.line, column, problem),
                (Ok(_), None) => faults.push(
                    self.line,
                    column,
                    "exactly one role must use it: lls for `lls`, hls6 for `hls`",
                ),
            }
        }
        keys
    }
}

/// `16:none`, `17:lls`, `1:hls5/0`.
fn read_role(text: &str) -> Option<ClientRole> {
    let (client, how) = text.split_once(':')?;
    let (how, suite) = match how.split_once('/') {
        Some((how, suite)) => (how, Some(suite.parse().ok()?)),
        None => (how, None),
    };
    let mechanism = match how {
        "none" => 0,
        "lls" => 1,
        _ => how.strip_prefix("hls")?.parse().ok()?,
    };
    Some(ClientRole {
        client: client.parse().ok()?,
        mechanism,
        suite,
    })
}

fn write_role(role: &ClientRole) -> String {
    let how = match role.mechanism {
        0 => "none".to_owned(),
        1 => "lls".to_owned(),
        other => format!("hls{other}"),
    };
    match role.suite {
        Some(suite) => format!("{}:{how}/{suite}", role.client),
        None => format!("{}:{how}", role.client),
    }
}

#[cfg(test)]
mod tests;
