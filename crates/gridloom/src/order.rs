//! `gridloom order`: orders to many meters through a head-end that runs, followed to their end.

pub(crate) mod api;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::table;
use crate::usage::usage;
use api::Api;

/// Orders meters something through a running head-end
#[derive(clap::Args)]
pub(crate) struct Order {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Reads meters now
    Read {
        #[command(flatten)]
        whom: Whom,
        /// What to read, such as 1-0:1.8.0.255 [default: the register that the template bills]
        #[arg(long)]
        obis: Option<String>,
        /// Its interface class, where it is not the usual one
        #[arg(long, requires = "obis")]
        class: Option<u16>,
        /// Which attribute [default: 2]
        #[arg(long, requires = "obis")]
        attribute: Option<i8>,
    },
    /// Switches supply on; asks for a confirmation
    Connect(Switch),
    /// Switches supply off; asks for a confirmation
    Disconnect(Switch),
    /// Sets clocks that are off
    SyncClock(Whom),
    /// Changes the meters' keys
    Rekey {
        #[command(flatten)]
        whom: Whom,
        /// Which ones: guek, gak, gbek, kek
        #[arg(long, value_delimiter = ',', default_value = "guek,gak")]
        keys: Vec<String>,
    },
    /// Lets an order run that waits for its confirmation
    Confirm(Which),
    /// Takes an order back from meters that it was not sent to
    Cancel(Which),
    /// Follows an order to its end
    Show(Which),
}

/// Which head-end, and who asks.
#[derive(clap::Args)]
pub(crate) struct Where {
    /// Where the console is, as gridloom serve prints it
    #[arg(long, default_value = "http://127.0.0.1:8790")]
    url: String,
    /// The operator's token, in the file that gridloom serve prints
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Machine-readable
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which meters, and how long.
#[derive(clap::Args)]
struct Whom {
    #[command(flatten)]
    at: Where,
    /// Meters by number
    #[arg(long, value_delimiter = ',', required_unless_present = "group")]
    meters: Vec<u32>,
    /// All meters of this group; may be given more than once
    #[arg(long)]
    group: Vec<String>,
    /// After so many seconds the order is not sent to any more meters
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    within: u32,
}

/// An order that switches supply.
#[derive(clap::Args)]
struct Switch {
    #[command(flatten)]
    whom: Whom,
    /// Confirm at once, without asking
    #[arg(long)]
    confirm: bool,
}

/// An order that was given.
#[derive(clap::Args)]
struct Which {
    #[command(flatten)]
    at: Where,
    /// Its number
    order: u64,
}

/// An order as the API shows it.
#[derive(Debug, Serialize, Deserialize)]
struct View {
    id: u64,
    kind: String,
    by: String,
    at: String,
    state: String,
    total: u32,
    queued: u32,
    running: u32,
    done: u32,
    failed: u32,
    parts: Vec<PartView>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PartView {
    meter: u32,
    state: String,
    detail: String,
}

/// How often an order is looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(300);

impl Order {
    pub(crate) fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("failed to start the runtime")?;
        runtime.block_on(self.carry_out(out))
    }

