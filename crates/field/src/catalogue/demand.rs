//! The demand registers (class 5): mean import over the capture period, as one block. The
//! profile and the registers know all of it, so a meter keeps nothing for them.

use gridloom_core::UtcTime;
use gridloom_dlms::apdu::DataAccessResult;
use gridloom_dlms::axdr::Data;

use super::register::{Channel, Unit};
use crate::clock::Clock;
use crate::metrology::Metrology;
use crate::objects::demand_register::ScalerUnit;
use crate::profile::{Entry, Profile};

/// What a demand register is made from.
pub(crate) struct Demand<'a> {
    pub(crate) clock: &'a Clock,
    pub(crate) profile: &'a Profile,
    pub(crate) metrology: &'a Metrology,
    /// The length of a period.
    pub(crate) period_s: u32,
    pub(crate) channel: Channel,
    /// What the clock shows.
    pub(crate) shown: UtcTime,
}

impl Demand<'_> {
    /// An attribute, 2 to 9. Averages are cut to whole W or VA.
    pub(crate) fn get(&self, attribute: i8) -> Result<Data, DataAccessResult> {
        let newest = self.profile.newest();
        let time = |time: UtcTime| Data::OctetString(self.clock.local(time).to_bytes().to_vec());
        Ok(match attribute {
            2 => {
                let totals = self.metrology.totals()[self.channel as usize];
                let running = totals - self.metrology.at_start[self.channel as usize];
                Data::DoubleLongUnsigned(self.average(running))
            }
            3 => Data::DoubleLongUnsigned(newest.map_or(0, |entry| {
                self.average(entry.energies[self.channel as usize].into())
            })),
            4 => ScalerUnit {
                scaler: 0,
                unit: match self.channel {
                    Channel::Apparent => Unit::VoltAmpere as u8,
                    Channel::Import
                    | Channel::Export
                    | Channel::Quadrant1
                    | Channel::Quadrant2
                    | Channel::Quadrant3
                    | Channel::Quadrant4 => Unit::Watt as u8,
                },
            }
            .value(),
            5 => Data::Unsigned(newest.map_or(0, |entry| entry.status().0)),
            6 => newest.map(Entry::end).map_or(Data::Null, time),
            7 => {
                let length = i64::from(self.period_s);
                let start = self.shown.as_secs().div_euclid(length) * length;
                time(UtcTime::from_secs(start))
            }
            8 => Data::DoubleLongUnsigned(self.period_s),
            9 => Data::LongUnsigned(1),
            _ => return Err(DataAccessResult::ObjectUndefined),
        })
    }

    /// The mean power of so many unit-hours over a whole period.
    fn average(&self, energy: u64) -> u32 {
        let average = energy.saturating_mul(3_600) / u64::from(self.period_s);
        u32::try_from(average).unwrap_or(u32::MAX)
    }
}
