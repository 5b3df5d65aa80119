//! `gridloom quarantine`: readings that a running edge holds back for an analyst.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::order::api::Api;
use crate::table;
use crate::usage::usage;

/// Lists readings that an edge holds back, and releases or rejects them
#[derive(clap::Args)]
pub(crate) struct Quarantine {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Lists the held packets
    List {
        #[command(flatten)]
        at: Look,
        /// Only those of this incident
        #[arg(long, value_name = "NUMBER")]
        incident: Option<u64>,
    },
    /// Takes one held packet apart: scores, reasons, what it says
    Show {
        /// Its number
        packet: u64,
        #[command(flatten)]
        at: Look,
    },
    /// Lets a reading continue as if it had been forwarded
    Release(Decide),
    /// Gives a reading up; its interval is a gap
    Reject(Decide),
    /// Lists the last decisions, newest first, and how they stand
    Decisions {
        #[command(flatten)]
        at: Look,
    },
}

/// Which edge.
#[derive(clap::Args)]
pub(crate) struct Look {
    /// Where the console of the edge is, as gridloom serve prints it
    #[arg(long, default_value = "http://127.0.0.1:8790")]
    pub(crate) url: String,
    /// Machine-readable
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is decided, and by whom.
#[derive(clap::Args)]
struct Decide {
    /// The packet's number
    #[arg(required_unless_present = "incident", conflicts_with = "incident")]
    packet: Option<u64>,
    /// All packets of this incident that wait, instead of one
    #[arg(long, value_name = "NUMBER")]
    incident: Option<u64>,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The operator's token, in the file that gridloom serve prints
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    #[command(flatten)]
    at: Look,
}

#[derive(Serialize, Deserialize)]
struct View {
    id: u64,
    meter: u32,
    title: String,
    path: String,
    received: String,
    interval_end: String,
    scores: Scores,
    reasons: Vec<Reason>,
    state: String,
    by: Option<String>,
}

/// In ten-thousandths.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Scores {
    i: u16,
    h: u16,
    b: u16,
    q: u16,
    p: u16,
}

#[derive(Serialize, Deserialize)]
struct Reason {
    step: String,
    reason: String,
}

/// A field in words.
#[derive(Serialize, Deserialize)]
pub(crate) struct Field {
    name: String,
    value: String,
}

#[derive(Serialize, Deserialize)]
struct Detail {
    packet: View,
    incident: Option<u64>,
    fields: Vec<Field>,
    frame: String,
    plain: String,
}

#[derive(Serialize, Deserialize)]
struct Decided {
    packet: Option<u64>,
    incident: Option<u64>,
    packets: u32,
    done: u32,
    decision: String,
    by: String,
    at: String,
    reason: String,
    is_done: bool,
    detail: String,
}

/// Packets that the API gives at a time.
const PAGE: usize = 500;

impl Quarantine {
    pub(crate) fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        runtime()?.block_on(async {
            match self.action {
                Action::List { at, incident } => list(&at, incident, out).await,
                Action::Show { packet, at } => show(&at, packet, out).await,
                Action::Release(decide) => decide.run("release", out).await,
                Action::Reject(decide) => decide.run("reject", out).await,
                Action::Decisions { at } => decisions(&at, out).await,
            }
        })
    }
}

/// A runtime for a few requests.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")
}

async fn list(at: &Look, incident: Option<u64>, out: &mut impl Write) -> anyhow::Result<()> {
    let api = usage(Api::reader(&at.url))?;
    let of = incident.map_or(String::new(), |id| format!("&incident={id}"));
    let mut all: Vec<View> = Vec::new();
    loop {
        let after = all.last().map_or(0, |last| last.id);
        let path = format!("quarantine?after={after}&limit={PAGE}{of}");
        let page: Vec<View> = api.get(&path).await?;
        let is_last = page.len() < PAGE;
        all.extend(page);
        if is_last {
            break;
        }
    }
    if at.json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?);
    }
    if all.is_empty() {
        let words = match incident {
            Some(_) => "no packet of this incident is held",
            None => "no packet is held; every reading was forwarded, or dropped with its reason",
        };
        return Ok(writeln!(out, "{words}")?);
    }
    let rows = all.iter().map(|it| {
        let reasons: Vec<_> = it.reasons.iter().map(|it| it.reason.as_str()).collect();
        let s = it.scores;
        let mut row = vec![it.id.to_string(), it.meter.to_string()];
        row.push(it.interval_end.clone());
        row.extend([s.p, s.i, s.h, s.b, s.q].map(score));
        row.extend([it.state.clone(), reasons.join(", ")]);
        row
    });
    let headings = [
        "No.",
        "Meter",
        "Interval to",
        "P",
        "I",
        "H",
        "B",
        "Q",
        "State",
        "Why",
    ];
    let right = [0, 1, 3, 4, 5, 6, 7];
    writeln!(out, "{}", table::listing(&headings, &right, rows))?;
    Ok(())
}

