//! Loads and generation: power that depends on the voltage.

use super::complex::{Phasor, ZERO, magnitude};
use super::connection::Connection;

/// How power follows the voltage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Law {
    /// Constant power.
    Power,
    /// Constant impedance.
    Impedance,
    /// Constant active power, reactive power with the square of the voltage.
    Motor,
    /// Constant magnitude of the current at a constant power factor.
    Current,
    /// Powers of the voltage, for active and reactive power.
    Exponential {
        /// Exponent of active power.
        active: f64,
        /// Exponent of reactive power.
        reactive: f64,
    },
    /// Shares of constant impedance, current and power, which sum to one.
    Zip {
        /// Shares of active power.
        active: [f64; 3],
        /// Shares of reactive power.
        reactive: [f64; 3],
    },
}

/// Where a load leaves its law, per unit of its nominal voltage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VoltageLimits {
    /// Below this it is an impedance that is passed to smoothly.
    pub low: f64,
    /// Below this the current falls towards `low`.
    pub min: f64,
    /// Above this it is a constant impedance.
    pub max: f64,
}

impl VoltageLimits {
    /// The law holds at every voltage.
    pub const NONE: Self = Self {
        low: 0.0,
        min: 0.0,
        max: f64::INFINITY,
    };
}

/// A load at one terminal.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// Power of each phase at nominal voltage, in VA; positive is consumed.
    pub power: Vec<Phasor>,
    /// Nominal voltage in kV: between phases for two and three phases.
    pub kv: f64,
    /// Wye or delta.
    pub connection: Connection,
    /// How power follows the voltage.
    pub law: Law,
    /// Where the law ends.
    pub limits: VoltageLimits,
}

impl Load {
    /// One power shared equally by the phases.
    pub fn shared(kw: f64, kvar: f64, phases: usize) -> Vec<Phasor> {
        let count = u32::try_from(phases).map_or(1.0, f64::from);
        vec![Phasor::new(kw, kvar) * (1_000.0 / count); phases]
    }

    /// Its phases.
    pub fn phases(&self) -> usize {
        self.power.len()
    }

    /// The nominal voltage of one phase, in volts.
    pub fn phase_volts(&self) -> f64 {
        self.connection.phase_volts(self.kv, self.phases())
    }
}

/// What kind of plant feeds in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// A rotating machine at constant power.
    Machine,
    /// Photovoltaics behind an inverter.
    Photovoltaic,
    /// A store; it consumes while it charges.
    Storage,
    /// A charging point that may feed back.
    Charger,
}

/// Generation at one terminal: a load whose power is negative.
#[derive(Debug, Clone, PartialEq)]
pub struct Generator {
    /// What it is.
    pub plant: Plant,
    /// Its behaviour; power fed in is negative.
    pub load: Load,
}

/// One phase of a load as the solver works on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Branch {
    /// Rows of its ends.
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// Power at nominal voltage, in VA.
    pub(crate) power: Phasor,
    /// Nominal voltage, in volts.
    pub(crate) volts: f64,
    /// The admittance that stands for it in the matrix.
    pub(crate) admittance: Phasor,
    pub(crate) law: Law,
    pub(crate) limits: VoltageLimits,
}

