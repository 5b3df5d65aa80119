//! What the registers (class 3) show, and in which unit.

use gridloom_dlms::axdr::Data;

use crate::features::Features;
use crate::metrology::{Instantaneous, Metrology};
use crate::profile::Entry;

/// An energy register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    Import = 0,
    Export = 1,
    Quadrant1 = 2,
    Quadrant2 = 3,
    Quadrant3 = 4,
    Quadrant4 = 5,
    Apparent = 6,
}

impl Channel {
    const fn unit(self) -> Unit {
        match self {
            Self::Import | Self::Export => Unit::WattHour,
            Self::Quadrant1 | Self::Quadrant2 | Self::Quadrant3 | Self::Quadrant4 => Unit::VarHour,
            Self::Apparent => Unit::VoltAmpereHour,
        }
    }
}

/// A phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    L1 = 0,
    L2 = 1,
    L3 = 2,
}

/// What a register shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantity {
    /// Since installation; starts again after 2³² − 1 units.
    Total(Channel),
    /// Of the import or export, in one tariff from 1.
    Tariff(Channel, u8),
    /// Of the last captured interval.
    Block(Channel),
    /// Of the last captured interval, on L1.
    MeanVoltage,
    ActiveImport,
    ActiveExport,
    ReactiveImport,
    ReactiveExport,
    Apparent,
    PowerFactor,
    Frequency,
    Voltage(Phase),
    Current(Phase),
    NeutralCurrent,
    PhaseActiveImport(Phase),
    PhaseActiveExport(Phase),
    PhasePowerFactor(Phase),
}

/// Units of the Blue Book's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Watt = 27,
    VoltAmpere = 28,
    Var = 29,
    WattHour = 30,
    VoltAmpereHour = 31,
    VarHour = 32,
    Ampere = 33,
    Volt = 35,
    Hertz = 44,
    Count = 255,
}

impl Quantity {
    /// The power of ten that values are multiplied with, and the unit they are then in.
    pub(crate) const fn scaler_unit(self) -> (i8, Unit) {
        match self {
            Self::Total(channel) | Self::Tariff(channel, _) | Self::Block(channel) => {
                (0, channel.unit())
            }
            Self::MeanVoltage | Self::Voltage(_) => (-1, Unit::Volt),
            Self::ActiveImport
            | Self::ActiveExport
            | Self::PhaseActiveImport(_)
            | Self::PhaseActiveExport(_) => (0, Unit::Watt),
            Self::ReactiveImport | Self::ReactiveExport => (0, Unit::Var),
            Self::Apparent => (0, Unit::VoltAmpere),
            Self::PowerFactor | Self::PhasePowerFactor(_) => (-3, Unit::Count),
            Self::Frequency => (-3, Unit::Hertz),
            Self::Current(_) | Self::NeutralCurrent => (-3, Unit::Ampere),
        }
    }

    /// Attribute 3.
    pub(crate) fn scaler_unit_data(self) -> Data {
        let (scaler, unit) = self.scaler_unit();
        Data::Structure(vec![Data::Integer(scaler), Data::Enum(unit as u8)])
    }

    /// Attribute 2. `newest` is the last captured interval; registers of an interval are zero
    /// before the first one.
    pub(crate) fn value(
        self,
        metrology: &Metrology,
        seen: &Instantaneous,
        newest: Option<&Entry>,
        features: &Features,
    ) -> Data {
        match self {
            Self::Total(channel) => total(metrology.energy[channel as usize].watt_hours),
            Self::Tariff(channel, tariff) => {
                total(features.energy(tariff, channel as usize, &metrology.totals()))
            }
            Self::Block(channel) => {
                Data::DoubleLongUnsigned(newest.map_or(0, |entry| entry.energies[channel as usize]))
            }
            Self::MeanVoltage => Data::LongUnsigned(newest.map_or(0, |entry| entry.voltage_dv)),
            Self::ActiveImport => whole(seen.active_mw),
            Self::ActiveExport => whole(-seen.active_mw),
            Self::ReactiveImport => whole(seen.reactive_mvar),
            Self::ReactiveExport => whole(-seen.reactive_mvar),
            Self::Apparent => whole(seen.apparent_mva),
            Self::PowerFactor => thousandths(seen.power_factor_milli),
            Self::Frequency => counted(seen.frequency_mhz),
            Self::Voltage(phase) => Data::LongUnsigned(
                u16::try_from(seen.voltage_mv[phase as usize] / 100).unwrap_or(u16::MAX),
            ),
            Self::Current(phase) => counted(seen.current_ma[phase as usize]),
            Self::NeutralCurrent => counted(seen.neutral_ma),
            Self::PhaseActiveImport(phase) => whole(seen.phase_active_mw[phase as usize]),
            Self::PhaseActiveExport(phase) => whole(-seen.phase_active_mw[phase as usize]),
            Self::PhasePowerFactor(phase) => {
                thousandths(seen.phase_power_factor_milli[phase as usize])
            }
        }
    }
}

/// A register of 32 bits starts again from zero.
pub(crate) fn total(watt_hours: u64) -> Data {
    let shown = watt_hours % (u64::from(u32::MAX) + 1);
    Data::DoubleLongUnsigned(u32::try_from(shown).expect("a remainder of 2^32"))
}

/// Thousandths as a whole unit, cut; a power in the other direction is none.
fn whole(milli: i64) -> Data {
    counted(milli / 1_000)
}

/// What does not fit shows its bound.
fn counted(value: i64) -> Data {
    Data::DoubleLongUnsigned(u32::try_from(value.max(0)).unwrap_or(u32::MAX))
}

fn thousandths(value: i64) -> Data {
    Data::Long(i16::try_from(value).unwrap_or(i16::MAX))
}
