//! Switches and breakers: a bolted joint when closed, nothing when open.

use super::complex::{Phasor, ZERO};
use super::line::Line;
use super::matrix::Matrix;

/// What a closed switch has per phase, in ohms: below a thousandth of any line, and far enough
/// from zero for the factorisation.
pub const CLOSED_OHMS: f64 = 1e-6;

/// A closed switch of that many phases. It opens by [`super::Network::set_closed`].
pub fn switch(phases: usize, rating_amperes: Option<f64>) -> Line {
    Line {
        impedance: Matrix::balanced(phases, Phasor::new(CLOSED_OHMS, 0.0), ZERO),
        shunt: Matrix::zeros(phases),
        rating_amperes,
    }
}
