//! Sources, loads, plants and capacitor banks.

use super::error::CircuitError;
use super::field::{BusName, Field};
use super::script::{Object, Script};
use crate::network::complex::SQRT_3;
use crate::network::{
    Capacitor, Connection, Generator, Kind, Law, Load, Phasor, Plant, Source, VoltageLimits,
};

/// An element of one terminal as read.
pub(crate) struct Single {
    pub(crate) kind: Kind,
    pub(crate) bus: BusName,
    pub(crate) enabled: bool,
    /// A bank that begins open.
    pub(crate) open: bool,
}

fn bus_or_missing(object: &Object, bus: Option<BusName>) -> Result<BusName, CircuitError> {
    bus.ok_or_else(|| CircuitError::Missing {
        origin: object.origin.clone(),
        object: object.label.clone(),
        what: "bus1".to_owned(),
    })
}

pub(crate) fn source(object: &Object) -> Result<Single, CircuitError> {
    let mut bus = BusName {
        name: "sourcebus".to_owned(),
        nodes: Vec::new(),
    };
    let (mut kv, mut pu, mut angle, mut phases, mut enabled) = (115.0, 1.0, 0.0, 3, true);
    let (mut mva3, mut mva1, mut x1r1, mut x0r0) = (2_000.0, 2_100.0, 4.0, 3.0);
    let (mut isc3, mut isc1) = (10_000.0, 10_500.0);
    let (mut r1, mut x1, mut r0, mut x0) = (1.65, 6.6, 1.9, 5.7);
    #[derive(PartialEq)]
    enum By {
        Power,
        Current,
        Impedance,
    }
    let mut by = By::Power;
    for field in Field::all(object) {
        let mut set = |value: &mut f64, kind: By| -> Result<(), CircuitError> {
            *value = field.number()?;
            by = kind;
            Ok(())
        };
        match field.property() {
            "bus1" => bus = field.bus()?,
            "basekv" => kv = field.positive()?,
            "pu" => pu = field.positive()?,
            "angle" => angle = field.number()?,
            "frequency" => {
                field.positive()?;
            }
            "phases" => phases = field.phases()?,
            "enabled" => enabled = field.flag()?,
            "mvasc3" => set(&mut mva3, By::Power)?,
            "mvasc1" => set(&mut mva1, By::Power)?,
            "isc3" => set(&mut isc3, By::Current)?,
            "isc1" => set(&mut isc1, By::Current)?,
            "r1" => set(&mut r1, By::Impedance)?,
            "x1" => set(&mut x1, By::Impedance)?,
            "r0" => set(&mut r0, By::Impedance)?,
            "x0" => set(&mut x0, By::Impedance)?,
            "x1r1" => x1r1 = field.positive()?,
            "x0r0" => x0r0 = field.positive()?,
            _ => return Err(field.refused()),
        }
    }
    let (positive, zero) = match by {
        By::Impedance => (Phasor::new(r1, x1), Phasor::new(r0, x0)),
        By::Power => Source::from_short_circuit(kv, mva3, mva1, x1r1, x0r0),
        By::Current => {
            let mva = |amperes: f64| SQRT_3 * kv * amperes / 1_000.0;
            Source::from_short_circuit(kv, mva(isc3), mva(isc1), x1r1, x0r0)
        }
    };
    let volts = pu * Connection::Wye.phase_volts(kv, phases);
    let kind = Kind::Source(Source::symmetrical(phases, volts, angle, positive, zero));
    Ok(Single {
        kind,
        bus,
        enabled,
        open: false,
    })
}

/// How a load's power is given: the last that is said counts.
#[derive(Clone, Copy, PartialEq)]
enum Given {
    KwPf,
    KwKvar,
    KvaPf,
    Allocated,
}

/// kvar for kW at a power factor, which is negative where it leads.
fn kvar_of(kw: f64, pf: f64) -> f64 {
    let kvar = kw * (1.0 / (pf * pf) - 1.0).max(0.0).sqrt();
    if pf < 0.0 { -kvar } else { kvar }
}

