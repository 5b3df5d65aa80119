//! `gridloom sim attacks`: every assault over seeds, as a table.

use std::io::Write;

use anyhow::{Context, ensure};
use gridloom_sim::assault::{Assault, AttackRow, AttackStudy, Refusal};

use crate::table;
use crate::usage::usage;

/// Seeds of one study.
const SEEDS_MAX: u64 = 100_000;

/// Reasons shown of one assault.
const REASONS_SHOWN: usize = 3;

#[derive(clap::Args)]
pub(super) struct Attacks {
    /// How many seeds
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// Only this assault; may be given again
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Machine-readable
    #[arg(long)]
    json: bool,
}

impl Attacks {
    pub(super) fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let assaults = usage(self.assaults())?;
        // What the edges of all these towns have to say is in the table.
        let silence = tracing::subscriber::NoSubscriber::default();
        let study = tracing::subscriber::with_default(silence, || {
            AttackStudy::run(&assaults, self.first_seed, self.seeds)
        })?;
        if self.json {
            serde_json::to_writer(&mut *out, &study)?;
            writeln!(out)?;
            return Ok(());
        }
        let headings = [
            "assault", "by", "frames", "refused", "held", "honest %", "found %", "median",
            "latest", "named", "false",
        ];
        writeln!(
            out,
            "{}",
            table::figures(&headings, study.rows.iter().map(figures))
        )?;
        for row in &study.rows {
            let reasons: Vec<String> = row.reasons.iter().take(REASONS_SHOWN).map(reason).collect();
            let reasons = if reasons.is_empty() {
                String::new()
            } else {
                format!(" ({})", reasons.join(", "))
            };
            writeln!(out, "{:<15} {}{reasons}", row.assault, row.words)?;
        }
        writeln!(
            out,
            "\nSeeds {} to {}. Nothing that an outsider or a gateway altered is stored, every \
             honest\nreading is, and every frame that came to an edge is accounted for; a run in \
             which\nthat does not hold ends this command.",
            study.first_seed,
            study.first_seed + study.seeds - 1
        )?;
        Ok(())
    }

    fn assaults(&self) -> anyhow::Result<Vec<Assault>> {
        ensure!(
            (1..=SEEDS_MAX).contains(&self.seeds),
            "--seeds {}: give 1 to {SEEDS_MAX}",
            self.seeds
        );
        ensure!(
            self.first_seed.checked_add(self.seeds).is_some(),
            "--first-seed {}: there are not {} seeds from there on",
            self.first_seed,
            self.seeds
        );
        if self.only.is_empty() {
            return Ok(Assault::ALL.to_vec());
        }
        self.only
            .iter()
            .map(|name| {
                Assault::parse(name).with_context(|| {
                    let names: Vec<_> = Assault::ALL.iter().map(|it| it.name()).collect();
                    format!("--only {name:?}: give one of {}", names.join(", "))
                })
            })
            .collect()
    }
}

fn figures(row: &AttackRow) -> Vec<String> {
    let deeds = &row.deeds;
    let percent = |bp: u64| format!("{}.{:02}", bp / 100, bp % 100);
    let seconds = |value: Option<u64>| value.map_or_else(|| "—".to_owned(), |s| format!("{s} s"));
    vec![
        row.assault.to_owned(),
        row.class.to_owned(),
        (deeds.hostile() + deeds.withheld + deeds.delayed).to_string(),
        (row.dropped + row.strayed).to_string(),
        row.quarantined.to_string(),
        percent(row.honest_in_time_bp),
        percent(row.detected_bp),
        seconds(row.after_s_median),
        seconds(row.after_s_max),
        match row.named {
            0 => "—".to_owned(),
            named => format!("{}/{named}", row.named_right),
        },
        row.false_alarms.to_string(),
    ]
}

fn reason(refusal: &Refusal) -> String {
    format!("{} {}", refusal.packets, refusal.reason)
}
