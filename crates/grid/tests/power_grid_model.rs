//! power-grid-model's own validation cases, with their tolerances.
//!
//! The data lies outside the repository: `GRIDLOOM_DATA` names its folder. Without it this test
//! says so and proves nothing.

mod archive;

use archive::Archive;
use gridloom_grid::network::complex::{SQRT_3, degrees, magnitude};
use gridloom_grid::network::{NetworkError, Options, PowerFlow, TapStrategy};
use gridloom_grid::opendss::Files;
use gridloom_grid::power_grid_model::{Batch, Calculation, Grid, GridError};
use serde_json::Value;

/// The position of a tap changer without voltage in the expected results.
const UNKNOWN: i64 = -128;

/// How one case ended.
enum End {
    Agrees(usize),
    NotModelled(String),
    Differs(String),
}

fn json(archive: &mut Archive, path: &str) -> Option<Value> {
    let bytes = archive.read(path).ok()?;
    Some(serde_json::from_slice(&bytes).expect("the data is well formed"))
}

fn numbers(value: &Value) -> Option<Vec<f64>> {
    match value.as_array() {
        Some(list) => list.iter().map(Value::as_f64).collect(),
        None => value.as_f64().map(|value| vec![value]),
    }
}

fn tolerance(params: &Value) -> (f64, f64) {
    let absolute = &params["atol"];
    let absolute = absolute.as_f64().or_else(|| absolute["default"].as_f64());
    (
        params["rtol"].as_f64().unwrap_or(1e-5),
        absolute.unwrap_or(1e-5),
    )
}

/// Components as objects, where the file has lists of values in the order of its attributes.
fn by_name(data: &Value, attributes: &Value) -> Value {
    let mut data = data.clone();
    for (kind, list) in data.as_object_mut().expect("the data is well formed") {
        for component in list.as_array_mut().into_iter().flatten() {
            if let Some(values) = component.as_array() {
                let names = attributes[kind].as_array().expect("names of the values");
                let names = names.iter().filter_map(Value::as_str).map(str::to_owned);
                *component = names.zip(values.iter().cloned()).collect();
            }
        }
    }
    data
}

fn check(read: Result<Grid, GridError>, input: &Value, output: &Value, params: &Value) -> End {
    let mut grid = match read {
        Ok(grid) => grid,
        Err(GridError::Kind { kind }) => return End::NotModelled(kind),
        Err(error) => return End::NotModelled(error.to_string()),
    };
    grid.network.tap_strategy = match params["tap_changing_strategy"].as_str() {
        None | Some("any_valid_tap") => TapStrategy::First,
        Some("fast_any_tap") => TapStrategy::Halving,
        Some("min_voltage_tap") => TapStrategy::Lowest,
        Some("max_voltage_tap") => TapStrategy::Highest,
        Some(other) => panic!("strategy {other}"),
    };
    let (relative, absolute) = tolerance(params);
    let options = Options {
        tolerance_pu: 1e-10,
        iterations_max: 5_000,
        ..Options::default()
    };
    let mut flow = match PowerFlow::new(grid.network, options) {
        Ok(flow) => flow,
        // Where every source is out of service, nothing has a voltage.
        Err(NetworkError::NoSource) => {
            let nodes = output["node"].as_array().expect("the data is well formed");
            let dark = nodes
                .iter()
                .all(|node| node["u_pu"].as_f64().unwrap_or(0.0) == 0.0);
            return if dark {
                End::Agrees(nodes.len())
            } else {
                End::Differs(NetworkError::NoSource.to_string())
            };
        }
        Err(error) => return End::Differs(error.to_string()),
    };
    if let Err(error) = flow.solve() {
        return End::Differs(error.to_string());
    }
    for expected in output["transformer_tap_regulator"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let Some(position) = expected["tap_pos"].as_i64().filter(|at| *at != UNKNOWN) else {
            continue;
        };
        let name = format!("transformer_tap_regulator.{}", expected["id"]);
        let changers = &flow.network().tap_changers;
        let changer = changers
            .iter()
            .find(|changer| changer.name == name)
            .expect("a tap changer for each regulator");
        let ours = changer.labels[changer.at];
        if ours != position {
            return End::Differs(format!("{name} at {ours} for {position}"));
        }
    }
    let mut compared = 0;
    for (at, expected) in output["node"].as_array().into_iter().flatten().enumerate() {
        // Without an id, results stand in the order of the input.
        let same_place = input["node"][at]["id"].as_i64();
        let bus = grid.nodes[&expected["id"]
            .as_i64()
            .or(same_place)
            .expect("the data is well formed")];
        // Some have volts alone: between phases in a symmetric calculation, else to earth.
        let base = flow.network().buses.base_volts(bus).expect("a node");
        let mut absolute = absolute;
        let units = numbers(&expected["u_pu"]).or_else(|| {
            let volts = numbers(&expected["u"])?;
            let base = if volts.len() == 1 {
                base * SQRT_3
            } else {
                base
            };
            // Their tolerance of volts is up to 100 V where taps are what is tested.
            let volt = params["atol"]["u"].as_f64().unwrap_or(absolute);
            absolute = absolute.max(volt.min(0.5) / base);
            Some(volts.iter().map(|volts| volts / base).collect())
        });
        let Some(units) = units else { continue };
        let angles = numbers(&expected["u_angle"]);
        for (phase, unit) in units.iter().enumerate() {
            let number = u8::try_from(phase + 1).expect("the data is well formed");
            let node = flow
                .network()
                .buses
                .find_node(bus, number)
                .expect("the data is well formed");
            let ours = flow.per_unit(node);
            let label = flow.network().buses.label(node);
            if (ours - unit).abs() > absolute + relative * unit.abs() {
                return End::Differs(format!("{label}: {ours} for {unit} per unit"));
            }
            if let Some(angles) = &angles
                && *unit > 0.0
            {
                let gap = degrees(flow.voltage(node)).to_radians() - angles[phase];
                let turns = (gap / core::f64::consts::TAU).round();
                let gap = (gap - turns * core::f64::consts::TAU).abs();
                if gap > absolute + relative * angles[phase].abs() {
                    return End::Differs(format!("{label}: {gap} rad apart"));
                }
            }
            assert!(magnitude(flow.voltage(node)).is_finite());
            compared += 1;
        }
    }
    End::Agrees(compared)
}

