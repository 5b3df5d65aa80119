//! Warm solutions of a feeder, as many as are asked for on the standard input: whoever asks takes
//! the time. `tests/interop/powerflow_speed.py` does, and asks OpenDSS for the same.
//!
//! `warm_solves FILE TOLERANCE`, then a line with a count for each answer, which is the count of
//! iterations. All loads move by one percent from one solution to the next.

use std::io::{BufRead, Write};

use gridloom_grid::network::{Controls, ElementId, Options, Phasor, PowerFlow};
use gridloom_grid::opendss::{Circuit, Files};

struct Disk;

impl Files for Disk {
    fn read(&mut self, path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(path).map_err(|error| error.to_string())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let usage = "give a circuit's file and a tolerance per unit";
    let (file, tolerance) = (words.next().ok_or(usage)?, words.next().ok_or(usage)?);
    let circuit = Circuit::read(&mut Disk, &file)?;
    let options = Options {
        tolerance_pu: tolerance.parse()?,
        ..Options::default()
    };
    let mut flow = PowerFlow::new(circuit.network, options)?;
    flow.solve()?;
    // Controls have settled; what is timed is the power flow.
    flow.options_mut().controls = Controls::Held;
    flow.solve()?;
    let loads: Vec<(ElementId, Vec<Phasor>)> = flow
        .network()
        .elements()
        .filter_map(|(id, element)| Some((id, element.kind.load()?.power.clone())))
        .collect();
    let mut out = std::io::stdout().lock();
    let mut up = false;
    for line in std::io::stdin().lock().lines() {
        let mut iterations = 0;
        for _ in 0..line?.trim().parse::<u32>()? {
            up = !up;
            let factor = if up { 1.01 } else { 1.0 };
            for (id, power) in &loads {
                let power: Vec<Phasor> = power.iter().map(|power| power * factor).collect();
                flow.set_power(*id, &power);
            }
            iterations += flow.solve()?.iterations;
        }
        writeln!(out, "{iterations}")?;
        out.flush()?;
    }
    Ok(())
}
