//! power-grid-model's own validation cases, with their tolerances.
//!
//! The data lies outside the repository: `GRIDLOOM_DATA` names its folder. Without it this test
//! says so and proves nothing.

mod archive;

use archive::Archive;
use gridloom_grid::network::complex::{degrees, magnitude};
use gridloom_grid::network::{NetworkError, Options, PowerFlow};
use gridloom_grid::opendss::Files;
use gridloom_grid::power_grid_model::{Calculation, Grid, GridError};
use serde_json::Value;

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

/// Values of an update replace those of the component with the same id.
fn updated(input: &Value, update: &Value) -> Value {
    let mut input = input.clone();
    for (kind, changes) in update.as_object().into_iter().flatten() {
        let changes = changes.as_array().expect("the data is well formed");
        for (at, change) in changes.iter().enumerate() {
            let components = input["data"][kind]
                .as_array_mut()
                .expect("the data is well formed");
            let place = match change.get("id") {
                Some(id) => components
                    .iter()
                    .position(|component| component["id"] == *id),
                None => Some(at),
            };
            let component = &mut components[place.expect("an id that is there")];
            for (name, value) in change.as_object().expect("the data is well formed").clone() {
                if !value.is_null() {
                    component[name] = value;
                }
            }
        }
    }
    input
}

fn check(input: &Value, output: &Value, params: &Value, calculation: Calculation) -> End {
    let grid = match Grid::read(&input.to_string(), calculation) {
        Ok(grid) => grid,
        Err(GridError::Kind { kind }) => return End::NotModelled(kind),
        Err(error) => return End::NotModelled(error.to_string()),
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
    let mut compared = 0;
    for (at, expected) in output["node"].as_array().into_iter().flatten().enumerate() {
        // Without an id, results stand in the order of the input.
        let same_place = input["data"]["node"][at]["id"].as_i64();
        let bus = grid.nodes[&expected["id"]
            .as_i64()
            .or(same_place)
            .expect("the data is well formed")];
        let Some(units) = numbers(&expected["u_pu"]) else {
            continue;
        };
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

/// What the cases need and this reader refuses by name.
const REFUSED: &[&str] = &[
    "voltage_regulator",
    "transformer_tap_regulator",
    "three_winding_transformer",
];

/// Cases that are not comparable, and why.
const APART: &[(&str, &str)] = &[
    (
        "1os2msr sym",
        "its components stand in columns, a form that is refused",
    ),
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
    let (mut agree, mut refused, mut wrong) = (0, 0, Vec::new());
    let mut values = 0;
    for folder in folders {
        let params =
            json(&mut archive, &format!("{folder}/params.json")).expect("the data is well formed");
        let methods = params["calculation_method"].to_string();
        let iterates = methods.contains("newton") || methods.contains("iterative");
        if params.get("xfail").is_some() || params.get("raises").is_some() || !iterates {
            continue;
        }
        let Some(input) = json(&mut archive, &format!("{folder}/input.json")) else {
            continue;
        };
        for (name, calculation) in [
            ("sym", Calculation::Symmetric),
            ("asym", Calculation::Asymmetric),
        ] {
            let mut runs = Vec::new();
            if let Some(output) = json(&mut archive, &format!("{folder}/{name}_output.json")) {
                runs.push((input.clone(), output["data"].clone()));
            }
            let batch = json(&mut archive, &format!("{folder}/{name}_output_batch.json"));
            let update = json(&mut archive, &format!("{folder}/update_batch.json"));
            if let (Some(batch), Some(update)) = (batch, update) {
                let steps = update["data"]
                    .as_array()
                    .expect("the data is well formed")
                    .iter();
                for (update, output) in
                    steps.zip(batch["data"].as_array().expect("the data is well formed"))
                {
                    runs.push((updated(&input, update), output.clone()));
                }
            }
            for (at, (input, output)) in runs.iter().enumerate() {
                match check(input, output, &params, calculation) {
                    End::Agrees(count) => {
                        agree += 1;
                        values += count;
                    }
                    End::NotModelled(what) if REFUSED.contains(&what.as_str()) => refused += 1,
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
    eprintln!("{agree} runs agree in {values} voltages, {refused} need what is refused by name");
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(agree > 50, "{agree}");
}
