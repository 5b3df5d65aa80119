//! `gridloom emulate attacker`: hostile peers for a gateway, a line or a tier's port.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::ValueEnum;
use gridloom_core::{MeterId, Period, Seed, SystemTitle};
use gridloom_dlms::security::Keys;
use gridloom_field::attack::{
    Attack, AttackLog, AttackRecord, Deed, Excess, Identity, Insider, InsiderPlan, Kind, Lie,
    Meddling, Middle, Outsider, OutsiderPlan, Window,
};
use gridloom_host::{Clock, DialAddress, Framing, ListenOptions, Listener, Net, NodeIndex, Runner};
use gridloom_nodes::AttackerNode;
use gridloom_nodes::attacker::{Intruder, IntruderPlan, IntruderRole, LineCounters, Target};

use super::pcapng::CaptureFile;
use crate::hex;
use crate::signals::stop_asked;
use crate::table;
use crate::usage::usage;

/// How often the capture file gets what was sent, and the end is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Frames kept between two looks; more are missing in the capture file, which is said.
const KEPT_MAX: usize = 50_000;

/// The longest attack.
const SECONDS_MAX: u32 = 3_600;

/// The most frames per second.
const RATE_MAX: u32 = 100_000;

const ATTACKER: NodeIndex = NodeIndex(0);

/// What a meter of the attacker's says instead of the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FalseWord {
    /// 40 % of the energy, and a register that agrees
    Share,
    /// 40 % of the energy under an honest register
    Scaled,
    /// A register set back by 2 kWh
    Rollback,
}

/// Which tier an intruder pretends to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Tier {
    /// A gateway, to an edge
    Gateway,
    /// An edge, to a utility
    Edge,
}

/// A hostile peer, against your own system only
#[derive(clap::Args)]
pub(crate) struct EmulatedAttacker {
    /// What it does
    #[arg(value_parser = kind)]
    kind: Kind,
    /// Whom it attacks: a gateway; of an intruder, an edge or a utility
    #[arg(long, value_name = "HOST:PORT")]
    target: String,
    /// Address that meters take for their gateway: it stands between them and the target
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<String>,
    /// Connections of its own [default: 1; 8 of a flood, 64 of a slowloris]
    #[arg(long)]
    lines: Option<usize>,
    /// Frames per second
    #[arg(long, default_value_t = 10)]
    rate: u32,
    /// Frames in all
    #[arg(long, default_value_t = 100_000)]
    frames: u64,
    /// Seconds
    #[arg(long, default_value_t = 10)]
    duration: u32,
    /// Seed of everything that it draws
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// System title that it knows or has, 16 hexadecimal digits; may be given again
    #[arg(long, value_name = "HEX")]
    title: Vec<String>,
    /// The first title's encryption key, 32 hexadecimal digits
    #[arg(long, value_name = "HEX", requires = "ak")]
    ek: Option<String>,
    /// The first title's authentication key, 32 hexadecimal digits
    #[arg(long, value_name = "HEX", requires = "ek")]
    ak: Option<String>,
    /// The last invocation counter that the first title used
    #[arg(long, default_value_t = 0)]
    counter: u32,
    /// Capture period in minutes
    #[arg(long, default_value_t = 15)]
    period: u32,
    /// What a false meter says on the line that it listens for
    #[arg(long, value_enum, default_value_t = FalseWord::Share)]
    lie: FalseWord,
    /// What an intruder pretends to be
    #[arg(long = "as", value_enum, default_value_t = Tier::Gateway)]
    role: Tier,
    /// Write what it sent and heard, for a packet analyser
    #[arg(long, value_name = "FILE.pcapng")]
    capture: Option<PathBuf>,
    /// Write what it did to each frame, one JSON object per line
    #[arg(long, value_name = "FILE.jsonl")]
    record: Option<PathBuf>,
    /// Allow a target or a listener beyond this machine
    #[arg(long)]
    allow_remote: bool,
    /// Print what it did as JSON
    #[arg(long)]
    json: bool,
}

fn kind(text: &str) -> Result<Kind, String> {
    Kind::ALL
        .into_iter()
        .find(|kind| kind.name() == text)
        .ok_or_else(|| {
            let names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
            format!("give one of {}", names.join(", "))
        })
}

/// What it did, copied from the node.
struct Done {
    counters: LineCounters,
    log: AttackLog,
    missing: u64,
}

