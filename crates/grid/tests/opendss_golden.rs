//! Node voltages of published test feeders against those that OpenDSS solved.
//!
//! The data lies outside the repository: `GRIDLOOM_DATA` names its folder. Without it these tests
//! say so and prove nothing.

mod archive;

use archive::{Archive, folder};
use gridloom_grid::network::complex::{degrees, magnitude, polar};
use gridloom_grid::network::{BusId, Controls, Network, Options, Phasor, PowerFlow};
use gridloom_grid::opendss::Circuit;

/// What OpenDSS has for each node: bus, node, voltage.
fn golden(file: &str, per_unit: Option<&Network>) -> Option<Vec<(String, u8, Phasor)>> {
    let text = std::fs::read_to_string(folder()?.join("feeders/golden").join(file))
        .expect("the data is well formed");
    Some(
        text.lines()
            .skip(1)
            .map(|line| {
                let fields: Vec<&str> = line.split(',').collect();
                let (bus, node) = fields[0].rsplit_once('.').expect("the data is well formed");
                let size: f64 = fields[1].parse().expect("the data is well formed");
                let base = per_unit.map_or(1.0, |network| {
                    let bus = network.buses.find(bus).expect("the data is well formed");
                    network
                        .buses
                        .base_volts(bus)
                        .expect("the data is well formed")
                });
                let angle = fields[2].parse().expect("the data is well formed");
                (
                    bus.to_owned(),
                    node.parse().expect("the data is well formed"),
                    polar(size * base, angle),
                )
            })
            .collect(),
    )
}

/// The worst deviation in percent and in degrees.
fn worst(pairs: &[(String, Phasor, Phasor)]) -> (f64, f64, String) {
    let mut worst = (0.0_f64, 0.0_f64, String::new());
    for (label, ours, theirs) in pairs {
        let percent = (magnitude(*ours) / magnitude(*theirs) - 1.0).abs() * 100.0;
        let angle = degrees(ours / theirs).abs();
        if percent > worst.0 {
            worst.2.clone_from(label);
        }
        worst.0 = worst.0.max(percent);
        worst.1 = worst.1.max(angle);
    }
    worst
}

fn solve(archive: &mut Archive, path: &str, taps: &[(&str, i32)]) -> PowerFlow {
    let circuit = Circuit::read(archive, path).expect("the data is well formed");
    let mut network = circuit.network;
    let mut options = Options {
        controls: circuit.controls,
        ..Options::default()
    };
    for (transformer, position) in taps {
        let id = network.find(transformer).expect("the data is well formed");
        network.set_tap(id, 1, 1.0 + f64::from(*position) * 0.00625);
        options.controls = Controls::Held;
    }
    let mut flow = PowerFlow::new(network, options).expect("the data is well formed");
    let done = flow.solve().expect("the data is well formed");
    for regulator in &flow.network().regulators {
        let tap = flow
            .network()
            .tap(regulator.transformer, regulator.tap_winding)
            .expect("the data is well formed");
        eprintln!("{} {}", regulator.name, regulator.position(tap));
    }
    eprintln!(
        "{path}: {} iterations, {} control steps",
        done.iterations, done.control_steps
    );
    flow
}

fn node_pairs(flow: &PowerFlow, golden: &[(String, u8, Phasor)]) -> Vec<(String, Phasor, Phasor)> {
    let buses = &flow.network().buses;
    golden
        .iter()
        .map(|(bus, node, theirs)| {
            let label = format!("{bus}.{node}");
            let bus = buses.find(bus).unwrap_or_else(|| panic!("no bus {bus}"));
            let node = buses
                .find_node(bus, *node)
                .unwrap_or_else(|| panic!("no node {label}"));
            (label, flow.voltage(node), *theirs)
        })
        .collect()
}

fn assert_close(feeder: &str, pairs: &[(String, Phasor, Phasor)]) {
    let (percent, angle, at) = worst(pairs);
    eprintln!(
        "{feeder}: {} values, worst {percent:.5} % at {at}, {angle:.5} degrees",
        pairs.len()
    );
    assert!(pairs.len() > 30, "{feeder}: too few values to compare");
    assert!(
        percent < 0.1 && angle < 0.1,
        "{feeder}: {percent} % at {at}, {angle} degrees"
    );
}

#[test]
fn ieee_13_with_its_published_taps() {
    let Some(mut archive) = Archive::unpack("opendss_test_feeders.tar.zst") else {
        return;
    };
    let path = "Version8/Distrib/IEEETestCases/13Bus/IEEE13Nodeckt.dss";
    let taps = [
        ("transformer.reg1", 10),
        ("transformer.reg2", 8),
        ("transformer.reg3", 11),
    ];
    let flow = solve(&mut archive, path, &taps);
    let golden = golden("ieee13_fixedtaps_10_8_11_nodes.csv", Some(flow.network()))
        .expect("the data is well formed");
    assert_close("IEEE 13", &node_pairs(&flow, &golden));
}

#[test]
fn ieee_34_with_its_regulators() {
    let Some(mut archive) = Archive::unpack("opendss_test_feeders.tar.zst") else {
        return;
    };
    let path = "Version8/Distrib/IEEETestCases/34Bus/ieee34Mod1.dss";
    let flow = solve(&mut archive, path, &[]);
    let golden = golden("ieee34mod1_nodes.csv", None).expect("the data is well formed");
    assert_close("IEEE 34", &node_pairs(&flow, &golden));
}

#[test]
fn ieee_37_between_its_phases() {
    let Some(mut archive) = Archive::unpack("opendss_test_feeders.tar.zst") else {
        return;
    };
    let flow = solve(
        &mut archive,
        "Version8/Distrib/IEEETestCases/37Bus/ieee37.dss",
        &[],
    );
    let golden = golden("ieee37_nodes.csv", None).expect("the data is well formed");
    let nodes = node_pairs(&flow, &golden);
    // A delta feeder floats: only voltages between phases are determined.
    let pairs: Vec<_> = nodes
        .chunks_exact(3)
        .flat_map(|three| {
            [(0, 1), (1, 2), (2, 0)].map(|(one, other)| {
                let label = format!("{} to {}", three[one].0, three[other].0);
                (
                    label,
                    three[one].1 - three[other].1,
                    three[one].2 - three[other].2,
                )
            })
        })
        .collect();
    assert_close("IEEE 37", &pairs);
}

#[test]
fn european_low_voltage() {
    let Some(mut archive) = Archive::unpack("opendss_test_feeders.tar.zst") else {
        return;
    };
    let flow = solve(
        &mut archive,
        "Version8/Distrib/IEEETestCases/LVTestCase/Master.dss",
        &[],
    );
    let golden = golden("ieee_eulv_nodes.csv", None).expect("the data is well formed");
    assert_close("European LV", &node_pairs(&flow, &golden));
    let id: BusId = flow
        .network()
        .buses
        .find("34")
        .expect("the data is well formed");
    assert!(
        (flow
            .network()
            .buses
            .base_volts(id)
            .expect("the data is well formed")
            - 416.0 / 3.0_f64.sqrt())
        .abs()
            < 1e-6
    );
}
