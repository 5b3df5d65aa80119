//! `gridloom pki`: the utility's certificate authority for its own tiers.

mod office;
mod register;
mod throwaway;
mod view;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use anyhow::Context;
use gridloom_host::{Clock, NodeName};
use gridloom_nodes::envelope::Role;

use crate::config::{Config, Overrides};
use crate::table;
use office::Office;
use register::{Issued, Why};
use view::Standing;

pub(crate) use throwaway::keep as keep_throwaway;
pub(crate) use view::{CertificateRow, certificates};

/// Issues certificates for the utility's nodes, and takes them back
#[derive(clap::Args)]
pub(crate) struct Pki {
    #[command(subcommand)]
    action: Action,
}

/// Where the authority is.
#[derive(clap::Args)]
struct Place {
    /// Directory of the authority [default: pki.directory of --config, or pki]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Founds the authority
    Init {
        #[command(flatten)]
        place: Place,
        /// The utility's name in certificates [default: utility.name]
        #[arg(long)]
        utility: Option<String>,
        /// How long the authority lives
        #[arg(long, default_value_t = 10)]
        years: u32,
    },
    /// Writes a certificate with its key for a node
    Enrol {
        #[command(flatten)]
        place: Place,
        /// gateway, edge, utility, archive or head-end
        role: String,
        /// The node's name, as its configuration has it
        name: String,
        /// How long the certificate counts
        #[arg(long, default_value_t = 30)]
        days: u32,
        /// Host name or address at which the node may be dialled; may be given more than once
        /// [default: any]
        #[arg(long, value_name = "HOST")]
        host: Vec<String>,
    },
    /// Writes the next certificates of nodes, and a fresh revocation list
    Renew {
        #[command(flatten)]
        place: Place,
        /// ROLE/NAME, or a NAME that one role has [default: all with less than a third left]
        nodes: Vec<String>,
        /// How long the certificates count [default: as long as before]
        #[arg(long)]
        days: Option<u32>,
    },
    /// Takes certificates back
    Revoke {
        #[command(flatten)]
        place: Place,
        /// ROLE/NAME, a NAME that one role has, or the serial number of one certificate
        #[arg(value_name = "NAME|SERIAL")]
        what: String,
        /// Why
        #[arg(long, value_enum, default_value = "unspecified")]
        reason: Why,
    },
    /// Lists every certificate
    List {
        #[command(flatten)]
        place: Place,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Shows the newest certificate of a node
    Show {
        #[command(flatten)]
        place: Place,
        /// ROLE/NAME, or a NAME that one role has
        node: String,
        /// Only the certificate in PEM, without the key, for other programs
        #[arg(long)]
        pem: bool,
    },
}

impl Place {
    fn read(&self) -> anyhow::Result<(PathBuf, Config)> {
        let config = Config::read(self.config.as_deref(), Overrides::default())?;
        let directory = self
            .directory
            .clone()
            .or_else(|| config.pki.clone())
            .unwrap_or_else(|| "pki".into());
        Ok((directory, config))
    }

    fn open(&self) -> anyhow::Result<Office> {
        Office::open(&self.read()?.0, Clock::realtime().wall())
    }
}

impl Pki {
    pub(crate) fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        match self.action {
            Action::Init {
                place,
                utility,
                years,
            } => init(&place, utility, years, out),
            Action::Enrol {
                place,
                role,
                name,
                days,
                host,
            } => {
                let node: NodeName = format!("{role}/{name}").parse()?;
                let mut office = place.open()?;
                let issued = office.enrol(&node, days, &host)?;
                say_issued(&office, &issued, out)
            }
            Action::Renew { place, nodes, days } => renew(&place, &nodes, days, out),
            Action::Revoke {
                place,
                what,
                reason,
            } => revoke(&place, &what, reason, out),
            Action::List { place, json } => list(&place, json, out),
            Action::Show { place, node, pem } => show(&place, &node, pem, out),
        }
    }
}

fn init(
    place: &Place,
    utility: Option<String>,
    years: u32,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let (directory, config) = place.read()?;
    let utility = utility.unwrap_or(config.name);
    let office = Office::found(&directory, &utility, years, Clock::realtime().wall())?;
    let at = directory.display();
    writeln!(
        out,
        "authority  {at}/authority.pem, until {}",
        office.not_after()
    )?;
    writeln!(
        out,
        "key        {at}/authority/key.pem: keep a copy apart, and the folder authority off the \
         nodes"
    )?;
    writeln!(
        out,
        "list       {at}/revoked.pem, until {}: gridloom pki renew makes the next",
        office.list_until()
    )?;
    Ok(())
}

