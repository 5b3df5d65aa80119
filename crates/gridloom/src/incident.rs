//! `gridloom incident`: what a running edge finds odd, by subject and kind.

use std::io::Write;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::order::api::Api;
use crate::quarantine::{Field, Look, line, runtime, sheet};
use crate::table;
use crate::usage::usage;

/// Lists what an edge finds odd, and shows the evidence
#[derive(clap::Args)]
pub(crate) struct Incident {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Lists the incidents, newest first
    List {
        #[command(flatten)]
        at: Look,
    },
    /// Shows one incident with the packets or intervals that are kept of it
    Show {
        /// Its number
        incident: u64,
        #[command(flatten)]
        at: Look,
    },
}

#[derive(Serialize, Deserialize)]
struct View {
    id: u64,
    subject: Subject,
    kind: String,
    what: String,
    step: Option<String>,
    first: String,
    last: String,
    count: u64,
    held: u32,
}

#[derive(Serialize, Deserialize)]
struct Subject {
    kind: String,
    name: String,
    meter: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct Detail {
    incident: View,
    evidence: Vec<Evidence>,
}

#[derive(Serialize, Deserialize)]
struct Evidence {
    kind: String,
    path: Option<String>,
    hex: Option<String>,
    fields: Vec<Field>,
}

impl Incident {
    pub(crate) fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        runtime()?.block_on(async {
            match self.action {
                Action::List { at } => list(&at, out).await,
                Action::Show { incident, at } => show(&at, incident, out).await,
            }
        })
    }
}

async fn list(at: &Look, out: &mut impl Write) -> anyhow::Result<()> {
    let api = usage(Api::reader(&at.url))?;
    let all: Vec<View> = api.get("incidents").await?;
    if at.json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?);
    }
    if all.is_empty() {
        let words = "no incidents; the edge has found nothing odd since it started";
        return Ok(writeln!(out, "{words}")?);
    }
    let rows = all.iter().map(|it| {
        vec![
            it.id.to_string(),
            who(&it.subject),
            it.what.clone(),
            it.count.to_string(),
            it.held.to_string(),
            it.first.clone(),
            it.last.clone(),
        ]
    });
    let headings = ["No.", "Who", "What", "Count", "Held", "First", "Last"];
    Ok(writeln!(
        out,
        "{}",
        table::listing(&headings, &[0, 3, 4], rows)
    )?)
}

fn who(subject: &Subject) -> String {
    match subject.meter {
        Some(meter) => format!("meter {meter} ({})", subject.name),
        None => subject.name.clone(),
    }
}

async fn show(at: &Look, id: u64, out: &mut impl Write) -> anyhow::Result<()> {
    let api = usage(Api::reader(&at.url))?;
    let detail: Detail = api
        .get(&format!("incidents/{id}"))
        .await
        .with_context(|| format!("incident {id}"))?;
    if at.json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&detail)?)?);
    }
    let it = &detail.incident;
    line(out, "incident", &it.id.to_string())?;
    line(out, "who", &who(&it.subject))?;
    line(out, "what", &it.what)?;
    if let Some(step) = &it.step {
        line(out, "found by", step)?;
    }
    line(out, "first", &it.first)?;
    line(out, "last", &it.last)?;
    line(out, "count", &it.count.to_string())?;
    line(out, "held", &it.held.to_string())?;
    for (number, one) in (1..).zip(&detail.evidence) {
        writeln!(out, "\nevidence {number}, {}", one.kind)?;
        if let Some(path) = &one.path {
            line(out, "came by", path)?;
        }
        sheet(out, &one.fields)?;
        if let Some(hex) = &one.hex {
            line(out, "bytes", hex)?;
        }
    }
    Ok(())
}
