//! What hangs where on a small meshed feeder, and what its transformers pass in an interval.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

use gridloom_core::MeterId;
use gridloom_grid::network::{
    BusId, Connection, ElementId, Kind, Law, Line, Load, Matrix, Network, NetworkError, Options,
    Phasor, PowerFlow, SequenceBranch, Source, TapChanger, TapStrategy, Topology, VoltageLimits,
    VoltageRegulator, balance, complex,
};
use gridloom_grid::opendss::{Circuit, Files};

/// A ring of two ways from `head` to `b`, a regulator before `a`, a transformer of three phases and
/// one with a centre tap on phase 2, and a part that nothing feeds.
const RING: &str = "
clear
new circuit.ring basekv=12.47 pu=1.02 mvasc3=300 mvasc1=250 bus1=head
new transformer.reg phases=3 windings=2 buses=(head a) kvs=(12.47 12.47) kvas=(5000 5000) xhl=1
new regcontrol.reg transformer=reg winding=2 vreg=122 band=3 ptratio=60
new line.ab bus1=a bus2=b phases=3 r1=0.3 x1=0.6 r0=0.9 x0=1.8 c1=0 c0=0 length=2
new line.ac bus1=a bus2=c phases=3 r1=0.3 x1=0.6 r0=0.9 x0=1.8 c1=0 c0=0 length=1
new line.cd bus1=c bus2=d phases=3 r1=0.3 x1=0.6 r0=0.9 x0=1.8 c1=0 c0=0 length=1
new line.db bus1=d bus2=b phases=3 r1=0.3 x1=0.6 r0=0.9 x0=1.8 c1=0 c0=0 length=1
new transformer.shop windings=2 buses=(d shop) kvs=(12.47 0.4) kvas=(200 200) xhl=4 %loadloss=1
new transformer.pole phases=1 windings=3 buses=(b.2, pole.1.0, pole.0.2) kvs=(7.2 0.12 0.12)
~ kvas=(25 25 25) %rs=(0.6 1.2 1.2) xhl=2.04 xht=2.04 xlt=1.36
new line.service bus1=pole bus2=home phases=2 r1=0.1 x1=0.02 r0=0.1 x0=0.02 c1=0 c0=0 length=0.5
new line.nowhere bus1=x bus2=y phases=3 length=1
new load.shop phases=3 bus1=shop kv=0.4 kw=60 pf=0.9
new load.left phases=1 bus1=home.1 kv=0.12 kw=4 pf=0.95
new load.across phases=1 bus1=home.1.2 kv=0.24 kw=6 pf=0.98
new pvsystem.roof phases=1 bus1=home.1.2 kv=0.24 pmpp=3 kva=4 irradiance=1 pf=1
";

struct Text;

impl Files for Text {
    fn read(&mut self, _: &str) -> Result<Vec<u8>, String> {
        Ok(RING.as_bytes().to_vec())
    }
}

fn ring() -> PowerFlow {
    let mut network = Circuit::read(&mut Text, "ring.dss").unwrap().network;
    for (number, load) in [(1, "load.shop"), (2, "load.left"), (3, "load.across")] {
        let id = network.find(load).unwrap();
        network.set_meter(MeterId(number), id);
    }
    let mut flow = PowerFlow::new(network, Options::default()).unwrap();
    flow.solve().unwrap();
    flow
}

fn names(network: &Network, buses: impl IntoIterator<Item = BusId>) -> Vec<String> {
    buses
        .into_iter()
        .map(|bus| network.buses.name(bus).to_owned())
        .collect()
}

#[test]
fn the_way_up_and_the_way_down_follow_the_switches() {
    let mut flow = ring();
    let ways = [
        (None, vec!["pole", "b", "a", "head"]),
        (Some("line.ab"), vec!["pole", "b", "d", "c", "a", "head"]),
    ];
    for (open, expected) in ways {
        if let Some(open) = open {
            let id = flow.network().find(open).unwrap();
            flow.network_mut().set_closed(id, 0, false);
        }
        let network = flow.network();
        let topology = Topology::of(network);
        let home = network.buses.find("home").unwrap();
        let path = topology.path_to_source(home).unwrap();
        assert_eq!(names(network, path.iter().map(|step| step.bus)), expected);
        let first = network.element(path[0].element);
        assert_eq!(first.name, "line.service");
        let pole = network.buses.find("pole").unwrap();
        assert_eq!(names(network, topology.downstream(pole)), ["pole", "home"]);
        // With one way round the ring the whole of it hangs behind `c`; else the other way is no
        // longer.
        let c = network.buses.find("c").unwrap();
        let behind = topology.downstream(c).len();
        assert_eq!(behind, if open.is_some() { 6 } else { 1 }, "{open:?}");
    }
    let network = flow.network();
    let topology = Topology::of(network);
    let x = network.buses.find("x").unwrap();
    assert_eq!(topology.path_to_source(x), None);
    for (bus, live) in [("home", true), ("y", false)] {
        let id = network.buses.find(bus).unwrap();
        let node = network.buses.find_node(id, 1).unwrap();
        assert_eq!(topology.is_energised(node), live, "{bus}");
    }
}

