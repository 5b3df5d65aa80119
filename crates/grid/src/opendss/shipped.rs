//! The feeders that ship with the program. Their origin and licence stand in `feeders/README.md`.

use super::script::Files;

/// Files of the shipped feeders, by path.
const FILES: &[(&str, &[u8])] = &[
    (
        "ieee13/ieee13nodeckt.dss",
        include_bytes!("../../feeders/ieee13/IEEE13Nodeckt.dss"),
    ),
    (
        "ieee13/ieeelinecodes.dss",
        include_bytes!("../../feeders/ieee13/IEEELineCodes.DSS"),
    ),
    (
        "eulv/master.dss",
        include_bytes!("../../feeders/eulv/Master.dss"),
    ),
    (
        "eulv/linecode.txt",
        include_bytes!("../../feeders/eulv/LineCode.txt"),
    ),
    (
        "eulv/lines.txt",
        include_bytes!("../../feeders/eulv/Lines.txt"),
    ),
    (
        "eulv/transformers.txt",
        include_bytes!("../../feeders/eulv/Transformers.txt"),
    ),
    (
        "eulv/loads.txt",
        include_bytes!("../../feeders/eulv/Loads.txt"),
    ),
];

/// The shipped feeders as files.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shipped;

impl Shipped {
    /// Names of the feeders.
    pub const NAMES: [&'static str; 2] = ["ieee13", "eulv"];

    /// The file a feeder begins with.
    pub fn path(name: &str) -> Option<&'static str> {
        match name {
            "ieee13" => Some("ieee13/IEEE13Nodeckt.dss"),
            "eulv" => Some("eulv/Master.dss"),
            _ => None,
        }
    }
}

impl Files for Shipped {
    fn read(&mut self, path: &str) -> Result<Vec<u8>, String> {
        let path = path.to_ascii_lowercase();
        FILES
            .iter()
            .find(|(name, _)| *name == path)
            .map(|(_, bytes)| bytes.to_vec())
            .ok_or_else(|| "no such file ships".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{
        Controls, Kind, NetworkError, Options, PowerFlow, Topology, VoltageLimits, balance,
    };
    use crate::opendss::Circuit;

    fn solved(name: &str) -> PowerFlow {
        let circuit = Circuit::read(&mut Shipped, Shipped::path(name).unwrap()).unwrap();
        let mut flow = PowerFlow::new(circuit.network, Options::default()).unwrap();
        flow.solve().unwrap();
        flow
    }

    #[test]
    fn what_is_supplied_is_consumed_or_lost() {
        for name in Shipped::NAMES {
            let flow = solved(name);
            let totals = balance::totals(&flow);
            let rest = totals.supplied.0 - totals.consumed.0 - totals.losses_watts();
            assert!(totals.consumed.0 > 10_000.0, "{name}: {totals:?}");
            assert!(
                rest.abs() < totals.supplied.0 * 1e-5,
                "{name}: {rest} of {totals:?}"
            );
        }
    }

    #[test]
    fn each_home_hangs_at_the_transformer_in_its_phase() {
        let flow = solved("eulv");
        let network = flow.network();
        let topology = Topology::of(network);
        let transformer = network.find("transformer.tr1").unwrap();
        for (load, bus, phase) in [("load.load1", "34", 1), ("load.load2", "47", 2)] {
            let id = network.find(load).unwrap();
            let found = topology.attachment(network, id).unwrap();
            assert_eq!(found.transformer, Some(transformer), "{load}");
            assert_eq!(found.phases, [phase], "{load}");
            assert_eq!(network.buses.name(found.bus), bus, "{load}");
            let path = topology.path_to_source(found.bus).unwrap();
            let source = network.buses.find("sourcebus");
            assert_eq!(path.last().map(|step| step.bus), source, "{load}");
            assert!(
                topology.downstream(path[0].bus).contains(&found.bus),
                "{load}"
            );
        }
        let balances = balance::by_transformer(&flow, &topology);
        let balance = balances[&transformer];
        assert_eq!(balances.len(), 1);
        assert!(
            (57_000.0..59_000.0).contains(&balance.consumed_watts),
            "{balance:?}"
        );
        assert!(balance.technical_losses_watts > 100.0, "{balance:?}");
        assert!(balance.unexplained_watts().abs() < 1.0, "{balance:?}");
    }

    #[test]
    fn an_open_line_darkens_what_is_behind_it_until_it_closes() {
        let mut flow = solved("ieee13");
        let line = flow.network().find("line.671692").unwrap();
        let bus = flow.network().buses.find("675").unwrap();
        let node = flow.network().buses.find_node(bus, 1).unwrap();
        let before = flow.per_unit(node);
        flow.network_mut().set_closed(line, 0, false);
        flow.solve().unwrap();
        assert!(!flow.is_energised(node));
        assert_eq!(flow.per_unit(node), 0.0);
        assert!(!Topology::of(flow.network()).is_energised(node));
        flow.network_mut().set_closed(line, 0, true);
        flow.solve().unwrap();
        assert!(flow.is_energised(node) && (flow.per_unit(node) - before).abs() < 0.02);
    }

    #[test]
    fn too_much_load_is_an_error_that_names_a_node() {
        let mut flow = solved("eulv");
        let id = flow.network().find("load.load1").unwrap();
        flow.options_mut().controls = Controls::Held;
        let Kind::Load(load) = &flow.network().element(id).kind else {
            panic!()
        };
        assert_eq!(load.limits.min, 0.95);
        let network = flow.network_mut();
        network.set_law(id, crate::network::Law::Power, VoltageLimits::NONE);
        network.set_power(id, &[crate::network::Phasor::new(4_000_000.0, 0.0)]);
        let error = flow.solve().unwrap_err();
        assert!(
            matches!(&error, NetworkError::Diverged { node, .. } if node == "34.1"),
            "{error}"
        );
        flow.set_power(id, &[crate::network::Phasor::new(1_000.0, 0.0)]);
        flow.solve().unwrap();
    }

    #[test]
    fn a_new_power_needs_no_new_factors() {
        let mut flow = solved("eulv");
        let id = flow.network().find("load.load1").unwrap();
        let node = flow.network().element(id).conductors[0].unwrap();
        flow.set_power(id, &[crate::network::Phasor::new(8_000.0, 0.0)]);
        flow.solve().unwrap();
        let warm = flow.voltage(node);
        let mut cold = PowerFlow::new(flow.network().clone(), Options::default()).unwrap();
        cold.solve().unwrap();
        let gap = cold.voltage(node) - warm;
        assert!(crate::network::complex::magnitude(gap) < 1e-3, "{gap}");
        let values = balance::phase_values(&flow, id);
        // Above 1.05 per unit the load is an impedance.
        let unit = values[0].volts / 230.0;
        assert!(unit > 1.05, "{values:?}");
        let expected = 8_000.0 * (unit / 1.05) * (unit / 1.05);
        assert!((values[0].watts - expected).abs() < 1.0, "{values:?}");
    }
}
