//! `gridloom serve`: a utility with its head-end, on the wall clock, for meters that exist.

mod founding;
mod nodes;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use gridloom_host::{Clock, DataDirectory};
use tokio::sync::watch;

use crate::config::{Config, Defaults, Overrides};
use crate::founding::Founding as DemoFounding;
use crate::headend::{Office, Place, operator_token};
use founding::Founding;
use nodes::Nodes;

/// Runs a utility and its head-end for the registered meters
#[derive(clap::Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    place: Place,
    /// Configuration file (TOML); flags override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Console and API address [default: 127.0.0.1:8790]
    #[arg(long, value_name = "IP:PORT")]
    console: Option<String>,
    /// Utility address, where edges and the head-end dial [default: 127.0.0.1:4061]
    #[arg(long, value_name = "IP:PORT")]
    utility: Option<String>,
    /// The intervals that are priced and billed, in minutes [default: 15]
    #[arg(long, value_name = "N")]
    period_minutes: Option<u32>,
}

/// How often the console's picture is taken.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(500);

impl Serve {
    pub(crate) fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let flags = Overrides {
            console: self.console,
            utility: self.utility,
            period_minutes: self.period_minutes,
            realtime: true,
            defaults: Defaults::Serve,
            ..Overrides::default()
        };
        let config = Config::read(self.config.as_deref(), flags)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("failed to start the runtime")?;
        runtime.block_on(serve(config, self.place, out))
    }
}

async fn serve(config: Config, place: Place, out: &mut impl Write) -> anyhow::Result<()> {
    let directory = DataDirectory::open("--data", &place.data)?;
    ensure!(
        !DemoFounding::is_in(directory.path()),
        "{} was made by gridloom demo: choose another directory with --data",
        directory.path().display()
    );
    let clock = Clock::realtime();
    let founding = Founding::open(directory.path(), &config, clock.now().utc)?;
    let mut place = place;
    place.master.or_configured(&config.vault);
    let office = Office::open(&directory, place.profiles.as_deref(), &place.master)?;
    for news in &office.news {
        writeln!(out, "{news}")?;
    }
    let (token, token_path) = operator_token(directory.path())?;
    let mut nodes = Nodes::start(&config, &directory, founding.began()?, office, clock).await?;
    for words in nodes.warnings() {
        writeln!(out, "warning  {words}")?;
    }
    writeln!(out, "meters   {}", nodes.registered())?;
    writeln!(out, "utility  {}", nodes.utility())?;
    writeln!(out, "token    {}", token_path.display())?;
    writeln!(out, "console  http://{}/", nodes.console())?;
    out.flush()?;

    let (publish, snapshots) = watch::channel(Arc::new(nodes.snapshot().await?));
    let (stop, stopped) = watch::channel(false);
    let mut web = nodes.serve_console(token, snapshots, stopped);
    let interrupted = crate::signals::stop_asked();
    tokio::pin!(interrupted);
    let mut ticks = tokio::time::interval(SNAPSHOT_EVERY);
    loop {
        tokio::select! {
            asked = &mut interrupted => {
                asked?;
                break;
            }
            ended = &mut web => {
                ended.context("the console's task failed")??;
                anyhow::bail!("the console has stopped by itself");
            }
            _ = ticks.tick() => {
                publish.send_replace(Arc::new(nodes.snapshot().await?));
            }
        }
    }
    let _ = stop.send(true);
    web.await.context("the console's task failed")??;
    nodes.stop().await;
    writeln!(
        out,
        "stopped; the same command goes on from {}",
        directory.path().display()
    )?;
    Ok(())
}