#[test]
fn a_meter_knows_its_transformer_and_the_phase_that_supplies_it() {
    let flow = ring();
    let network = flow.network();
    let topology = Topology::of(network);
    let cases: [(u32, &str, &[u8], &[u8]); 3] = [
        (1, "transformer.shop", &[1, 2, 3], &[1, 2, 3]),
        (2, "transformer.pole", &[1], &[2]),
        (3, "transformer.pole", &[1, 2], &[2]),
    ];
    for (meter, transformer, phases, supply) in cases {
        let point = network.meter_point(MeterId(meter)).unwrap();
        let found = topology.attachment(network, point.element).unwrap();
        assert_eq!(found.transformer, network.find(transformer), "{meter}");
        assert_eq!(found.phases, phases, "{meter}");
        assert_eq!(found.supply_phases, supply, "{meter}");
    }
    let of = |name: &str| topology.meters_of(network, network.find(name).unwrap());
    let ids = |numbers: &[u32]| -> Vec<MeterId> { numbers.iter().map(|at| MeterId(*at)).collect() };
    assert_eq!(of("transformer.shop"), ids(&[1]));
    assert_eq!(of("transformer.pole"), ids(&[2, 3]));
    // A regulator changes the voltage, but nobody's transformer.
    assert_eq!(of("transformer.reg"), ids(&[]));
}

#[test]
fn an_interval_balances_and_shows_what_a_meter_does_not() {
    let mut flow = ring();
    let topology = Topology::of(flow.network());
    let pole = flow.network().find("transformer.pole").unwrap();
    let across = flow.network().find("load.across").unwrap();
    let mut interval = balance::IntervalBalance::default();
    let mut metered_wh = 0.0;
    for minute in 0..15_u32 {
        flow.set_power(
            across,
            &[Phasor::new(3_000.0 + 200.0 * f64::from(minute), 500.0)],
        );
        flow.solve().unwrap();
        interval.add(&flow, &topology, 60.0);
        for name in ["load.left", "load.across", "pvsystem.roof"] {
            let id = flow.network().find(name).unwrap();
            let watts: f64 = balance::phase_values(&flow, id)
                .iter()
                .map(|of| of.watts)
                .sum();
            metered_wh += watts / 60.0;
        }
    }
    assert_eq!(interval.seconds, 900.0);
    let energy = interval.by_transformer[&pole];
    // 4 kW less 3 kW from the roof, and 4.4 kW on the mean.
    assert!((energy.consumed_wh - 1_350.0).abs() < 20.0, "{energy:?}");
    assert!((energy.consumed_wh - metered_wh).abs() < 0.01, "{energy:?}");
    assert!(energy.technical_losses_wh > 5.0, "{energy:?}");
    assert!(energy.unexplained_wh(metered_wh).abs() < 0.1, "{energy:?}");
    // A kilowatt past the meter for the whole quarter of an hour.
    let stolen = energy.unexplained_wh(metered_wh - 250.0);
    assert!((stolen - 250.0).abs() < 0.1, "{stolen}");
}

