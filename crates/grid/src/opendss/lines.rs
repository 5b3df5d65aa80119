//! Line codes, lines, and series reactors.

use super::error::CircuitError;
use super::field::{BusName, Field};
use super::geometry::Geometry;
use super::script::{Object, Script};
use crate::network::{Kind, Line, LineCode, Matrix, Phasor};

/// Impedances per length, in sequence or phase by phase.
#[derive(Debug, Clone)]
struct Constants {
    phases: usize,
    sequence: bool,
    r1: f64,
    x1: f64,
    r0: f64,
    x0: f64,
    c1: f64,
    c0: f64,
    resistance: Matrix,
    reactance: Matrix,
    capacitance: Matrix,
    metres: Option<f64>,
    frequency_hz: f64,
    rating_amperes: Option<f64>,
}

impl Constants {
    /// What the language assumes of a line of which nothing is said.
    fn new(frequency_hz: f64) -> Self {
        let zeros = Matrix::zeros(3);
        Self {
            phases: 3,
            sequence: true,
            r1: 0.058,
            x1: 0.1206,
            r0: 0.1784,
            x0: 0.4047,
            c1: 3.4,
            c0: 1.6,
            resistance: zeros.clone(),
            reactance: zeros.clone(),
            capacitance: zeros,
            metres: None,
            frequency_hz,
            rating_amperes: None,
        }
    }

    fn set_phases(&mut self, phases: usize) {
        if phases != self.phases {
            self.phases = phases;
            self.spread();
        }
    }

    /// Makes the matrices from the sequence values.
    fn spread(&mut self) {
        let make = |positive: f64, zero: f64| {
            let (positive, zero) = (Phasor::new(positive, 0.0), Phasor::new(zero, 0.0));
            if self.phases == 1 {
                Matrix::balanced(1, positive, zero)
            } else {
                Matrix::from_sequence(self.phases, positive, zero)
            }
        };
        let (r, x, c) = (
            make(self.r1, self.r0),
            make(self.x1, self.x0),
            make(self.c1, self.c0),
        );
        self.resistance = r;
        self.reactance = x;
        self.capacitance = c;
        self.sequence = true;
    }

