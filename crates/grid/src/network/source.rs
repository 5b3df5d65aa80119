//! The supply: a voltage behind an impedance.

use super::complex::{Phasor, polar};
use super::matrix::Matrix;

/// A stiff voltage behind its short-circuit impedance, each phase to earth.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Open-circuit voltage of each phase to earth, in volts.
    pub emf: Vec<Phasor>,
    /// Impedance of the phases, in ohms.
    pub impedance: Matrix,
}

impl Source {
    /// A symmetrical source: volts of a phase to earth, angle of the first phase in degrees,
    /// impedances in ohms.
    pub fn symmetrical(
        phases: usize,
        volts: f64,
        angle_degrees: f64,
        positive: Phasor,
        zero: Phasor,
    ) -> Self {
        let step = if phases < 2 {
            0.0
        } else {
            360.0 / if phases == 2 { 2.0 } else { phases_as(phases) }
        };
        let impedance = if phases == 1 {
            Matrix::balanced(1, positive, zero)
        } else {
            Matrix::from_sequence(phases, positive, zero)
        };
        Self {
            emf: (0..phases)
                .map(|phase| polar(volts, angle_degrees - step * phases_as(phase)))
                .collect(),
            impedance,
        }
    }

    /// Positive and zero sequence impedance in ohms from three-phase and single-phase
    /// short-circuit power in MVA at a nominal voltage in kV, with their X/R.
    pub fn from_short_circuit(
        kv: f64,
        three_phase_mva: f64,
        single_phase_mva: f64,
        x1_r1: f64,
        x0_r0: f64,
    ) -> (Phasor, Phasor) {
        let x1 = kv * kv / three_phase_mva / (1.0 + 1.0 / (x1_r1 * x1_r1)).sqrt();
        let r1 = x1 / x1_r1;
        // |2 Z1 + Z0| = 3 V / I for a fault of one phase; solved for X0.
        let sum = 3.0 * kv * kv / single_phase_mva;
        let a = 1.0 + 1.0 / (x0_r0 * x0_r0);
        let b = 4.0 * (x1 + r1 / x0_r0);
        let c = 4.0 * (r1 * r1 + x1 * x1) - sum * sum;
        let x0 = (-b + (b * b - 4.0 * a * c).max(0.0).sqrt()) / (2.0 * a);
        (Phasor::new(r1, x1), Phasor::new(x0 / x0_r0, x0))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of phases is small")]
fn phases_as(phases: usize) -> f64 {
    phases as f64
}
