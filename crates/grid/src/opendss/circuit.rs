//! From a script's objects to a network.

use std::collections::BTreeMap;

use super::controls;
use super::error::{CircuitError, Origin};
use super::field::BusName;
use super::injections::{self, Single};
use super::lines;
use super::script::{Files, Object, Script};
use super::shapes::Shapes;
use super::transformers;
use crate::network::{
    Connection, Controls, ElementId, Kind, Network, NetworkError, Plant, Terminal,
    assign_voltage_bases,
};

/// A circuit as its files describe it.
#[derive(Debug, Clone)]
pub struct Circuit {
    /// The network with its controls and nominal voltages.
    pub network: Network,
    /// Whether the files let the controls act.
    pub controls: Controls,
    /// How its loads and plants go through a day or a year.
    pub shapes: Shapes,
}

impl Circuit {
    /// Reads the circuit of a file and of all it refers to.
    ///
    /// # Errors
    ///
    /// [`CircuitError`] with file and line for anything that is not understood or not modelled.
    pub fn read(files: &mut dyn Files, path: &str) -> Result<Self, CircuitError> {
        let from = Origin {
            file: path.to_owned(),
            line: 0,
        };
        let mut script = Script::new();
        script.run(files, path, &from, 0)?;
        build(&script, &from)
    }
}

fn build(script: &Script, from: &Origin) -> Result<Circuit, CircuitError> {
    let mut network = Network::new();
    let mut ranges = BTreeMap::new();
    for object in &script.objects {
        let at = |error| CircuitError::Network {
            origin: object.origin.clone(),
            error,
        };
        match object.class.name {
            "vsource" => single(&mut network, object, injections::source(object)?)?,
            "load" => single(&mut network, object, injections::load(script, object)?)?,
            "generator" => single(
                &mut network,
                object,
                injections::plant(object, Plant::Machine)?,
            )?,
            "pvsystem" => {
                single(
                    &mut network,
                    object,
                    injections::plant(object, Plant::Photovoltaic)?,
                )?;
            }
            "storage" => single(
                &mut network,
                object,
                injections::plant(object, Plant::Storage)?,
            )?,
            "capacitor" => single(&mut network, object, injections::capacitor(object)?)?,
            "line" | "reactor" => {
                let (kind, buses, enabled) = if object.class.name == "line" {
                    lines::line(script, object)?
                } else {
                    lines::reactor(object)?
                };
                let (width, _) = kind.shape();
                let conductors = conductors(&mut network, &buses, width, width);
                let id = network.add(&object.label, kind, conductors).map_err(at)?;
                network.set_in_service(id, enabled);
                open(&mut network, object, id);
            }
            "transformer" => {
                let read = transformers::transformer(script, object)?;
                let (width, phases) = (read.transformer.conductors(), read.transformer.phases);
                let conductors = conductors(&mut network, &read.buses, width, phases);
                let kind = Kind::Transformer(read.transformer);
                let id = network.add(&object.label, kind, conductors).map_err(at)?;
                network.set_in_service(id, read.enabled);
                open(&mut network, object, id);
                ranges.insert(id, read.ranges);
            }
            _ => {}
        }
    }
    for object in &script.objects {
        match object.class.name {
            "regcontrol" => controls::regulator(&mut network, &ranges, object)?,
            "capcontrol" => controls::capacitor(&mut network, object)?,
            _ => {}
        }
    }
    if script.bases_wanted && !script.voltage_bases_kv.is_empty() {
        assign_voltage_bases(&mut network, &script.voltage_bases_kv).map_err(|error| {
            CircuitError::Network {
                origin: from.clone(),
                error,
            }
        })?;
        if script.loads_follow_bases {
            follow_bases(&mut network);
        }
    }
    Ok(Circuit {
        shapes: Shapes::of(script, &network)?,
        network,
        controls: if script.controls_off {
            Controls::Held
        } else {
            Controls::Active
        },
    })
}

fn conductors(
    network: &mut Network,
    buses: &[BusName],
    width: usize,
    phases: usize,
) -> Vec<Terminal> {
    buses
        .iter()
        .flat_map(|bus| bus.conductors(network, width, phases))
        .collect()
}

fn single(network: &mut Network, object: &Object, read: Single) -> Result<(), CircuitError> {
    let (width, _) = read.kind.shape();
    let phases = if let Kind::Capacitor(bank) = &read.kind {
        bank.phases
    } else {
        read.kind.load().map_or(width, crate::network::Load::phases)
    };
    let conductors = read.bus.conductors(network, width, phases);
    let id = network
        .add(&object.label, read.kind, conductors)
        .map_err(|error: NetworkError| CircuitError::Network {
            origin: object.origin.clone(),
            error,
        })?;
    network.set_in_service(id, read.enabled);
    if read.open {
        network.set_closed(id, 0, false);
    }
    open(network, object, id);
    Ok(())
}

/// Opens what the script's commands have opened.
fn open(network: &mut Network, object: &Object, id: ElementId) {
    let (_, terminals) = network.element(id).kind.shape();
    for terminal in &object.opened {
        for at in 0..terminals {
            if *terminal == 0 || *terminal == at + 1 {
                network.set_closed(id, at, false);
            }
        }
    }
}

/// Gives loads and plants the nominal voltage of their bus.
fn follow_bases(network: &mut Network) {
    let followers: Vec<(ElementId, f64)> = network
        .elements()
        .filter_map(|(id, element)| {
            let load = element.kind.load()?;
            let node = element.conductors.iter().flatten().next()?;
            let volts = network.buses.base_volts(network.buses.place(*node).bus)?;
            let single = load.phases() == 1 && load.connection == Connection::Wye;
            let factor = if single {
                1.0
            } else {
                crate::network::complex::SQRT_3
            };
            Some((id, volts * factor / 1_000.0))
        })
        .collect();
    for (id, kv) in followers {
        network.set_nominal_kv(id, kv);
    }
}
