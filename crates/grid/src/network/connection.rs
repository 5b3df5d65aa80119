//! How the phases of an element are joined.

/// Wye or delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Connection {
    /// Each phase to the neutral.
    #[default]
    Wye,
    /// Each phase to the next.
    Delta,
}

impl Connection {
    /// Conductors of a terminal with that many phases: a wye has its neutral as last conductor;
    /// a delta of one or two phases has one conductor more than phases.
    pub fn conductors(self, phases: usize) -> usize {
        match self {
            Self::Delta if phases >= 3 => phases,
            Self::Wye | Self::Delta => phases + 1,
        }
    }

    /// The conductors between which a phase lies.
    pub fn ends(self, phase: usize, phases: usize) -> (usize, usize) {
        match self {
            Self::Wye => (phase, phases),
            Self::Delta => (phase, (phase + 1) % self.conductors(phases)),
        }
    }

    /// The voltage of one phase for a nominal voltage in kV: what is named for two or three
    /// phases is between phases, for one phase it is what it sees.
    pub fn phase_volts(self, kv: f64, phases: usize) -> f64 {
        match self {
            Self::Wye if phases == 2 || phases == 3 => kv * 1_000.0 / super::complex::SQRT_3,
            Self::Wye | Self::Delta => kv * 1_000.0,
        }
    }
}
