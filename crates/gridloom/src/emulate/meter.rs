//! `gridloom emulate meter`: meters for other people's head-ends.

use std::collections::{BTreeMap, VecDeque};
use std::io::{IsTerminal, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use gridloom_core::{Currency, Now, Period, Seed, SystemTitle, UtcTime};
use gridloom_dlms::security::{Keys, SecuritySuite, SymmetricKey};
use gridloom_field::meter::{Boot, Meter, Output};
use gridloom_field::{Client, Line, PushReach, Reach};
use gridloom_host::dlms::{MeterListenOptions, MeterListener, MeterWire, SERVERS_MAX};
use gridloom_host::{
    CellDisk, Clock, DataDirectory, DialAddress, DialOptions, Disk, DiskParts, Framing, Net,
    Runner, Speed,
};
use gridloom_nodes::MeterNode;
use gridloom_sim::town::{Homes, Town, TownPlan};
use indicatif::{ProgressBar, ProgressStyle};

use super::fleet::{Fleet, cell_name};
use super::kept::Kept;
use super::security::{MeterSecurity, SecurityOptions};
use crate::hex;
use crate::signals::stop_asked;
use crate::table::listing;
use crate::transport::Transport;
use crate::usage::usage;

/// The keys of the standard's own examples: everybody knows them.
const PUBLISHED_EK: &str = "000102030405060708090A0B0C0D0E0F";
const PUBLISHED_AK: &str = "D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF";
/// In suite 2.
const PUBLISHED_LONG_EK: &str = "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F";
const PUBLISHED_LONG_AK: &str = "D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDFE0E1E2E3E4E5E6E7E8E9EAEBECEDEEEF";
const PUBLISHED_PASSWORD: &str = "12345678";

/// Rows of the printed table; of more meters the first and the last are shown.
const ROWS_MAX: u32 = 20;

/// Days of profile that can be filled before the start: what a meter keeps.
const DAYS_MAX: u32 = 35;

/// Meters that clients connect to
#[derive(clap::Args)]
pub(crate) struct EmulatedMeters {
    /// Address to listen on; port 0 takes any free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:4059")]
    listen: String,
    /// How frames lie on the wire
    #[arg(long, value_enum, default_value_t = Transport::Wrapper)]
    transport: Transport,
    /// Serial device to answer on with HDLC, instead of listening
    #[arg(long, value_name = "DEVICE", conflicts_with_all = ["listen", "transport"])]
    serial: Option<PathBuf>,
    /// Its speed, in bits per second
    #[arg(long, value_name = "N", default_value_t = 9_600, requires = "serial")]
    baud: u32,
    /// Number of meters: server 1 to N
    #[arg(long, default_value_t = 1)]
    meters: u32,
    /// System title of the first meter, 16 hexadecimal digits; the next ones count on
    #[arg(long, value_name = "HEX")]
    title: Option<String>,
    /// Global unicast encryption key of every meter, 32 hexadecimal digits; 64 in suite 2
    #[arg(long, value_name = "HEX", requires = "ak")]
    ek: Option<String>,
    /// Authentication key of every meter, of the same length
    #[arg(long, value_name = "HEX", requires = "ek")]
    ak: Option<String>,
    /// Password of client 17
    #[arg(long, value_name = "TEXT")]
    llspassword: Option<String>,
    #[command(flatten)]
    security: SecurityOptions,
    /// Seed of the households
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Capture period in minutes
    #[arg(long, default_value_t = 15)]
    period: u32,
    /// Days of profile that are there at the start
    #[arg(long, default_value_t = 1)]
    days: u32,
    /// Gateway that the meters push to, too, or two with a comma: the second while the first is
    /// away; they report to the edge that --edge-title names
    #[arg(
        long,
        value_name = "HOST:PORT",
        requires = "edge_title",
        value_delimiter = ','
    )]
    push_to: Vec<String>,
    /// System title of that edge, as `gridloom serve` prints it, 16 hexadecimal digits; two with a
    /// comma where the gateways have a backup edge
    #[arg(long, value_name = "HEX", requires = "push_to", value_delimiter = ',')]
    edge_title: Vec<String>,
    /// Directory to keep the meters' memory in; without it, it is lost at the end
    #[arg(long)]
    data: Option<PathBuf>,
    /// How many times faster than the wall the meters' time runs
    #[arg(long, default_value = "1")]
    speed: String,
    /// Let clients have meters push to other machines than this one
    #[arg(long)]
    allow_remote: bool,
    /// Print what is served as JSON
    #[arg(long)]
    json: bool,
}

struct Plan {
    town: Town,
    titles: Vec<SystemTitle>,
    security: MeterSecurity,
    edge: Option<Edge>,
    clock: Clock,
    /// When the first profiles begin.
    from: UtcTime,
}

