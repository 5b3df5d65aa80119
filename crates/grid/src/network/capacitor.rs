//! Capacitor banks.

use super::complex::Phasor;
use super::connection::Connection;
use super::matrix::Matrix;

/// A bank at one bus. It is switched by [`super::Network::set_closed`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Capacitor {
    /// Reactive power of all phases at nominal voltage, in kvar.
    pub kvar: f64,
    /// Nominal voltage in kV: between phases for two and three phases.
    pub kv: f64,
    /// Wye or delta.
    pub connection: Connection,
    /// Phases.
    pub phases: usize,
}

impl Capacitor {
    /// The admittance of its conductors.
    pub fn admittance(&self) -> Matrix {
        let volts = self.connection.phase_volts(self.kv, self.phases);
        let phases = u32::try_from(self.phases).map_or(1.0, f64::from);
        let each = Phasor::new(0.0, self.kvar * 1_000.0 / phases / (volts * volts));
        branches(self.connection, self.phases, each)
    }
}

/// The same admittance in each phase of a connection.
pub(crate) fn branches(connection: Connection, phases: usize, each: Phasor) -> Matrix {
    let mut whole = Matrix::zeros(connection.conductors(phases));
    for phase in 0..phases {
        let (one, other) = connection.ends(phase, phases);
        *whole.at(one, one) += each;
        *whole.at(other, other) += each;
        *whole.at(one, other) -= each;
        *whole.at(other, one) -= each;
    }
    whole
}
