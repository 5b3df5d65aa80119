//! Lines and cables: series impedance and shunt admittance of coupled conductors.

use super::complex::{Phasor, ZERO};
use super::matrix::Matrix;

/// A line between two terminals of as many conductors as its matrices have rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Series impedance over the whole length, in ohms.
    pub impedance: Matrix,
    /// Shunt admittance over the whole length, in siemens; half of it stands at each end.
    pub shunt: Matrix,
    /// Normal rating of a phase, in amperes; `None` if nobody said.
    pub rating_amperes: Option<f64>,
}

impl Line {
    /// The nodal admittance of both ends; `None` if the impedance has no inverse.
    pub fn admittance(&self) -> Option<Matrix> {
        let series = self.impedance.inverse()?;
        let phases = series.order();
        let mut whole = Matrix::zeros(2 * phases);
        for (row, column, factor) in [
            (0, 0, 1.0),
            (0, phases, -1.0),
            (phases, 0, -1.0),
            (phases, phases, 1.0),
        ] {
            whole.add_block(row, column, &series, factor);
        }
        whole.add_block(0, 0, &self.shunt, 0.5);
        whole.add_block(phases, phases, &self.shunt, 0.5);
        Some(whole)
    }
}

/// Impedance and capacitance per length of a kind of line, at a frequency.
#[derive(Debug, Clone, PartialEq)]
pub struct LineCode {
    /// Series impedance, in ohms per unit of length.
    pub impedance: Matrix,
    /// Shunt capacitance, in farads per unit of length.
    pub capacitance: Matrix,
    /// Frequency the reactance is given for, in hertz.
    pub frequency_hz: f64,
    /// Normal rating of a phase, in amperes.
    pub rating_amperes: Option<f64>,
}

impl LineCode {
    /// A line of that many units of length at a network's frequency.
    pub fn line(&self, length: f64, frequency_hz: f64) -> Line {
        let scale = frequency_hz / self.frequency_hz;
        let omega = core::f64::consts::TAU * frequency_hz;
        Line {
            impedance: self
                .impedance
                .map(|value| Phasor::new(value.re * length, value.im * length * scale)),
            shunt: self
                .capacitance
                .map(|value| Phasor::new(ZERO.re, value.re * omega * length)),
            rating_amperes: self.rating_amperes,
        }
    }
}
