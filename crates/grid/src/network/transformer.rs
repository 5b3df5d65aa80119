//! Transformers of two or more windings, wye or delta, three phases or one; a centre-tapped
//! secondary is two windings that share a conductor.

use super::complex::{Phasor, ZERO};
use super::connection::Connection;
use super::matrix::Matrix;

/// Most windings of a transformer.
pub const WINDINGS_MAX: usize = 8;

/// Which side leads across a wye-delta transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Displacement {
    /// The low-voltage side lags by 30° (ANSI; IEC clock 1).
    #[default]
    LowLags,
    /// The low-voltage side leads by 30° (IEC clock 11).
    LowLeads,
}

/// One winding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Winding {
    /// Wye or delta.
    pub connection: Connection,
    /// Nominal voltage in kV: between phases for two and three phases, across it for one.
    pub kv: f64,
    /// Rated power of all phases, in kVA.
    pub kva: f64,
    /// Resistance in percent on the first winding's rating.
    pub resistance_percent: f64,
    /// Turns, per unit of nominal.
    pub tap: f64,
}

/// A transformer; its conductors are, for each winding, its phases and then one more: the
/// neutral of a wye, the far end of a single delta phase.
#[derive(Debug, Clone, PartialEq)]
pub struct Transformer {
    /// Phases.
    pub phases: usize,
    /// Windings, the first being the reference of all percentages.
    pub windings: Vec<Winding>,
    /// Short-circuit reactance between each pair, in percent: 1-2, 1-3, … 2-3, …
    pub reactance_percent: Vec<f64>,
    /// No-load loss in percent of the rating.
    pub no_load_percent: f64,
    /// Magnetising current in percent of the rated current.
    pub magnetising_percent: f64,
    /// Parts per million of the rating that tie each winding to earth, so that none floats.
    pub anti_float_ppm: f64,
    /// Which side leads.
    pub displacement: Displacement,
}

impl Transformer {
    /// Conductors of one winding's terminal.
    pub fn conductors(&self) -> usize {
        self.phases + 1
    }

    /// The voltage across one phase of a winding at nominal tap.
    pub fn winding_volts(&self, winding: usize) -> f64 {
        let winding = &self.windings[winding];
        winding.connection.phase_volts(winding.kv, self.phases)
    }

    /// The nodal admittance of all windings; `None` if the short-circuit impedances have no
    /// inverse.
    pub fn admittance(&self) -> Option<Matrix> {
        let count = self.windings.len();
        let phases = u32::try_from(self.phases).map_or(1.0, f64::from);
        let rating = self.windings[0].kva * 1_000.0 / phases;
        let mut per_phase = self.winding_admittance()?;
        // The core stands at the second winding, as the test feeders' results have it.
        *per_phase.at(1, 1) += Phasor::new(self.no_load_percent, -self.magnetising_percent) / 100.0;
        let conductors = self.conductors();
        let mut whole = Matrix::zeros(count * conductors);
        let turns: Vec<f64> = (0..count)
            .map(|winding| self.winding_volts(winding) * self.windings[winding].tap)
            .collect();
        for one in 0..count {
            for other in 0..count {
                let value = per_phase.get(one, other) * (rating / (turns[one] * turns[other]));
                for phase in 0..self.phases {
                    let (a, b) = self.ends(one, phase);
                    let (c, d) = self.ends(other, phase);
                    let (a, b) = (one * conductors + a, one * conductors + b);
                    let (c, d) = (other * conductors + c, other * conductors + d);
                    *whole.at(a, c) += value;
                    *whole.at(b, d) += value;
                    *whole.at(a, d) -= value;
                    *whole.at(b, c) -= value;
                }
            }
        }
        for winding in 0..count {
            let volts = self.winding_volts(winding);
            let tie = Phasor::new(
                0.0,
                -self.anti_float_ppm * 1e-6 * rating / (volts * volts) / 2.0,
            );
            for phase in 0..self.phases {
                let (a, b) = self.ends(winding, phase);
                for end in [a, b] {
                    let at = winding * conductors + end;
                    *whole.at(at, at) += tie;
                }
            }
        }
        Some(whole)
    }

    /// Windings of one phase, per unit of the first rating and of each winding's voltage.
    fn winding_admittance(&self) -> Option<Matrix> {
        let count = self.windings.len();
        let mut impedance = Matrix::zeros(count - 1);
        let percent = |one: usize, other: usize| self.reactance(one, other);
        let first = self.windings[0].resistance_percent;
        for row in 0..count - 1 {
            for column in 0..count - 1 {
                let (one, other) = (row + 1, column + 1);
                *impedance.at(row, column) = if row == column {
                    Phasor::new(
                        first + self.windings[one].resistance_percent,
                        percent(0, one),
                    )
                } else {
                    let shared = percent(0, one) + percent(0, other) - percent(one, other);
                    Phasor::new(first, shared / 2.0)
                } / 100.0;
            }
        }
        let inner = impedance.inverse()?;
        let mut whole = Matrix::zeros(count);
        for row in 0..count - 1 {
            for column in 0..count - 1 {
                let value = inner.get(row, column);
                *whole.at(row + 1, column + 1) += value;
                *whole.at(0, column + 1) -= value;
                *whole.at(row + 1, 0) -= value;
                *whole.at(0, 0) += value;
            }
        }
        Some(whole)
    }

    fn reactance(&self, one: usize, other: usize) -> f64 {
        let (low, high) = (one.min(other), one.max(other));
        let count = self.windings.len();
        // Pairs are listed 0-1, 0-2, …, 1-2, …
        let before = low * (2 * count - low - 1) / 2;
        self.reactance_percent[before + high - low - 1]
    }

    fn ends(&self, winding: usize, phase: usize) -> (usize, usize) {
        match self.windings[winding].connection {
            Connection::Wye => (phase, self.phases),
            Connection::Delta if self.phases == 1 => (0, 1),
            Connection::Delta if self.delta_turns_back() => {
                (phase, (phase + self.phases - 1) % self.phases)
            }
            Connection::Delta => (phase, (phase + 1) % self.phases),
        }
    }

    /// Whether a delta's phase lies between a phase and the one before it.
    fn delta_turns_back(&self) -> bool {
        let (first, second) = (&self.windings[0], &self.windings[1]);
        if first.connection == second.connection {
            return false;
        }
        let high = if first.kv >= second.kv { first } else { second };
        let high_is_delta = high.connection == Connection::Delta;
        high_is_delta == (self.displacement == Displacement::LowLags)
    }
}

/// The impedance between two windings seen from the first, per unit; for reports.
pub fn short_circuit_impedance(transformer: &Transformer) -> Phasor {
    transformer.windings.get(1).map_or(ZERO, |second| {
        Phasor::new(
            transformer.windings[0].resistance_percent + second.resistance_percent,
            transformer.reactance_percent[0],
        ) / 100.0
    })
}