/// Whom the meters push to.
struct Edge {
    title: SystemTitle,
    backup_title: Option<SystemTitle>,
    gateway: DialAddress,
    alternate: Option<DialAddress>,
}

/// A meter with an alternate gateway gives one up that confirms nothing for so long.
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// One or two of what an option names.
fn one_or_two<'a, T>(
    option: &str,
    texts: &'a [String],
    read: impl Fn(&'a str) -> anyhow::Result<T>,
) -> anyhow::Result<Option<(T, Option<T>)>> {
    ensure!(
        texts.len() <= 2,
        "{option} names {}; give one, or the primary and the backup",
        texts.len()
    );
    let mut read = texts.iter().map(|text| read(text));
    let first = read.next().transpose()?;
    let second = read.next().transpose()?;
    Ok(first.map(|first| (first, second)))
}

/// Meters that start together dial over this time.
const FIRST_DIAL_WITHIN: Duration = Duration::from_millis(500);

impl EmulatedMeters {
    pub(crate) async fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let mut listener = self.listener().await?;
        let reach = self.reach(listener.address());
        let address = match (&self.serial, listener.address()) {
            (Some(device), _) => device.display().to_string(),
            (None, address) => address.context("a socket has an address")?.to_string(),
        };
        let plan = usage(self.plan())?;
        let net = Net::new(plan.clock.clone(), gridloom_host::entropy::seed()?);
        let directory = match &self.data {
            Some(path) => Some(DataDirectory::open("--data", path)?),
            None => None,
        };
        if let Some(directory) = &directory {
            self.kept(&plan)?.settle(directory.path())?;
        }
        let mut cells = directory.as_ref().map(CellDisk::open).transpose()?;
        let mut runner = Runner::new(net);
        let bar = progress(plan.titles.len());
        for (index, house) in plan.town.houses().iter().enumerate() {
            let name = cell_name(house.meter());
            let memory = match &cells {
                Some(cells) => cells.all_of(&name)?,
                None => BTreeMap::new(),
            };
            let mut config = house.config().clone();
            config.title = plan.titles[index];
            if let Some(edge) = &plan.edge {
                config.edge_title = edge.title;
                config.backup_edge_title = edge.backup_title;
            }
            config.reach = reach;
            let password = self.llspassword.as_deref().unwrap_or(PUBLISHED_PASSWORD);
            config.access = plan
                .security
                .access()
                .with_password(Client::Reader, password.as_bytes());
            let now = plan.clock.now();
            let is_new = memory.is_empty();
            let start = if is_new {
                Now {
                    utc: plan.from,
                    ..now
                }
            } else {
                now
            };
            let mut meter = Meter::start(config, house.load(), &memory, Boot::Reset, start)
                .with_context(|| format!("meter {} cannot start", index + 1))?;
            meter.set_entropy(Box::new(|bytes| {
                gridloom_host::entropy::fill(bytes).expect("the system gave entropy at the start");
            }));
            let mut written = BTreeMap::new();
            if is_new {
                catch_up(&mut meter, plan.clock.now(), &mut written);
            }
            let mut node = Kept::new(MeterNode::new(meter), cells.is_none());
            // One line leads to all meters: it is as the first one is set.
            if index == 0 && reach.line == Line::Hdlc {
                listener.set_line(node.line());
            }
            let number = runner.add(&name, node);
            if let Some(edge) = &plan.edge {
                let options = DialOptions {
                    first_within: FIRST_DIAL_WITHIN,
                    silence_max: edge.alternate.as_ref().map(|_| SILENCE_MAX),
                    ..DialOptions::new(Framing::DlmsWrapper)
                };
                runner.dial(number, edge.gateway.clone(), options);
                if let Some(alternate) = &edge.alternate {
                    runner.dial_backup(number, alternate.clone(), options);
                }
            }
            if let Some(cells) = &mut cells {
                cells.install(&name, &written)?;
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        let disk = match cells {
            Some(cells) => {
                let disk = Disk::start(
                    "meters",
                    DiskParts {
                        cells: Some(cells),
                        ..DiskParts::default()
                    },
                )?;
                runner.disk(disk.handle());
                Some(disk)
            }
            None => None,
        };
        runner.listen_for_clients(listener, MeterListenOptions::default());
        let running = runner.start();
        self.announce(&address, &plan, out)?;
        out.flush()?;
        stop_asked().await?;
        running.stop().await;
        if let Some(disk) = disk {
            disk.close();
        }
        Ok(())
    }

    /// The meters' own connection, as they show it and may use it.
    fn reach(&self, address: Option<SocketAddr>) -> Reach {
        Reach {
            port: address.map(|address| address.port()),
            address: address.and_then(|address| match address.ip() {
                IpAddr::V4(ip) => Some(ip),
                IpAddr::V6(_) => None,
            }),
            line: match self.transport {
                // A serial line stands for ever: nothing is agreed to again.
                Transport::Hdlc if self.serial.is_none() => Line::Hdlc,
                Transport::Hdlc | Transport::Wrapper | Transport::Udp => Line::Wrapper,
            },
            pushes: if self.allow_remote {
                PushReach::Anywhere
            } else {
                PushReach::Loopback
            },
        }
    }

    async fn listener(&self) -> anyhow::Result<MeterListener> {
        if let Some(device) = &self.serial {
            return Ok(MeterListener::serial(device.clone(), self.baud)?);
        }
        let (key, text) = ("--listen", &self.listen);
        Ok(match self.transport {
            Transport::Wrapper => MeterListener::tcp(key, text, MeterWire::Wrapper).await?,
            Transport::Hdlc => MeterListener::tcp(key, text, MeterWire::Hdlc).await?,
            Transport::Udp => MeterListener::udp(key, text).await?,
        })
    }

    /// How frames lie on the wire, as `--json` says it.
    const fn transport_name(&self) -> &'static str {
        if self.serial.is_some() {
            return "hdlc-serial";
        }
        match self.transport {
            Transport::Wrapper => "wrapper",
            Transport::Hdlc => "hdlc",
            Transport::Udp => "udp",
        }
    }

