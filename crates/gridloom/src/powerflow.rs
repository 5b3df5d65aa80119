//! `gridloom powerflow`: voltages, loadings and losses of a distribution feeder.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use gridloom_grid::network::complex::{degrees, magnitude};
use gridloom_grid::network::{
    Controls, Convergence, Network, NodeId, Options, PowerFlow, Topology, balance,
};
use gridloom_grid::opendss::{Circuit, Mode, Shapes, Shipped};
use gridloom_grid::power_grid_model::{Calculation, Grid};
use serde::Serialize;

use crate::table;

mod disk;
mod series;

pub(crate) use disk::Disk;

/// Solves the three-phase power flow of a feeder
#[derive(clap::Args)]
pub(crate) struct PowerFlowCommand {
    /// A circuit in the language of OpenDSS, power-grid-model's JSON (.json), or a shipped one:
    /// ieee13, eulv
    file: PathBuf,
    /// Machine-readable
    #[arg(long)]
    json: bool,
    /// Also write every node's voltage, or every step of a series, to this file
    #[arg(long, value_name = "OUT")]
    csv: Option<PathBuf>,
    /// Loads over time: a table with a column of labels and one of kW for each load named in its
    /// first line; or daily, yearly or duty for the shapes of the circuit itself
    #[arg(long, value_name = "LOADS")]
    time_series: Option<PathBuf>,
    /// End a series of the circuit's own shapes after so many steps
    #[arg(long, value_name = "COUNT")]
    steps: Option<usize>,
    /// Leave taps and capacitor banks as the file has them
    #[arg(long)]
    hold_controls: bool,
    /// Rows of each table
    #[arg(long, default_value_t = 5)]
    rows: usize,
}

#[derive(Serialize)]
struct NodeJson {
    node: String,
    volts: f64,
    degrees: f64,
    per_unit: f64,
    energised: bool,
}

#[derive(Serialize)]
struct LoadingJson {
    element: String,
    amperes: f64,
    share: f64,
}

#[derive(Serialize)]
struct TapJson {
    regulator: String,
    position: i64,
}

#[derive(Serialize)]
struct TransformerJson {
    transformer: String,
    delivered_kw: f64,
    consumed_kw: f64,
    technical_losses_kw: f64,
}

#[derive(Serialize)]
struct ReportJson {
    iterations: usize,
    control_steps: usize,
    change_pu: f64,
    supplied_kw: f64,
    supplied_kvar: f64,
    consumed_kw: f64,
    generated_kw: f64,
    losses_kw: f64,
    line_losses_kw: f64,
    transformer_losses_kw: f64,
    nodes: Vec<NodeJson>,
    loadings: Vec<LoadingJson>,
    taps: Vec<TapJson>,
    transformers: Vec<TransformerJson>,
}

impl PowerFlowCommand {
    pub(crate) fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let circuit = read(&self.file)?;
        let options = Options {
            controls: if self.hold_controls {
                Controls::Held
            } else {
                circuit.controls
            },
            ..Options::default()
        };
        let mut flow = PowerFlow::new(circuit.network, options)
            .with_context(|| format!("failed to prepare {}", self.file.display()))?;
        if let Some(loads) = &self.time_series {
            let steps = match mode(loads) {
                Some(mode) => {
                    series::of_shapes(&mut flow, &circuit.shapes, mode, &self.file, self.steps)?
                }
                None => series::of_table(&mut flow, loads)?,
            };
            return series::write(&steps, self.csv.as_deref(), self.json, out);
        }
        let done = flow
            .solve()
            .with_context(|| format!("failed to solve {}", self.file.display()))?;
        if let Some(path) = &self.csv {
            write_nodes(&flow, path)?;
        }
        if self.json {
            serde_json::to_writer_pretty(&mut *out, &report(&flow, &done))?;
            writeln!(out)?;
            return Ok(());
        }
        self.print(&flow, &done, out)
    }

    fn print(
        &self,
        flow: &PowerFlow,
        done: &Convergence,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let report = report(flow, done);
        let dark = report.nodes.iter().filter(|node| !node.energised).count();
        writeln!(
            out,
            "{} buses, {} nodes, {dark} of them without supply; {} iterations, {} control steps",
            flow.network().buses.len(),
            report.nodes.len(),
            report.iterations,
            report.control_steps,
        )?;
        let losses = if report.supplied_kw > 0.0 {
            format!(" ({:.2} %)", report.losses_kw / report.supplied_kw * 100.0)
        } else {
            String::new()
        };
        writeln!(
            out,
            "supplied {:.2} kW and {:.2} kvar, generated {:.2} kW, consumed {:.2} kW; lost {:.2} \
             kW{losses}: {:.2} kW in lines, {:.2} kW in transformers",
            report.supplied_kw,
            report.supplied_kvar,
            report.generated_kw,
            report.consumed_kw,
            report.losses_kw,
            report.line_losses_kw,
            report.transformer_losses_kw,
        )?;
        let mut live: Vec<&NodeJson> = report.nodes.iter().filter(|node| node.energised).collect();
        live.sort_by(|a, b| a.per_unit.total_cmp(&b.per_unit));
        let row = |node: &&NodeJson| {
            vec![
                node.node.clone(),
                format!("{:.2}", node.volts),
                format!("{:.4}", node.per_unit),
                format!("{:.2}", node.degrees),
            ]
        };
        let lowest = live.iter().take(self.rows).map(row);
        writeln!(
            out,
            "{}",
            table::figures(&["lowest", "V", "per unit", "degrees"], lowest)
        )?;
        let highest = live.iter().rev().take(self.rows).map(row);
        writeln!(
            out,
            "{}",
            table::figures(&["highest", "V", "per unit", "degrees"], highest)
        )?;
        let loaded = report.loadings.iter().take(self.rows).map(|loading| {
            vec![
                loading.element.clone(),
                format!("{:.1}", loading.amperes),
                format!("{:.1}", loading.share * 100.0),
            ]
        });
        writeln!(out, "{}", table::figures(&["loading", "A", "%"], loaded))?;
        let mut worst: Vec<&TransformerJson> = report.transformers.iter().collect();
        worst.sort_by(|a, b| b.technical_losses_kw.total_cmp(&a.technical_losses_kw));
        let balances = worst.iter().take(self.rows).map(|balance| {
            vec![
                balance.transformer.clone(),
                format!("{:.2}", balance.delivered_kw),
                format!("{:.2}", balance.consumed_kw),
                format!("{:.2}", balance.technical_losses_kw),
            ]
        });
        let headings = ["transformer", "delivered kW", "consumed kW", "losses kW"];
        writeln!(out, "{}", table::figures(&headings, balances))?;
        if !report.taps.is_empty() {
            let taps = report
                .taps
                .iter()
                .map(|tap| vec![tap.regulator.clone(), tap.position.to_string()]);
            writeln!(out, "{}", table::figures(&["regulator", "tap"], taps))?;
        }
        Ok(())
    }
}

