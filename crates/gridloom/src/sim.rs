//! `gridloom sim`: the same nodes in virtual time, and what the model foretells.

mod attacks;
mod trials;

use std::io::Write;

use anyhow::{Context, ensure};
use gridloom_core::{Currency, Day, Period};
use gridloom_grid::Response;
use gridloom_sim::outcome::Outcome;
use gridloom_sim::planning::Study;
use gridloom_sim::scenario::{ThreeHouses, three_houses};
use gridloom_sim::town;

use crate::config::LoadKind;
use crate::table;

/// Runs the same nodes in virtual time
#[derive(clap::Args)]
pub(crate) struct Sim {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(clap::Subcommand)]
enum Scenario {
    /// Houses, their meters and their utility for some days
    ThreeHouses(Houses),
    /// How many stations an area needs, with its uncertainty over seeds
    Stations(Stations),
    /// What responding to the price does to the peak, over seeds
    DemandResponse(DemandResponse),
    /// Runs a scenario from a file over seeds: faults, then healing, and what must hold in both
    Run(trials::Run),
    /// Replays one seed of a scenario; where it fails, with the last events of the nodes involved
    Replay(trials::Replay),
    /// Attacks a town in every way there is: what was refused, what was found, and how soon
    Attacks(attacks::Attacks),
}

#[derive(clap::Args)]
struct Houses {
    /// Houses behind the collector
    #[arg(long, default_value_t = 3)]
    houses: u32,
    /// Days [default: 30, or 31 for measured homes]
    #[arg(long)]
    days: Option<u32>,
    /// Seed of everything that is drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Capture period in minutes, a divisor of 60
    #[arg(long, default_value_t = 30)]
    period: u32,
    /// First day [default: 2026-04-01, or 2013-01-01 for measured homes]
    #[arg(long)]
    start: Option<String>,
    /// Where the loads come from
    #[arg(long, value_enum, default_value = "household")]
    load: LoadKind,
    /// Let people respond to the price, and compare with a run in which they do not
    #[arg(long)]
    response: bool,
    /// Machine-readable
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Area {
    /// Houses of the area
    #[arg(long, default_value_t = 100)]
    houses: u32,
    /// Days
    #[arg(long, default_value_t = 30)]
    days: u32,
    /// How many seeds
    #[arg(long, default_value_t = 20)]
    seeds: u32,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// Machine-readable
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Stations {
    #[command(flatten)]
    area: Area,
    /// Reserve above the peak, in percent
    #[arg(long, default_value_t = 15)]
    reserve: u16,
}

#[derive(clap::Args)]
struct DemandResponse {
    #[command(flatten)]
    area: Area,
}

impl Sim {
    pub(crate) fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        match self.scenario {
            Scenario::ThreeHouses(houses) => houses.run(out),
            Scenario::Stations(stations) => stations.run(out),
            Scenario::DemandResponse(response) => response.run(out),
            Scenario::Run(run) => run.run(out),
            Scenario::Replay(replay) => replay.run(out),
            Scenario::Attacks(attacks) => attacks.run(out),
        }
    }
}

impl Houses {
    fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let json = self.json;
        let outcome = three_houses(&self.plan()?)?;
        if json {
            serde_json::to_writer(&mut *out, &outcome)?;
            writeln!(out)?;
            return Ok(());
        }
        show(&outcome, out)
    }

    fn plan(self) -> anyhow::Result<ThreeHouses> {
        let base = match self.load {
            LoadKind::Household => ThreeHouses::default(),
            LoadKind::Lcl => ThreeHouses::low_carbon_london(self.seed),
        };
        let start = match self.start {
            Some(text) => Day::parse(&text)
                .with_context(|| format!("--start {text:?}: give a day such as 2026-04-01"))?
                .start(),
            None => base.start,
        };
        let period = self
            .period
            .checked_mul(60)
            .and_then(Period::from_secs)
            .with_context(|| format!("--period {}: give a divisor of 60", self.period))?;
        ensure!(
            self.load == LoadKind::Household || period == Period::HALF_HOUR,
            "--period {}: measured homes have half-hours",
            self.period
        );
        Ok(ThreeHouses {
            houses: self.houses,
            days: self.days.unwrap_or(base.days),
            seed: self.seed,
            period,
            start,
            response: if self.response {
                town::standard_response()
            } else {
                Response::Off
            },
            ..base
        })
    }
}

fn show(outcome: &Outcome, out: &mut impl Write) -> anyhow::Result<()> {
    let kwh = |wh: i64| format!("{}.{:03}", wh / 1_000, wh % 1_000);
    let rows = outcome.houses.iter().map(|house| {
        let gaps = house.interval_wh.iter().filter(|wh| wh.is_none()).count();
        vec![
            house.name.clone(),
            kwh(house.energy_wh),
            gaps.to_string(),
            house.bill.clone(),
            house.meter_bill.clone(),
        ]
    });
    let headings = [
        "house",
        "kWh",
        "gaps",
        &format!("bill {}", outcome.currency),
        "by its meter",
    ];
    writeln!(out, "{}", table::figures(&headings, rows))?;
    for gap in &outcome.gaps {
        writeln!(
            out,
            "gap      house {}: {} intervals from {} to {}",
            gap.house, gap.intervals, gap.from, gap.to
        )?;
    }
    if let Some(peak) = outcome
        .intervals
        .iter()
        .max_by_key(|interval| interval.total_w)
    {
        writeln!(
            out,
            "peak     {} W in the interval ending {}, {} stations",
            peak.total_w, peak.end, peak.stations_on
        )?;
    }
    if let Some(compared) = &outcome.demand_response {
        let percent = |bp: Option<i64>| {
            bp.map_or_else(
                || "—".to_owned(),
                |bp| format!("{:+.2} %", bp as f64 / 100.0),
            )
        };
        let rows = [
            (
                "peak W",
                compared.without.peak_w.to_string(),
                compared.with.peak_w.to_string(),
                compared.peak_change_bp,
            ),
            (
                "energy kWh",
                kwh(compared.without.energy_mwh / 1_000),
                kwh(compared.with.energy_mwh / 1_000),
                compared.energy_change_bp,
            ),
            (
                "cost",
                compared.without.cost.clone(),
                compared.with.cost.clone(),
                compared.cost_change_bp,
            ),
        ]
        .map(|(what, without, with, change)| vec![what.to_owned(), without, with, percent(change)]);
        let headings = ["demand response", "without", "with", "change"];
        writeln!(out, "{}", table::figures(&headings, rows))?;
    }
    Ok(())
}

impl Area {
    fn study(&self) -> Study {
        Study {
            first_seed: self.first_seed,
            seeds: self.seeds,
            houses: self.houses,
            first_day: Day::from_ymd(2026, 1, 1).expect("a date"),
            days: self.days,
            period: Period::HALF_HOUR,
            currency: Currency::new("EUR", 2).expect("a currency"),
        }
    }
}

impl Stations {
    fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        ensure!(
            self.reserve <= 200,
            "--reserve {}: give 0 to 200 percent",
            self.reserve
        );
        let forecast = self.area.study().stations(self.reserve * 10)?;
        print(&forecast, self.area.json, out)
    }
}

impl DemandResponse {
    fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let study = self
            .area
            .study()
            .demand_response(town::standard_response())?;
        print(&study, self.area.json, out)
    }
}

fn print(
    result: &(impl serde::Serialize + std::fmt::Display),
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    if json {
        serde_json::to_writer(&mut *out, result)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{result}")?;
    }
    Ok(())
}