    fn plan(&self) -> anyhow::Result<Plan> {
        ensure!(
            (1..=u32::from(SERVERS_MAX)).contains(&self.meters),
            "--meters {}: give 1 to {SERVERS_MAX}",
            self.meters
        );
        ensure!(
            self.days <= DAYS_MAX,
            "--days {}: a meter keeps {DAYS_MAX} days; give 0 to {DAYS_MAX}",
            self.days
        );
        let period = self
            .period
            .checked_mul(60)
            .and_then(Period::from_secs)
            .with_context(|| {
                format!(
                    "--period {}: give minutes that divide a day, such as 15, 30 or 60",
                    self.period
                )
            })?;
        let given = self.ek.as_ref().map(|ek| ek.len() / 2);
        let suite = self.security.suite(given);
        let (ek, ak) = match (&self.ek, &self.ak) {
            (Some(ek), Some(ak)) => (ek.as_str(), ak.as_str()),
            (_, _) => published_keys(suite),
        };
        let key = |name: &str, text: &str| -> anyhow::Result<SymmetricKey> {
            SymmetricKey::from_bytes(&hex::bytes(name, text)?).with_context(|| name.to_owned())
        };
        let keys = Keys::pair(key("--ek", ek)?, key("--ak", ak)?).context("--ek and --ak")?;
        let security = self.security.plan(suite, &keys)?;
        let first = match &self.title {
            Some(text) => hex::title("--title", text)?,
            None => SystemTitle::new(*b"GLM", 1),
        };
        let base = u64::from_be_bytes(first.0);
        let titles = (0..u64::from(self.meters))
            .map(|number| {
                base.checked_add(number)
                    .map(|title| SystemTitle(title.to_be_bytes()))
            })
            .collect::<Option<Vec<_>>>()
            .with_context(|| {
                format!(
                    "--title {first}: there are not {} titles from there on",
                    self.meters
                )
            })?;
        let gateways = one_or_two("--push-to", &self.push_to, |text| {
            Ok(DialAddress::parse("--push-to", text)?)
        })?;
        let edges = one_or_two("--edge-title", &self.edge_title, |text| {
            hex::title("--edge-title", text)
        })?;
        let edge = gateways
            .zip(edges)
            .map(|((gateway, alternate), (title, backup_title))| Edge {
                title,
                backup_title,
                gateway,
                alternate,
            });
        let speed: Speed = self.speed.parse().context("--speed")?;
        let clock = if speed == Speed::REAL {
            Clock::realtime()
        } else {
            Clock::accelerated(Clock::realtime().now().utc, speed)
        };
        let now = clock.now().utc;
        let filled = Duration::from_secs(86_400 * u64::from(self.days));
        // The start of an interval that is over or runs: a meter cannot begin in the future.
        let from = period.end_of_interval_at(now) - period.duration() - filled;
        let town = Town::new(
            TownPlan {
                seed: Seed::new(self.seed),
                period,
                start: from,
                currency: Currency::new("EUR", 2).context("the currency of the meters")?,
                homes: Homes::Households {
                    count: self.meters,
                    response: gridloom_grid::Response::Off,
                },
            },
            |_| keys.clone(),
        )?;
        Ok(Plan {
            town,
            titles,
            security,
            edge,
            clock,
            from,
        })
    }

    /// What the memory of these meters belongs to.
    fn kept(&self, plan: &Plan) -> anyhow::Result<Fleet> {
        let first = plan.titles.first().context("there is a first meter")?;
        Ok(Fleet {
            meters: self.meters,
            first_title: first.to_string(),
            period_seconds: plan.town.plan().period.as_secs(),
            seed: self.seed,
        })
    }