impl EmulatedAttacker {
    pub(crate) async fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let attack = usage(self.attack())?;
        let listener = match &self.listen {
            Some(listen) => Some(Listener::bind("--listen", listen).await?),
            None => None,
        };
        let mut capture = match &self.capture {
            Some(path) => {
                let file = File::create(path)
                    .with_context(|| format!("--capture {} cannot be written", path.display()))?;
                Some(CaptureFile::begin(BufWriter::new(file))?)
            }
            None => None,
        };
        let target = Target {
            address: self.target.clone(),
            lines: self.lines(),
        };
        let mut node = AttackerNode::dialling(attack, target);
        if capture.is_some() {
            node.keep_traffic(KEPT_MAX);
        }
        let net = Net::new(Clock::realtime(), gridloom_host::entropy::seed()?);
        let mut runner = Runner::new(net);
        let index = runner.add("attacker", node);
        debug_assert_eq!(index, ATTACKER);
        if let Some(listener) = listener {
            if !self.json {
                writeln!(out, "listening on {}", listener.address())?;
                out.flush()?;
            }
            runner.listen(index, listener, ListenOptions::new(Framing::Bytes));
        }
        let running = runner.start();
        let handle = running.handle();
        let end = tokio::time::sleep(Duration::from_secs(self.duration.into()));
        tokio::pin!(end);
        let stop = stop_asked();
        tokio::pin!(stop);
        let mut missing = 0;
        let mut is_over = false;
        while !is_over {
            tokio::select! {
                () = &mut end => is_over = true,
                result = &mut stop => {
                    result?;
                    is_over = true;
                }
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let (traffic, lost) = handle.call(ATTACKER, |node, _| node.take_traffic()).await?;
            missing += lost;
            if let Some(capture) = &mut capture {
                for frame in &traffic {
                    capture.put(frame)?;
                }
            }
        }
        if let Some(capture) = capture {
            capture.end()?;
        }
        let (counters, log) = handle
            .call(ATTACKER, |node, _| (node.counters(), node.log().clone()))
            .await?;
        drop(handle);
        running.stop().await;
        let done = Done {
            counters,
            log,
            missing,
        };
        self.write_records(done.log.records())?;
        if self.json {
            writeln!(out, "{}", self.as_json(&done))?;
            Ok(())
        } else {
            self.show(&done, out)
        }
    }

    fn lines(&self) -> usize {
        // Whoever stands on the path only needs no line of its own.
        let on_path = matches!(self.kind, Kind::Eavesdrop | Kind::Tamper | Kind::Gateway)
            || (self.listen.is_some() && matches!(self.kind, Kind::Inject | Kind::Replay));
        let default = if on_path {
            0
        } else if self.kind == Kind::Flood {
            8
        } else if self.kind == Kind::Slowloris {
            64
        } else {
            1
        };
        self.lines.unwrap_or(default)
    }