/// The shapes a word stands for, where it is no file.
fn mode(loads: &Path) -> Option<Mode> {
    let word = loads.to_str().filter(|_| !loads.exists())?;
    match word {
        "daily" => Some(Mode::Daily),
        "yearly" => Some(Mode::Yearly),
        "duty" => Some(Mode::Duty),
        _ => None,
    }
}

/// Reads a circuit from a file, or a shipped one by its name.
fn read(file: &Path) -> anyhow::Result<Circuit> {
    let name = file.to_string_lossy();
    if let Some(path) = Shipped::path(&name)
        && !file.exists()
    {
        return Ok(Circuit::read(&mut Shipped, path)?);
    }
    if file
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("json"))
    {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("failed to read {}", file.display()))?;
        let grid = Grid::read(&text, Calculation::Asymmetric)
            .with_context(|| format!("failed to read {}", file.display()))?;
        return Ok(Circuit {
            network: grid.network,
            controls: Controls::Active,
            shapes: Shapes::default(),
        });
    }
    Ok(Circuit::read(&mut Disk, &name)?)
}

fn report(flow: &PowerFlow, done: &Convergence) -> ReportJson {
    let network = flow.network();
    let totals = balance::totals(flow);
    let topology = Topology::of(network);
    ReportJson {
        iterations: done.iterations,
        control_steps: done.control_steps,
        change_pu: done.change_pu,
        supplied_kw: totals.supplied.0 / 1e3,
        supplied_kvar: totals.supplied.1 / 1e3,
        consumed_kw: totals.consumed.0 / 1e3,
        generated_kw: totals.generated.0 / 1e3,
        losses_kw: totals.losses_watts() / 1e3,
        line_losses_kw: totals.line_losses_watts / 1e3,
        transformer_losses_kw: totals.transformer_losses_watts / 1e3,
        nodes: network
            .buses
            .nodes()
            .map(|(id, _)| node(flow, id))
            .collect(),
        loadings: balance::loadings(flow)
            .into_iter()
            .map(|loading| LoadingJson {
                element: network.element(loading.element).name.clone(),
                amperes: loading.amperes,
                share: loading.share,
            })
            .collect(),
        taps: taps(network),
        transformers: balance::by_transformer(flow, &topology)
            .into_iter()
            .map(|(id, balance)| TransformerJson {
                transformer: network.element(id).name.clone(),
                delivered_kw: balance.delivered_watts / 1e3,
                consumed_kw: balance.consumed_watts / 1e3,
                technical_losses_kw: balance.technical_losses_watts / 1e3,
            })
            .collect(),
    }
}

fn taps(network: &Network) -> Vec<TapJson> {
    let changers = network.tap_changers.iter().map(|changer| TapJson {
        regulator: changer.name.clone(),
        position: changer.labels[changer.at],
    });
    network
        .regulators
        .iter()
        .filter_map(|regulator| {
            let tap = network.tap(regulator.transformer, regulator.tap_winding)?;
            Some(TapJson {
                regulator: regulator.name.clone(),
                position: i64::from(regulator.position(tap)),
            })
        })
        .chain(changers)
        .collect()
}