impl Branch {
    /// The current it draws at a voltage, in amperes.
    pub(crate) fn current(&self, volts: Phasor) -> Phasor {
        let nominal = self.power.conj() / (self.volts * self.volts);
        if self.law == Law::Impedance {
            return nominal * volts;
        }
        let size = magnitude(volts);
        if size == 0.0 {
            return ZERO;
        }
        let unit = size / self.volts;
        let limits = self.limits;
        if unit <= limits.low {
            return nominal * volts;
        }
        if unit <= limits.min {
            // The current runs straight from the impedance's at `low` to the law's at `min`.
            let share = (unit - limits.low) / (limits.min - limits.low);
            let (active, reactive) = self.current_at(limits.min);
            let mix = |at_min: f64| (limits.low + (at_min - limits.low) * share) * unit;
            let power = Phasor::new(self.power.re * mix(active), self.power.im * mix(reactive));
            return power.conj() * volts / (size * size);
        }
        if unit > limits.max {
            let (active, reactive) = self.current_at(limits.max);
            let mix = |at_max: f64| at_max / limits.max * unit * unit;
            let power = Phasor::new(self.power.re * mix(active), self.power.im * mix(reactive));
            return power.conj() * volts / (size * size);
        }
        let power = match self.law {
            Law::Power => self.power,
            Law::Impedance => self.power * (unit * unit),
            Law::Motor => Phasor::new(self.power.re, self.power.im * unit * unit),
            Law::Current => self.power * unit,
            Law::Exponential { active, reactive } => Phasor::new(
                self.power.re * libm::pow(unit, active),
                self.power.im * libm::pow(unit, reactive),
            ),
            Law::Zip { active, reactive } => {
                let mix = |shares: [f64; 3]| shares[0] * unit * unit + shares[1] * unit + shares[2];
                Phasor::new(self.power.re * mix(active), self.power.im * mix(reactive))
            }
        };
        power.conj() * volts / (size * size)
    }

    /// The active and the reactive current at a limit, per unit of the nominal ones.
    fn current_at(&self, unit: f64) -> (f64, f64) {
        match self.law {
            Law::Current => (1.0, 1.0),
            Law::Zip { active, reactive } => {
                let mix = |shares: [f64; 3]| shares[0] * unit + shares[1] + shares[2] / unit;
                (mix(active), mix(reactive))
            }
            Law::Power | Law::Impedance | Law::Motor | Law::Exponential { .. } => {
                (1.0 / unit, 1.0 / unit)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn branch(law: Law, limits: VoltageLimits) -> Branch {
        Branch {
            from: 0,
            to: 1,
            power: Phasor::new(1_000.0, 500.0),
            volts: 100.0,
            admittance: ZERO,
            law,
            limits,
        }
    }

    #[test]
    fn power_follows_the_voltage_as_the_law_says() {
        let exponential = Law::Exponential {
            active: 0.8,
            reactive: 3.0,
        };
        let zip = Law::Zip {
            active: [0.5, 0.3, 0.2],
            reactive: [0.0, 1.0, 0.0],
        };
        let cases = [
            (Law::Power, 1_000.0, 500.0),
            (Law::Impedance, 810.0, 405.0),
            (Law::Motor, 1_000.0, 405.0),
            (Law::Current, 900.0, 450.0),
            (exponential, 1_000.0 * 0.9_f64.powf(0.8), 364.5),
            (zip, 1_000.0 * (0.405 + 0.27 + 0.2), 450.0),
        ];
        for (law, watts, vars) in cases {
            let volts = Phasor::new(54.0, -72.0); // 90 V
            let power = volts * branch(law, VoltageLimits::NONE).current(volts).conj();
            assert!((power.re - watts).abs() < 1e-9, "{law:?}: {power}");
            assert!((power.im - vars).abs() < 1e-9, "{law:?}: {power}");
        }
    }

    #[test]
    fn outside_its_limits_a_load_is_an_impedance_without_a_step() {
        let limits = VoltageLimits {
            low: 0.5,
            min: 0.95,
            max: 1.05,
        };
        let zip = Law::Zip {
            active: [0.5, 0.3, 0.2],
            reactive: [0.1, 0.1, 0.8],
        };
        for (law, edge) in [Law::Power, Law::Current, zip]
            .into_iter()
            .flat_map(|law| [0.5, 0.95, 1.05].map(|edge| (law, edge)))
        {
            let load = branch(law, limits);
            let below = load.current(Phasor::new(100.0 * edge - 1e-9, 0.0));
            let above = load.current(Phasor::new(100.0 * edge + 1e-9, 0.0));
            assert!(magnitude(below - above) < 1e-6, "{law:?} {edge}");
        }
        let load = branch(Law::Power, limits);
        // Below `low` it is the nominal impedance.
        assert_eq!(load.current(Phasor::new(40.0, 0.0)).re, 4.0);
        assert_eq!(load.current(ZERO), ZERO);
    }
}
