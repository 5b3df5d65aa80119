//! `gridloom sim run` and `gridloom sim replay`: scenarios over seeds, and one seed explained.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use gridloom_nodes::delay::DelayReport;
use gridloom_sim::trial::{Settled, TrialReport, Watch};
use gridloom_sim::{Account, Delays, Trial, TrialError};
use serde::Serialize;

use crate::usage::usage;

/// Seeds of one run.
const SEEDS_MAX: u64 = 100_000;

/// Seeds that fail, of which a run tells.
const FAILURES_SHOWN: usize = 20;

#[derive(clap::Args)]
pub(super) struct Run {
    /// A scenario, such as scenarios/everything.toml
    file: PathBuf,
    /// How many seeds
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Machine-readable
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub(super) struct Replay {
    /// Seed that a failing run printed
    #[arg(long)]
    seed: u64,
    /// Its scenario [default: the lossy feeder]
    #[arg(long)]
    scenario: Option<PathBuf>,
}

/// What a run over seeds came to.
#[derive(Serialize)]
struct Summary<'a> {
    scenario: &'a str,
    first_seed: u64,
    seeds: u64,
    events: u64,
    crashes: u64,
    frames_lost: u64,
    bits_flipped: u64,
    account: Account,
    delays: Delays,
    failures: Vec<Failure>,
    runs: Vec<TrialReport>,
}

#[derive(Serialize)]
struct Failure {
    seed: u64,
    what: String,
}

fn read(file: &PathBuf) -> anyhow::Result<Trial> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("failed to read {}", file.display()))?;
    text.parse()
        .with_context(|| format!("failed to take {}", file.display()))
}

/// Runs one seed in silence: what the nodes log is not what is asked for.
fn run(trial: &Trial, seed: u64, watch: Watch) -> Result<Settled, TrialError> {
    let silence = tracing::subscriber::NoSubscriber::default();
    tracing::subscriber::with_default(silence, || trial.run(seed, watch))
}

impl Run {
    pub(super) fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        if !(1..=SEEDS_MAX).contains(&self.seeds) {
            let refused = anyhow::anyhow!("--seeds {}: give 1 to {SEEDS_MAX}", self.seeds);
            return usage(Err(refused));
        }
        let trial = usage(read(&self.file))?;
        let summary = self.all(&trial);
        if self.json {
            serde_json::to_writer(&mut *out, &summary)?;
            writeln!(out)?;
        } else {
            self.show(&trial, &summary, out)?;
        }
        match summary.failures.len() {
            0 => Ok(()),
            failed => bail!("{failed} of {} seeds failed", self.seeds),
        }
    }

    fn all<'a>(&self, trial: &'a Trial) -> Summary<'a> {
        let mut summary = Summary {
            scenario: &trial.name,
            first_seed: self.seed,
            seeds: self.seeds,
            events: 0,
            crashes: 0,
            frames_lost: 0,
            bits_flipped: 0,
            account: Account::default(),
            delays: Delays::default(),
            failures: Vec::new(),
            runs: Vec::new(),
        };
        let mut delays = DelayReport::default();
        for seed in (self.seed..).take(usize::try_from(self.seeds).unwrap_or(usize::MAX)) {
            match run(trial, seed, Watch::Quiet) {
                Ok(settled) => {
                    let report = settled.report(seed);
                    summary.events += report.counters.events;
                    summary.crashes += report.counters.crashes;
                    summary.frames_lost += report.counters.frames_lost;
                    summary.bits_flipped += report.counters.bits_flipped;
                    summary.account += report.account;
                    delays.merge(&settled.world.delays());
                    if self.json {
                        summary.runs.push(report);
                    }
                }
                Err(error) => summary.failures.push(Failure {
                    seed,
                    what: error.to_string(),
                }),
            }
        }
        summary.delays = Delays::of(&delays);
        summary
    }

    fn show(
        &self,
        trial: &Trial,
        summary: &Summary<'_>,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        writeln!(out, "scenario {}: {}", trial.name, trial.about)?;
        writeln!(
            out,
            "seeds    {} to {}, {} failed",
            self.seed,
            self.seed.saturating_add(self.seeds - 1),
            summary.failures.len()
        )?;
        writeln!(
            out,
            "events   {}, {} crashes, {} frames lost, {} bits flipped",
            summary.events, summary.crashes, summary.frames_lost, summary.bits_flipped
        )?;
        writeln!(out, "account  {}", summary.account)?;
        for (name, delay) in summary.delays.parts() {
            writeln!(
                out,
                "{name:<8} p50 {} ms, p95 {} ms, p99 {} ms, longest {} ms",
                delay.p50_ms, delay.p95_ms, delay.p99_ms, delay.max_ms
            )?;
        }
        for failure in summary.failures.iter().take(FAILURES_SHOWN) {
            writeln!(out, "failed   seed {}: {}", failure.seed, failure.what)?;
            writeln!(
                out,
                "         gridloom sim replay --seed {} --scenario {}",
                failure.seed,
                self.file.display()
            )?;
        }
        Ok(())
    }
}

impl Replay {
    pub(super) fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let trial = match &self.scenario {
            Some(file) => usage(read(file))?,
            None => Trial::lossy_feeder(),
        };
        match run(&trial, self.seed, Watch::Explain) {
            Ok(settled) => {
                writeln!(
                    out,
                    "{}, seed {}: every reading is stored exactly once",
                    trial.name, self.seed
                )?;
                let report = settled.report(self.seed);
                writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
                Ok(())
            }
            Err(error) => {
                for line in error.timeline() {
                    writeln!(out, "{line}")?;
                }
                Err(error).with_context(|| format!("{}, seed {}", trial.name, self.seed))
            }
        }
    }
}