fn node(flow: &PowerFlow, id: NodeId) -> NodeJson {
    let volts = flow.voltage(id);
    NodeJson {
        node: flow.network().buses.label(id),
        volts: magnitude(volts),
        degrees: degrees(volts),
        per_unit: flow.per_unit(id),
        energised: flow.is_energised(id),
    }
}

fn write_nodes(flow: &PowerFlow, path: &Path) -> anyhow::Result<()> {
    let mut text = String::from("node,volts,degrees,per_unit,energised\n");
    for (id, _) in flow.network().buses.nodes() {
        let node = node(flow, id);
        text.push_str(&format!(
            "{},{:.6},{:.6},{:.8},{}\n",
            node.node, node.volts, node.degrees, node.per_unit, node.energised
        ));
    }
    std::fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(file: &str) -> PowerFlowCommand {
        PowerFlowCommand {
            file: file.into(),
            json: false,
            csv: None,
            time_series: None,
            steps: None,
            hold_controls: false,
            rows: 3,
        }
    }

    #[test]
    fn a_feeder_is_solved_and_shown() {
        let mut out = Vec::new();
        let folder = tempfile::tempdir().unwrap();
        let csv = folder.path().join("nodes.csv");
        let shown = PowerFlowCommand {
            csv: Some(csv.clone()),
            ..command("ieee13")
        };
        shown.run(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for part in [
            "16 buses, 41 nodes, 0 of them without supply",
            "611.3",
            "regcontrol.reg1",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert_eq!(std::fs::read_to_string(csv).unwrap().lines().count(), 42);
        let mut out = Vec::new();
        PowerFlowCommand {
            json: true,
            ..command("eulv")
        }
        .run(&mut out)
        .unwrap();
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert!(json["losses_kw"].as_f64().unwrap() > 0.1);
    }

    #[test]
    fn a_wrong_file_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Wrong.dss");
        std::fs::write(&path, "new circuit.x\n\nnew load.l bus1=a kw=much\n").unwrap();
        // Names of files do not differ by case, as the language was written for.
        let asked = folder.path().join("wrong.DSS");
        let error = command(asked.to_str().unwrap())
            .run(&mut Vec::new())
            .unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains("wrong.DSS:3: load.l: kw=much: expected a number"),
            "{text}"
        );
        let missing = command("nowhere.dss").run(&mut Vec::new()).unwrap_err();
        assert!(
            format!("{missing:#}").contains("nowhere.dss"),
            "{missing:#}"
        );
    }

    #[test]
    fn a_series_is_solved_step_by_step() {
        let folder = tempfile::tempdir().unwrap();
        let loads = folder.path().join("loads.csv");
        let out = folder.path().join("steps.csv");
        std::fs::write(&loads, "time,load1,LOAD2\n00:00,1,2\n00:01,5.5,0\n").unwrap();
        let series = |file: &Path| PowerFlowCommand {
            time_series: Some(file.to_owned()),
            csv: Some(out.clone()),
            ..command("eulv")
        };
        series(&loads).run(&mut Vec::new()).unwrap();
        let text = std::fs::read_to_string(&out).unwrap();
        let steps: Vec<&str> = text.lines().collect();
        assert_eq!(steps.len(), 3, "{text}");
        assert!(steps[2].starts_with("00:01,"), "{text}");
        // The circuit's own day: its last hour stands where its first would be.
        let own = PowerFlowCommand {
            time_series: Some("yearly".into()),
            csv: Some(out.clone()),
            steps: Some(20),
            ..command("eulv")
        };
        own.run(&mut Vec::new()).unwrap();
        let text = std::fs::read_to_string(&out).unwrap();
        let supplied: Vec<f64> = text
            .lines()
            .skip(1)
            .map(|line| line.split(',').nth(1).unwrap().parse().unwrap())
            .collect();
        assert_eq!(supplied.len(), 20, "{text}");
        assert!(text.contains("\n17:00:00,"), "{text}");
        let highest = supplied.iter().copied().fold(0.0, f64::max);
        assert_eq!(highest, supplied[16], "{text}");
        assert!((supplied[3] / highest - 0.5833).abs() < 0.01, "{text}");
        let none = PowerFlowCommand {
            time_series: Some("daily".into()),
            ..command("ieee13")
        };
        let error = none.run(&mut Vec::new()).unwrap_err();
        assert!(
            format!("{error:#}").contains("no load follows a shape"),
            "{error:#}"
        );
        let cases = [
            (
                "time,load1,nobody\n0,1,2\n",
                "loads.csv:1: nobody: no load of that name",
            ),
            (
                "time,load1\n0,1\n1,x\n",
                "loads.csv:3: load1: \"x\" is no number of kW",
            ),
            (
                "time,load1\n0,1,2\n",
                "loads.csv:2: 3 columns, the first line has 2",
            ),
            ("", "loads.csv:1: no line of names"),
        ];
        for (content, expected) in cases {
            std::fs::write(&loads, content).unwrap();
            let error = series(&loads).run(&mut Vec::new()).unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
    }
}
