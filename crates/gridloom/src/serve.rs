//! `gridloom serve`: a utility's tiers on the wall clock, for meters that exist: all of them in one
//! process, or each on a host of its own.

mod edge;
mod founding;
mod gateway;
mod neighbours;
mod nodes;
mod pair;
mod utility;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use gridloom_host::{Clock, DataDirectory};

use crate::config::{Config, Defaults, Overrides, Role, Tiers};
use crate::console::Console;
use crate::founding::Founding as DemoFounding;
use crate::headend::{MasterKeyOption, Office};
use crate::profiles;
use nodes::{Basis, Nodes};

pub(crate) use founding::Founding;

/// Runs a utility's tiers for the registered meters
#[derive(clap::Args)]
pub(crate) struct Serve {
    /// Data directory of the tiers of this process; without one a gateway alone buffers in memory
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Folder of further meter templates, over the shipped ones
    #[arg(long, value_name = "DIR")]
    profiles: Option<PathBuf>,
    #[command(flatten)]
    master: MasterKeyOption,
    /// Configuration file (TOML); flags override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Tiers of this process, separated by commas [default: all]
    #[arg(long, value_name = "ROLE", value_delimiter = ',')]
    role: Vec<Role>,
    /// Console and API address [default: 127.0.0.1:8790]
    #[arg(long, value_name = "IP:PORT")]
    console: Option<String>,
    /// Gateway address, where meters dial [default: 127.0.0.1:4059]
    #[arg(long, value_name = "IP:PORT")]
    gateway: Option<String>,
    /// Edge address, where gateways dial [default: 127.0.0.1:4060]
    #[arg(long, value_name = "IP:PORT")]
    edge: Option<String>,
    /// Utility address, where edges and the head-end dial [default: 127.0.0.1:4061]
    #[arg(long, value_name = "IP:PORT")]
    utility: Option<String>,
    /// Archive address, where the utility dials [default: 127.0.0.1:4062]
    #[arg(long, value_name = "IP:PORT")]
    archive: Option<String>,
    /// Directory of certificates (gridloom pki): tiers talk over mutual TLS [default: in the clear]
    #[arg(long, value_name = "DIR")]
    pki: Option<PathBuf>,
    /// The intervals that are priced and billed, in minutes [default: 15]
    #[arg(long, value_name = "N")]
    period_minutes: Option<u32>,
}

/// How often the console's picture is taken.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(500);

impl Serve {
    pub(crate) fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let flags = Overrides {
            data: self.data,
            console: self.console,
            gateway: self.gateway,
            edge: self.edge,
            utility: self.utility,
            archive: self.archive,
            period_minutes: self.period_minutes,
            roles: self.role,
            pki: self.pki,
            realtime: true,
            defaults: Defaults::Serve,
            ..Overrides::default()
        };
        let config = Config::read(self.config.as_deref(), flags)?;
        let tiers = config.tiers.clone().context("serve has tiers")?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("failed to start the runtime")?;
        let mut master = self.master;
        master.or_configured(&config.vault);
        let place = Place {
            profiles: self.profiles,
            master,
        };
        let Some(standby) = &config.standby else {
            return runtime.block_on(serve(&config, &tiers, &place, out));
        };
        let member = pair::serve(&config, &tiers, standby, &place, out);
        match runtime.block_on(member)? {
            pair::Ended::Stopped => Ok(()),
            pair::Ended::Over => {
                out.flush()?;
                begin_anew()
            }
        }
    }
}

/// Replaces this process by the same program with the same words. Whatever the old one still held,
/// a socket or half a thought, is gone with it.
#[cfg(unix)]
fn begin_anew() -> anyhow::Result<()> {
    use std::os::unix::process::CommandExt;
    let program = std::env::current_exe().context("failed to find this program")?;
    let error = std::process::Command::new(program)
        .args(std::env::args_os().skip(1))
        .exec();
    Err(error).context("failed to begin anew as the standby; start the same command again")
}

/// Elsewhere whoever supervises the process starts it again.
#[cfg(not(unix))]
fn begin_anew() -> anyhow::Result<()> {
    anyhow::bail!("this member is active no more; start the same command again as the standby")
}

/// Where templates and the master key are.
struct Place {
    profiles: Option<PathBuf>,
    master: MasterKeyOption,
}

/// The data directory of this process, if it keeps anything.
fn open_directory(config: &Config, tiers: &Tiers) -> anyhow::Result<Option<DataDirectory>> {
    let keeps = tiers.has_any(&[Role::Edge, Role::Utility, Role::Headend, Role::Archive]);
    let Some(data) = &config.serve_data else {
        ensure!(
            !keeps,
            "serve.data is not set: name a data directory with --data DIR; only a gateway alone \
             can do without"
        );
        return Ok(None);
    };
    let directory = DataDirectory::open("--data", data)?;
    ensure!(
        !DemoFounding::is_in(directory.path()),
        "{} was made by gridloom demo: choose another directory with --data",
        directory.path().display()
    );
    Ok(Some(directory))
}

async fn serve(
    config: &Config,
    tiers: &Tiers,
    place: &Place,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let directory = open_directory(config, tiers)?;
    let clock = Clock::realtime();
    let began = match &directory {
        Some(directory) => Founding::open(directory.path(), config, clock.now().utc)?.began()?,
        None => clock.now().utc.day(),
    };
    let profiles = place.profiles.as_deref();
    let office = match &directory {
        Some(directory) if tiers.has(Role::Headend) => {
            Some(Office::open(directory, profiles, &place.master)?)
        }
        Some(_) | None => None,
    };
    for news in office.iter().flat_map(|office| &office.news) {
        writeln!(out, "{news}")?;
    }
    let basis = Basis {
        config,
        tiers,
        directory: directory.as_ref(),
        templates: profiles::read_all(profiles)?,
        master: &place.master,
        began,
        office,
        shared: None,
    };
    let mut nodes = Nodes::start(basis, clock).await?;
    let mut console = nodes.serve_console(directory.as_ref(), None).await?;
    for (heading, text) in &nodes.lines {
        writeln!(out, "{heading:<8} {text}")?;
    }
    writeln!(out, "ready")?;
    out.flush()?;

    let interrupted = crate::signals::stop_asked();
    tokio::pin!(interrupted);
    let mut ticks = tokio::time::interval(SNAPSHOT_EVERY);
    loop {
        tokio::select! {
            asked = &mut interrupted => {
                asked?;
                break;
            }
            failed = failed(console.as_mut()) => failed?,
            _ = ticks.tick() => {
                let snapshot = nodes.snapshot().await?;
                if let Some(console) = &mut console {
                    console.show(snapshot);
                }
            }
        }
    }
    if let Some(console) = console {
        console.stop().await?;
    }
    nodes.stop().await;
    match &directory {
        Some(directory) => writeln!(
            out,
            "stopped; the same command goes on from {}",
            directory.path().display()
        )?,
        None => writeln!(out, "stopped")?,
    }
    Ok(())
}

/// Waits until the console fails; for ever where there is none.
async fn failed(console: Option<&mut Console>) -> anyhow::Result<()> {
    match console {
        Some(console) => console.failed().await,
        None => std::future::pending().await,
    }
}