    /// Takes a property if it is one of these.
    fn take(&mut self, field: &Field<'_>) -> Result<bool, CircuitError> {
        let sequence = match field.property() {
            "r1" => Some(&mut self.r1),
            "x1" => Some(&mut self.x1),
            "r0" => Some(&mut self.r0),
            "x0" => Some(&mut self.x0),
            "c1" => Some(&mut self.c1),
            "c0" => Some(&mut self.c0),
            _ => None,
        };
        if let Some(value) = sequence {
            *value = field.number()?;
            self.spread();
            return Ok(true);
        }
        match field.property() {
            "rmatrix" | "xmatrix" | "cmatrix" => {
                if self.sequence {
                    self.spread();
                }
                self.sequence = false;
                let matrix = field.matrix(self.phases)?;
                match field.property() {
                    "rmatrix" => self.resistance = matrix,
                    "xmatrix" => self.reactance = matrix,
                    _ => self.capacitance = matrix,
                }
            }
            "basefreq" => self.frequency_hz = field.positive()?,
            "normamps" => self.rating_amperes = Some(field.number()?).filter(|amps| *amps > 0.0),
            "units" => self.metres = field.metres()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn code(&self) -> LineCode {
        let mut impedance = Matrix::zeros(self.phases);
        for row in 0..self.phases {
            for column in 0..self.phases {
                *impedance.at(row, column) = Phasor::new(
                    self.resistance.get(row, column).re,
                    self.reactance.get(row, column).re,
                );
            }
        }
        LineCode {
            impedance,
            // The language counts in nanofarads.
            capacitance: self.capacitance.scaled(1e-9),
            frequency_hz: self.frequency_hz,
            rating_amperes: self.rating_amperes,
        }
    }
}

fn line_code(object: &Object) -> Result<Constants, CircuitError> {
    let mut constants = Constants::new(object.frequency_hz);
    constants.spread();
    for field in Field::all(object) {
        match field.property() {
            "nphases" => constants.set_phases(field.phases()?),
            _ => {
                if !constants.take(&field)? {
                    return Err(field.refused());
                }
            }
        }
    }
    Ok(constants)
}

/// A line: its element, its buses, whether it is enabled.
pub(crate) fn line(
    script: &Script,
    object: &Object,
) -> Result<(Kind, Vec<BusName>, bool), CircuitError> {
    let mut own = Constants::new(object.frequency_hz);
    own.spread();
    let mut length = 1.0;
    // Metres per unit of the line's own length, and of its code's.
    let mut metres = None;
    let mut code_metres = None;
    let mut geometry: Option<Geometry> = None;
    let mut buses = [None, None];
    let mut enabled = true;
    for field in Field::all(object) {
        match field.property() {
            "bus1" => buses[0] = Some(field.bus()?),
            "bus2" => buses[1] = Some(field.bus()?),
            "length" => length = field.positive()?,
            "units" => metres = field.metres()?,
            "phases" => own.set_phases(field.phases()?),
            "enabled" => enabled = field.flag()?,
            "linecode" => {
                let name = format!("linecode.{}", field.text());
                let code = script
                    .find(&name)
                    .ok_or_else(|| field.missing(format!("line code {}", field.text())))?;
                let rating = own.rating_amperes;
                own = line_code(code)?;
                own.rating_amperes = own.rating_amperes.or(rating);
                code_metres = own.metres;
                geometry = None;
            }
            "geometry" => {
                let name = format!("linegeometry.{}", field.text());
                let found = script
                    .find(&name)
                    .ok_or_else(|| field.missing(format!("line geometry {}", field.text())))?;
                let made = Geometry::of(script, found)?;
                own.set_phases(made.phases());
                own.rating_amperes = own.rating_amperes.or(made.rating_amperes());
                geometry = Some(made);
            }
            "switch" => {
                if field.flag()? {
                    own.r1 = 1.0;
                    own.x1 = 1.0;
                    own.r0 = 1.0;
                    own.x0 = 1.0;
                    own.c1 = 1.1;
                    own.c0 = 1.0;
                    own.spread();
                    length = 0.001;
                    metres = None;
                    code_metres = None;
                    geometry = None;
                }
            }
            _ => {
                if !own.take(&field)? {
                    return Err(field.refused());
                }
                if matches!(field.property(), "r1" | "x1" | "r0" | "x0" | "c1" | "c0") {
                    code_metres = None;
                }
            }
        }
    }
    let line = if let Some(geometry) = geometry {
        let code = geometry
            .code(script.frequency_hz, script.simple_carson)
            .ok_or_else(|| CircuitError::Missing {
                origin: object.origin.clone(),
                object: object.label.clone(),
                what: "inverse of its geometry's potentials; move its wires apart".to_owned(),
            })?;
        let mut line = code.line(length * metres.unwrap_or(1.0), script.frequency_hz);
        line.rating_amperes = own.rating_amperes;
        line
    } else {
        let per_unit = match (metres, code_metres) {
            (Some(own), Some(code)) => own / code,
            (_, None) | (None, _) => 1.0,
        };
        own.code().line(length * per_unit, script.frequency_hz)
    };
    let buses = both(object, buses)?;
    Ok((Kind::Line(line), buses, enabled))
}

/// A series reactor.
pub(crate) fn reactor(object: &Object) -> Result<(Kind, Vec<BusName>, bool), CircuitError> {
    let (mut r, mut x, mut phases, mut enabled) = (0.0, 0.0, 3, true);
    let mut rating = None;
    let mut buses = [None, None];
    for field in Field::all(object) {
        match field.property() {
            "bus1" => buses[0] = Some(field.bus()?),
            "bus2" => buses[1] = Some(field.bus()?),
            "phases" => phases = field.phases()?,
            "r" => r = field.number()?,
            "x" => x = field.number()?,
            "normamps" => rating = Some(field.number()?).filter(|amperes| *amperes > 0.0),
            "enabled" => enabled = field.flag()?,
            _ => return Err(field.refused()),
        }
    }
    let line = Line {
        impedance: Matrix::balanced(phases, Phasor::new(r, x), Phasor::new(0.0, 0.0)),
        shunt: Matrix::zeros(phases),
        rating_amperes: rating,
    };
    Ok((Kind::Line(line), both(object, buses)?, enabled))
}

fn both(object: &Object, buses: [Option<BusName>; 2]) -> Result<Vec<BusName>, CircuitError> {
    let [Some(first), Some(second)] = buses else {
        return Err(CircuitError::Missing {
            origin: object.origin.clone(),
            object: object.label.clone(),
            what: "bus1 or bus2".to_owned(),
        });
    };
    Ok(vec![first, second])
}