    /// The machine, or what was given wrongly.
    fn attack(&self) -> anyhow::Result<Box<dyn Attack>> {
        self.check()?;
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
        let victims = self
            .title
            .iter()
            .map(|text| hex::title("--title", text))
            .collect::<anyhow::Result<Vec<SystemTitle>>>()?;
        let gap = Duration::from_secs(1) / self.rate;
        let (seed, window) = (Seed::new(self.seed), Window::ALWAYS);
        let middle = |meddling| -> anyhow::Result<Box<dyn Attack>> {
            ensure!(
                self.listen.is_some(),
                "{} stands on the path: give --listen IP:PORT, and let meters connect there",
                self.kind
            );
            Ok(Box::new(Middle::new(self.kind, meddling, window, seed)))
        };
        let insider = |lie, excess| -> anyhow::Result<Box<dyn Attack>> {
            Ok(Box::new(Insider::new(InsiderPlan {
                kind: self.kind,
                identity: self.identity(&victims)?,
                period,
                lie,
                excess,
                gap,
                window,
                seed,
            })))
        };
        match self.kind {
            Kind::Eavesdrop => middle(Meddling::LISTEN),
            Kind::Tamper => middle(Meddling::TAMPER),
            Kind::Gateway => middle(Meddling::GATEWAY),
            Kind::Replay if self.lines() == 0 => middle(Meddling::REPLAY),
            Kind::Inject if self.listen.is_some() => {
                let lie = match self.lie {
                    FalseWord::Share => Lie::Share { permille: 400 },
                    FalseWord::Scaled => Lie::Scaled { permille: 400 },
                    FalseWord::Rollback => Lie::Rollback { watt_hours: 2_000 },
                };
                insider(Some(lie), Excess::None)
            }
            Kind::Inject | Kind::FloodInside => insider(None, Excess::Pushes),
            Kind::Insider => insider(None, Excess::Requests),
            Kind::Intruder => Ok(Box::new(Intruder::new(IntruderPlan {
                role: match self.role {
                    Tier::Gateway => IntruderRole::Gateway,
                    Tier::Edge => IntruderRole::Edge,
                },
                victims: (1..).map(MeterId).zip(victims).collect(),
                period,
                is_framed: true,
                gap: gap.max(Intruder::GAP_MIN),
                messages_max: self.frames,
                window,
                seed,
            }))),
            Kind::Replay
            | Kind::Spoof
            | Kind::Clone
            | Kind::Flood
            | Kind::Slowloris
            | Kind::Malformed
            | Kind::KeyGuess => {
                if self.kind == Kind::Replay {
                    ensure!(
                        self.listen.is_some(),
                        "replay sends what it overheard: give --listen IP:PORT, and let meters \
                         connect there"
                    );
                }
                let cloned = if self.kind == Kind::Clone {
                    Some(self.identity(&victims)?)
                } else {
                    None
                };
                Ok(Box::new(Outsider::new(OutsiderPlan {
                    kind: self.kind,
                    victims,
                    cloned,
                    period,
                    gap,
                    frames_max: self.frames,
                    window,
                    seed,
                })))
            }
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(
            (1..=RATE_MAX).contains(&self.rate),
            "--rate {}: give 1 to {RATE_MAX} frames per second",
            self.rate
        );
        ensure!(
            (1..=SECONDS_MAX).contains(&self.duration),
            "--duration {}: give 1 to {SECONDS_MAX} seconds",
            self.duration
        );
        ensure!(
            self.lines() <= AttackerNode::LINES_MAX,
            "--lines {}: give up to {}",
            self.lines(),
            AttackerNode::LINES_MAX
        );
        DialAddress::parse("--target", &self.target)?;
        for (name, address) in [
            ("--target", Some(&self.target)),
            ("--listen", self.listen.as_ref()),
        ] {
            let Some(address) = address else { continue };
            ensure!(
                self.allow_remote || is_loopback(address),
                "{name} {address} is not on this machine: attack only what is yours, and then with \
                 --allow-remote"
            );
        }
        Ok(())
    }

    fn identity(&self, victims: &[SystemTitle]) -> anyhow::Result<Identity> {
        let (Some(ek), Some(ak), Some(title)) = (&self.ek, &self.ak, victims.first()) else {
            anyhow::bail!(
                "{} has a meter's keys: give --title, --ek and --ak",
                self.kind
            );
        };
        Ok(Identity {
            title: *title,
            keys: Keys::new(hex::key("--ek", ek)?, hex::key("--ak", ak)?),
            counter: self.counter,
        })
    }

    fn write_records(&self, records: &[AttackRecord]) -> anyhow::Result<()> {
        let Some(path) = &self.record else {
            return Ok(());
        };
        let context = || format!("--record {} cannot be written", path.display());
        let mut file = BufWriter::new(File::create(path).with_context(context)?);
        for record in records {
            let line = serde_json::json!({
                "time": record.time.to_string(),
                "kind": record.kind.name(),
                "victim": record.victim.map(|title| title.to_string()),
                "deed": record.deed.name(),
                "bytes": record.digest.bytes,
                "crc32": format!("{:08X}", record.digest.crc32),
            });
            writeln!(file, "{line}").with_context(context)?;
        }
        file.flush().with_context(context)
    }

    fn as_json(&self, done: &Done) -> serde_json::Value {
        let deeds: serde_json::Map<String, serde_json::Value> = Deed::ALL
            .into_iter()
            .map(|deed| (deed.name().to_owned(), done.log.count(deed).into()))
            .collect();
        serde_json::json!({
            "kind": self.kind.name(),
            "target": self.target,
            "deeds": deeds,
            "bytes": done.log.bytes(),
            "lines": {
                "opened": done.counters.opened,
                "refused": done.counters.refused,
                "closed": done.counters.closed,
            },
            "answers": done.counters.answers,
            "stranded": done.counters.stranded,
            "not_captured": done.missing,
        })
    }

    fn show(&self, done: &Done, out: &mut impl Write) -> anyhow::Result<()> {
        writeln!(out, "{} against {}", self.kind, self.target)?;
        let deeds = Deed::ALL
            .into_iter()
            .map(|deed| (format!("frames {}", deed.name()), done.log.count(deed)));
        let counters = done.counters;
        let rest = [
            ("bytes".to_owned(), done.log.bytes()),
            ("lines opened".to_owned(), counters.opened),
            ("lines refused".to_owned(), counters.refused),
            ("lines closed by the other side".to_owned(), counters.closed),
            ("answers".to_owned(), counters.answers),
            ("frames without a line".to_owned(), counters.stranded),
            ("frames missing in the capture".to_owned(), done.missing),
        ];
        let rows = deeds
            .chain(rest)
            .filter(|(_, count)| *count > 0)
            .map(|(what, count)| vec![what, count.to_string()]);
        writeln!(out, "{}", table::figures(&["what it did", ""], rows))?;
        Ok(())
    }
}

/// Whether an address names this machine without a look at any name server.
fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|it| it.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        let cases = [
            ("127.0.0.1:4059", true),
            ("127.9.9.9:1", true),
            ("[::1]:4059", true),
            ("localhost:4059", true),
            ("0.0.0.0:4059", false),
            ("192.168.1.9:4059", false),
            ("localhost.example.org:4059", false),
            ("127.0.0.1.example.org:1", false),
            ("[::]:4059", false),
        ];
        for (address, expected) in cases {
            assert_eq!(is_loopback(address), expected, "{address}");
        }
    }
}
