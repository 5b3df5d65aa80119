//! What the meter's supervision sees: the electrical values at its terminals and its switches.

/// The terminals and covers at one moment; it holds until the next one is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminals {
    /// Phase to neutral, L1 to L3, in millivolts.
    pub voltage_mv: [u32; 3],
    /// L1 to L3, in milliamperes.
    pub current_ma: [u32; 3],
    /// In the neutral conductor, in milliamperes; `None` where it is not measured.
    pub neutral_ma: Option<u32>,
    /// Active power of L1 to L3 in milliwatts; import is positive.
    pub active_mw: [i64; 3],
    /// |P| / S in thousandths.
    pub power_factor_milli: u32,
    /// Direct voltage or voltage of high frequency on the neutral, in millivolts.
    pub neutral_disturbance_mv: u32,
    /// Whether the neutral conductor is connected.
    pub neutral_connected: bool,
    /// What the magnetic field sensor sees, in microtesla.
    pub field_ut: u32,
    /// Whether the meter's cover is open.
    pub cover_open: bool,
    /// Whether the terminals' cover is open.
    pub terminal_cover_open: bool,
    /// How many of the phases the meter has: 1 or 3.
    pub phases: u8,
}

impl Terminals {
    /// The phases that the meter has, with their numbers from 0.
    pub(crate) fn phases(&self) -> core::ops::Range<usize> {
        0..usize::from(self.phases.min(3))
    }

    /// A meter with nothing unusual: 230 V and no load.
    pub const fn quiet(phases: u8) -> Self {
        Self {
            voltage_mv: match phases {
                1 => [230_000, 0, 0],
                _ => [230_000; 3],
            },
            current_ma: [0; 3],
            neutral_ma: None,
            active_mw: [0; 3],
            power_factor_milli: 1_000,
            neutral_disturbance_mv: 0,
            neutral_connected: true,
            field_ut: 0,
            cover_open: false,
            terminal_cover_open: false,
            phases,
        }
    }
}