/// Cases that are not comparable, and why.
const APART: &[(&str, &str)] = &[
    (
        "dummy-test asym",
        "its expected angles of three phases are all zero",
    ),
    (
        "dummy-test-line-into-itself",
        "expects nine digits of an angle that was solved to eight",
    ),
    (
        "floating_zero_sequence asym",
        "a part without earth is an error here, which names a node",
    ),
    (
        "generic_branch sym",
        "expects an angle of zero, which was rounded to it",
    ),
];

#[test]
fn validation_cases_agree_within_their_tolerances() {
    let Some(mut archive) = Archive::unpack("power_grid_model_tests_data.tar.zst") else {
        return;
    };
    let folders: Vec<String> = archive
        .files
        .keys()
        .filter(|path| path.starts_with("tests/data/power_flow/"))
        .filter_map(|path| path.strip_suffix("/params.json").map(str::to_owned))
        .collect();
    let (mut agree, mut errors, mut wrong) = (0, 0, Vec::new());
    let mut values = 0;
    for folder in folders {
        let params =
            json(&mut archive, &format!("{folder}/params.json")).expect("the data is well formed");
        let methods = params["calculation_method"].to_string();
        let iterates = methods.contains("newton") || methods.contains("iterative");
        let raises = params.get("raises").is_some();
        if params.get("xfail").is_some() || !(iterates || raises) {
            continue;
        }
        let text = archive.read(&format!("{folder}/input.json"));
        let text = String::from_utf8(text.expect("an input")).expect("the data is well formed");
        let file: Value = serde_json::from_str(&text).expect("the data is well formed");
        let input = by_name(&file["data"], &file["attributes"]);
        for (name, calculation) in [
            ("sym", Calculation::Symmetric),
            ("asym", Calculation::Asymmetric),
        ] {
            let mut runs = Vec::new();
            if let Some(output) = json(&mut archive, &format!("{folder}/{name}_output.json")) {
                let read = Grid::read(&text, calculation);
                runs.push((read, by_name(&output["data"], &output["attributes"])));
            }
            let outputs = json(&mut archive, &format!("{folder}/{name}_output_batch.json"));
            let updates = archive.read(&format!("{folder}/update_batch.json")).ok();
            if let (Some(outputs), Some(updates)) = (outputs, updates) {
                let updates = String::from_utf8(updates).expect("the data is well formed");
                let batch = Batch::read(&text, &updates).expect("the data is well formed");
                let outputs = &outputs["data"];
                let outputs = outputs.as_array().expect("the data is well formed");
                assert!(raises || batch.len() == outputs.len(), "{folder}");
                for (at, output) in outputs.iter().enumerate().take(batch.len()) {
                    runs.push((batch.grid(at, calculation), by_name(output, &Value::Null)));
                }
            }
            for (at, (read, output)) in runs.into_iter().enumerate() {
                let end = check(read, &input, &output, &params);
                if raises {
                    match end {
                        End::Differs(_) | End::NotModelled(_) => errors += 1,
                        End::Agrees(_) => wrong.push(format!("{folder} {name} {at}: no error")),
                    }
                    continue;
                }
                match end {
                    End::Agrees(count) => {
                        agree += 1;
                        values += count;
                    }
                    End::NotModelled(what) | End::Differs(what) => {
                        let case = format!("{folder} {name}");
                        if !APART
                            .iter()
                            .any(|(apart, _)| case.contains(&format!("/{apart}")))
                        {
                            wrong.push(format!("{case} {at}: {what}"));
                        }
                    }
                }
            }
        }
    }
    eprintln!("{agree} runs agree in {values} voltages, {errors} are errors as they must be");
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(agree > 800 && values > 5_000, "{agree} {values}");
    assert!(errors >= 8, "{errors}");
}
