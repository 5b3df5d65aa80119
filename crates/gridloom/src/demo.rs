//! `gridloom demo`: all five layers in one process, on loopback sockets and the embedded store.

mod feeder;
mod keys;
mod office;
mod plant;
mod progress;
mod texting;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use gridloom_core::{Day, Now, UtcTime};
use gridloom_host::{Clock, DataDirectory, Speed};
use gridloom_web::Snapshot;

use crate::bill;
use crate::config::{Config, Defaults, LoadKind, Overrides, Pace};
use crate::console::Token;
use crate::founding::Founding;
use crate::serve;
use plant::Plant;
use progress::Progress;

pub(crate) use plant::{cell_name, town_of};

/// Runs a small utility with all five layers on this machine
#[derive(clap::Args)]
pub(crate) struct Demo {
    /// Configuration file (TOML); flags override it
    #[arg(long)]
    config: Option<PathBuf>,
    /// Data directory; a restart goes on from it [default: data/demo]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Houses behind the collector [default: 3, or 55 on a feeder]
    #[arg(long)]
    houses: Option<u32>,
    /// Where the houses' loads come from [default: household]
    #[arg(long)]
    load: Option<LoadKind>,
    /// Distribution feeder that the houses are on: eulv, ieee13, or an OpenDSS file. Voltages and
    /// losses are then those of its power flow, and its transformers have meters
    #[arg(long, value_name = "FEEDER")]
    feeder: Option<String>,
    /// Whether people respond to the price [default: true]
    #[arg(long)]
    response: Option<bool>,
    /// How many times faster than the wall time passes [default: 7200]
    #[arg(long, conflicts_with = "realtime")]
    speed: Option<Speed>,
    /// Follow the wall clock
    #[arg(long)]
    realtime: bool,
    /// Stop after this many days, and print the bills
    #[arg(long)]
    days: Option<u32>,
    /// Seed of the houses [default: 7]
    #[arg(long)]
    seed: Option<u64>,
    /// Console address [default: 127.0.0.1:8790]
    #[arg(long)]
    console: Option<String>,
    /// Gateway address, where meters dial [default: 127.0.0.1:4059]
    #[arg(long)]
    gateway: Option<String>,
    /// Edge address, where gateways dial [default: 127.0.0.1:4060]
    #[arg(long)]
    edge: Option<String>,
    /// Utility address, where edges dial [default: 127.0.0.1:4061]
    #[arg(long)]
    utility: Option<String>,
    /// Archive address, where the utility dials [default: 127.0.0.1:4062]
    #[arg(long)]
    archive: Option<String>,
    /// Serial device of a GSM modem that tells people about bills and silent meters
    #[arg(long)]
    modem: Option<PathBuf>,
    /// Number that the modem tells; may be given more than once
    #[arg(long)]
    sms_to: Vec<String>,
    /// Links between tiers in the clear, to compare; they talk over TLS otherwise
    #[arg(long)]
    no_tls: bool,
    /// Directory of certificates (gridloom pki) [default: the demo's own, in its data directory]
    #[arg(long, value_name = "DIR", conflicts_with = "no_tls")]
    pki: Option<PathBuf>,
    /// No progress line
    #[arg(long)]
    quiet: bool,
}

impl Demo {
    pub(crate) fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let (days, quiet) = (self.days, self.quiet);
        let file = self.config.clone();
        let config = Config::read(file.as_deref(), self.overrides())?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("failed to start the runtime")?;
        runtime.block_on(serve(config, days, quiet, out))
    }

    fn overrides(self) -> Overrides {
        Overrides {
            data: self.data,
            houses: self.houses,
            load: self.load,
            feeder: self.feeder,
            response: self.response,
            speed: self.speed,
            realtime: self.realtime,
            seed: self.seed,
            console: self.console,
            gateway: self.gateway,
            edge: self.edge,
            utility: self.utility,
            archive: self.archive,
            period_minutes: None,
            defaults: Defaults::Demo,
            roles: Vec::new(),
            modem: self.modem,
            sms_to: self.sms_to,
            pki: self.pki,
            no_tls: self.no_tls,
        }
    }
}