/// A source, a transformer with taps of 2 % and a load of one phase.
fn tapped(strategy: TapStrategy, band_volts: f64) -> PowerFlow {
    let mut network = Network::new();
    let head = network.terminal("head", &[1]);
    let stiff = Phasor::new(0.0, 1e-6);
    let source = Source::symmetrical(1, 230.0, 0.0, stiff, stiff);
    network
        .add("source.grid", Kind::Source(source), head.clone())
        .unwrap();
    let far = network.terminal("far", &[1]);
    let positions: Vec<SequenceBranch> = (-5..=5_i32)
        .map(|at| {
            let ratio = Phasor::new(1.0 / (1.0 + 0.02 * f64::from(at)), 0.0);
            let series = Phasor::new(10.0, 0.0);
            SequenceBranch::single_line(SequenceBranch::pi(series, Phasor::new(0.0, 0.0), ratio))
        })
        .collect();
    let kind = Kind::Sequence(positions[5].clone());
    let element = network
        .add("transformer.t", kind, [head, far.clone()].concat())
        .unwrap();
    add_load(&mut network, "load.l", far[0], Phasor::new(2_300.0, 0.0));
    network.tap_changers.push(TapChanger {
        name: "tap.t".into(),
        element,
        terminal: 1,
        target_volts: 240.0,
        band_volts,
        compensation: Phasor::new(0.0, 0.0),
        positions,
        labels: (-5..=5).collect(),
        at: 5,
        active: true,
    });
    network.tap_strategy = strategy;
    PowerFlow::new(network, Options::default()).unwrap()
}

fn add_load(
    network: &mut Network,
    name: &str,
    node: gridloom_grid::network::Terminal,
    power: Phasor,
) -> ElementId {
    let load = Load {
        power: vec![power],
        kv: 0.23,
        connection: Connection::Wye,
        law: Law::Power,
        limits: VoltageLimits::NONE,
    };
    network
        .add(name, Kind::Load(load), vec![node, None])
        .unwrap()
}

#[test]
fn a_tap_changer_takes_the_tap_that_is_wanted() {
    // A volt is lost on the way, and a step is 4.6 V: five taps lie within 12 V of 240 V.
    let cases = [
        (TapStrategy::First, 24.0, Some(0)),
        (TapStrategy::First, 12.0, Some(2)),
        (TapStrategy::Halving, 12.0, Some(3)),
        (TapStrategy::Lowest, 12.0, Some(2)),
        (TapStrategy::Highest, 12.0, Some(3)),
        (TapStrategy::Lowest, 24.0, Some(0)),
        // The fifth would be 8 cV above the band.
        (TapStrategy::Highest, 24.0, Some(4)),
        // No tap is inside: it would go to and fro for ever.
        (TapStrategy::First, 0.5, None),
    ];
    for (strategy, band, expected) in cases {
        let mut flow = tapped(strategy, band);
        match (flow.solve(), expected) {
            (Ok(_), Some(label)) => {
                let changer = &flow.network().tap_changers[0];
                assert_eq!(changer.labels[changer.at], label, "{strategy:?} {band}");
            }
            (Err(NetworkError::Restless { control, .. }), None) => assert_eq!(control, "tap.t"),
            (other, _) => panic!("{strategy:?} {band}: {other:?}"),
        }
    }
}

#[test]
fn a_plant_holds_its_voltage_as_far_as_its_vars_reach() {
    for (most, expected) in [(f64::INFINITY, 232.0), (500.0, 0.0)] {
        let mut network = Network::new();
        let head = network.terminal("head", &[1]);
        let stiff = Phasor::new(0.0, 1e-6);
        let source = Source::symmetrical(1, 230.0, 0.0, stiff, stiff);
        network
            .add("source.grid", Kind::Source(source), head.clone())
            .unwrap();
        let far = network.terminal("far", &[1]);
        let line = Line {
            impedance: Matrix::balanced(1, Phasor::new(0.2, 0.6), Phasor::new(0.0, 0.0)),
            shunt: Matrix::zeros(1),
            rating_amperes: None,
        };
        network
            .add("line.l", Kind::Line(line), [head, far.clone()].concat())
            .unwrap();
        let element = add_load(
            &mut network,
            "load.plant",
            far[0],
            Phasor::new(4_000.0, 0.0),
        );
        network.voltage_regulators.push(VoltageRegulator {
            name: "avr".into(),
            element,
            target_volts: 232.0,
            vars: (-most, most),
            active: true,
        });
        let mut flow = PowerFlow::new(network, Options::default()).unwrap();
        flow.solve().unwrap();
        let volts = complex::magnitude(flow.voltage(far[0].unwrap()));
        let vars = -balance::phase_values(&flow, element)[0].vars;
        if most.is_finite() {
            assert!(
                (vars - most).abs() < 1e-6 && volts < 231.0,
                "{vars} {volts}"
            );
        } else {
            assert!(
                (volts - expected).abs() < 1e-3 && vars > most.min(1_000.0),
                "{vars} {volts}"
            );
        }
    }
}