pub(crate) fn load(script: &Script, object: &Object) -> Result<Single, CircuitError> {
    let (mut phases, mut bus, mut kv, mut enabled) = (3, None, 12.47, true);
    let (mut kw, mut pf, mut kvar, mut kva) = (10.0, 0.88, 0.0, 0.0);
    let (mut rating, mut share) = (0.0, 0.5);
    let mut given = Given::KwPf;
    let (mut model, mut connection, mut fixed) = (1, Connection::Wye, false);
    let (mut watts, mut vars) = (1.0, 2.0);
    let mut zip = None;
    let mut limits = VoltageLimits {
        low: 0.5,
        min: 0.95,
        max: 1.05,
    };
    for field in Field::all(object) {
        match field.property() {
            "phases" => phases = field.phases()?,
            "bus1" => bus = Some(field.bus()?),
            "kv" => kv = field.positive()?,
            "kw" => {
                kw = field.number()?;
                if given != Given::KwKvar {
                    given = Given::KwPf;
                }
            }
            "pf" => {
                pf = field.number()?;
                if pf == 0.0 {
                    return Err(field.wrong("a power factor, not zero"));
                }
                if given == Given::KwKvar {
                    given = Given::KwPf;
                }
            }
            "kvar" => {
                kvar = field.number()?;
                given = Given::KwKvar;
            }
            "kva" => {
                kva = field.number()?;
                given = Given::KvaPf;
            }
            "xfkva" => {
                rating = field.number()?;
                given = Given::Allocated;
            }
            "allocationfactor" => {
                share = field.number()?;
                given = Given::Allocated;
            }
            "model" => model = field.count(8)?,
            "conn" => connection = field.connection()?,
            "status" => fixed = !field.text().starts_with('v'),
            "vminpu" => limits.min = field.number()?,
            "vmaxpu" => limits.max = field.number()?,
            "vlowpu" => limits.low = field.number()?,
            // Shapes are for a series; this is the state at their nominal power.
            "daily" | "yearly" | "duty" => {}
            "cvrwatts" => watts = field.number()?,
            "cvrvars" => vars = field.number()?,
            "zipv" => {
                let values = field.numbers()?;
                let [zp, ip, pp, zq, iq, pq, _] = values[..] else {
                    return Err(field.wrong("seven numbers"));
                };
                zip = Some(Law::Zip {
                    active: [zp, ip, pp],
                    reactive: [zq, iq, pq],
                });
            }
            "enabled" => enabled = field.flag()?,
            _ => return Err(field.refused()),
        }
    }
    let (kw, kvar) = match given {
        Given::KwPf => (kw, kvar_of(kw, pf)),
        Given::KwKvar => (kw, kvar),
        Given::KvaPf => (kva * pf.abs(), kvar_of(kva * pf.abs(), pf)),
        Given::Allocated if rating > 0.0 => {
            let kw = rating * share * pf.abs();
            (kw, kvar_of(kw, pf))
        }
        Given::Allocated => (kw, kvar_of(kw, pf)),
    };
    let factor = if fixed { 1.0 } else { script.load_factor };
    limits.low = limits.low.min(limits.min);
    let law = match model {
        1 => Law::Power,
        2 => Law::Impedance,
        3 => Law::Motor,
        4 => Law::Exponential {
            active: watts,
            reactive: vars,
        },
        5 => Law::Current,
        8 => zip.ok_or_else(|| CircuitError::Missing {
            origin: object.origin.clone(),
            object: object.label.clone(),
            what: "ZIPV of model 8".to_owned(),
        })?,
        _ => {
            return Err(CircuitError::Property {
                origin: object.origin.clone(),
                object: object.label.clone(),
                property: format!("model={model}"),
            });
        }
    };
    let load = Load {
        power: Load::shared(kw * factor, kvar * factor, phases),
        kv,
        connection,
        law,
        limits,
    };
    let bus = bus_or_missing(object, bus)?;
    Ok(Single {
        kind: Kind::Load(load),
        bus,
        enabled,
        open: false,
    })
}

pub(crate) fn plant(object: &Object, plant: Plant) -> Result<Single, CircuitError> {
    let (mut phases, mut bus, mut kv, mut enabled) = (3, None, 12.47, true);
    let (mut kw, mut pf, mut kvar) = (
        if plant == Plant::Machine {
            1_000.0
        } else {
            0.0
        },
        1.0,
        None,
    );
    if plant == Plant::Machine {
        pf = 0.88;
    }
    let (mut peak, mut share, mut sun) = (500.0, 100.0, 1.0);
    let mut connection = Connection::Wye;
    // Below its least voltage a plant is a constant impedance.
    let mut limits = VoltageLimits {
        low: 0.0,
        min: 0.9,
        max: 1.1,
    };
    for field in Field::all(object) {
        match field.property() {
            "phases" => phases = field.phases()?,
            "bus1" => bus = Some(field.bus()?),
            "kv" => kv = field.positive()?,
            "kw" => kw = field.number()?,
            "pf" => {
                pf = field.number()?;
                kvar = None;
                if pf == 0.0 {
                    return Err(field.wrong("a power factor, not zero"));
                }
            }
            "kvar" => kvar = Some(field.number()?),
            // Shapes are for a series; this is the state at their nominal power.
            "daily" | "yearly" | "duty" => {}
            "pmpp" => peak = field.number()?,
            "%pmpp" => share = field.number()?,
            "irradiance" => sun = field.number()?,
            "model" => {
                if field.count(9)? != 1 {
                    return Err(field.wrong("1, constant power"));
                }
            }
            "vminpu" => limits.min = field.number()?,
            "vmaxpu" => limits.max = field.number()?,
            "conn" => connection = field.connection()?,
            "enabled" => enabled = field.flag()?,
            _ => return Err(field.refused()),
        }
    }
    if plant == Plant::Photovoltaic {
        kw = peak * share / 100.0 * sun;
    }
    let kvar = kvar.unwrap_or_else(|| kvar_of(kw, pf));
    let load = Load {
        power: Load::shared(-kw, -kvar, phases),
        kv,
        connection,
        law: Law::Power,
        limits,
    };
    let bus = bus_or_missing(object, bus)?;
    Ok(Single {
        kind: Kind::Generator(Generator { plant, load }),
        bus,
        enabled,
        open: false,
    })
}

pub(crate) fn capacitor(object: &Object) -> Result<Single, CircuitError> {
    let (mut phases, mut bus, mut kv, mut enabled, mut open) = (3, None, 12.47, true, false);
    let (mut kvar, mut connection) = (1_200.0, Connection::Wye);
    for field in Field::all(object) {
        match field.property() {
            "phases" => phases = field.phases()?,
            "bus1" => bus = Some(field.bus()?),
            "kv" => kv = field.positive()?,
            "kvar" => kvar = field.numbers()?.iter().sum(),
            "conn" => connection = field.connection()?,
            "states" => open = field.numbers()?.iter().all(|state| *state == 0.0),
            "enabled" => enabled = field.flag()?,
            _ => return Err(field.refused()),
        }
    }
    let kind = Kind::Capacitor(Capacitor {
        kvar,
        kv,
        connection,
        phases,
    });
    let bus = bus_or_missing(object, bus)?;
    Ok(Single {
        kind,
        bus,
        enabled,
        open,
    })
}