/// How often the console's picture is taken.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(500);

/// How long the end of `--days` waits for the last acknowledgements, prices and bills.
const SETTLE_MAX: Duration = Duration::from_secs(60);

async fn serve(
    config: Config,
    days: Option<u32>,
    quiet: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let directory = DataDirectory::open("--data", &config.data)?;
    anyhow::ensure!(
        !serve::Founding::is_in(directory.path()),
        "{} was made by gridloom serve: choose another directory with --data",
        directory.path().display()
    );
    let founding = match Founding::read(directory.path())? {
        Some(founding) => {
            founding.check(&config, directory.path())?;
            founding
        }
        None => {
            let began = match config.pace {
                Pace::Realtime => Clock::realtime().now().utc.day(),
                Pace::Accelerated(_) => config.start,
            };
            let founding = Founding::of(&config, began);
            founding.write(directory.path())?;
            founding
        }
    };
    let began = founding.began()?;
    let end = days.map(|days| {
        Day::from_epoch_days(
            began
                .epoch_days()
                .saturating_add(i32::try_from(days).unwrap_or(i32::MAX)),
        )
    });
    let mut plant = Plant::start(&config, &directory, began).await?;
    writeln!(out, "{}", plant.addresses())?;
    let token = Token::of(directory.path())?;
    writeln!(out, "console  http://{}/", plant.console())?;
    writeln!(out, "token    {}", token.path.display())?;
    writeln!(out, "links    {}", plant.links())?;
    out.flush()?;

    let first = plant.snapshot().await?;
    let mut console = plant.serve_console(token, first);
    let progress = Progress::new(quiet, began, end);
    let interrupted = crate::signals::stop_asked();
    tokio::pin!(interrupted);
    let mut ticks = tokio::time::interval(SNAPSHOT_EVERY);
    let reached_end = loop {
        tokio::select! {
            asked = &mut interrupted => {
                asked?;
                break false;
            }
            failed = console.failed() => failed?,
            _ = ticks.tick() => {
                let now = plant.now();
                let snapshot = plant.snapshot().await?;
                progress.show(now.utc, &snapshot);
                plant.tell_people(&snapshot);
                console.show(snapshot);
                if has_passed(end, now) {
                    break true;
                }
            }
        }
    };
    if reached_end {
        wait_until_settled(&plant, end).await?;
    }
    progress.finish();
    console.stop().await?;
    plant.stop().await;
    if reached_end {
        bill::print_all(&config.data, out)?;
    }
    writeln!(
        out,
        "stopped; the same command goes on from {}",
        config.data.display()
    )?;
    Ok(())
}

fn has_passed(end: Option<Day>, now: Now) -> bool {
    end.is_some_and(|end| now.utc >= end.start())
}

/// Waits until every interval before `end` is acknowledged, priced and, where its month is over,
/// billed.
async fn wait_until_settled(plant: &Plant, end: Option<Day>) -> anyhow::Result<()> {
    let until: UtcTime = end.map_or_else(|| plant.now().utc, Day::start);
    let waiting = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        loop {
            ticks.tick().await;
            if plant.is_settled_until(until).await? {
                return anyhow::Ok(());
            }
        }
    };
    match tokio::time::timeout(SETTLE_MAX, waiting).await {
        Ok(result) => result,
        Err(_) => {
            tracing::warn!("not everything was settled within {SETTLE_MAX:?}; a restart goes on");
            Ok(())
        }
    }
}

/// A snapshot's refusal to be shown, as an error of ours.
fn checked(snapshot: Snapshot) -> anyhow::Result<Snapshot> {
    snapshot.check()?;
    Ok(snapshot)
}