    fn announce(&self, address: &str, plan: &Plan, out: &mut impl Write) -> anyhow::Result<()> {
        let published = self.ek.is_none() && self.llspassword.is_none();
        let security = &plan.security;
        let (published_ek, published_ak) = published_keys(security.suite);
        let transport = match self.transport {
            Transport::Wrapper => "",
            Transport::Hdlc => " --transport hdlc",
            Transport::Udp => " --transport udp",
        };
        if self.json {
            let meters: Vec<_> = plan
                .titles
                .iter()
                .zip(plan.town.houses())
                .zip(1..)
                .map(|((title, house), server)| {
                    serde_json::json!({
                        "server": server, "title": title.to_string(), "house": house.name(),
                    })
                })
                .collect();
            let served = serde_json::json!({
                "address": address,
                "transport": self.transport_name(),
                "durable": self.data.is_some(),
                "suite": security.suite.code(),
                "mechanism": security.auth(),
                "public_keys": security.public_keys().into_iter().collect::<BTreeMap<_, _>>(),
                "meters": meters,
            });
            writeln!(out, "{served}")?;
            return Ok(());
        }
        let shown = plan
            .titles
            .iter()
            .zip(plan.town.houses())
            .zip(1_u32..)
            .filter(|(_, server)| {
                self.meters <= ROWS_MAX || *server < ROWS_MAX || *server == self.meters
            })
            .map(|((title, house), server)| {
                vec![
                    server.to_string(),
                    title.to_string(),
                    house.name().to_owned(),
                ]
            });
        writeln!(out, "listening on {address}")?;
        writeln!(
            out,
            "{}",
            listing(&["Server", "System title", "House"], &[0], shown)
        )?;
        writeln!(
            out,
            "clients      16 public, 17 reader (password, or keys), 1 management (keys, HLS {}), \
             suite {}",
            security.hls(),
            security.suite,
        )?;
        for (what, key) in security.public_keys() {
            writeln!(out, "public key   {what} {key}")?;
        }
        if let Some(options) = security.published_client()? {
            writeln!(out, "client pairs {options}")?;
        }
        if published {
            writeln!(
                out,
                "published    --ek {published_ek} --ak {published_ak} --password {PUBLISHED_PASSWORD}\n\
                 \x20            Everybody knows these: for trying only."
            )?;
        }
        if let Some(edge) = &plan.edge {
            writeln!(
                out,
                "push to      {}, for the edge {}",
                edge.gateway, edge.title
            )?;
        }
        if self.data.is_none() {
            writeln!(
                out,
                "memory       in this process only; --data DIR keeps it"
            )?;
        }
        let secret = if published { PUBLISHED_PASSWORD } else { "…" };
        let (ek, ak) = if published {
            (published_ek, published_ak)
        } else {
            ("…", "…")
        };
        let client = security.client_options()?;
        let serial = match self.serial {
            Some(_) => "--serial ",
            None => "",
        };
        writeln!(
            out,
            "read it      gridloom read {serial}{address}{transport} --obis 0.0.42.0.0.255\n\
             \x20            gridloom read {serial}{address}{transport} --client 17 --auth lls --password {secret} --browse\n\
             \x20            gridloom read {serial}{address}{transport} --client 1 {client} --ek {ek} --ak {ak} --obis 1.0.99.1.0.255"
        )?;
        Ok(())
    }
}

/// The keys that everybody knows, in a suite.
const fn published_keys(suite: SecuritySuite) -> (&'static str, &'static str) {
    match suite {
        SecuritySuite::Suite0 | SecuritySuite::Suite1 => (PUBLISHED_EK, PUBLISHED_AK),
        SecuritySuite::Suite2 => (PUBLISHED_LONG_EK, PUBLISHED_LONG_AK),
    }
}

fn progress(meters: usize) -> ProgressBar {
    if meters < 2 || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("filling profiles {bar:40} {pos}/{len}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(meters as u64).with_style(style)
}

/// Lets a meter that was installed in the past live until `now`. What it wants remembered is
/// durable at once, in `written`.
fn catch_up(meter: &mut Meter, now: Now, written: &mut BTreeMap<&'static str, Vec<u8>>) {
    let mut tickets = VecDeque::new();
    loop {
        while let Some(output) = meter.poll_output() {
            if let Output::Remember {
                ticket,
                cell,
                bytes,
            } = output
            {
                written.insert(cell, bytes);
                tickets.push_back(ticket);
            }
        }
        if let Some(ticket) = tickets.pop_front() {
            meter.handle_remembered(ticket, Ok(()), now);
        } else if meter.wake().is_due(now) {
            meter.handle_timeout(now);
        } else {
            return;
        }
    }
}
