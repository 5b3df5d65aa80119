//! `gridloom campaign`: firmware for many meters through a head-end that runs.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::order::api::Api;
use crate::order::{LOOK_EVERY, Where, progress};
use crate::table;

/// Brings firmware to meters, in stages that have to prove themselves
#[derive(clap::Args)]
pub(crate) struct Campaign {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Begins one, and follows it
    Start(Box<Start>),
    /// Lists those that run or ran lately
    List {
        #[command(flatten)]
        at: Where,
    },
    /// Follows one to its end, a pause or a halt
    Show(Which),
    /// Stops asking meters; what is under way comes to its end
    Pause(Which),
    /// Goes on after a pause, or after a halt despite the failures
    Resume(Which),
    /// Ends one; meters that activated nothing are left alone
    Abort(Which),
    /// Ends one, and brings another image to every meter that may run the new one
    Rollback {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        image: ImageFile,
    },
}

/// A campaign to begin.
#[derive(clap::Args)]
struct Start {
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    image: ImageFile,
    /// Meters by number
    #[arg(long, value_delimiter = ',', required_unless_present = "group")]
    meters: Vec<u32>,
    /// All meters of this group; may be given more than once
    #[arg(long)]
    group: Vec<String>,
    /// How far each stage reaches: meters, or percent of them [default: 1,10%,100%]
    #[arg(long)]
    stages: Option<String>,
    /// Halts when fewer percent of a stage's meters succeed
    #[arg(long, default_value_t = 95)]
    success: u8,
    /// Meters at a time
    #[arg(long, default_value_t = 64)]
    concurrency: u16,
    /// Not to be activated before this time, such as 2027-03-01T02:00:00Z
    #[arg(long, value_name = "TIME")]
    activate_at: Option<String>,
    /// Begin, and do not follow
    #[arg(long)]
    no_wait: bool,
}

/// An image of firmware.
#[derive(clap::Args)]
struct ImageFile {
    /// The image, as its maker gave it
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
    /// What a meter that runs it says in its firmware version object
    #[arg(long)]
    version: String,
    /// What meters are told that it is called [default: the version]
    #[arg(long)]
    identifier: Option<String>,
    /// The maker's signature in hexadecimal digits, where the image does not hold it
    #[arg(long, value_name = "HEX")]
    signature: Option<String>,
}

/// A campaign that was begun.
#[derive(clap::Args)]
struct Which {
    #[command(flatten)]
    at: Where,
    /// Its number
    campaign: u64,
}

/// A campaign as the API shows it.
#[derive(Debug, Serialize, Deserialize)]
struct View {
    id: u64,
    by: String,
    at: String,
    version: String,
    state: String,
    reason: String,
    stage: u32,
    total: u32,
    waiting: u32,
    under_way: u32,
    succeeded: u32,
    failed: u32,
    cancelled: u32,
    meters: Vec<StepView>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StepView {
    meter: u32,
    phase: String,
    detail: String,
}

impl View {
    /// Whether it goes on by itself.
    fn is_under_way(&self) -> bool {
        matches!(self.state.as_str(), "running" | "aborted")
    }
}

impl Campaign {
    pub(crate) fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("failed to start the runtime")?;
        runtime.block_on(self.carry_out(out))
    }

    async fn carry_out(self, out: &mut impl Write) -> anyhow::Result<()> {
        match self.action {
            Action::Start(start) => start.run(out).await,
            Action::List { at } => {
                let views: Vec<View> = at.api()?.get("campaigns").await?;
                list(&views, at.json, out)
            }
            Action::Show(which) => {
                let api = which.at.api()?;
                let view = api.get(&format!("campaigns/{}", which.campaign)).await?;
                follow(&api, view, which.at.json, out).await
            }
            Action::Pause(which) => which.change("pause", out).await,
            Action::Resume(which) => which.change("resume", out).await,
            Action::Abort(which) => which.change("abort", out).await,
            Action::Rollback { which, image } => {
                let api = which.at.api()?;
                let path = format!("campaigns/{}/rollback?{}", which.campaign, image.query());
                let view: View = api.post_bytes(&path, &image.bytes()?).await?;
                follow(&api, view, which.at.json, out).await
            }
        }
    }
}