    async fn carry_out(self, out: &mut impl Write) -> anyhow::Result<()> {
        match self.action {
            Action::Read {
                whom,
                obis,
                class,
                attribute,
            } => {
                let mut order = whom.order("read");
                for (field, value) in [
                    ("obis", obis.map(Value::from)),
                    ("class", class.map(Value::from)),
                    ("attribute", attribute.map(Value::from)),
                ] {
                    if let Some(value) = value {
                        order[field] = value;
                    }
                }
                submit(&whom.at, &order, out).await
            }
            Action::SyncClock(whom) => submit(&whom.at, &whom.order("sync-clock"), out).await,
            Action::Rekey { whom, keys } => {
                let mut order = whom.order("rekey");
                order["keys"] = keys.into();
                submit(&whom.at, &order, out).await
            }
            Action::Connect(switch) => switch.run("connect", out).await,
            Action::Disconnect(switch) => switch.run("disconnect", out).await,
            Action::Confirm(which) => {
                let api = which.at.api()?;
                let view = confirm(&api, which.order).await?;
                follow(&api, view, which.at.json, out).await
            }
            Action::Cancel(which) => {
                let api = which.at.api()?;
                let path = format!("orders/{}/cancel", which.order);
                let view: View = api.post(&path, None).await?;
                print(&view, which.at.json, out)
            }
            Action::Show(which) => {
                let api = which.at.api()?;
                let view: View = api.get(&format!("orders/{}", which.order)).await?;
                if view.state == "selected" {
                    return print(&view, which.at.json, out);
                }
                follow(&api, view, which.at.json, out).await
            }
        }
    }
}

impl Where {
    pub(crate) fn api(&self) -> anyhow::Result<Api> {
        usage(Api::new(&self.url, &self.token_file))
    }
}

impl Whom {
    fn order(&self, kind: &str) -> Value {
        json!({
            "kind": kind,
            "meters": self.meters,
            "groups": self.group,
            "within_s": self.within,
        })
    }
}

impl Switch {
    async fn run(self, kind: &str, out: &mut impl Write) -> anyhow::Result<()> {
        let at = &self.whom.at;
        let api = at.api()?;
        let view: View = api.post("orders", Some(&self.whom.order(kind))).await?;
        let is_confirmed = self.confirm || ask(kind, &view)?;
        if !is_confirmed {
            if at.json {
                return print(&view, true, out);
            }
            writeln!(out, "order {} would {kind} {} meters", view.id, view.total)?;
            writeln!(
                out,
                "it waits for: gridloom order confirm {} --url {} --token-file {}",
                view.id,
                at.url,
                at.token_file.display()
            )?;
            return Ok(());
        }
        let view = confirm(&api, view.id).await?;
        follow(&api, view, at.json, out).await
    }
}

/// Asks a person; where there is none, the answer is no.
fn ask(kind: &str, view: &View) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(false);
    }
    eprint!("{kind} {} meters? Type yes: ", view.total);
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .context("failed to read the answer")?;
    Ok(line.trim() == "yes")
}

async fn confirm(api: &Api, id: u64) -> anyhow::Result<View> {
    api.post(&format!("orders/{id}/confirm"), None).await
}

async fn submit(at: &Where, order: &Value, out: &mut impl Write) -> anyhow::Result<()> {
    let api = at.api()?;
    let view: View = api.post("orders", Some(order)).await?;
    follow(&api, view, at.json, out).await
}

/// Shows how far the order is until it is over, then how it went for each meter.
async fn follow(api: &Api, mut view: View, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let bar = progress(view.total.into(), view.kind.clone());
    while view.state != "over" {
        tokio::time::sleep(LOOK_EVERY).await;
        view = api.get(&format!("orders/{}", view.id)).await?;
        bar.set_position((view.done + view.failed).into());
        bar.set_message(format!("{} failed", view.failed));
    }
    bar.finish_and_clear();
    print(&view, json, out)?;
    out.flush()?;
    ensure!(
        view.failed == 0,
        "order {}: {} of {} meters failed",
        view.id,
        view.failed,
        view.total
    );
    Ok(())
}

/// A bar of so many meters; where standard error is no terminal, nothing.
pub(crate) fn progress(meters: u64, prefix: String) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{prefix} {bar:40} {pos}/{len} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(meters)
        .with_style(style)
        .with_prefix(prefix)
}

fn print(view: &View, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    if json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(view)?)?);
    }
    let rows = view.parts.iter().map(|part| {
        vec![
            part.meter.to_string(),
            part.state.clone(),
            part.detail.clone(),
        ]
    });
    writeln!(
        out,
        "{}",
        table::listing(&["Meter", "State", "Detail"], &[0], rows)
    )?;
    writeln!(
        out,
        "order {}, {}, {}: {} done, {} failed, {} open",
        view.id,
        view.kind,
        view.state,
        view.done,
        view.failed,
        view.queued + view.running
    )?;
    Ok(())
}
