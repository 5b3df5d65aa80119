//! Meters for people and for programs. Keys are counted and named, never shown.

use std::fmt::Write as _;

use comfy_table::Table;
use gridloom_headend::import::Fault;
use gridloom_store::{ClientRole, DeviceRow, KeyRow};
use serde::Serialize;

use crate::table;

/// A meter for programs.
#[derive(Serialize)]
pub(super) struct MeterJson {
    id: u32,
    title: String,
    serial: String,
    name: String,
    state: &'static str,
    transport: &'static str,
    address: String,
    server: u16,
    physical: u16,
    roles: Vec<String>,
    template: String,
    groups: Vec<String>,
    service_point: String,
    phases: u8,
    fuse_a: u16,
    voltage_v: u16,
    retired_at: Option<String>,
}

impl MeterJson {
    pub(super) fn of(row: &DeviceRow) -> Self {
        Self {
            id: row.meter.0,
            title: row.title.to_string(),
            serial: row.serial.clone(),
            name: row.name.clone(),
            state: row.state.name(),
            transport: row.link.transport.name(),
            address: row.link.address.clone(),
            server: row.link.server,
            physical: row.link.physical,
            roles: row.roles.iter().map(role).collect(),
            template: row.template.clone(),
            groups: row.groups.iter().cloned().collect(),
            service_point: row.service_point.clone(),
            phases: row.phases,
            fuse_a: row.fuse_a,
            voltage_v: row.voltage_v,
            retired_at: row.retired_at.map(|at| at.to_string()),
        }
    }
}

/// A fault of an import for programs.
#[derive(Serialize)]
pub(super) struct FaultJson {
    line: usize,
    column: String,
    problem: String,
}

impl FaultJson {
    pub(super) fn of(fault: &Fault) -> Self {
        Self {
            line: fault.line,
            column: fault.column.clone(),
            problem: fault.problem.clone(),
        }
    }
}

/// A key as far as it may be seen.
#[derive(Serialize)]
struct KeyJson {
    number: u64,
    kind: &'static str,
    client: u16,
    state: &'static str,
    master: u32,
    made_at: String,
}

impl KeyJson {
    fn of(row: &KeyRow) -> Self {
        Self {
            number: row.key.0,
            kind: row.kind.name(),
            client: row.client,
            state: row.state.name(),
            master: row.master,
            made_at: row.made_at.to_string(),
        }
    }
}

/// A meter and its keys for programs.
#[derive(Serialize)]
pub(super) struct MeterWithKeys {
    #[serde(flatten)]
    meter: MeterJson,
    keys: Vec<KeyJson>,
}

pub(super) fn with_keys(row: &DeviceRow, keys: &[KeyRow]) -> MeterWithKeys {
    MeterWithKeys {
        meter: MeterJson::of(row),
        keys: keys.iter().map(KeyJson::of).collect(),
    }
}

/// The list of meters.
pub(super) fn table(rows: &[DeviceRow]) -> Table {
    let headings = [
        "Meter",
        "Title",
        "Serial",
        "Name",
        "State",
        "Reached by",
        "Template",
        "Groups",
    ];
    let cells = rows.iter().map(|row| {
        let groups: Vec<_> = row.groups.iter().map(String::as_str).collect();
        vec![
            row.meter.0.to_string(),
            row.title.to_string(),
            row.serial.clone(),
            row.name.clone(),
            row.state.to_string(),
            row.link.endpoint(),
            row.template.clone(),
            groups.join(" "),
        ]
    });
    table::listing(&headings, &[0], cells)
}

/// Everything about one meter but its keys' bytes.
pub(super) fn sheet(row: &DeviceRow, keys: &[KeyRow]) -> String {
    let groups: Vec<_> = row.groups.iter().map(String::as_str).collect();
    let roles: Vec<_> = row.roles.iter().map(role).collect();
    let mut text = String::new();
    for (name, value) in [
        ("meter", row.meter.0.to_string()),
        ("title", row.title.to_string()),
        ("serial", row.serial.clone()),
        ("name", row.name.clone()),
        ("state", row.state.to_string()),
        ("reached by", row.link.endpoint()),
        ("clients", roles.join(" ")),
        ("template", row.template.clone()),
        ("groups", groups.join(" ")),
        ("service point", row.service_point.clone()),
        ("phases", row.phases.to_string()),
        ("fuse", format!("{} A", row.fuse_a)),
        ("voltage", format!("{} V", row.voltage_v)),
    ] {
        let _ = writeln!(text, "{}", format!("{name:<14} {value}").trim_end());
    }
    if let Some(at) = row.retired_at {
        let _ = writeln!(text, "{:<14} {at}", "retired at");
    }
    if !keys.is_empty() {
        let headings = ["Key", "Kind", "Client", "State", "Master key", "Made at"];
        let cells = keys.iter().map(KeyJson::of).map(|key| {
            vec![
                key.number.to_string(),
                key.kind.to_owned(),
                key.client.to_string(),
                key.state.to_owned(),
                key.master.to_string(),
                key.made_at,
            ]
        });
        let _ = writeln!(text, "{}", table::listing(&headings, &[0, 2, 4], cells));
    }
    text
}

/// As the import writes it: `1:hls5/0`.
fn role(role: &ClientRole) -> String {
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
