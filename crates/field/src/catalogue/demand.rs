//! The demand registers (class 5): mean import over the integration period, as one block. The
//! profile and the registers know all of it, so a meter keeps nothing for them, unless a client
//! has set a period of its own.

use gridloom_core::{ReadingStatus, UtcTime};
use gridloom_dlms::apdu::DataAccessResult;
use gridloom_dlms::axdr::Data;

use super::register::{Channel, Unit};
use crate::clock::Clock;
use crate::metrology::Metrology;
use crate::objects::demand_register::ScalerUnit;
use crate::profile::Profile;
use crate::survey::Survey;

/// What a demand register is made from.
pub(crate) struct Demand<'a> {
    pub(crate) clock: &'a Clock,
    pub(crate) profile: &'a Profile,
    pub(crate) metrology: &'a Metrology,
    /// The length of a period.
    pub(crate) period_s: u32,
    pub(crate) survey: &'a Survey,
    pub(crate) channel: Channel,
    /// What the clock shows.
    pub(crate) shown: UtcTime,
}

impl Demand<'_> {
    /// An attribute, 2 to 9. Averages are cut to whole W or VA.
    pub(crate) fn get(&self, attribute: i8) -> Result<Data, DataAccessResult> {
        let (running, began, last) = self.measured();
        let time = |time: UtcTime| Data::OctetString(self.clock.local(time).to_bytes().to_vec());
        Ok(match attribute {
            2 => Data::DoubleLongUnsigned(self.average(running)),
            3 => Data::DoubleLongUnsigned(last.map_or(0, |last| last.0)),
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
            5 => Data::Unsigned(last.map_or(0, |last| last.1)),
            6 => last.map_or(Data::Null, |last| time(last.2)),
            7 => time(began),
            8 => Data::DoubleLongUnsigned(self.period_s),
            9 => Data::LongUnsigned(1),
            _ => return Err(DataAccessResult::ObjectUndefined),
        })
    }

    /// What the running period has measured, when it began, and of the last one the average,
    /// the status and the end.
    fn measured(&self) -> (u64, UtcTime, Option<(u32, u8, UtcTime)>) {
        let channel = self.channel as usize;
        let totals = self.metrology.totals();
        if let Some((running, began, last)) = self.survey.demand(channel, &totals) {
            let kind = usize::from(self.channel == Channel::Apparent);
            let last = last.map(|last| {
                let status = if last.is_complete {
                    ReadingStatus::GOOD
                } else {
                    ReadingStatus::POWER_DOWN
                };
                (last.means[kind], status.0, last.end)
            });
            return (running, began, last);
        }
        let length = i64::from(self.period_s);
        let began = self.shown.as_secs().div_euclid(length) * length;
        let last = self.profile.newest().map(|entry| {
            let average = self.average(entry.energies[channel].into());
            (average, entry.status().0, entry.end())
        });
        let running = totals[channel] - self.metrology.at_start[channel];
        (running, UtcTime::from_secs(began), last)
    }

    /// The mean power of so many unit-hours over a whole period.
    fn average(&self, energy: u64) -> u32 {
        let average = energy.saturating_mul(3_600) / u64::from(self.period_s);
        u32::try_from(average).unwrap_or(u32::MAX)
    }
}
