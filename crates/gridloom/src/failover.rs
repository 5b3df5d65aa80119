//! `gridloom failover`: how a head-end pair stands, and the drill of a take-over.

use std::io::Write;
use std::path::PathBuf;

use serde_json::Value;

use crate::order::api::Api;
use crate::quarantine::{Look, runtime};
use crate::usage::usage;

/// Shows how a head-end pair stands, and drills a take-over
#[derive(clap::Args)]
pub(crate) struct Failover {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Shows the member whose console this is
    Status {
        #[command(flatten)]
        at: Look,
    },
    /// Lets the active member hand over to the one that stands by
    Drill {
        #[command(flatten)]
        at: Look,
        /// The operator's token, in the file that gridloom serve prints
        #[arg(long, value_name = "FILE")]
        token_file: PathBuf,
    },
}

impl Failover {
    pub(crate) fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        runtime()?.block_on(async {
            let (view, json) = match self.action {
                Action::Status { at } => {
                    let api = usage(Api::of_pair(&at.url, None))?;
                    (api.get::<Value>("status").await?, at.json)
                }
                Action::Drill { at, token_file } => {
                    let api = usage(Api::of_pair(&at.url, Some(&token_file)))?;
                    (api.post::<Value>("failover", None).await?, at.json)
                }
            };
            if json {
                return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&view)?)?);
            }
            show(&view, out)
        })
    }
}

fn show(view: &Value, out: &mut impl Write) -> anyhow::Result<()> {
    let word = |name: &str| {
        let text = view[name].as_str().map(str::to_owned);
        text.unwrap_or_else(|| view[name].to_string())
    };
    let edges = view["edges"].as_array().into_iter().flatten();
    let edges: Vec<String> = edges
        .map(|edge| {
            let name = edge["name"].as_str().unwrap_or_default();
            match edge["connected"].as_bool() {
                Some(true) => name.to_owned(),
                Some(false) | None => format!("{name} (away)"),
            }
        })
        .collect();
    let rows = [
        ("member", word("place")),
        ("standing", word("standing")),
        ("epoch", word("epoch")),
        ("other", word("peer")),
        ("behind", format!("{} entries", word("behind"))),
        ("edges", edges.join(", ")),
        ("copies", word("copies")),
    ];
    for (heading, text) in rows {
        writeln!(out, "{heading:<9} {text}")?;
    }
    if let Some(advice) = view["advice"].as_str() {
        writeln!(out, "{:<9} {advice}", "advice")?;
    }
    Ok(())
}
