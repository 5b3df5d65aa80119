//! How long a power flow takes: a warm solution of the IEEE 8500-node feeder after all loads have
//! moved, and a day of minutes on the European low-voltage feeder.
//!
//! The 8500-node feeder lies outside the repository: `GRIDLOOM_DATA` names its folder.

#[path = "../tests/archive/mod.rs"]
mod archive;

use archive::Archive;
use divan::Bencher;
use gridloom_grid::network::{Controls, ElementId, Options, Phasor, PowerFlow};
use gridloom_grid::opendss::{Circuit, Files, Shipped};

fn main() {
    divan::main();
}

/// A solved feeder, its loads and their powers.
struct Feeder {
    flow: PowerFlow,
    loads: Vec<(ElementId, Vec<Phasor>)>,
}

impl Feeder {
    fn solved(files: &mut dyn Files, path: &str, tolerance_pu: f64) -> Self {
        let circuit = Circuit::read(files, path).expect("a feeder that is tested");
        let options = Options {
            tolerance_pu,
            ..Options::default()
        };
        let mut flow = PowerFlow::new(circuit.network, options).expect("it has a source");
        flow.solve().expect("it converges");
        // Controls have settled; what is timed is the power flow.
        flow.options_mut().controls = Controls::Held;
        flow.solve().expect("it converges");
        let loads = flow
            .network()
            .elements()
            .filter_map(|(id, element)| Some((id, element.kind.load()?.power.clone())))
            .collect();
        Self { flow, loads }
    }

    /// All loads times a factor, then a solution.
    fn step(&mut self, factor: f64) -> usize {
        for (id, power) in &self.loads {
            let power: Vec<Phasor> = power.iter().map(|power| power * factor).collect();
            self.flow.set_power(*id, &power);
        }
        self.flow.solve().expect("it converges").iterations
    }
}

/// One warm solution of 8 531 nodes; every load moves by one percent each time.
#[divan::bench(args = [1e-4, 1e-7])]
fn ieee_8500_warm(bencher: Bencher, tolerance_pu: f64) {
    let Some(mut archive) = Archive::unpack("opendss_test_feeders.tar.zst") else {
        return;
    };
    let path = "Version8/Distrib/IEEETestCases/8500-Node/Master.dss";
    let mut feeder = Feeder::solved(&mut archive, path, tolerance_pu);
    let mut up = false;
    bencher.bench_local(|| {
        up = !up;
        feeder.step(if up { 1.01 } else { 1.0 })
    });
}

/// Factors anew and solves: what a tap or a switch costs.
#[divan::bench]
fn ieee_8500_factored(bencher: Bencher) {
    let Some(mut archive) = Archive::unpack("opendss_test_feeders.tar.zst") else {
        return;
    };
    let path = "Version8/Distrib/IEEETestCases/8500-Node/Master.dss";
    let mut feeder = Feeder::solved(&mut archive, path, 1e-4);
    bencher.bench_local(|| {
        feeder.flow.network_mut();
        feeder.flow.solve().expect("it converges").iterations
    });
}

/// 1 440 solutions of 2 721 nodes, all loads moving in each.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn european_lv_day(bencher: Bencher) {
    let path = Shipped::path("eulv").expect("it ships");
    let mut feeder = Feeder::solved(&mut Shipped, path, 1e-6);
    bencher.bench_local(|| {
        (0..1_440_u32)
            .map(|minute| feeder.step(0.2 + f64::from(minute * 7 % 100) / 50.0))
            .sum::<usize>()
    });
}