impl Start {
    async fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let api = self.at.api()?;
        let mut query = self.image.query();
        let meters: Vec<String> = self.meters.iter().map(u32::to_string).collect();
        let mut add = |name: &str, value: &str| {
            query.push_str(&format!("&{name}={}", escaped(value)));
        };
        if !meters.is_empty() {
            add("meters", &meters.join(","));
        }
        if !self.group.is_empty() {
            add("groups", &self.group.join(","));
        }
        if let Some(stages) = &self.stages {
            add("stages", stages);
        }
        add("success", &self.success.to_string());
        add("concurrency", &self.concurrency.to_string());
        if let Some(at) = &self.activate_at {
            add("activate_at", at);
        }
        let bytes = self.image.bytes()?;
        let view: View = api
            .post_bytes(&format!("campaigns?{query}"), &bytes)
            .await?;
        if self.no_wait {
            return print(&view, self.at.json, out);
        }
        follow(&api, view, self.at.json, out).await
    }
}

impl Which {
    async fn change(&self, action: &str, out: &mut impl Write) -> anyhow::Result<()> {
        let path = format!("campaigns/{}/{action}", self.campaign);
        let view: View = self.at.api()?.post(&path, None).await?;
        print(&view, self.at.json, out)
    }
}

impl ImageFile {
    fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        std::fs::read(&self.image)
            .with_context(|| format!("--image: failed to read {}", self.image.display()))
    }

    fn query(&self) -> String {
        let mut query = format!("version={}", escaped(&self.version));
        for (name, value) in [
            ("identifier", &self.identifier),
            ("signature", &self.signature),
        ] {
            if let Some(value) = value {
                query.push_str(&format!("&{name}={}", escaped(value)));
            }
        }
        query
    }
}

/// A value as it stands in a query (RFC 3986 §2.1).
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b',' => {
                text.push(char::from(byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// Shows how far it is until it is over, paused or halted, then how it went for each meter.
async fn follow(api: &Api, mut view: View, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let bar = progress(view.total.into(), view.version.clone());
    while view.is_under_way() {
        tokio::time::sleep(LOOK_EVERY).await;
        view = api.get(&format!("campaigns/{}", view.id)).await?;
        bar.set_position((view.succeeded + view.failed + view.cancelled).into());
        bar.set_message(format!(
            "stage {}, {} under way, {} failed",
            view.stage, view.under_way, view.failed
        ));
    }
    bar.finish_and_clear();
    print(&view, json, out)?;
    out.flush()?;
    ensure!(
        view.state != "halted",
        "campaign {} halted: {}",
        view.id,
        view.reason
    );
    ensure!(
        view.failed == 0,
        "campaign {}: {} of {} meters failed",
        view.id,
        view.failed,
        view.total
    );
    Ok(())
}

fn print(view: &View, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    if json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(view)?)?);
    }
    let rows = view.meters.iter().map(|step| {
        vec![
            step.meter.to_string(),
            step.phase.clone(),
            step.detail.clone(),
        ]
    });
    writeln!(
        out,
        "{}",
        table::listing(&["Meter", "Phase", "Detail"], &[0], rows)
    )?;
    writeln!(
        out,
        "campaign {}, {}, {}, stage {}: {} succeeded, {} failed, {} under way, {} waiting, {} \
         left alone",
        view.id,
        view.version,
        view.state,
        view.stage,
        view.succeeded,
        view.failed,
        view.under_way,
        view.waiting,
        view.cancelled
    )?;
    Ok(())
}

fn list(views: &[View], json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    if json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(views)?)?);
    }
    let rows = views.iter().map(|view| {
        vec![
            view.id.to_string(),
            view.version.clone(),
            view.state.clone(),
            view.stage.to_string(),
            format!("{}/{}", view.succeeded, view.total),
            view.failed.to_string(),
            view.by.clone(),
            view.at.clone(),
        ]
    });
    let headings = [
        "Campaign", "Version", "State", "Stage", "Done", "Failed", "By", "Begun",
    ];
    writeln!(out, "{}", table::listing(&headings, &[0, 3, 4, 5], rows))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_in_queries() {
        for (value, expected) in [
            ("1,10%,100%", "1,10%25,100%25"),
            ("a b&c=d", "a%20b%26c%3Dd"),
            ("2027-03-01T02:00:00Z", "2027-03-01T02%3A00%3A00Z"),
            ("é", "%C3%A9"),
        ] {
            assert_eq!(escaped(value), expected);
        }
    }
}