fn say_issued(office: &Office, issued: &Issued, out: &mut impl Write) -> anyhow::Result<()> {
    writeln!(
        out,
        "{}  serial {}  until {}  {}",
        issued.node,
        issued.serial,
        issued.not_after,
        office.files(&issued.node).own.display()
    )?;
    Ok(())
}

fn renew(
    place: &Place,
    texts: &[String],
    days: Option<u32>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut office = place.open()?;
    let nodes = if texts.is_empty() {
        office.due()
    } else {
        texts
            .iter()
            .map(|text| office.register().find(text))
            .collect::<anyhow::Result<_>>()?
    };
    for node in &nodes {
        let issued = office.renew(node, days)?;
        say_issued(&office, &issued, out)?;
    }
    if nodes.is_empty() {
        office.write_list()?;
        writeln!(out, "no certificate is due")?;
    }
    writeln!(out, "revocation list until {}", office.list_until())?;
    Ok(())
}

fn revoke(place: &Place, what: &str, why: Why, out: &mut impl Write) -> anyhow::Result<()> {
    let mut office = place.open()?;
    for issued in office.revoke(what, why)? {
        writeln!(
            out,
            "revoked {}  serial {}  {}",
            issued.node,
            issued.serial,
            why.word()
        )?;
    }
    writeln!(
        out,
        "revocation list until {}: nodes on other machines need the new revoked.pem",
        office.list_until()
    )?;
    Ok(())
}

fn list(place: &Place, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let (directory, _) = place.read()?;
    let now = Clock::realtime().wall();
    // Fails where there is no authority, with the remedy.
    drop(Office::open(&directory, now)?);
    let rows = certificates(Some(&directory), &[], &[], now)?;
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?;
        return Ok(());
    }
    let coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let cells = rows.into_iter().map(|row| {
        vec![
            row.role.to_owned(),
            row.name.clone(),
            row.not_after.clone().unwrap_or_default(),
            row.serial.clone(),
            standing(&row, coloured),
        ]
    });
    let headings = ["role", "name", "not after", "serial", "standing"];
    writeln!(out, "{}", table::listing(&headings, &[], cells))?;
    Ok(())
}

/// The last column: colour where somebody should look or must not rely on it.
fn standing(row: &CertificateRow, coloured: bool) -> String {
    let word = row.standing.word();
    let words = row
        .reason
        .map_or(word.to_owned(), |why| format!("{word}, {why}"));
    let colour = match row.standing {
        Standing::Valid | Standing::Replaced => None,
        Standing::Due => Some(33),
        Standing::Expired | Standing::Revoked => Some(31),
    };
    match colour {
        Some(code) if coloured => format!("\u{1b}[{code}m{words}\u{1b}[0m"),
        Some(_) | None => words,
    }
}

fn show(place: &Place, text: &str, pem: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let (directory, _) = place.read()?;
    let now = Clock::realtime().wall();
    let office = Office::open(&directory, now)?;
    let node = office.register().find(text)?;
    if pem {
        let path = office.files(&node).own;
        let file = std::fs::read_to_string(&path)
            .with_context(|| format!("failed to read {}", path.display()))?;
        let end = "-----END CERTIFICATE-----\n";
        let certificate = file
            .split_once(end)
            .with_context(|| {
                format!(
                    "{} holds no certificate: enrol the node again",
                    path.display()
                )
            })?
            .0;
        write!(out, "{certificate}{end}")?;
        return Ok(());
    }
    let newest = office.register().newest(&node).context("it was found")?;
    let serial = newest.serial.to_string();
    let rows = certificates(Some(&directory), &[], &[], now)?;
    let row = rows
        .into_iter()
        .find(|row| row.serial == serial)
        .context("the register changed meanwhile: try again")?;
    let hosts = if row.hosts.is_empty() {
        "any".to_owned()
    } else {
        row.hosts.join(", ")
    };
    let none = String::new();
    for (key, value) in [
        ("node", &node.to_string()),
        ("URI", &node.uri()),
        ("serial", &row.serial),
        ("not before", row.not_before.as_ref().unwrap_or(&none)),
        ("not after", row.not_after.as_ref().unwrap_or(&none)),
        ("hosts", &hosts),
        ("standing", &standing(&row, false)),
        ("file", &office.files(&node).own.display().to_string()),
    ] {
        writeln!(out, "{key:<11} {value}")?;
    }
    Ok(())
}

/// The name of a utility's node: there is one under an authority.
pub(crate) const UTILITY: &str = "utility";

/// The node of a role in this process.
pub(crate) fn node_name(role: Role, name: &str) -> anyhow::Result<NodeName> {
    NodeName::new(role, name)
        .with_context(|| "a node whose links are secured needs a name for its certificate")
}