/// Ten-thousandths with two decimals, rounded down: a packet never looks better than it is.
fn score(ten_thousandths: u16) -> String {
    format!(
        "{}.{:02}",
        ten_thousandths / 10_000,
        ten_thousandths % 10_000 / 100
    )
}

async fn show(at: &Look, id: u64, out: &mut impl Write) -> anyhow::Result<()> {
    let api = usage(Api::reader(&at.url))?;
    let detail: Detail = api.get(&format!("quarantine/{id}")).await?;
    if at.json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&detail)?)?);
    }
    let it = &detail.packet;
    line(out, "packet", &it.id.to_string())?;
    line(out, "state", &it.state)?;
    line(out, "meter", &format!("{} ({})", it.meter, it.title))?;
    line(out, "received", &it.received)?;
    line(out, "came by", &it.path)?;
    if let Some(incident) = detail.incident {
        line(out, "incident", &incident.to_string())?;
    }
    writeln!(out)?;
    let s = it.scores;
    for (what, value) in [
        ("trust P", s.p),
        ("identity I", s.i),
        ("integrity H", s.h),
        ("behaviour B", s.b),
        ("quality Q", s.q),
    ] {
        line(out, what, &score(value))?;
    }
    writeln!(out)?;
    for reason in &it.reasons {
        line(out, &reason.step, &reason.reason)?;
    }
    writeln!(out)?;
    sheet(out, &detail.fields)?;
    writeln!(out)?;
    line(out, "frame", &detail.frame)?;
    line(out, "deciphered", &detail.plain)
}

/// Fields as aligned lines.
pub(crate) fn sheet(out: &mut impl Write, fields: &[Field]) -> anyhow::Result<()> {
    for field in fields {
        line(out, &field.name, &field.value)?;
    }
    Ok(())
}

/// One aligned line.
pub(crate) fn line(out: &mut impl Write, name: &str, value: &str) -> anyhow::Result<()> {
    Ok(writeln!(out, "{name:<26} {value}")?)
}

impl Decide {
    async fn run(self, verb: &str, out: &mut impl Write) -> anyhow::Result<()> {
        let api = usage(Api::of_security(&self.at.url, &self.token_file))?;
        let path = match (self.packet, self.incident) {
            (Some(packet), _) => format!("quarantine/{packet}/{verb}"),
            (None, Some(incident)) => format!("incidents/{incident}/{verb}"),
            (None, None) => anyhow::bail!("name a packet, or --incident"),
        };
        let body = json!({ "reason": self.reason });
        let decided: Decided = api.post(&path, Some(&body)).await?;
        if self.at.json {
            let text = serde_json::to_string_pretty(&decided)?;
            return Ok(writeln!(out, "{text}")?);
        }
        let (about, detail) = (decided.about(), &decided.detail);
        Ok(writeln!(out, "{about}: {detail}; the audit log has it")?)
    }
}

impl Decided {
    fn about(&self) -> String {
        match (self.packet, self.incident) {
            (Some(packet), _) => format!("packet {packet}"),
            (None, Some(incident)) => format!("incident {incident}, {} packets", self.packets),
            (None, None) => format!("{} packets", self.packets),
        }
    }
}

async fn decisions(at: &Look, out: &mut impl Write) -> anyhow::Result<()> {
    let api = usage(Api::reader(&at.url))?;
    let all: Vec<Decided> = api.get("decisions").await?;
    if at.json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?);
    }
    if all.is_empty() {
        return Ok(writeln!(out, "nobody has decided about a held packet")?);
    }
    let rows = all.iter().map(|it| {
        vec![
            it.at.clone(),
            it.by.clone(),
            it.about(),
            it.decision.clone(),
            format!("{} of {}", it.done, it.packets),
            it.detail.clone(),
        ]
    });
    let headings = [
        "At",
        "By",
        "About",
        "Decision",
        "Carried out",
        "How it stands",
    ];
    Ok(writeln!(out, "{}", table::listing(&headings, &[4], rows))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_rounded_down() {
        let cases = [
            (0, "0.00"),
            (6_999, "0.69"),
            (7_000, "0.70"),
            (10_000, "1.00"),
        ];
        for (value, text) in cases {
            assert_eq!(score(value), text);
        }
    }
}
