//! Each kind of element against what OpenDSS makes of the same small circuit, to the last digits:
//! what these circuits have, and no feeder of the archive tests by itself.
//!
//! `tests/interop/test_powerflow.py` has OpenDSS solve them again.

use gridloom_grid::network::complex::{degrees, magnitude, polar};
use gridloom_grid::network::{Options, PowerFlow};
use gridloom_grid::opendss::{Circuit, Files};

struct Text(&'static str);

impl Files for Text {
    fn read(&mut self, _: &str) -> Result<Vec<u8>, String> {
        Ok(self.0.as_bytes().to_vec())
    }
}

macro_rules! circuit {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("circuits/", $name, ".dss")),
            include_str!(concat!("circuits/", $name, ".csv")),
        )
    };
}

const CIRCUITS: [(&str, &str, &str); 5] = [
    circuit!("loads"),
    circuit!("plants"),
    circuit!("transformers"),
    circuit!("controls"),
    circuit!("lines"),
];

fn solved(text: &'static str) -> PowerFlow {
    let circuit = Circuit::read(&mut Text(text), "it.dss").expect("a circuit that is understood");
    let options = Options {
        tolerance_pu: 1e-9,
        ..Options::default()
    };
    let mut flow = PowerFlow::new(circuit.network, options).expect("it has a source");
    flow.solve().expect("it converges");
    flow
}

#[test]
fn each_kind_of_element_is_as_opendss_has_it() {
    for (name, text, expected) in CIRCUITS {
        let flow = solved(text);
        let buses = &flow.network().buses;
        let mut compared = 0;
        for line in expected.lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let (bus, number) = fields[0].rsplit_once('.').expect("bus and node");
            let bus = buses.find(bus).expect("the same buses");
            let number = number.parse().expect("a number");
            let node = buses.find_node(bus, number).expect("the same nodes");
            let volts = fields[1].parse().expect("a number");
            let theirs = polar(volts, fields[2].parse().expect("a number"));
            let ours = flow.voltage(node);
            let gap = magnitude(ours - theirs);
            assert!(
                gap < 1e-6 * volts + 1e-4,
                "{name}: {line}: {} at {}",
                magnitude(ours),
                degrees(ours)
            );
            compared += 1;
        }
        assert!(compared >= 6, "{name}: {compared}");
    }
}

/// A change of any of these is a change of the voltages: what the circuits show is in use.
#[test]
fn each_kind_of_element_counts() {
    let cases = [
        ("loads", "zipv=(0.5 0.3 0.2", "zipv=(0.4 0.3 0.3"),
        ("loads", "cvrwatts=0.8", "cvrwatts=0.4"),
        ("loads", "model=3", "model=1"),
        ("loads", "bus1=far.1.2", "bus1=far.1.3"),
        ("plants", "irradiance=0.8", "irradiance=0.9"),
        ("plants", "kw=6 pf=1", "kw=5 pf=1"),
        ("plants", "kvar=-1", "kvar=1"),
        ("plants", "kw=7.4", "kw=11"),
        ("transformers", "leadlag=lead", "leadlag=lag"),
        ("transformers", "xlt=1.36", "xlt=2.4"),
        ("transformers", "tap=1.025", "tap=1.0"),
        ("transformers", "%imag=0.4", "%imag=0.1"),
        ("controls", "ctprim=400 r=4", "ctprim=400 r=8"),
        ("controls", "ptphase=min", "ptphase=max"),
        ("controls", "vmin=118", "vmin=124"),
        ("controls", "onsetting=150", "onsetting=60"),
        (
            "controls",
            "onsetting=500 offsetting=-300",
            "onsetting=5000 offsetting=4000",
        ),
        ("lines", "k=13", "k=6"),
        ("lines", "tapelayer=0.005", "tapelayer=0.02"),
        ("lines", "gmrac=0.00814", "gmrac=0.02"),
        ("lines", "open line.spur 2", "close line.spur 2"),
        ("lines", "r=0.1 x=1.5", "r=0.1 x=0.5"),
    ];
    for (name, from, to) in cases {
        let (_, text, _) = CIRCUITS
            .into_iter()
            .find(|(circuit, _, _)| *circuit == name)
            .expect("a circuit of that name");
        assert!(text.contains(from), "{name}: {from}");
        let changed: &'static str = Box::leak(text.replace(from, to).into_boxed_str());
        let (before, after) = (solved(text), solved(changed));
        let moved = before
            .network()
            .buses
            .nodes()
            .map(|(node, _)| magnitude(before.voltage(node) - after.voltage(node)))
            .fold(0.0, f64::max);
        assert!(moved > 1e-3, "{name}: {from} to {to} moves {moved} V");
    }
}
