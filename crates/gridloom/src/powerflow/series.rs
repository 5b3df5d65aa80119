//! A feeder over time: loads from a table or from the circuit's own shapes, each step solved from
//! the one before.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, anyhow, bail, ensure};
use gridloom_grid::network::{ElementId, NodeId, Phasor, PowerFlow, balance};
use gridloom_grid::opendss::{Mode, Shapes};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::table;

/// Most steps of a series: a year of minutes.
const STEPS_MAX: usize = 527_040;

/// One solved step.
#[derive(Serialize)]
pub(super) struct Step {
    label: String,
    supplied_kw: f64,
    losses_kw: f64,
    lowest_pu: f64,
    lowest_node: String,
    highest_pu: f64,
    highest_node: String,
    iterations: usize,
}

/// A load that the table drives, with its power as the circuit has it.
struct Column {
    name: String,
    id: ElementId,
    nominal: Vec<Phasor>,
}

/// Loads from a table, each row a step.
pub(super) fn of_table(flow: &mut PowerFlow, loads: &Path) -> anyhow::Result<Vec<Step>> {
    let text = std::fs::read_to_string(loads)
        .with_context(|| format!("failed to read {}", loads.display()))?;
    let mut lines = text.lines();
    let at = |line: usize| format!("{}:{line}", loads.display());
    let header = lines
        .next()
        .with_context(|| format!("{}: no line of names; begin with time,load1,…", at(1)))?;
    let columns: Vec<Column> = header
        .split(',')
        .skip(1)
        .map(|name| column(flow, name.trim()).with_context(|| at(1)))
        .collect::<Result<_, _>>()
        .map_err(|error| anyhow!("{error:#}"))?;
    let count = lines.clone().count();
    ensure!(
        count <= STEPS_MAX,
        "{}: {count} steps, at most {STEPS_MAX}",
        loads.display()
    );
    let bar = bar(count);
    let mut steps = Vec::new();
    for (line, row) in lines.enumerate().map(|(line, row)| (line + 2, row)) {
        let fields: Vec<&str> = row.split(',').map(str::trim).collect();
        if fields.len() != columns.len() + 1 {
            bail!(
                "{}: {} columns, the first line has {}",
                at(line),
                fields.len(),
                columns.len() + 1
            );
        }
        for (column, field) in columns.iter().zip(&fields[1..]) {
            let kw: f64 = field
                .parse()
                .ok()
                .filter(|kw: &f64| kw.is_finite())
                .with_context(|| {
                    format!(
                        "{}: {}: {field:?} is no number of kW",
                        at(line),
                        column.name
                    )
                })?;
            flow.set_power(column.id, &scaled(&column.nominal, kw));
        }
        let done = flow
            .solve()
            .with_context(|| format!("{}: step {}", at(line), fields[0]))?;
        steps.push(step(flow, fields[0], done.iterations));
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(steps)
}

/// The circuit's own shapes, over the longest of them.
pub(super) fn of_shapes(
    flow: &mut PowerFlow,
    shapes: &Shapes,
    mode: Mode,
    file: &Path,
    most: Option<usize>,
) -> anyhow::Result<Vec<Step>> {
    let (seconds, count) = shapes.extent(mode).with_context(|| {
        format!(
            "{}: no load follows a shape in this mode; give loads daily= or yearly=, or a table",
            file.display()
        )
    })?;
    let count = count.min(most.unwrap_or(STEPS_MAX)).min(STEPS_MAX);
    let bar = bar(count);
    let mut steps = Vec::new();
    for at in 1..=u32::try_from(count)? {
        let time = f64::from(at) * seconds;
        shapes.apply(flow, mode, time);
        let label = clock(time);
        let done = flow.solve().with_context(|| format!("step of {label}"))?;
        steps.push(step(flow, &label, done.iterations));
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(steps)
}

/// Hours, minutes and seconds since the beginning, at the end of a step.
fn clock(seconds: f64) -> String {
    let hours = (seconds / 3_600.0).floor();
    let minutes = ((seconds - hours * 3_600.0) / 60.0).floor();
    let rest = seconds - hours * 3_600.0 - minutes * 60.0;
    format!("{hours:02}:{minutes:02}:{rest:02.0}")
}

fn bar(count: usize) -> ProgressBar {
    ProgressBar::new(u64::try_from(count).unwrap_or(0)).with_style(
        ProgressStyle::with_template("{bar:24.blue} {pos}/{len} steps, {eta} left")
            .expect("a template that is tried in tests"),
    )
}

/// Writes the steps as CSV, and as JSON or as a table of the extremes.
pub(super) fn write(
    steps: &[Step],
    csv: Option<&Path>,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    if let Some(path) = csv {
        let mut text = String::from(
            "label,supplied_kw,losses_kw,lowest_pu,lowest_node,highest_pu,highest_node,iterations\n",
        );
        for step in steps {
            text.push_str(&format!(
                "{},{:.4},{:.4},{:.6},{},{:.6},{},{}\n",
                step.label,
                step.supplied_kw,
                step.losses_kw,
                step.lowest_pu,
                step.lowest_node,
                step.highest_pu,
                step.highest_node,
                step.iterations
            ));
        }
        std::fs::write(path, text)
            .with_context(|| format!("failed to write {}", path.display()))?;
    }
    if json {
        serde_json::to_writer_pretty(&mut *out, steps)?;
        writeln!(out)?;
        return Ok(());
    }
    let extremes = [
        (
            "lowest voltage",
            steps
                .iter()
                .min_by(|a, b| a.lowest_pu.total_cmp(&b.lowest_pu)),
        ),
        (
            "highest voltage",
            steps
                .iter()
                .max_by(|a, b| a.highest_pu.total_cmp(&b.highest_pu)),
        ),
        (
            "highest supply",
            steps
                .iter()
                .max_by(|a, b| a.supplied_kw.total_cmp(&b.supplied_kw)),
        ),
        (
            "highest losses",
            steps
                .iter()
                .max_by(|a, b| a.losses_kw.total_cmp(&b.losses_kw)),
        ),
    ];
    writeln!(out, "{} steps", steps.len())?;
    let rows = extremes.into_iter().filter_map(|(what, step)| {
        let step = step?;
        Some(vec![
            what.to_owned(),
            step.label.clone(),
            format!("{:.2}", step.supplied_kw),
            format!("{:.3}", step.losses_kw),
            format!("{:.4} {}", step.lowest_pu, step.lowest_node),
            format!("{:.4} {}", step.highest_pu, step.highest_node),
        ])
    });
    let headings = [
        "step of",
        "at",
        "supplied kW",
        "losses kW",
        "lowest",
        "highest",
    ];
    writeln!(out, "{}", table::figures(&headings, rows))?;
    Ok(())
}

fn column(flow: &PowerFlow, name: &str) -> anyhow::Result<Column> {
    let network = flow.network();
    let id = network
        .find(&format!("load.{name}"))
        .or_else(|| network.find(name))
        .filter(|id| network.element(*id).kind.load().is_some())
        .ok_or_else(|| anyhow!("{name}: no load of that name"))?;
    let nominal = network
        .element(id)
        .kind
        .load()
        .map(|load| load.power.clone())
        .unwrap_or_default();
    Ok(Column {
        name: name.to_owned(),
        id,
        nominal,
    })
}

/// A power of so many kW, shared and with the power factor of the nominal one.
fn scaled(nominal: &[Phasor], kw: f64) -> Vec<Phasor> {
    let whole: Phasor = nominal.iter().sum();
    if whole.re == 0.0 {
        let phases = u32::try_from(nominal.len()).map_or(1.0, f64::from);
        return vec![Phasor::new(kw * 1_000.0 / phases, 0.0); nominal.len()];
    }
    nominal
        .iter()
        .map(|power| power * (kw * 1_000.0 / whole.re))
        .collect()
}

fn step(flow: &PowerFlow, label: &str, iterations: usize) -> Step {
    let totals = balance::totals(flow);
    let live = || {
        flow.network()
            .buses
            .nodes()
            .map(|(id, _)| (id, flow.per_unit(id)))
            .filter(|(id, _)| flow.is_energised(*id))
    };
    let named = |found: Option<(NodeId, f64)>| {
        found.map_or((0.0, String::new()), |(id, pu)| {
            (pu, flow.network().buses.label(id))
        })
    };
    let (lowest_pu, lowest_node) = named(live().min_by(|a, b| a.1.total_cmp(&b.1)));
    let (highest_pu, highest_node) = named(live().max_by(|a, b| a.1.total_cmp(&b.1)));
    Step {
        label: label.to_owned(),
        supplied_kw: totals.supplied.0 / 1e3,
        losses_kw: totals.losses_watts() / 1e3,
        lowest_pu,
        lowest_node,
        highest_pu,
        highest_node,
        iterations,
    }
}
